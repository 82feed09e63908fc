//! CreatePartitions, versions 0 to 3: more partitions for topics that are there.

use ottla_protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};

use super::{Context, RequestContext};

pub(crate) async fn handle(
    request: CreatePartitionsRequest,
    _rq: &RequestContext,
    cx: &Context,
) -> CreatePartitionsResponse {
    let names: Vec<_> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    cx.controller.create_partitions(request).await.unwrap_or_else(|error| {
        let result = |name| CreatePartitionsTopicResult {
            name,
            error_code: error.code,
            error_message: Some(error.message.clone()),
        };
        CreatePartitionsResponse { throttle_time_ms: 0, results: names.into_iter().map(result).collect() }
    })
}
