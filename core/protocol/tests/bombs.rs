//! Batches that inflate a thousandfold, against the memory of the whole process: alone in their binary, so that no
//! other test's memory counts. Reads Linux's peak of resident memory, which counts the codecs' own too.
#![cfg(target_os = "linux")]

use std::io::Write;

use bytes::Bytes;
use ottla_protocol::{
    compression::{Compression, Limits},
    error_code::ErrorCode,
    record::{Batch, BatchBuilder, BatchError, BatchHeader, Headers, Rules, Scratch, Seal, validate},
};

const CONTENT_BYTES: usize = 32 << 20;
/// What validation may hold on top: windows and contexts of four codecs, and the largest compressed batch.
const PEAK_BYTES_MAX: usize = 8 << 20;

const _: () = assert!(PEAK_BYTES_MAX * 4 <= CONTENT_BYTES);

/// Resident memory of this process, in bytes: `VmRSS` now, `VmHWM` at its peak.
fn resident_bytes(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with(field)).expect("a field of this name");
    let kib: usize = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kib << 10
}

/// A record of `CONTENT_BYTES` zeros begins so: one that validates, up to its end.
fn record_head() -> Vec<u8> {
    let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
    builder.push(0, None, Some(&[]), Headers::NONE).expect("room");
    let mut head = Vec::new();
    let uvarint = |out: &mut Vec<u8>, mut n: usize| {
        while n >= 0x80 {
            out.push(n as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
    };
    let mut body = vec![0, 0, 0, 1];
    uvarint(&mut body, 2 * CONTENT_BYTES);
    uvarint(&mut head, 2 * (body.len() + CONTENT_BYTES + 1));
    [head, body].concat()
}

/// Writes `head`, then zeros, then the count of no headers: one whole record.
fn write_content(out: &mut impl Write) {
    let zeros = [0; 1 << 16];
    out.write_all(&record_head()).expect("in memory");
    for _ in 0..CONTENT_BYTES / zeros.len() {
        out.write_all(&zeros).expect("in memory");
    }
    out.write_all(&[0]).expect("in memory");
}

/// Collects bytes and hands them on in blocks.
struct Blocks<F: FnMut(&[u8])> {
    block: Vec<u8>,
    block_bytes: usize,
    emit: F,
}

impl<F: FnMut(&[u8])> Write for Blocks<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = bytes.len().min(self.block_bytes - self.block.len());
        self.block.extend_from_slice(&bytes[..n]);
        if self.block.len() == self.block_bytes {
            self.flush()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        (self.emit)(&self.block);
        self.block.clear();
        Ok(())
    }
}

fn bomb(compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => unreachable!("nothing inflates"),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            write_content(&mut encoder);
            encoder.finish().expect("in memory")
        }
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("a context");
            write_content(&mut encoder);
            encoder.finish().expect("in memory")
        }
        Compression::Snappy => {
            let mut out = vec![0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
            let emit = |block: &[u8]| {
                let bytes = snap::raw::Encoder::new().compress_vec(block).expect("compressed");
                out.extend((bytes.len() as u32).to_be_bytes());
                out.extend(bytes);
            };
            let mut blocks = Blocks { block: Vec::new(), block_bytes: 32 << 10, emit };
            write_content(&mut blocks);
            blocks.flush().expect("in memory");
            out
        }
        Compression::Lz4 => {
            let mut out = vec![0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
            let emit = |block: &[u8]| {
                let bytes = lz4_flex::block::compress(block);
                out.extend((bytes.len() as u32).to_le_bytes());
                out.extend(bytes);
            };
            let mut blocks = Blocks { block: Vec::new(), block_bytes: 64 << 10, emit };
            write_content(&mut blocks);
            blocks.flush().expect("in memory");
            out.extend([0; 4]);
            out
        }
    }
}

fn batch_of(compression: Compression, block: &[u8]) -> Batch {
    let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
    builder.push(0, None, None, Headers::NONE).expect("room");
    let like = builder.seal(&Seal::default(), &mut Default::default()).expect("sealed");
    let header = BatchHeader {
        batch_length: (61 - 12 + block.len()) as i32,
        attributes: like.header().attributes.with_compression(compression),
        ..*like.header()
    };
    let whole = |crc| -> Bytes { [&BatchHeader { crc, ..header }.encode()[..], block].concat().into() };
    match Batch::new(whole(0)).expect("whole").check_crc() {
        Err(BatchError::Crc { computed, .. }) => Batch::new(whole(computed)).expect("whole"),
        other => panic!("a zero CRC was right: {other:?}"),
    }
}

#[test]
fn bombs_are_judged_in_bounded_memory_and_stopped_at_their_limit() {
    let bombs: Vec<_> = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        .map(|compression| (compression, batch_of(compression, &bomb(compression))))
        .into();
    let mut scratch = Scratch::new();
    // What making the bombs took at its peak counts too, which only makes it harder.
    let before = resident_bytes("VmRSS:");

    for (compression, batch) in &bombs {
        let compressed = batch.bytes().len();
        // Within its limits, even such a batch is only walked through.
        let boundless = Rules { limits: Limits { ratio_max: usize::MAX, ..Limits::BROKER }, ..Rules::at(0) };
        let validated = validate(batch, &boundless, &mut scratch).expect("one very large record");
        assert_eq!(validated.record_bytes, Some(record_head().len() + CONTENT_BYTES + 1));
        assert!(validated.record_bytes > Some(compressed * 20), "{compression} is no bomb");

        for bytes_max in [1 << 20, 30 << 20] {
            let rules = Rules { limits: Limits { bytes_max, ..boundless.limits }, ..boundless };
            let error = validate(batch, &rules, &mut scratch).expect_err("beyond the limit");
            assert_eq!(error.error_code(), ErrorCode::MESSAGE_TOO_LARGE, "{compression}: {error}");
        }
        // The client materialises, but not beyond its limit.
        let limits = Limits { bytes_max: 1 << 20, ..Limits::CLIENT };
        let error = batch.records(&mut Default::default(), &limits).expect_err("beyond the limit");
        assert!(matches!(error, BatchError::Decompress(_)), "{compression}: {error}");
    }
    let (_, zstd) = &bombs[3];
    let error = validate(zstd, &Rules::at(0), &mut scratch).expect_err("10,000 to 1");
    assert_eq!(error.error_code(), ErrorCode::MESSAGE_TOO_LARGE);

    let grown = resident_bytes("VmHWM:") - before;
    assert!(grown < PEAK_BYTES_MAX, "{CONTENT_BYTES} bytes of content took {grown} bytes");
}
