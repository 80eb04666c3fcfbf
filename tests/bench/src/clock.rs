//! The clocks of the benches, and the only way to let time pass.

use std::time::Duration;

use nix::poll::{PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

/// Monotonic, from an arbitrary start.
pub(crate) fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// The wall clock, by which the kernel stamps packets.
pub(crate) fn wall() -> Duration {
    clock_gettime(ClockId::CLOCK_REALTIME).map_or(Duration::ZERO, Duration::from)
}

/// Lets time pass where there is no event to wait for.
pub(crate) fn pass(millis: u16) {
    // Nothing is watched, so it ends by its timeout, or a little early by a signal.
    poll(&mut [], PollTimeout::from(millis)).ok();
}

/// Some instant, from which virtual time counts.
#[expect(clippy::disallowed_methods, reason = "this file is the one clock")]
pub(crate) fn instant() -> std::time::Instant {
    std::time::Instant::now()
}
