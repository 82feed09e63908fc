//! What the admin client sees of groups, and does to them, on real brokers. The members are made by hand.

use std::{collections::BTreeMap, net::ToSocketAddrs};

use ottla::{Admin, ErrorCode, GroupState, GroupType, OffsetAndMetadata, TopicPartition};
use ottla_interop::wire::Wire;
use ottla_protocol::{
    Bytes,
    messages::{
        ConsumerGroupHeartbeatRequest, FindCoordinatorRequest, JoinGroupRequest, LeaveGroupRequest,
        SyncGroupRequest,
        data::{
            ConsumerProtocolAssignment, ConsumerProtocolSubscription,
            consumer_protocol_assignment as assignment,
        },
        join_group::JoinGroupRequestProtocol,
        leave_group::MemberIdentity,
        sync_group::SyncGroupRequestAssignment,
    },
    types::{Str, TopicName},
    wire::{Wire as Message, Writer},
};

use crate::common::{Target, eventually, on_each, unique};

/// The only member of a classic group, who has every partition of its topic.
struct Member {
    wire: Wire,
    group: String,
    id: Str,
}

impl Member {
    /// Joins, once there is a coordinator.
    async fn join(target: &Target, group: &str, topic: &str, partitions: &[i32]) -> Self {
        let wire = Wire::connect(target.address.to_socket_addrs().unwrap().next().unwrap());
        let mut member = Self { wire, group: group.to_owned(), id: Str::EMPTY };
        let coordinator =
            FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() };
        eventually("there is a coordinator", async || {
            let found = member.wire.call(4, &coordinator);
            (!found.coordinators[0].error_code.is_error()).then_some(())
        })
        .await;
        let topics = vec![topic.into()];
        let subscription = ConsumerProtocolSubscription { topics, ..Default::default() };
        let generation = eventually("the member has joined", async || {
            let request = JoinGroupRequest {
                group_id: group.into(),
                session_timeout_ms: 30_000,
                rebalance_timeout_ms: 30_000,
                member_id: member.id.clone(),
                group_instance_id: Some("first".into()),
                protocol_type: "consumer".into(),
                protocols: vec![JoinGroupRequestProtocol {
                    name: "range".into(),
                    metadata: versioned(&subscription),
                }],
                ..Default::default()
            };
            let joined = member.wire.call(9, &request);
            member.id = joined.member_id;
            (!joined.error_code.is_error()).then_some(joined.generation_id)
        })
        .await;
        let owned = assignment::TopicPartition { topic: topic.into(), partitions: partitions.to_vec() };
        let assigned = ConsumerProtocolAssignment { assigned_partitions: vec![owned], user_data: None };
        let request = SyncGroupRequest {
            group_id: group.into(),
            generation_id: generation,
            member_id: member.id.clone(),
            group_instance_id: Some("first".into()),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: vec![SyncGroupRequestAssignment {
                member_id: member.id.clone(),
                assignment: versioned(&assigned),
            }],
        };
        assert_eq!(member.wire.call(5, &request).error_code, ErrorCode::NONE);
        member
    }

    fn leave(mut self) {
        let identity = MemberIdentity { group_instance_id: Some("first".into()), ..Default::default() };
        let group_id = self.group.as_str().into();
        let request = LeaveGroupRequest { group_id, members: vec![identity], ..Default::default() };
        let left = self.wire.call(5, &request);
        assert_eq!((left.error_code, left.members[0].error_code), (ErrorCode::NONE, ErrorCode::NONE));
    }
}

/// A message behind its version, as members exchange them.
fn versioned(message: &impl Message) -> Bytes {
    let mut w = Writer::new();
    w.i16(0);
    message.write(&mut w, 0).unwrap();
    w.into_bytes()
}

