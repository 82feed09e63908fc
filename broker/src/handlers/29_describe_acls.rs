//! DescribeAcls, versions 1 to 3: the access rules that a filter matches (KIP-140, KIP-290).

use ottla_protocol::{
    error_code::ErrorCode,
    messages::describe_acls::{
        AclDescription, DescribeAclsRequest, DescribeAclsResource, DescribeAclsResponse,
    },
    types::Str,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
};
use crate::metadata::acls::{Acl, AclFilter, FilterNumbers};

/// What is said to who asks for rules where none are looked at.
pub(super) const NO_AUTHORIZER: &str =
    "the broker has no authorizer; set `authorizer.class.name` to have access rules";

pub(crate) async fn handle(
    request: DescribeAclsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> DescribeAclsResponse {
    let refuse = |error_code: ErrorCode, message: Str| DescribeAclsResponse {
        error_code,
        error_message: Some(message),
        ..DescribeAclsResponse::default()
    };
    let access = Access::of(rq, cx);
    if let Err(code) = access.check_cluster(access::DESCRIBE_CLUSTER) {
        return refuse(code, Str::from_static(code.meaning()));
    }
    if !access.is_guarded() {
        return refuse(ErrorCode::SECURITY_DISABLED, Str::from_static(NO_AUTHORIZER));
    }
    let filter = AclFilter::of(FilterNumbers {
        resource_type: request.resource_type_filter,
        name: request.resource_name_filter,
        pattern_type: request.pattern_type_filter,
        principal: request.principal_filter,
        host: request.host_filter,
        operation: request.operation,
        permission: request.permission_type,
    });
    match filter {
        Ok(filter) => DescribeAclsResponse {
            resources: by_resource(cx.image.load().acls().matching(&filter).map(|(_, acl)| acl)),
            ..DescribeAclsResponse::default()
        },
        Err(why) => refuse(ErrorCode::INVALID_REQUEST, Str::from(why)),
    }
}

/// Rules by what they guard; those of one resource come together.
fn by_resource<'a>(acls: impl Iterator<Item = &'a Acl>) -> Vec<DescribeAclsResource> {
    let mut resources: Vec<DescribeAclsResource> = Vec::new();
    for acl in acls {
        let (resource_type, pattern_type) = (acl.resource_type.number(), acl.pattern_type.number());
        let description = AclDescription {
            principal: acl.principal.clone(),
            host: acl.host.clone(),
            operation: acl.operation.number(),
            permission_type: acl.permission.number(),
        };
        match resources.last_mut() {
            Some(last)
                if last.resource_type == resource_type
                    && last.pattern_type == pattern_type
                    && last.resource_name == acl.name =>
            {
                last.acls.push(description);
            }
            _ => resources.push(DescribeAclsResource {
                resource_type,
                resource_name: acl.name.clone(),
                pattern_type,
                acls: vec![description],
            }),
        }
    }
    resources
}
