//! The task that fetches: it keeps a request under way to each broker that leads something to be read, as long as the
//! budget allows, and looks for the offsets of partitions without a position.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        ApiKey, OffsetForLeaderEpochResponse,
        fetch::{FetchPartition, FetchRequest, FetchResponse, PartitionData},
    },
    types::{BrokerId, Str, TopicName, Uuid},
};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::sleep_until,
};

use super::{
    fetch_session::{FetchSession, SessionOutcome, SessionRequest, Wanted},
    group::GroupOffsets,
    offsets::{Remedy, Visibility, remedy, split},
    subscription::{Subscription, ToFetch, Watermarks},
    truncation,
};
use crate::{
    cluster::{
        Cluster, ListedOffset, OffsetAndMetadata, OffsetSpec, Purpose, TopicPartition,
        broker::BrokerConnection,
        list_offsets::list_offsets,
        metadata::{Address, LeaderHint, Snapshot},
        retry::Failures,
        unreached::Unreached,
    },
    config::IsolationLevel,
    error::{Error, ErrorKind, Result},
    metrics::{BrokerMetrics, Counter, Durations},
};

/// The last version of Fetch that names topics; from the next on it is their ids (KIP-516).
const FETCH_BY_NAME_MAX: i16 = 12;
/// How often topics in use are said to be; the cluster forgets them after minutes.
const TOUCH_INTERVAL: Duration = Duration::from_secs(30);

/// What the fetcher and the program's side share.
#[derive(Debug)]
pub(crate) struct Shared {
    subscription: Mutex<Subscription>,
    /// The program changed something, or made room.
    pub changed: Notify,
    /// The program asked for records: it is done with what it had.
    pub asked: Notify,
    /// Something waits for the program.
    pub arrived: Notify,
    /// Called when something came for the program.
    pub wake: Mutex<Option<Wake>>,
    pub counters: Counters,
}

/// What is called when batches wait.
#[derive(Clone)]
pub(crate) struct Wake(pub Arc<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wake")
    }
}

/// What a consumer counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub records_consumed: Counter,
    pub batches_consumed: Counter,
    pub requests_sent: Counter,
    /// From a request to its answer.
    pub fetches: Durations,
    /// Requests for which all partitions were gone through; the others are the same as those before them.
    pub requests_planned: Counter,
    pub batch_bytes_received: Counter,
    /// What each answer asked to be left alone for.
    pub throttles: Durations,
    /// Of each broker; leaf lock, taken once for an answer.
    pub of_brokers: Mutex<BTreeMap<BrokerId, BrokerMetrics>>,
}

impl Counters {
    /// A broker has answered a fetch.
    fn answered(&self, broker: BrokerId, response: &FetchResponse) {
        let mut of_brokers = self.of_brokers.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = of_brokers.entry(broker).or_default();
        counts.fetches_answered += 1;
        let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        let bytes =
            partitions.filter_map(|partition| partition.records.as_ref()).map(|records| records.len());
        counts.batch_bytes_received += bytes.map(|bytes| bytes as u64).sum::<u64>();
    }
}

