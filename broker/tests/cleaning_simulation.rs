//! A log that is compacted, retained and cut at its start on a simulated disk, through crashes, against a few rules
//! about records: one seed, one history.
//!
//! `OTTLA_SEEDS` says how many seeds are run, `OTTLA_FIRST_SEED` with which they begin.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use ottla_broker::log::{
    Checkpointed, CleanupPolicy, Disk, Faults, Log, LogConfig, Random, SimulatedDisk, ToAppend,
    cleaner::{CleanError, Cleaner, CleanerConfig, HashKey, LogTask, Owner},
};
use ottla_protocol::{
    compression::{Codec, Compression, Compressor, Decompressor, Limits},
    record::{Batch, BatchBuilder, Seal},
    types::{ProducerId, Uuid},
};

const SEEDS: u64 = 100;
const STEPS: usize = 120;
const DIRECTORY: &str = "/orders-0";
const BEGIN_MS: i64 = 1_700_000_000_000;
const DELETE_RETENTION_MS: i64 = 3_000;
const RETENTION_MS: u64 = 8_000;
const PRODUCERS: u64 = 3;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn a_log_that_is_cleaned_keeps_what_it_must_through_every_crash() {
    let (first, seeds) = (number("OTTLA_FIRST_SEED", 0), number("OTTLA_SEEDS", SEEDS));
    let mut sum = Counts::default();
    for seed in first..first + seeds {
        let mut history = History::new(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history.run()));
        if let Err(panic) = outcome {
            println!(
                "replay: OTTLA_SEEDS=1 OTTLA_FIRST_SEED={seed} cargo test -p ottla-broker --test cleaning_simulation"
            );
            std::panic::resume_unwind(panic);
        }
        let Counts { cleanings, interrupted, power_cuts, retained, duplicates, tombstones } = history.counts;
        sum.cleanings += cleanings;
        sum.interrupted += interrupted;
        sum.power_cuts += power_cuts;
        sum.retained += retained;
        sum.duplicates += duplicates;
        sum.tombstones += tombstones;
    }
    println!("{seeds} seeds: {sum:?}");
    // Whoever runs one seed wants to see that one; many must have met everything.
    let all = [sum.cleanings, sum.interrupted, sum.power_cuts, sum.retained, sum.duplicates, sum.tombstones];
    assert!(seeds < SEEDS || all.iter().all(|n| *n > seeds / 4), "{sum:?}");
}

