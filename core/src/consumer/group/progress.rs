//! When the program last asked for records. Written by the program's threads, read by the member's driver.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// A time that goes forward, and how many calls wait for records just now.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
    /// Milliseconds from `began`.
    asked_ms: AtomicU64,
    waiting: AtomicUsize,
}

/// A call that waits; as long as there is one, the program makes progress.
#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a Progress);

impl Progress {
    /// Asked for the first time now.
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now, asked_ms: AtomicU64::new(0), waiting: AtomicUsize::new(0) }
    }

    /// The program asks for records.
    pub(crate) fn ask(&self, now: Instant) {
        let ms = now.saturating_duration_since(self.began).as_millis();
        self.asked_ms.fetch_max(u64::try_from(ms).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A call begins to wait; its end counts as an ask.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    /// When it last asked; now, while it waits.
    pub(crate) fn last(&self, now: Instant) -> Instant {
        if self.waiting.load(Ordering::Acquire) > 0 {
            return now;
        }
        self.began + Duration::from_millis(self.asked_ms.load(Ordering::Relaxed))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // First the time, then the count: whoever sees that nobody waits sees since when.
        self.0.ask(Instant::now());
        self.0.waiting.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_makes_progress_until_it_has_what_it_waits_for() {
        let began = Instant::now();
        let progress = Progress::new(began);
        let later = began + Duration::from_secs(400);
        assert_eq!(progress.last(later), began);
        let waiting = progress.wait();
        assert_eq!(progress.last(later), later);
        drop(waiting);
        assert!(progress.last(later) < later);
        progress.ask(began + Duration::from_secs(3));
        progress.ask(began + Duration::from_secs(2));
        assert_eq!(progress.last(later), began + Duration::from_secs(3), "time goes forward");
    }
}
