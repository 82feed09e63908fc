//! A service whose language is missing, played by the Rust client, so that the stream does not end there.

use std::time::Duration;

use anyhow::{Context, bail};
use ottla::{
    Consumer, Producer, Record,
    config::{ConsumerConfig, OffsetReset, ProducerConfig},
};

use crate::{audit::Tally, plan::Service};

/// How long what ends may take: the last records, and leaving the group.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often records come into being.
const TURN: Duration = Duration::from_millis(50);
/// Records that are on their way at once.
const UNDERWAY_MAX: u64 = 1_000;

/// Plays a service until it is asked to end, or has written `count` records if it reads none.
pub async fn play(service: &Service, bootstrap: &str, count: u64, per_second: u64) -> anyhow::Result<()> {
    let producer = Producer::new(ProducerConfig {
        bootstrap_servers: vec![bootstrap.to_owned()],
        ..Default::default()
    })?;
    match service.reads {
        [] => write(service, &producer, count, per_second).await?,
        [topic] => pass_on(service, topic, bootstrap, &producer).await?,
        _ => bail!("nobody stands in for `{}`", service.name),
    }
    Ok(producer.close(CLOSE_TIMEOUT).await?)
}

async fn write(service: &Service, producer: &Producer, count: u64, per_second: u64) -> anyhow::Result<()> {
    let began = tokio::time::Instant::now();
    let mut wrote = Tally::default();
    while wrote.count < count {
        let due = ((began.elapsed() + TURN).as_secs_f64() * per_second as f64).ceil() as u64;
        let until = due.min(count).min(wrote.count + UNDERWAY_MAX);
        let mut sends = Vec::new();
        while wrote.count < until {
            let number = wrote.count;
            let value =
                format!("{number} {} {}", number * 5 % 12 + 1, ["apples", "figs"][number as usize % 2]);
            let key = format!("{}", number % 60);
            sends.push(producer.send(Record::to(service.writes).key(&key).value(&value)).await?);
            wrote.add(value.as_bytes());
        }
        for send in sends {
            send.await?;
        }
        say("wrote", service.writes, wrote);
        if until == due {
            tokio::time::sleep(TURN).await;
        }
    }
    Ok(())
}

async fn pass_on(service: &Service, topic: &str, bootstrap: &str, producer: &Producer) -> anyhow::Result<()> {
    let consumer = Consumer::new(ConsumerConfig {
        bootstrap_servers: vec![bootstrap.to_owned()],
        group_id: Some(service.name.to_owned()),
        auto_offset_reset: OffsetReset::Earliest,
        enable_auto_commit: false,
        ..Default::default()
    })?;
    consumer.subscribe([topic])?;
    let mut ending = std::pin::pin!(asked_to_end()?);
    let (mut read, mut wrote) = (Tally::default(), Tally::default());
    loop {
        let batch = tokio::select! {
            batch = consumer.next_batch(500) => batch?,
            () = &mut ending => break,
        };
        let mut sends = Vec::new();
        for record in &batch {
            let record = record?;
            let value = record.value().unwrap_or_default();
            let next = handled(service, std::str::from_utf8(value)?)?;
            sends.push(
                producer
                    .send(Record::to(service.writes).key(record.key().unwrap_or_default()).value(&next))
                    .await?,
            );
            read.add(value);
            wrote.add(next.as_bytes());
        }
        for send in sends {
            send.await?;
        }
        consumer.commit_batch(&batch).await?;
        say("read", topic, read);
        say("wrote", service.writes, wrote);
    }
    Ok(consumer.close(CLOSE_TIMEOUT).await?)
}

/// What the service makes of a record: the fields that those who come after it look for.
fn handled(service: &Service, value: &str) -> anyhow::Result<String> {
    let field = |at: usize| {
        let field = value.split(' ').nth(at).and_then(|field| field.parse::<u64>().ok());
        field.with_context(|| format!("field {at} of `{value}`"))
    };
    Ok(match service.name {
        "pricing" => format!("{value} {}", field(1)? * 25),
        "billing" => format!("{value} {}", field(3)? + field(3)? * 19 / 100),
        "shipping" => format!("{value} van-{}", field(0)? % 7 + 1),
        other => bail!("nobody stands in for `{other}`"),
    })
}

#[allow(clippy::print_stdout, reason = "it is a service, and says how far it is")]
fn say(verb: &str, topic: &str, tally: Tally) {
    println!("{verb} {topic} {} {}", tally.count, tally.checksum);
}

/// Ends when the process is terminated.
fn asked_to_end() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    #[cfg(windows)]
    let mut signal = tokio::signal::windows::ctrl_shutdown()?;
    Ok(async move {
        signal.recv().await;
    })
}
