//! After a crash, everything that was whole is there; what was torn is gone; and damage is never mistaken for it.

use std::fs;

use ottla_broker::log::{LogError, LogErrorKind};
use ottla_protocol::record::Scratch;
use proptest::prelude::*;

use super::*;

/// A log of ten batches in small segments, dropped as a crash would.
fn crashed(dir: &Dir, segment_bytes: u32) -> Vec<(i64, Bytes)> {
    let mut log = dir.create(small(segment_bytes));
    for i in 0..10_u8 {
        append(&mut log, &batch(&[&[i; 100], &[i; 30]]));
    }
    content(&log.reader())
}

fn last_segment(dir: &Dir) -> PathBuf {
    dir.file(dir.names(".log").last().unwrap())
}

fn open(dir: &Dir, checkpointed: &Checkpointed) -> Result<(Log, Recovered), LogError> {
    Log::open(&Disk::Real, &dir.path(), small(100_000), checkpointed, NOW_MS)
}

/// That the log is refused for damage at this byte, and that nothing was changed.
fn assert_rotten(dir: &Dir, checkpointed: &Checkpointed, at: u64) {
    let before: Vec<_> = dir.names(".log").iter().map(|n| fs::read(dir.file(n)).unwrap()).collect();
    let error = open(dir, checkpointed).map(|_| ()).unwrap_err();
    assert!(
        matches!(error.kind(), LogErrorKind::Rot { position, .. } if *position == at),
        "damage at {at}: {error}"
    );
    let after: Vec<_> = dir.names(".log").iter().map(|n| fs::read(dir.file(n)).unwrap()).collect();
    assert!(before == after);
}

#[test]
fn a_log_torn_at_any_byte_of_its_last_batch_keeps_all_before_it() {
    let dir = Dir::new();
    let expected = crashed(&dir, 100_000);
    let path = last_segment(&dir);
    let whole = fs::read(&path).unwrap();
    let last_batch = whole.len() / 10;
    for torn in 1..=last_batch {
        let left = whole.len() - torn;
        // The bytes are missing, or were never written to the blocks that the file was given, or are others'.
        for tail in [Vec::new(), vec![0; torn], vec![0xa5; torn]] {
            let found = [&whole[..left], &tail].concat();
            if found == whole {
                continue;
            }
            fs::write(&path, found).unwrap();
            let (mut log, recovered) = open(&dir, &Checkpointed::default()).unwrap();
            assert!(content(&log.reader()) == expected[..9], "{torn} bytes torn");
            assert_eq!((log.end_offset(), recovered.end_offset), (18, 18));
            let cut = last_batch - torn + tail.len();
            assert_eq!(recovered.torn_bytes, cut as u64);
            assert_eq!(append(&mut log, &batch(&[b"next"])), 18);
            assert_eq!(content(&log.reader()).len(), 10);
        }
    }
}

#[test]
fn a_flipped_byte_in_the_last_batch_is_torn_and_anywhere_before_it_is_rot() {
    let dir = Dir::new();
    crashed(&dir, 100_000);
    let path = last_segment(&dir);
    let whole = fs::read(&path).unwrap();
    let batch_bytes = whole.len() / 10;
    for at in 0..whole.len() {
        // Offset and leader epoch lie outside of the CRC: any epoch is as good as another, and any offset that
        // ascends.
        let in_batch = at % batch_bytes;
        if (12..16).contains(&in_batch) || in_batch < 8 {
            continue;
        }
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        fs::write(&path, &damaged).unwrap();
        let batch_at = at / batch_bytes * batch_bytes;
        if batch_at == whole.len() - batch_bytes {
            let (log, recovered) = open(&dir, &Checkpointed::default()).unwrap();
            assert_eq!((log.end_offset(), recovered.torn_bytes), (18, batch_bytes as u64), "byte {at}");
        } else {
            assert_rotten(&dir, &Checkpointed::default(), batch_at as u64);
        }
    }
}

