//! Bringing logs to the medium: when, and on which thread.
//!
//! A flush waits for the disk, so it runs on the threads of the [`FlushPool`], never on a core that serves. Each log
//! has at most one in flight; what is appended meanwhile rides on the next.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use tokio::time::Instant;

use super::{PartitionId, shard::ShardHandle, shard::ShardMessage};
use crate::{
    config::BrokerConfig,
    log::{FlushTask, Log},
    metrics::Metrics,
};

/// Flushes that run at once. The disk merges those of one file system into few writes of its journal.
const FLUSH_THREADS: usize = 4;

/// When logs are flushed beside what topics ask for (`flush.messages`, `flush.ms`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushPolicy {
    /// Age of the oldest record that is not on the medium: `ottla.flush.interval.ms`.
    pub(crate) interval_ms: i64,
    /// Bytes that are not on the medium: `ottla.flush.interval.bytes`.
    pub(crate) interval_bytes: u64,
}

impl FlushPolicy {
    pub(crate) fn new(config: &BrokerConfig) -> Self {
        Self {
            interval_ms: config.flush_interval.map_or(i64::MAX, |interval| interval.as_millis() as i64),
            interval_bytes: config.flush_interval_bytes.unwrap_or(u64::MAX),
        }
    }

    /// Whether a log is to be flushed at once.
    pub(crate) fn is_due(&self, log: &Log, now_ms: i64) -> bool {
        log.unflushed_bytes() >= self.interval_bytes || log.flush_due(now_ms)
    }

    /// When a log that has just been written to is to be flushed at the latest. Logs that were written to together
    /// come one after the other, the last of them after the whole interval.
    fn due_ms(&self, id: PartitionId, flush_ms: i64, now_ms: i64) -> Option<i64> {
        let spread = match self.interval_ms {
            i64::MAX => 0,
            interval_ms => (id.topic.0 as i64 ^ i64::from(id.index)).rem_euclid(interval_ms / 4 + 1),
        };
        let interval_ms = self.interval_ms.saturating_sub(spread).min(flush_ms);
        (interval_ms < i64::MAX).then(|| now_ms.saturating_add(interval_ms))
    }
}

/// How far a log is with its flush.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum FlushState {
    /// Everything is on the medium, or nothing is to be done about it.
    #[default]
    Clean,
    /// It waits in the [`DirtyLogs`] until then.
    Queued { due_ms: i64 },
    /// It is being flushed.
    InFlight,
}

/// The logs of a shard that were written to, by when they are to be flushed. Idle ones cost nothing.
#[derive(Debug, Default)]
pub(crate) struct DirtyLogs {
    /// Some entries are outdated: their log's state tells.
    queue: BinaryHeap<Reverse<(i64, PartitionId)>>,
}

impl DirtyLogs {
    /// Queues a log that was written to, once.
    pub(crate) fn written(
        &mut self,
        id: PartitionId,
        state: &mut FlushState,
        policy: &FlushPolicy,
        flush_ms: i64,
        now_ms: i64,
    ) {
        if *state == FlushState::Clean
            && let Some(due_ms) = policy.due_ms(id, flush_ms, now_ms)
        {
            *state = FlushState::Queued { due_ms };
            self.queue.push(Reverse((due_ms, id)));
        }
    }

    /// When the first of them is due.
    pub(crate) fn next_due_ms(&self) -> Option<i64> {
        self.queue.peek().map(|Reverse((due_ms, _))| *due_ms)
    }

    /// Takes one that is due. It may have been flushed since: its state is [`FlushState::Queued`] for the same time
    /// if not.
    pub(crate) fn take_due(&mut self, now_ms: i64) -> Option<(i64, PartitionId)> {
        self.next_due_ms().filter(|due_ms| *due_ms <= now_ms)?;
        self.queue.pop().map(|Reverse(entry)| entry)
    }
}

/// Threads that wait for the disk.
#[derive(Debug)]
pub(crate) struct FlushPool {
    queue: FlushQueue,
    threads: Vec<JoinHandle<()>>,
}

