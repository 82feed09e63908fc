//! Groups and their offsets: the state of one partition of `__consumer_offsets`, without I/O.
//!
//! [`Groups`] takes requests and the time, and gives answers and records by [`Effects`]. The runtime appends the
//! records and holds the answers back until they are committed; if that fails, it throws the state away and reads it
//! again from the log. What the log does not keep of a classic group, who waits and until when, lives here alone.

pub(crate) mod assignor;
pub(crate) mod classic;
pub(crate) mod consumer;
#[cfg(test)]
mod consumer_simulation;
#[cfg(test)]
mod consumer_tests;
mod migration;
#[cfg(test)]
mod migration_simulation;
mod offsets;
mod pattern;
mod reconcile;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
pub(crate) mod topics;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    ops::RangeInclusive,
    sync::Arc,
};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest, HeartbeatResponse,
        JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest,
        OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
        SyncGroupRequest, SyncGroupResponse,
        consumer_group_describe::DescribedGroup as DescribedConsumerGroup,
        delete_groups::DeletableGroupResult,
        describe_groups::{DescribedGroup, DescribedGroupMember},
        leave_group::MemberResponse,
        list_groups::ListedGroup,
        offset_fetch::{OffsetFetchRequestGroup, OffsetFetchResponseGroup},
    },
    types::{GroupId, Str, TopicName, Uuid},
};

use self::{
    assignor::Assignor,
    classic::{ClassicGroup, Sender, State},
    consumer::{ConsumerGroup, Refused},
    migration::Hindrance,
    offsets::{Expiry, Offsets},
    topics::Topics,
};
use super::record::{ConsumerPart, Record};
use crate::config::MigrationPolicy;

/// What consumers call their protocol, in either kind of group.
const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Names a request that waits for its answer; the runtime knows whose it is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Ticket(pub(crate) u64);

/// A request to the coordinator of a group.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Join(JoinGroupRequest),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveGroupRequest),
    ConsumerHeartbeat(ConsumerGroupHeartbeatRequest),
    Commit(OffsetCommitRequest),
    Fetch(OffsetFetchRequestGroup),
    DeleteOffsets(OffsetDeleteRequest),
    Describe(Vec<GroupId>),
    ConsumerDescribe(GroupId),
    List(ListGroupsRequest),
    Delete(Vec<GroupId>),
    /// Topics were deleted, and the offsets in them with them.
    TopicsDeleted(Vec<TopicName>),
}

impl Request {
    /// Whether it is one of KIP-848's own.
    pub(crate) fn is_of_consumer_protocol(&self) -> bool {
        matches!(self, Self::ConsumerHeartbeat(_) | Self::ConsumerDescribe(_))
    }

    /// The group whose members it may change.
    fn group(&self) -> Option<&GroupId> {
        match self {
            Self::Join(request) => Some(&request.group_id),
            Self::Sync(request) => Some(&request.group_id),
            Self::Heartbeat(request) => Some(&request.group_id),
            Self::Leave(request) => Some(&request.group_id),
            Self::ConsumerHeartbeat(request) => Some(&request.group_id),
            Self::Commit(request) => Some(&request.group_id),
            Self::Fetch(_)
            | Self::DeleteOffsets(_)
            | Self::Describe(_)
            | Self::ConsumerDescribe(_)
            | Self::List(_)
            | Self::Delete(_)
            | Self::TopicsDeleted(_) => None,
        }
    }
}

/// Who asks, and in which version.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) version: i16,
    pub(crate) client_id: Str,
    pub(crate) client_host: String,
    /// Which topics it may see: what a pattern stands for.
    pub(crate) sees: Sees,
}

/// Says of a topic whether somebody may see it.
#[derive(Clone, Default)]
pub(crate) struct Sees(Option<Arc<SeesTopic>>);

type SeesTopic = dyn Fn(&TopicName) -> bool + Send + Sync;

impl Sees {
    /// What `sees` says.
    pub(crate) fn by(sees: impl Fn(&TopicName) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(sees)))
    }

    fn topic(&self, name: &TopicName) -> bool {
        self.0.as_ref().is_none_or(|sees| sees(name))
    }
}

impl fmt::Debug for Sees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Sees(some)" } else { "Sees(all)" })
    }
}

