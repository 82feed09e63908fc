//! Opening a log: what a stop, clean or not, left on disk.
//!
//! A crash tears off the *end* of a log: a batch that was half written, or pages that the disk did not get to. That
//! is cut, with whatever lies behind it, and nothing that was flushed goes with it. Other damage is rot (`damage`
//! tells them apart): cutting there, as Kafka does, would throw away records that were acknowledged. It is an error,
//! and the files stay as they are (protocol-aware recovery).
//!
//! What is cut is cut on the medium, too, before anything is written in its place: or else a second crash might mix
//! what was with what came after.
//!
//! What is known of producers is the newest snapshot, and the batches behind it. Index files are believed where
//! they were flushed, and made anew from the batches elsewhere. Of a segment that was flushed in part, they are believed as
//! far as that part goes ([`Vouched`]), and only what lies behind is walked.

use std::{
    io::IoSlice,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use ottla_protocol::record::BatchHeader;

use super::{
    LogConfig,
    cleaner::finish_swaps,
    damage::Damage,
    error::{LogError, LogErrorKind},
    leader_epochs::{LEADER_EPOCH_CHECKPOINT, LeaderEpoch, LeaderEpochs},
    offset_index::OffsetIndex,
    producer_state::ProducerState,
    read::IN_DOUBT,
    scan::{Found, SEEK_WINDOW_BYTES, Scan, ScanError, WALK_WINDOW_BYTES},
    segment::{self, ActiveSegment, FileKind, SealedSegment, SegmentIndex, Segments},
    time_index::TimeIndex,
    vfs::{Disk, LogFile},
};

/// What a data directory knew of a log when the broker started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Checkpointed {
    /// Whether the broker was stopped in order, with all logs closed.
    pub clean: bool,
    /// Everything before this offset had been flushed: `recovery-point-offset-checkpoint`.
    pub recovery_point: i64,
    /// Nothing before this offset is to be read: `log-start-offset-checkpoint`.
    pub log_start_offset: i64,
}

/// What opening a log did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Recovered {
    /// Where the log ends.
    pub end_offset: i64,
    /// Bytes of a torn end that were cut.
    pub torn_bytes: u64,
    /// Bytes whose checksums were verified.
    pub checked_bytes: u64,
    /// Bytes of segments with something not flushed in them that were not looked at: index files vouch for them.
    pub skipped_bytes: u64,
    /// Sealed segments whose index files were made anew.
    pub indexes_rebuilt: usize,
    /// Offsets that had been flushed and are not there: the disk, or someone, took whole batches off the end.
    pub missing_offsets: i64,
}

/// What a log is made of.
pub(super) struct Parts {
    pub(super) segments: Segments,
    pub(super) epochs: LeaderEpochs,
    pub(super) producers: ProducerState,
    /// Whether all files are there and as a clean stop left them.
    pub(super) closed: bool,
    /// The first offset that the segments hold.
    pub(super) first_offset: i64,
    /// Bytes of the active segment that its index files tell of.
    pub(super) position_saved: u32,
    /// Files that were written, and not yet flushed.
    pub(super) written: Vec<PathBuf>,
    pub(super) recovered: Recovered,
}

