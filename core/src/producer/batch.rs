//! A batch of one partition, from its first record to the answer, with those who wait for its records.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use ottla_protocol::{
    compression::{Codec, Compressor, Decompressor, Limits},
    record::{Batch, BatchBuilder, PushError, Seal},
    types::TopicName,
};

use super::{
    budget::Reservation,
    delivery::{Fate, Outcome, Reports, Token, Written},
    idempotence::Numbers,
};
use crate::error::{Error, ErrorKind, Result};

/// A batch that is closed: it takes no more records.
#[derive(Debug)]
pub(crate) struct ProducerBatch {
    /// The topic.
    pub topic: TopicName,
    /// The partition's index.
    pub partition: i32,
    /// When its first record came: `delivery.timeout.ms` counts from here.
    pub created: Instant,
    /// Its numbers, from the first time it is sent until a broker refuses them.
    pub numbers: Option<Numbers>,
    /// How often it was sent.
    pub attempts: u32,
    /// Counts the batches as they were closed.
    pub ordinal: u64,
    /// The flush that waits for it.
    pub generation: u64,
    /// Why it was last sent in vain.
    pub last_error: Option<Error>,
    /// How many records it has.
    pub record_count: u32,
    content: Content,
    pub(super) waiters: Waiters,
}

#[derive(Debug)]
enum Content {
    Built(BatchBuilder),
    Sealed(Batch),
}

/// Who waits for the records of a batch, and the memory that they and the records take. If it is dropped, they
/// learn that the producer is gone.
#[derive(Debug)]
pub(super) struct Waiters {
    pub fate: Option<Arc<Fate>>,
    /// Ascending by index.
    pub tokens: Vec<Token>,
    pub memory: Reservation,
    /// Index of the first record in the batch as it was closed; not 0 for the later parts of a split.
    first: u32,
    /// How many records there are; more than any batch has while it is open.
    count: u32,
}

impl Waiters {
    /// Those of a batch that is begun, in `memory`.
    pub(super) fn new(memory: Reservation) -> Self {
        Self { fate: None, tokens: Vec::new(), memory, first: 0, count: u32::MAX }
    }
}

impl Drop for Waiters {
    fn drop(&mut self) {
        if let Some(fate) = self.fate.take() {
            fate.resolve(Outcome { first: self.first, count: self.count, result: Err(Error::closed()) });
        }
    }
}

impl ProducerBatch {
    /// Closes what was built so far.
    pub(super) fn close(
        topic: TopicName,
        partition: i32,
        created: Instant,
        builder: BatchBuilder,
        mut waiters: Waiters,
    ) -> Self {
        waiters.count = builder.record_count();
        Self {
            topic,
            partition,
            created,
            numbers: None,
            attempts: 0,
            ordinal: 0,
            generation: 0,
            last_error: None,
            record_count: builder.record_count(),
            content: Content::Built(builder),
            waiters,
        }
    }

    /// Its place among the batches of its partition, also for the parts of one that was split.
    pub(crate) fn place(&self) -> (u64, u32) {
        (self.ordinal, self.waiters.first)
    }

    /// Its size: exact once sealed, uncompressed before.
    pub(crate) fn bytes(&self) -> usize {
        match &self.content {
            Content::Built(builder) => builder.encoded_bytes(),
            Content::Sealed(batch) => batch.bytes().len(),
        }
    }

    /// The bytes to send, under its present numbers. Compresses the first time; a retry sends the same bytes.
    pub(crate) fn seal(&mut self, codec: Codec, compressor: &mut Compressor) -> Result<Bytes> {
        let (producer_id, producer_epoch, base_sequence) = match self.numbers {
            Some(numbers) => (numbers.identity.id, numbers.identity.epoch, numbers.base),
            None => {
                let unnumbered = Seal::default();
                (unnumbered.producer_id, unnumbered.producer_epoch, unnumbered.base_sequence)
            }
        };
        match &mut self.content {
            Content::Built(builder) => {
                let seal = Seal { codec, producer_id, producer_epoch, base_sequence, ..Seal::default() };
                let batch = builder.seal(&seal, compressor).map_err(|error| {
                    Error::new(ErrorKind::RecordTooLarge, error.to_string()).caused_by(error)
                })?;
                let bytes = batch.bytes().clone();
                self.content = Content::Sealed(batch);
                Ok(bytes)
            }
            Content::Sealed(batch) => {
                let header = batch.header();
                let stamped = (header.producer_id, header.producer_epoch, header.base_sequence);
                if stamped != (producer_id, producer_epoch, base_sequence) {
                    *batch = batch.clone().with_producer(producer_id, producer_epoch, base_sequence);
                }
                Ok(batch.bytes().clone())
            }
        }
    }

