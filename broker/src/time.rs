//! The clock: the only place in the broker that reads it. All else is told the time.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, as record timestamps count them.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub(crate) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
