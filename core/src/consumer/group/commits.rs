//! Commits, in the order in which they were asked for.
//!
//! One request is under way at a time, so that an older offset never comes after a newer one; what is asked for meanwhile is
//! gathered into the next. A commit is for the tenure in which its records were read: if the group takes a partition away,
//! even to give it back, what was to be committed of it is refused here, before it could undo what others have committed.

use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ottla_protocol::error_code::ErrorCode;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    super::{fetcher::Shared, subscription::Mode},
    Identity, Order,
    health::Pulse,
    offsets::GroupOffsets,
};
use crate::{
    cluster::{OffsetAndMetadata, TopicPartition},
    error::{Error, ErrorKind, Result},
};

/// Least time between commits that go by themselves, whatever `auto.commit.interval.ms` says.
const AUTO_COMMIT_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// A commit under way. Awaiting it tells what came of it; dropping it takes nothing back.
#[must_use = "await it to know what came of it, or drop it if that does not matter"]
pub struct Commit(State);

enum State {
    Refused(Error),
    UnderWay { partitions: Vec<TopicPartition>, outcome: watch::Receiver<Option<Outcome>> },
}

/// What became of a round: of the partitions that failed, why; or why all did.
type Outcome = Arc<Result<BTreeMap<TopicPartition, Error>>>;

/// What is committed of a partition.
#[derive(Debug)]
struct Entry {
    offset: OffsetAndMetadata,
    /// In which tenure it was read; `None` where nothing is assigned.
    tenure: Option<u32>,
}

/// Commits that go in one request.
#[derive(Debug)]
struct Round {
    entries: BTreeMap<TopicPartition, Entry>,
    outcome: watch::Sender<Option<Outcome>>,
}

/// Takes commits and carries them out.
#[derive(Debug)]
pub(crate) struct Commits {
    offsets: Arc<GroupOffsets>,
    shared: Arc<Shared>,
    /// As whom to commit.
    identity: Arc<watch::Sender<Identity>>,
    pulse: Arc<Pulse>,
    /// Where the member is told that a commit was refused. Leaf lock.
    orders: Mutex<Option<mpsc::UnboundedSender<Order>>>,
    /// What the next request will commit. Leaf lock.
    next: Mutex<Option<Round>>,
    came: Notify,
    api_timeout: Duration,
    retry_backoff: Duration,
}

impl Commits {
    /// Nothing is committed before [`Self::run`].
    pub(crate) fn new(
        offsets: Arc<GroupOffsets>,
        shared: Arc<Shared>,
        identity: Arc<watch::Sender<Identity>>,
        pulse: Arc<Pulse>,
        api_timeout: Duration,
        retry_backoff: Duration,
    ) -> Self {
        Self {
            offsets,
            shared,
            identity,
            pulse,
            orders: Mutex::default(),
            next: Mutex::default(),
            came: Notify::new(),
            api_timeout,
            retry_backoff,
        }
    }

    /// Whom to tell of refusals from now on.
    pub(crate) fn tell(&self, orders: mpsc::UnboundedSender<Order>) {
        *self.orders.lock().unwrap_or_else(PoisonError::into_inner) = Some(orders);
    }

    /// Commits offsets; where `of` names a tenure, only in that one.
    pub(crate) fn commit(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
        of: Option<u32>,
    ) -> Commit {
        let mut entries = BTreeMap::new();
        let mut subscription = self.shared.lock();
        let is_member = subscription.mode() == Mode::Subscribed;
        for (tp, offset) in offsets {
            if offset.offset < 0 {
                let text = format!("cannot commit offset {} of `{tp}`, below zero", offset.offset);
                return Commit(State::Refused(Error::new(ErrorKind::InvalidArgument, text)));
            }
            let tenure = subscription.tenure(&tp);
            if is_member && (tenure.is_none() || of.is_some_and(|of| tenure != Some(of))) {
                return Commit(State::Refused(not_ours(&tp)));
            }
            entries.insert(tp, Entry { offset, tenure });
        }
        for (tp, entry) in &entries {
            if let Some(tenure) = entry.tenure {
                subscription.committing(tp, tenure, Some(entry.offset.offset));
            }
        }
        drop(subscription);
        self.enqueue(entries)
    }

