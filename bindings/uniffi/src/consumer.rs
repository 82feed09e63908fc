//! Reading.

use std::{collections::HashMap, time::Duration};

use ottla_bindings::{self as bindings, Next, RecordBatch};

use crate::{
    convert::{
        Header, OffsetAndMetadata, OffsetSpec, PartitionOffset, TopicPartition, config, of_core, told,
    },
    error::OttlaError,
};

/// A consumer, for one task at a time.
///
/// Records are asked for by `take`, until it has none; then `ready` waits for more. `poll`, which is written in each language, does both.
/// End it by `shutdown`, which commits what was read where `enable.auto.commit` is set, and gives its partitions to others at once. One
/// that is only let go leaves its group in the background.
#[derive(Debug, uniffi::Object)]
pub struct OttlaConsumer {
    consumer: bindings::Consumer,
}

/// A record that was read.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct ConsumerRecord {
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// Milliseconds since the epoch; -1 for none.
    pub timestamp: i64,
    /// The key; none is null.
    pub key: Option<Vec<u8>>,
    /// The value; none is null.
    pub value: Option<Vec<u8>>,
    /// Names and values, in their order.
    pub headers: Vec<Header>,
}

#[uniffi::export]
impl OttlaConsumer {
    /// Makes one, with settings by Kafka's keys. Connections come in the background.
    #[uniffi::constructor]
    pub fn new(settings: HashMap<String, String>) -> Result<Self, OttlaError> {
        let config = config(settings)?.consumer()?;
        Ok(Self { consumer: bindings::Consumer::new(config)? })
    }

    // ---- what is read

    /// Reads these topics and no others, with the other members of its group (`group.id`).
    pub fn subscribe(&self, topics: Vec<String>) -> Result<(), OttlaError> {
        Ok(self.consumer.subscribe(topics)?)
    }

    /// Reads all topics whose whole name matches a regular expression.
    pub fn subscribe_pattern(&self, pattern: String) -> Result<(), OttlaError> {
        Ok(self.consumer.subscribe_pattern(&pattern)?)
    }

    /// Leaves the group, with what was read committed where `enable.auto.commit` is set; or reads no partitions any more.
    pub async fn unsubscribe(&self) -> Result<(), OttlaError> {
        Ok(self.consumer.unsubscribe().await?)
    }

    /// Reads these partitions and no others, without a group's help.
    pub fn assign(&self, partitions: Vec<TopicPartition>) -> Result<(), OttlaError> {
        Ok(self.consumer.assign(of_core(partitions))?)
    }

    /// The partitions that are read.
    pub fn assignment(&self) -> Result<Vec<TopicPartition>, OttlaError> {
        Ok(told(self.consumer.assignment()?))
    }

    /// Goes to an offset.
    pub fn seek(&self, partition: TopicPartition, offset: i64) -> Result<(), OttlaError> {
        Ok(self.consumer.seek(&partition.into(), offset)?)
    }

    /// Goes to the beginning, to the end, or to a time.
    pub fn seek_to(&self, partition: TopicPartition, place: OffsetSpec) -> Result<(), OttlaError> {
        Ok(self.consumer.seek_to(&partition.into(), place.into())?)
    }

    /// Offset of the next record to be handed out; none as long as it is being looked for.
    pub fn position(&self, partition: TopicPartition) -> Result<Option<i64>, OttlaError> {
        Ok(self.consumer.position(&partition.into())?)
    }

    /// Holds partitions: nothing of them is handed out.
    pub fn pause(&self, partitions: Vec<TopicPartition>) -> Result<(), OttlaError> {
        Ok(self.consumer.pause(&of_core(partitions))?)
    }

    /// Lets partitions that are held go on.
    pub fn resume(&self, partitions: Vec<TopicPartition>) -> Result<(), OttlaError> {
        Ok(self.consumer.resume(&of_core(partitions))?)
    }

    /// The partitions that are held.
    pub fn paused(&self) -> Result<Vec<TopicPartition>, OttlaError> {
        Ok(told(self.consumer.paused()?))
    }

    // ---- records

