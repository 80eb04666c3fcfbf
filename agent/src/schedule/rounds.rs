//! Path rounds of one target: learning, tails, full rounds, refreshes and bursts.
//!
//! Pure. One lane runs full, tail and burst rounds one after the other, for they ask the same routers; a refresh, which takes
//! minutes under the hop budget, has a lane of its own. A full round does the work of a tail that falls due meanwhile.
//!
//! A target begins by learning: full rounds back to back, and a refresh after the first. A suspicion starts a burst: rounds of
//! [`BURST_FLOWS`] flows, the first of them over the whole path, from one start to the next the burst interval, until
//! [`ENOUGH`] useful rounds in a row say the same or the cap is reached. Each event is followed by a refresh. Where the
//! packets cannot discover, there is none.

use std::time::{Duration, Instant};

use super::desk::Ask;
use super::stream::{Law, Stream};

/// Flows of a burst round: one a second fill the burst interval, and no router is asked twice in a second.
pub(crate) const BURST_FLOWS: u16 = 5;

/// Flows of a burst round while another target bursts at the same handoff: both have what the collector believes, and one to
/// spare.
pub(crate) const SHARED_BURST_FLOWS: u16 = 3;

/// Full rounds after which a target that still learns its path knows it well enough to be surprised.
const SETTLED: u16 = 3;

/// Burst rounds at most, whatever the plan says.
pub(crate) const MAX_BURST_ROUNDS: u16 = 12;

/// Rounds that say the same: what the collector wants to see before it believes.
const ENOUGH: u16 = 3;

/// A refresh is not repeated for another event within this time.
const REFRESH_SPACING: Duration = Duration::from_mins(10);

/// An event is over for its routers before they are asked for a refresh.
const REFRESH_AFTER: Duration = Duration::from_secs(90);

/// Rounds of a target are at least so far apart, however fast they fail.
const LEAST_SPACING: Duration = Duration::from_secs(1);

/// The first round waits for the name to be resolved, and not for that of other targets.
const FIRST_AFTER: Duration = Duration::from_millis(500);

/// What another target finds so soon after this one has found a change is the same one.
const KNOWN_FOR: Duration = Duration::from_mins(3);

/// A suspicion that could not be looked at for so long is left to the next round.
const PATIENCE: Duration = Duration::from_mins(2);

/// A burst that ran into its cap rests for so many of its intervals.
const COOL_DOWN_INTERVALS: u32 = 6;

/// What a round looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Round {
    /// All flows, all TTLs.
    Full,
    /// All flows, the TTLs around the ingress.
    Tail,
    /// [`BURST_FLOWS`] flows; with the head in the first round of a burst.
    Burst { head: bool },
    /// Multipath discovery.
    Refresh,
}

/// What a round showed, all destinations of the target together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Showed {
    /// Something differs from the round before.
    pub(crate) differs: bool,
    /// A reason to look again at once.
    pub(crate) suspicious: bool,
    /// How much its flows say.
    pub(crate) says: Says,
}

impl Showed {
    fn is_useful(self) -> bool {
        self.says > Says::Little
    }
}

/// How much the flows of a round say together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Says {
    /// One flow answered, or none.
    #[default]
    Little,
    /// Two or more answered.
    Enough,
    /// And half of those went elsewhere than before: it counts among the rounds that show the change.
    Moved,
}

/// How the rounds of a target run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoundPlan {
    pub(crate) full: Duration,
    pub(crate) tail: Duration,
    pub(crate) refresh: Duration,
    /// Full rounds back to back at the start.
    pub(crate) learning_rounds: u16,
    pub(crate) burst_interval: Duration,
    pub(crate) burst_rounds: u16,
}

/// Where multipath discovery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Discovery {
    Idle,
    UnderWay,
    /// The packets that this machine permits cannot discover.
    Impossible,
}

impl Discovery {
    const fn end(&mut self) {
        if matches!(self, Self::UnderWay) {
            *self = Self::Idle;
        }
    }
}

