//! OAUTHBEARER (RFC 7628, KIP-255): the client shows a token that somebody else gave it, and the server judges that.
//!
//! One token decides. A server that does not take it says so in JSON, waits for a byte of the client, and then fails the
//! exchange, so that both have heard all.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Deserialize;

use super::{SaslError, ServerStep, unescaped};
use crate::jwt::TokenError;

/// Longest first message that is looked at, in bytes: a token, and extensions.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Longest challenge that is looked at, in bytes.
const CHALLENGE_BYTES_MAX: usize = 16 * 1024;
/// Characters of a server's own words that are shown.
const SHOWN_CHARS_MAX: usize = 128;
/// Stands behind each part of a message, and alone for "I have heard".
const SEPARATOR: char = '\x01';
/// The name that the token itself has in a message, so that no extension can.
const AUTH: &str = "auth";

/// A token that lets in whoever shows it, and what goes with it. `Debug` shows no token.
#[derive(Clone, Eq, PartialEq)]
pub struct BearerToken {
    token: String,
    extensions: BTreeMap<String, String>,
}

impl BearerToken {
    /// A token with SASL extensions (KIP-342).
    ///
    /// # Errors
    /// If it has other characters than a bearer token may have (RFC 6750, section 2.1), or an extension is none: its name is letters,
    /// and not `auth`, its value is printable.
    pub fn new(token: impl Into<String>, extensions: BTreeMap<String, String>) -> Result<Self, SaslError> {
        let token = token.into();
        if !is_token(&token) {
            return Err(SaslError::Malformed("it has characters that no bearer token has"));
        }
        if extensions.contains_key(AUTH) {
            return Err(SaslError::Malformed("`auth` is no name of an extension"));
        }
        if !extensions.iter().all(|(name, value)| is_name(name) && is_value(value)) {
            return Err(SaslError::Malformed(
                "an extension's name must be letters, and its value printable characters",
            ));
        }
        Ok(Self { token, extensions })
    }

    /// The token as it travels: a secret.
    pub fn reveal(&self) -> &str {
        &self.token
    }

    /// What goes with it.
    pub fn extensions(&self) -> &BTreeMap<String, String> {
        &self.extensions
    }

    fn message(&self) -> Vec<u8> {
        let mut message = format!("n,,{SEPARATOR}{AUTH}=Bearer {}{SEPARATOR}", self.token);
        for (name, value) in &self.extensions {
            message.extend([name, "=", value]);
            message.push(SEPARATOR);
        }
        message.push(SEPARATOR);
        message.into_bytes()
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerToken").field("extensions", &self.extensions.keys()).finish_non_exhaustive()
    }
}

/// `b64token` of RFC 6750.
fn is_token(text: &str) -> bool {
    let bare = text.trim_end_matches('=');
    !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphanumeric() || "-._~+/".contains(c))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphabetic())
}

fn is_value(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| matches!(c, ' '..='~' | '\t' | '\r' | '\n'))
}

/// The client's side.
#[derive(Debug)]
pub struct OauthBearerClient {
    token: BearerToken,
    /// What the server said against the token.
    refusal: Option<SaslError>,
}

/// What a server says against a token (RFC 7628, section 3.2.2).
#[derive(Deserialize)]
struct Challenge {
    status: Option<String>,
    scope: Option<String>,
}

impl OauthBearerClient {
    /// An exchange that shows this token.
    pub fn new(token: BearerToken) -> Self {
        Self { token, refusal: None }
    }

    pub(super) fn first(&self) -> Vec<u8> {
        self.token.message()
    }

    pub(super) fn answer(&mut self, from_server: &[u8]) -> Result<Option<Vec<u8>>, SaslError> {
        match &self.refusal {
            // It is to fail the exchange now, and does not.
            Some(refusal) => Err(refusal.clone()),
            None if from_server.is_empty() => Ok(None),
            None => {
                self.refusal = Some(SaslError::ByServer(said(from_server)));
                Ok(Some(vec![SEPARATOR as u8]))
            }
        }
    }

