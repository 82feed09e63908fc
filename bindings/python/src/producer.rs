//! Sending: `ottla.Producer`, which is also `ottla.aio.Producer` once it is given an event loop.

use std::{
    borrow::Cow,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ottla_bindings::{
    self as bindings, BindingError, OwnedRecord,
    core::{Delivery, ProducerMetrics, Record, RecordMetadata as Written},
    error::QUEUE_FULL,
};
use pyo3::{
    IntoPyObjectExt,
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{IntoPyDict, PyDict, PyTuple},
};

use crate::{
    callback::{self, Job},
    config,
    convert::{OwnHeaders, Payload, timestamp_ms},
    error::{OrRaise, exception, raised},
    event_loop::{EventLoop, answer},
    wait::{seconds, wait},
};

/// Sends records. Thread-safe; its I/O is done on a thread of its own, and there is nothing to poll.
///
/// >>> with ottla.Producer("localhost:9092", compression_type="zstd") as producer:
/// ...     future = producer.send("orders", "two apples", key="42", headers={"trace": b"7f3a"})
/// ...     print(future.result().offset)
///
/// The first argument says where the brokers are, as "host:port,host:port" or a list, or is a dict with Kafka's own keys; the
/// same keys in snake case are keyword arguments. `acks=all` and idempotence are the defaults.
///
/// Leaving the `with` block sends what was taken and waits for it, as `close()` does.
#[pyclass(frozen, subclass, weakref, module = "ottla")]
pub(crate) struct Producer {
    producer: bindings::Producer,
    key_serializer: Option<Py<PyAny>>,
    value_serializer: Option<Py<PyAny>>,
    /// With one, calls give its futures and never wait. It knows this producer by a number.
    event_loop: Option<(Py<EventLoop>, u64)>,
}

/// How long closing waits where nobody says: until `delivery.timeout.ms` has decided on every record.
const CLOSE_MAX: Duration = Duration::from_secs(24 * 3600);

/// What a send was given, as it can be borrowed for the core.
struct Given<'a, 'py> {
    topic: Cow<'a, str>,
    key: Payload<'py>,
    value: Payload<'py>,
    headers: OwnHeaders,
    partition: Option<i32>,
    timestamp: Option<i64>,
}

impl Given<'_, '_> {
    /// A copy, for a record that has to wait.
    #[cold]
    fn own(&self) -> PyResult<OwnedRecord> {
        self.with(|record| OwnedRecord::from(record))
    }

    #[inline]
    fn with<T>(&self, then: impl FnOnce(&Record<'_>) -> T) -> PyResult<T> {
        let (key, value) = (self.key.bytes()?, self.value.bytes()?);
        Ok(then(&Record {
            topic: &self.topic,
            partition: self.partition,
            timestamp: self.timestamp,
            key: key.as_deref(),
            value: value.as_deref(),
            headers: self.headers.borrow(),
        }))
    }
}

#[pymethods]
impl Producer {
    #[new]
    #[pyo3(signature = (bootstrap_servers=None, config=None, /, *, key_serializer=None, value_serializer=None,
                        oauth_cb=None, **options))]
    #[allow(clippy::too_many_arguments, reason = "Python's keywords")]
    fn new(
        py: Python<'_>,
        bootstrap_servers: Option<&Bound<'_, PyAny>>,
        config: Option<&Bound<'_, PyDict>>,
        key_serializer: Option<Py<PyAny>>,
        value_serializer: Option<Py<PyAny>>,
        oauth_cb: Option<Py<PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let event_loop = EventLoop::among(options)?;
        let tokens = (oauth_cb, event_loop.as_ref());
        let config = config::config(py, bootstrap_servers, config, options, tokens)?;
        let keys = config.producer().or_raise(py)?;
        let producer = bindings::Producer::with_tokens(keys, config.tokens()).or_raise(py)?;
        let event_loop = match event_loop {
            None => None,
            Some(event_loop) => {
                let number = event_loop.get().deliveries_of(&producer).or_raise(py)?;
                Some((event_loop, number))
            }
        };
        Ok(Self { producer, key_serializer, value_serializer, event_loop })
    }

    /// From now on what it has taken is sent before the program ends.
    #[pyo3(signature = (*_arguments, **_options))]
    fn __init__(
        slf: &Bound<'_, Self>,
        _arguments: &Bound<'_, PyTuple>,
        _options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        if slf.get().event_loop.is_none() {
            slf.py().import("ottla._lifecycle")?.call_method1("watch", (slf,))?;
        }
        Ok(())
    }

    /// Takes a record and returns at once; the future tells where it was written, or raises why not.
    ///
    /// Waits only where it must, up to `max.block.ms`: for room in `buffer.memory`, and for the partitions of a topic that
    /// was not used before. `on_delivery(metadata, error)` is called on a thread of the library, in the order of a partition's
    /// records.
    #[pyo3(signature = (topic, value=None, key=None, *, headers=None, partition=None, timestamp=None, on_delivery=None))]
    #[allow(clippy::too_many_arguments, reason = "Python's keywords")]
    fn send<'py>(
        &self,
        py: Python<'py>,
        topic: &Bound<'py, PyAny>,
        value: Option<&Bound<'py, PyAny>>,
        key: Option<&Bound<'py, PyAny>>,
        headers: Option<&Bound<'py, PyAny>>,
        partition: Option<i32>,
        timestamp: Option<&Bound<'py, PyAny>>,
        on_delivery: Option<Py<PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let given = self.given(topic, value, key, headers, partition, timestamp)?;
        if let Some((event_loop, _)) = &self.event_loop {
            return self.send_in(py, event_loop.get(), &given);
        }
        let delivery = self.awaited(py, &given)?;
        let delivery = match on_delivery {
            None => delivery,
            Some(callback) => {
                let again = delivery.again();
                self.producer.on_outcome(delivery, move |outcome| {
                    callback::push(Job::Delivered(callback, outcome));
                });
                again
            }
        };
        let future = DeliveryFuture { delivery: Mutex::new(delivery), producer: self.producer.clone() };
        Ok(Py::new(py, future)?.into_any())
    }

    /// Takes a record whose fate nobody asks for: failures are logged and counted, and `flush()` waits for it all the same.
    ///
    /// Waits where `send` does; in an asyncio program it raises `BufferFullError` instead.
    #[pyo3(signature = (topic, value=None, key=None, *, headers=None, partition=None, timestamp=None))]
    #[allow(clippy::too_many_arguments, reason = "Python's keywords")]
    fn send_nowait<'py>(
        &self,
        py: Python<'py>,
        topic: &Bound<'py, PyAny>,
        value: Option<&Bound<'py, PyAny>>,
        key: Option<&Bound<'py, PyAny>>,
        headers: Option<&Bound<'py, PyAny>>,
        partition: Option<i32>,
        timestamp: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let given = self.given(topic, value, key, headers, partition, timestamp)?;
        match given.with(|record| self.producer.try_send(record, None))? {
            Ok(()) => Ok(()),
            Err(error) if error.code == QUEUE_FULL && self.event_loop.is_none() => {
                let record = given.own()?;
                wait(py, None, |wait| self.producer.send(&record.borrow(), None, wait))
            }
            Err(error) => Err(raised(py, &error)),
        }
    }

    /// Takes many values for a topic in one call, each a record; `keys` are as many, or none.
    #[pyo3(signature = (topic, values, keys=None, *, partition=None))]
    fn send_batch<'py>(
        &self,
        py: Python<'py>,
        topic: &Bound<'py, PyAny>,
        values: &Bound<'py, PyAny>,
        keys: Option<&Bound<'py, PyAny>>,
        partition: Option<i32>,
    ) -> PyResult<BatchFuture> {
        let mut keys = keys.map(|keys| keys.try_iter()).transpose()?;
        let mut deliveries = Vec::with_capacity(values.len().unwrap_or(0));
        for value in values.try_iter()? {
            let key = match &mut keys {
                None => None,
                Some(keys) => Some(
                    keys.next()
                        .ok_or_else(|| PyValueError::new_err("there are fewer keys than values"))??,
                ),
            };
            let given = self.given(topic, Some(&value?), key.as_ref(), None, partition, None)?;
            deliveries.push(self.awaited(py, &given)?);
        }
        Ok(BatchFuture { deliveries: Mutex::new(deliveries) })
    }

    /// Sends what was taken without further linger, and waits until each record is acknowledged or has failed, and its
    /// callback was called. Raises `TimeoutError` if that is not so within `timeout` seconds.
    #[pyo3(signature = (timeout=None))]
    fn flush(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        let timeout = seconds(timeout)?;
        let flush = self.producer.flush();
        if let Some((event_loop, _)) = &self.event_loop {
            return event_loop.get().start(py, flush, |py, ()| Ok(py.None()));
        }
        wait(py, timeout, |wait| flush.wait(wait))?;
        self.called(py, timeout)
    }

    /// Sends what was taken, waits for it, and ends. What is not acknowledged within `timeout` seconds fails, and this raises.
    /// Without a timeout `delivery.timeout.ms` decides. Closing again does nothing.
    #[pyo3(signature = (timeout=None))]
    fn close(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        let timeout = seconds(timeout)?;
        if self.event_loop.is_none() && callback::is_used() {
            // Callbacks come from the thread that closing ends. What fails here fails there, too. Those that are due are
            // called, whatever the timeout: it is about the brokers.
            let flush = self.producer.flush();
            if wait(py, timeout, |wait| Ok(flush.wait(wait)))?.is_ok() {
                self.called(py, None)?;
            }
        }
        let close = self.producer.close(timeout.unwrap_or(CLOSE_MAX));
        if let Some((event_loop, _)) = &self.event_loop {
            return event_loop.get().start(py, close, |py, ()| Ok(py.None()));
        }
        wait(py, None, |wait| close.wait(wait))?;
        Ok(py.None())
    }

    /// For asyncio: a future that ends when all that waits now, for room or for its topic, was taken or refused.
    fn _caught_up(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let event_loop = self.event_loop.as_ref().map(|(event_loop, _)| event_loop);
        answer(py, event_loop, None, self.producer.caught_up(), |py, ()| Ok(py.None().into_bound(py)))
    }

    /// How many partitions a topic has.
    fn partition_count(&self, py: Python<'_>, topic: String) -> PyResult<Py<PyAny>> {
        let count = self.producer.partition_count(topic);
        let event_loop = self.event_loop.as_ref().map(|(event_loop, _)| event_loop);
        answer(py, event_loop, None, count, |py, count| count.into_bound_py_any(py))
    }

    /// What it has counted, by name; None where there is nothing yet.
    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let values = self.producer.metrics().or_raise(py)?.values();
        ProducerMetrics::TABLE.iter().zip(values).map(|(metric, value)| (metric.name, value)).into_py_dict(py)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, py: Python<'_>, _raised: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py, None).map(drop)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a producer cannot be pickled: make one in each process"))
    }
}