    /// Commits up to where the program is done with these partitions, or with all, as far as that is not committed yet.
    pub(crate) fn commit_done(&self, of: Option<&[TopicPartition]>) -> Commit {
        let done = self.shared.lock().done(of);
        self.commit(done.into_iter().map(|(tp, offset)| (tp, offset.into())), None)
    }

    fn enqueue(&self, entries: BTreeMap<TopicPartition, Entry>) -> Commit {
        let partitions = entries.keys().cloned().collect();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let round =
            next.get_or_insert_with(|| Round { entries: BTreeMap::new(), outcome: watch::Sender::new(None) });
        round.entries.extend(entries);
        let outcome = round.outcome.subscribe();
        drop(next);
        self.came.notify_one();
        Commit(State::UnderWay { partitions, outcome })
    }

    /// Carries out what is asked for; never ends.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let round = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
            match round {
                Some(round) => {
                    let outcome = self.carry_out(round.entries).await;
                    round.outcome.send_replace(Some(Arc::new(outcome)));
                }
                None => self.came.notified().await,
            }
        }
    }

    /// Commits what the program is done with, again and again; never ends.
    pub(crate) async fn run_auto(self: Arc<Self>, every: Duration) {
        loop {
            sleep(every.max(AUTO_COMMIT_INTERVAL_MIN)).await;
            if self.shared.lock().done(None).is_empty() {
                continue;
            }
            if let Err(error) = self.commit_done(None).await {
                tracing::warn!(%error, "what was read is not committed");
            }
        }
    }

    async fn carry_out(
        &self,
        mut entries: BTreeMap<TopicPartition, Entry>,
    ) -> Result<BTreeMap<TopicPartition, Error>> {
        let deadline = Instant::now() + self.api_timeout;
        let mut failed = BTreeMap::new();
        loop {
            self.drop_stale(&mut entries, &mut failed);
            if entries.is_empty() {
                return Ok(failed);
            }
            let sent = self.identity.borrow().clone();
            let offsets = entries.iter().map(|(tp, entry)| (tp.clone(), entry.offset.clone())).collect();
            let began = Instant::now();
            let answer = self.offsets.commit(&offsets, &sent, deadline).await;
            if answer.is_ok() {
                self.pulse.commits.record(began.elapsed());
            }
            let codes = match answer {
                Ok(codes) => codes,
                Err(error) => {
                    self.forget(&entries);
                    return Err(error);
                }
            };
            let refusal = codes.values().copied().find(|&code| is_of_member(code));
            let Some(code) = refusal else {
                for (tp, code) in codes.into_iter().filter(|(_, code)| code.is_error()) {
                    let error = Error::broker(code, None).context(format!("commit offset of `{tp}`"));
                    self.forget_one(&tp, entries.get(&tp));
                    failed.insert(tp, error);
                }
                return Ok(failed);
            };
            tracing::debug!(%code, ?sent, "commit refused");
            if let Some(orders) = &*self.orders.lock().unwrap_or_else(PoisonError::into_inner) {
                // A member that is gone needs not know.
                _ = orders.send(Order::CommitRefused(sent.clone(), code));
            }
            // In a rebalance, a member that keeps a partition commits as of the round that follows.
            let may_pass = matches!(
                code,
                ErrorCode::REBALANCE_IN_PROGRESS
                    | ErrorCode::ILLEGAL_GENERATION
                    | ErrorCode::STALE_MEMBER_EPOCH
            );
            let mut identity = self.identity.subscribe();
            let is_member = sent != Identity::NONE;
            if may_pass && is_member && Instant::now() + self.retry_backoff < deadline {
                let moved = identity.wait_for(|now| *now != sent);
                // What has not moved by then is asked again: a round may end without a new generation.
                _ = timeout(self.retry_backoff, moved).await;
                if identity.borrow().generation != Identity::NONE.generation {
                    continue;
                }
            }
            self.forget(&entries);
            return Err(refused(self.offsets.group(), code, is_member));
        }
    }

    /// Takes out what is not the member's any more, or not without interruption.
    fn drop_stale(
        &self,
        entries: &mut BTreeMap<TopicPartition, Entry>,
        failed: &mut BTreeMap<TopicPartition, Error>,
    ) {
        let subscription = self.shared.lock();
        if subscription.mode() != Mode::Subscribed {
            return;
        }
        entries.retain(|tp, entry| {
            let is_ours = entry.tenure.is_some() && subscription.tenure(tp) == entry.tenure;
            if !is_ours {
                failed.insert(tp.clone(), not_ours(tp));
            }
            is_ours
        });
    }

    /// They were not committed after all.
    fn forget(&self, entries: &BTreeMap<TopicPartition, Entry>) {
        entries.iter().for_each(|(tp, entry)| self.forget_one(tp, Some(entry)));
    }

    fn forget_one(&self, tp: &TopicPartition, entry: Option<&Entry>) {
        if let Some(tenure) = entry.and_then(|entry| entry.tenure) {
            self.shared.lock().committing(tp, tenure, None);
        }
    }
}

