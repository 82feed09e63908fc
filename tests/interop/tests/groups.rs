//! Groups on our broker, of other people's clients and of ours among them: members come, leave, die and come back while
//! records flow.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    process::Child,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ottla::{
    Consumer, Producer, Record, TopicPartition,
    config::{ConsumerConfig, GroupProtocol, OffsetReset, ProducerConfig},
};
use ottla_interop::{
    broker::TestBroker,
    or_skip,
    peers::{self, Peer},
    record::PeerRecord,
    wire::Wire,
};
use ottla_protocol::messages::{ConsumerGroupDescribeRequest, ListGroupsRequest};
use tokio::sync::oneshot;

const PARTITIONS: i32 = 6;
const TOPIC: &str = "t";
/// Longest that anything here may take: a dead member's session, a round, and a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A record by partition and offset.
type Place = (i32, i64);

/// What members say: what they were given and what they committed, in the order of each.
#[derive(Clone, Default)]
struct Given(Arc<Mutex<BTreeMap<usize, Vec<Word>>>>);

/// A member's word. Times are in microseconds since the epoch.
#[derive(Clone, Copy)]
enum Word {
    Given {
        place: Place,
        at_us: u64,
    },
    /// All that was given since the last word of this kind or the next is committed.
    Committed {
        at_us: u64,
    },
    Uncommitted,
}

impl Word {
    fn read(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["committed", at_us] => Self::Committed { at_us: at_us.parse().unwrap() },
            ["uncommitted"] => Self::Uncommitted,
            [partition, offset, at_us] => Self::Given {
                place: (partition.parse().unwrap(), offset.parse().unwrap()),
                at_us: at_us.parse().unwrap(),
            },
            _ => panic!("a member says {line:?}"),
        }
    }
}

impl Given {
    fn hear(&self, member: usize, word: Word) {
        self.0.lock().unwrap().entry(member).or_default().push(word);
    }

    fn everything(&self) -> Vec<Place> {
        self.0.lock().unwrap().values().flatten().filter_map(Self::place).collect()
    }

    fn of(&self, member: usize) -> Vec<Place> {
        self.0.lock().unwrap().get(&member).into_iter().flatten().filter_map(Self::place).collect()
    }

    fn place(word: &Word) -> Option<Place> {
        match *word {
            Word::Given { place, .. } => Some(place),
            Word::Committed { .. } | Word::Uncommitted => None,
        }
    }

    /// Checks that nobody was given a record after the offset behind it had been committed, by whomever: so no two
    /// members had a partition at a time, and no committed offset went back.
    fn check_nothing_committed_comes_again(&self) {
        // Of each partition, when the group's offset was what: (time, offset).
        let mut commits: BTreeMap<i32, Vec<(u64, i64)>> = BTreeMap::new();
        let members = self.0.lock().unwrap();
        for words in members.values() {
            let mut since: BTreeMap<i32, i64> = BTreeMap::new();
            for word in words {
                match *word {
                    Word::Given { place: (partition, offset), .. } => _ = since.insert(partition, offset + 1),
                    Word::Uncommitted => since.clear(),
                    Word::Committed { at_us } => {
                        for (partition, offset) in std::mem::take(&mut since) {
                            commits.entry(partition).or_default().push((at_us, offset));
                        }
                    }
                }
            }
        }
        for (member, words) in &*members {
            for word in words {
                let Word::Given { place: (partition, offset), at_us } = *word else { continue };
                let before =
                    |&&(committed_us, committed): &&(u64, i64)| committed_us < at_us && offset < committed;
                let again = commits.get(&partition).and_then(|commits| commits.iter().find(before));
                assert!(
                    again.is_none(),
                    "member {member} was given offset {offset} of partition {partition} at {at_us}, committed {again:?}"
                );
            }
        }
    }

    /// Waits until `done` says so of what was given.
    #[track_caller]
    fn wait_until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "{what} did not happen; given: {}", self.everything().len());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// How members speak with their coordinator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Protocol {
    Classic,
    /// KIP-848.
    Consumer,
}

/// A member that runs.
struct Member {
    number: usize,
    runs: Runs,
}

