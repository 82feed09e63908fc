//! The stage of `cargo xtask demo`: runs the services of `examples/one_bus`, shows what the broker knows of them while they work, and
//! audits what they have done.
//!
//! ```text
//! plan.rs: who plays ─► run.rs ─► service.rs: processes, and what they say
//!                         │  └──► cluster.rs: what the broker knows of groups and topics
//!                         ├─► view.rs: a frame of that ─► the terminal, or picture.rs
//!                         └─► audit.rs: what they say against what the topics hold
//! ```

pub mod audit;
pub mod cluster;
pub mod picture;
pub mod plan;
pub mod run;
mod service;
pub mod stand_in;
pub mod view;
