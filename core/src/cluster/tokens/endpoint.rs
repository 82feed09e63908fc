//! Tokens of a place that settings name: a provider that is asked by the client credentials grant (RFC 6749, section 4.4;
//! KIP-768), or a file.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use ottla_config::Secret;
use ottla_transport::{
    Diagnosis,
    jwt::TOKEN_BYTES_MAX,
    provider::{self, Failure, Location, Patience, ProviderError, Request},
    sasl::JaasConfig,
    tls::{Source as Store, TlsConnector},
};
use serde_json::Value;

use super::Token;
use crate::{
    cluster::security::{connector_of, tls_settings, wrong},
    config::ClientConfig,
    error::{Error, ErrorKind, Result},
    time::now_ms,
};

const URL: &str = "sasl.oauthbearer.token.endpoint.url";
const ID: &str = "sasl.oauthbearer.client.credentials.client.id";
const SECRET: &str = "sasl.oauthbearer.client.credentials.client.secret";
/// Before the name of an extension, in `sasl.jaas.config`.
const EXTENSION: &str = "extension_";
/// Characters that are shown of what a provider says.
const SHOWN_CHARS_MAX: usize = 256;

/// A place that tokens come from.
pub(crate) struct Endpoint {
    location: Location,
    /// How a provider is asked; `None` where the token lies in a file.
    grant: Option<Grant>,
    tls: Option<Arc<TlsConnector>>,
    patience: Patience,
    /// What the broker is told beside each token.
    extensions: BTreeMap<String, String>,
    /// `sasl.oauthbearer.sub.claim.name`.
    subject: String,
}

/// What a provider is asked with.
struct Grant {
    /// The header of that name.
    authorization: Secret,
    /// The form that is sent.
    form: String,
    /// The client's secret, for nobody to see if a provider repeats it.
    secret: Secret,
}

impl Endpoint {
    /// What the keys say. Those of the login module count where there is no key of the same meaning.
    pub(crate) fn new(url: &str, config: &ClientConfig, jaas: Option<&JaasConfig>) -> Result<Self> {
        let location: Location = url.parse().map_err(|error| wrong(URL, &error).caused_by(error))?;
        let grant = if location.is_file() { None } else { Some(Grant::new(&location, config, jaas)?) };
        let tls = location.is_secure().then(|| connector(config)).transpose()?;
        let patience =
            Patience { connect: config.sasl_login_connect_timeout, read: config.sasl_login_read_timeout };
        let subject = config.sasl_oauthbearer_sub_claim_name.clone();
        Ok(Self { location, grant, tls, patience, extensions: extensions(config, jaas)?, subject })
    }

    /// Asks for a token once.
    pub(crate) async fn token(&self) -> Result<Token> {
        let request = match &self.grant {
            None => Request::get(&self.location),
            Some(grant) => Request::post_form(&self.location, grant.form.clone())
                .with_header("authorization", grant.authorization.reveal())
                .with_header("accept", "application/json"),
        };
        let answer = provider::ask(request, self.tls.as_deref(), self.patience).await;
        let answer = answer.map_err(|error| no_token(&error))?;
        let token = match &self.grant {
            None => from_file(&answer.body, &self.subject).map_err(|why| self.unusable(why, true))?,
            Some(grant) => match answer.status {
                200..300 => from_json(&answer.body, &self.subject, now_ms())
                    .map_err(|why| self.unusable(why, false))?,
                status => return Err(self.refusal(status, &answer.body, grant)),
            },
        };
        Ok(self.extensions.iter().fold(token, |token, (name, value)| token.extension(name, value)))
    }

    /// What came is no token. Whoever writes a file may be in the middle of it.
    fn unusable(&self, why: String, passes: bool) -> Error {
        let error = no_token(&ProviderError::new(&self.location, Failure::Content(why)));
        if passes { error.passing() } else { error }
    }

