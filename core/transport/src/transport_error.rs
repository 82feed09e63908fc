//! Why a request got no answer.

use std::{fmt, io, sync::Arc, time::Duration};

use crate::{FrameError, tls};

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
            Cause::Tls(error) => write!(f, "no TLS with `{peer}`: {}", tls::diagnosis(error)),
            Cause::Handshake(error) => write!(
                f,
                "`{peer}` broke off the TLS handshake ({error}); the port may be one without TLS \
                 (`security.protocol=PLAINTEXT` or `SASL_PLAINTEXT`), or want a certificate of the client"
            ),
            Cause::HandshakeTimeout(time) => write!(
                f,
                "`{peer}` did not answer the TLS handshake within {} ms; the port may be one without TLS",
                time.as_millis()
            ),
            Cause::ClosedByPeer { answered: 0 } => write!(
                f,
                "`{peer}` closed the connection before it answered anything; the port may want TLS or SASL \
                 (`security.protocol`), or not speak Kafka's protocol"
            ),
            // Versions are told to anybody, perhaps in two steps.
            Cause::ClosedByPeer { answered: ..=ANSWERS_TO_ANYBODY_MAX } => write!(
                f,
                "`{peer}` closed the connection after it had told its versions; if it always does, the port may want SASL \
                 (`security.protocol=SASL_SSL` or `SASL_PLAINTEXT`)"
            ),
            Cause::ClosedByPeer { .. } => write!(f, "`{peer}` closed the connection"),
            Cause::Broken(error) => write!(f, "the connection to `{peer}` broke: {error}"),
            Cause::Frame(error) => match &**error {
                FrameError::Tls => {
                    write!(
                        f,
                        "`{peer}` speaks TLS, and this is a plain text connection; set `security.protocol` to `SSL` or \
                         `SASL_SSL`, or use its plain text port"
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
