//! Replays the fuzzers' corpora through what the fuzzers run, on stable Rust and in every test run.

#[allow(dead_code, unreachable_pub, reason = "public for the crate of the fuzz targets")]
#[path = "../../../fuzz/src/messages.rs"]
mod messages;
#[allow(unreachable_pub, reason = "public for the crate of the fuzz targets")]
#[path = "../../../fuzz/src/records.rs"]
mod records;

use std::{fs, path::Path};

/// What a fuzzer runs on an input; it panics at a fault.
type Target = fn(&[u8]);

/// Runs `target` on every file of its corpus; says how many there were.
fn replay(name: &str, target: Target) -> usize {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut count = 0;
    for file in files {
        let path = file.expect("a directory entry").path();
        target(&fs::read(&path).expect("a readable file"));
        count += 1;
    }
    count
}

#[test]
fn every_corpus_runs_through_its_target() {
    let targets: [(&str, Target); 9] = [
        ("frame", messages::frame),
        ("header", messages::header),
        ("messages", messages::messages),
        ("record_batch", records::record_batch),
        ("legacy", records::legacy),
        ("gzip", records::gzip),
        ("snappy", records::snappy),
        ("lz4", records::lz4),
        ("zstd", records::zstd),
    ];
    for (name, target) in targets {
        let count = replay(name, target);
        assert!(count >= 3, "{name} has {count} inputs");
    }
}
