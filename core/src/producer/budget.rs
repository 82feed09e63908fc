//! `buffer.memory`: the bytes that records not yet acknowledged may take.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Bytes to be had, first come, first served.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    semaphore: Arc<Semaphore>,
    total_bytes: usize,
}

impl Budget {
    /// A budget of `total_bytes`.
    pub(crate) fn new(total_bytes: usize) -> Self {
        let total_bytes = total_bytes.min(Semaphore::MAX_PERMITS);
        Self { semaphore: Arc::new(Semaphore::new(total_bytes)), total_bytes }
    }

    /// All there is, taken or not.
    pub(crate) fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    /// What is not taken.
    pub(crate) fn free_bytes(&self) -> usize {
        self.semaphore.available_permits()
    }

    /// Takes `bytes` if they are there and nobody waits.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Reservation> {
        let permit = self.semaphore.try_acquire_many(u32::try_from(bytes).ok()?).ok()?;
        permit.forget();
        Some(Reservation { budget: self.clone(), bytes })
    }

    /// Takes `bytes` when they are there; never, if there are not that many. Dropping the future takes nothing.
    pub(crate) async fn take(&self, bytes: usize) -> Option<Reservation> {
        if bytes > self.total_bytes {
            return None;
        }
        let permit = self.semaphore.acquire_many(u32::try_from(bytes).ok()?).await.ok()?;
        permit.forget();
        Some(Reservation { budget: self.clone(), bytes })
    }
}

/// Bytes taken from a [`Budget`]; dropping gives them back.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Budget,
    bytes: usize,
}

impl Reservation {
    /// How many bytes are held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds what another holds.
    pub(crate) fn merge(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.budget.semaphore, &other.budget.semaphore));
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Parts with `bytes` of it, or with all if there are fewer.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { budget: self.budget.clone(), bytes }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.semaphore.add_permits(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_can_be_taken_again() {
        let budget = Budget::new(100);
        let mut first = budget.try_take(60).unwrap();
        assert!(budget.try_take(41).is_none());
        first.merge(budget.try_take(40).unwrap());
        assert_eq!((first.bytes(), budget.free_bytes()), (100, 0));
        let part = first.split(30);
        drop(first);
        assert_eq!(budget.free_bytes(), 70);
        drop(part);
        assert_eq!(budget.free_bytes(), 100);
    }

    #[tokio::test]
    async fn who_waits_is_served_before_who_comes_later() {
        let budget = Budget::new(100);
        let all = budget.try_take(100).unwrap();
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.take(80).await.map(|taken| taken.bytes()) }
        });
        tokio::task::yield_now().await;
        drop(all);
        assert!(budget.try_take(30).is_none(), "20 are left beside the 80 that were waited for");
        assert_eq!(waiting.await.unwrap(), Some(80));
    }

    #[tokio::test]
    async fn more_than_there_is_is_refused_at_once() {
        assert!(Budget::new(100).take(101).await.is_none());
    }
}
