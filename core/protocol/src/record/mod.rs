//! Record batches: what a log is made of, on disk and on the wire alike.
//!
//! - [`BatchBuilder`] encodes records one by one into a batch, and seals it: the producer's side
//! - [`Batch`] is one whole batch as a view on the bytes it came in; [`BatchHeader`] its 61 bytes of header
//! - [`validate`] judges a batch that a client sent, as Kafka's `LogValidator` does, without holding its content
//! - [`find`] gives a record's offset and time, without holding the content either
//! - [`Records`] and [`Record`] give the content of a batch, as views
//! - [`ControlRecord`] is what control batches hold: the ends of transactions, and KRaft's notes to itself
//! - [`AnyBatch`] is a batch of any version; the message sets before version 2 are read and never written
//!
//! A batch of version 2 (KIP-98), big-endian; the CRC-32C covers everything behind it:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | base offset |
//! | 8 | 4 | batch length: bytes behind this field |
//! | 12 | 4 | partition leader epoch |
//! | 16 | 1 | magic: 2 |
//! | 17 | 4 | CRC-32C |
//! | 21 | 2 | attributes |
//! | 23 | 4 | last offset delta |
//! | 27 | 8 | base timestamp, or the delete horizon |
//! | 35 | 8 | max timestamp |
//! | 43 | 8 | producer id |
//! | 51 | 2 | producer epoch |
//! | 53 | 4 | base sequence |
//! | 57 | 4 | record count |
//! | 61 | | records, compressed as one block |
//!
//! A record: VARINT of the bytes that follow, INT8 unused, VARLONG timestamp delta, VARINT offset delta, key and
//! value each behind a VARINT length (-1 for null), VARINT header count, and per header the same twice.

mod batch;
mod builder;
mod control;
mod error;
mod find;
mod legacy;
mod recompress;
mod records;
mod validate;
mod varint;
mod window;

pub use batch::{Attributes, BATCH_HEADER_BYTES, Batch, BatchHeader, MAGIC, TimestampType};
pub use builder::{BatchBuilder, PushError, RECORD_OVERHEAD_BYTES_MAX, Seal, SealError, record_bytes_max};
pub use control::{ControlBatch, ControlError, ControlRecord};
pub use error::{BatchError, RECORD_ERRORS_MAX, RecordFault, Rejection, RejectionReason, Rejections};
pub use find::{Stamp, find};
pub use legacy::LegacyBatch;
pub use records::{Header, HeaderIter, Headers, Position, Record, RecordIter, Records};
pub use validate::{Depth, Rules, Scratch, Validated, validate};

use bytes::Bytes;

use crate::compression::{Decompressor, Limits};

/// Stands for "no timestamp" (`RecordBatch.NO_TIMESTAMP`).
pub const NO_TIMESTAMP: i64 = -1;
/// Stands for "no sequence number" (`RecordBatch.NO_SEQUENCE`).
pub const NO_SEQUENCE: i32 = -1;

/// A batch of any version, as a fetch may bring it from an old topic.
#[derive(Clone, Debug)]
pub enum AnyBatch {
    /// Version 2.
    Batch(Batch),
    /// A message of version 0 or 1, maybe with a set of messages compressed into it.
    Legacy(LegacyBatch),
}

impl AnyBatch {
    /// Takes the first whole batch off `bytes`; `None` where a fetch was cut off in a batch, or at the end.
    pub fn split_from(bytes: &mut Bytes) -> Result<Option<Self>, BatchError> {
        match bytes.get(batch::MAGIC_AT).map(|&b| i8::from_be_bytes([b])) {
            None => Ok(None),
            Some(0 | 1) => Ok(LegacyBatch::split_from(bytes)?.map(Self::Legacy)),
            Some(_) => Ok(Batch::split_from(bytes)?.map(Self::Batch)),
        }
    }

    /// Fails if the bytes are not those that were written.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        match self {
            Self::Batch(batch) => batch.check_crc(),
            Self::Legacy(batch) => batch.check_crc(),
        }
    }

    /// Offset of the last record, or of the last one there was before compaction.
    pub fn last_offset(&self) -> i64 {
        match self {
            Self::Batch(batch) => batch.header().last_offset(),
            Self::Legacy(batch) => batch.last_offset(),
        }
    }

    /// Epoch of the leader that wrote it; `None` before version 2, or where it is not known.
    pub fn leader_epoch(&self) -> Option<i32> {
        match self {
            Self::Batch(batch) => Some(batch.header().partition_leader_epoch).filter(|epoch| *epoch >= 0),
            Self::Legacy(_) => None,
        }
    }

    /// The content, inflated if need be.
    pub fn records(&self, decompressor: &mut Decompressor, limits: &Limits) -> Result<Records, BatchError> {
        match self {
            Self::Batch(batch) => batch.records(decompressor, limits),
            Self::Legacy(batch) => batch.records(decompressor, limits),
        }
    }
}
