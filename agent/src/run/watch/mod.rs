//! One target, watched: its schedule decides, its probes run side by side, what they find is recorded and judged.
//!
//! One task for each target owns everything of it, probes included: a slow or dead target delays no other one, and a
//! slow probe delays no other probe.

mod findings;
mod paths;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use firstmile_wire::v1::{Phase, Protocol};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::plan::periods;
use super::prober::Prober;
use super::probes::{self, Finding, Probing, UnderWay};
use super::upheaval::Upheaval;
use crate::alarm;
use crate::clock;
use crate::config::{AgentConfig, Host, Target};
use crate::probe::addresses::Pinned;
use crate::probe::idle::Pauses;
use crate::probe::sighting::SightingMemory;
use crate::probe::{Measured, Outcome, Sample};
use crate::schedule::rounds::Showed;
use crate::schedule::trigger::Triggers;
use crate::schedule::{Action, Missed, Step, TargetSchedule};
use paths::{Lane, Path};

/// Probes of one target under way at once: at the fastest plan and the longest timeout some are skipped, and counted.
const MAX_IN_FLIGHT: usize = 64;

/// Starts a task for each target at each of its vantage points, and one for the machine itself.
pub(super) fn spawn_all(
    probers: &BTreeMap<u16, Arc<Prober>>,
    config: &AgentConfig,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) {
    if let Some(own) = probers.get(&0) {
        tasks.spawn(own.host_watch(config).run(cancel.clone()));
    }
    for (index, target) in config.targets.iter().enumerate() {
        let named = target
            .vantages
            .iter()
            .filter_map(|place| probers.get(place));
        for prober in named {
            let watch = Watch::new(Arc::clone(prober), index, target.clone());
            tasks.spawn(watch.run(cancel.clone()));
        }
    }
}

struct Watch {
    prober: Arc<Prober>,
    index: usize,
    target: Target,
    schedule: TargetSchedule,
    triggers: Triggers,
    v4: Pinned,
    v6: Pinned,
    /// Whether IPv6 packets would leave this machine.
    v6_routed: bool,
    resolved: bool,
    sightings: SightingMemory,
    pauses: Pauses,
    paths: BTreeMap<IpAddr, Path>,
    tracing: Lane,
    refreshing: Lane,
    trace_refused: bool,
    missed: Missed,
    upheaval: Upheaval,
    /// Until when this target has heard of changes at its handoff.
    heard: Instant,
}

impl Watch {
    fn new(prober: Arc<Prober>, index: usize, target: Target) -> Self {
        let upheaval = *prober.upheavals.borrow();
        let mut schedule = TargetSchedule::new(
            &periods(&target, &prober.plan),
            clock::now(),
            &mut rand::random,
        );
        let (mut v4, mut v6) = (Pinned::default(), Pinned::default());
        if let Host::Address(address) = target.host {
            let pinned = if address.is_ipv4() { &mut v4 } else { &mut v6 };
            *pinned = Pinned::literal(address);
        }
        let resolved = matches!(target.host, Host::Address(_));
        if resolved {
            schedule.on_first_address(clock::now(), &mut rand::random);
        }
        let pauses = Pauses::new(prober.plan.pulse_interval);
        Self {
            prober,
            index,
            target,
            schedule,
            triggers: Triggers::default(),
            v4,
            v6,
            v6_routed: true,
            resolved,
            paths: BTreeMap::new(),
            sightings: SightingMemory::default(),
            pauses,
            tracing: Lane::default(),
            refreshing: Lane::default(),
            trace_refused: false,
            missed: Missed::default(),
            upheaval,
            heard: clock::now(),
        }
    }

    async fn run(mut self, cancel: CancellationToken) {
        let mut probes = UnderWay::new(self.prober.keeper.clone());
        let mut upheavals = self.prober.upheavals.clone();
        self.tell_destinations();
        loop {
            let now = clock::now();
            let handoff = self.handoff();
            if self.prober.news(handoff, now) > Some(self.heard) {
                self.heard = now;
                self.schedule.hear(now);
            }
            if self.schedule.is_in_the_way() {
                self.tracing.cut.cancel();
            }
            let permit = |ask| self.prober.permit(ask, handoff, self.index, now);
            match self.schedule.poll(now, &mut rand::random, permit) {
                Step::Act(action) => self.act(action, &probes),
                Step::WaitUntil(deadline) => tokio::select! {
                    () = cancel.cancelled() => return,
                    () = alarm::until(deadline) => {}
                    Some(finding) = probes.next() => self.on_finding(finding),
                    Ok(()) = upheavals.changed() => {
                        let upheaval = *upheavals.borrow_and_update();
                        self.on_upheaval(upheaval);
                    }
                },
            }
            self.count_missed();
        }
    }

    fn count_missed(&mut self) {
        let (before, after) = (self.missed, self.schedule.missed());
        if before != after {
            let counters = &self.prober.counters;
            counters.missed_starved.add(after.starved - before.starved);
            counters
                .missed_suspended
                .add(after.suspended - before.suspended);
            counters.deferred_rounds.add(after.budget - before.budget);
            self.missed = after;
        }
    }

