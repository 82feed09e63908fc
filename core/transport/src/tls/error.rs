//! Why TLS could not be set up.

use std::{fmt, io, path::PathBuf};

/// What is wrong with a store, or with what is in it. Says nothing of passwords and keys.
#[derive(Debug)]
pub enum TlsError {
    /// The file cannot be read.
    File(PathBuf, io::Error),
    /// What is there is not written as it should be.
    Unreadable {
        /// Which store.
        store: &'static str,
        /// What was found.
        why: String,
    },
    /// There is nothing of that kind in it.
    Missing {
        /// Which store.
        store: &'static str,
        /// Of what there is nothing.
        what: &'static str,
    },
    /// The password opens nothing.
    Password(&'static str),
    /// Certificate and key, or the versions, do not go together.
    Setup(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "`{}` cannot be read: {error}", path.display()),
            Self::Unreadable { store, why } => write!(f, "the {store} store cannot be read: {why}"),
            Self::Missing { store, what } => write!(f, "the {store} store has no {what}"),
            Self::Password(store) => write!(f, "the password does not open the {store} store"),
            Self::Setup(error) => write!(f, "TLS cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(_, error) => Some(error),
            Self::Setup(error) => Some(error),
            _ => None,
        }
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Setup(error)
    }
}
