//! That nothing has ever been reached. Once something was, an outage passes by itself; before, it is as likely a mistake in
//! the configuration, and whoever waits for ever is to hear of it. Does no I/O.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};

/// Waits for a first success, and says now and then why there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unreached {
    state: State,
    /// How long nothing is said.
    patience: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Untried,
    /// It fails since then, or that was when it was told last.
    Failing(Instant),
    Reached,
}

impl Unreached {
    /// Nothing was tried yet.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { state: State::Untried, patience }
    }

    /// An attempt went well.
    pub(crate) fn reached(&mut self) {
        self.state = State::Reached;
    }

    /// An attempt failed. Gives what is to be told, if it is time to.
    pub(crate) fn failed(&mut self, error: &Error, now: Instant) -> Option<Error> {
        let since = match self.state {
            State::Untried => now,
            State::Failing(since) => since,
            State::Reached => return None,
        };
        self.state = State::Failing(since);
        let waited = now.saturating_duration_since(since);
        if !error.is_retriable() || waited < self.patience {
            return None;
        }
        self.state = State::Failing(now);
        let ms = waited.as_millis();
        let text =
            format!("in {ms} ms nothing was reached, and it is tried again: {}", error.what_happened());
        Some(Error::new(ErrorKind::Timeout, text).hint_if(error.what_to_do()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_now_and_then_until_something_was_reached() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut unreached = Unreached::new(Duration::from_millis(100));
        let refused = Error::new(ErrorKind::Disconnected, "`a:1` refused the connection").hint("start it");
        assert!(unreached.failed(&refused, at(0)).is_none());
        assert!(unreached.failed(&refused, at(99)).is_none());
        let told = unreached.failed(&refused, at(100)).unwrap();
        assert_eq!(told.kind(), ErrorKind::Timeout);
        assert_eq!(told.what_to_do(), Some("start it"));
        assert!(told.what_happened().ends_with("`a:1` refused the connection"), "{told}");
        assert!(unreached.failed(&refused, at(199)).is_none(), "once in a while");
        assert!(unreached.failed(&refused, at(200)).is_some());
        // What does not pass is told elsewhere, and at once.
        let denied = Error::new(ErrorKind::Authentication, "no");
        assert!(unreached.failed(&denied, at(400)).is_none());
        unreached.reached();
        assert!(unreached.failed(&refused, at(1_000)).is_none(), "an outage passes");
    }
}
