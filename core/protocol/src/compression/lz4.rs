//! LZ4 frames. Written as Kafka's Java reader takes them: independent blocks of 64 KiB, no sizes, no checksums
//! but the header's. Read with linked blocks, checksums and sizes too, which other clients send.

use std::hash::Hasher;

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, decompress_into_with_dict,
    get_maximum_output_size,
};
use twox_hash::XxHash32;

use super::{DecompressFault, copy_front, take, take_slice};

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
/// FLG: version 1, independent blocks. BD: blocks of 64 KiB. The last byte is their checksum.
const HEADER: [u8; 7] = [MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], 0x60, 0x40, 0x82];
const END_MARK: [u8; 4] = [0; 4];
const BLOCK_BYTES: usize = 64 << 10;
/// Bit of a block's size that says the block is stored as it is.
const STORED: u32 = 0x8000_0000;
/// How far a linked block may refer back.
const WINDOW_BYTES: usize = 64 << 10;

const FLG_VERSION_MASK: u8 = 0xc0;
const FLG_VERSION_1: u8 = 0x40;
const FLG_INDEPENDENT: u8 = 0x20;
const FLG_BLOCK_CHECKSUM: u8 = 0x10;
const FLG_CONTENT_SIZE: u8 = 0x08;
const FLG_CONTENT_CHECKSUM: u8 = 0x04;
const FLG_RESERVED: u8 = 0x02;
const FLG_DICTIONARY: u8 = 0x01;
const BD_RESERVED: u8 = 0x8f;

/// Most bytes that `len` bytes compress to: a block that does not shrink is stored, but needs room to be tried.
pub(super) fn bound(len: usize) -> usize {
    let trial = get_maximum_output_size(BLOCK_BYTES) - BLOCK_BYTES;
    HEADER.len() + len.div_ceil(BLOCK_BYTES) * 4 + len + trial + END_MARK.len()
}

#[derive(Default)]
pub(super) struct Encoder {
    table: Option<CompressTable>,
}

impl Encoder {
    pub(super) fn compress(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize, &'static str> {
        let table = self.table.get_or_insert_with(CompressTable::large);
        put(out, 0, &HEADER)?;
        let mut at = HEADER.len();
        for block in input.chunks(BLOCK_BYTES) {
            let rest = out.get_mut(at..).unwrap_or_default();
            let (size, rest) = rest.split_first_chunk_mut::<4>().ok_or(NO_ROOM)?;
            let compressed = compress_into_with_table(block, rest, table).map_err(|_| NO_ROOM)?;
            let (len, flag) = if compressed < block.len() {
                (compressed, 0)
            } else {
                put(rest, 0, block)?;
                (block.len(), STORED)
            };
            *size = (u32::try_from(len).map_err(|_| NO_ROOM)? | flag).to_le_bytes();
            at += size.len() + len;
        }
        put(out, at, &END_MARK)?;
        Ok(at + END_MARK.len())
    }
}

const NO_ROOM: &str = "the output bound was too small";

fn put(out: &mut [u8], at: usize, bytes: &[u8]) -> Result<(), &'static str> {
    let place = out.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())).ok_or(NO_ROOM)?;
    place.copy_from_slice(bytes);
    Ok(())
}

/// Whether the header's checksum counts. Messages of magic 0 carry one that was computed over the magic number too.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum HeaderChecksum {
    Checked,
    Ignored,
}

#[derive(Default)]
pub(super) struct Decoder {
    /// Content of a block that did not fit the caller's buffer.
    block: Vec<u8>,
    /// The content before the current block, as far as a linked block may refer to it.
    window: Vec<u8>,
}

pub(super) struct Stream<'a> {
    input: &'a [u8],
    frame: Frame,
    block: &'a mut Vec<u8>,
    window: &'a mut Vec<u8>,
    /// What of `block` is not yet given out.
    pending: std::ops::Range<usize>,
    content: XxHash32,
    content_len: u64,
    ended: bool,
}

/// What the frame's header says.
struct Frame {
    block_bytes_max: usize,
    independent: bool,
    block_checksum: bool,
    content_checksum: bool,
    content_size: Option<u64>,
}

impl Decoder {
    pub(super) fn start<'a>(
        &'a mut self,
        mut input: &'a [u8],
        checksum: HeaderChecksum,
    ) -> Result<Stream<'a>, DecompressFault> {
        let frame = Frame::read(&mut input, checksum)?;
        if self.block.len() > super::RETAINED_BYTES_MAX {
            self.block = Vec::new();
        }
        self.window.clear();
        Ok(Stream {
            input,
            frame,
            block: &mut self.block,
            window: &mut self.window,
            pending: 0..0,
            content: XxHash32::with_seed(0),
            content_len: 0,
            ended: false,
        })
    }
}

