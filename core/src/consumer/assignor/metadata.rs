//! What members of a classic group tell each other through the coordinator, which looks at little of it.

use ottla_protocol::{
    Bytes,
    messages::data::{
        ConsumerProtocolAssignment, ConsumerProtocolSubscription, consumer_protocol_assignment as assigned,
        consumer_protocol_subscription as subscribed,
    },
    types::{Str, TopicName},
    wire::{Malformed, Reader, Unsupported, Wire, Writer},
};

use crate::cluster::TopicPartition;

/// The newest layout of subscription and assignment that is known; newer ones begin with it.
const VERSION_MAX: i16 = 3;
/// The version in which assignments are written: readers of any version can read it, and Java writes the same.
const ASSIGNMENT_VERSION: i16 = 3;

/// What a member wants, and has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Subscription {
    /// The topics that it subscribes to.
    pub topics: Vec<TopicName>,
    /// What it has, in protocols in which it may keep it.
    pub owned: Vec<TopicPartition>,
    /// The generation in which it got what it has.
    pub generation: Option<i32>,
    /// Where it is (`client.rack`).
    pub rack: Option<Str>,
    /// What it says to the assignor.
    pub user_data: Option<Bytes>,
}

impl Subscription {
    /// Reads what a member sent; a newer version by the newest layout known.
    pub(crate) fn read(metadata: Bytes) -> Result<Self, Malformed> {
        let mut r = Reader::new(metadata);
        let version = r.i16()?.clamp(0, VERSION_MAX);
        let read = ConsumerProtocolSubscription::read(&mut r, version)?;
        let owned = read.owned_partitions.into_iter().flat_map(|topic| {
            let name = topic.topic.detached();
            topic.partitions.into_iter().map(move |partition| TopicPartition::new(name.clone(), partition))
        });
        Ok(Self {
            topics: read.topics.iter().map(|topic| TopicName(topic.detached())).collect(),
            owned: owned.collect(),
            generation: (read.generation_id >= 0).then_some(read.generation_id),
            rack: read.rack_id.filter(|rack| !rack.is_empty()).map(|rack| rack.detached()),
            user_data: read.user_data,
        })
    }

    /// Writes it for JoinGroup, in the newest version.
    pub(crate) fn write(&self) -> Result<Bytes, Unsupported> {
        let mut topics: Vec<Str> = self.topics.iter().map(|topic| topic.0.clone()).collect();
        topics.sort_unstable();
        let owned = by_topic(&self.owned);
        let message = ConsumerProtocolSubscription {
            topics,
            user_data: self.user_data.clone(),
            owned_partitions: owned
                .into_iter()
                .map(|(topic, partitions)| subscribed::TopicPartition { topic, partitions })
                .collect(),
            generation_id: self.generation.unwrap_or(-1),
            rack_id: self.rack.clone(),
        };
        versioned(&message, VERSION_MAX)
    }
}

/// Reads what the leader gave a member; no bytes are no partitions.
pub(crate) fn read_assignment(bytes: Bytes) -> Result<Vec<TopicPartition>, Malformed> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut r = Reader::new(bytes);
    let version = r.i16()?.clamp(0, VERSION_MAX);
    let read = ConsumerProtocolAssignment::read(&mut r, version)?;
    let partitions = read.assigned_partitions.into_iter().flat_map(|topic| {
        let name = topic.topic.detached();
        topic.partitions.into_iter().map(move |partition| TopicPartition::new(name.clone(), partition))
    });
    Ok(partitions.collect())
}

/// Writes what a member gets, for SyncGroup.
pub(crate) fn write_assignment(partitions: &[TopicPartition]) -> Result<Bytes, Unsupported> {
    let topics = by_topic(partitions).into_iter();
    let message = ConsumerProtocolAssignment {
        assigned_partitions: topics
            .map(|(topic, partitions)| assigned::TopicPartition { topic, partitions })
            .collect(),
        user_data: None,
    };
    versioned(&message, ASSIGNMENT_VERSION)
}

