//! Compaction of whole logs: what stays, what the files look like, and crashes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::atomic::{AtomicBool, Ordering},
};

use ottla_broker::log::{
    CleanupPolicy, LogErrorKind,
    cleaner::{CleanError, Cleanable, Cleaned, Cleaner, CleanerConfig, HashKey, LogTask, Owner},
};
use ottla_protocol::{
    compression::{Codec, Compression, Decompressor, Limits},
    record::{BatchHeader, Scratch},
};
use proptest::prelude::*;

use super::*;

const DELETE_RETENTION_MS: i64 = 5_000;

fn config() -> LogConfig {
    let cleanup = CleanupPolicy {
        delete: false,
        compact: true,
        delete_retention_ms: DELETE_RETENTION_MS,
        min_cleanable_dirty_ratio: 0.0,
        ..CleanupPolicy::default()
    };
    LogConfig { cleanup, ..small(600) }
}

fn cleaner(map_keys: usize) -> Cleaner {
    let config = CleanerConfig::new(HashKey(42));
    // Nine tenths of the slots may be taken.
    Cleaner::new(CleanerConfig { map_bytes: map_keys * 240 / 9 + 24, io_buffer_bytes: 4096, ..config })
}

/// The cleaner's owner, with nobody else there. `between` sees the log's directory after each step of an exchange.
struct Alone<'a> {
    log: &'a mut Log,
    now_ms: i64,
    steps: usize,
    between: &'a mut dyn FnMut(usize, &mut Log),
}

impl Owner for Alone<'_> {
    fn on_log(&mut self, task: LogTask) -> Result<(), CleanError> {
        task(self.log);
        self.steps += 1;
        (self.between)(self.steps, self.log);
        Ok(())
    }

    fn moved(&mut self, _bytes: u64) -> Result<(), CleanError> {
        Ok(())
    }

    fn now_ms(&self) -> i64 {
        self.now_ms
    }
}

fn clean_with(
    cleaner: &mut Cleaner,
    log: &mut Log,
    cleaned: Option<i64>,
    now_ms: i64,
    between: &mut dyn FnMut(usize, &mut Log),
) -> Result<(Cleanable, Cleaned), CleanError> {
    let reader = log.reader();
    let range = reader.cleanable(cleaned, &config().cleanup, now_ms)?;
    let mut owner = Alone { log, now_ms, steps: 0, between };
    cleaner.clean(&reader, &config(), &range, &mut owner).map(|cleaned| (range, cleaned))
}

fn clean(cleaner: &mut Cleaner, log: &mut Log, cleaned: Option<i64>, now_ms: i64) -> (Cleanable, Cleaned) {
    clean_with(cleaner, log, cleaned, now_ms, &mut |_, _| {}).unwrap()
}

type KeyValue = (Vec<u8>, Option<Vec<u8>>);

fn keyed(records: &[KeyValue], codec: Compression, seal: Seal) -> Batch {
    let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
    for (i, (key, value)) in records.iter().enumerate() {
        builder.push(NOW_MS + i as i64, Some(key), value.as_deref(), &[]).unwrap();
    }
    builder.seal(&Seal { codec: Codec::new(codec), ..seal }, &mut Compressor::new()).unwrap()
}

fn put(log: &mut Log, records: &[(&str, Option<&str>)]) -> i64 {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let records: Vec<KeyValue> = records.iter().map(|(k, v)| (bytes(k), v.map(bytes))).collect();
    let offset = append(log, &keyed(&records, Compression::None, Seal::default()));
    log.reader().set_high_watermark(log.end_offset());
    offset
}

/// Seals the active segment, as far as tests can: by a record that is too old for it.
fn roll(log: &mut Log, now_ms: i64) {
    let segments = log.segment_count();
    let at = |ms| timed(&[(ms, b"roll")], &Seal::default());
    while log.segment_count() == segments {
        append(log, &at(now_ms));
        append(log, &at(now_ms + 8 * 24 * 3_600_000));
    }
    log.reader().set_high_watermark(log.end_offset());
}

fn records(reader: &LogReader) -> BTreeMap<i64, KeyValue> {
    let mut found = BTreeMap::new();
    for batch in read_from(reader, reader.start_offset()) {
        let records = batch.records(&mut Decompressor::new(), &Limits::BROKER).unwrap();
        for record in &records {
            let record = record.unwrap();
            let Some(key) = record.key else { continue };
            let last = found.last_key_value().map(|(offset, _)| *offset);
            assert!(last.is_none_or(|last| last < record.offset), "offsets ascend");
            found.insert(record.offset, (key.to_vec(), record.value.map(<[u8]>::to_vec)));
        }
    }
    found
}

