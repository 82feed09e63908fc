//! What the verbs that talk to a cluster have in common: where it is, and how it is configured.

use std::{future::Future, path::PathBuf};

use ottla_config::Settings;

/// Where a broker is if nobody says: where `ottla dev` listens.
const DEFAULT_SERVERS: &str = "127.0.0.1:9092";

/// Which cluster, and how.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ClientArgs {
    /// Brokers to ask first, as host:port,host:port; without it those of the configuration, or else 127.0.0.1:9092.
    #[arg(long, short, global = true, value_name = "HOST:PORT")]
    bootstrap_server: Option<String>,
    /// A client.properties, as Kafka's tools take it: where the keys that begin with `ssl.` and `sasl.` are.
    #[arg(long, visible_alias = "command-config", global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key of the client's configuration; may be given more than once.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl ClientArgs {
    /// The settings: flag over environment over file, with `preset` below all of them.
    pub(crate) fn settings(&self, preset: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::new();
        for (key, value) in preset {
            settings.set(*key, *value);
        }
        if let Some(file) = &self.config {
            settings.file(file);
        }
        settings.env("OTTLA_", std::env::vars_os());
        const BOOTSTRAP: [&str; 2] = ["bootstrap.servers", "metadata.broker.list"];
        match &self.bootstrap_server {
            Some(servers) => _ = settings.set(BOOTSTRAP[0], servers.as_str()),
            None if settings.keys().any(|key| BOOTSTRAP.contains(&key.replace('_', ".").as_str())) => {}
            None => _ = settings.set(BOOTSTRAP[0], DEFAULT_SERVERS),
        }
        for flag in &self.set {
            settings.flag(flag);
        }
        settings
    }
}

/// Runs a verb's own future; the client's I/O is on threads of its own.
pub(crate) fn run<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}
