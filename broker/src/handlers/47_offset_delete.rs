//! OffsetDelete, version 0: forgets offsets in topics that the group does not read (KIP-496).

use ottla_protocol::messages::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::{Context, RequestContext, groups};
use crate::coordinator::group::{Answer, Request};

pub(crate) async fn handle(
    request: OffsetDeleteRequest,
    rq: &RequestContext,
    cx: &Context,
) -> OffsetDeleteResponse {
    let group = request.group_id.clone();
    match groups::ask(&group, Request::DeleteOffsets(request), rq, cx).await {
        Ok(Answer::DeleteOffsets(response)) => response,
        other => {
            let error_code = groups::error_of(&other);
            OffsetDeleteResponse { error_code, ..Default::default() }
        }
    }
}
