//! The tests of the package for Python, over the wheel as users install it.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use crate::{
    package,
    platform::TEST_PROFILE,
    test::{Run, Tally},
    tree,
};

/// What is run over the installed wheel, from `python/tests`.
const TOOLS: [&[&str]; 4] = [
    &["-m", "pytest", "-q"],
    &["-m", "mypy", "--strict", "-p", "ottla"],
    &["-m", "mypy", "--strict", "."],
    // Whether the stubs say what the modules have.
    &[
        "-m",
        "mypy.stubtest",
        "ottla._ottla",
        "ottla.aio",
        "ottla.errors",
        "--ignore-missing-stub",
        "--ignore-disjoint-bases",
        "--allowlist",
        "stubtest.txt",
    ],
];
/// The release of pyright, from npm.
const PYRIGHT: &str = "pyright@1.1.407";

/// Builds and installs the wheel, and runs what tests it: pytest, and mypy and pyright over what it is typed with.
pub fn lane(run: &Run) -> anyhow::Result<Tally> {
    if let Some(missing) = package::missing_python() {
        return Ok(run.missing(missing));
    }
    package::python(TEST_PROFILE, true)?;
    let examples = examples()?;
    let mut lane = Lane { tally: Tally::default() };
    for tool in TOOLS {
        lane.step(Command::new(package::installed_python()).args(tool))?;
    }
    for example in &examples {
        // Examples have one name each, so each is looked at by itself.
        let mut mypy = Command::new(package::installed_python());
        lane.step(mypy.args(["-m", "mypy", "--strict"]).arg(example))?;
    }
    match pyright()? {
        Some(program) => {
            lane.step(Command::new(&program).arg("-p").arg(pyright_project(&examples)?))?;
            // Whether all of the package that is public has types, as others see it; it asks the first Python on the path.
            let mut verify = Command::new(&program);
            verify.args(["--verifytypes", "ottla", "--ignoreexternal"]).env("PATH", with_package()?);
            lane.step(&mut verify)?;
        }
        None => {
            let missing = run.missing(&format!("npm, which brings {PYRIGHT}"));
            lane.tally.failed += missing.failed;
            lane.tally.skipped += missing.skipped;
        }
    }
    Ok(lane.tally)
}

struct Lane {
    tally: Tally,
}

impl Lane {
    /// A tool that passes or fails. Not run from `python/`, where the sources would be found in place of the package.
    fn step(&mut self, command: &mut Command) -> anyhow::Result<()> {
        let status = command.current_dir(tree::path("python/tests")).status();
        match status.with_context(|| format!("{command:?}"))?.success() {
            true => self.tally.passed += 1,
            false => {
                println!("FAILED {command:?}");
                self.tally.failed += 1;
            }
        }
        Ok(())
    }
}

/// The examples in Python: of each task, and what other clients' programs were ported to.
fn examples() -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut look_in = |directory: &Path, program: &str| -> anyhow::Result<()> {
        for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
            let example = entry?.path().join(program);
            if example.is_file() {
                found.push(example);
            }
        }
        Ok(())
    };
    look_in(&tree::path("examples"), "python/main.py")?;
    look_in(&tree::path("examples/migrating"), "port.py")?;
    found.sort();
    Ok(found)
}

/// Pyright, installed once into `target/tools`; none where there is no npm.
fn pyright() -> anyhow::Result<Option<PathBuf>> {
    let at = tree::path("target/tools/pyright");
    let program = at.join("node_modules/.bin/pyright");
    if !program.exists() {
        fs::create_dir_all(&at)?;
        let npm = Command::new("npm")
            .args(["install", "--silent", "--no-save", "--no-audit", "--no-fund", "--prefix"])
            .arg(&at)
            .arg(PYRIGHT)
            .status();
        if !npm.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
    }
    Ok(Some(program))
}

/// What pyright looks at: the examples strictly, and the tests, which also try what is wrong, as usual. It takes paths from
/// where the file lies.
fn pyright_project(examples: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let directory = tree::path("target/pyright");
    fs::create_dir_all(&directory)?;
    let root = tree::path("");
    let quoted = |path: &Path| format!("{:?}", Path::new("../..").join(path).display().to_string());
    let examples: Vec<String> =
        examples.iter().map(|example| quoted(example.strip_prefix(&root).unwrap_or(example))).collect();
    let examples = examples.join(", ");
    let tests = quoted(Path::new("python/tests"));
    let text = format!(
        "{{\n  \"include\": [{tests}, {examples}],\n  \"strict\": [{examples}],\n  \"extraPaths\": [{tests}],\n  \
         \"venvPath\": \"../packages\",\n  \"venv\": \"python\"\n}}\n"
    );
    let project = directory.join("pyrightconfig.json");
    fs::write(&project, text).with_context(|| project.display().to_string())?;
    Ok(project)
}

/// The path, with the environment first that has the package installed.
fn with_package() -> anyhow::Result<OsString> {
    let installed = package::installed_python().parent().map(Path::to_path_buf);
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(installed.into_iter().chain(std::env::split_paths(&path)))?)
}
