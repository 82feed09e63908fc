//! Uniform: everybody keeps what it has, what is free goes to who has least, and what is uneven moves.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::types::{Str, Uuid};

use super::{Partitions, Spec};

/// How often all topics are gone through to even them out. Where everybody reads the same, two rounds are enough;
/// where all read something else, what a round moves makes way for more in the next.
const ROUNDS_MAX: usize = 16;

/// Divides partitions so that nobody has two more than another that could take one over, moving as few as that takes.
pub(super) fn assign(spec: &Spec) -> BTreeMap<Str, Partitions> {
    let mut division = Division::before(spec);
    let topics = division.topics_by_need();
    for topic in &topics {
        division.hand_out(*topic);
    }
    for _ in 0..ROUNDS_MAX {
        let moved: usize = topics.iter().map(|topic| division.even_out(*topic)).sum();
        if moved == 0 {
            break;
        }
    }
    division.into_assignment()
}

/// A member, by its place in the order of ids.
type Place = usize;

/// A division in the making.
struct Division<'a> {
    ids: Vec<&'a Str>,
    /// How many partitions each member has.
    loads: Vec<usize>,
    topics: BTreeMap<Uuid, Topic>,
}

struct Topic {
    readers: Vec<Place>,
    /// Whose each partition is.
    owners: Vec<Option<Place>>,
}

impl<'a> Division<'a> {
    /// What everybody had and may keep.
    fn before(spec: &'a Spec) -> Self {
        let ids: Vec<&Str> = spec.members.keys().collect();
        let mut loads = vec![0; ids.len()];
        let mut topics: BTreeMap<Uuid, Topic> = BTreeMap::new();
        for (place, member) in spec.members.values().enumerate() {
            for id in &member.topics {
                let count = spec.topics.get(id).and_then(|count| usize::try_from(*count).ok()).unwrap_or(0);
                let topic = topics
                    .entry(*id)
                    .or_insert_with(|| Topic { readers: Vec::new(), owners: vec![None; count] });
                topic.readers.push(place);
                for partition in member.before.get(id).into_iter().flatten() {
                    let owner =
                        usize::try_from(*partition).ok().and_then(|index| topic.owners.get_mut(index));
                    if let Some(owner @ None) = owner {
                        *owner = Some(place);
                        if let Some(load) = loads.get_mut(place) {
                            *load += 1;
                        }
                    }
                }
            }
        }
        Self { ids, loads, topics }
    }

    /// The topics that leave the least choice first: many partitions for each reader, then few readers.
    fn topics_by_need(&self) -> Vec<Uuid> {
        let mut topics: Vec<(&Uuid, &Topic)> = self.topics.iter().collect();
        topics.sort_by(|(a_id, a), (b_id, b)| {
            let (a_each, b_each) = (a.owners.len() * b.readers.len(), b.owners.len() * a.readers.len());
            b_each.cmp(&a_each).then(a.readers.len().cmp(&b.readers.len())).then(a_id.cmp(b_id))
        });
        topics.into_iter().map(|(id, _)| *id).collect()
    }

    /// Gives each free partition of a topic to the reader that has least.
    fn hand_out(&mut self, id: Uuid) {
        let Some(topic) = self.topics.get_mut(&id) else { return };
        if topic.owners.iter().all(Option::is_some) {
            return;
        }
        let mut readers = by_load(&topic.readers, &self.loads);
        for owner in topic.owners.iter_mut().filter(|owner| owner.is_none()) {
            let Some((load, place)) = readers.pop_first() else { return };
            readers.insert((load + 1, place));
            *owner = Some(place);
        }
        store(&readers, &mut self.loads);
    }

