//! Compaction: of each key only the latest record is kept.
//!
//! A cleaner works on what a [`LogReader`](super::LogReader) shows, beside the log's owner, and asks the owner only to
//! exchange files. One round of a log:
//!
//! 1. [`Cleanable`] says how much of it was never cleaned, and whether that is enough to begin.
//! 2. The keys of that part go into a map, with their latest offsets, until it ends or the map is full.
//! 3. Everything up to there is copied, as far as the map allows, a group of segments into one. The rules are in
//!    `filter`.
//! 4. Each new segment takes the place of its group, so that a crash at any moment leaves either: see `swap`.
//!
//! *Invariants:* offsets never change and never go backwards; a segment always reaches to the next one; what is at or
//! behind the high watermark, or in the active segment, is not touched.

mod clean;
mod filter;
mod offset_map;
mod select;
mod swap;
mod transactions;

pub use clean::{CleanError, Cleaned, Cleaner, CleanerConfig, LogTask, Owner};
pub(super) use filter::{LastRecord, LastRecords};
pub use offset_map::HashKey;
pub use select::Cleanable;
pub(super) use swap::{Swap, finish_swaps};
