//! `cargo xtask test`: everything that is tested, as CI runs it.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::Context;
use clap::Parser;

use crate::{
    platform::{TEST_PACKAGES, TEST_PROFILE, build_all_at_once},
    tree,
};

/// Runs all tests: the house rules, every crate, and the peers that are there.
///
/// A peer or toolchain that is missing is skipped, and said so. Ends with `N passed, N failed, N skipped`.
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
}

/// What came of some tests.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

struct Stage {
    name: &'static str,
    what: &'static str,
    run: fn(&Run) -> anyhow::Result<Tally>,
}

/// The stages, quick ones first.
const STAGES: &[Stage] = &[
    Stage { name: "format", what: "rustfmt", run: |run| run.check("cargo", &["fmt", "--all", "--check"]) },
    Stage {
        name: "tidy",
        what: "import arrows, fresh generated files, documents",
        run: |run| run.xtask(&["tidy"]),
    },
    Stage { name: "clippy", what: "lints, warnings denied", run: clippy },
    Stage { name: "schemas", what: "every field of every version against Kafka's jars", run: schemas },
    Stage { name: "licences", what: "cargo deny: licences, bans, sources", run: licences },
    Stage {
        name: "libottla",
        what: "the C interface: installed, symbols, tests, sanitizers, examples",
        run: crate::c::test::lane,
    },
    Stage {
        name: "python",
        what: "the wheel: built, installed, its tests, its types",
        run: crate::python::lane,
    },
    Stage {
        name: "node",
        what: "the npm packages: built, installed, their tests, their types",
        run: crate::node::lane,
    },
    Stage {
        name: "java",
        what: "the jars: built, documented, their tests on Java 17 and 25",
        run: crate::java::lane,
    },
    Stage {
        name: "uniffi",
        what: "the sources for Kotlin on Android: their tests on the JVM",
        run: crate::java::uniffi_lane,
    },
    Stage { name: "dotnet", what: "the packages for .NET: built, their tests", run: crate::dotnet::lane },
    Stage {
        name: "ruby",
        what: "the package for Ruby: its tests",
        run: |run| crate::scripted::RUBY.lane(run),
    },
    Stage { name: "php", what: "the package for PHP: its tests", run: |run| crate::scripted::PHP.lane(run) },
    Stage { name: "demo", what: "a file, and a stream of orders through all languages, audited", run: demo },
    Stage { name: "crates", what: "the tests of every crate, the peers' among them", run: crates },
];

/// Kafka's jars that hold message schemas.
const SCHEMA_JARS: [&str; 7] = [
    "kafka-clients",
    "kafka-group-coordinator",
    "kafka-metadata",
    "kafka-raft",
    "kafka-share-coordinator",
    "kafka-storage",
    "kafka-transaction-coordinator",
];
/// The Kafka release that the protocol is of.
const SCHEMA_VERSION: &str = "4.4.0";