fn headers(reader: &LogReader) -> Vec<BatchHeader> {
    read_from(reader, reader.start_offset()).iter().map(|batch| *batch.header()).collect()
}

/// What is asked of segments: each reaches to the next one.
fn assert_no_holes(dir: &Dir) {
    let logs = dir.names(".log");
    for pair in logs.windows(2) {
        let mut end = -1;
        ottla_broker::log::dump::batches(&dir.file(&pair[0]), |found| {
            found.crc.unwrap();
            end = found.batch.header().next_offset();
        })
        .unwrap();
        assert_eq!(format!("{end:020}.log"), pair[1], "the segment reaches to the next one");
    }
}

#[test]
fn only_the_latest_record_of_each_key_stays_at_its_offset() {
    let dir = Dir::new();
    let mut log = dir.create(config());
    for i in 0..40 {
        put(&mut log, &[(["a", "b", "c"][i % 3], Some(&format!("value {i} {}", "x".repeat(40))))]);
    }
    roll(&mut log, NOW_MS);
    let (before, segments) = (records(&log.reader()), log.segment_count());
    assert!(segments > 4);
    let (range, cleaned) = clean(&mut cleaner(100), &mut log, None, NOW_MS);
    assert_eq!((range.first_dirty_offset, range.ratio()), (0, 1.0));
    assert_eq!((cleaned.end_offset, cleaned.keys), (range.first_uncleanable_offset, 3));
    let after = records(&log.reader());
    assert_eq!(after.keys().copied().collect::<Vec<_>>(), [37, 38, 39]);
    assert!(after.iter().all(|(offset, record)| before[offset] == *record));
    assert!(cleaned.bytes_written < cleaned.bytes_read / 2);
    assert_no_holes(&dir);
    assert_eq!(dir.names(".cleaned").len() + dir.names(".swap").len(), 0);

    let again = log.reader().cleanable(Some(cleaned.end_offset), &config().cleanup, NOW_MS).unwrap();
    assert_eq!((again.cleanable_bytes, again.ratio(), again.is_due(&config().cleanup)), (0, 0.0, false));

    let new = put(&mut log, &[("d", Some("1"))]);
    roll(&mut log, NOW_MS + 9 * 24 * 3_600_000);
    let (_, again) = clean(&mut cleaner(100), &mut log, Some(cleaned.end_offset), NOW_MS);
    assert!(again.segments > 0 && log.segment_count() < segments, "small segments become one");
    let after = records(&log.reader());
    assert_eq!(after.keys().copied().collect::<Vec<_>>(), [37, 38, 39, new]);
    assert_no_holes(&dir);
    let settled = (0..4).any(|_| clean(&mut cleaner(100), &mut log, None, NOW_MS).1.segments == 0);
    assert!(settled, "what loses nothing is not written again");
    assert_eq!(records(&log.reader()), after);
    drop(log);
    for clean_stop in [false, true] {
        let checkpointed = Checkpointed { clean: clean_stop, ..Checkpointed::default() };
        let log = dir.open(config(), &checkpointed).0;
        assert_eq!(records(&log.reader()), after);
        if !clean_stop {
            log.close().unwrap();
        }
    }
}

#[test]
fn the_rest_waits_until_it_is_sealed_committed_and_old_enough() {
    let dir = Dir::new();
    let mut log = dir.create(config());
    put(&mut log, &[("a", Some("1"))]);
    put(&mut log, &[("a", Some("2"))]);
    let reader = log.reader();
    let policy = config().cleanup;
    let limit = |cleaned, policy: &CleanupPolicy, now_ms| {
        reader.cleanable(cleaned, policy, now_ms).unwrap().first_uncleanable_offset
    };
    assert_eq!(limit(None, &policy, NOW_MS), 0, "the active segment");
    roll(&mut log, NOW_MS);
    let sealed = log.end_offset() - 1;
    assert_eq!(limit(None, &policy, NOW_MS), sealed);
    reader.set_high_watermark(sealed - 1);
    assert_eq!(limit(None, &policy, NOW_MS), 0, "a segment is committed as a whole or not at all");
    reader.set_high_watermark(log.end_offset());
    let lagging = CleanupPolicy { min_compaction_lag_ms: 1000, ..policy.clone() };
    assert_eq!(limit(None, &lagging, NOW_MS + 999), 0);
    assert_eq!(limit(None, &lagging, NOW_MS + 1000), sealed);
    let overdue = |max_compaction_lag_ms, now_ms| {
        let policy = CleanupPolicy { max_compaction_lag_ms, ..policy.clone() };
        reader.cleanable(None, &policy, now_ms).unwrap().overdue
    };
    assert!(!overdue(i64::MAX, i64::MAX) && !overdue(1000, NOW_MS + 1000) && overdue(1000, NOW_MS + 1001));
    for (cleaned, first_dirty) in [(Some(1), 1), (Some(1000), 0), (None, 0)] {
        assert_eq!(reader.cleanable(cleaned, &policy, NOW_MS).unwrap().first_dirty_offset, first_dirty);
    }
}

