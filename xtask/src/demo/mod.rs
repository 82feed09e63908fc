//! `cargo xtask demo`: builds the program, starts a broker, sends a file through it, checked line by line, and runs a stream of orders
//! whose services are of all languages.

mod broker;
mod bus;

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
pub use broker::DevBroker;
use clap::Parser;

use crate::{
    package::build_program,
    platform::{Build, TEST_PROFILE},
    tree,
};

/// Builds the program, starts a broker, sends a file of lines through it, and runs a stream of orders through all languages.
///
/// Every line of the file comes back: the count, a checksum and the order within each partition are compared. Then orders go from
/// service to service, each in another language (examples/one_bus), while a live view tells who reads what; at last everything is read
/// back, and each group must have handled each record exactly once.
#[derive(Parser)]
pub struct Args {
    /// Send the lines of this file instead of one that is made.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Lines of the file that is made.
    #[arg(long, default_value_t = 200_000, value_name = "N")]
    lines: usize,
    /// Partitions of the topic.
    #[arg(long, default_value_t = 3, value_name = "N")]
    partitions: usize,
    /// Orders of the stream.
    #[arg(long, default_value_t = 120_000, value_name = "N")]
    orders: u64,
    /// How many of them come in a second.
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    per_second: u64,
    /// Draw the stream's live view into this file, as an animated SVG.
    #[arg(long, value_name = "PATH")]
    record: Option<PathBuf>,
    /// Only the file: no languages.
    #[arg(long)]
    without_languages: bool,
    /// Only the languages: no file.
    #[arg(long, conflicts_with = "without_languages")]
    without_file: bool,
    /// Fail where a language's tools are missing, instead of going on without it.
    #[arg(long)]
    require_all: bool,
    /// Take the languages' packages as `cargo xtask package --profile ci` or the tests have left them in target/packages.
    #[arg(long)]
    as_built: bool,
}

const TOPIC: &str = "demo";

pub fn run(args: &Args) -> anyhow::Result<()> {
    let ottla = build()?;
    if !args.without_file {
        send_file(&ottla, args)?;
    }
    if !args.without_languages {
        let wanted = bus::Wanted {
            orders: args.orders,
            per_second: args.per_second,
            picture: args.record.as_deref(),
            require_all: args.require_all,
            as_built: args.as_built,
        };
        bus::run(&ottla, &wanted)?;
    }
    let program = ottla.strip_prefix(tree::path("")).unwrap_or(&ottla).display().to_string();
    println!(
        "\nWhere to go next\n  \
         {program} dev                                   a broker on 127.0.0.1:9092\n  \
         echo hello | {program} produce greetings        then: {program} consume greetings\n  \
         kcat -b 127.0.0.1:9092 -L                                 or any other client of Apache Kafka\n  \
         examples/one_bus                                          the services of the stream, one in each language\n  \
         cargo xtask test                                          everything, with every peer that is there\n  \
         README.md, ARCHITECTURE.md                                what it is, and how it is made"
    );
    Ok(())
}

/// Sends a file through a broker, and compares what comes back.
fn send_file(ottla: &Path, args: &Args) -> anyhow::Result<()> {
    let file = match &args.file {
        Some(file) => file.clone(),
        None => make_lines(args.lines)?,
    };
    let sent = Lines::read(&file)?;
    println!("input      {} lines, {:.1} MB: {}", sent.count, sent.bytes as f64 / 1e6, file.display());

    let began = Instant::now();
    let broker = DevBroker::start(ottla, &[])?;
    println!("broker     ready after {} ms on {}", began.elapsed().as_millis(), broker.address);
    let run = |args: &[&str]| {
        let mut command = Command::new(ottla);
        command.args(args).args(["--bootstrap-server", &broker.address]);
        command
    };
    let created = run(&["topic", "create", TOPIC, "--partitions", &args.partitions.to_string()]).output()?;
    ensure!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));

    let path = file.display().to_string();
    let took = timed(&mut run(&["produce", TOPIC, "--file", &path, "--quiet"]))?;
    report("produced", &sent, took);

    let began = Instant::now();
    let mut consumer = run(&["consume", TOPIC, "--verbose"]).stdout(Stdio::piped()).spawn()?;
    let stdout = consumer.stdout.take().context("stdout is piped")?;
    let received = check(BufReader::with_capacity(1 << 20, stdout), &file, args.file.is_none())?;
    ensure!(consumer.wait()?.success(), "the consumer failed");
    report("consumed", &received, began.elapsed());
    ensure!(received == sent, "what came back differs: {received:?}, not {sent:?}");
    println!(
        "checked    {} lines, checksum {:016x}, in order within each of {} partitions: all as sent",
        received.count, received.checksum, args.partitions
    );
    Ok(())
}

