//! Produce, versions 3 to 13: appends record batches to partitions.
//!
//! - 7: zstd is allowed.
//! - 8: an answer says which records were wrong, and why (KIP-467).
//! - 13: topics are named by id (KIP-516).
//!
//! The work is in two parts, so that requests of one connection can overlap and still be appended in order:
//! [`begin`] validates and hands the batches to their shards without waiting; [`Pending::finish`] waits for the
//! shards and answers.

use ottla_protocol::{
    compression::Compression,
    error_code::ErrorCode,
    messages::{
        ProduceRequest, ProduceResponse,
        produce::{
            BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, TopicProduceResponse,
        },
    },
    record::{Batch, BatchError, Depth, Rules, Scratch, TimestampType, validate},
    types::{Str, TopicName, Uuid},
    wire::Records,
};
use tokio::sync::oneshot;

use super::{
    Context, RequestContext,
    access::{self, Access},
};
use crate::{
    log::{AppendError, Appended, ProducerError},
    metadata::is_internal,
    replica::{
        PartitionId, PartitionSettings, Replica, TopicReplicas,
        shard::{Append, AppendFailure, Outcome, ShardMessage},
    },
    time::now_ms,
};

/// First version in which zstd is allowed: older consumers could not read it.
const ZSTD_VERSION_MIN: i16 = 7;

/// A request whose batches are with their shards.
#[derive(Debug)]
pub(crate) struct Pending {
    acks: i16,
    response: ProduceResponse,
    /// What each shard was sent: its answer, and where in the response it belongs.
    shards: Vec<(oneshot::Receiver<Vec<Outcome>>, Vec<Place>)>,
}

/// A partition's place in a response: that of its topic, and its own within.
type Place = (usize, usize);

/// The batches that go to one shard, and where in the response their outcomes belong.
type Share = (Vec<(PartitionId, Batch)>, Vec<Place>);

/// Validates `request` and hands its batches over, in order.
pub(crate) fn begin(
    request: ProduceRequest,
    rq: &RequestContext,
    cx: &Context,
    scratch: &mut Scratch,
) -> Pending {
    let mut pending =
        Pending { acks: request.acks, response: ProduceResponse::default(), shards: Vec::new() };
    let whole = if !matches!(request.acks, -1..=1) {
        Some(Refusal::of(ErrorCode::INVALID_REQUIRED_ACKS, "acks must be 0, 1 or -1 (all)"))
    } else if request.transactional_id.is_some() {
        Some(Refusal::of(ErrorCode::INVALID_TXN_STATE, "this broker does not serve transactions yet"))
    } else {
        None
    };
    let access = Access::of(rq, cx);
    let committed = request.acks != 0;
    let table = cx.replicas.table();
    let mut by_shard: Vec<Share> = Vec::new();
    by_shard.resize_with(cx.replicas.shard_count(), Default::default);
    for (t, topic) in request.topic_data.into_iter().enumerate() {
        let replicas =
            if rq.version >= 13 { table.by_id(topic.topic_id) } else { table.by_name(&topic.name) };
        let forbidden = forbidden(&access, &topic.name, replicas.map(|it| &**it));
        let mut answers = Vec::with_capacity(topic.partition_data.len());
        for (p, data) in topic.partition_data.into_iter().enumerate() {
            let index = data.index;
            let checked = match whole.as_ref().or(forbidden.as_ref()) {
                Some(refusal) => Err(refusal.clone()),
                None => find(replicas, topic.topic_id, index).and_then(|replica| {
                    check(replica, data, rq.version, scratch).map(|batch| (replica, batch))
                }),
            };
            let mut answer = PartitionProduceResponse { index, base_offset: -1, ..Default::default() };
            match checked {
                Ok((replica, batch)) => {
                    if let Some((batches, places)) = by_shard.get_mut(replica.shard) {
                        batches.push((replica.id, batch));
                        places.push((t, p));
                    }
                }
                Err(refusal) => refusal.write(&mut answer),
            }
            answers.push(answer);
        }
        pending.response.responses.push(TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses: answers,
        });
    }
    for (shard, (batches, places)) in by_shard.into_iter().enumerate().filter(|(_, (b, _))| !b.is_empty()) {
        let (reply, outcomes) = oneshot::channel();
        // If the shard is gone its end of the channel is dropped, which `finish` answers.
        let _ = cx.replicas.send(shard, ShardMessage::Append(Append { batches, committed, reply }));
        pending.shards.push((outcomes, places));
    }
    pending
}

