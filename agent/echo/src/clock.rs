//! The clocks by which the kernel stamps and by which we wait.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::moment::Moment;

/// Readings at most: beside a full machine one of them is likely to be undisturbed.
const READINGS: usize = 4;
/// A reading this tight is undisturbed.
const TIGHT: Duration = Duration::from_micros(1);

/// Reads both clocks as close together as the machine lets us.
pub(crate) fn read() -> Moment {
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

fn read_once() -> Moment {
    let before = gettime(ClockId::CLOCK_MONOTONIC);
    let wall = gettime(ClockId::CLOCK_REALTIME);
    let after = gettime(ClockId::CLOCK_MONOTONIC);
    Moment {
        monotonic: before,
        wall,
        slack: after.saturating_sub(before),
    }
}

/// These two clocks exist on every Linux; a wall clock before 1970 reads as 1970.
fn gettime(clock: ClockId) -> Duration {
    let time = clock_gettime(clock).expect("the clock exists");
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec()).unwrap_or(0))
}
