//! Puts the parts together, in order, and takes them apart again.
//!
//! Threads: one for control (controller, listeners, timers), and one for each core that serves, with a runtime of its
//! own, a shard, and the connections that were given to it.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use ottla_config::{Settings, Values};
use ottla_protocol::types::{BrokerId, Str, TopicName, Uuid};
use ottla_transport::{Budget, FrameLimits};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::{Semaphore, mpsc, oneshot, watch},
    time::Instant,
};

use crate::{
    StartError,
    authentication::Listening,
    authorization::Authorizer,
    config::{BROKER, BrokerConfig},
    controller::{
        self, BoxFuture, PartitionChange, PartitionFailure, Partitions, Start, brokers::Registration,
        consensus::ConsensusError, initial_users,
    },
    coordinator::runtime::Coordinator,
    handlers::Context,
    listeners::{self, Endpoint},
    log::{Disk, LogDirectory, LogErrorKind, MetaProperties, TopicPartition, cleaner::HashKey},
    metadata::{CLUSTER_METADATA_TOPIC, SharedImage, image, record::MetadataRecord},
    metrics::{self, Metrics},
    observe::{self, Observed},
    quota::{Quotas, meter::Windows},
    random::random_id,
    replica::{
        Opening, PartitionId, PartitionSettings, Replicas,
        cleaner::{self, CleanerPool},
        directories::{Directories, Directory, FoundLog, Unusable},
        fetch_session::FetchSessions,
        flush::{FlushPolicy, FlushPool, FlushQueue},
        scrubber::Scrubber,
        shard::{Shard, ShardHandle},
        upkeep,
    },
    server::{
        connection::Terms,
        connection_rates::{ConnectionRates, Rate},
        limits::{ConnectionLimits, Strangers},
        listener::{Listener, TOO_FAST_HELD_MAX},
    },
};

/// How long connections may take to finish what they began, once the broker stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Bytes of requests in memory where `queued.max.request.bytes` sets no limit.
const QUEUED_BYTES_DEFAULT: usize = 512 * 1024 * 1024;
/// Longest time between frames where `connections.max.idle.ms` sets none.
const IDLE_FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A broker that serves. Dropping it stops it too, without saying how that went.
#[derive(Debug)]
pub struct Broker {
    addresses: Vec<SocketAddr>,
    http: Option<SocketAddr>,
    cluster_id: String,
    stop: watch::Sender<bool>,
    /// Closed once the control thread has ended.
    ended: watch::Receiver<()>,
    control: Option<JoinHandle<Result<(), String>>>,
}

