//! Power cuts and failed flushes, one at a time, on a simulated disk; `log_simulation` mixes them all.

use ottla_broker::log::{Faults, LogErrorKind, SimulatedDisk};

use super::*;

/// Power cuts that are tried, each with accidents of its own.
const SEEDS: u64 = 100;

struct Machine {
    simulated: SimulatedDisk,
    disk: Disk,
}

fn path() -> &'static Path {
    Path::new("/data/orders-0")
}

impl Machine {
    fn new(seed: u64) -> Self {
        let simulated = SimulatedDisk::new(seed);
        Self { disk: Disk::Simulated(simulated.clone()), simulated }
    }

    /// A log of ten batches in small segments, flushed, though nobody told the log.
    fn log(&self) -> Log {
        let mut log = Log::create(&self.disk, path(), Uuid(7), small(700), NOW_MS).unwrap();
        for i in 1..=10 {
            append(&mut log, &sequenced(1, 0, 5 * (i - 1), 5));
        }
        log.flush_task().unwrap().run().unwrap();
        log
    }

    fn open(&self, recovery_point: i64) -> Log {
        let checkpointed = Checkpointed { recovery_point, ..Checkpointed::default() };
        Log::open(&self.disk, path(), small(700), &checkpointed, NOW_MS).unwrap().0
    }
}

fn flush(log: &mut Log) {
    let flushed = log.flush_task().unwrap().run().unwrap();
    log.flushed(&flushed, NOW_MS);
}

/// A machine whose data directory is there for good, as a broker's start leaves it.
fn machine(seed: u64) -> Machine {
    let machine = Machine::new(seed);
    drop(ottla_broker::log::LogDirectory::open(machine.disk.clone(), Path::new("/data")).unwrap());
    machine
}

#[test]
fn what_a_killed_process_did_not_flush_is_flushed_by_the_next() {
    for seed in 0..SEEDS {
        let machine = machine(seed);
        let mut log = machine.log();
        for i in 11..=20 {
            append(&mut log, &sequenced(1, 0, 5 * (i - 1), 5));
        }
        let expected = content(&log.reader());
        drop(log);
        machine.simulated.restart();
        let mut log = machine.open(0);
        flush(&mut log);
        assert_eq!(log.recovery_point(), 100);
        drop(log);
        machine.simulated.power_cut();
        assert!(content(&machine.open(100).reader()) == expected, "seed {seed}");
    }
}

#[test]
fn a_failed_flush_names_its_file_and_the_next_process_writes_again_what_looked_flushed() {
    for seed in 0..SEEDS {
        let machine = machine(seed);
        let mut log = machine.log();
        append(&mut log, &sequenced(1, 0, 50, 5));
        let expected = content(&log.reader());
        machine.simulated.set_faults(Faults { sync_fails_one_in: 1, ..Faults::default() });
        let error = log.flush_task().unwrap().run().unwrap_err();
        assert!(error.path().starts_with(path()), "{error}");
        let closed = append_all(&mut log, &[sequenced(1, 0, 55, 5)]).remove(0).unwrap_err();
        let AppendError::Log(closed) = closed else { panic!("{closed}") };
        assert!(matches!(closed.kind(), LogErrorKind::Failed { .. }) && closed.path() == path(), "{closed}");
        drop(log);
        machine.simulated.restart();
        let mut log = machine.open(50);
        flush(&mut log);
        drop(log);
        machine.simulated.power_cut();
        assert!(content(&machine.open(55).reader()) == expected, "seed {seed}");
    }
}

#[test]
fn a_flush_from_before_a_cut_vouches_for_nothing_that_came_after() {
    let machine = machine(1);
    let mut log = machine.log();
    append(&mut log, &sequenced(1, 0, 50, 5));
    let flushed = log.flush_task().unwrap().run().unwrap();
    log.truncate_to(20, NOW_MS, |_| Ok(())).unwrap();
    for i in 5..=15 {
        append(&mut log, &sequenced(1, 0, 5 * (i - 1), 5));
    }
    log.flushed(&flushed, NOW_MS);
    assert!(log.recovery_point() <= 20, "{}", log.recovery_point());
    flush(&mut log);
    assert_eq!(log.recovery_point(), 75);
}

#[test]
fn what_was_cut_does_not_come_back_behind_what_is_appended_in_its_place() {
    for seed in 0..SEEDS {
        let machine = machine(seed);
        let mut log = machine.log();
        log.truncate_to(20, NOW_MS, |_| Ok(())).unwrap();
        let kept = content(&log.reader());
        append(&mut log, &batch(&[b"in its place"]));
        let all = content(&log.reader());
        drop(log);
        machine.simulated.power_cut();
        let found = content(&machine.open(20).reader());
        assert!(found == kept || found == all, "seed {seed}");
    }
}

#[test]
fn a_log_whose_caches_are_all_spoiled_is_what_it_was() {
    for (seed, spoiled) in
        [b"".as_slice(), b"\0\0\0\0\0\0\0\0\0\0\0\0", b"0\n1\n3 1", &[0xff; 24]].iter().enumerate()
    {
        let machine = machine(seed as u64);
        let log = machine.log();
        let expected = content(&log.reader());
        let recovery_point = log.close().unwrap();
        for name in machine.simulated.names(path()).unwrap() {
            if !name.ends_with(".log") && name != "partition.metadata" {
                machine.simulated.overwrite(&path().join(name), spoiled).unwrap();
            }
        }
        let clean = Checkpointed { clean: true, recovery_point, log_start_offset: 0 };
        let (mut log, recovered) = Log::open(&machine.disk, path(), small(700), &clean, NOW_MS).unwrap();
        assert!(content(&log.reader()) == expected);
        assert!(recovered.indexes_rebuilt > 0 || spoiled.len() == 12);
        assert_eq!(log.reader().latest_epoch().map(|e| (e.epoch, e.start_offset)), Some((EPOCH, 0)));
        let again = append_all(&mut log, &[sequenced(1, 0, 45, 5)]).remove(0).unwrap();
        assert_eq!((again.base_offset, again.duplicate), (45, true));
    }
}

#[test]
fn segments_that_could_not_be_set_aside_go_before_those_behind_them() {
    let machine = machine(1);
    let mut log = Log::create(&machine.disk, path(), Uuid(7), small(300), NOW_MS).unwrap();
    for i in 0..10 {
        append(&mut log, &sequenced(1, 0, 5 * i, 5));
    }
    flush(&mut log);
    log.reader().set_high_watermark(50);
    log.advance_start_offset(20).unwrap();
    let stop_at = Some(machine.simulated.changes());
    machine.simulated.set_faults(Faults { stop_at, ..Faults::default() });
    log.retain(NOW_MS).unwrap_err();
    machine.simulated.set_faults(Faults::default());
    log.advance_start_offset(40).unwrap();
    assert_eq!(log.retain(NOW_MS).unwrap().below_start, 2);
    drop(log);
    machine.simulated.restart();
    let log = machine.open(50);
    assert_eq!((log.start_offset(), log.end_offset()), (40, 50));
}
