//! A partition's log: its one owner's side.

use std::{
    collections::VecDeque,
    io::IoSlice,
    path::{Path, PathBuf},
    sync::Arc,
};

use ottla_protocol::{record::BatchHeader, types::Uuid};

use super::{
    append::{AppendError, Gather},
    cleaner::Swap,
    error::{LogError, LogErrorKind},
    leader_epochs::LEADER_EPOCH_CHECKPOINT,
    producer_state::ProducerState,
    read::{IN_DOUBT, LogReader},
    recovery::{self, Checkpointed, Indexed, Recovered},
    retention::CleanupPolicy,
    segment::{self, ActiveSegment, FileKind, SealedSegment, SegmentIndex, Segments},
    vfs::{Disk, LogFile},
};

/// Largest segment: positions and relative offsets are 31 bits in Kafka's indexes.
const SEGMENT_BYTES_MAX: u32 = i32::MAX as u32;

/// The file that says which topic a log belongs to, and what it begins with (KIP-516).
const PARTITION_METADATA: &str = "partition.metadata";
const PARTITION_METADATA_VERSION: &str = "version: 0";
/// The end of the name of a directory that is being deleted, as Kafka has it.
pub(crate) const DELETE_SUFFIX: &str = "-delete";
/// Longest file name on common file systems, in bytes.
const FILE_NAME_BYTES_MAX: usize = 255;

/// How a log behaves. A plain value: the owner replaces it at run time with [`Log::set_config`].
///
/// The defaults are Kafka's.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// Size at which a segment is sealed: `segment.bytes`. At most 2 GiB less one.
    pub segment_bytes: u32,
    /// Age at which a segment is sealed, by its records' timestamps: `segment.ms`.
    pub roll_ms: i64,
    /// Bytes between two index entries, to begin with: `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// Largest index file: `segment.index.bytes`.
    pub index_size_max_bytes: u32,
    /// Records after which a flush is due: `flush.messages`.
    pub flush_messages: i64,
    /// Age of the oldest record that is not flushed at which a flush is due: `flush.ms`.
    pub flush_ms: i64,
    /// Whether the time of the append is written over the records' timestamps:
    /// `message.timestamp.type=LogAppendTime`.
    pub log_append_time: bool,
    /// Largest batch, as it came: `max.message.bytes`.
    pub max_message_bytes: usize,
    /// How long an idle producer is remembered: `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    /// Most idempotent producers that are remembered; beyond, the longest idle are forgotten. Kafka has no such
    /// limit.
    pub max_producers: usize,
    /// Bytes by which the active segment must have grown before [`Log::save_position`] does anything.
    pub position_interval_bytes: u32,
    /// Most that is taken off `roll_ms`, for each segment another part: `segment.jitter.ms`.
    pub roll_jitter_ms: i64,
    /// What becomes of old segments.
    pub cleanup: CleanupPolicy,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            roll_ms: 7 * 24 * 60 * 60 * 1000,
            index_interval_bytes: 4096,
            index_size_max_bytes: 10 << 20,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            log_append_time: false,
            max_message_bytes: (1 << 20) + 12,
            producer_id_expiration_ms: 24 * 60 * 60 * 1000,
            max_producers: 50_000,
            position_interval_bytes: 1 << 20,
            roll_jitter_ms: 0,
            cleanup: CleanupPolicy::default(),
        }
    }
}

/// A partition's records on disk. Whoever has this value owns the log and alone may change it.
#[derive(Debug)]
pub struct Log {
    pub(super) disk: Disk,
    directory: PathBuf,
    topic_id: Option<Uuid>,
    pub(super) config: LogConfig,
    /// Everything that others may see.
    reader: Arc<LogReader>,
    active: Arc<ActiveSegment>,
    /// Bytes of the active segment; the owner's copy of what the reader has under its lock.
    size: u32,
    /// The owner's copy.
    end_offset: i64,
    /// The latest timestamp of the active segment's first batch.
    first_timestamp: Option<i64>,
    /// When the active segment was made or opened.
    created_ms: i64,
    /// Bytes of the active segment that its index files tell of.
    position_saved: u32,
    pub(super) producers: ProducerState,
    /// Everything before it is on the medium.
    recovery_point: i64,
    /// When the oldest record behind the recovery point was appended.
    unflushed_since_ms: Option<i64>,
    unflushed_bytes: u64,
    /// Files that were written and not yet flushed, but for the active segment, oldest first and numbered.
    unsynced: VecDeque<(u64, PathBuf)>,
    files_written: u64,
    /// Segments that left the log, and whose files have their names yet; oldest first.
    pub(super) leaving: VecDeque<i64>,
    /// Files of segments that left the log, and when they are to be unlinked; oldest first.
    pub(super) doomed: VecDeque<(i64, PathBuf)>,
    /// The exchange of segments that the cleaner has begun.
    pub(super) swap: Option<Swap>,
    /// How often segments were exchanged since the log was opened.
    pub(super) cleanings: u32,
    /// Whether the files are as a clean stop left them.
    unchanged: bool,
    /// How often the log was cut: a flush from before a cut says nothing about what lies behind it.
    pub(super) cuts: u64,
    /// Reused from append to append.
    pub(super) gather: Gather,
}

