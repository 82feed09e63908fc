//! How what ends on an I/O thread comes to an asyncio event loop: one queue for a loop, one wake for all that has come.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ottla_bindings::{
    BindingError, Call, CompletionQueue, Producer, WakeFd,
    core::{RecordMetadata as Written, ReportBatch},
};
use pyo3::{exceptions::PyOSError, prelude::*};

use crate::{error::exception, producer::RecordMetadata, wait::wait};

/// Makes Python's value of an outcome, once the interpreter is there.
type Convert = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

enum Ended {
    /// An operation.
    Operation(u64, Result<Convert, BindingError>),
    /// Deliveries have come to the producer of this number.
    Deliveries(u64),
}

/// The side of an asyncio event loop that is turned to the library. The loop calls `drain` when `fileno` is readable.
#[pyclass(frozen, module = "ottla._ottla")]
pub(crate) struct EventLoop {
    queue: Arc<CompletionQueue<Ended>>,
    fd: Arc<WakeFd>,
    create_future: Py<PyAny>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    /// The futures of operations and records under way.
    futures: HashMap<u64, Py<PyAny>>,
    producers: HashMap<u64, Producer>,
}

#[pymethods]
impl EventLoop {
    #[new]
    fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let fd = Arc::new(WakeFd::new().map_err(|error| PyOSError::new_err(error.to_string()))?);
        let queue = Arc::new(CompletionQueue::new());
        queue.set_wake(Some(fd.clone()));
        let create_future = event_loop.getattr("create_future")?.unbind();
        Ok(Self { queue, fd, create_future, waiting: Mutex::default() })
    }

    /// What the loop polls for reading.
    fn fileno(&self) -> i32 {
        self.fd.raw()
    }

    /// Ends the futures of all that has ended.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        let mut ended = Vec::new();
        self.queue.drain(&mut ended, usize::MAX);
        for ended in ended {
            match ended {
                Ended::Operation(token, outcome) => {
                    let future = self.waiting().futures.remove(&token);
                    let Some(future) = future else { continue };
                    let outcome = match outcome {
                        Ok(convert) => convert(py),
                        Err(error) => Err(PyErr::from_value(exception(py, &error)?.into_bound(py))),
                    };
                    end(py, &future, outcome)?;
                }
                Ended::Deliveries(number) => {
                    let producer = self.waiting().producers.get(&number).cloned();
                    if let Some(Ok(batches)) = producer.map(|producer| producer.take_deliveries()) {
                        batches.iter().try_for_each(|batch| self.deliver(py, batch))?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl EventLoop {
    /// Starts a call; the future ends when it does.
    pub(crate) fn start<T: Send + 'static>(
        &self,
        py: Python<'_>,
        call: Call<T>,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Py<PyAny>> {
        let (token, future) = self.future(py)?;
        let queue = Arc::clone(&self.queue);
        call.start(move |outcome| {
            let convert = |value| -> Convert { Box::new(move |py| convert(py, value)) };
            queue.push(Ended::Operation(token, outcome.map(convert)));
        });
        Ok(future)
    }

    /// A future, and the number under which it waits.
    pub(crate) fn future(&self, py: Python<'_>) -> PyResult<(u64, Py<PyAny>)> {
        let future = self.create_future.call0(py)?;
        let mut waiting = self.waiting();
        waiting.next += 1;
        let token = waiting.next;
        waiting.futures.insert(token, future.clone_ref(py));
        Ok((token, future))
    }

    /// Nobody waits for it any more.
    pub(crate) fn forget(&self, token: u64) -> Option<Py<PyAny>> {
        self.waiting().futures.remove(&token)
    }

    /// From now on the deliveries of a producer end the futures of their tokens.
    pub(crate) fn deliveries_of(&self, producer: &Producer) -> Result<(), BindingError> {
        let mut waiting = self.waiting();
        waiting.next += 1;
        let number = waiting.next;
        waiting.producers.insert(number, producer.clone());
        drop(waiting);
        let queue = Arc::clone(&self.queue);
        producer.on_refusal(move |token, error| queue.push(Ended::Operation(token, Err(error))));
        let queue = Arc::clone(&self.queue);
        producer.on_deliveries(move || queue.push(Ended::Deliveries(number)))
    }

    fn deliver(&self, py: Python<'_>, batch: &ReportBatch) -> PyResult<()> {
        let error = batch.error().map(BindingError::from);
        for report in batch.reports() {
            let Some(future) = self.forget(report.token) else { continue };
            let outcome = match &error {
                None => {
                    let written = Written {
                        topic: batch.topic().clone(),
                        partition: batch.partition(),
                        offset: report.offset,
                        timestamp: report.timestamp,
                    };
                    Ok(Py::new(py, RecordMetadata::from(written))?.into_any())
                }
                Some(error) => Err(PyErr::from_value(exception(py, error)?.into_bound(py))),
            };
            end(py, &future, outcome)?;
        }
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a call, as long as `timeout`; or, where there is an event loop, gives its future of it.
pub(crate) fn answer<T: Send + 'static>(
    py: Python<'_>,
    event_loop: Option<&Py<EventLoop>>,
    timeout: Option<Duration>,
    call: Call<T>,
    convert: impl for<'py> FnOnce(Python<'py>, T) -> PyResult<Bound<'py, PyAny>> + Send + 'static,
) -> PyResult<Py<PyAny>> {
    let convert = |py: Python<'_>, value| Ok(convert(py, value)?.unbind());
    match event_loop {
        Some(event_loop) => event_loop.get().start(py, call, convert),
        None => convert(py, wait(py, timeout, |wait| call.wait(wait))?),
    }
}

/// Ends a future that nobody has cancelled.
fn end(py: Python<'_>, future: &Py<PyAny>, outcome: PyResult<Py<PyAny>>) -> PyResult<()> {
    if future.call_method0(py, pyo3::intern!(py, "done"))?.is_truthy(py)? {
        return Ok(());
    }
    match outcome {
        Ok(value) => future.call_method1(py, pyo3::intern!(py, "set_result"), (value,))?,
        Err(error) => future.call_method1(py, pyo3::intern!(py, "set_exception"), (error,))?,
    };
    Ok(())
}
