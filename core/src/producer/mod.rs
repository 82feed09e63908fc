//! Sending records.

mod accumulator;
mod batch;
mod budget;
mod delivery;
mod idempotence;
mod outbox;
mod partitioner;
mod record;
#[cfg(test)]
mod simulation;

pub use delivery::{Delivery, RecordMetadata, Report};
pub use record::{Header, Record};
