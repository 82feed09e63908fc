//! A consumer group (KIP-848): members say by heartbeats what they read and what they have, the coordinator assigns.
//!
//! Three epochs tell how far everybody is. The *group's* goes up with each change of members, subscriptions or topics.
//! The *target's* is the group epoch that the assignment was computed for. A *member's* is the target epoch that it
//! has reached; [`super::reconcile`] is its way there. All of that is in the log, and a change of it is a record that
//! is replayed at once: what a restart finds is what there was. Only the deadlines live here alone.
//!
//! The rules are those of Kafka's `GroupMetadataManager` and `ConsumerGroup`.

mod classic_members;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, LeaveGroupRequest, LeaveGroupResponse,
        OffsetCommitRequest,
        consumer_group_describe::{self, DescribedGroup},
        consumer_group_heartbeat::{Assignment, TopicPartitions},
        group::{
            consumer_group_current_member_assignment_value::{
                ConsumerGroupCurrentMemberAssignmentValue, TopicPartitions as HeldRecord,
            },
            consumer_group_member_metadata_value::ConsumerGroupMemberMetadataValue,
            consumer_group_metadata_value::ConsumerGroupMetadataValue,
            consumer_group_regular_expression_value::ConsumerGroupRegularExpressionValue,
            consumer_group_target_assignment_member_value::{
                ConsumerGroupTargetAssignmentMemberValue, TopicPartition as TargetRecord,
            },
            consumer_group_target_assignment_metadata_value::ConsumerGroupTargetAssignmentMetadataValue,
        },
        leave_group::{MemberIdentity, MemberResponse},
    },
    types::{GroupId, Str, TopicName, Uuid},
};

use super::{
    Caller, ConsumerLimits, Effects, Now, Sees, Timing,
    assignor::{Assignor, Partitions, Spec, Subscriber},
    pattern::Pattern,
    reconcile::{self, Current, Goal, Held, Step},
    topics::{self, Topics},
};
use crate::coordinator::record::{ConsumerPart, Record};

/// A member joins.
const JOIN_EPOCH: i32 = 0;
/// The epoch of a group that nobody has joined yet: not that of who joins.
const FIRST_EPOCH: i32 = 1;
/// A member leaves.
const LEAVE_EPOCH: i32 = -1;
/// A static member leaves, and will be back.
const LEAVE_FOR_A_WHILE_EPOCH: i32 = -2;
/// First ConsumerGroupHeartbeat version whose members make their own ids (KIP-1082).
const OWN_ID_VERSION_MIN: i16 = 1;
/// First OffsetCommit version that knows member epochs.
const COMMIT_VERSION_MIN: i16 = 9;
/// Most bytes of topic names that a member may subscribe to: what it says goes into one record.
const SUBSCRIPTION_BYTES_MAX: usize = 512 * 1024;
/// Least time between two looks for topics that patterns match, `REGEX_BATCH_REFRESH_MIN_INTERVAL_MS` of Kafka's.
const PATTERN_REFRESH_MIN_MS: i64 = 10_000;
/// What ConsumerGroupDescribe calls a member that speaks this protocol.
const MEMBER_TYPE_CONSUMER: i8 = 1;
/// What ConsumerGroupDescribe calls a member that speaks the classic protocol.
const MEMBER_TYPE_CLASSIC: i8 = 0;
/// A deadline that does not come.
const NEVER: i64 = i64::MAX;

/// Why a request is not done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refused {
    pub(crate) error_code: ErrorCode,
    pub(crate) message: String,
}

impl Refused {
    pub(super) fn new(error_code: ErrorCode, message: impl Into<String>) -> Self {
        Self { error_code, message: message.into() }
    }

    /// The answer that says so.
    pub(super) fn response(self) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse {
            error_code: self.error_code,
            error_message: Some(self.message.into()),
            ..Default::default()
        }
    }
}

/// How far a group is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ConsumerState {
    /// Nobody is in it.
    Empty,
    /// The target is behind the group.
    Assigning,
    /// Members are behind the target.
    Reconciling,
    Stable,
}

impl ConsumerState {
    /// As ConsumerGroupDescribe and ListGroups tell it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// A member of the group.
#[derive(Clone, Debug)]
struct Member {
    /// What it has said of itself.
    told: ConsumerGroupMemberMetadataValue,
    current: Current,
    /// When it is taken for dead, unless it is heard of before.
    session_deadline_ms: i64,
    /// When it must have given up what it is to give up.
    revocation_deadline_ms: i64,
    /// When a classic member that was told to join again must have done so.
    join_deadline_ms: i64,
    /// When a classic member that has joined must have asked for its assignment.
    sync_deadline_ms: i64,
}

impl Member {
    fn new() -> Self {
        Self {
            told: nothing_told(),
            current: Current::default(),
            session_deadline_ms: NEVER,
            revocation_deadline_ms: NEVER,
            join_deadline_ms: NEVER,
            sync_deadline_ms: NEVER,
        }
    }

    /// When it is late.
    fn deadline_ms(&self) -> i64 {
        let rounds = self.join_deadline_ms.min(self.sync_deadline_ms);
        self.session_deadline_ms.min(self.revocation_deadline_ms).min(rounds)
    }

