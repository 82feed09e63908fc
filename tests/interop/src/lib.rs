//! What tests against other people's programs need: those programs, and brokers to run them against.
//!
//! All of it is fetched once, into `target/interop/`, by the versions that a `pom.xml` pins. What cannot be had, for
//! want of a JDK, of Maven or of a network, is [`Missing`]: a test then skips itself, loudly, with [`or_skip`].

pub mod broker;
pub mod cluster;
pub mod java;
pub mod kafka;
mod nobody;
pub mod peers;
pub mod program;
pub mod record;
pub mod tls;
pub mod tokens;
pub mod wire;

pub use nobody::Nobody;

use std::{
    fmt, fs,
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;

/// The setting with which every broker here starts: tests write records of long ago, and half a minute after its start a broker looks
/// for what is too old.
const KEPT: (&str, &str) = ("log.retention.ms", "-1");

/// Something that a test needs and this machine does not have.
#[derive(Debug)]
pub struct Missing(pub String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// What a test needs, or `None` if the test is to be left out since it is [`Missing`].
///
/// A test left out is named in the file `OTTLA_SKIPPED`, by which `cargo xtask test` counts it.
///
/// # Panics
///
/// If the thing is there and does not work; and if it is missing while `OTTLA_REQUIRE_ALL` is set, as in CI.
pub fn or_skip<T>(needed: anyhow::Result<T>) -> Option<T> {
    let error = match needed {
        Ok(there) => return Some(there),
        Err(error) => error,
    };
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(skip(&test, &error), "{test}: {error:#}");
    None
}

/// Whether `test`, which failed by `error`, may be left out; then it is noted as [`or_skip`] says.
pub fn skip(test: &str, error: &anyhow::Error) -> bool {
    let missing = error.downcast_ref::<Missing>().is_some();
    if !missing || std::env::var_os("OTTLA_REQUIRE_ALL").is_some() {
        return false;
    }
    let line = format!("{test}: {error:#}\n");
    let noted = std::env::var_os("OTTLA_SKIPPED").is_some_and(|path| {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).is_ok()
    });
    if !noted {
        // By the handle, so that it is seen although the test passes.
        let _ = write!(std::io::stderr(), "SKIPPED: {line}");
    }
    true
}

/// A path from the repository's root.
pub fn path(relative: impl AsRef<Path>) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).join(relative)
}

/// The directory `target/interop/<name>`, made by `make` if it is not there.
///
/// It appears whole or not at all: `make` fills another one, which is then renamed. Of several processes one makes
/// it, the others wait.
fn made_once(name: &str, make: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<PathBuf> {
    let root = path("target/interop");
    let (whole, partial) = (root.join(name), root.join(format!("{name}.partial")));
    if whole.exists() {
        return Ok(whole);
    }
    fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
    let lock = File::create(root.join(format!("{name}.lock")))?;
    lock.lock().context("locking target/interop")?;
    if !whole.exists() {
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        fs::create_dir_all(&partial)?;
        make(&partial)?;
        fs::rename(&partial, &whole)?;
    }
    Ok(whole)
}
