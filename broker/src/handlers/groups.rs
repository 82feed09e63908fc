//! What requests about groups have in common: they go to the group's coordinator.

use ottla_protocol::{error_code::ErrorCode, types::GroupId};

use super::{Context, RequestContext, access};
use crate::coordinator::group::{Answer, Caller, Request};

/// The protocol of KIP-848, in `group.coordinator.rebalance.protocols`.
const CONSUMER: &str = "consumer";

/// Asks the coordinator of `group`.
///
/// # Errors
/// `UNSUPPORTED_VERSION` if the request's protocol is not among those that are served; else what the coordinator says.
pub(super) async fn ask(
    group: &GroupId,
    request: Request,
    rq: &RequestContext,
    cx: &Context,
) -> Result<Answer, ErrorCode> {
    let is_served = cx.config.group_coordinator_rebalance_protocols.iter().any(|name| name == CONSUMER);
    if request.is_of_consumer_protocol() && !is_served {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    cx.coordinator.ask(group, request, caller(rq, cx)).await
}

pub(super) fn caller(rq: &RequestContext, cx: &Context) -> Caller {
    Caller {
        version: rq.version,
        client_id: rq.client_id.clone().unwrap_or_default(),
        client_host: format!("/{}", rq.peer.ip().to_canonical()),
        sees: access::sees_topics(rq, cx),
    }
}

/// Why there is no answer of the kind that was asked for.
pub(super) fn error_of(answer: &Result<Answer, ErrorCode>) -> ErrorCode {
    match answer {
        Err(code) => *code,
        // A coordinator answers what it was asked.
        Ok(_) => ErrorCode::UNKNOWN_SERVER_ERROR,
    }
}
