//! How far groups have read: committed offsets, by group, topic and partition.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
        group::{offset_commit_key::OffsetCommitKey, offset_commit_value::OffsetCommitValue},
        offset_commit::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
        offset_delete::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic},
        offset_fetch::{
            OffsetFetchRequestGroup, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
            OffsetFetchResponseTopics,
        },
    },
    types::{GroupId, Str, TopicName, Uuid},
};

use super::Now;
use crate::coordinator::record::Record;

/// Stands for "no offset was committed".
const NO_OFFSET: i64 = -1;

/// An offset that a group has committed for a partition.
#[derive(Clone, Debug)]
struct Committed {
    offset: i64,
    leader_epoch: i32,
    metadata: Str,
    commit_ms: i64,
    /// When it expires, where the client has asked for a time; -1 for the broker's retention.
    expire_ms: i64,
    topic_id: Uuid,
}

/// When the offsets of a group expire that its members do not read.
#[derive(Debug)]
pub(super) struct Expiry {
    /// When the time of all of them began; `None` if each has its own, from its commit.
    pub(super) since_ms: Option<i64>,
    /// The topics that members read.
    pub(super) read: BTreeSet<Str>,
}

type ByTopic = BTreeMap<TopicName, BTreeMap<i32, Committed>>;

/// The committed offsets of some groups.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    groups: HashMap<GroupId, ByTopic>,
}

/// The records and the answer that an OffsetCommit comes to, where `checked` says whether the member may commit.
pub(super) fn commit(
    request: &OffsetCommitRequest,
    checked: Result<(), ErrorCode>,
    now: Now<'_>,
    records: &mut Vec<Record>,
) -> OffsetCommitResponse {
    let expire_timestamp = match request.retention_time_ms {
        -1 => -1,
        retention_ms => now.ms.saturating_add(retention_ms),
    };
    let mut response = OffsetCommitResponse::default();
    for topic in &request.topics {
        let mut answer = OffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: Vec::with_capacity(topic.partitions.len()),
        };
        for partition in &topic.partitions {
            let metadata = partition.committed_metadata.clone().unwrap_or_default();
            let error_code = match checked {
                Err(error_code) => error_code,
                Ok(()) if metadata.len() > now.limits.offset_metadata_bytes_max => {
                    ErrorCode::OFFSET_METADATA_TOO_LARGE
                }
                Ok(()) => {
                    records.push(Record::OffsetCommit {
                        key: OffsetCommitKey {
                            group: request.group_id.0.clone(),
                            topic: topic.name.0.clone(),
                            partition: partition.partition_index,
                        },
                        value: Some(OffsetCommitValue {
                            offset: partition.committed_offset,
                            leader_epoch: partition.committed_leader_epoch,
                            metadata,
                            commit_timestamp: now.ms,
                            expire_timestamp,
                            topic_id: topic.topic_id,
                        }),
                    });
                    ErrorCode::NONE
                }
            };
            answer.partitions.push(OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code,
            });
        }
        response.topics.push(answer);
    }
    response
}

impl Offsets {
    pub(super) fn replay(&mut self, key: &OffsetCommitKey, value: Option<&OffsetCommitValue>) {
        let group = GroupId(key.group.detached());
        let topic = TopicName(key.topic.detached());
        let Some(value) = value else {
            return self.forget(&group, &topic, key.partition);
        };
        let committed = Committed {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.detached(),
            commit_ms: value.commit_timestamp,
            expire_ms: value.expire_timestamp,
            topic_id: value.topic_id,
        };
        self.groups.entry(group).or_default().entry(topic).or_default().insert(key.partition, committed);
    }

    /// The topics in which offsets were committed, each with the id that it had then, or zero.
    pub(super) fn topics(&self) -> BTreeSet<(TopicName, Uuid)> {
        let all = self.groups.values().flatten();
        all.flat_map(|(name, partitions)| partitions.values().map(|c| (name.clone(), c.topic_id))).collect()
    }

    /// The offsets asked for, or all of the group's. What was not committed is told as -1.
    pub(super) fn fetch(&self, request: &OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
        let mut response =
            OffsetFetchResponseGroup { group_id: request.group_id.clone(), ..Default::default() };
        let none = ByTopic::new();
        let group = self.groups.get(&request.group_id).unwrap_or(&none);
        let Some(topics) = &request.topics else {
            response.topics = group
                .iter()
                .map(|(name, partitions)| OffsetFetchResponseTopics {
                    name: name.clone(),
                    topic_id: Uuid::ZERO,
                    partitions: partitions.iter().map(|(index, c)| told(*index, Some(c))).collect(),
                })
                .collect();
            return response;
        };
        for topic in topics {
            let partitions = group.get(&topic.name);
            let find = |index: &i32| told(*index, partitions.and_then(|p| p.get(index)));
            response.topics.push(OffsetFetchResponseTopics {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partitions: topic.partition_indexes.iter().map(find).collect(),
            });
        }
        response
    }

