//! A runner as a process: a line in, an answer out.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use anyhow::{Context, bail};

use crate::line::Line;

/// Longest that one step may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a runner may take to end when its input has.
const END_PATIENCE: Duration = Duration::from_secs(10);
const END_LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A runner. Dropping it kills it.
#[derive(Debug)]
pub struct Runner {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// What a runner says of a step.
#[derive(Debug)]
pub struct Answer {
    /// The lines `record`, in the order in which they came.
    pub records: Vec<Line>,
    /// `ok` or `error`.
    pub line: Line,
}

impl Runner {
    /// Starts a runner.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        // The tests' own variables would be taken for settings.
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("OTTLA_")) {
            command.env_remove(name);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("running {command:?}"))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { stdin: child.stdin.take(), child, lines })
    }

    /// Has a step done.
    pub fn ask(&mut self, line: &Line) -> anyhow::Result<Answer> {
        let stdin = self.stdin.as_mut().context("the runner was told to end")?;
        writeln!(stdin, "{line}").context("the runner has ended")?;
        stdin.flush().context("the runner has ended")?;
        let mut records = Vec::new();
        loop {
            let text = match self.lines.recv_timeout(PATIENCE) {
                Ok(text) => text,
                Err(RecvTimeoutError::Timeout) => bail!("no answer in {} s", PATIENCE.as_secs()),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the runner has ended: {}", self.child.wait()?)
                }
            };
            let line = Line::parse(&text).with_context(|| format!("the runner says `{text}`"))?;
            match line.word.as_str() {
                "record" => records.push(line),
                "ok" | "error" => return Ok(Answer { records, line }),
                _ => bail!("the runner says `{text}`"),
            }
        }
    }

    /// Ends its input, and waits until it has ended, in order.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.stdin = None;
        let began = std::time::Instant::now();
        while began.elapsed() < END_PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                anyhow::ensure!(status.success(), "the runner ended with {status}");
                return Ok(());
            }
            std::thread::sleep(END_LOOK_INTERVAL);
        }
        bail!("the runner does not end")
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
