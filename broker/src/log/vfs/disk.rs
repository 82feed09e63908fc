//! The real disk: what the operating system does, and nothing besides.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice},
    path::Path,
};

use rustix::{buffer::spare_capacity, io::retry_on_intr};

use super::Mode;

/// Opens a file.
pub(super) fn open(path: &Path, mode: Mode) -> io::Result<File> {
    let mut options = OpenOptions::new();
    match mode {
        Mode::Read => options.read(true),
        Mode::ReadWrite => options.read(true).write(true),
        Mode::Create => options.read(true).write(true).create(true).truncate(true),
    };
    options.open(path)
}

/// Reads what one call gives.
pub(super) fn read(file: &File, into: &mut [u8], position: u64) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::pread(file, &mut *into, position))?)
}

/// Reads what one call gives into the room that `into` has to spare.
pub(super) fn read_spare(file: &File, into: &mut Vec<u8>, position: u64) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::pread(file, spare_capacity(into), position))?)
}

/// Writes what one call takes.
pub(super) fn write(file: &File, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::pwritev(file, slices, position))?)
}

/// Waits until the names in a directory, or the bytes of a file, are on the medium.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The names in a directory, with whether each is a directory itself, in any order; names that are not UTF-8 are
/// none of ours and are left out.
pub(super) fn list(path: &Path) -> io::Result<Vec<(String, bool)>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, entry.file_type()?.is_dir()));
        }
    }
    Ok(names)
}
