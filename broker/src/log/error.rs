//! What can go wrong with the files of a log.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A failure of a log or of a data directory: what was tried, on which file, and why it failed.
///
/// Cheap to clone, because every batch of a failed write gets it.
#[derive(Clone, Debug)]
pub struct LogError(Arc<LogErrorKind>);

/// The kinds of [`LogError`].
#[derive(Debug)]
pub enum LogErrorKind {
    /// The operating system refused.
    Io {
        /// What was tried, as a verb: `read`, `write to`, `flush` ...
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes in the middle of a log are damaged although sound batches follow, or although they had been flushed.
    /// Cutting there would lose acknowledged records, so the log stays closed.
    Rot {
        /// The segment.
        path: PathBuf,
        /// Where in it, in bytes.
        position: u64,
        /// The offset that was expected there.
        offset: i64,
        /// What is wrong with the bytes.
        why: String,
    },
    /// A file is not what its name says.
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another broker uses the data directory.
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// The data directory is not ours: another program's, another release's, another cluster's or another node's.
    Foreign {
        /// The data directory.
        path: PathBuf,
        /// Whose it is, and what to do.
        why: String,
    },
    /// An earlier write or flush failed in a way that leaves the file in doubt; the log takes nothing more until
    /// it was opened anew.
    Failed {
        /// The log's directory.
        path: PathBuf,
    },
}

impl LogError {
    /// What kind of failure it is.
    pub fn kind(&self) -> &LogErrorKind {
        &self.0
    }

    /// The file or directory that it is about: whoever has several disks finds out by it which one fails.
    pub fn path(&self) -> &Path {
        match self.kind() {
            LogErrorKind::Io { path, .. }
            | LogErrorKind::Rot { path, .. }
            | LogErrorKind::Malformed { path, .. }
            | LogErrorKind::Locked { path }
            | LogErrorKind::Foreign { path, .. }
            | LogErrorKind::Failed { path } => path,
        }
    }

    /// Whether there is no room: the disk, the quota or the limit on a file's size is used up. The same call may
    /// succeed once there is.
    pub fn is_disk_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self.kind(), LogErrorKind::Io { source, .. }
            if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge))
    }

    /// Whether the file or directory does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self.kind(), LogErrorKind::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Names the file of an error of the operating system.
    pub(crate) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::from(LogErrorKind::Io { doing, path: path.to_owned(), source: source.into() })
    }

    pub(crate) fn malformed(path: &Path, why: impl Into<String>) -> Self {
        Self::from(LogErrorKind::Malformed { path: path.to_owned(), why: why.into() })
    }

    pub(crate) fn foreign(path: &Path, why: impl Into<String>) -> Self {
        Self::from(LogErrorKind::Foreign { path: path.to_owned(), why: why.into() })
    }
}

impl From<LogErrorKind> for LogError {
    #[cold]
    fn from(kind: LogErrorKind) -> Self {
        Self(Arc::new(kind))
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            LogErrorKind::Io { doing, path, source } => {
                write!(f, "could not {doing} `{}`: {source}", path.display())
            }
            LogErrorKind::Rot { path, position, offset, why } => write!(
                f,
                "`{}` is damaged at byte {position}, offset {offset}, before sound records ({why}); it was left as \
                 it is, because cutting it there would lose records: restore it from a copy or a replica",
                path.display()
            ),
            LogErrorKind::Malformed { path, why } => write!(f, "`{}` is malformed: {why}", path.display()),
            LogErrorKind::Locked { path } => write!(
                f,
                "`{}` is in use by another broker; stop it, or give this one a data directory of its own",
                path.display()
            ),
            LogErrorKind::Foreign { path, why } => {
                write!(f, "`{}` cannot be used as data directory: {why}", path.display())
            }
            LogErrorKind::Failed { path } => write!(
                f,
                "the log in `{}` is closed to writes since one failed; restart the broker to recover it",
                path.display()
            ),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.kind() {
            LogErrorKind::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_room_is_told_from_other_failures() {
        let error = |errno: rustix::io::Errno| LogError::io("write to", Path::new("x"), errno);
        for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT, rustix::io::Errno::FBIG] {
            assert!(error(errno).is_disk_full(), "{errno}");
        }
        assert!(!error(rustix::io::Errno::IO).is_disk_full());
        assert!(error(rustix::io::Errno::NOENT).is_not_found());
        let text = error(rustix::io::Errno::IO).to_string();
        assert!(text.starts_with("could not write to `x`: "), "{text}");
    }
}
