//! The state that the metadata log adds up to, as an immutable snapshot.
//!
//! [`Image::apply`] is the only way from one image to the next, for records of the disk and of the moment alike:
//! a restart therefore ends in the same image. What did not change is shared between the two.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use ottla_protocol::{
    messages::metadata_log::{
        broker_registration_change_record::BrokerRegistrationChangeRecord, config_record::ConfigRecord,
        partition_change_record::PartitionChangeRecord, partition_record::PartitionRecord,
        register_broker_record::RegisterBrokerRecord, topic_record::TopicRecord,
    },
    types::{BrokerId, GroupId, Str, TopicName, Uuid},
};
use ottla_transport::sasl::{ScramCredential, ScramHash};

use super::{acls::Acls, quotas::ClientQuotas, record::MetadataRecord, scram::ScramUsers};

/// "The leader stays", in a [`PartitionChangeRecord`] (`NO_LEADER_CHANGE`).
pub(crate) const NO_LEADER_CHANGE: BrokerId = BrokerId(-2);

/// The name under which configurations for all brokers are kept.
pub(crate) const DEFAULT_BROKER: &str = "";

/// Configuration values of one resource, as they were set.
pub(crate) type Settings = BTreeMap<Str, Str>;

/// Configuration values of brokers, by the broker's id as text; [`DEFAULT_BROKER`] is for all.
pub(crate) type BrokersSettings = BTreeMap<Str, Arc<Settings>>;

/// Everything that the metadata log says, up to [`Image::offset`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Image {
    cluster_id: Str,
    offset: i64,
    epoch: i32,
    brokers: Arc<BTreeMap<BrokerId, Broker>>,
    topics: Arc<Topics>,
    configs: Arc<Configs>,
    features: Arc<BTreeMap<Str, i16>>,
    next_producer_id: i64,
    scram_users: Arc<ScramUsers>,
    acls: Arc<Acls>,
    quotas: Arc<ClientQuotas>,
}

impl Image {
    /// A cluster in which nothing has happened.
    pub(crate) fn new(cluster_id: Str) -> Self {
        Self {
            cluster_id,
            offset: -1,
            epoch: 0,
            brokers: Arc::default(),
            topics: Arc::default(),
            configs: Arc::default(),
            features: Arc::default(),
            next_producer_id: 0,
            scram_users: Arc::default(),
            acls: Arc::default(),
            quotas: Arc::default(),
        }
    }

    /// The image after `records`: all of them count or, on an error, none.
    pub(crate) fn apply(&self, records: &[MetadataRecord], epoch: i32) -> Result<Self, ReplayError> {
        let mut next = self.clone();
        next.replay_all(records, epoch)?;
        Ok(next)
    }

    /// Goes on to the image after `records`, which lie at the offsets right after [`Self::offset`] and were written
    /// in `epoch`. On an error the image is of no use any more. For a log that is read from its beginning: what
    /// nobody else holds is changed in place.
    pub(crate) fn replay_all(&mut self, records: &[MetadataRecord], epoch: i32) -> Result<(), ReplayError> {
        self.epoch = epoch;
        for record in records {
            self.offset += 1;
            self.replay(record).map_err(|why| ReplayError { offset: self.offset, why })?;
        }
        Ok(())
    }

    /// The cluster's id.
    pub(crate) fn cluster_id(&self) -> &Str {
        &self.cluster_id
    }

    /// The offset of the last record it holds; -1 if it holds none.
    pub(crate) fn offset(&self) -> i64 {
        self.offset
    }

    /// The epoch that the last record was written in.
    pub(crate) fn epoch(&self) -> i32 {
        self.epoch
    }

    /// The topic of this name.
    pub(crate) fn topic(&self, name: &TopicName) -> Option<&Arc<Topic>> {
        self.topics.by_name.get(name)
    }

