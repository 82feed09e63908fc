//! The sticky division where members subscribe to different topics: partitions are shifted one by one, from whoever has
//! most to whoever has least and may have them, until no shift makes it more even.

use std::collections::{BTreeSet, HashMap};

use super::{java, sticky::Group};

/// What each member gets, by the group's numbers.
pub(super) fn assign(group: &Group) -> Vec<Vec<usize>> {
    let mut balance = Balance::new(group);
    balance.keep_owned();
    balance.run();
    balance.assigned
}

struct Balance<'a> {
    group: &'a Group,
    /// By member, what it has; the last to come last.
    assigned: Vec<Vec<usize>>,
    owner: Vec<Option<usize>>,
    /// Members that take part, by how much they have.
    by_load: BTreeSet<(usize, usize)>,
    /// Something had to be taken from its owner.
    is_revoked: bool,
    moves: Moves,
    /// Partitions in the order in which they are looked at: those that few may have first.
    order: Vec<usize>,
    /// By member, partitions of all topics that it subscribes to.
    reach: Vec<usize>,
}

impl<'a> Balance<'a> {
    fn new(group: &'a Group) -> Self {
        let mut order: Vec<usize> = (0..group.partitions.len()).collect();
        order.sort_by_key(|&partition| (group.subscribers[group.topic_of[partition]].len(), partition));
        let mut sizes = vec![0; group.subscribers.len()];
        for &topic in &group.topic_of {
            sizes[topic] += 1;
        }
        Self {
            group,
            assigned: vec![Vec::new(); group.member_count()],
            owner: vec![None; group.partitions.len()],
            by_load: BTreeSet::new(),
            is_revoked: false,
            moves: Moves::default(),
            order,
            reach: group
                .subscribed
                .iter()
                .map(|topics| topics.iter().map(|&topic| sizes[topic]).sum())
                .collect(),
        }
    }

    fn may_have(&self, member: usize, partition: usize) -> bool {
        self.group.subscribers[self.group.topic_of[partition]].binary_search(&member).is_ok()
    }

    fn load(&self, member: usize) -> usize {
        self.assigned[member].len()
    }

    /// Everybody keeps what it has and may have.
    fn keep_owned(&mut self) {
        for (member, owned) in self.group.owned.iter().enumerate() {
            for &partition in owned {
                if !self.may_have(member, partition) || self.group.racks.mismatch(member, partition) {
                    self.is_revoked = true;
                } else {
                    self.assigned[member].push(partition);
                    self.owner[partition] = Some(member);
                }
            }
        }
        self.by_load = (0..self.assigned.len()).map(|member| (self.load(member), member)).collect();
    }

    fn run(&mut self) {
        let is_first = self.assigned.iter().all(Vec::is_empty);
        let order = self.order.clone();
        let mut free: Vec<usize> =
            order.iter().copied().filter(|&partition| self.owner[partition].is_none()).collect();
        if self.group.racks.matter() {
            let mut rest = free.clone();
            rest.retain(|&partition| !self.place(partition, true));
            rest.iter().for_each(|&partition| _ = self.place(partition, false));
        } else {
            free.iter().for_each(|&partition| _ = self.place(partition, false));
        }

        let is_movable = |partition: usize| self.group.subscribers[self.group.topic_of[partition]].len() >= 2;
        let mut movable = order;
        movable.retain(|&partition| is_movable(partition));
        free.retain(|&partition| is_movable(partition));
        // Members that have all they may have, and that nobody else may have, stay out of it.
        for member in 0..self.assigned.len() {
            let has_all = self.load(member) >= self.reach[member];
            if has_all && !self.assigned[member].iter().any(|&partition| is_movable(partition)) {
                self.by_load.remove(&(self.load(member), member));
            }
        }

        let before = (self.assigned.clone(), self.owner.clone(), self.unevenness());
        if !self.is_revoked {
            self.shift(&free);
        }
        let is_shifted = self.shift(&movable);
        if !is_first && is_shifted && self.unevenness() >= before.2 {
            (self.assigned, self.owner, _) = before;
        }
    }

    /// Gives a partition to whoever has least and may have it, and with `near` is near to it.
    fn place(&mut self, partition: usize, near: bool) -> bool {
        let racks = &self.group.racks;
        let fits = |&&(_, member): &&(usize, usize)| {
            self.may_have(member, partition) && (!near || !racks.mismatch(member, partition))
        };
        let Some(&(load, member)) = self.by_load.iter().find(fits) else { return false };
        self.by_load.remove(&(load, member));
        self.assigned[member].push(partition);
        self.owner[partition] = Some(member);
        self.by_load.insert((load + 1, member));
        true
    }

