//! Looking after a cluster.

use std::collections::HashMap;

use ottla_bindings::{
    self as bindings, BindingError,
    admin::Outcomes,
    core::{self, AlterConfig, BrokerId, ConfigResource},
};

use crate::{
    convert::{OffsetAndMetadata, OffsetSpec, PartitionOffset, TopicPartition, config, of_core, told},
    error::OttlaError,
};

/// An admin client. A call about several things fails with the first that was refused; the others are done all the same.
#[derive(Debug, uniffi::Object)]
pub struct OttlaAdmin {
    admin: bindings::Admin,
}

/// A topic that is to be created; what is missing is left to the broker.
#[derive(Clone, Debug, uniffi::Record)]
pub struct NewTopic {
    /// The name.
    pub name: String,
    /// How many partitions.
    #[uniffi(default = None)]
    pub partitions: Option<i32>,
    /// How many replicas of each.
    #[uniffi(default = None)]
    pub replication_factor: Option<i16>,
    /// Settings of the topic, by Kafka's keys.
    #[uniffi(default)]
    pub configs: HashMap<String, String>,
}

/// A topic that was created.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct CreatedTopic {
    /// The name.
    pub name: String,
    /// The id.
    pub id: String,
    /// How many partitions it has; none where the broker does not tell.
    pub partitions: Option<i32>,
    /// How many replicas each has; none where the broker does not tell.
    pub replication_factor: Option<i16>,
}

/// A topic of a list.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct TopicListing {
    /// The name.
    pub name: String,
    /// The id.
    pub id: String,
    /// Whether it is one of Kafka's own.
    pub is_internal: bool,
    /// How many partitions it has.
    pub partitions: i32,
}

/// A topic with its partitions.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct TopicDescription {
    /// The name.
    pub name: String,
    /// The id.
    pub id: String,
    /// Whether it is one of Kafka's own.
    pub is_internal: bool,
    /// Its partitions, from the first on.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition of a topic that is described.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct PartitionDescription {
    /// Its index.
    pub partition: i32,
    /// Who leads it; none where nobody does.
    pub leader: Option<i32>,
    /// The brokers that have it.
    pub replicas: Vec<i32>,
    /// Those of them that keep up.
    pub in_sync: Vec<i32>,
}

/// A setting of a topic or a broker.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct ConfigEntry {
    /// Its key.
    pub name: String,
    /// Its value; none where it is not told.
    pub value: Option<String>,
    /// Where it is from: `Topic`, `StaticBroker`, `Default`.
    pub source: String,
    /// Whether it cannot be changed.
    pub is_read_only: bool,
    /// Whether its value is kept secret.
    pub is_sensitive: bool,
}

/// A change of one key.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct ConfigChange {
    /// The key.
    pub name: String,
    /// Its new value; none takes it back to the default.
    pub value: Option<String>,
}

/// A group of a list.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct GroupListing {
    /// The group.
    pub group_id: String,
    /// As `Stable`, `Empty`; none where the broker does not tell.
    pub state: Option<String>,
    /// As `consumer`, `classic`; none where the broker does not tell.
    pub group_type: Option<String>,
    /// What its members speak: `consumer`.
    pub protocol_type: String,
}

/// A group with its members.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct GroupDescription {
    /// The group.
    pub group_id: String,
    /// As `Stable`, `Empty`.
    pub state: String,
    /// As `consumer`, `classic`.
    pub group_type: String,
    /// What divides its partitions.
    pub assignor: String,
    /// The broker that looks after it.
    pub coordinator: i32,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct GroupMember {
    /// Its id.
    pub member_id: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
    /// Its `client.id`.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// What it reads.
    pub assignment: Vec<TopicPartition>,
}

/// A broker of the cluster.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// Where it is.
    pub host: String,
    /// The port there.
    pub port: i32,
    /// Its rack.
    pub rack: Option<String>,
}

/// The cluster.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct ClusterDescription {
    /// Its id.
    pub cluster_id: String,
    /// The broker that controls it, where one is told.
    pub controller: Option<i32>,
    /// Its brokers.
    pub brokers: Vec<Broker>,
}

#[uniffi::export]
impl OttlaAdmin {
    /// Makes one, with settings by Kafka's keys. Connections come when they are needed. Each call ends by `default.api.timeout.ms`.
    #[uniffi::constructor]
    pub fn new(settings: HashMap<String, String>) -> Result<Self, OttlaError> {
        let config = config(settings)?.admin()?;
        Ok(Self { admin: bindings::Admin::new(config)? })
    }

