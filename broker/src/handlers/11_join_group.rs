//! JoinGroup, versions 0 to 9: enters a classic group; answered when the round of joining ends.

use ottla_protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse};

use super::{
    Context, RequestContext,
    access::{self, Access},
    groups,
};
use crate::coordinator::group::{Answer, Request};

pub(crate) async fn handle(
    request: JoinGroupRequest,
    rq: &RequestContext,
    cx: &Context,
) -> JoinGroupResponse {
    let group = request.group_id.clone();
    if let Err(error_code) = Access::of(rq, cx).check(access::READ_GROUP, &group) {
        return JoinGroupResponse { error_code, generation_id: -1, ..Default::default() };
    }
    match groups::ask(&group, Request::Join(request), rq, cx).await {
        Ok(Answer::Join(response)) => response,
        other => {
            let error_code = groups::error_of(&other);
            JoinGroupResponse { error_code, generation_id: -1, ..Default::default() }
        }
    }
}
