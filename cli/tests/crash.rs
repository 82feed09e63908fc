//! `kill -9` under load, again and again: what was acknowledged is there, once, and in order.
//!
//! `OTTLA_CRASHES` says how often (16). The load is franz-go's: idempotent producers, acks=all, one a codec, which number
//! the records of each partition. One topic keeps everything, one is compacted, and of one old segments and records are
//! deleted. Every third kill comes at any time; the others where a [crash point](POINTS) is, so that they fall into the
//! middle of rolls, exchanges of segments, checkpoints and recoveries.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, ChildStdin},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use ottla_interop::{
    or_skip,
    peers::{self, Peer},
    program::{Launch, Line, PATIENCE, Running},
    wire::{Wire, batches},
};
use ottla_protocol::{
    compression::{Decompressor, Limits},
    error_code::ErrorCode,
    messages::{
        DeleteRecordsRequest, ListOffsetsRequest,
        delete_records::{DeleteRecordsPartition, DeleteRecordsTopic},
        list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
    },
};

/// The topic of which everything is kept.
const KEPT: &str = "kept";
const COMPACTED: &str = "compacted";
/// The topic of which only so much is kept.
const RETAINED: &str = "retained";
const RETENTION_BYTES: u64 = 256 << 10;
const PARTITIONS: usize = 3;
/// Producers of each topic: one a codec.
const PRODUCERS: usize = 5;
/// Keys of each producer, of the compacted topic.
const KEYS: u64 = 20;
/// Behind each round of records, of the topics of which not everything is kept: or else a slow build's cleaner would never
/// be done.
const PAUSE_MS: u64 = 10;
const CRASHES_DEFAULT: usize = 16;
/// Records that are acknowledged before a kill at any time, at least and at most.
const LIVE_RECORDS: std::ops::Range<u64> = 200..8_000;
/// Compacted records that are acknowledged before a crash point is given up.
const LIVE_RECORDS_MAX: u64 = 5_000;
/// Records that are left when others are deleted.
const RECORDS_LEFT: i64 = 100;
/// How often a change may come before it is the one to be killed at.
const TIMES: std::ops::Range<u64> = 1..4;
const SIGKILL: i32 = 9;
/// From a crash point to the next: without a divisor that their number has, so that all come.
const STRIDE: usize = 7;

/// Where the broker kills itself: before, in or behind a change of the disk, as `broker/src/log/vfs/crash.rs` has it.
const POINTS: [&str; 30] = [
    // An append.
    "before write .log",
    "in write .log",
    "after write .log",
    // A roll: the indexes, the snapshot, the next segment; its first record.
    "after create .index",
    "in write .timeindex",
    "after write .timeindex",
    "after rename .snapshot",
    "before create .log",
    "after create .log",
    // A round of compaction.
    "after create .log.cleaned",
    "in write .log.cleaned",
    "after write .timeindex.cleaned",
    "before rename .index.swap",
    "after rename .index.swap",
    "after rename .timeindex.swap",
    "after rename .log.swap",
    "after rename .index.deleted",
    "after rename .log.deleted",
    "before rename .index",
    "after rename .timeindex",
    "after rename .log",
    "before remove .deleted",
    "after remove .deleted",
    // Checkpoints.
    "in write recovery-point-offset-checkpoint.tmp",
    "before rename recovery-point-offset-checkpoint",
    "after rename recovery-point-offset-checkpoint",
    "after rename log-start-offset-checkpoint",
    "after rename cleaner-offset-checkpoint",
    // An epoch of the leader, which begins with each start.
    "before rename leader-epoch-checkpoint",
    "after rename leader-epoch-checkpoint",
];

