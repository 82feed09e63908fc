//! What is read, from where, and what was fetched ahead. Does no I/O.
//!
//! Two sides meet here, under one lock: the program assigns, seeks, pauses and takes batches; the fetcher asks what to
//! fetch and hands in what came. A partition has two places in the log: its *position*, behind what the program has
//! taken, and where to *fetch* next, behind what is buffered. Assigning and seeking start a new *era* of the
//! partition: what was asked for before is dropped when it comes.
//!
//! With an offset goes the *epoch* of the leader that wrote what is before it, by which a new leader is asked whether it
//! has the same (`truncation`); nothing is fetched from it before.
//!
//! In a group, a third place is what is *done*: the program is done with a batch when it asks for the next one. From being
//! assigned to being let go, a partition is had for one *tenure*; what was read in another is not committed in this one.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Instant,
};

use ottla_protocol::{record::AnyBatch, types::BrokerId};

use super::{
    group::Reading,
    truncation::{self, EpochEnd, LogTruncation, Reached, Verdict},
};
use crate::{
    cluster::{
        OffsetAndMetadata, OffsetSpec, TopicPartition,
        retry::{Backoff, Failures},
    },
    error::{Error, ErrorKind, Result},
};

/// The assigned partitions.
#[derive(Debug)]
pub(crate) struct Subscription {
    partitions: HashMap<TopicPartition, Partition>,
    /// Whose batch is next, in turn.
    turns: VecDeque<TopicPartition>,
    /// Where partitions without a position begin: `auto.offset.reset`.
    reset: Option<OffsetSpec>,
    /// Counts eras, over all partitions.
    last_era: u64,
    /// Counts the changes of what is assigned.
    assignments: u64,
    /// Counts whatever may change what is to be fetched.
    revision: u64,
    /// Who says what is assigned.
    mode: Mode,
    /// Partitions begin where their group is; that is asked first.
    in_group: bool,
    /// Counts how often the program asked for records.
    asks: u64,
    /// What the program has in its hands and is not done with, though it commits: of a partition in a tenure, from an offset on.
    kept_back: Option<(TopicPartition, u32, i64)>,
    /// Counts tenures, over all partitions; four bytes, as each record that is looked at names its own.
    last_tenure: u32,
    /// To be told to the program: the group cannot be read.
    failure: Option<Error>,
    /// Why no broker has this client; not told yet.
    kept_out: Option<Error>,
    /// The program is gone, whatever it had in its hands.
    is_abandoned: bool,
    /// `ottla.prefetch.max.bytes`.
    budget_bytes: usize,
    /// Bytes buffered, and reserved for requests under way.
    used_bytes: usize,
    backoff: Backoff,
    random: fastrand::Rng,
}

/// Who says what is assigned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// Nobody yet.
    Free,
    /// The program.
    Assigned,
    /// The group.
    Subscribed,
}

#[derive(Debug)]
struct Partition {
    era: u64,
    tenure: u32,
    place: Place,
    paused: bool,
    /// It is being let go: nothing more of it is handed out.
    going: bool,
    /// The epoch of what is before the position.
    epoch: Option<i32>,
    /// The epoch of what is before the offset to fetch from.
    read_epoch: Option<i32>,
    /// The leader epoch as of which that is known to be in the log; -1 for none.
    checked_epoch: i32,
    /// Up to where the program was done when it was handed more, and at which of its asks that was.
    handed: Option<(u64, Reached)>,
    /// What was committed last, or is being committed.
    committed: Option<i64>,
    /// Fetched and not taken, in the order of the log.
    buffered: VecDeque<Fetched>,
    buffered_bytes: usize,
    /// A batch is with the program's side, being opened.
    taken: bool,
    /// A fetch, or a look for its offset, is under way.
    asked: bool,
    not_before: Option<Instant>,
    failures: Failures,
    /// To be told to the program, once.
    error: Option<Error>,
    watermarks: Option<Watermarks>,
    /// A replica nearby that the leader pointed to, until when (KIP-392).
    preferred: Option<(BrokerId, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// Where the group is, which is being asked.
    Committed,
    /// To be looked for.
    Unknown(OffsetSpec),
    /// No place, and no policy that gives one: the program has to seek.
    Lost {
        /// It was told.
        told: bool,
    },
    At {
        /// Offset behind what was taken.
        position: i64,
        /// Offset behind what is buffered.
        fetch: i64,
    },
}

/// Offsets between which a partition can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Watermarks {
    /// Offset of the first record that is still there.
    pub low: i64,
    /// Offset behind the last record that all in-sync replicas have: the high watermark; under `read_committed` the
    /// last stable offset.
    pub high: i64,
}

