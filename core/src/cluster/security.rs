//! How connections are secured: what `security.protocol` and the keys that begin with `ssl.` and `sasl.` come to.

use std::sync::Arc;

use ottla_config::Secret;
use ottla_transport::{
    sasl::{Credentials, JaasConfig, Login, Mechanism},
    ssl_keys,
    tls::{TlsConnector, TlsSettings},
};

use super::tokens::{AnyProvider, Endpoint, Source, Tokens};
use crate::{
    config::{ClientConfig, OauthbearerMethod, SecurityProtocol},
    error::{Error, ErrorKind, Result},
};

const VERIFICATION: &str = "enable.ssl.certificate.verification";
const JAAS: &str = "sasl.jaas.config";

/// What a connection goes through before it is of use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Security {
    /// Makes it secret, and the broker known; `None` for plain text.
    pub tls: Option<Arc<TlsConnector>>,
    /// Makes the client known; `None` where nobody asks.
    pub sasl: Option<SaslLogin>,
}

/// Who logs in, and how.
#[derive(Clone, Debug)]
pub(crate) enum SaslLogin {
    /// By what stays as it is: name and password.
    Fixed(Credentials),
    /// By the token that is good at the time.
    Bearer(Arc<Tokens>),
}

impl SaslLogin {
    pub(crate) fn mechanism(&self) -> Mechanism {
        match self {
            Self::Fixed(credentials) => credentials.mechanism(),
            Self::Bearer(_) => Mechanism::OauthBearer,
        }
    }
}

impl Security {
    /// What the keys say. Reads the files that they name. Tokens are the `program`'s, if it gives any.
    pub(crate) fn new(config: &ClientConfig, program: Option<AnyProvider>) -> Result<Self> {
        let (tls, sasl) = match config.security_protocol {
            SecurityProtocol::Plaintext => (false, false),
            SecurityProtocol::Ssl => (true, false),
            SecurityProtocol::SaslPlaintext => (false, true),
            SecurityProtocol::SaslSsl => (true, true),
        };
        let tls = if tls { Some(Arc::new(connector(config)?)) } else { None };
        let sasl = if sasl { Some(login(config, program)?) } else { None };
        Ok(Self { tls, sasl })
    }
}

pub(super) fn wrong(key: &str, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Config, format!("`{key}`: {why}"))
}

fn connector(config: &ClientConfig) -> Result<TlsConnector> {
    let settings = tls_settings(config)?;
    if !settings.checks_certificate {
        tracing::warn!(
            "`{VERIFICATION}=false`: whoever answers is taken for the broker; name whom to trust by `ssl.truststore.location`"
        );
    }
    connector_of(settings)
}

/// What the keys that begin with `ssl.` say.
pub(super) fn tls_settings(config: &ClientConfig) -> Result<TlsSettings> {
    let settings = TlsSettings::of(&ssl_keys!(config));
    let mut settings = settings.map_err(|error| wrong(error.key, &error.why).caused_by(error))?;
    settings.checks_certificate = config.enable_ssl_certificate_verification;
    Ok(settings)
}

pub(super) fn connector_of(settings: TlsSettings) -> Result<TlsConnector> {
    TlsConnector::new(settings).map_err(|error| {
        Error::new(ErrorKind::Config, format!("TLS cannot be set up: {error}"))
            .hint("check the keys that begin with `ssl.`")
            .caused_by(error)
    })
}

