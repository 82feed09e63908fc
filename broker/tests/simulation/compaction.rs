//! Compaction in a history: the cleaner runs among everything else, and what it leaves is judged record by record.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use ottla_broker::log::cleaner::{CleanError, Cleaner, CleanerConfig, HashKey, LogTask, Owner};
use ottla_protocol::record::Batch;

use super::{End, History, Operation, log_path};
use crate::model::{Record, Stored};

/// Keys that one byte can say.
pub(crate) type Key = u8;

/// Memory for keys of a round that cannot hold all of them: 24 bytes each.
const SMALL_MAP_BYTES: usize = 24 * 6;
const MAP_BYTES: usize = 1 << 14;

/// A round of cleaning that goes on, or that a crash cut short.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    /// No record goes from here on.
    end: i64,
    /// No segment is touched from here on.
    segments_end: i64,
    now_ms: i64,
    /// The keys from the first dirty offset on.
    keys: Vec<(i64, Key)>,
}

impl Round {
    /// The latest offset of each key that the round knows.
    fn latest(&self) -> HashMap<Key, i64> {
        self.keys
            .iter()
            .filter(|(offset, _)| *offset < self.end)
            .map(|&(offset, key)| (key, offset))
            .collect()
    }
}

/// Whose log is cleaned. Between two steps of the round anything may happen to it.
struct Busy<'a> {
    history: &'a mut History,
    /// Where the log ended when the round began with a flush, and how often it had been cut.
    flushing: Option<(i64, u64)>,
    restarts: u64,
    /// What went wrong meanwhile.
    why: Option<String>,
}

impl Owner for Busy<'_> {
    fn on_log(&mut self, task: LogTask) -> Result<(), CleanError> {
        if self.history.random.one_in(3) {
            let operation = self.history.pick_beside_cleaning();
            let settled = self.history.settle_round(i64::MAX, false);
            if let Err(why) = settled.and_then(|()| self.history.step(operation)) {
                self.why = Some(format!("{operation:?} while the log is cleaned: {why}"));
            }
        }
        if self.why.is_some() || self.history.outcome.restarts != self.restarts {
            return Err(CleanError::Stopped);
        }
        let (end, cuts) = *self.flushing.get_or_insert((self.history.model.end, self.history.cuts));
        task(self.history.log());
        let point = self.history.log().recovery_point();
        if cuts == self.history.cuts && point <= end {
            self.history.model.flushed = self.history.model.flushed.max(point);
        }
        Ok(())
    }

    fn moved(&mut self, _bytes: u64) -> Result<(), CleanError> {
        Ok(())
    }

    fn now_ms(&self) -> i64 {
        self.history.now_ms
    }
}

impl History {
    /// What may happen to a log while it is cleaned.
    fn pick_beside_cleaning(&mut self) -> Operation {
        let operation = self.pick();
        match operation {
            Operation::Compact | Operation::CloseAndOpen | Operation::Kill | Operation::CutPower => {
                Operation::Append
            }
            other => other,
        }
    }

    /// A round of cleaning.
    pub(crate) fn compact(&mut self) -> Result<(), String> {
        let end = self.model.end;
        self.reader().set_high_watermark(end);
        let reader = Arc::clone(&self.running.as_ref().unwrap().reader);
        let config = self.config.clone();
        let cleaned = self.cleaned.filter(|offset| *offset <= end);
        let range = reader.cleanable(cleaned, &config.cleanup, self.now_ms).map_err(|e| e.to_string())?;
        let dirty = range.first_dirty_offset..range.first_uncleanable_offset;
        if dirty.is_empty() {
            return Ok(());
        }
        let keys = self.model.batches.iter().flat_map(|batch| batch.records.iter());
        let keys = keys.filter(|record| dirty.contains(&record.offset));
        self.round = Some(Round {
            end: dirty.end,
            segments_end: dirty.end,
            now_ms: self.now_ms,
            keys: keys.filter_map(|record| Some((record.offset, record.key?))).collect(),
        });
        let map_bytes = if self.random.one_in(4) { SMALL_MAP_BYTES } else { MAP_BYTES };
        let mut cleaner = Cleaner::new(CleanerConfig { map_bytes, ..CleanerConfig::new(HashKey(5)) });
        let restarts = self.outcome.restarts;
        let mut owner = Busy { history: self, flushing: None, restarts, why: None };
        let outcome = cleaner.clean(&reader, &config, &range, &mut owner);
        if let Some(why) = owner.why {
            return Err(why);
        }
        let ended = match outcome {
            Ok(done) => {
                self.outcome.cleanings += 1;
                self.cleaned = Some(done.end_offset);
                if let Some(round) = &mut self.round {
                    round.end = done.end_offset;
                }
                self.settle_round(i64::MAX, true)
            }
            // The round was judged at the start that ended it.
            Err(CleanError::Stopped) => Ok(()),
            Err(CleanError::Stale) => self.settle_round(i64::MAX, false),
            Err(CleanError::Log(_)) if self.faulty || self.has_stopped() => {
                self.outcome.cleanings_cut += 1;
                let killed = self.plan.cut_at.is_none() && self.random.one_in(2);
                match self.has_stopped() {
                    true => self.restart(if killed { End::Killed } else { End::PowerCut }),
                    false => self.settle_round(i64::MAX, false),
                }
            }
            Err(error) => Err(format!("cleaning: {error}")),
        };
        self.round = None;
        ended
    }

