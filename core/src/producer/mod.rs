//! Sending records.
//!
//! The way of a record: [`Producer::send`] → `partitioner` → `accumulator`, which encodes it → `outbox`, which decides →
//! `sender`, which does the I/O → a connection → the broker's answer → [`Delivery`] or [`Report`].
//!
//! Compression and checksums are the sender's work, on the client's I/O thread: batches of one partition must be
//! numbered in their order before they are checksummed, and the caller's thread is never held up by a codec.

mod accumulator;
mod batch;
mod budget;
mod delivery;
mod idempotence;
mod outbox;
mod partitioner;
mod record;
mod sender;
#[cfg(test)]
mod simulation;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ottla_config::DURATION_MAX;
use ottla_protocol::{
    compression::{Codec, Compression as WireCompression},
    types::TopicName,
};
use tokio::sync::{mpsc, oneshot};

use self::{
    accumulator::{Accumulator, AccumulatorSettings, AppendError, Want},
    budget::Reservation,
    delivery::Reports,
    outbox::OutboxSettings,
    sender::{Command, Counters, Sender},
};
pub use self::{
    delivery::{Delivery, RecordMetadata, Report, ReportBatch, TokenReport},
    record::{Header, Record},
};
use crate::{
    cluster::{Cluster, ClusterSettings, TokenProvider, runtime::Runtime, tokens::AnyProvider},
    config::{Acks, ClientConfig, Compression, ProducerConfig},
    error::{Error, ErrorKind, Result},
    metrics::ProducerMetrics,
    time::Clock,
};

/// Sends records. Shared by reference, from any thread and any runtime; its I/O is done on a thread of its own.
///
/// ```no_run
/// use ottla::{Producer, Record, config::ProducerConfig};
///
/// # async fn run() -> ottla::Result<()> {
/// let producer = Producer::new(ProducerConfig {
///     bootstrap_servers: vec!["localhost:9092".into()],
///     ..Default::default() // acks=all, idempotent
/// })?;
/// let delivery = producer.send(Record::to("orders").key("42").value("two apples")).await?;
/// println!("offset {}", delivery.await?.offset);
/// producer.close(std::time::Duration::from_secs(10)).await?;
/// # Ok(()) }
/// ```
///
/// Dropping it sends what it has taken, in the background, as long as the program runs; only [`Producer::close`]
/// and the deliveries tell whether that worked.
#[derive(Debug)]
pub struct Producer {
    accumulator: Arc<Accumulator>,
    reports: Arc<Reports>,
    counters: Arc<Counters>,
    cluster: Arc<Cluster>,
    commands: mpsc::UnboundedSender<Command>,
    closed: AtomicBool,
    max_block: Duration,
    delivery_timeout: Duration,
    runtime: Arc<Runtime>,
}

impl Producer {
    /// Checks `config` and starts. Connections are made when they are needed, in the background.
    pub fn new(config: ProducerConfig) -> Result<Self> {
        Self::start(config, None)
    }

    /// As [`Self::new`], for `sasl.mechanism=OAUTHBEARER` with tokens that the program gets itself. With another mechanism, or
    /// none, it is not asked.
    pub fn with_tokens(config: ProducerConfig, tokens: impl TokenProvider) -> Result<Self> {
        Self::start(config, Some(AnyProvider::new(tokens)))
    }

    fn start(config: ProducerConfig, tokens: Option<AnyProvider>) -> Result<Self> {
        let (accumulator, outbox) = settings(&config)?;
        let cluster = Cluster::new(ClusterSettings {
            client: ClientConfig::from(&config),
            metadata_max_idle: config.metadata_max_idle,
            allow_auto_topic_creation: true,
            tokens,
        })?;
        let runtime = Arc::new(Runtime::start("ottla-producer")?);
        let accumulator = Arc::new(Accumulator::new(accumulator, Clock::system()));
        let reports = Arc::new(Reports::default());
        let counters = Arc::new(Counters::default());
        let (commands, received) = mpsc::unbounded_channel();
        let sender = Sender::new(
            cluster.clone(),
            accumulator.clone(),
            reports.clone(),
            counters.clone(),
            outbox,
            acks(config.acks),
            received,
            runtime.clone(),
        );
        runtime.spawn(cluster.clone().keep_metadata());
        runtime.spawn(sender.run());
        Ok(Self {
            accumulator,
            reports,
            counters,
            cluster,
            commands,
            closed: AtomicBool::new(false),
            max_block: config.max_block,
            delivery_timeout: config.delivery_timeout,
            runtime,
        })
    }

