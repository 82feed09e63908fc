//! Looking after a cluster: what `node/src/admin.ts` stands on.

use std::rc::Rc;

use napi::{
    Env, Unknown,
    bindgen_prelude::{BigInt, ToNapiValue},
};
use napi_derive::napi;
use ottla_bindings::{
    self as bindings, BindingError, Call,
    admin::Outcomes,
    core::{self, AlterConfig, BrokerId, ConfigResource, OffsetAndMetadata, TopicPartition},
};

use crate::{
    convert::{At, Committed, Place, config, i64_of, partitions_of, place_of},
    event_loop::{EventLoop, OrThrow},
    held::Held,
    tokens,
};

/// An admin client.
#[napi]
pub struct Admin {
    held: Held<bindings::Admin>,
}

/// A topic to be created; what is missing is left to the broker.
#[napi(object)]
pub struct NewTopic {
    pub name: String,
    pub partitions: Option<i32>,
    pub replication_factor: Option<i32>,
    pub config: Vec<(String, String)>,
}

#[napi(object, object_from_js = false)]
pub(crate) struct CreatedTopic {
    pub name: String,
    pub id: String,
    pub partitions: Option<i32>,
    pub replication_factor: Option<i32>,
}

#[napi(object, object_from_js = false)]
pub(crate) struct PartitionDescription {
    pub partition: i32,
    pub leader: Option<i32>,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
}

#[napi(object, object_from_js = false)]
pub(crate) struct TopicDescription {
    pub name: String,
    pub id: String,
    pub internal: bool,
    pub partitions: Vec<PartitionDescription>,
}

#[napi(object, object_from_js = false)]
pub(crate) struct TopicListing {
    pub name: String,
    pub id: String,
    pub internal: bool,
}

#[napi(object, object_from_js = false)]
pub(crate) struct ConfigEntry {
    pub name: String,
    pub value: Option<String>,
    pub source: String,
    pub read_only: bool,
    pub sensitive: bool,
}

#[napi(object, object_from_js = false)]
pub(crate) struct GroupListing {
    pub group_id: String,
    pub state: Option<String>,
    pub r#type: Option<String>,
    pub protocol_type: String,
}

#[napi(object, object_from_js = false)]
pub(crate) struct GroupMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub host: String,
    pub assignment: Vec<Place>,
}

#[napi(object, object_from_js = false)]
pub(crate) struct GroupDescription {
    pub group_id: String,
    pub state: String,
    pub r#type: String,
    pub assignor: String,
    pub coordinator: i32,
    pub members: Vec<GroupMember>,
}

#[napi(object, object_from_js = false)]
pub(crate) struct Broker {
    pub id: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
}

#[napi(object, object_from_js = false)]
pub(crate) struct ClusterDescription {
    pub cluster_id: String,
    pub controller: Option<i32>,
    pub brokers: Vec<Broker>,
}

#[napi(object, object_from_js = false)]
pub(crate) struct Listed {
    pub topic: String,
    pub partition: i32,
    pub offset: Option<BigInt>,
    pub timestamp: Option<f64>,
}

#[napi]
impl Admin {
    #[napi(constructor)]
    pub fn new(
        env: &Env,
        event_loop: &EventLoop,
        settings: Vec<(String, String)>,
        provider: Option<u32>,
    ) -> napi::Result<Self> {
        let shared = Rc::clone(&event_loop.shared);
        let mut config = config(&settings).or_throw(env, &shared)?;
        tokens::set(&mut config, &shared, provider);
        let made = config.admin().and_then(|keys| bindings::Admin::with_tokens(keys, config.tokens()));
        let admin = made.or_throw(env, &shared)?;
        Ok(Self { held: Held::new(admin, shared) })
    }

    /// It has a thread no more.
    #[napi]
    pub fn let_go(&self) {
        self.held.let_go();
    }

    #[napi]
    pub fn create_topics(&self, token: f64, topics: Vec<NewTopic>, validate_only: bool) {
        let topics = topics.into_iter().map(new_topic).collect();
        self.each(
            token,
            |admin| admin.create_topics(topics, validate_only),
            |name, created| CreatedTopic {
                name,
                id: created.id.to_string(),
                partitions: created.partitions,
                replication_factor: created.replication_factor.map(i32::from),
            },
        );
    }

