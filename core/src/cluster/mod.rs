//! The cluster from a client's side: what is known of it, connections to its brokers, and which one to ask.

pub(crate) mod metadata;
pub(crate) mod retry;
