//! Which handler takes which request.

use std::{cell::RefCell, sync::Arc, time::Duration};

use ottla_protocol::{
    api::Api,
    frame::{self, RequestFrame},
    messages::ApiKey,
    record::Scratch,
    wire::{Malformed, Unsupported, Wire},
};
use tokio::time::Instant;

use super::answer::Answer;
use crate::{
    handlers::{self, Context, RequestContext, produce},
    quota::{Held, throttle_time_ms, timed},
};

/// What is served, and nothing else is advertised.
pub(crate) const SERVED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::SaslHandshake,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeAcls,
    ApiKey::CreateAcls,
    ApiKey::DeleteAcls,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::DescribeLogDirs,
    ApiKey::SaslAuthenticate,
    ApiKey::CreatePartitions,
    ApiKey::DeleteGroups,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::OffsetDelete,
    ApiKey::DescribeClientQuotas,
    ApiKey::AlterClientQuotas,
    ApiKey::DescribeUserScramCredentials,
    ApiKey::AlterUserScramCredentials,
    ApiKey::DescribeCluster,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::ConsumerGroupDescribe,
    ApiKey::ListConfigResources,
    ApiKey::DescribeTopicPartitions,
];

thread_local! {
    /// Decompression contexts, one set a core: validation never waits, so it never meets itself.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// Why a connection is closed instead of answered: Kafka's way with what it does not understand. We say why in
/// the log.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The number of the API is not known.
    UnknownApi(i16),
    /// The API is not served, or not in this version.
    UnsupportedVersion(ApiKey, i16),
    /// The message is not what its schema says.
    Malformed(ApiKey, i16, Malformed),
    /// The answer cannot be told in this version: a fault of ours.
    Unsupported(Unsupported),
    /// A produce request without an answer failed, and closing is the only way to tell.
    Unanswerable(String),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownApi(key) => {
                write!(f, "there is no API {key}; does the client speak Kafka's protocol?")
            }
            Self::UnsupportedVersion(key, version) => {
                write!(f, "version {version} of {key} is not served here; a client asks ApiVersions what is")
            }
            Self::Malformed(key, version, malformed) => {
                write!(f, "the {key} request, version {version}, is malformed: {malformed}")
            }
            Self::Unsupported(unsupported) => write!(f, "the answer could not be written: {unsupported}"),
            Self::Unanswerable(why) => write!(f, "a produce request that wants no answer failed: {why}"),
        }
    }
}

/// A request that may be answered.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) key: ApiKey,
    pub(crate) frame: RequestFrame,
    /// Its size, without that of the frame.
    pub(crate) bytes: usize,
}

/// Checks that a request of `bytes` is of an API and version that is served.
pub(crate) fn admit(frame: RequestFrame, bytes: usize) -> Result<Request, Refused> {
    let key = frame.api().ok_or(Refused::UnknownApi(frame.api_key))?;
    let served = SERVED.contains(&key)
        && *key.versions().start() <= frame.version
        && frame.version <= key.latest_stable();
    // ApiVersions is answered in every version, so that a client of another time learns what to ask.
    if !served && key != ApiKey::ApiVersions {
        return Err(Refused::UnsupportedVersion(key, frame.version));
    }
    Ok(Request { key, frame, bytes })
}

/// A produce request whose batches are with their shards.
pub(crate) struct Producing {
    pending: produce::Pending,
    version: i16,
    correlation_id: i32,
    /// Where a quota holds: what the request has cost.
    charged: Option<Charged>,
}

/// What a produce request has cost.
struct Charged {
    quotas: Arc<Held>,
    /// For how long it kept this core busy.
    busy: Duration,
    /// Until when its connection is to be left alone, because of its bytes.
    hold_off_until: Option<Instant>,
}

