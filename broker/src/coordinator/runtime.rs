//! Runs the coordinators of groups: a task for each partition of `__consumer_offsets` that somebody has asked for.
//!
//! A task owns the [`Groups`] of its partition. It reads them from the log, then takes requests: those that are queued
//! are handled together, their records appended in one go, and only then are they answered. A failed append leaves
//! nothing half done: whoever waits is told to ask again, and the groups are read anew.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ottla_protocol::{
    Bytes,
    compression::{Compressor, Decompressor, Limits as DecompressLimits},
    error_code::ErrorCode,
    record::{Batch, BatchBuilder, Headers, PushError, Seal},
    types::{GroupId, TopicName, Uuid},
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    group::{
        Answer, Caller, ConsumerLimits, Effects, Groups, Limits, Now, Request, Ticket, Timing, Timings,
        assignor::Assignor,
    },
    record::{InvalidRecord, Record},
};
use crate::{
    config::BrokerConfig,
    metadata::{
        CONSUMER_OFFSETS_TOPIC, Image, SharedImage,
        effective::{Configs, GroupDefaults},
        image::BrokersSettings,
    },
    random::random_id,
    replica::{
        Replica, Replicas,
        shard::{Append, ShardMessage},
    },
    time::now_ms,
};

/// Requests that may wait for one coordinator; who comes then waits before its request is taken.
const QUEUE_MAX: usize = 4096;
/// Requests that are handled, and appended, together.
const DRAIN_MAX: usize = 512;
/// Bytes of the log that are read at once while groups are loaded.
const LOAD_BYTES: usize = 1 << 20;
/// How long a request waits for groups to be loaded before it is told to come again.
const LOAD_PATIENCE: Duration = Duration::from_secs(1);
/// Pause after a failure, so that a log that takes nothing is not tried without end.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// What a batch may have beside its records.
const BATCH_ROOM_BYTES: usize = 1024;

/// Finds the coordinator of a group, and asks it.
pub(crate) struct Coordinator {
    image: SharedImage,
    replicas: Arc<Replicas>,
    config: Arc<BrokerConfig>,
    configs: Arc<Configs>,
    limits: Arc<Limits>,
    /// Where tasks run: on the core of the shard that holds the partition.
    cores: Vec<Handle>,
    tasks: Mutex<HashMap<i32, mpsc::Sender<Message>>>,
}

struct Message {
    request: Request,
    caller: Caller,
    reply: oneshot::Sender<Result<Answer, ErrorCode>>,
}

impl Coordinator {
    pub(crate) fn new(
        image: SharedImage,
        replicas: Arc<Replicas>,
        config: Arc<BrokerConfig>,
        configs: Arc<Configs>,
        cores: Vec<Handle>,
    ) -> Self {
        let limits = Limits {
            session_timeout_ms: ms(config.group_min_session_timeout)..=ms(config.group_max_session_timeout),
            initial_rebalance_delay_ms: ms(config.group_initial_rebalance_delay).into(),
            group_size_max: usize::try_from(config.group_max_size).unwrap_or(usize::MAX),
            offset_metadata_bytes_max: config.offset_metadata_max_bytes,
            offsets_retention_ms: i64::from(config.offsets_retention_minutes) * 60_000,
            consumer: ConsumerLimits {
                group_size_max: usize::try_from(config.group_consumer_max_size).unwrap_or(usize::MAX),
                migration_policy: config.group_consumer_migration_policy,
                pattern_refresh_ms: ms(config.group_consumer_regex_refresh_interval).into(),
                assignors: config
                    .group_consumer_assignors
                    .iter()
                    .filter_map(|n| Assignor::by_name(n))
                    .collect(),
            },
        };
        let tasks = Mutex::default();
        Self { image, replicas, config, configs, limits: Arc::new(limits), cores, tasks }
    }

    /// Asks the coordinator of `group`.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` as long as nobody has looked for one, `COORDINATOR_NOT_AVAILABLE` if it cannot serve,
    /// `COORDINATOR_LOAD_IN_PROGRESS` while it reads its log.
    pub(crate) async fn ask(
        &self,
        group: &GroupId,
        request: Request,
        caller: Caller,
    ) -> Result<Answer, ErrorCode> {
        let count = self.partition_count().ok_or(ErrorCode::NOT_COORDINATOR)?;
        self.ask_partition(partition_of(group, count), request, caller).await
    }

