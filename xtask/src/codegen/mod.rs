//! `cargo xtask codegen`: writes what is generated from the tables and schemas, or proves it fresh.

mod config;
mod errors;
mod files;
mod foreign;
mod header;
pub mod messages;
mod metrics;
pub mod schema;
mod stubs;
mod uniffi;

use std::path::PathBuf;

use clap::Parser;
use files::Files;

/// Writes all generated files from the schemas and tables.
#[derive(Parser)]
pub struct Args {
    /// Write nothing; fail if a generated file is not what its source makes.
    #[arg(long)]
    check: bool,
    /// The Kotlin and Swift sources of `bindings/uniffi`, and nothing else; their generator takes minutes to build.
    #[arg(long, conflicts_with_all = ["against", "import"])]
    uniffi: bool,
    /// Compare every field of every version with the schema files in these jars of Kafka, and stop.
    #[arg(long, value_name = "JAR", num_args = 1.., conflicts_with = "check")]
    against: Vec<PathBuf>,
    /// Bring the schemas to the state of these jars of Kafka; documentation is kept.
    #[arg(long, value_name = "JAR", num_args = 1.., conflicts_with_all = ["check", "against"])]
    import: Vec<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    if !args.against.is_empty() {
        return schema::against::run(&args.against);
    }
    if !args.import.is_empty() {
        return schema::import::run(&args.import);
    }
    if args.uniffi {
        let files = uniffi::generate()?;
        return if args.check { files.check() } else { files.write() };
    }
    if args.check {
        return check();
    }
    generate()?.write()?;
    // Made of Rust files, some of which were made just now.
    header::generate()?.write()
}

/// Fails if a generated file is not what its source makes.
pub fn check() -> anyhow::Result<()> {
    generate()?.check()?;
    header::generate()?.check()
}

fn generate() -> anyhow::Result<Files> {
    let mut files = Files::default();
    messages::generate(&mut files)?;
    errors::generate(&mut files)?;
    config::generate(&mut files)?;
    metrics::generate(&mut files)?;
    stubs::generate(&mut files)?;
    Ok(files)
}
