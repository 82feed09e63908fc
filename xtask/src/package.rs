//! `cargo xtask package`: what the users of each language install, built and installed here as they would.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use clap::{Parser, ValueEnum};

use crate::{c, dotnet, java, npm, tree};

/// Where packages are built to, and installed.
pub const PACKAGES: &str = "target/packages";
/// The release of maturin that builds wheels; installed into `target/tools`.
const MATURIN: &str = "maturin==1.16.0";
/// What the tests of the Python package need beside it.
const PYTHON_TEST_TOOLS: [&str; 3] = ["pytest==9.2.0", "mypy==2.4.1", "pyarrow==26.0.1"];

/// Builds the packages for this machine, and installs each into an environment of its own in `target/packages`.
#[derive(Parser)]
pub struct Args {
    /// Cargo's profile: `dist` is what is shipped, and takes longest to build.
    #[arg(long, default_value = "dist")]
    profile: String,
    /// Build, and do not install.
    #[arg(long)]
    build_only: bool,
    /// Whose packages; by default all.
    #[arg(long, value_delimiter = ',')]
    languages: Vec<Language>,
}

/// A language that has packages.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Language {
    C,
    Python,
    Node,
    Java,
    Dotnet,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let is_wanted = |language| args.languages.is_empty() || args.languages.contains(&language);
    if is_wanted(Language::C) {
        println!("{}", c::package(&args.profile)?.display());
    }
    if is_wanted(Language::Python) {
        python(&args.profile, !args.build_only)?;
    }
    if is_wanted(Language::Node) {
        node(&args.profile, !args.build_only)?;
    }
    if is_wanted(Language::Java) {
        java::package(&args.profile)?;
    }
    if is_wanted(Language::Dotnet) {
        dotnet::package(&args.profile)?;
    }
    Ok(())
}

/// Builds the packages for npm; installs them into a fresh folder.
pub fn node(profile: &str, install: bool) -> anyhow::Result<()> {
    let packages = npm::packages(profile)?;
    for package in &packages {
        println!("{}", package.display());
    }
    if !install {
        return Ok(());
    }
    let at = npm::installed();
    let _ = std::fs::remove_dir_all(&at);
    npm::install(&at, &packages, &[])
}

/// Builds the wheel; installs it into a fresh virtual environment with what its tests need.
pub fn python(profile: &str, install: bool) -> anyhow::Result<()> {
    let wheel = wheel(profile)?;
    println!("{}", wheel.display());
    if !install {
        return Ok(());
    }
    let at = tree::path(PACKAGES).join("python");
    let _ = std::fs::remove_dir_all(&at);
    environment(&at, &wheel, &PYTHON_TEST_TOOLS)
}

/// The wheel, with the program `ottla` in it.
pub fn wheel(profile: &str) -> anyhow::Result<PathBuf> {
    if let Some(missing) = missing_python() {
        bail!("there is no {missing}");
    }
    let program = build_program(profile)?;
    let scripts = tree::path("python/ottla.data/scripts");
    std::fs::create_dir_all(&scripts)?;
    let name = program.file_name().context("a program has a name")?;
    std::fs::copy(&program, scripts.join(name)).context("putting the program into the wheel")?;

    let tools = tree::path("target/tools/python");
    if !tools.join("bin/maturin").exists() {
        venv(&tools)?;
        run_in(&tools, "pip", &["install", "--quiet", MATURIN])?;
    }
    let wheels = tree::path(PACKAGES).join("wheels");
    let _ = std::fs::remove_dir_all(&wheels);
    let mut maturin = Command::new(tools.join("bin/maturin"));
    maturin.args(["build", "--profile", profile, "--out"]).arg(&wheels).current_dir(tree::path("python"));
    done(maturin, "building the wheel")?;
    Ok(std::fs::read_dir(&wheels)?.next().context("maturin makes a wheel")??.path())
}

/// A virtual environment with the wheel, and others' packages, in it.
pub fn environment(at: &Path, wheel: &Path, others: &[&str]) -> anyhow::Result<()> {
    if !at.exists() {
        venv(at)?;
    }
    let wheel = wheel.display().to_string();
    let wanted = [&["install", "--quiet", "--force-reinstall", wheel.as_str()][..], others].concat();
    run_in(at, "pip", &wanted)
}

/// What is needed to build the package for Python, if it is not there.
pub fn missing_python() -> Option<&'static str> {
    let check = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
    let checked = Command::new("python3").args(["-c", check]).output();
    let there = checked.is_ok_and(|output| output.status.success());
    (!there).then_some("Python 3.10 or later (`python3`) with `venv`")
}

/// The Python of the environment that has the package installed.
pub fn installed_python() -> PathBuf {
    tree::path(PACKAGES).join("python/bin/python")
}

/// Builds `ottla`.
pub fn build_program(profile: &str) -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--package", "ottla-cli", "--profile", profile]).current_dir(tree::path(""));
    done(cargo, "building `ottla`")?;
    Ok(c::built(profile).join(format!("ottla{}", std::env::consts::EXE_SUFFIX)))
}

fn venv(at: &Path) -> anyhow::Result<()> {
    let mut python = Command::new("python3");
    python.args(["-m", "venv"]).arg(at);
    done(python, "making a virtual environment")
}

fn run_in(environment: &Path, program: &str, args: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(environment.join("bin").join(program));
    command.args(args);
    done(command, &format!("{program} {}", args.join(" ")))
}

/// Runs it, and fails unless it went well.
pub fn done(mut command: Command, what: &str) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{what}: {command:?}"))?;
    ensure!(status.success(), "{what} failed: {status}");
    Ok(())
}
