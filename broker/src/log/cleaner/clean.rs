//! One round of cleaning: from a log's segments to new ones.

use std::{fmt, io::IoSlice, path::PathBuf, sync::Arc};

use bytes::Bytes;
use ottla_protocol::record::{BATCH_HEADER_BYTES, Batch, BatchHeader};

use super::{
    filter::{Filter, Kept, LastRecords, Round},
    offset_map::{HashKey, LOAD_PERCENT, OffsetMap},
    select::Cleanable,
    swap::{CLEANED_SUFFIX, CleanedSegment, Stale, remove_all},
    transactions::CleanedTransactions,
};
use crate::log::{
    LogConfig, LogError, LogReader,
    log::Log,
    segment::{FileKind, SealedSegment, SegmentIndex},
    vfs::LogFile,
};

/// Largest segment that a cleaner writes: positions are 31 bits.
const SEGMENT_BYTES_MAX: usize = i32::MAX as usize;
/// Least memory for reading and for writing.
const IO_BUFFER_BYTES_MIN: usize = 4 << 10;

/// What one cleaner may use.
#[derive(Clone, Copy, Debug)]
pub struct CleanerConfig {
    /// The key of its maps' hash; random, and new at each start.
    pub hash_key: HashKey,
    /// Memory for keys: its part of `log.cleaner.dedupe.buffer.size`.
    pub map_bytes: usize,
    /// How full its map may get, in percent: `log.cleaner.io.buffer.load.factor`.
    pub load_percent: usize,
    /// Memory for reading, and as much for writing: its part of `log.cleaner.io.buffer.size`. A batch that is larger is
    /// held whole all the same.
    pub io_buffer_bytes: usize,
}

impl CleanerConfig {
    /// Kafka's defaults, for one cleaner.
    pub const fn new(hash_key: HashKey) -> Self {
        Self { hash_key, map_bytes: 128 << 20, load_percent: LOAD_PERCENT, io_buffer_bytes: 256 << 10 }
    }
}

/// Who owns the log that is cleaned. The cleaner waits for it.
pub trait Owner {
    /// Runs `task` on the log, with nobody else changing it meanwhile.
    ///
    /// # Errors
    /// [`CleanError::Stopped`] if the log is gone.
    fn on_log(&mut self, task: LogTask) -> Result<(), CleanError>;

    /// Bytes were read or written. Waits, where the rate is limited.
    ///
    /// # Errors
    /// [`CleanError::Stopped`] if the cleaner is to stop.
    fn moved(&mut self, bytes: u64) -> Result<(), CleanError>;

    /// The time, in ms since 1970.
    fn now_ms(&self) -> i64;
}

/// What a cleaner does on a log's own thread.
pub type LogTask = Box<dyn FnOnce(&mut Log) + Send>;

/// What a round did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cleaned {
    /// Everything before it is clean now.
    pub end_offset: i64,
    /// Keys in the map.
    pub keys: usize,
    /// Records that were read, and that stayed.
    pub records_read: u64,
    /// Records that stayed.
    pub records_kept: u64,
    /// Bytes of the segments that were read.
    pub bytes_read: u64,
    /// Bytes of the segments that were written.
    pub bytes_written: u64,
    /// Records without a key, which were dropped.
    pub records_without_key: u64,
    /// Segments that took the place of others.
    pub segments: usize,
}

/// Why a round ended before its time. What it had exchanged by then stays.
#[derive(Clone, Debug)]
pub enum CleanError {
    /// What lies in a segment cannot be cleaned: it is damaged.
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where in it, in bytes.
        position: u64,
        /// What is wrong.
        why: String,
    },
    /// The disk failed.
    Log(LogError),
    /// Segments were deleted or cut meanwhile; the next round finds out anew.
    Stale,
    /// The cleaner is to stop, or the log is gone.
    Stopped,
}

/// Cleans logs, one at a time.
#[derive(Debug)]
pub struct Cleaner {
    config: CleanerConfig,
    filter: Filter,
    /// What is to be written.
    out: Vec<u8>,
}

