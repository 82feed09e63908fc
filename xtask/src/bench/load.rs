//! The loads: programs that write and read at full speed, started for each measurement. `benches/peers/README.md`
//! says how they talk.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use clap::ValueEnum;

use super::{
    Case, Codec,
    brokers::{self, Broker},
    process,
    report::Figures,
    tls::Certificate,
};
use crate::{npm, package, tree};

pub(super) const PARTITIONS: usize = 6;
/// The clients that ours in Python is measured beside.
const PYTHON_PEERS: [&str; 2] = ["confluent-kafka==2.16.1", "aiokafka==0.14.0"];

/// The clients that ours in Node is measured beside; of the second, the last release for the Node that is here is taken.
const NODE_PEERS: [&str; 2] = ["kafkajs@2.2.4", "@platformatic/kafka"];
const IN_JAVA: &str = "benches/peers/java";
/// A JVM is measured when it has compiled what it runs.
const WARM_UP: &str = "--warm-up=500000";

/// Whose client the load is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Client {
    /// franz-go: neither broker's own, so the brokers are compared under its hands.
    FranzGo,
    /// Ours, the crate `ottla`.
    Ottla,
    /// Ours, through its C interface.
    OttlaC,
    /// librdkafka, built from its source.
    Librdkafka,
    /// kafka-clients, Java's.
    KafkaClients,
    /// Ours in Java: a callback for each record; values as arrays.
    OttlaJava,
    /// Ours in Java: sends nobody asks about; values where they lie.
    OttlaJavaForget,
    /// Ours in .NET: every send awaited; values as arrays.
    OttlaDotnet,
    /// Ours in .NET: sends nobody asks about; values where they lie.
    OttlaDotnetForget,
    /// Ours in Python: a future for each record; reading record by record.
    OttlaPython,
    /// Ours in Python: sends nobody asks about; reading batch by batch.
    OttlaPythonNowait,
    /// Ours in Python, in an asyncio program.
    OttlaAio,
    /// confluent-kafka, over librdkafka.
    ConfluentKafka,
    /// aiokafka.
    Aiokafka,
    /// Ours in Node: a promise for each record; reading record by record.
    OttlaNode,
    /// Ours in Node: sending and reading batches.
    OttlaNodeBatch,
    /// kafkajs, whose callers make batches.
    Kafkajs,
    /// @platformatic/kafka, whose callers make batches.
    Platformatic,
}

impl Client {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FranzGo => "franz-go",
            Self::Ottla => "Ottla",
            Self::OttlaC => "Ottla C",
            Self::Librdkafka => "librdkafka",
            Self::KafkaClients => "Java",
            Self::OttlaJava => "Ottla Java",
            Self::OttlaJavaForget => "Ottla Java, without futures and copies",
            Self::OttlaDotnet => "Ottla .NET",
            Self::OttlaDotnetForget => "Ottla .NET, without awaits and copies",
            Self::OttlaPython => "Ottla Python",
            Self::OttlaPythonNowait => "Ottla Python, nowait and batches",
            Self::OttlaAio => "Ottla aio",
            Self::ConfluentKafka => "confluent-kafka",
            Self::Aiokafka => "aiokafka",
            Self::OttlaNode => "Ottla Node",
            Self::OttlaNodeBatch => "Ottla Node, batches",
            Self::Kafkajs => "kafkajs",
            Self::Platformatic => "@platformatic/kafka",
        }
    }

    /// What only its load understands.
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::KafkaClients | Self::OttlaJava | Self::OttlaDotnet => &[WARM_UP],
            Self::OttlaJavaForget | Self::OttlaDotnetForget => &[WARM_UP, "--forget"],
            _ => &[],
        }
    }

    /// What `benches/peers/python/load.py` calls it, if it is one of its.
    fn in_python(self) -> Option<&'static str> {
        Some(match self {
            Self::OttlaPython => "ottla",
            Self::OttlaPythonNowait => "ottla-nowait",
            Self::OttlaAio => "ottla-aio",
            Self::ConfluentKafka => "confluent-kafka",
            Self::Aiokafka => "aiokafka",
            _ => return None,
        })
    }

    /// What `benches/peers/node/load.mjs` calls it, if it is one of its.
    fn in_node(self) -> Option<&'static str> {
        Some(match self {
            Self::OttlaNode => "ottla",
            Self::OttlaNodeBatch => "ottla-batch",
            Self::Kafkajs => "kafkajs",
            Self::Platformatic => "platformatic",
            _ => return None,
        })
    }
}