impl Producer {
    #[inline]
    fn given<'a, 'py>(
        &self,
        topic: &'a Bound<'py, PyAny>,
        value: Option<&Bound<'py, PyAny>>,
        key: Option<&Bound<'py, PyAny>>,
        headers: Option<&Bound<'py, PyAny>>,
        partition: Option<i32>,
        timestamp: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Given<'a, 'py>> {
        let name = topic
            .cast::<pyo3::types::PyString>()
            .map_err(|_| PyTypeError::new_err("a topic is a str"))?
            .to_cow()?;
        Ok(Given {
            key: payload(&name, "key", key, self.key_serializer.as_ref())?,
            value: payload(&name, "value", value, self.value_serializer.as_ref())?,
            topic: name,
            headers: OwnHeaders::of(headers)?,
            partition,
            timestamp: timestamp_ms(timestamp)?,
        })
    }

    /// Without waiting if that goes; else with the interpreter let go.
    #[inline]
    fn awaited(&self, py: Python<'_>, given: &Given<'_, '_>) -> PyResult<Delivery> {
        match given.with(|record| self.producer.try_send_awaited(record))? {
            Ok(delivery) => Ok(delivery),
            Err(error) if error.code == QUEUE_FULL => {
                let record = given.own()?;
                wait(py, None, |wait| self.producer.send_awaited(&record.borrow(), wait))
            }
            Err(error) => Err(raised(py, &error)),
        }
    }

    /// The send of an asyncio program: a future of its loop.
    fn send_in(&self, py: Python<'_>, event_loop: &EventLoop, given: &Given<'_, '_>) -> PyResult<Py<PyAny>> {
        let (token, future) = event_loop.future(py)?;
        match given.with(|record| self.producer.send_in_turn(record, token))? {
            Ok(()) => Ok(future),
            Err(error) => {
                event_loop.forget(token);
                Err(raised(py, &error))
            }
        }
    }

    /// Waits until the callbacks of what has been delivered were called.
    fn called(&self, py: Python<'_>, timeout: Option<Duration>) -> PyResult<Py<PyAny>> {
        if callback::is_used() && !callback::is_current() {
            let (mark, reached) = callback::mark();
            // By way of the I/O thread, which may still be about to push some.
            self.producer.flush().start(move |_| callback::push(mark));
            let is_reached = move |slice: Option<Duration>| match slice {
                Some(slice) => reached.recv_timeout(slice).is_ok(),
                None => reached.recv().is_ok(),
            };
            wait(py, timeout, move |wait| wait.until(is_reached))?;
        }
        Ok(py.None())
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if let Some((event_loop, number)) = &self.event_loop {
            event_loop.get().let_go(*number);
        }
    }
}

/// A key or value, by its serializer if it has one.
#[inline]
fn payload<'py>(
    topic: &str,
    what: &str,
    value: Option<&Bound<'py, PyAny>>,
    serializer: Option<&Py<PyAny>>,
) -> PyResult<Payload<'py>> {
    let (Some(serializer), Some(value)) = (serializer, value.filter(|value| !value.is_none())) else {
        return Payload::of(value, what);
    };
    let py = value.py();
    let serialized = serializer.bind(py).call1((value,)).map_err(|cause| {
        let text = format!("the {what} of a record for `{topic}` could not be serialized");
        let error = raised(py, &BindingError::local(ottla_bindings::error::INVALID_ARG, text));
        error.set_cause(py, Some(cause));
        error
    })?;
    Payload::of(Some(&serialized), what)
}

