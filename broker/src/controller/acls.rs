//! What becomes of access rules. The rules of Kafka's `AclControlManager` and `AclApis`.

use std::collections::BTreeSet;

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        create_acls::{AclCreation, AclCreationResult, CreateAclsRequest, CreateAclsResponse},
        delete_acls::{
            DeleteAclsFilter, DeleteAclsFilterResult, DeleteAclsMatchingAcl, DeleteAclsRequest,
            DeleteAclsResponse,
        },
        metadata_log::remove_access_control_entry_record::RemoveAccessControlEntryRecord,
    },
    types::Uuid,
};

use super::{ApiError, Decision, api_error::code_and_message};
use crate::metadata::{
    acls::{Acl, AclFilter, CLUSTER_NAME, FilterNumbers, Operation, PatternType, Permission, ResourceType},
    image::Image,
};

/// Most rules that one request adds or removes (`QuorumController.MAX_RECORDS_PER_USER_OP`).
pub(crate) const ACLS_PER_REQUEST_MAX: usize = 10_000;
/// Most rules that there are.
pub(crate) const ACLS_MAX: usize = 100_000;

const _: () = assert!(ACLS_PER_REQUEST_MAX <= ACLS_MAX);

/// Adds rules. Each has its own outcome; one that is there already is as good as added.
pub(crate) fn create(
    image: &Image,
    request: &CreateAclsRequest,
    new_id: &mut impl FnMut() -> Uuid,
) -> Decision<CreateAclsResponse> {
    let mut added = BTreeSet::new();
    let mut result = |creation| {
        let outcome = acl(creation).and_then(|acl| {
            if image.acls().contains(&acl) || added.contains(&acl) {
                return Ok(());
            }
            if added.len() >= ACLS_PER_REQUEST_MAX || image.acls().len() + added.len() >= ACLS_MAX {
                let message = format!(
                    "a request adds at most {ACLS_PER_REQUEST_MAX} access rules, and there are at most {ACLS_MAX}"
                );
                return Err(ApiError::new(ErrorCode::POLICY_VIOLATION, message));
            }
            added.insert(acl);
            Ok(())
        });
        let (error_code, error_message) = code_and_message(&outcome);
        AclCreationResult { error_code, error_message }
    };
    let results = request.creations.iter().map(&mut result).collect();
    let records = added.iter().map(|acl| acl.record(new_id()).into()).collect();
    Decision { records, answer: CreateAclsResponse { throttle_time_ms: 0, results } }
}

fn acl(creation: &AclCreation) -> Result<Acl, ApiError> {
    let invalid = |message: String| ApiError::new(ErrorCode::INVALID_REQUEST, message);
    let unknown = |what: &str, number: i8| invalid(format!("`{number}` is no {what} that a rule may have"));
    let resource_type = ResourceType::of(creation.resource_type)
        .ok_or_else(|| unknown("resource type", creation.resource_type))?;
    let name = &creation.resource_name;
    if resource_type == ResourceType::Cluster && *name != CLUSTER_NAME {
        return Err(invalid(format!("the cluster's only name is `{CLUSTER_NAME}`")));
    }
    if name.is_empty() {
        return Err(invalid("the resource's name is empty".to_owned()));
    }
    let principal = &creation.principal;
    if !principal.contains(':') {
        let shown = principal.escape_debug();
        return Err(invalid(format!("the principal `{shown}` is not written as `User:NAME`")));
    }
    Ok(Acl {
        resource_type,
        name: name.detached(),
        pattern_type: PatternType::of(creation.resource_pattern_type)
            .ok_or_else(|| unknown("pattern type", creation.resource_pattern_type))?,
        principal: principal.detached(),
        host: creation.host.detached(),
        operation: Operation::of(creation.operation)
            .ok_or_else(|| unknown("operation", creation.operation))?,
        permission: Permission::of(creation.permission_type)
            .ok_or_else(|| unknown("permission type", creation.permission_type))?,
    })
}

/// Removes the rules that filters match; a rule that several match is told to each.
pub(crate) fn delete(image: &Image, request: &DeleteAclsRequest) -> Decision<DeleteAclsResponse> {
    let mut removed = BTreeSet::new();
    let result = |filter: &DeleteAclsFilter| match matching(image, filter, &mut removed) {
        Ok(matching_acls) => DeleteAclsFilterResult { matching_acls, ..DeleteAclsFilterResult::default() },
        Err(error) => DeleteAclsFilterResult {
            error_code: error.code,
            error_message: Some(error.message),
            ..DeleteAclsFilterResult::default()
        },
    };
    let filter_results = request.filters.iter().map(result).collect();
    let records = removed.into_iter().map(|id| RemoveAccessControlEntryRecord { id }.into()).collect();
    Decision { records, answer: DeleteAclsResponse { throttle_time_ms: 0, filter_results } }
}

