//! Certificates that are made for a test, and settings that have them.

use ottla_transport::tls::{Source, TlsSettings};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key, as PEM.
pub(crate) fn certificate(authority: &Authority, name: &str, hosts: &[&str]) -> String {
    let mut params =
        CertificateParams::new(hosts.iter().map(|&host| host.to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Acme");
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let signed = params.signed_by(&key, authority).unwrap();
    format!("{}{}", key.serialize_pem(), signed.pem())
}

pub(crate) fn shows(pem: &str) -> TlsSettings {
    TlsSettings { certificates: Some(Source::Text(pem.to_owned())), ..TlsSettings::default() }
}

pub(crate) fn trusting(authority: &Authority, settings: TlsSettings) -> TlsSettings {
    TlsSettings { trust: Some(Source::Text(authority.pem())), ..settings }
}
