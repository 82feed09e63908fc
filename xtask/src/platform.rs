//! The platforms that packages are built for, what each registry calls them, and how Rust is compiled for them.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, ensure};

use crate::{
    package::{PACKAGES, done, tools},
    tree,
};

/// What links for other Linuxes than this machine's, and for older C libraries: from PyPI, where they are programs.
const ZIG: [&str; 2] = ["ziglang==0.15.2", "cargo-zigbuild==0.22.3"];

/// The profile of what is tested.
pub const TEST_PROFILE: &str = "ci";
/// The packages that are tested: all but UniFFI's generator, which has no tests and takes minutes to build.
pub const TEST_PACKAGES: [&str; 3] = ["--workspace", "--exclude", "ottla-uniffi-bindgen"];
static IS_ALL_BUILT_AT_ONCE: AtomicBool = AtomicBool::new(false);

/// From now on, where something is wanted in the profile [`TEST_PROFILE`] for this machine, [`TEST_PACKAGES`] is built. Cargo unites the
/// features that packages ask of what they depend on, so another choice of packages is another build of the core: for
/// whoever runs everything, one of all is quicker than one for each language.
pub fn build_all_at_once() {
    IS_ALL_BUILT_AT_ONCE.store(true, Ordering::Relaxed);
}

/// A platform that has packages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Platform {
    /// As Rust names it.
    pub triple: &'static str,
    /// The oldest glibc that programs are linked for, with zig.
    glibc_min: Option<&'static str>,
    /// What a wheel for it is called, where that is not for maturin to find out.
    wheel: Option<&'static str>,
}

/// All of them. `.github/workflows/release.yml` builds each.
pub const PLATFORMS: [Platform; 8] = [
    linux("x86_64-unknown-linux-gnu", Some("2.17"), "manylinux_2_17"),
    linux("aarch64-unknown-linux-gnu", Some("2.28"), "manylinux_2_28"),
    linux("x86_64-unknown-linux-musl", None, "musllinux_1_2"),
    linux("aarch64-unknown-linux-musl", None, "musllinux_1_2"),
    other("x86_64-apple-darwin"),
    other("aarch64-apple-darwin"),
    other("x86_64-pc-windows-msvc"),
    other("aarch64-pc-windows-msvc"),
];

const fn linux(triple: &'static str, glibc_min: Option<&'static str>, wheel: &'static str) -> Platform {
    Platform { triple, glibc_min, wheel: Some(wheel) }
}

const fn other(triple: &'static str) -> Platform {
    Platform { triple, glibc_min: None, wheel: None }
}

impl Platform {
    /// That of this machine.
    pub fn here() -> anyhow::Result<Self> {
        let system = match std::env::consts::OS {
            "macos" => "apple-darwin",
            "windows" => "pc-windows-msvc",
            "linux" if cfg!(target_env = "musl") => "unknown-linux-musl",
            "linux" => "unknown-linux-gnu",
            other => other,
        };
        Self::named(&format!("{}-{system}", std::env::consts::ARCH))
    }

    /// By Rust's name of it.
    pub fn named(triple: &str) -> anyhow::Result<Self> {
        let found = PLATFORMS.into_iter().find(|platform| platform.triple == triple);
        found.with_context(|| {
            let all = PLATFORMS.map(|platform| platform.triple).join("`, `");
            format!("there are no packages for `{triple}`: only for `{all}`")
        })
    }

    fn has(self, part: &str) -> bool {
        self.triple.contains(part)
    }

    pub fn is_linux(self) -> bool {
        self.has("-linux-")
    }

    pub fn is_macos(self) -> bool {
        self.has("-darwin")
    }

    pub fn is_windows(self) -> bool {
        self.has("-windows-")
    }

    pub fn is_musl(self) -> bool {
        self.has("-musl")
    }

    fn is_arm(self) -> bool {
        self.has("aarch64")
    }