#[test]
fn a_hole_of_zeros_is_what_a_power_cut_took_and_rot_where_it_was_flushed() {
    let dir = Dir::new();
    crashed(&dir, 100_000);
    let path = last_segment(&dir);
    let mut bytes = fs::read(&path).unwrap();
    let batch_bytes = bytes.len() / 10;
    let sound = bytes.clone();
    bytes[3 * batch_bytes..6 * batch_bytes].fill(0);
    fs::write(&path, &bytes).unwrap();
    let flushed = Checkpointed { recovery_point: 7, ..Checkpointed::default() };
    assert_rotten(&dir, &flushed, 3 * batch_bytes as u64);
    // Whole sectors are missing, and nothing says that they ever were on the medium.
    let almost = Checkpointed { recovery_point: 6, ..Checkpointed::default() };
    let (log, recovered) = open(&dir, &almost).unwrap();
    assert_eq!((log.end_offset(), recovered.torn_bytes), (6, 7 * batch_bytes as u64));
    drop(log);
    // Zeros that are no sector are something else.
    bytes = sound;
    bytes[3 * batch_bytes + 20..3 * batch_bytes + 40].fill(0);
    fs::write(&path, &bytes).unwrap();
    assert_rotten(&dir, &almost, 3 * batch_bytes as u64);
}

#[test]
fn what_had_been_flushed_is_never_cut() {
    let dir = Dir::new();
    crashed(&dir, 100_000);
    let path = last_segment(&dir);
    let whole = fs::read(&path).unwrap();
    let batch_bytes = whole.len() / 10;
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    let flushed = Checkpointed { recovery_point: 20, ..Checkpointed::default() };
    assert_rotten(&dir, &flushed, 9 * batch_bytes as u64);
    let almost = Checkpointed { recovery_point: 18, ..Checkpointed::default() };
    let (log, recovered) = open(&dir, &almost).unwrap();
    assert_eq!((log.end_offset(), recovered.torn_bytes), (18, batch_bytes as u64 - 5));
    drop(log);
    // Whole batches that were flushed and are gone are told.
    let (log, recovered) = open(&dir, &flushed).unwrap();
    assert_eq!((log.end_offset(), recovered.missing_offsets, log.recovery_point()), (18, 2, 18));
}

#[test]
fn a_batch_inside_a_torn_record_is_no_sign_of_rot() {
    let dir = Dir::new();
    let mut log = dir.create(small(100_000));
    append(&mut log, &batch(&[b"a"]));
    // A mirror of another log stores batches as values, with offsets that could follow here.
    let inner = batch(&[b"inner"]).stamped(5, EPOCH);
    append(&mut log, &batch(&[&[inner.bytes().as_ref(), &[7; 100]].concat()]));
    drop(log);
    let path = last_segment(&dir);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let (log, recovered) = open(&dir, &Checkpointed::default()).unwrap();
    assert_eq!(log.end_offset(), 1);
    assert!(recovered.torn_bytes > 0);
}

#[test]
fn a_crash_around_a_roll_loses_nothing() {
    // The last segment has one batch. It is whole, torn, empty, or was not even made.
    for torn in [Some(0), Some(1), Some(180), Some(usize::MAX), None] {
        // Three batches a segment.
        let dir = Dir::new();
        let expected = crashed(&dir, 700);
        assert_eq!(dir.names(".log").len(), 4);
        let last = last_segment(&dir);
        let bytes = fs::read(&last).unwrap();
        match torn {
            Some(torn) => fs::write(&last, &bytes[..bytes.len().saturating_sub(torn)]).unwrap(),
            None => fs::remove_file(&last).unwrap(),
        }
        let (mut log, _) = open(&dir, &Checkpointed::default()).unwrap();
        let kept = if torn == Some(0) { 10 } else { 9 };
        assert!(content(&log.reader()) == expected[..kept], "{torn:?} bytes torn");
        assert_eq!(append(&mut log, &batch(&[b"next"])), kept as i64 * 2);
        drop(log);
        let again = dir.reopen(small(700));
        assert_eq!(content(&again.reader()).len(), kept + 1);
    }
}

