//! What the broker shows of itself: metrics for Prometheus, and its health. Served over HTTP by [`http`].

pub(crate) mod http;

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use ottla_protocol::types::TopicName;
use serde_json::{Value, json};

use crate::{
    metadata::SharedImage,
    metrics::{self, Metric, Metrics},
    replica::{Replica, Replicas},
    server::dispatch::SERVED,
};

/// Offline partitions that the health page names.
const NAMED_MAX: usize = 100;

/// What pages are made of.
pub(crate) struct Observed {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) image: SharedImage,
    /// How many connections are open.
    pub(crate) connections: Box<dyn Fn() -> usize + Send + Sync>,
}

impl Observed {
    /// The page of all metrics, in Prometheus's text format 0.0.4.
    pub(crate) fn metrics(&self) -> String {
        let mut page = Page(String::new());
        self.traffic(&mut page);
        let counters = &*self.metrics;
        let sum = |page: &mut Page, metric, counter: fn(&metrics::CoreMetrics) -> &metrics::Counter| {
            page.one(metric, counters.sum(counter));
        };
        sum(&mut page, &metrics::PRODUCE_BATCHES, |core| &core.produce_batches);
        sum(&mut page, &metrics::FAILED_PRODUCE_BATCHES, |core| &core.failed_produce_batches);
        sum(&mut page, &metrics::FETCH_PARTITIONS, |core| &core.fetch_partitions);
        sum(&mut page, &metrics::FAILED_FETCH_PARTITIONS, |core| &core.failed_fetch_partitions);
        self.requests(&mut page);
        sum(&mut page, &metrics::THROTTLED_REQUESTS, |core| &core.throttled_requests);
        page.one(&metrics::THROTTLE_SECONDS, counters.sum(|core| &core.throttle_ms) as f64 / 1e3);
        page.one(&metrics::CONNECTIONS, (self.connections)());
        page.one(&metrics::CONNECTIONS_TOO_FAST, counters.connections_too_fast.get());
        let table = self.replicas.table();
        page.one(&metrics::PARTITIONS, table.partition_count());
        page.one(&metrics::LEADERS, table.partition_count());
        page.one(&metrics::OFFLINE_REPLICAS, table.offline().count());
        page.one(&metrics::OFFLINE_LOG_DIRS, self.offline_directories().len());
        let image = self.image.load();
        page.one(&metrics::TOPICS, image.topics().len());
        page.one(&metrics::ALL_PARTITIONS, image.partition_count());
        page.one(&metrics::FLUSHES, counters.flushes.get());
        page.one(&metrics::FLUSH_SECONDS, counters.flush_ns.get() as f64 / 1e9);
        page.one(&metrics::FAILED_FLUSHES, counters.failed_flushes.get());
        page.one(&metrics::SCRUBBED_BYTES, counters.scrubbed_bytes.get());
        page.one(&metrics::SCRUBBED_LOGS, counters.scrubbed_logs.get());
        page.one(&metrics::DAMAGED_SEGMENTS, counters.damaged_segments.get());
        self.logs(&mut page);
        process(&mut page);
        page.0
    }

    /// The page about health, as JSON.
    pub(crate) fn health(&self) -> String {
        let table = self.replicas.table();
        let offline = table.offline().count();
        let named: Vec<String> =
            table.offline().take(NAMED_MAX).map(|(topic, index)| format!("{topic}-{index}")).collect();
        let directories = self.offline_directories();
        let ok = offline == 0 && directories.is_empty();
        let health: Value = json!({
            "status": if ok { "ok" } else { "degraded" },
            "cluster_id": &**self.image.load().cluster_id(),
            "partitions": table.partition_count(),
            "offline_partition_count": offline,
            "offline_partitions": named,
            "offline_log_dirs": directories,
        });
        format!("{health}\n")
    }

