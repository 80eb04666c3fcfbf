//! Multipath discovery: every interface that flows to one destination may meet, at a stated confidence (the multipath
//! detection algorithm of Paris traceroute, 2007, with its stopping rule and node control).
//!
//! At each TTL flows are sent until, for each router one TTL nearer, so many of the flows that pass it have been followed
//! that one more next hop would have shown itself but for the chance `alpha`. Which flows pass a router is known from what
//! they met one TTL nearer: that is node control. All TTLs run at once. Where several interfaces answer, one flow is
//! repeated [`REPEATS`] times: if it meets more than one, packets are balanced there and not flows, and the flows behind it
//! are counted together.
//!
//! The chance holds for each router apart and for branches of equal weight: over twelve routers with two next hops each it
//! adds up. Packets are bounded by [`MOST_PROBES`] for a TTL and [`MOST_FLOWS`] flows; where they do not suffice, or where
//! routers stay silent, the TTL is not `complete`.

mod found;

pub use found::Found;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use crate::gate::{Admission, Gate};
use crate::met::{Hop, Reply, ReplyKind};
use crate::plan::{MAX_TTL, TracePlan};
use crate::stopping::Stopping;
use crate::trace::{BEYOND_LAST, FIRST_REACH, MAX_ATTEMPTS, Probe, ProbeId, Step};

/// Packets of one flow to one TTL that tell balanced packets from balanced flows.
pub const REPEATS: u8 = 6;

/// Packets at most for one TTL.
pub const MOST_PROBES: u32 = 512;

/// Flows at most.
pub const MOST_FLOWS: u16 = 256;

/// What one flow met at one TTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Pending,
    Silent,
    At(Hop),
}

/// From where a flow comes to a TTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum From {
    /// This machine, a silent TTL or one that balances packets: all flows together.
    Anywhere,
    Router(IpAddr),
}

#[derive(Debug, Default)]
struct Row {
    nodes: BTreeMap<u16, Node>,
    attempts: BTreeMap<u16, u8>,
    probes: u32,
    answered: u32,
    /// The flow that is repeated, and how often it has been sent for that.
    repeated: Option<(u16, u8)>,
    /// Whom the repeated flow met.
    met: BTreeSet<IpAddr>,
}

impl Row {
    fn is_per_packet(&self) -> bool {
        self.met.len() > 1
    }

    /// Somebody was asked here, and nobody has answered.
    fn is_silent(&self) -> bool {
        self.nodes.values().all(|node| *node == Node::Silent)
    }

    /// Who has answered.
    fn addresses(&self) -> BTreeSet<IpAddr> {
        let first = self.nodes.values().filter_map(|node| match node {
            Node::At(hop) => Some(hop.address),
            Node::Pending | Node::Silent => None,
        });
        first.chain(self.met.iter().copied()).collect()
    }
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    flow: u16,
    ttl: u8,
    sent_at: Instant,
    is_repeat: bool,
}

/// The flows that come to a TTL from one place, and what is known of them there.
#[derive(Debug, Default)]
struct Group {
    /// Not asked yet.
    open: Vec<u16>,
    pending: usize,
    answered: usize,
    silent: usize,
    next: BTreeSet<IpAddr>,
}

/// A running discovery.
#[derive(Debug)]
pub struct Mda {
    plan: TracePlan,
    stopping: Stopping,
    rows: BTreeMap<u8, Row>,
    /// Lowest TTL at which the destination, or a router that bars the way, answered a flow; true for the destination.
    ends: BTreeMap<u16, (u8, bool)>,
    /// Farthest TTL that is asked so far.
    horizon: u8,
    /// As far as flows go on past where others end; 0 when none does.
    beyond_ends: u8,
    wanted: VecDeque<(u16, u8, bool)>,
    queue: BTreeMap<(Instant, u32), (u16, u8, bool)>,
    queued: u32,
    awaiting: BTreeMap<ProbeId, InFlight>,
    next_id: u16,
    is_stale: bool,
}