/// The programs, built.
pub(super) struct Loads {
    /// Makes and deletes the topics for all.
    franz_go: PathBuf,
    /// Where the loads in Rust are.
    rust: PathBuf,
    /// Our load in C.
    c: PathBuf,
    /// The environment of Python's.
    python: PathBuf,
    /// Where Node's packages are installed, and the load beside them.
    node: PathBuf,
    /// The class path of Kafka's in Java.
    java: String,
    /// The class path of ours in Java.
    ottla_java: String,
    /// Read as a group's only member, instead of by assignment.
    in_group: bool,
    /// Whom loads trust that connect by TLS.
    ca: Option<PathBuf>,
}

/// A program, with what it is to do.
pub(super) struct Job<'a> {
    loads: &'a Loads,
    client: Client,
    broker: &'a Broker,
    flags: Vec<String>,
}

impl Loads {
    /// Builds what `clients` needs into `directory`.
    pub(super) fn build(
        clients: &[Client],
        in_group: bool,
        tls: Option<&Certificate>,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let franz_go = directory.join("load-franz-go");
        let status = Command::new("go")
            .args(["build", "-o"])
            .arg(&franz_go)
            .arg(".")
            .current_dir(tree::path("benches/peers/go"))
            .status()
            .context("running `go`: one load is a Go program")?;
        ensure!(status.success(), "the load in `benches/peers/go` does not build");
        let target = directory.join("loads");
        let programs = clients.iter().filter_map(|client| match client {
            Client::Ottla => Some("ottla"),
            Client::Librdkafka => Some("librdkafka"),
            _ => None,
        });
        for program in programs {
            let status = Command::new("cargo")
                .args(["build", "--release", "--bin", program, "--target-dir"])
                .arg(&target)
                .current_dir(tree::path("benches/peers/rust"))
                .status()
                .context("running `cargo`")?;
            ensure!(status.success(), "the load `{program}` in `benches/peers/rust` does not build");
        }
        let c = directory.join("load-c");
        if clients.contains(&Client::OttlaC) {
            crate::c::build_program(
                "release",
                &tree::path("benches/peers/c/load.c"),
                &directory.join("c"),
                &c,
            )?;
        }
        let python = directory.join("python");
        if clients.iter().any(|client| client.in_python().is_some()) {
            let wheel = package::wheel("release")?;
            package::environment(&python, &wheel, &PYTHON_PEERS)?;
        }
        let node = directory.join("node");
        if clients.iter().any(|client| client.in_node().is_some()) {
            let _ = std::fs::remove_dir_all(&node);
            npm::install(&node, &npm::packages("release")?, &NODE_PEERS)?;
            std::fs::copy(tree::path("benches/peers/node/load.mjs"), node.join("load.mjs"))?;
        }
        let mut java = String::new();
        if clients.contains(&Client::KafkaClients) {
            let jars = format!("{}/*", brokers::kafka_jars(directory)?.display());
            let classes = directory.join("load-java");
            let status = Command::new("javac")
                .args(["-proc:none", "-cp", &jars, "-sourcepath"])
                .arg(tree::path(IN_JAVA))
                .arg("-d")
                .arg(&classes)
                .arg(tree::path(IN_JAVA).join("KafkaClientsLoad.java"))
                .status()
                .context("running `javac`")?;
            ensure!(status.success(), "the load in `{IN_JAVA}` does not build");
            java = format!("{}:{jars}", classes.display());
        }
        let mut ottla_java = String::new();
        if clients.iter().any(|client| matches!(client, Client::OttlaJava | Client::OttlaJavaForget)) {
            ottla_java = crate::java::build_load(&tree::path(IN_JAVA).join("OttlaLoad.java"), directory)?;
        }
        if clients.iter().any(|client| matches!(client, Client::OttlaDotnet | Client::OttlaDotnetForget)) {
            crate::dotnet::package("release")?;
        }
        let ca = tls.map(|tls| tls.certificate.clone());
        Ok(Self { franz_go, rust: target.join("release"), c, python, node, java, ottla_java, in_group, ca })
    }

