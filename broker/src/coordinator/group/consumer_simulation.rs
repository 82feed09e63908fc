//! A consumer group and its members under one seed: requests and answers get lost, or are sent twice, members die and come
//! back, are slow to give partitions up, and read something else; topics grow; the coordinator restarts from its log,
//! with or without what it did last. What must hold is checked after every step; once the faults stop, the group must
//! come to rest.
//!
//! `OTTLA_SEEDS` says how many seeds to run, `OTTLA_FIRST_SEED` the first; a seed that fails is named with the command
//! that runs it again, and `OTTLA_TRACE` tells its story.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::{
    Bytes,
    error_code::ErrorCode as E,
    messages::{
        OffsetCommitRequest,
        consumer_group_heartbeat::TopicPartitions,
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
    },
    types::{Str, TopicName, Uuid},
};

use super::{consumer_tests, simulation, topics::KnownTopics, *};

const SEEDS: u64 = 100;
const STEPS: usize = 500;
const SESSION_MS: i64 = 10_000;
const REBALANCE_MS: i32 = 8_000;
const HEARTBEAT_MS: i64 = 1000;
/// Time in which a group without faults must have come to rest: a dead static member's session, everybody's way to the
/// target, and the time between two looks for new topics.
const REST_MS: i64 = 2 * (SESSION_MS + REBALANCE_MS as i64) + 20 * HEARTBEAT_MS + 10_000;
/// The topics; the number of each is its place, counted from 1.
const TOPICS: [&str; 2] = ["t", "u"];

/// A partition, by its topic's number and its own.
type Partition = (u128, i32);

/// What a client reads.
#[derive(Clone, Debug)]
enum Subscription {
    Names(Vec<TopicName>),
    Pattern(&'static str),
}

/// A member, as a client would be.
#[derive(Clone, Debug)]
struct Client {
    id: Str,
    instance: Option<Str>,
    subscription: Subscription,
    alive: bool,
    /// Whether it has an epoch to send.
    is_member: bool,
    epoch: i32,
    /// What it is reading, and how far it is with each.
    reading: BTreeMap<Partition, i64>,
    /// What it was told to read.
    assigned: BTreeSet<Partition>,
    /// Whether it must say everything again: an answer was lost, or something has changed.
    says_all: bool,
    /// Whether its last heartbeat got no answer. What it was told before may be another's by now: where it said that it
    /// does not read a partition yet, that alone gives the partition up. So it takes nothing up before it has heard.
    unsure: bool,
    next_heartbeat_ms: i64,
}

impl Client {
    /// Whether it reads what it is not to, or does not read what it is to and knows to be free.
    fn has_to_follow(&self) -> bool {
        let gives_up = self.reading.keys().any(|partition| !self.assigned.contains(partition));
        let takes_up = self.assigned.iter().any(|partition| !self.reading.contains_key(partition));
        self.is_member && (gives_up || takes_up && !self.unsure)
    }

