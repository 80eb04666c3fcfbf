//! What to probe when, for one target.
//!
//! Pure: `now` and randomness are parameters. Each kind of probe is a [`stream::Stream`] with a random phase; path rounds
//! have rules of their own ([`rounds`]), and bursts of several targets take turns ([`desk`]). Invariants: a stream never fires
//! faster than its interval allows on average, and what a sleeping or starving machine missed is counted and skipped, not
//! made up for.

pub(crate) mod backoff;
pub(crate) mod desk;
pub(crate) mod rounds;
pub(crate) mod slot;
pub(crate) mod stream;
pub(crate) mod trigger;
pub(crate) mod upset;
pub(crate) mod view;

use std::time::{Duration, Instant};

use desk::Ask;
use rounds::{Round, RoundPlan, Rounds, Showed};
use stream::{Law, Stream};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    Resolve,
    Echo,
    Connect,
    Https,
    Tls,
    Quic,
    /// Paths of other packets than those that count.
    Evidence,
    Trace(Round),
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
    pub(crate) evidence: Option<Duration>,
    pub(crate) rounds: Option<RoundPlan>,
}

/// First probes of the slow streams come within this time, so that a new site soon shows something.
const FIRST_WITHIN: Duration = Duration::from_secs(4);

/// Once there is an address to send to, first pulses come within this time: an agent that was just started shows something at once.
const PULSES_WITHIN: Duration = Duration::from_millis(200);

/// After a change of the network a name is resolved anew within this time, and streams are spread over it.
const RESUME_WITHIN: Duration = Duration::from_secs(2);

/// Probes that were due and not sent, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missed {
    /// The program did not run when they were due.
    pub(crate) starved: u64,
    /// The machine slept.
    pub(crate) suspended: u64,
    /// Path rounds that fell out because those before took too long under the hop budget.
    pub(crate) budget: u64,
}

/// The schedule of one target.
#[derive(Debug)]
pub(crate) struct TargetSchedule {
    streams: Vec<(Action, Stream)>,
    rounds: Option<Rounds>,
    starved: u64,
    suspended: u64,
}

impl TargetSchedule {
    /// Starts every stream at a random phase; the path is learnt first.
    pub(crate) fn new(periods: &Periods, now: Instant, random: &mut impl FnMut() -> f64) -> Self {
        let mut streams = Vec::new();
        for (action, law, period) in [
            (Action::Resolve, Law::Periodic, periods.resolve),
            (Action::Echo, Law::Poisson, periods.echo),
            (Action::Connect, Law::Poisson, periods.connect),
            (Action::Https, Law::Periodic, periods.https),
            (Action::Tls, Law::Periodic, periods.tls),
            (Action::Quic, Law::Periodic, periods.quic),
            (Action::Evidence, Law::Periodic, periods.evidence),
        ] {
            let Some(interval) = period else { continue };
            let phase = match action {
                Action::Resolve => Duration::ZERO,
                // The path is learnt first.
                Action::Evidence => interval.mul_f64(random()),
                Action::Echo
                | Action::Connect
                | Action::Https
                | Action::Tls
                | Action::Quic
                | Action::Trace(_) => interval.min(FIRST_WITHIN).mul_f64(random()),
            };
            streams.push((action, Stream::new(law, interval, now + phase)));
        }
        let rounds = periods.rounds.map(|plan| Rounds::new(plan, now, random));
        Self {
            streams,
            rounds,
            starved: 0,
            suspended: 0,
        }
    }