/// Finds out what is in `directory`, and mends what a crash may have left.
pub(super) fn recover(
    disk: &Disk,
    directory: &Path,
    config: &LogConfig,
    checkpointed: &Checkpointed,
    now_ms: i64,
) -> Result<Parts, LogError> {
    let mut recovery = Recovery {
        disk,
        directory,
        config,
        checkpointed,
        recovered: Recovered::default(),
        written: Vec::new(),
        closed: checkpointed.clean,
        in_doubt: disk.read_file(&directory.join(IN_DOUBT))?.is_some(),
        removed: false,
        walked_from: i64::MAX,
        epochs_seen: Vec::new(),
        position_saved: 0,
    };
    let segments = recovery.segments()?;
    if recovery.in_doubt {
        // An earlier process may have cut it, and not flushed that.
        segments.active.file.sync()?;
        disk.sync_directory(directory)?;
    }
    disk.remove_file(&directory.join(IN_DOUBT))?;
    let end_offset = segments.active.tail().end_offset;
    let epochs = recovery.epochs(&segments, end_offset)?;
    let (snapshot, producers) = producers(disk, directory, &segments, end_offset, now_ms)?;
    recovery.recovered.end_offset = end_offset;
    recovery.recovered.missing_offsets = checkpointed.recovery_point.saturating_sub(end_offset).max(0);
    let first_offset = segments.sealed.first().map_or(segments.active.base_offset, |s| s.base_offset);
    let Recovery { recovered, mut written, closed, position_saved, .. } = recovery;
    let closed = closed && snapshot == Some(end_offset);
    if !closed {
        written.extend(snapshot.map(|offset| FileKind::Snapshot.path(directory, offset)));
    }
    Ok(Parts { segments, epochs, producers, closed, first_offset, position_saved, written, recovered })
}

/// A segment up to some point.
pub(super) struct Indexed {
    pub(super) index: SegmentIndex,
    /// Bytes of the batches.
    pub(super) size: u32,
    /// The offset behind the last of them.
    pub(super) next_offset: i64,
}

/// Indexes the batches of a segment that end before `offset`.
pub(super) fn index_until(
    file: &LogFile,
    base_offset: i64,
    size: u32,
    offset: i64,
    config: &LogConfig,
) -> Result<Indexed, LogError> {
    let mut index = SegmentIndex::new(base_offset, config);
    let mut scan = Scan::new(file, base_offset, 0, size, WALK_WINDOW_BYTES);
    loop {
        let (size, next_offset) = (scan.position(), scan.next_offset());
        match scan.next() {
            Ok(Some(found)) if found.header.last_offset() < offset => {
                index.add(found.position, &found.header)
            }
            Ok(_) => return Ok(Indexed { index, size, next_offset }),
            Err(error) => return Err(damaged(file, &scan, error)),
        }
    }
}

/// What is known of producers at `end_offset`: the newest snapshot that can be read, whose offset comes with it, and
/// the batches behind it. Snapshots that lie beyond the end, or that no segment begins with, are removed.
pub(super) fn producers(
    disk: &Disk,
    directory: &Path,
    segments: &Segments,
    end_offset: i64,
    now_ms: i64,
) -> Result<(Option<i64>, ProducerState), LogError> {
    let mut snapshots: Vec<i64> = disk
        .list(directory)?
        .iter()
        .filter_map(|(name, _)| FileKind::parse(name))
        .filter_map(|(kind, offset)| (kind == FileKind::Snapshot).then_some(offset))
        .collect();
    snapshots.sort_unstable();
    let mut state = None;
    for &offset in snapshots.iter().rev() {
        let path = FileKind::Snapshot.path(directory, offset);
        let begins_segment = offset == segments.active.base_offset
            || segments.sealed.binary_search_by_key(&offset, |s| s.base_offset).is_ok();
        let keep = match &state {
            Some(_) => begins_segment,
            None if offset > end_offset => false,
            None => match ProducerState::read_snapshot(disk, &path, now_ms) {
                Ok(read) => {
                    state = read.map(|state| (offset, state));
                    true
                }
                Err(error) if matches!(error.kind(), LogErrorKind::Malformed { .. }) => {
                    tracing::warn!(%error, "a producer snapshot is passed over for an older one");
                    false
                }
                Err(error) => return Err(error),
            },
        };
        if !keep {
            disk.remove_file(&path)?;
        }
    }
    if snapshots.last().is_some_and(|last| *last > end_offset) {
        // It must not come back once the log has grown beyond it: it tells of records that were cut.
        disk.sync_directory(directory)?;
    }
    let snapshot = state.as_ref().map(|(offset, _)| *offset);
    let (from, mut state) = state.unwrap_or_default();
    if from < end_offset {
        each_header(disk, directory, segments, from..i64::MAX, |header| state.replay(header, now_ms))?;
    }
    Ok((snapshot, state))
}

