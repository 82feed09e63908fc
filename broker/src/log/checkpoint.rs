//! Checkpoint files: lines of text behind a version and a count, as Kafka's `CheckpointFile` writes them.

use std::{collections::HashMap, fmt::Write, path::Path};

use ottla_protocol::types::TopicName;

use super::{error::LogError, vfs::Disk};

/// The version of all checkpoint files.
const VERSION: &str = "0";

/// A partition, by its topic's name: what directories and checkpoint files are named after.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition's index in it, from 0.
    pub partition: i32,
}

/// The text of a checkpoint file with these rows.
pub(crate) fn encode(rows: impl Iterator<Item = String>) -> String {
    let (mut text, mut count) = (String::new(), 0);
    for row in rows {
        text.push_str(&row);
        text.push('\n');
        count += 1;
    }
    format!("{VERSION}\n{count}\n{text}")
}

/// The rows of a checkpoint file; `None` if it is not there. An empty file has no rows, as for Kafka, which creates
/// it so.
pub(crate) fn read(disk: &Disk, path: &Path) -> Result<Option<Vec<String>>, LogError> {
    let Some(bytes) = disk.read_file(path)? else { return Ok(None) };
    let malformed = |why: String| LogError::malformed(path, why);
    let text = String::from_utf8(bytes).map_err(|_| malformed("it is not text".into()))?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(malformed("its last line is cut".into()));
    }
    let mut lines = text.lines();
    match lines.next() {
        None => return Ok(Some(Vec::new())),
        Some(VERSION) => {}
        Some(version) => return Err(malformed(format!("its version is `{version}`, not {VERSION}"))),
    }
    let count = lines.next().unwrap_or("0");
    let rows: Vec<String> = lines.map(str::to_owned).collect();
    match count.parse::<usize>() {
        Ok(count) if count == rows.len() => Ok(Some(rows)),
        _ => Err(malformed(format!("it announces `{count}` rows and has {}", rows.len()))),
    }
}

/// Reads a file of `topic partition offset` rows; empty if it is not there.
pub(crate) fn read_offsets(disk: &Disk, path: &Path) -> Result<HashMap<TopicPartition, i64>, LogError> {
    let mut offsets = HashMap::new();
    for row in read(disk, path)?.unwrap_or_default() {
        let mut words = row.split_whitespace();
        let parsed = (|| {
            let topic = TopicName::from(words.next()?);
            let partition = words.next()?.parse().ok()?;
            let offset = words.next()?.parse().ok().filter(|offset| *offset >= 0)?;
            words.next().is_none().then_some((TopicPartition { topic, partition }, offset))
        })();
        let (partition, offset) = parsed
            .ok_or_else(|| LogError::malformed(path, format!("`{row}` is no topic, partition and offset")))?;
        offsets.insert(partition, offset);
    }
    Ok(offsets)
}

/// Writes a file of `topic partition offset` rows; it is on the medium when this returns.
pub(crate) fn write_offsets(
    disk: &Disk,
    path: &Path,
    offsets: impl Iterator<Item = (TopicPartition, i64)>,
) -> Result<(), LogError> {
    let text = encode(offsets.map(|(p, offset)| {
        let mut row = String::new();
        // Writing to a string cannot fail.
        let _ = write!(row, "{} {} {offset}", p.topic, p.partition);
        row
    }));
    disk.replace_file_durably(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }

    #[test]
    fn the_file_is_as_kafka_writes_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recovery-point-offset-checkpoint");
        assert!(read_offsets(&Disk::Real, &path).unwrap().is_empty());
        let offsets = [(partition("orders", 0), 17), (partition("a.b_c-d", 12), i64::MAX)];
        write_offsets(&Disk::Real, &path, offsets.clone().into_iter()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "0\n2\norders 0 17\na.b_c-d 12 9223372036854775807\n");
        assert_eq!(read_offsets(&Disk::Real, &path).unwrap(), HashMap::from(offsets));
    }

    #[test]
    fn a_file_that_is_cut_or_foreign_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recovery-point-offset-checkpoint");
        for text in [
            "1\n0\n",
            "0\n2\na 0 1\n",
            "0\nx\n",
            "0\n1\na 0\n",
            "0\n1\na 0 1 2\n",
            "0\n1\na b 1\n",
            "0\n1\na 0 1",
            "0\n1\na 0 -1\n",
        ] {
            std::fs::write(&path, text).unwrap();
            read_offsets(&Disk::Real, &path).unwrap_err();
        }
        for text in ["", "0\n", "0\n0\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(read_offsets(&Disk::Real, &path).unwrap().is_empty(), "{text:?}");
        }
    }
}
