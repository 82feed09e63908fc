//! What a log remembers of each idempotent producer (KIP-98), so that no batch is stored twice and none is missing.
//!
//! Pure state: it is told of batches, and says of each whether it is new, a duplicate or out of order. Batches are
//! *staged* first, into an overlay that later batches of the same write are checked against; once they are on disk
//! the overlay is *committed*, and if the write fails it is *discarded*.
//!
//! A snapshot of it is Kafka's `.snapshot` file (`ProducerStateManager`). Kafka keeps the last batch of each
//! producer in it; this writes a row for each of the last five, oldest first. Kafka's reader takes the last row of a
//! producer, so that it reads what it would have written; ours knows all duplicates again after a restart.

use std::{collections::HashMap, fmt, path::Path};

use bytes::Bytes;
use ottla_protocol::{
    messages::storage::producer_snapshot::{ProducerEntry, ProducerSnapshot},
    record::BatchHeader,
    types::ProducerId,
    wire,
};

use super::{
    cleaner::{LastRecord, LastRecords},
    error::LogError,
    vfs::Disk,
};

/// Batches of each producer that a duplicate is recognised among: `ProducerStateEntry.NUM_BATCHES_TO_RETAIN`, and as
/// many as a producer may have in flight.
pub const BATCHES_RETAINED: usize = 5;

/// Of all producers, this share goes at once when there are too many, so that finding them is paid for rarely.
const EVICTED_SHARE: usize = 16;

/// The one version of Kafka's snapshot file.
const SNAPSHOT_VERSION: i16 = 1;
/// Version and CRC; the CRC counts what follows.
const SNAPSHOT_HEADER_BYTES: usize = 6;

/// All producers that a log knows of.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProducerState {
    producers: HashMap<ProducerId, Producer>,
    /// Producers as they will be once what is being written is on disk.
    staged: HashMap<ProducerId, Producer>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Producer {
    epoch: i16,
    /// Epoch of the transaction coordinator that last wrote a marker; -1 for none.
    coordinator_epoch: i32,
    /// Where its open transaction begins; -1 for none.
    current_txn_first_offset: i64,
    /// When it was last heard of, by this broker's clock.
    last_used_ms: i64,
    batches: RecentBatches,
}

/// The last batches of a producer, oldest first.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct RecentBatches {
    batches: [BatchMetadata; BATCHES_RETAINED],
    count: usize,
}

/// What is remembered of a batch.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct BatchMetadata {
    /// Sequence number of the last record.
    pub(crate) last_sequence: i32,
    /// Offset of the last record.
    pub(crate) last_offset: i64,
    /// Offsets between the first record and the last.
    pub(crate) offset_delta: i32,
    /// The batch's latest timestamp in ms.
    pub(crate) timestamp: i64,
}

impl BatchMetadata {
    /// Sequence number of the first record.
    pub(crate) fn first_sequence(&self) -> i32 {
        BatchHeader::sequence_after(self.last_sequence, self.offset_delta.wrapping_neg())
    }

    /// Offset of the first record.
    pub(crate) fn first_offset(&self) -> i64 {
        self.last_offset.saturating_sub(i64::from(self.offset_delta))
    }
}

/// What a batch is to its producer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// The next one; staged.
    New,
    /// Stored before.
    Duplicate(BatchMetadata),
}

/// Why a producer's batch is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProducerError {
    /// Another instance with a newer epoch has taken over.
    InvalidProducerEpoch {
        /// The newest epoch seen.
        current: i16,
        /// The batch's.
        found: i16,
    },
    /// A batch before this one is missing, or it is a duplicate of one that is forgotten.
    OutOfOrderSequence {
        /// The sequence number that would be next.
        expected: i32,
        /// The batch's first.
        found: i32,
    },
}

