//! Who is to read what: assignors on the broker's side (KIP-848). Pure functions of members and topics.

mod range;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::types::{Str, Uuid};

/// Partitions by topic.
pub(crate) type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// What an assignor needs to know of a member.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscriber {
    /// The name of a static member.
    pub(crate) instance_id: Option<Str>,
    /// The topics it reads; of those that do not exist, none.
    pub(crate) topics: BTreeSet<Uuid>,
    /// What it was to have until now.
    pub(crate) before: Partitions,
}

/// What is to be divided, and among whom.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spec {
    /// The members, by id.
    pub(crate) members: BTreeMap<Str, Subscriber>,
    /// Partition counts of all topics that members read.
    pub(crate) topics: BTreeMap<Uuid, i32>,
}

/// A way to divide partitions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Assignor {
    /// As many for each as can be, and as few changes as that takes.
    Uniform,
    /// A range of each topic for each, so that topics that are alike are divided alike.
    Range,
}

impl Assignor {
    /// The assignor of this name, as configuration and members give it.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        [Self::Uniform, Self::Range].into_iter().find(|assignor| assignor.name() == name)
    }

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// Divides the partitions: every partition of a topic that somebody reads goes to exactly one of its readers.
    pub(crate) fn assign(self, spec: &Spec) -> BTreeMap<Str, Partitions> {
        match self {
            Self::Uniform => uniform::assign(spec),
            Self::Range => range::assign(spec),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Topics with so many partitions each, numbered from 1, and members that read some of them.
    pub(in super::super) fn spec(topics: &[i32], members: &[(&str, &[u128])]) -> Spec {
        let topics = topics.iter().zip(1u128..).map(|(count, id)| (Uuid(id), *count));
        let members = members.iter().map(|(id, reads)| {
            let topics = reads.iter().map(|id| Uuid(*id)).collect();
            (Str::from(*id), Subscriber { topics, ..Default::default() })
        });
        Spec { members: members.collect(), topics: topics.collect() }
    }

    /// That each partition is somebody's who reads its topic, and nobody else's.
    pub(super) fn check(spec: &Spec, assigned: &BTreeMap<Str, Partitions>) {
        let mut owners = BTreeMap::new();
        for (id, partitions) in assigned {
            for (topic, partition) in each(partitions) {
                assert!(spec.members[id].topics.contains(&topic), "{id} does not read {topic}");
                assert!(partition < spec.topics[&topic]);
                let before = owners.insert((topic, partition), id);
                assert!(before.is_none(), "{before:?} and {id} both have {topic}-{partition}");
            }
        }
        let read: BTreeSet<Uuid> = spec.members.values().flat_map(|m| m.topics.iter().copied()).collect();
        let all: i32 = read.iter().map(|topic| spec.topics[topic]).sum();
        assert_eq!(owners.len(), all as usize, "a partition is nobody's");
        assert_eq!(assigned.len(), spec.members.len());
    }

    pub(super) fn each(partitions: &Partitions) -> impl Iterator<Item = (Uuid, i32)> {
        partitions.iter().flat_map(|(topic, list)| list.iter().map(|partition| (*topic, *partition)))
    }

    pub(super) fn load(partitions: &Partitions) -> usize {
        partitions.values().map(BTreeSet::len).sum()
    }

    prop_compose! {
        fn any_spec()(
            topics in prop::collection::vec(1..20i32, 1..6),
            readers in prop::collection::vec(prop::collection::btree_set(1..6u128, 0..6), 1..8),
        ) -> Spec {
            let count = topics.len() as u128;
            let members = readers.into_iter().enumerate().map(|(number, reads)| {
                let topics = reads.into_iter().filter(|id| *id <= count).map(Uuid).collect();
                (Str::from(format!("m{number}")), Subscriber { topics, ..Default::default() })
            });
            let topics = topics.into_iter().zip(1u128..).map(|(count, id)| (Uuid(id), count));
            Spec { members: members.collect(), topics: topics.collect() }
        }
    }

    proptest! {
        #[test]
        fn every_partition_is_exactly_one_readers(spec in any_spec(), next in any_spec()) {
            for assignor in [Assignor::Uniform, Assignor::Range] {
                let first = assignor.assign(&spec);
                check(&spec, &first);
                // Members come and go, subscriptions and topics change: what was before may be anything.
                let mut next = next.clone();
                for (id, member) in &mut next.members {
                    member.before = first.get(id).cloned().unwrap_or_default();
                }
                check(&next, &assignor.assign(&next));
            }
        }

        #[test]
        fn uniform_evens_out_wherever_it_can(spec in any_spec(), next in any_spec()) {
            let first = Assignor::Uniform.assign(&spec);
            let mut next = next.clone();
            for (id, member) in &mut next.members {
                member.before = first.get(id).cloned().unwrap_or_default();
            }
            let assigned = Assignor::Uniform.assign(&next);
            for (id, partitions) in &assigned {
                for (other, theirs) in &assigned {
                    // Nobody has two more than one who could take a partition over.
                    let could = partitions.keys().any(|topic| next.members[other].topics.contains(topic));
                    prop_assert!(!could || load(partitions) <= load(theirs) + 1, "{} {}", id, other);
                }
            }
        }

        #[test]
        fn uniform_moves_nothing_that_is_even(spec in any_spec()) {
            let first = Assignor::Uniform.assign(&spec);
            let mut again = spec.clone();
            for (id, member) in &mut again.members {
                member.before = first[id].clone();
            }
            prop_assert_eq!(Assignor::Uniform.assign(&again), first);
        }
    }
}
