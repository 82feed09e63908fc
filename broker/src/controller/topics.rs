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
    partitions::{Room, Spread, check_assignment, partition_record, place},
};
use crate::{
    metadata::{
        CLUSTER_METADATA_TOPIC,
        effective::{ConfigEntry, TopicDefaults},
        image::{Image, Settings, resource},
        is_internal,
        record::MetadataRecord,
    },
    quota::Mutations,
};

/// "The broker's default", of a partition count or replication factor.
const DEFAULT: i32 = -1;

/// Creates topics, each whole or not at all. Ids come from `random`. The answer says what each topic's
/// configuration is if `with_configs`; clients before version 5 cannot read it. `mutations` are counted also if the request only
/// tries, as in Kafka.
pub(crate) fn create(
    image: &Image,
    rules: &Rules,
    request: &CreateTopicsRequest,
    with_configs: bool,
    random: &mut dyn FnMut() -> Uuid,
    mutations: Mutations,
) -> Decision<CreateTopicsResponse> {
    let mut creation = Creation::new(image, rules, mutations);
    let mut seen = HashSet::new();
    let twice: HashSet<&TopicName> =
        request.topics.iter().map(|t| &t.name).filter(|n| !seen.insert(*n)).collect();
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
    let throttle_time_ms = creation.mutations.throttle_time_ms();
    let records = if request.validate_only { Vec::new() } else { creation.records };
    Decision { records, answer: CreateTopicsResponse { throttle_time_ms, topics } }
}

