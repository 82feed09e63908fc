//! What calls give, for C: plain structs, and lists of them, that live with the result.

use std::{
    any::Any,
    ffi::{CString, c_char},
    ptr,
};

use ottla_bindings::{
    Result,
    core::{
        ClusterDescription, ConfigEntry, ConfigSource, GroupDescription, GroupListing, TopicDescription,
        TopicListing, TopicPartition,
    },
};

use crate::{
    border::{borrow, ffi, ottla_status, take, write},
    error::{c_text, ottla_error},
    partitions::{Row, ottla_partitions, ottla_topic_partition},
};

/// What became of one of several things.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ottla_outcome {
    /// The name of the topic, group or resource.
    pub name: *const c_char,
    /// The partition, if it is one; -1.
    pub partition: i32,
    /// 0, or why it failed.
    pub status: ottla_status,
    /// Why it failed, or NULL; it stays the result's.
    pub error: *const ottla_error,
}

/// A partition and its replicas.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ottla_partition_info {
    /// Its index.
    pub partition: i32,
    /// The broker that leads it; -1 for none.
    pub leader: i32,
    /// Counts its leaders.
    pub leader_epoch: i32,
    /// 0.
    pub reserved: u32,
    /// The brokers of its replicas, the preferred leader first.
    pub replicas: *const i32,
    /// How many they are.
    pub replica_count: usize,
    /// Those of them that are in sync.
    pub in_sync: *const i32,
    /// How many they are.
    pub in_sync_count: usize,
}

/// A topic.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ottla_topic_info {
    /// Its name.
    pub name: *const c_char,
    /// Its id, the first byte first.
    pub id: [u8; 16],
    /// How many partitions it has.
    pub partition_count: usize,
    /// Its partitions, by index; NULL in a listing.
    pub partitions: *const ottla_partition_info,
    /// One of Kafka's own, as __consumer_offsets.
    pub is_internal: bool,
}

/// A broker.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ottla_broker_info {
    /// Its id.
    pub id: i32,
    /// Its port.
    pub port: i32,
    /// Name or address to connect to.
    pub host: *const c_char,
    /// Its rack, or NULL.
    pub rack: *const c_char,
}

/// One key of a configuration.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ottla_config_entry {
    /// The key.
    pub name: *const c_char,
    /// Its value; NULL where it is sensitive, or there is none.
    pub value: *const c_char,
    /// Where the value comes from, as Kafka numbers it: 1 the topic, 2 the broker while it ran, 3 all brokers while they ran, 4 the
    /// broker's file, 5 the default, 6 the broker's loggers.
    pub source: i32,
    /// It cannot be changed while the broker runs.
    pub is_read_only: bool,
    /// The broker does not show the value.
    pub is_sensitive: bool,
}

/// The configuration of a topic or a broker.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ottla_config_info {
    /// The name of the topic, or the id of the broker.
    pub name: *const c_char,
    /// All its keys.
    pub entries: *const ottla_config_entry,
    /// How many they are.
    pub entry_count: usize,
}

/// A member of a group.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ottla_member_info {
    /// Its id.
    pub member_id: *const c_char,
    /// The name of a static member, or NULL.
    pub instance_id: *const c_char,
    /// What its program calls itself.
    pub client_id: *const c_char,
    /// The address it connects from.
    pub host: *const c_char,
    /// The partitions it has.
    pub assignment: *const ottla_topic_partition,
    /// How many they are.
    pub assignment_count: usize,
}

/// A group.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ottla_group_info {
    /// Its name.
    pub group_id: *const c_char,
    /// What it is doing, as Kafka names it ("Stable"); empty where the broker does not tell.
    pub state: *const c_char,
    /// Which protocol its members speak ("classic", "consumer"); empty where the broker does not tell.
    pub group_type: *const c_char,
    /// What it is for ("consumer").
    pub protocol_type: *const c_char,
    /// The assignor in use; empty in a listing.
    pub assignor: *const c_char,
    /// The broker that keeps it; -1 in a listing.
    pub coordinator: i32,
    /// 0.
    pub reserved: u32,
    /// Its members; NULL in a listing.
    pub members: *const ottla_member_info,
    /// How many they are.
    pub member_count: usize,
}

/// What a call gives. Belongs to whoever was given it: free it with ottla_result_free(). All that its functions point to lives
/// with it; a list that the call does not give is empty.
#[derive(Default)]
pub struct ottla_result {
    number: i64,
    cluster_id: CString,
    outcomes: Vec<ottla_outcome>,
    partitions: Option<ottla_partitions>,
    topics: Vec<ottla_topic_info>,
    brokers: Vec<ottla_broker_info>,
    configs: Vec<ottla_config_info>,
    groups: Vec<ottla_group_info>,
    keep: Keep,
}

// SAFETY: its pointers are into what it owns, and nothing changes after it is made.
unsafe impl Send for ottla_result {}

/// What rows point to. Each thing is in a box of its own and stays where it is.
#[derive(Default)]
struct Keep {
    texts: Vec<CString>,
    lists: Vec<Box<dyn Any>>,
}

