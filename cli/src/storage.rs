//! `ottla topic describe --storage`: what topics take on brokers' disks.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use ottla::{Admin, ErrorCode, LogDirDescription, LogDirReplica, TopicDescription};
use serde_json::{Value, json};

use crate::topic::offsets;

/// A replica on a disk.
struct Stored {
    partition: i32,
    broker: i32,
    directory: String,
    replica: LogDirReplica,
    /// First and next offset of the partition.
    offsets: (i64, i64),
}

pub(crate) async fn describe(admin: &Admin, topics: &[String], json: bool) -> anyhow::Result<()> {
    for (_, described) in admin.describe_topics(topics).await? {
        let topic = described?;
        let (stored, offline) = replicas(admin, &topic).await?;
        let mut out = io::stdout().lock();
        if json {
            let replicas: Vec<Value> = stored.iter().map(fields).collect();
            let name = &*topic.name;
            writeln!(out, "{}", json!({ "topic": name, "replicas": replicas, "offline": offline }))?;
        } else {
            table(&mut out, &topic, &stored, &offline)?;
        }
    }
    Ok(())
}

/// The topic's replicas, by partition and broker, and the directories that are offline, as `broker:path`.
async fn replicas(admin: &Admin, topic: &TopicDescription) -> anyhow::Result<(Vec<Stored>, Vec<String>)> {
    let brokers: BTreeSet<_> = topic.partitions.iter().flat_map(|p| p.replicas.iter().copied()).collect();
    let indexes: Vec<i32> = topic.partitions.iter().map(|p| p.partition).collect();
    let wanted = [(topic.name.to_string(), indexes)];
    let (mut stored, mut offline) = (Vec::new(), Vec::new());
    let offsets = offsets(admin, topic).await?;
    for (broker, directories) in admin.describe_log_dirs(brokers, Some(&wanted)).await? {
        for LogDirDescription { path, replicas, error, .. } in directories? {
            if error != ErrorCode::NONE {
                offline.push(format!("{broker}:{path}"));
            }
            stored.extend(replicas.into_iter().map(|replica| {
                let partition = replica.partition.partition;
                let place = topic.partitions.iter().position(|p| p.partition == partition);
                let offsets = place.and_then(|i| offsets.get(i).copied()).unwrap_or((-1, -1));
                Stored { partition, broker: broker.0, directory: path.clone(), replica, offsets }
            }));
        }
    }
    stored.sort_unstable_by_key(|stored| (stored.partition, stored.broker));
    Ok((stored, offline))
}

fn fields(stored: &Stored) -> Value {
    json!({
        "partition": stored.partition,
        "broker": stored.broker,
        "directory": stored.directory,
        "bytes": stored.replica.size_bytes,
        "offset_lag": stored.replica.offset_lag,
        "first_offset": stored.offsets.0,
        "next_offset": stored.offsets.1,
    })
}

fn table(
    out: &mut impl Write,
    topic: &TopicDescription,
    stored: &[Stored],
    offline: &[String],
) -> io::Result<()> {
    let bytes: u64 = stored.iter().map(|stored| stored.replica.size_bytes).sum();
    writeln!(out, "{}  id {}  {bytes} bytes", topic.name, topic.id)?;
    writeln!(
        out,
        "  {:>9}  {:>6}  {:>14}  {:>12}  {:>12}  {:>6}  directory",
        "partition", "broker", "bytes", "first", "next", "lag"
    )?;
    for Stored { partition, broker, directory, replica, offsets: (first, next) } in stored {
        let (bytes, lag) = (replica.size_bytes, replica.offset_lag);
        writeln!(
            out,
            "  {partition:>9}  {broker:>6}  {bytes:>14}  {first:>12}  {next:>12}  {lag:>6}  {directory}"
        )?;
    }
    for directory in offline {
        writeln!(out, "  offline: {directory}")?;
    }
    Ok(())
}
