//! Holds users and their clients to their quotas: what they may produce, be sent, keep the broker busy with, and change
//! (KIP-13, KIP-124, KIP-599), as Kafka's `ClientQuotaManager` counts it.
//!
//! Who goes past a quota is told so in the answer, and its connection is left alone for that long (KIP-219), which is the
//! connection's work. What is counted lies in meters, which all connections of those who share a quota have together. They are made
//! where a quota holds, and nowhere else; who has not logged in has none.

pub(crate) mod meter;

use std::{
    collections::HashMap,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ottla_protocol::types::Str;
use tokio::time::Instant;

use self::meter::{Bucket, Meter, Windows};
use crate::metadata::{
    SharedImage,
    quotas::{ClientQuotas, Quota, QuotaKey},
};

/// Meters there are at most, but for those of whole users. Beyond that the clients of a user share one, and all that are counted by
/// client id alone: it holds them off too soon, but never too late.
const METERS_MAX: usize = 20_000;
/// Meters below which nobody looks for those that are idle.
const METERS_SWEPT_MIN: usize = 64;
/// As much of a client id as tells one meter from another: client ids are chosen by whoever connects.
const CLIENT_ID_BYTES_MAX: usize = 256;

/// All meters of a broker.
#[derive(Debug)]
pub(crate) struct Quotas {
    image: SharedImage,
    windows: Windows,
    mutation_windows: Windows,
    /// What meters count time from.
    epoch: Instant,
    meters: Mutex<Meters>,
}

#[derive(Debug, Default)]
struct Meters {
    by_whom: HashMap<Whom, Arc<Mutex<Used>>>,
    /// As many meters as lead to the next search for idle ones.
    sweep_at: usize,
}

/// Who shares a meter: those of a user, of a client id, or of both; with neither, all for whom there was no room.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Whom {
    key: QuotaKey,
    user: Option<Str>,
    client_id: Option<Str>,
}

/// What was used of a quota.
#[derive(Debug, Default)]
struct Used {
    meter: Meter,
    /// Of changes, in place of the meter.
    bucket: Bucket,
    last_ms: i64,
}

impl Quotas {
    /// `windows` are those of bytes and time, `mutation_windows` those of changes. `epoch` is before any time that comes later.
    pub(crate) fn new(
        image: SharedImage,
        windows: Windows,
        mutation_windows: Windows,
        epoch: Instant,
    ) -> Self {
        Self { image, windows, mutation_windows, epoch, meters: Mutex::default() }
    }

    /// The quotas that hold for a user's client now, if there are any.
    pub(crate) fn held(&self, user: &str, client_id: &str, now: Instant) -> Option<Arc<Held>> {
        let image = self.image.load();
        let quotas = image.quotas();
        if quotas.are_none_of_clients() {
            *self.lock() = Meters::default();
            return None;
        }
        let now_ms = since(self.epoch, now);
        let (user, client_id) = (Str::from(user), Str::from(cut(client_id)));
        let limit = |key, windows| self.limit(quotas, key, windows, &user, &client_id, now_ms);
        let held = Held {
            epoch: self.epoch,
            produce: limit(QuotaKey::ProducerByteRate, self.windows),
            fetch: limit(QuotaKey::ConsumerByteRate, self.windows),
            request: limit(QuotaKey::RequestPercentage, self.windows),
            mutation: limit(QuotaKey::ControllerMutationRate, self.mutation_windows),
        };
        let limits = [&held.produce, &held.fetch, &held.request, &held.mutation];
        limits.iter().any(|limit| limit.is_some()).then(|| Arc::new(held))
    }

