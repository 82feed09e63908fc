//! Consecutive partitions of each topic.
//!
//! Members in order get equal ranges, the first ones one more where it does not divide evenly. Topics of equally many
//! partitions and the same members are divided alike, so that joins work. With racks (KIP-881), a first pass gives what
//! it can to members where a replica is, a second one the rest.

use std::collections::BTreeMap;

use ottla_protocol::types::{Str, TopicName};

use super::{Member, Topics, racks};
use crate::cluster::TopicPartition;

pub(super) fn assign(topics: &Topics, members: &[Member]) -> Vec<Vec<TopicPartition>> {
    let mut assignment = vec![Vec::new(); members.len()];
    let mut ordered: Vec<usize> = (0..members.len()).collect();
    ordered.sort_by_key(|&index| members[index].rank());
    let mut topics: Vec<Topic<'_>> = topics
        .iter()
        .filter(|(_, partitions)| !partitions.is_empty())
        .map(|(name, partitions)| {
            let subscribers = ordered.iter().copied().filter(|&index| members[index].subscribes(name));
            Topic::new(name, partitions, subscribers.collect(), members)
        })
        .collect();
    if topics.iter().any(|topic| topic.racks_matter) {
        by_racks(&mut topics, &mut assignment);
    }
    for topic in &mut topics {
        topic.assign_ranges(&mut assignment, |_, _, _| true);
    }
    assignment
}

/// The first pass. Topics that are divided alike go together: a number of all of them to one member.
fn by_racks(topics: &mut [Topic<'_>], assignment: &mut [Vec<TopicPartition>]) {
    let mut alike: BTreeMap<(Vec<usize>, usize), Vec<usize>> = BTreeMap::new();
    for (index, topic) in topics.iter().enumerate() {
        // Where racks of members are not known, those of partitions are not looked at.
        let partitions = if topic.knows_racks { topic.racks.len() } else { 0 };
        alike.entry((topic.subscribers.clone(), partitions)).or_default().push(index);
    }
    for ((subscribers, partitions), indexes) in alike {
        if let [index] = indexes[..] {
            if topics[index].racks_matter {
                topics[index].assign_ranges(assignment, Topic::is_near);
            }
            continue;
        }
        let mut remaining = subscribers;
        for partition in 0..partitions {
            let fits = |&member: &usize| {
                indexes.iter().all(|&index| {
                    let topic = &topics[index];
                    topic.is_near(member, partition) && topic.most(member) > 0
                })
            };
            let Some(member) = remaining.iter().copied().find(fits) else { continue };
            for &index in &indexes {
                topics[index].give(member, &[partition], assignment);
            }
            if indexes.iter().all(|&index| topics[index].most(member) == 0) {
                remaining.retain(|&other| other != member);
            }
            if remaining.is_empty() {
                break;
            }
        }
    }
}

/// A topic that is being divided.
struct Topic<'a> {
    name: &'a TopicName,
    /// The racks of each partition's replicas.
    racks: &'a [Vec<Str>],
    members: &'a [Member],
    /// Who subscribes, in order.
    subscribers: Vec<usize>,
    /// Whether any subscriber says where it is.
    knows_racks: bool,
    racks_matter: bool,
    /// By partition, whether nobody has it yet.
    is_free: Vec<bool>,
    /// By member, how many it has.
    given: BTreeMap<usize, usize>,
    /// How many each gets at least.
    least: usize,
    /// How many may still get one more.
    extra: usize,
}

impl<'a> Topic<'a> {
    fn new(
        name: &'a TopicName,
        racks: &'a [Vec<Str>],
        subscribers: Vec<usize>,
        members: &'a [Member],
    ) -> Self {
        let of_members: Vec<&Str> =
            subscribers.iter().filter_map(|&index| members[index].subscription.rack.as_ref()).collect();
        let count = subscribers.len();
        Self {
            name,
            racks,
            members,
            knows_racks: !of_members.is_empty(),
            racks_matter: racks::matter(of_members, racks.iter()),
            is_free: vec![true; racks.len()],
            given: subscribers.iter().map(|&index| (index, 0)).collect(),
            least: racks.len().checked_div(count).unwrap_or(0),
            extra: racks.len().checked_rem(count).unwrap_or(0),
            subscribers,
        }
    }

    /// Whether a replica is where the member is; a member that does not say is near to all.
    fn is_near(&self, member: usize, partition: usize) -> bool {
        let rack = self.members[member].subscription.rack.as_ref();
        rack.is_none_or(|rack| self.racks[partition].contains(rack))
    }

    /// How many partitions the member may still get.
    fn most(&self, member: usize) -> usize {
        let given = self.given.get(&member).copied().unwrap_or(0);
        (self.least + usize::from(self.extra > 0)).saturating_sub(given)
    }

    fn assign_ranges(
        &mut self,
        assignment: &mut [Vec<TopicPartition>],
        may: impl Fn(&Self, usize, usize) -> bool,
    ) {
        for member in self.subscribers.clone() {
            let free = (0..self.is_free.len()).filter(|&partition| self.is_free[partition]);
            let range: Vec<usize> =
                free.filter(|&partition| may(self, member, partition)).take(self.most(member)).collect();
            if !range.is_empty() {
                self.give(member, &range, assignment);
            }
        }
    }

    fn give(&mut self, member: usize, partitions: &[usize], assignment: &mut [Vec<TopicPartition>]) {
        for &partition in partitions {
            self.is_free[partition] = false;
            assignment[member].push(TopicPartition::new(self.name.clone(), partition as i32));
        }
        let given = self.given.entry(member).or_default();
        *given += partitions.len();
        if *given > self.least {
            self.extra = self.extra.saturating_sub(1);
        }
    }
}