    /// What a provider says where it gives no token (RFC 6749, section 5.2), and what to do about it.
    fn refusal(&self, status: u16, body: &[u8], grant: &Grant) -> Error {
        let failed = ProviderError::new(&self.location, Failure::Status(status));
        let said: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(code) = said.get("error").and_then(Value::as_str) else { return no_token(&failed) };
        let mut text = format!("no token: `{}` answers `{}`", self.location, grant.shown(code));
        if let Some(description) = said.get("error_description").and_then(Value::as_str) {
            let _ = write!(text, " ({})", grant.shown(description));
        }
        let _ = write!(text, ", HTTP {status}");
        let error = Error::new(ErrorKind::Authentication, text).hint(match code {
            "invalid_client" => format!("check `{ID}` and `{SECRET}`"),
            "unauthorized_client" | "unsupported_grant_type" => {
                "let the provider allow this client the client credentials grant".to_owned()
            }
            "invalid_scope" => "check `sasl.oauthbearer.scope`".to_owned(),
            _ => format!("check `{URL}`, and what the provider's log says"),
        });
        if failed.is_retriable() { error.passing() } else { error }
    }
}

impl Grant {
    fn new(location: &Location, config: &ClientConfig, jaas: Option<&JaasConfig>) -> Result<Self> {
        if !location.is_private() && !config.sasl_plain_without_tls {
            let text = format!("`{location}` without TLS shows the client's secret to everybody on the way");
            return Err(wrong(URL, text).hint(
                "name it by `https://`, or set `ottla.sasl.plain.without.tls` to `true` if it must be",
            ));
        }
        let option = |name| jaas.and_then(|jaas| jaas.option(name)).filter(|value| !value.is_empty());
        let id =
            config.sasl_oauthbearer_client_credentials_client_id.as_deref().or_else(|| option("clientId"));
        let secret = config.sasl_oauthbearer_client_credentials_client_secret.as_ref().map(Secret::reveal);
        let secret = secret.or_else(|| option("clientSecret"));
        let scope = config.sasl_oauthbearer_scope.as_deref().or_else(|| option("scope"));
        let missing = |key: &str, option: &str| {
            wrong(key, format!("`{URL}` is set, and a provider gives no token to a client without it"))
                .hint(format!("set it, or `{option}` in `sasl.jaas.config`"))
        };
        let id = id.ok_or_else(|| missing(ID, "clientId"))?;
        let secret = secret.ok_or_else(|| missing(SECRET, "clientSecret"))?;
        Ok(Self {
            authorization: Secret::new(authorization(id, secret, config.sasl_oauthbearer_header_urlencode)),
            form: form(scope),
            secret: Secret::new(secret),
        })
    }

    /// What a provider says, of a length that can be read, without what it was told in secret.
    fn shown(&self, said: &str) -> String {
        let said = said.replace(self.secret.reveal(), "[hidden]");
        said.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect()
    }
}

/// Whom a provider must prove to be: who is trusted is named by `https.ca.*`, or else by the client's own keys.
fn connector(config: &ClientConfig) -> Result<Arc<TlsConnector>> {
    let mut settings = tls_settings(config)?;
    match (config.https_ca_location.as_deref(), &config.https_ca_pem) {
        (Some("probe"), None) => settings.trust = None,
        (Some(path), None) => settings.trust = Some(Store::File(path.into())),
        (None, Some(pem)) => settings.trust = Some(Store::Text(pem.clone())),
        (None, None) => {}
        (Some(_), Some(_)) => {
            return Err(wrong("https.ca.location", "there is `https.ca.pem`, too").hint("keep one of both"));
        }
    }
    if config.https_ca_location.is_some() || config.https_ca_pem.is_some() {
        (settings.trust_format, settings.trust_store_password) = Default::default();
    }
    connector_of(settings).map(Arc::new)
}

fn extensions(config: &ClientConfig, jaas: Option<&JaasConfig>) -> Result<BTreeMap<String, String>> {
    let options = jaas.into_iter().flat_map(JaasConfig::options);
    let named = options.filter_map(|(name, value)| Some((name.strip_prefix(EXTENSION)?, value)));
    let mut extensions: BTreeMap<_, _> =
        named.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for pair in &config.sasl_oauthbearer_extensions {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            wrong("sasl.oauthbearer.extensions", format!("`{pair}` is not of the form `name=value`"))
        })?;
        extensions.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    Ok(extensions)
}

