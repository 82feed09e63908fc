//! CreateAcls, versions 1 to 3: adds access rules (KIP-140, KIP-290). They hold from the answer on.

use ottla_protocol::messages::create_acls::{AclCreationResult, CreateAclsRequest, CreateAclsResponse};

use super::{
    Context, RequestContext,
    access::{self, Access},
};

pub(crate) async fn handle(
    request: CreateAclsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> CreateAclsResponse {
    let creations = request.creations.clone();
    let created = match Access::of(rq, cx).check_acls(access::ALTER_CLUSTER) {
        Ok(()) => cx.controller.create_acls(request).await,
        Err(error) => Err(error),
    };
    let response = match created {
        Ok(response) => response,
        Err(error) => {
            let refused = AclCreationResult { error_code: error.code, error_message: Some(error.message) };
            return CreateAclsResponse { throttle_time_ms: 0, results: vec![refused; creations.len()] };
        }
    };
    for (acl, _) in creations.iter().zip(&response.results).filter(|(_, it)| !it.error_code.is_error()) {
        tracing::info!(
            by = %rq.session.principal,
            peer = %rq.peer,
            principal = %acl.principal.escape_debug(),
            host = %acl.host.escape_debug(),
            resource_type = acl.resource_type,
            resource = %acl.resource_name.escape_debug(),
            pattern_type = acl.resource_pattern_type,
            operation = acl.operation,
            permission_type = acl.permission_type,
            "an access rule was added"
        );
    }
    response
}
