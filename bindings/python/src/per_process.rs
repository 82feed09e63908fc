//! What each process has one of: after a fork the child begins with a new one, since the threads of its parent's are not there.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ottla_bindings::fork::Guarded;

/// One for each process, made when it is first asked for. Never waits for a lock, which a thread might have held that is gone.
pub(crate) struct PerProcess<T>(ArcSwapOption<Guarded<Arc<T>>>);

impl<T: Send + Sync + 'static> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(ArcSwapOption::const_empty())
    }

    /// That of this process, if it was asked for before.
    pub(crate) fn get(&self) -> Option<Arc<T>> {
        self.0.load().as_ref().and_then(|made| made.get().ok().cloned())
    }

    /// That of this process; `start` is called with one that was made just now.
    pub(crate) fn get_or_start(&self, make: fn() -> T, start: fn(Arc<T>)) -> Arc<T> {
        loop {
            let before = self.0.load();
            if let Some(Ok(made)) = before.as_ref().map(|made| made.get()) {
                return Arc::clone(made);
            }
            let made = Arc::new(make());
            let ours = Some(Arc::new(Guarded::new(Arc::clone(&made))));
            let found = self.0.compare_and_swap(&before, ours);
            // Whoever comes second takes the first one's.
            let is_ours = match (found.as_ref(), before.as_ref()) {
                (None, None) => true,
                (Some(found), Some(before)) => Arc::ptr_eq(found, before),
                _ => false,
            };
            if is_ours {
                start(Arc::clone(&made));
                return made;
            }
        }
    }
}
