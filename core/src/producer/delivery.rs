//! What becomes of a record: as a future for each record, or as reports that are drained in batches.
//!
//! Nothing is allocated for a record. Those who hold a [`Delivery`] share one [`Fate`] per batch and know their
//! index in it; a token and its index lie in one list per batch.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use ottla_protocol::types::TopicName;

use super::budget::Reservation;
use crate::error::{Error, Result};

/// Where a record was written.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordMetadata {
    /// The topic.
    pub topic: TopicName,
    /// The partition's index.
    pub partition: i32,
    /// The record's offset; -1 where the broker did not tell: with `acks=0`, or when it had written the batch
    /// long before it was asked again.
    pub offset: i64,
    /// The record's timestamp in milliseconds since the epoch: its own, or the time of the append where the topic
    /// has `message.timestamp.type=LogAppendTime`.
    pub timestamp: i64,
}

/// Gives the record's [`RecordMetadata`] once it is written, or why it is not.
///
/// Dropping it takes nothing back: the record is sent all the same.
#[derive(Debug)]
#[must_use = "the record is sent all the same, but nobody learns of a failure"]
pub struct Delivery {
    fate: Arc<Fate>,
    index: u32,
    /// Which of those that wait for this record it is.
    waiter: u32,
    timestamp: i64,
}

impl Delivery {
    pub(super) fn new(fate: Arc<Fate>, index: u32, timestamp: i64) -> Self {
        Self { fate, index, waiter: 0, timestamp }
    }

    /// Another one of the same record, for somebody else to await.
    pub fn again(&self) -> Self {
        let mut state = self.fate.lock();
        state.waiters = state.waiters.wrapping_add(1);
        let waiter = state.waiters;
        drop(state);
        Self { fate: Arc::clone(&self.fate), waiter, ..*self }
    }

    /// The topic of the record.
    pub fn topic(&self) -> &TopicName {
        &self.fate.topic
    }

    /// The partition that the record goes to.
    pub fn partition(&self) -> i32 {
        self.fate.partition
    }

    /// The outcome, if it is known already.
    pub fn now(&self) -> Option<Result<RecordMetadata>> {
        self.fate.lock().outcome(self.index).map(|outcome| self.read(&outcome))
    }

    fn read(&self, outcome: &Outcome) -> Result<RecordMetadata> {
        outcome.of_record(&self.fate.topic, self.fate.partition, self.index, self.timestamp)
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.fate.lock();
        if let Some(outcome) = state.outcome(self.index) {
            drop(state);
            return Poll::Ready(self.read(&outcome));
        }
        match state.wakers.get_mut(&(self.index, self.waiter)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                state.wakers.insert((self.index, self.waiter), cx.waker().clone());
            }
        }
        Poll::Pending
    }
}

/// What becomes of a batch's records. A batch that was split has several outcomes.
#[derive(Debug)]
pub(super) struct Fate {
    topic: TopicName,
    partition: i32,
    state: Mutex<FateState>,
}

#[derive(Debug, Default)]
struct FateState {
    outcomes: Vec<Outcome>,
    /// By index of the record and who waits for it: a future that is polled again takes its own place, not another.
    /// They are woken in the order of their records.
    wakers: BTreeMap<(u32, u32), Waker>,
    /// The last number given to one who waits beside the first.
    waiters: u32,
}

/// What became of some records that follow each other in a batch.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// Index of the first of them.
    pub first: u32,
    /// How many they are.
    pub count: u32,
    /// Where the first was written, or why none was.
    pub result: Result<Written>,
}

/// Where a batch was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Written {
    /// Offset of the first record; -1 if the broker did not tell.
    pub base_offset: i64,
    /// The time of the append, if that is the records' timestamp.
    pub log_append_time: Option<i64>,
}

impl Outcome {
    fn has(&self, index: u32) -> bool {
        index.checked_sub(self.first).is_some_and(|at| at < self.count)
    }

    pub(super) fn of_record(
        &self,
        topic: &TopicName,
        partition: i32,
        index: u32,
        timestamp: i64,
    ) -> Result<RecordMetadata> {
        let written = self.result.clone()?;
        let (offset, timestamp) = self.place(&written, index, timestamp);
        Ok(RecordMetadata { topic: topic.clone(), partition, offset, timestamp })
    }

    /// Offset and timestamp of a record.
    fn place(&self, written: &Written, index: u32, timestamp: i64) -> (i64, i64) {
        let offset = match written.base_offset {
            ..0 => -1,
            base => base.saturating_add(i64::from(index.saturating_sub(self.first))),
        };
        (offset, written.log_append_time.unwrap_or(timestamp))
    }
}

impl FateState {
    fn outcome(&self, index: u32) -> Option<Outcome> {
        self.outcomes.iter().find(|outcome| outcome.has(index)).cloned()
    }
}

