//! The partitions of this broker: who owns them, who reads them, who waits for them.
//!
//! A partition's log belongs to one shard, which alone appends to it. Everybody else reads: through
//! [`Replica::reader`], without asking the shard. [`Replicas`] is the table of all of them; a reader keeps the
//! snapshot it took, the controller's task replaces it whole.

pub(crate) mod cleaner;
pub(crate) mod directories;
pub(crate) mod fetch_session;
pub(crate) mod flush;
mod pace;
pub(crate) mod purgatory;
pub(crate) mod scrubber;
pub(crate) mod shard;
pub(crate) mod upkeep;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI32, AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwap;
use directories::{Directories, Directory};
use ottla_protocol::{
    compression::{Codec, Compression},
    error_code::ErrorCode,
    record::TimestampType,
    types::{TopicName, Uuid},
};
use purgatory::Purgatory;
use shard::{ShardHandle, ShardMessage, Unopened};
use tokio::sync::oneshot;

use crate::{
    config::{self, BrokerConfig, CompressionType, TopicConfig},
    log::{CheckpointKind, CleanupPolicy, LogConfig, LogReader, TopicPartition},
    metrics::Traffic,
};

/// A partition of a topic, by the topic's id.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct PartitionId {
    pub(crate) topic: Uuid,
    pub(crate) index: i32,
}

/// What connections see of a partition.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) id: PartitionId,
    /// Which shard owns the log.
    pub(crate) shard: usize,
    /// Reads what is committed, from any core.
    pub(crate) reader: Arc<LogReader>,
    /// Fetches that wait for more.
    pub(crate) purgatory: Purgatory,
    /// Settings that are read on the way in, replaced whole when they change.
    pub(crate) settings: ArcSwap<PartitionSettings>,
    /// What came and went.
    pub(crate) traffic: Traffic,
    /// Where the log lies.
    pub(crate) directory: Arc<Directory>,
    /// Everything before it is on the medium. Only the shard changes it.
    recovery_point: AtomicI64,
    /// Everything before it was compacted; -1 if nothing ever was. Only the cleaner changes it.
    cleaned_offset: AtomicI64,
    /// The epoch in which this broker leads. Only its owner, the shard, changes it.
    leader_epoch: AtomicI32,
}

/// What a produce request is checked against before it reaches the log.
#[derive(Clone, Debug)]
pub(crate) struct PartitionSettings {
    /// Largest record batch, as it came: Kafka's `max.message.bytes`.
    pub(crate) message_bytes_max: usize,
    /// Largest record of a compressed batch, inflated: Kafka's `max.decompressed.message.bytes`.
    pub(crate) decompressed_message_bytes_max: usize,
    /// How far a record's timestamp may lie behind the clock, in ms: `message.timestamp.before.max.ms`.
    pub(crate) timestamp_before_max_ms: i64,
    /// How far a record's timestamp may lie ahead of the clock, in ms: `message.timestamp.after.max.ms`.
    pub(crate) timestamp_after_max_ms: i64,
    /// Whose time a record bears: `message.timestamp.type`.
    pub(crate) timestamp_type: TimestampType,
    /// How stored batches are compressed, where that is not the producer's affair: `compression.type` and the levels.
    pub(crate) codec: Option<Codec>,
    /// Whether only batch headers are checked: `ottla.record.validation=header`.
    pub(crate) validate_headers_only: bool,
    /// What the log itself needs.
    pub(crate) log: LogConfig,
}

