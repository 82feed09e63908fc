//! A shard: the one owner of some partitions' logs.
//!
//! It runs as a task on one core's runtime and takes messages from connections on all cores. What is queued when
//! it wakes is handled together: all batches for one partition go to its log in one write.
//!
//! It also sees to it that what is written comes to the medium, without ever waiting for the disk: see
//! [`flush`](super::flush). With `flush.messages=1` an append is answered, and read by consumers, only once the flush
//! that covers it is done (*group commit*).

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use ottla_protocol::record::Batch;
use tokio::sync::{mpsc, oneshot};

use super::{
    Opening, PartitionId, PartitionSettings, Replica,
    directories::{Directory, Location},
    flush::{DirtyLogs, FlushPolicy, FlushQueue, FlushState},
    purgatory::Purgatory,
};
use crate::{
    log::{
        AppendError, Appended, CheckpointKind, Checkpointed, Flushed, Log, LogError, LogErrorKind, Recovered,
        ToAppend, TopicPartition, cleaner::LogTask,
    },
    metrics::{CoreMetrics, Metrics, Traffic},
    time::now_ms,
};

/// Messages that one wake-up handles together.
const DRAIN_MAX: usize = 1024;
/// Threads that close a shard's logs at the stop.
const CLOSING_THREADS: usize = 8;

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
        location: Location,
        reply: oneshot::Sender<Result<Arc<Replica>, String>>,
    },
    Configure {
        id: PartitionId,
        settings: Arc<PartitionSettings>,
    },
    /// Closes a log and deletes its files.
    Delete {
        id: PartitionId,
        /// The log that could not be opened.
        unopened: Option<Unopened>,
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// A flush has ended.
    Flushed {
        id: PartitionId,
        result: Result<Flushed, LogError>,
    },
    /// Lets go of the logs of a directory whose disk has failed.
    TakeOffline {
        directory: Arc<Directory>,
    },
    /// Forgets producers that were silent for too long.
    ExpireProducers,
    /// Saves how far logs are, where that has changed much.
    SavePositions,
    /// Deletes the segments that nobody wants any more.
    Retain,
    /// Unlinks the files of deleted segments whose time has come.
    Unlink {
        id: PartitionId,
    },
    /// Does something with a log; nothing if it is gone.
    Run {
        id: PartitionId,
        task: OnLog,
    },
    /// Closes all logs cleanly.
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// What is to be done with a log by its owner. It is dropped if the log is gone: whoever waits for it finds out by that.
pub(crate) struct OnLog(pub(crate) LogTask);

impl fmt::Debug for OnLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnLog")
    }
}

/// A log that could not be opened, and where it lies.
#[derive(Debug)]
pub(crate) struct Unopened {
    pub(crate) directory: Arc<Directory>,
    pub(crate) path: PathBuf,
}

impl Unopened {
    fn delete(self, id: PartitionId) -> Result<(), LogError> {
        match Log::delete_at(self.directory.log().disk(), &self.path, Some(id.topic)) {
            Err(error) if error.is_not_found() => Ok(()),
            deleted => deleted,
        }
    }
}

/// The batches of one request that belong to this shard, validated.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) batches: Vec<(PartitionId, Batch)>,
    /// Whether the answer may have to wait for the disk; not if nobody wants one (acks=0).
    pub(crate) committed: bool,
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
    flush: FlushState,
    flush_ms: i64,
    /// Whether `flush.messages` is 1: what is appended counts once it is on the medium.
    group_commit: bool,
    /// Answers that wait for a flush, by the last offset that it must cover.
    waiting: VecDeque<Waiting>,
    /// Bytes that consumers will see after a flush.
    hidden_bytes: usize,
    /// Whether somebody will ask for deleted files to be unlinked.
    unlinks: bool,
}

/// An outcome that is told once it is on the medium.
struct Waiting {
    appended: Appended,
    /// The answer that it is part of.
    answer: u64,
    place: usize,
}

/// An answer of which some outcomes wait for a flush.
struct Unanswered {
    outcomes: Vec<Option<Outcome>>,
    missing: usize,
    reply: oneshot::Sender<Vec<Outcome>>,
}

