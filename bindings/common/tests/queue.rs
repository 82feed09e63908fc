//! The completion queue on one machine; `queue_loom.rs` has its races.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use ottla_bindings::CompletionQueue;

fn counting() -> (Arc<CompletionQueue<u32>>, Arc<AtomicUsize>) {
    let (queue, count) = (Arc::new(CompletionQueue::new()), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    queue.set_wake(Some(Arc::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    })));
    (queue, count)
}

#[test]
fn one_wake_for_all_that_comes_before_the_drain() {
    let (queue, wakes) = counting();
    (0..1_000).for_each(|item| queue.push(item));
    assert_eq!(wakes.load(Ordering::SeqCst), 1);
    let mut out = Vec::new();
    assert_eq!(queue.drain(&mut out, usize::MAX), 1_000);
    assert!(out.iter().copied().eq(0..1_000));
    queue.push(7);
    assert_eq!(wakes.load(Ordering::SeqCst), 2);
}

#[test]
fn what_a_drain_leaves_wakes_again() {
    let (queue, wakes) = counting();
    (0..5).for_each(|item| queue.push(item));
    let mut out = Vec::new();
    assert_eq!(queue.drain(&mut out, 2), 2);
    assert_eq!(wakes.load(Ordering::SeqCst), 2);
    queue.put_back(1);
    assert_eq!((queue.drain(&mut out, 9), out), (4, vec![0, 1, 1, 2, 3, 4]));
    assert_eq!((queue.drain(&mut Vec::new(), 9), wakes.load(Ordering::SeqCst)), (0, 2));
}

#[test]
fn who_comes_late_is_woken_at_once() {
    let queue = CompletionQueue::new();
    queue.push(1);
    let woken = Arc::new(AtomicUsize::new(0));
    let counted = woken.clone();
    queue.set_wake(Some(Arc::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    })));
    assert_eq!(woken.load(Ordering::SeqCst), 1);
}

#[test]
fn a_wait_ends_by_an_item_an_interrupt_or_its_time() {
    let queue = Arc::new(CompletionQueue::new());
    assert!(!queue.wait(Some(Duration::from_millis(1))));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| queue.wait(None));
        queue.push(3);
        assert!(waiter.join().unwrap());
        queue.drain(&mut Vec::new(), 1);
        let waiter = scope.spawn(|| queue.wait(None));
        // Whether it waits already or not: an interrupt is for those that do.
        while !waiter.is_finished() {
            queue.interrupt();
            thread::yield_now();
        }
        assert!(!waiter.join().unwrap());
    });
}
