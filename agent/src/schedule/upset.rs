//! What happened to time between two readings of all clocks: a sleep, a step of the wall clock, or nothing.
//!
//! Pure. Time awake stands still while the machine sleeps, time since boot does not: their difference is the sleep. The wall
//! clock runs with the time since boot; what it gains or loses at once is a step, for whoever only corrects its rate (at
//! most a tenth per mille here, by NTP's own bound) stays far below.

use std::time::{Duration, Instant};

/// All clocks read together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// The clock that everything is scheduled by.
    pub(crate) at: Instant,
    /// Since an arbitrary start, time asleep left out.
    pub(crate) awake: Duration,
    /// Since boot, time asleep included.
    pub(crate) boot: Duration,
    /// UTC, milliseconds since the Unix epoch.
    pub(crate) wall_unix_ms: i64,
    /// The readings are at most this far apart.
    pub(crate) slack: Duration,
}

/// What happened between two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Upset {
    /// From the first reading to the second, time asleep included.
    pub(crate) span: Duration,
    /// How long the machine slept.
    pub(crate) asleep: Option<Duration>,
    /// By how much the wall clock was set, milliseconds, forward positive.
    pub(crate) step_ms: Option<i64>,
}

/// A shorter sleep is a pause like others.
const LEAST_SLEEP: Duration = Duration::from_millis(250);

/// A smaller step changes no figure: times on the wire are in milliseconds, and RTTs do not come from the wall clock but by
/// pairs of stamps that are checked on their own.
const LEAST_STEP_MS: i64 = 50;

/// How far rates may differ: one part in so many. The kernel lets NTP change the rate by 500 parts in a million.
const RATE: u32 = 1_000;

/// Says what happened from `before` to `now`; `None` when time just passed.
pub(crate) fn judge(before: &Reading, now: &Reading) -> Option<Upset> {
    let slack = before.slack + now.slack;
    let span = now.boot.saturating_sub(before.boot);
    let awake = now.awake.saturating_sub(before.awake);
    let asleep = Some(span.saturating_sub(awake)).filter(|asleep| *asleep > LEAST_SLEEP + slack);
    let passed = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    let step = now
        .wall_unix_ms
        .saturating_sub(before.wall_unix_ms)
        .saturating_sub(passed);
    let tolerated = i64::try_from((slack + span / RATE).as_millis()).unwrap_or(i64::MAX);
    let step_ms = Some(step).filter(|step| {
        step.unsigned_abs() > LEAST_STEP_MS.saturating_add(tolerated).unsigned_abs()
    });
    (asleep.is_some() || step_ms.is_some()).then_some(Upset {
        span,
        asleep,
        step_ms,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn reading(at: Instant) -> Reading {
        Reading {
            at,
            awake: Duration::from_hours(2),
            boot: Duration::from_hours(10),
            wall_unix_ms: 1_800_000_000_000,
            slack: Duration::from_micros(2),
        }
    }

    /// The clocks after `passed` awake, `slept` asleep, and a setting of the wall clock.
    fn later(before: &Reading, passed: Duration, slept: Duration, set_ms: i64) -> Reading {
        let all = i64::try_from((passed + slept).as_millis()).expect("short");
        Reading {
            at: before.at + passed,
            awake: before.awake + passed,
            boot: before.boot + passed + slept,
            wall_unix_ms: before.wall_unix_ms + all + set_ms,
            slack: before.slack,
        }
    }

    #[test]
    fn sleeps_and_steps_are_told_from_time_that_passes() {
        let before = reading(crate::clock::now());
        let second = Duration::from_secs(1);
        let night = Duration::from_hours(8);
        for (name, slept, set_ms, want) in [
            ("a second", Duration::ZERO, 0, None),
            (
                "set an hour ahead",
                Duration::ZERO,
                HOUR_MS,
                Some((None, Some(HOUR_MS))),
            ),
            (
                "set an hour back",
                Duration::ZERO,
                -HOUR_MS,
                Some((None, Some(-HOUR_MS))),
            ),
            ("a night asleep", night, 0, Some((Some(night), None))),
            ("asleep, and set on waking", night, -700, None),
            ("a nudge", Duration::ZERO, 40, None),
        ] {
            let got = judge(&before, &later(&before, second, slept, set_ms));
            if name == "asleep, and set on waking" {
                let upset = got.expect("it slept");
                assert_eq!(upset.asleep, Some(night), "{name}");
                // Over eight hours a rate within bounds explains as much.
                assert_eq!(upset.step_ms, None, "{name}");
                continue;
            }
            assert_eq!(
                got.map(|upset| (upset.asleep, upset.step_ms)),
                want,
                "{name}"
            );
        }
    }

    proptest! {
        /// Beyond the tolerance every step and every sleep is seen for what it is, within it nothing is.
        #[test]
        fn what_is_seen_is_what_was(
            passed_ms in 0u64..100_000,
            slept_ms in prop_oneof![Just(0u64), 0u64..100_000_000],
            set_ms in prop_oneof![Just(0i64), -HOUR_MS..HOUR_MS, -200i64..200],
        ) {
            let before = reading(crate::clock::now());
            let (passed, slept) = (Duration::from_millis(passed_ms), Duration::from_millis(slept_ms));
            let after = later(&before, passed, slept, set_ms);
            let upset = judge(&before, &after);
            let bound = LEAST_STEP_MS + i64::try_from((passed_ms + slept_ms) / 1_000).expect("small") + 1;
            let seen = upset.and_then(|upset| upset.step_ms);
            if set_ms.abs() > bound {
                prop_assert_eq!(seen, Some(set_ms));
            } else if set_ms.abs() <= LEAST_STEP_MS {
                prop_assert_eq!(seen, None);
            }
            let asleep = upset.and_then(|upset| upset.asleep);
            prop_assert_eq!(asleep.is_some(), slept > LEAST_SLEEP + 2 * before.slack);
            prop_assert!(asleep.is_none_or(|asleep| asleep == slept));
        }

        /// A clock whose rate NTP corrects is not a clock that was set.
        #[test]
        fn a_corrected_rate_is_no_step(passed_ms in 0u64..1_000_000, ppm in -500i64..500) {
            let before = reading(crate::clock::now());
            let drift = i64::try_from(passed_ms).expect("small") * ppm / 1_000_000;
            let after = later(&before, Duration::from_millis(passed_ms), Duration::ZERO, drift);
            prop_assert_eq!(judge(&before, &after), None);
        }
    }
}