impl Mda {
    /// A discovery that starts now. Of the plan count the flows (those whose paths are told), `timeout`, `alpha`, `known`.
    pub fn new(plan: TracePlan) -> Self {
        let known = plan.known.destination_ttl;
        let beyond = plan
            .known
            .last_ttl
            .map(|last| last.saturating_add(BEYOND_LAST));
        Self {
            stopping: Stopping::new(plan.alpha),
            horizon: known.or(beyond).unwrap_or(FIRST_REACH).clamp(1, MAX_TTL),
            plan,
            beyond_ends: 0,
            rows: BTreeMap::new(),
            ends: BTreeMap::new(),
            wanted: VecDeque::new(),
            queue: BTreeMap::new(),
            queued: 0,
            awaiting: BTreeMap::new(),
            next_id: 0,
            is_stale: true,
        }
    }

    /// Says what to do next. Call it again after each transmission, reply and deadline.
    pub fn poll(&mut self, now: Instant, gate: &mut impl Gate) -> Step {
        self.expire(now);
        if self.is_stale {
            self.is_stale = false;
            self.want_more();
            self.admit(now, gate);
        }
        let due = self
            .queue
            .first_key_value()
            .map(|(key, item)| (*key, *item));
        if let Some((key, item)) = due.filter(|((at, _), _)| *at <= now) {
            self.queue.remove(&key);
            if self.is_wanted(item) {
                return Step::Transmit(self.transmit(item, now));
            }
            return self.poll(now, gate);
        }
        let expiry = self
            .awaiting
            .values()
            .map(|probe| probe.sent_at + self.plan.timeout);
        let send = due.map(|((at, _), _)| at);
        expiry
            .chain(send)
            .min()
            .map_or(Step::Finished, Step::WaitUntil)
    }

    /// Books a reply. Returns false for one that answers nothing outstanding: late, repeated or forged.
    pub fn on_reply(&mut self, id: ProbeId, reply: Reply, now: Instant) -> bool {
        let Some(probe) = self.awaiting.get(&id).copied() else {
            return false;
        };
        if now >= probe.sent_at + self.plan.timeout {
            return false;
        }
        self.awaiting.remove(&id);
        self.is_stale = true;
        let rtt = now.saturating_duration_since(probe.sent_at);
        if self.is_past(probe.flow, probe.ttl) {
            return true;
        }
        let row = self.rows.entry(probe.ttl).or_default();
        row.answered += 1;
        let node = row.nodes.entry(probe.flow).or_insert(Node::Pending);
        if !matches!(node, Node::At(_)) {
            *node = Node::At(Hop::of(&reply, rtt));
        }
        if row.repeated.is_some_and(|(flow, _)| flow == probe.flow) {
            row.met.insert(reply.from);
            if let Node::At(hop) = node {
                row.met.insert(hop.address);
            }
        }
        if reply.kind != ReplyKind::TimeExceeded {
            let end = (probe.ttl, reply.kind == ReplyKind::Destination);
            let known = self.ends.entry(probe.flow).or_insert(end);
            *known = (*known).min(end);
            self.forget_beyond(probe.flow);
        }
        true
    }

    /// The shell could not send `id`: the flow counts as silent there.
    pub fn on_unsent(&mut self, id: ProbeId) {
        if let Some(probe) = self.awaiting.remove(&id) {
            self.give_up(probe);
        }
    }

    /// Flow, TTL and time of sending of a packet that is under way.
    pub fn under_way(&self, id: ProbeId) -> Option<(u16, u8, Instant)> {
        let probe = self.awaiting.get(&id)?;
        Some((probe.flow, probe.ttl, probe.sent_at))
    }

    /// Decides, TTL by TTL, which flows are still to be asked where.
    fn want_more(&mut self) {
        self.extend_horizon();
        for ttl in 1..=self.reach() {
            for flow in self.plan.flows.clone() {
                self.want_new(flow, ttl);
            }
            for (from, group) in self.groups(ttl) {
                self.want_group(ttl, from, &group);
            }
            self.want_repeats(ttl);
        }
    }

    /// The farthest TTL worth asking: where flows end, or as far as is known.
    fn reach(&self) -> u8 {
        let expected = self.ends.values().map(|(ttl, _)| *ttl).max();
        expected.map_or(self.horizon, |end| end.max(self.beyond_ends))
    }

    fn is_past(&self, flow: u16, ttl: u8) -> bool {
        self.ends.get(&flow).is_some_and(|(end, _)| ttl > *end)
    }

