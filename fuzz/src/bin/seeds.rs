//! Writes the seed corpora: a few small inputs for each target, of every shape that the format has.

use std::{fs, io, path::Path};

use ottla_protocol::{
    compression::{Codec, Compression, Compressor},
    record::{BatchBuilder, ControlBatch, ControlRecord, Header, Headers, Seal},
    types::ProducerId,
};

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
    write("snappy", "bare", &[5, 4 << 2, b'h', b'e', b'l', b'l', b'o'])
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
