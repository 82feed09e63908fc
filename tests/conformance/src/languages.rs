//! The languages, each with the command that runs its runner: over its package as it is installed, not over our sources.

use std::process::Command;

use ottla_interop::{Missing, path};

/// A language that has a runner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Language {
    /// The crate `ottla`.
    Rust,
    /// The package `ottla` from its wheel.
    Python,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Rust, Self::Python];

    /// Its name, in tests' names and exclusions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
        }
    }

    /// Its runner. That of Rust, `rust`, is built with the test.
    ///
    /// # Errors
    ///
    /// [`Missing`] if its package is not installed: `cargo xtask package` does that.
    pub fn runner(self, rust: &str) -> anyhow::Result<Command> {
        match self {
            Self::Rust => Ok(Command::new(rust)),
            Self::Python => {
                let python = path("target/packages/python/bin/python");
                if !python.exists() {
                    return Err(Missing(
                        "the package for Python is not installed: `cargo xtask package`".into(),
                    )
                    .into());
                }
                let mut command = Command::new(python);
                command.arg(path("tests/conformance/runners/runner.py"));
                Ok(command)
            }
        }
    }
}