impl PartitionSettings {
    /// What a topic's configuration, and its broker's, come to.
    pub(crate) fn new(topic: &TopicConfig, broker: &BrokerConfig) -> Self {
        let log_append_time = topic.message_timestamp_type == config::TimestampType::LogAppendTime;
        Self {
            message_bytes_max: topic.max_message_bytes,
            decompressed_message_bytes_max: topic.max_decompressed_message_bytes,
            timestamp_before_max_ms: topic.message_timestamp_before_max_ms,
            timestamp_after_max_ms: topic.message_timestamp_after_max_ms,
            timestamp_type: if log_append_time {
                TimestampType::LogAppendTime
            } else {
                TimestampType::CreateTime
            },
            codec: stored_codec(topic),
            validate_headers_only: topic.record_validation == config::RecordValidation::Header,
            log: LogConfig {
                segment_bytes: u32::try_from(topic.segment_bytes).unwrap_or(u32::MAX),
                roll_ms: topic.segment_ms,
                index_interval_bytes: u32::try_from(topic.index_interval_bytes).unwrap_or(u32::MAX),
                index_size_max_bytes: u32::try_from(topic.segment_index_bytes).unwrap_or(u32::MAX),
                flush_messages: topic.flush_messages,
                flush_ms: topic.flush_ms,
                log_append_time,
                max_message_bytes: topic.max_message_bytes,
                producer_id_expiration_ms: broker.producer_id_expiration.as_millis() as i64,
                max_producers: usize::try_from(topic.max_producers_per_partition).unwrap_or(usize::MAX),
                roll_jitter_ms: topic.segment_jitter_ms,
                cleanup: cleanup_policy(topic),
                ..LogConfig::default()
            },
        }
    }
}

/// The codec that a topic's batches are stored with; `None` if they stay as they come. Levels were checked when they
/// were set.
fn stored_codec(topic: &TopicConfig) -> Option<Codec> {
    let (compression, level) = match topic.compression_type {
        CompressionType::Producer => return None,
        CompressionType::Uncompressed => return Some(Codec::NONE),
        CompressionType::Snappy => return Some(Codec::new(Compression::Snappy)),
        CompressionType::Gzip => (Compression::Gzip, topic.compression_gzip_level),
        CompressionType::Lz4 => (Compression::Lz4, topic.compression_lz4_level),
        CompressionType::Zstd => (Compression::Zstd, topic.compression_zstd_level),
    };
    Some(Codec::with_level(compression, level).unwrap_or(Codec::new(compression)))
}

/// What a topic's configuration says of old segments.
fn cleanup_policy(topic: &TopicConfig) -> CleanupPolicy {
    let has = |policy: &str| topic.cleanup_policy.iter().any(|p| p == policy);
    CleanupPolicy {
        delete: has("delete"),
        compact: has("compact"),
        retention_ms: u64::try_from(topic.retention_ms).ok(),
        retention_bytes: topic.retention_bytes,
        file_delete_delay_ms: topic.file_delete_delay_ms,
        delete_retention_ms: topic.delete_retention_ms,
        min_compaction_lag_ms: topic.min_compaction_lag_ms,
        max_compaction_lag_ms: topic.max_compaction_lag_ms,
        min_cleanable_dirty_ratio: topic.min_cleanable_dirty_ratio,
    }
}

impl Replica {
    /// The epoch in which this broker leads the partition.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Acquire)
    }

    /// Everything before this offset is on the medium.
    pub(crate) fn recovery_point(&self) -> i64 {
        self.recovery_point.load(Ordering::Acquire)
    }

    /// Whether its disk works.
    pub(crate) fn is_online(&self) -> bool {
        self.directory.is_online()
    }

    /// What a checkpoint file tells of it.
    fn checkpoint(&self, kind: CheckpointKind) -> Option<i64> {
        match kind {
            CheckpointKind::RecoveryPoint => Some(self.recovery_point()),
            CheckpointKind::HighWatermark => Some(self.reader.high_watermark()),
            CheckpointKind::LogStartOffset => Some(self.reader.start_offset()),
            CheckpointKind::CleanerOffset => self.cleaned_offset(),
        }
    }

    /// The checkpoint files that claimed more of it at start than there is. That of the high watermark claims nothing:
    /// nobody goes by it.
    fn wrong_checkpoints(&self, name: &TopicPartition) -> impl Iterator<Item = CheckpointKind> {
        CheckpointKind::ALL.into_iter().filter(move |kind| {
            let told = self.directory.log().checkpoint(*kind, name).unwrap_or(0);
            *kind != CheckpointKind::HighWatermark && told > self.checkpoint(*kind).unwrap_or(0)
        })
    }

    /// Up to where the log was compacted, if it ever was.
    fn cleaned_offset(&self) -> Option<i64> {
        Some(self.cleaned_offset.load(Ordering::Acquire)).filter(|offset| *offset >= 0)
    }

    /// Begins to lead in a newer epoch. Only the owner calls it.
    fn lead(&self, epoch: i32) {
        self.leader_epoch.fetch_max(epoch, Ordering::AcqRel);
    }

    /// Checks the epoch that a client believes in; -1 for none (KIP-320).
    pub(crate) fn check_leader_epoch(&self, theirs: i32) -> Result<(), ErrorCode> {
        match theirs {
            -1 => Ok(()),
            theirs if theirs < self.leader_epoch() => Err(ErrorCode::FENCED_LEADER_EPOCH),
            theirs if theirs > self.leader_epoch() => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
            _ => Ok(()),
        }
    }
}

