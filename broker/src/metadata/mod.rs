//! What the cluster is: brokers, topics, partitions, configurations, as told by the metadata log.
//!
//! [`record`] is what the log holds, [`image`] what it adds up to, [`delta`] what changed between two images,
//! [`effective`] which configuration holds by one, [`scram`] who may log in, [`acls`] who may do what, [`quotas`] how
//! much of it. The controller's task is the only
//! one that replaces the image; everybody else reads the one they hold.

pub(crate) mod acls;
pub(crate) mod delta;
pub(crate) mod effective;
pub(crate) mod image;
pub(crate) mod quotas;
pub(crate) mod record;
pub(crate) mod scram;

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use ottla_protocol::types::TopicName;

pub(crate) use self::image::Image;

/// Where the newest image is found. Replaced whole, by the controller's task alone.
pub(crate) type SharedImage = Arc<PublishedImage>;

/// The newest image.
#[derive(Debug)]
pub(crate) struct PublishedImage {
    image: ArcSwap<Image>,
    /// Counts the changes of quotas: every request asks whether there was one, and looks at the image only then.
    quotas_revision: AtomicU64,
}

impl PublishedImage {
    pub(crate) fn new(image: Arc<Image>) -> Self {
        let revision = u64::from(image.quotas().entities().next().is_some());
        Self { image: ArcSwap::new(image), quotas_revision: AtomicU64::new(revision) }
    }

    /// Another one than before as soon as the quotas are; 0 as long as there were never any.
    pub(crate) fn quotas_revision(&self) -> u64 {
        self.quotas_revision.load(Ordering::Acquire)
    }

    /// Makes `next` the image. The controller's task alone does so.
    pub(crate) fn publish(&self, next: Arc<Image>) {
        let changes = !self.image.load().shares_quotas_with(&next);
        self.image.store(next);
        if changes {
            // Whoever sees it sees the image, too.
            self.quotas_revision.fetch_add(1, Ordering::Release);
        }
    }
}

impl Deref for PublishedImage {
    type Target = ArcSwap<Image>;

    fn deref(&self) -> &Self::Target {
        &self.image
    }
}

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
