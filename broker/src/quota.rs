//! How fast somebody goes, and how long they must hold off: Kafka's `Rate` over samples, without a clock.
//!
//! What was counted lies in samples of one length each; the rate is what the samples hold, over the time that they span. Whoever
//! is past the bound is held off until the rate would be back at it (KIP-13, KIP-124).

use std::collections::VecDeque;

/// How samples are kept: `quota.window.num` and `quota.window.size.seconds`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    /// Samples, at least 1.
    pub(crate) count: usize,
    /// Length of one, in ms, at least 1.
    pub(crate) size_ms: i64,
}

/// What was counted lately.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    start_ms: i64,
    sum: f64,
}

impl Meter {
    /// Counts `amount`, and gives the time in ms to hold off, at most `throttle_max_ms`; 0 within `bound` a second.
    pub(crate) fn record(
        &mut self,
        amount: f64,
        bound: f64,
        windows: Windows,
        now_ms: i64,
        throttle_max_ms: i64,
    ) -> i64 {
        match self.samples.back_mut() {
            Some(last) if now_ms.saturating_sub(last.start_ms) < windows.size_ms => last.sum += amount,
            _ => {
                self.samples.push_back(Sample { start_ms: now_ms, sum: amount });
                // As many as count, beside the one that is open.
                while self.samples.len() > windows.count.max(1) + 1 {
                    self.samples.pop_front();
                }
            }
        }
        let span_ms = self.span_ms(windows, now_ms) as f64;
        let rate = self.samples.iter().map(|sample| sample.sum).sum::<f64>() / (span_ms / 1000.0);
        if rate <= bound {
            return 0;
        }
        // A float that is too large, or not a number, becomes the largest, or 0.
        (((rate - bound) / bound * span_ms).round() as i64).clamp(0, throttle_max_ms)
    }

    /// The time that the samples stand for, once those are gone that are too old: at least that of all full windows but one,
    /// so that the first request of all is not a rate by itself.
    fn span_ms(&mut self, windows: Windows, now_ms: i64) -> i64 {
        let count = i64::try_from(windows.count.max(1)).unwrap_or(i64::MAX);
        let size_ms = windows.size_ms.max(1);
        let kept_ms = count.saturating_mul(size_ms);
        while self.samples.front().is_some_and(|it| now_ms.saturating_sub(it.start_ms) >= kept_ms) {
            self.samples.pop_front();
        }
        let elapsed_ms = self.samples.front().map_or(0, |it| now_ms.saturating_sub(it.start_ms)).max(0);
        let missing = (count - 1 - elapsed_ms / size_ms).max(0);
        elapsed_ms.saturating_add(missing.saturating_mul(size_ms)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOWS: Windows = Windows { count: 11, size_ms: 1000 };

    #[test]
    fn who_is_within_the_bound_is_not_held_off() {
        let mut meter = Meter::default();
        for second in 0..60 {
            assert_eq!(meter.record(100.0, 100.0, WINDOWS, second * 1000, 10_000), 0, "second {second}");
        }
    }

    #[test]
    fn who_is_past_the_bound_is_held_off_until_the_rate_is_back_at_it() {
        let mut meter = Meter::default();
        // 2,000 in what counts as 10 seconds is 200 a second, twice too much: another 10 seconds.
        assert_eq!(meter.record(2000.0, 100.0, WINDOWS, 0, i64::MAX), 10_000);
        let mut meter = Meter::default();
        assert_eq!(meter.record(2000.0, 100.0, WINDOWS, 0, 1_500), 1_500, "no longer than the limit");
        assert_eq!(meter.record(0.0, 100.0, WINDOWS, 11_000, 10_000), 0, "it is forgotten by then");
    }

    proptest! {
        #[test]
        fn in_the_long_run_nobody_who_holds_off_is_faster_than_the_bound(
            amounts in proptest::collection::vec(1.0f64..5_000.0, 50..200),
        ) {
            let (mut meter, mut now_ms) = (Meter::default(), 0);
            let bound = 1_000.0;
            for amount in &amounts {
                now_ms += 1 + meter.record(*amount, bound, WINDOWS, now_ms, i64::MAX);
            }
            // The windows let a burst through: what the bound gives in their time, and what was under way.
            let burst = bound * 11.0 + 5_000.0;
            let sent: f64 = amounts.iter().sum();
            prop_assert!(sent <= bound * (now_ms as f64 / 1000.0) + burst, "{sent} in {now_ms} ms");
        }
    }
}
