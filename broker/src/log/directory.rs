//! A broker's data directory: whose it is, that only one broker uses it, how it was left, and which logs it holds.
//!
//! The order at start: [`LogDirectory::open`], [`format`](LogDirectory::format) if it is new or
//! [`check`](LogDirectory::check) if it is not, then open each log with what was
//! [`checkpointed`](LogDirectory::checkpointed). At a clean stop: close all logs, write the recovery points that they
//! give, then [`close`](LogDirectory::close).

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use ottla_protocol::types::{TopicName, Uuid};

use super::{
    checkpoint::{self, TopicPartition},
    error::LogError,
    log::{DELETE_SUFFIX, read_partition_metadata},
    meta_properties::{META_PROPERTIES, MetaProperties},
    recovery::Checkpointed,
    vfs::{Disk, LogFile},
};

/// The file whose lock says that a broker runs here.
const LOCK: &str = ".lock";
/// The file that says that all logs were closed.
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// What may be in a directory that no broker was given yet, besides our own beginnings.
const LOST_AND_FOUND: &str = "lost+found";

/// A file of one offset per partition.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CheckpointKind {
    /// Everything before it is flushed: `recovery-point-offset-checkpoint`.
    RecoveryPoint,
    /// Everything before it is on all in-sync replicas: `replication-offset-checkpoint`.
    HighWatermark,
    /// Nothing before it is to be read: `log-start-offset-checkpoint`.
    LogStartOffset,
    /// Everything before it was compacted: `cleaner-offset-checkpoint`. Only of partitions that ever were.
    CleanerOffset,
}

impl CheckpointKind {
    /// All kinds.
    pub const ALL: [Self; 4] =
        [Self::RecoveryPoint, Self::HighWatermark, Self::LogStartOffset, Self::CleanerOffset];

    pub(crate) const fn file_name(self) -> &'static str {
        match self {
            Self::RecoveryPoint => "recovery-point-offset-checkpoint",
            Self::HighWatermark => "replication-offset-checkpoint",
            Self::LogStartOffset => "log-start-offset-checkpoint",
            Self::CleanerOffset => "cleaner-offset-checkpoint",
        }
    }
}

/// A log's directory, found at start.
#[derive(Clone, Debug)]
pub struct PartitionDirectory {
    /// The partition, by the directory's name.
    pub partition: TopicPartition,
    /// The topic's id, if the directory says one.
    pub topic_id: Option<Uuid>,
    /// Where it is.
    pub path: PathBuf,
}

/// A volume's room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Space {
    /// Its size in bytes.
    pub total_bytes: u64,
    /// Bytes that the broker may still write.
    pub usable_bytes: u64,
}

/// A data directory, locked for as long as this value lives.
#[derive(Debug)]
pub struct LogDirectory {
    disk: Disk,
    path: PathBuf,
    meta: Option<MetaProperties>,
    was_clean: bool,
    broker_epoch: Option<i64>,
    /// As they were at start.
    checkpoints: HashMap<CheckpointKind, HashMap<TopicPartition, i64>>,
    /// Closing the file gives the lock back.
    _lock: LogFile,
}

