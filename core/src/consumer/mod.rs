//! Reading records: of partitions that are assigned, or that a group gives.
//!
//! The way of a record: a broker's answer → `fetcher` → `offsets`, which leaves out what is not to be seen →
//! `subscription`, where batches wait as they came → [`Consumer::next_batch`], on the program's thread, which checks
//! and inflates one → [`Batch`], whose records are decoded when they are looked at.

mod assignor;
mod batch;
mod fetch_session;
mod fetcher;
mod group;
mod membership;
mod offsets;
mod subscription;
mod truncation;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ottla_protocol::{
    compression::{Decompressor, Limits},
    record::{AnyBatch, Position, Records},
    types::BrokerId,
};
use tokio::time::Instant;

pub use self::{
    batch::{Batch, BatchIter, BatchPlace, RecordView},
    group::{Commit, Event, Events, Health, Rebalance, RebalanceKind, Rebalances, Stalled, WaitsFor},
    subscription::Watermarks,
    truncation::LogTruncation,
};
use self::{
    fetcher::{FetchSettings, Fetcher, Shared, Wake},
    group::Group,
    offsets::reset_to,
    subscription::{Fetched, Subscription, Taken},
    truncation::Reached,
};
use crate::{
    cluster::{
        Cluster, ClusterSettings, ListedOffset, OffsetAndMetadata, OffsetSpec, TokenProvider, TopicPartition,
        list_offsets::list_offsets, retry::Backoff, runtime::Runtime, tokens::AnyProvider,
    },
    config::{ClientConfig, ConsumerConfig, IsolationLevel},
    error::{Error, ErrorKind, Result},
    metrics::{BrokerMetrics, ConsumerMetrics},
};

/// Longest time that closing takes, whatever it is given.
const CLOSE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Longest time for which a consumer that was dropped goes on to leave its group.
const DROP_MAX: Duration = Duration::from_secs(10);

/// Reads partitions that are assigned to it, or that its group gives it. Shared by reference, from any thread and any
/// runtime; its I/O is done on a thread of its own, ahead of the program, within `ottla.prefetch.max.bytes`.
///
/// With a `group.id` and [`Self::subscribe`], it shares topics with the other members of the group, and goes on where the
/// group has committed. Heartbeats are none of the program's business; but a program that does not ask for records for
/// `max.poll.interval.ms` is out, and is told so by [`ErrorKind::MaxPollExceeded`].
///
/// What is committed is what the program is *done* with: a batch, when it asks for the next one or closes the consumer. That
/// goes by itself unless `enable.auto.commit` says otherwise. Programs that take batches on several threads cannot mean
/// it that way, and commit themselves. Close a consumer to have the last of it committed and its partitions given to others
/// at once; one that is dropped leaves its group in the background, as long as the program runs.
///
/// ```no_run
/// use ottla::{Consumer, config::ConsumerConfig};
///
/// # async fn run() -> ottla::Result<()> {
/// let consumer = Consumer::new(ConsumerConfig {
///     bootstrap_servers: vec!["localhost:9092".into()],
///     group_id: Some("billing".into()),
///     ..Default::default()
/// })?;
/// consumer.subscribe(["orders"])?;
/// loop {
///     let batch = consumer.next_batch(1_000).await?;
///     for record in &batch {
///         println!("{:?}", record?.value());
///     }
/// }
/// # }
/// ```
///
/// Or without a group:
///
/// ```no_run
/// use ottla::{Consumer, TopicPartition, config::{ConsumerConfig, OffsetReset}};
///
/// # async fn run() -> ottla::Result<()> {
/// let consumer = Consumer::new(ConsumerConfig {
///     bootstrap_servers: vec!["localhost:9092".into()],
///     auto_offset_reset: OffsetReset::Earliest,
///     ..Default::default()
/// })?;
/// consumer.assign([TopicPartition::new("orders", 0)])?;
/// loop {
///     let batch = consumer.next_batch(1_000).await?;
///     for record in &batch {
///         println!("{:?}", record?.value());
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
    cluster: Arc<Cluster>,
    group: Option<Arc<Group>>,
    exclude_internal_topics: bool,
    /// Closing has begun.
    closed: AtomicBool,
    /// Closing is over, or was given up: what is committed from now on comes too late.
    ended: AtomicBool,
    check_crcs: bool,
    isolation: IsolationLevel,
    api_timeout: Duration,
    /// Kept from one batch to the next: its contexts are costly to make.
    decompressor: Mutex<Option<Decompressor>>,
    /// Where the program is told of rebalances.
    listening: Mutex<Option<Runtime>>,
    runtime: Runtime,
}

