//! Whatever one language writes, every other reads equal, and keys have the same partitions in all.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;

use ottla_conformance::{
    brokers::{Make, Target},
    languages::Language,
    line::{Line, encode},
    runner::Runner,
};
use ottla_interop::or_skip;

const RUST_RUNNER: &str = env!("CARGO_BIN_EXE_conformance-rust");
const PARTITIONS: i32 = 3;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

#[test]
fn every_language_reads_at_our_broker_what_any_has_written() {
    all_pairs(Make::Ottla);
}

#[test]
fn every_language_reads_at_apache_kafka_what_any_has_written() {
    all_pairs(Make::Apache);
}

/// A record by its place.
type Written = BTreeMap<(i32, i64), Line>;

/// One process of each language writes all that it writes, and then one of each reads all that was written: starting one costs
/// more than what it does here.
fn all_pairs(make: Make) {
    let Some(target) = or_skip(make.shared()) else { return };
    let there = |language: &Language| or_skip(language.runner(RUST_RUNNER)).is_some();
    let languages: Vec<Language> = Language::ALL.into_iter().filter(there).collect();
    let mut topics: BTreeMap<String, Written> = BTreeMap::new();
    let mut partitions_of_keys: Option<Vec<i32>> = None;
    for writer in &languages {
        let mut runner = start(*writer);
        for codec in CODECS {
            let topic = format!("matrix-{}-{codec}", writer.name());
            let (written, partitions) = write(&mut runner, codec, &topic, target.as_ref());
            let first = partitions_of_keys.get_or_insert_with(|| partitions.clone());
            assert_eq!(*first, partitions, "{} has other partitions for the same keys", writer.name());
            topics.insert(topic, written);
        }
        runner.end().unwrap();
    }
    for reader in &languages {
        let mut runner = start(*reader);
        for (topic, written) in &topics {
            let read = read(&mut runner, topic, written.len(), target.as_ref());
            assert_eq!(read, *written, "{} of {topic}", reader.name());
        }
        runner.end().unwrap();
    }
}

/// Records in all shapes that a key, a value and headers can have.
fn corpus() -> Vec<Line> {
    let record = |at: usize| Line::new("send").pair("timestamp", (1_760_000_000_000 + at as i64).to_string());
    let mut records = vec![
        record(0),
        record(1).pair("value", ""),
        record(2).pair("key", "").pair("value", "empty key"),
        record(3).pair("key", "deleted"),
        record(4).pair("key", "größe, 😀").pair("value", "Ελληνικά = 100 %"),
        record(5).pair("key", [0u8, 255, 128]).pair("value", (0..=255u8).collect::<Vec<_>>()),
        record(6).pair("key", "long").pair("value", "x".repeat(200_000)),
    ];
    let header = |name: &str, value: &[u8]| format!("{}:{}", encode(name.as_bytes()), encode(value));
    records.push(
        record(7)
            .pair("key", "headers")
            .pair("header.0", header("trace", b"7f3a"))
            .pair("header.1", header("trace", &[0, 255]))
            .pair("header.2", header("leer", b""))
            .pair("header.3", encode("nichts: größe".as_bytes())),
    );
    records
        .extend((8..40).map(|at| record(at).pair("key", format!("key-{at}")).pair("value", at.to_string())));
    records
}

/// What was written, and the partitions of the keys in their order.
fn write(runner: &mut Runner, codec: &str, topic: &str, target: &dyn Target) -> (Written, Vec<i32>) {
    let (admin, producer) = (format!("admin-{codec}"), format!("producer-{codec}"));
    ask(runner, &client("admin", &admin, target));
    let create = Line::new("create_topic").pair("client", &*admin).pair("topic", topic);
    ask(runner, &create.pair("partitions", PARTITIONS.to_string()));
    ask(runner, &client("producer", &producer, target).pair("set.compression.type", codec));
    let (mut written, mut partitions) = (Written::new(), Vec::new());
    for record in corpus() {
        let send = record.pairs.iter().fold(
            Line::new("send").pair("client", &*producer).pair("topic", topic),
            |line, (name, value)| line.pair(name.as_str(), value.clone()),
        );
        let answer = ask(runner, &send).1;
        let place = (answer.number("partition").unwrap().unwrap(), answer.number("offset").unwrap().unwrap());
        if record.bytes("key").is_some() {
            partitions.push(place.0);
        }
        written.insert(place, plain(&record));
    }
    ask(runner, &Line::new("close").pair("client", &*producer));
    (written, partitions)
}

fn read(runner: &mut Runner, topic: &str, count: usize, target: &dyn Target) -> Written {
    ask(runner, &client("consumer", topic, target).pair("set.auto.offset.reset", "earliest"));
    let partitions: Vec<String> = (0..PARTITIONS).map(|partition| format!("{topic}-{partition}")).collect();
    let assign = Line::new("assign").pair("client", topic).pair("partitions", partitions.join(","));
    ask(runner, &assign);
    let records = ask(runner, &Line::new("poll").pair("client", topic).pair("count", count.to_string())).0;
    ask(runner, &Line::new("close").pair("client", topic));
    let place = |record: &Line| {
        (record.number("partition").unwrap().unwrap(), record.number("offset").unwrap().unwrap())
    };
    records.iter().map(|record| (place(record), plain(record))).collect()
}

/// To make a client of this name.
fn client(kind: &str, name: &str, target: &dyn Target) -> Line {
    Line::new(kind).pair("client", name).pair("set.bootstrap.servers", target.bootstrap())
}

fn start(language: Language) -> Runner {
    Runner::start(language.runner(RUST_RUNNER).unwrap()).unwrap()
}

fn ask(runner: &mut Runner, line: &Line) -> (Vec<Line>, Line) {
    let answer = runner.ask(line).unwrap();
    assert_eq!(answer.line.word, "ok", "{}: {}", line.word, answer.line);
    (answer.records, answer.line)
}

/// What of a record is its own, in one order.
fn plain(record: &Line) -> Line {
    let is_its_own =
        |name: &str| ["timestamp", "key", "value"].contains(&name) || name.starts_with("header.");
    let mut pairs: Vec<_> = record.pairs.iter().filter(|(name, _)| is_its_own(name)).cloned().collect();
    pairs.sort();
    Line { word: "record".to_owned(), pairs }
}
