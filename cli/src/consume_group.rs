//! `ottla consume --group`: records that a group gives, printed and committed.

use std::{
    collections::HashMap,
    io::{self, BufWriter, Write},
    time::Duration,
};

use ottla::{
    Admin, Batch, Consumer, Result, TopicPartition,
    config::{AdminConfig, ConsumerConfig},
};

use crate::{
    consume::{Args, BATCH_RECORDS_MAX, print},
    stop_signal::StopSignal,
};

/// Longest time to leave the group.
const CLOSE_MAX: Duration = Duration::from_secs(10);
/// How often it is looked how far the group is, while no records come.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Where partitions end that the group has not read yet.
type Ends = HashMap<TopicPartition, i64>;

/// What there is to do next.
enum Next {
    Batch(Result<Batch>),
    Look,
    Stop,
}

pub(crate) async fn consume(args: &Args, group: &str) -> anyhow::Result<()> {
    let preset = [("auto.offset.reset", "earliest")];
    let mut settings = args.client.settings(&preset);
    settings.set("group.id", group);
    let (config, _) = ConsumerConfig::from_settings(&settings)?;
    // What is printed is committed, neither more nor less.
    let consumer = Consumer::new(ConsumerConfig { enable_auto_commit: false, ..config })?;
    // Before anything is read, so that no signal is missed.
    let mut stop = StopSignal::new()?;
    let ends = if args.follow { None } else { Some(ends(args, &consumer).await?) };
    consumer.subscribe(args.topics.iter().map(String::as_str))?;
    let read = read(args, &consumer, ends, &mut stop).await;
    let closed = consumer.close(CLOSE_MAX).await;
    read?;
    Ok(closed?)
}

/// Where the topics end now; what comes later is left for the next time.
async fn ends(args: &Args, consumer: &Consumer) -> anyhow::Result<Ends> {
    let (config, _) = AdminConfig::from_settings(&args.client.settings(&[]))?;
    let mut partitions = Vec::new();
    for (name, described) in Admin::new(config)?.describe_topics(&args.topics).await? {
        let of_topic = described?.partitions;
        partitions.extend(of_topic.iter().map(|p| TopicPartition::new(name.as_str(), p.partition)));
    }
    let starts = consumer.beginning_offsets(&partitions).await?;
    let mut ends = consumer.end_offsets(&partitions).await?;
    ends.retain(|tp, end| starts.get(tp) < Some(end));
    Ok(ends)
}

async fn read(
    args: &Args,
    consumer: &Consumer,
    mut ends: Option<Ends>,
    stop: &mut StopSignal,
) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 && ends.as_ref().is_none_or(|ends| !ends.is_empty()) {
        let max = BATCH_RECORDS_MAX.min(usize::try_from(left).unwrap_or(usize::MAX));
        let next = tokio::select! {
            biased;
            _ = stop.wait() => Next::Stop,
            batch = consumer.next_batch(max) => Next::Batch(batch),
            () = tokio::time::sleep(LOOK_INTERVAL), if ends.is_some() => Next::Look,
        };
        match next {
            Next::Stop => break,
            Next::Look => {
                if let Some(ends) = &mut ends {
                    look(consumer, ends).await?;
                }
            }
            Next::Batch(batch) => {
                let batch = batch?;
                for record in &batch {
                    print(&mut out, args, &record?)?;
                }
                left -= batch.len() as u64;
                // Whoever looks on sees it before the group counts it as done.
                out.flush()?;
                drop(consumer.commit_batch(&batch));
                if let Some(ends) = &mut ends {
                    let tp = TopicPartition::new(batch.topic().clone(), batch.partition());
                    if ends.get(&tp).is_some_and(|&end| batch.next_offset() >= end) {
                        ends.remove(&tp);
                    }
                }
            }
        }
    }
    out.flush()?;
    Ok(())
}

/// Takes off what is read: of this member's partitions, by where it is; of others', by what they have committed.
async fn look(consumer: &Consumer, ends: &mut Ends) -> anyhow::Result<()> {
    let mut of_others = Vec::new();
    ends.retain(|tp, end| match consumer.position(tp) {
        Ok(position) => position.is_none_or(|position| position < *end),
        Err(_) => {
            of_others.push(tp.clone());
            true
        }
    });
    if !of_others.is_empty() {
        for (tp, committed) in consumer.committed(&of_others).await? {
            if ends.get(&tp).is_some_and(|&end| committed.offset >= end) {
                ends.remove(&tp);
            }
        }
    }
    Ok(())
}
