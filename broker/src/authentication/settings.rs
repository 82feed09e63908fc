//! What a listener asks of those who connect: its protocol, its keys and certificates, its mechanisms and users.
//!
//! A key may be one listener's own: what `listener.name.internal.ssl.keystore.location` says goes for the listener `INTERNAL`
//! over what `ssl.keystore.location` says; what stands behind `listener.name.internal.plain.` goes for its mechanism PLAIN.

use std::time::Duration;

use ottla_config::{Settings, Values};
use ottla_protocol::types::Str;
use ottla_transport::{
    sasl::{self, JaasConfig, Mechanism, PlainUsers},
    ssl_keys,
    tls::{self, PrincipalRules, TlsAcceptor, TlsSettings},
};

use super::tokens::Tokens;
use crate::{
    StartError,
    config::{BROKER, BrokerConfig, ClientAuth},
    listeners::Endpoint,
};

/// What the key of a mechanism that is not served begins with, behind its listener's name.
const OTHER_MECHANISMS: [&str; 1] = ["gssapi."];

/// A listener at work.
#[derive(Debug)]
pub(crate) struct Listening {
    /// Its name, in capitals.
    pub(crate) name: Str,
    /// Makes its connections secret.
    pub(crate) tls: Option<TlsAcceptor>,
    /// Who the owner of a certificate is.
    pub(crate) rules: PrincipalRules,
    /// How clients log in.
    pub(crate) sasl: Option<Sasl>,
    /// Most new connections in a second: `max.connection.creation.rate`.
    pub(crate) connection_rate_max: i32,
}

/// How clients log in.
#[derive(Debug)]
pub(crate) struct Sasl {
    /// What is offered, in the configuration's order.
    pub(crate) mechanisms: Vec<Offered>,
    /// The users of PLAIN, if that is offered.
    pub(crate) plain: Option<PlainUsers>,
    /// How tokens are judged, if OAUTHBEARER is offered.
    pub(crate) tokens: Option<Tokens>,
    /// Makes the salts of users that there are not.
    pub(crate) secret: [u8; 32],
}

/// A mechanism that is offered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered {
    pub(crate) mechanism: Mechanism,
    /// How long a session lives: `connections.max.reauth.ms`.
    pub(crate) lifetime: Option<Duration>,
}

impl Listening {
    /// A listener that asks for nothing.
    #[cfg(test)]
    pub(crate) fn plaintext(name: &str) -> Self {
        Self {
            name: Str::from(name),
            tls: None,
            rules: PrincipalRules::default(),
            sasl: None,
            connection_rate_max: i32::MAX,
        }
    }

    /// The listener of `endpoint`: `own` is what is set for it alone, `base` what the broker has.
    ///
    /// # Errors
    ///
    /// If a setting is wrong, or a file that it names.
    pub(crate) fn new(endpoint: &Endpoint, base: &Values, mut own: Settings) -> Result<Self, StartError> {
        let mut by_mechanism = Mechanism::ALL.map(|mechanism| {
            let prefix = format!("{}.", mechanism.name().to_ascii_lowercase());
            (mechanism, own.take_beginning(&prefix))
        });
        for prefix in OTHER_MECHANISMS {
            for key in own.take_beginning(prefix).keys() {
                tracing::warn!(
                    listener = endpoint.name,
                    "`{prefix}{key}` has no effect: that mechanism is not served"
                );
            }
        }
        let values = BROKER.parse_over(base, &own).map_err(StartError::config)?;
        let mut config = BrokerConfig::from_values(&values);
        // Where clients log in they are asked for certificates only if the listener's own keys say so (KIP-684).
        if endpoint.protocol.has_sasl() && !own.keys().any(|key| key.replace('_', ".") == "ssl.client.auth") {
            config.ssl_client_auth = ClientAuth::None;
        }
        let tls = if endpoint.protocol.has_tls() { Some(acceptor(endpoint, &config)?) } else { None };
        let sasl = match endpoint.protocol.has_sasl() {
            true => Some(Sasl::new(endpoint, &config, &values, &mut by_mechanism)?),
            false => None,
        };
        let rules = PrincipalRules::parse(&config.ssl_principal_mapping_rules)
            .map_err(|error| StartError::setting("ssl.principal.mapping.rules", error.to_string()))?;
        let connection_rate_max = config.max_connection_creation_rate;
        Ok(Self { name: Str::from(endpoint.name.as_str()), tls, rules, sasl, connection_rate_max })
    }
}

fn acceptor(endpoint: &Endpoint, config: &BrokerConfig) -> Result<TlsAcceptor, StartError> {
    let settings = TlsSettings::of(&ssl_keys!(config));
    let client_auth = match config.ssl_client_auth {
        ClientAuth::None => tls::ClientAuth::None,
        ClientAuth::Requested => tls::ClientAuth::Requested,
        ClientAuth::Required => tls::ClientAuth::Required,
    };
    let settings = settings.map_err(|error| StartError::setting(error.key, error.why))?;
    TlsAcceptor::new(settings, client_auth).map_err(|error| {
        let why = format!("listener `{}` cannot be made secure: {error}", endpoint.name);
        StartError::setting("ssl.keystore.location", why)
    })
}

