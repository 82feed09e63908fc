//! What a start makes of logs that are not what the checkpoint files say, seen on the files of a real broker.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use ottla_interop::{
    program::Launch,
    wire::{Wire, batch, numbered_batch},
};
use ottla_protocol::{error_code::ErrorCode, types::ProducerId};

const SEGMENT: &str = "t-0/00000000000000000000.log";
const METADATA: &str = "t-0/partition.metadata";
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";

/// A broker that flushes and checkpoints only when it stops, so that files change for no other reason.
fn launch(data: &Path) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_ottla"), data)
        .set("ottla.flush.interval.ms", 3_600_000)
        .set("log.flush.offset.checkpoint.interval.ms", 3_600_000)
}

/// Stops a broker in order, and takes off the mark of it: as if it had crashed right behind its last flush.
fn stopped_with_five_records(launch: &Launch, data: &Path) {
    let broker = launch.start();
    let mut wire = Wire::connect(broker.address());
    wire.create_topic("t", 1, &[]);
    for i in 0..5_u8 {
        assert_eq!(wire.produce("t", 0, &batch(&[&[i; 100]])).error_code, ErrorCode::NONE);
    }
    assert!(broker.terminate().0.success());
    fs::remove_file(data.join(".kafka_cleanshutdown")).unwrap();
    assert_eq!(recovery_point(data), Some(5));
}

fn recovery_point(data: &Path) -> Option<i64> {
    let text = fs::read_to_string(data.join(RECOVERY_POINTS)).unwrap();
    text.lines().find_map(|line| line.strip_prefix("t 0 ")).map(|offset| offset.parse().unwrap())
}

fn shorten(file: &Path, by: u64) -> u64 {
    let file = OpenOptions::new().write(true).open(file).unwrap();
    let len = file.metadata().unwrap().len() - by;
    file.set_len(len).unwrap();
    len
}

#[test]
fn a_checkpoint_beyond_the_end_of_a_log_is_corrected_before_anybody_appends() {
    let data = tempfile::tempdir().unwrap();
    let launch = launch(data.path());
    stopped_with_five_records(&launch, data.path());
    let segment = data.path().join(SEGMENT);
    let batch_bytes = fs::metadata(&segment).unwrap().len() / 5;
    shorten(&segment, 2 * batch_bytes);

    let broker = launch.start();
    let told = broker.log().wait_for("records that had been flushed are missing");
    assert!(told.is_error(), "{}", told.text);
    let mut wire = Wire::connect(broker.address());
    assert_eq!(wire.values("t", 0).len(), 3);
    assert_eq!(recovery_point(data.path()), Some(3));
    for i in 5..8_u8 {
        assert_eq!(wire.produce("t", 0, &batch(&[&[i; 100]])).error_code, ErrorCode::NONE);
    }
    broker.kill();
    // A torn end of what was never flushed: the file of before would have it for rot, or for records that are missing.
    shorten(&segment, batch_bytes + 10);

    let broker = launch.start();
    let values = Wire::connect(broker.address()).values("t", 0);
    assert_eq!(values, [0, 1, 2, 5].map(|i| vec![i; 100]));
    let (_, log) = broker.terminate();
    assert!(log.iter().all(|line| !line.is_error()), "{log:#?}");
}

#[test]
fn a_log_that_vanished_leaves_no_checkpoint_for_the_one_in_its_place() {
    let data = tempfile::tempdir().unwrap();
    let launch = launch(data.path());
    stopped_with_five_records(&launch, data.path());
    // Not one of its records is to be read.
    fs::write(data.path().join("log-start-offset-checkpoint"), "0\n1\nt 0 5\n").unwrap();
    fs::remove_dir_all(data.path().join("t-0")).unwrap();

    let broker = launch.start();
    let mut wire = Wire::connect(broker.address());
    assert_eq!(recovery_point(data.path()), Some(0));
    assert_eq!(wire.produce("t", 0, &batch(&[b"new"])).error_code, ErrorCode::NONE);
    broker.kill();

    let broker = launch.start();
    assert_eq!(Wire::connect(broker.address()).values("t", 0), [b"new"]);
    broker.terminate();
}