/// Creates each of `names` with the broker's defaults, unless it is there. The answer is in their order. The cluster's own
/// topics are not made so: their coordinators do it, with what belongs to them.
pub(crate) fn auto_create(
    image: &Image,
    rules: &Rules,
    names: &[TopicName],
    random: &mut dyn FnMut() -> Uuid,
    mutations: Mutations,
) -> Decision<Vec<Result<(), ApiError>>> {
    let mut creation = Creation::new(image, rules, mutations);
    let mut made = HashSet::new();
    let mut one = |name: &TopicName| {
        if image.topic(name).is_some() || !made.insert(name.clone()) {
            return Ok(());
        }
        if is_internal(name) {
            let message = format!("`{name}` is the cluster's own, which makes it when it needs it");
            return Err(ApiError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message));
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
    spread: Spread,
    /// Names of metrics that topics of this request have taken.
    metric_names: HashMap<String, TopicName>,
    mutations: Mutations,
    records: Vec<MetadataRecord>,
}

struct Created {
    id: Uuid,
    partition_count: i32,
    replication_factor: i16,
    settings: Settings,
}

impl<'a> Creation<'a> {
    fn new(image: &'a Image, rules: &'a Rules, mutations: Mutations) -> Self {
        let defaults = rules.configs.topic_defaults(image);
        Self {
            image,
            rules,
            defaults,
            room: Room::new(image),
            spread: Spread::new(image),
            metric_names: HashMap::new(),
            mutations,
            records: Vec::new(),
        }
    }

    fn create(
        &mut self,
        topic: &CreatableTopic,
        random: &mut dyn FnMut() -> Uuid,
    ) -> Result<Created, ApiError> {
        self.check_name(&topic.name)?;
        let mut settings = settings(topic)?;
        if is_internal(&topic.name) {
            // Whoever makes one by hand, as MirrorMaker and tests do, must not lose what it keeps by age.
            settings.entry("cleanup.policy".into()).or_insert_with(|| "compact".into());
        }
        let placed = self.place(topic)?;
        self.room.check(placed.len())?;
        self.mutations.record(placed.len())?;
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
            records.push(partition_record(self.image, id, index, replicas, &mut self.spread)?);
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
    mut mutations: Mutations,
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
        let deleted = deleted.and_then(|id| {
            let partitions = image.topic_by_id(id).map_or(0, |topic| topic.partitions.len());
            mutations.record(partitions).map(|()| id).map_err(ApiError::from)
        });
        let (error_code, error_message) = code_and_message(&deleted);
        if let Ok(topic_id) = deleted {
            records.push(RemoveTopicRecord { topic_id }.into());
        }
        let topic_id = deleted.unwrap_or(topic.topic_id);
        let name = topic.name.or_else(|| image.topic_by_id(topic_id).map(|t| t.name.clone()));
        responses.push(DeletableTopicResult { name, topic_id, error_code, error_message });
    }
    let throttle_time_ms = mutations.throttle_time_ms();
    Decision { records, answer: DeleteTopicsResponse { throttle_time_ms, responses } }
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

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::create_topics::{CreatableReplicaAssignment, CreatableTopicConfig};

    use super::*;
    use crate::controller::{
        PARTITIONS_MAX, PARTITIONS_PER_REQUEST_MAX,
        testing::{LOG_DIR, NODE, cluster_of, counting_ids, rules},
    };

    fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
        CreatableTopic { name: name.into(), num_partitions, replication_factor, ..CreatableTopic::default() }
    }

    fn with_config(name: &str, key: &str, value: Option<&str>) -> CreatableTopic {
        let configs = vec![CreatableTopicConfig { name: key.into(), value: value.map(Str::from) }];
        CreatableTopic { configs, ..topic(name, 1, 1) }
    }

    fn by_hand(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
        let assignment = |&(partition_index, brokers): &(i32, &[i32])| {
            let broker_ids = brokers.iter().copied().map(BrokerId).collect();
            CreatableReplicaAssignment { partition_index, broker_ids }
        };
        CreatableTopic { assignments: assignments.iter().map(assignment).collect(), ..topic(name, -1, -1) }
    }

    fn created(
        image: &Image,
        topics: Vec<CreatableTopic>,
        validate_only: bool,
    ) -> (Image, Vec<CreatableTopicResult>) {
        let request = CreateTopicsRequest { topics, validate_only, ..CreateTopicsRequest::default() };
        let rules = rules("num.partitions=3");
        let Decision { records, answer } =
            create(image, &rules, &request, true, &mut counting_ids(), Mutations::default());
        (image.apply(&records, 1).unwrap(), answer.topics)
    }

    /// What is said of one topic that cannot be created.
    fn refused(image: &Image, topic: CreatableTopic) -> (ErrorCode, String) {
        let (after, results) = created(image, vec![topic], false);
        assert_eq!(after.topics().len(), image.topics().len());
        (results[0].error_code, results[0].error_message.as_deref().unwrap_or_default().to_owned())
    }

    fn deleted(
        image: &Image,
        properties: &str,
        topics: Vec<DeleteTopicState>,
    ) -> (Image, Vec<DeletableTopicResult>) {
        let request = DeleteTopicsRequest { topics, ..DeleteTopicsRequest::default() };
        let Decision { records, answer } = delete(image, &rules(properties), &request, Mutations::default());
        (image.apply(&records, 1).unwrap(), answer.responses)
    }

    fn named(name: Option<&str>, id: u128) -> DeleteTopicState {
        DeleteTopicState { name: name.map(TopicName::from), topic_id: Uuid(id) }
    }

    #[test]
    fn a_topic_is_created_with_a_leader_for_each_partition_and_its_configuration_told() {
        let (image, results) = created(
            &cluster_of(&[1]),
            vec![topic("a", 2, 1), with_config("b", "retention.ms", Some("7"))],
            false,
        );
        let a = image.topic(&"a".into()).unwrap();
        assert_eq!(
            (results[0].topic_id, results[0].num_partitions, results[0].replication_factor),
            (a.id, 2, 1)
        );
        for partition in &a.partitions {
            assert_eq!((partition.leader, partition.leader_epoch), (NODE, 0));
            assert_eq!(
                (&*partition.replicas, &*partition.isr, &*partition.directories),
                (&[NODE][..], &[NODE][..], &[LOG_DIR][..])
            );
        }
        assert_eq!(image.topic_settings(&"b".into()).unwrap().len(), 1);
        let configs = results[1].configs.as_ref().unwrap();
        assert!(configs.is_sorted_by_key(|config| config.name.clone()));
        let retention = configs.iter().find(|config| config.name == "retention.ms").unwrap();
        assert_eq!((retention.value.as_deref(), retention.config_source), (Some("7"), 1));
    }

    #[test]
    fn minus_one_is_the_brokers_default() {
        let (_, results) = created(&cluster_of(&[1]), vec![topic("a", -1, -1)], false);
        assert_eq!((results[0].num_partitions, results[0].replication_factor), (3, 1));
    }

    #[test]
    fn replicas_and_leaders_are_spread_over_the_brokers_at_work() {
        let (image, _) = created(&cluster_of(&[1, 2, 3]), vec![topic("a", 3, 2)], false);
        let replicas: Vec<_> =
            image.topic(&"a".into()).unwrap().partitions.iter().map(|p| p.replicas.to_vec()).collect();
        let of = |ids: [i32; 2]| ids.map(BrokerId).to_vec();
        assert_eq!(replicas, [of([1, 2]), of([2, 3]), of([3, 1])]);
    }

    #[test]
    fn what_cannot_be_created_is_refused_with_the_reason() {
        let (image, _) = created(&cluster_of(&[1]), vec![topic("a.b", 1, 1)], false);
        let refused = |topic| refused(&image, topic);
        let code = |topic| refused(topic).0;
        assert_eq!(
            refused(topic("a.b", 1, 1)),
            (ErrorCode::TOPIC_ALREADY_EXISTS, "there is a topic `a.b`".into())
        );
        assert_eq!(
            refused(topic("a_b", 1, 1)),
            (
                ErrorCode::INVALID_TOPIC_EXCEPTION,
                "`a_b` is too much like the topic `a.b`: `.` and `_` are one in the names of metrics".into()
            )
        );
        for name in ["", ".", "..", "a/b", "é", &"a".repeat(250)] {
            assert_eq!(code(topic(name, 1, 1)), ErrorCode::INVALID_TOPIC_EXCEPTION, "{name}");
        }
        assert_eq!(code(topic("__cluster_metadata", 1, 1)), ErrorCode::INVALID_REQUEST);
        for partitions in [0, -2, i32::MIN] {
            assert_eq!(code(topic("c", partitions, 1)), ErrorCode::INVALID_PARTITIONS);
        }
        for factor in [0, -2, 2, i16::MAX] {
            assert_eq!(code(topic("c", 1, factor)), ErrorCode::INVALID_REPLICATION_FACTOR, "{factor}");
        }
        assert_eq!(code(topic("c", i32::MAX, 1)), ErrorCode::POLICY_VIOLATION);
    }

    #[test]
    fn a_configuration_that_will_not_do_is_refused_with_what_will() {
        let image = cluster_of(&[1]);
        let refused = |key, value| refused(&image, with_config("a", key, value));
        assert_eq!(
            refused("retention.sm", Some("1")),
            (
                ErrorCode::INVALID_CONFIG,
                "`retention.sm` is no key of a topic; did you mean `retention.ms`?".into()
            )
        );
        assert_eq!(
            refused("retention_ms", Some("1")).0,
            ErrorCode::INVALID_CONFIG,
            "names are Kafka's, exactly"
        );
        assert_eq!(
            refused("retention.ms", Some("-2")),
            (ErrorCode::INVALID_CONFIG, "`retention.ms`: `-2` will not do: give -1 or more".into())
        );
        assert_eq!(refused("retention.ms", None).0, ErrorCode::INVALID_CONFIG);
        assert_eq!(refused("cleanup.policy", Some(&"delete,".repeat(5000))).0, ErrorCode::INVALID_CONFIG);
    }

    #[test]
    fn partitions_may_be_assigned_by_hand_whole_and_without_gaps() {
        let image = cluster_of(&[1, 2]);
        let (after, results) = created(&image, vec![by_hand("a", &[(1, &[2, 1]), (0, &[1, 2])])], false);
        assert_eq!((results[0].num_partitions, results[0].replication_factor), (2, 2));
        assert_eq!(after.topic(&"a".into()).unwrap().partitions[1].leader, BrokerId(2));
        for bad in [
            by_hand("a", &[(0, &[])]),
            by_hand("a", &[(0, &[3])]),
            by_hand("a", &[(0, &[1, 1])]),
            by_hand("a", &[(0, &[1]), (1, &[1, 2])]),
            by_hand("a", &[(0, &[1]), (0, &[2])]),
            by_hand("a", &[(0, &[1]), (2, &[2])]),
            by_hand("a", &[(-1, &[1])]),
        ] {
            assert_eq!(refused(&image, bad).0, ErrorCode::INVALID_REPLICA_ASSIGNMENT);
        }
        let both = CreatableTopic { num_partitions: 1, ..by_hand("a", &[(0, &[1])]) };
        assert_eq!(refused(&image, both).0, ErrorCode::INVALID_REQUEST);
    }

    #[test]
    fn one_bad_topic_does_not_keep_the_others_from_being_created() {
        let topics = vec![
            topic("a", 1, 1),
            topic("a", 2, 1),
            topic("b", 0, 1),
            topic("c", 1, 1),
            topic("d.e", 1, 1),
            topic("d_e", 1, 1),
        ];
        let (image, results) = created(&cluster_of(&[1]), topics, false);
        let codes: Vec<_> = results.iter().map(|r| r.error_code).collect();
        use ErrorCode as E;
        assert_eq!(
            codes,
            [
                E::INVALID_REQUEST,
                E::INVALID_REQUEST,
                E::INVALID_PARTITIONS,
                E::NONE,
                E::NONE,
                E::INVALID_TOPIC_EXCEPTION
            ]
        );
        assert_eq!(image.topics().map(|t| t.name.to_string()).collect::<Vec<_>>(), ["c", "d.e"]);
    }

    #[test]
    fn only_validating_changes_nothing_and_answers_the_same() {
        let image = cluster_of(&[1]);
        let (after, results) = created(&image, vec![topic("a", 2, 1), topic("b", 0, 1)], true);
        assert_eq!(after.topics().len(), 0);
        assert_eq!((results[0].error_code, results[0].num_partitions), (ErrorCode::NONE, 2));
        assert_eq!(results[0].topic_id, Uuid::ZERO);
        assert_eq!(results[1].error_code, ErrorCode::INVALID_PARTITIONS);
    }

    #[test]
    fn partitions_of_a_request_and_of_the_broker_are_limited() {
        let most = PARTITIONS_PER_REQUEST_MAX as i32;
        let (image, results) = created(
            &cluster_of(&[1]),
            vec![topic("a", most - 1, 1), topic("b", 2, 1), topic("c", 1, 1)],
            false,
        );
        let codes: Vec<_> = results.iter().map(|r| r.error_code).collect();
        assert_eq!(codes, [ErrorCode::NONE, ErrorCode::POLICY_VIOLATION, ErrorCode::NONE]);
        assert_eq!(image.partition_count(), PARTITIONS_PER_REQUEST_MAX);
        let mut image = image;
        for i in 1..PARTITIONS_MAX / PARTITIONS_PER_REQUEST_MAX {
            // Ids count from the same start in each call, so let the topic before go by another way: by name.
            let request =
                CreateTopicsRequest { topics: vec![topic(&format!("t{i}"), most, 1)], ..Default::default() };
            let mut next = 0x10_0000 * i as u128;
            let mut ids = || {
                next += 1;
                Uuid(next)
            };
            let decision = create(&image, &rules(""), &request, false, &mut ids, Mutations::default());
            image = image.apply(&decision.records, 1).unwrap();
        }
        assert_eq!(image.partition_count(), PARTITIONS_MAX);
        let (code, message) = refused(&image, topic("z", 1, 1));
        assert_eq!(code, ErrorCode::POLICY_VIOLATION);
        assert!(message.contains("the most that a broker holds"), "{message}");
    }

    #[test]
    fn ids_are_never_reserved_taken_or_like_an_option() {
        let (image, _) = created(&cluster_of(&[1]), vec![topic("a", 1, 1)], false);
        let taken = image.topic(&"a".into()).unwrap().id;
        let dash = Uuid(0xf8 << 120);
        assert!(dash.to_string().starts_with('-'));
        let mut ids = [Uuid::ZERO, Uuid(1), dash, taken, Uuid(0xabcdef)].into_iter();
        let request = CreateTopicsRequest { topics: vec![topic("b", 1, 1)], ..Default::default() };
        let decision =
            create(&image, &rules(""), &request, false, &mut || ids.next().unwrap(), Mutations::default());
        assert_eq!(decision.answer.topics[0].topic_id, Uuid(0xabcdef));
    }

    #[test]
    fn missing_topics_are_made_with_defaults_and_internal_ones_are_not() {
        let (image, _) = created(&cluster_of(&[1]), vec![topic("a", 1, 1)], false);
        let names = ["a", "b", "b", "__transaction_state", "b/c"].map(TopicName::from);
        let Decision { records, answer } = auto_create(
            &image,
            &rules("num.partitions=4"),
            &names,
            &mut counting_ids_after(),
            Mutations::default(),
        );
        let codes: Vec<_> = answer.iter().map(|made| code_and_message(made).0).collect();
        use ErrorCode as E;
        assert_eq!(
            codes,
            [E::NONE, E::NONE, E::NONE, E::INVALID_TOPIC_EXCEPTION, E::INVALID_TOPIC_EXCEPTION]
        );
        let after = image.apply(&records, 1).unwrap();
        assert_eq!(after.topic(&"b".into()).unwrap().partitions.len(), 4);
        assert_eq!(after.topic(&"a".into()), image.topic(&"a".into()));
    }

    #[test]
    fn an_internal_topic_made_by_hand_is_compacted_unless_that_is_said() {
        let said = CreatableTopic {
            configs: vec![CreatableTopicConfig {
                name: "cleanup.policy".into(),
                value: Some("delete".into()),
            }],
            ..topic("__transaction_state", 2, 1)
        };
        let (image, _) = created(&cluster_of(&[1]), vec![topic("__consumer_offsets", 3, 1), said], false);
        let policy = |name: &str| {
            image.topic_settings(&name.into())?.get(&b"cleanup.policy"[..]).map(ToString::to_string)
        };
        assert_eq!(policy("__consumer_offsets").as_deref(), Some("compact"));
        assert_eq!(policy("__transaction_state").as_deref(), Some("delete"));
    }

    fn counting_ids_after() -> impl FnMut() -> Uuid {
        let mut ids = counting_ids();
        move || Uuid(ids().0 + 0x10_0000)
    }

    #[test]
    fn topics_are_deleted_by_name_or_by_id_once() {
        let (image, _) =
            created(&cluster_of(&[1]), ["a", "b", "c"].map(|name| topic(name, 1, 1)).to_vec(), false);
        let id = |name: &str| image.topic(&name.into()).unwrap().id.0;
        let asked = vec![
            named(Some("a"), 0),
            named(None, id("b")),
            named(Some("c"), 0),
            named(None, id("c")),
            named(Some("x"), 0),
            named(None, 99),
            named(None, 0),
            named(Some("a"), id("a")),
        ];
        let (after, results) = deleted(&image, "", asked);
        let codes: Vec<_> = results.iter().map(|r| r.error_code).collect();
        use ErrorCode as E;
        assert_eq!(
            codes,
            [
                E::NONE,
                E::NONE,
                E::INVALID_REQUEST,
                E::INVALID_REQUEST,
                E::UNKNOWN_TOPIC_OR_PARTITION,
                E::UNKNOWN_TOPIC_ID,
                E::INVALID_REQUEST,
                E::INVALID_REQUEST
            ]
        );
        assert_eq!((results[0].topic_id.0, results[1].name.as_deref()), (id("a"), Some("b")));
        assert_eq!(after.topics().map(|t| t.name.to_string()).collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn deletion_can_be_turned_off() {
        let (image, _) = created(&cluster_of(&[1]), vec![topic("a", 1, 1)], false);
        let (after, results) = deleted(&image, "delete.topic.enable=false", vec![named(Some("a"), 0)]);
        assert_eq!(results[0].error_code, ErrorCode::TOPIC_DELETION_DISABLED);
        assert_eq!(after.topics().len(), 1);
    }
}
