//! No batch is stored twice, and none is missing, whatever the broker goes through.

use std::{collections::HashMap, fs};

use ottla_broker::log::{AppendError, BATCHES_RETAINED, LogConfig, ProducerError};
use proptest::prelude::*;

use super::*;

/// Where a duplicate was stored; `None` if the batch is no duplicate.
fn duplicate(log: &mut Log, batch: &Batch) -> Option<(i64, i64)> {
    let appended = append_all(log, std::slice::from_ref(batch)).remove(0).ok()?;
    appended.duplicate.then_some((appended.base_offset, appended.last_offset))
}

fn refused(log: &mut Log, batch: &Batch) -> ProducerError {
    match append_all(log, std::slice::from_ref(batch)).remove(0) {
        Err(AppendError::Producer(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_duplicate_gets_its_first_offset_also_within_one_call() {
    let dir = Dir::new();
    let mut log = dir.create(LogConfig::default());
    let (first, second) = (sequenced(1, 0, 0, 3), sequenced(1, 0, 3, 2));
    let calls = [first.clone(), second.clone(), first.clone(), second.clone(), sequenced(1, 0, 9, 1)];
    let results = append_all(&mut log, &calls);
    let places: Vec<_> =
        results[..4].iter().flatten().map(|a| (a.base_offset, a.last_offset, a.duplicate)).collect();
    assert_eq!(places, [(0, 2, false), (3, 4, false), (0, 2, true), (3, 4, true)]);
    assert!(matches!(
        results[4],
        Err(AppendError::Producer(ProducerError::OutOfOrderSequence { expected: 5, found: 9 }))
    ));
    assert_eq!(content(&log.reader()).len(), 2);
}

/// The ways in which a broker may end and start.
#[derive(Clone, Copy, Debug)]
enum Stop {
    Clean,
    Crash,
    /// A crash after which the newest snapshot cannot be read.
    CrashAndSnapshotLost,
    /// A crash after which no snapshot can be read.
    CrashAndSnapshotsDamaged,
}

const STOPS: [Stop; 4] =
    [Stop::Clean, Stop::Crash, Stop::CrashAndSnapshotLost, Stop::CrashAndSnapshotsDamaged];

fn restart(dir: &Dir, log: Log, config: LogConfig, stop: Stop) -> Log {
    let mut checkpointed = Checkpointed::default();
    match stop {
        Stop::Clean => {
            checkpointed =
                Checkpointed { clean: true, recovery_point: log.close().unwrap(), log_start_offset: 0 };
        }
        Stop::Crash => drop(log),
        Stop::CrashAndSnapshotLost => {
            drop(log);
            if let Some(name) = dir.names(".snapshot").last() {
                fs::remove_file(dir.file(name)).unwrap();
            }
        }
        Stop::CrashAndSnapshotsDamaged => {
            drop(log);
            dir.names(".snapshot")
                .iter()
                .for_each(|name| fs::write(dir.file(name), b"\0\x01damaged").unwrap());
        }
    }
    dir.open(config, &checkpointed).0
}

#[test]
fn the_last_five_batches_are_known_with_their_offsets_after_every_kind_of_stop() {
    for stop in STOPS {
        for segment_bytes in [500, 100_000] {
            let dir = Dir::new();
            let mut log = dir.create(small(segment_bytes));
            for i in 0..9 {
                append(&mut log, &sequenced(1, 2, i * 3, 3));
                append(&mut log, &sequenced(2, 0, i, 1));
            }
            let mut log = restart(&dir, log, small(segment_bytes), stop);
            let why = format!("{stop:?}, segments of {segment_bytes}");
            for i in 9 - BATCHES_RETAINED as i32..9 {
                let base = i64::from(i) * 4;
                assert_eq!(duplicate(&mut log, &sequenced(1, 2, i * 3, 3)), Some((base, base + 2)), "{why}");
                assert_eq!(duplicate(&mut log, &sequenced(2, 0, i, 1)), Some((base + 3, base + 3)), "{why}");
            }
            refused(&mut log, &sequenced(1, 2, 3 * 3, 3));
            let gap = refused(&mut log, &sequenced(1, 2, 28, 1));
            assert_eq!(gap, ProducerError::OutOfOrderSequence { expected: 27, found: 28 }, "{why}");
            let fenced = refused(&mut log, &sequenced(1, 1, 27, 1));
            assert_eq!(fenced, ProducerError::InvalidProducerEpoch { current: 2, found: 1 }, "{why}");
            assert_eq!(append(&mut log, &sequenced(1, 2, 27, 1)), 36, "{why}");
        }
    }
}

#[test]
fn the_batch_that_a_crash_tore_off_may_be_sent_again() {
    let dir = Dir::new();
    let mut log = dir.create(LogConfig::default());
    append(&mut log, &sequenced(1, 0, 0, 3));
    append(&mut log, &sequenced(1, 0, 3, 3));
    drop(log);
    let path = dir.file(&dir.names(".log")[0]);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let mut log = dir.reopen(LogConfig::default());
    assert_eq!(duplicate(&mut log, &sequenced(1, 0, 0, 3)), Some((0, 2)));
    assert_eq!(append(&mut log, &sequenced(1, 0, 3, 3)), 3);
}

#[test]
fn idle_producers_are_forgotten_in_their_time() {
    let dir = Dir::new();
    let mut log = dir.create(LogConfig { producer_id_expiration_ms: 1000, ..LogConfig::default() });
    append(&mut log, &sequenced(1, 0, 0, 1));
    log.expire_producers(NOW_MS + 999);
    assert_eq!(log.producer_count(), 1);
    log.expire_producers(NOW_MS + 1000);
    assert_eq!(log.producer_count(), 0);
    assert_eq!(append(&mut log, &sequenced(1, 0, 5, 1)), 1, "a forgotten producer may go on anywhere");
}

#[test]
fn many_producers_do_not_grow_memory_without_end() {
    let dir = Dir::new();
    let mut log = dir.create(LogConfig { max_producers: 100, ..LogConfig::default() });
    for id in 0..500 {
        append(&mut log, &sequenced(id, 0, 0, 1));
        assert!(log.producer_count() <= 100);
    }
    assert!(log.producer_count() > 80);
}

/// What happens to a log: a producer sends its next batch (of some records), sends one of its last again, skips some,
/// or the broker stops.
#[derive(Clone, Debug)]
enum Event {
    Send(i64, usize),
    Again(i64, usize),
    Skip(i64),
    NewEpoch(i64),
    Stop(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let producer = || 0_i64..3;
    let event = prop_oneof![
        6 => (producer(), 1_usize..4).prop_map(|(p, n)| Event::Send(p, n)),
        3 => (producer(), 0..BATCHES_RETAINED).prop_map(|(p, back)| Event::Again(p, back)),
        1 => producer().prop_map(Event::Skip),
        1 => producer().prop_map(Event::NewEpoch),
        1 => (0..STOPS.len()).prop_map(Event::Stop),
    ];
    proptest::collection::vec(event, 1..120)
}

/// What a producer did.
#[derive(Default)]
struct Model {
    epoch: i16,
    next: i32,
    /// Batches of this epoch, with where they are.
    sent: Vec<(Batch, i64)>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the order of sends, retries and stops, the log holds each batch once and in order.
    #[test]
    fn each_batch_is_stored_once(events in events(), segment_bytes in 300_u32..2000) {
        let dir = Dir::new();
        let mut log = dir.create(small(segment_bytes));
        let mut producers: HashMap<i64, Model> = HashMap::new();
        let mut stored: Vec<(i64, Bytes)> = Vec::new();
        for event in events {
            match event {
                Event::Send(id, records) => {
                    let model = producers.entry(id).or_default();
                    let batch = sequenced(id, model.epoch, model.next, records);
                    let offset = append(&mut log, &batch);
                    stored.push((offset, batch.record_block()));
                    model.next += records as i32;
                    model.sent.push((batch, offset));
                }
                Event::Again(id, back) => {
                    let model = producers.entry(id).or_default();
                    if let Some((batch, offset)) = model.sent.iter().rev().nth(back) {
                        prop_assert_eq!(duplicate(&mut log, batch).map(|d| d.0), Some(*offset));
                    }
                }
                Event::Skip(id) => {
                    let model = producers.entry(id).or_default();
                    if !model.sent.is_empty() {
                        refused(&mut log, &sequenced(id, model.epoch, model.next + 1, 1));
                    }
                }
                Event::NewEpoch(id) => {
                    let model = producers.entry(id).or_default();
                    *model = Model { epoch: model.epoch + 1, ..Model::default() };
                }
                Event::Stop(stop) => log = restart(&dir, log, small(segment_bytes), STOPS[stop]),
            }
        }
        prop_assert_eq!(content(&log.reader()), stored);
    }
}
