//! `cargo xtask bench`: our broker beside Apache Kafka's, and our client beside others, interleaved run by run.

mod awaits;
mod brokers;
mod groups;
mod load;
mod partitions;
mod process;
mod report;
mod retained;
mod running;
mod tls;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};
use brokers::Broker;
use clap::{Parser, Subcommand, ValueEnum};
use load::{Client, Loads};
use report::{Idle, Sample};
use tls::Certificate;

use crate::tree;

/// Measures our broker beside Apache Kafka's, and our client beside franz-go and librdkafka: CPU-seconds per million
/// records, of broker and client apart.
///
/// Both brokers run at the same time and are warm; each run gives one the load of each client, then the other. What is
/// told is the median of all runs. All clients use six partitions, acks=all with idempotence, batches of 128 KiB and
/// 5 ms of linger. Linux only; needs go, a C compiler for librdkafka, and a JDK with Maven for Kafka. The full form
/// takes about an hour on two cores: let nothing else run meanwhile.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// A short form: one run of 100-byte records, two million read. Good for a first look, not for a verdict.
    #[arg(long)]
    quick: bool,
    /// Runs to take the median of: 5, or 1 with --quick.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// Bytes of a record's value.
    #[arg(long, value_name = "BYTES", value_delimiter = ',')]
    sizes: Vec<usize>,
    /// The producer's codecs.
    #[arg(long, value_name = "CODEC", value_delimiter = ',', default_value = "none,lz4,zstd")]
    codecs: Vec<Codec>,
    /// The clients that write and read.
    #[arg(long, value_name = "CLIENT", value_delimiter = ',', default_value = "franz-go,ottla,librdkafka")]
    clients: Vec<Client>,
    /// Read as a group's only member, with what that takes of commits and heartbeats, instead of by assignment.
    #[arg(long)]
    group: bool,
    /// Write and read over TLS 1.3; of the clients franz-go and ottla. Needs openssl.
    #[arg(long)]
    tls: bool,
    /// Leave Apache Kafka out.
    #[arg(long)]
    without_kafka: bool,
    /// Cargo's profile to build our broker with; `dist` is what is shipped, and takes longest to build.
    #[arg(long, default_value = "release")]
    profile: String,
    /// Where to write each run's figures, a line of JSON each, instead of `target/bench/results.jsonl`.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is measured by itself.
#[derive(Subcommand)]
enum Part {
    Awaits(awaits::Args),
    Groups(groups::Args),
    Handshakes(tls::Args),
    Partitions(partitions::Args),
    Retained(retained::Args),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Codec {
    None,
    Lz4,
    Zstd,
}

impl Codec {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// How much is done, by the form that was asked for.
#[derive(Clone, Copy)]
struct Volume {
    /// Bytes of values that a producer writes in a run.
    produced_bytes: usize,
    /// Records that a consumer reads in a run, the topic as often as that takes.
    consumed_records: usize,
    /// How long brokers are watched with nothing to do.
    idle: Duration,
}

const FULL: Volume =
    Volume { produced_bytes: 500_000_000, consumed_records: 20_000_000, idle: Duration::from_secs(10) };
const QUICK: Volume =
    Volume { produced_bytes: 100_000_000, consumed_records: 2_000_000, idle: Duration::from_secs(2) };

/// Record sizes of the full form, and of the quick one.
const FULL_SIZES: &[usize] = &[100, 1024];
const QUICK_SIZES: &[usize] = &[100];

/// Records that a codec compresses and inflates when it is measured alone.
const CODEC_RECORDS: usize = 2_000_000;

/// Rounds of the first case before anything counts, each of [`FULL`]'s volume: a JVM's first passes cost several
/// times what its later ones do.
const WARM_UP_ROUNDS: u32 = 3;

/// One case: what the records are like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Case {
    value_bytes: usize,
    codec: Codec,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(cfg!(target_os = "linux"), "the bench reads CPU times from /proc, which is Linux's");
    match &args.part {
        Some(Part::Awaits(args)) => return awaits::run(args),
        Some(Part::Groups(args)) => return groups::run(args),
        Some(Part::Handshakes(args)) => return tls::run(args),
        Some(Part::Partitions(args)) => return partitions::run(args),
        Some(Part::Retained(args)) => return retained::run(args),
        None => {}
    }
    let volume = if args.quick { QUICK } else { FULL };
    let runs = args.runs.unwrap_or(if args.quick { 1 } else { 5 });
    let directory = tree::path("target/bench");
    fs::create_dir_all(&directory)?;
    let tls = args.tls.then(|| Certificate::new(&directory)).transpose()?;
    let with_tls = [Client::FranzGo, Client::Ottla];
    ensure!(
        tls.is_none() || args.clients.iter().all(|client| with_tls.contains(client)),
        "by TLS there are `--clients franz-go,ottla`"
    );
    let loads = Loads::build(&args.clients, args.group, tls.as_ref(), &directory)?;
    let (mut brokers, idle) = start(args, tls.as_ref(), &directory, volume)?;