fn partition(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

async fn committed(admin: &Admin, group: &str) -> BTreeMap<TopicPartition, OffsetAndMetadata> {
    admin.list_group_offsets([group]).await.unwrap().remove(0).1.unwrap()
}

#[test]
fn offsets_of_a_group_without_members_are_set_changed_and_forgotten() {
    on_each(async |target| {
        let admin = target.admin();
        let (topic, group) = (target.topic("offsets", 3).await, unique("offsets"));
        assert_eq!(committed(&admin, &group).await, BTreeMap::new(), "nobody has heard of it");

        let whole = OffsetAndMetadata { offset: 7, leader_epoch: Some(0), metadata: "by hand".to_owned() };
        let offsets = [(partition(&topic, 2), whole.clone()), (partition(&topic, 0), 5.into())];
        let altered = admin.alter_group_offsets(&group, offsets).await.unwrap();
        assert_eq!(altered[0].0, partition(&topic, 2), "in the order asked for");
        assert!(altered.iter().all(|(_, result)| result.is_ok()), "{altered:?}");
        let listed = BTreeMap::from([(partition(&topic, 0), 5.into()), (partition(&topic, 2), whole)]);
        assert_eq!(committed(&admin, &group).await, listed);

        admin.alter_group_offsets(&group, [(partition(&topic, 2), 3)]).await.unwrap()[0].1.as_ref().unwrap();
        assert_eq!(committed(&admin, &group).await[&partition(&topic, 2)], OffsetAndMetadata::new(3));

        let deleted = admin.delete_group_offsets(&group, [partition(&topic, 0)]).await.unwrap();
        deleted[0].1.as_ref().unwrap();
        let left: Vec<TopicPartition> = committed(&admin, &group).await.into_keys().collect();
        assert_eq!(left, [partition(&topic, 2)]);
    });
}

#[test]
fn an_offset_of_a_partition_that_is_not_there_is_refused_beside_one_that_is() {
    on_each(async |target| {
        let admin = target.admin();
        let (topic, group) = (target.topic("beside", 1).await, unique("beside"));
        let offsets = [(partition(&topic, 0), 1), (partition(&topic, 9), 1)];
        let altered = admin.alter_group_offsets(&group, offsets).await.unwrap();
        assert!(altered[0].1.is_ok(), "{altered:?}");
        let refused = altered[1].1.as_ref().unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), "{refused}");
        assert!(refused.to_string().contains(&format!("commit offset of `{topic}-9`")), "{refused}");
    });
}

#[test]
fn a_group_is_listed_described_and_deleted_once_its_member_has_left() {
    on_each(async |target| {
        let admin = target.admin();
        let (topic, group) = (target.topic("member", 2).await, unique("member"));
        let member = Member::join(&target, &group, &topic, &[1, 0]).await;

        let listed = admin.list_groups().await.unwrap();
        let listing = listed.iter().find(|listing| listing.group_id == group).unwrap();
        assert_eq!(listing.state, Some(GroupState::Stable));
        assert_eq!(listing.group_type, Some(GroupType::Classic));
        assert_eq!(listing.protocol_type, "consumer");

        let described = admin.describe_groups([&group]).await.unwrap().remove(0).1.unwrap();
        assert_eq!((described.group_type, described.state), (GroupType::Classic, GroupState::Stable));
        assert_eq!(described.assignor, "range");
        let [only] = &described.members[..] else { panic!("{described:?}") };
        assert_eq!(only.member_id, *member.id);
        assert_eq!(only.group_instance_id.as_deref(), Some("first"));
        assert_eq!(only.client_id, "wire");
        assert!(only.host.contains("127.0.0.1"), "{only:?}");
        assert_eq!(only.assignment, [partition(&topic, 0), partition(&topic, 1)]);

        let refused = admin.delete_groups([&group]).await.unwrap().remove(0).1.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::NON_EMPTY_GROUP), "{refused}");
        let altered = admin.alter_group_offsets(&group, [(partition(&topic, 0), 1)]).await.unwrap();
        let refused = altered[0].1.as_ref().unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::UNKNOWN_MEMBER_ID), "{refused}");
        let deleted = admin.delete_group_offsets(&group, [partition(&topic, 0)]).await.unwrap();
        let refused = deleted[0].1.as_ref().unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC), "{refused}");

        member.leave();
        let described = admin.describe_groups([&group]).await.unwrap().remove(0).1.unwrap();
        assert_eq!(described.state, GroupState::Empty);
        assert!(described.state.is_inactive() && described.members.is_empty());
        admin.delete_groups([&group]).await.unwrap().remove(0).1.unwrap();
        let gone = admin.describe_groups([&group]).await.unwrap().remove(0).1.unwrap_err();
        assert_eq!(gone.code(), Some(ErrorCode::GROUP_ID_NOT_FOUND), "{gone}");
        assert!(gone.to_string().contains(&format!("describe group `{group}`")), "{gone}");
    });
}

