//! Segments: the files that a log's records lie in, one after the other.
//!
//! All but the last are *sealed*: they never grow, and their indexes are files. The last is *active*: it is appended
//! to, and its indexes live in memory until it is sealed. [`Segments`] is what readers see of all; the log's owner
//! replaces it whole.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ottla_protocol::record::{BatchHeader, NO_TIMESTAMP};

use super::{
    LogConfig,
    error::LogError,
    offset_index::OffsetIndex,
    scan::Found,
    time_index::{TimeEntry, TimeIndex},
    vfs::{Disk, LogFile},
};

/// Batches at the end of the active segment whose place is known without looking: whoever reads the tail, reads here.
const RECENT_BATCHES: usize = 64;

/// Most entries in the index of an active segment; beyond, every second one goes, and entries come half as often.
const INDEX_ENTRIES_MAX: usize = 1024;
/// Fewest entries that an index may be limited to (by `segment.index.bytes`).
const INDEX_ENTRIES_MIN: usize = 2;
const OFFSET_ENTRY_BYTES: usize = 8;

/// What a file of a segment holds: the end of its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FileKind {
    /// Batches.
    Log,
    /// [`OffsetIndex`].
    OffsetIndex,
    /// [`TimeIndex`].
    TimeIndex,
    /// [`ProducerState`](super::producer_state::ProducerState) as it was when the segment began.
    Snapshot,
}

impl FileKind {
    const ALL: [Self; 4] = [Self::Log, Self::OffsetIndex, Self::TimeIndex, Self::Snapshot];

    fn suffix(self) -> &'static str {
        match self {
            Self::Log => ".log",
            Self::OffsetIndex => ".index",
            Self::TimeIndex => ".timeindex",
            Self::Snapshot => ".snapshot",
        }
    }

    /// The path of the file of this kind that begins at `offset`: 20 digits and the suffix.
    pub(crate) fn path(self, directory: &Path, offset: i64) -> PathBuf {
        directory.join(format!("{offset:020}{}", self.suffix()))
    }

    /// As [`FileKind::path`], with `suffix` behind it.
    pub(crate) fn path_with(self, directory: &Path, offset: i64, suffix: &str) -> PathBuf {
        directory.join(format!("{offset:020}{}{suffix}", self.suffix()))
    }

    /// The kind and offset that a file's name says.
    pub(crate) fn parse(name: &str) -> Option<(Self, i64)> {
        let (digits, _) = name.split_once('.')?;
        let kind = Self::ALL.into_iter().find(|k| name.get(digits.len()..) == Some(k.suffix()))?;
        let is_offset = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
        is_offset.then(|| digits.parse().ok()).flatten().map(|offset| (kind, offset))
    }
}

/// Removes all files of the segment at `base_offset` but its snapshot, which is the end of what came before.
pub(crate) fn remove(disk: &Disk, directory: &Path, base_offset: i64) -> Result<(), LogError> {
    remove_indexes(disk, directory, base_offset)?;
    disk.remove_file(&FileKind::Log.path(directory, base_offset))
}

/// Removes the index files of the segment at `base_offset`: they would lead astray in what is appended behind a cut.
pub(crate) fn remove_indexes(disk: &Disk, directory: &Path, base_offset: i64) -> Result<(), LogError> {
    disk.remove_file(&FileKind::OffsetIndex.path(directory, base_offset))?;
    disk.remove_file(&FileKind::TimeIndex.path(directory, base_offset))
}

/// The indexes of a segment, in memory.
#[derive(Clone, Debug)]
pub(crate) struct SegmentIndex {
    base_offset: i64,
    pub(crate) offsets: OffsetIndex,
    pub(crate) times: TimeIndex,
    /// The latest timestamp in the segment, with the batch that brought it first.
    pub(crate) latest: TimeEntry,
    /// The latest timestamp of the first batch, by which the segment's age counts.
    pub(crate) first_timestamp: Option<i64>,
    entries_max: usize,
    interval_bytes: u32,
    bytes_since_entry: u32,
}

