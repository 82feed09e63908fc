//! CreateTopics, DeleteTopics, and topics that are made because somebody asked for them.

use std::collections::{HashMap, HashSet};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        create_topics::{
            CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
            CreateTopicsResponse,
        },
        delete_topics::{DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse},
        metadata_log::{remove_topic_record::RemoveTopicRecord, topic_record::TopicRecord},
    },
    types::{BrokerId, Str, TopicName, Uuid},
};

use super::{
    ApiError, Decision, Rules,
    api_error::code_and_message,
    configs::{check_topic_settings, config_record},
    effective::{ConfigEntry, TopicDefaults},
    partitions::{Room, check_assignment, partition_record, place},
};
use crate::metadata::{
    CLUSTER_METADATA_TOPIC,
    image::{Image, Settings, resource},
    is_internal,
    record::MetadataRecord,
};

/// "The broker's default", of a partition count or replication factor.
const DEFAULT: i32 = -1;

/// Creates topics, each whole or not at all. Ids come from `random`. The answer says what each topic's
/// configuration is if `with_configs`; clients before version 5 cannot read it.
pub(crate) fn create(
    image: &Image,
    rules: &Rules,
    request: &CreateTopicsRequest,
    with_configs: bool,
    random: &mut dyn FnMut() -> Uuid,
) -> Decision<CreateTopicsResponse> {
    let mut seen = HashSet::new();
    let twice: HashSet<&TopicName> =
        request.topics.iter().map(|t| &t.name).filter(|n| !seen.insert(*n)).collect();
    let mut creation = Creation::new(image, rules);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let created = match twice.contains(&topic.name) {
            true => Err(ApiError::new(ErrorCode::INVALID_REQUEST, "the request names the topic twice")),
            false => creation.create(topic, random),
        };
        let (error_code, error_message) = code_and_message(&created);
        let mut result = CreatableTopicResult {
            name: topic.name.clone(),
            error_code,
            error_message,
            ..Default::default()
        };
        if let Ok(created) = created {
            // Nothing has this id if the request only tries.
            result.topic_id = if request.validate_only { Uuid::ZERO } else { created.id };
            result.num_partitions = created.partition_count;
            result.replication_factor = created.replication_factor;
            result.configs = with_configs.then(|| creation.describe(&created.settings));
        }
        topics.push(result);
    }
    let records = if request.validate_only { Vec::new() } else { creation.records };
    Decision { records, answer: CreateTopicsResponse { throttle_time_ms: 0, topics } }
}

/// Creates each of `names` with the broker's defaults, unless it is there. The answer is in their order.
pub(crate) fn auto_create(
    image: &Image,
    rules: &Rules,
    names: &[TopicName],
    random: &mut dyn FnMut() -> Uuid,
) -> Decision<Vec<Result<(), ApiError>>> {
    let mut creation = Creation::new(image, rules);
    let mut made = HashSet::new();
    let mut one = |name: &TopicName| {
        if image.topic(name).is_some() || !made.insert(name.clone()) {
            return Ok(());
        }
        let topic = CreatableTopic {
            name: name.clone(),
            num_partitions: DEFAULT,
            replication_factor: DEFAULT as i16,
            ..Default::default()
        };
        creation.create(&topic, random).map(|_| ())
    };
    let answer = names.iter().map(&mut one).collect();
    Decision { records: creation.records, answer }
}

/// A request's topics on their way into the log.
struct Creation<'a> {
    image: &'a Image,
    rules: &'a Rules,
    defaults: TopicDefaults,
    room: Room,
    /// Names of metrics that topics of this request have taken.
    metric_names: HashMap<String, TopicName>,
    records: Vec<MetadataRecord>,
}

struct Created {
    id: Uuid,
    partition_count: i32,
    replication_factor: i16,
    settings: Settings,
}

impl<'a> Creation<'a> {
    fn new(image: &'a Image, rules: &'a Rules) -> Self {
        let defaults = rules.configs.topic_defaults(image);
        Self {
            image,
            rules,
            defaults,
            room: Room::new(image),
            metric_names: HashMap::new(),
            records: Vec::new(),
        }
    }

