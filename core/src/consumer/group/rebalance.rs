//! What the program hears of rebalances, and carries them out at the subscription.
//!
//! There is one queue of [`Rebalance`]s, and the group waits until the program has dropped each. The program takes them
//! itself ([`Rebalances`], or [`Events`]), between its batches, or has a function called with them, on a thread of its own, which may
//! block: nothing here runs on the I/O thread.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Identity, Told,
    commits::{Commit, Commits, not_ours},
    stall::Stalled,
};
use crate::{
    cluster::{OffsetAndMetadata, OffsetSpec, TopicPartition},
    consumer::{fetcher::Shared, truncation::Reached},
    error::Result,
};

/// What a rebalance does to some partitions.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RebalanceKind {
    /// They come to this consumer, beside what it has; records follow once this is dropped. Ends a rebalance, also where
    /// no partitions come.
    Assigned,
    /// They go to others once this is dropped: the last time to commit them.
    Revoked,
    /// They are gone, and cannot be committed: others may have read on already.
    Lost,
}

/// A step of a rebalance. The group waits until it is dropped, at most `max.poll.interval.ms`.
#[derive(Debug)]
pub struct Rebalance {
    kind: RebalanceKind,
    partitions: Vec<TopicPartition>,
    shared: Arc<Shared>,
    commits: Arc<Commits>,
    /// The program has it.
    is_taken: Arc<AtomicBool>,
    /// Dropping it lets the rebalance go on.
    _done: oneshot::Sender<()>,
}

impl Rebalance {
    /// What it does.
    pub fn kind(&self) -> RebalanceKind {
        self.kind
    }

    /// To which partitions.
    pub fn partitions(&self) -> &[TopicPartition] {
        &self.partitions
    }

    /// Commits where the program is with these partitions, where it has not; `enable.auto.commit` has done so before. Fails
    /// for lost ones.
    pub fn commit(&self) -> Commit {
        if let (RebalanceKind::Lost, Some(first)) = (self.kind, self.partitions.first()) {
            return Commit::refused(not_ours(first));
        }
        let positions = self.shared.lock().positions();
        let of_these = positions.into_iter().filter(|(tp, _)| self.partitions.contains(tp));
        self.commits.commit(of_these.map(|(tp, offset)| (tp, offset.into())), None)
    }

    /// Commits these offsets.
    pub fn commit_offsets<O: Into<OffsetAndMetadata>>(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, O)>,
    ) -> Commit {
        self.commits.commit(offsets.into_iter().map(|(tp, offset)| (tp, offset.into())), None)
    }

    /// Where a partition that is assigned begins, in place of what is committed; as [`crate::Consumer::seek`].
    pub fn seek(&self, partition: &TopicPartition, offset: impl Into<OffsetAndMetadata>) -> Result<()> {
        self.shared.lock().seek(partition, Reached::from(offset.into()))
    }

    /// As [`Self::seek`], for a place that is still to be looked for.
    pub fn seek_to(&self, partition: &TopicPartition, spec: OffsetSpec) -> Result<()> {
        self.shared.lock().seek_to(partition, spec)
    }
}

/// What a member tells its program, besides records.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A step of a rebalance; the group waits until it is dropped.
    Rebalance(Rebalance),
    /// Reading stands still. Nobody waits for this to be dropped.
    Stalled(Stalled),
}

/// What a consumer tells, in its order: rebalances, and that reading stands still.
///
/// As long as this is there, each step of a rebalance waits to be taken and dropped; see [`Rebalances`].
#[derive(Debug)]
pub struct Events {
    queue: mpsc::UnboundedReceiver<Event>,
    /// How many calls wait.
    waiting: Arc<AtomicUsize>,
}

impl Events {
    /// The next, once there is one; `None` once others listen in its place, or the consumer is gone. Dropping the future loses
    /// nothing.
    pub async fn next(&mut self) -> Option<Event> {
        let _waiting = Waiting::new(&self.waiting);
        Some(taken(self.queue.recv().await?))
    }

    /// The next, if there is one now.
    pub fn try_next(&mut self) -> Option<Event> {
        self.queue.try_recv().ok().map(taken)
    }
}

