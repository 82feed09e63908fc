//! One behaviour for all: what the clients of all languages must do alike, and what runs it. `README.md` has the formats.

pub mod brokers;
pub mod languages;
pub mod line;
pub mod run;
pub mod runner;
pub mod scenario;
