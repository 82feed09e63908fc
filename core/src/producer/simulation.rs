//! The producer's parts against simulated brokers: virtual time, one seed, real batches.
//!
//! Connections break with requests on them, of which some were written, some are lost, and some arrive late, after
//! they were sent again elsewhere. Leaders move. Batches are refused for reasons that pass, or for their size.
//! Whatever happens, each record is in the log once, in its order, at the offset that its delivery tells.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use ottla_protocol::{
    compression::{Codec, Compression, Decompressor, Limits},
    error_code::ErrorCode,
    record::{Batch, BatchHeader},
    types::{BrokerId, ProducerId, TopicName},
};

use super::{
    accumulator::{Accumulator, AccumulatorSettings, Want},
    batch::ProducerBatch,
    delivery::{Delivery, Written},
    idempotence::Identity,
    outbox::{Answer, Outbox, OutboxSettings},
    record::Record,
};
use crate::{
    cluster::retry::Backoff,
    error::{Error, ErrorKind},
    time::Clock,
};

const BROKERS: i32 = 3;
const PARTITIONS: usize = 4;

/// What goes wrong, and how often.
#[derive(Clone, Copy)]
struct Faults {
    /// Chance in a thousand that a connection breaks at an event.
    break_connection: u32,
    /// Chance in a thousand that a leader moves at an event.
    move_leader: u32,
    /// Chance in a thousand that a batch is refused for a reason that passes.
    refuse: u32,
    /// Whether requests of a broken connection may be written after it broke.
    late_arrivals: bool,
    /// The most records of a batch that a broker takes.
    records_max: i32,
    delivery_timeout: Duration,
    /// Whether the producer numbers its batches; the one fault that is its own.
    idempotent: bool,
}

const ALL_FAULTS: Faults = Faults {
    break_connection: 30,
    move_leader: 20,
    refuse: 100,
    late_arrivals: true,
    records_max: 40,
    delivery_timeout: Duration::from_secs(3_600),
    idempotent: true,
};

/// A partition's log with what its leader remembers of producers, as Kafka's `ProducerStateManager`.
#[derive(Default)]
struct Log {
    records: Vec<u64>,
    producers: HashMap<ProducerId, ProducerEntry>,
    leader: i32,
    leader_epoch: i32,
}

struct ProducerEntry {
    epoch: i16,
    next_sequence: i32,
    /// Base sequence and offset of the last five batches.
    batches: VecDeque<(i32, i64)>,
}

impl Log {
    fn append(&mut self, batch: &Batch, faults: &Faults) -> Result<i64, ErrorCode> {
        batch.check_crc().unwrap();
        let header = batch.header();
        if header.record_count > faults.records_max {
            return Err(ErrorCode::MESSAGE_TOO_LARGE);
        }
        if let Some(known) = self.producers.get(&header.producer_id) {
            if header.producer_epoch < known.epoch {
                return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
            }
            if header.producer_epoch == known.epoch {
                let same = known.batches.iter().find(|(base, _)| *base == header.base_sequence);
                if let Some((_, offset)) = same {
                    return Ok(*offset);
                }
                if header.base_sequence != known.next_sequence {
                    return Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
                }
            } else if header.base_sequence != 0 {
                return Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
            }
        }
        let offset = self.records.len() as i64;
        assert_eq!(header.producer_id != ProducerId::NONE, faults.idempotent);
        let records = batch.records(&mut Decompressor::new(), &Limits::CLIENT).unwrap();
        for record in &records {
            let value = record.unwrap().value.unwrap();
            self.records.push(u64::from_be_bytes(value.try_into().unwrap()));
        }
        if !faults.idempotent {
            return Ok(offset);
        }
        let entry = self.producers.entry(header.producer_id).or_insert_with(|| ProducerEntry {
            epoch: header.producer_epoch,
            next_sequence: 0,
            batches: VecDeque::new(),
        });
        if entry.epoch != header.producer_epoch {
            entry.epoch = header.producer_epoch;
            entry.batches.clear();
        }
        entry.next_sequence = BatchHeader::sequence_after(header.base_sequence, header.record_count);
        entry.batches.push_back((header.base_sequence, offset));
        if entry.batches.len() > 5 {
            entry.batches.pop_front();
        }
        Ok(offset)
    }
}

