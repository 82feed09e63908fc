//! LeaveGroup, versions 0 to 5: takes members out of a classic group.
//!
//! - 3: several members at once, static ones by their names (KIP-345).

use ottla_protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};

use super::{
    Context, RequestContext,
    access::{self, Access},
    groups,
};
use crate::coordinator::group::{Answer, Request};

/// First version with several members.
const SEVERAL_VERSION_MIN: i16 = 3;

pub(crate) async fn handle(
    mut request: LeaveGroupRequest,
    rq: &RequestContext,
    cx: &Context,
) -> LeaveGroupResponse {
    let group = request.group_id.clone();
    if let Err(error_code) = Access::of(rq, cx).check(access::READ_GROUP, &group) {
        return LeaveGroupResponse { error_code, ..Default::default() };
    }
    if rq.version < SEVERAL_VERSION_MIN {
        let member_id = std::mem::take(&mut request.member_id);
        request.members = vec![MemberIdentity { member_id, ..Default::default() }];
    }
    match groups::ask(&group, Request::Leave(request), rq, cx).await {
        Ok(Answer::Leave(response)) if rq.version < SEVERAL_VERSION_MIN => {
            let error_code = response.members.first().map_or(response.error_code, |m| m.error_code);
            LeaveGroupResponse { error_code, ..Default::default() }
        }
        Ok(Answer::Leave(response)) => response,
        other => LeaveGroupResponse { error_code: groups::error_of(&other), ..Default::default() },
    }
}
