//! The controller: decides what becomes of topics, configurations and brokers, and carries it out.
//!
//! One task owns it all. It takes commands from everywhere, decides each by the image ([`topics`], [`partitions`],
//! [`configs`], [`producer_ids`], [`brokers`]: pure functions from image and request to records and answer), has the
//! records committed ([`consensus`]), replays them into the next image, opens the partitions that are new, publishes
//! the image, and only then answers: whoever was told that a topic is there can produce to it.
//!
//! Commands that wait together are committed together, by one flush of the disk. Each is decided by the image as the
//! ones before it leave it.

pub(crate) mod acls;
pub(crate) mod api_error;
pub(crate) mod brokers;
pub(crate) mod configs;
pub(crate) mod consensus;
pub(crate) mod initial_users;
pub(crate) mod partitions;
pub(crate) mod producer_ids;
pub(crate) mod quotas;
pub(crate) mod scram;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod topics;

use std::{
    collections::HashSet,
    fmt,
    future::Future,
    ops::Range,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use bytes::Bytes;
use ottla_config::{ConfigErrors, Values};
use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        alter_client_quotas::{AlterClientQuotasRequest, AlterClientQuotasResponse},
        alter_user_scram_credentials::{AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse},
        create_acls::{CreateAclsRequest, CreateAclsResponse},
        create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse},
        create_topics::{CreateTopicsRequest, CreateTopicsResponse},
        delete_acls::{DeleteAclsRequest, DeleteAclsResponse},
        delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse},
    },
    types::{BrokerId, ProducerId, Str, TopicName, Uuid},
};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinHandle,
};

pub(crate) use self::api_error::ApiError;
use self::{
    brokers::Registration,
    configs::Alteration,
    consensus::{Committed, Consensus, ConsensusError, PROPOSAL_BYTES_MAX, PROPOSAL_VALUES_MAX, SingleVoter},
};
use crate::{
    config::{BrokerConfig, TopicConfig},
    metadata::{
        PublishedImage, SharedImage,
        delta::Delta,
        effective::Configs,
        image::{Image, ReplayError, Topic},
        record::MetadataRecord,
    },
    quota::Mutations,
    random::random_id,
    time::now_ms,
};

/// Most partitions that one request makes (`ReplicationControlManager.MAX_PARTITIONS_PER_BATCH`).
pub(crate) const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;
/// Most partitions that there are.
pub(crate) const PARTITIONS_MAX: usize = 100_000;
/// Commands that wait for the controller before those who ask wait for room.
const COMMANDS_QUEUED_MAX: usize = 1_024;
/// Commands that are committed together.
const COMMANDS_PER_PROPOSAL_MAX: usize = 256;

const _: () = assert!(PARTITIONS_PER_REQUEST_MAX <= PARTITIONS_MAX);
// A broker that comes up after a crash changes every partition at once.
const _: () = assert!(PARTITIONS_MAX + 10 <= PROPOSAL_VALUES_MAX);

/// What is to be done, and what is answered when it is.
#[derive(Clone, Debug)]
pub(crate) struct Decision<A> {
    /// Records to commit; none if nothing changes.
    pub(crate) records: Vec<MetadataRecord>,
    /// The answer, true once the records are committed.
    pub(crate) answer: A,
}

/// What decisions go by beside the image.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Configurations in effect.
    pub(crate) configs: Arc<Configs>,
    /// `num.partitions`.
    pub(crate) default_partitions: usize,
    /// `default.replication.factor`.
    pub(crate) default_replication_factor: usize,
    /// `delete.topic.enable`.
    pub(crate) delete_topic_enable: bool,
}

impl Rules {
    /// The rules that a broker started with `values` goes by.
    pub(crate) fn new(node: BrokerId, values: Values) -> Result<Self, ConfigErrors> {
        let config = BrokerConfig::from_values(&values);
        Ok(Self {
            configs: Arc::new(Configs::new(node, values)?),
            // Both are at least 1 by their table.
            default_partitions: usize::try_from(config.num_partitions).unwrap_or(1),
            default_replication_factor: usize::try_from(config.default_replication_factor).unwrap_or(1),
            delete_topic_enable: config.delete_topic_enable,
        })
    }
}

