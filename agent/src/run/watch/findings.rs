//! What the probes of a target found: recorded, and judged for whether the path deserves a look.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use firstmile_wire::v1::{Mark, Phase, Protocol};
use tracing::{debug, info, warn};

use super::Watch;
use crate::clock;
use crate::net::dns::{self, Answer};
use crate::net::handshake::Handshake;
use crate::net::https::Exchange;
use crate::net::quic::QuicFound;
use crate::net::route;
use crate::probe::addresses::{Given, Pinned};
use crate::probe::edge;
use crate::probe::sighting::Sighting;
use crate::probe::{Marks, Measured, Outcome};
use crate::report::batch::Observation;

/// A name is asked for again no sooner than this, however short its TTL.
const LEAST_TTL: Duration = Duration::from_secs(15);

impl Watch {
    /// Every answer is reported; the addresses are those of the first resolver that can say, as for other programs.
    pub(super) fn on_resolved(
        &mut self,
        answers: [Vec<Answer>; 2],
        delay: Option<Duration>,
    ) -> bool {
        let mut changed = false;
        self.record_dns(answers.each_ref().map(|all| dns::in_force(all)), delay);
        for all in answers {
            if let Some(answer) = dns::in_force(&all) {
                changed |= self.on_answer(answer);
            }
            for answer in all {
                self.prober.recorder.record(Observation::Resolution {
                    target: self.index,
                    answer,
                });
            }
        }
        if !self.resolved {
            self.schedule
                .on_first_address(clock::now(), &mut rand::random);
        }
        self.resolved = true;
        self.tell_destinations();
        self.look_for_ipv6_route();
        if changed {
            info!(target = %self.target.name, v4 = ?self.v4.address(), v6 = ?self.v6.address(), v4_learnt = %self.v4.learnt(), v6_learnt = %self.v6.learnt(), "another address is probed");
        }
        changed
    }

    fn on_answer(&mut self, answer: &Answer) -> bool {
        let pinned = self.pinned(answer.ipv6);
        let answered = matches!(answer.outcome, Outcome::Answered(_));
        let given = Given {
            resolver: &answer.resolver,
            addresses: &answer.addresses,
            cname_chain: &answer.cname_chain,
        };
        let changed = pinned.on_answer(answered.then_some(given), clock::now());
        if answered && !answer.addresses.is_empty() && answer.ttl < self.prober.plan.dns_interval {
            self.schedule
                .resolve_by(clock::now() + answer.ttl.max(LEAST_TTL));
        }
        changed
    }

    const fn pinned(&mut self, ipv6: bool) -> &mut Pinned {
        if ipv6 { &mut self.v6 } else { &mut self.v4 }
    }

    /// Books what a pulse says of how near the other side is, and whether its address still answers.
    pub(super) fn on_nearness(
        &mut self,
        protocol: Protocol,
        destination: IpAddr,
        measured: Measured,
    ) {
        match (protocol, measured.outcome) {
            (Protocol::Tcp, outcome) => {
                if let (Outcome::Answered(rtt), Some(path)) =
                    (outcome, self.paths.get_mut(&destination))
                {
                    path.nearness.on_tcp(rtt);
                }
                if self
                    .pinned(destination.is_ipv6())
                    .on_tcp(destination, outcome)
                {
                    debug!(target = %self.target.name, %destination, "the address does not answer, asking for another");
                    self.schedule.resolve_by(clock::now());
                }
            }
            (Protocol::Icmp, Outcome::Answered(_)) => {
                if let Some(path) = self.paths.get_mut(&destination) {
                    path.nearness.on_echo(measured.reply_ttl);
                }
            }
            _ => {}
        }
    }

    /// Marks what is answered on the way, as far as that is known.
    pub(super) fn place_marks(
        &self,
        protocol: Protocol,
        destination: Option<IpAddr>,
        marks: Marks,
    ) -> Marks {
        let is_over_tcp = matches!(protocol, Protocol::Tcp | Protocol::Tls | Protocol::Https);
        let path = destination.and_then(|to| self.paths.get(&to));
        if is_over_tcp && path.is_some_and(|path| path.nearness.verdict().is_some()) {
            marks.with(Mark::TerminatedLocally)
        } else {
            marks
        }
    }

