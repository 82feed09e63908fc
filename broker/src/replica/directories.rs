//! The log directories of this broker: which of them work, and which logs were found in which.
//!
//! A directory whose disk fails is offline until the broker starts anew: after a failed flush nobody knows what is on
//! the medium, and trying again would not tell. Its partitions answer KAFKA_STORAGE_ERROR; other directories go on.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use ottla_protocol::types::Uuid;
use tokio::sync::mpsc;

use crate::log::{CheckpointKind, LogDirectory, LogError, MetaProperties, TopicPartition};

/// A log directory that could be opened.
#[derive(Debug)]
pub(crate) struct Directory {
    log: LogDirectory,
    id: Uuid,
    /// Why it is offline, once it is.
    failure: OnceLock<String>,
    failures: mpsc::UnboundedSender<Arc<Self>>,
    /// Whether a log in it was left in doubt: then the next start must not take it for cleanly closed.
    in_doubt: AtomicBool,
    /// Which checkpoint files are behind, by [`CheckpointKind`].
    behind: [AtomicBool; CheckpointKind::ALL.len()],
    /// Held while a checkpoint file is written.
    writing: Mutex<()>,
}

impl Directory {
    /// Serves an opened directory. If it fails, that is told to `failures`.
    pub(crate) fn new(
        log: LogDirectory,
        meta: &MetaProperties,
        failures: mpsc::UnboundedSender<Arc<Self>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            log,
            id: meta.directory_id,
            failure: OnceLock::new(),
            failures,
            in_doubt: AtomicBool::new(false),
            behind: Default::default(),
            writing: Mutex::new(()),
        })
    }

    /// Its own id, of `meta.properties`.
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    pub(crate) fn path(&self) -> &Path {
        self.log.path()
    }

    /// What lies in it, and how it was left.
    pub(crate) fn log(&self) -> &LogDirectory {
        &self.log
    }

    /// Whether it is served.
    pub(crate) fn is_online(&self) -> bool {
        self.failure.get().is_none()
    }

    /// Takes it offline, for good. Only the first failure counts; those that follow are of the same disk.
    pub(crate) fn fail(self: &Arc<Self>, error: &impl fmt::Display) {
        if self.failure.set(error.to_string()).is_err() {
            return;
        }
        tracing::error!(
            directory = %self.path().display(),
            %error,
            "a log directory is offline, and all its partitions with it; check the disk, then restart the broker"
        );
        // Nobody listens any more when the broker stops.
        let _ = self.failures.send(Arc::clone(self));
    }

    /// Says that a log in it could not be opened or closed in order.
    pub(crate) fn leave_in_doubt(&self) {
        self.in_doubt.store(true, Ordering::Release);
    }

    /// Says that what the file of `kind` tells is not true any more.
    pub(crate) fn is_behind(&self, kind: CheckpointKind) {
        if let Some(behind) = self.behind.get(kind as usize)
            && !behind.load(Ordering::Relaxed)
        {
            behind.store(true, Ordering::Release);
        }
    }

    /// Whether the file of `kind` is to be written; asks once for each time that it fell behind.
    pub(crate) fn take_behind(&self, kind: CheckpointKind) -> bool {
        self.behind.get(kind as usize).is_some_and(|behind| behind.swap(false, Ordering::AcqRel))
    }

    /// Writes a checkpoint file, and says whether it is on the medium. Blocks. A failing disk takes the directory
    /// offline; a full one does not, since the file that is there stays true enough: more is looked at after a crash.
    ///
    /// One file at a time is written, and `rows` says what is true by then: or else an older one might come later.
    pub(crate) fn write_checkpoint(
        self: &Arc<Self>,
        kind: CheckpointKind,
        rows: impl FnOnce() -> Vec<(TopicPartition, i64)>,
    ) -> bool {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_online() {
            return false;
        }
        match self.log.write_checkpoint(kind, rows().into_iter()) {
            Ok(()) => true,
            Err(error) if error.is_disk_full() => {
                tracing::warn!(%error, "a checkpoint could not be written; it is tried again");
                self.is_behind(kind);
                false
            }
            Err(error) => {
                self.fail(&error);
                false
            }
        }
    }

    /// Marks that all its logs were closed in order, if they were.
    pub(crate) fn close(&self, broker_epoch: i64) -> Result<(), LogError> {
        if !self.is_online() {
            return Ok(());
        }
        if self.in_doubt.load(Ordering::Acquire) {
            let directory = self.path().display();
            tracing::warn!(%directory, "not all logs could be closed in order; the next start checks them");
            return Ok(());
        }
        self.log.close(broker_epoch)
    }
}

