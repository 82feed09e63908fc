//! What the tests with peers share: brokers to test against, and the peers themselves.
//!
//! A peer that is not there is skipped, loudly: [`skip`] notes it for the closing line of `cargo xtask test`, or
//! fails where everything is required.

pub mod broker;
pub mod peers;
pub mod program;
pub mod record;
pub mod wire;

use std::io::Write;

/// Notes that a test is skipped for want of `what`. Fails instead if `OTTLA_REQUIRE_ALL` is set, as in CI.
///
/// # Panics
///
/// If everything is required.
pub fn skip(what: &str) {
    assert!(std::env::var_os("OTTLA_REQUIRE_ALL").is_none(), "missing, and everything is required: {what}");
    println!("SKIPPED: {what}");
    if let Some(path) = std::env::var_os("OTTLA_SKIPPED") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| writeln!(file, "{what}")).expect("the list of skipped tests can be written");
    }
}
