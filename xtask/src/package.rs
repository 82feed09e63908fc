//! `cargo xtask package`: what the users of each language install, built and installed here as they would.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum};

use crate::{c, dotnet, java, npm, platform::Build, release, scripted, tree};

/// Where packages are built to, and installed.
pub const PACKAGES: &str = "target/packages";
/// The release of maturin that builds wheels.
const MATURIN: &str = "maturin==1.16.0";
/// Python, and where a virtual environment has its programs.
const PYTHON: &str = if cfg!(windows) { "python" } else { "python3" };
const BIN: &str = if cfg!(windows) { "Scripts" } else { "bin" };
/// What the tests of the Python package need beside it.
const PYTHON_TEST_TOOLS: [&str; 3] = ["pytest==9.2.0", "mypy==2.4.1", "pyarrow==26.0.1"];

/// Builds the packages for this machine, and installs each into an environment of its own in `target/packages`; or those for another
/// platform, or all that is the same for each.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Cargo's profile: `dist` is what is shipped, and takes longest to build.
    #[arg(long, default_value = "dist")]
    profile: String,
    /// Build, and do not install.
    #[arg(long)]
    build_only: bool,
    /// Whose packages; by default all.
    #[arg(long, value_delimiter = ',')]
    languages: Vec<Language>,
    /// Build what is native in the packages for this platform, by Rust's name of it, into `target/packages/TRIPLE`; nothing is installed.
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// With `--target`: link by zig, for the oldest C library that a package is for. It comes from PyPI.
    #[arg(long, requires = "target")]
    zig: bool,
}

#[derive(Subcommand)]
enum Verb {
    Assemble(release::Args),
    Sdist,
}

/// A language that has packages.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Language {
    C,
    Python,
    Node,
    Java,
    Dotnet,
    Ruby,
    Php,
}

const SCRIPTED: [(Language, scripted::Scripted); 2] =
    [(Language::Ruby, scripted::RUBY), (Language::Php, scripted::PHP)];

pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.verb {
        Some(Verb::Assemble(args)) => return release::run(args),
        Some(Verb::Sdist) => {
            println!("{}", sdist()?.display());
            return Ok(());
        }
        None => {}
    }
    let is_wanted = |language| args.languages.is_empty() || args.languages.contains(&language);
    if let Some(triple) = &args.target {
        let build = Build::of(&args.profile, triple, args.zig)?;
        return natives(&build, is_wanted);
    }
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
    for (language, package) in SCRIPTED {
        if is_wanted(language) {
            println!("{}", package.package(&args.profile)?.display());
        }
    }
    Ok(())
}