/// A round, as it goes.
struct Pass<'a> {
    cleaner: &'a mut Cleaner,
    reader: &'a LogReader,
    config: &'a LogConfig,
    range: &'a Cleanable,
    owner: &'a mut dyn Owner,
    now_ms: i64,
    /// How often the log had been cut when the round began.
    cuts: u64,
    cleaned: Cleaned,
}

impl Cleaner {
    /// One that has nothing to do yet.
    pub fn new(config: CleanerConfig) -> Self {
        Self { config, filter: Filter::default(), out: Vec::new() }
    }

    /// Cleans the log that `reader` shows, from its first dirty offset on, as far as the map of keys reaches.
    ///
    /// # Errors
    /// If a segment is damaged, the disk fails, the log changes or the owner says so.
    pub fn clean(
        &mut self,
        reader: &LogReader,
        config: &LogConfig,
        range: &Cleanable,
        owner: &mut dyn Owner,
    ) -> Result<Cleaned, CleanError> {
        self.filter.begin();
        let now_ms = owner.now_ms();
        let cleaned = Cleaned::default();
        Pass { cleaner: self, reader, config, range, owner, now_ms, cuts: 0, cleaned }.run()
    }
}

impl Pass<'_> {
    fn run(mut self) -> Result<Cleaned, CleanError> {
        self.flush()?;
        if !self.range_is_there() {
            return Err(CleanError::Stale);
        }
        // What it is now; segments that are sealed later are for the next round.
        let mut segments = self.reader.segments.load().sealed.clone();
        segments.retain(|s| s.base_offset < self.range.first_uncleanable_offset);
        let map = self.map(&segments)?;
        let end_offset = map.latest_offset() + 1;
        segments.retain(|s| s.base_offset < end_offset);
        for group in self.groups(&segments) {
            self.clean_group(group, &map)?;
        }
        if self.on_log(|log| log.cuts)? != self.cuts {
            // What was appended behind the cut is dirty.
            return Err(CleanError::Stale);
        }
        let filter = &self.cleaner.filter;
        Ok(Cleaned {
            end_offset,
            keys: map.len(),
            records_read: filter.records_read,
            records_kept: filter.records_kept,
            records_without_key: filter.records_without_key,
            ..self.cleaned
        })
    }

    /// Whether the log still holds what is to be cleaned: it may have been cut before the round began.
    fn range_is_there(&self) -> bool {
        let end_offset = self.range.first_uncleanable_offset;
        let segments = self.reader.segments.load();
        let place = segments.position_of(end_offset);
        let begins = segments.sealed.get(place).map_or(segments.active.base_offset, |s| s.base_offset);
        begins == end_offset && self.reader.high_watermark() >= end_offset
    }

    /// Brings what is to be cleaned to the medium: or else a power cut could take the latest record of a key, after those
    /// before it were dropped for its sake.
    fn flush(&mut self) -> Result<(), CleanError> {
        let first_uncleanable_offset = self.range.first_uncleanable_offset;
        let (cuts, task) = self.on_log(move |log| match log.recovery_point() < first_uncleanable_offset {
            true => (log.cuts, log.flush_task()),
            false => (log.cuts, None),
        })?;
        self.cuts = cuts;
        if let Some(task) = task {
            let (done, now_ms) = (task.run()?, self.owner.now_ms());
            self.on_log(move |log| log.flushed(&done, now_ms))?;
        }
        Ok(())
    }

    /// The latest offset of each key of the dirty part, until the map is full (`Cleaner.buildOffsetMap`).
    fn map(&mut self, segments: &[SealedSegment]) -> Result<OffsetMap, CleanError> {
        let CleanerConfig { hash_key, map_bytes, load_percent, .. } = self.cleaner.config;
        let Cleanable { first_dirty_offset, first_uncleanable_offset, .. } = *self.range;
        let keys_max = usize::try_from(first_uncleanable_offset - first_dirty_offset).unwrap_or(0);
        let mut map = OffsetMap::new(hash_key, map_bytes, load_percent, keys_max);
        let mut transactions = CleanedTransactions::default();
        for (place, segment) in segments.iter().enumerate() {
            let next = segments.get(place + 1).map_or(first_uncleanable_offset, |next| next.base_offset);
            if next <= first_dirty_offset {
                continue;
            }
            let from = segment.lookup(self.reader.disk(), self.reader.directory(), first_dirty_offset);
            let mut batches = self.open(segment, from)?;
            while let Some(batch) = batches.next()? {
                self.owner.moved(batch.bytes().len() as u64)?;
                let learnt =
                    self.cleaner.filter.learn(&batch, first_dirty_offset, &mut map, &mut transactions);
                if !learnt.map_err(|error| batches.damaged(&batch, error))? {
                    return Ok(map);
                }
            }
            map.looked_at(next - 1);
        }
        Ok(map)
    }

    /// Neighbours that fit into one segment together (`Cleaner.groupSegmentsBySize`). Our indexes thin themselves out, so
    /// that their sizes set no limit.
    fn groups<'s>(&self, segments: &'s [SealedSegment]) -> Vec<&'s [SealedSegment]> {
        let mut groups = Vec::new();
        let mut rest = segments;
        while let Some(first) = rest.first() {
            let mut bytes = u64::from(first.size);
            let mut count = 1;
            while let Some(next) = rest.get(count) {
                let end = rest.get(count + 1).map_or(self.range.first_uncleanable_offset, |s| s.base_offset);
                bytes += u64::from(next.size);
                let fits = bytes <= u64::from(self.config.segment_bytes);
                if !fits || end - 1 - first.base_offset > i64::from(i32::MAX) {
                    break;
                }
                count += 1;
            }
            let (group, others) = rest.split_at(count);
            groups.push(group);
            rest = others;
        }
        groups
    }

    /// Makes one segment of a group, and has it take the group's place.
    fn clean_group(&mut self, group: &[SealedSegment], map: &OffsetMap) -> Result<(), CleanError> {
        let Some(base_offset) = group.first().map(|first| first.base_offset) else { return Ok(()) };
        let made = self.make(group, base_offset, map);
        let directory = self.reader.directory();
        let cleaned = match made {
            // Nothing went: the segment is as good as its copy.
            Ok(None) => return Ok(remove_all(self.reader.disk(), directory, base_offset, CLEANED_SUFFIX)?),
            Ok(Some(cleaned)) => cleaned,
            Err(error) => {
                // What cannot be removed now is removed at the next start.
                let _ = remove_all(self.reader.disk(), directory, base_offset, CLEANED_SUFFIX);
                return Err(error);
            }
        };
        let now_ms = self.owner.now_ms();
        self.cleaned.bytes_written += u64::from(cleaned.size);
        self.ask(|log| log.begin_swap(cleaned))?;
        self.sync_directory()?;
        self.ask(move |log| log.swap_in(now_ms))?;
        self.sync_directory()?;
        self.ask(Log::end_swap)?;
        self.cleaned.segments += 1;
        Ok(())
    }

    /// Copies what stays of a group into a new segment, and flushes it; `None` if all of it stays as it is.
    fn make(
        &mut self,
        group: &[SealedSegment],
        base_offset: i64,
        map: &OffsetMap,
    ) -> Result<Option<CleanedSegment>, CleanError> {
        let directory = self.reader.directory();
        let path = FileKind::Log.path_with(directory, base_offset, CLEANED_SUFFIX);
        let mut out = Output {
            file: Arc::new(self.reader.disk().create(path)?),
            index: SegmentIndex::new(base_offset, self.config),
            buffer: std::mem::take(&mut self.cleaner.out),
            size: 0,
        };
        out.buffer.clear();
        let producers = self.last_records()?;
        let mut transactions = CleanedTransactions::default();
        let mut changed = group.len() > 1;
        let segment_end_offset = self.end_of(group)?;
        for segment in group {
            self.cleaned.bytes_read += u64::from(segment.size);
            let mut batches = self.open(segment, 0)?;
            while let Some(batch) = batches.next()? {
                self.owner.moved(batch.bytes().len() as u64)?;
                let round = Round {
                    map,
                    producers: &producers,
                    end_offset: self.range.first_uncleanable_offset,
                    segment_end_offset,
                    now_ms: self.now_ms,
                    delete_retention_ms: self.config.cleanup.delete_retention_ms,
                };
                let kept = self.cleaner.filter.apply(&batch, &round, &mut transactions);
                let kept = kept.map_err(|error| batches.damaged(&batch, error))?;
                changed |= !matches!(kept, Kept::AsItIs);
                match kept {
                    Kept::Nothing => continue,
                    Kept::AsItIs => out.push(&batch)?,
                    Kept::Rewritten(batch) => out.push(&batch)?,
                }
                if out.buffer.len() >= self.cleaner.config.io_buffer_bytes {
                    self.owner.moved(out.write()?)?;
                }
            }
        }
        self.owner.moved(out.write()?)?;
        self.cleaner.out = std::mem::take(&mut out.buffer);
        if !changed {
            return Ok(None);
        }
        let disk = self.reader.disk();
        for path in out.index.write_as(disk, directory, CLEANED_SUFFIX)? {
            disk.sync_if_there(&path)?;
        }
        out.file.sync()?;
        let Output { file, index, size, .. } = out;
        let (sources, cuts) = (group.to_vec(), self.cuts);
        Ok(Some(CleanedSegment { base_offset, size, file, index, sources, cuts }))
    }

    /// The offset behind a group.
    fn end_of(&self, group: &[SealedSegment]) -> Result<i64, CleanError> {
        let segments = self.reader.segments.load();
        let last = group.last().filter(|last| segments.holds(last)).ok_or(CleanError::Stale)?;
        Ok(segments.end_of(segments.position_of(last.base_offset)))
    }

    /// The batches of a segment, from `position` on.
    fn open(&self, segment: &SealedSegment, position: u32) -> Result<Batches, CleanError> {
        let file = segment.open(self.reader.disk(), self.reader.directory());
        // As for every reader: what had the name may have been another file.
        if !self.reader.segments.load().holds(segment) {
            return Err(CleanError::Stale);
        }
        Ok(Batches {
            file: file?,
            position,
            end: segment.size,
            next_offset: segment.base_offset,
            chunk: Bytes::new(),
            chunk_bytes: self.cleaner.config.io_buffer_bytes.max(IO_BUFFER_BYTES_MIN),
        })
    }

    fn sync_directory(&mut self) -> Result<(), CleanError> {
        // What is on the medium is unknown then, as after any failed flush.
        self.reader
            .disk()
            .sync_directory(self.reader.directory())
            .inspect_err(|_| self.reader.set_flush_failed())?;
        Ok(())
    }

    fn last_records(&mut self) -> Result<LastRecords, CleanError> {
        self.on_log(|log| log.producers.last_records())
    }

    fn ask(
        &mut self,
        step: impl FnOnce(&mut Log) -> Result<Result<(), Stale>, LogError> + Send + 'static,
    ) -> Result<(), CleanError> {
        self.on_log(step)??.map_err(|Stale| CleanError::Stale)
    }

    /// Has the owner do something, and waits for what comes of it.
    fn on_log<T: Send + 'static>(
        &mut self,
        task: impl FnOnce(&mut Log) -> T + Send + 'static,
    ) -> Result<T, CleanError> {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        // Whoever asked waits below.
        self.owner.on_log(Box::new(move |log| _ = tell.send(task(log))))?;
        told.recv().map_err(|_| CleanError::Stopped)
    }
}

