//! A process that was forked has the memory of its parent, but none of its threads: a client there would wait for ever, or
//! send what its parent sends too. So every handle knows the process that made it: used in another one it fails, dropped there
//! it is left alone.

use std::{
    fmt,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::error::{BindingError, Result};

/// Counts the forks between the first process and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);
static WATCHED: Once = Once::new();

/// The generation of this process.
fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

#[cfg(unix)]
fn watch() {
    extern "C" fn in_child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
    WATCHED.call_once(|| {
        // SAFETY: the handler touches an atomic and nothing else, so it may run between fork and exec, with whatever locks
        // held by threads that are gone; it is a function of this library, and libc forgets it when that is unloaded.
        let failed = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        if failed != 0 {
            tracing::warn!(errno = failed, "forks are not noticed");
        }
    });
}

#[cfg(not(unix))]
fn watch() {
    // There is no fork.
    WATCHED.call_once(|| {});
}

/// Something that is of use only in the process that made it.
pub struct Guarded<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Guarded<T> {
    /// Made by this process.
    pub fn new(value: T) -> Self {
        watch();
        Self { generation: generation(), value: Some(value) }
    }

    /// The value; `FORKED` in a child of the process that made it.
    #[inline]
    pub fn get(&self) -> Result<&T> {
        match &self.value {
            Some(value) if !self.is_foreign() => Ok(value),
            _ => Err(BindingError::forked()),
        }
    }

    /// Whether another process, a parent, made it.
    #[inline]
    pub fn is_foreign(&self) -> bool {
        self.generation != generation()
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        if self.is_foreign() {
            // To drop it is to wait for threads that are not there, or to take locks that they hold.
            std::mem::forget(self.value.take());
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Ok(value) => value.fmt(f),
            Err(_) => f.write_str("Forked"),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::error::FORKED;

    /// Ends the process it is dropped in, so that a child that drops what it must not is seen.
    struct Deadly;

    impl Drop for Deadly {
        fn drop(&mut self) {
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(9) }
        }
    }

    #[test]
    fn a_child_is_told_and_drops_nothing() {
        let guarded = Guarded::new(Deadly);
        // SAFETY: the child calls nothing but what is looked at here, and ends by `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let is_refused = guarded.get().err().map(|error| error.code) == Some(FORKED);
            drop(guarded);
            // SAFETY: ends the child without running what the parent has registered.
            unsafe { libc::_exit(i32::from(!is_refused)) }
        }
        let mut status = -1;
        // SAFETY: `status` lives through the call.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0, "0 is refused and left alone, 1 not refused, 9 dropped");
        assert!(guarded.get().is_ok());
        std::mem::forget(guarded);
    }
}