/// An answer to a [`Request`] of the same name.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    Leave(LeaveGroupResponse),
    ConsumerHeartbeat(ConsumerGroupHeartbeatResponse),
    Commit(OffsetCommitResponse),
    Fetch(OffsetFetchResponseGroup),
    DeleteOffsets(OffsetDeleteResponse),
    Describe(Vec<DescribedGroup>),
    ConsumerDescribe(DescribedConsumerGroup),
    List(Vec<ListedGroup>),
    Delete(Vec<DeletableGroupResult>),
    TopicsDeleted,
}

/// What a step came to. The answers are held back until the records are committed.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) answers: Vec<(Ticket, Answer)>,
    pub(crate) records: Vec<Record>,
}

impl Effects {
    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.answers.push((ticket, answer));
    }
}

/// What the broker is configured to.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// `group.min.session.timeout.ms` to `group.max.session.timeout.ms`.
    pub(crate) session_timeout_ms: RangeInclusive<i32>,
    /// `group.initial.rebalance.delay.ms`.
    pub(crate) initial_rebalance_delay_ms: i64,
    /// `group.max.size`.
    pub(crate) group_size_max: usize,
    /// `offset.metadata.max.bytes`.
    pub(crate) offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in ms.
    pub(crate) offsets_retention_ms: i64,
    pub(crate) consumer: ConsumerLimits,
}

/// What the broker is configured to for consumer groups (KIP-848).
#[derive(Clone, Debug)]
pub(crate) struct ConsumerLimits {
    /// `group.consumer.max.size`.
    pub(crate) group_size_max: usize,
    /// `group.consumer.regex.refresh.interval.ms`.
    pub(crate) pattern_refresh_ms: i64,
    /// `group.consumer.migration.policy`.
    pub(crate) migration_policy: MigrationPolicy,
    /// `group.consumer.assignors`; the first is that of who names none.
    pub(crate) assignors: Vec<Assignor>,
}

impl ConsumerLimits {
    fn default_assignor(&self) -> Assignor {
        self.assignors.first().copied().unwrap_or(Assignor::Uniform)
    }

    /// The names of the assignors, for people.
    fn assignor_names(&self) -> String {
        let names = self.assignors.iter().map(|assignor| format!("`{}`", assignor.name()));
        names.collect::<Vec<_>>().join(", ")
    }
}

/// What a consumer group (KIP-848) is configured to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// `consumer.session.timeout.ms`.
    pub(crate) session_timeout_ms: i64,
    /// `consumer.heartbeat.interval.ms`.
    pub(crate) heartbeat_interval_ms: i32,
    /// `consumer.assignment.interval.ms`.
    pub(crate) assignment_interval_ms: i64,
}

/// What each consumer group is configured to at one moment, by itself or else by the broker.
pub(crate) trait Timings {
    fn of(&self, group: &GroupId) -> Timing;
}

/// All groups are configured to the same.
#[cfg(any(test, feature = "simulation"))]
impl Timings for Timing {
    fn of(&self, _: &GroupId) -> Timing {
        *self
    }
}

/// The time, what broker and groups are configured to, and the topics that there are.
#[derive(Clone, Copy)]
pub(crate) struct Now<'a> {
    pub(crate) ms: i64,
    pub(crate) limits: &'a Limits,
    pub(crate) timings: &'a dyn Timings,
    pub(crate) topics: &'a dyn Topics,
}

/// A group of either kind.
#[derive(Debug)]
enum Group {
    Classic(ClassicGroup),
    Consumer(ConsumerGroup),
}

impl Group {
    fn wake_ms(&self) -> i64 {
        match self {
            Self::Classic(group) => group.wake_ms(),
            Self::Consumer(group) => group.wake_ms(),
        }
    }

