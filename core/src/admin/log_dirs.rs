//! Log directories: what lies where on brokers' disks, and how much.

use ottla_protocol::{
    error_code::ErrorCode,
    messages::describe_log_dirs::{
        DescribableLogDirTopic, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    },
    types::{BrokerId, TopicName},
};

use super::{Admin, Target, outcome};
use crate::{cluster::TopicPartition, error::Result};

/// A log directory of a broker (KIP-113).
#[derive(Clone, Debug, PartialEq)]
pub struct LogDirDescription {
    /// Its path on the broker.
    pub path: String,
    /// Size of its volume in bytes, if the broker tells.
    pub total_bytes: Option<u64>,
    /// Room left on the volume in bytes, if the broker tells.
    pub usable_bytes: Option<u64>,
    /// The replicas in it.
    pub replicas: Vec<LogDirReplica>,
    /// What is wrong with it, `KAFKA_STORAGE_ERROR` if it is offline; [`ErrorCode::NONE`] if nothing is.
    pub error: ErrorCode,
}

/// A replica in a log directory.
#[derive(Clone, Debug, PartialEq)]
pub struct LogDirReplica {
    /// The partition.
    pub partition: TopicPartition,
    /// Bytes of its segments.
    pub size_bytes: u64,
    /// Records that it is behind; -1 if the broker does not know.
    pub offset_lag: i64,
    /// Whether it is being filled, to replace the one in another directory.
    pub is_future: bool,
}

impl Admin {
    /// The log directories of brokers, with the replicas of these topics in them; without topics, of all.
    pub async fn describe_log_dirs<S: AsRef<str>>(
        &self,
        brokers: impl IntoIterator<Item = BrokerId>,
        partitions: Option<&[(S, Vec<i32>)]>,
    ) -> Result<Vec<(BrokerId, Result<Vec<LogDirDescription>>)>> {
        let topic = |(name, partitions): &(S, Vec<i32>)| DescribableLogDirTopic {
            topic: TopicName::from(name.as_ref()),
            partitions: partitions.clone(),
        };
        let topics: Option<Vec<_>> = partitions.map(|topics| topics.iter().map(topic).collect());
        let mut described = Vec::new();
        for broker in brokers {
            let request = DescribeLogDirsRequest { topics: topics.clone() };
            let answer = self.ask(Target::Broker(broker), request, |_| Ok(())).await;
            described.push((broker, answer.and_then(|answer| directories(answer, broker))));
        }
        Ok(described)
    }
}

fn directories(answer: DescribeLogDirsResponse, broker: BrokerId) -> Result<Vec<LogDirDescription>> {
    outcome(answer.error_code, None, || format!("describe the log directories of broker {broker}"))?;
    Ok(answer.results.into_iter().map(directory).collect())
}

fn directory(result: DescribeLogDirsResult) -> LogDirDescription {
    let replicas = result.topics.into_iter().flat_map(|topic| {
        let name = topic.name;
        topic.partitions.into_iter().map(move |replica| LogDirReplica {
            partition: TopicPartition::new(name.clone(), replica.partition_index),
            size_bytes: replica.partition_size.max(0) as u64,
            offset_lag: replica.offset_lag,
            is_future: replica.is_future_key,
        })
    });
    LogDirDescription {
        path: result.log_dir.to_string(),
        total_bytes: u64::try_from(result.total_bytes).ok(),
        usable_bytes: u64::try_from(result.usable_bytes).ok(),
        replicas: replicas.collect(),
        error: result.error_code,
    }
}
