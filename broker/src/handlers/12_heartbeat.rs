//! Heartbeat, versions 0 to 4: a member of a classic group is alive, and learns whether its group rebalances.

use ottla_protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::{
    Context, RequestContext,
    access::{self, Access},
    groups,
};
use crate::coordinator::group::{Answer, Request};

pub(crate) async fn handle(
    request: HeartbeatRequest,
    rq: &RequestContext,
    cx: &Context,
) -> HeartbeatResponse {
    let group = request.group_id.clone();
    if let Err(error_code) = Access::of(rq, cx).check(access::READ_GROUP, &group) {
        return HeartbeatResponse { error_code, ..Default::default() };
    }
    match groups::ask(&group, Request::Heartbeat(request), rq, cx).await {
        Ok(Answer::Heartbeat(response)) => response,
        other => {
            let error_code = groups::error_of(&other);
            HeartbeatResponse { error_code, ..Default::default() }
        }
    }
}
