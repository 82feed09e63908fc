//! Old segments go: by age, by size, and below the log's start.
//!
//! Whole segments only, the oldest first, and never what lies at or above the high watermark, as in Kafka
//! (`UnifiedLog.deleteOldSegments`). A segment leaves the log before its files are touched, so nobody begins to read
//! them; who reads already keeps its open file. The files get another name at once and are unlinked later
//! (`file.delete.delay.ms`), for operators that deleted the wrong thing, and because unlinking a large file takes long.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{
    error::LogError,
    leader_epochs::LEADER_EPOCH_CHECKPOINT,
    log::Log,
    segment::{FileKind, SealedSegment, Segments},
    vfs::Disk,
};

/// The end of the name of a file that is about to be unlinked, as Kafka has it.
pub(super) const DELETED_SUFFIX: &str = ".deleted";

/// What becomes of old segments: a topic's `cleanup.policy`, and the keys that go with it. The defaults are Kafka's.
#[derive(Clone, Debug, PartialEq)]
pub struct CleanupPolicy {
    /// Whether they are deleted by age and size: `cleanup.policy` holds `delete`.
    pub delete: bool,
    /// Whether they are compacted to the latest record of each key: `cleanup.policy` holds `compact`.
    pub compact: bool,
    /// Age of its latest record at which a segment is deleted; `None` for never: `retention.ms`.
    pub retention_ms: Option<u64>,
    /// Size of the log beyond which its oldest segments are deleted; `None` for any: `retention.bytes`.
    pub retention_bytes: Option<u64>,
    /// Time between a segment's removal from the log and from the disk: `file.delete.delay.ms`.
    pub file_delete_delay_ms: i64,
    /// Time for which a tombstone is kept once the cleaner has met it: `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// Time for which a record is kept from the cleaner: `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// Time after which a record must have been open to the cleaner: `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// Share of bytes that were never cleaned, above which a log is: `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
}

impl Default for CleanupPolicy {
    fn default() -> Self {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        Self {
            delete: true,
            compact: false,
            retention_ms: Some(7 * DAY_MS as u64),
            retention_bytes: None,
            file_delete_delay_ms: 60_000,
            delete_retention_ms: DAY_MS,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
        }
    }
}

/// What a look for old segments deleted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Deleted {
    /// Segments that lay below the log's start.
    pub below_start: usize,
    /// Segments by which the log was larger than `retention.bytes`.
    pub by_size: usize,
    /// Segments that were older than `retention.ms`.
    pub by_age: usize,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl Deleted {
    /// How many segments.
    pub fn segments(&self) -> usize {
        self.below_start + self.by_size + self.by_age
    }
}

/// Why a log's start cannot be moved.
#[derive(Clone, Debug)]
pub enum StartOffsetError {
    /// The offset lies behind the high watermark: not everybody has what lies before it.
    OutOfRange {
        /// The offset asked for.
        offset: i64,
        /// The largest that can be.
        high_watermark: i64,
    },
    /// The disk failed, or did before.
    Log(LogError),
}

/// Files that are to be unlinked. Takes as long as the disk does, so it belongs on a thread that may wait.
#[derive(Debug)]
#[must_use = "nothing is unlinked until it is run"]
pub struct UnlinkTask {
    disk: Disk,
    paths: Vec<PathBuf>,
}

/// A segment, as retention sees it.
struct Candidate {
    /// The offset behind it.
    end_offset: i64,
    bytes: u64,
    /// The latest timestamp in it; -1 if it has none.
    latest_ms: i64,
    base_offset: i64,
    active: bool,
}