    /// One sample for each question would count a name twice: the first one answered stands for all.
    fn record_dns(&self, answers: [Option<&Answer>; 2], delay: Option<Duration>) {
        let mut answers = answers.into_iter().flatten();
        let answered = (answers.clone()).find(|answer| answer.outcome.rtt().is_some());
        if let Some(answer) = answered.or(answers.next()) {
            let measured = Measured::from(answer.outcome).delayed_by(delay);
            self.record(answer.at, None, Protocol::Dns, Phase::Dns, measured);
        }
    }

    /// IPv6 without a route is a state of the site, said once for each resolution, not a failure of each probe.
    fn look_for_ipv6_route(&mut self) {
        let Some(address) = self.v6.address() else {
            return;
        };
        self.v6_routed = route::source_by(self.prober.exit, address).is_ok();
        if !self.v6_routed {
            self.record(
                clock::now(),
                Some(address),
                Protocol::Tcp,
                Phase::Rtt,
                Outcome::NoRoute,
            );
        }
    }

    pub(super) fn on_exchange(
        &mut self,
        destination: IpAddr,
        at: Instant,
        exchange: Exchange,
    ) -> bool {
        let delays = exchange.delays;
        self.record(
            at,
            Some(destination),
            Protocol::Https,
            Phase::Connect,
            exchange.connect,
        );
        let phases = [
            (Phase::Tls, exchange.tls, delays.tls),
            (Phase::Ttfb, exchange.ttfb, delays.ttfb),
            (Phase::TtfbWarm, exchange.warm, delays.warm),
        ];
        for (phase, outcome, delay) in phases {
            if let Some(outcome) = outcome {
                let measured = Measured::from(outcome).delayed_by(delay);
                self.record(at, Some(destination), Protocol::Https, phase, measured);
            }
        }
        if !exchange.problem.is_empty() {
            debug!(target = %self.target.name, %destination, problem = exchange.problem, "HTTPS failed");
        }
        self.see(destination, at, Protocol::Https, exchange.sighting);
        if exchange.status == 0 {
            return false;
        }
        let code = edge::code(&exchange.headers);
        let Exchange {
            status, headers, ..
        } = exchange;
        self.prober.recorder.record(Observation::Edge {
            target: self.index,
            destination,
            at,
            status,
            headers,
        });
        let changed = self.triggers.on_edge_code(destination, code);
        if changed {
            self.prober.recorder.flush_soon();
        }
        changed
    }

    pub(super) fn on_handshake(
        &mut self,
        destination: IpAddr,
        at: Instant,
        handshake: Handshake,
    ) -> bool {
        let to = Some(destination);
        self.record(at, to, Protocol::Tls, Phase::Connect, handshake.connect);
        if let Some(outcome) = handshake.tls {
            let measured = Measured::from(outcome).delayed_by(handshake.tls_delay);
            self.record(at, to, Protocol::Tls, Phase::Tls, measured);
        }
        self.see(destination, at, Protocol::Tls, handshake.sighting);
        false
    }

    pub(super) fn on_quic(
        &mut self,
        destination: IpAddr,
        at: Instant,
        found: QuicFound,
        [of_rtt, of_handshake]: [Option<Duration>; 2],
    ) -> bool {
        // Every probe has a handshake, come about or not; an RTT what was answered, or lost.
        let has_rtt = matches!(found.rtt, Outcome::Answered(_) | Outcome::Timeout);
        let phases = [
            (Phase::Rtt, has_rtt.then_some(found.rtt), of_rtt),
            (
                Phase::Handshake,
                Some(found.handshake.unwrap_or(found.rtt)),
                of_handshake,
            ),
        ];
        for (phase, outcome, delay) in phases {
            if let Some(outcome) = outcome {
                let measured = Measured::from(outcome).delayed_by(delay);
                self.record(at, Some(destination), Protocol::Quic, phase, measured);
            }
        }
        if !found.problem.is_empty() {
            debug!(target = %self.target.name, %destination, problem = found.problem, "QUIC failed");
        }
        self.see(destination, at, Protocol::Quic, found.sighting);
        false
    }

    /// Reports what a handshake showed, when that is news.
    fn see(
        &mut self,
        destination: IpAddr,
        at: Instant,
        protocol: Protocol,
        sighting: Option<Sighting>,
    ) {
        let Some(sighting) = sighting else { return };
        if !(self.sightings).is_news(destination, protocol, &sighting, at) {
            return;
        }
        if !sighting.problem.is_empty() {
            warn!(target = %self.target.name, %destination, issuer = sighting.issuer, problem = sighting.problem, "certificate not trusted");
        }
        self.prober.recorder.record(Observation::Handshake {
            target: self.index,
            destination,
            at,
            protocol,
            sighting,
        });
    }
}
