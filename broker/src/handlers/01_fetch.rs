//! Fetch, versions 4 to 18: reads record batches, waiting for them if need be.
//!
//! - 7: fetch sessions (KIP-227).
//! - 9: the leader epoch that the client believes in is checked (KIP-320).
//! - 12: a fetcher that says which epoch it read last learns where its log diverges (KIP-595).
//! - 13: topics are named by id (KIP-516). 15: a follower says who it is in a tagged field (KIP-903).
//!
//! Records are not read here: an answer names slices of segment files, and the connection sends them.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        FetchRequest, FetchResponse,
        fetch::{EpochEndOffset, FetchableTopicResponse, PartitionData},
    },
    types::BrokerId,
    wire::Records,
};
use tokio::time::Instant;

use super::{
    Context, RequestContext,
    access::{self, Access},
};
use crate::{
    log::{FileSlice, ReadError},
    quota::throttle_time_ms,
    replica::{
        Replica, Table,
        fetch_session::{Plan, Session, TopicKey, Wanted},
        purgatory::Waiter,
    },
    time::now_ms,
};

/// The replica id of a consumer.
const CONSUMER: BrokerId = BrokerId(-1);
/// The replica id of a tool that reads as a consumer does.
const DEBUGGING_CONSUMER: BrokerId = BrokerId(-2);
/// Longest that a fetch may wait, whatever it asks for.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// An answer, and the slices of files that its records name.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) response: FetchResponse,
    /// By [`Records::Elsewhere`]'s id.
    pub(crate) slices: Vec<Vec<FileSlice>>,
}

impl Fetched {
    /// Bytes of records.
    pub(crate) fn record_bytes(&self) -> usize {
        self.slices.iter().flatten().map(|slice| slice.len).sum()
    }
}

/// Limits of one fetch.
struct Limits {
    read_committed: bool,
    bytes_max: usize,
    by_id: bool,
}

pub(crate) async fn handle(request: FetchRequest, rq: &RequestContext, cx: &Context) -> Fetched {
    let follower = if rq.version >= 15 { request.replica_state.replica_id } else { request.replica_id };
    if follower != CONSUMER && follower != DEBUGGING_CONSUMER {
        // Replication is between brokers, and this one has no others (CVE-2018-1288: never trust the number).
        return refused(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    }
    let deadline = Instant::now() + Duration::from_millis(request.max_wait_ms.max(0) as u64).min(WAIT_MAX);
    // More than the quota's windows let through at once could never be sent.
    let quota_bytes_max = rq.quotas.as_ref().map_or(usize::MAX, |quotas| quotas.fetch_bytes_max());
    let request_bytes_max = usize::try_from(request.max_bytes).unwrap_or(0);
    let limits = Limits {
        read_committed: request.isolation_level == 1,
        bytes_max: request_bytes_max.min(cx.config.fetch_max_bytes).min(quota_bytes_max),
        by_id: rq.version >= 13,
    };
    let bytes_min = (request.min_bytes.max(0) as usize).min(quota_bytes_max);
    let mut plan = match cx.fetch_sessions.plan(request, rq.version, now_ms()) {
        Ok(plan) => plan,
        Err(code) => return refused(code),
    };
    let first = read(&mut plan, rq, cx, &limits);
    if first.bytes >= bytes_min || first.must_answer || Instant::now() >= deadline {
        return answered(&mut plan, first, &limits, rq, cx);
    }
    // Too little: wait for the rest, and look once more after registering, since an append may have come between.
    let waiter = Waiter::new((bytes_min - first.bytes) as i64);
    let waiting = Waiting::enter(&plan, cx, &waiter);
    let again = read(&mut plan, rq, cx, &limits);
    if again.bytes >= bytes_min || again.must_answer {
        return answered(&mut plan, again, &limits, rq, cx);
    }
    let _ = tokio::time::timeout_at(deadline, waiter.wait()).await;
    drop(waiting);
    let last = read(&mut plan, rq, cx, &limits);
    answered(&mut plan, last, &limits, rq, cx)
}

/// The answer, counted; or an empty one, if the client has had too much.
fn answered(plan: &mut Plan, look: Look, limits: &Limits, rq: &RequestContext, cx: &Context) -> Fetched {
    if let Some(quotas) = &rq.quotas {
        let hold_off = quotas.fetch(look.bytes, Instant::now());
        if !hold_off.is_zero() {
            return throttled(plan, throttle_time_ms(hold_off), cx);
        }
    }
    let fetched = answer(plan, look, limits);
    let (core, table) = (cx.metrics.core(), cx.replicas.table());
    for topic in &fetched.response.responses {
        core.fetch_partitions.add(topic.partitions.len() as u64);
        let replicas = if limits.by_id { table.by_id(topic.topic_id) } else { table.by_name(&topic.topic) };
        for partition in &topic.partitions {
            let bytes = partition.records.as_ref().map_or(0, Records::len) as u64;
            core.bytes_out.add(bytes);
            core.failed_fetch_partitions.add(u64::from(partition.error_code.is_error()));
            if let Some(Ok(replica)) = replicas.map(|topic| topic.partition(partition.partition_index)) {
                replica.traffic.bytes_out.add(bytes);
            }
        }
    }
    fetched
}

/// Nothing, for now (`FetchContext.getThrottledResponse`). A session goes on as if it had not been asked; one that was to begin
/// does not, as its first answer would have to name every partition.
fn throttled(plan: &Plan, throttle_time_ms: i32, cx: &Context) -> Fetched {
    let session_id = match plan {
        Plan::Sessionless(_) => 0,
        Plan::New(_, id) => {
            cx.fetch_sessions.end(*id);
            0
        }
        Plan::Incremental(_, id) => *id,
    };
    let response = FetchResponse { throttle_time_ms, session_id, ..Default::default() };
    Fetched { response, ..Default::default() }
}

fn refused(error_code: ErrorCode) -> Fetched {
    Fetched { response: FetchResponse { error_code, ..Default::default() }, ..Default::default() }
}

/// Registered with the partitions of a plan until dropped, also when the connection ends in between.
struct Waiting<'a> {
    waiter: &'a Arc<Waiter>,
    replicas: Vec<Arc<Replica>>,
}

