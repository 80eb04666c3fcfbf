//! What `once` found: the shape of `once --json`, documented in `docs/operations/agent-config.md`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use firstmile_wire::v1::TraceKind;
use serde::Serialize;

use super::handshakes::{CertificateFindings, QuicFindings, ResolverFindings, TlsFindings};
use crate::config::Target;
use crate::net::dns::{self, Answer};
use crate::net::https::Exchange;
use crate::net::trace::RoundResult;
use crate::probe::addresses::Learnt;
use crate::probe::nearness::Nearness;
use crate::probe::{Outcome, edge};

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    pub(super) agent_version: String,
    pub(super) at_unix_ms: i64,
    pub(super) icmp_capability: String,
    pub(super) advice: Option<String>,
    pub(super) targets: Vec<Measurement>,
}

/// One target. Times are milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Measurement {
    pub(super) name: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) service: &'static str,
    /// The address that was probed.
    pub(super) address: Option<IpAddr>,
    /// How that was learnt.
    pub(super) learnt: Option<String>,
    /// Undecoded code of the edge; `edge_source` says where it was read.
    pub(super) edge: Option<String>,
    pub(super) edge_source: Option<&'static str>,
    pub(super) dns: Option<DnsFindings>,
    pub(super) icmp: Option<PulseFindings>,
    pub(super) tcp: Option<PulseFindings>,
    pub(super) https: Option<HttpsFindings>,
    pub(super) tls: Option<TlsFindings>,
    pub(super) quic: Option<QuicFindings>,
    /// Why TCP is held to be answered on the way to the edge.
    pub(super) terminated_locally: Option<String>,
    pub(super) path: Option<PathFindings>,
    /// Whole sentences: what failed and what to do.
    pub(super) problems: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct DnsFindings {
    pub(super) resolver: String,
    /// `answered`, `timeout` or `dns_failed`.
    pub(super) outcome: &'static str,
    pub(super) ms: Option<f64>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) cname_chain: Vec<String>,
    pub(super) ttl_s: u64,
    /// Every resolver's own answers.
    pub(super) resolvers: Vec<ResolverFindings>,
}

/// A train of one protocol.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct PulseFindings {
    pub(super) sent: usize,
    /// Answered or refused: either way the destination is there.
    pub(super) answered: usize,
    /// Lost of those that left the machine; absent when none did.
    pub(super) loss_ratio: Option<f64>,
    pub(super) min_ms: Option<f64>,
    pub(super) median_ms: Option<f64>,
    pub(super) max_ms: Option<f64>,
    /// The last outcome that was no answer, as a word of the wire format.
    pub(super) failure: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct HttpsFindings {
    pub(super) connect_ms: Option<f64>,
    pub(super) tls_ms: Option<f64>,
    pub(super) ttfb_ms: Option<f64>,
    /// Of a second request on the same connection.
    pub(super) warm_ttfb_ms: Option<f64>,
    pub(super) status: Option<u16>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) failure: Option<&'static str>,
    pub(super) problem: Option<String>,
    pub(super) certificate: Option<CertificateFindings>,
    #[serde(skip)]
    pub(super) code: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct PathFindings {
    /// `tcp` or `icmp`.
    pub(super) kind: &'static str,
    pub(super) reached: bool,
    /// TTL of the destination, or of the last hop that answered; the largest of all flows.
    pub(super) hops: usize,
    pub(super) flows: Vec<FlowFindings>,
    /// Name of each hop that has one.
    pub(super) names: BTreeMap<IpAddr, String>,
    #[serde(skip)]
    pub(super) nearness: Nearness,
}

#[derive(Debug, Serialize)]
pub(super) struct FlowFindings {
    pub(super) flow_id: u32,
    pub(super) destination_ttl: Option<u8>,
    pub(super) hops: Vec<HopFindings>,
}

#[derive(Debug, Serialize)]
pub(super) struct HopFindings {
    pub(super) ttl: usize,
    /// Absent for a silent hop.
    pub(super) address: Option<IpAddr>,
    pub(super) ms: Option<f64>,
}