impl Log {
    /// Makes an empty log in `directory`, which must not hold one.
    ///
    /// # Errors
    /// If there are segments in the directory already, or if the disk fails.
    pub fn create(
        disk: &Disk,
        directory: &Path,
        topic_id: Uuid,
        config: LogConfig,
        now_ms: i64,
    ) -> Result<Self, LogError> {
        disk.create_directory(directory)?;
        if disk.list(directory)?.iter().any(|(name, _)| FileKind::parse(name).is_some()) {
            return Err(LogError::malformed(directory, "a log is to be created in it, but it holds one"));
        }
        write_partition_metadata(disk, directory, topic_id)?;
        let (mut log, _) = Self::open(disk, directory, config, &Checkpointed::default(), now_ms)?;
        // A topic may have thousands of partitions: the first flush brings all of it to the medium, not this.
        log.sync_directory_later();
        Ok(log)
    }

    /// What no flush has seen of a new log, besides its segment.
    fn sync_directory_later(&mut self) {
        self.sync_later(self.directory.join(PARTITION_METADATA));
        if let Some(parent) = parent(&self.directory) {
            self.sync_later(parent.to_owned());
        }
    }

    /// Opens the log in `directory` and recovers what a crash left of it.
    ///
    /// `checkpointed` is what the data directory knew of it at start. After a clean stop only the end of the last
    /// segment is looked at; else everything behind the recovery point is checked, and what a crash tore off the end
    /// is cut.
    ///
    /// # Errors
    /// [`LogErrorKind::Rot`] if what is damaged is not the end: nothing is cut then. Else if the disk fails.
    pub fn open(
        disk: &Disk,
        directory: &Path,
        config: LogConfig,
        checkpointed: &Checkpointed,
        now_ms: i64,
    ) -> Result<(Self, Recovered), LogError> {
        let config = sane(config);
        let topic_id = read_partition_metadata(disk, directory)?;
        let parts = recovery::recover(disk, directory, &config, checkpointed, now_ms)?;
        let active = Arc::clone(&parts.segments.active);
        let (size, end_offset, first_timestamp) = {
            let tail = active.tail();
            (tail.size, tail.end_offset, tail.index.first_timestamp)
        };
        let start_offset = checkpointed.log_start_offset.max(parts.first_offset).min(end_offset);
        let mut epochs = parts.epochs;
        epochs.truncate_from_start(start_offset);
        let recovery_point = if checkpointed.clean { end_offset } else { checkpointed.recovery_point };
        let mut log = Self {
            reader: Arc::new(LogReader::new(disk, directory, parts.segments, epochs, start_offset)),
            directory: directory.to_owned(),
            disk: disk.clone(),
            topic_id,
            config,
            active,
            size,
            end_offset,
            first_timestamp,
            created_ms: now_ms,
            position_saved: parts.position_saved,
            producers: parts.producers,
            // What lies before the start need not be on the medium either, and a torn batch there is no rot.
            recovery_point: recovery_point.min(end_offset),
            unflushed_since_ms: None,
            unflushed_bytes: 0,
            unsynced: VecDeque::new(),
            files_written: 0,
            leaving: VecDeque::new(),
            doomed: VecDeque::new(),
            swap: None,
            cleanings: 0,
            unchanged: parts.closed,
            cuts: 0,
            gather: Gather::default(),
        };
        log.unflushed_since_ms = (log.recovery_point < end_offset).then_some(now_ms);
        parts.written.into_iter().for_each(|path| log.sync_later(path));
        if log.recovery_point == 0 && !log.unchanged {
            // It may never have been flushed at all, and a killed process cannot say.
            log.sync_directory_later();
        }
        Ok((log, parts.recovered))
    }

