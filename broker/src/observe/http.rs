//! The HTTP side: `/metrics` and `/health`, and nothing else.
//!
//! It is for the eyes of operators and their scrapers, and stays small: one request a connection, few connections,
//! and none that lasts.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};

use super::Observed;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 32;
/// Longest that a connection may take altogether.
const CONNECTION_MAX: Duration = Duration::from_secs(30);
/// Longest that a request's head may take.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// Longest head of a request, in bytes. The library's least.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Pause after a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Serves until it is dropped.
pub(crate) async fn serve(socket: TcpListener, observed: Arc<Observed>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!(%error, "an HTTP connection could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let observed = Arc::clone(&observed);
        tokio::spawn(async move {
            one(stream, peer, observed).await;
            drop(permit);
        });
    }
}

/// Answers the one request of a connection.
async fn one(stream: tokio::net::TcpStream, peer: SocketAddr, observed: Arc<Observed>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), &observed);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, %peer, "HTTP connection broke"),
        Err(_) => tracing::debug!(%peer, "HTTP connection took too long"),
    }
}

fn answer(method: &Method, path: &str, observed: &Observed) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut refused = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET is served here\n".to_owned());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/metrics" => page(StatusCode::OK, PROMETHEUS, observed.metrics()),
        "/health" => page(StatusCode::OK, JSON, observed.health()),
        _ => page(StatusCode::NOT_FOUND, TEXT, "there are `/metrics` and `/health`\n".to_owned()),
    }
}

fn page(status: StatusCode, kind: HeaderValue, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
