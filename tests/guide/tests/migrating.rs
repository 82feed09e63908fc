//! Each program of `examples/migrating` that was written for another client, and what it was ported to: with the same records, from
//! SIGTERM to the last line, both write the same, commit the same and say the same.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use ottla::{
    Admin, Consumer, NewTopic, Producer, Record, TopicPartition,
    config::{AdminConfig, ConsumerConfig, OffsetReset, ProducerConfig},
};
use ottla_guide::{
    languages::{compile, compile_typescript, installed, line_by_line},
    run::Program,
};
use ottla_interop::{Missing, broker::TestBroker, kafka::QUICK_GROUPS, or_skip, path, peers};
use rustix::process::Signal;
use tempfile::TempDir;

/// Records that each program reads.
const RECORDS: usize = 300;
const PARTITIONS: i32 = 3;

#[test]
fn a_confluent_kafka_script_and_its_port_do_the_same() {
    let port = Port {
        of: "confluent-kafka",
        original: || python(peers::confluent()?.program(), "confluent-kafka/original.py"),
        ported: || python(&installed("target/packages/python/bin/python")?, "confluent-kafka/port.py"),
        record: |number| {
            let key = format!("customer-{}", number % 17);
            match number % 50 {
                13 => (key, "not json".to_owned()),
                14 => (key, format!("{{\"id\": {number}}}")),
                _ => (key, format!("{{\"id\": {number}, \"count\": {}, \"cents\": 250}}", number % 7)),
            }
        },
        outputs: &["invoices", "rejected"],
        progress: "300 orders so far",
        result: "288 invoiced, 12 rejected",
    };
    or_skip(port.run());
}

#[test]
fn an_aiokafka_service_and_its_port_do_the_same() {
    let port = Port {
        of: "aiokafka",
        original: || python(peers::aiokafka()?.program(), "aiokafka/original.py"),
        ported: || python(&installed("target/packages/python/bin/python")?, "aiokafka/port.py"),
        record: |number| (format!("customer-{}", number % 17), (number * 3).to_string()),
        outputs: &["totals"],
        progress: "300 payments so far",
        result: "300 payments",
    };
    or_skip(port.run());
}

#[test]
fn a_kafkajs_service_and_its_port_do_the_same() {
    let port = Port {
        of: "kafkajs",
        original: || {
            let mut command = Command::new("node");
            command.env("NODE_PATH", peers::kafkajs_modules()?).arg(examples().join("kafkajs/original.js"));
            Ok((command, None))
        },
        ported: || {
            let directory = tempfile::tempdir()?;
            std::fs::copy(examples().join("kafkajs/port.ts"), directory.path().join("port.ts"))?;
            compile_typescript(directory.path(), "port.ts")?;
            let mut command = Command::new("node");
            command.arg(directory.path().join("port.js"));
            Ok((command, Some(directory)))
        },
        record: |number| (format!("customer-{}", number % 17), format!("{{\"cents\": {}}}", number * 10)),
        outputs: &["totals"],
        progress: "300 orders so far",
        result: "300 orders",
    };
    or_skip(port.run());
}

#[test]
fn a_librdkafka_program_and_its_port_do_the_same() {
    let port = Port {
        of: "librdkafka",
        original: || {
            let directory = tempfile::tempdir()?;
            let program = directory.path().join("original");
            let compiled = Command::new("cc")
                .arg(path("examples/migrating/librdkafka/original.c"))
                .args(["-std=gnu99", "-Wall", "-Wextra", "-Werror", "-o"])
                .arg(&program)
                .arg("-lrdkafka")
                .output();
            match compiled {
                Ok(compiled) if compiled.status.success() => Ok((line_by_line(&program), Some(directory))),
                Ok(compiled) => {
                    let said = String::from_utf8_lossy(&compiled.stderr).into_owned();
                    let is_missing = said.contains("rdkafka.h: No such file") || said.contains("-lrdkafka");
                    ensure!(!is_missing, Missing(format!("librdkafka-dev: {said}")));
                    anyhow::bail!("{said}")
                }
                Err(error) => Err(Missing(format!("a C compiler: {error}")).into()),
            }
        },
        ported: || {
            let directory = tempfile::tempdir()?;
            let program = directory.path().join("port");
            compile("cc", &["-std=c99"], &path("examples/migrating/librdkafka/port.c"), &program)?;
            Ok((line_by_line(&program), Some(directory)))
        },
        record: |number| {
            let key = format!("sensor-{}", number % 17);
            match number % 30 {
                7 => (key, "broken".to_owned()),
                _ => (key, format!("celsius={}.5", number % 40)),
            }
        },
        outputs: &["alerts"],
        progress: "300 readings so far",
        result: "300 readings, 67 alerts, 10 unreadable",
    };
    or_skip(port.run());
}

/// How to run a program, and the directory that it needs to be there.
type Ready = (Command, Option<TempDir>);

/// A program for another client, and for ours.
struct Port {
    of: &'static str,
    original: fn() -> anyhow::Result<Ready>,
    ported: fn() -> anyhow::Result<Ready>,
    /// Key and value of the `n`th record that it reads.
    record: fn(usize) -> (String, String),
    /// The topics that it writes to, as its arguments name them.
    outputs: &'static [&'static str],
    /// What it says once it has done all.
    progress: &'static str,
    /// What it says at its end.
    result: &'static str,
}

