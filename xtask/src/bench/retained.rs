//! `cargo xtask bench retained`: whether a log that keeps much is slower than one that keeps little: to append to, to
//! read the end of, and to start.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, ensure};
use clap::Parser;

use super::{
    process,
    running::{Running, Subject, tool},
};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// The topic that keeps much, and the one of the measurements.
const KEPT: &str = "kept";
const PROBE: &str = "probe";
/// Bytes of a record of the topic that keeps much.
const KEPT_RECORD_BYTES: u64 = 64 << 10;
/// Records that are appended, and read, in one measurement.
const PROBE_RECORDS: u64 = 2_000_000;
/// Records a second when latency is measured, and for how many.
const PACED_RATE: u64 = 10_000;
const PACED_RECORDS: u64 = 50_000;
/// Measurements of a state; their median is told.
const ROUNDS: usize = 3;

/// Measures append, fetch and start of a broker before and after a topic has grown to many GiB. Stops short of filling
/// the disk, and removes what it wrote. Linux only.
#[derive(Parser)]
pub(super) struct Args {
    /// How much the topic keeps, in GiB.
    #[arg(long, default_value_t = 20)]
    gib: u64,
    /// Space that must stay free on the disk, in GiB.
    #[arg(long, default_value_t = 4)]
    spare_gib: u64,
    /// How much more an append or a fetch may cost, or a start take, than before, in per cent.
    #[arg(long, default_value_t = 25)]
    slower_percent_max: u32,
    /// How much longer a start may take than before in any case, in ms: of less than that nothing can be told.
    #[arg(long, default_value_t = 100)]
    start_ms_slack: u64,
    #[command(flatten)]
    subject: Subject,
}

/// What one state of the log costs: each figure the median of its rounds.
#[derive(Clone, Copy)]
struct Figures {
    /// CPU-seconds of the broker for a million records.
    append_cpu_s: f64,
    fetch_cpu_s: f64,
    /// 99 % of appends at a moderate rate were acknowledged by then, in ms.
    append_p99_ms: f64,
    clean_start: Duration,
    killed_start: Duration,
    memory_bytes: u64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    args.subject.measure("retained", |program, data| measure(args, program, data))
}

fn measure(args: &Args, program: &Path, data: &Path) -> anyhow::Result<()> {
    let free = free_bytes(data)? / GIB;
    ensure!(
        free >= args.gib + args.spare_gib,
        "{free} GiB are free, {} are needed",
        args.gib + args.spare_gib
    );
    let before = figures(program, data)?;
    fill(args, program, data)?;
    let after = figures(program, data)?;
    tell(args.gib, before, after);

    let most = 1.0 + f64::from(args.slower_percent_max) / 100.0;
    let is_slower = |before: f64, after: f64| after > before * most;
    let starts_slower = |before: Duration, after: Duration| {
        is_slower(before.as_secs_f64(), after.as_secs_f64())
            && after > before + Duration::from_millis(args.start_ms_slack)
    };
    ensure!(!is_slower(before.append_cpu_s, after.append_cpu_s), "appends have become slower");
    ensure!(!is_slower(before.fetch_cpu_s, after.fetch_cpu_s), "fetches have become slower");
    ensure!(!starts_slower(before.clean_start, after.clean_start), "a start has become slower");
    ensure!(
        !starts_slower(before.killed_start, after.killed_start),
        "a start after a kill has become slower"
    );
    Ok(())
}

/// Writes until the topic has its size, a GiB at a time.
fn fill(args: &Args, program: &Path, data: &Path) -> anyhow::Result<()> {
    let broker = Running::start(program, data)?;
    let (records, bytes) = ((GIB / KEPT_RECORD_BYTES).to_string(), KEPT_RECORD_BYTES.to_string());
    for gib in 1..=args.gib {
        ensure!(free_bytes(data)? / GIB > args.spare_gib, "the disk would be full");
        tool(program, &["bench", "produce", KEPT, "-n", &records, "-s", &bytes], &broker.address)?;
        eprintln!("{gib} of {} GiB written", args.gib);
    }
    broker.terminate()
}

