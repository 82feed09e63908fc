//! The package for C: an archive of what `install-c` installs, to be unpacked anywhere.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use super::{Library, build, install};
use crate::{package::PACKAGES, tree};

/// Documents that go with it, and their names in it.
const DOCUMENTS: [(&str, &str); 3] =
    [("LICENSE", "LICENSE"), ("NOTICE", "NOTICE"), ("bindings/c/README.md", "README.md")];

/// Builds the library and packs it; gives the archive.
pub fn package(profile: &str) -> anyhow::Result<PathBuf> {
    pack(&build(profile, &[])?)
}

/// Packs a library into `target/packages/c`.
pub(super) fn pack(library: &Library) -> anyhow::Result<PathBuf> {
    let packages = tree::path(PACKAGES).join("c");
    let _ = fs::remove_dir_all(&packages);
    let name = name();
    let prefix = packages.join(&name);
    install::install(library, &prefix)?;
    let documents = prefix.join("share/doc/ottla");
    fs::create_dir_all(&documents)?;
    for (document, to) in DOCUMENTS {
        fs::copy(tree::path(document), documents.join(to)).context(document)?;
    }
    let archive = packages.join(format!("{name}.tar.gz"));
    tar(&packages, &["-czf", &archive.display().to_string(), &name])?;
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
fn name() -> String {
    let (system, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
    let libc = if cfg!(target_env = "musl") { "-musl" } else { "" };
    format!("libottla-{}-{system}-{architecture}{libc}", env!("CARGO_PKG_VERSION"))
}

fn tar(at: &Path, args: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("tar").args(args).current_dir(at).status().context("running `tar`")?;
    ensure!(status.success(), "tar {} failed: {status}", args.join(" "));
    Ok(())
}
