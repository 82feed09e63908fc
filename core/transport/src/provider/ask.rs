//! One request and its answer.

use std::{
    fs,
    io::{self, Read},
    path::Path,
    pin::pin,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method,
    client::conn::http1,
    header::{CONNECTION, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{
    Failure, Location, ProviderError,
    location::{Http, Kind},
};
use crate::tls::{self, TlsConnector};

/// Longest answer, in bytes. Sets of keys and tokens come to a few thousand.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What is asked. `Debug` would show secrets, so there is none.
#[expect(missing_debug_implementations, reason = "headers and body have a client's secret")]
pub struct Request<'a> {
    /// Who.
    pub location: &'a Location,
    /// How; `GET` or `POST`. A file is read whatever it says.
    pub method: Method,
    /// Headers beside `Host`, `Connection` and `Content-Length`.
    pub headers: Vec<(&'a str, String)>,
    /// Body; empty for none.
    pub body: Bytes,
}

impl<'a> Request<'a> {
    /// Asks for what is there.
    pub fn get(location: &'a Location) -> Self {
        Self { location, method: Method::GET, headers: Vec::new(), body: Bytes::new() }
    }

    /// Sends a form, `name=value&...`, whose values are escaped already.
    pub fn post_form(location: &'a Location, form: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type", "application/x-www-form-urlencoded".to_owned())];
        Self { location, method: Method::POST, headers, body: form.into() }
    }

    /// The same with a header more.
    #[must_use]
    pub fn with_header(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// How long an answer is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// Until an address of the host has taken the connection and shaken hands: `sasl.login.connect.timeout.ms`. Each address has as long.
    pub connect: Duration,
    /// From then on until the whole answer is there: `sasl.login.read.timeout.ms`.
    pub read: Duration,
}

impl Default for Patience {
    /// Kafka waits for ever where its keys are not set; a provider that is silent should not stop a login for ever.
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), read: Duration::from_secs(10) }
    }
}

/// What a provider said. `Debug` would show tokens, so there is none.
#[expect(missing_debug_implementations, reason = "the body may be a token")]
pub struct Answer {
    /// HTTP's status; 200 for a file.
    pub status: u16,
    /// What came with it, whatever the status.
    pub body: Bytes,
}

impl Answer {
    /// The body of an answer that is what was asked for.
    ///
    /// # Errors
    /// If its status says that it is something else.
    pub fn content(self, location: &Location) -> Result<Bytes, ProviderError> {
        match self.status {
            200..300 => Ok(self.body),
            status => Err(ProviderError::new(location, Failure::Status(status))),
        }
    }
}

/// Asks, and waits for the answer, of whatever status. `tls` makes connections to locations of `https`.
///
/// # Errors
/// If there is no answer within `patience`, or one that is too long, or the provider is not who it must be.
pub async fn ask(
    request: Request<'_>,
    tls: Option<&TlsConnector>,
    patience: Patience,
) -> Result<Answer, ProviderError> {
    let location = request.location;
    let answer = match location.kind() {
        Kind::File(path) => read(path, patience).await,
        Kind::Http(http) => ask_http(http, &request, tls, patience).await,
    };
    answer.map_err(|failure| ProviderError::new(location, failure))
}

/// A file's content. It may lie on a disk that is far away, so others are not kept waiting for it.
async fn read(path: &Path, patience: Patience) -> Result<Answer, Failure> {
    let path = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        // A pipe to which nobody writes would be waited for without an end.
        if !fs::metadata(&path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
        }
        let mut body = Vec::new();
        fs::File::open(path)?.take(ANSWER_BYTES_MAX as u64 + 1).read_to_end(&mut body)?;
        Ok(body)
    });
    let body = timeout(patience.read, reading).await.map_err(|_| Failure::ReadTimeout(patience.read))?;
    let body = body.map_err(|error| Failure::File(error.into()))?.map_err(Failure::File)?;
    if body.len() > ANSWER_BYTES_MAX {
        return Err(Failure::TooLarge);
    }
    Ok(Answer { status: 200, body: body.into() })
}

async fn ask_http(
    http: &Http,
    request: &Request<'_>,
    tls: Option<&TlsConnector>,
    patience: Patience,
) -> Result<Answer, Failure> {
    let message = message(http, request)?;
    let host = (http.host.as_str(), http.port);
    let late = |_| Failure::ConnectTimeout(patience.connect);
    let found = timeout(patience.connect, lookup_host(host)).await.map_err(late)?;
    let mut last = Failure::Unresolved(io::ErrorKind::NotFound.into());
    for address in found.map_err(Failure::Unresolved)? {
        let connecting = async {
            let stream = TcpStream::connect(address).await.map_err(Failure::NotConnected)?;
            if !http.is_secure {
                return Ok((Some(stream), None));
            }
            let tls = tls.ok_or(Failure::NoTls)?;
            let stream = tls.connect(&http.host, stream).await.map_err(|error| {
                if tls::is_refusal(&error) { Failure::Tls(error) } else { Failure::Handshake(error) }
            })?;
            Ok((None, Some(stream)))
        };
        match timeout(patience.connect, connecting).await.map_err(late).and_then(|done| done) {
            Ok((Some(stream), _)) => return talk(stream, message, patience).await,
            Ok((None, Some(stream))) => return talk(stream, message, patience).await,
            Ok((None, None)) => {}
            // Another address of the same host would say the same.
            Err(failure @ (Failure::Tls(_) | Failure::NoTls)) => return Err(failure),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

fn message(http: &Http, request: &Request<'_>) -> Result<hyper::Request<Full<Bytes>>, Failure> {
    let mut message = hyper::Request::builder()
        .method(request.method.clone())
        .uri(&http.target)
        .header(HOST, &http.authority)
        .header(CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in &request.headers {
        let mut value = HeaderValue::from_str(value).map_err(|_| Failure::Request)?;
        // As far as the library prints headers, it leaves these out.
        value.set_sensitive(true);
        message = message.header(*name, value);
    }
    message.body(Full::new(request.body.clone())).map_err(|_| Failure::Request)
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    message: hyper::Request<Full<Bytes>>,
    patience: Patience,
) -> Result<Answer, Failure> {
    let exchange = async {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(Failure::Broken)?;
        let mut asking = pin!(async move {
            let answer = sender.send_request(message).await.map_err(Failure::Broken)?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
                Ok(error) => Failure::Broken(*error),
                Err(error) if error.is::<LengthLimitError>() => Failure::TooLarge,
                Err(error) => Failure::Content(error.to_string()),
            })?;
            Ok(Answer { status, body: body.to_bytes() })
        });
        tokio::select! {
            biased;
            answer = &mut asking => answer,
            // The connection may be over before its last bytes are taken; they are still there.
            _ = connection => asking.await,
        }
    };
    timeout(patience.read, exchange).await.map_err(|_| Failure::ReadTimeout(patience.read))?
}
