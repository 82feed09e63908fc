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
    nodes::{CLUSTER_OPERATIONS, address, is_online, operations},
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
        cluster_authorized_operations: operations(
            request.include_cluster_authorized_operations,
            CLUSTER_OPERATIONS,
        ),
        ..DescribeClusterResponse::default()
    }
}
