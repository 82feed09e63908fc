//! Metadata, versions 0 to 13: which brokers there are, and who leads which partition.
//!
//! - 0: an empty list of topics means all; from 1 on, null does, and an empty list means none.
//! - 4: the client may forbid that a missing topic is made.
//! - 8: what the client may do, if it asks; of the cluster to version 10 only, later by DescribeCluster.
//! - 10: topic ids in the answer (KIP-516); 12: also in the request.

use std::collections::HashSet;

use ottla_protocol::{
    error_code::ErrorCode,
    messages::metadata::{
        MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
        MetadataResponsePartition, MetadataResponseTopic,
    },
    types::{BrokerId, TopicName, Uuid},
};
use tokio::time::Instant;

use super::{
    Context, RequestContext,
    access::{self, Access},
    nodes::{Cluster, NO_OPERATIONS, address, is_online},
};
use crate::{
    metadata::{
        image::{Partition, Topic},
        is_internal,
    },
    quota::Mutations,
};

/// The first version that takes topic ids; before it a topic must have a name.
const TOPIC_IDS_FROM: i16 = 12;

pub(crate) async fn handle(request: MetadataRequest, rq: &RequestContext, cx: &Context) -> MetadataResponse {
    let access = Access::of(rq, cx);
    let topics = match &request.topics {
        None => all(&request, &access, cx),
        Some(topics) if topics.is_empty() && rq.version == 0 => all(&request, &access, cx),
        Some(topics) => some(topics, &request, &access, rq, cx).await,
    };
    // After the topics: one may have been made for this answer.
    let image = cx.image.load();
    let broker = |broker| {
        let (host, port) = address(broker, rq, cx)?;
        Some(MetadataResponseBroker { node_id: broker.id, host, port, rack: broker.rack.clone() })
    };
    let node = cx.controller.node();
    MetadataResponse {
        brokers: image.brokers().filter(|broker| !broker.fenced).filter_map(broker).collect(),
        cluster_id: Some(image.cluster_id().clone()),
        // Any broker passes requests on to the controller; this one is as good as another.
        controller_id: if is_online(&image, node) { node } else { BrokerId::NONE },
        topics,
        cluster_authorized_operations: access
            .cluster_operations(request.include_cluster_authorized_operations),
        ..MetadataResponse::default()
    }
}

/// All topics that the client may see.
fn all(request: &MetadataRequest, access: &Access<'_>, cx: &Context) -> Vec<MetadataResponseTopic> {
    let cluster = Cluster::now(cx);
    let seen = cluster.image.topics().filter(|topic| access.may_see(access::DESCRIBE_TOPIC, &topic.name));
    seen.map(|topic| describe(&cluster, topic, operations(request, access, &topic.name))).collect()
}

fn operations(request: &MetadataRequest, access: &Access<'_>, topic: &str) -> i32 {
    access.topic_operations(request.include_topic_authorized_operations, topic)
}

async fn some(
    topics: &[MetadataRequestTopic],
    request: &MetadataRequest,
    access: &Access<'_>,
    rq: &RequestContext,
    cx: &Context,
) -> Vec<MetadataResponseTopic> {
    let nameless = |topic: &MetadataRequestTopic| topic.name.is_none() || !topic.topic_id.is_zero();
    if rq.version < TOPIC_IDS_FROM && topics.iter().any(nameless) {
        return topics.iter().map(invalid).collect();
    }
    let mut seen = HashSet::new();
    // Kafka: if one topic is asked for by its id, those by name are not answered.
    let ids: Vec<Uuid> =
        topics.iter().map(|t| t.topic_id).filter(|id| !id.is_zero() && seen.insert(*id)).collect();
    if !ids.is_empty() {
        let cluster = Cluster::now(cx);
        return ids.into_iter().map(|id| by_id(&cluster, id, request, access)).collect();
    }
    let mut seen = HashSet::new();
    let names = topics.iter().filter_map(|topic| topic.name.clone()).filter(|name| seen.insert(name.clone()));
    let names: Vec<TopicName> = names.collect();
    let (seen, unseen): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| access.may(access::DESCRIBE_TOPIC, name));
    let made = match request.allow_auto_topic_creation && cx.config.auto_create_topics_enable {
        true => make_missing(&seen, access, rq, cx).await,
        false => Vec::new(),
    };
    let cluster = Cluster::now(cx);
    let answer = |name: TopicName| match cluster.image.topic(&name) {
        Some(topic) => describe(&cluster, topic, operations(request, access, &name)),
        None => {
            let refused = made.iter().find(|(refused, _)| *refused == name);
            let code = refused.map_or_else(|| missing(&name), |&(_, code)| code);
            MetadataResponseTopic {
                error_code: code,
                is_internal: is_internal(&name),
                topic_authorized_operations: match code == access::CREATE_TOPIC.refusal() {
                    true => NO_OPERATIONS,
                    false => operations(request, access, &name),
                },
                name: Some(name),
                ..MetadataResponseTopic::default()
            }
        }
    };
    // Whether there is such a topic is not looked at.
    let refuse = |name| MetadataResponseTopic {
        error_code: access::DESCRIBE_TOPIC.refusal(),
        name: Some(name),
        ..MetadataResponseTopic::default()
    };
    seen.into_iter().map(answer).chain(unseen.into_iter().map(refuse)).collect()
}

