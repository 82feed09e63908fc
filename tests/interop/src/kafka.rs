//! A real Apache Kafka for a test: one node or several on loopback, gone when dropped.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use ottla_interop::kafka::{Kafka, Options};
//!
//! let kafka = Kafka::start(Options { nodes: 3, ..Options::default() })?;
//! println!("{}", kafka.bootstrap());
//! # Ok(()) }
//! ```
//!
//! Every node is broker and controller. Tests that leave no trace in a cluster may share one: [`Kafka::shared`].

use std::{
    fs,
    fs::File,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail, ensure};
use ottla_protocol::{
    frame,
    messages::{MetadataRequest, MetadataResponse},
};
use tempfile::TempDir;

use crate::{KEPT, Missing, java::ClassPath};

/// Java options under which a node starts quickly and takes little: for tests.
pub const JAVA_OPTIONS_FOR_TESTS: &[&str] =
    &["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Xss512k"];
/// Java options of Kafka's own start script: for measurements.
pub const JAVA_OPTIONS_OF_KAFKA: &[&str] = &[
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];

/// How long a cluster may take to answer after its start, or one that was told to stop to end.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at whether something has come about.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a node may take to answer one request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts to start a cluster on free ports: between looking for one and taking it another process may.
const ATTEMPTS: usize = 3;
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Sixteen bytes in base64url. Always the same, so that a recording or a log reads alike in every run.
const CLUSTER_ID: &str = "b3R0bGEtaW50ZXJvcC0xMg";

/// Lines of `server.properties` with which a group of KIP-848 hears of its members often, and misses a dead one soon. As
/// shipped, brokers allow neither.
pub const QUICK_GROUPS: [(&str, &str); 6] = [
    ("group.consumer.min.heartbeat.interval.ms", "100"),
    ("group.consumer.heartbeat.interval.ms", "100"),
    ("group.consumer.min.session.timeout.ms", "6000"),
    ("group.consumer.session.timeout.ms", "6000"),
    ("group.consumer.min.assignment.interval.ms", "0"),
    ("group.consumer.assignment.interval.ms", "0"),
];

/// What kind of cluster to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of nodes; each is broker and controller. Internal topics get a replica on up to three of them.
    pub nodes: usize,
    /// `-Xmx` of each node, in MiB.
    pub heap_mib: u32,
    /// Further options of each node's JVM.
    pub java_options: &'static [&'static str],
    /// The listeners for clients. The first is also the brokers' among themselves.
    pub listeners: Vec<Listener>,
    /// Further lines of `server.properties`; they win over those made here. `{node}` stands for the node's number.
    pub properties: Vec<(String, String)>,
    /// Further arguments of `kafka-storage format`, such as `--add-scram`.
    pub format: Vec<String>,
    /// The ports of each node, or free ones.
    pub ports: Option<Vec<Ports>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 1,
            heap_mib: 512,
            java_options: JAVA_OPTIONS_FOR_TESTS,
            listeners: vec![Listener { name: "PLAINTEXT", protocol: "PLAINTEXT" }],
            properties: Vec::new(),
            format: Vec::new(),
            ports: None,
        }
    }
}

/// A listener for clients.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    /// Its name in `listeners`.
    pub name: &'static str,
    /// `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
    pub protocol: &'static str,
}

/// The ports of one node.
#[derive(Clone, Debug)]
pub struct Ports {
    /// One for each listener.
    pub listeners: Vec<Port>,
    /// The controller's.
    pub controller: Port,
}

/// A port on loopback.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// Where the node listens.
    pub bound: u16,
    /// Where it says that it listens: another one if a proxy stands between.
    pub advertised: u16,
}

/// A running cluster.
#[derive(Debug)]
pub struct Kafka {
    options: Options,
    ports: Vec<Ports>,
    class_path: ClassPath,
    nodes: Vec<Option<Child>>,
    /// Removed when dropped, after the nodes.
    directory: TempDir,
}

impl Kafka {
    /// Starts a cluster and waits until all of its brokers know of each other.
    ///
    /// # Errors
    ///
    /// [`Missing`] if there is no JDK or the jars cannot be fetched; else the end of the log says why it did not start.
    pub fn start(options: Options) -> anyhow::Result<Self> {
        let class_path = ClassPath::of_project("kafka")?.with_compiled("Launch.java")?;
        let attempts = if options.ports.is_some() { 1 } else { ATTEMPTS };
        let mut last = None;
        for _ in 0..attempts {
            match Self::attempt(&options, &class_path) {
                Ok(kafka) => return Ok(kafka),
                Err(error) if format!("{error:#}").contains("Address already in use") => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow!("no attempt was made")))
    }

