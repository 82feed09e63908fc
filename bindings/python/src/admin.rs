//! Looking after a cluster: `ottla.Admin`, which is also `ottla.aio.Admin` once it is given an event loop.

use ottla_bindings::{
    self as bindings, BindingError, Call,
    admin::Outcomes,
    core::{
        AlterConfig, ConfigResource, GroupDescription, NewTopic, OffsetAndMetadata, TopicDescription,
        TopicPartition,
    },
};
use pyo3::{
    IntoPyObjectExt,
    exceptions::PyTypeError,
    prelude::*,
    types::{PyDict, PyList, PyString},
};

use crate::{
    config,
    convert::{self, Class, by_partition, offset_of, partitions_of, place_of, tuple},
    error::{OrRaise, exception, raised},
    event_loop::{EventLoop, answer},
};

/// Looks at a cluster and changes it: topics, configurations, groups, offsets.
///
/// >>> with ottla.Admin("localhost:9092") as admin:
/// ...     admin.create_topics([ottla.NewTopic("orders", partitions=6)])
///
/// A call about several things gives a dict with an outcome for each, and raises the first failure; with
/// `return_exceptions=True` failures are values of the dict instead.
#[pyclass(frozen, subclass, module = "ottla")]
pub(crate) struct Admin {
    admin: bindings::Admin,
    event_loop: Option<Py<EventLoop>>,
}

static TOPIC_DESCRIPTION: Class = Class::new("TopicDescription");
static PARTITION_DESCRIPTION: Class = Class::new("PartitionDescription");
static CONFIG_ENTRY: Class = Class::new("ConfigEntry");
static GROUP_LISTING: Class = Class::new("GroupListing");
static GROUP_DESCRIPTION: Class = Class::new("GroupDescription");
static GROUP_MEMBER: Class = Class::new("GroupMember");
static CLUSTER_DESCRIPTION: Class = Class::new("ClusterDescription");
static BROKER: Class = Class::new("Broker");

#[pymethods]
impl Admin {
    #[new]
    #[pyo3(signature = (bootstrap_servers=None, config=None, /, *, oauth_cb=None, **options))]
    fn new(
        py: Python<'_>,
        bootstrap_servers: Option<&Bound<'_, PyAny>>,
        config: Option<&Bound<'_, PyDict>>,
        oauth_cb: Option<Py<PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let event_loop = EventLoop::among(options)?;
        let tokens = (oauth_cb, event_loop.as_ref());
        let config = config::config(py, bootstrap_servers, config, options, tokens)?;
        let keys = config.admin().or_raise(py)?;
        Ok(Self { admin: bindings::Admin::with_tokens(keys, config.tokens()).or_raise(py)?, event_loop })
    }

    /// Creates topics: `NewTopic`s, or names for the broker's defaults. With `validate_only` says whether they could be.
    #[pyo3(signature = (topics, *, validate_only=false, return_exceptions=false))]
    fn create_topics(
        &self,
        py: Python<'_>,
        topics: &Bound<'_, PyAny>,
        validate_only: bool,
        return_exceptions: bool,
    ) -> PyResult<Py<PyAny>> {
        let topics = topics.try_iter()?.map(|topic| new_topic(&topic?)).collect::<PyResult<Vec<_>>>()?;
        let call = self.admin.create_topics(topics, validate_only);
        self.each(py, call, return_exceptions, str_key, |py, _| Ok(py.None().into_bound(py)))
    }

    /// Deletes topics with all their records.
    #[pyo3(signature = (topics, *, return_exceptions=false))]
    fn delete_topics(
        &self,
        py: Python<'_>,
        topics: &Bound<'_, PyAny>,
        return_exceptions: bool,
    ) -> PyResult<Py<PyAny>> {
        let call = self.admin.delete_topics(names(topics)?);
        self.each(py, call, return_exceptions, str_key, |py, ()| Ok(py.None().into_bound(py)))
    }

