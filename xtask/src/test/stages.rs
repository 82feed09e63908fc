//! What is tested: the stages, and those of them that are no language's.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Context;
use clap::Parser;

use super::{Run, Tally};
use crate::{
    platform::{TEST_PACKAGES, TEST_PROFILE},
    tree,
};

/// Something that is tested as one.
pub struct Stage {
    pub name: &'static str,
    pub what: &'static str,
    pub run: fn(&Run) -> anyhow::Result<Tally>,
}

/// The stages, quick ones first.
pub const STAGES: &[Stage] = &[
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
