//! Which brokers hold a partition; and CreatePartitions.

use std::collections::{HashMap, HashSet};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        create_partitions::{
            CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
            CreatePartitionsTopicResult,
        },
        metadata_log::partition_record::PartitionRecord,
    },
    types::{BrokerId, TopicName, Uuid},
};

use super::{ApiError, Decision, PARTITIONS_MAX, PARTITIONS_PER_REQUEST_MAX, api_error::code_and_message};
use crate::{
    metadata::{
        image::{Image, Topic},
        record::MetadataRecord,
    },
    quota::Mutations,
};

/// The place of a replica that no log directory was chosen for yet (`DirectoryId.UNASSIGNED`).
pub(super) const UNASSIGNED: Uuid = Uuid(1);

/// Adds partitions to topics, each topic whole or not at all.
pub(crate) fn create(
    image: &Image,
    request: &CreatePartitionsRequest,
    mut mutations: Mutations,
) -> Decision<CreatePartitionsResponse> {
    let mut records = Vec::new();
    let mut seen = HashSet::new();
    let twice: HashSet<&TopicName> =
        request.topics.iter().map(|t| &t.name).filter(|n| !seen.insert(*n)).collect();
    let mut room = Room::new(image);
    let mut spread = Spread::new(image);
    let mut one = |topic: &CreatePartitionsTopic| {
        if twice.contains(&topic.name) {
            return Err(ApiError::new(ErrorCode::INVALID_REQUEST, "the request names the topic twice"));
        }
        records.extend(create_in(image, topic, &mut room, &mut spread, &mut mutations)?);
        Ok(())
    };
    let results = request.topics.iter().map(|topic| {
        let (error_code, error_message) = code_and_message(&one(topic));
        CreatePartitionsTopicResult { name: topic.name.clone(), error_code, error_message }
    });
    let results = results.collect();
    let answer = CreatePartitionsResponse { throttle_time_ms: mutations.throttle_time_ms(), results };
    if request.validate_only {
        records.clear();
    }
    Decision { records, answer }
}

