//! Admin clients, for C: every function gives a call.

use std::{ffi::c_char, mem::offset_of, ptr, sync::Arc};

use ottla_bindings::{
    Admin, BindingError, Result,
    core::{AlterConfig, BrokerId, ConfigOperation, ConfigResource, NewTopic},
};

use crate::{
    border::{Plain, borrow, ffi, give_shared, list, nth, ottla_status, sized, take_shared, text, write},
    call::{call, ottla_call},
    config::ottla_config,
    consumer::{listed_row, offset_spec},
    error::ottla_error,
    partitions::{Row, ottla_topic_partition, read, read_names, read_offsets},
    result::ottla_result,
};

/// A key and a value.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ottla_pair {
    /// The key.
    pub name: *const c_char,
    /// The value. NULL takes a key back, where configurations are changed.
    pub value: *const c_char,
}

/// A topic to be created.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ottla_new_topic {
    /// sizeof(ottla_new_topic): later versions of this struct are longer.
    pub size: u32,
    /// How many partitions; -1 leaves it to the broker.
    pub partitions: i32,
    /// How many replicas of each; -1 leaves it to the broker.
    pub replication_factor: i32,
    /// 0.
    pub reserved: u32,
    /// Its name.
    pub name: *const c_char,
    /// Configuration that differs from the broker's.
    pub configs: *const ottla_pair,
    /// How many pairs there are.
    pub config_count: usize,
}

const NEW_TOPIC_BYTES_MIN: usize = offset_of!(ottla_new_topic, config_count) + size_of::<usize>();

// SAFETY: numbers and raw pointers.
unsafe impl Plain for ottla_new_topic {}

/// What has a configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum ottla_resource_kind {
    /// A topic, by its name.
    OTTLA_RESOURCE_TOPIC = 2,
    /// A broker, by its id as text; all of them, by "".
    OTTLA_RESOURCE_BROKER = 4,
}

/// An admin client. All of its functions may be called from any thread at once.
pub struct ottla_admin {
    admin: Admin,
}

/// A new admin client. Connections come when they are needed. Free it with ottla_admin_free(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_admin_new(
    config: *const ottla_config,
    out: *mut *mut ottla_admin,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        write(out, ptr::null_mut());
        let config = &borrow(config)?.config;
        let admin = Admin::with_tokens(config.admin()?, config.tokens())?;
        write(out, give_shared(Arc::new(ottla_admin { admin })));
        Ok(())
    })
}

/// Frees an admin client; calls that are under way end all the same. NULL does nothing. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_admin_free(admin: *mut ottla_admin) {
    ffi!((); {
        drop(take_shared(admin));
        Ok(())
    });
}

/// A call that creates topics, or with `validate_only` says whether they could be: ottla_result_outcomes(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_admin_create_topics(
    admin: *const ottla_admin,
    topics: *const ottla_new_topic,
    count: usize,
    validate_only: bool,
) -> *mut ottla_call {
    call!({
        let admin = &borrow(admin)?.admin;
        let topics = new_topics(topics, count)?;
        Ok(ottla_call::give(admin.create_topics(topics, validate_only), |outcomes| {
            ottla_result::of_outcomes(outcomes, |_, _, _| {})
        }))
    })
}

fn new_topics(first: *const ottla_new_topic, count: usize) -> Result<Vec<NewTopic>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let step = sized(first, NEW_TOPIC_BYTES_MIN)?.size as usize;
    if !step.is_multiple_of(align_of::<ottla_new_topic>()) {
        return Err(BindingError::invalid("`size` of a new topic is not its sizeof"));
    }
    let topic = |index| {
        let given: &ottla_new_topic = nth(first, index, step);
        let pair = |pair: &ottla_pair| {
            Ok((text(pair.name, "a key")?.to_owned(), text(pair.value, "a value")?.to_owned()))
        };
        let factor = i16::try_from(given.replication_factor);
        let factor = factor.map_err(|_| BindingError::invalid("so many replicas there cannot be"))?;
        Ok(NewTopic {
            name: text(given.name, "the name of a topic")?.to_owned(),
            partitions: (given.partitions >= 0).then_some(given.partitions),
            replication_factor: (factor >= 0).then_some(factor),
            assignments: Vec::new(),
            configs: list(given.configs, given.config_count)?.iter().map(pair).collect::<Result<_>>()?,
        })
    };
    (0..count).map(topic).collect()
}

