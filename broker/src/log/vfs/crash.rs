//! A process that kills itself at a change of the disk, in builds for tests: `CRASH_AT` in its environment says at which.
//!
//! It is four words: `before`, `in` or `after`; `create`, `write`, `rename` or `remove`; the end of the name of the file,
//! for a rename of its new name; the how manyeth it is of those, from 1. `after rename .log.swap 2`, for example. `in` goes
//! with `write`: half of the bytes are written.

use std::{
    fs::File,
    io::{self, IoSlice},
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::disk;

/// The variable that says where.
const CRASH_AT: &str = "CRASH_AT";

/// A change of the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    Create,
    Write,
    Rename,
    Remove,
}

/// When the process is to be killed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Moment {
    Before,
    In,
    After,
}

#[derive(Debug)]
struct CrashPoint {
    moment: Moment,
    change: Change,
    name_end: String,
    /// How many such changes are to come yet, this one among them.
    left: AtomicU64,
}

/// Makes a change of the file at `path`.
pub(super) fn around<T>(change: Change, path: &Path, make: impl FnOnce() -> T) -> T {
    let moment = moment(change, path);
    if moment == Some(Moment::Before) {
        kill();
    }
    let made = make();
    if moment.is_some() {
        kill();
    }
    made
}

/// Writes what one call takes.
pub(super) fn around_write(
    file: &File,
    path: &Path,
    slices: &[IoSlice<'_>],
    position: u64,
) -> io::Result<usize> {
    match moment(Change::Write, path) {
        None => disk::write(file, slices, position),
        Some(Moment::Before) => kill(),
        Some(Moment::After) => {
            let _ = disk::write(file, slices, position);
            kill()
        }
        Some(Moment::In) => {
            let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            bytes.truncate(bytes.len() / 2);
            let _ = disk::write(file, &[IoSlice::new(&bytes)], position);
            kill()
        }
    }
}

/// When the process is to be killed, if it is this change at which it is.
fn moment(change: Change, path: &Path) -> Option<Moment> {
    static POINT: OnceLock<Option<CrashPoint>> = OnceLock::new();
    // What a user runs does not even look.
    if !cfg!(feature = "crash-points") {
        return None;
    }
    let point = POINT.get_or_init(from_environment).as_ref()?;
    let name = path.file_name()?.to_str()?;
    let is_such = point.change == change && name.ends_with(&point.name_end);
    (is_such && point.left.fetch_sub(1, Ordering::Relaxed) == 1).then_some(point.moment)
}

fn from_environment() -> Option<CrashPoint> {
    let text = std::env::var(CRASH_AT).ok()?;
    let point = parse(&text);
    if point.is_none() {
        tracing::error!("`{CRASH_AT}` is `{text}`, which is no crash point: see `log/vfs/crash.rs`");
    }
    point
}

fn kill() -> ! {
    // As by `kill -9`: nothing is written, closed or told.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

fn parse(text: &str) -> Option<CrashPoint> {
    let mut words = text.split(' ');
    let moment = match words.next()? {
        "before" => Moment::Before,
        "in" => Moment::In,
        "after" => Moment::After,
        _ => return None,
    };
    let change = match words.next()? {
        "create" => Change::Create,
        "write" => Change::Write,
        "rename" => Change::Rename,
        "remove" => Change::Remove,
        _ => return None,
    };
    let name_end = words.next()?.to_owned();
    let left = AtomicU64::new(words.next()?.parse().ok()?);
    (words.next().is_none() && (moment != Moment::In || change == Change::Write)).then_some(CrashPoint {
        moment,
        change,
        name_end,
        left,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_a_moment_a_change_a_name_and_a_number() {
        let point = parse("after rename .log.swap 2").unwrap();
        assert_eq!((point.moment, point.change), (Moment::After, Change::Rename));
        assert_eq!((point.name_end.as_str(), point.left.into_inner()), (".log.swap", 2));
        assert_eq!(parse("in write .log 1").unwrap().moment, Moment::In);
        for text in [
            "",
            "after",
            "after rename .log",
            "after rename .log x",
            "in rename .log 1",
            "after write .log 1 2",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
