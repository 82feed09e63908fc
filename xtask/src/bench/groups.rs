//! `cargo xtask bench groups`: how long a group's rebalances take at either broker, and what a member costs that has
//! nothing to read.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use clap::Parser;

use super::{
    brokers::{self, Broker},
    load::{Client, Loads},
    process,
};
use crate::tree;

const PROTOCOLS: [&str; 2] = ["classic", "consumer"];

/// Measures rebalances of a group of our client's members, in both protocols, at our broker and at Apache Kafka's; and the
/// CPU time of a member that has nothing to read. Linux only.
#[derive(Parser)]
pub(super) struct Args {
    /// How many members.
    #[arg(long, default_value_t = 100)]
    members: usize,
    /// How many partitions they share.
    #[arg(long, default_value_t = 1_000)]
    partitions: usize,
    /// Only the CPU time of a member that has nothing to read.
    #[arg(long)]
    idle: bool,
    /// Leave Apache Kafka out.
    #[arg(long)]
    without_kafka: bool,
    /// Cargo's profile to build our broker with.
    #[arg(long, default_value = "release")]
    profile: String,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let directory = tree::path("target/bench");
    std::fs::create_dir_all(&directory)?;
    let loads = Loads::build(&[Client::Ottla], false, None, &directory)?;
    let mut brokers = vec![Broker::start_ottla(&brokers::build_ottla(&args.profile)?, &directory, None)?];
    if !args.without_kafka {
        brokers.push(Broker::start_kafka(&brokers::kafka_jars(&directory)?, &directory, None)?);
    }
    let program = loads.program(Client::Ottla);
    for broker in &brokers {
        loads.create_topic(broker, "shared", args.partitions)?;
    }
    if !args.idle {
        rebalances(args, &program, &brokers)?;
    }
    println!("a member alone, {} partitions, nothing to read", args.partitions);
    println!("  {:14} {:10} {:>9} {:>9}", "broker", "protocol", "% of core", "wakes/s");
    for broker in &brokers {
        for protocol in PROTOCOLS {
            let (percent, wakes) = idle(args, &program, broker, protocol)?;
            println!("  {:14} {protocol:10} {percent:>9.3} {wakes:>9.1}", broker.name());
        }
    }
    Ok(())
}

fn rebalances(args: &Args, program: &Path, brokers: &[Broker]) -> anyhow::Result<()> {
    println!("{} members, {} partitions; seconds until each has its share", args.members, args.partitions);
    println!("  {:14} {:10} {:>9} {:>9} {:>9}", "broker", "protocol", "all join", "one goes", "one comes");
    for broker in brokers {
        for protocol in PROTOCOLS {
            let told = rebalance(args, program, broker, protocol)?;
            let seconds =
                |name: &str| told[name].as_f64().with_context(|| format!("the load tells `{name}`"));
            println!(
                "  {:14} {protocol:10} {:>9.2} {:>9.2} {:>9.2}",
                broker.name(),
                seconds("all_s")?,
                seconds("leave_s")?,
                seconds("come_s")?
            );
        }
    }
    Ok(())
}

fn load(args: &Args, program: &Path, verb: &str, broker: &Broker, protocol: &str) -> Command {
    let mut load = Command::new(program);
    load.arg(verb)
        .arg(format!("--bootstrap={}", broker.address()))
        .args(["--topic=shared", &format!("--partitions={}", args.partitions)])
        .arg(format!("--members={}", args.members))
        .args([&format!("--group={verb}-{protocol}"), &format!("--protocol={protocol}")]);
    load
}

fn rebalance(
    args: &Args,
    program: &Path,
    broker: &Broker,
    protocol: &str,
) -> anyhow::Result<serde_json::Value> {
    let output = load(args, program, "rebalance", broker, protocol).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the group failed at {}: {}", broker.name(), said.trim());
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Per cent of a core that a member takes, and how often a second its threads are woken.
fn idle(args: &Args, program: &Path, broker: &Broker, protocol: &str) -> anyhow::Result<(f64, f64)> {
    let mut child =
        load(args, program, "idle", broker, protocol).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let pid = child.id();
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    let mut lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
    let mut next =
        || lines.next().context("the load ended early; it said why above")?.map_err(anyhow::Error::from);
    ensure!(next()? == "ready", "the load did not say `ready`");
    let before = process::threads(pid)?;
    writeln!(stdin)?;
    let done: serde_json::Value = serde_json::from_str(&next()?)?;
    let after = process::threads(pid)?;
    let took = (after.cpu - before.cpu).as_secs_f64();
    let wakes = (after.wakes - before.wakes) as f64;
    let watched = done["wall_s"].as_f64().context("the load tells `wall_s`")?;
    writeln!(stdin)?;
    child.wait()?;
    Ok((took / watched * 100.0, wakes / watched))
}