    fn act(&mut self, action: Action, probes: &UnderWay) {
        if probes.len() >= MAX_IN_FLIGHT {
            self.prober.counters.skipped_probes.add(1);
            if let Action::Trace(round) = action {
                self.schedule.on_refused(round, clock::now());
            }
            return;
        }
        match action {
            Action::Resolve => probes.extend(self.resolve()),
            Action::Echo => self.each_destination(Protocol::Icmp, probes, |watch, to| {
                probes::echo(&watch.prober, to)
            }),
            Action::Connect => self.each_destination(Protocol::Tcp, probes, |watch, to| {
                probes::connect(&watch.prober, SocketAddr::new(to, watch.target.port))
            }),
            Action::Https => self.each_destination(Protocol::Https, probes, |watch, to| {
                probes::https(&watch.prober, &watch.target, to)
            }),
            Action::Tls => self.each_destination(Protocol::Tls, probes, |watch, to| {
                probes::tls(&watch.prober, &watch.target, to)
            }),
            Action::Quic => self.each_destination(Protocol::Quic, probes, |watch, to| {
                probes::quic(&watch.prober, &watch.target, to)
            }),
            Action::Evidence => probes.extend(self.gather_evidence()),
            Action::Trace(round) => self.start_round(round, probes),
        }
    }

    /// Says where this target's packets go, for whoever looks after their way out.
    fn tell_destinations(&self) {
        let both = self.v4.address().into_iter().chain(self.v6.address());
        self.prober.destinations.set(self.index, both.collect());
    }

    /// Addresses to probe now: the pinned one of each family that has a route.
    fn destinations(&self) -> Vec<IpAddr> {
        let v6 = self.v6.address().filter(|_| self.v6_routed);
        let v4 = self.v4.address().map(|v4| match self.target.host {
            Host::Address(_) => self.prober.behind_nat64(v4),
            Host::Name(_) => v4,
        });
        v4.into_iter().chain(v6).collect()
    }

    fn each_destination(
        &self,
        protocol: Protocol,
        probes: &UnderWay,
        probe: impl Fn(&Self, IpAddr) -> Probing,
    ) {
        let destinations = self.destinations();
        if destinations.is_empty() && self.resolved {
            // A name without an address is a state that samples say, not silence.
            let outcome = if self.v6.address().is_some() {
                Outcome::NoRoute
            } else {
                Outcome::DnsFailed
            };
            self.record(clock::now(), None, protocol, first_phase(protocol), outcome);
        }
        probes.extend(
            destinations
                .into_iter()
                .map(|destination| probe(self, destination)),
        );
    }

    fn resolve(&self) -> Option<Probing> {
        match &self.target.host {
            Host::Name(name) => Some(probes::resolve(&self.prober, name.clone())),
            Host::Address(_) => None,
        }
    }

    /// The machine slept, or its network is another one: everything is tried anew.
    fn on_upheaval(&mut self, upheaval: Upheaval) {
        let (now, before) = (
            clock::now(),
            std::mem::replace(&mut self.upheaval, upheaval),
        );
        self.prober.renew(upheaval);
        let asleep = upheaval.asleep.saturating_sub(before.asleep);
        if !asleep.is_zero() {
            self.schedule.on_wake_up(asleep, now, &mut rand::random);
        } else if upheaval.networks != before.networks {
            self.schedule.on_new_network(now, &mut rand::random);
        }
    }

    fn on_finding(&mut self, finding: Finding) {
        let suspicious = match finding {
            Finding::Spoiled(spoiled) => {
                self.prober.counters.clock_step_samples.add(1);
                if let Finding::Round { round, .. } = *spoiled {
                    self.end_round(round, Showed::default());
                }
                false
            }
            Finding::Resolved { answers, delay } => self.on_resolved(answers, delay),
            Finding::Pulse {
                protocol,
                destination,
                at,
                measured,
            } => {
                self.on_nearness(protocol, destination, measured);
                self.pauses.on_pulse(destination, at);
                self.record(at, Some(destination), protocol, Phase::Rtt, measured);
                let returns_otherwise = self.triggers.on_reply_ttl(destination, measured.reply_ttl);
                self.triggers
                    .on_pulse_at(at, protocol, destination, measured.outcome)
                    || returns_otherwise
            }
            Finding::Https {
                destination,
                at,
                exchange,
            } => self.on_exchange(destination, at, exchange),
            Finding::Quic {
                destination,
                at,
                found,
                delays,
            } => self.on_quic(destination, at, found, delays),
            Finding::Tls {
                destination,
                at,
                handshake,
            } => self.on_handshake(destination, at, handshake),
            Finding::Round {
                destination,
                round,
                result,
            } => {
                self.on_round(destination, round, result);
                false
            }
            Finding::Evidence {
                destination,
                result,
            } => {
                self.on_evidence(destination, result);
                false
            }
        };
        if suspicious && self.schedule.suspect(clock::now()) {
            debug!(target = %self.target.name, "suspicion, looking at the path at once");
        }
    }

    fn record(
        &self,
        at: Instant,
        destination: Option<IpAddr>,
        protocol: Protocol,
        phase: Phase,
        measured: impl Into<Measured>,
    ) {
        let measured = measured.into();
        let mut marks = self.place_marks(protocol, destination, measured.marks());
        if phase == Phase::Rtt && protocol != Protocol::Quic {
            marks = self.pauses.mark(destination, at, measured, marks);
        }
        self.prober.record(Sample {
            at,
            target: self.index,
            destination,
            protocol,
            phase,
            outcome: measured.outcome,
            clock: measured.clock,
            scheduling_delay: measured.scheduling_delay,
            reply_ttl: measured.reply_ttl,
            marks,
            // Questions of DNS take the machine's own way.
            vantage: if protocol == Protocol::Dns {
                0
            } else {
                self.prober.vantage
            },
        });
    }
}

/// The phase in which a protocol fails when nothing was sent.
const fn first_phase(protocol: Protocol) -> Phase {
    match protocol {
        Protocol::Https | Protocol::Tls => Phase::Connect,
        Protocol::Dns => Phase::Dns,
        Protocol::Quic => Phase::Handshake,
        Protocol::Icmp | Protocol::Tcp | Protocol::Unspecified => Phase::Rtt,
    }
}
