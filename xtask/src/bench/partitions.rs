//! `cargo xtask bench partitions`: what many idle partitions cost: memory, a start after a stop in order, and one
//! after `kill -9`.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Parser;

use super::{
    process,
    running::{Running, Subject, tool},
};

/// How long a broker is left alone before its memory is read.
const REST: Duration = Duration::from_secs(3);
/// Partitions of one topic; one request makes no more.
const PARTITIONS_PER_TOPIC: usize = 1_000;
const MIB: u64 = 1 << 20;

/// Measures a broker with many idle partitions: memory, and how long it takes until it listens, after a stop in order
/// and after a kill. Fails if it is over the limits. Linux only.
#[derive(Parser)]
pub(super) struct Args {
    /// How many partitions.
    #[arg(long, default_value_t = 10_000)]
    partitions: usize,
    /// A record in each partition, so that there is something to recover.
    #[arg(long)]
    written: bool,
    /// Most memory that it may take, in MiB.
    #[arg(long, default_value_t = 100)]
    memory_mib_max: u64,
    /// Longest start after a stop in order, in ms.
    #[arg(long, default_value_t = 2_000)]
    clean_ms_max: u128,
    /// Longest start after a kill, in ms.
    #[arg(long, default_value_t = 5_000)]
    killed_ms_max: u128,
    #[command(flatten)]
    subject: Subject,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    args.subject.measure("partitions", |program, data| measure(args, program, data))
}

fn measure(args: &Args, program: &Path, data: &Path) -> anyhow::Result<()> {
    let broker = Running::start(program, data)?;
    let began = Instant::now();
    let topics = args.partitions.div_ceil(PARTITIONS_PER_TOPIC);
    let count = |topic: usize| (args.partitions - topic * PARTITIONS_PER_TOPIC).min(PARTITIONS_PER_TOPIC);
    for topic in 0..topics {
        let (name, count) = (format!("idle{topic}"), count(topic).to_string());
        tool(program, &["topic", "create", &name, "--partitions", &count], &broker.address)?;
    }
    let created = began.elapsed();
    if args.written {
        for topic in 0..topics {
            write_to_all(program, &format!("idle{topic}"), count(topic), &broker.address)?;
        }
    }
    std::thread::sleep(REST);
    let fresh_bytes = process::rss_bytes(broker.process.id())?;
    let began = Instant::now();
    broker.terminate()?;
    let stopped = began.elapsed();

    let broker = Running::start(program, data)?;
    let after_clean = broker.ready_after;
    std::thread::sleep(REST);
    let cpu = process::cpu(broker.process.id())?;
    std::thread::sleep(REST);
    let idle_cpu = process::cpu(broker.process.id())? - cpu;
    let idle_bytes = process::rss_bytes(broker.process.id())?;
    broker.kill()?;

    let broker = Running::start(program, data)?;
    let after_kill = broker.ready_after;
    std::thread::sleep(REST);
    let killed_bytes = process::rss_bytes(broker.process.id())?;
    broker.kill()?;

    println!("{} partitions{}", args.partitions, if args.written { ", written to" } else { ", idle" });
    println!("  created in              {:>7} ms", created.as_millis());
    println!("  memory after that       {:>7} MiB", fresh_bytes / MIB);
    println!("  stopped in              {:>7} ms", stopped.as_millis());
    println!("  start after a stop      {:>7} ms, {} at most", after_clean.as_millis(), args.clean_ms_max);
    println!("  memory after that       {:>7} MiB, {} at most", idle_bytes / MIB, args.memory_mib_max);
    println!("  CPU of {} idle seconds   {:>7} ms", REST.as_secs(), idle_cpu.as_millis());
    println!("  start after kill -9     {:>7} ms, {} at most", after_kill.as_millis(), args.killed_ms_max);
    println!("  memory after that       {:>7} MiB, {} at most", killed_bytes / MIB, args.memory_mib_max);
    ensure!(
        after_clean.as_millis() <= args.clean_ms_max
            && after_kill.as_millis() <= args.killed_ms_max
            && idle_bytes.max(killed_bytes) / MIB <= args.memory_mib_max,
        "over the limits"
    );
    Ok(())
}

/// A record to each partition of a topic.
fn write_to_all(program: &Path, topic: &str, count: usize, address: &str) -> anyhow::Result<()> {
    let mut producer = Command::new(program)
        .args(["produce", topic, "--json-lines", "--quiet", "--bootstrap-server", address])
        .stdin(Stdio::piped())
        .spawn()?;
    let mut lines = producer.stdin.take().context("stdin is piped")?;
    for partition in 0..count {
        writeln!(lines, r#"{{"value":"a record","partition":{partition}}}"#)?;
    }
    drop(lines);
    ensure!(producer.wait()?.success(), "the records for `{topic}` could not be written");
    Ok(())
}
