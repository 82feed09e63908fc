//! ListOffsets, versions 1 to 11: the offset at a time, and those of special times.
//!
//! | timestamp | offset | since |
//! |---|---|---|
//! | -1 | the high watermark, or the last stable offset (KIP-98) | 1 |
//! | -2 | the log start offset | 1 |
//! | -3 | of the record with the largest timestamp (KIP-734) | 7 |
//! | -4 | the first on this broker's own disk (KIP-405) | 8 |
//! | -5 | the last in tiered storage (KIP-1005); there is none | 9 |
//! | -6 | the first that is yet to go there (KIP-1023); there is none | 11 |
//!
//! - 4: the leader epoch that the client believes in is checked, and the offset's own is answered (KIP-320).

use std::cell::RefCell;

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        ListOffsetsRequest, ListOffsetsResponse,
        list_offsets::{ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
    },
    record::Scratch,
    types::TopicName,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
};
use crate::{log::TimestampOffset, replica::Table};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

thread_local! {
    /// Inflates the batch that holds a time: the one place where an answer needs a look inside.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
}

pub(crate) async fn handle(
    request: ListOffsetsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> ListOffsetsResponse {
    let table = cx.replicas.table();
    let access = Access::of(rq, cx);
    let topics = request.topics.into_iter().map(|topic| {
        let allowed = access.check(access::LIST_OFFSETS, &topic.name);
        let partitions = topic.partitions.iter().map(|asked| {
            let mut answer = ListOffsetsPartitionResponse {
                partition_index: asked.partition_index,
                timestamp: -1,
                offset: -1,
                leader_epoch: -1,
                ..Default::default()
            };
            match allowed.and_then(|()| offset(&table, &topic.name, asked, rq.version)) {
                Ok(Some(found)) => {
                    answer.timestamp = found.timestamp;
                    answer.offset = found.offset;
                    if rq.version >= 4 {
                        answer.leader_epoch = found.leader_epoch;
                    }
                }
                Ok(None) => {}
                Err(code) => answer.error_code = code,
            }
            answer
        });
        ListOffsetsTopicResponse { partitions: partitions.collect(), name: topic.name }
    });
    ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
}

/// An offset and what goes with it; -1 where the question was not about a time.
struct Found {
    offset: i64,
    timestamp: i64,
    leader_epoch: i32,
}

fn offset(
    table: &Table,
    topic: &TopicName,
    asked: &ListOffsetsPartition,
    version: i16,
) -> Result<Option<Found>, ErrorCode> {
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let replica = table.by_name(topic).ok_or(unknown)?.partition(asked.partition_index)?;
    replica.check_leader_epoch(asked.current_leader_epoch)?;
    let since = match asked.timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => 1,
    };
    if version < since {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    let reader = &replica.reader;
    let at = |offset: i64| {
        let leader_epoch = reader.epoch_of(offset).unwrap_or(-1);
        Some(Found { offset, timestamp: -1, leader_epoch })
    };
    let failed = |error| {
        tracing::error!(%error, topic = %topic, partition = asked.partition_index, "a log could not be read");
        ErrorCode::KAFKA_STORAGE_ERROR
    };
    let by_time = |found: Option<TimestampOffset>| {
        found.filter(|f| f.offset < reader.high_watermark()).map(|f| Found {
            offset: f.offset,
            timestamp: f.timestamp,
            leader_epoch: f.leader_epoch,
        })
    };
    match asked.timestamp {
        // Nothing is undecided without transactions, so the last stable offset is the high watermark.
        LATEST => {
            let leader_epoch = replica.leader_epoch();
            Ok(Some(Found { offset: reader.high_watermark(), timestamp: -1, leader_epoch }))
        }
        EARLIEST | EARLIEST_LOCAL => Ok(at(reader.start_offset())),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(None),
        MAX_TIMESTAMP => {
            SCRATCH.with_borrow_mut(|scratch| reader.max_timestamp(scratch)).map(by_time).map_err(failed)
        }
        timestamp if timestamp < 0 => Err(ErrorCode::INVALID_REQUEST),
        timestamp => {
            let found = SCRATCH.with_borrow_mut(|scratch| reader.offset_for_timestamp(timestamp, scratch));
            found.map(by_time).map_err(failed)
        }
    }
}