    /// The sum of the differences between all pairs that take part.
    fn unevenness(&self) -> usize {
        let loads: Vec<usize> = self.by_load.iter().map(|&(load, _)| load).collect();
        let pairs = loads
            .iter()
            .enumerate()
            .flat_map(|(index, load)| loads[index + 1..].iter().map(move |other| other.abs_diff(*load)));
        pairs.sum()
    }

    /// Whether no member that takes part could be relieved by another.
    fn is_even(&self) -> bool {
        let (Some(&(least, _)), Some(&(most, _))) = (self.by_load.first(), self.by_load.last()) else {
            return true;
        };
        if least + 1 >= most {
            return true;
        }
        self.by_load.iter().filter(|&&(load, member)| load < self.reach[member]).all(|&(load, member)| {
            let mut wanted = self
                .owner
                .iter()
                .enumerate()
                .filter(|&(partition, owner)| *owner != Some(member) && self.may_have(member, partition));
            wanted.all(|(_, owner)| owner.is_none_or(|owner| load + 1 >= self.load(owner)))
        })
    }

    /// Shifts partitions until it is even, or none of these can be shifted. Answers whether any was.
    fn shift(&mut self, partitions: &[usize]) -> bool {
        let mut is_shifted = false;
        loop {
            let mut is_changed = false;
            for &partition in partitions {
                if self.is_even() {
                    break;
                }
                is_changed |= self.relieve(partition);
            }
            is_shifted |= is_changed;
            if !is_changed {
                return is_shifted;
            }
        }
    }

    /// Moves a partition, or one in its place, if that makes it more even.
    fn relieve(&mut self, partition: usize) -> bool {
        let Some(owner) = self.owner[partition] else { return false };
        let load = self.load(owner);
        if let Some(&former) = self.group.former.get(&partition)
            && self.may_have(former, partition)
            && load > self.load(former) + 1
        {
            self.reassign(partition, owner, former);
            return true;
        }
        // Near or not, it goes to whoever has least; nearness was seen to when it was given first.
        let topic = self.group.topic_of[partition];
        if !self.group.subscribers[topic].iter().any(|&other| load > self.load(other) + 1) {
            return false;
        }
        let least = self.by_load.iter().find(|&&(_, member)| self.may_have(member, partition));
        let Some(&(_, to)) = least else { return false };
        self.reassign(partition, owner, to);
        true
    }

    /// Moves a partition; if another of the topic went the other way, that one goes back instead.
    fn reassign(&mut self, partition: usize, owner: usize, to: usize) {
        let moved = self.moves.instead(self.group, partition, owner, to);
        let Some(from) = self.owner[moved] else { return };
        self.by_load.remove(&(self.load(from), from));
        self.by_load.remove(&(self.load(to), to));
        self.moves.record(self.group, moved, from, to);
        self.assigned[from].retain(|&partition| partition != moved);
        self.assigned[to].push(moved);
        self.owner[moved] = Some(to);
        self.by_load.insert((self.load(to), to));
        self.by_load.insert((self.load(from), from));
    }
}

/// What was moved from whom to whom, so that no two partitions of a topic change places.
#[derive(Default)]
struct Moves {
    by_partition: HashMap<usize, (usize, usize)>,
    by_pair: HashMap<(usize, (usize, usize)), Moved>,
}

/// Partitions that went the same way, in the order of coming, and the most there ever were.
#[derive(Default)]
struct Moved {
    partitions: Vec<usize>,
    most: usize,
}

impl Moves {
    fn record(&mut self, group: &Group, partition: usize, from: usize, to: usize) {
        let topic = group.topic_of[partition];
        let pair = match self.by_partition.remove(&partition) {
            Some(before) => {
                if let Some(moved) = self.by_pair.get_mut(&(topic, before)) {
                    moved.partitions.retain(|&other| other != partition);
                    if moved.partitions.is_empty() {
                        self.by_pair.remove(&(topic, before));
                    }
                }
                // Back where it came from: as if it had never been moved.
                if before.0 == to {
                    return;
                }
                (before.0, to)
            }
            None => (from, to),
        };
        self.by_partition.insert(partition, pair);
        let moved = self.by_pair.entry((topic, pair)).or_default();
        moved.partitions.push(partition);
        moved.most = moved.most.max(moved.partitions.len());
    }

    /// The partition to be moved: this one, or one of its topic that went the other way.
    fn instead(&self, group: &Group, partition: usize, owner: usize, to: usize) -> usize {
        let from = self.by_partition.get(&partition).map_or(owner, |&(from, _)| from);
        let Some(moved) = self.by_pair.get(&(group.topic_of[partition], (to, from))) else {
            return partition;
        };
        let buckets = java::buckets(moved.most);
        let bucket = |&&partition: &&usize| {
            let tp = &group.partitions[partition];
            java::bucket(java::partition_hash(&tp.topic, tp.partition), buckets)
        };
        moved.partitions.iter().min_by_key(bucket).copied().unwrap_or(partition)
    }
}
