//! The replicated log server: Apache Kafka's protocol over real segment files.

pub mod config;
#[allow(dead_code, reason = "the server that calls it is not wired yet")]
mod controller;
#[allow(dead_code, reason = "the server that calls it is not wired yet")]
mod listeners;
#[allow(dead_code, reason = "the server that calls it is not wired yet")]
mod metadata;
mod start_error;
mod time;

pub use start_error::StartError;
