//! A shard: the one owner of some partitions' logs.
//!
//! It runs as a task on one core's runtime and takes messages from connections on all cores. What is queued when
//! it wakes is handled together: all batches for one partition go to its log in one write.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use ottla_protocol::record::Batch;
use tokio::sync::{mpsc, oneshot};

use super::{Opening, PartitionId, PartitionSettings, Replica, purgatory::Purgatory};
use crate::{
    log::{AppendError, Appended, Log, LogDirectory, LogError, ToAppend, TopicPartition},
    time::now_ms,
};

/// Messages that one wake-up handles together.
const DRAIN_MAX: usize = 1024;

/// Where messages to a shard go in. The queue is bounded by what connections may have in flight: each request
/// holds its bytes from a budget until it is answered.
pub(crate) type ShardHandle = mpsc::UnboundedSender<ShardMessage>;

/// What a shard is asked.
#[derive(Debug)]
pub(crate) enum ShardMessage {
    /// Appends the batches of one request.
    Append(Append),
    /// Opens a log, or makes one where there is none.
    Open {
        opening: Opening,
        reply: oneshot::Sender<Result<Arc<Replica>, String>>,
    },
    Configure {
        id: PartitionId,
        settings: Arc<PartitionSettings>,
    },
    /// Closes a log and deletes its files.
    Delete {
        id: PartitionId,
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// Closes all logs cleanly.
    Close {
        reply: oneshot::Sender<Vec<Closed>>,
    },
}

/// A log that was closed cleanly.
#[derive(Clone, Debug)]
pub(crate) struct Closed {
    pub(crate) partition: TopicPartition,
    /// Everything before it is on the medium.
    pub(crate) recovery_point: i64,
    /// Nothing before it is to be read.
    pub(crate) start_offset: i64,
}

/// The batches of one request that belong to this shard, validated.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) batches: Vec<(PartitionId, Batch)>,
    /// Gets an outcome for each batch, in order; absent if nobody waits (acks=0 closes on error, so it waits too).
    pub(crate) reply: oneshot::Sender<Vec<Outcome>>,
}

/// What became of a batch.
pub(crate) type Outcome = Result<Appended, AppendFailure>;

/// Why a batch was not appended.
#[derive(Clone, Debug)]
pub(crate) enum AppendFailure {
    /// The partition is not here any more.
    Gone,
    /// The log did not take it.
    Log(AppendError),
}

struct Partition {
    name: TopicPartition,
    log: Log,
    replica: Arc<Replica>,
}

/// Owns the logs of its partitions.
pub(crate) struct Shard {
    index: usize,
    directory: Arc<LogDirectory>,
    partitions: HashMap<PartitionId, Partition>,
    /// Reused from wake-up to wake-up.
    groups: Groups,
}

/// Batches for one partition; of each the request that it came with, and its place there.
type Group = (Vec<ToAppend>, Vec<(usize, usize)>);

/// The batches of one wake-up, by partition.
#[derive(Default)]
struct Groups {
    by_partition: HashMap<PartitionId, Group>,
}

impl Shard {
    /// Runs until `messages` ends.
    pub(crate) async fn run(
        index: usize,
        directory: Arc<LogDirectory>,
        mut messages: mpsc::UnboundedReceiver<ShardMessage>,
    ) {
        let mut shard = Self { index, directory, partitions: HashMap::new(), groups: Groups::default() };
        let mut queued = Vec::new();
        while messages.recv_many(&mut queued, DRAIN_MAX).await > 0 {
            let mut appends = Vec::new();
            for message in queued.drain(..) {
                match message {
                    ShardMessage::Append(append) => appends.push(append),
                    other => {
                        // Order matters between appends and everything else.
                        shard.append_all(std::mem::take(&mut appends));
                        shard.handle(other);
                    }
                }
            }
            shard.append_all(appends);
        }
    }

    fn handle(&mut self, message: ShardMessage) {
        match message {
            ShardMessage::Append(append) => self.append_all(vec![append]),
            ShardMessage::Open { opening, reply } => _ = reply.send(self.open(opening)),
            ShardMessage::Configure { id, settings } => {
                if let Some(partition) = self.partitions.get_mut(&id) {
                    partition.log.set_config(settings.log.clone());
                }
            }
            ShardMessage::Delete { id, reply } => {
                let deleted = match self.partitions.remove(&id) {
                    Some(partition) => {
                        partition.replica.purgatory.wake_all();
                        partition.log.delete().map_err(|error| error.to_string())
                    }
                    None => Ok(()),
                };
                let _ = reply.send(deleted);
            }
            ShardMessage::Close { reply } => _ = reply.send(self.close()),
        }
    }

