//! The threads that compact logs: they look for the one that needs it most, and leave the rest for later.
//!
//! All of them together keep to one budget of memory and one rate of reading and writing. What a log's owner must do
//! itself goes to its shard as a message; the thread waits for it, and nobody waits for the thread.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use ottla_protocol::types::TopicName;

use super::{
    PartitionId, Replica, Replicas,
    pace::{Pace, Stopped},
    shard::{OnLog, ShardMessage},
};
use crate::{
    config::BrokerConfig,
    log::{
        CheckpointKind,
        cleaner::{CleanError, Cleanable, Cleaner, CleanerConfig, HashKey, LogTask, Owner},
    },
    time::now_ms,
};

/// Most memory for the keys of one thread, as in Kafka.
const MAP_BYTES_MAX: u64 = i32::MAX as u64;
/// Least memory for the keys of one thread, as in Kafka.
pub(crate) const MAP_BYTES_MIN: u64 = 1 << 20;
/// Least pause between two looks for something to clean, whatever the configuration says.
const BACKOFF_MIN: Duration = Duration::from_millis(10);

/// The threads. Dropping it lets them go on; see [`CleanerPool::stop`].
#[derive(Debug)]
pub(crate) struct CleanerPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    replicas: Arc<Replicas>,
    backoff: Duration,
    /// Of reading and writing, by all threads.
    pace: Pace,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Partitions that a thread is at.
    in_progress: HashSet<PartitionId>,
    /// Partitions with a segment that cannot be cleaned. They are tried again by the next start.
    uncleanable: HashSet<PartitionId>,
}

/// A log that is to be cleaned.
struct Job {
    topic: TopicName,
    replica: Arc<Replica>,
    range: Cleanable,
}

impl CleanerPool {
    /// Starts as many threads as the configuration wants.
    pub(crate) fn start(
        replicas: &Arc<Replicas>,
        config: &BrokerConfig,
        hash_key: HashKey,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            replicas: Arc::clone(replicas),
            backoff: Duration::from_millis(config.log_cleaner_backoff_ms.max(0).unsigned_abs())
                .max(BACKOFF_MIN),
            pace: Pace::new(config.log_cleaner_io_max_bytes_per_second),
            state: Mutex::default(),
        });
        let count = thread_count(config);
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let map_bytes = (config.log_cleaner_dedupe_buffer_size / count as u64).min(MAP_BYTES_MAX);
            let cleaner = Cleaner::new(CleanerConfig {
                map_bytes: map_bytes as usize,
                load_percent: (config.log_cleaner_io_buffer_load_factor * 100.0) as usize,
                io_buffer_bytes: config.log_cleaner_io_buffer_size / count / 2,
                ..CleanerConfig::new(hash_key)
            });
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name(format!("ottla-cleaner-{index}"));
            threads.push(thread.spawn(move || shared.work(cleaner))?);
        }
        Ok(Self { shared, threads })
    }

    /// Ends the threads, in the middle of a log if need be, and waits for them. Their shards must still be there.
    pub(crate) fn stop(self) {
        self.shared.pace.stop();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a cleaning thread has panicked");
            }
        }
    }
}

/// How many threads clean.
pub(crate) fn thread_count(config: &BrokerConfig) -> usize {
    if config.log_cleaner_enable { usize::try_from(config.log_cleaner_threads).unwrap_or(0) } else { 0 }
}

impl Shared {
    fn work(&self, mut cleaner: Cleaner) {
        while !self.pace.is_stopped() {
            let cleaned = match self.take_dirtiest(now_ms()) {
                Some(job) => {
                    let cleaned = self.clean(&mut cleaner, &job);
                    self.state().in_progress.remove(&job.replica.id);
                    cleaned
                }
                None => false,
            };
            if !cleaned && self.pace.wait(self.backoff).is_err() {
                return;
            }
        }
    }

