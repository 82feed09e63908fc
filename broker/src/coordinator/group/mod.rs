//! Groups and their offsets: the state of one partition of `__consumer_offsets`, without I/O.
//!
//! [`Groups`] takes requests and the time, and gives answers and records by [`Effects`]. The runtime appends the
//! records and holds the answers back until they are committed; if that fails, it throws the state away and reads it
//! again from the log. What the log does not keep of a classic group, who waits and until when, lives here alone.

pub(crate) mod classic;
mod offsets;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    ops::RangeInclusive,
};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
        LeaveGroupResponse, ListGroupsRequest, OffsetCommitRequest, OffsetCommitResponse,
        OffsetDeleteRequest, OffsetDeleteResponse, SyncGroupRequest, SyncGroupResponse,
        delete_groups::DeletableGroupResult,
        describe_groups::{DescribedGroup, DescribedGroupMember},
        leave_group::MemberResponse,
        list_groups::ListedGroup,
        offset_fetch::{OffsetFetchRequestGroup, OffsetFetchResponseGroup},
    },
    types::{GroupId, Str, TopicName, Uuid},
};

use self::{
    classic::{ClassicGroup, Sender, State},
    offsets::Offsets,
};
use super::record::Record;

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
    Commit(OffsetCommitRequest),
    Fetch(OffsetFetchRequestGroup),
    DeleteOffsets(OffsetDeleteRequest),
    Describe(Vec<GroupId>),
    List(ListGroupsRequest),
    Delete(Vec<GroupId>),
    /// Topics were deleted, and the offsets in them with them.
    TopicsDeleted(Vec<TopicName>),
}

impl Request {
    /// The group whose members it may change.
    fn group(&self) -> Option<&GroupId> {
        match self {
            Self::Join(request) => Some(&request.group_id),
            Self::Sync(request) => Some(&request.group_id),
            Self::Heartbeat(request) => Some(&request.group_id),
            Self::Leave(request) => Some(&request.group_id),
            Self::Commit(request) => Some(&request.group_id),
            Self::Fetch(_)
            | Self::DeleteOffsets(_)
            | Self::Describe(_)
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
}

/// An answer to a [`Request`] of the same name.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    Leave(LeaveGroupResponse),
    Commit(OffsetCommitResponse),
    Fetch(OffsetFetchResponseGroup),
    DeleteOffsets(OffsetDeleteResponse),
    Describe(Vec<DescribedGroup>),
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
}

/// The time, and what the broker is configured to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now<'a> {
    pub(crate) ms: i64,
    pub(crate) limits: &'a Limits,
}