/// A log that lay in a directory at start.
#[derive(Clone, Debug)]
pub(crate) struct FoundLog {
    pub(crate) directory: Arc<Directory>,
    /// The topic's id, if the log says one.
    pub(crate) topic_id: Option<Uuid>,
}

/// Where a partition's log is to be.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    pub(crate) directory: Arc<Directory>,
    /// Whether it is there already.
    pub(crate) is_there: bool,
    /// A log that is in the way: of a deleted topic that had the same name.
    pub(crate) stale: Option<FoundLog>,
}

/// A directory of `log.dirs` that could not be opened.
#[derive(Clone, Debug)]
pub(crate) struct Unusable {
    pub(crate) path: PathBuf,
    pub(crate) why: String,
}

/// All log directories.
#[derive(Debug, Default)]
pub(crate) struct Directories {
    usable: Vec<Arc<Directory>>,
    unusable: Vec<Unusable>,
    /// Logs that were found at start and belong to no partition yet.
    found: Mutex<FoundLogs>,
}

/// Logs by the names of their directories.
pub(crate) type FoundLogs = HashMap<TopicPartition, Vec<FoundLog>>;

impl Directories {
    /// Looks which logs lie where.
    ///
    /// # Errors
    /// If a directory cannot be listed, or if two hold a log of the same partition of the same topic.
    pub(crate) fn new(usable: Vec<Arc<Directory>>, unusable: Vec<Unusable>) -> Result<Self, LogError> {
        let mut found: FoundLogs = HashMap::new();
        for directory in &usable {
            for log in directory.log.partitions()? {
                let same_name = found.entry(log.partition).or_default();
                // Logs of different topics may have one name: the older topic was deleted while its disk was away.
                if let Some(other) = same_name.iter().find(|other| other.topic_id == log.topic_id) {
                    let other = other.directory.path().display();
                    let why = format!("`{other}` holds a log of the same partition; move one of them away");
                    return Err(LogError::foreign(&log.path, why));
                }
                same_name.push(FoundLog { directory: Arc::clone(directory), topic_id: log.topic_id });
            }
        }
        Ok(Self { usable, unusable, found: Mutex::new(found) })
    }

    /// Those that could be opened at start; some may be offline by now.
    pub(crate) fn usable(&self) -> &[Arc<Directory>] {
        &self.usable
    }

    /// Those that could not be opened at start.
    pub(crate) fn unusable(&self) -> &[Unusable] {
        &self.unusable
    }

    /// Those that work.
    pub(crate) fn online(&self) -> impl Iterator<Item = &Arc<Directory>> {
        self.usable.iter().filter(|directory| directory.is_online())
    }

    /// The logs found at start that no partition has taken yet.
    pub(crate) fn found(&self) -> MutexGuard<'_, FoundLogs> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the log of a partition lies, or is to be made: where it was found, else in the directory that it is
    /// `assigned` to, else in any.
    ///
    /// # Errors
    /// If it would be made anew although it may lie in a directory that is offline.
    pub(crate) fn locate(
        &self,
        partition: &TopicPartition,
        topic_id: Uuid,
        assigned: Uuid,
    ) -> Result<Location, String> {
        let found = self.found().remove(partition).unwrap_or_default();
        if let Some(own) = found.iter().find(|log| log.topic_id.is_none_or(|id| id == topic_id)) {
            let directory = Arc::clone(&own.directory);
            return Ok(Location { directory, is_there: true, stale: None });
        }
        let put = |directory: &Arc<Directory>| {
            let stale = found.iter().find(|log| Arc::ptr_eq(&log.directory, directory));
            let directory = Arc::clone(directory);
            Ok(Location { directory, is_there: false, stale: stale.cloned() })
        };
        if let Some(directory) = self.online().find(|directory| directory.id == assigned) {
            return put(directory);
        }
        if assigned.0 >= RESERVED_IDS {
            return Err(format!(
                "its log directory, of id `{assigned}`, is offline or no more among `log.dirs`; bring it back, or delete the topic"
            ));
        }
        match self.online().next() {
            Some(directory) if self.unusable.is_empty() => put(directory),
            _ => Err("its log may lie in a log directory that is offline".to_owned()),
        }
    }
}

/// Ids below this are no directory's: `DirectoryId.LOST`, `UNASSIGNED` and those kept for later.
const RESERVED_IDS: u128 = 100;
