//! What a shell runs: one round, or one multipath discovery. Both ask for packets and take replies in the same way.

use std::time::Instant;

use crate::gate::Gate;
use crate::mda::Mda;
use crate::met::{FlowPath, MultipathHop, Reply, Tally};
use crate::plan::{Stream, TracePlan};
use crate::trace::{FlowSum, ProbeId, Step, TraceRound};

/// A round or a discovery under way.
#[derive(Debug)]
pub enum Running {
    /// Flows to all TTLs of a stretch.
    Round(Box<TraceRound>),
    /// As many flows as the stopping rule asks for.
    Discovery(Box<Mda>),
}

impl Running {
    /// Starts what the plan's stream asks for. With `all_in_flight` unset each flow of a round has one packet out at a
    /// time, as ordinary sockets want it.
    pub fn new(plan: TracePlan, all_in_flight: bool, now: Instant) -> Self {
        if plan.stream == Stream::Refresh {
            return Self::Discovery(Box::new(Mda::new(plan)));
        }
        let round = TraceRound::new(plan, now);
        Self::Round(Box::new(if all_in_flight {
            round
        } else {
            round.one_at_a_time()
        }))
    }

    /// Says what to do next. Call it again after each transmission, reply and deadline.
    pub fn poll(&mut self, now: Instant, gate: &mut impl Gate) -> Step {
        match self {
            Self::Round(round) => round.poll(now, gate),
            Self::Discovery(mda) => mda.poll(now, gate),
        }
    }

    /// Books a reply. Returns false for one that answers nothing outstanding: late, repeated or forged.
    pub fn on_reply(&mut self, id: ProbeId, reply: Reply, now: Instant) -> bool {
        match self {
            Self::Round(round) => round.on_reply(id, reply, now),
            Self::Discovery(mda) => mda.on_reply(id, reply, now),
        }
    }

    /// Ends a round early; a discovery goes on, for it would have to begin again.
    pub fn cut_short(&mut self, now: Instant) {
        match self {
            Self::Round(round) => round.cut_short(now),
            Self::Discovery(_) => {}
        }
    }

    /// Whether it ends early.
    pub const fn is_cut_short(&self) -> bool {
        match self {
            Self::Round(round) => round.is_cut_short(),
            Self::Discovery(_) => false,
        }
    }

    /// The shell could not send `id`.
    pub fn on_unsent(&mut self, id: ProbeId) {
        match self {
            Self::Round(round) => round.on_unsent(id),
            Self::Discovery(mda) => mda.on_unsent(id),
        }
    }

    /// Flow, TTL and time of sending of a packet that is under way.
    pub fn under_way(&self, id: ProbeId) -> Option<(u16, u8, Instant)> {
        match self {
            Self::Round(round) => round.under_way(id),
            Self::Discovery(mda) => mda.under_way(id),
        }
    }

    /// What is settled so far; a discovery tells nothing before its end.
    pub fn tallies(&self) -> Vec<Tally> {
        match self {
            Self::Round(round) => round.tallies(),
            Self::Discovery(_) => Vec::new(),
        }
    }

    /// What each flow has cost so far; a discovery counts by TTL instead.
    pub fn sums(&self) -> Vec<FlowSum> {
        match self {
            Self::Round(round) => round.sums(),
            Self::Discovery(_) => Vec::new(),
        }
    }

    /// Whether packets were kept back and none was sent.
    pub fn was_kept_back(&self) -> bool {
        match self {
            Self::Round(round) => round.skipped() > 0 && round.tallies().is_empty(),
            Self::Discovery(_) => false,
        }
    }

    /// The paths of the plan's flows, and what was found of others.
    pub fn into_found(self) -> (Vec<FlowPath>, Vec<MultipathHop>) {
        match self {
            Self::Round(round) => (round.into_flows(), Vec::new()),
            Self::Discovery(mda) => {
                let found = mda.found();
                (found.flows, found.hops)
            }
        }
    }
}
