//! Even, and as little moved as can be (KIP-54, KIP-341, KIP-429).
//!
//! Where all members subscribe to the same topics, as they mostly do, that is a matter of quotas, and is done here.
//! Else [`sticky_general`](super::sticky_general) shifts partition by partition.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ottla_protocol::types::Str;

use super::{Assignor, Member, Topics, java, metadata, racks, sticky_general};
use crate::cluster::TopicPartition;

pub(super) fn assign(assignor: Assignor, topics: &Topics, members: &[Member]) -> Vec<Vec<TopicPartition>> {
    if members.is_empty() {
        return Vec::new();
    }
    let group = Group::new(assignor, topics, members);
    let (assigned, transferred) = match same_topics(members) {
        true => Quotas::new(&group).assign(),
        false => {
            let assigned = sticky_general::assign(&group);
            let transferred = group.transferred(&assigned);
            (assigned, transferred)
        }
    };
    // From places in the group's order back to those of the caller.
    let mut assignment = vec![Vec::new(); members.len()];
    for (place, partitions) in assigned.into_iter().enumerate() {
        assignment[group.members[place]] = partitions
            .into_iter()
            // What another member still has goes to its new owner in the next rebalance.
            .filter(|partition| !assignor.is_cooperative() || !transferred.contains(partition))
            .map(|partition| group.partitions[partition].clone())
            .collect();
    }
    assignment
}

/// Whether all members subscribe to the same topics, also to those that are not there.
fn same_topics(members: &[Member]) -> bool {
    let mut all = members.iter().map(|member| member.subscription.topics.iter().collect::<BTreeSet<_>>());
    all.next().is_none_or(|first| all.all(|other| other == first))
}

/// The input, by numbers: partitions in order of topic and index, members in order of their ids.
pub(super) struct Group {
    pub(super) partitions: Vec<TopicPartition>,
    /// The topic of each partition, by its place in [`Self::subscribers`].
    pub(super) topic_of: Vec<usize>,
    /// By topic, the members that subscribe to it.
    pub(super) subscribers: Vec<Vec<usize>>,
    /// By member, the topics that it subscribes to, in its own order.
    pub(super) subscribed: Vec<Vec<usize>>,
    /// By member, its place in the caller's list.
    members: Vec<usize>,
    /// The order in which Java walks its map of members.
    java_order: Vec<usize>,
    /// By member, what it has and nobody has a better claim to.
    pub(super) owned: Vec<Vec<usize>>,
    /// Partitions that several members of one generation claim; nobody has them.
    disputed: BTreeSet<usize>,
    /// Former owners of older generations, the newest of each partition: who last had it, if not now.
    pub(super) former: HashMap<usize, usize>,
    /// By member, what it says it owns in its subscription.
    told: Vec<Vec<usize>>,
    pub(super) racks: Racks,
}

/// Where members and replicas are, if that matters.
pub(super) struct Racks {
    /// By member; empty where racks do not matter.
    members: Vec<Option<Str>>,
    /// By partition.
    partitions: Vec<Vec<Str>>,
    /// By partition, how many members are near; empty where no member says where it is.
    near: Vec<usize>,
}

impl Racks {
    pub(super) fn matter(&self) -> bool {
        !self.members.is_empty()
    }

    pub(super) fn of_member(&self, member: usize) -> Option<&Str> {
        self.members.get(member).and_then(Option::as_ref)
    }

    /// Whether a replica of the partition is in this rack.
    pub(super) fn is_in(&self, partition: usize, rack: &Str) -> bool {
        self.partitions[partition].contains(rack)
    }

    /// Whether the member is somewhere where no replica is, and that matters.
    pub(super) fn mismatch(&self, member: usize, partition: usize) -> bool {
        self.of_member(member).is_some_and(|rack| !self.is_in(partition, rack))
    }

    /// The first of `members` near to the partition, from place `first` on, round the end.
    fn next_near(&self, partition: usize, members: &[usize], first: usize) -> Option<usize> {
        let places = (0..members.len()).map(|step| (first + step) % members.len());
        places
            .into_iter()
            .find(|&place| self.of_member(members[place]).is_some_and(|rack| self.is_in(partition, rack)))
    }
}

