//! What cleaning makes of one batch: Kafka's rules of retention (`Cleaner.cleanInto`, `MemoryRecords.filterTo`).
//!
//! Pure: a batch goes in, and comes out as it is, with fewer records, empty, or not at all. Offsets never change, and a
//! batch keeps its first and last offset whatever it loses, because its producer's sequence numbers count by them.
//!
//! A record stays if the round's map knows no later one of its key, unless it is a tombstone whose time has come. That
//! time, the *delete horizon*, is stamped into the batch in place of its base timestamp when the cleaner first meets
//! the tombstone (KIP-534), so that every consumer has `delete.retention.ms` to see it.
//!
//! A batch that has lost all records stays as a bare header if it holds the last sequence number of a producer that is
//! remembered, or if it ends the round: else the producer's next batch would seem out of order after a restart, or the
//! log would seem to end earlier. Ours stays also if it ends its segment, which Kafka's does not: so every segment
//! reaches to the next one, and a hole between two segments is always damage.

use std::{collections::HashMap, fmt};

use ottla_protocol::{
    compression::{Codec, Compressor, Decompressor, Limits},
    record::{
        Batch, BatchBuilder, BatchError, BatchHeader, ControlError, ControlRecord, PushError, Records, Seal,
        SealError, TimestampType,
    },
    types::ProducerId,
};

use super::{offset_map::OffsetMap, transactions::CleanedTransactions};

/// Each remembered producer's last record.
pub(crate) type LastRecords = HashMap<ProducerId, LastRecord>;

/// The end of what a log knows of a producer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct LastRecord {
    /// The offset of its last record; `None` if only markers of it are left.
    pub(crate) data_offset: Option<i64>,
    /// Its newest epoch.
    pub(crate) epoch: i16,
}

/// What a round of cleaning judges by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round<'a> {
    pub(crate) map: &'a OffsetMap,
    pub(crate) producers: &'a LastRecords,
    /// The first offset that the round may not touch.
    pub(crate) end_offset: i64,
    /// The first offset behind the segment that is being made.
    pub(crate) segment_end_offset: i64,
    /// When the round began.
    pub(crate) now_ms: i64,
    /// How long tombstones stay from then on: `delete.retention.ms`.
    pub(crate) delete_retention_ms: i64,
}

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kept {
    /// It goes.
    Nothing,
    /// It stays, byte for byte.
    AsItIs,
    /// It is written anew.
    Rewritten(Batch),
}

/// Judges batches, in the order of the log. Holds codec contexts and buffers, so one does for many rounds.
#[derive(Default)]
pub(crate) struct Filter {
    decompressor: Decompressor,
    compressor: Compressor,
    buffer: Vec<u8>,
    kept: Vec<bool>,
    /// Records that were read and records that stayed, since the last [`Filter::begin`].
    pub(crate) records_read: u64,
    pub(crate) records_kept: u64,
    /// Records without a key, which no compacted topic should hold; they go.
    pub(crate) records_without_key: u64,
}

/// Why a batch cannot be cleaned.
#[derive(Clone, Debug)]
pub(crate) enum FilterError {
    /// Its records cannot be read.
    Batch(BatchError),
    /// Its control record cannot be read.
    Control(ControlError),
    /// What is left of it could not be put together.
    Push(PushError),
    /// What is left of it could not be sealed.
    Seal(SealError),
}

/// How much of a batch stays when no record does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Empty {
    Goes,
    Stays,
}

impl Filter {
    /// Begins to count anew.
    pub(crate) fn begin(&mut self) {
        (self.records_read, self.records_kept, self.records_without_key) = (0, 0, 0);
    }

    /// Puts the keys of a batch's records into `map`, from offset `from` on; false if it is full. Records of aborted
    /// transactions and markers have no say (`Cleaner.buildOffsetMapForSegment`).
    pub(crate) fn learn(
        &mut self,
        batch: &Batch,
        from: i64,
        map: &mut OffsetMap,
        transactions: &mut CleanedTransactions,
    ) -> Result<bool, FilterError> {
        let header = batch.header();
        if header.attributes.is_control() {
            transactions.on_control_batch(header, self.control_record(batch)?.as_ref());
        } else if !transactions.on_batch(header) {
            for record in &self.records(batch)? {
                let record = record?;
                if let Some(key) = record.key
                    && record.offset >= from
                    && map.put(key, record.offset).is_err()
                {
                    return Ok(false);
                }
            }
        }
        if header.last_offset() >= from {
            map.looked_at(header.last_offset());
        }
        Ok(true)
    }