    /// Whether nobody is in the group, nor about to join.
    fn is_empty(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_empty(),
            Self::Consumer(group) => group.is_empty(),
        }
    }

    /// Whether it can be forgotten.
    fn is_deserted(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_deserted(),
            Self::Consumer(group) => group.is_empty(),
        }
    }

    /// The topics that members read, if the group tells.
    fn subscribed_topics(&self) -> Option<BTreeSet<Str>> {
        match self {
            Self::Classic(group) => group.subscribed_topics(),
            Self::Consumer(group) => Some(group.subscribed_topics()),
        }
    }

    /// Which of its offsets may expire, and when; `None` if none may now.
    fn expiry(&self) -> Option<Expiry> {
        match self {
            Self::Classic(group) => group.expiry(),
            Self::Consumer(group) => Some(Expiry { since_ms: None, read: group.subscribed_topics() }),
        }
    }

    /// What takes it out of the log.
    fn bury(&self, id: &GroupId, records: &mut Vec<Record>) {
        match self {
            Self::Classic(_) => records.push(Record::group(id, None)),
            Self::Consumer(group) => group.bury(records),
        }
    }

    /// Its type, as ListGroups tells it.
    const fn type_name(&self) -> &'static str {
        match self {
            Self::Classic(_) => "classic",
            Self::Consumer(_) => "consumer",
        }
    }

    fn state_name(&self) -> &'static str {
        match self {
            Self::Classic(group) => group.state().name(),
            Self::Consumer(group) => group.state().name(),
        }
    }

    fn protocol_type(&self) -> Str {
        match self {
            Self::Classic(group) => group.protocol_type().cloned().unwrap_or_default(),
            Self::Consumer(_) => Str::from_static(CONSUMER_PROTOCOL_TYPE),
        }
    }
}

/// The groups of one partition of `__consumer_offsets`.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: HashMap<GroupId, Group>,
    offsets: Offsets,
    /// When each group wants to be looked at, by time; what is not here waits for nothing.
    due: BTreeSet<(i64, GroupId)>,
    /// The time under which a group is found in `due`.
    due_at: HashMap<GroupId, i64>,
}

impl Groups {
    /// The topics in which there are offsets, each with the id that it had then, or zero.
    pub(crate) fn topics(&self) -> BTreeSet<(TopicName, Uuid)> {
        self.offsets.topics()
    }

    /// Takes a record that the log holds. Only for loading, and for what a step itself has written.
    pub(crate) fn replay(&mut self, record: &Record, now_ms: i64) {
        match record {
            Record::OffsetCommit { key, value } => {
                if value.is_some() {
                    let id = GroupId(key.group.detached());
                    // Who commits without membership has a group all the same, to be listed and described.
                    self.ensure_classic(id, now_ms);
                }
                self.offsets.replay(key, value.as_ref());
            }
            Record::Group { id, value: Some(value) } => {
                let group = ClassicGroup::restore(id.detached(), value, now_ms);
                self.groups.insert(id.detached(), Group::Classic(group));
                self.reschedule(id);
            }
            Record::Group { id, value: None } => {
                if let Some(Group::Classic(_)) = self.groups.get(id) {
                    self.groups.remove(id);
                }
                self.reschedule(id);
            }
            Record::Consumer { group: id, part: ConsumerPart::Epoch(None) } => {
                if let Some(Group::Consumer(_)) = self.groups.get(id) {
                    self.groups.remove(id);
                }
                // It may have gone on as a classic group, of which the log tells no more than its offsets yet.
                if self.offsets.has_group(id) {
                    self.ensure_classic(id.detached(), now_ms);
                }
                self.reschedule(id);
            }
            Record::Consumer { group: id, part } => match self.groups.get_mut(id) {
                Some(Group::Consumer(group)) => group.replay(part),
                // What is left of a group that was taken out has nothing to tell.
                _ if part.is_tombstone() => {}
                _ => {
                    let mut group = ConsumerGroup::new(id.detached());
                    group.replay(part);
                    self.groups.insert(id.detached(), Group::Consumer(group));
                }
            },
        }
    }

    /// Ends the replay of a log: from now on, members have their time to be heard of.
    pub(crate) fn loaded(&mut self, now: Now<'_>) {
        let mut ids = Vec::new();
        for (id, group) in &mut self.groups {
            match group {
                Group::Classic(group) => group.loaded(now),
                Group::Consumer(group) => group.loaded(now),
            }
            ids.push(id.clone());
        }
        ids.iter().for_each(|id| self.reschedule(id));
    }

    fn ensure_classic(&mut self, id: GroupId, now_ms: i64) {
        self.groups.entry(id.clone()).or_insert_with(|| Group::Classic(ClassicGroup::new(id, now_ms)));
    }

    fn classic(&mut self, id: &GroupId) -> Option<&mut ClassicGroup> {
        match self.groups.get_mut(id) {
            Some(Group::Classic(group)) => Some(group),
            _ => None,
        }
    }

    /// The ids of a group's members, of either protocol.
    #[cfg(feature = "simulation")]
    pub(crate) fn members(&self, id: &GroupId) -> Vec<Str> {
        match self.groups.get(id) {
            Some(Group::Classic(group)) => group.members().map(|member| member.id.clone()).collect(),
            Some(Group::Consumer(group)) => group.member_ids().cloned().collect(),
            None => Vec::new(),
        }
    }