    /// The regular expression that it subscribes by.
    fn pattern(&self) -> Option<&Str> {
        self.told.subscribed_topic_regex.as_ref().filter(|pattern| !pattern.is_empty())
    }
}

/// What a regular expression stands for.
#[derive(Clone, Debug)]
struct Resolved {
    topics: BTreeSet<Str>,
}

/// A consumer group.
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    id: GroupId,
    epoch: i32,
    /// Of the topics that members read, at this epoch.
    metadata_hash: i64,
    target_epoch: i32,
    /// When the target was computed; 0 if that is not known.
    target_ms: i64,
    targets: BTreeMap<Str, Partitions>,
    members: BTreeMap<Str, Member>,
    /// The member's id of each static member's name.
    instances: BTreeMap<Str, Str>,
    /// Who has a partition, or is still to give it up.
    owners: HashMap<(Uuid, i32), Str>,
    patterns: BTreeMap<Str, Resolved>,
    /// The version of the topics that the group has last looked at.
    seen_version: Option<i64>,
    /// The version of the topics that patterns were last matched with, and when.
    patterns_seen: Option<(i64, i64)>,
    /// Nothing is due before; it may be too early.
    wake_ms: i64,
}

impl ConsumerGroup {
    pub(crate) fn new(id: GroupId) -> Self {
        Self {
            id,
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            target_epoch: FIRST_EPOCH,
            target_ms: 0,
            targets: BTreeMap::new(),
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            owners: HashMap::new(),
            patterns: BTreeMap::new(),
            seen_version: None,
            patterns_seen: None,
            wake_ms: NEVER,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn state(&self) -> ConsumerState {
        let is_there = |member: &Member| {
            member.current.step == Step::Stable && member.current.epoch == self.target_epoch
        };
        if self.members.is_empty() {
            ConsumerState::Empty
        } else if self.epoch > self.target_epoch {
            ConsumerState::Assigning
        } else if self.members.values().all(is_there) {
            ConsumerState::Stable
        } else {
            ConsumerState::Reconciling
        }
    }

    /// The topics that members read, by names and patterns.
    pub(crate) fn subscribed_topics(&self) -> BTreeSet<Str> {
        let names = self.members.values().flat_map(|member| member.told.subscribed_topic_names.iter());
        names.chain(self.patterns.values().flat_map(|resolved| &resolved.topics)).cloned().collect()
    }

    /// The ids of the members.
    #[cfg(feature = "simulation")]
    pub(super) fn member_ids(&self) -> impl Iterator<Item = &Str> {
        self.members.keys()
    }

    /// When [`Self::tick`] wants to be called next; it may find nothing to do.
    pub(crate) fn wake_ms(&self) -> i64 {
        self.wake_ms
    }

    /// Gives all members of a group that comes from the log their time to be heard of.
    pub(crate) fn loaded(&mut self, now: Now<'_>) {
        let timing = now.timings.of(&self.id);
        for member in self.members.values_mut() {
            member.session_deadline_ms = now.ms + member.session_timeout_ms(&timing);
            if member.current.step == Step::Unrevoked && !member.is_classic() {
                member.revocation_deadline_ms = now.ms + i64::from(member.told.rebalance_timeout_ms.max(0));
            }
        }
        self.wake_ms = self.earliest_deadline();
    }

    // ---- requests ----

    /// ConsumerGroupHeartbeat of a member that joins or stays.
    ///
    /// Whoever is refused has changed nothing.
    pub(crate) fn heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        caller: &Caller,
        now: Now<'_>,
        new_id: impl FnOnce() -> String,
        out: &mut Effects,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refused> {
        let id = match request.member_id.is_empty() {
            true => new_id().into(),
            false => request.member_id.detached(),
        };
        let limits = &now.limits.consumer;
        if self.members.len() >= limits.group_size_max && !self.members.contains_key(&id) {
            return Err(Refused::new(
                ErrorCode::GROUP_MAX_SIZE_REACHED,
                format!("the group has `{}` members, which is all it may have", self.members.len()),
            ));
        }
        let replaced = self.check_member(&id, request)?;
        self.check_pattern(request)?;

        if let Some(old) = &replaced {
            self.replace(old, &id, out);
        }
        let is_new = !self.members.contains_key(&id);
        let before = self.members.get(&id).map(|member| member.current.assigned.clone()).unwrap_or_default();
        let subscription_changed = self.take_what_is_told(&id, caller, |told| tell(told, request), out);
        self.resolve_patterns(&caller.sees, now, out);
        self.bump_epoch_if(is_new || subscription_changed, now, out);
        self.compute_target(now, out);
        self.reconcile(&id, request.topic_partitions.as_deref(), subscription_changed, now, out);

        let Some(member) = self.members.get_mut(&id) else {
            return Err(Refused::new(ErrorCode::UNKNOWN_MEMBER_ID, "the member is gone"));
        };
        let timing = now.timings.of(&self.id);
        // It may have been a classic one.
        (member.join_deadline_ms, member.sync_deadline_ms) = (NEVER, NEVER);
        member.session_deadline_ms = now.ms + timing.session_timeout_ms;
        self.wake_ms = self.wake_ms.min(member.session_deadline_ms);
        // A request that says everything asks for everything: an answer before may have got lost.
        let says_all = request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
            && request.topic_partitions.is_some();
        let tells = request.member_epoch == JOIN_EPOCH || says_all || before != member.current.assigned;
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(id),
            member_epoch: member.current.epoch,
            heartbeat_interval_ms: timing.heartbeat_interval_ms,
            assignment: tells.then(|| told_assignment(&member.current.assigned)),
            ..Default::default()
        })
    }

