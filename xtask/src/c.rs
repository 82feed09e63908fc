//! The C interface: built, installed, tested.

mod archive;
pub mod install;
pub mod test;

pub use archive::package;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use crate::tree;

/// As the soname has it; `OTTLA_ABI_VERSION` in the header.
const ABI_VERSION: u32 = 1;

/// What cargo makes of `bindings/c`, under the names that it gives.
struct Library {
    shared: PathBuf,
    archive: PathBuf,
}

/// Builds the library, and `packages` with it.
fn build(profile: &str, packages: &[&str]) -> anyhow::Result<Library> {
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--profile", profile, "--package", "ottla-c"])
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .current_dir(tree::path(""))
        .status()
        .context("running cargo")?;
    ensure!(status.success(), "bindings/c does not build");
    let directory = built(profile);
    let shared = if cfg!(target_os = "macos") { "libottla_c.dylib" } else { "libottla_c.so" };
    Ok(Library { shared: directory.join(shared), archive: directory.join("libottla_c.a") })
}

/// What is needed to build a program in C, if it is not there.
pub fn missing() -> Option<&'static str> {
    let there = Command::new("cc").arg("--version").output().is_ok_and(|output| output.status.success());
    (!there).then_some("C compiler (`cc`, as of the package gcc or clang)")
}

/// Where cargo puts what it builds.
pub fn built(profile: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| tree::path("target"), PathBuf::from);
    target.join(if profile == "dev" { "debug" } else { profile })
}

/// Builds a program against the library, which is built in `profile` and installed under `prefix`.
pub fn build_program(profile: &str, source: &Path, prefix: &Path, output: &Path) -> anyhow::Result<()> {
    let library = build(profile, &[])?;
    install::install(&library, prefix)?;
    let lib = prefix.join("lib");
    let status = Command::new("cc")
        .args(["-std=c99", "-O2", "-Wall", "-Wextra", "-pthread"])
        .arg(source)
        .arg(format!("-I{}", prefix.join("include").display()))
        .arg(format!("-L{}", lib.display()))
        .arg(format!("-Wl,-rpath,{}", lib.display()))
        .args(["-lottla", "-o"])
        .arg(output)
        .status()
        .context("running `cc`")?;
    ensure!(status.success(), "`{}` does not build", source.display());
    Ok(())
}
