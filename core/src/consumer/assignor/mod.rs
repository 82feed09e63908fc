//! Who of a classic group reads what: the leader's part, which all members' clients must agree on.
//!
//! In one group there may be members of other clients, and any of them may lead. So each assignor comes to the same
//! result as Java's of that name, from the same input. Where Java's result depends on the order of its hash maps, that
//! order is taken from Java too ([`java`]).
//!
//! Three things differ on purpose, where Java's result would be wrong: a partition that a member says it has, and that
//! is not there, is nobody's; a member that subscribes to nothing gets nothing; and no partition goes back to a former
//! owner that does not subscribe to its topic any more.

mod java;
pub(crate) mod metadata;
#[cfg(test)]
mod oracle;
mod racks;
mod range;
mod round_robin;
mod sticky;
mod sticky_general;

use std::collections::BTreeMap;

use ottla_protocol::{
    Bytes,
    types::{Str, TopicName},
};

pub(crate) use self::metadata::Subscription;
use crate::cluster::TopicPartition;

/// The topics that members subscribe to and that are there: for each partition, the racks of its replicas, without
/// repetition; none where they are not known.
pub(crate) type Topics = BTreeMap<TopicName, Vec<Vec<Str>>>;

/// A member, as the leader is told of it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its id.
    pub id: Str,
    /// `group.instance.id`, if it is static.
    pub instance_id: Option<Str>,
    /// What it wants, and has.
    pub subscription: Subscription,
}

impl Member {
    /// Its place among members: static ones first, by their names, then the others by their ids.
    fn rank(&self) -> (bool, &[u8], &[u8]) {
        let instance = self.instance_id.as_ref();
        let name = instance.map_or(&[][..], |id| id.as_bytes());
        (instance.is_none(), name, self.id.as_bytes())
    }

    fn subscribes(&self, topic: &TopicName) -> bool {
        self.subscription.topics.contains(topic)
    }
}

/// A way to divide partitions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Assignor {
    /// Consecutive partitions of each topic; those of one number go together, also by rack (KIP-881).
    Range,
    /// One by one, in a circle.
    RoundRobin,
    /// Even, and as little moved as can be; everything is given up first (KIP-54).
    Sticky,
    /// As sticky, but what moves is given up in one rebalance and taken in the next (KIP-429).
    CooperativeSticky,
}

impl Assignor {
    const ALL: [Self; 4] = [Self::Range, Self::RoundRobin, Self::Sticky, Self::CooperativeSticky];

    /// Its name in JoinGroup.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// The assignor of this name in `partition.assignment.strategy`: its own, or that of Java's class.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let class = name.strip_prefix("org.apache.kafka.clients.consumer.");
        Self::ALL.into_iter().find(|assignor| match class {
            Some(class) => class == assignor.class(),
            None => name == assignor.name(),
        })
    }

    fn class(self) -> &'static str {
        match self {
            Self::Range => "RangeAssignor",
            Self::RoundRobin => "RoundRobinAssignor",
            Self::Sticky => "StickyAssignor",
            Self::CooperativeSticky => "CooperativeStickyAssignor",
        }
    }

    /// Whether members may keep what they have while the group rebalances.
    pub(crate) fn is_cooperative(self) -> bool {
        self == Self::CooperativeSticky
    }

    /// What a member says to its own kind of assignor, beside its subscription: what it has, since which generation.
    pub(crate) fn user_data(self, owned: &[TopicPartition], generation: i32) -> Option<Bytes> {
        match self {
            Self::Range | Self::RoundRobin => None,
            // Before its first assignment, a member has nothing to say.
            Self::Sticky => (generation >= 0).then(|| metadata::write_sticky(owned, generation)),
            Self::CooperativeSticky => Some(Bytes::copy_from_slice(&generation.to_be_bytes())),
        }
    }

    /// Divides the partitions of `topics`; gives what each of the members gets, in order. `members` are in the order
    /// of the JoinGroup response.
    pub(crate) fn assign(self, topics: &Topics, members: &[Member]) -> Vec<Vec<TopicPartition>> {
        let mut assignment = match self {
            Self::Range => range::assign(topics, members),
            Self::RoundRobin => round_robin::assign(topics, members),
            Self::Sticky | Self::CooperativeSticky => sticky::assign(self, topics, members),
        };
        for partitions in &mut assignment {
            partitions.sort_unstable();
        }
        assignment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignors_go_by_their_names_and_by_those_of_javas_classes() {
        for assignor in Assignor::ALL {
            assert_eq!(Assignor::named(assignor.name()), Some(assignor));
            let class = format!("org.apache.kafka.clients.consumer.{}", assignor.class());
            assert_eq!(Assignor::named(&class), Some(assignor));
        }
        assert_eq!(Assignor::named("RangeAssignor"), None);
        assert_eq!(Assignor::named("uniform"), None);
    }

    #[test]
    fn what_is_not_there_any_more_is_nobodys() {
        let topics = Topics::from([("t".into(), vec![Vec::new(); 2])]);
        let owned: Vec<TopicPartition> = [("t", 0), ("t", 5), ("gone", 0)].map(TopicPartition::from).to_vec();
        for assignor in [Assignor::Sticky, Assignor::CooperativeSticky] {
            let subscription = Subscription {
                topics: vec!["t".into()],
                owned: owned.clone(),
                generation: Some(1),
                user_data: assignor.user_data(&owned, 1),
                rack: None,
            };
            let member = Member { id: "m".into(), instance_id: None, subscription };
            let assigned = assignor.assign(&topics, &[member]);
            assert_eq!(assigned, [[("t", 0), ("t", 1)].map(TopicPartition::from).to_vec()]);
        }
    }

    #[test]
    fn nobody_gets_nothing() {
        let topics = Topics::from([("t".into(), vec![Vec::new(); 2])]);
        for assignor in Assignor::ALL {
            assert!(assignor.assign(&topics, &[]).is_empty());
        }
    }
}
