//! The thread on which delivery callbacks run: one for each process, so that they come one after the other.

use std::{
    cell::Cell,
    sync::{Arc, mpsc},
    thread,
};

use ottla_bindings::{BindingError, CompletionQueue, core::RecordMetadata as Written};
use pyo3::prelude::*;

use crate::{error::exception, per_process::PerProcess, producer::RecordMetadata};

/// What is to be called.
pub(crate) enum Job {
    /// `callback(metadata, error)` of a delivery.
    Delivered(Py<PyAny>, Result<Written, BindingError>),
    /// `callback(future)`, as `concurrent.futures` has it.
    Done(Py<PyAny>, Py<PyAny>),
    /// Nobody: says that all before it were called.
    Mark(mpsc::Sender<()>),
}

thread_local! {
    static IS_CALLBACK_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is the thread on which callbacks run: then there is no waiting for them.
pub(crate) fn is_current() -> bool {
    IS_CALLBACK_THREAD.get()
}

/// Puts it behind all others.
pub(crate) fn push(job: Job) {
    queue().push(job);
}

/// Whether any was ever pushed, in this process.
pub(crate) fn is_used() -> bool {
    QUEUE.get().is_some()
}

/// A job, and what is received from once all that were pushed before it have been called.
pub(crate) fn mark() -> (Job, mpsc::Receiver<()>) {
    let (sender, receiver) = mpsc::channel();
    (Job::Mark(sender), receiver)
}

static QUEUE: PerProcess<CompletionQueue<Job>> = PerProcess::new();

fn queue() -> Arc<CompletionQueue<Job>> {
    QUEUE.get_or_start(CompletionQueue::new, |queue| {
        // Where it cannot be started, callbacks are not called: the futures tell all the same.
        let _ = thread::Builder::new().name("ottla-callbacks".into()).spawn(move || run(&queue));
    })
}

fn run(queue: &CompletionQueue<Job>) {
    IS_CALLBACK_THREAD.set(true);
    let mut jobs = Vec::new();
    loop {
        queue.wait(None);
        queue.drain(&mut jobs, usize::MAX);
        // None once the interpreter is ending.
        let attached = Python::try_attach(|py| {
            for job in jobs.drain(..) {
                if let Err(error) = call(py, job) {
                    error.write_unraisable(py, None);
                }
            }
        });
        if attached.is_none() {
            // What is left holds objects of an interpreter that is gone.
            std::mem::forget(jobs);
            return;
        }
    }
}

fn call(py: Python<'_>, job: Job) -> PyResult<()> {
    match job {
        Job::Delivered(callback, Ok(written)) => {
            callback.call1(py, (RecordMetadata::from(written), py.None()))?;
        }
        Job::Delivered(callback, Err(error)) => {
            callback.call1(py, (py.None(), exception(py, &error)?))?;
        }
        Job::Done(callback, future) => {
            callback.call1(py, (future,))?;
        }
        Job::Mark(reached) => _ = reached.send(()),
    }
    Ok(())
}