impl LogDirectory {
    /// Locks the directory, which is made if it is not there, and reads how it was left. Deletions that a crash cut
    /// short are finished.
    ///
    /// From here on a crash is a crash: the mark of a clean stop is taken off.
    ///
    /// # Errors
    /// If another broker uses it; if it is Kafka's, another release's, or holds something else; if the disk fails.
    pub fn open(disk: Disk, path: &Path) -> Result<Self, LogError> {
        disk.create_directory_durably(path)?;
        let lock = disk.create(path.join(LOCK))?;
        lock.lock(path)?;
        let meta = MetaProperties::read(&disk, path)?;
        let names = disk.list(path)?;
        if meta.is_none() {
            let ours =
                |name: &str| name.starts_with(META_PROPERTIES) || matches!(name, LOCK | LOST_AND_FOUND);
            if let Some((name, _)) = names.iter().find(|(name, _)| !ours(name)) {
                let why = format!(
                    "it holds `{name}` and no `{META_PROPERTIES}`: give this broker an empty directory"
                );
                return Err(LogError::foreign(path, why));
            }
        }
        for (name, is_directory) in &names {
            if *is_directory && name.ends_with(DELETE_SUFFIX) {
                disk.remove_directory(&path.join(name))?;
            }
        }
        let mark = path.join(CLEAN_SHUTDOWN);
        let clean = disk.read_file(&mark)?;
        if clean.is_some() {
            disk.remove_file(&mark)?;
        }
        // What is read now must not give way to what was there before: a broker that failed may not have come to this.
        disk.sync_directory(path)?;
        let checkpoints = CheckpointKind::ALL.map(|kind| (kind, read_checkpoint(&disk, path, kind)));
        Ok(Self {
            disk,
            path: path.to_owned(),
            meta,
            was_clean: clean.is_some(),
            broker_epoch: clean.and_then(|json| parse_broker_epoch(&json)),
            checkpoints: checkpoints.into(),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The disk that it is on.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// How large its volume is, and how much room is left on it. Blocks.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn space(&self) -> Result<Space, LogError> {
        let volume = rustix::fs::statvfs(&self.path)
            .map_err(|errno| LogError::io("read the free space of", &self.path, errno))?;
        Ok(Space {
            total_bytes: volume.f_blocks.saturating_mul(volume.f_frsize),
            usable_bytes: volume.f_bavail.saturating_mul(volume.f_frsize),
        })
    }

    /// What it says of itself; `None` if no broker was given it yet.
    pub fn meta(&self) -> Option<&MetaProperties> {
        self.meta.as_ref()
    }

    /// Gives a new directory to a broker.
    ///
    /// # Errors
    /// If it was given to one already, or if the disk fails.
    pub fn format(&mut self, meta: MetaProperties) -> Result<(), LogError> {
        if self.meta.is_some() {
            return Err(LogError::foreign(&self.path, "it was given to a broker already"));
        }
        meta.write(&self.disk, &self.path)?;
        self.meta = Some(meta);
        Ok(())
    }

    /// Checks that it belongs to this broker of this cluster.
    ///
    /// # Errors
    /// If it belongs to another, or to none yet.
    pub fn check(&self, cluster_id: &str, node_id: i32) -> Result<(), LogError> {
        let why = match &self.meta {
            None => "it was given to no broker yet".to_owned(),
            Some(meta) if meta.cluster_id != cluster_id => format!(
                "it belongs to cluster `{}`, and this broker to `{cluster_id}`: check `ottla.cluster.id` and `log.dirs`",
                meta.cluster_id
            ),
            Some(meta) if meta.node_id != node_id => format!(
                "it belongs to node `{}`, and this broker is node `{node_id}`: check `node.id` and `log.dirs`",
                meta.node_id
            ),
            Some(_) => return Ok(()),
        };
        Err(LogError::foreign(&self.path, why))
    }

    /// Whether the last broker stopped in order.
    pub fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// The epoch of the broker that stopped in order last (KIP-966); `None` if it did not.
    pub fn broker_epoch(&self) -> Option<i64> {
        self.broker_epoch
    }

    /// The logs in it, by name.
    ///
    /// # Errors
    /// If the disk fails. A log whose `partition.metadata` cannot be read is listed without an id: opening it says why.
    pub fn partitions(&self) -> Result<Vec<PartitionDirectory>, LogError> {
        let mut partitions = Vec::new();
        for (name, is_directory) in self.disk.list(&self.path)? {
            if let Some(partition) = is_directory.then(|| parse_name(&name)).flatten() {
                let path = self.path.join(name);
                partitions.push(PartitionDirectory {
                    partition,
                    topic_id: read_partition_metadata(&self.disk, &path).ok().flatten(),
                    path,
                });
            }
        }
        Ok(partitions)
    }

    /// Where the log of a partition is, or would be.
    pub fn partition_path(&self, partition: &TopicPartition) -> PathBuf {
        self.path.join(format!("{}-{}", partition.topic, partition.partition))
    }

    /// What was known of a log at start: what [`Log::open`](super::Log::open) wants to hear.
    ///
    /// A log without a recovery point was not among those that the clean stop closed: it could not be opened then.
    pub fn checkpointed(&self, partition: &TopicPartition) -> Checkpointed {
        let offset = |kind| self.checkpoint(kind, partition).unwrap_or(0);
        let recovery_point = self.checkpoint(CheckpointKind::RecoveryPoint, partition);
        Checkpointed {
            clean: self.was_clean && recovery_point.is_some(),
            recovery_point: recovery_point.unwrap_or(0),
            log_start_offset: offset(CheckpointKind::LogStartOffset),
        }
    }

    /// What a checkpoint file said of a partition at start.
    pub fn checkpoint(&self, kind: CheckpointKind, partition: &TopicPartition) -> Option<i64> {
        self.checkpoints.get(&kind)?.get(partition).copied()
    }

    /// Writes a checkpoint file, with all partitions; it is on the medium when this returns. Blocks.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn write_checkpoint(
        &self,
        kind: CheckpointKind,
        offsets: impl Iterator<Item = (TopicPartition, i64)>,
    ) -> Result<(), LogError> {
        checkpoint::write_offsets(&self.disk, &self.path.join(kind.file_name()), offsets)
    }

    /// Marks that all logs were closed in order, by the broker of this epoch. The directory is given back when this
    /// value is dropped.
    ///
    /// # Errors
    /// If the disk fails; then the next start checks all logs.
    pub fn close(&self, broker_epoch: i64) -> Result<(), LogError> {
        let json = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
        self.disk.replace_file_durably(&self.path.join(CLEAN_SHUTDOWN), json.as_bytes())
    }
}

/// Reads a checkpoint file. One that is damaged is as good as none: more is checked at start then.
fn read_checkpoint(disk: &Disk, directory: &Path, kind: CheckpointKind) -> HashMap<TopicPartition, i64> {
    checkpoint::read_offsets(disk, &directory.join(kind.file_name())).unwrap_or_else(|error| {
        tracing::warn!(%error, "a checkpoint file is passed over");
        HashMap::new()
    })
}

/// The partition that a directory's name says: `<topic>-<index>`.
fn parse_name(name: &str) -> Option<TopicPartition> {
    let (topic, index) = name.rsplit_once('-')?;
    let topic = TopicName::from(topic);
    let partition = index.parse().ok().filter(|i: &i32| *i >= 0 && i.to_string() == index)?;
    topic.check().is_ok().then_some(TopicPartition { topic, partition })
}

/// The broker's epoch in the mark of a clean stop, `{"version":0,"brokerEpoch":7}`.
fn parse_broker_epoch(json: &[u8]) -> Option<i64> {
    let json: String = String::from_utf8_lossy(json).split_whitespace().collect();
    let (_, value) = json.split_once("\"brokerEpoch\":")?;
    value.split([',', '}']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogErrorKind;

    fn meta() -> MetaProperties {
        MetaProperties { cluster_id: "b3R0bGE".into(), node_id: 1, directory_id: Uuid(5) }
    }

    fn partition(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }

    #[test]
    fn only_one_broker_at_a_time_uses_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = LogDirectory::open(Disk::Real, dir.path()).unwrap();
        let error = LogDirectory::open(Disk::Real, dir.path()).unwrap_err();
        assert!(matches!(error.kind(), LogErrorKind::Locked { .. }));
        assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
        drop(first);
        LogDirectory::open(Disk::Real, dir.path()).unwrap();
    }

    #[test]
    fn a_clean_stop_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut directory = LogDirectory::open(Disk::Real, dir.path()).unwrap();
        assert!(!directory.was_clean());
        directory.format(meta()).unwrap();
        let offsets = [(partition("orders", 0), 17), (partition("a-b", 3), 5)];
        directory.write_checkpoint(CheckpointKind::RecoveryPoint, offsets.into_iter()).unwrap();
        directory.close(42).unwrap();
        drop(directory);
        let json = std::fs::read_to_string(dir.path().join(CLEAN_SHUTDOWN)).unwrap();
        assert_eq!(json, r#"{"version":0,"brokerEpoch":42}"#);

        let directory = LogDirectory::open(Disk::Real, dir.path()).unwrap();
        assert_eq!((directory.was_clean(), directory.broker_epoch()), (true, Some(42)));
        let checkpointed = directory.checkpointed(&partition("a-b", 3));
        assert_eq!(checkpointed, Checkpointed { clean: true, recovery_point: 5, log_start_offset: 0 });
        assert_eq!(directory.checkpoint(CheckpointKind::HighWatermark, &partition("a-b", 3)), None);
        drop(directory);

        let directory = LogDirectory::open(Disk::Real, dir.path()).unwrap();
        assert_eq!((directory.was_clean(), directory.broker_epoch()), (false, None));
    }

    #[test]
    fn another_clusters_directory_and_anothers_data_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut directory = LogDirectory::open(Disk::Real, dir.path()).unwrap();
        directory.check("b3R0bGE", 1).unwrap_err();
        directory.format(meta()).unwrap();
        directory.format(meta()).unwrap_err();
        directory.check("b3R0bGE", 1).unwrap();
        let other_cluster = directory.check("other", 1).unwrap_err().to_string();
        assert!(other_cluster.contains("`b3R0bGE`") && other_cluster.contains("`other`"), "{other_cluster}");
        let other_node = directory.check("b3R0bGE", 2).unwrap_err().to_string();
        assert!(other_node.contains("`1`") && other_node.contains("`2`"), "{other_node}");

        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("holiday.jpg"), b"").unwrap();
        let error = LogDirectory::open(Disk::Real, dir.path()).unwrap_err();
        assert!(error.to_string().contains("holiday.jpg"), "{error}");
    }

    #[test]
    fn logs_are_found_by_name_and_deletions_are_finished() {
        let dir = tempfile::tempdir().unwrap();
        LogDirectory::open(Disk::Real, dir.path()).unwrap().format(meta()).unwrap();
        for name in ["a-b-3", "orders-0", "no_index", "orders-01", "x-1.00ff-delete", "orders-0-stray"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("file-0"), b"").unwrap();
        let id = Uuid(77);
        let metadata = format!("version: 0\ntopic_id: {id}");
        std::fs::write(dir.path().join("orders-0/partition.metadata"), metadata).unwrap();
        let directory = LogDirectory::open(Disk::Real, dir.path()).unwrap();
        let found: Vec<_> =
            directory.partitions().unwrap().into_iter().map(|p| (p.partition, p.topic_id)).collect();
        assert_eq!(found, [(partition("a-b", 3), None), (partition("orders", 0), Some(id))]);
        assert!(!dir.path().join("x-1.00ff-delete").exists());
        assert_eq!(directory.partition_path(&partition("a-b", 3)), dir.path().join("a-b-3"));
    }
}
