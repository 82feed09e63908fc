//! What goes wrong, as an exception: a class for what a program may do about it, and in each the same facts.

use std::fmt;

use ottla_bindings::{
    BindingError,
    error::{
        ABORTABLE, AUTHENTICATION, CANCELLED, CLOSED, CONFIG, FATAL, FORKED, INVALID_ARG, TIMEOUT, TLS,
        TRANSPORT, UNKNOWN_SERVER,
    },
};

/// What went wrong. Each of its classes has the same facts, an [`ErrorInfo`].
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Error)]
pub enum OttlaError {
    /// A setting or an argument is wrong: correct it.
    Config {
        /// The facts.
        info: ErrorInfo,
    },
    /// No secure connection, or the broker does not let this client log in.
    Security {
        /// The facts.
        info: ErrorInfo,
    },
    /// It was not done in its time; the same call may succeed later.
    Timeout {
        /// The facts.
        info: ErrorInfo,
    },
    /// A connection could not be made, or ended before the answer came; the same call may succeed later.
    Connection {
        /// The facts.
        info: ErrorInfo,
    },
    /// The client was shut down, or let go before this was done.
    Closed {
        /// The facts.
        info: ErrorInfo,
    },
    /// A broker has refused it, by one of Kafka's codes.
    Broker {
        /// The facts.
        info: ErrorInfo,
    },
    /// All else, of which the client knows by itself: a record too large, a commit after the partition was given to another.
    Client {
        /// The facts.
        info: ErrorInfo,
    },
}

/// The facts of an error: the same in every language. `docs/guide/errors.md` has them all.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct ErrorInfo {
    /// Above zero Kafka's code, as a broker gave it; below zero what is local.
    pub code: i32,
    /// The code's name: `UNKNOWN_TOPIC_OR_PARTITION`, `CONFIG`.
    pub name: String,
    /// What failed, where, why.
    pub detail: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
    /// The same call may succeed later, unchanged.
    pub retriable: bool,
    /// Nothing helps before a person acted.
    pub fatal: bool,
    /// The transaction must be aborted; then the producer can go on.
    pub abortable: bool,
}

impl OttlaError {
    /// The facts.
    pub fn info(&self) -> &ErrorInfo {
        match self {
            Self::Config { info }
            | Self::Security { info }
            | Self::Timeout { info }
            | Self::Connection { info }
            | Self::Closed { info }
            | Self::Broker { info }
            | Self::Client { info } => info,
        }
    }
}

impl From<BindingError> for OttlaError {
    fn from(error: BindingError) -> Self {
        let has = |flag| error.flags & flag != 0;
        let info = ErrorInfo {
            code: error.code,
            name: error.name.to_owned(),
            retriable: error.is_retriable(),
            fatal: has(FATAL),
            abortable: has(ABORTABLE),
            detail: error.message,
            hint: error.hint,
        };
        match info.code {
            1.. | UNKNOWN_SERVER => Self::Broker { info },
            CONFIG | INVALID_ARG => Self::Config { info },
            TLS | AUTHENTICATION => Self::Security { info },
            TIMEOUT => Self::Timeout { info },
            TRANSPORT => Self::Connection { info },
            CLOSED | CANCELLED | FORKED => Self::Closed { info },
            _ => Self::Client { info },
        }
    }
}

impl fmt::Display for OttlaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.info();
        f.write_str(&info.detail)?;
        info.hint.iter().try_for_each(|hint| write!(f, "; {hint}"))
    }
}

impl std::error::Error for OttlaError {}
