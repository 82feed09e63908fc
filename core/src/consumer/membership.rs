//! The consumer as a member of its group: what it subscribes to, commits, and hears of rebalances.

use std::{
    collections::HashMap,
    future::Future,
    sync::{PoisonError, atomic::Ordering},
};

use ottla_protocol::types::TopicName;
use tokio::time::Instant;

use super::{
    Batch, BatchPlace, Consumer, RecordView,
    group::{Commit, Events, Group, Health, Order, Pattern, Rebalance, Rebalances, no_group},
    subscription::Mode,
    truncation::Reached,
};
use crate::{
    cluster::{OffsetAndMetadata, TopicPartition, runtime::Runtime},
    error::{Error, Result},
};

impl Consumer {
    /// Reads these topics and no others, with the other members of the group; joins it, if need be. What comes of that
    /// shows in the background, and as an error of [`Self::next_batch`] where it cannot be.
    ///
    /// Fails without a `group.id`, and while partitions are assigned by [`Self::assign`].
    pub fn subscribe<T: Into<TopicName>>(&self, topics: impl IntoIterator<Item = T>) -> Result<()> {
        self.order(Order::Subscribe(topics.into_iter().map(Into::into).collect()))
    }

    /// Reads all topics whose whole name matches a regular expression, as [`Self::subscribe`] does. Topics that come later
    /// are found within `metadata.max.age.ms`. Kafka's own are left out, unless `exclude.internal.topics` is off.
    pub fn subscribe_pattern(&self, pattern: &str) -> Result<()> {
        self.order(Order::Match(Pattern::new(pattern, self.exclude_internal_topics)?))
    }

    /// As [`Self::subscribe_pattern`], but the broker looks for the topics (KIP-848), by an expression in RE2's syntax:
    /// for all members alike, looking for new ones when it sees fit (Kafka's every ten seconds at most), and without leaving
    /// out Kafka's own. Fails in a group of the classic protocol.
    pub fn subscribe_broker_pattern(&self, pattern: &str) -> Result<()> {
        self.order(Order::MatchAtBroker(pattern.into()))
    }

    /// Leaves the group, with what the program is done with committed; or, where partitions were assigned, reads them no
    /// more. Waits until that is so; if the future is dropped, it goes on in the background.
    pub async fn unsubscribe(&self) -> Result<()> {
        self.finish();
        let is_subscribed = self.shared.lock().mode() == Mode::Subscribed;
        match &self.group {
            Some(group) if is_subscribed => group.leave().await,
            _ => {
                self.commit_before_change();
                self.shared.lock().clear();
                self.shared.changed.notify_one();
            }
        }
        Ok(())
    }

    /// Commits the positions of all partitions. By this the program says that it is done with all that it was handed.
    ///
    /// It is under way when this returns; awaiting it tells what came of it. Commits are carried out in their order. Those
    /// of partitions that the group has given to others fail with [`crate::ErrorKind::CommitFailed`].
    ///
    /// ```no_run
    /// # async fn run(consumer: ottla::Consumer) -> ottla::Result<()> {
    /// let batch = consumer.next_batch(1_000).await?;
    /// // ... done with it:
    /// consumer.commit().await?;
    /// # Ok(()) }
    /// ```
    pub fn commit(&self) -> Commit {
        self.finish();
        let positions = self.shared.lock().positions();
        self.commit_of(positions.into_iter().map(|(tp, offset)| (tp, offset.into())), None)
    }

