//! Our own client as a load.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use clap::Parser;
use ottla::{
    Consumer, ErrorKind, Producer, Record, Report, Settings, TopicPartition,
    config::{ConsumerConfig, ProducerConfig},
};
use ottla_bench_loads::{Job, done, ready};
use ottla_protocol::{
    compression::{Codec, Compressor, Decompressor, Limits},
    record::BatchBuilder,
};

/// Records between two looks at the delivery reports.
const REPORTS_EVERY: u64 = 1024;
/// Records that a consumer takes at a time.
const TAKEN_MAX: usize = 10_000;

fn main() -> anyhow::Result<()> {
    let job = Job::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    match job.verb.as_str() {
        "produce" => runtime.block_on(produce(&job)),
        "consume" => runtime.block_on(consume(&job)),
        "rebalance" => runtime.block_on(rebalance(&job)),
        "idle" => runtime.block_on(idle(&job)),
        "codec" => codec(&job),
        verb => bail!("there is no verb `{verb}`"),
    }
}

async fn produce(job: &Job) -> anyhow::Result<()> {
    let mut settings = Settings::new();
    settings.set("bootstrap.servers", &job.bootstrap);
    settings.set("compression.type", &job.codec);
    settings.set("linger.ms", job.linger_ms.to_string());
    settings.set("batch.size", job.batch_bytes.to_string());
    secure(job, &mut settings);
    let (config, _) = ProducerConfig::from_settings(&settings)?;
    let producer = Producer::new(config)?;
    let values = job.values();
    // The connection, the producer id and the topic's metadata are there before the clock starts.
    producer.send(Record::to(&job.topic).value(&values[0])).await?.await?;
    ready()?;
    let began = Instant::now();
    let mut reports = Vec::new();
    let mut acknowledged = 0;
    for (token, value) in (0..job.records).zip(values.iter().cycle()) {
        let record = Record::to(&job.topic).value(value);
        while let Err(error) = producer.try_send(&record, token) {
            if error.kind() != ErrorKind::BufferFull {
                return Err(error.into());
            }
            acknowledged += drain(&producer, &mut reports)?;
            producer.ready(&record).await?;
        }
        if token % REPORTS_EVERY == 0 {
            acknowledged += drain(&producer, &mut reports)?;
        }
    }
    producer.flush().await?;
    acknowledged += drain(&producer, &mut reports)?;
    ensure!(acknowledged == job.records, "{acknowledged} reports for {} records", job.records);
    done(acknowledged, began.elapsed())?;
    producer.close(Duration::from_secs(10)).await?;
    Ok(())
}

/// Takes the reports that are there and says how many records were acknowledged.
fn drain(producer: &Producer, reports: &mut Vec<Report>) -> anyhow::Result<u64> {
    producer.drain_reports(reports);
    let count = reports.len() as u64;
    for report in reports.drain(..) {
        report.result?;
    }
    Ok(count)
}

async fn consume(job: &Job) -> anyhow::Result<()> {
    ready()?;
    let began = Instant::now();
    let mut read = 0;
    for pass in 0..job.passes {
        read += read_topic(job, pass).await?;
    }
    done(read, began.elapsed())
}

/// Reads from the beginning until all records came.
async fn read_topic(job: &Job, pass: u64) -> anyhow::Result<u64> {
    let in_group = !job.group.is_empty();
    let mut settings = Settings::new();
    settings.set("bootstrap.servers", &job.bootstrap);
    settings.set("auto.offset.reset", "earliest");
    if in_group {
        settings.set("group.id", format!("{}-{pass}", job.group));
    }
    secure(job, &mut settings);
    let (config, _) = ConsumerConfig::from_settings(&settings)?;
    let consumer = Consumer::new(config)?;
    match in_group {
        true => consumer.subscribe([job.topic.as_str()])?,
        false => consumer
            .assign((0..job.partitions).map(|partition| TopicPartition::new(&job.topic, partition)))?,
    }
    let mut read = 0;
    while read < job.records {
        for record in &consumer.next_batch(TAKEN_MAX).await? {
            job.check(record?.value().map_or(0, <[u8]>::len))?;
            read += 1;
        }
    }
    consumer.close(Duration::from_secs(10)).await?;
    Ok(read)
}

fn secure(job: &Job, settings: &mut Settings) {
    if !job.ca.is_empty() {
        settings.set("security.protocol", "SSL");
        settings.set("ssl.truststore.type", "PEM");
        settings.set("ssl.truststore.location", &job.ca);
    }
}

