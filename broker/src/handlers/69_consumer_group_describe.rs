//! ConsumerGroupDescribe, versions 0 and 1: consumer groups with their members and assignments (KIP-848).
//!
//! - 1: says which protocol a member speaks (KIP-1099).

use ottla_protocol::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup,
};

use super::{
    Context, RequestContext, groups,
    nodes::{GROUP_OPERATIONS, operations},
};
use crate::coordinator::group::{Answer, Request};

pub(crate) async fn handle(
    request: ConsumerGroupDescribeRequest,
    rq: &RequestContext,
    cx: &Context,
) -> ConsumerGroupDescribeResponse {
    let mut response = ConsumerGroupDescribeResponse::default();
    for id in request.group_ids {
        let mut described = match groups::ask(&id, Request::ConsumerDescribe(id.clone()), rq, cx).await {
            Ok(Answer::ConsumerDescribe(described)) => described,
            other => {
                DescribedGroup { group_id: id, error_code: groups::error_of(&other), ..Default::default() }
            }
        };
        let asked = request.include_authorized_operations && !described.error_code.is_error();
        described.authorized_operations = operations(asked, GROUP_OPERATIONS);
        response.groups.push(described);
    }
    response
}
