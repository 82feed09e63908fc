//! The controller.
pub(crate) mod consensus;
