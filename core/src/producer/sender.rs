//! The task that sends: it does what the [`Outbox`] asks for, and tells it what happened.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        ApiKey, InitProducerIdRequest,
        produce::{
            PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
        },
    },
    types::{BrokerId, TopicName, Uuid},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Duration, sleep_until},
};

use super::{
    accumulator::{Accumulator, WAKE_FOR_ALL},
    batch::ProducerBatch,
    delivery::{Reports, Written},
    idempotence::Identity,
    outbox::{Answer, Outbox, OutboxSettings, Request},
};
use crate::{
    cluster::{
        Cluster, Purpose,
        broker::BrokerConnection,
        metadata::{Address, LeaderHint, Snapshot},
        runtime::Runtime,
    },
    error::{Error, ErrorKind, Result},
    metrics::{Counter, Durations},
};

/// The last version of Produce that names topics; from the next on it is their ids (KIP-516).
const PRODUCE_BY_NAME_MAX: i16 = 12;

/// How long, at least, the sender does not look for what it is not woken for, also with `linger.ms=0`.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// What the producer's handle asks of the sender.
#[derive(Debug)]
pub(super) enum Command {
    /// Send what there is, without linger, and answer when all of it has ended.
    Flush(oneshot::Sender<()>),
    /// As `Flush`, but until this time at the latest; then fail the rest, and end.
    Close(Instant, oneshot::Sender<Result<()>>),
}

/// What a producer counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub records_acknowledged: Counter,
    pub records_failed: Counter,
    pub batches_sent: Counter,
    pub batches_retried: Counter,
    pub records_sent: Counter,
    pub records_retried: Counter,
    pub requests_sent: Counter,
    /// From a request to its answer.
    pub requests: Durations,
    /// Requests without answer now.
    pub in_flight: Counter,
    pub batch_bytes_sent: Counter,
    /// What each answer asked to be left alone for.
    pub throttles: Durations,
}

/// The sender's state, all of it its own but for the accumulator, which it shares with those who send records.
#[derive(Debug)]
pub(super) struct Sender {
    cluster: Arc<Cluster>,
    accumulator: Arc<Accumulator>,
    reports: Arc<Reports>,
    counters: Arc<Counters>,
    outbox: Outbox,
    acks: i16,
    request_timeout: Duration,
    commands: mpsc::UnboundedReceiver<Command>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    connections: HashMap<BrokerId, Arc<BrokerConnection>>,
    /// Batches that a broker has, by the number of their request.
    under_way: HashMap<u64, UnderWay>,
    next_request: u64,
    /// Connections being made, requests without answer.
    events: JoinSet<Event>,
    asks_identity: bool,
    flushes: Vec<(u64, oneshot::Sender<()>)>,
    closing: Option<Closing>,
    /// Keeps the thread running as long as there is something to send, also after the handle is gone.
    _runtime: Arc<Runtime>,
}

#[derive(Debug)]
struct UnderWay {
    broker: BrokerId,
    sent_at: Instant,
    batches: Vec<(u32, ProducerBatch)>,
}

#[derive(Debug)]
struct Closing {
    generation: u64,
    deadline: Instant,
    done: oneshot::Sender<Result<()>>,
}

#[derive(Debug)]
enum Event {
    Connected(BrokerId, Result<Arc<BrokerConnection>>),
    Identity(Result<Identity>),
    /// The answer to a request; `None` with `acks=0`.
    Answered(u64, Result<Option<ProduceResponse>>),
}

