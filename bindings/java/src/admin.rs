//! `dev.ottla.OttlaAdmin`.

use jni::{
    EnvUnowned,
    objects::{JByteArray, JClass},
    sys::jlong,
};
use ottla_bindings::{
    Admin, Call,
    admin::Outcomes,
    core::{
        AlterConfig, BrokerId, ConfigOperation, ConfigResource, GroupDescription, NewTopic, TopicDescription,
        TopicPartition,
    },
    error::Result,
};

use crate::{
    border::{ask, enter, nothing, start, written},
    config::config,
    registry::{ADMINS, registered},
    wire::{Reader, Writer},
};

/// Makes one.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_adminNew<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    request: JByteArray<'l>,
) -> JByteArray<'l> {
    ask(env, request, |request| {
        let config = config(request)?;
        let number = registered(&ADMINS, Admin::with_tokens(config.admin()?, config.tokens())?);
        Ok(written(|out| _ = out.i64(number)))
    })
}

/// Lets it go.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_adminFree<'l>(env: EnvUnowned<'l>, _: JClass<'l>, admin: jlong) {
    enter(env, |_| {
        drop(ADMINS.take(admin));
        Ok(())
    });
}

/// A question to the cluster: the number of what is asked, then its arguments.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_adminCall<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    admin: jlong,
    request: JByteArray<'l>,
    queue: jlong,
    token: jlong,
) {
    start(env, request, queue, token, |request| call(&ADMINS.get(admin)?, request));
}

/// The names are those of `OttlaAdmin`.
fn call(admin: &Admin, request: &mut Reader<'_>) -> Result<Call<Writer>> {
    let what = request.text()?;
    Ok(match what.as_str() {
        "createTopics" => {
            let (validate_only, topics) = (request.bool()?, request.list(new_topic)?);
            each(admin.create_topics(topics, validate_only), text, |_, _| {})
        }
        "deleteTopics" => each(admin.delete_topics(request.texts()?), text, |_, ()| {}),
        "createPartitions" => {
            let (validate_only, totals) =
                (request.bool()?, request.list(|each| Ok((each.text()?, each.i32()?)))?);
            each(admin.create_partitions(totals, validate_only), text, |_, ()| {})
        }
        "describeTopics" => each(admin.describe_topics(request.texts()?), text, topic),
        "listTopics" => admin.list_topics().map(|topics| {
            written(|out| {
                out.list(&topics, |out, topic| {
                    out.text(&topic.name).bool(topic.is_internal).count(topic.partitions);
                });
            })
        }),
        "describeConfigs" => {
            each(admin.describe_configs(request.list(resource)?), write_resource, |out, entries| {
                out.list(&entries, |out, entry| {
                    out.text(&entry.name)
                        .nullable_text(entry.value.as_deref())
                        .text(&format!("{:?}", entry.source))
                        .bool(entry.is_read_only)
                        .bool(entry.is_sensitive);
                });
            })
        }
        "alterConfigs" => {
            let (validate_only, changes) =
                (request.bool()?, request.list(|each| Ok((resource(each)?, each.list(change)?)))?);
            each(admin.alter_configs(changes, validate_only), write_resource, |_, ()| {})
        }
        "listGroups" => admin.list_groups().map(|groups| {
            written(|out| {
                out.list(&groups, |out, group| {
                    out.text(&group.group_id)
                        .nullable_text(group.state.map(|state| state.name()))
                        .nullable_text(group.group_type.map(|kind| kind.name()))
                        .text(&group.protocol_type);
                });
            })
        }),
        "describeGroups" => each(admin.describe_groups(request.texts()?), text, group),
        "deleteGroups" => each(admin.delete_groups(request.texts()?), text, |_, ()| {}),
        "listGroupOffsets" => each(admin.list_group_offsets(request.texts()?), text, |out, offsets| {
            out.list(&offsets, |out, (tp, offset)| _ = out.partition(tp).offset(offset));
        }),
        "alterGroupOffsets" => {
            let (group, offsets) =
                (request.text()?, request.list(|each| Ok((each.partition()?, each.offset()?)))?);
            each(admin.alter_group_offsets(group, offsets), partition, |_, ()| {})
        }
        "deleteGroupOffsets" => {
            let (group, partitions) = (request.text()?, request.partitions()?);
            each(admin.delete_group_offsets(group, partitions), partition, |_, ()| {})
        }
        "listOffsets" => {
            let wanted = request.list(|each| Ok((each.partition()?, each.place()?)))?;
            each(admin.list_offsets(wanted), partition, |out, listed| {
                out.i64(listed.offset.unwrap_or(-1))
                    .i64(listed.timestamp.unwrap_or(-1))
                    .i32(listed.leader_epoch.unwrap_or(-1));
            })
        }
        "describeCluster" => admin.describe_cluster().map(|cluster| {
            written(|out| {
                out.text(&cluster.cluster_id).i32(cluster.controller.map_or(-1, |id| id.0));
                out.list(&cluster.brokers, |out, broker| {
                    out.i32(broker.id.0)
                        .text(&broker.host)
                        .i32(broker.port)
                        .nullable_text(broker.rack.as_deref());
                });
            })
        }),
        other => Call::refused(ottla_bindings::BindingError::invalid(format!("there is no `{other}`")))
            .map(|()| nothing()),
    })
}