    /// The program of a load in Rust.
    pub(super) fn program(&self, client: Client) -> PathBuf {
        self.rust.join(if client == Client::Ottla { "ottla" } else { "librdkafka" })
    }

    /// Makes a topic for something else than a load.
    pub(super) fn create_topic(&self, broker: &Broker, topic: &str, partitions: usize) -> anyhow::Result<()> {
        let flags = [
            format!("--bootstrap={}", broker.address()),
            format!("--topic={topic}"),
            format!("--partitions={partitions}"),
        ];
        let output = Command::new(&self.franz_go).arg("create").args(flags).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{topic}` could not be created: {}", said.trim());
        Ok(())
    }

    /// The load for one topic of `records` records, or as many in each pass.
    pub(super) fn with<'a>(
        &'a self,
        client: Client,
        broker: &'a Broker,
        topic: &str,
        case: Case,
        records: usize,
    ) -> Job<'a> {
        let mut flags = flags(case, records);
        for (name, value) in [
            ("bootstrap", broker.address_of_load().to_string()),
            ("topic", topic.to_owned()),
            ("partitions", PARTITIONS.to_string()),
        ] {
            flags.push(format!("--{name}={value}"));
        }
        if self.in_group {
            flags.push(format!("--group={topic}-{}", client.name()));
        }
        if let Some(ca) = &self.ca {
            flags.push(format!("--ca={}", ca.display()));
        }
        Job { loads: self, client, broker, flags }
    }

    /// What the codec alone takes for records of this case, without client and broker.
    pub(super) fn codec_alone(&self, case: Case, records: usize) -> anyhow::Result<CodecCost> {
        let output =
            Command::new(self.rust.join("ottla")).arg("codec").args(flags(case, records)).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the codec could not be measured: {}", said.trim());
        let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let number = |name: &str| told[name].as_f64().with_context(|| format!("the load tells `{name}`"));
        Ok(CodecCost {
            codec: case.codec,
            value_bytes: case.value_bytes,
            compress_s: number("compress_s")?,
            inflate_s: number("inflate_s")?,
            ratio: number("ratio")?,
        })
    }
}

/// How long a send takes until it is acknowledged, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latencies {
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    pub(super) p999_us: u64,
}

/// What a codec takes for full batches of records, in seconds per million.
#[derive(Clone, Copy, Debug)]
pub(super) struct CodecCost {
    pub(super) codec: Codec,
    pub(super) value_bytes: usize,
    pub(super) compress_s: f64,
    pub(super) inflate_s: f64,
    /// Bytes before over bytes after.
    pub(super) ratio: f64,
}

fn flags(case: Case, records: usize) -> Vec<String> {
    vec![
        format!("--codec={}", case.codec.name()),
        format!("--value-bytes={}", case.value_bytes),
        format!("--records={records}"),
    ]
}

impl Job<'_> {
    pub(super) fn create(&self) -> anyhow::Result<()> {
        self.once("create")
    }

    pub(super) fn delete(&self) -> anyhow::Result<()> {
        self.once("delete")
    }

    pub(super) fn produce(&self) -> anyhow::Result<Figures> {
        Ok(self.measured("produce", &[])?.0)
    }

    /// Reads the topic `passes` times.
    pub(super) fn consume(&self, passes: usize) -> anyhow::Result<Figures> {
        Ok(self.measured("consume", &[format!("--passes={passes}")])?.0)
    }

    /// Sends one record after the other, each when the one before it is acknowledged; of the clients in Java.
    pub(super) fn one_by_one(&self) -> anyhow::Result<(Figures, Latencies)> {
        let (figures, done) = self.measured("await", &[])?;
        let number = |name: &str| done[name].as_u64().with_context(|| format!("the load tells `{name}`"));
        let latencies =
            Latencies { p50_us: number("p50_us")?, p99_us: number("p99_us")?, p999_us: number("p999_us")? };
        Ok((figures, latencies))
    }

    fn once(&self, verb: &str) -> anyhow::Result<()> {
        let output = Command::new(&self.loads.franz_go).arg(verb).args(&self.flags).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the load failed at {}: {}", self.broker.name(), said.trim());
        Ok(())
    }

    /// Runs a verb that tells when it is about to begin and when it is done, and looks at the clocks then. Answers what
    /// it told, too.
    fn measured(&self, verb: &str, more: &[String]) -> anyhow::Result<(Figures, serde_json::Value)> {
        let mut child = self
            .program()
            .arg(verb)
            .args(&self.flags)
            .args(more)
            .args(self.client.flags())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pid = child.id();
        let mut stdin = child.stdin.take().context("stdin is piped")?;
        let mut lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        let mut next = || -> anyhow::Result<String> {
            lines.next().context("the load ended early; it said why above")?.map_err(Into::into)
        };
        ensure!(next()? == "ready", "the load did not say `ready`");
        let (client, broker) = (process::cpu(pid)?, self.broker.cpu()?);
        writeln!(stdin)?;
        let done: serde_json::Value = serde_json::from_str(&next()?)?;
        let figures = Figures {
            records: done["records"].as_u64().context("the load tells `records`")?,
            wall_s: done["wall_s"].as_f64().context("the load tells `wall_s`")?,
            client_cpu_s: (process::cpu(pid)? - client).as_secs_f64(),
            broker_cpu_s: (self.broker.cpu()? - broker).as_secs_f64(),
            broker_rss_bytes: self.broker.rss_bytes()?,
            allocated_bytes: done["allocated_bytes"].as_u64(),
        };
        writeln!(stdin)?;
        ensure!(child.wait()?.success(), "the load failed");
        Ok((figures, done))
    }

    fn program(&self) -> Command {
        match self.client {
            Client::FranzGo => Command::new(&self.loads.franz_go),
            Client::OttlaC => Command::new(&self.loads.c),
            Client::Ottla | Client::Librdkafka => Command::new(self.loads.program(self.client)),
            Client::KafkaClients => {
                let mut java = Command::new("java");
                java.args(["-Xmx512m", "-cp", &self.loads.java, "KafkaClientsLoad"]);
                java
            }
            Client::OttlaJava | Client::OttlaJavaForget => {
                let mut java = Command::new("java");
                java.args(["-Xmx512m", "-cp", &self.loads.ottla_java, "OttlaLoad"]);
                java
            }
            Client::OttlaDotnet | Client::OttlaDotnetForget => crate::dotnet::program("LoadOttla"),
            Client::OttlaPython
            | Client::OttlaPythonNowait
            | Client::OttlaAio
            | Client::ConfluentKafka
            | Client::Aiokafka => {
                let mut python = Command::new(self.loads.python.join("bin/python"));
                python.arg(tree::path("benches/peers/python/load.py")).args(self.client.in_python());
                python
            }
            Client::OttlaNode | Client::OttlaNodeBatch | Client::Kafkajs | Client::Platformatic => {
                let mut node = Command::new("node");
                node.arg(self.loads.node.join("load.mjs")).args(self.client.in_node());
                node
            }
        }
    }
}
