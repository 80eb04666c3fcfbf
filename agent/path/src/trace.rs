//! One round of a flow-pinned traceroute: K flows, all TTLs of a flow in flight at once (the idea of Paris traceroute).
//!
//! Each flow starts `spacing` after the one before it, and each packet leaves when its [`Gate`] says, so that no router is
//! asked more often than it answers. A TTL that stays silent below the end of the flow is asked a second time: one lost
//! packet must not look like another path. A flow ends where its destination answers; where that stays silent it goes on
//! for [`BEYOND_LAST`] TTLs past the last router that answered. Where nothing is known of the path, the first flow asks
//! [`FIRST_REACH`] TTLs at once and goes on from the last answer.
//!
//! A round that only has to notice ends early ([`TraceRound::cut_short`]) once an answer is not the expected one: whoever asked
//! for it then looks closely.
//!
//! Invariants: no TTL above [`MAX_TTL`] or outside the span of the stream, at most [`MAX_ATTEMPTS`] packets for each TTL of
//! each flow, each reply is booked at most once, and the round finishes whatever the network does.

mod flow;

pub use flow::FlowSum;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use flow::Flow;

pub use crate::gate::{Admission, Gate, Open};
pub use crate::met::{FlowPath, Hop, Place, Reply, ReplyKind, Silence, Tally};
pub use crate::plan::{DEFAULT_ALPHA, Known, MAX_TTL, Span, Stream, TracePlan, all_flows};

/// Packets at most for one TTL of one flow.
pub const MAX_ATTEMPTS: u8 = 2;

/// Flows of a round that ends early: one alone says nothing that the collector would believe.
const LEAST_FLOWS: usize = 2;

/// Silent TTLs that are tried past the last router that answered.
pub const BEYOND_LAST: u8 = 4;

/// TTLs that the first flow asks at once where nothing is known: the common path has no more, and a path of twelve hops
/// is then met in one round trip with four packets to spare.
pub const FIRST_REACH: u8 = 16;

/// Name of one packet within its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId(pub u16);

/// One packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its name.
    pub id: ProbeId,
    /// Number of the flow, from 0.
    pub flow: u16,
    /// Its TTL.
    pub ttl: u8,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this packet now.
    Transmit(Probe),
    /// Nothing to do before then.
    WaitUntil(Instant),
    /// The round is over.
    Finished,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    flow: usize,
    ttl: u8,
    sent_at: Instant,
}

/// A running round.
#[derive(Debug)]
pub struct TraceRound {
    plan: TracePlan,
    /// One packet of a flow at a time: ordinary sockets know no better.
    one_at_a_time: bool,
    started: Instant,
    flows: Vec<Flow>,
    /// What is to be sent, by when it may leave and in the order of asking.
    queue: BTreeMap<(Instant, u32), (usize, u8)>,
    queued: u32,
    awaiting: BTreeMap<ProbeId, InFlight>,
    next_id: u16,
    skipped: u32,
    /// Since when it ends early.
    cut: Option<Instant>,
}

impl TraceRound {
    /// A round that starts now, all TTLs of a flow in flight.
    pub fn new(plan: TracePlan, now: Instant) -> Self {
        let flow = |number: &u16| Flow {
            number: *number,
            goal: plan.stream.first_ttl() - 1,
            ..Flow::default()
        };
        Self {
            flows: plan.flows.iter().map(flow).collect(),
            plan,
            one_at_a_time: false,
            started: now,
            queue: BTreeMap::new(),
            queued: 0,
            awaiting: BTreeMap::new(),
            next_id: 0,
            skipped: 0,
            cut: None,
        }
    }

    /// The same round with one packet of each flow in flight at a time, from the first TTL on.
    #[must_use]
    pub fn one_at_a_time(mut self) -> Self {
        self.one_at_a_time = true;
        self
    }

    /// Says what to do next. Call it again after each transmission, reply and deadline.
    pub fn poll(&mut self, now: Instant, gate: &mut impl Gate) -> Step {
        self.start_due_flows(now, gate);
        self.expire(now, gate);
        if let Some(probe) = self.next_due(now, gate) {
            return Step::Transmit(probe);
        }
        let next_start = self
            .flows
            .iter()
            .position(|flow| !flow.started)
            .map(|index| self.start_of(index));
        let next_expiry = self
            .awaiting
            .values()
            .map(|probe| self.deadline(*probe))
            .min();
        // A packet whose flow is busy waits for the one in flight, which has its own deadline.
        let next_send = self
            .queue
            .iter()
            .find(|(_, (flow, _))| !self.is_busy(*flow))
            .map(|((at, _), _)| *at);
        next_start
            .into_iter()
            .chain(next_expiry)
            .chain(next_send)
            .min()
            .map_or(Step::Finished, Step::WaitUntil)
    }

