//! Where records become batches: each is encoded once, by the thread that sends it, into the open batch of its
//! partition.
//!
//! A [`Slot`] is one partition's place: a small lock around its open batch and those that are full. Whoever puts the
//! first record into a batch, or finds one full, tells the sender through [`Signals`]; so the sender looks only at
//! slots that have something for it.
//!
//! Locks: a slot's, then that of the signals. Both are held for a few instructions, or one record's encoding.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use ottla_protocol::{
    record::{BATCH_HEADER_BYTES, BatchBuilder, PushError},
    types::{Str, TopicName},
};
use tokio::sync::Notify;

use super::{
    batch::{ProducerBatch, Waiters, token_bytes},
    budget::{Budget, Reservation},
    delivery::{Delivery, Fate, Token},
    partitioner,
    record::Record,
};
use crate::{
    error::{Error, ErrorKind, Result},
    time::{self, Clock},
};

/// Buffers begin at least this large, or as large as `batch.size` if that is smaller.
const BUFFER_BYTES_MIN: usize = 1024;
/// Room for tokens begins with so many.
const TOKENS_MIN: usize = 64;

/// Limits of batches and memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccumulatorSettings {
    /// `batch.size`, in bytes before compression.
    pub batch_bytes: usize,
    /// `max.request.size`: the largest record, in bytes.
    pub record_bytes_max: usize,
    /// `buffer.memory`, in bytes.
    pub memory_bytes: usize,
    /// `partitioner.ignore.keys`.
    pub ignore_keys: bool,
}

/// Takes records in; the sender takes batches out.
#[derive(Debug)]
pub(crate) struct Accumulator {
    settings: AccumulatorSettings,
    clock: Clock,
    pub(super) budget: Budget,
    topics: ArcSwap<HashMap<Str, Arc<Topic>, foldhash::fast::RandomState>>,
    /// Taken by whoever replaces `topics`.
    growing: Mutex<()>,
    slots: AtomicU32,
    /// No batch is begun any more. Read and written under a slot's lock, or before all of them are taken.
    closed: AtomicBool,
    pub(super) signals: Signals,
}

/// A topic's partitions, and the one that records without key go to at present.
#[derive(Debug)]
pub(crate) struct Topic {
    name: TopicName,
    slots: Box<[Arc<Slot>]>,
    sticky: Arc<Sticky>,
}

/// The partition that records without key stick to (KIP-794).
#[derive(Debug, Default)]
struct Sticky {
    partition: AtomicU32,
    /// Bytes of the batches that were closed there since; counted per batch, so a record costs nothing.
    bytes: AtomicUsize,
}

/// One partition's batches that the sender has not taken yet.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Its number among all slots of the producer.
    pub id: u32,
    /// The topic.
    pub topic: TopicName,
    /// The partition's index.
    pub partition: i32,
    /// Batches that are closed and not yet acknowledged: the longer, the fewer records without key come.
    /// Written by whoever closes one, and by the sender.
    pub queued: AtomicU32,
    /// Whether the partition has a leader. Written by the sender.
    pub has_leader: AtomicBool,
    sticky: Arc<Sticky>,
    state: Mutex<SlotState>,
}

#[derive(Debug, Default)]
struct SlotState {
    open: Option<OpenBatch>,
    closed: VecDeque<ProducerBatch>,
    /// Size of the last batch: the next begins with a buffer for as much.
    last_bytes: usize,
}

#[derive(Debug)]
struct OpenBatch {
    created: Instant,
    builder: BatchBuilder,
    waiters: Waiters,
}

/// What the sender is told.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    lists: Mutex<SignalLists>,
    pub(super) notify: Notify,
    /// What the sender need not be woken for, as it has enough to do: one of `WAKE_*`. It is written by the sender before
    /// it looks at the lists for the last time, and read after an entry was put there: either the sender sees the entry,
    /// or whoever put it there sees what is worth a wake.
    wake_for: AtomicU8,
    /// Somebody found no memory: nothing may linger.
    pub(super) starving: AtomicBool,
    /// How many wait for memory.
    pub(super) waiting: AtomicUsize,
}