    fn limit(
        &self,
        quotas: &ClientQuotas,
        key: QuotaKey,
        windows: Windows,
        user: &Str,
        client_id: &Str,
        now_ms: i64,
    ) -> Option<Limit> {
        let Quota { bound, by_user, by_client_id } = quotas.for_client(key, user, client_id)?;
        let whom = Whom {
            key,
            user: by_user.then(|| user.clone()),
            client_id: by_client_id.then(|| client_id.clone()),
        };
        let forget_ms = self.windows.memory_ms().max(self.mutation_windows.memory_ms());
        let used = self.lock().of(whom, now_ms, forget_ms);
        Some(Limit { bound, windows, used })
    }

    fn lock(&self) -> MutexGuard<'_, Meters> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meters {
    /// The meter of `whom`; one that is not used, and remembers nothing, makes room for it.
    fn of(&mut self, mut whom: Whom, now_ms: i64, forget_ms: i64) -> Arc<Mutex<Used>> {
        if let Some(used) = self.by_whom.get(&whom) {
            return Arc::clone(used);
        }
        if self.by_whom.len() >= self.sweep_at.clamp(METERS_SWEPT_MIN, METERS_MAX) {
            self.by_whom.retain(|_, used| {
                Arc::strong_count(used) > 1 || now_ms.saturating_sub(lock(used).last_ms) < forget_ms
            });
            self.sweep_at = self.by_whom.len() * 2;
        }
        if self.by_whom.len() >= METERS_MAX {
            whom.client_id = None;
        }
        Arc::clone(self.by_whom.entry(whom).or_default())
    }
}

/// The quotas that hold for one client, with what it shares with others of them. A connection keeps it as long as neither the
/// quotas nor its client change.
#[derive(Debug)]
pub(crate) struct Held {
    epoch: Instant,
    produce: Option<Limit>,
    fetch: Option<Limit>,
    request: Option<Limit>,
    mutation: Option<Limit>,
}

#[derive(Debug)]
struct Limit {
    /// How much a second, in the unit of its key.
    bound: f64,
    windows: Windows,
    used: Arc<Mutex<Used>>,
}

impl Held {
    /// Counts a produce request of `bytes`; gives for how long its connection is to be left alone.
    pub(crate) fn produced(&self, bytes: usize, now: Instant) -> Duration {
        self.produce.as_ref().map_or(Duration::ZERO, |it| it.count(bytes as f64, since(self.epoch, now)))
    }

    /// Bytes that an answer may have so that its quota is not sure to be exceeded (`maxValueInQuotaWindow`).
    pub(crate) fn fetch_bytes_max(&self) -> usize {
        self.fetch.as_ref().map_or(usize::MAX, |it| (it.bound * it.windows.burst_s()) as usize)
    }

    /// Counts an answer of `bytes`, if it may be sent. If it may not, gives how long to hold off, and an empty one is sent.
    pub(crate) fn fetch(&self, bytes: usize, now: Instant) -> Duration {
        let (Some(limit), now_ms) = (&self.fetch, since(self.epoch, now)) else { return Duration::ZERO };
        let hold_off = limit.count(bytes as f64, now_ms);
        if !hold_off.is_zero() {
            lock(&limit.used).meter.record(-(bytes as f64), limit.windows, now_ms);
        }
        hold_off
    }

    /// Counts bytes that are sent in any case.
    pub(crate) fn sent(&self, bytes: usize, now: Instant) {
        if let Some(limit) = &self.fetch {
            limit.count(bytes as f64, since(self.epoch, now));
        }
    }

    /// Whether the time is counted for which requests keep the broker busy.
    pub(crate) fn counts_time(&self) -> bool {
        self.request.is_some()
    }

    /// Counts time for which a request kept a core busy; gives for how long its connection is to be left alone, at most a window
    /// (`ClientRequestQuotaManager`).
    pub(crate) fn busy(&self, time: Duration, now: Instant) -> Duration {
        const PERCENT: f64 = 100.0;
        self.request.as_ref().map_or(Duration::ZERO, |limit| {
            let hold_off = limit.count(time.as_secs_f64() * PERCENT, since(self.epoch, now));
            hold_off.min(Duration::from_millis(limit.windows.size_ms().unsigned_abs()))
        })
    }
}

