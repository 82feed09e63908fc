//! How fast connections may come: to the broker and to a listener, which then accept later, and from one address, whose connections
//! are closed. Kafka's `ConnectionQuotas` (KIP-612), with a limit for addresses that nobody has set one for.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    metadata::SharedImage,
    quota::meter::{Meter, Windows},
};

/// Addresses whose connections are counted at the same time. Those beyond are not; `max.connections` stands above them.
const ADDRESSES_MAX: usize = 16_384;
/// Addresses below which nobody looks for those that make no connections any more.
const ADDRESSES_SWEPT_MIN: usize = 64;

/// The rates of the broker and of addresses. Its locks are leaves.
#[derive(Debug)]
pub(crate) struct ConnectionRates {
    image: SharedImage,
    windows: Windows,
    /// What meters count time from.
    epoch: Instant,
    broker: Option<Rate>,
    /// Where an address has no quota: `ottla.max.connection.creation.rate.per.ip`.
    per_ip_max: f64,
    addresses: Mutex<Addresses>,
}

/// How fast connections come to a broker or a listener, where that has a limit.
#[derive(Debug)]
pub(crate) struct Rate {
    max: f64,
    meter: Mutex<Meter>,
}

#[derive(Debug, Default)]
struct Addresses {
    by_ip: HashMap<IpAddr, Address>,
    /// As many addresses as lead to the next search for idle ones.
    sweep_at: usize,
}

#[derive(Debug, Default)]
struct Address {
    meter: Meter,
    last_ms: i64,
    told_ms: Option<i64>,
}

/// An address makes connections faster than it may.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TooFast {
    /// After this time it would not be.
    pub(crate) hold: Duration,
    /// How many a second it may make.
    pub(crate) max: f64,
    /// It was not said lately.
    pub(crate) is_news: bool,
}

impl Rate {
    /// At most `max` connections a second; nothing where that is no limit.
    pub(crate) fn new(max: i32) -> Option<Self> {
        (max != i32::MAX).then(|| Self { max: f64::from(max), meter: Mutex::default() })
    }

    fn count(&self, windows: Windows, now_ms: i64) -> Duration {
        let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        meter.record(1.0, windows, now_ms);
        bounded(meter.hold_off_ms(self.max, windows, now_ms), windows)
    }
}

impl ConnectionRates {
    /// At most `broker_max` connections a second in all, and `per_ip_max` from an address that has no quota. `epoch` is before any
    /// time that comes later.
    pub(crate) fn new(
        image: SharedImage,
        broker_max: i32,
        per_ip_max: i32,
        windows: Windows,
        epoch: Instant,
    ) -> Self {
        let (broker, per_ip_max) = (Rate::new(broker_max), f64::from(per_ip_max));
        Self { image, windows, epoch, broker, per_ip_max, addresses: Mutex::default() }
    }

    /// Counts a connection from `ip`, unless it is one too many.
    pub(crate) fn admit(&self, ip: IpAddr, now: Instant) -> Result<(), TooFast> {
        let ip = ip.to_canonical();
        let max = self.image.load().quotas().for_address(ip).unwrap_or(self.per_ip_max);
        let (now_ms, windows) = (self.ms(now), self.windows);
        let mut addresses = self.lock();
        let Some(address) = addresses.of(ip, now_ms, windows.memory_ms()) else { return Ok(()) };
        address.last_ms = address.last_ms.max(now_ms);
        address.meter.record(1.0, windows, now_ms);
        let hold = bounded(address.meter.hold_off_ms(max, windows, now_ms), windows);
        if hold.is_zero() {
            return Ok(());
        }
        // It does not come to be, so it does not count.
        address.meter.record(-1.0, windows, now_ms);
        let is_news = address.told_ms.is_none_or(|told| now_ms.saturating_sub(told) >= windows.memory_ms());
        if is_news {
            address.told_ms = Some(now_ms);
        }
        Err(TooFast { hold, max, is_news })
    }

    /// Counts a connection to the broker, and to a listener if that has a limit; gives how long to wait before it is taken.
    pub(crate) fn delay(&self, listener: Option<&Rate>, now: Instant) -> Duration {
        let now_ms = self.ms(now);
        let delays =
            [self.broker.as_ref(), listener].map(|rate| rate.map(|it| it.count(self.windows, now_ms)));
        delays.into_iter().flatten().max().unwrap_or_default()
    }

