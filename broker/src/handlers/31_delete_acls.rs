//! DeleteAcls, versions 1 to 3: removes the access rules that filters match (KIP-140, KIP-290).

use ottla_protocol::{
    error_code::ErrorCode,
    messages::delete_acls::{DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse},
    types::Str,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
    describe_acls::NO_AUTHORIZER,
};

pub(crate) async fn handle(
    request: DeleteAclsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> DeleteAclsResponse {
    let filters = request.filters.len();
    let refuse = |error_code: ErrorCode, message: Str| {
        let result = DeleteAclsFilterResult {
            error_code,
            error_message: Some(message),
            ..DeleteAclsFilterResult::default()
        };
        DeleteAclsResponse { throttle_time_ms: 0, filter_results: vec![result; filters] }
    };
    let access = Access::of(rq, cx);
    if let Err(code) = access.check_cluster(access::ALTER_CLUSTER) {
        return refuse(code, Str::from_static(code.meaning()));
    }
    if !access.is_guarded() {
        return refuse(ErrorCode::SECURITY_DISABLED, Str::from_static(NO_AUTHORIZER));
    }
    let response = match cx.controller.delete_acls(request).await {
        Ok(response) => response,
        Err(error) => return refuse(error.code, error.message),
    };
    for acl in response.filter_results.iter().flat_map(|result| &result.matching_acls) {
        tracing::info!(
            by = %rq.session.principal,
            peer = %rq.peer,
            principal = %acl.principal.escape_debug(),
            host = %acl.host.escape_debug(),
            resource_type = acl.resource_type,
            resource = %acl.resource_name.escape_debug(),
            pattern_type = acl.pattern_type,
            operation = acl.operation,
            permission_type = acl.permission_type,
            "an access rule was removed"
        );
    }
    response
}