#[test]
fn no_acknowledged_record_is_lost_doubled_or_out_of_order_however_often_the_broker_is_killed() {
    let Some(peer) = or_skip(peers::franz_go()) else { return };
    let crashes = std::env::var("OTTLA_CRASHES").map_or(CRASHES_DEFAULT, |n| n.parse().expect("a number"));
    let data = tempfile::tempdir().unwrap();
    let launch = launch(data.path());
    let broker = launch.start();
    let address = broker.address();
    create_topics(&mut Wire::connect(address));
    let (launch, bootstrap) = (launch.at(address), address.to_string());

    let topics = [(KEPT, 1, 0), (COMPACTED, KEYS, PAUSE_MS), (RETAINED, 1, PAUSE_MS)];
    let loads = topics.map(|(topic, keys, pause_ms)| Load::start(&peer, &bootstrap, topic, keys, pause_ms));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut met = Met::default();
    met.crash_at_any_time(broker, &loads, &mut random);
    // Few crashes are to meet something of everything.
    let mut points = (0..).map(|i| POINTS[i * STRIDE % POINTS.len()]);
    for crash in 1..crashes {
        if crash % 3 == 0 {
            let broker = launch.start();
            met.crash_at_any_time(broker, &loads, &mut random);
        } else if let Some(point) = points.next() {
            let times = random.within(TIMES);
            met.crash_at(&launch.clone().env("CRASH_AT", format!("{point} {times}")), point, &loads);
        }
    }
    // The last broker works too.
    let broker = launch.start();
    met.started(&broker);
    let [kept, compacted, retained] = loads.map(|load| {
        load.wait_for(load.acknowledged() + LIVE_RECORDS.start);
        load.finish()
    });

    let count = kept.len();
    let read = peer.run(&["loaded", &bootstrap, KEPT, &count.to_string()], None).unwrap();
    let read: Vec<Entry> =
        String::from_utf8(read.stdout).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    check_kept(&kept, &read);
    let mut wire = Wire::connect(address);
    let compacted_to = check_compacted(&compacted, &mut wire);
    check_retained(&retained, &mut wire, &met.deleted, data.path());
    let segments: usize = (0..PARTITIONS).map(|p| segments(data.path(), KEPT, p).len()).sum();
    let (status, log) = broker.terminate();
    assert!(status.success(), "{status}");
    met.ended(&log);

    let all = count + compacted.len() + retained.len();
    println!(
        "{crashes} crashes, {} of them at crash points ({} while it started), {} points not reached; {} torn ends; \
         {all} records acknowledged, {count} of them kept in {segments} segments, {} compacted to {compacted_to}; \
         {} exchanges completed, {} rounds of compaction; slowest start {} ms",
        met.at_points.values().sum::<usize>(),
        met.starting,
        met.missed.len(),
        met.torn,
        compacted.len(),
        met.exchanges,
        met.rounds,
        met.slowest.as_millis()
    );
    println!("points reached: {:?}; not reached: {:?}", met.at_points, met.missed);
    assert!(met.missed.len() * 3 <= crashes, "not reached: {:?}", met.missed);
}

fn launch(data: &Path) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_ottla"), data)
        .set("log.segment.bytes", 1 << 20)
        .set("log.segment.delete.delay.ms", 50)
        .set("log.retention.check.interval.ms", 50)
        .set("log.initial.task.delay.ms", 50)
        .set("log.flush.offset.checkpoint.interval.ms", 50)
        .set("log.flush.start.offset.checkpoint.interval.ms", 50)
        .set("log.cleaner.backoff.ms", 20)
        .set("log.cleaner.min.cleanable.ratio", 0.1)
}

fn create_topics(wire: &mut Wire) {
    let partitions = PARTITIONS as i32;
    let often = ("segment.ms", "200");
    let retention = RETENTION_BYTES.to_string();
    wire.create_topic(KEPT, partitions, &[]);
    wire.create_topic(COMPACTED, partitions, &[("cleanup.policy", "compact"), often]);
    wire.create_topic(RETAINED, partitions, &[("retention.bytes", &retention), often]);
}

/// What came of the crashes.
#[derive(Default)]
struct Met {
    /// Crash points at which brokers ended.
    at_points: BTreeMap<&'static str, usize>,
    /// How many of them before they listened.
    starting: usize,
    /// Crash points that did not come in time.
    missed: Vec<&'static str>,
    torn: usize,
    /// Exchanges of segments that a start completed.
    exchanges: usize,
    /// Logs that were compacted.
    rounds: usize,
    slowest: Duration,
    /// The offsets up to which the partitions' records were deleted.
    deleted: [i64; PARTITIONS],
}