    fn create(
        &mut self,
        topic: &CreatableTopic,
        random: &mut dyn FnMut() -> Uuid,
    ) -> Result<Created, ApiError> {
        self.check_name(&topic.name)?;
        let settings = settings(topic)?;
        let placed = self.place(topic)?;
        self.room.take(placed.len())?;

        let id = self.fresh_id(random);
        let mut records: Vec<MetadataRecord> =
            vec![TopicRecord { name: topic.name.clone(), topic_id: id }.into()];
        // Kafka's order: the configuration is there when the partitions come.
        for (name, value) in &settings {
            records.push(config_record(resource::TOPIC, &topic.name.0, name, Some(value)));
        }
        let partition_count = placed.len() as i32;
        let replication_factor = placed.first().map_or(0, Vec::len) as i16;
        for (index, replicas) in placed.into_iter().enumerate() {
            records.push(partition_record(self.image, id, index, replicas)?);
        }
        self.records.append(&mut records);
        self.metric_names.insert(topic.name.replace('.', "_"), topic.name.clone());
        Ok(Created { id, partition_count, replication_factor, settings })
    }

    fn check_name(&self, name: &TopicName) -> Result<(), ApiError> {
        let refuse = |message: String| Err(ApiError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message));
        if let Err(why) = name.check() {
            return refuse(why.to_string());
        }
        if &**name == CLUSTER_METADATA_TOPIC {
            let message = format!("`{name}` is the cluster's own log; give the topic another name");
            return Err(ApiError::new(ErrorCode::INVALID_REQUEST, message));
        }
        if self.image.topic(name).is_some() {
            let message = format!("there is a topic `{name}`");
            return Err(ApiError::new(ErrorCode::TOPIC_ALREADY_EXISTS, message));
        }
        if is_internal(name) {
            return refuse(format!("`{name}` is the cluster's own, which makes it when it needs it"));
        }
        let other =
            self.image.topic_colliding(name).or_else(|| self.metric_names.get(&name.replace('.', "_")));
        match other {
            Some(other) => refuse(format!(
                "`{name}` is too much like the topic `{other}`: `.` and `_` are one in the names of metrics"
            )),
            None => Ok(()),
        }
    }

    /// The brokers of each partition.
    fn place(&self, topic: &CreatableTopic) -> Result<Vec<Vec<BrokerId>>, ApiError> {
        if !topic.assignments.is_empty() {
            return self.place_by_hand(topic);
        }
        let replication_factor = match i32::from(topic.replication_factor) {
            DEFAULT => self.rules.default_replication_factor,
            factor => usize::try_from(factor).unwrap_or(0),
        };
        if replication_factor == 0 {
            let message = format!(
                "the replication factor is `{}`; give 1 or more, or -1 for the default",
                topic.replication_factor
            );
            return Err(ApiError::new(ErrorCode::INVALID_REPLICATION_FACTOR, message));
        }
        let count = match topic.num_partitions {
            DEFAULT => self.rules.default_partitions,
            count => usize::try_from(count).unwrap_or(0),
        };
        if count == 0 {
            let message = format!(
                "the number of partitions is `{}`; give 1 or more, or -1 for the default",
                topic.num_partitions
            );
            return Err(ApiError::new(ErrorCode::INVALID_PARTITIONS, message));
        }
        self.room.check(count)?;
        place(self.image, 0, count, replication_factor)
    }

    fn place_by_hand(&self, topic: &CreatableTopic) -> Result<Vec<Vec<BrokerId>>, ApiError> {
        if i32::from(topic.replication_factor) != DEFAULT || topic.num_partitions != DEFAULT {
            let message = "the partitions are assigned to brokers, so their number and the replication factor must be -1";
            return Err(ApiError::new(ErrorCode::INVALID_REQUEST, message));
        }
        let mut by_index = HashMap::new();
        let mut replication_factor = None;
        for assignment in &topic.assignments {
            check_assignment(self.image, &assignment.broker_ids, replication_factor)?;
            replication_factor = Some(assignment.broker_ids.len());
            if by_index.insert(assignment.partition_index, assignment.broker_ids.clone()).is_some() {
                let message = format!("partition {} is assigned twice", assignment.partition_index);
                return Err(ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
            }
        }
        let mut next = |index: usize| {
            by_index.remove(&(index as i32)).ok_or_else(|| {
                let message =
                    format!("partition {index} is assigned to no broker; number them from 0, without gaps");
                ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message)
            })
        };
        (0..topic.assignments.len()).map(&mut next).collect()
    }

    /// An id that no topic has and that Kafka would give: none that it reserves, and no leading dash, which tools
    /// would take for an option.
    fn fresh_id(&self, random: &mut dyn FnMut() -> Uuid) -> Uuid {
        const RESERVED_MAX: u128 = 100;
        loop {
            let id = random();
            if id.0 > RESERVED_MAX && !id.to_string().starts_with('-') && self.image.topic_by_id(id).is_none()
            {
                return id;
            }
        }
    }

    fn describe(&self, settings: &Settings) -> Vec<CreatableTopicConfigs> {
        let mut entries = self.rules.configs.describe_topic_over(&self.defaults, self.image, settings);
        entries.sort_by_key(|entry| entry.key.name);
        let config = |entry: ConfigEntry| CreatableTopicConfigs {
            name: Str::from_static(entry.key.name),
            read_only: entry.read_only,
            config_source: entry.source(),
            is_sensitive: entry.key.is_sensitive(),
            value: entry.value.map(Str::from),
        };
        entries.into_iter().map(config).collect()
    }
}

