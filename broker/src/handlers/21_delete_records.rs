//! DeleteRecords, versions 0 to 2: moves the start of partitions forward, so that nothing before it can be read any
//! more (KIP-107).
//!
//! An offset of -1 stands for the high watermark. Whole segments below the new start are deleted at the next look for old
//! segments. Where nothing but compaction takes records away, people may not either.

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        DeleteRecordsRequest, DeleteRecordsResponse,
        delete_records::{DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
    },
    types::TopicName,
};
use tokio::sync::oneshot;

use super::{
    Context, RequestContext,
    access::{self, Access},
};
use crate::{
    log::StartOffsetError,
    replica::{
        Table,
        shard::{OnLog, ShardMessage},
    },
};

/// Stands for the high watermark (`DeleteRecordsRequest.HIGH_WATERMARK`).
const HIGH_WATERMARK: i64 = -1;
/// What is answered where there is none (`DeleteRecordsResponse.INVALID_LOW_WATERMARK`).
const NO_LOW_WATERMARK: i64 = -1;

/// A partition's new start, once its shard has moved it.
type Moved = oneshot::Receiver<Result<i64, ErrorCode>>;

pub(crate) async fn handle(
    request: DeleteRecordsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> DeleteRecordsResponse {
    let table = cx.replicas.table();
    let access = Access::of(rq, cx);
    // All shards at once; then the answers.
    let mut begun = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let allowed = access.check(access::DELETE_TOPIC, &topic.name);
        let partitions: Vec<_> = topic
            .partitions
            .iter()
            .map(|asked| {
                let begun = allowed.and_then(|()| begin(cx, &table, &topic.name, asked));
                (asked.partition_index, begun)
            })
            .collect();
        begun.push((topic.name, partitions));
    }
    let mut response = DeleteRecordsResponse::default();
    for (name, begun) in begun {
        let mut partitions = Vec::with_capacity(begun.len());
        for (partition_index, moved) in begun {
            let low_watermark = match moved {
                // The partition was deleted, or the broker is shutting down.
                Ok(moved) => moved.await.unwrap_or(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER)),
                Err(code) => Err(code),
            };
            let (low_watermark, error_code) = match low_watermark {
                Ok(low_watermark) => (low_watermark, ErrorCode::NONE),
                Err(code) => (NO_LOW_WATERMARK, code),
            };
            partitions.push(DeleteRecordsPartitionResult { partition_index, low_watermark, error_code });
        }
        response.topics.push(DeleteRecordsTopicResult { name, partitions });
    }
    response
}

/// Has a partition's shard move its start.
fn begin(
    cx: &Context,
    table: &Table,
    topic: &TopicName,
    asked: &DeleteRecordsPartition,
) -> Result<Moved, ErrorCode> {
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let replica = table.by_name(topic).ok_or(unknown)?.partition(asked.partition_index)?;
    let policy = &replica.settings.load().log.cleanup;
    if policy.compact && !policy.delete {
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    if asked.offset < HIGH_WATERMARK {
        return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    let (tell, moved) = oneshot::channel();
    let asked = asked.offset;
    let task = OnLog(Box::new(move |log| {
        let offset = if asked == HIGH_WATERMARK { log.reader().high_watermark() } else { asked };
        let start = match log.advance_start_offset(offset) {
            Ok(_) => Ok(log.start_offset()),
            Err(StartOffsetError::OutOfRange { .. }) => Err(ErrorCode::OFFSET_OUT_OF_RANGE),
            Err(StartOffsetError::Log(error)) => {
                tracing::error!(%error, "records could not be deleted");
                Err(ErrorCode::KAFKA_STORAGE_ERROR)
            }
        };
        // Whoever asked may be gone.
        let _ = tell.send(start);
    }));
    cx.replicas.send(replica.shard, ShardMessage::Run { id: replica.id, task })?;
    Ok(moved)
}
