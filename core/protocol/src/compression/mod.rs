//! gzip, snappy, lz4 and zstd, as Kafka frames them inside a record batch.
//!
//! [`Compressor`] and [`Decompressor`] own the codecs' contexts and buffers, which are dear to make: keep one of
//! each per thread, and use it for every batch. Reading is bounded: [`Limits`] says how far a batch may inflate,
//! and [`Inflate`] gives the content piece by piece through a window that the caller owns.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::{fmt, str::FromStr};

/// How the records of a batch are compressed: the lowest three bits of the batch's attributes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None = 0,
    /// One gzip member (RFC 1952).
    Gzip = 1,
    /// Snappy blocks in the framing of xerial's snappy-java; one bare block is read too.
    Snappy = 2,
    /// One LZ4 frame of independent blocks; linked blocks are read too.
    Lz4 = 3,
    /// One zstd frame; needs Produce 7 and Fetch 10 (KIP-110).
    Zstd = 4,
}

impl Compression {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The name that Kafka's `compression.type` uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec with this number, if there is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The levels one may ask for (KIP-390), lowest and highest; `None` for a codec without levels.
    pub const fn levels(self) -> Option<(i32, i32)> {
        match self {
            Self::None | Self::Snappy => None,
            Self::Gzip => Some((1, 9)),
            Self::Lz4 => Some((1, 17)),
            Self::Zstd => Some((-131_072, 22)),
        }
    }

    /// The level that is used when none is asked for; 0 for a codec without levels.
    pub const fn default_level(self) -> i32 {
        match self {
            Self::None | Self::Snappy => 0,
            Self::Gzip => GZIP_LEVEL_AUTO,
            Self::Lz4 => 9,
            Self::Zstd => 3,
        }
    }
}

/// The gzip level that leaves the choice to the library, as Kafka's `compression.gzip.level` allows.
pub const GZIP_LEVEL_AUTO: i32 = -1;

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(name: &str) -> Result<Self, UnknownCompression> {
        Self::ALL.into_iter().find(|c| c.name() == name).ok_or_else(|| UnknownCompression(name.to_owned()))
    }
}

/// A name that is none of Kafka's five.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnknownCompression(pub String);

impl fmt::Display for UnknownCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no compression; use `none`, `gzip`, `snappy`, `lz4` or `zstd`", self.0)
    }
}

impl std::error::Error for UnknownCompression {}

/// A compression together with its level: what a producer is configured with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Codec {
    compression: Compression,
    level: i32,
}

impl Codec {
    /// No compression.
    pub const NONE: Self = Self::new(Compression::None);

    /// This compression at its default level.
    pub const fn new(compression: Compression) -> Self {
        Self { compression, level: compression.default_level() }
    }

    /// This compression at this level. The levels are those of KIP-390; lz4 takes its 17 levels without effect,
    /// since there is one speed only.
    pub const fn with_level(compression: Compression, level: i32) -> Result<Self, LevelOutOfRange> {
        let legal = match compression.levels() {
            None => false,
            Some((lowest, highest)) => {
                (lowest <= level && level <= highest)
                    || (matches!(compression, Compression::Gzip) && level == GZIP_LEVEL_AUTO)
            }
        };
        if legal { Ok(Self { compression, level }) } else { Err(LevelOutOfRange { compression, level }) }
    }

    /// Which compression.
    pub const fn compression(self) -> Compression {
        self.compression
    }

    /// At which level.
    pub const fn level(self) -> i32 {
        self.level
    }
}

/// A level that a codec does not have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LevelOutOfRange {
    /// The codec.
    pub compression: Compression,
    /// The level asked for.
    pub level: i32,
}

impl fmt::Display for LevelOutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { compression, level } = self;
        match compression.levels() {
            None => write!(f, "`{compression}` has no levels, so `{level}` cannot be set"),
            Some((lowest, highest)) => {
                write!(f, "`{level}` is no level of `{compression}`; use {lowest} to {highest}")
            }
        }
    }
}

impl std::error::Error for LevelOutOfRange {}

/// How far compressed bytes may inflate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Most bytes of content. Kafka has no such limit for a batch; what it has for a record is in
    /// [`Rules`](crate::record::Rules).
    pub bytes_max: usize,
    /// Most bytes of content for each compressed byte, once there are more than [`RATIO_FREE_BYTES`] of them.
    pub ratio_max: usize,
    /// Largest window of a zstd frame, as a power of two of bytes. It is memory that a decoder holds.
    pub zstd_window_log_max: u32,
}

/// Content up to this size is never refused for its ratio: a small batch of equal records compresses
/// thousandfold in good faith.
pub const RATIO_FREE_BYTES: usize = 16 << 20;

impl Limits {
    /// For bytes that a broker takes from a client: 1 GiB, 1,000 to 1, windows of 8 MiB.
    pub const BROKER: Self = Self { bytes_max: 1 << 30, ratio_max: 1000, zstd_window_log_max: 23 };
    /// For bytes that a client takes from its broker: 1 GiB at any ratio, windows of 128 MiB, which zstd's
    /// highest level makes.
    pub const CLIENT: Self = Self { bytes_max: 1 << 30, ratio_max: usize::MAX, zstd_window_log_max: 27 };

