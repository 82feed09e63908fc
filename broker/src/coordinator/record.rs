//! What `__consumer_offsets` holds: records of Kafka's own formats, key and value each behind a version.
//!
//! The version of the key tells the type of the record, that of the value its layout. A record without value says that
//! what its key names is no more.

use ottla_protocol::{
    Bytes,
    messages::group::{
        group_metadata_key::GroupMetadataKey, group_metadata_value::GroupMetadataValue,
        legacy_offset_commit_key::LegacyOffsetCommitKey, legacy_offset_commit_value::LegacyOffsetCommitValue,
        offset_commit_key::OffsetCommitKey, offset_commit_value::OffsetCommitValue,
    },
    types::GroupId,
    wire::{Malformed, Reader, Unsupported, Wire, Writer},
};

/// Type of the oldest records of offsets, which are read and never written.
const LEGACY_OFFSET_COMMIT: i16 = 0;
const OFFSET_COMMIT: i16 = 1;
const GROUP_METADATA: i16 = 2;

/// The layouts that are written, as Kafka 4.3 writes them.
const OFFSET_COMMIT_VERSION: i16 = 4;
/// With an expiry time of the offset's own, which clients of old could ask for.
const OFFSET_COMMIT_EXPIRING_VERSION: i16 = 1;
const GROUP_METADATA_VERSION: i16 = 3;

/// A record of a coordinator.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// How far a group has read a partition.
    OffsetCommit { key: OffsetCommitKey, value: Option<OffsetCommitValue> },
    /// A classic group, with its members and what they were assigned.
    Group { id: GroupId, value: Option<GroupMetadataValue> },
}

/// Why the bytes of a record are none of those that are known.
#[derive(Debug)]
pub(crate) enum InvalidRecord {
    /// A type that this broker does not know.
    UnknownType(i16),
    Malformed(Malformed),
}

impl From<Malformed> for InvalidRecord {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl std::fmt::Display for InvalidRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownType(number) => write!(f, "type {number} is not known"),
            Self::Malformed(malformed) => write!(f, "{malformed}"),
        }
    }
}

impl Record {
    /// A group's state; `None` if it is no more.
    pub(crate) fn group(id: &GroupId, value: Option<GroupMetadataValue>) -> Self {
        Self::Group { id: id.clone(), value }
    }

    /// Key and value, as the log has them.
    pub(crate) fn encode(&self) -> Result<(Bytes, Option<Bytes>), Unsupported> {
        match self {
            Self::OffsetCommit { key, value } => {
                let version = |v: &OffsetCommitValue| match v.expire_timestamp {
                    -1 => OFFSET_COMMIT_VERSION,
                    _ => OFFSET_COMMIT_EXPIRING_VERSION,
                };
                let value = value.as_ref().map(|v| versioned(version(v), v, version(v))).transpose()?;
                Ok((versioned(OFFSET_COMMIT, key, 0)?, value))
            }
            Self::Group { id, value } => {
                let key = GroupMetadataKey { group: id.0.clone() };
                let encoded = |v| versioned(GROUP_METADATA_VERSION, v, GROUP_METADATA_VERSION);
                Ok((versioned(GROUP_METADATA, &key, 0)?, value.as_ref().map(encoded).transpose()?))
            }
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// If it is of a type that is not known, or malformed.
    pub(crate) fn decode(key: Bytes, value: Option<Bytes>) -> Result<Self, InvalidRecord> {
        let mut key = Reader::new(key);
        match key.i16()? {
            LEGACY_OFFSET_COMMIT => {
                let LegacyOffsetCommitKey { group, topic, partition } = Wire::read(&mut key, 0)?;
                let value = value.map(read_versioned::<LegacyOffsetCommitValue>).transpose()?;
                Ok(Self::OffsetCommit {
                    key: OffsetCommitKey { group, topic, partition },
                    value: value.map(|v| OffsetCommitValue {
                        offset: v.offset,
                        metadata: v.metadata,
                        commit_timestamp: v.commit_timestamp,
                        ..Default::default()
                    }),
                })
            }
            OFFSET_COMMIT => Ok(Self::OffsetCommit {
                key: Wire::read(&mut key, 0)?,
                value: value.map(read_versioned).transpose()?,
            }),
            GROUP_METADATA => {
                let GroupMetadataKey { group } = Wire::read(&mut key, 0)?;
                Ok(Self::Group { id: GroupId(group), value: value.map(read_versioned).transpose()? })
            }
            other => Err(InvalidRecord::UnknownType(other)),
        }
    }
}

/// A message behind the number that tells its type or layout.
fn versioned<T: Wire>(number: i16, message: &T, version: i16) -> Result<Bytes, Unsupported> {
    let mut w = Writer::new();
    w.i16(number);
    message.write(&mut w, version)?;
    Ok(w.into_bytes())
}

fn read_versioned<T: Wire>(bytes: Bytes) -> Result<T, Malformed> {
    let mut r = Reader::new(bytes);
    let version = r.i16()?;
    let message = T::read(&mut r, version)?;
    r.finish()?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(expire_timestamp: i64) -> Record {
        Record::OffsetCommit {
            key: OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 3 },
            value: Some(OffsetCommitValue {
                offset: 42,
                metadata: "m".into(),
                commit_timestamp: 1_700_000_000_000,
                expire_timestamp,
                ..Default::default()
            }),
        }
    }

    #[test]
    fn records_come_back_as_they_were_written() {
        let group =
            Record::group(&"g".into(), Some(GroupMetadataValue { generation: 7, ..Default::default() }));
        let gone = Record::group(&"g".into(), None);
        for record in [offset(-1), offset(1_700_000_000_001), group, gone] {
            let (key, value) = record.encode().unwrap();
            assert_eq!(Record::decode(key, value).unwrap(), record);
        }
    }

    #[test]
    fn the_bytes_are_kafkas() {
        let (key, value) = offset(-1).encode().unwrap();
        assert_eq!(key[..], *b"\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x03");
        let value = value.unwrap();
        // Version 4 is flexible: compact strings, and tagged fields at the end.
        assert_eq!(value[..2], [0, 4]);
        assert_eq!(value[2..10], 42i64.to_be_bytes());
        assert_eq!(value[14..16], [2, b'm']);
    }

    #[test]
    fn a_type_from_the_future_is_told_apart_from_damage() {
        let unknown = Record::decode(Bytes::from_static(&[0, 99]), None).unwrap_err();
        assert!(matches!(unknown, InvalidRecord::UnknownType(99)));
        let damaged = Record::decode(Bytes::from_static(&[0, 1, 0, 9, b'x']), None).unwrap_err();
        assert!(matches!(damaged, InvalidRecord::Malformed(_)));
    }
}