/// A topic's partitions, by their index.
#[derive(Debug)]
pub(crate) struct TopicReplicas {
    pub(crate) name: TopicName,
    pub(crate) id: Uuid,
    partitions: Vec<Place>,
}

/// What is known of one partition of a topic.
#[derive(Clone, Debug, Default)]
enum Place {
    /// Nothing: it lies elsewhere, or nowhere.
    #[default]
    Absent,
    /// It lies here and its log cannot be used; in which directory, if that is known.
    Offline(Option<Arc<Directory>>),
    Here(Arc<Replica>),
}

impl TopicReplicas {
    /// The partition of this index.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC_OR_PARTITION` if it is not here, `KAFKA_STORAGE_ERROR` if its log could not be opened.
    pub(crate) fn partition(&self, index: i32) -> Result<&Arc<Replica>, ErrorCode> {
        match self.place(index) {
            Some(Place::Here(replica)) => Ok(replica),
            Some(Place::Offline(_)) => Err(ErrorCode::KAFKA_STORAGE_ERROR),
            Some(Place::Absent) | None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        }
    }

    /// The partitions that are served.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = &Arc<Replica>> {
        self.partitions.iter().filter_map(|place| match place {
            Place::Here(replica) => Some(replica),
            Place::Offline(_) | Place::Absent => None,
        })
    }

    fn place(&self, index: i32) -> Option<&Place> {
        usize::try_from(index).ok().and_then(|i| self.partitions.get(i))
    }

    fn places(&self) -> impl Iterator<Item = (PartitionId, &Place)> {
        let id = |index| PartitionId { topic: self.id, index: index as i32 };
        self.partitions.iter().enumerate().map(move |(index, place)| (id(index), place))
    }
}

/// A snapshot of all topics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    by_id: HashMap<Uuid, Arc<TopicReplicas>>,
    by_name: HashMap<TopicName, Arc<TopicReplicas>>,
}

impl Table {
    pub(crate) fn by_id(&self, id: Uuid) -> Option<&Arc<TopicReplicas>> {
        self.by_id.get(&id)
    }

    pub(crate) fn by_name(&self, name: &TopicName) -> Option<&Arc<TopicReplicas>> {
        self.by_name.get(name)
    }

    /// How many partitions are served.
    pub(crate) fn partition_count(&self) -> usize {
        self.by_id.values().map(|t| t.replicas().count()).sum()
    }

    /// The table with `changes` made, all of one topic to one copy of it.
    fn with(&self, changes: Vec<(TopicName, PartitionId, Place)>) -> Self {
        let mut by_topic: HashMap<Uuid, (TopicName, Vec<(i32, Place)>)> = HashMap::new();
        for (name, id, place) in changes {
            by_topic.entry(id.topic).or_insert_with(|| (name, Vec::new())).1.push((id.index, place));
        }
        let mut table = self.clone();
        for (id, (name, places)) in by_topic {
            let mut partitions = self.by_id.get(&id).map(|t| t.partitions.clone()).unwrap_or_default();
            for (index, place) in places {
                let index = usize::try_from(index).unwrap_or_default();
                if partitions.len() <= index {
                    partitions.resize(index + 1, Place::Absent);
                }
                if let Some(there) = partitions.get_mut(index) {
                    *there = place;
                }
            }
            // Another topic may have taken the name of one that is going.
            let is_named = table.by_name.get(&name).is_none_or(|t| t.id == id);
            if partitions.iter().all(|place| matches!(place, Place::Absent)) {
                table.by_id.remove(&id);
                if is_named {
                    table.by_name.remove(&name);
                }
                continue;
            }
            let is_new = !table.by_id.contains_key(&id);
            let topic = Arc::new(TopicReplicas { name: name.clone(), id, partitions });
            if is_named || is_new {
                table.by_name.insert(name, Arc::clone(&topic));
            }
            table.by_id.insert(id, topic);
        }
        table
    }

