//! Every operation on files that the log makes: on the real [`Disk`], or on one that a test makes fail.
//!
//! A [`LogFile`] knows its path, so that each error names it. All reads and writes give their position: nothing
//! here has a cursor that two threads could fight over. What is written here goes for both disks; `disk` and
//! `simulated` only do what one system call does.

mod crash;
mod disk;
#[cfg(any(test, feature = "simulation"))]
mod simulated;

use std::{
    fs::{self, File},
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use bytes::Bytes;

use super::error::{LogError, LogErrorKind};
use crash::Change;

#[cfg(any(test, feature = "simulation"))]
pub use simulated::{Faults, Random, SimulatedDisk};

/// Most pieces that one vectored write may have: POSIX's `IOV_MAX` on Linux, macOS and the BSDs.
const IO_SLICES_MAX: usize = 1024;

/// Where files are. A cheap handle, carried by whoever makes or opens them.
#[derive(Clone, Debug, Default)]
pub enum Disk {
    /// What the operating system has.
    #[default]
    Real,
    /// Files in memory, on a disk that fails as it is told to.
    #[cfg(any(test, feature = "simulation"))]
    Simulated(SimulatedDisk),
}

/// For what a file is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    Read,
    ReadWrite,
    /// Made if it is not there; what was in it is gone.
    Create,
}

/// An open file that knows where it lies.
#[derive(Debug)]
pub struct LogFile {
    file: Handle,
    path: PathBuf,
}

#[derive(Debug)]
enum Handle {
    Real(File),
    #[cfg(any(test, feature = "simulation"))]
    Simulated(simulated::SimulatedFile),
}

impl Disk {
    /// Opens a file for reading.
    pub(crate) fn open(&self, path: impl Into<PathBuf>) -> Result<LogFile, LogError> {
        self.open_with(path.into(), "open", Mode::Read)
    }

    /// Opens a file for reading and writing.
    pub(crate) fn open_rw(&self, path: impl Into<PathBuf>) -> Result<LogFile, LogError> {
        self.open_with(path.into(), "open", Mode::ReadWrite)
    }

    /// Creates an empty file; what lay there before is gone.
    pub(crate) fn create(&self, path: impl Into<PathBuf>) -> Result<LogFile, LogError> {
        self.open_with(path.into(), "create", Mode::Create)
    }

    fn open_with(&self, path: PathBuf, doing: &'static str, mode: Mode) -> Result<LogFile, LogError> {
        let opened = match self {
            Self::Real if mode == Mode::Create => {
                crash::around(Change::Create, &path, || disk::open(&path, mode)).map(Handle::Real)
            }
            Self::Real => disk::open(&path, mode).map(Handle::Real),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => disk.open(&path, mode).map(Handle::Simulated),
        };
        match opened {
            Ok(file) => Ok(LogFile { file, path }),
            Err(source) => Err(LogError::io(doing, &path, source)),
        }
    }

    /// Reads a small file whole; `None` if it does not exist.
    pub(crate) fn read_file(&self, path: &Path) -> Result<Option<Vec<u8>>, LogError> {
        let file = match self.open(path) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.read_up_to(0, usize::try_from(file.len()?).unwrap_or(usize::MAX), &mut bytes)?;
        Ok(Some(bytes))
    }

    /// Writes a file so that after a crash it is either the old one or the new one: under another name first, renamed
    /// when it is whole. The caller syncs the file and its directory if it is to outlive a power cut.
    pub(crate) fn replace_file(&self, path: &Path, bytes: &[u8]) -> Result<(), LogError> {
        let temporary = temporary_name(path);
        self.write_file(&temporary, bytes)?;
        self.rename(&temporary, path)
    }

    /// As [`replace_file`](Self::replace_file), and both the file and its name are on the medium when it returns.
    pub(crate) fn replace_file_durably(&self, path: &Path, bytes: &[u8]) -> Result<(), LogError> {
        let temporary = temporary_name(path);
        self.write_file(&temporary, bytes)?.sync()?;
        self.rename(&temporary, path)?;
        match path.parent() {
            Some(directory) => self.sync_directory(directory),
            None => Ok(()),
        }
    }

