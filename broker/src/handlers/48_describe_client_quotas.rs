//! DescribeClientQuotas, versions 0 and 1: the quotas that a filter matches (KIP-546).

use ottla_protocol::{
    error_code::ErrorCode,
    messages::describe_client_quotas::{
        DescribeClientQuotasRequest, DescribeClientQuotasResponse, EntityData, EntryData, ValueData,
    },
    types::Str,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
};
use crate::metadata::quotas::{InvalidFilter, QuotaFilter};

pub(crate) async fn handle(
    request: DescribeClientQuotasRequest,
    rq: &RequestContext,
    cx: &Context,
) -> DescribeClientQuotasResponse {
    let refuse = |error_code, message: Str| DescribeClientQuotasResponse {
        error_code,
        error_message: Some(message),
        entries: None,
        ..DescribeClientQuotasResponse::default()
    };
    if let Err(code) = Access::of(rq, cx).check_cluster(access::DESCRIBE_CONFIGS) {
        return refuse(code, Str::from_static(code.meaning()));
    }
    let filter = match QuotaFilter::of(&request.components, request.strict) {
        Ok(filter) => filter,
        Err(InvalidFilter::UnknownPart(why)) => return refuse(ErrorCode::UNSUPPORTED_VERSION, why.into()),
        Err(InvalidFilter::Invalid(why)) => return refuse(ErrorCode::INVALID_REQUEST, why.into()),
    };
    let image = cx.image.load();
    let matching = image.quotas().entities().filter(|(entity, _)| filter.matches(entity));
    let entries = matching.map(|(entity, values)| EntryData {
        entity: entity
            .parts()
            .map(|(entity_type, entity_name)| EntityData { entity_type, entity_name })
            .collect(),
        values: values
            .iter()
            .map(|(key, value)| ValueData { key: Str::from_static(key.name()), value: *value })
            .collect(),
    });
    DescribeClientQuotasResponse {
        error_message: None,
        entries: Some(entries.collect()),
        ..DescribeClientQuotasResponse::default()
    }
}