    #[napi]
    pub fn delete_topics(&self, token: f64, topics: Vec<String>) {
        self.each(token, |admin| admin.delete_topics(topics), |_, ()| ());
    }

    #[napi]
    pub fn create_partitions(&self, token: f64, totals: Vec<(String, i32)>, validate_only: bool) {
        self.each(token, |admin| admin.create_partitions(totals, validate_only), |_, ()| ());
    }

    #[napi]
    pub fn describe_topics(&self, token: f64, topics: Vec<String>) {
        self.each(token, |admin| admin.describe_topics(topics), |_, topic| topic_description(&topic));
    }

    #[napi]
    pub fn list_topics(&self, token: f64) {
        self.held.shared.start(token, self.held.call(bindings::Admin::list_topics), |env, _, topics| {
            let listing = |topic: core::TopicListing| TopicListing {
                name: topic.name.to_string(),
                id: topic.id.to_string(),
                internal: topic.is_internal,
            };
            topics.into_iter().map(listing).collect::<Vec<_>>().into_unknown(env)
        });
    }

    #[napi]
    pub fn topic_config(&self, token: f64, topic: String) {
        self.config(token, ConfigResource::Topic(topic));
    }

    #[napi]
    pub fn broker_config(&self, token: f64, broker: i32) {
        self.config(token, ConfigResource::Broker(BrokerId(broker)));
    }

    /// A change without a value takes its key back to the default.
    #[napi]
    pub fn alter_topic_config(
        &self,
        token: f64,
        topic: String,
        changes: Vec<(String, Option<String>)>,
        validate_only: bool,
    ) {
        let change = |(key, value): (String, Option<String>)| match value {
            Some(value) => AlterConfig::set(key, value),
            None => AlterConfig::delete(key),
        };
        let changes = changes.into_iter().map(change).collect();
        let changes = vec![(ConfigResource::Topic(topic), changes)];
        self.each(token, |admin| admin.alter_configs(changes, validate_only), |_, ()| ());
    }

    #[napi]
    pub fn list_groups(&self, token: f64) {
        self.held.shared.start(token, self.held.call(bindings::Admin::list_groups), |env, _, groups| {
            let listing = |group: core::GroupListing| GroupListing {
                group_id: group.group_id,
                state: group.state.map(|state| state.name().to_owned()),
                r#type: group.group_type.map(|kind| kind.name().to_owned()),
                protocol_type: group.protocol_type,
            };
            groups.into_iter().map(listing).collect::<Vec<_>>().into_unknown(env)
        });
    }

    #[napi]
    pub fn describe_groups(&self, token: f64, groups: Vec<String>) {
        self.each(token, |admin| admin.describe_groups(groups), |_, group| group_description(group));
    }

    #[napi]
    pub fn delete_groups(&self, token: f64, groups: Vec<String>) {
        self.each(token, |admin| admin.delete_groups(groups), |_, ()| ());
    }

    #[napi]
    pub fn group_offsets(&self, token: f64, group: String) {
        self.each(
            token,
            |admin| admin.list_group_offsets(vec![group]),
            |_, offsets| {
                offsets.into_iter().map(|(tp, committed)| Committed::of(&tp, committed)).collect::<Vec<_>>()
            },
        );
    }

    #[napi]
    pub fn alter_group_offsets(&self, token: f64, group: String, offsets: Vec<Committed>) {
        let offsets: Vec<(TopicPartition, OffsetAndMetadata)> =
            offsets.into_iter().map(Committed::split).collect();
        self.each(token, |admin| admin.alter_group_offsets(group, offsets), |_, ()| ());
    }

    #[napi]
    pub fn delete_group_offsets(&self, token: f64, group: String, partitions: Vec<Place>) {
        self.each(token, |admin| admin.delete_group_offsets(group, partitions_of(partitions)), |_, ()| ());
    }