impl<'a> Waiting<'a> {
    fn enter(plan: &Plan, cx: &Context, waiter: &'a Arc<Waiter>) -> Self {
        let table = cx.replicas.table();
        let mut replicas = Vec::new();
        each_wanted(plan, |wanted| {
            if let Ok(replica) = find(&table, wanted) {
                replica.purgatory.enter(waiter);
                replicas.push(Arc::clone(replica));
            }
        });
        Self { waiter, replicas }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.replicas.iter().for_each(|r| r.purgatory.leave(self.waiter));
    }
}

fn each_wanted(plan: &Plan, mut look: impl FnMut(&mut Wanted)) {
    match plan {
        Plan::Sessionless(wanted) => wanted.iter().for_each(|w| look(&mut w.clone())),
        Plan::New(session, _) | Plan::Incremental(session, _) => lock(session).wanted().for_each(look),
    }
}

fn lock(session: &Arc<std::sync::Mutex<Session>>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One look at all partitions of a plan.
#[derive(Default)]
struct Look {
    bytes: usize,
    /// An error, or a divergence, or a session that begins: nothing that waiting would change.
    must_answer: bool,
    partitions: Vec<Seen>,
}

/// What one partition has.
struct Seen {
    data: PartitionData,
    slices: Vec<FileSlice>,
}

fn read(plan: &mut Plan, rq: &RequestContext, cx: &Context, limits: &Limits) -> Look {
    let table = cx.replicas.table();
    // Anew at each look: a right that was taken away is gone also from fetches that wait, and from sessions.
    let mut readable = Readable::new(rq, cx);
    let mut look = Look::default();
    let mut left = limits.bytes_max;
    let mut see = |wanted: &Wanted| {
        // The first records of an answer come whole, whatever the limits: else a consumer could never pass them.
        let seen = match readable.check(&table, wanted) {
            Ok(()) => see(&table, wanted, left, look.bytes == 0, limits),
            Err(code) => Seen::refused(wanted, code),
        };
        let bytes: usize = seen.slices.iter().map(|s| s.len).sum();
        left = left.saturating_sub(bytes);
        look.bytes += bytes;
        look.must_answer |= seen.data.error_code.is_error() || seen.data.diverging_epoch.epoch >= 0;
        look.partitions.push(seen);
    };
    match plan {
        Plan::Sessionless(wanted) => wanted.iter().for_each(&mut see),
        Plan::New(session, _) | Plan::Incremental(session, _) => lock(session).wanted().for_each(|w| see(w)),
    }
    look
}

impl Seen {
    /// A partition of which nothing is seen.
    fn refused(wanted: &Wanted, error_code: ErrorCode) -> Self {
        let data = PartitionData {
            error_code,
            partition_index: wanted.partition.partition,
            high_watermark: -1,
            records: Some(Records::EMPTY),
            ..Default::default()
        };
        Self { data, slices: Vec::new() }
    }
}

/// What the client may read. Partitions of a topic come one after the other: a topic is asked about once.
struct Readable<'a> {
    access: Access<'a>,
    last: Option<(TopicKey, Result<(), ErrorCode>)>,
}

impl<'a> Readable<'a> {
    fn new(rq: &'a RequestContext, cx: &'a Context) -> Self {
        Self { access: Access::of(rq, cx), last: None }
    }

    fn check(&mut self, table: &Table, wanted: &Wanted) -> Result<(), ErrorCode> {
        if !self.access.is_guarded() {
            return Ok(());
        }
        if let Some((topic, checked)) = &self.last
            && *topic == wanted.topic
        {
            return *checked;
        }
        let name = match wanted.topic.id.is_zero() {
            true => Some(&wanted.topic.name),
            false => table.by_id(wanted.topic.id).map(|topic| &topic.name),
        };
        // An id that there is none of is unknown to everybody.
        let checked = name.map_or(Ok(()), |name| self.access.check(access::FETCH, name));
        self.last = Some((wanted.topic.clone(), checked));
        checked
    }
}