/// What a filter matches, noted in `removed`; too many leave `removed` as it was.
fn matching(
    image: &Image,
    filter: &DeleteAclsFilter,
    removed: &mut BTreeSet<Uuid>,
) -> Result<Vec<DeleteAclsMatchingAcl>, ApiError> {
    let filter = AclFilter::of(FilterNumbers {
        resource_type: filter.resource_type_filter,
        name: filter.resource_name_filter.clone(),
        pattern_type: filter.pattern_type_filter,
        principal: filter.principal_filter.clone(),
        host: filter.host_filter.clone(),
        operation: filter.operation,
        permission: filter.permission_type,
    });
    let filter = filter.map_err(|why| ApiError::new(ErrorCode::INVALID_REQUEST, why))?;
    let found: Vec<_> = image.acls().matching(&filter).collect();
    let new = found.iter().filter(|(id, _)| !removed.contains(id)).count();
    if removed.len() + new > ACLS_PER_REQUEST_MAX {
        let message =
            format!("a request removes at most {ACLS_PER_REQUEST_MAX} access rules; narrow the filter");
        return Err(ApiError::new(ErrorCode::POLICY_VIOLATION, message));
    }
    removed.extend(found.iter().map(|(id, _)| *id));
    let told = |(_, acl): (Uuid, &Acl)| DeleteAclsMatchingAcl {
        resource_type: acl.resource_type.number(),
        resource_name: acl.name.clone(),
        pattern_type: acl.pattern_type.number(),
        principal: acl.principal.clone(),
        host: acl.host.clone(),
        operation: acl.operation.number(),
        permission_type: acl.permission.number(),
        ..DeleteAclsMatchingAcl::default()
    };
    Ok(found.into_iter().map(told).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::{cluster_of, counting_ids};

    fn creation(name: &str) -> AclCreation {
        AclCreation {
            resource_type: 2,
            resource_name: name.into(),
            resource_pattern_type: 3,
            principal: "User:alice".into(),
            host: "*".into(),
            operation: 3,
            permission_type: 3,
        }
    }

    fn by_name(name: Option<&str>) -> DeleteAclsFilter {
        DeleteAclsFilter {
            resource_type_filter: 2,
            resource_name_filter: name.map(Into::into),
            pattern_type_filter: 1,
            principal_filter: None,
            host_filter: None,
            operation: 1,
            permission_type: 1,
        }
    }

    #[test]
    fn a_rule_is_added_once_however_often_it_is_asked_for() {
        let image = cluster_of(&[1]);
        let request = CreateAclsRequest { creations: vec![creation("a"), creation("a"), creation("b")] };
        let made = create(&image, &request, &mut counting_ids());
        assert!(made.answer.results.iter().all(|result| result.error_code == ErrorCode::NONE));
        assert_eq!((made.answer.results.len(), made.records.len()), (3, 2));
        let image = image.apply(&made.records, 1).unwrap();
        assert_eq!(image.acls().len(), 2);
        assert!(create(&image, &request, &mut counting_ids()).records.is_empty());
    }

    #[test]
    fn what_is_no_rule_is_refused_and_the_others_are_added() {
        let cluster = |name| AclCreation { resource_type: 4, ..creation(name) };
        let creations = vec![
            AclCreation { resource_type: 1, ..creation("a") },
            AclCreation { resource_pattern_type: 2, ..creation("a") },
            AclCreation { operation: 1, ..creation("a") },
            AclCreation { permission_type: 1, ..creation("a") },
            AclCreation { principal: "alice".into(), ..creation("a") },
            creation(""),
            cluster("another"),
            cluster(CLUSTER_NAME),
        ];
        let request = CreateAclsRequest { creations };
        let made = create(&cluster_of(&[1]), &request, &mut counting_ids());
        let codes: Vec<_> = made.answer.results.iter().map(|result| result.error_code).collect();
        let mut expected = vec![ErrorCode::INVALID_REQUEST; 7];
        expected.push(ErrorCode::NONE);
        assert_eq!(codes, expected);
        assert_eq!(made.records.len(), 1);
    }

    #[test]
    fn filters_remove_what_they_match_once() {
        let image = cluster_of(&[1]);
        let request = CreateAclsRequest { creations: vec![creation("a"), creation("b"), creation("c")] };
        let image = image.apply(&create(&image, &request, &mut counting_ids()).records, 1).unwrap();
        let wrong = DeleteAclsFilter { operation: 99, ..by_name(None) };
        let filters =
            vec![by_name(Some("a")), by_name(Some("a")), wrong, by_name(Some("x")), by_name(Some("b"))];
        let removed = delete(&image, &DeleteAclsRequest { filters });
        let told: Vec<_> = removed
            .answer
            .filter_results
            .iter()
            .map(|result| (result.error_code, result.matching_acls.len()))
            .collect();
        use ErrorCode as E;
        assert_eq!(told, [(E::NONE, 1), (E::NONE, 1), (E::INVALID_REQUEST, 0), (E::NONE, 0), (E::NONE, 1)]);
        let image = image.apply(&removed.records, 1).unwrap();
        assert_eq!(image.acls().len(), 1);
    }

    #[test]
    fn a_request_adds_and_removes_no_more_than_its_limit() {
        let image = cluster_of(&[1]);
        let many = (0..=ACLS_PER_REQUEST_MAX).map(|i| creation(&i.to_string())).collect();
        let made = create(&image, &CreateAclsRequest { creations: many }, &mut counting_ids());
        assert_eq!(made.records.len(), ACLS_PER_REQUEST_MAX);
        assert_eq!(made.answer.results.last().unwrap().error_code, ErrorCode::POLICY_VIOLATION);
        let image = image.apply(&made.records, 1).unwrap();
        let one_more = CreateAclsRequest { creations: vec![creation("one more")] };
        let image = image.apply(&create(&image, &one_more, &mut || Uuid(1)).records, 1).unwrap();
        let removed = delete(&image, &DeleteAclsRequest { filters: vec![by_name(None)] });
        assert_eq!(removed.answer.filter_results[0].error_code, ErrorCode::POLICY_VIOLATION);
        assert!(removed.records.is_empty());
    }
}
