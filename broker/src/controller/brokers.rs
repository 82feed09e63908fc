//! Brokers that come up.

use std::collections::HashMap;

use ottla_protocol::{
    messages::metadata_log::{
        broker_registration_change_record::BrokerRegistrationChangeRecord,
        feature_level_record::FeatureLevelRecord,
        partition_change_record::PartitionChangeRecord,
        register_broker_record::{BrokerEndpoint, BrokerFeature, RegisterBrokerRecord},
    },
    types::{BrokerId, Str, Uuid},
};

use super::{Decision, partitions::UNASSIGNED};
use crate::{
    log::TopicPartition,
    metadata::{
        image::{Endpoint, Image, Partition, Topic},
        record::MetadataRecord,
    },
};

/// The feature that says which records the metadata log may hold.
const METADATA_VERSION: Str = Str::from_static("metadata.version");
/// The level that this release writes: 4.0-IV3.
const METADATA_VERSION_LEVEL: i16 = 25;
/// The lowest level of it: 3.3-IV3, the first without ZooKeeper.
const METADATA_VERSION_LEVEL_MIN: i16 = 7;

/// A broker that comes up.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    /// `node.id`.
    pub(crate) broker: BrokerId,
    /// Random; of this process.
    pub(crate) incarnation: Uuid,
    /// Where it can be reached.
    pub(crate) endpoints: Vec<Endpoint>,
    /// The ids of its log directories.
    pub(crate) log_dirs: Vec<Uuid>,
    /// Logs that were found in its directories: the id of their topic, if they say one, and of the directory. Those
    /// in the way of none of its partitions do not matter; with one directory it may be empty.
    pub(crate) found: HashMap<TopicPartition, Vec<(Option<Uuid>, Uuid)>>,
}

/// Registers a broker, ready to lead; the answer is its epoch.
///
/// The partitions that it leads begin a new leader epoch each: records at the ends of their logs may be lost in a
/// power cut, and a client that has read them learns of it by the epoch (KIP-320). A log that was moved to another
/// directory while the broker was down is assigned to that one.
pub(crate) fn register(image: &Image, registration: &Registration) -> Decision<i64> {
    let mut records: Vec<MetadataRecord> = Vec::new();
    if image.feature_level(&METADATA_VERSION) == 0 {
        let (name, feature_level) = (METADATA_VERSION, METADATA_VERSION_LEVEL);
        records.push(FeatureLevelRecord { name, feature_level }.into());
    }
    // The record's own offset.
    let broker_epoch = image.offset() + 1 + records.len() as i64;
    let end_point = |endpoint: &Endpoint| BrokerEndpoint {
        name: endpoint.listener.clone(),
        host: endpoint.host.clone(),
        port: endpoint.port,
        security_protocol: endpoint.security_protocol,
    };
    let register = RegisterBrokerRecord {
        broker_id: registration.broker,
        incarnation_id: registration.incarnation,
        broker_epoch,
        end_points: registration.endpoints.iter().map(end_point).collect(),
        features: vec![BrokerFeature {
            name: METADATA_VERSION,
            min_supported_version: METADATA_VERSION_LEVEL_MIN,
            max_supported_version: METADATA_VERSION_LEVEL,
        }],
        rack: None,
        fenced: false,
        log_dirs: registration.log_dirs.clone(),
        ..RegisterBrokerRecord::default()
    };
    records.push(register.into());
    records.extend(new_leader_epochs(image, registration));
    Decision { records, answer: broker_epoch }
}

fn new_leader_epochs(image: &Image, registration: &Registration) -> impl Iterator<Item = MetadataRecord> {
    let leader = registration.broker;
    image.topics().flat_map(move |topic| {
        let led =
            topic.partitions.iter().enumerate().filter(move |(_, partition)| partition.leader == leader);
        led.map(move |(index, partition)| {
            let record = PartitionChangeRecord {
                partition_id: index as i32,
                topic_id: topic.id,
                leader,
                directories: moved(topic, index as i32, partition, registration),
                ..PartitionChangeRecord::default()
            };
            record.into()
        })
    })
}

/// The directories of a partition's replicas, if the broker's log was found in another than it is assigned to.
fn moved(topic: &Topic, index: i32, partition: &Partition, registration: &Registration) -> Option<Vec<Uuid>> {
    if registration.found.is_empty() {
        return None;
    }
    let name = TopicPartition { topic: topic.name.clone(), partition: index };
    let mut logs = registration.found.get(&name)?.iter();
    let (_, found_in) = logs.find(|(id, _)| id.is_none_or(|id| id == topic.id))?;
    let place = partition.replicas.iter().position(|replica| *replica == registration.broker)?;
    let mut directories = partition.directories.to_vec();
    directories.resize(partition.replicas.len(), UNASSIGNED);
    let assigned = directories.get_mut(place).filter(|assigned| **assigned != *found_in)?;
    *assigned = *found_in;
    Some(directories)
}

