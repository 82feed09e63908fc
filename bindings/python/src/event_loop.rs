//! How what ends on an I/O thread comes to an asyncio event loop: one queue for a loop, one wake for all that has come.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ottla_bindings::{
    BindingError, Call, CompletionQueue, Consumer, Producer, WakeFd,
    core::{Rebalance, RecordMetadata as Written, ReportBatch},
};
use pyo3::{
    exceptions::PyOSError,
    prelude::*,
    types::{PyDict, PyList},
};

use crate::{
    error::{OrRaise, exception},
    producer::RecordMetadata,
    wait::wait,
};

/// Under which name `ottla.aio` hands a client its event loop.
const OPTION: &str = "_event_loop";

/// Makes Python's value of an outcome, once the interpreter is there.
type Convert = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

enum Ended {
    /// An operation.
    Operation(u64, Result<Convert, BindingError>),
    /// Deliveries have come to the producer of this number.
    Deliveries(u64),
    /// All records of the producer of this number, which the program has let go of, have come to their end.
    Gone(u64),
    /// A step of a rebalance, and who hears of it.
    Step(Rebalance, Arc<TellStep>),
}

/// Tells a program of a step of a rebalance.
type TellStep = dyn Fn(Python<'_>, Rebalance) -> PyResult<()> + Send + Sync;

/// The side of an asyncio event loop that is turned to the library. The loop takes `drain` when `fileno` is readable.
#[pyclass(frozen, weakref, module = "ottla._ottla")]
pub(crate) struct EventLoop {
    queue: Arc<CompletionQueue<Ended>>,
    fd: Arc<WakeFd>,
    create_future: Py<PyAny>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// The futures of operations and records under way, by number. A number comes back once, and is free again then.
    futures: Vec<Option<Py<PyAny>>>,
    free: Vec<u64>,
    /// The producers whose deliveries come here, by number.
    producers: HashMap<u64, Producer>,
    /// The number of the last producer.
    last_producer: u64,
}

impl Waiting {
    fn put(&mut self, future: Py<PyAny>) -> u64 {
        match self.free.pop() {
            Some(token) => {
                self.futures[token as usize] = Some(future);
                token
            }
            None => {
                self.futures.push(Some(future));
                self.futures.len() as u64 - 1
            }
        }
    }

    fn take(&mut self, token: u64) -> Option<Py<PyAny>> {
        let future = self.futures.get_mut(token as usize)?.take()?;
        self.free.push(token);
        Some(future)
    }
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

    /// Ends the futures of all that has failed; gives those of what went well, each with its result behind it, for Python to end:
    /// it calls them quicker than we can.
    fn drain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let mut ended = Vec::new();
        self.queue.drain(&mut ended, usize::MAX);
        let mut done = Vec::new();
        for ended in ended {
            match ended {
                Ended::Operation(token, outcome) => {
                    let future = self.waiting().take(token);
                    let Some(future) = future else { continue };
                    let outcome = match outcome {
                        Ok(convert) => convert(py),
                        Err(error) => Err(PyErr::from_value(exception(py, &error)?.into_bound(py))),
                    };
                    match outcome {
                        Ok(value) => done.extend([future, value]),
                        Err(error) => fail(py, &future, error)?,
                    }
                }
                Ended::Step(step, tell) => {
                    // What the program raises there has nobody else to hear of it, and must not hold up the rest.
                    if let Err(error) = tell(py, step) {
                        error.write_unraisable(py, None);
                    }
                }
                Ended::Deliveries(number) => {
                    let producer = self.waiting().producers.get(&number).cloned();
                    self.take_deliveries(py, producer, &mut done)?;
                }
                Ended::Gone(number) => {
                    let producer = self.waiting().producers.remove(&number);
                    self.take_deliveries(py, producer, &mut done)?;
                }
            }
        }
        PyList::new(py, done)
    }
}