    /// One node that all tests of this process share: it lives until the process ends, so use names of your own. Its groups do
    /// not keep a test waiting: [`QUICK_GROUPS`].
    ///
    /// # Errors
    ///
    /// As [`Kafka::start`].
    pub fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: LazyLock<anyhow::Result<Kafka>> = LazyLock::new(|| {
            let properties = QUICK_GROUPS.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
            Kafka::start(Options { properties, ..Options::default() })
        });
        SHARED.as_ref().map_err(again)
    }

    /// Three nodes that tests of this process share, one after the other: each in a rack of its own (`rack-1` and so on), and
    /// consumers read from the replica in theirs. Whoever ends a node starts it again. No leader moves by itself, and a node
    /// that is dead is missed soon.
    ///
    /// # Errors
    ///
    /// As [`Kafka::start`].
    pub fn three() -> anyhow::Result<MutexGuard<'static, Self>> {
        static THREE: LazyLock<anyhow::Result<Mutex<Kafka>>> = LazyLock::new(|| {
            let properties = [
                ("broker.rack", "rack-{node}"),
                ("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector"),
                ("min.insync.replicas", "1"),
                ("auto.leader.rebalance.enable", "false"),
                ("broker.session.timeout.ms", "3000"),
                ("broker.heartbeat.interval.ms", "500"),
                ("replica.lag.time.max.ms", "3000"),
            ];
            let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
            let options = Options { nodes: 3, heap_mib: 256, properties, ..Options::default() };
            Kafka::start(options).map(Mutex::new)
        });
        // A test that failed with the cluster in its hands may have left it in pieces; the next one says so.
        THREE.as_ref().map(|three| three.lock().unwrap_or_else(PoisonError::into_inner)).map_err(again)
    }

    fn attempt(options: &Options, class_path: &ClassPath) -> anyhow::Result<Self> {
        let ports = match &options.ports {
            Some(ports) => ports.clone(),
            None => free_ports(options.nodes, options.listeners.len())?,
        };
        ensure!(ports.len() == options.nodes, "{} nodes have ports for {}", options.nodes, ports.len());
        let mut kafka = Self {
            options: options.clone(),
            ports,
            class_path: class_path.clone(),
            nodes: (0..options.nodes).map(|_| None).collect(),
            directory: tempfile::Builder::new().prefix("kafka-").tempdir()?,
        };
        for node in 1..=options.nodes {
            kafka.spawn(node)?;
        }
        for node in 1..=options.nodes {
            kafka.wait_for(node)?;
        }
        Ok(kafka)
    }

    /// Where clients connect: the first listener of every node, as `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.listener(0)
    }

    /// As [`Kafka::bootstrap`], of the listener with this name.
    ///
    /// # Errors
    ///
    /// If the cluster has no such listener.
    pub fn bootstrap_of(&self, name: &str) -> anyhow::Result<String> {
        let at = self.options.listeners.iter().position(|l| l.name == name);
        Ok(self.listener(at.with_context(|| format!("there is no listener `{name}`"))?))
    }

    /// A program of Kafka's own, such as `org.apache.kafka.tools.TopicCommand`, or one of ours added to `class_path`.
    ///
    /// # Errors
    ///
    /// If a path could not stand in a class path.
    pub fn tool(&self, class: &str) -> anyhow::Result<Command> {
        let log4j = log4j_option(&self.directory.path().join("tools"))?;
        self.class_path.command(&["-Xmx256m", "-XX:TieredStopAtLevel=1", &log4j], class)
    }

    /// Kafka's jars.
    pub fn class_path(&self) -> &ClassPath {
        &self.class_path
    }

    /// The log directories, of node 1 and up: what `kafka-dump-log` reads.
    pub fn log_dir(&self, node: usize) -> PathBuf {
        self.node_dir(node).join("data")
    }

    /// Lets a node stop as an operator would, and waits for its end. Nodes are counted from 1, as their ids.
    ///
    /// # Errors
    ///
    /// If it does not end in time; then it is killed.
    pub fn stop(&mut self, node: usize) -> anyhow::Result<()> {
        let Some(mut child) = self.take(node)? else { return Ok(()) };
        drop(child.stdin.take());
        match wait_until(|| Ok(child.try_wait()?))? {
            Some(_) => Ok(()),
            None => {
                end(&mut child);
                bail!("node {node} was told to stop and did not")
            }
        }
    }

    /// Ends a node at once, as a crash would.
    ///
    /// # Errors
    ///
    /// If there is no such node.
    pub fn kill(&mut self, node: usize) -> anyhow::Result<()> {
        if let Some(mut child) = self.take(node)? {
            end(&mut child);
        }
        Ok(())
    }

    /// Starts a node again on what it left, and waits until it is part of the cluster.
    ///
    /// # Errors
    ///
    /// The end of its log says why it did not start.
    pub fn start_again(&mut self, node: usize) -> anyhow::Result<()> {
        self.kill(node)?;
        self.spawn(node)?;
        self.wait_for(node)
    }

    /// As [`Kafka::start_again`], with its listeners on these ports.
    ///
    /// # Errors
    ///
    /// As [`Kafka::start_again`]; and if there are not as many ports as listeners.
    pub fn start_at(&mut self, node: usize, ports: &[u16]) -> anyhow::Result<()> {
        self.kill(node)?;
        ensure!(ports.len() == self.options.listeners.len(), "{} ports for the listeners", ports.len());
        let listeners = ports.iter().map(|&port| Port { bound: port, advertised: port }).collect();
        let known = node.checked_sub(1).and_then(|at| self.ports.get_mut(at));
        known.with_context(|| format!("there is no node {node}"))?.listeners = listeners;
        self.spawn(node)?;
        self.wait_for(node)
    }

    fn take(&mut self, node: usize) -> anyhow::Result<Option<Child>> {
        let slot = node.checked_sub(1).and_then(|at| self.nodes.get_mut(at));
        Ok(slot.with_context(|| format!("there is no node {node}"))?.take())
    }

    fn ports_of(&self, node: usize) -> anyhow::Result<&Ports> {
        let ports = node.checked_sub(1).and_then(|at| self.ports.get(at));
        ports.with_context(|| format!("there is no node {node}"))
    }

    fn listener(&self, at: usize) -> String {
        let ports = self.ports.iter().filter_map(|ports| ports.listeners.get(at));
        ports.map(|port| format!("127.0.0.1:{}", port.advertised)).collect::<Vec<_>>().join(",")
    }

    fn node_dir(&self, node: usize) -> PathBuf {
        self.directory.path().join(format!("node-{node}"))
    }

    fn spawn(&mut self, node: usize) -> anyhow::Result<()> {
        let directory = self.node_dir(node);
        let log4j = log4j_option(&directory)?;
        let properties = directory.join("server.properties");
        fs::write(&properties, self.server_properties(node)?)?;
        let heap = format!("-Xmx{}m", self.options.heap_mib);
        let mut options = vec![heap.as_str(), &log4j, "-Djava.awt.headless=true"];
        options.extend(self.options.java_options);
        let stdout = File::create(directory.join("stdout.log"))?;
        let mut java = self.class_path.command(&options, "Launch")?;
        java.arg(&properties).arg(CLUSTER_ID).args(&self.options.format);
        java.stdin(Stdio::piped()).stderr(stdout.try_clone()?).stdout(stdout);
        let child = java.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Missing("`java` is not installed".to_owned()).into(),
            _ => anyhow!(error).context("starting java"),
        })?;
        *self.nodes.get_mut(node - 1).with_context(|| format!("there is no node {node}"))? = Some(child);
        Ok(())
    }

    fn server_properties(&self, node: usize) -> anyhow::Result<String> {
        let ports = self.ports_of(node)?;
        let listeners = || self.options.listeners.iter().zip(&ports.listeners);
        let (mut bound, mut advertised, mut protocols) = (Vec::new(), Vec::new(), Vec::new());
        for (listener, port) in listeners() {
            bound.push(format!("{}://127.0.0.1:{}", listener.name, port.bound));
            advertised.push(format!("{}://127.0.0.1:{}", listener.name, port.advertised));
            protocols.push(format!("{}:{}", listener.name, listener.protocol));
        }
        bound.push(format!("CONTROLLER://127.0.0.1:{}", ports.controller.bound));
        protocols.push("CONTROLLER:PLAINTEXT".to_owned());
        let voters: Vec<String> = self
            .ports
            .iter()
            .enumerate()
            .map(|(at, ports)| format!("{}@127.0.0.1:{}", at + 1, ports.controller.advertised))
            .collect();
        let replicas = self.options.nodes.min(3);
        let in_sync = if replicas > 2 { 2 } else { 1 };
        let first = self.options.listeners.first().context("a cluster has a listener")?;
        let mut lines = vec![
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", node.to_string()),
            ("controller.quorum.voters", voters.join(",")),
            ("listeners", bound.join(",")),
            ("advertised.listeners", advertised.join(",")),
            ("listener.security.protocol.map", protocols.join(",")),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("inter.broker.listener.name", first.name.to_owned()),
            ("log.dirs", self.log_dir(node).display().to_string()),
            ("default.replication.factor", replicas.to_string()),
            ("min.insync.replicas", in_sync.to_string()),
            // Few, for they are all opened at the start.
            ("offsets.topic.num.partitions", "4".to_owned()),
            ("offsets.topic.replication.factor", replicas.to_string()),
            ("transaction.state.log.num.partitions", "4".to_owned()),
            ("transaction.state.log.replication.factor", replicas.to_string()),
            ("transaction.state.log.min.isr", in_sync.to_string()),
            ("share.coordinator.state.topic.num.partitions", "4".to_owned()),
            ("share.coordinator.state.topic.replication.factor", replicas.to_string()),
            ("share.coordinator.state.topic.min.isr", in_sync.to_string()),
            (KEPT.0, KEPT.1.to_owned()),
            // A test waits for nobody.
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ];
        let of_node = |value: &String| value.replace("{node}", &node.to_string());
        lines.extend(self.options.properties.iter().map(|(key, value)| (key.as_str(), of_node(value))));
        // In a properties file the last line of a key holds.
        Ok(lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect())
    }

    /// Waits until `node` answers, and knows as many brokers as run.
    fn wait_for(&mut self, node: usize) -> anyhow::Result<()> {
        let running = self.nodes.iter().flatten().count();
        let port = self.ports_of(node)?.listeners.first().context("a node has a listener")?.bound;
        let plain = self.options.listeners.first().is_some_and(|l| l.protocol == "PLAINTEXT");
        let child = self.nodes.get_mut(node - 1).and_then(Option::as_mut).context("the node was started")?;
        let mut died: Option<ExitStatus> = None;
        let ready = wait_until(|| {
            died = child.try_wait()?;
            let ready = match (died, plain) {
                (Some(_), _) => true,
                (None, true) => metadata(port).is_ok_and(|m| m.brokers.len() >= running),
                // Only a client with the right credentials could ask more.
                (None, false) => TcpStream::connect(("127.0.0.1", port)).is_ok(),
            };
            Ok(ready.then_some(()))
        })?;
        match (ready, died) {
            (Some(()), None) => Ok(()),
            (_, Some(status)) => bail!("node {node} died, {status}: {}", self.end_of_log(node)),
            (None, None) => bail!("node {node} does not answer: {}", self.end_of_log(node)),
        }
    }

    /// What went wrong, which a node may say long before its last words; and those.
    fn end_of_log(&self, node: usize) -> String {
        let directory = self.node_dir(node);
        let texts = ["server.log", "stdout.log"].map(|name| {
            let text = fs::read_to_string(directory.join(name)).unwrap_or_default();
            let is_why = |line: &&str| line.contains("Exception") || line.contains(" ERROR ");
            let why = text.lines().filter(is_why).take(10);
            let last: Vec<&str> = text.lines().rev().take(25).collect();
            why.chain(last.into_iter().rev()).collect::<Vec<_>>().join("\n")
        });
        texts.join("\n")
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().flatten() {
            end(child);
        }
    }
}

