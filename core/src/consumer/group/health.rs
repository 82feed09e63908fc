//! How a member does: what is counted of it, and what it waits for. Written by its driver, read by the program.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::metrics::{Counter, Durations, Latest};

/// How a consumer does as a member of its group, as of one moment; by [`crate::Consumer::health`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Health {
    /// How long it has been a member, as far as it knows; `None` if it is none.
    pub joined: Option<Duration>,
    /// How long ago the coordinator last answered a heartbeat; `None` if it has not yet.
    pub heartbeat: Option<Duration>,
    /// How long ago the program last asked for records; zero while it waits for some.
    pub poll: Duration,
    /// What has to happen for it to go on.
    pub waits_for: WaitsFor,
}

/// What a member of a group waits for.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum WaitsFor {
    /// The program has not subscribed, or the group cannot be read until it subscribes anew.
    #[default]
    Subscription,
    /// The group's coordinator is looked for.
    Coordinator,
    /// It asks to join, or partitions are divided: it waits for the coordinator and the other members.
    Group,
    /// The program is to give back or to take partitions, or to ask for records: it was too slow, and is out.
    Program,
    /// Nothing: it has its partitions, and records come when there are some.
    Records,
    /// It is leaving, or has left.
    Leaving,
}

/// What is counted of a member, and how it stands.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// Heartbeats that were answered, and how long that took.
    pub heartbeats: Durations,
    /// When the last was.
    pub heartbeat: Latest,
    /// Rebalances that have ended.
    pub rebalances: Counter,
    /// When the last did.
    pub rebalance: Latest,
    /// Commits, with all their attempts.
    pub commits: Durations,
    /// Leaf lock.
    standing: Mutex<Standing>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    joined_at: Option<Instant>,
    waits_for: WaitsFor,
}

impl Pulse {
    /// Nothing has happened yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            heartbeats: Durations::default(),
            heartbeat: Latest::new(now),
            rebalances: Counter::default(),
            rebalance: Latest::new(now),
            commits: Durations::default(),
            standing: Mutex::default(),
        }
    }

    /// A heartbeat was answered.
    pub(crate) fn beaten(&self, took: Duration, now: Instant) {
        self.heartbeats.record(took);
        self.heartbeat.happened(now);
    }

    /// A rebalance has ended.
    pub(crate) fn rebalanced(&self, now: Instant) {
        self.rebalances.add(1);
        self.rebalance.happened(now);
    }

    /// How the member stands now.
    pub(crate) fn stand(&self, is_member: bool, waits_for: WaitsFor, now: Instant) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.joined_at = is_member.then(|| standing.joined_at.unwrap_or(now));
        standing.waits_for = waits_for;
    }

    /// How it does; `polled_at` is when the program last asked for records.
    pub(crate) fn health(&self, polled_at: Instant, now: Instant) -> Health {
        let Standing { joined_at, waits_for } = *self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        Health {
            joined: joined_at.map(|at| now.saturating_duration_since(at)),
            heartbeat: self.heartbeat.ago(now),
            poll: now.saturating_duration_since(polled_at),
            waits_for,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_one_since_it_became_one() {
        let began = Instant::now();
        let at = |s| began + Duration::from_secs(s);
        let pulse = Pulse::new(began);
        let fresh = pulse.health(at(0), at(1));
        assert_eq!((fresh.joined, fresh.heartbeat, fresh.waits_for), (None, None, WaitsFor::Subscription));
        pulse.stand(false, WaitsFor::Group, at(1));
        pulse.stand(true, WaitsFor::Program, at(2));
        pulse.stand(true, WaitsFor::Records, at(3));
        pulse.beaten(Duration::from_millis(4), at(5));
        let health = pulse.health(at(6), at(7));
        let seconds = Duration::from_secs;
        assert_eq!(health.joined, Some(seconds(5)));
        assert_eq!((health.heartbeat, health.poll), (Some(seconds(2)), seconds(1)));
        assert_eq!(health.waits_for, WaitsFor::Records);
        pulse.stand(false, WaitsFor::Coordinator, at(8));
        pulse.stand(true, WaitsFor::Records, at(9));
        assert_eq!(pulse.health(at(9), at(10)).joined, Some(seconds(1)), "it joined anew");
    }
}
