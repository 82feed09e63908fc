//! Which batch goes to which broker, and when. Does no I/O.
//!
//! The sender feeds it: what the accumulator signals ([`Outbox::collect`]), who leads each partition
//! ([`Outbox::set_leader`]), connections that came and went, answers ([`Outbox::handle_answer`]). It asks for
//! connections to make ([`Outbox::poll_connect`]), requests to send ([`Outbox::poll_request`]) and when to come
//! back ([`Outbox::next_timeout`]).
//!
//! A partition that has something to send stands in its leader's queue, so nothing is scanned. Linger is adaptive:
//! while nothing is under way to a broker, all that waits for it is sent at once; while the wire is busy, batches
//! gather until they are full, or `linger.ms` is over.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use ottla_protocol::{
    compression::{Codec, Compressor, Decompressor},
    error_code::{ErrorClass, ErrorCode},
    types::BrokerId,
};

use super::{
    accumulator::{SignalLists, Slot, WAKE_FOR_ALL, WAKE_FOR_FULL, WAKE_FOR_NONE},
    batch::ProducerBatch,
    delivery::{Reports, Written},
    idempotence::{Idempotence, Identity, Sequences, Verdict},
    sender::Counters,
};
use crate::{
    cluster::retry::{Backoff, Failures},
    error::{Error, ErrorKind},
};

/// How often, at most, batches are looked through for those whose time is over.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(250);

/// When to send, how much, and how long to try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboxSettings {
    /// `linger.ms`, an upper bound.
    pub linger: Duration,
    /// `delivery.timeout.ms`, from a batch's first record to its end.
    pub delivery_timeout: Duration,
    /// `request.timeout.ms`.
    pub request_timeout: Duration,
    /// `retries`: attempts after the first.
    pub retries: u32,
    /// `retry.backoff.ms` with its most.
    pub backoff: Backoff,
    /// `reconnect.backoff.ms` with its most.
    pub reconnect: Backoff,
    /// `max.in.flight.requests.per.connection`.
    pub in_flight_max: usize,
    /// `max.request.size`, in bytes.
    pub request_bytes_max: usize,
    /// `enable.idempotence`.
    pub idempotent: bool,
    /// `compression.type` with its level.
    pub codec: Codec,
}

/// Batches of several partitions for one broker.
#[derive(Debug)]
pub(crate) struct Request {
    /// The leader of them all.
    pub broker: BrokerId,
    /// At most one batch of each partition.
    pub batches: Vec<Outgoing>,
    /// When to give the connection up if no answer came.
    pub deadline: Instant,
}

/// A batch in a [`Request`].
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Its partition's [`Slot`].
    pub slot: u32,
    /// The batch, for [`Outbox::handle_answer`].
    pub batch: ProducerBatch,
    /// What goes over the wire.
    pub bytes: Bytes,
}

/// What a broker said of one batch.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It answered with this code.
    Code {
        /// The code.
        code: ErrorCode,
        /// What it said beside the code.
        message: Option<String>,
        /// Where it wrote the batch, if it did.
        written: Written,
        /// It named a leader that can be reached, so that nobody else has to be asked for one (KIP-951).
        names_leader: bool,
    },
    /// No answer came; nobody knows what became of the batch.
    Lost(Error),
}

/// Batches on their way.
#[derive(Debug)]
pub(crate) struct Outbox {
    settings: OutboxSettings,
    /// By the slot's number.
    partitions: Vec<Option<Box<Partition>>>,
    /// Partitions without a leader wait at [`BrokerId::NONE`], to which no connection is ever made.
    brokers: BTreeMap<BrokerId, Broker>,
    idempotence: Idempotence,
    wants_identity: bool,
    wants_metadata: bool,
    compressor: Compressor,
    decompressor: Decompressor,
    reports: Arc<Reports>,
    counters: Arc<Counters>,
    random: fastrand::Rng,
    next_ordinal: u64,
    /// Counts flushes; a batch belongs to the one after which it came.
    generation: u64,
    /// Batches not yet finished, by generation.
    unfinished: BTreeMap<u64, usize>,
    expiry_due: Option<Instant>,
}

