//! `cargo xtask test`: everything that is tested, as CI runs it.

mod stages;
mod told;

use std::{process::Command, time::Instant};

use anyhow::{Context, ensure};
use clap::Parser;

pub use self::stages::install;
use self::stages::{STAGES, Stage};
use crate::{platform::build_all_at_once, tree};

/// Runs all tests: the house rules, every crate, and the peers that are there.
///
/// A peer or toolchain that is missing is skipped, and said so. Each stage is run whatever became of those before it, and what it
/// prints is kept in target/test-logs/NAME.log. Ends with what failed, and `N passed, N failed, N skipped`.
#[derive(Parser)]
pub struct Args {
    /// Fail where something is missing that a test needs, instead of skipping it; what CI does.
    #[arg(long)]
    require_all: bool,
    /// Only stages whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Name the stages and stop.
    #[arg(long)]
    list: bool,
    /// Run this stage in this process, as a part of what another tests.
    #[arg(long, hide = true, value_name = "NAME")]
    stage: Option<String>,
    /// With `--stage`: all the others are run as well.
    #[arg(long, hide = true, requires = "stage")]
    of_all: bool,
}

/// What came of some tests.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

/// Where what each stage prints is kept.
const LOGS: &str = "target/test-logs";

pub fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(name) = &args.stage {
        let stage = STAGES.iter().find(|stage| stage.name == name).context("there is no such stage")?;
        return run_here(stage, args);
    }
    let chosen =
        STAGES.iter().filter(|s| args.only.as_ref().is_none_or(|only| s.name.contains(only.as_str())));
    if args.list {
        for stage in chosen {
            println!("{:10} {}", stage.name, stage.what);
        }
        return Ok(());
    }
    let mut all = Tally::default();
    let mut failed = Vec::new();
    for stage in chosen {
        let (tally, told) = run_apart(stage, args)?;
        all.passed += tally.passed;
        all.failed += tally.failed;
        all.skipped += tally.skipped;
        if tally.failed > 0 {
            failed.push((stage.name, told));
        }
    }
    for (name, told) in &failed {
        println!("\n== what failed of {name}; all that it told is in {LOGS}/{name}.log");
        told::failures(told).for_each(|line| println!("{line}"));
    }
    println!("{} passed, {} failed, {} skipped", all.passed, all.failed, all.skipped);
    ensure!(all.failed == 0, "{} failed", all.failed);
    Ok(())
}

/// Runs a stage in a process of its own, so that all is kept that it and the tools below it print.
fn run_apart(stage: &Stage, args: &Args) -> anyhow::Result<(Tally, String)> {
    let logs = tree::path(LOGS);
    std::fs::create_dir_all(&logs)?;
    let mut this = Command::new(std::env::current_exe()?);
    this.args(["test", "--stage", stage.name]);
    this.args(args.require_all.then_some("--require-all"));
    this.args(args.only.is_none().then_some("--of-all"));
    let (status, told) = told::pass_on(this, &logs.join(format!("{}.log", stage.name)))?;
    let counted = told.lines().rev().find_map(|line| Tally::of_stage(line, stage.name));
    // A stage that could not go on has failed, whatever it had counted.
    let could_not = Tally { failed: 1, ..Tally::default() };
    Ok((counted.filter(|_| status.success()).unwrap_or(could_not), told))
}

/// Runs a stage, and says at last what came of it.
fn run_here(stage: &Stage, args: &Args) -> anyhow::Result<()> {
    let run = Run { require_all: args.require_all, is_whole: args.of_all };
    if run.is_whole {
        build_all_at_once();
    }
    let began = Instant::now();
    println!("== {}: {}", stage.name, stage.what);
    let tally = (stage.run)(&run).context(stage.name)?;
    println!(
        "== {}: {} passed, {} failed, {} skipped in {:.1} s",
        stage.name,
        tally.passed,
        tally.failed,
        tally.skipped,
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// How the tests are run.
pub struct Run {
    require_all: bool,
    /// Whether all stages are run.
    is_whole: bool,
}

impl Run {
    /// A command that counts as one test.
    fn check(&self, program: &str, args: &[&str]) -> anyhow::Result<Tally> {
        let status = Command::new(program).args(args).current_dir(tree::path("")).status();
        let passed = status.with_context(|| format!("running {program}"))?.success();
        Ok(if passed {
            Tally { passed: 1, ..Tally::default() }
        } else {
            println!("FAILED {program} {}", args.join(" "));
            Tally { failed: 1, ..Tally::default() }
        })
    }

    /// Another verb of this program.
    fn xtask(&self, args: &[&str]) -> anyhow::Result<Tally> {
        let this = std::env::current_exe()?;
        self.check(&this.display().to_string(), args)
    }

    /// Something is missing: skipped loudly, or a failure if all is required.
    pub fn missing(&self, what: &str) -> Tally {
        println!("{}: {what}", if self.require_all { "MISSING" } else { "SKIPPED" });
        if self.require_all {
            Tally { failed: 1, ..Tally::default() }
        } else {
            Tally { skipped: 1, ..Tally::default() }
        }
    }
}

impl Tally {
    /// Of `== NAME: 12 passed, 0 failed, 1 skipped in 3.4 s`, as a stage ends. Tools may leave escapes for a terminal before it.
    fn of_stage(line: &str, name: &str) -> Option<Self> {
        let (_, counts) = line.split_once(&format!("== {name}: "))?;
        let mut counts = counts.split(", ");
        let mut next = |word: &str| counts.next()?.split_once(word)?.0.parse().ok();
        Some(Self { passed: next(" passed")?, failed: next(" failed")?, skipped: next(" skipped")? })
    }

    /// Adds `ok. 3 passed; 0 failed; 1 ignored; ...`.
    fn add(&mut self, counts: &str) {
        let count = |word: &str| -> usize {
            let before = counts.split(';').find_map(|part| part.trim().strip_suffix(word));
            before.and_then(|n| n.split_whitespace().last()).and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        self.passed += count("passed");
        self.failed += count("failed");
        self.skipped += count("ignored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_closing_lines_are_counted() {
        let mut tally = Tally::default();
        tally.add("ok. 12 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.03s");
        tally.add("FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.03s");
        assert_eq!((tally.passed, tally.failed, tally.skipped), (13, 3, 2));
    }

    #[test]
    fn how_a_stage_ended_is_read_from_its_last_line() {
        let read = |line| Tally::of_stage(line, "java").map(|t| (t.passed, t.failed, t.skipped));
        assert_eq!(read("== java: 146 passed, 1 failed, 2 skipped in 93.4 s"), Some((146, 1, 2)));
        assert_eq!(read("== java: the jars: built, documented, their tests on Java 17 and 25"), None);
        assert_eq!(read("\u{1b}[0m== java: 23 passed, 0 failed, 0 skipped in 54.4 s"), Some((23, 0, 0)));
        assert_eq!(read("== node: 3 passed, 0 failed, 0 skipped in 9.1 s"), None);
    }
}
