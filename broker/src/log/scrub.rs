//! Reads segments that are long written, to find rot before a consumer, or the next start, does.

use super::{
    error::LogError,
    read::LogReader,
    scan::{Scan, WALK_WINDOW_BYTES},
    segment::SealedSegment,
};

/// What lies in a sealed segment.
#[derive(Debug)]
pub(crate) enum Scrubbed {
    /// Batches whose checksums are right.
    Sound,
    /// Nothing any more: retention or the cleaner has taken the segment meanwhile.
    Gone,
    /// Something else than what was written, or nothing that can be read.
    Damaged(LogError),
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
        let mut walk = || {
            let file = segment.open(self.disk(), self.directory())?;
            let mut scan = Scan::new(&file, segment.base_offset, 0, segment.size, WALK_WINDOW_BYTES);
            while let Some(found) = scan.next_sound()? {
                if let Err(stop) = read(u64::from(found.end() - found.position)) {
                    return Ok(Err(stop));
                }
            }
            Ok(Ok(()))
        };
        match walk() {
            Ok(whole) => whole.map(|()| Scrubbed::Sound),
            Err(_) if !self.segments.load().holds(segment) => Ok(Scrubbed::Gone),
            Err(error) => Ok(Scrubbed::Damaged(error)),
        }
    }
}