#[test]
fn a_log_without_its_topics_id_gets_it_back() {
    let data = tempfile::tempdir().unwrap();
    let launch = launch(data.path());
    stopped_with_five_records(&launch, data.path());
    let metadata = data.path().join(METADATA);
    let written = fs::read(&metadata).unwrap();
    // The file's length came to the medium, and its bytes did not.
    fs::write(&metadata, vec![0; written.len()]).unwrap();
    let broker = launch.start();
    assert_eq!(Wire::connect(broker.address()).values("t", 0).len(), 5);
    assert_eq!(fs::read(&metadata).unwrap(), written);
    broker.terminate();
}

#[test]
fn a_flipped_bit_in_an_old_segment_is_found_while_the_broker_runs() {
    let data = tempfile::tempdir().unwrap();
    let launch = launch(data.path()).set("ottla.log.scrub.interval.ms", 50);
    let broker = launch.start();
    let mut wire = Wire::connect(broker.address());
    // A segment holds one batch, and no second.
    wire.create_topic("t", 2, &[("segment.bytes", "1048576")]);
    for i in 0..4_u8 {
        assert_eq!(wire.produce("t", 0, &batch(&[&[i; 600_000]])).error_code, ErrorCode::NONE);
    }
    let segment = data.path().join("t-0/00000000000000000002.log");
    let file = OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(b"!", 500).unwrap();

    let told = broker.log().wait_for("a segment has lost what was written to it");
    assert!(told.is_error(), "{}", told.text);
    assert_eq!(told.field("partition"), Some("t-0"));
    assert_eq!(told.field("file"), Some(segment.to_str().unwrap()));
    assert!(told.text.contains(r#""position":0,"offset":2"#), "{}", told.text);
    // The others are sound, and the broker goes on.
    assert_eq!(wire.produce("t", 0, &batch(&[b"more"])).error_code, ErrorCode::NONE);
    let (status, log) = broker.terminate();
    assert!(status.success());
    let named = |line: &&ottla_interop::program::Line| {
        line.field("file").is_some_and(|file| file != segment.to_str().unwrap())
    };
    assert_eq!(log.iter().filter(named).count(), 0, "{log:#?}");
}

#[test]
fn indexes_and_snapshots_that_are_garbage_are_made_anew_and_nothing_is_lost() {
    let data = tempfile::tempdir().unwrap();
    let launch = launch(data.path());
    let numbered = |sequence: i32| numbered_batch(ProducerId(7), 0, sequence, &[&[sequence as u8; 100]]);
    for was_clean in [true, false] {
        let broker = launch.start();
        let mut wire = Wire::connect(broker.address());
        if was_clean {
            wire.create_topic("t", 1, &[]);
            for sequence in 0..5 {
                assert_eq!(wire.produce("t", 0, &numbered(sequence)).error_code, ErrorCode::NONE);
            }
            assert!(broker.terminate().0.success());
        } else {
            broker.kill();
        }
        let mut damaged = 0;
        for entry in fs::read_dir(data.path().join("t-0")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "index" || e == "timeindex" || e == "snapshot") {
                fs::write(&path, b"this is neither an index nor a snapshot").unwrap();
                damaged += 1;
            }
        }
        assert!(damaged >= 2, "{damaged} files");

        let broker = launch.start();
        let mut wire = Wire::connect(broker.address());
        assert_eq!(wire.values("t", 0), (0..5).map(|i| vec![i; 100]).collect::<Vec<_>>(), "{was_clean}");
        // What the producer has sent is known again, too.
        let again = wire.produce("t", 0, &numbered(4));
        assert_eq!((again.error_code, again.base_offset), (ErrorCode::NONE, 4));
        assert_eq!(wire.values("t", 0).len(), 5);
        let (status, log) = broker.terminate();
        assert!(status.success() && log.iter().all(|line| !line.is_error()), "{log:#?}");
    }
}
