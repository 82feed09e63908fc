//! Kafka's own cleaner as the judge of ours: the same log, cleaned by both, holds the same records and batches.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use ottla_broker::log::{
    Checkpointed, CleanupPolicy, Disk, Log, LogConfig, ToAppend,
    cleaner::{CleanError, Cleaner, CleanerConfig, HashKey, LogTask, Owner},
    dump,
};
use ottla_interop::{
    broker::TestBroker,
    java::ClassPath,
    or_skip,
    peers::{self, kafka_tool},
    program::PATIENCE,
    wire::{self, TIMESTAMP, Wire, batches as batches_of},
};
use ottla_protocol::{
    compression::{Codec, Compression, Compressor, Decompressor, Limits},
    error_code::ErrorCode,
    messages::{
        DeleteRecordsRequest,
        delete_records::{DeleteRecordsPartition, DeleteRecordsTopic},
    },
    record::{Batch, BatchBuilder, BatchHeader, Header, Seal},
    types::{ProducerId, Uuid},
};

const NOW_MS: i64 = 1_700_000_000_000;
const SEGMENT_BYTES: u32 = 4_000;
const DELETE_RETENTION_MS: i64 = 10_000;
/// Bytes of an entry in Kafka's map of keys, and in ours.
const ENTRY_BYTES: usize = 24;

/// Logs that are cleaned by both, each from another seed.
const SEEDS: u64 = 12;

#[test]
fn kafkas_cleaner_leaves_the_same_records_and_batches_of_the_same_log() -> anyhow::Result<()> {
    let jars = ClassPath::of_project("kafka").and_then(|jars| jars.with_compiled("LogCompaction.java"));
    let Some(class_path) = or_skip(jars) else { return Ok(()) };
    let mut kafka = KafkaCleaner::start(&class_path)?;
    let mut seen = Seen::default();
    for seed in 0..SEEDS {
        compare(&mut kafka, seed, &mut seen)?;
    }
    kafka.stop()?;
    // What was compared has all that the rules speak of.
    let Seen { records, tombstones, empty, horizons, dropped, codecs, partial_maps } = seen;
    println!(
        "{SEEDS} logs: {records} records left and {dropped} dropped, {tombstones} tombstones left, {empty} empty \
         batches, {horizons} delete horizons, {partial_maps} rounds with a full map"
    );
    assert!(records > 500 && dropped > 1000 && tombstones > 20 && empty > 20 && horizons > 20, "too few");
    assert!(partial_maps > 2);
    assert_eq!(codecs.len(), 5);
    Ok(())
}

#[test]
fn a_compacted_topic_keeps_the_latest_record_of_each_key() {
    let settings = [
        ("log.cleaner.backoff.ms", "50"),
        ("log.cleaner.min.cleanable.ratio", "0.01"),
        ("log.retention.check.interval.ms", "50"),
        ("log.initial.task.delay.ms", "50"),
    ];
    let mut broker = TestBroker::start(&settings);
    let mut wire = Wire::connect(broker.bootstrap().parse().unwrap());
    // Each batch is of another hour, so that each begins a segment.
    let hourly = [("cleanup.policy", "compact"), ("segment.ms", "3600000"), ("file.delete.delay.ms", "0")];
    wire.create_topic("latest", 1, &hourly);
    for hour in 0..40 {
        let records: Vec<_> =
            (0..3).map(|i| (format!("key {}", (hour + i) % 10), format!("{hour}"))).collect();
        let answer = wire.produce("latest", 0, &keyed(hour, &records));
        assert_eq!(answer.error_code, ErrorCode::NONE, "{answer:?}");
    }
    // All of it but the last segment is compacted before long.
    let latest = |wire: &mut Wire| -> Vec<(i64, String)> {
        let mut all = Vec::new();
        let mut offset = 0;
        while offset < 120 {
            for batch in batches_of(wire.fetch("latest", 0, offset).records) {
                let found = content(&batch);
                offset = found.header.next_offset();
                let text = |key: Vec<u8>| String::from_utf8(key).unwrap();
                all.extend(found.records.into_iter().map(|r| (r.offset, text(r.key.unwrap()))));
            }
        }
        all
    };
    let began = Instant::now();
    let left = loop {
        let left = latest(&mut wire);
        if left.len() <= 13 {
            break left;
        }
        assert!(began.elapsed() < PATIENCE, "{left:?}");
        thread::sleep(Duration::from_millis(20));
    };
    let sealed: Vec<&str> = left.iter().filter(|r| r.0 < 117).map(|r| r.1.as_str()).collect();
    let keys: HashSet<&str> = sealed.iter().copied().collect();
    assert_eq!((keys.len(), sealed.len()), (10, 10), "{left:?}");
    assert!(left.iter().all(|(offset, _)| *offset >= 117 - 30), "the latest of each: {left:?}");

    // A record without a key has no place there, nor may people delete records where compaction does.
    let refused = wire.produce("latest", 0, &wire::batch(&[b"no key"]));
    assert_eq!(refused.error_code, ErrorCode::INVALID_RECORD);
    assert_eq!(refused.record_errors.len(), 1, "{refused:?}");
    assert_eq!(delete_records(&mut wire, "latest", 10), (ErrorCode::POLICY_VIOLATION, -1));

    broker.restart();
    let checkpoint = fs::read_to_string(broker.directory().join("cleaner-offset-checkpoint")).unwrap();
    assert_eq!(checkpoint, "0\n1\nlatest 0 117\n");
    let mut wire = Wire::connect(broker.bootstrap().parse().unwrap());
    assert_eq!(latest(&mut wire), left);
}