/// A call that deletes topics with all their records: ottla_result_outcomes(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_admin_delete_topics(
    admin: *const ottla_admin,
    names: *const *const c_char,
    count: usize,
) -> *mut ottla_call {
    call!({
        let call = borrow(admin)?.admin.delete_topics(texts(names, count)?);
        Ok(ottla_call::give(call, |outcomes| ottla_result::of_outcomes(outcomes, |_, _, ()| {})))
    })
}

/// A call that raises the number of partitions of a topic: ottla_result_outcomes(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_admin_create_partitions(
    admin: *const ottla_admin,
    topic: *const c_char,
    partitions: i32,
    validate_only: bool,
) -> *mut ottla_call {
    call!({
        let counts = vec![(text(topic, "the topic")?.to_owned(), partitions)];
        let call = borrow(admin)?.admin.create_partitions(counts, validate_only);
        Ok(ottla_call::give(call, |outcomes| ottla_result::of_outcomes(outcomes, |_, _, ()| {})))
    })
}

/// A call that describes topics: ottla_result_outcomes(), ottla_result_topics(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_admin_describe_topics(
    admin: *const ottla_admin,
    names: *const *const c_char,
    count: usize,
) -> *mut ottla_call {
    call!({
        let call = borrow(admin)?.admin.describe_topics(texts(names, count)?);
        Ok(ottla_call::give(call, |outcomes| {
            ottla_result::of_outcomes(outcomes, |result, _, topic| result.add_topic(topic))
        }))
    })
}

/// A call that lists all topics: ottla_result_topics(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_admin_list_topics(admin: *const ottla_admin) -> *mut ottla_call {
    call!(Ok(ottla_call::give(borrow(admin)?.admin.list_topics(), ottla_result::of_listed_topics)))
}

/// A call that gives the configuration of a topic or broker: ottla_result_outcomes(), ottla_result_configs(). `kind` is an
/// ottla_resource_kind, or another number of Kafka's. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_admin_describe_config(
    admin: *const ottla_admin,
    kind: u32,
    name: *const c_char,
) -> *mut ottla_call {
    call!({
        let name = text(name, "the name")?.to_owned();
        let call = borrow(admin)?.admin.describe_configs(vec![resource(kind, &name)?]);
        Ok(ottla_call::give(call, move |outcomes| {
            let named = outcomes.into_iter().map(|(_, outcome)| (name.clone(), outcome));
            ottla_result::of_outcomes(named, |result, name, entries| result.add_config(name, entries))
        }))
    })
}

/// A call that sets keys of a configuration, or takes those back whose value is NULL: ottla_result_outcomes(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_admin_alter_config(
    admin: *const ottla_admin,
    kind: u32,
    name: *const c_char,
    changes: *const ottla_pair,
    count: usize,
    validate_only: bool,
) -> *mut ottla_call {
    call!({
        let name = text(name, "the name")?.to_owned();
        let change = |pair: &ottla_pair| {
            let operation = match pair.value.is_null() {
                true => ConfigOperation::Delete,
                false => ConfigOperation::Set(text(pair.value, "a value")?.to_owned()),
            };
            Ok(AlterConfig { name: text(pair.name, "a key")?.to_owned(), operation })
        };
        let changes = list(changes, count)?.iter().map(change).collect::<Result<_>>()?;
        let call = borrow(admin)?.admin.alter_configs(vec![(resource(kind, &name)?, changes)], validate_only);
        Ok(ottla_call::give(call, move |outcomes| {
            let named = outcomes.into_iter().map(|(_, outcome)| (name.clone(), outcome));
            ottla_result::of_outcomes(named, |_, _, ()| {})
        }))
    })
}

fn resource(kind: u32, name: &str) -> Result<ConfigResource> {
    use ottla_resource_kind::{OTTLA_RESOURCE_BROKER, OTTLA_RESOURCE_TOPIC};
    let unknown = || BindingError::invalid(format!("there is no resource `{name}` of kind {kind}"));
    match (kind, name) {
        (kind, name) if kind == OTTLA_RESOURCE_TOPIC as u32 => Ok(ConfigResource::Topic(name.to_owned())),
        (kind, "") if kind == OTTLA_RESOURCE_BROKER as u32 => Ok(ConfigResource::BrokerDefaults),
        (kind, id) if kind == OTTLA_RESOURCE_BROKER as u32 => {
            id.parse().map(|id| ConfigResource::Broker(BrokerId(id))).map_err(|_| unknown())
        }
        (kind, name) => {
            i8::try_from(kind).map(|kind| ConfigResource::Other(kind, name.to_owned())).map_err(|_| unknown())
        }
    }
}