/// Owns the logs of its partitions.
pub(crate) struct Shard {
    index: usize,
    partitions: HashMap<PartitionId, Partition>,
    flushing: Flushing,
    metrics: Arc<Metrics>,
    /// Answers that wait for the disk, by a number.
    unanswered: HashMap<u64, Unanswered>,
    next_answer: u64,
    /// Who waits for all logs to be closed, which waits for flushes in flight.
    closing: Option<oneshot::Sender<()>>,
    /// Reused from wake-up to wake-up.
    groups: Groups,
}

/// What a shard has to do with flushes.
struct Flushing {
    policy: FlushPolicy,
    dirty: DirtyLogs,
    queue: FlushQueue,
    /// How an outcome comes back here.
    shard: mpsc::WeakUnboundedSender<ShardMessage>,
    in_flight: usize,
}

/// Batches for one partition; of each the request that it came with, and its place there.
type Group = (Vec<ToAppend>, Vec<(usize, usize)>);

/// The batches of one wake-up, by partition.
#[derive(Default)]
struct Groups {
    by_partition: HashMap<PartitionId, Group>,
}

impl Shard {
    /// A shard without partitions, the `index`th, to which messages come by `shard`.
    pub(crate) fn new(
        index: usize,
        policy: FlushPolicy,
        queue: FlushQueue,
        metrics: Arc<Metrics>,
        shard: &ShardHandle,
    ) -> Self {
        let dirty = DirtyLogs::default();
        Self {
            index,
            metrics,
            partitions: HashMap::new(),
            flushing: Flushing { policy, dirty, queue, shard: shard.downgrade(), in_flight: 0 },
            unanswered: HashMap::new(),
            next_answer: 0,
            closing: None,
            groups: Groups::default(),
        }
    }

    /// Runs until `messages` ends.
    pub(crate) async fn run(mut self, mut messages: mpsc::UnboundedReceiver<ShardMessage>) {
        let mut queued = Vec::new();
        loop {
            let due_ms = self.flushing.dirty.next_due_ms();
            tokio::select! {
                biased;
                count = messages.recv_many(&mut queued, DRAIN_MAX) => {
                    if count == 0 {
                        return;
                    }
                }
                () = until(due_ms), if due_ms.is_some() => {}
            }
            let mut appends = Vec::new();
            for message in queued.drain(..) {
                match message {
                    ShardMessage::Append(append) => appends.push(append),
                    other => {
                        // Order matters between appends and everything else.
                        self.append_all(std::mem::take(&mut appends));
                        self.handle(other);
                    }
                }
            }
            self.append_all(appends);
            if due_ms.is_some() {
                self.flush_due(now_ms());
            }
        }
    }

    fn handle(&mut self, message: ShardMessage) {
        match message {
            ShardMessage::Append(append) => self.append_all(vec![append]),
            ShardMessage::Open { opening, location, reply } => _ = reply.send(self.open(opening, location)),
            ShardMessage::Configure { id, settings } => {
                if let Some(partition) = self.partitions.get_mut(&id) {
                    partition.configure(&settings);
                }
            }
            ShardMessage::Delete { id, unopened, reply } => {
                let deleted = match (self.partitions.remove(&id), unopened) {
                    (Some(partition), _) => self.let_go(partition, &AppendFailure::Gone).delete(),
                    (None, Some(left)) => left.delete(id),
                    (None, _) => Ok(()),
                };
                let _ = reply.send(deleted.map_err(|error| error.to_string()));
            }
            ShardMessage::Flushed { id, result } => self.flushed(id, result, now_ms()),
            ShardMessage::TakeOffline { directory } => self.take_offline(&directory),
            ShardMessage::ExpireProducers => {
                let now_ms = now_ms();
                self.partitions.values_mut().for_each(|partition| partition.log.expire_producers(now_ms));
            }
            ShardMessage::SavePositions => self.save_positions(),
            ShardMessage::Retain => self.retain(now_ms()),
            ShardMessage::Unlink { id } => self.unlink(id, now_ms()),
            ShardMessage::Run { id, task: OnLog(task) } => self.run_on_log(id, task, now_ms()),
            ShardMessage::Close { reply } => {
                self.closing = Some(reply);
                self.close_if_quiet();
            }
        }
    }

