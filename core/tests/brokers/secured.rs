//! Brokers to log in at: our own and Apache Kafka, with the same listeners, the same certificates and the same users.

use std::path::Path;

use ottla::Settings;
use ottla_interop::{
    broker::TestBroker,
    kafka::{Kafka, Listener, Options},
    or_skip,
    tls::Authority,
};

use crate::common::run;

/// Both brokers, and who has signed the certificates that they show.
pub(crate) struct Pair {
    pub(crate) authority: Authority,
    listeners: &'static [Listener],
    ours: TestBroker,
    apache: Option<Kafka>,
}

/// One of the two.
#[derive(Clone, Copy)]
pub(crate) struct Secured {
    pub(crate) name: &'static str,
    pub(crate) pair: &'static Pair,
}

impl Pair {
    /// Starts both on `listeners`, with the lines of `server.properties` that `both` have and those that are `own` to ours; `options` has what
    /// is Kafka's alone.
    pub(crate) fn start(
        authority: Authority,
        listeners: &'static [Listener],
        both: Vec<(String, String)>,
        own: &[(&str, &str)],
        mut options: Options,
    ) -> Self {
        let each = |text: fn(&Listener) -> String| listeners.iter().map(text).collect::<Vec<_>>().join(",");
        let at = each(|listener| format!("{}://127.0.0.1:0", listener.name));
        let protocols = each(|listener| format!("{}:{}", listener.name, listener.protocol));
        let of_ours = [("listeners", &*at), ("listener.security.protocol.map", &*protocols)];
        let of_both = both.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let ours = TestBroker::start(&of_both.chain(of_ours).chain(own.iter().copied()).collect::<Vec<_>>());
        options.listeners = listeners.to_vec();
        options.properties.splice(0..0, both);
        Self { authority, listeners, ours, apache: or_skip(Kafka::start(options)) }
    }

    /// Runs a test against each broker.
    pub(crate) fn on_each<F: Future<Output = ()>>(&'static self, test: impl Fn(Secured) -> F) {
        for name in ["ottla", "apache"] {
            if name == "ottla" || self.apache.is_some() {
                eprintln!("against {name}");
                run(test(Secured { name, pair: self }));
            }
        }
    }
}

impl Secured {
    /// The address of a listener.
    pub(crate) fn at(self, listener: &str) -> String {
        let Pair { listeners, ours, apache, .. } = self.pair;
        match apache {
            Some(apache) if self.name == "apache" => apache.bootstrap_of(listener).unwrap(),
            _ => ours.listener(listeners.iter().position(|it| it.name == listener).unwrap()),
        }
    }

    /// The settings of a client of a listener, who trusts the brokers' authority.
    pub(crate) fn settings(self, listener: &str, more: &[(&str, &str)]) -> Settings {
        let protocol = self.pair.listeners.iter().find(|it| it.name == listener).unwrap().protocol;
        let mut settings = Settings::new();
        settings.set("bootstrap.servers", self.at(listener)).set("security.protocol", protocol);
        if protocol.ends_with("SSL") {
            settings.set("ssl.truststore.location", path(&self.pair.authority.certificate()));
        }
        for (key, value) in more {
            settings.set(*key, *value);
        }
        settings
    }
}

/// As a setting has it.
pub(crate) fn path(path: &Path) -> String {
    path.display().to_string()
}

/// A listener, by its name and its protocol.
pub(crate) const fn listener(name: &'static str, protocol: &'static str) -> Listener {
    Listener { name, protocol }
}
