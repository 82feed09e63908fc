//! A producer for programs that have neither Rust's types nor its futures.

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use futures_channel::oneshot;

use crate::{
    blocking::Wait,
    call::Call,
    core::{
        self, Delivery, ErrorKind, Header, ProducerMetrics, Record, RecordMetadata, ReportBatch,
        config::ProducerConfig,
    },
    error::{BindingError, QUEUE_FULL, Result},
    handle::Handle,
    outcomes::Outcomes,
    packed::{self, Packed},
    tokens::TokenRequests,
};

/// A handle on a producer. Clones share it; the last one that is dropped frees it, which sends in the background what was
/// taken, as long as the program runs. [`Self::close`] it to know.
#[derive(Clone, Debug)]
pub struct Producer {
    handle: Arc<Handle<core::Producer>>,
    /// The topics that packed records name by number.
    topics: Arc<RwLock<Vec<Arc<str>>>>,
    backlog: Arc<Backlog>,
    max_block: Duration,
    outcomes: Arc<Outcomes>,
}

impl Producer {
    /// Makes one. Connections come in the background.
    pub fn new(config: ProducerConfig) -> Result<Self> {
        Self::with_tokens(config, None)
    }

    /// As [`Self::new`]; it asks there for its tokens, if it needs any.
    pub fn with_tokens(config: ProducerConfig, tokens: Option<TokenRequests>) -> Result<Self> {
        let max_block = config.max_block;
        Ok(Self {
            handle: Handle::new(client(config, tokens)?),
            topics: Arc::default(),
            backlog: Arc::default(),
            max_block,
            outcomes: Arc::default(),
        })
    }

    /// Has `wake` called when deliveries have come where there were none; [`Self::take_deliveries`] gives them. On the I/O
    /// thread; it must not block.
    pub fn on_deliveries(&self, wake: impl Fn() + Send + Sync + 'static) -> Result<()> {
        self.handle.client()?.on_reports(wake);
        Ok(())
    }

    /// The deliveries that have come, batch by batch, in the order in which they came. They take room in `buffer.memory` until
    /// they are dropped.
    pub fn take_deliveries(&self) -> Result<Vec<ReportBatch>> {
        Ok(self.handle.client()?.take_report_batches())
    }

    /// Takes a record if that needs no waiting; copied before this returns. Its delivery comes with `token`; without one nobody
    /// is told, and failures are logged and counted.
    ///
    /// Fails with `QUEUE_FULL` where it would have to wait: wait for [`Self::ready`], then try again.
    #[inline]
    pub fn try_send(&self, record: &Record<'_>, token: Option<u64>) -> Result<()> {
        self.handle.with(|client| Ok(append(client, record, token)?))
    }

    /// As [`Self::try_send`] for each, until one is not taken; answers how many were, and what became of the next.
    pub fn try_send_all<'r>(
        &self,
        records: impl IntoIterator<Item = (Record<'r>, Option<u64>)>,
    ) -> (usize, Result<()>) {
        let mut taken = 0;
        let sent = self.handle.with(|client| {
            for (record, token) in records {
                append(client, &record, token)?;
                taken += 1;
            }
            Ok(())
        });
        (taken, sent)
    }

    /// Takes a record; where there is no room, or its topic is not known yet, waits as long as `wait` and `max.block.ms` say.
    pub fn send(&self, record: &Record<'_>, token: Option<u64>, wait: Wait<'_>) -> Result<()> {
        self.handle.with(|client| match append(client, record, token) {
            Err(error) if error.kind() == ErrorKind::BufferFull => {
                // In the queue of those who wait; given up, it was not taken.
                let record = record.clone();
                match token {
                    Some(token) => wait.on(client.send_with_token(record, token))??,
                    None => wait.on(client.send_and_forget(record))??,
                }
                Ok(())
            }
            sent => Ok(sent?),
        })
    }

    /// As [`Self::try_send`], with a delivery that can be asked, or awaited, for itself.
    #[inline]
    pub fn try_send_awaited(&self, record: &Record<'_>) -> Result<Delivery> {
        self.handle.with(|client| Ok(client.try_send_awaited(record)?))
    }