    /// Writes a file in place.
    pub(crate) fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<LogFile, LogError> {
        let file = self.create(path)?;
        file.write_all_at(&mut [IoSlice::new(bytes)], 0)?;
        Ok(file)
    }

    /// Renames a file or directory; what had the new name before is gone.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), LogError> {
        let renamed = match self {
            Self::Real => crash::around(Change::Rename, to, || fs::rename(from, to)),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => disk.rename(from, to),
        };
        renamed.map_err(|e| LogError::io("rename", from, e))
    }

    /// When a file was last written to, in ms since 1970. Where nobody knows, it is as if it were written just now for
    /// ever: the largest number.
    pub(crate) fn modified_ms(&self, path: &Path) -> Result<i64, LogError> {
        let modified = match self {
            Self::Real => fs::metadata(path).and_then(|metadata| metadata.modified()),
            // It has no clock.
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(_) => return Ok(i64::MAX),
        };
        let since =
            modified.map_err(|e| LogError::io("read the age of", path, e))?.duration_since(UNIX_EPOCH);
        Ok(since.ok().and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(i64::MAX))
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove_file(&self, path: &Path) -> Result<(), LogError> {
        let removed = match self {
            Self::Real => crash::around(Change::Remove, path, || fs::remove_file(path)),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => disk.remove_file(path),
        };
        match removed {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(LogError::io("remove", path, e)),
            _ => Ok(()),
        }
    }

    /// Removes a directory and everything in it, if it is there.
    pub(crate) fn remove_directory(&self, path: &Path) -> Result<(), LogError> {
        let removed = match self {
            Self::Real => fs::remove_dir_all(path),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => disk.remove_directory(path),
        };
        match removed {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(LogError::io("remove", path, e)),
            _ => Ok(()),
        }
    }

    /// Makes a directory and those above it, if they are not there.
    pub(crate) fn create_directory(&self, path: &Path) -> Result<(), LogError> {
        let created = match self {
            Self::Real => fs::create_dir_all(path),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => disk.create_directory(path),
        };
        created.map_err(|e| LogError::io("create", path, e))
    }

    /// As [`create_directory`](Self::create_directory), and the names of what it made are on the medium when it
    /// returns.
    pub(crate) fn create_directory_durably(&self, path: &Path) -> Result<(), LogError> {
        let there = match self {
            Self::Real => path.is_dir(),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => disk.list(path).is_ok(),
        };
        if there {
            return Ok(());
        }
        let parent = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Ok(()),
        };
        self.create_directory_durably(parent)?;
        self.create_directory(path)?;
        self.sync_directory(parent)
    }

    /// Waits until a file's bytes, or a directory's names, are on the medium, if there is such a file or directory.
    pub(crate) fn sync_if_there(&self, path: &Path) -> Result<(), LogError> {
        match self.sync_directory(path) {
            Err(error) if error.is_not_found() => Ok(()),
            synced => synced,
        }
    }

    /// Waits until the names in a directory are on the medium.
    pub(crate) fn sync_directory(&self, path: &Path) -> Result<(), LogError> {
        let synced = match self {
            Self::Real => disk::sync(path),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => disk.sync(path),
        };
        synced.map_err(|e| LogError::io("flush", path, e))
    }

    /// The names in a directory, with whether each is a directory itself, in order; names that are not UTF-8 are none
    /// of ours and are left out.
    pub(crate) fn list(&self, path: &Path) -> Result<Vec<(String, bool)>, LogError> {
        let listed = match self {
            Self::Real => disk::list(path),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => disk.list(path),
        };
        let mut names = listed.map_err(|e| LogError::io("list", path, e))?;
        names.sort();
        Ok(names)
    }
}

