//! A coordinator and some members under one seed: messages get lost or come twice, members die and come back, the
//! coordinator restarts from its log. What must hold is checked after every step; once the faults stop, the group must
//! come to rest.
//!
//! `OTTLA_SEEDS` says how many seeds to run, `OTTLA_FIRST_SEED` the first; a seed that fails is named with the command
//! that runs it again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ottla_protocol::{
    Bytes,
    error_code::ErrorCode as E,
    messages::{
        HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest,
        join_group::JoinGroupRequestProtocol,
        leave_group::MemberIdentity,
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
        sync_group::SyncGroupRequestAssignment,
    },
    types::Str,
};

use super::{topics::KnownTopics, *};

const SEEDS: u64 = 1000;
const STEPS: usize = 400;
const PARTITIONS: u8 = 8;
const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 30_000;
const HEARTBEAT_MS: i64 = 3_000;
/// Time in which a group without faults must have come to rest: a session, two rounds, and the rest of a static
/// member's.
const REST_MS: i64 = 4 * (SESSION_MS as i64 + REBALANCE_MS as i64);

/// A member, as a client would be: it asks one thing at a time and waits for the answer.
#[derive(Clone, Debug)]
struct Client {
    id: Str,
    instance: Option<Str>,
    generation: i32,
    state: Doing,
    /// What it was given, if it has a share.
    share: BTreeSet<u8>,
    alive: bool,
    next_heartbeat_ms: i64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Doing {
    /// About to join.
    Outside,
    Joining(Ticket),
    Syncing(Ticket),
    Reading,
    Beating(Ticket),
}

struct World {
    random: fastrand::Rng,
    groups: Groups,
    limits: Limits,
    timing: Timing,
    topics: KnownTopics,
    now_ms: i64,
    log: Vec<(Bytes, Option<Bytes>)>,
    clients: Vec<Client>,
    /// Whose request a ticket is.
    asked: HashMap<Ticket, usize>,
    answered: BTreeSet<Ticket>,
    next_ticket: u64,
    faults: bool,
    /// What the members of a generation were given, to see that nothing was given twice.
    shares: BTreeMap<i32, BTreeMap<Str, BTreeSet<u8>>>,
    /// The newest generation in which somebody got a share.
    newest_generation: i32,
    /// The newest offset that a commit was acknowledged for.
    committed: i64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let clients = (0..random.usize(1..6))
            .map(|number| Client {
                id: Str::EMPTY,
                instance: random.bool().then(|| format!("static-{number}").into()),
                generation: -1,
                state: Doing::Outside,
                share: BTreeSet::new(),
                alive: true,
                next_heartbeat_ms: 0,
            })
            .collect();
        let limits = Limits {
            session_timeout_ms: 6000..=1_800_000,
            initial_rebalance_delay_ms: *[0, 3000].get(random.usize(..2)).unwrap(),
            group_size_max: usize::MAX,
            offset_metadata_bytes_max: 4096,
            offsets_retention_ms: i64::MAX,
            consumer: consumer_tests::limits(),
        };
        Self {
            random,
            groups: Groups::default(),
            limits,
            timing: consumer_tests::TIMING,
            topics: KnownTopics::default(),
            now_ms: 1_700_000_000_000,
            log: Vec::new(),
            clients,
            asked: HashMap::new(),
            answered: BTreeSet::new(),
            next_ticket: 0,
            faults: true,
            shares: BTreeMap::new(),
            newest_generation: 0,
            committed: -1,
        }
    }

    /// One in `n`, as long as there are faults.
    fn mishap(&mut self, n: u32) -> bool {
        self.faults && self.random.u32(..n) == 0
    }