impl Commit {
    /// One that is refused from the start.
    pub(crate) fn refused(error: Error) -> Self {
        Self(State::Refused(error))
    }

    async fn outcome(self) -> Result<()> {
        let (partitions, mut outcome) = match self.0 {
            State::Refused(error) => return Err(error),
            State::UnderWay { partitions, outcome } => (partitions, outcome),
        };
        let outcome = outcome.wait_for(Option::is_some).await.map_err(|_| Error::closed())?;
        match outcome.as_deref() {
            Some(Ok(failed)) => {
                let first = partitions.iter().find_map(|tp| failed.get(tp));
                first.map_or(Ok(()), |error| Err(error.clone()))
            }
            // Others in the same round may have been the reason; an empty one has nothing to fail.
            Some(Err(error)) if !partitions.is_empty() => Err(error.clone()),
            Some(Err(_)) | None => Ok(()),
        }
    }
}

impl IntoFuture for Commit {
    type Output = Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.outcome())
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            State::Refused(error) => write!(f, "Commit(refused: {error})"),
            State::UnderWay { partitions, .. } => write!(f, "Commit({partitions:?})"),
        }
    }
}

/// Codes that are about who commits, not about what.
fn is_of_member(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::REBALANCE_IN_PROGRESS
            | ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::STALE_MEMBER_EPOCH
            | ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::FENCED_INSTANCE_ID
            | ErrorCode::FENCED_MEMBER_EPOCH
    )
}

/// A commit of a partition that others have.
pub(super) fn not_ours(tp: &TopicPartition) -> Error {
    let text =
        format!("the offset of `{tp}` is not committed: the group has given the partition to others since");
    hinted(Error::new(ErrorKind::CommitFailed, text))
}

fn refused(group: &str, code: ErrorCode, is_member: bool) -> Error {
    if !is_member {
        let text = format!(
            "offsets of group `{group}` are not committed: it has members, and only they commit ({code})"
        );
        return Error::new(ErrorKind::CommitFailed, text)
            .hint("subscribe to topics, or use a group of its own for partitions that are assigned");
    }
    let text = format!(
        "offsets of group `{group}` are not committed: the group has gone on without this member, and others have its \
         partitions now, or will ({code})"
    );
    hinted(Error::new(ErrorKind::CommitFailed, text))
}

fn hinted(error: Error) -> Error {
    error.hint(
        "whoever has them reads again what was not committed; where that is often, take fewer records at once or raise \
         `max.poll.interval.ms`",
    )
}
