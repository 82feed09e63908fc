//! Reading: `ottla.Consumer`, which is also `ottla.aio.Consumer` once it is given an event loop.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ottla_bindings::{
    self as bindings, Call, Next,
    core::{ConsumerMetrics, OffsetAndMetadata, Rebalance, RebalanceKind, TopicPartition},
};
use pyo3::{
    IntoPyObjectExt,
    exceptions::{PyStopIteration, PyTypeError},
    prelude::*,
    types::{IntoPyDict, PyDict, PyString, PyWeakrefMethods, PyWeakrefReference},
};

use crate::{
    config,
    convert::{self, by_partition, dict, offset_of, partition_of, partitions_of, place_of, timestamp_ms},
    error::OrRaise,
    event_loop::{EventLoop, answer},
    record::{Deserializers, Record, RecordBatch, Shared},
    wait::{seconds, wait},
};

/// Records of one batch, where nobody says. Signatures say the number again, since that is what `help()` shows.
const RECORDS_MAX: usize = 500;
/// How long closing waits where nobody says; see above.
const CLOSE_TIMEOUT_S: f64 = 30.0;

/// Reads records. Thread-safe; heartbeats and fetches are done on a thread of its own.
///
/// >>> with ottla.Consumer("localhost:9092", group="billing", topics=["orders"], start="earliest") as consumer:
/// ...     for record in consumer:
/// ...         print(record.offset, record.value)
///
/// The first argument says where the brokers are, as "host:port,host:port" or a list, or is a dict with Kafka's own keys; the
/// same keys in snake case are keyword arguments. `group` is `group.id`, `start` is `auto.offset.reset`, `topics` are subscribed
/// to. In a group what the program is done with is committed by itself: a record when the loop goes on to the next.
#[pyclass(frozen, subclass, weakref, module = "ottla")]
pub(crate) struct Consumer {
    consumer: bindings::Consumer,
    deserializers: Option<Arc<Deserializers>>,
    /// The batch that a loop over records is in.
    current: Mutex<Option<Current>>,
    listener: Option<Listener>,
    event_loop: Option<Py<EventLoop>>,
    /// Closing has begun: loops end.
    closed: std::sync::atomic::AtomicBool,
}

struct Current {
    shared: Arc<Shared>,
    next: usize,
}

/// What is called in a rebalance, each with the consumer and the partitions.
struct Listener {
    assigned: Option<Py<PyAny>>,
    revoked: Option<Py<PyAny>>,
    lost: Option<Py<PyAny>>,
}

