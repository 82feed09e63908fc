//! The runner of Rust: the crate `ottla`, as a program would use it.

use std::{
    collections::HashMap,
    io::{BufRead, Write},
    time::Duration,
};

use anyhow::{Context, bail};
use ottla::{
    Admin, AlterConfig, ConfigResource, Consumer, Delivery, NewTopic, OffsetSpec, Producer, Record,
    RecordView, Settings, TopicPartition,
    config::{AdminConfig, ConsumerConfig, ProducerConfig},
};
use ottla_conformance::line::{Line, decode_text, encode};
use percent_encoding::percent_decode_str;
use tokio::time::{Instant, sleep, timeout_at};

/// How long is waited where a step does not say.
const PATIENCE_MS: u64 = 30_000;
/// Between two looks at what comes about by itself.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (mut clients, mut stdout) = (Clients::default(), std::io::stdout());
    for text in std::io::stdin().lock().lines() {
        let line = Line::parse(&text?)?;
        let mut records = Vec::new();
        let answer = match runtime.block_on(clients.step(&line, &mut records)) {
            Ok(answer) => answer,
            Err(error) => refused(&error),
        };
        for record in records {
            writeln!(stdout, "{record}")?;
        }
        writeln!(stdout, "{answer}")?;
        stdout.flush()?;
    }
    Ok(())
}

fn ok() -> Line {
    Line::new("ok")
}

fn refused(error: &anyhow::Error) -> Line {
    let line = Line::new("error").pair("message", error.to_string());
    let Some(error) = error.downcast_ref::<ottla::Error>() else {
        let name = if error.is::<UnknownVerb>() { "UNKNOWN_VERB" } else { "RUNNER" };
        return line.pair("name", name);
    };
    let code = error.code().map_or(0, |code| code.0);
    line.pair("name", name(error))
        .pair("code", code.to_string())
        .pair("retriable", error.is_retriable().to_string())
        .pair("fatal", error.is_fatal().to_string())
}

/// The name by which every language knows it: from the table of the bindings.
fn name(error: &ottla::Error) -> &'static str {
    ottla_bindings::error::name(error.kind().number())
}

#[derive(Debug)]
struct UnknownVerb(String);

impl std::fmt::Display for UnknownVerb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "there is no verb `{}`", self.0)
    }
}

impl std::error::Error for UnknownVerb {}

/// The clients of a scenario, by the names that it gives them.
#[derive(Default)]
struct Clients {
    producers: HashMap<String, (Producer, Vec<Delivery>)>,
    consumers: HashMap<String, Consumer>,
    admins: HashMap<String, Admin>,
}

impl Clients {
    async fn step(&mut self, line: &Line, records: &mut Vec<Line>) -> anyhow::Result<Line> {
        let client = line.need("client")?;
        match line.word.as_str() {
            "producer" => {
                let (config, _) =
                    ProducerConfig::from_settings(&settings(line)).map_err(ottla::Error::from)?;
                self.producers.insert(client.to_owned(), (Producer::new(config)?, Vec::new()));
                return Ok(ok());
            }
            "consumer" => {
                let (config, _) =
                    ConsumerConfig::from_settings(&settings(line)).map_err(ottla::Error::from)?;
                self.consumers.insert(client.to_owned(), Consumer::new(config)?);
                return Ok(ok());
            }
            "admin" => {
                let (config, _) = AdminConfig::from_settings(&settings(line)).map_err(ottla::Error::from)?;
                self.admins.insert(client.to_owned(), Admin::new(config)?);
                return Ok(ok());
            }
            _ => {}
        }
        if let Some((producer, later)) = self.producers.get_mut(client) {
            produce(producer, later, line).await
        } else if let Some(consumer) = self.consumers.get(client) {
            consume(consumer, line, records).await
        } else if let Some(admin) = self.admins.get(client) {
            administer(admin, line).await
        } else {
            bail!("there is no client `{client}`")
        }
    }
}