impl SegmentIndex {
    /// Of an empty segment.
    pub(crate) fn new(base_offset: i64, config: &LogConfig) -> Self {
        let entries_max = (config.index_size_max_bytes as usize / OFFSET_ENTRY_BYTES)
            .clamp(INDEX_ENTRIES_MIN, INDEX_ENTRIES_MAX);
        Self {
            base_offset,
            offsets: OffsetIndex::default(),
            times: TimeIndex::default(),
            latest: TimeEntry { timestamp: NO_TIMESTAMP, relative_offset: 0 },
            first_timestamp: None,
            entries_max,
            interval_bytes: config.index_interval_bytes,
            bytes_since_entry: 0,
        }
    }

    /// As its files have it. The batches from the last entry's on are to be [added](Self::add) again.
    pub(crate) fn from_files(
        offsets: OffsetIndex,
        times: TimeIndex,
        base_offset: i64,
        config: &LogConfig,
    ) -> Self {
        let mut index = Self { offsets, times, ..Self::new(base_offset, config) };
        index.latest = index.times.last().unwrap_or(index.latest);
        index
    }

    /// Takes note of the batch at `position`.
    pub(crate) fn add(&mut self, position: u32, header: &BatchHeader) {
        let relative_offset = self.relative(header.last_offset());
        if position == 0 {
            self.first_timestamp = Some(header.max_timestamp);
        }
        // The header of a batch that compaction emptied keeps the time of records that are gone.
        if header.record_count > 0 && header.max_timestamp > self.latest.timestamp {
            self.latest = TimeEntry { timestamp: header.max_timestamp, relative_offset };
        }
        if self.bytes_since_entry > self.interval_bytes {
            self.offsets.push(relative_offset, position);
            self.times.push(self.latest);
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry = self.bytes_since_entry.saturating_add(header.total_bytes() as u32);
        if self.offsets.len() >= self.entries_max {
            self.offsets.thin();
            self.interval_bytes = self.interval_bytes.saturating_mul(2);
        }
        if self.times.len() >= self.entries_max {
            self.times.thin();
        }
    }

    /// Writes both index files, with the latest timestamp as last entry, and says where they are.
    ///
    /// Each takes the place of an older one as a whole. A power cut may leave sectors of it unwritten, which shows, as
    /// zeros are no entry; but never some of the old file and some of the new one, which would not.
    pub(crate) fn write(&self, disk: &Disk, directory: &Path) -> Result<[PathBuf; 2], LogError> {
        self.write_with(directory, "", |path, bytes| disk.replace_file(path, bytes))
    }

    /// As [`SegmentIndex::write`], and waits until they are on the medium.
    pub(crate) fn write_durably(&self, disk: &Disk, directory: &Path) -> Result<(), LogError> {
        self.write_with(directory, "", |path, bytes| disk.replace_file_durably(path, bytes)).map(|_| ())
    }

    /// As [`SegmentIndex::write`], under names that end in `suffix`, which nobody believes before they are flushed.
    pub(crate) fn write_as(
        &self,
        disk: &Disk,
        directory: &Path,
        suffix: &str,
    ) -> Result<[PathBuf; 2], LogError> {
        self.write_with(directory, suffix, |path, bytes| disk.write_file(path, bytes).map(|_| ()))
    }

    fn write_with(
        &self,
        directory: &Path,
        suffix: &str,
        write: impl Fn(&Path, &[u8]) -> Result<(), LogError>,
    ) -> Result<[PathBuf; 2], LogError> {
        let mut times = self.times.clone();
        times.push(self.latest);
        let paths = [FileKind::OffsetIndex, FileKind::TimeIndex]
            .map(|kind| kind.path_with(directory, self.base_offset, suffix));
        let [offsets_path, times_path] = &paths;
        write(offsets_path, &self.offsets.encode())?;
        write(times_path, &times.encode())?;
        Ok(paths)
    }

    /// An offset as the indexes have it. Offsets before the segment are taken for its first.
    pub(crate) fn relative(&self, offset: i64) -> u32 {
        relative(offset, self.base_offset)
    }
}

/// `offset` less `base_offset`, within what an index can hold.
pub(crate) fn relative(offset: i64, base_offset: i64) -> u32 {
    u32::try_from(offset.saturating_sub(base_offset).max(0)).unwrap_or(u32::MAX)
}

/// A segment that never grows again.
#[derive(Clone, Debug)]
pub(crate) struct SealedSegment {
    pub(crate) base_offset: i64,
    pub(crate) size: u32,
    /// The latest timestamp in it, with the batch that brought it first.
    pub(crate) latest: TimeEntry,
    /// Which cleaning made it; 0 if none did since the log was opened. Another file may have the same name later.
    pub(crate) generation: u32,
    /// What the cleaner made, while its files do not have their names yet.
    pub(crate) unnamed: Option<Arc<Unnamed>>,
}

/// A segment that is being swapped in.
#[derive(Debug)]
pub(crate) struct Unnamed {
    pub(crate) file: Arc<LogFile>,
    pub(crate) index: SegmentIndex,
}

impl SealedSegment {
    /// One whose files have their names.
    pub(crate) fn new(base_offset: i64, size: u32, latest: TimeEntry) -> Self {
        Self { base_offset, size, latest, generation: 0, unnamed: None }
    }

