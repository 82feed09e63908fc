//! Brokers that come up.

use ottla_protocol::{
    messages::metadata_log::{
        feature_level_record::FeatureLevelRecord,
        partition_change_record::PartitionChangeRecord,
        register_broker_record::{BrokerEndpoint, BrokerFeature, RegisterBrokerRecord},
    },
    types::{BrokerId, Str, Uuid},
};

use super::Decision;
use crate::metadata::{
    image::{Endpoint, Image},
    record::MetadataRecord,
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
    /// Whether it had time to flush its logs when it last stopped.
    pub(crate) clean_shutdown: bool,
}

/// Registers a broker, ready to lead; the answer is its epoch.
///
/// After an unclean stop its partitions begin a new leader epoch each: records at the ends of their logs may be
/// lost, and a client that has read them learns of it by the epoch (KIP-320).
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
        ..BrokerEndpoint::default()
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
    if !registration.clean_shutdown {
        records.extend(new_leader_epochs(image, registration.broker));
    }
    Decision { records, answer: broker_epoch }
}

fn new_leader_epochs(image: &Image, leader: BrokerId) -> impl Iterator<Item = MetadataRecord> {
    image.topics().flat_map(move |topic| {
        let led =
            topic.partitions.iter().enumerate().filter(move |(_, partition)| partition.leader == leader);
        led.map(move |(index, _)| {
            let record = PartitionChangeRecord {
                partition_id: index as i32,
                topic_id: topic.id,
                leader,
                ..PartitionChangeRecord::default()
            };
            record.into()
        })
    })
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};

    use super::*;
    use crate::controller::{
        testing::{NODE, cluster_of, counting_ids, registration, rules},
        topics,
    };

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

    #[test]
    fn after_an_unclean_stop_every_partition_begins_an_epoch_and_after_a_clean_one_none() {
        let image = cluster_of(&[1, 2]);
        let topic = CreatableTopic {
            name: "a".into(),
            num_partitions: 4,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        let created = topics::create(&image, &rules(""), &request, false, &mut counting_ids());
        let image = image.apply(&created.records, 1).unwrap();
        let epochs = |clean_shutdown| {
            let registration = Registration { clean_shutdown, ..registration(NODE) };
            let image = image.apply(&register(&image, &registration).records, 2).unwrap();
            let partitions = &image.topic(&"a".into()).unwrap().partitions;
            partitions.iter().map(|p| (p.leader.0, p.leader_epoch)).collect::<Vec<_>>()
        };
        assert_eq!(epochs(true), [(1, 0), (2, 0), (1, 0), (2, 0)]);
        assert_eq!(epochs(false), [(1, 1), (2, 0), (1, 1), (2, 0)]);
    }
}
