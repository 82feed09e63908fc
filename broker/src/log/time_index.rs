//! The sparse index from timestamps to offsets: Kafka's `.timeindex` file.
//!
//! An entry is 12 bytes, big-endian: the latest timestamp so far in the segment, and the last offset of the batch
//! that brought it first, relative to the segment's base. So the first record of that time lies in that batch, and
//! every later time behind it. The last entry of a closed segment holds the latest timestamp of all.

use std::path::Path;

use super::{error::LogError, vfs::Disk};

const ENTRY_BYTES: usize = 12;

/// The entries of one segment; timestamps and offsets ascend.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimeIndex {
    entries: Vec<TimeEntry>,
}

/// A timestamp, and the batch that brought it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TimeEntry {
    /// In ms since 1970.
    pub(crate) timestamp: i64,
    /// Last offset of the batch, less the segment's base offset.
    pub(crate) relative_offset: u32,
}

impl TimeIndex {
    /// Adds an entry, unless the timestamp is none (-1) or not later than the last one.
    pub(crate) fn push(&mut self, entry: TimeEntry) {
        let later = self.entries.last().map_or(entry.timestamp > -1, |last| {
            last.timestamp < entry.timestamp && last.relative_offset < entry.relative_offset
        });
        if later {
            self.entries.push(entry);
        }
    }

    /// The relative offset from which on to look for the first record with `timestamp` or later.
    pub(crate) fn lookup(&self, timestamp: i64) -> u32 {
        let after = self.entries.partition_point(|e| e.timestamp <= timestamp);
        after.checked_sub(1).and_then(|i| self.entries.get(i)).map_or(0, |e| e.relative_offset)
    }

    /// The latest timestamp that has an entry.
    pub(crate) fn last(&self) -> Option<TimeEntry> {
        self.entries.last().copied()
    }

    /// Drops the entries from `relative_offset` on.
    pub(crate) fn truncate(&mut self, relative_offset: u32) {
        self.entries.retain(|e| e.relative_offset < relative_offset);
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Drops every second entry; the last of an even number stays.
    pub(crate) fn thin(&mut self) {
        let mut keep = true;
        self.entries.retain(|_| {
            keep = !keep;
            keep
        });
    }

    /// The file's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * ENTRY_BYTES);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.timestamp.to_be_bytes());
            bytes.extend_from_slice(&entry.relative_offset.to_be_bytes());
        }
        bytes
    }

    /// Reads a file's bytes. Fails unless the entries ascend.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (entries, rest) = bytes.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() {
            return Err(format!("{} bytes are no multiple of {ENTRY_BYTES}", bytes.len()));
        }
        let mut index = Self { entries: Vec::with_capacity(entries.len()) };
        for (i, &[a, b, c, d, e, f, g, h, j, k, l, m]) in entries.iter().enumerate() {
            let timestamp = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
            index.push(TimeEntry { timestamp, relative_offset: u32::from_be_bytes([j, k, l, m]) });
            if index.entries.len() <= i {
                return Err(format!("entry {i}, timestamp {timestamp}, is out of order"));
            }
        }
        Ok(index)
    }

    /// Reads the file; `None` if it is not there.
    pub(crate) fn read(disk: &Disk, path: &Path) -> Result<Option<Self>, LogError> {
        let Some(bytes) = disk.read_file(path)? else { return Ok(None) };
        Self::decode(&bytes).map(Some).map_err(|why| LogError::malformed(path, why))
    }

    /// The entries as the file has them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = TimeEntry> {
        self.entries.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_file_is_as_kafka_writes_it() {
        let mut index = TimeIndex::default();
        index.push(TimeEntry { timestamp: 1_700_000_000_000, relative_offset: 41 });
        index.push(TimeEntry { timestamp: 1_700_000_000_000, relative_offset: 50 });
        index.push(TimeEntry { timestamp: 1_700_000_000_001, relative_offset: 99 });
        let bytes = index.encode();
        assert_eq!(
            bytes,
            [
                [0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0, 0, 0, 0, 41],
                [0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 1, 0, 0, 0, 99]
            ]
            .concat()
        );
        assert_eq!(TimeIndex::decode(&bytes).unwrap().entries, index.entries);
        TimeIndex::decode(&bytes[..23]).unwrap_err();
        TimeIndex::decode(&[&bytes[12..], &bytes[..12]].concat()).unwrap_err();
    }

    #[test]
    fn records_without_time_have_no_entry() {
        let mut index = TimeIndex::default();
        index.push(TimeEntry { timestamp: -1, relative_offset: 3 });
        assert_eq!(index.last(), None);
        assert_eq!(index.lookup(0), 0);
    }

    proptest! {
        /// The first batch that has a record of the wanted time is never before the place where looking begins.
        #[test]
        fn lookup_never_begins_behind_the_first_record_of_its_time(
            times in proptest::collection::vec(0_i64..1000, 1..200),
            every in 1_usize..7,
            thinned in 0_usize..3,
        ) {
            // One record a batch: its offset is its place. Times go back and forth, as producers' clocks do.
            let mut index = TimeIndex::default();
            let (mut latest, mut at) = (-1, 0);
            for (offset, &time) in times.iter().enumerate() {
                if time > latest {
                    (latest, at) = (time, offset as u32);
                }
                if offset % every == every - 1 {
                    index.push(TimeEntry { timestamp: latest, relative_offset: at });
                }
            }
            for _ in 0..thinned {
                index.thin();
            }
            for wanted in 0..1001 {
                let begin = index.lookup(wanted) as usize;
                if let Some(first) = times.iter().position(|&t| t >= wanted) {
                    prop_assert!(begin <= first, "time {}: begins at {}, first is {}", wanted, begin, first);
                }
            }
        }
    }
}
