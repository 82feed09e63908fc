//! Compaction.
mod filter;
mod offset_map;
mod transactions;
