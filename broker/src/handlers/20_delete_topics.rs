//! DeleteTopics, versions 1 to 6.
//!
//! - 3: says that deletion is turned off, which older clients are told as an invalid request.
//! - 5: error messages; 6: topics by their ids (KIP-516).

use ottla_protocol::{
    error_code::ErrorCode,
    messages::delete_topics::{
        DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
    },
};

use super::{Context, RequestContext};

/// The first version whose clients know TOPIC_DELETION_DISABLED.
const DELETION_DISABLED_FROM: i16 = 3;

pub(crate) async fn handle(
    request: DeleteTopicsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> DeleteTopicsResponse {
    let names = request
        .topic_names
        .iter()
        .map(|name| DeleteTopicState { name: Some(name.clone()), ..Default::default() });
    let topics: Vec<_> = names.chain(request.topics.iter().cloned()).collect();
    let mut response = cx.controller.delete_topics(request).await.unwrap_or_else(|error| {
        let result = |topic: DeleteTopicState| DeletableTopicResult {
            name: topic.name,
            topic_id: topic.topic_id,
            error_code: error.code,
            error_message: Some(error.message.clone()),
        };
        DeleteTopicsResponse { throttle_time_ms: 0, responses: topics.into_iter().map(result).collect() }
    });
    if rq.version < DELETION_DISABLED_FROM {
        for topic in &mut response.responses {
            if topic.error_code == ErrorCode::TOPIC_DELETION_DISABLED {
                topic.error_code = ErrorCode::INVALID_REQUEST;
            }
        }
    }
    response
}