/// A batch that was fetched.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    /// The batch; may begin before the position.
    pub batch: AnyBatch,
    /// Records before this offset were not asked for.
    pub from: i64,
    /// The position once it is taken.
    pub next: i64,
    /// The epoch of what is before that.
    pub next_epoch: Option<i32>,
    /// What it counts in the budget.
    pub bytes: usize,
}

/// A batch on its way to the program; [`Subscription::settle`] ends it.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The partition.
    pub partition: TopicPartition,
    /// The batch.
    pub fetched: Fetched,
    /// The era it is of.
    pub era: u64,
    /// The tenure it is of.
    pub tenure: u32,
    /// The partition's watermarks as of its last fetch.
    pub watermarks: Option<Watermarks>,
}

/// A partition to fetch from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ToFetch {
    /// The partition.
    pub partition: TopicPartition,
    /// The era of the request.
    pub era: u64,
    /// From this offset on.
    pub offset: i64,
    /// The epoch of what is before it.
    pub read_epoch: Option<i32>,
    /// The leader epoch as of which that is known to be in the log; -1 for none.
    pub checked_epoch: i32,
    /// The leader's epoch, as of which it is fetched, or checked; -1 until that is looked up, and where it is not known.
    pub leader_epoch: i32,
    /// The replica nearby that is to be asked in the leader's place.
    pub preferred: Option<BrokerId>,
}

impl ToFetch {
    /// Whether this leader is to be asked first if it has what was read before.
    pub(crate) fn is_to_check(&self) -> bool {
        self.read_epoch.is_some() && self.leader_epoch >= 0 && self.checked_epoch != self.leader_epoch
    }
}

impl Subscription {
    /// Nothing is assigned.
    pub(crate) fn new(
        reset: Option<OffsetSpec>,
        budget_bytes: usize,
        backoff: Backoff,
        random: fastrand::Rng,
    ) -> Self {
        Self {
            partitions: HashMap::new(),
            turns: VecDeque::new(),
            reset,
            last_era: 0,
            assignments: 0,
            revision: 0,
            mode: Mode::Free,
            in_group: false,
            asks: 0,
            kept_back: None,
            last_tenure: 0,
            failure: None,
            kept_out: None,
            is_abandoned: false,
            budget_bytes,
            used_bytes: 0,
            backoff,
            random,
        }
    }

    /// Partitions begin where their group is.
    pub(crate) fn in_group(self) -> Self {
        Self { in_group: true, ..self }
    }

    // ---- the program's side

    /// Reads these partitions and no others. Those that were read before go on where they are.
    pub(crate) fn assign(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) -> Result<()> {
        if self.mode == Mode::Subscribed {
            let text = "the group says what is assigned, as topics are subscribed to";
            return Err(Error::new(ErrorKind::InvalidArgument, text).hint("call `unsubscribe` first"));
        }
        self.revision += 1;
        self.assignments += 1;
        let mut before = std::mem::take(&mut self.partitions);
        self.turns.clear();
        for tp in partitions {
            let kept = before.remove(&tp).or_else(|| self.partitions.remove(&tp));
            let partition = kept.unwrap_or_else(|| {
                self.last_era += 1;
                self.last_tenure = self.last_tenure.wrapping_add(1);
                let place = if self.in_group { Place::Committed } else { Place::from(self.reset) };
                Partition::new(self.last_era, self.last_tenure, place)
            });
            if self.partitions.insert(tp.clone(), partition).is_none() && !self.turns.contains(&tp) {
                self.turns.push_back(tp);
            }
        }
        let dropped: usize = before.values().map(|partition| partition.buffered_bytes).sum();
        self.used_bytes -= dropped;
        self.mode = if self.partitions.is_empty() { Mode::Free } else { Mode::Assigned };
        Ok(())
    }

    /// From now on the group says what is assigned.
    pub(crate) fn subscribe(&mut self) -> Result<()> {
        if self.mode == Mode::Assigned {
            let text = "partitions are assigned by `assign`, and cannot be by a group besides";
            return Err(Error::new(ErrorKind::InvalidArgument, text).hint("call `unsubscribe` first"));
        }
        self.mode = Mode::Subscribed;
        self.failure = None;
        Ok(())
    }

    /// Nothing is assigned, and nobody says what is.
    pub(crate) fn clear(&mut self) {
        let all: Vec<TopicPartition> = self.partitions.keys().cloned().collect();
        self.remove(&all);
        self.mode = Mode::Free;
        self.failure = None;
    }

    /// Who says what is assigned.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// What is assigned, in no order.
    pub(crate) fn assignment(&self) -> impl Iterator<Item = &TopicPartition> {
        self.partitions.keys()
    }

    /// How often partitions were assigned: tells whether [`Self::assignment`] is still what it was.
    pub(crate) fn assignments(&self) -> u64 {
        self.assignments
    }