/// What a member claims, and since when.
struct Claim {
    partitions: Vec<usize>,
    generation: Option<i32>,
    /// The generation of its subscription, by which it is compared as the other one.
    subscription_generation: i32,
}

const NO_GENERATION: i32 = -1;

impl Group {
    fn new(assignor: Assignor, topics: &Topics, members: &[Member]) -> Self {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by_key(|&index| members[index].id.as_bytes());
        let topic_names: Vec<_> = topics.keys().collect();
        let (mut partitions, mut topic_of, mut replica_racks) = (Vec::new(), Vec::new(), Vec::new());
        for (place, (topic, racks)) in topics.iter().enumerate() {
            for (index, racks) in racks.iter().enumerate() {
                partitions.push(TopicPartition::new(topic.clone(), index as i32));
                topic_of.push(place);
                replica_racks.push(racks.clone());
            }
        }
        let mut subscribers = vec![Vec::new(); topic_names.len()];
        let mut subscribed = Vec::with_capacity(members.len());
        for (place, &index) in order.iter().enumerate() {
            let mut of_member = Vec::new();
            for name in &members[index].subscription.topics {
                if let Ok(topic) = topic_names.binary_search(&name)
                    && !of_member.contains(&topic)
                {
                    of_member.push(topic);
                    subscribers[topic].push(place);
                }
            }
            subscribed.push(of_member);
        }
        let claims: Vec<Claim> =
            order.iter().map(|&index| claim(assignor, &members[index], &partitions)).collect();
        let newest = claims.iter().filter_map(|claim| claim.generation).max().unwrap_or(NO_GENERATION);
        let buckets = java::buckets(members.len());
        let mut java_order: Vec<usize> = (0..order.len()).collect();
        java_order.sort_by_key(|&place| {
            let index = order[place];
            (java::bucket(java::hash(&members[index].id), buckets), index)
        });
        let (owned, disputed) = settle(&claims, &java_order, partitions.len());
        Self {
            former: former(java_order.iter().map(|&place| (place, &claims[place])), newest),
            told: order
                .iter()
                .map(|&index| numbers(&members[index].subscription.owned, &partitions))
                .collect(),
            racks: racks_of(order.iter().map(|&index| &members[index]), replica_racks),
            partitions,
            topic_of,
            subscribers,
            subscribed,
            members: order,
            java_order,
            owned,
            disputed,
        }
    }

    /// How many members there are.
    pub(super) fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Partitions that one member is to get and another one still has.
    fn transferred(&self, assigned: &[Vec<usize>]) -> BTreeSet<usize> {
        let (mut added, mut revoked) = (BTreeSet::new(), BTreeSet::new());
        for (told, assigned) in self.told.iter().zip(assigned) {
            let told: BTreeSet<usize> = told.iter().copied().collect();
            let assigned: BTreeSet<usize> = assigned.iter().copied().collect();
            added.extend(assigned.difference(&told).copied());
            revoked.extend(told.difference(&assigned).copied());
        }
        added.intersection(&revoked).copied().collect()
    }
}

/// The numbers of those partitions that are there.
fn numbers(partitions: &[TopicPartition], all: &[TopicPartition]) -> Vec<usize> {
    partitions.iter().filter_map(|partition| all.binary_search(partition).ok()).collect()
}

fn claim(assignor: Assignor, member: &Member, all: &[TopicPartition]) -> Claim {
    let subscription = &member.subscription;
    let user_data = subscription.user_data.as_ref().filter(|data| !data.is_empty());
    let (partitions, generation) = match assignor {
        Assignor::CooperativeSticky => {
            // Before version 2 of the subscription, the generation is in the user data.
            let told = || {
                subscription
                    .user_data
                    .as_ref()
                    .map(|data| data.first_chunk().map_or(NO_GENERATION, |bytes| i32::from_be_bytes(*bytes)))
            };
            (numbers(&subscription.owned, all), subscription.generation.or_else(told))
        }
        _ => match user_data {
            Some(data) => {
                let (partitions, generation) = metadata::read_sticky(data);
                (numbers(&partitions, all), generation)
            }
            None => (Vec::new(), None),
        },
    };
    Claim {
        partitions,
        generation,
        subscription_generation: subscription.generation.unwrap_or(NO_GENERATION),
    }
}

