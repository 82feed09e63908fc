//! A client of Apache Kafka and its kin.

mod cluster;
pub mod config;
mod error;
mod producer;
mod record;
mod time;

pub use error::{Error, ErrorKind, Result};
pub use producer::{Delivery, RecordMetadata, Report};
pub use record::{Header, Record};
