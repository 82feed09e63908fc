//! Waiting on the program's own thread, where its language may have something to say: a signal, a thread that is to end.

use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{self, Context, Poll, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use crate::error::BindingError;

/// How long a wait goes on, at most, before it asks whether it is to be given up.
pub const SLICE: Duration = Duration::from_millis(50);

/// How long to wait, and what may end it before.
///
/// ```
/// use std::time::Duration;
/// use ottla_bindings::Wait;
///
/// let mut was_asked = 0;
/// let mut is_interrupted = || { was_asked += 1; was_asked > 2 };
/// let wait = Wait::at_most(Duration::from_secs(60)).unless(&mut is_interrupted);
/// let outcome = wait.on(std::future::pending::<()>());
/// assert_eq!(outcome.unwrap_err().code, ottla_bindings::error::CANCELLED);
/// ```
pub struct Wait<'a> {
    deadline: Option<Instant>,
    is_interrupted: Option<&'a mut dyn FnMut() -> bool>,
}

impl Wait<'_> {
    /// Until it is done.
    pub fn forever() -> Self {
        Self { deadline: None, is_interrupted: None }
    }

    /// So long, and then it fails with `TIMEOUT`.
    pub fn at_most(timeout: Duration) -> Self {
        // What lies beyond the clock's end never comes.
        Self { deadline: Instant::now().checked_add(timeout), is_interrupted: None }
    }

    /// As many milliseconds; for ever, if it is below zero.
    pub fn ms(timeout_ms: i64) -> Self {
        u64::try_from(timeout_ms)
            .map_or_else(|_| Self::forever(), |ms| Self::at_most(Duration::from_millis(ms)))
    }

    /// Asks `is_interrupted` every [`SLICE`], on this thread; once it says so, the wait fails with `CANCELLED`.
    pub fn unless<'b>(self, is_interrupted: &'b mut dyn FnMut() -> bool) -> Wait<'b> {
        Wait { deadline: self.deadline, is_interrupted: Some(is_interrupted) }
    }

    /// How long it still goes on; `None` for ever.
    pub fn left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits for a future, polled on this thread. If it is given up, the future is dropped.
    pub fn on<F: Future>(mut self, future: F) -> Result<F::Output, BindingError> {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return Ok(output);
            }
            self.check()?;
            match self.slice() {
                // Unparked before it parks, it does not park.
                Some(slice) => thread::park_timeout(slice),
                None => thread::park(),
            }
        }
    }

    /// Waits in slices until `is_there` says so, which waits no longer than it is told.
    pub fn until(mut self, mut is_there: impl FnMut(Option<Duration>) -> bool) -> Result<(), BindingError> {
        while !is_there(self.slice()) {
            self.check()?;
        }
        Ok(())
    }

    /// Whether it is to be given up.
    fn check(&mut self) -> Result<(), BindingError> {
        if self.is_interrupted.as_mut().is_some_and(|is_interrupted| is_interrupted()) {
            return Err(BindingError::cancelled("the wait was interrupted"));
        }
        match self.left() {
            Some(Duration::ZERO) => Err(BindingError::timeout("it was not done in the time given")),
            _ => Ok(()),
        }
    }

    /// Until when nobody need be asked.
    fn slice(&self) -> Option<Duration> {
        match (self.left(), &self.is_interrupted) {
            (Some(left), Some(_)) => Some(left.min(SLICE)),
            (None, Some(_)) => Some(SLICE),
            (left, None) => left,
        }
    }
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("left", &self.left()).finish_non_exhaustive()
    }
}

struct Unpark(Thread);

impl task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;
    use crate::error::{CANCELLED, TIMEOUT};

    #[test]
    fn what_is_there_is_not_waited_for_even_without_time() {
        assert_eq!(Wait::ms(0).on(ready(5)).unwrap(), 5);
    }

    #[test]
    fn its_time_ends_a_wait() {
        assert_eq!(Wait::ms(3).on(pending::<()>()).unwrap_err().code, TIMEOUT);
        assert_eq!(Wait::ms(0).until(|_| false).unwrap_err().code, TIMEOUT);
    }

    #[test]
    fn an_interrupt_ends_a_wait_without_end_within_a_few_slices() {
        let began = Instant::now();
        let mut is_interrupted = || began.elapsed() > SLICE;
        let error = Wait::forever().unless(&mut is_interrupted).on(pending::<()>()).unwrap_err();
        assert_eq!(error.code, CANCELLED);
    }

    #[test]
    fn another_thread_wakes_it() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let sending = thread::spawn(move || sender.send(9));
        assert_eq!(Wait::forever().on(receiver).unwrap().unwrap(), 9);
        sending.join().unwrap().unwrap();
    }
}
