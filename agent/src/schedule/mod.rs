//! What to probe when, for one target.
//!
//! Pure: `now` and randomness are parameters. Each kind of probe is a stream that starts at a random phase of its period
//! and then keeps to its grid (RFC 3432 §4), each time displaced by up to a tenth of the period, so that agents and
//! targets neither start together nor stay in step with anything periodic in the network. Invariants: due times of a
//! stream never run backwards, a stream never fires faster than its period allows on average, and ticks missed by a
//! sleeping machine are counted and skipped, not made up for.

pub(crate) mod backoff;
pub(crate) mod trigger;

use std::time::{Duration, Instant};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    Resolve,
    Echo,
    Connect,
    Https,
    Tls,
    Quic,
    Trace { burst: bool },
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Act(Action),
    WaitUntil(Instant),
}

/// How often each stream of a target fires; `None` for a stream that the target does not have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Periods {
    pub(crate) resolve: Option<Duration>,
    pub(crate) echo: Option<Duration>,
    pub(crate) connect: Option<Duration>,
    pub(crate) https: Option<Duration>,
    pub(crate) tls: Option<Duration>,
    pub(crate) quic: Option<Duration>,
    pub(crate) trace: Option<Duration>,
    pub(crate) burst_interval: Duration,
    pub(crate) burst_rounds: u16,
}

/// Rounds of one burst at most, however often it is prolonged; then the cool-down.
const MAX_BURST_ROUNDS: u16 = 12;

/// Pause after a burst of [`MAX_BURST_ROUNDS`] before another may start, in burst intervals.
const COOL_DOWN_INTERVALS: u32 = 6;

/// Share of the period by which a due time is displaced, to either side together.
const JITTER_SHARE: f64 = 0.1;

/// First probes of the slow streams come within this time, so that a new site soon shows something.
const FIRST_WITHIN: Duration = Duration::from_secs(4);

/// The first path round waits for the name to be resolved, and not for that of other targets.
const FIRST_ROUND_AFTER: Duration = Duration::from_millis(500);

/// First path rounds of several targets are spread over this time.
const FIRST_ROUND_SPREAD: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Stream {
    action: Action,
    period: Duration,
    /// The next point of the grid.
    grid: Instant,
    /// The grid point with its displacement.
    due: Instant,
}

#[derive(Debug)]
struct Burst {
    next: Instant,
    left: u16,
    done: u16,
}

/// The schedule of one target.
#[derive(Debug)]
pub(crate) struct TargetSchedule {
    streams: Vec<Stream>,
    burst: Option<Burst>,
    no_burst_before: Instant,
    burst_interval: Duration,
    burst_rounds: u16,
    traces: bool,
    missed: u64,
}

impl TargetSchedule {
    /// Starts every stream at a random phase; the first path rounds are a burst, to learn the path.
    pub(crate) fn new(periods: &Periods, now: Instant, random: &mut impl FnMut() -> f64) -> Self {
        let mut streams = Vec::new();
        let mut add = |action, period: Option<Duration>, first: Duration| {
            if let Some(period) = period {
                streams.push(Stream {
                    action,
                    period,
                    grid: now + first,
                    due: now + first,
                });
            }
        };
        add(Action::Resolve, periods.resolve, Duration::ZERO);
        for (action, period) in [
            (Action::Echo, periods.echo),
            (Action::Connect, periods.connect),
            (Action::Https, periods.https),
            (Action::Tls, periods.tls),
            (Action::Quic, periods.quic),
        ] {
            let phase = period
                .unwrap_or_default()
                .min(FIRST_WITHIN)
                .mul_f64(random());
            add(action, period, phase);
        }
        let first_trace = FIRST_ROUND_AFTER + FIRST_ROUND_SPREAD.mul_f64(random());
        let after_learning = periods.burst_interval * u32::from(periods.burst_rounds);
        let trace_phase = periods.trace.unwrap_or_default().mul_f64(random());
        add(
            Action::Trace { burst: false },
            periods.trace,
            after_learning + first_trace + trace_phase,
        );
        let burst = Burst {
            next: now + first_trace,
            left: periods.burst_rounds.max(1),
            done: 0,
        };
        Self {
            streams,
            burst: periods.trace.is_some().then_some(burst),
            no_burst_before: now,
            burst_interval: periods.burst_interval,
            burst_rounds: periods.burst_rounds,
            traces: periods.trace.is_some(),
            missed: 0,
        }
    }

