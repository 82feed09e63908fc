//! Groups on our broker, of other people's clients and of ours among them: members come, leave, die and come back while
//! records flow.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod members;

use std::{
    collections::{BTreeSet, VecDeque},
    net::{SocketAddr, TcpListener},
};

use members::{
    At, Given, Member, PARTITIONS, Place, Protocol, TOPIC, all, come_and_go, has_all, produce, produce_ours,
    sizes,
};
use ottla::TopicPartition;
use ottla_interop::{
    broker::TestBroker,
    or_skip,
    peers::{self, Peer},
    wire::Wire,
};
use ottla_protocol::messages::{ConsumerGroupDescribeRequest, ListGroupsRequest};

/// A broker for groups. Members know it by its address, which it has again after a restart.
fn start_broker(initial_rebalance_delay_ms: u32) -> TestBroker {
    TestBroker::start(&[
        ("listeners", &format!("PLAINTEXT://{}", free_address())),
        ("num.partitions", &PARTITIONS.to_string()),
        ("group.initial.rebalance.delay.ms", &initial_rebalance_delay_ms.to_string()),
        ("group.consumer.session.timeout.ms", "6000"),
        ("group.consumer.heartbeat.interval.ms", "500"),
    ])
}

/// An address that nobody listens on.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// That the group is of the kind that was asked for, and has three members: clients may fall back in silence.
#[track_caller]
fn check_protocol(broker: &TestBroker, protocol: Protocol) {
    let mut wire = Wire::connect(broker.bootstrap().parse().unwrap());
    let listed = wire.call(5, &ListGroupsRequest::default()).groups;
    let listed: Vec<(&str, &str)> = listed.iter().map(|g| (&*g.group_id.0, &*g.group_type)).collect();
    match protocol {
        Protocol::Classic => assert_eq!(listed, [("g", "classic")]),
        Protocol::Consumer => {
            assert_eq!(listed, [("g", "consumer")]);
            let request = ConsumerGroupDescribeRequest { group_ids: vec!["g".into()], ..Default::default() };
            let described = wire.call(1, &request).groups;
            assert_eq!(described[0].members.len(), 3);
            let shares =
                described[0].members.iter().map(|m| m.target_assignment.topic_partitions[0].partitions.len());
            assert_eq!(shares.collect::<Vec<_>>(), [2, 2, 2]);
        }
    }
}

#[test]
fn confluent_kafkas_group_goes_on_whoever_comes_and_goes() {
    a_group_goes_on_whoever_comes_and_goes(peers::confluent(), Protocol::Classic);
}

#[test]
fn kafka_pythons_group_goes_on_whoever_comes_and_goes() {
    a_group_goes_on_whoever_comes_and_goes(peers::kafka_python(), Protocol::Classic);
}

#[test]
fn franz_gos_group_goes_on_whoever_comes_and_goes() {
    a_group_goes_on_whoever_comes_and_goes(peers::franz_go(), Protocol::Classic);
}

#[test]
fn kafka_clients_group_goes_on_whoever_comes_and_goes() {
    a_group_goes_on_whoever_comes_and_goes(peers::java(), Protocol::Classic);
}

#[test]
fn confluent_kafkas_consumer_group_goes_on_whoever_comes_and_goes() {
    a_group_goes_on_whoever_comes_and_goes(peers::confluent(), Protocol::Consumer);
}

#[test]
fn franz_gos_consumer_group_goes_on_whoever_comes_and_goes() {
    a_group_goes_on_whoever_comes_and_goes(peers::franz_go(), Protocol::Consumer);
}

#[test]
fn kafka_clients_consumer_group_goes_on_whoever_comes_and_goes() {
    a_group_goes_on_whoever_comes_and_goes(peers::java(), Protocol::Consumer);
}