    /// Tells whether [`Self::fetchable`], but for what rests or has a replica nearby only for a time, would give what it
    /// gave before, and nothing has to be looked for: it is the same number then. Fetches that bring nothing do not count.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Goes to an offset; with an epoch, it is checked that the log is what it was there.
    pub(crate) fn seek(&mut self, tp: &TopicPartition, to: Reached) -> Result<()> {
        let Reached { offset, epoch } = to;
        if offset < 0 {
            let text = format!("cannot seek to offset {offset}, below zero");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        self.restart(tp, Place::At { position: offset, fetch: offset }, epoch)
    }

    /// Goes to an offset that is still to be looked for.
    pub(crate) fn seek_to(&mut self, tp: &TopicPartition, spec: OffsetSpec) -> Result<()> {
        self.restart(tp, Place::Unknown(spec), None)
    }

    fn restart(&mut self, tp: &TopicPartition, place: Place, epoch: Option<i32>) -> Result<()> {
        self.revision += 1;
        let partition = self.partitions.get_mut(tp).ok_or_else(|| not_assigned(tp))?;
        self.kept_back.take_if(|(of, ..)| of == tp);
        self.last_era += 1;
        self.used_bytes -= partition.buffered_bytes;
        *partition = Partition {
            paused: partition.paused,
            going: partition.going,
            watermarks: partition.watermarks,
            epoch,
            read_epoch: epoch,
            ..Partition::new(self.last_era, partition.tenure, place)
        };
        Ok(())
    }

    /// Holds a partition, or lets it go on. What is buffered stays.
    pub(crate) fn set_paused(&mut self, tp: &TopicPartition, paused: bool) -> Result<()> {
        self.revision += 1;
        self.partitions.get_mut(tp).ok_or_else(|| not_assigned(tp))?.paused = paused;
        Ok(())
    }

    /// The partitions that are held.
    pub(crate) fn paused(&self) -> impl Iterator<Item = &TopicPartition> {
        self.partitions.iter().filter(|(_, partition)| partition.paused).map(|(tp, _)| tp)
    }

    /// Offset of the next record to be handed out; `None` if it is still being looked for.
    pub(crate) fn position(&self, tp: &TopicPartition) -> Result<Option<i64>> {
        match self.partitions.get(tp).ok_or_else(|| not_assigned(tp))?.place {
            Place::At { position, .. } => Ok(Some(position)),
            Place::Committed | Place::Unknown(_) | Place::Lost { .. } => Ok(None),
        }
    }

    /// As of the last fetch of the partition.
    pub(crate) fn watermarks(&self, tp: &TopicPartition) -> Option<Watermarks> {
        self.partitions.get(tp)?.watermarks
    }

    /// How many records the broker has behind the position; `None` as long as that is not known.
    pub(crate) fn lag(&self, tp: &TopicPartition) -> Result<Option<u64>> {
        let partition = self.partitions.get(tp).ok_or_else(|| not_assigned(tp))?;
        Ok(partition.lag())
    }

    /// The largest lag of all, 0 if none is known.
    pub(crate) fn lag_max(&self) -> u64 {
        self.partitions.values().filter_map(Partition::lag).max().unwrap_or(0)
    }

    /// Where the program is in each partition of which that, and what is behind, is known.
    pub(crate) fn readings(&self) -> Vec<Reading> {
        self.partitions.iter().filter_map(|(tp, partition)| partition.reading(tp)).collect()
    }

    /// The program asks for records: it is done with what it was handed.
    pub(crate) fn ask(&mut self) {
        self.finish();
        self.kept_back = None;
    }

    /// The program is done with what it was handed, but for what it kept back.
    pub(crate) fn finish(&mut self) {
        self.asks += 1;
    }

    /// The program is not done yet with what it was handed of a partition from `offset` on.
    pub(crate) fn keep_back(&mut self, tp: &TopicPartition, tenure: u32, offset: i64) {
        if self.tenure(tp) == Some(tenure) {
            self.kept_back = Some((tp.clone(), tenure, offset));
        }
    }

    /// Up to where what was handed out before `position` may count as done.
    fn let_go(&self, tp: &TopicPartition, tenure: u32, position: Reached) -> Reached {
        match &self.kept_back {
            Some((of, since, offset)) if of == tp && *since == tenure => {
                Reached { offset: position.offset.min(*offset), ..position }
            }
            _ => position,
        }
    }

    /// Why the group cannot be read. That the program asked too late, or that no broker has this client by the last attempt, is
    /// told once; all else until it subscribes anew.
    pub(crate) fn failure(&mut self) -> Option<Error> {
        let is_passing = |error: &mut Error| error.kind() == ErrorKind::MaxPollExceeded || error.keeps_out();
        let passing = self.failure.take_if(is_passing);
        if passing.as_ref().is_some_and(Error::keeps_out) {
            // The same, as the fetcher met it.
            self.kept_out = None;
        }
        passing.or_else(|| self.failure.clone())
    }

    /// The next batch, or error, of the partitions that are not held, in turn.
    pub(crate) fn take(&mut self) -> Option<Result<Taken>> {
        if let Some(error) = self.kept_out.take() {
            return Some(Err(error));
        }
        for _ in 0..self.turns.len() {
            let tp = self.turns.pop_front()?;
            self.turns.push_back(tp.clone());
            let Some(partition) = self.partitions.get_mut(&tp) else { continue };
            if partition.paused || partition.going || partition.taken {
                continue;
            }
            if let Some(fetched) = partition.buffered.pop_front() {
                partition.taken = true;
                partition.buffered_bytes -= fetched.bytes;
                let Partition { era, tenure, watermarks, .. } = *partition;
                return Some(Ok(Taken { partition: tp, fetched, era, tenure, watermarks }));
            }
            if let Some(error) = partition.error.take() {
                return Some(Err(error));
            }
            if partition.place == (Place::Lost { told: false }) {
                partition.place = Place::Lost { told: true };
                let text = format!("`{tp}` has no position, and `auto.offset.reset` is `none`");
                return Some(Err(Error::new(ErrorKind::NoOffset, text).hint("seek before reading")));
            }
        }
        None
    }

    /// A batch that was taken is opened: all of it is handed out, or what stands behind `rest` is to come. `has_records` of
    /// it, that is; if not, nobody is handed anything. Answers whether it may be handed out: not if the program has gone
    /// elsewhere meanwhile, or the partition is being let go.
    pub(crate) fn settle(&mut self, taken: &Taken, rest: Option<Fetched>, has_records: bool) -> bool {
        self.revision += 1;
        let partition = self.partitions.get_mut(&taken.partition).filter(|p| p.era == taken.era);
        let Some(partition) = partition else {
            self.used_bytes -= taken.fetched.bytes;
            return false;
        };
        partition.taken = false;
        let may_go = !partition.going;
        let rest = if may_go { rest } else { Some(taken.fetched.clone()) };
        let next = rest.as_ref().map_or(taken.fetched.next, |rest| rest.from);
        if let Place::At { position, .. } = &mut partition.place {
            let is_first = partition.handed.is_none_or(|(asks, _)| asks != self.asks);
            if has_records && may_go && is_first {
                let reached = Reached { offset: *position, epoch: partition.epoch };
                partition.handed = Some((self.asks, reached));
            }
            if next > *position {
                let of_batch = || taken.fetched.batch.leader_epoch();
                partition.epoch = if rest.is_some() { of_batch() } else { taken.fetched.next_epoch };
            }
            *position = next;
        }
        self.used_bytes -= taken.fetched.bytes;
        if let Some(rest) = rest {
            partition.buffered_bytes += rest.bytes;
            self.used_bytes += rest.bytes;
            partition.buffered.push_front(rest);
        }
        may_go
    }

    // ---- the group's side

    /// The group gives these, too. They begin once [`Self::admit`] says so.
    pub(crate) fn add(&mut self, partitions: &[TopicPartition]) {
        self.revision += 1;
        self.assignments += 1;
        // Whoever is given something is let in.
        self.failure.take_if(|error| error.keeps_out());
        for tp in partitions {
            self.last_era += 1;
            self.last_tenure = self.last_tenure.wrapping_add(1);
            let mut partition = Partition::new(self.last_era, self.last_tenure, Place::Committed);
            partition.asked = true;
            if self.partitions.insert(tp.clone(), partition).is_none() {
                self.turns.push_back(tp.clone());
            }
        }
    }

    /// Partitions that were added may begin; where the program has not sought, where the group is.
    pub(crate) fn admit(&mut self, partitions: &[TopicPartition]) {
        self.revision += 1;
        for tp in partitions {
            let partition = self.partitions.get_mut(tp);
            if let Some(partition) = partition.filter(|partition| partition.place == Place::Committed) {
                partition.asked = false;
            }
        }
    }

    /// Nothing more of these is handed out.
    pub(crate) fn hold(&mut self, partitions: &[TopicPartition]) {
        self.revision += 1;
        for tp in partitions {
            if let Some(partition) = self.partitions.get_mut(tp) {
                partition.going = true;
            }
        }
    }

    /// Whether the program still has records of these in its hands.
    pub(crate) fn is_in_hand(&self, partitions: &[TopicPartition]) -> bool {
        let handed = |tp: &TopicPartition| self.partitions.get(tp)?.handed;
        !self.is_abandoned && partitions.iter().filter_map(handed).any(|(asks, _)| asks == self.asks)
    }

    /// The program is gone. What it had in its hands does not come back, and nobody knows whether it was done with it.
    pub(crate) fn abandon(&mut self) {
        self.is_abandoned = true;
    }

    /// Lets go of these, with all that was fetched of them.
    pub(crate) fn remove(&mut self, partitions: &[TopicPartition]) {
        self.revision += 1;
        self.assignments += 1;
        for tp in partitions {
            if let Some(partition) = self.partitions.remove(tp) {
                self.used_bytes -= partition.buffered_bytes;
            }
        }
        self.turns.retain(|tp| self.partitions.contains_key(tp));
    }

    /// The group cannot be read.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failure = Some(error);
    }