    /// The topic of this id.
    pub(crate) fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.topics.by_name.get(self.topics.names.get(&id)?)
    }

    /// All topics, in the order of their names.
    pub(crate) fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<Topic>> {
        self.topics.by_name.values()
    }

    /// The topics named `name` and after, in the order of their names.
    pub(crate) fn topics_from(&self, name: &TopicName) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.by_name.range(name.clone()..).map(|(_, topic)| topic)
    }

    /// A topic whose metrics would bear the name of `name`'s: `.` and `_` are one there.
    pub(crate) fn topic_colliding(&self, name: &TopicName) -> Option<&TopicName> {
        self.topics.by_metric_name.get(&metric_name(name)?)
    }

    /// Partitions of all topics together.
    pub(crate) fn partition_count(&self) -> usize {
        self.topics.partition_count
    }

    /// The broker of this id.
    pub(crate) fn broker(&self, id: BrokerId) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// All brokers, in the order of their ids.
    pub(crate) fn brokers(&self) -> impl ExactSizeIterator<Item = &Broker> {
        self.brokers.values()
    }

    /// What was set for a topic.
    pub(crate) fn topic_settings(&self, name: &TopicName) -> Option<&Arc<Settings>> {
        self.configs.topics.get(name)
    }

    /// What was set for a broker by the name of its id, or for all brokers by [`DEFAULT_BROKER`].
    pub(crate) fn broker_settings(&self, name: &str) -> Option<&Arc<Settings>> {
        self.configs.brokers.get(name.as_bytes())
    }

    /// What was set for a group.
    pub(crate) fn group_settings(&self, id: &GroupId) -> Option<&Arc<Settings>> {
        self.configs.groups.get(id)
    }

    /// The groups that something was set for.
    pub(crate) fn configured_groups(&self) -> impl Iterator<Item = &GroupId> {
        self.configs.groups.keys()
    }

    /// The subscriptions to clients' metrics that something was set for.
    pub(crate) fn configured_client_metrics(&self) -> impl Iterator<Item = &Str> {
        self.configs.client_metrics.keys()
    }

    /// What was set for brokers, as one thing: the same as long as nothing of it changes.
    pub(crate) fn brokers_settings(&self) -> &Arc<BrokersSettings> {
        &self.configs.brokers
    }

    /// The level at which a feature is finalised; 0 for none.
    pub(crate) fn feature_level(&self, name: &str) -> i16 {
        self.features.get(name.as_bytes()).copied().unwrap_or(0)
    }

    /// The first producer id not yet handed out.
    pub(crate) fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// Users with SCRAM credentials.
    pub(crate) fn scram_users(&self) -> &ScramUsers {
        &self.scram_users
    }

    /// What is kept of a user for a SCRAM mechanism.
    pub(crate) fn scram_credential(&self, user: &str, hash: ScramHash) -> Option<&ScramCredential> {
        self.scram_users.credential(user, hash)
    }

    /// Who may do what.
    pub(crate) fn acls(&self) -> &Acls {
        &self.acls
    }

    /// How much users, clients and addresses may take.
    pub(crate) fn quotas(&self) -> &ClientQuotas {
        &self.quotas
    }

    pub(super) fn shares_quotas_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.quotas, &other.quotas)
    }

    pub(super) fn shares_topics_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.topics, &other.topics)
    }

    pub(super) fn configs(&self) -> &Arc<Configs> {
        &self.configs
    }

    fn replay(&mut self, record: &MetadataRecord) -> Result<(), String> {
        match record {
            MetadataRecord::RegisterBroker(record) => {
                let broker = Broker::new(record);
                Arc::make_mut(&mut self.brokers).insert(broker.id, broker);
            }
            MetadataRecord::UnregisterBroker(record) => {
                self.broker_mut(record.broker_id, record.broker_epoch)?;
                Arc::make_mut(&mut self.brokers).remove(&record.broker_id);
            }
            MetadataRecord::FenceBroker(record) => self.broker_mut(record.id, record.epoch)?.fenced = true,
            MetadataRecord::UnfenceBroker(record) => self.broker_mut(record.id, record.epoch)?.fenced = false,
            MetadataRecord::BrokerRegistrationChange(record) => {
                self.broker_mut(record.broker_id, record.broker_epoch)?.change(record)?;
            }
            MetadataRecord::Topic(record) => Arc::make_mut(&mut self.topics).create(record)?,
            MetadataRecord::Partition(record) => Arc::make_mut(&mut self.topics).add_partition(record)?,
            MetadataRecord::PartitionChange(record) => {
                Arc::make_mut(&mut self.topics)
                    .partition_mut(record.topic_id, record.partition_id)?
                    .change(record)?;
            }
            MetadataRecord::RemoveTopic(record) => {
                let name = Arc::make_mut(&mut self.topics).remove(record.topic_id)?;
                if self.configs.topics.contains_key(&name) {
                    Arc::make_mut(&mut self.configs).topics.remove(&name);
                }
            }
            MetadataRecord::ClearElr(record) => {
                Arc::make_mut(&mut self.topics).clear_elr(&record.topic_name)?
            }
            MetadataRecord::Config(record) => Arc::make_mut(&mut self.configs).set(record)?,
            MetadataRecord::FeatureLevel(record) => {
                let features = Arc::make_mut(&mut self.features);
                match record.feature_level {
                    0 => features.remove(&record.name),
                    level => features.insert(record.name.detached(), level),
                };
            }
            MetadataRecord::ProducerIds(record) => {
                if record.next_producer_id < self.next_producer_id {
                    return Err(format!(
                        "producer ids go back from {} to {}",
                        self.next_producer_id, record.next_producer_id
                    ));
                }
                self.next_producer_id = record.next_producer_id;
            }
            MetadataRecord::UserScramCredential(record) => {
                Arc::make_mut(&mut self.scram_users).set(record)?
            }
            MetadataRecord::RemoveUserScramCredential(record) => {
                Arc::make_mut(&mut self.scram_users).remove(record)?;
            }
            MetadataRecord::AccessControlEntry(record) => Arc::make_mut(&mut self.acls).add(record)?,
            MetadataRecord::RemoveAccessControlEntry(record) => {
                Arc::make_mut(&mut self.acls).remove(record)?;
            }
            MetadataRecord::ClientQuota(record) => Arc::make_mut(&mut self.quotas).set(record)?,
            MetadataRecord::NoOp(_) => {}
        }
        Ok(())
    }

    fn broker_mut(&mut self, id: BrokerId, epoch: i64) -> Result<&mut Broker, String> {
        match Arc::make_mut(&mut self.brokers).get_mut(&id) {
            Some(broker) if broker.epoch == epoch => Ok(broker),
            Some(broker) => Err(format!("broker {id} has epoch {}, not {epoch}", broker.epoch)),
            None => Err(format!("there is no broker {id}")),
        }
    }
}

