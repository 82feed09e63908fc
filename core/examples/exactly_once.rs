//! Sends numbered records, then reads them back and counts: each must be there once, and in its order.
//!
//! `exactly_once BOOTSTRAP TOPIC COUNT [RECORDS_PER_SECOND]`. Kill and restart brokers while it sends, as often as you
//! like; with `acks=all` and idempotence, the defaults, the count comes out all the same.
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use std::{
    error::Error,
    time::{Duration, Instant},
};

use ottla::{
    Consumer, Producer, Record, TopicPartition,
    config::{ConsumerConfig, OffsetReset, ProducerConfig},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |name: &str| arguments.next().ok_or(format!("give {name}"));
    let (bootstrap, topic) = (next("a broker's address")?, next("a topic")?);
    let count: u64 = next("how many records")?.parse()?;
    let rate: u64 = next("a rate").unwrap_or("1000000000".to_owned()).parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let partitions = send(&bootstrap, &topic, count, rate).await?;
        check(&bootstrap, &topic, count, partitions).await
    })
}

async fn send(bootstrap: &str, topic: &str, count: u64, rate: u64) -> Result<usize, Box<dyn Error>> {
    let producer = Producer::new(ProducerConfig {
        bootstrap_servers: vec![bootstrap.to_owned()],
        delivery_timeout: Duration::from_secs(600),
        max_block: Duration::from_secs(600),
        ..Default::default()
    })?;
    let partitions = producer.partition_count(topic).await?;
    let began = Instant::now();
    for i in 0..count {
        let partition = (i % partitions as u64) as i32;
        let value = i.to_be_bytes();
        producer.send_and_forget(Record::to(topic).partition(partition).value(&value)).await?;
        if i % 100 == 0 {
            let due = began + Duration::from_nanos(i * 1_000_000_000 / rate);
            tokio::time::sleep_until(due.into()).await;
        }
    }
    producer.close(Duration::from_secs(600)).await?;
    let metrics = producer.metrics();
    println!("sent in {:.1} s: {metrics:?}", began.elapsed().as_secs_f64());
    if metrics.record_acknowledged_total != count {
        return Err(format!("{} of {count} were acknowledged", metrics.record_acknowledged_total).into());
    }
    Ok(partitions)
}

async fn check(bootstrap: &str, topic: &str, count: u64, partitions: usize) -> Result<(), Box<dyn Error>> {
    let consumer = Consumer::new(ConsumerConfig {
        bootstrap_servers: vec![bootstrap.to_owned()],
        auto_offset_reset: OffsetReset::Earliest,
        ..Default::default()
    })?;
    consumer.assign((0..partitions as i32).map(|partition| TopicPartition::new(topic, partition)))?;
    let mut expected: Vec<u64> = (0..partitions as u64).collect();
    let mut seen = 0;
    while seen < count {
        let batch = tokio::time::timeout(Duration::from_secs(60), consumer.next_batch(10_000)).await??;
        let next = expected.get_mut(batch.partition() as usize).ok_or("a partition that is not there")?;
        for record in &batch {
            let record = record?;
            let found = u64::from_be_bytes(record.value().unwrap_or_default().try_into()?);
            if found != *next {
                let at = format!("partition {}, offset {}", record.partition, record.offset());
                return Err(format!("{at}: record {found} where {next} was due").into());
            }
            *next += partitions as u64;
            seen += 1;
        }
    }
    println!("read {seen} records, each once and in order");
    Ok(())
}
