//! Building a batch: each record is encoded once, when it is pushed.

use std::fmt;

use bytes::Bytes;

use super::{
    Attributes, BATCH_HEADER_BYTES, Batch, BatchHeader, Header, Headers, NO_SEQUENCE, NO_TIMESTAMP,
    TimestampType,
    records::HeadersForm,
    varint::{put_uvarint, put_uvarlong, uvarint_bytes, uvarlong_bytes, zigzag, zigzag_long},
};
use crate::{
    compression::{Codec, CompressError, Compression, Compressor},
    types::ProducerId,
};

/// Most bytes that a record without headers takes beyond its key and value.
pub const RECORD_OVERHEAD_BYTES_MAX: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;

/// Most bytes that a record can take in a batch: for the check against `max.request.size`, before it is known in
/// which batch it goes.
pub fn record_bytes_max(key: Option<&[u8]>, value: Option<&[u8]>, headers: &Headers<'_>) -> usize {
    let parts = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
    RECORD_OVERHEAD_BYTES_MAX + parts + headers_bytes(headers).unwrap_or(usize::MAX / 4)
}

/// A batch in the making. Owns one buffer, which holds the batch's header from the start, so that an uncompressed
/// batch is sealed without a copy.
///
/// ```
/// use ottla_protocol::{
///     compression::{Compressor, Decompressor, Limits},
///     record::{BatchBuilder, Header, Headers, Seal},
/// };
///
/// let mut builder = BatchBuilder::new(Vec::with_capacity(16_384), 16_384);
/// builder.push(1_700_000_000_000, Some(b"k"), Some(b"v"), Headers::NONE)?;
/// builder.push(1_700_000_000_001, None, Some(b"w"), &[Header::new("h", None)])?;
/// let batch = builder.seal(&Seal::default(), &mut Compressor::new())?;
///
/// let records = batch.records(&mut Decompressor::new(), &Limits::CLIENT)?;
/// let values: Vec<_> = records.iter().map(|record| record.map(|r| r.value)).collect::<Result<_, _>>()?;
/// assert_eq!(values, [Some(&b"v"[..]), Some(b"w")]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BatchBuilder {
    /// Room for the header, then the records.
    buffer: Vec<u8>,
    bytes_max: usize,
    record_count: i32,
    /// Offset delta of the last record; -1 before the first.
    last_offset_delta: i32,
    /// `None` before the first record.
    base_timestamp: Option<i64>,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// An empty batch in `buffer`, whose content is dropped and whose capacity is used. The batch ends before it
    /// would take more than `bytes_max` bytes uncompressed (`batch.size`), header included; but one record always
    /// fits.
    pub fn new(buffer: Vec<u8>, bytes_max: usize) -> Self {
        let mut builder = Self {
            buffer,
            bytes_max: bytes_max.min(BATCH_BYTES_MAX),
            record_count: 0,
            last_offset_delta: -1,
            base_timestamp: None,
            max_timestamp: NO_TIMESTAMP,
        };
        builder.clear();
        builder
    }

    /// Appends a record and gives its index in the batch. `timestamp` is in milliseconds since the epoch.
    #[inline]
    pub fn push<'h>(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Into<Headers<'h>>,
    ) -> Result<u32, PushError> {
        let offset_delta = self.last_offset_delta.checked_add(1).ok_or(PushError::Full)?;
        self.push_record(offset_delta, timestamp, key, value, &headers.into())
    }

    /// Appends a record at an offset of its own, relative to the batch's, beyond that of the last: for a log
    /// cleaner, which keeps some records of a batch. Gives its index in the batch.
    pub fn push_at<'h>(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Into<Headers<'h>>,
    ) -> Result<u32, PushError> {
        if offset_delta <= self.last_offset_delta {
            return Err(PushError::OffsetDelta { last: self.last_offset_delta, next: offset_delta });
        }
        self.push_record(offset_delta, timestamp, key, value, &headers.into())
    }

    fn push_record(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &Headers<'_>,
    ) -> Result<u32, PushError> {
        self.reserve_header();
        let base_timestamp = self.base_timestamp.unwrap_or(timestamp);
        let timestamp_delta = zigzag_long(timestamp.wrapping_sub(base_timestamp));
        let offset = zigzag(offset_delta);
        let key_len = length_of(key)?;
        let value_len = length_of(value)?;
        let body = 1
            + uvarlong_bytes(timestamp_delta)
            + uvarint_bytes(offset)
            + uvarint_bytes(key_len)
            + key.map_or(0, <[u8]>::len)
            + uvarint_bytes(value_len)
            + value.map_or(0, <[u8]>::len)
            + headers_bytes(headers)?;
        let size = i32::try_from(body).map(zigzag).map_err(|_| PushError::TooLarge { bytes: body })?;
        let total = uvarint_bytes(size) + body;
        let end = self.buffer.len() + total;
        if end > self.bytes_max {
            if self.record_count > 0 {
                return Err(PushError::Full);
            }
            if end > BATCH_BYTES_MAX {
                return Err(PushError::TooLarge { bytes: body });
            }
        }

        let out = &mut self.buffer;
        out.reserve(total);
        put_uvarint(out, size);
        out.push(0);
        put_uvarlong(out, timestamp_delta);
        put_uvarint(out, offset);
        put_uvarint(out, key_len);
        out.extend_from_slice(key.unwrap_or_default());
        put_uvarint(out, value_len);
        out.extend_from_slice(value.unwrap_or_default());
        put_headers(out, headers);
        debug_assert_eq!(out.len(), end);

        let index = self.record_count;
        self.record_count += 1;
        self.last_offset_delta = offset_delta;
        self.base_timestamp = Some(base_timestamp);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        Ok(index.cast_unsigned())
    }

    /// Whether a record of at most `record_bytes` (see [`record_bytes_max`]) fits, or is the first.
    pub fn would_fit(&self, record_bytes: usize) -> bool {
        self.record_count == 0
            || (self.encoded_bytes().saturating_add(record_bytes) <= self.bytes_max
                && self.last_offset_delta < i32::MAX)
    }

    /// Records pushed so far.
    pub fn record_count(&self) -> u32 {
        self.record_count.cast_unsigned()
    }

    /// Whether no record was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Bytes of the batch as it stands, uncompressed, header included.
    pub fn encoded_bytes(&self) -> usize {
        self.buffer.len().max(BATCH_HEADER_BYTES)
    }

    /// Bytes of memory that the builder holds.
    pub fn capacity_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// Timestamp of the first record, in milliseconds since the epoch.
    pub fn base_timestamp(&self) -> Option<i64> {
        self.base_timestamp
    }

    /// What all timestamps are to be relative to, in place of the first record's: for a log cleaner, which keeps a
    /// batch's base or puts a delete horizon there. Only before the first record; says whether it was.
    pub fn set_base_timestamp(&mut self, base_timestamp: i64) -> bool {
        if self.record_count == 0 {
            self.base_timestamp = Some(base_timestamp);
        }
        self.record_count == 0
    }

    /// Makes the batch of what was pushed, and begins anew.
    ///
    /// Compressed, the batch is new memory of just its size, and the builder keeps its buffer. Uncompressed, the
    /// buffer itself becomes the batch, and the builder is without one: give it one with [`Self::new`], or let it
    /// grow one. If it fails, nothing is lost.
    pub fn seal(&mut self, seal: &Seal, compressor: &mut Compressor) -> Result<Batch, SealError> {
        self.reserve_header();
        let compression = seal.codec.compression();
        let records = self.buffer.get(BATCH_HEADER_BYTES..).unwrap_or_default();
        let mut header = BatchHeader {
            base_offset: seal.base_offset,
            partition_leader_epoch: seal.partition_leader_epoch,
            attributes: seal.attributes().with_compression(compression),
            last_offset_delta: seal.last_offset_delta.unwrap_or(self.last_offset_delta),
            base_timestamp: self.base_timestamp.unwrap_or(NO_TIMESTAMP),
            max_timestamp: seal.log_append_time.unwrap_or(self.max_timestamp),
            producer_id: seal.producer_id,
            producer_epoch: seal.producer_epoch,
            base_sequence: seal.base_sequence,
            record_count: self.record_count,
            ..BatchHeader::default()
        };
        let bytes = if compression == Compression::None {
            let encoded = header.seal(records).map_err(|_| SealError::TooLarge)?;
            let mut bytes = std::mem::take(&mut self.buffer);
            if let Some(place) = bytes.first_chunk_mut() {
                *place = encoded;
            }
            bytes
        } else {
            let block = compressor.compress(seal.codec, records)?;
            let encoded = header.seal(block).map_err(|_| SealError::TooLarge)?;
            let mut bytes = Vec::with_capacity(encoded.len() + block.len());
            bytes.extend_from_slice(&encoded);
            bytes.extend_from_slice(block);
            bytes
        };
        self.clear();
        Ok(Batch::from_parts(header, Bytes::from(bytes)))
    }

    /// Drops all records.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.record_count = 0;
        self.last_offset_delta = -1;
        self.base_timestamp = None;
        self.max_timestamp = NO_TIMESTAMP;
    }

    /// A buffer is given room for the header only when it is about to be used: an idle builder holds no memory.
    #[inline]
    fn reserve_header(&mut self) {
        if self.buffer.is_empty() {
            self.buffer.resize(BATCH_HEADER_BYTES, 0);
        }
    }

    /// Gives the buffer back, to be used again.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}

