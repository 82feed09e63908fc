//! CreateTopics, versions 2 to 7.
//!
//! - 4: -1 partitions and a replication factor of -1 mean the broker's default (KIP-464).
//! - 5: the answer has the topic's partitions, replication factor and configuration (KIP-525); 7: also its id.

use ottla_protocol::messages::create_topics::{
    CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};

use super::{Context, RequestContext};

/// The first version whose answer describes the topics.
const CONFIGS_FROM: i16 = 5;

pub(crate) async fn handle(
    request: CreateTopicsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> CreateTopicsResponse {
    let names: Vec<_> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let created = cx.controller.create_topics(request, rq.version >= CONFIGS_FROM).await;
    created.unwrap_or_else(|error| {
        let result = |name| CreatableTopicResult {
            name,
            error_code: error.code,
            error_message: Some(error.message.clone()),
            ..CreatableTopicResult::default()
        };
        CreateTopicsResponse { throttle_time_ms: 0, topics: names.into_iter().map(result).collect() }
    })
}
