//! Sending records.

mod accumulator;
mod batch;
mod budget;
mod delivery;
mod idempotence;
mod partitioner;

pub use delivery::{Delivery, RecordMetadata, Report};