    /// Takes what a round left for what is, if it may be. Before the round has come to its end a record may also be there
    /// that is to go, and from `cut` on everything may be gone.
    pub(crate) fn settle_round(&mut self, cut: i64, complete: bool) -> Result<(), String> {
        let Some(round) = self.round.clone() else { return Ok(()) };
        let latest = round.latest();
        let mut found = self.on_disk(round.segments_end)?;
        let first = self.first_segment();
        let mut batches = std::mem::take(&mut self.model.batches);
        let cleaned = first..round.segments_end;
        for stored in batches.iter_mut().filter(|batch| cleaned.contains(&batch.base_offset())) {
            let horizon = stored.header.delete_horizon_ms();
            let goes = |record: &Record| {
                let superseded = latest.get(&record.key.unwrap_or(0)).is_some_and(|l| record.offset < *l);
                let waited = record.tombstone && horizon.is_some_and(|horizon| horizon <= round.now_ms);
                record.offset < round.end && (superseded || waited)
            };
            let Some(batch) = found.remove(&stored.base_offset()) else {
                let last = self.model.producers.is_last(stored);
                hold!(
                    stored.dropped
                        || stored.base_offset() >= cut
                        || (!last && stored.records.iter().all(goes)),
                    "the batch at {} is gone, last {last}, by the round {round:?}",
                    stored.base_offset()
                );
                self.outcome.compacted += u64::from(!stored.dropped);
                *stored = Stored::dropped(stored);
                continue;
            };
            let left = Stored::cleaned(stored, &batch)?;
            for record in stored.records.iter().filter(|r| !left.records.contains(r)) {
                hold!(goes(record), "{record:?} is gone, by the round {round:?}");
            }
            hold!(
                !complete || !left.records.iter().any(goes),
                "{:?} are left, by the round {round:?}",
                left.records
            );
            let stamp = left.header.delete_horizon_ms();
            let due = round.now_ms + self.config.cleanup.delete_retention_ms;
            hold!(
                stamp == horizon
                    || (horizon.is_none() && stamp == Some(due))
                    || (stamp.is_none() && left.records.is_empty()),
                "the batch at {} is stamped {stamp:?}, not {horizon:?} or {due}",
                stored.base_offset()
            );
            *stored = Rc::new(left);
        }
        self.model.batches = batches;
        let oldest = self.model.batches.first().map_or(i64::MAX, |b| b.base_offset());
        let made_up = found.into_keys().find(|base_offset| *base_offset >= oldest);
        hold!(made_up.is_none(), "a batch at {made_up:?}, which nobody wrote");
        Ok(())
    }

    /// The batches that lie on the disk before `end`, by their offsets.
    fn on_disk(&self, end: i64) -> Result<BTreeMap<i64, Batch>, String> {
        let mut found = BTreeMap::new();
        for (base_offset, path) in self.segment_files() {
            if base_offset >= end {
                break;
            }
            let mut bytes = Bytes::from(self.simulated.contents(&path).map_err(|e| e.to_string())?);
            while let Ok(Some(batch)) = Batch::split_from(&mut bytes) {
                let base_offset = batch.header().base_offset;
                if base_offset < end && found.insert(base_offset, batch).is_some() {
                    return Err(format!("there are two batches at {base_offset}"));
                }
            }
        }
        Ok(found)
    }

    /// The files that the log's records lie in, by their base offsets. Those that could not be set aside lie before the
    /// first of them until the next start.
    pub(crate) fn segment_files(&self) -> impl Iterator<Item = (i64, PathBuf)> {
        let names = self.simulated.names(&log_path()).unwrap_or_default();
        let mut files = BTreeMap::new();
        for name in names {
            // What is being swapped in has this name as long as it does not have that of the old file.
            let (stem, swap) = name.strip_suffix(".swap").map_or((name.as_str(), false), |stem| (stem, true));
            let base_offset = stem.strip_suffix(".log").and_then(|digits| digits.parse::<i64>().ok());
            match base_offset {
                Some(base_offset) if swap => _ = files.entry(base_offset).or_insert(log_path().join(&name)),
                Some(base_offset) => _ = files.insert(base_offset, log_path().join(&name)),
                None => {}
            }
        }
        let count = self.running.as_ref().map_or(files.len(), |running| running.log.segment_count());
        let before = files.len().saturating_sub(count);
        files.into_iter().skip(before)
    }
}