impl Consumer {
    /// Checks `config` and starts. Connections are made when they are needed, in the background.
    pub fn new(config: ConsumerConfig) -> Result<Self> {
        Self::start(config, None)
    }

    /// As [`Self::new`], for `sasl.mechanism=OAUTHBEARER` with tokens that the program gets itself. With another mechanism, or
    /// none, it is not asked.
    pub fn with_tokens(config: ConsumerConfig, tokens: impl TokenProvider) -> Result<Self> {
        Self::start(config, Some(AnyProvider::new(tokens)))
    }

    fn start(config: ConsumerConfig, tokens: Option<AnyProvider>) -> Result<Self> {
        config.validate()?;
        let cluster = Cluster::new(ClusterSettings {
            client: ClientConfig::from(&config),
            metadata_max_idle: Duration::from_secs(300),
            allow_auto_topic_creation: config.allow_auto_create_topics,
            tokens,
        })?;
        let budget_bytes = usize::try_from(config.prefetch_max_bytes).unwrap_or(usize::MAX);
        let backoff = Backoff { first: config.retry_backoff, most: config.retry_backoff_max };
        let subscription = Subscription::new(
            reset_to(config.auto_offset_reset),
            budget_bytes,
            backoff,
            fastrand::Rng::new(),
        );
        let is_in_group = config.group_id.is_some();
        let subscription = if is_in_group { subscription.in_group() } else { subscription };
        let shared = Arc::new(Shared::new(subscription));
        let group = Group::new(&config, &cluster, &shared)?.map(Arc::new);
        let settings = FetchSettings {
            bytes_max: config.fetch_max_bytes,
            partition_bytes_max: config.max_partition_fetch_bytes,
            bytes_min: config.fetch_min_bytes,
            wait_max: config.fetch_max_wait,
            isolation: config.isolation_level,
            rack: config.client_rack.as_str().into(),
            api_timeout: config.default_api_timeout,
        };
        let runtime = Runtime::start("ottla-consumer")?;
        runtime.spawn(cluster.clone().keep_metadata());
        let offsets = group.as_ref().map(|group| group.offsets.clone());
        runtime.spawn(Fetcher::new(cluster.clone(), shared.clone(), settings, offsets).run());
        if let Some(group) = &group {
            group.start(&runtime);
        }
        Ok(Self {
            shared,
            cluster,
            group,
            exclude_internal_topics: config.exclude_internal_topics,
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            check_crcs: config.check_crcs,
            isolation: config.isolation_level,
            api_timeout: config.default_api_timeout,
            decompressor: Mutex::default(),
            listening: Mutex::default(),
            runtime,
        })
    }

    /// Reads these partitions and no others. Those read before go on where they are; new ones begin where they are
    /// sought to, or where `group.id` has committed, or where `auto.offset.reset` says.
    ///
    /// Fails while topics are subscribed to.
    pub fn assign(&self, partitions: impl IntoIterator<Item = TopicPartition>) -> Result<()> {
        self.commit_before_change();
        let assigned = self.shared.lock().assign(partitions);
        self.shared.changed.notify_one();
        assigned
    }