/// The segment that is being made.
struct Output {
    file: Arc<LogFile>,
    index: SegmentIndex,
    /// Batches that are not yet written.
    buffer: Vec<u8>,
    /// Bytes of all of them.
    size: u32,
}

impl Output {
    fn push(&mut self, batch: &Batch) -> Result<(), CleanError> {
        let bytes = batch.bytes();
        if self.size as usize + bytes.len() > SEGMENT_BYTES_MAX {
            // Stamps can make batches a little longer.
            return Err(CleanError::Damaged {
                path: self.file.path().to_owned(),
                position: self.size.into(),
                why: "what is left of its segments is larger than a segment can be; lower `segment.bytes`"
                    .into(),
            });
        }
        self.index.add(self.size, batch.header());
        self.buffer.extend_from_slice(bytes);
        self.size += bytes.len() as u32;
        Ok(())
    }

    /// Writes what is gathered; says how many bytes that were.
    fn write(&mut self) -> Result<u64, LogError> {
        let bytes = self.buffer.len() as u64;
        let position = u64::from(self.size) - bytes;
        self.file.write_all_at(&mut [IoSlice::new(&self.buffer)], position)?;
        self.buffer.clear();
        Ok(bytes)
    }
}

/// The batches of a segment, read in chunks, each checked against its CRC.
struct Batches {
    file: Arc<LogFile>,
    /// Where the next batch begins.
    position: u32,
    end: u32,
    /// The least offset that it may begin with.
    next_offset: i64,
    /// Bytes from `position` on.
    chunk: Bytes,
    chunk_bytes: usize,
}

