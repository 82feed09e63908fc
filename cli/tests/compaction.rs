//! What compaction says of a damaged segment, and that it goes on beside it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;

use ottla_interop::{
    program::Launch,
    wire::{TIMESTAMP, Wire},
};
use ottla_protocol::{
    Bytes,
    compression::Compressor,
    error_code::ErrorCode,
    record::{BatchBuilder, Seal},
};

/// A record of that hour, so that each begins a segment.
fn hourly(hour: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
    let value = format!("{hour}");
    builder.push(TIMESTAMP + 4_000_000 * hour, Some(b"key"), Some(value.as_bytes()), &[]).unwrap();
    builder.seal(&Seal::default(), &mut Compressor::new()).unwrap().into_bytes()
}

#[test]
fn a_damaged_segment_is_told_once_and_other_partitions_are_compacted() {
    let data = tempfile::tempdir().unwrap();
    let launch = Launch::new(env!("CARGO_BIN_EXE_ottla"), data.path())
        .set("log.cleaner.backoff.ms", 10)
        .set("log.cleaner.min.cleanable.ratio", 0.01);
    let broker = launch.clone().set("log.cleaner.enable", false).start();
    let mut wire = Wire::connect(broker.address());
    for topic in ["rotten", "sound"] {
        wire.create_topic(topic, 1, &[("cleanup.policy", "compact"), ("segment.ms", "3600000")]);
        for hour in 0..5 {
            assert_eq!(wire.produce(topic, 0, &hourly(hour)).error_code, ErrorCode::NONE);
        }
    }
    broker.terminate();
    let segment = data.path().join("rotten-0").join("00000000000000000002.log");
    let mut bytes = fs::read(&segment).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&segment, &bytes).unwrap();

    let broker = launch.start();
    let told = broker.log().wait_for("is not compacted any more");
    assert!(told.is_error());
    assert_eq!(told.field("partition").unwrap(), "rotten-0");
    let error = told.field("error").unwrap();
    assert!(error.contains("00000000000000000002.log` is damaged at byte 0"), "{error}");
    let compacted = |count| {
        let lines = broker.log().wait_for_count("a log is compacted", count);
        assert!(lines.iter().all(|line| line.field("partition").unwrap() == "sound-0"), "{lines:?}");
    };
    compacted(1);
    // Both take records, and the sound one is compacted again.
    let mut wire = Wire::connect(broker.address());
    for hour in 5..9 {
        for topic in ["rotten", "sound"] {
            assert_eq!(wire.produce(topic, 0, &hourly(hour)).error_code, ErrorCode::NONE);
        }
        compacted(hour as usize - 3);
    }
    assert_eq!(broker.log().with("is not compacted any more").len(), 1);
    assert_eq!(fs::read(&segment).unwrap(), bytes, "it is left as it is");
    broker.terminate();
}
