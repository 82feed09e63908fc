//! What each request answers to whom, where there are access rules.

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        DeleteRecordsRequest, FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest, ProduceRequest,
        alter_user_scram_credentials::{AlterUserScramCredentialsRequest, ScramCredentialDeletion},
        consumer_group_describe::ConsumerGroupDescribeRequest,
        consumer_group_heartbeat::ConsumerGroupHeartbeatRequest,
        create_acls::{AclCreation, CreateAclsRequest},
        create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic},
        create_topics::{CreatableTopic, CreateTopicsRequest},
        delete_acls::{DeleteAclsFilter, DeleteAclsRequest},
        delete_groups::DeleteGroupsRequest,
        delete_records::{DeleteRecordsPartition, DeleteRecordsTopic},
        delete_topics::{DeleteTopicState, DeleteTopicsRequest},
        describe_acls::DescribeAclsRequest,
        describe_cluster::DescribeClusterRequest,
        describe_configs::{DescribeConfigsRequest, DescribeConfigsResource},
        describe_groups::DescribeGroupsRequest,
        describe_log_dirs::DescribeLogDirsRequest,
        describe_topic_partitions::{DescribeTopicPartitionsRequest, TopicRequest},
        describe_user_scram_credentials::DescribeUserScramCredentialsRequest,
        fetch::{FetchPartition, FetchTopic},
        find_coordinator::FindCoordinatorRequest,
        heartbeat::HeartbeatRequest,
        incremental_alter_configs::{AlterConfigsResource, IncrementalAlterConfigsRequest},
        init_producer_id::InitProducerIdRequest,
        join_group::JoinGroupRequest,
        leave_group::LeaveGroupRequest,
        list_config_resources::ListConfigResourcesRequest,
        list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
        metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse},
        offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_delete::{OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
        offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup},
        offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic},
        produce::{PartitionProduceData, TopicProduceData},
        sync_group::SyncGroupRequest,
    },
    record::Scratch,
    types::{TopicName, Uuid},
};

use super::testing::{Broker, make_topics, sent};
use crate::{authentication::Principal, metadata::image::resource};

const GUARDED: &str = "authorizer.class.name=StandardAuthorizer\nsuper.users=User:admin";

/// Sends a request as `user`, and gives the answer as the client reads it.
macro_rules! ask_as {
    ($broker:expr, $user:expr, $handler:ident, $version:expr, $request:expr) => {{
        $broker.user = Principal::user($user);
        let (request, rq) = $broker.request($version, &$request);
        sent(&super::$handler::handle(request, &rq, &$broker.cx).await, $version)
    }};
}

/// A rule for a literal name, or with a `*` behind it for what begins so.
fn rule(user: &str, resource_type: i8, name: &str, operation: i8) -> AclCreation {
    let (resource_name, resource_pattern_type) = match name.strip_suffix('*') {
        Some(prefix) if !prefix.is_empty() => (prefix, 4),
        _ => (name, 3),
    };
    AclCreation {
        resource_type,
        resource_name: resource_name.into(),
        resource_pattern_type,
        principal: format!("User:{user}").into(),
        host: "*".into(),
        operation,
        permission_type: 3,
    }
}

const TOPIC: i8 = 2;
const GROUP: i8 = 3;
const CLUSTER: i8 = 4;
const READ: i8 = 3;
const WRITE: i8 = 4;
const CREATE: i8 = 5;
const DELETE: i8 = 6;
const DESCRIBE: i8 = 8;

async fn guarded(dir: &std::path::Path, rules: Vec<AclCreation>) -> Broker {
    let mut broker = Broker::start(dir, GUARDED).await;
    let answer = ask_as!(broker, "admin", create_acls, 3, CreateAclsRequest { creations: rules });
    assert!(answer.results.iter().all(|result| result.error_code == ErrorCode::NONE), "{answer:?}");
    broker
}

fn produce(topic: &str) -> ProduceRequest {
    let data = PartitionProduceData { index: 0, ..Default::default() };
    let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks: -1, topic_data: vec![topic], ..Default::default() }
}

