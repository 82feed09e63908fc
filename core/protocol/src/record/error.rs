//! Why a batch is refused.

use std::fmt;

use crate::{
    compression::{CompressError, DecompressError, DecompressFault},
    error_code::ErrorCode,
};

/// Why bytes are no batch, or one that a broker does not take.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BatchError {
    /// Fewer bytes than the batch takes.
    Truncated {
        /// Bytes that it takes.
        needed: usize,
        /// Bytes that there are.
        found: usize,
    },
    /// A batch length that no batch can have.
    Length(i32),
    /// More bytes than the batch takes.
    Trailing {
        /// How many more.
        bytes: usize,
    },
    /// A magic number other than the one that is read here.
    Magic(i8),
    /// The bytes are not those that were written.
    Crc {
        /// The checksum that the batch states.
        stated: u32,
        /// The checksum of its bytes.
        computed: u32,
    },
    /// A codec that Kafka does not define, by its number.
    Codec(u8),
    /// A record count that is not positive, or that the offsets contradict.
    Count {
        /// The count that the header states.
        record_count: i32,
        /// The offset of the last record, relative to the first, that it states.
        last_offset_delta: i32,
    },
    /// A control batch from a client.
    Control,
    /// The timestamp type is log-append time, which is the broker's to set (KIP-32).
    LogAppendTime,
    /// A delete horizon, which is the log cleaner's to set (KIP-534).
    DeleteHorizon,
    /// A producer id with a negative sequence or epoch, or a transactional batch without a producer id.
    Producer {
        /// The producer id that the header states.
        producer_id: i64,
        /// The producer epoch.
        producer_epoch: i16,
        /// The sequence number of the first record.
        base_sequence: i32,
    },
    /// The records cannot be inflated, or may not.
    Decompress(DecompressError),
    /// The codec failed to compress the records.
    Compress(CompressError),
    /// A record that cannot be read.
    Record {
        /// Its place in the batch, from 0.
        index: u32,
        /// What is wrong with it.
        fault: RecordFault,
    },
    /// Fewer records than the header states.
    RecordsMissing {
        /// Records that there are.
        found: u32,
        /// Records that the header states.
        stated: i32,
    },
    /// Bytes behind the last record.
    TrailingRecords,
    /// A record of an old message set that is itself compressed, or a compressed message without content.
    LegacyNesting,
    /// A message of old sets whose offset cannot be that of the last message inside it.
    LegacyOffset {
        /// Offset of the message.
        wrapper: i64,
        /// Offset of the last message inside, relative to the first.
        last: i64,
    },
    /// The batch's own timestamps lie outside of what the topic takes; the records were not looked at.
    Timestamp(RejectionReason),
    /// Records that are well formed, but that the topic does not take.
    Rejected(Box<Rejections>),
}

impl BatchError {
    /// The error that a Produce answer gives for it.
    ///
    /// Damage is CORRUPT_MESSAGE, which producers retry; what the CRC covers is what the producer meant to send, so
    /// everything behind it is final.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::Truncated { .. } | Self::Length(_) | Self::Trailing { .. } | Self::Crc { .. } => {
                ErrorCode::CORRUPT_MESSAGE
            }
            Self::Codec(_) => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            Self::Compress(_) => ErrorCode::UNKNOWN_SERVER_ERROR,
            Self::LogAppendTime | Self::Timestamp(_) => ErrorCode::INVALID_TIMESTAMP,
            Self::Decompress(DecompressError { fault: DecompressFault::TooLarge { .. }, .. }) => {
                ErrorCode::MESSAGE_TOO_LARGE
            }
            Self::Rejected(rejections) => rejections.error_code(),
            Self::Magic(_)
            | Self::Count { .. }
            | Self::Control
            | Self::DeleteHorizon
            | Self::Producer { .. }
            | Self::Decompress(_)
            | Self::Record { .. }
            | Self::RecordsMissing { .. }
            | Self::TrailingRecords
            | Self::LegacyNesting
            | Self::LegacyOffset { .. } => ErrorCode::INVALID_RECORD,
        }
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, found } => {
                write!(f, "the batch takes {needed} bytes, {found} are there")
            }
            Self::Length(length) => write!(f, "`{length}` is no length of a batch"),
            Self::Trailing { bytes } => write!(f, "{bytes} bytes follow the batch"),
            Self::Magic(magic @ (0 | 1)) => {
                write!(f, "the batch is of version {magic}; send version 2, which Kafka has had since 0.11")
            }
            Self::Magic(magic) => write!(f, "`{magic}` is no version of a batch"),
            Self::Crc { stated, computed } => {
                write!(f, "the batch is damaged: its CRC is `{computed:08x}`, but it states `{stated:08x}`")
            }
            Self::Codec(number) => write!(f, "`{number}` is no compression; Kafka has 0 to 4"),
            Self::Count { record_count, last_offset_delta } => write!(
                f,
                "the batch states {record_count} records, but its last offset delta is {last_offset_delta}"
            ),
            Self::Control => write!(f, "only brokers write control batches"),
            Self::LogAppendTime => {
                write!(f, "the timestamp type is log-append time, which only a broker sets; send create time")
            }
            Self::DeleteHorizon => write!(f, "the batch has a delete horizon, which only a log cleaner sets"),
            Self::Producer { producer_id, producer_epoch, base_sequence } => write!(
                f,
                "producer id {producer_id}, epoch {producer_epoch} and sequence {base_sequence} do not go together"
            ),
            Self::Decompress(error) => write!(f, "{error}"),
            Self::Compress(error) => write!(f, "{error}"),
            Self::Record { index, fault } => write!(f, "record {index} of the batch: {fault}"),
            Self::RecordsMissing { found, stated } => {
                write!(f, "the batch holds {found} records, but states {stated}")
            }
            Self::TrailingRecords => write!(f, "more follows the last record that the batch states"),
            Self::LegacyNesting => write!(f, "the compressed message holds no messages, or compressed ones"),
            Self::LegacyOffset { wrapper, last } => {
                write!(
                    f,
                    "the compressed message has offset {wrapper}, but {last} messages precede its last one"
                )
            }
            Self::Timestamp(reason) => write!(f, "the batch: {reason}"),
            Self::Rejected(rejections) => write!(f, "{rejections}"),
        }
    }
}