    /// Asks all coordinators of this broker, one after the other.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) async fn ask_all(&self, request: Request, caller: Caller) -> Result<Vec<Answer>, ErrorCode> {
        let mut answers = Vec::new();
        for partition in 0..self.partition_count().unwrap_or(0) {
            answers.push(self.ask_partition(partition, request.clone(), caller.clone()).await?);
        }
        Ok(answers)
    }

    /// Tells the coordinators that are awake that topics are gone. Those that sleep find out when they load.
    pub(crate) async fn topics_deleted(&self, topics: Vec<TopicName>) {
        let awake: Vec<i32> =
            self.tasks.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        for partition in awake {
            let caller = Caller {
                version: 0,
                client_id: Default::default(),
                client_host: String::default(),
                sees: Default::default(),
            };
            // A coordinator that fails reads its log anew, and finds out too.
            let _ = self.ask_partition(partition, Request::TopicsDeleted(topics.clone()), caller).await;
        }
    }

    async fn ask_partition(
        &self,
        partition: i32,
        request: Request,
        caller: Caller,
    ) -> Result<Answer, ErrorCode> {
        let task = self.task(partition)?;
        let (reply, answer) = oneshot::channel();
        let message = Message { request, caller, reply };
        task.send(message).await.map_err(|_| ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
        answer.await.unwrap_or(Err(ErrorCode::COORDINATOR_NOT_AVAILABLE))
    }

    fn partition_count(&self) -> Option<i32> {
        let image = self.image.load();
        i32::try_from(image.topic(&CONSUMER_OFFSETS_TOPIC)?.partitions.len()).ok()
    }

    /// The task of a partition; a new one if there is none, or if it has ended.
    fn task(&self, partition: i32) -> Result<mpsc::Sender<Message>, ErrorCode> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = tasks.get(&partition).filter(|task| !task.is_closed()) {
            return Ok(task.clone());
        }
        let table = self.replicas.table();
        let topic = table.by_name(&CONSUMER_OFFSETS_TOPIC).ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
        let replica = topic.partition(partition).map_err(|_| ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
        let core = self.cores.get(replica.shard).ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
        let (task, queue) = mpsc::channel(QUEUE_MAX);
        let running = Task {
            partition,
            replica: Arc::clone(replica),
            replicas: Arc::clone(&self.replicas),
            image: Arc::clone(&self.image),
            limits: Arc::clone(&self.limits),
            defaults: Defaults::new(Arc::clone(&self.configs), &self.image.load()),
            expiry_check: self.config.offsets_retention_check_interval,
            groups: Groups::default(),
            waiting: HashMap::new(),
            last_ticket: 0,
            compressor: Compressor::new(),
        };
        core.spawn(running.run(queue));
        tasks.insert(partition, task.clone());
        Ok(task)
    }
}

/// The partition of `__consumer_offsets` that a group belongs to: Java's hash of its id, as every client's tool has it
/// (`GroupCoordinatorService.partitionFor`).
pub(crate) fn partition_of(group: &GroupId, partition_count: i32) -> i32 {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    // The smallest number has no positive counterpart; Java's `Utils.abs` says 0.
    hash.checked_abs().unwrap_or(0) % partition_count.max(1)
}

fn ms(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// What groups are configured to by the broker, kept for as long as that is the same.
struct Defaults {
    configs: Arc<Configs>,
    of: Arc<BrokersSettings>,
    groups: GroupDefaults,
}

impl Defaults {
    fn new(configs: Arc<Configs>, image: &Image) -> Self {
        let groups = configs.group_defaults(image);
        Self { configs, of: Arc::clone(image.brokers_settings()), groups }
    }

    /// What groups are configured to as of `image`.
    fn at<'a>(&'a mut self, image: &'a Image) -> Configured<'a> {
        if !Arc::ptr_eq(&self.of, image.brokers_settings()) {
            self.groups = self.configs.group_defaults(image);
            self.of = Arc::clone(image.brokers_settings());
        }
        Configured { defaults: &self.groups, image }
    }
}

/// What groups are configured to at one moment.
struct Configured<'a> {
    defaults: &'a GroupDefaults,
    image: &'a Image,
}

impl Timings for Configured<'_> {
    fn of(&self, group: &GroupId) -> Timing {
        let config = self.defaults.group(self.image.group_settings(group));
        Timing {
            session_timeout_ms: ms(config.consumer_session_timeout).into(),
            heartbeat_interval_ms: ms(config.consumer_heartbeat_interval),
            assignment_interval_ms: ms(config.consumer_assignment_interval).into(),
        }
    }
}

/// The coordinator of one partition.
struct Task {
    partition: i32,
    replica: Arc<Replica>,
    replicas: Arc<Replicas>,
    image: SharedImage,
    limits: Arc<Limits>,
    defaults: Defaults,
    expiry_check: Duration,
    groups: Groups,
    /// Who waits for an answer.
    waiting: HashMap<Ticket, oneshot::Sender<Result<Answer, ErrorCode>>>,
    last_ticket: u64,
    compressor: Compressor,
}

