//! A consumer for programs that have neither Rust's types nor its futures.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    batch::RecordBatch,
    blocking::Wait,
    call::Call,
    core::{
        self, Batch, BatchPlace, Commit, ConsumerMetrics, ListedOffset, OffsetAndMetadata, OffsetSpec,
        Rebalance, Rebalances, TopicPartition, Watermarks, config::ConsumerConfig,
    },
    error::{BindingError, Result, TIMEOUT},
    handle::Handle,
    tokens::TokenRequests,
};

/// A handle on a consumer. Clones share it; the last one that is dropped frees it, which leaves the group in the background, as
/// long as the program runs. [`Self::close`] it to have commits done and partitions given to others at once.
///
/// Records are asked for in one of two ways. A program that waits on its own thread calls [`Self::next`]. One with an event
/// loop calls [`Self::try_next`] until there is nothing, then [`Self::ready`], which ends on its queue when there may be
/// something. Both keep the consumer in its group while they wait.
///
/// Rebalances come in line with records, from the same functions, once [`Self::listen`] is called; or to a function, by
/// [`Self::on_rebalance`]. Without either they go on by themselves.
#[derive(Clone, Debug)]
pub struct Consumer {
    handle: Arc<Handle<core::Consumer>>,
    reading: Arc<Reading>,
}

/// What comes of asking for records.
#[derive(Debug)]
pub enum Next {
    /// Records.
    Batch(RecordBatch),
    /// A step of a rebalance. The group waits until it is dropped.
    Rebalance(Rebalance),
    /// Nothing: the time is over, or [`Consumer::wake`] was called.
    Nothing,
}

/// Where the program is with its reading.
#[derive(Debug, Default)]
struct Reading {
    rebalances: Mutex<Option<Rebalances>>,
    /// What is to be told after a batch that could be read in part.
    failure: Mutex<Option<BindingError>>,
    woken: Mutex<Woken>,
}

/// Whether somebody called [`Consumer::wake`], and who waits for that.
#[derive(Debug, Default)]
struct Woken {
    is_set: bool,
    waker: Option<Waker>,
}

impl Consumer {
    /// Makes one. Connections come in the background.
    pub fn new(config: ConsumerConfig) -> Result<Self> {
        Self::with_tokens(config, None)
    }

    /// As [`Self::new`]; it asks there for its tokens, if it needs any.
    pub fn with_tokens(config: ConsumerConfig, tokens: Option<TokenRequests>) -> Result<Self> {
        Ok(Self { handle: Handle::new(client(config, tokens)?), reading: Arc::default() })
    }

    // ---- what is read

    /// Reads these partitions and no others.
    pub fn assign(&self, partitions: Vec<TopicPartition>) -> Result<()> {
        self.with(|client| client.assign(partitions))
    }

    /// What is assigned, in no order.
    pub fn assignment(&self) -> Result<Vec<TopicPartition>> {
        self.with(|client| Ok(client.assignment()))
    }

    /// Reads these topics and no others, with the other members of the group.
    pub fn subscribe(&self, topics: Vec<String>) -> Result<()> {
        self.with(|client| client.subscribe(topics))
    }

    /// Reads all topics whose whole name matches a regular expression.
    pub fn subscribe_pattern(&self, pattern: &str) -> Result<()> {
        self.with(|client| client.subscribe_pattern(pattern))
    }

    /// As [`Self::subscribe_pattern`], looked for by the broker (KIP-848), in RE2's syntax.
    pub fn subscribe_broker_pattern(&self, pattern: &str) -> Result<()> {
        self.with(|client| client.subscribe_broker_pattern(pattern))
    }

    /// Leaves the group, with what the program is done with committed; or reads no partitions any more.
    pub fn unsubscribe(&self) -> Call<()> {
        self.handle.call(|client| async move { client.get()?.unsubscribe().await.map_err(Into::into) })
    }

    /// Goes to an offset.
    pub fn seek(&self, partition: &TopicPartition, offset: i64) -> Result<()> {
        self.with(|client| client.seek(partition, offset))
    }

