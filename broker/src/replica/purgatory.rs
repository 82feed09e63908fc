//! Where fetches wait for records that are not there yet.
//!
//! Each partition keeps the list of those who wait on it. A fetch that finds too little registers with all its
//! partitions, looks once more, and sleeps; an append tells the list how many bytes came, and whoever has enough
//! wakes. Most partitions have nobody waiting, and then an append pays one atomic load.
//!
//! The race that the second look closes: the fetch reads and finds nothing; an append comes and sees an empty
//! list; the fetch registers and would sleep although its records are there. Registering before the last look
//! makes one of the two see the other.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use tokio::sync::Notify;

/// A fetch that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// Bytes still missing; an append takes off what it adds.
    missing_bytes: AtomicI64,
    ready: Notify,
}

impl Waiter {
    /// Waits for `missing_bytes` more.
    pub(crate) fn new(missing_bytes: i64) -> Arc<Self> {
        Arc::new(Self { missing_bytes: AtomicI64::new(missing_bytes), ready: Notify::new() })
    }

    /// Returns once enough came, or at once if it came before the call.
    pub(crate) async fn wait(&self) {
        self.ready.notified().await;
    }

    fn add(&self, bytes: i64) {
        if self.missing_bytes.fetch_sub(bytes, Ordering::AcqRel) <= bytes {
            self.ready.notify_one();
        }
    }
}

/// Those who wait on one partition. A leaf lock: nothing else is locked or awaited while it is held.
#[derive(Debug, Default)]
pub(crate) struct Purgatory {
    occupied: AtomicBool,
    waiters: Mutex<Vec<Arc<Waiter>>>,
}

impl Purgatory {
    /// Adds `waiter` until [`Purgatory::leave`].
    pub(crate) fn enter(&self, waiter: &Arc<Waiter>) {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.push(Arc::clone(waiter));
        self.occupied.store(true, Ordering::SeqCst);
    }

    /// Takes `waiter` off the list.
    pub(crate) fn leave(&self, waiter: &Arc<Waiter>) {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = waiters.iter().position(|w| Arc::ptr_eq(w, waiter)) {
            waiters.swap_remove(at);
        }
        if waiters.is_empty() {
            self.occupied.store(false, Ordering::SeqCst);
        }
    }

    /// Says that `bytes` more can be read.
    pub(crate) fn added(&self, bytes: usize) {
        // Pairs with `enter`: the end offset was published before this load, the waiter looks after its store.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.occupied.load(Ordering::SeqCst) {
            let waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
            waiters.iter().for_each(|w| w.add(bytes as i64));
        }
    }

    /// Wakes everybody: the partition changed in a way that their answer must tell.
    pub(crate) fn wake_all(&self) {
        let waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.iter().for_each(|w| w.ready.notify_one());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;

    fn is_ready(waiter: &Waiter) -> bool {
        pin!(waiter.wait()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_waiter_wakes_when_enough_bytes_came_from_all_its_partitions() {
        let (a, b) = (Purgatory::default(), Purgatory::default());
        let waiter = Waiter::new(100);
        a.enter(&waiter);
        b.enter(&waiter);
        a.added(60);
        assert!(!is_ready(&waiter));
        b.added(40);
        assert!(is_ready(&waiter));
    }

    #[test]
    fn who_left_is_not_woken() {
        let purgatory = Purgatory::default();
        let (left, stays) = (Waiter::new(1), Waiter::new(1));
        purgatory.enter(&left);
        purgatory.enter(&stays);
        purgatory.leave(&left);
        purgatory.added(1);
        assert!(!is_ready(&left));
        assert!(is_ready(&stays));
    }

    #[test]
    fn a_change_wakes_everybody() {
        let purgatory = Purgatory::default();
        let waiter = Waiter::new(i64::MAX);
        purgatory.enter(&waiter);
        purgatory.wake_all();
        assert!(is_ready(&waiter));
    }
}