/// The header, as Kafka's `HttpAccessTokenRetriever` makes it: encoded as RFC 6749, section 2.3.1, has it only where that is asked
/// for, as many providers do not decode it.
fn authorization(id: &str, secret: &str, encodes: bool) -> String {
    let pair =
        if encodes { format!("{}:{}", encoded(id), encoded(secret)) } else { format!("{id}:{secret}") };
    format!("Basic {}", STANDARD.encode(pair))
}

fn form(scope: Option<&str>) -> String {
    let mut form = "grant_type=client_credentials".to_owned();
    if let Some(scope) = scope.map(str::trim).filter(|scope| !scope.is_empty()) {
        form += "&scope=";
        form += &encoded(scope);
    }
    form
}

/// As `application/x-www-form-urlencoded` has it.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// The token in a provider's answer. Where the token itself does not say when it ends, the answer may.
fn from_json(body: &[u8], subject: &str, now_ms: i64) -> Result<Token, String> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| "it is no JSON".to_owned())?;
    let value = answer.get("access_token").and_then(Value::as_str).map(str::trim);
    let token = read(value.filter(|value| !value.is_empty()).ok_or("it has no `access_token`")?, subject)?;
    let expires_in = answer.get("expires_in").and_then(Value::as_i64).filter(|seconds| *seconds > 0);
    Ok(match (token.end_ms(), expires_in) {
        (None, Some(seconds)) => token.valid_until_ms(now_ms.saturating_add(seconds.saturating_mul(1_000))),
        _ => token,
    })
}

/// The token in a file; what stands around it is no part of it.
fn from_file(body: &[u8], subject: &str) -> Result<Token, String> {
    let text = std::str::from_utf8(body).map_err(|_| "it is not UTF-8".to_owned())?.trim();
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    read(text, subject)
}

fn read(value: &str, subject: &str) -> Result<Token, String> {
    if value.len() > TOKEN_BYTES_MAX {
        return Err(format!("its token has {} bytes, and {TOKEN_BYTES_MAX} is the most", value.len()));
    }
    Ok(Token::with_subject(value.to_owned(), subject))
}