/// Who has what: of several that claim a partition, the one of the newest generation; of several of that, nobody.
///
/// As in Java, a later claim's generation is the one told to the assignor, and the earlier one's that of its
/// subscription. They differ only for clients that do not send the latter, and then the order matters.
fn settle(claims: &[Claim], order: &[usize], partitions: usize) -> (Vec<Vec<usize>>, BTreeSet<usize>) {
    let mut owned: Vec<Vec<usize>> = vec![Vec::new(); claims.len()];
    let mut disputed = BTreeSet::new();
    let mut owner: Vec<Option<usize>> = vec![None; partitions];
    for &member in order {
        let claim = &claims[member];
        let generation = claim.generation.unwrap_or(NO_GENERATION);
        for &partition in &claim.partitions {
            let Some(other) = owner[partition] else {
                owned[member].push(partition);
                owner[partition] = Some(member);
                continue;
            };
            let others = claims[other].subscription_generation;
            if generation < others {
                continue;
            }
            owned[other].retain(|&owned| owned != partition);
            owner[partition] = Some(member);
            if generation == others {
                disputed.insert(partition);
            } else {
                owned[member].push(partition);
            }
        }
    }
    (owned, disputed)
}

fn former<'a>(claims: impl Iterator<Item = (usize, &'a Claim)>, newest: i32) -> HashMap<usize, usize> {
    let mut former: HashMap<usize, (usize, i32)> = HashMap::new();
    for (member, claim) in claims {
        let generation = claim.generation.unwrap_or(NO_GENERATION);
        if generation >= newest {
            continue;
        }
        for &partition in &claim.partitions {
            let known = former.entry(partition).or_insert((member, generation));
            if generation > known.1 {
                *known = (member, generation);
            }
        }
    }
    former.into_iter().map(|(partition, (member, _))| (partition, member)).collect()
}

fn racks_of<'a>(members: impl Iterator<Item = &'a Member> + Clone, partitions: Vec<Vec<Str>>) -> Racks {
    let of_member = |member: &Member| member.subscription.rack.clone();
    let mut by_rack: BTreeMap<Str, usize> = BTreeMap::new();
    for rack in members.clone().filter_map(of_member) {
        *by_rack.entry(rack).or_default() += 1;
    }
    let near = match by_rack.is_empty() {
        true => Vec::new(),
        false => {
            partitions.iter().map(|racks| racks.iter().filter_map(|rack| by_rack.get(rack)).sum()).collect()
        }
    };
    let matter = racks::matter(by_rack.keys(), partitions.iter());
    let members = if matter { members.map(of_member).collect() } else { Vec::new() };
    Racks { members, partitions, near }
}

/// The division where all subscribe to the same: each member gets the least quota, and some one more.
struct Quotas<'a> {
    group: &'a Group,
    least: usize,
    most: usize,
    /// How many members are to have more than the least.
    over_wanted: usize,
    /// How many have.
    over: usize,
    /// Members below the least.
    under: Vec<usize>,
    /// Members at the least, who may get one more.
    exact: Vec<usize>,
    assigned: Vec<Vec<usize>>,
    /// Partitions that their owner may have to give up.
    given_up: HashMap<usize, usize>,
    transferred: BTreeSet<usize>,
}

impl<'a> Quotas<'a> {
    fn new(group: &'a Group) -> Self {
        let (partitions, members) = (group.partitions.len(), group.member_count());
        Self {
            group,
            least: partitions / members,
            most: partitions.div_ceil(members),
            over_wanted: partitions % members,
            over: 0,
            under: Vec::new(),
            exact: Vec::new(),
            assigned: vec![Vec::new(); members],
            given_up: HashMap::new(),
            transferred: BTreeSet::new(),
        }
    }