#[derive(Debug)]
struct Partition {
    slot: Arc<Slot>,
    leader: BrokerId,
    leader_epoch: i32,
    /// Closed batches, by ordinal; those that came back stand before those never sent.
    queue: VecDeque<ProducerBatch>,
    in_flight: usize,
    sequences: Sequences,
    failures: Failures,
    /// Back-off after a failure.
    not_before: Option<Instant>,
    /// Stands in its leader's `ready`.
    is_ready: bool,
    /// The open batch is to be taken too.
    takes_open: bool,
}

#[derive(Debug, Default)]
struct Broker {
    link: Link,
    in_flight: usize,
    /// The broker asked to be left alone until then (KIP-219).
    throttled_until: Option<Instant>,
    /// Partitions with something to send, in turn. May hold some that have moved to another leader since.
    ready: VecDeque<u32>,
    /// Partitions whose batch is still open, with when it was begun, oldest first. May hold some that were sent.
    open: VecDeque<(Instant, u32)>,
    failures: Failures,
    /// Why the last attempt to connect failed; `None` once there is a connection.
    last_error: Option<Error>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Link {
    #[default]
    Down,
    DownUntil(Instant),
    Connecting,
    Up,
}

impl Outbox {
    /// An empty one; outcomes that were asked for by token go to `reports`.
    pub(crate) fn new(
        settings: OutboxSettings,
        reports: Arc<Reports>,
        counters: Arc<Counters>,
        random: fastrand::Rng,
    ) -> Self {
        Self {
            settings,
            partitions: Vec::new(),
            brokers: BTreeMap::new(),
            idempotence: Idempotence::default(),
            wants_identity: false,
            wants_metadata: false,
            compressor: Compressor::new(),
            decompressor: Decompressor::new(),
            reports,
            counters,
            random,
            next_ordinal: 0,
            generation: 0,
            unfinished: BTreeMap::new(),
            expiry_due: None,
        }
    }

    // ---- what happened

    /// Takes note of slots that have something new. `leader` knows who leads a partition.
    pub(crate) fn collect(
        &mut self,
        lists: SignalLists,
        leader: impl Fn(&Slot) -> Option<(BrokerId, i32)>,
        now: Instant,
    ) {
        for (slot, since) in lists.opened {
            let id = slot.id;
            let broker = self.partition(slot, &leader).leader;
            self.brokers.entry(broker).or_default().open.push_back((since, id));
        }
        for slot in lists.filled {
            let id = slot.id;
            self.partition(slot, &leader);
            self.set_ready(id, false);
        }
        self.expiry_due.get_or_insert(now + EXPIRY_INTERVAL);
    }

    fn partition(
        &mut self,
        slot: Arc<Slot>,
        leader: &impl Fn(&Slot) -> Option<(BrokerId, i32)>,
    ) -> &mut Partition {
        let index = slot.id as usize;
        if self.partitions.len() <= index {
            self.partitions.resize_with(index + 1, || None);
        }
        // Cannot be out of bounds: made long enough above.
        let place = &mut self.partitions[index];
        place.get_or_insert_with(|| {
            let (leader, leader_epoch) = leader(&slot).unwrap_or((BrokerId::NONE, -1));
            slot.has_leader.store(leader != BrokerId::NONE, Ordering::Relaxed);
            Box::new(Partition {
                slot,
                leader,
                leader_epoch,
                queue: VecDeque::new(),
                in_flight: 0,
                sequences: Sequences::default(),
                failures: Failures::default(),
                not_before: None,
                is_ready: false,
                takes_open: false,
            })
        })
    }

    /// The partitions in use.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.partitions.iter().flatten().map(|partition| &partition.slot)
    }

    /// Someone else, or nobody, leads the partition, or the same one again.
    pub(crate) fn set_leader(&mut self, slot: u32, leader: Option<(BrokerId, i32)>) {
        let Some(partition) = get(&mut self.partitions, slot) else { return };
        let (leader, leader_epoch) = leader.unwrap_or((BrokerId::NONE, -1));
        if (partition.leader, partition.leader_epoch) == (leader, leader_epoch) {
            return;
        }
        let moved = partition.leader != leader;
        (partition.leader, partition.leader_epoch) = (leader, leader_epoch);
        partition.slot.has_leader.store(leader != BrokerId::NONE, Ordering::Relaxed);
        partition.sequences.leader_changed();
        // What failed with the old leader need not wait for the new one (KIP-951).
        partition.not_before = None;
        if moved {
            partition.is_ready = false;
            self.set_ready(slot, true);
        }
    }

