//! Frames, headers and messages: any bytes may come from a socket or a disk. Nothing may panic, and what reads also
//! writes, and then reads the same.

use bytes::Bytes;
use ottla_protocol::{
    frame::{RequestFrame, SIZE_BYTES},
    messages::{
        ALL, Message,
        data::{RequestHeader, ResponseHeader},
    },
    wire::{Reader, Wire, encode},
};

/// Bytes as a stream of requests, each with its size: what a connection does, and then a handler.
pub fn frame(data: &[u8]) {
    let mut stream = Bytes::copy_from_slice(data);
    while let Some(&size) = stream.first_chunk::<SIZE_BYTES>() {
        let Ok(size) = usize::try_from(i32::from_be_bytes(size)) else { return };
        if size > stream.len() - SIZE_BYTES {
            return;
        }
        let frame = stream.split_to(SIZE_BYTES + size).slice(SIZE_BYTES..);
        let Ok(request) = RequestFrame::parse(frame) else { continue };
        let Some(api) = request.api().filter(|api| api.versions().contains(&request.version)) else {
            continue;
        };
        let name = api.name();
        let named = |m: &&Message| m.name.strip_suffix("Request") == Some(name);
        let message = ALL.iter().find(named).expect("every API has a request");
        reads_what_it_writes(message, request.version, request.body.rest());
    }
}

/// Bytes as the header of a request and of a response, in each version.
pub fn header(data: &[u8]) {
    for version in [1, 2] {
        header_in::<RequestHeader>(data, version);
    }
    for version in [0, 1] {
        header_in::<ResponseHeader>(data, version);
    }
}

/// Two bytes choose a message and one of its versions; the rest is the message.
pub fn messages(data: &[u8]) {
    let Some((&choice, body)) = data.split_first_chunk::<2>() else { return };
    let choice = usize::from(u16::from_be_bytes(choice));
    let count = ALL.iter().map(|m| m.versions.clone().count()).sum::<usize>();
    let (message, version) = all_versions().nth(choice % count).expect("there are as many");
    reads_what_it_writes(message, version, Bytes::copy_from_slice(body));
}

/// Every message in every version, as `messages` counts them.
pub fn all_versions() -> impl Iterator<Item = (&'static Message, i16)> {
    ALL.iter().flat_map(|m| m.versions.clone().map(move |v| (m, v)))
}

fn reads_what_it_writes(message: &Message, version: i16, body: Bytes) {
    let Ok(written) = (message.recode)(body.clone(), version) else { return };
    let once = written.unwrap_or_else(|e| panic!("{} v{version} is read and not written: {e}", message.name));
    let twice = (message.recode)(once.clone(), version);
    assert_eq!(twice, Ok(Ok(once.clone())), "{} v{version}", message.name);
    assert_eq!((message.debug)(body, version), (message.debug)(once, version), "{} v{version}", message.name);
}

fn header_in<H: Wire + PartialEq + std::fmt::Debug>(data: &[u8], version: i16) {
    let mut r = Reader::new(Bytes::copy_from_slice(data));
    let Ok(header) = H::read(&mut r, version) else { return };
    let written = encode(&header, version).expect("a header that was read can be written");
    let mut again = Reader::new(written);
    assert_eq!(H::read(&mut again, version), Ok(header), "v{version}");
    assert_eq!(again.remaining(), 0, "v{version}");
}
