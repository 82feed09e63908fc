//! The replicated log server: Apache Kafka's protocol over real segment files.

pub mod config;