impl Sasl {
    fn new(
        endpoint: &Endpoint,
        config: &BrokerConfig,
        values: &Values,
        own: &mut [(Mechanism, Settings)],
    ) -> Result<Self, StartError> {
        const ENABLED: &str = "sasl.enabled.mechanisms";
        let mut sasl = Self { mechanisms: Vec::new(), plain: None, tokens: None, secret: sasl::salt() };
        for name in &config.sasl_enabled_mechanisms {
            let mechanism = Mechanism::named(name).ok_or_else(|| {
                let served = Mechanism::ALL.map(|mechanism| format!("`{mechanism}`")).join(", ");
                StartError::setting(ENABLED, format!("`{name}` is not served; there are {served}"))
            })?;
            let own = own.iter_mut().find(|(of, _)| *of == mechanism).map(|(_, own)| std::mem::take(own));
            let own = own.unwrap_or_default();
            let values = BROKER.parse_over(values, &own).map_err(StartError::config)?;
            let config = BrokerConfig::from_values(&values);
            match mechanism {
                Mechanism::Plain => sasl.plain = Some(plain_users(endpoint, &config)?),
                Mechanism::OauthBearer => sasl.tokens = Some(Tokens::new(endpoint, &values, &own)?),
                Mechanism::Scram(_) => {}
            }
            let lifetime = Some(config.connections_max_reauth).filter(|time| !time.is_zero());
            sasl.mechanisms.push(Offered { mechanism, lifetime });
        }
        if sasl.mechanisms.is_empty() {
            return Err(StartError::setting(
                ENABLED,
                format!("listener `{}` offers no mechanism", endpoint.name),
            ));
        }
        Ok(sasl)
    }

    /// The mechanism of this name, if it is offered.
    pub(crate) fn offers(&self, name: &str) -> Option<Offered> {
        self.mechanisms.iter().copied().find(|offered| offered.mechanism.name() == name)
    }
}

fn plain_users(endpoint: &Endpoint, config: &BrokerConfig) -> Result<PlainUsers, StartError> {
    if !endpoint.protocol.has_tls() && !config.sasl_plain_without_tls {
        let why = format!(
            "listener `{}` offers PLAIN without TLS, so that everybody on the way can read passwords; make it SASL_SSL, offer \
             SCRAM, or set `ottla.sasl.plain.without.tls` to `true` if it must be",
            endpoint.name
        );
        return Err(StartError::setting("sasl.enabled.mechanisms", why));
    }
    const KEY: &str = "sasl.jaas.config";
    let key = format!("listener.name.{}.plain.{KEY}", endpoint.name.to_ascii_lowercase());
    let Some(text) = &config.sasl_jaas_config else {
        return Err(StartError::setting(
            KEY,
            format!("PLAIN has no users; name them in `{key}`, as `user_NAME=\"password\"`"),
        ));
    };
    let jaas = JaasConfig::parse(text.reveal())
        .map_err(|error| StartError::setting(KEY, format!("`{key}` cannot be read: {error}")))?;
    if jaas.module() != "PlainLoginModule" {
        let why = format!("`{key}` names `{}`; PLAIN has `PlainLoginModule`", jaas.module());
        return Err(StartError::setting(KEY, why));
    }
    Ok(PlainUsers::new(&jaas, &sasl::salt()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listeners::Protocol;

    fn listening(protocol: Protocol, properties: &str) -> Result<Listening, String> {
        let endpoint = Endpoint { name: "CLIENTS".into(), host: String::new(), port: 9092, protocol };
        let mut settings = Settings::new();
        settings.properties("server.properties", properties.as_bytes());
        let base = BROKER.parse(&settings).map_err(|errors| errors.to_string())?;
        let own = settings.take_beginning("listener.name.clients.");
        Listening::new(&endpoint, &base, own).map_err(|error| error.to_string())
    }

    const USERS: &str = "listener.name.clients.plain.sasl.jaas.config=\
        org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"wonder\";\n";

    #[test]
    fn a_listeners_own_keys_go_over_the_brokers_and_a_mechanisms_over_both() {
        let properties = format!(
            "sasl.enabled.mechanisms=GSSAPI\nconnections.max.reauth.ms=1000\n\
             listener.name.clients.sasl.enabled.mechanisms=SCRAM-SHA-256,PLAIN\n\
             listener.name.clients.ottla.sasl.plain.without.tls=true\n\
             listener.name.clients.plain.connections.max.reauth.ms=0\n{USERS}"
        );
        let sasl = listening(Protocol::SaslPlaintext, &properties).unwrap().sasl.unwrap();
        let offered: Vec<_> = sasl.mechanisms.iter().map(|it| (it.mechanism.name(), it.lifetime)).collect();
        assert_eq!(offered, [("SCRAM-SHA-256", Some(Duration::from_secs(1))), ("PLAIN", None)]);
        assert!(sasl.plain.is_some());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_key_and_without_secrets() {
        let cases = [
            (
                Protocol::SaslSsl,
                String::new(),
                "`ssl.keystore.location`: listener `CLIENTS` cannot be made secure",
            ),
            (Protocol::SaslPlaintext, String::new(), "`sasl.enabled.mechanisms`: `GSSAPI` is not served"),
            (
                Protocol::SaslPlaintext,
                format!("sasl.enabled.mechanisms=PLAIN\n{USERS}"),
                "offers PLAIN without TLS",
            ),
            (
                Protocol::SaslPlaintext,
                "sasl.enabled.mechanisms=PLAIN\nottla.sasl.plain.without.tls=true".into(),
                "PLAIN has no users; name them in `listener.name.clients.plain.sasl.jaas.config`",
            ),
            (
                Protocol::SaslPlaintext,
                "sasl.enabled.mechanisms=PLAIN\nottla.sasl.plain.without.tls=true\n\
                 listener.name.clients.plain.sasl.jaas.config=x.PlainLoginModule required user_a=\"hunter2"
                    .into(),
                "a quote is not closed",
            ),
            (
                Protocol::Plaintext,
                "listener.name.clients.ssl.keystor.type=PEM".into(),
                "did you mean `ssl.keystore.type`?",
            ),
        ];
        for (protocol, properties, words) in cases {
            let error = listening(protocol, &properties).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