/// A future behind a pointer.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who holds this broker's partitions.
pub(crate) trait Partitions: Send + Sync + 'static {
    /// Carries out `changes`, in order, and returns once they are true: a partition that was opened can be produced
    /// to, and of one that was deleted no file is in the way of another by its name. Gives back what failed; a
    /// partition that cannot be opened is offline, and the rest goes on.
    fn apply(&self, changes: Vec<PartitionChange>) -> BoxFuture<'_, Vec<PartitionFailure>>;

    /// Hears that the disk with the metadata log has failed, for good.
    fn metadata_failed(&self, error: &ConsensusError);
}

/// What becomes of a partition on this broker.
#[derive(Clone, Debug)]
pub(crate) enum PartitionChange {
    /// It is led here from now on; its log is made if there is none.
    Open {
        /// The topic's name.
        topic: TopicName,
        /// The topic's id. A log under the same name with another id is a deleted topic's, and not this one's.
        topic_id: Uuid,
        /// The partition's index.
        partition: i32,
        /// The epoch in which this broker leads.
        leader_epoch: i32,
        /// The id of the log directory that it is assigned to, or one of those that stand for none.
        directory: Uuid,
        /// The configuration in effect.
        config: Arc<TopicConfig>,
    },
    /// Its configuration is another.
    Configure {
        /// The topic's id.
        topic_id: Uuid,
        /// The partition's index.
        partition: i32,
        /// The configuration in effect.
        config: Arc<TopicConfig>,
    },
    /// It is gone, and its log with it.
    Delete {
        /// The topic's name.
        topic: TopicName,
        /// The topic's id.
        topic_id: Uuid,
        /// The partition's index.
        partition: i32,
    },
}

/// A change that could not be carried out.
#[derive(Clone, Debug)]
pub(crate) struct PartitionFailure {
    /// The topic's id.
    pub(crate) topic_id: Uuid,
    /// The partition's index.
    pub(crate) partition: i32,
    /// Why.
    pub(crate) why: String,
}

/// What a controller starts with.
#[derive(Debug)]
pub(crate) struct Start {
    /// The cluster's id.
    pub(crate) cluster_id: Str,
    /// The directory that the metadata log lies in.
    pub(crate) log_dir: PathBuf,
    /// What the broker was started with: a table of [`crate::config::BROKER`].
    pub(crate) config: Values,
    /// The broker that this process is.
    pub(crate) registration: Registration,
    /// What a cluster that is new begins with; of no account to one that there is.
    pub(crate) initial: Vec<MetadataRecord>,
}

/// A controller at work.
#[derive(Debug)]
pub(crate) struct Started {
    /// Takes commands. The task ends when the last of its clones is gone.
    pub(crate) handle: ControllerHandle,
    /// Where the newest image is.
    pub(crate) image: SharedImage,
    /// The task. Ends once everything that was taken is answered.
    pub(crate) task: JoinHandle<()>,
}

/// Replays the metadata log, registers this broker, opens its partitions, and begins to take commands. Runs on the
/// runtime that it is called on.
pub(crate) async fn start(start: Start, partitions: Arc<dyn Partitions>) -> Result<Started, ControllerError> {
    let Start { cluster_id, log_dir, config, registration, initial } = start;
    let node = registration.broker;
    let rules = Rules::new(node, config).map_err(ControllerError::Config)?;
    let configs = Arc::clone(&rules.configs);
    let nothing = Arc::new(Image::new(cluster_id));
    let (consensus, replayed) = {
        let image = Image::clone(&nothing);
        let replayed = tokio::task::spawn_blocking(move || replay(&log_dir, image)).await;
        replayed.map_err(|_| ControllerError::ShuttingDown)??
    };
    let mut controller = Controller {
        node,
        rules,
        consensus,
        partitions,
        shared: Arc::new(PublishedImage::new(Arc::clone(&nothing))),
        image: nothing,
    };
    let mut first = brokers::register(&replayed, &registration).records;
    if replayed.offset() < 0 {
        first.extend(initial);
    }
    let next = controller.commit_first(&replayed, &first).await?;
    tracing::info!(
        cluster_id = %next.cluster_id(),
        offset = next.offset(),
        epoch = next.epoch(),
        topics = next.topics().len(),
        partitions = next.partition_count(),
        "metadata is read, this broker is registered"
    );
    controller.carry_out(Arc::new(next)).await;

    let image = Arc::clone(&controller.shared);
    let (commands, queue) = mpsc::channel(COMMANDS_QUEUED_MAX);
    let handle = ControllerHandle { commands, configs, node, producer_ids: Arc::new(Mutex::new(0..0)) };
    let task = tokio::spawn(controller.run(queue));
    Ok(Started { handle, image, task })
}