/// Where flushes go in. Bounded by the number of logs: each has one in flight at most.
#[derive(Clone, Debug)]
pub(crate) struct FlushQueue(mpsc::Sender<Job>);

#[derive(Debug)]
struct Job {
    id: PartitionId,
    task: FlushTask,
    shard: ShardHandle,
}

impl FlushPool {
    /// Starts the threads.
    pub(crate) fn start(metrics: &Arc<Metrics>) -> std::io::Result<Self> {
        let (sender, jobs) = mpsc::channel();
        let jobs = Arc::new(Mutex::new(jobs));
        let mut threads = Vec::with_capacity(FLUSH_THREADS);
        for index in 0..FLUSH_THREADS {
            let (jobs, metrics) = (Arc::clone(&jobs), Arc::clone(metrics));
            let thread = thread::Builder::new().name(format!("ottla-flush-{index}"));
            threads.push(thread.spawn(move || work(&jobs, &metrics))?);
        }
        Ok(Self { queue: FlushQueue(sender), threads })
    }

    /// Where flushes go in.
    pub(crate) fn queue(&self) -> FlushQueue {
        self.queue.clone()
    }

    /// Finishes what is queued and ends the threads, once all other queues are gone.
    pub(crate) fn stop(self) {
        drop(self.queue);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a flushing thread has panicked");
            }
        }
    }
}

impl FlushQueue {
    /// Has `task` run, and its outcome told to `shard`.
    pub(crate) fn submit(&self, id: PartitionId, task: FlushTask, shard: ShardHandle) {
        // The threads outlive all shards.
        let _ = self.0.send(Job { id, task, shard });
    }
}

fn work(jobs: &Mutex<mpsc::Receiver<Job>>, metrics: &Metrics) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { id, task, shard }) = job else { return };
        let began = Instant::now();
        let result = task.run();
        metrics.flushes.add(1);
        metrics.flush_ns.add(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        metrics.failed_flushes.add(u64::from(result.is_err()));
        // A shard that is gone has closed its logs.
        let _ = shard.send(ShardMessage::Flushed { id, result });
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::types::Uuid;

    use super::*;

    const POLICY: FlushPolicy = FlushPolicy { interval_ms: 100, interval_bytes: 1 << 20 };

    fn id(index: i32) -> PartitionId {
        PartitionId { topic: Uuid(0xabc), index }
    }

    #[test]
    fn logs_written_together_are_due_one_after_the_other_and_none_later_than_the_interval() {
        let mut dirty = DirtyLogs::default();
        let mut states = [FlushState::Clean; 200];
        for (index, state) in states.iter_mut().enumerate() {
            dirty.written(id(index as i32), state, &POLICY, i64::MAX, 1_000);
            // Once queued it stays where it is.
            dirty.written(id(index as i32), state, &POLICY, i64::MAX, 1_050);
        }
        assert!(dirty.take_due(1_074).is_none());
        let mut at = std::collections::BTreeMap::<i64, usize>::new();
        while let Some((due_ms, _)) = dirty.take_due(1_100) {
            *at.entry(due_ms).or_default() += 1;
        }
        assert_eq!(at.values().sum::<usize>(), 200);
        assert!(at.len() > 20 && at.values().all(|&together| together < 20), "{at:?}");
        assert_eq!(dirty.next_due_ms(), None);
    }

    #[test]
    fn a_topics_own_time_counts_if_it_is_shorter_and_without_either_nothing_is_due() {
        let never = FlushPolicy { interval_ms: i64::MAX, interval_bytes: u64::MAX };
        let mut dirty = DirtyLogs::default();
        let mut state = FlushState::Clean;
        dirty.written(id(0), &mut state, &never, i64::MAX, 5);
        assert_eq!((state, dirty.next_due_ms()), (FlushState::Clean, None));
        dirty.written(id(0), &mut state, &never, 30, 5);
        assert_eq!((state, dirty.next_due_ms()), (FlushState::Queued { due_ms: 35 }, Some(35)));
        let mut state = FlushState::Clean;
        dirty.written(id(1), &mut state, &POLICY, 7, 5);
        assert_eq!(state, FlushState::Queued { due_ms: 12 });
    }
}
