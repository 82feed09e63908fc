//! `ottla consume --group`: records that a group gives, printed and committed.

use std::{
    collections::HashMap,
    io::{self, BufWriter, Write},
    time::{Duration, Instant},
};

use ottla::{
    Batch, Consumer, Rebalance, RebalanceKind, Rebalances, Result, TopicPartition, config::ConsumerConfig,
};

use crate::{
    consume::{Args, BATCH_RECORDS_MAX, print},
    stop_signal::StopSignal,
};

/// Longest time to leave the group.
const CLOSE_MAX: Duration = Duration::from_secs(10);
/// How long to wait for partitions when the group has begun by giving none. With KIP-848 others let go of some at their next
/// heartbeat, and the one after tells us: brokers, as shipped, ask for one each five seconds.
const NOTHING_YET_MAX: Duration = Duration::from_secs(12);
/// How often it is looked whether all is read, while no records come.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What there is to do next.
enum Next {
    Rebalance(Rebalance),
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
    let mut rebalances = consumer.rebalances()?;
    consumer.subscribe(args.topics.iter().map(String::as_str))?;
    let read = read(args, &consumer, &mut rebalances, &mut stop).await;
    let closed = consumer.close(CLOSE_MAX).await;
    read?;
    Ok(closed?)
}

async fn read(
    args: &Args,
    consumer: &Consumer,
    rebalances: &mut Rebalances,
    stop: &mut StopSignal,
) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut ends: Option<HashMap<TopicPartition, i64>> = None;
    let mut nothing_yet_since = None;
    while left > 0 {
        let waits = nothing_yet_since.is_some_and(|since: Instant| since.elapsed() < NOTHING_YET_MAX);
        if !args.follow && !waits && ends.as_ref().is_some_and(|ends| is_read(consumer, ends)) {
            break;
        }
        let max = BATCH_RECORDS_MAX.min(usize::try_from(left).unwrap_or(usize::MAX));
        let next = tokio::select! {
            biased;
            _ = stop.wait() => Next::Stop,
            Some(rebalance) = rebalances.next() => Next::Rebalance(rebalance),
            batch = consumer.next_batch(max) => Next::Batch(batch),
            () = tokio::time::sleep(LOOK_INTERVAL), if !args.follow => Next::Look,
        };
        match next {
            Next::Stop => break,
            Next::Look => {}
            Next::Rebalance(rebalance) => {
                let is_first = ends.is_none();
                let is_empty = rebalance.partitions().is_empty();
                nothing_yet_since = match nothing_yet_since {
                    None if is_first && is_empty => Some(Instant::now()),
                    since => since.filter(|_| is_empty),
                };
                let ends = ends.get_or_insert_default();
                match rebalance.kind() {
                    RebalanceKind::Assigned if args.follow => {}
                    // As they end now; what comes later is left for the next time.
                    RebalanceKind::Assigned => {
                        ends.extend(consumer.end_offsets(rebalance.partitions()).await?)
                    }
                    RebalanceKind::Revoked | RebalanceKind::Lost => {
                        ends.retain(|tp, _| !rebalance.partitions().contains(tp));
                    }
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
            }
        }
    }
    out.flush()?;
    Ok(())
}

/// Whether all partitions that it was given are read to their ends.
fn is_read(consumer: &Consumer, ends: &HashMap<TopicPartition, i64>) -> bool {
    ends.iter().all(|(tp, &end)| match consumer.position(tp) {
        Ok(Some(position)) => position >= end,
        // Still looked for.
        Ok(None) => false,
        // Not its own any more.
        Err(_) => true,
    })
}
