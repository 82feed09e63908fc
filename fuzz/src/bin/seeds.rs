//! Writes the seed corpora: a few small inputs for each target, of every shape that the format has.

use std::{collections::BTreeMap, fs, io, path::Path};

use bytes::Bytes;
use ottla_fuzz::{
    logins::{KEYS_OF_THE_RFC, MESSAGE_END},
    messages::all_versions,
};
use ottla_protocol::{
    compression::{Codec, Compression, Compressor},
    frame::SIZE_BYTES,
    messages::{
        ApiKey,
        data::{RequestHeader, ResponseHeader},
    },
    record::{BatchBuilder, ControlBatch, ControlRecord, Header, Headers, Seal},
    types::ProducerId,
    wire::{Reader, Wire},
};

/// Writes an input: of which target, under which name, which bytes.
type Write<'a> = dyn Fn(&str, &str, &[u8]) -> io::Result<()> + 'a;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let dir = corpus.join(target);
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(name), bytes)
    };
    for compression in Compression::ALL {
        for (name, batch) in batches(compression) {
            write("record_batch", &format!("{compression}-{name}"), &batch)?;
        }
    }
    write("record_batch", "control", &control())?;
    for (name, set) in message_sets() {
        write("legacy", &name, &set)?;
    }
    for (name, content) in [("empty", vec![]), ("text", text()), ("runs", runs())] {
        for compression in Compression::ALL.into_iter().skip(1) {
            let mut compressor = Compressor::new();
            let frame = compressor.compress(Codec::new(compression), &content).map_err(io::Error::other)?;
            write(compression.name(), name, frame)?;
        }
    }
    for (file, frame) in frames()? {
        seed_of_frame(&file, &frame, &write)?;
    }
    write("snappy", "bare", &[5, 4 << 2, b'h', b'e', b'l', b'l', b'o'])?;
    logins(&write)
}

