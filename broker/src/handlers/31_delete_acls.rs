//! DeleteAcls, versions 1 to 3: removes the access rules that filters match (KIP-140, KIP-290).

use ottla_protocol::messages::delete_acls::{DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse};

use super::{
    Context, RequestContext,
    access::{self, Access},
};

pub(crate) async fn handle(
    request: DeleteAclsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> DeleteAclsResponse {
    let filters = request.filters.len();
    let deleted = match Access::of(rq, cx).check_acls(access::ALTER_CLUSTER) {
        Ok(()) => cx.controller.delete_acls(request).await,
        Err(error) => Err(error),
    };
    let response = match deleted {
        Ok(response) => response,
        Err(error) => {
            let refused = DeleteAclsFilterResult {
                error_code: error.code,
                error_message: Some(error.message),
                ..DeleteAclsFilterResult::default()
            };
            return DeleteAclsResponse { throttle_time_ms: 0, filter_results: vec![refused; filters] };
        }
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
