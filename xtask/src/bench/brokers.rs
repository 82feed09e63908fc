//! The brokers: how each is made ready, started and stopped.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use super::{load::PARTITIONS, process, tls::Certificate};
use crate::tree;

pub(super) const OTTLA: &str = "Ottla";
pub(super) const KAFKA: &str = "Apache Kafka";

/// Longest that a broker may take until it answers.
const READY_MAX: Duration = Duration::from_secs(120);
/// How often it is asked.
const READY_POLL: Duration = Duration::from_millis(1);
/// Both brokers' segments: smaller than the default, so that some are sealed in every run.
const SEGMENT_BYTES: u64 = 256 * 1024 * 1024;
/// A new group waits for nobody, at either.
const NO_DELAY: &str = "group.initial.rebalance.delay.ms=0";
/// The heap of Kafka's JVM, as its own start script has it at most half of.
const KAFKA_HEAP: &str = "-Xmx512m";

/// A broker that runs; dropping it ends the process.
pub(super) struct Broker {
    name: &'static str,
    address: SocketAddr,
    /// Where it speaks TLS, if it does.
    secure: Option<SocketAddr>,
    process: Child,
    ready_after: Duration,
}

/// Where a broker listens.
struct Addresses {
    address: SocketAddr,
    secure: Option<SocketAddr>,
}

impl Addresses {
    fn free(tls: Option<&Certificate>) -> anyhow::Result<Self> {
        Ok(Self { address: free_address()?, secure: tls.map(|_| free_address()).transpose()? })
    }

    fn listeners(&self) -> String {
        let plain = format!("PLAINTEXT://{}", self.address);
        self.secure.map_or_else(|| plain.clone(), |secure| format!("{plain},SSL://{secure}"))
    }
}

/// Builds the program and says where it is.
pub(super) fn build_ottla(profile: &str) -> anyhow::Result<PathBuf> {
    let output = Command::new("cargo")
        .args(["build", "--package", "ottla-cli", "--message-format", "json-render-diagnostics"])
        .args(["--profile", profile])
        .current_dir(tree::path(""))
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo")?;
    ensure!(output.status.success(), "our broker does not build");
    let messages = String::from_utf8(output.stdout)?;
    let program = messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "ottla").then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    program.context("cargo did not say where the program is")
}

/// Fetches the jars of the Kafka that the tests run too, once, and says where they are.
pub(super) fn kafka_jars(directory: &Path) -> anyhow::Result<PathBuf> {
    let jars = directory.join("kafka-jars");
    if !jars.exists() {
        // Under its name only when all are there, so that an interrupted fetch is not taken for a whole one.
        let fetched = empty(&directory.join("kafka-jars.part"))?;
        let status = Command::new("mvn")
            .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"])
            .arg(format!("-DoutputDirectory={}", fetched.display()))
            .current_dir(tree::path("tests/interop/kafka"))
            .status()
            .context("running `mvn`, which fetches Kafka; --without-kafka leaves it out")?;
        ensure!(status.success(), "Kafka's jars could not be fetched; --without-kafka leaves it out");
        fs::rename(&fetched, &jars)?;
    }
    Ok(jars)
}

impl Broker {
    /// Starts ours, over an empty directory.
    pub(super) fn start_ottla(
        program: &Path,
        directory: &Path,
        tls: Option<&Certificate>,
    ) -> anyhow::Result<Self> {
        let data = empty(&directory.join("ottla"))?;
        let at = Addresses::free(tls)?;
        let mut command = Command::new(program);
        command.arg("broker");
        for setting in [
            format!("listeners={}", at.listeners()),
            format!("log.dirs={}", data.join("data").display()),
            format!("num.partitions={PARTITIONS}"),
            format!("log.segment.bytes={SEGMENT_BYTES}"),
            NO_DELAY.to_owned(),
            // Handshakes come from one address.
            format!("ottla.max.connection.creation.rate.per.ip={}", i32::MAX),
        ]
        .into_iter()
        .chain(tls.into_iter().flat_map(Certificate::settings))
        {
            command.args(["--set", &setting]);
        }
        Self::start(OTTLA, &at, command, &data.join("output"))
    }

