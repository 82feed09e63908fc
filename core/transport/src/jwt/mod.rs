//! Signed tokens (JWT, RFC 7519) and the keys that they are checked with, without I/O.
//!
//! The way of a token: [`Signed::parse`] takes it apart (RFC 7515), a [`KeySet`] (RFC 7517) has the key that its header names, ring
//! checks the signature, and only then [`Claims`] are read and judged by [`Checks`], as Kafka's `BrokerJwtValidator` does.
//!
//! *Invariants:* nothing of a token's claims is believed, or even parsed, before its signature was found good; a token never says by
//! which rules it is checked: `none` and codes under a shared secret (HMAC) are no algorithms here, an algorithm needs a key of its own kind, and
//! keys that a token brings along are not looked at. Nothing of a token is part of an error but its header's `alg` and `kid`,
//! and of one that is signed by a known key what it claims.

mod algorithm;
mod checks;
mod claims;
mod error;
mod json;
mod keys;
mod signed;

pub use self::{
    algorithm::Algorithm,
    checks::{Bearer, Checks},
    claims::Claims,
    error::{KeySetError, TokenError},
    keys::{Ignored, KeySet},
    signed::{Signed, TOKEN_BYTES_MAX},
};