impl Keep {
    fn text(&mut self, text: impl Into<String>) -> *const c_char {
        let text = c_text(text);
        let at = text.as_ptr();
        self.texts.push(text);
        at
    }

    fn maybe(&mut self, text: Option<String>) -> *const c_char {
        text.map_or(ptr::null(), |text| self.text(text))
    }

    fn list<T: 'static>(&mut self, list: Vec<T>) -> *const T {
        let list = list.into_boxed_slice();
        let at = list.as_ptr();
        self.lists.push(Box::new(list));
        at
    }
}

impl ottla_result {
    pub(crate) fn of_number(number: i64) -> Self {
        Self { number, ..Self::default() }
    }

    pub(crate) fn of_partitions(rows: impl IntoIterator<Item = Row>) -> Self {
        Self { partitions: Some(ottla_partitions::new(rows)), ..Self::default() }
    }

    pub(crate) fn set_partitions(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.partitions = Some(ottla_partitions::new(rows));
    }

    /// What became of each; `add` adds what there is of those that went well.
    pub(crate) fn of_outcomes<T>(
        outcomes: impl IntoIterator<Item = (String, Result<T>)>,
        mut add: impl FnMut(&mut Self, &str, T),
    ) -> Self {
        let mut result = Self::default();
        for (name, outcome) in outcomes {
            result.add_outcome(&name, -1, outcome.as_ref().err().cloned());
            if let Ok(found) = outcome {
                add(&mut result, &name, found);
            }
        }
        result
    }

    /// As [`Self::of_outcomes`], of partitions: what there is of those that went well is their row.
    pub(crate) fn of_partition_outcomes<T>(
        outcomes: impl IntoIterator<Item = (TopicPartition, Result<T>)>,
        row: impl Fn(TopicPartition, T) -> Row,
    ) -> Self {
        let mut result = Self::default();
        let mut rows = Vec::new();
        for (tp, outcome) in outcomes {
            result.add_outcome(&tp.topic, tp.partition, outcome.as_ref().err().cloned());
            rows.push(match outcome {
                Ok(found) => row(tp, found),
                Err(error) => Row { status: error.code, ..Row::of(tp) },
            });
        }
        result.partitions = Some(ottla_partitions::new(rows));
        result
    }

    fn add_outcome(&mut self, name: &str, partition: i32, error: Option<ottla_bindings::BindingError>) {
        let status = error.as_ref().map_or(0, |error| error.code);
        let error = error.map_or(ptr::null(), |error| self.keep.list(vec![ottla_error::new(error)]));
        let name = self.keep.text(name);
        self.outcomes.push(ottla_outcome { name, partition, status, error });
    }

    pub(crate) fn of_listed_topics(topics: Vec<TopicListing>) -> Self {
        let mut result = Self::default();
        for topic in topics {
            let name = result.keep.text(&*topic.name);
            result.topics.push(ottla_topic_info {
                name,
                id: topic.id.0.to_be_bytes(),
                partition_count: topic.partitions,
                partitions: ptr::null(),
                is_internal: topic.is_internal,
            });
        }
        result
    }

    pub(crate) fn add_topic(&mut self, topic: TopicDescription) {
        let keep = &mut self.keep;
        let mut rows = Vec::new();
        for partition in topic.partitions {
            let ids = |brokers: Vec<ottla_bindings::core::BrokerId>| {
                brokers.into_iter().map(|id| id.0).collect::<Vec<i32>>()
            };
            let (replicas, in_sync) = (ids(partition.replicas), ids(partition.in_sync));
            let (replica_count, in_sync_count) = (replicas.len(), in_sync.len());
            rows.push(ottla_partition_info {
                partition: partition.partition,
                leader: partition.leader.map_or(-1, |id| id.0),
                leader_epoch: partition.leader_epoch,
                reserved: 0,
                replicas: keep.list(replicas),
                replica_count,
                in_sync: keep.list(in_sync),
                in_sync_count,
            });
        }
        self.topics.push(ottla_topic_info {
            name: keep.text(&*topic.name),
            id: topic.id.0.to_be_bytes(),
            partition_count: rows.len(),
            partitions: keep.list(rows),
            is_internal: topic.is_internal,
        });
    }

    pub(crate) fn add_config(&mut self, name: &str, entries: Vec<ConfigEntry>) {
        let keep = &mut self.keep;
        let rows: Vec<_> = entries
            .into_iter()
            .map(|entry| ottla_config_entry {
                name: keep.text(entry.name),
                value: keep.maybe(entry.value),
                source: config_source(entry.source),
                is_read_only: entry.is_read_only,
                is_sensitive: entry.is_sensitive,
            })
            .collect();
        let entry_count = rows.len();
        self.configs.push(ottla_config_info { name: keep.text(name), entries: keep.list(rows), entry_count });
    }

