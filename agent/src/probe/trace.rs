//! One round of a flow-pinned traceroute: K flows, all TTLs of a flow in flight at once (the idea of Paris traceroute).
//!
//! Pure: no socket, no clock, no randomness; `now` is a parameter. The shells are [`crate::net::trace_tcp`] and
//! [`crate::net::trace_echo`]. Each flow starts `spacing` after the one before it, so that a router which answers one
//! packet a second is not asked eight times at once. A TTL that stays silent below the end of the flow is asked a second
//! time: one lost packet must not look like another path. A flow ends where its destination answers; where that stays
//! silent it goes on for [`BEYOND_LAST`] TTLs past the last router that answered.
//!
//! Invariants: no TTL above [`MAX_TTL`], at most [`MAX_ATTEMPTS`] packets for each TTL of each flow, each reply is booked
//! at most once, and the round finishes whatever the network does.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Highest TTL that is ever sent, as traceroute has it by default.
pub(crate) const MAX_TTL: u8 = 30;

/// Packets at most for one TTL of one flow.
pub(crate) const MAX_ATTEMPTS: u8 = 2;

/// Silent TTLs that are tried past the last router that answered.
const BEYOND_LAST: u8 = 4;

/// TTLs that are tried past the place where the destination stood in the last round.
const BEYOND_DESTINATION: u8 = 2;

/// How a round runs, and what earlier rounds have taught.
#[derive(Clone, Debug)]
pub(crate) struct TracePlan {
    pub(crate) flows: u16,
    pub(crate) spacing: Duration,
    pub(crate) timeout: Duration,
    /// How long to wait for silent routers once the destination has answered.
    pub(crate) grace: Duration,
    pub(crate) known: Known,
}

/// What is known of the path before the round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Largest TTL at which the destination answered.
    pub(crate) destination_ttl: Option<u8>,
    /// Largest TTL at which anything answered.
    pub(crate) last_ttl: Option<u8>,
    /// TTLs that no flow got an answer from: not worth a second packet.
    pub(crate) silent_ttls: Vec<u8>,
}

/// Name of one packet within its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ProbeId(pub(crate) u16);

/// One packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) id: ProbeId,
    /// Index of the flow, from 0.
    pub(crate) flow: u16,
    pub(crate) ttl: u8,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Transmit(Probe),
    WaitUntil(Instant),
    Finished,
}

/// Who answered, in what role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyKind {
    /// A router on the way: the TTL ran out there.
    TimeExceeded,
    /// The destination itself.
    Destination,
    /// A router that will not or cannot pass the packet on.
    Barred,
}

/// One reply, as the shell read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_field_names,
    reason = "reply_ttl is the name of the wire format"
)]
pub(crate) struct Reply {
    pub(crate) from: IpAddr,
    pub(crate) kind: ReplyKind,
    /// ICMP type and code, `type * 256 + code`; 0 when the reply was no ICMP message.
    pub(crate) icmp: u16,
    /// TTL of the reply as received, 0 when unknown.
    pub(crate) reply_ttl: u8,
}

/// One TTL that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    pub(crate) address: IpAddr,
    pub(crate) rtt: Duration,
    pub(crate) icmp: u16,
    pub(crate) reply_ttl: u8,
}

/// What one flow met: a hop for each TTL from 1, `None` where nothing answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FlowPath {
    pub(crate) hops: Vec<Option<Hop>>,
    /// TTL at which the destination answered; its hop is then the last one.
    pub(crate) destination_ttl: Option<u8>,
}

/// One TTL of one flow as far as the round has come: what was sent and is settled, answered or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Index of the flow, from 0.
    pub(crate) flow: u16,
    pub(crate) ttl: u8,
    pub(crate) sent: u8,
    pub(crate) hop: Option<Hop>,
    /// Whether the hop is the destination.
    pub(crate) is_destination: bool,
}

#[derive(Debug, Default)]
struct Flow {
    started: bool,
    /// Highest TTL that was put into the queue.
    goal: u8,
    hops: BTreeMap<u8, Hop>,
    attempts: BTreeMap<u8, u8>,
    /// Where the flow ends, and when we learnt it.
    end: Option<(u8, Instant)>,
    destination_ttl: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    flow: u16,
    ttl: u8,
    sent_at: Instant,
}

