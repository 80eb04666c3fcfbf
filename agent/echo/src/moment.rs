//! Two clocks read together. Pure.
//!
//! Kernel stamps are wall clock. Their difference is an RTT only if nobody set the clock between them: the wall clock minus
//! the monotonic one is constant but for such steps, and for suspends, which stop the monotonic one.

use std::time::Duration;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic, from an arbitrary start.
    pub monotonic: Duration,
    /// Wall clock, since the Unix epoch.
    pub wall: Duration,
    /// The two readings are at most this far apart.
    pub slack: Duration,
}

impl Moment {
    /// Nanoseconds by which rounding alone may change the distance of the clocks.
    const ROUNDING_NS: i128 = 1_000;

    /// Whether the wall clock was set, or the machine slept, between two readings. Less than the slack of both goes unseen.
    pub fn stepped_until(&self, later: &Self) -> bool {
        let slack = signed_ns(self.slack) + signed_ns(later.slack) + Self::ROUNDING_NS;
        (later.distance_ns() - self.distance_ns()).abs() > slack
    }

    fn distance_ns(&self) -> i128 {
        signed_ns(self.wall) - signed_ns(self.monotonic)
    }
}

fn signed_ns(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const US: Duration = Duration::from_micros(1);

    #[test]
    fn a_step_is_what_the_slack_does_not_explain() {
        let before = Moment {
            monotonic: 10 * US,
            wall: 1_000_000 * US,
            slack: 2 * US,
        };
        let after = |wall_us: u64| Moment {
            monotonic: 110 * US,
            wall: Duration::from_micros(wall_us),
            slack: 3 * US,
        };
        for (name, wall_us, want) in [
            ("even", 1_000_100, false),
            ("within the slack", 1_000_105, false),
            ("forward", 1_000_107, true),
            ("back", 1_000_093, true),
            (
                "an hour back, before the epoch's start plus an hour",
                0,
                true,
            ),
        ] {
            assert_eq!(before.stepped_until(&after(wall_us)), want, "{name}");
        }
    }

    proptest! {
        #[test]
        fn only_steps_beyond_the_slack_are_seen(elapsed_us in 0u64..10_000_000, slack_ns in 0u64..100_000, step_ns in -1_000_000i64..1_000_000) {
            let slack = Duration::from_nanos(slack_ns);
            let before = Moment { monotonic: 5 * US, wall: Duration::from_secs(1_000), slack };
            let elapsed = Duration::from_micros(elapsed_us);
            let wall = before.wall + elapsed;
            let step = Duration::from_nanos(step_ns.unsigned_abs());
            let wall = if step_ns < 0 { wall.saturating_sub(step) } else { wall + step };
            let after = Moment { monotonic: before.monotonic + elapsed, wall, slack };
            let seen = u128::from(step_ns.unsigned_abs()) > u128::from(2 * slack_ns) + 1_000;
            prop_assert_eq!(before.stepped_until(&after), seen);
        }
    }
}