    /// Starts Kafka's, as one node that is broker and controller, over an empty directory.
    pub(super) fn start_kafka(
        jars: &Path,
        directory: &Path,
        tls: Option<&Certificate>,
    ) -> anyhow::Result<Self> {
        let home = empty(&directory.join("kafka"))?;
        let (at, controller) = (Addresses::free(tls)?, free_address()?);
        let properties = home.join("server.properties");
        fs::write(
            &properties,
            [
                "process.roles=broker,controller".to_owned(),
                "node.id=1".to_owned(),
                format!("controller.quorum.voters=1@{controller}"),
                format!("listeners={},CONTROLLER://{controller}", at.listeners()),
                "controller.listener.names=CONTROLLER".to_owned(),
                // Kafka knows this by itself only as long as no listener speaks TLS.
                "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL".to_owned(),
                "offsets.topic.replication.factor=1".to_owned(),
                format!("log.dirs={}", home.join("data").display()),
                format!("num.partitions={PARTITIONS}"),
                format!("log.segment.bytes={SEGMENT_BYTES}"),
                NO_DELAY.to_owned(),
                tls.map(Certificate::settings).unwrap_or_default().join("\n"),
            ]
            .join("\n"),
        )?;
        let class_path = format!("{}/*", jars.display());
        let formatted = Command::new("java")
            .args(["-cp", &class_path, "kafka.tools.StorageTool", "format", "-t", "b3R0bGEtYmVuY2gta2Fma2"])
            .arg("-c")
            .arg(&properties)
            .output()
            .context("running `java`")?;
        let said = String::from_utf8_lossy(&formatted.stderr);
        ensure!(formatted.status.success(), "Kafka's storage could not be formatted: {}", said.trim());
        let mut command = Command::new("java");
        command
            .args([KAFKA_HEAP, "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"])
            .args(["-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"])
            .args(["-cp", &class_path, "kafka.Kafka"])
            .arg(&properties);
        Self::start(KAFKA, &at, command, &home.join("output"))
    }

    fn start(
        name: &'static str,
        &Addresses { address, secure }: &Addresses,
        mut command: Command,
        output: &Path,
    ) -> anyhow::Result<Self> {
        let file = fs::File::create(output)?;
        let began = Instant::now();
        let process = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let mut broker = Self { name, address, secure, process, ready_after: Duration::ZERO };
        while !answers(address) {
            if let Some(status) = broker.process.try_wait()? {
                bail!("{name} ended with {status}; see `{}`", output.display());
            }
            ensure!(began.elapsed() < READY_MAX, "{name} does not answer; see `{}`", output.display());
            thread::sleep(READY_POLL);
        }
        broker.ready_after = began.elapsed();
        Ok(broker)
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where loads connect: by TLS if it speaks that.
    pub(super) fn address_of_load(&self) -> SocketAddr {
        self.secure.unwrap_or(self.address)
    }

    /// From the start of the process to its first answer.
    pub(super) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        process::cpu(self.process.id())
    }

    pub(super) fn rss_bytes(&self) -> anyhow::Result<u64> {
        process::rss_bytes(self.process.id())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Its data is thrown away, so there is nothing to close. It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether a broker answers ApiVersions there: version 0, correlation id 0, no client id.
fn answers(address: SocketAddr) -> bool {
    const REQUEST: &[u8] = &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    let ask = || -> std::io::Result<()> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.write_all(REQUEST)?;
        socket.read_exact(&mut [0; 8])
    };
    ask().is_ok()
}

/// An address that nobody listens on. It is free again when this returns, so somebody else may take it; then the
/// broker does not start, and says so.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Makes a directory, without what an earlier bench left there.
fn empty(directory: &Path) -> anyhow::Result<PathBuf> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    Ok(directory.to_owned())
}
