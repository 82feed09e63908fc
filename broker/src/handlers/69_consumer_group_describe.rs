//! ConsumerGroupDescribe, versions 0 and 1: consumer groups with their members and assignments (KIP-848).
//!
//! - 1: says which protocol a member speaks (KIP-1099).

use ottla_protocol::{
    error_code::ErrorCode,
    messages::consumer_group_describe::{
        ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup,
    },
    types::Str,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
    groups,
};
use crate::coordinator::group::{Answer, Request};

pub(crate) async fn handle(
    request: ConsumerGroupDescribeRequest,
    rq: &RequestContext,
    cx: &Context,
) -> ConsumerGroupDescribeResponse {
    let mut response = ConsumerGroupDescribeResponse::default();
    let access = Access::of(rq, cx);
    for id in request.group_ids {
        let answer = match access.check(access::DESCRIBE_GROUP, &id) {
            Ok(()) => groups::ask(&id, Request::ConsumerDescribe(id.clone()), rq, cx).await,
            Err(code) => Err(code),
        };
        let mut described = match answer {
            Ok(Answer::ConsumerDescribe(described)) => described,
            other => {
                DescribedGroup { group_id: id, error_code: groups::error_of(&other), ..Default::default() }
            }
        };
        if names_unseen(&described, &access) {
            described = DescribedGroup {
                error_code: ErrorCode::TOPIC_AUTHORIZATION_FAILED,
                error_message: Some(Str::from_static("the group reads topics that the client may not see")),
                group_id: described.group_id,
                ..Default::default()
            };
        }
        let asked = request.include_authorized_operations && !described.error_code.is_error();
        described.authorized_operations = access.group_operations(asked, &described.group_id);
        response.groups.push(described);
    }
    response
}

/// Whether a group's assignments name a topic that the client may not see.
fn names_unseen(group: &DescribedGroup, access: &Access<'_>) -> bool {
    let assignments = group.members.iter().flat_map(|member| [&member.assignment, &member.target_assignment]);
    let mut topics = assignments.flat_map(|assignment| &assignment.topic_partitions);
    access.is_guarded() && topics.any(|topic| !access.may_see(access::DESCRIBE_TOPIC, &topic.topic_name))
}
