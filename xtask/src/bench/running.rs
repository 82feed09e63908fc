//! One broker of a measurement that is about the broker alone: started, told to stop, killed.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Parser;

use super::brokers;

/// What is measured, and where.
#[derive(Parser)]
pub(super) struct Subject {
    /// The program to measure, instead of one built here.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Cargo's profile to build it with.
    #[arg(long, default_value = "release")]
    profile: String,
    /// Where the data lie meanwhile, instead of the system's place for temporary files.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Subject {
    /// Calls `measure` with the program and a directory that is there for so long only.
    pub(super) fn measure(
        &self,
        name: &str,
        measure: impl FnOnce(&Path, &Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let program = match &self.program {
            Some(program) => program.clone(),
            None => brokers::build_ottla(&self.profile)?,
        };
        let data = self.data.clone().unwrap_or_else(std::env::temp_dir);
        let data = data.join(format!("ottla-{name}-{}", std::process::id()));
        fs::create_dir_all(&data).with_context(|| data.display().to_string())?;
        let measured = measure(&program, &data);
        // What is left of a failed run is of no use either.
        let _ = fs::remove_dir_all(&data);
        measured
    }
}

/// A broker that runs.
pub(super) struct Running {
    /// Its process.
    pub process: Child,
    /// Where it listens.
    pub address: String,
    /// How long it took from its launch until it listened.
    pub ready_after: Duration,
}

impl Running {
    /// Starts a broker and waits until it says that it listens.
    pub(super) fn start(program: &Path, data: &Path) -> anyhow::Result<Self> {
        let began = Instant::now();
        let mut process = Command::new(program)
            .args(["broker", "--log-format", "json", "--set", "listeners=PLAINTEXT://127.0.0.1:0"])
            .arg("--set")
            .arg(format!("log.dirs={}", data.display()))
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("running `{}`", program.display()))?;
        let stderr = process.stderr.take().context("stderr is piped")?;
        let mut lines = BufReader::new(stderr).lines();
        while let Some(line) = lines.next().transpose()? {
            let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(address) = event["fields"]["address"].as_str() {
                let (address, ready_after) = (address.to_owned(), began.elapsed());
                // A full pipe would stop it.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self { process, address, ready_after });
            }
            if event["level"] != "INFO" {
                eprintln!("{line}");
            }
        }
        anyhow::bail!("the broker has ended: {}", process.wait()?)
    }

    /// Stops it in order.
    pub(super) fn terminate(mut self) -> anyhow::Result<()> {
        let killed = Command::new("kill").arg(self.process.id().to_string()).status()?;
        ensure!(killed.success(), "the broker could not be told to stop");
        let status = self.process.wait()?;
        ensure!(status.success(), "the broker did not stop in order: {status}");
        Ok(())
    }

    /// `kill -9`.
    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a verb of the program against the broker at `address`; gives what it prints.
pub(super) fn tool(program: &Path, args: &[&str], address: &str) -> anyhow::Result<String> {
    let output = Command::new(program).args(args).args(["--bootstrap-server", address]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`ottla {}`: {}", args.join(" "), said.trim());
    Ok(String::from_utf8(output.stdout)?)
}
