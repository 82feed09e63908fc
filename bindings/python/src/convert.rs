//! Python's values as the core's, and back.

use std::borrow::Cow;

use ottla_bindings::core::{Header, OffsetAndMetadata, OffsetSpec, TopicPartition};
use pyo3::{
    IntoPyObjectExt,
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    sync::PyOnceLock,
    types::{PyBytes, PyDict, PyString, PyTuple},
};

/// A key or value: bytes, text as UTF-8, whatever `bytes()` makes bytes of; or nothing.
pub(crate) enum Payload<'py> {
    Null,
    Bytes(Bound<'py, PyBytes>),
    Text(Bound<'py, PyString>),
}

impl<'py> Payload<'py> {
    #[inline]
    pub(crate) fn of(value: Option<&Bound<'py, PyAny>>, what: &str) -> PyResult<Self> {
        let Some(value) = value else { return Ok(Self::Null) };
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.clone()));
        }
        if let Ok(text) = value.cast::<PyString>() {
            return Ok(Self::Text(text.clone()));
        }
        Self::other(value, what)
    }

    /// `bytearray`, `memoryview`, numpy's arrays: by a copy. Not numbers, of which `bytes()` makes zeros, nor lists.
    #[cold]
    fn other(value: &Bound<'py, PyAny>, what: &str) -> PyResult<Self> {
        let py = value.py();
        if value.is_none() {
            return Ok(Self::Null);
        }
        let view = py.import("builtins")?.getattr("memoryview")?.call1((value,)).map_err(|_| {
            let kind = value.get_type().name().map(|name| name.to_string()).unwrap_or_default();
            PyTypeError::new_err(format!(
                "{what} is bytes, str or None, not `{kind}`; a {what}_serializer makes bytes of other types"
            ))
        })?;
        Ok(Self::Bytes(view.call_method0("tobytes")?.cast_into::<PyBytes>()?))
    }

    #[inline]
    pub(crate) fn bytes(&self) -> PyResult<Option<Cow<'_, [u8]>>> {
        Ok(match self {
            Self::Null => None,
            Self::Bytes(bytes) => Some(bytes.as_bytes().into()),
            Self::Text(text) => Some(match text.to_cow()? {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            }),
        })
    }
}

/// Headers: a dict, or pairs of which a name may occur again.
pub(crate) struct OwnHeaders(Vec<(String, Option<Vec<u8>>)>);

impl OwnHeaders {
    pub(crate) fn of(headers: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let mut own = Vec::new();
        let Some(headers) = headers.filter(|headers| !headers.is_none()) else { return Ok(Self(own)) };
        let pairs = match headers.cast::<PyDict>() {
            Ok(dict) => dict.items().into_any(),
            Err(_) => headers.clone(),
        };
        for pair in pairs.try_iter()? {
            let (name, value): (String, Option<Bound<'_, PyAny>>) = pair?
                .extract()
                .map_err(|_| PyTypeError::new_err("headers are a dict, or pairs of a name and a value"))?;
            let value = Payload::of(value.as_ref(), "value")?;
            own.push((name, value.bytes()?.map(Cow::into_owned)));
        }
        Ok(Self(own))
    }

    pub(crate) fn borrow(&self) -> Cow<'_, [Header<'_>]> {
        if self.0.is_empty() {
            return Cow::Borrowed(&[]);
        }
        self.0.iter().map(|(name, value)| Header::new(name, value.as_deref())).collect()
    }
}

/// Milliseconds since the epoch: as a number, or a `datetime`.
pub(crate) fn timestamp_ms(timestamp: Option<&Bound<'_, PyAny>>) -> PyResult<Option<i64>> {
    let Some(timestamp) = timestamp.filter(|timestamp| !timestamp.is_none()) else { return Ok(None) };
    if let Ok(ms) = timestamp.extract::<i64>() {
        return Ok(Some(ms));
    }
    let seconds: f64 = timestamp
        .call_method0("timestamp")
        .and_then(|seconds| seconds.extract())
        .map_err(|_| PyTypeError::new_err("a timestamp is milliseconds since the epoch, or a datetime"))?;
    Ok(Some((seconds * 1e3).round() as i64))
}

/// `("orders", 0)`, or an `ottla.TopicPartition`, which is such a pair.
pub(crate) fn partition_of(value: &Bound<'_, PyAny>) -> PyResult<TopicPartition> {
    let (topic, partition): (String, i32) = value.extract().map_err(|_| {
        PyTypeError::new_err("a partition is a TopicPartition, or a pair of topic and number")
    })?;
    Ok(TopicPartition::new(topic, partition))
}