impl ProducerState {
    /// Judges a batch, at the offset that it is to have, against all that was staged or committed before, and stages
    /// it if it is new. Batches without a producer id are always new.
    pub(crate) fn stage(&mut self, batch: &BatchHeader, now_ms: i64) -> Result<Verdict, ProducerError> {
        if batch.producer_id.0 < 0 {
            return Ok(Verdict::New);
        }
        let known = self.staged.get(&batch.producer_id).or_else(|| self.producers.get(&batch.producer_id));
        if let Some(producer) = known
            && let Verdict::Duplicate(original) = producer.judge(batch)?
        {
            return Ok(Verdict::Duplicate(original));
        }
        let mut producer = known.cloned().unwrap_or_else(|| Producer::new(batch.producer_epoch));
        producer.add(batch, now_ms);
        self.staged.insert(batch.producer_id, producer);
        Ok(Verdict::New)
    }

    /// What was staged is on disk. Keeps at most `producers_max`: those heard of last.
    pub(crate) fn commit(&mut self, producers_max: usize) {
        for (id, producer) in self.staged.drain() {
            self.producers.insert(id, producer);
        }
        self.evict(producers_max);
    }

    /// What was staged could not be written.
    pub(crate) fn discard(&mut self) {
        self.staged.clear();
    }

    /// Takes note of a batch that the log holds.
    pub(crate) fn replay(&mut self, batch: &BatchHeader, now_ms: i64) {
        if batch.producer_id.0 < 0 {
            return;
        }
        let fresh = || Producer::new(batch.producer_epoch);
        self.producers.entry(batch.producer_id).or_insert_with(fresh).add(batch, now_ms);
    }

    /// Forgets the producers that were last heard of `expiration_ms` ago, unless a transaction of theirs is open:
    /// Kafka's `producer.id.expiration.ms`.
    pub(crate) fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.retain(|_, p| {
            p.current_txn_first_offset >= 0 || now_ms.saturating_sub(p.last_used_ms) < expiration_ms
        });
    }

    /// The last record of each producer that is known.
    pub(crate) fn last_records(&self) -> LastRecords {
        let last = |p: &Producer| LastRecord {
            data_offset: p.batches.as_slice().last().map(|batch| batch.last_offset),
            epoch: p.epoch,
        };
        self.producers.iter().map(|(id, producer)| (*id, last(producer))).collect()
    }

    /// How many producers are known.
    pub(crate) fn len(&self) -> usize {
        self.producers.len()
    }

    fn evict(&mut self, producers_max: usize) {
        let surplus = self.producers.len().saturating_sub(producers_max);
        if surplus == 0 {
            return;
        }
        let mut idle: Vec<(i64, ProducerId)> = self
            .producers
            .iter()
            .filter(|(_, p)| p.current_txn_first_offset < 0)
            .map(|(&id, p)| (p.last_used_ms, id))
            .collect();
        let evicted = (surplus + producers_max / EVICTED_SHARE).min(idle.len());
        if evicted < idle.len() {
            idle.select_nth_unstable(evicted);
        }
        for (_, id) in idle.into_iter().take(evicted) {
            self.producers.remove(&id);
        }
    }

    /// The bytes of a snapshot file.
    pub(crate) fn encode_snapshot(&self) -> Result<Vec<u8>, wire::Unsupported> {
        let mut ids: Vec<ProducerId> = self.producers.keys().copied().collect();
        ids.sort_unstable();
        let mut snapshot = ProducerSnapshot::default();
        for (id, producer) in ids.into_iter().filter_map(|id| Some((id, self.producers.get(&id)?))) {
            let row = ProducerEntry {
                producer_id: id.0,
                epoch: producer.epoch,
                last_sequence: -1,
                last_offset: -1,
                offset_delta: 0,
                timestamp: -1,
                coordinator_epoch: producer.coordinator_epoch,
                current_txn_first_offset: producer.current_txn_first_offset,
            };
            if producer.batches.as_slice().is_empty() {
                snapshot.producer_entries.push(row.clone());
            }
            snapshot.producer_entries.extend(producer.batches.as_slice().iter().map(|b| ProducerEntry {
                last_sequence: b.last_sequence,
                last_offset: b.last_offset,
                offset_delta: b.offset_delta,
                timestamp: b.timestamp,
                ..row.clone()
            }));
        }
        let mut bytes = SNAPSHOT_VERSION.to_be_bytes().to_vec();
        bytes.extend_from_slice(&wire::encode(&snapshot, SNAPSHOT_VERSION)?);
        let crc = crc32c::crc32c(bytes.get(SNAPSHOT_HEADER_BYTES..).unwrap_or_default());
        if let Some(place) = bytes.get_mut(2..SNAPSHOT_HEADER_BYTES) {
            place.copy_from_slice(&crc.to_be_bytes());
        }
        Ok(bytes)
    }

    /// The state as a snapshot has it. No producer in it is taken for idle, whatever its records' timestamps: the
    /// snapshot does not say when it was last heard of.
    pub(crate) fn decode_snapshot(bytes: Vec<u8>, now_ms: i64) -> Result<Self, String> {
        let mut state = Self::default();
        for row in decode_rows(bytes)? {
            let producer = state
                .producers
                .entry(ProducerId(row.producer_id))
                .or_insert_with(|| Producer::new(row.epoch));
            if producer.epoch != row.epoch {
                *producer = Producer::new(row.epoch);
            }
            producer.coordinator_epoch = row.coordinator_epoch;
            producer.current_txn_first_offset = row.current_txn_first_offset;
            producer.last_used_ms = now_ms;
            if row.last_offset >= 0 {
                let batch = BatchMetadata {
                    last_sequence: row.last_sequence,
                    last_offset: row.last_offset,
                    offset_delta: row.offset_delta,
                    timestamp: row.timestamp,
                };
                producer.batches.push(batch);
            }
        }
        Ok(state)
    }

    /// Reads a snapshot file; `None` if it is not there.
    pub(crate) fn read_snapshot(disk: &Disk, path: &Path, now_ms: i64) -> Result<Option<Self>, LogError> {
        let Some(bytes) = disk.read_file(path)? else { return Ok(None) };
        Self::decode_snapshot(bytes, now_ms).map(Some).map_err(|why| LogError::malformed(path, why))
    }
}

