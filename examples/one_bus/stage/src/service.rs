//! A process of a service, and what it says.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use anyhow::{Context, bail, ensure};

use crate::audit::Tally;

/// The exit code of a JVM that has ended in good order because it was asked to.
const TERMINATED: i32 = 128 + 15;
/// So many of the last lines of complaint are kept.
const COMPLAINTS_MAX: usize = 20;
/// Longest line that a service may say, in bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// A process; killed when dropped, unless it has ended.
pub(crate) struct Member {
    child: Child,
    said: Arc<Mutex<Said>>,
    listeners: Vec<JoinHandle<()>>,
    was_asked: bool,
    ended: Option<ExitStatus>,
}

/// What a process has said until now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// What it has read, by topic.
    pub(crate) read: BTreeMap<String, Tally>,
    /// What it has written, by topic.
    pub(crate) wrote: BTreeMap<String, Tally>,
    /// The last lines of its standard error.
    complaints: VecDeque<String>,
    /// A line that makes no sense.
    nonsense: Option<String>,
}

impl Member {
    /// Starts it, and listens.
    pub(crate) fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("running {command:?}"))?;
        let said = Arc::new(Mutex::new(Said::default()));
        let stdout = child.stdout.take().context("stdout is piped")?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        let listeners =
            vec![listen(stdout, said.clone(), Said::hear), listen(stderr, said.clone(), Said::complain)];
        Ok(Self { child, said, listeners, was_asked: false, ended: None })
    }

    /// What it has said.
    pub(crate) fn said(&self) -> Said {
        lock(&self.said).clone()
    }

    /// Asks it to end, as systems do.
    pub(crate) fn terminate(&mut self) -> anyhow::Result<()> {
        self.was_asked = true;
        if self.ended.is_none() {
            let asked =
                Command::new("kill").arg(self.child.id().to_string()).status().context("running `kill`")?;
            ensure!(asked.success(), "`kill` failed: {asked}");
        }
        Ok(())
    }

    /// Whether it has ended, and all that it said was heard. An error if it ended badly, or said what makes no sense.
    pub(crate) fn has_ended(&mut self) -> anyhow::Result<bool> {
        if let Some(line) = &lock(&self.said).nonsense {
            bail!("it says `{line}`");
        }
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        let Some(status) = self.ended else { return Ok(false) };
        if !self.listeners.iter().all(JoinHandle::is_finished) {
            return Ok(false);
        }
        let is_well = status.success() || self.was_asked && status.code() == Some(TERMINATED);
        ensure!(is_well, "it failed: {status}{}", self.complaints());
        Ok(true)
    }

    /// The last that it complained of, each on a line of its own.
    pub(crate) fn complaints(&self) -> String {
        lock(&self.said).complaints.iter().map(|line| format!("\n  {line}")).collect()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Said {
    /// Takes in `read orders 1500 81231` or `wrote priced 1500 91234`: a topic, how many records so far, the sum of their CRC-32s.
    fn hear(&mut self, line: &str) {
        if self.understand(line).is_none() && self.nonsense.is_none() {
            self.nonsense = Some(line.to_owned());
        }
    }

    fn understand(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[verb, topic, count, checksum] = words.as_slice() else { return None };
        let tally = Tally { count: count.parse().ok()?, checksum: checksum.parse().ok()? };
        let tallies = match verb {
            "read" => &mut self.read,
            "wrote" => &mut self.wrote,
            _ => return None,
        };
        tallies.insert(topic.to_owned(), tally);
        Some(())
    }

    fn complain(&mut self, line: &str) {
        if self.complaints.len() == COMPLAINTS_MAX {
            self.complaints.pop_front();
        }
        self.complaints.push_back(line.to_owned());
    }
}

fn listen(
    from: impl Read + Send + 'static,
    said: Arc<Mutex<Said>>,
    take: fn(&mut Said, &str),
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        // What follows a line that is too long is one more, and makes no sense either.
        while from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            take(&mut lock(&said), String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
    })
}

/// A listener does nothing that could leave it half done.
fn lock(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_each_topic_counts() {
        let mut said = Said::default();
        for line in ["read orders 1 10", "wrote priced 1 20", "read shipments 4 40", "read orders 3 30"] {
            said.hear(line);
        }
        assert_eq!(said.read["orders"], Tally { count: 3, checksum: 30 });
        assert_eq!(said.read["shipments"], Tally { count: 4, checksum: 40 });
        assert_eq!(said.wrote["priced"], Tally { count: 1, checksum: 20 });
        assert_eq!(said.nonsense, None);
    }

    #[test]
    fn what_makes_no_sense_is_kept() {
        for line in ["", "read orders 1", "took orders 1 2", "read orders one 2", "read orders 1 2 3"] {
            let mut said = Said::default();
            said.hear(line);
            assert_eq!(said.nonsense.as_deref(), Some(line));
        }
    }

    #[test]
    fn only_the_last_complaints_are_kept() {
        let mut said = Said::default();
        (0..100).for_each(|number| said.complain(&number.to_string()));
        assert_eq!((said.complaints.len(), said.complaints[0].as_str()), (COMPLAINTS_MAX, "80"));
    }
}
