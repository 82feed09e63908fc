//! What `__consumer_offsets` holds: records of Kafka's own formats, key and value each behind a version.
//!
//! The version of the key tells the type of the record, that of the value its layout. A record without value says that
//! what its key names is no more.

use ottla_protocol::{
    Bytes,
    messages::group::{
        consumer_group_current_member_assignment_key::ConsumerGroupCurrentMemberAssignmentKey,
        consumer_group_current_member_assignment_value::ConsumerGroupCurrentMemberAssignmentValue,
        consumer_group_member_metadata_key::ConsumerGroupMemberMetadataKey,
        consumer_group_member_metadata_value::ConsumerGroupMemberMetadataValue,
        consumer_group_metadata_key::ConsumerGroupMetadataKey,
        consumer_group_metadata_value::ConsumerGroupMetadataValue,
        consumer_group_regular_expression_key::ConsumerGroupRegularExpressionKey,
        consumer_group_regular_expression_value::ConsumerGroupRegularExpressionValue,
        consumer_group_target_assignment_member_key::ConsumerGroupTargetAssignmentMemberKey,
        consumer_group_target_assignment_member_value::ConsumerGroupTargetAssignmentMemberValue,
        consumer_group_target_assignment_metadata_key::ConsumerGroupTargetAssignmentMetadataKey,
        consumer_group_target_assignment_metadata_value::ConsumerGroupTargetAssignmentMetadataValue,
        group_metadata_key::GroupMetadataKey, group_metadata_value::GroupMetadataValue,
        legacy_offset_commit_key::LegacyOffsetCommitKey, legacy_offset_commit_value::LegacyOffsetCommitValue,
        offset_commit_key::OffsetCommitKey, offset_commit_value::OffsetCommitValue,
    },
    types::{GroupId, Str},
    wire::{Malformed, Reader, Unsupported, Wire, Writer},
};

/// Type of the oldest records of offsets, which are read and never written.
const LEGACY_OFFSET_COMMIT: i16 = 0;
const OFFSET_COMMIT: i16 = 1;
const GROUP_METADATA: i16 = 2;
const CONSUMER_GROUP_METADATA: i16 = 3;
const CONSUMER_GROUP_MEMBER_METADATA: i16 = 5;
const CONSUMER_GROUP_TARGET_METADATA: i16 = 6;
const CONSUMER_GROUP_TARGET_MEMBER: i16 = 7;
const CONSUMER_GROUP_CURRENT_MEMBER: i16 = 8;
const CONSUMER_GROUP_REGULAR_EXPRESSION: i16 = 16;

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
    /// Something of a consumer group (KIP-848).
    Consumer { group: GroupId, part: ConsumerPart },
}

/// What of a consumer group a record tells; without value, what is no more (KIP-848).
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ConsumerPart {
    /// The group and its epoch.
    Epoch(Option<ConsumerGroupMetadataValue>),
    /// What a member has said of itself.
    Member(Str, Option<ConsumerGroupMemberMetadataValue>),
    /// The epoch that the target is for.
    TargetEpoch(Option<ConsumerGroupTargetAssignmentMetadataValue>),
    /// What a member is to have.
    Target(Str, Option<ConsumerGroupTargetAssignmentMemberValue>),
    /// What a member has.
    Current(Str, Option<ConsumerGroupCurrentMemberAssignmentValue>),
    /// The topics that a regular expression stands for.
    Pattern(Str, Option<ConsumerGroupRegularExpressionValue>),
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
            Self::Consumer { group, part } => part.encode(&group.0),
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
            other => ConsumerPart::decode(other, &mut key, value),
        }
    }
}

impl ConsumerPart {
    /// Whether it says that something is no more.
    pub(crate) const fn is_tombstone(&self) -> bool {
        match self {
            Self::Epoch(value) => value.is_none(),
            Self::Member(_, value) => value.is_none(),
            Self::TargetEpoch(value) => value.is_none(),
            Self::Target(_, value) => value.is_none(),
            Self::Current(_, value) => value.is_none(),
            Self::Pattern(_, value) => value.is_none(),
        }
    }