    /// Books a reply. Returns false for one that answers nothing outstanding: late, repeated or forged.
    pub fn on_reply(&mut self, id: ProbeId, reply: Reply, now: Instant) -> bool {
        let Some(probe) = self.awaiting.get(&id).copied() else {
            return false;
        };
        if now >= self.deadline(probe) {
            return false;
        }
        self.awaiting.remove(&id);
        let Some(flow) = self.flows.get_mut(probe.flow) else {
            return false;
        };
        flow.settled_at = Some(now);
        let place = (flow.number, probe.ttl);
        let rtt = now.saturating_duration_since(probe.sent_at);
        let first = *flow
            .hops
            .entry(probe.ttl)
            .or_insert_with(|| Hop::of(&reply, rtt));
        if first.address != reply.from {
            let also = flow.also.entry(probe.ttl).or_default();
            if also.len() < crate::met::MAX_ALSO && !also.contains(&reply.from) {
                also.push(reply.from);
            }
        }
        match reply.kind {
            ReplyKind::TimeExceeded => {}
            ReplyKind::Destination => {
                flow.destination_ttl = Some(
                    flow.destination_ttl
                        .map_or(probe.ttl, |ttl| ttl.min(probe.ttl)),
                );
                self.end_at(probe.flow, probe.ttl, now);
            }
            ReplyKind::Barred => self.end_at(probe.flow, probe.ttl, now),
        }
        let usual = self.plan.known.expected.get(&place);
        if self.plan.stream.only_notices() && usual.is_some_and(|usual| *usual != reply.from) {
            self.cut_short(now);
        }
        true
    }

    /// Ends the round early: a second flow starts at once if there was none, no further one does, and packets that would have to
    /// wait long are left out. What is under way is waited for.
    pub fn cut_short(&mut self, now: Instant) {
        if self.cut.is_some() {
            return;
        }
        self.cut = Some(now);
        let started = self.flows.iter().filter(|flow| flow.started).count();
        self.flows.truncate(started.max(LEAST_FLOWS));
    }

    /// Why it runs.
    pub const fn stream(&self) -> Stream {
        self.plan.stream
    }

    /// Whether it ends early.
    pub const fn is_cut_short(&self) -> bool {
        self.cut.is_some()
    }

    /// Flow, TTL and time of sending of a packet that is under way.
    pub fn under_way(&self, id: ProbeId) -> Option<(u16, u8, Instant)> {
        let probe = self.awaiting.get(&id)?;
        let flow = self.flows.get(probe.flow)?;
        Some((flow.number, probe.ttl, probe.sent_at))
    }

    /// The shell could not send `id`: it waits for no reply, and this is not the network's silence.
    pub fn on_unsent(&mut self, id: ProbeId) {
        let unsent = self.awaiting.remove(&id);
        if let Some(probe) = unsent
            && let Some(flow) = self.flows.get_mut(probe.flow)
            && let Some(attempts) = flow.attempts.get_mut(&probe.ttl)
        {
            *attempts = attempts.saturating_sub(1);
            if *attempts == 0 {
                flow.attempts.remove(&probe.ttl);
            }
        }
    }

    /// Packets that the gate kept back for good.
    pub const fn skipped(&self) -> u32 {
        self.skipped
    }

    /// What is settled so far: each TTL that was asked, without the packets still under way.
    pub fn tallies(&self) -> Vec<Tally> {
        let mut tallies = Vec::new();
        for (index, flow) in self.flows.iter().enumerate() {
            let last = flow.last();
            for (&ttl, &attempts) in flow.attempts.range(..=last) {
                let is_out = |probe: &&InFlight| (probe.flow, probe.ttl) == (index, ttl);
                let out = self.awaiting.values().filter(is_out).count();
                let sent = attempts.saturating_sub(u8::try_from(out).unwrap_or(u8::MAX));
                if sent > 0 {
                    tallies.push(Tally {
                        flow: flow.number,
                        ttl,
                        sent,
                        hop: flow.hops.get(&ttl).copied(),
                        is_destination: flow.destination_ttl == Some(ttl),
                    });
                }
            }
        }
        tallies
    }

