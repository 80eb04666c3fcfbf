//! One target, watched: its schedule decides, its probes run side by side, what they find is recorded and judged.
//!
//! One task for each target owns everything of it, probes included: a slow or dead target delays no other one, and a
//! slow probe delays no other probe.

mod findings;
mod paths;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use firstmile_wire::v1::{Phase, Protocol};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::prober::Prober;
use super::probes::{self, Finding, Probing};
use crate::clock;
use crate::config::{AgentConfig, Host, Plan, Target};
use crate::probe::addresses::Pinned;
use crate::probe::path::PathMemory;
use crate::probe::sighting::SightingMemory;
use crate::probe::{Measured, Outcome, Sample};
use crate::schedule::trigger::Triggers;
use crate::schedule::{Action, Periods, Step, TargetSchedule};

/// Probes of one target under way at once: at the fastest plan and the longest timeout some are skipped, and counted.
const MAX_IN_FLIGHT: usize = 64;

/// Starts a task for each target, and one for the machine itself.
pub(super) fn spawn_all(
    prober: &Arc<Prober>,
    config: &AgentConfig,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) {
    tasks.spawn(prober.host_watch(config).run(cancel.clone()));
    for (index, target) in config.targets.iter().enumerate() {
        let watch = Watch::new(Arc::clone(prober), index, target.clone());
        tasks.spawn(watch.run(cancel.clone()));
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
    paths: BTreeMap<IpAddr, PathMemory>,
    sightings: SightingMemory,
    tracing: BTreeSet<IpAddr>,
    trace_refused: bool,
    missed: u64,
}

impl Watch {
    fn new(prober: Arc<Prober>, index: usize, target: Target) -> Self {
        let schedule = TargetSchedule::new(
            &periods(&target, &prober.plan),
            clock::now(),
            &mut rand::random,
        );
        let (mut v4, mut v6) = (Pinned::default(), Pinned::default());
        if let Host::Address(address) = target.host {
            let pinned = if address.is_ipv4() { &mut v4 } else { &mut v6 };
            pinned.on_answer(Some(&[address]));
        }
        let resolved = matches!(target.host, Host::Address(_));
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
            tracing: BTreeSet::new(),
            trace_refused: false,
            missed: 0,
        }
    }

    async fn run(mut self, cancel: CancellationToken) {
        let mut probes: FuturesUnordered<Probing> = FuturesUnordered::new();
        loop {
            match self.schedule.poll(clock::now(), &mut rand::random) {
                Step::Act(action) => self.act(action, &mut probes),
                Step::WaitUntil(deadline) => tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep_until(deadline.into()) => {}
                    Some(finding) = probes.next() => self.on_finding(finding),
                },
            }
            let missed = self.schedule.missed();
            self.prober
                .counters
                .skipped_probes
                .add(missed - self.missed);
            self.missed = missed;
        }
    }

    fn act(&mut self, action: Action, probes: &mut FuturesUnordered<Probing>) {
        if probes.len() >= MAX_IN_FLIGHT {
            self.prober.counters.skipped_probes.add(1);
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
            Action::Trace { burst } => {
                for destination in self.destinations() {
                    probes.extend(self.trace(destination, burst));
                }
            }
        }
    }

    /// Addresses to probe now: the pinned one of each family that has a route.
    fn destinations(&self) -> Vec<IpAddr> {
        let v6 = self.v6.address().filter(|_| self.v6_routed);
        self.v4.address().into_iter().chain(v6).collect()
    }

    fn each_destination(
        &self,
        protocol: Protocol,
        probes: &mut FuturesUnordered<Probing>,
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

    fn on_finding(&mut self, finding: Finding) {
        let suspicious = match finding {
            Finding::Resolved { answers, delay } => self.on_resolved(answers, delay),
            Finding::Pulse {
                protocol,
                destination,
                at,
                measured,
            } => {
                self.record(at, Some(destination), protocol, Phase::Rtt, measured);
                self.triggers
                    .on_pulse(protocol, destination, measured.outcome)
            }
            Finding::Https {
                destination,
                at,
                exchange,
                delay,
            } => self.on_exchange(destination, at, exchange, delay),
            Finding::Quic {
                destination,
                at,
                found,
                delay,
            } => self.on_quic(destination, at, found, delay),
            Finding::Tls {
                destination,
                at,
                handshake,
                delay,
            } => self.on_handshake(destination, at, handshake, delay),
            Finding::Round {
                destination,
                burst,
                result,
            } => self.on_round(destination, burst, result),
        };
        if suspicious && self.schedule.start_burst(clock::now()) {
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
            marks: measured.marks(),
            vantage: 0,
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

fn periods(target: &Target, plan: &Plan) -> Periods {
    Periods {
        resolve: matches!(target.host, Host::Name(_)).then_some(plan.dns_interval),
        echo: target.protocols.icmp.then_some(plan.pulse_interval),
        connect: target.protocols.tcp.then_some(plan.pulse_interval),
        https: target.protocols.https.then_some(plan.https_interval),
        tls: target.protocols.tls.then_some(plan.tls_interval),
        quic: target.protocols.quic.then_some(plan.quic_interval),
        trace: target.trace.then_some(plan.trace_interval),
        burst_interval: plan.burst_interval,
        burst_rounds: plan.burst_rounds,
    }
}