    fn ms(&self, now: Instant) -> i64 {
        i64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(i64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Addresses {
    fn of(&mut self, ip: IpAddr, now_ms: i64, memory_ms: i64) -> Option<&mut Address> {
        if !self.by_ip.contains_key(&ip) {
            if self.by_ip.len() >= self.sweep_at.clamp(ADDRESSES_SWEPT_MIN, ADDRESSES_MAX) {
                self.by_ip.retain(|_, address| now_ms.saturating_sub(address.last_ms) < memory_ms);
                self.sweep_at = self.by_ip.len() * 2;
            }
            if self.by_ip.len() >= ADDRESSES_MAX {
                return None;
            }
        }
        Some(self.by_ip.entry(ip).or_default())
    }
}

/// No longer than a window, as in Kafka.
fn bounded(hold_off_ms: i64, windows: Windows) -> Duration {
    Duration::from_millis(hold_off_ms.clamp(0, windows.size_ms()).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metadata::{
        Image, PublishedImage,
        quotas::{Entity, QuotaKey},
    };

    fn rates(
        broker_max: i32,
        per_ip_max: i32,
        quotas: &[(Option<&str>, f64)],
        epoch: Instant,
    ) -> ConnectionRates {
        let kind = "ip".into();
        let records = quotas.iter().map(|(name, max)| {
            let name = name.map(Into::into);
            let entity = Entity::of([(&kind, name.as_ref())]).unwrap();
            entity.record(QuotaKey::ConnectionCreationRate, Some(*max)).into()
        });
        let image = Image::new("cluster".into()).apply(&records.collect::<Vec<_>>(), 1).unwrap();
        let image = Arc::new(PublishedImage::new(Arc::new(image)));
        ConnectionRates::new(image, broker_max, per_ip_max, Windows::new(11, 1), epoch)
    }

    fn admitted(rates: &ConnectionRates, ip: &str, connections: usize, now: Instant) -> usize {
        let ip = ip.parse().unwrap();
        (0..connections).filter(|_| rates.admit(ip, now).is_ok()).count()
    }

    #[test]
    fn an_address_makes_no_more_connections_than_its_quota_or_the_default() {
        let epoch = Instant::now();
        let rates = rates(i32::MAX, 20, &[(Some("10.0.0.1"), 3.0)], epoch);
        // Ten windows are free to begin with.
        assert_eq!(admitted(&rates, "10.0.0.1", 100, epoch), 30);
        assert_eq!(admitted(&rates, "10.0.0.2", 300, epoch), 200);
        assert_eq!(admitted(&rates, "::ffff:10.0.0.1", 100, epoch), 0, "the same address");
        let again = epoch + Duration::from_secs(20);
        assert_eq!(admitted(&rates, "10.0.0.1", 100, again), 30);
    }

    #[test]
    fn it_is_said_once_and_nobody_is_held_longer_than_a_window() {
        let epoch = Instant::now();
        let rates = rates(i32::MAX, 1000, &[(None, 1.0)], epoch);
        assert_eq!(admitted(&rates, "10.0.0.1", 10, epoch), 10);
        let ip = "10.0.0.1".parse().unwrap();
        let first = rates.admit(ip, epoch).unwrap_err();
        assert_eq!(first, TooFast { hold: Duration::from_secs(1), max: 1.0, is_news: true });
        assert!(!rates.admit(ip, epoch).unwrap_err().is_news);
    }

    #[test]
    fn a_broker_and_a_listener_make_connections_wait() {
        let epoch = Instant::now();
        let rates = rates(4, 1000, &[], epoch);
        let listener = Rate::new(2);
        let delays = |count: usize| {
            (0..count).map(|_| rates.delay(listener.as_ref(), epoch)).filter(|delay| !delay.is_zero()).count()
        };
        assert_eq!(delays(20), 0);
        assert_eq!(delays(5), 5, "the listener's limit");
        assert_eq!(rates.delay(None, epoch), Duration::ZERO);
        let more: Vec<_> = (0..20).map(|_| rates.delay(None, epoch)).collect();
        assert!(more.last().is_some_and(|delay| *delay > Duration::ZERO), "the broker's limit: {more:?}");
        assert!(Rate::new(i32::MAX).is_none());
    }

    #[test]
    fn addresses_that_are_gone_take_no_memory() {
        let epoch = Instant::now();
        let rates = rates(i32::MAX, 1000, &[], epoch);
        for second in 0..50u32 {
            for host in 0..1_000u32 {
                let ip = IpAddr::from((0x0a00_0000 + second * 1_000 + host).to_be_bytes());
                rates.admit(ip, epoch + Duration::from_secs(second.into())).unwrap();
            }
        }
        let there = rates.lock().by_ip.len();
        assert!(there <= ADDRESSES_MAX, "{there} of 50,000");
    }
}