    /// The side that everybody else sees.
    pub fn reader(&self) -> Arc<LogReader> {
        Arc::clone(&self.reader)
    }

    /// The directory that the log lies in.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The id of the topic, if the directory says one.
    pub fn topic_id(&self) -> Option<Uuid> {
        self.topic_id
    }

    /// Says whose log it is, where the directory does not: a power cut may come before the first flush.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn set_topic_id(&mut self, topic_id: Uuid) -> Result<(), LogError> {
        write_partition_metadata(&self.disk, &self.directory, topic_id)?;
        self.topic_id = Some(topic_id);
        self.sync_directory_later();
        Ok(())
    }

    /// The first offset that may be read.
    pub fn start_offset(&self) -> i64 {
        self.reader.start_offset()
    }

    /// The offset that the next record gets.
    pub fn end_offset(&self) -> i64 {
        self.end_offset
    }

    /// Everything before this offset is on the medium.
    pub fn recovery_point(&self) -> i64 {
        self.recovery_point
    }

    /// How many segments there are.
    pub fn segment_count(&self) -> usize {
        self.reader.segment_count()
    }

    /// How many idempotent producers are remembered.
    pub fn producer_count(&self) -> usize {
        self.producers.len()
    }

    /// Takes a new configuration; it holds from the next append on.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = sane(config);
    }

    /// Says that a leader's epoch begins here, if it is newer than all others. An append does so too.
    ///
    /// The file is written at once, and flushed with the records: after a power cut the epochs are taken from the
    /// batches, which carry them.
    ///
    /// # Errors
    /// If the log has seen a newer epoch, or if the disk fails.
    pub fn begin_epoch(&mut self, epoch: i32) -> Result<(), AppendError> {
        match self.reader.latest_epoch() {
            Some(latest) if latest.epoch == epoch => return Ok(()),
            Some(latest) if latest.epoch > epoch => {
                return Err(AppendError::StaleLeaderEpoch { current: latest.epoch, found: epoch });
            }
            _ => {}
        }
        let mut epochs = self.reader.epochs.load().as_ref().clone();
        if epochs.assign(epoch, self.end_offset) {
            let path = self.directory.join(LEADER_EPOCH_CHECKPOINT);
            self.disk.replace_file(&path, epochs.encode().as_bytes())?;
            self.sync_later(path);
            self.reader.epochs.store(Arc::new(epochs));
        }
        Ok(())
    }

    /// Forgets producers that were idle for too long (`producer.id.expiration.ms`). Kafka does so every ten minutes.
    pub fn expire_producers(&mut self, now_ms: i64) {
        self.producers.expire(now_ms, self.config.producer_id_expiration_ms);
    }

    /// Writes what is known of the active segment, if it has grown much since: its index files, and a snapshot of the
    /// producers. After a crash the next start believes them as far as the segment was flushed, and walks over what lies
    /// behind only. Says whether anything was written; it goes to the medium with the next flush.
    ///
    /// # Errors
    /// If the disk fails. The next start walks a longer way then.
    pub fn save_position(&mut self) -> Result<bool, LogError> {
        let grown = self.size.saturating_sub(self.position_saved);
        if self.reader.has_failed() || grown < self.config.position_interval_bytes.max(1) {
            return Ok(false);
        }
        let indexes = self.active.tail().index.write(&self.disk, &self.directory)?;
        indexes.into_iter().for_each(|path| self.sync_later(path));
        self.remove_saved_snapshots()?;
        self.write_snapshot()?;
        self.position_saved = self.size;
        Ok(true)
    }

    /// Removes the snapshots that lie within the active segment, but for the newest of all.
    fn remove_saved_snapshots(&mut self) -> Result<(), LogError> {
        let within = self.active.base_offset + 1..self.end_offset;
        self.remove_snapshots(|offset| within.contains(&offset))
    }

    /// Whether the configuration wants a flush now.
    pub fn flush_due(&self, now_ms: i64) -> bool {
        let records = self.end_offset - self.recovery_point;
        let age_ms = self.unflushed_since_ms.map_or(-1, |since| now_ms.saturating_sub(since));
        records > 0 && (records >= self.config.flush_messages || age_ms >= self.config.flush_ms)
    }

    /// Bytes appended since the last [`Log::flush_task`] was taken.
    pub fn unflushed_bytes(&self) -> u64 {
        self.unflushed_bytes
    }

    /// What is to be brought to the medium, to be run on a thread that may wait; `None` if there is nothing. Give its
    /// outcome to [`Log::flushed`].
    pub fn flush_task(&mut self) -> Option<FlushTask> {
        if self.recovery_point >= self.end_offset && self.unsynced.is_empty() {
            return None;
        }
        self.unflushed_bytes = 0;
        Some(FlushTask {
            active: Arc::clone(&self.active.file),
            files: self.unsynced.iter().map(|(_, path)| path.clone()).collect(),
            directory: self.directory.clone(),
            reader: Arc::clone(&self.reader),
            done: Flushed { end_offset: self.end_offset, files: self.files_written, cuts: self.cuts },
        })
    }

    /// A flush succeeded: moves the recovery point. A failed one needs no telling, it closes the log to appends.
    pub fn flushed(&mut self, done: &Flushed, now_ms: i64) {
        if done.cuts == self.cuts {
            self.recovery_point = self.recovery_point.max(done.end_offset);
        }
        while self.unsynced.front().is_some_and(|(number, _)| *number <= done.files) {
            self.unsynced.pop_front();
        }
        self.unflushed_since_ms = (self.recovery_point < self.end_offset).then_some(now_ms);
    }

    /// Cuts off everything from `offset` on, and what holds `offset` with it. Does nothing at or behind the end.
    ///
    /// Where that takes flushed records, `checkpoint` is called first, before any file is touched, with the recovery
    /// point that will hold: it must bring it to the medium, in the data directory's checkpoint file. Or else a crash
    /// makes the file vouch for what was appended later and never flushed.
    ///
    /// A start of the log that lies within a batch which goes moves back to where the batch began, and its checkpoint is to
    /// be written before the next append.
    ///
    /// Readers may hold slices of what is cut; reading those fails. Blocks until the cut is on the medium.
    ///
    /// # Errors
    /// What `checkpoint` says: nothing was cut then. If the disk fails, too; the log is closed to appends then.
    pub fn truncate_to(
        &mut self,
        offset: i64,
        now_ms: i64,
        checkpoint: impl FnOnce(i64) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        self.check_open()?;
        let offset = offset.max(self.start_offset());
        if offset >= self.end_offset {
            return Ok(());
        }
        self.settle_swap().inspect_err(|_| self.reader.set_failed())?;
        // A segment that the cleaner made may not have its name on the medium yet: cut as it is then, it would be taken for
        // a damaged one by the start that gives it its name.
        self.reader.flush(|| self.disk.sync_directory(&self.directory))?;
        let left = self.left_by_cut(offset)?;
        if left.last.next_offset < self.recovery_point {
            checkpoint(left.last.next_offset)?;
        }
        // Should this process be killed in the middle, the next one flushes the cut.
        let mark = self.directory.join(IN_DOUBT);
        self.disk.write_file(&mark, b"")?;
        let cut = self.cut(left, now_ms).and_then(|()| self.disk.remove_file(&mark));
        if cut.is_err() {
            // Some files may be gone and others not.
            self.reader.set_flush_failed();
        }
        cut
    }

    /// Flushes everything and writes the index files and a producer snapshot, so that the next start need not look at
    /// the records. Gives the recovery point to checkpoint. Does nothing to a log that was cleanly closed before and
    /// not changed since.
    ///
    /// # Errors
    /// If the disk fails, or did before: then the log must not be taken for cleanly closed.
    pub fn close(mut self) -> Result<i64, LogError> {
        self.check_open()?;
        if self.unchanged {
            return Ok(self.end_offset);
        }
        self.write_snapshot()?;
        let indexes = self.active.tail().index.write(&self.disk, &self.directory)?;
        indexes.into_iter().for_each(|path| self.sync_later(path));
        if let Some(task) = self.flush_task() {
            task.run()?;
        }
        Ok(self.end_offset)
    }

    /// Deletes the log. The directory gets another name first, so that its own is free at once and a crash leaves
    /// nothing that looks like a log; who still reads slices keeps them.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn delete(self) -> Result<(), LogError> {
        // Whoever appends or closes after this has lost a race; it must not write into the directory's successor.
        self.reader.set_failed();
        Self::delete_at(&self.disk, &self.directory, self.topic_id)
    }

    /// Deletes a log that is not open, as [`Log::delete`] does: also one that cannot be opened.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn delete_at(disk: &Disk, directory: &Path, topic_id: Option<Uuid>) -> Result<(), LogError> {
        let name = directory.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let suffix = format!(".{:032x}{DELETE_SUFFIX}", topic_id.unwrap_or(Uuid::ZERO).0);
        // Names of topics are ASCII, so any byte is a boundary.
        let kept = name.get(..FILE_NAME_BYTES_MAX - suffix.len()).unwrap_or(name);
        let doomed = directory.with_file_name(format!("{kept}{suffix}"));
        // A deletion that a crash cut short may have left its remains.
        disk.remove_directory(&doomed)?;
        disk.rename(directory, &doomed)?;
        if let Some(parent) = parent(&doomed) {
            disk.sync_directory(parent)?;
        }
        disk.remove_directory(&doomed)
    }

    pub(super) fn check_open(&self) -> Result<(), LogError> {
        match self.reader.has_failed() {
            false => Ok(()),
            true => Err(LogErrorKind::Failed { path: self.directory.clone() }.into()),
        }
    }

    /// Whether a batch with this header must go to a new segment, behind `gathered` bytes that are about to be
    /// written (`LogSegment.shouldRoll`).
    pub(super) fn must_roll(&self, batch: &BatchHeader, gathered: u32, now_ms: i64) -> bool {
        let size = u64::from(self.size) + u64::from(gathered);
        if size == 0 {
            return false;
        }
        let full = size + batch.total_bytes() as u64 > u64::from(self.config.segment_bytes);
        let too_far = batch.last_offset() - self.active.base_offset > i64::from(i32::MAX);
        let age_ms = match self.first_timestamp {
            Some(first) if first >= 0 => batch.max_timestamp.saturating_sub(first),
            _ => now_ms.saturating_sub(self.created_ms),
        };
        full || too_far || age_ms > self.roll_ms()
    }

    /// The age at which the active segment is sealed (`LogConfig.maxSegmentMs`, `randomSegmentJitter`).
    fn roll_ms(&self) -> i64 {
        let LogConfig { roll_ms, roll_jitter_ms, cleanup, .. } = &self.config;
        // What is not sealed is not cleaned.
        let lag_ms = if cleanup.compact { cleanup.max_compaction_lag_ms.max(1) } else { i64::MAX };
        let most_ms = (*roll_jitter_ms).min(*roll_ms).max(0);
        // Each segment of each log has a part of its own, the same after a restart.
        let seed = self.topic_id.unwrap_or(Uuid::ZERO).0 as u64 ^ self.active.base_offset as u64;
        let jitter_ms = if most_ms > 0 { spread(seed) % most_ms.unsigned_abs() } else { 0 };
        lag_ms.min(*roll_ms).saturating_sub_unsigned(jitter_ms)
    }

    /// Seals the active segment and begins a new one.
    pub(super) fn roll(&mut self, now_ms: i64) -> Result<(), LogError> {
        let (sealed, indexes) = {
            let tail = self.active.tail();
            let sealed = SealedSegment::new(self.active.base_offset, self.size, tail.index.latest);
            (sealed, tail.index.write(&self.disk, &self.directory)?)
        };
        self.write_snapshot()?;
        if self.position_saved > 0 {
            self.remove_saved_snapshots()?;
        }
        let file = Arc::new(self.disk.create(FileKind::Log.path(&self.directory, self.end_offset))?);
        // From here on nothing can fail.
        indexes.into_iter().for_each(|path| self.sync_later(path));
        self.sync_later(self.active.file.path().to_owned());
        self.sync_later(file.path().to_owned());
        let index = SegmentIndex::new(self.end_offset, &self.config);
        let active = Arc::new(ActiveSegment::new(file, index, 0, self.end_offset));
        let mut segments = self.reader.segments.load().as_ref().clone();
        let (sealed_offset, sealed_bytes) = (sealed.base_offset, sealed.size);
        segments.sealed.push(sealed);
        segments.active = Arc::clone(&active);
        self.become_active(active, segments, now_ms);
        tracing::info!(
            partition = %self.directory.display(),
            sealed = sealed_offset,
            bytes = sealed_bytes,
            next = self.end_offset,
            "a segment is full, and a new one begun"
        );
        Ok(())
    }

    /// Writes behind the active segment's end. On an error the file is cut back to where it was; if even that fails,
    /// the log takes nothing more.
    pub(super) fn write_slices(&mut self, slices: &mut [IoSlice<'_>]) -> Result<(), LogError> {
        let file = &self.active.file;
        file.write_all_at(slices, self.size.into()).inspect_err(|_| {
            // What was cut off must be gone for good before something else is in its place, or a power cut might
            // leave parts of both.
            if file.truncate(self.size.into()).is_err() || self.reader.flush(|| file.sync()).is_err() {
                self.reader.set_flush_failed();
            }
        })
    }

    /// Batches were written: they become part of the log, and readers may see them.
    pub(super) fn wrote<'h>(
        &mut self,
        batches: impl Iterator<Item = &'h BatchHeader>,
        bytes: u32,
        now_ms: i64,
    ) {
        {
            let mut tail = self.active.tail();
            batches.for_each(|header| tail.push(header));
            self.size = tail.size;
            self.end_offset = tail.end_offset;
            self.first_timestamp = tail.index.first_timestamp;
        }
        self.producers.commit(self.config.max_producers);
        self.unchanged = false;
        self.unflushed_bytes += u64::from(bytes);
        self.unflushed_since_ms.get_or_insert(now_ms);
        self.reader.set_end_offset(self.end_offset);
    }

    /// What a cut at `offset`, which lies before the end, would leave. Changes nothing.
    fn left_by_cut(&self, offset: i64) -> Result<LeftByCut, LogError> {
        let segments = self.reader.segments.load();
        let place = segments.position_of(offset);
        let sealed = segments.sealed.get(place);
        let (base_offset, size) =
            sealed.map_or((self.active.base_offset, self.size), |s| (s.base_offset, s.size));
        let file = match sealed {
            None => Arc::clone(&self.active.file),
            Some(_) => Arc::new(self.disk.open_rw(FileKind::Log.path(&self.directory, base_offset))?),
        };
        let last = recovery::index_until(&file, base_offset, size, offset, &self.config)?;
        Ok(LeftByCut { place, base_offset, file, last })
    }

    /// Removes everything else.
    fn cut(&mut self, left: LeftByCut, now_ms: i64) -> Result<(), LogError> {
        let LeftByCut { place, base_offset: kept, file, last: left } = left;
        let end_offset = left.next_offset;
        let mut segments = self.reader.segments.load().as_ref().clone();
        // Readers first: nobody begins to read what is about to go.
        self.reader.set_high_watermark(self.reader.high_watermark().min(end_offset));
        self.reader.set_end_offset(end_offset);
        let doomed: Vec<i64> = segments.sealed.iter().skip(place + 1).map(|s| s.base_offset).collect();
        let was_sealed = place < segments.sealed.len();
        let last = was_sealed.then_some(self.active.base_offset);
        segments.sealed.truncate(place);
        let active = Arc::new(ActiveSegment::new(file, left.index, left.size, end_offset));
        segments.active = Arc::clone(&active);
        self.become_active(active, segments, now_ms);
        self.unchanged = false;
        self.cuts += 1;
        self.end_offset = end_offset;
        self.recovery_point = self.recovery_point.min(end_offset);
        self.reader.set_start_offset(self.start_offset().min(end_offset));

        // The last segment first, so that a crash leaves no hole.
        for base_offset in doomed.into_iter().chain(last).rev() {
            segment::remove(&self.disk, &self.directory, base_offset)?;
        }
        segment::remove_indexes(&self.disk, &self.directory, kept)?;
        self.active.file.truncate(left.size.into())?;
        // On the medium, too, before anything is written in its place.
        self.reader.flush(|| {
            self.active.file.sync()?;
            self.disk.sync_directory(&self.directory)
        })?;
        let mut epochs = self.reader.epochs.load().as_ref().clone();
        if epochs.truncate_from_end(end_offset) {
            let path = self.directory.join(LEADER_EPOCH_CHECKPOINT);
            self.disk.replace_file(&path, epochs.encode().as_bytes())?;
            self.sync_later(path);
            self.reader.epochs.store(Arc::new(epochs));
        }
        let segments = self.reader.segments.load();
        (_, self.producers) =
            recovery::producers(&self.disk, &self.directory, &segments, end_offset, now_ms)?;
        Ok(())
    }

    fn become_active(&mut self, active: Arc<ActiveSegment>, segments: Segments, now_ms: i64) {
        {
            let tail = active.tail();
            self.size = tail.size;
            self.first_timestamp = tail.index.first_timestamp;
        }
        self.active = active;
        self.created_ms = now_ms;
        self.position_saved = 0;
        self.reader.segments.store(Arc::new(segments));
    }

    fn write_snapshot(&mut self) -> Result<(), LogError> {
        let path = FileKind::Snapshot.path(&self.directory, self.end_offset);
        let bytes =
            self.producers.encode_snapshot().map_err(|e| LogError::malformed(&path, e.to_string()))?;
        self.disk.replace_file(&path, &bytes)?;
        self.sync_later(path);
        Ok(())
    }

    /// Names in the directory changed, and are to be on the medium some time.
    pub(super) fn directory_changed(&mut self) {
        self.sync_later(self.directory.clone());
    }

    pub(super) fn sync_later(&mut self, path: PathBuf) {
        self.unchanged = false;
        self.files_written += 1;
        self.unsynced.push_back((self.files_written, path));
    }
}

