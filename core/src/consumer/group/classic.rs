//! A member of a group of the classic protocol. Does no I/O.
//!
//! Ask [`ClassicMember::poll`] what to do until it has nothing, do it, tell the outcome by a `handle_*`, and ask again,
//! at the latest at [`ClassicMember::next_due`]. That task is not the program's thread: heartbeats go on whatever the
//! program does. What the program is to do, it does at [`Action::Revoke`], [`Action::Lost`] and [`Action::Assign`], and
//! [`ClassicMember::handle_done`] says when it has.
//!
//! ```text
//! Idle → Ready → Preparing → Joining → (Dividing →) Syncing → Settling → Stable ─┐
//!          ↑     program lets go       leader          program lets go, takes     │ others come or go,
//!          └──────────────────────────────────────────────────────────────────────┘ topics change, errors
//! ```
//!
//! *Eager* members let go of everything before they join; *cooperative* ones (KIP-429) join with what they have, let go of
//! what they are not to keep, and join once more so that others can have it.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use ottla_protocol::{
    Bytes,
    error_code::{ErrorClass, ErrorCode},
    messages::{
        HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
        SyncGroupResponse, join_group::JoinGroupRequestProtocol, leave_group::MemberIdentity,
        sync_group::SyncGroupRequestAssignment,
    },
    types::{BrokerId, GroupId, Str, TopicName},
};

use super::super::assignor::{
    Assignor, Member, Subscription,
    metadata::{read_assignment, write_assignment},
};
use crate::{
    cluster::{
        TopicPartition,
        retry::{Backoff, Failures},
    },
    error::{Error, Result},
};

/// The protocol type of consumers.
const CONSUMER: Str = Str::from_static("consumer");
/// What JoinGroup and SyncGroup are for, in errors.
const JOIN: &str = "join";
/// Where there is no generation.
const NO_GENERATION: i32 = -1;

/// How a member behaves.
#[derive(Clone, Debug)]
pub(crate) struct MemberSettings {
    /// `group.id`.
    pub group: GroupId,
    /// `group.instance.id`.
    pub instance_id: Option<Str>,
    /// `partition.assignment.strategy`, best first.
    pub assignors: Vec<Assignor>,
    /// `session.timeout.ms`.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`, which is also how long a rebalance waits for the member.
    pub max_poll_interval: Duration,
    /// `client.rack`.
    pub rack: Option<Str>,
    /// `retry.backoff.ms` with its most.
    pub backoff: Backoff,
}

/// What is to be done next. Requests go to the coordinator.
#[derive(Debug)]
pub(crate) enum Action {
    /// Look the coordinator up; then [`ClassicMember::handle_coordinator`].
    FindCoordinator,
    /// Send it; then [`ClassicMember::handle_join`], with the attempt's number. Takes as long as the slowest member.
    Join(u64, JoinGroupRequest),
    /// Divide the partitions among the members, as their leader; then [`ClassicMember::handle_divided`].
    Divide(u64, Assignor, Vec<Member>),
    /// Send it; then [`ClassicMember::handle_sync`], with the attempt's number.
    Sync(u64, SyncGroupRequest),
    /// Send it; then [`ClassicMember::handle_heartbeat`], with the identity that was sent.
    Heartbeat(HeartbeatRequest),
    /// Send it; nobody waits for the answer.
    Leave(LeaveGroupRequest),
    /// The program commits what it has done of these, and lets go of them.
    Revoke(Vec<TopicPartition>),
    /// The program lets go of these, which others may have already: it cannot commit any more.
    Lost(Vec<TopicPartition>),
    /// The program takes these besides what it has. Ends a rebalance, also where there are none.
    Assign(Vec<TopicPartition>),
    /// The program is told; nothing goes on before [`ClassicMember::subscribe`].
    Fail(Error),
}

/// As whom a member commits, and sends heartbeats.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    /// The generation; -1 outside the group.
    pub generation: i32,
    /// The id that the coordinator gave; empty at first.
    pub member_id: Str,
}

impl Identity {
    const NONE: Self = Self { generation: NO_GENERATION, member_id: Str::EMPTY };
}

/// A member.
#[derive(Debug)]
pub(crate) struct ClassicMember {
    settings: MemberSettings,
    phase: Phase,
    topics: Vec<TopicName>,
    identity: Identity,
    /// What the program has.
    owned: BTreeSet<TopicPartition>,
    /// What was given last, for sticky assignors, which are told even of what was let go.
    given: Vec<TopicPartition>,
    given_generation: i32,
    coordinator: Coordinator,
    /// Told to the program and not done yet.
    awaited: Option<Awaited>,
    /// To be told to the program, or sent, in this order.
    queue: VecDeque<Action>,
    /// Others came or went, or topics did, since the last join.
    rejoin: Option<&'static str>,
    /// Counts joins; answers to older ones are not looked at.
    attempt: u64,
    /// Who is to get what, as the leader is told.
    joined: Vec<Member>,
    /// No join before this.
    retry_at: Option<Instant>,
    failures: Failures,
    heartbeat: Heartbeat,
    /// When the program last made progress.
    progressed_at: Instant,
    random: fastrand::Rng,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Nothing is subscribed, or something failed for good.
    Idle,
    /// To join, as soon as that is possible.
    Ready,
    /// The program lets go of what it may not keep.
    Preparing,
    /// JoinGroup is on its way.
    Joining,
    /// It is the leader, and partitions are being divided.
    Dividing,
    /// SyncGroup is on its way.
    Syncing,
    /// The program lets go of some, and takes others.
    Settling,
    Stable,
    /// The program made no progress for too long; it joins again when it does.
    Expired,
    /// It is leaving, or has left.
    Leaving,
}