/// The rows of a snapshot file, checked against its CRC.
pub(crate) fn decode_rows(bytes: Vec<u8>) -> Result<Vec<ProducerEntry>, String> {
    let bytes = Bytes::from(bytes);
    let version = bytes.first_chunk().map(|&v| i16::from_be_bytes(v));
    if version != Some(SNAPSHOT_VERSION) || bytes.len() < SNAPSHOT_HEADER_BYTES {
        return Err(format!("it is no producer snapshot of version {SNAPSHOT_VERSION}"));
    }
    let computed = crc32c::crc32c(bytes.get(SNAPSHOT_HEADER_BYTES..).unwrap_or_default());
    let snapshot: ProducerSnapshot =
        wire::decode(bytes.slice(2..), SNAPSHOT_VERSION).map_err(|e| e.to_string())?;
    if snapshot.crc != computed {
        return Err(format!("its CRC is `{computed:08x}`, but it states `{:08x}`", snapshot.crc));
    }
    Ok(snapshot.producer_entries)
}

impl Producer {
    fn new(epoch: i16) -> Self {
        Self {
            epoch,
            coordinator_epoch: -1,
            current_txn_first_offset: -1,
            last_used_ms: 0,
            batches: RecentBatches::default(),
        }
    }

    /// The rules of `ProducerAppendInfo`: what lies behind the batches remembered is out of order too.
    fn judge(&self, batch: &BatchHeader) -> Result<Verdict, ProducerError> {
        let found = batch.base_sequence;
        let sequenced = is_sequenced(batch);
        if sequenced
            && batch.producer_epoch == self.epoch
            && let Some(original) = self.batches.find(found, batch.last_sequence())
        {
            return Ok(Verdict::Duplicate(original));
        }
        if batch.producer_epoch < self.epoch {
            return Err(ProducerError::InvalidProducerEpoch {
                current: self.epoch,
                found: batch.producer_epoch,
            });
        }
        if !sequenced {
            return Ok(Verdict::New);
        }
        let last = match self.batches.as_slice().last() {
            Some(last) if batch.producer_epoch == self.epoch => last.last_sequence,
            // A new epoch begins at 0.
            _ if found == 0 => return Ok(Verdict::New),
            _ => return Err(ProducerError::OutOfOrderSequence { expected: 0, found }),
        };
        let expected = BatchHeader::sequence_after(last, 1);
        if found == expected {
            Ok(Verdict::New)
        } else {
            Err(ProducerError::OutOfOrderSequence { expected, found })
        }
    }