/// One round of cleaning, with the power cut, or the broker killed, at every single change of the disk that it makes.
#[test]
fn a_crash_at_any_change_of_a_round_leaves_the_old_segments_or_the_new_ones() {
    let run = |stop_at: Option<u64>, power_cut: bool, disk_seed: u64| {
        let simulated = SimulatedDisk::new(disk_seed);
        let disk = Disk::Simulated(simulated.clone());
        let mut log = Log::create(&disk, Path::new(DIRECTORY), Uuid(3), config(), BEGIN_MS).unwrap();
        let mut random = Random::new(9);
        for i in 0..90 {
            let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
            let key = [random.below(11) as u8];
            let value = (!random.one_in(5)).then_some([1; 40].as_slice());
            builder.push(BEGIN_MS + i, Some(&key), value, &[]).unwrap();
            let batch = builder.seal(&Seal::default(), &mut Compressor::new()).unwrap();
            let mut results = Vec::new();
            log.append(&mut vec![ToAppend::from(batch)], 1, BEGIN_MS, &mut results);
            results.remove(0).unwrap();
        }
        log.reader().set_high_watermark(log.end_offset());
        let done = log.flush_task().unwrap().run().unwrap();
        log.flushed(&done, BEGIN_MS);
        let before = records_of(&log);
        let begun = simulated.changes();
        let stop_at = stop_at.map(|at| begun + at);
        simulated.set_faults(Faults { stop_at, ..Faults::default() });
        let reader = log.reader();
        let range = reader.cleanable(None, &config().cleanup, BEGIN_MS).unwrap();
        let mut cleaner = Cleaner::new(CleanerConfig::new(HashKey(5)));
        let cleaned =
            cleaner.clean(&reader, &config(), &range, &mut Alone { log: &mut log, now_ms: BEGIN_MS });
        assert!(cleaned.is_ok() || stop_at.is_some(), "{cleaned:?}");
        // A disk that has stopped is not read either.
        let after = if cleaned.is_ok() { records_of(&log) } else { Records::new() };
        let changes = simulated.changes() - begun;
        drop(log);
        if power_cut {
            simulated.power_cut()
        } else {
            simulated.restart()
        }
        let checkpointed = Checkpointed { recovery_point: 90, ..Checkpointed::default() };
        let (log, _) = Log::open(&disk, Path::new(DIRECTORY), config(), &checkpointed, BEGIN_MS).unwrap();
        assert_eq!(log.end_offset(), 90);
        let names = simulated.names(Path::new(DIRECTORY)).unwrap();
        for suffix in [".cleaned", ".swap", ".deleted"] {
            assert!(!names.iter().any(|name| name.ends_with(suffix)), "{names:?}");
        }
        (before, after, records_of(&log), changes)
    };
    let (before, least, found, changes) = run(None, true, 1);
    assert!(least.len() < before.len() / 2 && changes > 30, "{changes}");
    assert_eq!(found, least, "a round that has ended is on the medium");
    let (mut points, mut between) = (0, 0);
    for at in 0..changes {
        for (power_cut, disk_seed) in [(false, 1), (true, 1), (true, 2), (true, 3)] {
            let (_, _, found, _) = run(Some(at), power_cut, disk_seed);
            assert!(found.iter().all(|(offset, record)| before.get(offset) == Some(record)), "at {at}");
            assert!(least.iter().all(|(offset, record)| found.get(offset) == Some(record)), "at {at}");
            points += 1;
            between += usize::from(found != before && found != least);
        }
    }
    println!("{points} crash points, {between} of them between two groups of segments");
    assert!(between > 0);
}

/// What was met.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Rounds of cleaning that ended.
    cleanings: u64,
    /// Rounds that the disk stopped in.
    interrupted: u64,
    power_cuts: u64,
    /// Segments that were deleted.
    retained: u64,
    /// Batches that were sent again after a restart without any snapshot, and known.
    duplicates: u64,
    /// Tombstones that were dropped in their time.
    tombstones: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Record {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    /// The base offset of its batch.
    batch: i64,
}

type KeyValue = (Vec<u8>, Option<Vec<u8>>);

type Records = BTreeMap<i64, Record>;

/// What the log should hold.
#[derive(Clone, Debug, Default)]
struct Model {
    records: Records,
    horizons: HashMap<i64, i64>,
    start: i64,
    end: i64,
    /// Everything before it is on the medium.
    flushed: i64,
    /// The latest offset of each key on the medium, of those that had a value there.
    flushed_keys: HashMap<Vec<u8>, i64>,
    /// The last batch of each producer, with the offset of its first record.
    last: HashMap<i64, (Batch, i64)>,
}

impl Model {
    /// Everything before `end` is on the medium.
    fn flush(&mut self, end: i64) {
        self.flushed = self.flushed.max(end);
        for (offset, record) in self.records.range(..end) {
            self.flushed_keys.remove(&record.key);
            if record.value.is_some() {
                self.flushed_keys.insert(record.key.clone(), *offset);
            }
        }
    }

    /// A key that was on the medium is there, with that value or a later one, however much was cleaned.
    fn check_keys(&mut self) {
        let latest: HashMap<&[u8], i64> =
            self.records.iter().map(|(offset, record)| (record.key.as_slice(), *offset)).collect();
        self.flushed_keys.retain(|_, offset| *offset >= self.start);
        for (key, offset) in &self.flushed_keys {
            let now = latest.get(key.as_slice());
            assert!(now.is_some_and(|now| now >= offset), "key {key:?} was at {offset}, and is at {now:?}");
        }
    }

