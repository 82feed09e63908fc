//! The partitions of this broker: who owns them, who reads them, who waits for them.
//!
//! A partition's log belongs to one shard, which alone appends to it. Everybody else reads: through
//! [`Replica::reader`], without asking the shard. [`Replicas`] is the table of all of them; a reader keeps the
//! snapshot it took, the controller's task replaces it whole.

pub(crate) mod fetch_session;
pub(crate) mod purgatory;
pub(crate) mod shard;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
};

use arc_swap::ArcSwap;
use ottla_protocol::{
    error_code::ErrorCode,
    record::TimestampType,
    types::{TopicName, Uuid},
};
use purgatory::Purgatory;
use shard::{Closed, ShardHandle, ShardMessage};
use tokio::sync::oneshot;

use crate::{
    config::{self, BrokerConfig, TopicConfig},
    log::{CleanupPolicy, LogConfig, LogReader},
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
            },
        }
    }
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
    /// It lies here and its log could not be opened.
    Offline,
    Here(Arc<Replica>),
}

impl TopicReplicas {
    /// The partition of this index.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC_OR_PARTITION` if it is not here, `KAFKA_STORAGE_ERROR` if its log could not be opened.
    pub(crate) fn partition(&self, index: i32) -> Result<&Arc<Replica>, ErrorCode> {
        match usize::try_from(index).ok().and_then(|i| self.partitions.get(i)) {
            Some(Place::Here(replica)) => Ok(replica),
            Some(Place::Offline) => Err(ErrorCode::KAFKA_STORAGE_ERROR),
            Some(Place::Absent) | None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        }
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
        let places = self.by_id.values().flat_map(|t| &t.partitions);
        places.filter(|place| matches!(place, Place::Here(_))).count()
    }

    fn put(&mut self, name: &TopicName, id: PartitionId, place: Place) {
        let mut partitions = self.by_id.get(&id.topic).map(|t| t.partitions.clone()).unwrap_or_default();
        let index = id.index as usize;
        if partitions.len() <= index {
            partitions.resize(index + 1, Place::Absent);
        }
        if let Some(there) = partitions.get_mut(index) {
            *there = place;
        }
        let topic = Arc::new(TopicReplicas { name: name.clone(), id: id.topic, partitions });
        self.by_id.insert(id.topic, Arc::clone(&topic));
        self.by_name.insert(name.clone(), topic);
    }

    fn remove(&mut self, name: &TopicName, id: PartitionId) {
        let Some(topic) = self.by_id.remove(&id.topic) else { return };
        let mut partitions = topic.partitions.clone();
        if let Some(place) = usize::try_from(id.index).ok().and_then(|i| partitions.get_mut(i)) {
            *place = Place::Absent;
        }
        let is_named = self.by_name.get(name).is_some_and(|t| t.id == id.topic);
        if partitions.iter().all(|place| matches!(place, Place::Absent)) {
            if is_named {
                self.by_name.remove(name);
            }
            return;
        }
        let topic = Arc::new(TopicReplicas { name: topic.name.clone(), id: id.topic, partitions });
        if is_named {
            self.by_name.insert(name.clone(), Arc::clone(&topic));
        }
        self.by_id.insert(id.topic, topic);
    }
}

/// A partition that is to be opened.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) topic: TopicName,
    pub(crate) id: PartitionId,
    pub(crate) leader_epoch: i32,
    pub(crate) settings: Arc<PartitionSettings>,
}

/// All partitions of this broker. The controller's task alone changes the table.
#[derive(Debug)]
pub(crate) struct Replicas {
    shards: Vec<ShardHandle>,
    table: ArcSwap<Table>,
}

impl Replicas {
    /// No partitions yet.
    pub(crate) fn new(shards: Vec<ShardHandle>) -> Self {
        Self { shards, table: ArcSwap::default() }
    }

    /// The table as it is now.
    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.load_full()
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

    /// Opens partitions, all at once, and puts them on the table; tells those that could not be opened, and why.
    pub(crate) async fn open(&self, openings: Vec<Opening>) -> Vec<(PartitionId, String)> {
        let mut sent = Vec::with_capacity(openings.len());
        for opening in openings {
            let (reply, opened) = oneshot::channel();
            let (topic, id) = (opening.topic.clone(), opening.id);
            let result = self.send(self.shard_of(id), ShardMessage::Open { opening, reply });
            sent.push((topic, id, result.map(|()| opened)));
        }
        let mut table = Table::clone(&self.table.load());
        let mut failed = Vec::new();
        for (topic, id, opened) in sent {
            let result = match opened {
                Ok(opened) => opened.await.unwrap_or_else(|_| Err("the broker is shutting down".to_owned())),
                Err(code) => Err(code.to_string()),
            };
            match result {
                Ok(replica) => table.put(&topic, id, Place::Here(replica)),
                Err(why) => {
                    table.put(&topic, id, Place::Offline);
                    failed.push((id, why));
                }
            }
        }
        self.table.store(Arc::new(table));
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

    /// Takes a partition off the table and deletes its log; returns when its files are out of the way.
    pub(crate) async fn delete(&self, topic: &TopicName, id: PartitionId) -> Result<(), String> {
        let mut table = Table::clone(&self.table.load());
        table.remove(topic, id);
        // Nobody finds it any more; then the shard may delete it.
        self.table.store(Arc::new(table));
        let (reply, deleted) = oneshot::channel();
        self.send(self.shard_of(id), ShardMessage::Delete { id, reply }).map_err(|code| code.to_string())?;
        deleted.await.unwrap_or_else(|_| Err("the broker is shutting down".to_owned()))
    }

    /// Closes every log; gives those that were closed cleanly, once they are on the medium.
    pub(crate) async fn close(&self) -> Vec<Closed> {
        let mut replies = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            let (reply, closed) = oneshot::channel();
            if shard.send(ShardMessage::Close { reply }).is_ok() {
                replies.push(closed);
            }
        }
        let mut all = Vec::new();
        for closed in replies {
            all.extend(closed.await.unwrap_or_default());
        }
        all
    }

    /// The owner of a partition: neighbours go to different shards.
    fn shard_of(&self, id: PartitionId) -> usize {
        let hash = (id.topic.0 as u64 ^ (id.topic.0 >> 64) as u64).wrapping_add(id.index as u64);
        (hash % self.shards.len() as u64) as usize
    }
}
