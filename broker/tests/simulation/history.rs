//! One history of a log: what is done to it, all from a seed, and what must be true after each step.

use std::{
    fmt,
    path::{Path, PathBuf},
    rc::Rc,
};

use bytes::Bytes;
use ottla_broker::log::{
    AppendError, CheckpointKind, CleanupPolicy, Disk, Faults, FlushTask, Flushed, Log, LogConfig,
    LogDirectory, LogError, LogErrorKind, LogReader, MetaProperties, ProducerError, Random, ReadError,
    SimulatedDisk, ToAppend, TopicPartition,
};
use ottla_protocol::{
    compression::Compressor,
    record::{BATCH_HEADER_BYTES, Batch, BatchBuilder, Scratch, Seal},
    types::{ProducerId, Uuid},
};

use crate::model::{Model, Producers, Stored};
use compaction::Round;

/// Fails the history unless the condition holds.
macro_rules! hold {
    ($condition:expr, $($why:tt)*) => {
        if !$condition {
            return Err(format!($($why)*));
        }
    };
}

pub(crate) mod compaction;

const DATA: &str = "/data";
/// The time at which histories begin.
const BEGIN_MS: i64 = 1_700_000_000_000;
/// Idempotent producers, with ids from 0 on.
const PRODUCERS: u64 = 3;
/// Age of the records that are deleted, in histories that have it so: some dozens of steps.
const RETENTION_MS: u64 = 900;
/// Keys, in histories with compaction.
const KEYS: u64 = 12;
/// How long such histories keep a tombstone that the cleaner has met.
const DELETE_RETENTION_MS: i64 = 600;
/// Records behind which a flush is due in histories with group commit.
const GROUP_COMMIT: i64 = 1;

/// Behind offset, length and leader's epoch, which no checksum covers.
const HEADER_BYTES_CHECKED: usize = 16;
/// What the disk writes whole, or not at all.
const SECTOR_BYTES: usize = 512;

/// What kind of history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Steps before it ends.
    pub(crate) steps: usize,
    /// Whether every append is flushed before it is acknowledged, on a disk without other faults than power cuts.
    pub(crate) group_commit: bool,
    /// The change of the disk at which the power is cut, once; the history ends with the restart.
    pub(crate) cut_at: Option<u64>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { steps: 60, group_commit: false, cut_at: None }
    }
}

/// What came of a history that agreed with the model.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) restarts: u64,
    pub(crate) power_cuts: u64,
    pub(crate) rot_found: u64,
    pub(crate) changes: u64,
    /// Segments that retention deleted.
    pub(crate) deleted: u64,
    /// Rounds of cleaning that came to their end.
    pub(crate) cleanings: u64,
    /// Rounds that a fault of the disk ended.
    pub(crate) cleanings_cut: u64,
    /// Batches that compaction took.
    pub(crate) compacted: u64,
    /// Starts that did not walk all of a segment that was not flushed to its end.
    pub(crate) positions_believed: u64,
    pub(crate) trace_hash: u64,
}

impl Outcome {
    fn counts(&mut self) -> [(&'static str, &mut u64); 8] {
        [
            ("restarts", &mut self.restarts),
            ("after a power cut", &mut self.power_cuts),
            ("times rot was found", &mut self.rot_found),
            ("old segments deleted", &mut self.deleted),
            ("rounds of cleaning", &mut self.cleanings),
            ("cut short by the disk", &mut self.cleanings_cut),
            ("batches compacted away", &mut self.compacted),
            ("positions believed", &mut self.positions_believed),
        ]
    }

    /// Adds what was met in another history.
    pub(crate) fn add(&mut self, other: &Self) {
        let mut other = *other;
        for ((_, sum), (_, more)) in self.counts().into_iter().zip(other.counts()) {
            *sum += *more;
        }
    }

    /// How often that was met which was met least.
    pub(crate) fn least(mut self) -> u64 {
        self.counts().into_iter().map(|(_, count)| *count).min().unwrap_or(0)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = *self;
        let counts = all.counts().map(|(what, count)| format!("{count} {what}"));
        f.write_str(&counts.join(", "))
    }
}

/// What can be done to a log.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Append,
    BeginEpoch,
    TakeFlush,
    RunFlush,
    TellFlush,
    Checkpoint,
    SavePosition,
    Truncate,
    Retain,
    DeleteRecords,
    Unlink,
    Compact,
    Read,
    Fail,
    Heal,
    CloseAndOpen,
    Kill,
    CutPower,
    CutPowerSoon,
}

/// How often each is done, of their sum.
const WEIGHTS: [(Operation, u64); 19] = [
    (Operation::Append, 45),
    (Operation::BeginEpoch, 3),
    (Operation::TakeFlush, 8),
    (Operation::RunFlush, 8),
    (Operation::TellFlush, 8),
    (Operation::Checkpoint, 5),
    (Operation::SavePosition, 4),
    (Operation::Truncate, 2),
    (Operation::Retain, 4),
    (Operation::DeleteRecords, 2),
    (Operation::Unlink, 2),
    (Operation::Compact, 10),
    (Operation::Read, 8),
    (Operation::Fail, 3),
    (Operation::Heal, 3),
    (Operation::CloseAndOpen, 2),
    (Operation::Kill, 2),
    (Operation::CutPower, 2),
    (Operation::CutPowerSoon, 2),
];

/// How a broker ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Closed,
    Killed,
    PowerCut,
}