impl Log {
    /// Deletes the segments that the configuration does not want any more. Does nothing to a log that has failed, or in
    /// which the cleaner exchanges segments just now.
    ///
    /// # Errors
    /// If the disk fails. What was to go is out of the log all the same; its files may come back at the next start.
    pub fn retain(&mut self, now_ms: i64) -> Result<Deleted, LogError> {
        // An exchange of segments takes moments; the next look comes soon enough.
        if self.reader().has_failed() || self.swap.is_some() {
            return Ok(Deleted::default());
        }
        self.set_leaving_aside(now_ms)?;
        let mut left = self.candidates();
        let high_watermark = self.reader().high_watermark();
        let policy = self.config.cleanup.clone();
        let mut deleted = Deleted::default();
        let mut includes_active = false;
        let mut take = |count: usize, left: &mut Vec<Candidate>, deleted: &mut Deleted| {
            let doomed = left.drain(..count);
            for candidate in doomed {
                deleted.bytes += candidate.bytes;
                includes_active |= candidate.active;
            }
        };

        let start_offset = self.start_offset();
        let below = |c: &Candidate| !c.active && c.end_offset <= start_offset;
        deleted.below_start = left.iter().take_while(|c| high_watermark >= c.end_offset && below(c)).count();
        take(deleted.below_start, &mut left, &mut deleted);
        if policy.delete {
            if let Some(retention_bytes) = policy.retention_bytes {
                let bytes: u64 = left.iter().map(|c| c.bytes).sum();
                let mut surplus = bytes.saturating_sub(retention_bytes);
                let too_large = |c: &&Candidate| {
                    let goes =
                        high_watermark >= c.end_offset && bytes >= retention_bytes && surplus >= c.bytes;
                    surplus = surplus.saturating_sub(c.bytes);
                    goes && !c.is_empty_end()
                };
                deleted.by_size = left.iter().take_while(too_large).count();
                take(deleted.by_size, &mut left, &mut deleted);
            }
            if let Some(retention_ms) = policy.retention_ms {
                for candidate in &left {
                    let settled = high_watermark >= candidate.end_offset && !candidate.is_empty_end();
                    let age_ms = now_ms.saturating_sub(candidate.time_ms(&self.disk, self.directory())?);
                    if !settled || age_ms < 0 || age_ms.unsigned_abs() <= retention_ms {
                        break;
                    }
                    deleted.by_age += 1;
                }
                take(deleted.by_age, &mut left, &mut deleted);
            }
        }
        if deleted.segments() > 0 {
            self.delete_oldest(deleted.segments(), includes_active, now_ms)?;
        }
        Ok(deleted)
    }

    /// Moves the log's start forward, so that nothing before `offset` can be read any more; says whether it lay before.
    /// The segments below it go at the next [`Log::retain`] (KIP-107, `maybeIncrementLogStartOffset`).
    ///
    /// As in Kafka, the new start is on the medium once the data directory's checkpoint was written: a crash before
    /// brings the records back.
    ///
    /// # Errors
    /// If the offset lies behind the high watermark, or if the disk fails.
    pub fn advance_start_offset(&mut self, offset: i64) -> Result<bool, StartOffsetError> {
        self.check_open()?;
        let high_watermark = self.reader().high_watermark();
        if offset > high_watermark {
            return Err(StartOffsetError::OutOfRange { offset, high_watermark });
        }
        if offset <= self.start_offset() {
            return Ok(false);
        }
        self.begin_at(offset)?;
        Ok(true)
    }

    /// When the next file of a deleted segment is to be unlinked.
    pub fn next_unlink_ms(&self) -> Option<i64> {
        self.doomed.front().map(|(due_ms, _)| *due_ms)
    }

    /// The files of deleted segments whose time has come, to be unlinked on a thread that may wait; `None` if there are
    /// none. What is not unlinked before the broker stops goes at the next start.
    pub fn unlink_due(&mut self, now_ms: i64) -> Option<UnlinkTask> {
        let mut due = Vec::new();
        while let Some((_, path)) = self.doomed.pop_front_if(|(at_ms, _)| *at_ms <= now_ms) {
            due.push(path);
        }
        (!due.is_empty()).then(|| UnlinkTask { disk: self.disk.clone(), paths: due })
    }

    /// Takes the oldest segments out of the log; first begins a new one, if there would be none.
    fn delete_oldest(&mut self, count: usize, includes_active: bool, now_ms: i64) -> Result<(), LogError> {
        if includes_active {
            self.roll(now_ms)?;
        }
        let mut segments = Segments::clone(&self.reader().segments.load());
        let doomed: Vec<SealedSegment> = segments.sealed.drain(..count.min(segments.sealed.len())).collect();
        let first_offset = segments.first_offset();
        if first_offset > self.start_offset() {
            self.begin_at(first_offset)?;
        }
        self.reader().segments.store(segments.into());
        self.leaving.extend(doomed.iter().map(|segment| segment.base_offset));
        self.set_leaving_aside(now_ms)?;
        self.remove_snapshots(|offset| offset < first_offset)
    }