/// Wake the sender for everything.
pub(super) const WAKE_FOR_ALL: u8 = 0;
/// Not for a batch that was begun: each broker has something under way, so it may gather. The sender looks by itself
/// when an answer comes, or `linger.ms` is over.
pub(super) const WAKE_FOR_FULL: u8 = 1;
/// Not for a full batch either: no broker takes another request before it answered one.
pub(super) const WAKE_FOR_NONE: u8 = 2;

/// Slots that have something new.
#[derive(Debug, Default)]
pub(crate) struct SignalLists {
    /// A batch was begun, at this time.
    pub opened: Vec<(Arc<Slot>, Instant)>,
    /// A batch is full.
    pub filled: Vec<Arc<Slot>>,
}

/// What the caller wants to know of a record's fate.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Want {
    /// Nothing.
    Nothing,
    /// A [`Delivery`].
    Delivery,
    /// A report with this token.
    Token(u64),
}

/// Why a record was not taken.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// It is not known which partitions the topic has.
    UnknownTopic,
    /// There is no memory; with so many bytes there would be.
    Full {
        /// Bytes that are needed.
        needed_bytes: usize,
    },
    /// It never will be.
    Failed(Error),
}

impl Accumulator {
    /// Knows no topic yet.
    pub(crate) fn new(settings: AccumulatorSettings, clock: Clock) -> Self {
        Self {
            clock,
            budget: Budget::new(settings.memory_bytes),
            settings,
            topics: ArcSwap::default(),
            growing: Mutex::default(),
            slots: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            signals: Signals::default(),
        }
    }

