//! Where keys and certificates are, and what TLS is to be like: Kafka's keys that begin with `ssl.`.

use std::{fmt, path::PathBuf};

/// A version of TLS. Older ones are not spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl TlsVersion {
    /// By Java's name of it: `TLSv1.2`, `TLSv1.3`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "TLSv1.2" => Some(Self::V1_2),
            "TLSv1.3" => Some(Self::V1_3),
            _ => None,
        }
    }
}

/// How a store is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StoreFormat {
    /// Text, as OpenSSL writes it.
    Pem,
    /// PKCS#12, which is also what Java writes where it says `JKS` since Java 9.
    Pkcs12,
    /// By what the file begins with.
    #[default]
    Any,
}

impl StoreFormat {
    /// By Kafka's name of it. `JKS` is Kafka's default and says little: such a file is looked at.
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "PEM" => Some(Self::Pem),
            "PKCS12" => Some(Self::Pkcs12),
            "JKS" => Some(Self::Any),
            _ => None,
        }
    }
}

/// Where something is.
#[derive(Clone, Eq, PartialEq)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// In the configuration itself, as PEM.
    Text(String),
}

impl fmt::Debug for Source {
    /// A text may be a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text(_) => f.write_str("Text"),
        }
    }
}

/// What TLS is to be like. `Debug` shows no secrets.
#[derive(Clone, Eq, PartialEq)]
pub struct TlsSettings {
    /// Our own certificate and those that lead to its root; `None` if we show none.
    pub certificates: Option<Source>,
    /// Its private key, if it is not where the certificates are.
    pub key: Option<Source>,
    /// How the store of both is written.
    pub key_format: StoreFormat,
    /// Password of the store.
    pub key_store_password: Option<String>,
    /// Password of the key in it.
    pub key_password: Option<String>,
    /// Whom we trust; `None` for those that the system trusts.
    pub trust: Option<Source>,
    /// How that store is written.
    pub trust_format: StoreFormat,
    /// Its password.
    pub trust_store_password: Option<String>,
    /// Versions that may be spoken.
    pub versions: Vec<TlsVersion>,
    /// Whether the server's certificate must be of the host that was asked for.
    pub checks_host: bool,
    /// Whether the server's certificate is looked at at all. If not, anybody on the way can be the server.
    pub checks_certificate: bool,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            certificates: None,
            key: None,
            key_format: StoreFormat::Any,
            key_store_password: None,
            key_password: None,
            trust: None,
            trust_format: StoreFormat::Any,
            trust_store_password: None,
            versions: vec![TlsVersion::V1_2, TlsVersion::V1_3],
            checks_host: true,
            checks_certificate: true,
        }
    }
}

/// What the keys that begin with `ssl.` say, as both sides have them. `Debug` would show secrets, so there is none.
#[derive(Clone, Copy, Default)]
pub struct SslKeys<'a> {
    /// `ssl.keystore.location`.
    pub keystore_location: Option<&'a str>,
    /// `ssl.keystore.type`.
    pub keystore_type: &'a str,
    /// `ssl.keystore.password`.
    pub keystore_password: Option<&'a str>,
    /// `ssl.keystore.certificate.chain`.
    pub keystore_certificate_chain: Option<&'a str>,
    /// `ssl.keystore.key`.
    pub keystore_key: Option<&'a str>,
    /// `ssl.key.location`, which is librdkafka's.
    pub key_location: Option<&'a str>,
    /// `ssl.key.password`.
    pub key_password: Option<&'a str>,
    /// `ssl.truststore.location`.
    pub truststore_location: Option<&'a str>,
    /// `ssl.truststore.type`.
    pub truststore_type: &'a str,
    /// `ssl.truststore.password`.
    pub truststore_password: Option<&'a str>,
    /// `ssl.truststore.certificates`.
    pub truststore_certificates: Option<&'a str>,
    /// `ssl.enabled.protocols`.
    pub enabled_protocols: &'a [String],
    /// `ssl.endpoint.identification.algorithm`.
    pub endpoint_identification_algorithm: &'a str,
}

/// The [`SslKeys`](crate::tls::SslKeys) of a configuration, of either side: its fields are generated from the one table of these keys.
#[macro_export]
macro_rules! ssl_keys {
    ($config:expr) => {{
        let config = $config;
        $crate::tls::SslKeys {
            keystore_location: config.ssl_keystore_location.as_deref(),
            keystore_type: &config.ssl_keystore_type,
            keystore_password: config.ssl_keystore_password.as_ref().map(|secret| secret.reveal()),
            keystore_certificate_chain: config
                .ssl_keystore_certificate_chain
                .as_ref()
                .map(|secret| secret.reveal()),
            keystore_key: config.ssl_keystore_key.as_ref().map(|secret| secret.reveal()),
            key_location: config.ssl_key_location.as_deref(),
            key_password: config.ssl_key_password.as_ref().map(|secret| secret.reveal()),
            truststore_location: config.ssl_truststore_location.as_deref(),
            truststore_type: &config.ssl_truststore_type,
            truststore_password: config.ssl_truststore_password.as_ref().map(|secret| secret.reveal()),
            truststore_certificates: config
                .ssl_truststore_certificates
                .as_ref()
                .map(|secret| secret.reveal()),
            enabled_protocols: &config.ssl_enabled_protocols,
            endpoint_identification_algorithm: &config.ssl_endpoint_identification_algorithm,
        }
    }};
}

