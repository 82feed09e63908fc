//! What a failure means, and what to do about it: from facts to words. Does no I/O.
//!
//! The client's errors and `ottla doctor` both say what is said here. The doctor knows more, as it knocks at the port in other
//! ways, too: what it found is one fact more ([`Speaks`]).

use std::{fmt, io};

use crate::{Cause, FrameError, tls, transport_error::ANSWERS_TO_ANYBODY_MAX};

/// Bytes of a stranger's first words that are shown.
pub(crate) const FIRST_BYTES_SHOWN_MAX: usize = 32;

/// Why something does not work, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diagnosis {
    /// What is wrong.
    pub cause: String,
    /// What to do about it; `None` where nobody can tell.
    pub fix: Option<String>,
}

impl Diagnosis {
    /// What is wrong, and what to do about it.
    pub fn new(cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { cause: cause.into(), fix: Some(fix.into()) }
    }

    /// What is wrong, where nobody can tell what to do.
    pub fn of(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), fix: None }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)?;
        match &self.fix {
            Some(fix) => write!(f, "; {fix}"),
            None => Ok(()),
        }
    }
}

/// A span of time as people say it: `90 s`, `15 minutes`, `26 hours`, `3 days`.
pub fn in_words(seconds: u64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / (60 * 60)),
        _ => format!("{} days", seconds / (24 * 60 * 60)),
    }
}

/// What a port answers to, found by knocking in another way than the one that failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Speaks {
    /// Kafka's protocol, in plain text.
    Kafka,
    /// TLS.
    Tls,
    /// HTTP.
    Http,
    /// Something else, which begins so.
    Other(Vec<u8>),
    /// It takes connections, and says nothing.
    Nothing,
}

/// What a failure of a connection to `peer` means; `speaks` is what the port was found to answer to, if anybody looked.
pub(crate) fn diagnose(peer: &str, cause: &Cause, speaks: Option<&Speaks>) -> Diagnosis {
    match speaks {
        Some(Speaks::Kafka) if is_of_tls(cause) => Diagnosis::new(
            format!("`{peer}` speaks Kafka's protocol in plain text, and this client TLS"),
            "set `security.protocol` to `PLAINTEXT` or `SASL_PLAINTEXT`, or use the broker's TLS port",
        ),
        Some(Speaks::Tls) if !is_of_tls(cause) => speaks_tls(peer),
        Some(Speaks::Http) => speaks_http(peer),
        Some(Speaks::Other(first)) => foreign(peer, first),
        Some(Speaks::Nothing) if is_silent(cause) => Diagnosis::new(
            format!("`{peer}` takes connections, and answers nothing"),
            "check host and port; if they are right, look whether the broker still works",
        ),
        _ => alone(peer, cause),
    }
}

/// What it means where nobody knocked in another way.
fn alone(peer: &str, cause: &Cause) -> Diagnosis {
    match cause {
        Cause::Unresolved(error) => Diagnosis::new(
            format!("`{peer}` has no address ({error})"),
            "check the name, and that this machine's DNS knows it",
        ),
        Cause::NotConnected(error) if error.kind() == io::ErrorKind::ConnectionRefused => Diagnosis::new(
            format!("`{peer}` refused the connection"),
            "check that a broker runs there and listens on this port",
        ),
        Cause::NotConnected(error) => Diagnosis::new(
            format!("`{peer}` cannot be reached: {error}"),
            "check the address, and the network on the way to it",
        ),
        Cause::ConnectTimeout(time) => Diagnosis::new(
            format!("`{peer}` did not take the connection within {} ms", time.as_millis()),
            "check firewalls, and that the broker advertises an address that is reachable from here",
        ),
        Cause::Tls(error) => {
            let Diagnosis { cause, fix } = tls::diagnosis(error);
            Diagnosis { cause: format!("no TLS with `{peer}`: {cause}"), fix }
        }
        Cause::Handshake(error) => Diagnosis::new(
            format!("`{peer}` broke off the TLS handshake ({error})"),
            "the port may be one without TLS (`security.protocol=PLAINTEXT` or `SASL_PLAINTEXT`), or want a certificate of the \
             client",
        ),
        Cause::HandshakeTimeout(time) => Diagnosis::new(
            format!("`{peer}` did not answer the TLS handshake within {} ms", time.as_millis()),
            "the port may be one without TLS (`security.protocol=PLAINTEXT` or `SASL_PLAINTEXT`)",
        ),
        Cause::ClosedByPeer { answered: 0 } => Diagnosis::new(
            format!("`{peer}` closed the connection before it answered anything"),
            "the port may want TLS or SASL (`security.protocol`), or not speak Kafka's protocol",
        ),
        // Versions are told to anybody, perhaps in two steps.
        Cause::ClosedByPeer { answered: ..=ANSWERS_TO_ANYBODY_MAX } => Diagnosis::new(
            format!("`{peer}` closed the connection after it had told its versions"),
            "if it always does, the port may want SASL (`security.protocol=SASL_SSL` or `SASL_PLAINTEXT`)",
        ),
        Cause::ClosedByPeer { .. } => Diagnosis::of(format!("`{peer}` closed the connection")),
        Cause::Broken(error) => Diagnosis::of(format!("the connection to `{peer}` broke: {error}")),
        Cause::Foreign { first } => foreign(peer, first),
        Cause::Frame(error) => match &**error {
            FrameError::Tls => speaks_tls(peer),
            FrameError::Http => speaks_http(peer),
            FrameError::TooLarge { .. } => Diagnosis::new(
                format!("`{peer}` sent what is not allowed: {error}"),
                "check that the port speaks Kafka's protocol",
            ),
            error => Diagnosis::of(format!("the answer of `{peer}` cannot be read: {error}")),
        },
        Cause::Deadline { waited } => Diagnosis::of(format!(
            "`{peer}` did not answer within {} ms; the connection is given up",
            waited.as_millis()
        )),
        Cause::Correlation { wanted, found } => {
            Diagnosis::of(format!("`{peer}` answered request {found} where request {wanted} was due"))
        }
        Cause::Unasked => Diagnosis::of(format!("`{peer}` sent an answer to nothing that was asked")),
        Cause::Idle(time) => {
            Diagnosis::of(format!("the connection to `{peer}` was idle for {} s", time.as_secs()))
        }
        Cause::Closed => Diagnosis::of(format!("the connection to `{peer}` is closed")),
    }
}