    /// Takes a record, and gives what tells of its delivery.
    ///
    /// Waits only where it must, up to `max.block.ms`: for room in `buffer.memory`, and for the partitions of a topic
    /// that was not used before. Dropping the future before it is ready sends nothing; dropping the [`Delivery`] takes
    /// nothing back.
    pub async fn send(&self, record: Record<'_>) -> Result<Delivery> {
        match self.append(&record, Want::Delivery, &mut None) {
            Ok(Some(delivery)) => Ok(delivery),
            Ok(None) => Err(Error::closed()),
            Err(refused) => {
                Box::pin(self.send_waiting(&record, Want::Delivery, refused)).await?.ok_or_else(Error::closed)
            }
        }
    }

    /// As [`Self::send`], with a report in place of a [`Delivery`]: see [`Self::drain_reports`].
    pub async fn send_with_token(&self, record: Record<'_>, token: u64) -> Result<()> {
        match self.append(&record, Want::Token(token), &mut None) {
            Ok(_) => Ok(()),
            Err(refused) => Box::pin(self.send_waiting(&record, Want::Token(token), refused)).await.map(drop),
        }
    }

    /// As [`Self::send`], for records whose fate nobody asks for; failures are logged and counted.
    pub async fn send_and_forget(&self, record: Record<'_>) -> Result<()> {
        match self.append(&record, Want::Nothing, &mut None) {
            Ok(_) => Ok(()),
            Err(refused) => Box::pin(self.send_waiting(&record, Want::Nothing, refused)).await.map(drop),
        }
    }

    /// Takes a record if that is possible without waiting. Its report comes with `token`, by
    /// [`Self::drain_reports`].
    ///
    /// Fails with [`ErrorKind::BufferFull`] where [`Self::send`] would wait: await [`Self::ready`], then try again.
    pub fn try_send(&self, record: &Record<'_>, token: u64) -> Result<()> {
        self.append_now(record, Want::Token(token)).map(drop)
    }

    /// As [`Self::try_send`], for records whose fate nobody asks for; failures are logged and counted.
    pub fn try_send_and_forget(&self, record: &Record<'_>) -> Result<()> {
        self.append_now(record, Want::Nothing).map(drop)
    }

    /// As [`Self::try_send`], with a [`Delivery`] in place of a report.
    pub fn try_send_awaited(&self, record: &Record<'_>) -> Result<Delivery> {
        self.append_now(record, Want::Delivery)?.ok_or_else(Error::closed)
    }

    #[inline]
    fn append_now(&self, record: &Record<'_>, want: Want) -> Result<Option<Delivery>> {
        match self.append(record, want, &mut None) {
            Ok(delivery) => Ok(delivery),
            Err(AppendError::Failed(error)) => Err(error),
            Err(AppendError::UnknownTopic) => {
                self.cluster.want(&TopicName::from(record.topic));
                Err(Error::new(ErrorKind::BufferFull, "the topic's partitions are not known yet"))
            }
            Err(AppendError::Full { .. }) => {
                Err(Error::new(ErrorKind::BufferFull, "`buffer.memory` is full"))
            }
        }
    }

    /// Waits, up to `max.block.ms`, until [`Self::try_send`] of this record may succeed: its topic is known, and there is
    /// room for a whole batch.
    pub async fn ready(&self, record: &Record<'_>) -> Result<()> {
        self.ready_for(record.topic, record.bytes_max()).await
    }

    /// As [`Self::ready`], for a record of so many bytes, key, value and headers together, that is not at hand.
    pub async fn ready_for(&self, topic: &str, record_bytes: usize) -> Result<()> {
        let deadline = Instant::now() + self.max_block;
        self.know_topic(topic, deadline).await?;
        self.take_memory(self.accumulator.roomy_bytes(record_bytes), deadline).await.map(drop)
    }

    /// Moves the reports that have come to the end of `reports`; answers how many.
    ///
    /// Reports take room in `buffer.memory` until they are drained.
    pub fn drain_reports(&self, reports: &mut Vec<Report>) -> usize {
        self.reports.drain(reports)
    }

    /// As [`Self::drain_reports`], batch by batch, which costs nothing for a record. They take room until they are dropped.
    pub fn take_report_batches(&self) -> Vec<ReportBatch> {
        self.reports.take()
    }

    /// Has `wake` called when there are reports to drain where there were none. It runs on the I/O thread and must
    /// not block.
    pub fn on_reports(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.reports.on_ready(Box::new(wake));
    }

    /// Sends all that was taken without further linger, and waits until each of it is acknowledged or has failed.
    pub async fn flush(&self) -> Result<()> {
        let (done, ended) = oneshot::channel();
        self.commands.send(Command::Flush(done)).map_err(|_| Error::closed())?;
        ended.await.map_err(|_| Error::closed())
    }