/// The groups of one partition of `__consumer_offsets`.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: HashMap<GroupId, ClassicGroup>,
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
                    self.groups.entry(id.clone()).or_insert_with(|| ClassicGroup::new(id, now_ms));
                }
                self.offsets.replay(key, value.as_ref());
            }
            Record::Group { id, value: Some(value) } => {
                self.groups.insert(id.detached(), ClassicGroup::restore(id.detached(), value, now_ms));
                self.reschedule(id);
            }
            Record::Group { id, value: None } => {
                self.groups.remove(id);
                self.reschedule(id);
            }
        }
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
            if let Some(group) = self.groups.get_mut(&id) {
                group.tick(now, out);
            }
            self.reschedule(&id);
        }
    }

    /// Puts a group where its time says.
    fn reschedule(&mut self, id: &GroupId) {
        let wake_ms = self.groups.get(id).map(ClassicGroup::wake_ms).filter(|at| *at < i64::MAX);
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
        let answer = match request {
            Request::Join(request) => return self.join(ticket, &request, caller, now, new_id, out),
            Request::Sync(request) => match self.groups.get_mut(&request.group_id) {
                Some(group) => return group.sync(ticket, &request, now, out),
                None => Answer::Sync(classic::sync_error(ErrorCode::UNKNOWN_MEMBER_ID)),
            },
            Request::Heartbeat(request) => {
                let error_code = match self.groups.get_mut(&request.group_id) {
                    Some(group) => group.heartbeat(&request, now),
                    None => ErrorCode::UNKNOWN_MEMBER_ID,
                };
                Answer::Heartbeat(HeartbeatResponse { error_code, ..Default::default() })
            }
            Request::Leave(request) => Answer::Leave(match self.groups.get_mut(&request.group_id) {
                Some(group) => group.leave(&request, now, out),
                None => nobody_left(&request),
            }),
            Request::Commit(request) => Answer::Commit(self.commit(&request, caller.version, now, out)),
            Request::Fetch(request) => Answer::Fetch(self.offsets.fetch(&request)),
            Request::DeleteOffsets(request) => Answer::DeleteOffsets(self.delete_offsets(&request, out)),
            Request::Describe(ids) => {
                Answer::Describe(ids.into_iter().map(|id| self.describe(id, caller.version)).collect())
            }
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
            let left = self.offsets.expire(group, now, &mut out.records);
            if !left && group.is_deserted() {
                out.records.push(Record::group(id, None));
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
        let group = match self.groups.get_mut(&request.group_id) {
            Some(group) => group,
            None if request.group_id.is_empty() => {
                return out.answer(ticket, refused(ErrorCode::INVALID_GROUP_ID));
            }
            None if !request.member_id.is_empty() => {
                return out.answer(ticket, refused(ErrorCode::UNKNOWN_MEMBER_ID));
            }
            None => {
                let id = request.group_id.detached();
                self.groups.entry(id.clone()).or_insert_with(|| ClassicGroup::new(id, now.ms))
            }
        };
        let sender = Sender {
            version: caller.version,
            client_id: &caller.client_id,
            client_host: &caller.client_host,
        };
        group.join(ticket, request, sender, now, new_id, out);
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
            Some(group) => {
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
        if !group.is_empty() && subscribed.is_none() {
            return OffsetDeleteResponse { error_code: ErrorCode::NON_EMPTY_GROUP, ..Default::default() };
        }
        self.offsets.delete(request, &subscribed.unwrap_or_default(), &mut out.records)
    }

    fn describe(&self, id: GroupId, version: i16) -> DescribedGroup {
        let Some(group) = self.groups.get(&id) else {
            let mut described =
                DescribedGroup { group_id: id, group_state: "Dead".into(), ..Default::default() };
            if version >= 6 {
                described.error_code = ErrorCode::GROUP_ID_NOT_FOUND;
                described.error_message = Some("there is no such group".into());
            }
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

    fn list(&self, filter: &ListGroupsRequest) -> Vec<ListedGroup> {
        /// The only type of group that is served.
        const CLASSIC: &str = "classic";
        let wanted = |names: &[Str], name: &str| {
            names.is_empty() || names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        if !wanted(&filter.types_filter, CLASSIC) {
            return Vec::new();
        }
        self.groups
            .values()
            .filter(|group| wanted(&filter.states_filter, group.state().name()))
            .map(|group| ListedGroup {
                group_id: group.id().clone(),
                protocol_type: group.protocol_type().cloned().unwrap_or_default(),
                group_state: group.state().name().into(),
                group_type: CLASSIC.into(),
            })
            .collect()
    }

    fn delete(&mut self, id: GroupId, out: &mut Effects) -> DeletableGroupResult {
        let error_code = match self.groups.get(&id) {
            None => ErrorCode::GROUP_ID_NOT_FOUND,
            Some(group) if !group.is_empty() => ErrorCode::NON_EMPTY_GROUP,
            Some(_) => {
                self.offsets.forget_group(&id, &mut out.records);
                out.records.push(Record::group(&id, None));
                self.groups.remove(&id);
                self.reschedule(&id);
                ErrorCode::NONE
            }
        };
        DeletableGroupResult { group_id: id, error_code, error_message: None }
    }
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