/// Makes the topics that are not there, and tells which could not be made, and why.
async fn make_missing(
    names: &[TopicName],
    access: &Access<'_>,
    rq: &RequestContext,
    cx: &Context,
) -> Vec<(TopicName, ErrorCode)> {
    let mut missing: Vec<TopicName> = {
        let image = cx.image.load();
        names.iter().filter(|name| image.topic(name).is_none()).cloned().collect()
    };
    let mut forbidden = Vec::new();
    if !access.may_cluster(access::CREATE_TOPICS) {
        let refused = missing.extract_if(.., |name| !access.may(access::CREATE_TOPIC, name));
        forbidden.extend(refused.map(|name| (name, access::CREATE_TOPIC.refusal())));
    }
    if missing.is_empty() {
        return forbidden;
    }
    let mutations = Mutations::of(rq.quotas.as_ref(), true, Instant::now());
    let refused = match cx.controller.auto_create(missing.clone(), mutations).await {
        Ok(made) => {
            let refused = missing.into_iter().zip(made);
            let refused = refused.filter_map(|(name, made)| Some((name, made.err()?.code)));
            // Past its quota the client hears that the topic is not there, and asks again.
            refused.filter(|(_, code)| *code != ErrorCode::THROTTLING_QUOTA_EXCEEDED).collect::<Vec<_>>()
        }
        Err(error) => missing.into_iter().map(|name| (name, error.code)).collect(),
    };
    forbidden.extend(refused);
    forbidden
}

fn missing(name: &TopicName) -> ErrorCode {
    match name.check() {
        Ok(()) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Err(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
    }
}

fn by_id(
    cluster: &Cluster,
    id: Uuid,
    request: &MetadataRequest,
    access: &Access<'_>,
) -> MetadataResponseTopic {
    let refuse = |error_code| MetadataResponseTopic {
        error_code,
        name: None,
        topic_id: id,
        ..MetadataResponseTopic::default()
    };
    match cluster.image.topic_by_id(id) {
        Some(topic) if access.may(access::DESCRIBE_TOPIC, &topic.name) => {
            describe(cluster, topic, operations(request, access, &topic.name))
        }
        Some(_) => refuse(access::DESCRIBE_TOPIC.refusal()),
        None => refuse(ErrorCode::UNKNOWN_TOPIC_ID),
    }
}

fn invalid(topic: &MetadataRequestTopic) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: ErrorCode::INVALID_REQUEST,
        // The answer cannot do without a name in these versions.
        name: Some(topic.name.clone().unwrap_or_default()),
        topic_id: topic.topic_id,
        ..MetadataResponseTopic::default()
    }
}

fn describe(cluster: &Cluster, topic: &Topic, operations: i32) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().enumerate();
    MetadataResponseTopic {
        error_code: ErrorCode::NONE,
        name: Some(topic.name.clone()),
        topic_id: topic.id,
        is_internal: is_internal(&topic.name),
        partitions: partitions
            .map(|(index, partition)| describe_partition(cluster, topic, index, partition))
            .collect(),
        topic_authorized_operations: operations,
    }
}

