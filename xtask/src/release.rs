//! `cargo xtask package assemble`: what is released, out of what was built for each platform.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use clap::Parser;

use crate::{
    dotnet, java, npm,
    package::{PACKAGES, done, sdist},
    platform::{PLATFORMS, Platform},
    scripted, tree,
};

/// The workspace's, which all packages have.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What lists the digests of all that is released.
const SUMS: &str = "SHA256SUMS";

/// Gathers what `package --target` has built into `target/packages/release`, with the main package for npm, the jars, the packages
/// for NuGet, the sources for Python, and the digest of each file.
///
/// The main package for npm asks for the native package of every platform; the jars and
/// NuGet's packages have every platform's library and program in them.
#[derive(Parser)]
pub struct Args {
    /// Where the folders are that `package --target` has made, each with the name of its platform.
    #[arg(long, value_name = "DIR")]
    natives: PathBuf,
    /// Take the platforms that are there. Else every platform must be.
    #[arg(long)]
    partial: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    one_version()?;
    let platforms = platforms(args)?;
    let release = tree::path(PACKAGES).join("release");
    let _ = fs::remove_dir_all(&release);
    fs::create_dir_all(&release)?;
    for platform in &platforms {
        gather(&args.natives.join(platform.triple), *platform, &release)?;
    }
    let staged = tree::path(PACKAGES).join("release-npm");
    let _ = fs::remove_dir_all(&staged);
    take(&npm::main_package(&platforms, &staged)?, &release)?;
    take(&sdist()?, &release)?;
    jars(args, &platforms, &release)?;
    let of_dotnet: Vec<_> =
        platforms.iter().map(|platform| args.natives.join(platform.triple).join("dotnet")).collect();
    for package in dotnet::assemble(&of_dotnet)? {
        take(&package, &release)?;
    }
    sums(&release)?;
    println!("{} platforms, in `{}`", platforms.len(), release.display());
    Ok(())
}

/// The platforms that there is something of; all of them, unless some may be missing.
fn platforms(args: &Args) -> anyhow::Result<Vec<Platform>> {
    let is_there = |platform: &Platform| args.natives.join(platform.triple).is_dir();
    let (there, missing): (Vec<_>, Vec<_>) = PLATFORMS.into_iter().partition(is_there);
    let missing: Vec<_> = missing.iter().map(|platform| platform.triple).collect();
    ensure!(!there.is_empty(), "`{}` has no folder of a platform", args.natives.display());
    if !missing.is_empty() && !args.partial {
        bail!("nothing was built for `{}`; `--partial` leaves them out", missing.join("`, `"));
    }
    Ok(there)
}

/// What is released as it was built: a wheel, a package for npm, archives for Ruby, PHP and C.
fn gather(from: &Path, platform: Platform, release: &Path) -> anyhow::Result<()> {
    take(&from.join("npm").join(npm::archive_of(platform)), release)?;
    for package in [scripted::RUBY, scripted::PHP] {
        take(&from.join(package.archive_of(platform)), release)?;
    }
    for (below, extension) in [("wheels", "whl"), ("c", "gz")] {
        let at = from.join(below);
        let mut files = Vec::new();
        for entry in fs::read_dir(&at).with_context(|| at.display().to_string())? {
            let path = entry?.path();
            if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
        let [file] = &files[..] else {
            bail!("`{}` has {} files `*.{extension}`, and should have one", at.display(), files.len())
        };
        take(file, release)?;
    }
    Ok(())
}

/// The jars, with every platform's library and program, and the poms that describe them.
fn jars(args: &Args, platforms: &[Platform], release: &Path) -> anyhow::Result<()> {
    let staged = tree::path(PACKAGES).join("release-java");
    let _ = fs::remove_dir_all(&staged);
    for platform in platforms {
        for below in java::NATIVES {
            let of_platform = Path::new(below).join(platform.maven());
            let (from, to) = (
                args.natives.join(platform.triple).join("java").join(&of_platform),
                staged.join(of_platform),
            );
            fs::create_dir_all(&to)?;
            for entry in fs::read_dir(&from).with_context(|| from.display().to_string())? {
                take(&entry?.path(), &to)?;
            }
        }
    }
    let left_out: Vec<_> = PLATFORMS.into_iter().filter(|platform| !platforms.contains(platform)).collect();
    for jar in java::assemble(&staged)? {
        // Maven makes a jar for each platform, which has nothing in it where that is missing.
        let name = jar.to_string_lossy();
        if !left_out.iter().any(|platform| name.ends_with(&format!("-{}.jar", platform.maven()))) {
            take(&jar, release)?;
        }
    }
    for (pom, artifact) in java::POMS {
        fs::copy(tree::path("java").join(pom), release.join(format!("{artifact}-{VERSION}.pom")))
            .context(pom)?;
    }
    has_all(&release.join(format!("ottla-{VERSION}.jar")), "dev/ottla/native", platforms, |platform| {
        platform.library("ottla_java")
    })?;
    has_all(
        &release.join(format!("ottla-testing-{VERSION}.jar")),
        "dev/ottla/testing/program",
        platforms,
        |platform| platform.program("ottla"),
    )
}

/// Whether a jar has what each platform needs.
fn has_all(
    jar: &Path,
    below: &str,
    platforms: &[Platform],
    name: impl Fn(Platform) -> String,
) -> anyhow::Result<()> {
    let file = fs::File::open(jar).with_context(|| jar.display().to_string())?;
    let entries = zip::ZipArchive::new(file)?;
    for &platform in platforms {
        let wanted = format!("{below}/{}/{}", platform.maven(), name(platform));
        ensure!(entries.index_for_name(&wanted).is_some(), "`{}` lacks `{wanted}`", jar.display());
    }
    Ok(())
}

/// Every package is of the workspace's version. Cargo sees to that of Rust, C and Python, and npm's main package is looked at where it
/// is made.
fn one_version() -> anyhow::Result<()> {
    for (pom, _) in java::POMS {
        let text = fs::read_to_string(tree::path("java").join(pom)).context(pom)?;
        let first = text.split_once("<version>").and_then(|(_, rest)| rest.split('<').next());
        ensure!(first == Some(VERSION), "`java/{pom}` is not of version {VERSION}");
    }
    Ok(())
}

/// The digests of all that is there, in a file beside it.
fn sums(release: &Path) -> anyhow::Result<()> {
    let mut names: Vec<_> =
        fs::read_dir(release)?.map(|entry| Ok(entry?.file_name())).collect::<anyhow::Result<_>>()?;
    names.sort();
    let sums = fs::File::create(release.join(SUMS))?;
    let mut command = Command::new("sha256sum");
    command.args(names).current_dir(release).stdout(sums);
    done(command, "adding up digests")
}

fn take(file: &Path, into: &Path) -> anyhow::Result<()> {
    let name = file.file_name().context("a file has a name")?;
    fs::copy(file, into.join(name)).with_context(|| format!("taking `{}`", file.display()))?;
    Ok(())
}
