//! What the project's verbs share with its tests: the message schemas, and the names that they get in Rust.

pub mod codegen;
pub mod tree;
