//! The records of the metadata log, in Kafka's own framing.
//!
//! ```text
//! frame version uvarint = 1 | record kind uvarint | record version uvarint | body
//! ```
//!
//! The frame is the value of a record of the log `__cluster_metadata-0`; the key is null. Kafka's
//! `AbstractApiMessageSerde` is the source of the framing, its `metadata` schemas are the source of the bodies.

use std::fmt;

use bytes::Bytes;
use ottla_protocol::{
    messages::metadata_log::{
        access_control_entry_record::AccessControlEntryRecord,
        broker_registration_change_record::BrokerRegistrationChangeRecord, clear_elr_record::ClearElrRecord,
        config_record::ConfigRecord, feature_level_record::FeatureLevelRecord,
        fence_broker_record::FenceBrokerRecord, no_op_record::NoOpRecord,
        partition_change_record::PartitionChangeRecord, partition_record::PartitionRecord,
        producer_ids_record::ProducerIdsRecord, register_broker_record::RegisterBrokerRecord,
        remove_access_control_entry_record::RemoveAccessControlEntryRecord,
        remove_topic_record::RemoveTopicRecord,
        remove_user_scram_credential_record::RemoveUserScramCredentialRecord, topic_record::TopicRecord,
        unfence_broker_record::UnfenceBrokerRecord, unregister_broker_record::UnregisterBrokerRecord,
        user_scram_credential_record::UserScramCredentialRecord,
    },
    wire::{Malformed, Reader, Unsupported, Wire, Writer},
};

/// The only frame version there is.
const FRAME_VERSION: u32 = 1;

/// Declares [`MetadataRecord`]: each kind with its number.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident($record:ident) = $key:literal;)*) => {
        /// One fact of the metadata log.
        ///
        /// These are the kinds that this release acts on. A log that holds any other is refused: to pass over a
        /// quota, say, would open what somebody closed.
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) enum MetadataRecord {
            $($(#[$doc])* $kind($record),)*
        }

        impl MetadataRecord {
            /// Its number in the log.
            fn key(&self) -> u32 {
                match self {
                    $(Self::$kind(_) => $key,)*
                }
            }

            fn write_body(&self, w: &mut Writer, version: i16) -> Result<(), Unsupported> {
                match self {
                    $(Self::$kind(record) => record.write(w, version),)*
                }
            }

            fn read_body(key: u32, r: &mut Reader, version: i16) -> Result<Self, InvalidRecord> {
                match key {
                    $($key => $record::read(r, version)
                        .map(Self::$kind)
                        .map_err(|fault| InvalidRecord::Body { kind: stringify!($record), fault }),)*
                    _ => Err(InvalidRecord::UnknownKind { key }),
                }
            }
        }

        $(impl From<$record> for MetadataRecord {
            fn from(record: $record) -> Self {
                Self::$kind(record)
            }
        })*
    };
}

kinds! {
    /// A broker came up. Its epoch is the offset of this record.
    RegisterBroker(RegisterBrokerRecord) = 0;
    /// A broker is gone for good.
    UnregisterBroker(UnregisterBrokerRecord) = 1;
    /// There is a topic; its partitions follow.
    Topic(TopicRecord) = 2;
    /// There is a partition, with these replicas.
    Partition(PartitionRecord) = 3;
    /// A configuration value is set, or taken away if it is null.
    Config(ConfigRecord) = 4;
    /// A partition's leader, replicas or in-sync replicas changed.
    PartitionChange(PartitionChangeRecord) = 5;
    /// A broker must not lead (before metadata.version 3.0-IV1 only; later [`Self::BrokerRegistrationChange`]).
    FenceBroker(FenceBrokerRecord) = 7;
    /// A broker may lead.
    UnfenceBroker(UnfenceBrokerRecord) = 8;
    /// A topic is gone, with its partitions and its configuration.
    RemoveTopic(RemoveTopicRecord) = 9;
    /// A user may log in by SCRAM.
    UserScramCredential(UserScramCredentialRecord) = 11;
    /// A feature is finalised at a level.
    FeatureLevel(FeatureLevelRecord) = 12;
    /// Producer ids below this one are handed out.
    ProducerIds(ProducerIdsRecord) = 15;
    /// A broker is fenced, unfenced, or shutting down.
    BrokerRegistrationChange(BrokerRegistrationChangeRecord) = 17;
    /// An access rule.
    AccessControlEntry(AccessControlEntryRecord) = 18;
    /// An access rule is gone.
    RemoveAccessControlEntry(RemoveAccessControlEntryRecord) = 19;
    /// Nothing; Kafka's controller writes it to see that it can.
    NoOp(NoOpRecord) = 20;
    /// A user may not log in by SCRAM any more.
    RemoveUserScramCredential(RemoveUserScramCredentialRecord) = 22;
    /// No replica is eligible any more but those in sync (KIP-966).
    ClearElr(ClearElrRecord) = 28;
}

impl MetadataRecord {
    /// The bytes that the log holds as a record's value.
    ///
    /// Fails only if a field holds what [`Self::version`] cannot carry, which the controller's own records do not.
    pub(crate) fn encode(&self) -> Result<Bytes, Unsupported> {
        let mut w = Writer::new();
        w.uvarint(FRAME_VERSION);
        w.uvarint(self.key());
        let version = self.version();
        w.uvarint(version.unsigned_abs().into());
        self.write_body(&mut w, version)?;
        Ok(w.into_bytes())
    }

