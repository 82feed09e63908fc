//! OffsetForLeaderEpoch, versions 2 to 4: where a leader epoch ended, by which a client finds out that a log was
//! truncated under it (KIP-101, KIP-320).
//!
//! The answer is the largest epoch that is not above the one asked for, and the offset after its last record
//! (KIP-279).

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
        offset_for_leader_epoch::{EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopicResult},
    },
    types::TopicName,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
};
use crate::replica::Table;

pub(crate) async fn handle(
    request: OffsetForLeaderEpochRequest,
    rq: &RequestContext,
    cx: &Context,
) -> OffsetForLeaderEpochResponse {
    let table = cx.replicas.table();
    let access = Access::of(rq, cx);
    let all = access.may_cluster(access::READ_EPOCHS_AS_BROKER);
    let topics = request.topics.into_iter().map(|topic| {
        let allowed = if all { Ok(()) } else { access.check(access::READ_EPOCHS, &topic.topic) };
        let partitions = topic.partitions.iter().map(|asked| {
            let nothing = EpochEndOffset {
                partition: asked.partition,
                leader_epoch: -1,
                end_offset: -1,
                ..Default::default()
            };
            match allowed.and_then(|()| end_of_epoch(&table, &topic.topic, asked)) {
                Ok(Some((leader_epoch, end_offset))) => {
                    EpochEndOffset { leader_epoch, end_offset, ..nothing }
                }
                Ok(None) => nothing,
                Err(error_code) => EpochEndOffset { error_code, ..nothing },
            }
        });
        OffsetForLeaderTopicResult { partitions: partitions.collect(), topic: topic.topic }
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
}

fn end_of_epoch(
    table: &Table,
    topic: &TopicName,
    asked: &OffsetForLeaderPartition,
) -> Result<Option<(i32, i64)>, ErrorCode> {
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let replica = table.by_name(topic).ok_or(unknown)?.partition(asked.partition)?;
    replica.check_leader_epoch(asked.current_leader_epoch)?;
    if asked.leader_epoch == replica.leader_epoch() {
        // The current epoch has not ended: it reaches to what is committed.
        return Ok(Some((asked.leader_epoch, replica.reader.high_watermark())));
    }
    Ok(replica.reader.end_offset_for_epoch(asked.leader_epoch))
}