    /// The log with the largest share of bytes that were never cleaned, of those that are due
    /// (`grabFilthiestCompactedLog`).
    fn take_dirtiest(&self, now_ms: i64) -> Option<Job> {
        let table = self.replicas.table();
        let mut state = self.state();
        state.uncleanable.retain(|id| table.by_id(id.topic).is_some_and(|t| t.partition(id.index).is_ok()));
        let mut dirtiest: Option<Job> = None;
        for topic in table.topics() {
            for replica in topic.replicas() {
                let settings = replica.settings.load();
                let policy = &settings.log.cleanup;
                let taken =
                    state.in_progress.contains(&replica.id) || state.uncleanable.contains(&replica.id);
                if !policy.compact || taken || !replica.is_online() {
                    continue;
                }
                let range = match replica.reader.cleanable(replica.cleaned_offset(), policy, now_ms) {
                    Ok(range) => range,
                    Err(error) => {
                        tracing::warn!(%error, "a log is not looked at by the cleaner this time");
                        continue;
                    }
                };
                let dirtier = dirtiest.as_ref().is_none_or(|other| range.ratio() > other.range.ratio());
                if range.is_due(policy) && dirtier {
                    let (topic, replica) = (topic.name.clone(), Arc::clone(replica));
                    dirtiest = Some(Job { topic, replica, range });
                }
            }
        }
        state.in_progress.extend(dirtiest.as_ref().map(|job| job.replica.id));
        dirtiest
    }

    /// Cleans a log; says whether that was of any use.
    fn clean(&self, cleaner: &mut Cleaner, job: &Job) -> bool {
        let Job { topic, replica, range } = job;
        let partition = format!("{topic}-{}", replica.id.index);
        let config = replica.settings.load().log.clone();
        let mut owner = ShardOf { shared: self, replica };
        match cleaner.clean(&replica.reader, &config, range, &mut owner) {
            Ok(cleaned) => {
                replica.cleaned_offset.store(cleaned.end_offset, Ordering::Release);
                self.replicas.write_checkpoint(&replica.directory, CheckpointKind::CleanerOffset);
                tracing::info!(
                    partition,
                    from = range.first_dirty_offset,
                    to = cleaned.end_offset,
                    keys = cleaned.keys,
                    records_read = cleaned.records_read,
                    records_kept = cleaned.records_kept,
                    bytes_read = cleaned.bytes_read,
                    bytes_written = cleaned.bytes_written,
                    "a log is compacted"
                );
                if cleaned.records_without_key > 0 {
                    let records = cleaned.records_without_key;
                    tracing::warn!(partition, records, "records without a key were dropped by compaction");
                }
                true
            }
            Err(error @ CleanError::Damaged { .. }) => {
                self.state().uncleanable.insert(replica.id);
                tracing::error!(
                    partition,
                    %error,
                    "the partition is not compacted any more; mend its segment, then restart the broker"
                );
                false
            }
            Err(CleanError::Log(error)) if error.is_disk_full() => {
                tracing::warn!(partition, %error, "there is no room to compact a log; it is tried again");
                false
            }
            Err(CleanError::Log(error)) => {
                // Its files vanish with a deleted topic, which is no failure.
                let topic = self.replicas.table();
                let is_there =
                    topic.by_id(replica.id.topic).is_some_and(|t| t.partition(replica.id.index).is_ok());
                if is_there {
                    replica.directory.fail(&error);
                }
                false
            }
            Err(CleanError::Stale | CleanError::Stopped) => false,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A log's owner, as its cleaner sees it.
struct ShardOf<'a> {
    shared: &'a Shared,
    replica: &'a Replica,
}

impl Owner for ShardOf<'_> {
    fn on_log(&mut self, task: LogTask) -> Result<(), CleanError> {
        let message = ShardMessage::Run { id: self.replica.id, task: OnLog(task) };
        self.shared.replicas.send(self.replica.shard, message).map_err(|_| CleanError::Stopped)
    }

    fn moved(&mut self, bytes: u64) -> Result<(), CleanError> {
        self.shared.pace.pay(bytes).map_err(|Stopped| CleanError::Stopped)
    }

    fn now_ms(&self) -> i64 {
        now_ms()
    }
}
