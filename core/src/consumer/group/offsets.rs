//! The offsets that a group has committed: OffsetCommit and OffsetFetch, at the group's coordinator.
//!
//! A coordinator that moved, or is still reading what it keeps, is looked up and asked again. Topics go by their ids where
//! the broker takes ids and all of them are known (version 10): if a topic is deleted and made anew under its name, what is
//! on its way is refused. Else they go by their names.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use ottla_protocol::{
    api::Api,
    error_code::{ErrorClass, ErrorCode},
    messages::{
        OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics},
    },
    types::{BrokerId, GroupId, Str, TopicName, Uuid},
};
use tokio::time::{Instant, sleep};

use super::Identity;
use crate::{
    cluster::{
        Cluster, OffsetAndMetadata, Purpose, TopicPartition, coordinator::find_coordinator,
        metadata::Snapshot, retry::Failures,
    },
    error::{Error, ErrorKind, Result},
};

/// The newest OffsetCommit and OffsetFetch that name topics; from the next on it is their ids.
const BY_NAME_MAX: i16 = 9;
/// The first OffsetFetch that asks for groups in a list, and the first that can ask for stable offsets.
const FETCH_GROUPS: i16 = 8;
const FETCH_STABLE: i16 = 7;
/// The first OffsetCommit that has a static member's name.
const COMMIT_STATIC: i16 = 7;
/// How often a topic that the coordinator does not know is tried: it may hear of a new one later than others.
const UNKNOWN_TOPIC_ATTEMPTS_MAX: u32 = 3;

/// What became of each partition.
pub(crate) type Codes = BTreeMap<TopicPartition, ErrorCode>;

/// A group's offsets.
#[derive(Debug)]
pub(crate) struct GroupOffsets {
    cluster: Arc<Cluster>,
    group: GroupId,
    instance_id: Option<Str>,
    /// Who was asked last. Leaf lock; held for no I/O.
    coordinator: Mutex<Option<BrokerId>>,
}

impl GroupOffsets {
    /// Those of `group`; commits go in the name of the static member, if there is one.
    pub(crate) fn new(cluster: Arc<Cluster>, group: GroupId, instance_id: Option<Str>) -> Self {
        Self { cluster, group, instance_id, coordinator: Mutex::default() }
    }

    /// Whose they are.
    pub(crate) fn group(&self) -> &GroupId {
        &self.group
    }

