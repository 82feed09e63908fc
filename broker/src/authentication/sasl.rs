//! A connection's login, without I/O: SaslHandshake chooses a mechanism, then tokens go to and fro until it is done
//! (KIP-43, KIP-152). What a connection that is logged in does so again is [`Login::again`] (KIP-368).

use std::{sync::Arc, time::Duration};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse},
    types::Str,
};
use ottla_transport::{
    jwt::TokenError,
    sasl::{self, Mechanism, OauthBearerServer, PlainServer, SaslError, ScramServer, ServerStep},
};

use super::{Listening, Principal, settings::Offered};
use crate::metadata::Image;

/// A login from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Login {
    listening: Arc<Listening>,
    /// The exchange, once there was a handshake.
    exchange: Option<Exchange>,
    /// As whom the connection has logged in before, and how: neither can change.
    before: Option<(Mechanism, Principal)>,
}

#[derive(Debug)]
struct Exchange {
    offered: Offered,
    server: Server,
    /// Tokens come bare, without a request's header: the handshake was of version 0.
    is_bare: bool,
}

#[derive(Debug)]
enum Server {
    Plain,
    Scram(ScramServer),
    OauthBearer(OauthBearerServer),
}

/// Where a login is after a token.
#[derive(Debug)]
pub(crate) enum Progress {
    /// The client is to answer this.
    Challenge(Vec<u8>),
    /// It is logged in.
    Done(LoggedIn),
}

/// What comes of a login.
#[derive(Clone, Debug)]
pub(crate) struct LoggedIn {
    pub(crate) principal: Principal,
    pub(crate) mechanism: Mechanism,
    /// How long the session lives; for ever without.
    pub(crate) lifetime: Option<Duration>,
    /// What the client must still hear.
    pub(crate) token: Vec<u8>,
}

/// Why a login failed: for the log and, but for what a stranger is not to know, for the client.
#[derive(Clone, Debug)]
pub(crate) enum Denied {
    /// Nobody logs in here, or not now.
    OutOfTurn,
    /// Something else than a token follows a handshake.
    Interrupted,
    /// The mechanism is not offered.
    Mechanism(Str),
    /// The exchange failed.
    Exchange(Mechanism, SaslError),
    /// Another user, or another mechanism, than the connection had before.
    Changed,
}

impl Denied {
    /// Whether it says nothing of the client: this broker has no keys to judge it by, of which the log speaks already.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Exchange(_, SaslError::Token(TokenError::NoKeys)))
    }
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OutOfTurn => f.write_str("a login comes where none is due"),
            Self::Interrupted => f.write_str("ApiVersions comes between a handshake and its tokens"),
            Self::Mechanism(name) => {
                let shown: String = name.chars().take(32).collect();
                write!(f, "the mechanism `{}` is not offered", shown.escape_debug())
            }
            Self::Exchange(mechanism, error) => write!(f, "{mechanism}: {error}"),
            Self::Changed => f.write_str("a session keeps its user and its mechanism"),
        }
    }
}

impl Login {
    /// A login that has not begun. `None` where nobody is asked to.
    pub(crate) fn at(listening: &Arc<Listening>) -> Option<Self> {
        listening.sasl.as_ref()?;
        Some(Self { listening: Arc::clone(listening), exchange: None, before: None })
    }

    /// The next login of a connection that has one behind it.
    pub(crate) fn again(listening: &Arc<Listening>, done: &LoggedIn) -> Option<Self> {
        let before = Some((done.mechanism, done.principal.clone()));
        Self::at(listening).map(|login| Self { before, ..login })
    }

