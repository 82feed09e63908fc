//! CreateAcls, versions 1 to 3: adds access rules (KIP-140, KIP-290). They hold from the answer on.

use ottla_protocol::{
    error_code::ErrorCode,
    messages::create_acls::{AclCreationResult, CreateAclsRequest, CreateAclsResponse},
    types::Str,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
    describe_acls::NO_AUTHORIZER,
};

pub(crate) async fn handle(
    request: CreateAclsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> CreateAclsResponse {
    let creations = request.creations.clone();
    let refuse = |error_code: ErrorCode, message: Str| {
        let result = AclCreationResult { error_code, error_message: Some(message) };
        CreateAclsResponse { throttle_time_ms: 0, results: vec![result; creations.len()] }
    };
    let access = Access::of(rq, cx);
    if let Err(code) = access.check_cluster(access::ALTER_CLUSTER) {
        return refuse(code, Str::from_static(code.meaning()));
    }
    if !access.is_guarded() {
        return refuse(ErrorCode::SECURITY_DISABLED, Str::from_static(NO_AUTHORIZER));
    }
    let response = match cx.controller.create_acls(request).await {
        Ok(response) => response,
        Err(error) => return refuse(error.code, error.message),
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
