//! Reads segments that are long written, to find rot before a consumer, or the next start, does.

use std::path::PathBuf;

use super::{
    error::LogError,
    read::LogReader,
    scan::{Found, Scan, ScanError, WALK_WINDOW_BYTES},
    segment::{FileKind, SealedSegment},
};

/// What lies in a sealed segment.
#[derive(Debug)]
pub(crate) enum Scrubbed {
    /// Batches whose checksums are right.
    Sound,
    /// Nothing any more: retention or the cleaner has taken the segment meanwhile.
    Gone,
    /// Something else than what was written.
    Damaged(Damage),
    /// It cannot be read.
    Unreadable(LogError),
}

/// Where a segment is damaged.
#[derive(Debug)]
pub(crate) struct Damage {
    /// The segment's file.
    pub(crate) path: PathBuf,
    /// Byte of the first batch that is not sound.
    pub(crate) position: u32,
    /// No offset before this one is affected.
    pub(crate) offset: i64,
    /// What is wrong with it.
    pub(crate) why: String,
}

impl LogReader {
    /// The first sealed segment whose base is `offset` or a later one.
    pub(crate) fn sealed_from(&self, offset: i64) -> Option<SealedSegment> {
        let segments = self.segments.load();
        let place = segments.sealed.partition_point(|segment| segment.base_offset < offset);
        segments.sealed.get(place).cloned()
    }

    /// Reads a sealed segment and checks each batch against its CRC. Tells `read` how many bytes it has read since it last
    /// did; an error of it ends the work.
    pub(crate) fn scrub<E>(
        &self,
        segment: &SealedSegment,
        mut read: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<Scrubbed, E> {
        let path = FileKind::Log.path(self.directory(), segment.base_offset);
        let walked = match segment.open(self.disk(), self.directory()) {
            Ok(file) => {
                let mut scan = Scan::new(&file, segment.base_offset, 0, segment.size, WALK_WINDOW_BYTES);
                loop {
                    let (position, offset) = (scan.position(), scan.next_offset());
                    match check_next(&mut scan) {
                        Ok(Some(found)) => read(u64::from(found.end() - found.position))?,
                        Ok(None) => break Ok(()),
                        Err(error) => break Err((error, position, offset)),
                    }
                }
            }
            Err(error) => Err((ScanError::Io(error), 0, segment.base_offset)),
        };
        let Err((error, position, offset)) = walked else { return Ok(Scrubbed::Sound) };
        if !self.segments.load().holds(segment) {
            return Ok(Scrubbed::Gone);
        }
        Ok(match error {
            ScanError::Io(error) => Scrubbed::Unreadable(error),
            ScanError::Damaged(why) => Scrubbed::Damaged(Damage { path, position, offset, why }),
        })
    }
}

/// The next batch, if it is sound.
fn check_next(scan: &mut Scan<'_>) -> Result<Option<Found>, ScanError> {
    let found = scan.next()?;
    if let Some(found) = &found {
        scan.check_crc(found)?;
    }
    Ok(found)
}
