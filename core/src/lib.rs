//! A client of Apache Kafka and its kin: [`Producer`], [`Consumer`] and [`Admin`].
//!
//! ```no_run
//! use ottla::{Producer, Record, config::ProducerConfig};
//!
//! # async fn run() -> ottla::Result<()> {
//! let producer = Producer::new(ProducerConfig {
//!     bootstrap_servers: vec!["localhost:9092".into()],
//!     ..Default::default()
//! })?;
//! let delivery = producer.send(Record::to("orders").key("42").value("two apples")).await?;
//! println!("written at offset {}", delivery.await?.offset);
//! # Ok(()) }
//! ```
//!
//! - Every client has an I/O thread of its own. Its futures run on any runtime, and can be dropped at any time.
//! - [`config`] has Kafka's keys as plain structs with Kafka's defaults; what differs is listed in the guide.
//! - All calls fail with one [`Error`], whose [`ErrorKind`] says what can be done about it.
//!
//! What has rules but needs no socket, as sequence numbers, fetch sessions or metadata, is written without I/O and takes
//! time as an argument; `producer/simulation.rs` shows what that is good for.

mod admin;
mod cluster;
pub mod config;
mod consumer;
pub mod doctor;
mod error;
mod metrics;
mod producer;
mod time;

pub use admin::{
    AclBinding, AclFilter, AclOperation, AclPermission, Admin, AlterConfig, AlterQuota, AlterScramUser,
    Broker, ClusterDescription, ConfigEntry, ConfigOperation, ConfigResource, ConfigSource, CreatedTopic,
    GroupDescription, GroupListing, GroupMember, GroupState, GroupType, LogDirDescription, LogDirReplica,
    NewTopic, PartitionDescription, PatternFilter, PatternType, QuotaEntity, QuotaFilter, QuotaName,
    QuotaNameFilter, ResourceType, ScramCredentialInfo, ScramMechanism, TopicDescription, TopicListing,
};
pub use cluster::{
    ListedOffset, OffsetAndMetadata, OffsetSpec, Token, TokenError, TokenProvider, TopicPartition,
};
pub use consumer::{
    Batch, BatchIter, BatchPlace, Commit, Consumer, Event, Events, Health, LogTruncation, Rebalance,
    RebalanceKind, Rebalances, RecordView, Stalled, WaitsFor, Watermarks,
};
pub use error::{Error, ErrorKind, Result};
pub use metrics::{BrokerMetrics, ConsumerMetrics, MetricInfo, MetricKind, ProducerMetrics};
pub use ottla_config::{ConfigErrors, Secret, Settings, Warning};
pub use ottla_protocol::{
    error_code::ErrorCode,
    types::{BrokerId, TopicName, Uuid},
};
pub use producer::{Delivery, Header, Producer, Record, RecordMetadata, Report, ReportBatch, TokenReport};
