//! Path rounds of a target: which flows and TTLs they ask, when one may run, and what it brought.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;

use firstmile_wire::v1::TraceKind;
use tracing::{info, warn};

use super::Watch;
use crate::clock;
use crate::net::trace::{RoundResult, TraceError};
use crate::probe::nearness::Nearness;
use crate::probe::path::{Change, PathMemory};
use crate::probe::trace::{FlowPath, MAX_TTL, Span, Stream};
use crate::report::batch::Observation;
use crate::run::probes::{self, Probing, UnderWay};
use crate::schedule::rounds::{BURST_FLOWS, Round, Showed};

/// Destinations whose path is remembered; a target that moves on forgets one of the others.
const MAX_PATHS: usize = 8;

/// TTLs of a tail at most; where the ingress stands at very different TTLs, the first ones.
const MAX_TAIL: u8 = 8;

/// What is known of the path to one destination.
#[derive(Default)]
pub(super) struct Path {
    memory: PathMemory,
    /// The stretch around the ingress.
    tail: Option<Span>,
    /// The last router before it.
    handoff: Option<IpAddr>,
    /// Whether something nearer answers TCP.
    pub(super) nearness: Nearness,
    /// Flows that showed something new, latest first: a burst asks them first.
    moved: VecDeque<u16>,
}

/// A round that is under way to one or more destinations of the target.
#[derive(Default)]
pub(super) struct Lane {
    left: usize,
    showed: Showed,
}

impl Watch {
    /// Starts a round to each destination, or says to the schedule that it cannot be.
    pub(super) fn start_round(&mut self, round: Round, probes: &UnderWay) {
        let started: Vec<Probing> = self
            .destinations()
            .into_iter()
            .map(|destination| self.trace(destination, round))
            .collect();
        if started.is_empty() {
            self.schedule.on_refused(round, clock::now());
            return;
        }
        *self.lane(round) = Lane {
            left: started.len(),
            showed: Showed::default(),
        };
        probes.extend(started);
    }

    fn lane(&mut self, round: Round) -> &mut Lane {
        if round == Round::Refresh {
            &mut self.refreshing
        } else {
            &mut self.tracing
        }
    }

    /// A path round. Its packets wait for the hop budget of the tracer.
    fn trace(&self, destination: IpAddr, round: Round) -> Probing {
        let path = self.paths.get(&destination);
        let known = path.map(|path| path.memory.known()).unwrap_or_default();
        let all = self.prober.tracer.flows();
        let flows = match round {
            Round::Burst { .. } => burst_flows(path, all),
            Round::Full | Round::Tail | Round::Refresh => (0..all).collect(),
        };
        let stream = stream_of(round, path.and_then(|path| path.tail));
        let to = SocketAddr::new(destination, self.target.port);
        let plan = probes::round_plan(&self.prober.plan, stream, flows, known);
        probes::trace(&self.prober, to, round, plan)
    }

    /// The handoff of the target's path, by which bursts take turns; its own address where none is known. `None` also when
    /// no burst waits for its turn.
    pub(super) fn handoff_if_suspected(&self) -> Option<IpAddr> {
        if !self.schedule.is_suspected() {
            return None;
        }
        let destinations = self.destinations();
        let known = |to: &IpAddr| self.paths.get(to).and_then(|path| path.handoff);
        let handoff = destinations.iter().find_map(known);
        handoff.or(destinations.first().copied())
    }

