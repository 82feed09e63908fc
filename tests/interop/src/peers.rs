//! Other people's clients, each made ready once and run as a program: see `peers/README.md`.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use anyhow::{Context, bail, ensure};

use crate::{Missing, java::ClassPath, made_once, record::PeerRecord};

/// A peer's name and the command that runs it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// As it stands in test output.
    pub name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    /// How it connects.
    properties: Option<PathBuf>,
}

impl Peer {
    /// What runs it: for a client in Python, the interpreter of an environment that has it.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The same client, which connects as this file says: keys of kafka-clients, see `peers/README.md`.
    pub fn connecting(&self, properties: &Path) -> Self {
        Self { properties: Some(properties.to_owned()), ..self.clone() }
    }

    /// The same program in Java, with options of Java's own, as `-Dname=value`.
    pub fn with_java(&self, options: &[&str]) -> Self {
        let options = options.iter().map(|&option| option.to_owned());
        Self { args: options.chain(self.args.clone()).collect(), ..self.clone() }
    }

    /// The codecs that it can use.
    pub fn codecs(&self) -> anyhow::Result<Vec<String>> {
        let output = self.run(&["codecs"], None)?;
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }

    /// `records` as this client can write them: kafka-python takes no header without a value.
    pub fn writable(&self, mut records: Vec<PeerRecord>) -> Vec<PeerRecord> {
        if self.name == "kafka-python" {
            for (_, value) in records.iter_mut().flat_map(|r| &mut r.headers) {
                value.get_or_insert_default();
            }
        }
        records
    }

    /// Writes `records`, each to its partition.
    pub fn produce(
        &self,
        bootstrap: &str,
        topic: &str,
        codec: &str,
        records: &[PeerRecord],
    ) -> anyhow::Result<()> {
        let lines: Result<Vec<String>, _> = records.iter().map(serde_json::to_string).collect();
        let mut input = lines?.join("\n");
        input.push('\n');
        self.run(&["produce", bootstrap, topic, codec], Some(input))?;
        Ok(())
    }

    /// Reads `count` records of all partitions.
    pub fn consume(&self, bootstrap: &str, topic: &str, count: usize) -> anyhow::Result<Vec<PeerRecord>> {
        let output = self.run(&["consume", bootstrap, topic, &count.to_string()], None)?;
        let lines = String::from_utf8(output.stdout)?;
        lines.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }

    fn env(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.properties.iter().map(|path| ("PEER_PROPERTIES", path.as_path()))
    }

    /// Runs it with `args` beside the test, its stdin and stdout piped.
    pub fn spawn(&self, args: &[&str]) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.program);
        command.envs(self.env());
        command.args(&self.args).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().with_context(|| format!("running {}", self.name))
    }

    /// Runs it with `args`; fails with what it said if it fails.
    pub fn run(&self, args: &[&str], input: Option<String>) -> anyhow::Result<Output> {
        let mut child = Command::new(&self.program)
            .envs(self.env())
            .args(&self.args)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("running {}", self.name))?;
        let mut stdin = child.stdin.take().context("stdin is piped")?;
        let writing = std::thread::spawn(move || {
            // A peer that ends early closes its end; what it says then is in its output.
            let _ = stdin.write_all(input.unwrap_or_default().as_bytes());
        });
        let output = child.wait_with_output()?;
        let _ = writing.join();
        // Some of Kafka's tools say on their standard output why they fail.
        let said = [&output.stderr, &output.stdout].map(|said| String::from_utf8_lossy(said));
        ensure!(output.status.success(), "{} {}: {}", self.name, args.join(" "), said.join("\n").trim());
        Ok(output)
    }
}

/// confluent-kafka, over librdkafka.
///
/// # Errors
///
/// [`Missing`] if there is no Python, or if it cannot be fetched; the same of the others.
pub fn confluent() -> anyhow::Result<Peer> {
    python("confluent-kafka", "confluent")
}

/// kafka-python.
///
/// # Errors
///
/// As [`confluent`].
pub fn kafka_python() -> anyhow::Result<Peer> {
    python("kafka-python", "kafka-python")
}

/// aiokafka, as a member of groups.
///
/// # Errors
///
/// As [`confluent`].
pub fn aiokafka() -> anyhow::Result<Peer> {
    python("aiokafka", "aiokafka")
}

/// kafkajs, as a member of groups.
///
/// # Errors
///
/// As [`confluent`].
pub fn kafkajs() -> anyhow::Result<Peer> {
    let script = kafkajs_directory()?.join("peer.js").display().to_string();
    Ok(Peer { name: "kafkajs", program: "node".into(), args: vec![script], properties: None })
}

/// What `NODE_PATH` is for programs that are written for kafkajs.
///
/// # Errors
///
/// As [`confluent`].
pub fn kafkajs_modules() -> anyhow::Result<PathBuf> {
    Ok(kafkajs_directory()?.join("node_modules"))
}

