//! Path rounds of a target: which flows and TTLs they ask, when one may run, and what it brought.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;

use firstmile_wire::v1::TraceKind;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Watch;
use crate::clock;
use crate::net::trace::{RoundResult, TraceError, can_discover};
use crate::probe::nearness::Nearness;
use crate::probe::trace::FlowPath;
use crate::report::batch::Observation;
use crate::run::plan::{evidence_plan, round_plan};
use crate::run::probes::{self, Probing, UnderWay};
use crate::schedule::rounds::{Round, Says, Showed};
use crate::schedule::view::PathView;

/// Destinations whose path is remembered; a target that moves on forgets one of the others.
const MAX_PATHS: usize = 8;

/// What is known of the path to one destination.
#[derive(Default)]
pub(super) struct Path {
    view: PathView,
    /// Whether something nearer answers TCP.
    pub(super) nearness: Nearness,
}

/// A round that is under way to one or more destinations of the target.
#[derive(Default)]
pub(super) struct Lane {
    left: usize,
    showed: Showed,
    /// The handoff of the path as it was when they began: other targets still know it by that.
    handoff: Option<IpAddr>,
    /// Ends the rounds early: those of all destinations, once one of them has met something new.
    pub(super) cut: CancellationToken,
}

impl Watch {
    /// Starts a round to each destination, or says to the schedule that it cannot be.
    pub(super) fn start_round(&mut self, round: Round, probes: &UnderWay) {
        let cut = CancellationToken::new();
        let started: Vec<Probing> = self
            .destinations()
            .into_iter()
            .map(|destination| self.trace(destination, round, cut.clone()))
            .collect();
        if started.is_empty() {
            self.schedule.on_refused(round, clock::now());
            return;
        }
        let handoff = self.handoff();
        *self.lane(round) = Lane {
            left: started.len(),
            showed: Showed::default(),
            handoff,
            cut,
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
    fn trace(&self, destination: IpAddr, round: Round, cut: CancellationToken) -> Probing {
        let unknown = PathView::default();
        let path = self.paths.get(&destination);
        let view = path.map_or(&unknown, |path| &path.view);
        let shares = self.prober.shares_burst(self.handoff());
        let flows = view.flows(round, shares, self.prober.tracer.flows());
        let aftermath = self.schedule.is_aftermath(clock::now());
        let (stream, known) = (view.stream(round), view.known(aftermath));
        let to = SocketAddr::new(destination, self.target.port);
        let plan = round_plan(&self.prober.plan, stream, flows, known);
        probes::trace(&self.prober, to, round, plan, cut)
    }

    /// Rounds of UDP and of ICMP to each destination. What they meet is reported and not learnt: they may be balanced apart from
    /// the connections of users.
    pub(super) fn gather_evidence(&self) -> Vec<Probing> {
        let kinds = [TraceKind::Udp, TraceKind::Icmp];
        let mut rounds = Vec::new();
        for destination in self.destinations() {
            let known = self
                .paths
                .get(&destination)
                .map(|path| path.view.known(true));
            let plan = evidence_plan(&self.prober.plan, &known.unwrap_or_default());
            let to = SocketAddr::new(destination, self.target.port);
            rounds.extend(kinds.map(|kind| probes::evidence(&self.prober, to, kind, plan.clone())));
        }
        rounds
    }

    /// Reports a round that is evidence. Without the rights for its packets there is none.
    pub(super) fn on_evidence(&self, destination: IpAddr, result: Result<RoundResult, TraceError>) {
        match result {
            Ok(round) => self.prober.recorder.record(Observation::Round {
                target: self.index,
                destination,
                burst: false,
                vantage: self.prober.vantage,
                round,
            }),
            Err(error) => {
                debug!(target = %self.target.name, %destination, %error, "no path of UDP or ICMP beside that of TCP");
            }
        }
    }

    /// The handoff of the target's path, by which bursts take turns; its own address where none is known.
    pub(super) fn handoff(&self) -> Option<IpAddr> {
        let destinations = self.destinations();
        let known = |to: &IpAddr| self.paths.get(to).and_then(|path| path.view.handoff());
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
                self.schedule.on_means(can_discover(result.method));
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
        lane.showed.says = lane.showed.says.max(showed.says);
        if lane.left == 0 {
            let (showed, handoff) = (lane.showed, lane.handoff);
            let is_old = self.schedule.is_aftermath(clock::now());
            if showed.suspicious && showed.says == Says::Moved && !is_old {
                self.prober.tell_desk(handoff);
                self.heard = clock::now();
            }
            if self.schedule.on_round(round, showed, clock::now()) {
                let found = self.schedule.has_found();
                self.prober.leave_desk(self.index, found);
                // What this burst found is no news to this target.
                self.heard = clock::now();
            }
        }
    }

    fn book_round(&mut self, destination: IpAddr, round: Round, result: RoundResult) -> Showed {
        let mut showed = self.learn(destination, round, &result.flows);
        // Packets that nothing keeps to a path may take another one each time.
        showed.suspicious &= result.is_pinned;
        self.look_how_near(destination, &result);
        (self.prober).look_around(self.index, destination, &result.flows);
        let hops: BTreeSet<IpAddr> = result
            .flows
            .iter()
            .flat_map(|flow| flow.answers().map(|(_, hop)| hop.address))
            .collect();
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
        // What a burst shows is told at once: the collector waits for rounds that agree.
        if showed.differs || matches!(round, Round::Burst { .. }) {
            debug!(target = %self.target.name, %destination, ?round, ?showed, "told at once");
            self.prober.recorder.flush_soon();
        }
        showed
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

    /// Takes a round into the memory of its destination, and says what it showed.
    fn learn(&mut self, destination: IpAddr, round: Round, flows: &[FlowPath]) -> Showed {
        if !self.paths.contains_key(&destination) {
            let in_use = self.destinations();
            make_room(&mut self.paths, &in_use);
        }
        let ingresses = self.prober.ingresses.lock();
        let ingresses = ingresses.unwrap_or_else(PoisonError::into_inner);
        let path = self.paths.entry(destination).or_default();
        let is_inside = |address| ingresses.is_inside(address);
        path.view.learn(round, flows, is_inside)
    }
}

/// Forgets paths until one more fits, those to addresses that are no longer probed first.
fn make_room<T>(paths: &mut BTreeMap<IpAddr, T>, in_use: &[IpAddr]) {
    while paths.len() >= MAX_PATHS {
        let idle = paths.keys().find(|address| !in_use.contains(address));
        let Some(least) = idle.or_else(|| paths.keys().next()).copied() else {
            return;
        };
        paths.remove(&least);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    proptest! {
        #[test]
        fn the_path_in_use_is_kept_however_many_addresses_came_before(
            seen in prop::collection::btree_set(any::<u8>(), 0..20),
            in_use in any::<u8>(),
        ) {
            let mut paths: BTreeMap<IpAddr, u8> =
                seen.iter().map(|last| (address(*last), 0)).collect();
            paths.insert(address(in_use), 0);
            make_room(&mut paths, &[address(in_use)]);
            prop_assert!(paths.len() < MAX_PATHS);
            prop_assert!(paths.contains_key(&address(in_use)));
        }
    }

    #[test]
    fn room_is_made_where_all_are_in_use_and_none_where_there_is_room() {
        let all: Vec<IpAddr> = (0..8).map(address).collect();
        let mut paths: BTreeMap<IpAddr, u8> = all.iter().map(|to| (*to, 0)).collect();
        make_room(&mut paths, &all);
        assert_eq!(paths.len(), MAX_PATHS - 1);
        make_room(&mut paths, &[]);
        assert_eq!(paths.len(), MAX_PATHS - 1);
    }
}