/// A flush on its way.
struct Flush {
    task: FlushTask,
    /// Where the log ended when it was taken.
    end: i64,
    /// How often the log had been cut.
    cuts: u64,
}

/// A broker that runs, with its one log.
struct Running {
    directory: LogDirectory,
    log: Log,
    reader: std::sync::Arc<LogReader>,
}

pub(crate) struct History {
    random: Random,
    plan: Plan,
    simulated: SimulatedDisk,
    disk: Disk,
    config: LogConfig,
    now_ms: i64,
    running: Option<Running>,
    model: Model,
    /// Batches of an append that neither succeeded nor failed for certain, because the disk stopped in it.
    in_doubt: Vec<Rc<Stored>>,
    /// Where a cut that the disk stopped in would have left the end.
    cut_in_doubt: Option<i64>,
    epoch: i32,
    flushes: Vec<Flush>,
    /// Flushes that succeeded, and that the log was not told of yet.
    untold: Vec<Flushed>,
    cuts: u64,
    faulty: bool,
    /// The producers' ids: fresh ones for those that the log may have forgotten with their records.
    ids: [i64; PRODUCERS as usize],
    /// How many producers the log may know besides.
    retired: usize,
    /// The start that the checkpoint file says, or an earlier one.
    start_checkpointed: i64,
    /// Everything before it was cleaned.
    cleaned: Option<i64>,
    /// The round of cleaning that goes on.
    round: Option<Round>,
    outcome: Outcome,
}

fn partition() -> TopicPartition {
    TopicPartition { topic: "orders".into(), partition: 0 }
}

fn log_path() -> PathBuf {
    Path::new(DATA).join("orders-0")
}

