//! What listens at a port, found out by talking to it as others do: Kafka's protocol, TLS, HTTP, each on a connection of its own.
//! Nothing is said that is secret, and nothing is believed that is answered.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use ottla_protocol::{frame, messages::ApiVersionsRequest};
use ottla_transport::{
    Cause, ConnectOptions, Connection, Speaks,
    tls::{self, TlsConnector, TlsSettings},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::cluster::metadata::Address;

/// Longest wait for a word. Two are waited for, at most.
const WORD_MAX: Duration = Duration::from_secs(2);
/// Bytes of an answer that are looked at.
const WORD_BYTES_MAX: usize = 64;
/// The id of the question to one who may be a broker.
const CORRELATION_ID: i32 = 0x6f74_746c;
const HTTP_QUESTION: &[u8] = b"HEAD / HTTP/1.0\r\n\r\n";

/// What came of a question.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Word {
    Said(Vec<u8>),
    Closed,
    Nothing,
}

/// What the port answers to, if that can be found out; no question has longer than `limit`.
pub(super) async fn knock(address: &Address, options: &ConnectOptions, limit: Duration) -> Option<Speaks> {
    let limit = limit.min(WORD_MAX);
    let versions = frame::request(&ApiVersionsRequest::default(), 0, CORRELATION_ID, None).ok()?;
    let as_client = ask(address, options, &versions, limit).await?;
    if let Some(speaks) = heard(&as_client) {
        return Some(speaks);
    }
    if speaks_tls(address, options, limit).await {
        return Some(Speaks::Tls);
    }
    let as_browser = ask(address, options, &[Bytes::from_static(HTTP_QUESTION)], limit).await?;
    match heard(&as_browser) {
        None if as_client == Word::Nothing && as_browser == Word::Nothing => Some(Speaks::Nothing),
        speaks => speaks,
    }
}

/// What an answer tells of who gave it.
fn heard(word: &Word) -> Option<Speaks> {
    let Word::Said(said) = word else { return None };
    Some(match said.as_slice() {
        // A record of TLS: of a handshake, or an alert.
        [0x15 | 0x16, 0x03, ..] => Speaks::Tls,
        _ if said.starts_with(b"HTTP/") => Speaks::Http,
        [_, _, _, _, id @ ..] if id.starts_with(&CORRELATION_ID.to_be_bytes()) => Speaks::Kafka,
        _ => Speaks::Other(said.clone()),
    })
}

/// Says something, and hears the beginning of what comes back; `None` if there is no connection.
async fn ask(address: &Address, options: &ConnectOptions, pieces: &[Bytes], limit: Duration) -> Option<Word> {
    let peer = address.to_string();
    let mut stream = timeout(limit, dial(&peer, options)).await.ok()??;
    let mut said = vec![0; WORD_BYTES_MAX];
    let hearing = async {
        for piece in pieces {
            stream.write_all(piece).await?;
        }
        let mut length = 0;
        // A frame's size and id may come by themselves.
        while length < 8 {
            match stream.read(said.get_mut(length..).unwrap_or_default()).await? {
                0 => break,
                read => length += read,
            }
        }
        Ok::<usize, std::io::Error>(length)
    };
    Some(match timeout(limit, hearing).await {
        Err(_) => Word::Nothing,
        Ok(Err(_) | Ok(0)) => Word::Closed,
        Ok(Ok(length)) => {
            said.truncate(length);
            Word::Said(said)
        }
    })
}

async fn dial(peer: &str, options: &ConnectOptions) -> Option<tokio::net::TcpStream> {
    for one in Connection::resolve(peer).await.ok()? {
        if let Ok(stream) = Connection::dial(one, peer, options).await {
            return Some(stream);
        }
    }
    None
}

/// Whether TLS is answered, with whatever certificate.
async fn speaks_tls(address: &Address, options: &ConnectOptions, limit: Duration) -> bool {
    // Whoever it is: nothing is said to them but this.
    let settings = TlsSettings { checks_certificate: false, ..TlsSettings::default() };
    let Ok(connector) = TlsConnector::new(settings) else { return false };
    let options =
        ConnectOptions { tls: Some(Arc::new(connector)), connect_timeout: limit, ..options.clone() };
    let peer = address.to_string();
    match timeout(limit, Connection::connect(&peer, &options)).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => matches!(error.cause(), Cause::Tls(error) if !tls::is_no_tls(error)),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_is_known_by_the_first_bytes() {
        let heard = |bytes: &[u8]| heard(&Word::Said(bytes.to_vec()));
        assert_eq!(heard(b"\x15\x03\x03\0\x02\x02\x32"), Some(Speaks::Tls));
        assert_eq!(heard(b"HTTP/1.1 400 Bad Request"), Some(Speaks::Http));
        assert_eq!(heard(b"\0\0\0\x0aottl\0\0\0\0"), Some(Speaks::Kafka));
        assert_eq!(heard(b"\0\0\0\x0axxxx\0\0\0\0"), Some(Speaks::Other(b"\0\0\0\x0axxxx\0\0\0\0".to_vec())));
        assert_eq!(heard(b"220 mail"), Some(Speaks::Other(b"220 mail".to_vec())));
        for silence in [Word::Closed, Word::Nothing] {
            assert_eq!(super::heard(&silence), None);
        }
    }
}