#[test]
fn a_power_cut_may_tear_two_segments_at_once() {
    let dir = Dir::new();
    let expected = crashed(&dir, 700);
    let paths: Vec<PathBuf> = dir.names(".log").iter().map(|name| dir.file(name)).collect();
    let third = fs::read(&paths[2]).unwrap();
    fs::write(&paths[2], &third[..third.len() - 1]).unwrap();
    let fourth = fs::read(&paths[3]).unwrap();
    fs::write(&paths[3], &fourth[..fourth.len() - 1]).unwrap();
    let (log, recovered) = open(&dir, &Checkpointed::default()).unwrap();
    assert!(content(&log.reader()) == expected[..8]);
    assert_eq!(recovered.torn_bytes, (third.len() / 3 - 1 + fourth.len() - 1) as u64);
    assert_eq!(dir.names(".log").len(), 3);
}

#[test]
fn a_segment_that_is_too_short_is_rot_where_it_was_flushed_and_else_the_end_of_the_log() {
    let dir = Dir::new();
    crashed(&dir, 700);
    let second = dir.file(&dir.names(".log")[1]);
    let whole = fs::read(&second).unwrap();
    let batch_bytes = whole.len() as u64 / 3;
    fs::write(&second, &whole[..whole.len() - 1]).unwrap();
    let flushed = Checkpointed { recovery_point: 11, ..Checkpointed::default() };
    assert_rotten(&dir, &flushed, 2 * batch_bytes);
    // Even where the cut falls between two batches.
    fs::write(&second, &whole[..2 * batch_bytes as usize]).unwrap();
    assert_rotten(&dir, &flushed, 2 * batch_bytes);
    // A power cut may take the length of one file, and leave those behind it.
    let almost = Checkpointed { recovery_point: 10, ..Checkpointed::default() };
    let (log, recovered) = open(&dir, &almost).unwrap();
    assert_eq!((log.end_offset(), dir.names(".log").len()), (10, 2));
    assert_eq!(recovered.torn_bytes, 4 * batch_bytes);
}

#[test]
fn a_clean_stop_leaves_files_and_the_next_start_believes_them() {
    let dir = Dir::new();
    let mut log = dir.create(small(700));
    for i in 0..10_u8 {
        append(&mut log, &batch(&[&[i; 100], &[i; 30]]));
    }
    let expected = content(&log.reader());
    let recovery_point = log.close().unwrap();
    assert_eq!(recovery_point, 20);
    assert_eq!((dir.names(".index").len(), dir.names(".timeindex").len()), (4, 4));
    assert_eq!(dir.names(".snapshot").last().unwrap(), &format!("{:020}.snapshot", 20));
    let clean = Checkpointed { clean: true, recovery_point, log_start_offset: 0 };
    for _ in 0..2 {
        let (mut log, recovered) = dir.open(small(700), &clean);
        assert_eq!(recovered, Recovered { end_offset: 20, ..Recovered::default() });
        assert_eq!(content(&log.reader()), expected);
        assert_eq!(append(&mut log, &batch(&[b"next"])), 20);
        log.truncate_to(20, NOW_MS, |_| Ok(())).unwrap();
        assert_eq!(log.close().unwrap(), 20);
    }
}

#[test]
fn a_log_that_was_not_changed_is_closed_without_writing() {
    let dir = Dir::new();
    let mut log = dir.create(small(700));
    append(&mut log, &sequenced(1, 0, 0, 1));
    let clean = Checkpointed { clean: true, recovery_point: log.close().unwrap(), log_start_offset: 0 };
    let (mut log, _) = dir.open(small(700), &clean);
    let index = dir.file(&dir.names(".timeindex")[0]);
    fs::write(&index, b"not written").unwrap();
    assert_eq!(log.flush_task().map(|_| ()), None);
    assert_eq!(log.close().unwrap(), 1);
    assert_eq!(fs::read(&index).unwrap(), b"not written");
    // One that had to be mended is written.
    (log, _) = dir.open(small(700), &clean);
    assert_eq!(log.close().unwrap(), 1);
    assert_eq!(fs::read(&index).unwrap().len(), 12);
    // And so is one that was appended to.
    (log, _) = dir.open(small(700), &clean);
    append(&mut log, &sequenced(1, 0, 1, 1));
    assert_eq!(log.close().unwrap(), 2);
    assert_eq!(dir.names(".snapshot"), [format!("{:020}.snapshot", 1), format!("{:020}.snapshot", 2)]);
    dir.open(small(700), &Checkpointed { recovery_point: 2, ..clean });
    assert_eq!(dir.names(".snapshot"), [format!("{:020}.snapshot", 2)], "an old snapshot of no segment goes");
}

