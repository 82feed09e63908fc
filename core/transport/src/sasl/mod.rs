//! SASL exchanges (RFC 4422), of the client and of the broker, without I/O: bytes in, bytes out.
//!
//! The way of a token: [`ClientExchange`] → SaslAuthenticate → [`ServerExchange`] → what the client answers to that, until one
//! side says that it is done. What is served: PLAIN (RFC 4616), SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677), and
//! OAUTHBEARER (RFC 7628).
//!
//! *Invariant:* no secret is ever part of an error, and none is printed by `Debug`.

mod jaas;
mod oauthbearer;
mod plain;
mod scram;

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};

pub use jaas::{JaasConfig, JaasError};
pub use oauthbearer::{BearerToken, OauthBearerClient, OauthBearerServer, Taken};
pub use plain::{PlainServer, PlainUsers};
pub use scram::{
    SCRAM_ITERATIONS_MAX, SCRAM_ITERATIONS_MIN, ScramCredential, ScramHash, ScramServer, salted_password,
};

use self::scram::ScramClient;
use crate::jwt::TokenError;

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Mechanism {
    /// A name and a password as they are: only ever over TLS.
    Plain,
    /// Proof that both sides know the password, which neither sends.
    Scram(ScramHash),
    /// A token that somebody whom the broker trusts gave the client: only ever over TLS, as whoever reads it can use it.
    OauthBearer,
}

impl Mechanism {
    /// All that are served, the strongest first.
    pub const ALL: [Self; 4] =
        [Self::Scram(ScramHash::Sha512), Self::Scram(ScramHash::Sha256), Self::OauthBearer, Self::Plain];

    /// As it is called on the wire and in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram(ScramHash::Sha256) => "SCRAM-SHA-256",
            Self::Scram(ScramHash::Sha512) => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }

    /// The mechanism of this name, if it is served.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }

    /// Whether whoever reads the exchange can log in by what was said in it.
    pub const fn shows_secret(self) -> bool {
        matches!(self, Self::Plain | Self::OauthBearer)
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
    /// The bearer's token is not taken, which the client has been told.
    Token(TokenError),
    /// The client wants to act for another than it is.
    OtherIdentity,
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
            Self::Token(error) => error.fmt(f),
            Self::OtherIdentity => f.write_str("the client wants to act for another than it is"),
        }
    }
}

impl std::error::Error for SaslError {}

/// What a client logs in with, and by which mechanism. `Debug` shows no secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Credentials {
    /// By [`Mechanism::Plain`].
    Plain(Login),
    /// By [`Mechanism::Scram`].
    Scram(ScramHash, Login),
    /// By [`Mechanism::OauthBearer`].
    OauthBearer(BearerToken),
}

impl Credentials {
    /// A name and a password for a mechanism; `None` if that takes none.
    pub fn of_login(mechanism: Mechanism, login: Login) -> Option<Self> {
        match mechanism {
            Mechanism::Plain => Some(Self::Plain(login)),
            Mechanism::Scram(hash) => Some(Self::Scram(hash, login)),
            Mechanism::OauthBearer => None,
        }
    }

    /// The mechanism.
    pub const fn mechanism(&self) -> Mechanism {
        match self {
            Self::Plain(_) => Mechanism::Plain,
            Self::Scram(hash, _) => Mechanism::Scram(*hash),
            Self::OauthBearer(_) => Mechanism::OauthBearer,
        }
    }

    /// Who logs in, as far as the client knows: whose a token is, its server finds out.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Plain(login) | Self::Scram(_, login) => Some(&login.user),
            Self::OauthBearer(_) => None,
        }
    }
}

/// The client's side.
#[derive(Debug)]
pub enum ClientExchange {
    /// Of [`Mechanism::Plain`].
    Plain(Login),
    /// Of [`Mechanism::Scram`].
    Scram(ScramClient),
    /// Of [`Mechanism::OauthBearer`].
    OauthBearer(OauthBearerClient),
}

impl ClientExchange {
    /// An exchange for `credentials`; `nonce` is random and new, of printable ASCII characters without commas.
    pub fn new(credentials: Credentials, nonce: String) -> Self {
        match credentials {
            Credentials::Plain(login) => Self::Plain(login),
            Credentials::Scram(hash, login) => Self::Scram(ScramClient::new(hash, login, nonce)),
            Credentials::OauthBearer(token) => Self::OauthBearer(OauthBearerClient::new(token)),
        }
    }

    /// What the client says first.
    pub fn first(&self) -> Vec<u8> {
        match self {
            Self::Plain(login) => plain::token(login),
            Self::Scram(client) => client.first(),
            Self::OauthBearer(client) => client.first(),
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
            Self::OauthBearer(client) => client.answer(from_server),
        }
    }

    /// What the server said against the client, which it has to hear out before the server fails the exchange.
    pub fn refusal(&self) -> Option<&SaslError> {
        match self {
            Self::Plain(_) | Self::Scram(_) => None,
            Self::OauthBearer(client) => client.refusal(),
        }
    }
}

/// A name as a message carries it: `,` and `=` are written otherwise (RFC 5801, section 4).
fn unescaped(name: &str) -> Result<String, SaslError> {
    let mut whole = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('=') {
        whole.push_str(before);
        (whole, rest) = match (after.strip_prefix("2C"), after.strip_prefix("3D")) {
            (Some(after), _) => (whole + ",", after),
            (_, Some(after)) => (whole + "=", after),
            _ => return Err(SaslError::Malformed("a `=` in the user name stands for nothing")),
        };
    }
    whole.push_str(rest);
    Ok(whole)
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
        /// For how long what it showed is good; for ever without.
        lifetime: Option<Duration>,
    },
}