    /// Goes to the first record, or behind the last, or to the first of a timestamp.
    pub fn seek_to(&self, partition: &TopicPartition, spec: OffsetSpec) -> Result<()> {
        self.with(|client| client.seek_to(partition, spec))
    }

    /// Holds partitions: nothing of them is handed out.
    pub fn pause(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.with(|client| client.pause(partitions))
    }

    /// Lets partitions that are held go on.
    pub fn resume(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.with(|client| client.resume(partitions))
    }

    /// The partitions that are held.
    pub fn paused(&self) -> Result<Vec<TopicPartition>> {
        self.with(|client| Ok(client.paused()))
    }

    /// Offset of the next record to be handed out; `None` as long as it is being looked for.
    pub fn position(&self, partition: &TopicPartition) -> Result<Option<i64>> {
        self.with(|client| client.position(partition))
    }

    /// Between which offsets the partition could be read at its last fetch; `None` before the first.
    pub fn watermarks(&self, partition: &TopicPartition) -> Result<Option<Watermarks>> {
        self.with(|client| Ok(client.watermarks(partition)))
    }

    // ---- records

    /// The next records, at most `max` of them, or the next step of a rebalance; waits for them. An error concerns one
    /// partition, which it names, or the consumer; it is given once.
    pub fn next(&self, max: usize, wait: Wait<'_>) -> Result<Next> {
        self.handle.with(|client| {
            match self.look(client, max)? {
                Next::Nothing => {}
                next => return Ok(next),
            }
            let mut batches = pin!(client.next_batch(max));
            let next = poll_fn(|context| {
                if self.was_woken(context) {
                    return Poll::Ready(Ok(Next::Nothing));
                }
                if let Poll::Ready(batch) = batches.as_mut().poll(context) {
                    return Poll::Ready(batch.map_err(Into::into).and_then(|batch| self.open(batch)));
                }
                // After the future has made sure to be polled again: what comes from now on is not missed.
                match self.rebalance() {
                    Some(rebalance) => Poll::Ready(Ok(Next::Rebalance(rebalance))),
                    None => Poll::Pending,
                }
            });
            match wait.on(next) {
                Ok(next) => next,
                Err(error) if error.code == TIMEOUT => Ok(Next::Nothing),
                Err(error) => Err(error),
            }
        })
    }

    /// As [`Self::next`], without waiting.
    pub fn try_next(&self, max: usize) -> Result<Next> {
        self.handle.with(|client| self.look(client, max))
    }

    /// Ends when [`Self::try_next`] may have something; now and then it has nothing after all. Does not keep the consumer.
    pub fn ready(&self) -> Call<()> {
        match self.handle.client() {
            Err(error) => Call::refused(error),
            Ok(client) => {
                let ready = client.ready();
                Call::new(self.handle.clone(), async move {
                    ready.await;
                    Ok(())
                })
            }
        }
    }

    /// As [`Self::ready`], for at most `timeout`; says whether [`Self::try_next`] may have something. For languages whose calls
    /// cannot be given up from outside. Keeps the consumer meanwhile.
    pub fn ready_within(&self, timeout: Duration) -> Call<bool> {
        self.handle
            .call(move |client| async move { client.get()?.ready_within(timeout).await.map_err(Into::into) })
    }

    /// Has `wake` called when [`Self::try_next`] may have something, of what comes from now on. On the I/O thread; it must not
    /// block. Keeps nobody in its group: a program that waits for it calls [`Self::try_next`] now and then, within
    /// `max.poll.interval.ms`.
    pub fn on_batches(&self, wake: impl Fn() + Send + Sync + 'static) -> Result<()> {
        self.handle.client()?.on_batches(wake);
        Ok(())
    }

