//! How long to leave a collector alone that did not take a report.
//!
//! Pure. Full jitter: a uniform share of an exponentially growing time, so that thousands of agents that lost their
//! collector together do not come back together. It never gives up.

use std::time::Duration;

/// The first wait is at most this.
const FIRST: Duration = Duration::from_secs(1);

/// No wait is longer, unless the collector asks for it.
const LONGEST: Duration = Duration::from_mins(5);

/// The longest wait that a collector can ask for: a wrong header must not silence an agent for ever.
const LONGEST_ASKED: Duration = Duration::from_hours(1);

/// The wait after the `failures`-th failure in a row (from 1); `random` in 0..1; `asked` is the collector's Retry-After
/// (RFC 9110 §10.2.3), which is a least wait.
pub(crate) fn delay(failures: u32, random: f64, asked: Option<Duration>) -> Duration {
    let ceiling = FIRST
        .saturating_mul(
            1_u32
                .checked_shl(failures.saturating_sub(1))
                .unwrap_or(u32::MAX),
        )
        .min(LONGEST);
    let jittered = ceiling.mul_f64(random.clamp(0.0, 1.0));
    asked.map_or(jittered, |asked| asked.min(LONGEST_ASKED) + jittered)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_are_bounded_and_honour_the_collector(failures in 1u32..200, random in 0.0f64..1.0, asked_s in prop::option::of(0u64..10_000)) {
            let asked = asked_s.map(Duration::from_secs);
            let wait = delay(failures, random, asked);
            prop_assert!(wait <= LONGEST + asked.unwrap_or_default().min(LONGEST_ASKED));
            prop_assert!(wait >= asked.unwrap_or_default().min(LONGEST_ASKED));
        }
    }

    #[test]
    fn the_ceiling_doubles_up_to_five_minutes() {
        let at_most: Vec<u64> = (1..=10)
            .map(|failures| delay(failures, 1.0, None).as_secs())
            .collect();
        assert_eq!(at_most, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    }
}
