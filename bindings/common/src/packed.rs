//! Many records in one crossing: a buffer with their bytes, and a table that says where one ends.
//!
//! The table has [`ENTRY_WORDS`] words of 32 bits for each record, in the machine's byte order:
//!
//! | word | what | null, or none |
//! |---|---|---|
//! | 0 | the topic, as [`crate::Producer::intern`] numbers it | |
//! | 1 | the partition | -1: the partitioner's |
//! | 2 | bytes of the key | -1 |
//! | 3 | bytes of the value | -1 |
//! | 4 | how many headers | 0 |
//! | 5 | bytes of all headers | 0 |
//! | 6, 7 | milliseconds since the epoch, the lower half first | -1: now |
//!
//! The buffer has the records one after the other, without gaps: key, value, headers. A header is the bytes of its name as 32
//! bits, lower byte first, its name, the bytes of its value likewise or -1, its value. Nothing is aligned.

use std::{borrow::Cow, sync::Arc};

use crate::{
    core::{self, ErrorKind, Header, Record},
    error::{BindingError, Result},
};

/// Words of the table for one record.
pub const ENTRY_WORDS: usize = 8;

/// How far a call of [`crate::Producer::send_packed`] came.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Packed {
    /// How many records are done with, those rejected among them; if it is not all, there was no room for the next.
    pub taken: usize,
    /// How many bytes of the buffer they were.
    pub data_bytes: usize,
    /// Records that can never be taken, by their index in the table, and why.
    pub rejected: Vec<(usize, BindingError)>,
}

/// Hands the records to `append` one by one.
pub(crate) fn send(
    data: &[u8],
    table: &[u32],
    first_token: Option<u64>,
    topics: &[Arc<str>],
    mut append: impl FnMut(&Record<'_>, Option<u64>) -> core::Result<()>,
) -> Result<Packed> {
    let (entries, []) = table.as_chunks::<ENTRY_WORDS>() else {
        let text = format!("a table of {} words is not one of {ENTRY_WORDS} for each record", table.len());
        return Err(BindingError::invalid(text));
    };
    let mut packed = Packed::default();
    let mut headers = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let rest = data.get(packed.data_bytes..).unwrap_or_default();
        // Where its bytes are not there, nobody knows where the next record begins.
        let (record, bytes) = read(entry, rest, topics, &mut headers)
            .map_err(|what| BindingError::invalid(format!("packed record {index}: {what}")))?;
        let token = first_token.map(|first| first.wrapping_add(index as u64));
        match append(&record, token) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BufferFull => break,
            Err(error) => packed.rejected.push((index, error.into())),
        }
        packed.taken += 1;
        packed.data_bytes += bytes;
    }
    Ok(packed)
}

