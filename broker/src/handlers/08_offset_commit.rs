//! OffsetCommit, versions 2 to 10: stores how far a group has read.
//!
//! - 10: topics are named by id (KIP-848).

use ottla_protocol::{
    error_code::ErrorCode,
    messages::offset_commit::{
        OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
        OffsetCommitResponseTopic,
    },
};

use super::{
    Context, RequestContext,
    access::{self, Access},
    groups,
};
use crate::coordinator::group::{Answer, Request};

/// First version with topic ids.
const BY_ID_VERSION_MIN: i16 = 10;

pub(crate) async fn handle(
    mut request: OffsetCommitRequest,
    rq: &RequestContext,
    cx: &Context,
) -> OffsetCommitResponse {
    let group = request.group_id.clone();
    let access = Access::of(rq, cx);
    if let Err(code) = access.check(access::READ_GROUP, &group) {
        return refuse_all(&request.topics, code);
    }
    let mut refused = Vec::new();
    let topics = std::mem::take(&mut request.topics);
    for topic in topics {
        keep_known(topic, rq, &access, cx, &mut request.topics, &mut refused);
    }
    // A commit of nothing that is there is answered without the coordinator, as Kafka does.
    let mut response = if request.topics.is_empty() && !refused.is_empty() {
        OffsetCommitResponse::default()
    } else {
        let asked = request.topics.clone();
        match groups::ask(&group, Request::Commit(request), rq, cx).await {
            Ok(Answer::Commit(response)) => response,
            other => refuse_all(&asked, groups::error_of(&other)),
        }
    };
    response.topics.append(&mut refused);
    response
}

/// Parts a topic's partitions into those that exist and those that do not; of a topic that the client may not read, none
/// are looked for.
fn keep_known(
    mut topic: OffsetCommitRequestTopic,
    rq: &RequestContext,
    access: &Access<'_>,
    cx: &Context,
    known: &mut Vec<OffsetCommitRequestTopic>,
    refused: &mut Vec<OffsetCommitResponseTopic>,
) {
    let image = cx.image.load();
    let (found, unknown) = match rq.version {
        version if version >= BY_ID_VERSION_MIN => {
            (image.topic_by_id(topic.topic_id), ErrorCode::UNKNOWN_TOPIC_ID)
        }
        _ => (image.topic(&topic.name), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    };
    let name = found.map_or(&topic.name, |found| &found.name);
    if !name.is_empty()
        && let Err(code) = access.check(access::READ_TOPIC, name)
    {
        refused.extend(refuse_all(&[topic], code).topics);
        return;
    }
    let Some(found) = found else {
        refused.extend(refuse_all(&[topic], unknown).topics);
        return;
    };
    topic.name = found.name.clone();
    topic.topic_id = found.id;
    let exists = |index: i32| usize::try_from(index).is_ok_and(|index| index < found.partitions.len());
    let partitions = std::mem::take(&mut topic.partitions);
    let (there, missing) = partitions.into_iter().partition(|p| exists(p.partition_index));
    let missing = OffsetCommitRequestTopic { partitions: missing, ..topic.clone() };
    if !missing.partitions.is_empty() {
        refused.extend(refuse_all(&[missing], ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).topics);
    }
    topic.partitions = there;
    if !topic.partitions.is_empty() {
        known.push(topic);
    }
}

fn refuse_all(topics: &[OffsetCommitRequestTopic], error_code: ErrorCode) -> OffsetCommitResponse {
    let topics = topics.iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|p| OffsetCommitResponsePartition { partition_index: p.partition_index, error_code })
            .collect(),
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}
