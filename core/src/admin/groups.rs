//! Consumer groups and the offsets they have committed: list, describe, delete, change.

use std::{collections::BTreeMap, fmt};

use ottla_protocol::{
    Bytes,
    error_code::ErrorCode,
    messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DeleteGroupsRequest,
        DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, ListGroupsRequest,
        MetadataRequest, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest,
        OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse, consumer_group_describe,
        data::ConsumerProtocolAssignment,
        describe_groups,
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
        offset_fetch::OffsetFetchRequestGroup,
    },
    types::{BrokerId, GroupId, Str, TopicName},
    wire::{Reader, Wire},
};

use super::{Admin, Target, outcome};
use crate::{
    cluster::{
        TopicPartition,
        coordinator::{AboutGroups, ask_coordinators},
    },
    error::{Error, ErrorKind, Result},
};

/// The protocol type of groups whose members are consumers.
const CONSUMER: &str = "consumer";
/// The newest layout of [`ConsumerProtocolAssignment`] that is known; newer ones begin with it.
const ASSIGNMENT_VERSION_MAX: i16 = 3;
/// The newest OffsetFetch and OffsetCommit that name topics.
const OFFSETS_BY_NAME: i16 = 9;

/// A group as [`Admin::list_groups`] gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupListing {
    /// Its name (`group.id`).
    pub group_id: String,
    /// What it is for: `consumer`, `connect` ...; empty where offsets are committed without members.
    pub protocol_type: String,
    /// What it is doing; `None` from a broker before version 2.6.
    pub state: Option<GroupState>,
    /// Which protocol its members speak; `None` from a broker before version 3.8.
    pub group_type: Option<GroupType>,
}

/// A group and its members.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupDescription {
    /// Its name (`group.id`).
    pub group_id: String,
    /// Which protocol its members speak.
    pub group_type: GroupType,
    /// What it is for: `consumer`, `connect` ...
    pub protocol_type: String,
    /// What it is doing.
    pub state: GroupState,
    /// The assignor in use; empty unless there is one.
    pub assignor: String,
    /// Counts the changes of a group of the consumer protocol (KIP-848).
    pub group_epoch: Option<i32>,
    /// The broker that keeps it.
    pub coordinator: BrokerId,
    /// Its members, as the broker lists them.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupMember {
    /// Its id.
    pub member_id: String,
    /// The name of a static member (`group.instance.id`, KIP-345).
    pub group_instance_id: Option<String>,
    /// What its program calls itself (`client.id`).
    pub client_id: String,
    /// The address it connects from.
    pub host: String,
    /// The partitions it has, in order; none while the group rebalances, or is not one of consumers.
    pub assignment: Vec<TopicPartition>,
    /// The partitions it is to have, in the consumer protocol (KIP-848).
    pub target_assignment: Option<Vec<TopicPartition>>,
    /// How far it has followed the group's changes, in the consumer protocol (KIP-848).
    pub member_epoch: Option<i32>,
}

/// What a group is doing.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum GroupState {
    /// It has no members; offsets may be there.
    Empty,
    /// Members are to join again.
    PreparingRebalance,
    /// Members have joined, and their leader is dividing the partitions.
    CompletingRebalance,
    /// Every member has what it is to have.
    Stable,
    /// The broker is dividing the partitions (KIP-848).
    Assigning,
    /// Members are moving to what they are to have (KIP-848).
    Reconciling,
    /// It is being taken away.
    Dead,
    /// One that this version does not know.
    Unknown,
}

impl GroupState {
    fn read(name: &str) -> Self {
        let all = [
            Self::Empty,
            Self::PreparingRebalance,
            Self::CompletingRebalance,
            Self::Stable,
            Self::Assigning,
            Self::Reconciling,
            Self::Dead,
        ];
        all.into_iter().find(|state| state.name() == name).unwrap_or(Self::Unknown)
    }

    /// Kafka's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Dead => "Dead",
            Self::Unknown => "Unknown",
        }
    }

    /// Whether it has no members, so that its offsets may be changed from outside.
    pub fn is_inactive(self) -> bool {
        matches!(self, Self::Empty | Self::Dead)
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which protocol a group's members speak.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum GroupType {
    /// A member divides the partitions.
    Classic,
    /// The broker divides the partitions (KIP-848).
    Consumer,
    /// Members share partitions, record by record (KIP-932).
    Share,
    /// Kafka Streams (KIP-1071).
    Streams,
    /// One that this version does not know.
    Unknown,
}