    /// The topic, if its partitions are known.
    #[cfg(test)]
    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.load().get(name.as_bytes()).cloned()
    }

    /// Encodes `record` into the batch of a partition of its topic. `credit` is memory that the caller waited for.
    #[inline]
    pub(crate) fn append(
        &self,
        record: &Record<'_>,
        want: Want,
        credit: &mut Option<Reservation>,
    ) -> Result<Option<Delivery>, AppendError> {
        let topics = self.topics.load();
        let topic = topics.get(record.topic.as_bytes()).ok_or(AppendError::UnknownTopic)?;
        self.append_to(topic, record, want, credit)
    }

    /// Begins no more batches, and gives those that there are.
    pub(crate) fn close(&self, mut batches: impl FnMut(ProducerBatch)) {
        self.closed.store(true, Ordering::Release);
        // Whoever comes to a slot after this finds it closed; whoever came before has left a batch.
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        for topic in self.topics.load().values() {
            topic.slots.iter().for_each(|slot| slot.take(true, &mut batches));
        }
    }

    /// How many partitions the topic has, if that is known.
    pub(crate) fn partition_count(&self, name: &str) -> Option<usize> {
        self.topics.load().get(name.as_bytes()).map(|topic| topic.slots.len())
    }

    /// Memory with which a record is taken for sure, and others after it: a batch's worth, if there is as much.
    pub(crate) fn roomy_bytes(&self, record_bytes: usize) -> usize {
        let needed = record_bytes.saturating_add(BATCH_HEADER_BYTES);
        // A buffer that is about to double asks for half as much again, at most.
        needed.max((2 * self.settings.batch_bytes).min(self.budget.total_bytes() / 2))
    }

    /// Adds partitions to topics that have more now; `partitions` tells how many.
    pub(crate) fn grow_to(&self, partitions: impl Fn(&TopicName) -> Option<usize>) {
        for topic in self.topics.load().values() {
            if let Some(count) = partitions(&topic.name).filter(|count| *count > topic.slots.len()) {
                self.set_partitions(&topic.name, count);
            }
        }
    }

    /// Takes note that the topic has so many partitions. It never has fewer than before: a topic that was created
    /// anew with fewer lets records to the others fail at the broker.
    pub(crate) fn set_partitions(&self, name: &TopicName, partitions: usize) {
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        let topics = self.topics.load_full();
        let known = topics.get(&name.0);
        if known.is_some_and(|topic| topic.slots.len() >= partitions) || partitions == 0 {
            return;
        }
        let sticky =
            known.map_or_else(|| Arc::new(Sticky::starting(partitions)), |topic| topic.sticky.clone());
        let mut slots: Vec<Arc<Slot>> = known.map(|topic| topic.slots.to_vec()).unwrap_or_default();
        for partition in slots.len()..partitions {
            slots.push(Arc::new(Slot {
                id: self.slots.fetch_add(1, Ordering::Relaxed),
                topic: name.detached(),
                partition: i32::try_from(partition).unwrap_or(i32::MAX),
                queued: AtomicU32::new(0),
                has_leader: AtomicBool::new(true),
                sticky: sticky.clone(),
                state: Mutex::default(),
            }));
        }
        let topic = Topic { name: name.detached(), slots: slots.into(), sticky };
        let mut next = (*topics).clone();
        next.insert(name.0.detached(), Arc::new(topic));
        self.topics.store(Arc::new(next));
    }

    #[inline]
    fn append_to(
        &self,
        topic: &Topic,
        record: &Record<'_>,
        want: Want,
        credit: &mut Option<Reservation>,
    ) -> Result<Option<Delivery>, AppendError> {
        let bytes = record.bytes_max();
        if bytes + BATCH_HEADER_BYTES > self.settings.record_bytes_max {
            return Err(AppendError::Failed(self.too_large(bytes)));
        }
        let (mut partition, sticks) = self.partition(topic, record)?;
        loop {
            let slot = topic.slots.get(partition as usize).ok_or_else(|| no_partition(topic, record))?;
            let mut state = slot.lock();
            let fits = state.open.as_ref().is_some_and(|open| open.builder.would_fit(bytes));
            if !fits {
                let full = state.open.is_some();
                if full {
                    self.close_batch(slot, &mut state);
                }
                // A batch ends here: the time for records without key to move on.
                if sticks && topic.sticky.is_due(full, self.settings.batch_bytes) {
                    drop(state);
                    partition = topic.move_on(partition);
                    continue;
                }
                self.open(slot, &mut state, bytes, want, credit)?;
            }
            let pushed = self.push(slot, &mut state, record, bytes, want, credit);
            if pushed.is_err() {
                // A batch that nothing has got into is none to be sent, and would hold its memory.
                state.open.take_if(|open| open.builder.is_empty());
            }
            return pushed;
        }
    }

    /// The partition of a record, and whether that is the sticky one.
    #[inline]
    fn partition(&self, topic: &Topic, record: &Record<'_>) -> Result<(u32, bool), AppendError> {
        if let Some(partition) = record.partition {
            return Ok((u32::try_from(partition).map_err(|_| no_partition(topic, record))?, false));
        }
        match record.key {
            Some(key) if !self.settings.ignore_keys => {
                Ok((partitioner::partition_for_key(key, topic.slots.len() as u32), false))
            }
            _ => Ok((topic.sticky.partition.load(Ordering::Relaxed), true)),
        }
    }

    #[inline]
    fn push(
        &self,
        slot: &Slot,
        state: &mut SlotState,
        record: &Record<'_>,
        bytes: usize,
        want: Want,
        credit: &mut Option<Reservation>,
    ) -> Result<Option<Delivery>, AppendError> {
        let Some(open) = &mut state.open else { return Err(AppendError::Full { needed_bytes: bytes }) };
        if open.builder.encoded_bytes() + bytes > open.builder.capacity_bytes() {
            self.grow(open, bytes, credit)?;
        }
        if matches!(want, Want::Token(_)) && open.waiters.tokens.len() == open.waiters.tokens.capacity() {
            self.grow_tokens(open, credit)?;
        }
        let timestamp = record.timestamp.unwrap_or_else(time::now_ms);
        let index = open
            .builder
            .push(timestamp, record.key, record.value, record.encoded_headers())
            .map_err(|error| self.not_pushed(error, bytes))?;
        match want {
            Want::Nothing => Ok(None),
            Want::Token(token) => {
                open.waiters.tokens.push(Token { index, token, timestamp });
                Ok(None)
            }
            Want::Delivery => {
                let fate = open
                    .waiters
                    .fate
                    .get_or_insert_with(|| Arc::new(Fate::new(slot.topic.clone(), slot.partition)));
                Ok(Some(Delivery::new(fate.clone(), index, timestamp)))
            }
        }
    }

    /// Begins a batch, if there is memory for one, with its first record and what `want` takes beside it.
    #[cold]
    fn open(
        &self,
        slot: &Arc<Slot>,
        state: &mut SlotState,
        bytes: usize,
        want: Want,
        credit: &mut Option<Reservation>,
    ) -> Result<(), AppendError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(AppendError::Failed(Error::closed()));
        }
        let tokens = if matches!(want, Want::Token(_)) { TOKENS_MIN } else { 0 };
        let beside = token_bytes(tokens);
        let least = bytes + BATCH_HEADER_BYTES;
        let wish = buffer_bytes(self.settings.batch_bytes, least.max(state.last_bytes));
        let memory = self.take(wish + beside, least + beside, credit)?;
        let buffer = Vec::with_capacity(memory.bytes() - beside);
        let mut waiters = Waiters::new(memory);
        waiters.tokens.reserve_exact(tokens);
        let created = self.clock.now();
        state.open = Some(OpenBatch {
            created,
            builder: BatchBuilder::new(buffer, self.settings.batch_bytes),
            waiters,
        });
        // Told while the slot is locked: who finds this batch and flushes must not come before the news of it.
        self.signals.opened(slot, created);
        Ok(())
    }

    /// Doubles the buffer's memory, which the builder is about to outgrow.
    #[cold]
    fn grow(
        &self,
        open: &mut OpenBatch,
        bytes: usize,
        credit: &mut Option<Reservation>,
    ) -> Result<(), AppendError> {
        let (length, capacity) = (open.builder.encoded_bytes(), open.builder.capacity_bytes());
        // As a vector grows: to twice its capacity, or to what is needed.
        let more = (2 * capacity).max(length + bytes) - capacity;
        let memory = self.take(more, more, credit)?;
        open.waiters.memory.merge(memory);
        Ok(())
    }

    #[cold]
    fn grow_tokens(&self, open: &mut OpenBatch, credit: &mut Option<Reservation>) -> Result<(), AppendError> {
        let more = open.waiters.tokens.capacity().max(TOKENS_MIN);
        let memory = self.take(token_bytes(more), token_bytes(more), credit)?;
        open.waiters.memory.merge(memory);
        open.waiters.tokens.reserve_exact(more);
        Ok(())
    }

    /// Memory: what was waited for, or as much as wished for, or the least that will do.
    fn take(
        &self,
        wish: usize,
        least: usize,
        credit: &mut Option<Reservation>,
    ) -> Result<Reservation, AppendError> {
        if let Some(credit) = credit.take_if(|credit| credit.bytes() >= least) {
            return Ok(credit);
        }
        let taken = self.budget.try_take(wish).or_else(|| self.budget.try_take(least));
        taken.ok_or_else(|| {
            self.signals.starve();
            AppendError::Full { needed_bytes: least }
        })
    }

    /// Closes the open batch and tells the sender.
    fn close_batch(&self, slot: &Arc<Slot>, state: &mut SlotState) {
        if let Some(batch) = slot.close_open(state) {
            state.closed.push_back(batch);
            self.signals.filled(slot);
        }
    }

    #[cold]
    fn too_large(&self, bytes: usize) -> Error {
        let most = self.settings.record_bytes_max;
        let text =
            format!("the record takes up to {bytes} bytes, more than the {most} of `max.request.size`");
        Error::new(ErrorKind::RecordTooLarge, text)
            .hint("raise `max.request.size`, and `max.message.bytes` of the topic, or send a smaller record")
    }

    #[cold]
    fn not_pushed(&self, error: PushError, bytes: usize) -> AppendError {
        match error {
            PushError::Full => AppendError::Full { needed_bytes: bytes },
            error => AppendError::Failed(Error::new(ErrorKind::RecordTooLarge, error.to_string())),
        }
    }
}

