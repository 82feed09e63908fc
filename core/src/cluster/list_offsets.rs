//! Offsets by time or by place, asked of each partition's leader: for consumers and for admin clients.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        ApiKey,
        list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic},
    },
    types::{BrokerId, TopicName},
};
use tokio::time::{Instant, sleep};

use super::{Cluster, Purpose, partition::TopicPartition, retry::Failures};
use crate::{
    config::IsolationLevel,
    error::{Error, ErrorKind, Result},
};

/// Which offset is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OffsetSpec {
    /// The first record that is still there.
    Earliest,
    /// Behind the last record: where the next one goes, or, under `read_committed`, where the first transaction
    /// that is still open began.
    Latest,
    /// The first record of this timestamp or a later one, in milliseconds since the epoch.
    Timestamp(i64),
    /// The record with the latest timestamp (KIP-734).
    MaxTimestamp,
}

impl OffsetSpec {
    /// What stands for it on the wire, and the first version that knows it.
    fn on_the_wire(self) -> (i64, i16) {
        match self {
            Self::Latest => (-1, 1),
            Self::Earliest => (-2, 1),
            Self::MaxTimestamp => (-3, 7),
            Self::Timestamp(ms) => (ms.max(0), 1),
        }
    }
}

/// An offset that was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListedOffset {
    /// The offset; `None` where no record has the timestamp, or a later one.
    pub offset: Option<i64>,
    /// The record's timestamp; `None` where the offset is not that of a record.
    pub timestamp: Option<i64>,
    /// Epoch of the leader that wrote the record; `None` where it is not known.
    pub leader_epoch: Option<i32>,
}

/// The offsets of these partitions, each with its own outcome; what may pass is tried again until `deadline`.
pub(crate) async fn list_offsets(
    cluster: &Arc<Cluster>,
    wanted: Vec<(TopicPartition, OffsetSpec)>,
    isolation: IsolationLevel,
    deadline: Instant,
) -> Vec<(TopicPartition, Result<ListedOffset>)> {
    let mut pending: HashMap<TopicPartition, (OffsetSpec, Option<Error>)> =
        wanted.iter().map(|(tp, spec)| (tp.clone(), (*spec, None))).collect();
    let mut done: HashMap<TopicPartition, Result<ListedOffset>> = HashMap::new();
    let mut failures = Failures::default();
    for tp in pending.keys() {
        cluster.want(&tp.topic);
    }
    loop {
        for (broker, partitions) in by_leader(cluster, &mut pending) {
            let asked = ask(cluster, broker, &partitions, isolation, deadline).await;
            for (tp, result) in asked {
                match result {
                    Err(error) if error.is_retriable() => {
                        if let Some((_, last)) = pending.get_mut(&tp) {
                            *last = Some(error);
                        }
                    }
                    result => {
                        pending.remove(&tp);
                        done.insert(tp, result);
                    }
                }
            }
        }
        if pending.is_empty() {
            break;
        }
        let wait = failures.record(&cluster.backoff(), &mut fastrand::Rng::new());
        if Instant::now() + wait >= deadline {
            break;
        }
        cluster.request_refresh();
        sleep(wait).await;
    }
    for (tp, (_, last)) in pending {
        let error = match last {
            Some(last) => Error::new(ErrorKind::Timeout, last.what_happened()).hint_if(last.what_to_do()),
            None => Error::new(ErrorKind::Timeout, "its leader is not known"),
        };
        done.insert(tp, Err(error));
    }
    let mut take = |tp: TopicPartition| {
        let result =
            done.remove(&tp).unwrap_or_else(|| Err(Error::new(ErrorKind::InvalidArgument, "named twice")));
        let result = result.map_err(|error| error.context(format!("list offsets of `{tp}`")));
        (tp, result)
    };
    wanted.into_iter().map(|(tp, _)| take(tp)).collect()
}

/// The pending partitions that have a leader, by leader. Those that are refused for good stay, with why.
fn by_leader(
    cluster: &Cluster,
    pending: &mut HashMap<TopicPartition, (OffsetSpec, Option<Error>)>,
) -> BTreeMap<BrokerId, Vec<(TopicPartition, OffsetSpec, i32)>> {
    let snapshot = cluster.snapshot();
    let mut leaders: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (tp, (spec, last)) in pending {
        match snapshot.leader(&tp.topic, tp.partition) {
            Some((leader, epoch)) => leaders.entry(leader).or_default().push((tp.clone(), *spec, epoch)),
            None => {
                let code = snapshot.topics.get(&tp.topic).map_or(ErrorCode::NONE, |topic| topic.error);
                if code.is_error() {
                    *last = Some(Error::broker(code, None));
                }
            }
        }
    }
    leaders
}

async fn ask(
    cluster: &Cluster,
    broker: BrokerId,
    partitions: &[(TopicPartition, OffsetSpec, i32)],
    isolation: IsolationLevel,
    deadline: Instant,
) -> Vec<(TopicPartition, Result<ListedOffset>)> {
    let mut topics: BTreeMap<&TopicName, Vec<ListOffsetsPartition>> = BTreeMap::new();
    let mut oldest_version = 1;
    for (tp, spec, epoch) in partitions {
        let (timestamp, version) = spec.on_the_wire();
        oldest_version = oldest_version.max(version);
        topics.entry(&tp.topic).or_default().push(ListOffsetsPartition {
            partition_index: tp.partition,
            current_leader_epoch: *epoch,
            timestamp,
        });
    }
    let topics = topics
        .into_iter()
        .map(|(name, partitions)| ListOffsetsTopic { name: name.clone(), partitions })
        .collect();
    let request = ListOffsetsRequest {
        replica_id: BrokerId::NONE,
        isolation_level: isolation as i8,
        topics,
        timeout_ms: i32::try_from(cluster.config().request_timeout.as_millis()).unwrap_or(i32::MAX),
    };
    let answered = async {
        let connection = cluster.connection(broker, Purpose::Ask).await?;
        if connection.version(ApiKey::ListOffsets)? < oldest_version {
            let text = format!("broker {broker} cannot tell the record with the latest timestamp");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let deadline = deadline.min(Instant::now() + cluster.config().request_timeout);
        connection.call(&request, deadline)?.await
    };
    let response = match answered.await {
        Ok(response) => response,
        Err(error) => return partitions.iter().map(|(tp, ..)| (tp.clone(), Err(error.clone()))).collect(),
    };
    let mut results = Vec::with_capacity(partitions.len());
    for topic in response.topics {
        for partition in topic.partitions {
            let tp = TopicPartition::new(topic.name.detached(), partition.partition_index);
            let known = |value: i64| (value >= 0).then_some(value);
            results.push((
                tp,
                partition.error_code.ok().map_err(|code| Error::broker(code, None)).map(|()| ListedOffset {
                    offset: known(partition.offset),
                    timestamp: known(partition.timestamp),
                    leader_epoch: (partition.leader_epoch >= 0).then_some(partition.leader_epoch),
                }),
            ));
        }
    }
    results
}