/// Where a record was written.
#[pyclass(frozen, eq, module = "ottla")]
#[derive(Clone, PartialEq)]
pub(crate) struct RecordMetadata(Written);

#[pymethods]
impl RecordMetadata {
    /// The topic.
    #[getter]
    fn topic(&self) -> &str {
        &self.0.topic
    }

    /// The partition's number.
    #[getter]
    fn partition(&self) -> i32 {
        self.0.partition
    }

    /// The record's offset; -1 where the broker did not tell, as with `acks=0`.
    #[getter]
    fn offset(&self) -> i64 {
        self.0.offset
    }

    /// The record's timestamp, in milliseconds since the epoch.
    #[getter]
    fn timestamp(&self) -> i64 {
        self.0.timestamp
    }

    fn __repr__(&self) -> String {
        let Written { topic, partition, offset, timestamp } = &self.0;
        format!(
            "RecordMetadata(topic={:?}, partition={partition}, offset={offset}, timestamp={timestamp})",
            &**topic
        )
    }
}

impl From<Written> for RecordMetadata {
    fn from(written: Written) -> Self {
        Self(written)
    }
}

/// Tells what became of a record: as `concurrent.futures.Future` does, and awaitable in any event loop.
///
/// Letting go of it takes nothing back: the record is sent all the same.
#[pyclass(frozen, module = "ottla")]
pub(crate) struct DeliveryFuture {
    delivery: Mutex<Delivery>,
    producer: bindings::Producer,
}

