//! The content of a batch, as views: nothing is copied or allocated for a record.

use std::borrow::Cow;

use bytes::Bytes;

use super::{
    BatchError, BatchHeader, RecordFault, TimestampType,
    legacy::{self, MessageSet},
    varint::{Cursor, Source},
};

/// The records of one batch, inflated. Iterate with [`Self::iter`].
///
/// A [`Record`] borrows from it; [`Self::bytes_of`] turns a borrowed key or value into one that lives on, without
/// a copy, but then keeps the whole block alive.
#[derive(Clone, Debug)]
pub struct Records {
    block: Bytes,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Batch(BatchForm),
    Legacy(MessageSet),
}

/// What the header of a batch says about its records.
#[derive(Clone, Copy, Debug)]
struct BatchForm {
    base_offset: i64,
    base_timestamp: i64,
    /// The timestamp of every record, where it is the broker's.
    log_append_time: Option<i64>,
    record_count: i32,
}

/// How far the records of a batch were read; go on there with [`Records::iter_from`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Position {
    /// Byte of the block.
    at: usize,
    /// Records before it.
    index: u32,
}

/// One record. Borrows from its [`Records`].
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// Milliseconds since the epoch; [`NO_TIMESTAMP`](super::NO_TIMESTAMP) for none.
    pub timestamp: i64,
    /// The key; `None` for null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` for null, which deletes the key in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers (KIP-82).
    pub headers: Headers<'a>,
}

impl Records {
    /// The inflated record block of the batch with this header.
    pub(super) fn of_batch(header: &BatchHeader, block: Bytes) -> Self {
        let log_append_time = match header.attributes.timestamp_type() {
            TimestampType::LogAppendTime => Some(header.max_timestamp),
            TimestampType::CreateTime => None,
        };
        let form = Form::Batch(BatchForm {
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            log_append_time,
            record_count: header.record_count,
        });
        Self { block, form }
    }

    /// An inflated set of messages older than version 2.
    pub(super) fn of_message_set(set: MessageSet, block: Bytes) -> Self {
        Self { block, form: Form::Legacy(set) }
    }

    /// All records, first to last. Ends at the first that cannot be read.
    pub fn iter(&self) -> RecordIter<'_> {
        self.iter_from(Position::default())
    }

    /// The records from where another iterator of this batch stood.
    pub fn iter_from(&self, position: Position) -> RecordIter<'_> {
        let rest = self.block.get(position.at..).unwrap_or_default();
        RecordIter { block: &self.block, rest, index: position.index, form: &self.form, ended: false }
    }

    /// The bytes that the records lie in.
    pub fn block(&self) -> &Bytes {
        &self.block
    }

    /// `part`, a key or value or name of a record of this batch, as bytes that share the block's memory. Parts of
    /// something else are copied.
    pub fn bytes_of(&self, part: &[u8]) -> Bytes {
        let (block, wanted) = (self.block.as_ptr_range(), part.as_ptr_range());
        if part.is_empty() || wanted.start < block.start || wanted.end > block.end {
            return Bytes::copy_from_slice(part);
        }
        self.block.slice_ref(part)
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Result<Record<'a>, BatchError>;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> RecordIter<'a> {
        self.iter()
    }
}

/// Gives the records of a batch in their order; after an error, nothing.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    block: &'a Bytes,
    rest: &'a [u8],
    index: u32,
    form: &'a Form,
    ended: bool,
}

impl<'a> RecordIter<'a> {
    /// Where the next record begins.
    pub fn position(&self) -> Position {
        Position { at: self.block.len() - self.rest.len(), index: self.index }
    }

    #[cold]
    fn fail(&mut self, fault: RecordFault) -> Option<Result<Record<'a>, BatchError>> {
        self.ended = true;
        Some(Err(BatchError::Record { index: self.index, fault }))
    }

    /// At the end of a batch: are its records as many as it says?
    #[cold]
    fn end(&mut self, form: &BatchForm) -> Option<Result<Record<'a>, BatchError>> {
        let all = i64::from(self.index) >= i64::from(form.record_count);
        let error = match (std::mem::replace(&mut self.ended, true), all) {
            (true, _) => return None,
            (false, true) if self.rest.is_empty() => return None,
            (false, true) => BatchError::TrailingRecords,
            (false, false) => BatchError::RecordsMissing { found: self.index, stated: form.record_count },
        };
        Some(Err(error))
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let form = match self.form {
            Form::Batch(form) => form,
            Form::Legacy(set) => {
                if self.rest.is_empty() || self.ended {
                    return None;
                }
                return match legacy::next_record(&mut self.rest, set) {
                    Ok(record) => {
                        self.index += 1;
                        Some(Ok(record))
                    }
                    Err(fault) => self.fail(fault),
                };
            }
        };
        if self.rest.is_empty() || i64::from(self.index) >= i64::from(form.record_count) || self.ended {
            return self.end(form);
        }
        let mut cursor = Cursor { rest: self.rest };
        match form.next_record(&mut cursor) {
            Ok(record) => {
                self.rest = cursor.rest;
                self.index += 1;
                Some(Ok(record))
            }
            Err(fault) => self.fail(fault),
        }
    }
}

impl std::iter::FusedIterator for RecordIter<'_> {}