#[cold]
fn no_partition(topic: &Topic, record: &Record<'_>) -> AppendError {
    let partition = record.partition.unwrap_or_default();
    let text = format!("`{}` has no partition {partition}, only {}", topic.name, topic.slots.len());
    AppendError::Failed(Error::new(ErrorKind::InvalidArgument, text))
}

/// A size for a buffer: `batch_bytes` halved as often as it still holds `bytes`, so that doubling ends there.
fn buffer_bytes(batch_bytes: usize, bytes: usize) -> usize {
    let least = bytes.max(BUFFER_BYTES_MIN);
    let mut size = batch_bytes;
    while size / 2 >= least {
        size /= 2;
    }
    size.max(bytes)
}

impl Topic {
    /// Draws another sticky partition, unless another thread already did since `from` was read.
    #[cold]
    fn move_on(&self, from: u32) -> u32 {
        let queued = self
            .slots
            .iter()
            .map(|slot| slot.has_leader.load(Ordering::Relaxed).then(|| slot.queued.load(Ordering::Relaxed)));
        let next = partitioner::next_partition(queued, fastrand::u32(..));
        self.sticky.bytes.store(0, Ordering::Relaxed);
        match self.sticky.partition.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => next,
            Err(moved) => moved,
        }
    }

    /// How many partitions there are.
    #[cfg(test)]
    pub(crate) fn partition_count(&self) -> usize {
        self.slots.len()
    }
}

