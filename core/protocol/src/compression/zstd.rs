//! zstd: one standard frame, with its content's size in the header when we write it.

use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, compress_bound, get_error_name,
};

use super::{DecompressFault, take};

const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// Input beyond this gets a window of its own size, which readers with our limit could not hold.
const WINDOW_LOG_MAX: u32 = 23;
/// A context that holds more than this after its use is given back.
const CONTEXT_BYTES_MAX: usize = 24 << 20;

const _: () = assert!(1 << WINDOW_LOG_MAX < CONTEXT_BYTES_MAX);

/// Most bytes that `len` bytes compress to.
pub(super) fn bound(len: usize) -> usize {
    compress_bound(len)
}

#[derive(Default)]
pub(super) struct Encoder {
    context: Option<CCtx<'static>>,
}

impl Encoder {
    pub(super) fn compress(
        &mut self,
        level: i32,
        input: &[u8],
        out: &mut [u8],
    ) -> Result<usize, &'static str> {
        let context = match &mut self.context {
            Some(context) => context,
            empty => empty.insert(CCtx::try_create().ok_or("no memory for a context")?),
        };
        // Zero leaves the window to the level, which fits it to the input.
        let window_log = if input.len() > 1 << WINDOW_LOG_MAX { WINDOW_LOG_MAX } else { 0 };
        let written = context
            .reset(ResetDirective::SessionOnly)
            .and_then(|_| context.set_parameter(CParameter::CompressionLevel(level)))
            .and_then(|_| context.set_parameter(CParameter::WindowLog(window_log)))
            .and_then(|_| context.compress2(out, input))
            .map_err(get_error_name);
        if context.sizeof() > CONTEXT_BYTES_MAX {
            self.context = None;
        }
        written
    }
}

#[derive(Default)]
pub(super) struct Decoder {
    context: Option<DCtx<'static>>,
}

pub(super) struct Stream<'a> {
    context: &'a mut DCtx<'static>,
    input: InBuffer<'a>,
    ended: bool,
}

impl Decoder {
    pub(super) fn start<'a>(
        &'a mut self,
        input: &'a [u8],
        window_log_max: u32,
    ) -> Result<Stream<'a>, DecompressFault> {
        if window_bytes(input)? > 1_u64.checked_shl(window_log_max).unwrap_or(u64::MAX) {
            return Err(DecompressFault::Unsupported("a window larger than the limit"));
        }
        // What the last frame made it hold; frames of a client's limit may take 128 MiB.
        if self.context.as_ref().is_some_and(|context| context.sizeof() > CONTEXT_BYTES_MAX) {
            self.context = None;
        }
        let context = match &mut self.context {
            Some(context) => context,
            empty => empty
                .insert(DCtx::try_create().ok_or(DecompressFault::Unsupported("no memory for a context"))?),
        };
        context
            .reset(ResetDirective::SessionOnly)
            .and_then(|_| context.set_parameter(DParameter::WindowLogMax(window_log_max)))
            .map_err(|code| DecompressFault::Unsupported(get_error_name(code)))?;
        Ok(Stream { context, input: InBuffer::around(input), ended: false })
    }
}

/// The window that the frame's header asks for (RFC 8878, 3.1.1.1). The library judges it too, but lets any window
/// pass if the content fits the caller's buffer at once; another reader's buffer may be smaller.
fn window_bytes(mut frame: &[u8]) -> Result<u64, DecompressFault> {
    if take(&mut frame)? != MAGIC {
        return Err(DecompressFault::Corrupt("no zstd frame header"));
    }
    let [descriptor] = take(&mut frame)?;
    let single_segment = descriptor & 0x20 != 0;
    if !single_segment {
        let [window] = take(&mut frame)?;
        let base = 1_u64 << (10 + (window >> 3));
        return Ok(base + base / 8 * u64::from(window & 7));
    }
    // The content is the window; a dictionary's id lies before its size.
    match descriptor & 0x03 {
        0 => {}
        1 => drop(take::<1>(&mut frame)?),
        2 => drop(take::<2>(&mut frame)?),
        _ => drop(take::<4>(&mut frame)?),
    }
    Ok(match descriptor >> 6 {
        0 => u64::from(u8::from_le_bytes(take(&mut frame)?)),
        1 => u64::from(u16::from_le_bytes(take(&mut frame)?)) + 256,
        2 => u64::from(u32::from_le_bytes(take(&mut frame)?)),
        _ => u64::from_le_bytes(take(&mut frame)?),
    })
}

impl Stream<'_> {
    pub(super) fn fill(&mut self, out: &mut [u8]) -> Result<usize, DecompressFault> {
        while !self.ended {
            let before = self.input.pos();
            let mut output = OutBuffer::around(&mut *out);
            let left = self
                .context
                .decompress_stream(&mut output, &mut self.input)
                .map_err(|code| DecompressFault::Corrupt(get_error_name(code)))?;
            let written = output.pos();
            if left == 0 {
                self.ended = true;
                let bytes = self.input.src.len() - self.input.pos();
                if bytes > 0 {
                    return Err(DecompressFault::Trailing { bytes });
                }
            } else if written == 0 && self.input.pos() == before {
                return Err(DecompressFault::Truncated);
            }
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}
