//! The broker's side of TLS.

use std::{io, sync::Arc};

use rustls::{ServerConfig, pki_types::CertificateDer, server::WebPkiClientVerifier};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{TlsError, TlsSettings, fresh::Fresh, store};

/// Whether clients show a certificate: Kafka's `ssl.client.auth`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClientAuth {
    /// They are not asked for one.
    #[default]
    None,
    /// They may; one that is not trusted is refused.
    Requested,
    /// They must.
    Required,
}

/// A connection as the broker has it.
pub type ServerStream = TlsStream<TcpStream>;

/// Makes TLS connections of those that were accepted.
#[derive(Debug)]
pub struct TlsAcceptor(Fresh<ServerConfig>);

impl TlsAcceptor {
    /// An acceptor of these settings, which must name a certificate and its key.
    ///
    /// # Errors
    /// If a store cannot be read, or what is in it does not go together.
    pub fn new(settings: TlsSettings, client_auth: ClientAuth) -> Result<Self, TlsError> {
        let make = match client_auth {
            ClientAuth::None => |settings: &TlsSettings| configure(settings, ClientAuth::None),
            ClientAuth::Requested => |settings: &TlsSettings| configure(settings, ClientAuth::Requested),
            ClientAuth::Required => |settings: &TlsSettings| configure(settings, ClientAuth::Required),
        };
        Fresh::new(settings, make).map(Self)
    }

    /// Shakes hands with a client. There is no deadline here: the caller has one.
    ///
    /// # Errors
    /// If it cannot, or something else comes than TLS.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<ServerStream> {
        tokio_rustls::TlsAcceptor::from(self.0.get()).accept(stream).await
    }

    /// The certificate that the client showed, if it did.
    pub fn client_certificate(stream: &ServerStream) -> Option<&CertificateDer<'static>> {
        stream.get_ref().1.peer_certificates()?.first()
    }
}

fn configure(settings: &TlsSettings, client_auth: ClientAuth) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let identity =
        store::identity(settings)?.ok_or(TlsError::Missing { store: "key", what: "certificate" })?;
    let versions = settings.protocols();
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&versions)?;
    let builder = if client_auth == ClientAuth::None {
        builder.with_no_client_auth()
    } else {
        let roots = Arc::new(store::trusted(settings)?.roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
        let verifier = match client_auth {
            ClientAuth::Requested => verifier.allow_unauthenticated(),
            _ => verifier,
        };
        let verifier = verifier.build();
        builder.with_client_cert_verifier(
            verifier.map_err(|error| TlsError::Unreadable { store: "trust", why: error.to_string() })?,
        )
    };
    Ok(builder.with_single_cert(identity.chain, identity.key)?)
}
