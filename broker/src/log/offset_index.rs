//! The sparse index from offsets to positions in a segment: Kafka's `.index` file.
//!
//! An entry is 8 bytes, big-endian: a batch's *last* offset relative to the segment's base, and the position at
//! which that batch *begins*. Whoever looks for an offset starts at the entry at or before it and goes on by batch
//! headers. The index is a cache: an entry may be missing, and one that leads nowhere is found out by who follows it.

use std::path::Path;

use super::{error::LogError, vfs::Disk};

const ENTRY_BYTES: usize = 8;

/// The entries of one segment, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct OffsetIndex {
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Entry {
    /// Last offset of the batch, less the segment's base offset.
    relative_offset: u32,
    /// Where the batch begins.
    position: u32,
}

impl OffsetIndex {
    /// Adds the batch that ends with `relative_offset` and begins at `position`. Both must ascend; an entry that
    /// does not is left out, as any may be.
    pub(crate) fn push(&mut self, relative_offset: u32, position: u32) {
        let ascends = self
            .entries
            .last()
            .is_none_or(|last| last.relative_offset < relative_offset && last.position < position);
        if ascends {
            self.entries.push(Entry { relative_offset, position });
        }
    }

    /// Where to begin looking for `relative_offset`: a batch begins there, and none that holds the offset comes
    /// before it.
    pub(crate) fn lookup(&self, relative_offset: u32) -> u32 {
        let after = self.entries.partition_point(|e| e.relative_offset <= relative_offset);
        after.checked_sub(1).and_then(|i| self.entries.get(i)).map_or(0, |e| e.position)
    }

    /// The position of the last entry; 0 if there is none.
    pub(crate) fn last_position(&self) -> u32 {
        self.entries.last().map_or(0, |e| e.position)
    }

    /// The last entry: a batch's last offset, relative, and where the batch begins.
    pub(crate) fn last(&self) -> Option<(u32, u32)> {
        self.entries.last().map(|e| (e.relative_offset, e.position))
    }

    /// Drops the entries behind `relative_offset`.
    pub(crate) fn truncate(&mut self, relative_offset: u32) {
        self.entries.retain(|e| e.relative_offset <= relative_offset);
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Drops every second entry, so that the index covers twice the bytes with as much memory. The last of an even
    /// number stays.
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
            bytes.extend_from_slice(&entry.relative_offset.to_be_bytes());
            bytes.extend_from_slice(&entry.position.to_be_bytes());
        }
        bytes
    }

    /// Reads a file's bytes, for a segment of `segment_bytes`. Fails unless the entries ascend and lie within.
    pub(crate) fn decode(bytes: &[u8], segment_bytes: u32) -> Result<Self, String> {
        let (entries, rest) = bytes.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() {
            return Err(format!("{} bytes are no multiple of {ENTRY_BYTES}", bytes.len()));
        }
        let mut index = Self { entries: Vec::with_capacity(entries.len()) };
        for (i, &[a, b, c, d, e, f, g, h]) in entries.iter().enumerate() {
            let (relative_offset, position) =
                (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
            index.push(relative_offset, position);
            if index.entries.len() <= i || position >= segment_bytes {
                return Err(format!(
                    "entry {i}, offset +{relative_offset} at byte {position}, is out of order"
                ));
            }
        }
        Ok(index)
    }

    /// Reads the file; `None` if it is not there.
    pub(crate) fn read(disk: &Disk, path: &Path, segment_bytes: u32) -> Result<Option<Self>, LogError> {
        let Some(bytes) = disk.read_file(path)? else { return Ok(None) };
        Self::decode(&bytes, segment_bytes).map(Some).map_err(|why| LogError::malformed(path, why))
    }

    /// The entries as the file has them: relative offset and position.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        self.entries.iter().map(|e| (e.relative_offset, e.position))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_file_is_as_kafka_writes_it() {
        let mut index = OffsetIndex::default();
        index.push(41, 4_200);
        index.push(99, 9_000);
        let bytes = index.encode();
        assert_eq!(bytes, [0, 0, 0, 41, 0, 0, 0x10, 0x68, 0, 0, 0, 99, 0, 0, 0x23, 0x28]);
        assert_eq!(OffsetIndex::decode(&bytes, 9_001).unwrap().entries, index.entries);
    }

    #[test]
    fn a_file_that_cannot_be_right_is_refused() {
        let mut index = OffsetIndex::default();
        index.push(41, 4_200);
        index.push(99, 9_000);
        let bytes = index.encode();
        OffsetIndex::decode(&bytes, 9_000).unwrap_err();
        OffsetIndex::decode(&bytes[..15], 10_000).unwrap_err();
        OffsetIndex::decode(&[&bytes[8..], &bytes[..8]].concat(), 10_000).unwrap_err();
        OffsetIndex::decode(&[0; 16], 10_000).unwrap_err();
    }

    proptest! {
        /// Any lookup, however often the index was thinned, begins at or before the batch that holds the offset.
        #[test]
        fn lookup_never_begins_behind_the_batch(
            batches in proptest::collection::vec((1_u32..50, 61_u32..500), 1..300),
            thinned in 0_usize..4,
        ) {
            let mut index = OffsetIndex::default();
            let mut all = Vec::new();
            let (mut offset, mut position) = (0, 0);
            for (i, &(records, bytes)) in batches.iter().enumerate() {
                if i % 3 == 2 {
                    index.push(offset + records - 1, position);
                }
                all.push((offset, offset + records - 1, position));
                offset += records;
                position += bytes;
            }
            for _ in 0..thinned {
                index.thin();
            }
            let starts: Vec<u32> = all.iter().map(|b| b.2).collect();
            for &(first, last, begins) in &all {
                for wanted in [first, last] {
                    let found = index.lookup(wanted);
                    prop_assert!(found <= begins && starts.contains(&found));
                    // Brute force: no entry that would have been closer was passed over.
                    let closest = index.iter().filter(|e| e.0 <= wanted).map(|e| e.1).max().unwrap_or(0);
                    prop_assert_eq!(found, closest);
                }
            }
            let again = OffsetIndex::decode(&index.encode(), position).unwrap();
            prop_assert_eq!(again.entries, index.entries);
        }
    }
}
