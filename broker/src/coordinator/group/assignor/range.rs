//! Range: of each topic, its readers get ranges one after the other, in the order of their names.

use std::collections::BTreeMap;

use ottla_protocol::types::{Str, Uuid};

use super::{Partitions, Spec};

/// Divides each topic by itself. Readers of the same topics with the same partition counts get the same ranges of
/// them, so that what is partitioned alike is read together.
pub(super) fn assign(spec: &Spec) -> BTreeMap<Str, Partitions> {
    let mut ids: Vec<&Str> = spec.members.keys().collect();
    // Static members first, by the names that they keep when their ids change.
    let instance = |id: &Str| spec.members.get(id).and_then(|member| member.instance_id.as_ref());
    ids.sort_by_key(|&id| (instance(id).is_none(), instance(id), id));

    let mut readers: BTreeMap<Uuid, i32> = BTreeMap::new();
    for topic in spec.members.values().flat_map(|member| &member.topics) {
        *readers.entry(*topic).or_default() += 1;
    }
    let mut next: BTreeMap<Uuid, (i32, i32)> = BTreeMap::new();
    let mut assigned = BTreeMap::new();
    for id in ids {
        let Some(member) = spec.members.get(id) else { continue };
        let mut mine = Partitions::new();
        for topic in &member.topics {
            let (Some(&count), Some(&readers)) = (spec.topics.get(topic), readers.get(topic)) else {
                continue;
            };
            let (start, extra) = next.entry(*topic).or_insert((0, count % readers));
            let length = count / readers + i32::from(*extra > 0);
            if length > 0 {
                mine.insert(*topic, (*start..*start + length).collect());
            }
            *start += length;
            *extra = (*extra - 1).max(0);
        }
        assigned.insert(id.clone(), mine);
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::super::{Assignor, tests::spec};
    use super::*;

    fn ranges(assigned: &BTreeMap<Str, Partitions>, id: &str, topic: u128) -> Vec<i32> {
        assigned[&Str::from(id)].get(&Uuid(topic)).into_iter().flatten().copied().collect()
    }

    #[test]
    fn topics_alike_are_divided_alike() {
        let spec = spec(&[7, 7], &[("a", &[1, 2]), ("b", &[1, 2]), ("c", &[1, 2])]);
        let assigned = Assignor::Range.assign(&spec);
        for topic in [1, 2] {
            assert_eq!(ranges(&assigned, "a", topic), [0, 1, 2]);
            assert_eq!(ranges(&assigned, "b", topic), [3, 4]);
            assert_eq!(ranges(&assigned, "c", topic), [5, 6]);
        }
    }

    #[test]
    fn only_who_reads_a_topic_gets_a_range_of_it() {
        let spec = spec(&[4, 3], &[("a", &[1]), ("b", &[1, 2]), ("c", &[2])]);
        let assigned = Assignor::Range.assign(&spec);
        assert_eq!(ranges(&assigned, "a", 1), [0, 1]);
        assert_eq!(ranges(&assigned, "b", 1), [2, 3]);
        assert_eq!(ranges(&assigned, "b", 2), [0, 1]);
        assert_eq!(ranges(&assigned, "c", 2), [2]);
    }

    #[test]
    fn a_static_member_keeps_its_range_under_a_new_id() {
        let named = |mut spec: Spec, id: &str| {
            spec.members.get_mut(&Str::from(id)).unwrap().instance_id = Some("first".into());
            spec
        };
        let before = Assignor::Range.assign(&named(spec(&[4], &[("a", &[1]), ("m", &[1])]), "a"));
        let after = Assignor::Range.assign(&named(spec(&[4], &[("m", &[1]), ("z", &[1])]), "z"));
        assert_eq!(ranges(&before, "a", 1), ranges(&after, "z", 1));
    }
}
