//! What all bindings have in common, so that each of them holds conversions and nothing else.
//!
//! ```text
//!   C   Python   Node ...                 one glue crate per language: conversions
//!    └────┴───────┴──► ottla-bindings     handles, calls, one queue, one error, batches that cross as two buffers
//!                          └──► ottla     the client: all that has rules
//! ```
//!
//! - A **handle** ([`Producer`], [`Consumer`], [`Admin`]) is a client of the core, shared and safe from any thread. In a process
//!   that was forked from the one that made it, every call fails with `FORKED` and freeing leaks ([`fork`]); after a panic,
//!   every call fails with `PANIC` ([`panic`]).
//! - What takes time is a [`Call`]. It is waited for on the program's own thread, in slices, so that Ctrl-C comes through
//!   ([`Call::wait`]); or it runs on the client's I/O thread and ends in a function that puts its outcome on a queue
//!   ([`Call::start`]). There are no threads here.
//! - A [`CompletionQueue`] is where everything asynchronous ends: one wake when it stops being empty, by a file descriptor
//!   or a function, then one drain of all that is there.
//! - Deliveries come batch by batch ([`Producer::take_deliveries`]), records as one buffer and a table of 64 bytes for each
//!   ([`RecordBatch`]), records to be sent as one buffer and a table of 32 bytes for each ([`packed`]).
//! - A client that logs in by tokens of the program's own asks by a [`TokenRequest`], which is answered from anywhere.
//! - There is one error, [`BindingError`], whose numbers every language shares, and one way to configure, [`Config`].

pub mod admin;
pub mod batch;
pub mod blocking;
mod call;
pub mod config;
mod consumer;
pub mod error;
pub mod fork;
mod handle;
pub mod log;
mod outcomes;
pub mod packed;
pub mod panic;
mod producer;
mod queue;
mod sync;
mod tokens;
mod turn;
#[cfg(unix)]
mod wake;

pub use admin::Admin;
pub use batch::{RecordBatch, RecordView};
pub use blocking::Wait;
pub use call::Call;
pub use config::Config;
pub use consumer::{Consumer, Next};
pub use error::{BindingError, Result};
pub use producer::{OwnedRecord, Producer};
pub use queue::{CompletionQueue, Wake};
pub use tokens::{TokenRequest, TokenRequests};
#[cfg(unix)]
pub use wake::WakeFd;

/// The client itself, whose plain types cross unchanged.
pub use ottla as core;