    /// Commits these offsets: of each partition that of the next record to be read.
    pub fn commit_offsets<O: Into<OffsetAndMetadata>>(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, O)>,
    ) -> Commit {
        self.commit_of(offsets.into_iter().map(|(tp, offset)| (tp, offset.into())), None)
    }

    /// Commits that a batch, and all before it in its partition, is done.
    pub fn commit_batch(&self, batch: &Batch) -> Commit {
        let tp = TopicPartition::new(batch.topic().clone(), batch.partition());
        let reached = Reached { offset: batch.next_offset(), epoch: batch.leader_epoch() };
        self.commit_of([(tp, reached.into())], Some(batch.tenure))
    }

    /// Commits that all records of a batch below `offset`, and all before it in its partition, are done.
    pub fn commit_below(&self, batch: &Batch, offset: i64) -> Commit {
        self.commit_at(&batch.place(), offset)
    }

    /// As [`Self::commit_below`], of a batch that is not kept.
    pub fn commit_at(&self, place: &BatchPlace, offset: i64) -> Commit {
        let tp = TopicPartition::new(place.topic.clone(), place.partition);
        self.commit_of([(tp, offset.into())], Some(place.tenure))
    }

    /// Commits that a record, and all before it in its partition, is done.
    pub fn commit_record(&self, record: &RecordView<'_>) -> Commit {
        let tp = TopicPartition::new(record.topic.clone(), record.partition);
        let reached = Reached { offset: record.offset().saturating_add(1), epoch: record.leader_epoch() };
        self.commit_of([(tp, reached.into())], Some(record.tenure))
    }

    /// The program is not done yet with a batch from `offset` on, though it commits, unsubscribes or closes: for those that go
    /// through a batch record by record. Holds until it asks for more, which says that it is done with all.
    pub fn keep_back(&self, batch: &Batch, offset: i64) {
        self.keep_back_at(&batch.place(), offset);
    }

    /// As [`Self::keep_back`], of a batch that is not kept.
    pub fn keep_back_at(&self, place: &BatchPlace, offset: i64) {
        let tp = TopicPartition::new(place.topic.clone(), place.partition);
        self.shared.lock().keep_back(&tp, place.tenure, offset);
    }

    /// What the group has committed of these partitions; those of which nothing is are left out.
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, OffsetAndMetadata>> {
        let offsets = self.in_group()?.offsets.clone();
        let deadline = Instant::now() + self.api_timeout;
        let partitions = partitions.to_vec();
        let fetched = self.runtime.run(async move { offsets.fetch(&partitions, deadline).await }).await?;
        Ok(fetched.into_iter().collect())
    }

    /// The rebalances from now on, for the program to take; whoever heard of them before hears no more.
    pub fn rebalances(&self) -> Result<Rebalances> {
        Ok(self.in_group()?.listener.rebalances())
    }

    /// The rebalances from now on, and that reading stands still: for half of `max.poll.interval.ms` the program has asked for
    /// no records; or a partition has not moved, although the program asks and the broker has records. Each is told, and
    /// logged, once until it goes on. Whoever heard of them before, by this or by [`Self::rebalances`], hears no more.
    ///
    /// ```no_run
    /// # async fn run(consumer: ottla::Consumer) -> ottla::Result<()> {
    /// let mut events = consumer.events()?;
    /// # let watching = async move {
    /// while let Some(event) = events.next().await {
    ///     if let ottla::Event::Stalled(stalled) = event {
    ///         eprintln!("reading stands still: {stalled:?}");
    ///     }
    /// }
    /// # };
    /// # Ok(()) }
    /// ```
    pub fn events(&self) -> Result<Events> {
        Ok(self.in_group()?.listener.listen())
    }

    /// How this consumer does as a member of its group. Fails without a `group.id`.
    pub fn health(&self) -> Result<Health> {
        Ok(self.in_group()?.health())
    }

    /// Has `listener` called with each rebalance, one after the other, on a thread of its own, where it may block. The
    /// rebalance goes on when its future ends, or drops what it was given. Not called any more once the consumer is
    /// dropped; closing it calls it.
    ///
    /// ```no_run
    /// # fn run(consumer: &ottla::Consumer) -> ottla::Result<()> {
    /// use ottla::RebalanceKind;
    ///
    /// consumer.on_rebalance(|rebalance| async move {
    ///     if rebalance.kind() == RebalanceKind::Revoked
    ///         && let Err(error) = rebalance.commit().await
    ///     {
    ///         eprintln!("{error}");
    ///     }
    /// })
    /// # }
    /// ```
    pub fn on_rebalance<F>(&self, listener: impl FnMut(Rebalance) -> F + Send + 'static) -> Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let rebalances = self.rebalances()?;
        let runtime = Runtime::start("ottla-rebalance")?;
        runtime.spawn(rebalances.for_each(listener));
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some(runtime);
        Ok(())
    }

    /// The program asks for records. Answers why there will be none.
    pub(super) fn ask(&self) -> Option<Error> {
        if self.closed.load(Ordering::Acquire) {
            return Some(Error::closed());
        }
        let group = self.group.as_ref()?;
        group.progress.ask(std::time::Instant::now());
        let mut subscription = self.shared.lock();
        subscription.ask();
        let failure = subscription.failure();
        drop(subscription);
        self.shared.asked.notify_waiters();
        if failure.is_some() {
            group.progressed();
        }
        failure
    }

    /// The program is done with what it was handed.
    pub(super) fn finish(&self) {
        self.shared.lock().finish();
        self.shared.asked.notify_waiters();
    }

    /// What is assigned is about to be other partitions: those that go are committed, as far as the program is done.
    pub(super) fn commit_before_change(&self) {
        if let Some(group) = self.group.as_ref().filter(|group| group.auto_commit.is_some())
            && self.shared.lock().mode() == Mode::Assigned
        {
            // What comes of it is logged where the next is asked for; the program goes on.
            drop(group.commits.commit_done(None));
        }
    }

    fn order(&self, order: Order) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed());
        }
        let group = self.in_group()?;
        group.progress.ask(std::time::Instant::now());
        group.subscribe(order, &self.runtime)
    }

    fn commit_of(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
        tenure: Option<u32>,
    ) -> Commit {
        match self.in_group() {
            // In between, those that a closing consumer gives back can be committed.
            _ if self.ended.load(Ordering::Acquire) => Commit::refused(Error::closed()),
            Ok(group) => group.commits.commit(offsets, tenure),
            Err(error) => Commit::refused(error),
        }
    }

    fn in_group(&self) -> Result<&Group> {
        self.group.as_deref().ok_or_else(no_group)
    }
}
