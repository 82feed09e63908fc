//! Walks the batches of a segment by their headers.

use ottla_protocol::record::{BATCH_HEADER_BYTES, BatchHeader};

use super::{
    error::{LogError, LogErrorKind},
    vfs::LogFile,
};

/// What a look-up reads at once: a few small batches' headers, or one.
pub(crate) const SEEK_WINDOW_BYTES: usize = 4 << 10;
/// What a walk over a whole segment reads at once.
pub(crate) const WALK_WINDOW_BYTES: usize = 256 << 10;

/// Where a batch's CRC is, and where what it counts begins.
const CRC_START: u64 = 21;

const _: () = assert!(SEEK_WINDOW_BYTES > BATCH_HEADER_BYTES);
const _: () = assert!(WALK_WINDOW_BYTES <= u32::MAX as usize);

/// A batch in a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Where it begins.
    pub(crate) position: u32,
    /// Its header, sound in form; the CRC is checked only on demand.
    pub(crate) header: BatchHeader,
}

impl Found {
    /// Where the next batch begins.
    pub(crate) fn end(&self) -> u32 {
        // The scan checked that the batch ends within the segment.
        self.position.saturating_add(self.header.total_bytes() as u32)
    }
}

/// Why a walk cannot go on.
#[derive(Debug)]
pub(crate) enum ScanError {
    /// Reading failed.
    Io(LogError),
    /// What lies at the scan's position is no whole, sound batch.
    Damaged(String),
}

impl From<LogError> for ScanError {
    fn from(error: LogError) -> Self {
        Self::Io(error)
    }
}

/// A walk over the batches of a segment, from one position to another, holding one window of it in memory.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    file: &'a LogFile,
    /// Where the next batch begins.
    position: u32,
    /// Where the segment ends, for this walk.
    end: u32,
    /// The least offset that the next batch may begin with.
    next_offset: i64,
    /// The segment's base: no offset may be more than 2^31 beyond it, or the indexes could not name it.
    base_offset: i64,
    window: Vec<u8>,
    window_at: u32,
    window_bytes: usize,
}

impl<'a> Scan<'a> {
    /// Walks from `position`, where a batch of the segment with this base offset begins, to `end`.
    pub(crate) fn new(
        file: &'a LogFile,
        base_offset: i64,
        position: u32,
        end: u32,
        window_bytes: usize,
    ) -> Self {
        Self {
            file,
            position,
            end,
            next_offset: base_offset,
            base_offset,
            window: Vec::new(),
            window_at: 0,
            window_bytes,
        }
    }

    /// Where the walk stands: behind the last batch that it gave.
    pub(crate) fn position(&self) -> u32 {
        self.position
    }

    /// The offset behind the last batch that it gave, or the segment's base.
    pub(crate) fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The next batch; `None` at the end. After an error the walk stands before what it could not read.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, ScanError> {
        let left = self.end.saturating_sub(self.position);
        if left == 0 {
            return Ok(None);
        }
        let position = self.position;
        let bytes = self.window_at(position, BATCH_HEADER_BYTES)?;
        let header = BatchHeader::parse(bytes).map_err(|e| ScanError::Damaged(e.to_string()))?;
        let total = header.total_bytes();
        if total > left as usize {
            return Err(ScanError::Damaged(format!("the batch takes {total} bytes, {left} are there")));
        }
        let offsets = header.base_offset..=header.last_offset();
        let last = *offsets.end();
        if header.base_offset < self.next_offset || header.last_offset_delta < 0 || offsets.is_empty() {
            return Err(ScanError::Damaged(format!(
                "the batch has offsets {} to {}, after {}",
                offsets.start(),
                offsets.end(),
                self.next_offset
            )));
        }
        if last == i64::MAX || last - self.base_offset > i64::from(i32::MAX) {
            return Err(ScanError::Damaged(format!("offset {last} is too far from the segment's base")));
        }
        let found = Found { position, header };
        self.position = found.end();
        self.next_offset = header.next_offset();
        Ok(Some(found))
    }

    /// The next batch, its CRC checked too; `None` at the end. One that is not sound is told as rot, at its own place.
    pub(crate) fn next_sound(&mut self) -> Result<Option<Found>, LogError> {
        let (position, offset) = (self.position, self.next_offset);
        let next = self.next().and_then(|found| {
            found.as_ref().map_or(Ok(()), |found| self.check_crc(found))?;
            Ok(found)
        });
        next.map_err(|error| match error {
            ScanError::Io(error) => error,
            ScanError::Damaged(why) => {
                let path = self.file.path().to_owned();
                LogErrorKind::Rot { path, position: position.into(), offset, why }.into()
            }
        })
    }

    /// The first batch that ends at `offset` or later; `None` if there is none. The walk stands behind it.
    pub(crate) fn seek(&mut self, offset: i64) -> Result<Option<Found>, ScanError> {
        while let Some(found) = self.next()? {
            if found.header.last_offset() >= offset {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Checks a batch against its CRC, however long it is, through the window.
    pub(crate) fn check_crc(&mut self, found: &Found) -> Result<(), ScanError> {
        let mut at = found.position.saturating_add(CRC_START as u32);
        let mut computed = 0;
        while at < found.end() {
            let left = (found.end() - at) as usize;
            let bytes = self.window_at(at, 1)?;
            let bytes = bytes.get(..left).unwrap_or(bytes);
            if bytes.is_empty() {
                return Err(ScanError::Damaged("the file ends within the batch".into()));
            }
            computed = crc32c::crc32c_append(computed, bytes);
            at += bytes.len() as u32;
        }
        let stated = found.header.crc;
        match computed == stated {
            true => Ok(()),
            false => {
                Err(ScanError::Damaged(format!("its CRC is `{computed:08x}`, but it states `{stated:08x}`")))
            }
        }
    }

    /// The bytes from `position` on: at least `len`, unless the walk's end comes first.
    fn window_at(&mut self, position: u32, len: usize) -> Result<&[u8], LogError> {
        let wanted = len.min(self.end.saturating_sub(position) as usize);
        let held = position.checked_sub(self.window_at).and_then(|skip| self.window.get(skip as usize..));
        if held.is_none_or(|held| held.len() < wanted || held.is_empty()) {
            self.window.clear();
            self.window_at = position;
            let read = self.window_bytes.min(self.end.saturating_sub(position) as usize);
            self.file.read_up_to(position.into(), read, &mut self.window)?;
        }
        let skip = (position - self.window_at) as usize;
        Ok(self.window.get(skip..).unwrap_or_default())
    }
}
