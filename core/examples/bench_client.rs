//! A client to be measured: produce, latency and consume, told by one JSON object what to do.
//!
//! It prints `begin` when it is warm and waits for a line; does its work; prints a JSON line with what it measured and
//! waits for another line. Whoever drives it reads the CPU time of this process at both marks, so that neither start-up
//! nor shutdown counts. Latency counts from the moment a record was due.
//!
//! `api` in the object chooses how records are sent: `token` (the default: a report for each record), `future` (a
//! delivery for each record), or `forget`.
#![allow(clippy::print_stdout, reason = "its output is its interface")]

use std::{
    error::Error,
    io::{self, Write},
    time::{Duration, Instant},
};

use ottla::{
    Consumer, ErrorKind, Producer, Record, TopicPartition,
    config::{Acks, Compression, ConsumerConfig, OffsetReset, ProducerConfig},
};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What is to be done, from the command line.
struct Job {
    json: Value,
    payload: Vec<u8>,
}

impl Job {
    fn read() -> Outcome<Self> {
        let json: Value = serde_json::from_str(&std::env::args().nth(1).ok_or("give a job as JSON")?)?;
        let payload = match json["payload"].as_str() {
            Some(path) => std::fs::read(path)?,
            None => vec![b'x'; 100],
        };
        Ok(Self { json, payload })
    }

    fn text(&self, key: &str) -> Outcome<&str> {
        Ok(self.json[key].as_str().ok_or(format!("`{key}` is missing"))?)
    }

    fn number(&self, key: &str, default: u64) -> u64 {
        self.json[key].as_u64().unwrap_or(default)
    }

    fn bootstrap(&self) -> Outcome<Vec<String>> {
        Ok(self.text("bootstrap")?.split(',').map(str::to_owned).collect())
    }

    fn records(&self) -> Vec<&[u8]> {
        self.payload.chunks_exact(self.number("size", 100) as usize).collect()
    }

    fn producer(&self) -> Outcome<Producer> {
        let compression_type = match self.json["compression"].as_str().unwrap_or("none") {
            "none" => Compression::None,
            "gzip" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            other => Err(format!("no codec `{other}`"))?,
        };
        let acks = if self.json["acks"].as_str() == Some("1") { Acks::Leader } else { Acks::All };
        Ok(Producer::new(ProducerConfig {
            bootstrap_servers: self.bootstrap()?,
            compression_type,
            acks,
            linger: Duration::from_millis(self.number("linger_ms", 5)),
            batch_size: self.number("batch_bytes", 128 * 1024) as usize,
            ..Default::default()
        })?)
    }
}

fn main() -> Outcome<()> {
    let job = Job::read()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        match job.text("mode")? {
            "produce" => produce(&job).await,
            "latency" => latency(&job).await,
            "consume" => consume(&job).await,
            other => Err(format!("no mode `{other}`").into()),
        }
    })
}

/// Prints a line and waits for one.
fn mark(line: &str) -> Outcome<()> {
    println!("{line}");
    io::stdout().flush()?;
    let mut reply = String::new();
    io::stdin().read_line(&mut reply)?;
    Ok(())
}

async fn produce(job: &Job) -> Outcome<()> {
    let producer = job.producer()?;
    let api = job.json["api"].as_str().unwrap_or("token");
    send(job, &producer, api, job.number("warmup", 10_000)).await?;
    mark("begin")?;
    let n = job.number("n", 1_000_000);
    let began = Instant::now();
    let failed = send(job, &producer, api, n).await?;
    let wall_s = began.elapsed().as_secs_f64();
    let metrics = producer.metrics();
    let batches = metrics.batches_sent;
    let requests = metrics.requests_sent;
    mark(&json!({"n": n - failed, "wall_s": wall_s, "errors": failed, "batches": batches, "requests": requests}).to_string())?;
    producer.close(Duration::from_secs(10)).await?;
    Ok(())
}

