//! A classic group: members join in rounds, their leader assigns, the coordinator passes the assignment on.
//!
//! Sans-io: requests and the time come in; answers and records go out by [`Effects`]. An answer that has to wait, for
//! the other members or for the leader, is named by a [`Ticket`].
//!
//! | state | it waits for |
//! |---|---|
//! | `Empty` | a member |
//! | `PreparingRebalance` | all members to join, again or for the first time |
//! | `CompletingRebalance` | the leader's assignment, by SyncGroup |
//! | `Stable` | nothing |
//!
//! The rules are those of Kafka's `GroupMetadataManager` and `ClassicGroup`, with KIP-62 (two timeouts), KIP-134
//! (initial delay), KIP-345 (static members), KIP-394 (a member knows its id before it joins) and KIP-814 (a leader
//! that comes back need not assign). What the log keeps of a group is one record, written with each assignment.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ottla_protocol::{
    Bytes,
    error_code::ErrorCode,
    messages::{
        HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
        SyncGroupRequest, SyncGroupResponse,
        group::group_metadata_value::{GroupMetadataValue, MemberMetadata},
        join_group::JoinGroupResponseMember,
        leave_group::MemberResponse,
    },
    types::{GroupId, Str},
};

use super::{
    Answer, CONSUMER_PROTOCOL_TYPE, Effects, Limits, Now, Ticket,
    migration::{Moving, gives_up, read_subscription},
    offsets::Expiry,
};
use crate::coordinator::record::Record;

/// First JoinGroup version whose members know their id before they join (KIP-394).
const KNOWN_ID_VERSION_MIN: i16 = 4;
/// First JoinGroup version that may be told to keep the assignment (KIP-814).
const SKIP_ASSIGNMENT_VERSION_MIN: i16 = 9;
/// How long a member whose first JoinGroup waits is kept: it cannot send heartbeats yet, so nothing else would tell
/// that it is gone. Kafka's is not configurable either.
const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1000;
/// A deadline that does not come.
const NEVER: i64 = i64::MAX;

/// Where a group is in its round.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl State {
    /// As DescribeGroups and ListGroups tell it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// A member of the group.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: Str,
    /// The name of a static member.
    pub(crate) instance_id: Option<Str>,
    pub(crate) client_id: Str,
    pub(crate) client_host: Str,
    rebalance_timeout_ms: i32,
    session_timeout_ms: i32,
    /// What it supports, the preferred first, each with what it says to the leader.
    protocols: Vec<(Str, Bytes)>,
    pub(crate) assignment: Bytes,
    /// Whether it has not been through a round yet.
    is_new: bool,
    /// When it is taken for dead, unless it is heard of before.
    deadline_ms: i64,
    joining: Option<Ticket>,
    syncing: Option<Ticket>,
}

impl Member {
    fn supports(&self, protocol: &Str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    /// What it says to the leader under a protocol; empty if it does not support that.
    pub(crate) fn metadata(&self, protocol: Option<&Str>) -> Bytes {
        let told = self.protocols.iter().find(|(name, _)| Some(name) == protocol);
        told.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }
}

/// Who sends a request, beside what it says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender<'a> {
    pub(crate) version: i16,
    pub(crate) client_id: &'a str,
    pub(crate) client_host: &'a str,
}

/// A classic group.
#[derive(Debug)]
pub(crate) struct ClassicGroup {
    id: GroupId,
    state: State,
    /// Whether the round that is being prepared is the group's first since it was empty: it waits a little for more.
    is_first_round: bool,
    /// Since when it is in its state.
    state_since_ms: i64,
    generation: i32,
    protocol_type: Option<Str>,
    protocol: Option<Str>,
    leader: Option<Str>,
    members: BTreeMap<Str, Member>,
    /// The member's id of each static member's name.
    static_members: HashMap<Str, Str>,
    /// Who was given an id and has not joined with it, each with when its place is given up.
    pending: HashMap<Str, i64>,
    /// Who has not sent SyncGroup in this round.
    to_sync: BTreeSet<Str>,
    /// Whether somebody came while the first round waited.
    new_member_came: bool,
    /// When the round of joining ends, whoever is missing, and what is left of the first round's time behind that.
    join_deadline_ms: i64,
    first_round_left_ms: i64,
    /// When members that have not sent SyncGroup are removed.
    sync_deadline_ms: i64,
    /// Nothing is due before; it may be too early.
    wake_ms: i64,
    /// Whether the log has members that are out, or a static member's old self, and no round has told it better.
    log_is_behind: bool,
}