impl Sticky {
    /// Begins anywhere, so that many producers do not all begin at partition 0.
    fn starting(partitions: usize) -> Self {
        let partition = fastrand::u32(..u32::try_from(partitions).unwrap_or(u32::MAX).max(1));
        Self { partition: AtomicU32::new(partition), bytes: AtomicUsize::new(0) }
    }

    /// Whether to move on at the end of a batch: it was full, or with those before it makes up a full one.
    fn is_due(&self, full: bool, batch_bytes: usize) -> bool {
        full || self.bytes.load(Ordering::Relaxed) >= batch_bytes
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_open(&self, state: &mut SlotState) -> Option<ProducerBatch> {
        let OpenBatch { created, builder, waiters } = state.open.take()?;
        state.last_bytes = builder.encoded_bytes();
        self.queued.fetch_add(1, Ordering::Relaxed);
        self.sticky.bytes.fetch_add(state.last_bytes, Ordering::Relaxed);
        Some(ProducerBatch::close(self.topic.clone(), self.partition, created, builder, waiters))
    }

    /// Moves the closed batches to `batches`; with `also_open`, closes the open one and moves it too.
    pub(crate) fn take(&self, also_open: bool, mut batches: impl FnMut(ProducerBatch)) {
        let mut state = self.lock();
        state.closed.drain(..).for_each(&mut batches);
        if also_open && let Some(batch) = self.close_open(&mut state) {
            batches(batch);
        }
    }

    /// When the open batch was begun, if there is one.
    pub(crate) fn open_since(&self) -> Option<Instant> {
        self.lock().open.as_ref().map(|open| open.created)
    }
}

impl Signals {
    fn lock(&self) -> MutexGuard<'_, SignalLists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self, slot: &Arc<Slot>, created: Instant) {
        self.lock().opened.push((slot.clone(), created));
        if self.wake_for.load(Ordering::Acquire) < WAKE_FOR_FULL {
            self.notify.notify_one();
        }
    }

    fn filled(&self, slot: &Arc<Slot>) {
        self.lock().filled.push(slot.clone());
        if self.wake_for.load(Ordering::Acquire) < WAKE_FOR_NONE {
            self.notify.notify_one();
        }
    }

    fn starve(&self) {
        if !self.starving.swap(true, Ordering::Relaxed)
            && self.wake_for.load(Ordering::Acquire) < WAKE_FOR_NONE
        {
            self.notify.notify_one();
        }
    }

    /// Sets for what the sender is woken; before it takes the lists.
    pub(crate) fn wake_for(&self, what: u8) {
        self.wake_for.store(what, Ordering::Release);
    }