    /// The offset of each `At` is a place by its number on the wire: -2 the beginning, -1 the end, else a time.
    #[napi]
    pub fn list_offsets(&self, token: f64, places: Vec<At>) {
        let wanted = places.into_iter().map(|at| {
            let place = place_of(i64_of(&at.offset));
            (TopicPartition::new(at.topic, at.partition), place)
        });
        self.each(
            token,
            |admin| admin.list_offsets(wanted.collect()),
            |tp, listed| Listed {
                topic: tp.topic.to_string(),
                partition: tp.partition,
                offset: listed.offset.map(BigInt::from),
                timestamp: listed.timestamp.map(|ms| ms as f64),
            },
        );
    }

    #[napi]
    pub fn describe_cluster(&self, token: f64) {
        self.held.shared.start(
            token,
            self.held.call(bindings::Admin::describe_cluster),
            |env, _, cluster| {
                let broker = |broker: core::Broker| Broker {
                    id: broker.id.0,
                    host: broker.host,
                    port: broker.port,
                    rack: broker.rack,
                };
                ClusterDescription {
                    cluster_id: cluster.cluster_id,
                    controller: cluster.controller.map(|id| id.0),
                    brokers: cluster.brokers.into_iter().map(broker).collect(),
                }
                .into_unknown(env)
            },
        );
    }
}

impl Admin {
    fn config(&self, token: f64, resource: ConfigResource) {
        self.each(
            token,
            |admin| admin.describe_configs(vec![resource]),
            |_, entries| {
                let entry = |entry: core::ConfigEntry| ConfigEntry {
                    source: format!("{:?}", entry.source),
                    name: entry.name,
                    value: entry.value,
                    read_only: entry.is_read_only,
                    sensitive: entry.is_sensitive,
                };
                entries.into_iter().map(entry).collect::<Vec<_>>()
            },
        );
    }

    /// A call about several things: ends with a pair for each, whether it went well, and its value or error.
    fn each<K, T, V>(
        &self,
        token: f64,
        begin: impl FnOnce(&bindings::Admin) -> Call<Outcomes<K, T>>,
        convert: impl Fn(K, T) -> V + Send + 'static,
    ) where
        K: Send + 'static,
        T: Send + 'static,
        V: ToNapiValue,
    {
        self.held.shared.start(token, self.held.call(begin), move |env, shared, outcomes| {
            let mut told: Vec<(bool, Unknown<'_>)> = Vec::with_capacity(outcomes.len());
            for (of, outcome) in outcomes {
                told.push(match outcome {
                    Ok(value) => (true, convert(of, value).into_unknown(env)?),
                    Err(error) => (false, shared.error(env, &error)?),
                });
            }
            if told.is_empty() {
                let nothing = BindingError::invalid("the broker did not answer about it");
                return Err(shared.thrown(env, &nothing));
            }
            told.into_unknown(env)
        });
    }
}

fn new_topic(wanted: NewTopic) -> core::NewTopic {
    let mut topic = core::NewTopic::new(wanted.name);
    topic.partitions = wanted.partitions;
    // What does not fit is no number of replicas: the broker says so.
    topic.replication_factor = wanted.replication_factor.map(|n| i16::try_from(n).unwrap_or(i16::MAX));
    wanted.config.into_iter().fold(topic, |topic, (key, value)| topic.config(key, value))
}

fn topic_description(topic: &core::TopicDescription) -> TopicDescription {
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|id| id.0).collect();
    let partition = |partition: &core::PartitionDescription| PartitionDescription {
        partition: partition.partition,
        leader: partition.leader.map(|id| id.0),
        replicas: ids(&partition.replicas),
        in_sync: ids(&partition.in_sync),
    };
    TopicDescription {
        name: topic.name.to_string(),
        id: topic.id.to_string(),
        internal: topic.is_internal,
        partitions: topic.partitions.iter().map(partition).collect(),
    }
}

fn group_description(group: core::GroupDescription) -> GroupDescription {
    let member = |member: core::GroupMember| GroupMember {
        assignment: member.assignment.iter().map(Place::from).collect(),
        member_id: member.member_id,
        instance_id: member.group_instance_id,
        client_id: member.client_id,
        host: member.host,
    };
    GroupDescription {
        state: group.state.name().to_owned(),
        r#type: group.group_type.name().to_owned(),
        coordinator: group.coordinator.0,
        members: group.members.into_iter().map(member).collect(),
        assignor: group.assignor,
        group_id: group.group_id,
    }
}