    /// Judges the next batch.
    pub(crate) fn apply(
        &mut self,
        batch: &Batch,
        round: &Round<'_>,
        transactions: &mut CleanedTransactions,
    ) -> Result<Kept, FilterError> {
        let header = batch.header();
        let control = header.attributes.is_control();
        let discardable = match control {
            true => transactions.on_control_batch(header, self.control_record(batch)?.as_ref()),
            false => transactions.on_batch(header),
        };
        // A marker waits for its horizon, as a tombstone does, so that every consumer can see it.
        let discard_records =
            discardable && (!control || header.delete_horizon_ms().is_some_and(|h| h <= round.now_ms));
        let empty = match stays_empty(header, round) {
            true => Empty::Stays,
            false if discard_records => return Ok(Kept::Nothing),
            false => Empty::Goes,
        };
        let records = self.records(batch)?;
        let tombstones = self.judge(&records, header, round, discard_records)?;
        let kept = self.kept.iter().filter(|kept| **kept).count();
        self.records_read += self.kept.len() as u64;
        self.records_kept += kept as u64;
        if kept == 0 {
            return match empty {
                Empty::Goes => Ok(Kept::Nothing),
                Empty::Stays if header.record_count == 0 => Ok(Kept::AsItIs),
                Empty::Stays => self.emptied(header).map(Kept::Rewritten),
            };
        }
        let unmarked = header.delete_horizon_ms().is_none();
        let mark = unmarked && (tombstones || (control && discardable));
        if kept == self.kept.len() && !mark {
            return Ok(Kept::AsItIs);
        }
        let horizon = match mark {
            true => Some(round.now_ms.saturating_add(round.delete_retention_ms)),
            false => header.delete_horizon_ms(),
        };
        self.rebuilt(header, &records, horizon).map(Kept::Rewritten)
    }

    /// Decides on each record; says whether a tombstone stays.
    fn judge(
        &mut self,
        records: &Records,
        header: &BatchHeader,
        round: &Round<'_>,
        discard_all: bool,
    ) -> Result<bool, FilterError> {
        let tombstones_stay = header.delete_horizon_ms().is_none_or(|horizon| round.now_ms < horizon);
        let mut tombstones = false;
        self.kept.clear();
        for record in records {
            let record = record?;
            let keep = if discard_all {
                false
            } else if header.attributes.is_control() || record.offset > round.map.latest_offset() {
                true
            } else if let Some(key) = record.key {
                let latest = round.map.get(key).is_none_or(|offset| record.offset >= offset);
                latest && (record.value.is_some() || tombstones_stay)
            } else {
                self.records_without_key += 1;
                false
            };
            tombstones |= keep && record.value.is_none();
            self.kept.push(keep);
        }
        Ok(tombstones)
    }

    /// The batch with the records that stay, under its old header but for what depends on them.
    fn rebuilt(
        &mut self,
        header: &BatchHeader,
        records: &Records,
        horizon: Option<i64>,
    ) -> Result<Batch, FilterError> {
        let mut builder = BatchBuilder::new(std::mem::take(&mut self.buffer), usize::MAX);
        if let Some(horizon) = horizon {
            builder.set_base_timestamp(horizon);
        }
        for (record, _) in records.iter().zip(&self.kept).filter(|(_, kept)| **kept) {
            let record = record?;
            let delta = i32::try_from(record.offset - header.base_offset)
                .map_err(|_| PushError::OffsetDelta { last: header.last_offset_delta, next: i32::MAX })?;
            builder.push_at(delta, record.timestamp, record.key, record.value, record.headers)?;
        }
        let seal = Seal {
            codec: Codec::new(header.attributes.compression()?),
            log_append_time: match header.attributes.timestamp_type() {
                TimestampType::LogAppendTime => Some(header.max_timestamp),
                TimestampType::CreateTime => None,
            },
            delete_horizon: horizon.is_some(),
            ..seal_of(header)
        };
        let batch = builder.seal(&seal, &mut self.compressor)?;
        self.buffer = builder.into_buffer();
        Ok(batch)
    }

