//! The clocks of the bench.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Processor time of this program, all threads.
pub(crate) fn processor() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