    /// Opens the file. If the segment may have been replaced meanwhile, find out afterwards: see [`Segments::holds`].
    pub(crate) fn open(&self, disk: &Disk, directory: &Path) -> Result<Arc<LogFile>, LogError> {
        match &self.unnamed {
            Some(unnamed) => Ok(Arc::clone(&unnamed.file)),
            None => disk.open(FileKind::Log.path(directory, self.base_offset)).map(Arc::new),
        }
    }

    /// When its file was last written to, in ms since 1970.
    pub(crate) fn modified_ms(&self, disk: &Disk, directory: &Path) -> Result<i64, LogError> {
        disk.modified_ms(&FileKind::Log.path(directory, self.base_offset))
    }

    /// Where to begin looking for `offset`. An index that is missing or damaged only makes the way longer; it is
    /// written anew at the next start.
    pub(crate) fn lookup(&self, disk: &Disk, directory: &Path, offset: i64) -> u32 {
        let relative = relative(offset, self.base_offset);
        if let Some(unnamed) = &self.unnamed {
            return unnamed.index.offsets.lookup(relative);
        }
        match OffsetIndex::read(disk, &FileKind::OffsetIndex.path(directory, self.base_offset), self.size) {
            Ok(Some(index)) => index.lookup(relative),
            _ => 0,
        }
    }

    /// The offset from which on to look for `timestamp`.
    pub(crate) fn lookup_time(&self, disk: &Disk, directory: &Path, timestamp: i64) -> i64 {
        let relative = match &self.unnamed {
            Some(unnamed) => unnamed.index.times.lookup(timestamp),
            None => match TimeIndex::read(disk, &FileKind::TimeIndex.path(directory, self.base_offset)) {
                Ok(Some(index)) => index.lookup(timestamp),
                _ => 0,
            },
        };
        self.base_offset + i64::from(relative)
    }
}

/// The segment that is appended to.
#[derive(Debug)]
pub(crate) struct ActiveSegment {
    pub(crate) base_offset: i64,
    pub(crate) file: Arc<LogFile>,
    /// Written by the log's owner once per append, read by whoever fetches: a leaf lock, held for a binary search.
    tail: Mutex<Tail>,
}

/// How far the active segment is written, and what is known of its batches. Offset and size belong together: that
/// they are read under one lock keeps a reader from taking bytes beyond the offset it was allowed.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) index: SegmentIndex,
    /// Bytes that are whole batches.
    pub(crate) size: u32,
    /// The offset behind the last batch.
    pub(crate) end_offset: i64,
    recent: VecDeque<Place>,
}

/// Where a batch lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    pub(crate) base_offset: i64,
    pub(crate) position: u32,
    pub(crate) bytes: u32,
}

impl From<Found> for Place {
    fn from(found: Found) -> Self {
        Self {
            base_offset: found.header.base_offset,
            position: found.position,
            bytes: found.end() - found.position,
        }
    }
}

/// Where to look for an offset.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lookup {
    /// This batch holds it, or is the first behind it.
    At(Place),
    /// From this position on.
    From(u32),
}

impl ActiveSegment {
    pub(crate) fn new(file: Arc<LogFile>, index: SegmentIndex, size: u32, end_offset: i64) -> Self {
        let base_offset = index.base_offset;
        let tail = Tail { index, size, end_offset, recent: VecDeque::new() };
        Self { base_offset, file, tail: Mutex::new(tail) }
    }

