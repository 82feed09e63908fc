//! The `ottla` program: a broker, a development server, and the tools to work with either.

mod acl;
mod bench;
mod broker;
mod client;
mod configs;
mod consume;
mod consume_group;
mod dev;
mod doctor;
mod dump_log;
mod group;
mod logging;
mod produce;
mod quota;
mod reset_offsets;
mod settings;
mod stop_signal;
mod storage;
mod table;
mod topic;
mod user;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// One bus for every platform: a broker that speaks Apache Kafka's protocol, and its tools.
#[derive(Parser)]
#[command(name = "ottla", version, propagate_version = true)]
struct Ottla {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Dev(dev::Args),
    Broker(broker::Args),
    Topic(topic::Args),
    Group(group::Args),
    User(user::Args),
    Acl(acl::Args),
    Quota(quota::Args),
    Produce(produce::Args),
    Consume(consume::Args),
    DumpLog(dump_log::Args),
    Doctor(doctor::Args),
    Bench(bench::Args),
    /// Print a script that completes this program's words in your shell.
    Completions {
        /// The shell to write it for.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let ottla = Ottla::parse();
    let result = match ottla.verb {
        Verb::Dev(args) => dev::run(&args),
        Verb::Broker(args) => broker::run(&args),
        Verb::Topic(args) => topic::run(&args),
        Verb::Group(args) => group::run(&args),
        Verb::User(args) => user::run(&args),
        Verb::Acl(args) => acl::run(&args),
        Verb::Quota(args) => quota::run(&args),
        Verb::Produce(args) => produce::run(&args),
        Verb::Consume(args) => consume::run(&args),
        Verb::DumpLog(args) => dump_log::run(&args),
        Verb::Doctor(args) => {
            return doctor::run(&args).unwrap_or_else(|error| fail(&error));
        }
        Verb::Bench(args) => bench::run(&args),
        Verb::Completions { shell } => {
            clap_complete::generate(shell, &mut Ottla::command(), "ottla", &mut std::io::stdout());
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Says what went wrong, with its causes, and gives the exit code: 2 for what the caller can mend in the command
/// or its configuration, 1 for all else.
#[expect(clippy::print_stderr, reason = "this is the program's own voice")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    let is_config = error.downcast_ref::<ottla_broker::StartError>().is_some_and(|e| e.is_config())
        || error.is::<ottla_config::ConfigErrors>();
    if is_config { ExitCode::from(2) } else { ExitCode::FAILURE }
}