    /// Reads the value of a record, the whole of it.
    pub(crate) fn decode(value: Bytes) -> Result<Self, InvalidRecord> {
        let mut r = Reader::new(value);
        let frame_version = r.uvarint().map_err(InvalidRecord::Frame)?;
        if frame_version != FRAME_VERSION {
            return Err(InvalidRecord::FrameVersion(frame_version));
        }
        let key = r.uvarint().map_err(InvalidRecord::Frame)?;
        let version = r.uvarint().map_err(InvalidRecord::Frame)?;
        let version = i16::try_from(version).map_err(|_| InvalidRecord::Version { key, version })?;
        let record = Self::read_body(key, &mut r, version)?;
        r.finish().map_err(InvalidRecord::Frame)?;
        Ok(record)
    }

    /// The version it is written in: the newest that metadata.version 4.0 writes, and of partitions the one with
    /// eligible leader replicas only where there are any, as Kafka does.
    fn version(&self) -> i16 {
        match self {
            Self::RegisterBroker(_) => 3,
            Self::BrokerRegistrationChange(_) => 2,
            Self::Partition(p) if p.eligible_leader_replicas.is_none() && p.last_known_elr.is_none() => 1,
            Self::Partition(_) => 2,
            Self::PartitionChange(p)
                if p.eligible_leader_replicas.is_none() && p.last_known_elr.is_none() =>
            {
                1
            }
            Self::PartitionChange(_) => 2,
            _ => 0,
        }
    }
}

/// Why a value is no metadata record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum InvalidRecord {
    /// The three numbers before the body, or bytes left after it.
    Frame(Malformed),
    /// A frame version other than 1.
    FrameVersion(u32),
    /// A kind of record that this release does not act on.
    UnknownKind {
        /// Its number.
        key: u32,
    },
    /// A version that no record has.
    Version {
        /// The kind of record.
        key: u32,
        /// The version it says it is.
        version: u32,
    },
    /// The body is not what the schema says.
    Body {
        /// The record's name.
        kind: &'static str,
        /// What is wrong, and where.
        fault: Malformed,
    },
}

impl fmt::Display for InvalidRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(fault) => write!(f, "not framed as a metadata record: {fault}"),
            Self::FrameVersion(version) => {
                write!(f, "frame version {version}; there is only {FRAME_VERSION}")
            }
            Self::UnknownKind { key } => {
                write!(f, "a record of kind {key}, which this release does not act on; a newer one may")
            }
            Self::Version { key, version } => write!(f, "a record of kind {key} in version {version}"),
            Self::Body { kind, fault } => write!(f, "{kind}: {fault}"),
        }
    }
}

impl std::error::Error for InvalidRecord {}

#[cfg(test)]
mod tests {
    use ottla_protocol::types::{BrokerId, TopicName, Uuid};
    use proptest::prelude::*;

    use super::*;

    fn topic() -> MetadataRecord {
        TopicRecord { name: TopicName::from("orders"), topic_id: Uuid(7) }.into()
    }

    #[test]
    fn a_topic_record_has_the_bytes_that_kafka_writes() {
        // MetadataRecordSerde of kafka-metadata 4.3.1 gives these for TopicRecord("orders", Uuid(0, 7)), version 0.
        let mut expected = vec![1, 2, 0, 7];
        expected.extend_from_slice(b"orders");
        expected.extend_from_slice(&7u128.to_be_bytes());
        expected.push(0);
        assert_eq!(topic().encode().unwrap(), expected);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let partition = PartitionRecord {
            partition_id: 3,
            topic_id: Uuid(7),
            replicas: vec![BrokerId(1)],
            isr: vec![1],
            leader: BrokerId(1),
            leader_epoch: 0,
            partition_epoch: 0,
            directories: vec![Uuid(9)],
            ..PartitionRecord::default()
        };
        let with_elr =
            PartitionRecord { eligible_leader_replicas: Some(vec![BrokerId(1)]), ..partition.clone() };
        for record in [topic(), partition.into(), with_elr.into(), NoOpRecord {}.into()] {
            assert_eq!(MetadataRecord::decode(record.encode().unwrap()).unwrap(), record);
        }
    }

    #[test]
    fn hostile_bytes_are_refused_with_what_is_wrong() {
        let decode =
            |bytes: &[u8]| MetadataRecord::decode(Bytes::copy_from_slice(bytes)).unwrap_err().to_string();
        assert!(decode(&[]).starts_with("not framed as a metadata record: "));
        assert_eq!(decode(&[2, 2, 0]), "frame version 2; there is only 1");
        assert_eq!(
            decode(&[1, 10, 0]),
            "a record of kind 10, which this release does not act on; a newer one may"
        );
        assert!(decode(&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0]).starts_with("not framed"));
        assert_eq!(decode(&[1, 2, 0x80, 0x80, 0x04]), "a record of kind 2 in version 65536");
        assert!(decode(&[1, 2, 1, 2, b'a']).starts_with("TopicRecord: "));
        let mut counts: Vec<u8> = [1, 3, 0].into_iter().chain([0; 20]).collect();
        counts.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x07]);
        assert!(decode(&counts).starts_with("PartitionRecord: `replicas`"), "2^31 replicas in no bytes");
        let mut long = topic().encode().unwrap().to_vec();
        long.push(0);
        assert!(decode(&long).starts_with("not framed"), "bytes after the body");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), kind in 0u8..30) {
            let _ = MetadataRecord::decode(Bytes::from(bytes.clone()));
            let framed: Vec<u8> = [1, kind, 0].into_iter().chain(bytes).collect();
            if let Ok(record) = MetadataRecord::decode(Bytes::from(framed)) {
                prop_assert!(record.encode().is_ok());
            }
        }
    }
}
