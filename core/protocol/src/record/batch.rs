//! One batch: its header, and the whole of it as a view.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{BatchError, NO_SEQUENCE, NO_TIMESTAMP, Records};
use crate::{
    compression::{Compression, Decompressor, Limits},
    types::ProducerId,
};

/// Bytes before the records of a batch.
pub const BATCH_HEADER_BYTES: usize = 61;
/// The version of batches that are written; 0 and 1 are the message sets before it.
pub const MAGIC: i8 = 2;

/// Bytes before the batch length counts: base offset and the length itself.
const LENGTH_OVERHEAD_BYTES: usize = 12;
/// Bytes that a broker stamps, outside the CRC: base offset, batch length, partition leader epoch.
const STAMP_BYTES: usize = 16;
/// Where the magic number lies, in all versions.
pub(super) const MAGIC_AT: usize = 16;
/// Where the CRC begins to count.
const CRC_START: usize = 21;

const _: () = assert!(MAGIC_AT == STAMP_BYTES && CRC_START == MAGIC_AT + 1 + 4);

/// What kind of time a batch's timestamps are (KIP-32).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TimestampType {
    /// When the record was made, says its producer.
    #[default]
    CreateTime,
    /// When the batch was appended, says its broker.
    LogAppendTime,
}

/// The attributes of a batch. Bits 7 to 15 are unused; they are kept, and mean nothing.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;

    /// How the records are compressed; the number if it is not one of Kafka's.
    pub fn compression(self) -> Result<Compression, BatchError> {
        let number = (self.0 & Self::CODEC).unsigned_abs().to_le_bytes()[0];
        Compression::from_number(number).ok_or(BatchError::Codec(number))
    }

    /// What kind of time the timestamps are.
    pub const fn timestamp_type(self) -> TimestampType {
        if self.has(Self::LOG_APPEND_TIME) { TimestampType::LogAppendTime } else { TimestampType::CreateTime }
    }

    /// Whether the batch is part of a transaction (KIP-98).
    pub const fn is_transactional(self) -> bool {
        self.has(Self::TRANSACTIONAL)
    }

    /// Whether the records are a broker's, not a user's.
    pub const fn is_control(self) -> bool {
        self.has(Self::CONTROL)
    }

    /// Whether the base timestamp is the time from which tombstones may go (KIP-534).
    pub const fn has_delete_horizon(self) -> bool {
        self.has(Self::DELETE_HORIZON)
    }

    /// These, with another compression.
    #[must_use]
    pub const fn with_compression(self, compression: Compression) -> Self {
        Self(self.0 & !Self::CODEC | compression as i16)
    }

    /// These, with another kind of time.
    #[must_use]
    pub const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        self.set(Self::LOG_APPEND_TIME, matches!(timestamp_type, TimestampType::LogAppendTime))
    }

    /// These, inside or outside of a transaction.
    #[must_use]
    pub const fn with_transactional(self, transactional: bool) -> Self {
        self.set(Self::TRANSACTIONAL, transactional)
    }

    /// These, as a control batch's or a user's.
    #[must_use]
    pub const fn with_control(self, control: bool) -> Self {
        self.set(Self::CONTROL, control)
    }

    /// These, with or without a delete horizon.
    #[must_use]
    pub const fn with_delete_horizon(self, delete_horizon: bool) -> Self {
        self.set(Self::DELETE_HORIZON, delete_horizon)
    }

    const fn has(self, bit: i16) -> bool {
        self.0 & bit != 0
    }

    const fn set(self, bit: i16, on: bool) -> Self {
        Self(if on { self.0 | bit } else { self.0 & !bit })
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attributes({:#06x})", self.0)
    }
}

/// The first 61 bytes of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BatchHeader {
    /// Offset of the first record; 0 until a broker assigns it.
    pub base_offset: i64,
    /// Bytes behind this field, at least 49.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch; -1 until then.
    pub partition_leader_epoch: i32,
    /// CRC-32C of everything behind it.
    pub crc: u32,
    /// Compression and flags.
    pub attributes: Attributes,
    /// Offset of the last record, relative to the first. Compaction keeps it, even if that record goes.
    pub last_offset_delta: i32,
    /// What the records' timestamps are relative to, in milliseconds since the epoch; the delete horizon if
    /// there is one.
    pub base_timestamp: i64,
    /// The latest timestamp of a record, or the time of the append.
    pub max_timestamp: i64,
    /// Who numbers the batches; -1 for none.
    pub producer_id: ProducerId,
    /// Epoch of the producer id; -1 for none.
    pub producer_epoch: i16,
    /// Sequence number of the first record; -1 for none.
    pub base_sequence: i32,
    /// Records in the batch. Compaction may leave none, to keep the producer's sequence.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header of the batch that `bytes` begin with. The rest of the batch need not be there.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let magic = bytes.get(MAGIC_AT).map(|&b| i8::from_be_bytes([b]));
        if let Some(magic) = magic
            && magic != MAGIC
        {
            return Err(BatchError::Magic(magic));
        }
        let Some(header) = bytes.first_chunk::<BATCH_HEADER_BYTES>() else {
            return Err(BatchError::Truncated { needed: BATCH_HEADER_BYTES, found: bytes.len() });
        };
        let mut fields = header.as_slice();
        let base_offset = fields.get_i64();
        let batch_length = fields.get_i32();
        let partition_leader_epoch = fields.get_i32();
        let _magic = fields.get_i8();
        let header = Self {
            base_offset,
            batch_length,
            partition_leader_epoch,
            crc: fields.get_u32(),
            attributes: Attributes(fields.get_i16()),
            last_offset_delta: fields.get_i32(),
            base_timestamp: fields.get_i64(),
            max_timestamp: fields.get_i64(),
            producer_id: ProducerId(fields.get_i64()),
            producer_epoch: fields.get_i16(),
            base_sequence: fields.get_i32(),
            record_count: fields.get_i32(),
        };
        match total_bytes(batch_length) {
            Some(total) if total >= BATCH_HEADER_BYTES => Ok(header),
            _ => Err(BatchError::Length(batch_length)),
        }
    }

    /// Writes the header, CRC included as it stands.
    pub fn encode(&self) -> [u8; BATCH_HEADER_BYTES] {
        let mut header = [0; BATCH_HEADER_BYTES];
        let mut fields = header.as_mut_slice();
        fields.put_i64(self.base_offset);
        fields.put_i32(self.batch_length);
        fields.put_i32(self.partition_leader_epoch);
        fields.put_i8(MAGIC);
        fields.put_u32(self.crc);
        fields.put_i16(self.attributes.0);
        fields.put_i32(self.last_offset_delta);
        fields.put_i64(self.base_timestamp);
        fields.put_i64(self.max_timestamp);
        fields.put_i64(self.producer_id.0);
        fields.put_i16(self.producer_epoch);
        fields.put_i32(self.base_sequence);
        fields.put_i32(self.record_count);
        header
    }

    /// Writes the header in front of `records`, with its length and CRC computed.
    pub(super) fn seal(&mut self, records: &[u8]) -> Result<[u8; BATCH_HEADER_BYTES], BatchError> {
        let length = BATCH_HEADER_BYTES - LENGTH_OVERHEAD_BYTES + records.len();
        self.batch_length = i32::try_from(length).map_err(|_| BatchError::Length(i32::MAX))?;
        self.crc = self.crc_with(records);
        Ok(self.encode())
    }

    fn crc_with(&self, records: &[u8]) -> u32 {
        let header = self.encode();
        let covered = header.get(CRC_START..).unwrap_or_default();
        crc32c::crc32c_append(crc32c::crc32c(covered), records)
    }

    /// Bytes of the whole batch, header included.
    pub fn total_bytes(&self) -> usize {
        total_bytes(self.batch_length).unwrap_or_default()
    }

    /// Offset of the last record, or of the last one there was before compaction.
    pub const fn last_offset(&self) -> i64 {
        self.base_offset.wrapping_add(self.last_offset_delta as i64)
    }

    /// Offset that follows the batch.
    pub const fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// Sequence number of the last record; [`NO_SEQUENCE`] if the records have none.
    pub const fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            NO_SEQUENCE
        } else {
            Self::sequence_after(self.base_sequence, self.last_offset_delta)
        }
    }

    /// The sequence number `n` after `sequence`: 0 follows 2^31 - 1 (`DefaultRecordBatch.incrementSequence`).
    pub const fn sequence_after(sequence: i32, n: i32) -> i32 {
        sequence.wrapping_add(n) & i32::MAX
    }

    /// The time from which tombstones in this batch may go (KIP-534), in milliseconds since the epoch.
    pub const fn delete_horizon_ms(&self) -> Option<i64> {
        if self.attributes.has_delete_horizon() { Some(self.base_timestamp) } else { None }
    }
}

