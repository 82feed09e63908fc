//! `ottla broker`: a broker as its configuration file says.

use std::path::PathBuf;

use ottla_broker::Broker;
use ottla_config::Settings;

use crate::{logging::LogArgs, settings::SettingsArgs, stop_signal::StopSignal};

/// Start a broker.
///
/// Takes Apache Kafka's own configuration keys, from a Java properties file, from environment variables such as
/// `OTTLA_LOG_DIRS` for `log.dirs`, and from --set; the later overrides the earlier. A fresh log directory is made
/// ready at the first start. SIGTERM or Ctrl-C closes all logs and stops.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The configuration: a server.properties.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    log: LogArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    args.log.start()?;
    let settings = args.settings.read(args.config.as_ref(), &[]);
    serve(&settings, Until::Signal, |_| Ok(()))
}

/// What ends a broker.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Until {
    /// SIGTERM or Ctrl-C.
    Signal,
    /// Either, or the end of the standard input.
    EndOfStdin,
}

/// Runs a broker until it is asked to stop; calls `ready` once it takes connections.
pub(crate) fn serve(
    settings: &Settings,
    until: Until,
    ready: impl FnOnce(&Broker) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // Before the broker starts, so that no signal is missed.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut stop = runtime.block_on(async { StopSignal::new() })?;
    if until == Until::EndOfStdin {
        stop = stop.or_end_of_stdin()?;
    }
    #[cfg(unix)]
    let _file_size = runtime.block_on(async { survive_file_size_limit() })?;
    let broker = Broker::start(settings)?;
    ready(&broker)?;
    runtime.block_on(async {
        tokio::select! {
            signal = stop.wait() => tracing::info!(signal, "stopping"),
            // Why, is what stopping it tells.
            () = broker.ended() => {}
        }
    });
    broker.stop()?;
    Ok(())
}

/// The number of SIGXFSZ, on Linux, macOS and the BSDs.
#[cfg(unix)]
const SIGXFSZ: i32 = 25;

/// Lets a write beyond the limit on a file's size (`ulimit -f`) fail as a full disk does: without a handler the signal would
/// end the process. Holds as long as what this gives.
#[cfg(unix)]
fn survive_file_size_limit() -> std::io::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(SIGXFSZ))
}