    /// The offsets that are committed, whoever asks.
    #[cfg(feature = "simulation")]
    pub(crate) fn committed(&self, request: &OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
        self.offsets.fetch(request)
    }

    /// Handles a request.
    pub(crate) fn handle(
        &mut self,
        ticket: Ticket,
        request: Request,
        caller: &Caller,
        now: Now<'_>,
        new_id: impl FnOnce() -> String,
        out: &mut Effects,
    ) {
        let touched = request.group().cloned();
        self.step(ticket, request, caller, now, new_id, out);
        if let Some(id) = touched {
            self.downgrade_if_due(&id, now, out);
            self.reschedule(&id);
        }
    }

    /// When [`Self::tick`] wants to be called next, if anything is due at all.
    pub(crate) fn wake_ms(&self) -> Option<i64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Does what is due in all groups.
    pub(crate) fn tick(&mut self, now: Now<'_>, out: &mut Effects) {
        while self.due.first().is_some_and(|(at, _)| *at <= now.ms) {
            let Some((_, id)) = self.due.pop_first() else { return };
            self.due_at.remove(&id);
            match self.groups.get_mut(&id) {
                Some(Group::Classic(group)) => group.tick(now, out),
                Some(Group::Consumer(group)) => group.tick(now, out),
                None => {}
            }
            self.downgrade_if_due(&id, now, out);
            self.reschedule(&id);
        }
    }

    /// Puts a group where its time says.
    fn reschedule(&mut self, id: &GroupId) {
        let wake_ms = self.groups.get(id).map(Group::wake_ms).filter(|at| *at < i64::MAX);
        if self.due_at.get(id) == wake_ms.as_ref() {
            return;
        }
        if let Some(before) = self.due_at.remove(id) {
            self.due.remove(&(before, id.clone()));
        }
        if let Some(at) = wake_ms {
            self.due_at.insert(id.detached(), at);
            self.due.insert((at, id.detached()));
        }
    }

    fn step(
        &mut self,
        ticket: Ticket,
        request: Request,
        caller: &Caller,
        now: Now<'_>,
        new_id: impl FnOnce() -> String,
        out: &mut Effects,
    ) {
        if let Some(answer) = refuse_without_id(&request) {
            return out.answer(ticket, answer);
        }
        let answer = match request {
            Request::Join(request) => return self.join(ticket, &request, caller, now, new_id, out),
            Request::Sync(request) => Answer::Sync(match self.groups.get_mut(&request.group_id) {
                Some(Group::Classic(group)) => return group.sync(ticket, &request, now, out),
                Some(Group::Consumer(group)) => {
                    group.sync_classic(&request, now).unwrap_or_else(classic::sync_error)
                }
                None => classic::sync_error(ErrorCode::UNKNOWN_MEMBER_ID),
            }),
            Request::Heartbeat(request) => {
                let error_code = match self.groups.get_mut(&request.group_id) {
                    Some(Group::Classic(group)) => group.heartbeat(&request, now),
                    Some(Group::Consumer(group)) => {
                        group.heartbeat_classic(&request, now, out).err().unwrap_or_default()
                    }
                    None => ErrorCode::UNKNOWN_MEMBER_ID,
                };
                Answer::Heartbeat(HeartbeatResponse { error_code, ..Default::default() })
            }
            Request::Leave(request) => Answer::Leave(match self.groups.get_mut(&request.group_id) {
                Some(Group::Classic(group)) => group.leave(&request, now, out),
                Some(Group::Consumer(group)) => group.remove_by_name(&request, now, out),
                None => nobody_left(&request),
            }),
            Request::ConsumerHeartbeat(request) => {
                let answer = self.consumer_heartbeat(&request, caller, now, new_id, out);
                Answer::ConsumerHeartbeat(answer.unwrap_or_else(Refused::response))
            }
            Request::Commit(request) => Answer::Commit(self.commit(&request, caller.version, now, out)),
            Request::Fetch(request) => Answer::Fetch(self.fetch(&request)),
            Request::DeleteOffsets(request) => Answer::DeleteOffsets(self.delete_offsets(&request, out)),
            Request::Describe(ids) => {
                Answer::Describe(ids.into_iter().map(|id| self.describe(id, caller.version)).collect())
            }
            Request::ConsumerDescribe(id) => Answer::ConsumerDescribe(self.describe_consumer(id, now)),
            Request::List(filter) => Answer::List(self.list(&filter)),
            Request::Delete(ids) => Answer::Delete(ids.into_iter().map(|id| self.delete(id, out)).collect()),
            Request::TopicsDeleted(topics) => {
                self.offsets.forget_topics(&topics, &mut out.records);
                Answer::TopicsDeleted
            }
        };
        out.answer(ticket, answer);
    }

