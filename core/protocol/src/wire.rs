//! The protocol's primitive types, read and written.
//!
//! A [`Reader`] takes slices out of one frame and never copies it; a [`Writer`] is a rope that links large record
//! sets instead of copying them. Both know two encodings: the *classic* one, and the *flexible* one of KIP-482
//! (compact lengths, tagged fields); `flexible` says which of them a call means.
//!
//! | type | classic | flexible |
//! |---|---|---|
//! | string | `i16` length, -1 for null | unsigned varint of length + 1, 0 for null |
//! | bytes, records | `i32` length, -1 for null | unsigned varint of length + 1, 0 for null |
//! | array | `i32` count, -1 for null | unsigned varint of count + 1, 0 for null |
//! | nullable struct (KIP-893) | `i8`: -1 for null, 1 for present | the same; as a tagged field an unsigned varint, 0 for null |
//! | tagged fields | none | count, then per field: tag, size, value; tags ascending |
//!
//! Input is hostile: no length is believed before the bytes are there, and an error names the field and the byte.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::types::{Str, Uuid};

/// Most elements that an array's count alone may reserve room for; a longer array grows as its elements arrive.
pub const ARRAY_RESERVE_MAX: usize = 4096;
/// Most tagged fields in one section; Kafka 4.4 defines at most four.
pub const TAGS_MAX: u32 = 1024;
/// Records of this many bytes and more are linked into a [`Writer`] instead of copied.
pub const LINK_BYTES_MIN: usize = 4096;

/// Something that has an encoding in each version of its message.
pub trait Wire: Sized {
    /// Reads a value as `version` lays it out.
    fn read(r: &mut Reader, version: i16) -> Result<Self, Malformed>;
    /// Writes the value as `version` lays it out.
    fn write(&self, w: &mut Writer, version: i16) -> Result<(), Unsupported>;
}

/// Reads `bytes` whole: anything left over is an error.
pub fn decode<T: Wire>(bytes: Bytes, version: i16) -> Result<T, Malformed> {
    let mut r = Reader::new(bytes);
    let value = T::read(&mut r, version)?;
    r.finish()?;
    Ok(value)
}

/// Writes `value` into one contiguous buffer.
pub fn encode<T: Wire>(value: &T, version: i16) -> Result<Bytes, Unsupported> {
    let mut w = Writer::new();
    value.write(&mut w, version)?;
    Ok(w.into_bytes())
}

/// Takes values out of one frame, front to back.
#[derive(Debug)]
pub struct Reader {
    /// What is left to read. Slices given out share its memory.
    rest: Bytes,
    /// Length of the whole frame, so that an error can name its byte.
    len: usize,
}

impl Reader {
    /// Reads from the start of `frame`.
    pub fn new(frame: Bytes) -> Self {
        Self { len: frame.len(), rest: frame }
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    /// Everything not yet read.
    pub fn rest(self) -> Bytes {
        self.rest
    }

    /// Checks that nothing is left.
    pub fn finish(&self) -> Result<(), Malformed> {
        match self.remaining() {
            0 => Ok(()),
            n => Err(self.malformed(Fault::Trailing { bytes: n })),
        }
    }

    /// An error at the current byte.
    #[cold]
    pub fn malformed(&self, fault: Fault) -> Malformed {
        Malformed(Box::new(MalformedInner { at: self.position(), fault, path: Vec::new() }))
    }

    /// The next `n` bytes, sharing the frame's memory.
    pub fn take(&mut self, n: usize) -> Result<Bytes, Malformed> {
        if n > self.rest.len() {
            return Err(self.malformed(Fault::Truncated { needed: n, left: self.rest.len() }));
        }
        Ok(self.rest.split_to(n))
    }

    #[inline]
    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        match self.rest.first_chunk::<N>() {
            Some(&bytes) => {
                bytes::Buf::advance(&mut self.rest, N);
                Ok(bytes)
            }
            None => Err(self.malformed(Fault::Truncated { needed: N, left: self.rest.len() })),
        }
    }