    // ---- topics

    /// Creates topics, or with `validate_only` says whether they could be.
    #[uniffi::method(default(validate_only = false))]
    pub async fn create_topics(
        &self,
        topics: Vec<NewTopic>,
        validate_only: bool,
    ) -> Result<Vec<CreatedTopic>, OttlaError> {
        let topics = topics.into_iter().map(Into::into).collect();
        each(self.admin.create_topics(topics, validate_only).await?, |name, created| CreatedTopic {
            name,
            id: created.id.to_string(),
            partitions: created.partitions,
            replication_factor: created.replication_factor,
        })
    }

    /// Deletes topics with all their records.
    pub async fn delete_topics(&self, topics: Vec<String>) -> Result<(), OttlaError> {
        each(self.admin.delete_topics(topics).await?, |_, ()| ()).map(drop)
    }

    /// Raises the number of partitions of topics, by name.
    pub async fn create_partitions(&self, totals: HashMap<String, i32>) -> Result<(), OttlaError> {
        let totals = totals.into_iter().collect();
        each(self.admin.create_partitions(totals, false).await?, |_, ()| ()).map(drop)
    }

    /// All topics that this client may describe, by name.
    pub async fn list_topics(&self) -> Result<Vec<TopicListing>, OttlaError> {
        let listing = |topic: core::TopicListing| TopicListing {
            name: topic.name.to_string(),
            id: topic.id.to_string(),
            is_internal: topic.is_internal,
            partitions: i32::try_from(topic.partitions).unwrap_or(i32::MAX),
        };
        Ok(self.admin.list_topics().await?.into_iter().map(listing).collect())
    }

    /// Topics with their partitions.
    pub async fn describe_topics(&self, topics: Vec<String>) -> Result<Vec<TopicDescription>, OttlaError> {
        each(self.admin.describe_topics(topics).await?, |_, topic| topic.into())
    }

    // ---- settings

    /// A topic's settings, every key of it.
    pub async fn topic_config(&self, topic: String) -> Result<Vec<ConfigEntry>, OttlaError> {
        self.config(ConfigResource::Topic(topic)).await
    }

    /// A broker's settings, every key of it.
    pub async fn broker_config(&self, broker: i32) -> Result<Vec<ConfigEntry>, OttlaError> {
        self.config(ConfigResource::Broker(BrokerId(broker))).await
    }

    /// Changes single keys of a topic, or with `validate_only` says whether they could be.
    #[uniffi::method(default(validate_only = false))]
    pub async fn alter_topic_config(
        &self,
        topic: String,
        changes: Vec<ConfigChange>,
        validate_only: bool,
    ) -> Result<(), OttlaError> {
        let change = |ConfigChange { name, value }| match value {
            Some(value) => AlterConfig::set(name, value),
            None => AlterConfig::delete(name),
        };
        let changes = vec![(ConfigResource::Topic(topic), changes.into_iter().map(change).collect())];
        each(self.admin.alter_configs(changes, validate_only).await?, |_, ()| ()).map(drop)
    }

    // ---- groups

