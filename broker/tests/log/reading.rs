//! Readers get whole batches, the right ones, from any thread.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ottla_broker::log::{LogConfig, ReadError};
use proptest::prelude::*;

use super::*;

#[test]
fn a_read_within_a_batch_gives_the_whole_batch() {
    let dir = Dir::new();
    let mut log = dir.create(LogConfig::default());
    append_all(&mut log, &[batch(&[b"a", b"b", b"c"]), batch(&[b"d", b"e"])]);
    let reader = log.reader();
    for (offset, base, batches) in [(0, 0, 2), (1, 0, 2), (2, 0, 2), (3, 3, 1), (4, 3, 1)] {
        let read = reader.read(offset, usize::MAX, i64::MAX, false).unwrap();
        assert_eq!(read.base_offset, Some(base), "offset {offset}");
        assert_eq!(read_from(&reader, offset).len(), batches);
    }
    assert!(reader.read(5, usize::MAX, i64::MAX, true).unwrap().is_empty(), "the end is no error");
    for offset in [-1, 6] {
        let error = reader.read(offset, usize::MAX, i64::MAX, true).unwrap_err();
        assert!(matches!(error, ReadError::OutOfRange { start: 0, end: 5 }), "offset {offset}");
    }
}

#[test]
fn the_first_batch_is_whole_if_asked_for_however_large() {
    let dir = Dir::new();
    let mut log = dir.create(LogConfig::default());
    let large = batch(&[&[1; 5000]]);
    append_all(&mut log, &[large.clone(), large.clone()]);
    let read = log.reader().read(0, 10, i64::MAX, true).unwrap();
    assert_eq!((read.len(), read.slices.len()), (large.bytes().len(), 1));
    assert!(log.reader().read(0, 10, i64::MAX, false).unwrap().is_empty());
    assert!(log.reader().read(0, 0, i64::MAX, true).unwrap().len() == large.bytes().len());
    let both = 2 * large.bytes().len();
    assert_eq!(log.reader().read(0, both - 1, i64::MAX, false).unwrap().len(), large.bytes().len());
    assert_eq!(log.reader().read(0, both, i64::MAX, false).unwrap().len(), both);
}

#[test]
fn nothing_at_or_beyond_the_bound_is_given() {
    let dir = Dir::new();
    let mut log = dir.create(small(1000));
    append_all(&mut log, &vec![batch(&[&[1; 100], &[2; 100]]); 20]);
    let reader = log.reader();
    for bound in 0..=40 {
        for offset in 0..bound {
            let read = reader.read(offset, usize::MAX, bound, true).unwrap();
            let batches = split(&read.slices.iter().map(|s| s.read().unwrap()).collect::<Vec<_>>());
            // A batch that reaches over the bound is left out.
            let last = batches.last().map(|b| b.header().next_offset());
            let expected = (bound / 2 * 2 > offset).then_some(bound / 2 * 2);
            assert_eq!(last, expected, "from {offset} to {bound}");
        }
        assert!(reader.read(bound, usize::MAX, bound, true).unwrap().is_empty());
    }
}

#[test]
fn a_lost_or_lying_index_only_makes_the_way_longer() {
    let dir = Dir::new();
    let mut log = dir.create(small(2000));
    append_all(&mut log, &vec![batch(&[&[1; 100]]); 40]);
    let reader = log.reader();
    let expected: Vec<_> = (0..40).map(|o| read_from(&reader, o)).collect();
    let index = dir.file(&dir.names(".index")[0]);
    let good = std::fs::read(&index).unwrap();
    assert!(good.len() >= 3 * 8);
    let mut later = good.clone();
    // Offsets that are named too early: what is wanted lies before where the entry leads.
    later[3] = 0;
    let mut nowhere = good.clone();
    // A position that is no batch's.
    nowhere[7] ^= 1;
    for bytes in [Some(later), Some(nowhere), Some(good[..5].to_vec()), None] {
        match &bytes {
            Some(bytes) => std::fs::write(&index, bytes).unwrap(),
            None => std::fs::remove_file(&index).unwrap(),
        }
        for (offset, expected) in expected.iter().enumerate() {
            assert_eq!(&read_from(&reader, offset as i64), expected, "offset {offset}, {bytes:?}");
        }
    }
}

#[test]
fn epochs_are_told_with_where_they_end() {
    let dir = Dir::new();
    let mut log = dir.create(LogConfig::default());
    let reader = log.reader();
    assert_eq!((reader.latest_epoch(), reader.end_offset_for_epoch(0)), (None, None));
    append(&mut log, &batch(&[b"a", b"b"]));
    log.begin_epoch(6).unwrap();
    assert_eq!(reader.latest_epoch().map(|e| (e.epoch, e.start_offset)), Some((6, 2)));
    assert_eq!(reader.end_offset_for_epoch(EPOCH), Some((EPOCH, 2)));
    assert_eq!(reader.end_offset_for_epoch(5), Some((EPOCH, 2)));
    assert_eq!(reader.end_offset_for_epoch(6), Some((6, 2)));
    assert_eq!(reader.end_offset_for_epoch(7), None);
    assert_eq!((reader.epoch_of(1), reader.epoch_of(2)), (Some(EPOCH), Some(6)));
}