impl Fate {
    pub(super) fn new(topic: TopicName, partition: i32) -> Self {
        Self { topic, partition, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, FateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait for these records.
    pub(super) fn resolve(&self, outcome: Outcome) {
        let mut state = self.lock();
        let mut woken: Vec<Waker> = Vec::new();
        state.wakers.retain(|&(index, _), waker| {
            let waits = !outcome.has(index);
            if !waits {
                woken.push(waker.clone());
            }
            waits
        });
        state.outcomes.push(outcome);
        drop(state);
        // Woken without the lock: a waker may run anything.
        woken.into_iter().for_each(Waker::wake);
    }
}

/// The outcome of one record that was sent with a token.
#[derive(Clone, Debug)]
pub struct Report {
    /// The caller's own name for the record.
    pub token: u64,
    /// Where it was written, or why it was not.
    pub result: Result<RecordMetadata, Error>,
}

/// A record's token, with what its report needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub index: u32,
    pub token: u64,
    pub timestamp: i64,
}

/// The outcomes of those records of one batch that were sent with a token. Nothing is copied or allocated for a record.
#[derive(Debug)]
pub struct ReportBatch {
    topic: TopicName,
    partition: i32,
    outcome: Outcome,
    tokens: Vec<Token>,
    /// The tokens' memory counts as the producer's until this is dropped.
    _memory: Option<Reservation>,
}

impl ReportBatch {
    /// The topic.
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The partition's index.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// How many records it tells of; at least one.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether it tells of none, which is never so.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Why none of them was written; `None` if all were.
    pub fn error(&self) -> Option<&Error> {
        self.outcome.result.as_ref().err()
    }

    /// The records in the order in which they were sent: of each its token, and where it was written.
    pub fn reports(&self) -> impl ExactSizeIterator<Item = TokenReport> + '_ {
        self.tokens.iter().map(|token| self.told(token))
    }

    /// The `index`-th of [`Self::reports`].
    pub fn report(&self, index: usize) -> Option<TokenReport> {
        self.tokens.get(index).map(|token| self.told(token))
    }

    #[inline]
    fn told(&self, token: &Token) -> TokenReport {
        let (offset, timestamp) = match &self.outcome.result {
            Ok(written) => self.outcome.place(written, token.index, token.timestamp),
            Err(_) => (-1, token.timestamp),
        };
        TokenReport { token: token.token, offset, timestamp }
    }
}

/// One record of a [`ReportBatch`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenReport {
    /// The caller's own name for the record.
    pub token: u64,
    /// Its offset; -1 where it was not written, or the broker did not tell.
    pub offset: i64,
    /// Its timestamp in milliseconds since the epoch; see [`RecordMetadata::timestamp`].
    pub timestamp: i64,
}

type WakeFn = Box<dyn Fn() + Send + Sync>;

/// The reports that nobody has drained yet.
#[derive(Default)]
pub(super) struct Reports {
    queue: Mutex<Vec<ReportBatch>>,
    /// Called when the first report came into an empty queue.
    wake: Mutex<Option<Arc<WakeFn>>>,
}