/// A record that does not fit what came before it: the log is not one that a controller wrote.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ReplayError {
    /// The record's offset.
    pub(crate) offset: i64,
    /// What does not fit.
    pub(crate) why: String,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the metadata record at offset {} does not fit those before it: {}", self.offset, self.why)
    }
}

impl std::error::Error for ReplayError {}

/// A broker as it registered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Broker {
    /// `node.id`.
    pub(crate) id: BrokerId,
    /// The offset of its registration; a new one at each start.
    pub(crate) epoch: i64,
    /// Made anew by the process at each start.
    pub(crate) incarnation: Uuid,
    /// Where it can be reached.
    pub(crate) endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub(crate) rack: Option<Str>,
    /// Whether it must not lead.
    pub(crate) fenced: bool,
    /// Whether it is giving up its leaderships to stop.
    pub(crate) in_controlled_shutdown: bool,
    /// The ids of its log directories.
    pub(crate) log_dirs: Vec<Uuid>,
}

/// An address that clients are told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Endpoint {
    /// The listener, as `PLAINTEXT`.
    pub(crate) listener: Str,
    /// A name or an address.
    pub(crate) host: Str,
    /// The port.
    pub(crate) port: u16,
    /// The number of the protocol that is spoken there (`SecurityProtocol`).
    pub(crate) security_protocol: i16,
}

impl Broker {
    fn new(record: &RegisterBrokerRecord) -> Self {
        let endpoint =
            |e: &ottla_protocol::messages::metadata_log::register_broker_record::BrokerEndpoint| Endpoint {
                listener: e.name.detached(),
                host: e.host.detached(),
                port: e.port,
                security_protocol: e.security_protocol,
            };
        Self {
            id: record.broker_id,
            epoch: record.broker_epoch,
            incarnation: record.incarnation_id,
            endpoints: record.end_points.iter().map(endpoint).collect(),
            rack: record.rack.as_ref().map(Str::detached),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            log_dirs: record.log_dirs.clone(),
        }
    }

