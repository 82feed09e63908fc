//! Says when reading stands still: the program does not ask for records, or a partition makes no progress. Does no I/O.
//!
//! The rule: for half of `max.poll.interval.ms`, the program has not asked for records, which is told once until it does; or
//! a partition that is not held, and of which the broker has records behind the position, has not moved, although the
//! program asked, which is told once until it moves. The other half is left to do something about it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::cluster::TopicPartition;

/// A look at everything, in so many parts of the time that makes a stall.
const LOOKS_PER_STALL: u32 = 4;
/// Least time between two looks.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// Reading stands still; see [`crate::Consumer::events`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Stalled {
    /// The program has asked for no records for this long. At `max.poll.interval.ms` the member leaves its group.
    Program(Duration),
    /// The program asks, the broker has records, and the position has not moved for this long: a batch that cannot be read, or
    /// a leader that does not answer.
    Partition {
        /// The partition.
        partition: TopicPartition,
        /// Where it stands.
        position: i64,
        /// How many records the broker has behind that, as of the last fetch.
        lag: u64,
        /// For how long.
        since: Duration,
    },
}

/// Where a partition is.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// The partition.
    pub partition: TopicPartition,
    /// Offset of the next record.
    pub position: i64,
    /// How many records there are behind it.
    pub lag: u64,
    /// It is held, or being let go.
    pub is_held: bool,
}

/// Looks from time to time.
#[derive(Debug)]
pub(crate) struct StallWatch {
    stalled_after: Duration,
    is_program_told: bool,
    partitions: HashMap<TopicPartition, Seen>,
}

#[derive(Debug)]
struct Seen {
    position: i64,
    /// Since when it could have moved.
    since: Instant,
    is_told: bool,
}

impl StallWatch {
    /// For a consumer of this `max.poll.interval.ms`.
    pub(crate) fn new(max_poll_interval: Duration) -> Self {
        Self { stalled_after: max_poll_interval / 2, is_program_told: false, partitions: HashMap::new() }
    }

    /// How often [`Self::look`] is to be called.
    pub(crate) fn look_interval(&self) -> Duration {
        (self.stalled_after / LOOKS_PER_STALL).max(LOOK_INTERVAL_MIN)
    }

    /// What has come to stand still. `polled_at` is when the program last asked for records; now, while it waits.
    pub(crate) fn look(
        &mut self,
        polled_at: Instant,
        readings: impl IntoIterator<Item = Reading>,
        now: Instant,
    ) -> Vec<Stalled> {
        let mut stalled = Vec::new();
        let quiet = now.saturating_duration_since(polled_at);
        let is_program_stalled = quiet >= self.stalled_after;
        if is_program_stalled && !self.is_program_told {
            stalled.push(Stalled::Program(quiet));
        }
        self.is_program_told = is_program_stalled;
        let mut before = std::mem::take(&mut self.partitions);
        for Reading { partition, position, lag, is_held } in readings {
            let seen = before.remove(&partition).filter(|seen| seen.position == position);
            let mut seen = seen.unwrap_or(Seen { position, since: now, is_told: false });
            // Where there is nothing to read, or nobody asks, nothing can move.
            if lag == 0 || is_held || quiet >= self.look_interval() {
                seen.since = now;
            }
            let since = now.saturating_duration_since(seen.since);
            if since >= self.stalled_after && !seen.is_told {
                seen.is_told = true;
                stalled.push(Stalled::Partition { partition: partition.clone(), position, lag, since });
            }
            self.partitions.insert(partition, seen);
        }
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL_INTERVAL: Duration = Duration::from_secs(80);

    fn reading(position: i64, lag: u64) -> Reading {
        Reading { partition: TopicPartition::new("orders", 0), position, lag, is_held: false }
    }

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn a_program_that_does_not_ask_is_told_once_until_it_asks() {
        let t0 = Instant::now();
        let mut watch = StallWatch::new(POLL_INTERVAL);
        assert_eq!(watch.look_interval(), seconds(10));
        assert_eq!(watch.look(t0, [reading(5, 9)], t0 + seconds(39)), []);
        assert_eq!(watch.look(t0, [reading(5, 9)], t0 + seconds(40)), [Stalled::Program(seconds(40))]);
        assert_eq!(
            watch.look(t0, [reading(5, 9)], t0 + seconds(50)),
            [],
            "nor is the partition's place its own fault"
        );
        let t1 = t0 + seconds(60);
        assert_eq!(watch.look(t1, [reading(5, 9)], t1 + seconds(1)), []);
        assert_eq!(watch.look(t1, [reading(6, 8)], t1 + seconds(41)), [Stalled::Program(seconds(41))]);
    }

    #[test]
    fn a_partition_that_does_not_move_though_there_is_something_is_told_once() {
        let t0 = Instant::now();
        let mut watch = StallWatch::new(POLL_INTERVAL);
        let mut look = |reading: Reading, s| {
            let now = t0 + seconds(s);
            watch.look(now, [reading], now)
        };
        assert_eq!(look(reading(5, 0), 0), []);
        assert_eq!(look(reading(5, 0), 100), [], "there is nothing to read");
        assert_eq!(look(reading(5, 7), 110), []);
        assert_eq!(look(reading(5, 7), 130), []);
        let told = look(reading(5, 8), 140);
        let partition = TopicPartition::new("orders", 0);
        assert_eq!(told, [Stalled::Partition { partition, position: 5, lag: 8, since: seconds(40) }]);
        assert_eq!(look(reading(5, 8), 200), []);
        assert_eq!(look(reading(6, 7), 210), [], "it moves");
        assert_eq!(look(reading(6, 7), 250).len(), 1);
        assert_eq!(look(Reading { is_held: true, ..reading(9, 3) }, 260), []);
        assert_eq!(look(Reading { is_held: true, ..reading(9, 3) }, 400), [], "it is held");
    }
}