impl Broker {
    /// Starts a broker with `settings` and returns once it takes connections.
    ///
    /// A log directory that does not exist, or is empty, is made ready. One whose disk fails is offline, as long as
    /// there is another.
    ///
    /// # Errors
    ///
    /// If the settings are wrong, an address cannot be listened on, a log directory is another's or of another format,
    /// or if none can be read.
    pub fn start(settings: &Settings) -> Result<Self, StartError> {
        let values = BROKER.parse(settings).map_err(StartError::config)?;
        for warning in values.warnings() {
            tracing::warn!("{warning}");
        }
        let config = Arc::new(BrokerConfig::from_values(&values));
        let advertised = listeners::advertised(&config)?;
        let initial = initial_records(&config)?;
        let authorizer = Authorizer::new(&config)?.map(Arc::new);
        // All of them are read before any is opened.
        let listenings = listenings(listeners::endpoints(&config)?, &values, settings)?;
        let mut sockets = Vec::new();
        for (endpoint, listening) in listenings {
            let (address, socket) = listeners::bind(&endpoint)?;
            sockets.push(Socket { endpoint, listening, address, socket });
        }
        check_cleaner(&config)?;
        let http = config.http_listener.as_deref().map(listeners::bind_http).transpose()?;
        let (failures, failed) = mpsc::unbounded_channel();
        let opened = open_directories(&config, &failures)?;
        let directories = Arc::new(opened.directories);

        let control = runtime().map_err(|e| StartError::system("a runtime could not be made", e))?;
        let metrics = Arc::new(Metrics::new(core_count(&config)));
        let flushes =
            FlushPool::start(&metrics).map_err(|e| StartError::system("a thread could not be started", e))?;
        let mut cores = Vec::new();
        let mut shards = Vec::new();
        for index in 0..core_count(&config) {
            let (core, shard) =
                Core::start(index, FlushPolicy::new(&config), flushes.queue(), Arc::clone(&metrics))?;
            cores.push(core);
            shards.push(shard);
        }
        let replicas = Arc::new(Replicas::new(shards, Arc::clone(&directories)));
        let registration = Registration {
            broker: BrokerId(config.node_id),
            incarnation: random_id(),
            endpoints: registered(&sockets, &advertised),
            log_dirs: directories.usable().iter().map(|directory| directory.id()).collect(),
            found: found(&directories),
        };
        let metadata_dir = opened.metadata_dir;
        let start = Start {
            cluster_id: Str::from(opened.cluster_id.as_str()),
            log_dir: metadata_dir.path().to_owned(),
            config: values,
            registration,
            initial,
        };
        let hosted = Arc::new(Hosted {
            replicas: Arc::clone(&replicas),
            metadata_dir: Arc::clone(&metadata_dir),
            config: Arc::clone(&config),
        });
        let started = control.block_on(controller::start(start, hosted)).map_err(StartError::data)?;
        for (partition, logs) in directories.found().iter() {
            for log in logs {
                let directory = log.directory.path().display();
                let name = format!("{}-{}", partition.topic, partition.partition);
                tracing::warn!(%directory, name, "a log is of no topic that there is; remove it by hand");
            }
        }
        let upkeep = {
            let (controller, directories) = (started.handle.clone(), Arc::clone(&directories));
            let failed_one = move |directory: Arc<Directory>| {
                let (controller, directories) = (controller.clone(), Arc::clone(&directories));
                let holds_metadata = Arc::ptr_eq(&directory, &metadata_dir);
                async move {
                    if directories.online().next().is_none() {
                        return Err("all log directories have failed".to_owned());
                    }
                    if holds_metadata {
                        let path = directory.path().display();
                        return Err(format!(
                            "the log directory `{path}` has failed, which holds the metadata log"
                        ));
                    }
                    if let Err(error) = controller.directory_failed(directory.id()).await {
                        tracing::error!(%error, "the metadata does not say that a log directory has failed");
                    }
                    Ok(())
                }
            };
            control.spawn(upkeep::run(Arc::clone(&replicas), Arc::clone(&config), failed, failed_one))
        };

        let cleaners = CleanerPool::start(&replicas, &config, HashKey(random_id().0))
            .map_err(|e| StartError::system("a thread could not be started", e))?;

        let scrubber = Scrubber::start(&replicas, &metrics, &config)
            .map_err(|e| StartError::system("a thread could not be started", e))?;

        let coordinator = Coordinator::new(
            Arc::clone(&started.image),
            Arc::clone(&replicas),
            Arc::clone(&config),
            Arc::clone(started.handle.configs()),
            cores.iter().map(|core| core.handle.clone()).collect(),
        );
        let (stop, stopping) = watch::channel(false);
        let (open, closed) = mpsc::channel(1);
        let windows = Windows::new(config.quota_window_num, config.quota_window_size_seconds);
        let mutation_windows =
            Windows::new(config.controller_quota_window_num, config.controller_quota_window_size_seconds);
        let quotas = Quotas::new(Arc::clone(&started.image), windows, mutation_windows, Instant::now());
        let context = Arc::new(Context {
            quotas,
            image: Arc::clone(&started.image),
            controller: started.handle,
            replicas: Arc::clone(&replicas),
            coordinator,
            fetch_sessions: FetchSessions::new(config.max_incremental_fetch_session_cache_slots as usize),
            authorizer,
            metrics: Arc::clone(&metrics),
            config: Arc::clone(&config),
        });
        let limits =
            ConnectionLimits::new(config.max_connections as usize, config.max_connections_per_ip as usize);
        let rates = Arc::new(ConnectionRates::new(
            Arc::clone(&started.image),
            config.max_connection_creation_rate,
            config.max_connection_creation_rate_per_ip,
            windows,
            Instant::now(),
        ));
        let too_fast = Arc::new(Semaphore::new(TOO_FAST_HELD_MAX));
        let strangers = Strangers::new(config.max_unauthenticated_connections as usize);
        let terms = Terms {
            frames: FrameLimits {
                frame_bytes_max: config.socket_request_max_bytes,
                idle: config.connections_max_idle.unwrap_or(IDLE_FOREVER),
                ..FrameLimits::default()
            },
            budget: Budget::new(config.queued_max_request_bytes.map_or(QUEUED_BYTES_DEFAULT, |b| b as usize)),
            stranger_frame_bytes_max: config
                .sasl_server_max_receive_size
                .min(config.socket_request_max_bytes),
            authentication_max: config.authentication_timeout,
            denial_delay: config.connection_failed_authentication_delay,
        };
        let mut addresses = Vec::new();
        for Socket { endpoint, listening, address, socket } in sockets {
            let _entered = control.enter();
            let socket = tokio::net::TcpListener::from_std(socket)
                .map_err(|error| StartError::listen(address, error))?;
            tracing::info!(%address, listener = endpoint.name, protocol = ?endpoint.protocol, "listening");
            if let Some(tokens) = listening.sasl.as_ref().and_then(|sasl| sasl.tokens.as_ref()) {
                control.spawn(Arc::clone(tokens.keys()).keep_fresh());
            }
            addresses.push(address);
            let listener = Listener {
                rates: Arc::clone(&rates),
                rate: Rate::new(listening.connection_rate_max),
                too_fast: Arc::clone(&too_fast),
                listening: Arc::new(listening),
                cores: cores.iter().map(|core| core.handle.clone()).collect(),
                cx: Arc::clone(&context),
                limits: Arc::clone(&limits),
                strangers: Arc::clone(&strangers),
                terms: terms.clone(),
                stop: stopping.clone(),
                open: open.clone(),
            };
            control.spawn(Arc::new(listener).run(socket));
        }
        drop((context, open, stopping));
        let http = match http {
            None => None,
            Some((address, socket)) => {
                let (limits, replicas) = (Arc::clone(&limits), Arc::clone(&replicas));
                let connections = Box::new(move || limits.count());
                let image = Arc::clone(&started.image);
                let observed = Arc::new(Observed { metrics, replicas, image, connections });
                let _entered = control.enter();
                let socket = tokio::net::TcpListener::from_std(socket)
                    .map_err(|error| StartError::listen(address, error))?;
                tracing::info!(%address, "metrics and health are served");
                Some((address, control.spawn(observe::http::serve(socket, observed))))
            }
        };
        let (http_address, http) = http.unzip();
        let image = started.image;
        let controller = started.task;
        let running = Running {
            cores,
            flushes,
            cleaners,
            scrubber,
            replicas,
            directories,
            image,
            controller,
            upkeep,
            http,
            stopping: stop.clone(),
            closed,
        };
        let (alive, ended) = watch::channel(());
        let stopped = stop.subscribe();
        let thread = thread::Builder::new()
            .name("ottla-control".into())
            .spawn(move || {
                let result = control.block_on(running.until(stopped));
                drop(alive);
                result
            })
            .map_err(|e| StartError::system("a thread could not be started", e))?;
        Ok(Self {
            addresses,
            http: http_address,
            cluster_id: opened.cluster_id,
            stop,
            ended,
            control: Some(thread),
        })
    }