    /// Whether it may hold replicas that are in sync.
    pub(crate) fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    fn change(&mut self, record: &BrokerRegistrationChangeRecord) -> Result<(), String> {
        self.fenced = match record.fenced {
            -1 => false,
            0 => self.fenced,
            1 => true,
            other => return Err(format!("{other} is no change of a broker's fence")),
        };
        self.in_controlled_shutdown = match record.in_controlled_shutdown {
            0 => self.in_controlled_shutdown,
            1 => true,
            other => return Err(format!("{other} is no change of a broker's shutdown")),
        };
        if !record.log_dirs.is_empty() {
            self.log_dirs.clone_from(&record.log_dirs);
        }
        Ok(())
    }
}

/// Topics, and the ways to find one.
#[derive(Clone, Debug, Default, PartialEq)]
struct Topics {
    by_name: BTreeMap<TopicName, Arc<Topic>>,
    names: HashMap<Uuid, TopicName>,
    /// Topics with a `.` or `_` in their names, by the name of their metrics.
    by_metric_name: HashMap<String, TopicName>,
    partition_count: usize,
}

impl Topics {
    fn create(&mut self, record: &TopicRecord) -> Result<(), String> {
        let name = record.name.detached();
        name.check().map_err(|why| why.to_string())?;
        if self.by_name.contains_key(&name) || self.names.contains_key(&record.topic_id) {
            return Err(format!("there is a topic `{name}` or one with the id {}", record.topic_id));
        }
        if let Some(metric_name) = metric_name(&name) {
            self.by_metric_name.insert(metric_name, name.clone());
        }
        self.names.insert(record.topic_id, name.clone());
        self.by_name
            .insert(name.clone(), Arc::new(Topic { name, id: record.topic_id, partitions: Vec::new() }));
        Ok(())
    }

    fn remove(&mut self, id: Uuid) -> Result<TopicName, String> {
        let name = self.names.remove(&id).ok_or_else(|| no_topic(id))?;
        if let Some(topic) = self.by_name.remove(&name) {
            self.partition_count -= topic.partitions.len();
        }
        if let Some(metric_name) = metric_name(&name) {
            self.by_metric_name.remove(&metric_name);
        }
        Ok(name)
    }

    fn add_partition(&mut self, record: &PartitionRecord) -> Result<(), String> {
        let topic = self.topic_mut(record.topic_id)?;
        if usize::try_from(record.partition_id) != Ok(topic.partitions.len()) {
            let (name, next) = (&topic.name, topic.partitions.len());
            return Err(format!("partition {} of `{name}` where {next} is the next", record.partition_id));
        }
        topic.partitions.push(Partition::new(record)?);
        self.partition_count += 1;
        Ok(())
    }

    fn partition_mut(&mut self, id: Uuid, index: i32) -> Result<&mut Partition, String> {
        let topic = self.topic_mut(id)?;
        let place = usize::try_from(index).ok().and_then(|i| topic.partitions.get_mut(i));
        place.ok_or_else(|| format!("topic {id} has no partition {index}"))
    }

    fn topic_mut(&mut self, id: Uuid) -> Result<&mut Topic, String> {
        let topic = self.names.get(&id).and_then(|name| self.by_name.get_mut(name));
        topic.map(Arc::make_mut).ok_or_else(|| no_topic(id))
    }

    /// Of one topic, or of all if the name is empty.
    fn clear_elr(&mut self, name: &TopicName) -> Result<(), String> {
        if !name.is_empty() && !self.by_name.contains_key(name) {
            return Err(format!("there is no topic `{name}`"));
        }
        for (of, topic) in &mut self.by_name {
            let eligible =
                |p: &Partition| !p.eligible_leader_replicas.is_empty() || !p.last_known_elr.is_empty();
            if (name.is_empty() || name == of) && topic.partitions.iter().any(eligible) {
                for partition in &mut Arc::make_mut(topic).partitions {
                    if eligible(partition) {
                        partition.eligible_leader_replicas = Box::default();
                        partition.last_known_elr = Box::default();
                        partition.partition_epoch += 1;
                    }
                }
            }
        }
        Ok(())
    }
}