/// The record of an entry, at the beginning of `rest`, and how many bytes it takes.
fn read<'r, 'a: 'r>(
    entry: &[u32; ENTRY_WORDS],
    rest: &'a [u8],
    topics: &'a [Arc<str>],
    headers: &'r mut Vec<Header<'a>>,
) -> Result<(Record<'r>, usize), &'static str> {
    let &[topic, partition, key, value, header_count, headers_bytes, low, high] = entry;
    let topic = topics.get(topic as usize).ok_or("its topic has no such number")?;
    let mut cursor = Cursor(rest);
    let key = cursor.nullable(key.cast_signed())?;
    let value = cursor.nullable(value.cast_signed())?;
    let encoded = cursor.take(headers_bytes as usize)?;
    read_headers(encoded, header_count, headers)?;
    let timestamp = (u64::from(high) << 32 | u64::from(low)).cast_signed();
    let record = Record {
        topic,
        partition: (partition.cast_signed() >= 0).then_some(partition.cast_signed()),
        timestamp: (timestamp >= 0).then_some(timestamp),
        key,
        value,
        headers: Cow::Borrowed(headers),
    };
    Ok((record, rest.len() - cursor.0.len()))
}

fn read_headers<'a>(
    encoded: &'a [u8],
    count: u32,
    headers: &mut Vec<Header<'a>>,
) -> Result<(), &'static str> {
    headers.clear();
    let mut cursor = Cursor(encoded);
    for _ in 0..count {
        let name = cursor.length()?;
        let key = cursor.nullable(name)?.ok_or("the name of a header is null")?;
        let length = cursor.length()?;
        headers.push(Header { key, value: cursor.nullable(length)? });
    }
    if cursor.0.is_empty() { Ok(()) } else { Err("there are bytes behind its headers") }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or("the buffer ends before it")?;
        self.0 = rest;
        Ok(taken)
    }

    /// So many bytes; none, and null, below zero.
    fn nullable(&mut self, bytes: i32) -> Result<Option<&'a [u8]>, &'static str> {
        usize::try_from(bytes).ok().map(|bytes| self.take(bytes)).transpose()
    }

    fn length(&mut self) -> Result<i32, &'static str> {
        let (length, rest) = self.0.split_first_chunk().ok_or("the buffer ends in its headers")?;
        self.0 = rest;
        Ok(i32::from_le_bytes(*length))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Wait;

    /// The words of an entry without headers.
    fn entry(key: i32, value: i32) -> [u32; ENTRY_WORDS] {
        [0, u32::MAX, key.cast_unsigned(), value.cast_unsigned(), 0, 0, u32::MAX, u32::MAX]
    }

    fn sent(data: &[u8], table: &[u32]) -> Result<(Packed, Vec<String>)> {
        let mut records = Vec::new();
        let packed = send(data, table, Some(10), &["a".into(), "b".into()], |record, token| {
            let Record { topic, partition, timestamp, key, value, headers } = record;
            let headers: Vec<_> = headers.iter().map(|h| (h.name(), h.value)).collect();
            records
                .push(format!("{topic} {partition:?} {timestamp:?} {key:?} {value:?} {headers:?} {token:?}"));
            Ok(())
        })?;
        Ok((packed, records))
    }

    #[test]
    fn records_follow_each_other_without_gaps() {
        let mut table = entry(-1, 2).to_vec();
        table.extend([1, 4, 1, 0, 2, 17, 7, 1]);
        let mut data = b"hiK".to_vec();
        data.extend([1, 0, 0, 0, b'n', 2, 0, 0, 0, 5, 6, 0, 0, 0, 0]);
        data.extend((-1i32).to_le_bytes());
        // As many bytes as the entry says: 4 + 1 + 4 + 2 for one, 4 + 0 + 4 for the other.
        table[ENTRY_WORDS + 5] = 19;
        let (packed, records) = sent(&data, &table).unwrap();
        assert_eq!(packed, Packed { taken: 2, data_bytes: data.len(), rejected: Vec::new() });
        assert_eq!(
            records,
            [
                "a None None None Some([104, 105]) [] Some(10)",
                "b Some(4) Some(4294967303) Some([75]) Some([]) [(\"n\", Some([5, 6])), (\"\", None)] Some(11)",
            ]
        );
    }

    #[test]
    fn what_does_not_fit_together_is_refused_with_its_place() {
        let refused = |data: &[u8], table: &[u32]| sent(data, table).unwrap_err().message;
        assert!(refused(b"", &[0; 9]).contains("9 words"));
        assert_eq!(refused(b"x", &entry(1, 1)), "packed record 0: the buffer ends before it");
        let mut table = entry(-1, -1);
        table[0] = 2;
        assert_eq!(refused(b"", &table), "packed record 0: its topic has no such number");
        let mut table = entry(-1, -1);
        (table[4], table[5]) = (u32::MAX, 4);
        assert_eq!(refused(&[0xff; 4], &table), "packed record 0: the name of a header is null");
        assert_eq!(refused(&[9, 0, 0, 0], &table), "packed record 0: the buffer ends before it");
        (table[4], table[5]) = (0, 1);
        assert_eq!(refused(&[9], &table), "packed record 0: there are bytes behind its headers");
    }

    #[test]
    fn no_room_ends_it_and_what_can_never_be_taken_does_not() {
        // The core makes its errors itself: a producer that knows no topic has no room, one that is closed never has.
        let config = core::config::ProducerConfig {
            bootstrap_servers: vec!["localhost:1".into()],
            ..Default::default()
        };
        let producer = core::Producer::new(config).unwrap();
        let no_room = producer.try_send(&Record::to("t"), 0).unwrap_err();
        Wait::forever().on(producer.close(Duration::ZERO)).unwrap().unwrap();
        let never = producer.try_send(&Record::to("t"), 0).unwrap_err();
        let mut outcomes = vec![Err(no_room), Err(never), Ok(())];
        let table = [entry(-1, 1), entry(-1, 1), entry(-1, 1)].concat();
        let append = |_: &Record<'_>, _| outcomes.pop().unwrap();
        let packed = send(b"abc", &table, None, &["a".into()], append).unwrap();
        assert_eq!((packed.taken, packed.data_bytes), (2, 2));
        assert_eq!(packed.rejected.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1]);
    }
}
