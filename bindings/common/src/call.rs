//! What takes time: waited for on the program's thread, or run on the client's own and told of by a queue.

use std::{
    fmt,
    future::{Future, IntoFuture, poll_fn, ready},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use crate::{
    blocking::Wait,
    error::{BindingError, Result},
    panic::catch,
};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where a call can run without being waited for: the I/O thread of its client.
pub(crate) trait Spawn: Send + Sync {
    /// Runs it, unless the client is freed before.
    fn spawn(&self, task: BoxFuture<()>);
}

/// Something that takes time, not begun yet unless its function says so. [`Self::wait`] or [`Self::start`] it.
#[must_use = "a call does nothing before it is waited for, or started"]
pub struct Call<T>(State<T>);

enum State<T> {
    /// What cannot even begin.
    Refused(BindingError),
    Ready {
        future: BoxFuture<Result<T>>,
        spawner: Arc<dyn Spawn>,
    },
}

impl<T: Send + 'static> Call<T> {
    pub(crate) fn new(
        spawner: Arc<dyn Spawn>,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Self {
        Self(State::Ready { future: Box::pin(future), spawner })
    }

    /// One that fails at once.
    pub fn refused(error: BindingError) -> Self {
        Self(State::Refused(error))
    }

    /// Waits on this thread. To give up is to drop it; what it does to a cluster may be done all the same.
    pub fn wait(self, wait: Wait<'_>) -> Result<T> {
        match self.0 {
            State::Refused(error) => Err(error),
            State::Ready { future, .. } => wait.on(future)?,
        }
    }

    /// Runs on the client's I/O thread and calls `done` there, exactly once, with what came of it; it must not block. A call
    /// that is refused has it called at once, on this thread. A client that is freed ends its calls with `CANCELLED`.
    pub fn start(self, done: impl FnOnce(Result<T>) + Send + 'static) {
        match self.0 {
            State::Refused(error) => done(Err(error)),
            State::Ready { future, spawner } => {
                let mut done = Done::new(done);
                spawner.spawn(Box::pin(async move {
                    let outcome = future.await;
                    done.tell(outcome);
                }));
            }
        }
    }

    /// The call with its outcome turned into another.
    pub fn map<U: Send + 'static>(self, turn: impl FnOnce(T) -> U + Send + 'static) -> Call<U> {
        match self.0 {
            State::Refused(error) => Call::refused(error),
            State::Ready { future, spawner } => Call::new(spawner, async move { future.await.map(turn) }),
        }
    }
}

/// For languages that bring an executor of their own. To drop the future is to give up, as [`Call::wait`] does; a panic in it is an
/// error.
impl<T: Send + 'static> IntoFuture for Call<T> {
    type Output = Result<T>;
    type IntoFuture = BoxFuture<Result<T>>;

    fn into_future(self) -> Self::IntoFuture {
        match self.0 {
            State::Refused(error) => Box::pin(ready(Err(error))),
            State::Ready { mut future, .. } => {
                Box::pin(poll_fn(move |context| match catch(None, || Ok(future.as_mut().poll(context))) {
                    Ok(polled) => polled,
                    Err(panicked) => Poll::Ready(Err(panicked)),
                }))
            }
        }
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            State::Refused(error) => f.debug_tuple("Call").field(error).finish(),
            State::Ready { .. } => f.debug_tuple("Call").finish_non_exhaustive(),
        }
    }
}

/// Calls its function also where the task is dropped before its end.
struct Done<T, F: FnOnce(Result<T>)> {
    done: Option<F>,
    _outcome: PhantomData<fn(T)>,
}

impl<T, F: FnOnce(Result<T>)> Done<T, F> {
    fn new(done: F) -> Self {
        Self { done: Some(done), _outcome: PhantomData }
    }

    fn tell(&mut self, outcome: Result<T>) {
        if let Some(done) = self.done.take() {
            done(outcome);
        }
    }
}

impl<T, F: FnOnce(Result<T>)> Drop for Done<T, F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell(Err(BindingError::panicked("an operation panicked")));
        } else {
            self.tell(Err(BindingError::cancelled("the client was freed before this was done")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::error::{CANCELLED, CLOSED, PANIC};

    /// Keeps tasks until it is told to run them.
    #[derive(Default)]
    struct Kept(Mutex<Vec<BoxFuture<()>>>);

    impl Spawn for Kept {
        fn spawn(&self, task: BoxFuture<()>) {
            self.0.lock().unwrap().push(task);
        }
    }

    fn start(call: Call<u32>) -> Arc<Mutex<Vec<Result<u32>>>> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = told.clone();
        call.start(move |outcome| tell.lock().unwrap().push(outcome));
        told
    }

    #[test]
    fn the_outcome_is_told_once_whatever_becomes_of_the_task() {
        let kept = Arc::new(Kept::default());
        let done = start(Call::new(kept.clone(), async { Ok(1) }).map(|one| one + 1));
        let dropped = start(Call::new(kept.clone(), std::future::pending()));
        let panics = start(Call::new(kept.clone(), async { panic!("as it should") }));
        let mut tasks = std::mem::take(&mut *kept.0.lock().unwrap());
        let panicking = tasks.pop().unwrap();
        drop(tasks.pop());
        Wait::forever().on(tasks.pop().unwrap()).unwrap();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Wait::forever().on(panicking)));
        assert!(caught.is_err());
        assert_eq!(*done.lock().unwrap(), [Ok(2)]);
        assert_eq!(dropped.lock().unwrap()[0].as_ref().unwrap_err().code, CANCELLED);
        assert_eq!(panics.lock().unwrap()[0].as_ref().unwrap_err().code, PANIC);
    }

    #[test]
    fn an_awaited_call_ends_like_one_that_is_waited_for() {
        let kept = Arc::new(Kept::default());
        let awaited = |call: Call<u32>| Wait::forever().on(call.into_future()).unwrap();
        assert_eq!(awaited(Call::new(kept.clone(), async { Ok(1) })), Ok(1));
        assert_eq!(awaited(Call::refused(BindingError::closed())).unwrap_err().code, CLOSED);
        assert_eq!(awaited(Call::new(kept, async { panic!("as it should") })).unwrap_err().code, PANIC);
    }

    #[test]
    fn what_is_refused_is_told_at_once() {
        let told = start(Call::refused(BindingError::closed()));
        assert_eq!(told.lock().unwrap()[0].as_ref().unwrap_err().code, CLOSED);
    }
}
