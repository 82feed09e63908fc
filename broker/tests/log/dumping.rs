//! What `ottla dump-log` is told of a log's files.

use std::fs;

use ottla_broker::log::{LogErrorKind, dump};

use super::*;

#[test]
fn every_file_of_a_log_is_told_as_it_is() {
    let dir = Dir::new();
    let mut log = dir.create(small(700));
    for i in 0..10 {
        append(&mut log, &sequenced(1, 0, i * 2, 2));
    }
    let expected = content(&log.reader());
    log.close().unwrap();
    let segments = dump::segments(&dir.path()).unwrap();
    let mut found = Vec::new();
    let mut positions = Vec::new();
    for segment in &segments {
        dump::batches(segment, |b| {
            assert_eq!(b.crc, Ok(()));
            positions.push((segment.clone(), b.batch.header().last_offset(), b.position));
            found.push((b.batch.header().base_offset, b.batch.record_block()));
        })
        .unwrap();
    }
    assert!(found == expected);
    for segment in &segments {
        for (offset, position) in dump::offset_index(&segment.with_extension("index")).unwrap() {
            assert!(
                positions.contains(&(segment.clone(), offset, position.into())),
                "{offset} at {position}"
            );
        }
        let times = dump::time_index(&segment.with_extension("timeindex")).unwrap();
        assert_eq!(times.len(), 1, "all records have one time");
        assert_eq!(times[0].0, NOW_MS);
    }
    let last = dir.names(".snapshot").pop().unwrap();
    let rows = dump::producer_snapshot(&dir.file(&last)).unwrap();
    let rows: Vec<_> = rows.iter().map(|r| (r.producer_id, r.last_sequence, r.last_offset)).collect();
    assert_eq!(rows, [(1, 11, 11), (1, 13, 13), (1, 15, 15), (1, 17, 17), (1, 19, 19)]);
    let epochs = dump::leader_epochs(&dir.file("leader-epoch-checkpoint")).unwrap();
    assert_eq!(epochs.iter().map(|e| (e.epoch, e.start_offset)).collect::<Vec<_>>(), [(EPOCH, 0)]);
}

#[test]
fn all_before_the_damage_is_told_and_then_the_damage() {
    let dir = Dir::new();
    let mut log = dir.create(small(10_000));
    append_all(&mut log, &vec![batch(&[&[1; 100]]); 4]);
    drop(log);
    let path = dir.file(&dir.names(".log")[0]);
    let mut bytes = fs::read(&path).unwrap();
    let one = bytes.len() / 4;
    // A record of the second is not what it was; the fourth is cut.
    bytes[2 * one - 10] ^= 1;
    fs::write(&path, &bytes[..4 * one - 1]).unwrap();
    let mut sound = Vec::new();
    let error = dump::batches(&path, |b| sound.push(b.crc.is_ok())).unwrap_err();
    assert_eq!(sound, [true, false, true]);
    assert!(
        matches!(error.kind(), LogErrorKind::Rot { position, offset: 3, .. } if *position == 3 * one as u64)
    );
    assert!(dump::batches(&dir.file("00000000000000000009.log"), |_| {}).unwrap_err().is_not_found());
    assert!(dump::offset_index(&dir.file("00000000000000000000.index")).unwrap_err().is_not_found());
}
