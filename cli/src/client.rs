//! What the verbs that talk to a cluster have in common: where it is, and how it is configured.

use std::{future::Future, path::PathBuf};

use ottla_config::Settings;

/// Which cluster, and how.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ClientArgs {
    /// Brokers to ask first, as host:port,host:port.
    #[arg(long, short, global = true, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    bootstrap_server: String,
    /// A client.properties, as Kafka's tools take it.
    #[arg(long, global = true, value_name = "FILE")]
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
        settings.set("bootstrap.servers", self.bootstrap_server.as_str());
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