    /// It begins anew, with nothing.
    fn start_over(&mut self) {
        self.is_member = false;
        self.epoch = 0;
        self.reading.clear();
        self.assigned.clear();
    }
}

struct World {
    random: fastrand::Rng,
    groups: Groups,
    limits: Limits,
    timing: Timing,
    topics: KnownTopics,
    partition_counts: [i32; 2],
    now_ms: i64,
    log: Vec<(Bytes, Option<Bytes>)>,
    clients: Vec<Client>,
    next_ticket: u64,
    next_id: u64,
    faults: bool,
    /// The newest offset that a commit was acknowledged for.
    committed: BTreeMap<Partition, i64>,
    newest_epoch: i32,
}

fn any_subscription(random: &mut fastrand::Rng) -> Subscription {
    match random.u32(..6) {
        0 => Subscription::Names(vec!["t".into()]),
        1 => Subscription::Names(vec!["u".into()]),
        2 => Subscription::Pattern("t|u"),
        _ => Subscription::Names(vec!["t".into(), "u".into()]),
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let clients = (0..random.usize(1..6)).map(|number| Client {
            id: Str::from(format!("first-{number}")),
            instance: (random.u32(..3) == 0).then(|| format!("static-{number}").into()),
            subscription: any_subscription(&mut random),
            alive: true,
            is_member: false,
            epoch: 0,
            reading: BTreeMap::new(),
            assigned: BTreeSet::new(),
            says_all: true,
            unsure: false,
            next_heartbeat_ms: 0,
        });
        let clients = clients.collect();
        let mut assignors = vec![Assignor::Uniform, Assignor::Range];
        if random.bool() {
            assignors.reverse();
        }
        let limits = Limits {
            session_timeout_ms: 6000..=1_800_000,
            initial_rebalance_delay_ms: 0,
            group_size_max: usize::MAX,
            offset_metadata_bytes_max: 4096,
            offsets_retention_ms: i64::MAX,
            // The dead are members until their sessions end.
            consumer: ConsumerLimits { assignors, group_size_max: usize::MAX, ..consumer_tests::limits() },
        };
        let timing = Timing {
            session_timeout_ms: SESSION_MS,
            heartbeat_interval_ms: HEARTBEAT_MS as i32,
            assignment_interval_ms: *[0, 1000].get(random.usize(..2)).unwrap(),
        };
        let partition_counts = [random.i32(1..8), random.i32(1..4)];
        let topics: Vec<_> = TOPICS.into_iter().zip(partition_counts).collect();
        Self {
            random,
            groups: Groups::default(),
            limits,
            timing,
            topics: KnownTopics::of(&topics),
            partition_counts,
            now_ms: 1_700_000_000_000,
            log: Vec::new(),
            clients,
            next_ticket: 0,
            next_id: 0,
            faults: true,
            committed: BTreeMap::new(),
            newest_epoch: 0,
        }
    }

    /// One in `n`, as long as there are faults.
    fn mishap(&mut self, n: u32) -> bool {
        self.faults && self.random.u32(..n) == 0
    }

    /// Sends a request; `None` if it, or its answer, gets lost.
    fn ask(&mut self, request: Request) -> Option<Answer> {
        if self.mishap(30) {
            return None;
        }
        // A client that asks again because it heard nothing says everything.
        let says_all = match &request {
            Request::ConsumerHeartbeat(request) => request.rebalance_timeout_ms != -1,
            _ => true,
        };
        if says_all && self.mishap(30) {
            // The first answer is the one that nobody sees.
            self.handle(request.clone());
        }
        let answer = self.handle(request);
        if self.mishap(30) { None } else { answer }
    }

    /// `None` if the coordinator dies over it.
    fn handle(&mut self, request: Request) -> Option<Answer> {
        let caller = Caller {
            version: 9,
            client_id: "c".into(),
            client_host: "/10.0.0.1".into(),
            sees: Default::default(),
        };
        self.next_ticket += 1;
        simulation::trace(self.now_ms, "asked", &(self.next_ticket, &request));
        let mut out = Effects::default();
        let now = Now { ms: self.now_ms, limits: &self.limits, timings: &self.timing, topics: &self.topics };
        self.groups.handle(Ticket(self.next_ticket), request, &caller, now, String::new, &mut out);
        if self.mishap(100) {
            // Its records were not appended, and nobody is answered.
            self.restart_coordinator();
            return None;
        }
        self.append(&out);
        let answer = out.answers.pop().map(|(_, answer)| answer);
        simulation::trace(self.now_ms, "answers", &(self.next_ticket, &answer));
        answer
    }

    fn append(&mut self, out: &Effects) {
        self.log.extend(out.records.iter().map(|record| record.encode().unwrap()));
    }

    fn heartbeat(&mut self, number: usize) {
        let client = self.clients[number].clone();
        self.clients[number].next_heartbeat_ms = self.now_ms + HEARTBEAT_MS;
        let joins = !client.is_member;
        let all = joins || client.says_all;
        let mut owned: BTreeMap<u128, Vec<i32>> = BTreeMap::new();
        client
            .reading
            .keys()
            .for_each(|(topic, partition)| owned.entry(*topic).or_default().push(*partition));
        let owned =
            owned.into_iter().map(|(id, partitions)| TopicPartitions { topic_id: Uuid(id), partitions });
        let (names, pattern) = match &client.subscription {
            Subscription::Names(names) => (names.clone(), Str::EMPTY),
            Subscription::Pattern(pattern) => (Vec::new(), (*pattern).into()),
        };
        // Who has nothing new to say may say nothing.
        let says_owned = all || client.reading.len() != client.assigned.len() || self.random.bool();
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: client.id.clone(),
            member_epoch: if joins { 0 } else { client.epoch },
            instance_id: client.instance.clone(),
            rebalance_timeout_ms: if all { REBALANCE_MS } else { -1 },
            subscribed_topic_names: all.then_some(names),
            subscribed_topic_regex: all.then_some(pattern),
            topic_partitions: says_owned.then(|| owned.collect()),
            ..Default::default()
        };
        let Some(Answer::ConsumerHeartbeat(response)) = self.ask(Request::ConsumerHeartbeat(request)) else {
            self.clients[number].says_all = true;
            self.clients[number].unsure = true;
            return;
        };
        self.clients[number].unsure = false;
        let client = &mut self.clients[number];
        match response.error_code {
            E::NONE => {
                client.is_member = true;
                client.says_all = false;
                client.epoch = response.member_epoch;
                if let Some(assignment) = response.assignment {
                    let topics = assignment.topic_partitions.iter();
                    client.assigned =
                        topics.flat_map(|t| t.partitions.iter().map(|p| (t.topic_id.0, *p))).collect();
                }
            }
            E::FENCED_MEMBER_EPOCH | E::UNKNOWN_MEMBER_ID => client.start_over(),
            // The name is its dead self's until that session ends.
            E::UNRELEASED_INSTANCE_ID => {}
            E::FENCED_INSTANCE_ID => panic!("there is one client of each name"),
            E::GROUP_ID_NOT_FOUND => client.start_over(),
            other => panic!("{other}: {:?}", response.error_message),
        }
    }