    /// Moves partitions of a topic from who has most to who has least, as long as that makes them more alike. Says how
    /// many.
    fn even_out(&mut self, id: Uuid) -> usize {
        let Some(topic) = self.topics.get_mut(&id) else { return 0 };
        let mut readers = by_load(&topic.readers, &self.loads);
        let difference = |most: Option<&(usize, Place)>, least: Option<&(usize, Place)>| match (most, least) {
            (Some(most), Some(least)) => most.0.saturating_sub(least.0),
            _ => 0,
        };
        if difference(readers.last(), readers.first()) <= 1 {
            return 0;
        }
        // Who has something of this topic to give, and what.
        let mut held: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
        for (partition, owner) in topic.owners.iter().enumerate() {
            if let Some(owner) = owner {
                held.entry(*owner).or_default().push(partition);
            }
        }
        let mut givers: BTreeSet<(usize, Place)> =
            readers.iter().filter(|(_, place)| held.contains_key(place)).copied().collect();
        let mut moved = 0;
        while difference(givers.last(), readers.first()) > 1 {
            let (Some((most, giver)), Some((least, taker))) = (givers.pop_last(), readers.pop_first()) else {
                break;
            };
            let partitions = held.entry(giver).or_default();
            let Some(partition) = partitions.pop() else { break };
            if let Some(owner) = topic.owners.get_mut(partition) {
                *owner = Some(taker);
            }
            moved += 1;
            readers.remove(&(most, giver));
            readers.insert((most - 1, giver));
            if !partitions.is_empty() {
                givers.insert((most - 1, giver));
            }
            readers.insert((least + 1, taker));
            // What it was just given it may have to give on only in another topic's name.
            if givers.remove(&(least, taker)) {
                givers.insert((least + 1, taker));
            }
        }
        store(&readers, &mut self.loads);
        moved
    }

    fn into_assignment(self) -> BTreeMap<Str, Partitions> {
        let mut assigned: Vec<Partitions> = self.ids.iter().map(|_| Partitions::new()).collect();
        for (id, topic) in &self.topics {
            for (partition, owner) in (0i32..).zip(&topic.owners) {
                if let Some(mine) = owner.and_then(|place| assigned.get_mut(place)) {
                    mine.entry(*id).or_default().insert(partition);
                }
            }
        }
        self.ids.into_iter().cloned().zip(assigned).collect()
    }
}

/// Members in the order of what they have.
fn by_load(readers: &[Place], loads: &[usize]) -> BTreeSet<(usize, Place)> {
    readers.iter().filter_map(|&place| Some((*loads.get(place)?, place))).collect()
}

fn store(readers: &BTreeSet<(usize, Place)>, loads: &mut [usize]) {
    for (load, place) in readers {
        if let Some(stored) = loads.get_mut(*place) {
            *stored = *load;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Assignor,
        tests::{each, load, spec},
    };
    use super::*;

    fn loads(assigned: &BTreeMap<Str, Partitions>) -> Vec<usize> {
        assigned.values().map(load).collect()
    }

    #[test]
    fn who_joins_gets_its_share_and_nothing_else_moves() {
        let two = spec(&[9], &[("a", &[1]), ("b", &[1])]);
        let first = Assignor::Uniform.assign(&two);
        let mut three = spec(&[9], &[("a", &[1]), ("b", &[1]), ("c", &[1])]);
        for (id, member) in &mut three.members {
            member.before = first.get(id).cloned().unwrap_or_default();
        }
        let second = Assignor::Uniform.assign(&three);
        assert_eq!(loads(&second), [3, 3, 3]);
        for id in ["a", "b"].map(Str::from) {
            assert!(each(&second[&id]).all(|held| each(&first[&id]).any(|before| before == held)));
        }
    }

    #[test]
    fn what_a_member_leaves_is_shared_by_the_others_who_keep_all() {
        let three = spec(&[9], &[("a", &[1]), ("b", &[1]), ("c", &[1])]);
        let first = Assignor::Uniform.assign(&three);
        let mut two = spec(&[9], &[("a", &[1]), ("c", &[1])]);
        for (id, member) in &mut two.members {
            member.before = first[id].clone();
        }
        let second = Assignor::Uniform.assign(&two);
        assert_eq!(loads(&second).iter().sum::<usize>(), 9);
        for id in ["a", "c"].map(Str::from) {
            assert!(each(&first[&id]).all(|held| each(&second[&id]).any(|after| after == held)));
        }
    }

    #[test]
    fn who_reads_alone_has_no_share_of_the_rest() {
        // Six partitions only `a` may have; the other six go to `b` and `c`.
        let spec = spec(&[6, 6], &[("a", &[1, 2]), ("b", &[2]), ("c", &[2])]);
        assert_eq!(loads(&Assignor::Uniform.assign(&spec)), [6, 3, 3]);
    }

    #[test]
    fn a_hundred_members_share_a_thousand_partitions() {
        let names: Vec<String> = (0..100).map(|number| format!("m{number}")).collect();
        let members: Vec<(&str, &[u128])> =
            names.iter().map(|name| (name.as_str(), &[1u128, 2][..])).collect();
        let spec = spec(&[613, 387], &members);
        assert!(loads(&Assignor::Uniform.assign(&spec)).iter().all(|load| *load == 10));
    }
}