fn build() -> anyhow::Result<PathBuf> {
    println!(
        "building   cargo build --profile {TEST_PROFILE} -p ottla-cli (the first time takes some minutes)"
    );
    build_program(&Build::here(TEST_PROFILE)?)
}

/// Log-like lines, each with its number in front, the same every time.
fn make_lines(count: usize) -> anyhow::Result<PathBuf> {
    let directory = tree::path("target/demo");
    std::fs::create_dir_all(&directory)?;
    let path = directory.join(format!("{count}-lines.txt"));
    let mut out = BufWriter::new(File::create(&path)?);
    let services = ["checkout", "search", "profile", "inventory", "payments", "gateway"];
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for number in 0..count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let service = services[(state >> 60) as usize % services.len()];
        let (order, ms) = (state >> 40, state >> 20 & 0x7ff);
        writeln!(out, "{number} {service} order={order} took={ms}ms trace={state:016x} status=200")?;
    }
    out.flush()?;
    Ok(path)
}

/// What a file's lines come to, in whatever order.
#[derive(Debug, Default, Eq, PartialEq)]
struct Lines {
    count: usize,
    bytes: usize,
    /// The sum of the lines' hashes.
    checksum: u64,
}

impl Lines {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let mut lines = Self::default();
        for line in BufReader::with_capacity(1 << 20, file).split(b'\n') {
            let line = line?;
            lines.add(line.strip_suffix(b"\r").unwrap_or(&line));
        }
        Ok(lines)
    }

    fn add(&mut self, line: &[u8]) {
        self.count += 1;
        self.bytes += line.len();
        // FNV-1a.
        let hash = line.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        self.checksum = self.checksum.wrapping_add(hash);
    }
}

/// Reads what the consumer prints: partition, offset, timestamp, key, value, by tabs.
fn check(output: impl BufRead, file: &Path, numbered: bool) -> anyhow::Result<Lines> {
    let mut lines = Lines::default();
    let mut last: HashMap<Vec<u8>, (i64, i64)> = HashMap::new();
    for line in output.split(b'\n') {
        let line = line?;
        let mut parts = line.splitn(5, |&byte| byte == b'\t');
        let mut next = || parts.next().with_context(|| format!("a line of the consumer's: {line:?}"));
        let (partition, offset) = (next()?.to_vec(), number(next()?)?);
        let (_timestamp, _key, value) = (next()?, next()?, next()?);
        lines.add(value);
        // Lines that were made say where they stood, so their order within a partition can be seen.
        let stood =
            if numbered { number(value.split(|&b| b == b' ').next().unwrap_or_default())? } else { offset };
        if let Some((last_offset, last_stood)) = last.insert(partition, (offset, stood)) {
            ensure!(offset == last_offset + 1, "offset {offset} follows {last_offset}");
            ensure!(stood > last_stood, "line {stood} of {} follows line {last_stood}", file.display());
        }
    }
    Ok(lines)
}

fn number(text: &[u8]) -> anyhow::Result<i64> {
    std::str::from_utf8(text)?.parse().with_context(|| format!("a number is meant: {text:?}"))
}

fn timed(command: &mut Command) -> anyhow::Result<Duration> {
    let began = Instant::now();
    ensure!(command.status()?.success(), "{command:?} failed");
    Ok(began.elapsed())
}

fn report(what: &str, lines: &Lines, took: Duration) {
    let seconds = took.as_secs_f64();
    println!(
        "{what}   {} records in {seconds:.2} s: {:.0} records/s, {:.1} MB/s, start of the program included",
        lines.count,
        lines.count as f64 / seconds,
        lines.bytes as f64 / 1e6 / seconds
    );
}