/// What of the packages is of one platform: all but the main package for npm, the jars and the packages for .NET,
/// which `assemble` makes of these.
fn natives(build: &Build, is_wanted: impl Fn(Language) -> bool) -> anyhow::Result<()> {
    let _ = std::fs::remove_dir_all(build.out());
    let mut made = Vec::new();
    if is_wanted(Language::C) {
        made.push(c::package_of(build)?);
    }
    if is_wanted(Language::Node) {
        made.push(npm::platform_package(build)?);
    }
    if is_wanted(Language::Java) {
        made.push(java::natives(build)?);
    }
    if is_wanted(Language::Dotnet) {
        made.push(dotnet::natives(build)?);
    }
    for (language, package) in SCRIPTED {
        if is_wanted(language) {
            made.push(package.package_of(build)?);
        }
    }
    // Last, as with zig maturin compiles what the others share once more, and they would again behind it.
    if is_wanted(Language::Python) {
        made.push(wheel_of(build)?);
    }
    for package in made {
        println!("{}", package.display());
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

/// The wheel for this machine.
pub fn wheel(profile: &str) -> anyhow::Result<PathBuf> {
    wheel_of(&Build::here(profile)?)
}

/// The wheel, with the program `ottla` in it.
fn wheel_of(build: &Build) -> anyhow::Result<PathBuf> {
    let program = build_program(build)?;
    let scripts = scripts()?;
    let name = program.file_name().context("a program has a name")?;
    std::fs::copy(&program, scripts.join(name)).context("putting the program into the wheel")?;

    let wheels = build.out().join("wheels");
    let mut maturin = maturin("build", &wheels)?;
    build.maturin(&mut maturin)?;
    done(maturin, "building the wheel")?;
    only_file(&wheels)
}

/// The sources that pip builds where there is no wheel. A program is no source: what is built of these has none.
pub fn sdist() -> anyhow::Result<PathBuf> {
    scripts()?;
    let sdists = tree::path(PACKAGES).join("sdist");
    done(maturin("sdist", &sdists)?, "packing the sources of the package for Python")?;
    only_file(&sdists)
}

/// Where maturin looks for programs to put into a wheel; made, and empty.
fn scripts() -> anyhow::Result<PathBuf> {
    let scripts = tree::path("python/ottla.data/scripts");
    let _ = std::fs::remove_dir_all(&scripts);
    std::fs::create_dir_all(&scripts)?;
    Ok(scripts)
}

/// A verb of maturin that makes a file in a fresh folder.
fn maturin(verb: &str, out: &Path) -> anyhow::Result<Command> {
    let _ = std::fs::remove_dir_all(out);
    // Which it packs where it finds it beside the manifest.
    std::fs::copy(tree::path("LICENSE"), tree::path("python/LICENSE"))
        .context("putting the licence beside")?;
    let mut maturin = Command::new(tools(&[MATURIN])?.join("maturin"));
    maturin.args([verb, "--out"]).arg(out).current_dir(tree::path("python"));
    Ok(maturin)
}

fn only_file(of: &Path) -> anyhow::Result<PathBuf> {
    Ok(std::fs::read_dir(of)?
        .next()
        .with_context(|| format!("nothing was made in `{}`", of.display()))??
        .path())
}

/// Programs from PyPI, as `name==version`, installed once into `target/tools`; answers where they are.
pub fn tools(wanted: &[&str]) -> anyhow::Result<PathBuf> {
    if let Some(missing) = missing_python() {
        bail!("there is no {missing}");
    }
    let tools = tree::path("target/tools/python");
    if !tools.exists() {
        venv(&tools)?;
    }
    let bin = tools.join(BIN);
    let there = Command::new(bin.join("pip")).args(["list", "--format=freeze"]).output()?;
    let there = String::from_utf8_lossy(&there.stdout);
    if !wanted.iter().all(|tool| there.lines().any(|line| line == *tool)) {
        run_in(&tools, "pip", &[&["install", "--quiet"], wanted].concat())?;
    }
    Ok(bin)
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
    let checked = Command::new(PYTHON).args(["-c", check]).output();
    let there = checked.is_ok_and(|output| output.status.success());
    (!there).then_some("Python 3.10 or later (`python3`) with `venv`")
}

/// The Python of the environment that has the package installed.
pub fn installed_python() -> PathBuf {
    tree::path(PACKAGES).join("python").join(BIN).join("python")
}

/// Builds `ottla`.
pub fn build_program(build: &Build) -> anyhow::Result<PathBuf> {
    build.cargo(&["ottla-cli"])?;
    Ok(build.built().join(build.platform.program("ottla")))
}

fn venv(at: &Path) -> anyhow::Result<()> {
    let mut python = Command::new(PYTHON);
    python.args(["-m", "venv"]).arg(at);
    done(python, "making a virtual environment")
}

fn run_in(environment: &Path, program: &str, args: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(environment.join(BIN).join(program));
    command.args(args);
    done(command, &format!("{program} {}", args.join(" ")))
}

/// Runs it, and fails unless it went well.
pub fn done(mut command: Command, what: &str) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{what}: {command:?}"))?;
    ensure!(status.success(), "{what} failed: {status}");
    Ok(())
}