#[pymethods]
impl DeliveryFuture {
    /// Waits up to `timeout` seconds; gives the record's `RecordMetadata`, or raises why it was not written.
    #[pyo3(signature = (timeout=None))]
    fn result(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<RecordMetadata> {
        self.outcome(py, timeout)?.map(RecordMetadata::from).or_raise(py)
    }

    /// Why it was not written; None if it was.
    #[pyo3(signature = (timeout=None))]
    fn exception(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        match self.outcome(py, timeout)? {
            Ok(_) => Ok(None),
            Err(error) => exception(py, &error).map(Some),
        }
    }

    /// Whether the outcome is known.
    fn done(&self) -> bool {
        self.delivery().now().is_some()
    }

    /// Whether it is under way.
    fn running(&self) -> bool {
        !self.done()
    }

    /// A record that was taken cannot be taken back: False.
    fn cancel(&self) -> bool {
        false
    }

    /// False.
    fn cancelled(&self) -> bool {
        false
    }

    /// Calls `callback(future)` once the outcome is known, on a thread of the library.
    fn add_done_callback(slf: Py<Self>, py: Python<'_>, callback: Py<PyAny>) {
        let (delivery, producer) = (slf.get().delivery().again(), slf.get().producer.clone());
        let future = slf.clone_ref(py).into_any();
        producer.outcome(delivery).start(move |_| callback::push(Job::Done(callback, future)));
    }

    fn __await__<'py>(slf: Py<Self>, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("ottla._types")?.getattr("await_delivery")?.call1((slf,))
    }

