//! The clocks of the bench.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Monotonic.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this program where time is read"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock, milliseconds since 1970.
pub(crate) fn unix_ms() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).map_or(Duration::ZERO, Duration::from);
    i64::try_from(now.as_millis()).unwrap_or(0)
}