/// A call that lists all groups: ottla_result_groups(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_admin_list_groups(admin: *const ottla_admin) -> *mut ottla_call {
    call!(Ok(ottla_call::give(borrow(admin)?.admin.list_groups(), ottla_result::of_listed_groups)))
}

/// A call that describes groups with their members: ottla_result_outcomes(), ottla_result_groups(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_admin_describe_groups(
    admin: *const ottla_admin,
    groups: *const *const c_char,
    count: usize,
) -> *mut ottla_call {
    call!({
        let call = borrow(admin)?.admin.describe_groups(texts(groups, count)?);
        Ok(ottla_call::give(call, |outcomes| {
            ottla_result::of_outcomes(outcomes, |result, _, group| result.add_group(group))
        }))
    })
}

/// A call that deletes groups without members, with the offsets they have committed: ottla_result_outcomes(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_admin_delete_groups(
    admin: *const ottla_admin,
    groups: *const *const c_char,
    count: usize,
) -> *mut ottla_call {
    call!({
        let call = borrow(admin)?.admin.delete_groups(texts(groups, count)?);
        Ok(ottla_call::give(call, |outcomes| ottla_result::of_outcomes(outcomes, |_, _, ()| {})))
    })
}

/// A call that gives all offsets that a group has committed: ottla_result_outcomes(), ottla_result_partitions(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_admin_group_offsets(
    admin: *const ottla_admin,
    group: *const c_char,
) -> *mut ottla_call {
    call!({
        let call = borrow(admin)?.admin.list_group_offsets(vec![text(group, "the group")?.to_owned()]);
        Ok(ottla_call::give(call, |outcomes| {
            ottla_result::of_outcomes(outcomes, |result, _, offsets| {
                result.set_partitions(offsets.into_iter().map(Row::committed));
            })
        }))
    })
}

/// A call that commits offsets in the name of a group without members: ottla_result_outcomes(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_admin_alter_group_offsets(
    admin: *const ottla_admin,
    group: *const c_char,
    offsets: *const ottla_topic_partition,
    count: usize,
) -> *mut ottla_call {
    call!({
        let group = text(group, "the group")?.to_owned();
        let call = borrow(admin)?.admin.alter_group_offsets(group, read_offsets(offsets, count)?);
        Ok(ottla_call::give(call, |outcomes| {
            ottla_result::of_partition_outcomes(outcomes, |tp, ()| Row::of(tp))
        }))
    })
}

/// A call that forgets offsets that a group has committed, of topics that no member of it reads: ottla_result_outcomes(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_admin_delete_group_offsets(
    admin: *const ottla_admin,
    group: *const c_char,
    partitions: *const ottla_topic_partition,
    count: usize,
) -> *mut ottla_call {
    call!({
        let group = text(group, "the group")?.to_owned();
        let call = borrow(admin)?.admin.delete_group_offsets(group, read_names(partitions, count)?);
        Ok(ottla_call::give(call, |outcomes| {
            ottla_result::of_partition_outcomes(outcomes, |tp, ()| Row::of(tp))
        }))
    })
}

/// A call that gives the offsets that an ottla_offset_spec means: ottla_result_outcomes(), ottla_result_partitions(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_admin_list_offsets(
    admin: *const ottla_admin,
    spec: u32,
    partitions: *const ottla_topic_partition,
    count: usize,
) -> *mut ottla_call {
    call!({
        let wanted = |row: Row| Ok((row.partition, offset_spec(spec, row.timestamp_ms)?));
        let wanted = read(partitions, count)?.into_iter().map(wanted).collect::<Result<_>>()?;
        Ok(ottla_call::give(borrow(admin)?.admin.list_offsets(wanted), |outcomes| {
            ottla_result::of_partition_outcomes(outcomes, |tp, listed| listed_row((tp, listed)))
        }))
    })
}

/// A call that describes the cluster: ottla_result_cluster_id(), ottla_result_brokers(), and ottla_result_number() for the id of
/// the controller. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_admin_describe_cluster(admin: *const ottla_admin) -> *mut ottla_call {
    call!(Ok(ottla_call::give(borrow(admin)?.admin.describe_cluster(), ottla_result::of_cluster)))
}

fn texts(first: *const *const c_char, count: usize) -> Result<Vec<String>> {
    list(first, count)?.iter().map(|given| Ok(text(*given, "a name")?.to_owned())).collect()
}
