//! The wall clock: the one place of this crate that reads it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the epoch, as records carry them; 0 with a clock set before 1970.
pub(crate) fn now_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
