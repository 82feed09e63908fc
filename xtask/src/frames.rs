//! `cargo xtask frames`: records `tests/frames` anew.

use std::process::Command;

use anyhow::{Context, ensure};
use clap::Parser;

use crate::tree;

/// Records the frames in tests/frames anew, between an Apache Kafka of three nodes and clients of many releases.
///
/// Takes some five minutes, a JDK, Maven and 2 GiB of memory. Nothing else writes those files.
#[derive(Parser)]
pub struct Args {}

pub fn run(_: &Args) -> anyhow::Result<()> {
    let status = Command::new("cargo")
        .args(["run", "--quiet", "-p", "ottla-interop", "--bin", "record-frames"])
        .current_dir(tree::path(""))
        .status()
        .context("running cargo")?;
    ensure!(status.success(), "the recorder failed, {status}");
    Ok(())
}