impl History {
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let mut random = Random::new(seed);
        let simulated = SimulatedDisk::new(random.next_u64());
        let segment_bytes = [2_000, 9_000, 30_000, 200_000][random.below(4) as usize];
        let config = LogConfig {
            segment_bytes,
            index_interval_bytes: [100, 500, 4096][random.below(3) as usize],
            flush_messages: if plan.group_commit { GROUP_COMMIT } else { i64::MAX },
            max_message_bytes: segment_bytes as usize,
            position_interval_bytes: 1 + random.below(2_000) as u32,
            cleanup: CleanupPolicy {
                retention_bytes: [None, Some(u64::from(segment_bytes))][random.below(2) as usize],
                retention_ms: [None, Some(RETENTION_MS)][random.below(2) as usize],
                file_delete_delay_ms: 200,
                compact: random.one_in(2),
                delete_retention_ms: DELETE_RETENTION_MS,
                ..CleanupPolicy::default()
            },
            ..LogConfig::default()
        };
        Self {
            random,
            plan,
            disk: Disk::Simulated(simulated.clone()),
            simulated,
            config,
            now_ms: BEGIN_MS,
            running: None,
            model: Model::default(),
            in_doubt: Vec::new(),
            cut_in_doubt: None,
            epoch: 0,
            flushes: Vec::new(),
            untold: Vec::new(),
            cuts: 0,
            faulty: false,
            ids: std::array::from_fn(|i| i as i64),
            retired: 0,
            start_checkpointed: 0,
            cleaned: None,
            round: None,
            outcome: Outcome::default(),
        }
    }

    pub(crate) fn run(mut self) -> Result<Outcome, String> {
        self.create()?;
        if let Some(at) = self.plan.cut_at {
            let stop_at = Some(self.simulated.changes() + at);
            self.simulated.set_faults(Faults { stop_at, ..Faults::default() });
            self.faulty = true;
        }
        for step in 0..self.plan.steps {
            let operation = self.pick();
            if std::env::var_os("OTTLA_TRACE").is_some() {
                println!(
                    "{step} {operation:?} end {} flushed {} epoch {}",
                    self.model.end, self.model.flushed, self.epoch
                );
            }
            self.step(operation).map_err(|why| format!("step {step}, {operation:?}: {why}"))?;
            if self.plan.cut_at.is_some() && self.has_stopped() {
                self.restart(End::PowerCut).map_err(|why| format!("step {step}, {operation:?}: {why}"))?;
                break;
            }
        }
        self.outcome.changes = self.simulated.changes();
        self.restart(End::PowerCut).map_err(|why| format!("at the end: {why}"))?;
        self.restart(End::Killed).map_err(|why| format!("at the very end: {why}"))?;
        self.outcome.trace_hash = self.simulated.trace_hash();
        Ok(self.outcome)
    }

    fn pick(&mut self) -> Operation {
        let compacts = self.config.cleanup.compact;
        let allowed = |operation: Operation| match operation {
            Operation::Compact => compacts,
            _ if !self.plan.group_commit => true,
            _ => matches!(
                operation,
                Operation::Append
                    | Operation::BeginEpoch
                    | Operation::Checkpoint
                    | Operation::SavePosition
                    | Operation::Truncate
                    | Operation::Retain
                    | Operation::DeleteRecords
                    | Operation::Unlink
                    | Operation::CloseAndOpen
                    | Operation::Kill
            ),
        };
        let choices: Vec<_> = WEIGHTS.into_iter().filter(|(operation, _)| allowed(*operation)).collect();
        let mut at = self.random.below(choices.iter().map(|(_, weight)| weight).sum());
        for (operation, weight) in choices {
            match at.checked_sub(weight) {
                Some(rest) => at = rest,
                None => return operation,
            }
        }
        Operation::Append
    }

    fn step(&mut self, operation: Operation) -> Result<(), String> {
        self.now_ms += self.random.below(50) as i64;
        match operation {
            Operation::Append => self.append(),
            Operation::BeginEpoch => self.begin_epoch(),
            Operation::TakeFlush => {
                let end = self.model.end;
                if let Some(task) = self.log().flush_task() {
                    self.flushes.push(Flush { task, end, cuts: self.cuts });
                }
                Ok(())
            }
            Operation::RunFlush => {
                if !self.flushes.is_empty() {
                    let any = self.random.below(self.flushes.len() as u64) as usize;
                    let flush = self.flushes.swap_remove(any);
                    self.run_flush(flush);
                }
                Ok(())
            }
            Operation::TellFlush => self.tell_flush(),
            Operation::Checkpoint => {
                let point = self.log().recovery_point();
                self.checkpoint(point);
                self.checkpoint_start();
                Ok(())
            }
            Operation::SavePosition => match self.log().save_position() {
                Err(error) if !self.faulty => Err(error.to_string()),
                _ => Ok(()),
            },
            Operation::Truncate => self.truncate(),
            Operation::Retain => self.retain(),
            Operation::DeleteRecords => self.delete_records(),
            Operation::Unlink => {
                let now_ms = self.now_ms;
                // What is not unlinked now goes at the next start.
                let _ = self.log().unlink_due(now_ms).map(|task| task.run());
                Ok(())
            }
            Operation::Compact => self.compact(),
            Operation::Read => self.read(),
            Operation::Fail => {
                self.fail();
                Ok(())
            }
            Operation::Heal => {
                if self.faulty && !self.has_stopped() {
                    self.simulated.set_faults(Faults::default());
                    self.faulty = false;
                }
                Ok(())
            }
            Operation::CloseAndOpen => self.restart(End::Closed),
            Operation::Kill => self.restart(End::Killed),
            Operation::CutPower => self.restart(End::PowerCut),
            Operation::CutPowerSoon => {
                let stop_at = Some(self.simulated.changes() + self.random.below(12));
                self.simulated.set_faults(Faults { stop_at, ..Faults::default() });
                self.faulty = true;
                Ok(())
            }
        }?;
        // A broker on a disk that does nothing any more, or with a log that is closed, is soon started anew.
        if self.plan.cut_at.is_none() && self.has_stopped() && self.random.one_in(4) {
            let end = if self.random.one_in(2) { End::Killed } else { End::PowerCut };
            self.restart(end)?;
        }
        Ok(())
    }

    fn log(&mut self) -> &mut Log {
        &mut self.running.as_mut().unwrap().log
    }

    fn reader(&self) -> &LogReader {
        &self.running.as_ref().unwrap().reader
    }

    fn has_stopped(&self) -> bool {
        self.reader().has_failed()
    }

    fn create(&mut self) -> Result<(), String> {
        let mut directory = self.open_directory()?;
        let meta = MetaProperties { cluster_id: "c".into(), node_id: 1, directory_id: Uuid(1) };
        directory.format(meta).map_err(|e| e.to_string())?;
        let log = Log::create(&self.disk, &log_path(), Uuid(7), self.config.clone(), self.now_ms)
            .map_err(|e| e.to_string())?;
        let reader = log.reader();
        self.running = Some(Running { directory, log, reader });
        Ok(())
    }

    fn open_directory(&self) -> Result<LogDirectory, String> {
        LogDirectory::open(self.disk.clone(), Path::new(DATA)).map_err(|e| e.to_string())
    }

    // What is done.

    fn append(&mut self) -> Result<(), String> {
        let count = 1 + self.random.below(4) as usize;
        let (mut producers, mut end) = (self.model.producers.clone(), self.model.end);
        let mut sent: Vec<(Batch, Expected)> = Vec::new();
        for _ in 0..count {
            let (batch, kind) = self.batch(&producers);
            if kind == Expected::New {
                let stored = Stored::new(&batch, end, self.epoch);
                end = stored.next_offset();
                producers.append(&stored);
            }
            sent.push((batch, kind));
        }
        let mut batches: Vec<ToAppend> = sent.iter().map(|(b, _)| ToAppend::from(b.clone())).collect();
        let (epoch, now_ms) = (self.epoch, self.now_ms);
        let mut results = Vec::new();
        self.log().append(&mut batches, epoch, now_ms, &mut results);
        hold!(results.len() == count, "{} results for {count} batches", results.len());
        let mut broken = false;
        for ((batch, kind), result) in sent.iter().zip(&results) {
            match (result, kind) {
                (Err(AppendError::Log(_) | AppendError::DiskFull(_)), _) if self.faulty => {
                    broken = true;
                    if *kind == Expected::New {
                        let end = self.in_doubt.last().map_or(self.model.end, |last| last.next_offset());
                        self.in_doubt.push(Stored::new(batch, end, self.epoch));
                    }
                }
                (Ok(appended), Expected::New) => {
                    hold!(!broken, "a batch overtook one that failed");
                    hold!(
                        appended.base_offset == self.model.end && !appended.duplicate,
                        "appended at {}, duplicate {}, and {} is due",
                        appended.base_offset,
                        appended.duplicate,
                        self.model.end
                    );
                    self.model.append(Stored::new(batch, self.model.end, self.epoch));
                }
                (Ok(appended), Expected::Duplicate(offset)) => hold!(
                    appended.duplicate && appended.base_offset == *offset,
                    "a duplicate of the batch at {offset} was answered with {}, duplicate {}",
                    appended.base_offset,
                    appended.duplicate
                ),
                (Err(AppendError::Producer(ProducerError::OutOfOrderSequence { .. })), Expected::Gap) => {}
                (result, kind) => return Err(format!("{result:?}, where {kind:?} was to be expected")),
            }
        }
        if !self.has_stopped() {
            // The log said that nothing of it was stored.
            self.in_doubt.clear();
        }
        let end = self.log().end_offset();
        hold!(end == self.model.end, "the log ends at {end}, and {} is due", self.model.end);
        if self.plan.group_commit && self.log().flush_due(now_ms) {
            self.flush_now()?;
        }
        Ok(())
    }

    /// What group commit does before it acknowledges.
    fn flush_now(&mut self) -> Result<(), String> {
        let end = self.model.end;
        let Some(task) = self.log().flush_task() else { return Ok(()) };
        self.run_flush(Flush { task, end, cuts: self.cuts });
        self.tell_flush()
    }

    fn run_flush(&mut self, flush: Flush) {
        if let Ok(flushed) = flush.task.run() {
            if flush.cuts == self.cuts {
                self.model.flushed = self.model.flushed.max(flush.end);
            }
            self.untold.push(flushed);
        }
    }

    fn tell_flush(&mut self) -> Result<(), String> {
        let now_ms = self.now_ms;
        for flushed in std::mem::take(&mut self.untold) {
            self.log().flushed(&flushed, now_ms);
        }
        let point = self.log().recovery_point();
        hold!(
            point <= self.model.flushed,
            "the recovery point is {point}, and only what is before {} is flushed",
            self.model.flushed
        );
        Ok(())
    }

    fn begin_epoch(&mut self) -> Result<(), String> {
        let epoch = self.epoch + 1 + self.random.below(3) as i32;
        match self.log().begin_epoch(epoch) {
            Ok(()) => self.epoch = epoch,
            Err(AppendError::Log(_) | AppendError::DiskFull(_)) if self.faulty => {}
            Err(error) => return Err(error.to_string()),
        }
        Ok(())
    }

    /// Writes the recovery point where the next start finds it. Says whether it is there.
    fn checkpoint(&mut self, point: i64) -> bool {
        let running = self.running.as_ref().unwrap();
        let offsets = [(partition(), point)];
        running.directory.write_checkpoint(CheckpointKind::RecoveryPoint, offsets.into_iter()).is_ok()
    }

    /// As [`History::checkpoint`], of where the log starts.
    fn checkpoint_start(&mut self) -> bool {
        let start = self.model.start;
        let running = self.running.as_ref().unwrap();
        let offsets = [(partition(), start)].into_iter();
        let written = running.directory.write_checkpoint(CheckpointKind::LogStartOffset, offsets).is_ok();
        // One that failed may be there all the same.
        self.start_checkpointed = if written { start } else { self.start_checkpointed.min(start) };
        written
    }

    /// Old segments go, whole and in order.
    fn retain(&mut self) -> Result<(), String> {
        let (now_ms, end) = (self.now_ms, self.model.end);
        self.reader().set_high_watermark(end);
        let before = self.first_segment();
        let retained = self.log().retain(now_ms);
        let start = self.log().start_offset();
        hold!(
            (self.model.start..=end).contains(&start),
            "the log starts at {start}, after {}",
            self.model.start
        );
        // Also where the disk has failed, nobody reads any more what was to go.
        self.model.start = start;
        match retained {
            Ok(deleted) => {
                let first = self.first_segment();
                hold!(
                    (deleted.segments() > 0) == (first > before) && first <= start.max(before),
                    "{deleted:?}, and the first segment is {first}, not {before}; the log starts at {start}"
                );
                self.outcome.deleted += deleted.segments() as u64;
                Ok(())
            }
            Err(_) if self.faulty => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn delete_records(&mut self) -> Result<(), String> {
        let (start, end) = (self.model.start, self.model.end);
        self.reader().set_high_watermark(end);
        let offset = start + self.random.below((end - start) as u64 / 2 + 1) as i64;
        let advanced = self.log().advance_start_offset(offset);
        let now = self.log().start_offset();
        match advanced {
            Ok(moved) => hold!(
                moved == (offset > start) && now == offset,
                "the start went from {start} to {now} instead of {offset}"
            ),
            Err(_) if self.faulty => hold!(now == start || now == offset, "the start went to {now}"),
            Err(error) => return Err(error.to_string()),
        }
        self.model.start = now;
        Ok(())
    }

    /// Where the first segment begins.
    fn first_segment(&self) -> i64 {
        self.segment_files().next().map_or(0, |(base_offset, _)| base_offset)
    }

    /// What a log surely knows of producers after a restart or a cut: what its segments tell. Snapshots may know more, of
    /// those that were `known` before.
    fn forget_producers(&mut self, known: &[i64]) {
        let first = self.first_segment();
        let end = self.model.end;
        let mut batches = std::mem::take(&mut self.model.batches);
        let left = batches.split_off(batches.partition_point(|b| b.base_offset() < first));
        self.model.gone.append(&mut batches);
        self.model.rebuild(left);
        self.model.end = end;
        for id in known.iter().filter(|id| !self.model.producers.0.contains_key(id)) {
            if let Some(own) = self.ids.iter_mut().find(|own| *own == id) {
                *own += PRODUCERS as i64;
                self.retired += 1;
            }
        }
    }

    fn producers(&self) -> Vec<i64> {
        self.model.producers.0.keys().copied().collect()
    }

    fn truncate(&mut self) -> Result<(), String> {
        let offset = self.random.below(self.model.end as u64 + 1) as i64;
        let start = self.model.start;
        let now_ms = self.now_ms;
        let mut told = None;
        let cut = self.model.end_of_cut(offset, self.first_segment());
        let Running { directory, log, .. } = self.running.as_mut().unwrap();
        let before = log.recovery_point();
        let truncated = log.truncate_to(offset, now_ms, |point| {
            told = Some(point);
            directory.write_checkpoint(CheckpointKind::RecoveryPoint, [(partition(), point)].into_iter())
        });
        hold!(
            told.is_none_or(|point| point == cut) && (told.is_some() || truncated.is_err() || cut >= before),
            "cut to {cut}, with the recovery point at {before}: {told:?} was checkpointed"
        );
        match truncated {
            // A disk that has stopped does not matter where there is nothing to cut.
            Ok(()) if offset.max(start) >= self.model.end => Ok(()),
            Ok(()) => {
                self.cuts += 1;
                let known = self.producers();
                self.model.truncate(cut);
                self.cleaned = self.cleaned.filter(|cleaned| *cleaned <= cut);
                self.in_doubt.clear();
                let (end, due) = (self.log().end_offset(), self.model.end);
                hold!(end == due, "cut at {offset}: the log ends at {end}, and {due} is due");
                // The leader that made us cut is a new one.
                self.epoch += 1;
                let (now, due) = (self.log().start_offset(), self.model.start);
                hold!(now == due, "cut at {offset}: the log starts at {now}, and {due} is due");
                self.forget_producers(&known);
                if now < start {
                    // As an owner must, before it appends.
                    if !self.checkpoint_start() {
                        return self.restart(End::Killed);
                    }
                }
                self.verify_content(self.model.end)
            }
            Err(error) if self.faulty => {
                if matches!(error.kind(), LogErrorKind::Failed { .. }) || !self.has_stopped() {
                    return Ok(());
                }
                // The log is of no use now, and says so.
                self.cut_in_doubt = Some(cut);
                let end = if self.plan.cut_at.is_some() || self.random.one_in(2) {
                    End::PowerCut
                } else {
                    End::Killed
                };
                self.restart(end)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn fail(&mut self) {
        let kind = self.random.below(5);
        let bytes_max = Some(self.random.below(60_000));
        let stop_at = Some(self.simulated.changes() + self.random.below(30));
        self.simulated.set_faults(match kind {
            0 => Faults { bytes_max, ..Faults::default() },
            1 => Faults { sync_fails_one_in: 3, ..Faults::default() },
            2 => Faults { write_fails_one_in: 4, ..Faults::default() },
            3 => Faults { short_one_in: 2, ..Faults::default() },
            _ => Faults { stop_at, short_one_in: 5, ..Faults::default() },
        });
        self.faulty = true;
    }

    /// A batch, and what the log should say to it.
    fn batch(&mut self, producers: &Producers) -> (Batch, Expected) {
        let id = self.ids[self.random.below(PRODUCERS) as usize];
        let producer = producers.0.get(&id);
        let idempotent = self.random.below(4) > 0;
        if let Some(producer) = producer.filter(|_| idempotent && self.random.one_in(6)) {
            let known: Vec<&Rc<Stored>> = producer.known().collect();
            let any = self.random.below(known.len() as u64) as usize;
            let original = known[any];
            return (original.sent.clone(), Expected::Duplicate(original.base_offset()));
        }
        let (epoch, mut sequence) = match producer {
            Some(_) if !idempotent => (-1, -1),
            None if !idempotent => (-1, -1),
            Some(producer) if self.random.one_in(12) => (producer.epoch + 1, 0),
            Some(producer) => (producer.epoch, producer.next_sequence),
            None => (0, 0),
        };
        let gap = producer.is_some() && idempotent && sequence > 0 && self.random.one_in(30);
        sequence += if gap { 1 } else { 0 };
        let many = self.random.one_in(8);
        let records = 1 + self.random.below(if many { 30 } else { 4 });
        let large = self.random.one_in(10);
        let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
        let mut left = self.config.segment_bytes as usize / 2;
        for _ in 0..records {
            let time_ms = self.now_ms - 500 + self.random.below(1000) as i64;
            let most = if large { 6000 } else { 200 };
            let len = (self.random.below(most) as usize).min(left.saturating_sub(20));
            left -= len;
            // No zeros: a sector of them is what a power cut leaves.
            let value: Vec<u8> = (0..len).map(|_| 1 + self.random.below(255) as u8).collect();
            if self.config.cleanup.compact {
                let key = [self.random.below(KEYS) as u8];
                let value = (!self.random.one_in(5)).then_some(value.as_slice());
                builder.push(time_ms, Some(&key), value, &[]).unwrap();
            } else {
                builder.push(time_ms, None, Some(&value), &[]).unwrap();
            }
        }
        let seal = Seal {
            producer_id: ProducerId(if idempotent { id } else { -1 }),
            producer_epoch: epoch,
            base_sequence: sequence,
            ..Seal::default()
        };
        let batch = builder.seal(&seal, &mut Compressor::new()).unwrap();
        (batch, if gap { Expected::Gap } else { Expected::New })
    }

    // Restarts.

    fn restart(&mut self, end: End) -> Result<(), String> {
        self.outcome.restarts += 1;
        let Running { directory, log, reader } = self.running.take().unwrap();
        let failed = reader.has_failed();
        let mut end = end;
        if end == End::Closed {
            let due = self.model.end;
            let closed = log.close().and_then(|point| {
                self.model.flushed = point;
                let offsets = [(partition(), point)];
                directory.write_checkpoint(CheckpointKind::RecoveryPoint, offsets.into_iter())?;
                let offsets = [(partition(), self.model.start)];
                directory.write_checkpoint(CheckpointKind::LogStartOffset, offsets.into_iter())?;
                self.start_checkpointed = self.model.start;
                directory.close(1)
            });
            match closed {
                Ok(()) => {
                    let point = self.model.flushed;
                    hold!(point == due, "closed at {point}, and {due} is due");
                }
                Err(_) if self.faulty || failed => end = End::Killed,
                Err(error) => return Err(format!("could not be closed: {error}")),
            }
        } else {
            drop((log, directory));
        }
        drop(reader);
        self.flushes.clear();
        self.untold.clear();
        self.cuts += 1;
        self.faulty = false;
        match end {
            End::PowerCut => {
                self.outcome.power_cuts += 1;
                self.simulated.power_cut();
            }
            // What is on the disk of a log that was closed is all there, whatever happens then.
            End::Closed if self.random.one_in(2) => self.simulated.power_cut(),
            End::Closed | End::Killed => self.simulated.restart(),
        }
        let cut = self.cut_in_doubt.take().unwrap_or(i64::MAX);
        let least = match end {
            End::Closed | End::Killed => self.model.end.min(cut),
            End::PowerCut => self.model.flushed.min(cut),
        };
        let settled = self.round.is_none() && cut == i64::MAX;
        if self.plan.cut_at.is_none() && settled && self.random.one_in(5) {
            self.rot()?;
        }
        if self.plan.cut_at.is_none() && self.random.one_in(5) {
            self.damage_a_cache();
        }
        self.open()?;
        // What was cleaned was flushed before, unless the round failed in that.
        let end = self.log().end_offset();
        self.settle_round(cut.min(end), false)?;
        self.round = None;
        self.accept(least)?;
        self.cleaned = self.cleaned.filter(|cleaned| *cleaned <= self.model.end && !self.random.one_in(4));
        // What is there is there, but it may never have been flushed.
        self.model.flushed = self.model.flushed.min(self.model.end);
        self.verify()
    }

    fn open(&mut self) -> Result<(), String> {
        self.try_open().map_err(|error| format!("could not be opened: {error}"))
    }

    fn try_open(&mut self) -> Result<(), LogError> {
        let directory = LogDirectory::open(self.disk.clone(), Path::new(DATA))?;
        let path = log_path();
        let there = self.simulated.names(Path::new(DATA)).unwrap_or_default();
        let log = if there.iter().any(|name| name == "orders-0") {
            let checkpointed = directory.checkpointed(&partition());
            let (log, recovered) =
                Log::open(&self.disk, &path, self.config.clone(), &checkpointed, self.now_ms)?;
            self.outcome.positions_believed += u64::from(recovered.skipped_bytes > 0);
            log
        } else {
            Log::create(&self.disk, &path, Uuid(7), self.config.clone(), self.now_ms)?
        };
        let reader = log.reader();
        self.running = Some(Running { directory, log, reader });
        Ok(())
    }

    /// Takes what the log holds for what is; it must be a prefix of what was, and not end before `least`.
    fn accept(&mut self, least: i64) -> Result<(), String> {
        let log = &self.running.as_ref().unwrap().log;
        let (start, end) = (log.start_offset(), log.end_offset());
        let (latest, earliest) = (self.model.start, self.start_checkpointed.min(end));
        hold!(
            (earliest..=latest.max(earliest)).contains(&start),
            "the log starts at {start}, and not from {earliest} to {latest}"
        );
        self.model.start = start;
        let known = self.producers();
        let mut all: Vec<_> = self.model.gone.drain(..).map(|gone| Stored::returned(&gone)).collect();
        all.append(&mut self.model.batches);
        all.append(&mut self.in_doubt);
        let bytes = read_all(self.reader())?;
        let mut kept = Vec::new();
        let mut rest = bytes.as_slice();
        for stored in all {
            if stored.next_offset() <= start || (stored.dropped && stored.next_offset() <= end) {
                kept.push(stored);
                continue;
            }
            if rest.is_empty() {
                break;
            }
            match rest.strip_prefix(stored.bytes.as_ref()) {
                Some(behind) => rest = behind,
                None => return Err(format!("the batch at {} is not what was written", stored.base_offset())),
            }
            kept.push(stored);
        }
        hold!(rest.is_empty(), "{} bytes more than were ever written", rest.len());
        self.model.rebuild(kept);
        hold!(
            end >= least && self.model.end <= end,
            "the log ends at {end}, its batches at {}, and {least} was due at least",
            self.model.end
        );
        self.model.end = end;
        self.forget_producers(&known);
        self.correct_checkpoints();
        Ok(())
    }

    /// What an owner must do before it appends, where a log holds less than its checkpoints claim.
    fn correct_checkpoints(&mut self) {
        let Running { directory, log, .. } = self.running.as_ref().unwrap();
        let told = |kind| directory.checkpoint(kind, &partition()).unwrap_or(0);
        let point = log.recovery_point();
        let claims_more = told(CheckpointKind::RecoveryPoint) > point;
        let told_start = told(CheckpointKind::LogStartOffset);
        let starts_later = told_start > log.start_offset();
        self.start_checkpointed = told_start;
        if claims_more {
            self.checkpoint(point);
        }
        if starts_later {
            self.checkpoint_start();
        }
    }

    /// Flips a bit of a flushed batch, with a flushed one behind it: what cannot be a crash must be told, and nothing
    /// cut. Then flips it back.
    fn rot(&mut self) -> Result<(), String> {
        let (first, visible) = (self.first_segment(), self.model.visible());
        let visible: Vec<Rc<Stored>> =
            visible.iter().filter(|b| b.base_offset() >= first && !b.records.is_empty()).cloned().collect();
        let flushed = visible.iter().filter(|b| b.next_offset() <= self.model.flushed).count();
        if flushed < 2 {
            return Ok(());
        }
        let place = self.random.below(flushed as u64 - 1) as usize;
        let batch = Rc::clone(&visible[place]);
        let followers = &visible[place + 1..flushed];
        let Some((base, position, segment_end)) = self.find(&batch) else {
            return Err(format!("the flushed batch at {} is gone", batch.base_offset()));
        };
        // A batch that ends its file is torn as far as anybody can tell, if no file follows.
        let in_file = followers.iter().any(|f| f.base_offset() < segment_end);
        let other_file = followers.iter().any(|f| f.base_offset() >= segment_end);
        let directory = self.open_directory()?;
        let checkpointed = directory.checkpointed(&partition());
        // The bytes before the recovery point are not read at start, but their headers may be believed.
        let seen = !checkpointed.clean && batch.base_offset() >= checkpointed.recovery_point;
        let from = if seen { HEADER_BYTES_CHECKED } else { BATCH_HEADER_BYTES };
        let within = from + self.random.below((batch.bytes.len() - from) as u64) as usize;
        let (at, bit) = (position + within, self.random.below(8) as u8);
        let mut flipped = batch.bytes.to_vec();
        flipped[within] ^= 1 << bit;
        let end_of_batch = position + flipped.len();
        let in_last_sector = flipped.len().min(1 + (end_of_batch - 1) % SECTOR_BYTES);
        let zeros_end_it = flipped[flipped.len() - in_last_sector..].iter().all(|byte| *byte == 0);
        // Nor can anybody tell where the file ends with zeros, as a record does, in a sector of their own.
        if !in_file && (!other_file || zeros_end_it) {
            return Ok(());
        }
        let flip = |history: &Self| {
            // A swap that is completed gives the file another name.
            let path = history.segment_files().find(|(file, _)| *file == base).map(|(_, path)| path);
            history.simulated.flip(&path.unwrap_or_default(), at, bit).map_err(|e| e.to_string())
        };
        flip(self)?;
        let before = self.files();
        match Log::open(&self.disk, &log_path(), self.config.clone(), &checkpointed, self.now_ms) {
            Err(error) => {
                hold!(matches!(error.kind(), LogErrorKind::Rot { .. }), "rot was taken for {error}");
                hold!(self.files() == before, "rot was found, and the files changed");
                self.outcome.rot_found += 1;
            }
            Ok((log, recovered)) => {
                let (end, torn) = (log.end_offset(), recovered.torn_bytes);
                hold!(
                    end >= self.model.flushed && !seen,
                    "rot at byte {at} of segment {base} was passed over: the log ends at {end}, {torn} bytes torn"
                );
            }
        }
        flip(self)
    }

    /// The segment that holds a batch, where in it, and where the next segment begins.
    fn find(&self, batch: &Stored) -> Option<(i64, usize, i64)> {
        let files: Vec<(i64, PathBuf)> = self.segment_files().collect();
        let (base, path) = files.iter().rfind(|(base, _)| *base <= batch.base_offset())?.clone();
        let next = files.iter().map(|(base, _)| *base).find(|next| *next > base).unwrap_or(i64::MAX);
        let position: usize = self
            .model
            .batches
            .iter()
            .filter(|b| (base..batch.base_offset()).contains(&b.base_offset()))
            .map(|b| b.bytes.len())
            .sum();
        let bytes = self.simulated.contents(&path).ok()?;
        (bytes.get(position..)?.starts_with(&batch.bytes)).then_some((base, position, next))
    }

    fn files(&self) -> Vec<(i64, Vec<u8>)> {
        self.segment_files().map(|(base, path)| (base, self.simulated.contents(&path).unwrap())).collect()
    }

    /// Spoils a file that only repeats what the segments say.
    fn damage_a_cache(&mut self) {
        let names = self.simulated.names(&log_path()).unwrap_or_default();
        let is_cache = |name: &String| {
            [".index", ".timeindex", ".snapshot"].iter().any(|suffix| name.ends_with(suffix))
                || name == "leader-epoch-checkpoint"
        };
        let mut caches: Vec<PathBuf> =
            names.into_iter().filter(is_cache).map(|name| log_path().join(name)).collect();
        caches.push(Path::new(DATA).join("recovery-point-offset-checkpoint"));
        let path = &caches[self.random.below(caches.len() as u64) as usize];
        let Ok(mut bytes) = self.simulated.contents(path) else { return };
        match self.random.below(3) {
            0 => bytes.clear(),
            1 => bytes.truncate(self.random.below(bytes.len() as u64) as usize | 1),
            _ => bytes.iter_mut().for_each(|byte| *byte = self.random.below(256) as u8),
        }
        let _ = self.simulated.overwrite(path, &bytes);
    }

    // What must be true.

    fn verify(&mut self) -> Result<(), String> {
        self.verify_content(self.model.end)?;
        self.verify_epochs()?;
        self.verify_producers()?;
        for _ in 0..4 {
            self.read()?;
        }
        Ok(())
    }

    fn verify_content(&self, end: i64) -> Result<(), String> {
        let reader = self.reader();
        hold!(reader.end_offset() == end, "readers see the end {}, not {end}", reader.end_offset());
        let expected = self.model.visible().iter().map(|b| b.bytes.as_ref()).collect::<Vec<_>>().concat();
        hold!(read_all(reader)? == expected, "what is read is not what was written");
        Ok(())
    }

    fn verify_epochs(&self) -> Result<(), String> {
        let reader = self.reader();
        for batch in self.model.visible().iter().filter(|batch| !batch.dropped) {
            let offset = batch.base_offset().max(self.model.start);
            let epoch = batch.header.partition_leader_epoch;
            let found = reader.epoch_of(offset);
            hold!(found == Some(epoch), "offset {offset} is of epoch {epoch}, and {found:?} is told");
        }
        let latest = reader.latest_epoch().map_or(-1, |e| e.epoch);
        hold!(latest <= self.epoch, "the latest epoch is {latest}, and {} was the last", self.epoch);
        Ok(())
    }

    /// Every batch that a producer may send again is known, with its offset.
    fn verify_producers(&mut self) -> Result<(), String> {
        let count = self.log().producer_count();
        let known = self.model.producers.0.len();
        hold!((known..=known + self.retired).contains(&count), "{count} producers, not {known}");
        let recent: Vec<Rc<Stored>> =
            self.model.producers.0.values().flat_map(|p| p.known().cloned()).collect();
        let (epoch, now_ms) = (self.epoch, self.now_ms);
        for original in recent {
            let mut results = Vec::new();
            self.log().append(&mut vec![ToAppend::from(original.sent.clone())], epoch, now_ms, &mut results);
            match results.pop() {
                Some(Ok(a)) if a.duplicate && a.base_offset == original.base_offset() => {}
                other => {
                    return Err(format!("a duplicate of {} was answered {other:?}", original.base_offset()));
                }
            }
        }
        Ok(())
    }

    /// A read by offset and one by time.
    fn read(&mut self) -> Result<(), String> {
        let offset = self.random.below(self.model.end as u64 + 2) as i64;
        let bytes_max = self.random.below(5_000) as usize;
        let bound = offset + self.random.below(100) as i64;
        let time = self.now_ms - self.random.below(3_000) as i64;
        let faulty = self.faulty;
        let forgiven = |why: String| if faulty { Ok(()) } else { Err(why) };
        let reader = self.reader();
        match reader.read(offset, bytes_max, bound, true) {
            Err(ReadError::OutOfRange { .. }) if offset > self.model.end || offset < self.model.start => {}
            Err(error) => forgiven(format!("reading from {offset}: {error}"))?,
            Ok(slices) => {
                let holds = |b: &&Rc<Stored>| b.next_offset() > offset && b.next_offset() <= bound;
                hold!(offset >= self.model.start, "{offset} was read, before {}", self.model.start);
                let found: Result<Vec<Bytes>, _> = slices.slices.iter().map(|s| s.read()).collect();
                let found = match found {
                    Ok(found) => found.concat(),
                    Err(error) => return forgiven(format!("reading from {offset}: {error}")),
                };
                let there = self.model.batches.iter().filter(|b| !b.dropped);
                let due: Vec<&Rc<Stored>> =
                    there.skip_while(|b| b.next_offset() <= offset).take_while(holds).collect();
                let all = due.iter().map(|b| b.bytes.as_ref()).collect::<Vec<_>>().concat();
                let least = due.first().map_or(0, |b| b.bytes.len());
                hold!(
                    all.starts_with(&found) && found.len() >= least && found.len() <= least.max(bytes_max),
                    "from {offset} to {bound}, {bytes_max} bytes at most: {} bytes, of {}",
                    found.len(),
                    all.len()
                );
                hold!(
                    found.is_empty() || slices.base_offset == due.first().map(|b| b.base_offset()),
                    "from {offset}: the first batch is said to be at {:?}",
                    slices.base_offset
                );
            }
        }
        let mut scratch = Scratch::new();
        match reader.offset_for_timestamp(time, &mut scratch) {
            Ok(found) => {
                let (found, due) =
                    (found.map(|f| (f.offset, f.timestamp)), self.model.offset_for_timestamp(time));
                hold!(found == due, "the first record at {time} is {found:?}, and {due:?} is due");
            }
            Err(error) => forgiven(format!("looking for {time}: {error}"))?,
        }
        match reader.max_timestamp(&mut scratch) {
            Ok(found) => {
                // Of whole segments, as in Kafka.
                let first = self.first_segment().min(self.model.start);
                let (found, due) = (found.map(|f| (f.offset, f.timestamp)), self.model.max_timestamp(first));
                hold!(found == due, "the latest record is {found:?}, and {due:?} is due");
            }
            Err(error) => forgiven(format!("looking for the latest record: {error}"))?,
        }
        Ok(())
    }
}

/// What a log should say to a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    New,
    Duplicate(i64),
    Gap,
}

/// All bytes of a log.
fn read_all(reader: &LogReader) -> Result<Vec<u8>, String> {
    let slices = reader
        .read(reader.start_offset(), usize::MAX, i64::MAX, true)
        .map_err(|error| format!("reading all: {error}"))?;
    let mut bytes = Vec::new();
    for slice in slices.slices {
        bytes.extend_from_slice(&slice.read().map_err(|error| format!("reading all: {error}"))?);
    }
    Ok(bytes)
}
