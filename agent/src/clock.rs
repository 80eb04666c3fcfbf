//! The one place where this program reads a clock; everything else is given a `now`.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The wall clock and the monotonic clock, read together: what turns an [`Instant`] into a time of day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchor {
    /// The monotonic clock of this process.
    pub(crate) instant: Instant,
    /// UTC, milliseconds since the Unix epoch.
    pub(crate) wall_unix_ms: i64,
    /// Microseconds since boot, time asleep included.
    pub(crate) boot_us: u64,
}

impl Anchor {
    /// Milliseconds from this anchor to `at`, negative when `at` was earlier.
    pub(crate) fn offset_ms(&self, at: Instant) -> i64 {
        let (ahead, behind) = (
            at.saturating_duration_since(self.instant),
            self.instant.saturating_duration_since(at),
        );
        let ms =
            |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        ms(ahead) - ms(behind)
    }
}

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "this is the one call site")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Both clocks at one moment.
pub(crate) fn anchor() -> Anchor {
    Anchor {
        instant: now(),
        wall_unix_ms: unix_ms(),
        boot_us: boot_us(),
    }
}

/// UTC, milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "this is the one call site")]
pub(crate) fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

#[cfg(target_os = "linux")]
fn boot_us() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .ok()
        .and_then(|time| u64::try_from(std::time::Duration::from(time).as_micros()).ok())
        .unwrap_or(0)
}

#[cfg(not(target_os = "linux"))]
fn boot_us() -> u64 {
    sysinfo::System::uptime()
        .unwrap_or(0)
        .saturating_mul(1_000_000)
}
