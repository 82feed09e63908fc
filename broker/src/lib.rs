//! The replicated log server: Apache Kafka's protocol over real segment files.
//!
//! [`Broker::start`] takes a configuration and gives a broker that serves; it can be started and stopped many times
//! in one process.
//!
//! ```text
//! log ← replica ← controller ← handlers ← server ← lib       metadata: what the cluster is, read by all
//! ```
//!
//! - `authentication`: who connects, and what a listener asks of them
//! - `server`: listeners and connections; `handlers`: one file per API
//! - `replica`: shards, which own partitions; who waits for records
//! - `controller`: decides about topics and configurations; `metadata`: the snapshot that everybody reads
//! - [`log`]: a partition's records on disk
//! - `metrics`: what is counted; `observe`: who may see it, over HTTP
//!
//! *Invariant:* knows nothing of the client (`ottla`), and the client knows nothing of it.

#![forbid(unsafe_code)]

mod authentication;
mod authorization;
mod broker;
pub mod config;
mod controller;
mod coordinator;
mod handlers;
mod listeners;
pub mod log;
mod metadata;
mod metrics;
mod observe;
mod random;
mod replica;
mod server;
mod start_error;
mod time;

pub use broker::Broker;
#[cfg(feature = "simulation")]
pub use coordinator::standalone as group_coordinator;
pub use metrics::reference as metrics_reference;
pub use start_error::StartError;
