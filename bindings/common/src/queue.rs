//! The one place where everything asynchronous ends. Pushed to by I/O threads, drained in bulk by the program.
//!
//! Whoever pushes into an empty queue wakes, once; nobody wakes again before it was empty again. So a thousand
//! completions between two turns of an event loop cost one wake.
//!
//! How a race between a push and a drain goes: a drain takes the signal back before it takes the items, both under the lock;
//! a push signals after it let go of the lock. So an item that is in the queue was signalled after the last drain, or is about
//! to be; and what is signalled for an item that a drain has taken meanwhile wakes somebody for nothing, which does no harm.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use crate::sync::{Condvar, Mutex, MutexGuard};

/// Tells the program that there is something to drain. Called on an I/O thread; must not block, nor drain.
pub trait Wake: Send + Sync {
    /// There is something where there was nothing.
    fn wake(&self);

    /// The queue is about to be drained: takes back a signal that lasts, as that of a file descriptor.
    fn clear(&self) {}
}

impl<F: Fn() + Send + Sync> Wake for F {
    fn wake(&self) {
        self();
    }
}

/// A queue with one wake for all that comes while it is not empty. Not bounded by itself: what goes into it is bounded by
/// the calls under way and the number of clients; records and their reports stay with their client until they are asked for.
pub struct CompletionQueue<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    wake: Option<Arc<dyn Wake>>,
    /// How many threads are in [`CompletionQueue::wait`].
    waiting: usize,
    /// Counts calls of [`CompletionQueue::interrupt`].
    interrupts: u64,
}

impl<T> CompletionQueue<T> {
    /// An empty one that wakes nobody.
    pub fn new() -> Self {
        let state = State { items: VecDeque::new(), wake: None, waiting: 0, interrupts: 0 };
        Self { state: Mutex::new(state), arrived: Condvar::new() }
    }

    /// Sets who is woken; at once, if there is something already.
    pub fn set_wake(&self, wake: Option<Arc<dyn Wake>>) {
        let mut state = self.lock();
        let is_due = !state.items.is_empty();
        let before = std::mem::replace(&mut state.wake, wake.clone());
        drop(state);
        drop(before);
        if let Some(wake) = wake.filter(|_| is_due) {
            wake.wake();
        }
    }

    /// Adds an item at the end.
    pub fn push(&self, item: T) {
        let mut state = self.lock();
        let wake = if state.items.is_empty() { state.wake.clone() } else { None };
        state.items.push_back(item);
        if state.waiting > 0 {
            self.arrived.notify_one();
        }
        drop(state);
        if let Some(wake) = wake {
            wake.wake();
        }
    }

    /// Moves up to `max` items to the end of `out`, the oldest first; answers how many. If some are left, it wakes again.
    pub fn drain(&self, out: &mut Vec<T>, max: usize) -> usize {
        let mut state = self.lock();
        if let Some(wake) = &state.wake {
            wake.clear();
        }
        let count = state.items.len().min(max);
        out.extend(state.items.drain(..count));
        let again = if state.items.is_empty() { None } else { state.wake.clone() };
        drop(state);
        if let Some(wake) = again {
            wake.wake();
        }
        count
    }

    /// Puts an item before all others: what was taken and could not be used up.
    pub fn put_back(&self, item: T) {
        let mut state = self.lock();
        let wake = if state.items.is_empty() { state.wake.clone() } else { None };
        state.items.push_front(item);
        drop(state);
        if let Some(wake) = wake {
            wake.wake();
        }
    }

    /// Waits until there is something, [`Self::interrupt`] is called, or `timeout` is over; answers whether there is
    /// something.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.lock();
        let interrupts = state.interrupts;
        state.waiting += 1;
        while state.items.is_empty() && state.interrupts == interrupts {
            state = match deadline {
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.waiting -= 1;
        let is_there = !state.items.is_empty();
        if is_there && state.waiting > 0 {
            // Whoever was told of this item may not be the one who takes it.
            self.arrived.notify_one();
        }
        is_there
    }

    /// Ends all waits that are under way.
    pub fn interrupt(&self) {
        self.lock().interrupts += 1;
        self.arrived.notify_all();
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing of the callers' runs under the lock but `clear`, which leaves the state as it is.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for CompletionQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for CompletionQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletionQueue").field("len", &self.len()).finish_non_exhaustive()
    }
}