    /// Tells all who wait for its records.
    pub(crate) fn finish(mut self, result: Result<Written>, reports: &Reports) {
        let waiters = &mut self.waiters;
        let outcome = Outcome { first: waiters.first, count: waiters.count, result };
        let tokens = std::mem::take(&mut waiters.tokens);
        // The records' memory is free now, the tokens' once they are drained.
        let kept = (!tokens.is_empty()).then(|| waiters.memory.split(token_bytes(tokens.capacity())));
        let fate = waiters.fate.take();
        let (topic, partition) = (self.topic.clone(), self.partition);
        // First the memory: who is woken may send at once.
        drop(self);
        if kept.is_some() {
            reports.push(topic, partition, outcome.clone(), tokens, kept);
        }
        if let Some(fate) = fate {
            fate.resolve(outcome);
        }
    }

    /// Parts in two a batch that was too large for the broker (KIP-126), or gives it back if one record is all it
    /// has. The parts have no numbers yet.
    pub(crate) fn split(mut self, decompressor: &mut Decompressor) -> Result<[Self; 2], Box<(Self, Error)>> {
        let too_large = |why: String| Error::new(ErrorKind::RecordTooLarge, why);
        if self.record_count < 2 {
            return Err(Box::new((
                self,
                too_large("the batch has one record and cannot be split".to_owned()),
            )));
        }
        let builders = match &self.content {
            Content::Built(_) => Err(too_large("the batch was never sent".to_owned())),
            Content::Sealed(batch) => halves(batch, self.record_count / 2, decompressor),
        };
        let (one, other) = match builders {
            Ok(builders) => builders,
            Err(error) => return Err(Box::new((self, error))),
        };
        let waiters = &mut self.waiters;
        let first_count = one.record_count();
        let second_first = waiters.first + first_count;
        let cut = waiters.tokens.partition_point(|token| token.index < second_first);
        let half_bytes = waiters.memory.bytes() / 2;
        let second = Waiters {
            fate: waiters.fate.clone(),
            tokens: waiters.tokens.split_off(cut),
            memory: waiters.memory.split(half_bytes),
            first: second_first,
            count: other.record_count(),
        };
        let second = Self {
            record_count: other.record_count(),
            content: Content::Built(other),
            last_error: self.last_error.clone(),
            topic: self.topic.clone(),
            numbers: None,
            waiters: second,
            ..self
        };
        self.waiters.count = first_count;
        self.record_count = first_count;
        self.content = Content::Built(one);
        self.numbers = None;
        Ok([self, second])
    }
}

/// The memory of so many tokens.
pub(super) const fn token_bytes(tokens: usize) -> usize {
    tokens * size_of::<Token>()
}

/// Encodes the records of a sealed batch anew, in two batches of which the first has `first_count`.
fn halves(
    batch: &Batch,
    first_count: u32,
    decompressor: &mut Decompressor,
) -> Result<(BatchBuilder, BatchBuilder)> {
    let records = batch.records(decompressor, &Limits::CLIENT).map_err(unreadable)?;
    let room = records.block().len() + ottla_protocol::record::BATCH_HEADER_BYTES;
    let mut halves = [0, 1].map(|_| BatchBuilder::new(Vec::with_capacity(room / 2 + room / 8), usize::MAX));
    for (index, record) in (0..).zip(&records) {
        let record = record.map_err(unreadable)?;
        let half = usize::from(index >= first_count);
        if let Some(builder) = halves.get_mut(half) {
            builder
                .push(record.timestamp, record.key, record.value, record.headers)
                .map_err(|error: PushError| Error::new(ErrorKind::RecordTooLarge, error.to_string()))?;
        }
    }
    Ok(halves.into())
}

fn unreadable(error: ottla_protocol::record::BatchError) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a batch made here cannot be read back: {error}")).caused_by(error)
}