/// Something that happens at its time; a request is known by its number.
enum Event {
    Append,
    Connected(BrokerId),
    Arrive(u64),
    Respond(u64),
    Metadata,
    Identity,
}

/// A request on a connection.
struct Underway {
    broker: BrokerId,
    batches: Vec<(u32, i32, ProducerBatch)>,
}

struct Simulation {
    random: fastrand::Rng,
    faults: Faults,
    start: Instant,
    now: Instant,
    /// The producer's view of `now`.
    clock: Arc<AtomicU64>,
    events: BTreeMap<(Instant, u64), Event>,
    next_event: u64,
    logs: Vec<Log>,
    accumulator: Accumulator,
    outbox: Outbox,
    /// What the client waits for.
    underway: BTreeMap<u64, Underway>,
    /// What travels to the brokers; outlives its connection if it is to arrive late.
    travelling: HashMap<u64, Vec<(u32, i32, Bytes)>>,
    /// Results of requests that were processed, until their response arrives.
    results: HashMap<u64, Vec<Result<i64, ErrorCode>>>,
    /// The last arrival and response of each connection: they never overtake each other.
    last_times: HashMap<BrokerId, Instant>,
    next_request: u64,
    to_send: u64,
    sent: Vec<Vec<(u64, Delivery)>>,
    metadata_asked: bool,
    identity_asked: bool,
    identities: i64,
    told: RefCell<Vec<(i32, i32)>>,
}

impl Simulation {
    fn new(seed: u64, faults: Faults, records: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let start = Instant::now();
        let clock = Arc::new(AtomicU64::new(0));
        let shown = clock.clone();
        let codec = [Compression::None, Compression::Lz4][random.usize(..2)];
        let ms = Duration::from_millis;
        let backoff = Backoff { first: ms(10), most: ms(100) };
        let accumulator_settings = AccumulatorSettings {
            batch_bytes: random.usize(200..4_000),
            record_bytes_max: 1 << 20,
            memory_bytes: 8 << 20,
            ignore_keys: false,
        };
        let outbox_settings = OutboxSettings {
            linger: ms(random.u64(0..20)),
            delivery_timeout: faults.delivery_timeout,
            request_timeout: ms(1_000),
            retries: u32::MAX,
            backoff,
            reconnect: backoff,
            in_flight_max: random.usize(1..=5),
            request_bytes_max: random.usize(4_000..16_000),
            idempotent: faults.idempotent,
            codec: Codec::new(codec),
        };
        let clock_of_producer =
            Clock::simulated(move || start + Duration::from_nanos(shown.load(Ordering::SeqCst)));
        let accumulator = Accumulator::new(accumulator_settings, clock_of_producer);
        accumulator.set_partitions(&TopicName::from("t"), PARTITIONS);
        let mut simulation = Self {
            outbox: Outbox::new(outbox_settings, Arc::default(), Arc::default(), random.fork()),
            accumulator,
            faults,
            start,
            now: start,
            clock,
            events: BTreeMap::new(),
            next_event: 0,
            logs: (0..PARTITIONS).map(|i| Log { leader: i as i32 % BROKERS, ..Log::default() }).collect(),
            underway: BTreeMap::new(),
            travelling: HashMap::new(),
            results: HashMap::new(),
            last_times: HashMap::new(),
            next_request: 0,
            to_send: records,
            sent: (0..PARTITIONS).map(|_| Vec::new()).collect(),
            metadata_asked: false,
            identity_asked: false,
            identities: 0,
            told: RefCell::default(),
            random,
        };
        simulation.learn_leaders();
        simulation.at(0, Event::Append);
        simulation
    }

    /// Plans an event in up to `within_ms`.
    fn at(&mut self, within_ms: u64, event: Event) {
        let time = self.now + Duration::from_micros(self.random.u64(0..=within_ms * 1_000));
        self.plan(time, event);
    }

