//! Logging in on a connection: SaslHandshake, then SaslAuthenticate until both sides are content (KIP-43, KIP-152), and
//! again before the session ends (KIP-368).

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use ottla_protocol::{
    api::Api,
    error_code::ErrorCode,
    messages::{ApiKey, SaslAuthenticateRequest, SaslHandshakeRequest, SaslHandshakeResponse},
    types::Str,
};
use ottla_transport::{
    Interlude, in_words,
    sasl::{self as mechanisms, BearerToken, ClientExchange, Credentials, SaslError},
};
use tokio::time::{Instant, sleep};

use super::{broker::BrokerConnection, security::SaslLogin, tokens::Token};
use crate::{
    error::{Error, ErrorKind, Result},
    time::now_ms,
};

/// Messages after which an exchange is taken to lead nowhere; SCRAM has two.
const MESSAGES_MAX: usize = 8;
/// The part of a session's life after which the client logs in anew, as in Kafka's `SaslClientAuthenticator`.
const RENEW_AT: std::ops::Range<f64> = 0.85..0.95;

/// Logs in, each answer due within `timeout`. During `interlude`, if the connection is in use.
pub(crate) async fn log_in(
    connection: &BrokerConnection,
    sasl: &SaslLogin,
    interlude: Option<&Interlude>,
    timeout: Duration,
) -> Result<LoggedIn> {
    let by = connection.address().to_string();
    let talk = Talk { connection, interlude, timeout };
    let handshake = SaslHandshakeRequest { mechanism: Str::from_static(sasl.mechanism().name()) };
    // Version 0 is followed by bare tokens; all brokers that Kafka still supports have version 1.
    if connection.version(ApiKey::SaslHandshake)? < 1 {
        return Err(
            refused(&by, "it knows no SaslHandshake of version 1").hint("use Apache Kafka 2.1 or newer")
        );
    }
    let offered = talk.ask(&handshake).await?;
    check_handshake(&offered, sasl, &by)?;

    let shown = Shown::by(sasl).await?;
    let mut exchange = ClientExchange::new(shown.credentials.clone(), mechanisms::nonce());
    let mut token = exchange.first();
    for _ in 0..MESSAGES_MAX {
        let request = SaslAuthenticateRequest { auth_bytes: token.into() };
        let response = talk.ask(&request).await?;
        if response.error_code.is_error() {
            shown.refused(sasl);
            let said = response.error_message.as_ref();
            return Err(denied(response.error_code, said, &shown, exchange.refusal(), &by));
        }
        match exchange.answer(&response.auth_bytes) {
            Ok(Some(next)) => token = next,
            Ok(None) => {
                let lifetime = u64::try_from(response.session_lifetime_ms).ok().filter(|ms| *ms > 0);
                return Ok(LoggedIn { user: shown.user(), session: lifetime.map(Duration::from_millis) });
            }
            Err(error) => {
                return Err(refused(&by, &error.to_string()).hint(hint_of(&error)).caused_by(error));
            }
        }
    }
    Err(refused(&by, "the exchange has no end"))
}

/// What came of a login.
#[derive(Clone, Debug)]
pub(crate) struct LoggedIn {
    /// Who logged in, as far as the client knows.
    pub user: Option<String>,
    /// The life of the session, if it has an end.
    pub session: Option<Duration>,
}

/// Waits until there is something to log in with, so that no connection has to.
pub(crate) async fn prepare(sasl: &SaslLogin) -> Result<()> {
    match sasl {
        SaslLogin::Fixed(_) => Ok(()),
        SaslLogin::Bearer(tokens) => tokens.current().await.map(drop),
    }
}

/// What one login shows to the broker.
struct Shown {
    credentials: Credentials,
    token: Option<Arc<Token>>,
}

impl Shown {
    async fn by(sasl: &SaslLogin) -> Result<Self> {
        let tokens = match sasl {
            SaslLogin::Fixed(credentials) => {
                return Ok(Self { credentials: credentials.clone(), token: None });
            }
            SaslLogin::Bearer(tokens) => tokens,
        };
        let token = tokens.current().await?;
        let bearer = BearerToken::new(token.value().reveal(), token.extensions().clone());
        let bearer = bearer.map_err(|error| {
            Error::new(ErrorKind::Authentication, format!("what came as a token is none: {error}"))
                .hint("see what the provider, or the program's function, gives")
                .caused_by(error)
        })?;
        Ok(Self { credentials: Credentials::OauthBearer(bearer), token: Some(token) })
    }

    fn user(&self) -> Option<String> {
        match &self.token {
            Some(token) => token.principal().map(str::to_owned),
            None => self.credentials.user().map(str::to_owned),
        }
    }

    /// The broker does not take it.
    fn refused(&self, sasl: &SaslLogin) {
        if let (SaslLogin::Bearer(tokens), Some(token)) = (sasl, &self.token) {
            tokens.refused(token);
        }
    }
}

