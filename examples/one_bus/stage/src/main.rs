//! The program that `cargo xtask demo` runs once all services are built.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for a terminal")]

use std::{
    fs,
    io::{IsTerminal, stdout},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use ottla_one_bus::{
    picture,
    plan::{Plan, Service},
    run::{self, Outcome},
    stand_in,
    view::{Screen, grouped},
};

#[derive(Parser)]
#[command(about = "Runs the services of examples/one_bus, and audits them.")]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs the plan in a file of JSON.
    Run {
        /// The file.
        plan: PathBuf,
    },
    /// Plays a service whose language is missing.
    StandIn {
        /// Its name.
        service: String,
        /// Where the broker is.
        bootstrap: String,
        /// How many records, if it reads none.
        #[arg(default_value_t = 0)]
        count: u64,
        /// How many of them in a second.
        #[arg(default_value_t = 1)]
        per_second: u64,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = match Args::parse().verb {
        Verb::Run { plan } => run(&plan).await,
        Verb::StandIn { service, bootstrap, count, per_second } => {
            stand_in(&service, &bootstrap, count, per_second).await
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(plan: &PathBuf) -> anyhow::Result<()> {
    let text = fs::read(plan).with_context(|| plan.display().to_string())?;
    let plan: Plan = serde_json::from_slice(&text).with_context(|| plan.display().to_string())?;
    let this = std::env::current_exe().context("this program has a place")?;
    let mut screen = Screen::new(stdout(), stdout().is_terminal());
    let Outcome { findings, reports, replaced, frames, elapsed } =
        run::run(&plan, &this, &mut screen).await?;
    println!();
    for finding in findings {
        println!(
            "audited    {:9} has handled each of {:>9} records of {:10} once; checksum {:x}",
            finding.group,
            grouped(finding.handled.count),
            finding.topic,
            finding.handled.checksum
        );
    }
    replaced.iter().for_each(|what| println!("replaced   {what}"));
    reports.iter().for_each(|report| println!("reported   {report}"));
    println!("took       {:.1} s", elapsed.as_secs_f64());
    if let Some(picture) = &plan.picture {
        let svg = picture::svg(&frames, run::FRAME_INTERVAL);
        fs::write(picture, &svg).with_context(|| picture.display().to_string())?;
        println!(
            "drawn      {}: {} frames, {} bytes",
            picture.display(),
            frames.len(),
            grouped(svg.len() as u64)
        );
    }
    Ok(())
}

async fn stand_in(service: &str, bootstrap: &str, count: u64, per_second: u64) -> anyhow::Result<()> {
    let service = Service::named(service).with_context(|| format!("there is no service `{service}`"))?;
    stand_in::play(service, bootstrap, count, per_second).await
}