/// How long a group takes until each has its share: when all join, when one leaves, and when one comes.
async fn rebalance(job: &Job) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut members: Vec<Consumer> = (0..job.members).map(|_| member(job)).collect::<Result<_, _>>()?;
    settled(job, &members).await?;
    let all_s = began.elapsed().as_secs_f64();

    let leaves = members.pop();
    let began = Instant::now();
    if let Some(leaves) = leaves {
        leaves.close(Duration::from_secs(60)).await?;
    }
    settled(job, &members).await?;
    let leave_s = began.elapsed().as_secs_f64();

    let began = Instant::now();
    members.push(member(job)?);
    settled(job, &members).await?;
    let come_s = began.elapsed().as_secs_f64();
    println!("{}", serde_json::json!({"all_s": all_s, "leave_s": leave_s, "come_s": come_s}));
    Ok(())
}

/// A consumer of all partitions, as a group's only member, that has nothing to read: at both marks the driver looks at
/// the clocks.
async fn idle(job: &Job) -> anyhow::Result<()> {
    /// How long it is watched.
    const WATCHED: Duration = Duration::from_secs(20);
    let members = [member(job)?];
    settled(job, &members).await?;
    ready()?;
    let began = Instant::now();
    _ = tokio::time::timeout(WATCHED, members[0].next_batch(TAKEN_MAX)).await;
    done(0, began.elapsed())
}

fn member(job: &Job) -> anyhow::Result<Consumer> {
    let mut settings = Settings::new();
    settings.set("bootstrap.servers", &job.bootstrap);
    settings.set("group.id", &job.group);
    settings.set("group.protocol", &job.protocol);
    let (config, _) = ConsumerConfig::from_settings(&settings)?;
    let consumer = Consumer::new(config)?;
    consumer.subscribe([job.topic.as_str()])?;
    Ok(consumer)
}

/// Waits until the members have all partitions, and each its share.
async fn settled(job: &Job, members: &[Consumer]) -> anyhow::Result<()> {
    /// How often it is looked.
    const LOOK_INTERVAL: Duration = Duration::from_millis(10);
    const PATIENCE: Duration = Duration::from_secs(300);
    let partitions = usize::try_from(job.partitions)?;
    let least = partitions / members.len();
    let began = Instant::now();
    loop {
        let shares: Vec<usize> = members.iter().map(|member| member.assignment().len()).collect();
        if shares.iter().sum::<usize>() == partitions && shares.iter().all(|&share| share >= least) {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "the group does not settle: {shares:?}");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// The codec alone, on one thread and without a broker: what compressing and inflating the same batches takes.
fn codec(job: &Job) -> anyhow::Result<()> {
    let codec = Codec::new(job.codec.parse()?);
    let blocks = blocks(job);
    let mut compressor = Compressor::new();
    let began = Instant::now();
    let mut compressed = Vec::new();
    let mut records = 0;
    while records < job.records {
        for (block, count) in &blocks {
            let bytes = compressor.compress(codec, block)?;
            records += count;
            if compressed.len() < blocks.len() {
                compressed.push(bytes.to_vec());
            }
        }
    }
    let compress_s = began.elapsed().as_secs_f64() / records as f64 * 1e6;
    let mut decompressor = Decompressor::new();
    let mut inflated = Vec::new();
    let began = Instant::now();
    records = 0;
    while records < job.records {
        for (bytes, (block, count)) in compressed.iter().zip(&blocks) {
            inflated.clear();
            decompressor.decompress(codec.compression(), bytes, &Limits::CLIENT, &mut inflated)?;
            ensure!(inflated.len() == block.len(), "a block came back in another length");
            records += count;
        }
    }
    let inflate_s = began.elapsed().as_secs_f64() / records as f64 * 1e6;
    let ratio = blocks.iter().map(|(block, _)| block.len()).sum::<usize>() as f64
        / compressed.iter().map(Vec::len).sum::<usize>() as f64;
    println!("{}", serde_json::json!({"compress_s": compress_s, "inflate_s": inflate_s, "ratio": ratio}));
    Ok(())
}

/// The records of full batches in wire form, each with how many there are.
fn blocks(job: &Job) -> Vec<(Vec<u8>, u64)> {
    /// Bytes of a batch before its first record.
    const HEADER_BYTES: usize = 61;
    let mut blocks = Vec::new();
    let mut builder = BatchBuilder::new(Vec::new(), job.batch_bytes);
    for value in job.values() {
        if builder.push(0, None, Some(&value), &[]).is_err() {
            let count = u64::from(builder.record_count());
            blocks.push((builder.into_buffer().split_off(HEADER_BYTES), count));
            builder = BatchBuilder::new(Vec::new(), job.batch_bytes);
        }
    }
    blocks
}
