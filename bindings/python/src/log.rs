//! The library's log, handed to Python's `logging`.

use std::thread;

use ottla_bindings::{
    CompletionQueue,
    log::{LogLevel, set_log as set_sink},
};
use pyo3::prelude::*;

use crate::per_process::PerProcess;

/// Lines that wait for Python, at most: what comes when it does not take them is dropped.
const WAITING_LINES_MAX: usize = 10_000;

type Lines = CompletionQueue<(LogLevel, String, String)>;

/// Logs lines up to `level` (0 none, 1 error ... 5 trace) to the loggers below `ottla`.
///
/// The lines come from I/O threads, which must not wait for the interpreter; so a thread of its own hands them on.
#[pyfunction]
pub(crate) fn set_log_level(level: i32) {
    static LINES: PerProcess<Lines> = PerProcess::new();
    set_sink(LogLevel::of(level), |level, target, text| {
        let lines = LINES.get_or_start(Lines::new, |lines| {
            // A thread that cannot be started leaves the program without a log.
            let _ = thread::Builder::new().name("ottla-log".into()).spawn(move || hand_on(&lines));
        });
        if lines.len() < WAITING_LINES_MAX {
            lines.push((level, target.replace("::", "."), text.to_owned()));
        }
    });
}

fn hand_on(lines: &Lines) {
    let mut taken = Vec::new();
    loop {
        lines.wait(None);
        lines.drain(&mut taken, usize::MAX);
        // None once the interpreter is ending.
        let handed = Python::try_attach(|py| -> PyResult<()> {
            let log = py.import("ottla._log")?.getattr("log")?;
            for (level, target, text) in taken.drain(..) {
                log.call1((level as u8, target, text))?;
            }
            Ok(())
        });
        match handed {
            Some(Ok(())) => {}
            Some(Err(error)) => _ = Python::try_attach(|py| error.write_unraisable(py, None)),
            None => return,
        }
    }
}