#[test]
fn index_files_that_are_lost_or_damaged_are_made_anew() {
    let dir = Dir::new();
    let mut log = dir.create(small(700));
    for i in 0..10_u8 {
        append(&mut log, &batch(&[&[i; 100], &[i; 30]]));
    }
    let expected = content(&log.reader());
    let recovery_point = log.close().unwrap();
    let originals: Vec<_> = [".index", ".timeindex"].iter().flat_map(|s| dir.names(s)).collect();
    let originals: Vec<_> = originals.iter().map(|n| (n, fs::read(dir.file(n)).unwrap())).collect();
    let clean = Checkpointed { clean: true, recovery_point, log_start_offset: 0 };
    for (name, bytes) in &originals {
        for damaged in [None, Some(vec![0xff; 24]), Some(bytes.iter().copied().skip(1).collect())] {
            match damaged {
                None => fs::remove_file(dir.file(name)).unwrap(),
                Some(damaged) => fs::write(dir.file(name), damaged).unwrap(),
            }
            let (log, _) = dir.open(small(700), &clean);
            assert_eq!(content(&log.reader()), expected);
            assert_eq!(log.close().unwrap(), 20);
            assert_eq!(&fs::read(dir.file(name)).unwrap(), bytes, "{name}");
        }
    }
}

#[test]
fn epochs_are_taken_from_the_records_where_the_file_does_not_know_them() {
    let dir = Dir::new();
    let mut log = dir.create(small(700));
    for epoch in [0, 0, 2, 5, 5, 7] {
        let mut results = Vec::new();
        log.append(&mut vec![ToAppend::from(batch(&[&[1; 200]]))], epoch, NOW_MS, &mut results);
        results.remove(0).unwrap();
    }
    drop(log);
    let path = dir.file("leader-epoch-checkpoint");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, "0\n4\n0 0\n2 2\n5 3\n7 5\n");
    // Lost, damaged, old, and one that knows an epoch of which no record survived.
    for found in [None, Some("0\n4\n0 0\n"), Some("0\n1\n0 0\n"), Some("0\n5\n0 0\n2 2\n5 3\n7 5\n9 6\n")] {
        match found {
            None => fs::remove_file(&path).unwrap(),
            Some(found) => fs::write(&path, found).unwrap(),
        }
        let log = dir.reopen(small(700));
        assert_eq!(log.reader().latest_epoch().map(|e| e.epoch), Some(7));
        assert_eq!(log.reader().end_offset_for_epoch(2), Some((2, 3)));
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "{found:?}");
    }
}

#[test]
fn a_cut_of_flushed_records_is_checkpointed_before_any_file_is_touched() {
    let dir = Dir::new();
    crashed(&dir, 700);
    let (mut log, _) = open(&dir, &Checkpointed::default()).unwrap();
    let flushed = log.flush_task().unwrap().run().unwrap();
    log.flushed(&flushed, NOW_MS);
    append(&mut log, &batch(&[b"not flushed"]));
    let files = || -> Vec<_> {
        let names = dir.names("").into_iter();
        names.map(|name| (fs::read(dir.file(&name)).unwrap(), name)).collect()
    };
    let expected = content(&log.reader());
    // Nothing that was flushed goes.
    log.truncate_to(20, NOW_MS, |point| panic!("{point} is not before the recovery point")).unwrap();
    assert!(content(&log.reader()) == expected[..10]);
    append(&mut log, &batch(&[b"not flushed"]));
    let before = files();
    // Offset 5 lies within the batch of 4: the file must not vouch for what comes at 4.
    let full = || LogError::from(LogErrorKind::Failed { path: dir.path() });
    let told = log.truncate_to(5, NOW_MS, |point| {
        assert_eq!(point, 4);
        assert!(files() == before);
        Err(full())
    });
    assert_eq!(told.unwrap_err().to_string(), full().to_string());
    // It was not cut, and goes on.
    assert!(content(&log.reader()) == expected && files() == before);
    assert_eq!(append(&mut log, &batch(&[b"next"])), 21);
    let mut told = None;
    log.truncate_to(5, NOW_MS, |point| {
        told = Some(point);
        Ok(())
    })
    .unwrap();
    assert_eq!(told, Some(4));
    assert!(content(&log.reader()) == expected[..2]);
    assert_eq!((log.end_offset(), log.recovery_point()), (4, 4));
}