impl Pending {
    /// Waits for the shards. `None` if the producer wants no answer and nothing failed; an error if it wants none
    /// and something did: then the connection must close, the only way to tell it.
    pub(crate) async fn finish(mut self) -> Result<Option<ProduceResponse>, ErrorCode> {
        for (outcomes, places) in std::mem::take(&mut self.shards) {
            let outcomes = outcomes.await.unwrap_or_default();
            let mut outcomes = outcomes.into_iter();
            for (t, p) in places {
                let outcome = outcomes.next().unwrap_or(Err(AppendFailure::Gone));
                if let Some(answer) = self.answer(t, p) {
                    write_outcome(outcome, answer);
                }
            }
        }
        if self.acks != 0 {
            return Ok(Some(self.response));
        }
        let mut codes =
            self.response.responses.iter().flat_map(|t| &t.partition_responses).map(|p| p.error_code);
        match codes.find(|code| code.is_error()) {
            Some(code) => Err(code),
            None => Ok(None),
        }
    }

    fn answer(&mut self, topic: usize, partition: usize) -> Option<&mut PartitionProduceResponse> {
        self.response.responses.get_mut(topic)?.partition_responses.get_mut(partition)
    }
}

/// Why a partition's batch is not taken.
#[derive(Clone, Debug)]
struct Refusal {
    code: ErrorCode,
    message: Option<Str>,
    records: Vec<BatchIndexAndErrorMessage>,
}

impl Refusal {
    fn of(code: ErrorCode, message: impl Into<Str>) -> Self {
        Self { code, message: Some(message.into()), records: Vec::new() }
    }

    fn write(self, answer: &mut PartitionProduceResponse) {
        answer.error_code = self.code;
        answer.error_message = self.message;
        answer.record_errors = self.records;
    }
}

/// Why the client may not write into a topic: it has not the right, whether or not there is one, or the topic is the
/// cluster's own. A topic that was asked for by an id that there is none of has no name, and is looked for in vain.
fn forbidden(access: &Access<'_>, asked: &TopicName, found: Option<&TopicReplicas>) -> Option<Refusal> {
    let name = found.map_or(asked, |topic| &topic.name);
    if name.is_empty() {
        return None;
    }
    if let Err(code) = access.check(access::PRODUCE, name) {
        return Some(Refusal::of(code, code.meaning()));
    }
    // Where nobody is told apart, nobody is trusted with them. Kafka takes a client by its own name for itself.
    let may_write_internal = access.is_guarded() && access.may_cluster(access::PRODUCE_INTERNAL);
    (found.is_some() && is_internal(name) && !may_write_internal)
        .then(|| Refusal::of(ErrorCode::INVALID_TOPIC_EXCEPTION, "the topic is the cluster's own"))
}

fn find(topic: Option<&std::sync::Arc<TopicReplicas>>, id: Uuid, index: i32) -> Result<&Replica, Refusal> {
    let Some(topic) = topic else {
        return Err(if id.is_zero() {
            Refusal::of(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "there is no such topic")
        } else {
            Refusal::of(ErrorCode::UNKNOWN_TOPIC_ID, format!("there is no topic of id `{id}`"))
        });
    };
    topic.partition(index).map(|replica| &**replica).map_err(|code| {
        let name = &topic.name;
        Refusal::of(
            code,
            match code {
                ErrorCode::KAFKA_STORAGE_ERROR => format!(
                    "the log of `{name}-{index}` is offline: it could not be opened, or its disk has failed; the \
                     broker's log says why"
                ),
                _ => format!("topic `{name}` has no partition {index}"),
            },
        )
    })
}