    fn __repr__(&self) -> &'static str {
        if self.done() { "<DeliveryFuture done>" } else { "<DeliveryFuture pending>" }
    }
}

impl DeliveryFuture {
    fn outcome(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Result<Written, BindingError>> {
        if let Some(outcome) = self.delivery().now() {
            return Ok(outcome.map_err(Into::into));
        }
        let timeout = seconds(timeout)?;
        let mut delivery = self.delivery().again();
        wait(py, timeout, |wait| wait.on(poll_fn(move |context| Pin::new(&mut delivery).poll(context))))
            .map(|outcome| outcome.map_err(Into::into))
    }

    fn delivery(&self) -> std::sync::MutexGuard<'_, Delivery> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells what became of the records of one `send_batch`.
#[pyclass(frozen, module = "ottla")]
pub(crate) struct BatchFuture {
    deliveries: Mutex<Vec<Delivery>>,
}

#[pymethods]
impl BatchFuture {
    /// Waits up to `timeout` seconds; gives a `RecordMetadata` for each record, or raises the first failure.
    #[pyo3(signature = (timeout=None))]
    fn result(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Vec<RecordMetadata>> {
        let deliveries: Vec<Delivery> = self.lock().iter().map(Delivery::again).collect();
        let timeout = seconds(timeout)?;
        let all = async move {
            let mut written = Vec::with_capacity(deliveries.len());
            for delivery in deliveries {
                written.push(delivery.await);
            }
            written
        };
        let outcomes = wait(py, timeout, |wait| wait.on(all))?;
        outcomes
            .into_iter()
            .map(|outcome| outcome.map(RecordMetadata::from).map_err(|error| raised(py, &error.into())))
            .collect()
    }

    /// Whether the outcome of each record is known.
    fn done(&self) -> bool {
        self.lock().iter().all(|delivery| delivery.now().is_some())
    }

    fn __len__(&self) -> usize {
        self.lock().len()
    }
}

impl BatchFuture {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Delivery>> {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
