//! AlterConfigs, versions 0 to 2: sets all keys of a resource; those not named go back to their defaults.
//!
//! Kept for old tools; IncrementalAlterConfigs does not have them race each other (KIP-339).

use ottla_protocol::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};

use super::{Context, RequestContext, incremental_alter_configs::alter};
use crate::controller::configs::{Alteration, Change, SET};

pub(crate) async fn handle(
    request: AlterConfigsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> AlterConfigsResponse {
    let alteration = |asked: &AlterConfigsResource| Alteration {
        resource_type: asked.resource_type,
        resource_name: asked.resource_name.clone(),
        replace: true,
        changes: asked
            .configs
            .iter()
            .map(|config| Change { name: config.name.clone(), operation: SET, value: config.value.clone() })
            .collect(),
    };
    let alterations = request.resources.iter().map(alteration).collect();
    let altered = alter(alterations, request.validate_only, rq, cx).await;
    let response = |(asked, (error_code, error_message)): (AlterConfigsResource, _)| {
        let AlterConfigsResource { resource_type, resource_name, .. } = asked;
        AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
    };
    let responses = request.resources.into_iter().zip(altered).map(response).collect();
    AlterConfigsResponse { throttle_time_ms: 0, responses }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::{error_code::ErrorCode, messages::alter_configs::AlterableConfig};

    use super::*;
    use crate::handlers::testing::{Broker, ask, make_topics};

    #[tokio::test]
    async fn every_version_sets_what_is_named_and_takes_away_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        make_topics(&broker, &["a"]).await;
        for (version, key) in [(0, "flush.ms"), (1, "retention.ms"), (2, "segment.ms")] {
            let config = AlterableConfig { name: key.into(), value: Some("5".into()) };
            let resource =
                AlterConfigsResource { resource_type: 2, resource_name: "a".into(), configs: vec![config] };
            let missing = AlterConfigsResource { resource_name: "b".into(), ..resource.clone() };
            let request = AlterConfigsRequest { resources: vec![resource, missing], validate_only: false };
            let answer = ask!(broker, version, request);
            let codes: Vec<_> = answer.responses.iter().map(|r| r.error_code).collect();
            assert_eq!(codes, [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);
            let set = broker.cx.image.load().topic_settings(&"a".into()).cloned().unwrap();
            assert_eq!(set.keys().map(|name| &**name).collect::<Vec<_>>(), [key]);
        }
    }
}