    /// Sends a request; it may get lost, or come twice. Gives the ticket whose answer the client waits for.
    fn ask(&mut self, client: usize, request: Request) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        if self.mishap(20) {
            return ticket;
        }
        if self.mishap(20) {
            // A copy that the network made: whatever comes of it, nobody sees.
            self.next_ticket += 1;
            let copy = Ticket(self.next_ticket);
            self.handle(copy, request.clone());
        }
        self.asked.insert(ticket, client);
        self.handle(ticket, request);
        ticket
    }

    fn handle(&mut self, ticket: Ticket, request: Request) {
        let caller = Caller {
            version: 9,
            client_id: "c".into(),
            client_host: "/10.0.0.1".into(),
            sees: Default::default(),
        };
        let suffix = self.random.u64(..);
        let mut out = Effects::default();
        let now = Now { ms: self.now_ms, limits: &self.limits, timings: &self.timing, topics: &self.topics };
        self.groups.handle(ticket, request, &caller, now, || format!("{suffix:x}"), &mut out);
        self.take(out);
    }

    fn take(&mut self, out: Effects) {
        for record in &out.records {
            self.log.push(record.encode().unwrap());
        }
        for (ticket, answer) in out.answers {
            assert!(self.answered.insert(ticket), "{ticket:?} was answered twice");
            let Some(client) = self.asked.remove(&ticket) else { continue };
            if !self.mishap(20) {
                self.receive(client, ticket, answer);
            }
        }
    }

    fn receive(&mut self, number: usize, ticket: Ticket, answer: Answer) {
        let Some(client) = self.clients.get_mut(number).filter(|c| c.alive) else { return };
        match (client.state, answer) {
            (Doing::Joining(asked), Answer::Join(answer)) if asked == ticket => match answer.error_code {
                E::NONE => {
                    client.id = answer.member_id.clone();
                    client.generation = answer.generation_id;
                    let members: Vec<Str> = answer.members.iter().map(|m| m.member_id.clone()).collect();
                    let leads = answer.leader == answer.member_id && !answer.skip_assignment;
                    self.sync(number, if leads { members } else { Vec::new() });
                }
                E::MEMBER_ID_REQUIRED => {
                    client.id = answer.member_id;
                    client.state = Doing::Outside;
                }
                _ => self.start_over(number),
            },
            (Doing::Syncing(asked), Answer::Sync(answer)) if asked == ticket => match answer.error_code {
                E::NONE => {
                    client.share = answer.assignment.iter().copied().collect();
                    client.state = Doing::Reading;
                    client.next_heartbeat_ms = self.now_ms;
                    let (id, generation, share) =
                        (client.id.clone(), client.generation, client.share.clone());
                    // A generation whose shares were given out is in the log, so it never comes again.
                    assert!(generation >= self.newest_generation, "a generation went back");
                    self.newest_generation = generation;
                    let others = self.shares.entry(generation).or_default();
                    for (other, theirs) in others.iter().filter(|(other, _)| **other != id) {
                        let both: Vec<&u8> = share.intersection(theirs).collect();
                        // A static member that came back has the share of its old self.
                        let same = |a: &Str, b: &Str| {
                            a.rsplit_once('-').map(|p| p.0) == b.rsplit_once('-').map(|p| p.0)
                        };
                        assert!(
                            both.is_empty() || (same(other, &id) && id.starts_with("static")),
                            "{other} and {id} both have {both:?} in generation {generation}"
                        );
                    }
                    others.insert(id, share);
                }
                E::REBALANCE_IN_PROGRESS => client.state = Doing::Outside,
                _ => self.start_over(number),
            },
            (Doing::Beating(asked), Answer::Heartbeat(answer)) if asked == ticket => {
                match answer.error_code {
                    E::NONE => client.state = Doing::Reading,
                    E::REBALANCE_IN_PROGRESS => client.state = Doing::Outside,
                    _ => self.start_over(number),
                }
            }
            (Doing::Reading, Answer::Commit(answer))
                if !answer.topics[0].partitions[0].error_code.is_error() =>
            {
                self.committed = self.committed.max(ticket.0 as i64);
            }
            _ => {}
        }
    }

    /// The client was told that it is no member, or of another generation: it begins anew.
    fn start_over(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.id = Str::EMPTY;
        client.generation = -1;
        client.share.clear();
        client.state = Doing::Outside;
    }

    fn join(&mut self, number: usize) {
        let client = &self.clients[number];
        let request = JoinGroupRequest {
            group_id: "g".into(),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            member_id: client.id.clone(),
            group_instance_id: client.instance.clone(),
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::new() }],
            ..Default::default()
        };
        self.clients[number].share.clear();
        // The answer may come before `ask` returns, so the state is set first.
        self.clients[number].state = Doing::Joining(Ticket(self.next_ticket + 1));
        let upcoming = self.next_ticket + 1;
        let ticket = self.ask(number, Request::Join(request));
        assert_eq!(ticket.0, upcoming);
    }

    fn sync(&mut self, number: usize, members: Vec<Str>) {
        let client = &self.clients[number];
        let assignments = members.iter().enumerate().map(|(place, id)| {
            let share = (0..PARTITIONS).filter(|p| usize::from(*p) % members.len() == place);
            SyncGroupRequestAssignment {
                member_id: id.clone(),
                assignment: share.collect::<Vec<u8>>().into(),
            }
        });
        let request = SyncGroupRequest {
            group_id: "g".into(),
            generation_id: client.generation,
            member_id: client.id.clone(),
            group_instance_id: client.instance.clone(),
            assignments: assignments.collect(),
            ..Default::default()
        };
        self.clients[number].state = Doing::Syncing(Ticket(self.next_ticket + 1));
        self.ask(number, Request::Sync(request));
    }

    fn heartbeat(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.next_heartbeat_ms = self.now_ms + HEARTBEAT_MS;
        let request = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: client.generation,
            member_id: client.id.clone(),
            group_instance_id: client.instance.clone(),
        };
        client.state = Doing::Beating(Ticket(self.next_ticket + 1));
        self.ask(number, Request::Heartbeat(request));
    }

    /// Commits the number of the request itself, which only grows.
    fn commit(&mut self, number: usize) {
        let client = &self.clients[number];
        let partition = OffsetCommitRequestPartition {
            committed_offset: self.next_ticket as i64 + 1,
            ..Default::default()
        };
        let topic =
            OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: "g".into(),
            generation_id_or_member_epoch: client.generation,
            member_id: client.id.clone(),
            group_instance_id: client.instance.clone(),
            topics: vec![topic],
            ..Default::default()
        };
        self.ask(number, Request::Commit(request));
    }

    fn step(&mut self) {
        let number = self.random.usize(..self.clients.len());
        if self.mishap(60) {
            return self.restart_coordinator();
        }
        let Client { alive, state, next_heartbeat_ms, .. } = self.clients[number];
        match state {
            _ if !alive => {
                if self.random.u32(..4) == 0 || !self.faults {
                    self.clients[number].alive = true;
                    self.start_over(number);
                }
            }
            _ if self.mishap(40) => self.clients[number].alive = false,
            Doing::Reading if self.mishap(30) => {
                let identity = MemberIdentity {
                    member_id: self.clients[number].id.clone(),
                    group_instance_id: self.clients[number].instance.clone(),
                    reason: None,
                };
                let request =
                    LeaveGroupRequest { group_id: "g".into(), members: vec![identity], ..Default::default() };
                self.ask(number, Request::Leave(request));
                self.start_over(number);
            }
            Doing::Outside => self.join(number),
            Doing::Reading if next_heartbeat_ms <= self.now_ms => self.heartbeat(number),
            Doing::Reading if self.faults => self.commit(number),
            Doing::Reading => {}
            // The answer is lost, or long in coming: after a while a client asks again.
            Doing::Joining(ticket) | Doing::Syncing(ticket) | Doing::Beating(ticket) => {
                if !self.asked.contains_key(&ticket) || self.mishap(10) {
                    self.clients[number].state = match state {
                        Doing::Beating(_) => Doing::Reading,
                        _ => Doing::Outside,
                    };
                }
            }
        }
        let ms = self.random.i64(0..1000);
        self.advance(ms);
    }

    fn advance(&mut self, ms: i64) {
        let until = self.now_ms + ms;
        while let Some(at) = self.groups.wake_ms().filter(|at| *at <= until) {
            self.now_ms = self.now_ms.max(at);
            let mut out = Effects::default();
            self.groups.tick(
                Now { ms: self.now_ms, limits: &self.limits, timings: &self.timing, topics: &self.topics },
                &mut out,
            );
            self.take(out);
        }
        self.now_ms = until;
    }

    /// Everything that was appended is there again, and nothing else; whoever waited does so in vain.
    fn restart_coordinator(&mut self) {
        self.groups = Groups::default();
        for (key, value) in &self.log {
            let record = Record::decode(key.clone(), value.clone()).unwrap();
            self.groups.replay(&record, self.now_ms);
        }
        let timings = &self.timing;
        self.groups.loaded(Now { ms: self.now_ms, limits: &self.limits, timings, topics: &self.topics });
        self.asked.clear();
    }

    fn check_committed(&mut self) {
        let topic =
            OffsetFetchRequestTopics { name: "t".into(), partition_indexes: vec![0], ..Default::default() };
        let request =
            OffsetFetchRequestGroup { group_id: "g".into(), topics: Some(vec![topic]), ..Default::default() };
        let told = self.groups.offsets.fetch(&request).topics[0].partitions[0].committed_offset;
        assert!(told >= self.committed, "offset {} was acknowledged, and {told} is there", self.committed);
    }

    fn is_at_rest(&self) -> bool {
        let generation = self.clients[0].generation;
        let read: BTreeSet<u8> = self.clients.iter().flat_map(|c| c.share.iter().copied()).collect();
        self.clients.iter().all(|c| {
            c.alive && c.generation == generation && matches!(c.state, Doing::Reading | Doing::Beating(_))
        }) && read.len() == usize::from(PARTITIONS)
    }
}

