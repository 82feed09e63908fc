//! Reading a log: from any thread, without asking its owner.
//!
//! What a reader gets is a list of [`FileSlice`]s, whole batches as they lie on disk. Which ones is decided by
//! offsets that the owner publishes, and by looking at a few batch headers; the records stay where they are.

use std::{
    cell::Cell,
    cmp::Reverse,
    fmt,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use arc_swap::{ArcSwap, Guard};
use ottla_protocol::{
    compression::Limits,
    record::{Batch, BatchError, Scratch, Stamp, find},
};

use super::{
    error::{LogError, LogErrorKind},
    leader_epochs::{LeaderEpoch, LeaderEpochs},
    scan::{Found, SEEK_WINDOW_BYTES, Scan, ScanError},
    segment::{Lookup, Place, Segments},
    vfs::{Disk, FileSlice, LogFile},
};

/// The file that says, to whoever opens the log next, that what is seen of it may not be what is on the medium: a flush
/// failed, or a cut was not flushed yet. The file is never flushed itself: after a power cut only what is on the medium
/// is seen anyway.
pub(super) const IN_DOUBT: &str = "in-doubt";

/// Headers that a read looks at to let its end fall between two batches. Where batches are so small that this is
/// not enough, the last one may be cut off; what is sent in vain is then less than this share of all.
const ALIGN_HEADERS_MAX: usize = 32;

/// Reads a log. The owner publishes to it; all others only look.
#[derive(Debug)]
pub struct LogReader {
    pub(super) disk: Disk,
    directory: PathBuf,
    /// First offset that may be read.
    start_offset: AtomicI64,
    /// Offset behind the last record. Published after the bytes were written, so whoever sees it can read them.
    end_offset: AtomicI64,
    /// First offset that is not yet on every in-sync replica; consumers read below it.
    high_watermark: AtomicI64,
    /// Replaced by the owner when a segment is sealed or cut.
    pub(crate) segments: ArcSwap<Segments>,
    /// Replaced by the owner when an epoch begins or is cut.
    pub(crate) epochs: ArcSwap<LeaderEpochs>,
    /// Set when a failed write or flush left the files in doubt. Never cleared.
    failed: AtomicBool,
    /// Held by whoever flushes: of two flushes at once, the second may find clean what the first could not write.
    flushing: Mutex<()>,
}

/// What a read found.
#[derive(Clone, Debug, Default)]
pub struct Slices {
    /// Batches, in order, each slice from one segment. Empty if there is nothing to read below the bound.
    pub slices: Vec<FileSlice>,
    /// Offset of the first batch; at most the offset asked for, unless that one is gone by compaction.
    pub base_offset: Option<i64>,
}

impl Slices {
    /// Bytes in all slices.
    pub fn len(&self) -> usize {
        self.slices.iter().map(|s| s.len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }
}

/// A record found by its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimestampOffset {
    /// The record's offset.
    pub offset: i64,
    /// Its timestamp in ms.
    pub timestamp: i64,
    /// The epoch of the leader that appended it.
    pub leader_epoch: i32,
}

/// Why nothing could be read.
#[derive(Clone, Debug)]
pub enum ReadError {
    /// The offset lies outside of the log.
    OutOfRange {
        /// The log's first offset.
        start: i64,
        /// The offset behind its last record.
        end: i64,
    },
    /// The disk failed, or what lies on it is damaged.
    Log(LogError),
    /// A batch cannot be inflated, though its checksum was right when it came.
    Batch(BatchError),
}

impl LogReader {
    pub(crate) fn new(
        disk: &Disk,
        directory: &Path,
        segments: Segments,
        epochs: LeaderEpochs,
        start_offset: i64,
    ) -> Self {
        let end_offset = segments.active.tail().end_offset;
        Self {
            disk: disk.clone(),
            directory: directory.to_owned(),
            start_offset: start_offset.into(),
            end_offset: end_offset.into(),
            high_watermark: start_offset.into(),
            segments: ArcSwap::from_pointee(segments),
            epochs: ArcSwap::from_pointee(epochs),
            failed: false.into(),
            flushing: Mutex::default(),
        }
    }

    /// The disk that the log lies on.
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The directory that the log lies in.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The first offset that may be read.
    pub fn start_offset(&self) -> i64 {
        self.start_offset.load(Ordering::Acquire)
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        let segments = self.segments.load();
        let active = u64::from(segments.active.tail().size);
        segments.sealed.iter().map(|segment| u64::from(segment.size)).sum::<u64>() + active
    }

    /// How many segments there are.
    pub fn segment_count(&self) -> usize {
        self.segments.load().sealed.len() + 1
    }

    /// The offset behind the last record.
    pub fn end_offset(&self) -> i64 {
        self.end_offset.load(Ordering::Acquire)
    }

    /// The first offset that is not yet on every in-sync replica. The log only keeps it: it starts at the log's
    /// start, and whoever leads the partition sets it.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark.load(Ordering::Acquire)
    }

    /// Sets the high watermark. Only the partition's owner may.
    pub fn set_high_watermark(&self, offset: i64) {
        self.high_watermark.store(offset, Ordering::Release);
    }

    pub(crate) fn set_start_offset(&self, offset: i64) {
        self.start_offset.store(offset, Ordering::Release);
    }

    pub(crate) fn set_end_offset(&self, offset: i64) {
        self.end_offset.store(offset, Ordering::Release);
    }

    /// Whether a write or flush failed in a way that leaves the files in doubt.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub(crate) fn set_failed(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Runs a flush, alone, unless one has failed before; if it fails, the log is closed to appends before another begins.
    pub(crate) fn flush(&self, sync: impl FnOnce() -> Result<(), LogError>) -> Result<(), LogError> {
        let _alone = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has_failed() {
            return Err(LogErrorKind::Failed { path: self.directory.clone() }.into());
        }
        sync().inspect_err(|_| self.set_flush_failed())
    }

    /// As [`set_failed`](Self::set_failed), after a failed flush. The system may take pages for clean now that are not
    /// on the medium; the mark tells the next process to write them again.
    pub(crate) fn set_flush_failed(&self) {
        self.set_failed();
        let mark = self.directory.join(IN_DOUBT);
        if let Err(error) = self.disk.write_file(&mark, b"") {
            tracing::error!(%error, "restart the machine, not only the broker: a flush failed, and could not be marked");
        }
    }

    /// The batches from the one that holds `offset` on, which may begin before it, as many as `bytes_max` allows and
    /// up to `upper_bound`: no batch that ends at that offset or later is given.
    ///
    /// With `at_least_one_batch`, the first is given whole even if it is larger than `bytes_max`, so that every
    /// reader gets on; without it, nothing is given then. The last batch may be cut off where batches are small.
    ///
    /// # Errors
    /// If the offset lies before the log's start or behind its end, or if the disk fails.
    pub fn read(
        &self,
        offset: i64,
        bytes_max: usize,
        upper_bound: i64,
        at_least_one_batch: bool,
    ) -> Result<Slices, ReadError> {
        self.with_segments(|segments, end| {
            let start = self.start_offset();
            if offset < start || offset > end {
                return Err(ReadError::OutOfRange { start, end });
            }
            let bound = upper_bound.min(end);
            match offset < bound {
                true => self.slices(segments, offset, bytes_max, bound, at_least_one_batch),
                false => Ok(Slices::default()),
            }
        })
    }

    /// What [`LogReader::read`] finds in these segments.
    fn slices(
        &self,
        segments: &Viewed,
        offset: i64,
        bytes_max: usize,
        bound: i64,
        at_least_one_batch: bool,
    ) -> Result<Slices, ReadError> {
        let mut read = Slices::default();
        let mut left = bytes_max;
        let (mut place, mut from) = (segments.position_of(offset), offset);
        while place <= segments.sealed.len() && from < bound {
            let span = self.span(segments, place, from, bound)?;
            if let Some(first) = span.locate(span.first, from)? {
                let stop = span.stop(&first, bound)?;
                let available = stop.saturating_sub(first.position) as usize;
                let least = if at_least_one_batch && read.is_empty() { first.bytes as usize } else { 0 };
                let len = match left.max(least) {
                    allowed if allowed >= available => available,
                    allowed => span.align(&first, allowed),
                };
                if len > 0 {
                    read.base_offset.get_or_insert(first.base_offset);
                    read.slices.push(FileSlice { file: span.file, position: first.position.into(), len });
                }
                left = left.saturating_sub(len);
                if len < available || left == 0 {
                    break;
                }
            }
            from = segments.end_of(place);
            place += 1;
        }
        Ok(read)
    }

    /// The first record, at or behind the log's start, that has this timestamp or a later one. It may lie beyond the
    /// high watermark. This inflates batches.
    ///
    /// # Errors
    /// If the disk fails, or if a batch cannot be read.
    pub fn offset_for_timestamp(
        &self,
        timestamp: i64,
        scratch: &mut Scratch,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        self.with_segments(|segments, end| self.first_from(segments, end, timestamp, scratch))
    }

    fn first_from(
        &self,
        segments: &Viewed,
        end: i64,
        timestamp: i64,
        scratch: &mut Scratch,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let start = self.start_offset();
        for place in segments.position_of(start)..=segments.sealed.len() {
            let (latest, from) = match segments.sealed.get(place) {
                Some(sealed) if sealed.latest.timestamp < timestamp => continue,
                Some(sealed) => (
                    sealed.latest.timestamp,
                    sealed.lookup_time(&self.disk, &self.directory, timestamp).max(start),
                ),
                None => {
                    let tail = segments.active.tail();
                    let from = segments.active.base_offset + i64::from(tail.index.times.lookup(timestamp));
                    (tail.index.latest.timestamp, from.max(start))
                }
            };
            if latest < timestamp || from >= end {
                continue;
            }
            let wanted = |r: &TimestampOffset| r.timestamp >= timestamp && r.offset >= start;
            let span = self.span(segments, place, from, end)?;
            if let Some(found) = span.first_record(from, timestamp, wanted, scratch)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The first of the records with the latest timestamp; `None` in a log without timestamps. It may lie beyond the
    /// high watermark. This inflates one batch.
    ///
    /// # Errors
    /// If the disk fails, or if a batch cannot be read.
    pub fn max_timestamp(&self, scratch: &mut Scratch) -> Result<Option<TimestampOffset>, ReadError> {
        self.with_segments(|segments, end| self.latest(segments, end, scratch))
    }

    fn latest(
        &self,
        segments: &Viewed,
        end: i64,
        scratch: &mut Scratch,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let active = (segments.active.base_offset, segments.active.tail().index.latest);
        let all = segments.sealed.iter().map(|s| (s.base_offset, s.latest)).chain([active]);
        // The first segment of several that share the latest timestamp, as Kafka has it.
        let latest = all.enumerate().max_by_key(|(place, (_, latest))| (latest.timestamp, Reverse(*place)));
        let Some((place, (base_offset, latest))) = latest else { return Ok(None) };
        if latest.timestamp < 0 {
            return Ok(None);
        }
        let from = base_offset + i64::from(latest.relative_offset);
        let span = self.span(segments, place, from, end)?;
        span.first_record(from, latest.timestamp, |r| r.timestamp == latest.timestamp, scratch)
    }

    /// The newest leader epoch, and the offset at which it began.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.load().latest()
    }

    /// The largest known epoch that is not beyond `epoch`, and the offset behind its last record (KIP-320). `None` if
    /// the log knows nothing of it.
    pub fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        self.epochs.load().end_offset_for(epoch, self.end_offset())
    }

    /// The epoch in which `offset` was assigned.
    pub fn epoch_of(&self, offset: i64) -> Option<i32> {
        self.epochs.load().epoch_of(offset)
    }

    /// Reads the segments as they are now, below the log's end; and once more, if one that was read from was replaced or
    /// deleted meanwhile: what had its name then may have been another file. The owner changes [`LogReader::segments`]
    /// before it touches files, so whoever finds a segment still there afterwards had the right one.
    fn with_segments<T>(
        &self,
        mut read: impl FnMut(&Viewed, i64) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        loop {
            // The end first, then the segments: these are at least as new, so all below the end is found in them.
            let end = self.end_offset();
            let viewed = Viewed { segments: self.segments.load(), opened: Cell::new(0), first: Cell::new(0) };
            let outcome = read(&viewed, end);
            if viewed.opened.get() == 0 || viewed.are_still_in(&self.segments.load()) {
                return outcome;
            }
        }
    }

    /// Opens what a read of the segment at `place` needs, from `from` on and below `bound`.
    fn span(&self, segments: &Viewed, place: usize, from: i64, bound: i64) -> Result<Span, ReadError> {
        let Some(sealed) = segments.sealed.get(place) else {
            let active = &segments.active;
            let tail = active.tail();
            return Ok(Span {
                file: Arc::clone(&active.file),
                base_offset: active.base_offset,
                size: tail.size,
                first: match from < tail.end_offset {
                    true => tail.lookup(from),
                    false => Lookup::From(tail.size),
                },
                bound: (bound < tail.end_offset).then(|| tail.lookup(bound)),
            });
        };
        segments.opens(place);
        let lookup = |offset| Lookup::From(sealed.lookup(&self.disk, &self.directory, offset));
        Ok(Span {
            file: sealed.open(&self.disk, &self.directory)?,
            base_offset: sealed.base_offset,
            size: sealed.size,
            first: if from <= sealed.base_offset { Lookup::From(0) } else { lookup(from) },
            bound: (bound < segments.end_of(place)).then(|| lookup(bound)),
        })
    }
}

