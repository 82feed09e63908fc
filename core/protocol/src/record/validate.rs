//! What a broker asks of a batch before it appends it: the rules of Kafka's `LogValidator`, and some that Kafka leaves
//! to the reader to find out.
//!
//! Compressed records are inflated through a window and never held as a whole, so a batch costs its worker the same
//! memory whatever it inflates to.

use super::{
    BATCH_HEADER_BYTES, Batch, BatchError, BatchHeader, NO_TIMESTAMP, RecordFault, RejectionReason,
    Rejections, TimestampType,
    varint::{Cursor, Source},
    window::{Through, WINDOW_BYTES, Window, holds_record},
};
use crate::{
    compression::{Compression, Compressor, Decompressor, Limits},
    types::ProducerId,
};

/// What a topic asks of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How far to look.
    pub depth: Depth,
    /// Whether each record needs a key: `cleanup.policy` holds `compact`.
    pub compacted: bool,
    /// `message.timestamp.type`. Create times must be near the broker's; log-append times are the broker's.
    pub timestamp_type: TimestampType,
    /// The broker's time, in milliseconds since the epoch.
    pub now_ms: i64,
    /// `message.timestamp.before.max.ms` (KIP-937); `i64::MAX` for no bound, which is Kafka's default.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms` (KIP-937); Kafka's default is an hour.
    pub timestamp_after_max_ms: i64,
    /// Largest record of a compressed batch, inflated: `max.decompressed.message.bytes` of Kafka 4.4. An
    /// uncompressed one is bounded by its batch.
    pub max_decompressed_message_bytes: usize,
    /// How far all records of a batch may inflate together.
    pub limits: Limits,
}

/// Kafka's default of `max.decompressed.message.bytes`: what a Java array can hold.
const MAX_DECOMPRESSED_MESSAGE_BYTES: usize = i32::MAX as usize - 8;

impl Rules {
    /// Kafka's defaults, at the broker's time in milliseconds since the epoch.
    pub const fn at(now_ms: i64) -> Self {
        Self {
            depth: Depth::Full,
            compacted: false,
            timestamp_type: TimestampType::CreateTime,
            now_ms,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            max_decompressed_message_bytes: MAX_DECOMPRESSED_MESSAGE_BYTES,
            limits: Limits::BROKER,
        }
    }

    /// Whether nothing short of the records themselves can answer.
    const fn need_records(&self) -> bool {
        matches!(self.depth, Depth::Full) || self.compacted || self.timestamp_before_max_ms != i64::MAX
    }

    /// Whether a topic takes this timestamp, or why not.
    fn check_timestamp(&self, timestamp: i64) -> Result<(), RejectionReason> {
        if timestamp == NO_TIMESTAMP || self.timestamp_type == TimestampType::LogAppendTime {
            return Ok(());
        }
        let earliest = match self.timestamp_before_max_ms {
            i64::MAX => i64::MIN,
            before_max => self.now_ms.saturating_sub(before_max),
        };
        let latest = self.now_ms.saturating_add(self.timestamp_after_max_ms);
        match earliest <= timestamp && timestamp <= latest {
            true => Ok(()),
            false => Err(RejectionReason::Timestamp { timestamp, earliest, latest }),
        }
    }
}

/// How far validation looks: `ottla.record.validation`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Depth {
    /// At every record, as Kafka does.
    #[default]
    Full,
    /// At the header and its CRC only, which spares the inflation. A compacted topic, or one with a bound on old
    /// timestamps, is looked at in full nevertheless.
    Header,
}

/// What validating and recompressing need to work: codec contexts and a window. One per worker, made to be used again and again.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) decompressor: Decompressor,
    pub(super) compressor: Compressor,
    pub(super) window: Vec<u8>,
}

impl Scratch {
    /// One without contexts or window yet.
    pub fn new() -> Self {
        Self::default()
    }
}

/// What validation found out about a batch that may be appended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validated {
    /// The latest timestamp among the records, or [`NO_TIMESTAMP`]. Where the header states another, Kafka
    /// corrects the header: see [`Batch::with_timestamps`]. With [`Depth::Header`], what the header states.
    pub max_timestamp: i64,
    /// The first record that has it; 0 with [`Depth::Header`].
    pub max_timestamp_index: u32,
    /// Bytes of the records, inflated; `None` if they were not looked at.
    pub record_bytes: Option<usize>,
}