/// Several partitions.
pub(crate) fn partitions_of(values: &Bound<'_, PyAny>) -> PyResult<Vec<TopicPartition>> {
    values.try_iter()?.map(|value| partition_of(&value?)).collect()
}

/// A dict by partition.
pub(crate) fn by_partition<T>(
    values: &Bound<'_, PyAny>,
    convert: impl Fn(&Bound<'_, PyAny>) -> PyResult<T>,
) -> PyResult<Vec<(TopicPartition, T)>> {
    let values =
        values.cast::<PyDict>().map_err(|_| PyTypeError::new_err("a dict by TopicPartition is expected"))?;
    values.iter().map(|(tp, value)| Ok((partition_of(&tp)?, convert(&value)?))).collect()
}

/// An offset to be committed: a number, or an `ottla.OffsetAndMetadata`.
pub(crate) fn offset_of(value: &Bound<'_, PyAny>) -> PyResult<OffsetAndMetadata> {
    if let Ok(offset) = value.extract::<i64>() {
        return Ok(offset.into());
    }
    let (offset, metadata, leader_epoch): (i64, String, Option<i32>) =
        value.extract().map_err(|_| PyTypeError::new_err("an offset is a number or an OffsetAndMetadata"))?;
    Ok(OffsetAndMetadata { offset, leader_epoch, metadata })
}

/// `"earliest"`, `"latest"`, or a time.
pub(crate) fn place_of(value: &Bound<'_, PyAny>) -> PyResult<OffsetSpec> {
    match value.extract::<Cow<'_, str>>() {
        Ok(word) if word == "earliest" => Ok(OffsetSpec::Earliest),
        Ok(word) if word == "latest" => Ok(OffsetSpec::Latest),
        Ok(word) => Err(PyValueError::new_err(format!("`{word}` is neither `earliest` nor `latest`"))),
        Err(_) => match timestamp_ms(Some(value))? {
            Some(ms) => Ok(OffsetSpec::Timestamp(ms)),
            None => Err(PyTypeError::new_err("a place is `earliest`, `latest`, or a time")),
        },
    }
}

/// A class of `ottla._types`, looked up once.
pub(crate) struct Class {
    name: &'static str,
    class: PyOnceLock<Py<PyAny>>,
}

impl Class {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, class: PyOnceLock::new() }
    }

    pub(crate) fn make<'py>(
        &self,
        py: Python<'py>,
        fields: impl pyo3::call::PyCallArgs<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let class = self.class.get_or_try_init(py, || -> PyResult<Py<PyAny>> {
            Ok(py.import("ottla._types")?.getattr(self.name)?.unbind())
        })?;
        class.bind(py).call1(fields)
    }
}

static TOPIC_PARTITION: Class = Class::new("TopicPartition");
static OFFSET_AND_METADATA: Class = Class::new("OffsetAndMetadata");

/// An `ottla.TopicPartition`.
pub(crate) fn partition<'py>(py: Python<'py>, tp: &TopicPartition) -> PyResult<Bound<'py, PyAny>> {
    TOPIC_PARTITION.make(py, (&*tp.topic, tp.partition))
}

/// Several, as a list.
pub(crate) fn partitions<'py>(py: Python<'py>, tps: &[TopicPartition]) -> PyResult<Vec<Bound<'py, PyAny>>> {
    tps.iter().map(|tp| partition(py, tp)).collect()
}

/// An `ottla.OffsetAndMetadata`.
pub(crate) fn offset<'py>(py: Python<'py>, offset: &OffsetAndMetadata) -> PyResult<Bound<'py, PyAny>> {
    OFFSET_AND_METADATA.make(py, (offset.offset, &offset.metadata, offset.leader_epoch))
}

/// A dict by partition.
pub(crate) fn dict<'py, T>(
    py: Python<'py>,
    values: impl IntoIterator<Item = (TopicPartition, T)>,
    convert: impl Fn(T) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let dict = PyDict::new(py);
    for (tp, value) in values {
        dict.set_item(partition(py, &tp)?, convert(value)?)?;
    }
    dict.into_bound_py_any(py)
}

/// A tuple of what `values` gives.
pub(crate) fn tuple<'py>(
    py: Python<'py>,
    values: impl IntoIterator<Item = Bound<'py, PyAny>, IntoIter: ExactSizeIterator>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyTuple::new(py, values)?.into_any())
}