async fn produced(broker: &mut Broker, user: &str, topic: &str) -> ErrorCode {
    broker.user = Principal::user(user);
    let (request, rq) = broker.request(9, &produce(topic));
    let pending = super::produce::begin(request, &rq, &broker.cx, &mut Scratch::default());
    pending.finish().await.unwrap().unwrap().responses[0].partition_responses[0].error_code
}

async fn fetched(broker: &mut Broker, user: &str, topic: &str) -> ErrorCode {
    broker.user = Principal::user(user);
    let partition = FetchPartition { partition: 0, partition_max_bytes: 1, ..Default::default() };
    let topic = FetchTopic { topic: topic.into(), partitions: vec![partition], ..Default::default() };
    let (request, rq) = broker.request(
        12,
        &FetchRequest { session_epoch: -1, max_bytes: 1, topics: vec![topic], ..Default::default() },
    );
    let fetched = super::fetch::handle(request, &rq, &broker.cx).await;
    fetched.response.responses[0].partitions[0].error_code
}

fn named(names: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic { name: Some((*name).into()), ..Default::default() };
    MetadataRequest { topics: Some(names.iter().map(topic).collect()), ..MetadataRequest::default() }
}

fn told(answer: &MetadataResponse) -> Vec<(String, ErrorCode)> {
    let name = |name: &Option<TopicName>| name.as_deref().unwrap_or("-").to_owned();
    answer.topics.iter().map(|topic| (name(&topic.name), topic.error_code)).collect()
}

