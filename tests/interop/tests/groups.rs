//! Groups of other people's clients on our broker: members come, leave, die and come back while records flow.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    process::Child,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ottla_interop::{
    broker::TestBroker,
    or_skip,
    peers::{self, Peer},
    record::PeerRecord,
    wire::Wire,
};
use ottla_protocol::messages::{ConsumerGroupDescribeRequest, ListGroupsRequest};

const PARTITIONS: i32 = 6;
const TOPIC: &str = "t";
/// Longest that anything here may take: a dead member's session, a round, and a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A record by partition and offset.
type Place = (i32, i64);

/// What the members of a group were given, in the order of each.
#[derive(Clone, Default)]
struct Given(Arc<Mutex<BTreeMap<usize, Vec<Place>>>>);

impl Given {
    fn everything(&self) -> Vec<Place> {
        self.0.lock().unwrap().values().flatten().copied().collect()
    }

    fn of(&self, member: usize) -> Vec<Place> {
        self.0.lock().unwrap().get(&member).cloned().unwrap_or_default()
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
    process: Child,
    reading: JoinHandle<()>,
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
                let (partition, offset) = line.split_once(' ').unwrap();
                let place = (partition.parse().unwrap(), offset.parse().unwrap());
                given.0.lock().unwrap().entry(number).or_default().push(place);
            }
        });
        Self { number, process, reading }
    }

    /// Lets it leave the group.
    fn leave(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
        self.reading.join().unwrap();
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.reading.join().unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "records must be near the broker's own time")]
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Writes `count` records to each partition.
fn produce(peer: &Peer, broker: &TestBroker, count: usize) {
    let records: Vec<PeerRecord> = (0..PARTITIONS)
        .flat_map(|partition| (0..count).map(move |_| partition))
        .map(|partition| PeerRecord {
            partition,
            timestamp: now_ms(),
            key: None,
            value: Some("dg==".to_owned()),
            headers: Vec::new(),
        })
        .collect();
    peer.produce(&broker.bootstrap(), TOPIC, "none", &records).unwrap();
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
    let partitions = PARTITIONS.to_string();
    // Members know the broker by its address, which it has again after a restart.
    let listener = format!("PLAINTEXT://{}", free_address());
    let mut broker = TestBroker::start(&[
        ("listeners", &listener),
        ("num.partitions", &partitions),
        ("group.initial.rebalance.delay.ms", "100"),
        ("group.consumer.session.timeout.ms", "6000"),
        ("group.consumer.heartbeat.interval.ms", "500"),
    ]);
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
}