/// What came of a program: by topic and key, what it has written, in order; and how much it has committed.
#[derive(Debug, PartialEq)]
struct Outcome {
    written: BTreeMap<(String, String), Vec<Written>>,
    committed: i64,
}

/// A value, and its headers.
type Written = (String, Vec<(String, String)>);

impl Port {
    fn run(&self) -> anyhow::Result<()> {
        let commands = [("original", (self.original)()?), ("port", (self.ported)()?)];
        let broker =
            TestBroker::start(&[&QUICK_GROUPS[..], &[("group.initial.rebalance.delay.ms", "0")]].concat());
        let bootstrap = broker.bootstrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.fill(&bootstrap))?;
        let mut outcomes = Vec::new();
        for (which, (mut command, _directory)) in commands {
            command.args([&bootstrap, which, "input"]);
            command.args(self.outputs.iter().map(|output| format!("{which}-{output}")));
            let outcome =
                self.attempt(command).and_then(|()| runtime.block_on(self.outcome(&bootstrap, which)));
            outcomes.push(outcome.with_context(|| format!("{} {which}", self.of))?);
        }
        ensure!(outcomes[0].committed == RECORDS as i64, "committed are {}", outcomes[0].committed);
        ensure!(outcomes[0] == outcomes[1], "{:#?}\nis not\n{:#?}", outcomes[1], outcomes[0]);
        Ok(())
    }

    fn attempt(&self, command: Command) -> anyhow::Result<()> {
        let mut program = Program::start(command)?;
        program.wait_for(self.progress)?;
        program.signal(Signal::TERM)?;
        let ended = program.end()?;
        ensure!(ended.status.success(), "{}: {:?} {}", ended.status, ended.printed, ended.complaints);
        let last = ended.printed.last().map(String::as_str);
        ensure!(last == Some(self.result), "{last:?} was the last word, not `{}`", self.result);
        let is_told = ended.printed.iter().any(|line| line.starts_with("assigned: "));
        ensure!(is_told, "nobody said which partitions were assigned: {:?}", ended.printed);
        Ok(())
    }

    /// Makes the topics, and puts the records into the one that is read.
    async fn fill(&self, bootstrap: &str) -> anyhow::Result<()> {
        let admin =
            Admin::new(AdminConfig { bootstrap_servers: vec![bootstrap.to_owned()], ..Default::default() })?;
        let outputs =
            self.outputs.iter().flat_map(|output| [format!("original-{output}"), format!("port-{output}")]);
        for name in outputs.chain(["input".to_owned()]) {
            admin.create_topic(NewTopic::new(name).partitions(PARTITIONS)).await?;
        }
        let producer = Producer::new(ProducerConfig {
            bootstrap_servers: vec![bootstrap.to_owned()],
            ..Default::default()
        })?;
        for number in 0..RECORDS {
            let (key, value) = (self.record)(number);
            let record = Record::to("input").key(&key).value(&value).header("number", "7");
            drop(producer.send(record).await?);
        }
        producer.flush().await?;
        Ok(())
    }

    async fn outcome(&self, bootstrap: &str, which: &str) -> anyhow::Result<Outcome> {
        let mut written = BTreeMap::<_, Vec<Written>>::new();
        for output in self.outputs {
            let topic = format!("{which}-{output}");
            for (key, one) in all(bootstrap, &topic).await? {
                written.entry(((*output).to_owned(), key)).or_default().push(one);
            }
        }
        let admin =
            Admin::new(AdminConfig { bootstrap_servers: vec![bootstrap.to_owned()], ..Default::default() })?;
        let (_, offsets) = admin.list_group_offsets([which]).await?.pop().context("a group was asked for")?;
        let committed = offsets?.values().map(|committed| committed.offset).sum();
        Ok(Outcome { written, committed })
    }
}

/// All records of a topic: those of a key in their order.
async fn all(bootstrap: &str, topic: &str) -> anyhow::Result<Vec<(String, Written)>> {
    let consumer = Consumer::new(ConsumerConfig {
        bootstrap_servers: vec![bootstrap.to_owned()],
        auto_offset_reset: OffsetReset::Earliest,
        ..Default::default()
    })?;
    let partitions: Vec<_> = (0..PARTITIONS).map(|partition| TopicPartition::new(topic, partition)).collect();
    let mut left: i64 = consumer.end_offsets(&partitions).await?.values().sum();
    consumer.assign(partitions)?;
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let mut found = Vec::new();
    while left > 0 {
        for record in &consumer.next_batch(1000).await? {
            let record = record?;
            let headers =
                record.headers().iter().map(|header| (header.name().into_owned(), text(header.value)));
            found.push((text(record.key()), (text(record.value()), headers.collect())));
            left -= 1;
        }
    }
    Ok(found)
}

fn python(python: &Path, program: &str) -> anyhow::Result<Ready> {
    let mut command = Command::new(python);
    command.arg(examples().join(program));
    Ok((command, None))
}

fn examples() -> PathBuf {
    path("examples/migrating")
}
