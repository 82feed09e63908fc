//! `ottla produce`: lines of a file or of standard input as records.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context;
use ottla::{Header, Producer, Record, config::ProducerConfig};
use serde_json::Value;

use crate::client::{self, ClientArgs};

/// How long what was taken may need to be delivered at the end.
const CLOSE_MAX: Duration = Duration::from_secs(120);

/// Send each line as a record.
///
/// A line is a value, or key and value with --key-separator, or with --json-lines an object:
/// {"key": ..., "value": ..., "headers": {"name": "text"}, "partition": 0, "timestamp": 0}.
/// Ends when all are acknowledged; fails if one is not.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The topic.
    topic: String,
    /// Read lines from here instead of standard input.
    #[arg(long, short, value_name = "PATH")]
    file: Option<PathBuf>,
    /// What parts key and value in a line.
    #[arg(long, short = 'k', value_name = "TEXT")]
    key_separator: Option<String>,
    /// A header for every record; may be given more than once.
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// Send all to this partition.
    #[arg(long, short)]
    partition: Option<i32>,
    /// Each line is a JSON object.
    #[arg(long, conflicts_with = "key_separator")]
    json_lines: bool,
    /// Compress with none, gzip, snappy, lz4 or zstd.
    #[arg(long, short = 'z', value_name = "CODEC")]
    compression: Option<String>,
    /// Say nothing of how many were sent.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let input: Box<dyn BufRead> = match &args.file {
        Some(path) => Box::new(BufReader::with_capacity(
            1 << 20,
            File::open(path).with_context(|| format!("opening `{}`", path.display()))?,
        )),
        None => Box::new(BufReader::new(io::stdin())),
    };
    client::run(send_all(args, input))
}

async fn send_all(args: &Args, mut input: Box<dyn BufRead>) -> anyhow::Result<()> {
    let mut settings = args.client.settings(&[]);
    if let Some(codec) = &args.compression {
        settings.set("compression.type", codec.as_str());
    }
    let (config, _) = ProducerConfig::from_settings(&settings)?;
    let producer = Producer::new(config)?;
    let headers: Vec<(&str, &str)> =
        args.headers.iter().map(|pair| pair.split_once('=').unwrap_or((pair.as_str(), ""))).collect();
    let (began, mut count, mut bytes) = (Instant::now(), 0u64, 0u64);
    let mut line = Vec::new();
    let mut reports = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        bytes += text.len() as u64;
        let sent = if args.json_lines {
            send_json(&producer, args, &headers, text, count).await
        } else {
            send_text(&producer, args, &headers, text, count).await
        };
        sent.with_context(|| format!("line {}", count + 1))?;
        count += 1;
        // Failures come up while the rest is being sent, not after hours of it.
        producer.drain_reports(&mut reports);
        first_failure(&mut reports)?;
    }
    producer.flush().await?;
    producer.drain_reports(&mut reports);
    first_failure(&mut reports)?;
    producer.close(CLOSE_MAX).await?;
    if !args.quiet && io::stderr().is_terminal() {
        let seconds = began.elapsed().as_secs_f64();
        writeln!(
            io::stderr(),
            "{count} records, {:.1} MB in {seconds:.2} s: {:.0} records/s",
            bytes as f64 / 1e6,
            count as f64 / seconds
        )?;
    }
    Ok(())
}

fn first_failure(reports: &mut Vec<ottla::Report>) -> anyhow::Result<()> {
    for report in reports.drain(..) {
        report.result.with_context(|| format!("line {}", report.token + 1))?;
    }
    Ok(())
}

async fn send_text(
    producer: &Producer,
    args: &Args,
    headers: &[(&str, &str)],
    text: &[u8],
    token: u64,
) -> anyhow::Result<()> {
    let (key, value) = match &args.key_separator {
        Some(separator) => {
            let at = text.windows(separator.len().max(1)).position(|window| window == separator.as_bytes());
            let at = at.with_context(|| format!("the line has no `{separator}`"))?;
            let (key, rest) = text.split_at(at);
            (Some(key), rest.get(separator.len()..).unwrap_or_default())
        }
        None => (None, text),
    };
    let record = Record {
        topic: &args.topic,
        partition: args.partition,
        key,
        value: Some(value),
        headers: headers.iter().map(|(name, value)| Header::new(name, Some(value.as_bytes()))).collect(),
        ..Record::default()
    };
    Ok(producer.send_with_token(record, token).await?)
}

async fn send_json(
    producer: &Producer,
    args: &Args,
    headers: &[(&str, &str)],
    text: &[u8],
    token: u64,
) -> anyhow::Result<()> {
    let fields: Value = serde_json::from_slice(text).context("the line is not JSON")?;
    let text_of = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_bytes()),
        other => Some(other.to_string().into_bytes()),
    };
    let (key, value) = (text_of(&fields["key"]), text_of(&fields["value"]));
    let own: Vec<(&str, Option<Vec<u8>>)> = fields["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, v)| (name.as_str(), text_of(v)))
        .collect();
    let mut all: Vec<Header<'_>> =
        headers.iter().map(|(name, value)| Header::new(name, Some(value.as_bytes()))).collect();
    all.extend(own.iter().map(|(name, value)| Header::new(name, value.as_deref())));
    let partition = match fields["partition"].as_i64() {
        Some(partition) => Some(i32::try_from(partition).context("the partition is no such number")?),
        None => args.partition,
    };
    let record = Record {
        topic: &args.topic,
        partition,
        timestamp: fields["timestamp"].as_i64(),
        key: key.as_deref(),
        value: value.as_deref(),
        headers: all.into(),
    };
    Ok(producer.send_with_token(record, token).await?)
}
