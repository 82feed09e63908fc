//! DescribeCluster, versions 0 to 2: the cluster's id and brokers (KIP-700).
//!
//! - 1: the client says whether it means brokers or controllers (KIP-919).
//! - 2: fenced brokers, if it asks for them (KIP-1073).

use ottla_protocol::{
    error_code::ErrorCode,
    messages::describe_cluster::{DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse},
    types::{BrokerId, Str},
};

use super::{
    Context, RequestContext,
    access::Access,
    nodes::{address, is_online},
};

/// The kinds of endpoint that a client may mean (`EndpointType`).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) async fn handle(
    request: DescribeClusterRequest,
    rq: &RequestContext,
    cx: &Context,
) -> DescribeClusterResponse {
    let refuse = |code, message: &'static str| DescribeClusterResponse {
        error_code: code,
        error_message: Some(Str::from_static(message)),
        ..DescribeClusterResponse::default()
    };
    match request.endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            let message = "this is a broker's endpoint; ask a controller's for controllers";
            return refuse(ErrorCode::MISMATCHED_ENDPOINT_TYPE, message);
        }
        _ => {
            return refuse(
                ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
                "an endpoint is a broker's, 1, or a controller's, 2",
            );
        }
    }
    let image = cx.image.load();
    let broker = |broker| {
        let (host, port) = address(broker, rq, cx)?;
        Some(DescribeClusterBroker {
            broker_id: broker.id,
            host,
            port,
            rack: broker.rack.clone(),
            is_fenced: broker.fenced,
        })
    };
    let node = cx.controller.node();
    DescribeClusterResponse {
        error_message: None,
        endpoint_type: BROKERS,
        cluster_id: image.cluster_id().clone(),
        controller_id: if is_online(&image, node) { node } else { BrokerId::NONE },
        brokers: image
            .brokers()
            .filter(|broker| !broker.fenced || request.include_fenced_brokers)
            .filter_map(broker)
            .collect(),
        cluster_authorized_operations: Access::of(rq, cx)
            .cluster_operations(request.include_cluster_authorized_operations),
        ..DescribeClusterResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::testing::{Broker, ask};

    #[tokio::test]
    async fn every_version_tells_the_cluster_and_where_this_broker_was_reached() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        for version in 0..=2 {
            let answer = ask!(broker, version, DescribeClusterRequest::default());
            assert_eq!((&*answer.cluster_id, answer.controller_id), ("cluster", BrokerId(1)));
            let told: Vec<_> =
                answer.brokers.iter().map(|b| (b.broker_id.0, &*b.host, b.port, b.is_fenced)).collect();
            assert_eq!(told, [(1, "10.0.0.7", 9092, false)]);
            assert_eq!(answer.cluster_authorized_operations, i32::MIN);
        }
        let asking =
            DescribeClusterRequest { include_cluster_authorized_operations: true, ..Default::default() };
        assert_eq!(ask!(broker, 0, asking).cluster_authorized_operations, 8096);
    }

    #[tokio::test]
    async fn who_wants_controllers_is_told_that_this_is_a_brokers_endpoint() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        for (endpoint_type, code) in
            [(2, ErrorCode::MISMATCHED_ENDPOINT_TYPE), (3, ErrorCode::UNSUPPORTED_ENDPOINT_TYPE)]
        {
            let request = DescribeClusterRequest { endpoint_type, ..DescribeClusterRequest::default() };
            assert_eq!(ask!(broker, 1, request).error_code, code);
        }
    }
}
