//! Apache Kafka's wire protocol: every message of Kafka 4.4, record batches, compression and error codes.
//!
//! Bytes in, values out, and back. This crate knows no sockets, no clock, no tasks and no configuration; `tokio`
//! is not among its dependencies. A client and a broker are both built on it.
//!
//! - [`messages`]: a struct for each request, response and record, generated from the schemas in `schema/`
//! - [`api`]: versions, headers and destinations of the APIs
//! - [`error_code`]: what a broker says of a request
//! - [`frame`]: request and response headers around a message
//! - [`wire`]: the primitive types of the protocol, [`wire::Reader`] and [`wire::Writer`]
//! - [`types`]: strings as slices of the frame, and entities ([`types::TopicName`], [`types::BrokerId`] ...) as types
//! - [`record`]: record batches, version 2: build, validate, iterate; control batches
//! - [`compression`]: gzip, snappy, lz4 and zstd with bounded, streaming decompression
//!
//! Source of every rule: <https://kafka.apache.org/protocol> and the KIPs named beside it.

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]

pub mod api;
pub mod compression;
pub mod error_code;
pub mod frame;
pub mod messages;
pub mod record;
pub mod types;
pub mod wire;

pub use bytes::Bytes;