    /// Takes what is new.
    pub(crate) fn take(&self) -> SignalLists {
        std::mem::take(&mut *self.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: AccumulatorSettings = AccumulatorSettings {
        batch_bytes: 16 * 1024,
        record_bytes_max: 1024 * 1024,
        memory_bytes: 4 * 1024 * 1024,
        ignore_keys: false,
    };

    fn accumulator(settings: AccumulatorSettings, partitions: usize) -> (Accumulator, Arc<Topic>) {
        let accumulator = Accumulator::new(settings, Clock::system());
        accumulator.set_partitions(&TopicName::from("orders"), partitions);
        let topic = accumulator.topic("orders").unwrap();
        (accumulator, topic)
    }

    fn append(accumulator: &Accumulator, topic: &Topic, record: &Record<'_>) {
        accumulator.append_to(topic, record, Want::Nothing, &mut None).unwrap();
    }

    fn batches(topic: &Topic, partition: usize) -> Vec<ProducerBatch> {
        let mut batches = Vec::new();
        topic.slots[partition].take(true, |batch| batches.push(batch));
        batches
    }

    #[test]
    fn a_full_batch_is_closed_and_signalled() {
        let (accumulator, topic) = accumulator(SETTINGS, 1);
        let value = [0; 1_000];
        let mut sent = 0;
        loop {
            append(&accumulator, &topic, &Record::to("orders").value(&value));
            sent += 1;
            let lists = accumulator.signals.take();
            assert_eq!(lists.opened.len(), usize::from(sent == 1 || !lists.filled.is_empty()));
            if !lists.filled.is_empty() {
                break;
            }
        }
        let counts: Vec<_> = batches(&topic, 0).iter().map(|batch| batch.record_count).collect();
        assert_eq!(counts, [sent - 1, 1]);
        assert_eq!(sent, 17, "16 records of 1,008 bytes fit into 16 KiB");
    }

    #[test]
    fn keys_decide_the_partition_unless_it_is_given() {
        let (accumulator, topic) = accumulator(SETTINGS, 7);
        let keyed = partitioner::partition_for_key(b"k", 7) as usize;
        append(&accumulator, &topic, &Record::to("orders").key("k"));
        append(&accumulator, &topic, &Record::to("orders").key("k").partition(6));
        assert_eq!(
            batches(&topic, keyed).iter().map(|b| b.record_count).sum::<u32>(),
            1 + u32::from(keyed == 6)
        );
        assert_eq!(batches(&topic, 6).len(), usize::from(keyed != 6));
        for partition in [7, -1] {
            let record = Record::to("orders").partition(partition);
            let refused = accumulator.append_to(&topic, &record, Want::Nothing, &mut None);
            assert!(
                matches!(refused, Err(AppendError::Failed(error)) if error.kind() == ErrorKind::InvalidArgument)
            );
        }
    }

    #[test]
    fn records_without_key_fill_one_batch_before_they_move_on() {
        let (accumulator, topic) = accumulator(SETTINGS, 8);
        for _ in 0..1_000 {
            append(&accumulator, &topic, &Record::to("orders").value(&[0; 1_000]));
        }
        let mut full = 0;
        let mut partial = 0;
        for partition in 0..8 {
            for batch in batches(&topic, partition) {
                if batch.record_count == 16 { full += 1 } else { partial += 1 }
            }
        }
        assert_eq!((full, partial), (62, 1), "1,000 records in batches of 16");
    }

    #[test]
    fn small_batches_move_on_after_a_batch_worth_of_bytes() {
        let (accumulator, topic) = accumulator(SETTINGS, 8);
        let mut partitions = Vec::new();
        for _ in 0..64 {
            append(&accumulator, &topic, &Record::to("orders").value(&[0; 1_000]));
            let (slot, _) = accumulator.signals.take().opened.pop().unwrap();
            slot.take(true, drop);
            partitions.push(slot.partition);
        }
        let moves = partitions.windows(2).filter(|pair| pair[0] != pair[1]).count();
        // Every 16 records or so, and the next may be the same again.
        assert!((1..=4).contains(&moves), "{partitions:?}");
    }

    #[test]
    fn memory_is_bounded_and_comes_back() {
        let settings = AccumulatorSettings { memory_bytes: 64 * 1024, ..SETTINGS };
        let (accumulator, topic) = accumulator(settings, 1);
        let record = Record::to("orders").value(&[0; 1_000]);
        let mut sent = 0;
        let needed = loop {
            match accumulator.append_to(&topic, &record, Want::Nothing, &mut None) {
                Ok(_) => sent += 1,
                Err(AppendError::Full { needed_bytes }) => break needed_bytes,
                Err(error) => panic!("{error:?}"),
            }
        };
        assert!((48..=64).contains(&sent), "{sent} records of 1 kB in 64 KiB");
        assert!((1_000..2_000).contains(&needed), "{needed}");
        assert!(accumulator.signals.starving.load(Ordering::Relaxed));
        let reports = super::super::delivery::Reports::default();
        for batch in batches(&topic, 0) {
            batch.finish(Err(Error::closed()), &reports);
        }
        assert_eq!(accumulator.budget.free_bytes(), 64 * 1024);
        accumulator.append_to(&topic, &record, Want::Nothing, &mut None).unwrap();
    }

    #[test]
    fn a_record_that_is_not_taken_leaves_no_empty_batch_behind() {
        let record = Record::to("orders").value(&[0; 1_000]);
        let alone = record.bytes_max() + BATCH_HEADER_BYTES;
        // Room for the record, and not for the token beside it; then for both.
        for (memory_bytes, is_taken) in [(alone, false), (alone + token_bytes(TOKENS_MIN), true)] {
            let (accumulator, topic) = accumulator(AccumulatorSettings { memory_bytes, ..SETTINGS }, 1);
            let answer = accumulator.append_to(&topic, &record, Want::Token(7), &mut None);
            match answer {
                Ok(_) => assert!(is_taken),
                Err(AppendError::Full { needed_bytes }) => {
                    assert!(!is_taken);
                    assert_eq!(needed_bytes, alone + token_bytes(TOKENS_MIN), "with so much it is taken");
                    assert_eq!(accumulator.budget.free_bytes(), memory_bytes);
                }
                Err(error) => panic!("{error:?}"),
            }
            let counts: Vec<_> = batches(&topic, 0).iter().map(|batch| batch.record_count).collect();
            assert_eq!(counts, vec![1; usize::from(is_taken)]);
        }
    }

    #[test]
    fn memory_that_was_waited_for_is_used() {
        let settings = AccumulatorSettings { memory_bytes: 4 * 1024, ..SETTINGS };
        let (accumulator, topic) = accumulator(settings, 1);
        let mut credit = accumulator.budget.try_take(4 * 1024);
        let record = Record::to("orders").value(&[0; 1_000]);
        accumulator.append_to(&topic, &record, Want::Nothing, &mut credit).unwrap();
        assert!(credit.is_none());
    }

    #[test]
    fn tokens_count_as_memory_until_their_reports_are_drained() {
        let (accumulator, topic) = accumulator(SETTINGS, 1);
        for token in 0..100 {
            let record = Record::to("orders").value("v");
            accumulator.append_to(&topic, &record, Want::Token(token), &mut None).unwrap();
        }
        let reports = super::super::delivery::Reports::default();
        for batch in batches(&topic, 0) {
            batch.finish(Err(Error::closed()), &reports);
        }
        assert!(accumulator.budget.free_bytes() <= SETTINGS.memory_bytes - token_bytes(100));
        let mut drained = Vec::new();
        assert_eq!(reports.drain(&mut drained), 100);
        assert_eq!(accumulator.budget.free_bytes(), SETTINGS.memory_bytes);
        assert_eq!(drained[99].token, 99);
    }

    #[test]
    fn a_record_larger_than_a_request_is_refused() {
        let (accumulator, topic) = accumulator(SETTINGS, 1);
        let value = vec![0; SETTINGS.record_bytes_max];
        let refused =
            accumulator.append_to(&topic, &Record::to("orders").value(&value), Want::Nothing, &mut None);
        assert!(
            matches!(refused, Err(AppendError::Failed(error)) if error.kind() == ErrorKind::RecordTooLarge)
        );
        let fits = vec![0; SETTINGS.record_bytes_max / 2];
        append(&accumulator, &topic, &Record::to("orders").value(&fits));
        assert_eq!(batches(&topic, 0).len(), 1, "beyond `batch.size`, a record has a batch of its own");
    }

    #[test]
    fn new_partitions_join_without_disturbing_the_old() {
        let (accumulator, topic) = accumulator(SETTINGS, 2);
        append(&accumulator, &topic, &Record::to("orders").partition(1));
        accumulator.set_partitions(&TopicName::from("orders"), 4);
        accumulator.set_partitions(&TopicName::from("orders"), 3);
        let grown = accumulator.topic("orders").unwrap();
        assert_eq!(grown.partition_count(), 4);
        assert_eq!(batches(&grown, 1).len(), 1);
        let ids: Vec<_> = grown.slots.iter().map(|slot| slot.id).collect();
        assert_eq!(ids, [0, 1, 2, 3]);
    }

    #[test]
    fn buffers_double_up_to_the_batch() {
        assert_eq!(buffer_bytes(128 * 1024, 100), 1024);
        assert_eq!(buffer_bytes(128 * 1024, 5_000), 8 * 1024);
        assert_eq!(buffer_bytes(128 * 1024, 128 * 1024), 128 * 1024);
        assert_eq!(buffer_bytes(100, 5_000), 5_000);
        assert_eq!(buffer_bytes(0, 70), 70);
    }
}
