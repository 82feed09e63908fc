//! IncrementalAlterConfigs, versions 0 to 1: sets, deletes, appends to and subtracts from keys (KIP-339).

use ottla_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use super::{Context, RequestContext};
use crate::controller::{
    api_error::code_and_message,
    configs::{Alteration, Change},
};

pub(crate) async fn handle(
    request: IncrementalAlterConfigsRequest,
    _rq: &RequestContext,
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
    let altered = match cx.controller.alter_configs(alterations, request.validate_only).await {
        Ok(altered) => altered,
        Err(error) => vec![Err(error); request.resources.len()],
    };
    let response = |(asked, altered): (AlterConfigsResource, _)| {
        let (error_code, error_message) = code_and_message(&altered);
        AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: asked.resource_type,
            resource_name: asked.resource_name,
        }
    };
    let responses = request.resources.into_iter().zip(altered).map(response).collect();
    IncrementalAlterConfigsResponse { throttle_time_ms: 0, responses }
}