    /// Stands a partition in its leader's queue.
    fn set_ready(&mut self, slot: u32, takes_open: bool) {
        let Some(partition) = get(&mut self.partitions, slot) else { return };
        partition.takes_open |= takes_open;
        if !std::mem::replace(&mut partition.is_ready, true) {
            self.brokers.entry(partition.leader).or_default().ready.push_back(slot);
        }
    }

    /// A connection asked for by [`Outbox::poll_connect`] is there.
    pub(crate) fn connected(&mut self, broker: BrokerId) {
        let broker = self.brokers.entry(broker).or_default();
        broker.link = Link::Up;
        broker.failures.clear();
        broker.last_error = None;
    }

    /// A connection could not be made, or was lost.
    pub(crate) fn disconnected(&mut self, broker: BrokerId, now: Instant) {
        let broker = self.brokers.entry(broker).or_default();
        broker.link =
            Link::DownUntil(now + broker.failures.record(&self.settings.reconnect, &mut self.random));
        self.wants_metadata = true;
    }

    /// As [`Self::disconnected`], where there was no connection yet: what waits too long for one is told why there is none.
    pub(crate) fn not_connected(&mut self, broker: BrokerId, error: Error, now: Instant) {
        self.disconnected(broker, now);
        self.brokers.entry(broker).or_default().last_error = Some(error);
    }

    /// A connection ended that had nothing under way.
    pub(crate) fn closed_idle(&mut self, broker: BrokerId) {
        self.brokers.entry(broker).or_default().link = Link::Down;
    }

    /// The broker asked to be left alone until `until` (KIP-219).
    pub(crate) fn throttled(&mut self, broker: BrokerId, until: Instant) {
        self.brokers.entry(broker).or_default().throttled_until = Some(until);
    }

    /// InitProducerId was answered.
    pub(crate) fn initialized(&mut self, identity: Identity) {
        self.idempotence.initialized(identity);
        self.wants_identity = false;
    }

    /// A request has ended, answered or not; its batches are handed to [`Outbox::handle_answer`] one by one.
    pub(crate) fn request_ended(&mut self, broker: BrokerId) {
        let broker = self.brokers.entry(broker).or_default();
        broker.in_flight = broker.in_flight.saturating_sub(1);
    }

    /// Takes the answer to one batch of a request.
    pub(crate) fn handle_answer(
        &mut self,
        slot: u32,
        mut batch: ProducerBatch,
        answer: Answer,
        now: Instant,
    ) {
        let Some(partition) = get(&mut self.partitions, slot) else { return };
        partition.in_flight = partition.in_flight.saturating_sub(1);
        let (code, message, written, names_leader) = match answer {
            Answer::Code { code, message, written, names_leader } => (code, message, written, names_leader),
            Answer::Lost(error) => {
                self.wants_metadata = true;
                return self.try_again(slot, batch, error, now);
            }
        };
        let verdict = match &batch.numbers {
            Some(numbers) => partition.sequences.judge(numbers, code),
            None if code.is_error() => Verdict::Other,
            None => Verdict::Written,
        };
        let error = || Error::broker(code, message.as_deref());
        match verdict {
            Verdict::Written => {
                partition.failures.clear();
                self.finish(slot, batch, Ok(written));
            }
            Verdict::Retry => self.requeue(slot, batch, error(), now),
            Verdict::Renumber => {
                tracing::warn!(
                    topic = %batch.topic, partition = batch.partition, %code,
                    "the broker does not know this producer's numbers; the batch is sent under new ones"
                );
                batch.numbers = None;
                self.try_again(slot, batch, error(), now);
            }
            Verdict::Other if code == ErrorCode::MESSAGE_TOO_LARGE => self.split(slot, batch, error()),
            Verdict::Other if code.is_retriable() => {
                self.wants_metadata |= code.class() == ErrorClass::RefreshMetadata && !names_leader;
                self.try_again(slot, batch, error(), now);
            }
            Verdict::Other => {
                self.refuse_numbers(slot, &batch);
                self.finish(slot, batch, Err(error()));
            }
        }
    }

