//! What the cluster is: brokers, topics, partitions, configurations, as told by the metadata log.
//!
//! [`record`] is what the log holds, [`image`] what it adds up to, [`delta`] what changed between two images,
//! [`effective`] which configuration holds by one, [`scram`] who may log in, [`acls`] who may do what. The controller's task is the only
//! one that replaces the image; everybody else reads the one they hold.

pub(crate) mod acls;
pub(crate) mod delta;
pub(crate) mod effective;
pub(crate) mod image;
pub(crate) mod record;
pub(crate) mod scram;

use std::sync::Arc;

use arc_swap::ArcSwap;
use ottla_protocol::types::TopicName;

pub(crate) use self::image::Image;

/// Where the newest image is found. Replaced whole, by the controller's task alone.
pub(crate) type SharedImage = Arc<ArcSwap<Image>>;

/// The topic of the metadata log itself (`Topic.CLUSTER_METADATA_TOPIC_NAME`).
pub(crate) const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

/// The topic in which group coordinators keep their state (`Topic.GROUP_METADATA_TOPIC_NAME`).
pub(crate) const CONSUMER_OFFSETS_TOPIC: TopicName = TopicName::from_static("__consumer_offsets");

/// Topics that coordinators keep their state in (`Topic.INTERNAL_TOPICS`).
const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__share_group_state", "__transaction_state"];

/// Whether clients are told that the topic is the cluster's own.
pub(crate) fn is_internal(topic: &str) -> bool {
    INTERNAL_TOPICS.contains(&topic)
}