    /// Most bytes that `compressed` bytes may inflate to.
    pub fn output_max(&self, compressed: usize) -> usize {
        self.bytes_max.min(compressed.saturating_mul(self.ratio_max).max(RATIO_FREE_BYTES))
    }
}

/// Buffers larger than this are given back once a smaller one would do.
const RETAINED_BYTES_MAX: usize = 4 << 20;

/// Compresses record blocks. Owns one context per codec, made at first use, and the buffer that it writes to.
#[derive(Default)]
pub struct Compressor {
    gzip: gzip::Encoder,
    snappy: snappy::Encoder,
    lz4: lz4::Encoder,
    zstd: zstd::Encoder,
    /// Grows to the largest bound asked for and is not cleared in between: all of it is initialised.
    out: Vec<u8>,
}

impl Compressor {
    /// One without contexts or buffers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compresses `input`. The result lies in the compressor's own buffer, or is `input` itself for
    /// [`Compression::None`].
    pub fn compress<'a>(&'a mut self, codec: Codec, input: &'a [u8]) -> Result<&'a [u8], CompressError> {
        let compression = codec.compression();
        let bound = match compression {
            Compression::None => return Ok(input),
            Compression::Gzip => gzip::bound(input.len()),
            Compression::Snappy => snappy::bound(input.len()),
            Compression::Lz4 => lz4::bound(input.len()),
            Compression::Zstd => zstd::bound(input.len()),
        };
        if self.out.len() < bound {
            self.out.resize(bound, 0);
        } else if self.out.len() > RETAINED_BYTES_MAX && bound <= RETAINED_BYTES_MAX {
            self.out = vec![0; bound];
        }
        let out = self.out.as_mut_slice();
        let written = match compression {
            Compression::None => Ok(0),
            Compression::Gzip => self.gzip.compress(codec.level(), input, out),
            Compression::Snappy => self.snappy.compress(input, out),
            Compression::Lz4 => self.lz4.compress(input, out),
            Compression::Zstd => self.zstd.compress(codec.level(), input, out),
        };
        match written {
            Ok(n) => Ok(self.out.get(..n).unwrap_or_default()),
            Err(reason) => Err(CompressError { compression, reason }),
        }
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("buffer_bytes", &self.out.len()).finish_non_exhaustive()
    }
}

/// A codec that failed to compress. Memory is the only known reason; the input is never at fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CompressError {
    /// The codec.
    pub compression: Compression,
    /// What its library said.
    pub reason: &'static str,
}