/// The configuration that a topic is to be created with, checked.
fn settings(topic: &CreatableTopic) -> Result<Settings, ApiError> {
    let mut settings = Settings::new();
    for config in &topic.configs {
        let Some(value) = &config.value else {
            let message = format!("`{}` is null; leave it out for the default", config.name);
            return Err(ApiError::new(ErrorCode::INVALID_CONFIG, message));
        };
        settings.insert(config.name.clone(), value.clone());
    }
    check_topic_settings(&settings)?;
    Ok(settings)
}

/// Deletes topics, named by name or by id.
pub(crate) fn delete(
    image: &Image,
    rules: &Rules,
    request: &DeleteTopicsRequest,
) -> Decision<DeleteTopicsResponse> {
    let named = request
        .topic_names
        .iter()
        .map(|name| DeleteTopicState { name: Some(name.clone()), topic_id: Uuid::ZERO });
    let asked: Vec<DeleteTopicState> = named.chain(request.topics.iter().cloned()).collect();
    let found: Vec<_> = asked.iter().map(|topic| find(image, rules, topic)).collect();
    let mut times: HashMap<Uuid, usize> = HashMap::new();
    for id in found.iter().flatten() {
        *times.entry(*id).or_default() += 1;
    }
    let mut records = Vec::new();
    let mut responses = Vec::with_capacity(asked.len());
    for (topic, id) in asked.into_iter().zip(found) {
        let deleted = id.and_then(|id| match times.get(&id) {
            Some(1) => Ok(id),
            _ => Err(ApiError::new(ErrorCode::INVALID_REQUEST, "the request names the topic twice")),
        });
        let (error_code, error_message) = code_and_message(&deleted);
        let id = deleted.map(|id| {
            records.push(RemoveTopicRecord { topic_id: id }.into());
            id
        });
        let topic_id = id.unwrap_or(topic.topic_id);
        let name = topic.name.or_else(|| image.topic_by_id(topic_id).map(|t| t.name.clone()));
        responses.push(DeletableTopicResult { name, topic_id, error_code, error_message });
    }
    Decision { records, answer: DeleteTopicsResponse { throttle_time_ms: 0, responses } }
}

fn find(image: &Image, rules: &Rules, topic: &DeleteTopicState) -> Result<Uuid, ApiError> {
    if !rules.delete_topic_enable {
        let message = "topics cannot be deleted here: `delete.topic.enable` is `false`";
        return Err(ApiError::new(ErrorCode::TOPIC_DELETION_DISABLED, message));
    }
    match &topic.name {
        None if topic.topic_id.is_zero() => {
            Err(ApiError::new(ErrorCode::INVALID_REQUEST, "neither a topic's name nor its id is given"))
        }
        None => match image.topic_by_id(topic.topic_id) {
            Some(topic) => Ok(topic.id),
            None => Err(ErrorCode::UNKNOWN_TOPIC_ID.into()),
        },
        Some(_) if !topic.topic_id.is_zero() => Err(ApiError::new(
            ErrorCode::INVALID_REQUEST,
            "both a topic's name and its id are given; give one",
        )),
        Some(name) => match image.topic(name) {
            Some(topic) => Ok(topic.id),
            None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.into()),
        },
    }
}
