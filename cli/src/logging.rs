//! Where log lines go: standard error, as text for people or JSON for machines.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line a person reads.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Options that every serving verb has.
#[derive(clap::Args, Debug)]
pub(crate) struct LogArgs {
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    /// What is logged: a level, or `module=level` pairs separated by commas.
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

impl LogArgs {
    /// Begins to log.
    pub(crate) fn start(&self) -> anyhow::Result<()> {
        let filter = EnvFilter::try_new(&self.log)?;
        let lines =
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
        match self.log_format {
            LogFormat::Text => lines.init(),
            LogFormat::Json => lines.json().init(),
        }
        Ok(())
    }
}
