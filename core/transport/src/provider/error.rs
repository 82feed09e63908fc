//! Why a provider gave no answer.

use std::{fmt, io, time::Duration};

use super::Location;
use crate::{Diagnosis, tls};

/// Why a provider gave no answer, or none that can be used. Says where, but for what may be secret there.
#[derive(Debug)]
pub struct ProviderError {
    location: String,
    failure: Failure,
}

/// What happened.
#[derive(Debug)]
pub enum Failure {
    /// The file cannot be read.
    File(io::Error),
    /// The host's name has no address.
    Unresolved(io::Error),
    /// No address of the host took the connection.
    NotConnected(io::Error),
    /// It did, or shook hands, not within this time.
    ConnectTimeout(Duration),
    /// TLS is refused: the provider's certificate is not good, or not its own.
    Tls(io::Error),
    /// The TLS handshake broke off.
    Handshake(io::Error),
    /// TLS is asked for, and nothing was given to do it with.
    NoTls,
    /// A header or the target is not of the form that HTTP has.
    Request,
    /// The connection broke, or what came is no HTTP.
    Broken(hyper::Error),
    /// The answer was not there within this time.
    ReadTimeout(Duration),
    /// The answer is longer than [`ANSWER_BYTES_MAX`](super::ANSWER_BYTES_MAX).
    TooLarge,
    /// The answer is of this status.
    Status(u16),
    /// What came is not what was asked for.
    Content(String),
}

impl ProviderError {
    /// What happened at a location.
    pub fn new(location: &Location, failure: Failure) -> Self {
        Self { location: location.to_string(), failure }
    }

    /// What happened.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// Whether the same may do later: the way there was not open, or the provider has troubles of its own.
    pub fn is_retriable(&self) -> bool {
        match &self.failure {
            Failure::Unresolved(_)
            | Failure::NotConnected(_)
            | Failure::ConnectTimeout(_)
            | Failure::Handshake(_)
            | Failure::Broken(_)
            | Failure::ReadTimeout(_)
            | Failure::File(_) => true,
            Failure::Status(status) => *status >= 500 || *status == 429 || *status == 408,
            Failure::Tls(_) | Failure::NoTls | Failure::Request | Failure::TooLarge | Failure::Content(_) => {
                false
            }
        }
    }

    /// What it means, and what to do about it.
    pub fn diagnosis(&self) -> Diagnosis {
        let at = &self.location;
        match &self.failure {
            Failure::File(error) => Diagnosis::new(
                format!("`{at}` cannot be read: {error}"),
                "check the path, and that this process may read it",
            ),
            Failure::Unresolved(error) => Diagnosis::new(
                format!("the host of `{at}` has no address ({error})"),
                "check the name, and that this machine's DNS knows it",
            ),
            Failure::NotConnected(error) => Diagnosis::new(
                format!("`{at}` cannot be reached: {error}"),
                "check that the provider runs there, and the network on the way to it",
            ),
            Failure::ConnectTimeout(time) => Diagnosis::new(
                format!("`{at}` did not take the connection within {} ms", time.as_millis()),
                "check the network on the way to it, or allow more by `sasl.login.connect.timeout.ms`",
            ),
            Failure::Tls(error) => {
                let Diagnosis { cause, fix } = tls::diagnosis(error);
                Diagnosis { cause: format!("no TLS with `{at}`: {cause}"), fix }
            }
            Failure::Handshake(error) => Diagnosis::new(
                format!("`{at}` broke off the TLS handshake ({error})"),
                "check that this port speaks TLS, and whether it wants a certificate of the client",
            ),
            Failure::NoTls => Diagnosis::of(format!("`{at}` is to be asked by TLS, which is not set up")),
            Failure::Request => {
                Diagnosis::of(format!("the request to `{at}` has characters that HTTP has not"))
            }
            Failure::Broken(error) => Diagnosis::new(
                format!("`{at}` broke off, or does not speak HTTP: {}", chain(error)),
                "check host and port of the URL, and whether it is of `https`",
            ),
            Failure::ReadTimeout(time) => Diagnosis::new(
                format!("`{at}` did not answer within {} ms", time.as_millis()),
                "look whether the provider is well, or allow more by `sasl.login.read.timeout.ms`",
            ),
            Failure::TooLarge => Diagnosis::new(
                format!("the answer of `{at}` is longer than {} bytes", super::ANSWER_BYTES_MAX),
                "check the path of the URL",
            ),
            Failure::Status(status @ 300..=399) => Diagnosis::new(
                format!("`{at}` leads elsewhere (HTTP {status}), which is not followed"),
                "name the URL that it leads to",
            ),
            Failure::Status(status @ (401 | 403)) => Diagnosis::new(
                format!("`{at}` refuses (HTTP {status})"),
                "check what this program logs in with at the provider",
            ),
            Failure::Status(status @ 404) => Diagnosis::new(
                format!("`{at}` is nothing that the provider knows (HTTP {status})"),
                "check the path of the URL",
            ),
            Failure::Status(status) => Diagnosis::of(format!("`{at}` answered HTTP {status}")),
            Failure::Content(why) => {
                Diagnosis::new(format!("what `{at}` gave cannot be used: {why}"), "check the path of the URL")
            }
        }
    }
}

/// An error of hyper says little; what caused it says more.
fn chain(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.diagnosis().fmt(f)
    }
}

impl std::error::Error for ProviderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.failure {
            Failure::File(error)
            | Failure::Unresolved(error)
            | Failure::NotConnected(error)
            | Failure::Handshake(error)
            | Failure::Tls(error) => Some(error),
            Failure::Broken(error) => Some(error),
            _ => None,
        }
    }
}