    /// The batch's bare header.
    fn emptied(&mut self, header: &BatchHeader) -> Result<Batch, FilterError> {
        let batch = BatchBuilder::new(Vec::new(), usize::MAX).seal(&seal_of(header), &mut self.compressor)?;
        Ok(batch.with_timestamps(header.attributes.timestamp_type(), header.max_timestamp))
    }

    fn records(&mut self, batch: &Batch) -> Result<Records, FilterError> {
        Ok(batch.records(&mut self.decompressor, &Limits::BROKER)?)
    }

    /// The first record of a control batch, unless it was emptied.
    fn control_record(&mut self, batch: &Batch) -> Result<Option<ControlRecord>, FilterError> {
        let records = self.records(batch)?;
        let first = records.iter().next().transpose()?;
        Ok(first.map(|record| ControlRecord::parse(&record)).transpose()?)
    }
}

/// Whether a batch stays even without records.
fn stays_empty(header: &BatchHeader, round: &Round<'_>) -> bool {
    let last_of_producer = header.producer_id.0 >= 0
        && round.producers.get(&header.producer_id).is_some_and(|last| match last.data_offset {
            Some(offset) => header.last_offset() == offset,
            // Only a marker tells the epoch then, by which older instances of the producer are fenced.
            None => header.attributes.is_control() && header.producer_epoch == last.epoch,
        });
    last_of_producer || [round.end_offset, round.segment_end_offset].contains(&header.next_offset())
}

