//! The cluster from a client's side: what is known of it, connections to its brokers, and which one to ask.

pub(crate) mod broker;
pub(crate) mod coordinator;
pub(crate) mod diagnosis;
pub(crate) mod list_offsets;
pub(crate) mod login;
pub(crate) mod metadata;
pub(crate) mod partition;
pub(crate) mod retry;
pub(crate) mod router;
pub(crate) mod runtime;
pub(crate) mod security;
pub(crate) mod tokens;
pub(crate) mod unreached;

pub(crate) use router::{Cluster, ClusterSettings, Purpose};

pub use list_offsets::{ListedOffset, OffsetSpec};
pub use partition::{OffsetAndMetadata, TopicPartition};
pub use tokens::{Token, TokenError, TokenProvider};
