//! How much of a log may be cleaned, and how much it needs it (`LogCleanerManager`, `LogToClean`).

use ottla_protocol::record::BatchHeader;

use crate::log::{
    CleanupPolicy, LogError, LogReader,
    scan::{SEEK_WINDOW_BYTES, Scan},
    segment::{SealedSegment, Segments},
};

/// What a round of cleaning would find in a log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cleanable {
    /// Everything before it was cleaned before.
    pub first_dirty_offset: i64,
    /// Nothing from it on may be cleaned yet; a segment begins there.
    pub first_uncleanable_offset: i64,
    /// Bytes of the segments that begin before the first dirty offset.
    pub clean_bytes: u64,
    /// Bytes of the segments that are dirty and may be cleaned.
    pub cleanable_bytes: u64,
    /// Whether a record waits for longer than `max.compaction.lag.ms`.
    pub overdue: bool,
}

impl Cleanable {
    /// The share of bytes that were never cleaned, of those that a round would read.
    pub fn ratio(&self) -> f64 {
        let total = self.clean_bytes + self.cleanable_bytes;
        if total == 0 { 0.0 } else { self.cleanable_bytes as f64 / total as f64 }
    }

    /// Whether the log is to be cleaned now.
    pub fn is_due(&self, policy: &CleanupPolicy) -> bool {
        let overdue = self.overdue && self.cleanable_bytes > 0;
        overdue || self.ratio() > policy.min_cleanable_dirty_ratio
    }
}

impl LogReader {
    /// What a round of cleaning would find, if everything before `cleaned_offset` was cleaned before; `None` for a log
    /// that never was.
    ///
    /// # Errors
    /// If `max.compaction.lag.ms` is set and the disk fails.
    pub fn cleanable(
        &self,
        cleaned_offset: Option<i64>,
        policy: &CleanupPolicy,
        now_ms: i64,
    ) -> Result<Cleanable, LogError> {
        let (start, end) = (self.start_offset(), self.end_offset());
        let segments = self.segments.load();
        // Deletion may have overtaken the cleaner; and a log that ends before was cut, or is another.
        let first_dirty_offset =
            cleaned_offset.filter(|offset| (start..=end).contains(offset)).unwrap_or(start);
        let dirty = segments.position_of(first_dirty_offset);
        let dirty_segments = segments.sealed.get(dirty..).unwrap_or_default();

        let mut limit = self.high_watermark().min(segments.active.base_offset);
        if policy.min_compaction_lag_ms > 0 {
            let young_ms = now_ms.saturating_sub(policy.min_compaction_lag_ms);
            for segment in dirty_segments {
                if self.latest_ms(segment)? > young_ms {
                    limit = limit.min(segment.base_offset);
                    break;
                }
            }
        }
        let limit = limit.max(first_dirty_offset);
        let first_uncleanable_offset = segment_start(&segments, limit);
        let bytes = |of: &mut dyn Iterator<Item = &SealedSegment>| of.map(|s| u64::from(s.size)).sum();
        Ok(Cleanable {
            first_dirty_offset,
            first_uncleanable_offset,
            clean_bytes: bytes(&mut segments.sealed.iter().filter(|s| s.base_offset < first_dirty_offset)),
            cleanable_bytes: bytes(
                &mut dirty_segments.iter().filter(|s| s.base_offset < first_uncleanable_offset),
            ),
            overdue: self.is_overdue(dirty_segments, policy, now_ms)?,
        })
    }

    /// Whether the first record of one of these segments waits for longer than `max.compaction.lag.ms`.
    fn is_overdue(
        &self,
        dirty: &[SealedSegment],
        policy: &CleanupPolicy,
        now_ms: i64,
    ) -> Result<bool, LogError> {
        if policy.max_compaction_lag_ms == i64::MAX {
            return Ok(false);
        }
        let until_ms = now_ms.saturating_sub(policy.max_compaction_lag_ms);
        for segment in dirty {
            let first = self.first_header(segment)?;
            if first.is_some_and(|header| header.max_timestamp > 0 && header.max_timestamp < until_ms) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The time of a segment's latest record, or else of its last change.
    fn latest_ms(&self, segment: &SealedSegment) -> Result<i64, LogError> {
        match segment.latest.timestamp {
            -1 => segment.modified_ms(self.disk(), self.directory()),
            timestamp => Ok(timestamp),
        }
    }

    /// The header of a segment's first batch, if there is one that can be read: damage is for whoever reads all of it.
    fn first_header(&self, segment: &SealedSegment) -> Result<Option<BatchHeader>, LogError> {
        let file = segment.open(self.disk(), self.directory())?;
        let mut scan = Scan::new(&file, segment.base_offset, 0, segment.size, SEEK_WINDOW_BYTES);
        Ok(scan.next().ok().flatten().map(|found| found.header))
    }
}

/// Where the segment begins that holds `offset`, or would.
fn segment_start(segments: &Segments, offset: i64) -> i64 {
    let place = segments.position_of(offset);
    segments.sealed.get(place).map_or(segments.active.base_offset, |segment| segment.base_offset)
}
