//! Stock: reads how full the shelves are and what was shipped, and when a hundred pieces of a fruit have gone has its shelf filled up.
//!
//!     cargo run -p ottla-one-bus --bin one-bus-stock localhost:9092

#![allow(clippy::print_stdout, reason = "it says how far it is")]

use std::{collections::BTreeMap, env, pin::pin, str, time::Duration};

use ottla::{
    Consumer, Delivery, Producer, Record,
    config::{ConsumerConfig, OffsetReset, ProducerConfig},
};

/// How many pieces go before more are brought in.
const GONE_PIECES: u64 = 100;
/// How many pieces are on a full shelf.
const SHELF_PIECES: u64 = 200;
/// How long what ends may take: the last records, and leaving the group.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// What was read from a topic, or written to it: how many records, and the sum of their CRC-32s, whatever their order.
#[derive(Default)]
struct Tally {
    count: u64,
    checksum: u64,
}

impl Tally {
    fn add(&mut self, value: &[u8]) {
        self.count += 1;
        self.checksum += u64::from(crc32fast::hash(value));
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = env::args().nth(1).unwrap_or_else(|| "localhost:9092".into());
    let producer =
        Producer::new(ProducerConfig { bootstrap_servers: vec![servers.clone()], ..Default::default() })?;
    let consumer = Consumer::new(ConsumerConfig {
        bootstrap_servers: vec![servers],
        group_id: Some("stock".into()),
        auto_offset_reset: OffsetReset::Earliest,
        enable_auto_commit: false,
        ..Default::default()
    })?;
    let mut ending = pin!(asked_to_end()?);
    consumer.subscribe(["readings", "shipments"])?;
    let (mut read, mut wrote) = (BTreeMap::<String, Tally>::new(), Tally::default());
    let (mut on_shelf, mut gone) = (BTreeMap::<String, u64>::new(), BTreeMap::<String, u64>::new());
    loop {
        let batch = tokio::select! {
            batch = consumer.next_batch(500) => batch?,
            () = &mut ending => break,
        };
        let topic = batch.topic().to_string();
        let tally = read.entry(topic.clone()).or_default();
        let mut sends: Vec<Delivery> = Vec::new();
        for record in &batch {
            let record = record?;
            let value = record.value().unwrap_or_default();
            tally.add(value);
            // `17 164 apples` of a shelf, `17 3 apples 117 139 van-4` of a shipment.
            let [_, pieces, fruit, ..] = str::from_utf8(value)?.split(' ').collect::<Vec<_>>()[..] else {
                return Err("a record without a fruit".into());
            };
            let pieces: u64 = pieces.parse()?;
            if topic == "readings" {
                on_shelf.insert(fruit.to_owned(), pieces);
                continue;
            }
            let all_gone = gone.get(fruit).unwrap_or(&0) + pieces;
            gone.insert(fruit.to_owned(), all_gone % GONE_PIECES);
            if all_gone >= GONE_PIECES {
                let missing = SHELF_PIECES.saturating_sub(*on_shelf.get(fruit).unwrap_or(&0));
                let restock = format!("{} {missing} {fruit}", wrote.count);
                sends.push(producer.send(Record::to("restocks").key(fruit).value(&restock)).await?);
                wrote.add(restock.as_bytes());
            }
        }
        for send in sends {
            send.await?;
        }
        // Only now: had it failed before, others would see to these again.
        consumer.commit_batch(&batch).await?;
        println!("read {topic} {} {}", tally.count, tally.checksum);
        println!("wrote restocks {} {}", wrote.count, wrote.checksum);
    }
    consumer.close(CLOSE_TIMEOUT).await?;
    producer.close(CLOSE_TIMEOUT).await?;
    Ok(())
}

/// Ends when the program is terminated.
fn asked_to_end() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    #[cfg(windows)]
    let mut signal = tokio::signal::windows::ctrl_shutdown()?;
    Ok(async move {
        signal.recv().await;
    })
}