/// The program has it.
fn taken(event: Event) -> Event {
    if let Event::Rebalance(rebalance) = &event {
        rebalance.is_taken.store(true, Ordering::Release);
    }
    event
}

/// The rebalances of a consumer, in their order.
///
/// As long as this is there, each step of a rebalance waits to be taken and dropped; so take them wherever batches are
/// taken. Only a consumer that is leaving, by [`crate::Consumer::close`] or [`crate::Consumer::unsubscribe`], waits for
/// nobody who does not wait for it.
///
/// ```no_run
/// # async fn run(consumer: ottla::Consumer) -> ottla::Result<()> {
/// let mut rebalances = consumer.rebalances()?;
/// loop {
///     tokio::select! {
///         Some(rebalance) = rebalances.next() => println!("{:?}: {:?}", rebalance.kind(), rebalance.partitions()),
///         batch = consumer.next_batch(500) => println!("{} records", batch?.len()),
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Rebalances(Events);

impl Rebalances {
    /// The next step, once there is one; `None` once others listen in its place, or the consumer is gone. Dropping the
    /// future loses nothing.
    pub async fn next(&mut self) -> Option<Rebalance> {
        loop {
            if let Event::Rebalance(rebalance) = self.0.next().await? {
                return Some(rebalance);
            }
        }
    }

    /// The next step, if there is one now.
    pub fn try_next(&mut self) -> Option<Rebalance> {
        loop {
            if let Event::Rebalance(rebalance) = self.0.try_next()? {
                return Some(rebalance);
            }
        }
    }

    /// Calls `listener` with each, one after the other.
    pub(crate) async fn for_each<F: Future<Output = ()>>(mut self, mut listener: impl FnMut(Rebalance) -> F) {
        while let Some(rebalance) = self.next().await {
            listener(rebalance).await;
        }
    }
}

/// A call that waits for a rebalance.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // What it has taken is seen to be taken by whoever sees that it does not wait any more.
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// Who listens, if anybody does. There is at most one step in the queue: the next waits until it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    current: Mutex<Option<Audience>>,
    is_leaving: watch::Sender<bool>,
}

#[derive(Clone, Debug)]
struct Audience {
    queue: mpsc::UnboundedSender<Event>,
    waiting: Arc<AtomicUsize>,
}

impl Default for Listener {
    fn default() -> Self {
        Self { current: Mutex::default(), is_leaving: watch::Sender::new(false) }
    }
}

impl Listener {
    /// The rebalances from now on; whoever listened before hears no more.
    pub(crate) fn rebalances(&self) -> Rebalances {
        Rebalances(self.listen())
    }

    /// Reading stands still; whoever listens may want to know.
    pub(crate) fn stalled(&self, stalled: Stalled) {
        match &stalled {
            Stalled::Program(since) => {
                tracing::warn!(since_ms = since.as_millis(), "the program asks for no records");
            }
            Stalled::Partition { partition, position, lag, since } => {
                let since_ms = since.as_millis();
                tracing::warn!(%partition, position, lag, since_ms, "a partition makes no progress");
            }
        }
        if let Some(audience) = self.current() {
            // Nobody listens any more, if it cannot be sent.
            _ = audience.queue.send(Event::Stalled(stalled));
        }
    }

    /// All that there is to tell from now on; whoever listened before hears no more.
    pub(crate) fn listen(&self) -> Events {
        let (sender, queue) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let audience = Audience { queue: sender, waiting: waiting.clone() };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(audience);
        Events { queue, waiting }
    }

    /// The program is leaving, and may take nothing any more; or it is not.
    pub(crate) fn set_leaving(&self, is_leaving: bool) {
        self.is_leaving.send_replace(is_leaving);
    }

