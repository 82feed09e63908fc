//! Replays the fuzzers' corpora of logins through what the fuzzers run, on stable Rust and in every test run.

#[allow(unreachable_pub, reason = "public for the crate of the fuzz targets")]
#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;
#[allow(dead_code, unreachable_pub, reason = "public for the crate of the fuzz targets")]
#[path = "../../../fuzz/src/logins.rs"]
mod logins;

#[test]
fn every_corpus_runs_through_its_target() {
    corpus::replay(env!("CARGO_MANIFEST_DIR"), &[("sasl", logins::sasl), ("jwt", logins::jwt)]);
}
