//! Finding a record by its offset and time, whatever its batch inflates to: its content passes through a window and is
//! never held as a whole.

use super::{
    BATCH_HEADER_BYTES, Batch, BatchError, RecordFault, Scratch, TimestampType,
    varint::{Cursor, Source},
    window::{Through, WINDOW_BYTES, Window},
};
use crate::compression::{Compression, Limits};

/// Where a record is, and when: all that a lookup looks at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp {
    /// Its offset.
    pub offset: i64,
    /// Its time, in milliseconds since the epoch: its own, or that of its append where the batch says so.
    pub timestamp: i64,
}

/// The first record of a batch that is wanted. The batch is one that a log holds: its records were judged when they were
/// appended, and what lies behind the one that is found is not looked at.
///
/// # Errors
/// If what is looked at does not inflate within `limits`, or is no record.
pub fn find(
    batch: &Batch,
    limits: &Limits,
    scratch: &mut Scratch,
    is_wanted: impl Fn(Stamp) -> bool,
) -> Result<Option<Stamp>, BatchError> {
    let header = batch.header();
    let log_append_time = match header.attributes.timestamp_type() {
        TimestampType::LogAppendTime => Some(header.max_timestamp),
        TimestampType::CreateTime => None,
    };
    let stamp = |(timestamp_delta, offset_delta): (i64, i32)| Stamp {
        offset: header.base_offset.wrapping_add(i64::from(offset_delta)),
        timestamp: log_append_time.unwrap_or_else(|| header.base_timestamp.wrapping_add(timestamp_delta)),
    };
    let at = |index: i32| move |fault| BatchError::Record { index: index.cast_unsigned(), fault };

    let block = batch.bytes().get(BATCH_HEADER_BYTES..).unwrap_or_default();
    let compression = header.attributes.compression()?;
    if compression == Compression::None {
        let mut rest = Cursor { rest: block };
        for index in 0..header.record_count {
            let body = size(&mut rest).and_then(|size| rest.take(size)).map_err(at(index))?;
            let found = stamp(deltas(&mut Cursor { rest: body }).map_err(at(index))?);
            if is_wanted(found) {
                return Ok(Some(found));
            }
        }
        return Ok(None);
    }
    scratch.window.resize(WINDOW_BYTES, 0);
    let inflate = scratch.decompressor.inflate(compression, block, limits)?;
    let mut window = Window::new(inflate, &mut scratch.window);
    for index in 0..header.record_count {
        match next_through(&mut window).map(stamp) {
            Ok(found) if is_wanted(found) => return Ok(Some(found)),
            Ok(_) => {}
            Err(fault) => return Err(window.failure.take().map_or_else(|| at(index)(fault), Into::into)),
        }
    }
    Ok(None)
}

/// What one record behind a window says of its place and time.
fn next_through(window: &mut Window<'_, '_>) -> Result<(i64, i32), RecordFault> {
    let left = size(&mut Through { window, left: usize::MAX })?;
    let mut body = Through { window, left };
    let deltas = deltas(&mut body)?;
    body.skip(body.left)?;
    Ok(deltas)
}

fn size(source: &mut impl Source) -> Result<usize, RecordFault> {
    let size = source.varint()?;
    usize::try_from(size).map_err(|_| RecordFault::Length(size))
}

fn deltas(body: &mut impl Source) -> Result<(i64, i32), RecordFault> {
    let _attributes = body.byte()?;
    Ok((body.varlong()?, body.varint()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;
    use crate::{
        compression::{Codec, Compressor, Decompressor},
        record::{BatchBuilder, Headers, Seal},
    };

    /// `count` records of `value_bytes` each, one every 10 ms from 1,000.
    fn batch(count: i64, value_bytes: usize, codec: Codec) -> Batch {
        let mut builder = BatchBuilder::new(Vec::new(), 4 << 20);
        for n in 0..count {
            let value = vec![n as u8; value_bytes];
            builder.push(1_000 + n * 10, Some(b"k"), Some(&value), Headers::NONE).unwrap();
        }
        builder.seal(&Seal { codec, base_offset: 7, ..Seal::default() }, &mut Compressor::new()).unwrap()
    }

    #[test]
    fn what_is_found_is_what_a_walk_over_all_records_finds() {
        for compression in
            [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        {
            let codec = Codec::new(compression);
            // Records that fit the window, and such that do not.
            for (count, value_bytes) in [(1, 0), (300, 100), (5, 300_000)] {
                let batch = batch(count, value_bytes, codec);
                let records = batch.records(&mut Decompressor::new(), &Limits::BROKER).unwrap();
                for wanted in [0, 1_000, 1_005, 1_010 + count * 5, 999_999] {
                    let slow = records.iter().map(Result::unwrap).find(|record| record.timestamp >= wanted);
                    let found =
                        find(&batch, &Limits::BROKER, &mut Scratch::new(), |it| it.timestamp >= wanted);
                    assert_eq!(
                        found.unwrap().map(|it| (it.offset, it.timestamp)),
                        slow.map(|record| (record.offset, record.timestamp)),
                        "{compression}, {count} records, from {wanted}"
                    );
                }
            }
        }
    }
}