    /// As npm has it: system, processor, and what C library or compiler.
    pub fn npm(self) -> (&'static str, &'static str, Option<&'static str>) {
        let cpu = if self.is_arm() { "arm64" } else { "x64" };
        match () {
            () if self.is_macos() => ("darwin", cpu, None),
            () if self.is_windows() => ("win32", cpu, Some("msvc")),
            () => ("linux", cpu, Some(if self.is_musl() { "musl" } else { "gnu" })),
        }
    }

    /// As Maven's repositories have it.
    pub fn maven(self) -> String {
        let system = match () {
            () if self.is_macos() => "osx",
            () if self.is_windows() => "windows",
            () => "linux",
        };
        let architecture = if self.is_arm() { "aarch_64" } else { "x86_64" };
        format!("{system}-{architecture}{}", if self.is_musl() { "-musl" } else { "" })
    }

    /// As NuGet has it.
    pub fn nuget(self) -> String {
        let system = match () {
            () if self.is_macos() => "osx",
            () if self.is_windows() => "win",
            () if self.is_musl() => "linux-musl",
            () => "linux",
        };
        format!("{system}-{}", if self.is_arm() { "arm64" } else { "x64" })
    }

    /// As archives have it.
    pub fn archive(self) -> String {
        let system = match () {
            () if self.is_macos() => "macos",
            () if self.is_windows() => "windows",
            () => "linux",
        };
        let architecture = if self.is_arm() { "aarch64" } else { "x86_64" };
        format!("{system}-{architecture}{}", if self.is_musl() { "-musl" } else { "" })
    }

    /// What a shared library is called there.
    pub fn library(self, name: &str) -> String {
        match () {
            () if self.is_macos() => format!("lib{name}.dylib"),
            () if self.is_windows() => format!("{name}.dll"),
            () => format!("lib{name}.so"),
        }
    }

    /// What a program is called there.
    pub fn program(self, name: &str) -> String {
        if self.is_windows() { format!("{name}.exe") } else { name.to_owned() }
    }
}

/// How what is Rust in the packages is compiled, and where they are put.
#[derive(Clone, Debug)]
pub struct Build {
    /// Cargo's profile.
    profile: String,
    /// For whom.
    pub platform: Platform,
    /// The platform is named to cargo, which then builds for it alone.
    is_named: bool,
    /// Linked by zig, for the oldest C library that a package is for.
    zig: bool,
}

impl Build {
    /// For this machine, as it is.
    pub fn here(profile: &str) -> anyhow::Result<Self> {
        Ok(Self { profile: profile.to_owned(), platform: Platform::here()?, is_named: false, zig: false })
    }

    /// For a platform by name. `zig` links for any Linux; else the system's linker must be able to.
    pub fn of(profile: &str, triple: &str, zig: bool) -> anyhow::Result<Self> {
        let platform = Platform::named(triple)?;
        ensure!(
            !zig || platform.is_linux(),
            "zig links for Linux; `{triple}` is built on a machine of its kind"
        );
        Ok(Self { profile: profile.to_owned(), platform, is_named: true, zig })
    }

    /// Where packages go: those for a platform by name into a folder of its own.
    pub fn out(&self) -> PathBuf {
        let packages = tree::path(PACKAGES);
        if self.is_named { packages.join(self.platform.triple) } else { packages }
    }

