//! FindCoordinator, versions 0 to 6: the broker that coordinates a group.
//!
//! - 1: what is looked for may be a transactional id (KIP-98).
//! - 4: several keys at once (KIP-699).
//! - 6: share groups (KIP-932).
//!
//! Only groups have coordinators here yet. For others the answer is the one error that every client takes as final;
//! see InitProducerId.

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        CreateTopicsRequest,
        create_topics::{CreatableTopic, CreatableTopicConfig},
        find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse},
    },
    types::{BrokerId, Str},
};

use super::{
    Context, RequestContext,
    access::{self, Access, Right},
    nodes,
};
use crate::{metadata::CONSUMER_OFFSETS_TOPIC, quota::Mutations};

/// What a key may name.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
/// First version with several keys.
const SEVERAL_VERSION_MIN: i16 = 4;

pub(crate) async fn handle(
    request: FindCoordinatorRequest,
    rq: &RequestContext,
    cx: &Context,
) -> FindCoordinatorResponse {
    let keys = match rq.version {
        version if version >= SEVERAL_VERSION_MIN => request.coordinator_keys,
        _ => vec![request.key],
    };
    let mut coordinators = Vec::with_capacity(keys.len());
    for key in keys {
        coordinators.push(find(key, request.key_type, rq, cx).await);
    }
    if rq.version >= SEVERAL_VERSION_MIN {
        return FindCoordinatorResponse { coordinators, ..Default::default() };
    }
    let Some(found) = coordinators.pop() else { return FindCoordinatorResponse::default() };
    FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: found.error_message,
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..Default::default()
    }
}

async fn find(key: Str, key_type: i8, rq: &RequestContext, cx: &Context) -> Coordinator {
    let found = locate(&key, key_type, rq, cx).await;
    let mut answer = Coordinator { key, node_id: BrokerId(-1), port: -1, ..Default::default() };
    match found {
        Ok((node_id, host, port)) => (answer.node_id, answer.host, answer.port) = (node_id, host, port),
        Err((error_code, message)) => {
            (answer.error_code, answer.error_message) = (error_code, Some(message.into()));
        }
    }
    answer
}

async fn locate(
    key: &Str,
    key_type: i8,
    rq: &RequestContext,
    cx: &Context,
) -> Result<(BrokerId, Str, i32), (ErrorCode, &'static str)> {
    let access = Access::of(rq, cx);
    let check = |right: Right| access.check(right, key).map_err(|code| (code, code.meaning()));
    match key_type {
        GROUP => check(access::DESCRIBE_GROUP)?,
        TRANSACTION => {
            check(access::DESCRIBE_TRANSACTION)?;
            return Err((
                ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                "this broker does not serve transactions yet",
            ));
        }
        _ => return Err((ErrorCode::INVALID_REQUEST, "this broker coordinates groups only")),
    }
    if key.is_empty() {
        return Err((ErrorCode::INVALID_GROUP_ID, "the group id is empty"));
    }
    let unavailable =
        |_| (ErrorCode::COORDINATOR_NOT_AVAILABLE, "the coordinator is not available; try again");
    make_topic(cx).await.map_err(unavailable)?;
    let image = cx.image.load();
    let broker = image.broker(cx.controller.node()).ok_or_else(|| unavailable(ErrorCode::NONE))?;
    let (host, port) = nodes::address(broker, rq, cx).ok_or_else(|| unavailable(ErrorCode::NONE))?;
    Ok((broker.id, host, port))
}

/// Makes `__consumer_offsets` if it is not there; all its partitions come in one record batch of the metadata log.
async fn make_topic(cx: &Context) -> Result<(), ErrorCode> {
    if cx.image.load().topic(&CONSUMER_OFFSETS_TOPIC).is_some() {
        return Ok(());
    }
    // A cluster that has fewer brokers gets as many replicas as it can hold.
    let brokers = i16::try_from(cx.image.load().brokers().len()).unwrap_or(i16::MAX);
    let config = |name: &'static str, value: String| CreatableTopicConfig {
        name: name.into(),
        value: Some(value.into()),
    };
    let topic = CreatableTopic {
        name: CONSUMER_OFFSETS_TOPIC,
        num_partitions: cx.config.offsets_topic_num_partitions,
        replication_factor: cx.config.offsets_topic_replication_factor.min(brokers),
        configs: vec![
            config("cleanup.policy", "compact".to_owned()),
            config("compression.type", "producer".to_owned()),
            config("segment.bytes", cx.config.offsets_topic_segment_bytes.to_string()),
        ],
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let made = cx
        .controller
        .create_topics(request, false, Mutations::default())
        .await
        .map_err(|error| error.code)?;
    match made.topics.first().map(|t| (t.error_code, &t.error_message)) {
        None | Some((ErrorCode::NONE | ErrorCode::TOPIC_ALREADY_EXISTS, _)) => Ok(()),
        Some((code, why)) => {
            let why = why.as_deref().unwrap_or_default();
            tracing::error!(%code, why, "`{}` could not be made", &*CONSUMER_OFFSETS_TOPIC);
            Err(code)
        }
    }
}
