//! A cleaned segment takes the place of those that it was made of. The steps are Kafka's (`LocalLog.replaceSegments`):
//!
//! | step | by | after a crash behind it |
//! |---|---|---|
//! | `.log.cleaned` and its indexes are written and flushed | cleaner | removed |
//! | indexes, then log: `.cleaned` → `.swap` ([`Log::begin_swap`]), directory flushed | owner | completed |
//! | the old files: → `.deleted` ([`Log::swap_in`]), directory flushed | owner | completed |
//! | indexes, then log: `.swap` → their names ([`Log::end_swap`]) | owner | done |
//!
//! From the second step on the log's records are those of the `.log.swap` file. Readers go over to it before any old file
//! loses its name, and read it through its open file until it has its own.
//!
//! Renames are the owner's, because nobody else may change what the log consists of; the flushes between them take long,
//! and are the cleaner's.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::log::{
    error::LogError,
    log::Log,
    scan::{Scan, WALK_WINDOW_BYTES},
    segment::{self, FileKind, SealedSegment, SegmentIndex, Segments, Unnamed},
    vfs::{Disk, LogFile},
};

/// The end of the name of a file that the cleaner writes.
pub(super) const CLEANED_SUFFIX: &str = ".cleaned";
/// The end of the name of a cleaned file that is to take its place.
const SWAP_SUFFIX: &str = ".swap";

/// In this order, so that a log file has a name only after its indexes.
const KINDS: [FileKind; 3] = [FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::Log];

/// A segment that was made of others, flushed, under the names of [`CLEANED_SUFFIX`].
#[derive(Debug)]
pub(crate) struct CleanedSegment {
    /// Where it begins: with the first of its sources.
    pub(super) base_offset: i64,
    pub(super) size: u32,
    pub(super) file: Arc<LogFile>,
    pub(super) index: SegmentIndex,
    /// What it was made of, in order and without a gap.
    pub(super) sources: Vec<SealedSegment>,
    /// How often the log had been cut when the round began: it knows of records that a later cut took.
    pub(super) cuts: u64,
}

/// An exchange of segments that was begun.
#[derive(Debug)]
pub(crate) struct Swap {
    base_offset: i64,
    /// The sources, and what takes their place.
    sources: Vec<SealedSegment>,
    segment: SealedSegment,
    /// Whether readers have gone over.
    is_in: bool,
}

/// The log is not any more what the cleaner saw: segments were deleted or cut meanwhile, or it has failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stale;

impl Log {
    /// Begins to exchange segments, if all sources are there as they were. On an error nothing has begun.
    pub(crate) fn begin_swap(&mut self, cleaned: CleanedSegment) -> Result<Result<(), Stale>, LogError> {
        let CleanedSegment { base_offset, size, file, index, sources, cuts } = cleaned;
        let segments = self.reader().segments.load();
        let as_it_was = cuts == self.cuts && sources.iter().all(|s| segments.holds(s));
        if self.swap.is_some() || self.reader().has_failed() || !as_it_was {
            remove_all(&self.disk, self.directory(), base_offset, CLEANED_SUFFIX)?;
            return Ok(Err(Stale));
        }
        for kind in KINDS {
            rename(&self.disk, self.directory(), kind, base_offset, CLEANED_SUFFIX, SWAP_SUFFIX)?;
        }
        self.cleanings += 1;
        let sealed = SealedSegment::new(base_offset, size, index.latest);
        let unnamed = Some(Arc::new(Unnamed { file, index }));
        let segment = SealedSegment { generation: self.cleanings, unnamed, ..sealed };
        self.swap = Some(Swap { base_offset, sources, segment, is_in: false });
        Ok(Ok(()))
    }

    /// Readers go over to the new segment, and the old files lose their names. The directory must have been flushed since
    /// [`Log::begin_swap`]. If the disk fails the log is closed to writes, and the next start completes the exchange.
    pub(crate) fn swap_in(&mut self, now_ms: i64) -> Result<Result<(), Stale>, LogError> {
        let Some(swap) = &mut self.swap else { return Ok(Err(Stale)) };
        swap.is_in = true;
        let bases: Vec<i64> = swap.sources.iter().map(|source| source.base_offset).collect();
        let segment = swap.segment.clone();
        self.publish(segment, &bases);
        let followers = bases.get(1..).unwrap_or_default();
        let aside = bases
            .iter()
            .try_for_each(|base_offset| self.set_aside(*base_offset, now_ms))
            .and_then(|()| self.remove_snapshots(|offset| followers.contains(&offset)));
        aside.inspect_err(|_| self.reader().set_failed()).map(Ok)
    }

    /// The new files get their names. The directory must have been flushed since [`Log::swap_in`], and the same holds if
    /// the disk fails.
    pub(crate) fn end_swap(&mut self) -> Result<Result<(), Stale>, LogError> {
        let Some(Swap { base_offset, segment, is_in: true, .. }) = self.swap.take() else {
            return Ok(Err(Stale));
        };
        for kind in KINDS {
            rename(&self.disk, self.directory(), kind, base_offset, SWAP_SUFFIX, "")
                .inspect_err(|_| self.reader().set_failed())?;
        }
        self.publish(SealedSegment { unnamed: None, ..segment }, &[base_offset]);
        self.directory_changed();
        Ok(Ok(()))
    }