    fn encode(&self, group: &Str) -> Result<(Bytes, Option<Bytes>), Unsupported> {
        fn both<T: Wire>(
            number: i16,
            key: &impl Wire,
            value: Option<&T>,
        ) -> Result<(Bytes, Option<Bytes>), Unsupported> {
            Ok((versioned(number, key, 0)?, value.map(|value| versioned(0, value, 0)).transpose()?))
        }
        let group_id = group.clone();
        match self {
            Self::Epoch(value) => {
                both(CONSUMER_GROUP_METADATA, &ConsumerGroupMetadataKey { group_id }, value.as_ref())
            }
            Self::Member(id, value) => {
                let key = ConsumerGroupMemberMetadataKey { group_id, member_id: id.clone() };
                both(CONSUMER_GROUP_MEMBER_METADATA, &key, value.as_ref())
            }
            Self::TargetEpoch(value) => {
                let key = ConsumerGroupTargetAssignmentMetadataKey { group_id };
                both(CONSUMER_GROUP_TARGET_METADATA, &key, value.as_ref())
            }
            Self::Target(id, value) => {
                let key = ConsumerGroupTargetAssignmentMemberKey { group_id, member_id: id.clone() };
                both(CONSUMER_GROUP_TARGET_MEMBER, &key, value.as_ref())
            }
            Self::Current(id, value) => {
                let key = ConsumerGroupCurrentMemberAssignmentKey { group_id, member_id: id.clone() };
                both(CONSUMER_GROUP_CURRENT_MEMBER, &key, value.as_ref())
            }
            Self::Pattern(pattern, value) => {
                let key = ConsumerGroupRegularExpressionKey { group_id, regular_expression: pattern.clone() };
                both(CONSUMER_GROUP_REGULAR_EXPRESSION, &key, value.as_ref())
            }
        }
    }

    /// Reads a record of a type that is none of the others'.
    fn decode(number: i16, key: &mut Reader, value: Option<Bytes>) -> Result<Record, InvalidRecord> {
        fn read<T: Wire>(value: Option<Bytes>) -> Result<Option<T>, Malformed> {
            value.map(read_versioned).transpose()
        }
        let (group, part) = match number {
            CONSUMER_GROUP_METADATA => {
                let key: ConsumerGroupMetadataKey = Wire::read(key, 0)?;
                (key.group_id, Self::Epoch(read(value)?))
            }
            CONSUMER_GROUP_MEMBER_METADATA => {
                let key: ConsumerGroupMemberMetadataKey = Wire::read(key, 0)?;
                (key.group_id, Self::Member(key.member_id, read(value)?))
            }
            CONSUMER_GROUP_TARGET_METADATA => {
                let key: ConsumerGroupTargetAssignmentMetadataKey = Wire::read(key, 0)?;
                (key.group_id, Self::TargetEpoch(read(value)?))
            }
            CONSUMER_GROUP_TARGET_MEMBER => {
                let key: ConsumerGroupTargetAssignmentMemberKey = Wire::read(key, 0)?;
                (key.group_id, Self::Target(key.member_id, read(value)?))
            }
            CONSUMER_GROUP_CURRENT_MEMBER => {
                let key: ConsumerGroupCurrentMemberAssignmentKey = Wire::read(key, 0)?;
                (key.group_id, Self::Current(key.member_id, read(value)?))
            }
            CONSUMER_GROUP_REGULAR_EXPRESSION => {
                let key: ConsumerGroupRegularExpressionKey = Wire::read(key, 0)?;
                (key.group_id, Self::Pattern(key.regular_expression, read(value)?))
            }
            other => return Err(InvalidRecord::UnknownType(other)),
        };
        Ok(Record::Consumer { group: GroupId(group), part })
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
        let parts = [
            ConsumerPart::Epoch(Some(ConsumerGroupMetadataValue { epoch: 3, metadata_hash: -7 })),
            ConsumerPart::Member("m".into(), Some(ConsumerGroupMemberMetadataValue::default())),
            ConsumerPart::TargetEpoch(Some(ConsumerGroupTargetAssignmentMetadataValue {
                assignment_epoch: 3,
                assignment_timestamp: 1_700_000_000_000,
            })),
            ConsumerPart::Target("m".into(), Some(ConsumerGroupTargetAssignmentMemberValue::default())),
            ConsumerPart::Current("m".into(), Some(ConsumerGroupCurrentMemberAssignmentValue::default())),
            ConsumerPart::Pattern("t.*".into(), Some(ConsumerGroupRegularExpressionValue::default())),
            ConsumerPart::Epoch(None),
            ConsumerPart::Current("m".into(), None),
        ];
        let parts = parts.map(|part| Record::Consumer { group: "g".into(), part });
        for record in [offset(-1), offset(1_700_000_000_001), group, gone].into_iter().chain(parts) {
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