impl Measurement {
    pub(super) fn new(target: &Target) -> Self {
        Self {
            name: target.name.to_string(),
            host: target.host.to_string(),
            port: target.port,
            service: target.service.as_str(),
            address: None,
            learnt: None,
            edge: None,
            edge_source: None,
            dns: None,
            icmp: None,
            tcp: None,
            https: None,
            tls: None,
            quic: None,
            terminated_locally: None,
            path: None,
            problems: Vec::new(),
        }
    }

    /// Whether anything of the target answered.
    pub(super) fn is_reached(&self) -> bool {
        let pulse = [&self.icmp, &self.tcp]
            .into_iter()
            .flatten()
            .any(|pulse| pulse.answered > 0);
        let https = (self.https.as_ref()).is_some_and(|https| https.connect_ms.is_some());
        let tls = (self.tls.as_ref()).is_some_and(|tls| tls.connect_ms.is_some());
        let quic = (self.quic.as_ref()).is_some_and(|quic| quic.rtt_ms.is_some());
        pulse || https || tls || quic
    }

    /// Takes in what every resolver said; returns the addresses of those that programs of this machine go by.
    pub(super) fn take_dns(&mut self, answers: &[Vec<Answer>; 2]) -> Vec<IpAddr> {
        let [Some(v4), Some(v6)] = answers.each_ref().map(|all| dns::in_force(all)) else {
            return Vec::new();
        };
        let addresses: Vec<IpAddr> = v4.addresses.iter().chain(&v6.addresses).copied().collect();
        if addresses.is_empty() {
            let why = [v4, v6]
                .into_iter()
                .map(|answer| answer.problem.as_str())
                .find(|problem| !problem.is_empty());
            let why = why.map_or_else(
                || format!("{} says that it has no address", v4.resolver),
                str::to_owned,
            );
            self.problems.push(format!(
                "dns failed for {}: {why}. {}",
                self.host,
                advice_for(&why)
            ));
        }
        // The question whose answer is used stands for both.
        let telling = if v4.addresses.is_empty() && !v6.addresses.is_empty() {
            v6
        } else {
            v4
        };
        self.dns = Some(DnsFindings {
            resolver: telling.resolver.clone(),
            outcome: word(telling.outcome),
            ms: telling.outcome.rtt().map(ms),
            addresses: addresses.clone(),
            cname_chain: telling.cname_chain.clone(),
            ttl_s: telling.ttl.as_secs(),
            resolvers: answers.iter().flatten().map(ResolverFindings::of).collect(),
        });
        if !addresses.is_empty() {
            self.learnt = Some(Learnt::Resolver(telling.resolver.clone()).to_string());
            self.explain_resolvers(answers);
        }
        addresses
    }

    /// Says which resolvers cannot answer while another one can.
    fn explain_resolvers(&mut self, answers: &[Vec<Answer>; 2]) {
        for answer in answers.iter().flatten().filter(|answer| !answer.is_final()) {
            let question = if answer.ipv6 { "AAAA" } else { "A" };
            self.problems.push(format!(
                "dns: {} ({question} of {}). Programs wait for it before they ask the next one: mend it, or take it off the list",
                answer.problem, self.host
            ));
        }
    }

    pub(super) fn take_https(&mut self, https: Option<HttpsFindings>) {
        if let Some(code) = https.as_ref().and_then(|https| https.code.clone()) {
            self.edge = Some(code);
            self.edge_source = Some("header");
        }
        self.https = https;
    }

    /// Adds a sentence for each protocol that did not answer, and the edge from the path where no header named it.
    pub(super) fn explain(&mut self) {
        if self.edge.is_none()
            && let Some(metro) = self.path.as_ref().and_then(PathFindings::ingress_metro)
        {
            self.edge = Some(metro);
            self.edge_source = Some("router name");
        }
        for (name, pulse) in [("ICMP echo", &self.icmp), ("TCP", &self.tcp)] {
            if let Some(pulse) = pulse
                && pulse.answered == 0
            {
                let failure = pulse.failure.unwrap_or("silence");
                let sentence = unanswered(name, failure);
                self.problems.push(sentence);
            }
        }
        if let Some(https) = &self.https
            && let Some(failure) = https.failure
        {
            let why = https.problem.as_deref().unwrap_or("no answer");
            self.problems
                .push(format!("HTTPS failed ({failure}): {why}"));
        }
        self.explain_handshakes();
    }
}