    /// ConsumerGroupHeartbeat of a member that leaves.
    pub(crate) fn leave(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        now: Now<'_>,
        out: &mut Effects,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refused> {
        let id = self.find(&request.member_id, request.instance_id.as_ref())?;
        if request.instance_id.is_some() && request.member_epoch == LEAVE_FOR_A_WHILE_EPOCH {
            self.leave_for_a_while(&id, out);
        } else {
            tracing::info!(group = %self.id, member = %id, "a member leaves its consumer group");
            self.remove(&[id], now, out);
        }
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(request.member_id.clone()),
            member_epoch: request.member_epoch,
            ..Default::default()
        })
    }

    /// LeaveGroup of classic members, or by which an administrator removes members of either kind.
    pub(crate) fn remove_by_name(
        &mut self,
        request: &LeaveGroupRequest,
        now: Now<'_>,
        out: &mut Effects,
    ) -> LeaveGroupResponse {
        let mut leaving = Vec::new();
        let members = request.members.iter().map(|named: &MemberIdentity| {
            let found = match (&named.group_instance_id, named.member_id.is_empty()) {
                (Some(instance), true) => {
                    self.instances.get(instance).cloned().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)
                }
                (instance, _) => {
                    self.find(&named.member_id, instance.as_ref()).map_err(|refused| refused.error_code)
                }
            };
            MemberResponse {
                member_id: named.member_id.clone(),
                group_instance_id: named.group_instance_id.clone(),
                error_code: found.map(|id| leaving.push(id)).err().unwrap_or_default(),
            }
        });
        let members = members.collect();
        self.remove(&leaving, now, out);
        LeaveGroupResponse { members, ..Default::default() }
    }

    /// Whether these offsets may be committed by this member at this epoch (KIP-1251).
    ///
    /// An older epoch will do for partitions that the member has had since: what it has read of them is its own.
    pub(crate) fn check_commit(&self, request: &OffsetCommitRequest, version: i16) -> Result<(), ErrorCode> {
        let epoch = request.generation_id_or_member_epoch;
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(&request.member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if version < COMMIT_VERSION_MIN && !member.is_classic() {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        let current = &member.current;
        if epoch == current.epoch {
            return Ok(());
        }
        let since = |topic: &Uuid, partition: &i32| {
            [&current.assigned, &current.revoking]
                .into_iter()
                .find_map(|held| held.get(topic)?.get(partition))
        };
        let mut partitions = request
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(move |p| (topic.topic_id, p.partition_index)));
        let is_its_own = |(topic, partition)| since(&topic, &partition).is_some_and(|since| epoch >= *since);
        if epoch < current.epoch && partitions.all(is_its_own) {
            return Ok(());
        }
        Err(stale(member))
    }

    /// Whether offsets may be told to this member; to who is none, always.
    pub(crate) fn check_fetch(&self, member_id: Option<&Str>, epoch: i32) -> Result<(), ErrorCode> {
        if member_id.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = member_id.and_then(|id| self.members.get(id)).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if member.current.epoch == epoch { Ok(()) } else { Err(stale(member)) }
    }

    /// ConsumerGroupDescribe.
    pub(crate) fn describe(&self, now: Now<'_>) -> DescribedGroup {
        let nothing = Partitions::new();
        let members = self.members.iter().map(|(id, member)| {
            let Member { told, current, .. } = member;
            let target = self.targets.get(id).unwrap_or(&nothing);
            let mut has = Partitions::new();
            for (topic, partitions) in current.assigned.iter().chain(&current.revoking) {
                has.entry(*topic).or_default().extend(partitions.keys());
            }
            consumer_group_describe::Member {
                member_id: id.clone(),
                instance_id: told.instance_id.clone(),
                rack_id: told.rack_id.clone(),
                member_epoch: current.epoch,
                client_id: told.client_id.clone(),
                client_host: told.client_host.clone(),
                subscribed_topic_names: told.subscribed_topic_names.iter().cloned().map(TopicName).collect(),
                // None is told as an empty one, as by Kafka.
                subscribed_topic_regex: Some(told.subscribed_topic_regex.clone().unwrap_or_default()),
                assignment: described(&has, now.topics),
                target_assignment: described(target, now.topics),
                member_type: if member.is_classic() { MEMBER_TYPE_CLASSIC } else { MEMBER_TYPE_CONSUMER },
            }
        });
        DescribedGroup {
            group_id: self.id.clone(),
            group_state: self.state().name().into(),
            group_epoch: self.epoch,
            assignment_epoch: self.target_epoch,
            assignor_name: self.assignor(&now.limits.consumer).name().into(),
            members: members.collect(),
            ..Default::default()
        }
    }

    /// Removes who was not heard of in time, or did not give up in time what it was to give up.
    pub(crate) fn tick(&mut self, now: Now<'_>, out: &mut Effects) {
        let late = self.members.iter().filter(|(_, member)| member.deadline_ms() <= now.ms);
        let late: Vec<Str> = late.map(|(id, _)| id.clone()).collect();
        for id in &late {
            tracing::info!(group = %self.id, member = %id, "a member of a consumer group is late, and out");
        }
        self.remove(&late, now, out);
        self.wake_ms = self.earliest_deadline();
    }

    /// Takes everything of the group out of the log.
    pub(crate) fn bury(&self, records: &mut Vec<Record>) {
        let mut push = |part| records.push(Record::Consumer { group: self.id.clone(), part });
        for id in self.members.keys() {
            push(ConsumerPart::Current(id.clone(), None));
            push(ConsumerPart::Target(id.clone(), None));
            push(ConsumerPart::Member(id.clone(), None));
        }
        push(ConsumerPart::TargetEpoch(None));
        self.patterns.keys().for_each(|pattern| push(ConsumerPart::Pattern(pattern.clone(), None)));
        push(ConsumerPart::Epoch(None));
    }

    // ---- what the log says ----

    /// Takes a part of a record of this group; [`ConsumerPart::Epoch`] without value is the groups' own affair.
    pub(crate) fn replay(&mut self, part: &ConsumerPart) {
        match part {
            ConsumerPart::Epoch(value) => {
                let value = value.clone().unwrap_or_default();
                (self.epoch, self.metadata_hash) = (value.epoch, value.metadata_hash);
            }
            ConsumerPart::TargetEpoch(value) => {
                let value = value.clone().unwrap_or_default();
                (self.target_epoch, self.target_ms) = (value.assignment_epoch, value.assignment_timestamp);
            }
            ConsumerPart::Member(id, Some(told)) => self.replay_told(id, told),
            ConsumerPart::Member(id, None) => {
                self.disown(id);
                let member = self.members.remove(id);
                let instance = member.and_then(|member| member.told.instance_id);
                self.forget_instance(instance.as_ref(), id);
            }
            ConsumerPart::Target(id, Some(value)) => {
                let target = value.topic_partitions.iter();
                let target = target.map(|topic| (topic.topic_id, topic.partitions.iter().copied().collect()));
                self.targets.insert(id.detached(), target.collect());
            }
            ConsumerPart::Target(id, None) => {
                self.targets.remove(id);
            }
            ConsumerPart::Current(id, value) => {
                self.disown(id);
                let current = value.as_ref().map(current_from).unwrap_or_default();
                if value.is_none() && !self.members.contains_key(id) {
                    return;
                }
                let id = id.detached();
                for (topic, partitions) in current.assigned.iter().chain(&current.revoking) {
                    for partition in partitions.keys() {
                        self.owners.insert((*topic, *partition), id.clone());
                    }
                }
                self.members.entry(id).or_insert_with(Member::new).current = current;
            }
            ConsumerPart::Pattern(pattern, Some(value)) => {
                let topics = value.topics.iter().map(Str::detached).collect();
                self.patterns.insert(pattern.detached(), Resolved { topics });
            }
            ConsumerPart::Pattern(pattern, None) => {
                self.patterns.remove(pattern);
            }
        }
    }

    fn replay_told(&mut self, id: &Str, told: &ConsumerGroupMemberMetadataValue) {
        let id = id.detached();
        let told = detached(told);
        let instance = told.instance_id.clone();
        let member = self.members.entry(id.clone()).or_insert_with(Member::new);
        let before = std::mem::replace(&mut member.told, told).instance_id;
        if before != instance {
            self.forget_instance(before.as_ref(), &id);
        }
        if let Some(instance) = instance {
            self.instances.insert(instance, id);
        }
    }

    fn forget_instance(&mut self, instance: Option<&Str>, id: &Str) {
        if let Some(instance) = instance.filter(|instance| self.instances.get(*instance) == Some(id)) {
            self.instances.remove(instance);
        }
    }

    /// Takes what a member has from it, as far as nobody else has it by now.
    fn disown(&mut self, id: &Str) {
        let Some(Member { current, .. }) = self.members.get(id) else { return };
        for (topic, partitions) in current.assigned.iter().chain(&current.revoking) {
            for partition in partitions.keys() {
                if self.owners.get(&(*topic, *partition)) == Some(id) {
                    self.owners.remove(&(*topic, *partition));
                }
            }
        }
    }

    fn write(&mut self, part: ConsumerPart, out: &mut Effects) {
        self.replay(&part);
        out.records.push(Record::Consumer { group: self.id.clone(), part });
    }

    // ---- who it is ----

    /// Whether a heartbeat is of a member, or may make one. Gives the static member whose place is taken, if any.
    fn check_member(
        &self,
        id: &Str,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<Option<Str>, Refused> {
        let joins = request.member_epoch == JOIN_EPOCH;
        let known = request.instance_id.as_ref().and_then(|instance| self.instances.get(instance));
        match known {
            // Whoever asks to join under its own id again is the same process, so its name is its own.
            Some(known) if joins && known != id => {
                let old = self.members.get(known);
                // A classic member does not say that it leaves for a while.
                let is_left = |old: &Member| old.is_classic() || old.current.epoch == LEAVE_FOR_A_WHILE_EPOCH;
                if !old.is_some_and(is_left) {
                    return Err(Refused::new(
                        ErrorCode::UNRELEASED_INSTANCE_ID,
                        format!("the instance id is member `{known}`'s, which has not left"),
                    ));
                }
                return Ok(Some(known.clone()));
            }
            _ if joins => return Ok(None),
            _ => {}
        }
        self.find(id, request.instance_id.as_ref())?;
        let Some(Member { current, .. }) = self.members.get(id) else {
            return Err(Refused::new(ErrorCode::UNKNOWN_MEMBER_ID, format!("there is no member `{id}`")));
        };
        // The answer that told the newest epoch may have got lost. Whoever has nothing but its own may go on.
        let missed_one = request.member_epoch == current.previous_epoch
            && request.topic_partitions.as_ref().is_some_and(|owned| is_within(owned, &current.assigned));
        // A state that a newer coordinator has written is left only by beginning anew.
        let is_known = current.step != Step::Unknown
            || request.topic_partitions.as_ref().is_some_and(|owned| owned.is_empty());
        let is_current =
            request.member_epoch == current.epoch || (request.member_epoch < current.epoch && missed_one);
        if is_known && is_current {
            return Ok(None);
        }
        Err(Refused::new(
            ErrorCode::FENCED_MEMBER_EPOCH,
            format!(
                "the member is at epoch `{}`, not `{}`; give up all partitions and join again",
                current.epoch, request.member_epoch
            ),
        ))
    }

    /// The member of this id and, if it is given, of this name.
    fn find(&self, id: &Str, instance: Option<&Str>) -> Result<Str, Refused> {
        let unknown = |what: &str| Refused::new(ErrorCode::UNKNOWN_MEMBER_ID, what.to_owned());
        if let Some(instance) = instance {
            let known = self.instances.get(instance);
            let known = known.ok_or_else(|| unknown(&format!("there is no instance id `{instance}`")))?;
            if known != id {
                return Err(Refused::new(
                    ErrorCode::FENCED_INSTANCE_ID,
                    format!("the instance id `{instance}` is member `{known}`'s now"),
                ));
            }
        }
        match self.members.contains_key(id) {
            true => Ok(id.clone()),
            false => Err(unknown(&format!("there is no member `{id}`"))),
        }
    }

    /// A pattern that nobody has used must be one.
    fn check_pattern(&self, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refused> {
        let pattern = request.subscribed_topic_regex.as_ref();
        let Some(pattern) = pattern.filter(|p| !p.is_empty() && !self.patterns.contains_key(*p)) else {
            return Ok(());
        };
        let refused = |why| {
            Refused::new(
                ErrorCode::INVALID_REGULAR_EXPRESSION,
                format!("`{pattern}` is not a valid regular expression: {why}"),
            )
        };
        Pattern::compile(pattern).map(|_| ()).map_err(refused)
    }

    // ---- one heartbeat, step by step ----

    /// Puts a static member that came back in the place of its old self.
    fn replace(&mut self, old: &Str, id: &Str, out: &mut Effects) {
        let Some(Member { told, current, .. }) = self.members.get(old).cloned() else { return };
        let target = self.targets.get(old).cloned().unwrap_or_default();
        tracing::info!(group = %self.id, old = %old, new = %id, "a static member is back");
        self.write_removal(old, out);
        self.write(ConsumerPart::Member(id.clone(), Some(told)), out);
        self.write(ConsumerPart::Target(id.clone(), Some(target_record(&target))), out);
        let current = Current { epoch: JOIN_EPOCH, previous_epoch: JOIN_EPOCH, ..current };
        self.write(ConsumerPart::Current(id.clone(), Some(current_record(&current))), out);
    }

    /// Takes over what a member says of itself, by `tell`, and says whether it reads other topics than before.
    fn take_what_is_told(
        &mut self,
        id: &Str,
        caller: &Caller,
        tell: impl FnOnce(&mut ConsumerGroupMemberMetadataValue),
        out: &mut Effects,
    ) -> bool {
        let known = self.members.get(id).map(|member| member.told.clone());
        let is_new = known.is_none();
        let before = known.unwrap_or_else(nothing_told);
        let mut told = before.clone();
        told.client_id = caller.client_id.clone();
        told.client_host = caller.client_host.clone().into();
        tell(&mut told);
        if !is_new && told == before {
            return false;
        }
        let changed = told.subscribed_topic_names != before.subscribed_topic_names
            || told.subscribed_topic_regex != before.subscribed_topic_regex;
        self.write(ConsumerPart::Member(id.clone(), Some(told)), out);
        self.forget_unused_patterns(out);
        changed
    }

    /// Finds the topics of patterns that are new, or whose topics may be others by now. They are those that the member
    /// sees who happens to ask, as in Kafka: members of a group have the same rights, or read what they may all the same.
    fn resolve_patterns(&mut self, sees: &Sees, now: Now<'_>, out: &mut Effects) {
        let used: BTreeSet<Str> = self.members.values().filter_map(Member::pattern).cloned().collect();
        if used.is_empty() {
            return;
        }
        let version = now.topics.version();
        let refresh_ms = now.limits.consumer.pattern_refresh_ms;
        let all = self.patterns_seen.is_none_or(|(seen, at_ms)| {
            let age_ms = now.ms.saturating_sub(at_ms);
            (seen != version && age_ms >= PATTERN_REFRESH_MIN_MS) || age_ms >= refresh_ms
        });
        for pattern in used {
            let known = self.patterns.get(&pattern);
            if known.is_some() && !all {
                continue;
            }
            // It was checked when it came; where the log has one that is none, it stands for nothing.
            let topics = Pattern::compile(&pattern).map(|p| p.resolve(now.topics, sees)).unwrap_or_default();
            if known.is_some_and(|known| known.topics.iter().eq(&topics)) {
                continue;
            }
            let value = ConsumerGroupRegularExpressionValue { topics, version, timestamp: now.ms };
            self.write(ConsumerPart::Pattern(pattern, Some(value)), out);
            // Who reads by it reads something else now.
            self.seen_version = None;
        }
        if all {
            self.patterns_seen = Some((version, now.ms));
        }
    }

    /// Counts the group's epoch up, if somebody changed or the topics did.
    fn bump_epoch_if(&mut self, changed: bool, now: Now<'_>, out: &mut Effects) {
        let version = now.topics.version();
        if !changed && self.seen_version == Some(version) {
            return;
        }
        let hash = topics::hash(&self.subscribed_topics(), now.topics);
        if changed || hash != self.metadata_hash {
            self.bump_epoch(hash, out);
        }
        self.seen_version = Some(version);
    }

    fn bump_epoch(&mut self, metadata_hash: i64, out: &mut Effects) {
        let epoch = self.epoch.saturating_add(1);
        let value = ConsumerGroupMetadataValue { epoch, metadata_hash };
        self.write(ConsumerPart::Epoch(Some(value)), out);
    }

    /// Computes who is to have what, if that is behind the group, but not more often than is allowed.
    fn compute_target(&mut self, now: Now<'_>, out: &mut Effects) {
        if self.target_epoch >= self.epoch {
            return;
        }
        let interval_ms = now.timings.of(&self.id).assignment_interval_ms;
        let may =
            self.target_ms == 0 || interval_ms == 0 || now.ms >= self.target_ms.saturating_add(interval_ms);
        if !may {
            return;
        }
        let assignor = self.assignor(&now.limits.consumer);
        let assigned = assignor.assign(&self.spec(now.topics));
        tracing::info!(group = %self.id, epoch = self.epoch, assignor = assignor.name(), "a consumer group is assigned");
        for (id, partitions) in assigned {
            if self.targets.get(&id) != Some(&partitions) {
                self.write(ConsumerPart::Target(id, Some(target_record(&partitions))), out);
            }
        }
        let value = ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: self.epoch,
            assignment_timestamp: now.ms,
        };
        self.write(ConsumerPart::TargetEpoch(Some(value)), out);
    }

    /// Takes a member a step towards its target.
    fn reconcile(
        &mut self,
        id: &Str,
        owned: Option<&[TopicPartitions]>,
        subscription_changed: bool,
        now: Now<'_>,
        out: &mut Effects,
    ) {
        let Some(member) = self.members.get(id) else { return };
        let nothing = Partitions::new();
        let goal = Goal {
            epoch: self.target_epoch,
            target: self.targets.get(id).unwrap_or(&nothing),
            subscribed: &self.subscribed_ids(member, now.topics),
            subscription_changed,
            owner: &|topic, partition| self.owners.get(&(topic, partition)),
            member: id,
            owned,
        };
        let Some(next) = reconcile::next(&member.current, &goal) else { return };
        let timeout_ms = i64::from(member.told.rebalance_timeout_ms.max(0));
        // A classic member has its time to join and to ask for its assignment.
        let is_to_revoke = next.step == Step::Unrevoked && !member.is_classic();
        self.write(ConsumerPart::Current(id.clone(), Some(current_record(&next))), out);
        if let Some(member) = self.members.get_mut(id) {
            member.revocation_deadline_ms = if is_to_revoke { now.ms + timeout_ms } else { NEVER };
            self.wake_ms = self.wake_ms.min(member.revocation_deadline_ms);
        }
    }

    // ---- leaving ----

    /// A static member goes and will be back: it keeps what it has.
    fn leave_for_a_while(&mut self, id: &Str, out: &mut Effects) {
        let Some(member) = self.members.get(id) else { return };
        tracing::info!(group = %self.id, member = %id, "a static member leaves for a while");
        let mut current =
            Current { epoch: LEAVE_FOR_A_WHILE_EPOCH, revoking: Held::new(), ..member.current.clone() };
        // Its next self begins at epoch 0, and may commit what it was given before.
        current.assigned.values_mut().flat_map(BTreeMap::values_mut).for_each(|since| *since = 0);
        self.write(ConsumerPart::Current(id.clone(), Some(current_record(&current))), out);
        if let Some(member) = self.members.get_mut(id) {
            member.revocation_deadline_ms = NEVER;
        }
    }

    /// Takes members out; the others share what was theirs.
    fn remove(&mut self, ids: &[Str], now: Now<'_>, out: &mut Effects) {
        if ids.is_empty() {
            return;
        }
        ids.iter().for_each(|id| self.write_removal(id, out));
        self.forget_unused_patterns(out);
        if self.is_to_be_classic(now.limits.consumer.migration_policy, now.limits.group_size_max) {
            // It keeps its epoch, so that its members find themselves in the round that is to begin.
            return;
        }
        let hash = topics::hash(&self.subscribed_topics(), now.topics);
        self.bump_epoch(hash, out);
    }

    fn write_removal(&mut self, id: &Str, out: &mut Effects) {
        self.write(ConsumerPart::Current(id.clone(), None), out);
        self.write(ConsumerPart::Target(id.clone(), None), out);
        self.write(ConsumerPart::Member(id.clone(), None), out);
    }

    fn forget_unused_patterns(&mut self, out: &mut Effects) {
        let used: BTreeSet<&Str> = self.members.values().filter_map(Member::pattern).collect();
        let unused: Vec<Str> =
            self.patterns.keys().filter(|pattern| !used.contains(pattern)).cloned().collect();
        for pattern in unused {
            self.write(ConsumerPart::Pattern(pattern, None), out);
        }
    }

    // ---- small questions ----

    /// The assignor that most members name; else the configured one.
    fn assignor(&self, limits: &ConsumerLimits) -> Assignor {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|member| member.told.server_assignor.as_deref()) {
            *votes.entry(name).or_default() += 1;
        }
        let chosen =
            votes.into_iter().max_by_key(|(_, count)| *count).and_then(|(name, _)| Assignor::by_name(name));
        chosen.filter(|it| limits.assignors.contains(it)).unwrap_or_else(|| limits.default_assignor())
    }

    fn spec(&self, topics: &dyn Topics) -> Spec {
        let mut spec = Spec::default();
        for (id, member) in &self.members {
            let reads = self.subscribed_names(member);
            let views = reads.filter_map(|name| topics.topic(name));
            let ids = views.map(|view| {
                spec.topics.insert(view.id, view.partition_count);
                view.id
            });
            let subscriber = Subscriber {
                topics: ids.collect(),
                instance_id: member.told.instance_id.clone(),
                before: self.targets.get(id).cloned().unwrap_or_default(),
            };
            spec.members.insert(id.clone(), subscriber);
        }
        spec
    }

    fn subscribed_names<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = &'a Str> {
        let resolved = member.pattern().and_then(|pattern| self.patterns.get(pattern));
        member.told.subscribed_topic_names.iter().chain(resolved.into_iter().flat_map(|r| &r.topics))
    }

    fn subscribed_ids(&self, member: &Member, topics: &dyn Topics) -> BTreeSet<Uuid> {
        self.subscribed_names(member).filter_map(|name| topics.topic(name)).map(|view| view.id).collect()
    }

    fn earliest_deadline(&self) -> i64 {
        self.members.values().map(Member::deadline_ms).min().unwrap_or(NEVER)
    }
}