impl GroupType {
    fn read(name: &str) -> Self {
        let all = [Self::Classic, Self::Consumer, Self::Share, Self::Streams];
        all.into_iter().find(|kind| kind.name() == name).unwrap_or(Self::Unknown)
    }

    /// Kafka's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
            Self::Share => "share",
            Self::Streams => "streams",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for GroupType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How far a partition was read, as groups commit it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OffsetAndMetadata {
    /// The next offset to read.
    pub offset: i64,
    /// Epoch of the leader that wrote the last record read, if it is known (KIP-320).
    pub leader_epoch: Option<i32>,
    /// Any text; at most `offset.metadata.max.bytes` of the broker.
    pub metadata: String,
}

impl OffsetAndMetadata {
    /// An offset alone.
    pub fn new(offset: i64) -> Self {
        Self { offset, ..Self::default() }
    }
}

impl From<i64> for OffsetAndMetadata {
    fn from(offset: i64) -> Self {
        Self::new(offset)
    }
}

impl Admin {
    /// All groups of the cluster, of any type, by name.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>> {
        // Each broker knows those that it keeps. The cached metadata may be older than the newest broker.
        let no_topics = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        let metadata = self.ask(Target::Any, no_topics, |_| Ok(())).await?;
        let mut groups = BTreeMap::new();
        for broker in metadata.brokers {
            let id = broker.node_id;
            let response = self
                .ask(Target::Broker(id), ListGroupsRequest::default(), move |response| {
                    outcome(response.error_code, None, || format!("list the groups of broker {id}"))
                })
                .await?;
            let known = |name: &Str| (!name.is_empty()).then(|| name.to_string());
            // A group that moves meanwhile may be named by two.
            groups.extend(response.groups.into_iter().map(|group| {
                let listing = GroupListing {
                    group_id: group.group_id.to_string(),
                    protocol_type: group.protocol_type.to_string(),
                    state: known(&group.group_state).map(|name| GroupState::read(&name)),
                    group_type: known(&group.group_type).map(|name| GroupType::read(&name)),
                };
                (listing.group_id.clone(), listing)
            }));
        }
        Ok(groups.into_values().collect())
    }

