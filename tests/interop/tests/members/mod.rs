//! Members of groups, and what they say: what they were given, and committed, and when.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ottla::{
    Consumer, Producer, Record,
    config::{ConsumerConfig, GroupProtocol, OffsetReset, ProducerConfig},
};
use ottla_interop::{broker::TestBroker, peers::Peer, record::PeerRecord};
use tokio::sync::oneshot;

pub(crate) const PARTITIONS: i32 = 6;
pub(crate) const TOPIC: &str = "t";
pub(crate) const GROUP: &str = "g";
/// Longest that anything here may take: a dead member's session, a round, and a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where members meet.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) bootstrap: String,
    pub(crate) topic: String,
    pub(crate) group: String,
}

impl Place {
    /// The topic `t` and the group `g` of a broker of one's own.
    pub(crate) fn at(broker: &TestBroker) -> Self {
        Self { bootstrap: broker.bootstrap(), topic: TOPIC.to_owned(), group: GROUP.to_owned() }
    }
}

/// A record by partition and offset.
pub(crate) type At = (i32, i64);

/// What members say: what they were given and what they committed, in the order of each.
#[derive(Clone, Default)]
pub(crate) struct Given(Arc<Mutex<BTreeMap<usize, Vec<Word>>>>);

/// A member's word. Times are in microseconds since the epoch.
#[derive(Clone, Copy)]
pub(crate) enum Word {
    Given {
        place: At,
        at_us: u64,
    },
    /// All that was given since the last word of this kind or the next is committed.
    Committed {
        at_us: u64,
    },
    Uncommitted,
}

