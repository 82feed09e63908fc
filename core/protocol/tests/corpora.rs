//! Replays the fuzzers' corpora through what the fuzzers run, on stable Rust and in every test run.

#[allow(unreachable_pub, reason = "public for the crate of the fuzz targets")]
#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;
#[allow(dead_code, unreachable_pub, reason = "public for the crate of the fuzz targets")]
#[path = "../../../fuzz/src/messages.rs"]
mod messages;
#[allow(unreachable_pub, reason = "public for the crate of the fuzz targets")]
#[path = "../../../fuzz/src/records.rs"]
mod records;

#[test]
fn every_corpus_runs_through_its_target() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        &[
            ("frame", messages::frame),
            ("header", messages::header),
            ("messages", messages::messages),
            ("record_batch", records::record_batch),
            ("legacy", records::legacy),
            ("gzip", records::gzip),
            ("snappy", records::snappy),
            ("lz4", records::lz4),
            ("zstd", records::zstd),
        ],
    );
}
