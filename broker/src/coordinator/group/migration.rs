//! What goes along when a group with members changes its kind: from classic to consumer, or back (KIP-848).
//!
//! Both kinds know the same members: a classic one says what it reads and has in the bytes of the consumers' own
//! protocol, and a consumer group keeps those bytes, so that it can be a classic group again. The rules are those of
//! Kafka's `ConsumerGroup.fromClassicGroup` and `ClassicGroup.fromConsumerGroup`.

use ottla_protocol::{
    Bytes,
    messages::{
        consumer_group_heartbeat::TopicPartitions as Owned,
        data::{
            consumer_protocol_assignment::{ConsumerProtocolAssignment, TopicPartition},
            consumer_protocol_subscription::ConsumerProtocolSubscription,
        },
    },
    types::{GroupId, Str},
    wire::{Reader, Wire, Writer},
};

use super::{assignor::Partitions, topics::Topics};
use crate::config::MigrationPolicy;

/// The newest version of a consumer's subscription and assignment; newer ones begin alike.
const VERSION_MAX: i16 = 3;

impl MigrationPolicy {
    /// Whether a classic group with members may become a consumer group.
    pub(super) const fn upgrades(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Upgrade)
    }

    /// Whether a consumer group whose members are all classic becomes a classic group.
    pub(super) const fn downgrades(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Downgrade)
    }
}

/// A classic member on its way from one kind of group to the other.
#[derive(Clone, Debug)]
pub(super) struct Moving {
    pub(super) id: Str,
    /// The name of a static member.
    pub(super) instance_id: Option<Str>,
    pub(super) client_id: Str,
    pub(super) client_host: Str,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    /// What it supports, the preferred first, each with its subscription.
    pub(super) protocols: Vec<(Str, Bytes)>,
    /// Empty if it was never given one.
    pub(super) assignment: Bytes,
}

/// Why a classic group stays one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hindrance {
    Policy,
    /// Its members are no consumers.
    Protocol,
    Size,
    /// A subscription or an assignment cannot be read.
    Malformed,
    /// Its leader's assignor gives members more than partitions, which would be lost.
    Assignor,
}

impl Hindrance {
    /// In Kafka's words, which its tests compare.
    pub(super) fn text(self, id: &GroupId) -> String {
        let why = match self {
            Self::Policy => "online upgrade is disabled.",
            Self::Protocol => "the group does not use the consumer embedded protocol.",
            Self::Size => "the group size exceeds the consumer group maximum size.",
            Self::Malformed => "the embedded consumer protocol is malformed.",
            Self::Assignor => {
                "an unsupported custom assignor is in use. Please refer to the documentation or switch to a \
                 default assignor before re-attempting the upgrade."
            }
        };
        format!("Cannot upgrade classic group {id} to consumer group because {why}")
    }
}

/// A consumer's subscription; `None` if it is not written in the known way.
pub(super) fn read_subscription(metadata: &Bytes) -> Option<ConsumerProtocolSubscription> {
    let mut r = Reader::new(metadata.clone());
    let version = version_of(&mut r)?;
    ConsumerProtocolSubscription::read(&mut r, version).ok()
}

/// A consumer's assignment; `None` if it is not written in the known way.
fn read_assigned(assignment: &Bytes) -> Option<ConsumerProtocolAssignment> {
    let mut r = Reader::new(assignment.clone());
    let version = version_of(&mut r)?;
    ConsumerProtocolAssignment::read(&mut r, version).ok()
}

/// The partitions of a subscription that are of known topics.
pub(super) fn owned(subscription: &ConsumerProtocolSubscription, topics: &dyn Topics) -> Vec<Owned> {
    let owned = subscription.owned_partitions.iter().filter_map(|owned| {
        let view = topics.topic(&owned.topic.0)?;
        Some(Owned { topic_id: view.id, partitions: owned.partitions.clone() })
    });
    owned.collect()
}

/// Whether a member was to give something up: its subscription says that it has a partition which its assignment does
/// not name. Whoever was to have that one gets it in the next round, which the member begins when it has given it up
/// (KIP-429). Of bytes that are none, nothing is known.
pub(super) fn gives_up(subscription: &Bytes, assignment: &Bytes) -> bool {
    let Some(subscription) = read_subscription(subscription) else { return false };
    let Some(assignment) = read_assigned(assignment) else { return false };
    subscription.owned_partitions.iter().any(|owned| {
        let keeps = assignment.assigned_partitions.iter().find(|kept| kept.topic == owned.topic);
        owned.partitions.iter().any(|partition| keeps.is_none_or(|kept| !kept.partitions.contains(partition)))
    })
}

/// What an assignment gives of the topics that there are; of bytes that are none, nothing.
pub(super) fn read_assignment(assignment: &Bytes, topics: &dyn Topics) -> Result<Partitions, Hindrance> {
    if assignment.is_empty() {
        return Ok(Partitions::new());
    }
    let read = read_assigned(assignment).ok_or(Hindrance::Malformed)?;
    if read.user_data.is_some_and(|data| !data.is_empty()) {
        return Err(Hindrance::Assignor);
    }
    let mut partitions = Partitions::new();
    for topic in &read.assigned_partitions {
        if let Some(view) = topics.topic(&topic.topic.0) {
            partitions.entry(view.id).or_default().extend(&topic.partitions);
        }
    }
    Ok(partitions)
}

/// An assignment for a member, in the version of its subscription. Topics that are gone are left out.
pub(super) fn write_assignment(partitions: &Partitions, subscription: &Bytes, topics: &dyn Topics) -> Bytes {
    let version = version_of(&mut Reader::new(subscription.clone())).unwrap_or(0);
    let assigned_partitions = partitions.iter().filter_map(|(id, partitions)| {
        Some(TopicPartition { topic: topics.name(*id)?, partitions: partitions.iter().copied().collect() })
    });
    let message =
        ConsumerProtocolAssignment { assigned_partitions: assigned_partitions.collect(), user_data: None };
    let mut w = Writer::new();
    w.i16(version);
    match message.write(&mut w, version) {
        Ok(()) => w.into_bytes(),
        // Every version up to the newest can be written; an empty assignment is read as none.
        Err(_) => Bytes::new(),
    }
}

fn version_of(r: &mut Reader) -> Option<i16> {
    r.i16().ok().filter(|version| *version >= 0).map(|version| version.min(VERSION_MAX))
}