/// A key whose value will not do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SettingError {
    /// Kafka's name of the key.
    pub key: &'static str,
    /// What is wrong with its value.
    pub why: String,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.key, self.why)
    }
}

impl std::error::Error for SettingError {}

impl TlsSettings {
    /// What the keys say.
    ///
    /// # Errors
    /// If one has a value that is not known, or two name the same thing.
    pub fn of(keys: &SslKeys<'_>) -> Result<Self, SettingError> {
        let file =
            |path: Option<&str>| path.filter(|path| !path.is_empty()).map(|path| Source::File(path.into()));
        let text = |text: Option<&str>| {
            text.filter(|text| !text.is_empty()).map(|text| Source::Text(text.to_owned()))
        };
        let format = |key, name: &str| {
            let why = || format!("`{name}` is not known; there are `PEM`, `PKCS12` and `JKS`");
            StoreFormat::named(name).ok_or_else(|| SettingError { key, why: why() })
        };
        let versions = keys.enabled_protocols.iter().map(|name| {
            let why = || format!("`{name}` is not spoken; there are `TLSv1.2` and `TLSv1.3`");
            TlsVersion::named(name).ok_or_else(|| SettingError { key: "ssl.enabled.protocols", why: why() })
        });
        let versions = versions.collect::<Result<Vec<_>, _>>()?;
        if versions.is_empty() {
            let why = "names no version; there are `TLSv1.2` and `TLSv1.3`".into();
            return Err(SettingError { key: "ssl.enabled.protocols", why });
        }
        let checks_host = match keys.endpoint_identification_algorithm.to_ascii_lowercase().as_str() {
            "https" => true,
            "" | "none" => false,
            other => {
                let why =
                    format!("`{other}` is not known; there is `https`, and the empty text for no check");
                return Err(SettingError { key: "ssl.endpoint.identification.algorithm", why });
            }
        };
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Ok(Self {
            certificates: either(
                "ssl.keystore.certificate.chain",
                file(keys.keystore_location),
                text(keys.keystore_certificate_chain),
            )?,
            key: either("ssl.keystore.key", file(keys.key_location), text(keys.keystore_key))?,
            key_format: format("ssl.keystore.type", keys.keystore_type)?,
            key_store_password: owned(keys.keystore_password),
            key_password: owned(keys.key_password),
            trust: either(
                "ssl.truststore.certificates",
                file(keys.truststore_location),
                text(keys.truststore_certificates),
            )?,
            trust_format: format("ssl.truststore.type", keys.truststore_type)?,
            trust_store_password: owned(keys.truststore_password),
            versions,
            checks_host,
            checks_certificate: true,
        })
    }
}

/// The one of two that is there.
fn either(
    key: &'static str,
    file: Option<Source>,
    text: Option<Source>,
) -> Result<Option<Source>, SettingError> {
    if file.is_some() && text.is_some() {
        return Err(SettingError { key, why: "a file is named for the same; keep one of both".into() });
    }
    Ok(file.or(text))
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("certificates", &self.certificates)
            .field("key", &self.key)
            .field("trust", &self.trust)
            .field("versions", &self.versions)
            .field("checks_host", &self.checks_host)
            .field("checks_certificate", &self.checks_certificate)
            .finish_non_exhaustive()
    }
}

impl TlsSettings {
    /// The files that these settings name.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.certificates, &self.key, &self.trust].into_iter().flatten().filter_map(|source| match source {
            Source::File(path) => Some(path),
            Source::Text(_) => None,
        })
    }

    /// The versions as rustls knows them.
    pub(super) fn protocols(&self) -> Vec<&'static rustls::SupportedProtocolVersion> {
        let known = |version: &TlsVersion| match version {
            TlsVersion::V1_2 => &rustls::version::TLS12,
            TlsVersion::V1_3 => &rustls::version::TLS13,
        };
        self.versions.iter().map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(versions: &[String]) -> SslKeys<'_> {
        SslKeys {
            keystore_type: "JKS",
            truststore_type: "pem",
            enabled_protocols: versions,
            endpoint_identification_algorithm: "https",
            ..SslKeys::default()
        }
    }

    #[test]
    fn keys_become_settings_and_what_is_wrong_is_said_by_key() {
        let versions = ["TLSv1.3".to_owned()];
        let settings =
            TlsSettings::of(&SslKeys { truststore_location: Some("ca.pem"), ..keys(&versions) }).unwrap();
        assert_eq!(settings.trust, Some(Source::File("ca.pem".into())));
        assert_eq!(settings.versions, [TlsVersion::V1_3]);
        assert!(settings.checks_host && settings.trust_format == StoreFormat::Pem);
        let lax = SslKeys { endpoint_identification_algorithm: "", ..keys(&versions) };
        assert!(!TlsSettings::of(&lax).unwrap().checks_host);

        let wrong = |keys: SslKeys<'_>| TlsSettings::of(&keys).unwrap_err().key;
        assert_eq!(wrong(SslKeys { keystore_type: "BKS", ..keys(&versions) }), "ssl.keystore.type");
        assert_eq!(wrong(keys(&["SSLv3".to_owned()])), "ssl.enabled.protocols");
        assert_eq!(wrong(keys(&[])), "ssl.enabled.protocols");
        let twice =
            SslKeys { truststore_location: Some("a"), truststore_certificates: Some("b"), ..keys(&versions) };
        assert_eq!(wrong(twice), "ssl.truststore.certificates");
    }
}
