//! ConsumerGroupHeartbeat, versions 0 and 1: a member of a consumer group joins, stays, or leaves (KIP-848).
//!
//! - 1: members make their own ids (KIP-1082), and may subscribe by a regular expression.

use ottla_protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
    groups,
};
use crate::coordinator::group::{Answer, Request};

pub(crate) async fn handle(
    request: ConsumerGroupHeartbeatRequest,
    rq: &RequestContext,
    cx: &Context,
) -> ConsumerGroupHeartbeatResponse {
    let group = request.group_id.clone();
    let access = Access::of(rq, cx);
    let topics = request.subscribed_topic_names.iter().flatten();
    let allowed = access.check(access::READ_GROUP, &group).and_then(|()| {
        let mut topics = topics.map(|topic| access.check(access::DESCRIBE_TOPIC, topic));
        topics.find(Result::is_err).unwrap_or(Ok(()))
    });
    if let Err(error_code) = allowed {
        return ConsumerGroupHeartbeatResponse { error_code, ..Default::default() };
    }
    match groups::ask(&group, Request::ConsumerHeartbeat(request), rq, cx).await {
        Ok(Answer::ConsumerHeartbeat(response)) => response,
        other => {
            let error_code = groups::error_of(&other);
            ConsumerGroupHeartbeatResponse { error_code, ..Default::default() }
        }
    }
}
