//! Whether the log is still the one that was read (KIP-320). Does no I/O.
//!
//! A leader that was elected although it lacked records (`unclean.leader.election.enable`) cuts them off, and writes
//! others in their place. A consumer that goes on at its offset would skip those, and never know. So with each new leader
//! epoch it asks the leader where the epoch ends that it read last. If that is before its place, the log has diverged.
//! The rules are those of `SubscriptionState` and `OffsetsForLeaderEpochUtils` in Kafka's client.

use std::{collections::HashMap, error, fmt};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::offset_for_leader_epoch::{
        EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
        OffsetForLeaderTopic,
    },
    types::{BrokerId, TopicName},
};

use super::subscription::ToFetch;
use crate::{
    cluster::{OffsetAndMetadata, TopicPartition},
    error::{Error, ErrorKind},
};

/// The first OffsetForLeaderEpoch that a consumer may ask: those before it need a right on the cluster.
pub(super) const VERSION_MIN: i16 = 3;

/// An offset, and the epoch of the leader that wrote the record before it, where that is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Reached {
    /// The offset.
    pub offset: i64,
    /// The epoch.
    pub epoch: Option<i32>,
}

impl From<OffsetAndMetadata> for Reached {
    fn from(offset: OffsetAndMetadata) -> Self {
        Self { offset: offset.offset, epoch: offset.leader_epoch }
    }
}

impl From<Reached> for OffsetAndMetadata {
    fn from(reached: Reached) -> Self {
        Self { leader_epoch: reached.epoch, ..Self::new(reached.offset) }
    }
}

/// Records that the program has read are not in the log any more, and others may stand in their place.
///
/// The cause ([`std::error::Error::source`]) of an error of [`ErrorKind::LogTruncated`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogTruncation {
    /// The partition.
    pub partition: TopicPartition,
    /// Offset of the next record that would have been read.
    pub offset: i64,
    /// Epoch of the leader that wrote the record before it.
    pub leader_epoch: i32,
    /// Where the log parts from what was read: the first offset that is not what it was, and the last epoch that both
    /// know. `None` if the leader knows none of the epochs.
    pub diverges_at: Option<(i64, i32)>,
}

impl fmt::Display for LogTruncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, offset, leader_epoch, diverges_at } = self;
        write!(
            f,
            "`{partition}` was read up to offset {offset} (leader epoch {leader_epoch}), but its log "
        )?;
        match diverges_at {
            Some((at, epoch)) => write!(f, "is another one from offset {at} on (after leader epoch {epoch})"),
            None => f.write_str("has nothing of that epoch or before"),
        }
    }
}

impl error::Error for LogTruncation {}

impl LogTruncation {
    /// As an error for a program without `auto.offset.reset`.
    pub(super) fn into_error(self) -> Error {
        let hint = match self.diverges_at {
            Some((at, _)) => format!("seek to offset {at} to read what came in their place"),
            None => "seek to an offset that is there".to_owned(),
        };
        Error::new(ErrorKind::LogTruncated, format!("records that were read are lost: {self}"))
            .hint(hint)
            .caused_by(self)
    }
}

/// What the leader's log says of a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// All before it is as it was read.
    Intact,
    /// It parts from what was read at this place; or nothing is known of the epoch.
    Diverged(Option<Reached>),
}

/// Where an epoch ends in the leader's log, of the largest that is not above the one asked for; `None` where it has none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct EpochEnd {
    /// The epoch.
    pub epoch: i32,
    /// The offset behind its last record.
    pub offset: i64,
}

/// Judges a place by what the leader answered.
pub(crate) fn judge(offset: i64, end: Option<EpochEnd>) -> Verdict {
    match end {
        Some(end) if end.offset >= offset => Verdict::Intact,
        Some(end) => Verdict::Diverged(Some(Reached { offset: end.offset, epoch: Some(end.epoch) })),
        None => Verdict::Diverged(None),
    }
}

/// An epoch that is one.
pub(crate) fn known(epoch: i32) -> Option<i32> {
    (epoch >= 0).then_some(epoch)
}

