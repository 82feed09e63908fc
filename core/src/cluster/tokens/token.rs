//! A token, and the program's own way to get one.

use std::{collections::BTreeMap, error, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use ottla_config::Secret;
use ottla_transport::jwt::Claims;

/// The claim that says whose a token is.
const SUBJECT: &str = "sub";

/// A bearer token of OAuth 2, by which a client logs in (`sasl.mechanism=OAUTHBEARER`). `Debug` does not show it.
///
/// ```
/// use ottla::Token;
///
/// // A JWT says itself when it ends, and whose it is.
/// let token = Token::new("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0.");
/// assert_eq!((token.principal(), token.end_ms()), (Some("alice"), Some(4_102_444_800_000)));
/// // Of another token, the program does.
/// let token = Token::new("2YotnFZFEjr1zCsicMWpAA").valid_until_ms(4_102_444_800_000).owned_by("alice");
/// assert_eq!(token.end_ms(), Some(4_102_444_800_000));
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    value: Secret,
    principal: Option<String>,
    began_ms: Option<i64>,
    end_ms: Option<i64>,
    extensions: BTreeMap<String, String>,
}

impl Token {
    /// A token. If it is a JWT, its claims `sub`, `iat` and `exp` are taken over; nobody checks who signed it: that is the
    /// broker's part.
    pub fn new(value: impl Into<String>) -> Self {
        Self::with_subject(value.into(), SUBJECT)
    }

    /// As [`Self::new`]; `claim` is the name of the one that says whose it is.
    pub(super) fn with_subject(value: String, claim: &str) -> Self {
        let claims = Claims::unchecked(&value).ok();
        let claims = claims.as_ref();
        let ms = |time: Duration| i64::try_from(time.as_millis()).ok();
        Self {
            principal: claims.and_then(|claims| claims.subject(claim).ok()),
            began_ms: claims.and_then(|claims| claims.issued().ok()?).and_then(ms),
            end_ms: claims.and_then(|claims| claims.expires().ok()).and_then(ms),
            value: Secret::new(value),
            extensions: BTreeMap::new(),
        }
    }

    /// Says when it ends, in milliseconds since the epoch.
    #[must_use]
    pub fn valid_until_ms(self, end_ms: i64) -> Self {
        Self { end_ms: Some(end_ms), ..self }
    }

    /// Says whose it is, for logs and errors.
    #[must_use]
    pub fn owned_by(self, principal: impl Into<String>) -> Self {
        Self { principal: Some(principal.into()), ..self }
    }

    /// Adds an extension (RFC 7628, KIP-342): something that the broker is told beside the token. Its name is of letters.
    #[must_use]
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extensions.insert(name.into(), value.into());
        self
    }

    /// The token itself, which is a secret.
    pub fn value(&self) -> &Secret {
        &self.value
    }

    /// Whose it is, where that is known.
    pub fn principal(&self) -> Option<&str> {
        self.principal.as_deref()
    }

    /// When it ends, in milliseconds since the epoch, where that is known.
    pub fn end_ms(&self) -> Option<i64> {
        self.end_ms
    }

    /// When it was made.
    pub(crate) fn began_ms(&self) -> Option<i64> {
        self.began_ms
    }

    /// What the broker is told beside it.
    pub fn extensions(&self) -> &BTreeMap<String, String> {
        &self.extensions
    }
}

/// Gives a client its tokens, where they come from none of the places that settings can name.
///
/// It is asked when the first connection is made and then before each token ends, once for all connections of a client. It
/// runs on the client's I/O thread, so it must not block. After `sasl.login.read.timeout.ms` it is given up.
///
/// Every function that gives a future is one:
///
/// ```no_run
/// use ottla::{Producer, Token, TokenError, config::{ProducerConfig, SecurityProtocol}};
///
/// # async fn fetch() -> Result<String, std::io::Error> { Ok(String::new()) }
/// # fn run() -> ottla::Result<()> {
/// let config = ProducerConfig {
///     bootstrap_servers: vec!["localhost:9093".into()],
///     security_protocol: SecurityProtocol::SaslSsl,
///     sasl_mechanism: "OAUTHBEARER".into(),
///     ..Default::default()
/// };
/// let producer = Producer::with_tokens(config, || async {
///     Ok(Token::new(fetch().await.map_err(TokenError::passing)?))
/// })?;
/// # Ok(()) }
/// ```
pub trait TokenProvider: Send + Sync + 'static {
    /// A token that is good from now on.
    fn token(&self) -> impl Future<Output = Result<Token, TokenError>> + Send;
}

impl<F, T> TokenProvider for F
where
    F: Fn() -> T + Send + Sync + 'static,
    T: Future<Output = Result<Token, TokenError>> + Send,
{
    fn token(&self) -> impl Future<Output = Result<Token, TokenError>> + Send {
        self()
    }
}

/// Why a program's [`TokenProvider`] has no token. What it says is part of the client's error: no secret belongs there.
#[derive(Clone, Debug)]
pub struct TokenError {
    pub(crate) why: String,
    pub(crate) passes: bool,
}

impl TokenError {
    /// There is none, and there will be none before somebody has changed something: whoever waits is told at once.
    pub fn new(why: impl fmt::Display) -> Self {
        Self { why: why.to_string(), passes: false }
    }

    /// There is none now; whoever waits goes on to, and it is tried again.
    pub fn passing(why: impl fmt::Display) -> Self {
        Self { why: why.to_string(), passes: true }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl error::Error for TokenError {}

/// A provider of any type.
#[derive(Clone)]
pub(crate) struct AnyProvider(Arc<dyn DynProvider>);

impl AnyProvider {
    pub(crate) fn new(provider: impl TokenProvider) -> Self {
        Self(Arc::new(provider))
    }

    pub(crate) fn token(&self) -> impl Future<Output = Result<Token, TokenError>> + Send {
        self.0.boxed_token()
    }
}

impl fmt::Debug for AnyProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyProvider")
    }
}

/// [`TokenProvider`] as an object.
trait DynProvider: Send + Sync {
    fn boxed_token(&self) -> Pin<Box<dyn Future<Output = Result<Token, TokenError>> + Send + '_>>;
}

impl<P: TokenProvider> DynProvider for P {
    fn boxed_token(&self) -> Pin<Box<dyn Future<Output = Result<Token, TokenError>> + Send + '_>> {
        Box::pin(self.token())
    }
}