    fn plan(&mut self, time: Instant, event: Event) {
        self.next_event += 1;
        self.events.insert((time, self.next_event), event);
    }

    /// Plans something that a connection carries, behind what it carries already.
    fn carry(&mut self, broker: BrokerId, event: Event) {
        let time = self.now + Duration::from_micros(self.random.u64(100..=10_000));
        let time = self.last_times.get(&broker).map_or(time, |&last| last.max(time));
        self.last_times.insert(broker, time);
        self.plan(time, event);
    }

    fn learn_leaders(&mut self) {
        *self.told.borrow_mut() = self.logs.iter().map(|log| (log.leader, log.leader_epoch)).collect();
        for slot in 0..PARTITIONS {
            let (leader, epoch) = self.told.borrow()[slot];
            self.outbox.set_leader(slot as u32, Some((BrokerId(leader), epoch)));
        }
    }

    fn chance(&mut self, in_a_thousand: u32) -> bool {
        self.random.u32(..1_000) < in_a_thousand
    }

    fn run(&mut self) {
        for _ in 0..2_000_000 {
            self.drive();
            if self.done() {
                return;
            }
            let event = self.events.first_key_value().map(|(&(time, _), _)| time);
            let timeout = self.outbox.next_timeout();
            let next = [event, timeout].into_iter().flatten().min().expect("something is to come");
            self.now = self.now.max(next);
            self.clock.store((self.now - self.start).as_nanos() as u64, Ordering::SeqCst);
            if event.is_some_and(|time| time <= self.now) {
                let (_, event) = self.events.pop_first().unwrap();
                self.happen(event);
            }
            self.go_wrong();
        }
        panic!("the simulation does not end: {} batches unfinished", self.outbox.unfinished());
    }

    fn done(&self) -> bool {
        self.to_send == 0 && self.sent.iter().flatten().all(|(_, delivery)| delivery.now().is_some())
    }

    /// Does what the outbox asks for, as the sender would.
    fn drive(&mut self) {
        let told = &self.told;
        self.outbox.collect(
            self.accumulator.signals.take(),
            |slot| {
                let (leader, epoch) = told.borrow()[slot.partition as usize];
                Some((BrokerId(leader), epoch))
            },
            self.now,
        );
        self.outbox.expire_overdue(self.now);
        while let Some(broker) = self.outbox.poll_connect(self.now) {
            self.at(5, Event::Connected(broker));
        }
        while let Some(request) = self.outbox.poll_request(false, self.now) {
            self.next_request += 1;
            let id = self.next_request;
            let mut batches = Vec::new();
            let mut bytes = Vec::new();
            for outgoing in request.batches {
                bytes.push((outgoing.slot, outgoing.batch.partition, outgoing.bytes));
                batches.push((outgoing.slot, outgoing.batch.partition, outgoing.batch));
            }
            self.travelling.insert(id, bytes);
            self.underway.insert(id, Underway { broker: request.broker, batches });
            self.carry(request.broker, Event::Arrive(id));
        }
        if self.outbox.take_wants_metadata() && !std::mem::replace(&mut self.metadata_asked, true) {
            self.at(20, Event::Metadata);
        }
        if self.outbox.wants_identity() && !std::mem::replace(&mut self.identity_asked, true) {
            self.at(20, Event::Identity);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Append => {
                for _ in 0..self.random.u64(1..200).min(self.to_send) {
                    self.append();
                }
                if self.to_send > 0 {
                    self.at(30, Event::Append);
                }
            }
            Event::Connected(broker) if self.random.u32(..10) == 0 => {
                self.outbox.disconnected(broker, self.now)
            }
            Event::Connected(broker) => self.outbox.connected(broker),
            Event::Arrive(id) => self.arrive(id),
            Event::Respond(id) => self.respond(id),
            Event::Metadata => {
                self.metadata_asked = false;
                self.learn_leaders();
            }
            Event::Identity => {
                self.identity_asked = false;
                self.identities += 1;
                self.outbox.initialized(Identity { id: ProducerId(self.identities), epoch: 0 });
            }
        }
    }

