//! CreatePartitions, versions 0 to 3: more partitions for topics that are there.

use ottla_protocol::{
    messages::create_partitions::{
        CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
    },
    types::Str,
};
use tokio::time::Instant;

use super::{
    Context, RequestContext,
    access::{self, Access},
};
use crate::quota::Mutations;

/// The first version whose clients know THROTTLING_QUOTA_EXCEEDED (KIP-599).
const STRICT_QUOTA_FROM: i16 = 3;

pub(crate) async fn handle(
    mut request: CreatePartitionsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> CreatePartitionsResponse {
    let access = Access::of(rq, cx);
    let refused = request.topics.extract_if(.., |topic| !access.may(access::ALTER_TOPIC, &topic.name));
    let forbidden: Vec<_> = refused.map(|topic| topic.name).collect();
    let names: Vec<_> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let mutations = Mutations::of(rq.quotas.as_ref(), rq.version >= STRICT_QUOTA_FROM, Instant::now());
    let mut response = cx.controller.create_partitions(request, mutations).await.unwrap_or_else(|error| {
        let result = |name| CreatePartitionsTopicResult {
            name,
            error_code: error.code,
            error_message: Some(error.message.clone()),
        };
        CreatePartitionsResponse { throttle_time_ms: 0, results: names.into_iter().map(result).collect() }
    });
    let code = access::ALTER_TOPIC.refusal();
    response.results.extend(forbidden.into_iter().map(|name| CreatePartitionsTopicResult {
        name,
        error_code: code,
        error_message: Some(Str::from_static(code.meaning())),
    }));
    response
}

#[cfg(test)]
mod tests {
    use ottla_protocol::{error_code::ErrorCode, messages::create_partitions::CreatePartitionsTopic};

    use super::*;
    use crate::handlers::testing::{Broker, ask, make_topics};

    #[tokio::test]
    async fn every_version_adds_partitions_that_are_open_when_it_answers() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        make_topics(&broker, &["a"]).await;
        for version in 0..=3 {
            let count = 2 + i32::from(version);
            let topic = CreatePartitionsTopic { name: "a".into(), count, assignments: None };
            let request =
                CreatePartitionsRequest { topics: vec![topic], ..CreatePartitionsRequest::default() };
            assert_eq!(ask!(broker, version, request.clone()).results[0].error_code, ErrorCode::NONE);
            assert_eq!(broker.directories.list().len(), count as usize);
            assert_eq!(ask!(broker, version, request).results[0].error_code, ErrorCode::INVALID_PARTITIONS);
        }
    }
}
