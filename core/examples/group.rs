//! A member of a group: prints what it is given of some topics, says what a rebalance does, and leaves when its input ends.
//!
//! `group BOOTSTRAP GROUP TOPIC...`. Start it in several terminals; stop one with Ctrl-D, kill another.
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use std::{error::Error, time::Duration};

use ottla::{
    Consumer, ErrorKind,
    config::{ConsumerConfig, OffsetReset},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let bootstrap = arguments.next().ok_or("give a broker's address")?;
    let group = arguments.next().ok_or("give a group")?;
    let topics: Vec<String> = arguments.collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(read(bootstrap, group, topics))
}

async fn read(bootstrap: String, group: String, topics: Vec<String>) -> Result<(), Box<dyn Error>> {
    let consumer = Consumer::new(ConsumerConfig {
        bootstrap_servers: vec![bootstrap],
        group_id: Some(group),
        auto_offset_reset: OffsetReset::Earliest,
        ..Default::default()
    })?;
    let mut rebalances = consumer.rebalances()?;
    consumer.subscribe(topics)?;
    let mut input_ends = input_ends();
    loop {
        tokio::select! {
            _ = &mut input_ends => break,
            // The group goes on when it is dropped, at the end of the arm.
            Some(rebalance) = rebalances.next() => println!("{:?} {:?}", rebalance.kind(), rebalance.partitions()),
            batch = consumer.next_batch(500) => match batch {
                Ok(batch) => {
                    for record in &batch {
                        let record = record?;
                        let value = String::from_utf8_lossy(record.value().unwrap_or_default());
                        println!("{}-{} {}: {value}", record.topic, record.partition, record.offset());
                    }
                }
                // It took too long over its records, and joins again with the next call.
                Err(error) if error.kind() == ErrorKind::MaxPollExceeded => println!("{error}"),
                Err(error) => return Err(error.into()),
            },
        }
    }
    // What was printed is committed, and others take over at once.
    consumer.close(Duration::from_secs(10)).await?;
    Ok(())
}

/// Becomes ready at the end of the standard input.
fn input_ends() -> tokio::sync::oneshot::Receiver<()> {
    let (end, ends) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // A failure to read is an end, too.
        _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(end);
    });
    ends
}
