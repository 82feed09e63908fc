//! `cargo xtask install-c`: headers, libraries, pkg-config and CMake files under a prefix, as C programs expect them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Parser;

use super::{ABI_VERSION, Library, build};
use crate::{platform::Platform, tree};

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
    let names = Names::of(library.platform);
    for header in ["ottla.h", "ottla.hpp"] {
        copy(&tree::path("bindings/c/include").join(header), &prefix.join("include").join(header))?;
    }
    let shared = prefix.join(&names.shared);
    make(shared.parent().unwrap_or(prefix))?;
    copy(&library.shared, &shared)?;
    copy(&library.archive, &prefix.join(names.archive))?;
    let linked = prefix.join(names.linked);
    match &library.import {
        Some(import) => copy(import, &linked)?,
        None => link(&shared, &linked)?,
    }
    let version = env!("CARGO_PKG_VERSION");
    for (template, to) in [
        ("ottla.pc.in", lib.join("pkgconfig/ottla.pc")),
        ("OttlaConfig.cmake.in", lib.join("cmake/Ottla/OttlaConfig.cmake")),
        ("OttlaConfigVersion.cmake.in", lib.join("cmake/Ottla/OttlaConfigVersion.cmake")),
    ] {
        let text = fs::read_to_string(tree::path("bindings/c/install").join(template)).context(template)?;
        let text = text
            .replace("@VERSION@", version)
            .replace("@SHARED@", &names.shared)
            .replace("@ARCHIVE@", names.archive)
            .replace("@IMPLIB@", names.implib)
            .replace("@PRIVATE_LIBS@", names.private_libs);
        fs::write(&to, text).with_context(|| to.display().to_string())?;
    }
    Ok(())
}

/// Where the libraries lie below the prefix, and what CMake and pkg-config are told.
struct Names {
    /// The shared library, by its own name.
    shared: String,
    /// What linkers look for in its place.
    linked: &'static str,
    archive: &'static str,
    /// A line of CMake's about what programs are linked to.
    implib: &'static str,
    /// What a static library leaves to the system's.
    private_libs: &'static str,
}

impl Names {
    fn of(platform: Platform) -> Self {
        let linux = Self {
            shared: format!("lib/libottla.so.{ABI_VERSION}"),
            linked: "lib/libottla.so",
            archive: "lib/libottla.a",
            implib: "",
            private_libs: "-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc",
        };
        match () {
            () if platform.is_macos() => Self {
                shared: format!("lib/libottla.{ABI_VERSION}.dylib"),
                linked: "lib/libottla.dylib",
                private_libs: "-lpthread -lm",
                ..linux
            },
            // A DLL keeps the name that it was built by, which its import library has in it.
            () if platform.is_windows() => Self {
                shared: "bin/ottla_c.dll".to_owned(),
                linked: "lib/ottla.lib",
                archive: "lib/ottla_static.lib",
                implib: "\n    IMPORTED_IMPLIB \"${_ottla_prefix}/lib/ottla.lib\"",
                private_libs: "ws2_32 ntdll userenv bcrypt crypt32 secur32 ncrypt",
            },
            () if platform.is_musl() => Self { private_libs: "-lpthread -lm -lc", ..linux },
            () => linux,
        }
    }
}

/// Has one name stand for a file beside it.
fn link(file: &Path, link: &Path) -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        _ = fs::remove_file(link);
        let name = file.file_name().context("a library has a name")?;
        std::os::unix::fs::symlink(name, link).with_context(|| link.display().to_string())
    }
    #[cfg(not(unix))]
    copy(file, link)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    // In place of what may be in use: a new file, not new bytes in the old one.
    _ = fs::remove_file(to);
    fs::copy(from, to).with_context(|| format!("copying `{}` to `{}`", from.display(), to.display()))?;
    Ok(())
}