impl Frame {
    fn read(input: &mut &[u8], checksum: HeaderChecksum) -> Result<Self, DecompressFault> {
        if take::<4>(input)? != MAGIC {
            return Err(DecompressFault::Corrupt("no lz4 frame header"));
        }
        let descriptor = *input;
        let [flg, bd] = take(input)?;
        if flg & FLG_VERSION_MASK != FLG_VERSION_1 || flg & FLG_RESERVED != 0 || bd & BD_RESERVED != 0 {
            return Err(DecompressFault::Unsupported("a version or flag other than of frame version 1"));
        }
        if flg & FLG_DICTIONARY != 0 {
            return Err(DecompressFault::Unsupported("a dictionary"));
        }
        let block_bytes_max = match bd >> 4 {
            4 => 64 << 10,
            5 => 256 << 10,
            6 => 1 << 20,
            7 => 4 << 20,
            _ => return Err(DecompressFault::Unsupported("a block size other than 64 KiB to 4 MiB")),
        };
        let content_size =
            if flg & FLG_CONTENT_SIZE != 0 { Some(u64::from_le_bytes(take(input)?)) } else { None };
        let descriptor = descriptor.get(..descriptor.len() - input.len()).unwrap_or_default();
        let [stated] = take(input)?;
        let [_, computed, ..] = XxHash32::oneshot(0, descriptor).to_le_bytes();
        if stated != computed && checksum == HeaderChecksum::Checked {
            return Err(DecompressFault::Corrupt("the frame header fails its checksum"));
        }
        Ok(Self {
            block_bytes_max,
            independent: flg & FLG_INDEPENDENT != 0,
            block_checksum: flg & FLG_BLOCK_CHECKSUM != 0,
            content_checksum: flg & FLG_CONTENT_CHECKSUM != 0,
            content_size,
        })
    }
}

/// One block as it lies in the frame.
enum Block<'a> {
    Stored(&'a [u8]),
    Compressed(&'a [u8]),
}

impl<'a> Stream<'a> {
    pub(super) fn fill(&mut self, out: &mut [u8]) -> Result<usize, DecompressFault> {
        while self.pending.is_empty() {
            let Some(block) = self.next_block()? else { return Ok(0) };
            let most = self.frame.block_bytes_max;
            let direct = out.len() >= most;
            let place = if direct {
                out.get_mut(..most)
            } else {
                if self.block.len() < most {
                    self.block.resize(most, 0);
                }
                self.block.get_mut(..most)
            };
            let place = place.unwrap_or_default();
            let len = match block {
                Block::Stored(mut bytes) => copy_front(&mut bytes, place),
                Block::Compressed(bytes) => {
                    let inflated = if self.frame.independent {
                        decompress_into(bytes, place)
                    } else {
                        decompress_into_with_dict(bytes, place, self.window)
                    };
                    inflated.map_err(|_| DecompressFault::Corrupt("a block"))?
                }
            };
            let content = place.get(..len).unwrap_or_default();
            self.content_len += len as u64;
            if self.frame.content_checksum {
                self.content.write(content);
            }
            if !self.frame.independent {
                keep_tail(self.window, content);
            }
            if !direct {
                self.pending = 0..len;
            } else if len > 0 {
                return Ok(len);
            }
        }
        let mut pending = self.block.get(self.pending.clone()).unwrap_or_default();
        let n = copy_front(&mut pending, out);
        self.pending.start += n;
        Ok(n)
    }

    fn next_block(&mut self) -> Result<Option<Block<'a>>, DecompressFault> {
        if self.ended {
            return Ok(None);
        }
        let size = u32::from_le_bytes(take(&mut self.input)?);
        if size == 0 {
            self.ended = true;
            self.check_end()?;
            return Ok(None);
        }
        let len = (size & !STORED) as usize;
        if len > self.frame.block_bytes_max {
            return Err(DecompressFault::Corrupt("a block larger than the frame allows"));
        }
        let bytes = take_slice(&mut self.input, len)?;
        if self.frame.block_checksum
            && u32::from_le_bytes(take(&mut self.input)?) != XxHash32::oneshot(0, bytes)
        {
            return Err(DecompressFault::Corrupt("a block fails its checksum"));
        }
        Ok(Some(if size & STORED != 0 { Block::Stored(bytes) } else { Block::Compressed(bytes) }))
    }

    fn check_end(&mut self) -> Result<(), DecompressFault> {
        if self.frame.content_checksum
            && u32::from_le_bytes(take(&mut self.input)?) != self.content.finish_32()
        {
            return Err(DecompressFault::Corrupt("the content fails its checksum"));
        }
        if self.frame.content_size.is_some_and(|size| size != self.content_len) {
            return Err(DecompressFault::Corrupt("the content is not as long as its header says"));
        }
        match self.input.len() {
            0 => Ok(()),
            bytes => Err(DecompressFault::Trailing { bytes }),
        }
    }
}

/// Appends `content` to `window` and drops what lies more than [`WINDOW_BYTES`] back.
fn keep_tail(window: &mut Vec<u8>, content: &[u8]) {
    let content = content.get(content.len().saturating_sub(WINDOW_BYTES)..).unwrap_or_default();
    let excess = (window.len() + content.len()).saturating_sub(WINDOW_BYTES);
    window.drain(..excess.min(window.len()));
    window.extend_from_slice(content);
}
