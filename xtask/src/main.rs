//! The project's own verbs. `cargo xtask --help` lists them.

mod bench;
mod codegen;
mod test;
mod tidy;
mod tree;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own verbs: everything that is done to this repository is done by one of these.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Bench(bench::Args),
    Codegen(codegen::Args),
    Test(test::Args),
    Tidy(tidy::Args),
}

fn main() -> ExitCode {
    let result = match Xtask::parse().verb {
        Verb::Bench(args) => bench::run(&args),
        Verb::Codegen(args) => codegen::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Tidy(args) => tidy::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