impl Sender {
    #[expect(
        clippy::too_many_arguments,
        reason = "made in one place, of parts that have no other home together"
    )]
    pub(super) fn new(
        cluster: Arc<Cluster>,
        accumulator: Arc<Accumulator>,
        reports: Arc<Reports>,
        counters: Arc<Counters>,
        settings: OutboxSettings,
        acks: i16,
        commands: mpsc::UnboundedReceiver<Command>,
        runtime: Arc<Runtime>,
    ) -> Self {
        Self {
            snapshots: cluster.subscribe(),
            cluster,
            accumulator,
            outbox: Outbox::new(settings, reports.clone(), counters.clone(), fastrand::Rng::new()),
            reports,
            counters,
            acks,
            request_timeout: settings.request_timeout,
            commands,
            connections: HashMap::new(),
            under_way: HashMap::new(),
            next_request: 0,
            events: JoinSet::new(),
            asks_identity: false,
            flushes: Vec::new(),
            closing: None,
            _runtime: runtime,
        }
    }

    /// Sends until it is told to close.
    pub(super) async fn run(mut self) {
        loop {
            let now = Instant::now();
            self.drive(now);
            self.end_flushes();
            if self.end_close(now) {
                return;
            }
            // What is not worth a wake is looked at once an answer comes, or linger is over.
            let quiet = self.outbox.worth_a_wake();
            self.accumulator.signals.wake_for(quiet);
            if self.collect(now) {
                continue;
            }
            let look = (quiet != WAKE_FOR_ALL).then(|| now + self.outbox.linger().max(LOOK_INTERVAL_MIN));
            let closing = self.closing.as_ref().map(|closing| closing.deadline);
            let timeout = [self.outbox.next_timeout(), look, closing];
            let timeout = timeout.into_iter().flatten().min();
            let sleep = sleep_until(timeout.unwrap_or(now + Duration::from_secs(3_600)).into());
            tokio::select! {
                biased;
                Some(event) = self.events.join_next() => {
                    if let Ok(event) = event {
                        self.happened(event);
                    }
                    // What has come meanwhile is taken along, before anything is sent.
                    while let Some(Ok(event)) = self.events.try_join_next() {
                        self.happened(event);
                    }
                }
                () = self.accumulator.signals.notify.notified() => {}
                changed = self.snapshots.changed() => {
                    if changed.is_ok() {
                        self.snapshots.mark_changed();
                    }
                }
                command = self.commands.recv(), if self.closing.is_none() => {
                    self.command(command.unwrap_or_else(|| Command::Close(now, oneshot::channel().0)));
                }
                () = sleep => {}
            }
        }
    }

    /// Hands on what is new, and does what the outbox asks for.
    fn drive(&mut self, now: Instant) {
        self.collect(now);
        // Looked at here, as answers that come without pause would never let them have their turn otherwise.
        if self.snapshots.has_changed().unwrap_or(false) {
            self.learn_leaders(now);
        }
        while self.closing.is_none()
            && let Ok(command) = self.commands.try_recv()
        {
            self.command(command);
        }
        self.outbox.expire_overdue(now);
        self.notice_idle_ends();
        while let Some(broker) = self.outbox.poll_connect(now) {
            let cluster = self.cluster.clone();
            self.events.spawn(async move {
                Event::Connected(broker, cluster.connection(broker, Purpose::Produce).await)
            });
        }
        let hurry = self.accumulator.signals.take_hurry();
        while let Some(request) = self.outbox.poll_request(hurry, now) {
            self.send(request);
        }
        if self.outbox.wants_identity() && !std::mem::replace(&mut self.asks_identity, true) {
            self.events.spawn(ask_identity(self.cluster.clone(), now + self.request_timeout));
        }
        if self.outbox.take_wants_metadata() {
            self.cluster.request_refresh();
        }
    }

    /// Forgets connections that ended while nothing was under way on them, most of all for being idle: the next request
    /// makes another, without back-off. Those that end with requests on them are told by the requests.
    fn notice_idle_ends(&mut self) {
        let Self { connections, under_way, outbox, .. } = self;
        connections.retain(|&id, connection| {
            let idle_end = connection.is_ended() && under_way.values().all(|request| request.broker != id);
            if idle_end {
                outbox.closed_idle(id);
            }
            !idle_end
        });
    }

    /// Takes what is new from those who send records; answers whether there was anything.
    fn collect(&mut self, now: Instant) -> bool {
        let lists = self.accumulator.signals.take();
        if lists.opened.is_empty() && lists.filled.is_empty() {
            return false;
        }
        let snapshot = self.snapshots.borrow().clone();
        self.outbox.collect(
            lists,
            |slot| {
                let leader = snapshot.leader(&slot.topic, slot.partition);
                if leader.is_none() {
                    self.cluster.want(&slot.topic);
                }
                leader
            },
            now,
        );
        true
    }

    fn learn_leaders(&mut self, now: Instant) {
        let snapshot = self.snapshots.borrow_and_update().clone();
        self.collect(now);
        let leader_of = |slot: &super::accumulator::Slot| snapshot.leader(&slot.topic, slot.partition);
        let leaders: Vec<_> = self.outbox.slots().map(|slot| (slot.id, leader_of(slot))).collect();
        for (slot, leader) in leaders {
            self.outbox.set_leader(slot, leader);
        }
        self.accumulator.grow_to(|topic| snapshot.topics.get(topic).map(|topic| topic.partitions.len()));
    }

    fn send(&mut self, request: Request) {
        let Request { broker, batches: outgoing, deadline } = request;
        self.next_request += 1;
        let id = self.next_request;
        let mut data = Vec::with_capacity(outgoing.len());
        let mut batches = Vec::with_capacity(outgoing.len());
        for outgoing in outgoing {
            self.counters.batches_sent.add(1);
            self.counters.batches_retried.add(u64::from(outgoing.batch.attempts > 1));
            let records = u64::from(outgoing.batch.record_count);
            self.counters.records_sent.add(records);
            if outgoing.batch.attempts > 1 {
                self.counters.records_retried.add(records);
            }
            self.counters.batch_bytes_sent.add(outgoing.bytes.len() as u64);
            let partition = outgoing.batch.partition;
            let records = PartitionProduceData { index: partition, records: Some(outgoing.bytes.into()) };
            data.push((outgoing.batch.topic.clone(), records));
            batches.push((outgoing.slot, outgoing.batch));
        }
        self.counters.requests_sent.add(1);
        self.under_way.insert(id, UnderWay { broker, batches, sent_at: Instant::now() });
        self.counters.in_flight.set(self.under_way.len() as u64);
        if let Err(error) = self.start(broker, id, data, deadline.into()) {
            self.answered(id, Err(error));
        }
    }

    /// Writes a request to its connection; the answer comes as an event.
    fn start(
        &mut self,
        broker: BrokerId,
        id: u64,
        data: Vec<(TopicName, PartitionProduceData)>,
        deadline: tokio::time::Instant,
    ) -> Result<()> {
        let connection = self.connections.get(&broker).filter(|connection| !connection.is_ended());
        let connection = connection.ok_or_else(|| {
            Error::new(ErrorKind::Disconnected, format!("the connection to broker {broker} was closed"))
        })?;
        let snapshot = self.snapshots.borrow();
        let id_of = |topic: &TopicName| snapshot.topics.get(topic).map_or(Uuid::ZERO, |topic| topic.id);
        let mut version = connection.version(ApiKey::Produce)?;
        let mut topics: Vec<TopicProduceData> = Vec::new();
        for (name, records) in data {
            match topics.iter_mut().find(|topic| topic.name == name) {
                Some(topic) => topic.partition_data.push(records),
                None => {
                    let topic_id = id_of(&name);
                    if topic_id.is_zero() {
                        version = version.min(PRODUCE_BY_NAME_MAX);
                    }
                    topics.push(TopicProduceData { name, topic_id, partition_data: vec![records] });
                }
            }
        }
        drop(snapshot);
        let request = ProduceRequest {
            transactional_id: None,
            acks: self.acks,
            timeout_ms: i32::try_from(self.request_timeout.as_millis()).unwrap_or(i32::MAX),
            topic_data: topics,
        };
        if self.acks == 0 {
            let sent = connection.send_unanswered(&request, version, deadline)?;
            self.events.spawn(async move { Event::Answered(id, sent.await.map(|()| None)) });
        } else {
            let answer = connection.call_version(&request, version, deadline)?;
            self.events.spawn(async move { Event::Answered(id, answer.await.map(Some)) });
        }
        Ok(())
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Connected(broker, Ok(connection)) => {
                self.connections.insert(broker, connection);
                self.outbox.connected(broker);
            }
            Event::Connected(broker, Err(error)) => {
                tracing::warn!(%broker, %error, "cannot connect");
                self.outbox.not_connected(broker, error, Instant::now());
            }
            Event::Identity(identity) => {
                self.asks_identity = false;
                match identity {
                    Ok(identity) => self.outbox.initialized(identity),
                    Err(error) if error.is_retriable() => tracing::warn!(%error, "no producer id"),
                    Err(error) => self.outbox.fail_queued(&error),
                }
            }
            Event::Answered(id, result) => self.answered(id, result),
        }
    }

    fn answered(&mut self, id: u64, result: Result<Option<ProduceResponse>>) {
        let Some(UnderWay { broker, batches, sent_at }) = self.under_way.remove(&id) else { return };
        self.counters.in_flight.set(self.under_way.len() as u64);
        let now = Instant::now();
        if result.is_ok() {
            self.counters.requests.record(now.saturating_duration_since(sent_at));
        }
        self.outbox.request_ended(broker);
        match result {
            Ok(Some(response)) => self.response(broker, batches, response, now),
            Ok(None) => {
                let unknown = Written { base_offset: -1, log_append_time: None };
                for (slot, batch) in batches {
                    let answer = Answer::Code {
                        code: ErrorCode::NONE,
                        message: None,
                        written: unknown,
                        names_leader: false,
                    };
                    self.outbox.handle_answer(slot, batch, answer, now);
                }
            }
            Err(error) => {
                // Whoever finds the connection ended first says so; the others find another in its place.
                if self.connections.get(&broker).is_some_and(|connection| connection.is_ended()) {
                    self.connections.remove(&broker);
                    self.outbox.disconnected(broker, now);
                }
                for (slot, batch) in batches {
                    self.outbox.handle_answer(slot, batch, Answer::Lost(error.clone()), now);
                }
            }
        }
    }

    fn response(
        &mut self,
        broker: BrokerId,
        batches: Vec<(u32, ProducerBatch)>,
        response: ProduceResponse,
        now: Instant,
    ) {
        let throttle = Duration::from_millis(u64::try_from(response.throttle_time_ms).unwrap_or_default());
        self.counters.throttles.record(throttle);
        if !throttle.is_zero() {
            self.outbox.throttled(broker, now + throttle);
        }
        let snapshot = self.snapshots.borrow().clone();
        let mut hints = Vec::new();
        let mut answers: Vec<(TopicName, Uuid, PartitionProduceResponse)> = Vec::with_capacity(batches.len());
        for topic in response.responses {
            for partition in topic.partition_responses {
                answers.push((topic.name.clone(), topic.topic_id, partition));
            }
        }
        // A broker answers in the order of the request; should it not, the answers are looked for.
        let mut expected = 0;
        for (slot, batch) in batches {
            let topic_id = snapshot.topics.get(&batch.topic).map_or(Uuid::ZERO, |topic| topic.id);
            let is_its = |(name, id, answer): &(TopicName, Uuid, PartitionProduceResponse)| {
                answer.index == batch.partition
                    && (*name == batch.topic || (name.is_empty() && !id.is_zero() && *id == topic_id))
            };
            let at = match answers.get(expected) {
                Some(answer) if is_its(answer) => Some(expected),
                _ => answers.iter().position(is_its),
            };
            let Some((_, _, answer)) = at.and_then(|at| answers.get_mut(at)) else {
                let error = Error::new(ErrorKind::Corrupt, "the broker's answer leaves the partition out");
                self.outbox.handle_answer(slot, batch, Answer::Lost(error), now);
                continue;
            };
            expected += 1;
            if answer.current_leader.leader_id != BrokerId::NONE {
                hints.push(LeaderHint {
                    topic: batch.topic.clone(),
                    partition: batch.partition,
                    leader: answer.current_leader.leader_id,
                    leader_epoch: answer.current_leader.leader_epoch,
                });
            }
            let code = answer.error_code;
            let written = Written {
                base_offset: answer.base_offset,
                log_append_time: (answer.log_append_time_ms >= 0).then_some(answer.log_append_time_ms),
            };
            let message = code.is_error().then(|| refusal(answer)).flatten();
            let leader = &answer.current_leader;
            let known = snapshot.leader(&batch.topic, batch.partition);
            let names_leader = leader.leader_id != BrokerId::NONE
                && leader.leader_id != broker
                && known.is_none_or(|(_, epoch)| leader.leader_epoch >= epoch)
                && (snapshot.brokers.contains_key(&leader.leader_id)
                    || response.node_endpoints.iter().any(|node| node.node_id == leader.leader_id));
            let answer = Answer::Code { code, message, written, names_leader };
            self.outbox.handle_answer(slot, batch, answer, now);
        }
        if !hints.is_empty() {
            let endpoints = response
                .node_endpoints
                .iter()
                .map(|node| (node.node_id, Address::told(&node.host, node.port)));
            if self.cluster.handle_leader_hints(&hints, endpoints) {
                self.learn_leaders(now);
            }
        }
    }

    fn command(&mut self, command: Command) {
        // Whoever asks has sent its records before: their batches are in the lists by now.
        self.collect(Instant::now());
        let generation = self.outbox.begin_flush();
        match command {
            Command::Flush(done) => self.flushes.push((generation, done)),
            Command::Close(deadline, done) => self.closing = Some(Closing { generation, deadline, done }),
        }
    }

    fn end_flushes(&mut self) {
        for (_, done) in self.flushes.extract_if(.., |(generation, _)| self.outbox.flushed(*generation)) {
            _ = done.send(());
        }
    }

    /// Ends the closing if all is sent, or its time is over. Answers whether the sender is to end.
    fn end_close(&mut self, now: Instant) -> bool {
        let Some(closing) = &self.closing else { return false };
        let flushed = self.outbox.flushed(closing.generation);
        if !flushed && now < closing.deadline {
            return false;
        }
        let left = self.outbox.unfinished();
        let error = Error::new(ErrorKind::Closed, "the producer was closed before the record was sent")
            .hint("give `close` more time");
        for (_, UnderWay { batches, .. }) in self.under_way.drain() {
            for (slot, batch) in batches {
                self.outbox.fail(slot, batch, error.clone());
            }
        }
        self.outbox.fail_queued(&error);
        self.accumulator.close(|batch| batch.finish(Err(error.clone()), &self.reports));
        let Some(closing) = self.closing.take() else { return true };
        _ = closing.done.send(match left {
            0 => Ok(()),
            left => {
                Err(Error::new(ErrorKind::Timeout, format!("closed with {left} batches not acknowledged"))
                    .hint("their records may have been written or not; give `close` more time"))
            }
        });
        self.flushes.drain(..).for_each(|(_, done)| _ = done.send(()));
        true
    }
}