    fn append(&mut self) {
        let partition = self.random.usize(..PARTITIONS);
        let value = self.to_send.to_be_bytes();
        let record = Record::to("t").partition(partition as i32).value(&value);
        let delivery = self.accumulator.append(&record, Want::Delivery, &mut None).unwrap().unwrap();
        self.sent[partition].push((self.to_send, delivery));
        self.to_send -= 1;
    }

    /// A broker takes a request.
    fn arrive(&mut self, id: u64) {
        let Some(batches) = self.travelling.remove(&id) else { return };
        let broker = self.underway.get(&id).map(|underway| underway.broker);
        let mut results = Vec::new();
        for (_, partition, bytes) in batches {
            let refused = self.chance(self.faults.refuse);
            let log = &mut self.logs[partition as usize];
            let is_leader = broker.is_none_or(|broker| broker.0 == log.leader);
            let code = [ErrorCode::NOT_ENOUGH_REPLICAS, ErrorCode::REQUEST_TIMED_OUT][self.random.usize(..2)];
            results.push(match () {
                () if !is_leader => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
                // This one is told although the batch was written.
                () if refused && code == ErrorCode::REQUEST_TIMED_OUT => {
                    _ = log.append(&Batch::new(bytes).unwrap(), &self.faults);
                    Err(code)
                }
                () if refused => Err(code),
                () => log.append(&Batch::new(bytes).unwrap(), &self.faults),
            });
        }
        if let Some(broker) = broker {
            self.results.insert(id, results);
            self.carry(broker, Event::Respond(id));
        }
    }

    fn respond(&mut self, id: u64) {
        let Some(underway) = self.underway.remove(&id) else { return };
        let results = self.results.remove(&id).unwrap();
        for ((slot, _, batch), result) in underway.batches.into_iter().zip(results) {
            let code = result.err().unwrap_or(ErrorCode::NONE);
            let written = Written { base_offset: result.unwrap_or(-1), log_append_time: None };
            let answer = Answer::Code { code, message: None, written, names_leader: false };
            self.outbox.handle_answer(slot, batch, answer, self.now);
        }
        self.outbox.request_ended(underway.broker);
    }

    fn go_wrong(&mut self) {
        if self.chance(self.faults.move_leader) {
            let partition = self.random.usize(..PARTITIONS);
            let log = &mut self.logs[partition];
            log.leader = (log.leader + 1) % BROKERS;
            log.leader_epoch += 1;
        }
        if self.chance(self.faults.break_connection) {
            let broker = BrokerId(self.random.i32(..BROKERS));
            let broken: Vec<u64> = self
                .underway
                .iter()
                .filter(|(_, underway)| underway.broker == broker)
                .map(|(&id, _)| id)
                .collect();
            for id in broken {
                let underway = self.underway.remove(&id).unwrap();
                self.results.remove(&id);
                if !(self.faults.late_arrivals && self.random.bool()) {
                    self.travelling.remove(&id);
                }
                for (slot, _, batch) in underway.batches {
                    let lost = Answer::Lost(Error::new(ErrorKind::Disconnected, "broken"));
                    self.outbox.handle_answer(slot, batch, lost, self.now);
                }
                self.outbox.request_ended(broker);
                self.outbox.disconnected(broker, self.now);
            }
        }
    }
}

fn assert_exactly_once_in_order(seed: u64, simulation: &Simulation) {
    for (partition, sent) in simulation.sent.iter().enumerate() {
        let log = &simulation.logs[partition].records;
        for (id, delivery) in sent {
            let offset = match delivery.now().unwrap() {
                Ok(metadata) => metadata.offset,
                Err(error) => panic!("seed {seed}, partition {partition}, record {id}: {error}"),
            };
            assert_eq!(log[offset as usize], *id, "seed {seed}: told offset {offset}");
        }
        let wanted: Vec<u64> = sent.iter().map(|(id, _)| *id).collect();
        assert_eq!(log, &wanted, "seed {seed}, partition {partition}");
    }
}