fn no_topic(id: Uuid) -> String {
    format!("there is no topic with the id {id}")
}

/// The name that a topic's metrics bear, if it is not the topic's own.
fn metric_name(name: &TopicName) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Topic {
    /// Its name.
    pub(crate) name: TopicName,
    /// Its id: of another topic, created later under the same name, it is another.
    pub(crate) id: Uuid,
    /// Its partitions, by index. Never empty in an image that is published.
    pub(crate) partitions: Vec<Partition>,
}

/// Who holds a partition, and who leads it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Partition {
    /// The leader; -1 for none.
    pub(crate) leader: BrokerId,
    /// Counts changes of the leader.
    pub(crate) leader_epoch: i32,
    /// Counts changes of any kind.
    pub(crate) partition_epoch: i32,
    /// Brokers that are to hold it; the first is the preferred leader.
    pub(crate) replicas: Box<[BrokerId]>,
    /// Brokers that hold all that is committed.
    pub(crate) isr: Box<[BrokerId]>,
    /// Brokers that may be elected though they are not in sync (KIP-966).
    pub(crate) eligible_leader_replicas: Box<[BrokerId]>,
    /// Who was eligible when nobody was left (KIP-966).
    pub(crate) last_known_elr: Box<[BrokerId]>,
    /// Brokers on their way out.
    pub(crate) removing_replicas: Box<[BrokerId]>,
    /// Brokers on their way in.
    pub(crate) adding_replicas: Box<[BrokerId]>,
    /// The log directory of each replica.
    pub(crate) directories: Box<[Uuid]>,
    /// 0 once the leader is known to hold what is committed, 1 after an unclean election.
    pub(crate) leader_recovery_state: i8,
}

impl Partition {
    /// The log directory of a broker's replica.
    pub(crate) fn directory_of(&self, broker: BrokerId) -> Option<Uuid> {
        let place = self.replicas.iter().position(|replica| *replica == broker)?;
        self.directories.get(place).copied()
    }

    fn new(record: &PartitionRecord) -> Result<Self, String> {
        if record.replicas.is_empty() {
            return Err("a partition without replicas".into());
        }
        let brokers = |brokers: &Option<Vec<BrokerId>>| brokers.clone().unwrap_or_default().into();
        Ok(Self {
            leader: record.leader,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
            replicas: record.replicas.clone().into(),
            isr: record.isr.iter().copied().map(BrokerId).collect(),
            eligible_leader_replicas: brokers(&record.eligible_leader_replicas),
            last_known_elr: brokers(&record.last_known_elr),
            removing_replicas: record.removing_replicas.clone().into(),
            adding_replicas: record.adding_replicas.clone().into(),
            directories: record.directories.clone().into(),
            leader_recovery_state: record.leader_recovery_state,
        })
    }

    /// Kafka's `PartitionRegistration.merge`.
    fn change(&mut self, record: &PartitionChangeRecord) -> Result<(), String> {
        let put = |place: &mut Box<[BrokerId]>, brokers: &Option<Vec<BrokerId>>| {
            if let Some(brokers) = brokers {
                *place = brokers.clone().into();
            }
        };
        put(&mut self.replicas, &record.replicas);
        put(&mut self.isr, &record.isr);
        put(&mut self.eligible_leader_replicas, &record.eligible_leader_replicas);
        put(&mut self.last_known_elr, &record.last_known_elr);
        put(&mut self.removing_replicas, &record.removing_replicas);
        put(&mut self.adding_replicas, &record.adding_replicas);
        if let Some(directories) = &record.directories {
            self.directories = directories.clone().into();
        }
        if record.leader_recovery_state >= 0 {
            self.leader_recovery_state = record.leader_recovery_state;
        }
        let next = |epoch: i32| epoch.checked_add(1).ok_or("an epoch is at its end");
        if record.leader != NO_LEADER_CHANGE {
            self.leader = record.leader;
            self.leader_epoch = next(self.leader_epoch)?;
        }
        self.partition_epoch = next(self.partition_epoch)?;
        Ok(())
    }
}

