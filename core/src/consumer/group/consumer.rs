//! A member of a consumer group (KIP-848). Does no I/O.
//!
//! Used as [`super::classic::ClassicMember`] is: ask [`ConsumerMember::poll`] what to do until it has nothing, do it, tell
//! the outcome by a `handle_*`, and ask again, at the latest at [`ConsumerMember::next_due`].
//!
//! One request does it all. A heartbeat says what is new since the last that was answered, or all of it if an answer is
//! missing; its answer says what the member is to have. From there the program lets go of what is not in it, that is
//! told, and others get it; then the program takes what is new.
//!
//! ```text
//! Idle → Outside ── epoch 0, answered ──→ Inside ── epoch -1 or -2 ──→ Leaving
//!           ↑  program lets go, no member any more ┘        any state ↗
//!           └─ Expired: the program made no progress for too long
//! ```
//!
//! Two rules keep a partition from being read by two members:
//!
//! - No heartbeat leaves a partition out before the program has let go of it: to leave it out is to give it up.
//! - A heartbeat that says what the member has gives up whatever else it was ever to have. From its way out to the next
//!   answer the program is given nothing: what was told before may be another's by now.
//!
//! There is never more than one heartbeat on its way, so that none overtakes another; that goes for the last one, too.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use ottla_protocol::{
    error_code::{ErrorClass, ErrorCode},
    messages::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
        consumer_group_heartbeat::{Assignment, TopicPartitions},
    },
    types::{BrokerId, Str, TopicName, Uuid},
};

use super::{
    Identity,
    health::WaitsFor,
    member::{Action, Coordinator, MemberSettings, find_failed, max_poll_exceeded, millis, unique},
};
use crate::{
    cluster::{TopicPartition, retry::Failures},
    error::{Error, ErrorKind, Result},
};

/// The epoch of a member that joins.
const JOIN_EPOCH: i32 = 0;
/// The epoch of a member that leaves.
const LEAVE_EPOCH: i32 = -1;
/// The epoch of a static member that leaves and will be back.
const LEAVE_FOR_A_WHILE_EPOCH: i32 = -2;
/// Time between heartbeats until the broker says it: Kafka's default of `group.consumer.heartbeat.interval.ms`.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Least time between heartbeats, whatever a broker says.
const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Who has joined and got nothing is most likely about to get some: the broker assigns at most so often
/// (`group.consumer.assignment.interval.ms`, by default each second), or others have to let go first. So a few heartbeats
/// come sooner than the broker asks for them.
const EAGER_INTERVAL: Duration = Duration::from_millis(500);
/// How many of them; together less than Kafka's interval.
const EAGER_BEATS: u8 = 8;
const _: () = assert!(EAGER_INTERVAL.as_millis() * (EAGER_BEATS as u128) < HEARTBEAT_INTERVAL.as_millis());
/// How long a member asks for a `group.instance.id` that another still has. Its own dead self has it for a session, which
/// is at most `group.consumer.max.session.timeout.ms`, by Kafka's default 60 seconds.
const UNRELEASED_PATIENCE: Duration = Duration::from_secs(65);

/// What a member reads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Reads {
    /// Topics of these names.
    Topics(Vec<TopicName>),
    /// Topics whose names match this expression, in RE2's syntax; the broker finds them.
    Pattern(Str),
}

/// A partition by its topic's id: a topic that is made anew under its old name is another one.
type Held = (Uuid, i32);

