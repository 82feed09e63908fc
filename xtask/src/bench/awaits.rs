//! `cargo xtask bench awaits`: how long a program waits for a record that it sends alone.

use clap::Parser;

use super::{
    Case, Codec,
    brokers::{self, Broker},
    load::{Client, Loads},
};
use crate::tree;

/// Measures sends that are awaited one after the other, with no linger: quantiles of how long each takes, and the
/// client's CPU time. Of the clients in Java. Linux only.
#[derive(Parser)]
pub(super) struct Args {
    /// How many sends.
    #[arg(long, default_value_t = 20_000)]
    records: usize,
    /// Rounds; each gives every client its turn at every broker.
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Leave Apache Kafka out.
    #[arg(long)]
    without_kafka: bool,
    /// Cargo's profile to build our broker with.
    #[arg(long, default_value = "release")]
    profile: String,
}

const CLIENTS: [Client; 2] = [Client::OttlaJava, Client::KafkaClients];

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let directory = tree::path("target/bench");
    std::fs::create_dir_all(&directory)?;
    let loads = Loads::build(&CLIENTS, false, None, &directory)?;
    let mut brokers = vec![Broker::start_ottla(&brokers::build_ottla(&args.profile)?, &directory, None)?];
    if !args.without_kafka {
        brokers.push(Broker::start_kafka(&brokers::kafka_jars(&directory)?, &directory, None)?);
    }
    let case = Case { value_bytes: 100, codec: Codec::None };
    println!(
        "{:12} {:12} {:>8} {:>8} {:>8}  {:>14}",
        "broker", "client", "p50 µs", "p99 µs", "p99.9 µs", "CPU-µs a send"
    );
    for _ in 0..args.runs {
        for broker in &brokers {
            for client in CLIENTS {
                let load = loads.with(client, broker, "awaits", case, args.records);
                load.create()?;
                let (figures, latencies) = load.one_by_one()?;
                println!(
                    "{:12} {:12} {:>8} {:>8} {:>8}  {:>14.1}",
                    broker.name(),
                    client.name(),
                    latencies.p50_us,
                    latencies.p99_us,
                    latencies.p999_us,
                    figures.client_cpu_per_million()
                );
                load.delete()?;
            }
        }
    }
    Ok(())
}