/// What became of each thing.
fn each<K: Send + 'static, T: Send + 'static>(
    call: Call<Outcomes<K, T>>,
    key: fn(&mut Writer, &K),
    value: fn(&mut Writer, T),
) -> Call<Writer> {
    call.map(move |outcomes| {
        written(|out| {
            out.list(outcomes, |out, (of, outcome)| {
                key(out, &of);
                out.outcome(outcome, value);
            });
        })
    })
}

#[allow(clippy::ptr_arg, reason = "one of the keys of `each`")]
fn text(out: &mut Writer, name: &String) {
    out.text(name);
}

fn partition(out: &mut Writer, tp: &TopicPartition) {
    out.partition(tp);
}

/// A name; of -1 partitions or replicas, as many as the broker's defaults say.
fn new_topic(request: &mut Reader<'_>) -> Result<NewTopic> {
    let mut topic = NewTopic::new(request.text()?);
    let (partitions, replicas) = (request.i32()?, request.i16()?);
    topic.partitions = (partitions >= 0).then_some(partitions);
    topic.replication_factor = (replicas >= 0).then_some(replicas);
    topic.configs = request.list(|pair| Ok((pair.text()?, pair.text()?)))?;
    Ok(topic)
}

/// Its kind by Kafka's number, and its name.
fn resource(request: &mut Reader<'_>) -> Result<ConfigResource> {
    let (kind, name) = (request.i32()?, request.text()?);
    Ok(match (kind, name.parse::<i32>()) {
        (2, _) => ConfigResource::Topic(name),
        (4, Ok(id)) => ConfigResource::Broker(BrokerId(id)),
        (4, Err(_)) => ConfigResource::BrokerDefaults,
        (32, _) => ConfigResource::Group(name),
        (other, _) => ConfigResource::Other(i8::try_from(other).unwrap_or(0), name),
    })
}

fn write_resource(out: &mut Writer, resource: &ConfigResource) {
    match resource {
        ConfigResource::Topic(name) => out.i32(2).text(name),
        ConfigResource::Broker(id) => out.i32(4).text(&id.to_string()),
        ConfigResource::BrokerDefaults => out.i32(4).text(""),
        ConfigResource::Group(name) => out.i32(32).text(name),
        ConfigResource::Other(kind, name) => out.i32((*kind).into()).text(name),
    };
}

/// A key, and by Kafka's number what happens to it: 0 set, 1 deleted, 2 appended to, 3 subtracted from.
fn change(request: &mut Reader<'_>) -> Result<AlterConfig> {
    let (name, operation, value) =
        (request.text()?, request.i32()?, request.nullable_text()?.unwrap_or_default());
    let operation = match operation {
        0 => ConfigOperation::Set(value),
        1 => ConfigOperation::Delete,
        2 => ConfigOperation::Append(value),
        _ => ConfigOperation::Subtract(value),
    };
    Ok(AlterConfig { name, operation })
}

fn topic(out: &mut Writer, topic: TopicDescription) {
    let ids = |out: &mut Writer, ids: &[BrokerId]| _ = out.list(ids, |out, id| _ = out.i32(id.0));
    out.text(&topic.name).bool(topic.is_internal);
    out.list(&topic.partitions, |out, partition| {
        out.i32(partition.partition).i32(partition.leader.map_or(-1, |id| id.0)).i32(partition.leader_epoch);
        ids(out, &partition.replicas);
        ids(out, &partition.in_sync);
        ids(out, &partition.offline);
    });
}

fn group(out: &mut Writer, group: GroupDescription) {
    out.text(&group.group_id)
        .text(group.group_type.name())
        .text(&group.protocol_type)
        .text(group.state.name())
        .text(&group.assignor)
        .i32(group.group_epoch.unwrap_or(-1))
        .i32(group.coordinator.0);
    out.list(&group.members, |out, member| {
        out.text(&member.member_id)
            .nullable_text(member.group_instance_id.as_deref())
            .text(&member.client_id)
            .text(&member.host)
            .partitions(&member.assignment);
    });
}