    /// Groups with their members: those of the consumer protocol (KIP-848) and classic ones.
    pub async fn describe_groups<S: AsRef<str>>(
        &self,
        groups: impl IntoIterator<Item = S>,
    ) -> Result<Vec<(String, Result<GroupDescription>)>> {
        let groups: Vec<GroupId> = groups.into_iter().map(|group| group.as_ref().into()).collect();
        let mut described = self.about_groups(groups, DescribeConsumer).await?;
        // A broker without the consumer protocol does not know the question; one with it, no classic groups.
        let is_classic = |result: &Result<_>| {
            result.as_ref().is_err_and(|error: &Error| {
                error.kind() == ErrorKind::Unsupported || error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND)
            })
        };
        let others = described.iter().filter(|(_, result)| is_classic(result));
        let others: Vec<GroupId> = others.map(|(group, _)| group.as_str().into()).collect();
        if others.is_empty() {
            return Ok(described);
        }
        let mut classic = self.about_groups(others, DescribeClassic).await?.into_iter();
        for (_, result) in described.iter_mut().filter(|(_, result)| is_classic(result)) {
            // As many as were asked about, and in their order.
            if let Some((_, answer)) = classic.next() {
                *result = answer;
            }
        }
        Ok(described)
    }

    /// Deletes groups without members, with the offsets they have committed (KIP-229).
    pub async fn delete_groups<S: AsRef<str>>(
        &self,
        groups: impl IntoIterator<Item = S>,
    ) -> Result<Vec<(String, Result<()>)>> {
        let groups = groups.into_iter().map(|group| group.as_ref().into()).collect();
        self.about_groups(groups, Delete).await
    }

    /// All offsets that groups have committed, by partition. A group that is not there has committed none.
    pub async fn list_group_offsets<S: AsRef<str>>(
        &self,
        groups: impl IntoIterator<Item = S>,
    ) -> Result<Vec<(String, Result<BTreeMap<TopicPartition, OffsetAndMetadata>>)>> {
        let groups = groups.into_iter().map(|group| group.as_ref().into()).collect();
        self.about_groups(groups, FetchOffsets).await
    }

    /// Commits offsets in the name of a group that has no members, which comes to be if it is not there (KIP-396).
    /// While it has members, every partition is refused with `UNKNOWN_MEMBER_ID`.
    pub async fn alter_group_offsets<O: Into<OffsetAndMetadata>>(
        &self,
        group: &str,
        offsets: impl IntoIterator<Item = (TopicPartition, O)>,
    ) -> Result<Vec<(TopicPartition, Result<()>)>> {
        let offsets: Vec<_> = offsets.into_iter().map(|(tp, offset)| (tp, offset.into())).collect();
        let wanted: Vec<TopicPartition> = offsets.iter().map(|(tp, _)| tp.clone()).collect();
        let codes = self.about_group(group, Commit { offsets }).await?;
        Ok(each(wanted, &codes, |tp| format!("commit offset of `{tp}` for group `{group}`")))
    }

    /// Forgets offsets that a group has committed, of topics that no member of it reads (KIP-496).
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<Vec<(TopicPartition, Result<()>)>> {
        let partitions: Vec<TopicPartition> = partitions.into_iter().collect();
        let wanted = partitions.clone();
        let codes = self.about_group(group, DeleteOffsets { partitions }).await?;
        Ok(each(wanted, &codes, |tp| format!("delete offset of `{tp}` for group `{group}`")))
    }

    async fn about_groups<Q>(
        &self,
        groups: Vec<GroupId>,
        question: Q,
    ) -> Result<Vec<(String, Result<Q::Outcome>)>>
    where
        Q: AboutGroups + Send + Sync + 'static,
        Q::Request: Send + Sync,
        Q::Outcome: Send + 'static,
    {
        let (cluster, deadline) = (self.cluster.clone(), self.deadline());
        let ask = async move { Ok(ask_coordinators(&cluster, &question, &groups, deadline).await) };
        let outcomes = self.runtime.run(ask).await?;
        Ok(outcomes.into_iter().map(|(group, outcome)| (group.to_string(), outcome)).collect())
    }

    async fn about_group<Q>(&self, group: &str, question: Q) -> Result<Q::Outcome>
    where
        Q: AboutGroups + Send + Sync + 'static,
        Q::Request: Send + Sync,
        Q::Outcome: Send + 'static,
    {
        let outcomes = self.about_groups(vec![group.into()], question).await?;
        outcomes.into_iter().next().map_or_else(|| Err(left_out()), |(_, outcome)| outcome)
    }
}

// ---- describe

/// What is known of groups of the consumer protocol.
struct DescribeConsumer;

impl AboutGroups for DescribeConsumer {
    type Request = ConsumerGroupDescribeRequest;
    type Outcome = GroupDescription;

    fn request(&self, groups: &[GroupId], _version: i16) -> ConsumerGroupDescribeRequest {
        ConsumerGroupDescribeRequest { group_ids: groups.to_vec(), ..Default::default() }
    }

    fn outcomes(
        &self,
        _groups: &[GroupId],
        response: ConsumerGroupDescribeResponse,
        coordinator: BrokerId,
    ) -> Vec<(GroupId, Result<GroupDescription>)> {
        let describe = |group: consumer_group_describe::DescribedGroup| {
            let id = group.group_id.clone();
            let message = group.error_message.as_deref();
            let checked = outcome(group.error_code, message, || format!("describe group `{id}`"));
            let described = checked.map(|()| GroupDescription {
                group_id: id.to_string(),
                group_type: GroupType::Consumer,
                protocol_type: CONSUMER.to_owned(),
                state: GroupState::read(&group.group_state),
                assignor: group.assignor_name.to_string(),
                group_epoch: Some(group.group_epoch),
                coordinator,
                members: group.members.into_iter().map(consumer_member).collect(),
            });
            (id, described)
        };
        response.groups.into_iter().map(describe).collect()
    }
}