    /// Raises the number of partitions of topics: a dict of totals by name.
    #[pyo3(signature = (totals, *, validate_only=false, return_exceptions=false))]
    fn create_partitions(
        &self,
        py: Python<'_>,
        totals: std::collections::HashMap<String, i32>,
        validate_only: bool,
        return_exceptions: bool,
    ) -> PyResult<Py<PyAny>> {
        let call = self.admin.create_partitions(totals.into_iter().collect(), validate_only);
        self.each(py, call, return_exceptions, str_key, |py, ()| Ok(py.None().into_bound(py)))
    }

    /// Topics with their partitions, as `TopicDescription` by name.
    #[pyo3(signature = (topics, *, return_exceptions=false))]
    fn describe_topics(
        &self,
        py: Python<'_>,
        topics: &Bound<'_, PyAny>,
        return_exceptions: bool,
    ) -> PyResult<Py<PyAny>> {
        let call = self.admin.describe_topics(names(topics)?);
        self.each(py, call, return_exceptions, str_key, topic_description)
    }

    /// The names of all topics; with `internal`, Kafka's own among them.
    #[pyo3(signature = (*, internal=false))]
    fn list_topics(&self, py: Python<'_>, internal: bool) -> PyResult<Py<PyAny>> {
        self.answer(py, self.admin.list_topics(), move |py, topics| {
            let wanted = topics.iter().filter(|topic| internal || !topic.is_internal);
            PyList::new(py, wanted.map(|topic| &*topic.name)).map(Bound::into_any)
        })
    }

    /// A topic's configuration, as `ConfigEntry` by key.
    fn topic_config(&self, py: Python<'_>, topic: String) -> PyResult<Py<PyAny>> {
        self.config(py, ConfigResource::Topic(topic))
    }

    /// A broker's configuration, as `ConfigEntry` by key.
    fn broker_config(&self, py: Python<'_>, broker: i32) -> PyResult<Py<PyAny>> {
        self.config(py, ConfigResource::Broker(bindings::core::BrokerId(broker)))
    }

