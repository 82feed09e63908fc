//! A disk without room: nothing half is kept, and once there is room, the same batch is stored once.
//!
//! The limit is the process's own, on the size of its files, so each test runs in a process of its own: this
//! test binary again, started by a shell that ignores the signal which comes with the error.

use std::process::Command;

use ottla_broker::log::{AppendError, LogConfig};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

/// Set for the process that runs under a limit.
const INSIDE: &str = "OTTLA_TEST_DISK_FULL";

/// Runs the test of this name in a process of its own.
fn run_apart(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact \"$1\" --nocapture --test-threads=1"])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

/// No file may grow beyond this; `None` for any size.
fn limit_files(bytes: Option<u64>) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

#[test]
fn a_write_without_room_never_happened_and_its_retry_is_stored_once() {
    if !run_apart("disk_full::a_write_without_room_never_happened_and_its_retry_is_stored_once") {
        return;
    }
    let dir = Dir::new();
    let mut log = dir.create(LogConfig::default());
    append(&mut log, &sequenced(1, 0, 0, 1));
    let before = content(&log.reader());
    let path = dir.file(&dir.names(".log")[0]);
    let size = std::fs::metadata(&path).unwrap().len();
    // Room for one of two batches and some of the other: the system takes a part of the write, then refuses.
    let two = [sequenced(1, 0, 1, 1), sequenced(1, 0, 2, 1)];
    limit_files(Some(size + two[0].bytes().len() as u64 + 20));
    for _ in 0..3 {
        for result in append_all(&mut log, &two) {
            let error = result.unwrap_err();
            assert!(matches!(error, AppendError::DiskFull(_)), "{error}");
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), size, "the part is cut off again");
        assert_eq!((log.end_offset(), log.reader().end_offset()), (1, 1));
        assert_eq!(content(&log.reader()), before);
    }
    // A duplicate in the company of what fails is asked to come again, too.
    let results = append_all(&mut log, &[two[0].clone(), sequenced(1, 0, 0, 1), two[1].clone()]);
    assert!(results.iter().all(|r| matches!(r, Err(AppendError::DiskFull(_)))));
    limit_files(None);
    for (i, result) in
        append_all(&mut log, &[two[0].clone(), two[1].clone(), two[0].clone()]).iter().enumerate()
    {
        let appended = result.as_ref().unwrap();
        assert_eq!((appended.base_offset, appended.duplicate), ([1, 2, 1][i], i == 2));
    }
    let after = content(&log.reader());
    assert_eq!(after.len(), 3);
    drop(log);
    assert_eq!(content(&dir.reopen(LogConfig::default()).reader()), after);
}

#[test]
fn a_roll_without_room_refuses_the_batch_and_keeps_what_was_before() {
    if !run_apart("disk_full::a_roll_without_room_refuses_the_batch_and_keeps_what_was_before") {
        return;
    }
    let dir = Dir::new();
    let mut log = dir.create(small(1000));
    let one = batch(&[&[1; 300]]);
    append_all(&mut log, &[one.clone(), one.clone()]);
    // Not even the index files can be written.
    limit_files(Some(4));
    let results = append_all(&mut log, &[one.clone(), one.clone()]);
    assert!(results.iter().all(|r| matches!(r, Err(AppendError::DiskFull(_)))), "{results:?}");
    assert_eq!((log.segment_count(), log.end_offset()), (1, 2));
    limit_files(None);
    assert_eq!(append(&mut log, &one), 2);
    assert_eq!(log.segment_count(), 2);
    drop(log);
    assert_eq!(content(&dir.reopen(small(1000)).reader()).len(), 3);
}