    /// Whether a queued packet is still worth sending; what is not leaves no trace.
    fn is_wanted(&mut self, (flow, ttl, is_repeat): (u16, u8, bool)) -> bool {
        let is_wanted = !self.is_past(flow, ttl) && ttl <= self.reach();
        if !is_wanted
            && !is_repeat
            && let Some(row) = self.rows.get_mut(&ttl)
        {
            row.nodes.remove(&flow);
        }
        is_wanted
    }

    /// Past its end a flow meets the same end again: that says nothing of those TTLs.
    fn forget_beyond(&mut self, flow: u16) {
        let Some((end, _)) = self.ends.get(&flow).copied() else {
            return;
        };
        for row in self
            .rows
            .range_mut(end.saturating_add(1)..)
            .map(|(_, row)| row)
        {
            row.nodes.remove(&flow);
        }
    }

    /// Flows that met a router at the farthest TTL go on.
    fn extend_horizon(&mut self) {
        let goes_on = |(flow, node): (&u16, &Node)| {
            matches!(node, Node::At(_)) && !self.ends.contains_key(flow)
        };
        let last = self
            .rows
            .iter()
            .rev()
            .find(|(_, row)| row.nodes.iter().any(goes_on));
        let Some((last, _)) = last else { return };
        let expected = self.ends.values().map(|(ttl, _)| *ttl).max();
        if expected.is_none_or(|end| *last >= end) {
            self.horizon = self
                .horizon
                .max(last.saturating_add(BEYOND_LAST))
                .min(MAX_TTL);
        }
    }

    fn want_group(&mut self, ttl: u8, from: From, group: &Group) {
        let target = self.stopping.point(group.next.len().max(1));
        let settled = group.answered + group.silent;
        if group.answered >= target || settled >= target * 2 {
            return;
        }
        let mut missing = target.saturating_sub(group.answered + group.pending);
        for flow in group.open.iter().take(missing) {
            self.want_new(*flow, ttl);
        }
        missing = missing.saturating_sub(group.open.len());
        if missing == 0 {
            return;
        }
        // Nobody else is known to come this way: more flows are looked at one TTL nearer, or here where all come this way.
        let look_at = if from == From::Anywhere { ttl } else { ttl - 1 };
        let is_out = |node: &&Node| **node == Node::Pending;
        let looking = self
            .rows
            .get(&look_at)
            .map_or(0, |row| row.nodes.values().filter(is_out).count());
        if from != From::Anywhere {
            missing = missing.saturating_sub(looking);
        }
        let fresh = (0..MOST_FLOWS).filter(|flow| {
            let asked = self
                .rows
                .get(&look_at)
                .is_some_and(|row| row.nodes.contains_key(flow));
            !asked && self.ends.get(flow).is_none_or(|(end, _)| *end >= look_at)
        });
        for flow in fresh.take(missing).collect::<Vec<_>>() {
            self.want_new(flow, look_at);
        }
    }

    /// Where several answer, one flow is sent again and again.
    fn want_repeats(&mut self, ttl: u8) {
        let Some(row) = self.rows.get_mut(&ttl) else {
            return;
        };
        if row.repeated.is_some() || row.addresses().len() < 2 {
            return;
        }
        let first = row.nodes.iter().find_map(|(flow, node)| match node {
            Node::At(hop) => Some((*flow, hop.address)),
            Node::Pending | Node::Silent => None,
        });
        if let Some((flow, address)) = first {
            row.repeated = Some((flow, REPEATS - 1));
            row.met.insert(address);
            self.wanted.extend((1..REPEATS).map(|_| (flow, ttl, true)));
        }
    }

    /// Asks for a flow at a TTL unless that was done, is past the end of the flow, or beyond what is allowed.
    fn want_new(&mut self, flow: u16, ttl: u8) {
        let is_past = self.is_past(flow, ttl);
        let row = self.rows.entry(ttl).or_default();
        let is_full = u32::try_from(row.nodes.len()).unwrap_or(u32::MAX) >= MOST_PROBES / 2;
        if !is_past && !is_full && !row.nodes.contains_key(&flow) {
            row.nodes.insert(flow, Node::Pending);
            self.wanted.push_back((flow, ttl, false));
        }
    }

