//! `ottla broker`: a broker as its configuration file says.

use std::path::PathBuf;

use ottla_broker::Broker;
use ottla_config::Settings;

use crate::{logging::LogArgs, settings::SettingsArgs};

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
    serve(&settings, |_| Ok(()))
}

/// Runs a broker until a signal asks it to stop; calls `ready` once it takes connections.
pub(crate) fn serve(
    settings: &Settings,
    ready: impl FnOnce(&Broker) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // Before the broker starts, so that no signal is missed.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = runtime.block_on(async { StopSignal::new() })?;
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

/// SIGTERM or SIGINT; on other systems Ctrl-C.
struct StopSignal {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    /// Never waited for. Without a handler the signal would end the process; with one, a write beyond the limit on a
    /// file's size (`ulimit -f`) fails as a full disk does.
    #[cfg(unix)]
    _file_size: tokio::signal::unix::Signal,
}

/// The number of SIGXFSZ, on Linux, macOS and the BSDs.
#[cfg(unix)]
const SIGXFSZ: i32 = 25;

impl StopSignal {
    fn new() -> std::io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                _file_size: signal(SignalKind::from_raw(SIGXFSZ))?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits for one of them and names it.
    #[cfg_attr(not(unix), expect(unused_mut, reason = "unix signals need it"))]
    async fn wait(mut self) -> &'static str {
        #[cfg(unix)]
        {
            tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
            }
        }
        #[cfg(not(unix))]
        {
            let _ = tokio::signal::ctrl_c().await;
            "Ctrl-C"
        }
    }
}
