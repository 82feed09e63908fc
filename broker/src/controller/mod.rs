//! The controller: decides what becomes of topics, configurations and brokers, and carries it out.
//!
//! One task owns it all. It takes commands from everywhere, decides each by the image ([`topics`], [`partitions`],
//! [`configs`], [`producer_ids`], [`brokers`]: pure functions from image and request to records and answer), has the
//! records committed ([`consensus`]), replays them into the next image, opens the partitions that are new, publishes
//! the image, and only then answers: whoever was told that a topic is there can produce to it.
//!
//! Commands that wait together are committed together, by one flush of the disk. Each is decided by the image as the
//! ones before it leave it.

pub(crate) mod api_error;
pub(crate) mod brokers;
pub(crate) mod configs;
pub(crate) mod consensus;
pub(crate) mod effective;
pub(crate) mod partitions;
pub(crate) mod producer_ids;
pub(crate) mod topics;

use std::{
    fmt,
    future::Future,
    hash::{BuildHasher, RandomState},
    ops::Range,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use ottla_config::{ConfigErrors, Values};
use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse},
        create_topics::{CreateTopicsRequest, CreateTopicsResponse},
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
    effective::Configs,
};
use crate::{
    config::{BrokerConfig, TopicConfig},
    metadata::{
        SharedImage,
        delta::Delta,
        image::{Image, ReplayError, Topic},
        record::MetadataRecord,
    },
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
    let Start { cluster_id, log_dir, config, registration } = start;
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
        shared: Arc::new(ArcSwap::new(Arc::clone(&nothing))),
        image: nothing,
    };
    let registered = brokers::register(&replayed, &registration);
    let next = controller.commit_first(&replayed, &registered.records).await?;
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
    pub(crate) fn configs(&self) -> &Configs {
        &self.configs
    }

    /// Creates topics; see [`topics::create`].
    pub(crate) async fn create_topics(
        &self,
        request: CreateTopicsRequest,
        with_configs: bool,
    ) -> Result<CreateTopicsResponse, ApiError> {
        self.ask(move |image, rules| topics::create(image, rules, &request, with_configs, &mut random_id))
            .await
    }

    /// Creates those of `names` that are not there, with the broker's defaults; see [`topics::auto_create`].
    pub(crate) async fn auto_create(
        &self,
        names: Vec<TopicName>,
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        self.ask(move |image, rules| topics::auto_create(image, rules, &names, &mut random_id)).await
    }

    /// Deletes topics; see [`topics::delete`].
    pub(crate) async fn delete_topics(
        &self,
        request: DeleteTopicsRequest,
    ) -> Result<DeleteTopicsResponse, ApiError> {
        self.ask(move |image, rules| topics::delete(image, rules, &request)).await
    }

    /// Adds partitions; see [`partitions::create`].
    pub(crate) async fn create_partitions(
        &self,
        request: CreatePartitionsRequest,
    ) -> Result<CreatePartitionsResponse, ApiError> {
        self.ask(move |image, _| partitions::create(image, &request)).await
    }

    /// Changes configurations; see [`configs::alter`].
    pub(crate) async fn alter_configs(
        &self,
        alterations: Vec<Alteration>,
        validate_only: bool,
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        self.ask(move |image, rules| configs::alter(image, rules, &alterations, validate_only)).await
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

/// Unique and unpredictable enough for an id: the keys of the standard library's hash maps come from the system's
/// random numbers, and differ from one to the next.
fn random_id() -> Uuid {
    let half = || u128::from(RandomState::new().hash_one(0));
    const VERSION_AND_VARIANT: u128 = 0xf000 << 64 | 0xc000 << 48;
    // A random UUID of RFC 9562: version 4, variant 2.
    Uuid((half() << 64 | half()) & !VERSION_AND_VARIANT | 0x4000 << 64 | 0x8000 << 48)
}

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
        self.shared.store(Arc::clone(&self.image));
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
        for topic in configured {
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