#[tokio::test]
async fn a_stranger_is_refused_by_every_request_in_its_own_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = guarded(dir.path(), vec![]).await;
    make_topics(&broker, &["t"]).await;
    use ErrorCode as E;
    macro_rules! code {
        ($handler:ident, $version:expr, $request:expr, $($path:tt)*) => {{
            let answer = ask_as!(broker, "eve", $handler, $version, $request);
            answer.$($path)*
        }};
    }
    let topic = E::TOPIC_AUTHORIZATION_FAILED;
    assert_eq!(produced(&mut broker, "eve", "t").await, topic);
    assert_eq!(fetched(&mut broker, "eve", "t").await, topic);
    let request = ListOffsetsRequest {
        topics: vec![ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![ListOffsetsPartition::default()],
        }],
        ..Default::default()
    };
    assert_eq!(code!(list_offsets, 6, request, topics[0].partitions[0].error_code), topic);
    let request = OffsetForLeaderEpochRequest {
        topics: vec![OffsetForLeaderTopic {
            topic: "t".into(),
            partitions: vec![OffsetForLeaderPartition::default()],
        }],
        ..Default::default()
    };
    assert_eq!(code!(offset_for_leader_epoch, 4, request, topics[0].partitions[0].error_code), topic);
    let request = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "t".into(),
            partitions: vec![DeleteRecordsPartition::default()],
        }],
        ..Default::default()
    };
    assert_eq!(code!(delete_records, 2, request, topics[0].partitions[0].error_code), topic);
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "new".into(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(code!(create_topics, 7, request, topics[0].error_code), topic);
    let request = DeleteTopicsRequest { topic_names: vec!["t".into()], ..Default::default() };
    assert_eq!(code!(delete_topics, 5, request, responses[0].error_code), topic);
    let request = CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic { name: "t".into(), count: 3, ..Default::default() }],
        ..Default::default()
    };
    assert_eq!(code!(create_partitions, 3, request, results[0].error_code), topic);
    let request = DescribeTopicPartitionsRequest {
        topics: vec![TopicRequest { name: "t".into() }],
        ..Default::default()
    };
    assert_eq!(code!(describe_topic_partitions, 0, request, topics[0].error_code), topic);

    for (kind, code) in [
        (resource::TOPIC, topic),
        (resource::GROUP, E::GROUP_AUTHORIZATION_FAILED),
        (resource::BROKER, E::CLUSTER_AUTHORIZATION_FAILED),
        (resource::CLIENT_METRICS, E::CLUSTER_AUTHORIZATION_FAILED),
    ] {
        let resource =
            DescribeConfigsResource { resource_type: kind, resource_name: "1".into(), ..Default::default() };
        let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
        assert_eq!(code!(describe_configs, 4, request, results[0].error_code), code);
        let resource =
            AlterConfigsResource { resource_type: kind, resource_name: "1".into(), ..Default::default() };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        assert_eq!(code!(incremental_alter_configs, 1, request, responses[0].error_code), code);
    }

    let group = E::GROUP_AUTHORIZATION_FAILED;
    let request = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    assert_eq!(code!(find_coordinator, 6, request, coordinators[0].error_code), group);
    assert!(broker.directories.list().iter().all(|it| !it.starts_with("__consumer_offsets")));
    assert_eq!(
        code!(join_group, 9, JoinGroupRequest { group_id: "g".into(), ..Default::default() }, error_code),
        group
    );
    assert_eq!(
        code!(sync_group, 5, SyncGroupRequest { group_id: "g".into(), ..Default::default() }, error_code),
        group
    );
    assert_eq!(
        code!(heartbeat, 4, HeartbeatRequest { group_id: "g".into(), ..Default::default() }, error_code),
        group
    );
    assert_eq!(
        code!(leave_group, 5, LeaveGroupRequest { group_id: "g".into(), ..Default::default() }, error_code),
        group
    );
    let request = ConsumerGroupHeartbeatRequest { group_id: "g".into(), ..Default::default() };
    assert_eq!(code!(consumer_group_heartbeat, 1, request, error_code), group);
    let request = DescribeGroupsRequest { groups: vec!["g".into()], ..Default::default() };
    assert_eq!(code!(describe_groups, 6, request, groups[0].error_code), group);
    let request = ConsumerGroupDescribeRequest { group_ids: vec!["g".into()], ..Default::default() };
    assert_eq!(code!(consumer_group_describe, 1, request, groups[0].error_code), group);
    let request = DeleteGroupsRequest { groups_names: vec!["g".into()] };
    assert_eq!(code!(delete_groups, 2, request, results[0].error_code), group);
    let commit = OffsetCommitRequest {
        group_id: "g".into(),
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![OffsetCommitRequestPartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(code!(offset_commit, 9, commit, topics[0].partitions[0].error_code), group);
    let of_group = OffsetFetchRequestGroup { group_id: "g".into(), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![of_group], ..Default::default() };
    assert_eq!(code!(offset_fetch, 8, request, groups[0].error_code), group);
    let delete = OffsetDeleteRequest {
        group_id: "g".into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: "t".into(),
            partitions: vec![OffsetDeleteRequestPartition::default()],
        }],
    };
    assert_eq!(code!(offset_delete, 0, delete, error_code), group);

    let cluster = E::CLUSTER_AUTHORIZATION_FAILED;
    let request = InitProducerIdRequest { transactional_id: None, ..Default::default() };
    assert_eq!(code!(init_producer_id, 4, request, error_code), cluster);
    assert_eq!(code!(describe_log_dirs, 4, DescribeLogDirsRequest::default(), error_code), cluster);
    assert_eq!(code!(list_config_resources, 1, ListConfigResourcesRequest::default(), error_code), cluster);
    assert_eq!(code!(describe_acls, 3, filter(), error_code), cluster);
    let request = CreateAclsRequest { creations: vec![rule("eve", TOPIC, "*", READ)] };
    assert_eq!(code!(create_acls, 3, request, results[0].error_code), cluster);
    let request = DeleteAclsRequest { filters: vec![every_rule()] };
    assert_eq!(code!(delete_acls, 3, request, filter_results[0].error_code), cluster);
    let request = DescribeUserScramCredentialsRequest::default();
    assert_eq!(code!(describe_user_scram_credentials, 0, request, error_code), cluster);
    let deletions = vec![ScramCredentialDeletion { name: "alice".into(), mechanism: 1 }];
    let request = AlterUserScramCredentialsRequest { deletions, ..Default::default() };
    assert_eq!(code!(alter_user_scram_credentials, 0, request, results[0].error_code), cluster);
    // Nothing came of any of it.
    assert_eq!(broker.directories.list(), ["t-0"]);
    assert_eq!(broker.cx.image.load().acls().len(), 0);
}

