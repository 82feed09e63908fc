//! Control batches: what brokers write into a log for each other (KIP-98, KIP-595, KIP-630, KIP-853).
//!
//! The key of a control record is INT16 version and INT16 type; the value depends on the type. Clients pass over
//! all of them.

use std::fmt;

use bytes::{Buf, BufMut, Bytes};

use super::{Batch, BatchBuilder, Headers, NO_SEQUENCE, PushError, Record, Seal, SealError};
use crate::{
    compression::{Codec, Compressor},
    types::ProducerId,
};

/// One control record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ControlRecord {
    /// The producer's transaction was aborted.
    Abort {
        /// Epoch of the transaction coordinator that says so.
        coordinator_epoch: i32,
    },
    /// The producer's transaction was committed.
    Commit {
        /// Epoch of the transaction coordinator that says so.
        coordinator_epoch: i32,
    },
    /// A KRaft leader took office: a `LeaderChangeMessage`.
    LeaderChange(Bytes),
    /// Begin of a KRaft snapshot: a `SnapshotHeaderRecord`.
    SnapshotHeader(Bytes),
    /// End of a KRaft snapshot: a `SnapshotFooterRecord`.
    SnapshotFooter(Bytes),
    /// The `kraft.version` of the quorum: a `KRaftVersionRecord`.
    KRaftVersion(Bytes),
    /// The voters of the quorum: a `VotersRecord`.
    KRaftVoters(Bytes),
    /// A type that this release does not know; to be passed over.
    Unknown {
        /// Its number.
        record_type: i16,
    },
}

/// The version of keys and of transaction markers that is written.
const VERSION: i16 = 0;

impl ControlRecord {
    const ABORT: i16 = 0;
    const COMMIT: i16 = 1;
    const LEADER_CHANGE: i16 = 2;
    const SNAPSHOT_HEADER: i16 = 3;
    const SNAPSHOT_FOOTER: i16 = 4;
    const KRAFT_VERSION: i16 = 5;
    const KRAFT_VOTERS: i16 = 6;

    /// The number of the type.
    pub const fn record_type(&self) -> i16 {
        match self {
            Self::Abort { .. } => Self::ABORT,
            Self::Commit { .. } => Self::COMMIT,
            Self::LeaderChange(_) => Self::LEADER_CHANGE,
            Self::SnapshotHeader(_) => Self::SNAPSHOT_HEADER,
            Self::SnapshotFooter(_) => Self::SNAPSHOT_FOOTER,
            Self::KRaftVersion(_) => Self::KRAFT_VERSION,
            Self::KRaftVoters(_) => Self::KRAFT_VOTERS,
            Self::Unknown { record_type } => *record_type,
        }
    }

    /// Reads a record of a batch whose [`Attributes`](super::Attributes) say that it is a control batch. Newer
    /// versions of key and marker begin as this one does.
    pub fn parse(record: &Record<'_>) -> Result<Self, ControlError> {
        let mut key = record.key.unwrap_or_default();
        if key.len() < 4 {
            return Err(ControlError::Key);
        }
        let (version, record_type) = (key.get_i16(), key.get_i16());
        if version < 0 {
            return Err(ControlError::Key);
        }
        let value = || Bytes::copy_from_slice(record.value.unwrap_or_default());
        let coordinator_epoch = || {
            let mut marker = record.value.unwrap_or_default();
            if marker.len() < 6 || marker.get_i16() < 0 {
                return Err(ControlError::Marker);
            }
            Ok(marker.get_i32())
        };
        Ok(match record_type {
            Self::ABORT => Self::Abort { coordinator_epoch: coordinator_epoch()? },
            Self::COMMIT => Self::Commit { coordinator_epoch: coordinator_epoch()? },
            Self::LEADER_CHANGE => Self::LeaderChange(value()),
            Self::SNAPSHOT_HEADER => Self::SnapshotHeader(value()),
            Self::SNAPSHOT_FOOTER => Self::SnapshotFooter(value()),
            Self::KRAFT_VERSION => Self::KRaftVersion(value()),
            Self::KRAFT_VOTERS => Self::KRaftVoters(value()),
            record_type => Self::Unknown { record_type },
        })
    }

    fn key(&self) -> [u8; 4] {
        let mut key = [0; 4];
        let mut fields = key.as_mut_slice();
        fields.put_i16(VERSION);
        fields.put_i16(self.record_type());
        key
    }

    fn value(&self) -> Bytes {
        match self {
            Self::Abort { coordinator_epoch } | Self::Commit { coordinator_epoch } => {
                let mut marker = Vec::with_capacity(6);
                marker.put_i16(VERSION);
                marker.put_i32(*coordinator_epoch);
                Bytes::from(marker)
            }
            Self::LeaderChange(value)
            | Self::SnapshotHeader(value)
            | Self::SnapshotFooter(value)
            | Self::KRaftVersion(value)
            | Self::KRaftVoters(value) => value.clone(),
            Self::Unknown { .. } => Bytes::new(),
        }
    }
}

/// What a control batch is written with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ControlBatch {
    /// Offset of the first record; 0 if it is stamped later.
    pub base_offset: i64,
    /// Epoch of the leader that appends; -1 if it is stamped later.
    pub partition_leader_epoch: i32,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The producer whose transaction ends here; [`ProducerId::NONE`] for KRaft's records.
    pub producer_id: ProducerId,
    /// Epoch of the producer id; -1 for none.
    pub producer_epoch: i16,
}

impl ControlBatch {
    /// Writes `records` as one batch; of a transaction if there is a producer. Transaction markers come alone.
    pub fn build(&self, records: &[ControlRecord]) -> Result<Batch, ControlError> {
        let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
        for record in records {
            let (key, value) = (record.key(), record.value());
            builder
                .push(self.timestamp, Some(&key), Some(&value), Headers::NONE)
                .map_err(ControlError::Push)?;
        }
        let seal = Seal {
            codec: Codec::NONE,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: NO_SEQUENCE,
            transactional: self.producer_id != ProducerId::NONE,
            control: true,
            base_offset: self.base_offset,
            partition_leader_epoch: self.partition_leader_epoch,
            ..Seal::default()
        };
        builder.seal(&seal, &mut Compressor::new()).map_err(ControlError::Seal)
    }
}

/// Why a control record cannot be read or written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ControlError {
    /// The key is no version and type.
    Key,
    /// The value of a transaction's end is no version and epoch.
    Marker,
    /// The batch has no room.
    Push(PushError),
    /// The batch could not be sealed.
    Seal(SealError),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => write!(f, "the key of the control record is no version and type"),
            Self::Marker => write!(f, "the end of the transaction has no coordinator epoch"),
            Self::Push(error) => write!(f, "{error}"),
            Self::Seal(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ControlError {}
