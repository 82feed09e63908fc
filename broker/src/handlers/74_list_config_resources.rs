//! ListConfigResources, versions 0 to 1: the resources that have a configuration, or may have one.
//!
//! Topics and brokers are told whether or not something was set for them, groups and client metrics only if it was:
//! a group may be configured before it is there, so a list of groups does not tell which.
//!
//! - 0: subscriptions to client metrics alone (KIP-1000).
//! - 1: every type, and a filter by types (KIP-1142).

use ottla_protocol::{
    error_code::ErrorCode,
    messages::list_config_resources::{
        ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
    },
    types::Str,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
};
use crate::metadata::image::{Image, resource};

/// What version 1 lists, in the order in which Kafka does.
const TYPES: [i8; 5] =
    [resource::GROUP, resource::CLIENT_METRICS, resource::BROKER_LOGGER, resource::BROKER, resource::TOPIC];

pub(crate) async fn handle(
    request: ListConfigResourcesRequest,
    rq: &RequestContext,
    cx: &Context,
) -> ListConfigResourcesResponse {
    if let Err(error_code) = Access::of(rq, cx).check_cluster(access::DESCRIBE_CONFIGS) {
        return ListConfigResourcesResponse { error_code, ..Default::default() };
    }
    let served: &[i8] = if rq.version == 0 { &[resource::CLIENT_METRICS] } else { &TYPES };
    let wanted = &request.resource_types;
    if wanted.iter().any(|resource_type| !served.contains(resource_type)) {
        let error_code = ErrorCode::UNSUPPORTED_VERSION;
        return ListConfigResourcesResponse { error_code, ..Default::default() };
    }
    let image = cx.image.load();
    let types = served.iter().filter(|it| wanted.is_empty() || wanted.contains(it));
    let listed = types.flat_map(|&resource_type| {
        let named = move |resource_name| ConfigResource { resource_name, resource_type };
        names(&image, resource_type).into_iter().map(named)
    });
    ListConfigResourcesResponse { config_resources: listed.collect(), ..Default::default() }
}

fn names(image: &Image, resource_type: i8) -> Vec<Str> {
    match resource_type {
        resource::TOPIC => image.topics().map(|topic| topic.name.0.clone()).collect(),
        resource::BROKER | resource::BROKER_LOGGER => {
            image.brokers().map(|broker| broker.id.to_string().into()).collect()
        }
        resource::GROUP => image.configured_groups().map(|id| id.0.clone()).collect(),
        resource::CLIENT_METRICS => image.configured_client_metrics().cloned().collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        controller::configs::{Alteration, Change, SET},
        handlers::testing::{Broker, ask, make_topics},
    };

    async fn configure(broker: &Broker, group: &str) {
        let change = Change {
            name: "consumer.session.timeout.ms".into(),
            operation: SET,
            value: Some("50000".into()),
        };
        let alteration = Alteration {
            resource_type: resource::GROUP,
            resource_name: group.into(),
            replace: false,
            changes: vec![change],
        };
        let answers = broker.cx.controller.alter_configs(vec![alteration], false).await.unwrap();
        answers.into_iter().for_each(Result::unwrap);
    }

    #[tokio::test]
    async fn every_type_is_listed_and_groups_only_if_they_are_configured() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        make_topics(&broker, &["a"]).await;
        configure(&broker, "g").await;
        let list = async |resource_types: &[i8]| {
            let request = ListConfigResourcesRequest { resource_types: resource_types.to_vec() };
            let answer = ask!(broker, 1, request);
            let listed = answer.config_resources.into_iter();
            (
                answer.error_code,
                listed.map(|it| (it.resource_type, it.resource_name.to_string())).collect::<Vec<_>>(),
            )
        };
        let (group, topic) = ((32, "g".to_owned()), (2, "a".to_owned()));
        let of_broker = |kind| (kind, "1".to_owned());
        assert_eq!(
            list(&[]).await,
            (ErrorCode::NONE, vec![group.clone(), of_broker(8), of_broker(4), topic.clone()])
        );
        assert_eq!(list(&[2, 32]).await, (ErrorCode::NONE, vec![group, topic]));
        assert_eq!(list(&[16]).await, (ErrorCode::NONE, vec![]));
        assert_eq!(list(&[2, 99]).await, (ErrorCode::UNSUPPORTED_VERSION, vec![]));
    }

    #[tokio::test]
    async fn version_0_knows_client_metrics_alone() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        configure(&broker, "g").await;
        let answer = ask!(broker, 0, ListConfigResourcesRequest::default());
        assert_eq!((answer.error_code, answer.config_resources), (ErrorCode::NONE, vec![]));
    }
}