/// Reads the whole log in `log_dir` into `image`.
fn replay(log_dir: &Path, mut image: Image) -> Result<(SingleVoter, Image), ControllerError> {
    let voter = SingleVoter::open(log_dir, |Committed { base_offset, epoch, values }| {
        let decode = |(i, value)| {
            MetadataRecord::decode(value).map_err(|why| format!("offset {}: {why}", base_offset + i as i64))
        };
        let records: Vec<_> = values.into_iter().enumerate().map(decode).collect::<Result<_, _>>()?;
        image.replay_all(&records, epoch).map_err(|e| e.to_string())
    })?;
    Ok((voter, image))
}

/// Asks the controller. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ControllerHandle {
    commands: mpsc::Sender<Command>,
    configs: Arc<Configs>,
    node: BrokerId,
    /// What is left of this broker's block. Locked for as long as it takes to get the next, so that those who come
    /// meanwhile share it.
    producer_ids: Arc<Mutex<Range<i64>>>,
}

impl ControllerHandle {
    /// This broker.
    pub(crate) fn node(&self) -> BrokerId {
        self.node
    }

    /// Which configurations are in effect.
    pub(crate) fn configs(&self) -> &Arc<Configs> {
        &self.configs
    }

    /// Creates topics; see [`topics::create`].
    pub(crate) async fn create_topics(
        &self,
        request: CreateTopicsRequest,
        with_configs: bool,
        mutations: Mutations,
    ) -> Result<CreateTopicsResponse, ApiError> {
        self.ask(move |image, rules| {
            topics::create(image, rules, &request, with_configs, &mut random_id, mutations)
        })
        .await
    }

    /// Creates those of `names` that are not there, with the broker's defaults; see [`topics::auto_create`].
    pub(crate) async fn auto_create(
        &self,
        names: Vec<TopicName>,
        mutations: Mutations,
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        self.ask(move |image, rules| topics::auto_create(image, rules, &names, &mut random_id, mutations))
            .await
    }

    /// Deletes topics; see [`topics::delete`].
    pub(crate) async fn delete_topics(
        &self,
        request: DeleteTopicsRequest,
        mutations: Mutations,
    ) -> Result<DeleteTopicsResponse, ApiError> {
        self.ask(move |image, rules| topics::delete(image, rules, &request, mutations)).await
    }

    /// Adds partitions; see [`partitions::create`].
    pub(crate) async fn create_partitions(
        &self,
        request: CreatePartitionsRequest,
        mutations: Mutations,
    ) -> Result<CreatePartitionsResponse, ApiError> {
        self.ask(move |image, _| partitions::create(image, &request, mutations)).await
    }

    /// Changes configurations; see [`configs::alter`].
    pub(crate) async fn alter_configs(
        &self,
        alterations: Vec<Alteration>,
        validate_only: bool,
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        self.ask(move |image, rules| configs::alter(image, rules, &alterations, validate_only)).await
    }

    /// Changes users; see [`scram::alter`].
    pub(crate) async fn alter_scram_users(
        &self,
        request: AlterUserScramCredentialsRequest,
    ) -> Result<AlterUserScramCredentialsResponse, ApiError> {
        self.ask(move |image, _| scram::alter(image, &request)).await
    }

    /// Adds access rules; see [`acls::create`].
    pub(crate) async fn create_acls(
        &self,
        request: CreateAclsRequest,
    ) -> Result<CreateAclsResponse, ApiError> {
        self.ask(move |image, _| acls::create(image, &request, &mut random_id)).await
    }

    /// Removes access rules; see [`acls::delete`].
    pub(crate) async fn delete_acls(
        &self,
        request: DeleteAclsRequest,
    ) -> Result<DeleteAclsResponse, ApiError> {
        self.ask(move |image, _| acls::delete(image, &request)).await
    }

    /// Changes quotas; see [`quotas::alter`].
    pub(crate) async fn alter_client_quotas(
        &self,
        request: AlterClientQuotasRequest,
    ) -> Result<AlterClientQuotasResponse, ApiError> {
        self.ask(move |image, _| quotas::alter(image, &request)).await
    }

    /// Says that a log directory of this broker has failed: nothing new is put there.
    pub(crate) async fn directory_failed(&self, directory: Uuid) -> Result<(), ApiError> {
        let node = self.node;
        self.ask(move |image, _| brokers::directory_failed(image, node, directory)).await
    }

