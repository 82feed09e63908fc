//! Why a token is not taken, or a set of keys cannot be read.

use std::{fmt, time::Duration};

use super::Algorithm;

/// Characters of what a stranger wrote that are shown.
const SHOWN_CHARS_MAX: usize = 64;
/// Values of a list that are shown.
const SHOWN_VALUES_MAX: usize = 8;

/// Why a token is not taken: for the log of whoever checks it. Says nothing of the token that would let anybody in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenError {
    /// It has another form than a signed token has.
    Malformed(&'static str),
    /// It is longer than [`TOKEN_BYTES_MAX`](super::TOKEN_BYTES_MAX).
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// It is signed by an algorithm that is not taken, or by none.
    Algorithm(String),
    /// There are no keys yet: they were not got from where they are.
    NoKeys,
    /// No key is of the name that its header has, or it has none and no key would do.
    UnknownKey {
        /// The name.
        id: Option<String>,
    },
    /// The key that its header names is not for the algorithm that it names.
    OtherKey {
        /// The name of the key.
        id: Option<String>,
        /// What the header says.
        algorithm: Algorithm,
    },
    /// The signature is not good: it is forged, or was changed.
    Signature,
    /// A claim is missing, or is not what it must be.
    Claim {
        /// The claim's name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It was good once.
    Expired {
        /// For how long it is not any more.
        ago: Duration,
    },
    /// It is not good yet.
    NotYet {
        /// When it will be.
        within: Duration,
    },
    /// It is of another issuer.
    Issuer {
        /// What it says, if anything.
        found: Option<String>,
        /// What it must say.
        expected: String,
    },
    /// It is for somebody else.
    Audience {
        /// For whom it is.
        found: Vec<String>,
        /// For one of whom it must be.
        expected: Vec<String>,
    },
}

impl TokenError {
    /// A claim that will not do.
    pub(super) fn claim(name: &str, why: &'static str) -> Self {
        Self::Claim { name: name.to_owned(), why }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "the token is malformed: {what}"),
            Self::TooLong { bytes } => write!(f, "the token is too long, {bytes} bytes"),
            Self::Algorithm(name) => {
                let taken = Algorithm::ALL.map(Algorithm::name).join(", ");
                write!(f, "the token's `alg` is {}, which is not taken; there are {taken}", shown(name))
            }
            Self::NoKeys => f.write_str(
                "there are no keys to check tokens with; look at `sasl.oauthbearer.jwks.endpoint.url`",
            ),
            Self::UnknownKey { id: Some(id) } => write!(f, "the token's key {} is not known", shown(id)),
            Self::UnknownKey { id: None } => f.write_str("the token names no key, and none would do"),
            Self::OtherKey { id, algorithm } => {
                f.write_str("the token's key")?;
                if let Some(id) = id {
                    write!(f, " {}", shown(id))?;
                }
                write!(f, " is not for {algorithm}, which the token claims to be signed by")
            }
            Self::Signature => f.write_str("the token's signature is not good"),
            Self::Claim { name, why } => write!(f, "the token's claim {} {why}", shown(name)),
            Self::Expired { ago } => write!(f, "the token has expired {} s ago", ago.as_secs()),
            Self::NotYet { within } => {
                write!(f, "the token is not good before {} s from now", within.as_secs())
            }
            Self::Issuer { found: Some(found), expected } => {
                write!(f, "the token is of the issuer {}, expected is {}", shown(found), shown(expected))
            }
            Self::Issuer { found: None, expected } => {
                write!(f, "the token names no issuer, expected is {}", shown(expected))
            }
            Self::Audience { found, expected } => {
                write!(f, "the token is for {}, expected is {}", list(found), list(expected))
            }
        }
    }
}

impl std::error::Error for TokenError {}

/// What a stranger wrote, as much of it as is kept.
pub(super) fn clipped(text: &str) -> String {
    let mut chars = text.chars();
    let begin: String = chars.by_ref().take(SHOWN_CHARS_MAX).collect();
    if chars.next().is_some() { begin + "..." } else { begin }
}

/// The same as it may be shown: with nothing that a terminal heeds.
fn shown(text: &str) -> String {
    format!("`{}`", clipped(text).escape_debug())
}

fn list(values: &[String]) -> String {
    if values.is_empty() {
        return "nobody".to_owned();
    }
    let mut names: Vec<_> = values.iter().take(SHOWN_VALUES_MAX).map(|value| shown(value)).collect();
    if values.len() > SHOWN_VALUES_MAX {
        names.push("...".to_owned());
    }
    names.join(" or ")
}

/// Why a set of keys is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySetError {
    /// It is not the JSON of a key set (RFC 7517, section 5); where it goes wrong.
    Malformed(String),
    /// It has more keys than are looked at.
    TooMany {
        /// How many.
        keys: usize,
    },
    /// None of its keys can check a signature; why the first cannot, if there is one.
    Useless(Option<&'static str>),
}

impl fmt::Display for KeySetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "it is no set of keys (JWKS): {what}"),
            Self::TooMany { keys } => write!(f, "it has {keys} keys, more than any provider would"),
            Self::Useless(None) => f.write_str("it has no keys"),
            Self::Useless(Some(why)) => write!(f, "it has no key that can check a token: the first {why}"),
        }
    }
}

impl std::error::Error for KeySetError {}