/// Largest batch, in bytes: its length is an INT32 that counts from byte 12.
const BATCH_BYTES_MAX: usize = i32::MAX as usize;

/// What a batch is sealed with. The default is a producer's without idempotence: no compression, no producer id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seal {
    /// How to compress.
    pub codec: Codec,
    /// Who numbers the batch; -1 for none.
    pub producer_id: ProducerId,
    /// Epoch of the producer id; -1 for none.
    pub producer_epoch: i16,
    /// Sequence number of the first record; -1 for none.
    pub base_sequence: i32,
    /// Whether the batch is part of a transaction.
    pub transactional: bool,
    /// Whether it is a control batch; see [`ControlBatch`](super::ControlBatch).
    pub control: bool,
    /// Offset of the first record; a producer leaves 0.
    pub base_offset: i64,
    /// Epoch of the leader that appends; a producer leaves -1.
    pub partition_leader_epoch: i32,
    /// The time of the append, where that is the records' timestamp; a producer leaves `None`.
    pub log_append_time: Option<i64>,
    /// Whether the base timestamp is a delete horizon; the log cleaner's.
    pub delete_horizon: bool,
    /// The last offset delta where it is not that of the last record; the log cleaner's, which keeps it.
    pub last_offset_delta: Option<i32>,
}

