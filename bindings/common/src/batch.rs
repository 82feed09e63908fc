//! Records as they cross: one buffer, and a table with 64 bytes for each. A language reads both as it likes, when it likes.

use std::{fmt, mem::offset_of, ops::Range, sync::Arc};

use bytemuck::{Pod, Zeroable};
use bytes::Bytes;

use crate::{
    core::{self, TopicName},
    error::{BindingError, CORRUPT},
};

/// Where a record lies in its batch's buffer. The layout is the same in every language.
#[derive(Clone, Copy, Debug, Default, Eq, Pod, PartialEq, Zeroable)]
#[repr(C)]
pub struct RecordView {
    /// Its offset in the partition.
    pub offset: i64,
    /// Milliseconds since the epoch; -1 for none.
    pub timestamp_ms: i64,
    /// Where its key begins, from the buffer's first byte.
    pub key_off: u32,
    /// Where its value begins.
    pub value_off: u32,
    /// Where its headers begin. They lie there as in a record on the wire, behind the count: of each the length of the name, the
    /// name, the length of the value or -1, the value; lengths are zigzag varints.
    pub headers_off: u32,
    /// Bytes of the key; -1 for null.
    pub key_len: i32,
    /// Bytes of the value; -1 for null.
    pub value_len: i32,
    /// How many headers there are.
    pub header_count: u32,
    /// Epoch of the leader that wrote it; -1 where it is not known.
    pub leader_epoch: i32,
    /// Its topic, by index among the batch's.
    pub topic_index: u16,
    /// 0.
    pub flags: u16,
    /// Its partition.
    pub partition: i32,
    /// Bytes of all its headers.
    pub headers_len: u32,
    /// 0.
    pub reserved: [u32; 2],
}

const _: () = {
    assert!(size_of::<RecordView>() == 64 && align_of::<RecordView>() == 8);
    assert!(offset_of!(RecordView, key_off) == 16);
    assert!(offset_of!(RecordView, key_len) == 28);
    assert!(offset_of!(RecordView, leader_epoch) == 40);
    assert!(offset_of!(RecordView, partition) == 48);
    assert!(offset_of!(RecordView, reserved) == 56);
};

/// Consumed records of one partition that follow each other. Clones share it; it lives as long as the last of them, whatever
/// becomes of the consumer.
///
/// The buffer is the one that the core has read or inflated them into: nothing is copied, and one allocation is made for all.
#[derive(Clone)]
pub struct RecordBatch(Arc<Inner>);

struct Inner {
    views: Vec<RecordView>,
    batch: core::Batch,
    next_offset: i64,
}

