//! SASL exchanges (RFC 4422), of the client and of the broker, without I/O: bytes in, bytes out.
//!
//! The way of a token: [`ClientExchange`] → SaslAuthenticate → [`ServerExchange`] → what the client answers to that, until one
//! side says that it is done. What is served: PLAIN (RFC 4616), SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677).
//!
//! *Invariant:* no secret is ever part of an error, and none is printed by `Debug`.

mod jaas;
mod plain;
mod scram;

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};

pub use jaas::{JaasConfig, JaasError};
pub use plain::{PlainServer, PlainUsers};
pub use scram::{
    SCRAM_ITERATIONS_MAX, SCRAM_ITERATIONS_MIN, ScramCredential, ScramHash, ScramServer, salted_password,
};

use self::scram::ScramClient;

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Mechanism {
    /// A name and a password as they are: only ever over TLS.
    Plain,
    /// Proof that both sides know the password, which neither sends.
    Scram(ScramHash),
}

impl Mechanism {
    /// All that are served, the strongest first.
    pub const ALL: [Self; 3] = [Self::Scram(ScramHash::Sha512), Self::Scram(ScramHash::Sha256), Self::Plain];

    /// As it is called on the wire and in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram(ScramHash::Sha256) => "SCRAM-SHA-256",
            Self::Scram(ScramHash::Sha512) => "SCRAM-SHA-512",
        }
    }

    /// The mechanism of this name, if it is served.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Random bytes of a nonce or a salt.
const RANDOM_BYTES: usize = 32;

/// Bytes by the system's random number generator, which nobody can foresee: a salt.
///
/// # Panics
/// If the system has none to give, which is no state to go on in.
pub fn salt() -> [u8; RANDOM_BYTES] {
    let mut bytes = [0; RANDOM_BYTES];
    SystemRandom::new().fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// The same in printable characters: a nonce, new with each call.
///
/// # Panics
/// As [`salt`].
pub fn nonce() -> String {
    STANDARD_NO_PAD.encode(salt())
}

/// A name and its password. `Debug` shows the name alone.
#[derive(Clone, Eq, PartialEq)]
pub struct Login {
    /// Who logs in.
    pub user: String,
    /// The secret.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why an exchange ended without success. Says nothing of what a secret was or should have been.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SaslError {
    /// The other side's token is not what the mechanism allows here.
    Malformed(&'static str),
    /// Name or password are wrong. Which of them is not told to anybody.
    Refused,
    /// The server says why, in the mechanism's own words.
    ByServer(String),
    /// The server could not prove that it knows the password.
    ImpostorServer,
}

impl fmt::Display for SaslError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "the token is malformed: {what}"),
            Self::Refused => f.write_str("user name or password is wrong"),
            Self::ByServer(why) => write!(f, "the server refuses: {why}"),
            Self::ImpostorServer => {
                f.write_str("the server does not know the password, so it is not the one it claims to be")
            }
        }
    }
}

impl std::error::Error for SaslError {}

/// The client's side.
#[derive(Debug)]
pub enum ClientExchange {
    /// Of [`Mechanism::Plain`].
    Plain(Login),
    /// Of [`Mechanism::Scram`].
    Scram(ScramClient),
}

impl ClientExchange {
    /// An exchange for `login`; `nonce` is random and new, of printable ASCII characters without commas.
    pub fn new(mechanism: Mechanism, login: Login, nonce: String) -> Self {
        match mechanism {
            Mechanism::Plain => Self::Plain(login),
            Mechanism::Scram(hash) => Self::Scram(ScramClient::new(hash, login, nonce)),
        }
    }

    /// What the client says first.
    pub fn first(&self) -> Vec<u8> {
        match self {
            Self::Plain(login) => plain::token(login),
            Self::Scram(client) => client.first(),
        }
    }

    /// What it says to the server's answer; `None` once both have said all, and the server has proved itself.
    ///
    /// # Errors
    /// If the server refuses, or says what the mechanism does not allow.
    pub fn answer(&mut self, from_server: &[u8]) -> Result<Option<Vec<u8>>, SaslError> {
        match self {
            Self::Plain(_) => Ok(None),
            Self::Scram(client) => client.answer(from_server),
        }
    }
}

/// What the server does about a client's token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerStep {
    /// It says this, and waits for the next token.
    Challenge(Vec<u8>),
    /// It is content; this is the last that it says.
    Done {
        /// Who the client is.
        user: String,
        /// What the client must still hear.
        token: Vec<u8>,
    },
}
