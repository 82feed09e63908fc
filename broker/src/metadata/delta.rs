//! What changed between two images, for those who carry it out.

use std::{collections::BTreeSet, sync::Arc};

use ottla_protocol::types::TopicName;

use super::image::{Configs, Image, Topic};

/// The difference between an image and a later one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Delta {
    /// Topics that are new, or are others than the ones that had their names.
    pub(crate) created: Vec<Arc<Topic>>,
    /// Topics that are gone.
    pub(crate) deleted: Vec<Arc<Topic>>,
    /// Topics whose partitions changed or became more, before and after.
    pub(crate) changed: Vec<(Arc<Topic>, Arc<Topic>)>,
    /// Topics whose own configuration changed; among them may be such as were created or deleted.
    pub(crate) configured: BTreeSet<TopicName>,
    /// Whether the configuration of a broker, or of all, changed.
    pub(crate) brokers_configured: bool,
}

impl Delta {
    /// What leads from `before` to `after`. From the image of nothing, everything.
    pub(crate) fn between(before: &Image, after: &Image) -> Self {
        let mut delta = Self::default();
        if !before.shares_topics_with(after) {
            delta.compare_topics(before, after);
        }
        if !Arc::ptr_eq(before.configs(), after.configs()) {
            delta.compare_configs(before.configs(), after.configs());
        }
        delta
    }

    /// Topics that are the same in both are the same allocation, so this looks at names and pointers only.
    fn compare_topics(&mut self, before: &Image, after: &Image) {
        for new in after.topics() {
            match before.topic(&new.name) {
                Some(old) if Arc::ptr_eq(old, new) => {}
                Some(old) if old.id == new.id => self.changed.push((Arc::clone(old), Arc::clone(new))),
                Some(old) => {
                    self.deleted.push(Arc::clone(old));
                    self.created.push(Arc::clone(new));
                }
                None => self.created.push(Arc::clone(new)),
            }
        }
        let gone = before.topics().filter(|old| after.topic(&old.name).is_none());
        self.deleted.extend(gone.cloned());
    }

    fn compare_configs(&mut self, before: &Configs, after: &Configs) {
        let same = |name: &TopicName| match (before.topics.get(name), after.topics.get(name)) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old == new,
            (old, new) => old.is_none() && new.is_none(),
        };
        let names = before.topics.keys().chain(after.topics.keys());
        self.configured = names.filter(|name| !same(name)).cloned().collect();
        self.brokers_configured =
            !Arc::ptr_eq(&before.brokers, &after.brokers) && before.brokers != after.brokers;
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::{
        messages::metadata_log::{
            config_record::ConfigRecord, partition_record::PartitionRecord,
            remove_topic_record::RemoveTopicRecord, topic_record::TopicRecord,
        },
        types::{BrokerId, Str, Uuid},
    };

    use super::*;
    use crate::metadata::record::MetadataRecord;

    fn topic(name: &str, id: u128) -> MetadataRecord {
        TopicRecord { name: name.into(), topic_id: Uuid(id) }.into()
    }

    fn partition(id: u128, partition_id: i32) -> MetadataRecord {
        let replicas = vec![BrokerId(1)];
        PartitionRecord { partition_id, topic_id: Uuid(id), replicas, ..PartitionRecord::default() }.into()
    }

    fn config(resource_type: i8, resource: &str, value: Option<&str>) -> MetadataRecord {
        let value = value.map(Str::from);
        ConfigRecord { resource_type, resource_name: resource.into(), name: "k".into(), value }.into()
    }

    fn remove(id: u128) -> MetadataRecord {
        RemoveTopicRecord { topic_id: Uuid(id) }.into()
    }

    fn names(topics: &[Arc<Topic>]) -> Vec<&str> {
        topics.iter().map(|t| &*t.name).collect()
    }

    #[test]
    fn topics_are_created_deleted_and_changed() {
        let before = Image::new("c".into())
            .apply(
                &[
                    topic("a", 1),
                    partition(1, 0),
                    topic("b", 2),
                    partition(2, 0),
                    topic("c", 3),
                    partition(3, 0),
                ],
                0,
            )
            .unwrap();
        let all = Delta::between(&Image::new("c".into()), &before);
        assert_eq!(names(&all.created), ["a", "b", "c"]);
        let after = before.apply(&[remove(1), partition(2, 1), topic("d", 4), partition(4, 0)], 0).unwrap();
        let delta = Delta::between(&before, &after);
        assert_eq!((names(&delta.created), names(&delta.deleted)), (vec!["d"], vec!["a"]));
        let (old, new) = &delta.changed[0];
        assert_eq!((delta.changed.len(), old.partitions.len(), new.partitions.len()), (1, 1, 2));
        assert_eq!(Delta::between(&after, &after.clone()), Delta::default());
    }

    #[test]
    fn a_topic_of_the_same_name_and_another_id_is_another() {
        let before = Image::new("c".into()).apply(&[topic("a", 1), partition(1, 0)], 0).unwrap();
        let after = before.apply(&[remove(1), topic("a", 2), partition(2, 0)], 0).unwrap();
        let delta = Delta::between(&before, &after);
        assert_eq!((delta.created[0].id, delta.deleted[0].id), (Uuid(2), Uuid(1)));
        assert!(delta.changed.is_empty());
    }

    #[test]
    fn configurations_that_changed_are_named() {
        let before = Image::new("c".into())
            .apply(
                &[
                    topic("a", 1),
                    partition(1, 0),
                    config(2, "a", Some("1")),
                    topic("b", 2),
                    config(2, "b", Some("1")),
                ],
                0,
            )
            .unwrap();
        let set = |records: &[MetadataRecord]| Delta::between(&before, &before.apply(records, 0).unwrap());
        assert_eq!(set(&[config(2, "a", Some("2"))]).configured, BTreeSet::from(["a".into()]));
        assert_eq!(set(&[config(2, "a", None)]).configured, BTreeSet::from(["a".into()]));
        assert_eq!(set(&[config(2, "a", Some("1"))]).configured, BTreeSet::new(), "the same value");
        assert!(set(&[config(4, "", Some("1"))]).brokers_configured);
    }
}
