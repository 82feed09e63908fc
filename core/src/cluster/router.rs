//! Which broker to ask, over which connection, and again if it fails.
//!
//! A broker has a connection per [`Purpose`], made when first needed, so that a fetch that waits for records holds
//! up no produce request. One task keeps the metadata; everyone reads its [`Snapshot`] and may wait for the next.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ottla_protocol::{
    api::Api,
    messages::{
        ApiKey,
        metadata::{MetadataRequest, MetadataResponse},
    },
    types::{BrokerId, TopicName},
};
use ottla_transport::{ConnectOptions, tls::TlsConnector};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{
    broker::{BrokerConnection, Identification},
    diagnosis::{self, Advertised},
    metadata::{Address, LeaderHint, Metadata, MetadataSettings, Snapshot},
    retry::{Backoff, Failures},
    security::{SaslLogin, Security},
    tokens::AnyProvider,
};
use crate::{
    config::{ClientConfig, MetadataRecovery},
    error::{Error, ErrorKind, Result},
    metrics::Counter,
};

/// What a connection is for. Requests on one connection are answered in order, so what may take long is apart.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Purpose {
    /// Metadata, admin requests, offsets.
    Ask,
    /// Produce requests.
    Produce,
    /// Fetch requests, which wait at the broker.
    Fetch,
    /// What a member of a group says to its coordinator; joining waits for the others.
    Coordinate,
}

/// How to reach a cluster.
#[derive(Clone, Debug)]
pub(crate) struct ClusterSettings {
    /// The keys that all clients have.
    pub client: ClientConfig,
    /// `metadata.max.idle.ms`; consumers have no such key and name what they use.
    pub metadata_max_idle: Duration,
    /// Whether asking for a topic may create it.
    pub allow_auto_topic_creation: bool,
    /// The program's own way to get tokens.
    pub tokens: Option<AnyProvider>,
}

/// A cluster and the connections to it. Lives on its client's I/O thread; the snapshot is read from anywhere.
#[derive(Debug)]
pub(crate) struct Cluster {
    config: ClientConfig,
    bootstrap: Vec<Address>,
    options: ConnectOptions,
    identification: Identification,
    /// How to log in on each connection.
    sasl: Option<SaslLogin>,
    /// Leaf lock; held for no I/O.
    state: Mutex<State>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    /// The last failure to get metadata, for those whose wait for it ends.
    failure: watch::Sender<Option<Error>>,
    /// Why the broker could not be connected to that was tried last; `None` if it could.
    unconnected: watch::Sender<Option<Error>>,
    metadata_changed: Notify,
    metadata_requests: Counter,
}

#[derive(Debug)]
struct State {
    metadata: Metadata,
    connections: HashMap<(Node, Purpose), Arc<Place>>,
    /// Who answered the last request for metadata: who told where the brokers listen.
    teller: Option<Address>,
    /// Where brokers that are known were reached. An address among them is not wrong, if it ever fails.
    reached: HashMap<BrokerId, Address>,
    random: fastrand::Rng,
}

/// Someone to ask.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Node {
    Broker(BrokerId),
    /// The bootstrap server of this index, whose id is not known.
    Bootstrap(usize),
}

/// Where a connection is, or will be. Taken while connecting, so that nobody else does.
type Place = tokio::sync::Mutex<Option<Arc<BrokerConnection>>>;

