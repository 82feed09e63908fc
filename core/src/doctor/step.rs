//! What is told of a step.

use std::time::Duration;

use ottla_transport::Diagnosis;

/// A step of the way, done or not.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which: `dns`, `tcp`, `tls`, `versions`, `sasl`, `metadata`, `advertised`.
    pub name: &'static str,
    /// Where: the address as it is configured, or advertised.
    pub target: String,
    /// How it went.
    pub outcome: Outcome,
    /// What was found, by name. No secret is among it.
    pub found: Vec<(&'static str, String)>,
    /// How long it took.
    pub took: Duration,
}

/// How a step went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Well.
    Well,
    /// Not well: why, and what to do about it.
    Wrong(Diagnosis),
    /// It was not tried, for this reason.
    NotTried(String),
}

impl Step {
    /// A step that takes no time, and what it found.
    pub fn well(name: &'static str, target: impl Into<String>, found: impl Into<String>) -> Self {
        let found = vec![("", found.into())];
        Self { name, target: target.into(), outcome: Outcome::Well, found, took: Duration::ZERO }
    }

    /// A step that went wrong.
    pub fn wrong(name: &'static str, target: impl Into<String>, diagnosis: Diagnosis) -> Self {
        let outcome = Outcome::Wrong(diagnosis);
        Self { name, target: target.into(), outcome, found: Vec::new(), took: Duration::ZERO }
    }

    /// A step that was not tried.
    pub fn not_tried(name: &'static str, target: impl Into<String>, why: impl Into<String>) -> Self {
        let outcome = Outcome::NotTried(why.into());
        Self { name, target: target.into(), outcome, found: Vec::new(), took: Duration::ZERO }
    }

    /// As it is, having taken this long.
    #[must_use]
    pub fn after(self, took: Duration) -> Self {
        Self { took, ..self }
    }
}