    /// What a whole round up to `end` leaves.
    fn cleaned(&self, end: i64, now_ms: i64) -> Records {
        let latest: HashMap<&[u8], i64> =
            self.records.range(..end).map(|(offset, r)| (r.key.as_slice(), *offset)).collect();
        let stays = |offset: i64, record: &Record| {
            let waits = self.horizons.get(&record.batch).is_none_or(|horizon| now_ms < *horizon);
            offset >= end || (latest[record.key.as_slice()] == offset && (record.value.is_some() || waits))
        };
        let left = self.records.iter().filter(|(offset, record)| stays(**offset, record));
        left.map(|(offset, record)| (*offset, record.clone())).collect()
    }
}

struct History {
    random: Random,
    simulated: SimulatedDisk,
    disk: Disk,
    log: Option<Log>,
    model: Model,
    /// The ids of producers, and their next sequence numbers.
    ids: [i64; PRODUCERS as usize],
    sequences: HashMap<i64, i32>,
    cleaned: Option<i64>,
    recovery_point: i64,
    now_ms: i64,
    /// A round that the disk stopped in: what it would have left, if it had come to its end.
    in_doubt: Option<Records>,
    /// A batch whose append failed with the disk.
    in_doubt_batch: Option<(Batch, Option<i64>, Vec<KeyValue>)>,
    counts: Counts,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let simulated = SimulatedDisk::new(random.next_u64());
        let disk = Disk::Simulated(simulated.clone());
        let mut log =
            Log::create(&disk, Path::new(DIRECTORY), Uuid(seed.into()), config(), BEGIN_MS).unwrap();
        let flushed = log.flush_task().unwrap().run().unwrap();
        log.flushed(&flushed, BEGIN_MS);
        Self {
            random,
            simulated,
            disk,
            log: Some(log),
            model: Model::default(),
            ids: std::array::from_fn(|i| i as i64),
            sequences: HashMap::new(),
            cleaned: None,
            recovery_point: 0,
            now_ms: BEGIN_MS,
            in_doubt: None,
            in_doubt_batch: None,
            counts: Counts::default(),
        }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            self.now_ms += self.random.below(400) as i64;
            match self.random.below(40) {
                0..=21 => self.append(),
                22..=24 => self.flush(),
                25..=31 => self.clean(),
                32 | 33 => self.retain(),
                34 => self.advance_start(),
                35 | 36 => {
                    // Soon the power goes, maybe in the middle of something.
                    let stop_at = Some(self.simulated.changes() + self.random.below(45));
                    self.simulated.set_faults(Faults { stop_at, ..Faults::default() });
                }
                37 => self.close(),
                38 => self.restart(false),
                _ => self.restart(true),
            }
            if self.log().reader().has_failed() {
                let power_cut = self.random.one_in(2);
                self.restart(power_cut);
            }
            if self.in_doubt.is_none() {
                self.check();
            }
        }
        self.restart(true);
        self.check();
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn append(&mut self) {
        let producer = self.ids.get(self.random.below(2 * PRODUCERS) as usize).copied();
        let count = 1 + self.random.below(4) as i64;
        let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
        let mut records = Vec::new();
        for i in 0..count {
            let key = vec![self.random.below(9) as u8];
            let value = (!self.random.one_in(4)).then(|| vec![7; self.random.below(60) as usize]);
            builder.push(self.now_ms + i, Some(&key), value.as_deref(), &[]).unwrap();
            records.push((key, value));
        }
        let codec = if self.random.one_in(2) { Compression::None } else { Compression::Lz4 };
        let mut seal = Seal { codec: Codec::new(codec), ..Seal::default() };
        if let Some(id) = producer {
            seal.producer_id = ProducerId(id);
            seal.producer_epoch = 0;
            seal.base_sequence = *self.sequences.entry(id).or_default();
        }
        let batch = builder.seal(&seal, &mut Compressor::new()).unwrap();
        let (now_ms, mut results) = (self.now_ms, Vec::new());
        self.log().append(&mut vec![ToAppend::from(batch.clone())], 1, now_ms, &mut results);
        let Ok(appended) = results.remove(0) else {
            // The disk has stopped: before, in or behind the write.
            self.in_doubt_batch = Some((batch, producer, records));
            let power_cut = self.random.one_in(2);
            return self.restart(power_cut);
        };
        assert_eq!((appended.base_offset, appended.duplicate), (self.model.end, false));
        self.appended(batch, producer, records);
        let log = self.log();
        log.reader().set_high_watermark(log.end_offset());
    }

    fn appended(&mut self, batch: Batch, producer: Option<i64>, records: Vec<KeyValue>) {
        let (base, count) = (self.model.end, records.len());
        for (offset, (key, value)) in (base..).zip(records) {
            self.model.records.insert(offset, Record { key, value, batch: base });
        }
        self.model.end = base + count as i64;
        if let Some(id) = producer {
            *self.sequences.entry(id).or_default() += count as i32;
            self.model.last.insert(id, (batch, base));
        }
    }

    fn flush(&mut self) {
        let (now_ms, end) = (self.now_ms, self.model.end);
        let Some(task) = self.log().flush_task() else { return };
        if let Ok(done) = task.run() {
            self.log().flushed(&done, now_ms);
            self.model.flush(end);
            if self.random.one_in(2) {
                self.recovery_point = end;
            }
        }
    }

    fn clean(&mut self) {
        if self.random.one_in(4) {
            // Just when a tombstone's time has come.
            let next = self.model.horizons.values().copied().filter(|at| *at > self.now_ms).min();
            self.now_ms = next.unwrap_or(self.now_ms);
        }
        let map_bytes = if self.random.one_in(4) { 24 * 5 } else { 1 << 16 };
        let (now_ms, cleaned) = (self.now_ms, self.cleaned);
        let reader = self.log().reader();
        let range = reader.cleanable(cleaned, &config().cleanup, now_ms).unwrap();
        let mut cleaner = Cleaner::new(CleanerConfig { map_bytes, ..CleanerConfig::new(HashKey(5)) });
        let mut owner = Alone { log: self.log(), now_ms };
        match cleaner.clean(&reader, &config(), &range, &mut owner) {
            Ok(done) => {
                self.counts.cleanings += 1;
                self.cleaned = Some(done.end_offset);
                let flushed = self.log().recovery_point();
                assert!(flushed >= range.first_uncleanable_offset, "only what is on the medium is cleaned");
                self.model.flush(range.first_uncleanable_offset);
                let left = self.model.cleaned(done.end_offset, now_ms);
                let tombstones = |records: &Records| {
                    let horizons = &self.model.horizons;
                    let due = |r: &&Record| {
                        r.value.is_none() && horizons.get(&r.batch).is_some_and(|horizon| *horizon <= now_ms)
                    };
                    records.values().filter(due).count() as u64
                };
                self.counts.tombstones += tombstones(&self.model.records) - tombstones(&left);
                self.model.records = left;
            }
            Err(CleanError::Log(_)) => {
                self.counts.interrupted += 1;
                // Some groups may be exchanged and others not.
                let end = range.first_uncleanable_offset;
                self.in_doubt = Some(self.model.cleaned(end, now_ms));
                let power_cut = self.random.one_in(2);
                self.restart(power_cut);
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn retain(&mut self) {
        let now_ms = self.now_ms;
        let start = self.log().start_offset();
        let retained = self.log().retain(now_ms);
        let due = self.log().unlink_due(now_ms);
        let unlinked = due.map_or(Ok(()), |task| task.run());
        // Also where the disk has stopped, nobody reads any more what was to go.
        let new_start = self.log().start_offset();
        assert!(new_start >= start);
        self.model.start = new_start;
        self.model.records = self.model.records.split_off(&new_start);
        match (retained, unlinked) {
            (Ok(deleted), Ok(())) => self.counts.retained += deleted.segments() as u64,
            _ => {
                let power_cut = self.random.one_in(2);
                self.restart(power_cut);
            }
        }
    }

    fn advance_start(&mut self) {
        let span = (self.model.end - self.model.start) as u64;
        let offset = self.model.start + self.random.below(span / 3 + 1) as i64;
        match self.log().advance_start_offset(offset) {
            Ok(_) => {
                self.model.start = offset;
                self.model.records = self.model.records.split_off(&offset);
            }
            Err(_) => {
                self.model.start = self.log().start_offset();
                self.model.records = self.model.records.split_off(&self.model.start);
                let power_cut = self.random.one_in(2);
                self.restart(power_cut);
            }
        }
    }

    fn close(&mut self) {
        let end = self.model.end;
        if self.log.take().unwrap().close().is_ok() {
            self.recovery_point = end;
            self.model.flush(end);
            self.simulated.restart();
            self.open(true, false);
        } else {
            self.after_crash(true);
        }
    }

    /// Ends the broker somehow, and starts it again.
    fn restart(&mut self, power_cut: bool) {
        self.log = None;
        self.after_crash(power_cut);
    }

    fn after_crash(&mut self, power_cut: bool) {
        self.log = None;
        if power_cut {
            self.counts.power_cuts += 1;
            self.simulated.power_cut();
        } else {
            self.simulated.restart();
        }
        self.open(false, power_cut);
    }

    fn open(&mut self, clean: bool, power_cut: bool) {
        // Snapshots are no more than a help.
        let without_snapshots = self.random.one_in(2);
        if without_snapshots {
            for name in self.simulated.names(Path::new(DIRECTORY)).unwrap() {
                if name.ends_with(".snapshot") {
                    self.simulated.overwrite(&Path::new(DIRECTORY).join(name), b"not a snapshot").unwrap();
                }
            }
        }
        let checkpointed =
            Checkpointed { clean, recovery_point: self.recovery_point, log_start_offset: self.model.start };
        let opened = Log::open(&self.disk, Path::new(DIRECTORY), config(), &checkpointed, self.now_ms);
        let (log, _) = opened.unwrap_or_else(|error| panic!("{error}"));
        let (end, start) = (log.end_offset(), log.start_offset());
        if let Some((batch, producer, records)) = self.in_doubt_batch.take()
            && end == self.model.end + records.len() as i64
        {
            self.appended(batch, producer, records);
        }
        assert!(end >= self.model.flushed, "what was flushed is there: {end}, {}", self.model.flushed);
        assert!(power_cut || end == self.model.end, "a kill loses nothing: {end}, {}", self.model.end);
        // A log that retention emptied, and whose end was lost, begins again where the start is said to be.
        assert!(start >= self.model.start.min(end));
        log.reader().set_high_watermark(end);
        self.log = Some(log);
        self.model.start = start;
        self.model.records = self.model.records.split_off(&start);
        self.model.records.split_off(&end);
        self.model.end = end;
        self.model.flushed = self.model.flushed.min(end);
        self.settle_doubt();
        self.model.check_keys();
        self.settle_producers(without_snapshots);
    }

    /// After an interrupted round the log holds what the round leaves, and what it had not come to.
    fn settle_doubt(&mut self) {
        let Some(least) = self.in_doubt.take() else { return };
        let (found, horizons) = self.found();
        for (offset, record) in &found {
            assert_eq!(self.model.records.get(offset), Some(record), "nothing is made up");
        }
        for (offset, record) in least.range(self.model.start..self.model.end) {
            // A batch that was not stamped before is not dropped, and one that was is dropped as the round says.
            assert_eq!(found.get(offset), Some(record), "what the round leaves is there");
        }
        self.model.records = found;
        self.model.horizons = horizons;
    }

    /// What was said of producers holds as far as the log does.
    fn settle_producers(&mut self, without_snapshots: bool) {
        let end = self.model.end;
        for place in 0..self.ids.len() {
            let id = self.ids[place];
            let Some((batch, base)) = self.model.last.get(&id).cloned() else { continue };
            let header = *batch.header();
            if base + i64::from(header.last_offset_delta) >= end {
                // Its end was lost with the power; another begins in its place.
                self.ids[place] += PRODUCERS as i64;
                continue;
            }
            // Below the log's start the records may be gone, and only a snapshot knows.
            if base < self.model.start {
                if without_snapshots {
                    self.model.last.remove(&id);
                }
                continue;
            }
            let (now_ms, mut results) = (self.now_ms, Vec::new());
            self.log().append(&mut vec![ToAppend::from(batch)], 1, now_ms, &mut results);
            let again = results.remove(0).unwrap();
            assert_eq!((again.duplicate, again.base_offset), (true, base), "producer {id}");
            self.counts.duplicates += u64::from(without_snapshots);
        }
    }

    /// All records of the log, and the horizons of its batches.
    fn found(&mut self) -> (Records, HashMap<i64, i64>) {
        read(self.log())
    }

    fn check(&mut self) {
        let (found, horizons) = self.found();
        assert_eq!(found, self.model.records);
        for (batch, horizon) in &self.model.horizons {
            let same = horizons.get(batch).is_none_or(|now| now == horizon);
            assert!(same, "a batch is stamped once");
        }
        for (batch, horizon) in &horizons {
            if !self.model.horizons.contains_key(batch) {
                assert_eq!(*horizon, self.now_ms + DELETE_RETENTION_MS, "a horizon counts from the round");
            }
        }
        self.model.horizons = horizons;
    }
}

fn records_of(log: &Log) -> Records {
    read(log).0
}

/// All records of a log, and the horizons of its batches.
fn read(log: &Log) -> (Records, HashMap<i64, i64>) {
    let reader = log.reader();
    let (mut records, mut horizons) = (Records::new(), HashMap::new());
    let slices = reader.read(reader.start_offset(), usize::MAX, i64::MAX, true).unwrap();
    for slice in slices.slices {
        let mut bytes = slice.read().unwrap();
        while let Some(batch) = Batch::split_from(&mut bytes).unwrap() {
            batch.check_crc().unwrap();
            let base = batch.header().base_offset;
            horizons.extend(batch.header().delete_horizon_ms().map(|horizon| (base, horizon)));
            for record in &batch.records(&mut Decompressor::new(), &Limits::BROKER).unwrap() {
                let record = record.unwrap();
                if record.offset >= reader.start_offset() {
                    let value = record.value.map(<[u8]>::to_vec);
                    let key = record.key.unwrap().to_vec();
                    let before = records.insert(record.offset, Record { key, value, batch: base });
                    assert_eq!(before, None, "an offset comes once");
                }
            }
        }
    }
    (records, horizons)
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1_500,
        index_interval_bytes: 200,
        cleanup: CleanupPolicy {
            delete: true,
            compact: true,
            retention_ms: Some(RETENTION_MS),
            file_delete_delay_ms: 0,
            delete_retention_ms: DELETE_RETENTION_MS,
            ..CleanupPolicy::default()
        },
        ..LogConfig::default()
    }
}

/// The owner of a log that nobody else uses.
struct Alone<'a> {
    log: &'a mut Log,
    now_ms: i64,
}

impl Owner for Alone<'_> {
    fn on_log(&mut self, task: LogTask) -> Result<(), CleanError> {
        task(self.log);
        Ok(())
    }

    fn moved(&mut self, _bytes: u64) -> Result<(), CleanError> {
        Ok(())
    }

    fn now_ms(&self) -> i64 {
        self.now_ms
    }
}
