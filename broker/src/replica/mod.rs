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
    path::PathBuf,
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
use shard::{ShardHandle, ShardMessage};
use tokio::sync::oneshot;

use crate::log::{LogConfig, LogReader};

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
    /// Largest record batch after decompression: Kafka's `max.decompressed.message.bytes`.
    pub(crate) decompressed_bytes_max: usize,
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

impl Replica {
    /// The epoch in which this broker leads the partition.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Acquire)
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
    partitions: Vec<Option<Arc<Replica>>>,
}

impl TopicReplicas {
    /// The partition of this index, if it is here.
    pub(crate) fn partition(&self, index: i32) -> Option<&Arc<Replica>> {
        self.partitions.get(usize::try_from(index).ok()?)?.as_ref()
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

    fn put(&mut self, name: &TopicName, replica: &Arc<Replica>) {
        let id = replica.id.topic;
        let mut partitions = self.by_id.get(&id).map(|t| t.partitions.clone()).unwrap_or_default();
        let index = replica.id.index as usize;
        if partitions.len() <= index {
            partitions.resize(index + 1, None);
        }
        if let Some(place) = partitions.get_mut(index) {
            *place = Some(Arc::clone(replica));
        }
        let topic = Arc::new(TopicReplicas { name: name.clone(), id, partitions });
        self.by_id.insert(id, Arc::clone(&topic));
        self.by_name.insert(name.clone(), topic);
    }
}

/// A partition that is to come, change or go.
#[derive(Clone, Debug)]
pub(crate) enum PartitionChange {
    /// Opens the log, or makes one where there is none.
    Open { topic: TopicName, id: PartitionId, leader_epoch: i32, settings: Arc<PartitionSettings> },
    /// Takes new settings.
    Configure { id: PartitionId, settings: Arc<PartitionSettings> },
    /// Closes the log and deletes it.
    Delete { topic: TopicName, id: PartitionId },
}

/// All partitions of this broker. The controller's task alone changes the table.
#[derive(Debug)]
pub(crate) struct Replicas {
    shards: Vec<ShardHandle>,
    table: ArcSwap<Table>,
    log_dir: PathBuf,
}

impl Replicas {
    /// No partitions yet, in `log_dir`.
    pub(crate) fn new(shards: Vec<ShardHandle>, log_dir: PathBuf) -> Self {
        Self { shards, table: ArcSwap::default(), log_dir }
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

    /// Carries out `changes`, in order, and publishes the new table. Partitions that could not be opened are
    /// missing from it, and are told in the answer.
    pub(crate) async fn apply(&self, changes: Vec<PartitionChange>) -> Vec<(PartitionId, String)> {
        let mut table = Table::clone(&self.table.load());
        let mut failed = Vec::new();
        let mut opening = Vec::new();
        for change in changes {
            match change {
                PartitionChange::Open { topic, id, leader_epoch, settings } => {
                    let shard = self.shard_of(id);
                    let directory = self.log_dir.join(format!("{topic}-{}", id.index));
                    let (reply, opened) = oneshot::channel();
                    let message = ShardMessage::Open { id, directory, leader_epoch, settings, reply };
                    let sent = self.send(shard, message);
                    opening.push((topic, id, sent.map(|()| opened)));
                }
                PartitionChange::Configure { id, settings } => {
                    if let Some(replica) = table.by_id(id.topic).and_then(|t| t.partition(id.index)) {
                        replica.settings.store(Arc::clone(&settings));
                        let _ = self.send(replica.shard, ShardMessage::Configure { id, settings });
                    }
                }
                PartitionChange::Delete { topic, id } => {
                    table.by_id.remove(&id.topic);
                    if table.by_name.get(&topic).is_some_and(|t| t.id == id.topic) {
                        table.by_name.remove(&topic);
                    }
                    // Nobody finds it any more once the table is out; the shard deletes in its own time.
                    self.table.store(Arc::new(table.clone()));
                    let _ = self.send(self.shard_of(id), ShardMessage::Delete { id });
                }
            }
        }
        for (topic, id, opened) in opening {
            let result = match opened {
                Ok(opened) => opened.await.unwrap_or_else(|_| Err("the broker is shutting down".to_owned())),
                Err(code) => Err(code.to_string()),
            };
            match result {
                Ok(replica) => table.put(&topic, &replica),
                Err(why) => failed.push((id, why)),
            }
        }
        self.table.store(Arc::new(table));
        failed
    }

    /// Closes every log cleanly; returns when all are on disk.
    pub(crate) async fn close(&self) {
        for shard in &self.shards {
            let (reply, closed) = oneshot::channel();
            if shard.send(ShardMessage::Close { reply }).is_ok() {
                let _ = closed.await;
            }
        }
    }

    /// The owner of a partition: neighbours go to different shards.
    fn shard_of(&self, id: PartitionId) -> usize {
        let hash = (id.topic.0 as u64 ^ (id.topic.0 >> 64) as u64).wrapping_add(id.index as u64);
        (hash % self.shards.len() as u64) as usize
    }
}