    /// As [`Self::send`], with a delivery that can be asked, or awaited, for itself.
    pub fn send_awaited(&self, record: &Record<'_>, wait: Wait<'_>) -> Result<Delivery> {
        self.handle.with(|client| Ok(wait.on(client.send(record.clone()))??))
    }

    /// What becomes of a record, told on the I/O thread, where `told` must not block: after all of its partition that were sent
    /// before, and asked for by this.
    pub fn on_outcome(&self, delivery: Delivery, told: impl FnOnce(Result<RecordMetadata>) + Send + 'static) {
        let Some(partition) = self.outcomes.put(delivery, Box::new(told)) else { return };
        let (outcomes, last) = (self.outcomes.clone(), self.outcomes.clone());
        let left = partition.clone();
        let telling = self.handle.call(move |_| async move {
            outcomes.tell(&partition).await;
            Ok(())
        });
        telling.start(move |ended| {
            if let Err(error) = ended {
                last.fail(&left, &error);
            }
        });
    }

    /// What becomes of a record, told on the I/O thread.
    pub fn outcome(&self, delivery: Delivery) -> Call<RecordMetadata> {
        self.handle.call(|_| async move { delivery.await.map_err(Into::into) })
    }

    /// Takes a record, and ends with what became of it. Records are taken in the order of the calls: where one has to wait for room,
    /// which it does up to `max.block.ms`, those after it do too, as in [`Self::send_in_turn`]. Given up while it waits, a record is
    /// not sent; given up later, it is sent all the same.
    pub fn deliver(&self, record: OwnedRecord) -> Call<RecordMetadata> {
        let mut backlog = self.backlog.lock();
        let taken = self.handle.with(|client| Ok(backlog.take_awaited(client, record)?));
        self.move_backlog(backlog);
        match taken {
            Err(error) => Call::refused(error),
            Ok(Taken::Now(delivery)) => self.outcome(delivery),
            Ok(Taken::InTurn(turn)) => self.handle.call(|_| async move {
                let freed = |_| BindingError::cancelled("the client was freed before the record was taken");
                turn.await.map_err(freed)??.await.map_err(Into::into)
            }),
        }
    }

    /// As [`Self::try_send`] of a record that nobody is told of, and that overtakes none of those that wait for their turn.
    pub fn try_send_behind(&self, record: &Record<'_>) -> Result<()> {
        let backlog = self.backlog.lock();
        if backlog.count() > 0 {
            return Err(BindingError::local(QUEUE_FULL, "records that were sent before wait for room"));
        }
        self.handle.with(|client| Ok(append(client, record, None)?))
    }

    /// Takes a record without waiting: where it would have to wait, a copy does, on the I/O thread, and all that come after it
    /// queue behind it, so that records are taken in the order of the calls. One that cannot be taken after all is told to who
    /// asked by [`Self::on_refusal`]. For event loops, which must not block, and whose program has as many under way as it likes.
    pub fn send_in_turn(&self, record: &Record<'_>, token: u64) -> Result<()> {
        let mut backlog = self.backlog.lock();
        self.handle.with(|client| Ok(backlog.take(client, record, Some(token))?))?;
        self.move_backlog(backlog);
        Ok(())
    }

