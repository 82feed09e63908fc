//! What tests of the controller share: a broker to decide for, and one that is at work in a directory.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use ottla_protocol::types::{BrokerId, Str, TopicName, Uuid};

use super::{
    BoxFuture, PartitionChange, PartitionFailure, Partitions, Rules, Start, Started,
    brokers::{self, Registration},
    consensus::ConsensusError,
    start,
};
use crate::{
    config::BROKER,
    metadata::image::{Endpoint, Image},
};

/// The broker of all tests.
pub(crate) const NODE: BrokerId = BrokerId(1);
/// Its log directory's id.
pub(crate) const LOG_DIR: Uuid = Uuid(0xd1);

/// The rules of a broker that was started with `properties`.
pub(crate) fn rules(properties: &str) -> Rules {
    Rules::new(NODE, values(properties)).unwrap()
}

pub(crate) fn values(properties: &str) -> ottla_config::Values {
    let mut settings = ottla_config::Settings::new();
    settings.properties("server.properties", properties.as_bytes());
    BROKER.parse(&settings).unwrap()
}

pub(crate) fn registration(broker: BrokerId) -> Registration {
    Registration {
        broker,
        incarnation: Uuid(0x1c),
        endpoints: vec![Endpoint {
            listener: Str::from("PLAINTEXT"),
            host: Str::from("a.example"),
            port: 9092,
            security_protocol: 0,
        }],
        log_dirs: vec![LOG_DIR],
        found: HashMap::new(),
    }
}

/// A cluster of these brokers, and nothing else.
pub(crate) fn cluster_of(brokers: &[i32]) -> Image {
    let nothing = Image::new(Str::from("cluster"));
    brokers.iter().fold(nothing, |image, &id| {
        image.apply(&brokers::register(&image, &registration(BrokerId(id))).records, 1).unwrap()
    })
}

/// Ids that count up.
pub(crate) fn counting_ids() -> impl FnMut() -> Uuid {
    let mut last = 0x1_0000;
    move || {
        last += 1;
        Uuid(last)
    }
}

/// Keeps a partition as a directory with its topic's id in it: enough to see what the controller has had done.
#[derive(Debug)]
pub(crate) struct Directories {
    pub(crate) log_dir: PathBuf,
    /// All changes, in order.
    pub(crate) changes: Mutex<Vec<PartitionChange>>,
}

impl Directories {
    pub(crate) fn new(log_dir: &Path) -> Arc<Self> {
        Arc::new(Self { log_dir: log_dir.to_owned(), changes: Mutex::default() })
    }

    /// The partitions that are there, by the names of their directories.
    pub(crate) fn list(&self) -> Vec<String> {
        let entries =
            fs::read_dir(&self.log_dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = entries.filter(|name| !name.starts_with("__cluster_metadata")).collect();
        names.sort();
        names
    }

    /// The changes since the last call.
    pub(crate) fn take(&self) -> Vec<PartitionChange> {
        std::mem::take(&mut self.changes.lock().unwrap())
    }

    fn apply_one(&self, change: &PartitionChange) -> std::io::Result<()> {
        let directory = |topic: &TopicName, partition: i32| self.log_dir.join(format!("{topic}-{partition}"));
        match change {
            PartitionChange::Open { topic, topic_id, partition, .. } => {
                let directory = directory(topic, *partition);
                fs::create_dir_all(&directory)?;
                fs::write(directory.join("partition.metadata"), topic_id.to_string())
            }
            PartitionChange::Delete { topic, partition, .. } => {
                fs::remove_dir_all(directory(topic, *partition))
            }
            PartitionChange::Configure { .. } => Ok(()),
        }
    }
}

impl Partitions for Directories {
    fn apply(&self, changes: Vec<PartitionChange>) -> BoxFuture<'_, Vec<PartitionFailure>> {
        let failures = changes.iter().filter_map(|change| {
            let why = self.apply_one(change).err()?.to_string();
            let (PartitionChange::Open { topic_id, partition, .. }
            | PartitionChange::Configure { topic_id, partition, .. }
            | PartitionChange::Delete { topic_id, partition, .. }) = *change;
            Some(PartitionFailure { topic_id, partition, why })
        });
        let failures = failures.collect();
        self.changes.lock().unwrap().extend(changes);
        Box::pin(async { failures })
    }

    fn metadata_failed(&self, error: &ConsensusError) {
        panic!("{error}");
    }
}

/// A controller at work in `log_dir`, of a broker that was started with `properties`.
pub(crate) async fn started(log_dir: &Path, properties: &str) -> (Started, Arc<Directories>) {
    let directories = Directories::new(log_dir);
    let start_with = Start {
        cluster_id: Str::from("cluster"),
        log_dir: log_dir.to_owned(),
        config: values(properties),
        registration: registration(NODE),
        initial: Vec::new(),
    };
    let started = start(start_with, Arc::clone(&directories) as Arc<dyn Partitions>).await.unwrap();
    (started, directories)
}