    /// Gives up an exchange that has begun, because the log is about to change. One that readers have gone over to is
    /// completed instead. Waits for the disk.
    pub(in crate::log) fn settle_swap(&mut self) -> Result<(), LogError> {
        match &self.swap {
            None => return Ok(()),
            Some(swap) if !swap.is_in => {
                let base_offset = swap.base_offset;
                self.swap = None;
                remove_all(&self.disk, self.directory(), base_offset, SWAP_SUFFIX)?;
            }
            Some(_) => {
                self.disk.sync_directory(self.directory())?;
                // It is in, so it is not stale.
                let _ = self.end_swap()?;
            }
        }
        self.disk.sync_directory(self.directory())
    }

    /// Puts `segment` in place of those that begin at `bases`, as far as they are still there.
    fn publish(&mut self, segment: SealedSegment, bases: &[i64]) {
        let reader = self.reader();
        let mut segments = Segments::clone(&reader.segments.load());
        let place = segments.sealed.partition_point(|s| s.base_offset < segment.base_offset);
        segments.sealed.retain(|s| !bases.contains(&s.base_offset));
        segments.sealed.insert(place, segment);
        reader.segments.store(Arc::new(segments));
    }
}

/// Removes a segment's files under names that end in `suffix`; the log file first, whose name is what counts.
pub(super) fn remove_all(
    disk: &Disk,
    directory: &Path,
    base_offset: i64,
    suffix: &str,
) -> Result<(), LogError> {
    KINDS.iter().rev().try_for_each(|kind| disk.remove_file(&kind.path_with(directory, base_offset, suffix)))
}

fn rename(
    disk: &Disk,
    directory: &Path,
    kind: FileKind,
    base_offset: i64,
    from: &str,
    to: &str,
) -> Result<(), LogError> {
    let from = kind.path_with(directory, base_offset, from);
    match disk.rename(&from, &kind.path_with(directory, base_offset, to)) {
        // An index may be missing; it is made anew.
        Err(error) if error.is_not_found() && kind != FileKind::Log => Ok(()),
        renamed => renamed,
    }
}

/// Does at start what a crash kept the owner from doing (`LogLoader`): removes `.cleaned` and `.deleted` files, and
/// completes exchanges that had begun. Says whether there were any.
pub(in crate::log) fn finish_swaps(disk: &Disk, directory: &Path) -> Result<bool, LogError> {
    let mut swaps = Vec::new();
    let mut orphans = Vec::new();
    for (name, is_directory) in disk.list(directory)? {
        let Some((stem, suffix)) = name.rsplit_once('.') else { continue };
        let parsed = FileKind::parse(stem).filter(|_| !is_directory);
        match (parsed, suffix) {
            (Some((FileKind::Log, offset)), "swap") => swaps.push(offset),
            (Some((_, offset)), "swap") => orphans.push((offset, directory.join(&name))),
            (Some(_), "cleaned" | "deleted") => disk.remove_file(&directory.join(&name))?,
            _ => {}
        }
    }
    for (_, path) in orphans.iter().filter(|(offset, _)| !swaps.contains(offset)) {
        disk.remove_file(path)?;
    }
    for &base_offset in &swaps {
        complete(disk, directory, base_offset)?;
        tracing::info!(directory = %directory.display(), base_offset, "an interrupted exchange of segments is completed");
    }
    Ok(!swaps.is_empty())
}

/// Removes what a `.log.swap` file was made of, and gives it its name. A crash in here does not matter: as long as the
/// `.log.swap` file is there, all of it is done again.
fn complete(disk: &Disk, directory: &Path, base_offset: i64) -> Result<(), LogError> {
    let path = FileKind::Log.path_with(directory, base_offset, SWAP_SUFFIX);
    let end_offset = end_of(disk, &path, base_offset)?;
    for (name, _) in disk.list(directory)? {
        if let Some((kind, offset)) = FileKind::parse(&name)
            && (base_offset..end_offset).contains(&offset)
        {
            match kind {
                FileKind::Log => segment::remove(disk, directory, offset)?,
                FileKind::Snapshot if offset > base_offset => disk.remove_file(&directory.join(&name))?,
                _ => {}
            }
        }
    }
    disk.sync_directory(directory)?;
    for kind in KINDS {
        rename(disk, directory, kind, base_offset, SWAP_SUFFIX, "")?;
    }
    disk.sync_directory(directory)
}

/// Where the segment in this file ends. It was flushed before it was called so. Whatever lies before its end is removed,
/// so every batch is checked: rot in the header of one could say an end far behind.
fn end_of(disk: &Disk, path: &PathBuf, base_offset: i64) -> Result<i64, LogError> {
    let file = disk.open(path)?;
    let size = u32::try_from(file.len()?)
        .map_err(|_| LogError::malformed(path, "it is larger than a segment can be"))?;
    let mut scan = Scan::new(&file, base_offset, 0, size, WALK_WINDOW_BYTES);
    while scan.next_sound()?.is_some() {}
    Ok(scan.next_offset())
}
