//! Topics: create, delete, describe, list, and add partitions.

use std::collections::HashMap;

use ottla_protocol::{
    messages::{
        create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic},
        create_topics::{
            CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
        },
        delete_topics::{DeleteTopicState, DeleteTopicsRequest},
        metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponseTopic},
    },
    types::{BrokerId, TopicName, Uuid},
};

use super::{Admin, Target, changed, outcome, timeout_ms};
use crate::error::{Error, ErrorKind, Result};

/// A topic to be created.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewTopic {
    /// Its name: ASCII letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// How many partitions; `None` for the broker's `num.partitions`.
    pub partitions: Option<i32>,
    /// How many replicas each; `None` for the broker's `default.replication.factor`.
    pub replication_factor: Option<i16>,
    /// The brokers of each partition's replicas, the preferred leader first, in place of the two numbers.
    pub assignments: Vec<Vec<BrokerId>>,
    /// Configuration that differs from the broker's.
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic of the broker's default shape.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Sets how many partitions it has.
    pub fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// Sets how many replicas each partition has.
    pub fn replication_factor(mut self, replicas: i16) -> Self {
        self.replication_factor = Some(replicas);
        self
    }

    /// Adds a configuration.
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.push((key.into(), value.into()));
        self
    }
}

/// A topic that was created.
#[derive(Clone, Debug, PartialEq)]
pub struct CreatedTopic {
    /// Its id (KIP-516).
    pub id: Uuid,
    /// How many partitions it has; `None` if the broker does not tell, or may not.
    pub partitions: Option<i32>,
    /// How many replicas each.
    pub replication_factor: Option<i16>,
}

/// A topic as [`Admin::list_topics`] gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicListing {
    /// Its name.
    pub name: TopicName,
    /// Its id (KIP-516).
    pub id: Uuid,
    /// One of Kafka's own, as `__consumer_offsets`.
    pub is_internal: bool,
    /// How many partitions it has.
    pub partitions: usize,
}

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicDescription {
    /// Its name.
    pub name: TopicName,
    /// Its id (KIP-516).
    pub id: Uuid,
    /// One of Kafka's own, as `__consumer_offsets`.
    pub is_internal: bool,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition and its replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionDescription {
    /// Its index.
    pub partition: i32,
    /// Its leader, if it has one.
    pub leader: Option<BrokerId>,
    /// Counts its leaders.
    pub leader_epoch: i32,
    /// The brokers of its replicas, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Those of them that are in sync.
    pub in_sync: Vec<BrokerId>,
    /// Those of them that are away.
    pub offline: Vec<BrokerId>,
}

impl Admin {
    /// Creates a topic.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<CreatedTopic> {
        single(self.create_topics([topic], false).await?)
    }

    /// Creates topics, or with `validate_only` says whether they could be.
    pub async fn create_topics(
        &self,
        topics: impl IntoIterator<Item = NewTopic>,
        validate_only: bool,
    ) -> Result<Vec<(String, Result<CreatedTopic>)>> {
        let topics: Vec<NewTopic> = topics.into_iter().collect();
        let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
        let request = CreateTopicsRequest {
            topics: topics.into_iter().map(creatable).collect(),
            timeout_ms: timeout_ms(self.timeout),
            validate_only,
        };
        let response = self
            .ask(Target::Controller, request, |response| {
                changed(response.topics.iter().map(|topic| topic.error_code))
            })
            .await?;
        let outcomes = response.topics.into_iter().map(|topic| {
            let message = topic.error_message.as_deref();
            let created = outcome(topic.error_code, message, || format!("create topic `{}`", topic.name));
            let created = created.map(|()| CreatedTopic {
                id: topic.topic_id,
                partitions: (topic.num_partitions >= 0).then_some(topic.num_partitions),
                replication_factor: (topic.replication_factor >= 0).then_some(topic.replication_factor),
            });
            (topic.name.to_string(), created)
        });
        Ok(in_order(names, outcomes))
    }

    /// Deletes topics with all their records.
    pub async fn delete_topics<S: Into<String>>(
        &self,
        names: impl IntoIterator<Item = S>,
    ) -> Result<Vec<(String, Result<()>)>> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let topics: Vec<TopicName> = names.iter().map(|name| TopicName::from(name.as_str())).collect();
        let by_name = |name: &TopicName| DeleteTopicState { name: Some(name.clone()), topic_id: Uuid::ZERO };
        let request = DeleteTopicsRequest {
            topics: topics.iter().map(by_name).collect(),
            topic_names: topics,
            timeout_ms: timeout_ms(self.timeout),
        };
        let response = self
            .ask(Target::Controller, request, |response| {
                changed(response.responses.iter().map(|topic| topic.error_code))
            })
            .await?;
        let outcomes = response.responses.into_iter().filter_map(|topic| {
            let name = topic.name?;
            let message = topic.error_message.as_deref();
            let deleted = outcome(topic.error_code, message, || format!("delete topic `{name}`"));
            Some((name.to_string(), deleted))
        });
        Ok(in_order(names, outcomes))
    }

    /// Raises the number of partitions of topics to `(name, count)`.
    pub async fn create_partitions<S: Into<String>>(
        &self,
        counts: impl IntoIterator<Item = (S, i32)>,
        validate_only: bool,
    ) -> Result<Vec<(String, Result<()>)>> {
        let counts: Vec<(String, i32)> =
            counts.into_iter().map(|(name, count)| (name.into(), count)).collect();
        let topic = |(name, count): &(String, i32)| CreatePartitionsTopic {
            name: TopicName::from(name.as_str()),
            count: *count,
            assignments: None,
        };
        let request = CreatePartitionsRequest {
            topics: counts.iter().map(topic).collect(),
            timeout_ms: timeout_ms(self.timeout),
            validate_only,
        };
        let response = self
            .ask(Target::Controller, request, |response| {
                changed(response.results.iter().map(|topic| topic.error_code))
            })
            .await?;
        let outcomes = response.results.into_iter().map(|topic| {
            let message = topic.error_message.as_deref();
            let created =
                outcome(topic.error_code, message, || format!("add partitions to `{}`", topic.name));
            (topic.name.to_string(), created)
        });
        Ok(in_order(counts.into_iter().map(|(name, _)| name).collect(), outcomes))
    }

    /// Describes topics.
    pub async fn describe_topics<S: Into<String>>(
        &self,
        names: impl IntoIterator<Item = S>,
    ) -> Result<Vec<(String, Result<TopicDescription>)>> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let wanted = names.iter().map(|name| MetadataRequestTopic {
            name: Some(TopicName::from(name.as_str())),
            topic_id: Uuid::ZERO,
        });
        let topics = self.metadata(Some(wanted.collect())).await?;
        let outcomes = topics.into_iter().filter_map(|topic| {
            let name = topic.name.clone()?;
            let known = outcome(topic.error_code, None, || format!("describe topic `{name}`"));
            Some((name.to_string(), known.map(|()| describe(name, topic))))
        });
        Ok(in_order(names, outcomes))
    }

    /// All topics that this client may describe, by name.
    pub async fn list_topics(&self) -> Result<Vec<TopicListing>> {
        let topics = self.metadata(None).await?;
        let mut listed: Vec<TopicListing> = topics
            .into_iter()
            .filter(|topic| !topic.error_code.is_error())
            .filter_map(|topic| {
                Some(TopicListing {
                    name: topic.name?.detached(),
                    id: topic.topic_id,
                    is_internal: topic.is_internal,
                    partitions: topic.partitions.len(),
                })
            })
            .collect();
        listed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    async fn metadata(
        &self,
        topics: Option<Vec<MetadataRequestTopic>>,
    ) -> Result<Vec<MetadataResponseTopic>> {
        let request = MetadataRequest { topics, allow_auto_topic_creation: false, ..Default::default() };
        let (cluster, deadline) = (self.cluster.clone(), self.deadline());
        let response = self.runtime.run(async move { cluster.call_any(&request, deadline).await }).await?;
        Ok(response.topics)
    }
}