impl Default for BatchHeader {
    /// An empty batch of no producer, at no offset.
    fn default() -> Self {
        Self {
            base_offset: 0,
            batch_length: 0,
            partition_leader_epoch: -1,
            crc: 0,
            attributes: Attributes::default(),
            last_offset_delta: -1,
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            producer_id: ProducerId::NONE,
            producer_epoch: -1,
            base_sequence: NO_SEQUENCE,
            record_count: 0,
        }
    }
}

fn total_bytes(batch_length: i32) -> Option<usize> {
    usize::try_from(batch_length).ok()?.checked_add(LENGTH_OVERHEAD_BYTES)
}

/// One whole batch of version 2, as a view on the bytes it came in. Cloning adds one to a counter.
///
/// The header is well formed and the bytes are as many as it says. All else is hostile until
/// [`Self::check_crc`] or [`validate`](super::validate) says otherwise.
#[derive(Clone, PartialEq)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    /// Takes `bytes` as one batch, whole and alone.
    pub fn new(mut bytes: Bytes) -> Result<Self, BatchError> {
        match Self::split_from(&mut bytes)? {
            Some(_) if !bytes.is_empty() => Err(BatchError::Trailing { bytes: bytes.len() }),
            Some(batch) => Ok(batch),
            None => {
                let needed = match BatchHeader::parse(&bytes) {
                    Ok(header) => header.total_bytes(),
                    Err(_) => BATCH_HEADER_BYTES,
                };
                Err(BatchError::Truncated { needed, found: bytes.len() })
            }
        }
    }

    /// Takes the first batch off `bytes`. `None` if it is not there as a whole: a fetch may cut its last batch
    /// off anywhere, which is no error.
    pub fn split_from(bytes: &mut Bytes) -> Result<Option<Self>, BatchError> {
        let header = match BatchHeader::parse(bytes) {
            Ok(header) => header,
            Err(BatchError::Truncated { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if header.total_bytes() > bytes.len() {
            return Ok(None);
        }
        Ok(Some(Self { header, bytes: bytes.split_to(header.total_bytes()) }))
    }

    /// A batch that was just written, header first.
    pub(super) fn from_parts(header: BatchHeader, bytes: Bytes) -> Self {
        Self { header, bytes }
    }

    /// The header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The whole batch.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The records as they lie in the batch: compressed, if they are.
    pub fn record_block(&self) -> Bytes {
        self.bytes.slice(BATCH_HEADER_BYTES..)
    }

    /// Fails if the bytes are not those that were written.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c::crc32c(self.bytes.get(CRC_START..).unwrap_or_default());
        match computed == self.header.crc {
            true => Ok(()),
            false => Err(BatchError::Crc { stated: self.header.crc, computed }),
        }
    }

    /// The records, inflated within `limits` if they are compressed; else a view on the batch.
    ///
    /// Reading them may still fail: nothing of their inside has been looked at.
    pub fn records(&self, decompressor: &mut Decompressor, limits: &Limits) -> Result<Records, BatchError> {
        let block = match self.header.attributes.compression()? {
            Compression::None => self.record_block(),
            compression => {
                let mut block = Vec::new();
                let compressed = self.bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default();
                decompressor.decompress(compression, compressed, limits, &mut block)?;
                Bytes::from(block)
            }
        };
        Ok(Records::of_batch(&self.header, block))
    }

    /// What a broker writes in place of the batch's first bytes when it appends it: they lie outside the CRC.
    /// [`Self::tail`] follows.
    pub fn stamped_prefix(&self, base_offset: i64, partition_leader_epoch: i32) -> [u8; STAMP_BYTES] {
        let mut prefix = [0; STAMP_BYTES];
        let mut fields = prefix.as_mut_slice();
        fields.put_i64(base_offset);
        fields.put_i32(self.header.batch_length);
        fields.put_i32(partition_leader_epoch);
        prefix
    }

    /// The batch behind what a broker stamps.
    pub fn tail(&self) -> Bytes {
        self.bytes.slice(STAMP_BYTES..)
    }

    /// The batch at another offset and leader epoch, as [`Self::stamped_prefix`] has it, in one piece.
    #[must_use]
    pub fn stamped(self, base_offset: i64, partition_leader_epoch: i32) -> Self {
        self.with_header(|header| {
            header.base_offset = base_offset;
            header.partition_leader_epoch = partition_leader_epoch;
        })
    }

    /// The batch with another kind of time and max timestamp. They lie inside the CRC, which is computed anew; the
    /// records are not copied unless someone else holds the bytes too.
    ///
    /// A broker does so for `message.timestamp.type=LogAppendTime`, and where a producer's max timestamp is not
    /// that of its records.
    #[must_use]
    pub fn with_timestamps(self, timestamp_type: TimestampType, max_timestamp: i64) -> Self {
        self.with_header(|header| {
            header.attributes = header.attributes.with_timestamp_type(timestamp_type);
            header.max_timestamp = max_timestamp;
        })
    }

    /// The batch with the time at which it is appended, in milliseconds since the epoch.
    #[must_use]
    pub fn with_log_append_time(self, now_ms: i64) -> Self {
        self.with_timestamps(TimestampType::LogAppendTime, now_ms)
    }

    /// The batch under another producer id, epoch and sequence: a producer that had to bump its epoch numbers
    /// anew what it had sealed (KIP-360).
    #[must_use]
    pub fn with_producer(self, producer_id: ProducerId, producer_epoch: i16, base_sequence: i32) -> Self {
        self.with_header(|header| {
            header.producer_id = producer_id;
            header.producer_epoch = producer_epoch;
            header.base_sequence = base_sequence;
        })
    }

    /// A header with changes, as bytes to write in front of [`Self::record_block`]: for a broker that neither
    /// owns the batch's bytes alone nor wants to copy them.
    pub fn restamped_header(&self, change: impl FnOnce(&mut BatchHeader)) -> [u8; BATCH_HEADER_BYTES] {
        self.changed_header(change).encode()
    }

    fn changed_header(&self, change: impl FnOnce(&mut BatchHeader)) -> BatchHeader {
        let mut header = self.header;
        change(&mut header);
        // The records are the same, and so is their length.
        header.batch_length = self.header.batch_length;
        if self.header.encode().get(CRC_START..) != header.encode().get(CRC_START..) {
            header.crc = header.crc_with(self.bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default());
        }
        header
    }

    fn with_header(self, change: impl FnOnce(&mut BatchHeader)) -> Self {
        let header = self.changed_header(change);
        let mut bytes = self.bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        if let Some(place) = bytes.first_chunk_mut() {
            *place = header.encode();
        }
        Self { header, bytes: bytes.freeze() }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("header", &self.header).field("bytes", &self.bytes.len()).finish()
    }
}