fn create_in(
    image: &Image,
    asked: &CreatePartitionsTopic,
    room: &mut Room,
    spread: &mut Spread,
    mutations: &mut Mutations,
) -> Result<Vec<MetadataRecord>, ApiError> {
    let name = &asked.name;
    let topic = image.topic(name).ok_or_else(|| {
        ApiError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no topic `{name}`"))
    })?;
    let now = topic.partitions.len();
    let added = usize::try_from(asked.count).ok().and_then(|count| count.checked_sub(now)).filter(|&n| n > 0);
    let Some(added) = added else {
        let message = format!(
            "topic `{name}` has {now} partitions; {} would be no more, and none can be taken",
            asked.count
        );
        return Err(ApiError::new(ErrorCode::INVALID_PARTITIONS, message));
    };
    room.check(added)?;
    let replication_factor = replication_factor(topic);
    let placed = match &asked.assignments {
        None => place(image, now, added, replication_factor)?,
        Some(assignments) if assignments.len() != added => {
            let message =
                format!("{added} partitions are added, but {} are assigned to brokers", assignments.len());
            return Err(ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
        }
        Some(assignments) => {
            let mut placed = Vec::with_capacity(added);
            for assignment in assignments {
                check_assignment(image, &assignment.broker_ids, Some(replication_factor))?;
                placed.push(assignment.broker_ids.clone());
            }
            placed
        }
    };
    mutations.record(added)?;
    room.take(added)?;
    let record = |(i, replicas)| partition_record(image, topic.id, now + i, replicas, spread);
    placed.into_iter().enumerate().map(record).collect()
}

/// Replicas of each of a topic's partitions, by the first, as Kafka goes by.
fn replication_factor(topic: &Topic) -> usize {
    topic.partitions.first().map_or(1, |partition| partition.replicas.len())
}

/// How many partitions may still be made: by one request, and in all.
pub(super) struct Room {
    in_request: usize,
    in_all: usize,
}

impl Room {
    pub(super) fn new(image: &Image) -> Self {
        let in_all = PARTITIONS_MAX.saturating_sub(image.partition_count());
        Self { in_request: PARTITIONS_PER_REQUEST_MAX, in_all }
    }

    /// Takes room for `count` more, or says what is in the way.
    pub(super) fn take(&mut self, count: usize) -> Result<(), ApiError> {
        self.check(count)?;
        self.in_request -= count;
        self.in_all -= count;
        Ok(())
    }

    /// Whether there is room for `count` more.
    pub(super) fn check(&self, count: usize) -> Result<(), ApiError> {
        let refuse = |message| Err(ApiError::new(ErrorCode::POLICY_VIOLATION, message));
        if count > self.in_request {
            return refuse(format!(
                "the request makes more than {PARTITIONS_PER_REQUEST_MAX} partitions; split it into several"
            ));
        }
        if count > self.in_all {
            return refuse(format!(
                "there would be more than {PARTITIONS_MAX} partitions, the most that a broker holds; delete topics first"
            ));
        }
        Ok(())
    }
}

/// Brokers for `count` partitions from index `first` on: in turn, so that leaders and replicas are spread evenly.
pub(super) fn place(
    image: &Image,
    first: usize,
    count: usize,
    replication_factor: usize,
) -> Result<Vec<Vec<BrokerId>>, ApiError> {
    let brokers: Vec<BrokerId> = image.brokers().filter(|b| b.is_active()).map(|b| b.id).collect();
    if replication_factor > brokers.len() {
        let message = format!(
            "the replication factor {replication_factor} is larger than the number of brokers at work, {}",
            brokers.len()
        );
        return Err(ApiError::new(ErrorCode::INVALID_REPLICATION_FACTOR, message));
    }
    let replicas = |partition| {
        let from = brokers.iter().cycle().skip(partition % brokers.len().max(1));
        from.take(replication_factor).copied().collect()
    };
    Ok((first..first + count).map(replicas).collect())
}

/// Checks brokers that were chosen by hand.
pub(super) fn check_assignment(
    image: &Image,
    brokers: &[BrokerId],
    replication_factor: Option<usize>,
) -> Result<(), ApiError> {
    let refuse = |message: String| Err(ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
    if brokers.is_empty() {
        return refuse("a partition is assigned to no broker".into());
    }
    let mut seen = HashSet::new();
    for &broker in brokers {
        if image.broker(broker).is_none() {
            return refuse(format!("there is no broker {broker}"));
        }
        if !seen.insert(broker) {
            return refuse(format!("a partition is assigned to broker {broker} twice"));
        }
    }
    match replication_factor {
        Some(factor) if factor != brokers.len() => {
            refuse(format!("a partition is assigned to {} brokers, others to {factor}", brokers.len()))
        }
        _ => Ok(()),
    }
}

/// Partitions in each log directory, of brokers that have several: new ones go to the directory with the fewest, as
/// Kafka's brokers choose.
pub(super) struct Spread {
    counts: HashMap<(BrokerId, Uuid), usize>,
}

impl Spread {
    pub(super) fn new(image: &Image) -> Self {
        let mut counts: HashMap<_, _> = image
            .brokers()
            .filter(|broker| broker.log_dirs.len() > 1)
            .flat_map(|broker| broker.log_dirs.iter().map(|directory| ((broker.id, *directory), 0)))
            .collect();
        if !counts.is_empty() {
            for partition in image.topics().flat_map(|topic| &topic.partitions) {
                for place in partition.replicas.iter().copied().zip(partition.directories.iter().copied()) {
                    counts.entry(place).and_modify(|count| *count += 1);
                }
            }
        }
        Self { counts }
    }

    /// The directory of a broker that a new replica goes to.
    fn take(&mut self, image: &Image, broker: BrokerId) -> Uuid {
        let directories = image.broker(broker).map_or(&[][..], |broker| &broker.log_dirs);
        match directories {
            [only] => *only,
            several => {
                let count = |directory: &&Uuid| self.counts.get(&(broker, **directory)).copied();
                let Some(fewest) = several.iter().min_by_key(count).copied() else { return UNASSIGNED };
                *self.counts.entry((broker, fewest)).or_default() += 1;
                fewest
            }
        }
    }
}

/// The record of a new partition: led by the first of its brokers that is at work.
pub(super) fn partition_record(
    image: &Image,
    topic_id: Uuid,
    index: usize,
    replicas: Vec<BrokerId>,
    spread: &mut Spread,
) -> Result<MetadataRecord, ApiError> {
    let active = |id: &BrokerId| image.broker(*id).is_some_and(|broker| broker.is_active());
    let isr: Vec<BrokerId> = replicas.iter().copied().filter(active).collect();
    let Some(&leader) = isr.first() else {
        let message = format!("none of the brokers of partition {index} is at work");
        return Err(ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
    };
    let record = PartitionRecord {
        partition_id: index as i32,
        topic_id,
        directories: replicas.iter().map(|id| spread.take(image, *id)).collect(),
        replicas,
        isr: isr.iter().map(|id| id.0).collect(),
        leader,
        leader_epoch: 0,
        partition_epoch: 0,
        ..PartitionRecord::default()
    };
    Ok(record.into())
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::create_partitions::CreatePartitionsAssignment;

    use super::*;
    use crate::controller::{
        testing::{cluster_of, counting_ids, rules},
        topics,
    };

    /// Topic `a` of two partitions with `replicas` replicas on three brokers.
    fn image(replicas: i16) -> Image {
        use ottla_protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
        let image = cluster_of(&[1, 2, 3]);
        let topic = CreatableTopic {
            name: "a".into(),
            num_partitions: 2,
            replication_factor: replicas,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        let decision =
            topics::create(&image, &rules(""), &request, false, &mut counting_ids(), Mutations::default());
        image.apply(&decision.records, 1).unwrap()
    }

    fn asked(name: &str, count: i32, assignments: Option<&[&[i32]]>) -> CreatePartitionsTopic {
        let brokers = |ids: &&[i32]| CreatePartitionsAssignment {
            broker_ids: ids.iter().copied().map(BrokerId).collect(),
        };
        let assignments = assignments.map(|a| a.iter().map(brokers).collect());
        CreatePartitionsTopic { name: name.into(), count, assignments }
    }

    fn decide(
        image: &Image,
        topics: Vec<CreatePartitionsTopic>,
        validate_only: bool,
    ) -> (Image, Vec<ErrorCode>) {
        let request = CreatePartitionsRequest { topics, validate_only, ..CreatePartitionsRequest::default() };
        let Decision { records, answer } = create(image, &request, Mutations::default());
        let codes = answer.results.iter().map(|r| r.error_code).collect();
        (image.apply(&records, 1).unwrap(), codes)
    }

    #[test]
    fn partitions_are_added_behind_those_that_are_there() {
        let before = image(2);
        let (after, codes) = decide(&before, vec![asked("a", 4, None)], false);
        assert_eq!(codes, [ErrorCode::NONE]);
        let (old, new) = (before.topic(&"a".into()).unwrap(), after.topic(&"a".into()).unwrap());
        assert_eq!((new.id, new.partitions.len()), (old.id, 4));
        assert_eq!(new.partitions[..2], old.partitions[..]);
        assert_eq!(&*new.partitions[3].replicas, [BrokerId(1), BrokerId(2)], "as many replicas, in turn");
        let (after, codes) = decide(&before, vec![asked("a", 4, None)], true);
        assert_eq!((after.partition_count(), codes), (2, vec![ErrorCode::NONE]), "only validated");
    }

    #[test]
    fn what_cannot_be_added_is_refused() {
        let image = image(1);
        let refused = |topic| {
            let (after, codes) = decide(&image, vec![topic], false);
            assert_eq!(after.partition_count(), 2);
            codes[0]
        };
        for count in [2, 1, 0, -1, i32::MIN] {
            assert_eq!(refused(asked("a", count, None)), ErrorCode::INVALID_PARTITIONS, "{count}");
        }
        assert_eq!(refused(asked("b", 3, None)), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(refused(asked("a", i32::MAX, None)), ErrorCode::POLICY_VIOLATION);
        for assignment in [&[&[1][..], &[2]][..], &[&[]], &[&[9]], &[&[1, 2]]] {
            assert_eq!(refused(asked("a", 3, Some(assignment))), ErrorCode::INVALID_REPLICA_ASSIGNMENT);
        }
        let (after, codes) = decide(&image, vec![asked("a", 3, None), asked("a", 4, None)], false);
        assert_eq!((after.partition_count(), codes), (2, vec![ErrorCode::INVALID_REQUEST; 2]));
    }

    #[test]
    fn added_partitions_may_be_assigned_by_hand() {
        let (after, codes) = decide(&image(1), vec![asked("a", 4, Some(&[&[3], &[2]]))], false);
        assert_eq!(codes, [ErrorCode::NONE]);
        let leaders: Vec<_> =
            after.topic(&"a".into()).unwrap().partitions.iter().map(|p| p.leader.0).collect();
        assert_eq!(leaders, [1, 2, 3, 2]);
    }
}