    /// Takes no more records, sends what was taken, and ends. What is not acknowledged within `timeout` fails; then the
    /// call fails, too. Closing again does nothing.
    pub async fn close(&self, timeout: Duration) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let (done, ended) = oneshot::channel();
        let command = Command::Close(Instant::now() + timeout.min(DURATION_MAX), done);
        self.commands.send(command).map_err(|_| Error::closed())?;
        ended.await.map_err(|_| Error::closed())?
    }

    /// The number of partitions of a topic; waits up to `max.block.ms` for it to be known.
    pub async fn partition_count(&self, topic: &str) -> Result<usize> {
        self.know_topic(topic, Instant::now() + self.max_block).await
    }

    /// Runs a future on this client's I/O thread, for programs that have no runtime of their own. It must not block, and is
    /// dropped if the client is before it ends.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.spawn(future));
    }

    /// What this producer has counted.
    pub fn metrics(&self) -> ProducerMetrics {
        let counters = &self.counters;
        let budget = &self.accumulator.budget;
        ProducerMetrics {
            record_send_total: counters.records_sent.get(),
            record_acknowledged_total: counters.records_acknowledged.get(),
            record_error_total: counters.records_failed.get(),
            record_retry_total: counters.records_retried.get(),
            batch_send_total: counters.batches_sent.get(),
            batch_retry_total: counters.batches_retried.get(),
            produce_total: counters.requests_sent.get(),
            produce_bytes_total: counters.batch_bytes_sent.get(),
            produce_throttle_time_total: counters.throttles.total_ms(),
            produce_throttle_time_avg: counters.throttles.average_ms(),
            produce_throttle_time_max: counters.throttles.max_ms(),
            request_latency_avg: counters.requests.average_ms(),
            request_latency_max: counters.requests.max_ms(),
            requests_in_flight: counters.in_flight.get(),
            metadata_request_total: self.cluster.metadata_requests(),
            buffer_total_bytes: budget.total_bytes() as u64,
            buffer_available_bytes: budget.free_bytes() as u64,
        }
    }

    #[inline]
    fn append(
        &self,
        record: &Record<'_>,
        want: Want,
        credit: &mut Option<Reservation>,
    ) -> Result<Option<Delivery>, AppendError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(AppendError::Failed(Error::closed()));
        }
        self.accumulator.append(record, want, credit)
    }

    /// Waits for what was missing and tries again, until it is taken or `max.block.ms` is over.
    async fn send_waiting(
        &self,
        record: &Record<'_>,
        want: Want,
        mut refused: AppendError,
    ) -> Result<Option<Delivery>> {
        let deadline = Instant::now() + self.max_block;
        loop {
            let mut credit = None;
            match refused {
                AppendError::Failed(error) => {
                    return Err(error.context(format!("send to `{}`", record.topic)));
                }
                AppendError::UnknownTopic => _ = self.know_topic(record.topic, deadline).await?,
                AppendError::Full { needed_bytes } => {
                    credit = Some(self.take_memory(needed_bytes, deadline).await?);
                }
            }
            match self.append(record, want, &mut credit) {
                Ok(delivery) => return Ok(delivery),
                Err(error) => refused = error,
            }
        }
    }

    /// Waits until the topic's partitions are known.
    #[cold]
    async fn know_topic(&self, name: &str, deadline: Instant) -> Result<usize> {
        if let Some(partitions) = self.accumulator.partition_count(name) {
            return Ok(partitions);
        }
        let topic = TopicName::from(name);
        let invalid = |error: ottla_protocol::types::InvalidTopicName| {
            Error::new(ErrorKind::InvalidArgument, error.to_string()).caused_by(error)
        };
        let doing = || format!("send to `{name}`");
        topic.check().map_err(|error| invalid(error).context(doing()))?;
        let (cluster, wanted) = (self.cluster.clone(), topic.clone());
        let waiting = async move {
            cluster.want(&wanted);
            let what = format!("the partitions of `{wanted}`");
            cluster
                .wait_for(&what, deadline.into(), |snapshot| {
                    let topic = snapshot.topics.get(&wanted)?;
                    match topic.error {
                        code if !code.is_error() => Some(Ok(topic.partitions.len())),
                        code if !code.is_retriable() => Some(Err(Error::broker(code, None))),
                        _ => None,
                    }
                })
                .await?
        };
        let partitions = self.runtime.run(waiting).await.map_err(|error| error.context(doing()))?;
        self.accumulator.set_partitions(&topic, partitions);
        Ok(partitions)
    }

    /// Waits for room, first come, first served.
    #[cold]
    async fn take_memory(&self, bytes: usize, deadline: Instant) -> Result<Reservation> {
        let accumulator = self.accumulator.clone();
        let max_block = self.max_block;
        let waiting = async move {
            let _counted = Waiting::start(&accumulator);
            let taken = tokio::time::timeout_at(deadline.into(), accumulator.budget.take(bytes)).await;
            let total = accumulator.budget.total_bytes();
            match taken {
                Ok(Some(memory)) => Ok(memory),
                Ok(None) => {
                    let text =
                        format!("the record needs {bytes} bytes, more than the {total} of `buffer.memory`");
                    Err(Error::new(ErrorKind::RecordTooLarge, text).hint("raise `buffer.memory`"))
                }
                Err(_) => {
                    let text = format!(
                        "no room in `buffer.memory` ({total} bytes) within {} ms",
                        max_block.as_millis()
                    );
                    Err(Error::new(ErrorKind::BufferFull, text)
                        .hint("send more slowly, raise `buffer.memory`, or look why the brokers are slow"))
                }
            }
        };
        self.runtime.run(waiting).await
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            let deadline = Instant::now() + self.delivery_timeout;
            _ = self.commands.send(Command::Close(deadline, oneshot::channel().0));
        }
    }
}