fn login(config: &ClientConfig, program: Option<AnyProvider>) -> Result<SaslLogin> {
    const MECHANISM: &str = "sasl.mechanism";
    let name = &config.sasl_mechanism;
    let mechanism = Mechanism::named(name).ok_or_else(|| {
        let served = Mechanism::ALL.map(|mechanism| format!("`{mechanism}`")).join(", ");
        wrong(MECHANISM, format!("`{name}` is not served; there are {served}"))
    })?;
    if mechanism.shows_secret() && !config.sasl_plain_without_tls {
        let secret = if mechanism == Mechanism::OauthBearer { "token" } else { "password" };
        if config.security_protocol != SecurityProtocol::SaslSsl {
            let text = format!("{mechanism} without TLS shows the {secret} to everybody on the way");
            return Err(wrong(MECHANISM, text)
                .hint("set `security.protocol` to `SASL_SSL`, or `ottla.sasl.plain.without.tls` to `true` if it must be"));
        }
        if !config.enable_ssl_certificate_verification {
            let text =
                format!("{mechanism} with `{VERIFICATION}=false` gives the {secret} to whoever answers");
            return Err(wrong(MECHANISM, text).hint(
                "name whom to trust by `ssl.truststore.location`, or set `ottla.sasl.plain.without.tls` to `true` if it must be",
            ));
        }
    }
    if mechanism == Mechanism::OauthBearer {
        return Ok(SaslLogin::Bearer(Tokens::new(source(config, program)?, config)));
    }
    let named = (config.sasl_username.as_deref(), config.sasl_password.as_ref().map(Secret::reveal));
    let login = match (named, &config.sasl_jaas_config) {
        ((None, None), Some(jaas)) => login_of_jaas(jaas, mechanism)?,
        ((Some(user), Some(password)), None) => {
            Login { user: user.to_owned(), password: password.to_owned() }
        }
        ((None, None), None) => {
            return Err(wrong(MECHANISM, format!("{mechanism} needs a user name and a password"))
                .hint("set `sasl.username` and `sasl.password`, or `sasl.jaas.config`"));
        }
        (_, Some(_)) => {
            return Err(wrong(JAAS, "the user is named by `sasl.username` and `sasl.password`, too")
                .hint("keep one of both"));
        }
        _ => return Err(wrong("sasl.username", "it takes both, `sasl.username` and `sasl.password`")),
    };
    let credentials = Credentials::of_login(mechanism, login);
    credentials
        .map(SaslLogin::Fixed)
        .ok_or_else(|| wrong(MECHANISM, format!("{mechanism} takes no password")))
}

/// Where tokens come from: of the program, or of the place that the settings name.
fn source(config: &ClientConfig, program: Option<AnyProvider>) -> Result<Source> {
    const URL: &str = "sasl.oauthbearer.token.endpoint.url";
    match (program, &config.sasl_oauthbearer_token_endpoint_url) {
        (Some(_), Some(_)) => Err(wrong(URL, "tokens come from a function of the program, too")
            .hint("keep one of both: the setting, or the function")),
        (Some(program), None) if config.sasl_oauthbearer_method == OauthbearerMethod::Default => {
            Ok(Source::Program(program))
        }
        (None, Some(url)) => {
            let jaas = config.sasl_jaas_config.as_ref();
            let jaas = jaas.map(|jaas| jaas_of(jaas, Mechanism::OauthBearer)).transpose()?;
            Ok(Source::Endpoint(Endpoint::new(url, config, jaas.as_ref())?))
        }
        (_, None) => Err(wrong("sasl.mechanism", "OAUTHBEARER needs something that gives tokens").hint(
            "set `sasl.oauthbearer.token.endpoint.url` with client id and secret, or give the client a function that gets tokens",
        )),
    }
}

/// The user of a client's login module, as Kafka's `PlainLoginModule` and `ScramLoginModule` have it.
fn login_of_jaas(jaas: &Secret, mechanism: Mechanism) -> Result<Login> {
    let jaas = jaas_of(jaas, mechanism)?;
    let option = |name| {
        let found = jaas.option(name).filter(|value| !value.is_empty());
        found.map(str::to_owned).ok_or_else(|| wrong(JAAS, format!("it has no `{name}`")))
    };
    Ok(Login { user: option("username")?, password: option("password")? })
}