    /// Does as it was told: gives up what is not its own any more, then reads what is.
    fn follow(&mut self, number: usize) {
        let Client { assigned, reading, .. } = self.clients[number].clone();
        let gone: Vec<Partition> = reading.keys().filter(|p| !assigned.contains(p)).copied().collect();
        for partition in &gone {
            self.commit(number, *partition);
            self.clients[number].reading.remove(partition);
        }
        if !gone.is_empty() || self.clients[number].unsure {
            return;
        }
        for partition in assigned {
            let position = self.told_offset(partition);
            self.clients[number].reading.entry(partition).or_insert(position);
        }
    }

    /// Reads one record on, and commits that.
    fn commit(&mut self, number: usize, partition: Partition) {
        let client = &mut self.clients[number];
        let Some(position) = client.reading.get_mut(&partition) else { return };
        *position += 1;
        let offset = *position;
        let told = OffsetCommitRequestPartition {
            partition_index: partition.1,
            committed_offset: offset,
            ..Default::default()
        };
        let name = TOPICS[partition.0 as usize - 1];
        let topic = OffsetCommitRequestTopic {
            name: name.into(),
            topic_id: Uuid(partition.0),
            partitions: vec![told],
        };
        let request = OffsetCommitRequest {
            group_id: "g".into(),
            generation_id_or_member_epoch: client.epoch,
            member_id: client.id.clone(),
            topics: vec![topic],
            ..Default::default()
        };
        let before = self.told_offset(partition);
        let answer = self.ask(Request::Commit(request));
        assert!(self.told_offset(partition) >= before, "the offset of {partition:?} went back");
        if let Some(Answer::Commit(answer)) = answer
            && !answer.topics[0].partitions[0].error_code.is_error()
        {
            self.committed.insert(partition, offset);
        }
    }

    /// What is committed for a partition, as everybody is told.
    fn told_offset(&self, (topic, partition): Partition) -> i64 {
        let topic = OffsetFetchRequestTopics {
            name: TOPICS[topic as usize - 1].into(),
            partition_indexes: vec![partition],
            ..Default::default()
        };
        let request =
            OffsetFetchRequestGroup { group_id: "g".into(), topics: Some(vec![topic]), ..Default::default() };
        self.groups.offsets.fetch(&request).topics[0].partitions[0].committed_offset
    }

    fn step(&mut self) {
        let number = self.random.usize(..self.clients.len());
        if self.mishap(80) {
            self.restart_coordinator();
        }
        if self.mishap(100) {
            let topic = self.random.usize(..2);
            self.partition_counts[topic] += 1;
            self.topics.set(TOPICS[topic], self.partition_counts[topic]);
        }
        let client = self.clients[number].clone();
        if !client.alive {
            if self.random.u32(..4) == 0 || !self.faults {
                self.next_id += 1;
                let client = &mut self.clients[number];
                client.alive = true;
                client.id = format!("next-{}", self.next_id).into();
            }
        } else if self.mishap(60) {
            self.clients[number].alive = false;
            self.clients[number].start_over();
        } else if client.is_member && self.mishap(60) {
            self.leave(number);
        } else if self.mishap(80) {
            self.clients[number].subscription = any_subscription(&mut self.random);
            self.clients[number].says_all = true;
        } else if client.has_to_follow() && (!self.faults || self.random.u32(..3) == 0) {
            // Sooner or later, as long as there are faults; who is too late is thrown out.
            self.follow(number);
        } else if client.next_heartbeat_ms <= self.now_ms {
            self.heartbeat(number);
        } else if let Some((partition, _)) = client.reading.iter().next() {
            self.commit(number, *partition);
        }
        let ms = self.random.i64(0..500);
        self.advance(ms);
    }