/// Takes a failed directory off a broker, so that nothing new is put there.
pub(crate) fn directory_failed(image: &Image, broker: BrokerId, directory: Uuid) -> Decision<()> {
    let mut records = Vec::new();
    if let Some(broker) = image.broker(broker) {
        let log_dirs: Vec<_> = broker.log_dirs.iter().copied().filter(|id| *id != directory).collect();
        // An empty list means no change; a broker without directories stops anyway.
        if log_dirs.len() < broker.log_dirs.len() && !log_dirs.is_empty() {
            let (broker_id, broker_epoch) = (broker.id, broker.epoch);
            let change =
                BrokerRegistrationChangeRecord { broker_id, broker_epoch, log_dirs, ..Default::default() };
            records.push(change.into());
        }
    }
    Decision { records, answer: () }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ottla_protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};

    use super::*;
    use crate::controller::{
        testing::{LOG_DIR, NODE, cluster_of, counting_ids, registration, rules},
        topics,
    };
    use crate::quota::Mutations;

    #[test]
    fn a_brokers_epoch_is_the_offset_of_its_registration() {
        let image = Image::new(Str::from("cluster"));
        let first = register(&image, &registration(NODE));
        let image = image.apply(&first.records, 1).unwrap();
        assert_eq!(
            (first.answer, image.broker(NODE).unwrap().epoch),
            (1, 1),
            "the metadata.version comes first"
        );
        let again = register(&image, &registration(NODE));
        assert_eq!((again.answer, again.records.len()), (2, 1));
        assert!(image.broker(NODE).unwrap().is_active());
        assert_eq!(image.broker(NODE).unwrap().endpoints[0].host, "a.example");
    }

    fn image_of_four() -> Image {
        let image = cluster_of(&[1, 2]);
        let topic = CreatableTopic {
            name: "a".into(),
            num_partitions: 4,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        let created =
            topics::create(&image, &rules(""), &request, false, &mut counting_ids(), Mutations::default());
        image.apply(&created.records, 1).unwrap()
    }

    #[test]
    fn at_each_start_the_partitions_that_a_broker_leads_begin_an_epoch() {
        let image = image_of_four();
        let image = image.apply(&register(&image, &registration(NODE)).records, 2).unwrap();
        let partitions = &image.topic(&"a".into()).unwrap().partitions;
        let epochs: Vec<_> = partitions.iter().map(|p| (p.leader.0, p.leader_epoch)).collect();
        assert_eq!(epochs, [(1, 1), (2, 0), (1, 1), (2, 0)]);
    }

    #[test]
    fn a_log_that_was_moved_is_assigned_to_where_it_was_found() {
        let image = image_of_four();
        let topic = Arc::clone(image.topic(&"a".into()).unwrap());
        let at = |partition| TopicPartition { topic: "a".into(), partition };
        let found = HashMap::from([
            (at(0), vec![(Some(Uuid(404)), Uuid(0xd2)), (Some(topic.id), Uuid(0xd3))]),
            (at(2), vec![(Some(Uuid(404)), Uuid(0xd2))]),
        ]);
        let registration = Registration { found, ..registration(NODE) };
        let image = image.apply(&register(&image, &registration).records, 2).unwrap();
        let partitions = &image.topic(&"a".into()).unwrap().partitions;
        assert_eq!(partitions[0].directory_of(NODE), Some(Uuid(0xd3)));
        assert_eq!(partitions[2].directory_of(NODE), Some(LOG_DIR), "another topic's log is none of it");
    }

    #[test]
    fn new_partitions_go_to_the_directory_with_the_fewest_and_to_none_that_has_failed() {
        let log_dirs = vec![Uuid(0xd1), Uuid(0xd2), Uuid(0xd3)];
        let image = Image::new(Str::from("cluster"));
        let registered = register(&image, &Registration { log_dirs, ..registration(NODE) });
        let mut image = image.apply(&registered.records, 1).unwrap();
        let mut ids = counting_ids();
        let mut create = |image: &Image, name: &str, num_partitions| {
            let (name, replication_factor) = (name.into(), 1);
            let topic = CreatableTopic { name, num_partitions, replication_factor, ..Default::default() };
            let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
            image
                .apply(
                    &topics::create(image, &rules(""), &request, false, &mut ids, Mutations::default())
                        .records,
                    1,
                )
                .unwrap()
        };
        let counts = |image: &Image| {
            let mut counts = [0; 3];
            for partition in image.topics().flat_map(|topic| &topic.partitions) {
                counts[partition.directory_of(NODE).unwrap().0 as usize - 0xd1] += 1;
            }
            counts
        };
        image = create(&image, "a", 4);
        assert_eq!(counts(&image), [2, 1, 1]);
        image = create(&image, "b", 2);
        assert_eq!(counts(&image), [2, 2, 2]);
        image = image.apply(&directory_failed(&image, NODE, Uuid(0xd2)).records, 1).unwrap();
        image = create(&image, "c", 4);
        assert_eq!(counts(&image), [4, 2, 4]);
        assert!(directory_failed(&image, NODE, Uuid(0xd2)).records.is_empty(), "told once");
    }
}