    /// As [`Self::send_in_turn`] for records that lie in one buffer: [`packed`] says how. Their tokens count up from
    /// `first_token`; without one, nobody is told of them. Answers how many records wait now.
    pub fn send_packed_in_turn(&self, data: &[u8], table: &[u32], first_token: Option<u64>) -> Result<usize> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        let mut backlog = self.backlog.lock();
        let sent = self.handle.with(|client| {
            packed::send(data, table, first_token, &topics, |record, token| {
                backlog.take(client, record, token)
            })
        });
        let waiting = backlog.count();
        self.move_backlog(backlog);
        for (index, error) in sent?.rejected {
            let token = first_token.map(|first| first.wrapping_add(index as u64));
            self.backlog.refuse(token.into(), &error);
        }
        Ok(waiting)
    }

    /// Has `refused` called with the token of each record of [`Self::send_in_turn`] and [`Self::send_packed_in_turn`] that could
    /// not be taken, and why. It must not block, nor call the producer; it is called on the I/O thread, or from the send.
    pub fn on_refusal(&self, refused: impl Fn(u64, BindingError) + Send + Sync + 'static) {
        self.backlog.lock().refused = Some(Arc::new(refused));
    }

    /// Ends when all that waits now, by [`Self::send_in_turn`] or [`Self::send_packed_in_turn`], was taken or refused.
    pub fn caught_up(&self) -> Call<()> {
        let caught_up = self.backlog.caught_up();
        self.handle.call(|_| async move {
            caught_up.await;
            Ok(())
        })
    }

    /// Has the records that wait taken, one after the other, until there are none; unless somebody is at it.
    fn move_backlog(&self, mut waiting: MutexGuard<'_, Waiting>) {
        if waiting.records.is_empty() || std::mem::replace(&mut waiting.is_moving, true) {
            return;
        }
        drop(waiting);
        let (backlog, last, max_block) = (self.backlog.clone(), self.backlog.clone(), self.max_block);
        let moving = self.handle.call(move |client| async move {
            while let Some(Waits { record, wanted, since }) = backlog.next() {
                let client = match client.get() {
                    Ok(client) => client,
                    Err(error) => {
                        backlog.refuse(wanted, &error);
                        return Err(error);
                    }
                };
                let record = record.borrow();
                // Its time began with the call: those behind one that waited in vain do not wait as long again.
                let in_time = since.elapsed() < max_block;
                let token = match wanted {
                    Wanted::Nothing => None,
                    Wanted::Token(token) => Some(token),
                    Wanted::Delivery(waits) => {
                        hand_over(&backlog, client, record, in_time, waits).await;
                        continue;
                    }
                };
                let sent = match token {
                    Some(token) if in_time => {
                        backlog.unless_closed(client.send_with_token(record, token)).await
                    }
                    None if in_time => backlog.unless_closed(client.send_and_forget(record)).await,
                    token => append(client, &record, token).map_err(Into::into),
                };
                if let Err(error) = sent {
                    backlog.refuse(token.into(), &error);
                }
            }
            Ok(())
        });
        // A client that is gone, or has panicked, takes none of the rest.
        moving.start(move |ended| {
            let Err(error) = ended else { return };
            while let Some(Waits { wanted, .. }) = last.next() {
                last.refuse(wanted, &error);
            }
        });
    }

    /// Waits, up to `max.block.ms`, until a record of so many bytes, key, value and headers together, may be taken: its topic
    /// is known and there is room.
    pub fn ready(&self, topic: impl Into<String>, record_bytes: usize) -> Call<()> {
        let topic = topic.into();
        self.handle.call(move |client| async move {
            client.get()?.ready_for(&topic, record_bytes).await.map_err(Into::into)
        })
    }

    /// A number for a topic, by which packed records name it; the same for the same name.
    pub fn intern(&self, topic: &str) -> u32 {
        let find = |topics: &[Arc<str>]| topics.iter().position(|known| **known == *topic);
        let found = find(&self.topics.read().unwrap_or_else(PoisonError::into_inner));
        let at = found.unwrap_or_else(|| {
            let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
            find(&topics).unwrap_or_else(|| {
                topics.push(topic.into());
                topics.len() - 1
            })
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// Takes records that lie in one buffer, in one crossing: [`packed`] says how they lie there. Their tokens count up from
    /// `first_token`.
    ///
    /// Ends early only where there is no room: what is left can be sent again, once [`Self::ready`] says so. A record that can
    /// never be taken counts as taken and is named in [`Packed::rejected`]; no delivery tells of it.
    pub fn send_packed(&self, data: &[u8], table: &[u32], first_token: Option<u64>) -> Result<Packed> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        self.handle.with(|client| {
            packed::send(data, table, first_token, &topics, |record, token| append(client, record, token))
        })
    }

    /// Sends all that was taken, or waits for its turn, without further linger; done when each of it is acknowledged or has
    /// failed.
    pub fn flush(&self) -> Call<()> {
        let caught_up = self.backlog.caught_up();
        self.handle.call(|client| async move {
            caught_up.await;
            client.get()?.flush().await.map_err(Into::into)
        })
    }

    /// Takes no more records, sends what was taken, and ends. What is not acknowledged within `timeout` fails, and then so does
    /// this. What still waits for its turn is not taken any more: wait for [`Self::caught_up`] first. Closing again does nothing.
    pub fn close(&self, timeout: Duration) -> Call<()> {
        let backlog = self.backlog.clone();
        self.handle.call(move |client| async move {
            backlog.close();
            client.get()?.close(timeout).await.map_err(Into::into)
        })
    }

    /// How many partitions a topic has; waits up to `max.block.ms` for it to be known.
    pub fn partition_count(&self, topic: impl Into<String>) -> Call<usize> {
        let topic = topic.into();
        self.handle.call(move |client| async move {
            client.get()?.partition_count(&topic).await.map_err(Into::into)
        })
    }

    /// What it has counted.
    pub fn metrics(&self) -> Result<ProducerMetrics> {
        Ok(self.handle.client()?.metrics())
    }
}

/// The records of [`Producer::send_in_turn`] that wait.
#[derive(Debug, Default)]
struct Backlog(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    records: VecDeque<Waits>,
    /// Somebody takes them; the one in hand is not among them any more.
    is_moving: bool,
    /// How many have ever waited, and how many of these were taken or refused.
    came: u64,
    went: u64,
    /// Who waits for some to have gone.
    wakers: Vec<Waker>,
    /// None is taken any more; and who takes the one in hand, to be told of that.
    is_closed: bool,
    mover: Option<Waker>,
    refused: Option<Arc<dyn Fn(u64, BindingError) + Send + Sync>>,
}

/// A record that waits.
struct Waits {
    record: OwnedRecord,
    wanted: Wanted,
    since: Instant,
}

/// How the outcome of a record that waits is to be told.
#[derive(Debug)]
enum Wanted {
    Nothing,
    Token(u64),
    /// To who waits for it; who has given up meanwhile is no receiver any more.
    Delivery(oneshot::Sender<Result<Delivery>>),
}

impl From<Option<u64>> for Wanted {
    fn from(token: Option<u64>) -> Self {
        token.map_or(Self::Nothing, Self::Token)
    }
}

/// A record whose outcome is awaited.
enum Taken {
    Now(Delivery),
    InTurn(oneshot::Receiver<Result<Delivery>>),
}

/// Has the client take a record whose turn it is, unless nobody waits for it any more.
async fn hand_over(
    backlog: &Backlog,
    client: &core::Producer,
    record: Record<'_>,
    in_time: bool,
    mut waits: oneshot::Sender<Result<Delivery>>,
) {
    let taking = async {
        match in_time {
            true => backlog.unless_closed(client.send(record)).await,
            false => client.try_send_awaited(&record).map_err(Into::into),
        }
    };
    let mut taking = pin!(taking);
    let taken = poll_fn(|context| match waits.poll_canceled(context) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => taking.as_mut().poll(context).map(Some),
    });
    if let Some(taken) = taken.await {
        drop(waits.send(taken));
    }
}

