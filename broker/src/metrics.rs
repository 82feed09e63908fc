//! What the broker counts, and the table of all that it shows.
//!
//! A counter is an atomic of the core that adds to it: no lock, no allocation, and no two cores on one cache line.
//! Whoever reads adds up the cores. Names and meanings are Kafka's where Kafka has the like, in the form that the
//! Prometheus JMX exporter gives its beans, so that dashboards made for Kafka find them; all others begin with
//! `ottla_` or `process_`.

use std::{
    cell::Cell,
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Numbers of APIs that are counted apart: all that Kafka has, and room.
const APIS_MAX: usize = 128;

/// What one core counts.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct CoreMetrics {
    pub(crate) messages_in: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) produce_batches: Counter,
    pub(crate) failed_produce_batches: Counter,
    pub(crate) fetch_partitions: Counter,
    pub(crate) failed_fetch_partitions: Counter,
    pub(crate) throttled_requests: Counter,
    pub(crate) throttle_ms: Counter,
    requests: [Counter; APIS_MAX],
    request_ns: [Counter; APIS_MAX],
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What went in and out of one partition.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) messages_in: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
}

/// What a broker counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    cores: Vec<CoreMetrics>,
    pub(crate) flushes: Counter,
    pub(crate) flush_ns: Counter,
    pub(crate) failed_flushes: Counter,
    pub(crate) scrubbed_bytes: Counter,
    pub(crate) scrubbed_logs: Counter,
    pub(crate) damaged_segments: Counter,
    pub(crate) connections_too_fast: Counter,
}

thread_local! {
    /// Which core this thread is; the first where it is none.
    static CORE: Cell<usize> = const { Cell::new(0) };
}

/// Says that this thread is a core, the `index`th.
pub(crate) fn enter_core(index: usize) {
    CORE.set(index);
}

impl Metrics {
    pub(crate) fn new(cores: usize) -> Self {
        Self {
            cores: (0..cores.max(1)).map(|_| CoreMetrics::default()).collect(),
            flushes: Counter::default(),
            flush_ns: Counter::default(),
            failed_flushes: Counter::default(),
            scrubbed_bytes: Counter::default(),
            scrubbed_logs: Counter::default(),
            damaged_segments: Counter::default(),
            connections_too_fast: Counter::default(),
        }
    }

    /// What the calling core counts.
    pub(crate) fn core(&self) -> &CoreMetrics {
        // There is one at least, and `%` keeps any thread within them.
        &self.cores[CORE.get() % self.cores.len()]
    }

    /// A counter, over all cores.
    pub(crate) fn sum(&self, counter: impl Fn(&CoreMetrics) -> &Counter) -> u64 {
        self.cores.iter().map(|core| counter(core).get()).sum()
    }

    /// Requests of an API that were answered, and how long that took altogether.
    pub(crate) fn requests(&self, api: usize) -> (u64, Duration) {
        let sum = |counters: fn(&CoreMetrics) -> &[Counter; APIS_MAX]| {
            self.cores.iter().filter_map(|core| counters(core).get(api)).map(Counter::get).sum::<u64>()
        };
        (sum(|core| &core.requests), Duration::from_nanos(sum(|core| &core.request_ns)))
    }
}

impl CoreMetrics {
    /// A request was answered, `took` after it had come.
    pub(crate) fn answered(&self, api: i16, took: Duration) {
        let api = usize::try_from(api).unwrap_or(usize::MAX);
        if let (Some(requests), Some(ns)) = (self.requests.get(api), self.request_ns.get(api)) {
            requests.add(1);
            ns.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

impl Default for CoreMetrics {
    fn default() -> Self {
        let zeros = || std::array::from_fn(|_| Counter::default());
        Self {
            messages_in: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            produce_batches: Counter::default(),
            failed_produce_batches: Counter::default(),
            fetch_partitions: Counter::default(),
            failed_fetch_partitions: Counter::default(),
            throttled_requests: Counter::default(),
            throttle_ms: Counter::default(),
            requests: zeros(),
            request_ns: zeros(),
        }
    }
}

/// A metric as it is shown.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static str,
    pub(crate) help: &'static str,
}

/// Whether a metric only grows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// Declares metrics: a constant for each, and the table of all.
macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal [$labels:literal] $help:literal;)*) => {
        $(pub(crate) const $id: Metric =
            Metric { name: $name, kind: Kind::$kind, labels: $labels, help: $help };)*
        /// Everything that is shown, in order.
        pub(crate) const TABLE: &[Metric] = &[$($id),*];
    };
}

