//! Sending.

use std::{collections::HashMap, time::Duration};

use ottla_bindings::{self as bindings, OwnedRecord, core};

use crate::{
    convert::{Header, config},
    error::OttlaError,
};

/// A producer. Usable by any number of tasks at a time; one is enough for a program.
///
/// End it by `shutdown`, which waits until all that was sent is acknowledged. One that is only let go sends in the background, as long
/// as the program runs.
#[derive(Debug, uniffi::Object)]
pub struct OttlaProducer {
    producer: bindings::Producer,
}

/// A record that is to be sent.
#[derive(Clone, Debug, uniffi::Record)]
pub struct ProducerRecord {
    /// The topic.
    pub topic: String,
    /// The value; none is null, which deletes the key from a compacted topic.
    pub value: Option<Vec<u8>>,
    /// The key: records with the same one come into the same partition.
    #[uniffi(default = None)]
    pub key: Option<Vec<u8>>,
    /// Names and values, in their order.
    #[uniffi(default = [])]
    pub headers: Vec<Header>,
    /// The partition; none leaves it to the key.
    #[uniffi(default = None)]
    pub partition: Option<i32>,
    /// Milliseconds since the epoch; none is now.
    #[uniffi(default = None)]
    pub timestamp: Option<i64>,
}

/// Where a record was written.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct RecordMetadata {
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// The record's offset; -1 where the broker did not tell, as with `acks=0`.
    pub offset: i64,
    /// The record's timestamp, in milliseconds since the epoch.
    pub timestamp: i64,
}

#[uniffi::export]
impl OttlaProducer {
    /// Makes one, with settings by Kafka's keys. Connections come in the background.
    #[uniffi::constructor]
    pub fn new(settings: HashMap<String, String>) -> Result<Self, OttlaError> {
        let config = config(settings)?.producer()?;
        Ok(Self { producer: bindings::Producer::new(config)? })
    }

    /// Sends a record, and waits until it is acknowledged as `acks` says. Records are taken in the order of the calls.
    ///
    /// Given up while it waits for room, the record is not sent; given up later, it is sent all the same.
    pub async fn send(&self, record: ProducerRecord) -> Result<RecordMetadata, OttlaError> {
        let written = self.producer.deliver(record.into()).await?;
        Ok(written.into())
    }

    /// Takes a record without waiting for what becomes of it: failures are logged and counted, and `flush` waits for it. Fails with
    /// `QUEUE_FULL` where it would have to wait for room, or for the partitions of a new topic: send it by `send` then.
    pub fn send_and_forget(&self, record: ProducerRecord) -> Result<(), OttlaError> {
        self.producer.try_send_behind(&OwnedRecord::from(record).borrow())?;
        Ok(())
    }

    /// Sends all that was taken, without further linger; done when each of it is acknowledged or has failed.
    pub async fn flush(&self) -> Result<(), OttlaError> {
        Ok(self.producer.flush().await?)
    }

    /// How many partitions a topic has; waits up to `max.block.ms` for it to be known.
    pub async fn partition_count(&self, topic: String) -> Result<i32, OttlaError> {
        let count = self.producer.partition_count(topic).await?;
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }

    /// Takes no more records, sends what was taken, and ends. What is not acknowledged within `timeout` fails, and then so does this.
    /// To shut down again does nothing.
    pub async fn shutdown(&self, timeout: Duration) -> Result<(), OttlaError> {
        Ok(self.producer.close(timeout).await?)
    }
}

impl From<ProducerRecord> for OwnedRecord {
    fn from(record: ProducerRecord) -> Self {
        let ProducerRecord { topic, value, key, headers, partition, timestamp } = record;
        let headers = headers.into_iter().map(|header| (header.name, header.value)).collect();
        Self { topic, partition, timestamp, key, value, headers }
    }
}

impl From<core::RecordMetadata> for RecordMetadata {
    fn from(written: core::RecordMetadata) -> Self {
        let core::RecordMetadata { topic, partition, offset, timestamp } = written;
        Self { topic: topic.to_string(), partition, offset, timestamp }
    }
}