/// Counts one who waits for memory, as long as it lives.
struct Waiting<'a>(&'a Accumulator);

impl<'a> Waiting<'a> {
    fn start(accumulator: &'a Accumulator) -> Self {
        accumulator.signals.waiting.fetch_add(1, Ordering::Relaxed);
        accumulator.signals.notify.notify_one();
        Self(accumulator)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.signals.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn acks(acks: Acks) -> i16 {
    match acks {
        Acks::All => -1,
        Acks::Leader => 1,
        Acks::None => 0,
    }
}

/// What the parts need of the configuration, checked as a whole.
fn settings(config: &ProducerConfig) -> Result<(AccumulatorSettings, OutboxSettings)> {
    let wrong = |message: String| Error::new(ErrorKind::Config, message);
    config.validate()?;
    let least = config.linger + config.request_timeout;
    if config.delivery_timeout < least {
        let text = format!(
            "`delivery.timeout.ms` is {}, less than `linger.ms` and `request.timeout.ms` together",
            config.delivery_timeout.as_millis()
        );
        let hint = format!("set it to {} or more, or lower the others", least.as_millis());
        return Err(wrong(text).hint(hint));
    }
    // As in Kafka's client: numbering needs the leader's memory to be everyone's.
    let idempotent = config.enable_idempotence && config.acks == Acks::All && config.retries > 0;
    if config.enable_idempotence && !idempotent {
        tracing::info!("`enable.idempotence` has no effect without `acks=all` and retries");
    }
    let memory_bytes = usize::try_from(config.buffer_memory).unwrap_or(usize::MAX);
    let accumulator = AccumulatorSettings {
        batch_bytes: config.batch_size,
        record_bytes_max: config.max_request_size,
        memory_bytes,
        ignore_keys: config.partitioner_ignore_keys,
    };
    let outbox = OutboxSettings {
        linger: config.linger,
        delivery_timeout: config.delivery_timeout,
        request_timeout: config.request_timeout,
        retries: u32::try_from(config.retries).unwrap_or(0),
        backoff: crate::cluster::retry::Backoff {
            first: config.retry_backoff,
            most: config.retry_backoff_max,
        },
        reconnect: crate::cluster::retry::Backoff {
            first: config.reconnect_backoff,
            most: config.reconnect_backoff_max,
        },
        in_flight_max: usize::try_from(config.max_in_flight_requests_per_connection).unwrap_or(1).max(1),
        request_bytes_max: config.max_request_size,
        idempotent,
        codec: codec(config)?,
    };
    Ok((accumulator, outbox))
}

fn codec(config: &ProducerConfig) -> Result<Codec> {
    let (compression, level) = match config.compression_type {
        Compression::None => return Ok(Codec::NONE),
        Compression::Snappy => return Ok(Codec::new(WireCompression::Snappy)),
        Compression::Gzip => (WireCompression::Gzip, config.compression_gzip_level),
        Compression::Lz4 => (WireCompression::Lz4, config.compression_lz4_level),
        Compression::Zstd => (WireCompression::Zstd, config.compression_zstd_level),
    };
    Codec::with_level(compression, level)
        .map_err(|error| Error::new(ErrorKind::Config, error.to_string()).caused_by(error))
}