/// Why a coordinator stops serving.
enum Stop {
    /// The broker stops.
    Ended,
    /// Its log took nothing; what is in memory is not to be trusted.
    Failed(String),
}

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        loop {
            let stop = match self.load(&mut queue).await {
                Ok(()) => self.serve(&mut queue).await,
                Err(stop) => stop,
            };
            let why = match stop {
                Stop::Ended => return,
                Stop::Failed(why) => why,
            };
            tracing::error!(partition = self.partition, why, "a group coordinator reads its log anew");
            self.groups = Groups::default();
            for (_, reply) in self.waiting.drain() {
                let _ = reply.send(Err(ErrorCode::COORDINATOR_NOT_AVAILABLE));
            }
            if self.replica.reader.has_failed() {
                // The log does not come back before the broker does; the next request finds that out.
                return;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Reads the groups from the log. Whoever asks meanwhile waits a little, and is then told to come again.
    async fn load(&mut self, queue: &mut mpsc::Receiver<Message>) -> Result<(), Stop> {
        let replica = Arc::clone(&self.replica);
        let mut loading = tokio::task::spawn_blocking(move || read_groups(&replica));
        let read = match tokio::time::timeout(LOAD_PATIENCE, &mut loading).await {
            Ok(read) => read,
            Err(_) => loop {
                tokio::select! {
                    read = &mut loading => break read,
                    message = queue.recv() => match message {
                        Some(message) => {
                            let _ = message.reply.send(Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
                        }
                        None => return Err(Stop::Ended),
                    },
                }
            },
        };
        self.groups = match read {
            Ok(Ok(groups)) => groups,
            Ok(Err(why)) => return Err(Stop::Failed(why)),
            Err(join) => return Err(Stop::Failed(join.to_string())),
        };
        let image = self.image.load_full();
        let timings = &self.defaults.at(&image);
        self.groups.loaded(Now { ms: now_ms(), limits: &self.limits, timings, topics: &*image });
        // A topic may have been deleted while this slept, and another of its name made.
        let is_gone = |(name, id): &(TopicName, Uuid)| {
            image.topic(name).is_none_or(|topic| !id.is_zero() && topic.id != *id)
        };
        let gone: Vec<TopicName> =
            self.groups.topics().into_iter().filter(is_gone).map(|(name, _)| name).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let mut effects = Effects::default();
        self.take(Request::TopicsDeleted(gone), &mut effects);
        self.append(&effects.records).await.map_err(Stop::Failed)
    }

    async fn serve(&mut self, queue: &mut mpsc::Receiver<Message>) -> Stop {
        let mut messages = Vec::new();
        let expiry_check_ms = i64::try_from(self.expiry_check.as_millis()).unwrap_or(i64::MAX);
        let mut expire_at_ms = now_ms().saturating_add(expiry_check_ms);
        loop {
            let wake_ms = self.groups.wake_ms().unwrap_or(i64::MAX).min(expire_at_ms);
            let wait = Duration::from_millis(u64::try_from(wake_ms.saturating_sub(now_ms())).unwrap_or(0));
            tokio::select! {
                count = queue.recv_many(&mut messages, DRAIN_MAX) => if count == 0 { return Stop::Ended },
                () = tokio::time::sleep(wait) => {}
            }
            let (ms, image, limits) = (now_ms(), self.image.load_full(), Arc::clone(&self.limits));
            let timings = &self.defaults.at(&image);
            let now = Now { ms, limits: &limits, timings, topics: &*image };
            let mut effects = Effects::default();
            for Message { request, caller, reply } in messages.drain(..) {
                self.last_ticket += 1;
                let ticket = Ticket(self.last_ticket);
                self.waiting.insert(ticket, reply);
                self.groups.handle(ticket, request, &caller, now, member_suffix, &mut effects);
            }
            self.groups.tick(now, &mut effects);
            if ms >= expire_at_ms {
                self.groups.expire_offsets(now, &mut effects);
                expire_at_ms = ms.saturating_add(expiry_check_ms);
            }
            if let Err(why) = self.append(&effects.records).await {
                return Stop::Failed(why);
            }
            for (ticket, answer) in effects.answers {
                if let Some(reply) = self.waiting.remove(&ticket) {
                    // Whoever asked may be gone.
                    let _ = reply.send(Ok(answer));
                }
            }
        }
    }

    /// Handles a request of the broker's own, which nobody waits for.
    fn take(&mut self, request: Request, effects: &mut Effects) {
        let caller = Caller {
            version: 0,
            client_id: Default::default(),
            client_host: String::new(),
            sees: Default::default(),
        };
        self.last_ticket += 1;
        let (ticket, image) = (Ticket(self.last_ticket), self.image.load_full());
        let timings = &self.defaults.at(&image);
        let now = Now { ms: now_ms(), limits: &self.limits, timings, topics: &*image };
        self.groups.handle(ticket, request, &caller, now, String::new, effects);
    }

    /// Appends records and waits until they are committed.
    async fn append(&mut self, records: &[Record]) -> Result<(), String> {
        if records.is_empty() {
            return Ok(());
        }
        let bytes_max = self.replica.settings.load().message_bytes_max;
        let batches = batches(records, bytes_max, &mut self.compressor)?;
        let batches = batches.into_iter().map(|batch| (self.replica.id, batch)).collect();
        let (reply, outcomes) = oneshot::channel();
        let sent = self
            .replicas
            .send(self.replica.shard, ShardMessage::Append(Append { batches, committed: true, reply }));
        if sent.is_err() {
            return Err("the broker stops".to_owned());
        }
        let outcomes = outcomes.await.map_err(|_| "the broker stops".to_owned())?;
        for outcome in outcomes {
            outcome.map_err(|failure| format!("{failure:?}"))?;
        }
        Ok(())
    }
}

/// What makes a member's id one of its own: a random UUID, written as Java writes it.
fn member_suffix() -> String {
    let id = format!("{:032x}", random_id().0);
    let part = |from: usize, to: usize| id.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// Packs records into as many batches as the topic's largest takes.
fn batches(records: &[Record], bytes_max: usize, compressor: &mut Compressor) -> Result<Vec<Batch>, String> {
    let told = |error: &dyn std::fmt::Display| format!("a record could not be written: {error}");
    let bytes_max = bytes_max.saturating_sub(BATCH_ROOM_BYTES);
    let now_ms = now_ms();
    let mut builder = BatchBuilder::new(Vec::new(), bytes_max);
    let mut batches = Vec::new();
    for record in records {
        let (key, value) = record.encode().map_err(|error| told(&error))?;
        let push = |builder: &mut BatchBuilder| {
            builder.push(now_ms, Some(&key), value.as_deref(), Headers::NONE).map(|_| ())
        };
        match push(&mut builder) {
            Ok(()) => {}
            Err(PushError::Full) => {
                let sealed = builder.seal(&Seal::default(), compressor).map_err(|error| told(&error))?;
                batches.push(sealed);
                builder = BatchBuilder::new(Vec::new(), bytes_max);
                push(&mut builder).map_err(|error| told(&error))?;
            }
            Err(error) => return Err(told(&error)),
        }
    }
    batches.push(builder.seal(&Seal::default(), compressor).map_err(|error| told(&error))?);
    Ok(batches)
}

/// Reads all groups of a partition. Blocks.
fn read_groups(replica: &Replica) -> Result<Groups, String> {
    let reader = &replica.reader;
    let mut groups = Groups::default();
    let mut decompressor = Decompressor::new();
    let (mut offset, end) = (reader.start_offset(), reader.high_watermark());
    let mut unknown = 0usize;
    let now_ms = now_ms();
    while offset < end {
        let slices = reader.read(offset, LOAD_BYTES, end, true).map_err(|error| format!("{error:?}"))?;
        let before = offset;
        for slice in &slices.slices {
            let mut bytes = slice.read().map_err(|error| error.to_string())?;
            while let Some(batch) = Batch::split_from(&mut bytes).map_err(|error| error.to_string())? {
                offset = offset.max(batch.header().next_offset());
                if batch.header().attributes.is_control() {
                    continue;
                }
                let records = batch
                    .records(&mut decompressor, &DecompressLimits::BROKER)
                    .map_err(|error| error.to_string())?;
                for record in &records {
                    let record = record.map_err(|error| error.to_string())?;
                    let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
                    let key = record.key.map(copy).unwrap_or_default();
                    match Record::decode(key, record.value.map(copy)) {
                        Ok(record) => groups.replay(&record, now_ms),
                        Err(InvalidRecord::UnknownType(_)) => unknown += 1,
                        Err(error) => {
                            return Err(format!(
                                "the record at offset {} is damaged: {error}",
                                record.offset
                            ));
                        }
                    }
                }
            }
        }
        if offset == before {
            return Err(format!("nothing could be read at offset {offset}"));
        }
    }
    if unknown > 0 {
        tracing::warn!(records = unknown, "records of types that this broker does not know are passed over");
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_belongs_to_the_partition_that_java_says() {
        // "my-group".hashCode() is -1906497762; "polygenelubricants".hashCode() is Integer.MIN_VALUE.
        assert_eq!(partition_of(&"my-group".into(), 50), 12);
        assert_eq!(partition_of(&"polygenelubricants".into(), 50), 0);
        assert_eq!(partition_of(&"".into(), 50), 0);
        // Two UTF-16 units outside the basic plane: "\u{1f600}".hashCode() is 1772899.
        assert_eq!(partition_of(&"\u{1f600}".into(), 50), 1_772_899 % 50);
    }
}