/// A member.
#[derive(Debug)]
pub(crate) struct ConsumerMember {
    settings: MemberSettings,
    phase: Phase,
    reads: Reads,
    /// Whether it has read by a pattern, which the coordinator may still have of it.
    had_pattern: bool,
    /// Its own, from its start to its end (KIP-1082).
    member_id: Str,
    epoch: i32,
    identity: Identity,
    /// What the program has, or is about to take.
    owned: BTreeSet<Held>,
    /// What the coordinator wants it to have; `None` before it has said.
    target: Option<BTreeSet<Held>>,
    /// Whether the program has been told of the target.
    is_told: bool,
    /// Whether there may be something to do for the target. Nobody compares all partitions at each record.
    to_reconcile: bool,
    names: Names,
    coordinator: Coordinator,
    /// What the coordinator knows it to read; `None` if it has to be told everything.
    said: Option<Reads>,
    /// The program has let go of some, or taken some, since that was last said.
    to_acknowledge: bool,
    /// A heartbeat said what it has, and was not answered.
    is_unsure: bool,
    in_flight: Option<Sent>,
    /// It is to leave by a heartbeat of this epoch.
    farewell: Option<i32>,
    /// Told to the program and not done yet.
    awaited: Option<Awaited>,
    /// To be told to the program, in this order.
    queue: VecDeque<Told>,
    /// Counts heartbeats; answers to older ones are not looked at.
    attempt: u64,
    heartbeat_interval: Duration,
    heartbeat_due_at: Instant,
    /// Heartbeats that are still to come sooner, unless it gets something.
    eager_beats: u8,
    /// No heartbeat before this.
    retry_at: Option<Instant>,
    failures: Failures,
    /// Since when its `group.instance.id` is another's.
    unreleased_since: Option<Instant>,
    /// When the program last made progress.
    progressed_at: Instant,
    random: fastrand::Rng,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Nothing is subscribed, or something failed for good.
    Idle,
    /// To join, as soon as the program has nothing any more.
    Outside,
    Inside,
    /// The program made no progress for too long; it joins again when it does.
    Expired,
    /// It is leaving, or has left.
    Leaving,
}

/// A heartbeat on its way.
#[derive(Debug)]
struct Sent {
    attempt: u64,
    /// What the coordinator knows the member to read, once it has answered; `None` where the member leaves.
    reads: Option<Reads>,
}

/// What topics are called.
#[derive(Debug, Default)]
struct Names {
    known: BTreeMap<Uuid, TopicName>,
    /// Somebody is finding some out.
    is_asking: bool,
    /// Asked in vain; not again before this.
    retry_at: Option<Instant>,
    failures: Failures,
}

#[derive(Debug)]
enum Told {
    Revoke(Vec<Held>),
    Lost(Vec<Held>),
    Assign(Vec<Held>),
    Fail(Error),
}

#[derive(Debug)]
enum Awaited {
    LetGo(Vec<Held>),
    /// Whether there are any.
    Assign(bool),
}

impl ConsumerMember {
    /// A member that has not subscribed to anything yet.
    pub(crate) fn new(settings: MemberSettings, mut random: fastrand::Rng, now: Instant) -> Self {
        Self {
            settings,
            phase: Phase::Idle,
            reads: Reads::Topics(Vec::new()),
            had_pattern: false,
            member_id: new_member_id(&mut random),
            epoch: JOIN_EPOCH,
            identity: Identity::NONE,
            owned: BTreeSet::new(),
            target: None,
            is_told: false,
            to_reconcile: false,
            names: Names::default(),
            coordinator: Coordinator::NEW,
            said: None,
            to_acknowledge: false,
            is_unsure: false,
            in_flight: None,
            farewell: None,
            awaited: None,
            queue: VecDeque::new(),
            attempt: 0,
            heartbeat_interval: HEARTBEAT_INTERVAL,
            heartbeat_due_at: now,
            eager_beats: 0,
            retry_at: None,
            failures: Failures::default(),
            unreleased_since: None,
            progressed_at: now,
            random,
        }
    }

    /// Reads this from now on. After a failure, begins anew.
    pub(crate) fn subscribe(&mut self, reads: Reads, now: Instant) {
        self.reads = match reads {
            Reads::Topics(topics) => Reads::Topics(unique(topics)),
            pattern => pattern,
        };
        self.had_pattern |= matches!(self.reads, Reads::Pattern(_));
        if self.phase == Phase::Idle {
            self.progressed_at = now;
            self.phase = Phase::Outside;
        }
    }

    /// The program asked for records at this time, or waits for some since before it.
    pub(crate) fn active_at(&mut self, at: Instant) {
        self.progressed_at = self.progressed_at.max(at);
    }

    /// The program goes on; where it was out for want of progress, the member joins again.
    pub(crate) fn progressed(&mut self, now: Instant) {
        self.progressed_at = now;
        if self.phase == Phase::Expired {
            self.phase = Phase::Outside;
        }
    }

