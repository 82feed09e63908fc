//! Records that were read: views on their batch, looked at when the program does.

use std::sync::Arc;

use ottla_bindings as bindings;
use pyo3::{
    IntoPyObjectExt,
    exceptions::PyIndexError,
    prelude::*,
    sync::PyOnceLock,
    types::{PyBytes, PyList, PySlice, PyString},
};

use crate::error::raised;

/// What makes objects of keys and values.
pub(crate) struct Deserializers {
    pub(crate) key: Option<Py<PyAny>>,
    pub(crate) value: Option<Py<PyAny>>,
}

/// A batch with what its records share.
pub(crate) struct Shared {
    pub(crate) batch: bindings::RecordBatch,
    topic: Py<PyString>,
    deserializers: Option<Arc<Deserializers>>,
}

impl Shared {
    pub(crate) fn new(
        py: Python<'_>,
        batch: bindings::RecordBatch,
        deserializers: Option<Arc<Deserializers>>,
    ) -> Arc<Self> {
        let topic = PyString::intern(py, batch.topic()).unbind();
        Arc::new(Self { batch, topic, deserializers })
    }

    pub(crate) fn record(self: &Arc<Self>, index: usize) -> Record {
        let objects = self
            .deserializers
            .as_ref()
            .map(|_| Box::new(Objects { key: PyOnceLock::new(), value: PyOnceLock::new() }));
        Record { shared: Arc::clone(self), index: index as u32, objects }
    }

    pub(crate) fn offset(&self, index: usize) -> i64 {
        self.batch.views()[index].offset
    }
}

/// A record that was read.
///
/// It is a view on its batch, which it keeps in memory; `detach()` gives one that does not.
#[pyclass(frozen, module = "ottla")]
pub(crate) struct Record {
    shared: Arc<Shared>,
    index: u32,
    /// What the deserializers made, once they were asked.
    objects: Option<Box<Objects>>,
}

struct Objects {
    key: PyOnceLock<Py<PyAny>>,
    value: PyOnceLock<Py<PyAny>>,
}

#[pymethods]
impl Record {
    /// The topic.
    #[getter]
    fn topic(&self, py: Python<'_>) -> Py<PyString> {
        self.shared.topic.clone_ref(py)
    }

    /// The partition's number.
    #[getter]
    fn partition(&self) -> i32 {
        self.shared.batch.partition()
    }

    /// Its offset in the partition.
    #[getter]
    fn offset(&self) -> i64 {
        self.view().offset
    }

    /// Milliseconds since the epoch; -1 for none.
    #[getter]
    fn timestamp(&self) -> i64 {
        self.view().timestamp_ms
    }

    /// The timestamp as a `datetime` in UTC; None for none.
    #[getter]
    fn datetime<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let ms = self.view().timestamp_ms;
        if ms < 0 {
            return Ok(None);
        }
        py.import("ottla._types")?.getattr("datetime_of")?.call1((ms,)).map(Some)
    }

    /// The key: bytes, or what the deserializer makes of them; None for null.
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let of = self.shared.deserializers.as_ref().and_then(|all| all.key.as_ref());
        let kept = self.objects.as_ref().map(|objects| &objects.key);
        self.part(py, "key", self.shared.batch.key(self.index as usize), of.zip(kept))
    }

    /// The value: bytes, or what the deserializer makes of them; None for null.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let of = self.shared.deserializers.as_ref().and_then(|all| all.value.as_ref());
        let kept = self.objects.as_ref().map(|objects| &objects.value);
        self.part(py, "value", self.shared.batch.value(self.index as usize), of.zip(kept))
    }

    /// The headers in their order, as pairs of a name and bytes or None; a name may occur again.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let pairs = PyList::empty(py);
        for (name, value) in self.shared.batch.headers(self.index as usize) {
            let name = String::from_utf8_lossy(name);
            pairs.append((name, value.map(|value| PyBytes::new(py, value))))?;
        }
        Ok(pairs)
    }

    /// Epoch of the leader that wrote it; None where it is not known.
    #[getter]
    fn leader_epoch(&self) -> Option<i32> {
        Some(self.view().leader_epoch).filter(|epoch| *epoch >= 0)
    }

    /// The same record with memory of its own, for those that keep few of many: an `ottla.OwnRecord`.
    fn detach<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("ottla._types")?.getattr("OwnRecord")?.call_method1("of", (slf,))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (key, value) = (self.key(py)?, self.value(py)?);
        let shown = |part: Option<Bound<'_, PyAny>>| -> PyResult<String> {
            part.map_or(Ok("None".into()), |part| Ok(part.repr()?.to_string()))
        };
        Ok(format!(
            "Record(topic={:?}, partition={}, offset={}, key={}, value={})",
            self.shared.topic.to_str(py)?,
            self.partition(),
            self.offset(),
            shown(key)?,
            shown(value)?
        ))
    }
}

impl Record {
    /// Its batch, and its offset.
    pub(crate) fn place(&self) -> (&bindings::RecordBatch, i64) {
        (&self.shared.batch, self.view().offset)
    }

