//! The load: a program of franz-go's, started for each measurement. `benches/peers/README.md` says how it talks.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};

use super::{Case, brokers::Broker, process, report::Figures};
use crate::tree;

pub(super) const PARTITIONS: usize = 6;

/// The program, built.
pub(super) struct Load {
    program: PathBuf,
}

/// The program, with what it is to do.
pub(super) struct Job<'a> {
    program: &'a Path,
    broker: &'a Broker,
    flags: Vec<String>,
}

impl Load {
    /// Builds it into `directory`.
    pub(super) fn build(directory: &Path) -> anyhow::Result<Self> {
        let program = directory.join("load-franz-go");
        let status = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(tree::path("benches/peers/go"))
            .status()
            .context("running `go`: the load is a Go program")?;
        ensure!(status.success(), "the load in `benches/peers/go` does not build");
        Ok(Self { program })
    }

    /// The load for one topic of `records` records, or as many in each pass.
    pub(super) fn with<'a>(&'a self, broker: &'a Broker, topic: &str, case: Case, records: usize) -> Job<'a> {
        let flags = [
            ("bootstrap", broker.address().to_string()),
            ("topic", topic.to_owned()),
            ("partitions", PARTITIONS.to_string()),
            ("codec", case.codec.name().to_owned()),
            ("value-bytes", case.value_bytes.to_string()),
            ("records", records.to_string()),
        ];
        let flags = flags.into_iter().map(|(name, value)| format!("-{name}={value}")).collect();
        Job { program: &self.program, broker, flags }
    }
}

impl Job<'_> {
    pub(super) fn create(&self) -> anyhow::Result<()> {
        self.once("create")
    }

    pub(super) fn delete(&self) -> anyhow::Result<()> {
        self.once("delete")
    }

    pub(super) fn produce(&self) -> anyhow::Result<Figures> {
        self.measured("produce", &[])
    }

    /// Reads the topic `passes` times.
    pub(super) fn consume(&self, passes: usize) -> anyhow::Result<Figures> {
        self.measured("consume", &[format!("-passes={passes}")])
    }

    fn once(&self, verb: &str) -> anyhow::Result<()> {
        let output = Command::new(self.program).arg(verb).args(&self.flags).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the load failed at {}: {}", self.broker.name(), said.trim());
        Ok(())
    }

    /// Runs a verb that tells when it is about to begin and when it is done, and looks at the clocks then.
    fn measured(&self, verb: &str, more: &[String]) -> anyhow::Result<Figures> {
        let mut child = Command::new(self.program)
            .arg(verb)
            .args(&self.flags)
            .args(more)
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
        };
        writeln!(stdin)?;
        ensure!(child.wait()?.success(), "the load failed");
        Ok(figures)
    }
}
