//! The tests of the package for Python, over the wheel as users install it.

use std::process::Command;

use crate::{
    package,
    test::{Run, Tally},
    tree,
};

/// What is run over the installed wheel. Examples have one name each, so each is looked at by itself.
const TOOLS: [&[&str]; 6] = [
    &["-m", "pytest", "-q"],
    &["-m", "mypy", "--strict", "-p", "ottla"],
    &["-m", "mypy", "--strict", "."],
    &["-m", "mypy", "--strict", "../../examples/first_producer/python/main.py"],
    &["-m", "mypy", "--strict", "../../examples/first_consumer/python/main.py"],
    &["-m", "mypy", "--strict", "../../examples/group/python/main.py"],
];

/// Builds and installs the wheel, and runs what tests it: pytest, and mypy over what it is typed with.
pub fn lane(run: &Run) -> anyhow::Result<Tally> {
    if !package::has_python() {
        return Ok(run.missing("Python 3.10 or later (`python3`) with `venv`"));
    }
    package::python("ci", true)?;
    let mut tally = Tally::default();
    for tool in TOOLS {
        // Not from `python/`, where the sources would be found in place of the package.
        let status = Command::new(package::installed_python())
            .args(tool)
            .current_dir(tree::path("python/tests"))
            .status()?;
        match status.success() {
            true => tally.passed += 1,
            false => tally.failed += 1,
        }
    }
    Ok(tally)
}