    pub(super) fn refusal(&self) -> Option<&SaslError> {
        self.refusal.as_ref()
    }
}

/// A challenge in words.
fn said(challenge: &[u8]) -> String {
    let is_short = challenge.len() <= CHALLENGE_BYTES_MAX;
    match is_short.then(|| serde_json::from_slice(challenge).ok()).flatten() {
        Some(Challenge { status: Some(status), scope: Some(scope) }) => {
            format!("`{}`; the token must have the scope `{}`", shown(&status), shown(&scope))
        }
        Some(Challenge { status: Some(status), scope: None }) => format!("`{}`", shown(&status)),
        _ => {
            let begin = challenge.get(..CHALLENGE_BYTES_MAX).unwrap_or(challenge);
            format!("`{}`", shown(&String::from_utf8_lossy(begin)))
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect()
}

/// What a server found of a token that it takes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Taken {
    /// Who the client is.
    pub user: String,
    /// For how long the token is good yet.
    pub lifetime: Duration,
}

/// The broker's side: one token decides, and a refusal takes a second message.
#[derive(Debug, Default)]
pub struct OauthBearerServer {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    New,
    /// The client was told that its token is not taken, and is to say that it heard.
    Refused(TokenError),
    Over,
}

impl OauthBearerServer {
    /// What a client hears of a token that is not taken, as from Kafka's server. What exactly is wrong, a stranger is not told.
    pub const REFUSAL: &str = r#"{"status":"invalid_token"}"#;

    /// Takes a client's message; `judge` is asked about the token in it.
    ///
    /// # Errors
    /// If the message is malformed, or asks to act for another. A token that is not taken is told to the client first, and is the error of
    /// the next step.
    pub fn step(
        &mut self,
        message: &[u8],
        judge: impl FnOnce(&str) -> Result<Taken, TokenError>,
    ) -> Result<ServerStep, SaslError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::New => {
                let first = First::parse(message)?;
                match judge(first.token) {
                    Ok(Taken { user, .. }) if first.identity.is_some_and(|identity| identity != user) => {
                        Err(SaslError::OtherIdentity)
                    }
                    Ok(Taken { user, lifetime }) => {
                        Ok(ServerStep::Done { user, token: Vec::new(), lifetime: Some(lifetime) })
                    }
                    Err(error) => {
                        self.state = State::Refused(error);
                        Ok(ServerStep::Challenge(Self::REFUSAL.as_bytes().to_vec()))
                    }
                }
            }
            State::Refused(error) => Err(SaslError::Token(error)),
            State::Over => Err(SaslError::Malformed("the exchange is over")),
        }
    }

    /// Why the client was told that its token is not taken, if it was.
    pub fn refusal(&self) -> Option<&TokenError> {
        match &self.state {
            State::Refused(error) => Some(error),
            _ => None,
        }
    }
}

/// A client's first message, as Kafka's `OAuthBearerClientInitialResponse` reads it. Extensions must have their form; nothing
/// here asks for them.
struct First<'a> {
    /// For whom the client wants to act.
    identity: Option<String>,
    token: &'a str,
}