/// Begins a produce request: its batches are handed over before this returns.
pub(crate) fn begin_produce(
    request: Request,
    rq: &RequestContext,
    cx: &Context,
) -> Result<Producing, Refused> {
    let (version, correlation_id) = (request.frame.version, request.frame.correlation_id);
    // Bytes are counted when they have come, not when they are answered as in Kafka: requests of a connection overlap here,
    // and the next one is to wait already.
    let mut charged = rq.quotas.as_ref().map(|quotas| {
        let now = Instant::now();
        let hold_off = quotas.produced(request.bytes, now);
        let hold_off_until = (!hold_off.is_zero()).then(|| now + hold_off);
        (now, Charged { quotas: Arc::clone(quotas), busy: Duration::ZERO, hold_off_until })
    });
    let message = read(request)?;
    let pending = SCRATCH.with_borrow_mut(|scratch| produce::begin(message, rq, cx, scratch));
    if let Some((began, charged)) = &mut charged {
        charged.busy = began.elapsed();
    }
    Ok(Producing { pending, version, correlation_id, charged: charged.map(|(_, charged)| charged) })
}

impl Producing {
    /// Until when its connection is to be left alone, answer or not.
    pub(crate) fn hold_off_until(&self) -> Option<Instant> {
        self.charged.as_ref()?.hold_off_until
    }

    /// Waits for the shards and answers.
    pub(crate) async fn finish(self) -> Result<Option<Answer>, Refused> {
        let finished = self.pending.finish().await.map_err(|code| Refused::Unanswerable(code.to_string()))?;
        let charge = |charged: Charged, is_answered: bool| {
            let now = Instant::now();
            let for_bytes =
                charged.hold_off_until.map_or(Duration::ZERO, |it| it.saturating_duration_since(now));
            // What is not answered costs no time, as in Kafka.
            if is_answered { for_bytes.max(charged.quotas.busy(charged.busy, now)) } else { for_bytes }
        };
        let hold_off = self.charged.map_or(Duration::ZERO, |charged| charge(charged, finished.is_some()));
        match finished {
            Some(mut response) => {
                response.throttle_time_ms = throttle_time_ms(hold_off);
                let answer = respond(ApiKey::Produce, self.version, self.correlation_id, &response)?;
                Ok(Some(Answer { hold_off, ..answer }))
            }
            None if hold_off.is_zero() => Ok(None),
            None => Ok(Some(Answer::silent(hold_off))),
        }
    }
}

