//! Kafka's own cluster tests, run against our program: what its harness would start in its JVM is a stand-in
//! (`tests/interop/java/cluster`) that starts `ottla broker` with the properties that a test asks for.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

use crate::{java::ClassPath, kafka::JAVA_OPTIONS_FOR_TESTS};

const SOURCES: [&str; 4] = [
    "cluster/Node.java",
    "cluster/Outside.java",
    "cluster/RaftClusterInvocationContext.java",
    "cluster/Run.java",
];
/// How long the tests of one class may take.
const CLASS_PATIENCE: Duration = Duration::from_secs(900);
/// Classes that are run at a time.
const CLASSES_AT_ONCE: usize = 4;

/// How a test ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// It passed.
    Passed,
    /// It could not be told: the stand-in does not have what the test reaches for.
    Aborted,
    /// It failed, or never came to an end.
    Failed,
}

/// A test, and how it ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `class#method[invocation]`.
    pub test: String,
    /// How it ended.
    pub ending: Ending,
    /// How long it took.
    pub took: Duration,
    /// What failed or was missing; empty if it passed.
    pub why: String,
}

/// Kafka's cluster tests, ready to run.
#[derive(Debug)]
pub struct ClusterTests {
    class_path: ClassPath,
}

impl ClusterTests {
    /// Fetches the tests and compiles the stand-in.
    ///
    /// # Errors
    ///
    /// [`Missing`](crate::Missing) if there is no JDK, no Maven, or no network.
    pub fn new() -> anyhow::Result<Self> {
        let class_path = ClassPath::of_project("cluster")?.with_all_compiled("cluster", &SOURCES)?;
        Ok(Self { class_path })
    }

    /// Runs the tests of `classes`, or single `class#method`s, against the program `binary`, and calls `each` with every
    /// outcome as it comes.
    ///
    /// # Errors
    ///
    /// If a JVM cannot be run.
    pub fn run(
        &self,
        binary: &Path,
        classes: &[&str],
        each: impl Fn(&Outcome) + Sync,
    ) -> anyhow::Result<Vec<Outcome>> {
        let queue = Mutex::new(VecDeque::from_iter(classes));
        let work = || {
            let mut outcomes = Vec::new();
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(class) = next else { return Ok(outcomes) };
                outcomes.extend(self.run_class(binary, class, &each)?);
            }
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..CLASSES_AT_ONCE).map(|_| scope.spawn(work)).collect();
            let mut outcomes = Vec::new();
            for worker in workers {
                let run: anyhow::Result<Vec<Outcome>> =
                    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                outcomes.extend(run?);
            }
            outcomes.sort_by(|a: &Outcome, b| a.test.cmp(&b.test));
            Ok(outcomes)
        })
    }

    fn run_class(
        &self,
        binary: &Path,
        class: &str,
        each: &impl Fn(&Outcome),
    ) -> anyhow::Result<Vec<Outcome>> {
        let binary = format!("-Dottla.binary={}", binary.display());
        let options = [JAVA_OPTIONS_FOR_TESTS, &["-Xmx768m", &binary]].concat();
        let mut java = self.class_path.command(&options, "ottla.cluster.Run")?;
        java.arg(class).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut java = java.spawn().context("java")?;
        let output = java.stdout.take().context("its output is piped")?;

        let is_done = AtomicBool::new(false);
        let outcomes = thread::scope(|scope| {
            scope.spawn(|| {
                let deadline = Instant::now() + CLASS_PATIENCE;
                while !is_done.load(Ordering::Acquire) {
                    if Instant::now() > deadline {
                        // What has not ended by now is missing in the outcomes, and its class failed.
                        _ = java.kill();
                        break;
                    }
                    thread::park_timeout(Duration::from_millis(100));
                }
                _ = java.wait();
            });
            let mut outcomes = Vec::new();
            let mut is_whole = false;
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { break };
                is_whole |= line == "done";
                if let Some(outcome) = read_outcome(&line) {
                    each(&outcome);
                    outcomes.push(outcome);
                }
            }
            is_done.store(true, Ordering::Release);
            if !is_whole {
                let why = "its JVM ended, or was ended, before its tests had".to_owned();
                let (test, took) = (class.to_owned(), CLASS_PATIENCE);
                outcomes.push(Outcome { test, ending: Ending::Failed, took, why });
            }
            outcomes
        });
        ensure!(!outcomes.is_empty(), "`{class}` has no tests");
        Ok(outcomes)
    }
}

/// A line of `Run.java`; `None` if it is something that a test printed.
fn read_outcome(line: &str) -> Option<Outcome> {
    let mut fields = line.splitn(4, '\t');
    let ending = match fields.next()? {
        "successful" => Ending::Passed,
        "aborted" => Ending::Aborted,
        "failed" => Ending::Failed,
        _ => return None,
    };
    let test = fields.next()?.to_owned();
    let took = Duration::from_millis(fields.next()?.parse().ok()?);
    Some(Outcome { test, ending, took, why: fields.next()?.to_owned() })
}