fn figures(program: &Path, data: &Path) -> anyhow::Result<Figures> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(round(program, data)?);
    }
    let median = |figure: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values[ROUNDS / 2]
    };
    Ok(Figures {
        append_cpu_s: median(|round| round.append_cpu_s),
        fetch_cpu_s: median(|round| round.fetch_cpu_s),
        append_p99_ms: median(|round| round.append_p99_ms),
        clean_start: Duration::from_secs_f64(median(|round| round.clean_start.as_secs_f64())),
        killed_start: Duration::from_secs_f64(median(|round| round.killed_start.as_secs_f64())),
        memory_bytes: median(|round| round.memory_bytes as f64) as u64,
    })
}

fn round(program: &Path, data: &Path) -> anyhow::Result<Figures> {
    let broker = Running::start(program, data)?;
    let (pid, address) = (broker.process.id(), broker.address.clone());
    let (records, paced, rate) =
        (PROBE_RECORDS.to_string(), PACED_RECORDS.to_string(), PACED_RATE.to_string());
    let costs = |args: &[&str]| -> anyhow::Result<f64> {
        let before = process::cpu(pid)?;
        tool(program, args, &address)?;
        Ok((process::cpu(pid)? - before).as_secs_f64() / PROBE_RECORDS as f64 * 1e6)
    };
    let append_cpu_s = costs(&["bench", "produce", PROBE, "-n", &records])?;
    let fetch_cpu_s = costs(&["bench", "consume", PROBE, "-n", &records])?;
    let latencies =
        tool(program, &["bench", "produce", PROBE, "-n", &paced, "-r", &rate, "--json"], &address)?;
    let latencies: serde_json::Value = serde_json::from_str(&latencies)?;
    let append_p99_ms = latencies["p99_us"].as_f64().context("the bench tells its 99th percentile")? / 1e3;
    tool(program, &["topic", "delete", PROBE], &address)?;
    let memory_bytes = process::rss_bytes(pid)?;
    broker.terminate()?;

    let broker = Running::start(program, data)?;
    let clean_start = broker.ready_after;
    broker.kill()?;
    let broker = Running::start(program, data)?;
    let killed_start = broker.ready_after;
    broker.terminate()?;
    Ok(Figures { append_cpu_s, fetch_cpu_s, append_p99_ms, clean_start, killed_start, memory_bytes })
}

fn tell(gib: u64, before: Figures, after: Figures) {
    let row = |name: &str, figure: fn(&Figures) -> f64| {
        println!("  {name:<34} {:>9.3} {:>9.3}", figure(&before), figure(&after));
    };
    println!("  {:<34} {:>9} {:>9}", "", "before", format!("{gib} GiB"));
    row("append, broker's CPU-s/M", |f| f.append_cpu_s);
    row("fetch, broker's CPU-s/M", |f| f.fetch_cpu_s);
    row("append at 10,000/s, p99 in ms", |f| f.append_p99_ms);
    row("start after a stop, ms", |f| f.clean_start.as_secs_f64() * 1e3);
    row("start after kill -9, ms", |f| f.killed_start.as_secs_f64() * 1e3);
    row("memory, MiB", |f| (f.memory_bytes / MIB) as f64);
}

fn free_bytes(directory: &Path) -> anyhow::Result<u64> {
    let output = Command::new("df").args(["-P", "-k"]).arg(directory).output().context("df")?;
    let text = String::from_utf8(output.stdout)?;
    let free_kib = text.lines().nth(1).and_then(|line| line.split_whitespace().nth(3));
    let free_kib: u64 =
        free_kib.and_then(|field| field.parse().ok()).with_context(|| format!("df says {text:?}"))?;
    Ok(free_kib << 10)
}
