//! What answers about the cluster have in common: where a broker is reached, and what a client may do.

use std::sync::Arc;

use ottla_protocol::types::{BrokerId, Str};

use super::{Context, RequestContext};
use crate::{
    metadata::image::{Broker, Image, Partition, Topic},
    replica::Table,
};

/// All that can be done with a topic, one bit an operation, as a broker without an authorizer answers
/// (`AclEntry.supportedOperations`): read, write, create, delete, alter, describe, describe and alter configs.
pub(super) const TOPIC_OPERATIONS: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);
/// All that can be done with a group: read, delete, describe, describe and alter configs.
pub(super) const GROUP_OPERATIONS: i32 = bits(&[3, 6, 8, 10, 11]);
/// All that can be done with a cluster: create, alter, describe, cluster action, describe and alter configs,
/// idempotent write.
pub(super) const CLUSTER_OPERATIONS: i32 = bits(&[5, 7, 8, 9, 10, 11, 12]);
/// "Not asked for", in place of operations.
pub(super) const NO_OPERATIONS: i32 = i32::MIN;

const fn bits(operations: &[i32]) -> i32 {
    let (mut bits, mut i) = (0, 0);
    while i < operations.len() {
        bits |= 1 << operations[i];
        i += 1;
    }
    bits
}

/// `operations` if they were asked for.
pub(super) fn operations(asked: bool, operations: i32) -> i32 {
    if asked { operations } else { NO_OPERATIONS }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_the_numbers_that_kafka_answers_without_an_authorizer() {
        assert_eq!((TOPIC_OPERATIONS, CLUSTER_OPERATIONS), (3576, 8096));
    }
}
