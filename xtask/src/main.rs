//! The project's own verbs. `cargo xtask --help` lists them.

mod bench;
mod c;
mod demo;
mod dotnet;
mod frames;
mod java;
mod node;
mod npm;
mod package;
mod planted;
mod platform;
mod python;
mod release;
mod scripted;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{codegen, tree};

/// The project's own verbs: everything that is done to this repository is done by one of these.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Demo(demo::Args),
    Bench(Box<bench::Args>),
    Codegen(codegen::Args),
    Frames(frames::Args),
    InstallC(c::install::Args),
    Package(package::Args),
    Planted(planted::Args),
    Test(test::Args),
    Tidy(tidy::Args),
}

fn main() -> ExitCode {
    let result = match Xtask::parse().verb {
        Verb::Demo(args) => demo::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Codegen(args) => codegen::run(&args),
        Verb::InstallC(args) => c::install::run(&args),
        Verb::Frames(args) => frames::run(&args),
        Verb::Package(args) => package::run(&args),
        Verb::Planted(args) => planted::run(&args),
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