#[pymethods]
impl Consumer {
    #[new]
    #[pyo3(signature = (bootstrap_servers=None, config=None, /, *, group=None, topics=None, start=None,
                        key_deserializer=None, value_deserializer=None, on_assigned=None, on_revoked=None, on_lost=None,
                        oauth_cb=None, **options))]
    #[allow(clippy::too_many_arguments, reason = "Python's keywords")]
    fn new(
        py: Python<'_>,
        bootstrap_servers: Option<&Bound<'_, PyAny>>,
        config: Option<&Bound<'_, PyDict>>,
        group: Option<&Bound<'_, PyAny>>,
        topics: Option<&Bound<'_, PyAny>>,
        start: Option<&Bound<'_, PyAny>>,
        key_deserializer: Option<Py<PyAny>>,
        value_deserializer: Option<Py<PyAny>>,
        on_assigned: Option<Py<PyAny>>,
        on_revoked: Option<Py<PyAny>>,
        on_lost: Option<Py<PyAny>>,
        oauth_cb: Option<Py<PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let event_loop = EventLoop::among(options)?;
        let all = PyDict::new(py);
        for (key, value) in [("group_id", group), ("auto_offset_reset", start)] {
            if let Some(value) = value {
                all.set_item(key, value)?;
            }
        }
        for (key, value) in options.into_iter().flatten() {
            if all.contains(&key)? {
                return Err(PyTypeError::new_err(format!("`{key}` is given twice")));
            }
            all.set_item(key, value)?;
        }
        let tokens = (oauth_cb, event_loop.as_ref());
        let config = config::config(py, bootstrap_servers, config, Some(&all), tokens)?;
        let keys = config.consumer().or_raise(py)?;
        let consumer = bindings::Consumer::with_tokens(keys, config.tokens()).or_raise(py)?;
        let listener = Listener { assigned: on_assigned, revoked: on_revoked, lost: on_lost };
        let is_listening =
            listener.assigned.is_some() || listener.revoked.is_some() || listener.lost.is_some();
        if is_listening {
            consumer.listen().or_raise(py)?;
        }
        let deserializers = Deserializers { key: key_deserializer, value: value_deserializer };
        let has_some = deserializers.key.is_some() || deserializers.value.is_some();
        if let Some(topics) = topics.filter(|topics| !topics.is_none()) {
            consumer.subscribe(names(topics)?).or_raise(py)?;
        }
        Ok(Self {
            consumer,
            deserializers: has_some.then(|| Arc::new(deserializers)),
            current: Mutex::default(),
            listener: is_listening.then_some(listener),
            event_loop,
            closed: false.into(),
        })
    }

    // ---- what is read

    /// Reads these topics and no others, with the other members of the group.
    fn subscribe(&self, py: Python<'_>, topics: &Bound<'_, PyAny>) -> PyResult<()> {
        self.consumer.subscribe(names(topics)?).or_raise(py)
    }

    /// Reads all topics whose whole name matches a regular expression, those that come later too.
    fn subscribe_pattern(&self, py: Python<'_>, pattern: &str) -> PyResult<()> {
        self.consumer.subscribe_pattern(pattern).or_raise(py)
    }

    /// Leaves the group, with what the program is done with committed; or reads no partitions any more.
    fn unsubscribe(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.keep_back()?;
        *self.current() = None;
        self.nothing(py, self.consumer.unsubscribe(), None)
    }

    /// Reads these partitions and no others: of a list, from where the group or `auto.offset.reset` says; of a dict, from the
    /// offsets in it.
    fn assign(&self, py: Python<'_>, partitions: &Bound<'_, PyAny>) -> PyResult<()> {
        let (wanted, offsets) = match partitions.cast::<PyDict>() {
            Ok(dict) => {
                let offsets = by_partition(dict, |offset| offset.extract::<i64>())?;
                (offsets.iter().map(|(tp, _)| tp.clone()).collect(), offsets)
            }
            Err(_) => (partitions_of(partitions)?, Vec::new()),
        };
        self.keep_back()?;
        *self.current() = None;
        self.consumer.assign(wanted).or_raise(py)?;
        offsets.iter().try_for_each(|(tp, offset)| self.consumer.seek(tp, *offset).or_raise(py))
    }

    /// The partitions that are assigned, in no order.
    fn assignment<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        convert::partitions(py, &self.consumer.assignment().or_raise(py)?)
    }

    /// Goes to an offset, to "earliest" or "latest", or to a `datetime`'s first record.
    fn seek(&self, py: Python<'_>, partition: &Bound<'_, PyAny>, to: &Bound<'_, PyAny>) -> PyResult<()> {
        let tp = partition_of(partition)?;
        let sought = match to.extract::<i64>() {
            Ok(offset) => self.consumer.seek(&tp, offset),
            Err(_) => self.consumer.seek_to(&tp, place_of(to)?),
        };
        sought.or_raise(py)?;
        // What a loop has in hand of the partition is from elsewhere.
        let mut current = self.current();
        if current.as_ref().is_some_and(|c| is_of(&c.shared, &tp)) {
            *current = None;
        }
        Ok(())
    }

    /// Holds partitions: nothing of them is given, and what is buffered stays.
    fn pause(&self, py: Python<'_>, partitions: &Bound<'_, PyAny>) -> PyResult<()> {
        self.consumer.pause(&partitions_of(partitions)?).or_raise(py)
    }

    /// Lets partitions that are held go on.
    fn resume(&self, py: Python<'_>, partitions: &Bound<'_, PyAny>) -> PyResult<()> {
        self.consumer.resume(&partitions_of(partitions)?).or_raise(py)
    }

    /// The partitions that are held.
    fn paused<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        convert::partitions(py, &self.consumer.paused().or_raise(py)?)
    }

    /// Offset of the next record to be given; None as long as it is being looked for.
    fn position(&self, py: Python<'_>, partition: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
        let tp = partition_of(partition)?;
        if let Some(Current { shared, next }) = self.current().as_ref()
            && is_of(shared, &tp)
            && *next < shared.batch.len()
        {
            return Ok(Some(shared.offset(*next)));
        }
        self.consumer.position(&tp).or_raise(py)
    }

    // ---- records

    /// The next record; None if none comes within `timeout` seconds.
    #[pyo3(signature = (timeout=None))]
    fn poll(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<Option<Record>> {
        let (this, timeout) = (slf.get(), seconds(timeout)?);
        this.record(|| this.take(slf, RECORDS_MAX, timeout))
    }

    /// The next records of one partition, at most `max_records`; None if none come within `timeout` seconds.
    #[pyo3(signature = (max_records=500, timeout=None))]
    fn next_batch(
        slf: &Bound<'_, Self>,
        max_records: usize,
        timeout: Option<f64>,
    ) -> PyResult<Option<RecordBatch>> {
        let (this, timeout) = (slf.get(), seconds(timeout)?);
        this.batch(|| this.take(slf, max_records, timeout))
    }

    /// Goes through batches, for ever; with `timeout`, until none has come for so many seconds.
    #[pyo3(signature = (max_records=500, timeout=None))]
    fn batches<'py>(
        slf: &Bound<'py, Self>,
        max_records: usize,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("ottla._types")?.getattr("batches")?.call1((slf, max_records, timeout))
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(slf: &Bound<'_, Self>) -> PyResult<Record> {
        if let Some(record) = slf.get().in_hand() {
            return Ok(record);
        }
        loop {
            match Self::poll(slf, None) {
                Ok(Some(record)) => return Ok(record),
                Ok(None) => {}
                Err(_) if slf.get().is_closed() => return Err(PyStopIteration::new_err(())),
                Err(error) => return Err(error),
            }
        }
    }

    /// The record that is in hand, or one that needs no waiting; else None. For event loops, with `ready()`.
    fn try_next(slf: &Bound<'_, Self>) -> PyResult<Option<Record>> {
        let this = slf.get();
        this.record(|| this.try_take(slf, RECORDS_MAX))
    }

    /// A batch that needs no waiting; else None. For event loops, with `ready()`.
    #[pyo3(signature = (max_records=500))]
    fn try_next_batch(slf: &Bound<'_, Self>, max_records: usize) -> PyResult<Option<RecordBatch>> {
        let this = slf.get();
        this.batch(|| this.try_take(slf, max_records))
    }

    /// Ends when there may be something. For event loops.
    fn ready(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.nothing(py, self.consumer.ready(), None)
    }

    /// Ends a wait for records, now or the next, with None; from any thread.
    fn wake(&self) {
        self.consumer.wake();
    }

    // ---- commits

    /// Commits what the program has been given: without an argument, all; a `Record` and all before it in its partition; a
    /// `RecordBatch`; or a dict of offsets by partition. Waits until the group has it.
    #[pyo3(signature = (what=None, *, timeout=None))]
    fn commit(
        &self,
        py: Python<'_>,
        what: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Py<PyAny>> {
        let call = self.commit_of(what)?;
        self.nothing(py, call, timeout)
    }

    /// As `commit`, without waiting; a failure is logged.
    #[pyo3(signature = (what=None))]
    fn commit_nowait(&self, what: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.commit_of(what)?.start(|_| {});
        Ok(())
    }

    /// What the group has committed of these partitions, as `OffsetAndMetadata` by partition; those of which nothing is are
    /// left out.
    fn committed(&self, py: Python<'_>, partitions: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let call = self.consumer.committed(partitions_of(partitions)?);
        self.answer(py, call, |py, found| dict(py, found, |committed| convert::offset(py, &committed)))
    }

    // ---- questions

    /// The first offsets that are still there, by partition.
    fn beginning_offsets(&self, py: Python<'_>, partitions: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let call = self.consumer.beginning_offsets(partitions_of(partitions)?);
        self.answer(py, call, |py, found| dict(py, found, |offset| offset.into_bound_py_any(py)))
    }

    /// The offsets behind the last records, by partition.
    fn end_offsets(&self, py: Python<'_>, partitions: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let call = self.consumer.end_offsets(partitions_of(partitions)?);
        self.answer(py, call, |py, found| dict(py, found, |offset| offset.into_bound_py_any(py)))
    }

    /// The offsets of the first records of these times or later, by partition; those without one are left out.
    fn offsets_for_times(&self, py: Python<'_>, times: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let wanted = by_partition(times, |time| {
            timestamp_ms(Some(time))?.ok_or_else(|| PyTypeError::new_err("a time is missing"))
        })?;
        self.answer(py, self.consumer.offsets_for_times(wanted), |py, found| {
            let found = found.into_iter().filter_map(|(tp, listed)| Some((tp, listed.offset?)));
            dict(py, found, |offset| offset.into_bound_py_any(py))
        })
    }

    /// What it has counted, by name; None where there is nothing yet.
    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let values = self.consumer.metrics().or_raise(py)?.values();
        ConsumerMetrics::TABLE.iter().zip(values).map(|(metric, value)| (metric.name, value)).into_py_dict(py)
    }

    // ---- the end

    /// Leaves the group, with what the program is done with committed, and ends. Closing again does nothing.
    #[pyo3(signature = (timeout=30.0))]
    fn close(slf: &Bound<'_, Self>, timeout: f64) -> PyResult<Py<PyAny>> {
        let (this, py) = (slf.get(), slf.py());
        let timeout = seconds(Some(timeout))?.unwrap_or(Duration::MAX);
        this.keep_back()?;
        *this.current() = None;
        let was_closed = this.closed.swap(true, std::sync::atomic::Ordering::AcqRel);
        if let (Some(event_loop), Some(_), false) = (&this.event_loop, &this.listener, was_closed) {
            // Told by the loop, which goes on while the closing is awaited. Whoever awaits it keeps the consumer.
            let own = PyWeakrefReference::new(slf)?.unbind();
            event_loop.get().steps_of(py, &this.consumer, move |py, step| {
                match own.bind(py).upgrade_as::<Self>()? {
                    Some(own) => own.get().tell(&own, step),
                    None => Ok(()),
                }
            })?;
        }
        if this.listener.is_none() || this.event_loop.is_some() {
            return this.nothing(py, this.consumer.close(timeout), None);
        }
        let own = slf.clone().unbind();
        let mut failure = None;
        wait(py, None, |wait| {
            let tell = |rebalance: Rebalance| {
                if let Err(error) = Python::attach(|py| this.tell(own.bind(py), rebalance)) {
                    failure.get_or_insert(error);
                }
            };
            this.consumer.close_with(timeout, tell, wait)
        })?;
        failure.map_or(Ok(py.None()), Err)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_raised))]
    fn __exit__(slf: &Bound<'_, Self>, _raised: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        Self::close(slf, CLOSE_TIMEOUT_S).map(drop)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a consumer cannot be pickled: make one in each process"))
    }
}

