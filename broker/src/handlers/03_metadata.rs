//! Metadata, versions 0 to 13: which brokers there are, and who leads which partition.
//!
//! - 0: an empty list of topics means all; from 1 on, null does, and an empty list means none.
//! - 4: the client may forbid that a missing topic is made.
//! - 8: what the client may do, if it asks; of the cluster to version 10 only, later by DescribeCluster.
//! - 10: topic ids in the answer (KIP-516); 12: also in the request.

use std::collections::HashSet;

use ottla_protocol::{
    error_code::ErrorCode,
    messages::metadata::{
        MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
        MetadataResponsePartition, MetadataResponseTopic,
    },
    types::{BrokerId, TopicName, Uuid},
};

use super::{
    Context, RequestContext,
    nodes::{CLUSTER_OPERATIONS, TOPIC_OPERATIONS, address, is_online, operations},
};
use crate::metadata::{
    image::{Image, Partition, Topic},
    is_internal,
};

/// The first version that takes topic ids; before it a topic must have a name.
const TOPIC_IDS_FROM: i16 = 12;

pub(crate) async fn handle(request: MetadataRequest, rq: &RequestContext, cx: &Context) -> MetadataResponse {
    let topic_operations = operations(request.include_topic_authorized_operations, TOPIC_OPERATIONS);
    let topics = match &request.topics {
        None => all(&cx.image.load(), topic_operations),
        Some(topics) if topics.is_empty() && rq.version == 0 => all(&cx.image.load(), topic_operations),
        Some(topics) => some(topics, &request, topic_operations, rq, cx).await,
    };
    // After the topics: one may have been made for this answer.
    let image = cx.image.load();
    let broker = |broker| {
        let (host, port) = address(broker, rq, cx)?;
        Some(MetadataResponseBroker { node_id: broker.id, host, port, rack: broker.rack.clone() })
    };
    let node = cx.controller.node();
    MetadataResponse {
        brokers: image.brokers().filter(|broker| !broker.fenced).filter_map(broker).collect(),
        cluster_id: Some(image.cluster_id().clone()),
        // Any broker passes requests on to the controller; this one is as good as another.
        controller_id: if is_online(&image, node) { node } else { BrokerId::NONE },
        topics,
        cluster_authorized_operations: operations(
            request.include_cluster_authorized_operations,
            CLUSTER_OPERATIONS,
        ),
        ..MetadataResponse::default()
    }
}

fn all(image: &Image, operations: i32) -> Vec<MetadataResponseTopic> {
    image.topics().map(|topic| describe(image, topic, operations)).collect()
}

async fn some(
    topics: &[MetadataRequestTopic],
    request: &MetadataRequest,
    operations: i32,
    rq: &RequestContext,
    cx: &Context,
) -> Vec<MetadataResponseTopic> {
    let nameless = |topic: &MetadataRequestTopic| topic.name.is_none() || !topic.topic_id.is_zero();
    if rq.version < TOPIC_IDS_FROM && topics.iter().any(nameless) {
        return topics.iter().map(|topic| invalid(topic)).collect();
    }
    let mut seen = HashSet::new();
    // Kafka: if one topic is asked for by its id, those by name are not answered.
    let ids: Vec<Uuid> =
        topics.iter().map(|t| t.topic_id).filter(|id| !id.is_zero() && seen.insert(*id)).collect();
    if !ids.is_empty() {
        let image = cx.image.load();
        return ids.into_iter().map(|id| by_id(&image, id, operations)).collect();
    }
    let mut seen = HashSet::new();
    let names = topics.iter().filter_map(|topic| topic.name.clone()).filter(|name| seen.insert(name.clone()));
    let names: Vec<TopicName> = names.collect();
    let made = match request.allow_auto_topic_creation && cx.config.auto_create_topics_enable {
        true => make_missing(&names, cx).await,
        false => Vec::new(),
    };
    let image = cx.image.load();
    let answer = |name: TopicName| match image.topic(&name) {
        Some(topic) => describe(&image, topic, operations),
        None => {
            let refused = made.iter().find(|(refused, _)| *refused == name);
            let code = refused.map_or_else(|| missing(&name), |&(_, code)| code);
            MetadataResponseTopic {
                error_code: code,
                is_internal: is_internal(&name),
                name: Some(name),
                topic_authorized_operations: operations,
                ..MetadataResponseTopic::default()
            }
        }
    };
    names.into_iter().map(answer).collect()
}

/// Makes the topics that are not there, and tells which could not be made, and why.
async fn make_missing(names: &[TopicName], cx: &Context) -> Vec<(TopicName, ErrorCode)> {
    let missing: Vec<TopicName> = {
        let image = cx.image.load();
        names.iter().filter(|name| image.topic(name).is_none()).cloned().collect()
    };
    if missing.is_empty() {
        return Vec::new();
    }
    match cx.controller.auto_create(missing.clone()).await {
        Ok(made) => {
            let refused = missing.into_iter().zip(made);
            refused.filter_map(|(name, made)| Some((name, made.err()?.code))).collect()
        }
        Err(error) => missing.into_iter().map(|name| (name, error.code)).collect(),
    }
}

fn missing(name: &TopicName) -> ErrorCode {
    match name.check() {
        Ok(()) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Err(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
    }
}

fn by_id(image: &Image, id: Uuid, operations: i32) -> MetadataResponseTopic {
    match image.topic_by_id(id) {
        Some(topic) => describe(image, topic, operations),
        None => MetadataResponseTopic {
            error_code: ErrorCode::UNKNOWN_TOPIC_ID,
            name: None,
            topic_id: id,
            topic_authorized_operations: operations,
            ..MetadataResponseTopic::default()
        },
    }
}

fn invalid(topic: &MetadataRequestTopic) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: ErrorCode::INVALID_REQUEST,
        // The answer cannot do without a name in these versions.
        name: Some(topic.name.clone().unwrap_or_default()),
        topic_id: topic.topic_id,
        ..MetadataResponseTopic::default()
    }
}

fn describe(image: &Image, topic: &Topic, operations: i32) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().enumerate();
    MetadataResponseTopic {
        error_code: ErrorCode::NONE,
        name: Some(topic.name.clone()),
        topic_id: topic.id,
        is_internal: is_internal(&topic.name),
        partitions: partitions
            .map(|(index, partition)| describe_partition(image, index, partition))
            .collect(),
        topic_authorized_operations: operations,
    }
}

fn describe_partition(image: &Image, index: usize, partition: &Partition) -> MetadataResponsePartition {
    let led = is_online(image, partition.leader);
    MetadataResponsePartition {
        error_code: if led { ErrorCode::NONE } else { ErrorCode::LEADER_NOT_AVAILABLE },
        partition_index: index as i32,
        leader_id: if led { partition.leader } else { BrokerId::NONE },
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.to_vec(),
        isr_nodes: partition.isr.to_vec(),
        offline_replicas: partition.replicas.iter().copied().filter(|&id| !is_online(image, id)).collect(),
    }
}
