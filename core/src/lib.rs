//! A client of Apache Kafka and its kin.

mod admin;
mod cluster;
pub mod config;
mod consumer;
mod error;
mod metrics;
mod producer;
mod time;

pub use admin::{
    Admin, AlterConfig, Broker, ClusterDescription, ConfigEntry, ConfigOperation, ConfigResource,
    ConfigSource, CreatedTopic, NewTopic, PartitionDescription, TopicDescription, TopicListing,
};
pub use cluster::{ListedOffset, OffsetSpec, TopicPartition};
pub use consumer::{Batch, BatchIter, Consumer, RecordView, Watermarks};
pub use error::{Error, ErrorKind, Result};
pub use metrics::{ConsumerMetrics, ProducerMetrics};
pub use ottla_protocol::{
    error_code::ErrorCode,
    types::{BrokerId, TopicName, Uuid},
};
pub use producer::{Delivery, Header, Producer, Record, RecordMetadata, Report};
