//! Record batches, message sets and codecs: any bytes may come from a socket or a disk. Nothing may panic, nothing
//! may inflate beyond its limit, and what is judged valid must be readable.

use bytes::Bytes;
use ottla_protocol::{
    compression::{Codec, Compression, Compressor, Decompressor, Limits},
    record::{
        AnyBatch, BATCH_HEADER_BYTES, Batch, BatchBuilder, BatchError, BatchHeader, ControlRecord, Depth,
        Rules, Scratch, Seal, validate,
    },
};

/// Small, so that a run is quick and a limit is reached often.
const LIMITS: Limits = Limits { bytes_max: 1 << 20, ratio_max: usize::MAX, zstd_window_log_max: 20 };

/// Bytes as a fetch answer, then as one batch with its magic, length and CRC set right: else nearly no input would
/// pass them.
pub fn record_batch(data: &[u8]) {
    let mut stream = Bytes::copy_from_slice(data);
    while let Ok(Some(batch)) = AnyBatch::split_from(&mut stream) {
        read_any(&batch);
    }
    if let Some(batch) = repaired(data) {
        judge(&batch);
    }
}

/// Bytes as a set of messages older than version 2, and as one such message with its magic and size set right.
pub fn legacy(data: &[u8]) {
    let mut stream = Bytes::copy_from_slice(data);
    while let Ok(Some(batch)) = AnyBatch::split_from(&mut stream) {
        read_any(&batch);
    }
    let mut entry = data.to_vec();
    let size = i32::try_from(data.len().saturating_sub(12)).unwrap_or(i32::MAX);
    if let Some(place) = entry.get_mut(8..12) {
        place.copy_from_slice(&size.to_be_bytes());
    }
    if let Some(magic) = entry.get_mut(16) {
        *magic &= 1;
    }
    if let Ok(Some(batch)) = AnyBatch::split_from(&mut entry.into()) {
        read_any(&batch);
    }
}

/// gzip: see [`codec`].
pub fn gzip(data: &[u8]) {
    codec(Compression::Gzip, data);
}

/// snappy: see [`codec`].
pub fn snappy(data: &[u8]) {
    codec(Compression::Snappy, data);
}

/// lz4: see [`codec`].
pub fn lz4(data: &[u8]) {
    codec(Compression::Lz4, data);
}

/// zstd: see [`codec`].
pub fn zstd(data: &[u8]) {
    codec(Compression::Zstd, data);
}

/// Bytes as a frame: inflated whole or through a small window, they give the same, within the limit. Then bytes as
/// content, at a level that they choose: what is compressed reads back.
fn codec(compression: Compression, data: &[u8]) {
    let mut decompressor = Decompressor::new();
    let mut whole = Vec::new();
    let verdict = decompressor.decompress(compression, data, &LIMITS, &mut whole);
    if verdict.is_ok() {
        assert!(whole.len() <= LIMITS.bytes_max);
        let mut pieces = Vec::new();
        let mut window = vec![0; 1 + data.len() % 4096];
        let mut inflate = decompressor.inflate(compression, data, &LIMITS).expect("it was a frame before");
        loop {
            let n = inflate.fill(&mut window).expect("it inflated before");
            if n == 0 {
                break;
            }
            pieces.extend_from_slice(&window[..n]);
        }
        assert!(pieces == whole, "the window's size changed the content");
    }

    let (level, content) = data.split_first().map_or((0, data), |(&first, rest)| (i32::from(first), rest));
    let codec = match compression.levels() {
        // The highest levels of zstd take long, and memory.
        Some((_, highest)) => Codec::with_level(compression, 1 + level % highest.min(9)).expect("a level"),
        None => Codec::new(compression),
    };
    let mut compressor = Compressor::new();
    let frame = compressor.compress(codec, content).expect("nothing in the content can be at fault");
    let mut back = Vec::new();
    decompressor.decompress(compression, frame, &LIMITS, &mut back).expect("our own frame");
    assert!(back == content, "it did not read back");
}

/// Reads all there is, for better or worse.
fn read_any(batch: &AnyBatch) {
    let _ = batch.check_crc();
    let _ = batch.last_offset();
    let Ok(records) = batch.records(&mut Decompressor::new(), &LIMITS) else { return };
    let mut failed = false;
    for record in &records {
        assert!(!failed, "an error is the end");
        match record {
            Ok(record) => {
                for header in record.headers {
                    let _ = header.name();
                }
                let _ = ControlRecord::parse(&record);
            }
            Err(_) => failed = true,
        }
    }
}

fn repaired(data: &[u8]) -> Option<Batch> {
    let mut bytes = data.to_vec();
    let length = i32::try_from(data.len().checked_sub(BATCH_HEADER_BYTES)? + BATCH_HEADER_BYTES - 12).ok()?;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    let broken = Batch::new(bytes.into()).expect("its length and magic are right");
    let header = match broken.check_crc() {
        Ok(()) => return Some(broken),
        Err(BatchError::Crc { computed, .. }) => BatchHeader { crc: computed, ..*broken.header() },
        Err(other) => panic!("no CRC: {other}"),
    };
    Some(Batch::new([&header.encode()[..], &broken.record_block()].concat().into()).expect("the same length"))
}

/// What is valid iterates to its end, and is equal to what is built of it anew.
fn judge(batch: &Batch) {
    read_any(&AnyBatch::Batch(batch.clone()));
    let mut scratch = Scratch::new();
    let rules = Rules { timestamp_after_max_ms: i64::MAX, limits: LIMITS, ..Rules::at(0) };
    let trusted = validate(batch, &Rules { depth: Depth::Header, ..rules }, &mut scratch);
    let _ = validate(batch, &Rules { compacted: true, timestamp_before_max_ms: 7, ..rules }, &mut scratch);
    let Ok(validated) = validate(batch, &rules, &mut scratch) else { return };
    assert!(trusted.is_ok(), "less was asked");

    let records = batch.records(&mut Decompressor::new(), &LIMITS).expect("it inflated before");
    assert_eq!(validated.record_bytes, Some(records.block().len()));
    let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
    for record in &records {
        let r = record.expect("valid records are readable");
        builder.push(r.timestamp, r.key, r.value, r.headers).expect("there is room");
    }
    let header = batch.header();
    assert_eq!(i64::from(builder.record_count()), i64::from(header.record_count));
    let compression = header.attributes.compression().expect("a codec");
    let seal = Seal { base_offset: header.base_offset, codec: Codec::new(compression), ..Seal::default() };
    let rebuilt = builder.seal(&seal, &mut Compressor::new()).expect("sealed");
    let again = validate(&rebuilt, &rules, &mut scratch).expect("what we build is valid");
    assert_eq!(
        (again.max_timestamp, again.max_timestamp_index),
        (validated.max_timestamp, validated.max_timestamp_index)
    );
    let rebuilt = rebuilt.records(&mut Decompressor::new(), &LIMITS).expect("our own frame");
    assert!(records.iter().count() == rebuilt.iter().count());
    for (before, after) in records.iter().zip(&rebuilt) {
        let (before, after) = (before.expect("readable"), after.expect("readable"));
        assert_eq!((before.offset, before.timestamp), (after.offset, after.timestamp));
        assert_eq!((before.key, before.value), (after.key, after.value));
        assert!(before.headers.iter().eq(after.headers));
    }
}
