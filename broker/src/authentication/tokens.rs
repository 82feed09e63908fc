//! OAUTHBEARER at a listener: what its keys say of tokens (KIP-768, KIP-1139), and how one is judged.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use ottla_config::{Secret, Settings, Values};
use ottla_protocol::types::Str;
use ottla_transport::{
    jwt::{Bearer, Checks, TokenError},
    provider::{Location, Patience},
    sasl::{JaasConfig, Taken},
    ssl_keys,
    tls::{TlsConnector, TlsSettings},
};
use tokio::sync::Notify;

use super::keys::{Keys, Pace};
use crate::{
    StartError,
    config::{BROKER, BrokerConfig},
    listeners::Endpoint,
};

const JAAS: &str = "sasl.jaas.config";
const URL: &str = "sasl.oauthbearer.jwks.endpoint.url";
/// The class that Kafka judges tokens by; it has stood in two packages.
const HANDLERS: [&str; 2] = [
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler",
    "org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerValidatorCallbackHandler",
];
/// What that class leaves the judging to.
const VALIDATORS: [&str; 2] = [
    "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator",
    "org.apache.kafka.common.security.oauthbearer.BrokerJwtValidator",
];

/// How a listener judges tokens.
#[derive(Debug)]
pub(crate) struct Tokens {
    checks: Checks,
    keys: Arc<Keys>,
}

impl Tokens {
    /// `values` is what goes for this mechanism at this listener, `own` what of that is set for it alone.
    pub(super) fn new(endpoint: &Endpoint, values: &Values, own: &Settings) -> Result<Self, StartError> {
        let config = BrokerConfig::from_values(values);
        if !endpoint.protocol.has_tls() && !config.sasl_plain_without_tls {
            let why = format!(
                "listener `{}` offers OAUTHBEARER without TLS, so that everybody on the way can read tokens and use them; make it \
                 SASL_SSL, or set `ottla.sasl.plain.without.tls` to `true` if it must be",
                endpoint.name
            );
            return Err(StartError::setting("sasl.enabled.mechanisms", why));
        }
        check_classes(values)?;
        let options = jaas_options(endpoint, config.sasl_jaas_config.as_ref(), own)?;
        let checks = checks(endpoint, &config)?;
        let location = location(endpoint, &config)?;
        let tls = if location.is_secure() { Some(connector(endpoint, options, own)?) } else { None };
        let patience =
            Patience { connect: config.sasl_login_connect_timeout, read: config.sasl_login_read_timeout };
        let pace = Pace::new(
            config.sasl_oauthbearer_jwks_endpoint_refresh,
            config.sasl_oauthbearer_jwks_endpoint_retry_backoff,
            config.sasl_oauthbearer_jwks_endpoint_retry_backoff_max,
        );
        let keys = Keys {
            listener: Str::from(endpoint.name.as_str()),
            location,
            tls,
            patience,
            pace,
            current: ArcSwapOption::empty(),
            wanted: Notify::new(),
        };
        Ok(Self { checks, keys: Arc::new(keys) })
    }

    /// The keys, which somebody has to keep fresh.
    pub(crate) fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Judges a token; `now` is the time since 1970.
    pub(super) fn judge(&self, token: &str, now: Duration) -> Result<Taken, TokenError> {
        let keys = self.keys.current().ok_or(TokenError::NoKeys)?;
        match self.checks.check(token, &keys, now) {
            Ok(Bearer { subject, lifetime, .. }) => Ok(Taken { user: subject, lifetime }),
            Err(error) => {
                // Its key may have come after ours were got.
                if matches!(error, TokenError::UnknownKey { .. }) {
                    self.keys.want();
                }
                Err(error)
            }
        }
    }
}

/// Configurations of Kafka name the classes that do there what is done here; what others would do is not known.
fn check_classes(values: &Values) -> Result<(), StartError> {
    let named = [
        ("sasl.server.callback.handler.class", HANDLERS),
        ("sasl.oauthbearer.jwt.validator.class", VALIDATORS),
    ];
    for (key, known) in named {
        let class = values.opt_str(key).filter(|class| !class.is_empty());
        if let Some(class) = class.filter(|class| !known.contains(class)) {
            let why = format!(
                "there is no `{class}`; tokens are judged by the keys that begin with `sasl.oauthbearer.`, as `{}` does",
                known[0]
            );
            return Err(StartError::setting(key, why));
        }
    }
    Ok(())
}