/// The one batch of a partition's data, validated.
fn check(
    replica: &Replica,
    data: PartitionProduceData,
    version: i16,
    scratch: &mut Scratch,
) -> Result<Batch, Refusal> {
    let settings = replica.settings.load();
    let mut bytes = data.records.map(Records::into_bytes).unwrap_or_default();
    let sent = bytes.len();
    let batch = Batch::split_from(&mut bytes).map_err(refusal)?;
    let Some(batch) = batch.filter(|_| bytes.is_empty()) else {
        return Err(Refusal::of(
            ErrorCode::INVALID_RECORD,
            "a produce request holds exactly one batch per partition",
        ));
    };
    check_size(sent, &settings)?;
    if batch.header().attributes.is_transactional() {
        return Err(Refusal::of(ErrorCode::INVALID_TXN_STATE, "this broker does not serve transactions yet"));
    }
    if version < ZSTD_VERSION_MIN && batch.header().attributes.compression() == Ok(Compression::Zstd) {
        return Err(Refusal::of(
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            "zstd needs version 7 of the produce request or newer",
        ));
    }
    let rules = Rules {
        depth: if settings.validate_headers_only { Depth::Header } else { Depth::Full },
        compacted: settings.log.cleanup.compact,
        timestamp_type: settings.timestamp_type,
        timestamp_before_max_ms: settings.timestamp_before_max_ms,
        timestamp_after_max_ms: settings.timestamp_after_max_ms,
        max_decompressed_message_bytes: settings.decompressed_message_bytes_max,
        ..Rules::at(now_ms())
    };
    let validated = validate(&batch, &rules, scratch).map_err(refusal)?;
    // As Kafka does, the header is put right where it states another time than its records.
    let max_timestamp = validated.max_timestamp;
    let batch = match settings.timestamp_type {
        TimestampType::CreateTime if max_timestamp != batch.header().max_timestamp => {
            batch.with_timestamps(TimestampType::CreateTime, max_timestamp)
        }
        _ => batch,
    };
    match settings.codec {
        Some(codec) if batch.header().attributes.compression() != Ok(codec.compression()) => {
            let batch = batch.recompressed(codec, &rules.limits, scratch).map_err(refusal)?;
            // It may have grown.
            check_size(batch.bytes().len(), &settings)?;
            Ok(batch)
        }
        _ => Ok(batch),
    }
}

fn check_size(bytes: usize, settings: &PartitionSettings) -> Result<(), Refusal> {
    let bytes_max = settings.message_bytes_max;
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(Refusal::of(
        ErrorCode::MESSAGE_TOO_LARGE,
        format!("the record batch has {bytes} bytes, `max.message.bytes` of the topic allows {bytes_max}"),
    ))
}

fn refusal(error: BatchError) -> Refusal {
    let records = match &error {
        BatchError::Rejected(rejections) => rejections
            .first
            .iter()
            .map(|rejection| BatchIndexAndErrorMessage {
                batch_index: i32::try_from(rejection.index).unwrap_or(i32::MAX),
                batch_index_error_message: Some(rejection.reason.to_string().into()),
            })
            .collect(),
        _ => Vec::new(),
    };
    Refusal { code: error.error_code(), message: Some(error.to_string().into()), records }
}

fn write_outcome(outcome: Outcome, answer: &mut PartitionProduceResponse) {
    match outcome {
        Ok(Appended { base_offset, log_append_time, start_offset, .. }) => {
            answer.base_offset = base_offset;
            answer.log_append_time_ms = log_append_time;
            answer.log_start_offset = start_offset;
        }
        Err(failure) => {
            let code = match &failure {
                AppendFailure::Gone => ErrorCode::NOT_LEADER_OR_FOLLOWER,
                AppendFailure::Log(error) => append_error_code(error),
            };
            let message = match failure {
                AppendFailure::Gone => "the partition was deleted, or the broker is shutting down".to_owned(),
                AppendFailure::Log(error) => error.to_string(),
            };
            Refusal::of(code, message).write(answer);
        }
    }
}

fn append_error_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Producer(ProducerError::OutOfOrderSequence { .. }) => {
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
        }
        AppendError::Producer(ProducerError::InvalidProducerEpoch { .. }) => {
            ErrorCode::INVALID_PRODUCER_EPOCH
        }
        AppendError::TooLarge { .. } => ErrorCode::MESSAGE_TOO_LARGE,
        AppendError::LargerThanSegment { .. } => ErrorCode::RECORD_LIST_TOO_LARGE,
        AppendError::NoOffsets { .. } => ErrorCode::INVALID_RECORD,
        AppendError::StaleLeaderEpoch { .. } => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        AppendError::DiskFull(_) | AppendError::Log(_) => ErrorCode::KAFKA_STORAGE_ERROR,
    }
}