fn filter() -> DescribeAclsRequest {
    DescribeAclsRequest {
        resource_type_filter: 1,
        resource_name_filter: None,
        pattern_type_filter: 1,
        principal_filter: None,
        host_filter: None,
        operation: 1,
        permission_type: 1,
    }
}

fn every_rule() -> DeleteAclsFilter {
    DeleteAclsFilter {
        resource_type_filter: 1,
        resource_name_filter: None,
        pattern_type_filter: 1,
        principal_filter: None,
        host_filter: None,
        operation: 1,
        permission_type: 1,
    }
}

#[tokio::test]
async fn what_is_missing_and_what_is_forbidden_look_the_same_to_who_may_not_see() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = guarded(dir.path(), vec![rule("alice", TOPIC, "orders*", READ)]).await;
    make_topics(&broker, &["orders-eu", "secret"]).await;
    use ErrorCode as E;
    let asked = named(&["orders-eu", "orders-us", "secret", "missing"]);
    let answer = ask_as!(broker, "alice", metadata, 12, asked);
    assert_eq!(
        told(&answer),
        [
            ("orders-eu".to_owned(), E::NONE),
            ("orders-us".to_owned(), E::TOPIC_AUTHORIZATION_FAILED),
            ("secret".to_owned(), E::TOPIC_AUTHORIZATION_FAILED),
            ("missing".to_owned(), E::TOPIC_AUTHORIZATION_FAILED),
        ],
        "`orders-us` is not there, and is not made: alice may not"
    );
    assert!(answer.topics[2].topic_id.is_zero() && answer.topics[2].partitions.is_empty());
    let all = ask_as!(broker, "alice", metadata, 12, MetadataRequest { topics: None, ..Default::default() });
    assert_eq!(told(&all), [("orders-eu".to_owned(), E::NONE)]);
    let pages = ask_as!(
        broker,
        "alice",
        describe_topic_partitions,
        0,
        DescribeTopicPartitionsRequest { response_partition_limit: 10, ..Default::default() }
    );
    let names: Vec<_> = pages.topics.iter().map(|topic| topic.name.as_deref()).collect();
    assert_eq!(names, [Some("orders-eu")]);
    for name in ["secret", "missing"] {
        assert_eq!(produced(&mut broker, "alice", name).await, E::TOPIC_AUTHORIZATION_FAILED);
        assert_eq!(fetched(&mut broker, "alice", name).await, E::TOPIC_AUTHORIZATION_FAILED);
    }
    assert_eq!(produced(&mut broker, "alice", "orders-us").await, E::TOPIC_AUTHORIZATION_FAILED);
    assert_eq!(fetched(&mut broker, "alice", "orders-us").await, E::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(produced(&mut broker, "admin", "missing").await, E::UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test]
async fn ids_are_looked_up_before_rights_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = guarded(dir.path(), vec![]).await;
    make_topics(&broker, &["secret"]).await;
    let secret = broker.cx.image.load().topic(&"secret".into()).unwrap().id;
    let by_id = |topic_id| MetadataRequestTopic { name: None, topic_id };
    let request = MetadataRequest { topics: Some(vec![by_id(secret), by_id(Uuid(9))]), ..Default::default() };
    use ErrorCode as E;
    let answer = ask_as!(broker, "eve", metadata, 12, request);
    let dash = || "-".to_owned();
    assert_eq!(told(&answer), [(dash(), E::TOPIC_AUTHORIZATION_FAILED), (dash(), E::UNKNOWN_TOPIC_ID)]);
    let topics = vec![DeleteTopicState { name: None, topic_id: secret }];
    let answer =
        ask_as!(broker, "eve", delete_topics, 6, DeleteTopicsRequest { topics, ..Default::default() });
    let result = &answer.responses[0];
    assert_eq!((&result.name, result.error_code), (&None, E::TOPIC_AUTHORIZATION_FAILED));
}