enum Runs {
    /// A peer, and who reads what it prints.
    Process(Child, JoinHandle<()>),
    /// Our client, on a thread, until it is told to stop.
    Ours(oneshot::Sender<()>, JoinHandle<()>),
}

impl Member {
    fn start(
        peer: &Peer,
        broker: &TestBroker,
        protocol: Protocol,
        group: &str,
        number: usize,
        given: &Given,
    ) -> Self {
        let bootstrap = broker.bootstrap();
        let mut arguments = vec!["member", &bootstrap, TOPIC, group];
        if protocol == Protocol::Consumer {
            arguments.push("consumer");
        }
        let mut process = peer.spawn(&arguments).unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let given = given.clone();
        let reading = thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                given.hear(number, Word::read(&line));
            }
        });
        Self { number, runs: Runs::Process(process, reading) }
    }

    /// One of our client's. It finds out by itself what a group of KIP-848 is.
    fn ours(broker: &TestBroker, protocol: Protocol, group: &str, number: usize, given: &Given) -> Self {
        let group_protocol = match protocol {
            Protocol::Classic => GroupProtocol::Classic,
            Protocol::Consumer => GroupProtocol::Auto,
        };
        let config = ConsumerConfig {
            bootstrap_servers: vec![broker.bootstrap()],
            group_id: Some(group.to_owned()),
            auto_offset_reset: OffsetReset::Earliest,
            session_timeout: Duration::from_secs(6),
            heartbeat_interval: Duration::from_millis(500),
            group_protocol,
            ..Default::default()
        };
        let given = given.clone();
        let (stop, mut stopped) = oneshot::channel();
        let reading = thread::spawn(move || {
            let consumer = Consumer::new(config).unwrap();
            consumer.subscribe([TOPIC]).unwrap();
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
                loop {
                    let batch = tokio::select! {
                        _ = &mut stopped => break,
                        batch = consumer.next_batch(500) => batch.unwrap(),
                    };
                    let at_us = now_us();
                    for record in batch.records() {
                        let place = (batch.partition(), record.unwrap().offset());
                        given.hear(number, Word::Given { place, at_us });
                    }
                }
                consumer.close(PATIENCE).await.unwrap();
            });
        });
        Self { number, runs: Runs::Ours(stop, reading) }
    }

    /// Lets it leave the group.
    fn leave(self) {
        let reading = match self.runs {
            Runs::Process(mut process, reading) => {
                drop(process.stdin.take());
                assert!(process.wait().unwrap().success());
                reading
            }
            Runs::Ours(stop, reading) => {
                drop(stop);
                reading
            }
        };
        reading.join().unwrap();
    }

    fn kill(self) {
        let Runs::Process(mut process, reading) = self.runs else { panic!("a thread cannot be killed") };
        process.kill().unwrap();
        process.wait().unwrap();
        reading.join().unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "records, and peers' words, are of that time")]
fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

/// Writes `count` records to each partition.
fn produce(peer: &Peer, broker: &TestBroker, count: usize) {
    let records: Vec<PeerRecord> = (0..PARTITIONS)
        .flat_map(|partition| (0..count).map(move |_| partition))
        .map(|partition| PeerRecord {
            partition,
            timestamp: (now_us() / 1000) as i64,
            key: None,
            value: Some("dg==".to_owned()),
            headers: Vec::new(),
        })
        .collect();
    peer.produce(&broker.bootstrap(), TOPIC, "none", &records).unwrap();
}

/// As [`produce`], by our own client.
fn produce_ours(broker: &TestBroker, count: usize) {
    let config = ProducerConfig { bootstrap_servers: vec![broker.bootstrap()], ..Default::default() };
    let producer = Producer::new(config).unwrap();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        for partition in (0..PARTITIONS).flat_map(|partition| std::iter::repeat_n(partition, count)) {
            producer.send_and_forget(Record::to(TOPIC).partition(partition).value("v")).await.unwrap();
        }
        producer.close(PATIENCE).await.unwrap();
    });
}

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

/// All records of a topic with `count` in each partition.
fn all(count: i64) -> BTreeSet<Place> {
    (0..PARTITIONS).flat_map(|partition| (0..count).map(move |offset| (partition, offset))).collect()
}