impl Met {
    fn crash_at_any_time(&mut self, broker: Running, loads: &[Load; 3], random: &mut Random) {
        self.started(&broker);
        let mut wire = Wire::connect(broker.address());
        let partition = random.within(0..PARTITIONS as u64) as usize;
        let offset = offset_of(&mut wire, RETAINED, partition, LATEST) - RECORDS_LEFT;
        if offset > self.deleted[partition] {
            delete_records(&mut wire, RETAINED, partition, offset);
            self.deleted[partition] = offset;
        }
        loads[0].wait_for(loads[0].acknowledged() + random.within(LIVE_RECORDS));
        self.ended(&broker.kill());
    }

    fn crash_at(&mut self, launch: &Launch, point: &'static str, loads: &[Load; 3]) {
        let mut broker = match launch.start_or_end() {
            Ok(broker) => broker,
            Err((status, log)) => {
                assert_eq!(status.signal(), Some(SIGKILL), "{point}: {log:#?}");
                self.starting += 1;
                *self.at_points.entry(point).or_default() += 1;
                return self.ended(&log);
            }
        };
        self.started(&broker);
        let [_, compacted, _] = loads;
        let enough = compacted.acknowledged() + LIVE_RECORDS_MAX;
        if compacted.wait_for_unless(enough, || broker.has_ended()) {
            self.missed.push(point);
            return self.ended(&broker.kill());
        }
        let (status, log) = broker.wait();
        assert_eq!(status.signal(), Some(SIGKILL), "{point}: {log:#?}");
        *self.at_points.entry(point).or_default() += 1;
        self.ended(&log);
    }

    fn started(&mut self, broker: &Running) {
        self.slowest = self.slowest.max(broker.ready_after());
    }

    fn ended(&mut self, log: &[Line]) {
        let errors: Vec<_> = log.iter().filter(|line| line.is_error()).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        let count = |text: &str| log.iter().filter(|line| line.text.contains(text)).count();
        self.torn += count("torn end");
        self.exchanges += count("an interrupted exchange of segments is completed");
        self.rounds += count("a log is compacted");
    }
}

/// Every record was acknowledged in the end, so the log holds, of each producer and partition, each number once,
/// rising, at the offset that the acknowledgement said.
fn check_kept(acknowledged: &[Entry], read: &[Entry]) {
    let acknowledged_at = by_number(acknowledged);
    let mut next_number: HashMap<_, u64> = HashMap::new();
    let mut next_offset = [0; PARTITIONS];
    for entry in read {
        assert_eq!(entry.offset, next_offset[entry.partition], "an offset is missing: {entry:?}");
        next_offset[entry.partition] += 1;
        let next = next_number.entry((entry.codec(), entry.partition)).or_default();
        assert_eq!(entry.number, *next, "lost, doubled, or out of order: {entry:?}");
        *next += 1;
        let told = acknowledged_at.get(&entry.id());
        assert_eq!(told, Some(&entry.offset), "acknowledged with another offset: {entry:?}");
    }
    assert_eq!(read.len(), acknowledged.len());
    assert!(next_offset.iter().all(|&n| n > 0), "some partition got nothing: {next_offset:?}");
    assert_eq!(next_number.len(), PRODUCERS * PARTITIONS, "some codec got nothing: {:?}", next_number.keys());
}

/// Of each key the latest value is there; and nothing is that was not acknowledged, at that offset. Gives how many
/// records there are.
fn check_compacted(acknowledged: &[Entry], wire: &mut Wire) -> usize {
    let acknowledged_at = by_number(acknowledged);
    let mut latest: HashMap<(usize, &str), u64> = HashMap::new();
    for entry in acknowledged {
        let number = latest.entry((entry.partition, &entry.key)).or_default();
        *number = entry.number.max(*number);
    }
    let mut count = 0;
    let mut found: HashMap<(usize, String), u64> = HashMap::new();
    for partition in 0..PARTITIONS {
        for entry in read(wire, COMPACTED, partition, 0) {
            let told = acknowledged_at.get(&entry.id());
            assert_eq!(told, Some(&entry.offset), "acknowledged with another offset: {entry:?}");
            let before = found.insert((partition, entry.key.clone()), entry.number);
            assert!(before.is_none_or(|before| before < entry.number), "out of order: {entry:?}");
            count += 1;
        }
    }
    assert_eq!(latest.len(), PARTITIONS * PRODUCERS * KEYS as usize);
    for ((partition, key), number) in latest {
        let last = found.get(&(partition, key.to_owned()));
        assert_eq!(last, Some(&number), "the latest value of `{key}` in {partition} is lost");
    }
    assert!(count < acknowledged.len(), "nothing was compacted");
    count
}