    /// Queues the batch again, unless its time or its attempts are used up.
    fn try_again(&mut self, slot: u32, batch: ProducerBatch, error: Error, now: Instant) {
        let over = now >= batch.created + self.settings.delivery_timeout;
        if over {
            self.expire(slot, batch, Some(error));
        } else if batch.attempts > self.settings.retries {
            self.abandon_numbers(slot, &batch);
            self.finish(slot, batch, Err(error));
        } else {
            self.requeue(slot, batch, error, now);
        }
    }

    fn requeue(&mut self, slot: u32, mut batch: ProducerBatch, error: Error, now: Instant) {
        let Some(partition) = get(&mut self.partitions, slot) else { return };
        tracing::debug!(
            topic = %batch.topic, partition = batch.partition, attempts = batch.attempts, %error, "will try again"
        );
        batch.last_error = Some(error);
        partition.not_before =
            Some(now + partition.failures.record(&self.settings.backoff, &mut self.random));
        partition.put_back(batch);
        self.set_ready(slot, false);
    }

    /// Parts a batch that is too large for the broker, or fails it (KIP-126).
    fn split(&mut self, slot: u32, batch: ProducerBatch, error: Error) {
        self.refuse_numbers(slot, &batch);
        match batch.split(&mut self.decompressor) {
            Ok([one, other]) => {
                *self.unfinished.entry(other.generation).or_default() += 1;
                let Some(partition) = get(&mut self.partitions, slot) else { return };
                partition.slot.queued.fetch_add(1, Ordering::Relaxed);
                partition.put_back(other);
                partition.put_back(one);
                self.set_ready(slot, false);
            }
            Err(failed) => self.finish(slot, failed.0, Err(error)),
        }
    }

    fn refuse_numbers(&mut self, slot: u32, batch: &ProducerBatch) {
        if let (Some(partition), Some(numbers)) = (get(&mut self.partitions, slot), &batch.numbers) {
            partition.sequences.refused(numbers);
        }
    }

    fn abandon_numbers(&mut self, slot: u32, batch: &ProducerBatch) {
        if let (Some(partition), Some(numbers)) = (get(&mut self.partitions, slot), &batch.numbers) {
            partition.sequences.abandoned(numbers);
        }
    }

    fn expire(&mut self, slot: u32, batch: ProducerBatch, error: Option<Error>) {
        self.abandon_numbers(slot, &batch);
        let after = self.settings.delivery_timeout.as_millis();
        let partition = get(&mut self.partitions, slot);
        let unconnected = partition.and_then(|it| self.brokers.get(&it.leader)?.last_error.clone());
        let error = if batch.attempts == 0 {
            // Nothing of it left this machine.
            let why = match &unconnected {
                Some(last) => format!(": {}", last.what_happened()),
                None => String::new(),
            };
            let hint = unconnected.as_ref().and_then(Error::what_to_do);
            Error::new(
                ErrorKind::Timeout,
                format!("not sent within {after} ms of `delivery.timeout.ms`{why}"),
            )
            .hint(hint.unwrap_or("check that the partition has a leader, within reach"))
        } else {
            let why = match unconnected.or(error).or_else(|| batch.last_error.clone()) {
                Some(last) => format!("gave up after {after} ms of `delivery.timeout.ms`: {last}"),
                None => format!("gave up after {after} ms of `delivery.timeout.ms`"),
            };
            Error::new(ErrorKind::Timeout, why).hint("the records may have been written or not")
        };
        self.finish(slot, batch, Err(error));
    }

    fn finish(&mut self, slot: u32, batch: ProducerBatch, result: Result<Written, Error>) {
        if let Some(count) = self.unfinished.get_mut(&batch.generation) {
            *count -= 1;
            if *count == 0 {
                self.unfinished.remove(&batch.generation);
            }
        }
        if let Some(partition) = get(&mut self.partitions, slot) {
            partition.slot.queued.fetch_sub(1, Ordering::Relaxed);
        }
        let (topic, partition, records) = (&batch.topic, batch.partition, batch.record_count);
        let result = result.map_err(|error| error.context(format!("produce to `{topic}-{partition}`")));
        match &result {
            Ok(_) => self.counters.records_acknowledged.add(u64::from(records)),
            Err(error) => {
                tracing::warn!(%topic, partition, records, %error, "records failed");
                self.counters.records_failed.add(u64::from(records));
            }
        }
        batch.finish(result, &self.reports);
    }

