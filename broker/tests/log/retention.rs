//! Old segments: which go, what stays readable, and the log's start.

use ottla_broker::log::{CleanupPolicy, Deleted, ReadError, StartOffsetError};
use ottla_protocol::record::Seal;

use super::*;

fn config(cleanup: CleanupPolicy) -> LogConfig {
    LogConfig { cleanup, ..small(300) }
}

fn policy() -> CleanupPolicy {
    CleanupPolicy { retention_ms: None, ..CleanupPolicy::default() }
}

/// A log of `segments` segments of two batches each, one record a batch; a minute lies between two records. All of it
/// is committed.
fn filled(dir: &Dir, cleanup: CleanupPolicy, segments: i64) -> Log {
    let mut log = dir.create(config(cleanup));
    for i in 0..2 * segments {
        append(&mut log, &timed(&[(NOW_MS + 60_000 * i, &[b'x'; 60])], &Seal::default()));
    }
    assert_eq!(log.segment_count() as i64, segments);
    log.reader().set_high_watermark(log.end_offset());
    log
}

fn unlink(log: &mut Log, now_ms: i64) -> bool {
    log.unlink_due(now_ms).map(|task| task.run().unwrap()).is_some()
}

#[test]
fn segments_go_when_their_latest_record_is_too_old() {
    let dir = Dir::new();
    let mut log = filled(&dir, CleanupPolicy { retention_ms: Some(60_000), ..policy() }, 4);
    assert_eq!(log.retain(NOW_MS + 120_000).unwrap(), Deleted::default());
    let deleted = log.retain(NOW_MS + 120_001).unwrap();
    assert_eq!((deleted.by_age, deleted.segments(), log.start_offset(), log.segment_count()), (1, 1, 2, 3));
    let deleted = log.retain(NOW_MS + 360_001).unwrap();
    assert_eq!((deleted.by_age, log.start_offset(), log.segment_count()), (2, 6, 1));
    assert!(matches!(
        log.reader().read(5, 1000, i64::MAX, true),
        Err(ReadError::OutOfRange { start: 6, end: 8 })
    ));
    assert_eq!(content(&log.reader()).len(), 2);
}

#[test]
fn all_of_a_log_may_expire_and_offsets_go_on() {
    let dir = Dir::new();
    let mut log = filled(&dir, CleanupPolicy { retention_ms: Some(0), ..policy() }, 3);
    let later = NOW_MS + 60_000 * 100;
    let deleted = log.retain(later).unwrap();
    assert_eq!((deleted.by_age, log.start_offset(), log.end_offset(), log.segment_count()), (3, 6, 6, 1));
    assert_eq!(log.retain(later).unwrap(), Deleted::default(), "an empty segment stays");
    assert_eq!(append(&mut log, &batch(&[b"next"])), 6);
    log.close().unwrap();
    let log = dir.reopen(config(policy()));
    assert_eq!((log.start_offset(), log.end_offset(), content(&log.reader()).len()), (6, 7, 1));
    assert_eq!(dir.names(".deleted"), [""; 0], "the next start removes them");
}

#[test]
fn the_oldest_segments_go_as_far_as_the_rest_is_large_enough() {
    let dir = Dir::new();
    let mut log = filled(&dir, policy(), 4);
    let bytes: usize = read_from(&log.reader(), 0).iter().map(|b| b.bytes().len()).sum();
    let segment = bytes / 4;
    let limit = |bytes: usize| CleanupPolicy { retention_bytes: Some(bytes as u64), ..policy() };
    log.set_config(config(limit(3 * segment + 1)));
    assert_eq!(log.retain(NOW_MS).unwrap(), Deleted::default());
    log.set_config(config(limit(2 * segment)));
    let deleted = log.retain(NOW_MS).unwrap();
    assert_eq!((deleted.by_size, deleted.bytes as usize, log.start_offset()), (2, 2 * segment, 4));
    log.set_config(config(limit(0)));
    assert_eq!((log.retain(NOW_MS).unwrap().by_size, log.start_offset(), log.end_offset()), (2, 8, 8));
}

