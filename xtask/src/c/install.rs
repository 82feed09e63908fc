//! `cargo xtask install-c`: headers, libraries, pkg-config and CMake files under a prefix, as C programs expect them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Parser;

use super::{ABI_VERSION, Library, build};
use crate::tree;

/// Builds the C library and installs it: headers, shared and static library, pkg-config and CMake files.
///
/// Nothing in what is installed names the prefix, so it can be moved as a whole.
#[derive(Parser)]
pub struct Args {
    /// Where to: `include`, `lib` and what is below them are made there.
    #[arg(long, value_name = "DIR")]
    prefix: PathBuf,
    /// Cargo's profile to build with; `dist` is what is shipped.
    #[arg(long, default_value = "dist", value_name = "NAME")]
    profile: String,
}

/// What a static library leaves to the system's.
const PRIVATE_LIBS: &str =
    if cfg!(target_os = "linux") { "-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc" } else { "-lpthread -lm" };

pub fn run(args: &Args) -> anyhow::Result<()> {
    let library = build(&args.profile, &[])?;
    install(&library, &args.prefix)?;
    println!("installed under `{}`: cc program.c $(pkg-config --cflags --libs ottla)", args.prefix.display());
    Ok(())
}

/// Installs what was built.
pub(super) fn install(library: &Library, prefix: &Path) -> anyhow::Result<()> {
    let lib = prefix.join("lib");
    let make = |directory: &Path| {
        fs::create_dir_all(directory).with_context(|| format!("making `{}`", directory.display()))
    };
    for directory in [prefix.join("include"), lib.join("pkgconfig"), lib.join("cmake/Ottla")] {
        make(&directory)?;
    }
    let (name, link) = names();
    for header in ["ottla.h", "ottla.hpp"] {
        copy(&tree::path("bindings/c/include").join(header), &prefix.join("include").join(header))?;
    }
    copy(&library.shared, &lib.join(&name))?;
    copy(&library.archive, &lib.join("libottla.a"))?;
    #[cfg(unix)]
    {
        let link = lib.join(&link);
        _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&name, &link).with_context(|| link.display().to_string())?;
    }
    #[cfg(not(unix))]
    copy(&library.shared, &lib.join(&link))?;
    let version = env!("CARGO_PKG_VERSION");
    for (template, to) in [
        ("ottla.pc.in", lib.join("pkgconfig/ottla.pc")),
        ("OttlaConfig.cmake.in", lib.join("cmake/Ottla/OttlaConfig.cmake")),
        ("OttlaConfigVersion.cmake.in", lib.join("cmake/Ottla/OttlaConfigVersion.cmake")),
    ] {
        let text = fs::read_to_string(tree::path("bindings/c/install").join(template)).context(template)?;
        let text = text
            .replace("@VERSION@", version)
            .replace("@SHARED@", &name)
            .replace("@PRIVATE_LIBS@", PRIVATE_LIBS);
        fs::write(&to, text).with_context(|| to.display().to_string())?;
    }
    Ok(())
}

/// The shared library's own name, and the one that linkers look for.
fn names() -> (String, String) {
    if cfg!(target_os = "macos") {
        (format!("libottla.{ABI_VERSION}.dylib"), "libottla.dylib".to_owned())
    } else {
        (format!("libottla.so.{ABI_VERSION}"), "libottla.so".to_owned())
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    // In place of what may be in use: a new file, not new bytes in the old one.
    _ = fs::remove_file(to);
    fs::copy(from, to).with_context(|| format!("copying `{}` to `{}`", from.display(), to.display()))?;
    Ok(())
}