    /// An id that no producer had before.
    pub(crate) async fn producer_id(&self) -> Result<ProducerId, ApiError> {
        let mut block = self.producer_ids.lock().await;
        if let Some(id) = block.next() {
            return Ok(ProducerId(id));
        }
        let node = self.node;
        *block = self.ask(move |image, _| producer_ids::allocate(image, node)).await??;
        block.next().map(ProducerId).ok_or_else(|| ErrorCode::UNKNOWN_SERVER_ERROR.into())
    }

    async fn ask<A: Send + 'static>(
        &self,
        decide: impl FnOnce(&Image, &Rules) -> Decision<A> + Send + 'static,
    ) -> Result<A, ApiError> {
        let (reply, answer) = oneshot::channel();
        let command: Command = Box::new(move |image, rules| {
            let Decision { records, answer } = decide(image, rules);
            // Whoever asked may be gone; what was decided is done all the same.
            let finish: Finish = Box::new(move |done| drop(reply.send(done.map(|()| answer))));
            (records, finish)
        });
        let gone = || ApiError::new(ErrorCode::NOT_CONTROLLER, "the broker is shutting down");
        self.commands.send(command).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// Decides: gives the records, and what to call once they are committed, or could not be.
type Command = Box<dyn FnOnce(&Image, &Rules) -> (Vec<MetadataRecord>, Finish) + Send>;
type Finish = Box<dyn FnOnce(Result<(), ApiError>) + Send>;

/// The task's state. Nobody else writes the image.
struct Controller<C> {
    node: BrokerId,
    rules: Rules,
    consensus: C,
    partitions: Arc<dyn Partitions>,
    shared: SharedImage,
    /// What `shared` holds.
    image: Arc<Image>,
}

/// Decisions that are to be committed together.
struct Proposal {
    /// The image after them.
    image: Image,
    values: Vec<Bytes>,
    bytes: usize,
    waiting: Vec<Finish>,
}

impl Proposal {
    fn new(image: &Image) -> Self {
        Self { image: image.clone(), values: Vec::new(), bytes: 0, waiting: Vec::new() }
    }

    fn has_room_for(&self, values: &[Bytes]) -> bool {
        self.bytes + bytes_of(values) <= PROPOSAL_BYTES_MAX
            && self.values.len() + values.len() <= PROPOSAL_VALUES_MAX
    }
}

fn bytes_of(values: &[Bytes]) -> usize {
    values.iter().map(Bytes::len).sum()
}

impl<C: Consensus> Controller<C> {
    async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let mut commands = Vec::new();
        while queue.recv_many(&mut commands, COMMANDS_PER_PROPOSAL_MAX).await > 0 {
            let mut proposal = Proposal::new(&self.image);
            for command in commands.drain(..) {
                let (records, finish) = command(&proposal.image, &self.rules);
                match self.next_image(&proposal.image, &records) {
                    Ok((values, _)) if !Proposal::new(&self.image).has_room_for(&values) => {
                        let message = "the request changes too much at once; split it into several";
                        finish(Err(ApiError::new(ErrorCode::POLICY_VIOLATION, message)));
                    }
                    Ok((values, image)) => {
                        if !proposal.has_room_for(&values) {
                            let full = std::mem::replace(&mut proposal, Proposal::new(&image));
                            if let Err(error) = self.commit(full).await {
                                // It was decided on what did not come to be.
                                finish(Err(error));
                                proposal = Proposal::new(&self.image);
                                continue;
                            }
                        }
                        proposal.image = image;
                        proposal.bytes += bytes_of(&values);
                        proposal.values.extend(values);
                        proposal.waiting.push(finish);
                    }
                    Err(error) => {
                        tracing::error!(%error, "the controller decided what it cannot carry out; nothing is changed");
                        finish(Err(ErrorCode::UNKNOWN_SERVER_ERROR.into()));
                    }
                }
            }
            // Each of those who wait was told if it failed.
            let _ = self.commit(proposal).await;
        }
    }

    /// The records as they are written, and the image after them.
    fn next_image(
        &self,
        image: &Image,
        records: &[MetadataRecord],
    ) -> Result<(Vec<Bytes>, Image), ControllerError> {
        let next = image.apply(records, self.consensus.epoch()).map_err(ControllerError::Replay)?;
        let encode =
            |record: &MetadataRecord| record.encode().map_err(|e| ControllerError::Encode(e.to_string()));
        Ok((records.iter().map(encode).collect::<Result<_, _>>()?, next))
    }

    /// Commits, carries out, publishes, and answers.
    async fn commit(&mut self, proposal: Proposal) -> Result<(), ApiError> {
        let mut result = Ok(());
        if !proposal.values.is_empty() {
            result = self.consensus.propose(proposal.values, now_ms()).await.map_err(|error| {
                tracing::error!(%error, "metadata records could not be committed");
                if error.is_lasting() {
                    self.partitions.metadata_failed(&error);
                }
                ApiError::new(ErrorCode::KAFKA_STORAGE_ERROR, error.to_string())
            });
            if result.is_ok() {
                self.carry_out(Arc::new(proposal.image)).await;
            }
        }
        for finish in proposal.waiting {
            finish(result.clone());
        }
        result
    }

    /// The first commit of this process, before there are commands.
    async fn commit_first(
        &mut self,
        image: &Image,
        records: &[MetadataRecord],
    ) -> Result<Image, ControllerError> {
        let (values, next) = self.next_image(image, records)?;
        self.consensus.propose(values, now_ms()).await?;
        Ok(next)
    }

    /// Makes `next` the image. What is new is opened before anybody can see it, what is gone is hidden before it is
    /// deleted.
    async fn carry_out(&mut self, next: Arc<Image>) {
        let delta = Delta::between(&self.image, &next);
        let opened = self.to_open(&delta, &next);
        self.apply(opened).await;
        let outdated = self.to_delete_and_configure(&delta, &next);
        self.image = next;
        self.shared.publish(Arc::clone(&self.image));
        self.apply(outdated).await;
    }

    async fn apply(&self, changes: Vec<PartitionChange>) {
        if changes.is_empty() {
            return;
        }
        for PartitionFailure { topic_id, partition, why } in self.partitions.apply(changes).await {
            tracing::error!(%topic_id, partition, why, "a partition is offline");
        }
    }

    fn to_open(&self, delta: &Delta, next: &Image) -> Vec<PartitionChange> {
        let new = delta.created.iter().map(|topic| (topic, 0));
        let grown = delta.changed.iter().map(|(before, after)| (after, before.partitions.len()));
        let topics: Vec<_> = new.chain(grown).collect();
        if topics.is_empty() {
            return Vec::new();
        }
        let defaults = self.rules.configs.topic_defaults(next);
        let mut changes = Vec::new();
        for (topic, first) in topics {
            let config = defaults.topic_of(next, &topic.name);
            for (partition, state) in self.held(topic).skip_while(|&(i, _)| (i as usize) < first) {
                changes.push(PartitionChange::Open {
                    topic: topic.name.clone(),
                    topic_id: topic.id,
                    partition,
                    leader_epoch: state.leader_epoch,
                    directory: state.directory_of(self.node).unwrap_or(partitions::UNASSIGNED),
                    config: Arc::clone(&config),
                });
            }
        }
        changes
    }

    fn to_delete_and_configure(&self, delta: &Delta, next: &Image) -> Vec<PartitionChange> {
        let mut changes = Vec::new();
        for topic in &delta.deleted {
            changes.extend(self.held(topic).map(|(partition, _)| PartitionChange::Delete {
                topic: topic.name.clone(),
                topic_id: topic.id,
                partition,
            }));
        }
        if delta.configured.is_empty() && !delta.brokers_configured {
            return changes;
        }
        let defaults = self.rules.configs.topic_defaults(next);
        let configured: Vec<&Arc<Topic>> = match delta.brokers_configured {
            true => next.topics().collect(),
            false => delta.configured.iter().filter_map(|name| next.topic(name)).collect(),
        };
        // What was just opened has its configuration.
        let created: HashSet<Uuid> = delta.created.iter().map(|topic| topic.id).collect();
        for topic in configured.into_iter().filter(|topic| !created.contains(&topic.id)) {
            let config = defaults.topic_of(next, &topic.name);
            changes.extend(self.held(topic).map(|(partition, _)| PartitionChange::Configure {
                topic_id: topic.id,
                partition,
                config: Arc::clone(&config),
            }));
        }
        changes
    }

    /// The topic's partitions that lie on this broker, with their indexes.
    fn held<'a>(
        &self,
        topic: &'a Topic,
    ) -> impl Iterator<Item = (i32, &'a crate::metadata::image::Partition)> + use<'a, C> {
        let node = self.node;
        let indexed = topic.partitions.iter().enumerate().map(|(i, partition)| (i as i32, partition));
        indexed.filter(move |(_, partition)| partition.replicas.contains(&node))
    }
}

