//! DescribeGroups, versions 0 to 6: classic groups with their members and assignments.
//!
//! - 3: what the client may do with the group, if it asks (KIP-430).
//! - 6: a group that is not there is an error, no longer a dead group (KIP-1043).

use ottla_protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
    groups,
};
use crate::coordinator::group::{Answer, Request};

pub(crate) async fn handle(
    request: DescribeGroupsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> DescribeGroupsResponse {
    let mut response = DescribeGroupsResponse::default();
    let access = Access::of(rq, cx);
    for id in request.groups {
        let answer = match access.check(access::DESCRIBE_GROUP, &id) {
            Ok(()) => groups::ask(&id, Request::Describe(vec![id.clone()]), rq, cx).await,
            Err(code) => Err(code),
        };
        let mut described = match answer {
            Ok(Answer::Describe(mut described)) if !described.is_empty() => described.swap_remove(0),
            other => {
                DescribedGroup { group_id: id, error_code: groups::error_of(&other), ..Default::default() }
            }
        };
        let asked = request.include_authorized_operations && !described.error_code.is_error();
        described.authorized_operations = access.group_operations(asked, &described.group_id);
        response.groups.push(described);
    }
    response
}