    fn current(&self) -> Option<Audience> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Carries out what the member tells.
pub(crate) struct Handover {
    /// What it carries out.
    pub told: mpsc::UnboundedReceiver<Told>,
    /// Where partitions come and go.
    pub shared: Arc<Shared>,
    /// Where they are committed before they go.
    pub commits: Arc<Commits>,
    /// Whether that is to be done by itself: `enable.auto.commit`.
    pub auto_commit: bool,
    /// Who else is told.
    pub listener: Arc<Listener>,
    /// As whom the member commits; nobody, once it is out.
    pub identity: watch::Receiver<Identity>,
}

impl Handover {
    /// Runs until the member is gone.
    pub(crate) async fn run(mut self) {
        while let Some(told) = self.told.recv().await {
            match told {
                Told::Assign(partitions, done) => {
                    self.assign(partitions).await;
                    // A member that is gone does not wait.
                    _ = done.send(());
                }
                Told::Revoke(partitions, done) => {
                    self.revoke(partitions).await;
                    _ = done.send(());
                }
                Told::Lost(partitions, done) => {
                    self.lose(partitions).await;
                    _ = done.send(());
                }
                Told::Failed(error) => {
                    tracing::warn!(%error, "the group cannot be read");
                    self.shared.lock().fail(error);
                    self.shared.tell();
                }
            }
        }
    }

    async fn assign(&self, partitions: Vec<TopicPartition>) {
        tracing::info!(?partitions, "assigned");
        self.shared.lock().add(&partitions);
        self.tell(RebalanceKind::Assigned, partitions.clone()).await;
        self.shared.lock().admit(&partitions);
        self.shared.changed.notify_one();
    }

    async fn revoke(&mut self, partitions: Vec<TopicPartition>) {
        tracing::info!(?partitions, "revoked");
        self.shared.lock().hold(&partitions);
        if !self.returned(&partitions).await {
            return self.lose(partitions).await;
        }
        let committed = if self.auto_commit {
            self.commits.commit_done(Some(&partitions))
        } else {
            self.commits.commit([], None)
        };
        if let Err(error) = committed.await {
            tracing::warn!(%error, "what was read of revoked partitions is not committed");
        }
        self.tell(RebalanceKind::Revoked, partitions.clone()).await;
        // What the program asked for meanwhile, and did not wait for, is still its own.
        _ = self.commits.commit([], None).await;
        self.shared.lock().remove(&partitions);
        self.shared.changed.notify_one();
    }

    async fn lose(&self, partitions: Vec<TopicPartition>) {
        tracing::warn!(?partitions, "lost");
        self.shared.lock().remove(&partitions);
        self.shared.changed.notify_one();
        self.tell(RebalanceKind::Lost, partitions).await;
    }

    /// Waits until the program is done with what it has in its hands of these; `false` if the member is out before.
    async fn returned(&mut self, partitions: &[TopicPartition]) -> bool {
        let shared = self.shared.clone();
        loop {
            // Registered before looking: what comes in between is not missed.
            let asked = shared.asked.notified();
            tokio::pin!(asked);
            asked.as_mut().enable();
            if !shared.lock().is_in_hand(partitions) {
                return true;
            }
            let is_out = |identity: &Identity| identity.generation == Identity::NONE.generation;
            tokio::select! {
                () = asked => {}
                _ = self.identity.wait_for(is_out) => return false,
            }
        }
    }

    /// Tells whoever listens, and waits until that is done.
    async fn tell(&self, kind: RebalanceKind, partitions: Vec<TopicPartition>) {
        let Some(audience) = self.listener.current() else { return };
        let (done, mut is_done) = oneshot::channel();
        let is_taken = Arc::new(AtomicBool::new(false));
        let rebalance = Rebalance {
            kind,
            partitions,
            shared: self.shared.clone(),
            commits: self.commits.clone(),
            is_taken: is_taken.clone(),
            _done: done,
        };
        if audience.queue.send(Event::Rebalance(rebalance)).is_err() {
            return;
        }
        self.shared.tell();
        let mut leaving = self.listener.is_leaving.subscribe();
        let is_over = tokio::select! {
            // It ends by being dropped.
            _ = &mut is_done => true,
            _ = leaving.wait_for(|is_leaving| *is_leaving) => false,
        };
        let is_heard = audience.waiting.load(Ordering::Acquire) > 0 || is_taken.load(Ordering::Acquire);
        if !is_over && is_heard {
            _ = is_done.await;
        }
    }
}
