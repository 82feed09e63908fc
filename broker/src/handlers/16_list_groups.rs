//! ListGroups, versions 0 to 5: the groups that this broker coordinates.
//!
//! - 4: of given states (KIP-518).
//! - 5: of given types (KIP-848).

use ottla_protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};

use super::{
    Context, RequestContext,
    access::{self, Access},
    groups,
};
use crate::coordinator::group::{Answer, Request};

pub(crate) async fn handle(
    request: ListGroupsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> ListGroupsResponse {
    let mut response = ListGroupsResponse::default();
    match cx.coordinator.ask_all(Request::List(request), groups::caller(rq, cx)).await {
        Ok(answers) => {
            for answer in answers {
                if let Answer::List(groups) = answer {
                    response.groups.extend(groups);
                }
            }
        }
        Err(error_code) => response.error_code = error_code,
    }
    let access = Access::of(rq, cx);
    if !access.may_cluster(access::DESCRIBE_CLUSTER) {
        response.groups.retain(|group| access.may_see(access::DESCRIBE_GROUP, &group.group_id));
    }
    response
}