impl Measurement {
    fn explain_handshakes(&mut self) {
        if let Some(tls) = &self.tls
            && let Some(failure) = tls.failure
        {
            let why = tls.problem.as_deref().unwrap_or("no answer");
            self.problems.push(format!("TLS failed ({failure}): {why}"));
        }
        let quic = self.quic.as_ref();
        let sentence = quic.and_then(|quic| quic.explain(&self.host, self.port));
        self.problems.extend(sentence);
        let sentence = self
            .certificate()
            .and_then(|shown| shown.explain(&self.host));
        self.problems.extend(sentence);
        if let Some(why) = &self.terminated_locally {
            let sentence = format!(
                "TCP is answered by something on the way to the edge: {why}. Its times are not those of the edge"
            );
            self.problems.push(sentence);
        }
    }

    /// What the other side showed, by the first protocol that saw it.
    pub(super) fn certificate(&self) -> Option<&CertificateFindings> {
        let https = (self.https.as_ref()).and_then(|https| https.certificate.as_ref());
        let tls = self.tls.as_ref().and_then(|tls| tls.certificate.as_ref());
        let quic = self
            .quic
            .as_ref()
            .and_then(|quic| quic.certificate.as_ref());
        https.or(tls).or(quic)
    }
}

/// What to do about a name that does not resolve.
fn advice_for(why: &str) -> &'static str {
    if why.contains("no such name") {
        "Check the spelling of host, and whether this resolver sees the internet."
    } else if why.contains("no resolver") {
        "Without a resolver only targets with a literal address can be measured."
    } else {
        "Check that this machine has a network and that the resolver is reachable, or name another one in resolvers."
    }
}

/// What it means that a protocol was not answered.
fn unanswered(protocol: &str, failure: &str) -> String {
    match (protocol, failure) {
        (_, "not_permitted") => format!("{protocol} was not sent: it is not permitted, see below"),
        ("ICMP echo", "timeout") => {
            "ICMP echo is not answered: many front doors and providers drop it, which is no fault"
                .to_owned()
        }
        _ => format!("{protocol} is not answered ({failure})"),
    }
}

impl PulseFindings {
    pub(super) fn of(outcomes: &[Outcome]) -> Self {
        let mut rtts: Vec<Duration> = outcomes
            .iter()
            .filter_map(|outcome| outcome.rtt())
            .collect();
        rtts.sort_unstable();
        let lost = outcomes.iter().filter(|outcome| outcome.is_lost()).count();
        let left = rtts.len() + lost;
        Self {
            sent: outcomes.len(),
            answered: rtts.len(),
            loss_ratio: (left > 0).then(|| ratio(lost, left)),
            min_ms: rtts.first().copied().map(ms),
            median_ms: rtts.get(rtts.len() / 2).copied().map(ms),
            max_ms: rtts.last().copied().map(ms),
            failure: outcomes
                .iter()
                .rev()
                .find(|outcome| outcome.rtt().is_none())
                .map(|outcome| word(*outcome)),
        }
    }
}

impl HttpsFindings {
    pub(super) fn of(exchange: Exchange) -> Self {
        let phases = [Some(exchange.connect.outcome), exchange.tls, exchange.ttfb];
        let failed = phases
            .iter()
            .flatten()
            .find(|outcome| outcome.rtt().is_none() || matches!(outcome, Outcome::Refused(_)));
        let answered = |outcome: Outcome| {
            matches!(outcome, Outcome::Answered(_))
                .then(|| outcome.rtt().map(ms))
                .flatten()
        };
        Self {
            connect_ms: answered(exchange.connect.outcome),
            tls_ms: exchange.tls.and_then(answered),
            ttfb_ms: exchange.ttfb.and_then(answered),
            warm_ttfb_ms: exchange.warm.and_then(answered),
            certificate: exchange.sighting.map(CertificateFindings::of),
            status: (exchange.status != 0).then_some(exchange.status),
            code: edge::code(&exchange.headers),
            failure: failed.map(|outcome| word(*outcome)),
            headers: exchange
                .headers
                .into_iter()
                .map(|kept| (kept.name, kept.value))
                .collect(),
            problem: Some(exchange.problem).filter(|problem| !problem.is_empty()),
        }
    }
}