    /// Closes all logs once no flush is in flight: what becomes of one must be known before its log counts as closed.
    fn close_if_quiet(&mut self) {
        if self.flushing.in_flight > 0 {
            return;
        }
        let Some(reply) = self.closing.take() else { return };
        let partitions: Vec<Partition> = std::mem::take(&mut self.partitions).into_values().collect();
        let mut shares: [Vec<(Arc<Replica>, Log)>; CLOSING_THREADS] = Default::default();
        for (partition, share) in partitions.into_iter().zip((0..CLOSING_THREADS).cycle()) {
            let replica = Arc::clone(&partition.replica);
            let log = self.let_go(partition, &AppendFailure::Gone);
            if let Some(share) = shares.get_mut(share) {
                share.push((replica, log));
            }
        }
        // Each log waits for the disk, which takes many at once for little more than one.
        thread::scope(|scope| {
            for share in shares {
                scope.spawn(|| share.into_iter().for_each(|(replica, log)| close(&replica, log)));
            }
        });
        let _ = reply.send(());
    }

    /// Lets go of the logs in a directory whose disk has failed. They are not closed: their files are in doubt.
    fn take_offline(&mut self, directory: &Arc<Directory>) {
        let of_it = |partition: &Partition| Arc::ptr_eq(&partition.replica.directory, directory);
        let ids: Vec<_> = self.partitions.iter().filter(|(_, p)| of_it(p)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(partition) = self.partitions.remove(&id) {
                let failed = LogErrorKind::Failed { path: partition.log.directory().to_owned() };
                self.let_go(partition, &AppendFailure::Log(AppendError::Log(failed.into())));
            }
        }
    }

    /// Tells everybody who waits for a partition that it is gone, and gives its log.
    fn let_go(&mut self, mut partition: Partition, why: &AppendFailure) -> Log {
        for waiting in partition.waiting.drain(..) {
            self.settle(&waiting, Err(why.clone()));
        }
        partition.replica.purgatory.wake_all();
        partition.log
    }

    fn open(&mut self, opening: Opening, location: Location) -> Result<Arc<Replica>, String> {
        let Opening { topic, id, leader_epoch, settings, .. } = opening;
        if let Some(partition) = self.partitions.get(&id) {
            partition.replica.lead(leader_epoch);
            return Ok(Arc::clone(&partition.replica));
        }
        let name = TopicPartition { topic, partition: id.index };
        let log = open_log(&name, id, &settings, &location).map_err(|error| error.to_string())?;
        let cleaned_offset = location
            .directory
            .log()
            .checkpoint(CheckpointKind::CleanerOffset, &name)
            // What a crash took off the end was not cleaned, whatever is appended in its place.
            .filter(|offset| location.is_there && *offset <= log.end_offset());
        let reader = log.reader();
        let replica = Arc::new(Replica {
            id,
            shard: self.index,
            reader,
            purgatory: Purgatory::default(),
            settings: ArcSwap::new(Arc::clone(&settings)),
            traffic: Traffic::default(),
            directory: location.directory,
            recovery_point: log.recovery_point().into(),
            cleaned_offset: cleaned_offset.unwrap_or(-1).into(),
            leader_epoch: leader_epoch.into(),
        });
        let is_flushed = log.recovery_point() >= log.end_offset();
        let mut partition = Partition {
            log,
            replica: Arc::clone(&replica),
            flush: FlushState::default(),
            flush_ms: i64::MAX,
            group_commit: false,
            waiting: VecDeque::new(),
            hidden_bytes: 0,
            unlinks: false,
        };
        partition.configure(&settings);
        partition.publish();
        let partition = self.partitions.entry(id).or_insert(partition);
        if !is_flushed {
            // What a crash left in the page cache is not on the medium yet.
            self.flushing.start(id, partition);
        }
        Ok(replica)
    }

    /// Saves how far logs are, so that a start after a crash looks at little more than was not flushed.
    fn save_positions(&mut self) {
        for (id, partition) in &mut self.partitions {
            match partition.log.save_position() {
                // A flush that is queued or on its way has another behind it, if anything is appended.
                Ok(true) if partition.flush == FlushState::Clean => self.flushing.start(*id, partition),
                Ok(_) => {}
                Err(error) if error.is_disk_full() => {
                    tracing::warn!(%error, "how far a log is could not be saved; it is tried again");
                }
                Err(error) => partition.replica.directory.fail(&error),
            }
        }
    }

