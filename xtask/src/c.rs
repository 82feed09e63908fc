//! The C interface: built, installed, tested.

mod archive;
pub mod install;
pub mod test;

pub use archive::{package, package_of};

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use crate::platform::{Build, Platform};

/// As the soname has it; `OTTLA_ABI_VERSION` in the header.
const ABI_VERSION: u32 = 1;

/// What cargo makes of `bindings/c`, under the names that it gives.
struct Library {
    platform: Platform,
    shared: PathBuf,
    archive: PathBuf,
    /// On Windows: what programs are linked to in the shared one's place.
    import: Option<PathBuf>,
}

/// Builds the library for this machine, and `packages` with it.
fn build(profile: &str, packages: &[&str]) -> anyhow::Result<Library> {
    build_of(&Build::here(profile)?, packages)
}

/// Builds the library, and `packages` with it.
fn build_of(build: &Build, packages: &[&str]) -> anyhow::Result<Library> {
    build.cargo(&[&["ottla-c"], packages].concat())?;
    let (platform, directory) = (build.platform, build.built());
    Ok(Library {
        platform,
        shared: directory.join(platform.library("ottla_c")),
        archive: directory.join(if platform.is_windows() { "ottla_c.lib" } else { "libottla_c.a" }),
        import: platform.is_windows().then(|| directory.join("ottla_c.dll.lib")),
    })
}

/// What is needed to build a program in C, if it is not there.
pub fn missing() -> Option<&'static str> {
    let there = Command::new("cc").arg("--version").output().is_ok_and(|output| output.status.success());
    (!there).then_some("C compiler (`cc`, as of the package gcc or clang)")
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