impl Cluster {
    /// A cluster of which only the bootstrap servers are known. Makes no connection yet;
    /// [`Cluster::keep_metadata`] does.
    pub(crate) fn new(settings: ClusterSettings) -> Result<Arc<Self>> {
        let ClusterSettings { client: config, metadata_max_idle, allow_auto_topic_creation, tokens } =
            settings;
        let bootstrap = bootstrap(&config)?;
        let metadata = MetadataSettings {
            max_age: config.metadata_max_age,
            max_idle: metadata_max_idle,
            backoff: Backoff { first: config.retry_backoff, most: config.retry_backoff_max },
            allow_auto_topic_creation,
            rebootstrap_after: (config.metadata_recovery_strategy == MetadataRecovery::Rebootstrap)
                .then_some(config.metadata_recovery_rebootstrap_trigger),
        };
        let metadata = Metadata::new(metadata, std::time::Instant::now());
        let Security { tls, sasl } = Security::new(&config, tokens)?;
        Ok(Arc::new(Self {
            bootstrap,
            options: connect_options(&config, tls),
            identification: Identification::of(&config),
            sasl,
            snapshot: watch::Sender::new(metadata.snapshot().clone()),
            failure: watch::Sender::new(None),
            unconnected: watch::Sender::new(None),
            state: Mutex::new(State {
                metadata,
                connections: HashMap::new(),
                teller: None,
                reached: HashMap::new(),
                random: fastrand::Rng::new(),
            }),
            metadata_requests: Counter::default(),
            metadata_changed: Notify::new(),
            config,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys that all clients have.
    pub(crate) fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// `retry.backoff.ms` with its most.
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff { first: self.config.retry_backoff, most: self.config.retry_backoff_max }
    }

    /// `reconnect.backoff.ms` with its most.
    pub(crate) fn reconnect_backoff(&self) -> Backoff {
        Backoff { first: self.config.reconnect_backoff, most: self.config.reconnect_backoff_max }
    }

    // ---- metadata

    /// How often metadata was asked for, each attempt counted.
    pub(crate) fn metadata_requests(&self) -> u64 {
        self.metadata_requests.get()
    }

    /// What is known now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// To wait for what will be known next.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.subscribe()
    }

    /// To hear why there is no metadata.
    pub(crate) fn subscribe_failures(&self) -> watch::Receiver<Option<Error>> {
        self.failure.subscribe()
    }

    /// To hear why brokers that are known cannot be connected to, and that one could be.
    pub(crate) fn subscribe_connections(&self) -> watch::Receiver<Option<Error>> {
        self.unconnected.subscribe()
    }

    /// Keeps a topic known while it is in use: to be called now and then.
    pub(crate) fn want(&self, topic: &TopicName) {
        self.change_metadata(|metadata, now| metadata.want(topic, now));
    }

    /// Something was out of date.
    pub(crate) fn request_refresh(&self) {
        self.change_metadata(Metadata::request_refresh);
    }

    fn change_metadata(&self, change: impl FnOnce(&mut Metadata, std::time::Instant)) {
        let mut state = self.lock();
        let before = state.metadata.next_due();
        change(&mut state.metadata, std::time::Instant::now());
        if state.metadata.next_due() != before {
            self.metadata_changed.notify_one();
        }
    }

    /// Takes over leaders that a response named. Answers whether anything is new.
    pub(crate) fn handle_leader_hints(
        &self,
        hints: &[LeaderHint],
        endpoints: impl IntoIterator<Item = (BrokerId, Address)>,
    ) -> bool {
        let mut state = self.lock();
        let is_new = state.metadata.handle_leader_hints(hints, endpoints);
        if is_new {
            self.snapshot.send_replace(state.metadata.snapshot().clone());
        }
        is_new
    }

    /// Keeps the metadata up to date; never ends.
    pub(crate) async fn keep_metadata(self: Arc<Self>) {
        loop {
            let (request, due) = {
                let mut state = self.lock();
                let request = state.metadata.poll_request(std::time::Instant::now());
                (request, state.metadata.next_due())
            };
            let Some(request) = request else {
                let due = due.map_or_else(far_future, Instant::from_std);
                tokio::select! {
                    () = sleep_until(due) => {}
                    () = self.metadata_changed.notified() => {}
                }
                continue;
            };
            match self.ask_for_metadata(&request).await {
                Ok(response) => {
                    let mut state = self.lock();
                    let State { metadata, random, .. } = &mut *state;
                    metadata.handle_response(&response, std::time::Instant::now(), random);
                    self.snapshot.send_replace(metadata.snapshot().clone());
                    self.failure.send_replace(None);
                }
                Err(error) => {
                    tracing::warn!(%error, "no metadata");
                    let mut state = self.lock();
                    let State { metadata, random, .. } = &mut *state;
                    metadata.handle_failure(error.code(), std::time::Instant::now(), random);
                    if metadata.is_lost() {
                        tracing::warn!("no known broker answers; beginning anew at `bootstrap.servers`");
                    }
                    self.failure.send_replace(Some(error));
                }
            }
        }
    }

    async fn ask_for_metadata(&self, request: &MetadataRequest) -> Result<MetadataResponse> {
        // A connection that says nothing is given up before the question is: its error tells more.
        let grace = self.config.socket_connection_setup_timeout;
        let deadline = Instant::now() + self.config.request_timeout;
        let response = self.ask_any(request, deadline, grace).await?;
        response.error_code.ok().map_err(|code| Error::broker(code, None))?;
        Ok(response)
    }

    /// The metadata once it satisfies `read`, at the latest at `deadline`; `waiting_for` is for the error. Whoever cannot
    /// log in, or trusts no broker, hears of it with the next attempt.
    pub(crate) async fn wait_for<T>(
        &self,
        waiting_for: &str,
        deadline: Instant,
        mut read: impl FnMut(&Arc<Snapshot>) -> Option<T>,
    ) -> Result<T> {
        let mut snapshots = self.subscribe();
        let mut failures = self.subscribe_failures();
        let waited = Instant::now();
        let found = timeout_at(deadline, async {
            loop {
                let found = read(&snapshots.borrow_and_update());
                if found.is_some() {
                    return Ok(found);
                }
                tokio::select! {
                    changed = snapshots.changed() => if changed.is_err() {
                        return Ok(None);
                    },
                    Ok(()) = failures.changed() => {
                        let failure = failures.borrow_and_update();
                        if let Some(error) = failure.as_ref().filter(|error| error.keeps_out()) {
                            return Err(error.clone().context(format!("waiting for {waiting_for}")));
                        }
                    }
                }
            }
        });
        if let Some(found) = found.await.unwrap_or(Ok(None))? {
            return Ok(found);
        }
        let mut text = format!("waited {} ms for {waiting_for}", waited.elapsed().as_millis());
        let failure = self.failure.borrow();
        if let Some(error) = &*failure {
            text += ": ";
            text += &error.what_happened();
        }
        let hint = failure.as_ref().and_then(Error::what_to_do);
        Err(Error::new(ErrorKind::Timeout, text).hint_if(hint))
    }

    // ---- connections

    /// A connection to a broker, made if there is none.
    pub(crate) async fn connection(
        &self,
        broker: BrokerId,
        purpose: Purpose,
    ) -> Result<Arc<BrokerConnection>> {
        self.connect(Node::Broker(broker), purpose).await
    }

    /// Where a node listens, as far as that is known.
    fn address(&self, node: Node) -> Option<Address> {
        match node {
            Node::Bootstrap(index) => self.bootstrap.get(index).cloned(),
            Node::Broker(id) => self.snapshot.borrow().brokers.get(&id).cloned(),
        }
    }

    async fn connect(&self, node: Node, purpose: Purpose) -> Result<Arc<BrokerConnection>> {
        let address = self.address(node).ok_or_else(|| {
            Error::new(ErrorKind::Disconnected, format!("it is not known where {node:?} listens"))
        })?;
        let place = self.lock().connections.entry((node, purpose)).or_default().clone();
        let mut place = place.lock().await;
        // A broker may come back under another address.
        if let Some(open) = place.as_ref().filter(|open| !open.is_ended() && *open.address() == address) {
            return Ok(open.clone());
        }
        let timeout = self.config.request_timeout;
        let (identification, sasl) = (self.identification.clone(), self.sasl.as_ref());
        let opened = BrokerConnection::open(&address, &self.options, identification, sasl, timeout).await;
        let opened = self.explain(node, &address, opened)?;
        *place = Some(opened.clone());
        Ok(opened)
    }

    /// The address that a broker advertises may itself be what is wrong.
    fn explain<T>(&self, node: Node, address: &Address, opened: Result<T>) -> Result<T> {
        let Node::Broker(broker) = node else { return opened };
        let mut state = self.lock();
        let error = match opened {
            Ok(opened) => {
                state.reached.insert(broker, address.clone());
                self.unconnected.send_replace(None);
                return Ok(opened);
            }
            Err(error) => error,
        };
        let is_new = state.reached.get(&broker) != Some(address) && !self.bootstrap.contains(address);
        let error = match state.teller.clone().filter(|_| is_new) {
            Some(teller) => Advertised { broker, address: address.clone(), teller }.explain(error),
            None => error.context(format!("connect to broker {broker}")),
        };
        self.unconnected.send_replace(Some(error.clone()));
        Err(error)
    }

    /// Those that may be asked anything, best first: brokers that a connection is open to, then the others at
    /// random; the bootstrap servers where no broker is known, or as the last resort.
    fn candidates(&self) -> Vec<Node> {
        let mut state = self.lock();
        let State { random, connections, metadata, .. } = &mut *state;
        let mut brokers: Vec<Node> = metadata.snapshot().brokers.keys().copied().map(Node::Broker).collect();
        random.shuffle(&mut brokers);
        brokers.sort_by_key(|node| {
            let place = connections.get(&(*node, Purpose::Ask)).and_then(|place| place.try_lock().ok());
            let open = place.is_some_and(|place| place.as_ref().is_some_and(|open| !open.is_ended()));
            !open
        });
        let mut bootstrap: Vec<Node> = (0..self.bootstrap.len()).map(Node::Bootstrap).collect();
        random.shuffle(&mut bootstrap);
        if metadata.is_lost() {
            bootstrap.append(&mut brokers);
            return bootstrap;
        }
        if brokers.is_empty() || self.config.metadata_recovery_strategy == MetadataRecovery::Rebootstrap {
            brokers.append(&mut bootstrap);
        }
        brokers
    }

    // ---- requests

    /// Asks one after the other until one answers; each is asked once. Nobody is asked after `deadline`, and who was asked before
    /// has `grace` more.
    async fn ask_any<R: Api>(&self, request: &R, deadline: Instant, grace: Duration) -> Result<R::Response> {
        let mut last = None;
        for node in self.candidates() {
            match self.ask(node, request, deadline + grace).await {
                Ok(response) => return Ok(response),
                Err(error) if error.is_retriable() => {
                    tracing::debug!(?node, %error, "asking the next broker");
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        Err(last.unwrap_or_else(|| Error::new(ErrorKind::Disconnected, "there is no broker to ask")))
    }

    async fn ask<R: Api>(&self, node: Node, request: &R, deadline: Instant) -> Result<R::Response> {
        let mut is_connected = false;
        let asking = async {
            let connection = self.connect(node, Purpose::Ask).await?;
            is_connected = true;
            if R::KEY == ApiKey::Metadata {
                self.metadata_requests.add(1);
            }
            let deadline = deadline.min(Instant::now() + self.config.request_timeout);
            let response = connection.call(request, deadline)?.await?;
            if R::KEY == ApiKey::Metadata {
                self.lock().teller = Some(connection.address().clone());
            }
            Ok(response)
        };
        let asked = timeout_at(deadline, asking).await;
        asked.unwrap_or_else(|_| Err(self.late(node, R::KEY, is_connected)))
    }

    /// That the time for a question was over: the question's own, which may be short.
    fn late(&self, node: Node, key: ApiKey, is_connected: bool) -> Error {
        let Some(address) = self.address(node) else {
            return Error::new(ErrorKind::Timeout, format!("{node:?} did not answer {key:?} in time"));
        };
        if is_connected {
            return Error::new(ErrorKind::Timeout, format!("`{address}` did not answer {key:?} in time"));
        }
        if let Some(SaslLogin::Bearer(tokens)) = &self.sasl
            && let Some(failure) = tokens.missing()
        {
            return failure.unwrap_or_else(diagnosis::no_token_in_time);
        }
        let error = diagnosis::not_in_time(&address);
        let explained: Result<()> = self.explain(node, &address, Err(error.clone()));
        explained.err().unwrap_or(error)
    }

    /// Asks any broker, again until `deadline` as long as the failure may pass.
    pub(crate) async fn call_any<R: Api>(&self, request: &R, deadline: Instant) -> Result<R::Response> {
        self.retry(deadline, || self.ask_any(request, deadline, Duration::ZERO)).await
    }

    /// Asks the controller, or rather the broker that passes it on.
    pub(crate) async fn call_controller<R: Api>(
        &self,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Response> {
        self.retry(deadline, || async {
            let controller = self.snapshot().controller;
            match controller {
                Some(id) => self.ask(Node::Broker(id), request, deadline).await,
                None => self.ask_any(request, deadline, Duration::ZERO).await,
            }
        })
        .await
    }

    /// Asks this broker.
    pub(crate) async fn call_broker<R: Api>(
        &self,
        broker: BrokerId,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Response> {
        self.ask(Node::Broker(broker), request, deadline).await
    }

    /// Calls `attempt` until it succeeds, fails for good, or `deadline` passes.
    pub(crate) async fn retry<T, F>(&self, deadline: Instant, mut attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut failures = Failures::default();
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) if !error.is_retriable() => return Err(error),
                Err(error) => error,
            };
            let wait = failures.record(&self.backoff(), &mut self.lock().random);
            if Instant::now() + wait >= deadline {
                return Err(error);
            }
            self.request_refresh();
            sleep(wait).await;
        }
    }
}

fn far_future() -> Instant {
    Instant::now() + Duration::from_secs(3_600)
}

/// `bootstrap.servers`, of which there is one at least.
pub(crate) fn bootstrap(config: &ClientConfig) -> Result<Vec<Address>> {
    let named =
        config.bootstrap_servers.iter().map(|text| parse_address(text)).collect::<Result<Vec<_>>>()?;
    if named.is_empty() {
        return Err(Error::new(ErrorKind::Config, "`bootstrap.servers` is empty")
            .hint("name a broker, as `localhost:9092`"));
    }
    Ok(named)
}

/// How connections are made.
pub(crate) fn connect_options(config: &ClientConfig, tls: Option<Arc<TlsConnector>>) -> ConnectOptions {
    ConnectOptions {
        connect_timeout: config.socket_connection_setup_timeout,
        tls,
        idle: config.connections_max_idle,
        send_buffer_bytes: config.send_buffer_bytes,
        receive_buffer_bytes: config.receive_buffer_bytes,
        ..ConnectOptions::default()
    }
}

/// Reads `host:port`, with an IPv6 address in brackets.
fn parse_address(text: &str) -> Result<Address> {
    let wrong = || {
        Error::new(ErrorKind::Config, format!("`{text}` in `bootstrap.servers` is no address"))
            .hint("write it as `host:port`, an IPv6 address in brackets")
    };
    // A listener's name before the address, as brokers write it, does no harm.
    let plain = text.split_once("://").map_or(text, |(_, address)| address);
    let (host, port) = plain.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').ok_or_else(wrong)?,
        None if host.contains(':') || host.is_empty() => return Err(wrong()),
        None => host,
    };
    Ok(Address { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for (text, host, port) in [
            ("localhost:9092", "localhost", 9092),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[::1]:9092", "::1", 9092),
            ("PLAINTEXT://broker:9092", "broker", 9092),
        ] {
            let address = parse_address(text).unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port), "{text}");
        }
        assert_eq!(parse_address("[::1]:9092").unwrap().to_string(), "[::1]:9092");
        for text in ["localhost", "localhost:", ":9092", "::1:9092", "[::1:9092", "host:65536", "host:-1"] {
            let error = parse_address(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
        }
    }
}
