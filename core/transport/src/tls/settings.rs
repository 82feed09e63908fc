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
        }
    }
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("certificates", &self.certificates)
            .field("key", &self.key)
            .field("trust", &self.trust)
            .field("versions", &self.versions)
            .field("checks_host", &self.checks_host)
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
