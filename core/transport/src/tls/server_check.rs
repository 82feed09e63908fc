//! Whether a server is the one that a client asked for.

use std::{sync::Arc, time::SystemTime};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::{CertificateReport, TlsError, TlsSettings, store};

/// Looks at what a server shows. Whatever that is, the server must have its key.
#[derive(Debug)]
pub(super) struct ServerCheck {
    provider: Arc<CryptoProvider>,
    /// `None` takes any certificate: `enable.ssl.certificate.verification=false`.
    trust: Option<Trust>,
}

#[derive(Debug)]
struct Trust {
    /// Finds a way to an authority; `None` where no authority is trusted.
    chains: Option<Arc<WebPkiServerVerifier>>,
    /// Trusted as they are. The library takes no authority's certificate for a server's own, which is what most that sign
    /// themselves are; whoever puts such a one into a trust store means that server, as Java and OpenSSL understand it.
    themselves: Vec<CertificateDer<'static>>,
    /// Whether the certificate must be of the host: not with `ssl.endpoint.identification.algorithm=`.
    checks_host: bool,
}

impl ServerCheck {
    /// What the settings ask for.
    pub(super) fn new(settings: &TlsSettings, provider: Arc<CryptoProvider>) -> Result<Arc<Self>, TlsError> {
        let trust = match settings.checks_certificate {
            true => Some(Trust::new(settings, &provider)?),
            false => None,
        };
        Ok(Arc::new(Self { provider, trust }))
    }
}

impl Trust {
    fn new(settings: &TlsSettings, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let store::Trusted { roots, certificates } = store::trusted(settings)?;
        let chains = match roots.is_empty() {
            true => None,
            false => {
                let built =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                        .build();
                Some(built.map_err(|error| TlsError::Unreadable { store: "trust", why: error.to_string() })?)
            }
        };
        Ok(Self { chains, themselves: certificates, checks_host: settings.checks_host })
    }

    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let checked = match &self.chains {
            _ if self.themselves.contains(certificate) => check_itself(certificate, host, now),
            Some(chains) => chains.verify_server_cert(certificate, intermediates, host, ocsp_response, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        match checked {
            // The name is looked at last, when all else was found good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_host => Ok(ServerCertVerified::assertion()),
            Err(Error::InvalidCertificate(CertificateError::Other(_))) if signs_itself(certificate) => {
                Err(CertificateError::UnknownIssuer.into())
            }
            checked => checked,
        }
    }
}

/// Checks a certificate that is trusted: its time, and whose it is.
fn check_itself(
    certificate: &CertificateDer<'_>,
    host: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let report = CertificateReport::read(certificate).ok_or(CertificateError::BadEncoding)?;
    let (not_before, not_after) = (unix(report.not_before), unix(report.not_after));
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, host)?;
    Ok(ServerCertVerified::assertion())
}

/// Whether a certificate names itself as its authority. Of one that nobody trusts, the library says only that it is no server's.
fn signs_itself(certificate: &CertificateDer<'_>) -> bool {
    CertificateReport::read(certificate).is_some_and(|report| report.subject == report.issuer)
}

fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

impl ServerCertVerifier for ServerCheck {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.trust {
            Some(trust) => trust.check(end_entity, intermediates, server_name, ocsp_response, now),
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
