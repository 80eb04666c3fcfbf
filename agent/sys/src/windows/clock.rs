//! The clocks of Windows (`QueryPerformanceCounter`, interrupt time).

use std::sync::OnceLock;
use std::time::Duration;

use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};
use windows_sys::Win32::System::SystemInformation::GetTickCount64;
use windows_sys::Win32::System::WindowsProgramming::QueryUnbiasedInterruptTime;
use windows_sys::core::{s, w};

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

/// Since boot, time asleep included.
#[expect(unsafe_code, reason = "a system call")]
pub fn with_sleep() -> Duration {
    match precise() {
        Some(precise) => read(precise.with_sleep),
        // SAFETY: takes nothing and cannot fail. It moves in steps of 10 to 16 ms.
        None => Duration::from_millis(unsafe { GetTickCount64() }),
    }
}

/// Since boot, time asleep left out.
#[expect(
    unsafe_code,
    reason = "QueryUnbiasedInterruptTime writes through a pointer"
)]
pub fn without_sleep() -> Duration {
    if let Some(precise) = precise() {
        return read(precise.without_sleep);
    }
    let mut units = 0;
    // SAFETY: `units` lives through the call; it fails for a null pointer only.
    unsafe { QueryUnbiasedInterruptTime(&raw mut units) };
    Duration::from_micros(units / UNITS_PER_MICROSECOND)
}

type Query = unsafe extern "system" fn(*mut u64);

/// The two clocks that move without steps, of Windows 10 and later.
#[derive(Clone, Copy)]
struct Precise {
    with_sleep: Query,
    without_sleep: Query,
}

/// Looked up by name: wine, and older systems, would not start a program that links them.
#[expect(unsafe_code, reason = "looks up functions by name")]
fn precise() -> Option<Precise> {
    static FOUND: OnceLock<Option<Precise>> = OnceLock::new();
    // SAFETY: the names are constant and end in zero, the library is never unloaded, and both functions take one pointer to
    // an unsigned 64-bit number and return nothing (realtimeapiset.h).
    *FOUND.get_or_init(|| unsafe {
        let library = GetModuleHandleW(w!("kernelbase.dll"));
        if library.is_null() {
            return None;
        }
        let with_sleep = GetProcAddress(library, s!("QueryInterruptTimePrecise"))?;
        let without_sleep = GetProcAddress(library, s!("QueryUnbiasedInterruptTimePrecise"))?;
        Some(Precise {
            with_sleep: std::mem::transmute::<unsafe extern "system" fn() -> isize, Query>(
                with_sleep,
            ),
            without_sleep: std::mem::transmute::<unsafe extern "system" fn() -> isize, Query>(
                without_sleep,
            ),
        })
    })
}

#[expect(unsafe_code, reason = "the clock writes through a pointer")]
fn read(query: Query) -> Duration {
    let mut units = 0;
    // SAFETY: `units` lives through the call.
    unsafe { query(&raw mut units) };
    Duration::from_micros(units / UNITS_PER_MICROSECOND)
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
        let slack = Duration::from_secs(1); // the two may move in steps of their own
        assert!(with_sleep() + slack >= without_sleep());
        assert!(without_sleep() > Duration::ZERO);
    }
}