impl fmt::Display for CompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` could not compress the batch: {}", self.compression, self.reason)
    }
}

impl std::error::Error for CompressError {}

/// Decompresses record blocks. Owns one context per codec, made at first use.
#[derive(Default)]
pub struct Decompressor {
    gzip: gzip::Decoder,
    snappy: snappy::Decoder,
    lz4: lz4::Decoder,
    zstd: zstd::Decoder,
}

impl Decompressor {
    /// One without contexts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to inflate `input`, which must be one whole frame of `compression` and nothing else.
    pub fn inflate<'a>(
        &'a mut self,
        compression: Compression,
        input: &'a [u8],
        limits: &Limits,
    ) -> Result<Inflate<'a>, DecompressError> {
        self.inflate_framed(compression, input, limits, lz4::HeaderChecksum::Checked)
    }

    /// As [`Self::inflate`], for a message of magic 0, whose LZ4 frames carry a checksum computed over too much.
    pub(crate) fn inflate_magic_0<'a>(
        &'a mut self,
        compression: Compression,
        input: &'a [u8],
        limits: &Limits,
    ) -> Result<Inflate<'a>, DecompressError> {
        self.inflate_framed(compression, input, limits, lz4::HeaderChecksum::Ignored)
    }

    fn inflate_framed<'a>(
        &'a mut self,
        compression: Compression,
        input: &'a [u8],
        limits: &Limits,
        lz4_header: lz4::HeaderChecksum,
    ) -> Result<Inflate<'a>, DecompressError> {
        let stream = match compression {
            Compression::None => Ok(Stream::Stored(input)),
            Compression::Gzip => self.gzip.start(input).map(Stream::Gzip),
            Compression::Snappy => self.snappy.start(input).map(Stream::Snappy),
            Compression::Lz4 => self.lz4.start(input, lz4_header).map(Stream::Lz4),
            Compression::Zstd => self.zstd.start(input, limits.zstd_window_log_max).map(Stream::Zstd),
        };
        let stream = stream.map_err(|fault| DecompressError { compression, fault })?;
        let limit = match compression {
            Compression::None => input.len(),
            _ => limits.output_max(input.len()),
        };
        Ok(Inflate { stream, compression, produced: 0, limit })
    }

    /// Inflates `input` whole, behind what `out` already holds.
    pub fn decompress(
        &mut self,
        compression: Compression,
        input: &[u8],
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<(), DecompressError> {
        self.inflate(compression, input, limits)?.read_to_end(out)
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

/// Compressed bytes on their way back to content. Memory is the codec's window, never the content's size.
pub struct Inflate<'a> {
    stream: Stream<'a>,
    compression: Compression,
    produced: usize,
    limit: usize,
}

enum Stream<'a> {
    Stored(&'a [u8]),
    Gzip(gzip::Stream<'a>),
    Snappy(snappy::Stream<'a>),
    Lz4(lz4::Stream<'a>),
    Zstd(zstd::Stream<'a>),
}

impl Inflate<'_> {
    /// Writes the next piece of content to the front of `out`, which must not be empty, and says how long it is.
    /// Zero is the end: then the frame was whole, its checksums held and nothing followed it.
    pub fn fill(&mut self, out: &mut [u8]) -> Result<usize, DecompressError> {
        // One byte more than is allowed, so that the end and the limit can be told apart.
        let room = (self.limit - self.produced).saturating_add(1).min(out.len());
        let out = out.get_mut(..room).unwrap_or_default();
        let filled = match &mut self.stream {
            Stream::Stored(rest) => Ok(copy_front(rest, out)),
            Stream::Gzip(stream) => stream.fill(out),
            Stream::Snappy(stream) => stream.fill(out),
            Stream::Lz4(stream) => stream.fill(out),
            Stream::Zstd(stream) => stream.fill(out),
        };
        let n = filled.map_err(|fault| self.error(fault))?;
        self.produced += n;
        if self.produced > self.limit {
            self.produced = self.limit;
            return Err(self.error(DecompressFault::TooLarge { bytes_max: self.limit }));
        }
        Ok(n)
    }

    /// Bytes of content given so far.
    pub fn produced(&self) -> usize {
        self.produced
    }

    /// Appends all that is left to `out`.
    pub fn read_to_end(mut self, out: &mut Vec<u8>) -> Result<(), DecompressError> {
        let mut len = out.len();
        let mut step = STEP_BYTES_MIN;
        loop {
            out.resize(len + step, 0);
            let n = self.fill(out.get_mut(len..).unwrap_or_default())?;
            len += n;
            if n == 0 {
                out.truncate(len);
                return Ok(());
            }
            step = (len / 2).clamp(STEP_BYTES_MIN, STEP_BYTES_MAX);
        }
    }

    #[cold]
    fn error(&self, fault: DecompressFault) -> DecompressError {
        DecompressError { compression: self.compression, fault }
    }
}

/// Output grows by half of what it is, between these bounds; a whole LZ4 block of 64 KiB fits the smaller.
const STEP_BYTES_MIN: usize = 64 << 10;
const STEP_BYTES_MAX: usize = 4 << 20;

impl fmt::Debug for Inflate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflate")
            .field("compression", &self.compression)
            .field("produced", &self.produced)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Moves as much of `rest` to the front of `out` as fits.
fn copy_front(rest: &mut &[u8], out: &mut [u8]) -> usize {
    let n = rest.len().min(out.len());
    if let (Some((front, back)), Some(out)) = (rest.split_at_checked(n), out.get_mut(..n)) {
        out.copy_from_slice(front);
        *rest = back;
    }
    n
}

/// Takes `N` bytes off the front of `rest`.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DecompressFault> {
    let (front, back) = rest.split_first_chunk::<N>().ok_or(DecompressFault::Truncated)?;
    *rest = back;
    Ok(*front)
}

/// Takes `n` bytes off the front of `rest`.
fn take_slice<'a>(rest: &mut &'a [u8], n: usize) -> Result<&'a [u8], DecompressFault> {
    let (front, back) = rest.split_at_checked(n).ok_or(DecompressFault::Truncated)?;
    *rest = back;
    Ok(front)
}

/// Bytes that a codec cannot or may not inflate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DecompressError {
    /// The codec.
    pub compression: Compression,
    /// What is wrong.
    pub fault: DecompressFault,
}

/// What is wrong with compressed bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DecompressFault {
    /// They end before their frame does.
    Truncated,
    /// Something follows their frame.
    Trailing {
        /// How many bytes.
        bytes: usize,
    },
    /// They inflate to more than the [`Limits`] allow.
    TooLarge {
        /// The limit that was reached, in bytes.
        bytes_max: usize,
    },
    /// They are not what the codec writes.
    Corrupt(&'static str),
    /// They use a feature of the codec that Kafka's readers do not have.
    Unsupported(&'static str),
}

impl fmt::Display for DecompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codec = self.compression;
        match self.fault {
            DecompressFault::Truncated => write!(f, "the `{codec}` data ends in the middle"),
            DecompressFault::Trailing { bytes } => write!(f, "{bytes} bytes follow the `{codec}` data"),
            DecompressFault::TooLarge { bytes_max } => {
                write!(f, "the `{codec}` data inflates to more than {bytes_max} bytes")
            }
            DecompressFault::Corrupt(what) => write!(f, "the `{codec}` data is corrupt: {what}"),
            DecompressFault::Unsupported(what) => write!(f, "the `{codec}` data is not supported: {what}"),
        }
    }
}

impl std::error::Error for DecompressError {}
