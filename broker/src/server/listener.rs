//! Takes connections and spreads them over the cores. A connection stays on the core that it was given to.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use ottla_transport::{Budget, FrameLimits};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::{mpsc, watch},
};

use super::{
    connection::Connection,
    limits::{ConnectionLimits, Slot},
};
use crate::handlers::Context;

/// How long to wait when the process has no file descriptor left for one more connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Everything that new connections need.
pub(crate) struct Listener {
    pub(crate) cores: Vec<Handle>,
    pub(crate) cx: Arc<Context>,
    pub(crate) limits: Arc<ConnectionLimits>,
    pub(crate) frame_limits: FrameLimits,
    pub(crate) budget: Budget,
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
        match stream.into_std() {
            Ok(stream) => _ = core.spawn(Arc::clone(self).serve(stream, slot)),
            Err(error) => tracing::error!(%error, %peer, "a connection could not be handed to its core"),
        }
    }

    async fn serve(self: Arc<Self>, stream: std::net::TcpStream, slot: Slot) {
        let connection = || -> io::Result<Connection> {
            let stream = TcpStream::from_std(stream)?;
            Connection::new(stream, self.frame_limits.clone(), self.budget.clone(), Arc::clone(&self.cx))
        };
        let _open = self.open.clone();
        match connection() {
            Ok(connection) => connection.serve(self.stop.clone()).await,
            // It closed before it began.
            Err(error) => tracing::debug!(%error, "connection broke"),
        }
        drop(slot);
    }
}