#[test]
fn a_log_that_does_not_know_its_topic_is_told_and_remembers() {
    let dir = Dir::new();
    crashed(&dir, 100_000);
    let path = dir.file("partition.metadata");
    let written = fs::read(&path).unwrap();
    for lost in [None, Some(Vec::new()), Some(vec![0; written.len()])] {
        match lost {
            None => fs::remove_file(&path).unwrap(),
            Some(bytes) => fs::write(&path, bytes).unwrap(),
        }
        let (mut log, _) = open(&dir, &Checkpointed::default()).unwrap();
        assert_eq!(log.topic_id(), None);
        log.set_topic_id(Uuid(7)).unwrap();
        assert_eq!(log.topic_id(), Some(Uuid(7)));
        drop(log);
        let (log, _) = open(&dir, &Checkpointed::default()).unwrap();
        assert_eq!((log.topic_id(), log.end_offset()), (Some(Uuid(7)), 20));
    }
}

#[test]
fn truncation_cuts_at_any_offset_and_holds_across_a_crash() {
    for offset in 0..=20 {
        let dir = Dir::new();
        let mut log = dir.create(small(700));
        for i in 0..10 {
            append(&mut log, &sequenced(1, 0, i * 2, 2));
        }
        let expected = content(&log.reader());
        let reader = log.reader();
        reader.set_high_watermark(20);
        log.truncate_to(offset, NOW_MS, |_| Ok(())).unwrap();
        // What is cut, is cut with its batch.
        let kept = offset as usize / 2;
        let end = kept as i64 * 2;
        assert_eq!((log.end_offset(), reader.end_offset(), reader.high_watermark()), (end, end, end));
        assert!(content(&reader) == expected[..kept], "truncated to {offset}");
        for crash in [false, true] {
            if crash {
                drop(log);
                log = dir.reopen(small(700));
            }
            assert_eq!(content(&log.reader()), expected[..kept]);
            // Producers are known as of then: the next sequence is what was cut.
            if kept > 0 {
                let gap = append_all(&mut log, &[sequenced(1, 0, end as i32 + 2, 2)]).remove(0);
                assert!(gap.is_err(), "{gap:?}");
            }
            assert_eq!(log.producer_count(), usize::from(kept > 0));
        }
        if kept > 0 {
            assert_eq!(append(&mut log, &sequenced(1, 0, end as i32, 2)), end);
        }
    }
}