    /// Returns if the broker ends by itself, because it has no working disk left; [`Broker::stop`] says why.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // Nothing is ever sent: an error is what is waited for.
        let _ = ended.changed().await;
    }

    /// Where it listens: the real ports, also where the configuration said 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where metrics and health are served, if they are: `ottla.http.listener`.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Takes no more connections, answers what was begun, and closes all logs.
    ///
    /// # Errors
    ///
    /// If a log could not be closed cleanly, which the next start recovers, or if the broker had ended by itself.
    pub fn stop(mut self) -> Result<(), StartError> {
        self.finish().map_err(StartError::data)
    }

    fn finish(&mut self) -> Result<(), String> {
        // Nobody listens any more if the control thread has ended by itself.
        let _ = self.stop.send(true);
        match self.control.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err("the control thread has panicked".to_owned()),
            None => Ok(()),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(error, "the broker did not stop cleanly");
        }
    }
}

/// What runs until the broker stops.
struct Running {
    cores: Vec<Core>,
    flushes: FlushPool,
    cleaners: CleanerPool,
    scrubber: Scrubber,
    replicas: Arc<Replicas>,
    directories: Arc<Directories>,
    image: SharedImage,
    controller: tokio::task::JoinHandle<()>,
    /// Ends if the broker cannot go on.
    upkeep: tokio::task::JoinHandle<String>,
    http: Option<tokio::task::JoinHandle<()>>,
    /// Tells listeners and connections to stop.
    stopping: watch::Sender<bool>,
    /// Ends when the last connection and listener are gone.
    closed: mpsc::Receiver<()>,
}