/// The segments that a read goes by.
struct Viewed {
    segments: Guard<Arc<Segments>>,
    /// How many sealed segments were opened, from the first on.
    opened: Cell<usize>,
    first: Cell<usize>,
}

impl Viewed {
    /// The sealed segment at `place` is about to be opened. Reads go forward, a segment at a time.
    fn opens(&self, place: usize) {
        if self.opened.get() == 0 {
            self.first.set(place);
        }
        self.opened.set(place + 1 - self.first.get());
    }

    /// Whether all that were opened are among the segments of now.
    fn are_still_in(&self, now: &Arc<Segments>) -> bool {
        let mut opened = self.segments.sealed.iter().skip(self.first.get()).take(self.opened.get());
        Arc::ptr_eq(&self.segments, now) || opened.all(|segment| now.holds(segment))
    }
}

impl Deref for Viewed {
    type Target = Segments;
    fn deref(&self) -> &Segments {
        &self.segments
    }
}

/// A segment, as one read sees it.
struct Span {
    file: Arc<LogFile>,
    base_offset: i64,
    size: u32,
    /// Where to look for the first offset.
    first: Lookup,
    /// Where to look for the bound; `None` if it lies behind the segment.
    bound: Option<Lookup>,
}

impl Span {
    /// The first batch that ends at `offset` or later.
    fn locate(&self, lookup: Lookup, offset: i64) -> Result<Option<Place>, ReadError> {
        match lookup {
            Lookup::At(place) => Ok(Some(place)),
            Lookup::From(position) => Ok(self.seek(position, offset)?.map(Place::from)),
        }
    }