    /// Whether the next frame is a token and nothing else.
    pub(crate) fn expects_bare_token(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.is_bare)
    }

    /// Whether a handshake is behind it, so that tokens are due.
    pub(crate) fn is_under_way(&self) -> bool {
        self.exchange.is_some()
    }

    /// Whether it is not known yet who the client is.
    pub(crate) fn is_first(&self) -> bool {
        self.before.is_none()
    }

    /// Why the client was told that it cannot log in, if the exchange is not over yet: a client may leave it there.
    pub(crate) fn refusal(&self) -> Option<Denied> {
        match &self.exchange.as_ref()?.server {
            Server::OauthBearer(server) => {
                let error = server.refusal()?.clone();
                Some(Denied::Exchange(Mechanism::OauthBearer, SaslError::Token(error)))
            }
            Server::Plain | Server::Scram(_) => None,
        }
    }

    /// Takes a handshake: the answer, and why it ends here if it does.
    pub(crate) fn handshake(
        &mut self,
        version: i16,
        request: &SaslHandshakeRequest,
    ) -> (SaslHandshakeResponse, Option<Denied>) {
        let Some(sasl) = &self.listening.sasl else {
            return (illegal_handshake(), Some(Denied::OutOfTurn));
        };
        let mechanisms =
            sasl.mechanisms.iter().map(|offered| Str::from_static(offered.mechanism.name())).collect();
        if self.exchange.is_some() {
            return (illegal_handshake(), Some(Denied::OutOfTurn));
        }
        let Some(offered) = sasl.offers(&request.mechanism) else {
            let error_code = ErrorCode::UNSUPPORTED_SASL_MECHANISM;
            let denied = Denied::Mechanism(request.mechanism.detached());
            return (SaslHandshakeResponse { error_code, mechanisms }, Some(denied));
        };
        let server = match offered.mechanism {
            Mechanism::Plain => Server::Plain,
            Mechanism::Scram(hash) => Server::Scram(ScramServer::new(hash)),
            Mechanism::OauthBearer => Server::OauthBearer(OauthBearerServer::default()),
        };
        self.exchange = Some(Exchange { offered, server, is_bare: version == 0 });
        (SaslHandshakeResponse { error_code: ErrorCode::NONE, mechanisms }, None)
    }

    /// Takes a token at a time, in milliseconds since 1970; `image` knows the users of SCRAM.
    pub(crate) fn token(&mut self, token: &[u8], image: &Image, now_ms: i64) -> Result<Progress, Denied> {
        let (Some(sasl), Some(exchange)) = (&self.listening.sasl, &mut self.exchange) else {
            return Err(Denied::OutOfTurn);
        };
        let Offered { mechanism, lifetime } = exchange.offered;
        let step = match (&mut exchange.server, mechanism, &sasl.plain, &sasl.tokens) {
            (Server::Plain, _, Some(users), _) => PlainServer::step(users, token),
            (Server::OauthBearer(server), _, _, Some(tokens)) => {
                let now = Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
                server.step(token, |token| tokens.judge(token, now))
            }
            (Server::Scram(server), Mechanism::Scram(hash), ..) => {
                server.step(token, &sasl::nonce(), &sasl.secret, |user| {
                    image.scram_credential(user, hash).cloned()
                })
            }
            _ => return Err(Denied::OutOfTurn),
        };
        match step.map_err(|error| Denied::Exchange(mechanism, error))? {
            ServerStep::Challenge(token) => Ok(Progress::Challenge(token)),
            ServerStep::Done { user, token, lifetime: shown } => {
                // The session ends with what was shown for it, or before (KIP-368).
                let lifetime = [lifetime, shown].into_iter().flatten().min();
                let principal = Principal::user(&user);
                if self.before.as_ref().is_some_and(|before| *before != (mechanism, principal.clone())) {
                    return Err(Denied::Changed);
                }
                Ok(Progress::Done(LoggedIn { principal, mechanism, lifetime, token }))
            }
        }
    }
}

/// The answer to a handshake where nobody logs in.
pub(crate) fn illegal_handshake() -> SaslHandshakeResponse {
    SaslHandshakeResponse { error_code: ErrorCode::ILLEGAL_SASL_STATE, mechanisms: Vec::new() }
}

/// The answer to a token.
pub(crate) fn answer(progress: &Result<Progress, Denied>) -> SaslAuthenticateResponse {
    let token = |token: &Vec<u8>| SaslAuthenticateResponse {
        auth_bytes: token.clone().into(),
        ..SaslAuthenticateResponse::default()
    };
    match progress {
        Ok(Progress::Challenge(challenge)) => token(challenge),
        Ok(Progress::Done(done)) => SaslAuthenticateResponse {
            session_lifetime_ms: done
                .lifetime
                .map_or(0, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX)),
            ..token(&done.token)
        },
        Err(Denied::OutOfTurn) => SaslAuthenticateResponse {
            error_code: ErrorCode::ILLEGAL_SASL_STATE,
            error_message: Some(Str::from_static("SaslAuthenticate comes behind a SaslHandshake")),
            ..SaslAuthenticateResponse::default()
        },
        Err(denied) => {
            // What exactly was wrong, a stranger is not told.
            let message = match denied {
                Denied::Changed => "a session keeps its user and its mechanism".to_owned(),
                // As Kafka's, what the client was told by the mechanism.
                Denied::Exchange(_, SaslError::Token(_)) => OauthBearerServer::REFUSAL.to_owned(),
                Denied::Exchange(mechanism, _) => {
                    format!("authentication failed: invalid credentials with SASL mechanism {mechanism}")
                }
                _ => "authentication failed".to_owned(),
            };
            SaslAuthenticateResponse {
                error_code: ErrorCode::SASL_AUTHENTICATION_FAILED,
                error_message: Some(Str::from(message)),
                ..SaslAuthenticateResponse::default()
            }
        }
    }
}
