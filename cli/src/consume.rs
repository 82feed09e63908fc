//! `ottla consume`: records of a topic, printed, or of several as a member of a group.

use std::{
    collections::HashMap,
    io::{self, BufWriter, Write},
};

use anyhow::{Context, bail};
use clap::ValueEnum;
use ottla::{
    Admin, Consumer, OffsetSpec, RecordView, TopicPartition,
    config::{AdminConfig, ConsumerConfig},
};
use serde_json::json;

use crate::{
    client::{self, ClientArgs},
    consume_group,
};

/// Records that are taken at once.
pub(crate) const BATCH_RECORDS_MAX: usize = 10_000;

/// Print the records of a topic.
///
/// Reads all of its partitions, or those given, from the beginning to where they end now; --follow goes on. With --group,
/// reads the partitions of one or more topics that the group gives, from where the group is, and commits what it printed,
/// until the group has read to where they end now.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The topic; with --group there may be several.
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// Be a member of this group.
    #[arg(long, short, value_name = "GROUP", conflicts_with_all = ["partition", "from"])]
    pub(crate) group: Option<String>,
    /// Read only this partition; may be given more than once.
    #[arg(long, short)]
    partition: Vec<i32>,
    /// Where to begin: `beginning`, `end`, an offset, or `@` and milliseconds since 1970.
    #[arg(long, default_value = "beginning", value_name = "WHERE")]
    from: String,
    /// Stop after so many records.
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Wait for more at the end.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// How a record is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Print partition, offset and timestamp before each record, and the key with the value.
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// The value as it is, a line each.
    #[default]
    Text,
    /// A JSON object a line, with everything there is.
    Json,
    /// Key and value in hexadecimal.
    Hex,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match (&args.group, &args.topics[..]) {
        (Some(group), _) => client::run(consume_group::consume(args, group)),
        (None, [topic]) => client::run(consume(args, topic)),
        (None, _) => bail!("several topics are read by a group: add `--group` and its name"),
    }
}

async fn consume(args: &Args, topic: &str) -> anyhow::Result<()> {
    let (config, _) = AdminConfig::from_settings(&args.client.settings(&[]))?;
    let admin = Admin::new(config)?;
    let (_, described) =
        admin.describe_topics([topic]).await?.pop().context("the broker answered nothing")?;
    let all = described?.partitions.len() as i32;
    let chosen: Vec<i32> =
        if args.partition.is_empty() { (0..all).collect() } else { args.partition.clone() };
    if let Some(missing) = chosen.iter().find(|p| !(0..all).contains(*p)) {
        bail!("topic `{topic}` has no partition {missing}; it has {all}");
    }
    let partitions: Vec<TopicPartition> = chosen.iter().map(|&p| TopicPartition::new(topic, p)).collect();
    let (config, _) = ConsumerConfig::from_settings(&args.client.settings(&[]))?;
    let consumer = Consumer::new(config)?;
    consumer.assign(partitions.clone())?;
    for partition in &partitions {
        begin(&consumer, partition, &args.from)?;
    }
    // Where each partition ends now; those that have nothing left are taken off.
    let mut ends: HashMap<i32, i64> = HashMap::new();
    if !args.follow {
        let starts = starts(&admin, &partitions, &args.from).await?;
        for (partition, end) in consumer.end_offsets(&partitions).await? {
            if starts.get(&partition.partition).is_none_or(|&start| start < end) {
                ends.insert(partition.partition, end);
            }
        }
    }
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 && (args.follow || !ends.is_empty()) {
        let batch = match consumer.try_next_batch(BATCH_RECORDS_MAX.min(left.min(1 << 30) as usize)) {
            Some(batch) => batch?,
            None => {
                // Whoever looks on sees everything that is there before we wait.
                out.flush()?;
                consumer.next_batch(BATCH_RECORDS_MAX.min(left.min(1 << 30) as usize)).await?
            }
        };
        let end = ends.get(&batch.partition()).copied();
        for record in &batch {
            let record = record?;
            // What came after the start is left for the next time.
            if end.is_some_and(|end| record.offset() >= end) || !args.follow && end.is_none() {
                break;
            }
            print(&mut out, args, &record)?;
            left -= 1;
        }
        if end.is_some_and(|end| batch.next_offset() >= end) {
            ends.remove(&batch.partition());
        }
    }
    out.flush()?;
    Ok(())
}

fn begin(consumer: &Consumer, partition: &TopicPartition, from: &str) -> anyhow::Result<()> {
    match (spec(from)?, from.parse::<i64>()) {
        (Some(spec), _) => consumer.seek_to(partition, spec)?,
        (None, Ok(offset)) => consumer.seek(partition, offset)?,
        (None, Err(_)) => {
            bail!("`{from}` is no place to begin; say `beginning`, `end`, an offset, or `@` and a time in ms")
        }
    }
    Ok(())
}

fn spec(from: &str) -> anyhow::Result<Option<OffsetSpec>> {
    Ok(match from {
        "beginning" => Some(OffsetSpec::Earliest),
        "end" => Some(OffsetSpec::Latest),
        _ => match from.strip_prefix('@') {
            Some(ms) => Some(OffsetSpec::Timestamp(
                ms.parse().with_context(|| format!("`{ms}` are no milliseconds"))?,
            )),
            None => None,
        },
    })
}

/// The offsets at which reading begins, by partition; those of a time that no record has are left out of the end.
async fn starts(
    admin: &Admin,
    partitions: &[TopicPartition],
    from: &str,
) -> anyhow::Result<HashMap<i32, i64>> {
    let Some(spec) = spec(from)? else {
        let offset = from.parse().unwrap_or(0);
        return Ok(partitions.iter().map(|p| (p.partition, offset)).collect());
    };
    let listed = admin.list_offsets(partitions.iter().map(|p| (p.clone(), spec)).collect::<Vec<_>>()).await?;
    let mut starts = HashMap::new();
    for (partition, found) in listed {
        starts.insert(partition.partition, found?.offset.unwrap_or(i64::MAX));
    }
    Ok(starts)
}

/// Prints a record; with its topic, where there may be several.
pub(crate) fn print(out: &mut impl Write, args: &Args, record: &RecordView<'_>) -> anyhow::Result<()> {
    if let Format::Json = args.format {
        let text = |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8_lossy(b).into_owned());
        let headers: Vec<_> = record.headers().iter().map(|h| json!([h.name(), text(h.value)])).collect();
        let mut fields = json!({
            "partition": record.partition,
            "offset": record.offset(),
            "timestamp": record.timestamp(),
            "key": text(record.key()),
            "value": text(record.value()),
            "headers": headers,
        });
        if args.group.is_some() {
            fields["topic"] = json!(**record.topic);
        }
        writeln!(out, "{fields}")?;
        return Ok(());
    }
    if args.verbose {
        if args.topics.len() > 1 {
            write!(out, "{}\t", record.topic)?;
        }
        write!(out, "{}\t{}\t{}\t", record.partition, record.offset(), record.timestamp())?;
        part(out, args.format, record.key())?;
        out.write_all(b"\t")?;
    }
    part(out, args.format, record.value())?;
    out.write_all(b"\n")?;
    Ok(())
}

fn part(out: &mut impl Write, format: Format, bytes: Option<&[u8]>) -> io::Result<()> {
    match (format, bytes) {
        (_, None) => out.write_all(b"null"),
        (Format::Hex, Some(bytes)) => bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
        (_, Some(bytes)) => out.write_all(bytes),
    }
}