    /// Ends [`Self::next`], now or as soon as it is called, with [`Next::Nothing`]. From any thread.
    pub fn wake(&self) {
        let mut woken = self.woken();
        woken.is_set = true;
        let waker = woken.waker.take();
        drop(woken);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    // ---- rebalances

    /// From now on the steps of rebalances come from [`Self::next`], [`Self::try_next`] and [`Self::close_with`].
    pub fn listen(&self) -> Result<()> {
        let rebalances = self.with(core::Consumer::rebalances)?;
        *self.reading.rebalances.lock().unwrap_or_else(PoisonError::into_inner) = Some(rebalances);
        Ok(())
    }

    /// From now on the steps of rebalances are handed to `take`, on the I/O thread, where it must not block. The group waits
    /// until each is dropped.
    pub fn on_rebalance(&self, mut take: impl FnMut(Rebalance) + Send + 'static) -> Result<()> {
        self.with(|client| {
            let mut rebalances = client.rebalances()?;
            *self.reading.rebalances.lock().unwrap_or_else(PoisonError::into_inner) = None;
            // Ends with the consumer, or when somebody else listens.
            client.spawn(async move {
                while let Some(rebalance) = rebalances.next().await {
                    take(rebalance);
                }
            });
            Ok(())
        })
    }

    // ---- commits

    /// Commits the positions of all partitions, and so all that was handed out. Under way when this returns; the call tells what
    /// came of it.
    pub fn commit(&self) -> Call<()> {
        self.commit_by(core::Consumer::commit)
    }

    /// Commits that a batch, and all before it in its partition, is done.
    pub fn commit_batch(&self, batch: &RecordBatch) -> Call<()> {
        self.commit_below(batch, batch.next_offset())
    }

    /// Commits that all records of a batch below `offset`, and all before it in its partition, are done.
    pub fn commit_below(&self, batch: &RecordBatch, offset: i64) -> Call<()> {
        self.commit_by(|client| client.commit_below(batch.core(), offset))
    }

    /// As [`Self::commit_below`], of a batch whose records the language keeps itself.
    pub fn commit_at(&self, place: &BatchPlace, offset: i64) -> Call<()> {
        self.commit_by(|client| client.commit_at(place, offset))
    }

    /// As [`Self::keep_back`], of a batch whose records the language keeps itself.
    pub fn keep_back_at(&self, place: &BatchPlace, offset: i64) -> Result<()> {
        self.with(|client| {
            client.keep_back_at(place, offset);
            Ok(())
        })
    }

    /// The program is not done yet with a batch from `offset` on, though it commits, unsubscribes or closes: for a language
    /// that goes through a batch record by record. Holds until more is asked for.
    pub fn keep_back(&self, batch: &RecordBatch, offset: i64) -> Result<()> {
        self.with(|client| {
            client.keep_back(batch.core(), offset);
            Ok(())
        })
    }

    /// Commits these offsets: of each partition that of the next record to be read.
    pub fn commit_offsets(&self, offsets: Vec<(TopicPartition, OffsetAndMetadata)>) -> Call<()> {
        self.commit_by(|client| client.commit_offsets(offsets))
    }

    /// What the group has committed of these partitions; those of which nothing is are left out.
    pub fn committed(
        &self,
        partitions: Vec<TopicPartition>,
    ) -> Call<HashMap<TopicPartition, OffsetAndMetadata>> {
        self.handle
            .call(move |client| async move { client.get()?.committed(&partitions).await.map_err(Into::into) })
    }

    // ---- questions

    /// The first offsets that are still there.
    pub fn beginning_offsets(&self, partitions: Vec<TopicPartition>) -> Call<HashMap<TopicPartition, i64>> {
        self.handle.call(move |client| async move {
            client.get()?.beginning_offsets(&partitions).await.map_err(Into::into)
        })
    }

    /// The offsets behind the last records.
    pub fn end_offsets(&self, partitions: Vec<TopicPartition>) -> Call<HashMap<TopicPartition, i64>> {
        self.handle.call(move |client| async move {
            client.get()?.end_offsets(&partitions).await.map_err(Into::into)
        })
    }

    /// The first records of these timestamps, or later ones; partitions without one are left out.
    pub fn offsets_for_times(
        &self,
        times: Vec<(TopicPartition, i64)>,
    ) -> Call<HashMap<TopicPartition, ListedOffset>> {
        self.handle.call(move |client| async move {
            client.get()?.offsets_for_times(times).await.map_err(Into::into)
        })
    }

    /// What it has counted.
    pub fn metrics(&self) -> Result<ConsumerMetrics> {
        self.with(|client| Ok(client.metrics()))
    }

    // ---- the end

    /// Leaves the group, with what the program is done with committed, and ends. Steps of rebalances that [`Self::listen`]
    /// asked for are let go; [`Self::close_with`] gives them.
    pub fn close(&self, timeout: Duration) -> Call<()> {
        self.handle.call(move |client| async move { client.get()?.close(timeout).await.map_err(Into::into) })
    }

    /// As [`Self::close`], on this thread; the steps of rebalances go to `take`.
    pub fn close_with(
        &self,
        timeout: Duration,
        mut take: impl FnMut(Rebalance),
        wait: Wait<'_>,
    ) -> Result<()> {
        self.handle.with(|client| {
            let mut rebalances = self.reading.rebalances.lock().unwrap_or_else(PoisonError::into_inner);
            let mut closing = pin!(client.close(timeout));
            wait.on(async {
                let Some(rebalances) = rebalances.as_mut() else { return closing.await };
                loop {
                    let mut step = pin!(rebalances.next());
                    let next = poll_fn(|context| {
                        // First the step: closing waits for it as long as somebody waits here.
                        match step.as_mut().poll(context) {
                            Poll::Ready(Some(rebalance)) => Poll::Ready(Ok(rebalance)),
                            Poll::Ready(None) | Poll::Pending => closing.as_mut().poll(context).map(Err),
                        }
                    });
                    match next.await {
                        Ok(rebalance) => take(rebalance),
                        Err(closed) => return closed,
                    }
                }
            })?
            .map_err(Into::into)
        })
    }

    // ---- helpers

    fn look(&self, client: &core::Consumer, max: usize) -> Result<Next> {
        if let Some(failure) = self.failure().take() {
            return Err(failure);
        }
        if let Some(rebalance) = self.rebalance() {
            return Ok(Next::Rebalance(rebalance));
        }
        match client.try_next_batch(max) {
            None => Ok(Next::Nothing),
            Some(batch) => self.open(batch?),
        }
    }

    fn open(&self, batch: Batch) -> Result<Next> {
        match RecordBatch::open(batch) {
            (Some(batch), failure) => {
                *self.failure() = failure;
                Ok(Next::Batch(batch))
            }
            (None, Some(failure)) => Err(failure),
            (None, None) => Ok(Next::Nothing),
        }
    }

    fn rebalance(&self) -> Option<Rebalance> {
        let mut rebalances = match self.reading.rebalances.try_lock() {
            Ok(rebalances) => rebalances,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Another thread is closing, and takes them itself.
            Err(TryLockError::WouldBlock) => return None,
        };
        rebalances.as_mut()?.try_next()
    }

    fn failure(&self) -> MutexGuard<'_, Option<BindingError>> {
        self.reading.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn woken(&self) -> MutexGuard<'_, Woken> {
        self.reading.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn was_woken(&self, context: &Context<'_>) -> bool {
        let mut woken = self.woken();
        woken.waker = Some(context.waker().clone());
        std::mem::take(&mut woken.is_set)
    }

    #[inline]
    fn with<T>(&self, ask: impl FnOnce(&core::Consumer) -> core::Result<T>) -> Result<T> {
        self.handle.with(|client| ask(client).map_err(Into::into))
    }

    fn commit_by(&self, begin: impl FnOnce(&core::Consumer) -> Commit) -> Call<()> {
        match self.with(|client| Ok(begin(client))) {
            Err(error) => Call::refused(error),
            Ok(commit) => Call::new(self.handle.clone(), async move { commit.await.map_err(Into::into) }),
        }
    }
}

fn client(config: ConsumerConfig, tokens: Option<TokenRequests>) -> Result<core::Consumer> {
    Ok(match tokens {
        Some(tokens) => core::Consumer::with_tokens(config, tokens)?,
        None => core::Consumer::new(config)?,
    })
}