    fn add(&mut self, batch: &BatchHeader, now_ms: i64) {
        if self.epoch != batch.producer_epoch {
            self.epoch = batch.producer_epoch;
            self.batches = RecentBatches::default();
        }
        self.last_used_ms = now_ms;
        if is_sequenced(batch) {
            self.batches.push(BatchMetadata {
                last_sequence: batch.last_sequence(),
                last_offset: batch.last_offset(),
                offset_delta: batch.last_offset_delta,
                timestamp: batch.max_timestamp,
            });
        }
    }
}

/// Whether a batch has a place in its producer's order. Markers and what coordinators write have none.
fn is_sequenced(batch: &BatchHeader) -> bool {
    batch.base_sequence >= 0 && !batch.attributes.is_control()
}

impl RecentBatches {
    fn as_slice(&self) -> &[BatchMetadata] {
        self.batches.get(..self.count).unwrap_or_default()
    }

    fn find(&self, first_sequence: i32, last_sequence: i32) -> Option<BatchMetadata> {
        let same =
            |b: &&BatchMetadata| b.last_sequence == last_sequence && b.first_sequence() == first_sequence;
        self.as_slice().iter().find(same).copied()
    }

    fn push(&mut self, batch: BatchMetadata) {
        if self.count == BATCHES_RETAINED {
            self.batches.rotate_left(1);
            self.count -= 1;
        }
        if let Some(place) = self.batches.get_mut(self.count) {
            *place = batch;
            self.count += 1;
        }
    }
}

impl fmt::Display for ProducerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidProducerEpoch { current, found } => {
                write!(f, "the producer's epoch is `{found}`, and one with epoch `{current}` has taken over")
            }
            Self::OutOfOrderSequence { expected, found } => {
                write!(f, "the batch begins with sequence number `{found}`, and `{expected}` would be next")
            }
        }
    }
}

impl std::error::Error for ProducerError {}

#[cfg(test)]
mod tests {
    use ottla_protocol::record::Attributes;
    use proptest::prelude::*;

    use super::*;

    const ID: ProducerId = ProducerId(9);

    fn batch(epoch: i16, base_sequence: i32, records: i32, base_offset: i64) -> BatchHeader {
        BatchHeader {
            base_offset,
            producer_id: ID,
            producer_epoch: epoch,
            base_sequence,
            record_count: records,
            last_offset_delta: records - 1,
            max_timestamp: 1000 + base_offset,
            ..BatchHeader::default()
        }
    }

    /// Stages and commits, as a log does whose writes succeed.
    fn append(state: &mut ProducerState, batch: &BatchHeader) -> Result<Verdict, ProducerError> {
        let verdict = state.stage(batch, 0);
        state.commit(1000);
        verdict
    }

    fn duplicate_of(verdict: Result<Verdict, ProducerError>) -> Option<(i64, i64)> {
        match verdict {
            Ok(Verdict::Duplicate(b)) => Some((b.first_offset(), b.last_offset)),
            _ => None,
        }
    }

    #[test]
    fn each_of_the_last_five_batches_is_recognised_with_its_offset() {
        let mut state = ProducerState::default();
        for i in 0..8 {
            assert_eq!(append(&mut state, &batch(0, i * 3, 3, 100 + i64::from(i) * 10)), Ok(Verdict::New));
        }
        for i in 3..8 {
            let again = append(&mut state, &batch(0, i * 3, 3, 999));
            let first = 100 + i64::from(i) * 10;
            assert_eq!(duplicate_of(again), Some((first, first + 2)), "batch {i}");
        }
        for i in 0..3 {
            assert_eq!(
                append(&mut state, &batch(0, i * 3, 3, 999)),
                Err(ProducerError::OutOfOrderSequence { expected: 24, found: i * 3 }),
                "batch {i}"
            );
        }
        // The same first sequence with another last one is another batch.
        assert!(append(&mut state, &batch(0, 21, 2, 999)).is_err());
        assert_eq!(append(&mut state, &batch(0, 24, 1, 999)), Ok(Verdict::New));
    }