/// Whether the client spoke TLS, and was not understood.
fn is_of_tls(cause: &Cause) -> bool {
    match cause {
        Cause::Handshake(_) | Cause::HandshakeTimeout(_) => true,
        Cause::Tls(error) => tls::is_no_tls(error),
        _ => false,
    }
}

fn is_silent(cause: &Cause) -> bool {
    matches!(cause, Cause::HandshakeTimeout(_) | Cause::Deadline { .. })
}

fn speaks_tls(peer: &str) -> Diagnosis {
    Diagnosis::new(
        format!("`{peer}` speaks TLS, and this is a plain text connection"),
        "set `security.protocol` to `SSL` or `SASL_SSL`, or use its plain text port",
    )
}

fn speaks_http(peer: &str) -> Diagnosis {
    Diagnosis::new(
        format!("`{peer}` speaks HTTP, not Kafka's protocol"),
        "check the port in `bootstrap.servers`: a broker's own is often 9092",
    )
}

fn foreign(peer: &str, first: &[u8]) -> Diagnosis {
    let shown = first.get(..FIRST_BYTES_SHOWN_MAX).unwrap_or(first);
    Diagnosis::new(
        format!("`{peer}` does not speak Kafka's protocol: it begins with `{}`", shown.escape_ascii()),
        "check host and port in `bootstrap.servers`: something else listens there",
    )
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    #[test]
    fn what_was_found_by_knocking_says_what_a_failure_alone_can_only_guess() {
        let broken_off = Cause::Handshake(Arc::new(io::ErrorKind::UnexpectedEof.into()));
        let alone = diagnose("a:1", &broken_off, None);
        assert!(alone.fix.is_some_and(|fix| fix.contains("may be one without TLS")));
        let known = diagnose("a:1", &broken_off, Some(&Speaks::Kafka));
        assert_eq!(known.cause, "`a:1` speaks Kafka's protocol in plain text, and this client TLS");
        let closed = Cause::ClosedByPeer { answered: 0 };
        let known = diagnose("a:1", &closed, Some(&Speaks::Tls));
        assert!(known.to_string().contains("speaks TLS") && known.to_string().contains("`SASL_SSL`"));
        let silent = Cause::Deadline { waited: Duration::from_secs(1) };
        assert!(diagnose("a:1", &silent, Some(&Speaks::Http)).cause.contains("speaks HTTP"));
        assert!(diagnose("a:1", &silent, Some(&Speaks::Nothing)).cause.contains("answers nothing"));
    }

    #[test]
    fn what_was_found_does_not_hide_a_failure_of_another_kind() {
        let refused = Cause::NotConnected(Arc::new(io::ErrorKind::ConnectionRefused.into()));
        assert_eq!(diagnose("a:1", &refused, Some(&Speaks::Nothing)), diagnose("a:1", &refused, None));
        let closed = Cause::ClosedByPeer { answered: 0 };
        assert_eq!(diagnose("a:1", &closed, Some(&Speaks::Kafka)), diagnose("a:1", &closed, None));
    }

    #[test]
    fn the_first_words_of_a_stranger_do_nothing_to_a_terminal() {
        let words = b"\x1b[2JSSH-2.0\r\n and much more than anybody wants to see";
        let said = diagnose("a:1", &Cause::Foreign { first: Arc::from(&words[..]) }, None).cause;
        assert!(said.contains("`\\x1b[2JSSH-2.0\\r\\n and much more than`"), "{said}");
    }

    #[test]
    fn spans_of_time_are_told_in_the_largest_unit_that_still_says_something() {
        let said = [119, 120, 7_199, 7_200, 172_799, 172_800, 86_400 * 400].map(in_words);
        assert_eq!(said, ["119 s", "2 minutes", "119 minutes", "2 hours", "47 hours", "2 days", "400 days"]);
    }
}
