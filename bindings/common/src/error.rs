//! The one error that all languages share, and its numbers.

mod table;

use std::{error, fmt};

use crate::core::{self, ErrorCode};

pub use self::table::{
    AUTHENTICATION, CANCELLED, CLOSED, COMMIT_FAILED, CONFIG, CORRUPT, FORKED, INVALID_ARG, LOCAL,
    LOG_TRUNCATED, LocalCode, MAX_POLL_EXCEEDED, NO_OFFSET, PANIC, QUEUE_FULL, RECORD_TOO_LARGE, TIMEOUT,
    TLS, TRANSPORT, UNKNOWN_SERVER, UNSUPPORTED,
};

/// The same call may succeed later, unchanged.
pub const RETRIABLE: u32 = 1;
/// Configuration or authorization is wrong: nothing helps before a person acted.
pub const FATAL: u32 = 2;
/// The transaction must be aborted; then the producer can go on.
pub const ABORTABLE: u32 = 4;

/// The result of a binding's calls.
pub type Result<T, E = BindingError> = std::result::Result<T, E>;

/// What went wrong, with all that a language needs to make its own error of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BindingError {
    /// Above zero Kafka's code, as a broker gave it; below zero what is local, by [`LOCAL`].
    pub code: i32,
    /// The code's name: `UNKNOWN_TOPIC_OR_PARTITION`, `QUEUE_FULL`.
    pub name: &'static str,
    /// [`RETRIABLE`], [`FATAL`], [`ABORTABLE`].
    pub flags: u32,
    /// What failed, where, why.
    pub message: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
}

impl BindingError {
    /// A local error of this code.
    pub fn local(code: i32, message: impl Into<String>) -> Self {
        let flags = match code {
            QUEUE_FULL | TIMEOUT | TRANSPORT => RETRIABLE,
            CONFIG | UNSUPPORTED | TLS | AUTHENTICATION => FATAL,
            _ => 0,
        };
        Self { code, name: name(code), flags, message: message.into(), hint: None }
    }

    /// Says what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An argument that will not do.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::local(INVALID_ARG, message)
    }

    /// It was not done in its time.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::local(TIMEOUT, message)
    }

    /// Nobody waits for it any more.
    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::local(CANCELLED, message)
    }

    /// The client was closed.
    pub fn closed() -> Self {
        Self::local(CLOSED, "the client is closed")
    }

    /// The handle was made by a parent of this process.
    pub fn forked() -> Self {
        Self::local(FORKED, "the client was made before this process was forked")
            .hint("make clients after the fork, in the process that uses them")
    }

    /// A bug of ours.
    pub fn panicked(message: &str) -> Self {
        Self::local(PANIC, format!("a bug in ottla: {message}"))
            .hint("report it; make a new client to go on, as this one is of no more use")
    }

    /// Whether the same call may succeed later, unchanged.
    pub fn is_retriable(&self) -> bool {
        self.flags & RETRIABLE != 0
    }
}

/// The name of a code; `UNKNOWN` for a broker's that this release does not know.
pub fn name(code: i32) -> &'static str {
    match code {
        0 => "OK",
        1.. => known(code).and_then(ErrorCode::name).unwrap_or("UNKNOWN"),
        _ => LOCAL.iter().find(|local| local.code == code).map_or("UNKNOWN", |local| local.name),
    }
}

/// What a code means, in a few words.
pub fn meaning(code: i32) -> &'static str {
    match code {
        0 => "it went well",
        1.. => known(code).map_or("an error of a newer protocol", ErrorCode::meaning),
        _ => LOCAL
            .iter()
            .find(|local| local.code == code)
            .map_or("an error of a newer library", |local| local.meaning),
    }
}

fn known(code: i32) -> Option<ErrorCode> {
    i16::try_from(code).ok().map(ErrorCode)
}

impl From<&core::Error> for BindingError {
    fn from(error: &core::Error) -> Self {
        let code = error.kind().number();
        let is_abortable = error.code().is_some_and(|code| code == ErrorCode::TRANSACTION_ABORTABLE);
        let flags = [(error.is_retriable(), RETRIABLE), (error.is_fatal(), FATAL), (is_abortable, ABORTABLE)];
        let flags = flags.into_iter().filter(|(is_so, _)| *is_so).map(|(_, flag)| flag).sum();
        let hint = error.what_to_do().map(str::to_owned);
        let message = error.what_happened();
        Self { code, name: name(code), flags, message, hint }
    }
}

impl From<core::Error> for BindingError {
    fn from(error: core::Error) -> Self {
        Self::from(&error)
    }
}

impl fmt::Display for BindingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl error::Error for BindingError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Admin, config::AdminConfig};

    #[test]
    fn every_code_has_a_name_and_a_meaning_and_no_two_share_a_number() {
        let mut codes: Vec<i32> = LOCAL.iter().map(|local| local.code).collect();
        codes.extend(ErrorCode::ALL.iter().map(|code| i32::from(code.0)).filter(|code| *code > 0));
        for &code in &codes {
            assert_ne!(name(code), "UNKNOWN", "{code}");
            assert!(!meaning(code).starts_with("an error of a newer"), "{code}");
        }
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
        assert_eq!(
            (name(3), name(-3), name(30_000)),
            ("UNKNOWN_TOPIC_OR_PARTITION", "QUEUE_FULL", "UNKNOWN")
        );
    }

    #[test]
    fn an_error_of_the_core_keeps_its_text_and_its_hint_apart() {
        let config = AdminConfig { bootstrap_servers: vec!["nowhere".into()], ..Default::default() };
        let error = Admin::new(config).unwrap_err();
        let told = BindingError::from(&error);
        assert_eq!((told.code, told.name, told.flags), (CONFIG, "CONFIG", FATAL));
        assert_eq!(told.to_string(), error.to_string());
    }
}
