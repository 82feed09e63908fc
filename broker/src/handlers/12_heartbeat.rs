//! Heartbeat, versions 0 to 4: a member of a classic group is alive, and learns whether its group rebalances.

use ottla_protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::{Context, RequestContext, groups};
use crate::coordinator::group::{Answer, Request};

pub(crate) async fn handle(
    request: HeartbeatRequest,
    rq: &RequestContext,
    cx: &Context,
) -> HeartbeatResponse {
    let group = request.group_id.clone();
    match groups::ask(&group, Request::Heartbeat(request), rq, cx).await {
        Ok(Answer::Heartbeat(response)) => response,
        other => {
            let error_code = groups::error_of(&other);
            HeartbeatResponse { error_code, ..Default::default() }
        }
    }
}