/// A message behind its version.
fn versioned(message: &impl Wire, version: i16) -> Result<Bytes, Unsupported> {
    let mut w = Writer::new();
    w.i16(version);
    message.write(&mut w, version)?;
    Ok(w.into_bytes())
}

fn by_topic(partitions: &[TopicPartition]) -> Vec<(TopicName, Vec<i32>)> {
    let mut partitions = partitions.to_vec();
    partitions.sort_unstable();
    partitions
        .chunk_by(|a, b| a.topic == b.topic)
        .map(|of_topic| {
            (of_topic[0].topic.clone(), of_topic.iter().map(|partition| partition.partition).collect())
        })
        .collect()
}

/// What a member of a sticky group has, and since which generation, by its user data. Two layouts: the newer one has
/// the generation behind the partitions (KIP-341).
pub(super) fn write_sticky(owned: &[TopicPartition], generation: i32) -> Bytes {
    let mut w = Writer::new();
    let write = w.array(&by_topic(owned), false, |w, (topic, partitions)| {
        w.str(&topic.0, false);
        w.array(partitions, false, |w, partition| {
            w.i32(*partition);
            Ok(())
        })
    });
    debug_assert!(write.is_ok(), "there is no version that cannot say it");
    w.i32(generation);
    w.into_bytes()
}

/// Reads [`write_sticky`]; bytes of no known layout are the word of a member that has nothing.
pub(super) fn read_sticky(user_data: &Bytes) -> (Vec<TopicPartition>, Option<i32>) {
    let mut r = Reader::new(user_data.clone());
    let topics =
        r.array(false, 6, |r| Ok((TopicName(r.str(false)?.detached()), r.array(false, 4, Reader::i32)?)));
    let Ok(topics) = topics else { return (Vec::new(), Some(-1)) };
    let partitions = topics.into_iter().flat_map(|(topic, partitions)| {
        partitions.into_iter().map(move |partition| TopicPartition::new(topic.clone(), partition))
    });
    (partitions.collect(), r.i32().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned() -> Vec<TopicPartition> {
        [("b", 2), ("a", 1), ("b", 0)].map(TopicPartition::from).to_vec()
    }

    #[test]
    fn a_subscription_is_read_as_it_was_written() {
        let whole = Subscription {
            topics: vec!["a".into(), "b".into()],
            owned: owned(),
            generation: Some(7),
            rack: Some("north".into()),
            user_data: Some(Bytes::from_static(b"data")),
        };
        let read = Subscription::read(whole.write().unwrap()).unwrap();
        let mut sorted = whole.clone();
        sorted.owned.sort_unstable();
        assert_eq!(read, sorted);
    }

    #[test]
    fn a_newer_version_is_read_by_what_is_known_of_it() {
        let subscription = Subscription { topics: vec!["a".into()], ..Default::default() };
        let mut bytes = subscription.write().unwrap().to_vec();
        bytes[..2].copy_from_slice(&9_i16.to_be_bytes());
        bytes.extend(b"what is new");
        assert_eq!(Subscription::read(bytes.into()).unwrap(), subscription);
    }

    #[test]
    fn an_assignment_is_read_as_it_was_written_and_none_from_no_bytes() {
        let mut sorted = owned();
        sorted.sort_unstable();
        assert_eq!(read_assignment(write_assignment(&owned()).unwrap()).unwrap(), sorted);
        assert_eq!(read_assignment(Bytes::new()).unwrap(), []);
        assert!(read_assignment(Bytes::from_static(b"\0\x03\0")).is_err());
    }

    #[test]
    fn user_data_of_either_layout_is_read_and_other_bytes_are_nothing() {
        let mut sorted = owned();
        sorted.sort_unstable();
        let new = write_sticky(&owned(), 5);
        assert_eq!(read_sticky(&new), (sorted.clone(), Some(5)));
        let old = new.slice(..new.len() - 4);
        assert_eq!(read_sticky(&old), (sorted, None));
        assert_eq!(read_sticky(&Bytes::from_static(b"\x7f\xff\xff\xff")), (Vec::new(), Some(-1)));
    }
}