fn consumer_member(member: consumer_group_describe::Member) -> GroupMember {
    let partitions = |assignment: consumer_group_describe::Assignment| {
        let topics = assignment.topic_partitions.into_iter();
        in_order(topics.map(|topic| (topic.topic_name, topic.partitions)))
    };
    GroupMember {
        member_id: member.member_id.to_string(),
        group_instance_id: member.instance_id.map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assignment: partitions(member.assignment),
        target_assignment: Some(partitions(member.target_assignment)),
        member_epoch: Some(member.member_epoch),
    }
}

/// What is known of classic groups.
struct DescribeClassic;

impl AboutGroups for DescribeClassic {
    type Request = DescribeGroupsRequest;
    type Outcome = GroupDescription;

    fn request(&self, groups: &[GroupId], _version: i16) -> DescribeGroupsRequest {
        DescribeGroupsRequest { groups: groups.to_vec(), ..Default::default() }
    }

    fn outcomes(
        &self,
        _groups: &[GroupId],
        response: DescribeGroupsResponse,
        coordinator: BrokerId,
    ) -> Vec<(GroupId, Result<GroupDescription>)> {
        let described = response.groups.into_iter();
        described.map(|group| (group.group_id.clone(), classic_group(group, coordinator))).collect()
    }
}

fn classic_group(group: describe_groups::DescribedGroup, coordinator: BrokerId) -> Result<GroupDescription> {
    let doing = || format!("describe group `{}`", group.group_id);
    outcome(group.error_code, group.error_message.as_deref(), doing)?;
    let state = GroupState::read(&group.group_state);
    // Before version 6, one that is not there is told as dead.
    if state == GroupState::Dead && group.members.is_empty() {
        outcome(ErrorCode::GROUP_ID_NOT_FOUND, None, doing)?;
    }
    let member = |member: &describe_groups::DescribedGroupMember| {
        let assignment = match *group.protocol_type == *CONSUMER {
            true => classic_assignment(&member.member_assignment)
                .map_err(|error| error.context(format!("read assignment of `{}`", member.member_id)))?,
            false => Vec::new(),
        };
        Ok(GroupMember {
            member_id: member.member_id.to_string(),
            group_instance_id: member.group_instance_id.as_ref().map(|id| id.to_string()),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            assignment,
            target_assignment: None,
            member_epoch: None,
        })
    };
    let members: Result<Vec<_>> = group.members.iter().map(member).collect();
    Ok(GroupDescription {
        group_id: group.group_id.to_string(),
        group_type: GroupType::Classic,
        protocol_type: group.protocol_type.to_string(),
        state,
        assignor: group.protocol_data.to_string(),
        group_epoch: None,
        coordinator,
        members: members.map_err(|error| error.context(doing()))?,
    })
}

/// The partitions that a classic group's leader gave a member. None before it did: then there are no bytes.
fn classic_assignment(bytes: &Bytes) -> Result<Vec<TopicPartition>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut r = Reader::new(bytes.clone());
    let version = r.i16()?.clamp(0, ASSIGNMENT_VERSION_MAX);
    let assignment = ConsumerProtocolAssignment::read(&mut r, version)?;
    Ok(in_order(assignment.assigned_partitions.into_iter().map(|topic| (topic.topic, topic.partitions))))
}

fn in_order(topics: impl Iterator<Item = (TopicName, Vec<i32>)>) -> Vec<TopicPartition> {
    let of_topic = |(topic, partitions): (TopicName, Vec<i32>)| {
        let topic = topic.detached();
        partitions.into_iter().map(move |partition| TopicPartition::new(topic.clone(), partition))
    };
    let mut partitions: Vec<TopicPartition> = topics.flat_map(of_topic).collect();
    partitions.sort_unstable();
    partitions
}

// ---- delete

/// Groups are to go.
struct Delete;

impl AboutGroups for Delete {
    type Request = DeleteGroupsRequest;
    type Outcome = ();

    fn request(&self, groups: &[GroupId], _version: i16) -> DeleteGroupsRequest {
        DeleteGroupsRequest { groups_names: groups.to_vec() }
    }

    fn outcomes(
        &self,
        _groups: &[GroupId],
        response: DeleteGroupsResponse,
        _coordinator: BrokerId,
    ) -> Vec<(GroupId, Result<()>)> {
        let results = response.results.into_iter();
        results
            .map(|result| {
                let id = result.group_id;
                let message = result.error_message.as_deref();
                let deleted = outcome(result.error_code, message, || format!("delete group `{id}`"));
                (id, deleted)
            })
            .collect()
    }
}