#[test]
fn each_of_many_groups_has_its_own_outcome_in_the_order_asked_for() {
    on_each(async |target| {
        let admin = target.admin();
        let topic = target.topic("many", 1).await;
        let groups: Vec<String> = (0..20).map(|_| unique("many")).collect();
        for (offset, group) in (0..).zip(&groups).filter(|(offset, _)| offset % 2 == 0) {
            admin.alter_group_offsets(group, [(partition(&topic, 0), offset)]).await.unwrap()[0]
                .1
                .as_ref()
                .unwrap();
        }
        let listed = admin.list_group_offsets(&groups).await.unwrap();
        let described = admin.describe_groups(&groups).await.unwrap();
        for (index, group) in groups.iter().enumerate() {
            assert_eq!((&listed[index].0, &described[index].0), (group, group));
            let offsets = listed[index].1.as_ref().unwrap();
            if index % 2 == 0 {
                assert_eq!(offsets[&partition(&topic, 0)].offset, index as i64);
                assert_eq!(described[index].1.as_ref().unwrap().state, GroupState::Empty);
            } else {
                assert!(offsets.is_empty());
                let missing = described[index].1.as_ref().unwrap_err();
                assert_eq!(missing.code(), Some(ErrorCode::GROUP_ID_NOT_FOUND), "{missing}");
            }
        }
        let deleted = admin.delete_groups(&groups).await.unwrap();
        assert!(deleted.iter().enumerate().all(|(index, (_, result))| result.is_ok() == (index % 2 == 0)));
    });
}

#[test]
fn a_group_of_the_consumer_protocol_is_described_with_its_targets() {
    on_each(async |target| {
        // Ours does not serve it yet.
        if target.name != "apache" {
            return;
        }
        let admin = target.admin();
        let (topic, group) = (target.topic("consumer", 2).await, unique("consumer"));
        let mut wire = Wire::connect(target.address.to_socket_addrs().unwrap().next().unwrap());
        let member: Str = unique("id").into();
        let request = ConsumerGroupHeartbeatRequest {
            group_id: group.as_str().into(),
            member_id: member.clone(),
            rebalance_timeout_ms: 30_000,
            subscribed_topic_names: Some(vec![TopicName::from(&topic)]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        };
        admin.list_group_offsets([&group]).await.unwrap();
        eventually("the member has joined", async || {
            (!wire.call(1, &request).error_code.is_error()).then_some(())
        })
        .await;
        let target_assignment = vec![partition(&topic, 0), partition(&topic, 1)];
        let described = eventually("the member is to have both partitions", async || {
            let described = admin.describe_groups([&group]).await.unwrap().remove(0).1.unwrap();
            let targets = described.members[0].target_assignment.as_ref() == Some(&target_assignment);
            targets.then_some(described)
        })
        .await;
        assert_eq!(described.group_type, GroupType::Consumer);
        assert_eq!(described.assignor, "uniform");
        assert!(described.group_epoch.is_some_and(|epoch| epoch >= 1), "{described:?}");
        assert_eq!(described.members[0].member_id, *member);
        assert!(described.members[0].member_epoch.is_some());
    });
}