    /// No broker has this client, or none was reached yet, by the last attempt: told once, in place of a batch.
    pub(crate) fn keep_out(&mut self, error: Error) {
        self.kept_out = Some(error);
    }

    /// Partitions that are to begin where the group is. They count as asked until [`Self::begin`].
    pub(crate) fn poll_committed(&mut self, now: Instant) -> Vec<(TopicPartition, u64)> {
        let mut wanted = Vec::new();
        for (tp, partition) in &mut self.partitions {
            if partition.place == Place::Committed && partition.may_ask(now) {
                partition.asked = true;
                wanted.push((tp.clone(), partition.era));
            }
        }
        wanted
    }

    /// Where the group is, or that it is nowhere: then `auto.offset.reset` says where to begin.
    pub(crate) fn begin(
        &mut self,
        tp: &TopicPartition,
        era: u64,
        committed: Result<Option<OffsetAndMetadata>>,
        now: Instant,
    ) {
        self.revision += 1;
        let reset = self.reset;
        let Some(partition) = self.of_era(tp, era) else { return };
        partition.asked = false;
        match committed {
            Ok(Some(OffsetAndMetadata { offset, leader_epoch, .. })) => {
                partition.place = Place::At { position: offset, fetch: offset };
                (partition.epoch, partition.read_epoch) = (leader_epoch, leader_epoch);
                partition.committed = Some(offset);
                partition.failures.clear();
            }
            Ok(None) => partition.place = Place::from(reset),
            Err(error) => {
                if !error.is_retriable() {
                    partition.error = Some(error);
                }
                self.hold_off(tp, era, now);
            }
        }
    }