    /// The flows that come to a TTL, by where they come from.
    fn groups(&self, ttl: u8) -> BTreeMap<From, Group> {
        let before = ttl.checked_sub(1).and_then(|ttl| self.rows.get(&ttl));
        let before = before.filter(|row| !row.is_per_packet() && !row.is_silent());
        let here = self.rows.get(&ttl);
        let mut flows: BTreeSet<u16> = here
            .into_iter()
            .flat_map(|row| row.nodes.keys().copied())
            .collect();
        flows.extend(before.into_iter().flat_map(|row| row.nodes.keys().copied()));
        let mut groups: BTreeMap<From, Group> = BTreeMap::new();
        for flow in flows {
            if self.is_past(flow, ttl) {
                continue;
            }
            let from = match before.map(|row| row.nodes.get(&flow)) {
                None => From::Anywhere,
                Some(Some(Node::At(hop))) => From::Router(hop.address),
                Some(Some(Node::Pending | Node::Silent) | None) => continue,
            };
            let group = groups.entry(from).or_default();
            match here.and_then(|row| row.nodes.get(&flow)) {
                None => group.open.push(flow),
                Some(Node::Pending) => group.pending += 1,
                Some(Node::Silent) => group.silent += 1,
                Some(Node::At(hop)) => {
                    group.answered += 1;
                    group.next.insert(hop.address);
                }
            }
        }
        groups
    }

    fn admit(&mut self, now: Instant, gate: &mut impl Gate) {
        while let Some((flow, ttl, is_repeat)) = self.wanted.pop_front() {
            match gate.admit(flow, &[ttl], now).first() {
                Some(Admission::At(at)) => {
                    self.queue
                        .insert((*at, self.queued), (flow, ttl, is_repeat));
                    self.queued += 1;
                }
                // The routers of this TTL are asked too much: what is missing leaves the TTL incomplete.
                Some(Admission::Skip) | None => {
                    if let Some(node) = self.pending(flow, ttl).filter(|_| !is_repeat) {
                        *node = Node::Silent;
                    }
                }
            }
        }
    }

    fn pending(&mut self, flow: u16, ttl: u8) -> Option<&mut Node> {
        let node = self.rows.get_mut(&ttl)?.nodes.get_mut(&flow)?;
        (*node == Node::Pending).then_some(node)
    }

    fn transmit(&mut self, (flow, ttl, is_repeat): (u16, u8, bool), now: Instant) -> Probe {
        let id = ProbeId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let row = self.rows.entry(ttl).or_default();
        row.probes += 1;
        *row.attempts.entry(flow).or_insert(0) += 1;
        let probe = InFlight {
            flow,
            ttl,
            sent_at: now,
            is_repeat,
        };
        self.awaiting.insert(id, probe);
        Probe { id, flow, ttl }
    }

    fn expire(&mut self, now: Instant) {
        let is_late = |probe: &InFlight| now >= probe.sent_at + self.plan.timeout;
        let late: Vec<ProbeId> = self
            .awaiting
            .iter()
            .filter(|(_, probe)| is_late(probe))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            if let Some(probe) = self.awaiting.remove(&id) {
                self.give_up(probe);
            }
        }
    }

    /// A packet was not answered: it is sent once more, or the flow is silent here.
    fn give_up(&mut self, probe: InFlight) {
        self.is_stale = true;
        if probe.is_repeat {
            return;
        }
        let is_known_silent = self.plan.known.silent_ttls.contains(&probe.ttl);
        let row = self.rows.entry(probe.ttl).or_default();
        let attempts = row.attempts.get(&probe.flow).copied().unwrap_or(0);
        // A TTL that has answered nobody is not asked twice for each flow.
        let is_worth_it = !row.addresses().is_empty() && !is_known_silent;
        if attempts < MAX_ATTEMPTS && is_worth_it && row.probes < MOST_PROBES {
            self.wanted.push_back((probe.flow, probe.ttl, false));
        } else if let Some(node) = self.pending(probe.flow, probe.ttl) {
            *node = Node::Silent;
        }
    }
}

#[cfg(test)]
#[path = "mda_tests.rs"]
mod tests;