/// From the log's start on, everything is there; and the start is where it may be.
fn check_retained(acknowledged: &[Entry], wire: &mut Wire, deleted: &[i64; PARTITIONS], data: &Path) {
    let mut due: Vec<BTreeMap<u64, (&str, u64)>> = vec![BTreeMap::new(); PARTITIONS];
    for entry in acknowledged {
        let before = due[entry.partition].insert(entry.offset, (&entry.key, entry.number));
        assert_eq!(before, None, "two records were acknowledged with one offset: {entry:?}");
    }
    for (partition, due) in due.iter().enumerate() {
        let start = offset_of(wire, RETAINED, partition, EARLIEST);
        let found: BTreeMap<u64, (String, u64)> = read(wire, RETAINED, partition, start)
            .into_iter()
            .map(|entry| (entry.offset, (entry.key, entry.number)))
            .collect();
        let start = start as u64;
        let due: BTreeMap<u64, (String, u64)> = due
            .range(start..)
            .map(|(offset, (key, number))| (*offset, ((*key).to_owned(), *number)))
            .collect();
        assert!(
            found == due,
            "partition {partition} from {start} on: {} records of {}",
            found.len(),
            due.len()
        );
        assert!(start > 0, "nothing was deleted from partition {partition}");
        let bytes: u64 = segments(data, RETAINED, partition).iter().sum();
        assert!(
            start as i64 <= deleted[partition] || bytes >= RETENTION_BYTES,
            "partition {partition} begins at {start} and has {bytes} bytes, though only what is before {} was deleted",
            deleted[partition]
        );
    }
}

/// The offset of each record, by codec, partition and number.
fn by_number(acknowledged: &[Entry]) -> HashMap<(&str, usize, u64), u64> {
    let by_number: HashMap<_, _> = acknowledged.iter().map(|e| (e.id(), e.offset)).collect();
    assert_eq!(by_number.len(), acknowledged.len(), "a record was acknowledged twice");
    by_number
}

/// The records of a partition from `offset` on.
fn read(wire: &mut Wire, topic: &str, partition: usize, mut offset: i64) -> Vec<Entry> {
    let mut entries = Vec::new();
    loop {
        let data = wire.fetch(topic, partition as i32, offset);
        assert_eq!(data.error_code, ErrorCode::NONE, "{topic}-{partition} at {offset}");
        if offset == data.high_watermark {
            return entries;
        }
        let before = offset;
        for batch in batches(data.records) {
            for record in &batch.records(&mut Decompressor::new(), &Limits::BROKER).unwrap() {
                let record = record.unwrap();
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let value = text(record.value.unwrap());
                let number = value.split_once(' ').unwrap().0.parse().unwrap();
                if record.offset >= before {
                    let (key, offset) = (text(record.key.unwrap()), record.offset as u64);
                    entries.push(Entry { key, partition, offset, number });
                }
            }
            offset = batch.header().next_offset();
        }
        assert!(
            offset > before,
            "{topic}-{partition} has nothing at {offset}, before {}",
            data.high_watermark
        );
    }
}

/// As ListOffsets has it.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

fn offset_of(wire: &mut Wire, topic: &str, partition: usize, timestamp: i64) -> i64 {
    let partition =
        ListOffsetsPartition { partition_index: partition as i32, current_leader_epoch: -1, timestamp };
    let topic = ListOffsetsTopic { name: topic.into(), partitions: vec![partition] };
    let request = ListOffsetsRequest { topics: vec![topic], ..Default::default() };
    let found = wire.call(5, &request).topics.swap_remove(0).partitions.swap_remove(0);
    assert_eq!(found.error_code, ErrorCode::NONE);
    found.offset
}

fn delete_records(wire: &mut Wire, topic: &str, partition: usize, offset: i64) {
    let partition = DeleteRecordsPartition { partition_index: partition as i32, offset };
    let topic = DeleteRecordsTopic { name: topic.into(), partitions: vec![partition] };
    let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 10_000 };
    let deleted = wire.call(2, &request).topics.swap_remove(0).partitions.swap_remove(0);
    assert_eq!(deleted.error_code, ErrorCode::NONE);
    assert!(deleted.low_watermark >= offset);
}

