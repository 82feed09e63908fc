//! The languages, each with the command that runs its runner: over its package as it is installed, not over our sources.

use std::process::Command;

/// A language that has a runner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Language {
    /// The crate `ottla`.
    Rust,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Rust];

    /// Its name, in tests' names and exclusions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
        }
    }

    /// Its runner. That of Rust, `rust`, is built with the test.
    ///
    /// # Errors
    ///
    /// [`ottla_interop::Missing`] if its package is not installed: `cargo xtask test` does that.
    pub fn runner(self, rust: &str) -> anyhow::Result<Command> {
        match self {
            Self::Rust => Ok(Command::new(rust)),
        }
    }
}