metrics! {
    MESSAGES_IN Counter "kafka_server_brokertopicmetrics_messagesin_total" ["none, or topic"]
        "records that were appended";
    BYTES_IN Counter "kafka_server_brokertopicmetrics_bytesin_total" ["none, or topic"]
        "bytes of record batches that were appended";
    BYTES_OUT Counter "kafka_server_brokertopicmetrics_bytesout_total" ["none, or topic"]
        "bytes of record batches that were sent to consumers";
    PRODUCE_BATCHES Counter "kafka_server_brokertopicmetrics_totalproducerequests_total" [""]
        "batches that came to a log, one for each partition of a produce request";
    FAILED_PRODUCE_BATCHES Counter "kafka_server_brokertopicmetrics_failedproducerequests_total" [""]
        "batches that a log did not take";
    FETCH_PARTITIONS Counter "kafka_server_brokertopicmetrics_totalfetchrequests_total" [""]
        "partitions that fetches were answered about";
    FAILED_FETCH_PARTITIONS Counter "kafka_server_brokertopicmetrics_failedfetchrequests_total" [""]
        "partitions that fetches were answered about with an error";
    REQUESTS Counter "kafka_network_requestmetrics_requests_total" ["request"]
        "requests that were answered, by API";
    REQUEST_SECONDS Counter "ottla_request_seconds_total" ["request"]
        "time from a request's last byte in to its answer's last byte out, by API; a fetch that waits for records is among it";
    THROTTLED_REQUESTS Counter "ottla_throttled_requests_total" [""]
        "requests that were answered with a time to hold off, as a quota is used up";
    THROTTLE_SECONDS Counter "ottla_throttle_seconds_total" [""]
        "time that clients were told to hold off";
    CONNECTIONS Gauge "kafka_server_socketservermetrics_connectioncount" [""]
        "clients' connections that are open";
    CONNECTIONS_TOO_FAST Counter "ottla_connections_too_fast_total" [""]
        "connections that were closed, as their address made too many of them";
    PARTITIONS Gauge "kafka_server_replicamanager_partitioncount" [""]
        "partitions that are served";
    LEADERS Gauge "kafka_server_replicamanager_leadercount" [""]
        "partitions that this broker leads";
    OFFLINE_REPLICAS Gauge "kafka_server_replicamanager_offlinereplicacount" [""]
        "partitions whose log cannot be used";
    OFFLINE_LOG_DIRS Gauge "kafka_log_logmanager_offlinelogdirectorycount" [""]
        "log directories that are offline";
    TOPICS Gauge "kafka_controller_kafkacontroller_globaltopiccount" [""]
        "topics in the cluster";
    ALL_PARTITIONS Gauge "kafka_controller_kafkacontroller_globalpartitioncount" [""]
        "partitions in the cluster";
    FLUSHES Counter "kafka_log_logflushstats_logflushrateandtimems_count" [""]
        "flushes of a log to the disk";
    FLUSH_SECONDS Counter "ottla_log_flush_seconds_total" [""]
        "time that flushes waited for the disk";
    FAILED_FLUSHES Counter "ottla_log_flush_failures_total" [""]
        "flushes that failed";
    SCRUBBED_BYTES Counter "ottla_log_scrub_bytes_total" [""]
        "bytes of old segments that were read and checked in the background";
    SCRUBBED_LOGS Counter "ottla_log_scrub_logs_total" [""]
        "partitions whose old segments were all read and checked";
    DAMAGED_SEGMENTS Counter "ottla_log_scrub_damaged_segments_total" [""]
        "segments that were found damaged so; one that stays damaged is counted each time it is read";
    LOG_SIZE Gauge "kafka_log_log_size" ["topic, partition"]
        "bytes of a partition's segments";
    LOG_START Gauge "kafka_log_log_logstartoffset" ["topic, partition"]
        "first offset of a partition";
    LOG_END Gauge "kafka_log_log_logendoffset" ["topic, partition"]
        "offset behind the last record of a partition";
    LOG_SEGMENTS Gauge "kafka_log_log_numlogsegments" ["topic, partition"]
        "segments of a partition";
    LOG_FLUSHED Gauge "ottla_log_flushed_offset" ["topic, partition"]
        "offset of a partition before which all is on the disk: what a power cut leaves";
    RESIDENT_MEMORY Gauge "process_resident_memory_bytes" [""]
        "memory of the process that is in use; on Linux";
    OPEN_FILES Gauge "process_open_fds" [""]
        "files and sockets that the process holds open; on Linux";
}

/// The reference page of all metrics, `docs/guide/metrics.md`.
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\nA broker with `ottla.http.listener` set serves `/metrics` in Prometheus's text format, and `/health` as \
         JSON. `ottla dev` does so on a free port, and says on which.\n\nNames are those that the Prometheus JMX exporter gives \
         to Kafka's beans, where Kafka counts the same thing; all others begin with `ottla_` or `process_`. A counter only \
         grows; take its rate.\n\n`/health` answers 200 as long as the broker serves. Its `status` is `ok`, or `degraded` if a \
         log directory or a partition is offline: those are named.\n\n| metric | type | labels | what it tells |\n|---|---|---|---|\n",
    );
    for Metric { name, kind, labels, help } in TABLE {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "| `{name}` | {} | {labels} | {help} |", kind.name());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_page_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide/metrics.md");
        if std::env::var_os("OTTLA_WRITE_REFERENCE").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(there == reference(), "run this test with OTTLA_WRITE_REFERENCE=1 to write {path} anew");
    }

    #[test]
    fn names_are_prometheuss_and_counters_end_as_such() {
        let mut seen = std::collections::HashSet::new();
        for metric in TABLE {
            assert!(seen.insert(metric.name), "{} twice", metric.name);
            assert!(metric.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", metric.name);
            let is_count = metric.name.ends_with("_total") || metric.name.ends_with("_count");
            assert_eq!(metric.kind == Kind::Counter, is_count, "{}", metric.name);
        }
    }

    #[test]
    fn cores_count_apart_and_are_read_together() {
        let metrics = Metrics::new(2);
        std::thread::scope(|scope| {
            for core in 0..2 {
                let metrics = &metrics;
                scope.spawn(move || {
                    enter_core(core);
                    metrics.core().messages_in.add(1 + core as u64);
                    metrics.core().answered(3, Duration::from_millis(5));
                    metrics.core().answered(-1, Duration::MAX);
                });
            }
        });
        assert_eq!(metrics.sum(|core| &core.messages_in), 3);
        assert_eq!(metrics.cores[1].messages_in.get(), 2);
        assert_eq!(metrics.requests(3), (2, Duration::from_millis(10)));
    }
}
