//! Why a request got no answer.

use std::{fmt, io, sync::Arc, time::Duration};

use crate::{
    FrameError,
    diagnosis::{Diagnosis, Speaks, diagnose},
};

/// Answers that a broker gives to whoever asks: which versions it serves, asked again if the first question was too new.
pub(crate) const ANSWERS_TO_ANYBODY_MAX: u64 = 2;

/// Why a connection could not be made, or ended. Every request that was pending on it fails with the same error.
#[derive(Clone, Debug)]
pub struct TransportError {
    peer: Arc<str>,
    cause: Cause,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Cause {
    /// The host's name has no address.
    Unresolved(Arc<io::Error>),
    /// No address of the host took the connection; this is the last one's answer.
    NotConnected(Arc<io::Error>),
    /// No address of the host took the connection in this time.
    ConnectTimeout(Duration),
    /// TLS was refused: a certificate is not good, or the two sides have nothing in common. It stays so until somebody
    /// changes a setting or a certificate.
    Tls(Arc<io::Error>),
    /// The TLS handshake broke off.
    Handshake(Arc<io::Error>),
    /// The TLS handshake did not end in this time.
    HandshakeTimeout(Duration),
    /// The peer closed the connection.
    ClosedByPeer {
        /// Answers that it had given before: whoever gave none may be a stranger, and no broker that went away.
        answered: u64,
    },
    /// The connection broke.
    Broken(Arc<io::Error>),
    /// What came first is no frame, nor TLS or HTTP: something else than Kafka listens there.
    Foreign {
        /// Its first words.
        first: Arc<[u8]>,
    },
    /// What came is no frame that is allowed.
    Frame(Arc<FrameError>),
    /// The oldest request was not answered by its deadline. Those behind it cannot be answered any sooner.
    Deadline {
        /// How long it had waited.
        waited: Duration,
    },
    /// The answer is not that of the oldest request.
    Correlation {
        /// The id of the request.
        wanted: i32,
        /// The id that came.
        found: i32,
    },
    /// An answer came and nothing was asked, or it is too short for a correlation id.
    Unasked,
    /// Nothing was sent or received for this long.
    Idle(Duration),
    /// This side closed it.
    Closed,
}

impl TransportError {
    pub(crate) fn new(peer: &Arc<str>, cause: Cause) -> Self {
        Self { peer: Arc::clone(peer), cause }
    }

    /// The address, as the connection was asked for.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// What happened.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// What it means, and what to do about it.
    pub fn diagnosis(&self) -> Diagnosis {
        diagnose(&self.peer, &self.cause, None)
    }

    /// As [`Self::diagnosis`], knowing what the port was found to answer to.
    pub fn diagnosis_knowing(&self, speaks: &Speaks) -> Diagnosis {
        diagnose(&self.peer, &self.cause, Some(speaks))
    }

    /// Whether the connection was never made, so that nothing can have reached the peer.
    pub fn is_unconnected(&self) -> bool {
        matches!(
            self.cause,
            Cause::Unresolved(_)
                | Cause::NotConnected(_)
                | Cause::ConnectTimeout(_)
                | Cause::Handshake(_)
                | Cause::HandshakeTimeout(_)
        )
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.diagnosis())
    }
}

impl std::error::Error for TransportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Unresolved(error)
            | Cause::NotConnected(error)
            | Cause::Broken(error)
            | Cause::Tls(error)
            | Cause::Handshake(error) => Some(&**error),
            Cause::Frame(error) => Some(&**error),
            _ => None,
        }
    }
}