    /// What is committed of these partitions; those without an offset are left out. Waits for transactions that may still
    /// change it (KIP-447).
    pub(crate) async fn fetch(
        &self,
        partitions: &[TopicPartition],
        deadline: Instant,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>> {
        let mut failures = Failures::default();
        loop {
            let fetched = self.fetch_each(partitions, deadline).await?;
            let committed: Result<Vec<_>> = fetched
                .into_iter()
                .filter_map(|(tp, offset)| offset.transpose().map(|offset| offset.map(|offset| (tp, offset))))
                .collect();
            let wait = failures.record(&self.cluster.backoff(), &mut fastrand::Rng::new());
            match committed {
                Err(error) if error.is_retriable() && Instant::now() + wait < deadline => sleep(wait).await,
                committed => return Ok(committed?.into_iter().collect()),
            }
        }
    }

    /// What is committed of each of these partitions, if anything is, or why that cannot be told, or not yet.
    pub(crate) async fn fetch_each(
        &self,
        partitions: &[TopicPartition],
        deadline: Instant,
    ) -> Result<BTreeMap<TopicPartition, Result<Option<OffsetAndMetadata>>>> {
        let doing = || format!("fetch offsets of group `{}`", self.group);
        let mut attempts = 0;
        let read = |response: OffsetFetchResponse, names: &Names| {
            let (fetched, code) = read_fetch(response, names)?;
            code.ok().map_err(|code| Error::broker(code, None))?;
            attempts += 1;
            let unknown = fetched.values().find(|(_, code)| is_unknown_topic(*code));
            if let (Some(&(_, code)), true) = (unknown, attempts < UNKNOWN_TOPIC_ATTEMPTS_MAX) {
                return Err(Error::broker(code, None));
            }
            let each = |(tp, (offset, code)): (TopicPartition, (_, ErrorCode))| {
                // Of a topic that is not there, nothing is committed.
                let known = if is_unknown_topic(code) { Ok(()) } else { code.ok() };
                let of_it = || format!("{}: offset of `{tp}`", doing());
                let offset =
                    known.map(|()| offset).map_err(|code| Error::broker(code, None).context(of_it()));
                (tp, offset)
            };
            Ok(fetched.into_iter().map(each).collect())
        };
        let write = |version: i16, names: &Names| self.fetch_request(partitions, version, names);
        self.ask(partitions, write, read, deadline).await.map_err(|error| error.context(doing()))
    }

    /// Commits these offsets as this member. What is left to the caller: codes that concern the member, and those of single
    /// partitions.
    pub(crate) async fn commit(
        &self,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
        member: &Identity,
        deadline: Instant,
    ) -> Result<Codes> {
        let partitions: Vec<TopicPartition> = offsets.keys().cloned().collect();
        let mut attempts = 0;
        let read = |response: OffsetCommitResponse, names: &Names| {
            let codes = read_commit(response, names);
            attempts += 1;
            let passes = |code: &&ErrorCode| match code.class() {
                ErrorClass::RefreshCoordinator | ErrorClass::Retriable => true,
                _ => is_unknown_topic(**code) && attempts < UNKNOWN_TOPIC_ATTEMPTS_MAX,
            };
            match codes.values().find(passes) {
                Some(&code) => Err(Error::broker(code, None)),
                None => Ok(codes),
            }
        };
        let write = |version: i16, names: &Names| self.commit_request(offsets, member, version, names);
        self.ask(&partitions, write, read, deadline)
            .await
            .map_err(|error| error.context(format!("commit offsets of group `{}`", self.group)))
    }

    /// Asks the coordinator, again as long as the failure may pass.
    async fn ask<R: Api, T>(
        &self,
        partitions: &[TopicPartition],
        write: impl Fn(i16, &Names) -> R,
        mut read: impl FnMut(R::Response, &Names) -> Result<T>,
        deadline: Instant,
    ) -> Result<T> {
        let mut failures = Failures::default();
        // As of now, whatever is made anew meanwhile.
        let names = Names::of(&self.cluster.snapshot(), partitions);
        loop {
            let error = match self.ask_once(&names, &write, deadline).await {
                Ok(response) => match read(response, &names) {
                    Ok(done) => return Ok(done),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if !error.is_retriable() {
                return Err(error);
            }
            let is_elsewhere = error.code().is_none_or(|code| code.class() == ErrorClass::RefreshCoordinator);
            if is_elsewhere {
                *self.coordinator.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            if error.code().is_some_and(is_unknown_topic) {
                self.cluster.request_refresh();
            }
            let wait = failures.record(&self.cluster.backoff(), &mut fastrand::Rng::new());
            if Instant::now() + wait >= deadline {
                return Err(error);
            }
            sleep(wait).await;
        }
    }

    async fn ask_once<R: Api>(
        &self,
        names: &Names,
        write: impl Fn(i16, &Names) -> R,
        deadline: Instant,
    ) -> Result<R::Response> {
        let known = *self.coordinator.lock().unwrap_or_else(PoisonError::into_inner);
        let broker = match known {
            Some(broker) => broker,
            None => {
                let found = find_coordinator(&self.cluster, self.group.clone(), deadline).await?;
                *self.coordinator.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
                found
            }
        };
        let connection = self.cluster.connection(broker, Purpose::Ask).await?;
        let newest = connection.version(R::KEY)?;
        let version = if names.are_known { newest } else { newest.min(BY_NAME_MAX) };
        let deadline = deadline.min(Instant::now() + self.cluster.config().request_timeout);
        connection.call_version(&write(version, names), version, deadline)?.await
    }

    fn fetch_request(
        &self,
        partitions: &[TopicPartition],
        version: i16,
        names: &Names,
    ) -> OffsetFetchRequest {
        let by_topic = by_topic(partitions.iter().map(|tp| (&tp.topic, tp.partition)));
        let require_stable = version >= FETCH_STABLE;
        if version < FETCH_GROUPS {
            let topic = |(name, partition_indexes): (&TopicName, _)| OffsetFetchRequestTopic {
                name: name.clone(),
                partition_indexes,
            };
            return OffsetFetchRequest {
                group_id: self.group.clone(),
                topics: Some(by_topic.into_iter().map(topic).collect()),
                require_stable,
                ..Default::default()
            };
        }
        let topic = |(name, partition_indexes): (&TopicName, _)| OffsetFetchRequestTopics {
            name: name.clone(),
            topic_id: names.id(name),
            partition_indexes,
        };
        let group = OffsetFetchRequestGroup {
            group_id: self.group.clone(),
            topics: Some(by_topic.into_iter().map(topic).collect()),
            ..Default::default()
        };
        OffsetFetchRequest { groups: vec![group], require_stable, ..Default::default() }
    }

    fn commit_request(
        &self,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
        member: &Identity,
        version: i16,
        names: &Names,
    ) -> OffsetCommitRequest {
        let partition = |(tp, offset): (&TopicPartition, &OffsetAndMetadata)| OffsetCommitRequestPartition {
            partition_index: tp.partition,
            committed_offset: offset.offset,
            committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
            committed_metadata: Some(offset.metadata.as_str().into()),
        };
        let by_topic = by_topic(offsets.iter().map(|entry| (&entry.0.topic, partition(entry))));
        let topic = |(name, partitions): (&TopicName, _)| OffsetCommitRequestTopic {
            name: name.clone(),
            topic_id: names.id(name),
            partitions,
        };
        OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id_or_member_epoch: member.generation,
            member_id: member.member_id.clone(),
            // Only who is a member is this static member.
            group_instance_id: self
                .instance_id
                .clone()
                .filter(|_| *member != Identity::NONE && version >= COMMIT_STATIC),
            topics: by_topic.into_iter().map(topic).collect(),
            ..Default::default()
        }
    }
}

/// The ids of topics at the time of a request.
#[derive(Debug, Default)]
struct Names {
    ids: HashMap<TopicName, Uuid>,
    by_id: HashMap<Uuid, TopicName>,
    /// All of them have one.
    are_known: bool,
}

impl Names {
    fn of(known: &Snapshot, partitions: &[TopicPartition]) -> Self {
        let mut names = Self { are_known: true, ..Self::default() };
        for TopicPartition { topic, .. } in partitions {
            if names.ids.contains_key(topic) {
                continue;
            }
            let id = known.topics.get(topic).map_or(Uuid::ZERO, |topic| topic.id);
            names.are_known &= !id.is_zero();
            names.ids.insert(topic.clone(), id);
            names.by_id.insert(id, topic.clone());
        }
        names
    }

    fn id(&self, name: &TopicName) -> Uuid {
        self.ids.get(name).copied().unwrap_or_default()
    }

    /// The name of a topic in an answer, which has one of the two. One that was not asked for has none.
    fn name(&self, name: TopicName, id: Uuid) -> Option<TopicName> {
        if id.is_zero() { Some(name.detached()) } else { self.by_id.get(&id).cloned() }
    }
}

type Fetched = BTreeMap<TopicPartition, (Option<OffsetAndMetadata>, ErrorCode)>;

/// Each partition with its offset, if it has one, and the code of the whole.
fn read_fetch(response: OffsetFetchResponse, names: &Names) -> Result<(Fetched, ErrorCode)> {
    let committed = |offset: i64, epoch: i32, metadata: Option<Str>| {
        (offset >= 0).then(|| OffsetAndMetadata {
            offset,
            leader_epoch: (epoch >= 0).then_some(epoch),
            metadata: metadata.map(|text| text.to_string()).unwrap_or_default(),
        })
    };
    let mut fetched = Fetched::new();
    let is_of_one_group = response.groups.is_empty();
    for topic in response.topics.into_iter().filter(|_| is_of_one_group) {
        for p in topic.partitions {
            let offset = committed(p.committed_offset, p.committed_leader_epoch, p.metadata);
            let tp = TopicPartition::new(topic.name.detached(), p.partition_index);
            fetched.insert(tp, (offset, p.error_code));
        }
    }
    if is_of_one_group {
        return Ok((fetched, response.error_code));
    }
    let mut groups = response.groups.into_iter();
    let (Some(group), None) = (groups.next(), groups.next()) else {
        return Err(Error::new(ErrorKind::Corrupt, "the broker's answer is about other groups, too"));
    };
    for topic in group.topics {
        let Some(name) = names.name(topic.name, topic.topic_id) else { continue };
        for p in topic.partitions {
            let offset = committed(p.committed_offset, p.committed_leader_epoch, p.metadata);
            fetched.insert(TopicPartition::new(name.clone(), p.partition_index), (offset, p.error_code));
        }
    }
    Ok((fetched, group.error_code))
}

fn read_commit(response: OffsetCommitResponse, names: &Names) -> Codes {
    let mut codes = Codes::new();
    for topic in response.topics {
        let Some(name) = names.name(topic.name, topic.topic_id) else { continue };
        let of_topic = topic.partitions.into_iter();
        codes.extend(of_topic.map(|p| (TopicPartition::new(name.clone(), p.partition_index), p.error_code)));
    }
    codes
}

fn by_topic<'a, T>(entries: impl Iterator<Item = (&'a TopicName, T)>) -> BTreeMap<&'a TopicName, Vec<T>> {
    let mut topics: BTreeMap<&TopicName, Vec<T>> = BTreeMap::new();
    for (topic, entry) in entries {
        topics.entry(topic).or_default().push(entry);
    }
    topics
}

fn is_unknown_topic(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID)
}
