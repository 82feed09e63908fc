//! How fast somebody goes, and how long they must hold off, without a clock: Kafka's `Rate` over samples, and its `TokenBucket`.

use std::collections::VecDeque;

/// How samples are kept: `quota.window.num` and `quota.window.size.seconds`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Windows {
    /// Samples, at least 1.
    count: i64,
    /// Length of one, in ms, at least 1.
    size_ms: i64,
}

impl Windows {
    /// `count` samples of `size_s` seconds each.
    pub(crate) fn new(count: i32, size_s: i32) -> Self {
        Self { count: i64::from(count.max(1)), size_ms: i64::from(size_s.max(1)) * 1000 }
    }

    /// Length of one sample, in ms.
    pub(crate) fn size_ms(self) -> i64 {
        self.size_ms
    }

    /// After this time without anything counted, nothing is remembered.
    pub(crate) fn memory_ms(self) -> i64 {
        self.count.saturating_mul(self.size_ms)
    }

    /// Seconds of a quota that may be used at once without going past it.
    pub(crate) fn burst_s(self) -> f64 {
        ((self.count - 1) * self.size_ms) as f64 / 1000.0
    }
}

/// What was counted lately (`SampledStat`, `Rate`): the rate is what the samples hold, over the time that they span.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    start_ms: i64,
    last_ms: i64,
    sum: f64,
}

impl Meter {
    /// Counts `amount`; a negative one takes back what was counted at the same time.
    pub(crate) fn record(&mut self, amount: f64, windows: Windows, now_ms: i64) {
        match self.samples.back_mut() {
            Some(last) if now_ms.saturating_sub(last.start_ms) < windows.size_ms => {
                last.sum += amount;
                last.last_ms = last.last_ms.max(now_ms);
            }
            _ => {
                self.samples.push_back(Sample { start_ms: now_ms, last_ms: now_ms, sum: amount });
                // As many as count, beside the one that overlaps them at the far end.
                while self.samples.len() as i64 > windows.count + 1 {
                    self.samples.pop_front();
                }
            }
        }
    }

    /// The time in ms until the rate is back at `bound` a second, if nothing more is counted; 0 within it. If O is the rate over
    /// W, and T the bound, the X with O · W / (W + X) = T (`QuotaUtils.throttleTime`).
    pub(crate) fn hold_off_ms(&mut self, bound: f64, windows: Windows, now_ms: i64) -> i64 {
        let span_ms = self.span_ms(windows, now_ms) as f64;
        let rate = self.samples.iter().map(|sample| sample.sum).sum::<f64>() / (span_ms / 1000.0);
        if rate <= bound {
            return 0;
        }
        // A float that is too large, or not a number, becomes the largest, or 0.
        (((rate - bound) / bound * span_ms).round() as i64).max(0)
    }

    /// The time that the samples stand for, once those are gone that are too old: at least that of all full windows but one,
    /// so that the first request of all is not a rate by itself.
    fn span_ms(&mut self, windows: Windows, now_ms: i64) -> i64 {
        let memory_ms = windows.memory_ms();
        while self.samples.front().is_some_and(|it| now_ms.saturating_sub(it.last_ms) >= memory_ms) {
            self.samples.pop_front();
        }
        let elapsed_ms = self.samples.front().map_or(0, |it| now_ms.saturating_sub(it.start_ms)).max(0);
        let missing = (windows.count - 1 - elapsed_ms / windows.size_ms).max(0);
        elapsed_ms.saturating_add(missing.saturating_mul(windows.size_ms)).max(1)
    }
}

/// Tokens that come in at the bound's rate, at most those of all windows (`TokenBucket`, KIP-599). What takes more than
/// there are is let through, and leaves a debt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    updated_ms: i64,
}

impl Default for Bucket {
    /// Full, however large the burst.
    fn default() -> Self {
        Self { tokens: f64::INFINITY, updated_ms: 0 }
    }
}

impl Bucket {
    /// Takes `amount` tokens.
    pub(crate) fn record(&mut self, amount: f64, bound: f64, windows: Windows, now_ms: i64) {
        self.refill(bound, windows, now_ms);
        self.tokens -= amount;
    }

    /// The time in ms until there is no debt; 0 if there is none.
    pub(crate) fn hold_off_ms(&mut self, bound: f64, windows: Windows, now_ms: i64) -> i64 {
        self.refill(bound, windows, now_ms);
        if self.tokens >= 0.0 { 0 } else { (-self.tokens / bound * 1000.0).ceil() as i64 }
    }