    /// The positions of all partitions, up to what was handed out; those that have one.
    pub(crate) fn positions(&self) -> BTreeMap<TopicPartition, Reached> {
        let position = |(tp, partition): (&TopicPartition, &Partition)| match partition.place {
            Place::At { position, .. } => {
                let reached = Reached { offset: position, epoch: partition.epoch };
                Some((tp.clone(), self.let_go(tp, partition.tenure, reached)))
            }
            _ => None,
        };
        self.partitions.iter().filter_map(position).collect()
    }

    /// Up to where the program is done with these, or with all, where that is to be committed: it is further than what was
    /// committed, or nothing was since the program went elsewhere. Without members nobody keeps a group's offsets from
    /// expiring, so those of partitions that the program assigned are committed again and again.
    pub(crate) fn done(&self, of: Option<&[TopicPartition]>) -> BTreeMap<TopicPartition, Reached> {
        let is_wanted = |tp: &TopicPartition| of.is_none_or(|of| of.contains(tp));
        let done = |(tp, partition): (&TopicPartition, &Partition)| {
            let Place::At { position, .. } = partition.place else { return None };
            let handed = partition.handed.filter(|(asks, _)| *asks == self.asks);
            let position = Reached { offset: position, epoch: partition.epoch };
            let done = handed.map_or(position, |(_, from)| from);
            let done = self.let_go(tp, partition.tenure, done);
            let again = self.mode == Mode::Assigned;
            let is_due = |committed: i64| done.offset > committed || again && done.offset == committed;
            partition.committed.is_none_or(is_due).then(|| (tp.clone(), done))
        };
        self.partitions.iter().filter(|(tp, _)| is_wanted(tp)).filter_map(done).collect()
    }

    /// The tenure of a partition; `None` where it is not assigned.
    pub(crate) fn tenure(&self, tp: &TopicPartition) -> Option<u32> {
        self.partitions.get(tp).map(|partition| partition.tenure)
    }

    /// An offset is being committed; `None`, if that failed.
    pub(crate) fn committing(&mut self, tp: &TopicPartition, tenure: u32, offset: Option<i64>) {
        if let Some(partition) = self.partitions.get_mut(tp).filter(|p| p.tenure == tenure) {
            partition.committed = offset;
        }
    }

    // ---- the fetcher's side

