//! Java: the jars, and the tests over them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use crate::{
    platform::{Build, TEST_PROFILE},
    test::{Run, Tally},
    tree,
};

/// Where the packages for Java are put: the libraries and programs that go into jars, and the jars with all that they need.
const BUILT: &str = "target/packages/java";
/// Where libraries and programs lie there, each in a folder for its platform.
pub const NATIVES: [&str; 2] = ["native", "program"];
/// The releases of Java that the tests run on; the jars are built by the first, which is the oldest they are for.
const RELEASES: [u32; 2] = [17, 25];

/// The modules whose jars others use.
const PUBLISHED: [&str; 4] = ["ottla", "ottla-kafka-clients", "ottla-kotlin", "ottla-testing"];
/// What describes each artifact to a repository.
pub const POMS: [(&str, &str); 5] = [
    ("pom.xml", "ottla-parent"),
    ("ottla/pom.xml", "ottla"),
    ("ottla-kafka-clients/pom.xml", "ottla-kafka-clients"),
    ("ottla-kotlin/pom.xml", "ottla-kotlin"),
    ("ottla-testing/pom.xml", "ottla-testing"),
];
/// The modules that have tests.
const TESTED: [&str; 2] = ["tests", "ottla-kotlin"];
/// From this release on Java warns of native libraries that nobody has allowed.
const WARNS_OF_NATIVES: u32 = 24;

/// Builds the jars, with the library and the program for this machine in them, and puts them into `target/packages/java/lib`
/// with what they and their tests need.
pub fn package(profile: &str) -> anyhow::Result<()> {
    let jdk = jdk(RELEASES[0]).with_context(|| missing(RELEASES[0]))?;
    natives(&Build::here(profile)?)?;
    maven(&jdk, &["-DskipTests", "package"], "building the jars")?;
    runner(&jdk)
}

/// Builds the jars, with those of their sources and documents, of the libraries and programs that lie in `built` for each platform;
/// answers them all.
pub fn assemble(built: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let jdk = jdk(RELEASES[0]).with_context(|| missing(RELEASES[0]))?;
    let built = format!("-Dottla.built={}", built.display());
    // Without what an earlier build has left.
    maven(&jdk, &[&built, "-DskipTests", "-Prelease", "clean", "package"], "building the jars")?;
    let mut jars = Vec::new();
    for module in PUBLISHED {
        for entry in std::fs::read_dir(tree::path("java").join(module).join("target"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "jar") {
                jars.push(path);
            }
        }
    }
    jars.sort();
    Ok(jars)
}

/// Builds a load of the bench against jars built as the other loads are; answers its class path.
pub fn build_load(source: &Path, directory: &Path) -> anyhow::Result<String> {
    package("release")?;
    let jdk = jdk(RELEASES[0]).with_context(|| missing(RELEASES[0]))?;
    let (classes, jars) = (directory.join("load-ottla-java"), tree::path(BUILT).join("lib/*"));
    compile(&jdk, source, &classes, &jars)?;
    Ok(format!("{}:{}", classes.display(), jars.display()))
}