#[test]
fn offsets_at_the_end_of_all_numbers_are_refused() {
    let dir = Dir::new();
    fs::create_dir(dir.path()).unwrap();
    let last = batch(&[b"a"]).stamped(i64::MAX, EPOCH);
    fs::write(dir.file(&format!("{:020}.log", i64::MAX - 5)), last.bytes()).unwrap();
    let (log, recovered) = open(&dir, &Checkpointed::default()).unwrap();
    assert_eq!((log.end_offset(), recovered.torn_bytes), (i64::MAX - 5, last.bytes().len() as u64));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is written over a part of a log, and wherever it is cut: it opens with what was before, or not at
    /// all, and never panics.
    #[test]
    fn a_scribbled_log_opens_with_what_was_before_or_not_at_all(
        at in 0.0..1.0_f64,
        scribble in proptest::collection::vec(any::<u8>(), 0..300),
        cut in 0.0..1.3_f64,
        recovery_point in 0_i64..30,
    ) {
        let dir = Dir::new();
        let expected = crashed(&dir, 100_000);
        let path = last_segment(&dir);
        let whole = fs::read(&path).unwrap();
        let one = whole.len() / 10;
        // Offset and leader epoch, which no checksum covers, are left as they are.
        let mut bytes = whole.clone();
        let at = (at * whole.len() as f64) as usize;
        for (i, byte) in scribble.iter().enumerate().map(|(i, byte)| (at + i, byte)) {
            if i < bytes.len() && i % one >= 16 {
                bytes[i] = *byte;
            }
        }
        bytes.truncate((cut * whole.len() as f64) as usize);
        fs::write(&path, &bytes).unwrap();
        let sound = bytes.iter().zip(&whole).take_while(|(a, b)| a == b).count() / one;
        let checkpointed = Checkpointed { recovery_point, ..Checkpointed::default() };
        match open(&dir, &checkpointed) {
            // What was flushed is not checked again, if only its form is right.
            Ok((log, _)) if log.end_offset() <= recovery_point || sound as i64 * 2 >= recovery_point => {
                let found = content_unchecked(&log.reader());
                prop_assert!(found.len() >= sound && found[..sound] == expected[..sound]);
                if sound as i64 * 2 >= recovery_point {
                    prop_assert_eq!(found.len(), sound);
                }
            }
            Ok(_) => {}
            Err(error) => prop_assert!(matches!(error.kind(), LogErrorKind::Rot { .. }), "{}", error),
        }
    }
}

/// As `content`, whatever the checksums say.
fn content_unchecked(reader: &LogReader) -> Vec<(i64, Bytes)> {
    let slices = reader.read(reader.start_offset(), usize::MAX, i64::MAX, true).unwrap().slices;
    let mut batches = Vec::new();
    for slice in &slices {
        let mut bytes = slice.read().unwrap();
        while let Some(batch) = Batch::split_from(&mut bytes).unwrap() {
            batches.push((batch.header().base_offset, batch.record_block()));
        }
    }
    batches
}

#[test]
fn a_log_that_starts_late_says_so() {
    let dir = Dir::new();
    let expected = crashed(&dir, 700);
    let late = Checkpointed { log_start_offset: 4, ..Checkpointed::default() };
    let (log, _) = dir.open(small(700), &late);
    assert_eq!(log.start_offset(), 4);
    assert_eq!(content(&log.reader()), expected[2..]);
    log.reader().read(3, 1, i64::MAX, true).map(|_| ()).unwrap_err();
    drop(log);
    // Also where nothing is left.
    let dir = Dir::new();
    fs::create_dir(dir.path()).unwrap();
    let (mut log, _) = dir.open(small(700), &late);
    assert_eq!((log.start_offset(), log.end_offset()), (4, 4));
    assert_eq!(append(&mut log, &batch(&[b"a"])), 4);
}

fn append_in(log: &mut Log, epoch: i32, batch: Batch) -> Appended {
    let mut results = Vec::new();
    log.append(&mut vec![batch.into()], epoch, NOW_MS, &mut results);
    results.remove(0).unwrap()
}

/// Four epochs, and ten positions on the way, so that index files and snapshots take the place of older ones.
fn with_positions(dir: &Dir, config: &LogConfig) -> (Log, i64) {
    let mut log = dir.create(config.clone());
    for i in 0..200 {
        let seal = Seal {
            producer_id: ProducerId(i % 3),
            producer_epoch: 0,
            base_sequence: i as i32 / 3,
            ..Seal::default()
        };
        let batch = timed(&[(NOW_MS + 10 * i - 7 * (i % 3), &[7; 30])], &seal);
        append_in(&mut log, i as i32 / 60, batch);
        if i % 20 == 19 {
            assert!(log.save_position().unwrap());
            assert!(!log.save_position().unwrap(), "it has not grown since");
            let flushed = log.flush_task().unwrap().run().unwrap();
            log.flushed(&flushed, NOW_MS);
        }
    }
    let recovery_point = log.recovery_point();
    assert_eq!(recovery_point, 200);
    for i in 67..70 {
        append_in(&mut log, 3, sequenced(1, 0, i, 1));
    }
    (log, recovery_point)
}