/// The sizes of a partition's segments.
fn segments(data: &Path, topic: &str, partition: usize) -> Vec<u64> {
    let files = std::fs::read_dir(data.join(format!("{topic}-{partition}"))).unwrap();
    let segments = files.map(Result::unwrap).filter(|f| f.path().extension().is_some_and(|e| e == "log"));
    // One may be deleted just now.
    segments.filter_map(|file| Some(file.metadata().ok()?.len())).collect()
}

/// A record, as the peer prints it.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    /// The codec, `/`, and which of the producer's keys it is.
    key: String,
    partition: usize,
    offset: u64,
    number: u64,
}

impl Entry {
    fn codec(&self) -> &str {
        self.key.split_once('/').map_or("", |(codec, _)| codec)
    }

    fn id(&self) -> (&str, usize, u64) {
        (self.codec(), self.partition, self.number)
    }
}

impl std::str::FromStr for Entry {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let malformed = || format!("not `KEY PARTITION OFFSET NUMBER`: {line}");
        let mut words = line.split(' ');
        let key = words.next().filter(|w| w.contains('/')).ok_or_else(malformed)?.to_owned();
        let mut number = || words.next()?.parse::<u64>().ok();
        let (Some(partition), Some(offset), Some(number)) = (number(), number(), number()) else {
            return Err(malformed());
        };
        Ok(Self { key, partition: partition as usize, offset, number })
    }
}

/// The peer at work.
struct Load {
    child: Child,
    stdin: Option<ChildStdin>,
    state: Arc<State>,
    reading: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    lines: Mutex<Vec<String>>,
    came: Condvar,
    ended: AtomicBool,
}

impl Load {
    fn start(peer: &Peer, bootstrap: &str, topic: &str, keys: u64, pause_ms: u64) -> Self {
        let numbers = [PARTITIONS as u64, keys, pause_ms].map(|number| number.to_string());
        let [partitions, keys, pause_ms] = numbers.each_ref().map(String::as_str);
        let mut child = peer.spawn(&["load", bootstrap, topic, partitions, keys, pause_ms]).unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let state = Arc::new(State::default());
        let reading = std::thread::spawn({
            let state = Arc::clone(&state);
            move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    state.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                    state.came.notify_all();
                }
                state.ended.store(true, Ordering::SeqCst);
                state.came.notify_all();
            }
        });
        Self { child, stdin, state, reading: Some(reading) }
    }

    /// How many records were acknowledged so far.
    fn acknowledged(&self) -> u64 {
        self.state.lines.lock().unwrap().len() as u64
    }

    /// Waits until `count` records are acknowledged.
    fn wait_for(&self, count: u64) {
        self.wait_for_unless(count, || false);
    }

    /// Waits until `count` records are acknowledged, or until there will be no more because of something else; says
    /// whether they are.
    fn wait_for_unless(&self, count: u64, mut over: impl FnMut() -> bool) -> bool {
        // Nobody is told when a broker ends.
        const LOOK: Duration = Duration::from_millis(5);
        let mut waited = Duration::ZERO;
        let mut lines = self.state.lines.lock().unwrap();
        while (lines.len() as u64) < count {
            if over() {
                return false;
            }
            assert!(
                !self.state.ended.load(Ordering::SeqCst),
                "the load has ended at {} records",
                lines.len()
            );
            assert!(waited < PATIENCE, "the load stands still at {} records", lines.len());
            let before = lines.len();
            lines = self.state.came.wait_timeout(lines, LOOK).unwrap().0;
            waited = if lines.len() > before { Duration::ZERO } else { waited + LOOK };
        }
        true
    }

    /// Ends the load; gives every record once all are acknowledged.
    fn finish(mut self) -> Vec<Entry> {
        drop(self.stdin.take());
        self.reading.take().unwrap().join().unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "a record failed for good: {status}");
        let lines = std::mem::take(&mut *self.state.lines.lock().unwrap());
        lines.iter().map(|line| line.parse().unwrap()).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Xorshift: kills need to be spread, not to be unpredictable.
struct Random(u64);

impl Random {
    fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        range.start + self.0 % (range.end - range.start)
    }
}
