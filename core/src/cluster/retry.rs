//! How long to wait before the next attempt: exponential, with jitter, up to a most (KIP-580).

use std::time::Duration;

/// Part of a delay by which it varies to either side, so that many clients do not come back at once.
const JITTER: f64 = 0.2;

/// Two settings that make a series of delays: `retry.backoff.ms` with `retry.backoff.max.ms`, or
/// `reconnect.backoff.ms` with `reconnect.backoff.max.ms`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Backoff {
    /// The delay after the first failure.
    pub first: Duration,
    /// The most that any delay has, but for jitter.
    pub most: Duration,
}

impl Backoff {
    /// The delay after `failures` failures in a row, of which there is at least one.
    pub(crate) fn after(&self, failures: u32, random: &mut fastrand::Rng) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let delay = self.first.saturating_mul(1 << doublings).min(self.most.max(self.first));
        delay.mul_f64(1.0 + JITTER * (2.0 * random.f64() - 1.0))
    }
}

/// Attempts at one thing that failed in a row, and when the next is due.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Failures {
    count: u32,
}

impl Failures {
    /// Counts one more; answers how long to wait.
    pub(crate) fn record(&mut self, backoff: &Backoff, random: &mut fastrand::Rng) -> Duration {
        self.count = self.count.saturating_add(1);
        backoff.after(self.count, random)
    }

    /// It worked.
    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    /// How many there were since it last worked.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff =
        Backoff { first: Duration::from_millis(100), most: Duration::from_millis(1_000) };

    #[test]
    fn delays_double_up_to_the_most() {
        let mut random = fastrand::Rng::with_seed(7);
        for (failures, wanted_ms) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1_000), (u32::MAX, 1_000)] {
            let delay = BACKOFF.after(failures, &mut random).as_secs_f64() * 1e3;
            let wanted = f64::from(wanted_ms);
            assert!((wanted * 0.8..=wanted * 1.2).contains(&delay), "{failures} failures: {delay} ms");
        }
    }

    #[test]
    fn delays_vary() {
        let mut random = fastrand::Rng::with_seed(7);
        let delays: Vec<_> = (0..8).map(|_| BACKOFF.after(3, &mut random)).collect();
        assert!(delays.iter().any(|delay| *delay != delays[0]));
    }

    #[test]
    fn a_first_delay_above_the_most_is_taken_at_its_word() {
        let odd = Backoff { first: Duration::from_secs(2), most: Duration::from_secs(1) };
        let delay = odd.after(1, &mut fastrand::Rng::with_seed(7));
        assert!(delay >= Duration::from_millis(1_600), "{delay:?}");
    }
}