    /// All topics, in no order.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<TopicReplicas>> {
        self.by_id.values()
    }

    /// Whether a partition lies here and cannot be served.
    pub(crate) fn is_offline(&self, id: Uuid, index: i32) -> bool {
        self.by_id.get(&id).is_some_and(|t| matches!(t.place(index), Some(Place::Offline(_))))
    }

    /// The partitions that lie here and cannot be served.
    pub(crate) fn offline(&self) -> impl Iterator<Item = (&TopicName, i32)> {
        self.topics().flat_map(|topic| {
            let offline = topic.places().filter(|(_, place)| matches!(place, Place::Offline(_)));
            offline.map(|(id, _)| (&topic.name, id.index))
        })
    }
}

/// A partition that is to be opened.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) topic: TopicName,
    pub(crate) id: PartitionId,
    pub(crate) leader_epoch: i32,
    /// The id of the log directory that it is assigned to.
    pub(crate) directory: Uuid,
    pub(crate) settings: Arc<PartitionSettings>,
}

/// All partitions of this broker. The table is changed by the controller's task, and when a directory fails.
#[derive(Debug)]
pub(crate) struct Replicas {
    shards: Vec<ShardHandle>,
    directories: Arc<Directories>,
    table: Arc<ArcSwap<Table>>,
    /// Held while the table is replaced, and never longer.
    changing: Mutex<()>,
}

impl Replicas {
    /// No partitions yet.
    pub(crate) fn new(shards: Vec<ShardHandle>, directories: Arc<Directories>) -> Self {
        Self { shards, directories, table: Arc::default(), changing: Mutex::new(()) }
    }

    /// The table as it is now.
    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// The log directories.
    pub(crate) fn directories(&self) -> &Directories {
        &self.directories
    }

    /// How many shards there are.
    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Sends a message to the shard that owns `replica`'s log.
    pub(crate) fn send(&self, shard: usize, message: ShardMessage) -> Result<(), ErrorCode> {
        // A shard ends only when the broker does.
        let shard = self.shards.get(shard).ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        shard.send(message).map_err(|_| ErrorCode::NOT_LEADER_OR_FOLLOWER)
    }

    /// Sends a message to all shards.
    pub(crate) fn send_all(&self, message: impl Fn() -> ShardMessage) {
        for shard in &self.shards {
            // One that has ended has no logs.
            let _ = shard.send(message());
        }
    }

    /// Opens partitions, all at once, and puts them on the table; tells those that could not be opened, and why.
    pub(crate) async fn open(&self, openings: Vec<Opening>) -> Vec<(PartitionId, String)> {
        let mut sent = Vec::with_capacity(openings.len());
        for opening in openings {
            let (topic, id) = (opening.topic.clone(), opening.id);
            let name = TopicPartition { topic: topic.clone(), partition: id.index };
            let opened = self.directories.locate(&name, id.topic, opening.directory).map(|location| {
                let (reply, opened) = oneshot::channel();
                let directory = Arc::clone(&location.directory);
                let message = ShardMessage::Open { opening, location, reply };
                (directory, self.send(self.shard_of(id), message).map(|()| opened))
            });
            sent.push((topic, id, opened));
        }
        let mut changes = Vec::with_capacity(sent.len());
        let mut failed = Vec::new();
        for (topic, id, opened) in sent {
            let (directory, result) = match opened {
                Ok((directory, Ok(opened))) => {
                    let opened = opened.await;
                    (
                        Some(directory),
                        opened.unwrap_or_else(|_| Err("the broker is shutting down".to_owned())),
                    )
                }
                Ok((directory, Err(code))) => (Some(directory), Err(code.to_string())),
                Err(why) => (None, Err(why)),
            };
            match result {
                Ok(replica) => changes.push((topic, id, Place::Here(replica))),
                Err(why) => {
                    if let Some(directory) = &directory {
                        directory.leave_in_doubt();
                    }
                    changes.push((topic, id, Place::Offline(directory)));
                    failed.push((id, why));
                }
            }
        }
        failed.extend(self.correct_checkpoints(&mut changes).await);
        self.change(|table| {
            // A directory that failed meanwhile has taken its other partitions with it.
            let still = |(topic, id, place)| match place {
                Place::Here(replica) if !replica.is_online() => {
                    (topic, id, Place::Offline(Some(Arc::clone(&replica.directory))))
                }
                place => (topic, id, place),
            };
            table.with(changes.into_iter().map(still).collect())
        });
        failed
    }

