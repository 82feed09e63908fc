//! `cargo xtask planted`: bugs that the simulators must find.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, ensure};
use clap::Parser;

use crate::tree;

/// Plants known bugs in a copy of the tree, one at a time, and demands that a simulator finds each.
///
/// The bugs are the patches in `broker/tests/planted` and `core/tests/planted`. The copy and what is built of it stay in
/// `target/planted`.
#[derive(Parser)]
pub struct Args {
    /// Only bugs whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Seeds that the simulator may take to find a bug.
    #[arg(long, default_value_t = 2000, value_name = "N")]
    seeds: u32,
}

/// Where the bugs are.
const BUGS: [&str; 2] = ["broker/tests/planted", "core/tests/planted"];

const CLEANER: &str = "broker/src/log/cleaner/";
/// What a patch says of a bug in the cleaner that shows among other operations.
const MIXED: &str = "Among other operations: ";

/// A simulator, and the code whose bugs it finds.
struct Simulator {
    /// What a patch touches.
    code: &'static str,
    package: &'static str,
    /// What to run of the package's tests.
    test: &'static [&'static str],
}

/// The first whose code a patch touches is the one that has to find it.
const SIMULATORS: [Simulator; 3] = [
    Simulator { code: CLEANER, package: "ottla-broker", test: &["--test", "cleaning_simulation"] },
    Simulator { code: "broker/src/log/", package: "ottla-broker", test: &["--test", "log_simulation"] },
    Simulator {
        code: "core/src/consumer/group/",
        package: "ottla",
        test: &["--lib", "group::simulation::whatever"],
    },
];

pub fn run(args: &Args) -> anyhow::Result<()> {
    let copy = tree::path("target/planted/tree");
    copy_tree(&copy)?;
    let mut patches = Vec::new();
    for directory in BUGS {
        for entry in std::fs::read_dir(tree::path(directory)).context(directory)? {
            let path = entry?.path();
            let wanted = |name: &str| args.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
            if path.extension().is_some_and(|e| e == "patch") && wanted(&name_of(&path)) {
                let text = std::fs::read_to_string(&path)?;
                // A bug of the cleaner may show among other operations only: then it is for the log's simulator.
                let is_for = |simulator: &&Simulator| {
                    text.contains(simulator.code) && !(simulator.code == CLEANER && text.starts_with(MIXED))
                };
                let simulator = SIMULATORS.iter().find(is_for);
                let simulator = simulator
                    .with_context(|| format!("no simulator runs what `{}` changes", name_of(&path)))?;
                patches.push((path, simulator));
            }
        }
    }
    patches.sort_by(|a, b| a.0.cmp(&b.0));
    ensure!(!patches.is_empty(), "no bug has such a name");
    println!("the simulators without any bug");
    for simulator in &SIMULATORS {
        if patches.iter().any(|(_, its)| its.code == simulator.code) {
            ensure!(passes(&copy, simulator, 50)?, "`{:?}` fails in the tree as it is", simulator.test);
        }
    }
    let mut missed = Vec::new();
    for (patch, simulator) in &patches {
        let (name, began) = (name_of(patch), Instant::now());
        apply(&copy, patch, false)
            .with_context(|| format!("planting `{name}`: bring the patch up to date"))?;
        let built = cargo(&copy, simulator, &["--no-run"], 1)?;
        let found = built && !passes(&copy, simulator, args.seeds)?;
        apply(&copy, patch, true)?;
        ensure!(built, "with `{name}` planted, it does not compile: bring the patch up to date");
        let verdict = if found { "found" } else { "MISSED" };
        println!("{name}: {verdict} in {:.0} s", began.elapsed().as_secs_f64());
        if !found {
            missed.push(name);
        }
    }
    ensure!(missed.is_empty(), "the simulator missed {}", missed.join(", "));
    println!("{} bugs, all found", patches.len());
    Ok(())
}

fn name_of(patch: &Path) -> String {
    patch.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Copies what git tracks or would track. Files that are the same keep their times, so that little is built anew.
fn copy_tree(to: &Path) -> anyhow::Result<()> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(tree::path(""))
        .output()
        .context("running git")?;
    ensure!(output.status.success(), "git does not list the files of the tree");
    for name in String::from_utf8(output.stdout)?.split_terminator('\0') {
        let (source, copy): (PathBuf, PathBuf) = (tree::path(name), to.join(name));
        // A file that was removed and not committed yet.
        let Ok(bytes) = std::fs::read(&source) else { continue };
        if std::fs::read(&copy).is_ok_and(|there| there == bytes) {
            continue;
        }
        if let Some(directory) = copy.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(&copy, bytes).with_context(|| copy.display().to_string())?;
    }
    Ok(())
}

/// Applies a patch, or takes it back.
fn apply(copy: &Path, patch: &Path, back: bool) -> anyhow::Result<()> {
    let mut git = Command::new("git");
    git.args(["apply", "--whitespace=nowarn"]).args(back.then_some("--reverse")).arg(patch);
    // The copy lies in a repository that is not its own; git is not to look for one.
    git.current_dir(copy).env("GIT_CEILING_DIRECTORIES", tree::path("target"));
    ensure!(git.status()?.success(), "`{}` does not apply", patch.display());
    Ok(())
}

/// Whether the simulator finds nothing wrong, in these many seeds and as many crash points.
fn passes(copy: &Path, simulator: &Simulator, seeds: u32) -> anyhow::Result<bool> {
    cargo(copy, simulator, &[], seeds)
}

fn cargo(copy: &Path, simulator: &Simulator, more: &[&str], seeds: u32) -> anyhow::Result<bool> {
    let status = Command::new("cargo")
        .args(["test", "-p", simulator.package])
        .args(simulator.test)
        .args(more)
        .args(["--quiet"])
        .env("CARGO_TARGET_DIR", tree::path("target/planted/build"))
        .env("OTTLA_SEEDS", seeds.to_string())
        .env("OTTLA_CRASH_POINTS", seeds.to_string())
        .current_dir(copy)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("running cargo")?;
    Ok(status.success())
}
