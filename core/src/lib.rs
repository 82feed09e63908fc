//! A client of Apache Kafka and its kin.

mod cluster;
pub mod config;
mod error;
mod producer;

mod time;

pub use error::{Error, ErrorKind, Result};
pub use producer::{Delivery, Header, Record, RecordMetadata, Report};