    let path = args.json.clone().unwrap_or_else(|| directory.join("results.jsonl"));
    let file = fs::File::create(&path).with_context(|| format!("writing `{}`", path.display()))?;
    let mut samples = Samples { loads, file, taken: Vec::new() };
    let cases = cases(args);
    let warm_up = args.clients.first().zip(cases.first());
    for round in 1..=WARM_UP_ROUNDS {
        eprintln!("warm-up {round} of {WARM_UP_ROUNDS}");
        for (broker, (client, case)) in brokers.iter().flat_map(|broker| warm_up.map(|w| (broker, w))) {
            samples.measure(*client, broker, *case, None, FULL)?;
        }
    }
    let mut codecs = Vec::new();
    for case in &cases {
        for broker in &brokers {
            samples.measure(args.clients[0], broker, *case, None, volume)?;
        }
        for run in 1..=runs {
            for client in &args.clients {
                for broker in &brokers {
                    samples.measure(*client, broker, *case, Some(run), volume)?;
                }
            }
            // Whoever went first goes last: what the one leaves behind is not always the same one's to find.
            brokers.reverse();
        }
        if args.clients.contains(&Client::Ottla) && case.codec != Codec::None {
            codecs.push(samples.loads.codec_alone(*case, CODEC_RECORDS)?);
        }
    }
    brokers.sort_by_key(|b| b.name() != brokers::OTTLA);
    let names: Vec<&str> = brokers.iter().map(Broker::name).collect();
    println!("{}", report::tables(&names, &args.clients, &idle, &samples.taken, runs));
    println!("{}", report::codecs(&codecs));
    println!("each run's figures are in `{}`", path.display());
    Ok(())
}

/// The cases, in order.
fn cases(args: &Args) -> Vec<Case> {
    let default = if args.quick { QUICK_SIZES } else { FULL_SIZES };
    let sizes = if args.sizes.is_empty() { default } else { &args.sizes };
    let of_size = |&value_bytes: &usize| args.codecs.iter().map(move |&codec| Case { value_bytes, codec });
    sizes.iter().flat_map(of_size).collect()
}

/// Starts the brokers one after the other, and watches each alone with nothing to do.
fn start(
    args: &Args,
    tls: Option<&Certificate>,
    directory: &Path,
    volume: Volume,
) -> anyhow::Result<(Vec<Broker>, Vec<Idle>)> {
    let ottla = brokers::build_ottla(&args.profile)?;
    let jars = if args.without_kafka { None } else { Some(brokers::kafka_jars(directory)?) };
    let mut brokers = vec![Broker::start_ottla(&ottla, directory, tls)?];
    let mut idle = vec![watch(&brokers[0], volume.idle)?];
    if let Some(jars) = jars {
        let kafka = Broker::start_kafka(&jars, directory, tls)?;
        idle.push(watch(&kafka, volume.idle)?);
        brokers.push(kafka);
    }
    Ok((brokers, idle))
}

fn watch(broker: &Broker, time: Duration) -> anyhow::Result<Idle> {
    let before = broker.cpu()?;
    thread::sleep(time);
    Ok(Idle {
        broker: broker.name(),
        ready: broker.ready_after(),
        rss_bytes: broker.rss_bytes()?,
        cpu_share: (broker.cpu()? - before).as_secs_f64() / time.as_secs_f64(),
    })
}

/// Takes samples and keeps them.
struct Samples {
    loads: Loads,
    file: fs::File,
    taken: Vec<Sample>,
}

impl Samples {
    /// Writes a topic and reads it. Without a number of the run it is a warm-up, and nothing is kept.
    fn measure(
        &mut self,
        client: Client,
        broker: &Broker,
        case: Case,
        run: Option<u32>,
        volume: Volume,
    ) -> anyhow::Result<()> {
        let produced = (volume.produced_bytes / case.value_bytes).max(1);
        let passes = match run {
            Some(_) => volume.consumed_records.div_ceil(produced),
            None => 1,
        };
        let topic = format!("bench-{}-{}-{}", case.value_bytes, case.codec.name(), run.unwrap_or(0));
        let load = self.loads.with(client, broker, &topic, case, produced);
        load.create()?;
        for (verb, figures) in [("produce", load.produce()?), ("consume", load.consume(passes)?)] {
            let Some(run) = run else { continue };
            eprintln!(
                "run {run}: {:7} {:5} bytes, {:4}, {:10} at {:12} client {:.3}, broker {:.3} CPU-s/M{}",
                verb,
                case.value_bytes,
                case.codec.name(),
                client.name(),
                broker.name(),
                figures.client_cpu_per_million(),
                figures.broker_cpu_per_million(),
                figures
                    .allocated_bytes
                    .map_or_else(String::new, |each| format!(", {each} bytes allocated each"))
            );
            let sample = Sample { broker: broker.name(), client, verb, case, run, figures };
            writeln!(self.file, "{}", sample.json())?;
            self.taken.push(sample);
        }
        load.delete()
    }
}