fn settings(line: &Line) -> Settings {
    let mut settings = Settings::new();
    for (key, value) in line.with_prefix("set.") {
        settings.set(key, String::from_utf8_lossy(value));
    }
    settings
}

async fn produce(producer: &Producer, later: &mut Vec<Delivery>, line: &Line) -> anyhow::Result<Line> {
    match line.word.as_str() {
        "send" => {
            let headers = headers(line)?;
            let written = producer.send(record(line, &headers)?).await?.await?;
            Ok(ok()
                .pair("partition", written.partition.to_string())
                .pair("offset", written.offset.to_string())
                .pair("timestamp", written.timestamp.to_string()))
        }
        "send_later" => {
            let headers = headers(line)?;
            later.push(producer.send(record(line, &headers)?).await?);
            Ok(ok())
        }
        "send_many" => {
            let (count, keys): (u64, u64) =
                (line.number("count")?.unwrap_or(0), line.number("keys")?.unwrap_or(0));
            let bytes = line.number("value_bytes")?.unwrap_or(0);
            let mut sent = Vec::new();
            for number in 0..count {
                let value = format!("{number:010}{}", "x".repeat(usize::saturating_sub(bytes, 10)));
                let key = (keys > 0).then(|| format!("key-{}", number % keys));
                let record = Record {
                    topic: line.need("topic")?,
                    partition: line.number("partition")?,
                    key: key.as_deref().map(str::as_bytes),
                    value: Some(value.as_bytes()),
                    ..Record::default()
                };
                sent.push(producer.send(record).await?);
            }
            Ok(outcomes(sent).await)
        }
        "outcomes" => Ok(outcomes(std::mem::take(later)).await),
        "flush" => {
            producer.flush().await?;
            Ok(ok())
        }
        "close" => {
            producer.close(patience(line)?).await?;
            Ok(ok())
        }
        verb => Err(UnknownVerb(verb.to_owned()).into()),
    }
}

async fn outcomes(deliveries: Vec<Delivery>) -> Line {
    let (mut acknowledged, mut failed, mut first) = (0, 0, None);
    for delivery in deliveries {
        match delivery.await {
            Ok(_) => acknowledged += 1,
            Err(error) => {
                failed += 1;
                first.get_or_insert_with(|| name(&error));
            }
        }
    }
    ok().pair("acknowledged", acknowledged.to_string())
        .pair("failed", failed.to_string())
        .maybe("error", first)
}

type OwnHeader = (String, Option<Vec<u8>>);

fn headers(line: &Line) -> anyhow::Result<Vec<OwnHeader>> {
    let mut headers = Vec::new();
    for (_, header) in line.with_prefix("header.") {
        let header = std::str::from_utf8(header)?;
        let (name, value) = match header.split_once(':') {
            Some((name, value)) => (name, Some(percent_decode_str(value).collect())),
            None => (header, None),
        };
        headers.push((decode_text(name)?, value));
    }
    Ok(headers)
}

fn record<'a>(line: &'a Line, headers: &'a [OwnHeader]) -> anyhow::Result<Record<'a>> {
    let headers = headers.iter().map(|(name, value)| ottla::Header::new(name, value.as_deref()));
    Ok(Record {
        topic: line.need("topic")?,
        partition: line.number("partition")?,
        timestamp: line.number("timestamp")?,
        key: line.bytes("key"),
        value: line.bytes("value"),
        headers: headers.collect(),
    })
}