impl RecordBatch {
    /// The records of `batch`, as far as they can be read, and why not all can.
    pub(crate) fn open(batch: core::Batch) -> (Option<Self>, Option<BindingError>) {
        let (partition, leader_epoch) = (batch.partition(), batch.leader_epoch().unwrap_or(-1));
        let data = batch.data();
        let mut views = Vec::with_capacity(batch.len());
        let mut failure = None;
        if u32::try_from(data.len()).is_err() {
            let text =
                format!("a batch of `{}-{partition}` has {} bytes, too many", batch.topic(), data.len());
            return (None, Some(BindingError::local(CORRUPT, text)));
        }
        for record in &batch {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    failure = Some(error.into());
                    break;
                }
            };
            let (key_off, key_len) = place(data, record.key());
            let (value_off, value_len) = place(data, record.value());
            let (headers_off, headers_len) = place(data, record.headers().encoded());
            views.push(RecordView {
                offset: record.offset(),
                timestamp_ms: record.timestamp(),
                key_off,
                value_off,
                headers_off,
                key_len,
                value_len,
                header_count: record.headers().len() as u32,
                leader_epoch,
                topic_index: 0,
                flags: 0,
                partition,
                headers_len: headers_len.max(0).cast_unsigned(),
                reserved: [0; 2],
            });
        }
        let next_offset = match (&failure, views.last()) {
            (Some(_), Some(last)) => last.offset.saturating_add(1),
            _ => batch.next_offset(),
        };
        let is_empty = views.is_empty();
        let opened = (!is_empty).then(|| Self(Arc::new(Inner { views, batch, next_offset })));
        (opened, failure)
    }

    /// The topic.
    pub fn topic(&self) -> &TopicName {
        self.0.batch.topic()
    }

    /// The partition's index.
    pub fn partition(&self) -> i32 {
        self.0.batch.partition()
    }

    /// How many records there are; at least one.
    pub fn len(&self) -> usize {
        self.0.views.len()
    }

    /// Whether there are none, which is never so.
    pub fn is_empty(&self) -> bool {
        self.0.views.is_empty()
    }

    /// The table.
    pub fn views(&self) -> &[RecordView] {
        &self.0.views
    }

    /// The table as bytes, 64 for each record, in the machine's byte order.
    pub fn view_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0.views)
    }

    /// The buffer.
    pub fn data(&self) -> &Bytes {
        self.0.batch.data()
    }

    /// The offset at which the next batch goes on: what to commit when this one is done with.
    pub fn next_offset(&self) -> i64 {
        self.0.next_offset
    }

    /// Offset behind the partition's last record, as of the fetch that brought this batch.
    pub fn high_watermark(&self) -> Option<i64> {
        self.0.batch.high_watermark()
    }

    /// The key of a record; `None` for null, or if there is no such record.
    pub fn key(&self, index: usize) -> Option<&[u8]> {
        let view = self.0.views.get(index)?;
        self.part(view.key_off, view.key_len)
    }

    /// The value of a record; `None` for null, or if there is no such record.
    pub fn value(&self, index: usize) -> Option<&[u8]> {
        let view = self.0.views.get(index)?;
        self.part(view.value_off, view.value_len)
    }

    /// The headers of a record, in their order.
    pub fn headers(&self, index: usize) -> HeaderViews<'_> {
        let view = self.0.views.get(index).copied().unwrap_or_default();
        let bytes = self.part(view.headers_off, view.headers_len.cast_signed()).unwrap_or_default();
        HeaderViews { rest: bytes, left: view.header_count }
    }

    /// The part of the buffer that these records lie in, for a language that copies it: a batch may be a small part of what
    /// was inflated together. Offsets in the table count from the buffer's first byte, so `start` is to be taken from them.
    pub fn span(&self) -> Range<usize> {
        let parts = self.0.views.iter().flat_map(|view| {
            [
                (view.key_off, view.key_len),
                (view.value_off, view.value_len),
                (view.headers_off, view.headers_len.cast_signed()),
            ]
        });
        // Null and empty parts lie nowhere.
        let lying = parts.filter(|(_, len)| *len > 0);
        let (start, end) = lying.fold((usize::MAX, 0), |(start, end), (off, len)| {
            let off = off as usize;
            (start.min(off), end.max(off + len.unsigned_abs() as usize))
        });
        start.min(end)..end
    }

    /// The batch as the core has it.
    pub fn core(&self) -> &core::Batch {
        &self.0.batch
    }

    fn part(&self, off: u32, len: i32) -> Option<&[u8]> {
        let (off, len) = (off as usize, usize::try_from(len).ok()?);
        self.data().get(off..off.checked_add(len)?)
    }
}

impl fmt::Debug for RecordBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordBatch")
            .field("topic", self.topic())
            .field("partition", &self.partition())
            .field("len", &self.len())
            .field("next_offset", &self.next_offset())
            .finish_non_exhaustive()
    }
}

/// Where `part` lies in `data`, which it is a part of, and how long it is; -1 for null.
#[inline]
fn place(data: &[u8], part: Option<&[u8]>) -> (u32, i32) {
    let Some(part) = part else { return (0, -1) };
    if part.is_empty() {
        return (0, 0);
    }
    let at = part.as_ptr().addr().wrapping_sub(data.as_ptr().addr());
    debug_assert!(at + part.len() <= data.len(), "every part of a record lies in its batch's bytes");
    // Both fit: the buffer has no more bytes than a u32 counts, and a part's length is an i32 on the wire.
    (at as u32, part.len() as i32)
}

/// Gives the headers of a record: of each its name, and its value or `None` for null.
#[derive(Clone, Debug)]
pub struct HeaderViews<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for HeaderViews<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // Checked as a whole when the record was read.
        let name = self.part()??;
        let value = self.part()?;
        Some((name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left as usize))
    }
}

impl<'a> HeaderViews<'a> {
    /// A length and as many bytes; null below zero.
    fn part(&mut self) -> Option<Option<&'a [u8]>> {
        let length = self.varint()?;
        let Ok(length) = usize::try_from(length) else { return Some(None) };
        let (part, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(Some(part))
    }

    fn varint(&mut self) -> Option<i32> {
        let mut value = 0u32;
        for shift in (0..32).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_they_lie_on_the_wire() {
        let bytes = [2, b'a', 4, 1, 2, 0, 1, 4, b'b', b'c', 0];
        let headers: Vec<_> = HeaderViews { rest: &bytes, left: 3 }.collect();
        assert_eq!(headers, [(&b"a"[..], Some(&[1, 2][..])), (b"", None), (b"bc", Some(b""))]);
        assert_eq!(HeaderViews { rest: &[2], left: 1 }.next(), None, "what is cut off ends it");
        assert_eq!(HeaderViews { rest: &[0xff; 9], left: 1 }.next(), None);
    }

    #[test]
    fn a_part_is_found_by_where_it_lies() {
        let data = *b"keyvalue";
        assert_eq!(place(&data, Some(&data[3..])), (3, 5));
        assert_eq!(place(&data, Some(&data[..0])), (0, 0));
        assert_eq!(place(&data, None), (0, -1));
    }
}