impl Consumer {
    /// The record that is in hand; or the first of the batch that `take` gives, which is in hand from then on.
    #[inline]
    fn record(&self, take: impl FnOnce() -> PyResult<Option<Arc<Shared>>>) -> PyResult<Option<Record>> {
        if let Some(record) = self.in_hand() {
            return Ok(Some(record));
        }
        let Some(shared) = take()? else { return Ok(None) };
        let first = shared.record(0);
        *self.current() = Some(Current { shared, next: 1 });
        Ok(Some(first))
    }

    /// What a loop over records has left of its batch; or the batch that `take` gives.
    fn batch(&self, take: impl FnOnce() -> PyResult<Option<Arc<Shared>>>) -> PyResult<Option<RecordBatch>> {
        let left = self.current().take().filter(|current| current.next < current.shared.batch.len());
        if let Some(Current { shared, next }) = left {
            return Ok(Some(RecordBatch { shared, start: next }));
        }
        Ok(take()?.map(|shared| RecordBatch { shared, start: 0 }))
    }

    /// The next record of the batch that is in hand.
    #[inline]
    fn in_hand(&self) -> Option<Record> {
        let mut current = self.current();
        let Current { shared, next } = current.as_mut()?;
        if *next < shared.batch.len() {
            let record = shared.record(*next);
            *next += 1;
            return Some(record);
        }
        *current = None;
        None
    }

