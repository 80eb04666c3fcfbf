//! One target, two address families, two targets: what is learnt over IPv6 never shares a baseline, a figure or a verdict with
//! what is learnt over IPv4.
//!
//! Agents report what they did under the target's configured name. Here, what went over IPv6 gets the name
//! `exchange (IPv6)`, from where on it is a target of its own: cells, "answered here", paths, sightings, events. A site
//! without IPv6 keeps one target: an attempt that found no route stays with the configured name. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use firstmile_wire::v1::Outcome;

use super::batch::Batch;
use crate::registry::Target;

/// Gives what went over IPv6 to targets of its own.
pub fn split(mut batch: Batch) -> Batch {
    let mut names = Names::new(&batch.targets);
    for sample in &mut batch.samples {
        let sent = sample.outcome != Outcome::NoRoute;
        let destination = sample.destination.filter(|_| sent);
        names.give(&mut sample.target, destination);
    }
    for round in &mut batch.rounds {
        names.give(&mut round.target, Some(round.destination));
    }
    for sighting in &mut batch.sightings {
        names.give(&mut sighting.target, sighting.destination);
    }
    for resolution in &mut batch.resolutions {
        if let Some(name) = names.over_ipv6(&resolution.target)
            && resolution.ipv6
            && !resolution.addresses.is_empty()
        {
            resolution.target = name;
        }
    }
    batch.targets = names.targets(std::mem::take(&mut batch.targets));
    batch
}

/// Names of the targets over IPv6, and which targets were probed over what.
struct Names {
    over_ipv6: BTreeMap<Arc<str>, Arc<str>>,
    probed_over_ipv4: BTreeSet<Arc<str>>,
    probed_over_ipv6: BTreeSet<Arc<str>>,
}

impl Names {
    fn new(targets: &[Target]) -> Self {
        // A target that is configured by its IPv6 address has no other family to be kept apart from.
        let by_name = targets
            .iter()
            .filter(|target| target.host.parse::<Ipv6Addr>().is_err());
        Self {
            over_ipv6: by_name
                .map(|target| (Arc::from(target.name.as_str()), name_over_ipv6(target)))
                .collect(),
            probed_over_ipv4: BTreeSet::new(),
            probed_over_ipv6: BTreeSet::new(),
        }
    }

    fn over_ipv6(&self, target: &str) -> Option<Arc<str>> {
        self.over_ipv6.get(target).map(Arc::clone)
    }

    /// Renames the target of something that went to `destination`.
    fn give(&mut self, target: &mut Arc<str>, destination: Option<IpAddr>) {
        match (destination, self.over_ipv6(target)) {
            (Some(IpAddr::V6(_)), Some(name)) => {
                self.probed_over_ipv6.insert(Arc::clone(target));
                *target = name;
            }
            (Some(_), _) => {
                self.probed_over_ipv4.insert(Arc::clone(target));
            }
            (None, _) => {}
        }
    }

    /// The targets that the batch speaks of: the configured one unless only IPv6 was probed, and the one over IPv6 if it was.
    fn targets(&self, configured: Vec<Target>) -> Vec<Target> {
        let mut targets = Vec::with_capacity(configured.len() * 2);
        for target in configured {
            let name = target.name.as_str();
            let over_ipv6 = self
                .probed_over_ipv6
                .contains(name)
                .then(|| self.over_ipv6(name))
                .flatten();
            let both = self.probed_over_ipv4.contains(name) || over_ipv6.is_none();
            if let Some(name) = over_ipv6 {
                targets.push(Target {
                    name: name.to_string(),
                    ..target.clone()
                });
            }
            if both {
                targets.push(target);
            }
        }
        targets
    }
}

/// Spaces and brackets stand in no configured name, so nothing collides.
fn name_over_ipv6(target: &Target) -> Arc<str> {
    Arc::from(format!("{} (IPv6)", target.name))
}

#[cfg(test)]
mod tests {
    use firstmile_wire::ids::{AgentId, Epoch, OrganisationId, ReportKey};
    use firstmile_wire::v1::{AgentCounters, Phase, Protocol, TraceKind};

    use super::*;
    use crate::ingest::batch::{Resolution, Round, Sample, Sighting};
    use crate::ingest::facts::Facts;

    const V4: &str = "192.0.2.1";
    const V6: &str = "2001:db8::1";