#[derive(Debug)]
enum Coordinator {
    Unknown { retry_at: Option<Instant> },
    Asking,
    Known(BrokerId),
}

#[derive(Debug)]
enum Awaited {
    LetGo(Vec<TopicPartition>),
    Assign,
}

#[derive(Debug)]
struct Heartbeat {
    due_at: Instant,
    is_sent: bool,
    /// When the coordinator last heard of the member, as far as that is known here.
    heard_at: Instant,
}

impl ClassicMember {
    /// A member that has not subscribed to anything yet.
    pub(crate) fn new(settings: MemberSettings, random: fastrand::Rng, now: Instant) -> Self {
        Self {
            settings,
            phase: Phase::Idle,
            topics: Vec::new(),
            identity: Identity::NONE,
            owned: BTreeSet::new(),
            given: Vec::new(),
            given_generation: NO_GENERATION,
            coordinator: Coordinator::Unknown { retry_at: None },
            awaited: None,
            queue: VecDeque::new(),
            rejoin: None,
            attempt: 0,
            joined: Vec::new(),
            retry_at: None,
            failures: Failures::default(),
            heartbeat: Heartbeat { due_at: now, is_sent: false, heard_at: now },
            progressed_at: now,
            random,
        }
    }

    /// Reads these topics from now on. After a failure, begins anew.
    pub(crate) fn subscribe(&mut self, topics: impl IntoIterator<Item = TopicName>, now: Instant) {
        let topics: BTreeSet<TopicName> = topics.into_iter().collect();
        let topics: Vec<TopicName> = topics.into_iter().collect();
        self.progressed_at = now;
        if self.phase == Phase::Idle {
            self.phase = Phase::Ready;
        } else if topics != self.topics {
            self.request_rejoin("the subscription has changed");
        }
        self.topics = topics;
    }

    /// Topics or partitions came or went; the leader tells by this that all must be divided anew.
    pub(crate) fn request_rejoin(&mut self, reason: &'static str) {
        self.rejoin = Some(reason);
    }

    /// The program has taken records, or asked for some.
    pub(crate) fn progressed(&mut self, now: Instant) {
        self.progressed_at = now;
        if self.phase == Phase::Expired {
            self.phase = Phase::Ready;
        }
    }

    /// Leaves: the program lets go, then a dynamic member tells the coordinator; a static one comes back (KIP-345).
    pub(crate) fn leave(&mut self) {
        if self.phase == Phase::Leaving {
            return;
        }
        self.phase = Phase::Leaving;
        self.queue.clear();
        self.let_go();
        self.queue_leave("the consumer is being closed");
    }

    /// Whether it has left, and told all there is to tell.
    pub(crate) fn is_gone(&self) -> bool {
        self.phase == Phase::Leaving && self.queue.is_empty() && self.awaited.is_none()
    }

    /// As whom to commit.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What the program has.
    pub(crate) fn owned(&self) -> impl Iterator<Item = &TopicPartition> {
        self.owned.iter()
    }

    /// Whom to ask, if that is known.
    pub(crate) fn coordinator(&self) -> Option<BrokerId> {
        match self.coordinator {
            Coordinator::Known(broker) => Some(broker),
            Coordinator::Unknown { .. } | Coordinator::Asking => None,
        }
    }

    // ---- what to do

