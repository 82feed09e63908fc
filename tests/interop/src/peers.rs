//! Other people's clients, each made ready once and run as a program: see `peers/README.md`.

use std::{
    io::Write,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, ensure};

use crate::record::PeerRecord;

/// A peer's name and the command that runs it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// As it stands in test output.
    pub name: &'static str,
    program: PathBuf,
    args: Vec<String>,
}

impl Peer {
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

    /// Runs it with `args` beside the test, its stdin and stdout piped.
    pub fn spawn(&self, args: &[&str]) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().with_context(|| format!("running {}", self.name))
    }

    /// Runs it with `args`; fails with what it said if it fails.
    pub fn run(&self, args: &[&str], input: Option<String>) -> anyhow::Result<Output> {
        let mut child = Command::new(&self.program)
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
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} {}: {}", self.name, args.join(" "), said.trim());
        Ok(output)
    }
}

/// confluent-kafka, over librdkafka.
pub fn confluent() -> Option<Peer> {
    python().map(|(program, script)| Peer {
        name: "confluent-kafka",
        program,
        args: vec![script, "confluent".into()],
    })
}

/// kafka-python.
pub fn kafka_python() -> Option<Peer> {
    python().map(|(program, script)| Peer {
        name: "kafka-python",
        program,
        args: vec![script, "kafka-python".into()],
    })
}

/// franz-go.
pub fn franz_go() -> Option<Peer> {
    static READY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let program = READY.get_or_init(|| {
        let program = made("peer-go");
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(source("go"))
            .status();
        built.is_ok_and(|status| status.success()).then_some(program)
    });
    program.clone().map(|program| Peer { name: "franz-go", program, args: Vec::new() })
}

/// kafka-clients.
pub fn java() -> Option<Peer> {
    static READY: OnceLock<Option<String>> = OnceLock::new();
    let class_path = READY.get_or_init(|| {
        let libs = made("java-libs");
        if !libs.exists() {
            let fetched = Command::new("mvn")
                .args(["-q", "-B", "dependency:copy-dependencies"])
                .arg(format!("-DoutputDirectory={}", libs.display()))
                .current_dir(source("java"))
                .status();
            fetched.ok().filter(|status| status.success())?;
        }
        let classes = made("java-classes");
        let class_path = format!("{}/*:{}", libs.display(), classes.display());
        let compiled = Command::new("javac")
            .args(["-cp", &class_path, "-d"])
            .arg(&classes)
            .arg(source("java").join("Peer.java"))
            .status();
        compiled.is_ok_and(|status| status.success()).then_some(class_path)
    });
    class_path.clone().map(|class_path| Peer {
        name: "kafka-clients",
        program: "java".into(),
        args: ["-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", &class_path, "Peer"]
            .map(str::to_owned)
            .into(),
    })
}

/// One of Kafka's own command-line tools, by its class, over the jars of [`java`].
pub fn kafka_tool(class: &str, args: &[&str], input: Option<&str>) -> anyhow::Result<String> {
    let mut jvm = java().context("a JDK and Maven are needed")?;
    jvm.args.pop();
    jvm.args.push(class.to_owned());
    let output = jvm.run(args, input.map(str::to_owned))?;
    Ok(String::from_utf8(output.stdout)?)
}

/// kcat, if it is installed.
pub fn kcat() -> Option<Peer> {
    let there = Command::new("kcat").arg("-V").output().is_ok_and(|o| o.status.success());
    there.then(|| Peer { name: "kcat", program: "kcat".into(), args: Vec::new() })
}

/// Every peer, or what is missing.
pub fn all() -> Vec<Result<Peer, &'static str>> {
    vec![
        confluent().ok_or("confluent-kafka (python3 with venv and pip)"),
        kafka_python().ok_or("kafka-python (python3 with venv and pip)"),
        franz_go().ok_or("franz-go (go)"),
        java().ok_or("kafka-clients (a JDK and Maven)"),
    ]
}

fn python() -> Option<(PathBuf, String)> {
    static READY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let script = source("python").join("peer.py").display().to_string();
    let program = READY.get_or_init(|| {
        let venv = made("python");
        let program = venv.join("bin/python");
        let done = |command: &mut Command| command.status().ok().filter(|s| s.success());
        if !venv.join("ready").exists() {
            done(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
            let wanted = source("python").join("requirements.txt");
            done(Command::new(&program).args(["-m", "pip", "-q", "install", "-r"]).arg(wanted))?;
            std::fs::write(venv.join("ready"), "").ok()?;
        }
        Some(program)
    });
    program.clone().map(|program| (program, script))
}

/// Where a peer's source is.
fn source(language: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers").join(language)
}

/// Where what is made of it goes: beside cargo's own output.
fn made(what: &str) -> PathBuf {
    let peers = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/peers");
    std::fs::create_dir_all(&peers).expect("target can be written");
    let peers = peers.canonicalize().expect("it was just made");
    peers.join(what)
}