    /// Says what to do next. Call it again after each action and deadline.
    pub(crate) fn poll(&mut self, now: Instant, random: &mut impl FnMut() -> f64) -> Step {
        if let Some(step) = self.poll_burst(now) {
            return step;
        }
        let Some(stream) = self.streams.iter_mut().min_by_key(|stream| stream.due) else {
            return Step::WaitUntil(now + Duration::from_hours(1));
        };
        if now >= stream.due {
            self.missed += stream.advance(now, random());
            return Step::Act(stream.action);
        }
        let burst = self.burst.as_ref().map(|burst| burst.next);
        Step::WaitUntil(
            burst
                .into_iter()
                .chain([stream.due])
                .min()
                .unwrap_or(stream.due),
        )
    }

    /// A suspicion: look at the path now, and a few times more. A running burst is prolonged, up to a cap.
    /// Returns whether that had any effect.
    pub(crate) fn start_burst(&mut self, now: Instant) -> bool {
        if !self.traces || self.burst_rounds == 0 {
            return false;
        }
        match &mut self.burst {
            Some(burst) => {
                burst.left = self
                    .burst_rounds
                    .min(MAX_BURST_ROUNDS.saturating_sub(burst.done));
                true
            }
            None if now < self.no_burst_before => false,
            None => {
                self.burst = Some(Burst {
                    next: now,
                    left: self.burst_rounds,
                    done: 0,
                });
                true
            }
        }
    }

    /// Brings the next resolution forward to `at` when the answer's TTL ends before the stream's own time.
    pub(crate) fn resolve_by(&mut self, at: Instant) {
        if let Some(stream) = self
            .streams
            .iter_mut()
            .find(|stream| stream.action == Action::Resolve)
            && at < stream.due
        {
            stream.grid = at;
            stream.due = at;
        }
    }

    /// Ticks that were skipped because the machine slept or could not keep up.
    pub(crate) const fn missed(&self) -> u64 {
        self.missed
    }

    fn poll_burst(&mut self, now: Instant) -> Option<Step> {
        let burst = self.burst.as_mut()?;
        if burst.left == 0 {
            // Only a burst that ran into its cap has to rest: the next event may come right after a short one.
            if burst.done >= MAX_BURST_ROUNDS {
                self.no_burst_before = now + self.burst_interval * COOL_DOWN_INTERVALS;
            }
            self.burst = None;
            return None;
        }
        if now < burst.next {
            return None;
        }
        burst.left -= 1;
        burst.done += 1;
        burst.next = now + self.burst_interval;
        Some(Step::Act(Action::Trace { burst: true }))
    }
}