    /// Where cargo puts what it builds.
    pub fn built(&self) -> PathBuf {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| tree::path("target"), PathBuf::from);
        let of_platform = if self.is_named { target.join(self.platform.triple) } else { target };
        of_platform.join(if self.profile == "dev" { "debug" } else { &self.profile })
    }

    /// Builds packages of the workspace.
    pub fn cargo(&self, packages: &[&str]) -> anyhow::Result<()> {
        let mut cargo = Command::new("cargo");
        cargo.arg(if self.zig { "zigbuild" } else { "build" });
        cargo.args(["--quiet", "--profile", &self.profile]).current_dir(tree::path(""));
        if IS_ALL_BUILT_AT_ONCE.load(Ordering::Relaxed) && self.profile == TEST_PROFILE && !self.is_named {
            cargo.args(TEST_PACKAGES);
        } else {
            cargo.args(packages.iter().flat_map(|package| ["--package", package]));
        }
        if self.is_named {
            cargo.arg("--target").arg(self.linked_for());
        }
        self.prepare(&mut cargo)?;
        done(cargo, &format!("building {} for {}", packages.join(", "), self.platform.triple))
    }

    /// The switches by which maturin builds the same way.
    pub fn maturin(&self, command: &mut Command) -> anyhow::Result<()> {
        command.args(["--profile", &self.profile]);
        if self.is_named {
            command.args(["--target", self.platform.triple]);
        }
        if self.zig {
            command.arg("--zig");
            if let Some(wheel) = self.platform.wheel {
                command.args(["--compatibility", wheel]);
            }
        }
        self.prepare(command)
    }

    /// The platform with, for zig, the glibc behind it.
    fn linked_for(&self) -> String {
        match self.platform.glibc_min.filter(|_| self.zig) {
            Some(glibc) => format!("{}.{glibc}", self.platform.triple),
            None => self.platform.triple.to_owned(),
        }
    }

    /// What the environment must say to a build.
    fn prepare(&self, command: &mut Command) -> anyhow::Result<()> {
        if self.zig {
            let bin = tools(&ZIG)?;
            command.env("PATH", first_on_path(&bin)?);
        }
        let flags = match () {
            // A library for musl is linked to the musl that is there; Rust would link all of it statically, which gives no library.
            () if self.platform.is_musl() => "-C target-feature=-crt-static",
            // Which nobody has to install then.
            () if self.platform.is_windows() => "-C target-feature=+crt-static",
            () => return Ok(()),
        };
        if self.is_named {
            let name = self.platform.triple.to_uppercase().replace('-', "_");
            command.env(format!("CARGO_TARGET_{name}_RUSTFLAGS"), flags);
        }
        Ok(())
    }
}

/// The path, with a directory before all others.
fn first_on_path(directory: &Path) -> anyhow::Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths([directory.to_owned()].into_iter().chain(std::env::split_paths(&path)))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_platform_has_a_name_of_its_own_in_each_registry() {
        for name in [
            |platform: Platform| platform.maven(),
            |platform: Platform| platform.archive(),
            |platform: Platform| platform.nuget(),
            |platform: Platform| format!("{:?}", platform.npm()),
        ] {
            let mut names = PLATFORMS.map(name).to_vec();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), PLATFORMS.len(), "{names:?}");
        }
        let musl = Platform::named("aarch64-unknown-linux-musl").expect("it is in the table");
        assert_eq!(
            (musl.maven().as_str(), musl.archive().as_str()),
            ("linux-aarch_64-musl", "linux-aarch64-musl")
        );
        assert_eq!(musl.npm(), ("linux", "arm64", Some("musl")));
        assert_eq!(musl.nuget(), "linux-musl-arm64");
        let windows = Platform::named("x86_64-pc-windows-msvc").expect("it is in the table");
        assert_eq!(
            (windows.library("ottla_java").as_str(), windows.program("ottla").as_str()),
            ("ottla_java.dll", "ottla.exe")
        );
    }

    #[test]
    fn the_release_builds_every_platform_and_the_poms_classify_it() {
        let workflow =
            std::fs::read_to_string(tree::path(".github/workflows/release.yml")).expect("the workflow");
        let pom = std::fs::read_to_string(tree::path("java/ottla/pom.xml")).expect("the pom");
        for platform in PLATFORMS {
            assert!(workflow.contains(platform.triple), "`release.yml` does not build `{}`", platform.triple);
            let classifier = format!("<classifier>{}</classifier>", platform.maven());
            assert!(pom.contains(&classifier), "`java/ottla/pom.xml` has no {classifier}");
        }
    }
}