/// The same error for the next who asks.
fn again(error: &anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Missing>() {
        Some(Missing(what)) => Missing(what.clone()).into(),
        None => anyhow!("{error:#}"),
    }
}

/// Kills and reaps; one that is dead already is only reaped.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Looks again and again until there is something, or until patience ends: then `None`.
fn wait_until<T>(mut look: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<Option<T>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if Instant::now() > deadline {
            return Ok(None);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// What the broker at `port` says of its cluster, without topics.
fn metadata(port: u16) -> anyhow::Result<MetadataResponse> {
    const VERSION: i16 = 12;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    for piece in frame::request(&request, VERSION, 1, None)? {
        stream.write_all(&piece)?;
    }
    let mut size = [0; frame::SIZE_BYTES];
    stream.read_exact(&mut size)?;
    let size = usize::try_from(i32::from_be_bytes(size))?;
    ensure!(size <= ANSWER_BYTES_MAX, "an answer of {size} bytes");
    let mut answer = vec![0; size];
    stream.read_exact(&mut answer)?;
    Ok(frame::read_response::<MetadataRequest>(answer.into(), VERSION, 1)?)
}

fn free_ports(nodes: usize, listeners: usize) -> anyhow::Result<Vec<Ports>> {
    // Held together until all are found, so that no two are the same.
    let mut held = Vec::new();
    let mut free = || -> anyhow::Result<Port> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        held.push(listener);
        Ok(Port { bound: port, advertised: port })
    };
    (0..nodes)
        .map(|_| {
            let listeners = (0..listeners).map(|_| free()).collect::<anyhow::Result<_>>()?;
            Ok(Ports { listeners, controller: free()? })
        })
        .collect()
}

/// The option by which a JVM logs into `directory`, which is made.
fn log4j_option(directory: &Path) -> anyhow::Result<String> {
    fs::create_dir_all(directory)?;
    let (config, log) = (directory.join("log4j2.xml"), directory.join("server.log"));
    fs::write(
        &config,
        format!(
            "<Configuration status=\"error\"><Appenders><File name=\"file\" fileName=\"{}\">\
             <PatternLayout pattern=\"%d %p %m (%c)%n\"/></File></Appenders>\
             <Loggers><Root level=\"info\"><AppenderRef ref=\"file\"/></Root></Loggers></Configuration>",
            log.display()
        ),
    )?;
    Ok(format!("-Dlog4j2.configurationFile={}", config.display()))
}
