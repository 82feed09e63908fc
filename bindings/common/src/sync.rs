//! What [`crate::CompletionQueue`] stands on. `tests/queue_loom.rs` compiles the queue a second time, over loom's.

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