async fn consume(consumer: &Consumer, line: &Line, records: &mut Vec<Line>) -> anyhow::Result<Line> {
    match line.word.as_str() {
        "assign" => {
            let wanted = line.need("partitions")?.split(',').map(partition_at);
            let wanted = wanted.collect::<anyhow::Result<Vec<_>>>()?;
            consumer.assign(wanted.iter().map(|(tp, _)| tp.clone()))?;
            for (tp, offset) in &wanted {
                if let Some(offset) = offset {
                    consumer.seek(tp, *offset)?;
                }
            }
        }
        "subscribe" => consumer.subscribe(line.need("topics")?.split(','))?,
        "subscribe_pattern" => consumer.subscribe_pattern(line.need("pattern")?)?,
        "unsubscribe" => consumer.unsubscribe().await?,
        "poll" => return poll(consumer, line, records).await,
        "seek" => {
            let tp = partition(line)?;
            match line.need("offset")? {
                "earliest" => consumer.seek_to(&tp, OffsetSpec::Earliest)?,
                "latest" => consumer.seek_to(&tp, OffsetSpec::Latest)?,
                offset => consumer.seek(&tp, offset.parse::<i64>()?)?,
            }
        }
        "pause" => consumer.pause(&partitions(line)?)?,
        "resume" => consumer.resume(&partitions(line)?)?,
        "position" => {
            let (tp, deadline) = (partition(line)?, Instant::now() + patience(line)?);
            loop {
                if let Some(offset) = consumer.position(&tp)? {
                    return Ok(ok().pair("offset", offset.to_string()));
                }
                anyhow::ensure!(Instant::now() < deadline, "no position");
                sleep(LOOK_INTERVAL).await;
            }
        }
        "commit" => match line.number::<i64>("offset")? {
            Some(offset) => consumer.commit_offsets([(partition(line)?, offset)]).await?,
            None => consumer.commit().await?,
        },
        "committed" => {
            let committed = consumer.committed(&[partition(line)?]).await?;
            return Ok(ok().maybe("offset", committed.values().next().map(|c| c.offset.to_string())));
        }
        "await_assignment" => {
            let (count, deadline) = (line.number("count")?.unwrap_or(0), Instant::now() + patience(line)?);
            loop {
                let mut assigned: Vec<_> = consumer.assignment().iter().map(ToString::to_string).collect();
                if assigned.len() == count {
                    assigned.sort();
                    return Ok(ok().pair("partitions", assigned.join(",")));
                }
                anyhow::ensure!(Instant::now() < deadline, "the assignment is {assigned:?}");
                sleep(LOOK_INTERVAL).await;
            }
        }
        "offset_for_time" => {
            let wanted = [(partition(line)?, line.number("timestamp")?.unwrap_or(0))];
            let found = consumer.offsets_for_times(wanted).await?;
            let offset = found.values().next().and_then(|listed| listed.offset);
            return Ok(ok().maybe("offset", offset.map(|offset| offset.to_string())));
        }
        "watermarks" => {
            let wanted = [partition(line)?];
            let low = consumer.beginning_offsets(&wanted).await?;
            let high = consumer.end_offsets(&wanted).await?;
            let one = |found: HashMap<TopicPartition, i64>| found.into_values().next().map(|o| o.to_string());
            return Ok(ok().maybe("low", one(low)).maybe("high", one(high)));
        }
        "close" => consumer.close(patience(line)?).await?,
        verb => return Err(UnknownVerb(verb.to_owned()).into()),
    }
    Ok(ok())
}

async fn poll(consumer: &Consumer, line: &Line, records: &mut Vec<Line>) -> anyhow::Result<Line> {
    let count = line.number("count")?.unwrap_or(usize::MAX);
    let deadline = Instant::now() + patience(line)?;
    while records.len() < count {
        let Ok(batch) = timeout_at(deadline, consumer.next_batch(count - records.len())).await else { break };
        for record in &batch? {
            records.push(told(&record?));
        }
    }
    Ok(ok().pair("count", records.len().to_string()))
}