    /// A byte that is 0 for false; Kafka takes every other as true.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.i8()? != 0)
    }

    /// INT8.
    pub fn i8(&mut self) -> Result<i8, Malformed> {
        Ok(i8::from_be_bytes(self.array_of()?))
    }

    /// INT16, big-endian as all fixed numbers are.
    pub fn i16(&mut self) -> Result<i16, Malformed> {
        Ok(i16::from_be_bytes(self.array_of()?))
    }

    /// UINT16.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array_of()?))
    }

    /// INT32.
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array_of()?))
    }

    /// UINT32.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array_of()?))
    }

    /// INT64.
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.array_of()?))
    }

    /// FLOAT64.
    pub fn f64(&mut self) -> Result<f64, Malformed> {
        Ok(f64::from_be_bytes(self.array_of()?))
    }

    /// UUID: 16 bytes, big-endian.
    pub fn uuid(&mut self) -> Result<Uuid, Malformed> {
        Ok(Uuid(u128::from_be_bytes(self.array_of()?)))
    }

    /// UNSIGNED_VARINT: seven bits a byte, least significant first, at most 5 bytes.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, Malformed> {
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array_of()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed(Fault::VarintOverflow))
    }

    /// A length of the given encoding: `None` for null.
    fn length(
        &mut self,
        classic: impl Fn(&mut Self) -> Result<i32, Malformed>,
        flexible: bool,
    ) -> Result<Option<usize>, Malformed> {
        if flexible {
            let n = self.uvarint()?;
            return Ok((n as usize).checked_sub(1));
        }
        match classic(self)? {
            -1 => Ok(None),
            n => match usize::try_from(n) {
                Ok(n) => Ok(Some(n)),
                Err(_) => Err(self.malformed(Fault::NegativeLength(n))),
            },
        }
    }

    fn null(&self) -> Malformed {
        self.malformed(Fault::Null)
    }

    /// STRING or COMPACT_STRING.
    pub fn str(&mut self, flexible: bool) -> Result<Str, Malformed> {
        self.str_or_null(flexible)?.ok_or_else(|| self.null())
    }

    /// NULLABLE_STRING or COMPACT_NULLABLE_STRING.
    pub fn str_or_null(&mut self, flexible: bool) -> Result<Option<Str>, Malformed> {
        let Some(n) = self.length(|r| r.i16().map(i32::from), flexible)? else { return Ok(None) };
        let bytes = self.take(n)?;
        Str::from_utf8(bytes).map(Some).map_err(|_| self.malformed(Fault::Utf8))
    }

    /// RECORDS, COMPACT_RECORDS.
    pub fn records(&mut self, flexible: bool) -> Result<Records, Malformed> {
        self.bytes(flexible).map(Records::Here)
    }

    /// Nullable RECORDS, COMPACT_RECORDS.
    pub fn records_or_null(&mut self, flexible: bool) -> Result<Option<Records>, Malformed> {
        Ok(self.bytes_or_null(flexible)?.map(Records::Here))
    }

    /// BYTES, COMPACT_BYTES.
    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes, Malformed> {
        self.bytes_or_null(flexible)?.ok_or_else(|| self.null())
    }

    /// NULLABLE_BYTES, COMPACT_NULLABLE_BYTES.
    pub fn bytes_or_null(&mut self, flexible: bool) -> Result<Option<Bytes>, Malformed> {
        let Some(n) = self.length(Self::i32, flexible)? else { return Ok(None) };
        self.take(n).map(Some)
    }

    /// ARRAY or COMPACT_ARRAY of elements that take at least `element_bytes_min` bytes each.
    pub fn array<T>(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        self.array_or_null(flexible, element_bytes_min, read)?.ok_or_else(|| self.null())
    }

    /// As [`Reader::array`], or `None` for null.
    ///
    /// A count that the bytes left could not hold is refused at once, and no count reserves more than
    /// [`ARRAY_RESERVE_MAX`] elements: memory grows with what was sent, not with what was announced.
    pub fn array_or_null<T>(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<Vec<T>>, Malformed> {
        let Some(count) = self.length(Self::i32, flexible)? else { return Ok(None) };
        let most = self.remaining() / element_bytes_min.max(1);
        if count > most {
            return Err(self.malformed(Fault::Count { count, most }));
        }
        let mut elements = Vec::with_capacity(count.min(ARRAY_RESERVE_MAX));
        for i in 0..count {
            elements.push(read(self).map_err(|e| e.index(i))?);
        }
        Ok(Some(elements))
    }

    /// Whether a nullable struct is present (KIP-893).
    pub fn present(&mut self) -> Result<bool, Malformed> {
        Ok(self.i8()? >= 0)
    }

    /// A nullable struct.
    pub fn struct_or_null<T: Wire>(&mut self, version: i16) -> Result<Option<T>, Malformed> {
        if self.present()? { T::read(self, version).map(Some) } else { Ok(None) }
    }

    /// A nullable struct in a tagged field: Kafka's generated code writes its presence as an unsigned varint there.
    pub fn tagged_struct_or_null<T: Wire>(&mut self, version: i16) -> Result<Option<T>, Malformed> {
        let present = self.uvarint()?.cast_signed() > 0;
        if present { T::read(self, version).map(Some) } else { Ok(None) }
    }

    /// A section of tagged fields. `read` reads the value of a tag it knows and answers true; the value of any
    /// other is skipped by its size. Tags must ascend; a known value must take exactly its size.
    pub fn tags(
        &mut self,
        mut read: impl FnMut(&mut Self, u32) -> Result<bool, Malformed>,
    ) -> Result<(), Malformed> {
        let count = self.uvarint()?;
        if count == 0 {
            return Ok(());
        }
        if count > TAGS_MAX {
            return Err(self.malformed(Fault::Count { count: count as usize, most: TAGS_MAX as usize }));
        }
        let mut previous = None;
        for _ in 0..count {
            let tag = self.uvarint()?;
            if previous.is_some_and(|p| tag <= p) {
                return Err(self.malformed(Fault::TagOrder { tag }));
            }
            previous = Some(tag);
            let size = self.uvarint()? as usize;
            if size > self.remaining() {
                return Err(self.malformed(Fault::Truncated { needed: size, left: self.remaining() }));
            }
            let end = self.position() + size;
            let known = read(self, tag)?;
            if known && self.position() != end {
                return Err(self.malformed(Fault::TagSize { tag, size }));
            }
            if !known {
                self.take(size)?;
            }
        }
        Ok(())
    }
}