    #[inline]
    fn view(&self) -> &bindings::RecordView {
        &self.shared.batch.views()[self.index as usize]
    }

    #[inline]
    fn part<'py>(
        &self,
        py: Python<'py>,
        what: &str,
        bytes: Option<&[u8]>,
        made: Option<(&Py<PyAny>, &PyOnceLock<Py<PyAny>>)>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(bytes) = bytes else { return Ok(None) };
        let bytes = PyBytes::new(py, bytes).into_any();
        let Some((deserializer, kept)) = made else { return Ok(Some(bytes)) };
        let made = kept.get_or_try_init(py, || {
            deserializer.call1(py, (bytes,)).map_err(|cause| {
                let text = format!(
                    "the {what} of the record at offset {} of `{}-{}` could not be deserialized",
                    self.offset(),
                    self.shared.batch.topic(),
                    self.partition()
                );
                let corrupt = ottla_bindings::error::CORRUPT;
                let error = raised(py, &bindings::BindingError::local(corrupt, text));
                error.set_cause(py, Some(cause));
                error
            })
        })?;
        Ok(Some(made.bind(py).clone()))
    }
}

/// Records of one partition that follow each other: a sequence of `Record`.
#[pyclass(frozen, sequence, module = "ottla")]
pub(crate) struct RecordBatch {
    pub(crate) shared: Arc<Shared>,
    /// Which of the shared batch's they are.
    pub(crate) start: usize,
}

#[pymethods]
impl RecordBatch {
    /// The topic.
    #[getter]
    fn topic(&self, py: Python<'_>) -> Py<PyString> {
        self.shared.topic.clone_ref(py)
    }

    /// The partition's number.
    #[getter]
    fn partition(&self) -> i32 {
        self.shared.batch.partition()
    }

    /// The offset at which the next batch goes on.
    #[getter]
    fn next_offset(&self) -> i64 {
        self.shared.batch.next_offset()
    }

    /// Offset behind the partition's last record, as of the fetch that brought this batch.
    #[getter]
    fn high_watermark(&self) -> Option<i64> {
        self.shared.batch.high_watermark()
    }

    /// All values, as bytes or None: quicker than one record after the other.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.column(py, |index| self.shared.batch.value(index))
    }

    /// All keys, as bytes or None.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.column(py, |index| self.shared.batch.key(index))
    }

    /// All offsets.
    fn offsets(&self) -> Vec<i64> {
        self.shared.batch.views()[self.start..].iter().map(|view| view.offset).collect()
    }

    /// All timestamps, in milliseconds since the epoch.
    fn timestamps(&self) -> Vec<i64> {
        self.shared.batch.views()[self.start..].iter().map(|view| view.timestamp_ms).collect()
    }

    /// The batch as a `pyarrow.RecordBatch` with the columns offset, timestamp, key and value. Needs pyarrow.
    fn to_arrow<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("ottla._types")?.getattr("to_arrow")?.call1((slf,))
    }

    fn __len__(&self) -> usize {
        self.shared.batch.len() - self.start
    }

    fn __getitem__<'py>(&self, py: Python<'py>, at: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(slice) = at.cast::<PySlice>() {
            let picked = slice.indices(self.__len__() as isize)?;
            let records = (0..picked.slicelength)
                .map(|n| self.shared.record(self.start + (picked.start + n as isize * picked.step) as usize));
            return records.collect::<Vec<_>>().into_bound_py_any(py);
        }
        let at: isize = at.extract()?;
        let from_start = if at < 0 { at + self.__len__() as isize } else { at };
        match usize::try_from(from_start) {
            Ok(index) if index < self.__len__() => {
                self.shared.record(self.start + index).into_bound_py_any(py)
            }
            _ => Err(PyIndexError::new_err("there is no such record in the batch")),
        }
    }

    fn __iter__(&self) -> RecordIterator {
        RecordIterator { shared: Arc::clone(&self.shared), next: self.start.into() }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (first, topic) = (self.shared.offset(self.start), self.shared.topic.to_str(py)?);
        let (partition, len) = (self.partition(), self.__len__());
        Ok(format!("<RecordBatch of {len} records from offset {first} of {topic}-{partition}>"))
    }
}

impl RecordBatch {
    fn column<'a, 'py>(
        &'a self,
        py: Python<'py>,
        part: impl Fn(usize) -> Option<&'a [u8]>,
    ) -> PyResult<Bound<'py, PyList>> {
        let parts = (self.start..self.shared.batch.len())
            .map(|index| part(index).map(|bytes| PyBytes::new(py, bytes)))
            .collect::<Vec<_>>();
        PyList::new(py, parts)
    }
}

/// Goes through a batch.
#[pyclass(frozen, module = "ottla._ottla")]
pub(crate) struct RecordIterator {
    shared: Arc<Shared>,
    next: std::sync::atomic::AtomicUsize,
}

#[pymethods]
impl RecordIterator {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self) -> Option<Record> {
        let index = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        (index < self.shared.batch.len()).then(|| self.shared.record(index))
    }
}