#[test]
fn readers_on_other_threads_see_whole_batches_and_no_gap() {
    let dir = Dir::new();
    let mut log = dir.create(small(20_000));
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3_usize)
        .map(|i| {
            let (reader, done) = (log.reader(), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut next = 0;
                loop {
                    let finished = done.load(Ordering::Acquire);
                    // One reads behind a mark that lies back a little, as consumers do.
                    let bound = if i == 0 { reader.end_offset() - 3 } else { i64::MAX };
                    let read = reader.read(next, 3000 * (i + 1), bound, true).unwrap();
                    for slice in &read.slices {
                        let mut bytes = slice.read().unwrap();
                        while let Some(batch) = Batch::split_from(&mut bytes).unwrap() {
                            batch.check_crc().unwrap();
                            assert_eq!(batch.header().base_offset, next);
                            assert!(batch.header().next_offset() <= bound);
                            next = batch.header().next_offset();
                        }
                    }
                    if finished && read.is_empty() {
                        return next;
                    }
                }
            })
        })
        .collect();
    for i in 0..1000_usize {
        let value = vec![i as u8; i * 7 % 400];
        let records: Vec<&[u8]> = vec![&value; i % 3 + 1];
        append_all(&mut log, &vec![batch(&records); i % 4 + 1]);
    }
    done.store(true, Ordering::Release);
    let ends: Vec<i64> = readers.into_iter().map(|r| r.join().unwrap()).collect();
    assert!(log.segment_count() > 5);
    assert!(ends[0] > log.end_offset() - 7);
    assert_eq!(ends[1..], [log.end_offset(); 2]);
}

/// A log: records and value size of each batch, in calls of a few.
fn batches() -> impl Strategy<Value = Vec<(usize, usize)>> {
    proptest::collection::vec((1_usize..5, prop_oneof![0_usize..60, 0_usize..700]), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Every read gives what looking at every batch gives.
    #[test]
    fn reads_agree_with_brute_force(
        batches in batches(),
        per_call in 1_usize..20,
        segment_bytes in 3000_u32..12_000,
        index_interval_bytes in 0_u32..2000,
        reads in proptest::collection::vec((0.0..1.0_f64, 0.0..1.1_f64, 0_usize..9000, any::<bool>()), 40),
        reopen in any::<bool>(),
    ) {
        let dir = Dir::new();
        let config = LogConfig { index_interval_bytes, segment_bytes, ..LogConfig::default() };
        let mut log = dir.create(config.clone());
        let all: Vec<Batch> = batches
            .iter()
            .map(|&(records, bytes)| batch(&vec![vec![7; bytes].as_slice(); records]))
            .collect();
        for call in all.chunks(per_call) {
            prop_assert!(append_all(&mut log, call).iter().all(|r| r.is_ok()));
        }
        if reopen {
            drop(log);
            log = dir.reopen(config);
        }
        let reader = log.reader();
        let end = reader.end_offset();
        let stored = read_from(&reader, 0);
        prop_assert_eq!(stored.len(), all.len());
        for (offset, bound, bytes_max, at_least_one) in reads {
            let (offset, bound) = ((offset * end as f64) as i64, (bound * end as f64) as i64);
            let read = reader.read(offset, bytes_max, bound, at_least_one).unwrap();
            let bytes: Vec<Bytes> = read.slices.iter().map(|s| s.read().unwrap()).collect();
            let wanted: Vec<&Batch> = stored
                .iter()
                .filter(|b| offset < bound && b.header().last_offset() >= offset && b.header().last_offset() < bound)
                .collect();
            let most: Vec<u8> = wanted.iter().flat_map(|b| b.bytes().to_vec()).collect();
            let got = bytes.concat();
            // A prefix of what is wanted, within the limit unless it is the one batch.
            prop_assert!(most.starts_with(&got));
            let first = wanted.first().map_or(0, |b| b.bytes().len());
            let limit = if at_least_one { bytes_max.max(first) } else { bytes_max };
            prop_assert!(got.len() <= limit);
            // As much as fits: no whole batch is left out that had room.
            let mut whole = 0;
            for batch in &wanted {
                if whole + batch.bytes().len() > limit {
                    break;
                }
                whole += batch.bytes().len();
            }
            prop_assert!(got.len() >= whole, "{} of {} bytes, limit {}", got.len(), whole, limit);
            prop_assert_eq!(read.base_offset, (!got.is_empty()).then(|| wanted[0].header().base_offset));
        }
    }
}