/// Judges a batch that a client sent.
///
/// Fails with what [`BatchError::error_code`] makes a Produce answer of. Records that are well formed, but that
/// this topic does not take, are collected as [`Rejections`]; all else ends at the first fault.
pub fn validate(batch: &Batch, rules: &Rules, scratch: &mut Scratch) -> Result<Validated, BatchError> {
    let header = batch.header();
    batch.check_crc()?;
    let compression = check_header(header)?;
    if !rules.need_records() {
        rules.check_timestamp(header.max_timestamp).map_err(BatchError::Timestamp)?;
        return Ok(Validated {
            max_timestamp: header.max_timestamp,
            max_timestamp_index: 0,
            record_bytes: None,
        });
    }

    let block = batch.bytes().get(BATCH_HEADER_BYTES..).unwrap_or_default();
    let mut walk = Walk::new(header, rules);
    let record_bytes = match compression {
        Compression::None => walk.block(block)?,
        compression => {
            scratch.window.resize(WINDOW_BYTES, 0);
            let inflate = scratch.decompressor.inflate(compression, block, &rules.limits)?;
            walk.window(&mut Window::new(inflate, &mut scratch.window))?
        }
    };
    walk.finish(record_bytes)
}

/// The rules for a header that a client sent.
fn check_header(header: &BatchHeader) -> Result<Compression, BatchError> {
    let BatchHeader { attributes, record_count, last_offset_delta, .. } = *header;
    let compression = attributes.compression()?;
    if record_count <= 0 || last_offset_delta != record_count - 1 {
        return Err(BatchError::Count { record_count, last_offset_delta });
    }
    if attributes.is_control() {
        return Err(BatchError::Control);
    }
    if attributes.timestamp_type() == TimestampType::LogAppendTime {
        return Err(BatchError::LogAppendTime);
    }
    if attributes.has_delete_horizon() {
        return Err(BatchError::DeleteHorizon);
    }
    // Some clients without a producer id leave its epoch and sequence 0, and mean nothing by it.
    let BatchHeader { producer_id: ProducerId(producer_id), producer_epoch, base_sequence, .. } = *header;
    let consistent = match producer_id {
        0.. => producer_epoch >= 0 && base_sequence >= 0,
        -1 => !attributes.is_transactional(),
        _ => false,
    };
    match consistent {
        true => Ok(compression),
        false => Err(BatchError::Producer { producer_id, producer_epoch, base_sequence }),
    }
}

/// One pass over the records of a batch.
struct Walk<'a> {
    header: &'a BatchHeader,
    rules: &'a Rules,
    /// Records before the current one.
    index: u32,
    max_timestamp: i64,
    max_timestamp_index: u32,
    rejections: Rejections,
}

impl<'a> Walk<'a> {
    fn new(header: &'a BatchHeader, rules: &'a Rules) -> Self {
        Self {
            header,
            rules,
            index: 0,
            max_timestamp: NO_TIMESTAMP,
            max_timestamp_index: 0,
            rejections: Rejections::default(),
        }
    }

    /// All records of an uncompressed batch. Gives their size in bytes.
    fn block(&mut self, block: &[u8]) -> Result<usize, BatchError> {
        let mut cursor = Cursor { rest: block };
        while self.more(cursor.rest.is_empty())? {
            self.next_in(&mut cursor, usize::MAX).map_err(|fault| self.fault(fault))?;
        }
        Ok(block.len())
    }

    /// All records behind a window. Gives their size in bytes.
    fn window(&mut self, window: &mut Window<'_, '_>) -> Result<usize, BatchError> {
        let bytes_max = self.rules.max_decompressed_message_bytes;
        loop {
            // Records that lie in the window whole are read like those of an uncompressed batch.
            let mut cursor = Cursor { rest: window.filled() };
            let mut consumed = 0;
            while self.index < self.header.record_count.cast_unsigned()
                && holds_record(&cursor)
                && !cursor.rest.is_empty()
            {
                self.next_in(&mut cursor, bytes_max).map_err(|fault| self.fault(fault))?;
                consumed = window.filled().len() - cursor.rest.len();
            }
            window.consume(consumed);
            if window.refill()? {
                continue;
            }
            // It does not grow: the records are over, or one is larger than the window.
            if !self.more(window.filled().is_empty())? {
                return Ok(window.inflate.produced());
            }
            match self.next_through(window, bytes_max) {
                Ok(()) => {}
                Err(fault) => {
                    return Err(window.failure.take().map_or_else(|| self.fault(fault), Into::into));
                }
            }
        }
    }