    /// Waits until `take` may have records, for at most `timeout`, and says whether it may; now and then it has none after all. Whoever
    /// waits stays in the group. Given up, it loses nothing.
    pub async fn ready(&self, timeout: Duration) -> Result<bool, OttlaError> {
        Ok(self.consumer.ready_within(timeout).await?)
    }

    /// The next records of one partition, at most `max_records` of them, without waiting; none if none are there. To ask is to be done
    /// with those before. An error concerns one partition, which it names, or the consumer; it is given once.
    pub fn take(&self, max_records: i32) -> Result<Vec<ConsumerRecord>, OttlaError> {
        match self.consumer.try_next(usize::try_from(max_records).unwrap_or(1))? {
            Next::Batch(batch) => Ok(records(&batch)),
            // Nobody listens to rebalances: they go on by themselves.
            Next::Rebalance(_) | Next::Nothing => Ok(Vec::new()),
        }
    }

    // ---- commits

    /// Commits the positions of all partitions, and so all that was handed out.
    pub async fn commit(&self) -> Result<(), OttlaError> {
        Ok(self.consumer.commit().await?)
    }

    /// Commits these offsets: of each partition that of the next record to be read.
    pub async fn commit_offsets(&self, offsets: Vec<OffsetAndMetadata>) -> Result<(), OttlaError> {
        let offsets = offsets.into_iter().map(Into::into).collect();
        Ok(self.consumer.commit_offsets(offsets).await?)
    }

    /// What the group has committed of these partitions; those of which nothing is are left out.
    pub async fn committed(
        &self,
        partitions: Vec<TopicPartition>,
    ) -> Result<Vec<OffsetAndMetadata>, OttlaError> {
        let found = self.consumer.committed(of_core(partitions)).await?;
        Ok(in_order(found).map(Into::into).collect())
    }

    // ---- questions

    /// The first offsets that are still there.
    pub async fn beginning_offsets(
        &self,
        partitions: Vec<TopicPartition>,
    ) -> Result<Vec<PartitionOffset>, OttlaError> {
        Ok(offsets(self.consumer.beginning_offsets(of_core(partitions)).await?))
    }

    /// The offsets behind the last records.
    pub async fn end_offsets(
        &self,
        partitions: Vec<TopicPartition>,
    ) -> Result<Vec<PartitionOffset>, OttlaError> {
        Ok(offsets(self.consumer.end_offsets(of_core(partitions)).await?))
    }

    // ---- the end

    /// Leaves the group, with what was read committed where `enable.auto.commit` is set, and ends: whoever waits for records gets an
    /// error. Fails if that is not done within `timeout`. To shut down again does nothing.
    pub async fn shutdown(&self, timeout: Duration) -> Result<(), OttlaError> {
        Ok(self.consumer.close(timeout).await?)
    }
}

/// The records of a batch, copied out of it.
fn records(batch: &RecordBatch) -> Vec<ConsumerRecord> {
    let record = |(index, view): (usize, &bindings::RecordView)| ConsumerRecord {
        topic: batch.topic().to_string(),
        partition: batch.partition(),
        offset: view.offset,
        timestamp: view.timestamp_ms,
        key: batch.key(index).map(<[u8]>::to_vec),
        value: batch.value(index).map(<[u8]>::to_vec),
        headers: batch.headers(index).map(header).collect(),
    };
    batch.views().iter().enumerate().map(record).collect()
}

fn header((name, value): (&[u8], Option<&[u8]>)) -> Header {
    Header { name: String::from_utf8_lossy(name).into_owned(), value: value.map(<[u8]>::to_vec) }
}

fn offsets(found: HashMap<bindings::core::TopicPartition, i64>) -> Vec<PartitionOffset> {
    in_order(found)
        .map(|(tp, offset)| PartitionOffset {
            partition: (&tp).into(),
            offset: Some(offset),
            timestamp: None,
        })
        .collect()
}

/// Of a map of partitions, one after the other by name.
fn in_order<T>(
    found: HashMap<bindings::core::TopicPartition, T>,
) -> impl Iterator<Item = (bindings::core::TopicPartition, T)> {
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found.into_iter()
}