/// Asks the leader of these partitions where the epochs end that were read last.
pub(super) fn request(partitions: &[ToFetch]) -> OffsetForLeaderEpochRequest {
    let mut topics: Vec<OffsetForLeaderTopic> = Vec::new();
    for to_check in partitions {
        let Some(leader_epoch) = to_check.read_epoch else { continue };
        let TopicPartition { topic, partition } = &to_check.partition;
        let asked = OffsetForLeaderPartition {
            partition: *partition,
            current_leader_epoch: to_check.leader_epoch,
            leader_epoch,
        };
        match topics.iter_mut().find(|known| known.topic == *topic) {
            Some(of_topic) => of_topic.partitions.push(asked),
            None => topics.push(OffsetForLeaderTopic { topic: topic.clone(), partitions: vec![asked] }),
        }
    }
    OffsetForLeaderEpochRequest { replica_id: BrokerId::NONE, topics }
}

/// What the leader said of each.
pub(super) fn read(
    response: OffsetForLeaderEpochResponse,
) -> HashMap<(TopicName, i32), Result<Option<EpochEnd>, ErrorCode>> {
    let of_partition = |told: EpochEndOffset| {
        let EpochEndOffset { error_code, partition, leader_epoch: epoch, end_offset: offset } = told;
        let end = (epoch >= 0 && offset >= 0).then_some(EpochEnd { epoch, offset });
        (partition, error_code.ok().map(|()| end))
    };
    let mut ends = HashMap::new();
    for topic in response.topics {
        let name = topic.topic.detached();
        ends.extend(topic.partitions.into_iter().map(of_partition).map(|(p, end)| ((name.clone(), p), end)));
    }
    ends
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::offset_for_leader_epoch::OffsetForLeaderTopicResult;

    use super::*;

    #[test]
    fn a_log_has_diverged_where_the_epoch_ends_before_what_was_read_of_it() {
        let end = |epoch, offset| Some(EpochEnd { epoch, offset });
        assert_eq!(judge(10, end(3, 12)), Verdict::Intact);
        assert_eq!(judge(10, end(3, 10)), Verdict::Intact, "it ends where reading goes on");
        assert_eq!(
            judge(10, end(2, 15)),
            Verdict::Intact,
            "the epoch had no record there, those before it reach on"
        );
        let at = |offset, epoch| Verdict::Diverged(Some(Reached { offset, epoch: Some(epoch) }));
        assert_eq!(judge(10, end(3, 9)), at(9, 3));
        assert_eq!(judge(10, end(1, 0)), at(0, 1));
        assert_eq!(judge(10, None), Verdict::Diverged(None));
    }

    #[test]
    fn an_answer_is_read_by_partition_and_tells_an_end_an_error_or_nothing() {
        let told = |partition, code, leader_epoch, end_offset| EpochEndOffset {
            error_code: code,
            partition,
            leader_epoch,
            end_offset,
        };
        let response = OffsetForLeaderEpochResponse {
            topics: vec![OffsetForLeaderTopicResult {
                topic: "orders".into(),
                partitions: vec![
                    told(0, ErrorCode::NONE, 3, 12),
                    told(1, ErrorCode::NONE, -1, -1),
                    told(2, ErrorCode::FENCED_LEADER_EPOCH, -1, -1),
                ],
            }],
            ..Default::default()
        };
        let ends = read(response);
        let end = |partition| ends[&(TopicName::from("orders"), partition)];
        assert_eq!(end(0), Ok(Some(EpochEnd { epoch: 3, offset: 12 })));
        assert_eq!(end(1), Ok(None));
        assert_eq!(end(2), Err(ErrorCode::FENCED_LEADER_EPOCH));
    }

    #[test]
    fn the_error_says_where_reading_was_and_where_to_go() {
        let truncation = LogTruncation {
            partition: TopicPartition::new("orders", 3),
            offset: 10,
            leader_epoch: 2,
            diverges_at: Some((7, 1)),
        };
        let error = truncation.clone().into_error();
        assert_eq!(error.kind(), ErrorKind::LogTruncated);
        let text = error.to_string();
        for part in ["`orders-3`", "offset 10", "epoch 2", "offset 7", "epoch 1", "seek to offset 7"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let cause = error::Error::source(&error).and_then(|cause| cause.downcast_ref::<LogTruncation>());
        assert_eq!(cause, Some(&truncation));
    }
}
