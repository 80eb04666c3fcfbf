//! When the probes of one kind are due.
//!
//! Pure. Each stream begins at a random phase; agents, targets and streams therefore neither start together nor fall into
//! step with anything periodic in the network, the turn of the minute least of all. Pulses are a Poisson process whose gaps
//! are kept between a fifth and three times the interval (RFC 2330 §11.1.1; the bounds are ours, so that no gap hides an
//! event and no two packets meet). Everything else is periodic from a random start (RFC 3432 §3), its gaps uniform in
//! 0.9 to 1.0 of the interval (a spread of ours): a change is then met within one interval, which a Poisson process
//! cannot promise.
//!
//! Invariants: due times never run backwards, and what a machine missed that slept or starved is counted, not made up for.

use std::time::{Duration, Instant};

/// Shortest and longest gap of a pulse, and the scale of the exponential between them, in intervals: with these the mean is
/// the interval itself.
const PULSE_LEAST: f64 = 0.2;
const PULSE_MOST: f64 = 3.0;
const PULSE_SCALE: f64 = 0.9604;

/// Shortest gap of a round, in intervals; the longest is one.
const ROUND_LEAST: f64 = 0.9;

/// How the gaps of a stream are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Law {
    /// Exponential, truncated: no phase of the network is favoured.
    Poisson,
    /// Nearly even: there is a bound on the time until the next.
    Periodic,
}

impl Law {
    /// The gap that `random`, uniform in 0 to 1, stands for.
    pub(crate) fn gap(self, interval: Duration, random: f64) -> Duration {
        let random = random.clamp(0.0, 1.0);
        interval.mul_f64(match self {
            Self::Periodic => ROUND_LEAST + (1.0 - ROUND_LEAST) * random,
            Self::Poisson => {
                // The inverse of the distribution of an exponential that ends at the longest gap.
                let whole = 1.0 - (-(PULSE_MOST - PULSE_LEAST) / PULSE_SCALE).exp();
                (PULSE_LEAST - PULSE_SCALE * (1.0 - random * whole).ln()).min(PULSE_MOST)
            }
        })
    }
}

/// Due times of one kind of probe.
#[derive(Debug)]
pub(crate) struct Stream {
    law: Law,
    interval: Duration,
    due: Instant,
}

impl Stream {
    /// A stream that is first due at `due`.
    pub(crate) const fn new(law: Law, interval: Duration, due: Instant) -> Self {
        Self { law, interval, due }
    }

    /// When it is due.
    pub(crate) const fn due(&self) -> Instant {
        self.due
    }

    /// Sets the next due time from the one that is now being served, and says how many were missed in between. Whoever
    /// is late by less than a gap catches up, so that the mean holds; whoever is later starts afresh.
    pub(crate) fn advance(&mut self, now: Instant, random: f64) -> u64 {
        let gap = self.law.gap(self.interval, random);
        let next = self.due + gap;
        if next > now {
            self.due = next;
            return 0;
        }
        let late = now.saturating_duration_since(self.due);
        self.due = now + gap;
        self.expected_in(late)
    }

    /// Serves it now, though it may not be due: something else has just done its work.
    pub(crate) fn restart(&mut self, now: Instant, random: f64) {
        self.due = now + self.law.gap(self.interval, random);
    }

    /// Brings the due time forward.
    pub(crate) fn by(&mut self, at: Instant) {
        self.due = self.due.min(at);
    }

    /// How many are due in a time.
    pub(crate) fn expected_in(&self, time: Duration) -> u64 {
        let count = time.as_nanos() / self.interval.as_nanos().max(1);
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    proptest! {
        #[test]
        fn gaps_are_where_the_law_wants_them(random in 0.0f64..=1.0, interval_ms in 100u64..10_000_000) {
            let interval = Duration::from_millis(interval_ms);
            let share = |law: Law| law.gap(interval, random).as_secs_f64() / interval.as_secs_f64();
            prop_assert!((0.899..=1.001).contains(&share(Law::Periodic)));
            prop_assert!((0.199..=3.001).contains(&share(Law::Poisson)));
        }

        #[test]
        fn due_times_never_run_backwards_and_nothing_is_made_up_for(
            waits_ms in prop::collection::vec(0u64..60_000, 1..100),
            random in 0.0f64..1.0,
        ) {
            let mut now = crate::clock::now();
            let start = now;
            let mut stream = Stream::new(Law::Periodic, 5 * SECOND, now);
            let (mut served, mut missed) = (0, 0);
            for wait_ms in waits_ms {
                now += Duration::from_millis(wait_ms);
                if now >= stream.due() {
                    let before = stream.due();
                    missed += stream.advance(now, random);
                    served += 1;
                    prop_assert!(stream.due() > now && stream.due() > before);
                }
            }
            let most = (now - start).as_secs_f64() / 4.5 + 1.0;
            prop_assert!(f64::from(served) <= most, "{served} of {most}");
            prop_assert!(missed <= stream.expected_in(now - start));
        }
    }

    /// The mean of the law by the trapezoid rule over its quantiles.
    fn mean(law: Law) -> f64 {
        let steps = 100_000_u32;
        let sum: f64 = (0..steps)
            .map(|step| law.gap(SECOND, (f64::from(step) + 0.5) / f64::from(steps)))
            .map(|gap| gap.as_secs_f64())
            .sum();
        sum / f64::from(steps)
    }

    #[test]
    fn truncated_pulses_keep_their_rate_and_rounds_are_a_little_early() {
        assert!((mean(Law::Poisson) - 1.0).abs() < 0.002);
        assert!((mean(Law::Periodic) - 0.95).abs() < 0.001);
    }

    #[test]
    fn between_their_bounds_pulses_forget_the_past() {
        // P(gap > a + b | gap > a) = P(gap > b) but for the truncation: the median of what is left after any wait is near
        // that at the start.
        let above = |least: f64| {
            let gaps: Vec<f64> = (0..10_000_u32)
                .map(|step| Law::Poisson.gap(SECOND, f64::from(step) / 10_000.0))
                .map(|gap| gap.as_secs_f64() - least)
                .filter(|rest| *rest > 0.0)
                .collect();
            gaps[gaps.len() / 2]
        };
        let (at_once, later) = (above(0.2), above(0.8));
        assert!((at_once - later).abs() < 0.1, "{at_once} {later}");
    }
}