impl Word {
    pub(crate) fn read(line: &str) -> Self {
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
    pub(crate) fn hear(&self, member: usize, word: Word) {
        self.0.lock().unwrap().entry(member).or_default().push(word);
    }

    pub(crate) fn everything(&self) -> Vec<At> {
        self.0.lock().unwrap().values().flatten().filter_map(Self::place).collect()
    }

    pub(crate) fn of(&self, member: usize) -> Vec<At> {
        self.0.lock().unwrap().get(&member).into_iter().flatten().filter_map(Self::place).collect()
    }

    pub(crate) fn place(word: &Word) -> Option<At> {
        match *word {
            Word::Given { place, .. } => Some(place),
            Word::Committed { .. } | Word::Uncommitted => None,
        }
    }

    /// Checks that nobody was given a record after the offset behind it had been committed, by whomever: so no two
    /// members had a partition at a time, and no committed offset went back.
    pub(crate) fn check_nothing_committed_comes_again(&self) {
        self.check_nothing_committed_comes_again_to(|_| true);
    }

    /// As [`Self::check_nothing_committed_comes_again`], of what these members were given; all their commits count.
    pub(crate) fn check_nothing_committed_comes_again_to(&self, judged: impl Fn(usize) -> bool) {
        // Of each partition, when the group's offset was what, and by whom: (time, offset, member).
        let mut commits: BTreeMap<i32, Vec<(u64, i64, usize)>> = BTreeMap::new();
        let members = self.0.lock().unwrap();
        for (&member, words) in &*members {
            let mut since: BTreeMap<i32, i64> = BTreeMap::new();
            for word in words {
                match *word {
                    Word::Given { place: (partition, offset), .. } => _ = since.insert(partition, offset + 1),
                    Word::Uncommitted => since.clear(),
                    Word::Committed { at_us } => {
                        for (partition, offset) in std::mem::take(&mut since) {
                            commits.entry(partition).or_default().push((at_us, offset, member));
                        }
                    }
                }
            }
        }
        for (member, words) in members.iter().filter(|(member, _)| judged(**member)) {
            for word in words {
                let Word::Given { place: (partition, offset), at_us } = *word else { continue };
                let before = |&&(committed_us, committed, _): &&(u64, i64, usize)| {
                    committed_us < at_us && offset < committed
                };
                let again = commits.get(&partition).and_then(|commits| commits.iter().find(before));
                assert!(
                    again.is_none(),
                    "member {member} was given offset {offset} of partition {partition} at {at_us}; committed (when, what, by \
                     whom) {again:?}\n{}",
                    Self::story_of(partition, &members)
                );
            }
        }
    }

    /// Who was given what of a partition, and when, in the order of time: a line for each stretch.
    fn story_of(partition: i32, members: &BTreeMap<usize, Vec<Word>>) -> String {
        let mut stretches: Vec<(u64, usize, i64, i64)> = Vec::new();
        for (&member, words) in members {
            for word in words {
                let Word::Given { place: (of, offset), at_us } = *word else { continue };
                if of != partition {
                    continue;
                }
                match stretches.last_mut() {
                    Some((_, who, _, last)) if *who == member && offset == *last + 1 => *last = offset,
                    _ => stretches.push((at_us, member, offset, offset)),
                }
            }
        }
        stretches.sort_unstable();
        let line = |(at_us, member, first, last): &(u64, usize, i64, i64)| {
            format!("{at_us}: member {member} has {first} to {last}\n")
        };
        stretches.iter().map(line).collect()
    }

    /// Waits until `done` says so of what was given.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "{what} did not happen; given: {}", self.everything().len());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// How members speak with their coordinator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    Classic,
    /// KIP-848.
    Consumer,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

/// How our members are; they find out by themselves what a group of KIP-848 is.
fn our_config(place: &Place, protocol: Protocol) -> ConsumerConfig {
    let group_protocol = match protocol {
        Protocol::Classic => GroupProtocol::Classic,
        Protocol::Consumer => GroupProtocol::Auto,
    };
    ConsumerConfig {
        bootstrap_servers: vec![place.bootstrap.clone()],
        group_id: Some(place.group.clone()),
        auto_offset_reset: OffsetReset::Earliest,
        session_timeout: Duration::from_secs(6),
        heartbeat_interval: Duration::from_millis(500),
        group_protocol,
        ..Default::default()
    }
}

/// A member that runs.
pub(crate) struct Member {
    pub(crate) number: usize,
    runs: Runs,
}

enum Runs {
    /// A peer, and who reads what it prints.
    Process(Child, JoinHandle<()>),
    /// Our client, on a thread, until it is told to stop.
    Ours(oneshot::Sender<()>, JoinHandle<()>),
}

impl Member {
    pub(crate) fn start(
        peer: &Peer,
        place: &Place,
        protocol: Protocol,
        number: usize,
        given: &Given,
    ) -> Self {
        let mut arguments = vec!["member", &place.bootstrap, &place.topic, &place.group];
        if protocol == Protocol::Consumer {
            arguments.push("consumer");
        }
        Self::heard(peer.spawn(&arguments).unwrap(), number, given)
    }

    /// What it prints is heard until it ends.
    fn heard(mut process: Child, number: usize, given: &Given) -> Self {
        let output = BufReader::new(process.stdout.take().unwrap());
        let given = given.clone();
        let reading = thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                given.hear(number, Word::read(&line));
            }
        });
        Self { number, runs: Runs::Process(process, reading) }
    }

    /// One of our client's, in a process of its own, which can be killed: `member/main.rs`.
    pub(crate) fn our_process(place: &Place, protocol: Protocol, number: usize, given: &Given) -> Self {
        let process = Command::new(env!("CARGO_BIN_EXE_interop-member"))
            .args([&place.bootstrap, &place.topic, &place.group, protocol.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self::heard(process, number, given)
    }

    /// One of our client's. It finds out by itself what a group of KIP-848 is.
    pub(crate) fn ours(place: &Place, protocol: Protocol, number: usize, given: &Given) -> Self {
        let config = our_config(place, protocol);
        let topic = place.topic.clone();
        let given = given.clone();
        let (stop, mut stopped) = oneshot::channel();
        let reading = thread::spawn(move || {
            let consumer = Consumer::new(config).unwrap();
            consumer.subscribe([topic]).unwrap();
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
    pub(crate) fn leave(self) {
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

    pub(crate) fn kill(self) {
        let Runs::Process(mut process, reading) = self.runs else { panic!("a thread cannot be killed") };
        process.kill().unwrap();
        process.wait().unwrap();
        reading.join().unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "records, and peers' words, are of that time")]
pub(crate) fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

/// Writes `count` records to each partition.
pub(crate) fn produce(peer: &Peer, place: &Place, count: usize) {
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
    peer.produce(&place.bootstrap, &place.topic, "none", &records).unwrap();
}

/// As [`produce`], by our own client.
pub(crate) fn produce_ours(place: &Place, count: usize) {
    let config = ProducerConfig { bootstrap_servers: vec![place.bootstrap.clone()], ..Default::default() };
    let producer = Producer::new(config).unwrap();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        for partition in (0..PARTITIONS).flat_map(|partition| std::iter::repeat_n(partition, count)) {
            producer.send_and_forget(Record::to(&place.topic).partition(partition).value("v")).await.unwrap();
        }
        producer.close(PATIENCE).await.unwrap();
    });
}

/// All records of a topic with `count` in each partition.
pub(crate) fn all(count: i64) -> BTreeSet<At> {
    (0..PARTITIONS).flat_map(|partition| (0..count).map(move |offset| (partition, offset))).collect()
}

pub(crate) fn has_all(given: &Given, count: i64) -> bool {
    given.everything().into_iter().collect::<BTreeSet<_>>() == all(count)
}

/// Most members that a group has at a time, one run each.
pub(crate) fn sizes() -> Vec<usize> {
    let text = std::env::var("OTTLA_GROUP_SIZES").unwrap_or("7".to_owned());
    text.split(',').map(|size| size.parse().expect("sizes with commas between")).collect()
}

/// How often somebody comes or goes, in a run.
pub(crate) fn changes() -> usize {
    std::env::var("OTTLA_GROUP_CHANGES").map_or(6, |text| text.parse().expect("a number"))
}

/// Members join, leave, are killed and come back at random while records are written: each record is given, and none
/// again once it is committed. `start` starts the member of a number, `produce` writes so many records to each partition. Gives
/// what was said, for the last of these to be checked.
#[must_use]
pub(crate) fn come_and_go(
    size: usize,
    start: impl Fn(usize, &Given) -> Member,
    produce: impl Fn(usize),
) -> Given {
    produce(1);
    let given = Given::default();
    let (mut next, mut members) = (0, Vec::new());
    let mut join = |members: &mut Vec<Member>| {
        members.push(start(next, &given));
        next += 1;
    };
    (0..size).for_each(|_| join(&mut members));
    let mut random = fastrand::Rng::with_seed(size as u64);
    let mut written = 1;
    for _ in 0..changes() {
        for _ in 0..3 {
            produce(20);
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
    given
}