    /// Deletes the segments that nobody wants any more.
    fn retain(&mut self, now_ms: i64) {
        let ids: Vec<PartitionId> = self.partitions.keys().copied().collect();
        for id in ids {
            let Some(partition) = self.partitions.get_mut(&id) else { continue };
            let start_offset = partition.log.start_offset();
            match partition.log.retain(now_ms) {
                Ok(deleted) if deleted.segments() > 0 => {
                    tracing::info!(
                        partition = %partition.log.directory().display(),
                        segments = deleted.segments(),
                        bytes = deleted.bytes,
                        by_age = deleted.by_age,
                        by_size = deleted.by_size,
                        start_offset = partition.log.start_offset(),
                        "old segments are deleted"
                    );
                }
                Ok(_) => {}
                Err(error) if error.is_disk_full() => {
                    tracing::warn!(%error, "old segments could not be deleted; it is tried again");
                }
                Err(error) => partition.replica.directory.fail(&error),
            }
            if partition.log.start_offset() > start_offset {
                partition.replica.directory.is_behind(CheckpointKind::LogStartOffset);
            }
            self.changed(id, now_ms);
        }
    }

    /// Does something with a log that it may change by.
    fn run_on_log(&mut self, id: PartitionId, task: LogTask, now_ms: i64) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let start_offset = partition.log.start_offset();
        task(&mut partition.log);
        if partition.log.start_offset() > start_offset {
            partition.replica.directory.is_behind(CheckpointKind::LogStartOffset);
        }
        self.changed(id, now_ms);
    }

    /// Unlinks what is due, on a thread that may wait for the disk.
    fn unlink(&mut self, id: PartitionId, now_ms: i64) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        partition.unlinks = false;
        if let Some(task) = partition.log.unlink_due(now_ms) {
            // Nobody waits for it: what is not unlinked goes at the next start.
            let _unlinking = tokio::task::spawn_blocking(move || {
                if let Err(error) = task.run() {
                    tracing::warn!(%error, "a deleted segment's file stays until the next start");
                }
            });
        }
        self.changed(id, now_ms);
    }

    /// Segments of a log may have come or gone: sees to it that their files are unlinked in time.
    fn changed(&mut self, id: PartitionId, now_ms: i64) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        if let Some(due_ms) = partition.log.next_unlink_ms()
            && !std::mem::replace(&mut partition.unlinks, true)
        {
            let shard = self.flushing.shard.clone();
            let wait = Duration::from_millis(u64::try_from(due_ms.saturating_sub(now_ms)).unwrap_or(0));
            // Ends with the runtime, if not before.
            let _waiting = tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                // A broker that is stopping leaves the files to its next start.
                if let Some(shard) = shard.upgrade() {
                    let _ = shard.send(ShardMessage::Unlink { id });
                }
            });
        }
    }

    /// Flushes the logs whose time has come.
    fn flush_due(&mut self, now_ms: i64) {
        while let Some((due_ms, id)) = self.flushing.dirty.take_due(now_ms) {
            if let Some(partition) = self.partitions.get_mut(&id)
                && partition.flush == (FlushState::Queued { due_ms })
            {
                self.flushing.start(id, partition);
            }
        }
    }

    /// A flush has ended: moves the recovery point, answers who waited for it, and goes on with what came meanwhile.
    fn flushed(&mut self, id: PartitionId, result: Result<Flushed, LogError>, now_ms: i64) {
        self.flushing.in_flight -= 1;
        let mut settled = Vec::new();
        // A partition that is gone has nobody waiting, and a file that vanished with it is no failure.
        if let Some(partition) = self.partitions.get_mut(&id) {
            match result {
                Ok(done) => {
                    partition.log.flushed(&done, now_ms);
                    partition.flush = FlushState::Clean;
                    let recovery_point = partition.log.recovery_point();
                    partition.replica.recovery_point.store(recovery_point, Ordering::Release);
                    partition.replica.directory.is_behind(CheckpointKind::RecoveryPoint);
                    partition.publish();
                    while let Some(first) = partition.waiting.front()
                        && first.appended.last_offset < recovery_point
                    {
                        settled.extend(partition.waiting.pop_front().map(|w| (Ok(w.appended), w)));
                    }
                    if recovery_point < partition.log.end_offset() {
                        self.flushing.written(id, partition, now_ms);
                    }
                }
                Err(error) => {
                    partition.replica.directory.fail(&error);
                    let failure = AppendFailure::Log(AppendError::Log(error));
                    settled.extend(partition.waiting.drain(..).map(|w| (Err(failure.clone()), w)));
                }
            }
        }
        for (outcome, waiting) in settled {
            self.settle(&waiting, outcome);
        }
        self.close_if_quiet();
    }

    /// Puts in an outcome that was waited for, and answers if it was the last.
    fn settle(&mut self, waiting: &Waiting, outcome: Outcome) {
        let Some(unanswered) = self.unanswered.get_mut(&waiting.answer) else { return };
        if let Some(place) = unanswered.outcomes.get_mut(waiting.place) {
            *place = Some(outcome);
        }
        unanswered.missing -= 1;
        if unanswered.missing == 0
            && let Some(Unanswered { outcomes, reply, .. }) = self.unanswered.remove(&waiting.answer)
        {
            answer(reply, outcomes);
        }
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
            replies.push((append.reply, append.committed, 0));
        }
        for (id, (batches, places)) in &mut self.groups.by_partition {
            if batches.is_empty() {
                continue;
            }
            let mut partition = self.partitions.get_mut(id);
            let results = match &mut partition {
                Some(partition) => append(partition, batches, now_ms, self.metrics.core()),
                None => batches.drain(..).map(|_| Err(AppendFailure::Gone)).collect(),
            };
            batches.clear();
            for ((request, place), result) in places.drain(..).zip(results) {
                if let Some(partition) = &mut partition
                    && let Ok(appended) = result
                    && partition.group_commit
                    && appended.last_offset >= partition.log.recovery_point()
                    && let Some((_, true, missing)) = replies.get_mut(request)
                {
                    let answer = self.next_answer + request as u64;
                    partition.waiting.push_back(Waiting { appended, answer, place });
                    *missing += 1;
                } else if let Some(outcome) = outcomes.get_mut(request).and_then(|o| o.get_mut(place)) {
                    *outcome = Some(result);
                }
            }
            if let Some(partition) = partition {
                self.flushing.written(*id, partition, now_ms);
            }
        }
        // Partitions come and go; what a wake-up did not touch is not kept for ever.
        if self.groups.by_partition.len() > 2 * self.partitions.len() + DRAIN_MAX {
            self.groups.by_partition.clear();
        }
        for (number, ((reply, _, missing), outcomes)) in
            (self.next_answer..).zip(replies.into_iter().zip(outcomes))
        {
            match missing {
                0 => answer(reply, outcomes),
                _ => _ = self.unanswered.insert(number, Unanswered { outcomes, missing, reply }),
            }
            self.next_answer = number + 1;
        }
    }
}

