//! The one clock of the collector. Everything else is given `now`.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Monotonic now.
#[expect(clippy::disallowed_methods, reason = "this is the one call site")]
pub fn now() -> Instant {
    Instant::now()
}

/// Wall clock now, milliseconds since the Unix epoch, UTC. A clock set before 1970 reads as 0.
#[expect(clippy::disallowed_methods, reason = "this is the one call site")]
pub fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}