impl Running {
    async fn until(mut self, mut stop: watch::Receiver<bool>) -> Result<(), String> {
        let fatal = tokio::select! {
            // An error means that the broker's handle is gone, and that is a wish to stop.
            _ = stop.wait_for(|stop| *stop) => None,
            why = &mut self.upkeep => Some(why.unwrap_or_else(|_| "the upkeep task has panicked".to_owned())),
        };
        if let Some(why) = &fatal {
            tracing::error!(why, "the broker stops");
            let _ = self.stopping.send(true);
        }
        if tokio::time::timeout(DRAIN_MAX, self.closed.recv()).await.is_err() {
            tracing::warn!("some connections did not finish in time; they are cut off");
        }
        // What the controller has committed is on the medium.
        self.controller.abort();
        if let Some(http) = self.http {
            http.abort();
            let _ = http.await;
        }
        self.upkeep.abort();
        let _ = self.controller.await;
        if fatal.is_none() {
            let _ = self.upkeep.await;
        }
        // They ask the shards, which are still there.
        self.cleaners.stop();
        self.scrubber.stop();
        self.replicas.close().await;
        drop(self.replicas);
        self.cores.into_iter().for_each(Core::stop);
        self.flushes.stop();
        let image = self.image.load();
        let epoch = image.brokers().map(|broker| broker.epoch).max().unwrap_or(-1);
        for directory in self.directories.usable() {
            directory.close(epoch).map_err(|error| error.to_string())?;
        }
        fatal.map_or(Ok(()), Err)
    }
}

/// A thread with a runtime, a shard and connections.
#[derive(Debug)]
struct Core {
    handle: Handle,
    /// Dropped to stop it.
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Core {
    fn start(
        index: usize,
        policy: FlushPolicy,
        flushes: FlushQueue,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, ShardHandle), StartError> {
        let runtime = runtime().map_err(|e| StartError::system("a runtime could not be made", e))?;
        let handle = runtime.handle().clone();
        let (messages, queue) = mpsc::unbounded_channel();
        runtime.spawn(Shard::new(index, policy, flushes, metrics, &messages).run(queue));
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name(format!("ottla-core-{index}"))
            .spawn(move || {
                metrics::enter_core(index);
                let _ = runtime.block_on(stopped);
            })
            .map_err(|e| StartError::system("a thread could not be started", e))?;
        Ok((Self { handle, stop, thread }, messages))
    }

    fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("a core's thread has panicked");
        }
    }
}

/// This broker's partitions, as the controller sees them.
struct Hosted {
    replicas: Arc<Replicas>,
    metadata_dir: Arc<Directory>,
    config: Arc<BrokerConfig>,
}

impl Partitions for Hosted {
    fn apply(&self, changes: Vec<PartitionChange>) -> BoxFuture<'_, Vec<PartitionFailure>> {
        Box::pin(async move {
            let mut failures = Vec::new();
            let mut batch = Batch::default();
            for change in changes {
                // Those of one kind are carried out together; kinds follow each other in order.
                match change {
                    PartitionChange::Open { topic, topic_id, partition, leader_epoch, directory, config } => {
                        self.carry_out(&mut batch.deleting(), &mut failures).await;
                        let id = PartitionId { topic: topic_id, index: partition };
                        let settings = Arc::new(PartitionSettings::new(&config, &self.config));
                        batch.opening.push(Opening { topic, id, leader_epoch, directory, settings });
                    }
                    PartitionChange::Configure { topic_id, partition, config } => {
                        self.carry_out(&mut batch, &mut failures).await;
                        let id = PartitionId { topic: topic_id, index: partition };
                        self.replicas.configure(id, Arc::new(PartitionSettings::new(&config, &self.config)));
                    }
                    PartitionChange::Delete { topic, topic_id, partition } => {
                        self.carry_out(&mut batch.opening(), &mut failures).await;
                        batch.doomed.push((topic, PartitionId { topic: topic_id, index: partition }));
                    }
                }
            }
            self.carry_out(&mut batch, &mut failures).await;
            failures
        })
    }

    fn metadata_failed(&self, error: &ConsensusError) {
        self.metadata_dir.fail(error);
    }
}