#[test]
fn nothing_goes_that_is_not_committed_nor_without_the_policy() {
    let dir = Dir::new();
    let mut log = filled(&dir, CleanupPolicy { retention_ms: Some(0), ..policy() }, 3);
    let later = NOW_MS + 60_000 * 100;
    log.reader().set_high_watermark(3);
    assert_eq!((log.retain(later).unwrap().by_age, log.start_offset()), (1, 2));
    log.reader().set_high_watermark(6);
    for cleanup in [
        CleanupPolicy { retention_ms: None, ..policy() },
        CleanupPolicy { delete: false, compact: true, retention_bytes: Some(0), ..policy() },
    ] {
        log.set_config(config(cleanup));
        assert_eq!(log.retain(later).unwrap(), Deleted::default());
    }
}

#[test]
fn records_below_a_new_start_are_gone_and_their_segments_follow() {
    let dir = Dir::new();
    let mut log = filled(&dir, CleanupPolicy { delete: false, compact: true, ..policy() }, 4);
    append(&mut log, &batch(&[b"not committed"]));
    log.reader().set_high_watermark(8);
    assert!(matches!(
        log.advance_start_offset(9),
        Err(StartOffsetError::OutOfRange { offset: 9, high_watermark: 8 })
    ));
    assert!(log.advance_start_offset(5).unwrap());
    assert!(!log.advance_start_offset(5).unwrap());
    assert_eq!(log.start_offset(), 5);
    assert!(matches!(log.reader().read(4, 1000, i64::MAX, true), Err(ReadError::OutOfRange { .. })));
    assert_eq!(log.reader().epoch_of(4), None, "the epoch begins where the log does");
    assert_eq!(log.reader().epoch_of(5), Some(EPOCH));
    let deleted = log.retain(NOW_MS).unwrap();
    assert_eq!((deleted.below_start, log.start_offset(), log.segment_count()), (2, 5, 3));
    let checkpointed = Checkpointed { log_start_offset: 5, ..Checkpointed::default() };
    drop(log);
    let (log, _) = dir.open(config(policy()), &checkpointed);
    assert_eq!((log.start_offset(), log.end_offset(), log.reader().epoch_of(4)), (5, 9, None));
}

#[test]
fn who_reads_a_segment_keeps_it_until_long_after_it_was_deleted() {
    let dir = Dir::new();
    let cleanup = CleanupPolicy { retention_ms: Some(0), file_delete_delay_ms: 1000, ..policy() };
    let mut log = filled(&dir, cleanup, 3);
    let slices = log.reader().read(0, usize::MAX, i64::MAX, true).unwrap();
    let before: Vec<Bytes> = slices.slices.iter().map(|s| s.read().unwrap()).collect();
    let now_ms = NOW_MS + 60_000 * 100;
    assert_eq!(log.retain(now_ms).unwrap().segments(), 3);
    let aside = dir.names(".log.deleted");
    assert_eq!(aside.len(), 3, "{aside:?}");
    assert_eq!(dir.names(".log").len(), 1);
    assert!(!unlink(&mut log, now_ms + 999));
    assert_eq!(dir.names(".log.deleted").len(), 3);
    assert!(unlink(&mut log, now_ms + 1000));
    assert_eq!(dir.names(".deleted"), [""; 0]);
    assert!(!unlink(&mut log, now_ms + 1000));
    let after: Vec<Bytes> = slices.slices.iter().map(|s| s.read().unwrap()).collect();
    assert_eq!(before, after);
}

#[test]
fn snapshots_of_deleted_segments_go_and_the_newest_stays() {
    let dir = Dir::new();
    let mut log = dir.create(config(CleanupPolicy { retention_ms: Some(0), ..policy() }));
    for sequence in 0..16 {
        append(&mut log, &sequenced(1, 0, sequence, 1));
    }
    log.reader().set_high_watermark(log.end_offset());
    assert!(dir.names(".snapshot").len() > 2, "{:?}", dir.names(".snapshot"));
    log.retain(NOW_MS + 1).unwrap();
    assert_eq!(dir.names(".snapshot"), ["00000000000000000016.snapshot"]);
    drop(log);
    let mut log = dir.reopen(config(policy()));
    assert!(append_all(&mut log, &[sequenced(1, 0, 15, 1)]).remove(0).unwrap().duplicate);
    assert_eq!(append(&mut log, &sequenced(1, 0, 16, 1)), 16);
}

