//! Certificates for tests: an authority, and what it has signed, as PEM files in a directory that goes with them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

/// An authority, and a directory with the certificates that it has signed.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// Whose certificate, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The common name, in the organization `Acme`.
    pub name: &'a str,
    /// Names and addresses of hosts.
    pub hosts: &'a [&'a str],
    /// Whether it was good once, and is no more.
    pub is_expired: bool,
}

impl<'a> Subject<'a> {
    /// A broker on loopback.
    pub const BROKER: Self = Self { name: "broker", hosts: &["localhost", "127.0.0.1"], is_expired: false };

    /// A client.
    pub const fn client(name: &'a str) -> Self {
        Self { name, hosts: &[], is_expired: false }
    }
}

impl Authority {
    /// A new one, whom nobody trusts yet. Its own certificate is [`Self::certificate`].
    ///
    /// # Errors
    ///
    /// If files cannot be written.
    pub fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let directory = tempfile::tempdir()?;
        fs::write(directory.path().join("ca.pem"), issuer.pem())?;
        Ok(Self { issuer, directory })
    }

    /// The file with its certificate: a trust store.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A directory for what a test writes beside.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Signs a certificate; gives the file with it and its private key: a key store. One that was signed before under this name is
    /// replaced.
    ///
    /// # Errors
    ///
    /// If files cannot be written.
    pub fn sign(&self, subject: Subject<'_>) -> anyhow::Result<PathBuf> {
        let years = subject.is_expired.then_some((2020, 2021));
        self.sign_for(subject, years)
    }

    /// As [`Self::sign`], good from the beginning of one year to that of another; without them, now.
    ///
    /// # Errors
    ///
    /// If files cannot be written.
    pub fn sign_for(&self, subject: Subject<'_>, years: Option<(i32, i32)>) -> anyhow::Result<PathBuf> {
        let hosts: Vec<String> = subject.hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Acme");
        params.distinguished_name.push(DnType::CommonName, subject.name);
        if let Some((from, until)) = years {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(until, 1, 1);
        }
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &self.issuer)?;
        let path = self.directory.path().join(format!("{}.pem", subject.name));
        fs::write(&path, format!("{}{}", key.serialize_pem(), signed.pem()))
            .with_context(|| path.display().to_string())?;
        Ok(path)
    }
}