    fn seek(&self, position: u32, offset: i64) -> Result<Option<Found>, ReadError> {
        if position > 0 {
            // An index that lies is found out here; then the way begins at the segment's own beginning.
            let mut scan = self.scan(position);
            match scan.next() {
                Ok(Some(found)) if found.header.last_offset() >= offset => {
                    // An entry names a batch's last offset, so the batch wanted may not lie before it.
                    if found.header.base_offset <= offset {
                        return Ok(Some(found));
                    }
                }
                Ok(Some(_)) => return scan.seek(offset).map_err(|e| self.error(&scan, e)),
                Ok(None) | Err(ScanError::Damaged(_)) => {}
                Err(ScanError::Io(error)) => return Err(error.into()),
            }
        }
        let mut scan = self.scan(0);
        scan.seek(offset).map_err(|e| self.error(&scan, e))
    }

    /// Where the batches that end before `bound` end, seen from `first`.
    fn stop(&self, first: &Place, bound: i64) -> Result<u32, ReadError> {
        let Some(lookup) = self.bound else { return Ok(self.size) };
        let lookup = match lookup {
            Lookup::From(position) if position < first.position => Lookup::From(first.position),
            lookup => lookup,
        };
        Ok(self.locate(lookup, bound)?.map_or(self.size, |place| place.position))
    }

