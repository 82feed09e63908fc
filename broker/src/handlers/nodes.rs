//! What answers about the cluster have in common: where a broker is reached, and who leads.

use std::sync::Arc;

use ottla_protocol::types::{BrokerId, Str};

use super::{Context, RequestContext};
use crate::{
    metadata::image::{Broker, Image, Partition, Topic},
    replica::Table,
};

/// "Not asked for", in place of operations.
pub(super) const NO_OPERATIONS: i32 = i32::MIN;

/// Host and port at which the client reaches `broker`.
///
/// Without `advertised.listeners` this broker tells the address at which the client has just reached it: what works
/// for the connection works for the next. A mapped port is the case for the setting.
pub(super) fn address(broker: &Broker, rq: &RequestContext, cx: &Context) -> Option<(Str, i32)> {
    let local_host = || Str::from(rq.local.ip().to_canonical().to_string());
    let advertised = cx.config.advertised_listeners.as_ref().is_some_and(|listeners| !listeners.is_empty());
    if broker.id == cx.controller.node() && !advertised {
        return Some((local_host(), rq.local.port().into()));
    }
    let endpoint = match &*broker.endpoints {
        [only] => only,
        several => {
            let listener = &rq.session.listening.name;
            several.iter().find(|endpoint| endpoint.listener.eq_ignore_ascii_case(listener))?
        }
    };
    let host = if endpoint.host.is_empty() { local_host() } else { endpoint.host.clone() };
    Some((host, endpoint.port.into()))
}

/// The cluster as clients are told of it: what the metadata says, but for partitions whose disk has failed here.
pub(super) struct Cluster {
    pub(super) image: Arc<Image>,
    table: Arc<Table>,
    node: BrokerId,
}

impl Cluster {
    pub(super) fn now(cx: &Context) -> Self {
        Self { image: cx.image.load_full(), table: cx.replicas.table(), node: cx.controller.node() }
    }

    /// The leader of a partition, if it can serve it.
    pub(super) fn leader(&self, topic: &Topic, index: i32, partition: &Partition) -> Option<BrokerId> {
        Some(partition.leader).filter(|leader| self.serves(*leader, topic, index))
    }

    /// The replicas that are not there: their broker is away, or their disk.
    pub(super) fn offline_replicas(&self, topic: &Topic, index: i32, partition: &Partition) -> Vec<BrokerId> {
        partition.replicas.iter().copied().filter(|id| !self.serves(*id, topic, index)).collect()
    }

    fn serves(&self, broker: BrokerId, topic: &Topic, index: i32) -> bool {
        is_online(&self.image, broker) && !(broker == self.node && self.table.is_offline(topic.id, index))
    }
}

/// Whether a broker takes part: brokers that are down or fenced are as good as absent.
pub(super) fn is_online(image: &Image, broker: BrokerId) -> bool {
    image.broker(broker).is_some_and(|broker| !broker.fenced)
}