    /// Deletes offsets, but in topics that the group still reads (KIP-496).
    pub(super) fn delete(
        &mut self,
        request: &OffsetDeleteRequest,
        subscribed: &BTreeSet<Str>,
        records: &mut Vec<Record>,
    ) -> OffsetDeleteResponse {
        let mut response = OffsetDeleteResponse::default();
        for topic in &request.topics {
            let is_read = subscribed.contains(&topic.name.0);
            let mut answer = OffsetDeleteResponseTopic { name: topic.name.clone(), partitions: Vec::new() };
            for partition in &topic.partitions {
                let partition_index = partition.partition_index;
                let error_code = if is_read {
                    ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC
                } else {
                    self.bury(&request.group_id, &topic.name, partition_index, records);
                    ErrorCode::NONE
                };
                answer.partitions.push(OffsetDeleteResponsePartition { partition_index, error_code });
            }
            response.topics.push(answer);
        }
        response
    }

    /// Forgets everything of a group.
    pub(super) fn forget_group(&mut self, id: &GroupId, records: &mut Vec<Record>) {
        for (topic, partitions) in self.groups.remove(id).unwrap_or_default() {
            records.extend(partitions.into_keys().map(|partition| tombstone(id, &topic, partition)));
        }
    }

    /// Forgets the offsets of all groups in deleted topics.
    pub(super) fn forget_topics(&mut self, topics: &[TopicName], records: &mut Vec<Record>) {
        for (id, by_topic) in &mut self.groups {
            for topic in topics {
                let partitions = by_topic.remove(topic).unwrap_or_default();
                records.extend(partitions.into_keys().map(|partition| tombstone(id, topic, partition)));
            }
        }
        self.groups.retain(|_, by_topic| !by_topic.is_empty());
    }

    /// Whether anything was committed for a group.
    pub(super) fn has_group(&self, id: &GroupId) -> bool {
        self.groups.contains_key(id)
    }

    /// Forgets what has outlived its time, and says whether anything of the group is left.
    pub(super) fn expire(
        &mut self,
        id: &GroupId,
        expiry: &Expiry,
        now: Now<'_>,
        records: &mut Vec<Record>,
    ) -> bool {
        let Some(by_topic) = self.groups.get(id) else { return false };
        let is_over = |committed: &Committed| match committed.expire_ms {
            -1 => now.ms - expiry.since_ms.unwrap_or(committed.commit_ms) >= now.limits.offsets_retention_ms,
            at => now.ms >= at,
        };
        let over: Vec<(TopicName, i32)> = by_topic
            .iter()
            .filter(|(topic, _)| !expiry.read.contains(&topic.0))
            .flat_map(|(topic, partitions)| partitions.iter().map(move |(index, c)| (topic, *index, c)))
            .filter(|(_, _, committed)| is_over(committed))
            .map(|(topic, index, _)| (topic.clone(), index))
            .collect();
        for (topic, partition) in over {
            self.bury(id, &topic, partition, records);
        }
        self.groups.contains_key(id)
    }

    /// Forgets an offset, if there is one, and leaves a tombstone.
    fn bury(&mut self, group: &GroupId, topic: &TopicName, partition: i32, records: &mut Vec<Record>) {
        let known =
            self.groups.get(group).and_then(|g| g.get(topic)).is_some_and(|p| p.contains_key(&partition));
        if known {
            self.forget(group, topic, partition);
            records.push(tombstone(group, topic, partition));
        }
    }

    fn forget(&mut self, group: &GroupId, topic: &TopicName, partition: i32) {
        let Some(by_topic) = self.groups.get_mut(group) else { return };
        if let Some(partitions) = by_topic.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                by_topic.remove(topic);
            }
        }
        if by_topic.is_empty() {
            self.groups.remove(group);
        }
    }
}

fn told(partition_index: i32, committed: Option<&Committed>) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: committed.map_or(NO_OFFSET, |c| c.offset),
        committed_leader_epoch: committed.map_or(-1, |c| c.leader_epoch),
        metadata: Some(committed.map(|c| c.metadata.clone()).unwrap_or_default()),
        error_code: ErrorCode::NONE,
    }
}

fn tombstone(group: &GroupId, topic: &TopicName, partition: i32) -> Record {
    let key = OffsetCommitKey { group: group.0.clone(), topic: topic.0.clone(), partition };
    Record::OffsetCommit { key, value: None }
}