    /// Leaves: the program lets go, then the coordinator is told. A static member is expected back (KIP-345).
    pub(crate) fn leave(&mut self) {
        if self.phase == Phase::Leaving {
            return;
        }
        self.phase = Phase::Leaving;
        self.queue.clear();
        self.let_go();
        self.plan_farewell();
    }

    /// Whether it has left, and told all there is to tell.
    pub(crate) fn is_gone(&self) -> bool {
        self.phase == Phase::Leaving
            && self.queue.is_empty()
            && self.awaited.is_none()
            && self.farewell.is_none()
            && self.in_flight.is_none()
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
    pub(super) fn owned(&self) -> Vec<TopicPartition> {
        self.named(self.owned.iter())
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
            Phase::Inside if self.is_told && !self.to_reconcile => WaitsFor::Records,
            Phase::Inside | Phase::Outside => WaitsFor::Group,
        }
    }

    // ---- what to do

    /// What to do now, if anything; to be asked until there is nothing.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.is_watched() && now >= self.progressed_at + self.settings.max_poll_interval {
            self.expire(now);
        }
        if self.to_reconcile && self.phase == Phase::Inside && self.awaited.is_none() && self.queue.is_empty()
        {
            self.reconcile();
        }
        if self.awaited.is_none()
            && let Some(action) = self.next_told()
        {
            return Some(action);
        }
        if self.is_watched()
            && let Some(look_up) = self.coordinator.poll(now)
        {
            return Some(look_up);
        }
        if let Some(farewell) = self.poll_farewell() {
            return Some(farewell);
        }
        let is_due = self.is_urgent() || now >= self.heartbeat_due_at;
        if is_due && self.may_beat() && self.retry_at.is_none_or(|at| now >= at) {
            return Some(self.heartbeat(now));
        }
        let unnamed = self.unnamed();
        if !unnamed.is_empty() && !self.names.is_asking && self.names.retry_at.is_none_or(|at| now >= at) {
            self.names.is_asking = true;
            return Some(Action::NameTopics(unnamed));
        }
        None
    }

    /// When [`Self::poll`] may have something without anything having been told; `None` if never.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let expires = self.is_watched().then(|| self.progressed_at + self.settings.max_poll_interval);
        let look_up = self.coordinator.retry_at().filter(|_| self.is_watched());
        let heartbeat = match (self.may_beat(), self.is_urgent()) {
            (false, _) => None,
            (true, true) => self.retry_at,
            (true, false) => Some(self.retry_at.unwrap_or(self.heartbeat_due_at).max(self.heartbeat_due_at)),
        };
        let waits_for_names = !self.names.is_asking && !self.unnamed().is_empty();
        let names = self.names.retry_at.filter(|_| waits_for_names);
        [expires, look_up, heartbeat, names].into_iter().flatten().min()
    }

    /// Whether it is, or wants to be, a member, and the program's progress is watched.
    fn is_watched(&self) -> bool {
        matches!(self.phase, Phase::Outside | Phase::Inside)
    }

    /// Whether a heartbeat may be sent, but for its time.
    fn may_beat(&self) -> bool {
        let is_told_all = self.awaited.is_none() && self.queue.is_empty();
        let has_cause = match self.phase {
            Phase::Outside => is_told_all && self.owned.is_empty() && self.farewell.is_none(),
            Phase::Inside => true,
            // The program may take its time, and commits.
            Phase::Leaving => self.epoch > JOIN_EPOCH && !is_told_all,
            Phase::Idle | Phase::Expired => false,
        };
        has_cause && self.in_flight.is_none() && self.coordinator().is_some()
    }

    /// Whether there is something to say before the next heartbeat is due.
    fn is_urgent(&self) -> bool {
        self.said.as_ref() != Some(&self.reads) || self.may_acknowledge()
    }

    /// What the program is about to do is said when it is done.
    fn may_acknowledge(&self) -> bool {
        self.to_acknowledge && self.awaited.is_none()
    }

    /// The next that is queued; what the program is told is awaited.
    fn next_told(&mut self) -> Option<Action> {
        let told = self.queue.pop_front()?;
        let (action, awaited) = match told {
            Told::Revoke(held) => (Action::Revoke(self.named(&held)), Awaited::LetGo(held)),
            Told::Lost(held) => (Action::Lost(self.named(&held)), Awaited::LetGo(held)),
            Told::Assign(held) => {
                self.owned.extend(&held);
                (Action::Assign(self.named(&held)), Awaited::Assign(!held.is_empty()))
            }
            Told::Fail(error) => return Some(Action::Fail(error)),
        };
        self.awaited = Some(awaited);
        Some(action)
    }

    /// What the program is to do next to have what the target says.
    fn reconcile(&mut self) {
        let Some(target) = &self.target else { return };
        let gone: Vec<Held> = self.owned.difference(target).copied().collect();
        if !gone.is_empty() {
            self.queue.push_back(Told::Revoke(gone));
            return;
        }
        // What it gives up is told before it takes anything, so that others need not wait.
        if self.is_unsure || self.to_acknowledge {
            return;
        }
        let unnamed = self.unnamed();
        if !unnamed.is_empty() && self.names.retry_at.is_none() {
            // They are being asked for, and mostly known at once.
            return;
        }
        let is_named = |held: &&Held| !unnamed.contains(&held.0);
        let added: Vec<Held> = target.difference(&self.owned).filter(is_named).copied().collect();
        if !added.is_empty() || !self.is_told {
            self.is_told = true;
            self.queue.push_back(Told::Assign(added));
        } else {
            // Those without names are still to come.
            self.to_reconcile = !unnamed.is_empty();
        }
    }

    /// Queues that the program lets go of everything.
    fn let_go(&mut self) {
        let going = match &self.awaited {
            Some(Awaited::LetGo(held)) => &held[..],
            Some(Awaited::Assign(_)) | None => &[],
        };
        let held: Vec<Held> = self.owned.iter().filter(|held| !going.contains(held)).copied().collect();
        if !held.is_empty() {
            let is_lost = self.epoch == JOIN_EPOCH;
            self.queue.push_back(if is_lost { Told::Lost(held) } else { Told::Revoke(held) });
        }
    }

    fn heartbeat(&mut self, now: Instant) -> Action {
        // As long as it is not answered, nothing is known to have been heard.
        let said = self.said.take();
        let is_full = said.is_none();
        let says_owned = is_full || self.may_acknowledge();
        if says_owned {
            self.to_acknowledge = false;
            self.is_unsure = true;
        }
        let says_reads = said.as_ref() != Some(&self.reads);
        let (names, pattern) = match &self.reads {
            Reads::Topics(topics) => (topics.clone(), self.had_pattern.then_some(Str::EMPTY)),
            Reads::Pattern(pattern) => (Vec::new(), Some(pattern.clone())),
        };
        let request = ConsumerGroupHeartbeatRequest {
            group_id: self.settings.group.clone(),
            member_id: self.member_id.clone(),
            member_epoch: self.epoch,
            instance_id: self.settings.instance_id.clone(),
            rack_id: self.settings.rack.clone().filter(|_| is_full),
            rebalance_timeout_ms: if is_full { millis(self.settings.max_poll_interval) } else { -1 },
            subscribed_topic_names: says_reads.then_some(names),
            subscribed_topic_regex: pattern.filter(|_| says_reads),
            server_assignor: self.settings.remote_assignor.clone().filter(|_| is_full),
            topic_partitions: says_owned.then(|| by_topic(&self.owned)),
        };
        self.retry_at = None;
        self.heartbeat_due_at = now + self.heartbeat_interval;
        self.send(request, Some(self.reads.clone()))
    }

    /// The heartbeat by which it leaves, once the program has nothing any more; who is late has no say in it.
    fn poll_farewell(&mut self) -> Option<Action> {
        let waits = self.phase != Phase::Expired && self.phase != Phase::Outside;
        if self.farewell.is_none() || self.in_flight.is_some() || (waits && !self.owned.is_empty()) {
            return None;
        }
        if matches!(self.coordinator, Coordinator::Asking) {
            // It is about to be known whom to tell.
            return None;
        }
        let member_epoch = self.farewell.take()?;
        self.set_epoch(JOIN_EPOCH);
        // Where nobody can be told, the session ends by itself.
        self.coordinator()?;
        let request = ConsumerGroupHeartbeatRequest {
            group_id: self.settings.group.clone(),
            member_id: self.member_id.clone(),
            member_epoch,
            instance_id: self.settings.instance_id.clone(),
            ..Default::default()
        };
        Some(self.send(request, None))
    }

    fn send(&mut self, request: ConsumerGroupHeartbeatRequest, reads: Option<Reads>) -> Action {
        self.attempt += 1;
        self.in_flight = Some(Sent { attempt: self.attempt, reads });
        Action::ConsumerHeartbeat(self.attempt, request)
    }

    /// It is to leave, if it is a member, or may be one by a heartbeat that is on its way.
    fn plan_farewell(&mut self) {
        if self.epoch > JOIN_EPOCH || self.in_flight.as_ref().is_some_and(|sent| sent.reads.is_some()) {
            let is_static = self.settings.instance_id.is_some();
            self.farewell = Some(if is_static { LEAVE_FOR_A_WHILE_EPOCH } else { LEAVE_EPOCH });
        }
    }

    /// The program made no progress for too long: others may have what it had.
    fn expire(&mut self, now: Instant) {
        self.plan_farewell();
        self.start_over();
        self.phase = Phase::Expired;
        self.queue.push_back(Told::Fail(max_poll_exceeded(&self.settings, now - self.progressed_at)));
    }

    /// It is no member any more: the program loses what it has.
    fn start_over(&mut self) {
        self.queue.clear();
        self.set_epoch(JOIN_EPOCH);
        self.target = None;
        self.said = None;
        self.retry_at = None;
        self.let_go();
    }

    fn set_epoch(&mut self, epoch: i32) {
        if epoch == self.epoch {
            return;
        }
        self.epoch = epoch;
        self.identity = match epoch {
            JOIN_EPOCH => Identity::NONE,
            generation => Identity { generation, member_id: self.member_id.clone() },
        };
    }

    // ---- what came of it

    /// The look-up is over.
    pub(crate) fn handle_coordinator(&mut self, found: Result<BrokerId>, now: Instant) {
        match found {
            Ok(broker) => self.coordinator = Coordinator::Known(broker),
            Err(error) if error.may_pass() => self.forget_coordinator(now),
            Err(error) => {
                self.coordinator = Coordinator::NEW;
                if self.is_watched() {
                    self.fail(find_failed(&self.settings.group, error));
                }
            }
        }
    }

    /// The coordinator is another one, or not there; a request to it failed on the way.
    pub(crate) fn forget_coordinator(&mut self, now: Instant) {
        let wait = self.failures.record(&self.settings.backoff, &mut self.random);
        self.coordinator.forget(now + wait);
    }

    /// A heartbeat is over.
    pub(crate) fn handle_heartbeat(
        &mut self,
        attempt: u64,
        response: Result<ConsumerGroupHeartbeatResponse>,
        now: Instant,
    ) {
        let Some(sent) = self.in_flight.take_if(|sent| sent.attempt == attempt) else { return };
        let leaves = sent.reads.is_none();
        let wants_in = self.is_watched() && self.farewell.is_none() && !leaves;
        match response {
            // It commits by the newest epoch until it is gone.
            Ok(response) if !response.error_code.is_error() && (wants_in || self.epoch > JOIN_EPOCH) => {
                self.accepted(sent, response, now);
            }
            Ok(response) if wants_in => self.refused(&response, now),
            Ok(response) => self.heard_outside(response.error_code, now),
            Err(error) if error.may_pass() => self.forget_coordinator(now),
            Err(error) if wants_in => self.fail(explain(self.in_group(error))),
            Err(_) => {}
        }
    }

    fn accepted(&mut self, sent: Sent, response: ConsumerGroupHeartbeatResponse, now: Instant) {
        self.failures.clear();
        self.unreleased_since = None;
        if let Ok(interval @ 1..) = u64::try_from(response.heartbeat_interval_ms) {
            self.heartbeat_interval = Duration::from_millis(interval).max(HEARTBEAT_INTERVAL_MIN);
        }
        self.heartbeat_due_at = now + self.heartbeat_interval;
        if response.member_epoch <= JOIN_EPOCH {
            // There is no place for it yet.
            self.retry_at = Some(self.heartbeat_due_at);
            return;
        }
        self.said = sent.reads;
        self.is_unsure = false;
        self.set_epoch(response.member_epoch);
        if self.phase == Phase::Outside {
            self.phase = Phase::Inside;
            self.eager_beats = EAGER_BEATS;
        }
        if let Some(assignment) = response.assignment {
            self.aim_at(&assignment);
        }
        let has_some = self.target.as_ref().is_some_and(|target| !target.is_empty());
        if has_some || self.eager_beats == 0 {
            self.eager_beats = 0;
        } else {
            self.eager_beats -= 1;
            self.heartbeat_due_at = self.heartbeat_due_at.min(now + EAGER_INTERVAL);
        }
    }

    fn aim_at(&mut self, assignment: &Assignment) {
        let target = assignment.topic_partitions.iter();
        let target: BTreeSet<Held> =
            target.flat_map(|topic| topic.partitions.iter().map(|&index| (topic.topic_id, index))).collect();
        if self.target.as_ref() == Some(&target) {
            return;
        }
        let ids: BTreeSet<Uuid> = target.union(&self.owned).map(|held| held.0).collect();
        self.names.known.retain(|id, _| ids.contains(id));
        self.names.retry_at = None;
        self.target = Some(target);
        (self.is_told, self.to_reconcile) = (false, true);
    }

    /// The coordinator refused a heartbeat. Whatever was to be said is said again.
    fn refused(&mut self, response: &ConsumerGroupHeartbeatResponse, now: Instant) {
        let is_member = self.epoch > JOIN_EPOCH;
        match response.error_code {
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_MEMBER_EPOCH | ErrorCode::GROUP_ID_NOT_FOUND
                if is_member =>
            {
                tracing::info!(
                    group = %self.settings.group, code = %response.error_code,
                    "the member is out of its group, and joins again"
                );
                self.start_over();
                self.phase = Phase::Outside;
            }
            ErrorCode::UNRELEASED_INSTANCE_ID if now < self.unreleased_at(now) + UNRELEASED_PATIENCE => {
                self.back_off(now);
            }
            code if code.class() == ErrorClass::RefreshCoordinator => self.forget_coordinator(now),
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_MEMBER_EPOCH => self.back_off(now),
            code if code.is_retriable() => self.back_off(now),
            code => {
                let error = Error::broker(code, response.error_message.as_deref());
                if code == ErrorCode::FENCED_INSTANCE_ID {
                    // The name is another's, and so is the place.
                    self.set_epoch(JOIN_EPOCH);
                }
                self.fail(explain(self.in_group(error)));
            }
        }
    }

    /// A heartbeat is over that nobody waits for: the member does not want to be one any more.
    fn heard_outside(&mut self, code: ErrorCode, now: Instant) {
        match code {
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_MEMBER_EPOCH | ErrorCode::GROUP_ID_NOT_FOUND => {
                self.farewell = None;
                self.set_epoch(JOIN_EPOCH);
            }
            code if code.class() == ErrorClass::RefreshCoordinator => self.forget_coordinator(now),
            _ => {}
        }
    }

    fn unreleased_at(&mut self, now: Instant) -> Instant {
        *self.unreleased_since.get_or_insert_with(|| {
            tracing::warn!(
                group = %self.settings.group, instance = ?self.settings.instance_id,
                "another member has this `group.instance.id`; waiting for its session to end"
            );
            now
        })
    }

    fn back_off(&mut self, now: Instant) {
        let wait = self.failures.record(&self.settings.backoff, &mut self.random);
        self.retry_at = Some(now + wait);
    }

    /// The program is told what failed. A member that the coordinator still has lets go in good order, and leaves.
    fn fail(&mut self, error: Error) {
        self.queue.clear();
        self.plan_farewell();
        self.let_go();
        self.phase = Phase::Idle;
        self.target = None;
        self.said = None;
        self.retry_at = None;
        self.unreleased_since = None;
        self.queue.push_back(Told::Fail(error));
    }

    fn in_group(&self, error: Error) -> Error {
        error.context(format!("heartbeat group `{}`", self.settings.group))
    }

    /// What topics are called, as far as that could be found out.
    pub(crate) fn handle_names(&mut self, found: impl IntoIterator<Item = (Uuid, TopicName)>, now: Instant) {
        self.names.is_asking = false;
        self.names.retry_at = None;
        let unnamed = self.unnamed();
        self.names.known.extend(found.into_iter().filter(|(id, _)| unnamed.contains(id)));
        if self.unnamed().is_empty() {
            self.names.failures.clear();
        } else {
            let wait = self.names.failures.record(&self.settings.backoff, &mut self.random);
            self.names.retry_at = Some(now + wait);
        }
    }

    /// The program has done what it was told to.
    pub(crate) fn handle_done(&mut self) {
        match self.awaited.take() {
            Some(Awaited::LetGo(held)) => {
                self.owned.retain(|owned| !held.contains(owned));
                self.to_acknowledge = true;
            }
            Some(Awaited::Assign(has_some)) => self.to_acknowledge |= has_some,
            None => {}
        }
    }

    /// A commit was refused; `sent` is as whom it was sent. What has become of the member, a heartbeat tells.
    pub(crate) fn handle_commit_refused(&mut self, sent: &Identity, code: ErrorCode, now: Instant) {
        if *sent != self.identity || !self.is_watched() {
            return;
        }
        match code {
            ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::STALE_MEMBER_EPOCH
            | ErrorCode::FENCED_MEMBER_EPOCH
            | ErrorCode::FENCED_INSTANCE_ID
            | ErrorCode::GROUP_ID_NOT_FOUND => self.heartbeat_due_at = self.heartbeat_due_at.min(now),
            code if code.class() == ErrorClass::RefreshCoordinator && self.coordinator().is_some() => {
                self.forget_coordinator(now);
            }
            _ => {}
        }
    }

    /// Topics of the target whose names are not known.
    fn unnamed(&self) -> Vec<Uuid> {
        if self.phase != Phase::Inside || !self.to_reconcile {
            return Vec::new();
        }
        let mut ids: Vec<Uuid> = self.target.iter().flatten().map(|held| held.0).collect();
        ids.dedup();
        ids.retain(|id| !self.names.known.contains_key(id));
        ids
    }

    /// Partitions by names. All that the program has, or is given, has one.
    fn named<'a>(&self, held: impl IntoIterator<Item = &'a Held>) -> Vec<TopicPartition> {
        let name = |&(id, partition): &Held| {
            Some(TopicPartition { topic: self.names.known.get(&id)?.clone(), partition })
        };
        held.into_iter().filter_map(name).collect()
    }
}

