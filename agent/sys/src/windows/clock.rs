//! The clocks of Windows (`QueryPerformanceCounter`, interrupt time).

use std::time::Duration;

use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};
use windows_sys::Win32::System::SystemInformation::GetTickCount64;
use windows_sys::Win32::System::WindowsProgramming::QueryUnbiasedInterruptTime;

/// Units of interrupt time in a microsecond: it counts in 100 ns.
const UNITS_PER_MICROSECOND: u64 = 10;

/// A moment of the performance counter, the finest clock there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(i64);

impl Ticks {
    /// Reads the counter.
    #[expect(
        unsafe_code,
        reason = "QueryPerformanceCounter writes through a pointer"
    )]
    pub fn now() -> Self {
        let mut ticks = 0;
        // SAFETY: `ticks` lives through the call, which cannot fail since Windows XP.
        unsafe { QueryPerformanceCounter(&raw mut ticks) };
        Self(ticks)
    }

    /// Time from `earlier` to this moment; zero when it was not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        let ticks = u128::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0);
        let nanoseconds = ticks * 1_000_000_000 / u128::from(per_second());
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// Microseconds since boot, time asleep included; it moves in steps of the system timer, 10 to 16 ms.
#[expect(unsafe_code, reason = "a system call")]
pub fn with_sleep_us() -> u64 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { GetTickCount64() }.saturating_mul(1_000)
}

/// Microseconds since boot without the time asleep; it moves in steps of the system timer too.
#[expect(
    unsafe_code,
    reason = "QueryUnbiasedInterruptTime writes through a pointer"
)]
pub fn without_sleep_us() -> u64 {
    let mut units = 0;
    // SAFETY: `units` lives through the call; it fails for a null pointer only.
    unsafe { QueryUnbiasedInterruptTime(&raw mut units) };
    units / UNITS_PER_MICROSECOND
}

#[expect(
    unsafe_code,
    reason = "QueryPerformanceFrequency writes through a pointer"
)]
fn per_second() -> u64 {
    let mut frequency = 0;
    // SAFETY: `frequency` lives through the call, which cannot fail since Windows XP.
    unsafe { QueryPerformanceFrequency(&raw mut frequency) };
    u64::try_from(frequency).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_goes_forward_and_never_gives_a_negative_time() {
        let (first, second) = (Ticks::now(), Ticks::now());
        assert!(second >= first);
        assert_eq!(first.since(second).min(Duration::ZERO), Duration::ZERO);
        assert_eq!(first.since(first), Duration::ZERO);
    }

    #[test]
    fn time_asleep_is_in_one_clock_and_not_in_the_other() {
        let slack_us = 1_000_000; // the two move in steps of their own
        assert!(with_sleep_us() + slack_us >= without_sleep_us());
        assert!(without_sleep_us() > 0);
    }
}