/// What is left of a log that is cut.
struct LeftByCut {
    /// The place of the last segment that stays.
    place: usize,
    base_offset: i64,
    file: Arc<LogFile>,
    /// What stays of it. The log ends behind its last batch then, as the next start would find: before the offset of the
    /// cut, where that lies within a batch, or in a gap that compaction left.
    last: Indexed,
}

/// Brings a log to the medium. [`FlushTask::run`] waits for the disk, so it belongs on a thread that may.
#[derive(Debug)]
#[must_use = "nothing is flushed until it is run"]
pub struct FlushTask {
    active: Arc<LogFile>,
    /// Sealed segments, indexes, snapshots and the epochs, as far as they are new.
    files: Vec<PathBuf>,
    directory: PathBuf,
    reader: Arc<LogReader>,
    done: Flushed,
}

/// How far a log is on the medium, once a [`FlushTask`] has run.
#[derive(Clone, Copy, Debug)]
pub struct Flushed {
    end_offset: i64,
    files: u64,
    cuts: u64,
}

impl Flushed {
    /// Everything before this offset is on the medium.
    pub fn end_offset(&self) -> i64 {
        self.end_offset
    }
}

impl FlushTask {
    /// Waits until everything that had been appended when the task was taken is on the medium.
    ///
    /// # Errors
    /// If the disk fails. What is on the medium is unknown then, and trying again would not tell: the log takes no
    /// more appends until it is opened anew.
    pub fn run(self) -> Result<Flushed, LogError> {
        self.reader.flush(|| self.sync()).map(|()| self.done)
    }