impl BatchForm {
    #[inline]
    fn next_record<'a>(&self, cursor: &mut Cursor<'a>) -> Result<Record<'a>, RecordFault> {
        let size = cursor.varint()?;
        let body = cursor.take(usize::try_from(size).map_err(|_| RecordFault::Length(size))?)?;
        let mut body = Cursor { rest: body };
        let _attributes = body.byte()?;
        let timestamp_delta = body.varlong()?;
        let offset_delta = body.varint()?;
        let key = body.nullable()?;
        let value = body.nullable()?;
        let count = body.varint()?;
        let headers = if count == 0 {
            if !body.rest.is_empty() {
                return Err(RecordFault::Trailing);
            }
            Headers::NONE
        } else {
            Headers::checked(count, body.rest)?
        };
        Ok(Record {
            offset: self.base_offset.wrapping_add(i64::from(offset_delta)),
            timestamp: match self.log_append_time {
                None => self.base_timestamp.wrapping_add(timestamp_delta),
                Some(time) => time,
            },
            key,
            value,
            headers,
        })
    }
}

/// One header: a name, and a value that may be null.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header<'a> {
    /// The name. UTF-8 by the protocol, though Kafka's brokers do not insist; see [`Self::name`].
    pub key: &'a [u8],
    /// The value; `None` for null.
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// A header of this name.
    pub const fn new(key: &'a str, value: Option<&'a [u8]>) -> Self {
        Self { key: key.as_bytes(), value }
    }

    /// The name as text, with replacement characters for what is not UTF-8, as Java reads it.
    pub fn name(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.key)
    }
}

/// The headers of a record, in their order; a name may occur again, and a value may be null.
///
/// Either a slice of [`Header`], or headers as they lie in a record: those of a record that was read can be pushed
/// into a builder as they are.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a>(HeadersForm<'a>);

#[derive(Clone, Copy, Debug)]
pub(super) enum HeadersForm<'a> {
    List(&'a [Header<'a>]),
    /// Known to hold `count` headers and nothing else.
    Encoded {
        count: u32,
        bytes: &'a [u8],
    },
}

impl<'a> Headers<'a> {
    /// No headers.
    pub const NONE: Headers<'static> = Headers(HeadersForm::List(&[]));

    /// Takes `bytes` as `count` headers, behind the count of a record.
    #[inline(never)]
    fn checked(count: i32, bytes: &'a [u8]) -> Result<Self, RecordFault> {
        let count = u32::try_from(count).map_err(|_| RecordFault::Length(count))?;
        let mut cursor = Cursor { rest: bytes };
        for _ in 0..count {
            cursor.nullable()?.ok_or(RecordFault::HeaderKeyNull)?;
            cursor.nullable()?;
        }
        match cursor.rest.is_empty() {
            true => Ok(Self(HeadersForm::Encoded { count, bytes })),
            false => Err(RecordFault::Trailing),
        }
    }

    pub(super) fn form(&self) -> &HeadersForm<'a> {
        &self.0
    }

    /// Their bytes as they lie in a record that was read, behind the count: of each the length of its name, its name, the
    /// length of its value or -1, its value; the lengths are varints. `None` for a list that was made.
    pub fn encoded(&self) -> Option<&'a [u8]> {
        match self.0 {
            HeadersForm::List([]) => Some(&[]),
            HeadersForm::List(_) => None,
            HeadersForm::Encoded { bytes, .. } => Some(bytes),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self.0 {
            HeadersForm::List(list) => list.len(),
            HeadersForm::Encoded { count, .. } => count as usize,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, in their order.
    pub fn iter(&self) -> HeaderIter<'a> {
        HeaderIter(match self.0 {
            HeadersForm::List(list) => IterForm::List(list.iter()),
            HeadersForm::Encoded { bytes, .. } => IterForm::Encoded(Cursor { rest: bytes }),
        })
    }

    /// The last one of this name, which is the one that counts where only one can.
    pub fn last(&self, name: &str) -> Option<Header<'a>> {
        self.iter().filter(|header| header.key == name.as_bytes()).last()
    }
}

impl Default for Headers<'_> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<'a> From<&'a [Header<'a>]> for Headers<'a> {
    fn from(list: &'a [Header<'a>]) -> Self {
        Self(HeadersForm::List(list))
    }
}

impl<'a, const N: usize> From<&'a [Header<'a>; N]> for Headers<'a> {
    fn from(list: &'a [Header<'a>; N]) -> Self {
        Self(HeadersForm::List(list))
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = Header<'a>;
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        self.iter()
    }
}

/// Gives the headers of a record in their order.
#[derive(Clone, Debug)]
pub struct HeaderIter<'a>(IterForm<'a>);

#[derive(Clone, Debug)]
enum IterForm<'a> {
    List(std::slice::Iter<'a, Header<'a>>),
    Encoded(Cursor<'a>),
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        match &mut self.0 {
            IterForm::List(list) => list.next().copied(),
            // Checked as a whole when the record was read, so only the end stops it.
            IterForm::Encoded(cursor) if cursor.rest.is_empty() => None,
            IterForm::Encoded(cursor) => {
                Some(Header { key: cursor.nullable().ok()??, value: cursor.nullable().ok()? })
            }
        }
    }
}
