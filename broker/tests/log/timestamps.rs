//! Records are found by their time.

use ottla_broker::log::{LogConfig, TimestampOffset};
use ottla_protocol::{
    compression::{Codec, Compression},
    record::Scratch,
};
use proptest::prelude::*;

use super::*;

fn found(log: &Log, timestamp: i64) -> Option<(i64, i64)> {
    let found = log.reader().offset_for_timestamp(timestamp, &mut Scratch::new()).unwrap();
    assert!(found.is_none_or(|f| f.leader_epoch == EPOCH));
    found.map(|f| (f.offset, f.timestamp))
}

fn latest(log: &Log) -> Option<(i64, i64)> {
    let latest = log.reader().max_timestamp(&mut Scratch::new()).unwrap();
    latest.map(|TimestampOffset { offset, timestamp, .. }| (offset, timestamp))
}

#[test]
fn an_empty_log_and_records_without_time_have_no_latest() {
    let dir = Dir::new();
    let mut log = dir.create(LogConfig::default());
    assert_eq!((found(&log, 0), latest(&log)), (None, None));
    append(&mut log, &timed(&[(-1, b"a")], &Seal::default()));
    assert_eq!((found(&log, 0), latest(&log)), (None, None));
}

#[test]
fn with_the_brokers_time_all_records_of_a_batch_have_it() {
    let dir = Dir::new();
    let mut log = dir.create(LogConfig { log_append_time: true, ..LogConfig::default() });
    append(&mut log, &timed(&[(1, b"a"), (2, b"b")], &Seal::default()));
    assert_eq!(found(&log, 1), Some((0, NOW_MS)));
    assert_eq!(found(&log, NOW_MS), Some((0, NOW_MS)));
    assert_eq!(found(&log, NOW_MS + 1), None);
    assert_eq!(latest(&log), Some((0, NOW_MS)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the order of times, the codec and the segments, and however the log was last closed.
    #[test]
    fn look_ups_agree_with_brute_force(
        batches in proptest::collection::vec((proptest::collection::vec(0_i64..400, 1..5), 0_usize..5), 1..80),
        segment_bytes in 500_u32..3000,
        index_interval_bytes in 0_u32..400,
        stop in 0..3,
    ) {
        let dir = Dir::new();
        let config = LogConfig { index_interval_bytes, segment_bytes, ..LogConfig::default() };
        let mut log = dir.create(config.clone());
        let mut records = Vec::new();
        for (times, codec) in &batches {
            let codec = Codec::new(Compression::ALL[*codec]);
            let timed_records: Vec<(i64, &[u8])> = times.iter().map(|t| (*t, &b"value"[..])).collect();
            let base = append(&mut log, &timed(&timed_records, &Seal { codec, ..Seal::default() }));
            records.extend(times.iter().enumerate().map(|(i, &t)| (base + i as i64, t)));
        }
        if stop == 1 {
            drop(log);
            log = dir.reopen(config);
        } else if stop == 2 {
            let recovery_point = log.close().unwrap();
            let checkpointed = Checkpointed { clean: true, recovery_point, log_start_offset: 0 };
            log = dir.open(config, &checkpointed).0;
        }
        for timestamp in (-1..402).step_by(3) {
            prop_assert_eq!(found(&log, timestamp), records.iter().copied().find(|r| r.1 >= timestamp));
        }
        let most = records.iter().map(|r| r.1).max();
        prop_assert_eq!(latest(&log), records.iter().copied().find(|r| Some(r.1) == most));
    }
}