    #[test]
    fn a_gap_is_out_of_order() {
        let mut state = ProducerState::default();
        append(&mut state, &batch(0, 0, 5, 0)).unwrap();
        assert_eq!(
            append(&mut state, &batch(0, 6, 1, 5)),
            Err(ProducerError::OutOfOrderSequence { expected: 5, found: 6 })
        );
        assert_eq!(append(&mut state, &batch(0, 5, 1, 5)), Ok(Verdict::New));
    }

    #[test]
    fn a_newer_epoch_begins_at_zero_and_fences_the_older() {
        let mut state = ProducerState::default();
        append(&mut state, &batch(0, 0, 5, 0)).unwrap();
        assert_eq!(
            append(&mut state, &batch(1, 5, 1, 5)),
            Err(ProducerError::OutOfOrderSequence { expected: 0, found: 5 })
        );
        assert_eq!(append(&mut state, &batch(1, 0, 1, 5)), Ok(Verdict::New));
        assert_eq!(
            append(&mut state, &batch(0, 5, 1, 6)),
            Err(ProducerError::InvalidProducerEpoch { current: 1, found: 0 })
        );
        // Even what was a duplicate in the old epoch is fenced, as Kafka does.
        assert_eq!(
            append(&mut state, &batch(0, 0, 5, 6)),
            Err(ProducerError::InvalidProducerEpoch { current: 1, found: 0 })
        );
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let mut state = ProducerState::default();
        append(&mut state, &batch(0, i32::MAX - 1, 1, 0)).unwrap();
        assert_eq!(append(&mut state, &batch(0, i32::MAX, 3, 1)), Ok(Verdict::New));
        assert_eq!(duplicate_of(append(&mut state, &batch(0, i32::MAX, 3, 9))), Some((1, 3)));
        assert_eq!(append(&mut state, &batch(0, 2, 1, 4)), Ok(Verdict::New));
        // After the wrap, what lies behind is still told from what lies ahead.
        assert_eq!(
            append(&mut state, &batch(0, 7, 1, 5)),
            Err(ProducerError::OutOfOrderSequence { expected: 3, found: 7 })
        );
    }

    #[test]
    fn a_producer_that_was_forgotten_may_go_on_anywhere_but_not_back() {
        let mut state = ProducerState::default();
        assert_eq!(append(&mut state, &batch(3, 100, 1, 0)), Ok(Verdict::New));
        // Whether 50 was ever stored is not known here, so it must not be called a duplicate.
        assert_eq!(
            append(&mut state, &batch(3, 50, 1, 1)),
            Err(ProducerError::OutOfOrderSequence { expected: 101, found: 50 })
        );
    }

    #[test]
    fn what_is_staged_counts_for_what_follows_and_goes_if_discarded() {
        let mut state = ProducerState::default();
        append(&mut state, &batch(0, 0, 1, 0)).unwrap();
        assert_eq!(state.stage(&batch(0, 1, 1, 1), 0), Ok(Verdict::New));
        assert_eq!(state.stage(&batch(0, 2, 1, 2), 0), Ok(Verdict::New));
        assert_eq!(duplicate_of(state.stage(&batch(0, 1, 1, 3), 0)), Some((1, 1)));
        state.discard();
        assert_eq!(
            state.stage(&batch(0, 2, 1, 1), 0),
            Err(ProducerError::OutOfOrderSequence { expected: 1, found: 2 })
        );
        assert_eq!(state.stage(&batch(0, 1, 1, 1), 0), Ok(Verdict::New));
    }