    /// Whether a record is to follow, which must be so unless the content is at its end.
    fn more(&self, at_end: bool) -> Result<bool, BatchError> {
        let stated = self.header.record_count;
        match (self.index < stated.cast_unsigned(), at_end) {
            (true, false) => Ok(true),
            (false, true) => Ok(false),
            (true, true) => Err(BatchError::RecordsMissing { found: self.index, stated }),
            (false, false) => Err(BatchError::TrailingRecords),
        }
    }

    #[inline]
    fn next_in(&mut self, cursor: &mut Cursor<'_>, bytes_max: usize) -> Result<(), RecordFault> {
        let size = record_size(cursor, bytes_max)?;
        let body = cursor.take(size)?;
        self.record(&mut Cursor { rest: body })
    }

    fn next_through(&mut self, window: &mut Window<'_, '_>, bytes_max: usize) -> Result<(), RecordFault> {
        let left = record_size(&mut Through { window, left: usize::MAX }, bytes_max)?;
        self.record(&mut Through { window, left })
    }

    /// One record, behind its size, which is all that `body` holds.
    #[inline]
    fn record(&mut self, body: &mut impl Source) -> Result<(), RecordFault> {
        let _attributes = body.byte()?;
        let timestamp_delta = body.varlong()?;
        let offset_delta = body.varint()?;
        if offset_delta != self.index.cast_signed() {
            return Err(RecordFault::OffsetDelta { expected: self.index, found: offset_delta });
        }
        let key_len = body.varint()?;
        body.skip(usize::try_from(key_len).unwrap_or(0))?;
        let value_len = body.varint()?;
        body.skip(usize::try_from(value_len).unwrap_or(0))?;
        let header_count = body.varint()?;
        if header_count != 0 {
            check_headers(body, header_count)?;
        }
        if !body.is_empty() {
            return Err(RecordFault::Trailing);
        }

        let timestamp = self.header.base_timestamp.wrapping_add(timestamp_delta);
        if timestamp > self.max_timestamp {
            self.max_timestamp = timestamp;
            self.max_timestamp_index = self.index;
        }
        if self.rules.compacted && key_len < 0 {
            self.rejections.push(self.index, RejectionReason::NoKey);
        } else if let Err(reason) = self.rules.check_timestamp(timestamp) {
            self.rejections.push(self.index, reason);
        }
        self.index += 1;
        Ok(())
    }

    fn finish(self, record_bytes: usize) -> Result<Validated, BatchError> {
        if self.rejections.total > 0 {
            return Err(BatchError::Rejected(Box::new(self.rejections)));
        }
        Ok(Validated {
            max_timestamp: self.max_timestamp,
            max_timestamp_index: self.max_timestamp_index,
            record_bytes: Some(record_bytes),
        })
    }

    #[cold]
    fn fault(&self, fault: RecordFault) -> BatchError {
        BatchError::Record { index: self.index, fault }
    }
}

#[inline]
fn record_size(source: &mut impl Source, bytes_max: usize) -> Result<usize, RecordFault> {
    let size = source.varint()?;
    let bytes = usize::try_from(size).map_err(|_| RecordFault::Length(size))?;
    if bytes > bytes_max {
        return Err(RecordFault::TooLarge { bytes, bytes_max });
    }
    Ok(bytes)
}

fn check_headers(body: &mut impl Source, count: i32) -> Result<(), RecordFault> {
    if count < 0 {
        return Err(RecordFault::Length(count));
    }
    // Each takes two bytes at least, so the count ends with the record, whatever it says.
    for _ in 0..count {
        let key_len = body.varint()?;
        body.skip_utf8(usize::try_from(key_len).map_err(|_| RecordFault::HeaderKeyNull)?)?;
        let value_len = body.varint()?;
        body.skip(usize::try_from(value_len).unwrap_or(0))?;
    }
    Ok(())
}