impl Batches {
    fn next(&mut self) -> Result<Option<Batch>, CleanError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let header = match BatchHeader::parse(&self.chunk) {
            Ok(header) if header.total_bytes() <= self.chunk.len() => header,
            _ => {
                self.fill(BATCH_HEADER_BYTES)?;
                let header = BatchHeader::parse(&self.chunk).map_err(|error| self.damage(error))?;
                if header.total_bytes() > self.chunk.len() {
                    self.fill(header.total_bytes())?;
                }
                header
            }
        };
        let batch = Batch::split_from(&mut self.chunk).map_err(|error| self.damage(error))?;
        let batch = batch.ok_or_else(|| self.damage("the segment ends within a batch"))?;
        batch.check_crc().map_err(|error| self.damage(error))?;
        if header.base_offset < self.next_offset || header.last_offset_delta < 0 {
            let why = format!("offset {} comes after {}", header.base_offset, self.next_offset);
            return Err(self.damage(why));
        }
        self.next_offset = header.next_offset();
        self.position += header.total_bytes() as u32;
        Ok(Some(batch))
    }

    /// Reads at least `bytes` from the next batch on, unless the segment ends before.
    fn fill(&mut self, bytes: usize) -> Result<(), CleanError> {
        let len = bytes.max(self.chunk_bytes).min((self.end - self.position) as usize);
        let mut chunk = Vec::with_capacity(len);
        self.file.read_up_to(self.position.into(), len, &mut chunk)?;
        self.chunk = chunk.into();
        Ok(())
    }

    fn damage(&self, why: impl fmt::Display) -> CleanError {
        self.damage_at(self.position, why)
    }

    /// The batch that was given last cannot be understood.
    fn damaged(&self, batch: &Batch, why: impl fmt::Display) -> CleanError {
        self.damage_at(self.position.saturating_sub(batch.bytes().len() as u32), why)
    }

    fn damage_at(&self, position: u32, why: impl fmt::Display) -> CleanError {
        CleanError::Damaged {
            path: self.file.path().to_owned(),
            position: position.into(),
            why: why.to_string(),
        }
    }
}

impl From<LogError> for CleanError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl fmt::Display for CleanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { path, position, why } => {
                write!(f, "`{}` is damaged at byte {position}: {why}", path.display())
            }
            Self::Log(error) => write!(f, "{error}"),
            Self::Stale => write!(f, "segments were deleted or cut while they were cleaned"),
            Self::Stopped => write!(f, "the cleaner was stopped, or the log is gone"),
        }
    }
}

impl std::error::Error for CleanError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Log(error) => Some(error),
            Self::Damaged { .. } | Self::Stale | Self::Stopped => None,
        }
    }
}