    // ---- what to do

    /// Whether InitProducerId has to be asked.
    pub(crate) fn wants_identity(&self) -> bool {
        self.wants_identity
    }

    /// Whether metadata looks out of date; answers so once.
    pub(crate) fn take_wants_metadata(&mut self) -> bool {
        std::mem::take(&mut self.wants_metadata)
    }

    /// A broker to connect to, for which batches wait.
    pub(crate) fn poll_connect(&mut self, now: Instant) -> Option<BrokerId> {
        let (&id, broker) = self.brokers.iter_mut().find(|(id, broker)| {
            let down = match broker.link {
                Link::Down => true,
                Link::DownUntil(until) => until <= now,
                Link::Connecting | Link::Up => false,
            };
            **id != BrokerId::NONE && down && !(broker.ready.is_empty() && broker.open.is_empty())
        })?;
        broker.link = Link::Connecting;
        Some(id)
    }

    /// The next request to send. In a `hurry` nothing lingers: somebody waits for memory.
    pub(crate) fn poll_request(&mut self, hurry: bool, now: Instant) -> Option<Request> {
        let ids: Vec<BrokerId> = self.brokers.keys().copied().collect();
        ids.into_iter().find_map(|id| self.poll_broker(id, hurry, now))
    }

    fn poll_broker(&mut self, id: BrokerId, hurry: bool, now: Instant) -> Option<Request> {
        let broker = self.brokers.get_mut(&id)?;
        broker.throttled_until = broker.throttled_until.filter(|&until| until > now);
        let throttled = broker.throttled_until.is_some();
        if broker.link != Link::Up || broker.in_flight >= self.settings.in_flight_max || throttled {
            return None;
        }
        self.end_linger(id, hurry, now);
        let turns = self.brokers.get(&id)?.ready.len();
        let mut batches = Vec::new();
        let mut bytes = 0;
        let mut deadline = now + self.settings.request_timeout;
        for _ in 0..turns {
            let slot = self.brokers.get_mut(&id)?.ready.pop_front()?;
            let room = self.settings.request_bytes_max.saturating_sub(bytes);
            match self.take_batch(slot, id, (bytes > 0).then_some(room), now) {
                Taken::Batch(outgoing) => {
                    bytes += outgoing.bytes.len();
                    deadline = deadline.min(outgoing.batch.created + self.settings.delivery_timeout);
                    batches.push(*outgoing);
                }
                Taken::Nothing => {}
                Taken::NoRoom => break,
            }
        }
        if batches.is_empty() {
            return None;
        }
        self.brokers.get_mut(&id)?.in_flight += 1;
        // What was tried for so long that its time is nearly over gets one more try, if a short one.
        let deadline = deadline.max(now + Duration::from_millis(100));
        Some(Request { broker: id, batches, deadline })
    }

    /// Makes ready whose batch has lingered enough.
    fn end_linger(&mut self, id: BrokerId, hurry: bool, now: Instant) {
        loop {
            let Some(broker) = self.brokers.get_mut(&id) else { return };
            let at_once = hurry || broker.in_flight == 0;
            let linger = self.settings.linger;
            let Some((since, slot)) =
                broker.open.pop_front_if(|(since, _)| at_once || *since + linger <= now)
            else {
                return;
            };
            let Some(partition) = get(&mut self.partitions, slot) else { continue };
            // Was it sent meanwhile, and another batch begun?
            if at_once || partition.slot.open_since() == Some(since) {
                self.set_ready(slot, true);
            }
        }
    }

    /// The next batch of a partition that was taken out of its broker's queue; puts it back there if there are
    /// more.
    fn take_batch(&mut self, slot: u32, broker: BrokerId, room: Option<usize>, now: Instant) -> Taken {
        self.fill(slot);
        let Some(partition) = get(&mut self.partitions, slot) else { return Taken::Nothing };
        if partition.leader != broker || !partition.is_ready {
            return Taken::Nothing;
        }
        partition.is_ready = false;
        let Some(first) = partition.queue.front() else { return Taken::Nothing };
        if room.is_some_and(|room| first.bytes() > room) {
            partition.is_ready = true;
            if let Some(broker) = self.brokers.get_mut(&broker) {
                broker.ready.push_front(slot);
            }
            return Taken::NoRoom;
        }
        let next = partition.next_batch(&mut self.idempotence, self.settings.idempotent, now);
        let batch = next.unwrap_or_else(|NoIdentity| {
            self.wants_identity = true;
            None
        });
        if !partition.queue.is_empty() {
            self.set_ready(slot, false);
        }
        match batch {
            Some(batch) => self.seal(slot, batch),
            None => Taken::Nothing,
        }
    }

