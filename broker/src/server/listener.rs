//! Takes connections and spreads them over the cores. A connection stays on the core that it was given to.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use ottla_transport::tls::{TlsAcceptor, distinguished_name};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::{Semaphore, mpsc, watch},
    time::{Instant, sleep, timeout_at},
};

use super::{
    connection::{Connection, Ends, Terms},
    connection_rates::{ConnectionRates, Rate, TooFast},
    limits::{ConnectionLimits, Slot, Stranger, Strangers},
};
use crate::{
    authentication::{Listening, Principal},
    handlers::Context,
};

/// How long to wait when the process has no file descriptor left for one more connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Connections that came too fast and wait to be closed, so that whoever made them does not come back at once; those beyond are closed
/// at once.
pub(crate) const TOO_FAST_HELD_MAX: usize = 1_000;

/// Everything that new connections need.
pub(crate) struct Listener {
    pub(crate) listening: Arc<Listening>,
    pub(crate) cores: Vec<Handle>,
    pub(crate) cx: Arc<Context>,
    pub(crate) limits: Arc<ConnectionLimits>,
    pub(crate) rates: Arc<ConnectionRates>,
    /// How fast connections come to this listener, if that has a limit.
    pub(crate) rate: Option<Rate>,
    /// Room for [`TOO_FAST_HELD_MAX`] connections.
    pub(crate) too_fast: Arc<Semaphore>,
    pub(crate) strangers: Arc<Strangers>,
    pub(crate) terms: Terms,
    pub(crate) stop: watch::Receiver<bool>,
    /// Held by every connection; when the last is dropped, all are closed.
    pub(crate) open: mpsc::Sender<()>,
}