    pub(crate) fn of_listed_groups(groups: Vec<GroupListing>) -> Self {
        let mut result = Self::default();
        let keep = &mut result.keep;
        result.groups = groups
            .into_iter()
            .map(|group| ottla_group_info {
                group_id: keep.text(group.group_id),
                state: keep.text(group.state.map_or("", |state| state.name())),
                group_type: keep.text(group.group_type.map_or("", |kind| kind.name())),
                protocol_type: keep.text(group.protocol_type),
                assignor: keep.text(""),
                coordinator: -1,
                reserved: 0,
                members: ptr::null(),
                member_count: 0,
            })
            .collect();
        result
    }

    pub(crate) fn add_group(&mut self, group: GroupDescription) {
        let keep = &mut self.keep;
        let mut members = Vec::new();
        for member in group.members {
            let assignment = ottla_partitions::new(member.assignment.into_iter().map(Row::of));
            let (at, assignment_count) = (assignment.rows().as_ptr(), assignment.rows().len());
            keep.lists.push(Box::new(assignment));
            members.push(ottla_member_info {
                member_id: keep.text(member.member_id),
                instance_id: keep.maybe(member.group_instance_id),
                client_id: keep.text(member.client_id),
                host: keep.text(member.host),
                assignment: at,
                assignment_count,
            });
        }
        self.groups.push(ottla_group_info {
            group_id: keep.text(group.group_id),
            state: keep.text(group.state.name()),
            group_type: keep.text(group.group_type.name()),
            protocol_type: keep.text(group.protocol_type),
            assignor: keep.text(group.assignor),
            coordinator: group.coordinator.0,
            reserved: 0,
            member_count: members.len(),
            members: keep.list(members),
        });
    }

    pub(crate) fn of_cluster(cluster: ClusterDescription) -> Self {
        let number = cluster.controller.map_or(-1, |id| i64::from(id.0));
        let mut result = Self { number, cluster_id: c_text(cluster.cluster_id), ..Self::default() };
        let keep = &mut result.keep;
        result.brokers = cluster
            .brokers
            .into_iter()
            .map(|broker| ottla_broker_info {
                id: broker.id.0,
                port: broker.port,
                host: keep.text(broker.host),
                rack: keep.maybe(broker.rack),
            })
            .collect();
        result
    }
}

/// Kafka's number for it.
fn config_source(source: ConfigSource) -> i32 {
    match source {
        ConfigSource::Topic => 1,
        ConfigSource::DynamicBroker => 2,
        ConfigSource::DynamicBrokerDefault => 3,
        ConfigSource::StaticBroker => 4,
        ConfigSource::Default => 5,
        ConfigSource::BrokerLogger => 6,
        ConfigSource::Other(number) => number.into(),
        _ => 0,
    }
}

/// The rows of a result, with their count.
fn rows<T>(
    result: *const ottla_result,
    count: *mut usize,
    of: impl FnOnce(&ottla_result) -> &[T],
) -> *const T {
    ffi!(ptr::null(); {
        write(count, 0);
        let rows = of(borrow(result)?);
        write(count, rows.len());
        Ok(rows.as_ptr())
    })
}

/// The number that a call gives, where it gives one. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_result_number(result: *const ottla_result) -> i64 {
    ffi!(-1; Ok(borrow(result)?.number))
}

/// What became of each thing that was asked for, in that order; `*count` says how many. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_result_outcomes(
    result: *const ottla_result,
    count: *mut usize,
) -> *const ottla_outcome {
    rows(result, count, |result| &result.outcomes)
}

/// Partitions, with their offsets. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_result_partitions(
    result: *const ottla_result,
    count: *mut usize,
) -> *const ottla_topic_partition {
    rows(result, count, |result| result.partitions.as_ref().map_or(&[], ottla_partitions::rows))
}

/// Topics: all, by name, or those of the outcomes that are 0. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_result_topics(
    result: *const ottla_result,
    count: *mut usize,
) -> *const ottla_topic_info {
    rows(result, count, |result| &result.topics)
}

/// Brokers, by id; ottla_result_number() is the controller's id, or -1. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_result_brokers(
    result: *const ottla_result,
    count: *mut usize,
) -> *const ottla_broker_info {
    rows(result, count, |result| &result.brokers)
}

/// The cluster's id; empty where the call does not give it. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_result_cluster_id(result: *const ottla_result) -> *const c_char {
    ffi!(c"".as_ptr(); Ok(borrow(result)?.cluster_id.as_ptr()))
}

/// Configurations, of the outcomes that are 0. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_result_configs(
    result: *const ottla_result,
    count: *mut usize,
) -> *const ottla_config_info {
    rows(result, count, |result| &result.configs)
}

/// Groups: all, by name, or those of the outcomes that are 0. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_result_groups(
    result: *const ottla_result,
    count: *mut usize,
) -> *const ottla_group_info {
    rows(result, count, |result| &result.groups)
}

/// Frees a result. NULL does nothing. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_result_free(result: *mut ottla_result) {
    ffi!((); {
        drop(take(result));
        Ok(())
    });
}
