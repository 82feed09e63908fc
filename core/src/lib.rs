//! The client.

pub mod config;