#[test]
fn a_small_map_cleans_a_log_in_several_rounds() {
    let dir = Dir::new();
    let mut log = dir.create(config());
    for round in 0..4 {
        for key in 0..30 {
            put(&mut log, &[(&format!("key {key}"), Some(&format!("{round}")))]);
        }
    }
    roll(&mut log, NOW_MS);
    let mut small = cleaner(7);
    let (mut cleaned, mut rounds) = (None, 0);
    loop {
        let (range, done) = clean(&mut small, &mut log, cleaned, NOW_MS);
        assert!(done.keys <= 7);
        cleaned = Some(done.end_offset);
        rounds += 1;
        if done.end_offset == range.first_uncleanable_offset {
            break;
        }
    }
    assert!(rounds > 10, "{rounds}");
    assert_eq!(records(&log.reader()).keys().copied().collect::<Vec<_>>(), (90..120).collect::<Vec<_>>());
    assert_no_holes(&dir);
}

#[test]
fn a_producer_goes_on_after_all_its_records_were_compacted_away() {
    let dir = Dir::new();
    let mut log = dir.create(config());
    let producer = |id, sequence| Seal {
        producer_id: ProducerId(id),
        producer_epoch: 0,
        base_sequence: sequence,
        ..Seal::default()
    };
    let a = |value: &str| (b"a".to_vec(), Some(value.as_bytes().to_vec()));
    for sequence in 0..8 {
        append(&mut log, &keyed(&[a("1"), a("2")], Compression::Lz4, producer(1, 2 * sequence)));
    }
    put(&mut log, &[("a", Some("by another"))]);
    roll(&mut log, NOW_MS);
    clean(&mut cleaner(10), &mut log, None, NOW_MS);
    let left: Vec<_> = headers(&log.reader()).into_iter().filter(|h| h.producer_id.0 == 1).collect();
    let last = left.last().unwrap();
    assert_eq!((last.record_count, last.base_sequence, last.last_sequence()), (0, 14, 15));
    // A snapshot knows it too; without any, the batches must do.
    for name in dir.names(".snapshot") {
        std::fs::remove_file(dir.file(&name)).unwrap();
    }
    drop(log);
    let mut log = dir.reopen(config());
    let retried = append_all(&mut log, &[keyed(&[a("1"), a("2")], Compression::Lz4, producer(1, 14))]);
    assert!(retried[0].as_ref().unwrap().duplicate);
    append(&mut log, &keyed(&[a("3")], Compression::Lz4, producer(1, 16)));
}

