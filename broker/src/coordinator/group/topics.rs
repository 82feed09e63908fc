//! What groups need to know of the cluster's topics.

#[cfg(any(test, feature = "simulation"))]
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use ottla_protocol::types::{Str, TopicName, Uuid};
use twox_hash::XxHash3_64;

use crate::metadata::Image;

/// First byte of what a topic's hash is of; another way to hash would have another.
const TOPIC_HASH_MAGIC: u8 = 0;

/// A topic as groups see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TopicView {
    pub(crate) id: Uuid,
    pub(crate) partition_count: i32,
}

/// The topics at one moment.
pub(crate) trait Topics {
    /// Another one where anything may have changed.
    fn version(&self) -> i64;

    /// The topic of this name.
    fn topic(&self, name: &Str) -> Option<TopicView>;

    /// The name of the topic of this id.
    fn name(&self, id: Uuid) -> Option<TopicName>;

    /// All names, in their order.
    fn names(&self) -> Box<dyn Iterator<Item = &TopicName> + '_>;

    /// The racks of the brokers that hold a partition, sorted.
    fn racks(&self, name: &Str, partition: i32) -> Vec<Str>;
}

impl Topics for Image {
    fn version(&self) -> i64 {
        self.offset()
    }

    fn topic(&self, name: &Str) -> Option<TopicView> {
        let topic = Self::topic(self, &TopicName(name.clone()))?;
        let partition_count = i32::try_from(topic.partitions.len()).ok()?;
        Some(TopicView { id: topic.id, partition_count })
    }

    fn name(&self, id: Uuid) -> Option<TopicName> {
        self.topic_by_id(id).map(|topic| topic.name.clone())
    }

    fn names(&self) -> Box<dyn Iterator<Item = &TopicName> + '_> {
        Box::new(self.topics().map(|topic| &topic.name))
    }

    fn racks(&self, name: &Str, partition: i32) -> Vec<Str> {
        let topic = Self::topic(self, &TopicName(name.clone()));
        let partition = topic.zip(usize::try_from(partition).ok()).and_then(|(t, i)| t.partitions.get(i));
        let replicas = partition.into_iter().flat_map(|partition| partition.replicas.iter());
        let mut racks: Vec<Str> =
            replicas.filter_map(|id| self.broker(*id).and_then(|broker| broker.rack.clone())).collect();
        racks.sort();
        racks
    }
}

/// A number that is another one if any of the topics is: Kafka's own (`Utils.computeGroupHash`), so that a log is
/// understood on either side.
pub(crate) fn hash(names: &BTreeSet<Str>, topics: &dyn Topics) -> i64 {
    let mut all = Vec::new();
    for name in names {
        if let Some(topic) = topics.topic(name) {
            all.extend(hash_topic(name, &topic, topics).to_le_bytes());
        }
    }
    if all.is_empty() { 0 } else { XxHash3_64::oneshot(&all).cast_signed() }
}

fn hash_topic(name: &Str, topic: &TopicView, topics: &dyn Topics) -> u64 {
    let mut bytes = vec![TOPIC_HASH_MAGIC];
    // The halves of the id, each as Java writes a long where bytes count from the lowest.
    bytes.extend(((topic.id.0 >> 64) as u64).to_le_bytes());
    bytes.extend((topic.id.0 as u64).to_le_bytes());
    put_text(&mut bytes, name);
    bytes.extend(topic.partition_count.to_le_bytes());
    for partition in 0..topic.partition_count {
        bytes.extend(partition.to_le_bytes());
        for rack in topics.racks(name, partition) {
            bytes.extend(java_length(&rack).to_le_bytes());
            put_text(&mut bytes, &rack);
        }
    }
    XxHash3_64::oneshot(&bytes)
}

/// A text as Java has it, and its length behind it.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    text.encode_utf16().for_each(|unit| bytes.extend(unit.to_le_bytes()));
    bytes.extend(java_length(text).to_le_bytes());
}

fn java_length(text: &str) -> i32 {
    i32::try_from(text.encode_utf16().count()).unwrap_or(i32::MAX)
}

/// Topics that tests and simulations make.
#[cfg(any(test, feature = "simulation"))]
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownTopics {
    version: i64,
    topics: BTreeMap<TopicName, TopicView>,
    /// The racks of every partition.
    racks: Vec<Str>,
}

#[cfg(any(test, feature = "simulation"))]
impl KnownTopics {
    /// Gives a topic so many partitions, or makes it. Ids count from 1, in the order of making.
    pub(crate) fn set(&mut self, name: &str, partition_count: i32) {
        self.version += 1;
        let id = Uuid(self.topics.len() as u128 + 1);
        let topic = self.topics.entry(name.into()).or_insert(TopicView { id, partition_count });
        topic.partition_count = partition_count;
    }
}

#[cfg(test)]
impl KnownTopics {
    /// Topics of these names with so many partitions each.
    pub(super) fn of(topics: &[(&str, i32)]) -> Self {
        let mut made = Self::default();
        topics.iter().for_each(|(name, count)| made.set(name, *count));
        made
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.version += 1;
        self.topics.remove(&TopicName::from(name));
    }
}

#[cfg(any(test, feature = "simulation"))]
impl Topics for KnownTopics {
    fn version(&self) -> i64 {
        self.version
    }

    fn topic(&self, name: &Str) -> Option<TopicView> {
        self.topics.get(&TopicName(name.clone())).cloned()
    }

    fn name(&self, id: Uuid) -> Option<TopicName> {
        self.topics.iter().find(|(_, topic)| topic.id == id).map(|(name, _)| name.clone())
    }

    fn names(&self) -> Box<dyn Iterator<Item = &TopicName> + '_> {
        Box::new(self.topics.keys())
    }

    fn racks(&self, _: &Str, _: i32) -> Vec<Str> {
        self.racks.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_kafkas() {
        let mut topics = KnownTopics::of(&[("foo", 2), ("bar", 1)]);
        let names = BTreeSet::from(["foo", "bar", "absent"].map(Str::from));
        assert_eq!(hash(&names, &topics), HASH_PLAIN);
        topics.racks = vec!["rack0".into(), "rack1".into()];
        assert_eq!(hash(&names, &topics), HASH_RACKS);
        assert_eq!(hash(&BTreeSet::from(["absent".into()]), &topics), 0);
    }

    /// What hash4j 0.22.0, with which Kafka 4.3 hashes, makes of the same.
    const HASH_PLAIN: i64 = -7_613_050_214_333_958_078;
    const HASH_RACKS: i64 = 2_962_582_319_097_789_986;
}
