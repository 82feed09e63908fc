//! The replicated log server: Apache Kafka's protocol over real segment files.

#[allow(dead_code, reason = "the server that calls it is not wired yet")]
mod metadata;

#[allow(dead_code, reason = "the server that calls it is not wired yet")]
mod controller;