    fn sync(&self) -> Result<(), LogError> {
        // A file that is gone was replaced or cut off since.
        self.files.iter().try_for_each(|path| self.reader.disk.sync_if_there(path))?;
        self.active.sync()?;
        // New names come with new files only.
        if self.files.is_empty() { Ok(()) } else { self.reader.disk.sync_directory(&self.directory) }
    }
}

/// Neighbouring numbers become numbers far apart: a round of SplitMix64.
fn spread(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn sane(mut config: LogConfig) -> LogConfig {
    config.segment_bytes = config.segment_bytes.min(SEGMENT_BYTES_MAX);
    config
}

/// The directory that a log's directory lies in, if its path says.
fn parent(directory: &Path) -> Option<&Path> {
    directory.parent().filter(|p| !p.as_os_str().is_empty())
}

fn write_partition_metadata(disk: &Disk, directory: &Path, topic_id: Uuid) -> Result<(), LogError> {
    let text = format!("{PARTITION_METADATA_VERSION}\ntopic_id: {topic_id}");
    disk.replace_file(&directory.join(PARTITION_METADATA), text.as_bytes())
}

/// The topic's id, if the directory says one. A power cut may leave the file empty or all zeros, if no record was ever
/// flushed.
pub(super) fn read_partition_metadata(disk: &Disk, directory: &Path) -> Result<Option<Uuid>, LogError> {
    let path = directory.join(PARTITION_METADATA);
    let bytes = disk.read_file(&path)?.unwrap_or_default();
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let id = (lines.next() == Some(PARTITION_METADATA_VERSION))
        .then(|| lines.next()?.strip_prefix("topic_id: ").and_then(Uuid::parse))
        .flatten();
    match id {
        Some(id) => Ok(Some(id)),
        None => Err(LogError::malformed(&path, "it does not say `version: 0` and the topic's id")),
    }
}