/// Whether a ConsumerGroupHeartbeat says what it must.
pub(super) fn check_request(
    request: &ConsumerGroupHeartbeatRequest,
    version: i16,
    limits: &ConsumerLimits,
) -> Result<(), Refused> {
    let invalid = |message: &str| Err(Refused::new(ErrorCode::INVALID_REQUEST, message));
    let epoch = request.member_epoch;
    if (version >= OWN_ID_VERSION_MIN || epoch > JOIN_EPOCH || epoch == LEAVE_EPOCH)
        && request.member_id.is_empty()
    {
        return invalid("the member id is empty");
    }
    if request.group_id.is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if request.instance_id.as_ref().is_some_and(|id| id.is_empty()) {
        return invalid("the instance id is empty; leave it out if there is none");
    }
    if request.rack_id.as_ref().is_some_and(|id| id.is_empty()) {
        return invalid("the rack id is empty; leave it out if there is none");
    }
    let names = request.subscribed_topic_names.iter().flatten();
    if names.map(|name| name.len()).sum::<usize>() > SUBSCRIPTION_BYTES_MAX {
        return invalid("the topic names are too many for one member; subscribe by a regular expression");
    }
    if epoch == JOIN_EPOCH {
        if request.rebalance_timeout_ms == -1 {
            return invalid("who joins must say its rebalance timeout");
        }
        if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return invalid("who joins must say that it has no partitions");
        }
        if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
            return invalid("who joins must say what it reads, by names or by a regular expression");
        }
    } else if epoch == LEAVE_FOR_A_WHILE_EPOCH && request.instance_id.is_none() {
        return invalid("only a static member leaves for a while, and it must say its instance id");
    } else if epoch < LEAVE_FOR_A_WHILE_EPOCH {
        return invalid("there is no such member epoch");
    }
    let known = |name: &Str| limits.assignors.iter().any(|assignor| name == assignor.name());
    match &request.server_assignor {
        Some(name) if !known(name) => Err(Refused::new(
            ErrorCode::UNSUPPORTED_ASSIGNOR,
            format!("there is no assignor `{name}` here; choose one of {}", limits.assignor_names()),
        )),
        _ => Ok(()),
    }
}