    /// What is assigned, in no order.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.shared.lock().assignment().cloned().collect()
    }

    /// Goes to an offset; what was fetched from elsewhere is dropped. With an offset that has a leader epoch, as programs keep
    /// them that store offsets by themselves, it is found out whether the log is still the one that was read (KIP-320).
    pub fn seek(&self, partition: &TopicPartition, offset: impl Into<OffsetAndMetadata>) -> Result<()> {
        let sought = self.shared.lock().seek(partition, Reached::from(offset.into()));
        self.shared.changed.notify_one();
        sought
    }

    /// Goes to the first record, or behind the last, or to the first of a timestamp; found out in the background.
    pub fn seek_to(&self, partition: &TopicPartition, spec: OffsetSpec) -> Result<()> {
        let sought = self.shared.lock().seek_to(partition, spec);
        self.shared.changed.notify_one();
        sought
    }

    /// Holds partitions: nothing of them is handed out, and no more fetched. What is buffered stays.
    pub fn pause<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<()> {
        let mut subscription = self.shared.lock();
        partitions.into_iter().try_for_each(|tp| subscription.set_paused(tp, true))
    }

    /// Lets partitions that are held go on.
    pub fn resume<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<()> {
        let mut subscription = self.shared.lock();
        let resumed = partitions.into_iter().try_for_each(|tp| subscription.set_paused(tp, false));
        drop(subscription);
        self.shared.changed.notify_one();
        // What they have buffered may be what somebody waits for.
        self.shared.arrived.notify_waiters();
        self.shared.arrived.notify_one();
        resumed
    }

    /// The partitions that are held.
    pub fn paused(&self) -> Vec<TopicPartition> {
        self.shared.lock().paused().cloned().collect()
    }

    /// Offset of the next record to be handed out; `None` as long as it is being looked for.
    pub fn position(&self, partition: &TopicPartition) -> Result<Option<i64>> {
        self.shared.lock().position(partition)
    }

    /// Between which offsets the partition could be read at its last fetch; `None` before the first.
    pub fn watermarks(&self, partition: &TopicPartition) -> Option<Watermarks> {
        self.shared.lock().watermarks(partition)
    }

    /// The next records of one of the partitions, in turn, at most `max` of them. Waits until there are some.
    ///
    /// An error concerns one partition, which it names, and is given once; the others go on. Dropping the future loses
    /// nothing.
    pub async fn next_batch(&self, max: usize) -> Result<Batch> {
        // Whoever waits for records makes progress.
        let _waiting = self.group.as_ref().map(|group| group.progress.wait());
        loop {
            // Registered before looking: what comes in between is not missed.
            let arrived = self.shared.arrived.notified();
            if let Some(batch) = self.try_next_batch(max) {
                return batch;
            }
            arrived.await;
        }
    }

    /// As [`Self::next_batch`], or `None` if nothing is there yet. A program that calls only this calls it again within
    /// `max.poll.interval.ms`.
    pub fn try_next_batch(&self, max: usize) -> Option<Result<Batch>> {
        if let Some(error) = self.ask() {
            return Some(Err(error));
        }
        loop {
            let taken = self.shared.lock().take()?;
            let taken = match taken {
                Ok(taken) => taken,
                Err(error) => return Some(Err(error)),
            };
            let opened = self.open(&taken, max.max(1));
            // Room is made also where nothing is handed out.
            let settled = self.settle(taken, opened);
            self.shared.changed.notify_one();
            if settled.is_some() {
                return settled;
            }
        }
    }

    /// Waits until [`Self::try_next_batch`], or [`Rebalances::try_next`], may have something; now and then it has nothing after
    /// all. Whoever waits makes progress. The future does not keep the consumer.
    pub fn ready(&self) -> impl Future<Output = ()> + Send + use<> {
        let (shared, group) = (self.shared.clone(), self.group.clone());
        async move {
            let _waiting = group.as_ref().map(|group| group.progress.wait());
            shared.arrived.notified().await;
        }
    }

    /// As [`Self::ready`], for at most `timeout`, of this client's clock; says whether the wait was worth it. For programs without
    /// a runtime that has timers. Dropping the future loses nothing.
    pub async fn ready_within(&self, timeout: Duration) -> Result<bool> {
        let ready = self.ready();
        self.runtime.run(async move { Ok(tokio::time::timeout(timeout, ready).await.is_ok()) }).await
    }

    /// Has `wake` called when batches, errors, or rebalances have come. It runs on the I/O thread and must not block.
    pub fn on_batches(&self, wake: impl Fn() + Send + Sync + 'static) {
        let wake = Wake(Arc::new(wake));
        *self.shared.wake.lock().unwrap_or_else(PoisonError::into_inner) = Some(wake);
    }

    /// The first offsets that are still there.
    pub async fn beginning_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, i64>> {
        let listed = self.list(partitions.iter().map(|tp| (tp.clone(), OffsetSpec::Earliest))).await?;
        Ok(listed.into_iter().filter_map(|(tp, listed)| Some((tp, listed.offset?))).collect())
    }

    /// The offsets behind the last records; under `read_committed`, behind the last that can be read.
    pub async fn end_offsets(&self, partitions: &[TopicPartition]) -> Result<HashMap<TopicPartition, i64>> {
        let listed = self.list(partitions.iter().map(|tp| (tp.clone(), OffsetSpec::Latest))).await?;
        Ok(listed.into_iter().filter_map(|(tp, listed)| Some((tp, listed.offset?))).collect())
    }

    /// The first records of these timestamps, in milliseconds since the epoch, or later ones; partitions without one
    /// are left out.
    pub async fn offsets_for_times(
        &self,
        times: impl IntoIterator<Item = (TopicPartition, i64)>,
    ) -> Result<HashMap<TopicPartition, ListedOffset>> {
        let wanted = times.into_iter().map(|(tp, ms)| (tp, OffsetSpec::Timestamp(ms)));
        let listed = self.list(wanted).await?;
        Ok(listed.into_iter().filter(|(_, listed)| listed.offset.is_some()).collect())
    }

    /// Runs a future on this client's I/O thread, for programs that have no runtime of their own. It must not block, and is
    /// dropped if the client is before it ends.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.spawn(future));
    }

    /// What this consumer has counted.
    pub fn metrics(&self) -> ConsumerMetrics {
        let counters = &self.shared.counters;
        let now = std::time::Instant::now();
        let group = self.group.as_deref();
        let pulse = group.map(|group| &*group.pulse);
        let seconds = |ago: Option<Duration>| ago.map(|ago| ago.as_secs_f64());
        let subscription = self.shared.lock();
        let prefetch_used_bytes = subscription.used_bytes() as u64;
        let assigned_partitions = subscription.assignment().count() as u64;
        let records_lag_max = subscription.lag_max();
        drop(subscription);
        ConsumerMetrics {
            records_consumed_total: counters.records_consumed.get(),
            batches_consumed_total: counters.batches_consumed.get(),
            bytes_consumed_total: counters.batch_bytes_received.get(),
            fetch_total: counters.requests_sent.get(),
            fetch_planned_total: counters.requests_planned.get(),
            fetch_latency_avg: counters.fetches.average_ms(),
            fetch_latency_max: counters.fetches.max_ms(),
            fetch_throttle_time_total: counters.throttles.total_ms(),
            fetch_throttle_time_avg: counters.throttles.average_ms(),
            fetch_throttle_time_max: counters.throttles.max_ms(),
            metadata_request_total: self.cluster.metadata_requests(),
            prefetch_used_bytes,
            records_lag_max,
            assigned_partitions,
            commit_total: pulse.map_or(0, |pulse| pulse.commits.count()),
            commit_latency_avg: pulse.and_then(|pulse| pulse.commits.average_ms()),
            commit_latency_max: pulse.and_then(|pulse| pulse.commits.max_ms()),
            heartbeat_total: pulse.map_or(0, |pulse| pulse.heartbeats.count()),
            heartbeat_response_time_max: pulse.and_then(|pulse| pulse.heartbeats.max_ms()),
            last_heartbeat_seconds_ago: seconds(pulse.and_then(|pulse| pulse.heartbeat.ago(now))),
            rebalance_total: pulse.map_or(0, |pulse| pulse.rebalances.get()),
            last_rebalance_seconds_ago: seconds(pulse.and_then(|pulse| pulse.rebalance.ago(now))),
            last_poll_seconds_ago: seconds(group.map(|group| group.health().poll)),
        }
    }

    /// How many records the broker has behind the position, as of the partition's last fetch; under `read_committed`, those that
    /// can be read. `None` before the first fetch, and while the position is looked for.
    pub fn lag(&self, partition: &TopicPartition) -> Result<Option<u64>> {
        self.shared.lock().lag(partition)
    }

    /// The lag of all assigned partitions of which it is known.
    pub fn lags(&self) -> HashMap<TopicPartition, u64> {
        let readings = self.shared.lock().readings();
        readings.into_iter().map(|reading| (reading.partition, reading.lag)).collect()
    }

    /// What this consumer has counted of each broker that it fetched from: leaders, and replicas nearby (`client.rack`).
    pub fn broker_metrics(&self) -> BTreeMap<BrokerId, BrokerMetrics> {
        self.shared.counters.of_brokers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leaves the group, with what the program is done with committed, and ends: whoever waits for a batch gets an error of
    /// [`ErrorKind::Closed`]. What is not done within `timeout` is left to the group to find out; then the call fails.
    /// Until it is over the program can commit: its partitions' last rebalance is told meanwhile. Closing again does nothing.
    pub async fn close(&self, timeout: Duration) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let _ended = Ended(&self.ended);
        self.shared.tell();
        let Some(group) = self.group.clone() else { return Ok(()) };
        self.finish();
        self.runtime
            .run(async move {
                let late = |_| {
                    let text = format!("the group was not left within {} ms", timeout.as_millis());
                    Error::new(ErrorKind::Timeout, text)
                };
                tokio::time::timeout(timeout.min(CLOSE_MAX), group.close()).await.map_err(late)?
            })
            .await
    }

    async fn list(
        &self,
        wanted: impl Iterator<Item = (TopicPartition, OffsetSpec)>,
    ) -> Result<Vec<(TopicPartition, ListedOffset)>> {
        let (cluster, isolation) = (self.cluster.clone(), self.isolation);
        let deadline = Instant::now() + self.api_timeout;
        let wanted = wanted.collect();
        self.runtime
            .run(async move {
                let listed = list_offsets(&cluster, wanted, isolation, deadline).await;
                listed.into_iter().map(|(tp, listed)| Ok((tp, listed?))).collect()
            })
            .await
    }

    /// Checks and inflates a batch; gives what of it is handed out now, and what is left.
    fn open(&self, taken: &Taken, max: usize) -> Result<Opened> {
        let Fetched { batch, from, .. } = &taken.fetched;
        let unreadable = |error: ottla_protocol::record::BatchError| {
            let text = format!("the batch at offset {from} of `{}` cannot be read: {error}", taken.partition);
            Error::new(ErrorKind::Corrupt, text).caused_by(error).hint("seek past it to go on")
        };
        if self.check_crcs {
            batch.check_crc().map_err(unreadable)?;
        }
        let spare = || self.decompressor.lock().unwrap_or_else(PoisonError::into_inner);
        let mut decompressor = spare().take().unwrap_or_default();
        let records = batch.records(&mut decompressor, &Limits::CLIENT);
        *spare() = Some(decompressor);
        let records = records.map_err(unreadable)?;
        Opened::new(batch, records, *from, max).map_err(unreadable)
    }

    fn settle(&self, taken: Taken, opened: Result<Opened>) -> Option<Result<Batch>> {
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // The position stays: the program seeks past the batch, or stops. Until then the partition is held up.
                let rest = taken.fetched.clone();
                let mut subscription = self.shared.lock();
                let current = subscription.settle(&taken, Some(rest), false);
                return current.then_some(Err(error));
            }
        };
        let mut next_offset = taken.fetched.next;
        let rest = opened.rest.map(|from| {
            next_offset = from;
            Fetched { from, ..taken.fetched.clone() }
        });
        let current = self.shared.lock().settle(&taken, rest, opened.count > 0);
        if !current || opened.count == 0 {
            return None;
        }
        self.shared.counters.records_consumed.add(opened.count as u64);
        self.shared.counters.batches_consumed.add(1);
        Some(Ok(Batch {
            topic: taken.partition.topic,
            partition: taken.partition.partition,
            records: opened.records,
            start: opened.start,
            count: opened.count,
            next_offset,
            watermarks: taken.watermarks,
            leader_epoch: taken.fetched.batch.leader_epoch().unwrap_or(-1),
            tenure: taken.tenure,
        }))
    }
}

