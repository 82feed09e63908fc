//! A group whose members change their protocol one after the other, up and down, under one seed: requests and answers
//! get lost, members die, leave and come back with the other protocol, the coordinator restarts from its log. Some
//! members are static, and take the place of their old selves, whichever protocol those spoke; some subscribe by a
//! pattern as long as they speak KIP-848. What must hold is checked after every step; once the faults stop, the group
//! must come to rest, whichever kind it then is.
//!
//! `OTTLA_SEEDS` and `OTTLA_FIRST_SEED` as in the other simulations.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::{
    Bytes,
    error_code::ErrorCode as E,
    messages::{
        consumer_group_heartbeat::TopicPartitions,
        data::{
            ConsumerProtocolAssignment, ConsumerProtocolSubscription,
            consumer_protocol_assignment::TopicPartition as Assigned,
            consumer_protocol_subscription::TopicPartition as Owned,
        },
        join_group::JoinGroupRequestProtocol,
        leave_group::MemberIdentity,
        sync_group::SyncGroupRequestAssignment,
    },
    types::{Str, Uuid},
    wire::{Reader, Wire, Writer},
};

use super::{consumer_tests, simulation, topics::KnownTopics, *};

const SEEDS: u64 = 100;
const STEPS: usize = 600;
const SESSION_MS: i64 = 10_000;
const REBALANCE_MS: i32 = 8_000;
const HEARTBEAT_MS: i64 = 1000;
/// Time in which a group without faults must have come to rest, for each of its members.
const REST_MS: i64 = 3 * (SESSION_MS + REBALANCE_MS as i64) + 30 * HEARTBEAT_MS;
const TOPIC: &str = "t";
const PATTERN: &str = "t|u.*";
/// What a leader divided is not known to it: it was another process that led.
const UNKNOWN_COUNT: i32 = -1;

/// How far a classic member is.
#[derive(Clone, Debug)]
enum Round {
    /// It is to join.
    Out,
    Joining(Ticket),
    /// It has joined, and is to ask for its assignment, with those of all if it leads.
    Joined(Vec<SyncGroupRequestAssignment>),
    Syncing(Ticket),
    In,
}

#[derive(Clone, Debug)]
enum Protocol {
    Consumer {
        is_member: bool,
        by_pattern: bool,
        /// What it was told to read.
        assigned: BTreeSet<i32>,
        /// Whether its last heartbeat got no answer: it takes nothing up before it has heard.
        unsure: bool,
    },
    Classic(Round),
}

#[derive(Clone, Debug)]
struct Client {
    id: Str,
    instance: Option<Str>,
    alive: bool,
    protocol: Protocol,
    epoch: i32,
    reading: BTreeSet<i32>,
    /// How many partitions it divided when it led a classic group; if there are others by now, it begins a round.
    divided: Option<i32>,
    next_heartbeat_ms: i64,
}

struct World {
    random: fastrand::Rng,
    groups: Groups,
    limits: Limits,
    timing: Timing,
    topics: KnownTopics,
    partition_count: i32,
    /// Whether classic members keep what they have while they join.
    cooperative: bool,
    now_ms: i64,
    log: Vec<(Bytes, Option<Bytes>)>,
    clients: Vec<Client>,
    last: u64,
    faults: bool,
    /// How often the group was seen to change its kind.
    changes: usize,
    was_consumer: Option<bool>,
}

fn bytes(message: &impl Wire) -> Bytes {
    let mut w = Writer::new();
    w.i16(3);
    message.write(&mut w, 3).unwrap();
    w.into_bytes()
}