/// Whether a heartbeat says that its member leaves.
pub(super) fn is_leaving(request: &ConsumerGroupHeartbeatRequest) -> bool {
    request.member_epoch < JOIN_EPOCH
}

/// Whether a heartbeat may make a group.
pub(super) fn is_joining(request: &ConsumerGroupHeartbeatRequest) -> bool {
    request.member_epoch == JOIN_EPOCH
}

/// What a member is told that comes with an epoch it does not have.
fn stale(member: &Member) -> ErrorCode {
    if member.is_classic() { ErrorCode::ILLEGAL_GENERATION } else { ErrorCode::STALE_MEMBER_EPOCH }
}

fn is_within(owned: &[TopicPartitions], assigned: &Held) -> bool {
    owned.iter().all(|topic| {
        let held = assigned.get(&topic.topic_id);
        held.is_some_and(|held| topic.partitions.iter().all(|partition| held.contains_key(partition)))
    })
}

fn told_assignment(assigned: &Held) -> Assignment {
    let topics = assigned.iter().map(|(topic, partitions)| TopicPartitions {
        topic_id: *topic,
        partitions: partitions.keys().copied().collect(),
    });
    Assignment { topic_partitions: topics.collect() }
}

/// Partitions by the names of their topics; those of deleted topics have none, and are left out.
fn described(partitions: &Partitions, topics: &dyn Topics) -> consumer_group_describe::Assignment {
    let topics = partitions.iter().filter_map(|(id, partitions)| {
        Some(consumer_group_describe::TopicPartitions {
            topic_id: *id,
            topic_name: topics.name(*id)?,
            partitions: partitions.iter().copied().collect(),
        })
    });
    consumer_group_describe::Assignment { topic_partitions: topics.collect() }
}

