//! Records as the program sees them: views on the bytes that the broker sent.

use std::ops::Deref;

use bytes::Bytes;
use ottla_protocol::{
    record::{Headers, Position, RecordIter, Records},
    types::TopicName,
};

use super::{subscription::Watermarks, truncation::known};
use crate::error::{Error, ErrorKind, Result};

/// Records of one partition that follow each other: a batch as its producer wrote it, or the part of it that was asked
/// for.
///
/// ```no_run
/// # async fn run(consumer: ottla::Consumer) -> ottla::Result<()> {
/// let batch = consumer.next_batch(1_000).await?;
/// for record in batch.records() {
///     let record = record?;
///     println!("{}: {:?}", record.offset, record.value);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Batch {
    pub(super) topic: TopicName,
    pub(super) partition: i32,
    pub(super) records: Records,
    pub(super) start: Position,
    pub(super) count: usize,
    pub(super) next_offset: i64,
    pub(super) watermarks: Option<Watermarks>,
    /// Epoch of the leader that wrote it; -1 where its format does not tell.
    pub(super) leader_epoch: i32,
    /// In which tenure it was read: the one in which it can be committed.
    pub(super) tenure: u32,
}

impl Batch {
    /// The topic.
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The partition's index.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// How many records there are; at least one.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none, which is never so.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The records, in the order of the log.
    pub fn records(&self) -> BatchIter<'_> {
        BatchIter { batch: self, inner: self.records.iter_from(self.start), left: self.count }
    }

    /// The offset at which the next batch goes on.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Epoch of the leader that wrote these records (KIP-320), where the broker tells.
    pub fn leader_epoch(&self) -> Option<i32> {
        known(self.leader_epoch)
    }

    /// Offset behind the partition's last record, as of the fetch that brought this batch.
    pub fn high_watermark(&self) -> Option<i64> {
        self.watermarks.map(|marks| marks.high)
    }

    /// The bytes that keys, values and headers of all records lie in, inflated.
    pub fn data(&self) -> &Bytes {
        self.records.block()
    }

    /// Where it was read: enough to commit it, without its bytes.
    pub fn place(&self) -> BatchPlace {
        BatchPlace { topic: self.topic.clone(), partition: self.partition, tenure: self.tenure }
    }

    /// `part`, a key or value of one of these records, as bytes that live on. They share the batch's memory and keep
    /// all of it alive.
    pub fn bytes_of(&self, part: &[u8]) -> Bytes {
        self.records.bytes_of(part)
    }
}

/// Where a batch was read, for those that keep its records elsewhere: see [`crate::Consumer::commit_at`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BatchPlace {
    /// The topic.
    pub topic: TopicName,
    /// The partition's index.
    pub partition: i32,
    /// Which of the times that the partition was this consumer's: in another one, what was read can not be committed.
    pub tenure: u32,
}

/// Gives the records of a [`Batch`]; after an error, nothing.
#[derive(Clone, Debug)]
pub struct BatchIter<'a> {
    batch: &'a Batch,
    inner: RecordIter<'a>,
    left: usize,
}

/// A record that was read. Borrows from its [`Batch`].
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// The topic.
    pub topic: &'a TopicName,
    /// The partition's index.
    pub partition: i32,
    /// Epoch of the leader that wrote it; -1 where its format does not tell.
    pub(super) leader_epoch: i32,
    /// In which tenure it was read.
    pub(super) tenure: u32,
    /// The rest of it: offset, timestamp, key, value, headers.
    record: ottla_protocol::record::Record<'a>,
}

impl<'a> RecordView<'a> {
    /// Its offset in the partition.
    pub fn offset(&self) -> i64 {
        self.record.offset
    }

    /// Epoch of the leader that wrote it (KIP-320), where the broker tells.
    pub fn leader_epoch(&self) -> Option<i32> {
        known(self.leader_epoch)
    }

    /// Milliseconds since the epoch; -1 for none.
    pub fn timestamp(&self) -> i64 {
        self.record.timestamp
    }

    /// The key; `None` for null.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.record.key
    }

    /// The value; `None` for null.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.record.value
    }

    /// The headers, in their order.
    pub fn headers(&self) -> Headers<'a> {
        self.record.headers
    }
}

impl<'a> Deref for RecordView<'a> {
    type Target = ottla_protocol::record::Record<'a>;

    fn deref(&self) -> &Self::Target {
        &self.record
    }
}

impl<'a> Iterator for BatchIter<'a> {
    type Item = Result<RecordView<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match self.inner.next()? {
            Ok(record) => {
                let &Batch { ref topic, partition, leader_epoch, tenure, .. } = self.batch;
                Some(Ok(RecordView { topic, partition, leader_epoch, tenure, record }))
            }
            Err(error) => {
                self.left = 0;
                let text = format!(
                    "a record of `{}-{}` cannot be read: {error}",
                    self.batch.topic, self.batch.partition
                );
                Some(Err(Error::new(ErrorKind::Corrupt, text).caused_by(error)))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = Result<RecordView<'a>>;
    type IntoIter = BatchIter<'a>;

    fn into_iter(self) -> BatchIter<'a> {
        self.records()
    }
}
