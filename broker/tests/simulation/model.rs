//! What a log should be: batches in a list.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use bytes::Bytes;
use ottla_broker::log::BATCHES_RETAINED;
use ottla_protocol::record::{Batch, BatchHeader};

/// A batch as it should lie on disk.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) header: BatchHeader,
    pub(crate) bytes: Bytes,
    /// As it was sent, for a duplicate.
    pub(crate) sent: Batch,
    /// The records' timestamps in ms.
    pub(crate) times: Vec<i64>,
}

impl Stored {
    /// A batch that got this offset, in this epoch.
    pub(crate) fn new(sent: &Batch, times: &[i64], base_offset: i64, epoch: i32) -> Rc<Self> {
        // Kafka's layout: base offset, length, leader epoch; none of them under the checksum.
        let mut bytes = sent.bytes().to_vec();
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
        let header = BatchHeader::parse(&bytes).unwrap();
        Rc::new(Self { header, bytes: bytes.into(), sent: sent.clone(), times: times.to_vec() })
    }

    pub(crate) fn base_offset(&self) -> i64 {
        self.header.base_offset
    }

    pub(crate) fn next_offset(&self) -> i64 {
        self.header.next_offset()
    }
}

/// A producer, by the batches that the log holds of it.
#[derive(Clone, Debug)]
pub(crate) struct Producer {
    pub(crate) epoch: i16,
    pub(crate) next_sequence: i32,
    /// Its last batches.
    pub(crate) recent: VecDeque<Rc<Stored>>,
}

/// All producers, by their ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct Producers(pub(crate) BTreeMap<i64, Producer>);

impl Producers {
    pub(crate) fn append(&mut self, stored: &Rc<Stored>) {
        let header = stored.header;
        if header.producer_id.0 < 0 {
            return;
        }
        let producer = self.0.entry(header.producer_id.0).or_insert_with(|| Producer {
            epoch: header.producer_epoch,
            next_sequence: 0,
            recent: VecDeque::new(),
        });
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.recent.clear();
        }
        producer.next_sequence = header.base_sequence + header.last_offset_delta + 1;
        producer.recent.push_back(Rc::clone(stored));
        if producer.recent.len() > BATCHES_RETAINED {
            producer.recent.pop_front();
        }
    }
}

/// A log, its flushed part, and its producers.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) batches: Vec<Rc<Stored>>,
    /// Everything before it is on the medium for certain.
    pub(crate) flushed: i64,
    /// Where the log ends; behind the last batch, unless a cut left a gap.
    pub(crate) end: i64,
    /// Nothing before it is to be read.
    pub(crate) start: i64,
    /// Batches before all others whose segments were gone at the last start. A power cut may bring them back.
    pub(crate) gone: Vec<Rc<Stored>>,
    pub(crate) producers: Producers,
}

impl Model {
    pub(crate) fn append(&mut self, stored: Rc<Stored>) {
        self.end = stored.next_offset();
        self.producers.append(&stored);
        self.batches.push(stored);
    }

    /// The batches that can be read, the first of them maybe in part only.
    pub(crate) fn visible(&self) -> &[Rc<Stored>] {
        self.batches
            .get(self.batches.partition_point(|b| b.next_offset() <= self.start)..)
            .unwrap_or_default()
    }

    /// Where the log ends once everything from `offset` on is cut: before the batch that holds it.
    pub(crate) fn end_of_cut(&self, offset: i64) -> i64 {
        let offset = offset.max(self.start);
        let holder = self.batches.iter().find(|b| b.next_offset() > offset);
        holder.map_or(self.end.min(offset), |b| b.base_offset().min(offset))
    }

    /// Keeps the batches that end before `offset`.
    pub(crate) fn truncate(&mut self, offset: i64) {
        let end = self.end_of_cut(offset);
        let offset = offset.max(self.start);
        let kept = self.batches.iter().take_while(|b| b.next_offset() <= offset).cloned().collect();
        self.rebuild(kept);
        self.end = end;
        self.flushed = self.flushed.min(end);
        self.start = self.start.min(end);
    }

    /// As if these batches were all that ever was; what is flushed stays flushed.
    pub(crate) fn rebuild(&mut self, batches: Vec<Rc<Stored>>) {
        let gone = std::mem::take(&mut self.gone);
        *self = Self { flushed: self.flushed, start: self.start, gone, ..Self::default() };
        batches.into_iter().for_each(|batch| self.append(batch));
    }

    /// The first record, as offset and timestamp, at `timestamp` or later.
    pub(crate) fn offset_for_timestamp(&self, timestamp: i64) -> Option<(i64, i64)> {
        self.records(self.start).find(|(_, time)| *time >= timestamp)
    }

    /// The first of the records from `first` on with the latest timestamp.
    pub(crate) fn max_timestamp(&self, first: i64) -> Option<(i64, i64)> {
        let latest = self.records(first).map(|(_, time)| time).max()?;
        self.records(first).find(|(_, time)| *time == latest)
    }

    fn records(&self, first: i64) -> impl Iterator<Item = (i64, i64)> {
        let all = self.batches.iter().flat_map(|b| (b.base_offset()..).zip(b.times.iter().copied()));
        all.filter(move |(offset, _)| *offset >= first)
    }
}