/// A running round.
#[derive(Debug)]
pub(crate) struct TraceRound {
    plan: TracePlan,
    started: Instant,
    flows: Vec<Flow>,
    queue: VecDeque<(u16, u8)>,
    awaiting: BTreeMap<ProbeId, InFlight>,
    next_id: u16,
}

impl TraceRound {
    pub(crate) fn new(plan: TracePlan, now: Instant) -> Self {
        let flows = (0..plan.flows).map(|_| Flow::default()).collect();
        Self {
            plan,
            started: now,
            flows,
            queue: VecDeque::new(),
            awaiting: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// Says what to do next. Call it again after each transmission, reply and deadline.
    pub(crate) fn poll(&mut self, now: Instant) -> Step {
        self.start_due_flows(now);
        self.expire(now);
        while let Some((flow, ttl)) = self.queue.pop_front() {
            if self.is_wanted(flow, ttl) {
                return Step::Transmit(self.transmit(flow, ttl, now));
            }
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
        next_start
            .into_iter()
            .chain(next_expiry)
            .min()
            .map_or(Step::Finished, Step::WaitUntil)
    }

    /// Books a reply. Returns false for one that answers nothing outstanding: late, repeated or forged.
    pub(crate) fn on_reply(&mut self, id: ProbeId, reply: Reply, now: Instant) -> bool {
        self.expire(now);
        let Some(probe) = self.awaiting.remove(&id) else {
            return false;
        };
        let rtt = now.saturating_duration_since(probe.sent_at);
        let hop = Hop {
            address: reply.from,
            rtt,
            icmp: reply.icmp,
            reply_ttl: reply.reply_ttl,
        };
        let Some(flow) = self.flows.get_mut(usize::from(probe.flow)) else {
            return false;
        };
        flow.hops.entry(probe.ttl).or_insert(hop);
        match reply.kind {
            ReplyKind::TimeExceeded => {
                // Short of where the destination is expected there is nothing to extend: those TTLs are out already.
                if self.expected_end().is_none_or(|end| probe.ttl >= end) {
                    self.reach_on(probe.flow, probe.ttl.saturating_add(BEYOND_LAST));
                }
            }

            ReplyKind::Destination => {
                flow.destination_ttl = Some(
                    flow.destination_ttl
                        .map_or(probe.ttl, |ttl| ttl.min(probe.ttl)),
                );
                self.end_at(probe.flow, probe.ttl, now);
            }
            ReplyKind::Barred => self.end_at(probe.flow, probe.ttl, now),
        }
        true
    }

    /// The shell could not send `id`: it waits for no reply, and this is not the network's silence.
    pub(crate) fn on_unsent(&mut self, id: ProbeId) {
        let unsent = self.awaiting.remove(&id);
        if let Some(probe) = unsent
            && let Some(flow) = self.flows.get_mut(usize::from(probe.flow))
            && let Some(attempts) = flow.attempts.get_mut(&probe.ttl)
        {
            *attempts = attempts.saturating_sub(1);
        }
    }

    /// What is settled by now, flow by flow and up to where each flow ends; what still waits for its reply is left out.
    pub(crate) fn tallies(&self) -> Vec<Tally> {
        let mut tallies = Vec::new();
        for (number, flow) in (0_u16..).zip(&self.flows) {
            let end = flow.end.map_or(MAX_TTL, |(end, _)| end);
            for (&ttl, &attempts) in flow.attempts.range(..=end) {
                let waits = |probe: &&InFlight| probe.flow == number && probe.ttl == ttl;
                let waiting = self.awaiting.values().filter(waits).count();
                let sent = attempts.saturating_sub(u8::try_from(waiting).unwrap_or(u8::MAX));
                if sent > 0 {
                    tallies.push(Tally {
                        flow: number,
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

    /// What the flows met.
    pub(crate) fn into_flows(self) -> Vec<FlowPath> {
        self.flows.into_iter().map(Flow::into_path).collect()
    }

    fn start_of(&self, index: usize) -> Instant {
        self.started + self.plan.spacing * u32::try_from(index).unwrap_or(u32::MAX)
    }

    fn start_due_flows(&mut self, now: Instant) {
        while let Some(index) = self.flows.iter().position(|flow| !flow.started) {
            if now < self.start_of(index) {
                return;
            }
            let goal = self.first_goal();
            if let Some(flow) = self.flows.get_mut(index) {
                flow.started = true;
            }
            self.reach_on(u16::try_from(index).unwrap_or(u16::MAX), goal);
        }
    }

    /// How far a new flow reaches at once: by what this round knows already, else by earlier rounds, else everywhere.
    fn first_goal(&self) -> u8 {
        if let Some(end) = self.expected_end() {
            return end.saturating_add(BEYOND_DESTINATION);
        }
        let lasts = self
            .flows
            .iter()
            .filter_map(Flow::last_answer)
            .chain(self.plan.known.last_ttl);
        lasts
            .max()
            .map_or(MAX_TTL, |last| last.saturating_add(BEYOND_LAST))
    }

    /// The farthest end that a flow of this round, or of earlier ones, has met.
    fn expected_end(&self) -> Option<u8> {
        let ends = self
            .flows
            .iter()
            .filter_map(|flow| flow.end.map(|(ttl, _)| ttl));
        ends.chain(self.plan.known.destination_ttl).max()
    }

    /// Queues the TTLs of a flow up to `goal` that were not queued before.
    fn reach_on(&mut self, index: u16, goal: u8) {
        let goal = goal.min(MAX_TTL);
        let Some(flow) = self.flows.get_mut(usize::from(index)) else {
            return;
        };
        if flow.end.is_none() && goal > flow.goal {
            self.queue
                .extend((flow.goal + 1..=goal).map(|ttl| (index, ttl)));
            flow.goal = goal;
        }
    }

    fn end_at(&mut self, index: u16, ttl: u8, now: Instant) {
        if let Some(flow) = self.flows.get_mut(usize::from(index)) {
            let end = flow
                .end
                .map_or((ttl, now), |(old, since)| (old.min(ttl), since));
            flow.end = Some(end);
            self.awaiting
                .retain(|_, probe| probe.flow != index || probe.ttl < end.0);
        }
    }

    fn is_wanted(&self, index: u16, ttl: u8) -> bool {
        self.flows.get(usize::from(index)).is_some_and(|flow| {
            let below_end = flow.end.is_none_or(|(end, _)| ttl < end);
            below_end && !flow.hops.contains_key(&ttl)
        })
    }

    fn transmit(&mut self, index: u16, ttl: u8, now: Instant) -> Probe {
        let id = ProbeId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        if let Some(flow) = self.flows.get_mut(usize::from(index)) {
            *flow.attempts.entry(ttl).or_insert(0) += 1;
        }
        self.awaiting.insert(
            id,
            InFlight {
                flow: index,
                ttl,
                sent_at: now,
            },
        );
        Probe {
            id,
            flow: index,
            ttl,
        }
    }

    fn deadline(&self, probe: InFlight) -> Instant {
        let patient = probe.sent_at + self.plan.timeout;
        match self
            .flows
            .get(usize::from(probe.flow))
            .and_then(|flow| flow.end)
        {
            Some((_, since)) => patient.min(since.max(probe.sent_at) + self.plan.grace),
            None => patient,
        }
    }

    fn expire(&mut self, now: Instant) {
        let expired: Vec<(ProbeId, InFlight)> = self
            .awaiting
            .iter()
            .filter(|(_, probe)| now >= self.deadline(**probe))
            .map(|(id, probe)| (*id, *probe))
            .collect();
        for (id, probe) in expired {
            self.awaiting.remove(&id);
            if self.is_worth_asking_again(probe.flow, probe.ttl) {
                self.queue.push_back((probe.flow, probe.ttl));
            }
        }
    }

    fn is_worth_asking_again(&self, index: u16, ttl: u8) -> bool {
        let Some(flow) = self.flows.get(usize::from(index)) else {
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

impl Flow {
    fn last_answer(&self) -> Option<u8> {
        self.hops.keys().next_back().copied()
    }

    fn into_path(self) -> FlowPath {
        let last = self
            .end
            .map(|(end, _)| end)
            .or(self.last_answer())
            .unwrap_or(0);
        FlowPath {
            hops: (1..=last).map(|ttl| self.hops.get(&ttl).copied()).collect(),
            destination_ttl: self.destination_ttl.filter(|ttl| *ttl == last),
        }
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