    /// Directories that are offline, by their paths.
    fn offline_directories(&self) -> Vec<String> {
        let directories = self.replicas.directories();
        let failed = directories.usable().iter().filter(|d| !d.is_online()).map(|d| d.path());
        let paths = failed.chain(directories.unusable().iter().map(|directory| &*directory.path));
        paths.map(|path| path.display().to_string()).collect()
    }

    /// What came and went, in all and by topic.
    fn traffic(&self, page: &mut Page) {
        let counters = &*self.metrics;
        let table = self.replicas.table();
        let mut topics: BTreeMap<&TopicName, [u64; 3]> = BTreeMap::new();
        for topic in table.topics() {
            let sums = topics.entry(&topic.name).or_default();
            for Replica { traffic, .. } in topic.replicas().map(|replica| &**replica) {
                let counts = [&traffic.messages_in, &traffic.bytes_in, &traffic.bytes_out];
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count.get());
            }
        }
        let all = [
            (&metrics::MESSAGES_IN, counters.sum(|core| &core.messages_in)),
            (&metrics::BYTES_IN, counters.sum(|core| &core.bytes_in)),
            (&metrics::BYTES_OUT, counters.sum(|core| &core.bytes_out)),
        ];
        for (i, (metric, sum)) in all.into_iter().enumerate() {
            page.one(metric, sum);
            for (topic, sums) in &topics {
                page.row(metric, format_args!("topic=\"{topic}\""), sums.get(i).copied().unwrap_or(0));
            }
        }
    }

    fn requests(&self, page: &mut Page) {
        let answered: Vec<_> = SERVED
            .iter()
            .map(|&key| (key, self.metrics.requests(key as usize)))
            .filter(|(_, (count, _))| *count > 0)
            .collect();
        page.head(&metrics::REQUESTS);
        for (key, (count, _)) in &answered {
            page.row(&metrics::REQUESTS, format_args!("request=\"{key}\""), count);
        }
        page.head(&metrics::REQUEST_SECONDS);
        for (key, (_, took)) in &answered {
            page.row(&metrics::REQUEST_SECONDS, format_args!("request=\"{key}\""), took.as_secs_f64());
        }
    }

    fn logs(&self, page: &mut Page) {
        let table = self.replicas.table();
        let mut topics: Vec<_> = table.topics().collect();
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut rows = |metric: &Metric, value: fn(&Replica) -> i64| {
            page.head(metric);
            for topic in &topics {
                for replica in topic.replicas() {
                    let labels = format_args!("topic=\"{}\",partition=\"{}\"", topic.name, replica.id.index);
                    page.row(metric, labels, value(replica));
                }
            }
        };
        rows(&metrics::LOG_SIZE, |replica| i64::try_from(replica.reader.size_bytes()).unwrap_or(i64::MAX));
        rows(&metrics::LOG_START, |replica| replica.reader.start_offset());
        rows(&metrics::LOG_END, |replica| replica.reader.end_offset());
        rows(&metrics::LOG_SEGMENTS, |replica| replica.reader.segment_count() as i64);
        rows(&metrics::LOG_FLUSHED, Replica::recovery_point);
    }
}

/// What the system tells of this process; nothing where it does not.
fn process(page: &mut Page) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    if let Some(kib) = resident.and_then(|kib| kib.trim().parse::<u64>().ok()) {
        page.one(&metrics::RESIDENT_MEMORY, kib * 1024);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        page.one(&metrics::OPEN_FILES, files.count());
    }
}

/// A page that fills up. Topics' names need no escaping: they are ASCII without quotes.
struct Page(String);

impl Page {
    /// What begins the rows of a metric.
    fn head(&mut self, metric: &Metric) {
        let Metric { name, kind, help, .. } = metric;
        // Writing to a string cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.name());
    }

    fn row(&mut self, metric: &Metric, labels: std::fmt::Arguments<'_>, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{}{{{labels}}} {value}", metric.name);
    }

    /// A metric without labels.
    fn one(&mut self, metric: &Metric, value: impl std::fmt::Display) {
        self.head(metric);
        let _ = writeln!(self.0, "{} {value}", metric.name);
    }
}
