//! What goes between Java and Rust, but for records: bytes, in the order and sizes of Java's `ByteBuffer`.
//!
//! A number is big-endian. Text is its bytes as UTF-8 behind their number, -1 for null. A list is the number of its elements, and
//! these. `dev/ottla/In.java` and `Out.java` are the other side.

use ottla_bindings::{
    BindingError,
    core::{OffsetAndMetadata, OffsetSpec, TopicPartition},
    error::{CORRUPT, Result},
};

/// Reads what Java has written.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bool(&mut self) -> Result<bool> {
        Ok(self.array::<1>()? != [0])
    }

    pub(crate) fn i16(&mut self) -> Result<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        self.nullable_text()?.ok_or_else(|| ends("text"))
    }

    pub(crate) fn nullable_text(&mut self) -> Result<Option<String>> {
        let Ok(length) = usize::try_from(self.i32()?) else { return Ok(None) };
        let (text, rest) = self.0.split_at_checked(length).ok_or_else(|| ends("text"))?;
        self.0 = rest;
        Ok(Some(String::from_utf8_lossy(text).into_owned()))
    }

    pub(crate) fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.i32()?;
        // No more than there can be: an element has a byte at least.
        let mut list = Vec::with_capacity(usize::try_from(count).unwrap_or(0).min(self.0.len()));
        for _ in 0..count {
            list.push(element(self)?);
        }
        Ok(list)
    }

    pub(crate) fn partition(&mut self) -> Result<TopicPartition> {
        Ok(TopicPartition::new(self.text()?, self.i32()?))
    }

    pub(crate) fn partitions(&mut self) -> Result<Vec<TopicPartition>> {
        self.list(Self::partition)
    }

    pub(crate) fn texts(&mut self) -> Result<Vec<String>> {
        self.list(Self::text)
    }

    /// An offset to be committed; an epoch below zero is none.
    pub(crate) fn offset(&mut self) -> Result<OffsetAndMetadata> {
        let (offset, epoch, metadata) = (self.i64()?, self.i32()?, self.text()?);
        Ok(OffsetAndMetadata { offset, leader_epoch: (epoch >= 0).then_some(epoch), metadata })
    }

    /// A place in a log: -2 its beginning, -1 its end, -3 its record of the latest timestamp, else a timestamp.
    pub(crate) fn place(&mut self) -> Result<OffsetSpec> {
        Ok(match self.i64()? {
            -1 => OffsetSpec::Latest,
            -2 => OffsetSpec::Earliest,
            -3 => OffsetSpec::MaxTimestamp,
            timestamp => OffsetSpec::Timestamp(timestamp),
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk().ok_or_else(|| ends("a number"))?;
        self.0 = rest;
        Ok(*array)
    }
}

/// Only a jar and a library of different releases can come here.
fn ends(what: &str) -> BindingError {
    BindingError::local(CORRUPT, format!("a request from Java ends where {what} should be"))
}

/// Writes what Java is to read.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bool(&mut self, is: bool) -> &mut Self {
        self.u8(is.into())
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn i32(&mut self, value: i32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn f64(&mut self, value: f64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// A number of things: no list of ours has more than fit.
    pub(crate) fn count(&mut self, count: usize) -> &mut Self {
        self.i32(i32::try_from(count).unwrap_or(i32::MAX))
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.count(text.len()).bytes(text.as_bytes())
    }

    pub(crate) fn nullable_text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => self.i32(-1),
        }
    }

    pub(crate) fn list<T>(
        &mut self,
        list: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
        mut element: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        let list = list.into_iter();
        self.count(list.len());
        for each in list {
            element(self, each);
        }
        self
    }

    pub(crate) fn partition(&mut self, tp: &TopicPartition) -> &mut Self {
        self.text(&tp.topic).i32(tp.partition)
    }

    pub(crate) fn partitions(&mut self, partitions: &[TopicPartition]) -> &mut Self {
        self.list(partitions, |out, tp| _ = out.partition(tp))
    }

    pub(crate) fn offset(&mut self, offset: &OffsetAndMetadata) -> &mut Self {
        self.i64(offset.offset).i32(offset.leader_epoch.unwrap_or(-1)).text(&offset.metadata)
    }

    pub(crate) fn error(&mut self, error: &BindingError) -> &mut Self {
        self.i32(error.code)
            .text(error.name)
            .i32(error.flags.cast_signed())
            .text(&error.message)
            .nullable_text(error.hint.as_deref())
    }

    /// 0 and a value, or 1 and an error.
    pub(crate) fn outcome<T>(&mut self, outcome: Result<T>, value: impl FnOnce(&mut Self, T)) -> &mut Self {
        match outcome {
            Ok(of) => value(self.u8(0), of),
            Err(error) => _ = self.u8(1).error(&error),
        }
        self
    }

    /// All that another has written.
    pub(crate) fn append(&mut self, other: Self) -> &mut Self {
        self.bytes(&other.0)
    }

    /// Bytes behind their number.
    pub(crate) fn blob(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).bytes(bytes)
    }

    /// The names and values of metrics; not a number where there is none yet.
    pub(crate) fn metrics<'m>(
        &mut self,
        metrics: impl IntoIterator<Item = (&'m str, Option<f64>), IntoIter: ExactSizeIterator>,
    ) -> &mut Self {
        self.list(metrics, |out, (name, value)| _ = out.text(name).f64(value.unwrap_or(f64::NAN)))
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
}
