//! A partition's records on disk, as Kafka lays them out.
//!
//! A [`Log`] is a directory of segment files, whose bytes are the record batches that came over the wire, but for
//! base offset and leader epoch. It has one owner, which alone appends; everybody else reads through its
//! [`LogReader`], from any thread. A [`LogDirectory`] holds the logs of one broker, and what a broker must know of
//! them before it opens them.
//!
//! | file | content |
//! |---|---|
//! | `<20 digits>.log` | record batches, from the offset in its name on |
//! | `.index`, `.timeindex` | sparse indexes of offsets and timestamps, written when the segment is sealed |
//! | `.snapshot` | what was known of idempotent producers at that offset |
//! | `leader-epoch-checkpoint` | which leader's epoch began where |
//! | `partition.metadata` | the topic's id |
//! | `in-doubt` | nothing; there while a cut, or for good once a flush failed: not all that is seen may be on the medium |
//!
//! *Invariants:* appending and reading never decompress; only the look-up of a timestamp does. No API key, no socket
//! and no asker's name is seen here. Time is an argument. All operations on files are in `vfs`.

mod append;
mod checkpoint;
pub mod cleaner;
mod damage;
mod directory;
pub mod dump;
mod error;
mod leader_epochs;
#[allow(clippy::module_inception, reason = "the file of `Log` is named after it, as all are")]
mod log;
mod meta_properties;
mod offset_index;
mod producer_state;
mod read;
mod recovery;
mod retention;
mod scan;
mod scrub;
mod segment;
mod time_index;
mod vfs;

pub use append::{AppendError, Appended, ToAppend};
pub use checkpoint::TopicPartition;
pub use directory::{CheckpointKind, LogDirectory, PartitionDirectory, Space};
pub use error::{LogError, LogErrorKind};
pub use leader_epochs::LeaderEpoch;
pub use log::{FlushTask, Flushed, Log, LogConfig};
pub use meta_properties::MetaProperties;
pub use producer_state::{BATCHES_RETAINED, ProducerError};
pub use read::{LogReader, ReadError, Slices, TimestampOffset};
pub use recovery::{Checkpointed, Recovered};
pub use retention::{CleanupPolicy, Deleted, StartOffsetError, UnlinkTask};
pub(crate) use scrub::Scrubbed;
pub use vfs::{Disk, FileSlice, LogFile};
#[cfg(any(test, feature = "simulation"))]
pub use vfs::{Faults, Random, SimulatedDisk};
