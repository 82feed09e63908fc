//! DeleteGroups, versions 0 to 3: forgets empty groups and their offsets (KIP-229).

use ottla_protocol::messages::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
    groups,
};
use crate::coordinator::group::{Answer, Request};

pub(crate) async fn handle(
    request: DeleteGroupsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> DeleteGroupsResponse {
    let mut response = DeleteGroupsResponse::default();
    let access = Access::of(rq, cx);
    for group_id in request.groups_names {
        let answer = match access.check(access::DELETE_GROUP, &group_id) {
            Ok(()) => groups::ask(&group_id, Request::Delete(vec![group_id.clone()]), rq, cx).await,
            Err(code) => Err(code),
        };
        match answer {
            Ok(Answer::Delete(results)) => response.results.extend(results),
            other => response.results.push(DeletableGroupResult {
                error_code: groups::error_of(&other),
                group_id,
                ..Default::default()
            }),
        }
    }
    response
}