// ---- records ----

fn nothing_told() -> ConsumerGroupMemberMetadataValue {
    ConsumerGroupMemberMetadataValue {
        instance_id: None,
        rack_id: None,
        subscribed_topic_regex: None,
        server_assignor: None,
        classic_member_metadata: None,
        ..Default::default()
    }
}

/// What a heartbeat says; what it leaves out is as before.
fn tell(told: &mut ConsumerGroupMemberMetadataValue, request: &ConsumerGroupHeartbeatRequest) {
    if let Some(instance) = &request.instance_id {
        told.instance_id = Some(instance.clone());
    }
    if let Some(rack) = &request.rack_id {
        told.rack_id = Some(rack.clone());
    }
    if request.rebalance_timeout_ms != -1 {
        told.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    if let Some(assignor) = &request.server_assignor {
        told.server_assignor = Some(assignor.clone());
    }
    if let Some(names) = &request.subscribed_topic_names {
        let names: BTreeSet<&Str> = names.iter().map(|name| &name.0).collect();
        told.subscribed_topic_names = names.into_iter().cloned().collect();
    }
    if let Some(pattern) = &request.subscribed_topic_regex {
        told.subscribed_topic_regex = Some(pattern.clone()).filter(|pattern| !pattern.is_empty());
    }
    told.classic_member_metadata = None;
}

/// Without what else lies in the buffer that it was read from.
fn detached(told: &ConsumerGroupMemberMetadataValue) -> ConsumerGroupMemberMetadataValue {
    let text = |text: &Option<Str>| text.as_ref().map(Str::detached);
    ConsumerGroupMemberMetadataValue {
        instance_id: text(&told.instance_id),
        rack_id: text(&told.rack_id),
        client_id: told.client_id.detached(),
        client_host: told.client_host.detached(),
        subscribed_topic_names: told.subscribed_topic_names.iter().map(Str::detached).collect(),
        subscribed_topic_regex: text(&told.subscribed_topic_regex),
        rebalance_timeout_ms: told.rebalance_timeout_ms,
        server_assignor: text(&told.server_assignor),
        classic_member_metadata: told
            .classic_member_metadata
            .as_ref()
            .map(classic_members::detached_metadata),
    }
}

fn target_record(partitions: &Partitions) -> ConsumerGroupTargetAssignmentMemberValue {
    let topics = partitions.iter().map(|(topic, partitions)| TargetRecord {
        topic_id: *topic,
        partitions: partitions.iter().copied().collect(),
    });
    ConsumerGroupTargetAssignmentMemberValue { topic_partitions: topics.collect() }
}

fn current_record(current: &Current) -> ConsumerGroupCurrentMemberAssignmentValue {
    let held = |held: &Held| -> Vec<HeldRecord> {
        let topics = held.iter().map(|(topic, partitions)| HeldRecord {
            topic_id: *topic,
            partitions: partitions.keys().copied().collect(),
            assignment_epochs: Some(partitions.values().copied().collect()),
        });
        topics.collect()
    };
    ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: current.epoch,
        previous_member_epoch: current.previous_epoch,
        state: current.step.number(),
        assigned_partitions: held(&current.assigned),
        partitions_pending_revocation: held(&current.revoking),
    }
}

fn current_from(value: &ConsumerGroupCurrentMemberAssignmentValue) -> Current {
    let held = |topics: &[HeldRecord]| -> Held {
        let topics = topics.iter().map(|topic| {
            // Where the log does not say since when, it is since the member's epoch.
            let epochs = topic.assignment_epochs.iter().flatten().copied();
            let epochs = epochs.chain(std::iter::repeat(value.member_epoch));
            (topic.topic_id, topic.partitions.iter().copied().zip(epochs).collect())
        });
        topics.collect()
    };
    Current {
        epoch: value.member_epoch,
        previous_epoch: value.previous_member_epoch,
        step: Step::from_number(value.state),
        assigned: held(&value.assigned_partitions),
        revoking: held(&value.partitions_pending_revocation),
    }
}