    fn seal(&mut self, slot: u32, mut batch: ProducerBatch) -> Taken {
        match batch.seal(self.settings.codec, &mut self.compressor) {
            Ok(bytes) => {
                batch.attempts += 1;
                if let Some(partition) = get(&mut self.partitions, slot) {
                    partition.in_flight += 1;
                }
                Taken::Batch(Box::new(Outgoing { slot, batch, bytes }))
            }
            Err(error) => {
                self.refuse_numbers(slot, &batch);
                self.finish(slot, batch, Err(error));
                Taken::Nothing
            }
        }
    }

    /// Takes over what the slot has closed, and its open batch if that is due.
    fn fill(&mut self, slot: u32) {
        let Some(partition) = get(&mut self.partitions, slot) else { return };
        let takes_open = std::mem::take(&mut partition.takes_open);
        let Partition { slot, queue, .. } = &mut **partition;
        slot.take(takes_open, |mut batch| {
            batch.ordinal = self.next_ordinal;
            self.next_ordinal += 1;
            batch.generation = self.generation;
            *self.unfinished.entry(self.generation).or_default() += 1;
            queue.push_back(batch);
        });
    }

    /// For what it is worth to wake the sender: see the accumulator's `WAKE_FOR_ALL`.
    pub(crate) fn worth_a_wake(&self) -> u8 {
        let most = self.settings.in_flight_max;
        let mut brokers =
            self.brokers.iter().filter(|(id, _)| **id != BrokerId::NONE).map(|(_, broker)| broker);
        if self.brokers.is_empty() || brokers.clone().any(|broker| broker.in_flight == 0) {
            WAKE_FOR_ALL
        } else if brokers.any(|broker| broker.in_flight < most) {
            WAKE_FOR_FULL
        } else {
            WAKE_FOR_NONE
        }
    }

    /// `linger.ms`.
    pub(crate) fn linger(&self) -> Duration {
        self.settings.linger
    }

