//! Configuration by tables: what keys there are, what values they take, and where each value came from.
//!
//! A [`Table`] is a list of [`Key`]s, generated from a text file beside the crate that applies them (`config.table`);
//! nothing is parsed at run time but the user's own settings. This crate knows no client and no broker.
//!
//! Every key is of one of three kinds: *applied*; *known* to Kafka and without effect here, which is worth one
//! warning; or unknown, which is refused with a suggestion. [`Settings`] gathers what the user wrote, in files, in
//! the environment, on the command line; [`Table::parse`] turns it into [`Values`] and reports all errors together.
//!
//! ```
//! use ottla_config::{Key, Range, Settings, Table, Type};
//!
//! static KEYS: [Key; 1] = [Key {
//!     name: "linger.ms",
//!     kind: Type::Millis64,
//!     default: Some("5"),
//!     range: Range::Int { min: 0, max: i64::MAX, or: None },
//!     ..Key::EMPTY
//! }];
//! static TABLE: Table = Table { name: "producer", parts: &[&KEYS], prefixes: &[], relatives: &[] };
//!
//! let mut settings = Settings::new();
//! settings.properties("client.properties", b"linger_sm = 20");
//! let errors = TABLE.parse(&settings).unwrap_err();
//! assert_eq!(
//!     errors.to_string(),
//!     "client.properties line 1: unknown key `linger_sm`; did you mean `linger_ms`?",
//! );
//! ```

#![forbid(unsafe_code)]

mod error;
mod key;
mod properties;
mod security;
mod settings;
mod table;
mod value;
mod values;

pub use error::{ConfigError, ConfigErrors, Problem, Warning};
pub use key::{Alias, Choice, Effect, Invalid, Key, Range, Type, Update};
pub use properties::{Property, PropertyError, parse as parse_properties};
pub use security::SECURITY;
pub use settings::{ENV_PREFIX, FILE_BYTES_MAX, Setting, Settings, Source};
pub use table::{Prefix, Table};
pub use value::{Secret, Value};
pub use values::{DURATION_MAX, Values};