/// Each exchange in full, of both sides, and tokens with their keys.
fn logins(write: &Write<'_>) -> io::Result<()> {
    let exchanges: [(&str, &[&str]); 6] = [
        ("plain", &["\0alice\0not to be guessed"]),
        (
            "scram-client",
            &[
                "n,a=alice,n=alice,r=nonce",
                "c=biws,r=nonceof-the-server,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            ],
        ),
        (
            "scram-server",
            &[
                "r=of-the-clientnonce,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ],
        ),
        ("bearer", &["n,,\u{1}auth=Bearer a-good-token\u{1}traceId=7\u{1}\u{1}"]),
        ("bearer-refused", &["n,a=bearer,\u{1}auth=Bearer another\u{1}\u{1}", "\u{1}"]),
        ("bearer-answer", &[r#"{"status":"invalid_token","scope":"a"}"#]),
    ];
    for (name, messages) in exchanges {
        let messages: Vec<&[u8]> = messages.iter().map(|message| message.as_bytes()).collect();
        write("sasl", name, &messages.join(&MESSAGE_END))?;
    }
    // RFC 7515, appendices A.3 and A.1; the second is signed by a shared secret.
    let elliptic = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp\
                    0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let shared = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGx\
                  lLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    write("jwt", "elliptic", elliptic.as_bytes())?;
    write("jwt", "shared", shared.as_bytes())?;
    write("jwt", "keys", KEYS_OF_THE_RFC.as_bytes())
}

/// Longest frame that becomes a seed, in bytes: a fuzzer lengthens what it needs longer.
const SEED_BYTES_MAX: usize = 160;

/// The frames recorded between Apache Kafka and its clients, by file name; of each message the newest version only.
fn frames() -> io::Result<BTreeMap<String, Vec<u8>>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/frames");
    let mut newest: BTreeMap<String, (i16, Vec<u8>)> = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        let Some((name, version)) = stem.rsplit_once("_v") else { continue };
        let version = version.parse().map_err(io::Error::other)?;
        let text = fs::read_to_string(&path)?;
        let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
        let frame: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        let known = newest.get(name).map_or(-1, |(known, _)| *known);
        if frame.len() <= SEED_BYTES_MAX && version > known {
            newest.insert(name.to_owned(), (version, frame));
        }
    }
    Ok(newest.into_iter().map(|(name, (version, frame))| (format!("{name}_v{version}"), frame)).collect())
}

/// A frame as input of the targets that take one: whole, its header, its message.
fn seed_of_frame(file: &str, frame: &[u8], write: &Write<'_>) -> io::Result<()> {
    let (Some((key, _)), Some((_, version))) = (file.split_once('_'), file.rsplit_once("_v")) else {
        return Err(io::Error::other(format!("`{file}` is not named as a frame is")));
    };
    let version = version.parse().map_err(io::Error::other)?;
    let api = key.parse().ok().and_then(ApiKey::from_i16).ok_or_else(|| io::Error::other(key.to_owned()))?;
    let response = file.contains("_response_");
    let content = Bytes::copy_from_slice(&frame[SIZE_BYTES..]);
    let mut r = Reader::new(content.clone());
    let read = if response {
        ResponseHeader::read(&mut r, api.response_header_version(version)).map(|_| ())
    } else {
        RequestHeader::read(&mut r, api.request_header_version(version)).map(|_| ())
    };
    read.map_err(io::Error::other)?;
    let header = content.slice(..r.position());
    let message = format!("{}{}", api.name(), if response { "Response" } else { "Request" });
    let choice = all_versions().position(|(m, v)| m.name == message && v == version);
    let choice = choice.and_then(|at| u16::try_from(at).ok()).ok_or_else(|| io::Error::other(message))?;
    write("messages", file, &[&choice.to_be_bytes()[..], &r.rest()].concat())?;
    // Of these a handful has every shape there is.
    if !response && api as i16 % 8 == 3 {
        write("frame", file, frame)?;
    }
    if api as i16 % 16 == 2 {
        write("header", file, &header)?;
    }
    Ok(())
}

fn text() -> Vec<u8> {
    b"the log is the table, and the table is the log; ".repeat(6)
}

fn runs() -> Vec<u8> {
    (0..2000_u32).map(|i| (i / 100 * 37) as u8).collect()
}

fn batches(compression: Compression) -> Vec<(&'static str, Vec<u8>)> {
    let seal = Seal { codec: Codec::new(compression), ..Seal::default() };
    let idempotent = Seal { producer_id: ProducerId(9), producer_epoch: 1, base_sequence: i32::MAX, ..seal };
    let one = built(&idempotent, |b| {
        b.push(1_700_000_000_000, Some(b"key"), Some(b"value"), Headers::NONE).is_ok()
    });
    let headers = [Header::new("h", Some(b"1")), Header::new("h", None), Header::new("", Some(b""))];
    let many = built(&Seal { transactional: true, ..idempotent }, |b| {
        (0..12).all(|i| b.push(7 - i, None, Some(&text()), &headers).is_ok())
            && b.push(i64::MAX, Some(b""), None, Headers::NONE).is_ok()
    });
    vec![("one", one), ("many", many)]
}

fn built(seal: &Seal, fill: impl FnOnce(&mut BatchBuilder) -> bool) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
    assert!(fill(&mut builder), "there is room");
    builder.seal(seal, &mut Compressor::new()).expect("sealed").into_bytes().to_vec()
}

fn control() -> Vec<u8> {
    let control = ControlBatch {
        base_offset: 3,
        partition_leader_epoch: 1,
        timestamp: 1_700_000_000_000,
        producer_id: ProducerId(9),
        producer_epoch: 1,
    };
    let records = [ControlRecord::Abort { coordinator_epoch: 4 }];
    control.build(&records).expect("built").into_bytes().to_vec()
}

/// An entry of a message set; magic 1 if there is a timestamp. Its CRC is zero: reading does not ask for it.
fn message(offset: i64, timestamp: Option<i64>, attributes: u8, key: Option<&[u8]>, value: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 0, u8::from(timestamp.is_some()), attributes];
    body.extend(timestamp.map(i64::to_be_bytes).into_iter().flatten());
    for part in [key, Some(value)] {
        body.extend(part.map_or(-1, |p| p.len() as i32).to_be_bytes());
        body.extend(part.unwrap_or_default());
    }
    [&offset.to_be_bytes()[..], &(body.len() as i32).to_be_bytes(), &body].concat()
}

fn message_sets() -> Vec<(String, Vec<u8>)> {
    let mut sets = vec![];
    for (magic, timestamp) in [(0, None), (1, Some(5))] {
        let inner =
            [message(0, timestamp, 0, Some(b"k"), b"v"), message(1, timestamp, 0, None, &text())].concat();
        sets.push((format!("magic-{magic}-plain"), inner.clone()));
        for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4] {
            let mut compressor = Compressor::new();
            let value = compressor.compress(Codec::new(compression), &inner).expect("compressed");
            let set = message(8, timestamp, compression as u8 | 8, None, value);
            sets.push((format!("magic-{magic}-{compression}"), set));
        }
    }
    sets
}