/// Why a controller does not start.
#[derive(Debug)]
pub(crate) enum ControllerError {
    /// The configuration does not go together.
    Config(ConfigErrors),
    /// The metadata log cannot be read or written.
    Consensus(ConsensusError),
    /// Records do not fit the image.
    Replay(ReplayError),
    /// Records cannot be written: a fault of ours.
    Encode(String),
    /// The runtime is going away.
    ShuttingDown,
}

impl From<ConsensusError> for ControllerError {
    fn from(error: ConsensusError) -> Self {
        Self::Consensus(error)
    }
}

impl fmt::Display for ControllerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors) => write!(f, "{errors}"),
            Self::Consensus(error) => write!(f, "{error}"),
            Self::Replay(error) => write!(f, "{error}"),
            Self::Encode(why) => write!(f, "a metadata record cannot be written: {why}"),
            Self::ShuttingDown => write!(f, "the broker is shutting down"),
        }
    }
}

impl std::error::Error for ControllerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(errors) => Some(errors),
            Self::Consensus(error) => Some(error),
            Self::Replay(error) => Some(error),
            Self::Encode(_) | Self::ShuttingDown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use ottla_protocol::{
        messages::{
            create_partitions::CreatePartitionsTopic, create_topics::CreatableTopic,
            delete_topics::DeleteTopicState,
        },
        record::Batch,
    };
    use proptest::prelude::*;

    use super::{
        configs::{Change, SET},
        testing::{NODE, started},
        *,
    };
    use crate::metadata::image::{NO_LEADER_CHANGE, resource};

    fn topic(name: &str, num_partitions: i32) -> CreateTopicsRequest {
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() }
    }

    async fn create(handle: &ControllerHandle, name: &str, partitions: i32) -> ErrorCode {
        handle.create_topics(topic(name, partitions), false, Mutations::default()).await.unwrap().topics[0]
            .error_code
    }

    async fn delete(handle: &ControllerHandle, name: &str) -> ErrorCode {
        let topic_names = vec![name.into()];
        let request = DeleteTopicsRequest { topic_names, ..DeleteTopicsRequest::default() };
        handle.delete_topics(request, Mutations::default()).await.unwrap().responses[0].error_code
    }

    async fn set(handle: &ControllerHandle, resource_type: i8, name: &str, key: &str, value: &str) {
        let change = Change { name: key.into(), operation: SET, value: Some(value.into()) };
        let alteration =
            Alteration { resource_type, resource_name: name.into(), replace: false, changes: vec![change] };
        handle.alter_configs(vec![alteration], false).await.unwrap()[0].clone().unwrap();
    }

    /// Ends the controller's task, as a stop of the broker does.
    async fn stop(started: Started) {
        drop(started.handle);
        started.task.await.unwrap();
    }

    #[tokio::test]
    async fn when_a_topic_is_answered_its_partitions_are_open_and_its_image_published() {
        let dir = tempfile::tempdir().unwrap();
        let (started, directories) = started(dir.path(), "").await;
        assert_eq!(create(&started.handle, "a", 2).await, ErrorCode::NONE);
        assert_eq!(directories.list(), ["a-0", "a-1"]);
        let image = started.image.load();
        assert!(image.topic(&"a".into()).unwrap().partitions.iter().all(|p| p.leader == NODE));
        assert_eq!(delete(&started.handle, "a").await, ErrorCode::NONE);
        assert!(directories.list().is_empty());
        assert!(started.image.load().topic(&"a".into()).is_none());
    }

    #[tokio::test]
    async fn a_restart_ends_in_the_same_topics_and_opens_their_partitions() {
        let dir = tempfile::tempdir().unwrap();
        let (before, _) = started(dir.path(), "").await;
        create(&before.handle, "a", 2).await;
        create(&before.handle, "gone", 1).await;
        delete(&before.handle, "gone").await;
        set(&before.handle, resource::TOPIC, "a", "segment.bytes", "2000000").await;
        let image = before.image.load_full();
        stop(before).await;

        let (after, directories) = started(dir.path(), "").await;
        let again = after.image.load();
        for (again, before) in again.topics().zip(image.topics()) {
            assert_eq!((&again.name, again.id), (&before.name, before.id));
            for (again, before) in again.partitions.iter().zip(&before.partitions) {
                assert_eq!((again.leader, again.leader_epoch), (before.leader, before.leader_epoch + 1));
            }
        }
        assert_eq!(again.topic_settings(&"a".into()), image.topic_settings(&"a".into()));
        assert!(again.broker(NODE).unwrap().epoch > image.broker(NODE).unwrap().epoch);
        let opened: Vec<_> = directories.take();
        for (i, change) in opened.iter().enumerate() {
            match change {
                PartitionChange::Open { topic, partition, leader_epoch: 1, config, .. } => {
                    assert_eq!((&**topic, *partition, config.segment_bytes), ("a", i as i32, 2_000_000));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(opened.len(), 2);
    }

    #[tokio::test]
    async fn a_configuration_reaches_the_partitions_it_is_for() {
        let dir = tempfile::tempdir().unwrap();
        let (started, directories) = started(dir.path(), "").await;
        for name in ["a", "b"] {
            create(&started.handle, name, 1).await;
        }
        let id = |name: &str| started.image.load().topic(&name.into()).unwrap().id;
        let configured = || {
            let changes = directories.take().into_iter();
            changes
                .map(|change| match change {
                    PartitionChange::Configure { topic_id, config, .. } => {
                        (topic_id, config.max_message_bytes)
                    }
                    other => panic!("{other:?}"),
                })
                .collect::<HashMap<_, _>>()
        };
        directories.take();
        set(&started.handle, resource::TOPIC, "a", "max.message.bytes", "5").await;
        assert_eq!(configured(), HashMap::from([(id("a"), 5)]));
        set(&started.handle, resource::BROKER, "", "message.max.bytes", "6").await;
        assert_eq!(configured(), HashMap::from([(id("a"), 5), (id("b"), 6)]));
        set(&started.handle, resource::BROKER, "1", "message.max.bytes", "7").await;
        assert_eq!(configured(), HashMap::from([(id("a"), 5), (id("b"), 7)]));
        create(&started.handle, "c", 1).await;
        assert!(
            matches!(&directories.take()[..], [PartitionChange::Open { config, .. }] if config.max_message_bytes == 7)
        );
    }

    #[tokio::test]
    async fn commands_that_wait_together_are_one_proposal_decided_in_turn() {
        let dir = tempfile::tempdir().unwrap();
        let (started, _) = started(dir.path(), "").await;
        // On one thread the controller's task runs only when this one waits: all of these are queued by then.
        let handle = &started.handle;
        let (a, twice, gone, b, ids) = tokio::join!(
            create(handle, "a", 1),
            create(handle, "a", 1),
            delete(handle, "a"),
            handle.auto_create(vec!["b".into()], Mutations::default()),
            handle.producer_id()
        );
        assert_eq!((a, twice, gone), (ErrorCode::NONE, ErrorCode::TOPIC_ALREADY_EXISTS, ErrorCode::NONE));
        assert_eq!((b.unwrap(), ids.unwrap()), (vec![Ok(())], ProducerId(0)));
        let log = std::fs::read(dir.path().join("__cluster_metadata-0/00000000000000000000.log")).unwrap();
        let mut rest = Bytes::from(log);
        let mut batches = Vec::new();
        while let Some(batch) = Batch::split_from(&mut rest).unwrap() {
            batches.push(batch.header().record_count);
        }
        assert_eq!(batches, [2, 6], "the registration, and all five commands");
    }

    #[tokio::test]
    async fn producer_ids_are_never_given_twice_even_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut last = -1;
        for _ in 0..3 {
            let (started, _) = started(dir.path(), "").await;
            for _ in 0..1_001 {
                let ProducerId(id) = started.handle.producer_id().await.unwrap();
                assert!(id > last);
                last = id;
            }
            stop(started).await;
        }
        assert_eq!(last, 5_000, "two blocks a run; what is left of a block is lost");
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_applied_keeps_the_broker_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let mut voter = SingleVoter::open(dir.path(), |_| Ok(())).unwrap();
        voter.propose(vec![Bytes::from_static(&[1, 10, 0])], 1).await.unwrap();
        let error = replay(dir.path(), Image::new("c".into())).unwrap_err().to_string();
        assert!(error.ends_with("at byte 0: offset 0: a record of kind 10, which this release does not act on; a newer one may"), "{error}");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Create(u8, i32),
        Delete(u8),
        Grow(u8, i32),
        Set(u8, u16),
        SetAll(u16),
        Ids,
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..6u8, -2..4i32).prop_map(|(t, n)| Step::Create(t, n)),
            2 => (0..6u8).prop_map(Step::Delete),
            2 => (0..6u8, 0..6i32).prop_map(|(t, n)| Step::Grow(t, n)),
            1 => (0..6u8, any::<u16>()).prop_map(|(t, v)| Step::Set(t, v)),
            1 => any::<u16>().prop_map(Step::SetAll),
            1 => Just(Step::Ids),
            1 => Just(Step::Restart),
        ]
    }

    /// Runs one step. Whether it succeeds is not of interest here, but that it is answered.
    async fn run(step: &Step, handle: &ControllerHandle) {
        let name = |t: &u8| format!("t.{t}");
        let change = |key: &str, value: u16| Change {
            name: key.into(),
            operation: SET,
            value: Some(value.to_string().into()),
        };
        match step {
            Step::Create(t, partitions) => drop(create(handle, &name(t), *partitions).await),
            Step::Delete(t) => {
                let topics = vec![DeleteTopicState { name: Some(name(t).into()), topic_id: Uuid::ZERO }];
                handle
                    .delete_topics(DeleteTopicsRequest { topics, ..Default::default() }, Mutations::default())
                    .await
                    .unwrap();
            }
            Step::Grow(t, count) => {
                let topics =
                    vec![CreatePartitionsTopic { name: name(t).into(), count: *count, assignments: None }];
                handle
                    .create_partitions(
                        CreatePartitionsRequest { topics, ..Default::default() },
                        Mutations::default(),
                    )
                    .await
                    .unwrap();
            }
            Step::Set(t, value) => {
                let (resource_name, changes) = (name(t).into(), vec![change("retention.ms", *value)]);
                let alteration =
                    Alteration { resource_type: resource::TOPIC, resource_name, replace: false, changes };
                drop(handle.alter_configs(vec![alteration], false).await.unwrap());
            }
            Step::SetAll(value) => {
                let changes = vec![change("message.max.bytes", *value)];
                let alteration = Alteration {
                    resource_type: resource::BROKER,
                    resource_name: Str::EMPTY,
                    replace: false,
                    changes,
                };
                drop(handle.alter_configs(vec![alteration], false).await.unwrap());
            }
            Step::Ids => drop(handle.producer_id().await.unwrap()),
            Step::Restart => {}
        }
    }

    /// What must hold of every image.
    fn check(image: &Image, ids: &mut HashMap<Uuid, TopicName>) {
        for topic in image.topics() {
            assert!(!topic.partitions.is_empty());
            for partition in &topic.partitions {
                assert!(partition.leader != BrokerId::NONE && partition.leader != NO_LEADER_CHANGE);
                assert!(
                    partition.isr.contains(&partition.leader)
                        && partition.replicas.contains(&partition.leader)
                );
            }
            let first = ids.entry(topic.id).or_insert_with(|| topic.name.clone());
            assert_eq!(*first, topic.name, "an id belongs to one topic for ever");
        }
        let count: usize = image.topics().map(|t| t.partitions.len()).sum();
        assert_eq!(count, image.partition_count());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn whatever_happens_replaying_the_log_gives_the_live_image(steps in proptest::collection::vec(step(), 1..40)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let dir = tempfile::tempdir().unwrap();
                let mut ids = HashMap::new();
                let (mut live, mut directories) = started(dir.path(), "").await;
                for step in &steps {
                    if let Step::Restart = step {
                        stop(live).await;
                        (live, directories) = started(dir.path(), "").await;
                    }
                    run(step, &live.handle).await;
                    let image = live.image.load();
                    check(&image, &mut ids);
                    let mut held: Vec<_> = image
                        .topics()
                        .flat_map(|t| (0..t.partitions.len()).map(|i| format!("{}-{i}", t.name)))
                        .collect();
                    held.sort();
                    assert_eq!(directories.list(), held, "what the image says is what is on disk");
                }
                let image = live.image.load_full();
                stop(live).await;
                let (_, replayed) = replay(dir.path(), Image::new("cluster".into())).unwrap();
                assert_eq!(replayed, *image);
            });
        }
    }
}