#[test]
fn a_start_after_a_crash_walks_over_what_lies_behind_the_position_only() {
    let config = LogConfig { position_interval_bytes: 1, ..small(1 << 20) };
    let dir = Dir::new();
    let (log, recovery_point) = with_positions(&dir, &config);
    let expected = content(&log.reader());
    let epochs: Vec<_> = (0..203).map(|offset| log.reader().epoch_of(offset)).collect();
    drop(log);
    assert_eq!(dir.names(".snapshot").len(), 2, "two in the active segment");
    let size = fs::metadata(last_segment(&dir)).unwrap().len();
    let mut skipped = Vec::new();
    for point in [0, 1, 90, recovery_point] {
        let checkpointed = Checkpointed { recovery_point: point, ..Checkpointed::default() };
        let (mut log, recovered) = dir.open(config.clone(), &checkpointed);
        skipped.push(recovered.skipped_bytes);
        let reader = log.reader();
        assert_eq!(content(&reader), expected);
        assert_eq!((0..203).map(|offset| reader.epoch_of(offset)).collect::<Vec<_>>(), epochs);
        let mut scratch = Scratch::new();
        for i in 0..198 {
            let found = reader.offset_for_timestamp(NOW_MS + 10 * i, &mut scratch).unwrap();
            assert_eq!(found.unwrap().offset, (i..).find(|i2| 10 * i2 - 7 * (i2 % 3) >= 10 * i).unwrap());
        }
        assert!(append_in(&mut log, 3, sequenced(1, 0, 69, 1)).duplicate);
    }
    assert_eq!(skipped[..2], [0, 0], "what was not flushed is looked at");
    assert!((size * 35 / 100..size * 46 / 100).contains(&skipped[2]), "{skipped:?} of {size}");
    assert!(skipped[3] > size * 95 / 100, "{skipped:?} of {size}");
}

#[test]
fn a_position_whose_index_is_damaged_is_not_believed() {
    let config = LogConfig { position_interval_bytes: 1, ..small(1 << 20) };
    let dir = Dir::new();
    let (log, recovery_point) = with_positions(&dir, &config);
    let expected = content(&log.reader());
    drop(log);
    let checkpointed = Checkpointed { recovery_point, ..Checkpointed::default() };
    for suffix in [".index", ".timeindex"] {
        let path = dir.file(&dir.names(suffix)[0]);
        let whole = fs::read(&path).unwrap();
        let mut entry_off = whole.clone();
        let last = entry_off.len() - 1;
        entry_off[last] ^= 1;
        for damaged in [vec![], vec![0; whole.len()], whole[..whole.len() - 1].to_vec(), entry_off] {
            fs::write(&path, &damaged).unwrap();
            let (log, recovered) = dir.open(config.clone(), &checkpointed);
            assert_eq!(recovered.skipped_bytes, 0, "{suffix}, {damaged:?}");
            assert_eq!(content(&log.reader()), expected);
        }
        // A part of it is as good as an older one.
        fs::write(&path, &whole[..24]).unwrap();
        let (log, recovered) = dir.open(config.clone(), &checkpointed);
        assert!(recovered.skipped_bytes > 0, "{suffix}");
        assert_eq!(content(&log.reader()), expected);
        drop(log);
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn a_cut_takes_the_position_with_it() {
    let config = LogConfig { position_interval_bytes: 1, ..small(1 << 20) };
    let dir = Dir::new();
    let (mut log, recovery_point) = with_positions(&dir, &config);
    log.truncate_to(150, NOW_MS, |_| Ok(())).unwrap();
    assert!(dir.names(".index").is_empty() && dir.names(".timeindex").is_empty());
    for i in 0..60 {
        append_in(&mut log, 3, batch(&[&[i; 70]]));
    }
    let expected = content(&log.reader());
    drop(log);
    let (log, recovered) = dir.open(config, &Checkpointed { recovery_point, ..Checkpointed::default() });
    assert_eq!((content(&log.reader()), recovered.skipped_bytes), (expected, 0));
}
