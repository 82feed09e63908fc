//! `ottla dump-log`: what lies in a log's files, for people and for scripts.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use ottla_broker::log::dump;
use ottla_protocol::{
    compression::{Decompressor, Limits},
    record::{Batch, Record},
};
use serde_json::{Value, json};

/// Print what lies in log files: segments, indexes, producer snapshots, leader epochs.
///
/// Takes files, or the directory of a partition for all of its segments. Nothing is changed, and a broker may be
/// running over them. Ends with an error where a file is damaged, after all that is whole before.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// `.log`, `.index`, `.timeindex` and `.snapshot` files, `leader-epoch-checkpoint`, or a partition's directory.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print the records inside the batches too.
    #[arg(long, short)]
    records: bool,
    /// Print a JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut out = Out { sink: io::BufWriter::new(io::stdout().lock()), json: args.json };
    for path in &args.paths {
        let result = if path.is_dir() {
            let segments = dump::segments(path)?;
            segments.iter().try_for_each(|segment| file(segment, args, &mut out))
        } else {
            file(path, args, &mut out)
        };
        // What was read is shown before what went wrong.
        out.sink.flush()?;
        result?;
    }
    Ok(())
}

struct Out<W> {
    sink: W,
    json: bool,
}

impl<W: Write> Out<W> {
    /// One line: the fields as JSON, or as `name: value` pairs behind an indentation.
    fn line(&mut self, indent: usize, fields: Value) -> anyhow::Result<()> {
        if self.json {
            writeln!(self.sink, "{fields}")?;
            return Ok(());
        }
        let pairs: Vec<String> = fields
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        writeln!(self.sink, "{:indent$}{}", "", pairs.join("  "))?;
        Ok(())
    }
}

fn file<W: Write>(path: &Path, args: &Args, out: &mut Out<W>) -> anyhow::Result<()> {
    if !out.json {
        writeln!(out.sink, "{}", path.display())?;
    }
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    match name.rsplit_once('.').map_or(name, |(_, extension)| extension) {
        "log" => segment(path, args, out),
        "index" => {
            for (offset, position) in dump::offset_index(path)? {
                out.line(0, json!({ "offset": offset, "position": position }))?;
            }
            Ok(())
        }
        "timeindex" => {
            for (timestamp, offset) in dump::time_index(path)? {
                out.line(0, json!({ "timestamp": timestamp, "offset": offset }))?;
            }
            Ok(())
        }
        "snapshot" => {
            for row in dump::producer_snapshot(path)? {
                let fields = json!({
                    "producer_id": row.producer_id,
                    "epoch": row.epoch,
                    "last_sequence": row.last_sequence,
                    "last_offset": row.last_offset,
                    "offset_delta": row.offset_delta,
                    "timestamp": row.timestamp,
                });
                out.line(0, fields)?;
            }
            Ok(())
        }
        "leader-epoch-checkpoint" => {
            for row in dump::leader_epochs(path)? {
                out.line(0, json!({ "epoch": row.epoch, "start_offset": row.start_offset }))?;
            }
            Ok(())
        }
        _ => bail!("`{}` is none of a log's files", path.display()),
    }
}

fn segment<W: Write>(path: &Path, args: &Args, out: &mut Out<W>) -> anyhow::Result<()> {
    let mut decompressor = Decompressor::new();
    let mut printed = Ok(());
    let read = dump::batches(path, |found| {
        if printed.is_ok() {
            printed = batch(&found.batch, found.position, found.crc.is_ok(), args, &mut decompressor, out);
        }
    });
    printed?;
    read.with_context(|| format!("reading {}", path.display()))
}

fn batch<W: Write>(
    batch: &Batch,
    position: u64,
    crc_is_valid: bool,
    args: &Args,
    decompressor: &mut Decompressor,
    out: &mut Out<W>,
) -> anyhow::Result<()> {
    let header = batch.header();
    let codec = header.attributes.compression().map_or_else(|e| e.to_string(), |c| c.name().to_owned());
    let fields = json!({
        "base_offset": header.base_offset,
        "last_offset": header.last_offset(),
        "records": header.record_count,
        "position": position,
        "bytes": header.total_bytes(),
        "codec": codec,
        "max_timestamp": header.max_timestamp,
        "leader_epoch": header.partition_leader_epoch,
        "producer_id": header.producer_id.0,
        "producer_epoch": header.producer_epoch,
        "base_sequence": header.base_sequence,
        "transactional": header.attributes.is_transactional(),
        "control": header.attributes.is_control(),
        "crc": format!("{:08x}", header.crc),
        "crc_is_valid": crc_is_valid,
    });
    out.line(0, fields)?;
    if args.records {
        let records = batch.records(decompressor, &Limits::BROKER)?;
        for record in &records {
            out.line(2, record_fields(&record?))?;
        }
    }
    Ok(())
}

fn record_fields(record: &Record<'_>) -> Value {
    let text = |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8_lossy(b).into_owned());
    let headers: Vec<Value> = record.headers.iter().map(|h| json!([h.name(), text(h.value)])).collect();
    json!({
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": text(record.key),
        "value": text(record.value),
        "headers": headers,
    })
}
