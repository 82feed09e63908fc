//! `kill -9` under load, again and again: what was acknowledged is there, once, and in order.
//!
//! `OTTLA_CRASHES` says how often (5). The load is franz-go's: idempotent producers, acks=all, one a codec, which
//! number the records of each partition. Segments are as small as they may be, so that kills fall on rolls too.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    process::{Child, ChildStdin},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use ottla_interop::{
    or_skip,
    peers::{self, Peer},
    program::{Launch, PATIENCE},
};

const TOPIC: &str = "load";
const PARTITIONS: usize = 3;
const CRASHES_DEFAULT: usize = 5;
/// Records that are acknowledged between two kills, at least and at most.
const LIVE_RECORDS: std::ops::Range<u64> = 200..8_000;

#[test]
fn no_acknowledged_record_is_lost_doubled_or_out_of_order_however_often_the_broker_is_killed() {
    let Some(peer) = or_skip(peers::franz_go()) else { return };
    let crashes = std::env::var("OTTLA_CRASHES").map_or(CRASHES_DEFAULT, |n| n.parse().expect("a number"));
    let data = tempfile::tempdir().unwrap();
    let launch = Launch::new(env!("CARGO_BIN_EXE_ottla"), data.path())
        .set("num.partitions", PARTITIONS)
        .set("log.segment.bytes", 1 << 20);
    let mut broker = launch.start();
    let launch = launch.at(broker.address());
    let bootstrap = broker.address().to_string();

    let load = Load::start(&peer, &bootstrap);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut torn, mut slowest) = (0, broker.ready_after());
    for crash in 0..crashes {
        load.wait_for(load.acknowledged() + random.within(LIVE_RECORDS));
        let log = broker.kill();
        let errors: Vec<_> = log.iter().filter(|line| line.is_error()).collect();
        assert!(errors.is_empty(), "before crash {crash}: {errors:#?}");
        torn += log.iter().filter(|line| line.text.contains("torn end")).count();
        broker = launch.start();
        slowest = slowest.max(broker.ready_after());
    }
    // The last broker works too.
    load.wait_for(load.acknowledged() + LIVE_RECORDS.start);
    let acknowledged = load.finish();

    let count = acknowledged.len();
    let read = peer.run(&["loaded", &bootstrap, TOPIC, &count.to_string()], None).unwrap();
    let read: Vec<Entry> =
        String::from_utf8(read.stdout).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    let segments = segments(data.path());
    let (status, log) = broker.terminate();
    assert!(status.success(), "{status}");
    let errors: Vec<_> = log.iter().filter(|line| line.is_error()).collect();
    assert!(errors.is_empty(), "{errors:#?}");

    check(&acknowledged, &read);
    println!(
        "{crashes} crashes, {torn} torn ends; {count} records acknowledged, as many read; {segments} segments; \
         slowest start {} ms",
        slowest.as_millis()
    );
}

/// Every record was acknowledged in the end, so the log holds, of each producer and partition, each number once,
/// rising, at the offset that the acknowledgement said.
fn check(acknowledged: &[Entry], read: &[Entry]) {
    let acknowledged_at: HashMap<_, _> =
        acknowledged.iter().map(|e| ((e.codec.as_str(), e.partition, e.number), e.offset)).collect();
    assert_eq!(acknowledged_at.len(), acknowledged.len(), "a record was acknowledged twice");
    let mut next_number: HashMap<_, u64> = HashMap::new();
    let mut next_offset = [0; PARTITIONS];
    for entry in read {
        assert_eq!(entry.offset, next_offset[entry.partition], "an offset is missing: {entry:?}");
        next_offset[entry.partition] += 1;
        let next = next_number.entry((entry.codec.as_str(), entry.partition)).or_default();
        assert_eq!(entry.number, *next, "lost, doubled, or out of order: {entry:?}");
        *next += 1;
        let told = acknowledged_at.get(&(entry.codec.as_str(), entry.partition, entry.number));
        assert_eq!(told, Some(&entry.offset), "acknowledged with another offset: {entry:?}");
    }
    assert_eq!(read.len(), acknowledged.len());
    assert!(next_offset.iter().all(|&n| n > 0), "some partition got nothing: {next_offset:?}");
    assert!(next_number.len() >= 5 * PARTITIONS, "some codec got nothing: {:?}", next_number.keys());
}

/// Segments of the topic's partitions.
fn segments(data: &std::path::Path) -> usize {
    let files = (0..PARTITIONS).flat_map(|p| std::fs::read_dir(data.join(format!("{TOPIC}-{p}"))).unwrap());
    files.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "log")).count()
}

/// A record, as the peer prints it.
#[derive(Debug)]
struct Entry {
    codec: String,
    partition: usize,
    offset: u64,
    number: u64,
}

impl std::str::FromStr for Entry {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let malformed = || format!("not `CODEC PARTITION OFFSET NUMBER`: {line}");
        let mut words = line.split(' ');
        let codec = words.next().filter(|w| !w.is_empty()).ok_or_else(malformed)?.to_owned();
        let mut number = || words.next()?.parse::<u64>().ok();
        let (Some(partition), Some(offset), Some(number)) = (number(), number(), number()) else {
            return Err(malformed());
        };
        Ok(Self { codec, partition: partition as usize, offset, number })
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
    fn start(peer: &Peer, bootstrap: &str) -> Self {
        let mut child = peer.spawn(&["load", bootstrap, TOPIC, &PARTITIONS.to_string()]).unwrap();
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
        let guard = self.state.lines.lock().unwrap();
        let is_waiting = |lines: &mut Vec<String>| {
            (lines.len() as u64) < count && !self.state.ended.load(Ordering::SeqCst)
        };
        let (lines, _) = self.state.came.wait_timeout_while(guard, PATIENCE, is_waiting).unwrap();
        assert!(lines.len() as u64 >= count, "the load stands still at {} records", lines.len());
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