fn told(record: &RecordView<'_>) -> Line {
    let mut line = Line::new("record")
        .pair("topic", &**record.topic)
        .pair("partition", record.partition.to_string())
        .pair("offset", record.offset().to_string())
        .pair("timestamp", record.timestamp().to_string())
        .maybe("key", record.key())
        .maybe("value", record.value());
    for (number, header) in record.headers().iter().enumerate() {
        let name = encode(header.name().as_bytes());
        let text = match header.value {
            Some(value) => format!("{name}:{}", encode(value)),
            None => name,
        };
        line = line.pair(format!("header.{number}"), text);
    }
    line
}

async fn administer(admin: &Admin, line: &Line) -> anyhow::Result<Line> {
    let topic = || line.need("topic");
    match line.word.as_str() {
        "create_topic" => {
            let mut new = NewTopic::new(topic()?).partitions(line.number("partitions")?.unwrap_or(1));
            for (key, value) in line.with_prefix("config.") {
                new = new.config(key, String::from_utf8_lossy(value));
            }
            admin.create_topic(new).await?;
        }
        "delete_topic" => admin.delete_topics([topic()?]).await?.remove(0).1?,
        "describe_topic" => {
            let described = admin.describe_topics([topic()?]).await?.remove(0).1?;
            return Ok(ok().pair("partitions", described.partitions.len().to_string()));
        }
        "list_topics" => {
            let mut names: Vec<_> =
                admin.list_topics().await?.into_iter().map(|topic| topic.name.to_string()).collect();
            names.sort();
            return Ok(ok().pair("topics", names.join(",")));
        }
        "create_partitions" => {
            let total = line.number("partitions")?.context("how many")?;
            admin.create_partitions([(topic()?, total)], false).await?.remove(0).1?;
        }
        "topic_config" => {
            let resource = ConfigResource::Topic(topic()?.to_owned());
            let entries = admin.describe_configs([resource]).await?.remove(0).1?;
            let key = line.need("key")?;
            let value = entries.into_iter().find(|entry| entry.name == key).and_then(|entry| entry.value);
            return Ok(ok().maybe("value", value));
        }
        "alter_topic_config" => {
            let key = line.need("key")?;
            let change = match line.text("value") {
                Some(value) => AlterConfig::set(key, value),
                None => AlterConfig::delete(key),
            };
            let resource = ConfigResource::Topic(topic()?.to_owned());
            admin.incremental_alter_configs([(resource, vec![change])], false).await?.remove(0).1?;
        }
        "list_groups" => {
            let mut names: Vec<_> =
                admin.list_groups().await?.into_iter().map(|group| group.group_id.to_string()).collect();
            names.sort();
            return Ok(ok().pair("groups", names.join(",")));
        }
        "describe_group" => {
            let described = admin.describe_groups([line.need("group")?]).await?.remove(0).1?;
            return Ok(ok()
                .pair("state", described.state.name())
                .pair("members", described.members.len().to_string()));
        }
        "delete_group" => admin.delete_groups([line.need("group")?]).await?.remove(0).1?,
        verb => return Err(UnknownVerb(verb.to_owned()).into()),
    }
    Ok(ok())
}

fn patience(line: &Line) -> anyhow::Result<Duration> {
    Ok(Duration::from_millis(line.number("timeout_ms")?.unwrap_or(PATIENCE_MS)))
}

fn partition(line: &Line) -> anyhow::Result<TopicPartition> {
    Ok(partition_at(line.need("partition")?)?.0)
}

fn partitions(line: &Line) -> anyhow::Result<Vec<TopicPartition>> {
    line.need("partitions")?.split(',').map(|text| Ok(partition_at(text)?.0)).collect()
}

/// `orders-0`, or `orders-0@5`.
fn partition_at(text: &str) -> anyhow::Result<(TopicPartition, Option<i64>)> {
    let (partition, offset) = match text.split_once('@') {
        Some((partition, offset)) => (partition, Some(offset.parse()?)),
        None => (text, None),
    };
    let (topic, number) = partition.rsplit_once('-').context("a partition is `topic-number`")?;
    Ok((TopicPartition::new(topic, number.parse()?), offset))
}
