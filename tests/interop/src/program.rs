//! The `ottla` program as a process of its own: started, watched through its log lines, measured, killed.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::KEPT;

/// Longest that anything here is waited for; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How a broker is started, again and again, over one data directory.
#[derive(Clone, Debug)]
pub struct Launch {
    binary: PathBuf,
    settings: Vec<(String, String)>,
    variables: Vec<(String, String)>,
}

impl Launch {
    /// `binary broker` over the directory `data`, on a free port.
    pub fn new(binary: impl Into<PathBuf>, data: &Path) -> Self {
        Self { binary: binary.into(), settings: Vec::new(), variables: Vec::new() }
            .set("listeners", "PLAINTEXT://127.0.0.1:0")
            .set("log.dirs", data.display())
            .set(KEPT.0, KEPT.1)
    }

    /// The same with one more setting; the last of a key holds.
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.retain(|(k, _)| k != key);
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// The same with a variable in its environment.
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    /// The same on the port that a broker had before.
    pub fn at(self, address: SocketAddr) -> Self {
        self.set("listeners", format!("PLAINTEXT://{address}"))
    }

    /// Starts a broker and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it does not come to that; says what it logged.
    pub fn start(&self) -> Running {
        self.start_or_end()
            .unwrap_or_else(|(status, lines)| panic!("it does not start: {status}, {lines:#?}"))
    }

    /// Starts a broker and waits until it listens. One that ends before gives how, and what it logged.
    ///
    /// # Panics
    ///
    /// If it does neither.
    pub fn start_or_end(&self) -> Result<Running, (ExitStatus, Vec<Line>)> {
        let began = Instant::now();
        let mut running = self.spawn();
        let Some(listening) = running.log.first("listening") else { return Err(running.wait()) };
        running.ready_after = began.elapsed();
        let address = listening.field("address").and_then(|a| a.parse().ok());
        running.address = address.expect("a listening broker says its address");
        Ok(running)
    }

    /// Runs a broker that is not to start; gives its exit code and the last line that it wrote.
    ///
    /// # Panics
    ///
    /// If it starts after all, or does neither.
    pub fn refused(&self) -> (i32, String) {
        let mut running = self.spawn();
        let status = running.exit();
        let line = running.log.lines().pop().expect("a broker that does not start says why");
        (status.code().expect("it ends by itself"), line.text)
    }

    fn spawn(&self) -> Running {
        let mut command = Command::new(&self.binary);
        command.args(["broker", "--log-format", "json"]);
        for (key, value) in &self.settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        // The tests' own variables would be taken for settings.
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("OTTLA_")) {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program can be run");
        let log = Arc::new(Log::default());
        let stderr = child.stderr.take().expect("stderr is piped");
        let reading = std::thread::spawn({
            let log = Arc::clone(&log);
            move || log.read(stderr)
        });
        let address = SocketAddr::from(([0; 4], 0));
        Running { child, address, ready_after: Duration::ZERO, log, reading: Some(reading) }
    }
}

/// A broker that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    address: SocketAddr,
    ready_after: Duration,
    log: Arc<Log>,
    reading: Option<JoinHandle<()>>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From before the process was made until it listened.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// What it logs.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Its memory that is in use, in bytes: `VmRSS`.
    #[cfg(target_os = "linux")]
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the broker runs");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
        kib.and_then(|kib| kib.trim().parse::<u64>().ok()).expect("Linux tells VmRSS in kB") * 1024
    }

    /// `kill -9`. Gives what it had logged.
    pub fn kill(mut self) -> Vec<Line> {
        self.child.kill().expect("a running process can be killed");
        self.exit();
        self.log.lines()
    }

    /// SIGTERM; waits until it has stopped. Gives how it ended and what it logged.
    pub fn terminate(mut self) -> (ExitStatus, Vec<Line>) {
        kill_process(self.pid(), Signal::TERM).expect("a running process can be told to stop");
        (self.exit(), self.log.lines())
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Waits until it has ended by itself. Gives how, and what it logged.
    pub fn wait(mut self) -> (ExitStatus, Vec<Line>) {
        let status = self.exit();
        (status, self.log.lines())
    }

    /// Waits until the process has ended and all that it wrote is read.
    fn exit(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                if let Some(reading) = self.reading.take() {
                    reading.join().expect("the log is read to its end");
                }
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "the broker does not end: {:#?}", self.log.lines());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines that a process has logged so far.
#[derive(Debug, Default)]
pub struct Log {
    lines: Mutex<Lines>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    all: Vec<Line>,
    /// No more will come.
    ended: bool,
}

/// A line of a log.
#[derive(Clone, Debug)]
pub struct Line {
    /// As it was written.
    pub text: String,
    json: Option<serde_json::Value>,
}

impl Line {
    /// Whether it tells of a failure of the broker's own.
    pub fn is_error(&self) -> bool {
        self.json.as_ref().is_none_or(|json| json["level"] == "ERROR")
    }

    /// Whether it is a warning, or worse.
    pub fn is_warning(&self) -> bool {
        self.is_error() || self.json.as_ref().is_some_and(|json| json["level"] == "WARN")
    }

    /// A field of it, if it is text.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.json.as_ref()?["fields"][name].as_str()
    }
}

impl Log {
    /// All of them.
    pub fn lines(&self) -> Vec<Line> {
        self.lock().all.clone()
    }

    /// Those that contain `text`.
    pub fn with(&self, text: &str) -> Vec<Line> {
        self.lock().with(text)
    }

    /// The first that contains `text`, now or later.
    ///
    /// # Panics
    ///
    /// If none comes in [`PATIENCE`], or before the process ends.
    pub fn wait_for(&self, text: &str) -> Line {
        self.wait_for_count(text, 1).swap_remove(0)
    }

    /// Those that contain `text`, once there are `count`.
    ///
    /// # Panics
    ///
    /// If they do not come in [`PATIENCE`].
    pub fn wait_for_count(&self, text: &str, count: usize) -> Vec<Line> {
        let lines = self.wait(text, count);
        let found = lines.with(text);
        assert!(found.len() >= count, "not logged {count} times: `{text}`; only {:#?}", lines.all);
        found
    }

    /// The first that contains `text`, now or later; `None` if the process ends before.
    fn first(&self, text: &str) -> Option<Line> {
        let lines = self.wait(text, 1);
        let found = lines.with(text).into_iter().next();
        assert!(found.is_some() || lines.ended, "not logged: `{text}`; only {:#?}", lines.all);
        found
    }

    /// Waits for so many that contain `text`, for the end of the process, or for too long.
    fn wait(&self, text: &str, count: usize) -> MutexGuard<'_, Lines> {
        let is_waiting = |lines: &mut Lines| lines.with(text).len() < count && !lines.ended;
        let waited = self.came.wait_timeout_while(self.lock(), PATIENCE, is_waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn read(&self, stderr: ChildStderr) {
        for text in BufReader::new(stderr).lines().map_while(Result::ok) {
            let json = serde_json::from_str(&text).ok();
            self.lock().all.push(Line { text, json });
            self.came.notify_all();
        }
        self.lock().ended = true;
        self.came.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn with(&self, text: &str) -> Vec<Line> {
        self.all.iter().filter(|line| line.text.contains(text)).cloned().collect()
    }
}
