//! The package for C: an archive of what `install-c` installs, to be unpacked anywhere.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use super::{Library, build_of, install};
use crate::{
    package::PACKAGES,
    platform::{Build, Platform},
    tree,
};

/// Documents that go with it, and their names in it.
const DOCUMENTS: [(&str, &str); 3] =
    [("LICENSE", "LICENSE"), ("NOTICE", "NOTICE"), ("bindings/c/README.md", "README.md")];

/// Builds the library for this machine and packs it; gives the archive.
pub fn package(profile: &str) -> anyhow::Result<PathBuf> {
    package_of(&Build::here(profile)?)
}

/// Builds the library and packs it; gives the archive.
pub fn package_of(build: &Build) -> anyhow::Result<PathBuf> {
    pack_into(&build_of(build, &[])?, &build.out().join("c"))
}

/// Packs a library for this machine into `target/packages/c`.
pub(super) fn pack(library: &Library) -> anyhow::Result<PathBuf> {
    pack_into(library, &tree::path(PACKAGES).join("c"))
}

fn pack_into(library: &Library, packages: &Path) -> anyhow::Result<PathBuf> {
    let _ = fs::remove_dir_all(packages);
    let name = name(library.platform);
    let prefix = packages.join(&name);
    install::install(library, &prefix)?;
    let documents = prefix.join("share/doc/ottla");
    fs::create_dir_all(&documents)?;
    for (document, to) in DOCUMENTS {
        fs::copy(tree::path(document), documents.join(to)).context(document)?;
    }
    let archive = packages.join(format!("{name}.tar.gz"));
    tar(packages, &["-czf", &archive.display().to_string(), &name])?;
    fs::remove_dir_all(&prefix)?;
    Ok(archive)
}

/// Unpacks an archive, so that `prefix` is the folder that was in it.
pub(super) fn unpack(archive: &Path, prefix: &Path) -> anyhow::Result<()> {
    let _ = fs::remove_dir_all(prefix);
    fs::create_dir_all(prefix)?;
    tar(prefix, &["--strip-components=1", "-xzf", &archive.display().to_string()])
}

/// Of the only folder in the archive: `libottla-0.1.0-linux-x86_64`.
fn name(platform: Platform) -> String {
    format!("libottla-{}-{}", env!("CARGO_PKG_VERSION"), platform.archive())
}

fn tar(at: &Path, args: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("tar").args(args).current_dir(at).status().context("running `tar`")?;
    ensure!(status.success(), "tar {} failed: {status}", args.join(" "));
    Ok(())
}
