//! Why a request got no answer.

use std::{fmt, io, sync::Arc, time::Duration};

use crate::FrameError;

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
    /// The peer closed the connection.
    ClosedByPeer {
        /// It had answered a request before: it is a broker that went away, not a stranger.
        answered: bool,
    },
    /// The connection broke.
    Broken(Arc<io::Error>),
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

    /// Whether the connection was never made, so that nothing can have reached the peer.
    pub fn is_unconnected(&self) -> bool {
        matches!(self.cause, Cause::Unresolved(_) | Cause::NotConnected(_) | Cause::ConnectTimeout(_))
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = &self.peer;
        match &self.cause {
            Cause::Unresolved(error) => {
                write!(
                    f,
                    "`{peer}` has no address ({error}); check the name, and that this machine's DNS knows it"
                )
            }
            Cause::NotConnected(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                write!(
                    f,
                    "`{peer}` refused the connection; check that a broker runs there and listens on this port"
                )
            }
            Cause::NotConnected(error) => write!(f, "`{peer}` cannot be reached: {error}"),
            Cause::ConnectTimeout(time) => write!(
                f,
                "`{peer}` did not take the connection within {} ms; check firewalls, and that the broker advertises \
                 an address that is reachable from here",
                time.as_millis()
            ),
            Cause::ClosedByPeer { answered: true } => write!(f, "`{peer}` closed the connection"),
            Cause::ClosedByPeer { answered: false } => write!(
                f,
                "`{peer}` closed the connection before it answered anything; the port may want TLS or SASL, or not \
                 speak Kafka's protocol"
            ),
            Cause::Broken(error) => write!(f, "the connection to `{peer}` broke: {error}"),
            Cause::Frame(error) => match &**error {
                FrameError::Tls => {
                    write!(
                        f,
                        "`{peer}` speaks TLS, and this is a plain text connection; use its plain text port"
                    )
                }
                FrameError::Http => write!(f, "`{peer}` speaks HTTP, not Kafka's protocol; check the port"),
                FrameError::TooLarge { .. } => {
                    write!(
                        f,
                        "`{peer}` sent what is not allowed: {error}; check that the port speaks Kafka's protocol"
                    )
                }
                error => write!(f, "the answer of `{peer}` cannot be read: {error}"),
            },
            Cause::Deadline { waited } => {
                write!(
                    f,
                    "`{peer}` did not answer within {} ms; the connection is given up",
                    waited.as_millis()
                )
            }
            Cause::Correlation { wanted, found } => {
                write!(f, "`{peer}` answered request {found} where request {wanted} was due")
            }
            Cause::Unasked => write!(f, "`{peer}` sent an answer to nothing that was asked"),
            Cause::Idle(time) => write!(f, "the connection to `{peer}` was idle for {} s", time.as_secs()),
            Cause::Closed => write!(f, "the connection to `{peer}` is closed"),
        }
    }
}

impl std::error::Error for TransportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Unresolved(error) | Cause::NotConnected(error) | Cause::Broken(error) => Some(&**error),
            Cause::Frame(error) => Some(&**error),
            _ => None,
        }
    }
}
