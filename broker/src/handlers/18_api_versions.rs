//! ApiVersions, versions 0 to 5: which requests, in which versions, this broker serves.
//!
//! - An unknown version is answered in version 0, so that any client learns what to ask next.
//! - Produce is advertised from 0 although 3 is the first that works: old librdkafka turns compression off
//!   otherwise (KAFKA-18659).
//! - 3: the client says its name and version (KIP-511).
//! - 5: the client says which cluster it means; another one's client is told to start over (KIP-1242).

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, api_versions::ApiVersion},
};

use super::{Context, RequestContext};
use crate::server::dispatch;

pub(crate) async fn handle(
    request: ApiVersionsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> ApiVersionsResponse {
    if rq.version >= 3
        && !(is_software_name(&request.client_software_name)
            && is_software_name(&request.client_software_version))
    {
        return ApiVersionsResponse { error_code: ErrorCode::INVALID_REQUEST, ..Default::default() };
    }
    let image = cx.image.load();
    let other_cluster = request.cluster_id.as_ref().is_some_and(|id| id != image.cluster_id());
    let other_node = request.node_id >= 0 && request.node_id != cx.config.node_id;
    if other_cluster || other_node {
        return ApiVersionsResponse { error_code: ErrorCode::REBOOTSTRAP_REQUIRED, ..Default::default() };
    }
    // No feature is finalised before it is served: a client reads transaction.version and the like from here.
    ApiVersionsResponse { api_keys: advertised(), ..Default::default() }
}

/// The answer to a version that this broker does not have, in the layout of version 0.
pub(crate) fn unsupported_version() -> ApiVersionsResponse {
    let own = advertised().into_iter().filter(|a| a.api_key == ApiKey::ApiVersions as i16).collect();
    ApiVersionsResponse { error_code: ErrorCode::UNSUPPORTED_VERSION, api_keys: own, ..Default::default() }
}

fn advertised() -> Vec<ApiVersion> {
    dispatch::SERVED
        .iter()
        .map(|&key| ApiVersion {
            api_key: key as i16,
            min_version: if key == ApiKey::Produce { 0 } else { *key.versions().start() },
            max_version: key.latest_stable(),
        })
        .collect()
}

/// Letters, digits, `.` and `-`, beginning and ending with a letter or digit.
fn is_software_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    outer(name.chars().next()) && outer(name.chars().last()) && name.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_version_learns_of_this_api_alone() {
        let answer = unsupported_version();
        assert_eq!(answer.error_code, ErrorCode::UNSUPPORTED_VERSION);
        assert_eq!(answer.api_keys, [ApiVersion { api_key: 18, min_version: 0, max_version: 5 }]);
    }

    #[test]
    fn produce_is_advertised_from_0_and_all_else_as_it_is() {
        let produce = advertised().into_iter().find(|a| a.api_key == 0).unwrap();
        assert_eq!((produce.min_version, produce.max_version), (0, 13));
        let fetch = advertised().into_iter().find(|a| a.api_key == 1).unwrap();
        assert_eq!((fetch.min_version, fetch.max_version), (4, 18));
        let init = advertised().into_iter().find(|a| a.api_key == 22).unwrap();
        assert_eq!((init.min_version, init.max_version), (0, 5), "6 may still change");
    }

    #[test]
    fn software_names_follow_kip_511() {
        assert!(is_software_name("apache-kafka-java"));
        assert!(is_software_name("4.3.1"));
        for bad in ["", "-a", "a-", "a b", "a_b", "é"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
