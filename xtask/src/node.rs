//! The tests of the packages for Node, over what users install.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use crate::{
    npm, package,
    platform::TEST_PROFILE,
    test::{Run, Tally},
    tree,
};

/// Builds and installs the packages, compiles the tests against them, which proves their types, and runs them.
pub fn lane(run: &Run) -> anyhow::Result<Tally> {
    if let Some(missing) = npm::missing() {
        return Ok(run.missing(missing));
    }
    package::node(TEST_PROFILE, true)?;
    let mut tally = Tally::default();
    let mut count = |passed: bool| match passed {
        true => tally.passed += 1,
        false => tally.failed += 1,
    };
    let tests = compile_tests()?;
    let is_compiled = tests.is_some();
    count(is_compiled);
    count(run_tsd()?);
    if let Some(tests) = tests {
        count(run_tests(&tests)?);
    }
    Ok(tally)
}

/// The tests, compiled beside the installed package; nothing if a type is wrong.
fn compile_tests() -> anyhow::Result<Option<PathBuf>> {
    let at = npm::installed();
    copy_sources(&tree::path("node/test"), &at.join("test"))?;
    for entry in fs::read_dir(tree::path("examples"))? {
        let example = entry?;
        let source = example.path().join("node");
        if source.is_dir() {
            copy_sources(&source, &at.join("examples").join(example.file_name()))?;
        }
    }
    let status = Command::new(npm::tool("tsc"))
        .args(["--project", "test/tsconfig.json", "--typeRoots"])
        .arg(tree::path("node/node_modules/@types"))
        .current_dir(&at)
        .status()
        .context("running `tsc`")?;
    Ok(status.success().then(|| at.join("built")))
}

/// Every type that the package gives, as `test/types.test-d.ts` wants it.
fn run_tsd() -> anyhow::Result<bool> {
    let status = Command::new(npm::tool("tsd"))
        .args(["--typings", "dist/index.d.ts", "--files", "test/types.test-d.ts"])
        .current_dir(tree::path("node"))
        .status()
        .context("running `tsd`")?;
    Ok(status.success())
}

fn run_tests(built: &Path) -> anyhow::Result<bool> {
    let mut files = Vec::new();
    for entry in fs::read_dir(built.join("test"))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".test.js") {
            files.push(path);
        }
    }
    files.sort();
    let status = Command::new("node")
        .args(["--test", "--test-reporter=spec"])
        .args(files)
        .env("NODE_PATH", tree::path("node/node_modules"))
        .env("OTTLA_TEST_TOKENS", tree::path("tests/tokens"))
        .current_dir(npm::installed())
        .status()
        .context("running `node --test`")?;
    Ok(status.success())
}

fn copy_sources(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let is_source = path.is_file() && !path.to_string_lossy().ends_with(".test-d.ts");
        if let Some(name) = path.file_name().filter(|_| is_source) {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