impl Shared {
    pub(crate) fn new(subscription: Subscription) -> Self {
        Self {
            subscription: Mutex::new(subscription),
            changed: Notify::new(),
            asked: Notify::new(),
            arrived: Notify::new(),
            wake: Mutex::default(),
            counters: Counters::default(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Subscription> {
        self.subscription.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something waits for the program.
    pub(crate) fn tell(&self) {
        self.arrived.notify_waiters();
        self.arrived.notify_one();
        // Called without the lock: it may do anything but block.
        let wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(Wake(wake)) = wake {
            wake();
        }
    }
}

/// How to fetch.
#[derive(Clone, Debug)]
pub(super) struct FetchSettings {
    /// `fetch.max.bytes`.
    pub bytes_max: usize,
    /// `max.partition.fetch.bytes`.
    pub partition_bytes_max: usize,
    /// `fetch.min.bytes`.
    pub bytes_min: usize,
    /// `fetch.max.wait.ms`.
    pub wait_max: Duration,
    /// `isolation.level`.
    pub isolation: IsolationLevel,
    /// `client.rack`.
    pub rack: Str,
    /// `default.api.timeout.ms`.
    pub api_timeout: Duration,
}

/// The fetcher's state, all its own but for what is [`Shared`].
#[derive(Debug)]
pub(super) struct Fetcher {
    cluster: Arc<Cluster>,
    shared: Arc<Shared>,
    settings: FetchSettings,
    /// Where partitions begin, in a group.
    group: Option<Arc<GroupOffsets>>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Why there is no metadata.
    failures: watch::Receiver<Option<Error>>,
    /// Why a broker cannot be connected to.
    connections: watch::Receiver<Option<Error>>,
    /// Whether there was metadata, and whether a broker that it names was connected to.
    metadata: Unreached,
    brokers_at_all: Unreached,
    brokers: HashMap<BrokerId, Broker>,
    events: JoinSet<Event>,
    random: fastrand::Rng,
    /// When topics in use were last said to be, and as of which assignment.
    touched: Option<(Instant, u64)>,
}

#[derive(Debug)]
struct Broker {
    session: FetchSession,
    connection: Option<Arc<BrokerConnection>>,
    /// A request, or an attempt to connect, is under way.
    busy: bool,
    not_before: Option<Instant>,
    failures: Failures,
}

#[derive(Debug)]
enum Event {
    Connected(BrokerId, Result<Arc<BrokerConnection>>),
    Fetched(Box<Fetch>, Result<FetchResponse>),
    Found(Vec<(TopicPartition, u64, Result<ListedOffset>)>),
    Checked(Vec<ToFetch>, Result<Option<OffsetForLeaderEpochResponse>>),
    Committed(Vec<(TopicPartition, u64)>, Result<Committed>),
}

/// Where a group is in each partition, if anywhere.
type Committed = BTreeMap<TopicPartition, Result<Option<OffsetAndMetadata>>>;

/// A request under way.
#[derive(Debug)]
struct Fetch {
    broker: BrokerId,
    version: i16,
    sent_at: Instant,
    partitions: Vec<(ToFetch, Uuid)>,
    reserved_bytes: usize,
    plan: Plan,
}

/// As of when it was said what to fetch. As long as that is now, the next request is the same as the last.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// The subscription's.
    revision: u64,
    /// The metadata's.
    version: u64,
    /// When time alone will have changed something.
    until: Option<Instant>,
}

impl Fetcher {
    pub(super) fn new(
        cluster: Arc<Cluster>,
        shared: Arc<Shared>,
        settings: FetchSettings,
        group: Option<Arc<GroupOffsets>>,
    ) -> Self {
        Self {
            group,
            metadata: Unreached::new(settings.api_timeout),
            brokers_at_all: Unreached::new(settings.api_timeout),
            connections: cluster.subscribe_connections(),
            snapshots: cluster.subscribe(),
            failures: cluster.subscribe_failures(),
            cluster,
            shared,
            settings,
            brokers: HashMap::new(),
            events: JoinSet::new(),
            random: fastrand::Rng::new(),
            touched: None,
        }
    }

    /// Fetches until the runtime ends.
    pub(super) async fn run(mut self) {
        loop {
            let now = Instant::now();
            let timeout = self.drive(now);
            let rests =
                self.brokers.values().filter(|broker| !broker.busy).filter_map(|broker| broker.not_before);
            let timeout = rests.chain(timeout).min().unwrap_or(now + TOUCH_INTERVAL);
            let sleep = sleep_until(timeout.min(now + TOUCH_INTERVAL).into());
            tokio::pin!(sleep);
            let mut is_as_before = true;
            while is_as_before {
                is_as_before = tokio::select! {
                    biased;
                    Some(event) = self.events.join_next() => match event {
                        Ok(event) => self.happened(event),
                        Err(_) => false,
                    },
                    () = self.shared.changed.notified() => false,
                    changed = self.snapshots.changed() => match changed {
                        Ok(()) => false,
                        Err(_) => return,
                    },
                    Ok(()) = self.failures.changed() => {
                        let failure = self.failures.borrow_and_update().clone();
                        if let Some(error) = failure {
                            let told = self.metadata.failed(&error, Instant::now());
                            self.tell_of_the_way(error, told);
                        }
                        true
                    }
                    Ok(()) = self.connections.changed() => {
                        let failure = self.connections.borrow_and_update().clone();
                        match failure {
                            Some(error) => {
                                let told = self.brokers_at_all.failed(&error, Instant::now());
                                self.tell_of_the_way(error, told);
                            }
                            None => self.brokers_at_all.reached(),
                        }
                        true
                    }
                    () = &mut sleep => false,
                };
            }
        }
    }

    /// There is no way to the records, and what is to be told if it may pass. Without this a program whose password is wrong
    /// would wait for records for ever.
    fn tell_of_the_way(&self, error: Error, told: Option<Error>) {
        if let Some(error) = if error.keeps_out() { Some(error) } else { told } {
            self.shared.lock().keep_out(error);
            self.shared.tell();
        }
    }

    /// Starts whatever can be started. Answers when that may be more without anything having happened.
    fn drive(&mut self, now: Instant) -> Option<Instant> {
        self.keep_topics_known(now);
        if let Some(group) = &self.group {
            let wanted = self.shared.lock().poll_committed(now);
            if !wanted.is_empty() {
                self.events.spawn(committed(group.clone(), wanted, self.settings.api_timeout));
            }
        }
        let unknown = self.shared.lock().poll_unknown(now);
        if !unknown.is_empty() {
            self.events.spawn(find(self.cluster.clone(), unknown, self.settings.clone()));
        }
        let mut by_broker: HashMap<BrokerId, Vec<(ToFetch, Uuid)>> = HashMap::new();
        let mut to_check: HashMap<BrokerId, Vec<ToFetch>> = HashMap::new();
        let snapshot = self.snapshots.borrow_and_update().clone();
        if snapshot.version > 0 {
            self.metadata.reached();
        }
        let (fetchable, plan) = {
            let mut subscription = self.shared.lock();
            let fetchable = subscription.fetchable(self.settings.partition_bytes_max, now);
            let (revision, until) = (subscription.revision(), subscription.next_timeout(now));
            (fetchable, Plan { revision, version: snapshot.version, until })
        };
        for mut to_fetch in fetchable {
            let TopicPartition { topic, partition } = &to_fetch.partition;
            // Without a leader it is fetched once metadata names one; the cluster asks for it by itself.
            let Some((leader, epoch)) = snapshot.leader(topic, *partition) else { continue };
            to_fetch.leader_epoch = epoch;
            if to_fetch.is_to_check() {
                to_check.entry(leader).or_default().push(to_fetch);
                continue;
            }
            let id = snapshot.topics.get(topic).map_or(Uuid::ZERO, |topic| topic.id);
            let preferred = to_fetch.preferred.filter(|id| snapshot.brokers.contains_key(id));
            by_broker.entry(preferred.unwrap_or(leader)).or_default().push((to_fetch, id));
        }
        for (leader, partitions) in to_check {
            self.shared.lock().begin_check(&partitions);
            let (cluster, timeout) = (self.cluster.clone(), self.cluster.config().request_timeout);
            self.events.spawn(check(cluster, leader, partitions, now + timeout));
        }
        for (id, partitions) in by_broker {
            self.fetch(id, partitions, plan, now);
        }
        let subscription = self.shared.lock();
        if subscription.revision() == plan.revision { plan.until } else { subscription.next_timeout(now) }
    }

    /// Tells the cluster which topics are in use: new ones at once, the others now and then.
    fn keep_topics_known(&mut self, now: Instant) {
        let subscription = self.shared.lock();
        let assignment = subscription.assignments();
        let is_fresh = |(at, of): (Instant, u64)| of == assignment && now.duration_since(at) < TOUCH_INTERVAL;
        if self.touched.is_some_and(is_fresh) {
            return;
        }
        let topics: HashSet<TopicName> = subscription.assignment().map(|tp| tp.topic.clone()).collect();
        drop(subscription);
        topics.iter().for_each(|topic| self.cluster.want(topic));
        self.touched = Some((now, assignment));
    }

    /// Sends a request to a broker that is not busy, or connects to it first.
    fn fetch(&mut self, id: BrokerId, partitions: Vec<(ToFetch, Uuid)>, plan: Plan, now: Instant) {
        let broker = self.brokers.entry(id).or_insert_with(Broker::new);
        if broker.busy || broker.not_before.is_some_and(|until| until > now) {
            return;
        }
        broker.not_before = None;
        broker.busy = true;
        let address = self.snapshots.borrow().brokers.get(&id).cloned();
        // A broker may be somewhere else since.
        let is_current = |connection: &Arc<BrokerConnection>| {
            !connection.is_ended() && address.as_ref() == Some(connection.address())
        };
        let Some(connection) = broker.connection.clone().filter(is_current) else {
            let cluster = self.cluster.clone();
            self.events
                .spawn(async move { Event::Connected(id, cluster.connection(id, Purpose::Fetch).await) });
            return;
        };
        let wanted_bytes =
            self.settings.bytes_max.min(self.settings.partition_bytes_max.saturating_mul(partitions.len()));
        let reserved_bytes =
            self.shared.lock().begin_fetch(partitions.iter().map(|(to_fetch, _)| to_fetch), wanted_bytes);
        let mut fetch = Box::new(Fetch {
            broker: id,
            version: FETCH_BY_NAME_MAX,
            sent_at: now,
            partitions: partitions.clone(),
            reserved_bytes,
            plan,
        });
        match connection.version(ApiKey::Fetch) {
            Ok(newest) => {
                let is_by_name = partitions.iter().any(|(_, id)| id.is_zero());
                fetch.version = if is_by_name { newest.min(FETCH_BY_NAME_MAX) } else { newest };
            }
            Err(error) => {
                self.happened(Event::Fetched(fetch, Err(error)));
                return;
            }
        }
        self.shared.counters.requests_planned.add(1);
        let session = self.next_of_session(id, partitions, fetch.version);
        self.send(fetch, &connection, session, now);
    }

    /// Sends the request that is under way from here on; answers whether it could.
    fn send(
        &mut self,
        mut fetch: Box<Fetch>,
        connection: &BrokerConnection,
        session: SessionRequest,
        now: Instant,
    ) -> bool {
        let as_i32 = |bytes: usize| i32::try_from(bytes).unwrap_or(i32::MAX);
        let request = FetchRequest {
            max_wait_ms: i32::try_from(self.settings.wait_max.as_millis()).unwrap_or(i32::MAX),
            min_bytes: as_i32(self.settings.bytes_min),
            max_bytes: as_i32(fetch.reserved_bytes),
            isolation_level: self.settings.isolation as i8,
            session_id: session.session_id,
            session_epoch: session.session_epoch,
            topics: session.topics,
            forgotten_topics_data: session.forgotten,
            rack_id: self.settings.rack.clone(),
            replica_id: BrokerId::NONE,
            ..Default::default()
        };
        let deadline = now + self.cluster.config().request_timeout.max(self.settings.wait_max);
        fetch.sent_at = now;
        match connection.call_version(&request, fetch.version, deadline.into()) {
            Ok(answer) => {
                self.shared.counters.requests_sent.add(1);
                self.events.spawn(async move { Event::Fetched(fetch, answer.await) });
                true
            }
            Err(error) => {
                self.happened(Event::Fetched(fetch, Err(error)));
                false
            }
        }
    }

    /// What of a request is the session's to say.
    fn next_of_session(
        &mut self,
        id: BrokerId,
        partitions: Vec<(ToFetch, Uuid)>,
        version: i16,
    ) -> SessionRequest {
        let partition_max_bytes = i32::try_from(self.settings.partition_bytes_max).unwrap_or(i32::MAX);
        let wanted = partitions.into_iter().map(|(to_fetch, topic_id)| Wanted {
            topic: to_fetch.partition.topic,
            topic_id,
            fetch: FetchPartition {
                partition: to_fetch.partition.partition,
                current_leader_epoch: to_fetch.leader_epoch,
                fetch_offset: to_fetch.offset,
                partition_max_bytes,
                ..Default::default()
            },
        });
        let broker = self.brokers.entry(id).or_insert_with(Broker::new);
        broker.session.next_request(wanted.collect(), version > FETCH_BY_NAME_MAX)
    }

    /// An answer brought nothing: asks the same again, if it is still what is to be asked. So a consumer of a thousand
    /// partitions that nobody writes to looks at none of them, however often a broker says that there is nothing.
    ///
    /// The session has heard of the answer before. Gives the request back if another one is due; else answers whether it
    /// could be sent.
    fn repeat(&mut self, fetch: Box<Fetch>, now: Instant) -> Result<bool, Box<Fetch>> {
        let Plan { revision, version, until } = fetch.plan;
        let is_as_planned = until.is_none_or(|until| now < until)
            && self.shared.lock().revision() == revision
            && self.snapshots.borrow().version == version;
        let broker = self.brokers.get(&fetch.broker).filter(|_| is_as_planned);
        let connection = broker.and_then(|broker| broker.connection.clone()).filter(|it| !it.is_ended());
        let session = broker.and_then(|broker| broker.session.repeat_request());
        let (Some(connection), Some(session)) = (connection, session) else { return Err(fetch) };
        Ok(self.send(fetch, &connection, session, now))
    }

    /// Takes an event in. Answers whether all is as it was before, so that nothing else is to be done.
    fn happened(&mut self, event: Event) -> bool {
        let now = Instant::now();
        match event {
            Event::Connected(id, connected) => {
                let backoff = self.cluster.reconnect_backoff();
                let broker = self.brokers.entry(id).or_insert_with(Broker::new);
                broker.busy = false;
                match connected {
                    Ok(connection) => {
                        // A session lives in the broker, not on the connection; yet it may be another broker's.
                        broker.session.handle_failure();
                        broker.failures.clear();
                        broker.connection = Some(connection);
                    }
                    Err(error) => {
                        tracing::warn!(broker = %id, %error, "cannot connect");
                        broker.not_before = Some(now + broker.failures.record(&backoff, &mut self.random));
                        self.shared.lock().avoid(id);
                        self.cluster.request_refresh();
                    }
                }
            }
            Event::Fetched(fetch, Ok(response)) => return self.fetched(fetch, response, now),
            Event::Fetched(fetch, Err(error)) => {
                tracing::debug!(broker = %fetch.broker, %error, "fetch failed");
                let backoff = self.cluster.backoff();
                let broker = self.brokers.entry(fetch.broker).or_insert_with(Broker::new);
                broker.busy = false;
                broker.session.handle_failure();
                broker.not_before = Some(now + broker.failures.record(&backoff, &mut self.random));
                self.end(&fetch, None);
                self.shared.lock().avoid(fetch.broker);
                if !error.is_retriable() {
                    for (to_fetch, _) in &fetch.partitions {
                        let error = error.clone().context(format!("fetch `{}`", to_fetch.partition));
                        self.shared.lock().failed(to_fetch, Some(error), now);
                    }
                    self.shared.tell();
                }
                self.cluster.request_refresh();
            }
            Event::Committed(wanted, mut committed) => {
                let mut subscription = self.shared.lock();
                for (tp, era) in wanted {
                    let offset = match &mut committed {
                        Ok(committed) => committed.remove(&tp).unwrap_or(Ok(None)),
                        Err(error) => Err(error.clone()),
                    };
                    subscription.begin(&tp, era, offset, now);
                }
                drop(subscription);
                self.shared.tell();
            }
            Event::Found(found) => {
                let mut subscription = self.shared.lock();
                for (tp, era, listed) in found {
                    let offset = listed.and_then(|listed| {
                        listed
                            .offset
                            .ok_or_else(|| Error::new(ErrorKind::NoOffset, "there is no such offset"))
                    });
                    subscription.found(&tp, era, offset, now);
                }
                drop(subscription);
                self.shared.tell();
            }
            Event::Checked(partitions, answer) => self.checked(&partitions, answer, now),
        }
        false
    }

    /// A leader has said whether it has what was read.
    fn checked(
        &self,
        partitions: &[ToFetch],
        answer: Result<Option<OffsetForLeaderEpochResponse>>,
        now: Instant,
    ) {
        let mut subscription = self.shared.lock();
        subscription.end_fetch(partitions, 0);
        let mut ends = match answer {
            Ok(Some(response)) => truncation::read(response),
            // A broker that cannot tell is believed, as it is by Kafka's client.
            Ok(None) => return partitions.iter().for_each(|it| subscription.pass(it)),
            Err(error) => {
                tracing::debug!(%error, "it is not known whether logs were truncated");
                partitions.iter().for_each(|it| subscription.failed(it, None, now));
                return self.cluster.request_refresh();
            }
        };
        let mut is_outdated = false;
        for to_check in partitions {
            let TopicPartition { topic, partition } = &to_check.partition;
            match ends.remove(&(topic.clone(), *partition)) {
                Some(Ok(end)) => subscription.checked(to_check, end),
                Some(Err(code)) => {
                    tracing::debug!(partition = %to_check.partition, %code, "the end of an epoch is not told");
                    let error = (remedy(code) == Remedy::Tell).then(|| {
                        let doing = format!("look for a truncation of `{}`", to_check.partition);
                        Error::broker(code, None).context(doing)
                    });
                    subscription.failed(to_check, error, now);
                    is_outdated = true;
                }
                None => subscription.failed(to_check, None, now),
            }
        }
        drop(subscription);
        if is_outdated {
            self.cluster.request_refresh();
        }
        self.shared.tell();
    }

    fn end(&self, fetch: &Fetch, subscription: Option<&mut Subscription>) {
        let partitions = fetch.partitions.iter().map(|(to_fetch, _)| to_fetch);
        match subscription {
            Some(subscription) => subscription.end_fetch(partitions, fetch.reserved_bytes),
            None => self.shared.lock().end_fetch(partitions, fetch.reserved_bytes),
        }
    }

    /// Takes a response in. Answers as [`Self::happened`].
    fn fetched(&mut self, mut fetch: Box<Fetch>, response: FetchResponse, now: Instant) -> bool {
        let broker = self.brokers.entry(fetch.broker).or_insert_with(Broker::new);
        broker.failures.clear();
        let throttle = Duration::from_millis(u64::try_from(response.throttle_time_ms).unwrap_or_default());
        self.shared.counters.throttles.record(throttle);
        if !throttle.is_zero() {
            broker.not_before = Some(now + throttle);
        }
        if broker.session.handle_response(response.error_code, response.session_id) == SessionOutcome::Again {
            tracing::debug!(broker = %fetch.broker, code = %response.error_code, "fetch session begins anew");
            if !is_of_session(response.error_code) {
                let backoff = self.cluster.backoff();
                broker.not_before = Some(now + broker.failures.record(&backoff, &mut self.random));
            }
            broker.busy = false;
            self.end(&fetch, None);
            return false;
        }
        self.shared.counters.fetches.record(now.saturating_duration_since(fetch.sent_at));
        self.shared.counters.answered(fetch.broker, &response);
        if response.responses.is_empty() && broker.not_before.is_none() {
            match self.repeat(fetch, now) {
                Ok(is_sent) => return is_sent,
                Err(other) => fetch = other,
            }
        }
        self.brokers.entry(fetch.broker).or_insert_with(Broker::new).busy = false;
        let mut by_place: HashMap<(&TopicName, i32), &ToFetch> =
            HashMap::with_capacity(fetch.partitions.len());
        let mut names: HashMap<Uuid, &TopicName> = HashMap::new();
        for (to_fetch, id) in &fetch.partitions {
            by_place.insert((&to_fetch.partition.topic, to_fetch.partition.partition), to_fetch);
            names.insert(*id, &to_fetch.partition.topic);
        }
        let mut hints = Vec::new();
        let mut parts = Vec::with_capacity(response.responses.len());
        for topic in response.responses {
            let named =
                if topic.topic.is_empty() { names.get(&topic.topic_id).copied() } else { Some(&topic.topic) };
            let Some(name) = named else { continue };
            for data in topic.partitions {
                let Some(to_fetch) = by_place.get(&(name, data.partition_index)) else { continue };
                if data.current_leader.leader_id != BrokerId::NONE {
                    hints.push(LeaderHint {
                        topic: name.clone(),
                        partition: data.partition_index,
                        leader: data.current_leader.leader_id,
                        leader_epoch: data.current_leader.leader_epoch,
                    });
                }
                parts.push((*to_fetch, data));
            }
        }
        // First the leaders that the answer names (KIP-951): who was asked in vain is not asked again, but they are, at once.
        if !hints.is_empty() {
            let endpoints = response.node_endpoints.iter();
            let endpoints = endpoints.map(|node| (node.node_id, Address::told(&node.host, node.port)));
            self.cluster.handle_leader_hints(&hints, endpoints);
        }
        let known = self.cluster.snapshot();
        let arrived = !parts.is_empty();
        let mut refresh = false;
        for (to_fetch, data) in parts {
            refresh |= self.partition(to_fetch, data, &known, now);
        }
        self.end(&fetch, None);
        if arrived {
            self.shared.tell();
        }
        if refresh {
            self.cluster.request_refresh();
        }
        false
    }

    /// Takes one partition's part of a response. Answers whether metadata looks out of date.
    fn partition(&self, to_fetch: &ToFetch, data: PartitionData, known: &Snapshot, now: Instant) -> bool {
        let code = data.error_code;
        if code.is_error() {
            let remedy = remedy(code);
            let TopicPartition { topic, partition } = &to_fetch.partition;
            let is_newer = |(_, epoch): (BrokerId, i32)| epoch > to_fetch.leader_epoch;
            if remedy == Remedy::Refresh && known.leader(topic, *partition).is_some_and(is_newer) {
                tracing::debug!(partition = %to_fetch.partition, %code, "the leader has moved, and is known");
                self.shared.lock().moved(to_fetch);
                return false;
            }
            tracing::debug!(partition = %to_fetch.partition, %code, ?remedy, "partition not fetched");
            let mut subscription = self.shared.lock();
            match remedy {
                Remedy::Reset => {
                    let known = match data.log_start_offset {
                        start @ 0.. => format!(" (it has {start} to {})", data.high_watermark),
                        _ => String::new(),
                    };
                    subscription.out_of_range(to_fetch, &known, now);
                }
                Remedy::Tell => {
                    let error = Error::broker(code, None).context(format!("fetch `{}`", to_fetch.partition));
                    subscription.failed(to_fetch, Some(error), now);
                }
                Remedy::Retry | Remedy::Refresh => subscription.failed(to_fetch, None, now),
            }
            return remedy == Remedy::Refresh;
        }
        let replica = data.preferred_read_replica;
        if replica != BrokerId::NONE {
            tracing::debug!(partition = %to_fetch.partition, %replica, "a replica nearby is to be asked");
            let is_known = known.brokers.contains_key(&replica);
            let mut subscription = self.shared.lock();
            if is_known {
                let until = now + self.cluster.config().metadata_max_age;
                subscription.prefer(to_fetch, replica, until);
            } else {
                // The leader would say the same again until metadata tells where the replica listens.
                subscription.failed(to_fetch, None, now);
            }
            return !is_known;
        }
        let high = match self.settings.isolation {
            IsolationLevel::ReadCommitted => data.last_stable_offset,
            IsolationLevel::ReadUncommitted => data.high_watermark,
        };
        let watermarks = Watermarks { low: data.log_start_offset.max(0), high };
        let bytes = data.records.map(ottla_protocol::wire::Records::into_bytes).unwrap_or_default();
        self.shared.counters.batch_bytes_received.add(bytes.len() as u64);
        let mut visibility = Visibility::new(self.settings.isolation, data.aborted_transactions);
        let (batches, unreadable) = split(bytes);
        let batches = batches.into_iter().map(|batch| {
            let shown = visibility.shows(&batch);
            (batch, shown)
        });
        let batches: Vec<_> = batches.collect();
        let mut subscription = self.shared.lock();
        subscription.hand_in(to_fetch, batches, watermarks);
        if let Some(error) = unreadable {
            let error = Error::new(ErrorKind::Corrupt, format!("a batch cannot be read: {error}"))
                .caused_by(error)
                .context(format!("fetch `{}`", to_fetch.partition));
            subscription.failed(to_fetch, Some(error), now);
        }
        false
    }
}

impl Broker {
    fn new() -> Self {
        Self {
            session: FetchSession::new(),
            connection: None,
            busy: false,
            not_before: None,
            failures: Failures::default(),
        }
    }
}

/// Codes that say that a session is not there, and that another can be opened at once.
fn is_of_session(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
            | ErrorCode::INVALID_FETCH_SESSION_EPOCH
            | ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR
    )
}

async fn find(
    cluster: Arc<Cluster>,
    unknown: Vec<(TopicPartition, u64, OffsetSpec)>,
    settings: FetchSettings,
) -> Event {
    let wanted = unknown.iter().map(|(tp, _, spec)| (tp.clone(), *spec)).collect();
    let deadline = tokio::time::Instant::now() + settings.api_timeout;
    let found = list_offsets(&cluster, wanted, settings.isolation, deadline).await;
    Event::Found(
        unknown.into_iter().zip(found).map(|((tp, era, _), (_, listed))| (tp, era, listed)).collect(),
    )
}

/// Asks a leader where epochs end; `None` if it cannot tell.
async fn check(
    cluster: Arc<Cluster>,
    leader: BrokerId,
    partitions: Vec<ToFetch>,
    deadline: Instant,
) -> Event {
    let asking = async {
        let connection = cluster.connection(leader, Purpose::Ask).await?;
        let version = connection.version(ApiKey::OffsetForLeaderEpoch).ok();
        let Some(version) = version.filter(|version| *version >= truncation::VERSION_MIN) else {
            return Ok(None);
        };
        let request = truncation::request(&partitions);
        connection.call_version(&request, version, deadline.into())?.await.map(Some)
    };
    let answer = asking.await;
    Event::Checked(partitions, answer)
}

async fn committed(
    group: Arc<GroupOffsets>,
    wanted: Vec<(TopicPartition, u64)>,
    api_timeout: Duration,
) -> Event {
    let partitions: Vec<TopicPartition> = wanted.iter().map(|(tp, _)| tp.clone()).collect();
    let committed = group.fetch_each(&partitions, tokio::time::Instant::now() + api_timeout).await;
    if let Err(error) = &committed {
        tracing::warn!(%error, "it is not known where the group is");
    }
    Event::Committed(wanted, committed)
}
