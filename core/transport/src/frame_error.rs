//! Why no frame came.

use std::{fmt, io, time::Duration};

/// Why a connection gives no further frame. All of them end it: where a frame ends is not known any more.
#[derive(Debug)]
pub enum FrameError {
    /// The size announced is above the limit.
    TooLarge {
        /// Bytes announced.
        size: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The size announced is negative.
    NegativeSize(i32),
    /// The first bytes are those of a TLS handshake or alert, and this connection speaks plain text.
    Tls,
    /// The first bytes are those of an HTTP request or response.
    Http,
    /// The peer closed in the middle of a frame.
    Truncated {
        /// Bytes that came.
        received: usize,
        /// Bytes announced.
        size: usize,
    },
    /// No frame began for this long.
    Idle(Duration),
    /// A frame began and did not end in its time.
    Stalled {
        /// Bytes that came.
        received: usize,
        /// Bytes announced.
        size: usize,
    },
    /// A frame began, and the memory for requests was used up by others for too long.
    NoMemory {
        /// Bytes announced.
        size: usize,
        /// How long it waited.
        waited: Duration,
    },
    /// The connection broke.
    Io(io::Error),
}

impl FrameError {
    /// What the four bytes of a size are, if they are no size at all: a stranger's first words.
    pub(crate) fn stranger(size: [u8; 4]) -> Option<Self> {
        match &size {
            // A handshake from a client, an alert from a server.
            [0x15 | 0x16, 0x03, ..] => Some(Self::Tls),
            b"GET " | b"POST" | b"PUT " | b"HEAD" | b"OPTI" | b"DELE" | b"PRI " | b"HTTP" => Some(Self::Http),
            _ => None,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { size, max } => {
                write!(f, "a frame of {size} bytes is announced, {max} are allowed")
            }
            Self::NegativeSize(size) => write!(f, "a frame of {size} bytes is announced"),
            Self::Tls => write!(f, "the peer speaks TLS, and this is a plain text connection"),
            Self::Http => write!(f, "the peer speaks HTTP, and this is a connection for Kafka's protocol"),
            Self::Truncated { received, size } => {
                write!(f, "the peer closed the connection after {received} bytes of a frame of {size}")
            }
            Self::Idle(time) => write!(f, "nothing came for {} s", time.as_secs()),
            Self::Stalled { received, size } => {
                write!(f, "only {received} bytes of a frame of {size} came in the time allowed")
            }
            Self::NoMemory { size, waited } => write!(
                f,
                "a frame of {size} bytes waited {} s for a part of `queued.max.request.bytes`, which others have",
                waited.as_secs()
            ),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for FrameError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
