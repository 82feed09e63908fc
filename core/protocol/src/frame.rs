//! A request or response as it travels: size, header, message.
//!
//! ```text
//! request   size i32 | key i16 | version i16 | correlation i32 | client id | tags* | message
//! response  size i32 | correlation i32 | tags* | message             * in the flexible encoding
//! ```
//!
//! The size counts what follows it. The client id keeps the classic encoding in every version, so that a broker can
//! read the header of any request.

use bytes::Bytes;

use crate::{
    api::Api,
    messages::{
        ApiKey,
        data::{RequestHeader, ResponseHeader},
    },
    types::Str,
    wire::{Fault, InField, Malformed, Piece, Reader, Unsupported, Wire, Writer},
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
    let mut w = Writer::framed();
    header.write(&mut w, R::KEY.request_header_version(version))?;
    request.write(&mut w, version)?;
    Ok(w.into_frame().into_iter().map(Piece::into_bytes).collect())
}

/// A response with size and header, ready to be written. Its records may lie elsewhere.
pub fn response<T: Wire>(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    response: &T,
) -> Result<Vec<Piece>, Unsupported> {
    let header = ResponseHeader { correlation_id };
    let mut w = Writer::framed();
    header.write(&mut w, key.response_header_version(version))?;
    response.write(&mut w, version)?;
    Ok(w.into_frame())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{ApiVersionsRequest, ApiVersionsResponse};

    fn hex(pieces: impl IntoIterator<Item = Bytes>) -> String {
        pieces.into_iter().flat_map(|p| p.to_vec()).map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn a_request_is_laid_out_as_kafkas() {
        let ask = ApiVersionsRequest {
            client_software_name: "a".into(),
            client_software_version: "1".into(),
            ..Default::default()
        };
        let flexible = request(&ask, 3, 9, Some(&"me".into())).unwrap();
        assert_eq!(hex(flexible), "00000012001200030000000900026d6500026102310 0".replace(' ', ""));
        let classic = request(&ApiVersionsRequest::default(), 0, 9, None).unwrap();
        assert_eq!(hex(classic), "0000000a0012000000000009ffff");
    }

    #[test]
    fn the_answer_to_another_request_is_refused() {
        let pieces = response(ApiKey::ApiVersions, 3, 8, &ApiVersionsResponse::default()).unwrap();
        let frame: Vec<u8> = pieces.into_iter().flat_map(|p| p.into_bytes().to_vec()).skip(4).collect();
        let frame = Bytes::from(frame);
        assert!(read_response::<ApiVersionsRequest>(frame.clone(), 3, 8).is_ok());
        let error = read_response::<ApiVersionsRequest>(frame, 3, 9).unwrap_err();
        assert_eq!(error.to_string(), "`correlation_id` at byte 4: request 9 is waiting, and 8 is answered");
    }

    #[test]
    fn the_header_of_an_unknown_version_is_read_as_far_as_it_can_be() {
        let frame = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 5, 0xff, 0xff, 1, 2, 3]);
        let request = RequestFrame::parse(frame).unwrap();
        assert_eq!(
            (request.api(), request.version, request.correlation_id),
            (Some(ApiKey::ApiVersions), 99, 5)
        );
    }
}