    /// What each flow has cost so far.
    pub fn sums(&self) -> Vec<FlowSum> {
        self.flows.iter().map(Flow::sum).collect()
    }

    /// What the flows met.
    pub fn into_flows(self) -> Vec<FlowPath> {
        let answered: BTreeSet<u8> = self
            .flows
            .iter()
            .flat_map(|flow| flow.hops.keys().copied())
            .collect();
        let first_ttl = self.plan.stream.first_ttl();
        let known = self.plan.known;
        self.flows
            .into_iter()
            .map(|flow| flow.into_path(first_ttl, &answered, &known))
            .collect()
    }

    fn start_of(&self, index: usize) -> Instant {
        let planned = self.started + self.plan.spacing * u32::try_from(index).unwrap_or(u32::MAX);
        self.cut.map_or(planned, |cut| planned.min(cut))
    }

    fn start_due_flows(&mut self, now: Instant, gate: &mut impl Gate) {
        while let Some(index) = self.flows.iter().position(|flow| !flow.started) {
            if now < self.start_of(index) {
                return;
            }
            let goal = self.first_goal();
            if let Some(flow) = self.flows.get_mut(index) {
                flow.started = true;
            }
            self.reach_on(index, goal, now, gate);
        }
        self.reach_beyond(now, gate);
    }

    /// How far a new flow reaches at once: by what this round knows already, else by earlier rounds, else everywhere.
    fn first_goal(&self) -> u8 {
        if let Some(end) = self.expected_end() {
            return end;
        }
        let lasts = self
            .flows
            .iter()
            .filter_map(Flow::last_answer)
            .chain(self.plan.known.last_ttl);
        lasts
            .max()
            .map_or(FIRST_REACH, |last| last.saturating_add(BEYOND_LAST))
    }

    /// The farthest end that a flow of this round, or of earlier ones, has met.
    fn expected_end(&self) -> Option<u8> {
        let ends = self
            .flows
            .iter()
            .filter_map(|flow| flow.end.map(|(ttl, _)| ttl));
        ends.chain(self.plan.known.destination_ttl).max()
    }

    /// Flows that have met a router where they should have ended, or the last one they asked, go on.
    fn reach_beyond(&mut self, now: Instant, gate: &mut impl Gate) {
        let expected = self.expected_end();
        for index in 0..self.flows.len() {
            let is_open = |flow: &&Flow| flow.started && flow.end.is_none();
            let Some(flow) = self.flows.get(index).filter(is_open) else {
                continue;
            };
            let last = flow.last_answer();
            let goal = match expected {
                // A flow that began before the end was known reaches as far as the others did, whoever is silent before it.
                Some(end) if last.is_none_or(|last| last < end) => Some(end),
                Some(_) | None => last.map(|last| last.saturating_add(BEYOND_LAST)),
            };
            if let Some(goal) = goal {
                self.reach_on(index, goal, now, gate);
            }
        }
    }

    /// Queues the TTLs of a flow up to `goal` that were not queued before.
    fn reach_on(&mut self, index: usize, goal: u8, now: Instant, gate: &mut impl Gate) {
        let last = self.plan.stream.span().map_or(MAX_TTL, |span| span.to_ttl);
        let goal = goal.min(last).min(MAX_TTL);
        let Some(flow) = self.flows.get_mut(index) else {
            return;
        };
        if flow.end.is_none() && goal > flow.goal {
            let ttls: Vec<u8> = (flow.goal + 1..=goal).collect();
            flow.goal = goal;
            self.ask(index, &ttls, now, gate);
        }
    }

    fn ask(&mut self, index: usize, ttls: &[u8], now: Instant, gate: &mut impl Gate) {
        let Some(flow) = self.flows.get(index).map(|flow| flow.number) else {
            return;
        };
        for (ttl, admission) in ttls.iter().zip(gate.admit(flow, ttls, now)) {
            let is_too_late = |at: Instant| self.cut.is_some() && at > now + self.plan.timeout;
            match admission {
                Admission::At(at) if is_too_late(at) => {
                    gate.give_back(flow, *ttl, at);
                    self.skipped += 1;
                }
                Admission::At(at) => {
                    self.queue.insert((at, self.queued), (index, *ttl));
                    self.queued += 1;
                }
                Admission::Skip => self.skipped += 1,
            }
        }
    }

