//! What is wrong with a configuration, all of it at once.

use std::fmt;

use crate::{Invalid, Source};

/// Everything that is wrong, in the order of the sources. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub(crate) Vec<ConfigError>);

impl ConfigErrors {
    /// The errors one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    /// One line for each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it was written.
    pub source: Source,
    /// The key as it was written; empty if the error is not about a key.
    pub key: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No such key.
    Unknown {
        /// The nearest key, if one is near; in snake case if the unknown one was.
        suggestion: Option<String>,
    },
    /// The value is not of the type or out of range.
    Invalid(Invalid),
    /// The same source sets the key under two names, to two values.
    Conflict {
        /// The other name.
        other: String,
        /// Where that is.
        other_source: Source,
    },
    /// The key has no default and was not set.
    Missing,
    /// The line, variable or flag cannot be read.
    Syntax(String),
    /// The file cannot be read.
    Unreadable(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, key, problem } = self;
        match problem {
            Problem::Unknown { suggestion: None } => write!(f, "{source}: unknown key `{key}`"),
            Problem::Unknown { suggestion: Some(near) } => {
                write!(f, "{source}: unknown key `{key}`; did you mean `{near}`?")
            }
            Problem::Invalid(invalid) => write!(f, "{source}: `{key}`: {invalid}"),
            Problem::Conflict { other, other_source } => write!(
                f,
                "{source}: `{key}` is the same setting as `{other}` ({other_source}), with another value; keep one"
            ),
            Problem::Missing => write!(f, "`{key}` is not set and has no default"),
            Problem::Syntax(what) => write!(f, "{source}: {what}"),
            Problem::Unreadable(what) => {
                let name = if let Source::File { name, .. } = source { name } else { "" };
                write!(f, "`{name}` cannot be read: {what}")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// A setting that is accepted and does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where it was written.
    pub source: Source,
    /// The key as it was written.
    pub key: String,
    /// Why it does nothing, or what to do instead.
    pub why: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}` has no effect: {}", self.source, self.key, self.why)
    }
}