/// What tokens must say. As in Kafka 4.4, who does not care by whom and for whom they are has to say so.
fn checks(endpoint: &Endpoint, config: &BrokerConfig) -> Result<Checks, StartError> {
    let audience: Vec<String> = config.sasl_oauthbearer_expected_audience.clone();
    let issuer = config.sasl_oauthbearer_expected_issuer.clone().filter(|issuer| !issuer.trim().is_empty());
    let listener = &*endpoint.name;
    let careless = [
        (audience.is_empty(), config.sasl_oauthbearer_allow_unverified_audience, "audience"),
        (issuer.is_none(), config.sasl_oauthbearer_allow_unverified_issuer, "issuer"),
    ];
    for (is_open, is_allowed, claim) in careless {
        if is_open && !is_allowed {
            let why = format!(
                "listener `{listener}` offers OAUTHBEARER, and tokens of any {claim} would do; name the one that they must have, or \
                 set `sasl.oauthbearer.allow.unverified.{claim}` to `true`"
            );
            let key = match claim {
                "audience" => "sasl.oauthbearer.expected.audience",
                _ => "sasl.oauthbearer.expected.issuer",
            };
            return Err(StartError::setting(key, why));
        }
        if is_open {
            tracing::warn!(
                listener,
                "tokens of any {claim} are taken (`sasl.oauthbearer.allow.unverified.{claim}`)"
            );
        }
    }
    let claim = |name: &str, key| match name.trim() {
        "" => Err(StartError::setting(key, "names no claim".to_owned())),
        name => Ok(name.to_owned()),
    };
    let skew = u64::try_from(config.sasl_oauthbearer_clock_skew_seconds).unwrap_or(0);
    Ok(Checks {
        audience,
        issuer,
        clock_skew: Duration::from_secs(skew),
        subject_claim: claim(&config.sasl_oauthbearer_sub_claim_name, "sasl.oauthbearer.sub.claim.name")?,
        scope_claim: claim(&config.sasl_oauthbearer_scope_claim_name, "sasl.oauthbearer.scope.claim.name")?,
    })
}

fn location(endpoint: &Endpoint, config: &BrokerConfig) -> Result<Location, StartError> {
    let Some(url) = &config.sasl_oauthbearer_jwks_endpoint_url else {
        let why = format!(
            "listener `{}` offers OAUTHBEARER, and there are no keys to check tokens with; name where the provider has its set of keys \
             (JWKS). Tokens that nobody signed are not taken",
            endpoint.name
        );
        return Err(StartError::setting(URL, why));
    };
    let location: Location = url.parse().map_err(|error| StartError::setting(URL, format!("{error}")))?;
    if !location.is_private() && !config.sasl_plain_without_tls {
        let why = format!(
            "`{location}` is asked without TLS, so that anybody on the way can give keys of their own; use `https`, or set \
             `ottla.sasl.plain.without.tls` to `true` if it must be"
        );
        return Err(StartError::setting(URL, why));
    }
    Ok(location)
}

/// How the provider is asked: by the keys that begin with `ssl.` behind `listener.name.NAME.oauthbearer.`, or the options of the login
/// module that do, as in Kafka. The listener's own are for its clients, who are others.
fn connector(
    endpoint: &Endpoint,
    options: Vec<(String, String)>,
    own: &Settings,
) -> Result<TlsConnector, StartError> {
    let mut settings = Settings::new();
    for (name, value) in options {
        settings.set(name, value);
    }
    for setting in own.beginning("ssl.") {
        settings.add(setting.clone());
    }
    let values = BROKER.parse(&settings).map_err(StartError::config)?;
    let config = &BrokerConfig::from_values(&values);
    let settings = TlsSettings::of(&ssl_keys!(config));
    let settings = settings.map_err(|error| StartError::setting(error.key, error.why))?;
    TlsConnector::new(settings).map_err(|error| {
        let why = format!("the provider of `{}` cannot be asked: {error}", endpoint.name);
        StartError::setting(URL, why)
    })
}

/// The options of TLS in the login module that Kafka's configurations have here. One for all mechanisms speaks of another.
fn jaas_options(
    endpoint: &Endpoint,
    text: Option<&Secret>,
    own: &Settings,
) -> Result<Vec<(String, String)>, StartError> {
    let (Some(text), Some(_)) = (text, own.beginning(JAAS).next()) else { return Ok(Vec::new()) };
    let key = format!("listener.name.{}.oauthbearer.{JAAS}", endpoint.name.to_ascii_lowercase());
    let jaas = JaasConfig::parse(text.reveal())
        .map_err(|error| StartError::setting(JAAS, format!("`{key}` cannot be read: {error}")))?;
    if jaas.module() != "OAuthBearerLoginModule" {
        let why = format!("`{key}` names `{}`; OAUTHBEARER has `OAuthBearerLoginModule`", jaas.module());
        return Err(StartError::setting(JAAS, why));
    }
    let options = jaas.options().filter(|(name, _)| name.starts_with("ssl."));
    Ok(options.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
