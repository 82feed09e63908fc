//! The library's log, handed to a function of the program.

use std::{rc::Rc, sync::Arc};

use napi_derive::napi;
use ottla_bindings::log::{LogLevel, clear_log, set_log};

use crate::event_loop::{Ended, EventLoop, Shared};

/// Lines that wait for JavaScript, at most, with all else that waits: what comes when it does not take them is dropped.
const WAITING_LINES_MAX: usize = 10_000;

#[napi]
impl EventLoop {
    /// Logs lines up to `level` (0 none, 1 error ... 5 trace) here, and to no other thread's event loop.
    #[napi]
    pub fn set_log_level(&self, level: i32) {
        match LogLevel::of(level) {
            LogLevel::Off => clear_log(),
            level => hand_on(&self.shared, level),
        }
    }
}

fn hand_on(shared: &Rc<Shared>, level: LogLevel) {
    let queue = Arc::clone(&shared.queue);
    set_log(level, move |level, part, text| {
        if queue.len() < WAITING_LINES_MAX {
            queue.push(Ended::Line { level, part: part.to_owned(), text: text.to_owned() });
        }
    });
}
