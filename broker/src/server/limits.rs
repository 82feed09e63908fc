//! How many connections there may be: Kafka's `max.connections` and `max.connections.per.ip`; and, of those, how many that have
//! not shown yet who they are.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Counts connections, in all and by address. A leaf lock.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    max: usize,
    max_per_ip: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    by_ip: HashMap<IpAddr, usize>,
}

/// One open connection; dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Slot {
    limits: Arc<ConnectionLimits>,
    ip: IpAddr,
}

/// Why one more connection is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Full {
    Broker { max: usize },
    Ip { max: usize },
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker { max } => write!(f, "the broker holds {max} connections, its `max.connections`"),
            Self::Ip { max } => {
                write!(f, "the address holds {max} connections, its `max.connections.per.ip`")
            }
        }
    }
}

impl ConnectionLimits {
    pub(crate) fn new(max: usize, max_per_ip: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_ip, open: Mutex::default() })
    }

    /// How many connections are open.
    pub(crate) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// A slot for one more connection from `ip`.
    pub(crate) fn take(self: &Arc<Self>, ip: IpAddr) -> Result<Slot, Full> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.count >= self.max {
            return Err(Full::Broker { max: self.max });
        }
        let from_ip = open.by_ip.get(&ip).copied().unwrap_or(0);
        if from_ip >= self.max_per_ip {
            return Err(Full::Ip { max: self.max_per_ip });
        }
        open.count += 1;
        open.by_ip.insert(ip, from_ip + 1);
        Ok(Slot { limits: Arc::clone(self), ip })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.count -= 1;
        if let Some(count) = open.by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                open.by_ip.remove(&self.ip);
            }
        }
    }
}

/// Connections that have not shown yet who they are. They never refuse one more, which might be a friend: the oldest gives way,
/// and whoever knows the password is no stranger for long. A leaf lock.
#[derive(Debug)]
pub(crate) struct Strangers {
    max: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// What the next one is numbered.
    next: u64,
    by_age: BTreeMap<u64, Arc<Notify>>,
}

/// A connection that has not shown yet who it is, until this is dropped.
#[derive(Debug)]
pub(crate) struct Stranger {
    strangers: Arc<Strangers>,
    number: u64,
    gives_way: Arc<Notify>,
}

impl Strangers {
    /// At most `max` of them.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: max.max(1), waiting: Mutex::default() })
    }

    /// One more.
    pub(crate) fn take(self: &Arc<Self>) -> Stranger {
        let gives_way = Arc::new(Notify::new());
        let mut waiting = self.lock();
        while waiting.by_age.len() >= self.max {
            if let Some((_, oldest)) = waiting.by_age.pop_first() {
                oldest.notify_one();
            }
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.by_age.insert(number, Arc::clone(&gives_way));
        drop(waiting);
        Stranger { strangers: Arc::clone(self), number, gives_way }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stranger {
    /// Returns when this one has to give way.
    pub(crate) async fn gives_way(&self) {
        self.gives_way.notified().await;
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.strangers.lock().by_age.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_counted_by_address_and_in_all_and_come_back() {
        let limits = ConnectionLimits::new(3, 2);
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let first = limits.take(a).unwrap();
        let _second = limits.take(a).unwrap();
        assert_eq!(limits.take(a).unwrap_err(), Full::Ip { max: 2 });
        let _third = limits.take(b).unwrap();
        assert_eq!(limits.take(b).unwrap_err(), Full::Broker { max: 3 });
        drop(first);
        let _fourth = limits.take(b).unwrap();
        assert_eq!(limits.take(a).unwrap_err(), Full::Broker { max: 3 });
    }

    #[tokio::test]
    async fn the_oldest_stranger_gives_way_to_a_new_one() {
        let strangers = Strangers::new(2);
        let (first, second) = (strangers.take(), strangers.take());
        let third = strangers.take();
        first.gives_way().await;
        drop(second);
        let _fourth = strangers.take();
        let waits = tokio::time::timeout(std::time::Duration::ZERO, third.gives_way());
        assert!(waits.await.is_err(), "there was room");
    }
}
