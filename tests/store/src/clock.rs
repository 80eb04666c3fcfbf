//! The clocks of the bench, and the only way to let time pass.

use std::time::Duration;

use nix::poll::{PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

/// Processor time of this program, all threads.
pub(crate) fn processor() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Monotonic, from an arbitrary start.
pub(crate) fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// Lets time pass where there is no event to wait for.
pub(crate) fn pass(millis: u16) {
    // Nothing is watched, so it ends by its timeout, or a little early by a signal.
    poll(&mut [], PollTimeout::from(millis)).ok();
}
