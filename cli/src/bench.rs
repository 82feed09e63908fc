//! `ottla bench`: how fast a cluster takes and gives records, with what latency.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Subcommand;
use hdrhistogram::Histogram;
use ottla::{
    Admin, Consumer, ErrorKind, NewTopic, OffsetSpec, Producer, Record, TopicPartition,
    config::{AdminConfig, ConsumerConfig, ProducerConfig},
};
use serde_json::json;

use crate::client::{self, ClientArgs};

/// How often a line of progress is shown.
const PROGRESS: Duration = Duration::from_secs(1);
/// Longest latency that the histogram tells apart, in microseconds.
const LATENCY_US_MAX: u64 = 120_000_000;
/// How long what was taken may need to be delivered at the end.
const CLOSE_MAX: Duration = Duration::from_secs(120);

/// Measure a cluster.
///
/// Progress is shown on a terminal; the result is a few lines, or with --json an object.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    client: ClientArgs,
    /// Print the result as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Send records as fast as they are taken, or at a rate; latency counts from when a record was due.
    Produce {
        /// The topic; made if it is not there.
        topic: String,
        /// How many records.
        #[arg(long, short = 'n', default_value_t = 1_000_000)]
        records: u64,
        /// Bytes of each value.
        #[arg(long, short, default_value_t = 100)]
        size: usize,
        /// Partitions of the topic, if it is made.
        #[arg(long, short, default_value_t = 6)]
        partitions: i32,
        /// Records a second; as many as go without it.
        #[arg(long, short)]
        rate: Option<u64>,
        /// Compress with none, gzip, snappy, lz4 or zstd.
        #[arg(long, short = 'z', value_name = "CODEC")]
        compression: Option<String>,
    },
    /// Read a topic from its beginning to its end.
    Consume {
        /// The topic.
        topic: String,
        /// Stop after so many records.
        #[arg(long, short = 'n')]
        records: Option<u64>,
    },
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    client::run(async {
        match &args.verb {
            Verb::Produce { topic, records, size, partitions, rate, compression } => {
                make_topic(args, topic, *partitions).await?;
                produce(args, topic, *records, *size, *rate, compression.as_deref()).await
            }
            Verb::Consume { topic, records } => consume(args, topic, *records).await,
        }
    })
}

async fn make_topic(args: &Args, topic: &str, partitions: i32) -> anyhow::Result<()> {
    let (config, _) = AdminConfig::from_settings(&args.client.settings(&[]))?;
    match Admin::new(config)?.create_topic(NewTopic::new(topic).partitions(partitions)).await {
        Err(error) if error.kind() != ErrorKind::Broker(ottla::ErrorCode::TOPIC_ALREADY_EXISTS) => {
            Err(error.into())
        }
        _ => Ok(()),
    }
}

async fn produce(
    args: &Args,
    topic: &str,
    records: u64,
    size: usize,
    rate: Option<u64>,
    compression: Option<&str>,
) -> anyhow::Result<()> {
    let mut settings = args.client.settings(&[]);
    if let Some(codec) = compression {
        settings.set("compression.type", codec);
    }
    let (config, _) = ProducerConfig::from_settings(&settings)?;
    let producer = Producer::new(config)?;
    // The topic's metadata is fetched before the clock starts.
    producer.partition_count(topic).await?;
    let values = values(size);
    let mut latencies = Histogram::<u64>::new_with_max(LATENCY_US_MAX, 3)?;
    let mut reports = Vec::new();
    let mut run = Run::begin(records, size);
    for number in 0..records {
        let due = match rate {
            Some(rate) => {
                Duration::from_nanos((number as u128 * 1_000_000_000 / u128::from(rate.max(1))) as u64)
            }
            None => run.began.elapsed(),
        };
        if let Some(wait) = rate.and_then(|_| due.checked_sub(run.began.elapsed())) {
            tokio::time::sleep(wait).await;
        }
        let value = values.get(number as usize % values.len()).context("there are values")?;
        // The token is the time at which the record was due.
        producer.send_with_token(Record::to(topic).value(value), due.as_micros() as u64).await?;
        if number % 1024 == 0 || rate.is_some() {
            producer.drain_reports(&mut reports);
            record(&mut reports, &mut latencies, &mut run)?;
        }
    }
    producer.flush().await?;
    producer.drain_reports(&mut reports);
    record(&mut reports, &mut latencies, &mut run)?;
    let took = run.began.elapsed();
    producer.close(CLOSE_MAX).await?;
    run.end(args, "produced", took, Some(&latencies))
}

fn record(
    reports: &mut Vec<ottla::Report>,
    latencies: &mut Histogram<u64>,
    run: &mut Run,
) -> anyhow::Result<()> {
    let now_us = run.began.elapsed().as_micros() as u64;
    for report in reports.drain(..) {
        report.result?;
        latencies.saturating_record(now_us.saturating_sub(report.token));
        run.count += 1;
    }
    run.progress()
}