// ---- offsets

/// All offsets that groups have committed.
struct FetchOffsets;

impl AboutGroups for FetchOffsets {
    type Request = OffsetFetchRequest;
    type Outcome = BTreeMap<TopicPartition, OffsetAndMetadata>;
    const VERSION_MAX: i16 = OFFSETS_BY_NAME;
    const SEVERAL_FROM: i16 = 8;

    fn request(&self, groups: &[GroupId], version: i16) -> OffsetFetchRequest {
        if version < Self::SEVERAL_FROM {
            let group_id = groups.first().cloned().unwrap_or_default();
            return OffsetFetchRequest { group_id, topics: None, ..Default::default() };
        }
        let of = |group: &GroupId| OffsetFetchRequestGroup {
            group_id: group.clone(),
            topics: None,
            ..Default::default()
        };
        OffsetFetchRequest { groups: groups.iter().map(of).collect(), ..Default::default() }
    }

    fn outcomes(
        &self,
        groups: &[GroupId],
        response: OffsetFetchResponse,
        _coordinator: BrokerId,
    ) -> Vec<(GroupId, Result<Self::Outcome>)> {
        if response.groups.is_empty() {
            let Some(group) = groups.first() else { return Vec::new() };
            let committed = response.topics.iter().flat_map(|topic| {
                let of_topic = topic.partitions.iter();
                of_topic.map(|p| Committed {
                    topic: &topic.name,
                    partition: p.partition_index,
                    offset: p.committed_offset,
                    leader_epoch: p.committed_leader_epoch,
                    metadata: p.metadata.as_ref(),
                    code: p.error_code,
                })
            });
            return vec![(group.clone(), Committed::gather(group, response.error_code, committed))];
        }
        let of_group = response.groups.iter().map(|group| {
            let committed = group.topics.iter().flat_map(|topic| {
                let of_topic = topic.partitions.iter();
                of_topic.map(|p| Committed {
                    topic: &topic.name,
                    partition: p.partition_index,
                    offset: p.committed_offset,
                    leader_epoch: p.committed_leader_epoch,
                    metadata: p.metadata.as_ref(),
                    code: p.error_code,
                })
            });
            let id = group.group_id.clone();
            let gathered = Committed::gather(&id, group.error_code, committed);
            (id, gathered)
        });
        of_group.collect()
    }
}

/// A committed offset, in whichever of the two layouts it came.
struct Committed<'a> {
    topic: &'a TopicName,
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: Option<&'a Str>,
    code: ErrorCode,
}

impl<'a> Committed<'a> {
    fn gather(
        group: &GroupId,
        code: ErrorCode,
        committed: impl Iterator<Item = Self>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>> {
        outcome(code, None, || format!("list offsets of group `{group}`"))?;
        let mut offsets = BTreeMap::new();
        for it in committed {
            let tp = TopicPartition::new(it.topic.detached(), it.partition);
            outcome(it.code, None, || format!("list offset of `{tp}` in group `{group}`"))?;
            if it.offset >= 0 {
                let offset = OffsetAndMetadata {
                    offset: it.offset,
                    leader_epoch: (it.leader_epoch >= 0).then_some(it.leader_epoch),
                    metadata: it.metadata.map(Str::to_string).unwrap_or_default(),
                };
                offsets.insert(tp, offset);
            }
        }
        Ok(offsets)
    }
}

/// What became of each partition.
type Codes = BTreeMap<TopicPartition, ErrorCode>;

/// Offsets to be committed.
struct Commit {
    offsets: Vec<(TopicPartition, OffsetAndMetadata)>,
}

impl AboutGroups for Commit {
    type Request = OffsetCommitRequest;
    type Outcome = Codes;
    const VERSION_MAX: i16 = OFFSETS_BY_NAME;
    const SEVERAL_FROM: i16 = i16::MAX;