    /// What each gets, and what of it another member still has.
    fn assign(mut self) -> (Vec<Vec<usize>>, BTreeSet<usize>) {
        self.keep_owned();
        let mut is_free = vec![true; self.group.partitions.len()];
        for &partition in self.assigned.iter().flatten() {
            is_free[partition] = false;
        }
        let mut free: Vec<usize> = (0..is_free.len()).filter(|&partition| is_free[partition]).collect();
        self.under.sort_unstable();
        self.exact.sort_unstable();
        let racks = &self.group.racks;
        if !racks.near.is_empty() {
            // Those that few are near to come first. The sort is stable.
            free.sort_by_key(|&partition| racks.near[partition]);
        }
        if racks.matter() {
            self.deal_by_racks(&mut free);
        }
        self.deal(free);
        (self.assigned, self.transferred)
    }

    /// Everybody keeps what it has, up to its quota.
    fn keep_owned(&mut self) {
        for &member in &self.group.java_order {
            let (group, partitions) = (self.group, &self.group.partitions);
            let mut owned = group.owned[member].clone();
            owned.retain(|&partition| {
                let mismatch = group.racks.mismatch(member, partition);
                if mismatch {
                    self.given_up.insert(partition, member);
                }
                !mismatch && !group.disputed.contains(&partition)
            });
            owned.sort_by_key(|&partition| (partitions[partition].partition, partition));
            let kept = if owned.len() < self.least {
                self.under.push(member);
                owned.len()
            } else if owned.len() >= self.most && self.over < self.over_wanted {
                self.over += 1;
                if self.over == self.over_wanted {
                    self.exact.clear();
                }
                self.most
            } else {
                if self.over < self.over_wanted {
                    self.exact.push(member);
                }
                self.least
            };
            for &partition in &owned[kept..] {
                self.given_up.insert(partition, member);
            }
            owned.truncate(kept);
            self.assigned[member] = owned;
        }
    }

    /// Gives partitions to members near to them, as long as quotas allow; leaves the others in `free`.
    fn deal_by_racks(&mut self, free: &mut Vec<usize>) {
        let mut next = 0;
        free.retain(|&partition| {
            let racks = &self.group.racks;
            if let Some(place) = racks.next_near(partition, &self.under, next) {
                let member = self.under[place];
                let count = self.give(partition, member);
                next = place + 1;
                if count >= self.least {
                    self.under.remove(place);
                    next = place;
                    if count < self.most && self.over < self.over_wanted {
                        self.exact.push(member);
                    }
                }
                next = next.checked_rem(self.under.len()).unwrap_or(0);
                return false;
            }
            let Some(place) = racks.next_near(partition, &self.exact, 0) else { return true };
            let member = self.exact[place];
            if self.give(partition, member) == self.most {
                self.exact.remove(place);
                self.over += 1;
                if self.over == self.over_wanted {
                    self.exact.clear();
                }
            }
            false
        });
    }

    /// Gives the rest in turn: to those below the least, then one each to those at it.
    fn deal(&mut self, free: Vec<usize>) {
        let mut next = 0;
        for partition in free {
            if next >= self.under.len() {
                next = 0;
            }
            match self.under.get(next).copied() {
                Some(member) => {
                    if self.give(partition, member) == self.least {
                        self.under.remove(next);
                        self.exact.push(member);
                    } else {
                        next += 1;
                    }
                }
                None => {
                    debug_assert!(!self.exact.is_empty(), "the quotas add up to the partitions");
                    let fewest =
                        || (0..self.assigned.len()).min_by_key(|&member| self.assigned[member].len());
                    let member = match self.exact.is_empty() {
                        true => fewest().unwrap_or(0),
                        false => self.exact.remove(0),
                    };
                    self.give(partition, member);
                }
            }
        }
    }

    /// Answers how many the member has now.
    fn give(&mut self, partition: usize, member: usize) -> usize {
        self.assigned[member].push(partition);
        let former = self.given_up.get(&partition);
        if former.is_some_and(|&former| former != member) || self.group.disputed.contains(&partition) {
            self.transferred.insert(partition);
        }
        self.assigned[member].len()
    }
}
