//! What is appended is there, where it should be, and once.

use ottla_broker::log::{AppendError, LogConfig, ToAppend};
use ottla_protocol::{
    compression::{Codec, Compression},
    record::{Seal, TimestampType},
};

use super::*;

#[test]
fn batches_of_every_codec_come_back_with_offset_and_epoch_and_otherwise_unchanged() {
    let dir = Dir::new();
    let mut log = dir.create(LogConfig::default());
    let batches: Vec<Batch> = Compression::ALL
        .into_iter()
        .map(|c| Seal { codec: Codec::new(c), ..Seal::default() })
        .map(|seal| timed(&[(NOW_MS, b"a"), (NOW_MS + 1, b"b"), (NOW_MS + 2, b"c")], &seal))
        .collect();
    let results = append_all(&mut log, &batches);
    for (i, result) in results.into_iter().enumerate() {
        let appended = result.unwrap();
        assert_eq!((appended.base_offset, appended.last_offset), (i as i64 * 3, i as i64 * 3 + 2));
        assert_eq!((appended.log_append_time, appended.start_offset, appended.duplicate), (-1, 0, false));
    }
    assert_eq!(log.end_offset(), 15);
    let read = read_from(&log.reader(), 0);
    assert_eq!(read.len(), batches.len());
    for (i, (read, sent)) in read.iter().zip(&batches).enumerate() {
        assert_eq!(read.header().base_offset, i as i64 * 3);
        assert_eq!(read.header().partition_leader_epoch, EPOCH);
        assert_eq!(read.bytes()[16..], sent.bytes()[16..]);
    }
}

#[test]
fn one_call_takes_more_batches_than_one_write_does() {
    let dir = Dir::new();
    let mut log = dir.create(LogConfig::default());
    let values: Vec<String> = (0..1700).map(|i| format!("value {i}")).collect();
    let batches: Vec<Batch> = values.iter().map(|v| batch(&[v.as_bytes()])).collect();
    let results = append_all(&mut log, &batches);
    assert!(results.iter().enumerate().all(|(i, r)| r.as_ref().unwrap().base_offset == i as i64));
    let read = content(&log.reader());
    assert_eq!(read.len(), 1700);
    assert!(read.iter().zip(&batches).all(|((_, read), sent)| *read == sent.record_block()));
}

#[test]
fn the_time_of_the_append_is_written_over_the_producers() {
    let dir = Dir::new();
    let mut log = dir.create(LogConfig { log_append_time: true, ..LogConfig::default() });
    let sent = timed(&[(5, b"a"), (6, b"b")], &Seal::default());
    let appended = append_all(&mut log, &[sent]).remove(0).unwrap();
    assert_eq!(appended.log_append_time, NOW_MS);
    let read = read_from(&log.reader(), 0).remove(0);
    assert_eq!(read.header().max_timestamp, NOW_MS);
    assert_eq!(read.header().attributes.timestamp_type(), TimestampType::LogAppendTime);
}

#[test]
fn a_batch_that_is_too_large_is_refused_and_the_others_go_on() {
    let dir = Dir::new();
    let mut log =
        dir.create(LogConfig { max_message_bytes: 1000, segment_bytes: 5000, ..LogConfig::default() });
    let results = append_all(&mut log, &[batch(&[b"a"]), batch(&[&[7; 2000]]), batch(&[b"b"])]);
    assert_eq!(results[0].as_ref().unwrap().base_offset, 0);
    assert!(matches!(results[1], Err(AppendError::TooLarge { bytes_max: 1000, .. })));
    assert_eq!(results[2].as_ref().unwrap().base_offset, 1);

    log.set_config(LogConfig { segment_bytes: 5000, ..LogConfig::default() });
    let results = append_all(&mut log, &[batch(&[&[7; 6000]]), batch(&[&[7; 4000]])]);
    assert!(matches!(results[0], Err(AppendError::LargerThanSegment { bytes_max: 5000, .. })));
    assert_eq!(results[1].as_ref().unwrap().base_offset, 2);
}

#[test]
fn an_older_leader_appends_nothing() {
    let dir = Dir::new();
    let mut log = dir.create(LogConfig::default());
    append(&mut log, &batch(&[b"a"]));
    log.begin_epoch(EPOCH + 2).unwrap();
    let results = append_all(&mut log, &[batch(&[b"b"])]);
    assert!(matches!(results[0], Err(AppendError::StaleLeaderEpoch { current: 5, found: EPOCH })));
    assert_eq!(log.end_offset(), 1);
}

