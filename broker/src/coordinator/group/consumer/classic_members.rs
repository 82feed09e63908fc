//! Members of a consumer group that speak the classic protocol: a group on its way from one to the other (KIP-848).
//!
//! JoinGroup is the heartbeat that takes such a member a step further, SyncGroup tells it what it has, and Heartbeat
//! sends it to JoinGroup again as long as there is a step to take. No answer waits for other members: who is to wait
//! for a partition joins again when it is free.
//!
//! The rules are those of Kafka's `GroupMetadataManager`, `classicGroup*ToConsumerGroup`.

use ottla_protocol::{
    Bytes,
    messages::{
        HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
        data::consumer_protocol_subscription::ConsumerProtocolSubscription,
        group::consumer_group_member_metadata_value::{ClassicMemberMetadata, ClassicProtocol},
    },
};

use super::*;
use crate::{
    config::MigrationPolicy,
    coordinator::group::{
        CONSUMER_PROTOCOL_TYPE, classic,
        migration::{self, Hindrance, Moving},
    },
};

/// First JoinGroup version whose members know their id before they join (KIP-394).
const KNOWN_ID_VERSION_MIN: i16 = 4;

impl Member {
    pub(super) fn is_classic(&self) -> bool {
        self.told.classic_member_metadata.is_some()
    }

    /// How long it may be silent.
    pub(super) fn session_timeout_ms(&self, timing: &Timing) -> i64 {
        let classic = self.told.classic_member_metadata.as_ref();
        classic.map_or(timing.session_timeout_ms, |it| i64::from(it.session_timeout_ms))
    }

    /// The protocol that it is told, with its subscription: the one it likes best.
    fn classic_protocol(&self) -> Option<&ClassicProtocol> {
        self.told.classic_member_metadata.as_ref()?.supported_protocols.first()
    }

    fn rebalance_timeout_ms(&self) -> i64 {
        i64::from(self.told.rebalance_timeout_ms.max(0))
    }
}