    /// All groups of the cluster, of any type, by name.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, OttlaError> {
        let listing = |group: core::GroupListing| GroupListing {
            group_id: group.group_id,
            state: group.state.map(|state| state.name().to_owned()),
            group_type: group.group_type.map(|kind| kind.name().to_owned()),
            protocol_type: group.protocol_type,
        };
        Ok(self.admin.list_groups().await?.into_iter().map(listing).collect())
    }

    /// Groups with their members.
    pub async fn describe_groups(&self, groups: Vec<String>) -> Result<Vec<GroupDescription>, OttlaError> {
        each(self.admin.describe_groups(groups).await?, |_, group| group.into())
    }

    /// Deletes groups without members, with the offsets they have committed.
    pub async fn delete_groups(&self, groups: Vec<String>) -> Result<(), OttlaError> {
        each(self.admin.delete_groups(groups).await?, |_, ()| ()).map(drop)
    }

    /// All offsets that a group has committed.
    pub async fn group_offsets(&self, group: String) -> Result<Vec<OffsetAndMetadata>, OttlaError> {
        let of_groups = each(self.admin.list_group_offsets(vec![group]).await?, |_, offsets| offsets)?;
        Ok(of_groups.into_iter().flatten().map(Into::into).collect())
    }

    /// Commits offsets in the name of a group that has no members.
    pub async fn alter_group_offsets(
        &self,
        group: String,
        offsets: Vec<OffsetAndMetadata>,
    ) -> Result<(), OttlaError> {
        let offsets = offsets.into_iter().map(Into::into).collect();
        each(self.admin.alter_group_offsets(group, offsets).await?, |_, ()| ()).map(drop)
    }

    /// Forgets offsets that a group has committed, of topics that no member of it reads.
    pub async fn delete_group_offsets(
        &self,
        group: String,
        partitions: Vec<TopicPartition>,
    ) -> Result<(), OttlaError> {
        each(self.admin.delete_group_offsets(group, of_core(partitions)).await?, |_, ()| ()).map(drop)
    }

    // ---- the cluster

    /// The offsets of partitions, by place or by time.
    pub async fn list_offsets(
        &self,
        partitions: Vec<TopicPartition>,
        place: OffsetSpec,
    ) -> Result<Vec<PartitionOffset>, OttlaError> {
        let place = core::OffsetSpec::from(place);
        let wanted = of_core(partitions).into_iter().map(|tp| (tp, place)).collect();
        each(self.admin.list_offsets(wanted).await?, |tp, listed| PartitionOffset {
            partition: (&tp).into(),
            offset: listed.offset,
            timestamp: listed.timestamp,
        })
    }

    /// The cluster's id, controller and brokers.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, OttlaError> {
        let cluster = self.admin.describe_cluster().await?;
        let broker = |broker: core::Broker| Broker {
            id: broker.id.0,
            host: broker.host,
            port: broker.port,
            rack: broker.rack,
        };
        Ok(ClusterDescription {
            cluster_id: cluster.cluster_id,
            controller: cluster.controller.map(|id| id.0),
            brokers: cluster.brokers.into_iter().map(broker).collect(),
        })
    }
}

impl OttlaAdmin {
    async fn config(&self, resource: ConfigResource) -> Result<Vec<ConfigEntry>, OttlaError> {
        let entry = |entry: core::ConfigEntry| ConfigEntry {
            name: entry.name,
            value: entry.value,
            source: format!("{:?}", entry.source),
            is_read_only: entry.is_read_only,
            is_sensitive: entry.is_sensitive,
        };
        let of_all = each(self.admin.describe_configs(vec![resource]).await?, |_, entries| entries)?;
        Ok(of_all.into_iter().flatten().map(entry).collect())
    }
}

/// The outcomes of a call about several things, or why the first of them failed.
fn each<K, T, V>(outcomes: Outcomes<K, T>, convert: impl Fn(K, T) -> V) -> Result<Vec<V>, OttlaError> {
    let convert = |(of, outcome): (K, Result<T, BindingError>)| Ok(convert(of, outcome?));
    outcomes.into_iter().map(convert).collect()
}

impl From<NewTopic> for core::NewTopic {
    fn from(wanted: NewTopic) -> Self {
        let mut topic = Self::new(wanted.name);
        topic.partitions = wanted.partitions;
        topic.replication_factor = wanted.replication_factor;
        wanted.configs.into_iter().fold(topic, |topic, (key, value)| topic.config(key, value))
    }
}

impl From<core::TopicDescription> for TopicDescription {
    fn from(topic: core::TopicDescription) -> Self {
        let ids = |brokers: Vec<BrokerId>| brokers.into_iter().map(|id| id.0).collect();
        let partition = |partition: core::PartitionDescription| PartitionDescription {
            partition: partition.partition,
            leader: partition.leader.map(|id| id.0),
            replicas: ids(partition.replicas),
            in_sync: ids(partition.in_sync),
        };
        Self {
            name: topic.name.to_string(),
            id: topic.id.to_string(),
            is_internal: topic.is_internal,
            partitions: topic.partitions.into_iter().map(partition).collect(),
        }
    }
}

impl From<core::GroupDescription> for GroupDescription {
    fn from(group: core::GroupDescription) -> Self {
        let member = |member: core::GroupMember| GroupMember {
            member_id: member.member_id,
            instance_id: member.group_instance_id,
            client_id: member.client_id,
            host: member.host,
            assignment: told(member.assignment),
        };
        Self {
            state: group.state.name().to_owned(),
            group_type: group.group_type.name().to_owned(),
            coordinator: group.coordinator.0,
            members: group.members.into_iter().map(member).collect(),
            assignor: group.assignor,
            group_id: group.group_id,
        }
    }
}
