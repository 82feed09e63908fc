//! DescribeAcls, versions 1 to 3: the access rules that a filter matches (KIP-140, KIP-290).

use ottla_protocol::{
    error_code::ErrorCode,
    messages::describe_acls::{
        AclDescription, DescribeAclsRequest, DescribeAclsResource, DescribeAclsResponse,
    },
};

use super::{
    Context, RequestContext,
    access::{self, Access},
};
use crate::{
    controller::ApiError,
    metadata::acls::{Acl, AclFilter, FilterNumbers},
};

pub(crate) async fn handle(
    request: DescribeAclsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> DescribeAclsResponse {
    match described(request, &Access::of(rq, cx), cx) {
        Ok(resources) => DescribeAclsResponse { resources, ..DescribeAclsResponse::default() },
        Err(error) => DescribeAclsResponse {
            error_code: error.code,
            error_message: Some(error.message),
            ..DescribeAclsResponse::default()
        },
    }
}

fn described(
    request: DescribeAclsRequest,
    access: &Access<'_>,
    cx: &Context,
) -> Result<Vec<DescribeAclsResource>, ApiError> {
    access.check_acls(access::DESCRIBE_CLUSTER)?;
    let filter = AclFilter::of(FilterNumbers {
        resource_type: request.resource_type_filter,
        name: request.resource_name_filter,
        pattern_type: request.pattern_type_filter,
        principal: request.principal_filter,
        host: request.host_filter,
        operation: request.operation,
        permission: request.permission_type,
    });
    let filter = filter.map_err(|why| ApiError::new(ErrorCode::INVALID_REQUEST, why))?;
    Ok(by_resource(cx.image.load().acls().matching(&filter).map(|(_, acl)| acl)))
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