/// Configurations by resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Configs {
    pub(super) topics: BTreeMap<TopicName, Arc<Settings>>,
    pub(super) brokers: Arc<BrokersSettings>,
    groups: BTreeMap<GroupId, Arc<Settings>>,
    /// Kept, and no more.
    client_metrics: BTreeMap<Str, Arc<Settings>>,
}

/// The kinds of resource that have a configuration (`ConfigResource.Type`).
pub(crate) mod resource {
    /// A topic.
    pub(crate) const TOPIC: i8 = 2;
    /// A broker, or all of them.
    pub(crate) const BROKER: i8 = 4;
    /// The loggers of a broker (KIP-412).
    pub(crate) const BROKER_LOGGER: i8 = 8;
    /// A subscription to the metrics of clients (KIP-714).
    pub(crate) const CLIENT_METRICS: i8 = 16;
    /// A group (KIP-848).
    pub(crate) const GROUP: i8 = 32;
}

impl Configs {
    fn set(&mut self, record: &ConfigRecord) -> Result<(), String> {
        let name = record.resource_name.detached();
        match record.resource_type {
            resource::TOPIC => set(&mut self.topics, TopicName(name), record),
            resource::BROKER => set(Arc::make_mut(&mut self.brokers), name, record),
            resource::GROUP => set(&mut self.groups, GroupId(name), record),
            resource::CLIENT_METRICS => set(&mut self.client_metrics, name, record),
            other => return Err(format!("configurations of resource type {other}")),
        }
        Ok(())
    }
}

