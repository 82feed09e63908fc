//! How fast threads in the background may read and write, and when they are to end.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Shorter waits than this are saved up.
const WAIT_MIN: Duration = Duration::from_millis(10);

/// The threads are to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stopped;

/// One rate for all threads that share it.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: f64,
    state: Mutex<State>,
    /// Told when all threads are to end.
    stopping: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stop: bool,
    /// Until when what was read and written takes, at the rate that is allowed.
    busy_until: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: f64) -> Self {
        Self { bytes_per_second, state: Mutex::default(), stopping: Condvar::new() }
    }

    /// Lets all threads that wait, or ask, end.
    pub(crate) fn stop(&self) {
        self.state().stop = true;
        self.stopping.notify_all();
    }

    /// Whether they are to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state().stop
    }

    /// Waits, unless the threads are to end.
    pub(crate) fn wait(&self, time: Duration) -> Result<(), Stopped> {
        let waited = self.stopping.wait_timeout_while(self.state(), time, |state| !state.stop);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.stop { Err(Stopped) } else { Ok(()) }
    }

    /// Waits until `bytes` more are allowed.
    pub(crate) fn pay(&self, bytes: u64) -> Result<(), Stopped> {
        let now = Instant::now();
        let busy_until = {
            let mut state = self.state();
            if state.stop {
                return Err(Stopped);
            }
            // At no rate at all it would take for ever, which nobody means: then it takes no time.
            let takes =
                Duration::try_from_secs_f64(bytes as f64 / self.bytes_per_second).unwrap_or(Duration::MAX);
            let from = state.busy_until.unwrap_or(now).max(now);
            *state.busy_until.insert(from.checked_add(takes).unwrap_or(from))
        };
        match busy_until.saturating_duration_since(now) {
            wait if wait < WAIT_MIN => Ok(()),
            wait => self.wait(wait),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_takes_its_time_until_the_end() {
        let pace = Pace::new(1e6);
        let began = Instant::now();
        for _ in 0..10 {
            pace.pay(10_000).unwrap();
        }
        assert!(began.elapsed() >= Duration::from_millis(85), "{:?}", began.elapsed());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pace.pay(1 << 40));
            pace.stop();
            assert_eq!(waiting.join().unwrap(), Err(Stopped));
        });
        assert_eq!((pace.pay(0), pace.wait(Duration::ZERO)), (Err(Stopped), Err(Stopped)));
    }
}