    /// Partitions without a position, with where to look for it. They count as asked until
    /// [`Subscription::found`].
    pub(crate) fn poll_unknown(&mut self, now: Instant) -> Vec<(TopicPartition, u64, OffsetSpec)> {
        let mut unknown = Vec::new();
        for (tp, partition) in &mut self.partitions {
            if let Place::Unknown(spec) = partition.place
                && partition.may_ask(now)
            {
                partition.asked = true;
                unknown.push((tp.clone(), partition.era, spec));
            }
        }
        unknown
    }

    /// An offset was looked for.
    pub(crate) fn found(&mut self, tp: &TopicPartition, era: u64, offset: Result<i64>, now: Instant) {
        self.revision += 1;
        let Some(partition) = self.partitions.get_mut(tp).filter(|partition| partition.era == era) else {
            return;
        };
        partition.asked = false;
        match offset {
            Ok(offset) => {
                partition.place = Place::At { position: offset, fetch: offset };
                (partition.epoch, partition.read_epoch) = (None, None);
                partition.failures.clear();
            }
            Err(error) if error.is_retriable() => self.hold_off(tp, era, now),
            Err(error) => {
                partition.error = Some(error);
                self.hold_off(tp, era, now);
            }
        }
    }

    /// Partitions that can be fetched now. None, if the budget is used up; partitions that have more than their share
    /// of it buffered wait, so that one that the program does not drain cannot starve the others.
    pub(crate) fn fetchable(&mut self, partition_bytes_max: usize, now: Instant) -> Vec<ToFetch> {
        // Not for a few bytes: they would come one batch at a time.
        let least = partition_bytes_max.min(self.budget_bytes / 2);
        if self.used_bytes + least > self.budget_bytes {
            return Vec::new();
        }
        let share = (self.budget_bytes / self.partitions.len().max(1)).max(partition_bytes_max);
        let mut fetchable = Vec::new();
        for (tp, partition) in &mut self.partitions {
            let Place::At { fetch, .. } = partition.place else { continue };
            let is_held = partition.paused || partition.going;
            if is_held || partition.buffered_bytes >= share || !partition.may_ask(now) {
                continue;
            }
            partition.preferred = partition.preferred.filter(|(_, until)| *until > now);
            fetchable.push(ToFetch {
                partition: tp.clone(),
                era: partition.era,
                offset: fetch,
                read_epoch: partition.read_epoch,
                checked_epoch: partition.checked_epoch,
                leader_epoch: -1,
                preferred: partition.preferred.map(|(broker, _)| broker),
            });
        }
        fetchable
    }

