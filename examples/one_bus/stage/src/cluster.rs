//! What the broker knows: groups with their members, what they have committed, how far topics go; and the records themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Context;
use ottla::{
    Admin, Consumer, NewTopic, OffsetSpec, TopicPartition,
    config::{AdminConfig, ConsumerConfig},
};

use crate::{
    audit::Topic,
    plan::{PARTITIONS, Service},
};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a topic that is read back may give nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// How many records a batch has at most that is read back.
const BATCH_RECORDS_MAX: usize = 10_000;

/// The broker, and what is looked at there.
pub struct Cluster {
    bootstrap: String,
    admin: Admin,
    topics: Vec<&'static str>,
    groups: Vec<&'static Service>,
}

/// What the broker knew at one time.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Groups, by name.
    pub groups: BTreeMap<String, Group>,
    /// How many records each topic has.
    pub topics: BTreeMap<String, u64>,
}

/// A group.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Its members, as the broker lists them: their ids, and the partitions they have.
    pub members: Vec<(String, BTreeSet<(String, i32)>)>,
    /// How many records it has not committed yet, of each topic that it reads.
    pub lags: BTreeMap<String, u64>,
}

impl Group {
    /// How many records it has not committed.
    pub fn lag(&self) -> u64 {
        self.lags.values().sum()
    }
}

impl Cluster {
    /// Makes topics for the services, all of them new; the groups that are looked at are those that `groups` read in.
    pub async fn prepare(
        bootstrap: &str,
        topics: Vec<&'static str>,
        groups: Vec<&'static Service>,
    ) -> anyhow::Result<Self> {
        let admin = Admin::new(AdminConfig {
            bootstrap_servers: vec![bootstrap.to_owned()],
            default_api_timeout: ANSWER_TIMEOUT,
            ..Default::default()
        })?;
        let new = topics.iter().map(|topic| NewTopic::new(*topic).partitions(PARTITIONS));
        for (topic, created) in admin.create_topics(new, false).await? {
            created.with_context(|| format!("creating topic `{topic}`"))?;
        }
        Ok(Self { bootstrap: bootstrap.to_owned(), admin, topics, groups })
    }

    /// Looks at everything. Ends of topics are asked for after what was committed, so a group without a lag has seen all there was until then.
    pub async fn look(&self) -> anyhow::Result<Look> {
        let names = || self.groups.iter().map(|group| group.name);
        let mut look = Look::default();
        for (name, described) in self.admin.describe_groups(names()).await? {
            // One that nobody has joined yet is not there.
            let members = described.map(|group| group.members).unwrap_or_default();
            let members = members.into_iter().map(|member| {
                let partitions = member.assignment.into_iter().map(|tp| (tp.topic.to_string(), tp.partition));
                (member.member_id, partitions.collect())
            });
            look.groups.insert(name, Group { members: members.collect(), lags: BTreeMap::new() });
        }
        let committed: BTreeMap<String, _> =
            self.admin.list_group_offsets(names()).await?.into_iter().collect();
        let ends = self.ends(&self.topics).await?;
        for (partition, end) in &ends {
            *look.topics.entry(partition.topic.to_string()).or_default() += end;
        }
        for service in &self.groups {
            let group = look.groups.entry(service.name.to_owned()).or_default();
            let committed = committed.get(service.name).and_then(|committed| committed.as_ref().ok());
            for (partition, end) in ends.iter().filter(|(tp, _)| service.reads.contains(&&*tp.topic)) {
                let at = committed.and_then(|offsets| offsets.get(partition)).map_or(0, |at| at.offset);
                let lag = end.saturating_sub(at.max(0).unsigned_abs());
                *group.lags.entry(partition.topic.to_string()).or_default() += lag;
            }
        }
        Ok(look)
    }

    /// Reads a topic from its beginning to its end.
    pub async fn read_back(&self, topic: &'static str) -> anyhow::Result<(Topic, Vec<String>)> {
        let ends = self.ends(&[topic]).await?;
        let consumer = Consumer::new(ConsumerConfig {
            bootstrap_servers: vec![self.bootstrap.clone()],
            ..Default::default()
        })?;
        consumer.assign(ends.iter().map(|(partition, _)| partition.clone()))?;
        for (partition, _) in &ends {
            consumer.seek_to(partition, OffsetSpec::Earliest)?;
        }
        let count: u64 = ends.iter().map(|(_, end)| end).sum();
        let (mut read, mut texts) = (Topic::default(), Vec::new());
        while read.tally.count < count {
            let batch = tokio::time::timeout(READ_TIMEOUT, consumer.next_batch(BATCH_RECORDS_MAX)).await;
            let batch = batch.with_context(|| {
                format!("`{topic}` gives {} of {count} records, and no more", read.tally.count)
            })??;
            for record in &batch {
                let record = record?;
                let value = record.value().unwrap_or_default();
                read.add(value);
                if topic == REPORTS {
                    texts.push(String::from_utf8_lossy(value).into_owned());
                }
            }
        }
        consumer.close(ANSWER_TIMEOUT).await?;
        Ok((read, texts))
    }

    async fn ends(&self, topics: &[&str]) -> anyhow::Result<Vec<(TopicPartition, u64)>> {
        let partitions = topics.iter().flat_map(|topic| {
            (0..PARTITIONS).map(|partition| (TopicPartition::new(*topic, partition), OffsetSpec::Latest))
        });
        let mut ends = Vec::new();
        for (partition, listed) in self.admin.list_offsets(partitions).await? {
            let offset = listed.with_context(|| format!("the end of `{partition}`"))?.offset;
            ends.push((partition, offset.unwrap_or_default().unsigned_abs()));
        }
        Ok(ends)
    }
}

/// The topic whose records are shown to people.
pub const REPORTS: &str = "reports";