    /// Writes the checkpoint files that claim more than the logs that were opened hold: a disk may have lost flushed
    /// records, and a deleted topic may have had the same name. It must be done before anybody appends, or else the next
    /// start after a crash takes new records for flushed, or for deleted. Where it cannot be, the partition stays
    /// offline; tells which, and why.
    async fn correct_checkpoints(
        &self,
        changes: &mut [(TopicName, PartitionId, Place)],
    ) -> Vec<(PartitionId, String)> {
        let mut wrong: Vec<(Arc<Directory>, CheckpointKind)> = Vec::new();
        for (topic, id, place) in changes.iter() {
            let Place::Here(replica) = place else { continue };
            let name = TopicPartition { topic: topic.clone(), partition: id.index };
            for kind in replica.wrong_checkpoints(&name) {
                let is_new = |(directory, other): &(Arc<Directory>, CheckpointKind)| {
                    *other != kind || !Arc::ptr_eq(directory, &replica.directory)
                };
                if wrong.iter().all(is_new) {
                    wrong.push((Arc::clone(&replica.directory), kind));
                }
            }
        }
        let table = Arc::new(match wrong.is_empty() {
            true => return Vec::new(),
            false => self.table.load().with(changes.to_vec()),
        });
        let mut failed = Vec::new();
        for (directory, kind) in wrong {
            let (table, to_write) = (Arc::clone(&table), Arc::clone(&directory));
            let write = move || to_write.write_checkpoint(kind, || checkpoint_rows(&table, &to_write, kind));
            if tokio::task::spawn_blocking(write).await.is_ok_and(|written| written) {
                continue;
            }
            for (topic, id, place) in changes.iter_mut() {
                let name = TopicPartition { topic: topic.clone(), partition: id.index };
                if let Place::Here(replica) = place
                    && Arc::ptr_eq(&replica.directory, &directory)
                    && replica.wrong_checkpoints(&name).any(|wrong| wrong == kind)
                {
                    *place = Place::Offline(Some(Arc::clone(&directory)));
                    failed.push((*id, format!("`{}` could not be written", kind.file_name())));
                }
            }
        }
        failed
    }

    /// Gives a partition new settings.
    pub(crate) fn configure(&self, id: PartitionId, settings: Arc<PartitionSettings>) {
        let table = self.table.load();
        if let Some(Ok(replica)) = table.by_id(id.topic).map(|t| t.partition(id.index)) {
            replica.settings.store(Arc::clone(&settings));
            // A shard that is gone has no log to configure.
            let _ = self.send(replica.shard, ShardMessage::Configure { id, settings });
        }
    }

    /// Takes partitions off the table and deletes their logs; returns when their files are out of the way. Tells
    /// those that could not be deleted, and why.
    pub(crate) async fn delete(&self, doomed: Vec<(TopicName, PartitionId)>) -> Vec<(PartitionId, String)> {
        let table = self.table();
        let absent = doomed.iter().map(|(topic, id)| (topic.clone(), *id, Place::Absent)).collect();
        // Nobody finds them any more; then the shards may delete them.
        self.change(|table| table.with(absent));
        let mut sent = Vec::with_capacity(doomed.len());
        let mut touched: Vec<Arc<Directory>> = Vec::new();
        for (topic, id) in doomed {
            let place = table.by_id(id.topic).and_then(|t| t.place(id.index));
            let name = TopicPartition { topic, partition: id.index };
            // A log that could not be opened is deleted too, if its disk is there.
            let (directory, unopened) = match place {
                Some(Place::Here(replica)) => (Some(&replica.directory), None),
                Some(Place::Offline(Some(directory))) => {
                    let path = directory.log().partition_path(&name);
                    let unopened = Unopened { directory: Arc::clone(directory), path };
                    (Some(directory), directory.is_online().then_some(unopened))
                }
                Some(Place::Offline(None) | Place::Absent) | None => (None, None),
            };
            if let Some(directory) = directory
                && !touched.iter().any(|other| Arc::ptr_eq(other, directory))
            {
                touched.push(Arc::clone(directory));
            }
            let (reply, deleted) = oneshot::channel();
            let message = ShardMessage::Delete { id, unopened, reply };
            sent.push((id, self.send(self.shard_of(id), message).map(|()| deleted)));
        }
        let mut failed = Vec::new();
        for (id, deleted) in sent {
            let result = match deleted {
                Ok(deleted) => {
                    deleted.await.unwrap_or_else(|_| Err("the broker is shutting down".to_owned()))
                }
                Err(code) => Err(code.to_string()),
            };
            failed.extend(result.err().map(|why| (id, why)));
        }
        // The next log by the same name must not find what was told of this one.
        for directory in touched {
            self.write_checkpoints(&directory, &CheckpointKind::ALL).await;
        }
        failed
    }