fn kafkajs_directory() -> anyhow::Result<PathBuf> {
    let source = source("node");
    let files = ["package.json", "package-lock.json", "peer.js"].map(|name| source.join(name));
    made_once(&hashed("peer-node", &files)?, |directory| {
        for file in &files {
            std::fs::copy(file, directory.join(file.file_name().unwrap_or_default()))?;
        }
        let installed = Command::new("npm").args(["ci", "--silent"]).current_dir(directory).output();
        done("kafkajs (npm)", installed)
    })
}

/// franz-go.
///
/// # Errors
///
/// As [`confluent`].
pub fn franz_go() -> anyhow::Result<Peer> {
    let source = source("go");
    let directory =
        made_once(&hashed("peer-go", &[source.join("main.go"), source.join("go.sum")])?, |directory| {
            let built = Command::new("go")
                .args(["build", "-o"])
                .arg(directory)
                .arg(".")
                .current_dir(&source)
                .output();
            done("franz-go (go)", built)
        })?;
    Ok(Peer { name: "franz-go", program: directory.join("peer"), args: Vec::new(), properties: None })
}

/// franz-go's own tests, as a program: they find the broker by `KGO_SEEDS`.
///
/// # Errors
///
/// As [`confluent`].
pub fn franz_go_tests() -> anyhow::Result<PathBuf> {
    let source = source("go");
    let directory = made_once(
        &hashed("franz-go-tests", &[source.join("go.mod"), source.join("go.sum")])?,
        |directory| {
            let built = Command::new("go")
                .args(["test", "-c", "-o"])
                .arg(directory.join("kgo.test"))
                .arg("github.com/twmb/franz-go/pkg/kgo")
                .current_dir(&source)
                .output();
            done("franz-go's tests (go)", built)
        },
    )?;
    Ok(directory.join("kgo.test"))
}

/// kafka-clients.
///
/// # Errors
///
/// As [`confluent`].
pub fn java() -> anyhow::Result<Peer> {
    let class_path = ClassPath::of_project("peers/java")?.with_compiled("Peer.java")?;
    jvm("kafka-clients", &class_path, "Peer")
}

/// kcat.
///
/// # Errors
///
/// [`Missing`] if it is not installed.
pub fn kcat() -> anyhow::Result<Peer> {
    done("kcat", Command::new("kcat").arg("-V").output())?;
    Ok(Peer { name: "kcat", program: "kcat".into(), args: Vec::new(), properties: None })
}

/// The peers that have the verbs.
///
/// # Errors
///
/// Of each, as [`confluent`].
pub fn all() -> Vec<anyhow::Result<Peer>> {
    vec![confluent(), kafka_python(), franz_go(), java()]
}

/// One of Kafka's own command-line tools, by its class: what it prints.
///
/// # Errors
///
/// [`Missing`] if there is no JDK or Maven; else if the tool fails.
pub fn kafka_tool(class: &str, args: &[&str], input: Option<&str>) -> anyhow::Result<String> {
    kafka_tool_with(&[], class, args, input)
}

/// As [`kafka_tool`], with options of Java's own, as `-Dname=value`.
///
/// # Errors
///
/// As [`kafka_tool`].
pub fn kafka_tool_with(
    java: &[&str],
    class: &str,
    args: &[&str],
    input: Option<&str>,
) -> anyhow::Result<String> {
    let tool = jvm("a tool of Kafka's", &ClassPath::of_project("peers/java")?, class)?.with_java(java);
    let output = tool.run(args, input.map(str::to_owned))?;
    Ok(String::from_utf8(output.stdout)?)
}

fn jvm(name: &'static str, class_path: &ClassPath, class: &str) -> anyhow::Result<Peer> {
    // These programs live for a second: compiling hot code well does not pay.
    let java = class_path.command(&["-XX:TieredStopAtLevel=1", "-Xshare:auto"], class)?;
    let args = java.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    Ok(Peer { name, program: java.get_program().into(), args, properties: None })
}

fn python(name: &'static str, client: &str) -> anyhow::Result<Peer> {
    let wanted = source("python").join("requirements.txt");
    let venv = made_once(&hashed("peers-python", std::slice::from_ref(&wanted))?, |directory| {
        done("Python with venv", Command::new("python3").args(["-m", "venv"]).arg(directory).output())?;
        let mut pip = Command::new(directory.join("bin/python"));
        done("the Python clients", pip.args(["-m", "pip", "-q", "install", "-r"]).arg(&wanted).output())
    })?;
    let script = source("python").join("peer.py").display().to_string();
    Ok(Peer {
        name,
        program: venv.join("bin/python"),
        args: vec![script, client.to_owned()],
        properties: None,
    })
}

/// A tool that makes a peer ready: if it is not there, or fails, the peer is missing.
fn done(what: &str, output: std::io::Result<Output>) -> anyhow::Result<()> {
    let why = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    bail!(Missing(format!("{what}: {why}")))
}

/// A name for what is made of these files.
fn hashed(name: &str, files: &[PathBuf]) -> anyhow::Result<String> {
    let mut hasher = DefaultHasher::new();
    for file in files {
        std::fs::read(file).with_context(|| file.display().to_string())?.hash(&mut hasher);
    }
    Ok(format!("{name}-{:016x}", hasher.finish()))
}

/// Where a peer's source is.
fn source(language: &str) -> PathBuf {
    crate::path("tests/interop/peers").join(language)
}
