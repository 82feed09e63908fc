//! JavaScript's values as the core's, and back.

use napi::bindgen_prelude::BigInt;
use napi_derive::napi;
use ottla_bindings::{
    BindingError, Config,
    core::{OffsetAndMetadata, OffsetSpec, TopicPartition},
};

/// A partition of a topic.
#[napi(object)]
pub struct Place {
    pub topic: String,
    pub partition: i32,
}

impl From<&TopicPartition> for Place {
    fn from(tp: &TopicPartition) -> Self {
        Self { topic: tp.topic.to_string(), partition: tp.partition }
    }
}

impl From<Place> for TopicPartition {
    fn from(place: Place) -> Self {
        Self::new(place.topic, place.partition)
    }
}

/// A partition with an offset, a time, or the number of a place.
#[napi(object)]
pub struct At {
    pub topic: String,
    pub partition: i32,
    pub offset: BigInt,
}

impl At {
    pub(crate) fn of(tp: &TopicPartition, offset: i64) -> Self {
        Self { topic: tp.topic.to_string(), partition: tp.partition, offset: offset.into() }
    }

    pub(crate) fn split(self) -> (TopicPartition, i64) {
        (TopicPartition::new(self.topic, self.partition), i64_of(&self.offset))
    }
}

/// An offset as a group has committed it.
#[napi(object)]
pub struct Committed {
    pub topic: String,
    pub partition: i32,
    pub offset: BigInt,
    pub metadata: Option<String>,
    pub leader_epoch: Option<i32>,
}

impl Committed {
    pub(crate) fn of(tp: &TopicPartition, committed: OffsetAndMetadata) -> Self {
        Self {
            topic: tp.topic.to_string(),
            partition: tp.partition,
            offset: committed.offset.into(),
            metadata: Some(committed.metadata),
            leader_epoch: committed.leader_epoch,
        }
    }

    pub(crate) fn split(self) -> (TopicPartition, OffsetAndMetadata) {
        let committed = OffsetAndMetadata {
            offset: i64_of(&self.offset),
            leader_epoch: self.leader_epoch,
            metadata: self.metadata.unwrap_or_default(),
        };
        (TopicPartition::new(self.topic, self.partition), committed)
    }
}

/// What does not fit becomes what does not make sense: the core refuses it.
pub(crate) fn i64_of(number: &BigInt) -> i64 {
    match number.get_i64() {
        (value, true) => value,
        (_, false) => i64::MIN,
    }
}

/// A place of a partition by its number on the wire (`ListOffsets`): -2 is its beginning, -1 its end, all else a time.
pub(crate) fn place_of(number: i64) -> OffsetSpec {
    match number {
        -2 => OffsetSpec::Earliest,
        -1 => OffsetSpec::Latest,
        time => OffsetSpec::Timestamp(time),
    }
}

/// Settings, key by key.
pub(crate) fn config(settings: &[(String, String)]) -> Result<Config, BindingError> {
    let mut config = Config::new();
    settings.iter().try_for_each(|(key, value)| config.set(key, value))?;
    Ok(config)
}

/// Partitions, one by one.
pub(crate) fn partitions_of(places: Vec<Place>) -> Vec<TopicPartition> {
    places.into_iter().map(Into::into).collect()
}

/// A `Duration` of milliseconds that JavaScript has checked.
pub(crate) fn ms(ms: f64) -> std::time::Duration {
    std::time::Duration::try_from_secs_f64(ms / 1e3).unwrap_or(std::time::Duration::MAX)
}
