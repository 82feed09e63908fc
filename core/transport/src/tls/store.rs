//! Reads keys and certificates: PEM, or PKCS#12.

use std::{borrow::Cow, fs, path::Path};

use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use pkcs8::{EncryptedPrivateKeyInfoRef, der::SecretDocument};
use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{PemObject, SectionKind},
    },
};

use super::{Source, StoreFormat, TlsError, TlsSettings};

/// Largest store that is read, in bytes.
const STORE_BYTES_MAX: u64 = 16 * 1024 * 1024;

const KEY_STORE: &str = "key";
const TRUST_STORE: &str = "trust";

/// What a side shows to the other: its certificate first, then those that lead to the root, and the key.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// Our identity, if the settings name one.
pub(super) fn identity(settings: &TlsSettings) -> Result<Option<Identity>, TlsError> {
    let Some(certificates) = &settings.certificates else { return Ok(None) };
    let bytes = read(certificates)?;
    let format = found_format(settings.key_format, &bytes, KEY_STORE)?;
    let (chain, key) = match format {
        StoreFormat::Pkcs12 => from_pkcs12(&bytes, settings)?,
        StoreFormat::Pem | StoreFormat::Any => {
            let password = settings.key_password.as_deref();
            let key = match &settings.key {
                Some(key) => pem_key(&read(key)?, password)?,
                None => pem_key(&bytes, password)?,
            };
            (pem_certificates(&bytes, KEY_STORE)?, key)
        }
    };
    let missing = |what| TlsError::Missing { store: KEY_STORE, what };
    if chain.is_empty() {
        return Err(missing("certificate"));
    }
    Ok(Some(Identity { chain, key: key.ok_or_else(|| missing("private key"))? }))
}

/// Whom a side trusts.
pub(super) struct Trusted {
    pub(super) roots: RootCertStore,
    /// What the settings name, as it is; nothing where the system says who is trusted.
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

/// Whom the settings trust; those that the system trusts where they do not say.
pub(super) fn trusted(settings: &TlsSettings) -> Result<Trusted, TlsError> {
    let mut roots = RootCertStore::empty();
    let Some(source) = &settings.trust else {
        // It may hold what no one can use.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(Trusted { roots, certificates: Vec::new() });
    };
    let bytes = read(source)?;
    let certificates = match found_format(settings.trust_format, &bytes, TRUST_STORE)? {
        StoreFormat::Pkcs12 => trusted_of_pkcs12(&bytes, settings.trust_store_password.as_deref())?,
        StoreFormat::Pem | StoreFormat::Any => pem_certificates(&bytes, TRUST_STORE)?,
    };
    let (added, _) = roots.add_parsable_certificates(certificates.iter().cloned());
    if added == 0 {
        return Err(TlsError::Missing { store: TRUST_STORE, what: "certificate" });
    }
    Ok(Trusted { roots, certificates })
}

fn read(source: &Source) -> Result<Cow<'_, [u8]>, TlsError> {
    match source {
        Source::Text(text) => Ok(Cow::Borrowed(text.as_bytes())),
        Source::File(path) => {
            read_file(path).map(Cow::Owned).map_err(|error| TlsError::File(path.clone(), error))
        }
    }
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > STORE_BYTES_MAX {
        return Err(std::io::Error::other("it is too large for a store of keys"));
    }
    fs::read(path)
}

/// The format that was asked for, or that the bytes are of.
fn found_format(asked: StoreFormat, bytes: &[u8], store: &'static str) -> Result<StoreFormat, TlsError> {
    const DER_SEQUENCE: u8 = 0x30;
    const JKS_MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
    if asked != StoreFormat::Any {
        return Ok(asked);
    }
    match bytes {
        [DER_SEQUENCE, ..] => Ok(StoreFormat::Pkcs12),
        _ if bytes.starts_with(&JKS_MAGIC) => Err(TlsError::Unreadable {
            store,
            why: "it is of Java's old format; `keytool -importkeystore -deststoretype pkcs12` makes PKCS#12 of it".into(),
        }),
        _ => Ok(StoreFormat::Pem),
    }
}

fn pem_certificates(bytes: &[u8], store: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    read.map_err(|error| TlsError::Unreadable { store, why: error.to_string() })
}

/// The first private key, if there is one; with its password if it is encrypted.
fn pem_key(bytes: &[u8], password: Option<&str>) -> Result<Option<PrivateKeyDer<'static>>, TlsError> {
    let unreadable = |why: String| TlsError::Unreadable { store: KEY_STORE, why };
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        let (kind, der) = section.map_err(|error| unreadable(error.to_string()))?;
        if let Some(key) = PrivateKeyDer::from_pem(kind, der) {
            return Ok(Some(key));
        }
    }
    // What is encrypted has a label that the reader above passes over.
    let text = String::from_utf8_lossy(bytes);
    let (begin, end) = ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "-----END ENCRYPTED PRIVATE KEY-----");
    let Some((_, rest)) = text.split_once(begin) else { return Ok(None) };
    let Some((body, _)) = rest.split_once(end) else {
        return Err(unreadable("the private key has no end".into()));
    };
    let password = password.ok_or(TlsError::Password(KEY_STORE))?;
    let (_, sealed) = SecretDocument::from_pem(&format!("{begin}{body}{end}"))
        .map_err(|error| unreadable(error.to_string()))?;
    let sealed = EncryptedPrivateKeyInfoRef::try_from(sealed.as_bytes())
        .map_err(|error| unreadable(error.to_string()))?;
    let open = sealed.decrypt(password).map_err(|_| TlsError::Password(KEY_STORE))?;
    Ok(Some(PrivateKeyDer::Pkcs8(open.as_bytes().to_vec().into())))
}

type ChainAndKey = (Vec<CertificateDer<'static>>, Option<PrivateKeyDer<'static>>);

fn from_pkcs12(bytes: &[u8], settings: &TlsSettings) -> Result<ChainAndKey, TlsError> {
    let password =
        settings.key_store_password.as_deref().or(settings.key_password.as_deref()).unwrap_or_default();
    let store = open(bytes, password, KEY_STORE)?;
    let Some((_, found)) = store.private_key_chain() else { return Ok((Vec::new(), None)) };
    let chain = found.certs().iter().map(|certificate| CertificateDer::from(certificate.as_der().to_vec()));
    Ok((chain.collect(), Some(PrivateKeyDer::Pkcs8(found.key().as_der().to_vec().into()))))
}

fn trusted_of_pkcs12(bytes: &[u8], password: Option<&str>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let store = open(bytes, password.unwrap_or_default(), TRUST_STORE)?;
    let der = |certificate: &p12_keystore::Certificate| CertificateDer::from(certificate.as_der().to_vec());
    let certificates = store.entries().flat_map(|(_, entry)| match entry {
        KeyStoreEntry::Certificate(certificate) => vec![der(certificate)],
        // A store that was made for a key may be named as a trust store, too: its issuers are meant.
        KeyStoreEntry::PrivateKeyChain(chain) => chain.certs().iter().skip(1).map(der).collect(),
        KeyStoreEntry::Secret(_) => Vec::new(),
    });
    Ok(certificates.collect())
}

fn open(bytes: &[u8], password: &str, store: &'static str) -> Result<KeyStore, TlsError> {
    KeyStore::from_pkcs12(bytes, password, Pkcs12ImportPolicy::Relaxed).map_err(|error| match error {
        p12_keystore::error::Error::MacError(_) => TlsError::Password(store),
        other => TlsError::Unreadable { store, why: other.to_string() },
    })
}