    /// What to do now, if anything; to be asked until there is nothing.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.is_member() && now >= self.progressed_at + self.settings.max_poll_interval {
            self.expire();
        }
        if self.coordinator().is_some()
            && self.beats()
            && now >= self.heartbeat.heard_at + self.settings.session_timeout
        {
            self.forget_coordinator(now);
        }
        if self.awaited.is_none()
            && let Some(action) = self.next_told()
        {
            return Some(action);
        }
        if self.phase == Phase::Idle {
            return None;
        }
        if let Coordinator::Unknown { retry_at } = self.coordinator
            && self.is_member()
            && retry_at.is_none_or(|at| now >= at)
        {
            self.coordinator = Coordinator::Asking;
            return Some(Action::FindCoordinator);
        }
        self.coordinator()?;
        if self.beats() && !self.heartbeat.is_sent && now >= self.heartbeat.due_at {
            self.heartbeat.is_sent = true;
            self.heartbeat.due_at = now + self.settings.heartbeat_interval;
            return Some(Action::Heartbeat(self.heartbeat_request()));
        }
        if self.phase == Phase::Stable && self.rejoin.is_some() {
            self.phase = Phase::Ready;
        }
        if self.phase == Phase::Ready && self.awaited.is_none() && self.retry_at.is_none_or(|at| now >= at) {
            self.retry_at = None;
            self.phase = Phase::Preparing;
            self.let_go();
            if let Some(action) = self.next_told() {
                return Some(action);
            }
        }
        if self.phase == Phase::Preparing && self.awaited.is_none() {
            return Some(self.join());
        }
        None
    }

    /// When [`Self::poll`] may have something without anything having been told; `None` if never.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let expires = self.is_member().then(|| self.progressed_at + self.settings.max_poll_interval);
        let beats = self.beats() && self.coordinator().is_some();
        let heartbeat = (beats && !self.heartbeat.is_sent).then_some(self.heartbeat.due_at);
        let session = beats.then(|| self.heartbeat.heard_at + self.settings.session_timeout);
        let look_up = match self.coordinator {
            Coordinator::Unknown { retry_at } if self.is_member() => retry_at,
            _ => None,
        };
        let may_join = self.phase == Phase::Ready && self.coordinator().is_some() && self.awaited.is_none();
        let join = self.retry_at.filter(|_| may_join);
        [expires, heartbeat, session, look_up, join].into_iter().flatten().min()
    }

    /// Whether the coordinator waits for heartbeats. While it holds a JoinGroup, that stands for them.
    fn beats(&self) -> bool {
        self.identity.generation != NO_GENERATION
            && !matches!(self.phase, Phase::Joining | Phase::Idle | Phase::Expired | Phase::Leaving)
    }

    /// Whether the program's progress is watched.
    fn is_member(&self) -> bool {
        !matches!(self.phase, Phase::Idle | Phase::Expired | Phase::Leaving)
    }

    /// The next that is queued; what the program is told is awaited.
    fn next_told(&mut self) -> Option<Action> {
        let action = self.queue.pop_front()?;
        self.awaited = match &action {
            Action::Revoke(partitions) | Action::Lost(partitions) => Some(Awaited::LetGo(partitions.clone())),
            Action::Assign(partitions) => {
                self.owned.extend(partitions.iter().cloned());
                Some(Awaited::Assign)
            }
            _ => None,
        };
        Some(action)
    }

    /// Queues what the program must let go of before the member joins, or leaves.
    fn let_go(&mut self) {
        let is_lost = self.identity.generation == NO_GENERATION;
        let may_keep = !is_lost && self.is_cooperative() && self.phase != Phase::Leaving;
        let going = match &self.awaited {
            Some(Awaited::LetGo(partitions)) => &partitions[..],
            Some(Awaited::Assign) | None => &[],
        };
        let is_kept = |tp: &TopicPartition| may_keep && self.topics.contains(&tp.topic);
        let held = self.owned.iter().filter(|tp| !going.contains(tp) && !is_kept(tp));
        let partitions: Vec<TopicPartition> = held.cloned().collect();
        if !partitions.is_empty() {
            self.queue.push_back(if is_lost { Action::Lost(partitions) } else { Action::Revoke(partitions) });
        }
    }

    /// Members may keep what they have only if whichever assignor is chosen allows it.
    fn is_cooperative(&self) -> bool {
        self.settings.assignors.iter().all(|assignor| assignor.is_cooperative())
    }

    fn join(&mut self) -> Action {
        self.phase = Phase::Joining;
        self.attempt += 1;
        let reason = self.rejoin.take().map(Str::from_static);
        let owned: Vec<TopicPartition> = self.owned.iter().cloned().collect();
        let generation = (self.identity.generation >= 0).then_some(self.identity.generation);
        let protocol = |assignor: &Assignor| {
            let subscription = Subscription {
                topics: self.topics.clone(),
                owned: owned.clone(),
                generation,
                rack: self.settings.rack.clone(),
                user_data: assignor.user_data(&self.given, self.given_generation),
            };
            // The newest version can say all of it.
            let metadata = subscription.write().unwrap_or_default();
            JoinGroupRequestProtocol { name: Str::from_static(assignor.name()), metadata }
        };
        let request = JoinGroupRequest {
            group_id: self.settings.group.clone(),
            session_timeout_ms: millis(self.settings.session_timeout),
            rebalance_timeout_ms: millis(self.settings.max_poll_interval),
            member_id: self.identity.member_id.clone(),
            group_instance_id: self.settings.instance_id.clone(),
            protocol_type: CONSUMER,
            protocols: self.settings.assignors.iter().map(protocol).collect(),
            reason,
        };
        Action::Join(self.attempt, request)
    }

    fn heartbeat_request(&self) -> HeartbeatRequest {
        HeartbeatRequest {
            group_id: self.settings.group.clone(),
            generation_id: self.identity.generation,
            member_id: self.identity.member_id.clone(),
            group_instance_id: self.settings.instance_id.clone(),
        }
    }

    fn sync_request(&self, assignments: Vec<SyncGroupRequestAssignment>, assignor: Option<Str>) -> Action {
        Action::Sync(
            self.attempt,
            SyncGroupRequest {
                group_id: self.settings.group.clone(),
                generation_id: self.identity.generation,
                member_id: self.identity.member_id.clone(),
                group_instance_id: self.settings.instance_id.clone(),
                protocol_type: Some(CONSUMER),
                protocol_name: assignor,
                assignments,
            },
        )
    }

    fn queue_leave(&mut self, reason: &'static str) {
        let is_known = !self.identity.member_id.is_empty() && self.coordinator().is_some();
        if !is_known || self.settings.instance_id.is_some() {
            return;
        }
        let member_id = self.identity.member_id.clone();
        let member =
            MemberIdentity { member_id, group_instance_id: None, reason: Some(Str::from_static(reason)) };
        let group_id = self.settings.group.clone();
        let request = LeaveGroupRequest { group_id, members: vec![member], ..Default::default() };
        self.queue.push_back(Action::Leave(request));
    }

    /// The program made no progress for too long: others may have what it had.
    fn expire(&mut self) {
        self.queue.clear();
        self.queue_leave("the program made no progress within `max.poll.interval.ms`");
        self.identity = Identity::NONE;
        self.let_go();
        self.phase = Phase::Expired;
    }

    // ---- what came of it

    /// The look-up is over.
    pub(crate) fn handle_coordinator(&mut self, found: Result<BrokerId>, now: Instant) {
        match found {
            Ok(broker) => {
                self.coordinator = Coordinator::Known(broker);
                self.heartbeat.heard_at = now;
                self.heartbeat.is_sent = false;
            }
            Err(error) if error.is_retriable() => self.forget_coordinator(now),
            Err(error) => {
                self.fail(error.context(format!("find coordinator of group `{}`", self.settings.group)))
            }
        }
    }

    /// The coordinator is another one, or not there; a request to it failed on the way.
    pub(crate) fn forget_coordinator(&mut self, now: Instant) {
        let wait = self.failures.record(&self.settings.backoff, &mut self.random);
        self.coordinator = Coordinator::Unknown { retry_at: Some(now + wait) };
        self.heartbeat.is_sent = false;
    }

    /// JoinGroup is over.
    pub(crate) fn handle_join(&mut self, attempt: u64, response: Result<JoinGroupResponse>, now: Instant) {
        if attempt != self.attempt || self.phase != Phase::Joining {
            return;
        }
        let response = match response {
            Ok(response) => response,
            Err(error) => return self.again_or_fail(error, now),
        };
        match response.error_code {
            ErrorCode::NONE => {}
            ErrorCode::MEMBER_ID_REQUIRED => {
                self.identity =
                    Identity { generation: NO_GENERATION, member_id: response.member_id.detached() };
                self.phase = Phase::Preparing;
                return;
            }
            code => return self.refused(code, JOIN, now),
        }
        let known = |name: &Str| self.settings.assignors.iter().copied().find(|it| *name == it.name());
        let Some(assignor) = response.protocol_name.as_ref().and_then(known) else {
            return self.refused(ErrorCode::INCONSISTENT_GROUP_PROTOCOL, JOIN, now);
        };
        self.identity =
            Identity { generation: response.generation_id, member_id: response.member_id.detached() };
        self.heartbeat =
            Heartbeat { due_at: now + self.settings.heartbeat_interval, is_sent: false, heard_at: now };
        let name = Some(Str::from_static(assignor.name()));
        if response.leader != response.member_id || response.skip_assignment {
            self.phase = Phase::Syncing;
            let request = self.sync_request(Vec::new(), name);
            self.queue.push_back(request);
            return;
        }
        let member = |member: ottla_protocol::messages::join_group::JoinGroupResponseMember| {
            let subscription = Subscription::read(member.metadata)?;
            let (id, instance_id) = (member.member_id.detached(), member.group_instance_id);
            Ok(Member { id, instance_id: instance_id.map(|id| id.detached()), subscription })
        };
        let members: Result<Vec<Member>> = response.members.into_iter().map(member).collect();
        match members {
            Ok(members) => {
                self.phase = Phase::Dividing;
                self.joined.clone_from(&members);
                self.queue.push_back(Action::Divide(self.attempt, assignor, members));
            }
            Err(error) => self.fail(error.context("read the subscriptions of the group's members")),
        }
    }

    /// The partitions are divided: what each of the members gets, in their order.
    pub(crate) fn handle_divided(&mut self, attempt: u64, assignor: Assignor, parts: &[Vec<TopicPartition>]) {
        if attempt != self.attempt || self.phase != Phase::Dividing {
            return;
        }
        let members = std::mem::take(&mut self.joined);
        let part = |(member, partitions): (Member, &Vec<TopicPartition>)| SyncGroupRequestAssignment {
            member_id: member.id,
            // There is no assignment that the layout cannot say.
            assignment: write_assignment(partitions).unwrap_or_default(),
        };
        let assignments = members.into_iter().zip(parts).map(part).collect();
        self.phase = Phase::Syncing;
        let request = self.sync_request(assignments, Some(Str::from_static(assignor.name())));
        self.queue.push_back(request);
    }

    /// SyncGroup is over.
    pub(crate) fn handle_sync(&mut self, attempt: u64, response: Result<SyncGroupResponse>, now: Instant) {
        if attempt != self.attempt || self.phase != Phase::Syncing {
            return;
        }
        let response = match response {
            Ok(response) => response,
            Err(error) => return self.again_or_fail(error, now),
        };
        match response.error_code {
            ErrorCode::NONE => self.settle(response.assignment),
            code => self.refused(code, JOIN, now),
        }
    }

    /// Takes what the leader gave.
    fn settle(&mut self, assignment: Bytes) {
        let given = match read_assignment(assignment) {
            Ok(given) => given,
            Err(malformed) => return self.fail(Error::from(malformed).context("read the assignment")),
        };
        self.failures.clear();
        self.phase = Phase::Settling;
        if given.iter().any(|tp| !self.topics.contains(&tp.topic)) {
            // The subscription changed while the leader divided by the old one.
            self.request_rejoin("the assignment is of another subscription");
            self.phase = Phase::Stable;
            return;
        }
        let wanted: BTreeSet<TopicPartition> = given.iter().cloned().collect();
        self.given = given;
        self.given_generation = self.identity.generation;
        let revoked: Vec<TopicPartition> = self.owned.difference(&wanted).cloned().collect();
        let added = wanted.difference(&self.owned).cloned().collect();
        if !revoked.is_empty() {
            self.queue.push_back(Action::Revoke(revoked));
            self.request_rejoin("partitions were let go for others");
        }
        self.queue.push_back(Action::Assign(added));
    }

    /// The program has done what it was told to.
    pub(crate) fn handle_done(&mut self) {
        match self.awaited.take() {
            Some(Awaited::LetGo(partitions)) => {
                self.owned.retain(|tp| !partitions.contains(tp));
            }
            Some(Awaited::Assign) if self.phase == Phase::Settling => self.phase = Phase::Stable,
            Some(Awaited::Assign) | None => {}
        }
    }

    /// Heartbeat is over; `sent` is as whom it was sent.
    pub(crate) fn handle_heartbeat(&mut self, sent: &Identity, code: Result<ErrorCode>, now: Instant) {
        if *sent != self.identity {
            return;
        }
        self.heartbeat.is_sent = false;
        match code {
            Ok(ErrorCode::NONE) => {
                self.heartbeat.heard_at = now;
                self.failures.clear();
            }
            Ok(ErrorCode::REBALANCE_IN_PROGRESS) => {
                self.heartbeat.heard_at = now;
                // While it joins, or takes what it was given, it is in the rebalance already.
                if self.phase == Phase::Stable {
                    self.request_rejoin("the group is rebalancing");
                }
            }
            Ok(code) => self.refused(code, "heartbeat", now),
            Err(error) if error.is_retriable() => self.forget_coordinator(now),
            Err(error) => self.fail(error),
        }
    }

    /// A commit was refused; `sent` is as whom it was sent. Others who commit are told by their own way.
    pub(crate) fn handle_commit_refused(&mut self, sent: &Identity, code: ErrorCode, now: Instant) {
        if *sent != self.identity || !self.is_member() {
            return;
        }
        match code {
            ErrorCode::REBALANCE_IN_PROGRESS => self.request_rejoin("the group is rebalancing"),
            ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::FENCED_INSTANCE_ID
            | ErrorCode::NOT_COORDINATOR
            | ErrorCode::COORDINATOR_NOT_AVAILABLE => self.refused(code, "commit", now),
            _ => {}
        }
    }

    /// The coordinator refused something.
    fn refused(&mut self, code: ErrorCode, doing: &str, now: Instant) {
        match code {
            ErrorCode::UNKNOWN_MEMBER_ID => {
                self.identity = Identity::NONE;
                self.join_again(now);
            }
            // It is still known, and keeps its id.
            ErrorCode::ILLEGAL_GENERATION => {
                self.identity.generation = NO_GENERATION;
                self.join_again(now);
            }
            ErrorCode::REBALANCE_IN_PROGRESS => self.join_again(now),
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS if doing == JOIN => self.join_again(now),
            // The others who ask it just ask again.
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => {}
            code if code.class() == ErrorClass::RefreshCoordinator => {
                self.forget_coordinator(now);
                if matches!(self.phase, Phase::Joining | Phase::Dividing | Phase::Syncing) {
                    self.join_again(now);
                }
            }
            code => {
                let group = &self.settings.group;
                let mut error = Error::broker(code, None).context(format!("{doing} group `{group}`"));
                if code == ErrorCode::FENCED_INSTANCE_ID {
                    error =
                        error.hint("another consumer has the same `group.instance.id`; give each its own");
                }
                self.fail(error);
            }
        }
    }

    /// A request to join failed on its way.
    fn again_or_fail(&mut self, error: Error, now: Instant) {
        if !error.is_retriable() {
            return self.fail(error.context(format!("join group `{}`", self.settings.group)));
        }
        self.forget_coordinator(now);
        self.join_again(now);
    }

    fn join_again(&mut self, now: Instant) {
        // What was to be told belongs to a rebalance that has failed. What has to be let go is found out anew.
        self.queue.clear();
        // A member that was in the group joins at once: the others wait for it.
        let was_joined = !matches!(self.phase, Phase::Joining | Phase::Ready);
        self.phase = Phase::Ready;
        if was_joined {
            return;
        }
        let wait = self.failures.record(&self.settings.backoff, &mut self.random);
        self.retry_at = Some(now + wait);
    }

    fn fail(&mut self, error: Error) {
        self.queue.clear();
        self.identity = Identity::NONE;
        self.rejoin = None;
        self.let_go();
        self.phase = Phase::Idle;
        self.queue.push_back(Action::Fail(error));
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::join_group::JoinGroupResponseMember;

    use super::*;
    use crate::error::ErrorKind;

    const SESSION: Duration = Duration::from_secs(45);
    const BEAT: Duration = Duration::from_secs(3);
    const POLL: Duration = Duration::from_secs(300);

    struct Bench {
        member: ClassicMember,
        now: Instant,
    }

    impl Bench {
        /// A member that has found its coordinator.
        fn new(assignors: &[Assignor], instance_id: Option<&str>) -> Self {
            let now = Instant::now();
            let settings = MemberSettings {
                group: "g".into(),
                instance_id: instance_id.map(Str::from),
                assignors: assignors.to_vec(),
                session_timeout: SESSION,
                heartbeat_interval: BEAT,
                max_poll_interval: POLL,
                rack: None,
                backoff: Backoff { first: Duration::from_millis(100), most: Duration::from_secs(1) },
            };
            let mut member = ClassicMember::new(settings, fastrand::Rng::with_seed(7), now);
            assert!(member.poll(now).is_none(), "nothing is subscribed");
            member.subscribe(["t".into()], now);
            let mut bench = Self { member, now };
            assert!(matches!(bench.next(), Some(Action::FindCoordinator)));
            bench.member.handle_coordinator(Ok(BrokerId(1)), now);
            bench
        }

        fn next(&mut self) -> Option<Action> {
            self.member.poll(self.now)
        }

        fn after(&mut self, time: Duration) -> &mut Self {
            self.now += time;
            self
        }

        fn join(&mut self) -> (u64, JoinGroupRequest) {
            match self.next() {
                Some(Action::Join(attempt, request)) => (attempt, request),
                other => panic!("it does not join: {other:?}"),
            }
        }

        fn joined(&mut self, attempt: u64, code: ErrorCode, generation_id: i32) {
            let assignor = self.member.settings.assignors[0].name();
            let response = JoinGroupResponse {
                error_code: code,
                generation_id,
                member_id: "m".into(),
                leader: "other".into(),
                protocol_name: Some(assignor.into()),
                ..Default::default()
            };
            self.member.handle_join(attempt, Ok(response), self.now);
        }

        fn synced(&mut self, code: ErrorCode, partitions: &[i32]) {
            let Some(Action::Sync(attempt, _)) = self.next() else { panic!("it does not sync") };
            let assignment = write_assignment(&all(partitions)).unwrap();
            let response = SyncGroupResponse { error_code: code, assignment, ..Default::default() };
            self.member.handle_sync(attempt, Ok(response), self.now);
        }

        /// A whole rebalance, up to what the program is told.
        fn rebalance(&mut self, generation: i32, partitions: &[i32]) {
            let (attempt, _) = self.join();
            self.joined(attempt, ErrorCode::NONE, generation);
            self.synced(ErrorCode::NONE, partitions);
        }

        fn assigned(&mut self, partitions: &[i32]) {
            let Some(Action::Assign(assigned)) = self.next() else { panic!("nothing is assigned") };
            assert_eq!(assigned, all(partitions));
            self.member.handle_done();
        }

        fn revoked(&mut self, partitions: &[i32]) {
            let Some(Action::Revoke(revoked)) = self.next() else { panic!("nothing is revoked") };
            assert_eq!(revoked, all(partitions));
            self.member.handle_done();
        }

        fn lost(&mut self, partitions: &[i32]) {
            let Some(Action::Lost(lost)) = self.next() else { panic!("nothing is lost") };
            assert_eq!(lost, all(partitions));
            self.member.handle_done();
        }

        fn beat(&mut self, code: ErrorCode) {
            let Some(Action::Heartbeat(request)) = self.next() else { panic!("no heartbeat") };
            let sent = self.member.identity().clone();
            assert_eq!((request.generation_id, &request.member_id), (sent.generation, &sent.member_id));
            self.member.handle_heartbeat(&sent, Ok(code), self.now);
        }

        fn stable(assignor: Assignor, partitions: &[i32]) -> Self {
            let mut bench = Self::new(&[assignor], None);
            bench.rebalance(1, partitions);
            bench.assigned(partitions);
            assert!(bench.next().is_none());
            bench
        }
    }

    fn all(partitions: &[i32]) -> Vec<TopicPartition> {
        partitions.iter().map(|&partition| TopicPartition::new("t", partition)).collect()
    }

    #[test]
    fn an_eager_member_lets_go_of_everything_before_it_joins_again() {
        let mut bench = Bench::stable(Assignor::Range, &[0, 1]);
        bench.after(BEAT).beat(ErrorCode::REBALANCE_IN_PROGRESS);
        bench.revoked(&[0, 1]);
        bench.rebalance(2, &[1, 2]);
        bench.assigned(&[1, 2]);
        assert_eq!(bench.member.owned().cloned().collect::<Vec<_>>(), all(&[1, 2]));
    }

    #[test]
    fn a_cooperative_member_keeps_what_it_may_and_joins_again_for_the_rest() {
        let mut bench = Bench::stable(Assignor::CooperativeSticky, &[0, 1]);
        bench.after(BEAT).beat(ErrorCode::REBALANCE_IN_PROGRESS);
        let (attempt, request) = bench.join();
        let told = Subscription::read(request.protocols[0].metadata.clone()).unwrap();
        assert_eq!((told.owned, told.generation), (all(&[0, 1]), Some(1)));
        bench.joined(attempt, ErrorCode::NONE, 2);
        bench.synced(ErrorCode::NONE, &[1, 2]);
        bench.revoked(&[0]);
        bench.assigned(&[2]);
        let (_, again) = bench.join();
        let told = Subscription::read(again.protocols[0].metadata.clone()).unwrap();
        assert_eq!((told.owned, told.generation), (all(&[1, 2]), Some(2)));
    }

    #[test]
    fn one_assignor_that_is_not_cooperative_makes_the_member_eager() {
        let mut bench = Bench::new(&[Assignor::Range, Assignor::CooperativeSticky], None);
        bench.rebalance(1, &[0]);
        bench.assigned(&[0]);
        bench.member.request_rejoin("topics came");
        bench.revoked(&[0]);
        assert_eq!(bench.join().1.protocols.len(), 2);
    }

    #[test]
    fn a_leader_divides_for_all() {
        let mut bench = Bench::new(&[Assignor::RoundRobin], None);
        let (attempt, request) = bench.join();
        let metadata = request.protocols[0].metadata.clone();
        let member = |id: &str| JoinGroupResponseMember {
            member_id: id.into(),
            metadata: metadata.clone(),
            ..Default::default()
        };
        let response = JoinGroupResponse {
            generation_id: 1,
            member_id: "m".into(),
            leader: "m".into(),
            protocol_name: Some("roundrobin".into()),
            members: vec![member("m"), member("n")],
            ..Default::default()
        };
        bench.member.handle_join(attempt, Ok(response), bench.now);
        let Some(Action::Divide(attempt, assignor, members)) = bench.next() else { panic!("not the leader") };
        assert_eq!(members.iter().map(|member| &*member.id).collect::<Vec<_>>(), ["m", "n"]);
        assert_eq!(members[1].subscription.topics, [TopicName::from("t")]);
        bench.member.handle_divided(attempt, assignor, &[all(&[0]), all(&[1])]);
        let Some(Action::Sync(_, sync)) = bench.next() else { panic!("it does not sync") };
        assert_eq!((sync.generation_id, sync.assignments.len()), (1, 2));
        assert_eq!(read_assignment(sync.assignments[1].assignment.clone()).unwrap(), all(&[1]));
    }

    #[test]
    fn a_member_id_is_taken_and_sent_at_once() {
        let mut bench = Bench::new(&[Assignor::Range], None);
        let (attempt, request) = bench.join();
        assert!(request.member_id.is_empty());
        bench.joined(attempt, ErrorCode::MEMBER_ID_REQUIRED, -1);
        assert_eq!(bench.join().1.member_id, "m");
    }

    #[test]
    fn a_member_that_is_not_known_any_more_has_lost_everything_and_joins_as_a_new_one() {
        let mut bench = Bench::stable(Assignor::CooperativeSticky, &[0, 1]);
        bench.after(BEAT).beat(ErrorCode::UNKNOWN_MEMBER_ID);
        bench.lost(&[0, 1]);
        let (_, request) = bench.join();
        assert!(request.member_id.is_empty());
        let told = Subscription::read(request.protocols[0].metadata.clone()).unwrap();
        assert_eq!((told.owned, told.generation), (Vec::new(), None));
    }

    #[test]
    fn a_member_of_an_old_generation_keeps_its_id() {
        let mut bench = Bench::stable(Assignor::Range, &[0]);
        let sent = bench.member.identity().clone();
        bench.member.handle_commit_refused(&sent, ErrorCode::ILLEGAL_GENERATION, bench.now);
        bench.lost(&[0]);
        assert_eq!(bench.join().1.member_id, "m");
    }

    #[test]
    fn heartbeats_go_on_while_the_program_takes_its_time() {
        let mut bench = Bench::stable(Assignor::Range, &[0]);
        bench.member.request_rejoin("topics came");
        assert!(matches!(bench.next(), Some(Action::Revoke(_))));
        for _ in 0..10 {
            assert!(bench.next().is_none());
            let due = bench.member.next_due().unwrap();
            assert_eq!(due, bench.now + BEAT);
            bench.now = due;
            bench.beat(ErrorCode::NONE);
        }
        bench.member.handle_done();
        bench.join();
    }

    #[test]
    fn a_program_without_progress_is_out_until_it_makes_some() {
        let mut bench = Bench::stable(Assignor::Range, &[0]);
        bench.after(POLL);
        let Some(Action::Leave(leave)) = bench.next() else { panic!("it stays") };
        assert_eq!(leave.members[0].member_id, "m");
        bench.lost(&[0]);
        assert!(bench.after(POLL).next().is_none());
        assert_eq!(bench.member.next_due(), None);
        bench.member.progressed(bench.now);
        assert!(bench.join().1.member_id.is_empty());
    }

    #[test]
    fn a_coordinator_that_moved_is_looked_up_and_told_at_once_that_the_member_lives() {
        let mut bench = Bench::stable(Assignor::Range, &[0]);
        bench.after(BEAT).beat(ErrorCode::NOT_COORDINATOR);
        assert!(bench.next().is_none(), "after a while");
        bench.now = bench.member.next_due().unwrap();
        assert!(matches!(bench.next(), Some(Action::FindCoordinator)));
        bench.member.handle_coordinator(Ok(BrokerId(2)), bench.now);
        assert_eq!(bench.member.coordinator(), Some(BrokerId(2)));
        bench.after(BEAT).beat(ErrorCode::NONE);
        assert!(bench.next().is_none(), "it is where it was");
    }

    #[test]
    fn a_coordinator_that_says_nothing_for_a_session_is_looked_up_again() {
        let mut bench = Bench::stable(Assignor::Range, &[0]);
        assert!(matches!(bench.after(BEAT).next(), Some(Action::Heartbeat(_))));
        assert!(bench.next().is_none(), "one at a time");
        bench.after(SESSION);
        assert!(bench.next().is_none());
        bench.now = bench.member.next_due().unwrap();
        assert!(matches!(bench.next(), Some(Action::FindCoordinator)));
    }

    #[test]
    fn a_member_that_leaves_lets_go_first_and_a_static_one_says_nothing() {
        let mut bench = Bench::stable(Assignor::CooperativeSticky, &[0]);
        bench.member.leave();
        assert!(!bench.member.is_gone());
        bench.revoked(&[0]);
        assert!(matches!(bench.next(), Some(Action::Leave(_))));
        assert!(bench.member.is_gone() && bench.next().is_none());

        let mut bench = Bench::new(&[Assignor::Range], Some("i"));
        bench.rebalance(1, &[]);
        bench.assigned(&[]);
        bench.member.leave();
        assert!(bench.next().is_none() && bench.member.is_gone());
    }

    #[test]
    fn a_fenced_member_fails_once_and_stays_out() {
        let mut bench = Bench::new(&[Assignor::Range], Some("i"));
        bench.rebalance(1, &[0]);
        bench.assigned(&[0]);
        bench.after(BEAT).beat(ErrorCode::FENCED_INSTANCE_ID);
        bench.lost(&[0]);
        let Some(Action::Fail(error)) = bench.next() else { panic!("it does not fail") };
        assert_eq!(error.code(), Some(ErrorCode::FENCED_INSTANCE_ID), "{error}");
        assert!(bench.after(POLL).next().is_none());
        assert_eq!(bench.member.next_due(), None);
    }

    #[test]
    fn answers_to_what_is_over_change_nothing() {
        let mut bench = Bench::new(&[Assignor::Range], None);
        let (old, _) = bench.join();
        bench.joined(old, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, -1);
        bench.now = bench.member.next_due().unwrap();
        let (attempt, _) = bench.join();
        bench.joined(old, ErrorCode::NONE, 5);
        assert_eq!(bench.member.identity().generation, -1);
        bench.joined(attempt, ErrorCode::NONE, 6);
        bench.synced(ErrorCode::NONE, &[0]);
        bench.assigned(&[0]);
        let stale = Identity { generation: 5, member_id: "m".into() };
        bench.member.handle_heartbeat(&stale, Ok(ErrorCode::UNKNOWN_MEMBER_ID), bench.now);
        bench.member.handle_commit_refused(&stale, ErrorCode::UNKNOWN_MEMBER_ID, bench.now);
        assert_eq!(bench.member.identity().generation, 6);
    }

    /// Whatever the coordinator says, and the program does when: the program is told of nothing that it has not, and of
    /// nothing twice; one that has nothing to do sleeps.
    #[test]
    fn under_any_answers_the_program_hears_a_story_that_holds_together() {
        let codes = [
            ErrorCode::NONE,
            ErrorCode::NONE,
            ErrorCode::NONE,
            ErrorCode::REBALANCE_IN_PROGRESS,
            ErrorCode::UNKNOWN_MEMBER_ID,
            ErrorCode::ILLEGAL_GENERATION,
            ErrorCode::MEMBER_ID_REQUIRED,
            ErrorCode::NOT_COORDINATOR,
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ];
        let (mut assignments, mut losses, mut joins) = (0, 0, 0);
        for seed in 0..500 {
            let mut random = fastrand::Rng::with_seed(seed);
            let assignor = if random.bool() { Assignor::CooperativeSticky } else { Assignor::Range };
            let mut bench = Bench::new(&[assignor], None);
            let mut has: BTreeSet<TopicPartition> = BTreeSet::new();
            let mut is_told = false;
            let mut generation = 0;
            let mut last_join = 0;
            for _ in 0..200 {
                if is_told && random.bool() {
                    bench.member.handle_done();
                    is_told = false;
                }
                if random.u8(..20) == 0 {
                    bench.member.request_rejoin("topics came");
                }
                if random.u8(..4) != 0 {
                    bench.member.progressed(bench.now);
                }
                let code = codes[random.usize(..codes.len())];
                let lost = || Error::new(ErrorKind::Disconnected, "on its way");
                match bench.next() {
                    None => {
                        let due = bench.member.next_due();
                        assert!(due.is_none_or(|due| due > bench.now), "seed {seed}: it would spin");
                        match due {
                            Some(due) if random.u8(..8) != 0 => bench.now = due,
                            _ => bench.now += Duration::from_millis(random.u64(..400_000)),
                        }
                    }
                    Some(Action::FindCoordinator) => {
                        let found = if random.bool() { Ok(BrokerId(1)) } else { Err(lost()) };
                        bench.member.handle_coordinator(found, bench.now);
                    }
                    Some(Action::Join(attempt, _)) => {
                        assert!(attempt > last_join && !is_told, "seed {seed}");
                        if assignor == Assignor::Range {
                            assert!(has.is_empty(), "seed {seed}: an eager member joins with {has:?}");
                        }
                        (last_join, joins) = (attempt, joins + 1);
                        generation += 1;
                        match random.u8(..6) {
                            0 => bench.member.handle_join(attempt, Err(lost()), bench.now),
                            _ => bench.joined(attempt, code, generation),
                        }
                    }
                    Some(Action::Sync(attempt, _)) => {
                        let given: Vec<i32> = (0..6).filter(|_| random.bool()).collect();
                        let assignment = write_assignment(&all(&given)).unwrap();
                        let response =
                            SyncGroupResponse { error_code: code, assignment, ..Default::default() };
                        // No coordinator asks a member that it knows for an id.
                        let is_sane = code != ErrorCode::MEMBER_ID_REQUIRED;
                        let answer = if is_sane { Ok(response) } else { Err(lost()) };
                        bench.member.handle_sync(attempt, answer, bench.now);
                    }
                    Some(Action::Heartbeat(_)) => {
                        let sent = bench.member.identity().clone();
                        let is_sane = code != ErrorCode::MEMBER_ID_REQUIRED;
                        let answer = if is_sane { Ok(code) } else { Err(lost()) };
                        bench.member.handle_heartbeat(&sent, answer, bench.now);
                    }
                    Some(Action::Revoke(partitions)) => {
                        assert!(!is_told && !partitions.is_empty(), "seed {seed}");
                        assert!(partitions.iter().all(|tp| has.remove(tp)), "seed {seed}");
                        is_told = true;
                    }
                    Some(Action::Lost(partitions)) => {
                        assert!(!is_told && partitions.iter().all(|tp| has.remove(tp)), "seed {seed}");
                        assert!(has.is_empty(), "seed {seed}: some are lost and others not");
                        (is_told, losses) = (true, losses + 1);
                    }
                    Some(Action::Assign(partitions)) => {
                        assert!(!is_told && partitions.into_iter().all(|tp| has.insert(tp)), "seed {seed}");
                        (is_told, assignments) = (true, assignments + 1);
                    }
                    Some(Action::Leave(_)) => {}
                    Some(other) => panic!("seed {seed}: {other:?}"),
                }
            }
        }
        assert!(assignments > 1_000 && losses > 1_000 && joins > 1_000, "{assignments} {losses} {joins}");
    }
}
