//! CreateTopics, versions 2 to 7.
//!
//! - 4: -1 partitions and a replication factor of -1 mean the broker's default (KIP-464).
//! - 5: the answer has the topic's partitions, replication factor and configuration (KIP-525); 7: also its id.

use std::collections::BTreeSet;

use ottla_protocol::{
    messages::create_topics::{CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse},
    types::Str,
};
use tokio::time::Instant;

use super::{
    Context, RequestContext,
    access::{self, Access},
};
use crate::quota::Mutations;

/// The first version whose answer describes the topics.
const CONFIGS_FROM: i16 = 5;
/// The first version whose clients know THROTTLING_QUOTA_EXCEEDED (KIP-599).
const STRICT_QUOTA_FROM: i16 = 6;

pub(crate) async fn handle(
    mut request: CreateTopicsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> CreateTopicsResponse {
    let access = Access::of(rq, cx);
    let mut forbidden = BTreeSet::new();
    if !access.may_cluster(access::CREATE_TOPICS) {
        let refused = request.topics.extract_if(.., |topic| !access.may(access::CREATE_TOPIC, &topic.name));
        forbidden.extend(refused.map(|topic| topic.name));
    }
    let names: Vec<_> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let mutations = Mutations::of(rq.quotas.as_ref(), rq.version >= STRICT_QUOTA_FROM, Instant::now());
    let created = cx.controller.create_topics(request, rq.version >= CONFIGS_FROM, mutations).await;
    let mut response = created.unwrap_or_else(|error| {
        let result = |name| CreatableTopicResult {
            name,
            error_code: error.code,
            error_message: Some(error.message.clone()),
            ..CreatableTopicResult::default()
        };
        CreateTopicsResponse { throttle_time_ms: 0, topics: names.into_iter().map(result).collect() }
    });
    if rq.version >= CONFIGS_FROM {
        let made = response.topics.iter_mut().filter(|topic| !topic.error_code.is_error());
        made.filter(|topic| !access.may_see(access::DESCRIBE_TOPIC_CONFIGS, &topic.name))
            .for_each(hide_configs);
    }
    let code = access::CREATE_TOPIC.refusal();
    response.topics.extend(forbidden.into_iter().map(|name| CreatableTopicResult {
        name,
        error_code: code,
        error_message: Some(Str::from_static(code.meaning())),
        ..CreatableTopicResult::default()
    }));
    response
}

/// Takes out of an answer what only those are told who may see the topic's configuration.
fn hide_configs(topic: &mut CreatableTopicResult) {
    let nothing = CreatableTopicResult::default();
    topic.topic_config_error_code = access::DESCRIBE_TOPIC_CONFIGS.refusal();
    (topic.num_partitions, topic.replication_factor) = (nothing.num_partitions, nothing.replication_factor);
    topic.configs = Some(Vec::new());
}

#[cfg(test)]
mod tests {
    use ottla_protocol::{error_code::ErrorCode, messages::create_topics::CreatableTopic};

    use super::*;
    use crate::handlers::testing::{Broker, ask};

    #[tokio::test]
    async fn every_version_creates_and_describes_what_it_can_carry() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        for version in 2..=7 {
            let name = format!("v{version}").into();
            let topic = CreatableTopic {
                name,
                num_partitions: 2,
                replication_factor: 1,
                ..CreatableTopic::default()
            };
            let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
            let answer = ask!(broker, version, request);
            let topic = &answer.topics[0];
            assert_eq!(
                (topic.error_code, &topic.error_message),
                (ErrorCode::NONE, &None),
                "version {version}"
            );
            if version >= 5 {
                assert_eq!((topic.num_partitions, topic.replication_factor), (2, 1));
                assert!(topic.configs.as_ref().is_some_and(|configs| !configs.is_empty()));
            }
            assert_eq!(topic.topic_id.is_zero(), version < 7);
        }
        assert_eq!(broker.directories.list().len(), 12);
    }
}