impl Flushing {
    /// A log was written to: it is flushed now if it must be, else when its time comes.
    fn written(&mut self, id: PartitionId, partition: &mut Partition, now_ms: i64) {
        if partition.flush == FlushState::InFlight
            || partition.log.recovery_point() >= partition.log.end_offset()
        {
            return;
        }
        if self.policy.is_due(&partition.log, now_ms) {
            self.start(id, partition);
        } else {
            self.dirty.written(id, &mut partition.flush, &self.policy, partition.flush_ms, now_ms);
        }
    }

    fn start(&mut self, id: PartitionId, partition: &mut Partition) {
        // Without a handle the broker is stopping, and closes all logs.
        let Some(shard) = self.shard.upgrade() else { return };
        partition.flush = FlushState::Clean;
        if let Some(task) = partition.log.flush_task() {
            partition.flush = FlushState::InFlight;
            self.in_flight += 1;
            self.queue.submit(id, task, shard);
        }
    }
}

impl Partition {
    fn configure(&mut self, settings: &PartitionSettings) {
        self.flush_ms = settings.log.flush_ms;
        self.group_commit = settings.log.flush_messages == 1;
        self.log.set_config(settings.log.clone());
    }

    /// Lets consumers see what counts: the only replica is this one, so all that is in the log, or on the medium.
    fn publish(&mut self) {
        let end = if self.group_commit { self.log.recovery_point() } else { self.log.end_offset() };
        if end > self.replica.reader.high_watermark() {
            self.replica.reader.set_high_watermark(end);
            self.replica.directory.is_behind(CheckpointKind::HighWatermark);
            self.replica.purgatory.added(std::mem::take(&mut self.hidden_bytes));
        }
    }
}

/// Closes a log in order.
fn close(replica: &Replica, log: Log) {
    match log.close() {
        Ok(recovery_point) => {
            replica.recovery_point.store(recovery_point, Ordering::Release);
            replica.reader.set_high_watermark(recovery_point);
        }
        Err(error) => {
            replica.directory.leave_in_doubt();
            tracing::error!(%error, "a log could not be closed; the next start recovers it");
        }
    }
}