/// Builds the jars, and runs their tests on each release of Java.
pub fn lane(run: &Run) -> anyhow::Result<Tally> {
    let Some(oldest) = jdk(RELEASES[0]) else { return Ok(run.missing(&missing(RELEASES[0]))) };
    if !has_maven() {
        return Ok(run.missing("Maven (`mvn`)"));
    }
    natives(&Build::here(TEST_PROFILE)?)?;
    let mut tally = Tally::default();
    for release in RELEASES {
        let Some(jdk) = jdk(release) else {
            let of_this = run.missing(&missing(release));
            tally.failed += of_this.failed;
            tally.skipped += of_this.skipped;
            continue;
        };
        // Compiled by the oldest, run by each. The jars are built, with their documents, before the tests.
        let java = format!("-Djvm={}", jdk.join("bin/java").display());
        let mut args = vec![java.as_str(), "-Dmaven.test.failure.ignore=true", "verify"];
        if release == RELEASES[0] {
            args.push("-Prelease");
        }
        if release >= WARNS_OF_NATIVES {
            args.push("-Dottla.jvm.arguments=--enable-native-access=ALL-UNNAMED");
        }
        let reports = TESTED.map(|module| tree::path("java").join(module).join("target/surefire-reports"));
        for reports in &reports {
            let _ = std::fs::remove_dir_all(reports);
        }
        maven(&oldest, &args, &format!("building and testing with Java {release}"))?;
        let mut counted = Tally::default();
        reports.iter().try_for_each(|reports| count(reports, &mut counted))?;
        println!(
            "Java {release}: {} passed, {} failed, {} skipped",
            counted.passed, counted.failed, counted.skipped
        );
        ensure!(counted.passed + counted.failed > 0, "no test was run with Java {release}");
        tally.passed += counted.passed;
        tally.failed += counted.failed;
        tally.skipped += counted.skipped;
    }
    runner(&oldest)?;
    Ok(tally)
}

/// Runs the tests of `bindings/uniffi` in Kotlin, over the library that cargo builds.
pub fn uniffi_lane(run: &Run) -> anyhow::Result<Tally> {
    let Some(jdk) = jdk(RELEASES[0]) else { return Ok(run.missing(&missing(RELEASES[0]))) };
    if !has_maven() {
        return Ok(run.missing("Maven (`mvn`)"));
    }
    let build = Build::here(TEST_PROFILE)?;
    build.cargo(&["ottla-uniffi", "ottla-cli"])?;
    put(&build, NATIVES[1], &build.platform.program("ottla"))?;
    let module = "../bindings/uniffi/kotlin";
    let reports = tree::path("java").join(module).join("target/surefire-reports");
    let _ = std::fs::remove_dir_all(&reports);
    let library = format!("-Dottla.uniffi.library={}", build.built().display());
    let args = ["-Puniffi", "-pl", module, "-am", &library, "-Dmaven.test.failure.ignore=true", "verify"];
    maven(&jdk, &args, "building and testing the sources by UniFFI")?;
    let mut tally = Tally::default();
    count(&reports, &mut tally)?;
    ensure!(tally.passed + tally.failed > 0, "no test was run");
    Ok(tally)
}

/// Whether the jars can be built here.
pub fn is_ready() -> bool {
    jdk(RELEASES[0]).is_some() && has_maven()
}

fn has_maven() -> bool {
    Command::new("mvn").arg("--version").output().is_ok()
}

/// Runs a program of one source file against the jars that [`package`] has put there.
pub fn run_source(source: &Path) -> anyhow::Result<Command> {
    let jdk = jdk(RELEASES[0]).with_context(|| missing(RELEASES[0]))?;
    let mut java = Command::new(jdk.join("bin/java"));
    java.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
        .arg("-cp")
        .arg(tree::path(BUILT).join("lib/*"))
        .arg(source);
    Ok(java)
}

/// A JDK of this release: the one that `JAVA_HOME_<release>` names (as CI's set-up has it: also `JAVA_HOME_<release>_X64`), or
/// `JAVA_HOME`, or one where systems have them.
pub fn jdk(release: u32) -> Option<PathBuf> {
    let named = [format!("JAVA_HOME_{release}"), format!("JAVA_HOME_{release}_X64"), "JAVA_HOME".to_owned()];
    let named = named.iter().filter_map(std::env::var_os).map(PathBuf::from);
    let installed = ["/usr/lib/jvm", "/opt/java", "/Library/Java/JavaVirtualMachines"]
        .into_iter()
        .filter_map(|at| std::fs::read_dir(at).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .flat_map(|path| [path.join("Contents/Home"), path]);
    named.chain(installed).find(|home| is_jdk(home, release))
}

/// A JDK says what it is in its file `release`.
fn is_jdk(home: &Path, release: u32) -> bool {
    let Ok(text) = std::fs::read_to_string(home.join("release")) else { return false };
    let version = text.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=\""));
    let is_it = version.is_some_and(|version| {
        version.split(['.', '"', '-', '+']).next().and_then(|major| major.parse().ok()) == Some(release)
    });
    is_it && home.join("bin/javac").exists()
}

