//! OffsetFetch, versions 1 to 10: the offsets that groups have committed.
//!
//! - 2: all of a group's, if no topics are named (KIP-88).
//! - 8: several groups at once (KIP-709).
//! - 10: topics are named by id (KIP-848).

use ottla_protocol::{
    error_code::ErrorCode,
    messages::offset_fetch::{
        OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
        OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    },
    types::Uuid,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
    groups,
};
use crate::coordinator::group::{Answer, Request};

/// First version with several groups.
const SEVERAL_VERSION_MIN: i16 = 8;
/// First version with topic ids.
const BY_ID_VERSION_MIN: i16 = 10;
/// First version with an error for the whole group.
const TOP_ERROR_VERSION_MIN: i16 = 2;

pub(crate) async fn handle(
    request: OffsetFetchRequest,
    rq: &RequestContext,
    cx: &Context,
) -> OffsetFetchResponse {
    if rq.version >= SEVERAL_VERSION_MIN {
        let mut groups = Vec::with_capacity(request.groups.len());
        for group in request.groups {
            groups.push(fetch(group, rq, cx).await);
        }
        return OffsetFetchResponse { groups, ..Default::default() };
    }
    let named =
        |topic: ottla_protocol::messages::offset_fetch::OffsetFetchRequestTopic| OffsetFetchRequestTopics {
            name: topic.name,
            topic_id: Uuid::ZERO,
            partition_indexes: topic.partition_indexes,
        };
    let topics = request.topics.map(|topics| topics.into_iter().map(named).collect());
    let group = OffsetFetchRequestGroup { group_id: request.group_id, topics, ..Default::default() };
    one_group(fetch(group, rq, cx).await)
}

async fn fetch(
    mut group: OffsetFetchRequestGroup,
    rq: &RequestContext,
    cx: &Context,
) -> OffsetFetchResponseGroup {
    let access = Access::of(rq, cx);
    let mut refused = Vec::new();
    let (id, asked) = (group.group_id.clone(), group.topics.clone());
    let answer = match access.check(access::DESCRIBE_GROUP, &id) {
        Ok(()) => {
            if rq.version >= BY_ID_VERSION_MIN {
                name_topics(&mut group, cx, &mut refused);
            }
            take_forbidden(&mut group, &access, &mut refused);
            groups::ask(&id, Request::Fetch(group), rq, cx).await
        }
        Err(code) => Err(code),
    };
    let mut response = match answer {
        Ok(Answer::Fetch(mut response)) => {
            // Who asks for all there is hears of the topics that it may see.
            if asked.is_none() && !response.error_code.is_error() {
                response.topics.retain(|topic| access.may_see(access::DESCRIBE_TOPIC, &topic.name));
            }
            response
        }
        other => {
            let error_code = groups::error_of(&other);
            // Version 1 has no error but those of the partitions.
            let topics = match rq.version < TOP_ERROR_VERSION_MIN {
                true => asked.unwrap_or_default().iter().map(|topic| refuse(topic, error_code)).collect(),
                false => Vec::new(),
            };
            return OffsetFetchResponseGroup { group_id: id, topics, error_code };
        }
    };
    if rq.version >= BY_ID_VERSION_MIN {
        let image = cx.image.load();
        // A topic that was deleted meanwhile has no id to be told by.
        response.topics.retain_mut(|topic| match image.topic(&topic.name) {
            Some(found) => {
                topic.topic_id = found.id;
                true
            }
            None => false,
        });
    }
    if !response.error_code.is_error() {
        response.topics.append(&mut refused);
    }
    response
}

/// Takes the topics out of a group's request that the client may not see.
fn take_forbidden(
    group: &mut OffsetFetchRequestGroup,
    access: &Access<'_>,
    refused: &mut Vec<OffsetFetchResponseTopics>,
) {
    let Some(topics) = &mut group.topics else { return };
    let forbidden = topics.extract_if(.., |topic| !access.may(access::DESCRIBE_TOPIC, &topic.name));
    refused.extend(forbidden.map(|topic| refuse(&topic, access::DESCRIBE_TOPIC.refusal())));
}

/// Finds the names of topics that were asked for by id.
fn name_topics(
    group: &mut OffsetFetchRequestGroup,
    cx: &Context,
    unknown: &mut Vec<OffsetFetchResponseTopics>,
) {
    let image = cx.image.load();
    let Some(topics) = &mut group.topics else { return };
    topics.retain_mut(|topic| match image.topic_by_id(topic.topic_id) {
        Some(found) => {
            topic.name = found.name.clone();
            true
        }
        None => {
            unknown.push(refuse(topic, ErrorCode::UNKNOWN_TOPIC_ID));
            false
        }
    });
}

fn refuse(topic: &OffsetFetchRequestTopics, error_code: ErrorCode) -> OffsetFetchResponseTopics {
    let refused = |&partition_index: &i32| OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        metadata: Some(Default::default()),
        error_code,
        ..Default::default()
    };
    OffsetFetchResponseTopics {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partition_indexes.iter().map(refused).collect(),
    }
}

/// The answer as it was before there could be several groups.
fn one_group(group: OffsetFetchResponseGroup) -> OffsetFetchResponse {
    let topics = group.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|p| OffsetFetchResponsePartition {
                partition_index: p.partition_index,
                committed_offset: p.committed_offset,
                committed_leader_epoch: p.committed_leader_epoch,
                metadata: p.metadata,
                error_code: p.error_code,
            })
            .collect(),
    });
    OffsetFetchResponse { topics: topics.collect(), error_code: group.error_code, ..Default::default() }
}
