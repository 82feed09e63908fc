//! A record on its way out.

use std::borrow::Cow;

pub use ottla_protocol::record::Header;
use ottla_protocol::record::{Headers, record_bytes_max};

/// A record to be sent. Borrows what it is made of; sending copies it once, into its partition's batch.
///
/// ```
/// use ottla::Record;
///
/// let record = Record::to("orders").key("42").value("two apples").header("trace", "7f3a");
/// assert_eq!(record.key, Some(&b"42"[..]));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Record<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition's index; `None` leaves it to the partitioner.
    pub partition: Option<i32>,
    /// Milliseconds since the epoch; `None` for now.
    pub timestamp: Option<i64>,
    /// Records of the same key go to the same partition, unless it is given.
    pub key: Option<&'a [u8]>,
    /// The value; `None` deletes the key in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers, in their order; a name may occur again (KIP-82).
    pub headers: Cow<'a, [Header<'a>]>,
}

impl<'a> Record<'a> {
    /// A record for a topic, with nothing in it.
    pub fn to(topic: &'a str) -> Self {
        Self { topic, ..Self::default() }
    }

    /// Sets the key.
    pub fn key<B: AsRef<[u8]> + ?Sized>(mut self, key: &'a B) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// Sets the value.
    pub fn value<B: AsRef<[u8]> + ?Sized>(mut self, value: &'a B) -> Self {
        self.value = Some(value.as_ref());
        self
    }

    /// Adds a header.
    pub fn header<B: AsRef<[u8]> + ?Sized>(mut self, name: &'a str, value: &'a B) -> Self {
        self.headers.to_mut().push(Header::new(name, Some(value.as_ref())));
        self
    }

    /// Sets the partition, in place of the partitioner.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the timestamp, in milliseconds since the epoch.
    pub fn timestamp(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    pub(crate) fn encoded_headers(&self) -> Headers<'_> {
        Headers::from(&*self.headers)
    }

    /// Most bytes that it takes in a batch.
    pub(crate) fn bytes_max(&self) -> usize {
        record_bytes_max(self.key, self.value, &self.encoded_headers())
    }
}