/// Members share the partitions, take over from who left or died, and go on where the group was.
fn a_group_goes_on_whoever_comes_and_goes(peer: anyhow::Result<Peer>, protocol: Protocol) {
    let Some(peer) = or_skip(peer) else { return };
    let peer = &peer;
    let mut broker = start_broker(100);
    produce(peer, &Place::at(&broker), 50);
    let given = Given::default();
    let member =
        |broker: &TestBroker, number| Member::start(peer, &Place::at(broker), protocol, number, &given);

    let mut members: Vec<Member> = (0..3).map(|number| member(&broker, number)).collect();
    given.wait_until("the first records", |given| has_all(given, 50));
    // All of them take part, sooner or later; what each is given then is its own.
    let mut count = 50;
    given.wait_until("a share for each", |given| {
        produce(peer, &Place::at(&broker), 5);
        count += 5;
        (0..3).all(|number| !given.of(number).is_empty())
    });
    let mut expected = count;
    given.wait_until("the records of three", |given| has_all(given, expected));

    check_protocol(&broker, protocol);

    members.remove(0).leave();
    produce(peer, &Place::at(&broker), 20);
    expected += 20;
    given.wait_until("the records after one has left", |given| has_all(given, expected));

    let killed = members.remove(0);
    let died = killed.number;
    killed.kill();
    produce(peer, &Place::at(&broker), 20);
    expected += 20;
    given.wait_until("the records after one has died", |given| has_all(given, expected));
    assert_eq!(died, 1);

    // The broker dies too; the group's offsets are where they were.
    broker.restart();
    produce(peer, &Place::at(&broker), 20);
    expected += 20;
    given.wait_until("the records after a restart", |given| has_all(given, expected));
    members.into_iter().for_each(Member::leave);

    // Whoever comes next begins where the group is, and sees nothing twice.
    let late = Given::default();
    let next = Member::start(peer, &Place::at(&broker), protocol, 9, &late);
    produce(peer, &Place::at(&broker), 7);
    let fresh: BTreeSet<At> = all(expected + 7).difference(&all(expected)).copied().collect();
    late.wait_until("the records of who came late", |late| late.everything().len() >= fresh.len());
    assert_eq!(late.everything().into_iter().collect::<BTreeSet<_>>(), fresh, "{}", peer.name);
    next.leave();
    given.check_nothing_committed_comes_again();
}

#[test]
fn confluent_kafkas_members_come_and_go_while_records_flow() {
    members_come_and_go_while_records_flow(peers::confluent(), Protocol::Classic);
}

#[test]
fn confluent_kafkas_members_of_a_consumer_group_come_and_go_while_records_flow() {
    members_come_and_go_while_records_flow(peers::confluent(), Protocol::Consumer);
}

#[test]
fn kafka_pythons_members_come_and_go_while_records_flow() {
    members_come_and_go_while_records_flow(peers::kafka_python(), Protocol::Classic);
}

#[test]
fn aiokafkas_members_come_and_go_while_records_flow() {
    members_come_and_go_while_records_flow(peers::aiokafka(), Protocol::Classic);
}

#[test]
fn kafkajs_members_come_and_go_while_records_flow() {
    members_come_and_go_while_records_flow(peers::kafkajs(), Protocol::Classic);
}

#[test]
fn franz_gos_members_come_and_go_while_records_flow() {
    members_come_and_go_while_records_flow(peers::franz_go(), Protocol::Classic);
}

#[test]
fn franz_gos_members_of_a_consumer_group_come_and_go_while_records_flow() {
    members_come_and_go_while_records_flow(peers::franz_go(), Protocol::Consumer);
}

#[test]
fn kafka_clients_members_come_and_go_while_records_flow() {
    members_come_and_go_while_records_flow(peers::java(), Protocol::Classic);
}

#[test]
fn kafka_clients_members_of_a_consumer_group_come_and_go_while_records_flow() {
    members_come_and_go_while_records_flow(peers::java(), Protocol::Consumer);
}

/// Members join, leave, are killed and come back at random while records are written: each record is given, and none
/// again once it is committed.
fn members_come_and_go_while_records_flow(peer: anyhow::Result<Peer>, protocol: Protocol) {
    let Some(peer) = or_skip(peer) else { return };
    let Some(writer) = or_skip(peers::franz_go()) else { return };
    for size in sizes() {
        let broker = start_broker(0);
        let place = Place::at(&broker);
        let start = |number, given: &Given| Member::start(&peer, &place, protocol, number, given);
        come_and_go(size, start, |count| produce(&writer, &place, count))
            .check_nothing_committed_comes_again();
    }
}

#[test]
fn our_client_and_kafka_clients_share_a_group() {
    a_mixed_group_goes_on_whoever_comes_and_goes(peers::java(), Protocol::Classic);
}

#[test]
fn our_client_and_kafka_clients_share_a_consumer_group() {
    a_mixed_group_goes_on_whoever_comes_and_goes(peers::java(), Protocol::Consumer);
}

#[test]
fn our_client_and_confluent_kafka_share_a_group() {
    a_mixed_group_goes_on_whoever_comes_and_goes(peers::confluent(), Protocol::Classic);
}

#[test]
fn our_client_and_confluent_kafka_share_a_consumer_group() {
    a_mixed_group_goes_on_whoever_comes_and_goes(peers::confluent(), Protocol::Consumer);
}