fn read<T: Wire>(bytes: &Bytes) -> T {
    let mut r = Reader::new(bytes.clone());
    let version = r.i16().unwrap();
    T::read(&mut r, version).unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let clients = (0..random.usize(2..6)).map(|number| Client {
            id: Str::EMPTY,
            instance: (random.u32(..3) == 0).then(|| format!("static-{number}").into()),
            alive: false,
            protocol: Protocol::Classic(Round::Out),
            epoch: 0,
            reading: BTreeSet::new(),
            divided: None,
            next_heartbeat_ms: 0,
        });
        let clients: Vec<Client> = clients.collect();
        let policies =
            [MigrationPolicy::Bidirectional, MigrationPolicy::Bidirectional, MigrationPolicy::Upgrade];
        let limits = Limits {
            session_timeout_ms: 6000..=1_800_000,
            initial_rebalance_delay_ms: 0,
            group_size_max: usize::MAX,
            offset_metadata_bytes_max: 4096,
            offsets_retention_ms: i64::MAX,
            consumer: ConsumerLimits {
                group_size_max: usize::MAX,
                migration_policy: policies[random.usize(..3)],
                ..consumer_tests::limits()
            },
        };
        let timing = Timing {
            session_timeout_ms: SESSION_MS,
            heartbeat_interval_ms: HEARTBEAT_MS as i32,
            assignment_interval_ms: *[0, 1000].get(random.usize(..2)).unwrap(),
        };
        let partition_count = random.i32(1..8);
        Self {
            cooperative: random.bool(),
            random,
            groups: Groups::default(),
            limits,
            timing,
            topics: KnownTopics::of(&[(TOPIC, partition_count)]),
            partition_count,
            now_ms: 1_700_000_000_000,
            log: Vec::new(),
            clients,
            last: 0,
            faults: true,
            changes: 0,
            was_consumer: None,
        }
    }

    /// One in `n`, as long as there are faults.
    fn mishap(&mut self, n: u32) -> bool {
        self.faults && self.random.u32(..n) == 0
    }

    fn now(&self) -> Now<'_> {
        Now { ms: self.now_ms, limits: &self.limits, timings: &self.timing, topics: &self.topics }
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last += 1;
        Ticket(self.last)
    }

    /// Sends a request, of which everything may get lost.
    fn ask(&mut self, ticket: Ticket, request: Request) {
        if self.mishap(30) {
            return self.lose(ticket);
        }
        let caller = Caller {
            version: 9,
            client_id: "c".into(),
            client_host: "/10.0.0.1".into(),
            sees: Default::default(),
        };
        let mut out = Effects::default();
        let now = Now { ms: self.now_ms, limits: &self.limits, timings: &self.timing, topics: &self.topics };
        let id = format!("{}", ticket.0);
        simulation::trace(self.now_ms, "asked", &(ticket.0, &request));
        self.groups.handle(ticket, request, &caller, now, || id, &mut out);
        if self.mishap(100) {
            // Its records were not appended, and nobody is answered.
            self.lose(ticket);
            return self.restart_coordinator();
        }
        self.take(out);
    }

    fn take(&mut self, out: Effects) {
        self.log.extend(out.records.iter().map(|record| record.encode().unwrap()));
        for (ticket, answer) in out.answers {
            simulation::trace(self.now_ms, "answers", &(ticket.0, &answer));
            if self.mishap(30) { self.lose(ticket) } else { self.told(ticket, answer) }
        }
    }

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
        // Whose answers were held back asks again.
        for client in &mut self.clients {
            if let Protocol::Classic(round @ (Round::Joining(_) | Round::Syncing(_))) = &mut client.protocol {
                *round = Round::Out;
            }
        }
    }

    fn waiting(&mut self, ticket: Ticket) -> Option<usize> {
        self.clients.iter().position(|client| match &client.protocol {
            Protocol::Classic(Round::Joining(waits) | Round::Syncing(waits)) => {
                client.alive && *waits == ticket
            }
            _ => false,
        })
    }

    fn lose(&mut self, ticket: Ticket) {
        if let Some(number) = self.waiting(ticket) {
            self.clients[number].protocol = Protocol::Classic(Round::Out);
        }
    }

    // ---- a classic member ----

    fn join(&mut self, number: usize) {
        let ticket = self.next_ticket();
        let client = &mut self.clients[number];
        if !self.cooperative {
            client.reading.clear();
        }
        let owned = Owned { topic: TOPIC.into(), partitions: client.reading.iter().copied().collect() };
        let subscription = ConsumerProtocolSubscription {
            topics: vec![TOPIC.into()],
            owned_partitions: if client.reading.is_empty() { Vec::new() } else { vec![owned] },
            ..Default::default()
        };
        client.protocol = Protocol::Classic(Round::Joining(ticket));
        let request = JoinGroupRequest {
            group_id: "g".into(),
            session_timeout_ms: SESSION_MS as i32,
            rebalance_timeout_ms: REBALANCE_MS,
            member_id: client.id.clone(),
            group_instance_id: client.instance.clone(),
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol { name: "any".into(), metadata: bytes(&subscription) }],
            ..Default::default()
        };
        self.ask(ticket, Request::Join(request));
    }

    fn sync(&mut self, number: usize, assignments: Vec<SyncGroupRequestAssignment>) {
        let ticket = self.next_ticket();
        let client = &mut self.clients[number];
        client.protocol = Protocol::Classic(Round::Syncing(ticket));
        let request = SyncGroupRequest {
            group_id: "g".into(),
            generation_id: client.epoch,
            member_id: client.id.clone(),
            group_instance_id: client.instance.clone(),
            assignments,
            ..Default::default()
        };
        self.ask(ticket, Request::Sync(request));
    }

    fn heartbeat_classic(&mut self, number: usize) {
        let ticket = self.next_ticket();
        let client = &self.clients[number];
        let request = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: client.epoch,
            member_id: client.id.clone(),
            group_instance_id: client.instance.clone(),
        };
        // It is the one that is told, whatever else it may be waiting for.
        self.clients[number].protocol = Protocol::Classic(Round::Syncing(ticket));
        self.ask(ticket, Request::Heartbeat(request));
        if let Protocol::Classic(round @ Round::Syncing(_)) = &mut self.clients[number].protocol {
            *round = Round::In;
        }
    }

    /// An answer to a classic member.
    fn told(&mut self, ticket: Ticket, answer: Answer) {
        let Some(number) = self.waiting(ticket) else { return };
        let (cooperative, partition_count) = (self.cooperative, self.partition_count);
        // A static leader that is back in a group at rest leads on, and divides nothing.
        let leads = match &answer {
            Answer::Join(response) if response.error_code == E::NONE && !response.skip_assignment => {
                self.assign(response)
            }
            _ => Vec::new(),
        };
        let client = &mut self.clients[number];
        let (error_code, round) = match answer {
            Answer::Join(response) => {
                if response.error_code == E::MEMBER_ID_REQUIRED {
                    client.id = response.member_id.clone();
                }
                // A static member may have missed a round, and what it had was divided there. It takes back what it said.
                let missed = client.instance.is_some()
                    && !client.reading.is_empty()
                    && response.generation_id > client.epoch + 1;
                if response.error_code == E::NONE {
                    client.id = response.member_id;
                    client.epoch = response.generation_id;
                    client.divided = match (response.skip_assignment, leads.is_empty()) {
                        (true, _) => Some(UNKNOWN_COUNT),
                        (false, is_led) => (!is_led).then_some(partition_count),
                    };
                }
                if missed {
                    client.reading.clear();
                }
                (response.error_code, if missed { Round::Out } else { Round::Joined(leads) })
            }
            Answer::Sync(response) if response.error_code == E::NONE => {
                let assigned = match response.assignment.is_empty() {
                    true => BTreeSet::new(),
                    false => {
                        let told: ConsumerProtocolAssignment = read(&response.assignment);
                        told.assigned_partitions.into_iter().flat_map(|topic| topic.partitions).collect()
                    }
                };
                let gave_up = client.reading.iter().any(|partition| !assigned.contains(partition));
                client.reading = assigned;
                // A cooperative member that gave something up joins again to say so.
                (E::NONE, if cooperative && gave_up { Round::Out } else { Round::In })
            }
            Answer::Sync(response) => (response.error_code, Round::Out),
            Answer::Heartbeat(response) => (response.error_code, Round::In),
            other => panic!("{other:?}"),
        };
        let round = match error_code {
            E::NONE => round,
            E::MEMBER_ID_REQUIRED | E::REBALANCE_IN_PROGRESS => Round::Out,
            E::ILLEGAL_GENERATION => {
                client.reading.clear();
                Round::Out
            }
            E::UNKNOWN_MEMBER_ID => {
                client.reading.clear();
                client.id = Str::EMPTY;
                Round::Out
            }
            other => panic!("{other}"),
        };
        client.protocol = Protocol::Classic(round);
    }

    /// What a leader gives its members: as much as the others for each, and nothing that another one still has.
    fn assign(&self, response: &JoinGroupResponse) -> Vec<SyncGroupRequestAssignment> {
        let mut given: BTreeMap<&Str, Vec<i32>> = BTreeMap::new();
        let mut owners: BTreeMap<i32, &Str> = BTreeMap::new();
        for member in &response.members {
            given.insert(&member.member_id, Vec::new());
            let told: ConsumerProtocolSubscription = read(&member.metadata);
            for partition in told.owned_partitions.into_iter().flat_map(|topic| topic.partitions) {
                owners.insert(partition, &member.member_id);
            }
        }
        let ids: Vec<&Str> = given.keys().copied().collect();
        for (partition, id) in (0..self.partition_count).zip(ids.iter().cycle()) {
            if owners.get(&partition).is_none_or(|owner| owner == id) {
                given.entry(id).or_default().push(partition);
            }
        }
        let assignments = given.into_iter().map(|(id, partitions)| SyncGroupRequestAssignment {
            member_id: id.clone(),
            assignment: bytes(&ConsumerProtocolAssignment {
                assigned_partitions: vec![Assigned { topic: TOPIC.into(), partitions }],
                user_data: None,
            }),
        });
        assignments.collect()
    }

    // ---- a member of KIP-848 ----

    fn heartbeat(&mut self, number: usize) {
        let client = self.clients[number].clone();
        let Protocol::Consumer { is_member, by_pattern, .. } = client.protocol else { return };
        let owned = match client.reading.is_empty() {
            true => Vec::new(),
            false => {
                let partitions = client.reading.iter().copied().collect();
                vec![TopicPartitions { topic_id: Uuid(1), partitions }]
            }
        };
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: client.id.clone(),
            member_epoch: if is_member { client.epoch } else { 0 },
            instance_id: client.instance.clone(),
            rebalance_timeout_ms: REBALANCE_MS,
            subscribed_topic_names: Some(if by_pattern { Vec::new() } else { vec![TOPIC.into()] }),
            subscribed_topic_regex: Some(if by_pattern { PATTERN.into() } else { Str::EMPTY }),
            topic_partitions: Some(owned),
            ..Default::default()
        };
        let mut response = None;
        if !self.mishap(30) {
            let caller = Caller {
                version: 1,
                client_id: "c".into(),
                client_host: "/10.0.0.1".into(),
                sees: Default::default(),
            };
            let ticket = self.next_ticket();
            let mut out = Effects::default();
            let now =
                Now { ms: self.now_ms, limits: &self.limits, timings: &self.timing, topics: &self.topics };
            let request = Request::ConsumerHeartbeat(request);
            self.groups.handle(ticket, request, &caller, now, String::new, &mut out);
            if self.mishap(100) {
                self.restart_coordinator();
            } else {
                let own = out.answers.iter().position(|(to, _)| *to == ticket);
                response = own.map(|place| out.answers.remove(place).1);
                self.take(out);
                response = response.filter(|_| !self.mishap(30));
            }
        }
        let client = &mut self.clients[number];
        let Protocol::Consumer { is_member, assigned, unsure, .. } = &mut client.protocol else { return };
        let Some(Answer::ConsumerHeartbeat(response)) = response else {
            *unsure = true;
            return;
        };
        *unsure = false;
        match response.error_code {
            E::NONE => {
                *is_member = true;
                client.epoch = response.member_epoch;
                if let Some(told) = response.assignment {
                    *assigned =
                        told.topic_partitions.into_iter().flat_map(|topic| topic.partitions).collect();
                }
            }
            E::FENCED_MEMBER_EPOCH | E::UNKNOWN_MEMBER_ID | E::GROUP_ID_NOT_FOUND => {
                *is_member = false;
                assigned.clear();
                client.reading.clear();
            }
            // The name is its dead self's until that session ends.
            E::UNRELEASED_INSTANCE_ID => {}
            other => panic!("{other}: {:?}", response.error_message),
        }
    }

    /// Gives up what is not its own any more, then reads what is.
    fn follow(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let Protocol::Consumer { assigned, unsure, .. } = &client.protocol else { return };
        let before = client.reading.len();
        client.reading.retain(|partition| assigned.contains(partition));
        if client.reading.len() == before && !unsure {
            client.reading.extend(assigned);
        }
    }

    // ---- what happens ----

    fn step(&mut self) {
        let number = self.random.usize(..self.clients.len());
        if self.mishap(150) {
            self.restart_coordinator();
        }
        if self.mishap(150) {
            self.partition_count += 1;
            self.topics.set(TOPIC, self.partition_count);
        }
        if !self.clients[number].alive {
            if self.random.u32(..4) == 0 || !self.faults {
                self.begin(number);
            }
        } else if self.mishap(80) {
            self.end(number);
        } else if self.mishap(80) {
            self.leave(number);
        } else {
            self.go_on(number);
        }
        let ms = self.random.i64(0..500);
        self.advance(ms);
    }

    /// A new process, of either protocol.
    fn begin(&mut self, number: usize) {
        let ticket = self.next_ticket();
        let client = &mut self.clients[number];
        client.alive = true;
        client.epoch = 0;
        if self.random.bool() {
            client.id = format!("new-{}", ticket.0).into();
            client.protocol = Protocol::Consumer {
                is_member: false,
                by_pattern: self.random.bool(),
                assigned: BTreeSet::new(),
                unsure: false,
            };
        } else {
            client.id = Str::EMPTY;
            client.protocol = Protocol::Classic(Round::Out);
        }
    }

    fn end(&mut self, number: usize) {
        self.clients[number].alive = false;
        self.clients[number].reading.clear();
    }

    fn leave(&mut self, number: usize) {
        let client = self.clients[number].clone();
        self.end(number);
        let ticket = self.next_ticket();
        let for_a_while = client.instance.is_some() && self.random.bool();
        let request = match client.protocol {
            Protocol::Consumer { .. } => Request::ConsumerHeartbeat(ConsumerGroupHeartbeatRequest {
                group_id: "g".into(),
                member_id: client.id,
                member_epoch: if for_a_while { -2 } else { -1 },
                instance_id: client.instance,
                ..Default::default()
            }),
            // A static one says nothing when it means to be back.
            Protocol::Classic(_) if for_a_while => return,
            Protocol::Classic(_) => Request::Leave(LeaveGroupRequest {
                group_id: "g".into(),
                members: vec![MemberIdentity {
                    member_id: client.id,
                    group_instance_id: client.instance,
                    ..Default::default()
                }],
                ..Default::default()
            }),
        };
        self.ask(ticket, request);
    }

    fn go_on(&mut self, number: usize) {
        let client = self.clients[number].clone();
        let is_due = client.next_heartbeat_ms <= self.now_ms;
        match client.protocol {
            Protocol::Consumer { .. } if self.random.u32(..2) == 0 => self.follow(number),
            Protocol::Consumer { .. } if is_due => self.heartbeat(number),
            Protocol::Classic(Round::Out) if is_due => self.join(number),
            Protocol::Classic(Round::Joined(assignments)) => return self.sync(number, assignments),
            Protocol::Classic(Round::In)
                if client.divided.is_some_and(|count| count != self.partition_count) =>
            {
                self.join(number);
            }
            Protocol::Classic(Round::In) if is_due => self.heartbeat_classic(number),
            _ => return,
        }
        self.clients[number].next_heartbeat_ms = self.now_ms + HEARTBEAT_MS / 2;
    }

    fn advance(&mut self, ms: i64) {
        let until = self.now_ms + ms;
        while let Some(at) = self.groups.wake_ms().filter(|at| *at <= until) {
            self.now_ms = self.now_ms.max(at);
            let mut out = Effects::default();
            let now =
                Now { ms: self.now_ms, limits: &self.limits, timings: &self.timing, topics: &self.topics };
            self.groups.tick(now, &mut out);
            self.take(out);
        }
        self.now_ms = until;
    }

    fn check(&mut self) {
        let (members, is_consumer): (BTreeSet<Str>, _) = match self.groups.groups.get(&"g".into()) {
            Some(Group::Classic(group)) => (group.members().map(|m| m.id.clone()).collect(), Some(false)),
            Some(Group::Consumer(_)) => {
                let described = self.groups.describe_consumer("g".into(), self.now());
                (described.members.into_iter().map(|member| member.member_id).collect(), Some(true))
            }
            None => (BTreeSet::new(), None),
        };
        if is_consumer.is_some() && is_consumer != self.was_consumer && !members.is_empty() {
            self.changes += usize::from(self.was_consumer.is_some());
            self.was_consumer = is_consumer;
        }
        // Who was thrown out and has not heard of it reads on. So does a static member of a classic group that missed a
        // round: it stays in the group, and what it had is divided.
        let generation = match self.groups.groups.get(&"g".into()) {
            Some(Group::Classic(group)) => group.generation(),
            _ => 0,
        };
        let has_missed = |client: &Client| client.instance.is_some() && client.epoch < generation;
        let mut readers: BTreeMap<i32, &Str> = BTreeMap::new();
        let counts = |client: &&Client| client.alive && members.contains(&client.id) && !has_missed(client);
        for client in self.clients.iter().filter(counts) {
            for partition in &client.reading {
                let other = readers.insert(*partition, &client.id);
                assert!(
                    other.is_none(),
                    "{other:?} and {} both read {partition}: {:#?}",
                    client.id,
                    self.clients
                );
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        let is_stable = match self.groups.groups.get(&"g".into()) {
            Some(Group::Classic(group)) => {
                group.state() == State::Stable && group.members().len() == self.clients.len()
            }
            Some(Group::Consumer(_)) => {
                let described = self.groups.describe_consumer("g".into(), self.now());
                described.group_state == "Stable" && described.members.len() == self.clients.len()
            }
            None => false,
        };
        let read: BTreeSet<i32> = self.clients.iter().flat_map(|client| client.reading.clone()).collect();
        is_stable
            && self.clients.iter().all(|client| client.alive)
            && read == (0..self.partition_count).collect()
    }
}

/// Runs one seed, and gives a number that tells its whole course, and how often the group changed its kind.
fn run_counting(seed: u64) -> (u64, usize) {
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
            world.groups.groups,
            world.clients
        );
        world.step();
        world.check();
    }
    (simulation::course(world.now_ms, world.last, &world.log), world.changes)
}

fn run(seed: u64) -> u64 {
    run_counting(seed).0
}

#[test]
fn whichever_protocol_members_come_back_with_no_partition_is_read_twice_and_the_group_comes_to_rest() {
    simulation::run_seeds("migration_simulation", SEEDS, run);
}

#[test]
fn groups_do_change_their_kind() {
    let changes: usize = (0..10).map(|seed| run_counting(seed).1).sum();
    assert!(changes >= 10, "{changes}");
}

#[test]
fn a_seed_takes_the_same_course_each_time() {
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