#[derive(Debug)]
struct Burst {
    next: Instant,
    done: u16,
    /// Useful rounds in a row that said the same.
    agreeing: u16,
}

/// The rounds of one target.
#[derive(Debug)]
pub(crate) struct Rounds {
    plan: RoundPlan,
    full: Stream,
    tail: Stream,
    refresh: Stream,
    refreshed: Option<Instant>,
    learning_left: u16,
    under_way: Option<Round>,
    discovery: Discovery,
    burst: Option<Burst>,
    /// Since when a suspicion waits for its turn.
    suspected: Option<Instant>,
    /// Rounds that showed what the burst to come is about.
    seen_before: u16,
    /// A round, and no pulse, raised the suspicion of the burst to come.
    found_before: bool,
    /// A round has shown something new since the last refresh.
    changed: bool,
    /// The burst that runs, or ran last, is about something new.
    found: bool,
    /// When a burst last ended that had found something new.
    found_at: Option<Instant>,
    no_round_before: Instant,
    no_burst_before: Instant,
    missed: u64,
}

impl Rounds {
    /// Starts to learn.
    pub(crate) fn new(plan: RoundPlan, now: Instant, random: &mut impl FnMut() -> f64) -> Self {
        let first = now + FIRST_AFTER + LEAST_SPACING.mul_f64(random());
        let periodic = |interval: Duration, phase: f64| {
            Stream::new(Law::Periodic, interval, first + interval.mul_f64(phase))
        };
        Self {
            full: periodic(plan.full, random()),
            tail: periodic(plan.tail, random()),
            refresh: periodic(plan.refresh, random()),
            plan,
            refreshed: None,
            learning_left: plan.learning_rounds.max(1),
            under_way: None,
            discovery: Discovery::Idle,
            burst: None,
            suspected: None,
            seen_before: 0,
            found_before: false,
            changed: false,
            found: false,
            found_at: None,
            no_round_before: first,
            no_burst_before: now,
            missed: 0,
        }
    }

    /// Whether the target still learns its path.
    pub(crate) const fn is_learning(&self) -> bool {
        self.learning_left > 0
    }

    /// Whether the path is known well enough that another router on it is news.
    fn is_settled(&self) -> bool {
        self.learning_left + SETTLED <= self.plan.learning_rounds || !self.is_learning()
    }

    /// Whether a round is under way that only has to notice, and a suspicion waits for its end.
    pub(crate) const fn is_in_the_way(&self) -> bool {
        self.suspected.is_some()
            && self.burst.is_none()
            && matches!(self.under_way, Some(Round::Full | Round::Tail))
    }

