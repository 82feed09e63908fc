//! What a log should be: batches in a list.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
};

use bytes::Bytes;
use ottla_broker::log::BATCHES_RETAINED;
use ottla_protocol::{
    compression::{Decompressor, Limits},
    record::{Batch, BatchHeader},
};

use crate::history::compaction::Key;

/// A batch as it should lie on disk.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) header: BatchHeader,
    /// None of a batch that compaction dropped.
    pub(crate) bytes: Bytes,
    /// As it was sent, for a duplicate.
    pub(crate) sent: Batch,
    /// The records that compaction left.
    pub(crate) records: Vec<Record>,
    /// Whether compaction took all of it.
    pub(crate) dropped: bool,
    /// Whether its producer may or may not be known for it: compaction took it, or it had been deleted, and came back.
    pub(crate) unsure: bool,
}

/// What there is to know of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Record {
    pub(crate) offset: i64,
    /// Its timestamp.
    pub(crate) time_ms: i64,
    pub(crate) key: Option<Key>,
    /// Whether it has no value.
    pub(crate) tombstone: bool,
    /// A hash of its value.
    pub(crate) value: u64,
}

impl Stored {
    /// A batch that got this offset, in this epoch.
    pub(crate) fn new(sent: &Batch, base_offset: i64, epoch: i32) -> Rc<Self> {
        // Kafka's layout: base offset, length, leader epoch; none of them under the checksum.
        let mut bytes = sent.bytes().to_vec();
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
        let batch = Batch::new(bytes.into()).unwrap();
        Rc::new(Self {
            header: *batch.header(),
            bytes: batch.bytes().clone(),
            sent: sent.clone(),
            records: records(&batch).unwrap(),
            dropped: false,
            unsure: false,
        })
    }

    /// What is left of a batch of which nothing is left.
    pub(crate) fn dropped(of: &Self) -> Rc<Self> {
        let (bytes, records) = (Bytes::new(), Vec::new());
        Rc::new(Self { bytes, records, dropped: true, unsure: true, ..of.clone() })
    }

    /// A batch that had been deleted, and came back.
    pub(crate) fn returned(of: &Self) -> Rc<Self> {
        Rc::new(Self { unsure: true, ..of.clone() })
    }

    /// What `found` has left of a batch: some of its records, under a header that says the same of them.
    pub(crate) fn cleaned(of: &Self, found: &Batch) -> Result<Self, String> {
        let (before, header) = (&of.header, *found.header());
        let same = |h: &BatchHeader| {
            let BatchHeader { base_offset, last_offset_delta, partition_leader_epoch, .. } = *h;
            let BatchHeader { producer_id, producer_epoch, base_sequence, .. } = *h;
            (
                base_offset,
                last_offset_delta,
                partition_leader_epoch,
                producer_id,
                producer_epoch,
                base_sequence,
            )
        };
        if of.dropped || same(before) != same(&header) {
            return Err(format!("{before:?}, dropped {}, became {header:?}", of.dropped));
        }
        if found.bytes() == &of.bytes {
            return Ok(of.clone());
        }
        found.check_crc().map_err(|error| error.to_string())?;
        let records = records(found)?;
        match records.iter().find(|record| !of.records.contains(record)) {
            Some(record) => Err(format!("{record:?} was never written")),
            None => Ok(Self { header, bytes: found.bytes().clone(), records, ..of.clone() }),
        }
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

impl Producer {
    /// The batches of which a duplicate must be known.
    pub(crate) fn known(&self) -> impl Iterator<Item = &Rc<Stored>> {
        self.recent.iter().filter(|batch| !batch.unsure)
    }
}

/// All producers, by their ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct Producers(pub(crate) BTreeMap<i64, Producer>);

impl Producers {
    /// Whether a batch is the last of its producer.
    pub(crate) fn is_last(&self, stored: &Stored) -> bool {
        let producer = self.0.get(&stored.header.producer_id.0);
        producer.and_then(|p| p.recent.back()).is_some_and(|last| last.base_offset() == stored.base_offset())
    }

    /// Leaves those of whom a log surely knows how far they are.
    pub(crate) fn settle(&mut self) {
        self.0.retain(|_, producer| producer.recent.back().is_some_and(|last| !last.unsure));
    }

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
    /// Where the log ends; behind the last batch, if there is any.
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

    /// Where a log, whose segments begin at `first`, ends once everything from `offset` on is cut: behind the last batch that
    /// is left.
    pub(crate) fn end_of_cut(&self, offset: i64, first: i64) -> i64 {
        let offset = offset.max(self.start);
        let left = self.batches.iter().rev().find(|b| !b.dropped && b.next_offset() <= offset);
        left.map_or(0, |last| last.next_offset()).max(first)
    }

    /// Keeps the batches that end at `end` or before.
    pub(crate) fn truncate(&mut self, end: i64) {
        let kept = self.batches.iter().take_while(|b| b.next_offset() <= end).cloned().collect();
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
        self.producers.settle();
    }

    /// The first record, as offset and timestamp, at `timestamp` or later.
    pub(crate) fn offset_for_timestamp(&self, timestamp: i64) -> Option<(i64, i64)> {
        self.times(self.start).find(|(_, time)| *time >= timestamp)
    }

    /// The first of the records from `first` on with the latest timestamp.
    pub(crate) fn max_timestamp(&self, first: i64) -> Option<(i64, i64)> {
        let latest = self.times(first).map(|(_, time)| time).max()?;
        self.times(first).find(|(_, time)| *time == latest)
    }

    fn times(&self, first: i64) -> impl Iterator<Item = (i64, i64)> {
        let all = self.batches.iter().flat_map(|batch| &batch.records).map(|r| (r.offset, r.time_ms));
        all.filter(move |(offset, _)| *offset >= first)
    }
}

/// The records of a batch.
fn records(batch: &Batch) -> Result<Vec<Record>, String> {
    let records =
        batch.records(&mut Decompressor::new(), &Limits::BROKER).map_err(|error| error.to_string())?;
    let mut all = Vec::with_capacity(batch.header().record_count.max(0) as usize);
    for record in &records {
        let record = record.map_err(|error| error.to_string())?;
        let mut hasher = DefaultHasher::new();
        record.value.hash(&mut hasher);
        all.push(Record {
            offset: record.offset,
            time_ms: record.timestamp,
            key: record.key.and_then(|key| key.first().copied()),
            tombstone: record.value.is_none(),
            value: hasher.finish(),
        });
    }
    Ok(all)
}