/// Sets or takes away one value; a resource without values is not kept.
fn set<K: Ord>(resources: &mut BTreeMap<K, Arc<Settings>>, resource: K, record: &ConfigRecord) {
    match &record.value {
        Some(value) => {
            let settings = Arc::make_mut(resources.entry(resource).or_default());
            settings.insert(record.name.detached(), value.detached());
        }
        None => {
            if let Some(settings) = resources.get_mut(&resource) {
                let settings = Arc::make_mut(settings);
                settings.remove(&record.name);
                if settings.is_empty() {
                    resources.remove(&resource);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::metadata_log::{
        clear_elr_record::ClearElrRecord, fence_broker_record::FenceBrokerRecord,
        producer_ids_record::ProducerIdsRecord, remove_topic_record::RemoveTopicRecord,
    };

    use super::*;

    fn topic(name: &str, id: u128) -> MetadataRecord {
        TopicRecord { name: name.into(), topic_id: Uuid(id) }.into()
    }

    fn partition(id: u128, index: i32) -> MetadataRecord {
        PartitionRecord {
            partition_id: index,
            topic_id: Uuid(id),
            replicas: vec![BrokerId(1)],
            isr: vec![1],
            leader: BrokerId(1),
            leader_epoch: 0,
            partition_epoch: 0,
            ..PartitionRecord::default()
        }
        .into()
    }

    fn config(kind: i8, resource: &str, name: &str, value: Option<&str>) -> MetadataRecord {
        ConfigRecord {
            resource_type: kind,
            resource_name: resource.into(),
            name: name.into(),
            value: value.map(Str::from),
        }
        .into()
    }

    fn image(records: &[MetadataRecord]) -> Result<Image, String> {
        Image::new("c".into()).apply(records, 1).map_err(|e| e.to_string())
    }

    #[test]
    fn a_topic_comes_with_partitions_and_configuration_and_goes_with_them() {
        let records =
            [topic("a.b", 7), config(resource::TOPIC, "a.b", "retention.ms", Some("1")), partition(7, 0)];
        let with = image(&records).unwrap();
        assert_eq!((with.offset(), with.epoch(), with.partition_count()), (2, 1, 1));
        assert_eq!(with.topic_by_id(Uuid(7)).unwrap().name, "a.b");
        assert_eq!(with.topic_colliding(&"a_b".into()).unwrap(), &"a.b");
        assert_eq!(with.topic_settings(&"a.b".into()).unwrap().len(), 1);

        let without = with.apply(&[RemoveTopicRecord { topic_id: Uuid(7) }.into()], 2).unwrap();
        assert_eq!((without.topics().len(), without.partition_count()), (0, 0));
        assert_eq!(without.topic_by_id(Uuid(7)), None);
        assert_eq!(without.topic_colliding(&"a_b".into()), None);
        assert_eq!(without.topic_settings(&"a.b".into()), None);
        assert_eq!(with.topics().len(), 1, "an image never changes");
    }

    #[test]
    fn a_change_of_leader_raises_both_epochs_and_any_other_only_the_partitions() {
        let before = image(&[topic("a", 7), partition(7, 0)]).unwrap();
        let change = |leader| {
            let record = PartitionChangeRecord {
                partition_id: 0,
                topic_id: Uuid(7),
                leader,
                isr: Some(vec![BrokerId(1), BrokerId(2)]),
                ..PartitionChangeRecord::default()
            };
            before.apply(&[record.into()], 1).unwrap().topic(&"a".into()).unwrap().partitions[0].clone()
        };
        let isr = change(NO_LEADER_CHANGE);
        assert_eq!(
            (isr.leader, isr.leader_epoch, isr.partition_epoch, isr.isr.len()),
            (BrokerId(1), 0, 1, 2)
        );
        let same_leader = change(BrokerId(1));
        assert_eq!((same_leader.leader_epoch, same_leader.partition_epoch), (1, 1));
    }

    #[test]
    fn configuration_values_are_set_and_taken_away() {
        let set = image(&[
            config(resource::BROKER, "", "log.retention.ms", Some("5")),
            config(resource::BROKER, "1", "log.retention.ms", Some("6")),
            config(resource::GROUP, "g", "x", Some("7")),
        ])
        .unwrap();
        assert_eq!(set.broker_settings("1").unwrap().values().next().unwrap(), &"6");
        assert_eq!(set.group_settings(&"g".into()).unwrap().values().next().unwrap(), &"7");
        assert!(set.configured_groups().eq([&GroupId::from("g")]));
        let none = set.apply(&[config(resource::BROKER, "", "log.retention.ms", None)], 1).unwrap();
        assert_eq!(none.broker_settings(DEFAULT_BROKER), None);
        assert!(image(&[config(9, "x", "y", Some("z"))]).unwrap_err().ends_with("resource type 9"));
    }

    #[test]
    fn records_that_do_not_fit_are_refused_with_their_offset() {
        let say = |records: &[MetadataRecord]| image(records).unwrap_err();
        let twice = say(&[topic("a", 7), topic("a", 8)]);
        assert!(twice.starts_with(
            "the metadata record at offset 1 does not fit those before it: there is a topic `a`"
        ));
        assert!(say(&[topic("a", 7), partition(7, 1)]).ends_with("partition 1 of `a` where 0 is the next"));
        assert!(say(&[topic("a", 7), partition(7, -1)]).ends_with("partition -1 of `a` where 0 is the next"));
        assert!(say(&[partition(7, 0)]).contains("there is no topic with the id"));
        assert!(say(&[topic("../a", 7)]).contains("allowed"), "a name becomes a directory's");
        assert!(
            say(&[FenceBrokerRecord { id: BrokerId(1), epoch: 0 }.into()]).ends_with("there is no broker 1")
        );
        let ids = |n| ProducerIdsRecord { next_producer_id: n, ..ProducerIdsRecord::default() }.into();
        assert!(say(&[ids(2_000), ids(1_000)]).ends_with("producer ids go back from 2000 to 1000"));
        assert!(say(&[ClearElrRecord { topic_name: "a".into() }.into()]).ends_with("there is no topic `a`"));
    }

    #[test]
    fn what_did_not_change_is_shared() {
        let before = image(&[topic("a", 7), partition(7, 0), topic("b", 8), partition(8, 0)]).unwrap();
        let after = before.apply(&[partition(8, 1)], 1).unwrap();
        assert!(Arc::ptr_eq(before.topic(&"a".into()).unwrap(), after.topic(&"a".into()).unwrap()));
        assert_eq!(before.topic(&"b".into()).unwrap().partitions.len(), 1);
        assert_eq!(after.topic(&"b".into()).unwrap().partitions.len(), 2);
        let configured = after.apply(&[config(resource::TOPIC, "a", "x", Some("y"))], 1).unwrap();
        assert!(after.shares_topics_with(&configured));
    }
}