/// Answers any request, from its first byte to the answer's last.
pub(crate) async fn answer(
    request: Request,
    rq: RequestContext,
    cx: Arc<Context>,
) -> Result<Option<Answer>, Refused> {
    let (key, version, correlation_id) = (request.key, request.frame.version, request.frame.correlation_id);
    let counts_time = rq.quotas.as_ref().is_some_and(|quotas| quotas.counts_time());
    /// Reads the request, calls the handler, writes what it answers, and in it for how long the client is to hold off.
    macro_rules! call {
        ($module:ident) => {{
            let handled =
                async { Ok::<_, Refused>(handlers::$module::handle(read(request)?, &rq, &cx).await) };
            let (response, busy) = timed(counts_time, handled).await;
            let mut response = response?;
            let hold_off = hold_off(&rq, busy, response.throttle_time_ms);
            response.throttle_time_ms = throttle_time_ms(hold_off);
            let answer = respond(key, version, correlation_id, &response)?;
            Ok(Some(Answer { hold_off, ..answer }))
        }};
    }
    match key {
        ApiKey::Produce => begin_produce(request, &rq, &cx)?.finish().await,
        ApiKey::Fetch => {
            let handled = async { Ok::<_, Refused>(handlers::fetch::handle(read(request)?, &rq, &cx).await) };
            let (fetched, busy) = timed(counts_time, handled).await;
            let mut fetched = fetched?;
            let hold_off = hold_off(&rq, busy, fetched.response.throttle_time_ms);
            fetched.response.throttle_time_ms = throttle_time_ms(hold_off);
            let answer = respond(key, version, correlation_id, &fetched.response)?;
            if let Some(quotas) = &rq.quotas {
                // The records are counted already.
                quotas.sent(answer.bytes().saturating_sub(fetched.record_bytes()), Instant::now());
            }
            Ok(Some(Answer { slices: fetched.slices, hold_off, ..answer }))
        }
        ApiKey::ApiVersions if version > key.latest_stable() || version < 0 => {
            let response = handlers::api_versions::unsupported_version();
            respond(key, 0, correlation_id, &response).map(Some)
        }
        ApiKey::ApiVersions => call!(api_versions),
        ApiKey::ListOffsets => call!(list_offsets),
        ApiKey::OffsetForLeaderEpoch => call!(offset_for_leader_epoch),
        ApiKey::Metadata => call!(metadata),
        ApiKey::CreateTopics => call!(create_topics),
        ApiKey::DeleteTopics => call!(delete_topics),
        ApiKey::DeleteRecords => call!(delete_records),
        ApiKey::InitProducerId => call!(init_producer_id),
        ApiKey::DescribeAcls => call!(describe_acls),
        ApiKey::CreateAcls => call!(create_acls),
        ApiKey::DeleteAcls => call!(delete_acls),
        ApiKey::DescribeClientQuotas => call!(describe_client_quotas),
        ApiKey::AlterClientQuotas => call!(alter_client_quotas),
        ApiKey::DescribeConfigs => call!(describe_configs),
        ApiKey::AlterConfigs => call!(alter_configs),
        ApiKey::DescribeLogDirs => call!(describe_log_dirs),
        ApiKey::CreatePartitions => call!(create_partitions),
        ApiKey::IncrementalAlterConfigs => call!(incremental_alter_configs),
        ApiKey::DescribeCluster => call!(describe_cluster),
        ApiKey::DescribeUserScramCredentials => call!(describe_user_scram_credentials),
        ApiKey::AlterUserScramCredentials => call!(alter_user_scram_credentials),
        ApiKey::ListConfigResources => call!(list_config_resources),
        ApiKey::DescribeTopicPartitions => call!(describe_topic_partitions),
        ApiKey::FindCoordinator => call!(find_coordinator),
        ApiKey::JoinGroup => call!(join_group),
        ApiKey::Heartbeat => call!(heartbeat),
        ApiKey::LeaveGroup => call!(leave_group),
        ApiKey::SyncGroup => call!(sync_group),
        ApiKey::DescribeGroups => call!(describe_groups),
        ApiKey::ListGroups => call!(list_groups),
        ApiKey::OffsetCommit => call!(offset_commit),
        ApiKey::OffsetFetch => call!(offset_fetch),
        ApiKey::DeleteGroups => call!(delete_groups),
        ApiKey::OffsetDelete => call!(offset_delete),
        ApiKey::ConsumerGroupHeartbeat => call!(consumer_group_heartbeat),
        ApiKey::ConsumerGroupDescribe => call!(consumer_group_describe),
        // SaslHandshake and SaslAuthenticate are about the connection, which takes them itself.
        _ => Err(Refused::UnsupportedVersion(key, version)),
    }
}

/// For how long the client of a request is to hold off that kept this core `busy`, and has `own_ms` to wait already.
fn hold_off(rq: &RequestContext, busy: Duration, own_ms: i32) -> Duration {
    let own = Duration::from_millis(u64::try_from(own_ms).unwrap_or_default());
    rq.quotas.as_ref().map_or(own, |quotas| own.max(quotas.busy(busy, Instant::now())))
}

/// The message of a request.
pub(crate) fn read<R: Api>(request: Request) -> Result<R, Refused> {
    let version = request.frame.version;
    request.frame.message().map_err(|malformed| Refused::Malformed(R::KEY, version, malformed))
}

/// The answer to a request.
pub(crate) fn respond<T: Wire>(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    response: &T,
) -> Result<Answer, Refused> {
    let pieces = frame::response(key, version, correlation_id, response).map_err(Refused::Unsupported)?;
    Ok(Answer { pieces, slices: Vec::new(), hold_off: Duration::ZERO })
}