/// Bytes that are not what the schema says; names the field and the byte.
#[derive(Clone, Eq, PartialEq)]
pub struct Malformed(Box<MalformedInner>);

#[derive(Clone, Eq, PartialEq)]
struct MalformedInner {
    at: usize,
    fault: Fault,
    /// From the inside out. As long as the schema is deep, never as the peer wishes.
    path: Vec<Step>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Step {
    Field(&'static str),
    Index(usize),
}

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Fewer bytes are left than the value takes.
    Truncated {
        /// Bytes that the value takes.
        needed: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// A length below -1.
    NegativeLength(i32),
    /// Null where the schema allows none.
    Null,
    /// A string that is not UTF-8.
    Utf8,
    /// More elements than the bytes left could hold.
    Count {
        /// Elements announced.
        count: usize,
        /// Elements that there is room for.
        most: usize,
    },
    /// A variable-length number that does not end in time.
    VarintOverflow,
    /// Tagged fields that do not ascend.
    TagOrder {
        /// The tag that came too late.
        tag: u32,
    },
    /// A tagged field whose value does not take the size it announced.
    TagSize {
        /// The tag.
        tag: u32,
        /// The size it announced, in bytes.
        size: usize,
    },
    /// Bytes after the end of the message.
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A version that this message does not have.
    Version(i16),
    /// The answer to another request.
    Correlation {
        /// The correlation id of the request.
        wanted: i32,
        /// The one in the answer.
        found: i32,
    },
}

impl Malformed {
    /// The byte at which reading stopped, counted from the start of what was read.
    pub fn at(&self) -> usize {
        self.0.at
    }

    /// What is wrong there.
    pub fn fault(&self) -> Fault {
        self.0.fault
    }

    /// Says in which field it happened; called on the way out, so the innermost comes first.
    #[cold]
    pub fn field(mut self, name: &'static str) -> Self {
        self.0.path.push(Step::Field(name));
        self
    }

    #[cold]
    fn index(mut self, index: usize) -> Self {
        self.0.path.push(Step::Index(index));
        self
    }

    /// The field, as `topics[2].partitions[0].index`.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for step in self.0.path.iter().rev() {
            match step {
                Step::Field(name) if path.is_empty() => path.push_str(name),
                Step::Field(name) => {
                    path.push('.');
                    path.push_str(name);
                }
                Step::Index(i) => path.push_str(&format!("[{i}]")),
            }
        }
        path
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.path.is_empty() {
            write!(f, "`{}` ", self.path())?;
        }
        write!(f, "at byte {}: {}", self.0.at, self.0.fault)
    }
}