impl Reports {
    /// Sets what is called when reports wait; it must not block.
    pub(super) fn on_ready(&self, wake: WakeFn) {
        *self.wake.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(wake));
    }

    pub(super) fn push(
        &self,
        topic: TopicName,
        partition: i32,
        outcome: Outcome,
        tokens: Vec<Token>,
        memory: Option<Reservation>,
    ) {
        if tokens.is_empty() {
            return;
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let first = queue.is_empty();
        queue.push(ReportBatch { topic, partition, outcome, tokens, _memory: memory });
        drop(queue);
        if first {
            let wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(wake) = wake {
                wake();
            }
        }
    }

    /// All reports, batch by batch, in the order in which the outcomes came.
    pub(super) fn take(&self) -> Vec<ReportBatch> {
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Moves all reports to the end of `reports`; answers how many there were.
    pub(super) fn drain(&self, reports: &mut Vec<Report>) -> usize {
        let batches = self.take();
        let before = reports.len();
        reports.reserve(batches.iter().map(|batch| batch.tokens.len()).sum());
        for ReportBatch { topic, partition, outcome, tokens, .. } in batches {
            reports.extend(tokens.iter().map(|token| Report {
                token: token.token,
                result: outcome.of_record(&topic, partition, token.index, token.timestamp),
            }));
        }
        reports.len() - before
    }
}

impl std::fmt::Debug for Reports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reports").field("queue", &self.queue).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::ErrorKind;

    fn fate() -> Arc<Fate> {
        Arc::new(Fate::new(TopicName::from("orders"), 3))
    }

    fn written(first: u32, count: u32, base_offset: i64) -> Outcome {
        Outcome { first, count, result: Ok(Written { base_offset, log_append_time: None }) }
    }

    struct CountingWaker(AtomicUsize);

    impl std::task::Wake for CountingWaker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_delivery_knows_its_record_of_the_batch() {
        let fate = fate();
        let delivery = Delivery::new(fate.clone(), 2, 77);
        assert!(delivery.now().is_none());
        fate.resolve(written(0, 5, 100));
        let metadata = delivery.now().unwrap().unwrap();
        assert_eq!((metadata.partition, metadata.offset, metadata.timestamp), (3, 102, 77));
    }

    #[test]
    fn a_split_batch_resolves_part_by_part() {
        let fate = fate();
        let early = Delivery::new(fate.clone(), 1, 0);
        let late = Delivery::new(fate.clone(), 2, 0);
        fate.resolve(Outcome { first: 2, count: 2, result: Err(Error::new(ErrorKind::Timeout, "t")) });
        assert!(early.now().is_none());
        assert_eq!(late.now().unwrap().unwrap_err().kind(), ErrorKind::Timeout);
        fate.resolve(written(0, 2, 40));
        assert_eq!(early.now().unwrap().unwrap().offset, 41);
    }

    #[test]
    fn only_those_concerned_are_woken_and_each_once() {
        let fate = fate();
        let counter = Arc::new(CountingWaker(AtomicUsize::new(0)));
        let waker = Waker::from(counter.clone());
        let mut cx = Context::from_waker(&waker);
        let mut deliveries: Vec<_> = (0..4).map(|index| Delivery::new(fate.clone(), index, 0)).collect();
        for _ in 0..3 {
            for delivery in &mut deliveries {
                assert!(Pin::new(delivery).poll(&mut cx).is_pending());
            }
        }
        fate.resolve(written(0, 2, 0));
        assert_eq!(counter.0.load(Ordering::SeqCst), 2);
        drop(deliveries.pop());
        fate.resolve(written(2, 2, 0));
        assert_eq!(counter.0.load(Ordering::SeqCst), 4);
    }

    #[test]
    fn several_may_await_one_record() {
        let fate = fate();
        let counter = Arc::new(CountingWaker(AtomicUsize::new(0)));
        let waker = Waker::from(counter.clone());
        let mut cx = Context::from_waker(&waker);
        let mut first = Delivery::new(fate.clone(), 0, 0);
        let mut second = first.again();
        assert!(Pin::new(&mut first).poll(&mut cx).is_pending());
        assert!(Pin::new(&mut second).poll(&mut cx).is_pending());
        fate.resolve(written(0, 1, 7));
        assert_eq!(counter.0.load(Ordering::SeqCst), 2);
        assert!(Pin::new(&mut second).poll(&mut cx).is_ready());
    }

    #[test]
    fn an_offset_that_the_broker_did_not_tell_stays_unknown() {
        let fate = fate();
        fate.resolve(written(0, 3, -1));
        assert_eq!(Delivery::new(fate, 2, 0).now().unwrap().unwrap().offset, -1);
    }

    #[test]
    fn reports_wake_once_per_drain() {
        let reports = Reports::default();
        let woken = Arc::new(AtomicUsize::new(0));
        let counter = woken.clone();
        reports.on_ready(Box::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        }));
        let token = |index| Token { index, token: 1_000 + u64::from(index), timestamp: 5 };
        reports.push(TopicName::from("t"), 0, written(0, 2, 10), vec![token(0), token(1)], None);
        reports.push(TopicName::from("t"), 0, written(0, 1, 12), vec![token(0)], None);
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        let mut drained = Vec::new();
        assert_eq!(reports.drain(&mut drained), 3);
        let offsets: Vec<_> =
            drained.iter().map(|report| (report.token, report.result.as_ref().unwrap().offset)).collect();
        assert_eq!(offsets, [(1_000, 10), (1_001, 11), (1_000, 12)]);
        reports.push(TopicName::from("t"), 0, written(0, 1, 13), vec![token(0)], None);
        assert_eq!(woken.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_batch_of_reports_tells_the_same_without_copies() {
        let reports = Reports::default();
        let token = |index| Token { index, token: 7 + u64::from(index), timestamp: 5 };
        reports.push(TopicName::from("t"), 3, written(0, 2, 10), vec![token(0), token(1)], None);
        let failed = Outcome { first: 0, count: 1, result: Err(Error::new(ErrorKind::Timeout, "t")) };
        reports.push(TopicName::from("t"), 3, failed, vec![token(0)], None);
        let batches = reports.take();
        assert!(reports.take().is_empty());
        let told: Vec<_> = batches[0].reports().collect();
        assert_eq!((batches[0].topic().to_string(), batches[0].partition()), ("t".to_owned(), 3));
        let second = TokenReport { token: 8, offset: 11, timestamp: 5 };
        assert_eq!((told.len(), told[1], batches[0].report(1)), (2, second, Some(second)));
        assert!(batches[0].error().is_none());
        assert_eq!(batches[1].error().unwrap().kind(), ErrorKind::Timeout);
        assert_eq!(batches[1].report(0), Some(TokenReport { token: 7, offset: -1, timestamp: 5 }));
    }
}