    fn batch(host: &str, probes: &[(&str, Outcome)]) -> Batch {
        let target: Arc<str> = Arc::from("exchange");
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let sample = |(destination, outcome): &(&str, Outcome)| Sample {
            at_unix_ms: 1,
            target: Arc::clone(&target),
            destination: Some(address(destination)),
            protocol: Protocol::Tcp,
            phase: Phase::Rtt,
            outcome: *outcome,
            rtt_us: 1,
            reply_ttl: 0,
            marks: crate::ingest::batch::Marks::default(),
            scheduling_delay_us: 0,
        };
        let sent = |(_, outcome): &&(&str, Outcome)| *outcome != Outcome::NoRoute;
        let went = probes.iter().filter(sent).map(|(to, _)| address(to));
        Batch {
            key: ReportKey {
                organisation: OrganisationId::default_organisation(),
                agent: AgentId::random(),
                epoch: Epoch::random(),
                sequence: 1,
            },
            received_unix_ms: 1,
            agent_version: String::new(),
            host: None,
            counters: AgentCounters::default(),
            targets: vec![Target {
                name: "exchange".to_owned(),
                host: host.to_owned(),
                port: 443,
                service: "m365".to_owned(),
            }],
            samples: probes.iter().map(sample).collect(),
            rounds: went
                .clone()
                .map(|destination| Round {
                    at_unix_ms: 1,
                    target: Arc::clone(&target),
                    destination,
                    kind: TraceKind::Tcp,
                    burst: false,
                    flows: vec![],
                    stream: firstmile_wire::v1::TraceStream::Full,
                    nat64: None,
                })
                .collect(),
            hop_names: vec![],
            sightings: went
                .map(|destination| Sighting {
                    at_unix_ms: 1,
                    target: Arc::clone(&target),
                    destination: Some(destination),
                    http_status: 200,
                    headers: vec![],
                })
                .collect(),
            resolutions: vec![Resolution {
                at_unix_ms: 1,
                target: Arc::clone(&target),
                resolver: "system".to_owned(),
                ipv6: true,
                outcome: Outcome::Answered,
                addresses: vec![address(V6)],
                cname_chain: vec![],
                ttl_s: 60,
            }],
            facts: Facts::default(),
        }
    }

    #[test]
    fn families_part_and_everything_of_one_stays_together() {
        use Outcome::{Answered, NoRoute, Timeout};
        for (name, host, probes, targets) in [
            (
                "IPv4 alone",
                "front.example",
                vec![(V4, Answered)],
                vec!["exchange"],
            ),
            (
                "both",
                "front.example",
                vec![(V4, Answered), (V6, Timeout)],
                vec!["exchange (IPv6)", "exchange"],
            ),
            (
                "IPv6 alone",
                "front.example",
                vec![(V6, Answered)],
                vec!["exchange (IPv6)"],
            ),
            (
                "no route over IPv6",
                "front.example",
                vec![(V4, Answered), (V6, NoRoute)],
                vec!["exchange"],
            ),
            ("nothing probed", "front.example", vec![], vec!["exchange"]),
            (
                "an IPv6 address",
                V6,
                vec![(V6, Answered)],
                vec!["exchange"],
            ),
        ] {
            let split = split(batch(host, &probes));
            let named: Vec<_> = split
                .targets
                .iter()
                .map(|target| target.name.as_str())
                .collect();
            assert_eq!(named, targets, "{name}");
            let over_ipv6 = |destination: Option<IpAddr>| {
                host == "front.example" && destination.is_some_and(|address| address.is_ipv6())
            };
            let want = |ipv6| if ipv6 { "exchange (IPv6)" } else { "exchange" };
            for sample in &split.samples {
                let sent = sample.outcome != NoRoute;
                assert_eq!(
                    &*sample.target,
                    want(over_ipv6(sample.destination) && sent),
                    "{name}: sample"
                );
            }
            for round in &split.rounds {
                assert_eq!(
                    &*round.target,
                    want(over_ipv6(Some(round.destination))),
                    "{name}: round"
                );
            }
            for sighting in &split.sightings {
                assert_eq!(
                    &*sighting.target,
                    want(over_ipv6(sighting.destination)),
                    "{name}: sighting"
                );
            }
        }
    }
}
