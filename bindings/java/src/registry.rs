//! What Java holds: numbers, not pointers. One that is no longer known, or never was, is an error and not a crash.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

use ottla_bindings::{Admin, BindingError, Producer, TokenRequest, core::Rebalance, error::Result};

use crate::queue::Queue;

/// Numbers are never given twice.
static NEXT: AtomicI64 = AtomicI64::new(1);

pub(crate) static QUEUES: Registry<Arc<Queue>> = Registry::new();
pub(crate) static PRODUCERS: Registry<Producer> = Registry::new();
pub(crate) static CONSUMERS: Registry<crate::consumer::Reader> = Registry::new();
pub(crate) static ADMINS: Registry<Admin> = Registry::new();
/// Steps of rebalances that Java is busy with: the group waits until they are let go.
pub(crate) static REBALANCES: Registry<Arc<Rebalance>> = Registry::new();

/// Tokens that Java was asked for.
pub(crate) static TOKEN_REQUESTS: Registry<Arc<TokenRequest>> = Registry::new();

/// Things by their number.
pub(crate) struct Registry<T>(LazyLock<RwLock<HashMap<i64, T>>>);

impl<T: Clone> Registry<T> {
    const fn new() -> Self {
        Self(LazyLock::new(RwLock::default))
    }

    /// A number for something that is made now, and will be put there.
    pub(crate) fn number(&self) -> i64 {
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn put(&self, number: i64, value: T) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(number, value);
    }

    /// What has this number; `CLOSED` if it was let go.
    #[inline]
    pub(crate) fn get(&self, number: i64) -> Result<T> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&number)
            .cloned()
            .ok_or_else(BindingError::closed)
    }

    /// Lets it go. Dropped by the caller, without the lock.
    pub(crate) fn take(&self, number: i64) -> Option<T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }
}

impl<T> std::fmt::Debug for Registry<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

/// Makes it, and gives it its number.
pub(crate) fn registered<T: Clone>(registry: &Registry<T>, value: T) -> i64 {
    let number = registry.number();
    registry.put(number, value);
    number
}
