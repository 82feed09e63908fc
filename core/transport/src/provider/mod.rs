//! Asking an identity provider: one request over HTTP/1.1, by TLS or without, or the content of a file.
//!
//! What an address says is parsed once ([`Location`]), so that nothing of it that is secret is ever shown. A request is over
//! within its [`Patience`], its answer is of limited size, and no redirection is followed: a configuration says whom to
//! ask, and nobody else is told a client's secret.

mod ask;
mod error;
mod location;

pub use self::{
    ask::{ANSWER_BYTES_MAX, Answer, Patience, Request, ask},
    error::{Failure, ProviderError},
    location::{Location, LocationError},
};