    /// The next batch. Rebalances that come before are told on the way.
    fn take(
        &self,
        slf: &Bound<'_, Self>,
        max: usize,
        timeout: Option<Duration>,
    ) -> PyResult<Option<Arc<Shared>>> {
        let py = slf.py();
        loop {
            if let Some(shared) = self.try_take(slf, max)? {
                return Ok(Some(shared));
            }
            match wait(py, timeout, |wait| self.consumer.next(max, wait))? {
                Next::Batch(batch) => return Ok(Some(Shared::new(py, batch, self.deserializers.clone()))),
                Next::Rebalance(rebalance) => self.tell(slf, rebalance)?,
                Next::Nothing => return Ok(None),
            }
        }
    }

    /// The next batch, if that needs no waiting.
    fn try_take(&self, slf: &Bound<'_, Self>, max: usize) -> PyResult<Option<Arc<Shared>>> {
        let py = slf.py();
        loop {
            return match self.consumer.try_next(max).or_raise(py)? {
                Next::Batch(batch) => Ok(Some(Shared::new(py, batch, self.deserializers.clone()))),
                Next::Rebalance(rebalance) => {
                    self.tell(slf, rebalance)?;
                    continue;
                }
                Next::Nothing => Ok(None),
            };
        }
    }

    /// Calls who wants to hear of it. The group waits until the step is dropped: in an asyncio program, until what a coroutine
    /// function does has ended.
    fn tell(&self, slf: &Bound<'_, Self>, rebalance: Rebalance) -> PyResult<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        let callback = match rebalance.kind() {
            RebalanceKind::Assigned => &listener.assigned,
            RebalanceKind::Revoked => &listener.revoked,
            RebalanceKind::Lost => &listener.lost,
        };
        if let Some(callback) = callback {
            let py = slf.py();
            let partitions = convert::partitions(py, rebalance.partitions())?;
            let given = callback.bind(py).call1((slf, partitions))?;
            if self.event_loop.is_some() && given.hasattr(pyo3::intern!(py, "__await__"))? {
                let task = py.import("asyncio")?.call_method1("ensure_future", (given,))?;
                let step = Py::new(py, Step(Mutex::new(Some(rebalance))))?;
                task.call_method1("add_done_callback", (step,))?;
            }
        }
        Ok(())
    }

    /// What a loop has not come to is not done.
    fn keep_back(&self) -> PyResult<()> {
        if let Some(Current { shared, next }) = self.current().as_ref()
            && *next < shared.batch.len()
        {
            // A client that is closed has nothing to keep.
            _ = self.consumer.keep_back(&shared.batch, shared.offset(*next));
        }
        Ok(())
    }

    fn commit_of(&self, what: Option<&Bound<'_, PyAny>>) -> PyResult<Call<()>> {
        let Some(what) = what.filter(|what| !what.is_none()) else {
            self.keep_back()?;
            return Ok(self.consumer.commit());
        };
        if let Ok(record) = what.cast::<Record>() {
            let (batch, offset) = record.get().place();
            return Ok(self.consumer.commit_below(batch, offset.saturating_add(1)));
        }
        if let Ok(batch) = what.cast::<RecordBatch>() {
            return Ok(self.consumer.commit_batch(&batch.get().shared.batch));
        }
        if let Ok(offsets) = what.cast::<PyDict>() {
            let offsets: Vec<(TopicPartition, OffsetAndMetadata)> = by_partition(offsets, offset_of)?;
            return Ok(self.consumer.commit_offsets(offsets));
        }
        Err(PyTypeError::new_err("a commit is of a Record, a RecordBatch, or a dict of offsets by partition"))
    }

    /// Waits for a call, or gives the event loop's future of it.
    fn nothing(&self, py: Python<'_>, call: Call<()>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        answer(py, self.event_loop.as_ref(), seconds(timeout)?, call, |py, ()| Ok(py.None().into_bound(py)))
    }

    fn answer<T: Send + 'static>(
        &self,
        py: Python<'_>,
        call: Call<T>,
        convert: impl for<'py> FnOnce(Python<'py>, T) -> PyResult<Bound<'py, PyAny>> + Send + 'static,
    ) -> PyResult<Py<PyAny>> {
        answer(py, self.event_loop.as_ref(), None, call, convert)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(std::sync::atomic::Ordering::Acquire)
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A step of a rebalance that a coroutine takes its time over.
#[pyclass(frozen, module = "ottla._ottla")]
struct Step(Mutex<Option<Rebalance>>);

#[pymethods]
impl Step {
    /// Called when the coroutine has ended; says what it has raised, as nobody else would.
    fn __call__(&self, task: &Bound<'_, PyAny>) -> PyResult<()> {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        if !task.call_method0("cancelled")?.is_truthy()? {
            let raised = task.call_method0("exception")?;
            if !raised.is_none() {
                PyErr::from_value(raised).write_unraisable(task.py(), None);
            }
        }
        Ok(())
    }
}

fn is_of(shared: &Shared, tp: &TopicPartition) -> bool {
    *shared.batch.topic() == tp.topic && shared.batch.partition() == tp.partition
}

/// Names of topics: a list, not a name, whose letters would be taken for names.
fn names(topics: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if topics.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("topics are a list of names, not a str"));
    }
    topics.try_iter()?.map(|topic| topic?.extract()).collect()
}