impl ClassicGroup {
    /// A group without members.
    pub(crate) fn new(id: GroupId, now_ms: i64) -> Self {
        Self {
            id,
            state: State::Empty,
            is_first_round: false,
            state_since_ms: now_ms,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            pending: HashMap::new(),
            to_sync: BTreeSet::new(),
            new_member_came: false,
            join_deadline_ms: NEVER,
            first_round_left_ms: 0,
            sync_deadline_ms: NEVER,
            wake_ms: NEVER,
            log_is_behind: false,
        }
    }

    /// The group as the log has it. Its members have a session's time to be heard of again.
    pub(crate) fn restore(id: GroupId, value: &GroupMetadataValue, now_ms: i64) -> Self {
        let mut group = Self::new(id, now_ms);
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type.detached()).filter(|name| !name.is_empty());
        group.protocol = value.protocol.as_ref().map(Str::detached);
        group.leader = value.leader.as_ref().map(Str::detached);
        if value.current_state_timestamp >= 0 {
            group.state_since_ms = value.current_state_timestamp;
        }
        for told in &value.members {
            let id = told.member_id.detached();
            let protocol = group.protocol.clone().unwrap_or_default();
            let member = Member {
                id: id.clone(),
                instance_id: told.group_instance_id.as_ref().map(Str::detached),
                client_id: told.client_id.detached(),
                client_host: told.client_host.detached(),
                rebalance_timeout_ms: match told.rebalance_timeout {
                    -1 => told.session_timeout,
                    timeout => timeout,
                },
                session_timeout_ms: told.session_timeout,
                protocols: vec![(protocol, Bytes::copy_from_slice(&told.subscription))],
                assignment: Bytes::copy_from_slice(&told.assignment),
                is_new: false,
                deadline_ms: now_ms + i64::from(told.session_timeout),
                joining: None,
                syncing: None,
            };
            if let Some(instance_id) = &member.instance_id {
                group.static_members.insert(instance_id.clone(), id.clone());
            }
            group.wake_ms = group.wake_ms.min(member.deadline_ms);
            group.members.insert(id, member);
        }
        if !group.members.is_empty() {
            group.state = State::Stable;
        }
        group
    }

    /// Ends the replay of a log. A group that was on its way to a round, by [`Self::unsettled_record`], begins one.
    pub(super) fn loaded(&mut self, now: Now<'_>) {
        if self.leader.is_none() && !self.members.is_empty() {
            // Nobody waits for an answer yet.
            self.prepare("the coordinator was restarted before a round", now, &mut Effects::default());
        }
    }

    /// A group that goes on with the members of a consumer group (KIP-848). They have what they are assigned, unless
    /// a round is begun by [`Self::rebalance`].
    pub(super) fn take_over(id: GroupId, generation: i32, members: Vec<Moving>, now_ms: i64) -> Self {
        let mut group = Self::new(id, now_ms);
        group.generation = generation;
        group.protocol_type = Some(Str::from_static(CONSUMER_PROTOCOL_TYPE));
        for moving in members {
            let deadline_ms = now_ms + i64::from(moving.session_timeout_ms);
            group.wake_ms = group.wake_ms.min(deadline_ms);
            if let Some(instance_id) = &moving.instance_id {
                group.static_members.insert(instance_id.clone(), moving.id.clone());
            }
            let member = Member {
                id: moving.id.clone(),
                instance_id: moving.instance_id,
                client_id: moving.client_id,
                client_host: moving.client_host,
                rebalance_timeout_ms: moving.rebalance_timeout_ms,
                session_timeout_ms: moving.session_timeout_ms,
                protocols: moving.protocols,
                assignment: moving.assignment,
                is_new: false,
                deadline_ms,
                joining: None,
                syncing: None,
            };
            group.members.insert(moving.id, member);
        }
        group.leader = group.members.keys().next().cloned();
        group.protocol = group.choose_protocol();
        group.enter(State::Stable, now_ms);
        group
    }

    /// Its members for a consumer group, with the epoch of that.
    pub(super) fn hand_over(&self) -> (i32, Vec<Moving>) {
        let members = self.members.values().map(|member| Moving {
            id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            protocols: member.protocols.clone(),
            assignment: member.assignment.clone(),
        });
        (self.generation, members.collect())
    }

    /// Sends everybody who waits to join again: the group goes on as a consumer group.
    pub(super) fn dismiss(&mut self, out: &mut Effects) {
        for member in self.members.values_mut() {
            if let Some(ticket) = member.joining.take() {
                out.answer(ticket, Answer::Join(join_error(&member.id, ErrorCode::REBALANCE_IN_PROGRESS)));
            }
            if let Some(ticket) = member.syncing.take() {
                out.answer(ticket, Answer::Sync(sync_error(ErrorCode::REBALANCE_IN_PROGRESS)));
            }
        }
    }

    /// Begins a round.
    pub(super) fn rebalance(&mut self, why: &str, now: Now<'_>, out: &mut Effects) {
        self.prepare(why, now, out);
    }

    #[cfg(test)]
    pub(super) fn generation(&self) -> i32 {
        self.generation
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn protocol_type(&self) -> Option<&Str> {
        self.protocol_type.as_ref()
    }

    /// The protocol that the members agreed on.
    pub(crate) fn protocol(&self) -> Option<&Str> {
        self.protocol.as_ref()
    }

    pub(crate) fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    /// Whether nobody is in the group, nor about to join.
    pub(crate) fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// The topics that members read, where the group is one of consumers and says so in the known way.
    pub(crate) fn subscribed_topics(&self) -> Option<BTreeSet<Str>> {
        if self.protocol_type.as_deref() != Some(CONSUMER_PROTOCOL_TYPE) {
            return None;
        }
        let subscriptions =
            self.members.values().map(|m| read_subscription(&m.metadata(self.protocol.as_ref())));
        subscriptions
            .flat_map(|read| match read {
                Some(read) => read.topics.into_iter().map(Some).collect(),
                None => vec![None],
            })
            .collect()
    }

    /// Which of its offsets may expire, and when; `None` if none may now (KIP-211).
    ///
    /// Time counts from when the group became empty, or from the commit where there never were members, or where
    /// members do not read the topic any more.
    pub(super) fn expiry(&self) -> Option<Expiry> {
        match self.state {
            State::Empty => Some(Expiry {
                since_ms: self.protocol_type.is_some().then_some(self.state_since_ms),
                read: BTreeSet::new(),
            }),
            State::Stable => self.subscribed_topics().map(|read| Expiry { since_ms: None, read }),
            State::PreparingRebalance | State::CompletingRebalance => None,
        }
    }

    /// Whether it can be forgotten: nobody is in it, and nobody was given an id to join with.
    pub(crate) fn is_deserted(&self) -> bool {
        self.state == State::Empty && self.pending.is_empty()
    }

    /// When [`Self::tick`] wants to be called next; it may find nothing to do.
    pub(crate) fn wake_ms(&self) -> i64 {
        self.wake_ms
    }

    // ---- requests ----

    /// JoinGroup. `new_id` gives an id to who has none.
    pub(crate) fn join(
        &mut self,
        ticket: Ticket,
        request: &JoinGroupRequest,
        sender: Sender<'_>,
        now: Now<'_>,
        new_id: impl FnOnce() -> String,
        out: &mut Effects,
    ) {
        let refused = |error_code: ErrorCode| Answer::Join(join_error(&request.member_id, error_code));
        if !now.limits.session_timeout_ms.contains(&request.session_timeout_ms) {
            return out.answer(ticket, refused(ErrorCode::INVALID_SESSION_TIMEOUT));
        }
        if !self.has_room_for(&request.member_id, now.limits) {
            self.pending.remove(&request.member_id);
            return out.answer(ticket, refused(ErrorCode::GROUP_MAX_SIZE_REACHED));
        }
        let names: Vec<&Str> = request.protocols.iter().map(|p| &p.name).collect();
        if !self.supports(&request.protocol_type, &names) {
            return out.answer(ticket, refused(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
        }
        if !request.member_id.is_empty() {
            return self.join_again(ticket, request, sender, now, out);
        }
        let prefix = request.group_instance_id.as_ref().map_or(sender.client_id, Str::as_str);
        let id = Str::from(format!("{prefix}-{}", new_id()));
        let known = request.group_instance_id.as_ref().and_then(|i| self.static_members.get(i).cloned());
        match known {
            Some(old_id) => self.join_in_place_of(&old_id, id, ticket, request, sender, now, out),
            None if request.group_instance_id.is_none() && sender.version >= KNOWN_ID_VERSION_MIN => {
                self.pending.insert(id.clone(), now.ms + i64::from(request.session_timeout_ms));
                self.wake_ms = self.wake_ms.min(now.ms + i64::from(request.session_timeout_ms));
                out.answer(ticket, Answer::Join(join_error(&id, ErrorCode::MEMBER_ID_REQUIRED)));
            }
            None => self.add(id, ticket, request, sender, now, out),
        }
    }

    /// SyncGroup.
    pub(crate) fn sync(
        &mut self,
        ticket: Ticket,
        request: &SyncGroupRequest,
        now: Now<'_>,
        out: &mut Effects,
    ) {
        let consistent =
            |theirs: &Option<Str>, ours: &Option<Str>| theirs.is_none() || ours.is_none() || theirs == ours;
        let checked = if self.state == State::Empty {
            Err(ErrorCode::UNKNOWN_MEMBER_ID)
        } else {
            self.check_member(&request.member_id, request.group_instance_id.as_ref()).and_then(|()| {
                if request.generation_id != self.generation {
                    Err(ErrorCode::ILLEGAL_GENERATION)
                } else if !consistent(&request.protocol_type, &self.protocol_type)
                    || !consistent(&request.protocol_name, &self.protocol)
                {
                    Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)
                } else if self.state == State::PreparingRebalance {
                    Err(ErrorCode::REBALANCE_IN_PROGRESS)
                } else {
                    Ok(())
                }
            })
        };
        if let Err(error_code) = checked {
            return out.answer(ticket, Answer::Sync(sync_error(error_code)));
        }
        self.to_sync.remove(&request.member_id);
        if self.to_sync.is_empty() {
            self.sync_deadline_ms = NEVER;
        }
        if let Some(member) = self.members.get_mut(&request.member_id) {
            // Somebody who asks twice gets one answer, to what it asked last.
            if let Some(before) = member.syncing.replace(ticket) {
                out.answer(before, Answer::Sync(sync_error(ErrorCode::REBALANCE_IN_PROGRESS)));
            }
        }
        if self.state == State::CompletingRebalance && self.leader.as_ref() == Some(&request.member_id) {
            for member in self.members.values_mut() {
                let told = request.assignments.iter().find(|a| a.member_id == member.id);
                member.assignment = told.map(|a| Bytes::copy_from_slice(&a.assignment)).unwrap_or_default();
            }
            self.enter(State::Stable, now.ms);
            out.records.push(self.record());
        }
        if self.state == State::Stable {
            self.answer_syncs(ErrorCode::NONE, now.ms, out);
        }
    }

    /// Heartbeat.
    pub(crate) fn heartbeat(&mut self, request: &HeartbeatRequest, now: Now<'_>) -> ErrorCode {
        if let Err(error) = self.check_member(&request.member_id, request.group_instance_id.as_ref()) {
            return error;
        }
        if request.generation_id != self.generation {
            return ErrorCode::ILLEGAL_GENERATION;
        }
        match self.state {
            State::Empty => ErrorCode::UNKNOWN_MEMBER_ID,
            State::PreparingRebalance => {
                self.heard_of(&request.member_id, now.ms);
                ErrorCode::REBALANCE_IN_PROGRESS
            }
            State::CompletingRebalance | State::Stable => {
                self.heard_of(&request.member_id, now.ms);
                ErrorCode::NONE
            }
        }
    }

    /// LeaveGroup: of a member, or of several, which an administrator may name by their static names alone.
    pub(crate) fn leave(
        &mut self,
        request: &LeaveGroupRequest,
        now: Now<'_>,
        out: &mut Effects,
    ) -> LeaveGroupResponse {
        let mut response = LeaveGroupResponse::default();
        for leaving in &request.members {
            let result = self.leave_one(&leaving.member_id, leaving.group_instance_id.as_ref(), out);
            response.members.push(MemberResponse {
                member_id: leaving.member_id.clone(),
                group_instance_id: leaving.group_instance_id.clone(),
                error_code: result.err().unwrap_or_default(),
            });
        }
        if response.members.iter().any(|m| !m.error_code.is_error()) {
            self.rebalance_or_complete("members left", now, out);
        }
        self.catch_up_log(out);
        response
    }

    /// Whether an offset may be committed by this member of this generation; -1 and no id for who is no member.
    pub(crate) fn check_commit(
        &mut self,
        member_id: &Str,
        instance_id: Option<&Str>,
        generation: i32,
        now_ms: i64,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if generation < 0 && member_id.is_empty() && instance_id.is_none() {
            // Members have the group to themselves.
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.check_member(member_id, instance_id)?;
        if generation != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        if self.state == State::CompletingRebalance {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.heard_of(member_id, now_ms);
        Ok(())
    }

    /// Does what is due: removes members that were not heard of, ends rounds that waited long enough.
    pub(crate) fn tick(&mut self, now: Now<'_>, out: &mut Effects) {
        if now.ms < self.wake_ms {
            return;
        }
        self.expire_members(now, out);
        if self.join_deadline_ms <= now.ms {
            self.join_deadline_passed(now, out);
        }
        if self.sync_deadline_ms <= now.ms {
            self.sync_deadline_ms = NEVER;
            let late = std::mem::take(&mut self.to_sync);
            late.iter().for_each(|id| self.remove(id, out));
            if !late.is_empty() {
                self.prepare("members did not ask for their assignment in time", now, out);
            }
        }
        self.catch_up_log(out);
        self.wake_ms = self.earliest_deadline();
    }

    /// Tells the log who is in the group, if it has who is not. Else a restart would bring back whoever has gone since
    /// the last round, and the next round wait for the end of a session that nobody has; and a static member's new self
    /// would be fenced by its old one. Kafka leaves that to the end of the round.
    fn catch_up_log(&mut self, out: &mut Effects) {
        if std::mem::take(&mut self.log_is_behind) && self.state != State::Empty {
            out.records.push(self.unsettled_record());
        }
    }

    /// The record of a group that is to have a round, whatever happens: of its members as far as they have been through
    /// one, and without a leader.
    pub(super) fn unsettled_record(&self) -> Record {
        self.record_of(None, |member| !member.is_new)
    }

    /// The record that the log keeps of the group.
    pub(crate) fn record(&self) -> Record {
        self.record_of(self.leader.as_ref(), |_| true)
    }

    fn record_of(&self, leader: Option<&Str>, is_told: impl Fn(&Member) -> bool) -> Record {
        let members = self.members.values().filter(|member| is_told(member)).map(|member| MemberMetadata {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: member.metadata(self.protocol.as_ref()),
            assignment: member.assignment.clone(),
        });
        Record::group(
            &self.id,
            Some(GroupMetadataValue {
                protocol_type: self.protocol_type.clone().unwrap_or_default(),
                generation: self.generation,
                protocol: self.protocol.clone(),
                leader: leader.cloned(),
                current_state_timestamp: self.state_since_ms,
                members: members.collect(),
            }),
        )
    }

    // ---- joining ----

    /// JoinGroup of who has an id already.
    fn join_again(
        &mut self,
        ticket: Ticket,
        request: &JoinGroupRequest,
        sender: Sender<'_>,
        now: Now<'_>,
        out: &mut Effects,
    ) {
        let id = &request.member_id;
        if self.pending.contains_key(id) {
            // It has no static name: those are not asked to come again.
            if request.group_instance_id.is_some() {
                return out.answer(ticket, Answer::Join(join_error(id, ErrorCode::UNKNOWN_MEMBER_ID)));
            }
            return self.add(id.detached(), ticket, request, sender, now, out);
        }
        if let Err(error_code) = self.check_member(id, request.group_instance_id.as_ref()) {
            return out.answer(ticket, Answer::Join(join_error(id, error_code)));
        }
        let is_leader = self.leader.as_ref() == Some(id);
        let same = self.members.get(id).is_some_and(|m| {
            let theirs = request.protocols.iter().map(|p| (&p.name, &p.metadata));
            m.protocols.iter().map(|(name, metadata)| (name, metadata)).eq(theirs)
        });
        match self.state {
            State::Empty => out.answer(ticket, Answer::Join(join_error(id, ErrorCode::UNKNOWN_MEMBER_ID))),
            // Its answer was lost, or it has nothing new to say: the round that is there is its round.
            State::CompletingRebalance if same => {
                let answer = self.joined(id, is_leader, false);
                out.answer(ticket, Answer::Join(answer));
            }
            State::Stable if same && !is_leader => {
                let answer = self.joined(id, false, false);
                out.answer(ticket, Answer::Join(answer));
            }
            // A leader that joins again wants to assign anew: it has seen topics change.
            _ => {
                self.update(id, ticket, request, out);
                self.rebalance_or_complete("a member joined again", now, out);
            }
        }
    }

    /// A static member came back without its id: it takes its old place, and whoever still uses the old id is fenced.
    #[allow(clippy::too_many_arguments, reason = "what a request is, and where it goes")]
    fn join_in_place_of(
        &mut self,
        old_id: &Str,
        id: Str,
        ticket: Ticket,
        request: &JoinGroupRequest,
        sender: Sender<'_>,
        now: Now<'_>,
        out: &mut Effects,
    ) {
        let Some(mut member) = self.members.remove(old_id) else { return };
        if let Some(ticket) = member.joining.take() {
            out.answer(ticket, Answer::Join(join_error(old_id, ErrorCode::FENCED_INSTANCE_ID)));
        }
        if let Some(ticket) = member.syncing.take() {
            out.answer(ticket, Answer::Sync(sync_error(ErrorCode::FENCED_INSTANCE_ID)));
        }
        // The new self has nothing that it could give up, and so would not begin the round that the old one owed; what
        // that one had would be read by nobody. Kafka leaves it so.
        let owes_a_round = gives_up(&member.metadata(self.protocol.as_ref()), &member.assignment);
        let was_leader = self.leader.as_ref() == Some(old_id);
        if was_leader {
            self.leader = Some(id.clone());
        }
        if self.to_sync.remove(old_id) {
            self.to_sync.insert(id.clone());
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), id.clone());
        }
        member.id = id.clone();
        self.members.insert(id.clone(), member);
        self.update(&id, ticket, request, out);
        self.heard_of(&id, now.ms);
        if self.state != State::Stable || self.protocol != self.choose_protocol() || owes_a_round {
            self.log_is_behind = true;
            self.rebalance_or_complete("a static member came back", now, out);
            return self.catch_up_log(out);
        }
        // Nothing changes for the others.
        out.records.push(self.record());
        if let Some(member) = self.members.get_mut(&id) {
            member.joining = None;
        }
        let mut answer = self.joined(&id, was_leader, was_leader);
        if sender.version < SKIP_ASSIGNMENT_VERSION_MIN {
            // It cannot be told to keep the assignment, so it must not learn that it leads.
            answer.skip_assignment = false;
            answer.members.clear();
            if was_leader {
                answer.leader = old_id.clone();
            }
        }
        out.answer(ticket, Answer::Join(answer));
    }

    fn add(
        &mut self,
        id: Str,
        ticket: Ticket,
        request: &JoinGroupRequest,
        sender: Sender<'_>,
        now: Now<'_>,
        out: &mut Effects,
    ) {
        self.pending.remove(&id);
        if self.state == State::PreparingRebalance && self.is_first_round {
            self.new_member_came = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.detached());
        }
        let instance_id = request.group_instance_id.as_ref().map(Str::detached);
        if let Some(instance_id) = &instance_id {
            self.static_members.insert(instance_id.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        let deadline_ms = now.ms + NEW_MEMBER_JOIN_TIMEOUT_MS;
        let member = Member {
            id: id.clone(),
            instance_id,
            client_id: sender.client_id.into(),
            client_host: sender.client_host.into(),
            rebalance_timeout_ms: 0,
            session_timeout_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            is_new: true,
            deadline_ms,
            joining: None,
            syncing: None,
        };
        self.wake_ms = self.wake_ms.min(deadline_ms);
        self.members.insert(id.clone(), member);
        self.update(&id, ticket, request, out);
        self.rebalance_or_complete("a member joined", now, out);
    }

    /// Takes over what a member says of itself, and lets it wait for the round's end.
    fn update(&mut self, id: &Str, ticket: Ticket, request: &JoinGroupRequest, out: &mut Effects) {
        let Some(member) = self.members.get_mut(id) else { return };
        let detached = |p: &ottla_protocol::messages::join_group::JoinGroupRequestProtocol| {
            (p.name.detached(), Bytes::copy_from_slice(&p.metadata))
        };
        member.protocols = request.protocols.iter().map(detached).collect();
        member.session_timeout_ms = request.session_timeout_ms;
        member.rebalance_timeout_ms = match request.rebalance_timeout_ms {
            timeout if timeout < 0 => request.session_timeout_ms,
            timeout => timeout,
        };
        // Whoever asks twice is answered once, to what it asked last.
        if let Some(before) = member.joining.replace(ticket) {
            out.answer(before, Answer::Join(join_error(id, ErrorCode::UNKNOWN_MEMBER_ID)));
        }
    }

    // ---- rounds ----

    fn rebalance_or_complete(&mut self, why: &str, now: Now<'_>, out: &mut Effects) {
        match self.state {
            State::PreparingRebalance if !self.is_first_round && self.all_joined() => self.complete(now, out),
            // The last member of a first round has gone again.
            State::PreparingRebalance if self.members.is_empty() && self.pending.is_empty() => {
                self.complete(now, out);
            }
            State::PreparingRebalance => {}
            State::Empty if self.members.is_empty() => {}
            State::Empty | State::CompletingRebalance | State::Stable => self.prepare(why, now, out),
        }
    }

    /// Begins a round: members are to join anew.
    fn prepare(&mut self, why: &str, now: Now<'_>, out: &mut Effects) {
        if self.state == State::CompletingRebalance {
            self.members.values_mut().for_each(|member| member.assignment = Bytes::new());
            self.answer_syncs(ErrorCode::REBALANCE_IN_PROGRESS, now.ms, out);
        }
        self.to_sync.clear();
        self.sync_deadline_ms = NEVER;
        self.is_first_round = self.state == State::Empty;
        self.new_member_came = false;
        self.enter(State::PreparingRebalance, now.ms);
        tracing::info!(group = %self.id, generation = self.generation, why, "a group rebalances");
        if self.is_first_round && now.limits.initial_rebalance_delay_ms > 0 {
            let delay_ms = now.limits.initial_rebalance_delay_ms;
            self.first_round_left_ms = (self.rebalance_timeout_ms() - delay_ms).max(0);
            self.wait_for_joins(now.ms + delay_ms);
        } else {
            self.is_first_round = false;
            if self.all_joined() {
                self.complete(now, out);
            } else {
                self.wait_for_joins(now.ms + self.rebalance_timeout_ms());
            }
        }
    }

    fn wait_for_joins(&mut self, until_ms: i64) {
        self.join_deadline_ms = until_ms;
        self.wake_ms = self.wake_ms.min(until_ms);
    }

    fn join_deadline_passed(&mut self, now: Now<'_>, out: &mut Effects) {
        if self.is_first_round && self.new_member_came && self.first_round_left_ms > 0 {
            // Where one comes more may come: the first round waits again, as long as there is time.
            self.new_member_came = false;
            let delay_ms = now.limits.initial_rebalance_delay_ms.min(self.first_round_left_ms);
            self.first_round_left_ms = (self.first_round_left_ms - delay_ms).max(0);
            return self.wait_for_joins(now.ms + delay_ms);
        }
        self.complete(now, out);
    }

    /// Ends the round of joining: who has not joined is out, the others learn who leads.
    fn complete(&mut self, now: Now<'_>, out: &mut Effects) {
        self.join_deadline_ms = NEVER;
        // A static member keeps its place until its session ends.
        let missing: Vec<Str> = self
            .members
            .values()
            .filter(|m| m.joining.is_none() && m.instance_id.is_none())
            .map(|m| m.id.clone())
            .collect();
        missing.iter().for_each(|id| self.remove(id, out));
        if !self.elect_leader() && !self.members.is_empty() {
            // Nobody is here but static members that have not come back.
            return self.wait_for_joins(now.ms + self.rebalance_timeout_ms());
        }
        self.is_first_round = false;
        self.generation = self.generation.checked_add(1).unwrap_or(0);
        self.to_sync.clear();
        if self.members.is_empty() {
            self.protocol = None;
            self.enter(State::Empty, now.ms);
            out.records.push(self.record());
            return;
        }
        self.protocol = self.choose_protocol();
        self.enter(State::CompletingRebalance, now.ms);
        let joined: Vec<Str> = self.members.keys().cloned().collect();
        for id in joined {
            let is_leader = self.leader.as_ref() == Some(&id);
            let answer = self.joined(&id, is_leader, false);
            let Some(member) = self.members.get_mut(&id) else { continue };
            if let Some(ticket) = member.joining.take() {
                out.answer(ticket, Answer::Join(answer));
            }
            member.is_new = false;
            self.heard_of(&id, now.ms);
            self.to_sync.insert(id);
        }
        self.sync_deadline_ms = now.ms + self.rebalance_timeout_ms();
        self.wake_ms = self.wake_ms.min(self.sync_deadline_ms);
    }

    /// A leader that has joined: the one there is, or else any that has. `false` if nobody has.
    fn elect_leader(&mut self) -> bool {
        let has_joined = |id: &Str| self.members.get(id).is_some_and(|m| m.joining.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        match self.members.values().find(|m| m.joining.is_some()) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    /// The protocol that most members prefer, of those that all support.
    fn choose_protocol(&self) -> Option<Str> {
        let first = self.members.values().next()?;
        let by_all = |name: &&Str| self.members.values().all(|m| m.supports(name));
        let candidates: Vec<&Str> = first.protocols.iter().map(|(name, _)| name).filter(by_all).collect();
        let mut votes: BTreeMap<&Str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member.protocols.iter().map(|(name, _)| name).find(|name| candidates.contains(name));
            if let Some(vote) = vote {
                *votes.entry(vote).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.clone())
    }

    fn joined(&self, id: &Str, is_leader: bool, skip_assignment: bool) -> JoinGroupResponse {
        let members = self.members.values().map(|member| JoinGroupResponseMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(self.protocol.as_ref()),
        });
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment,
            member_id: id.clone(),
            members: if is_leader { members.collect() } else { Vec::new() },
            ..Default::default()
        }
    }

    fn answer_syncs(&mut self, error_code: ErrorCode, now_ms: i64, out: &mut Effects) {
        for member in self.members.values_mut() {
            let Some(ticket) = member.syncing.take() else { continue };
            let answer = if error_code.is_error() {
                sync_error(error_code)
            } else {
                SyncGroupResponse {
                    protocol_type: self.protocol_type.clone(),
                    protocol_name: self.protocol.clone(),
                    assignment: member.assignment.clone(),
                    ..Default::default()
                }
            };
            out.answer(ticket, Answer::Sync(answer));
            member.deadline_ms = now_ms + i64::from(member.session_timeout_ms);
            self.wake_ms = self.wake_ms.min(member.deadline_ms);
        }
    }

    // ---- leaving ----

    fn leave_one(&mut self, id: &Str, instance_id: Option<&Str>, out: &mut Effects) -> Result<(), ErrorCode> {
        if id.is_empty() {
            let named = instance_id.and_then(|i| self.static_members.get(i).cloned());
            let id = named.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
            self.remove(&id, out);
            return Ok(());
        }
        if self.pending.remove(id).is_some() {
            return Ok(());
        }
        self.check_member(id, instance_id)?;
        self.remove(id, out);
        Ok(())
    }

    fn expire_members(&mut self, now: Now<'_>, out: &mut Effects) {
        let pending = self.pending.len();
        self.pending.retain(|_, deadline_ms| *deadline_ms > now.ms);
        let mut dead = Vec::new();
        for member in self.members.values_mut().filter(|m| m.deadline_ms <= now.ms) {
            // Who waits for an answer of ours is alive, unless it never got one.
            if !member.is_new && (member.joining.is_some() || member.syncing.is_some()) {
                member.deadline_ms = NEVER;
            } else {
                dead.push(member.id.clone());
            }
        }
        for id in &dead {
            tracing::info!(group = %self.id, member = %id, "a member was not heard of in time");
            self.remove(id, out);
        }
        if !dead.is_empty() || self.pending.len() < pending {
            let changed = !dead.is_empty() || self.state == State::PreparingRebalance;
            if changed {
                self.rebalance_or_complete("members were not heard of", now, out);
            }
        }
    }

    /// Takes a member out; who waits on its behalf is told to begin anew.
    fn remove(&mut self, id: &Str, out: &mut Effects) {
        let Some(member) = self.members.remove(id) else { return };
        self.log_is_behind |= !member.is_new;
        if let Some(ticket) = member.joining {
            out.answer(ticket, Answer::Join(join_error(&Str::EMPTY, ErrorCode::UNKNOWN_MEMBER_ID)));
        }
        if let Some(ticket) = member.syncing {
            out.answer(ticket, Answer::Sync(sync_error(ErrorCode::UNKNOWN_MEMBER_ID)));
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members.remove(instance_id);
        }
        if self.leader.as_ref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.to_sync.remove(id);
    }

    // ---- small questions ----

    fn check_member(&self, id: &Str, instance_id: Option<&Str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(known) if known != id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) }
    }

    /// Whether one more may join. Who waits in this round already may; behind it, who is a member may.
    fn has_room_for(&self, id: &Str, limits: &Limits) -> bool {
        match self.state {
            State::Empty => true,
            State::PreparingRebalance => {
                let waiting = self.members.values().filter(|m| m.joining.is_some()).count();
                self.members.get(id).is_some_and(|m| m.joining.is_some()) || waiting < limits.group_size_max
            }
            State::CompletingRebalance | State::Stable => {
                self.members.contains_key(id) || self.members.len() < limits.group_size_max
            }
        }
    }

    /// Whether all members support one of `protocols`, and the group is of this type.
    fn supports(&self, protocol_type: &Str, protocols: &[&Str]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let by_all = |name: &Str| self.members.values().all(|m| m.supports(name));
        self.protocol_type.as_ref() == Some(protocol_type) && protocols.iter().any(|name| by_all(name))
    }

    fn all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|m| m.joining.is_some())
    }

    /// As long as the slowest member asks for.
    fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|m| i64::from(m.rebalance_timeout_ms)).max().unwrap_or(0)
    }

    fn heard_of(&mut self, id: &Str, now_ms: i64) {
        if let Some(member) = self.members.get_mut(id) {
            member.deadline_ms = now_ms + i64::from(member.session_timeout_ms);
            self.wake_ms = self.wake_ms.min(member.deadline_ms);
        }
    }

    fn enter(&mut self, state: State, now_ms: i64) {
        self.state = state;
        self.state_since_ms = now_ms;
    }

    fn earliest_deadline(&self) -> i64 {
        let members = self.members.values().map(|m| m.deadline_ms);
        let all = members.chain(self.pending.values().copied());
        all.chain([self.join_deadline_ms, self.sync_deadline_ms]).min().unwrap_or(NEVER)
    }
}

pub(super) fn join_error(id: &Str, error_code: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse { error_code, generation_id: -1, member_id: id.clone(), ..Default::default() }
}

pub(super) fn sync_error(error_code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code, ..Default::default() }
}
