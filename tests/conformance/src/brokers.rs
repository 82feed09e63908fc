//! The brokers that scenarios run against: ours, and Apache Kafka. Those that leave the broker alone share one.

use std::{
    net::TcpListener,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use anyhow::{Context, bail};
use ottla_interop::{
    broker::TestBroker,
    kafka::{Kafka, Options, QUICK_GROUPS},
};

/// A broker that a scenario runs against.
pub trait Target {
    /// Where it listens, for `bootstrap.servers`.
    fn bootstrap(&self) -> String;

    /// Has it stop, start, restart, or die.
    fn act(&mut self, action: &str) -> anyhow::Result<()>;
}

/// Whose broker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Make {
    /// Ours.
    Ottla,
    /// Apache Kafka.
    Apache,
}

impl Make {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Ottla, Self::Apache];

    /// Its name, in tests' names and exclusions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ottla => "ottla",
            Self::Apache => "apache",
        }
    }

    /// The broker that is shared by whoever leaves it alone.
    ///
    /// # Errors
    ///
    /// [`ottla_interop::Missing`] if there is no JDK for Apache's.
    pub fn shared(self) -> anyhow::Result<Box<dyn Target>> {
        static OURS: OnceLock<TestBroker> = OnceLock::new();
        let bootstrap = match self {
            Self::Ottla => OURS.get_or_init(|| TestBroker::start(&settings())).bootstrap(),
            Self::Apache => Kafka::shared()?.bootstrap(),
        };
        Ok(Box::new(Shared(bootstrap)))
    }

    /// A broker that can be stopped and started: one at a time, since each takes a while to come up.
    ///
    /// # Errors
    ///
    /// As [`Self::shared`].
    pub fn own(self) -> anyhow::Result<Box<dyn Target>> {
        Ok(match self {
            Self::Ottla => Box::new(OwnOttla::start()?),
            Self::Apache => Box::new(OwnApache::take()?),
        })
    }
}

/// Groups come to rest soon.
fn settings() -> Vec<(&'static str, &'static str)> {
    QUICK_GROUPS.into_iter().chain([("group.initial.rebalance.delay.ms", "0")]).collect()
}

struct Shared(String);

impl Target for Shared {
    fn bootstrap(&self) -> String {
        self.0.clone()
    }

    fn act(&mut self, action: &str) -> anyhow::Result<()> {
        bail!("a broker that is shared cannot `{action}`")
    }
}

/// One of ours, on a port that stays.
struct OwnOttla(TestBroker);

impl OwnOttla {
    fn start() -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let listeners = format!("PLAINTEXT://127.0.0.1:{port}");
        let own = [("listeners", listeners.as_str())];
        Ok(Self(TestBroker::start(&settings().into_iter().chain(own).collect::<Vec<_>>())))
    }
}

impl Target for OwnOttla {
    fn bootstrap(&self) -> String {
        self.0.bootstrap()
    }

    fn act(&mut self, action: &str) -> anyhow::Result<()> {
        match action {
            "stop" => self.0.stop(),
            "start" | "restart" => self.0.restart(),
            _ => bail!("a broker knows no `{action}`"),
        }
        Ok(())
    }
}

/// Apache's, lent to one scenario after the other.
struct OwnApache {
    kafka: MutexGuard<'static, Option<Kafka>>,
    bootstrap: String,
}

impl OwnApache {
    fn take() -> anyhow::Result<Self> {
        static KAFKA: Mutex<Option<Kafka>> = Mutex::new(None);
        let mut kafka = KAFKA.lock().unwrap_or_else(PoisonError::into_inner);
        if kafka.is_none() {
            let properties = QUICK_GROUPS.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
            *kafka = Some(Kafka::start(Options { properties, ..Options::default() })?);
        }
        let bootstrap = kafka.as_ref().map(Kafka::bootstrap).context("it was started")?;
        Ok(Self { kafka, bootstrap })
    }
}

impl Target for OwnApache {
    fn bootstrap(&self) -> String {
        self.bootstrap.clone()
    }

    fn act(&mut self, action: &str) -> anyhow::Result<()> {
        let kafka = self.kafka.as_mut().context("it was started")?;
        match action {
            "stop" => kafka.stop(1),
            "start" => kafka.start_again(1),
            "restart" => {
                kafka.stop(1)?;
                kafka.start_again(1)
            }
            _ => bail!("a broker knows no `{action}`"),
        }
    }
}

impl Drop for OwnApache {
    fn drop(&mut self) {
        // A scenario that failed may have left it down: the next one begins with a new one then.
        let is_down = std::net::TcpStream::connect(&self.bootstrap).is_err();
        if is_down {
            *self.kafka = None;
        }
    }
}