impl Waiting {
    /// Has the client take a record; if others wait, or there is no room, it waits.
    fn take(&mut self, client: &core::Producer, record: &Record<'_>, token: Option<u64>) -> core::Result<()> {
        if self.count() == 0 {
            match append(client, record, token) {
                Err(error) if error.kind() == ErrorKind::BufferFull => {}
                sent => return sent,
            }
        }
        self.wait(OwnedRecord::from(record), token.into());
        Ok(())
    }

    /// As [`Self::take`], of a record whose outcome is awaited.
    fn take_awaited(&mut self, client: &core::Producer, record: OwnedRecord) -> core::Result<Taken> {
        if self.count() == 0 {
            match client.try_send_awaited(&record.borrow()) {
                Err(error) if error.kind() == ErrorKind::BufferFull => {}
                sent => return sent.map(Taken::Now),
            }
        }
        let (giver, turn) = oneshot::channel();
        self.wait(record, Wanted::Delivery(giver));
        Ok(Taken::InTurn(turn))
    }

    fn wait(&mut self, record: OwnedRecord, wanted: Wanted) {
        self.came += 1;
        self.records.push_back(Waits { record, wanted, since: Instant::now() });
    }

    /// How many wait, the one in hand among them.
    fn count(&self) -> usize {
        self.records.len() + usize::from(self.is_moving)
    }
}