    /// Renames the files of all segments that left the log, the oldest first. Should the disk fail, they are the first to go
    /// the next time: else a start would find a hole between them and the log.
    fn set_leaving_aside(&mut self, now_ms: i64) -> Result<(), LogError> {
        while let Some(&oldest) = self.leaving.front() {
            self.set_aside(oldest, now_ms)?;
            self.leaving.pop_front();
        }
        Ok(())
    }

    /// Renames the files of a segment that left the log, so that nobody takes them for one.
    pub(super) fn set_aside(&mut self, base_offset: i64, now_ms: i64) -> Result<(), LogError> {
        // The log file last: as long as it is there, a crash leaves a segment, whose indexes can be made anew.
        for kind in [FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::Log] {
            let path = kind.path(self.directory(), base_offset);
            let mut doomed = path.clone().into_os_string();
            doomed.push(DELETED_SUFFIX);
            let doomed = PathBuf::from(doomed);
            match self.disk.rename(&path, &doomed) {
                Err(error) if error.is_not_found() => continue,
                renamed => renamed?,
            }
            let due_ms = now_ms.saturating_add(self.config.cleanup.file_delete_delay_ms);
            self.doomed.push_back((due_ms, doomed));
        }
        self.directory_changed();
        Ok(())
    }

    /// Removes producer snapshots that no segment begins with any more, but for the newest of all.
    pub(super) fn remove_snapshots(&mut self, is_obsolete: impl Fn(i64) -> bool) -> Result<(), LogError> {
        let mut snapshots: Vec<i64> = self
            .disk
            .list(self.directory())?
            .iter()
            .filter_map(|(name, _)| FileKind::parse(name))
            .filter_map(|(kind, offset)| (kind == FileKind::Snapshot).then_some(offset))
            .collect();
        snapshots.sort_unstable();
        snapshots.pop();
        for old in snapshots.into_iter().filter(|offset| is_obsolete(*offset)) {
            self.disk.remove_file(&FileKind::Snapshot.path(self.directory(), old))?;
        }
        Ok(())
    }

    fn begin_at(&mut self, offset: i64) -> Result<(), LogError> {
        self.reader().set_start_offset(offset);
        let mut epochs = self.reader().epochs.load().as_ref().clone();
        if epochs.truncate_from_start(offset) {
            let path = self.directory().join(LEADER_EPOCH_CHECKPOINT);
            self.disk.replace_file(&path, epochs.encode().as_bytes())?;
            self.sync_later(path);
            self.reader().epochs.store(epochs.into());
        }
        Ok(())
    }

    /// All segments, oldest first.
    fn candidates(&self) -> Vec<Candidate> {
        let reader = self.reader();
        let segments = reader.segments.load();
        let mut candidates: Vec<Candidate> = segments
            .sealed
            .iter()
            .enumerate()
            .map(|(place, sealed)| Candidate {
                end_offset: segments.end_of(place),
                bytes: sealed.size.into(),
                latest_ms: sealed.latest.timestamp,
                base_offset: sealed.base_offset,
                active: false,
            })
            .collect();
        let tail = segments.active.tail();
        candidates.push(Candidate {
            end_offset: tail.end_offset,
            bytes: tail.size.into(),
            latest_ms: tail.index.latest.timestamp,
            base_offset: segments.active.base_offset,
            active: true,
        });
        candidates
    }
}

impl Candidate {
    /// Whether it is the active segment and has nothing in it, which never goes.
    fn is_empty_end(&self) -> bool {
        self.active && self.bytes == 0
    }

    /// The time by which it is old: of its latest record, or else of its last change.
    fn time_ms(&self, disk: &Disk, directory: &Path) -> Result<i64, LogError> {
        match self.latest_ms {
            0.. => Ok(self.latest_ms),
            _ => disk.modified_ms(&FileKind::Log.path(directory, self.base_offset)),
        }
    }
}

impl UnlinkTask {
    /// Unlinks the files. Those that it could not are tried again at the next start.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn run(self) -> Result<(), LogError> {
        let mut outcome = Ok(());
        for path in &self.paths {
            outcome = outcome.and(self.disk.remove_file(path));
        }
        outcome
    }
}

impl From<LogError> for StartOffsetError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl fmt::Display for StartOffsetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { offset, high_watermark } => {
                write!(f, "offset `{offset}` lies behind the high watermark, `{high_watermark}`")
            }
            Self::Log(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for StartOffsetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::OutOfRange { .. } => None,
            Self::Log(error) => Some(error),
        }
    }
}
