//! OffsetDelete, version 0: forgets offsets in topics that the group does not read (KIP-496).

use ottla_protocol::{
    error_code::ErrorCode,
    messages::offset_delete::{
        OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
    },
};

use super::{
    Context, RequestContext,
    access::{self, Access},
    groups,
};
use crate::coordinator::group::{Answer, Request};

pub(crate) async fn handle(
    mut request: OffsetDeleteRequest,
    rq: &RequestContext,
    cx: &Context,
) -> OffsetDeleteResponse {
    let group = request.group_id.clone();
    let access = Access::of(rq, cx);
    if let Err(error_code) = access.check(access::DELETE_GROUP, &group) {
        return OffsetDeleteResponse { error_code, ..Default::default() };
    }
    let mut unknown = take_forbidden(&mut request, &access);
    unknown.extend(take_unknown(&mut request, cx));
    match groups::ask(&group, Request::DeleteOffsets(request), rq, cx).await {
        Ok(Answer::DeleteOffsets(response)) if response.error_code.is_error() => response,
        Ok(Answer::DeleteOffsets(mut response)) => {
            for topic in unknown {
                match response.topics.iter_mut().find(|answered| answered.name == topic.name) {
                    Some(answered) => answered.partitions.extend(topic.partitions),
                    None => response.topics.push(topic),
                }
            }
            response
        }
        other => {
            let error_code = groups::error_of(&other);
            OffsetDeleteResponse { error_code, ..Default::default() }
        }
    }
}

/// Takes the topics out of a request that the client may not read, and gives what it is told of their partitions.
fn take_forbidden(request: &mut OffsetDeleteRequest, access: &Access<'_>) -> Vec<OffsetDeleteResponseTopic> {
    let forbidden = request.topics.extract_if(.., |topic| !access.may(access::READ_TOPIC, &topic.name));
    let told = forbidden.map(|topic| OffsetDeleteResponseTopic {
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: access::READ_TOPIC.refusal(),
            })
            .collect(),
        name: topic.name,
    });
    told.collect()
}

/// Takes the partitions out of a request that there are none of, and gives what they are told.
fn take_unknown(request: &mut OffsetDeleteRequest, cx: &Context) -> Vec<OffsetDeleteResponseTopic> {
    let image = cx.image.load();
    let mut unknown = Vec::new();
    for topic in &mut request.topics {
        let count = image.topic(&topic.name).map_or(0, |there| there.partitions.len());
        let is_there = |index: i32| usize::try_from(index).is_ok_and(|index| index < count);
        let missing = topic.partitions.extract_if(.., |partition| !is_there(partition.partition_index));
        let partitions: Vec<_> = missing
            .map(|partition| OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            })
            .collect();
        if !partitions.is_empty() {
            unknown.push(OffsetDeleteResponseTopic { name: topic.name.clone(), partitions });
        }
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    unknown
}