    fn request(&self, groups: &[GroupId], _version: i16) -> OffsetCommitRequest {
        let mut topics: BTreeMap<&TopicName, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for (tp, offset) in &self.offsets {
            topics.entry(&tp.topic).or_default().push(OffsetCommitRequestPartition {
                partition_index: tp.partition,
                committed_offset: offset.offset,
                committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
                committed_metadata: Some(offset.metadata.as_str().into()),
            });
        }
        let topic = |(name, partitions): (&TopicName, _)| OffsetCommitRequestTopic {
            name: name.clone(),
            partitions,
            ..Default::default()
        };
        OffsetCommitRequest {
            group_id: groups.first().cloned().unwrap_or_default(),
            topics: topics.into_iter().map(topic).collect(),
            ..Default::default()
        }
    }

    fn outcomes(
        &self,
        groups: &[GroupId],
        response: OffsetCommitResponse,
        _coordinator: BrokerId,
    ) -> Vec<(GroupId, Result<Codes>)> {
        let codes = response.topics.into_iter().flat_map(|topic| {
            let name = topic.name.detached();
            let of_topic = topic.partitions.into_iter();
            of_topic.map(move |p| (TopicPartition::new(name.clone(), p.partition_index), p.error_code))
        });
        outcome_of_all(groups, codes.collect(), "commit offsets of")
    }
}

/// Offsets to be forgotten.
struct DeleteOffsets {
    partitions: Vec<TopicPartition>,
}

impl AboutGroups for DeleteOffsets {
    type Request = OffsetDeleteRequest;
    type Outcome = Codes;
    const SEVERAL_FROM: i16 = i16::MAX;

    fn request(&self, groups: &[GroupId], _version: i16) -> OffsetDeleteRequest {
        let mut topics: BTreeMap<&TopicName, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
        for tp in &self.partitions {
            let partition = OffsetDeleteRequestPartition { partition_index: tp.partition };
            topics.entry(&tp.topic).or_default().push(partition);
        }
        let topic =
            |(name, partitions): (&TopicName, _)| OffsetDeleteRequestTopic { name: name.clone(), partitions };
        OffsetDeleteRequest {
            group_id: groups.first().cloned().unwrap_or_default(),
            topics: topics.into_iter().map(topic).collect(),
        }
    }

    fn outcomes(
        &self,
        groups: &[GroupId],
        response: OffsetDeleteResponse,
        _coordinator: BrokerId,
    ) -> Vec<(GroupId, Result<Codes>)> {
        if let (Some(group), Err(_)) = (groups.first(), response.error_code.ok()) {
            let doing = || format!("delete offsets of group `{group}`");
            let refused = outcome(response.error_code, None, doing).map(|()| Codes::new());
            return vec![(group.clone(), refused)];
        }
        let codes = response.topics.into_iter().flat_map(|topic| {
            let name = topic.name.detached();
            let of_topic = topic.partitions.into_iter();
            of_topic.map(move |p| (TopicPartition::new(name.clone(), p.partition_index), p.error_code))
        });
        outcome_of_all(groups, codes.collect(), "delete offsets of")
    }
}

/// The partitions' codes; an error where one says that the whole request is to go elsewhere, or to wait.
fn outcome_of_all(groups: &[GroupId], codes: Codes, doing: &str) -> Vec<(GroupId, Result<Codes>)> {
    let Some(group) = groups.first() else { return Vec::new() };
    let of_coordinator = |code: &&ErrorCode| {
        matches!(
            **code,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
                | ErrorCode::COORDINATOR_NOT_AVAILABLE
                | ErrorCode::NOT_COORDINATOR
        )
    };
    let code = codes.values().find(of_coordinator).copied().unwrap_or(ErrorCode::NONE);
    let checked = outcome(code, None, || format!("{doing} group `{group}`"));
    vec![(group.clone(), checked.map(|()| codes))]
}

/// The outcome of each partition, in the order asked for.
fn each(
    wanted: Vec<TopicPartition>,
    codes: &Codes,
    doing: impl Fn(&TopicPartition) -> String,
) -> Vec<(TopicPartition, Result<()>)> {
    let result = |tp: TopicPartition| {
        let result = match codes.get(&tp) {
            Some(code) => outcome(*code, None, || doing(&tp)),
            None => Err(left_out().context(doing(&tp))),
        };
        (tp, result)
    };
    wanted.into_iter().map(result).collect()
}

fn left_out() -> Error {
    Error::new(ErrorKind::Corrupt, "the broker's answer leaves it out")
}
