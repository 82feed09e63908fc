//! What coordinates groups: their state lives in `__consumer_offsets`, and in memory only what that tells.

pub(crate) mod group;
pub(crate) mod record;
pub(crate) mod runtime;
#[cfg(feature = "simulation")]
pub mod standalone;
