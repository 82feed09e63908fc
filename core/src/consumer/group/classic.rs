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
    time::Instant,
};

use ottla_protocol::{
    Bytes,
    error_code::{ErrorClass, ErrorCode},
    messages::{
        HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
        SyncGroupResponse, join_group::JoinGroupRequestProtocol, leave_group::MemberIdentity,
        sync_group::SyncGroupRequestAssignment,
    },
    types::{BrokerId, Str, TopicName},
};

use super::{
    super::assignor::{
        Assignor, Member, Subscription,
        metadata::{read_assignment, write_assignment},
    },
    Identity, NO_GENERATION,
    health::WaitsFor,
    member::{Action, Coordinator, MemberSettings, find_failed, max_poll_exceeded, millis},
};
use crate::{
    cluster::{TopicPartition, retry::Failures},
    error::{Error, Result},
};

/// The protocol type of consumers.
const CONSUMER: Str = Str::from_static("consumer");
/// What JoinGroup and SyncGroup are for, in errors.
const JOIN: &str = "join";

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
            coordinator: Coordinator::NEW,
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
        if self.phase == Phase::Idle {
            self.progressed_at = now;
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

    /// The program asked for records at this time, or waits for some since before it.
    pub(crate) fn active_at(&mut self, at: Instant) {
        self.progressed_at = self.progressed_at.max(at);
    }

    /// The program goes on; where it was out for want of progress, the member joins again.
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

    /// Whether it leaves, or has left.
    #[cfg(test)]
    pub(super) fn is_leaving(&self) -> bool {
        self.phase == Phase::Leaving
    }

    /// As whom to commit.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What the program has.
    #[cfg(test)]
    pub(crate) fn owned(&self) -> impl Iterator<Item = &TopicPartition> {
        self.owned.iter()
    }

    /// Whom to ask, if that is known.
    pub(crate) fn coordinator(&self) -> Option<BrokerId> {
        self.coordinator.known()
    }

    /// What it waits for.
    pub(crate) fn waits_for(&self) -> WaitsFor {
        match self.phase {
            Phase::Idle => WaitsFor::Subscription,
            Phase::Leaving => WaitsFor::Leaving,
            Phase::Expired => WaitsFor::Program,
            _ if self.awaited.is_some() => WaitsFor::Program,
            _ if self.coordinator().is_none() => WaitsFor::Coordinator,
            Phase::Stable => WaitsFor::Records,
            _ => WaitsFor::Group,
        }
    }

    // ---- what to do

    /// What to do now, if anything; to be asked until there is nothing.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.is_member() && now >= self.progressed_at + self.settings.max_poll_interval {
            self.expire(now);
        }
        if self.coordinator().is_some()
            && self.beats()
            && now >= self.heartbeat.heard_at + self.settings.session_timeout
        {
            self.forget_coordinator(now);
        }
        // Who is out says so at once, whatever the program is about.
        let is_out = self.phase == Phase::Expired && matches!(self.queue.front(), Some(Action::Leave(_)));
        if (self.awaited.is_none() || is_out)
            && let Some(action) = self.next_told()
        {
            return Some(action);
        }
        if self.phase == Phase::Idle {
            return None;
        }
        if self.is_member()
            && let Some(look_up) = self.coordinator.poll(now)
        {
            return Some(look_up);
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
        let look_up = self.coordinator.retry_at().filter(|_| self.is_member());
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
        match &action {
            Action::Revoke(partitions) | Action::Lost(partitions) => {
                self.awaited = Some(Awaited::LetGo(partitions.clone()));
            }
            Action::Assign(partitions) => {
                self.owned.extend(partitions.iter().cloned());
                self.awaited = Some(Awaited::Assign);
            }
            _ => {}
        }
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
    fn expire(&mut self, now: Instant) {
        self.queue.clear();
        self.queue_leave("the program made no progress within `max.poll.interval.ms`");
        self.identity = Identity::NONE;
        self.let_go();
        self.phase = Phase::Expired;
        self.queue.push_back(Action::Fail(max_poll_exceeded(&self.settings, now - self.progressed_at)));
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
            Err(error) if error.may_pass() => self.forget_coordinator(now),
            Err(error) => {
                self.coordinator = Coordinator::NEW;
                self.fail(find_failed(&self.settings.group, error));
            }
        }
    }

    /// The coordinator is another one, or not there; a request to it failed on the way.
    pub(crate) fn forget_coordinator(&mut self, now: Instant) {
        let wait = self.failures.record(&self.settings.backoff, &mut self.random);
        self.coordinator.forget(now + wait);
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
        if self.has_missed_rounds(response.generation_id) {
            // Others may have what it has. It lets go of it before it is one of them again.
            self.identity = Identity { generation: NO_GENERATION, member_id: response.member_id.detached() };
            self.phase = Phase::Ready;
            return;
        }
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

    /// Whether there were rounds without it since the one that it got its partitions in. A static member keeps its place in
    /// them (KIP-345), and not its partitions.
    fn has_missed_rounds(&self, generation: i32) -> bool {
        let own = self.identity.generation;
        own != NO_GENERATION
            && !self.owned.is_empty()
            && self.settings.instance_id.is_some()
            && generation != own
            && generation != own.wrapping_add(1)
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
            Err(error) if error.may_pass() => self.forget_coordinator(now),
            Err(error) => self.fail(error),
        }
    }

    /// A commit was refused; `sent` is as whom it was sent. Others who commit are told by their own way.
    pub(crate) fn handle_commit_refused(&mut self, sent: &Identity, code: ErrorCode, now: Instant) {
        // One that joins is told by the answer to that where it stands; the refusal may be of the round before.
        if *sent != self.identity || !self.is_member() || self.phase == Phase::Joining {
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
        if !error.may_pass() {
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

#[cfg(test)]
mod tests;