/// Says so when closing is over, or given up.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(group) = self.group.take() {
            self.shared.lock().abandon();
            self.shared.asked.notify_waiters();
            // What comes of it, nobody is there to hear.
            self.runtime.outlive(async move { _ = tokio::time::timeout(DROP_MAX, group.close()).await });
        }
    }
}

/// A batch's records, and which of them are handed out.
#[derive(Debug)]
struct Opened {
    records: Records,
    start: Position,
    count: usize,
    /// Offset of the first record that is left for the next time.
    rest: Option<i64>,
}

impl Opened {
    /// The records of `batch` from offset `from` on, at most `max`.
    fn new(
        batch: &AnyBatch,
        records: Records,
        from: i64,
        max: usize,
    ) -> Result<Self, ottla_protocol::record::BatchError> {
        if let AnyBatch::Batch(batch) = batch {
            let header = batch.header();
            let count = usize::try_from(header.record_count).unwrap_or(0);
            if header.base_offset >= from && count <= max {
                // The usual case: all of it, and nobody has to look where records begin.
                return Ok(Self { records, start: Position::default(), count, rest: None });
            }
        }
        let mut iter = records.iter();
        let mut start = iter.position();
        let mut count = 0;
        let mut rest = None;
        loop {
            let before = iter.position();
            let Some(record) = iter.next().transpose()? else { break };
            if record.offset < from {
                start = iter.position();
            } else if count == max {
                rest = Some(record.offset);
                break;
            } else {
                if count == 0 {
                    start = before;
                }
                count += 1;
            }
        }
        Ok(Self { records, start, count, rest })
    }
}
