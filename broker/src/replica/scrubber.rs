//! The thread that reads old segments now and then, so that what a disk has lost is found while it can still be had from
//! elsewhere: from a backup, from another replica, or from whoever wrote it.
//!
//! It only reads, and tells. What is newer than the last roll is checked by a start, and by whoever consumes it.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    Replica, Replicas,
    pace::{Pace, Stopped},
};
use crate::{
    config::BrokerConfig,
    log::{LogErrorKind, Scrubbed},
    metrics::Metrics,
};

/// Longest wait for the first round, so that a broker that is often restarted is read through too.
const FIRST_ROUND_AFTER_MAX: Duration = Duration::from_secs(300);

/// The thread. Dropping it lets it go on; see [`Scrubber::stop`].
#[derive(Debug)]
pub(crate) struct Scrubber {
    pace: Arc<Pace>,
    thread: Option<JoinHandle<()>>,
}

struct Work {
    replicas: Arc<Replicas>,
    metrics: Arc<Metrics>,
    pace: Arc<Pace>,
    interval: Duration,
}

impl Scrubber {
    /// Starts it, if the configuration wants that.
    pub(crate) fn start(
        replicas: &Arc<Replicas>,
        metrics: &Arc<Metrics>,
        config: &BrokerConfig,
    ) -> std::io::Result<Self> {
        let pace = Arc::new(Pace::new(config.log_scrub_max_bytes_per_second as f64));
        let Some(interval) = config.log_scrub_interval else {
            return Ok(Self { pace, thread: None });
        };
        let (replicas, metrics) = (Arc::clone(replicas), Arc::clone(metrics));
        let work = Work { replicas, metrics, pace: Arc::clone(&pace), interval };
        let thread = thread::Builder::new().name("ottla-scrubber".to_owned());
        // An error means that the broker stops.
        let thread = thread.spawn(move || _ = work.run())?;
        Ok(Self { pace, thread: Some(thread) })
    }

    /// Ends the thread, in the middle of a segment if need be, and waits for it.
    pub(crate) fn stop(self) {
        self.pace.stop();
        if self.thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the scrubbing thread has panicked");
        }
    }
}

impl Work {
    fn run(&self) -> Result<(), Stopped> {
        self.pace.wait(self.interval.min(FIRST_ROUND_AFTER_MAX))?;
        loop {
            let damaged = self.round()?;
            tracing::debug!(damaged, "all old segments were read and checked");
            self.pace.wait(self.interval)?;
        }
    }

    /// Reads all logs; gives how many segments are damaged.
    fn round(&self) -> Result<usize, Stopped> {
        let mut damaged = 0;
        let table = self.replicas.table();
        for topic in table.topics() {
            for replica in topic.replicas().filter(|replica| replica.is_online()) {
                let partition = format!("{}-{}", topic.name, replica.id.index);
                damaged += self.scrub(&partition, replica)?;
                self.metrics.scrubbed_logs.add(1);
            }
        }
        Ok(damaged)
    }

    fn scrub(&self, partition: &str, replica: &Replica) -> Result<usize, Stopped> {
        let mut damaged = 0;
        let mut from = 0;
        while let Some(segment) = replica.reader.sealed_from(from) {
            // A segment spans less than 2^31 offsets, from its base on.
            from = segment.base_offset.saturating_add(1);
            let scrubbed = replica.reader.scrub(&segment, |bytes| {
                self.metrics.scrubbed_bytes.add(bytes);
                self.pace.pay(bytes)
            })?;
            let Scrubbed::Damaged(error) = scrubbed else { continue };
            damaged += 1;
            self.metrics.damaged_segments.add(1);
            if let LogErrorKind::Rot { path, position, offset, why } = error.kind() {
                tracing::error!(
                    partition,
                    file = %path.display(),
                    position,
                    offset,
                    why,
                    "a segment has lost what was written to it: consumers cannot read on from this offset; restore the \
                     file from a copy, and mind the disk"
                );
            } else {
                tracing::error!(partition, %error, "a segment cannot be read; mind the disk");
            }
        }
        Ok(damaged)
    }
}