#[test]
fn segments_roll_when_full_and_are_named_after_their_first_offset() {
    let dir = Dir::new();
    let mut log = dir.create(small(1000));
    let one = batch(&[&[1; 300]]);
    let per_segment = 1000 / one.bytes().len() as i64;
    assert_eq!(per_segment, 2);
    append_all(&mut log, &vec![one.clone(); 7]);
    let digits = |o: i64| format!("{o:020}");
    assert_eq!(dir.names(".log"), [0, 2, 4, 6].map(|o| digits(o) + ".log"));
    assert_eq!(
        dir.names(".index"),
        [0, 2, 4].map(|o| digits(o) + ".index"),
        "only sealed segments have them"
    );
    assert_eq!(dir.names(".timeindex").len(), 3);
    assert_eq!(dir.names(".snapshot"), [2, 4, 6].map(|o| digits(o) + ".snapshot"));
    assert_eq!(log.segment_count(), 4);
    assert_eq!(content(&log.reader()).len(), 7);
}

#[test]
fn segments_roll_by_the_time_of_their_records() {
    let dir = Dir::new();
    let mut log = dir.create(LogConfig { roll_ms: 1000, ..LogConfig::default() });
    for (time, segments) in [(NOW_MS, 1), (NOW_MS + 1000, 1), (NOW_MS + 1001, 2), (NOW_MS + 2001, 2), (5, 2)]
    {
        append(&mut log, &timed(&[(time, b"a")], &Seal::default()));
        assert_eq!(log.segment_count(), segments, "at {time}");
    }
    // Without timestamps, the segment's own age counts.
    let dir = Dir::new();
    let mut log = dir.create(LogConfig { roll_ms: 1000, ..LogConfig::default() });
    for (now_ms, segments) in [(NOW_MS, 1), (NOW_MS + 1000, 1), (NOW_MS + 1001, 2)] {
        let mut results = Vec::new();
        let untimed = timed(&[(-1, b"a")], &Seal::default());
        log.append(&mut vec![ToAppend::from(untimed)], EPOCH, now_ms, &mut results);
        results.remove(0).unwrap();
        assert_eq!(log.segment_count(), segments, "at {now_ms}");
    }
}

#[test]
fn a_flush_moves_the_recovery_point_to_where_it_began() {
    let dir = Dir::new();
    let mut log = dir.create(LogConfig { flush_messages: 3, flush_ms: 500, ..small(1000) });
    append(&mut log, &batch(&[b"a", b"b"]));
    assert!(!log.flush_due(NOW_MS + 499));
    assert!(log.flush_due(NOW_MS + 500));
    append(&mut log, &batch(&[&[1; 900]]));
    assert!(log.flush_due(NOW_MS), "three records");
    assert!(log.unflushed_bytes() > 900);
    let task = log.flush_task().unwrap();
    append(&mut log, &batch(&[b"c"]));
    let done = std::thread::spawn(|| task.run()).join().unwrap().unwrap();
    log.flushed(&done, NOW_MS);
    assert_eq!((log.recovery_point(), log.end_offset()), (3, 4));
    let done = log.flush_task().unwrap().run().unwrap();
    log.flushed(&done, NOW_MS);
    assert_eq!(log.recovery_point(), 4);
    assert!(log.flush_task().is_none());
    assert!(!log.flush_due(NOW_MS + 1_000_000));
}

#[test]
fn a_failed_flush_closes_the_log_to_appends() {
    let dir = Dir::new();
    let mut log = dir.create(small(1000));
    append(&mut log, &batch(&[b"a"]));
    let task = log.flush_task().unwrap();
    // Flushing the names in a directory that is gone fails, as a disk that is gone would.
    std::fs::rename(dir.path(), dir.0.path().join("elsewhere")).unwrap();
    task.run().unwrap_err();
    std::fs::rename(dir.0.path().join("elsewhere"), dir.path()).unwrap();
    assert!(log.reader().has_failed());
    let results = append_all(&mut log, &[batch(&[b"b"])]);
    assert!(matches!(results[0], Err(AppendError::Log(_))));
    assert_eq!(content(&log.reader()).len(), 1, "what is there can be read");
    log.close().unwrap_err();
}

#[test]
fn a_deleted_logs_slices_can_still_be_read_and_its_name_is_free() {
    let dir = Dir::new();
    let mut log = dir.create(LogConfig::default());
    append(&mut log, &batch(&[b"a"]));
    let slices = log.reader().read(0, 1000, 1, true).unwrap();
    log.delete().unwrap();
    assert_eq!(names(dir.0.path(), ""), Vec::<String>::new());
    assert_eq!(split(&[slices.slices[0].read().unwrap()]).len(), 1);
    let log = dir.create(LogConfig::default());
    assert_eq!(log.end_offset(), 0);
    drop(log);
    let again = Log::create(&Disk::Real, &dir.path(), Uuid(7), LogConfig::default(), NOW_MS);
    again.map(|_| ()).unwrap_err();
}