/// Keeps a session alive: logs in anew before it ends, as long as the connection is used. One that was not used meanwhile
/// is closed instead; whoever needs it makes another.
pub(crate) async fn keep_session(
    connection: Weak<BrokerConnection>,
    sasl: SaslLogin,
    mut lifetime: Duration,
    timeout: Duration,
) {
    loop {
        let Some(used) = connection.upgrade().map(|connection| connection.requests_sent()) else { return };
        let part = RENEW_AT.start + (RENEW_AT.end - RENEW_AT.start) * fastrand::f64();
        sleep(lifetime.mul_f64(part)).await;
        let Some(connection) = connection.upgrade().filter(|connection| !connection.is_ended()) else {
            return;
        };
        if connection.requests_sent() == used {
            connection.close();
            return;
        }
        let logged_in = async {
            // What is sent meanwhile need not wait for a provider of tokens.
            prepare(&sasl).await?;
            let interlude = connection.interlude();
            log_in(&connection, &sasl, Some(&interlude), timeout).await
        };
        match logged_in.await {
            Ok(LoggedIn { session: Some(next), .. }) => lifetime = next,
            Ok(LoggedIn { session: None, .. }) => return,
            Err(error) => {
                tracing::warn!(%error, "cannot log in anew; the connection is closed");
                connection.close();
                return;
            }
        }
    }
}

/// Requests one after the other, by the way that is open.
struct Talk<'a> {
    connection: &'a BrokerConnection,
    interlude: Option<&'a Interlude>,
    timeout: Duration,
}

impl Talk<'_> {
    async fn ask<R: Api>(&self, request: &R) -> Result<R::Response> {
        let deadline = Instant::now() + self.timeout;
        match self.interlude {
            None => self.connection.call(request, deadline)?.await,
            Some(interlude) => self.connection.call_during(interlude, request, deadline)?.await,
        }
    }
}

fn check_handshake(offered: &SaslHandshakeResponse, sasl: &SaslLogin, by: &str) -> Result<()> {
    let mechanism = sasl.mechanism();
    match offered.error_code {
        ErrorCode::NONE => Ok(()),
        ErrorCode::UNSUPPORTED_SASL_MECHANISM => {
            let names: Vec<&str> = offered.mechanisms.iter().map(|name| &**name).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Err(refused(by, &format!("it does not offer {mechanism}; it offers {names}"))
                .hint("set `sasl.mechanism` to one that both sides know"))
        }
        ErrorCode::ILLEGAL_SASL_STATE => Err(refused(by, "nobody logs in at this listener")
            .hint("set `security.protocol` to `PLAINTEXT` or `SSL`, or use a port where one does")),
        code => Err(refused(by, &format!("SaslHandshake failed: {} ({code})", code.meaning()))),
    }
}

/// The broker's refusal; `before` is what it said in the mechanism's own words.
fn denied(code: ErrorCode, said: Option<&Str>, shown: &Shown, before: Option<&SaslError>, by: &str) -> Error {
    let mechanism = shown.credentials.mechanism();
    let said = said.map_or_else(|| code.meaning().to_owned(), |said| said.to_string());
    let before = before.map_or_else(String::new, |before| format!("{before}; "));
    let Some(token) = &shown.token else {
        let user = shown.credentials.user().unwrap_or_default();
        return refused(by, &format!("`{user}` cannot log in by {mechanism}: {said} ({code})"))
            .hint("check user name and password, and that the broker knows this user for this mechanism");
    };
    let whose = token.principal().map_or_else(String::new, |user| format!(" of `{}`", user.escape_debug()));
    let end = token.end_ms().map_or_else(String::new, |end_ms| end_of(end_ms, now_ms()));
    refused(by, &format!("the token{whose}{end}, is not taken: {before}{said} ({code})")).hint(
        "check that the broker's `sasl.oauthbearer.expected.issuer` and `.expected.audience` are those of the token, that it has the \
         provider's keys, and that the clocks agree; the broker's log says what it was",
    )
}

/// When a token ends, or that it has.
fn end_of(end_ms: i64, now_ms: i64) -> String {
    let span = in_words(end_ms.abs_diff(now_ms) / 1_000);
    match end_ms > now_ms {
        true => format!(", which is good for {span} yet by this machine's clock"),
        false => format!(", which ended {span} ago by this machine's clock"),
    }
}

fn hint_of(error: &SaslError) -> &'static str {
    match error {
        SaslError::ImpostorServer => "check that this is the address of your broker, and connect by TLS",
        _ => "check user name and password, and that the broker knows this user for this mechanism",
    }
}

fn refused(by: &str, why: &str) -> Error {
    Error::new(ErrorKind::Authentication, format!("log in at `{by}`: {why}"))
}

/// Starts to keep the session of a connection, if it has an end.
pub(crate) fn spawn_keeper(
    connection: &Arc<BrokerConnection>,
    sasl: &SaslLogin,
    lifetime: Duration,
    timeout: Duration,
) {
    drop(tokio::spawn(keep_session(Arc::downgrade(connection), sasl.clone(), lifetime, timeout)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_not_taken_says_how_long_it_is_good_or_since_when_it_is_not() {
        const NOW_MS: i64 = 1_000_000;
        assert_eq!(end_of(NOW_MS + 30_000, NOW_MS), ", which is good for 30 s yet by this machine's clock");
        assert_eq!(end_of(NOW_MS - 600_000, NOW_MS), ", which ended 10 minutes ago by this machine's clock");
        assert!(end_of(i64::MAX, NOW_MS).contains(" days yet"), "whatever a token says");
        assert!(end_of(i64::MIN, i64::MAX).contains(" days ago"));
    }
}