    /// A request for these partitions goes out, whose answer may have `wanted_bytes`. Answers how many bytes it may
    /// have: what the budget has left.
    pub(crate) fn begin_fetch<'a>(
        &mut self,
        partitions: impl IntoIterator<Item = &'a ToFetch>,
        wanted_bytes: usize,
    ) -> usize {
        for to_fetch in partitions {
            if let Some(partition) = self.of_era(&to_fetch.partition, to_fetch.era) {
                partition.asked = true;
            }
        }
        let bytes = wanted_bytes.min(self.budget_bytes.saturating_sub(self.used_bytes));
        self.used_bytes += bytes;
        bytes
    }

    /// The request ended; what came of its partitions was handed in before.
    pub(crate) fn end_fetch<'a>(
        &mut self,
        partitions: impl IntoIterator<Item = &'a ToFetch>,
        reserved_bytes: usize,
    ) {
        self.used_bytes -= reserved_bytes;
        for to_fetch in partitions {
            if let Some(partition) = self.of_era(&to_fetch.partition, to_fetch.era) {
                partition.asked = false;
            }
        }
    }

    /// Batches came. `next` is the offset behind the last of them, also of those that are not shown.
    pub(crate) fn hand_in(
        &mut self,
        to_fetch: &ToFetch,
        batches: impl IntoIterator<Item = (AnyBatch, bool)>,
        watermarks: Watermarks,
    ) {
        let Some(partition) = self.partitions.get_mut(&to_fetch.partition).filter(|p| p.era == to_fetch.era)
        else {
            return;
        };
        partition.failures.clear();
        partition.watermarks = Some(watermarks);
        // The leader would have refused a request of another epoch.
        partition.checked_epoch = to_fetch.leader_epoch;
        let Place::At { position, fetch } = &mut partition.place else { return };
        for (batch, shown) in batches {
            let next = batch.last_offset().saturating_add(1);
            if next <= *fetch {
                continue;
            }
            self.revision += 1;
            let next_epoch = batch.leader_epoch();
            if shown {
                let bytes = size(&batch);
                partition.buffered_bytes += bytes;
                self.used_bytes += bytes;
                partition.buffered.push_back(Fetched { batch, from: *fetch, next, next_epoch, bytes });
            } else if let Some(last) = partition.buffered.back_mut() {
                (last.next, last.next_epoch) = (next, next_epoch);
            } else if !partition.taken {
                *position = next;
                partition.epoch = next_epoch;
            }
            *fetch = next;
            partition.read_epoch = next_epoch;
        }
    }

    /// The partition could not be fetched; it rests for a while. An `error` is told to the program.
    pub(crate) fn failed(&mut self, to_fetch: &ToFetch, error: Option<Error>, now: Instant) {
        self.revision += 1;
        let Some(partition) = self.of_era(&to_fetch.partition, to_fetch.era) else { return };
        partition.preferred = None;
        if error.is_some() {
            partition.error = error;
        }
        self.hold_off(&to_fetch.partition, to_fetch.era, now);
    }

    fn hold_off(&mut self, tp: &TopicPartition, era: u64, now: Instant) {
        let backoff = self.backoff;
        let Some(partition) = self.partitions.get_mut(tp).filter(|p| p.era == era) else { return };
        partition.not_before = Some(now + partition.failures.record(&backoff, &mut self.random));
    }

    /// The fetch offset is not in the log. What is buffered before it can still be taken; then the partition begins
    /// where `auto.offset.reset` says, or, without one, has no place.
    pub(crate) fn out_of_range(&mut self, to_fetch: &ToFetch, watermarks: &str, now: Instant) {
        self.revision += 1;
        let reset = self.reset;
        let Some(partition) = self.of_era(&to_fetch.partition, to_fetch.era) else { return };
        if partition.preferred.take().is_some() {
            // A replica may lag behind, or ahead of, what the leader still has: only the leader's word counts.
            return;
        }
        if !partition.buffered.is_empty() || partition.taken {
            return self.hold_off(&to_fetch.partition, to_fetch.era, now);
        }
        match reset {
            Some(spec) => {
                tracing::warn!(
                    partition = %to_fetch.partition, offset = to_fetch.offset, ?spec, "offset out of range, reset"
                );
                partition.place = Place::Unknown(spec);
            }
            None => {
                let text = format!(
                    "`{}` has no offset {}{watermarks}, and `auto.offset.reset` is `none`",
                    to_fetch.partition, to_fetch.offset
                );
                partition.error =
                    Some(Error::new(ErrorKind::NoOffset, text).hint("seek to an offset that is there"));
                partition.place = Place::Lost { told: true };
            }
        }
    }

    /// Partitions are to be checked by their leader; they count as asked until [`Self::end_fetch`].
    pub(crate) fn begin_check<'a>(&mut self, partitions: impl IntoIterator<Item = &'a ToFetch>) {
        self.begin_fetch(partitions, 0);
    }

    /// The leader of this epoch has said where the epoch ends that was read last. Where it does not have what was read,
    /// what the program was not handed yet is fetched anew; what it was handed is lost: then reading goes on where the logs
    /// part, or, without `auto.offset.reset`, the program is told and the partition has no place.
    pub(crate) fn checked(&mut self, to_check: &ToFetch, end: Option<EpochEnd>) {
        self.revision += 1;
        let reset = self.reset;
        let tp = &to_check.partition;
        let Some(partition) = self.of_era(tp, to_check.era) else { return };
        partition.asked = false;
        let Place::At { position, fetch } = partition.place else { return };
        let diverged = match truncation::judge(fetch, end) {
            Verdict::Intact => {
                partition.checked_epoch = to_check.leader_epoch;
                partition.failures.clear();
                return;
            }
            Verdict::Diverged(at) => at,
        };
        if partition.taken || position != fetch {
            tracing::info!(partition = %tp, position, ?diverged, "what was fetched ahead is another log's; fetched anew");
            return self.refetch(tp);
        }
        tracing::warn!(partition = %tp, position, ?diverged, ?reset, "the log was truncated, records that were read are lost");
        let epoch = partition.epoch;
        let lost = LogTruncation {
            partition: tp.clone(),
            offset: position,
            leader_epoch: to_check.read_epoch.unwrap_or(-1),
            diverges_at: diverged.map(|at| (at.offset, at.epoch.unwrap_or(-1))),
        };
        let (place, epoch) = match (reset, diverged) {
            (Some(_), Some(at)) => (Place::At { position: at.offset, fetch: at.offset }, at.epoch),
            (Some(spec), None) => (Place::Unknown(spec), None),
            (None, _) => (Place::Lost { told: true }, epoch),
        };
        // It is assigned: it was found above.
        _ = self.restart(tp, place, epoch);
        if let Some(partition) = self.partitions.get_mut(tp) {
            partition.checked_epoch = to_check.leader_epoch;
            partition.error = reset.is_none().then(|| lost.into_error());
        }
    }

    /// The leader of this epoch cannot tell, and is believed.
    pub(crate) fn pass(&mut self, to_check: &ToFetch) {
        self.revision += 1;
        if let Some(partition) = self.of_era(&to_check.partition, to_check.era) {
            partition.checked_epoch = to_check.leader_epoch;
        }
    }

    /// Drops what was fetched ahead, and what is being opened, and fetches it again.
    fn refetch(&mut self, tp: &TopicPartition) {
        let Some(partition) = self.partitions.get_mut(tp) else { return };
        let Place::At { position, fetch } = &mut partition.place else { return };
        self.last_era += 1;
        partition.era = self.last_era;
        partition.taken = false;
        self.used_bytes -= partition.buffered_bytes;
        partition.buffered.clear();
        partition.buffered_bytes = 0;
        *fetch = *position;
        partition.read_epoch = partition.epoch;
    }

    /// The partition was fetched from one who does not lead it any more, and the new leader is known: it is asked at once.
    pub(crate) fn moved(&mut self, to_fetch: &ToFetch) {
        self.revision += 1;
        if let Some(partition) = self.of_era(&to_fetch.partition, to_fetch.era) {
            partition.preferred = None;
        }
    }

    /// A replica nearby does not answer: the leader is asked again (KIP-392).
    pub(crate) fn avoid(&mut self, replica: BrokerId) {
        self.revision += 1;
        for partition in self.partitions.values_mut() {
            partition.preferred = partition.preferred.filter(|(preferred, _)| *preferred != replica);
        }
    }

    /// The leader points to a replica nearby (KIP-392).
    pub(crate) fn prefer(&mut self, to_fetch: &ToFetch, replica: BrokerId, until: Instant) {
        self.revision += 1;
        if let Some(partition) = self.of_era(&to_fetch.partition, to_fetch.era) {
            partition.preferred = Some((replica, until));
        }
    }

    /// When time alone changes what is to be fetched: a partition has rested, or may ask its leader again.
    pub(crate) fn next_timeout(&self, now: Instant) -> Option<Instant> {
        let ends = |partition: &Partition| {
            let preferred = partition.preferred.map(|(_, until)| until);
            [partition.not_before, preferred].into_iter().flatten().filter(|until| *until > now).min()
        };
        self.partitions.values().filter_map(ends).min()
    }

    fn of_era(&mut self, tp: &TopicPartition, era: u64) -> Option<&mut Partition> {
        self.partitions.get_mut(tp).filter(|partition| partition.era == era)
    }

    /// Bytes buffered, and reserved for requests under way.
    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Whether something waits for the program.
    #[cfg(test)]
    fn has_buffered(&self) -> bool {
        self.partitions.values().any(|partition| !partition.buffered.is_empty())
    }
}

