//! What a power cut does to the end of a log, told from rot.
//!
//! A segment only grows, and a log never writes behind a cut that is not on the medium. So what a power cut took of
//! what was not flushed has one of two shapes: the file is shorter than it was, or some sectors were not written, and
//! from where the file had ended on they read as zeros. Sound batches may follow all the same: sectors, and files,
//! reach the medium in any order. Damage of any other shape was sound once.

use ottla_protocol::record::{BATCH_HEADER_BYTES, BatchHeader};

use super::{
    error::LogError,
    scan::{Scan, WALK_WINDOW_BYTES},
    vfs::LogFile,
};

/// What a disk writes whole, or not at all; larger sectors are multiples of it.
const SECTOR_BYTES: u32 = 512;

/// Bytes whose checksum is computed, at most, in search of a sound batch behind damage. Beyond, whatever is there
/// was made to look like batches, and a person must decide.
const SEARCH_CRC_BYTES_MAX: u64 = 1 << 30;

/// Damage in a segment.
pub(super) struct Damage<'a> {
    pub(super) file: &'a LogFile,
    /// Bytes of the segment.
    pub(super) size: u32,
    /// Where the sound batches end.
    pub(super) position: u32,
    /// The offset that is expected there.
    pub(super) offset: i64,
}

impl Damage<'_> {
    /// Whether a power cut explains it. `others_follow` says that more segments do, with something in them.
    pub(super) fn is_torn(&self, others_follow: bool) -> Result<bool, LogError> {
        if self.misses_sectors()? {
            return Ok(true);
        }
        let ends_here = !self.sound_batch_follows()?;
        Ok(ends_here && (!others_follow || self.runs_out()?))
    }

    /// Whether the batch at the damage goes on behind the end of the file, as far as its header is there.
    fn runs_out(&self) -> Result<bool, LogError> {
        let (header, bytes_left) = (self.header()?, self.size - self.position);
        Ok((bytes_left as usize) < BATCH_HEADER_BYTES
            || header.is_some_and(|header| header.total_bytes() > bytes_left as usize))
    }

    fn header(&self) -> Result<Option<BatchHeader>, LogError> {
        let mut bytes = Vec::new();
        self.file.read_up_to(self.position.into(), BATCH_HEADER_BYTES, &mut bytes)?;
        Ok(BatchHeader::parse(&bytes).ok())
    }

    /// Whether some sector of the batch at the damage reads as zeros, from the batch's beginning on. The few bytes of a
    /// file that end in a sector of their own may be zeros rightly: they are taken for lost, as a power cut is more
    /// likely than rot in just that batch.
    fn misses_sectors(&self) -> Result<bool, LogError> {
        let total = self.header()?.map_or(BATCH_HEADER_BYTES, |header| header.total_bytes());
        let end = u64::from(self.position) + total as u64;
        let mut sector = self.position / SECTOR_BYTES * SECTOR_BYTES;
        let mut bytes = Vec::new();
        while sector < self.size && u64::from(sector) < end {
            let from = sector.max(self.position);
            let to = sector.saturating_add(SECTOR_BYTES).min(self.size);
            bytes.clear();
            self.file.read_up_to(from.into(), (to - from) as usize, &mut bytes)?;
            // A batch begins with its offset, whose first bytes may well be zeros.
            let zeros_expected = from == self.position
                && self.offset.to_be_bytes().starts_with(bytes.get(..8).unwrap_or(&bytes));
            if bytes.iter().all(|byte| *byte == 0) && !(zeros_expected && bytes.len() <= 8) {
                return Ok(true);
            }
            sector = to;
        }
        Ok(false)
    }

    /// Whether a whole batch lies somewhere behind the damage, with a checksum that is right and an offset that can
    /// be. A record may hold what looks like a batch: so it must also begin where the damaged one ends, or end where
    /// another begins, where the file ends, or where a power cut took what came next.
    pub(super) fn sound_batch_follows(&self) -> Result<bool, LogError> {
        let &Self { file, size, position, offset } = self;
        let damaged_end = self.header()?.map(|header| u64::from(position) + header.total_bytes() as u64);
        let plausible = |header: &BatchHeader, at: u32| {
            let ahead = header.base_offset.saturating_sub(offset);
            (1..=i64::from(i32::MAX)).contains(&ahead)
                && header.last_offset_delta >= 0
                && header.record_count >= 0
                && header.total_bytes() <= (size - at) as usize
        };
        let mut crc_bytes = 0;
        let mut at = position.saturating_add(1);
        let mut window = Vec::new();
        while at < size {
            window.clear();
            file.read_up_to(at.into(), WALK_WINDOW_BYTES, &mut window)?;
            let starts = window.len().saturating_sub(BATCH_HEADER_BYTES - 1);
            for start in 0..starts {
                let bytes = window.get(start..).unwrap_or_default();
                let Ok(header) = BatchHeader::parse(bytes) else { continue };
                let candidate = at + start as u32;
                if !plausible(&header, candidate) {
                    continue;
                }
                crc_bytes += header.total_bytes() as u64;
                if crc_bytes > SEARCH_CRC_BYTES_MAX {
                    return Ok(true);
                }
                let mut scan = Scan::new(file, offset, candidate, size, WALK_WINDOW_BYTES);
                let Ok(Some(found)) = scan.next() else { continue };
                if scan.check_crc(&found).is_err() {
                    continue;
                }
                let behind = Self { position: found.end(), offset: found.header.next_offset(), ..*self };
                if damaged_end == Some(candidate.into())
                    || matches!(scan.next(), Ok(Some(_) | None))
                    || ((size - found.end()) as usize) < BATCH_HEADER_BYTES
                    || behind.misses_sectors()?
                {
                    return Ok(true);
                }
            }
            if starts == 0 {
                break;
            }
            at += starts as u32;
        }
        Ok(false)
    }
}