#[test]
fn old_segments_go_and_records_are_deleted_through_the_socket() {
    let settings = [("log.retention.check.interval.ms", "50"), ("log.initial.task.delay.ms", "50")];
    let broker = TestBroker::start(&settings);
    let mut wire = Wire::connect(broker.bootstrap().parse().unwrap());
    let configs = [("retention.ms", "-1"), ("segment.ms", "3600000"), ("file.delete.delay.ms", "0")];
    wire.create_topic("hours", 1, &configs);
    for hour in 0..10 {
        wire.produce("hours", 0, &keyed(hour, &[("k".into(), "v".into())]));
    }
    let segments = || names_of(&broker.directory().join("hours-0"), ".log").len();
    let wait_for = |left: usize| {
        let began = Instant::now();
        while segments() != left || !names_of(&broker.directory().join("hours-0"), ".deleted").is_empty() {
            assert!(began.elapsed() < PATIENCE, "{} segments", segments());
            thread::sleep(Duration::from_millis(20));
        }
    };
    assert_eq!(segments(), 10);
    assert_eq!(delete_records(&mut wire, "hours", 11), (ErrorCode::OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(delete_records(&mut wire, "hours", -2), (ErrorCode::OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(delete_records(&mut wire, "absent", 1), (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, -1));
    assert_eq!(delete_records(&mut wire, "hours", 4), (ErrorCode::NONE, 4));
    assert_eq!(delete_records(&mut wire, "hours", 2), (ErrorCode::NONE, 4), "it does not go back");
    wait_for(6);
    assert_eq!(wire.fetch("hours", 0, 3).error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(wire.fetch("hours", 0, 4).error_code, ErrorCode::NONE);
    assert_eq!(delete_records(&mut wire, "hours", -1), (ErrorCode::NONE, 10));
    wait_for(1);

    // Records of long ago are older than any retention.
    wire.create_topic("old", 1, &[("retention.ms", "1000"), ("file.delete.delay.ms", "0")]);
    wire.produce("old", 0, &keyed(0, &[("k".into(), "v".into())]));
    let began = Instant::now();
    while wire.fetch("old", 0, 0).error_code != ErrorCode::OFFSET_OUT_OF_RANGE {
        assert!(began.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(wire.fetch("old", 0, 1).log_start_offset, 1);
}

#[test]
fn kafkas_tool_deletes_records() {
    if or_skip(peers::java()).is_none() {
        return;
    }
    let broker = TestBroker::start(&[]);
    let mut wire = Wire::connect(broker.bootstrap().parse().unwrap());
    wire.create_topic("orders", 1, &[]);
    for hour in 0..10 {
        wire.produce("orders", 0, &keyed(hour, &[("k".into(), "v".into())]));
    }
    let directory = tempfile::tempdir().unwrap();
    let offsets = directory.path().join("offsets.json");
    let json = r#"{"version":1,"partitions":[{"topic":"orders","partition":0,"offset":7}]}"#;
    fs::write(&offsets, json).unwrap();
    let (bootstrap, file) = (broker.bootstrap(), offsets.display().to_string());
    let args = ["--bootstrap-server", &bootstrap, "--offset-json-file", &file];
    let said = kafka_tool("org.apache.kafka.tools.DeleteRecordsCommand", &args, None);
    let said = said.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(said.contains("partition: orders-0\tlow_watermark: 7"), "{said}");
    assert_eq!(wire.fetch("orders", 0, 6).error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
}

/// Moves a partition's start; gives the error and the new start.
fn delete_records(wire: &mut Wire, topic: &str, offset: i64) -> (ErrorCode, i64) {
    let partition = DeleteRecordsPartition { partition_index: 0, offset };
    let topic = DeleteRecordsTopic { name: topic.into(), partitions: vec![partition] };
    let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1000 };
    let mut answer = wire.call(2, &request);
    let partition = answer.topics.remove(0).partitions.remove(0);
    (partition.error_code, partition.low_watermark)
}

/// A batch of records of that hour.
fn keyed(hour: i64, records: &[(String, String)]) -> ottla_protocol::Bytes {
    let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
    for (key, value) in records {
        let time = TIMESTAMP + 4_000_000 * hour;
        builder.push(time, Some(key.as_bytes()), Some(value.as_bytes()), &[]).unwrap();
    }
    builder.seal(&Seal::default(), &mut Compressor::new()).unwrap().into_bytes()
}

fn names_of(directory: &Path, suffix: &str) -> Vec<String> {
    let names =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(suffix)).collect()
}

/// What was met.
#[derive(Default)]
struct Seen {
    records: usize,
    tombstones: usize,
    empty: usize,
    horizons: usize,
    dropped: usize,
    codecs: HashSet<Compression>,
    partial_maps: usize,
}

fn compare(kafka: &mut KafkaCleaner, seed: u64, seen: &mut Seen) -> anyhow::Result<()> {
    let mut rng = Rng::with_seed(seed);
    let dir = tempfile::tempdir()?;
    let (ours, theirs) = (dir.path().join("orders-0"), dir.path().join("kafka").join("orders-0"));
    let mut log = Log::create(&Disk::Real, &ours, Uuid(7), config(), NOW_MS)?;
    fill(&mut log, &mut rng);
    let end_offset = log.end_offset();
    log.close()?;
    fs::create_dir_all(&theirs)?;
    for entry in fs::read_dir(&ours)? {
        let entry = entry?;
        fs::copy(entry.path(), theirs.join(entry.file_name()))?;
    }
    let before: usize = batches(&ours).iter().map(|(_, batch)| batch.records.len()).sum();

    kafka.open(&theirs, end_offset)?;
    let checkpointed = Checkpointed { clean: true, recovery_point: end_offset, log_start_offset: 0 };
    let (mut log, _) = Log::open(&Disk::Real, &ours, config(), &checkpointed, NOW_MS)?;
    let (mut cleaned, mut now_ms) = (None, NOW_MS);
    for round in 0..6 {
        // Less is committed in the first rounds, so that later ones have something new.
        let reader = log.reader();
        reader.set_high_watermark(if round < 3 { (round + 1) * end_offset / 4 } else { end_offset });
        // Towards the end everything is cleaned again, to see tombstones go.
        let from = if round < 4 { cleaned } else { None };
        let range = reader.cleanable(from, &config().cleanup, now_ms)?;
        let map_bytes = if rng.u8(..4) == 0 { rng.usize(10..40) * ENTRY_BYTES } else { 1 << 20 };
        let mut cleaner =
            Cleaner::new(CleanerConfig { map_bytes, ..CleanerConfig::new(HashKey(seed.into())) });
        let done = cleaner.clean(&reader, &config(), &range, &mut Alone { log: &mut log, now_ms })?;
        let high_watermark = reader.high_watermark();
        let answer = kafka.clean(range.first_dirty_offset, high_watermark, now_ms, map_bytes)?;
        let context = format!("seed {seed}, round {round}, {range:?}");
        assert_eq!(answer, (done.end_offset, range.first_uncleanable_offset), "{context}");
        compare_batches(&ours, &theirs, &context);
        seen.partial_maps += usize::from(done.end_offset < range.first_uncleanable_offset);
        cleaned = Some(done.end_offset);
        now_ms += rng.i64(0..DELETE_RETENTION_MS);
    }
    kafka.close()?;
    log.close()?;
    compare_batches(&ours, &theirs, "at the end");
    for (_, batch) in batches(&ours) {
        let header = &batch.header;
        seen.records += batch.records.len();
        seen.tombstones += batch.records.iter().filter(|r| r.value.is_none()).count();
        seen.empty += usize::from(header.record_count == 0);
        seen.horizons += usize::from(header.delete_horizon_ms().is_some());
        seen.codecs.insert(header.attributes.compression()?);
    }
    let left: usize = batches(&ours).iter().map(|(_, batch)| batch.records.len()).sum();
    seen.dropped += before - left;
    if seed == 0 {
        read_by_kafkas_tool(&ours)?;
    }
    Ok(())
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: SEGMENT_BYTES,
        index_interval_bytes: 500,
        cleanup: CleanupPolicy {
            delete: false,
            compact: true,
            delete_retention_ms: DELETE_RETENTION_MS,
            ..CleanupPolicy::default()
        },
        ..LogConfig::default()
    }
}

/// Batches of all codecs, some of idempotent producers, with tombstones and headers; some topics have the broker's time.
fn fill(log: &mut Log, rng: &mut Rng) {
    let codecs =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let mut sequences = [0; 4];
    let keys = rng.u32(5..60);
    log.set_config(LogConfig { log_append_time: rng.u8(..4) == 0, ..config() });
    for i in 0..rng.i64(120..300) {
        let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
        let count = rng.i32(1..8);
        for record in 0..i64::from(count) {
            let key = format!("key {}", rng.u32(..keys));
            let value = (rng.u8(..4) > 0).then(|| "v".repeat(rng.usize(..60)));
            let header = [Header::new("h", Some(b"1"))];
            let headers = if rng.bool() { &header[..] } else { &[] };
            let time = NOW_MS + 10 * i + record - rng.i64(..30);
            builder.push(time, Some(key.as_bytes()), value.as_deref().map(str::as_bytes), headers).unwrap();
        }
        let codec = Codec::new(codecs[rng.usize(..codecs.len())]);
        let mut seal = Seal { codec, ..Seal::default() };
        let producer = rng.usize(..6);
        // Some producers end early, so that their last batch is an old one.
        if let Some(sequence) = sequences.get_mut(producer)
            && i < 60 + 80 * producer as i64
        {
            seal.producer_id = ProducerId(producer as i64);
            seal.producer_epoch = 3;
            seal.base_sequence = *sequence;
            *sequence += count;
        }
        let batch = builder.seal(&seal, &mut Compressor::new()).unwrap();
        let mut results = Vec::new();
        log.append(&mut vec![ToAppend::from(batch)], (i / 50) as i32, NOW_MS + 10 * i, &mut results);
        results.remove(0).unwrap();
    }
    log.set_config(config());
}

/// A batch with all that a reader sees of it.
#[derive(Clone, Debug, PartialEq)]
struct Content {
    header: BatchHeader,
    records: Vec<Record>,
}

#[derive(Clone, Debug, PartialEq)]
struct Record {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: usize,
}

/// All batches of a log's directory, and whether each ends its segment.
fn batches(directory: &Path) -> Vec<(bool, Content)> {
    let mut all = Vec::new();
    for segment in dump::segments(directory).unwrap() {
        let mut of_segment = Vec::new();
        dump::batches(&segment, |found| {
            found.crc.unwrap();
            of_segment.push((false, content(&found.batch)));
        })
        .unwrap();
        if let Some((ends, _)) = of_segment.last_mut() {
            *ends = true;
        }
        all.extend(of_segment);
    }
    all
}

fn content(batch: &Batch) -> Content {
    let records = batch.records(&mut Decompressor::new(), &Limits::BROKER).unwrap();
    let records = records.iter().map(|record| {
        let record = record.unwrap();
        Record {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.len(),
        }
    });
    let mut header = *batch.header();
    // Two compressors make other bytes of the same records.
    if header.attributes.compression().unwrap() != Compression::None {
        (header.crc, header.batch_length) = (0, 0);
    }
    Content { header, records: records.collect() }
}

/// Batch for batch, but for the empty ones that end our segments: Kafka keeps that only at the end of a round.
fn compare_batches(ours: &Path, theirs: &Path, context: &str) {
    let theirs: Vec<Content> = batches(theirs).into_iter().map(|(_, batch)| batch).collect();
    let known: HashSet<i64> = theirs.iter().map(|batch| batch.header.base_offset).collect();
    let mut theirs = theirs.into_iter();
    for (ends_segment, batch) in batches(ours) {
        if ends_segment && batch.records.is_empty() && !known.contains(&batch.header.base_offset) {
            continue;
        }
        assert_eq!(Some(batch), theirs.next(), "{context}");
    }
    assert_eq!(theirs.next(), None, "{context}");
}

/// Kafka's own tool finds nothing wrong with any file.
fn read_by_kafkas_tool(directory: &Path) -> anyhow::Result<()> {
    let names: Vec<String> = fs::read_dir(directory)?
        .map(|entry| Ok(entry?.path().display().to_string()))
        .collect::<std::io::Result<_>>()?;
    let read = |suffix: &str| -> anyhow::Result<usize> {
        let files: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| name.ends_with(suffix)).collect();
        let args = ["--deep-iteration", "--print-data-log", "--files", &files.join(",")];
        let text = kafka_tool("org.apache.kafka.tools.DumpLogSegments", &args, None)?;
        for wrong in ["Exception", "Mismatch", "mismatch", "corrupt", "isvalid: false"] {
            assert!(!text.contains(wrong), "{text}");
        }
        Ok(text.lines().filter(|line| line.contains("baseOffset:")).count())
    };
    assert!(read(".log")? > 10);
    for suffix in [".index", ".timeindex", ".snapshot"] {
        read(suffix)?;
    }
    Ok(())
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

/// The process of `java/LogCompaction.java`.
struct KafkaCleaner {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl KafkaCleaner {
    fn start(class_path: &ClassPath) -> anyhow::Result<Self> {
        let mut java = class_path.command(&["-Xmx512m", "-XX:+UseSerialGC"], "LogCompaction")?;
        java.args([SEGMENT_BYTES.to_string(), DELETE_RETENTION_MS.to_string(), NOW_MS.to_string()]);
        let mut child = java.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Ok(Self { child, orders, answers })
    }

    fn open(&mut self, directory: &Path, end_offset: i64) -> anyhow::Result<()> {
        Ok(writeln!(self.orders, "open {} {end_offset}", directory.display())?)
    }

    /// One round; gives the end of it, and the first offset that it could not touch.
    fn clean(
        &mut self,
        first_dirty: i64,
        uncleanable: i64,
        now_ms: i64,
        map_bytes: usize,
    ) -> anyhow::Result<(i64, i64)> {
        writeln!(self.orders, "clean {first_dirty} {uncleanable} {now_ms} {map_bytes}")?;
        self.answer()
    }

    fn close(&mut self) -> anyhow::Result<()> {
        writeln!(self.orders, "close")?;
        self.answer().map(drop)
    }

    fn answer(&mut self) -> anyhow::Result<(i64, i64)> {
        // What Kafka logs may come before the answer.
        let mut line = String::new();
        while self.answers.read_line(&mut line)? > 0 {
            let numbers: Vec<i64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            if let [first, second] = numbers[..] {
                return Ok((first, second));
            }
            line.clear();
        }
        anyhow::bail!("Kafka's cleaner has ended")
    }

    fn stop(mut self) -> anyhow::Result<()> {
        drop(self.orders);
        anyhow::ensure!(self.child.wait()?.success());
        Ok(())
    }
}
