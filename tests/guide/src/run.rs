//! Programs that are run to their end, or until they have printed what is waited for.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Longest that a program may take to print what is waited for, or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether a program has ended.
const END_LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A program that runs. Dropping it kills it.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
    printed: Vec<String>,
    complaints: Option<JoinHandle<String>>,
}

/// How a program ended.
pub struct Ended {
    /// As the system says it.
    pub status: ExitStatus,
    /// The lines that it printed.
    pub printed: Vec<String>,
    /// What it complained of, on its standard error.
    pub complaints: String,
}

impl Program {
    /// Starts it. Variables that would be taken for settings are left out.
    ///
    /// # Errors
    ///
    /// If it cannot be run.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("OTTLA_")) {
            command.env_remove(name);
        }
        let mut child = command
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("running {command:?}"))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut stderr = child.stderr.take().context("stderr is piped")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let complaints = std::thread::spawn(move || {
            let mut said = Vec::new();
            // What was read until then is what there is to tell.
            _ = stderr.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        Ok(Self { child, lines, printed: Vec::new(), complaints: Some(complaints) })
    }

    /// Waits until a line that contains `text` was printed.
    ///
    /// # Errors
    ///
    /// If the program ends before, or does not print it in time.
    pub fn wait_for(&mut self, text: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.printed.iter().any(|line| line.contains(text)) {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.printed.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("`{text}` was not printed within {} s, but {:?}", PATIENCE.as_secs(), self.printed)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    let said = self.complaints();
                    bail!("it ended with {status} before it printed `{text}`: {:?} {said}", self.printed)
                }
            }
        }
    }

    /// Asks it to end, as a terminal or a supervisor does.
    ///
    /// # Errors
    ///
    /// If there is no such process any more.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid =
            i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process has an id")?;
        kill_process(pid, signal).context("the program has ended already")
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    ///
    /// If it does not, in time.
    pub fn end(mut self) -> anyhow::Result<Ended> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() >= deadline {
                bail!("it does not end within {} s: {:?}", PATIENCE.as_secs(), self.printed);
            }
            std::thread::sleep(END_LOOK_INTERVAL);
        };
        // The pipe ends with the program.
        self.printed.extend(self.lines.iter());
        let complaints = self.complaints();
        Ok(Ended { status, printed: std::mem::take(&mut self.printed), complaints })
    }

    fn complaints(&mut self) -> String {
        self.complaints.take().and_then(|reader| reader.join().ok()).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
