//! `cargo xtask codegen`: writes what is generated from the tables and schemas, or proves it fresh.

mod config;
mod files;

use clap::Parser;
use files::Files;

/// Writes all generated files from the schemas and tables.
#[derive(Parser)]
pub struct Args {
    /// Write nothing; fail if a generated file is not what its source makes.
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut files = Files::default();
    config::generate(&mut files)?;
    if args.check { files.check() } else { files.write() }
}
