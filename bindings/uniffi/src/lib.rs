//! The clients for Swift, and for Kotlin on Android: conversions over `ottla-bindings`, out of which UniFFI makes both languages' sources.
//!
//! - What takes time is an `async` function. Its future is polled by the program's own executor; it stands still without one, and to
//!   drop it is to give up. A client does its work on a thread of its own all the same.
//! - A call costs microseconds, as everything crosses copied: so records come many in one call ([`OttlaConsumer::take`]).
//! - Records are never lost by giving up: what waits ([`OttlaConsumer::ready`]) hands out nothing, and what hands out does not wait. In
//!   between, UniFFI has a moment in which a language gives up an answer that is there.
//! - The names `close`, `destroy` and `use` are UniFFI's own, for letting go of an object: so a client is ended by `shutdown`.

mod admin;
mod consumer;
mod convert;
mod error;
mod producer;

pub use self::{
    admin::{
        Broker, ClusterDescription, ConfigChange, ConfigEntry, CreatedTopic, GroupDescription, GroupListing,
        GroupMember, NewTopic, OttlaAdmin, PartitionDescription, TopicDescription, TopicListing,
    },
    consumer::{ConsumerRecord, OttlaConsumer},
    convert::{Header, OffsetAndMetadata, OffsetSpec, PartitionOffset, TopicPartition},
    error::{ErrorInfo, OttlaError},
    producer::{OttlaProducer, ProducerRecord, RecordMetadata},
};

uniffi::setup_scaffolding!("ottla");

/// The release of the library, as `0.1.0`.
#[uniffi::export]
pub fn ottla_version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