    /// Changes single keys of a topic; None takes a key back to its default.
    #[pyo3(signature = (topic, changes, *, validate_only=false))]
    fn alter_topic_config(
        &self,
        py: Python<'_>,
        topic: String,
        changes: &Bound<'_, PyDict>,
        validate_only: bool,
    ) -> PyResult<Py<PyAny>> {
        let change = |(key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| -> PyResult<AlterConfig> {
            let key: String = key.extract()?;
            Ok(match value.is_none() {
                true => AlterConfig::delete(key),
                false => AlterConfig::set(key, value.str()?.to_string()),
            })
        };
        let changes = changes.iter().map(change).collect::<PyResult<_>>()?;
        let call = self.admin.alter_configs(vec![(ConfigResource::Topic(topic), changes)], validate_only);
        self.answer(py, call, |py, outcomes| {
            only(py, outcomes)?;
            Ok(py.None().into_bound(py))
        })
    }

    /// All groups of the cluster, as `GroupListing`.
    fn list_groups(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.answer(py, self.admin.list_groups(), |py, groups| {
            let listing = |group: &bindings::core::GroupListing| {
                let state = group.state.map(|state| state.name());
                let kind = group.group_type.map(|kind| kind.name());
                GROUP_LISTING.make(py, (&group.group_id, state, kind, &group.protocol_type))
            };
            let listed = groups.iter().map(listing).collect::<PyResult<Vec<_>>>()?;
            PyList::new(py, listed).map(Bound::into_any)
        })
    }

    /// Groups with their members, as `GroupDescription` by name.
    #[pyo3(signature = (groups, *, return_exceptions=false))]
    fn describe_groups(
        &self,
        py: Python<'_>,
        groups: &Bound<'_, PyAny>,
        return_exceptions: bool,
    ) -> PyResult<Py<PyAny>> {
        let call = self.admin.describe_groups(names(groups)?);
        self.each(py, call, return_exceptions, str_key, group_description)
    }

    /// Deletes groups without members, with the offsets they have committed.
    #[pyo3(signature = (groups, *, return_exceptions=false))]
    fn delete_groups(
        &self,
        py: Python<'_>,
        groups: &Bound<'_, PyAny>,
        return_exceptions: bool,
    ) -> PyResult<Py<PyAny>> {
        let call = self.admin.delete_groups(names(groups)?);
        self.each(py, call, return_exceptions, str_key, |py, ()| Ok(py.None().into_bound(py)))
    }

    /// All offsets that a group has committed, as `OffsetAndMetadata` by partition.
    fn group_offsets(&self, py: Python<'_>, group: String) -> PyResult<Py<PyAny>> {
        let call = self.admin.list_group_offsets(vec![group]);
        self.answer(py, call, |py, outcomes| {
            convert::dict(py, only(py, outcomes)?, |committed| convert::offset(py, &committed))
        })
    }

    /// Commits offsets, a dict by partition, in the name of a group that has no members.
    #[pyo3(signature = (group, offsets, *, return_exceptions=false))]
    fn alter_group_offsets(
        &self,
        py: Python<'_>,
        group: String,
        offsets: &Bound<'_, PyAny>,
        return_exceptions: bool,
    ) -> PyResult<Py<PyAny>> {
        let offsets: Vec<(TopicPartition, OffsetAndMetadata)> = by_partition(offsets, offset_of)?;
        let call = self.admin.alter_group_offsets(group, offsets);
        self.each(py, call, return_exceptions, partition_key, |py, ()| Ok(py.None().into_bound(py)))
    }

    /// Forgets offsets that a group has committed, of topics that no member of it reads.
    #[pyo3(signature = (group, partitions, *, return_exceptions=false))]
    fn delete_group_offsets(
        &self,
        py: Python<'_>,
        group: String,
        partitions: &Bound<'_, PyAny>,
        return_exceptions: bool,
    ) -> PyResult<Py<PyAny>> {
        let call = self.admin.delete_group_offsets(group, partitions_of(partitions)?);
        self.each(py, call, return_exceptions, partition_key, |py, ()| Ok(py.None().into_bound(py)))
    }

    /// Offsets by place: a dict of "earliest", "latest" or a time by partition. Those that have none are left out.
    #[pyo3(signature = (places, *, return_exceptions=false))]
    fn list_offsets(
        &self,
        py: Python<'_>,
        places: &Bound<'_, PyAny>,
        return_exceptions: bool,
    ) -> PyResult<Py<PyAny>> {
        let call = self.admin.list_offsets(by_partition(places, place_of)?);
        self.each(py, call, return_exceptions, partition_key, |py, listed| {
            listed.offset.into_bound_py_any(py)
        })
    }

    /// The cluster's id, controller and brokers, as `ClusterDescription`.
    fn describe_cluster(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.answer(py, self.admin.describe_cluster(), |py, cluster| {
            let broker = |broker: &bindings::core::Broker| {
                BROKER.make(py, (broker.id.0, &broker.host, broker.port, broker.rack.as_deref()))
            };
            let brokers = cluster.brokers.iter().map(broker).collect::<PyResult<Vec<_>>>()?;
            let controller = cluster.controller.map(|id| id.0);
            CLUSTER_DESCRIPTION.make(py, (&cluster.cluster_id, controller, tuple(py, brokers)?))
        })
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, _raised: &Bound<'_, pyo3::types::PyTuple>) {}

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("an admin client cannot be pickled: make one in each process"))
    }
}

impl Admin {
    fn config(&self, py: Python<'_>, resource: ConfigResource) -> PyResult<Py<PyAny>> {
        self.answer(py, self.admin.describe_configs(vec![resource]), |py, outcomes| {
            let dict = PyDict::new(py);
            for entry in only(py, outcomes)? {
                let source = format!("{:?}", entry.source);
                let fields =
                    (&entry.name, entry.value.as_deref(), source, entry.is_read_only, entry.is_sensitive);
                dict.set_item(&entry.name, CONFIG_ENTRY.make(py, fields)?)?;
            }
            Ok(dict.into_any())
        })
    }