    #[test]
    fn markers_carry_an_epoch_and_no_sequence() {
        let mut state = ProducerState::default();
        append(&mut state, &batch(0, 0, 1, 0)).unwrap();
        let marker =
            BatchHeader { attributes: Attributes::default().with_control(true), ..batch(1, -1, 1, 1) };
        assert_eq!(append(&mut state, &marker), Ok(Verdict::New));
        assert_eq!(append(&mut state, &marker), Ok(Verdict::New), "a marker is no duplicate of another");
        assert!(append(&mut state, &batch(0, 1, 1, 2)).is_err());
        assert_eq!(append(&mut state, &batch(1, 0, 1, 2)), Ok(Verdict::New));
    }

    #[test]
    fn idle_producers_expire_and_the_longest_idle_give_way() {
        let mut state = ProducerState::default();
        for id in 0..64 {
            state.stage(&BatchHeader { producer_id: ProducerId(id), ..batch(0, 0, 1, id) }, id).unwrap();
            state.commit(64);
        }
        assert_eq!(state.len(), 64);
        state.stage(&BatchHeader { producer_id: ProducerId(64), ..batch(0, 0, 1, 64) }, 64).unwrap();
        state.commit(64);
        assert_eq!(state.len(), 65 - 1 - 64 / EVICTED_SHARE);
        assert!(!state.producers.contains_key(&ProducerId(4)));
        assert!(state.producers.contains_key(&ProducerId(5)));
        state.expire(60, 10);
        assert_eq!(state.len(), 64 - 50);
        assert!(!state.producers.contains_key(&ProducerId(50)));
    }

    #[test]
    fn a_snapshot_is_as_kafka_writes_it() {
        let mut state = ProducerState::default();
        append(&mut state, &batch(3, 0, 5, 10)).unwrap();
        let bytes = state.encode_snapshot().unwrap();
        let mut expected = vec![0, 1];
        let entries: Vec<u8> = [
            &1_i32.to_be_bytes()[..],
            &9_i64.to_be_bytes(),
            &3_i16.to_be_bytes(),
            &4_i32.to_be_bytes(),
            &14_i64.to_be_bytes(),
            &4_i32.to_be_bytes(),
            &1010_i64.to_be_bytes(),
            &(-1_i32).to_be_bytes(),
            &(-1_i64).to_be_bytes(),
        ]
        .concat();
        expected.extend(crc32c::crc32c(&entries).to_be_bytes());
        expected.extend(entries);
        assert_eq!(bytes, expected);
        assert_eq!(ProducerState::default().encode_snapshot().unwrap().len(), 10);
    }

    #[test]
    fn a_damaged_snapshot_is_refused() {
        let mut state = ProducerState::default();
        append(&mut state, &batch(3, 0, 5, 10)).unwrap();
        let bytes = state.encode_snapshot().unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            ProducerState::decode_snapshot(damaged, 0).unwrap_err();
            ProducerState::decode_snapshot(bytes[..at].to_vec(), 0).unwrap_err();
        }
    }

    /// What a test does to the state: epoch, sequence and count of a batch.
    fn appends() -> impl Strategy<Value = Vec<(i64, i16, i32)>> {
        proptest::collection::vec((0_i64..3, 0_i16..2, 1_i32..4), 0..60)
    }

    proptest! {
        /// A state that was written and read answers every batch as the original does.
        #[test]
        fn a_snapshot_restores_all_that_is_known(appends in appends()) {
            let mut state = ProducerState::default();
            let mut next: HashMap<(i64, i16), i32> = HashMap::new();
            let mut all = Vec::new();
            for (offset, &(id, epoch, records)) in appends.iter().enumerate() {
                let sequence = next.entry((id, epoch)).or_default();
                let header = BatchHeader {
                    producer_id: ProducerId(id),
                    ..batch(epoch, *sequence, records, offset as i64 * 10)
                };
                if let Ok(Verdict::New) = append(&mut state, &header) {
                    *sequence += records;
                }
                all.push(header);
            }
            let mut again = ProducerState::decode_snapshot(state.encode_snapshot().unwrap(), 0).unwrap();
            for header in &all {
                let (before, after) = (state.stage(header, 0), again.stage(header, 0));
                state.discard();
                again.discard();
                prop_assert_eq!(before, after);
            }
        }
    }
}
