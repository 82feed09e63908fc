//! Puts the parts together, in order, and takes them apart again.
//!
//! Threads: one for control (controller, listeners, timers), and one for each core that serves, with a runtime of its
//! own, a shard, and the connections that were given to it.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use ottla_config::Settings;
use ottla_protocol::types::{BrokerId, Str};
use ottla_transport::{Budget, FrameLimits};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::{mpsc, oneshot, watch},
};

use crate::{
    StartError,
    config::{BROKER, BrokerConfig},
    controller::{
        self, BoxFuture, PartitionChange, PartitionFailure, Partitions, Start, brokers::Registration,
    },
    handlers::Context,
    listeners::{self, Endpoint},
    log::{CheckpointKind, Disk, LogDirectory, LogError, MetaProperties},
    metadata::{SharedImage, image},
    replica::{
        Opening, PartitionId, PartitionSettings, Replicas,
        fetch_session::FetchSessions,
        shard::{Shard, ShardHandle},
    },
    server::{limits::ConnectionLimits, listener::Listener},
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
    cluster_id: String,
    stop: watch::Sender<bool>,
    control: Option<JoinHandle<Result<(), String>>>,
}

impl Broker {
    /// Starts a broker with `settings` and returns once it takes connections.
    ///
    /// A log directory that does not exist, or is empty, is made ready.
    ///
    /// # Errors
    ///
    /// If the settings are wrong, an address cannot be listened on, or the log directory is another's, is of another
    /// format, or cannot be read.
    pub fn start(settings: &Settings) -> Result<Self, StartError> {
        let values = BROKER.parse(settings).map_err(StartError::config)?;
        for warning in values.warnings() {
            tracing::warn!("{warning}");
        }
        let config = Arc::new(BrokerConfig::from_values(&values));
        let advertised = listeners::advertised(&config)?;
        let mut sockets = Vec::new();
        for endpoint in listeners::endpoints(&config)? {
            let (address, socket) = listeners::bind(&endpoint)?;
            sockets.push((endpoint, address, socket));
        }
        let (directory, identity) = open_directory(&config)?;
        let clean = directory.was_clean();

        let control = runtime().map_err(|e| StartError::system("a runtime could not be made", e))?;
        let mut cores = Vec::new();
        let mut shards = Vec::new();
        for index in 0..core_count(&config) {
            let (core, shard) = Core::start(index, Arc::clone(&directory))?;
            cores.push(core);
            shards.push(shard);
        }
        let replicas = Arc::new(Replicas::new(shards));
        let registration = Registration {
            broker: BrokerId(config.node_id),
            incarnation: controller::random_id(),
            endpoints: registered(&sockets, &advertised),
            log_dirs: vec![identity.directory_id],
            clean_shutdown: clean,
        };
        let start = Start {
            cluster_id: Str::from(identity.cluster_id.as_str()),
            log_dir: directory.path().to_owned(),
            config: values,
            registration,
        };
        let hosted = Arc::new(Hosted { replicas: Arc::clone(&replicas), config: Arc::clone(&config) });
        let started = control.block_on(controller::start(start, hosted)).map_err(StartError::data)?;

        let (stop, stopping) = watch::channel(false);
        let (open, closed) = mpsc::channel(1);
        let context = Arc::new(Context {
            image: Arc::clone(&started.image),
            controller: started.handle,
            replicas: Arc::clone(&replicas),
            fetch_sessions: FetchSessions::new(config.max_incremental_fetch_session_cache_slots as usize),
            config: Arc::clone(&config),
        });
        let listener = Arc::new(Listener {
            cores: cores.iter().map(|core| core.handle.clone()).collect(),
            cx: context,
            limits: ConnectionLimits::new(
                config.max_connections as usize,
                config.max_connections_per_ip as usize,
            ),
            frame_limits: FrameLimits {
                frame_bytes_max: config.socket_request_max_bytes,
                idle: config.connections_max_idle.unwrap_or(IDLE_FOREVER),
                ..FrameLimits::default()
            },
            budget: Budget::new(config.queued_max_request_bytes.map_or(QUEUED_BYTES_DEFAULT, |b| b as usize)),
            stop: stopping,
            open,
        });
        let mut addresses = Vec::new();
        for (endpoint, address, socket) in sockets {
            let _entered = control.enter();
            let socket = tokio::net::TcpListener::from_std(socket)
                .map_err(|error| StartError::listen(address, error))?;
            tracing::info!(%address, listener = endpoint.name, "listening");
            addresses.push(address);
            control.spawn(Arc::clone(&listener).run(socket));
        }
        drop(listener);
        let image = started.image;
        let running = Running { cores, replicas, directory, image, controller: started.task, closed };
        let stopped = stop.subscribe();
        let thread = thread::Builder::new()
            .name("ottla-control".into())
            .spawn(move || control.block_on(running.until(stopped)))
            .map_err(|e| StartError::system("a thread could not be started", e))?;
        Ok(Self { addresses, cluster_id: identity.cluster_id, stop, control: Some(thread) })
    }

    /// Where it listens: the real ports, also where the configuration said 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Takes no more connections, answers what was begun, and closes all logs.
    ///
    /// # Errors
    ///
    /// If a log could not be closed cleanly: the next start recovers it.
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
    replicas: Arc<Replicas>,
    directory: Arc<LogDirectory>,
    image: SharedImage,
    controller: tokio::task::JoinHandle<()>,
    /// Ends when the last connection and listener are gone.
    closed: mpsc::Receiver<()>,
}