/// The log of a partition; a new one where there is none, or where a deleted topic of the same name left its own.
fn open_log(
    name: &TopicPartition,
    id: PartitionId,
    settings: &PartitionSettings,
    location: &Location,
) -> Result<Log, LogError> {
    let directory = location.directory.log();
    let path = directory.partition_path(name);
    if location.is_there {
        let checkpointed = directory.checkpointed(name);
        let (mut log, recovered) =
            Log::open(directory.disk(), &path, settings.log.clone(), &checkpointed, now_ms())?;
        report(&path, &recovered, &checkpointed);
        if log.topic_id().is_none() {
            tracing::info!(partition = %path.display(), topic_id = %id.topic, "a log did not know its topic");
            log.set_topic_id(id.topic)?;
        }
        return Ok(log);
    }
    if let Some(stale) = &location.stale {
        tracing::warn!(partition = %path.display(), "the log is a deleted topic's; it is removed");
        Log::delete_at(directory.disk(), &path, stale.topic_id)?;
    }
    Log::create(directory.disk(), &path, id.topic, settings.log.clone(), now_ms())
}

/// Tells what opening a log after a crash has done, if it was anything.
fn report(path: &Path, recovered: &Recovered, checkpointed: &Checkpointed) {
    let partition = path.display();
    if recovered.torn_bytes > 0 {
        let bytes = recovered.torn_bytes;
        tracing::warn!(%partition, bytes, "a torn end was cut off the log");
    }
    if recovered.missing_offsets > 0 {
        tracing::error!(
            %partition,
            flushed = checkpointed.recovery_point,
            end = recovered.end_offset,
            "records that had been flushed are missing from the end of a log; check the disk"
        );
    }
    if !checkpointed.clean && (recovered.checked_bytes > 0 || recovered.indexes_rebuilt > 0) {
        tracing::info!(
            %partition,
            from = checkpointed.recovery_point,
            to = recovered.end_offset,
            checked_bytes = recovered.checked_bytes,
            skipped_bytes = recovered.skipped_bytes,
            indexes_rebuilt = recovered.indexes_rebuilt,
            "a log was recovered"
        );
    }
}

fn append(
    partition: &mut Partition,
    batches: &mut Vec<ToAppend>,
    now_ms: i64,
    core: &CoreMetrics,
) -> Vec<Outcome> {
    core.produce_batches.add(batches.len() as u64);
    let directory = &partition.replica.directory;
    if !directory.is_online() {
        let failed = LogErrorKind::Failed { path: partition.log.directory().to_owned() };
        let error = AppendFailure::Log(AppendError::Log(failed.into()));
        core.failed_produce_batches.add(batches.len() as u64);
        return batches.drain(..).map(|_| Err(error.clone())).collect();
    }
    let before = partition.log.end_offset();
    let bytes: usize = batches.iter().map(ToAppend::len).sum();
    let mut results = Vec::with_capacity(batches.len());
    partition.log.append(batches, partition.replica.leader_epoch(), now_ms, &mut results);
    if partition.log.end_offset() > before {
        partition.hidden_bytes += bytes;
        partition.publish();
        // Each offset is a record's.
        let messages = (partition.log.end_offset() - before) as u64;
        let traffic = &partition.replica.traffic;
        for (messages_in, bytes_in) in
            [(&core.messages_in, &core.bytes_in), (&traffic.messages_in, &traffic.bytes_in)]
        {
            messages_in.add(messages);
            bytes_in.add(bytes as u64);
        }
    }
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        core.failed_produce_batches.add(1);
        if let AppendError::Log(error) = error
            && matches!(error.kind(), LogErrorKind::Io { .. })
        {
            partition.replica.directory.fail(error);
        }
    }
    results.into_iter().map(|r| r.map_err(AppendFailure::Log)).collect()
}

fn answer(reply: oneshot::Sender<Vec<Outcome>>, outcomes: Vec<Option<Outcome>>) {
    let outcomes = outcomes.into_iter().map(|o| o.unwrap_or(Err(AppendFailure::Gone))).collect();
    // Whoever asked may be gone; the records are stored all the same.
    let _ = reply.send(outcomes);
}

/// Sleeps until that time; for ever without one.
async fn until(due_ms: Option<i64>) {
    match due_ms {
        Some(due_ms) => {
            let wait_ms = u64::try_from(due_ms.saturating_sub(now_ms())).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        None => std::future::pending().await,
    }
}