impl Limit {
    fn count(&self, amount: f64, now_ms: i64) -> Duration {
        let mut used = lock(&self.used);
        used.last_ms = used.last_ms.max(now_ms);
        used.meter.record(amount, self.windows, now_ms);
        millis(used.meter.hold_off_ms(self.bound, self.windows, now_ms))
    }
}

/// What a request may change of topics and partitions (`ControllerMutationQuota`).
#[derive(Debug, Default)]
pub(crate) struct Mutations {
    held: Option<Arc<Held>>,
    /// What goes past the quota is refused; without it, only who asked is held off: older clients do not know the error.
    strict: bool,
    now: Option<Instant>,
    hold_off: Duration,
}

impl Mutations {
    /// Those of a request that came `now`.
    pub(crate) fn of(held: Option<&Arc<Held>>, strict: bool, now: Instant) -> Self {
        let held = held.filter(|held| held.mutation.is_some()).cloned();
        Self { held, strict, now: Some(now), hold_off: Duration::ZERO }
    }

    /// Counts partitions that are made or deleted; fails if that is too much.
    pub(crate) fn record(&mut self, partitions: usize) -> Result<(), ThrottlingQuotaExceeded> {
        let (Some(held), Some(now)) = (&self.held, self.now) else { return Ok(()) };
        let Some(Limit { bound, windows, used }) = &held.mutation else { return Ok(()) };
        let now_ms = since(held.epoch, now);
        let mut used = lock(used);
        used.last_ms = used.last_ms.max(now_ms);
        if self.strict {
            let hold_off = millis(used.bucket.hold_off_ms(*bound, *windows, now_ms));
            if !hold_off.is_zero() {
                self.hold_off = hold_off;
                return Err(ThrottlingQuotaExceeded { hold_off });
            }
            used.bucket.record(partitions as f64, *bound, *windows, now_ms);
        } else {
            used.bucket.record(partitions as f64, *bound, *windows, now_ms);
            self.hold_off = millis(used.bucket.hold_off_ms(*bound, *windows, now_ms));
        }
        Ok(())
    }

    /// For how long who asked is to hold off, in ms.
    pub(crate) fn throttle_time_ms(&self) -> i32 {
        throttle_time_ms(self.hold_off)
    }
}

/// A change is past the quota.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ThrottlingQuotaExceeded {
    /// After this time it would not be.
    pub(crate) hold_off: Duration,
}

/// A time to hold off, as answers tell it.
pub(crate) fn throttle_time_ms(hold_off: Duration) -> i32 {
    i32::try_from(hold_off.as_millis()).unwrap_or(i32::MAX)
}

/// Runs `future`; tells with what became of it for how long it kept this core busy, if that `is_counted`.
pub(crate) async fn timed<F: Future>(is_counted: bool, future: F) -> (F::Output, Duration) {
    let mut future = pin!(future);
    if !is_counted {
        return (future.await, Duration::ZERO);
    }
    let mut busy = Duration::ZERO;
    let output = std::future::poll_fn(|cx| {
        let began = Instant::now();
        let polled = future.as_mut().poll(cx);
        busy += began.elapsed();
        polled
    });
    let output = output.await;
    (output, busy)
}

fn lock(used: &Mutex<Used>) -> MutexGuard<'_, Used> {
    used.lock().unwrap_or_else(PoisonError::into_inner)
}

fn since(epoch: Instant, now: Instant) -> i64 {
    i64::try_from(now.saturating_duration_since(epoch).as_millis()).unwrap_or(i64::MAX)
}

fn millis(ms: i64) -> Duration {
    // No longer than an answer can tell.
    Duration::from_millis(u64::try_from(ms.clamp(0, i64::from(i32::MAX))).unwrap_or_default())
}

/// The beginning of a client id.
fn cut(client_id: &str) -> &str {
    client_id.get(..client_id.floor_char_boundary(CLIENT_ID_BYTES_MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
