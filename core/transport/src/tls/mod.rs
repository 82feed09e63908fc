//! TLS, of the client and of the broker, by rustls.
//!
//! [`TlsSettings`] say where keys and certificates are. [`TlsConnector`] and [`TlsAcceptor`] are made of them; both look
//! whether the files have changed before they use them, so that a certificate is renewed without a restart.

mod acceptor;
mod connector;
mod diagnosis;
mod error;
mod fresh;
mod principal;
mod report;
mod server_check;
mod settings;
mod store;

pub use self::{
    acceptor::{ClientAuth, ServerStream, TlsAcceptor},
    connector::TlsConnector,
    diagnosis::{diagnosis, is_no_tls, is_refusal},
    error::TlsError,
    principal::{PrincipalRules, RulesError, distinguished_name},
    report::{CertificateReport, TlsReport},
    settings::{SettingError, Source, SslKeys, StoreFormat, TlsSettings, TlsVersion},
};