impl EventLoop {
    /// Takes the event loop that `ottla.aio` hands over out of a client's options, where it stands so that no signature shows it.
    pub(crate) fn among(options: Option<&Bound<'_, PyDict>>) -> PyResult<Option<Py<Self>>> {
        let Some(options) = options else { return Ok(None) };
        match options.get_item(OPTION)? {
            Some(given) if given.is_instance_of::<Self>() => {
                options.del_item(OPTION)?;
                Ok(Some(given.cast_into::<Self>()?.unbind()))
            }
            // No setting has this name, and who reads settings says so.
            _ => Ok(None),
        }
    }

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
        let token = self.waiting().put(future.clone_ref(py));
        Ok((token, future))
    }

    /// Nobody waits for it any more.
    pub(crate) fn forget(&self, token: u64) -> Option<Py<PyAny>> {
        self.waiting().take(token)
    }

    /// From now on the deliveries of a producer end the futures of their tokens; until [`Self::let_go`] is told its number.
    pub(crate) fn deliveries_of(&self, producer: &Producer) -> Result<u64, BindingError> {
        let mut waiting = self.waiting();
        waiting.last_producer += 1;
        let number = waiting.last_producer;
        waiting.producers.insert(number, producer.clone());
        drop(waiting);
        let queue = Arc::clone(&self.queue);
        producer.on_refusal(move |token, error| queue.push(Ended::Operation(token, Err(error))));
        let queue = Arc::clone(&self.queue);
        producer.on_deliveries(move || queue.push(Ended::Deliveries(number)))?;
        Ok(number)
    }

    /// The program has let go of a producer: it is kept until each of its records has come to its end.
    pub(crate) fn let_go(&self, number: u64) {
        let producer = self.waiting().producers.get(&number).cloned();
        if let Some(producer) = producer {
            let queue = Arc::clone(&self.queue);
            producer.flush().start(move |_| queue.push(Ended::Gone(number)));
        }
    }

    fn take_deliveries(
        &self,
        py: Python<'_>,
        producer: Option<Producer>,
        done: &mut Vec<Py<PyAny>>,
    ) -> PyResult<()> {
        match producer.map(|producer| producer.take_deliveries()) {
            Some(Ok(batches)) => batches.iter().try_for_each(|batch| self.deliver(py, batch, done)),
            _ => Ok(()),
        }
    }

    /// From now on the steps of a consumer's rebalances are told by the loop.
    pub(crate) fn steps_of(
        &self,
        py: Python<'_>,
        consumer: &Consumer,
        tell: impl Fn(Python<'_>, Rebalance) -> PyResult<()> + Send + Sync + 'static,
    ) -> PyResult<()> {
        let (queue, tell): (_, Arc<TellStep>) = (Arc::clone(&self.queue), Arc::new(tell));
        consumer.on_rebalance(move |step| queue.push(Ended::Step(step, Arc::clone(&tell)))).or_raise(py)
    }

    fn deliver(&self, py: Python<'_>, batch: &ReportBatch, done: &mut Vec<Py<PyAny>>) -> PyResult<()> {
        let error = batch.error().map(BindingError::from);
        let (topic, partition) = (batch.topic(), batch.partition());
        for report in batch.reports() {
            let Some(future) = self.forget(report.token) else { continue };
            match &error {
                None => {
                    let (topic, offset, timestamp) = (topic.clone(), report.offset, report.timestamp);
                    let written = Written { topic, partition, offset, timestamp };
                    done.extend([future, Py::new(py, RecordMetadata::from(written))?.into_any()]);
                }
                Some(error) => {
                    let error = PyErr::from_value(exception(py, error)?.into_bound(py));
                    fail(py, &future, error)?;
                }
            }
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

/// Ends a future that nobody has cancelled with why it failed.
fn fail(py: Python<'_>, future: &Py<PyAny>, error: PyErr) -> PyResult<()> {
    if !future.call_method0(py, pyo3::intern!(py, "done"))?.is_truthy(py)? {
        future.call_method1(py, pyo3::intern!(py, "set_exception"), (error,))?;
    }
    Ok(())
}
