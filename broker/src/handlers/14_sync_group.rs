//! SyncGroup, versions 0 to 5: the leader gives the assignment, everybody gets a share of it.

use ottla_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

use super::{
    Context, RequestContext,
    access::{self, Access},
    groups,
};
use crate::coordinator::group::{Answer, Request};

pub(crate) async fn handle(
    request: SyncGroupRequest,
    rq: &RequestContext,
    cx: &Context,
) -> SyncGroupResponse {
    let group = request.group_id.clone();
    if let Err(error_code) = Access::of(rq, cx).check(access::READ_GROUP, &group) {
        return SyncGroupResponse { error_code, ..Default::default() };
    }
    match groups::ask(&group, Request::Sync(request), rq, cx).await {
        Ok(Answer::Sync(response)) => response,
        other => {
            let error_code = groups::error_of(&other);
            SyncGroupResponse { error_code, ..Default::default() }
        }
    }
}