/// What stays of a header whatever the records are.
fn seal_of(header: &BatchHeader) -> Seal {
    Seal {
        codec: Codec::NONE,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        transactional: header.attributes.is_transactional(),
        control: header.attributes.is_control(),
        base_offset: header.base_offset,
        partition_leader_epoch: header.partition_leader_epoch,
        log_append_time: None,
        delete_horizon: false,
        last_offset_delta: Some(header.last_offset_delta),
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("records_read", &self.records_read).finish_non_exhaustive()
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(error) => write!(f, "{error}"),
            Self::Control(error) => write!(f, "{error}"),
            Self::Push(error) => write!(f, "{error}"),
            Self::Seal(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for FilterError {}

impl From<BatchError> for FilterError {
    fn from(error: BatchError) -> Self {
        Self::Batch(error)
    }
}

impl From<ControlError> for FilterError {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

impl From<PushError> for FilterError {
    fn from(error: PushError) -> Self {
        Self::Push(error)
    }
}

impl From<SealError> for FilterError {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::{
        compression::Compression,
        record::{ControlBatch, Header},
    };

    use super::*;
    use crate::log::cleaner::offset_map::{HashKey, LOAD_PERCENT};

    const NOW_MS: i64 = 1_700_000_000_000;
    const RETENTION_MS: i64 = 1_000;

    type KeyValue<'a> = (&'a str, Option<&'a str>);

    fn batch(base_offset: i64, records: &[KeyValue<'_>], codec: Compression) -> Batch {
        let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
        for (i, (key, value)) in records.iter().enumerate() {
            let header = Header::new("h", Some(b"v"));
            builder
                .push(NOW_MS - 100 + i as i64, Some(key.as_bytes()), value.map(str::as_bytes), &[header])
                .unwrap();
        }
        let seal = Seal {
            codec: Codec::new(codec),
            base_offset,
            partition_leader_epoch: 4,
            producer_id: ProducerId(7),
            producer_epoch: 2,
            base_sequence: 30,
            ..Seal::default()
        };
        builder.seal(&seal, &mut Compressor::new()).unwrap()
    }

    /// A cleaner that has seen these keys at these offsets.
    struct Case {
        map: OffsetMap,
        producers: LastRecords,
        transactions: CleanedTransactions,
        filter: Filter,
        now_ms: i64,
        end_offset: i64,
        segment_end_offset: i64,
    }

    impl Case {
        fn new(latest: &[(&str, i64)]) -> Self {
            let mut map = OffsetMap::new(HashKey(1), 1 << 12, LOAD_PERCENT, usize::MAX);
            latest.iter().for_each(|(key, offset)| map.put(key.as_bytes(), *offset).unwrap());
            map.looked_at(999);
            Self {
                map,
                producers: LastRecords::new(),
                transactions: CleanedTransactions::default(),
                filter: Filter::default(),
                now_ms: NOW_MS,
                end_offset: 1000,
                segment_end_offset: 1000,
            }
        }

        fn apply(&mut self, batch: &Batch) -> Kept {
            let round = Round {
                map: &self.map,
                producers: &self.producers,
                end_offset: self.end_offset,
                segment_end_offset: self.segment_end_offset,
                now_ms: self.now_ms,
                delete_retention_ms: RETENTION_MS,
            };
            self.filter.apply(batch, &round, &mut self.transactions).unwrap()
        }

        fn rewritten(&mut self, batch: &Batch) -> Batch {
            match self.apply(batch) {
                Kept::Rewritten(batch) => {
                    batch.check_crc().unwrap();
                    batch
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn content(batch: &Batch) -> Vec<(i64, i64, String, Option<String>, usize)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let records = batch.records(&mut Decompressor::new(), &Limits::BROKER).unwrap();
        records
            .iter()
            .map(|record| {
                let r = record.unwrap();
                (r.offset, r.timestamp, text(r.key.unwrap()), r.value.map(text), r.headers.len())
            })
            .collect()
    }

    #[test]
    fn the_latest_record_of_each_key_stays_with_its_offset_time_and_headers() {
        for codec in
            [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        {
            let old =
                batch(10, &[("a", Some("1")), ("b", Some("2")), ("c", Some("3")), ("a", Some("4"))], codec);
            let new = Case::new(&[("b", 20), ("c", 12), ("a", 13)]).rewritten(&old);
            assert_eq!(
                content(&new),
                [
                    (12, NOW_MS - 98, "c".to_owned(), Some("3".to_owned()), 1),
                    (13, NOW_MS - 97, "a".to_owned(), Some("4".to_owned()), 1)
                ]
            );
            let (old, new) = (old.header(), new.header());
            assert_eq!(new.attributes.compression().unwrap(), codec);
            assert_eq!((new.base_timestamp, new.max_timestamp), (NOW_MS - 98, NOW_MS - 97));
            let same = |h: &BatchHeader| {
                let producer = (h.producer_id, h.producer_epoch, h.base_sequence, h.last_sequence());
                (h.base_offset, h.last_offset(), h.partition_leader_epoch, producer)
            };
            assert_eq!(same(new), same(old));
            assert_eq!(new.record_count, 2);
        }
    }

    #[test]
    fn a_batch_that_loses_nothing_is_left_byte_for_byte_and_one_that_loses_all_goes() {
        let old = batch(10, &[("a", Some("1")), ("b", Some("2"))], Compression::Gzip);
        assert_eq!(Case::new(&[("a", 10), ("b", 11)]).apply(&old), Kept::AsItIs);
        assert_eq!(Case::new(&[("a", 12), ("b", 13)]).apply(&old), Kept::Nothing);
        let mut unknown = Case::new(&[]);
        assert_eq!(unknown.apply(&old), Kept::AsItIs, "no later record of its keys is known");
        unknown.map = OffsetMap::new(HashKey(1), 1 << 12, LOAD_PERCENT, usize::MAX);
        unknown.map.put(b"a", 10).unwrap();
        let later = batch(11, &[("a", None)], Compression::None);
        assert_eq!(content(&unknown.rewritten(&later)).len(), 1, "what lies behind the map stays");
    }

    #[test]
    fn a_tombstone_is_stamped_once_and_goes_when_its_time_has_come() {
        let old = batch(10, &[("a", Some("1")), ("b", None)], Compression::None);
        let mut case = Case::new(&[("a", 10), ("b", 11)]);
        let stamped = case.rewritten(&old);
        assert_eq!(stamped.header().delete_horizon_ms(), Some(NOW_MS + RETENTION_MS));
        assert_eq!(content(&stamped), content(&old), "the times of the records are the same");
        for (now_ms, expected) in [(NOW_MS + 1, 2), (NOW_MS + RETENTION_MS - 1, 2)] {
            case.now_ms = now_ms;
            assert_eq!((case.apply(&stamped), case.filter.kept.len()), (Kept::AsItIs, expected));
        }
        case.now_ms = NOW_MS + RETENTION_MS;
        let without = case.rewritten(&stamped);
        assert_eq!(content(&without), content(&old)[..1]);
        assert_eq!(without.header().delete_horizon_ms(), Some(NOW_MS + RETENTION_MS), "the stamp stays");
        assert_eq!(case.apply(&without), Kept::AsItIs);
    }

    #[test]
    fn the_last_sequence_of_a_remembered_producer_stays_as_an_empty_batch() {
        let old = batch(10, &[("a", Some("1")), ("b", Some("2"))], Compression::Zstd);
        let mut case = Case::new(&[("a", 20), ("b", 21)]);
        case.producers.insert(ProducerId(7), LastRecord { data_offset: Some(11), epoch: 2 });
        let empty = case.rewritten(&old);
        let header = empty.header();
        assert_eq!((header.record_count, header.total_bytes()), (0, 61));
        assert_eq!((header.base_offset, header.last_offset()), (10, 11));
        assert_eq!((header.base_sequence, header.last_sequence(), header.producer_epoch), (30, 31, 2));
        assert_eq!((header.base_timestamp, header.max_timestamp), (-1, old.header().max_timestamp));
        assert_eq!(header.attributes.compression().unwrap(), Compression::None);
        assert_eq!(case.apply(&empty), Kept::AsItIs, "as long as it is the last one");
        case.producers.insert(ProducerId(7), LastRecord { data_offset: Some(30), epoch: 2 });
        assert_eq!(case.apply(&empty), Kept::Nothing);
    }

    #[test]
    fn the_end_of_a_round_and_of_a_segment_stays_as_an_empty_batch() {
        let old = batch(10, &[("a", Some("1")), ("b", Some("2"))], Compression::None);
        for (round, segment) in [(12, 1000), (1000, 12)] {
            let mut case = Case::new(&[("a", 20), ("b", 21)]);
            (case.end_offset, case.segment_end_offset) = (round, segment);
            let empty = case.rewritten(&old);
            assert_eq!((empty.header().record_count, empty.header().next_offset()), (0, 12));
            (case.end_offset, case.segment_end_offset) = (1000, 1000);
            assert_eq!(case.apply(&empty), Kept::Nothing, "it ends nothing any more");
        }
    }

    #[test]
    fn log_append_time_is_the_time_of_what_stays() {
        let old = batch(10, &[("a", Some("1")), ("b", None)], Compression::None).with_log_append_time(NOW_MS);
        let new = Case::new(&[("a", 20), ("b", 11)]).rewritten(&old);
        assert_eq!(new.header().attributes.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(new.header().max_timestamp, NOW_MS);
        assert_eq!(content(&new), [(11, NOW_MS, "b".to_owned(), None, 1)]);
        let mut case = Case::new(&[("a", 20), ("b", 21)]);
        case.end_offset = 12;
        let empty = case.rewritten(&old);
        assert_eq!(empty.header().attributes.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(empty.header().max_timestamp, NOW_MS);
    }

    #[test]
    fn records_without_a_key_go_and_are_counted() {
        let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
        builder.push(NOW_MS, None, Some(b"1"), &[]).unwrap();
        builder.push(NOW_MS, Some(b"a"), Some(b"2"), &[]).unwrap();
        let old = builder.seal(&Seal::default(), &mut Compressor::new()).unwrap();
        let mut case = Case::new(&[("a", 1)]);
        assert_eq!(content(&case.rewritten(&old)).len(), 1);
        assert_eq!(case.filter.records_without_key, 1);
    }

    #[test]
    fn a_marker_goes_after_its_records_and_its_horizon() {
        let marker = ControlBatch {
            base_offset: 50,
            partition_leader_epoch: 4,
            timestamp: NOW_MS,
            producer_id: ProducerId(7),
            producer_epoch: 2,
        };
        let commit = marker.build(&[ControlRecord::Commit { coordinator_epoch: 3 }]).unwrap();
        let seal = Seal { transactional: true, ..seal_of(commit.header()) };
        let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
        builder.push(NOW_MS, Some(b"a"), Some(b"1"), &[]).unwrap();
        let seal = Seal { control: false, base_offset: 40, last_offset_delta: None, ..seal };
        let data = builder.seal(&seal, &mut Compressor::new()).unwrap();

        let mut case = Case::new(&[("a", 40)]);
        assert_eq!(case.apply(&data), Kept::AsItIs);
        assert_eq!(case.apply(&commit), Kept::AsItIs, "its records are there");
        // The next round: the record is gone, the marker gets its horizon; then that passes.
        let stamped = case.rewritten(&commit);
        assert_eq!(stamped.header().delete_horizon_ms(), Some(NOW_MS + RETENTION_MS));
        assert!(stamped.header().attributes.is_control() && stamped.header().attributes.is_transactional());
        case.now_ms = NOW_MS + RETENTION_MS - 1;
        assert_eq!(case.apply(&stamped), Kept::AsItIs);
        case.now_ms += 1;
        assert_eq!(case.apply(&stamped), Kept::Nothing);
        // The producer's epoch is known by nothing else: the marker stays, without its record.
        case.producers.insert(ProducerId(7), LastRecord { data_offset: None, epoch: 2 });
        let empty = case.rewritten(&stamped);
        assert_eq!((empty.header().record_count, empty.header().producer_epoch), (0, 2));
        assert_eq!(case.apply(&empty), Kept::AsItIs);
        case.producers.insert(ProducerId(7), LastRecord { data_offset: None, epoch: 3 });
        assert_eq!(case.apply(&empty), Kept::Nothing);
    }

    #[test]
    fn aborted_records_go_whatever_the_map_says_and_have_no_say_in_it() {
        let seal =
            Seal { transactional: true, producer_id: ProducerId(7), producer_epoch: 0, ..Seal::default() };
        let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
        builder.push(NOW_MS, Some(b"a"), Some(b"1"), &[]).unwrap();
        let data = builder.seal(&Seal { base_offset: 40, ..seal }, &mut Compressor::new()).unwrap();
        let aborted =
            super::super::transactions::AbortedTransaction { first_offset: 40, producer_id: ProducerId(7) };

        let mut case = Case::new(&[]);
        case.transactions.add_aborted([aborted]);
        let mut map = OffsetMap::new(HashKey(1), 1 << 12, LOAD_PERCENT, usize::MAX);
        assert!(case.filter.learn(&data, 0, &mut map, &mut case.transactions).unwrap());
        assert_eq!((map.get(b"a"), map.latest_offset()), (None, 40));
        case.transactions = CleanedTransactions::default();
        case.transactions.add_aborted([aborted]);
        assert_eq!(case.apply(&data), Kept::Nothing);
    }

    #[test]
    fn learning_begins_at_an_offset_and_ends_when_the_map_is_full() {
        let old = batch(10, &[("a", Some("1")), ("b", None), ("c", Some("3"))], Compression::Snappy);
        let mut case = Case::new(&[]);
        let mut map = OffsetMap::new(HashKey(1), 1 << 12, LOAD_PERCENT, usize::MAX);
        assert!(case.filter.learn(&old, 11, &mut map, &mut case.transactions).unwrap());
        let found = ["a", "b", "c"].map(|key| map.get(key.as_bytes()));
        assert_eq!((found, map.latest_offset()), ([None, Some(11), Some(12)], 12));
        let mut map = OffsetMap::new(HashKey(1), 0, LOAD_PERCENT, usize::MAX);
        assert!(!case.filter.learn(&old, 0, &mut map, &mut case.transactions).unwrap());
        assert_eq!(map.latest_offset(), 10);
    }
}
