//! IncrementalAlterConfigs, versions 0 to 1: sets, deletes, appends to and subtracts from keys (KIP-339).

use ottla_protocol::{
    error_code::ErrorCode,
    messages::incremental_alter_configs::{
        AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
        IncrementalAlterConfigsResponse,
    },
    types::Str,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
};
use crate::{
    controller::{
        api_error::code_and_message,
        configs::{Alteration, Change},
    },
    metadata::image::resource,
};

pub(crate) async fn handle(
    request: IncrementalAlterConfigsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> IncrementalAlterConfigsResponse {
    let alteration = |asked: &AlterConfigsResource| Alteration {
        resource_type: asked.resource_type,
        resource_name: asked.resource_name.clone(),
        replace: false,
        changes: asked
            .configs
            .iter()
            .map(|config| Change {
                name: config.name.clone(),
                operation: config.config_operation,
                value: config.value.clone(),
            })
            .collect(),
    };
    let alterations = request.resources.iter().map(alteration).collect();
    let altered = alter(alterations, request.validate_only, rq, cx).await;
    let response = |(asked, (error_code, error_message)): (AlterConfigsResource, _)| {
        let AlterConfigsResource { resource_type, resource_name, .. } = asked;
        AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
    };
    let responses = request.resources.into_iter().zip(altered).map(response).collect();
    IncrementalAlterConfigsResponse { throttle_time_ms: 0, responses }
}

/// Changes resources; code and message for each, in order.
pub(super) async fn alter(
    mut alterations: Vec<Alteration>,
    validate_only: bool,
    rq: &RequestContext,
    cx: &Context,
) -> Vec<(ErrorCode, Option<Str>)> {
    let access = Access::of(rq, cx);
    let allowed: Vec<_> = alterations.iter().map(|alteration| check(alteration, &access)).collect();
    let mut each = allowed.iter();
    alterations.retain(|_| each.next().is_some_and(Result::is_ok));
    let count = alterations.len();
    let altered = match count {
        0 => Ok(Vec::new()),
        _ => cx.controller.alter_configs(alterations, validate_only).await,
    };
    let mut altered = altered.unwrap_or_else(|error| vec![Err(error); count]).into_iter();
    // The controller answers each that it was asked for.
    let unanswered = || Err(ErrorCode::UNKNOWN_SERVER_ERROR.into());
    let outcomes = allowed.into_iter().map(|allowed| match allowed {
        Ok(()) => altered.next().unwrap_or_else(unanswered),
        Err(code) => Err(code.into()),
    });
    outcomes.map(|outcome| code_and_message(&outcome)).collect()
}

fn check(alteration: &Alteration, access: &Access<'_>) -> Result<(), ErrorCode> {
    match alteration.resource_type {
        resource::TOPIC => access.check(access::ALTER_TOPIC_CONFIGS, &alteration.resource_name),
        resource::GROUP => access.check(access::ALTER_GROUP_CONFIGS, &alteration.resource_name),
        resource::BROKER | resource::BROKER_LOGGER | resource::CLIENT_METRICS => {
            access.check_cluster(access::ALTER_CONFIGS)
        }
        // There is no such type, as is said to everybody.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::incremental_alter_configs::AlterableConfig;

    use super::*;
    use crate::handlers::testing::{Broker, ask, make_topics};

    fn request(resource_type: i8, name: &str, key: &str, value: &str) -> IncrementalAlterConfigsRequest {
        let config = AlterableConfig { name: key.into(), config_operation: 0, value: Some(value.into()) };
        let resource =
            AlterConfigsResource { resource_type, resource_name: name.into(), configs: vec![config] };
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false }
    }

    #[tokio::test]
    async fn every_version_changes_one_key_and_leaves_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        make_topics(&broker, &["a"]).await;
        for (version, key) in [(0, "flush.ms"), (1, "retention.ms")] {
            let answer = ask!(broker, version, request(2, "a", key, "5"));
            assert_eq!(
                (answer.responses[0].error_code, &answer.responses[0].error_message),
                (ErrorCode::NONE, &None)
            );
        }
        assert_eq!(broker.cx.image.load().topic_settings(&"a".into()).unwrap().len(), 2);
    }

    #[tokio::test]
    async fn only_validating_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        let dry =
            IncrementalAlterConfigsRequest { validate_only: true, ..request(4, "1", "log.roll.ms", "5") };
        assert_eq!(ask!(broker, 1, dry).responses[0].error_code, ErrorCode::NONE);
        assert!(broker.cx.image.load().broker_settings("1").is_none());
        assert_eq!(
            ask!(broker, 1, request(4, "1", "log.roll.ms", "x")).responses[0].error_code,
            ErrorCode::INVALID_CONFIG
        );
        assert_eq!(
            ask!(broker, 1, request(4, "1", "node.id", "5")).responses[0].error_code,
            ErrorCode::INVALID_REQUEST
        );
    }
}