/// Runs one seed, and gives a number that tells its whole course.
fn run(seed: u64) -> u64 {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
        world.check_committed();
        assert!(world.groups.groups.len() <= 1);
    }
    world.faults = false;
    let end = world.now_ms + REST_MS;
    while !world.is_at_rest() {
        assert!(
            world.now_ms < end,
            "the group does not come to rest: {:?}, {:#?}",
            world.groups.groups.values().next(),
            world.clients
        );
        world.step();
    }
    world.check_committed();
    course(world.now_ms, world.next_ticket, &world.log)
}

/// A number that tells a whole course, by its end and by what it left in the log.
pub(super) fn course(now_ms: i64, next_ticket: u64, log: &[(Bytes, Option<Bytes>)]) -> u64 {
    let mut course = now_ms as u64 ^ next_ticket.rotate_left(20);
    for (key, value) in log {
        for byte in key.iter().chain(value.iter().flatten()) {
            course = course.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte);
        }
    }
    course
}

/// Runs the seeds that the environment asks for, or the first `seeds`. One that fails is named, with the command that
/// runs it again in `module`.
pub(super) fn run_seeds(module: &str, seeds: u64, run: fn(u64) -> u64) {
    let first = number("OTTLA_FIRST_SEED", 0);
    for seed in first..first + number("OTTLA_SEEDS", seeds) {
        let ran = std::panic::catch_unwind(|| run(seed));
        assert!(
            ran.is_ok(),
            "seed {seed} fails; again: OTTLA_FIRST_SEED={seed} OTTLA_SEEDS=1 cargo test -p ottla-broker --lib \
             group::{module}"
        );
    }
}

/// Tells a step of a seed's story, if `OTTLA_TRACE` is set.
#[allow(clippy::print_stderr, reason = "the story is for the terminal")]
pub(super) fn trace(now_ms: i64, what: &str, of: &dyn std::fmt::Debug) {
    static TRACES: std::sync::LazyLock<bool> =
        std::sync::LazyLock::new(|| std::env::var_os("OTTLA_TRACE").is_some());
    if *TRACES {
        eprintln!("{now_ms} {what} {of:?}");
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn whatever_gets_lost_or_dies_no_partition_is_given_twice_and_the_group_comes_to_rest() {
    run_seeds("simulation", SEEDS, run);
}

#[test]
fn a_seed_takes_the_same_course_each_time() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