/// Changes that are carried out together.
#[derive(Default)]
struct Batch {
    opening: Vec<Opening>,
    doomed: Vec<(TopicName, PartitionId)>,
}

impl Batch {
    /// Takes what is to be opened.
    fn opening(&mut self) -> Self {
        Self { opening: std::mem::take(&mut self.opening), doomed: Vec::new() }
    }

    /// Takes what is to be deleted.
    fn deleting(&mut self) -> Self {
        Self { opening: Vec::new(), doomed: std::mem::take(&mut self.doomed) }
    }
}

impl Hosted {
    async fn carry_out(&self, batch: &mut Batch, failures: &mut Vec<PartitionFailure>) {
        let Batch { opening, doomed } = std::mem::take(batch);
        let mut failed = Vec::new();
        if !opening.is_empty() {
            failed = self.replicas.open(opening).await;
        }
        if !doomed.is_empty() {
            failed.extend(self.replicas.delete(doomed).await);
        }
        failures.extend(failed.into_iter().map(|(id, why)| PartitionFailure {
            topic_id: id.topic,
            partition: id.index,
            why,
        }));
    }
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Whether each thread that compacts has room for keys, by Kafka's measure.
fn check_cleaner(config: &BrokerConfig) -> Result<(), StartError> {
    let threads = cleaner::thread_count(config) as u64;
    let bytes = config.log_cleaner_dedupe_buffer_size;
    match bytes.checked_div(threads) {
        Some(each) if each <= cleaner::MAP_BYTES_MIN => Err(StartError::setting(
            "log.cleaner.dedupe.buffer.size",
            format!(
                "`{bytes}` is too little for {threads} threads; give more than 1 MiB for each of `log.cleaner.threads`"
            ),
        )),
        _ => Ok(()),
    }
}

fn core_count(config: &BrokerConfig) -> usize {
    match usize::try_from(config.shards) {
        Ok(0) | Err(_) => thread::available_parallelism().map_or(1, usize::from),
        Ok(count) => count,
    }
}

/// What was found at start.
struct Opened {
    directories: Directories,
    cluster_id: String,
    /// The directory that the metadata log lies in.
    metadata_dir: Arc<Directory>,
}

/// Locks the log directories and finds out whose they are; new ones are given to this broker. One that the disk does
/// not give is left out, as long as there is another.
fn open_directories(
    config: &BrokerConfig,
    failures: &mpsc::UnboundedSender<Arc<Directory>>,
) -> Result<Opened, StartError> {
    let mut opened: Vec<LogDirectory> = Vec::new();
    let mut unusable = Vec::new();
    for path in config.log_dirs.as_ref().unwrap_or(&config.log_dir) {
        match LogDirectory::open(Disk::Real, Path::new(path)) {
            Ok(directory) => opened.push(directory),
            Err(error) if matches!(error.kind(), LogErrorKind::Io { .. }) => {
                unusable.push(Unusable { path: PathBuf::from(path), why: error.to_string() });
            }
            Err(error) => return Err(StartError::data(error)),
        }
    }
    if opened.is_empty() {
        let why: Vec<String> = unusable.into_iter().map(|directory| directory.why).collect();
        return Err(StartError::data(format!("no log directory can be used: {}", why.join("; "))));
    }
    for Unusable { path, why } in &unusable {
        tracing::error!(
            directory = %path.display(),
            why,
            "a log directory is offline; check the disk, then restart the broker"
        );
    }
    let known = opened.iter().find_map(|directory| directory.meta()).map(|meta| meta.cluster_id.clone());
    let is_new = known.is_none();
    let cluster_id = config.cluster_id.clone().or(known).unwrap_or_else(|| random_id().to_string());
    let mut usable: Vec<Arc<Directory>> = Vec::with_capacity(opened.len());
    for mut directory in opened {
        let meta = match directory.meta() {
            Some(meta) => {
                directory.check(&cluster_id, config.node_id).map_err(StartError::data)?;
                meta.clone()
            }
            None => {
                let (cluster_id, directory_id) = (cluster_id.clone(), random_id());
                let meta = MetaProperties { cluster_id, node_id: config.node_id, directory_id };
                directory.format(meta.clone()).map_err(StartError::data)?;
                meta
            }
        };
        if let Some(twin) = usable.iter().find(|other| other.id() == meta.directory_id) {
            let (one, other) = (directory.path().display(), twin.path().display());
            let why = format!("`{one}` and `{other}` have the same directory id; one is a copy: remove it");
            return Err(StartError::setting("log.dirs", why));
        }
        usable.push(Directory::new(directory, &meta, failures.clone()));
    }
    let metadata_dir = metadata_directory(config, &usable, is_new)?;
    let directories = Directories::new(usable, unusable).map_err(StartError::data)?;
    // The metadata log is the controller's.
    directories.found().retain(|partition, _| &*partition.topic != CLUSTER_METADATA_TOPIC);
    Ok(Opened { directories, cluster_id, metadata_dir })
}

/// The directory with the metadata log: where it was found; of a new broker the first.
fn metadata_directory(
    config: &BrokerConfig,
    usable: &[Arc<Directory>],
    is_new: bool,
) -> Result<Arc<Directory>, StartError> {
    let name = format!("{CLUSTER_METADATA_TOPIC}-0");
    let found = usable.iter().find(|directory| directory.path().join(&name).is_dir());
    let first = config.log_dirs.as_ref().unwrap_or(&config.log_dir).first().map(Path::new);
    let named = || usable.iter().find(|directory| Some(directory.path()) == first);
    match found.or_else(named) {
        Some(directory) if found.is_some() || is_new => Ok(Arc::clone(directory)),
        // A broker that was stopped before its first record.
        Some(directory) if usable.iter().all(|d| d.log().partitions().is_ok_and(|logs| logs.is_empty())) => {
            Ok(Arc::clone(directory))
        }
        _ => Err(StartError::setting(
            "log.dirs",
            format!(
                "no directory that can be used holds the metadata log, `{name}`; bring back the disk with it"
            ),
        )),
    }
}

/// Which logs lie where, if that is a question.
fn found(directories: &Directories) -> HashMap<TopicPartition, Vec<(Option<Uuid>, Uuid)>> {
    if directories.usable().len() < 2 {
        return HashMap::new();
    }
    let found = directories.found();
    let logs = |logs: &Vec<FoundLog>| logs.iter().map(|log| (log.topic_id, log.directory.id())).collect();
    found.iter().map(|(partition, found)| (partition.clone(), logs(found))).collect()
}

/// Where the cluster's metadata says that this broker is: the advertised address of each listener, or its own.
fn registered(sockets: &[Socket], advertised: &[Endpoint]) -> Vec<image::Endpoint> {
    sockets
        .iter()
        .map(|Socket { endpoint, address, .. }| {
            let told = advertised.iter().find(|a| a.name == endpoint.name);
            image::Endpoint {
                listener: Str::from(endpoint.name.as_str()),
                host: Str::from(told.map_or_else(|| address.ip().to_string(), |a| a.host.clone())),
                port: told.map_or(address.port(), |a| a.port),
                security_protocol: endpoint.protocol.id(),
            }
        })
        .collect()
}

/// A listener that is bound, and takes nobody yet.
struct Socket {
    endpoint: Endpoint,
    listening: Listening,
    address: SocketAddr,
    socket: TcpListener,
}

/// What each listener asks of those who connect: the broker's settings, and over them its own.
fn listenings(
    endpoints: Vec<Endpoint>,
    values: &Values,
    settings: &Settings,
) -> Result<Vec<(Endpoint, Listening)>, StartError> {
    const OWN: &str = "listener.name.";
    let mut settings = settings.clone();
    let mut all = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let own = settings.take_beginning(&format!("{OWN}{}.", endpoint.name));
        let listening = Listening::new(&endpoint, values, own)?;
        all.push((endpoint, listening));
    }
    for key in settings.take_beginning(OWN).keys() {
        tracing::warn!("`{OWN}{key}` has no effect: there is no listener of that name");
    }
    Ok(all)
}

/// What a new cluster begins with.
fn initial_records(config: &BrokerConfig) -> Result<Vec<MetadataRecord>, StartError> {
    const KEY: &str = "ottla.initial.scram.credentials";
    let Some(text) = &config.initial_scram_credentials else { return Ok(Vec::new()) };
    let records = initial_users::parse(text.reveal()).map_err(|why| StartError::setting(KEY, why))?;
    Ok(records.into_iter().map(MetadataRecord::from).collect())
}