pub fn run(args: &Args) -> anyhow::Result<()> {
    let chosen =
        STAGES.iter().filter(|s| args.only.as_ref().is_none_or(|only| s.name.contains(only.as_str())));
    if args.list {
        for stage in chosen {
            println!("{:10} {}", stage.name, stage.what);
        }
        return Ok(());
    }
    let run = Run { require_all: args.require_all, is_whole: args.only.is_none() };
    if run.is_whole {
        build_all_at_once();
    }
    let mut all = Tally::default();
    for stage in chosen {
        let began = Instant::now();
        println!("== {}: {}", stage.name, stage.what);
        let tally = (stage.run)(&run).with_context(|| stage.name)?;
        println!(
            "== {}: {} passed, {} failed, {} skipped in {:.1} s",
            stage.name,
            tally.passed,
            tally.failed,
            tally.skipped,
            began.elapsed().as_secs_f64()
        );
        all.passed += tally.passed;
        all.failed += tally.failed;
        all.skipped += tally.skipped;
    }
    println!("{} passed, {} failed, {} skipped", all.passed, all.failed, all.skipped);
    anyhow::ensure!(all.failed == 0, "{} failed", all.failed);
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

fn clippy(run: &Run) -> anyhow::Result<Tally> {
    run.check("cargo", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

fn schemas(run: &Run) -> anyhow::Result<Tally> {
    let directory = tree::path("target/peers/schemas");
    let mut jars = Vec::new();
    for artifact in SCHEMA_JARS {
        let jar = directory.join(format!("{artifact}-{SCHEMA_VERSION}.jar"));
        if !jar.exists() && !fetch_jar(artifact, &directory) {
            return Ok(run.missing(&format!("{artifact} {SCHEMA_VERSION} could not be fetched with Maven")));
        }
        jars.push(jar.display().to_string());
    }
    let mut args = vec!["codegen", "--against"];
    args.extend(jars.iter().map(String::as_str));
    run.xtask(&args)
}

fn fetch_jar(artifact: &str, directory: &Path) -> bool {
    Command::new("mvn")
        .args(["-q", "-B", "dependency:copy"])
        .arg(format!("-Dartifact=org.apache.kafka:{artifact}:{SCHEMA_VERSION}"))
        .arg(format!("-DoutputDirectory={}", directory.display()))
        .status()
        .is_ok_and(|status| status.success())
}

/// The release of cargo-deny that is installed where there is none and all is required.
const CARGO_DENY_VERSION: &str = "0.20.2";

fn licences(run: &Run) -> anyhow::Result<Tally> {
    let own = tree::path("target/tools");
    let program = own.join("bin/cargo-deny").display().to_string();
    let works =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    let found = ["cargo-deny", &program].into_iter().find(|program| works(program)).map(str::to_owned);
    let program = match found {
        Some(program) => program,
        None if run.require_all => {
            println!(
                "installing cargo-deny {CARGO_DENY_VERSION} into `target/tools`; this takes some minutes"
            );
            // Unoptimized, which is quicker to build than it saves.
            let install = ["install", "--quiet", "--debug", "--locked", "cargo-deny", "--version"];
            let root = own.display().to_string();
            let args = [&install[..], &[CARGO_DENY_VERSION, "--root", &root]].concat();
            if run.check("cargo", &args)?.failed > 0 {
                return Ok(run.missing("cargo-deny could not be installed"));
            }
            program
        }
        None => return Ok(run.missing("cargo-deny; `cargo install cargo-deny --locked` brings it")),
    };
    run.check(&program, &["deny", "check", "licenses", "bans", "sources"])
}

/// The demo in short; in the whole run over the packages that the stages before it have built.
fn demo(run: &Run) -> anyhow::Result<Tally> {
    let mut args = vec!["demo", "--lines", "20000", "--orders", "10000", "--per-second", "5000"];
    args.extend(run.require_all.then_some("--require-all"));
    args.extend(run.is_whole.then_some("--as-built"));
    Ok(match crate::demo::run(&crate::demo::Args::parse_from(args)) {
        Ok(()) => Tally { passed: 1, ..Tally::default() },
        Err(error) => {
            println!("error: {error:#}");
            Tally { failed: 1, ..Tally::default() }
        }
    })
}

/// How many tests run at once: most wait for brokers and peers, and use less than half of a core.
const THREADS_PER_CORE: usize = 2;

/// `cargo test` over the workspace. A test that lacks a peer says `SKIPPED: ...` on a line of its own, in the file
/// named by `OTTLA_SKIPPED`, or fails if `OTTLA_REQUIRE_ALL` is set.
fn crates(run: &Run) -> anyhow::Result<Tally> {
    install(&[("kcat", "kcat")]);
    if !Path::new("/usr/include/librdkafka/rdkafka.h").exists() {
        // A library, so there is no program by its name. For `examples/migrating`.
        install(&[("librdkafka", "librdkafka-dev")]);
    }
    let skipped = tree::path("target/skipped-tests");
    let _ = std::fs::remove_file(&skipped);
    let threads = THREADS_PER_CORE * std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let mut cargo = Command::new("cargo");
    cargo
        .args(["test", "--profile", TEST_PROFILE, "--no-fail-fast"])
        .args(TEST_PACKAGES)
        .env("OTTLA_SKIPPED", &skipped)
        .env("RUST_TEST_THREADS", threads.to_string())
        .current_dir(tree::path(""))
        .stdout(Stdio::piped());
    if run.require_all {
        cargo.env("OTTLA_REQUIRE_ALL", "1");
    }
    let mut child = cargo.spawn().context("running cargo test")?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        if let Some(counts) = line.strip_prefix("test result: ") {
            tally.add(counts);
        }
    }
    if !child.wait()?.success() && tally.failed == 0 {
        // It did not compile, or a test's process died.
        tally.failed = 1;
    }
    if let Ok(lines) = std::fs::read_to_string(&skipped) {
        for line in lines.lines() {
            println!("SKIPPED: {line}");
            tally.skipped += 1;
            tally.passed = tally.passed.saturating_sub(1);
        }
    }
    Ok(tally)
}

/// What comes from the system's packages is installed where we may; the other peers come by their languages' own registries.
/// Each is a program, and the package that brings it.
pub fn install(wanted: &[(&str, &str)]) {
    let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let packages: Vec<&str> =
        wanted.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.starts_with(b"0\n"));
    if packages.is_empty() || !is_root {
        return;
    }
    for args in [vec!["update"], [&["install", "--yes"], &packages[..]].concat()] {
        let done = Command::new("apt-get").arg("-qq").args(&args).stdout(Stdio::null()).status();
        if !done.is_ok_and(|status| status.success()) {
            println!("not installed: apt-get {}", args.join(" "));
        }
    }
}

impl Tally {
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
}