/// A UUID in Kafka's text form. None begins with `-`, which tools would take for an option.
fn new_member_id(random: &mut fastrand::Rng) -> Str {
    loop {
        let id = Uuid(random.u128(..)).to_string();
        if !id.starts_with('-') {
            return id.into();
        }
    }
}

fn by_topic(held: &BTreeSet<Held>) -> Vec<TopicPartitions> {
    let mut topics: Vec<TopicPartitions> = Vec::new();
    for &(topic_id, partition) in held {
        match topics.last_mut() {
            Some(topic) if topic.topic_id == topic_id => topic.partitions.push(partition),
            _ => topics.push(TopicPartitions { topic_id, partitions: vec![partition] }),
        }
    }
    topics
}

/// Says what to do about a refusal.
fn explain(error: Error) -> Error {
    let hint = match (error.kind(), error.code()) {
        (ErrorKind::Unsupported, _) | (_, Some(ErrorCode::UNSUPPORTED_VERSION)) => {
            "the broker does not serve the consumer protocol (KIP-848); set `group.protocol` to `classic`"
        }
        (_, Some(ErrorCode::GROUP_ID_NOT_FOUND | ErrorCode::INCONSISTENT_GROUP_PROTOCOL)) => {
            "the group is of another kind; let its members leave first, or set `group.protocol` to `classic`"
        }
        (_, Some(ErrorCode::UNRELEASED_INSTANCE_ID | ErrorCode::FENCED_INSTANCE_ID)) => {
            "another consumer has the same `group.instance.id`; give each its own"
        }
        (_, Some(ErrorCode::UNSUPPORTED_ASSIGNOR)) => {
            "set `group.remote.assignor` to one of the broker's `group.consumer.assignors`, or leave it out"
        }
        (_, Some(ErrorCode::INVALID_REGULAR_EXPRESSION)) => {
            "give a pattern in RE2's syntax, which has no look-around and no back-references"
        }
        (_, Some(ErrorCode::GROUP_MAX_SIZE_REACHED)) => {
            "raise the broker's `group.consumer.max.size`, or start fewer members"
        }
        _ => return error,
    };
    error.hint(hint)
}

#[cfg(test)]
mod tests;
