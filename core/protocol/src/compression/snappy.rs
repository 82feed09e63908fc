//! snappy in the framing of xerial's snappy-java: a 16-byte header, then blocks behind their INT32 lengths. Clients
//! that are not Java also send one bare block; it is told apart by the missing header.

use super::{DecompressFault, copy_front, take, take_slice};

/// Magic, then the version and the oldest version compatible with it, both 1.
const HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
const MAGIC_BYTES: usize = 8;
const LENGTH_BYTES: usize = 4;
/// Content of one block, as Kafka's Java client cuts it.
const BLOCK_BYTES: usize = 32 << 10;
/// No snappy block inflates further: its densest element is three bytes that stand for 64.
const RATIO_MAX: usize = 22;

/// Most bytes that `len` bytes compress to.
pub(super) fn bound(len: usize) -> usize {
    HEADER.len() + len.div_ceil(BLOCK_BYTES) * (LENGTH_BYTES + snap::raw::max_compress_len(BLOCK_BYTES))
}

pub(super) struct Encoder(snap::raw::Encoder);

impl Default for Encoder {
    fn default() -> Self {
        Self(snap::raw::Encoder::new())
    }
}

impl Encoder {
    pub(super) fn compress(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize, &'static str> {
        let (header, _) = out.split_first_chunk_mut().ok_or(NO_ROOM)?;
        *header = HEADER;
        let mut at = HEADER.len();
        for block in input.chunks(BLOCK_BYTES) {
            let rest = out.get_mut(at..).unwrap_or_default();
            let (length, rest) = rest.split_first_chunk_mut::<LENGTH_BYTES>().ok_or(NO_ROOM)?;
            let n = self.0.compress(block, rest).map_err(|_| NO_ROOM)?;
            *length = u32::try_from(n).map_err(|_| NO_ROOM)?.to_be_bytes();
            at += LENGTH_BYTES + n;
        }
        Ok(at)
    }
}

const NO_ROOM: &str = "the output bound was too small";

#[derive(Default)]
pub(super) struct Decoder {
    /// Content of a block that did not fit the caller's buffer.
    block: Vec<u8>,
}

pub(super) struct Stream<'a> {
    input: &'a [u8],
    /// Whether `input` is blocks behind their lengths, or one bare block.
    framed: bool,
    block: &'a mut Vec<u8>,
    /// What of `block` is not yet given out.
    pending: std::ops::Range<usize>,
}

impl Decoder {
    pub(super) fn start<'a>(&'a mut self, mut input: &'a [u8]) -> Result<Stream<'a>, DecompressFault> {
        let framed = input.first_chunk::<MAGIC_BYTES>() == HEADER.first_chunk();
        if framed {
            take::<{ HEADER.len() }>(&mut input)?;
        } else if input.is_empty() {
            return Err(DecompressFault::Truncated);
        }
        if self.block.len() > super::RETAINED_BYTES_MAX {
            self.block = Vec::new();
        }
        Ok(Stream { input, framed, block: &mut self.block, pending: 0..0 })
    }
}

impl Stream<'_> {
    pub(super) fn fill(&mut self, out: &mut [u8]) -> Result<usize, DecompressFault> {
        while self.pending.is_empty() {
            if self.input.is_empty() {
                return Ok(0);
            }
            let block = self.next_block()?;
            let len =
                snap::raw::decompress_len(block).map_err(|_| DecompressFault::Corrupt("a block's length"))?;
            if len > block.len().saturating_mul(RATIO_MAX) {
                return Err(DecompressFault::Corrupt("a block announces more than it can hold"));
            }
            if let Some(out) = out.get_mut(..len) {
                inflate(block, out)?;
                if len > 0 {
                    return Ok(len);
                }
            } else {
                if self.block.len() < len {
                    self.block.resize(len, 0);
                }
                inflate(block, self.block.get_mut(..len).unwrap_or_default())?;
                self.pending = 0..len;
            }
        }
        let mut pending = self.block.get(self.pending.clone()).unwrap_or_default();
        let n = copy_front(&mut pending, out);
        self.pending.start += n;
        Ok(n)
    }
}

impl<'a> Stream<'a> {
    fn next_block(&mut self) -> Result<&'a [u8], DecompressFault> {
        if !self.framed {
            return Ok(std::mem::take(&mut self.input));
        }
        let len = u32::from_be_bytes(take(&mut self.input)?);
        take_slice(&mut self.input, len as usize)
    }
}

fn inflate(block: &[u8], out: &mut [u8]) -> Result<(), DecompressFault> {
    match snap::raw::Decoder::new().decompress(block, out) {
        Ok(_) => Ok(()),
        Err(_) => Err(DecompressFault::Corrupt("a block")),
    }
}