    /// When to poll again though nothing happened.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let mut next = self.expiry_due;
        let mut at = |time: Instant| next = Some(next.map_or(time, |next| next.min(time)));
        for (id, broker) in &self.brokers {
            if *id == BrokerId::NONE || (broker.ready.is_empty() && broker.open.is_empty()) {
                continue;
            }
            match broker.link {
                Link::DownUntil(until) => at(until),
                Link::Down | Link::Connecting => {}
                Link::Up if broker.in_flight >= self.settings.in_flight_max => {}
                Link::Up => match broker.throttled_until {
                    Some(until) => at(until),
                    None => {
                        let backed_off = broker
                            .ready
                            .iter()
                            .filter_map(|&slot| self.partitions.get(slot as usize)?.as_ref()?.not_before);
                        backed_off
                            .chain(broker.open.front().map(|open| open.0 + self.settings.linger))
                            .for_each(&mut at);
                    }
                },
            }
        }
        next
    }

    /// Ends the batches whose `delivery.timeout.ms` is over. Those under way end with their request.
    pub(crate) fn expire_overdue(&mut self, now: Instant) {
        if self.expiry_due.is_none_or(|due| due > now) {
            return;
        }
        let timeout = self.settings.delivery_timeout;
        for slot in 0..self.partitions.len() as u32 {
            let Some(partition) = get(&mut self.partitions, slot) else { continue };
            if partition.slot.open_since().is_some_and(|since| since + timeout <= now) {
                partition.takes_open = true;
            }
            self.fill(slot);
            while let Some(partition) = get(&mut self.partitions, slot)
                && let Some(batch) = partition.queue.pop_front_if(|batch| batch.created + timeout <= now)
            {
                self.expire(slot, batch, None);
            }
            if get(&mut self.partitions, slot).is_some_and(|partition| !partition.queue.is_empty()) {
                self.set_ready(slot, false);
            }
        }
        for broker in self.brokers.values_mut().filter(|broker| broker.link != Link::Up) {
            // Nobody ends their linger here, so what has left stays in the list otherwise.
            let is_open = |&(since, slot): &(Instant, u32)| {
                let partition = self.partitions.get(slot as usize).and_then(Option::as_ref);
                partition.is_some_and(|partition| partition.slot.open_since() == Some(since))
            };
            broker.open.retain(is_open);
        }
        let idle = self.unfinished.is_empty() && self.brokers.values().all(|broker| broker.open.is_empty());
        self.expiry_due = (!idle).then_some(now + EXPIRY_INTERVAL);
    }

    /// Closes all open batches. [`Outbox::flushed`] tells when those that there are now have ended.
    pub(crate) fn begin_flush(&mut self) -> u64 {
        for slot in 0..self.partitions.len() as u32 {
            let Some(partition) = get(&mut self.partitions, slot) else { continue };
            partition.takes_open = true;
            self.fill(slot);
            if get(&mut self.partitions, slot).is_some_and(|partition| !partition.queue.is_empty()) {
                self.set_ready(slot, false);
            }
        }
        self.generation += 1;
        self.generation - 1
    }

    /// Whether all that was there at [`Outbox::begin_flush`] has ended, well or not.
    pub(crate) fn flushed(&self, generation: u64) -> bool {
        self.unfinished.first_key_value().is_none_or(|(&oldest, _)| oldest > generation)
    }

    /// Ends a batch that is under way; its fate is unknown.
    pub(crate) fn fail(&mut self, slot: u32, batch: ProducerBatch, error: Error) {
        self.abandon_numbers(slot, &batch);
        self.finish(slot, batch, Err(error));
    }

    /// Ends all batches that are not under way.
    pub(crate) fn fail_queued(&mut self, error: &Error) {
        self.begin_flush();
        for slot in 0..self.partitions.len() as u32 {
            while let Some(partition) = get(&mut self.partitions, slot)
                && let Some(batch) = partition.queue.pop_front()
            {
                self.abandon_numbers(slot, &batch);
                self.finish(slot, batch, Err(error.clone()));
            }
        }
        self.wants_identity = false;
    }

    /// Batches taken over and not ended.
    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished.values().sum()
    }
}

enum Taken {
    Batch(Box<Outgoing>),
    Nothing,
    NoRoom,
}

/// InitProducerId has to be asked first.
struct NoIdentity;

impl Partition {
    /// Its first batch, numbered, if it may be sent now.
    fn next_batch(
        &mut self,
        idempotence: &mut Idempotence,
        idempotent: bool,
        now: Instant,
    ) -> Result<Option<ProducerBatch>, NoIdentity> {
        if self.not_before.is_some_and(|until| until > now) {
            return Ok(None);
        }
        self.not_before = None;
        // Batches that have numbers and came back go first: as long as their fate is open, nothing behind a gap can
        // be numbered anew. They stand at the front, but for the parts of one that was split before them.
        let came_back = self.sequences.open() > self.in_flight;
        let at = match came_back {
            true => self.queue.iter().position(|batch| batch.numbers.is_some()).unwrap_or(0),
            false => 0,
        };
        let Some(first) = self.queue.get_mut(at) else { return Ok(None) };
        let may = match &first.numbers {
            // One that came back goes alone, so that it is not overtaken once more.
            _ if !idempotent => first.attempts == 0 || self.in_flight == 0,
            Some(numbers) => self.sequences.may_retry(numbers),
            None => self.sequences.may_number(),
        };
        if !may {
            return Ok(None);
        }
        if idempotent && first.numbers.is_none() {
            let count = i32::try_from(first.record_count).unwrap_or(i32::MAX);
            first.numbers = self.sequences.number(idempotence, count);
            if first.numbers.is_none() {
                return Err(NoIdentity);
            }
        }
        Ok(self.queue.remove(at))
    }

    /// Queues a batch that came back, in the order in which the batches were closed.
    fn put_back(&mut self, batch: ProducerBatch) {
        let at = self.queue.partition_point(|other| other.place() < batch.place());
        self.queue.insert(at, batch);
    }
}

fn get(partitions: &mut [Option<Box<Partition>>], slot: u32) -> Option<&mut Box<Partition>> {
    partitions.get_mut(slot as usize)?.as_mut()
}
