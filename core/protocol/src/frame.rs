//! A request or response as it travels: size, header, message.
//!
//! ```text
//! request   size i32 | key i16 | version i16 | correlation i32 | client id | tags* | message
//! response  size i32 | correlation i32 | tags* | message             * in the flexible encoding
//! ```
//!
//! The size counts what follows it. The client id keeps the classic encoding in every version, so that a broker can
//! read the header of any request.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    api::Api,
    messages::{
        ApiKey,
        data::{RequestHeader, ResponseHeader},
    },
    types::Str,
    wire::{Fault, InField, Malformed, Reader, Unsupported, Wire, Writer},
};

/// Bytes of the size before each frame.
pub const SIZE_BYTES: usize = 4;

/// A request whose header was read and whose message was not.
#[derive(Debug)]
pub struct RequestFrame {
    /// The number of the API, known or not.
    pub api_key: i16,
    /// The version of the message.
    pub version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// The program's name for itself; not to be trusted.
    pub client_id: Option<Str>,
    /// At the message's first byte, unless the API is unknown or lacks the version.
    pub body: Reader,
}

impl RequestFrame {
    /// Reads the header of a frame, its size taken off.
    ///
    /// The key and version decide how the header goes on. Of an API that is not known, or a version that it does
    /// not have, only the first four values can be read; the caller decides what becomes of it.
    pub fn parse(frame: Bytes) -> Result<Self, Malformed> {
        let mut r = Reader::new(frame);
        let api_key = r.i16().in_field("request_api_key")?;
        let version = r.i16().in_field("request_api_version")?;
        let correlation_id = r.i32().in_field("correlation_id")?;
        let client_id = r.str_or_null(false).in_field("client_id")?;
        let known = ApiKey::from_i16(api_key).filter(|key| key.versions().contains(&version));
        if known.is_some_and(|key| key.request_header_version(version) >= 2) {
            r.tags(|_, _| Ok(false))?;
        }
        Ok(Self { api_key, version, correlation_id, client_id, body: r })
    }

    /// The API, if it is known.
    pub fn api(&self) -> Option<ApiKey> {
        ApiKey::from_i16(self.api_key)
    }

    /// Reads the message whole.
    pub fn message<T: Wire>(mut self) -> Result<T, Malformed> {
        let message = T::read(&mut self.body, self.version)?;
        self.body.finish()?;
        Ok(message)
    }
}

/// A request with size and header, ready to be written.
pub fn request<R: Api>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&Str>,
) -> Result<Vec<Bytes>, Unsupported> {
    let header = RequestHeader {
        request_api_key: R::KEY as i16,
        request_api_version: version,
        correlation_id,
        client_id: client_id.cloned(),
    };
    sized(|w| {
        header.write(w, R::KEY.request_header_version(version))?;
        request.write(w, version)
    })
}

/// A response with size and header, ready to be written.
pub fn response<T: Wire>(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    response: &T,
) -> Result<Vec<Bytes>, Unsupported> {
    let header = ResponseHeader { correlation_id };
    sized(|w| {
        header.write(w, key.response_header_version(version))?;
        response.write(w, version)
    })
}

/// Reads a response, its size taken off, and checks that it answers the request of `correlation_id`.
pub fn read_response<R: Api>(
    frame: Bytes,
    version: i16,
    correlation_id: i32,
) -> Result<R::Response, Malformed> {
    let mut r = Reader::new(frame);
    let header = ResponseHeader::read(&mut r, R::KEY.response_header_version(version))?;
    if header.correlation_id != correlation_id {
        let fault = Fault::Correlation { wanted: correlation_id, found: header.correlation_id };
        return Err(r.malformed(fault).field("correlation_id"));
    }
    let response = R::Response::read(&mut r, version)?;
    r.finish()?;
    Ok(response)
}

/// What `write` writes, with its size before it.
fn sized(write: impl FnOnce(&mut Writer) -> Result<(), Unsupported>) -> Result<Vec<Bytes>, Unsupported> {
    let mut w = Writer::new();
    write(&mut w)?;
    let mut size = BytesMut::with_capacity(SIZE_BYTES);
    size.put_i32(w.len() as i32);
    let mut pieces = Vec::with_capacity(2);
    pieces.push(size.freeze());
    pieces.extend(w.into_pieces());
    Ok(pieces)
}
