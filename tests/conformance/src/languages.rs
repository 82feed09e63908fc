//! The languages, each with the command that runs its runner: over its package as it is installed, not over our sources.

use std::{path::PathBuf, process::Command};

use ottla_interop::{Missing, path};

/// A language that has a runner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Language {
    /// The crate `ottla`.
    Rust,
    /// The C interface.
    C,
    /// The package `ottla` from its wheel.
    Python,
    /// The package `ottla` from npm's archives.
    Node,
    /// `dev.ottla` from its jars.
    Java,
    /// The package `Ottla` for .NET.
    Dotnet,
    /// The package `ottla` for Ruby.
    Ruby,
    /// The package `ottla/ottla` for PHP.
    Php,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Rust, Self::C, Self::Python, Self::Node, Self::Java, Self::Dotnet, Self::Ruby, Self::Php];

    /// Its name, in tests' names and exclusions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::Python => "python",
            Self::Node => "node",
            Self::Java => "java",
            Self::Dotnet => "dotnet",
            Self::Ruby => "ruby",
            Self::Php => "php",
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
            // Built by the stage `libottla` of `cargo xtask test`, against what it installed.
            Self::C => Ok(Command::new(installed("target/c/conformance-runner")?)),
            Self::Python => {
                let mut command = Command::new(installed("target/packages/python/bin/python")?);
                command.arg(path("tests/conformance/runners/runner.py"));
                Ok(command)
            }
            Self::Node => {
                installed("target/packages/node/node_modules/ottla")?;
                let mut command = Command::new("node");
                command
                    .env("NODE_PATH", path("target/packages/node/node_modules"))
                    .arg(path("tests/conformance/runners/runner.cjs"));
                Ok(command)
            }
            // Built by `cargo xtask package`, against the jars that it has put there.
            Self::Java => {
                let classes = installed("target/packages/java/runner")?;
                let jars = installed("target/packages/java/lib")?.join("*");
                let mut command = Command::new("java");
                // Lives for seconds: what makes a long life quick makes a short one slow.
                command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]);
                command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]);
                command.arg(format!("{}:{}", classes.display(), jars.display())).arg("Runner");
                Ok(command)
            }
            Self::Dotnet => Ok(Command::new(installed("target/packages/dotnet/programs/Runner/run")?)),
            Self::Ruby => {
                let mut command = Command::new("ruby");
                command.arg("-I").arg(installed("target/packages/ruby/lib")?);
                command.arg(path("tests/conformance/runners/runner.rb"));
                Ok(command)
            }
            Self::Php => {
                let package = installed("target/packages/php")?;
                let mut command = Command::new("php");
                command.arg(path("tests/conformance/runners/runner.php")).arg(package);
                Ok(command)
            }
        }
    }
}

/// What `cargo xtask test` has put there.
fn installed(at: &str) -> anyhow::Result<PathBuf> {
    let program = path(at);
    match program.exists() {
        true => Ok(program),
        false => Err(Missing(format!("`{at}` is not there: run `cargo xtask test`")).into()),
    }
}
