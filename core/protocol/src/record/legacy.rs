//! Message sets, the format before version 2: read from old topics, never written.
//!
//! An entry is INT64 offset, INT32 size, UINT32 CRC-32 (of all behind it), INT8 magic, INT8 attributes, in magic 1
//! INT64 timestamp (KIP-32), then key and value, each behind its INT32 length, -1 for null. A compressed set is the
//! value of one such entry; in magic 1 the offsets inside are relative, and the entry's own is that of the last.

use bytes::{Buf, Bytes};
use flate2::Crc;

use super::{
    Attributes, BatchError, Headers, NO_TIMESTAMP, Record, RecordFault, Records, TimestampType,
    batch::MAGIC_AT, varint::Cursor,
};
use crate::compression::{Compression, Decompressor, Limits};

/// Offset and size.
const ENTRY_OVERHEAD_BYTES: usize = 12;
/// CRC, magic, attributes, and the lengths of key and value.
const MESSAGE_BYTES_MIN: usize = 14;
const CRC_START: usize = MAGIC_AT;

/// One entry of a message set: a message, or a set of messages compressed into one.
#[derive(Clone, Debug)]
pub struct LegacyBatch {
    offset: i64,
    crc: u32,
    magic: i8,
    attributes: Attributes,
    bytes: Bytes,
}

impl LegacyBatch {
    /// Takes the first entry off `bytes`; `None` if it is not there as a whole.
    pub fn split_from(bytes: &mut Bytes) -> Result<Option<Self>, BatchError> {
        let Some(mut head) = bytes.get(..ENTRY_OVERHEAD_BYTES + MESSAGE_BYTES_MIN) else { return Ok(None) };
        let offset = head.get_i64();
        let size = head.get_i32();
        let crc = head.get_u32();
        let magic = head.get_i8();
        let attributes = Attributes(i16::from(head.get_i8()));
        if !matches!(magic, 0 | 1) {
            return Err(BatchError::Magic(magic));
        }
        let total = match usize::try_from(size) {
            Ok(size) if size >= MESSAGE_BYTES_MIN => size.saturating_add(ENTRY_OVERHEAD_BYTES),
            _ => return Err(BatchError::Length(size)),
        };
        if total > bytes.len() {
            return Ok(None);
        }
        Ok(Some(Self { offset, crc, magic, attributes, bytes: bytes.split_to(total) }))
    }

    /// Fails if the bytes are not those that were written.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let mut crc = Crc::new();
        crc.update(self.bytes.get(CRC_START..).unwrap_or_default());
        match crc.sum() == self.crc {
            true => Ok(()),
            false => Err(BatchError::Crc { stated: self.crc, computed: crc.sum() }),
        }
    }

    /// The version, 0 or 1.
    pub fn magic(&self) -> i8 {
        self.magic
    }

    /// Offset of the message, or of the last one inside.
    pub fn last_offset(&self) -> i64 {
        self.offset
    }

    /// The whole entry.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The message, or the messages inside, inflated within `limits`.
    pub fn records(&self, decompressor: &mut Decompressor, limits: &Limits) -> Result<Records, BatchError> {
        let compression = match self.attributes.compression()? {
            // It came with version 2.
            Compression::Zstd => return Err(BatchError::Codec(Compression::Zstd as u8)),
            Compression::None => {
                return Ok(Records::of_message_set(MessageSet::default(), self.bytes.clone()));
            }
            compression => compression,
        };
        let mut rest = &self.bytes[..];
        let wrapper = next_entry(&mut rest).map_err(|fault| BatchError::Record { index: 0, fault })?;
        let value = wrapper.value.ok_or(BatchError::LegacyNesting)?;
        let mut block = Vec::new();
        match self.magic {
            0 => decompressor.inflate_magic_0(compression, value, limits)?,
            _ => decompressor.inflate(compression, value, limits)?,
        }
        .read_to_end(&mut block)?;

        let (whole_bytes, last) = check_inner(&block)?;
        block.truncate(whole_bytes);
        let offset_base = match (self.magic, self.offset) {
            // Some versions of librdkafka left the offset of the outer message 0.
            (0, _) | (_, 0) => 0,
            (_, wrapper) if wrapper < last => return Err(BatchError::LegacyOffset { wrapper, last }),
            (_, wrapper) => wrapper.wrapping_sub(last),
        };
        let log_append_time = match self.attributes.timestamp_type() {
            TimestampType::LogAppendTime if self.magic > 0 => Some(wrapper.timestamp),
            _ => None,
        };
        Ok(Records::of_message_set(MessageSet { offset_base, log_append_time }, Bytes::from(block)))
    }
}

/// What the outer message says about those inside.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MessageSet {
    /// What their offsets are relative to.
    offset_base: i64,
    /// Their timestamp, where it is the broker's.
    log_append_time: Option<i64>,
}

/// Takes the first message off `rest`.
pub(super) fn next_record<'a>(rest: &mut &'a [u8], set: &MessageSet) -> Result<Record<'a>, RecordFault> {
    let entry = next_entry(rest)?;
    Ok(Record {
        offset: entry.offset.wrapping_add(set.offset_base),
        timestamp: match set.log_append_time {
            Some(time) if entry.magic > 0 => time,
            _ => entry.timestamp,
        },
        key: entry.key,
        value: entry.value,
        headers: Headers::NONE,
    })
}

struct Entry<'a> {
    offset: i64,
    magic: i8,
    attributes: Attributes,
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

/// Takes the first entry off `rest`; leaves `rest` as it is if it is not there as a whole.
fn next_entry<'a>(rest: &mut &'a [u8]) -> Result<Entry<'a>, RecordFault> {
    let mut cursor = Cursor { rest };
    let offset = cursor.take(8)?.get_i64();
    let size = cursor.take(4)?.get_i32();
    let mut message =
        Cursor { rest: cursor.take(usize::try_from(size).map_err(|_| RecordFault::Length(size))?)? };
    let _crc = message.take(4)?;
    let magic = message.take(1)?.get_i8();
    let attributes = Attributes(i16::from(message.take(1)?.get_i8()));
    let timestamp = match magic {
        0 => NO_TIMESTAMP,
        1 => message.take(8)?.get_i64(),
        magic => return Err(RecordFault::Magic(magic)),
    };
    let key = nullable(&mut message)?;
    let value = nullable(&mut message)?;
    if !message.rest.is_empty() {
        return Err(RecordFault::Trailing);
    }
    *rest = cursor.rest;
    Ok(Entry { offset, magic, attributes, timestamp, key, value })
}

fn nullable<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, RecordFault> {
    match cursor.take(4)?.get_i32() {
        -1 => Ok(None),
        n => cursor.take(usize::try_from(n).map_err(|_| RecordFault::Length(n))?).map(Some),
    }
}

/// Walks the messages of an inflated set: none may be compressed again, and the last may be cut off. Gives the bytes
/// of the whole ones and the last offset among them.
fn check_inner(block: &[u8]) -> Result<(usize, i64), BatchError> {
    let mut rest = block;
    let mut last = None;
    let mut index = 0;
    while !rest.is_empty() {
        match next_entry(&mut rest) {
            Ok(entry) if entry.attributes.compression() != Ok(Compression::None) => {
                return Err(BatchError::LegacyNesting);
            }
            Ok(entry) => last = Some(entry.offset),
            Err(RecordFault::Truncated) => break,
            Err(fault) => return Err(BatchError::Record { index, fault }),
        }
        index += 1;
    }
    match last {
        Some(last) => Ok((block.len() - rest.len(), last)),
        None => Err(BatchError::LegacyNesting),
    }
}
