//! The client's side of TLS.

use std::{io, sync::Arc};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{TlsError, TlsSettings, fresh::Fresh, server_check::ServerCheck, store};

/// Makes TLS connections of plain ones.
#[derive(Debug)]
pub struct TlsConnector(Fresh<ClientConfig>);

impl TlsConnector {
    /// A connector of these settings.
    ///
    /// # Errors
    /// If a store cannot be read, or what is in it does not go together.
    pub fn new(settings: TlsSettings) -> Result<Self, TlsError> {
        Fresh::new(settings, configure).map(Self)
    }

    /// Shakes hands with the server, which must prove to be `host`.
    ///
    /// # Errors
    /// If it cannot, or something else answers than TLS. The error's text says which certificate was not taken, and why.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("`{host}` is no host name that TLS knows"))
        })?;
        tokio_rustls::TlsConnector::from(self.0.get()).connect(name, stream).await
    }
}

fn configure(settings: &TlsSettings) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = settings.protocols();
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&versions)?;
    let check = ServerCheck::new(settings, provider)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(check);
    match store::identity(settings)? {
        Some(identity) => Ok(builder.with_client_auth_cert(identity.chain, identity.key)?),
        None => Ok(builder.with_no_client_auth()),
    }
}