impl Backlog {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next; without one, nobody takes them any more. The one before it is done with.
    fn next(&self) -> Option<Waits> {
        let mut waiting = self.lock();
        let next = waiting.records.pop_front();
        waiting.is_moving = next.is_some();
        waiting.went = waiting.came - waiting.count() as u64;
        let wakers = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        wakers.into_iter().for_each(Waker::wake);
        next
    }

    fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        let mover = waiting.mover.take();
        drop(waiting);
        mover.into_iter().for_each(Waker::wake);
    }

    /// Takes one; given up when the producer is closed.
    async fn unless_closed<T>(&self, taking: impl Future<Output = core::Result<T>>) -> Result<T> {
        let mut taking = pin!(taking);
        poll_fn(|context| {
            if let Poll::Ready(taken) = taking.as_mut().poll(context) {
                return Poll::Ready(taken.map_err(Into::into));
            }
            let mut waiting = self.lock();
            if waiting.is_closed {
                return Poll::Ready(Err(BindingError::closed()));
            }
            waiting.mover = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Ready when those that wait now have gone.
    fn caught_up(self: &Arc<Self>) -> impl Future<Output = ()> + Send + 'static {
        let (backlog, mark) = (self.clone(), self.lock().came);
        poll_fn(move |context| {
            let mut waiting = backlog.lock();
            if waiting.went >= mark {
                return Poll::Ready(());
            }
            waiting.wakers.push(context.waker().clone());
            Poll::Pending
        })
    }

    fn refuse(&self, wanted: Wanted, error: &BindingError) {
        let token = match wanted {
            Wanted::Token(token) => token,
            // Who has given up hears nothing.
            Wanted::Delivery(waits) => return drop(waits.send(Err(error.clone()))),
            Wanted::Nothing => {
                return tracing::warn!("a record that nobody asks about was not taken: {error}");
            }
        };
        // Called without the lock: it may push to a queue.
        let refused = self.lock().refused.clone();
        if let Some(refused) = refused {
            refused(token, error.clone());
        }
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("records", &self.records.len()).finish_non_exhaustive()
    }
}

/// A record with its own bytes, for one that has to wait.
#[derive(Clone, Debug, Default)]
pub struct OwnedRecord {
    /// The topic.
    pub topic: String,
    /// The partition; `None` leaves it to the partitioner.
    pub partition: Option<i32>,
    /// Milliseconds since the epoch; `None` for now.
    pub timestamp: Option<i64>,
    /// The key; `None` for null.
    pub key: Option<Vec<u8>>,
    /// The value; `None` for null.
    pub value: Option<Vec<u8>>,
    /// Names and values, in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl OwnedRecord {
    /// The record.
    pub fn borrow(&self) -> Record<'_> {
        Record {
            topic: &self.topic,
            partition: self.partition,
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: self.headers.iter().map(|(name, value)| Header::new(name, value.as_deref())).collect(),
        }
    }
}

impl From<&Record<'_>> for OwnedRecord {
    fn from(record: &Record<'_>) -> Self {
        let owned = |header: &Header<'_>| (header.name().into_owned(), header.value.map(<[u8]>::to_vec));
        Self {
            topic: record.topic.to_owned(),
            partition: record.partition,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.iter().map(owned).collect(),
        }
    }
}

#[inline]
fn append(client: &core::Producer, record: &Record<'_>, token: Option<u64>) -> core::Result<()> {
    match token {
        Some(token) => client.try_send(record, token),
        None => client.try_send_and_forget(record),
    }
}

fn client(config: ProducerConfig, tokens: Option<TokenRequests>) -> Result<core::Producer> {
    Ok(match tokens {
        Some(tokens) => core::Producer::with_tokens(config, tokens)?,
        None => core::Producer::new(config)?,
    })
}
