//! Brokers to test against: our own, and Apache Kafka.

use std::{
    future::Future,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ottla::{Admin, NewTopic, config::AdminConfig};
use ottla_interop::{
    broker::TestBroker,
    kafka::{Kafka, QUICK_GROUPS},
    or_skip,
};

/// A broker under test.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Its name, for messages: `apache`, `ottla`.
    pub(crate) name: String,
    /// Its address; several with commas between.
    pub(crate) address: String,
}

/// The brokers to test against: our own and the real Apache Kafka, one of each for all tests of a program, or those that
/// `OTTLA_TEST_BOOTSTRAP=apache=127.0.0.1:19092,ottla=127.0.0.1:9092` names.
pub(crate) fn targets() -> Vec<Target> {
    let target = |name: &str, address: String| Target { name: name.to_owned(), address };
    if let Ok(list) = std::env::var("OTTLA_TEST_BOOTSTRAP") {
        let entries = list.split(',').filter(|entry| !entry.is_empty());
        let named = entries.map(|entry| entry.split_once('=').unwrap_or(("broker", entry)));
        return named.map(|(name, address)| target(name, address.to_owned())).collect();
    }
    static OURS: OnceLock<TestBroker> = OnceLock::new();
    let ours = OURS.get_or_init(|| {
        let at_once = [("group.initial.rebalance.delay.ms", "0")];
        TestBroker::start(&QUICK_GROUPS.into_iter().chain(at_once).collect::<Vec<_>>())
    });
    let apache = or_skip(Kafka::shared()).map(|kafka| target("apache", kafka.bootstrap()));
    [target("ottla", ours.bootstrap())].into_iter().chain(apache).collect()
}

/// Runs a test against each broker.
pub(crate) fn on_each<F: Future<Output = ()>>(test: impl Fn(Target) -> F) {
    for target in targets() {
        eprintln!("against {} at {}", target.name, target.address);
        run(test(target));
    }
}

/// Runs a test, on a runtime of no particular kind: the client brings its own.
pub(crate) fn run(test: impl Future<Output = ()>) {
    // RUST_LOG=ottla=debug shows what the client does.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test);
}

impl Target {
    pub(crate) fn admin(&self) -> Admin {
        Admin::new(AdminConfig { bootstrap_servers: self.addresses(), ..Default::default() }).unwrap()
    }

    /// Each of its nodes' address.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.address.split(',').map(str::to_owned).collect()
    }

    /// Creates a topic under a name that is new, and waits until the broker knows of it.
    pub(crate) async fn topic(&self, stem: &str, partitions: i32) -> String {
        let name = unique(stem);
        self.create(NewTopic::new(&name).partitions(partitions)).await;
        name
    }

    pub(crate) async fn create(&self, topic: NewTopic) {
        let admin = self.admin();
        let name = topic.name.clone();
        admin.create_topic(topic).await.unwrap();
        eventually(&format!("`{name}` is known"), async || {
            let described = admin.describe_topics([&name]).await.unwrap();
            let topic = described[0].1.as_ref().ok()?;
            topic.partitions.iter().all(|partition| partition.leader.is_some()).then_some(())
        })
        .await;
    }
}

/// Asks until there is something. A broker learns of a change a moment after the controller has made it.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..200 {
        if let Some(found) = ask().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("waited 5 s until {what}");
}

/// A name that no other test, and no other run, has.
pub(crate) fn unique(stem: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    #[expect(clippy::disallowed_methods, reason = "a test may read the clock")]
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    format!("{stem}-{time}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