impl Listener {
    /// Accepts from `socket` until the broker stops.
    pub(crate) async fn run(self: Arc<Self>, socket: TcpListener) {
        let mut stop = self.stop.clone();
        let mut turn = 0usize;
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let now = Instant::now();
                    // An address first: one that comes too fast makes nobody else wait.
                    if let Err(too_fast) = self.rates.admit(peer.ip(), now) {
                        self.close_later(stream, peer, too_fast);
                        continue;
                    }
                    let delay = self.rates.delay(self.rate.as_ref(), now);
                    if !delay.is_zero() {
                        tokio::select! {
                            () = sleep(delay) => {}
                            _ = stop.wait_for(|stop| *stop) => return,
                        }
                    }
                    turn = turn.wrapping_add(1);
                    self.take(stream, peer, turn);
                }
                Err(error) => {
                    // Usually the process's limit of open files; the connection waits in the kernel's queue.
                    tracing::error!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    /// Closes a connection that nothing is read from, after a while.
    fn close_later(&self, stream: TcpStream, peer: SocketAddr, TooFast { hold, max, is_news }: TooFast) {
        self.cx.metrics.connections_too_fast.add(1);
        if is_news {
            let address = peer.ip();
            tracing::warn!(%address, "connections are closed: the address makes more than {max} a second");
        }
        let Ok(room) = Arc::clone(&self.too_fast).try_acquire_owned() else { return };
        tokio::spawn(async move {
            sleep(hold).await;
            drop((stream, room));
        });
    }

    fn take(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, turn: usize) {
        let slot = match self.limits.take(peer.ip()) {
            Ok(slot) => slot,
            Err(full) => {
                tracing::warn!(%peer, "connection refused: {full}");
                return;
            }
        };
        let Some(core) = self.cores.get(turn % self.cores.len().max(1)) else { return };
        // A socket is registered with the runtime that it is used on, so it changes hands as a plain one.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::error!(%error, %peer, "a connection could not be handed to its core");
                return;
            }
        };
        // Two tasks of two kinds: what TLS keeps takes no memory where there is none. A stranger's age counts from here, where
        // connections come in order: the cores begin with them when they get to it, and the last to come is not to give way
        // to those before it.
        match self.listening.tls {
            None => {
                let stranger = self.listening.sasl.is_some().then(|| self.strangers.take());
                core.spawn(Arc::clone(self).serve(stream, slot, stranger));
            }
            Some(_) => {
                let stranger = self.strangers.take();
                core.spawn(Arc::clone(self).serve_securely(stream, slot, stranger));
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: std::net::TcpStream, slot: Slot, stranger: Option<Stranger>) {
        let _open = self.open.clone();
        match opened(stream) {
            Ok((stream, ends)) => {
                let (source, sink) = stream.into_split();
                let deadline = Instant::now() + self.terms.authentication_max;
                self.connection(source, sink, ends, Principal::ANONYMOUS)
                    .serve(stranger, deadline, self.stop.clone())
                    .await;
            }
            // It closed before it began.
            Err(error) => tracing::debug!(%error, "connection broke"),
        }
        drop(slot);
    }

    async fn serve_securely(self: Arc<Self>, stream: std::net::TcpStream, slot: Slot, stranger: Stranger) {
        let _open = self.open.clone();
        let Some(acceptor) = &self.listening.tls else { return };
        let (stream, ends) = match opened(stream) {
            Ok(opened) => opened,
            Err(error) => return tracing::debug!(%error, "connection broke"),
        };
        let deadline = Instant::now() + self.terms.authentication_max;
        let Some(stream) = self.shake_hands(acceptor, stream, ends, &stranger, deadline).await else {
            return;
        };
        let principal = match TlsAcceptor::client_certificate(&stream) {
            // Who logs in is who they log in as.
            _ if self.listening.sasl.is_some() => Principal::ANONYMOUS,
            None => Principal::ANONYMOUS,
            Some(certificate) => {
                let name = distinguished_name(certificate);
                match name.as_deref().and_then(|name| self.listening.rules.apply(name)) {
                    Some(user) => Principal::user(&user),
                    None => {
                        let name = name.unwrap_or_default().escape_debug().to_string();
                        let peer = ends.peer;
                        tracing::warn!(%peer, name, "connection closed: no rule says who the certificate's owner is");
                        return;
                    }
                }
            }
        };
        let (source, sink) = tokio::io::split(stream);
        let stranger = self.listening.sasl.is_some().then_some(stranger);
        self.connection(source, sink, ends, principal).serve(stranger, deadline, self.stop.clone()).await;
        drop(slot);
    }

    /// The handshake of TLS, in its time, unless there are too many strangers or the broker stops.
    async fn shake_hands(
        &self,
        acceptor: &TlsAcceptor,
        stream: TcpStream,
        ends: Ends,
        stranger: &Stranger,
        deadline: Instant,
    ) -> Option<ottla_transport::tls::ServerStream> {
        let mut stop = self.stop.clone();
        let (peer, listener) = (ends.peer, &*self.listening.name);
        tokio::select! {
            shaken = timeout_at(deadline, acceptor.accept(stream)) => match shaken {
                Ok(Ok(stream)) => Some(stream),
                Ok(Err(error)) => {
                    tracing::warn!(%peer, listener, %error, "connection closed: no TLS came of it");
                    None
                }
                Err(_) => {
                    tracing::warn!(%peer, listener, "connection closed: the TLS handshake took too long");
                    None
                }
            },
            () = stranger.gives_way() => {
                tracing::warn!(%peer, listener, "connection closed: too many have not shown who they are");
                None
            }
            _ = stop.wait_for(|stop| *stop) => None,
        }
    }

    fn connection<R, W>(&self, source: R, sink: W, ends: Ends, principal: Principal) -> Connection<R, W>
    where
        R: tokio::io::AsyncRead + Unpin,
        W: super::answer::Sink,
    {
        Connection::new(source, sink, ends, &self.terms, &self.listening, principal, Arc::clone(&self.cx))
    }
}

fn opened(stream: std::net::TcpStream) -> io::Result<(TcpStream, Ends)> {
    let stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    let ends = Ends { peer: stream.peer_addr()?, local: stream.local_addr()? };
    Ok((stream, ends))
}