    fn next_due(&mut self, now: Instant, gate: &mut impl Gate) -> Option<Probe> {
        self.drop_unwanted(gate);
        loop {
            let (key, (index, ttl)) = self
                .queue
                .range(..=(now, u32::MAX))
                .find(|(_, (index, _))| !self.is_busy(*index))
                .map(|(key, item)| (*key, *item))?;
            self.queue.remove(&key);
            let flow = self.flows.get(index)?.number;
            if gate.confirm(flow, ttl, now) {
                return Some(self.transmit(index, ttl, now));
            }
            self.skipped += 1;
        }
    }

    /// Leaves out what need not be sent any more, and gives its turns back, the last one first.
    fn drop_unwanted(&mut self, gate: &mut impl Gate) {
        let is_unwanted = |((at, _), (index, ttl)): &(&(Instant, u32), &(usize, u8))| {
            let is_late = self.cut.is_some_and(|cut| *at > cut + self.plan.timeout);
            let is_past = |flow: &Flow| flow.end.is_some_and(|(end, _)| *ttl >= end);
            let is_met = |flow: &Flow| is_past(flow) || flow.hops.contains_key(ttl);
            is_late || self.flows.get(*index).is_none_or(is_met)
        };
        let unwanted = self.queue.iter().rev().filter(is_unwanted);
        for key in unwanted.map(|(key, _)| *key).collect::<Vec<_>>() {
            let item = self.queue.remove(&key);
            if let Some((flow, ttl)) =
                item.and_then(|(i, ttl)| Some((self.plan.flows.get(i)?, ttl)))
            {
                gate.give_back(*flow, ttl, key.0);
            }
        }
    }

    fn is_busy(&self, index: usize) -> bool {
        self.one_at_a_time && self.awaiting.values().any(|probe| probe.flow == index)
    }

    fn end_at(&mut self, index: usize, ttl: u8, now: Instant) {
        if let Some(flow) = self.flows.get_mut(index) {
            let end = flow
                .end
                .map_or((ttl, now), |(old, since)| (old.min(ttl), since));
            flow.end = Some(end);
            self.awaiting
                .retain(|_, probe| probe.flow != index || probe.ttl < end.0);
        }
    }

    fn transmit(&mut self, index: usize, ttl: u8, now: Instant) -> Probe {
        let id = ProbeId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let mut number = 0;
        if let Some(flow) = self.flows.get_mut(index) {
            *flow.attempts.entry(ttl).or_insert(0) += 1;
            number = flow.number;
            flow.first_sent.get_or_insert(now);
        }
        let probe = InFlight {
            flow: index,
            ttl,
            sent_at: now,
        };
        self.awaiting.insert(id, probe);
        Probe {
            id,
            flow: number,
            ttl,
        }
    }

    fn deadline(&self, probe: InFlight) -> Instant {
        let patient = probe.sent_at + self.plan.timeout;
        match self.flows.get(probe.flow).and_then(|flow| flow.end) {
            Some((_, since)) => patient.min(since.max(probe.sent_at) + self.plan.grace),
            None => patient,
        }
    }

    fn expire(&mut self, now: Instant, gate: &mut impl Gate) {
        let expired: Vec<(ProbeId, InFlight)> = self
            .awaiting
            .iter()
            .filter(|(_, probe)| now >= self.deadline(**probe))
            .map(|(id, probe)| (*id, *probe))
            .collect();
        for (id, probe) in expired {
            self.awaiting.remove(&id);
            if let Some(flow) = self.flows.get_mut(probe.flow) {
                flow.settled_at = Some(now);
            }
            if self.is_worth_asking_again(probe.flow, probe.ttl) {
                self.ask(probe.flow, &[probe.ttl], now, gate);
            }
        }
    }

    fn is_worth_asking_again(&self, index: usize, ttl: u8) -> bool {
        let Some(flow) = self.flows.get(index) else {
            return false;
        };
        let attempts = flow.attempts.get(&ttl).copied().unwrap_or(0);
        if attempts >= MAX_ATTEMPTS || self.plan.known.silent_ttls.contains(&ttl) {
            return false;
        }
        if let Some((end, _)) = flow.end {
            ttl < end
        } else {
            let next = flow.last_answer().unwrap_or(0).saturating_add(1);
            ttl <= next.max(self.plan.known.destination_ttl.unwrap_or(0))
        }
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
