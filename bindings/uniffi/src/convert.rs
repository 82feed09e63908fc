//! The types that more than one client has, and the core's of them.

use std::collections::HashMap;

use ottla_bindings::{Config, core};

use crate::error::OttlaError;

/// A name with a value, which belongs to a record.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct Header {
    /// The name, which may come more than once.
    pub name: String,
    /// The value; none is null.
    pub value: Option<Vec<u8>>,
}

/// A partition of a topic.
#[derive(Clone, Debug, Eq, Hash, PartialEq, uniffi::Record)]
pub struct TopicPartition {
    /// The topic.
    pub topic: String,
    /// The partition's index, from 0.
    pub partition: i32,
}

/// An offset as a group has committed it, or is to: that of the next record to be read.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct OffsetAndMetadata {
    /// The partition.
    pub partition: TopicPartition,
    /// Offset of the next record to be read.
    pub offset: i64,
    /// Epoch of the leader that wrote the record before it, where it is known.
    #[uniffi(default = None)]
    pub leader_epoch: Option<i32>,
    /// Whatever the program wants to find there again.
    #[uniffi(default = "")]
    pub metadata: String,
}

/// A place in a partition.
#[derive(Clone, Debug, PartialEq, uniffi::Enum)]
pub enum OffsetSpec {
    /// The first record that is still there.
    Earliest,
    /// Behind the last record.
    Latest,
    /// The first record with this timestamp or a later one.
    Timestamp {
        /// Milliseconds since the epoch.
        ms: i64,
    },
}

/// A partition with an offset of it.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct PartitionOffset {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset; none where there is no record at the place that was asked for.
    pub offset: Option<i64>,
    /// Timestamp of the record there, in milliseconds since the epoch; none where it is not known.
    pub timestamp: Option<i64>,
}

impl From<TopicPartition> for core::TopicPartition {
    fn from(tp: TopicPartition) -> Self {
        Self::new(tp.topic, tp.partition)
    }
}

impl From<&core::TopicPartition> for TopicPartition {
    fn from(tp: &core::TopicPartition) -> Self {
        Self { topic: tp.topic.to_string(), partition: tp.partition }
    }
}

impl From<OffsetSpec> for core::OffsetSpec {
    fn from(spec: OffsetSpec) -> Self {
        match spec {
            OffsetSpec::Earliest => Self::Earliest,
            OffsetSpec::Latest => Self::Latest,
            OffsetSpec::Timestamp { ms } => Self::Timestamp(ms),
        }
    }
}

impl From<OffsetAndMetadata> for (core::TopicPartition, core::OffsetAndMetadata) {
    fn from(committed: OffsetAndMetadata) -> Self {
        let OffsetAndMetadata { partition, offset, leader_epoch, metadata } = committed;
        (partition.into(), core::OffsetAndMetadata { offset, leader_epoch, metadata })
    }
}

impl From<(core::TopicPartition, core::OffsetAndMetadata)> for OffsetAndMetadata {
    fn from((tp, committed): (core::TopicPartition, core::OffsetAndMetadata)) -> Self {
        let core::OffsetAndMetadata { offset, leader_epoch, metadata } = committed;
        Self { partition: (&tp).into(), offset, leader_epoch, metadata }
    }
}

/// Partitions, one by one.
pub(crate) fn of_core(partitions: Vec<TopicPartition>) -> Vec<core::TopicPartition> {
    partitions.into_iter().map(Into::into).collect()
}

/// The partitions of the core, in order.
pub(crate) fn told(mut of: Vec<core::TopicPartition>) -> Vec<TopicPartition> {
    of.sort();
    of.iter().map(Into::into).collect()
}

/// Settings, key by key; of several that are wrong the first by name is told.
pub(crate) fn config(settings: HashMap<String, String>) -> Result<Config, OttlaError> {
    let mut settings: Vec<_> = settings.into_iter().collect();
    settings.sort_unstable();
    let mut config = Config::new();
    settings.iter().try_for_each(|(key, value)| config.set(key, value))?;
    Ok(config)
}