impl std::error::Error for BatchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Decompress(error) => Some(error),
            Self::Compress(error) => Some(error),
            _ => None,
        }
    }
}

impl From<DecompressError> for BatchError {
    fn from(error: DecompressError) -> Self {
        Self::Decompress(error)
    }
}

impl From<CompressError> for BatchError {
    fn from(error: CompressError) -> Self {
        Self::Compress(error)
    }
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RecordFault {
    /// It ends before its fields do.
    Truncated,
    /// A number of variable length that does not end in time.
    Varint,
    /// A length or count that is negative.
    Length(i32),
    /// It inflates to more than the topic takes: `max.decompressed.message.bytes`.
    TooLarge {
        /// Bytes that it takes.
        bytes: usize,
        /// The most that the topic takes.
        bytes_max: usize,
    },
    /// An offset delta that does not follow the one before.
    OffsetDelta {
        /// The delta that should be there.
        expected: u32,
        /// The delta that is there.
        found: i32,
    },
    /// The name of a header is null.
    HeaderKeyNull,
    /// The name of a header is not UTF-8.
    HeaderKeyUtf8,
    /// It is longer than its fields.
    Trailing,
    /// A message of an old set with a magic number that it cannot have.
    Magic(i8),
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "it ends before its fields do"),
            Self::Varint => write!(f, "a number in it does not end in time"),
            Self::Length(n) => write!(f, "`{n}` is no length of a part of it"),
            Self::TooLarge { bytes, bytes_max } => {
                write!(
                    f,
                    "it inflates to {bytes} bytes, and the topic takes {bytes_max} (`max.decompressed.message.bytes`)"
                )
            }
            Self::OffsetDelta { expected, found } => {
                write!(f, "its offset delta is {found}, and {expected} would be next")
            }
            Self::HeaderKeyNull => write!(f, "the name of a header is null"),
            Self::HeaderKeyUtf8 => write!(f, "the name of a header is not UTF-8"),
            Self::Trailing => write!(f, "it is longer than its fields"),
            Self::Magic(magic) => write!(f, "`{magic}` is no version that it can have"),
        }
    }
}

/// Most rejected records that are named one by one; a Produce answer carries them all.
pub const RECORD_ERRORS_MAX: usize = 100;

/// Records that a topic does not take.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rejections {
    /// The first [`RECORD_ERRORS_MAX`] of them, in the order of the batch.
    pub first: Vec<Rejection>,
    /// How many there are.
    pub total: u32,
    /// Whether one of them, named above or not, has a timestamp out of range.
    pub timestamp: bool,
}

impl Rejections {
    pub(super) fn push(&mut self, index: u32, reason: RejectionReason) {
        self.total += 1;
        self.timestamp |= matches!(reason, RejectionReason::Timestamp { .. });
        if self.first.len() < RECORD_ERRORS_MAX {
            self.first.push(Rejection { index, reason });
        }
    }

    /// INVALID_TIMESTAMP if any timestamp is out of range, as Kafka has it; else INVALID_RECORD.
    pub fn error_code(&self) -> ErrorCode {
        if self.timestamp { ErrorCode::INVALID_TIMESTAMP } else { ErrorCode::INVALID_RECORD }
    }
}

impl fmt::Display for Rejections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the topic does not take {} records of the batch", self.total)?;
        for Rejection { index, reason } in self.first.iter().take(3) {
            write!(f, "; record {index}: {reason}")?;
        }
        Ok(())
    }
}

/// One record that a topic does not take: an entry of a Produce answer's record errors (KIP-467).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rejection {
    /// Its place in the batch, from 0.
    pub index: u32,
    /// Why.
    pub reason: RejectionReason,
}

/// Why a topic does not take a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RejectionReason {
    /// The topic is compacted, and the record has no key.
    NoKey,
    /// The record's time is too far from the broker's.
    Timestamp {
        /// The record's, in milliseconds since the epoch, as the following.
        timestamp: i64,
        /// The earliest that the topic takes.
        earliest: i64,
        /// The latest that the topic takes.
        latest: i64,
    },
}

impl fmt::Display for RejectionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => write!(f, "a compacted topic takes no record without a key"),
            Self::Timestamp { timestamp, earliest, latest } => {
                write!(f, "its timestamp `{timestamp}` is not within {earliest} and {latest}")
            }
        }
    }
}
