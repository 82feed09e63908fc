//! gzip: one member (RFC 1952) around a deflate stream. Header and trailer are ours, so that contexts can be reused
//! and a second member or trailing bytes are seen.

use flate2::{Compress, Crc, Decompress, FlushCompress, FlushDecompress, Status};

use super::{DecompressFault, GZIP_LEVEL_AUTO, take, take_slice};

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const METHOD_DEFLATE: u8 = 8;
/// No time, no name, no extra; operating system unknown.
const HEADER: [u8; 10] = [MAGIC[0], MAGIC[1], METHOD_DEFLATE, 0, 0, 0, 0, 0, 0, 255];
const TRAILER_BYTES: usize = 8;

/// Flags of the header: which optional fields follow it.
const FLAG_HEADER_CRC: u8 = 0x02;
const FLAG_EXTRA: u8 = 0x04;
const FLAG_NAME: u8 = 0x08;
const FLAG_COMMENT: u8 = 0x10;
const FLAGS_RESERVED: u8 = 0xe0;

/// Most bytes that `len` bytes compress to: static codes take nine bits for the dearest literals.
pub(super) fn bound(len: usize) -> usize {
    len + len / 8 + len / 64 + 64 + HEADER.len() + TRAILER_BYTES
}

#[derive(Default)]
pub(super) struct Encoder {
    /// The context and the level it was made for.
    context: Option<(Compress, i32)>,
}

impl Encoder {
    pub(super) fn compress(
        &mut self,
        level: i32,
        input: &[u8],
        out: &mut [u8],
    ) -> Result<usize, &'static str> {
        if !matches!(&self.context, Some((_, made_for)) if *made_for == level) {
            let speed = match level {
                GZIP_LEVEL_AUTO => flate2::Compression::default(),
                level => flate2::Compression::new(level.clamp(0, 9).unsigned_abs()),
            };
            self.context = Some((Compress::new(speed, false), level));
        }
        let Some((context, _)) = &mut self.context else { return Err("no context") };
        context.reset();

        let (header, rest) = out.split_first_chunk_mut::<{ HEADER.len() }>().ok_or(NO_ROOM)?;
        *header = HEADER;
        let status = context.compress(input, rest, FlushCompress::Finish).map_err(|_| "deflate failed")?;
        if status != Status::StreamEnd {
            return Err(NO_ROOM);
        }
        let deflated = usize::try_from(context.total_out()).map_err(|_| NO_ROOM)?;
        let trailer = rest.get_mut(deflated..).and_then(|t| t.first_chunk_mut()).ok_or(NO_ROOM)?;
        let mut crc = Crc::new();
        crc.update(input);
        *trailer = (u64::from(crc.sum()) | u64::from(crc.amount()) << 32).to_le_bytes();
        Ok(HEADER.len() + deflated + TRAILER_BYTES)
    }
}

const NO_ROOM: &str = "the output bound was too small";

#[derive(Default)]
pub(super) struct Decoder {
    context: Option<Decompress>,
}

pub(super) struct Stream<'a> {
    context: &'a mut Decompress,
    /// What is left to read: deflate data, then the trailer.
    input: &'a [u8],
    crc: Crc,
    ended: bool,
}

impl Decoder {
    pub(super) fn start<'a>(&'a mut self, mut input: &'a [u8]) -> Result<Stream<'a>, DecompressFault> {
        skip_header(&mut input)?;
        let context = self.context.get_or_insert_with(|| Decompress::new(false));
        context.reset(false);
        Ok(Stream { context, input, crc: Crc::new(), ended: false })
    }
}

fn skip_header(input: &mut &[u8]) -> Result<(), DecompressFault> {
    let [m0, m1, method, flags, ..] = take::<10>(input)?;
    if [m0, m1] != MAGIC {
        return Err(DecompressFault::Corrupt("no gzip header"));
    }
    if method != METHOD_DEFLATE || flags & FLAGS_RESERVED != 0 {
        return Err(DecompressFault::Unsupported("a method or flag that RFC 1952 does not define"));
    }
    if flags & FLAG_EXTRA != 0 {
        let len = u16::from_le_bytes(take(input)?);
        take_slice(input, usize::from(len))?;
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            let end = input.iter().position(|&b| b == 0).ok_or(DecompressFault::Truncated)?;
            take_slice(input, end + 1)?;
        }
    }
    if flags & FLAG_HEADER_CRC != 0 {
        take::<2>(input)?;
    }
    Ok(())
}

impl Stream<'_> {
    pub(super) fn fill(&mut self, out: &mut [u8]) -> Result<usize, DecompressFault> {
        while !self.ended {
            let (read, written) = (self.context.total_in(), self.context.total_out());
            let status = self
                .context
                .decompress(self.input, out, FlushDecompress::None)
                .map_err(|_| DecompressFault::Corrupt("deflate data"))?;
            // Both are lengths of slices in memory.
            let (read, written) = (
                usize::try_from(self.context.total_in() - read).unwrap_or(usize::MAX),
                usize::try_from(self.context.total_out() - written).unwrap_or(usize::MAX),
            );
            take_slice(&mut self.input, read)?;
            self.crc.update(out.get(..written).unwrap_or_default());
            if status == Status::StreamEnd {
                self.ended = true;
                self.check_trailer()?;
            } else if read == 0 && written == 0 {
                return Err(DecompressFault::Truncated);
            }
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }

    fn check_trailer(&mut self) -> Result<(), DecompressFault> {
        let crc = u32::from_le_bytes(take(&mut self.input)?);
        let len = u32::from_le_bytes(take(&mut self.input)?);
        if crc != self.crc.sum() {
            return Err(DecompressFault::Corrupt("the content fails its CRC-32"));
        }
        if len != self.crc.amount() {
            return Err(DecompressFault::Corrupt("the content is not as long as its trailer says"));
        }
        match self.input.len() {
            0 => Ok(()),
            bytes => Err(DecompressFault::Trailing { bytes }),
        }
    }
}