fn has_all(given: &Given, count: i64) -> bool {
    given.everything().into_iter().collect::<BTreeSet<_>>() == all(count)
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
    produce(peer, &broker, 50);
    let given = Given::default();
    let member = |broker: &TestBroker, number| Member::start(peer, broker, protocol, "g", number, &given);

    let mut members: Vec<Member> = (0..3).map(|number| member(&broker, number)).collect();
    given.wait_until("the first records", |given| has_all(given, 50));
    // All of them take part, sooner or later; what each is given then is its own.
    let mut count = 50;
    given.wait_until("a share for each", |given| {
        produce(peer, &broker, 5);
        count += 5;
        (0..3).all(|number| !given.of(number).is_empty())
    });
    let mut expected = count;
    given.wait_until("the records of three", |given| has_all(given, expected));

    check_protocol(&broker, protocol);

    members.remove(0).leave();
    produce(peer, &broker, 20);
    expected += 20;
    given.wait_until("the records after one has left", |given| has_all(given, expected));

    let killed = members.remove(0);
    let died = killed.number;
    killed.kill();
    produce(peer, &broker, 20);
    expected += 20;
    given.wait_until("the records after one has died", |given| has_all(given, expected));
    assert_eq!(died, 1);

    // The broker dies too; the group's offsets are where they were.
    broker.restart();
    produce(peer, &broker, 20);
    expected += 20;
    given.wait_until("the records after a restart", |given| has_all(given, expected));
    members.into_iter().for_each(Member::leave);

    // Whoever comes next begins where the group is, and sees nothing twice.
    let late = Given::default();
    let next = Member::start(peer, &broker, protocol, "g", 9, &late);
    produce(peer, &broker, 7);
    let fresh: BTreeSet<Place> = all(expected + 7).difference(&all(expected)).copied().collect();
    late.wait_until("the records of who came late", |late| late.everything().len() >= fresh.len());
    assert_eq!(late.everything().into_iter().collect::<BTreeSet<_>>(), fresh, "{}", peer.name);
    next.leave();
    given.check_nothing_committed_comes_again();
}

/// Most members that a group has at a time, one run each.
fn sizes() -> Vec<usize> {
    let text = std::env::var("OTTLA_GROUP_SIZES").unwrap_or("7".to_owned());
    text.split(',').map(|size| size.parse().expect("sizes with commas between")).collect()
}

/// How often somebody comes or goes, in a run.
fn changes() -> usize {
    std::env::var("OTTLA_GROUP_CHANGES").map_or(6, |text| text.parse().expect("a number"))
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
        produce(&writer, &broker, 1);
        let given = Given::default();
        let (mut next, mut members) = (0, Vec::new());
        let mut join = |members: &mut Vec<Member>| {
            members.push(Member::start(&peer, &broker, protocol, "g", next, &given));
            next += 1;
        };
        (0..size).for_each(|_| join(&mut members));
        let mut random = fastrand::Rng::with_seed(size as u64);
        let mut written = 1;
        for _ in 0..changes() {
            for _ in 0..3 {
                produce(&writer, &broker, 20);
                written += 20;
                thread::sleep(Duration::from_millis(random.u64(0..300)));
            }
            match random.u8(0..3) {
                0 if members.len() > 1 => members.swap_remove(random.usize(..members.len())).leave(),
                1 if !members.is_empty() => members.swap_remove(random.usize(..members.len())).kill(),
                _ if members.len() < size => join(&mut members),
                _ => {}
            }
        }
        if members.is_empty() {
            join(&mut members);
        }
        given.wait_until("all records", |given| has_all(given, written));
        members.into_iter().for_each(Member::leave);
        given.check_nothing_committed_comes_again();
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
    produce_ours(&broker, 20);
    let mut count = 20;
    let given = Given::default();
    let ours = |broker: &TestBroker, number| Member::ours(broker, protocol, "g", number, &given);
    let theirs = |broker: &TestBroker, number| Member::start(peer, broker, protocol, "g", number, &given);
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
        produce_ours(broker, 5);
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
    produce_ours(&broker, 20);
    let mut count = 20;
    let given = Given::default();
    let member = |protocol, number| Member::start(&peer, &broker, protocol, "g", number, &given);
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