#[test]
fn segments_of_one_age_do_not_all_roll_at_once() {
    let rolled_after = |jitter_ms: i64, seed: i64| {
        let dir = Dir::new();
        let mut log =
            dir.create(LogConfig { roll_ms: 1000, roll_jitter_ms: jitter_ms, ..LogConfig::default() });
        // Another base offset, another part.
        append(&mut log, &timed(&vec![(NOW_MS, b"x".as_slice()); seed as usize], &Seal::default()));
        append(&mut log, &timed(&[(NOW_MS + 100_000, b"x")], &Seal::default()));
        (0..).find(|ms| {
            append(&mut log, &timed(&[(NOW_MS + 100_000 + ms, b"x")], &Seal::default()));
            log.segment_count() > 2
        })
    };
    assert_eq!((rolled_after(0, 1), rolled_after(0, 2)), (Some(1001), Some(1001)));
    let jittered: Vec<i64> = (1..6).map(|seed| rolled_after(600, seed).unwrap()).collect();
    assert!(jittered.iter().all(|ms| (401..=1001).contains(ms)), "{jittered:?}");
    assert!(jittered.windows(2).any(|w| w[0] != w[1]), "{jittered:?}");
}

#[test]
fn a_torn_end_before_the_start_of_a_log_is_no_rot_where_nothing_was_flushed() {
    let dir = Dir::new();
    let mut log = dir.create(small(100_000));
    for i in 0..4 {
        append(&mut log, &sequenced(1, 0, 5 * i, 5));
    }
    drop(log);
    let starts = |log_start_offset| Checkpointed { log_start_offset, ..Checkpointed::default() };
    let (log, _) = dir.open(small(100_000), &starts(17));
    let recovery_point = log.recovery_point();
    drop(log);
    // The power goes before the flush, and the records with it.
    let segment = dir.file(&dir.names(".log")[0]);
    let whole = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &whole[..whole.len() / 2 + 9]).unwrap();
    let (mut log, recovered) = dir.open(small(100_000), &Checkpointed { recovery_point, ..starts(17) });
    assert_eq!((log.start_offset(), log.end_offset(), recovered.missing_offsets), (10, 10, 0));
    assert_eq!(append(&mut log, &sequenced(2, 0, 0, 1)), 10);
}

#[test]
fn a_start_within_a_batch_that_is_cut_goes_back_with_the_end() {
    let dir = Dir::new();
    let mut log = dir.create(small(100_000));
    for i in 0..4 {
        append(&mut log, &sequenced(1, 0, 5 * i, 5));
    }
    log.reader().set_high_watermark(20);
    log.advance_start_offset(12).unwrap();
    log.truncate_to(13, NOW_MS, |_| Ok(())).unwrap();
    assert_eq!((log.start_offset(), log.end_offset()), (10, 10));
    assert_eq!(append(&mut log, &sequenced(1, 0, 10, 5)), 10);
    assert_eq!(read_from(&log.reader(), 10).len(), 1);
}

#[test]
fn records_that_a_crash_brings_back_have_their_epochs() {
    // With the first segment's index lost, it is walked, and the second is not.
    for index_lost in [false, true] {
        let dir = Dir::new();
        let mut log = dir.create(small(300));
        for epoch in 3..9 {
            let mut results = Vec::new();
            log.append(&mut vec![sequenced(1, 0, 5 * (epoch - 3), 5).into()], epoch, NOW_MS, &mut results);
            results.remove(0).unwrap();
        }
        assert_eq!(log.segment_count(), 3);
        log.reader().set_high_watermark(30);
        log.advance_start_offset(22).unwrap();
        let reader = log.reader();
        assert_eq!((reader.epoch_of(12), reader.epoch_of(22)), (None, Some(7)));
        let flushed = log.flush_task().unwrap().run().unwrap();
        log.flushed(&flushed, NOW_MS);
        drop(log);
        // The start had not been checkpointed, or an older one had.
        for start in [22, 12, 0] {
            if index_lost {
                std::fs::remove_file(dir.file(&dir.names(".index")[0])).unwrap();
            }
            let checkpointed = Checkpointed { clean: false, recovery_point: 30, log_start_offset: start };
            let (log, _) = dir.open(small(300), &checkpointed);
            let reader = log.reader();
            for offset in start..30 {
                assert_eq!(reader.epoch_of(offset), Some(3 + offset as i32 / 5), "{offset}, from {start} on");
            }
        }
    }
}
