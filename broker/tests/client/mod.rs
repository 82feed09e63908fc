//! A client that says what a test wants, and nothing by itself.

#![allow(dead_code, reason = "no test needs all of it")]

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use ottla_protocol::{
    Bytes,
    api::Api,
    error_code::ErrorCode,
    frame,
    messages::{
        MetadataRequest, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
        SaslHandshakeResponse,
    },
};
use ottla_transport::sasl::{BearerToken, ClientExchange, Credentials, Login, Mechanism};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client in bare requests.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    next_id: i32,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, next_id: 0 }
    }

    pub(crate) fn call<R: Api>(&mut self, version: i16, request: &R) -> R::Response {
        self.try_call(version, request).expect("the broker answers")
    }

    /// The answer, unless the broker closes the connection.
    pub(crate) fn try_call<R: Api>(&mut self, version: i16, request: &R) -> Option<R::Response> {
        self.next_id += 1;
        let pieces = frame::request(request, version, self.next_id, None).unwrap();
        // A broker that has closed already is found out by reading.
        let _ = self.stream.write_all(&pieces.concat());
        let bytes = self.frame()?;
        Some(frame::read_response::<R>(bytes, version, self.next_id).unwrap())
    }

    pub(crate) fn frame(&mut self) -> Option<Bytes> {
        let mut size = [0; frame::SIZE_BYTES];
        match self.stream.read_exact(&mut size) {
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                return None;
            }
            read => read.unwrap(),
        }
        let mut bytes = vec![0; i32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut bytes).unwrap();
        Some(Bytes::from(bytes))
    }

    pub(crate) fn is_closed(&mut self) -> bool {
        self.frame().is_none()
    }

    pub(crate) fn is_closed_by_now(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let read = (&self.stream).read(&mut [0]);
        !matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    pub(crate) fn handshake(&mut self, mechanism: &str) -> SaslHandshakeResponse {
        self.call(1, &SaslHandshakeRequest { mechanism: mechanism.into() })
    }

    pub(crate) fn token(&mut self, token: Vec<u8>) -> SaslAuthenticateResponse {
        self.call(2, &SaslAuthenticateRequest { auth_bytes: token.into() })
    }

    /// Logs in; gives the last answer.
    pub(crate) fn log_in(
        &mut self,
        mechanism: Mechanism,
        user: &str,
        password: &str,
    ) -> SaslAuthenticateResponse {
        assert_eq!(self.handshake(mechanism.name()).error_code, ErrorCode::NONE);
        let login = Login { user: user.into(), password: password.into() };
        self.exchange(Credentials::of_login(mechanism, login).unwrap())
    }

    /// The same by a token.
    pub(crate) fn log_in_by_token(&mut self, token: &str) -> SaslAuthenticateResponse {
        assert_eq!(self.handshake(Mechanism::OauthBearer.name()).error_code, ErrorCode::NONE);
        self.exchange(Credentials::OauthBearer(BearerToken::new(token, BTreeMap::new()).unwrap()))
    }

    fn exchange(&mut self, credentials: Credentials) -> SaslAuthenticateResponse {
        let mut exchange = ClientExchange::new(credentials, ottla_transport::sasl::nonce());
        let mut token = exchange.first();
        loop {
            let answer = self.token(token);
            if answer.error_code.is_error() {
                return answer;
            }
            match exchange.answer(&answer.auth_bytes).unwrap() {
                Some(next) => token = next,
                None => return answer,
            }
        }
    }

    pub(crate) fn asks_metadata(&mut self) -> Option<()> {
        self.try_call(12, &MetadataRequest { topics: Some(Vec::new()), ..Default::default() }).map(drop)
    }
}