#[test]
fn a_crash_at_any_step_of_an_exchange_leaves_the_old_segments_or_the_new_one() {
    let dir = Dir::new();
    let mut log = dir.create(config());
    for i in 0..60 {
        put(&mut log, &[(&format!("key {}", i % 7), Some(&format!("{i}")))]);
    }
    roll(&mut log, NOW_MS);
    let before = records(&log.reader());
    let mut crashes = Vec::new();
    let copies = tempfile::tempdir().unwrap();
    clean_with(&mut cleaner(100), &mut log, None, NOW_MS, &mut |step, _| {
        let copy = copies.path().join(format!("step-{step}"));
        std::fs::create_dir(&copy).unwrap();
        for name in dir.names("") {
            std::fs::copy(dir.file(&name), copy.join(&name)).unwrap();
        }
        crashes.push(copy);
    })
    .unwrap();
    let after = records(&log.reader());
    assert_eq!((before.len(), after.len()), (60, 7));
    assert!(crashes.len() >= 4);
    let mut seen = [0, 0];
    for copy in crashes {
        // Some index, too, may not have come as far as its log.
        let indexes = names(&copy, "").into_iter().filter(|n| n.contains(".index")).step_by(4);
        for name in indexes.chain([String::new()]) {
            let torn = copies.path().join("torn");
            std::fs::create_dir(&torn).unwrap();
            for n in names(&copy, "") {
                std::fs::copy(copy.join(&n), torn.join(&n)).unwrap();
            }
            if !name.is_empty() {
                std::fs::remove_file(torn.join(&name)).unwrap();
            }
            for _ in 0..2 {
                let log =
                    Log::open(&Disk::Real, &torn, config(), &Checkpointed::default(), NOW_MS).unwrap().0;
                let found = records(&log.reader());
                assert!(
                    found == before || after.iter().all(|(offset, r)| found.get(offset) == Some(r)),
                    "{name}"
                );
                assert!(found.iter().all(|(offset, record)| before[offset] == *record));
                seen[usize::from(found != before)] += 1;
                assert_eq!(log.end_offset(), 60 + 2);
                for suffix in [".swap", ".cleaned", ".deleted"] {
                    assert_eq!(names(&torn, suffix), [""; 0]);
                }
            }
            std::fs::remove_dir_all(&torn).unwrap();
        }
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[test]
fn readers_keep_what_they_read_and_find_the_new_segment() {
    let dir = Dir::new();
    let mut log = dir.create(config());
    for i in 0..60 {
        put(&mut log, &[(&format!("key {}", i % 7), Some(&format!("{i}")))]);
    }
    roll(&mut log, NOW_MS);
    let reader = log.reader();
    let slices = reader.read(0, usize::MAX, i64::MAX, true).unwrap();
    let before: Vec<Bytes> = slices.slices.iter().map(|s| s.read().unwrap()).collect();
    let latest: Vec<i64> = (53..60).collect();
    let mut steps = 0;
    clean_with(&mut cleaner(100), &mut log, None, NOW_MS, &mut |_, log| {
        steps += 1;
        let found = records(&log.reader());
        assert!(latest.iter().all(|offset| found.contains_key(offset)), "step {steps}");
        let mut scratch = Scratch::new();
        for offset in 0..60 {
            let first = read_from(&log.reader(), offset).remove(0);
            assert!(first.header().last_offset() >= offset);
        }
        let found = log.reader().offset_for_timestamp(NOW_MS, &mut scratch).unwrap();
        assert!(found.is_some());
    })
    .unwrap();
    assert!(steps >= 4);
    let after: Vec<Bytes> = slices.slices.iter().map(|s| s.read().unwrap()).collect();
    assert_eq!(before, after);
    assert_eq!(records(&reader).keys().copied().collect::<Vec<_>>(), latest);
}

#[test]
fn readers_on_other_threads_never_meet_a_file_that_is_not_theirs() {
    let dir = Dir::new();
    let mut log = dir.create(config());
    let reader = log.reader();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0;
                    while !done.load(Ordering::Relaxed) {
                        let end = reader.high_watermark();
                        // Batches are checked against their CRCs, and offsets ascend.
                        let found = records(&reader);
                        // Each key was written again and again: its latest record lies no further back.
                        let keys = |from: i64| -> HashSet<Vec<u8>> {
                            found.range(from..).map(|(_, (key, _))| key.clone()).collect()
                        };
                        assert!(end < 20 || keys(end - 20).len() >= 7, "{found:?}");
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        let mut cleaner = cleaner(1000);
        for round in 0..15 {
            for i in 0..30 {
                put(&mut log, &[(&format!("key {}", i % 7), Some(&format!("{round}/{i}")))]);
            }
            clean(&mut cleaner, &mut log, None, NOW_MS + round);
        }
        done.store(true, Ordering::Relaxed);
        let reads: Vec<u64> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert!(reads.iter().all(|reads| *reads > 10), "{reads:?}");
    });
    assert!(log.segment_count() < 30 && records(&log.reader()).len() < 60);
}

#[test]
fn a_damaged_segment_is_named_and_left_alone() {
    let dir = Dir::new();
    let mut log = dir.create(config());
    for i in 0..60 {
        put(&mut log, &[(&format!("key {}", i % 7), Some(&format!("{i}")))]);
    }
    roll(&mut log, NOW_MS);
    let name = dir.names(".log").remove(1);
    let mut bytes = std::fs::read(dir.file(&name)).unwrap();
    let at = bytes.len() - 3;
    bytes[at] ^= 1;
    std::fs::write(dir.file(&name), &bytes).unwrap();
    let segments = dir.names(".log");
    let error = clean_with(&mut cleaner(100), &mut log, None, NOW_MS, &mut |_, _| {}).unwrap_err();
    assert!(matches!(&error, CleanError::Damaged { path, .. } if path.ends_with(&name)), "{error}");
    assert!(error.to_string().contains("CRC"), "{error}");
    assert_eq!(dir.names(".log"), segments);
    assert_eq!(dir.names(".cleaned"), [""; 0]);
    assert_eq!(std::fs::read(dir.file(&name)).unwrap(), bytes);
    put(&mut log, &[("a", Some("the log goes on"))]);
}

#[test]
fn segments_that_went_meanwhile_are_not_brought_back() {
    let dir = Dir::new();
    let mut log = dir.create(config());
    for i in 0..60 {
        put(&mut log, &[(&format!("key {}", i % 7), Some(&format!("{i}")))]);
    }
    roll(&mut log, NOW_MS);
    let stale = clean_with(&mut cleaner(100), &mut log, None, NOW_MS, &mut |step, log| {
        // Two steps for the flush; then the first segment is about to be made.
        if step == 3 {
            log.advance_start_offset(30).unwrap();
            assert!(log.retain(NOW_MS).unwrap().below_start > 0);
        }
    });
    assert!(matches!(stale, Err(CleanError::Stale)), "{stale:?}");
    assert_eq!(records(&log.reader()).len(), 30 + 30 - 30);
    assert_eq!(dir.names(".swap").len() + dir.names(".cleaned").len(), 0);
    let (_, cleaned) = clean(&mut cleaner(100), &mut log, None, NOW_MS);
    assert_eq!(cleaned.keys, 7);
    assert_eq!(records(&log.reader()).len(), 7);
    assert_no_holes(&dir);
}

#[test]
fn a_log_that_is_cut_while_it_is_cleaned_keeps_what_was_not_cut() {
    for cut_at_step in 1..=6 {
        let dir = Dir::new();
        let mut log = dir.create(config());
        for i in 0..60 {
            put(&mut log, &[(&format!("key {}", i % 7), Some(&format!("{i}")))]);
        }
        roll(&mut log, NOW_MS);
        let outcome = clean_with(&mut cleaner(100), &mut log, None, NOW_MS, &mut |step, log| {
            if step == cut_at_step {
                log.truncate_to(57, NOW_MS, |_| Ok(())).unwrap();
            }
        });
        assert_eq!(log.end_offset(), 57, "{outcome:?}");
        put(&mut log, &[("new", Some("record"))]);
        let found = records(&log.reader());
        assert!((50..=57).all(|offset| found.contains_key(&offset) || offset < 53), "{found:?}");
        drop(log);
        let log = dir.reopen(config());
        assert_eq!(records(&log.reader()), found, "cut at step {cut_at_step}");
    }
}

#[test]
fn the_latest_time_is_that_of_a_record_that_is_left() {
    let dir = Dir::new();
    let mut log = dir.create(config());
    let at = |ms: i64, key: &str, sequence: i32| {
        let seal = Seal {
            producer_id: ProducerId(if sequence < 0 { -1 } else { 5 }),
            producer_epoch: 0,
            base_sequence: sequence,
            ..Seal::default()
        };
        let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
        builder.push(NOW_MS + ms, Some(key.as_bytes()), Some(b"value"), &[]).unwrap();
        builder.seal(&seal, &mut Compressor::new()).unwrap()
    };
    append(&mut log, &at(10, "b", -1));
    // The header of its producer's last batch stays, with a time that no record has any more.
    append(&mut log, &at(900, "a", 0));
    append(&mut log, &at(20, "a", -1));
    while log.segment_count() < 3 {
        append(&mut log, &at(0, "c", -1));
    }
    log.reader().set_high_watermark(log.end_offset());
    clean(&mut cleaner(100), &mut log, None, NOW_MS);
    let emptied = headers(&log.reader()).into_iter().find(|header| header.producer_id == ProducerId(5));
    assert_eq!(emptied.map(|header| header.record_count), Some(0));
    let latest = |log: &Log| log.reader().max_timestamp(&mut Scratch::new()).unwrap().unwrap();
    let found = latest(&log);
    assert_eq!((found.offset, found.timestamp), (2, NOW_MS + 20));
    let recovery_point = log.close().unwrap();
    for clean in [true, false] {
        let checkpointed = Checkpointed { clean, recovery_point, log_start_offset: 0 };
        let (log, _) = dir.open(config(), &checkpointed);
        assert_eq!(latest(&log), found, "clean {clean}");
    }
}

#[test]
fn a_cut_in_a_gap_that_compaction_left_ends_the_log_where_the_next_start_finds_its_end() {
    let dir = Dir::new();
    let mut log = dir.create(config());
    put(&mut log, &[("stays", Some("x"))]);
    for _ in 0..4 {
        put(&mut log, &[("a", Some("x")), ("a", Some("y"))]);
    }
    roll(&mut log, NOW_MS);
    put(&mut log, &[("a", Some("z"))]);
    roll(&mut log, NOW_MS);
    clean(&mut cleaner(100), &mut log, None, NOW_MS);
    let bases: Vec<i64> = headers(&log.reader()).iter().map(|header| header.base_offset).collect();
    assert!(bases[0] == 0 && bases[1] > 5, "{bases:?}");
    log.truncate_to(4, NOW_MS, |_| Ok(())).unwrap();
    assert_eq!(log.end_offset(), 1);
    drop(log);
    let mut log = dir.reopen(config());
    assert_eq!(log.end_offset(), 1);
    assert_eq!(put(&mut log, &[("b", None)]), 1);
}

#[test]
fn rot_in_a_segment_that_was_being_exchanged_takes_none_of_those_behind_it() {
    let dir = Dir::new();
    let mut log = dir.create(config());
    for _ in 0..20 {
        put(&mut log, &[("a", Some("x")), ("b", Some("y"))]);
    }
    // As a crash leaves it when readers have gone over to the new segment.
    let crashed = Dir::new();
    clean_with(&mut cleaner(100), &mut log, None, NOW_MS, &mut |_, _| {
        let swaps = dir.names(".log.swap");
        let gone_over = swaps.iter().any(|swap| !dir.file(swap.trim_end_matches(".swap")).exists());
        if gone_over && !crashed.path().exists() {
            std::fs::create_dir(crashed.path()).unwrap();
            for name in dir.names("") {
                std::fs::copy(dir.file(&name), crashed.file(&name)).unwrap();
            }
        }
    })
    .unwrap();
    let path = crashed.file(&crashed.names(".log.swap")[0]);
    let whole = std::fs::read(&path).unwrap();
    let mut rotten = whole.clone();
    // The last offset of the first batch, relative to its first: Kafka's layout.
    rotten[25] ^= 1;
    std::fs::write(&path, rotten).unwrap();
    let before = crashed.names(".log");
    let opened = Log::open(&Disk::Real, &crashed.path(), config(), &Checkpointed::default(), NOW_MS);
    let error = opened.map(|_| ()).unwrap_err();
    assert!(matches!(error.kind(), LogErrorKind::Rot { position: 0, .. }), "{error}");
    assert_eq!(crashed.names(".log"), before);
    std::fs::write(&path, whole).unwrap();
    assert_eq!(crashed.reopen(config()).end_offset(), log.end_offset());
}

/// The rules in a few lines, over all that was ever appended.
#[derive(Default)]
struct Model {
    records: BTreeMap<i64, (KeyValue, i64)>,
    /// By a batch's base offset.
    horizons: HashMap<i64, i64>,
}

impl Model {
    /// Forgets what a round up to `end_offset` drops.
    fn clean(&mut self, end_offset: i64, now_ms: i64) {
        let mut latest = HashMap::new();
        for (offset, ((key, _), _)) in self.records.range(..end_offset) {
            latest.insert(key.clone(), *offset);
        }
        let horizons = &self.horizons;
        self.records.retain(|offset, ((key, value), batch)| {
            let waits = || horizons.get(batch).is_none_or(|horizon| now_ms < *horizon);
            *offset >= end_offset || (latest[key] == *offset && (value.is_some() || waits()))
        });
    }

    fn content(&self) -> BTreeMap<i64, KeyValue> {
        self.records.iter().map(|(offset, (record, _))| (*offset, record.clone())).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append { producer: Option<i64>, codec: Compression, records: Vec<(u8, Option<u8>)> },
    Roll,
    Clean { later_ms: i64, map_keys: usize },
    Restart { clean: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let codec = prop_oneof![
        Just(Compression::None),
        Just(Compression::Gzip),
        Just(Compression::Snappy),
        Just(Compression::Lz4),
        Just(Compression::Zstd)
    ];
    let record = (0_u8..12, proptest::option::weighted(0.7, any::<u8>()));
    let records = proptest::collection::vec(record, 1..6);
    let append = (proptest::option::of(0_i64..3), codec, records)
        .prop_map(|(producer, codec, records)| Step::Append { producer, codec, records });
    let keys = prop_oneof![4 => Just(1000_usize), 1 => 2_usize..8];
    prop_oneof![
        12 => append,
        2 => Just(Step::Roll),
        3 => (0_i64..4_000, keys).prop_map(|(later_ms, map_keys)| Step::Clean { later_ms, map_keys }),
        1 => any::<bool>().prop_map(|clean| Step::Restart { clean }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_log_holds_what_the_rules_leave_of_it(steps in proptest::collection::vec(step(), 1..90)) {
        let dir = Dir::new();
        let mut log = dir.create(config());
        let (mut model, mut sequences) = (Model::default(), HashMap::<i64, i32>::new());
        let (mut now_ms, mut cleaned, mut age_ms) = (NOW_MS, None, 0);
        for step in steps {
            match step {
                Step::Append { producer, codec, records } => {
                    let records: Vec<KeyValue> =
                        records.iter().map(|(k, v)| (vec![*k], v.map(|v| vec![v; 20]))).collect();
                    let seal = producer.map_or_else(Seal::default, |id| Seal {
                        producer_id: ProducerId(id),
                        producer_epoch: 0,
                        base_sequence: *sequences.entry(id).or_default(),
                        ..Seal::default()
                    });
                    let base = append(&mut log, &keyed(&records, codec, seal));
                    if let Some(id) = producer {
                        *sequences.entry(id).or_default() += records.len() as i32;
                    }
                    for (offset, record) in (base..).zip(records) {
                        model.records.insert(offset, (record, base));
                    }
                    log.reader().set_high_watermark(log.end_offset());
                }
                Step::Roll => {
                    age_ms += 8 * 24 * 3_600_000;
                    append(&mut log, &timed(&[(NOW_MS + age_ms, b"roll")], &Seal::default()));
                    log.reader().set_high_watermark(log.end_offset());
                }
                Step::Clean { later_ms, map_keys } => {
                    now_ms += later_ms;
                    let end = log.end_offset();
                    let (_, done) = clean(&mut cleaner(map_keys), &mut log, cleaned, now_ms);
                    prop_assert_eq!(log.end_offset(), end);
                    cleaned = Some(done.end_offset);
                    model.clean(done.end_offset, now_ms);
                    for batch in read_from(&log.reader(), 0) {
                        let header = batch.header();
                        let of_batch = model.records.range(header.base_offset..header.next_offset());
                        let tombstone = of_batch.clone().any(|(_, ((_, value), _))| value.is_none());
                        let known = model.horizons.get(&header.base_offset).copied();
                        match (known, header.delete_horizon_ms()) {
                            (None, Some(stamped)) => {
                                prop_assert!(tombstone);
                                prop_assert_eq!(stamped, now_ms + DELETE_RETENTION_MS);
                                model.horizons.insert(header.base_offset, stamped);
                            }
                            (None, None) => prop_assert!(!tombstone || header.next_offset() > done.end_offset),
                            (known, stamped) => prop_assert!(header.record_count == 0 || known == stamped),
                        }
                    }
                    assert_no_holes(&dir);
                }
                Step::Restart { clean } => {
                    let recovery_point = log.end_offset();
                    if clean {
                        log.close().unwrap();
                        let checkpointed = Checkpointed { clean, recovery_point, ..Checkpointed::default() };
                        log = dir.open(config(), &checkpointed).0;
                    } else {
                        drop(log);
                        log = dir.reopen(config());
                    }
                    log.reader().set_high_watermark(log.end_offset());
                }
            }
            prop_assert_eq!(records(&log.reader()), model.content());
        }
        // Every producer goes on where it was.
        for (id, sequence) in sequences {
            let seal = Seal {
                producer_id: ProducerId(id),
                producer_epoch: 0,
                base_sequence: sequence,
                ..Seal::default()
            };
            append(&mut log, &keyed(&[(vec![1], None)], Compression::None, seal));
        }
    }
}
