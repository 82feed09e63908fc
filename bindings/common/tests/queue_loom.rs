//! The completion queue under loom: whoever is told by its wake, or by waiting, misses nothing, however threads take turns.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a test, over a copy of the queue"
)]

use loom::{
    sync::{Arc, Condvar, Mutex},
    thread,
};

mod sync {
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
}

#[path = "../src/queue.rs"]
mod queue;

use queue::{CompletionQueue, Wake};

/// A signal that lasts until it is cleared, as a file descriptor that is readable.
struct Signal {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn new() -> Self {
        Self { is_set: Mutex::new(false), changed: Condvar::new() }
    }

    fn wait(&self) {
        let mut is_set = self.is_set.lock().unwrap();
        while !*is_set {
            is_set = self.changed.wait(is_set).unwrap();
        }
    }
}

/// Loom's `Arc` has no trait objects.
struct Shared(Arc<Signal>);

impl Wake for Shared {
    fn wake(&self) {
        *self.0.is_set.lock().unwrap() = true;
        self.0.changed.notify_one();
    }

    fn clear(&self) {
        *self.0.is_set.lock().unwrap() = false;
    }
}

fn woken(max: usize) {
    let queue = Arc::new(CompletionQueue::new());
    let signal = Arc::new(Signal::new());
    queue.set_wake(Some(std::sync::Arc::new(Shared(signal.clone()))));
    let pushers: Vec<_> = (0..2)
        .map(|item| {
            let queue = queue.clone();
            thread::spawn(move || queue.push(item))
        })
        .collect();
    let mut out = Vec::new();
    while out.len() < 2 {
        // A lost wake is a deadlock here, which loom reports.
        signal.wait();
        queue.drain(&mut out, max);
    }
    out.sort_unstable();
    assert_eq!(out, [0, 1]);
    pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
}

#[test]
fn no_wake_is_lost_between_two_pushes_and_a_drain() {
    loom::model(|| woken(usize::MAX));
}

#[test]
fn no_wake_is_lost_when_a_drain_leaves_some() {
    loom::model(|| woken(1));
}

#[test]
fn nobody_waits_for_an_item_that_is_there() {
    loom::model(|| {
        let queue = Arc::new(CompletionQueue::new());
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || {
                    let mut out = Vec::new();
                    while out.is_empty() {
                        assert!(queue.wait(None));
                        queue.drain(&mut out, 1);
                    }
                    out[0]
                })
            })
            .collect();
        queue.push(1);
        queue.push(2);
        let mut taken: Vec<u32> = takers.into_iter().map(|taker| taker.join().unwrap()).collect();
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
    });
}

#[test]
fn an_interrupt_ends_a_wait_that_is_under_way() {
    loom::model(|| {
        let queue = Arc::new(CompletionQueue::<u32>::new());
        let pusher = {
            let queue = queue.clone();
            thread::spawn(move || {
                queue.interrupt();
                queue.push(1);
            })
        };
        // Ended by the interrupt or by the item, as it comes.
        let is_there = queue.wait(None);
        assert!(is_there || queue.wait(None));
        pusher.join().unwrap();
    });
}