/// A client's login module, which must be that of the mechanism.
fn jaas_of(jaas: &Secret, mechanism: Mechanism) -> Result<JaasConfig> {
    let jaas = JaasConfig::parse(jaas.reveal()).map_err(|error| wrong(JAAS, error).caused_by(error))?;
    let module = match mechanism {
        Mechanism::Plain => "PlainLoginModule",
        Mechanism::Scram(_) => "ScramLoginModule",
        Mechanism::OauthBearer => "OAuthBearerLoginModule",
    };
    if jaas.module() != module {
        return Err(wrong(
            JAAS,
            format!("`{}` is not the login module of {mechanism}, `{module}`", jaas.module()),
        ));
    }
    Ok(jaas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AdminConfig;

    fn config(edit: impl FnOnce(&mut AdminConfig)) -> ClientConfig {
        let mut config =
            AdminConfig { security_protocol: SecurityProtocol::SaslSsl, ..AdminConfig::default() };
        edit(&mut config);
        ClientConfig::from(&config)
    }

    fn jaas(text: &str) -> Option<Secret> {
        Some(Secret::new(text))
    }

    #[test]
    fn a_user_is_named_as_librdkafka_or_as_java_does() {
        let by_jaas = config(|config| {
            config.sasl_mechanism = "SCRAM-SHA-256".into();
            config.sasl_jaas_config = jaas(
                "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"a\" password=\"b\";",
            );
        });
        let by_name = config(|config| {
            config.sasl_mechanism = "SCRAM-SHA-256".into();
            config.sasl_username = Some("a".into());
            config.sasl_password = Some(Secret::new("b"));
        });
        for config in [by_jaas, by_name] {
            let SaslLogin::Fixed(credentials) = login(&config, None).unwrap() else { panic!("it is fixed") };
            let expected = Login { user: "a".into(), password: "b".into() };
            assert_eq!(Some(&credentials), Credentials::of_login(credentials.mechanism(), expected).as_ref());
            assert_eq!(credentials.mechanism().name(), "SCRAM-SHA-256");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        let user = |config: &mut AdminConfig| {
            config.sasl_username = Some("a".into());
            config.sasl_password = Some(Secret::new("hunter2"));
        };
        let cases: [(ClientConfig, &str); 6] = [
            (config(user), "`sasl.mechanism`: `GSSAPI` is not served; there are `SCRAM-SHA-512`"),
            (
                config(|config| {
                    user(config);
                    config.sasl_mechanism = "PLAIN".into();
                    config.security_protocol = SecurityProtocol::SaslPlaintext;
                }),
                "`sasl.mechanism`: PLAIN without TLS shows the password to everybody on the way; set",
            ),
            (
                config(|config| {
                    user(config);
                    config.sasl_mechanism = "PLAIN".into();
                    config.enable_ssl_certificate_verification = false;
                }),
                "gives the password to whoever answers; name whom to trust",
            ),
            (
                config(|config| config.sasl_mechanism = "PLAIN".into()),
                "PLAIN needs a user name and a password",
            ),
            (
                config(|config| {
                    config.sasl_mechanism = "PLAIN".into();
                    config.sasl_jaas_config =
                        jaas("x.ScramLoginModule required username=a password=hunter2;");
                }),
                "`sasl.jaas.config`: `ScramLoginModule` is not the login module of PLAIN, `PlainLoginModule`",
            ),
            (
                config(|config| {
                    user(config);
                    config.sasl_mechanism = "PLAIN".into();
                    config.sasl_jaas_config =
                        jaas("x.PlainLoginModule required username=a password=hunter2;");
                }),
                "`sasl.jaas.config`: the user is named by",
            ),
        ];
        let oauth = |protocol, checks| {
            config(|config| {
                config.sasl_mechanism = "OAUTHBEARER".into();
                config.security_protocol = protocol;
                config.enable_ssl_certificate_verification = checks;
            })
        };
        let tokens = [
            (
                oauth(SecurityProtocol::SaslPlaintext, true),
                "OAUTHBEARER without TLS shows the token to everybody on the way",
            ),
            (
                oauth(SecurityProtocol::SaslSsl, false),
                "gives the token to whoever answers; name whom to trust",
            ),
            (oauth(SecurityProtocol::SaslSsl, true), "OAUTHBEARER needs something that gives tokens; set"),
        ];
        for (config, words) in cases.into_iter().chain(tokens) {
            let error = login(&config, None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(words), "{error}");
            assert!(!format!("{error} {error:?} {config:?}").contains("hunter2"), "{error:?}");
        }
        let forced = config(|config| {
            user(config);
            config.sasl_mechanism = "PLAIN".into();
            config.security_protocol = SecurityProtocol::SaslPlaintext;
            config.sasl_plain_without_tls = true;
        });
        assert!(login(&forced, None).is_ok());
    }

    #[test]
    fn a_trust_store_that_is_not_there_is_a_mistake_in_the_configuration() {
        let config = config(|config| {
            config.security_protocol = SecurityProtocol::Ssl;
            config.ssl_truststore_location = Some("/no/such.pem".into());
        });
        let error = Security::new(&config, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("`/no/such.pem` cannot be read"), "{error}");
    }
}