/// Gives every batch of `offsets`, from the one that holds the first to the last one that begins there.
fn each_header(
    disk: &Disk,
    directory: &Path,
    segments: &Segments,
    offsets: Range<i64>,
    mut each: impl FnMut(&BatchHeader),
) -> Result<(), LogError> {
    let from = offsets.start;
    for place in segments.position_of(from)..=segments.position_of(offsets.end) {
        let (file, base_offset, position, size) = match segments.sealed.get(place) {
            Some(sealed) => {
                let position = sealed.lookup(disk, directory, from);
                (sealed.open(disk, directory)?, sealed.base_offset, position, sealed.size)
            }
            None => {
                let (active, tail) = (&segments.active, segments.active.tail());
                let position = tail.index.offsets.lookup(tail.index.relative(from));
                (Arc::clone(&active.file), active.base_offset, position, tail.size)
            }
        };
        let mut scan = Scan::new(&file, base_offset, position, size, WALK_WINDOW_BYTES);
        while let Some(found) = scan.next().map_err(|e| damaged(&file, &scan, e))? {
            if found.header.base_offset >= offsets.end {
                break;
            }
            if found.header.last_offset() >= from {
                each(&found.header);
            }
        }
    }
    Ok(())
}

struct Recovery<'a> {
    disk: &'a Disk,
    directory: &'a Path,
    config: &'a LogConfig,
    checkpointed: &'a Checkpointed,
    recovered: Recovered,
    written: Vec<PathBuf>,
    /// Whether nothing had to be mended in the segments.
    closed: bool,
    /// Whether an earlier process could not flush, or was killed before it did: pages that look clean may not be on the
    /// medium, and what is not seen any more may be.
    in_doubt: bool,
    /// Whether names were removed that must not come back.
    removed: bool,
    /// Where the first of the last segments begins that were all walked.
    walked_from: i64,
    /// Where the leader's epoch changes, from there on.
    epochs_seen: Vec<LeaderEpoch>,
    /// Bytes of the last segment that its index files tell of.
    position_saved: u32,
}

/// What became of a segment that others follow.
enum Sealed {
    Whole(SealedSegment),
    /// It is torn, and what follows goes.
    Torn(Walk),
}

/// The flushed beginning of a segment, as its index files tell of it.
///
/// They may have been written at any time ([`Log::save_position`](super::Log::save_position), a clean stop, a roll), and
/// be from different times: what either says of batches that were flushed then or later stays true, because a segment only
/// grows, and a cut takes its index files away before anything is written in its place.
struct Vouched {
    /// Up to and with the last batch that was flushed and brought a later time than all before it.
    index: SegmentIndex,
    /// Where the last indexed batch at or before that one begins, and its first offset: here the walk begins.
    position: u32,
    offset: i64,
}

/// What a walk over a segment found.
struct Walk {
    base_offset: i64,
    index: SegmentIndex,
    /// Bytes of the sound batches that it begins with.
    size: u32,
    next_offset: i64,
    /// What is wrong behind them, if they are not all.
    damage: Option<String>,
}