impl fmt::Debug for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Malformed {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { needed, left } => write!(f, "{needed} bytes are needed, {left} are left"),
            Self::NegativeLength(n) => write!(f, "the length is {n}"),
            Self::Null => write!(f, "it is null, which is not allowed here"),
            Self::Utf8 => write!(f, "the string is not UTF-8"),
            Self::Count { count, most } => {
                write!(f, "{count} elements are announced, {most} at most can follow")
            }
            Self::VarintOverflow => write!(f, "a variable-length number does not end"),
            Self::TagOrder { tag } => write!(f, "tag {tag} comes again or out of order"),
            Self::TagSize { tag, size } => write!(f, "tag {tag} does not take the {size} bytes it announced"),
            Self::Trailing { bytes } => write!(f, "{bytes} bytes follow the end of the message"),
            Self::Version(v) => write!(f, "there is no version {v}"),
            Self::Correlation { wanted, found } => {
                write!(f, "request {wanted} is waiting, and {found} is answered")
            }
        }
    }
}

/// Names the field in which reading failed.
pub trait InField {
    /// Adds `name` to an error's path; costs nothing where there is none.
    fn in_field(self, name: &'static str) -> Self;
}

impl<T> InField for Result<T, Malformed> {
    #[inline]
    fn in_field(self, name: &'static str) -> Self {
        self.map_err(|e| e.field(name))
    }
}

/// A value that the chosen version cannot carry. Kafka's rule: a field that a version lacks may be dropped only
/// if the schema says so, or if it holds its default.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unsupported {
    /// The field, as `ProduceRequest.transactional_id`.
    pub field: &'static str,
    /// The version asked for.
    pub version: i16,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` has a value that version {} cannot carry", self.field, self.version)
    }
}

impl std::error::Error for Unsupported {}

/// The record batches that a message carries: at hand, or lying elsewhere, as in a log segment's file.
///
/// What lies elsewhere is only counted here; whoever sends the message puts it in its place, by `sendfile` or
/// by reading it. What was read from the wire is always at hand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Records {
    /// The bytes themselves.
    Here(Bytes),
    /// `len` bytes that the sender of the message knows by `id`.
    Elsewhere {
        /// The sender's own name for them.
        id: usize,
        /// How many they are.
        len: usize,
    },
}

impl Records {
    /// No records.
    pub const EMPTY: Self = Self::Here(Bytes::new());

    /// Their length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Here(bytes) => bytes.len(),
            Self::Elsewhere { len, .. } => *len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, unless they lie elsewhere.
    pub fn here(&self) -> Option<&Bytes> {
        match self {
            Self::Here(bytes) => Some(bytes),
            Self::Elsewhere { .. } => None,
        }
    }

    /// The bytes; none if they lie elsewhere, which nothing read from the wire does.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Here(bytes) => bytes,
            Self::Elsewhere { .. } => Bytes::new(),
        }
    }
}

impl Default for Records {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Self::Here(bytes)
    }
}

/// A rope of bytes: small fields go into one growing buffer, large records are linked as pieces of their own.
///
/// The pieces go out by one vectored write, so that a fetch answer's records are never copied in user space.
#[derive(Debug, Default)]
pub struct Writer {
    /// Finished parts, in order.
    parts: Vec<Part>,
    /// What follows them, still growing.
    tail: BytesMut,
    /// Bytes in `parts`.
    parts_bytes: usize,
}

#[derive(Debug)]
enum Part {
    /// Written here; still ours to patch.
    Own(BytesMut),
    Linked(Bytes),
    Elsewhere {
        id: usize,
        len: usize,
    },
}

/// A part of a message that is ready to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// `len` bytes that the sender knows by `id`: see [`Records::Elsewhere`].
    Elsewhere {
        /// The sender's own name for them.
        id: usize,
        /// How many they are.
        len: usize,
    },
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// A writer whose first four bytes will be the size of what follows: see [`Writer::into_frame`].
    pub fn framed() -> Self {
        let mut w = Self { tail: BytesMut::with_capacity(256), ..Self::default() };
        w.i32(0);
        w
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.parts_bytes + self.tail.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts the size of what follows into the first four bytes, which [`Writer::framed`] left for it.
    pub fn into_frame(mut self) -> Vec<Piece> {
        let size = (self.len() - 4) as i32;
        let first = match self.parts.first_mut() {
            Some(Part::Own(bytes)) => bytes,
            _ => &mut self.tail,
        };
        if let Some(bytes) = first.first_chunk_mut() {
            *bytes = size.to_be_bytes();
        }
        self.into_pieces()
    }

    /// The pieces, in order.
    pub fn into_pieces(mut self) -> Vec<Piece> {
        self.finish_tail();
        let piece = |part| match part {
            Part::Own(bytes) => Piece::Bytes(bytes.freeze()),
            Part::Linked(bytes) => Piece::Bytes(bytes),
            Part::Elsewhere { id, len } => Piece::Elsewhere { id, len },
        };
        self.parts.into_iter().map(piece).collect()
    }

    /// Everything in one buffer; copies only if there is more than one piece.
    ///
    /// # Panics
    ///
    /// If it holds records that lie elsewhere: only their owner can send them.
    pub fn into_bytes(self) -> Bytes {
        let len = self.len();
        let mut pieces = self.into_pieces().into_iter().map(Piece::into_bytes);
        match pieces.len() {
            0 => Bytes::new(),
            1 => pieces.next().unwrap_or_default(),
            _ => {
                let mut all = BytesMut::with_capacity(len);
                pieces.for_each(|piece| all.put_slice(&piece));
                all.freeze()
            }
        }
    }

    fn finish_tail(&mut self) {
        if !self.tail.is_empty() {
            let before = self.tail.split();
            self.parts_bytes += before.len();
            self.parts.push(Part::Own(before));
        }
    }

    /// Bytes as they are, without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.tail.put_slice(bytes);
    }

    /// A piece that was made elsewhere: linked, not copied, if it is large.
    pub fn link(&mut self, bytes: &Bytes) {
        if bytes.len() < LINK_BYTES_MIN {
            return self.raw(bytes);
        }
        self.finish_tail();
        self.parts_bytes += bytes.len();
        self.parts.push(Part::Linked(bytes.clone()));
    }

    /// BOOLEAN.
    pub fn bool(&mut self, value: bool) {
        self.tail.put_u8(u8::from(value));
    }

    /// INT8.
    pub fn i8(&mut self, value: i8) {
        self.tail.put_i8(value);
    }

    /// INT16.
    pub fn i16(&mut self, value: i16) {
        self.tail.put_i16(value);
    }

    /// UINT16.
    pub fn u16(&mut self, value: u16) {
        self.tail.put_u16(value);
    }

    /// INT32.
    pub fn i32(&mut self, value: i32) {
        self.tail.put_i32(value);
    }

    /// UINT32.
    pub fn u32(&mut self, value: u32) {
        self.tail.put_u32(value);
    }

    /// INT64.
    pub fn i64(&mut self, value: i64) {
        self.tail.put_i64(value);
    }

    /// FLOAT64.
    pub fn f64(&mut self, value: f64) {
        self.tail.put_f64(value);
    }

    /// UUID.
    pub fn uuid(&mut self, value: Uuid) {
        self.tail.put_u128(value.0);
    }

    /// UNSIGNED_VARINT.
    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.tail.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.tail.put_u8(value as u8);
    }

    /// STRING or COMPACT_STRING.
    ///
    /// Text beyond the 32,767 bytes of the classic length is cut there at a character; error messages are the
    /// only texts that could come near.
    pub fn str(&mut self, value: &str, flexible: bool) {
        let value = if flexible { value } else { cut(value, i16::MAX as usize) };
        if flexible {
            self.uvarint(value.len() as u32 + 1);
        } else {
            self.i16(value.len() as i16);
        }
        self.raw(value.as_bytes());
    }

    /// NULLABLE_STRING or COMPACT_NULLABLE_STRING.
    pub fn str_or_null(&mut self, value: Option<&str>, flexible: bool) {
        match value {
            Some(value) => self.str(value, flexible),
            None if flexible => self.uvarint(0),
            None => self.i16(-1),
        }
    }

    /// RECORDS, COMPACT_RECORDS.
    pub fn records(&mut self, value: &Records, flexible: bool) {
        self.count(value.len(), flexible);
        match value {
            Records::Here(bytes) => self.link(bytes),
            &Records::Elsewhere { id, len } => {
                self.finish_tail();
                self.parts_bytes += len;
                self.parts.push(Part::Elsewhere { id, len });
            }
        }
    }

    /// BYTES, COMPACT_BYTES.
    pub fn bytes(&mut self, value: &Bytes, flexible: bool) {
        self.count(value.len(), flexible);
        self.link(value);
    }

    /// NULLABLE_BYTES, COMPACT_NULLABLE_BYTES.
    pub fn bytes_or_null(&mut self, value: Option<&Bytes>, flexible: bool) {
        match value {
            Some(value) => self.bytes(value, flexible),
            None => self.null(flexible),
        }
    }

    /// ARRAY or COMPACT_ARRAY.
    pub fn array<T>(
        &mut self,
        values: &[T],
        flexible: bool,
        mut write: impl FnMut(&mut Self, &T) -> Result<(), Unsupported>,
    ) -> Result<(), Unsupported> {
        self.count(values.len(), flexible);
        values.iter().try_for_each(|value| write(self, value))
    }

    /// The count that an array begins with, or the length of bytes.
    pub fn count(&mut self, n: usize, flexible: bool) {
        if flexible {
            self.uvarint(n as u32 + 1);
        } else {
            self.i32(n as i32);
        }
    }

    /// A null array, or null bytes.
    pub fn null(&mut self, flexible: bool) {
        if flexible {
            self.uvarint(0);
        } else {
            self.i32(-1);
        }
    }

    /// Whether a nullable struct follows (KIP-893).
    pub fn present(&mut self, present: bool) {
        self.i8(if present { 1 } else { -1 });
    }

    /// As [`Writer::present`], in a tagged field.
    pub fn tagged_present(&mut self, present: bool) {
        self.uvarint(present.into());
    }

    /// One tagged field: its tag, its size, and what `write` writes.
    pub fn tag(
        &mut self,
        tag: u32,
        write: impl FnOnce(&mut Self) -> Result<(), Unsupported>,
    ) -> Result<(), Unsupported> {
        let mut value = Self::new();
        write(&mut value)?;
        self.uvarint(tag);
        self.uvarint(value.len() as u32);
        self.link(&value.into_bytes());
        Ok(())
    }
}

impl Piece {
    /// The bytes at hand.
    ///
    /// # Panics
    ///
    /// If they lie elsewhere: only their owner can send them.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Elsewhere { id, len } => panic!("{len} bytes lie elsewhere, as {id}"),
        }
    }
}

/// The longest start of `text` that has at most `bytes_max` bytes.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> Reader {
        Reader::new(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn unsigned_varints_are_kafkas() {
        for (value, bytes) in
            [(0, &[0][..]), (300, &[0xac, 0x02]), (i32::MAX as u32, &[0xff, 0xff, 0xff, 0xff, 0x07])]
        {
            let mut w = Writer::new();
            w.uvarint(value);
            assert_eq!(w.into_bytes(), bytes);
            assert_eq!(reader(bytes).uvarint().unwrap(), value);
        }
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).uvarint().unwrap(), u32::MAX);
        for bad in [&[0xff, 0xff, 0xff, 0xff, 0x1f][..], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]] {
            assert_eq!(reader(bad).uvarint().unwrap_err().fault(), Fault::VarintOverflow);
        }
    }

    #[test]
    fn lengths_of_both_encodings_are_checked_before_memory_is_taken() {
        let huge = [0x7f, 0xff, 0xff, 0xff, 0, 0];
        assert_eq!(
            reader(&huge).array(false, 2, Reader::i16).unwrap_err().fault(),
            Fault::Count { count: i32::MAX as usize, most: 1 }
        );
        assert_eq!(reader(&[0xff, 0xfe]).str(false).unwrap_err().fault(), Fault::NegativeLength(-2));
        assert_eq!(reader(&[0xff, 0xff]).str(false).unwrap_err().fault(), Fault::Null);
        assert_eq!(reader(&[0]).str_or_null(true).unwrap(), None);
        assert_eq!(reader(&[3, 0xff, 0xff]).str(true).unwrap_err().fault(), Fault::Utf8);
    }

    #[test]
    fn an_error_names_the_field_and_the_byte() {
        let bytes = [0, 0, 0, 2, 0, 1, b'a', 0, 9, b'b', 0, 0, 0, 0];
        let error =
            reader(&bytes).array(false, 2, |r| r.str(false).in_field("name")).in_field("topics").unwrap_err();
        assert_eq!(error.to_string(), "`topics[1].name` at byte 9: 9 bytes are needed, 5 are left");
    }

    #[test]
    fn unknown_tags_are_skipped_and_known_ones_must_fit() {
        let mut seen = None;
        let mut r = reader(&[2, 1, 2, 0xaa, 0xbb, 7, 1, 5]);
        r.tags(|r, tag| {
            if tag == 7 {
                seen = Some(r.i8()?);
            }
            Ok(tag == 7)
        })
        .unwrap();
        assert_eq!(seen, Some(5));
        r.finish().unwrap();

        let order = reader(&[2, 1, 0, 1, 0]).tags(|_, _| Ok(false)).unwrap_err();
        assert_eq!(order.fault(), Fault::TagOrder { tag: 1 });
        let size = reader(&[1, 0, 2, 5, 6]).tags(|r, _| r.i8().map(|_| true)).unwrap_err();
        assert_eq!(size.fault(), Fault::TagSize { tag: 0, size: 2 });
    }

    #[test]
    fn large_records_are_linked_not_copied() {
        let records = Bytes::from(vec![7; LINK_BYTES_MIN]);
        let mut w = Writer::new();
        w.i8(1);
        w.bytes(&records, false);
        w.i8(2);
        let len = w.len();
        let pieces: Vec<Bytes> = w.into_pieces().into_iter().map(Piece::into_bytes).collect();
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[1].as_ptr(), records.as_ptr());
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), len);
    }

    #[test]
    fn records_that_lie_elsewhere_are_counted_in_the_frames_size() {
        let mut w = Writer::framed();
        w.i16(7);
        w.records(&Records::Elsewhere { id: 3, len: 100_000 }, false);
        w.i8(1);
        let pieces = w.into_frame();
        assert_eq!(
            pieces,
            [
                Piece::Bytes(Bytes::from_static(&[0, 1, 0x86, 0xa7, 0, 7, 0, 1, 0x86, 0xa0])),
                Piece::Elsewhere { id: 3, len: 100_000 },
                Piece::Bytes(Bytes::from_static(&[1])),
            ]
        );
    }

    #[test]
    fn a_text_too_long_for_the_classic_length_is_cut_at_a_character() {
        let mut w = Writer::new();
        w.str(&"é".repeat(20_000), false);
        let bytes = w.into_bytes();
        assert_eq!(Reader::new(bytes).str(false).unwrap().len(), 32_766);
    }
}
