//! Which leader's epoch began at which offset (KIP-101): Kafka's `leader-epoch-checkpoint`, a text file of
//! `epoch startOffset` lines.
//!
//! Truncation goes by this table and never by the high watermark. Pure state; the log writes the file.

use std::{ops::Deref, path::Path};

use super::{checkpoint, error::LogError, vfs::Disk};

/// The name of the file in a log's directory.
pub(crate) const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";

/// An epoch, and the first offset that its leader assigned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LeaderEpoch {
    /// The leader's epoch, from 0.
    pub epoch: i32,
    /// Where it began.
    pub start_offset: i64,
}

/// The epochs of a log, in order; both epochs and start offsets ascend.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct LeaderEpochs(Vec<LeaderEpoch>);

impl LeaderEpochs {
    /// Notes that `epoch` begins at `start_offset`. Says whether that was news. Entries that contradict it are
    /// dropped: a newer leader knows better (`LeaderEpochFileCache.assign`).
    pub(crate) fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        let news = epoch >= 0
            && self.0.last().is_none_or(|last| last.epoch != epoch || start_offset < last.start_offset);
        if news {
            self.0.retain(|e| e.epoch < epoch && e.start_offset < start_offset);
            self.0.push(LeaderEpoch { epoch, start_offset });
        }
        news
    }

    /// The newest epoch.
    pub(crate) fn latest(&self) -> Option<LeaderEpoch> {
        self.0.last().copied()
    }

    /// The largest known epoch that is not beyond `epoch`, and the offset behind its last record, in a log that ends
    /// at `end_offset`. `None` if the log knows nothing of it (`LeaderEpochFileCache.endOffsetFor`).
    pub(crate) fn end_offset_for(&self, epoch: i32, end_offset: i64) -> Option<(i32, i64)> {
        if epoch < 0 {
            return None;
        }
        let next = self.0.partition_point(|e| e.epoch <= epoch);
        let floor = next.checked_sub(1).and_then(|i| self.0.get(i));
        match (floor, self.0.get(next)) {
            (Some(floor), None) if floor.epoch == epoch => Some((epoch, end_offset)),
            // Beyond every epoch that is known.
            (_, None) => None,
            (Some(floor), Some(next)) => Some((floor.epoch, next.start_offset)),
            // Before every epoch that is known: its records are gone.
            (None, Some(next)) => Some((epoch, next.start_offset)),
        }
    }

    /// The epoch in which `offset` was assigned.
    pub(crate) fn epoch_of(&self, offset: i64) -> Option<i32> {
        let after = self.0.partition_point(|e| e.start_offset <= offset);
        after.checked_sub(1).and_then(|i| self.0.get(i)).map(|e| e.epoch)
    }

    /// Forgets the epochs that begin at `end_offset` or later. Says whether there were any.
    pub(crate) fn truncate_from_end(&mut self, end_offset: i64) -> bool {
        let before = self.0.len();
        self.0.retain(|e| e.start_offset < end_offset);
        self.0.len() < before
    }

    /// Forgets what lies before `start_offset`: the epoch that holds it begins there from now on. Says whether that
    /// changed anything (`LeaderEpochFileCache.truncateFromStart`).
    pub(crate) fn truncate_from_start(&mut self, start_offset: i64) -> bool {
        let before = self.0.partition_point(|e| e.start_offset <= start_offset);
        let Some(last) = before.checked_sub(1) else { return false };
        let changed = last > 0 || self.0.first().is_some_and(|e| e.start_offset < start_offset);
        self.0.drain(..last);
        if let Some(first) = self.0.first_mut() {
            first.start_offset = start_offset;
        }
        changed
    }

    /// The file's text.
    pub(crate) fn encode(&self) -> String {
        checkpoint::encode(self.0.iter().map(|e| format!("{} {}", e.epoch, e.start_offset)))
    }

    /// Reads the file; `None` if it is not there.
    pub(crate) fn read(disk: &Disk, path: &Path) -> Result<Option<Self>, LogError> {
        let Some(rows) = checkpoint::read(disk, path)? else { return Ok(None) };
        let mut epochs = Self::default();
        for row in rows {
            let parsed = row.split_once(' ').and_then(|(epoch, start)| {
                Some(LeaderEpoch { epoch: epoch.parse().ok()?, start_offset: start.trim().parse().ok()? })
            });
            match parsed {
                Some(e) if e.epoch >= 0 && e.start_offset >= 0 => epochs.assign(e.epoch, e.start_offset),
                _ => return Err(LogError::malformed(path, format!("`{row}` is no epoch and offset"))),
            };
        }
        Ok(Some(epochs))
    }
}