async fn consume(args: &Args, topic: &str, records: Option<u64>) -> anyhow::Result<()> {
    let (config, _) = AdminConfig::from_settings(&args.client.settings(&[]))?;
    let admin = Admin::new(config)?;
    let (_, described) =
        admin.describe_topics([topic]).await?.pop().context("the broker answered nothing")?;
    let partitions: Vec<TopicPartition> =
        described?.partitions.iter().map(|p| TopicPartition::new(topic, p.partition)).collect();
    let (config, _) = ConsumerConfig::from_settings(&args.client.settings(&[]))?;
    let consumer = Consumer::new(config)?;
    let starts = consumer.beginning_offsets(&partitions).await?;
    let ends = consumer.end_offsets(&partitions).await?;
    let there: i64 = ends.iter().map(|(partition, end)| end - starts.get(partition).unwrap_or(&0)).sum();
    let wanted = records.unwrap_or(u64::MAX).min(u64::try_from(there).unwrap_or(0));
    consumer.assign(partitions.clone())?;
    for partition in &partitions {
        consumer.seek_to(partition, OffsetSpec::Earliest)?;
    }
    let mut run = Run::begin(wanted, 0);
    while run.count < wanted {
        let batch = consumer.next_batch(100_000).await?;
        for record in &batch {
            let record = record?;
            run.bytes += record.value().map_or(0, <[u8]>::len) as u64;
            run.count += 1;
        }
        run.progress()?;
    }
    let took = run.began.elapsed();
    run.end(args, "consumed", took, None)
}

/// Values like lines of a log, of which a codec makes what it makes of real ones.
fn values(size: usize) -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut value = || {
        let mut text = String::new();
        while text.len() < size {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (id, ms) = (state >> 24, state >> 12 & 0xfff);
            text.push_str(&format!(
                "level=info service=checkout order={id:x} took={ms}ms status=200 retried=false "
            ));
        }
        text.truncate(size);
        text.into_bytes()
    };
    (0..20_000).map(|_| value()).collect()
}

/// A measurement under way.
struct Run {
    began: Instant,
    shown: Instant,
    shown_count: u64,
    wanted: u64,
    count: u64,
    /// Bytes of each value, where all are alike.
    size: usize,
    bytes: u64,
}

impl Run {
    fn begin(wanted: u64, size: usize) -> Self {
        let now = Instant::now();
        Self { began: now, shown: now, shown_count: 0, wanted, count: 0, size, bytes: 0 }
    }

    fn progress(&mut self) -> anyhow::Result<()> {
        let since = self.shown.elapsed();
        if since < PROGRESS || !io::stderr().is_terminal() {
            return Ok(());
        }
        let rate = (self.count - self.shown_count) as f64 / since.as_secs_f64();
        write!(io::stderr(), "\r{} of {} records, {rate:.0}/s    ", self.count, self.wanted)?;
        (self.shown, self.shown_count) = (Instant::now(), self.count);
        Ok(())
    }

    fn end(
        self,
        args: &Args,
        what: &str,
        took: Duration,
        latencies: Option<&Histogram<u64>>,
    ) -> anyhow::Result<()> {
        if io::stderr().is_terminal() {
            write!(io::stderr(), "\r{:50}\r", "")?;
        }
        let seconds = took.as_secs_f64();
        let bytes = if self.size > 0 { self.count * self.size as u64 } else { self.bytes };
        let (rate, megabytes) = (self.count as f64 / seconds, bytes as f64 / 1e6 / seconds);
        let quantiles = [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)];
        let mut out = io::stdout().lock();
        if args.json {
            let mut fields = json!({
                "records": self.count, "seconds": seconds, "records_per_s": rate, "megabytes_per_s": megabytes,
            });
            for (name, quantile) in quantiles {
                if let (Some(latencies), Some(fields)) = (latencies, fields.as_object_mut()) {
                    fields.insert(name.to_owned(), latencies.value_at_quantile(quantile).into());
                }
            }
            writeln!(out, "{fields}")?;
            return Ok(());
        }
        writeln!(
            out,
            "{what} {} records in {seconds:.2} s: {rate:.0} records/s, {megabytes:.1} MB/s",
            self.count
        )?;
        if let Some(latencies) = latencies {
            let ms = |us: u64| us as f64 / 1e3;
            let shown = quantiles.map(|(name, quantile)| {
                format!("{} {:.2}", name.trim_end_matches("_us"), ms(latencies.value_at_quantile(quantile)))
            });
            writeln!(out, "latency in ms: {}, max {:.2}", shown.join(", "), ms(latencies.max()))?;
        }
        Ok(())
    }
}