impl ConsumerGroup {
    /// A group that goes on with a classic group's members, at its generation.
    ///
    /// All of them are taken to have what they were assigned, and what they had when they joined: who has not asked for
    /// its assignment yet, or does not get one because the round failed, may be reading that. When they join again
    /// they say what they still have.
    pub(in super::super) fn take_over(
        id: GroupId,
        generation: i32,
        members: &[Moving],
        now: Now<'_>,
        out: &mut Effects,
    ) -> Result<Self, Hindrance> {
        let mut group = Self::new(id);
        let mut read = Vec::new();
        for moving in members {
            let assigned = migration::read_assignment(&moving.assignment, now.topics)?;
            let metadata = moving.protocols.first().map(|(_, metadata)| metadata);
            let subscription = metadata.and_then(migration::read_subscription).ok_or(Hindrance::Malformed)?;
            read.push((moving, assigned, subscription));
        }
        let pairs = |partitions: &Partitions| -> Vec<(Uuid, i32)> {
            partitions.iter().flat_map(|(topic, all)| all.iter().map(|p| (*topic, *p))).collect()
        };
        let mut taken: BTreeSet<(Uuid, i32)> =
            read.iter().flat_map(|(_, assigned, _)| pairs(assigned)).collect();
        for (_, assigned, subscription) in &mut read {
            for TopicPartitions { topic_id, partitions } in migration::owned(subscription, now.topics) {
                let free = partitions.into_iter().filter(|partition| taken.insert((topic_id, *partition)));
                assigned.entry(topic_id).or_default().extend(free);
            }
        }
        for (moving, _, subscription) in &read {
            let mut told = nothing_told();
            told.instance_id = moving.instance_id.clone();
            told.client_id = moving.client_id.clone();
            told.client_host = moving.client_host.clone();
            told.rebalance_timeout_ms = moving.rebalance_timeout_ms;
            tell_subscription(&mut told, subscription);
            let protocols = moving.protocols.iter().map(|(name, metadata)| (name, metadata));
            told.classic_member_metadata = Some(classic_metadata(moving.session_timeout_ms, protocols));
            group.write(ConsumerPart::Member(moving.id.clone(), Some(told)), out);
        }
        // How many partitions there were when the leader divided them is not known: so they are looked at anew, even if
        // nobody is new but a static member that came back. Kafka takes what there is now for what was divided.
        let epoch = ConsumerGroupMetadataValue { epoch: generation, metadata_hash: 0 };
        group.write(ConsumerPart::Epoch(Some(epoch)), out);
        for (moving, assigned, _) in &read {
            group.write(ConsumerPart::Target(moving.id.clone(), Some(target_record(assigned))), out);
        }
        // Without a time: the next assignment need not wait for this one.
        let target = ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: generation,
            assignment_timestamp: 0,
        };
        group.write(ConsumerPart::TargetEpoch(Some(target)), out);
        for (moving, assigned, _) in &read {
            let held = |partitions: &BTreeSet<i32>| partitions.iter().map(|p| (*p, generation)).collect();
            let current = Current {
                epoch: generation,
                previous_epoch: generation,
                assigned: assigned.iter().map(|(topic, partitions)| (*topic, held(partitions))).collect(),
                ..Current::default()
            };
            group.write(ConsumerPart::Current(moving.id.clone(), Some(current_record(&current))), out);
        }
        group.loaded(now);
        Ok(group)
    }

    /// Whether it is to be a classic group: nobody but classic members is in it, and the policy says so.
    pub(in super::super) fn is_to_be_classic(&self, policy: MigrationPolicy, size_max: usize) -> bool {
        policy.downgrades()
            && !self.members.is_empty()
            && self.members.len() <= size_max
            && self.members.values().all(Member::is_classic)
    }

    /// Its members for a classic group, with the generation of that.
    pub(in super::super) fn hand_over(&self, topics: &dyn Topics) -> (i32, Vec<Moving>) {
        let members = self.members.iter().filter_map(|(id, member)| {
            let told = &member.told;
            let classic = told.classic_member_metadata.as_ref()?;
            // Not the target: what of that is another's still must not be given by a group that restarts as it was.
            let mut has = partitions_of(&member.current.assigned);
            // And what it is to give up it may be reading yet.
            for (topic, going) in partitions_of(&member.current.revoking) {
                has.entry(topic).or_default().extend(going);
            }
            let subscription = classic.supported_protocols.first().map(|protocol| protocol.metadata.clone());
            Some(Moving {
                id: id.clone(),
                instance_id: told.instance_id.clone(),
                client_id: told.client_id.clone(),
                client_host: told.client_host.clone(),
                rebalance_timeout_ms: told.rebalance_timeout_ms,
                session_timeout_ms: classic.session_timeout_ms,
                protocols: classic
                    .supported_protocols
                    .iter()
                    .map(|p| (p.name.clone(), p.metadata.clone()))
                    .collect(),
                assignment: migration::write_assignment(&has, &subscription.unwrap_or_default(), topics),
            })
        });
        (self.epoch, members.collect())
    }

    /// JoinGroup of a member that joins, or takes the next step.
    ///
    /// Whoever is refused has changed nothing.
    pub(in super::super) fn join_classic(
        &mut self,
        request: &JoinGroupRequest,
        caller: &Caller,
        now: Now<'_>,
        new_id: impl FnOnce() -> String,
        out: &mut Effects,
    ) -> JoinGroupResponse {
        let refused = |error_code| classic::join_error(&Str::EMPTY, error_code);
        let limits = &now.limits.consumer;
        if limits.migration_policy == MigrationPolicy::Disabled {
            return refused(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if !now.limits.session_timeout_ms.contains(&request.session_timeout_ms) {
            return refused(ErrorCode::INVALID_SESSION_TIMEOUT);
        }
        let is_unknown = request.member_id.is_empty();
        let instance = request.group_instance_id.as_ref().map(Str::detached);
        let id = match is_unknown {
            true => Str::from(format!("{}-{}", instance.as_ref().unwrap_or(&caller.client_id), new_id())),
            false => request.member_id.detached(),
        };
        if self.members.len() >= limits.group_size_max && !self.members.contains_key(&id) {
            return refused(ErrorCode::GROUP_MAX_SIZE_REACHED);
        }
        if !self.supports_classic(request) {
            return refused(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if is_unknown && instance.is_none() && caller.version >= KNOWN_ID_VERSION_MIN {
            return classic::join_error(&id, ErrorCode::MEMBER_ID_REQUIRED);
        }
        // All protocols of a member have the same subscription.
        let subscription = request.protocols.first().and_then(|p| migration::read_subscription(&p.metadata));
        let Some(subscription) = subscription else {
            return refused(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        };
        let owned = migration::owned(&subscription, now.topics);
        // It was thrown out and has not heard of it: what it reads may be another's. Kafka takes it in.
        if !is_unknown && !owned.is_empty() && !self.members.contains_key(&id) {
            return refused(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        let known = instance.as_ref().and_then(|instance| self.instances.get(instance).cloned());
        match known {
            // Its old self is fenced, whichever protocol that speaks.
            Some(old) if is_unknown => self.replace(&old, &id, out),
            _ if is_unknown || instance.is_none() => {}
            _ => {
                if let Err(Refused { error_code, .. }) = self.find(&id, instance.as_ref()) {
                    return refused(error_code);
                }
            }
        }

        let is_new = !self.members.contains_key(&id);
        let tell = |told: &mut _| tell_classic(told, request, &subscription);
        let subscription_changed = self.take_what_is_told(&id, caller, tell, out);
        self.bump_epoch_if(is_new || subscription_changed, now, out);
        // A classic group's leader will assign.
        if !self.is_to_be_classic(limits.migration_policy, now.limits.group_size_max) {
            self.compute_target(now, out);
        }
        self.reconcile(&id, Some(&owned), subscription_changed, now, out);
        let Some(member) = self.members.get_mut(&id) else {
            return refused(ErrorCode::UNKNOWN_MEMBER_ID);
        };
        member.session_deadline_ms = now.ms + member.session_timeout_ms(&now.timings.of(&self.id));
        // It has joined. Now it is to ask for what it has.
        member.revocation_deadline_ms = NEVER;
        member.join_deadline_ms = NEVER;
        member.sync_deadline_ms = now.ms + member.rebalance_timeout_ms();
        self.wake_ms = self.wake_ms.min(member.deadline_ms());
        JoinGroupResponse {
            member_id: id,
            generation_id: member.current.epoch,
            protocol_type: Some(Str::from_static(CONSUMER_PROTOCOL_TYPE)),
            protocol_name: member.classic_protocol().map(|protocol| protocol.name.clone()),
            ..Default::default()
        }
    }

    /// SyncGroup: what the member has, or that it is to join again.
    pub(in super::super) fn sync_classic(
        &mut self,
        request: &SyncGroupRequest,
        now: Now<'_>,
    ) -> Result<SyncGroupResponse, ErrorCode> {
        let id = &request.member_id;
        self.check_classic(id, request.group_instance_id.as_ref(), request.generation_id)?;
        let target_epoch = self.target_epoch;
        let member = self.members.get_mut(id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let protocol = member.classic_protocol().cloned().unwrap_or_default();
        let is_other = |told: &Option<Str>, known: &str| told.as_deref().is_some_and(|told| told != known);
        if is_other(&request.protocol_type, CONSUMER_PROTOCOL_TYPE)
            || is_other(&request.protocol_name, &protocol.name)
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        // Who is to give up partitions has to learn first which.
        if target_epoch > member.current.epoch && member.current.step != Step::Unrevoked {
            self.expect_to_join(id, now);
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        member.sync_deadline_ms = NEVER;
        member.session_deadline_ms = now.ms + member.session_timeout_ms(&now.timings.of(&self.id));
        self.wake_ms = self.wake_ms.min(member.session_deadline_ms);
        let assigned = partitions_of(&member.current.assigned);
        Ok(SyncGroupResponse {
            protocol_type: request.protocol_type.clone(),
            protocol_name: request.protocol_name.clone(),
            assignment: migration::write_assignment(&assigned, &protocol.metadata, now.topics),
            ..Default::default()
        })
    }

    /// Heartbeat: whether all is well, or the member is to join again.
    ///
    /// It looks at the topics as well: in a group whose members are all classic nobody else does.
    pub(in super::super) fn heartbeat_classic(
        &mut self,
        request: &HeartbeatRequest,
        now: Now<'_>,
        out: &mut Effects,
    ) -> Result<(), ErrorCode> {
        let id = &request.member_id;
        self.check_classic(id, request.group_instance_id.as_ref(), request.generation_id)?;
        self.bump_epoch_if(false, now, out);
        self.compute_target(now, out);
        if let Some(member) = self.members.get_mut(id) {
            member.session_deadline_ms = now.ms + member.session_timeout_ms(&now.timings.of(&self.id));
            self.wake_ms = self.wake_ms.min(member.session_deadline_ms);
        }
        let is_to_join = self.members.get(id).is_some_and(|member| {
            member.current.epoch < self.target_epoch
                || match member.current.step {
                    Step::Stable => false,
                    Step::Unrevoked | Step::Unknown => true,
                    Step::Unreleased => !self.waits_for_others(id),
                }
        });
        if is_to_join {
            self.expect_to_join(id, now);
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        Ok(())
    }

    // ---- small questions ----

    fn check_classic(&self, id: &Str, instance: Option<&Str>, generation: i32) -> Result<(), ErrorCode> {
        self.find(id, instance).map_err(|refused| refused.error_code)?;
        match self.members.get(id) {
            Some(member) if !member.is_classic() => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            Some(member) if member.current.epoch != generation => Err(ErrorCode::ILLEGAL_GENERATION),
            _ => Ok(()),
        }
    }

    /// Whether one of the member's protocols is one of all classic members.
    fn supports_classic(&self, request: &JoinGroupRequest) -> bool {
        let by_all = |name: &Str| {
            let mut classic = self.members.values().filter_map(|m| m.told.classic_member_metadata.as_ref());
            classic.all(|it| it.supported_protocols.iter().any(|protocol| protocol.name == *name))
        };
        &*request.protocol_type == CONSUMER_PROTOCOL_TYPE
            && request.protocols.iter().any(|protocol| by_all(&protocol.name))
    }

    /// Whether somebody else still has a partition that the member is to have.
    fn waits_for_others(&self, id: &Str) -> bool {
        let target = self.targets.get(id).into_iter().flatten();
        let mut partitions =
            target.flat_map(|(topic, all)| all.iter().map(move |partition| (*topic, *partition)));
        partitions.any(|key| self.owners.get(&key).is_some_and(|owner| owner != id))
    }

    /// Gives a member that is told to join again its time for that, once.
    fn expect_to_join(&mut self, id: &Str, now: Now<'_>) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.join_deadline_ms = member.join_deadline_ms.min(now.ms + member.rebalance_timeout_ms());
        self.wake_ms = self.wake_ms.min(member.join_deadline_ms);
    }
}

fn partitions_of(held: &Held) -> Partitions {
    held.iter().map(|(topic, held)| (*topic, held.keys().copied().collect())).collect()
}

/// What JoinGroup says.
fn tell_classic(
    told: &mut ConsumerGroupMemberMetadataValue,
    request: &JoinGroupRequest,
    subscription: &ConsumerProtocolSubscription,
) {
    if let Some(instance) = &request.group_instance_id {
        told.instance_id = Some(instance.clone());
    }
    told.rebalance_timeout_ms = match request.rebalance_timeout_ms {
        timeout if timeout < 0 => request.session_timeout_ms,
        timeout => timeout,
    };
    told.subscribed_topic_regex = None;
    tell_subscription(told, subscription);
    let protocols = request.protocols.iter().map(|protocol| (&protocol.name, &protocol.metadata));
    told.classic_member_metadata = Some(classic_metadata(request.session_timeout_ms, protocols));
}

fn tell_subscription(
    told: &mut ConsumerGroupMemberMetadataValue,
    subscription: &ConsumerProtocolSubscription,
) {
    let names: BTreeSet<&Str> = subscription.topics.iter().collect();
    told.subscribed_topic_names = names.into_iter().map(Str::detached).collect();
    if let Some(rack) = subscription.rack_id.as_ref().filter(|rack| !rack.is_empty()) {
        told.rack_id = Some(rack.detached());
    }
}

fn classic_metadata<'a>(
    session_timeout_ms: i32,
    protocols: impl Iterator<Item = (&'a Str, &'a Bytes)>,
) -> ClassicMemberMetadata {
    let protocols = protocols.map(|(name, metadata)| ClassicProtocol {
        name: name.detached(),
        metadata: Bytes::copy_from_slice(metadata),
    });
    ClassicMemberMetadata { session_timeout_ms, supported_protocols: protocols.collect() }
}

/// Without what else lies in the buffer that it was read from.
pub(super) fn detached_metadata(metadata: &ClassicMemberMetadata) -> ClassicMemberMetadata {
    let protocols = metadata.supported_protocols.iter().map(|protocol| (&protocol.name, &protocol.metadata));
    classic_metadata(metadata.session_timeout_ms, protocols)
}
