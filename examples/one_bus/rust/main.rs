//! A shop: sends its orders to a topic, and reads every shop's orders in a group of its own.
//!
//!     cargo run --example one_bus localhost:9092 orders rust 20000 20000

#![allow(clippy::print_stdout, reason = "it says how far it is")]

use std::{env, time::Duration};

use ottla::{
    Consumer, Delivery, Producer, Record,
    config::{ConsumerConfig, OffsetReset, ProducerConfig},
};

/// How long a consumer that ends may take to commit and leave.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Orders that are on their way at once.
const UNDERWAY_MAX: u64 = 1_000;

#[derive(Default)]
struct Total {
    count: u64,
    checksum: u64,
}

impl Total {
    fn add(&mut self, value: &[u8]) {
        self.count += 1;
        self.checksum += u64::from(crc32fast::hash(value));
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [servers, topic, name, to_send, to_read] = &args[..] else {
        return Err(
            "usage: one_bus <bootstrap servers> <topic> <name> <orders to send> <orders to read>".into()
        );
    };
    let (sent, read) = tokio::try_join!(
        send(servers, topic, name, to_send.parse()?),
        read(servers, topic, name, to_read.parse()?)
    )?;
    println!("total sent {} {}", sent.count, sent.checksum);
    println!("total read {} {}", read.count, read.checksum);
    Ok(())
}

async fn send(servers: &str, topic: &str, name: &str, orders: u64) -> ottla::Result<Total> {
    let producer =
        Producer::new(ProducerConfig { bootstrap_servers: vec![servers.into()], ..Default::default() })?;
    let mut total = Total::default();
    while total.count < orders {
        let mut underway: Vec<Delivery> = Vec::new();
        for number in total.count..orders.min(total.count + UNDERWAY_MAX) {
            let key = format!("{name}-{number}");
            let value = format!("{key}: {} apples", number % 12 + 1);
            underway.push(producer.send(Record::to(topic).key(&key).value(&value)).await?);
            total.add(value.as_bytes());
        }
        for delivery in underway {
            delivery.await?;
        }
        println!("sent {}", total.count);
    }
    producer.close(CLOSE_TIMEOUT).await?;
    Ok(total)
}

async fn read(servers: &str, topic: &str, name: &str, orders: u64) -> ottla::Result<Total> {
    let consumer = Consumer::new(ConsumerConfig {
        bootstrap_servers: vec![servers.into()],
        group_id: Some(name.into()),
        auto_offset_reset: OffsetReset::Earliest,
        ..Default::default()
    })?;
    consumer.subscribe([topic])?;
    let mut total = Total::default();
    while total.count < orders {
        for record in &consumer.next_batch(500).await? {
            total.add(record?.value().unwrap_or_default());
        }
        println!("read {}", total.count);
    }
    consumer.close(CLOSE_TIMEOUT).await?;
    Ok(total)
}
