//! `ottla dev`: a broker for a laptop, ready at once and gone without a trace.

use std::{io::Write, path::PathBuf, time::Instant};

use anyhow::Context;

use crate::{
    broker::{self, Until},
    logging::LogArgs,
    settings::SettingsArgs,
};

/// Start a broker to develop against.
///
/// It takes connections within milliseconds, makes topics when they are first used, and keeps its data in a
/// temporary directory that is removed when it stops, unless --data names another; until then no record is too old
/// (log.retention.ms=-1). Any client of Apache Kafka can connect to it. Metrics and health are served over HTTP on a free
/// port of this machine.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    listen: String,
    /// Keep the data here, from one start to the next.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print nothing but the address, once it is ready.
    #[arg(long, short)]
    quiet: bool,
    /// Stop when the standard input ends, as it does when the program that started this one is gone: for tests.
    #[arg(long)]
    until_stdin_ends: bool,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    log: LogArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let began = Instant::now();
    args.log.start()?;
    let temporary = match &args.data {
        Some(_) => None,
        None => Some(
            tempfile::Builder::new()
                .prefix("ottla-dev-")
                .tempdir()
                .context("making a temporary directory")?,
        ),
    };
    let data = match (&args.data, &temporary) {
        (Some(data), _) => data.clone(),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => PathBuf::new(),
    };
    let preset = [
        ("listeners", format!("PLAINTEXT://{}", args.listen)),
        ("log.dirs", data.display().to_string()),
        ("auto.create.topics.enable", "true".to_owned()),
        // One developer's members come one by one; nobody waits for a fleet to start.
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ("ottla.http.listener", "127.0.0.1:0".to_owned()),
    ];
    // What goes when it stops is not deleted before: programs under development write records of long ago.
    let kept_meanwhile = temporary.is_some().then(|| ("log.retention.ms", "-1".to_owned()));
    let preset: Vec<_> = preset.into_iter().chain(kept_meanwhile).collect();
    let settings = args.settings.read(None, &preset);
    let until = if args.until_stdin_ends { Until::EndOfStdin } else { Until::Signal };
    broker::serve(&settings, until, |broker| {
        let address = broker.addresses().first().context("the broker has no listener")?;
        let mut out = std::io::stdout().lock();
        if args.quiet {
            writeln!(out, "{address}")?;
        } else {
            let http =
                broker.http_address().map_or("off".to_owned(), |http| format!("http://{http}/metrics"));
            let kept = if args.data.is_some() { "kept" } else { "removed when it stops" };
            writeln!(
                out,
                "ottla is ready after {} ms\n\n  \
                 bootstrap.servers  {address}\n  \
                 data               {} ({kept})\n  \
                 metrics            {http}\n\n\
                 Try:  kcat -b {address} -P -t hello\n      \
                 kcat -b {address} -C -t hello\n\
                 Stop: Ctrl-C",
                began.elapsed().as_millis(),
                data.display(),
            )?;
        }
        out.flush()?;
        Ok(())
    })
}