impl Deref for LeaderEpochs {
    type Target = [LeaderEpoch];
    fn deref(&self) -> &[LeaderEpoch] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for &(epoch, start) in entries {
            epochs.assign(epoch, start);
        }
        epochs
    }

    fn entries(epochs: &LeaderEpochs) -> Vec<(i32, i64)> {
        epochs.iter().map(|e| (e.epoch, e.start_offset)).collect()
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_begins() {
        let epochs = epochs(&[(2, 10), (4, 20), (7, 35)]);
        assert_eq!(epochs.end_offset_for(7, 50), Some((7, 50)), "the newest goes on to the end of the log");
        assert_eq!(epochs.end_offset_for(4, 50), Some((4, 35)));
        assert_eq!(epochs.end_offset_for(6, 50), Some((4, 35)), "unknown, so the largest smaller one");
        assert_eq!(epochs.end_offset_for(1, 50), Some((1, 10)), "older than the log");
        assert_eq!(epochs.end_offset_for(8, 50), None);
        assert_eq!(epochs.end_offset_for(-1, 50), None);
        assert_eq!(LeaderEpochs::default().end_offset_for(0, 50), None);
    }

    #[test]
    fn an_epoch_without_records_gives_way_to_the_next() {
        let mut e = epochs(&[(1, 0), (2, 10)]);
        assert!(e.assign(3, 10));
        assert_eq!(entries(&e), [(1, 0), (3, 10)]);
        assert!(!e.assign(3, 15), "an epoch begins once");
        assert_eq!(entries(&e), [(1, 0), (3, 10)]);
    }

    #[test]
    fn offsets_belong_to_the_epoch_that_began_last() {
        let epochs = epochs(&[(2, 10), (4, 20)]);
        assert_eq!(
            [9, 10, 19, 20, 1000].map(|o| epochs.epoch_of(o)),
            [None, Some(2), Some(2), Some(4), Some(4)]
        );
    }

    #[test]
    fn truncation_takes_the_epochs_that_begin_behind_it() {
        let mut e = epochs(&[(2, 10), (4, 20), (7, 35)]);
        assert!(!e.truncate_from_end(36));
        assert!(e.truncate_from_end(20));
        assert_eq!(entries(&e), [(2, 10)]);
    }

    #[test]
    fn deletion_takes_the_epochs_before_it_and_moves_the_one_that_it_cuts() {
        let mut e = epochs(&[(2, 10), (4, 20), (7, 35)]);
        assert!(!e.truncate_from_start(9));
        assert!(!e.truncate_from_start(10));
        assert!(e.truncate_from_start(25));
        assert_eq!(entries(&e), [(4, 25), (7, 35)]);
        assert!(e.truncate_from_start(35));
        assert_eq!(entries(&e), [(7, 35)]);
        assert!(e.truncate_from_start(99));
        assert_eq!(entries(&e), [(7, 99)], "the newest epoch is never forgotten");
    }

    #[test]
    fn the_file_is_as_kafka_writes_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LEADER_EPOCH_CHECKPOINT);
        assert_eq!(LeaderEpochs::read(&Disk::Real, &path).unwrap(), None);
        let e = epochs(&[(0, 0), (4, 20)]);
        assert_eq!(e.encode(), "0\n2\n0 0\n4 20\n");
        std::fs::write(&path, e.encode()).unwrap();
        assert_eq!(LeaderEpochs::read(&Disk::Real, &path).unwrap(), Some(e));
        std::fs::write(&path, "0\n1\n4 x\n").unwrap();
        LeaderEpochs::read(&Disk::Real, &path).unwrap_err();
    }
}