fn creatable(topic: NewTopic) -> CreatableTopic {
    let assigned = !topic.assignments.is_empty();
    let assignment =
        |(partition_index, broker_ids)| CreatableReplicaAssignment { partition_index, broker_ids };
    let config = |(name, value): (String, String)| CreatableTopicConfig {
        name: name.into(),
        value: Some(value.into()),
    };
    CreatableTopic {
        name: TopicName::from(topic.name),
        // -1 leaves it to the broker (KIP-464); with an assignment the protocol wants it, too.
        num_partitions: if assigned { -1 } else { topic.partitions.unwrap_or(-1) },
        replication_factor: if assigned { -1 } else { topic.replication_factor.unwrap_or(-1) },
        assignments: (0..).zip(topic.assignments).map(assignment).collect(),
        configs: topic.configs.into_iter().map(config).collect(),
    }
}

fn describe(name: TopicName, topic: MetadataResponseTopic) -> TopicDescription {
    let mut partitions: Vec<PartitionDescription> = topic
        .partitions
        .into_iter()
        .map(|partition| PartitionDescription {
            partition: partition.partition_index,
            leader: (partition.leader_id != BrokerId::NONE).then_some(partition.leader_id),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes,
            in_sync: partition.isr_nodes,
            offline: partition.offline_replicas,
        })
        .collect();
    partitions.sort_unstable_by_key(|partition| partition.partition);
    TopicDescription { name: name.detached(), id: topic.topic_id, is_internal: topic.is_internal, partitions }
}

/// The outcomes in the order asked for; a broker may answer in another, or leave one out.
fn in_order<T>(
    names: Vec<String>,
    outcomes: impl IntoIterator<Item = (String, Result<T>)>,
) -> Vec<(String, Result<T>)> {
    let mut outcomes: HashMap<String, Result<T>> = outcomes.into_iter().collect();
    let missing =
        || Err(Error::new(ErrorKind::Corrupt, "the broker's answer leaves it out, or it was named twice"));
    names
        .into_iter()
        .map(|name| {
            let outcome = outcomes.remove(&name).unwrap_or_else(missing);
            (name, outcome)
        })
        .collect()
}

/// The only outcome.
fn single<T>(outcomes: Vec<(String, Result<T>)>) -> Result<T> {
    let missing = || Err(Error::new(ErrorKind::Corrupt, "the broker's answer is empty"));
    outcomes.into_iter().next().map_or_else(missing, |(_, outcome)| outcome)
}
