//! `ottla.node`: the native half of the package `ottla` for Node. Conversions only; what they convert is `ottla-bindings`.
//!
//! - Nothing of JavaScript is touched on an I/O thread, and nothing waits on JavaScript's: what takes time is given a number, the
//!   *token*, and ends on the queue of its thread's [`event_loop::EventLoop`], which is drained in one turn for all that has come.
//! - What is sent comes as one buffer and a table for many records; what was read goes as one buffer with a table for each batch.
//!   Both are copied: JavaScript's memory is its collector's.
//! - What goes wrong is thrown, or told, as an object of the package's own classes, which JavaScript makes.
//!
//! The interface between both halves is theirs alone: `node/src/native.ts` has its types.

mod admin;
mod consumer;
mod convert;
mod event_loop;
mod held;
mod log;
mod producer;
mod tokens;