impl<'a> First<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, SaslError> {
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(SaslError::Malformed("it is too long"));
        }
        let text = std::str::from_utf8(message).map_err(|_| SaslError::Malformed("it is not UTF-8"))?;
        let (header, pairs) = text.split_once(SEPARATOR).ok_or(SaslError::Malformed("it has no header"))?;
        let identity = header
            .strip_prefix("n,")
            .or_else(|| header.strip_prefix("y,"))
            .and_then(|identity| identity.strip_suffix(','))
            .ok_or(SaslError::Malformed("its header is none, or wants channel binding"))?;
        let identity = match identity.strip_prefix("a=") {
            Some(name) if !name.is_empty() && !name.contains(',') => Some(unescaped(name)?),
            None if identity.is_empty() => None,
            _ => return Err(SaslError::Malformed("the identity in its header is none")),
        };
        // Each pair has a separator behind it, and all of them another.
        let pairs = pairs
            .strip_suffix(SEPARATOR)
            .filter(|pairs| pairs.ends_with(SEPARATOR))
            .ok_or(SaslError::Malformed("its end is missing"))?;
        let mut found = None;
        for pair in pairs.split_terminator(SEPARATOR) {
            let (name, value) = pair.split_once('=').ok_or(SaslError::Malformed("a part is no pair"))?;
            if !is_name(name) || !is_value(value) {
                return Err(SaslError::Malformed("a part has characters that are not allowed there"));
            }
            if name == AUTH && found.replace(value).is_some() {
                return Err(SaslError::Malformed("it has two tokens"));
            }
        }
        let (scheme, token) =
            found.and_then(|auth| auth.split_once(' ')).ok_or(SaslError::Malformed("it has no token"))?;
        let token = token.trim_start_matches(' ');
        if !scheme.eq_ignore_ascii_case("bearer") || !is_token(token) {
            return Err(SaslError::Malformed("its token is no bearer token"));
        }
        Ok(Self { identity, token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(60);

    fn token(token: &str, extensions: &[(&str, &str)]) -> Result<BearerToken, SaslError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        BearerToken::new(token, extensions.iter().map(owned).collect())
    }

    /// Takes the token `good`, which is alice's.
    fn step(message: &[u8]) -> Result<ServerStep, SaslError> {
        OauthBearerServer::default().step(message, judge)
    }

    fn judge(token: &str) -> Result<Taken, TokenError> {
        match token {
            "good" => Ok(Taken { user: "alice".into(), lifetime: LIFETIME }),
            _ => Err(TokenError::Signature),
        }
    }

    fn done() -> Result<ServerStep, SaslError> {
        Ok(ServerStep::Done { user: "alice".into(), token: Vec::new(), lifetime: Some(LIFETIME) })
    }

    /// The messages of RFC 7628, section 4.1, and of Kafka's `OAuthBearerClientInitialResponseTest`.
    #[test]
    fn messages_are_those_of_the_rfc_and_of_kafka() {
        let client = |token| OauthBearerClient::new(token).first();
        assert_eq!(client(token("good", &[]).unwrap()), b"n,,\x01auth=Bearer good\x01\x01");
        let with = token("good", &[("propB", "value B"), ("propA", "a,=b")]).unwrap();
        assert_eq!(client(with), b"n,,\x01auth=Bearer good\x01propA=a,=b\x01propB=value B\x01\x01");
        let taken: [&[u8]; 5] = [
            b"n,,\x01auth=Bearer good\x01\x01",
            b"n,a=alice,\x01host=server.example.com\x01port=143\x01auth=Bearer good\x01\x01",
            b"y,a=alice,\x01auth=bEaReR   good\x01\x01",
            b"n,,\x01propA=valueA1, valueA2\x01auth=Bearer good\x01propB=valueB\x01\x01",
            b"n,,\x01auth=Bearer good\x01x=\ta\r\nb\x01\x01",
        ];
        for message in taken {
            assert_eq!(step(message), done(), "{}", message.escape_ascii());
        }
    }

    #[test]
    fn a_token_that_is_not_taken_is_told_and_then_fails_the_exchange() {
        let mut client = OauthBearerClient::new(token("forged", &[]).unwrap());
        let mut server = OauthBearerServer::default();
        let ServerStep::Challenge(challenge) = server.step(&client.first(), judge).unwrap() else {
            panic!("a challenge comes first")
        };
        assert_eq!(server.refusal(), Some(&TokenError::Signature));
        assert_eq!(client.answer(&challenge), Ok(Some(b"\x01".to_vec())));
        assert_eq!(client.refusal(), Some(&SaslError::ByServer("`invalid_token`".into())));
        assert_eq!(server.step(b"\x01", judge), Err(SaslError::Token(TokenError::Signature)));
        // Neither goes on, whatever the other says; not with a better token, either.
        assert!(matches!(client.answer(b""), Err(SaslError::ByServer(_))));
        let good = b"n,,\x01auth=Bearer good\x01\x01";
        assert!(matches!(server.step(good, judge), Err(SaslError::Malformed(_))));
        let mut server = OauthBearerServer::default();
        server.step(&client.first(), judge).unwrap();
        assert!(matches!(server.step(good, judge), Err(SaslError::Token(_))));
    }

    #[test]
    fn nobody_acts_for_another() {
        assert_eq!(step(b"n,a=bob,\x01auth=Bearer good\x01\x01"), Err(SaslError::OtherIdentity));
        assert_eq!(step(b"n,a=al=2Cice,\x01auth=Bearer good\x01\x01"), Err(SaslError::OtherIdentity));
    }

    #[test]
    fn a_message_of_another_form_is_malformed() {
        let long = [&b"n,,\x01auth=Bearer "[..], &[b'x'; MESSAGE_BYTES_MAX], b"\x01\x01"].concat();
        let forms: [&[u8]; 21] = [
            b"",
            b"\x01",
            b"n,,",
            b"n,,\x01",
            b"n,,\x01\x01",
            b"n,,\x01auth=Bearer good",
            b"n,,\x01auth=Bearer good\x01",
            b"n,,\x01auth=Bearer good\x01\x01\x01",
            b"p=tls-unique,,\x01auth=Bearer good\x01\x01",
            b"n,alice,\x01auth=Bearer good\x01\x01",
            b"n,a=,\x01auth=Bearer good\x01\x01",
            b"n,a=alice\x01auth=Bearer good\x01\x01",
            b"n,,\x01auth=Basic good\x01\x01",
            b"n,,\x01auth=Bearergood\x01\x01",
            b"n,,\x01auth=Bearer \x01\x01",
            b"n,,\x01auth=Bearer go od\x01\x01",
            b"n,,\x01auth=Bearer good\x01auth=Bearer good\x01\x01",
            b"n,,\x01auth=Bearer good\x01a1=x\x01\x01",
            b"n,,\x01auth=Bearer good\x01a=\x01\x01",
            b"n,,\x01auth=Bearer good\x01a=\xff\x01\x01",
            &long,
        ];
        for form in forms {
            assert!(matches!(step(form), Err(SaslError::Malformed(_))), "{}", form.escape_ascii());
        }
    }

    #[test]
    fn only_what_can_travel_is_a_token() {
        for good in ["a", "aZ09-._~+/==", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"] {
            assert!(token(good, &[]).is_ok(), "{good}");
        }
        for bad in ["", "=", "a b", "a\x01b", "a=b", "ä", "a\n"] {
            assert!(token(bad, &[]).is_err(), "{bad:?}");
        }
        for bad in [("auth", "x"), ("", "x"), ("a1", "x"), ("a", ""), ("a", "\x01"), ("a", "ä")] {
            assert!(token("a", &[bad]).is_err(), "{bad:?}");
        }
        let shown = format!("{:?}", OauthBearerClient::new(token("secret", &[("a", "hidden")]).unwrap()));
        assert!(!shown.contains("secret") && !shown.contains("hidden"), "{shown}");
    }

    #[test]
    fn what_a_server_says_is_told_whatever_it_is() {
        let told = |challenge: &[u8]| {
            let mut client = OauthBearerClient::new(token("a", &[]).unwrap());
            client.answer(challenge).unwrap();
            client.refusal().unwrap().to_string()
        };
        let scoped =
            br#"{"status":"insufficient_scope", "scope":"kafka", "openid-configuration":"https://x"}"#;
        assert!(told(scoped).ends_with("`insufficient_scope`; the token must have the scope `kafka`"));
        assert!(told(b"\x1b[2Jno").ends_with("`\\u{1b}[2Jno`"));
        assert!(told(&[b'['; 100_000]).len() < 1_000);
    }
}