    /// Forgets offsets that were not committed anew for too long, and groups that hold nothing any more.
    pub(crate) fn expire_offsets(&mut self, now: Now<'_>, out: &mut Effects) {
        let mut gone = Vec::new();
        for (id, group) in &self.groups {
            let left = match group.expiry() {
                Some(expiry) => self.offsets.expire(id, &expiry, now, &mut out.records),
                None => true,
            };
            if !left && group.is_deserted() {
                group.bury(id, &mut out.records);
                gone.push(id.clone());
            }
        }
        for id in &gone {
            self.groups.remove(id);
            self.reschedule(id);
        }
    }

    fn join(
        &mut self,
        ticket: Ticket,
        request: &JoinGroupRequest,
        caller: &Caller,
        now: Now<'_>,
        new_id: impl FnOnce() -> String,
        out: &mut Effects,
    ) {
        let refused = |code| Answer::Join(classic::join_error(&request.member_id, code));
        // A consumer group that is empty becomes a classic one; where members are, one more joins them.
        if let Some(group) = self.groups.get_mut(&request.group_id)
            && let Group::Consumer(consumers) = group
        {
            if !consumers.is_empty() {
                let answer = consumers.join_classic(request, caller, now, new_id, out);
                return out.answer(ticket, Answer::Join(answer));
            }
            group.bury(&request.group_id, &mut out.records);
            self.groups.remove(&request.group_id);
            if self.offsets.has_group(&request.group_id) {
                self.ensure_classic(request.group_id.detached(), now.ms);
            }
        }
        let group = match self.classic(&request.group_id) {
            Some(group) => group,
            None if !request.member_id.is_empty() => {
                return out.answer(ticket, refused(ErrorCode::UNKNOWN_MEMBER_ID));
            }
            None => {
                self.ensure_classic(request.group_id.detached(), now.ms);
                let Some(group) = self.classic(&request.group_id) else { return };
                group
            }
        };
        let sender = Sender {
            version: caller.version,
            client_id: &caller.client_id,
            client_host: &caller.client_host,
        };
        group.join(ticket, request, sender, now, new_id, out);
    }

    fn consumer_heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        caller: &Caller,
        now: Now<'_>,
        new_id: impl FnOnce() -> String,
        out: &mut Effects,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refused> {
        consumer::check_request(request, caller.version, &now.limits.consumer)?;
        let not_found = |why: &str| Err(Refused::new(ErrorCode::GROUP_ID_NOT_FOUND, why));
        match self.groups.get_mut(&request.group_id) {
            Some(Group::Consumer(group)) if consumer::is_leaving(request) => {
                return group.leave(request, now, out);
            }
            Some(Group::Consumer(group)) => return group.heartbeat(request, caller, now, new_id, out),
            None if !consumer::is_joining(request) => return not_found(&not_found_text(&request.group_id)),
            Some(Group::Classic(_)) if !consumer::is_joining(request) => {
                return not_found("the group is a classic group; who has no epoch in it must join");
            }
            Some(Group::Classic(_)) | None => {}
        }
        // What is refused must have changed nothing.
        let mut made = Effects::default();
        let id = request.group_id.detached();
        let mut group = match self.groups.get(&id) {
            Some(Group::Classic(classic)) => upgraded(&id, classic, now, &mut made)
                .map_err(|why| Refused::new(ErrorCode::GROUP_ID_NOT_FOUND, why.text(&id)))?,
            _ => ConsumerGroup::new(id.clone()),
        };
        let answer = group.heartbeat(request, caller, now, new_id, &mut made)?;
        if let Some(Group::Classic(mut classic)) = self.groups.insert(id, Group::Consumer(group)) {
            classic.dismiss(out);
        }
        out.records.append(&mut made.records);
        Ok(answer)
    }