    /// The largest number of bytes from `first` on, at most `allowed`, that are whole batches; `allowed` itself if
    /// that takes too long to say.
    fn align(&self, first: &Place, allowed: usize) -> usize {
        let mut whole = first.bytes as usize;
        if whole > allowed {
            return 0;
        }
        let mut scan = self.scan(first.position + first.bytes);
        for _ in 0..ALIGN_HEADERS_MAX {
            match scan.next() {
                Ok(Some(found)) if (found.end() - first.position) as usize <= allowed => {
                    whole = (found.end() - first.position) as usize;
                }
                // Damage is for whoever reads that far.
                _ => return whole,
            }
        }
        allowed
    }

    /// The first record that is `wanted`, among the batches from the one that holds `from` on whose latest timestamp
    /// is at least `timestamp`.
    fn first_record(
        &self,
        from: i64,
        timestamp: i64,
        wanted: impl Fn(&TimestampOffset) -> bool,
        scratch: &mut Scratch,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let Some(first) = self.locate(self.first, from)? else { return Ok(None) };
        let mut scan = self.scan(first.position);
        while let Some(found) = scan.next().map_err(|e| self.error(&scan, e))? {
            if found.header.max_timestamp < timestamp {
                continue;
            }
            let bytes = FileSlice {
                file: Arc::clone(&self.file),
                position: found.position.into(),
                len: found.header.total_bytes(),
            };
            let batch = Batch::split_from(&mut bytes.read()?)?;
            let Some(batch) = batch else { return Ok(None) };
            let leader_epoch = found.header.partition_leader_epoch;
            let place =
                |Stamp { offset, timestamp }: Stamp| TimestampOffset { offset, timestamp, leader_epoch };
            if let Some(stamp) = find(&batch, &Limits::BROKER, scratch, |stamp| wanted(&place(stamp)))? {
                return Ok(Some(place(stamp)));
            }
        }
        Ok(None)
    }

    fn scan(&self, position: u32) -> Scan<'_> {
        Scan::new(&self.file, self.base_offset, position, self.size, SEEK_WINDOW_BYTES)
    }

    fn error(&self, scan: &Scan<'_>, error: ScanError) -> ReadError {
        match error {
            ScanError::Io(error) => error.into(),
            ScanError::Damaged(why) => LogError::from(LogErrorKind::Rot {
                path: self.file.path().to_owned(),
                position: scan.position().into(),
                offset: scan.next_offset(),
                why,
            })
            .into(),
        }
    }
}

impl From<LogError> for ReadError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<BatchError> for ReadError {
    fn from(error: BatchError) -> Self {
        Self::Batch(error)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { start, end } => write!(f, "the log holds offsets {start} to {end}"),
            Self::Log(error) => write!(f, "{error}"),
            Self::Batch(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::OutOfRange { .. } => None,
            Self::Log(error) => Some(error),
            Self::Batch(error) => Some(error),
        }
    }
}
