//! A shard: the one owner of some partitions' logs.
//!
//! It runs as a task on one core's runtime and takes messages from connections on all cores. What is queued when
//! it wakes is handled together: all batches for one partition go to its log in one write.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use ottla_protocol::record::Batch;
use tokio::sync::{mpsc, oneshot};

use super::{PartitionId, PartitionSettings, Replica, purgatory::Purgatory};
use crate::{
    log::{AppendError, Appended, Log, ToAppend},
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
    Open {
        id: PartitionId,
        directory: PathBuf,
        leader_epoch: i32,
        settings: Arc<PartitionSettings>,
        reply: oneshot::Sender<Result<Arc<Replica>, String>>,
    },
    Configure {
        id: PartitionId,
        settings: Arc<PartitionSettings>,
    },
    Delete {
        id: PartitionId,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
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
    log: Log,
    replica: Arc<Replica>,
}

/// Owns the logs of its partitions.
pub(crate) struct Shard {
    index: usize,
    partitions: HashMap<PartitionId, Partition>,
    /// Reused from wake-up to wake-up.
    groups: Groups,
}

/// The batches of one wake-up by partition, each with the place that its outcome goes to.
#[derive(Default)]
struct Groups {
    by_partition: HashMap<PartitionId, (Vec<ToAppend>, Vec<(usize, usize)>)>,
}

impl Shard {
    /// Runs until `messages` ends.
    pub(crate) async fn run(index: usize, mut messages: mpsc::UnboundedReceiver<ShardMessage>) {
        let mut shard = Self { index, partitions: HashMap::new(), groups: Groups::default() };
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
            ShardMessage::Open { id, directory, leader_epoch, settings, reply } => {
                let opened = self.open(id, directory, leader_epoch, settings);
                let _ = reply.send(opened);
            }
            ShardMessage::Configure { id, settings } => {
                if let Some(partition) = self.partitions.get_mut(&id) {
                    partition.log.set_config(settings.log.clone());
                }
            }
            ShardMessage::Delete { id } => {
                if let Some(partition) = self.partitions.remove(&id) {
                    partition.replica.purgatory.wake_all();
                    if let Err(error) = partition.log.delete() {
                        tracing::error!(%error, "a deleted partition's files could not be removed");
                    }
                }
            }
            ShardMessage::Close { reply } => {
                for (_, partition) in self.partitions.drain() {
                    partition.replica.purgatory.wake_all();
                    if let Err(error) = partition.log.close() {
                        tracing::error!(%error, "a log could not be closed cleanly; it is recovered at the next start");
                    }
                }
                let _ = reply.send(());
            }
        }
    }

    fn open(
        &mut self,
        id: PartitionId,
        directory: PathBuf,
        leader_epoch: i32,
        settings: Arc<PartitionSettings>,
    ) -> Result<Arc<Replica>, String> {
        if let Some(partition) = self.partitions.get(&id) {
            return Ok(Arc::clone(&partition.replica));
        }
        let log = Log::open(&directory, settings.log.clone(), now_ms()).map_err(|e| e.to_string())?;
        let replica = Arc::new(Replica {
            id,
            shard: self.index,
            reader: log.reader(),
            purgatory: Purgatory::default(),
            settings: ArcSwap::new(settings),
            leader_epoch: leader_epoch.into(),
        });
        self.partitions.insert(id, Partition { log, replica: Arc::clone(&replica) });
        Ok(replica)
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
    let results = partition.log.append(batches, partition.replica.leader_epoch(), now_ms);
    if partition.log.end_offset() > before {
        // The only replica is this one, so what is in the log is committed.
        partition.replica.reader.set_high_watermark(partition.log.end_offset());
        partition.replica.purgatory.added(bytes);
    }
    results.into_iter().map(|r| r.map_err(AppendFailure::Log)).collect()
}