    /// Makes a classic group of a consumer group that has none but classic members, where the policy says so. They
    /// begin a round, though they may all have what they are to have: a classic group's leader looks after its topics,
    /// and none of them has been told yet that it leads. Kafka has none if a static member came back as a classic one;
    /// then no partition that a topic gets is read before somebody joins or leaves.
    fn downgrade_if_due(&mut self, id: &GroupId, now: Now<'_>, out: &mut Effects) {
        let Some(Group::Consumer(group)) = self.groups.get(id) else { return };
        if !group.is_to_be_classic(now.limits.consumer.migration_policy, now.limits.group_size_max) {
            return;
        }
        tracing::info!(group = %id, "a consumer group becomes a classic one");
        let (generation, members) = group.hand_over(now.topics);
        group.bury(&mut out.records);
        let mut classic = ClassicGroup::take_over(id.detached(), generation, members, now.ms);
        out.records.push(classic.unsettled_record());
        classic.rebalance("it was a consumer group", now, out);
        self.groups.insert(id.detached(), Group::Classic(classic));
    }

    fn fetch(&self, request: &OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
        if let Some(Group::Consumer(group)) = self.groups.get(&request.group_id)
            && let Err(error_code) = group.check_fetch(request.member_id.as_ref(), request.member_epoch)
        {
            return OffsetFetchResponseGroup {
                group_id: request.group_id.clone(),
                error_code,
                ..Default::default()
            };
        }
        self.offsets.fetch(request)
    }

    fn describe_consumer(&self, id: GroupId, now: Now<'_>) -> DescribedConsumerGroup {
        match self.groups.get(&id) {
            Some(Group::Consumer(group)) => group.describe(now),
            other => DescribedConsumerGroup {
                error_code: ErrorCode::GROUP_ID_NOT_FOUND,
                error_message: Some(match other {
                    Some(_) => format!("Group {id} is not a consumer group.").into(),
                    None => not_found_text(&id).into(),
                }),
                group_id: id,
                ..Default::default()
            },
        }
    }

    fn commit(
        &mut self,
        request: &OffsetCommitRequest,
        version: i16,
        now: Now<'_>,
        out: &mut Effects,
    ) -> OffsetCommitResponse {
        let generation = request.generation_id_or_member_epoch;
        let checked = match self.groups.get_mut(&request.group_id) {
            Some(Group::Consumer(group)) => group.check_commit(request, version),
            Some(Group::Classic(group)) => {
                group.check_commit(&request.member_id, request.group_instance_id.as_ref(), generation, now.ms)
            }
            // Offsets may be kept without a group; a member without one has lost it.
            None if generation < 0 => Ok(()),
            None if version >= 9 => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            None => Err(ErrorCode::ILLEGAL_GENERATION),
        };
        let before = out.records.len();
        let response = offsets::commit(request, checked, now, &mut out.records);
        for record in out.records.get(before..).unwrap_or_default() {
            self.replay(record, now.ms);
        }
        response
    }

    fn delete_offsets(&mut self, request: &OffsetDeleteRequest, out: &mut Effects) -> OffsetDeleteResponse {
        let Some(group) = self.groups.get(&request.group_id) else {
            return OffsetDeleteResponse { error_code: ErrorCode::GROUP_ID_NOT_FOUND, ..Default::default() };
        };
        let subscribed = group.subscribed_topics();
        // Consumers whose subscriptions cannot be read may read anything.
        let unreadable = !group.is_empty() && subscribed.is_none();
        if unreadable && &*group.protocol_type() != CONSUMER_PROTOCOL_TYPE {
            return OffsetDeleteResponse { error_code: ErrorCode::NON_EMPTY_GROUP, ..Default::default() };
        }
        let subscribed = subscribed.unwrap_or_default();
        let is_read = |topic: &Str| unreadable || subscribed.contains(topic);
        self.offsets.delete(request, is_read, &mut out.records)
    }