impl Running {
    async fn until(mut self, mut stop: watch::Receiver<bool>) -> Result<(), String> {
        // An error means that the broker's handle is gone, and that is a wish to stop.
        let _ = stop.wait_for(|stop| *stop).await;
        if tokio::time::timeout(DRAIN_MAX, self.closed.recv()).await.is_err() {
            tracing::warn!("some connections did not finish in time; they are cut off");
        }
        // The controller's task ends when nobody can ask it any more; what it has committed is on the medium.
        self.controller.abort();
        let expected = self.replicas.table().partition_count();
        let closed = self.replicas.close().await;
        drop(self.replicas);
        self.cores.into_iter().for_each(Core::stop);
        let Some(directory) = Arc::into_inner(self.directory) else {
            return Err("the log directory is still in use".to_owned());
        };
        let told = |error: LogError| error.to_string();
        let points = closed.iter().map(|c| (c.partition.clone(), c.recovery_point));
        directory.write_checkpoint(CheckpointKind::RecoveryPoint, points).map_err(told)?;
        let starts = closed.iter().map(|c| (c.partition.clone(), c.start_offset));
        directory.write_checkpoint(CheckpointKind::LogStartOffset, starts).map_err(told)?;
        let marks = closed.iter().map(|c| (c.partition.clone(), c.recovery_point));
        directory.write_checkpoint(CheckpointKind::HighWatermark, marks).map_err(told)?;
        if closed.len() < expected {
            return Err(format!("{} logs were not closed cleanly", expected - closed.len()));
        }
        let image = self.image.load();
        let epoch = image.brokers().map(|broker| broker.epoch).max().unwrap_or(-1);
        directory.close(epoch).map_err(told)
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
    fn start(index: usize, directory: Arc<LogDirectory>) -> Result<(Self, ShardHandle), StartError> {
        let runtime = runtime().map_err(|e| StartError::system("a runtime could not be made", e))?;
        let handle = runtime.handle().clone();
        let (messages, queue) = mpsc::unbounded_channel();
        runtime.spawn(Shard::run(index, directory, queue));
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name(format!("ottla-core-{index}"))
            .spawn(move || _ = runtime.block_on(stopped))
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
    config: Arc<BrokerConfig>,
}

impl Partitions for Hosted {
    fn apply(&self, changes: Vec<PartitionChange>) -> BoxFuture<'_, Vec<PartitionFailure>> {
        Box::pin(async move {
            let mut failures = Vec::new();
            let mut opening = Vec::new();
            for change in changes {
                match change {
                    PartitionChange::Open { topic, topic_id, partition, leader_epoch, config } => {
                        let id = PartitionId { topic: topic_id, index: partition };
                        let settings = Arc::new(PartitionSettings::new(&config, &self.config));
                        opening.push(Opening { topic, id, leader_epoch, settings });
                        continue;
                    }
                    PartitionChange::Configure { topic_id, partition, config } => {
                        self.open(&mut opening, &mut failures).await;
                        let id = PartitionId { topic: topic_id, index: partition };
                        self.replicas.configure(id, Arc::new(PartitionSettings::new(&config, &self.config)));
                    }
                    PartitionChange::Delete { topic, topic_id, partition } => {
                        self.open(&mut opening, &mut failures).await;
                        let id = PartitionId { topic: topic_id, index: partition };
                        if let Err(why) = self.replicas.delete(&topic, id).await {
                            failures.push(PartitionFailure { topic_id, partition, why });
                        }
                    }
                }
            }
            self.open(&mut opening, &mut failures).await;
            failures
        })
    }
}

impl Hosted {
    /// Opens what has gathered, all at once.
    async fn open(&self, opening: &mut Vec<Opening>, failures: &mut Vec<PartitionFailure>) {
        if opening.is_empty() {
            return;
        }
        let failed = self.replicas.open(std::mem::take(opening)).await;
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

fn core_count(config: &BrokerConfig) -> usize {
    match usize::try_from(config.shards) {
        Ok(0) | Err(_) => thread::available_parallelism().map_or(1, usize::from),
        Ok(count) => count,
    }
}

/// Locks the log directory and finds out whose it is; a new one is given to this broker.
fn open_directory(config: &BrokerConfig) -> Result<(Arc<LogDirectory>, MetaProperties), StartError> {
    let directories = config.log_dirs.as_ref().unwrap_or(&config.log_dir);
    let [directory] = directories.as_slice() else {
        return Err(StartError::setting("log.dirs", "names several directories; one is served yet"));
    };
    let mut directory = LogDirectory::open(Disk::Real, Path::new(directory)).map_err(StartError::data)?;
    let identity = match directory.meta() {
        Some(meta) => {
            let cluster_id = config.cluster_id.as_ref().unwrap_or(&meta.cluster_id);
            directory.check(cluster_id, config.node_id).map_err(StartError::data)?;
            meta.clone()
        }
        None => {
            let cluster_id = config.cluster_id.clone().unwrap_or_else(|| controller::random_id().to_string());
            let meta =
                MetaProperties { cluster_id, node_id: config.node_id, directory_id: controller::random_id() };
            directory.format(meta.clone()).map_err(StartError::data)?;
            meta
        }
    };
    Ok((Arc::new(directory), identity))
}

/// Where the cluster's metadata says that this broker is: the advertised address of each listener, or its own.
fn registered(
    sockets: &[(Endpoint, SocketAddr, TcpListener)],
    advertised: &[Endpoint],
) -> Vec<image::Endpoint> {
    sockets
        .iter()
        .map(|(endpoint, address, _)| {
            let told = advertised.iter().find(|a| a.name == endpoint.name);
            image::Endpoint {
                listener: Str::from(endpoint.name.as_str()),
                host: Str::from(told.map_or_else(|| address.ip().to_string(), |a| a.host.clone())),
                port: told.map_or(address.port(), |a| a.port),
            }
        })
        .collect()
}
