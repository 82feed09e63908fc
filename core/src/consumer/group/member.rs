//! What members of either protocol have in common: how they behave, what they want done, as whom they commit.

use std::time::{Duration, Instant};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        ConsumerGroupHeartbeatRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
        SyncGroupRequest,
    },
    types::{BrokerId, GroupId, Str, TopicName, Uuid},
};

use super::{
    super::assignor::{Assignor, Member},
    Identity,
    classic::ClassicMember,
    consumer::{ConsumerMember, Reads},
    health::WaitsFor,
};
use crate::{
    cluster::{TopicPartition, retry::Backoff},
    error::{Error, ErrorKind, Result},
};

/// How a member behaves.
#[derive(Clone, Debug)]
pub(crate) struct MemberSettings {
    /// `group.id`.
    pub group: GroupId,
    /// `group.instance.id`.
    pub instance_id: Option<Str>,
    /// `partition.assignment.strategy`, best first; of the classic protocol.
    pub assignors: Vec<Assignor>,
    /// `session.timeout.ms`; of the classic protocol, as for the other the broker says it.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`; of the classic protocol, as for the other the broker says it.
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`, which is also how long a rebalance waits for the member.
    pub max_poll_interval: Duration,
    /// `client.rack`.
    pub rack: Option<Str>,
    /// `group.remote.assignor`; of KIP-848.
    pub remote_assignor: Option<Str>,
    /// `retry.backoff.ms` with its most.
    pub backoff: Backoff,
}

/// What is to be done next. Requests go to the coordinator.
#[derive(Debug)]
pub(crate) enum Action {
    /// Look the coordinator up; then [`EitherMember::handle_coordinator`].
    FindCoordinator,
    /// Send it; then [`ClassicMember::handle_join`], with the attempt's number. Takes as long as the slowest member.
    Join(u64, JoinGroupRequest),
    /// Divide the partitions among the members, as their leader; then [`ClassicMember::handle_divided`].
    Divide(u64, Assignor, Vec<Member>),
    /// Send it; then [`ClassicMember::handle_sync`], with the attempt's number.
    Sync(u64, SyncGroupRequest),
    /// Send it; then [`ClassicMember::handle_heartbeat`], with the identity that was sent.
    Heartbeat(HeartbeatRequest),
    /// Send it; nobody waits for the answer.
    Leave(LeaveGroupRequest),
    /// Send it; then [`ConsumerMember::handle_heartbeat`], with the attempt's number.
    ConsumerHeartbeat(u64, ConsumerGroupHeartbeatRequest),
    /// Find out what the topics of these ids are called; then [`ConsumerMember::handle_names`].
    NameTopics(Vec<Uuid>),
    /// The program commits what it has done of these, and lets go of them; then [`EitherMember::handle_done`].
    Revoke(Vec<TopicPartition>),
    /// The program lets go of these, which others may have already: it cannot commit any more.
    Lost(Vec<TopicPartition>),
    /// The program takes these besides what it has. Ends a rebalance, also where there are none.
    Assign(Vec<TopicPartition>),
    /// The program is told; nothing goes on before [`EitherMember::subscribe`], or, if it was out for want of progress,
    /// [`EitherMember::progressed`].
    Fail(Error),
}

/// The group's coordinator, as a member knows it.
#[derive(Debug)]
pub(super) enum Coordinator {
    /// It is to be looked up; not before a time.
    Unknown {
        /// That time, if there is one.
        retry_at: Option<Instant>,
    },
    /// It is being looked up.
    Asking,
    /// It is this broker.
    Known(BrokerId),
}

impl Coordinator {
    /// To be looked up as soon as somebody needs it.
    pub(super) const NEW: Self = Self::Unknown { retry_at: None };

    /// Whom to ask, if that is known.
    pub(super) fn known(&self) -> Option<BrokerId> {
        match self {
            Self::Known(broker) => Some(*broker),
            Self::Unknown { .. } | Self::Asking => None,
        }
    }

    /// Begins to look it up, if that is due; then the answer is to come.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Action> {
        let Self::Unknown { retry_at } = self else { return None };
        if retry_at.is_some_and(|at| now < at) {
            return None;
        }
        *self = Self::Asking;
        Some(Action::FindCoordinator)
    }

    /// When [`Self::poll`] has something, if that is a matter of time.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        match self {
            Self::Unknown { retry_at } => *retry_at,
            Self::Asking | Self::Known(_) => None,
        }
    }

    /// It is another one, or not there; to be looked up after a while.
    pub(super) fn forget(&mut self, retry_at: Instant) {
        *self = Self::Unknown { retry_at: Some(retry_at) };
    }
}

/// A member of either protocol.
#[derive(Debug)]
pub(crate) enum EitherMember {
    /// Of the classic protocol.
    Classic(Box<ClassicMember>),
    /// Of KIP-848.
    Consumer(Box<ConsumerMember>),
}

/// The same call of either.
macro_rules! either {
    ($this:expr, $member:ident => $call:expr) => {
        match $this {
            EitherMember::Classic($member) => $call,
            EitherMember::Consumer($member) => $call,
        }
    };
}

impl EitherMember {
    /// Reads this from now on. After a failure, begins anew.
    ///
    /// # Errors
    /// A member of the classic protocol knows names alone: nobody would tell it what a pattern stands for.
    pub(crate) fn subscribe(&mut self, reads: Reads, now: Instant) -> Result<()> {
        match (self, reads) {
            (Self::Classic(member), Reads::Topics(topics)) => member.subscribe(topics, now),
            (Self::Classic(_), Reads::Pattern(pattern)) => {
                let text = format!("`{pattern}` cannot be resolved by a group of the classic protocol");
                return Err(Error::new(ErrorKind::Unsupported, text).hint(
                    "subscribe to topics by name, or set `group.protocol` to `consumer` once the group is empty",
                ));
            }
            (Self::Consumer(member), reads) => member.subscribe(reads, now),
        }
        Ok(())
    }

    /// The program asked for records at this time, or waits for some since before it.
    pub(crate) fn active_at(&mut self, at: Instant) {
        either!(self, member => member.active_at(at));
    }

    /// The program goes on; where it was out for want of progress, the member joins again.
    pub(crate) fn progressed(&mut self, now: Instant) {
        either!(self, member => member.progressed(now));
    }

    /// Leaves: the program lets go, then the coordinator is told.
    pub(crate) fn leave(&mut self) {
        either!(self, member => member.leave());
    }

    /// Whether it has left, and told all there is to tell.
    pub(crate) fn is_gone(&self) -> bool {
        either!(self, member => member.is_gone())
    }

    /// As whom to commit.
    pub(crate) fn identity(&self) -> &Identity {
        either!(self, member => member.identity())
    }

    /// Whom to ask, if that is known.
    pub(crate) fn coordinator(&self) -> Option<BrokerId> {
        either!(self, member => member.coordinator())
    }

    /// What it waits for.
    pub(crate) fn waits_for(&self) -> WaitsFor {
        either!(self, member => member.waits_for())
    }

    /// What to do now, if anything; to be asked until there is nothing.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Action> {
        either!(self, member => member.poll(now))
    }

    /// When [`Self::poll`] may have something without anything having been told; `None` if never.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        either!(self, member => member.next_due())
    }

    /// The look-up of the coordinator is over.
    pub(crate) fn handle_coordinator(&mut self, found: Result<BrokerId>, now: Instant) {
        either!(self, member => member.handle_coordinator(found, now));
    }

    /// The program has done what it was told to.
    pub(crate) fn handle_done(&mut self) {
        either!(self, member => member.handle_done());
    }

    /// A commit was refused; `sent` is as whom it was sent.
    pub(crate) fn handle_commit_refused(&mut self, sent: &Identity, code: ErrorCode, now: Instant) {
        either!(self, member => member.handle_commit_refused(sent, code, now));
    }
}

/// Why the coordinator of a group cannot be found.
pub(super) fn find_failed(group: &GroupId, error: Error) -> Error {
    error.context(format!("find coordinator of group `{group}`"))
}

/// That the program made no progress for so long that the member left.
pub(super) fn max_poll_exceeded(settings: &MemberSettings, gap: Duration) -> Error {
    let text = format!(
        "the program asked for no records for {} ms, longer than `max.poll.interval.ms` ({}): the partitions of group \
         `{}` went to others",
        gap.as_millis(),
        settings.max_poll_interval.as_millis(),
        settings.group
    );
    Error::new(ErrorKind::MaxPollExceeded, text)
        .hint("the next call joins again; take fewer records at once, or raise `max.poll.interval.ms`")
}

/// A duration as the protocol has it.
pub(super) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// Each topic once, in order.
pub(super) fn unique(topics: impl IntoIterator<Item = TopicName>) -> Vec<TopicName> {
    let topics: std::collections::BTreeSet<TopicName> = topics.into_iter().collect();
    topics.into_iter().collect()
}