#[tokio::test]
async fn topics_are_made_and_deleted_by_who_may_and_the_others_of_the_request_stay() {
    let dir = tempfile::tempdir().unwrap();
    let rules = vec![
        rule("alice", TOPIC, "a*", CREATE),
        rule("alice", TOPIC, "a*", DELETE),
        rule("alice", TOPIC, "b", DESCRIBE),
        rule("maker", CLUSTER, "kafka-cluster", CREATE),
    ];
    let mut broker = guarded(dir.path(), rules).await;
    let new = |name: &str| CreatableTopic {
        name: name.into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    use ErrorCode as E;
    let request = CreateTopicsRequest { topics: vec![new("b"), new("a")], ..Default::default() };
    let answer = ask_as!(broker, "alice", create_topics, 7, request);
    let codes: Vec<_> = answer.topics.iter().map(|topic| (&*topic.name, topic.error_code)).collect();
    assert_eq!(codes, [("a", E::NONE), ("b", E::TOPIC_AUTHORIZATION_FAILED)]);
    let made = &answer.topics[0];
    assert!(!made.topic_id.is_zero());
    assert_eq!(
        (made.topic_config_error_code, made.num_partitions, made.configs.as_deref()),
        (E::TOPIC_AUTHORIZATION_FAILED, -1, Some(&[][..])),
        "she may make it, and not see its configuration"
    );
    let request = CreateTopicsRequest { topics: vec![new("b")], ..Default::default() };
    assert_eq!(ask_as!(broker, "maker", create_topics, 7, request).topics[0].error_code, E::NONE);
    assert_eq!(broker.directories.list(), ["a-0", "b-0"]);

    let names = ["a", "a-missing", "b", "c-missing"].map(TopicName::from).to_vec();
    let request = DeleteTopicsRequest { topic_names: names, ..Default::default() };
    let answer = ask_as!(broker, "alice", delete_topics, 5, request);
    let mut codes: Vec<_> =
        answer.responses.iter().map(|it| (it.name.as_deref().unwrap_or_default(), it.error_code)).collect();
    codes.sort_by_key(|(name, _)| *name);
    assert_eq!(
        codes,
        [
            ("a", E::NONE),
            ("a-missing", E::UNKNOWN_TOPIC_OR_PARTITION),
            ("b", E::TOPIC_AUTHORIZATION_FAILED),
            ("c-missing", E::TOPIC_AUTHORIZATION_FAILED)
        ]
    );
    assert_eq!(broker.directories.list(), ["b-0"]);
}

#[tokio::test]
async fn a_client_hears_what_it_may_do() {
    let dir = tempfile::tempdir().unwrap();
    let rules = vec![rule("alice", TOPIC, "t", READ), rule("alice", TOPIC, "t", WRITE)];
    let mut broker = guarded(dir.path(), rules).await;
    make_topics(&broker, &["t"]).await;
    let asking = MetadataRequest {
        include_topic_authorized_operations: true,
        include_cluster_authorized_operations: true,
        ..named(&["t"])
    };
    let answer = ask_as!(broker, "alice", metadata, 10, asking.clone());
    let bits = |operations: &[i8]| operations.iter().fold(0, |bits, operation| bits | 1 << operation);
    assert_eq!(answer.topics[0].topic_authorized_operations, bits(&[READ, WRITE, DESCRIBE]));
    assert_eq!(answer.cluster_authorized_operations, 0, "she may not even see the cluster");
    let answer = ask_as!(broker, "admin", metadata, 10, asking);
    assert_eq!(
        (answer.topics[0].topic_authorized_operations, answer.cluster_authorized_operations),
        (3576, 8096)
    );
    let asking = DescribeClusterRequest { include_cluster_authorized_operations: true, ..Default::default() };
    assert_eq!(ask_as!(broker, "alice", describe_cluster, 1, asking).cluster_authorized_operations, 0);
}

#[tokio::test]
async fn who_may_write_somewhere_may_have_a_producer_id() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = guarded(dir.path(), vec![rule("alice", TOPIC, "a*", WRITE)]).await;
    let request = || InitProducerIdRequest { transactional_id: None, ..Default::default() };
    assert_eq!(ask_as!(broker, "alice", init_producer_id, 4, request()).error_code, ErrorCode::NONE);
    let refused = ask_as!(broker, "eve", init_producer_id, 4, request()).error_code;
    assert_eq!(refused, ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
}

#[tokio::test]
async fn a_member_subscribes_to_what_it_may_see() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = guarded(dir.path(), vec![rule("alice", GROUP, "g", READ)]).await;
    make_topics(&broker, &["t"]).await;
    let request = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "m".into(),
        subscribed_topic_names: Some(vec!["t".into()]),
        ..Default::default()
    };
    let answer = ask_as!(broker, "alice", consumer_group_heartbeat, 1, request);
    assert_eq!(answer.error_code, ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    let commit = OffsetCommitRequest {
        group_id: "g".into(),
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![OffsetCommitRequestPartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = ask_as!(broker, "alice", offset_commit, 9, commit);
    assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::TOPIC_AUTHORIZATION_FAILED);
}

#[tokio::test]
async fn rules_are_described_deleted_and_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let rules = vec![
        rule("alice", TOPIC, "t", READ),
        rule("bob", TOPIC, "t", WRITE),
        rule("alice", TOPIC, "t*", READ),
        rule("alice", GROUP, "g", READ),
    ];
    drop(guarded(dir.path(), rules).await);
    let mut broker = Broker::start(dir.path(), GUARDED).await;
    for version in 1..=3 {
        let answer = ask_as!(broker, "admin", describe_acls, version, filter());
        let told: Vec<_> = answer
            .resources
            .iter()
            .map(|it| (it.resource_type, &*it.resource_name, it.pattern_type, it.acls.len()))
            .collect();
        assert_eq!(told, [(TOPIC, "t", 3, 2), (TOPIC, "t", 4, 1), (GROUP, "g", 3, 1)]);
        assert_eq!(&*answer.resources[0].acls[0].principal, "User:alice");
    }
    assert_eq!(fetched(&mut broker, "alice", "tea").await, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let prefixed = DeleteAclsFilter { pattern_type_filter: 4, ..every_rule() };
    let answer = ask_as!(broker, "admin", delete_acls, 3, DeleteAclsRequest { filters: vec![prefixed] });
    assert_eq!(answer.filter_results[0].matching_acls.len(), 1);
    assert_eq!(fetched(&mut broker, "alice", "tea").await, ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    assert_eq!(fetched(&mut broker, "alice", "t").await, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    drop(broker);
    let broker = Broker::start(dir.path(), GUARDED).await;
    assert_eq!(broker.cx.image.load().acls().len(), 3);
}

#[tokio::test]
async fn without_an_authorizer_there_are_no_rules_and_everybody_may() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path(), "super.users=User:admin").await;
    use ErrorCode as E;
    assert_eq!(ask_as!(broker, "eve", describe_acls, 3, filter()).error_code, E::SECURITY_DISABLED);
    let request = CreateAclsRequest { creations: vec![rule("eve", TOPIC, "t", READ)] };
    let answer = ask_as!(broker, "eve", create_acls, 3, request);
    assert_eq!(answer.results[0].error_code, E::SECURITY_DISABLED);
    let answer = ask_as!(broker, "eve", delete_acls, 3, DeleteAclsRequest { filters: vec![every_rule()] });
    assert_eq!(answer.filter_results[0].error_code, E::SECURITY_DISABLED);
    assert_eq!(produced(&mut broker, "eve", "t").await, E::UNKNOWN_TOPIC_OR_PARTITION);
}