/// Whichever client leads divides for the other's members, too, or the broker for all; and what either has committed, the
/// other goes on from.
fn a_mixed_group_goes_on_whoever_comes_and_goes(peer: anyhow::Result<Peer>, protocol: Protocol) {
    let Some(peer) = or_skip(peer) else { return };
    let peer = &peer;
    let mut broker = start_broker(0);
    produce_ours(&Place::at(&broker), 20);
    let mut count = 20;
    let given = Given::default();
    let ours = |broker: &TestBroker, number| Member::ours(&Place::at(broker), protocol, number, &given);
    let theirs =
        |broker: &TestBroker, number| Member::start(peer, &Place::at(broker), protocol, number, &given);
    // Ours comes first and leads; then theirs, as the oldest.
    let our_first = ours(&broker, 0);
    let their_first = theirs(&broker, 1);
    share(&broker, &given, &mut count, &[&our_first, &their_first]);
    our_first.leave();
    let our_second = ours(&broker, 2);
    share(&broker, &given, &mut count, &[&their_first, &our_second]);
    let their_second = theirs(&broker, 3);
    share(&broker, &given, &mut count, &[&their_first, &our_second, &their_second]);
    check_protocol(&broker, protocol);
    their_first.kill();
    share(&broker, &given, &mut count, &[&our_second, &their_second]);
    broker.restart();
    share(&broker, &given, &mut count, &[&our_second, &their_second]);
    their_second.leave();
    share(&broker, &given, &mut count, &[&our_second]);
    our_second.leave();
    check_committed(&broker, count);
}

/// Goes on until each of `members` was given something new.
fn share(broker: &TestBroker, given: &Given, count: &mut i64, members: &[&Member]) {
    let before: Vec<usize> = members.iter().map(|member| given.of(member.number).len()).collect();
    given.wait_until("a share for each", |given| {
        produce_ours(&Place::at(broker), 5);
        *count += 5;
        let now = members.iter().map(|member| given.of(member.number).len());
        now.zip(&before).all(|(now, before)| now > *before)
    });
    let expected = *count;
    given.wait_until("all records", |given| has_all(given, expected));
}

/// That the group is done with `count` records of each partition.
#[track_caller]
fn check_committed(broker: &TestBroker, count: i64) {
    let admin = ottla::Admin::new(ottla::config::AdminConfig {
        bootstrap_servers: vec![broker.bootstrap()],
        ..Default::default()
    })
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let committed = runtime.block_on(admin.list_group_offsets(["g"])).unwrap().remove(0).1.unwrap();
    for partition in 0..PARTITIONS {
        assert_eq!(committed[&TopicPartition::new(TOPIC, partition)].offset, count);
    }
}

#[test]
fn kafka_clients_members_change_their_protocol_one_after_the_other() {
    a_group_changes_its_protocol_and_back(peers::java());
}

#[test]
fn confluent_kafkas_members_change_their_protocol_one_after_the_other() {
    a_group_changes_its_protocol_and_back(peers::confluent());
}

/// A rolling change: each member gives way to one that speaks the other protocol, while records flow. Then all the way
/// back.
fn a_group_changes_its_protocol_and_back(peer: anyhow::Result<Peer>) {
    const SIZE: usize = 3;
    let Some(peer) = or_skip(peer) else { return };
    let broker = start_broker(0);
    let place = Place::at(&broker);
    produce_ours(&place, 20);
    let mut count = 20;
    let given = Given::default();
    let member = |protocol, number| Member::start(&peer, &place, protocol, number, &given);
    let mut members: VecDeque<Member> = (0..SIZE).map(|number| member(Protocol::Classic, number)).collect();
    share(&broker, &given, &mut count, &members.iter().collect::<Vec<_>>());
    check_protocol(&broker, Protocol::Classic);
    let mut number = SIZE;
    for protocol in [Protocol::Consumer, Protocol::Classic] {
        for _ in 0..SIZE {
            members.pop_front().unwrap().leave();
            members.push_back(member(protocol, number));
            number += 1;
            share(&broker, &given, &mut count, &members.iter().collect::<Vec<_>>());
            check_owners(&broker);
        }
        check_protocol(&broker, protocol);
    }
    members.into_iter().for_each(Member::leave);
    given.check_nothing_committed_comes_again();
    check_committed(&broker, count);
}

/// That no partition is two members', as the coordinator of a group on its way has it.
#[track_caller]
fn check_owners(broker: &TestBroker) {
    let mut wire = Wire::connect(broker.bootstrap().parse().unwrap());
    let request = ConsumerGroupDescribeRequest { group_ids: vec!["g".into()], ..Default::default() };
    let described = wire.call(1, &request).groups.remove(0);
    let topics = described.members.iter().flat_map(|member| &member.assignment.topic_partitions);
    let mut owned: Vec<i32> = topics.flat_map(|topic| topic.partitions.clone()).collect();
    let all = owned.len();
    owned.sort_unstable();
    owned.dedup();
    assert_eq!(owned.len(), all, "{described:?}");
}