fn missing(release: u32) -> String {
    format!("a JDK {release}; `JAVA_HOME_{release}` names one")
}

/// Builds what is Rust in the jars; answers the folder that has it.
pub fn natives(build: &Build) -> anyhow::Result<PathBuf> {
    build.cargo(&["ottla-java", "ottla-cli"])?;
    let platform = build.platform;
    let built = build.out().join("java");
    put(build, NATIVES[0], &platform.library("ottla_java"))?;
    put(build, NATIVES[1], &platform.program("ottla"))?;
    Ok(built)
}

/// Puts what cargo has built below the folder of the jars, into one for its platform.
fn put(build: &Build, below: &str, name: &str) -> anyhow::Result<()> {
    let below = build.out().join("java").join(below);
    // Of no platform but this one, whatever was here before.
    let _ = std::fs::remove_dir_all(&below);
    let directory = below.join(build.platform.maven());
    std::fs::create_dir_all(&directory)?;
    std::fs::copy(build.built().join(name), directory.join(name))
        .with_context(|| format!("putting `{name}` into the jars"))?;
    Ok(())
}

fn maven(jdk: &Path, args: &[&str], what: &str) -> anyhow::Result<()> {
    let status = Command::new("mvn")
        .args(["-B", "-ntp", "-q"])
        .args(args)
        .env("JAVA_HOME", jdk)
        .current_dir(tree::path("java"))
        .status()
        .context("running `mvn`")?;
    ensure!(status.success(), "{what} failed: {status}");
    Ok(())
}

/// Builds the runner of `tests/conformance` against the jars.
fn runner(jdk: &Path) -> anyhow::Result<()> {
    let built = tree::path(BUILT);
    compile(
        jdk,
        &tree::path("tests/conformance/runners/java/Runner.java"),
        &built.join("runner"),
        &built.join("lib/*"),
    )
}

fn compile(jdk: &Path, source: &Path, classes: &Path, jars: &Path) -> anyhow::Result<()> {
    let status = Command::new(jdk.join("bin/javac"))
        .args(["--release", "17", "-Xlint:all,-path", "-Werror", "-proc:none", "-d"])
        .arg(classes)
        .arg("-cp")
        .arg(jars)
        .arg("-sourcepath")
        .arg(source.parent().context("a file is in a directory")?)
        .arg(source)
        .status()
        .context("running `javac`")?;
    ensure!(status.success(), "`{}` does not build", source.display());
    Ok(())
}

/// Counts what Surefire has written: a file of XML for each class, whose head has the numbers.
fn count(reports: &Path, tally: &mut Tally) -> anyhow::Result<()> {
    let Ok(entries) = std::fs::read_dir(reports) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "xml") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let head =
            text.split_once("<testsuite ").map_or("", |(_, rest)| rest.split('>').next().unwrap_or_default());
        add(tally, head);
    }
    Ok(())
}

/// Adds `... tests="20" errors="1" skipped="0" failures="2" ...`.
fn add(tally: &mut Tally, head: &str) {
    let number = |name: &str| -> usize {
        let value = head.split_once(&format!(" {name}=\"")).and_then(|(_, rest)| rest.split('"').next());
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    let (failed, skipped) = (number("errors") + number("failures"), number("skipped"));
    tally.failed += failed;
    tally.skipped += skipped;
    tally.passed += number("tests").saturating_sub(failed + skipped);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surefires_numbers_are_counted() {
        let mut tally = Tally::default();
        let head =
            r#"xmlns:xsi="x" name="dev.ottla.T" time="1.5" tests="20" errors="1" skipped="3" failures="2""#;
        add(&mut tally, head);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (14, 3, 3));
    }
}
