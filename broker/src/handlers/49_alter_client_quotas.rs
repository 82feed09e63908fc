//! AlterClientQuotas, versions 0 and 1: sets quotas and takes them away (KIP-546).

use ottla_protocol::messages::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, ResponseEntryData,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
};

pub(crate) async fn handle(
    request: AlterClientQuotasRequest,
    rq: &RequestContext,
    cx: &Context,
) -> AlterClientQuotasResponse {
    let entities: Vec<_> = request.entries.iter().map(|entry| entry.entity.clone()).collect();
    let altered = match Access::of(rq, cx).check_cluster(access::ALTER_CONFIGS) {
        Ok(()) => cx.controller.alter_client_quotas(request).await,
        Err(code) => Err(code.into()),
    };
    altered.unwrap_or_else(|error| {
        let refused = |entity| ResponseEntryData {
            error_code: error.code,
            error_message: Some(error.message.clone()),
            entity,
        };
        AlterClientQuotasResponse {
            throttle_time_ms: 0,
            entries: entities.into_iter().map(refused).collect(),
        }
    })
}