/// Sends `n` records and waits until all are acknowledged; answers how many failed.
async fn send(job: &Job, producer: &Producer, api: &str, n: u64) -> Outcome<u64> {
    let topic = job.text("topic")?;
    let records = job.records();
    let mut values = records.iter().cycle();
    let mut failed = 0;
    match api {
        "forget" => {
            for value in values.by_ref().take(n as usize) {
                producer.send_and_forget(Record::to(topic).value(*value)).await?;
            }
            producer.flush().await?;
        }
        "future" => {
            let mut deliveries = std::collections::VecDeque::new();
            for value in values.by_ref().take(n as usize) {
                deliveries.push_back(producer.send(Record::to(topic).value(*value)).await?);
                while deliveries.len() > 100_000
                    && let Some(delivery) = deliveries.pop_front()
                {
                    failed += u64::from(delivery.await.is_err());
                }
            }
            for delivery in deliveries {
                failed += u64::from(delivery.await.is_err());
            }
        }
        _ => {
            let mut reports = Vec::new();
            let mut acknowledged = 0;
            for (token, value) in (0..n).zip(values) {
                let record = Record::to(topic).value(*value);
                loop {
                    match producer.try_send(&record, token) {
                        Ok(()) => break,
                        Err(error) if error.kind() == ErrorKind::BufferFull => {
                            producer.drain_reports(&mut reports);
                            producer.ready(&record).await?;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                if token % 1024 == 0 {
                    producer.drain_reports(&mut reports);
                    acknowledged += reports.len() as u64;
                    failed += reports.drain(..).filter(|report| report.result.is_err()).count() as u64;
                }
            }
            producer.flush().await?;
            producer.drain_reports(&mut reports);
            acknowledged += reports.len() as u64;
            failed += reports.iter().filter(|report| report.result.is_err()).count() as u64;
            if acknowledged != n {
                return Err(format!("{acknowledged} reports for {n} records").into());
            }
        }
    }
    Ok(failed)
}

async fn latency(job: &Job) -> Outcome<()> {
    let producer = job.producer()?;
    send(job, &producer, "token", job.number("warmup", 10_000)).await?;
    let topic = job.text("topic")?;
    let records = job.records();
    let n = job.number("n", 50_000);
    let rate = job.number("rate", 5_000).max(1);
    let (finished, ended) = std::sync::mpsc::channel::<(Instant, ottla::Delivery)>();
    // Deliveries are awaited in their order on a thread of their own.
    let waiter = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let mut latencies = Vec::new();
        let mut failed = 0_u64;
        while let Ok((due, delivery)) = ended.recv() {
            failed += u64::from(runtime.block_on(delivery).is_err());
            latencies.push(due.elapsed());
        }
        io::Result::Ok((latencies, failed))
    });
    mark("begin")?;
    let began = Instant::now();
    for (i, value) in (0..n).zip(records.iter().cycle()) {
        let due = began + Duration::from_nanos(i * 1_000_000_000 / rate);
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(wait);
        }
        finished.send((due, producer.send(Record::to(topic).value(*value)).await?))?;
    }
    drop(finished);
    let (mut latencies, failed) = waiter.join().map_err(|_| "the waiting thread failed")??;
    let wall_s = began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |share: f64| {
        latencies
            .get((latencies.len() as f64 * share) as usize)
            .map_or(0, |latency| latency.as_micros() as u64)
    };
    mark(
        &json!({
            "n": n - failed, "wall_s": wall_s, "errors": failed,
            "p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999), "max_us": at(1.0 - 1e-12),
        })
        .to_string(),
    )?;
    producer.close(Duration::from_secs(10)).await?;
    Ok(())
}

async fn consume(job: &Job) -> Outcome<()> {
    let topic = job.text("topic")?;
    let consumer = Consumer::new(ConsumerConfig {
        bootstrap_servers: job.bootstrap()?,
        auto_offset_reset: OffsetReset::Earliest,
        ..Default::default()
    })?;
    let n = job.number("n", 1_000_000);
    mark("begin")?;
    let partitions = 0..job.number("partitions", 1) as i32;
    consumer.assign(partitions.map(|partition| TopicPartition::new(topic, partition)));
    let mut began = None;
    let mut seen = 0;
    let mut bytes = 0;
    while seen < n {
        let batch = consumer.next_batch(10_000).await?;
        began.get_or_insert_with(Instant::now);
        for record in &batch {
            bytes += record?.value().map_or(0, <[u8]>::len);
            seen += 1;
        }
    }
    let wall_s = began.map_or(0.0, |began| began.elapsed().as_secs_f64());
    let metrics = consumer.metrics();
    mark(
        &json!({
            "n": seen, "wall_s": wall_s, "value_bytes": bytes,
            "batches": metrics.batches_consumed, "requests": metrics.requests_sent,
        })
        .to_string(),
    )
}
