//! The thread on which a client does its I/O. One per client, so that programs need no runtime of any kind.

use std::{future::Future, io, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinHandle,
};

use crate::error::{Error, ErrorKind, Result};

/// A single-threaded tokio runtime on a thread of its own. Dropping it ends all its tasks.
#[derive(Debug)]
pub(crate) struct Runtime {
    handle: Handle,
    /// Dropping it stops the thread.
    stop: Option<oneshot::Sender<()>>,
}

impl Runtime {
    /// Starts the thread; `name` is seen in debuggers and `top`.
    pub(crate) fn start(name: &str) -> Result<Self> {
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Config, format!("cannot start the I/O thread: {error}"))
                .hint("raise the limits on threads and open files (`ulimit -u`, `ulimit -n`)")
                .caused_by(error)
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || {
            // Ends with an error when `stop` is dropped, which is the signal.
            _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        };
        thread::Builder::new().name(name.to_owned()).spawn(run).map_err(failed)?;
        Ok(Self { handle, stop: Some(stop) })
    }

    /// Runs a task on the thread, whether its handle is awaited or not.
    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn(task)
    }

    /// Lets the thread, with all its tasks, go on until `task` is over, also if this is dropped before.
    pub(crate) fn outlive(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.take();
        self.spawn(async move {
            task.await;
            drop(stop);
        });
    }

    /// Runs `task` on the thread and waits for it. Dropping the future drops the task.
    pub(crate) async fn run<T, F>(&self, task: F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        let mut task = AbortOnDrop(self.spawn(task));
        (&mut task.0).await.unwrap_or_else(|_| Err(Error::closed()))
    }
}

/// A task that nobody else waits for.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