    /// The round that is due now; the caller tells [`Rounds::on_end`] when it is over. `permit` says whether this target may
    /// do so now, and is asked only when something is due.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        random: &mut impl FnMut() -> f64,
        permit: impl FnMut(Ask) -> bool,
    ) -> Option<Round> {
        if now < self.no_round_before {
            return None;
        }
        if self.waits_for_refresh() && now >= self.refresh.due() {
            self.refresh.restart(now, random());
            self.discovery = Discovery::UnderWay;
            return Some(Round::Refresh);
        }
        if self.under_way.is_some() {
            return None;
        }
        let round = self.next_round(now, random, permit)?;
        self.under_way = Some(round);
        Some(round)
    }

    /// When to poll again though no round ended.
    pub(crate) fn wake(&self, now: Instant) -> Instant {
        let refresh = self.waits_for_refresh().then(|| self.refresh.due());
        let lane = self.under_way.is_none().then(|| match &self.burst {
            Some(burst) => burst.next,
            None if self.is_learning() => self.no_round_before,
            None => {
                let asks = self
                    .suspected
                    .map(|_| (now + LEAST_SPACING).max(self.no_burst_before));
                // What is due and not permitted asks again in a while.
                let due = self.full.due().min(self.tail.due());
                let due = if due <= now { now + LEAST_SPACING } else { due };
                asks.map_or(due, |asks| asks.min(due))
            }
        });
        let wake = refresh.into_iter().chain(lane).min();
        wake.unwrap_or(now + self.plan.refresh)
            .max(self.no_round_before)
    }

    /// A suspicion: look at the path as soon as may be. Says whether that changes anything.
    pub(crate) fn suspect(&mut self, now: Instant) -> bool {
        if self.plan.burst_rounds == 0 || !self.is_settled() || now < self.no_burst_before {
            return false;
        }
        if let Some(burst) = &mut self.burst {
            burst.agreeing = 0;
            return true;
        }
        self.suspected.get_or_insert(now);
        true
    }

    /// Another target has found a change where this one's packets pass. Says whether that is news.
    pub(crate) fn hear(&mut self, now: Instant) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at);
        let knows = self.burst.is_some() || self.found_at.is_some_and(|at| since(at) < KNOWN_FOR);
        !knows && self.suspect(now)
    }

    /// Whether a burst has just found a change: the flows that it did not ask have to be met anew, which is no news.
    pub(crate) fn is_aftermath(&self, now: Instant) -> bool {
        let lasts = self.plan.tail + self.plan.tail / 2;
        let since = |at: Instant| now.saturating_duration_since(at);
        self.found_at.is_some_and(|at| since(at) < lasts)
    }

    /// A round is over. Says whether a burst ended with it, whose place another target may then take.
    pub(crate) fn on_end(&mut self, round: Round, showed: Showed, now: Instant) -> bool {
        self.no_round_before = self.no_round_before.max(now);
        if round == Round::Refresh {
            self.discovery.end();
            return false;
        }
        self.under_way = None;
        if round == Round::Full {
            self.on_full(now);
        }
        self.changed |= showed.suspicious;
        let ended = matches!(round, Round::Burst { .. }) && self.on_burst_round(showed, now);
        if showed.suspicious && self.burst.is_none() && !ended && !self.is_aftermath(now) {
            self.suspect(now);
            // The round that raises the suspicion is the first to say what the others have to agree with.
            self.seen_before = u16::from(showed.says == Says::Moved);
            self.found_before = true;
        }
        ended
    }

    /// A round that could not run at all: it is tried again in a while.
    pub(crate) fn on_refused(&mut self, round: Round, now: Instant) {
        self.no_round_before = now + LEAST_SPACING;
        match round {
            Round::Refresh => self.discovery.end(),
            Round::Full | Round::Tail | Round::Burst { .. } => self.under_way = None,
        }
    }

    /// A round was taken by packets that can or cannot discover: without them no refresh is due.
    pub(crate) const fn on_means(&mut self, can_refresh: bool) {
        match (can_refresh, self.discovery) {
            (false, _) => self.discovery = Discovery::Impossible,
            (true, Discovery::Impossible) => self.discovery = Discovery::Idle,
            (true, Discovery::Idle | Discovery::UnderWay) => {}
        }
    }

    const fn waits_for_refresh(&self) -> bool {
        matches!(self.discovery, Discovery::Idle) && self.refreshed.is_some()
    }

    /// The network is another one, or the machine slept: a look at the path, and a new refresh.
    pub(crate) fn on_new_network(&mut self, now: Instant) {
        self.refreshed = self.refreshed.map(|_| now);
        self.refresh.by(now);
        self.suspect(now);
    }

    /// Whether the burst that ended last found a change.
    pub(crate) const fn has_found(&self) -> bool {
        self.found
    }

    /// Rounds that fell out because those before took too long.
    pub(crate) const fn missed(&self) -> u64 {
        self.missed
    }

    /// Rounds that were due in a time in which none could run.
    pub(crate) fn expected_in(&self, time: Duration) -> u64 {
        let refreshes = if self.discovery == Discovery::Impossible {
            0
        } else {
            self.refresh.expected_in(time)
        };
        self.full.expected_in(time) + self.tail.expected_in(time) + refreshes
    }

    fn next_round(
        &mut self,
        now: Instant,
        random: &mut impl FnMut() -> f64,
        mut permit: impl FnMut(Ask) -> bool,
    ) -> Option<Round> {
        if let Some(round) = self.next_of_burst(now) {
            return Some(round);
        }
        if self.begins_burst(now, &mut permit) {
            return self.next_of_burst(now);
        }
        if self.burst.is_some() {
            // It looks at the same stretch more often.
            return None;
        }
        if self.is_learning() {
            self.full.restart(now, random());
            return Some(Round::Full);
        }
        // Bursts of others take their turns one after the other: they are given way to, but not for ever.
        let due = self.full.due().min(self.tail.due());
        if now < due || !(now >= due + self.plan.tail || permit(Ask::Look)) {
            return None;
        }
        if now >= self.full.due() {
            self.missed += self.full.advance(now, random());
            self.tail.restart(now, random());
            return Some(Round::Full);
        }
        if now >= self.tail.due() {
            self.missed += self.tail.advance(now, random());
            return Some(Round::Tail);
        }
        None
    }

    fn begins_burst(&mut self, now: Instant, permit: &mut impl FnMut(Ask) -> bool) -> bool {
        let Some(since) = self.suspected else {
            return false;
        };
        if now.saturating_duration_since(since) > PATIENCE {
            self.suspected = None;
            self.seen_before = 0;
            self.found_before = false;
            return false;
        }
        if self.burst.is_some() || now < self.no_burst_before || !permit(Ask::Burst) {
            return false;
        }
        self.suspected = None;
        self.burst = Some(Burst {
            next: now,
            done: 0,
            agreeing: self.seen_before,
        });
        self.seen_before = 0;
        self.found = std::mem::take(&mut self.found_before);
        true
    }

    fn next_of_burst(&mut self, now: Instant) -> Option<Round> {
        let interval = self.plan.burst_interval;
        let burst = self.burst.as_mut().filter(|burst| now >= burst.next)?;
        let head = burst.done == 0;
        burst.done += 1;
        burst.next = now + interval;
        Some(Round::Burst { head })
    }

    /// Learning ends after its rounds; the first of them is what a refresh builds on.
    fn on_full(&mut self, now: Instant) {
        self.learning_left = self.learning_left.saturating_sub(1);
        if self.refreshed.is_none() {
            self.refreshed = Some(now);
            self.refresh.by(now);
        }
    }

    /// Whether the burst is over.
    fn on_burst_round(&mut self, showed: Showed, now: Instant) -> bool {
        let most = self.plan.burst_rounds.min(MAX_BURST_ROUNDS);
        let Some(burst) = &mut self.burst else {
            return false;
        };
        self.found |= showed.suspicious;
        if showed.differs || showed.suspicious {
            // The round that shows a change is the first to say it.
            burst.agreeing = u16::from(showed.is_useful());
        } else {
            burst.agreeing += u16::from(showed.is_useful());
        }
        let (agreed, capped) = (burst.agreeing >= ENOUGH, burst.done >= most);
        if !agreed && !capped {
            return false;
        }
        self.burst = None;
        if self.found {
            self.found_at = Some(now);
        }
        self.tail.by(now + self.plan.tail);
        if !agreed {
            self.no_burst_before = now + self.plan.burst_interval * COOL_DOWN_INTERVALS;
        }
        self.refresh_after_event(now);
        true
    }

    fn refresh_after_event(&mut self, now: Instant) {
        let rested = |at: Instant| now.saturating_duration_since(at) >= REFRESH_SPACING;
        if self.changed && self.refreshed.is_some_and(rested) {
            self.changed = false;
            self.refreshed = Some(now);
            self.refresh.by(now + REFRESH_AFTER);
        }
    }
}

#[cfg(test)]
#[path = "rounds_tests.rs"]
mod tests;
