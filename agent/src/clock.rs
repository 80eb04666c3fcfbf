//! The one place where this program reads a clock; everything else is given a `now`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::schedule::upset::Reading;

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
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
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

/// Readings at most: beside a full machine one of them is likely to be undisturbed.
const READINGS: usize = 4;

/// A reading this tight is undisturbed.
const TIGHT: Duration = Duration::from_micros(100);

/// All clocks, as close together as the machine lets us.
pub(crate) fn read_all() -> Reading {
    let mut best = read_once();
    for _ in 1..READINGS {
        if best.slack <= TIGHT {
            break;
        }
        let again = read_once();
        if again.slack < best.slack {
            best = again;
        }
    }
    best
}

fn read_once() -> Reading {
    let at = now();
    let (awake, boot, wall_unix_ms) = (awake(), boot(), unix_ms());
    Reading {
        at,
        awake,
        boot,
        wall_unix_ms,
        slack: now().saturating_duration_since(at),
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

#[cfg(any(target_os = "linux", windows))]
fn boot_us() -> u64 {
    u64::try_from(boot().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(windows)]
use firstmile_sys::windows::clock::{with_sleep as boot, without_sleep as awake};

#[cfg(not(any(target_os = "linux", windows)))]
fn boot_us() -> u64 {
    sysinfo::System::uptime()
        .unwrap_or(0)
        .saturating_mul(1_000_000)
}

/// Since boot, time asleep included.
#[cfg(target_os = "linux")]
fn boot() -> Duration {
    linux(nix::time::ClockId::CLOCK_BOOTTIME)
}

/// Time asleep left out.
#[cfg(target_os = "linux")]
fn awake() -> Duration {
    linux(nix::time::ClockId::CLOCK_MONOTONIC)
}

#[cfg(target_os = "linux")]
fn linux(clock: nix::time::ClockId) -> Duration {
    nix::time::clock_gettime(clock)
        .map(Duration::from)
        .unwrap_or_default()
}

/// Since the first call; the time since boot comes in whole seconds there.
#[cfg(not(any(target_os = "linux", windows)))]
fn boot() -> Duration {
    static FIRST: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    now().saturating_duration_since(*FIRST.get_or_init(now))
}

/// Where nobody tells them apart sleeps go unseen.
#[cfg(not(any(target_os = "linux", windows)))]
fn awake() -> Duration {
    boot()
}