    pub(crate) fn tail(&self) -> MutexGuard<'_, Tail> {
        // A thread that panicked while it held the lock left a tail that is whole batches all the same: `size` and
        // `end_offset` are set last.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tail {
    /// A batch was written behind all others.
    pub(crate) fn push(&mut self, header: &BatchHeader) {
        let place = Place {
            base_offset: header.base_offset,
            position: self.size,
            bytes: header.total_bytes() as u32,
        };
        self.index.add(self.size, header);
        if self.recent.len() == RECENT_BATCHES {
            self.recent.pop_front();
        }
        self.recent.push_back(place);
        self.size += place.bytes;
        self.end_offset = header.next_offset();
    }

    /// Where to look for `offset`, which lies before the end.
    pub(crate) fn lookup(&self, offset: i64) -> Lookup {
        let after = self.recent.partition_point(|p| p.base_offset <= offset);
        match after.checked_sub(1).and_then(|i| self.recent.get(i)) {
            // Within the log's own appends no offset is missing, so the batch that begins before it holds it.
            Some(&place) => Lookup::At(place),
            None => Lookup::From(self.index.offsets.lookup(self.index.relative(offset))),
        }
    }
}

/// All segments of a log, in order.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    pub(crate) sealed: Vec<SealedSegment>,
    pub(crate) active: Arc<ActiveSegment>,
}

impl Segments {
    /// The place of the segment that holds `offset`, or would: that of the active one is `sealed.len()`.
    pub(crate) fn position_of(&self, offset: i64) -> usize {
        if offset >= self.active.base_offset {
            return self.sealed.len();
        }
        self.sealed.partition_point(|s| s.base_offset <= offset).saturating_sub(1)
    }

    /// The first offset that any segment holds, or would.
    pub(crate) fn first_offset(&self) -> i64 {
        self.sealed.first().map_or(self.active.base_offset, |first| first.base_offset)
    }

    /// Whether `segment` is still one of them, and not another by its name.
    pub(crate) fn holds(&self, segment: &SealedSegment) -> bool {
        let found = self.sealed.binary_search_by_key(&segment.base_offset, |s| s.base_offset);
        let found = found.ok().and_then(|place| self.sealed.get(place));
        found.is_some_and(|found| found.generation == segment.generation)
    }

    /// Where the segment at `place` among the sealed ones ends.
    pub(crate) fn end_of(&self, place: usize) -> i64 {
        self.sealed.get(place + 1).map_or(self.active.base_offset, |next| next.base_offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        let path = FileKind::TimeIndex.path(Path::new("t-0"), 42);
        assert_eq!(path, Path::new("t-0/00000000000000000042.timeindex"));
        for (name, expected) in [
            ("00000000000000000042.log", Some((FileKind::Log, 42))),
            ("00000000000000000042.snapshot", Some((FileKind::Snapshot, 42))),
            ("09223372036854775807.index", Some((FileKind::OffsetIndex, i64::MAX))),
            ("99999999999999999999.log", None),
            ("42.log", None),
            ("00000000000000000042.log.deleted", None),
            ("+0000000000000000042.log", None),
            ("leader-epoch-checkpoint", None),
        ] {
            assert_eq!(FileKind::parse(name), expected, "{name}");
        }
    }

    #[test]
    fn an_index_never_outgrows_its_limit_and_its_entries_stay_evenly_apart() {
        let config =
            LogConfig { index_interval_bytes: 100, index_size_max_bytes: 64 * 8, ..LogConfig::default() };
        let mut index = SegmentIndex::new(0, &config);
        for i in 0..100_000_u32 {
            let header = BatchHeader {
                base_offset: i.into(),
                batch_length: 188,
                last_offset_delta: 0,
                max_timestamp: i.into(),
                ..BatchHeader::default()
            };
            index.add(i * 200, &header);
            assert!(index.offsets.len() <= 64 && index.times.len() <= 64);
        }
        assert!(index.offsets.len() >= 32);
        let positions: Vec<u32> = index.offsets.iter().map(|e| e.1).collect();
        let apart = positions.windows(2).map(|w| w[1] - w[0]);
        assert!(apart.clone().max() <= apart.min().map(|least| 2 * least + 200), "{positions:?}");
    }
}