/// What the broker said about a batch, and about its first record that it found fault with (KIP-467).
fn refusal(answer: &PartitionProduceResponse) -> Option<String> {
    let said = answer.error_message.as_ref().map(|said| said.to_string());
    let record = answer.record_errors.first().and_then(|record| {
        let said = record.batch_index_error_message.as_ref()?;
        Some(format!("record {} of the batch: {said}", record.batch_index))
    });
    match (said, record) {
        (Some(said), Some(record)) => Some(format!("{said}; {record}")),
        (said, record) => said.or(record),
    }
}

async fn ask_identity(cluster: Arc<Cluster>, deadline: Instant) -> Event {
    let request = InitProducerIdRequest {
        transactional_id: None,
        // Without a transactional id it is not looked at, but must not be below zero.
        transaction_timeout_ms: i32::MAX,
        ..Default::default()
    };
    let deadline = deadline.into();
    let asked = cluster.retry(deadline, || async {
        let response = cluster.call_any(&request, deadline).await?;
        response.error_code.ok().map_err(|code| Error::broker(code, None))?;
        Ok(Identity { id: response.producer_id, epoch: response.producer_epoch })
    });
    Event::Identity(asked.await.map_err(|error| error.context("ask for a producer id")))
}

impl super::accumulator::Signals {
    /// Whether somebody waits for memory, or found none since the last time.
    fn take_hurry(&self) -> bool {
        self.starving.swap(false, Ordering::Relaxed) || self.waiting.load(Ordering::Relaxed) > 0
    }
}