    /// A dict with the outcome of each thing.
    fn each<K: Send + 'static, T: Send + 'static>(
        &self,
        py: Python<'_>,
        call: Call<Outcomes<K, T>>,
        return_exceptions: bool,
        key: for<'py> fn(Python<'py>, &K) -> PyResult<Bound<'py, PyAny>>,
        value: for<'py> fn(Python<'py>, T) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        self.answer(py, call, move |py, outcomes| {
            let dict = PyDict::new(py);
            for (of, outcome) in outcomes {
                let outcome = match outcome {
                    Ok(done) => value(py, done)?,
                    Err(error) if return_exceptions => exception(py, &error)?.into_bound(py),
                    Err(error) => return Err(raised(py, &error)),
                };
                dict.set_item(key(py, &of)?, outcome)?;
            }
            Ok(dict.into_any())
        })
    }

    /// Waits for a call, or gives the event loop's future of it.
    fn answer<T: Send + 'static>(
        &self,
        py: Python<'_>,
        call: Call<T>,
        convert: impl for<'py> FnOnce(Python<'py>, T) -> PyResult<Bound<'py, PyAny>> + Send + 'static,
    ) -> PyResult<Py<PyAny>> {
        // `default.api.timeout.ms` ends it.
        answer(py, self.event_loop.as_ref(), None, call, convert)
    }
}

/// The outcome of a call about one thing.
fn only<K, T>(py: Python<'_>, outcomes: Outcomes<K, T>) -> PyResult<T> {
    let (_, outcome) = outcomes
        .into_iter()
        .next()
        .ok_or_else(|| raised(py, &BindingError::invalid("the broker did not answer about it")))?;
    outcome.or_raise(py)
}

#[allow(clippy::ptr_arg, reason = "one of the keys of `each`")]
fn str_key<'py>(py: Python<'py>, name: &String) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyString::new(py, name).into_any())
}

fn partition_key<'py>(py: Python<'py>, tp: &TopicPartition) -> PyResult<Bound<'py, PyAny>> {
    convert::partition(py, tp)
}

/// `NewTopic(name, partitions, replication_factor, config)`, or a name.
fn new_topic(value: &Bound<'_, PyAny>) -> PyResult<NewTopic> {
    if let Ok(name) = value.extract::<String>() {
        return Ok(NewTopic::new(name));
    }
    let (name, partitions, replicas, config): (String, Option<i32>, Option<i16>, Option<Bound<'_, PyDict>>) =
        value.extract().map_err(|_| PyTypeError::new_err("a topic is a NewTopic or a name"))?;
    let mut topic = NewTopic::new(name);
    topic.partitions = partitions;
    topic.replication_factor = replicas;
    for (key, value) in config.into_iter().flatten() {
        topic = topic.config(key.extract::<String>()?, value.str()?.to_string());
    }
    Ok(topic)
}

fn topic_description<'py>(py: Python<'py>, topic: TopicDescription) -> PyResult<Bound<'py, PyAny>> {
    let ids = |brokers: &[bindings::core::BrokerId]| -> Vec<i32> { brokers.iter().map(|id| id.0).collect() };
    let partition = |partition: &bindings::core::PartitionDescription| {
        let leader = partition.leader.map(|id| id.0);
        let (replicas, in_sync) = (ids(&partition.replicas), ids(&partition.in_sync));
        PARTITION_DESCRIPTION.make(py, (partition.partition, leader, replicas, in_sync))
    };
    let partitions = topic.partitions.iter().map(partition).collect::<PyResult<Vec<_>>>()?;
    let id = topic.id.to_string();
    TOPIC_DESCRIPTION.make(py, (&*topic.name, id, topic.is_internal, tuple(py, partitions)?))
}

fn group_description<'py>(py: Python<'py>, group: GroupDescription) -> PyResult<Bound<'py, PyAny>> {
    let member = |member: &bindings::core::GroupMember| {
        let assignment = convert::partitions(py, &member.assignment)?;
        let instance = member.group_instance_id.as_deref();
        GROUP_MEMBER.make(py, (&member.member_id, instance, &member.client_id, &member.host, assignment))
    };
    let members = group.members.iter().map(member).collect::<PyResult<Vec<_>>>()?;
    let (state, kind) = (group.state.name(), group.group_type.name());
    GROUP_DESCRIPTION
        .make(py, (&group.group_id, state, kind, &group.assignor, group.coordinator.0, tuple(py, members)?))
}

/// Names: a list, not a name, whose letters would be taken for names.
fn names(values: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if values.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("a list of names is expected, not a str"));
    }
    values.try_iter()?.map(|name| name?.extract()).collect()
}