    fn refill(&mut self, bound: f64, windows: Windows, now_ms: i64) {
        let elapsed_s = now_ms.saturating_sub(self.updated_ms).max(0) as f64 / 1000.0;
        let burst = bound * windows.memory_ms() as f64 / 1000.0;
        self.tokens = (self.tokens + bound * elapsed_s).min(burst);
        self.updated_ms = self.updated_ms.max(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn windows() -> Windows {
        Windows::new(11, 1)
    }

    fn counted(meter: &mut Meter, amount: f64, bound: f64, now_ms: i64) -> i64 {
        meter.record(amount, windows(), now_ms);
        meter.hold_off_ms(bound, windows(), now_ms)
    }

    #[test]
    fn who_is_within_the_bound_is_not_held_off() {
        let mut meter = Meter::default();
        // All at the beginning of each second: ten seconds and an instant hold eleven of them.
        for second in 0..60 {
            assert_eq!(counted(&mut meter, 100.0, 110.0, second * 1000), 0, "second {second}");
        }
    }

    #[test]
    fn who_is_past_the_bound_is_held_off_until_the_rate_is_back_at_it() {
        let mut meter = Meter::default();
        // 2,000 in what counts as 10 seconds is 200 a second, twice too much: another 10 seconds.
        assert_eq!(counted(&mut meter, 2000.0, 100.0, 0), 10_000);
        assert_eq!(meter.hold_off_ms(100.0, windows(), 5_500), 9_500, "the second that has begun counts");
        assert_eq!(counted(&mut meter, 0.0, 100.0, 11_000), 0, "it is forgotten by then");
    }

    /// The history that Kafka's `ClientQuotaManagerTest` expects 2,100 ms of.
    #[test]
    fn a_spike_is_held_off_as_long_as_by_kafka_and_forgotten_when_its_sample_is() {
        let mut meter = Meter::default();
        let mut now_ms = 0;
        for _ in 0..10 {
            assert_eq!(counted(&mut meter, 400.0, 500.0, now_ms), 0);
            now_ms += 1000;
        }
        now_ms += 500;
        // 6,300 in 10.5 seconds, of which the last half is of a window that has begun.
        assert_eq!(counted(&mut meter, 2300.0, 500.0, now_ms), 2100);
        now_ms += 2100;
        for _ in 0..10 {
            counted(&mut meter, 400.0, 500.0, now_ms);
            now_ms += 1000;
        }
        assert_eq!(counted(&mut meter, 0.0, 500.0, now_ms), 0);
    }

    #[test]
    fn what_is_taken_back_does_not_count() {
        let mut meter = Meter::default();
        meter.record(5000.0, windows(), 7);
        meter.record(-5000.0, windows(), 7);
        assert_eq!(meter.hold_off_ms(100.0, windows(), 7), 0);
    }

    #[test]
    fn a_meter_stays_small() {
        let mut meter = Meter::default();
        for ms in 0..100_000 {
            meter.record(1.0, windows(), ms);
        }
        assert!(meter.samples.len() <= 12, "{}", meter.samples.len());
    }

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_the_bound() {
        let mut bucket = Bucket::default();
        // A burst of 11 seconds, and one request more that leaves a debt.
        for _ in 0..11 {
            assert_eq!(bucket.hold_off_ms(5.0, windows(), 1000), 0);
            bucket.record(5.0, 5.0, windows(), 1000);
        }
        assert_eq!(bucket.hold_off_ms(5.0, windows(), 1000), 0);
        bucket.record(10.0, 5.0, windows(), 1000);
        assert_eq!(bucket.hold_off_ms(5.0, windows(), 1000), 2000);
        assert_eq!(bucket.hold_off_ms(5.0, windows(), 2500), 500);
        assert_eq!(bucket.hold_off_ms(5.0, windows(), 3000), 0);
    }

    proptest! {
        /// However a client spaces its requests, as long as it holds off when it is told to: over any stretch of time it had at
        /// most the bound, and one burst with the request that went past it.
        #[test]
        fn over_any_stretch_nobody_who_holds_off_is_faster_than_the_bound_and_a_burst(
            requests in proptest::collection::vec((1.0f64..5_000.0, prop_oneof![0i64..50, 0i64..3_000, 9_900i64..11_100]), 50..200),
        ) {
            const BOUND: f64 = 1_000.0;
            let (mut meter, mut now_ms) = (Meter::default(), 0);
            let mut sent = Vec::new();
            for (amount, pause_ms) in requests {
                now_ms += pause_ms;
                sent.push((now_ms, amount));
                now_ms += counted(&mut meter, amount, BOUND, now_ms);
            }
            for first in 0..sent.len() {
                let mut sum = 0.0;
                for &(at_ms, amount) in &sent[first..] {
                    sum += amount;
                    let stretch_s = (at_ms - sent[first].0) as f64 / 1000.0;
                    // What memory holds before the stretch and within it, and the last request.
                    let burst = BOUND * 2.0 * 11.0 + 5_000.0;
                    prop_assert!(sum <= BOUND * stretch_s + burst, "{sum} in {stretch_s} s");
                }
            }
            let all: f64 = sent.iter().map(|(_, amount)| amount).sum();
            prop_assert!(all <= BOUND * (now_ms as f64 / 1000.0) + BOUND * 11.0, "{all} in {now_ms} ms");
        }
    }
}
