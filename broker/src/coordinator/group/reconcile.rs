//! A member's way from the partitions it has to those it is to have (KIP-848).
//!
//! | state | the member |
//! |---|---|
//! | `Stable` | has what the target of its epoch says |
//! | `Unrevoked` | stays at its epoch until it has given partitions up: it says so by not naming them any more |
//! | `Unreleased` | is at the target's epoch, and waits for partitions that others still hold |
//!
//! The rules are those of Kafka's `CurrentAssignmentBuilder`. A partition is granted only when nobody else has it, nor
//! is still to give it up; that is what keeps two members from reading it at once.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::{
    messages::consumer_group_heartbeat::TopicPartitions as Owned,
    types::{Str, Uuid},
};

use super::assignor::Partitions;

/// Partitions by topic, each with the epoch at which the member got it.
pub(super) type Held = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// Where a member is on its way; as the log has it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Step {
    #[default]
    Stable,
    Unrevoked,
    Unreleased,
    /// Written by a coordinator that knows more of them.
    Unknown,
}

impl Step {
    pub(super) const fn from_number(number: i8) -> Self {
        match number {
            0 => Self::Stable,
            1 => Self::Unrevoked,
            2 => Self::Unreleased,
            _ => Self::Unknown,
        }
    }

    pub(super) const fn number(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::Unrevoked => 1,
            Self::Unreleased => 2,
            Self::Unknown => 127,
        }
    }
}

/// What a member has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Current {
    /// The epoch that it is to send.
    pub(super) epoch: i32,
    /// The epoch before, which it may still send if an answer got lost.
    pub(super) previous_epoch: i32,
    pub(super) step: Step,
    pub(super) assigned: Held,
    /// What it is to give up, and may still be reading.
    pub(super) revoking: Held,
}

/// Where a member is to go.
pub(super) struct Goal<'a> {
    /// The epoch of the target.
    pub(super) epoch: i32,
    pub(super) target: &'a Partitions,
    /// The topics that the member reads; the target may be older than its subscription.
    pub(super) subscribed: &'a BTreeSet<Uuid>,
    /// Whether the subscription is another one than at the last heartbeat.
    pub(super) subscription_changed: bool,
    /// Who has a partition, or is still to give it up.
    pub(super) owner: &'a dyn Fn(Uuid, i32) -> Option<&'a Str>,
    /// The member itself.
    pub(super) member: &'a Str,
    /// What the member says it has; `None` if it does not say.
    pub(super) owned: Option<&'a [Owned]>,
}

/// The next step of a member; `None` if it stays where it is.
pub(super) fn next(current: &Current, goal: &Goal<'_>) -> Option<Current> {
    let next = match current.step {
        Step::Stable if current.epoch != goal.epoch => Some(advance(current, goal)),
        Step::Stable if goal.subscription_changed => drop_unsubscribed(current, goal),
        Step::Stable => None,
        Step::Unrevoked if !still_owns(&current.revoking, goal.owned) => Some(advance(current, goal)),
        Step::Unrevoked if goal.subscription_changed => drop_unsubscribed(current, goal),
        Step::Unrevoked => None,
        Step::Unreleased => Some(advance(current, goal)),
        // Whoever calls has seen to it that the member begins anew.
        Step::Unknown => Some(advance(current, goal)),
    };
    next.filter(|next| next != current)
}

/// Towards the target: first what is to go, then, at the target's epoch, what is to come.
fn advance(current: &Current, goal: &Goal<'_>) -> Current {
    let nothing = BTreeSet::new();
    let target = |topic: &Uuid| match goal.subscribed.contains(topic) {
        true => goal.target.get(topic).unwrap_or(&nothing),
        false => &nothing,
    };
    let (mut assigned, mut revoking) = (Held::new(), Held::new());
    for (topic, partitions) in &current.assigned {
        for (partition, since) in partitions {
            let kept = target(topic).contains(partition);
            let side = if kept { &mut assigned } else { &mut revoking };
            side.entry(*topic).or_default().insert(*partition, *since);
        }
    }
    if still_owns(&revoking, goal.owned) {
        return Current {
            epoch: current.epoch,
            previous_epoch: current.epoch,
            step: Step::Unrevoked,
            assigned,
            revoking,
        };
    }
    let mut waits = false;
    for topic in goal.target.keys() {
        for partition in target(topic) {
            let has = assigned.get(topic).is_some_and(|held| held.contains_key(partition));
            if has {
                continue;
            }
            if (goal.owner)(*topic, *partition).is_some_and(|owner| owner != goal.member) {
                waits = true;
            } else {
                assigned.entry(*topic).or_default().insert(*partition, goal.epoch);
            }
        }
    }
    let step = if waits { Step::Unreleased } else { Step::Stable };
    let unchanged = current.epoch == goal.epoch && current.step == step && current.assigned == assigned;
    let previous_epoch = if unchanged { current.previous_epoch } else { current.epoch };
    Current { epoch: goal.epoch, previous_epoch, step, assigned, revoking: Held::new() }
}

/// At the epoch that it has: what the member does not read any more is to go at once.
fn drop_unsubscribed(current: &Current, goal: &Goal<'_>) -> Option<Current> {
    let (assigned, dropped): (Held, Held) =
        current.assigned.clone().into_iter().partition(|(topic, _)| goal.subscribed.contains(topic));
    if dropped.is_empty() {
        return None;
    }
    let mut revoking = current.revoking.clone();
    for (topic, partitions) in dropped {
        revoking.entry(topic).or_default().extend(partitions);
    }
    let (step, revoking) = match still_owns(&revoking, goal.owned) {
        true => (Step::Unrevoked, revoking),
        false => (current.step, current.revoking.clone()),
    };
    Some(Current { epoch: current.epoch, previous_epoch: current.epoch, step, assigned, revoking })
}

/// Whether a member may still read one of these partitions. One that does not say what it has may.
fn still_owns(revoking: &Held, owned: Option<&[Owned]>) -> bool {
    let Some(owned) = owned else { return !revoking.is_empty() };
    owned.iter().any(|topic| {
        let going = revoking.get(&topic.topic_id);
        going.is_some_and(|going| topic.partitions.iter().any(|partition| going.contains_key(partition)))
    })
}
