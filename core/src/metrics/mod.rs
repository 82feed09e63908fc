//! What a client counts about itself: by batches and requests, never by records.

mod tables;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

pub use self::tables::{ConsumerMetrics, ProducerMetrics};

/// A metric: what it is called, and what it tells. The tables of them are [`ProducerMetrics::TABLE`] and
/// [`ConsumerMetrics::TABLE`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MetricInfo {
    /// Its name, the same in every language; Kafka's, where Kafka's client counts the same thing.
    pub name: &'static str,
    /// The group in which Kafka's client has it; `None` if it has not.
    pub group: Option<&'static str>,
    /// What KIP-714 calls it.
    pub telemetry_name: Option<&'static str>,
    /// How to read it.
    pub kind: MetricKind,
    /// Its unit: `ms`, `s`, `bytes`, or what is counted.
    pub unit: &'static str,
    /// What it tells.
    pub meaning: &'static str,
}

/// How to read a metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MetricKind {
    /// Only grows, since the client was made.
    Counter,
    /// A number as of now.
    Gauge,
    /// Of all since the client was made.
    Average,
    /// Of all since the client was made.
    Maximum,
    /// How long ago something happened.
    Age,
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

/// A number that only grows, or is set; read at any time, from any thread.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets it.
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Its present value.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long some things took.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    count: AtomicU64,
    sum_us: AtomicU64,
    max_us: AtomicU64,
}

impl Durations {
    /// One more.
    pub(crate) fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.max_us.fetch_max(us, Ordering::Relaxed);
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// What they took together, in whole milliseconds.
    pub(crate) fn total_ms(&self) -> u64 {
        self.sum_us.load(Ordering::Relaxed) / 1000
    }

    /// What they took on average, in milliseconds; `None` before the first.
    pub(crate) fn average_ms(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum_us.load(Ordering::Relaxed) as f64 / count as f64 / 1e3)
    }

    /// What the longest took, in milliseconds; `None` before the first.
    pub(crate) fn max_ms(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.max_us.load(Ordering::Relaxed) as f64 / 1e3)
    }
}

/// When something happened last.
#[derive(Debug)]
pub(crate) struct Latest {
    began: Instant,
    /// Microseconds from `began`, and one more; 0 for never.
    at_us: AtomicU64,
}

impl Latest {
    /// It has not happened yet; all times are after `began`.
    pub(crate) fn new(began: Instant) -> Self {
        Self { began, at_us: AtomicU64::new(0) }
    }

    /// It happens now.
    pub(crate) fn happened(&self, now: Instant) {
        let us = u64::try_from(now.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX);
        self.at_us.fetch_max(us.saturating_add(1), Ordering::Relaxed);
    }

    /// How long ago it was; `None` if it was not.
    pub(crate) fn ago(&self, now: Instant) -> Option<Duration> {
        let at = Duration::from_micros(self.at_us.load(Ordering::Relaxed).checked_sub(1)?);
        Some(now.saturating_duration_since(self.began).saturating_sub(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_an_average_and_a_maximum_once_there_are_some() {
        let durations = Durations::default();
        assert_eq!((durations.average_ms(), durations.max_ms()), (None, None));
        for ms in [10, 40, 10] {
            durations.record(Duration::from_millis(ms));
        }
        assert_eq!(
            (durations.count(), durations.average_ms(), durations.max_ms()),
            (3, Some(20.0), Some(40.0))
        );
        assert_eq!(durations.total_ms(), 60);
    }

    #[test]
    fn the_latest_is_the_latest_whoever_says_so_last() {
        let began = Instant::now();
        let latest = Latest::new(began);
        let at = |s| began + Duration::from_secs(s);
        assert_eq!(latest.ago(at(9)), None);
        latest.happened(at(0));
        assert_eq!(latest.ago(at(9)), Some(Duration::from_secs(9)));
        latest.happened(at(5));
        latest.happened(at(3));
        assert_eq!(latest.ago(at(9)), Some(Duration::from_secs(4)));
    }

    #[test]
    fn each_value_has_its_row() {
        let metrics =
            ConsumerMetrics { records_consumed_total: 7, fetch_latency_avg: Some(0.5), ..Default::default() };
        let value = |name: &str| {
            let at = ConsumerMetrics::TABLE.iter().position(|row| row.name == name).unwrap();
            metrics.values()[at]
        };
        assert_eq!((value("records-consumed-total"), value("fetch-latency-avg")), (Some(7.0), Some(0.5)));
        assert_eq!(value("commit-latency-avg"), None);
        let row = ProducerMetrics::TABLE.iter().find(|row| row.name == "record-send-total").unwrap();
        assert_eq!(row.telemetry_name, Some("org.apache.kafka.producer.record.send.total"));
        assert_eq!((row.kind, row.unit), (MetricKind::Counter, "records"));
    }
}