impl LogFile {
    /// Where it lies, or lay when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For `sendfile`; `None` if the file is a simulated one.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.file {
            Handle::Real(file) => Some(file.as_fd()),
            #[cfg(any(test, feature = "simulation"))]
            Handle::Simulated(_) => None,
        }
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> Result<u64, LogError> {
        let len = match &self.file {
            Handle::Real(file) => file.metadata().map(|m| m.len()),
            #[cfg(any(test, feature = "simulation"))]
            Handle::Simulated(file) => file.len(),
        };
        len.map_err(|e| LogError::io("read the length of", &self.path, e))
    }

    /// Reads exactly `len` bytes from `position` on. A file that ends before is an error.
    pub(crate) fn read_exact(&self, position: u64, len: usize) -> Result<Vec<u8>, LogError> {
        let mut bytes = Vec::with_capacity(len);
        self.read_up_to(position, len, &mut bytes)?;
        if bytes.len() < len {
            let short = io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!(
                    "it ends at byte {}, before byte {}",
                    position + bytes.len() as u64,
                    position + len as u64
                ),
            );
            return Err(LogError::io("read", &self.path, short));
        }
        Ok(bytes)
    }

    /// Fills `into` from `position` on. A file that ends before is an error.
    pub(crate) fn read_exact_into(&self, mut position: u64, mut into: &mut [u8]) -> Result<(), LogError> {
        while !into.is_empty() {
            let read = match &self.file {
                Handle::Real(file) => disk::read(file, into, position),
                #[cfg(any(test, feature = "simulation"))]
                Handle::Simulated(file) => file.read(into, position),
            };
            match read {
                Ok(0) => {
                    let short =
                        io::Error::new(io::ErrorKind::UnexpectedEof, format!("it ends at byte {position}"));
                    return Err(LogError::io("read", &self.path, short));
                }
                Ok(read) => {
                    position += read as u64;
                    into = into.get_mut(read..).unwrap_or_default();
                }
                Err(error) => return Err(LogError::io("read", &self.path, error)),
            }
        }
        Ok(())
    }

    /// Appends up to `len` bytes from `position` on to `into`; fewer where the file ends.
    pub(crate) fn read_up_to(&self, position: u64, len: usize, into: &mut Vec<u8>) -> Result<(), LogError> {
        let start = into.len();
        into.reserve_exact(len);
        while into.len() - start < len {
            let left = len - (into.len() - start);
            let at = position + (into.len() - start) as u64;
            let read = match &self.file {
                Handle::Real(file) => disk::read_spare(file, into, at),
                #[cfg(any(test, feature = "simulation"))]
                Handle::Simulated(file) => file.read_spare(into, at),
            };
            match read {
                Ok(0) => break,
                // The buffer may have more room than was asked for.
                Ok(read) => into.truncate(into.len() - read.saturating_sub(left)),
                Err(error) => return Err(LogError::io("read", &self.path, error)),
            }
        }
        Ok(())
    }

    /// Writes all of `slices` at `position`, in one system call where the system takes them in one. On an error
    /// some of the bytes may have been written.
    pub(crate) fn write_all_at(&self, mut slices: &mut [IoSlice<'_>], position: u64) -> Result<(), LogError> {
        let mut at = position;
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            let now = slices.get(..IO_SLICES_MAX).unwrap_or(slices);
            let written = match &self.file {
                Handle::Real(file) => crash::around_write(file, &self.path, now, at),
                #[cfg(any(test, feature = "simulation"))]
                Handle::Simulated(file) => file.write(now, at),
            };
            match written {
                Ok(0) => {
                    let none = io::Error::new(io::ErrorKind::WriteZero, "the system took no bytes");
                    return Err(LogError::io("write to", &self.path, none));
                }
                Ok(written) => {
                    at += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(error) => return Err(LogError::io("write to", &self.path, error)),
            }
        }
        Ok(())
    }

    /// Cuts the file at `len` bytes.
    pub(crate) fn truncate(&self, len: u64) -> Result<(), LogError> {
        let truncated = match &self.file {
            Handle::Real(file) => file.set_len(len),
            #[cfg(any(test, feature = "simulation"))]
            Handle::Simulated(file) => file.set_len(len),
        };
        truncated.map_err(|e| LogError::io("truncate", &self.path, e))
    }

    /// Waits until the file's bytes are on the medium.
    pub(crate) fn sync(&self) -> Result<(), LogError> {
        let synced = match &self.file {
            Handle::Real(file) => file.sync_data(),
            #[cfg(any(test, feature = "simulation"))]
            Handle::Simulated(file) => file.sync(),
        };
        synced.map_err(|e| LogError::io("flush", &self.path, e))
    }

    /// Takes the lock that only one open file may hold, until it is closed; an error if another holds it.
    pub(crate) fn lock(&self, directory: &Path) -> Result<(), LogError> {
        let locked = match &self.file {
            Handle::Real(file) => file.try_lock(),
            #[cfg(any(test, feature = "simulation"))]
            Handle::Simulated(file) => file.try_lock(),
        };
        match locked {
            Ok(()) => Ok(()),
            Err(fs::TryLockError::WouldBlock) => {
                Err(LogErrorKind::Locked { path: directory.to_owned() }.into())
            }
            Err(fs::TryLockError::Error(source)) => Err(LogError::io("lock", &self.path, source)),
        }
    }
}

