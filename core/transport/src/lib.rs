//! Connections that carry frames: a size, then that many bytes. Both client and broker are built on this.
//!
//! - [`FrameReader`] takes frames off a byte stream, under limits and a budget
//! - [`write_pieces`] writes frames made of pieces by vectored writes
//! - [`Connection`] is a client's connection: requests in a pipe, answers matched to them
//! - [`Diagnosis`] says what a failure means, and what to do about it
//! - [`jwt`] checks signed tokens, and [`provider`] asks whoever makes them
//! - [`sasl`] has the exchanges that tell who somebody is
//! - [`tls`] makes connections that nobody else can read or change
//!
//! *Invariant:* knows no messages, only frames and correlation ids.

#![forbid(unsafe_code)]

mod client_connection;
mod diagnosis;
mod frame_error;
mod frame_reader;
mod frame_writer;
pub mod jwt;
pub mod provider;
pub mod sasl;
pub mod tls;
mod transport_error;

pub use client_connection::{Answer, ConnectOptions, Connection, Interlude};
pub use diagnosis::{Diagnosis, Speaks, in_words};
pub use frame_error::FrameError;
pub use frame_reader::{Budget, Frame, FrameLimits, FrameReader};
pub use frame_writer::write_pieces;
pub use transport_error::{Cause, TransportError};