impl Recovery<'_> {
    fn segments(&mut self) -> Result<Segments, LogError> {
        if finish_swaps(self.disk, self.directory)? {
            self.closed = false;
        }
        let mut bases = Vec::new();
        for (name, is_directory) in self.disk.list(self.directory)? {
            match FileKind::parse(&name) {
                Some((FileKind::Log, offset)) => bases.push(offset),
                None if name.ends_with(".tmp") && !is_directory => {
                    self.disk.remove_file(&self.directory.join(name))?;
                }
                _ => {}
            }
        }
        bases.sort_unstable();
        let mut files = Vec::with_capacity(bases.len());
        for &base in &bases {
            files.push((base, self.size_of(base)?));
        }
        // The last first. None goes before all is known not to be rot.
        let mut doomed = Vec::new();
        // A crash may leave segments that were begun, and of which nothing whole was written. They go, so that the
        // end of the records lies in the last segment.
        while let [.., _, (base, size)] = files.as_slice()
            && self.is_torn_off(*base, *size)?
        {
            doomed.push((*base, *size));
            files.pop();
        }
        let mut sealed = Vec::with_capacity(files.len());
        let mut active = None;
        for (place, pair) in files.windows(2).enumerate() {
            if let &[(base, size), (next, _)] = pair {
                let behind = files.get(place + 1..).unwrap_or_default();
                match self.sealed(base, size, next, behind.iter().any(|(_, size)| *size > 0))? {
                    Sealed::Whole(segment) => sealed.push(segment),
                    Sealed::Torn(walk) => {
                        doomed.extend(behind.iter().rev());
                        let file = self.disk.open_rw(FileKind::Log.path(self.directory, base))?;
                        active = Some(self.cut(file, size, walk)?);
                        break;
                    }
                }
            }
        }
        let active = match (active, files.last()) {
            (Some(active), _) => active,
            (None, Some(&(base, size))) => self.active(base, size)?,
            (None, None) => self.first_segment()?,
        };
        for (base, size) in doomed {
            self.remove(base, size)?;
        }
        if self.removed {
            // They must not come back beside what is appended from now on.
            self.disk.sync_directory(self.directory)?;
        }
        Ok(Segments { sealed, active: Arc::new(active) })
    }

    /// Before anything is cut: should this process be killed in the middle, the next one flushes the cut.
    fn mark(&mut self) -> Result<(), LogError> {
        if !std::mem::replace(&mut self.removed, true) {
            self.disk.write_file(&self.directory.join(IN_DOUBT), b"")?;
        }
        Ok(())
    }

    /// Removes a segment of which nothing is kept.
    fn remove(&mut self, base_offset: i64, size: u32) -> Result<(), LogError> {
        self.mark()?;
        self.recovered.torn_bytes += u64::from(size);
        segment::remove(self.disk, self.directory, base_offset)
    }

    /// Cuts off what was torn; the segment is the last one then.
    fn cut(&mut self, file: LogFile, size: u32, walk: Walk) -> Result<ActiveSegment, LogError> {
        self.mark()?;
        self.recovered.torn_bytes += u64::from(size - walk.size);
        segment::remove_indexes(self.disk, self.directory, walk.base_offset)?;
        self.position_saved = 0;
        file.truncate(walk.size.into())?;
        file.sync()?;
        Ok(ActiveSegment::new(Arc::new(file), walk.index, walk.size, walk.next_offset))
    }

    fn size_of(&self, base_offset: i64) -> Result<u32, LogError> {
        let path = FileKind::Log.path(self.directory, base_offset);
        let size = self.disk.open(&path)?.len()?;
        u32::try_from(size).ok().filter(|&size| size <= i32::MAX as u32).ok_or_else(|| {
            LogError::malformed(&path, format!("it has {size} bytes, more than a segment can have"))
        })
    }

    /// Whether a segment that had not been flushed holds no sound batch at all.
    fn is_torn_off(&self, base_offset: i64, size: u32) -> Result<bool, LogError> {
        if self.checkpointed.clean || base_offset < self.checkpointed.recovery_point {
            return Ok(false);
        }
        let file = self.disk.open(FileKind::Log.path(self.directory, base_offset))?;
        let mut scan = Scan::new(&file, base_offset, 0, size, WALK_WINDOW_BYTES);
        let first = match scan.next() {
            Ok(Some(found)) => scan.check_crc(&found),
            Ok(None) => return Ok(true),
            Err(error) => Err(error),
        };
        match first {
            Ok(()) => Ok(false),
            Err(ScanError::Damaged(_)) => {
                Ok(!Damage { file: &file, size, position: 0, offset: base_offset }.sound_batch_follows()?)
            }
            Err(ScanError::Io(error)) => Err(error),
        }
    }

    fn first_segment(&mut self) -> Result<ActiveSegment, LogError> {
        let base_offset = self.checkpointed.log_start_offset.max(0);
        let file = self.disk.create(FileKind::Log.path(self.directory, base_offset))?;
        self.written.push(file.path().to_owned());
        let index = SegmentIndex::new(base_offset, self.config);
        Ok(ActiveSegment::new(Arc::new(file), index, 0, base_offset))
    }

    /// A segment that others follow, with something in them or not.
    fn sealed(
        &mut self,
        base_offset: i64,
        size: u32,
        next_base: i64,
        others_follow: bool,
    ) -> Result<Sealed, LogError> {
        if self.checkpointed.clean || next_base < self.checkpointed.recovery_point {
            // Flushed, and its indexes with it. A flush that ended just where the segment does may have begun before it
            // was sealed, and index files of an earlier stop may lie there.
            let offsets =
                OffsetIndex::read(self.disk, &FileKind::OffsetIndex.path(self.directory, base_offset), size);
            let times = TimeIndex::read(self.disk, &FileKind::TimeIndex.path(self.directory, base_offset));
            if let (Ok(Some(offsets)), Ok(Some(times))) = (offsets, times) {
                let latest = times.last().unwrap_or(SegmentIndex::new(base_offset, self.config).latest);
                let segment = SealedSegment::new(base_offset, size, latest);
                let file = segment.open(self.disk, self.directory)?;
                if self.agree(&file, (base_offset, size), &offsets, &times)? {
                    self.not_walked();
                    return Ok(Sealed::Whole(segment));
                }
            }
        }
        let file = self.disk.open(FileKind::Log.path(self.directory, base_offset))?;
        let walk = self.walk(&file, base_offset, size)?;
        let why = match &walk.damage {
            Some(why) => Some(why.clone()),
            None if walk.next_offset != next_base => Some(format!(
                "it ends before offset {}, and the next segment begins at {next_base}",
                walk.next_offset
            )),
            None => None,
        };
        if let Some(why) = why {
            self.check_torn(&file, size, &walk, others_follow, why)?;
            return Ok(Sealed::Torn(walk));
        }
        if self.checkpointed.clean || next_base < self.checkpointed.recovery_point {
            // The next start believes them, flushed or not.
            walk.index.write_durably(self.disk, self.directory)?;
        } else {
            self.written.extend(walk.index.write(self.disk, self.directory)?);
        }
        self.recovered.indexes_rebuilt += 1;
        Ok(Sealed::Whole(SealedSegment::new(base_offset, size, walk.index.latest)))
    }

    /// Whether a time index ends with a batch that is there, or is empty in a segment without timestamps. It has no
    /// checksum, and its last entry is taken for the latest time of all.
    fn agree(
        &self,
        file: &LogFile,
        segment: (i64, u32),
        offsets: &OffsetIndex,
        times: &TimeIndex,
    ) -> Result<bool, LogError> {
        let (base_offset, size) = segment;
        let position = times.last().map_or(0, |last| offsets.lookup(last.relative_offset));
        let mut scan = Scan::new(file, base_offset, position, size, SEEK_WINDOW_BYTES);
        let found = match times.last() {
            Some(last) => scan.seek(base_offset + i64::from(last.relative_offset)),
            None => loop {
                match scan.next() {
                    // Compaction emptied it, and what time it has is of no record.
                    Ok(Some(found)) if found.header.record_count == 0 => {}
                    other => break other,
                }
            },
        };
        match (found, times.last()) {
            (Ok(Some(found)), Some(last)) => Ok(found.header.max_timestamp == last.timestamp
                && found.header.last_offset() == base_offset + i64::from(last.relative_offset)),
            (Ok(Some(found)), None) => Ok(found.header.max_timestamp < 0),
            (Ok(None), last) => Ok(last.is_none()),
            (Err(ScanError::Damaged(_)), _) => Ok(false),
            (Err(ScanError::Io(error)), _) => Err(error),
        }
    }

    /// That the end of a walk is where a crash tore off the log. It is rot if it lies before the recovery point, or
    /// if no crash leaves such damage.
    fn check_torn(
        &self,
        file: &LogFile,
        size: u32,
        walk: &Walk,
        others_follow: bool,
        why: String,
    ) -> Result<(), LogError> {
        let damage = Damage { file, size, position: walk.size, offset: walk.next_offset };
        let flushed = walk.next_offset < self.checkpointed.recovery_point;
        // A file that is whole batches, and too short, lost its length.
        if !flushed && ((walk.damage.is_none() && others_follow) || damage.is_torn(others_follow)?) {
            return Ok(());
        }
        Err(rot(file, walk.size, walk.next_offset, why))
    }

    /// The last segment.
    fn active(&mut self, base_offset: i64, size: u32) -> Result<ActiveSegment, LogError> {
        let file = self.disk.open_rw(FileKind::Log.path(self.directory, base_offset))?;
        if self.checkpointed.clean
            && let Some(active) = self.closed(&file, base_offset, size)?
        {
            return Ok(ActiveSegment::new(Arc::new(file), active.index, active.size, active.next_offset));
        }
        let walk = self.walk(&file, base_offset, size)?;
        if let Some(why) = &walk.damage {
            self.check_torn(&file, size, &walk, false, why.clone())?;
            return self.cut(file, size, walk);
        }
        Ok(ActiveSegment::new(Arc::new(file), walk.index, walk.size, walk.next_offset))
    }

    /// The last segment as a clean stop left it: its index files are believed, and only what lies behind the last
    /// entry is walked. `None` if that does not come out even.
    fn closed(&mut self, file: &LogFile, base_offset: i64, size: u32) -> Result<Option<Walk>, LogError> {
        let offsets =
            OffsetIndex::read(self.disk, &FileKind::OffsetIndex.path(self.directory, base_offset), size);
        let times = TimeIndex::read(self.disk, &FileKind::TimeIndex.path(self.directory, base_offset));
        let (Ok(Some(offsets)), Ok(Some(times))) = (offsets, times) else { return Ok(None) };
        if !self.agree(file, (base_offset, size), &offsets, &times)? {
            return Ok(None);
        }
        let from = offsets.last_position();
        let mut index = SegmentIndex::from_files(offsets, times, base_offset, self.config);
        index.first_timestamp = match Scan::new(file, base_offset, 0, size, SEEK_WINDOW_BYTES).next() {
            Ok(first) => first.map(|found| found.header.max_timestamp),
            Err(_) => return Ok(None),
        };
        let mut scan = Scan::new(file, base_offset, from, size, WALK_WINDOW_BYTES);
        loop {
            match scan.next() {
                Ok(Some(found)) => index.add(found.position, &found.header),
                Ok(None) => break,
                Err(ScanError::Damaged(_)) => return Ok(None),
                Err(ScanError::Io(error)) => return Err(error),
            }
        }
        self.not_walked();
        self.position_saved = size;
        Ok(Some(Walk {
            base_offset,
            index,
            size: scan.position(),
            next_offset: scan.next_offset(),
            damage: None,
        }))
    }

    /// Walks over a segment, checks what had not been flushed, and indexes what is sound.
    fn walk(&mut self, file: &LogFile, base_offset: i64, size: u32) -> Result<Walk, LogError> {
        self.closed = false;
        // Nobody flushed it yet, or not all of it.
        self.written.push(file.path().to_owned());
        if self.in_doubt {
            write_again(self.disk, file.path(), size)?;
        }
        let vouched = self.vouched(file, base_offset, size)?;
        if vouched.is_some() {
            self.not_walked();
        }
        let begins = || Vouched {
            index: SegmentIndex::new(base_offset, self.config),
            position: 0,
            offset: base_offset,
        };
        let Vouched { mut index, position, offset } = vouched.unwrap_or_else(begins);
        self.walked_from = self.walked_from.min(offset);
        self.position_saved = position;
        self.recovered.skipped_bytes += u64::from(position);
        let mut scan = Scan::new(file, base_offset, position, size, WALK_WINDOW_BYTES);
        let (mut sound, mut next_offset) = (position, offset);
        let mut check = |scan: &mut Scan<'_>| -> Result<bool, ScanError> {
            let Some(found) = scan.next()? else { return Ok(false) };
            if found.header.base_offset >= self.checkpointed.recovery_point {
                scan.check_crc(&found)?;
                self.recovered.checked_bytes += found.header.total_bytes() as u64;
            }
            index.add(found.position, &found.header);
            let epoch = LeaderEpoch {
                epoch: found.header.partition_leader_epoch,
                start_offset: found.header.base_offset,
            };
            if self.epochs_seen.last().is_none_or(|last| last.epoch < epoch.epoch) {
                self.epochs_seen.push(epoch);
            }
            (sound, next_offset) = (found.end(), found.header.next_offset());
            Ok(true)
        };
        let damage = loop {
            match check(&mut scan) {
                Ok(true) => {}
                Ok(false) => break None,
                Err(ScanError::Damaged(why)) => break Some(why),
                Err(ScanError::Io(error)) => return Err(error),
            }
        };
        Ok(Walk { base_offset, index, size: sound, next_offset, damage })
    }

    /// How much of a segment need not be walked; `None` if nothing vouches for any of it.
    fn vouched(&self, file: &LogFile, base_offset: i64, size: u32) -> Result<Option<Vouched>, LogError> {
        let recovery_point = self.checkpointed.recovery_point;
        // Pages that are not on the medium may be flushed ones, too.
        if self.in_doubt || recovery_point <= base_offset {
            return Ok(None);
        }
        let offsets =
            OffsetIndex::read(self.disk, &FileKind::OffsetIndex.path(self.directory, base_offset), size);
        let times = TimeIndex::read(self.disk, &FileKind::TimeIndex.path(self.directory, base_offset));
        let (Ok(Some(mut offsets)), Ok(Some(mut times))) = (offsets, times) else { return Ok(None) };
        times.truncate(segment::relative(recovery_point, base_offset));
        let Some(latest) = times.last() else { return Ok(None) };
        offsets.truncate(latest.relative_offset);
        let Some((last_offset, position)) = offsets.last() else { return Ok(None) };
        let last_offset = base_offset + i64::from(last_offset);
        let latest_offset = base_offset + i64::from(latest.relative_offset);

        let mut scan = Scan::new(file, base_offset, position, size, SEEK_WINDOW_BYTES);
        let walked = scan.next().and_then(|first| {
            let Some(first) = first.filter(|first| first.header.last_offset() == last_offset) else {
                return Ok(None);
            };
            let found = if last_offset == latest_offset { Some(first) } else { scan.seek(latest_offset)? };
            let agrees = |found: Found| {
                found.header.last_offset() == latest_offset && found.header.max_timestamp == latest.timestamp
            };
            Ok(found.is_some_and(agrees).then_some(first.header.base_offset))
        });
        let begins = Scan::new(file, base_offset, 0, size, SEEK_WINDOW_BYTES).next();
        match (walked, begins) {
            (Ok(Some(offset)), Ok(Some(begins))) => {
                let mut index = SegmentIndex::from_files(offsets, times, base_offset, self.config);
                index.first_timestamp = Some(begins.header.max_timestamp);
                Ok(Some(Vouched { index, position, offset }))
            }
            (Err(ScanError::Io(error)), _) | (_, Err(ScanError::Io(error))) => Err(error),
            _ => Ok(None),
        }
    }

    /// The epochs as the file has them, with those of the batches that it may not have known.
    fn epochs(&mut self, segments: &Segments, end_offset: i64) -> Result<LeaderEpochs, LogError> {
        let path = self.directory.join(LEADER_EPOCH_CHECKPOINT);
        let read = LeaderEpochs::read(self.disk, &path).unwrap_or_else(|error| {
            tracing::warn!(%error, "leader epochs are taken from the records instead");
            None
        });
        // A crash may leave the file empty.
        let read = read.filter(|epochs| !epochs.is_empty());
        let (mut epochs, complete) = (read.clone().unwrap_or_default(), read.is_some());
        // Of what was not flushed the batches know more than the file, which may tell of others that were cut.
        epochs.truncate_from_end(end_offset.min(self.walked_from));
        for seen in &self.epochs_seen {
            if epochs.latest().is_none_or(|latest| latest.epoch < seen.epoch) {
                epochs.assign(seen.epoch, seen.start_offset);
            }
        }
        let epochs = self.with_forgotten(segments, epochs, end_offset)?;
        let mended = read.as_ref() != Some(&epochs) && (complete || !epochs.is_empty());
        if mended {
            self.disk.replace_file(&path, epochs.encode().as_bytes())?;
        }
        if mended || !self.closed {
            self.written.push(path);
        }
        Ok(epochs)
    }

    /// `epochs` with those of the batches before them. There are some if the file was lost; and if records were deleted
    /// and came back, because the log's start had not been checkpointed: the file has forgotten their epochs.
    fn with_forgotten(
        &self,
        segments: &Segments,
        epochs: LeaderEpochs,
        end_offset: i64,
    ) -> Result<LeaderEpochs, LogError> {
        let start = segments.first_offset().max(self.checkpointed.log_start_offset);
        let known = epochs.first().map_or(end_offset, |first| first.start_offset);
        if known <= start {
            return Ok(epochs);
        }
        let mut all = LeaderEpochs::default();
        each_header(self.disk, self.directory, segments, start..known, |header| {
            if all.latest().is_none_or(|latest| latest.epoch < header.partition_leader_epoch) {
                all.assign(header.partition_leader_epoch, header.base_offset);
            }
        })?;
        epochs.iter().for_each(|e| _ = all.assign(e.epoch, e.start_offset));
        Ok(all)
    }

    /// A segment was taken as its indexes have it: only those behind it may still be walked without a gap.
    fn not_walked(&mut self) {
        self.walked_from = i64::MAX;
        self.epochs_seen.clear();
    }
}

/// Writes a file's bytes over themselves, so that the system knows them for unflushed.
fn write_again(disk: &Disk, path: &Path, size: u32) -> Result<(), LogError> {
    let file = disk.open_rw(path)?;
    let mut window = Vec::new();
    for at in (0..size).step_by(WALK_WINDOW_BYTES) {
        window.clear();
        file.read_up_to(at.into(), WALK_WINDOW_BYTES.min((size - at) as usize), &mut window)?;
        file.write_all_at(&mut [IoSlice::new(&window)], at.into())?;
    }
    Ok(())
}

fn damaged(file: &LogFile, scan: &Scan<'_>, error: ScanError) -> LogError {
    match error {
        ScanError::Io(error) => error,
        ScanError::Damaged(why) => rot(file, scan.position(), scan.next_offset(), why),
    }
}

fn rot(file: &LogFile, position: u32, offset: i64, why: String) -> LogError {
    LogErrorKind::Rot { path: file.path().to_owned(), position: position.into(), offset, why }.into()
}
