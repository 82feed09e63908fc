//! The client against real brokers: ours, and Apache Kafka. One program for all of it, so that the brokers are started once.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]
#![allow(clippy::print_stderr, reason = "says what is tested, and what is skipped")]

mod common;
mod secured;

mod admin;
mod consume;
mod groups;
mod health;
mod oauth;
mod produce;
mod rebootstrap;
mod security;
mod subscribe;
mod three_nodes;