    /// Books a round to one destination; when it was the last one, tells the schedule what they showed together.
    pub(super) fn on_round(
        &mut self,
        destination: IpAddr,
        round: Round,
        result: Result<RoundResult, TraceError>,
    ) {
        let showed = match result {
            Ok(result) => {
                self.trace_refused = false;
                self.book_round(destination, round, result)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.trace_refused, true) {
                    warn!(target = %self.target.name, %destination, %error, "no path round, tried again without further notice");
                }
                Showed::default()
            }
        };
        self.end_round(round, showed);
    }

    /// One destination of a round is done.
    pub(super) fn end_round(&mut self, round: Round, showed: Showed) {
        let lane = self.lane(round);
        lane.left = lane.left.saturating_sub(1);
        lane.showed.differs |= showed.differs;
        lane.showed.suspicious |= showed.suspicious;
        lane.showed.useful |= showed.useful;
        if lane.left == 0 {
            let showed = lane.showed;
            if self.schedule.on_round(round, showed, clock::now()) {
                self.prober.leave_desk(self.index);
            }
        }
    }

    fn book_round(&mut self, destination: IpAddr, round: Round, result: RoundResult) -> Showed {
        let change = self.learn(destination, round, &result.flows);
        self.look_how_near(destination, &result);
        let hops: BTreeSet<IpAddr> = result
            .flows
            .iter()
            .flat_map(|flow| flow.answers().map(|(_, hop)| hop.address))
            .collect();
        let useful = result.flows.iter().filter(|f| f.answers().next().is_some());
        let useful = useful.count() >= 2;
        if !hops.is_empty() {
            self.prober.note_success("trace");
            self.prober.want_names(hops.into_iter().collect());
        }
        self.prober.recorder.record(Observation::Round {
            target: self.index,
            destination,
            burst: matches!(round, Round::Burst { .. }),
            vantage: self.prober.vantage,
            round: result,
        });
        if change.differs {
            self.prober.recorder.flush_soon();
        }
        Showed {
            differs: change.differs,
            suspicious: change.suspicious,
            useful,
        }
    }

    /// Looks whether something nearer than the edge answers TCP.
    fn look_how_near(&mut self, destination: IpAddr, result: &RoundResult) {
        let Some(path) = self.paths.get_mut(&destination) else {
            return;
        };
        let ingresses = self.prober.ingresses.lock();
        let ingresses = ingresses.unwrap_or_else(PoisonError::into_inner);
        let is_inside = |address| ingresses.is_inside(address);
        let is_of_syns = result.kind == TraceKind::Tcp;
        if path.nearness.on_round(&result.flows, is_of_syns, is_inside) {
            match path.nearness.verdict() {
                Some(why) => {
                    warn!(target = %self.target.name, %destination, %why, "TCP is answered on the way to the edge");
                }
                None => {
                    info!(target = %self.target.name, %destination, "TCP is answered by the edge again");
                }
            }
        }
    }

    /// Takes a round into the memory of its destination, and says what is new.
    fn learn(&mut self, destination: IpAddr, round: Round, flows: &[FlowPath]) -> Change {
        while self.paths.len() >= MAX_PATHS && !self.paths.contains_key(&destination) {
            self.paths.pop_first();
        }
        let path = self.paths.entry(destination).or_default();
        let change = path.memory.absorb(flows);
        if change.suspicious {
            let moved = flows.iter().map(|flow| flow.flow);
            path.moved = moved.take(usize::from(BURST_FLOWS)).collect();
        }
        if matches!(round, Round::Full | Round::Burst { head: true }) {
            let ingresses = self.prober.ingresses.lock();
            let ingresses = ingresses.unwrap_or_else(PoisonError::into_inner);
            path.tail = tail_of(flows, |address| ingresses.is_inside(address));
            path.handoff = path.tail.and_then(|tail| last_before(flows, tail));
        }
        change
    }
}

/// What a round asks, given the stretch around the ingress; where that is not known yet, the whole path.
fn stream_of(round: Round, tail: Option<Span>) -> Stream {
    match (round, tail) {
        (Round::Full, _) | (Round::Tail, None) => Stream::Full,
        (Round::Tail, Some(span)) => Stream::Tail(span),
        (Round::Burst { head: true }, _) => Stream::Burst(None),
        (Round::Burst { head: false }, tail) => Stream::Burst(tail),
        (Round::Refresh, _) => Stream::Refresh,
    }
}

/// The flows of a burst round: those that moved, then the others in their order.
fn burst_flows(path: Option<&Path>, all: u16) -> Vec<u16> {
    let moved = path.map(|path| path.moved.iter().copied());
    let mut flows: Vec<u16> = moved.into_iter().flatten().filter(|f| *f < all).collect();
    for flow in 0..all {
        if !flows.contains(&flow) {
            flows.push(flow);
        }
    }
    flows.truncate(usize::from(BURST_FLOWS));
    flows
}

/// From two TTLs before the first router inside to one after it, over all flows; where none is known, the second half of the
/// path, for that is where it is entered.
fn tail_of(flows: &[FlowPath], is_inside: impl Fn(IpAddr) -> bool) -> Option<Span> {
    let entry = |flow: &FlowPath| {
        flow.answers()
            .find(|(_, hop)| is_inside(hop.address))
            .map(|(ttl, _)| ttl)
    };
    let entries: Vec<u8> = flows.iter().filter_map(entry).collect();
    if let (Some(first), Some(last)) = (entries.iter().min(), entries.iter().max()) {
        let from_ttl = first.saturating_sub(2).max(1);
        let to_ttl = (last + 1).min(from_ttl + MAX_TAIL - 1).min(MAX_TTL);
        return Some(Span { from_ttl, to_ttl });
    }
    let end = flows.iter().filter_map(|flow| flow.destination_ttl).max()?;
    Some(Span {
        from_ttl: (end / 2).max(1),
        to_ttl: end,
    })
}

/// The last router that answered before the ingress, which is two TTLs after the start of the tail.
fn last_before(flows: &[FlowPath], tail: Span) -> Option<IpAddr> {
    let before = |flow: &FlowPath| {
        let near = flow.answers().rfind(|(ttl, _)| *ttl <= tail.from_ttl + 1);
        near.map(|(_, hop)| hop.address)
    };
    flows.iter().find_map(before)
}