/// Some bytes of a segment. They never change while they can be reached, except that a follower's truncation may
/// cut them; then reading them fails.
#[derive(Clone, Debug)]
pub struct FileSlice {
    /// The segment; as long as someone holds it, deleting the file takes nothing away.
    pub file: std::sync::Arc<LogFile>,
    /// Where the bytes begin.
    pub position: u64,
    /// How many there are.
    pub len: usize,
}

impl FileSlice {
    /// Reads the bytes. Blocks if they are not in the page cache.
    ///
    /// # Errors
    /// If the disk fails, or if the segment was cut meanwhile.
    pub fn read(&self) -> Result<Bytes, LogError> {
        self.file.read_exact(self.position, self.len).map(Bytes::from)
    }

    /// Fills `into` with the bytes from the slice's byte `from` on. Blocks if they are not in the page cache.
    ///
    /// # Errors
    /// If the disk fails, or if the segment was cut meanwhile.
    pub fn read_into(&self, from: usize, into: &mut [u8]) -> Result<(), LogError> {
        self.file.read_exact_into(self.position + from as u64, into)
    }
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_pieces_than_one_call_takes_are_all_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = Disk::Real.create(dir.path().join("a")).unwrap();
        let pieces: Vec<[u8; 3]> =
            (0..3 * IO_SLICES_MAX as u32 + 7).map(|i| [i as u8, (i >> 8) as u8, 7]).collect();
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|p| IoSlice::new(p)).collect();
        file.write_all_at(&mut slices, 5).unwrap();
        assert_eq!(file.read_exact(5, pieces.len() * 3).unwrap(), pieces.concat());
        assert_eq!(file.len().unwrap(), 5 + pieces.len() as u64 * 3);
    }

    #[test]
    fn reading_past_the_end_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = Disk::Real.write_file(&dir.path().join("short.log"), b"0123456789").unwrap();
        assert_eq!(file.read_exact(2, 8).unwrap(), b"23456789");
        let error = file.read_exact(2, 9).unwrap_err().to_string();
        assert!(error.contains("short.log") && error.contains("byte 10"), "{error}");
    }

    #[test]
    fn a_buffer_with_room_to_spare_gets_no_more_than_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = Disk::Real.write_file(&dir.path().join("a"), &[9; 100]).unwrap();
        let mut into = Vec::with_capacity(4096);
        file.read_up_to(0, 10, &mut into).unwrap();
        assert_eq!(into, [9; 10]);
        file.read_up_to(95, 10, &mut into).unwrap();
        assert_eq!(into.len(), 15);
    }

    #[test]
    fn replacing_leaves_one_file_with_the_new_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        Disk::Real.replace_file(&path, b"old").unwrap();
        Disk::Real.replace_file(&path, b"newer").unwrap();
        Disk::Real.replace_file_durably(&path, b"newest").unwrap();
        assert_eq!(Disk::Real.list(dir.path()).unwrap(), [("checkpoint".to_owned(), false)]);
        assert_eq!(Disk::Real.read_file(&path).unwrap().unwrap(), b"newest");
    }
}
