//! What a client counts about itself.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows, or is set; read at any time, from any thread.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Its present value.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a producer counts, all since it was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ProducerMetrics {
    /// Records that were acknowledged.
    pub records_acknowledged: u64,
    /// Records that failed for good.
    pub records_failed: u64,
    /// Batches sent, each attempt counted.
    pub batches_sent: u64,
    /// Attempts after the first.
    pub batches_retried: u64,
    /// Produce requests sent.
    pub requests_sent: u64,
    /// Bytes of batches sent, as compressed.
    pub batch_bytes_sent: u64,
    /// Milliseconds for which brokers asked to be left alone (KIP-219).
    pub throttle_ms: u64,
    /// Metadata requests sent.
    pub metadata_requests_sent: u64,
    /// Bytes of `buffer.memory` in use now.
    pub buffer_bytes_used: u64,
}

/// What a consumer counts, all since it was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ConsumerMetrics {
    /// Records handed out.
    pub records_consumed: u64,
    /// Batches handed out.
    pub batches_consumed: u64,
    /// Fetch requests sent.
    pub requests_sent: u64,
    /// Those of them for which it was looked at each partition what to fetch. While nothing changes, there are none: the
    /// same is asked again.
    pub requests_planned: u64,
    /// Bytes of record batches received, as compressed.
    pub batch_bytes_received: u64,
    /// Milliseconds for which brokers asked to be left alone (KIP-219).
    pub throttle_ms: u64,
    /// Metadata requests sent.
    pub metadata_requests_sent: u64,
    /// Bytes of `ottla.prefetch.max.bytes` in use now.
    pub prefetch_bytes_used: u64,
}

/// What a consumer counts of one broker, since it was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct BrokerMetrics {
    /// Fetch requests that it answered.
    pub fetches_answered: u64,
    /// Bytes of record batches that it sent, as compressed.
    pub batch_bytes_received: u64,
}