    /// Says what to do next. Call it again after each action and deadline, and after each [`Self::on_round`]. `permit` says
    /// whether this target may do what it asks for now.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        random: &mut impl FnMut() -> f64,
        permit: impl FnMut(Ask) -> bool,
    ) -> Step {
        let rounds = self.rounds.as_mut();
        if let Some(round) = rounds.and_then(|rounds| rounds.poll(now, random, permit)) {
            return Step::Act(Action::Trace(round));
        }
        let first = self.streams.iter_mut().min_by_key(|(_, s)| s.due());
        let mut wake = now + Duration::from_hours(1);
        if let Some((action, stream)) = first {
            if now >= stream.due() {
                self.starved += stream.advance(now, random());
                return Step::Act(*action);
            }
            wake = stream.due();
        }
        let rounds = self.rounds.as_ref().map(|rounds| rounds.wake(now));
        Step::WaitUntil(rounds.map_or(wake, |rounds| rounds.min(wake)))
    }

    /// A suspicion: look at the path now, and a few times more. Says whether that had any effect.
    pub(crate) fn suspect(&mut self, now: Instant) -> bool {
        self.rounds
            .as_mut()
            .is_some_and(|rounds| rounds.suspect(now))
    }

    /// Another target has found a change where this one's packets pass. Says whether that had any effect.
    pub(crate) fn hear(&mut self, now: Instant) -> bool {
        self.rounds.as_mut().is_some_and(|rounds| rounds.hear(now))
    }

    /// Whether a change has just been found, and other flows than those that found it are still to show it.
    pub(crate) fn is_aftermath(&self, now: Instant) -> bool {
        (self.rounds.as_ref()).is_some_and(|rounds| rounds.is_aftermath(now))
    }

    /// Whether a round is under way whose early end a suspicion waits for.
    pub(crate) fn is_in_the_way(&self) -> bool {
        self.rounds.as_ref().is_some_and(Rounds::is_in_the_way)
    }

    /// Whether the target still learns its path.
    pub(crate) fn is_learning(&self) -> bool {
        self.rounds.as_ref().is_some_and(Rounds::is_learning)
    }

    /// A round is over. Says whether a burst ended with it.
    pub(crate) fn on_round(&mut self, round: Round, showed: Showed, now: Instant) -> bool {
        self.rounds
            .as_mut()
            .is_some_and(|rounds| rounds.on_end(round, showed, now))
    }

    /// Whether the burst that ended last found a change.
    pub(crate) fn has_found(&self) -> bool {
        self.rounds.as_ref().is_some_and(Rounds::has_found)
    }

    /// A round could not begin.
    pub(crate) fn on_refused(&mut self, round: Round, now: Instant) {
        if let Some(rounds) = &mut self.rounds {
            rounds.on_refused(round, now);
        }
    }

    /// Path packets are of a kind that can or cannot discover.
    pub(crate) const fn on_means(&mut self, can_refresh: bool) {
        if let Some(rounds) = &mut self.rounds {
            rounds.on_means(can_refresh);
        }
    }

    /// Brings the next resolution forward to `at` when the answer's TTL ends before the stream's own time.
    pub(crate) fn resolve_by(&mut self, at: Instant) {
        let resolve = self.streams.iter_mut().find(|(a, _)| *a == Action::Resolve);
        if let Some((_, stream)) = resolve {
            stream.by(at);
        }
    }

    /// There is an address for the first time: pulses need not wait for the phase that they were given.
    pub(crate) fn on_first_address(&mut self, now: Instant, random: &mut impl FnMut() -> f64) {
        let pulses = |action| matches!(action, Action::Echo | Action::Connect);
        for (_, stream) in self.streams.iter_mut().filter(|(a, _)| pulses(*a)) {
            stream.by(now + PULSES_WITHIN.mul_f64(random()));
        }
    }

    /// The network is another one: the name is resolved anew, each kind of probe is tried soon, and the path is looked at.
    pub(crate) fn on_new_network(&mut self, now: Instant, random: &mut impl FnMut() -> f64) {
        for (action, stream) in &mut self.streams {
            stream.by(if *action == Action::Resolve {
                now
            } else {
                now + RESUME_WITHIN.mul_f64(0.5 + 0.5 * random())
            });
        }
        if let Some(rounds) = &mut self.rounds {
            rounds.on_new_network(now);
        }
    }

    /// The machine slept for `asleep`, which the clock of `now` may not have counted.
    pub(crate) fn on_wake_up(
        &mut self,
        asleep: Duration,
        now: Instant,
        random: &mut impl FnMut() -> f64,
    ) {
        let streams = self.streams.iter().map(|(_, s)| s.expected_in(asleep));
        self.suspended += streams.sum::<u64>();
        if let Some(rounds) = &self.rounds {
            self.suspended += rounds.expected_in(asleep);
        }
        for (_, stream) in &mut self.streams {
            if stream.due() < now {
                // They fell due in the sleep and are counted as such.
                stream.restart(now, random());
            }
        }
        self.on_new_network(now, random);
    }

    /// Probes that were due and not sent.
    pub(crate) fn missed(&self) -> Missed {
        Missed {
            starved: self.starved,
            suspended: self.suspended,
            budget: self.rounds.as_ref().map_or(0, Rounds::missed),
        }
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