fn seeds(count: u64) -> impl Iterator<Item = u64> {
    // One seed again: OTTLA_SEED=7 cargo test -p ottla simulation
    let one = std::env::var("OTTLA_SEED").ok().and_then(|seed| seed.parse().ok());
    one.map_or(0..count, |seed| seed..seed + 1)
}

#[test]
fn each_record_is_written_once_and_in_order_whatever_fails() {
    for seed in seeds(60) {
        let mut simulation = Simulation::new(seed, ALL_FAULTS, 2_000);
        simulation.run();
        assert_exactly_once_in_order(seed, &simulation);
        assert_eq!(simulation.outbox.unfinished(), 0, "seed {seed}");
        let budget = &simulation.accumulator.budget;
        assert_eq!(budget.free_bytes(), budget.total_bytes(), "seed {seed}: memory was lost");
    }
}

/// With a short `delivery.timeout.ms` records are given up, of which some were written. None is written twice, and
/// those that were acknowledged are there, in order.
#[test]
fn records_given_up_leave_the_others_in_order() {
    let mut given_up = 0;
    for seed in seeds(60) {
        let faults = Faults {
            break_connection: 150,
            late_arrivals: false,
            delivery_timeout: Duration::from_millis(120),
            ..ALL_FAULTS
        };
        let mut simulation = Simulation::new(seed, faults, 2_000);
        simulation.run();
        for (partition, sent) in simulation.sent.iter().enumerate() {
            let log = &simulation.logs[partition].records;
            let place: HashMap<u64, usize> = log.iter().enumerate().map(|(at, id)| (*id, at)).collect();
            assert_eq!(place.len(), log.len(), "seed {seed}, partition {partition}: written twice");
            let mut acknowledged = Vec::new();
            for (id, delivery) in sent {
                match delivery.now().unwrap() {
                    Ok(metadata) => {
                        assert_eq!(
                            place.get(id),
                            Some(&(metadata.offset as usize)),
                            "seed {seed}, record {id}"
                        );
                        acknowledged.push(metadata.offset);
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Timeout, "seed {seed}: {error}");
                        given_up += 1;
                    }
                }
            }
            assert!(acknowledged.is_sorted(), "seed {seed}, partition {partition}: out of order");
        }
        assert_eq!(simulation.outbox.unfinished(), 0, "seed {seed}");
    }
    assert!(given_up > 0 || std::env::var("OTTLA_SEED").is_ok(), "no seed made a record fail");
}

/// Without numbers a retry may repeat and reorder records; it still loses none.
#[test]
fn without_idempotence_nothing_is_lost() {
    let mut repeated = 0;
    for seed in seeds(50) {
        let mut simulation = Simulation::new(seed, Faults { idempotent: false, ..ALL_FAULTS }, 2_000);
        simulation.run();
        for (partition, sent) in simulation.sent.iter().enumerate() {
            let log = &simulation.logs[partition].records;
            let written: BTreeSet<u64> = log.iter().copied().collect();
            repeated += log.len() - written.len();
            for (id, delivery) in sent {
                let offset = delivery.now().unwrap().unwrap().offset;
                assert_eq!(log[offset as usize], *id, "seed {seed}: told offset {offset}");
            }
        }
    }
    assert!(repeated > 0, "no seed repeated a record: the faults are too mild to prove anything above");
}

#[test]
fn a_calm_network_needs_one_identity_and_fills_its_batches() {
    for seed in seeds(20) {
        let calm =
            Faults { break_connection: 0, move_leader: 0, refuse: 0, records_max: i32::MAX, ..ALL_FAULTS };
        let mut simulation = Simulation::new(seed, calm, 2_000);
        simulation.run();
        assert_exactly_once_in_order(seed, &simulation);
        let epochs: BTreeSet<i16> =
            simulation.logs.iter().flat_map(|log| log.producers.values().map(|entry| entry.epoch)).collect();
        assert_eq!((simulation.identities, epochs), (1, BTreeSet::from([0])), "seed {seed}");
    }
}