fn see(table: &Table, wanted: &Wanted, bytes_left: usize, whole_first: bool, limits: &Limits) -> Seen {
    let Seen { mut data, mut slices } = Seen::refused(wanted, ErrorCode::NONE);
    if let Err(code) = see_replica(table, wanted, bytes_left, whole_first, limits, &mut data, &mut slices) {
        data.error_code = code;
    }
    Seen { data, slices }
}

fn see_replica(
    table: &Table,
    wanted: &Wanted,
    bytes_left: usize,
    whole_first: bool,
    limits: &Limits,
    data: &mut PartitionData,
    slices: &mut Vec<FileSlice>,
) -> Result<(), ErrorCode> {
    let replica = find(table, wanted)?;
    let asked = &wanted.partition;
    replica.check_leader_epoch(asked.current_leader_epoch)?;
    let reader = &replica.reader;
    if asked.last_fetched_epoch >= 0 {
        let (epoch, end_offset) = reader.end_offset_for_epoch(asked.last_fetched_epoch).unwrap_or((-1, -1));
        if epoch < asked.last_fetched_epoch || end_offset < asked.fetch_offset {
            data.diverging_epoch = EpochEndOffset { epoch, end_offset };
            return Ok(());
        }
    }
    let high_watermark = reader.high_watermark();
    let bytes_max = usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(bytes_left);
    let read = reader.read(asked.fetch_offset, bytes_max, high_watermark, whole_first);
    let read = read.map_err(|error| match error {
        ReadError::OutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
        error => {
            tracing::error!(%error, partition = ?replica.id, "a log could not be read");
            ErrorCode::KAFKA_STORAGE_ERROR
        }
    })?;
    *slices = read.slices;
    data.high_watermark = high_watermark;
    data.last_stable_offset = high_watermark;
    data.log_start_offset = reader.start_offset();
    if limits.read_committed {
        data.aborted_transactions = Some(Vec::new());
    }
    Ok(())
}

fn find<'a>(table: &'a Table, wanted: &Wanted) -> Result<&'a Arc<Replica>, ErrorCode> {
    let topic = if wanted.topic.id.is_zero() {
        table.by_name(&wanted.topic.name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?
    } else {
        table.by_id(wanted.topic.id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?
    };
    topic.partition(wanted.partition.partition)
}

/// Puts what was seen into an answer: everything, or, within a session, what is new.
fn answer(plan: &mut Plan, look: Look, limits: &Limits) -> Fetched {
    let mut fetched = Fetched::default();
    match plan {
        Plan::Sessionless(wanted) => {
            for (wanted, seen) in wanted.iter().zip(look.partitions) {
                fetched.push(wanted, seen, limits);
            }
        }
        Plan::New(session, id) | Plan::Incremental(session, id) => {
            fetched.response.session_id = *id;
            let mut session = lock(session);
            let mut served = 0;
            for (i, (wanted, seen)) in session.wanted().zip(look.partitions).enumerate() {
                if !seen.slices.is_empty() {
                    served = i + 1;
                }
                // A new session was told nothing yet, so its first answer holds every partition.
                if tell(wanted, &seen) {
                    fetched.push(wanted, seen, limits);
                }
            }
            session.served(served);
        }
    }
    fetched
}

/// Whether a partition has something that the last answer did not say; remembers what this one says.
fn tell(wanted: &mut Wanted, seen: &Seen) -> bool {
    let data = &seen.data;
    let is_error = data.error_code.is_error();
    let news = !seen.slices.is_empty()
        || is_error
        || wanted.told_error
        || data.diverging_epoch.epoch >= 0
        || data.high_watermark != wanted.told_high_watermark
        || data.log_start_offset != wanted.told_start_offset;
    wanted.told_error = is_error;
    wanted.told_high_watermark = data.high_watermark;
    wanted.told_start_offset = data.log_start_offset;
    news
}

impl Fetched {
    fn push(&mut self, wanted: &Wanted, seen: Seen, limits: &Limits) {
        let Seen { mut data, slices } = seen;
        if !slices.is_empty() {
            let len = slices.iter().map(|s| s.len).sum();
            data.records = Some(Records::Elsewhere { id: self.slices.len(), len });
            self.slices.push(slices);
        }
        let same_topic = |topic: &&mut FetchableTopicResponse| {
            if limits.by_id { topic.topic_id == wanted.topic.id } else { topic.topic == wanted.topic.name }
        };
        match self.response.responses.last_mut().filter(same_topic) {
            Some(topic) => topic.partitions.push(data),
            None => self.response.responses.push(FetchableTopicResponse {
                topic: wanted.topic.name.clone(),
                topic_id: wanted.topic.id,
                partitions: vec![data],
            }),
        }
    }
}
