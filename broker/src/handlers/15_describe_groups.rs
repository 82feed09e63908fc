//! DescribeGroups, versions 0 to 6: classic groups with their members and assignments.
//!
//! - 3: what the client may do with the group, if it asks (KIP-430).
//! - 6: a group that is not there is an error, no longer a dead group (KIP-1043).

use ottla_protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup,
};

use super::{
    Context, RequestContext, groups,
    nodes::{GROUP_OPERATIONS, operations},
};
use crate::coordinator::group::{Answer, Request};

pub(crate) async fn handle(
    request: DescribeGroupsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> DescribeGroupsResponse {
    let mut response = DescribeGroupsResponse::default();
    for id in request.groups {
        let mut described = match groups::ask(&id, Request::Describe(vec![id.clone()]), rq, cx).await {
            Ok(Answer::Describe(mut described)) if !described.is_empty() => described.swap_remove(0),
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
