//! DeleteTopics, versions 1 to 6.
//!
//! - 3: says that deletion is turned off, which older clients are told as an invalid request.
//! - 5: error messages; 6: topics by their ids (KIP-516).

use ottla_protocol::{
    error_code::ErrorCode,
    messages::delete_topics::{
        DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
    },
    types::{Str, TopicName, Uuid},
};
use tokio::time::Instant;

use super::{
    Context, RequestContext,
    access::{self, Access},
};
use crate::quota::Mutations;

/// The first version whose clients know TOPIC_DELETION_DISABLED.
const DELETION_DISABLED_FROM: i16 = 3;
/// The first version whose clients know THROTTLING_QUOTA_EXCEEDED (KIP-599).
const STRICT_QUOTA_FROM: i16 = 5;

pub(crate) async fn handle(
    mut request: DeleteTopicsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> DeleteTopicsResponse {
    let forbidden = take_forbidden(&mut request, &Access::of(rq, cx), cx);
    let names = request
        .topic_names
        .iter()
        .map(|name| DeleteTopicState { name: Some(name.clone()), ..Default::default() });
    let topics: Vec<_> = names.chain(request.topics.iter().cloned()).collect();
    let mutations = Mutations::of(rq.quotas.as_ref(), rq.version >= STRICT_QUOTA_FROM, Instant::now());
    let mut response = cx.controller.delete_topics(request, mutations).await.unwrap_or_else(|error| {
        let result = |topic: DeleteTopicState| DeletableTopicResult {
            name: topic.name,
            topic_id: topic.topic_id,
            error_code: error.code,
            error_message: Some(error.message.clone()),
        };
        DeleteTopicsResponse { throttle_time_ms: 0, responses: topics.into_iter().map(result).collect() }
    });
    response.responses.extend(forbidden);
    let deleted: Vec<TopicName> = response
        .responses
        .iter()
        .filter(|topic| !topic.error_code.is_error())
        .filter_map(|topic| topic.name.clone())
        .collect();
    if !deleted.is_empty() {
        // Whoever makes a topic of the same name anew begins without offsets.
        cx.coordinator.topics_deleted(deleted).await;
    }
    if rq.version < DELETION_DISABLED_FROM {
        for topic in &mut response.responses {
            if topic.error_code == ErrorCode::TOPIC_DELETION_DISABLED {
                topic.error_code = ErrorCode::INVALID_REQUEST;
            }
        }
    }
    response
}

/// Takes the topics out of a request that the client may not delete, and gives what it is told: of one that it may not
/// see either, nothing that it did not know.
fn take_forbidden(
    request: &mut DeleteTopicsRequest,
    access: &Access<'_>,
    cx: &Context,
) -> Vec<DeletableTopicResult> {
    // Where no topic is ever deleted, that is what everybody hears.
    if !access.is_guarded() || !cx.config.delete_topic_enable || access.may_cluster(access::DELETE_TOPICS) {
        return Vec::new();
    }
    let image = cx.image.load();
    let code = access::DELETE_TOPIC.refusal();
    let refuse = |name: Option<TopicName>, topic_id: Uuid| DeletableTopicResult {
        name,
        topic_id,
        error_code: code,
        error_message: Some(Str::from_static(code.meaning())),
    };
    let is_forbidden = |name: &TopicName| match access.may_see(access::DESCRIBE_TOPIC, name) {
        // Who may see what there is may be told what there is not.
        true => image.topic(name).is_some() && !access.may(access::DELETE_TOPIC, name),
        false => true,
    };
    let mut refused: Vec<_> = request
        .topic_names
        .extract_if(.., |name| is_forbidden(name))
        .map(|name| refuse(Some(name), Uuid::ZERO))
        .collect();
    request.topics.retain(|topic| match (&topic.name, topic.topic_id.is_zero()) {
        (Some(name), true) if is_forbidden(name) => {
            refused.push(refuse(Some(name.clone()), Uuid::ZERO));
            false
        }
        (None, false) => match image.topic_by_id(topic.topic_id) {
            Some(found) if !access.may(access::DELETE_TOPIC, &found.name) => {
                let seen = access.may_see(access::DESCRIBE_TOPIC, &found.name);
                refused.push(refuse(seen.then(|| found.name.clone()), topic.topic_id));
                false
            }
            _ => true,
        },
        _ => true,
    });
    refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::testing::{Broker, ask, make_topics};

    #[tokio::test]
    async fn topics_are_deleted_by_name_and_from_version_6_on_by_id() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        for version in 1..=6 {
            make_topics(&broker, &["a", "b"]).await;
            let id = broker.cx.image.load().topic(&"b".into()).unwrap().id;
            let request = match version {
                6 => DeleteTopicsRequest {
                    topics: vec![
                        DeleteTopicState { name: Some("a".into()), topic_id: Uuid::ZERO },
                        DeleteTopicState { name: None, topic_id: id },
                    ],
                    ..DeleteTopicsRequest::default()
                },
                _ => DeleteTopicsRequest { topic_names: vec!["a".into(), "b".into()], ..Default::default() },
            };
            let answer = ask!(broker, version, request);
            let told: Vec<_> = answer.responses.iter().map(|r| (r.name.as_deref(), r.error_code)).collect();
            assert_eq!(
                told,
                [(Some("a"), ErrorCode::NONE), (Some("b"), ErrorCode::NONE)],
                "version {version}"
            );
            assert!(broker.directories.list().is_empty());
        }
    }

    #[tokio::test]
    async fn a_topic_that_is_made_again_has_another_id() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        let id = || broker.cx.image.load().topic(&"a".into()).map(|topic| topic.id);
        make_topics(&broker, &["a"]).await;
        let first = id();
        let request = DeleteTopicsRequest { topic_names: vec!["a".into()], ..Default::default() };
        assert_eq!(ask!(broker, 5, request).responses[0].error_code, ErrorCode::NONE);
        make_topics(&broker, &["a"]).await;
        assert_ne!(id(), first);
        assert_eq!(broker.directories.list(), ["a-0"]);
    }

    #[tokio::test]
    async fn that_deletion_is_off_is_told_in_words_the_client_knows() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "delete.topic.enable=false").await;
        make_topics(&broker, &["a"]).await;
        for (version, code) in [(2, ErrorCode::INVALID_REQUEST), (3, ErrorCode::TOPIC_DELETION_DISABLED)] {
            let request = DeleteTopicsRequest { topic_names: vec!["a".into()], ..Default::default() };
            assert_eq!(ask!(broker, version, request).responses[0].error_code, code);
        }
    }
}