fn no_token(error: &ProviderError) -> Error {
    let Diagnosis { cause, fix } = error.diagnosis();
    let failed = Error::new(ErrorKind::Authentication, format!("no token: {cause}")).hint_if(fix);
    if error.is_retriable() { failed.passing() } else { failed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AdminConfig;

    fn endpoint(url: &str, edit: impl FnOnce(&mut AdminConfig)) -> Result<Endpoint> {
        let mut config = AdminConfig::default();
        edit(&mut config);
        Endpoint::new(url, &ClientConfig::from(&config), None)
    }

    fn with_client(config: &mut AdminConfig) {
        config.sasl_oauthbearer_client_credentials_client_id = Some("app".into());
        config.sasl_oauthbearer_client_credentials_client_secret = Some(Secret::new("hunter2"));
    }

    #[test]
    fn a_provider_is_asked_as_kafka_asks() {
        assert_eq!(authorization("app", "a b:&ü", false), format!("Basic {}", STANDARD.encode("app:a b:&ü")));
        let encoded = format!("Basic {}", STANDARD.encode("a%3Ap:a+b%3A%26%C3%BC"));
        assert_eq!(authorization("a:p", "a b:&ü", true), encoded);
        assert_eq!(form(None), "grant_type=client_credentials");
        assert_eq!(form(Some(" kafka read/all ")), "grant_type=client_credentials&scope=kafka+read%2Fall");
    }

    #[test]
    fn a_login_module_says_what_keys_do_not() {
        let jaas = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required clientId=\"jaas\" \
                    clientSecret=\"hunter2\" scope=\"kafka\" extension_tenant=\"a\";";
        let jaas = JaasConfig::parse(jaas).unwrap();
        let mut config = AdminConfig::default();
        let made = |config: &AdminConfig| {
            Endpoint::new("https://id.example/token", &ClientConfig::from(config), Some(&jaas)).unwrap()
        };
        let endpoint = made(&config);
        let grant = endpoint.grant.unwrap();
        assert_eq!(grant.authorization, Secret::new(authorization("jaas", "hunter2", false)));
        assert_eq!(grant.form, "grant_type=client_credentials&scope=kafka");
        assert_eq!(endpoint.extensions, BTreeMap::from([("tenant".to_owned(), "a".to_owned())]));
        config.sasl_oauthbearer_scope = Some("other".into());
        config.sasl_oauthbearer_client_credentials_client_id = Some("key".into());
        config.sasl_oauthbearer_extensions = vec!["tenant=b".into(), "pool = c".into()];
        let endpoint = made(&config);
        let grant = endpoint.grant.unwrap();
        assert_eq!(grant.authorization, Secret::new(authorization("key", "hunter2", false)));
        assert_eq!(grant.form, "grant_type=client_credentials&scope=other");
        let extensions: Vec<_> = endpoint.extensions.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(extensions, [("pool", "c"), ("tenant", "b")]);
    }

    #[test]
    fn what_is_missing_or_in_the_open_is_refused() {
        let wrong = |url: &str, edit: fn(&mut AdminConfig)| {
            let error = endpoint(url, edit).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!format!("{error} {error:?}").contains("hunter2"));
            error.to_string()
        };
        assert!(wrong("id.example/token", with_client).contains("no URL"));
        assert!(wrong("https://id.example/token", |_| {}).contains("`clientId` in `sasl.jaas.config`"));
        let text = wrong("http://id.example/token", with_client);
        assert!(
            text.contains("shows the client's secret") && text.contains("name it by `https://`"),
            "{text}"
        );
        let pair = |config: &mut AdminConfig| {
            with_client(config);
            config.sasl_oauthbearer_extensions = vec!["tenant".into()];
        };
        assert!(wrong("https://id.example/token", pair).contains("`name=value`"));
        assert!(endpoint("http://localhost:8080/token", with_client).is_ok(), "nobody is on that way");
        let forced = |config: &mut AdminConfig| {
            with_client(config);
            config.sasl_plain_without_tls = true;
        };
        assert!(endpoint("http://id.example/token", forced).is_ok());
        assert!(endpoint("file:///run/token", |_| {}).is_ok());
    }

    #[test]
    fn an_answer_is_read_within_limits() {
        let token =
            from_json(br#"{"access_token":" opaque ","expires_in":60,"token_type":"Bearer"}"#, "sub", 1_000);
        let token = token.unwrap();
        assert_eq!((token.value().reveal(), token.end_ms()), ("opaque", Some(61_000)));
        let long = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(TOKEN_BYTES_MAX + 1));
        for (body, words) in [
            (&b"<html>"[..], "no JSON"),
            (b"{}", "no `access_token`"),
            (br#"{"access_token":7}"#, "no `access_token`"),
            (br#"{"access_token":""}"#, "no `access_token`"),
            (long.as_bytes(), "is the most"),
        ] {
            let error = from_json(body, "sub", 0).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(from_file(b" a.b.c\n", "sub").unwrap().value().reveal(), "a.b.c");
        assert!(from_file(b" \n", "sub").is_err() && from_file(b"\xff", "sub").is_err());
    }

    #[test]
    fn a_refusal_says_what_to_do_and_nothing_secret() {
        let endpoint = endpoint("https://id.example/token?key=hunter2", with_client).unwrap();
        let grant = endpoint.grant.as_ref().unwrap();
        let refusal = |status, body: &str| endpoint.refusal(status, body.as_bytes(), grant);
        let error =
            refusal(401, r#"{"error":"invalid_client","error_description":"no app with \"hunter2\""}"#);
        assert_eq!(
            error.what_happened(),
            "no token: `https://id.example/token` answers `invalid_client` (no app with \\\"[hidden]\\\"), HTTP 401"
        );
        assert!(error.what_to_do().is_some_and(|fix| fix.contains("client.secret`")), "{error}");
        assert!(!error.is_retriable() && error.keeps_out());
        let error = refusal(400, r#"{"error":"invalid_scope"}"#);
        assert_eq!(error.what_to_do(), Some("check `sasl.oauthbearer.scope`"));
        for status in [500, 503, 429] {
            let error = refusal(status, "busy");
            assert_eq!(error.kind(), ErrorKind::Authentication);
            assert!(error.is_retriable() && !error.keeps_out(), "{error}");
        }
        assert!(refusal(404, "").to_string().contains("check the path"));
    }
}
