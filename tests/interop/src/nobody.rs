//! An address where nobody listens.

use std::{fmt, io, net::SocketAddr};

use tokio::net::TcpSocket;

/// An address where nobody listens. Its port is taken as long as this is there, so that nobody comes to listen meanwhile: a port that was
/// merely free a moment ago may be given to the next broker that a test starts.
#[derive(Debug)]
pub struct Nobody {
    address: SocketAddr,
    _bound: TcpSocket,
}

impl Nobody {
    /// Takes a port.
    ///
    /// # Errors
    ///
    /// If the system has none.
    pub fn new() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        Ok(Self { address: socket.local_addr()?, _bound: socket })
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl fmt::Display for Nobody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn who_connects_is_refused_and_nobody_else_gets_the_port() -> io::Result<()> {
        let nobody = Nobody::new()?;
        let address = nobody.to_string();
        let refused = TcpStream::connect(&address).map_err(|error| error.kind());
        assert_eq!(refused.err(), Some(io::ErrorKind::ConnectionRefused));
        let taken = TcpListener::bind(&address).map_err(|error| error.kind());
        assert_eq!(taken.err(), Some(io::ErrorKind::AddrInUse));
        Ok(())
    }
}