impl Default for Seal {
    fn default() -> Self {
        Self {
            codec: Codec::NONE,
            producer_id: ProducerId::NONE,
            producer_epoch: -1,
            base_sequence: NO_SEQUENCE,
            transactional: false,
            control: false,
            base_offset: 0,
            partition_leader_epoch: -1,
            log_append_time: None,
            delete_horizon: false,
            last_offset_delta: None,
        }
    }
}

impl Seal {
    fn attributes(&self) -> Attributes {
        let timestamp_type = match self.log_append_time {
            Some(_) => TimestampType::LogAppendTime,
            None => TimestampType::CreateTime,
        };
        Attributes::default()
            .with_timestamp_type(timestamp_type)
            .with_transactional(self.transactional)
            .with_control(self.control)
            .with_delete_horizon(self.delete_horizon)
    }
}

/// Why a record was not appended. The batch is as before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PushError {
    /// The batch has no room for it: seal the batch and begin another.
    Full,
    /// No batch has room for it.
    TooLarge {
        /// Bytes of the record.
        bytes: usize,
    },
    /// Its offset does not follow that of the last record.
    OffsetDelta {
        /// Offset delta of the last record.
        last: i32,
        /// The one that was to follow.
        next: i32,
    },
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "the batch is full"),
            Self::TooLarge { bytes } => write!(f, "a record of {bytes} bytes is too large for any batch"),
            Self::OffsetDelta { last, next } => write!(f, "offset delta {next} does not follow {last}"),
        }
    }
}

impl std::error::Error for PushError {}

/// Why a batch could not be sealed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SealError {
    /// The codec failed.
    Compress(CompressError),
    /// It came out larger than a batch can be, 2^31 bytes.
    TooLarge,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compress(error) => write!(f, "{error}"),
            Self::TooLarge => write!(f, "the batch is larger than {BATCH_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for SealError {}

impl From<CompressError> for SealError {
    fn from(error: CompressError) -> Self {
        Self::Compress(error)
    }
}

/// Length of a nullable part, zig-zagged.
#[inline]
fn length_of(part: Option<&[u8]>) -> Result<u32, PushError> {
    match part {
        None => Ok(zigzag(-1)),
        Some(part) => {
            i32::try_from(part.len()).map(zigzag).map_err(|_| PushError::TooLarge { bytes: part.len() })
        }
    }
}

/// Bytes of the headers behind the value, their count included.
#[inline]
fn headers_bytes(headers: &Headers<'_>) -> Result<usize, PushError> {
    match headers.form() {
        HeadersForm::List([]) => Ok(1),
        HeadersForm::List(list) => listed_headers_bytes(list),
        HeadersForm::Encoded { count, bytes } => Ok(uvarint_bytes(zigzag(count.cast_signed())) + bytes.len()),
    }
}

fn listed_headers_bytes(list: &[Header<'_>]) -> Result<usize, PushError> {
    let mut bytes = uvarint_bytes(length_of_count(list.len())?);
    for header in list {
        bytes += uvarint_bytes(length_of(Some(header.key))?) + header.key.len();
        bytes += uvarint_bytes(length_of(header.value)?) + header.value.map_or(0, <[u8]>::len);
    }
    Ok(bytes)
}

fn length_of_count(count: usize) -> Result<u32, PushError> {
    i32::try_from(count).map(zigzag).map_err(|_| PushError::TooLarge { bytes: count })
}

#[inline]
fn put_headers(out: &mut Vec<u8>, headers: &Headers<'_>) {
    match headers.form() {
        HeadersForm::List([]) => out.push(0),
        HeadersForm::List(list) => put_listed_headers(out, list),
        HeadersForm::Encoded { count, bytes } => {
            put_uvarint(out, zigzag(count.cast_signed()));
            out.extend_from_slice(bytes);
        }
    }
}

/// The lengths were checked when they were summed up.
fn put_listed_headers(out: &mut Vec<u8>, list: &[Header<'_>]) {
    put_uvarint(out, length_of_count(list.len()).unwrap_or_default());
    for header in list {
        for part in [Some(header.key), header.value] {
            put_uvarint(out, length_of(part).unwrap_or_default());
            out.extend_from_slice(part.unwrap_or_default());
        }
    }
}