    /// Takes the partitions of a failed directory off, all at once. Who waits for one of them is told.
    pub(crate) fn take_offline(&self, directory: &Arc<Directory>) -> usize {
        let mut count = 0;
        self.change(|table| {
            let mut changes = Vec::new();
            for topic in table.topics() {
                for (id, place) in topic.places() {
                    if let Place::Here(replica) = place
                        && Arc::ptr_eq(&replica.directory, directory)
                    {
                        changes.push((topic.name.clone(), id, Place::Offline(Some(Arc::clone(directory)))));
                    }
                }
            }
            count = changes.len();
            table.with(changes)
        });
        self.send_all(|| ShardMessage::TakeOffline { directory: Arc::clone(directory) });
        count
    }

    /// Writes checkpoint files of a directory, off this thread.
    pub(crate) async fn write_checkpoints(&self, directory: &Arc<Directory>, kinds: &[CheckpointKind]) {
        for &kind in kinds {
            let (directory, table) = (Arc::clone(directory), Arc::clone(&self.table));
            let write =
                move || directory.write_checkpoint(kind, || checkpoint_rows(&table.load(), &directory, kind));
            if tokio::task::spawn_blocking(write).await.is_err() {
                tracing::error!(?kind, "writing a checkpoint was cut short");
            }
        }
    }

    /// As [`write_checkpoints`](Self::write_checkpoints), on a thread that may wait for the disk.
    pub(crate) fn write_checkpoint(&self, directory: &Arc<Directory>, kind: CheckpointKind) {
        directory.write_checkpoint(kind, || checkpoint_rows(&self.table.load(), directory, kind));
    }

    /// Closes every log and writes what the next start must know.
    pub(crate) async fn close(&self) {
        let mut replies = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            let (reply, closed) = oneshot::channel();
            if shard.send(ShardMessage::Close { reply }).is_ok() {
                replies.push(closed);
            }
        }
        for closed in replies {
            if closed.await.is_err() {
                // It ended before it had closed its logs, and nobody knows which.
                self.directories.online().for_each(|directory| directory.leave_in_doubt());
            }
        }
        for directory in self.directories.usable() {
            self.write_checkpoints(directory, &CheckpointKind::ALL).await;
        }
    }

    fn change(&self, change: impl FnOnce(&Table) -> Table) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let next = change(&self.table.load());
        self.table.store(Arc::new(next));
    }

    /// The owner of a partition: neighbours go to different shards.
    fn shard_of(&self, id: PartitionId) -> usize {
        let hash = (id.topic.0 as u64 ^ (id.topic.0 >> 64) as u64).wrapping_add(id.index as u64);
        (hash % self.shards.len() as u64) as usize
    }
}

/// What a checkpoint file of a directory is to tell. Of partitions that could not be opened, what it told before: they
/// are to be recovered from there when they can be.
fn checkpoint_rows(
    table: &Table,
    directory: &Arc<Directory>,
    kind: CheckpointKind,
) -> Vec<(TopicPartition, i64)> {
    let mut rows = Vec::new();
    for topic in table.topics() {
        for (id, place) in topic.places() {
            let name = || TopicPartition { topic: topic.name.clone(), partition: id.index };
            match place {
                Place::Here(replica) if Arc::ptr_eq(&replica.directory, directory) => {
                    rows.extend(replica.checkpoint(kind).map(|offset| (name(), offset)));
                }
                Place::Offline(Some(its)) if Arc::ptr_eq(its, directory) => {
                    let name = name();
                    rows.extend(directory.log().checkpoint(kind, &name).map(|offset| (name, offset)));
                }
                _ => {}
            }
        }
    }
    rows
}