impl Partition {
    fn new(era: u64, tenure: u32, place: Place) -> Self {
        Self {
            era,
            tenure,
            place,
            paused: false,
            going: false,
            epoch: None,
            read_epoch: None,
            checked_epoch: -1,
            handed: None,
            committed: None,
            buffered: VecDeque::new(),
            buffered_bytes: 0,
            taken: false,
            asked: false,
            not_before: None,
            failures: Failures::default(),
            error: None,
            watermarks: None,
            preferred: None,
        }
    }

    fn reading(&self, tp: &TopicPartition) -> Option<Reading> {
        let (Place::At { position, .. }, Some(lag)) = (self.place, self.lag()) else { return None };
        Some(Reading { partition: tp.clone(), position, lag, is_held: self.paused || self.going })
    }

    /// Of records, as of the last fetch.
    fn lag(&self) -> Option<u64> {
        let (Place::At { position, .. }, Some(watermarks)) = (self.place, self.watermarks) else {
            return None;
        };
        Some(u64::try_from(watermarks.high.saturating_sub(position)).unwrap_or(0))
    }

    fn may_ask(&mut self, now: Instant) -> bool {
        self.not_before = self.not_before.filter(|until| *until > now);
        !self.asked && self.not_before.is_none()
    }
}

impl From<Option<OffsetSpec>> for Place {
    /// Where `auto.offset.reset` says to begin.
    fn from(reset: Option<OffsetSpec>) -> Self {
        reset.map_or(Self::Lost { told: false }, Self::Unknown)
    }
}

fn size(batch: &AnyBatch) -> usize {
    match batch {
        AnyBatch::Batch(batch) => batch.bytes().len(),
        AnyBatch::Legacy(batch) => batch.bytes().len(),
    }
}

fn not_assigned(tp: &TopicPartition) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("`{tp}` is not assigned"))
        .hint("assign it first, or wait for the group to")
}

#[cfg(test)]
mod tests;