    /// Closes all logs; those that could not be closed cleanly are missing from the answer.
    fn close(&mut self) -> Vec<Closed> {
        let mut closed = Vec::with_capacity(self.partitions.len());
        for (_, Partition { name, log, replica }) in self.partitions.drain() {
            replica.purgatory.wake_all();
            let start_offset = log.start_offset();
            match log.close() {
                Ok(recovery_point) => closed.push(Closed { partition: name, recovery_point, start_offset }),
                Err(error) => {
                    tracing::error!(%error, "a log could not be closed; the next start recovers it")
                }
            }
        }
        closed
    }

    fn open(&mut self, opening: Opening) -> Result<Arc<Replica>, String> {
        let Opening { topic, id, leader_epoch, settings } = opening;
        if let Some(partition) = self.partitions.get(&id) {
            partition.replica.lead(leader_epoch);
            return Ok(Arc::clone(&partition.replica));
        }
        let name = TopicPartition { topic, partition: id.index };
        let log = self.open_log(&name, id, &settings).map_err(|error| error.to_string())?;
        // The only replica is this one, so what is in its log is committed.
        let reader = log.reader();
        reader.set_high_watermark(log.end_offset());
        let replica = Arc::new(Replica {
            id,
            shard: self.index,
            reader,
            purgatory: Purgatory::default(),
            settings: ArcSwap::new(settings),
            leader_epoch: leader_epoch.into(),
        });
        self.partitions.insert(id, Partition { name, log, replica: Arc::clone(&replica) });
        Ok(replica)
    }

    /// The log of a partition; a new one where there is none, or where a deleted topic of the same name left its own.
    fn open_log(
        &self,
        name: &TopicPartition,
        id: PartitionId,
        settings: &PartitionSettings,
    ) -> Result<Log, LogError> {
        let path = self.directory.partition_path(name);
        if path.is_dir() {
            let checkpointed = self.directory.checkpointed(name);
            let (log, recovered) =
                Log::open(self.directory.disk(), &path, settings.log.clone(), &checkpointed, now_ms())?;
            if log.topic_id().is_none_or(|topic| topic == id.topic) {
                if recovered.torn_bytes > 0 {
                    let bytes = recovered.torn_bytes;
                    tracing::warn!(partition = %path.display(), bytes, "a torn end was cut off the log");
                }
                return Ok(log);
            }
            tracing::warn!(partition = %path.display(), "the log is a deleted topic's; it is removed");
            log.delete()?;
        }
        Log::create(self.directory.disk(), &path, id.topic, settings.log.clone(), now_ms())
    }

    /// Appends everything that one wake-up found: one write a partition.
    fn append_all(&mut self, appends: Vec<Append>) {
        if appends.is_empty() {
            return;
        }
        let now_ms = now_ms();
        let mut replies = Vec::with_capacity(appends.len());
        let mut outcomes: Vec<Vec<Option<Outcome>>> = Vec::with_capacity(appends.len());
        for (request, append) in appends.into_iter().enumerate() {
            outcomes.push(append.batches.iter().map(|_| None).collect());
            for (place, (id, batch)) in append.batches.into_iter().enumerate() {
                let (batches, places) = self.groups.by_partition.entry(id).or_default();
                batches.push(ToAppend::from(batch));
                places.push((request, place));
            }
            replies.push(append.reply);
        }
        for (id, (batches, places)) in &mut self.groups.by_partition {
            if batches.is_empty() {
                continue;
            }
            let results = match self.partitions.get_mut(id) {
                Some(partition) => append(partition, batches, now_ms),
                None => batches.drain(..).map(|_| Err(AppendFailure::Gone)).collect(),
            };
            batches.clear();
            for ((request, place), result) in places.drain(..).zip(results) {
                if let Some(outcome) = outcomes.get_mut(request).and_then(|o| o.get_mut(place)) {
                    *outcome = Some(result);
                }
            }
        }
        // Partitions come and go; what a wake-up did not touch is not kept for ever.
        if self.groups.by_partition.len() > 2 * self.partitions.len() + DRAIN_MAX {
            self.groups.by_partition.clear();
        }
        for (reply, outcomes) in replies.into_iter().zip(outcomes) {
            let outcomes = outcomes.into_iter().map(|o| o.unwrap_or(Err(AppendFailure::Gone))).collect();
            // Whoever asked may be gone; the records are stored all the same.
            let _ = reply.send(outcomes);
        }
    }
}

fn append(partition: &mut Partition, batches: &mut Vec<ToAppend>, now_ms: i64) -> Vec<Outcome> {
    let before = partition.log.end_offset();
    let bytes: usize = batches.iter().map(ToAppend::len).sum();
    let mut results = Vec::with_capacity(batches.len());
    partition.log.append(batches, partition.replica.leader_epoch(), now_ms, &mut results);
    if partition.log.end_offset() > before {
        // The only replica is this one, so what is in the log is committed.
        partition.replica.reader.set_high_watermark(partition.log.end_offset());
        partition.replica.purgatory.added(bytes);
    }
    results.into_iter().map(|r| r.map_err(AppendFailure::Log)).collect()
}
