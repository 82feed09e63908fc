//! The brokers of a cluster.

use ottla_protocol::{messages::describe_cluster::DescribeClusterRequest, types::BrokerId};

use super::{Admin, outcome};
use crate::error::Result;

/// A cluster as a broker sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterDescription {
    /// Its id.
    pub cluster_id: String,
    /// The broker that takes the controller's requests, if there is a controller.
    pub controller: Option<BrokerId>,
    /// Its brokers, by id.
    pub brokers: Vec<Broker>,
}

/// A broker and where it listens.
#[derive(Clone, Debug, PartialEq)]
pub struct Broker {
    /// Its id (`node.id`).
    pub id: BrokerId,
    /// Name or address to connect to.
    pub host: String,
    /// TCP port.
    pub port: i32,
    /// Its rack (`broker.rack`).
    pub rack: Option<String>,
}

impl Admin {
    /// The cluster's id, controller and brokers.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription> {
        let request = DescribeClusterRequest { endpoint_type: 1, ..Default::default() };
        let (cluster, deadline) = (self.cluster.clone(), self.deadline());
        let response = self.runtime.run(async move { cluster.call_any(&request, deadline).await }).await?;
        outcome(response.error_code, response.error_message.as_deref(), || "describe cluster".to_owned())?;
        let mut brokers: Vec<Broker> = response
            .brokers
            .into_iter()
            .map(|broker| Broker {
                id: broker.broker_id,
                host: broker.host.to_string(),
                port: broker.port,
                rack: broker.rack.map(|rack| rack.to_string()),
            })
            .collect();
        brokers.sort_unstable_by_key(|broker| broker.id);
        Ok(ClusterDescription {
            cluster_id: response.cluster_id.to_string(),
            controller: (response.controller_id != BrokerId::NONE).then_some(response.controller_id),
            brokers,
        })
    }
}