impl PathFindings {
    pub(super) fn of(round: &RoundResult, echo_ttl: u8) -> Self {
        let mut nearness = Nearness::default();
        nearness.on_echo(echo_ttl);
        // One round is too few for the times of routers; what replies have crossed is known at once.
        nearness.on_round(&round.flows, round.kind == TraceKind::Tcp, |_| false);
        let flows: Vec<FlowFindings> = round
            .flows
            .iter()
            .zip(&round.flow_ids)
            .map(|(flow, flow_id)| FlowFindings {
                flow_id: *flow_id,
                destination_ttl: flow.destination_ttl,
                hops: flow
                    .hops
                    .iter()
                    .map(|place| HopFindings {
                        ttl: usize::from(place.ttl),
                        address: place.hop.map(|hop| hop.address),
                        ms: place.hop.map(|hop| ms(hop.rtt)),
                    })
                    .collect(),
            })
            .collect();
        Self {
            kind: if round.kind == TraceKind::Tcp {
                "tcp"
            } else {
                "icmp"
            },
            reached: flows.iter().any(|flow| flow.destination_ttl.is_some()),
            hops: flows
                .iter()
                .filter_map(|flow| flow.hops.last().map(|hop| hop.ttl))
                .max()
                .unwrap_or(0),
            flows,
            names: BTreeMap::new(),
            nearness,
        }
    }

    pub(super) fn take_names(&mut self, names: &[(IpAddr, Option<String>)]) {
        self.names = names
            .iter()
            .filter_map(|(address, name)| Some((*address, name.clone()?)))
            .collect();
    }

    /// The metro label in the name of the first router of Microsoft's network, such as `ams21`.
    fn ingress_metro(&self) -> Option<String> {
        let hops = self.flows.iter().flat_map(|flow| &flow.hops);
        let named = hops.filter_map(|hop| Some((hop.ttl, self.names.get(&hop.address?)?)));
        let (_, router) = named
            .filter_map(|(ttl, name)| Some((ttl, name.strip_suffix(".ntwk.msn.net")?)))
            .min_by_key(|(ttl, _)| *ttl)?;
        router.rsplit('.').next().map(str::to_owned)
    }
}

/// The word for an outcome, as in the wire format.
pub(super) fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered(_) => "answered",
        Outcome::Refused(_) => "refused",
        Outcome::Timeout => "timeout",
        Outcome::Unreachable => "unreachable",
        Outcome::DnsFailed => "dns_failed",
        Outcome::NoRoute => "no_route",
        Outcome::NotPermitted => "not_permitted",
        Outcome::TlsFailed => "tls_failed",
        Outcome::HttpFailed => "http_failed",
        Outcome::QuicFailed => "quic_failed",
        Outcome::Reset => "reset",
        Outcome::Filtered => "filtered",
        Outcome::LocalError => "local_error",
    }
}

/// Milliseconds with three digits.
pub(super) fn ms(duration: Duration) -> f64 {
    f64::from(crate::probe::micros(duration)) / 1000.0
}

fn ratio(part: usize, whole: usize) -> f64 {
    let number = |count: usize| u32::try_from(count).map_or(f64::MAX, f64::from);
    number(part) / number(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn loss_counts_only_what_left_the_machine() {
        for (name, outcomes, answered, loss) in [
            ("all answered", vec![Outcome::Answered(MS); 4], 4, Some(0.0)),
            (
                "a shut port is an answer",
                vec![Outcome::Refused(MS); 2],
                2,
                Some(0.0),
            ),
            (
                "half lost",
                vec![Outcome::Answered(MS), Outcome::Timeout],
                1,
                Some(0.5),
            ),
            ("nothing was sent", vec![Outcome::NotPermitted; 3], 0, None),
            ("no probes", vec![], 0, None),
        ] {
            let pulse = PulseFindings::of(&outcomes);
            assert_eq!(
                (pulse.answered, pulse.loss_ratio),
                (answered, loss),
                "{name}"
            );
        }
    }
}