    fn describe(&self, id: GroupId, version: i16) -> DescribedGroup {
        let Some(Group::Classic(group)) = self.groups.get(&id) else {
            let mut described = DescribedGroup { group_state: "Dead".into(), ..Default::default() };
            if version >= 6 {
                described.error_code = ErrorCode::GROUP_ID_NOT_FOUND;
                described.error_message = Some(not_found_text(&id).into());
            }
            described.group_id = id;
            return described;
        };
        let protocol = group.protocol().filter(|_| group.state() == State::Stable);
        let members = group.members().map(|member| DescribedGroupMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            member_metadata: member.metadata(protocol),
            member_assignment: protocol.map(|_| member.assignment.clone()).unwrap_or_default(),
        });
        DescribedGroup {
            group_id: id,
            group_state: group.state().name().into(),
            protocol_type: group.protocol_type().cloned().unwrap_or_default(),
            protocol_data: protocol.cloned().unwrap_or_default(),
            members: members.collect(),
            ..Default::default()
        }
    }

    /// Those that the filter lets through, by their ids.
    fn list(&self, filter: &ListGroupsRequest) -> Vec<ListedGroup> {
        let wanted = |names: &[Str], name: &str| {
            names.is_empty() || names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        let mut listed: Vec<ListedGroup> = self
            .groups
            .iter()
            .filter(|(_, group)| wanted(&filter.types_filter, group.type_name()))
            .filter(|(_, group)| wanted(&filter.states_filter, group.state_name()))
            .map(|(id, group)| ListedGroup {
                group_id: id.clone(),
                protocol_type: group.protocol_type(),
                group_state: group.state_name().into(),
                group_type: group.type_name().into(),
            })
            .collect();
        listed.sort_by(|a, b| a.group_id.0.cmp(&b.group_id.0));
        listed
    }

    fn delete(&mut self, id: GroupId, out: &mut Effects) -> DeletableGroupResult {
        let error_code = match self.groups.get(&id) {
            None => ErrorCode::GROUP_ID_NOT_FOUND,
            Some(group) if !group.is_empty() => ErrorCode::NON_EMPTY_GROUP,
            Some(group) => {
                self.offsets.forget_group(&id, &mut out.records);
                group.bury(&id, &mut out.records);
                self.groups.remove(&id);
                self.reschedule(&id);
                ErrorCode::NONE
            }
        };
        DeletableGroupResult { group_id: id, error_code, error_message: None }
    }
}

/// A consumer group in the place of a classic one, with its members if it has any, and its offsets.
fn upgraded(
    id: &GroupId,
    classic: &ClassicGroup,
    now: Now<'_>,
    out: &mut Effects,
) -> Result<ConsumerGroup, Hindrance> {
    out.records.push(Record::group(id, None));
    if classic.is_empty() {
        return Ok(ConsumerGroup::new(id.clone()));
    }
    let limits = &now.limits.consumer;
    let (generation, members) = classic.hand_over();
    if !limits.migration_policy.upgrades() {
        return Err(Hindrance::Policy);
    }
    if classic.protocol_type().is_none_or(|name| &**name != CONSUMER_PROTOCOL_TYPE) {
        return Err(Hindrance::Protocol);
    }
    if members.len() > limits.group_size_max {
        return Err(Hindrance::Size);
    }
    tracing::info!(group = %id, members = members.len(), "a classic group becomes a consumer group");
    ConsumerGroup::take_over(id.clone(), generation, &members, now, out)
}

/// What a group without a name is told; offsets may be kept under the empty one all the same.
fn refuse_without_id(request: &Request) -> Option<Answer> {
    let code = ErrorCode::INVALID_GROUP_ID;
    match request {
        Request::Join(join) if join.group_id.is_empty() => {
            Some(Answer::Join(classic::join_error(&join.member_id, code)))
        }
        Request::Sync(sync) if sync.group_id.is_empty() => Some(Answer::Sync(classic::sync_error(code))),
        Request::Heartbeat(heartbeat) if heartbeat.group_id.is_empty() => {
            Some(Answer::Heartbeat(HeartbeatResponse { error_code: code, ..Default::default() }))
        }
        Request::Leave(leave) if leave.group_id.is_empty() => {
            Some(Answer::Leave(LeaveGroupResponse { error_code: code, ..Default::default() }))
        }
        Request::DeleteOffsets(delete) if delete.group_id.is_empty() => {
            Some(Answer::DeleteOffsets(OffsetDeleteResponse { error_code: code, ..Default::default() }))
        }
        _ => None,
    }
}

/// In Kafka's words, which tools compare.
fn not_found_text(id: &GroupId) -> String {
    format!("Group {id} not found.")
}

/// What LeaveGroup is told where there is no such group.
fn nobody_left(request: &LeaveGroupRequest) -> LeaveGroupResponse {
    let members = request.members.iter().map(|leaving| MemberResponse {
        member_id: leaving.member_id.clone(),
        group_instance_id: leaving.group_instance_id.clone(),
        error_code: ErrorCode::UNKNOWN_MEMBER_ID,
    });
    LeaveGroupResponse { members: members.collect(), ..Default::default() }
}
