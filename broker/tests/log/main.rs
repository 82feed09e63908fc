//! The log on real files, through its public API.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod append;
mod compaction;
mod directory;
mod disk_full;
mod dumping;
mod power;
mod producers;
mod reading;
mod recovery;
mod retention;
mod timestamps;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla_broker::log::{
    AppendError, Appended, Checkpointed, Disk, Log, LogConfig, LogReader, Recovered, ToAppend,
};
use ottla_protocol::{
    compression::Compressor,
    record::{Batch, BatchBuilder, Seal},
    types::{ProducerId, Uuid},
};

/// The time at which tests append.
const NOW_MS: i64 = 1_700_000_000_000;
/// The leader's epoch under which tests append.
const EPOCH: i32 = 3;

/// A directory for a log, gone at the end of the test.
struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("orders-0")
    }

    fn create(&self, config: LogConfig) -> Log {
        Log::create(&Disk::Real, &self.path(), Uuid(7), config, NOW_MS).unwrap()
    }

    fn open(&self, config: LogConfig, checkpointed: &Checkpointed) -> (Log, Recovered) {
        Log::open(&Disk::Real, &self.path(), config, checkpointed, NOW_MS).unwrap()
    }

    /// As after a crash, with nothing known to be flushed.
    fn reopen(&self, config: LogConfig) -> Log {
        self.open(config, &Checkpointed::default()).0
    }

    /// The names of the files of the log that end so, in order.
    fn names(&self, suffix: &str) -> Vec<String> {
        names(&self.path(), suffix)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

fn names(directory: &Path, suffix: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(suffix))
        .collect();
    names.sort();
    names
}

/// Small segments with dense indexes, so that short logs have everything that long ones have.
fn small(segment_bytes: u32) -> LogConfig {
    LogConfig { segment_bytes, index_interval_bytes: 150, ..LogConfig::default() }
}

/// A batch of these values, all at one time.
fn batch(values: &[&[u8]]) -> Batch {
    timed(&values.iter().map(|v| (NOW_MS, *v)).collect::<Vec<_>>(), &Seal::default())
}

/// A batch of these values at these times.
fn timed(records: &[(i64, &[u8])], seal: &Seal) -> Batch {
    let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
    for (timestamp, value) in records {
        builder.push(*timestamp, None, Some(value), &[]).unwrap();
    }
    builder.seal(seal, &mut Compressor::new()).unwrap()
}

/// A batch of an idempotent producer.
fn sequenced(id: i64, epoch: i16, sequence: i32, records: usize) -> Batch {
    let seal = Seal {
        producer_id: ProducerId(id),
        producer_epoch: epoch,
        base_sequence: sequence,
        ..Seal::default()
    };
    let value = format!("{id}/{epoch}/{sequence}");
    timed(&vec![(NOW_MS, value.as_bytes()); records], &seal)
}

fn append_all(log: &mut Log, batches: &[Batch]) -> Vec<Result<Appended, AppendError>> {
    let mut results = Vec::new();
    let mut batches: Vec<ToAppend> = batches.iter().cloned().map(ToAppend::from).collect();
    log.append(&mut batches, EPOCH, NOW_MS, &mut results);
    assert!(batches.is_empty());
    results
}

/// Appends one batch and gives its offset.
fn append(log: &mut Log, batch: &Batch) -> i64 {
    let appended = append_all(log, std::slice::from_ref(batch)).remove(0).unwrap();
    assert!(!appended.duplicate);
    appended.base_offset
}

/// Everything from `offset` on, as batches.
fn read_from(reader: &LogReader, offset: i64) -> Vec<Batch> {
    let slices = reader.read(offset, usize::MAX, i64::MAX, true).unwrap();
    split(&slices.slices.iter().map(|s| s.read().unwrap()).collect::<Vec<_>>())
}

/// The batches in some slices, each checked against its CRC. None may be cut.
fn split(slices: &[Bytes]) -> Vec<Batch> {
    let mut batches = Vec::new();
    for slice in slices {
        let mut bytes = slice.clone();
        while let Some(batch) = Batch::split_from(&mut bytes).unwrap() {
            batch.check_crc().unwrap();
            batches.push(batch);
        }
        assert!(bytes.is_empty(), "a batch is cut");
    }
    batches
}

/// What a log holds: base offset and content of each batch.
fn content(reader: &LogReader) -> Vec<(i64, Bytes)> {
    read_from(reader, reader.start_offset())
        .iter()
        .map(|b| (b.header().base_offset, b.record_block()))
        .collect()
}
