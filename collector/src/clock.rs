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

/// Milliseconds as seconds, both since the Unix epoch.
pub fn seconds(unix_ms: i64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds since 1970 are exact in an f64 for 285,000 years"
    )]
    let ms = unix_ms as f64;
    ms / 1000.0
}

/// Seconds as milliseconds, both since the Unix epoch.
pub fn from_seconds(unix_s: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a cast from f64 saturates")]
    let ms = (unix_s * 1000.0).round() as i64;
    ms
}
