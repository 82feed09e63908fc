//! The C interface of the Ottla client. `include/ottla.h` is generated from this crate, text and all.
//!
//! Every function goes through [`border`]: a panic ends there, pointers are read there, and there is no unsafe code elsewhere.
//! Handles are reference counts over those of `ottla-bindings`; there is no logic here.

#![allow(non_camel_case_types, reason = "C's names")]

pub mod admin;
pub mod batch;
mod border;
pub mod call;
pub mod config;
pub mod consumer;
pub mod error;
pub mod error_code;
pub mod library;
pub mod metrics;
pub mod partitions;
pub mod producer;
pub mod queue;
pub mod rebalance;
pub mod result;
pub mod tokens;