impl Stream {
    /// Moves to the next point of the grid after `now`; returns how many points were skipped.
    fn advance(&mut self, now: Instant, random: f64) -> u64 {
        self.grid += self.period;
        let mut skipped = 0;
        if self.grid < now {
            let behind = now.saturating_duration_since(self.grid).as_nanos()
                / self.period.as_nanos().max(1)
                + 1;
            let steps = u32::try_from(behind).unwrap_or(u32::MAX);
            self.grid += self.period * steps;
            skipped = u64::from(steps);
        }
        self.due =
            (self.grid + self.period.mul_f64(JITTER_SHARE * random.clamp(0.0, 1.0))).max(now);
        skipped
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn periods() -> Periods {
        Periods {
            resolve: Some(60 * SECOND),
            echo: Some(5 * SECOND),
            connect: Some(5 * SECOND),
            https: Some(300 * SECOND),
            tls: None,
            quic: None,
            trace: Some(60 * SECOND),
            burst_interval: 5 * SECOND,
            burst_rounds: 4,
        }
    }

    /// Runs a schedule on a virtual clock and lists what it did when.
    fn drive(
        periods: &Periods,
        span: Duration,
        random: f64,
        at_start: impl FnOnce(&mut TargetSchedule, Instant),
    ) -> Vec<(Duration, Action)> {
        let start = crate::clock::now();
        let mut random = || random;
        let mut schedule = TargetSchedule::new(periods, start, &mut random);
        at_start(&mut schedule, start);
        let (mut now, mut done) = (start, Vec::new());
        while now < start + span {
            match schedule.poll(now, &mut random) {
                Step::Act(action) => done.push((now - start, action)),
                Step::WaitUntil(deadline) => {
                    assert!(deadline > now, "a wait that does not wait would spin");
                    now = deadline;
                }
            }
        }
        done
    }

    fn times(done: &[(Duration, Action)], action: Action) -> Vec<Duration> {
        done.iter()
            .filter(|(_, a)| *a == action)
            .map(|(at, _)| *at)
            .collect()
    }

    #[test]
    fn a_name_is_resolved_before_anything_else_and_the_path_is_learnt_in_a_burst() {
        let done = drive(&periods(), 30 * SECOND, 0.5, |_, _| ());
        assert_eq!(done[0], (Duration::ZERO, Action::Resolve));
        let bursts = times(&done, Action::Trace { burst: true });
        assert_eq!(bursts, [1, 6, 11, 16].map(|s| s * SECOND));
        assert!(times(&done, Action::Trace { burst: false }).is_empty());
    }

    #[test]
    fn a_burst_is_prolonged_up_to_a_cap_and_then_cools_down() {
        let start = crate::clock::now();
        let mut random = || 0.0;
        let mut schedule = TargetSchedule::new(&periods(), start, &mut random);
        let (mut now, mut bursts) = (start, Vec::new());
        while now < start + 120 * SECOND {
            match schedule.poll(now, &mut random) {
                Step::Act(Action::Trace { burst: true }) => bursts.push((now - start).as_secs()),
                Step::Act(_) => {}
                Step::WaitUntil(deadline) => now = deadline,
            }
            schedule.start_burst(now);
        }
        let first = bursts.iter().take_while(|at| **at <= 55).count();
        assert_eq!(first, usize::from(MAX_BURST_ROUNDS));
        assert!(
            bursts.windows(2).any(|pair| pair[1] - pair[0] >= 30),
            "{bursts:?}"
        );
    }

    #[test]
    fn an_event_right_after_a_burst_is_looked_at() {
        let start = crate::clock::now();
        let mut random = || 0.0;
        let mut schedule = TargetSchedule::new(&periods(), start, &mut random);
        let mut now = start;
        while now < start + 22 * SECOND {
            if let Step::WaitUntil(deadline) = schedule.poll(now, &mut random) {
                now = deadline;
            }
        }
        assert!(schedule.start_burst(now));
        assert_eq!(
            schedule.poll(now, &mut random),
            Step::Act(Action::Trace { burst: true })
        );
    }

    #[test]
    fn a_target_without_a_path_has_no_bursts() {
        let done = drive(
            &Periods {
                trace: None,
                ..periods()
            },
            60 * SECOND,
            0.5,
            |schedule, now| {
                assert!(!schedule.start_burst(now));
            },
        );
        assert!(
            done.iter()
                .all(|(_, action)| !matches!(action, Action::Trace { .. }))
        );
    }

    #[test]
    fn a_short_ttl_brings_the_resolution_forward() {
        let start = crate::clock::now();
        let mut random = || 0.0;
        let mut schedule = TargetSchedule::new(&periods(), start, &mut random);
        assert_eq!(
            schedule.poll(start, &mut random),
            Step::Act(Action::Resolve)
        );
        schedule.resolve_by(start + 20 * SECOND);
        schedule.resolve_by(start + 40 * SECOND);
        let due = schedule
            .streams
            .iter()
            .find(|s| s.action == Action::Resolve)
            .map(|s| s.due);
        assert_eq!(due, Some(start + 20 * SECOND));
    }

    #[test]
    fn a_machine_that_slept_skips_what_it_missed() {
        let start = crate::clock::now();
        let mut random = || 0.0;
        let mut schedule = TargetSchedule::new(
            &Periods {
                trace: None,
                ..periods()
            },
            start,
            &mut random,
        );
        let woken = start + 8 * 3600 * SECOND;
        let mut acts = 0;
        while let Step::Act(_) = schedule.poll(woken, &mut random) {
            acts += 1;
            assert!(acts < 20, "missed ticks are not made up for");
        }
        assert!(schedule.missed() > 10_000);
    }

    proptest! {
        #[test]
        fn pulses_keep_their_rate_and_their_distance(random in 0.0f64..1.0, period_s in 1u32..60) {
            let period = SECOND * period_s;
            let done = drive(&Periods { connect: Some(period), ..periods() }, period * 50, random, |_, _| ());
            let connects = times(&done, Action::Connect);
            prop_assert!((48..=51).contains(&connects.len()), "{}", connects.len());
            for pair in connects.windows(2) {
                let gap = pair[1].checked_sub(pair[0]).unwrap();
                prop_assert!(gap >= period.mul_f64(0.89) && gap <= period.mul_f64(1.11), "{gap:?}");
            }
        }
    }
}