fn describe_partition(
    cluster: &Cluster,
    topic: &Topic,
    index: usize,
    partition: &Partition,
) -> MetadataResponsePartition {
    let index = index as i32;
    let leader = cluster.leader(topic, index, partition);
    MetadataResponsePartition {
        error_code: if leader.is_some() { ErrorCode::NONE } else { ErrorCode::LEADER_NOT_AVAILABLE },
        partition_index: index,
        leader_id: leader.unwrap_or(BrokerId::NONE),
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.to_vec(),
        isr_nodes: partition.isr.to_vec(),
        offline_replicas: cluster.offline_replicas(topic, index, partition),
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::types::Str;

    use super::*;
    use crate::handlers::testing::{Broker, ask, make_topics};

    fn named(names: &[&str]) -> Option<Vec<MetadataRequestTopic>> {
        let topic = |name: &&str| MetadataRequestTopic { name: Some((*name).into()), ..Default::default() };
        Some(names.iter().map(topic).collect())
    }

    fn request(
        topics: Option<Vec<MetadataRequestTopic>>,
        allow_auto_topic_creation: bool,
    ) -> MetadataRequest {
        MetadataRequest { topics, allow_auto_topic_creation, ..MetadataRequest::default() }
    }

    fn names(response: &MetadataResponse) -> Vec<&str> {
        response.topics.iter().map(|t| t.name.as_deref().unwrap_or("-")).collect()
    }

    fn codes(response: &MetadataResponse) -> Vec<ErrorCode> {
        response.topics.iter().map(|t| t.error_code).collect()
    }

    #[tokio::test]
    async fn every_version_tells_the_brokers_and_the_leaders() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        make_topics(&broker, &["a"]).await;
        for version in 0..=13 {
            let answer = ask!(broker, version, request(named(&["a"]), true));
            let told = &answer.brokers[0];
            assert_eq!((told.node_id, &told.host, told.port), (BrokerId(1), &Str::from("10.0.0.7"), 9092));
            let partition = &answer.topics[0].partitions[0];
            assert_eq!((partition.leader_id, &*partition.isr_nodes), (BrokerId(1), &[BrokerId(1)][..]));
            assert_eq!(
                (partition.error_code, answer.topics[0].error_code),
                (ErrorCode::NONE, ErrorCode::NONE)
            );
            if version >= 2 {
                assert_eq!(
                    (answer.cluster_id.as_deref(), answer.controller_id),
                    (Some("cluster"), BrokerId(1))
                );
            }
            if version >= 10 {
                assert!(!answer.topics[0].topic_id.is_zero());
            }
        }
    }

    #[tokio::test]
    async fn all_topics_are_null_or_in_version_0_none() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        make_topics(&broker, &["b", "a"]).await;
        assert_eq!(names(&ask!(broker, 0, request(named(&[]), true))), ["a", "b"]);
        for version in [1, 9, 13] {
            assert_eq!(names(&ask!(broker, version, request(None, true))), ["a", "b"]);
            assert!(ask!(broker, version, request(named(&[]), true)).topics.is_empty());
        }
    }

    #[tokio::test]
    async fn a_missing_topic_is_made_only_if_client_and_broker_allow_it() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "num.partitions=2").await;
        let answer = ask!(broker, 13, request(named(&["a", "a", "b/c", "__consumer_offsets"]), false));
        use ErrorCode as E;
        assert_eq!(names(&answer), ["a", "b/c", "__consumer_offsets"]);
        assert_eq!(
            codes(&answer),
            [E::UNKNOWN_TOPIC_OR_PARTITION, E::INVALID_TOPIC_EXCEPTION, E::UNKNOWN_TOPIC_OR_PARTITION]
        );
        assert!(answer.topics[2].is_internal);
        assert!(broker.directories.list().is_empty());

        let answer = ask!(broker, 13, request(named(&["a", "b/c", "__consumer_offsets"]), true));
        assert_eq!(codes(&answer), [E::NONE, E::INVALID_TOPIC_EXCEPTION, E::INVALID_TOPIC_EXCEPTION]);
        assert_eq!(answer.topics[0].partitions.len(), 2, "with leaders, at once");
        assert!(answer.topics[0].partitions.iter().all(|p| p.leader_id == BrokerId(1)));
        assert_eq!(broker.directories.list(), ["a-0", "a-1"]);
    }

    #[tokio::test]
    async fn a_broker_that_makes_no_topics_says_that_they_are_missing() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "auto.create.topics.enable=false").await;
        let answer = ask!(broker, 3, request(named(&["a"]), true));
        assert_eq!(codes(&answer), [ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);
        assert!(broker.directories.list().is_empty());
    }

    #[tokio::test]
    async fn topics_are_found_by_their_ids_from_version_12_on() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        make_topics(&broker, &["a"]).await;
        let id = broker.cx.image.load().topic(&"a".into()).unwrap().id;
        let by_id = |id| MetadataRequestTopic { name: None, topic_id: id };
        let answer = ask!(broker, 12, request(Some(vec![by_id(id), by_id(Uuid(9)), by_id(id)]), true));
        assert_eq!(names(&answer), ["a", "-"]);
        assert_eq!(codes(&answer), [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_ID]);
        let with_id = MetadataRequestTopic { name: Some("a".into()), topic_id: id };
        let answer = ask!(broker, 11, request(Some(vec![with_id]), true));
        assert_eq!(codes(&answer), [ErrorCode::INVALID_REQUEST]);
    }

    #[tokio::test]
    async fn what_a_client_may_do_is_told_if_it_asks() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        make_topics(&broker, &["a"]).await;
        let answer = ask!(broker, 8, request(None, true));
        assert_eq!(answer.cluster_authorized_operations, i32::MIN);
        assert_eq!(answer.topics[0].topic_authorized_operations, i32::MIN);
        let asking = MetadataRequest {
            include_cluster_authorized_operations: true,
            include_topic_authorized_operations: true,
            ..request(None, true)
        };
        let answer = ask!(broker, 8, asking);
        assert_eq!(answer.cluster_authorized_operations, 8096);
        assert_eq!(answer.topics[0].topic_authorized_operations, 3576);
    }

    #[tokio::test]
    async fn advertised_listeners_are_told_instead_of_the_local_address() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "advertised.listeners=PLAINTEXT://a.example:9092").await;
        let answer = ask!(broker, 9, request(None, true));
        assert_eq!((&*answer.brokers[0].host, answer.brokers[0].port), ("a.example", 9092));
    }
}