    fn leave(&mut self, number: usize) {
        let client = self.clients[number].clone();
        let epoch = if client.instance.is_some() && self.random.bool() { -2 } else { -1 };
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: client.id,
            member_epoch: epoch,
            instance_id: client.instance,
            ..Default::default()
        };
        // It has stopped reading, whether it is heard or not.
        self.clients[number].start_over();
        self.clients[number].alive = false;
        self.ask(Request::ConsumerHeartbeat(request));
    }

    fn advance(&mut self, ms: i64) {
        let until = self.now_ms + ms;
        while let Some(at) = self.groups.wake_ms().filter(|at| *at <= until) {
            self.now_ms = self.now_ms.max(at);
            let mut out = Effects::default();
            let now =
                Now { ms: self.now_ms, limits: &self.limits, timings: &self.timing, topics: &self.topics };
            self.groups.tick(now, &mut out);
            self.append(&out);
        }
        self.now_ms = until;
    }

    /// Everything that was appended is there again, and nothing else.
    fn restart_coordinator(&mut self) {
        simulation::trace(self.now_ms, "restarts", &self.log.len());
        self.groups = Groups::default();
        for (key, value) in &self.log {
            let record = Record::decode(key.clone(), value.clone()).unwrap();
            self.groups.replay(&record, self.now_ms);
        }
        self.groups.loaded(Now {
            ms: self.now_ms,
            limits: &self.limits,
            timings: &self.timing,
            topics: &self.topics,
        });
    }

    fn describe(&self) -> DescribedConsumerGroup {
        let now = Now { ms: self.now_ms, limits: &self.limits, timings: &self.timing, topics: &self.topics };
        self.groups.describe_consumer("g".into(), now)
    }

    fn check(&mut self) {
        let described = self.describe();
        // Who was thrown out and has not heard of it reads on; among members there is one reader for each partition.
        let is_member = |client: &&Client| described.members.iter().any(|m| m.member_id == client.id);
        let mut readers: BTreeMap<Partition, &Str> = BTreeMap::new();
        for client in self.clients.iter().filter(|client| client.alive).filter(is_member) {
            for partition in client.reading.keys() {
                let other = readers.insert(*partition, &client.id);
                assert!(other.is_none(), "{other:?} and {} both read {partition:?}", client.id);
            }
        }
        // The coordinator's own account of it.
        let mut owners = BTreeSet::new();
        for member in &described.members {
            for topic in &member.assignment.topic_partitions {
                for partition in &topic.partitions {
                    assert!(owners.insert((topic.topic_id.0, *partition)), "two have {topic:?}");
                }
            }
        }
        assert!(described.group_epoch >= self.newest_epoch, "the group's epoch went back");
        self.newest_epoch = described.group_epoch;
        for (partition, offset) in &self.committed {
            let told = self.told_offset(*partition);
            assert!(told >= *offset, "{partition:?}: {offset} was acknowledged, and {told} is there");
        }
    }

    fn is_at_rest(&self) -> bool {
        let mut wanted = BTreeSet::new();
        for client in &self.clients {
            for (topic, (name, count)) in (1u128..).zip(TOPICS.into_iter().zip(self.partition_counts)) {
                let reads = match &client.subscription {
                    Subscription::Names(names) => names.iter().any(|n| *n == name),
                    Subscription::Pattern(_) => true,
                };
                if reads {
                    wanted.extend((0..count).map(|partition| (topic, partition)));
                }
            }
        }
        let described = self.describe();
        let read: BTreeSet<Partition> =
            self.clients.iter().flat_map(|client| client.reading.keys().copied()).collect();
        described.group_state == "Stable"
            && described.members.len() == self.clients.len()
            && self.clients.iter().all(|c| c.alive && c.is_member && c.epoch == described.group_epoch)
            && read == wanted
    }
}

/// Runs one seed, and gives a number that tells its whole course.
fn run(seed: u64) -> u64 {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
        world.check();
    }
    world.faults = false;
    let end = world.now_ms + REST_MS * world.clients.len() as i64;
    while !world.is_at_rest() {
        assert!(
            world.now_ms < end,
            "the group does not come to rest: {:#?}, {:#?}",
            world.describe(),
            world.clients
        );
        world.step();
        world.check();
    }
    simulation::course(world.now_ms, world.next_ticket, &world.log)
}

#[test]
fn whatever_gets_lost_or_dies_no_partition_is_read_twice_and_the_group_comes_to_rest() {
    simulation::run_seeds("consumer_simulation", SEEDS, run);
}

#[test]
fn a_seed_takes_the_same_course_each_time() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
