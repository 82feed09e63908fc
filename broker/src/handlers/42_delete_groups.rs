//! DeleteGroups, versions 0 to 3: forgets empty groups and their offsets (KIP-229).

use ottla_protocol::messages::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};

use super::{Context, RequestContext, groups};
use crate::coordinator::group::{Answer, Request};

pub(crate) async fn handle(
    request: DeleteGroupsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> DeleteGroupsResponse {
    let mut response = DeleteGroupsResponse::default();
    for group_id in request.groups_names {
        match groups::ask(&group_id, Request::Delete(vec![group_id.clone()]), rq, cx).await {
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
