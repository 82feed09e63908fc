//! What the loads in Rust share: their flags, the marks at which the driver looks at the clocks, and the values.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::ensure;
use clap::Parser;
use serde_json::json;

/// How many different values there are; more than any batch holds.
const VALUE_COUNT: usize = 20_000;

/// What is to be done: `../README.md` says how a load and its driver talk.
#[derive(Parser)]
pub struct Job {
    /// produce or consume; of ours also codec, rebalance and idle.
    pub verb: String,
    /// The broker's address.
    #[arg(long, default_value = "")]
    pub bootstrap: String,
    #[arg(long, default_value = "")]
    pub topic: String,
    #[arg(long, default_value_t = 6)]
    pub partitions: i32,
    /// none, lz4 or zstd.
    #[arg(long, default_value = "none")]
    pub codec: String,
    /// Records to write, or to read in each pass.
    #[arg(long, default_value_t = 0)]
    pub records: u64,
    /// Members of the group that is rebalanced.
    #[arg(long, default_value_t = 100)]
    pub members: usize,
    /// Its protocol: classic or consumer.
    #[arg(long, default_value = "classic")]
    pub protocol: String,
    /// How often the topic is read.
    #[arg(long, default_value_t = 1)]
    pub passes: u64,
    /// Read in groups whose names begin so, one a pass; by assignment without it.
    #[arg(long, default_value = "")]
    pub group: String,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 100)]
    pub value_bytes: usize,
    /// Largest batch.
    #[arg(long, default_value_t = 128 * 1024)]
    pub batch_bytes: usize,
    /// How long a batch may gather.
    #[arg(long, default_value_t = 5)]
    pub linger_ms: u64,
    /// Connect by TLS, and trust what this file's certificates have signed; of ours alone.
    #[arg(long, default_value = "")]
    pub ca: String,
}

impl Job {
    /// Values that look like a service's log, the same in every run: few words that come again, and numbers that do
    /// not, so that a codec finds in them what it finds in real ones.
    pub fn values(&self) -> Vec<Vec<u8>> {
        let mut random = fastrand::Rng::with_seed(2024);
        let mut clock = 1_760_000_000_000u64;
        (0..VALUE_COUNT).map(|_| log_line(&mut random, &mut clock, self.value_bytes)).collect()
    }

    /// Whether a value that was read is one of the job's.
    pub fn check(&self, value_bytes: usize) -> anyhow::Result<()> {
        ensure!(value_bytes == self.value_bytes, "a value of {value_bytes} bytes");
        Ok(())
    }
}

fn log_line(random: &mut fastrand::Rng, clock: &mut u64, bytes: usize) -> Vec<u8> {
    let mut pick = |words: &[&'static str]| words[random.usize(..words.len())];
    let level = pick(&["INFO", "INFO", "INFO", "DEBUG", "WARN"]);
    let service = pick(&["billing", "catalog", "edge", "identity", "shipping"]);
    let path = pick(&["GET /v1/orders", "PUT /v1/baskets", "GET /v2/users", "POST /v1/quotes"]);
    *clock += random.u64(..50);
    let (trace, id, ms) = (random.u64(..), random.u32(..1_000_000), random.u32(..3000));
    let mut line = format!("{clock} {level} {service} trace={trace:016x} {path}/{id} {ms}ms ");
    while line.len() < bytes {
        const WORDS: [&str; 8] =
            ["accepted ", "cached ", "retried ", "timeout ", "upstream ", "queue ", "reserved ", "paid "];
        line.push_str(WORDS[random.usize(..WORDS.len())]);
        if random.u8(..6) == 0 {
            line.push_str(&format!("v{}={:08x} ", random.u8(..100), random.u32(..)));
        }
    }
    line.truncate(bytes);
    line.into_bytes()
}

/// Says that the work is about to begin, and waits until the driver has looked at the clocks.
pub fn ready() -> anyhow::Result<()> {
    wait_for_driver("ready")
}

/// Says what was done, and waits until the driver has looked at the clocks.
pub fn done(records: u64, took: Duration) -> anyhow::Result<()> {
    wait_for_driver(&json!({"records": records, "wall_s": took.as_secs_f64()}).to_string())
}

fn wait_for_driver(line: &str) -> anyhow::Result<()> {
    println!("{line}");
    io::stdout().flush()?;
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}
