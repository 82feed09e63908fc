//! What two sides agreed on, and what a certificate says, for people to look at.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::SystemTime,
};

use rustls::{CipherSuite, ProtocolVersion, pki_types::CertificateDer};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use x509_cert::{
    Certificate,
    der::{DateTime, Decode},
    ext::pkix::{SubjectAltName, name::GeneralName},
};

/// Names of a certificate that are read; a certificate may have any number.
const NAMES_MAX: usize = 32;

/// What a client and a server agreed on. Put into words when somebody asks.
#[derive(Clone, Debug)]
pub struct TlsReport {
    version: Option<ProtocolVersion>,
    cipher: Option<CipherSuite>,
    certificate: Option<CertificateDer<'static>>,
}

/// What a certificate says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateReport {
    /// Whose it is, as RFC 2253 writes it.
    pub subject: String,
    /// Who has signed it.
    pub issuer: String,
    /// The hosts that it is good for: names, then addresses; at most 32.
    pub hosts: Vec<String>,
    /// From when it is good.
    pub not_before: SystemTime,
    /// Until when it is good.
    pub not_after: SystemTime,
}

impl TlsReport {
    pub(crate) fn of(stream: &TlsStream<TcpStream>) -> Self {
        let (_, session) = stream.get_ref();
        Self {
            version: session.protocol_version(),
            cipher: session.negotiated_cipher_suite().map(|suite| suite.suite()),
            certificate: session.peer_certificates().and_then(|chain| chain.first().cloned()),
        }
    }

    /// The version, by Java's name of it: `TLSv1.3`.
    pub fn version(&self) -> String {
        self.version.map_or_else(unknown, |version| format!("{version:?}").replace('_', "."))
    }

    /// The cipher suite, by its name in the standard.
    pub fn cipher(&self) -> String {
        self.cipher.map_or_else(unknown, |cipher| format!("{cipher:?}").replace("TLS13_", "TLS_"))
    }

    /// What the server's certificate says, where it can be read.
    pub fn certificate(&self) -> Option<CertificateReport> {
        self.certificate.as_ref().and_then(CertificateReport::read)
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

impl CertificateReport {
    /// What the certificate says; `None` if it cannot be read.
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(certificate).ok()?;
        let signed = certificate.tbs_certificate();
        let names = signed.get_extension::<SubjectAltName>().ok().flatten();
        let names = names.map(|(_, SubjectAltName(names))| names).unwrap_or_default();
        let validity = signed.validity();
        let at = |time: x509_cert::time::Time| SystemTime::UNIX_EPOCH + time.to_unix_duration();
        Some(Self {
            subject: signed.subject().to_string(),
            issuer: signed.issuer().to_string(),
            hosts: names.iter().filter_map(host).take(NAMES_MAX).collect(),
            not_before: at(validity.not_before),
            not_after: at(validity.not_after),
        })
    }

    /// The first and the last moment at which it is good, in UTC, as RFC 3339 writes them.
    pub fn valid(&self) -> (String, String) {
        let text = |time: SystemTime| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            DateTime::from_unix_duration(since).map_or_else(|_| unknown(), |time| time.to_string())
        };
        (text(self.not_before), text(self.not_after))
    }
}

fn host(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = || <[u8; 4]>::try_from(bytes).map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
            let v6 = |_| <[u8; 16]>::try_from(bytes).map(|octets| IpAddr::from(Ipv6Addr::from(octets)));
            v4().or_else(v6).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_tells_whose_it_is_for_which_hosts_and_until_when() {
        let hosts = ["a.example", "10.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(hosts.to_vec()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "broker");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 2);
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let report = CertificateReport::read(signed.der()).unwrap();
        assert_eq!(report.hosts, hosts);
        assert!(report.subject.contains("CN=broker"), "{report:?}");
        let valid = report.not_after.duration_since(report.not_before).unwrap();
        assert_eq!(valid.as_secs(), 24 * 60 * 60);
        assert_eq!(report.valid(), ("2020-01-01T00:00:00Z".to_owned(), "2020-01-02T00:00:00Z".to_owned()));
        assert_eq!(CertificateReport::read(&CertificateDer::from(b"nothing".to_vec())), None);
    }
}
