//! What the agent reports of each protocol and family, against what is so in the lab: times, certificates, names, paths.
//!
//! The collector is taken away once the agent has enrolled, and the agent's own reports are read from its spool: sample by
//! sample, nothing merged.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use firstmile_lab::clock::poll_until;
use firstmile_lab::control::{Answers, Crossing, Exchange, Request, Truth};
use firstmile_lab::outer::Lab;
use firstmile_wire::v1::{Clock, Phase, Protocol, Report, TraceKind};
use sha2::{Digest, Sha256};
use x509_parser::pem::Pem;

use crate::branches::{SITE, ecmp, way};
use crate::reports::{Sample, address, samples, spooled};

const PAUSE: Duration = Duration::from_secs(1);
/// Samples of each kind that a comparison wants.
const ENOUGH: usize = 5;
/// Largest distance of half of what the kernel stamped, from what the same packets met on the wire. The median was 2 to
/// 29 µs, single ones up to 177 µs, with 14 programs waiting for two processors.
const BY_KERNEL_US: u64 = 250;
/// The agent ran late when it took the sample, as it says itself.
const UNTRUSTED: u32 = 1;
/// How much faster than its links a packet may seem: the emulator takes what it costs itself off its delays.
const BELOW_US: u32 = 1_000;
/// A probe and its packet on the wire are at most so far apart; its name was looked up first, for one.
const APART_MS: u64 = 2_000;
/// Largest excess of the least of a kind, and of half of those whose stamps the agent trusts, in a debug build, cryptography
/// included. A round trip too many or too few is 40 ms.
const EXCESS_US: u32 = 12_000;
const RESOLVER: [&str; 2] = ["203.0.113.53", "2001:db8:cb00:7100::35"];

/// Protocol, phase, and who stamped it.
const MEASURES: [(Protocol, Phase, Clock); 9] = [
    (Protocol::Icmp, Phase::Rtt, Clock::Kernel),
    (Protocol::Tcp, Phase::Rtt, Clock::Kernel),
    (Protocol::Https, Phase::Connect, Clock::Kernel),
    (Protocol::Https, Phase::Tls, Clock::User),
    (Protocol::Https, Phase::Ttfb, Clock::User),
    (Protocol::Https, Phase::TtfbWarm, Clock::User),
    (Protocol::Tls, Phase::Connect, Clock::Kernel),
    (Protocol::Tls, Phase::Tls, Clock::User),
    (Protocol::Quic, Phase::Handshake, Clock::User),
];

#[test]
fn every_protocol_measures_the_truth_over_both_families() {
    let _alone = crate::alone();
    let state = tempfile::tempdir().unwrap();
    let options = ecmp(state.path().join("lab"));
    crate::runtime().block_on(async {
        let mut lab = Lab::start(options, &|text| println!("{text}"))
            .await
            .unwrap();
        lab.kill_collector().await.unwrap();
        let truths: Vec<Truth> = lab.ask(Request::Truth).await.unwrap();
        assert_eq!(truths.len(), 2, "one site, one front door, two families");
        let reports = poll_until(
            "enough of everything",
            Duration::from_mins(3),
            PAUSE,
            async || {
                let reports = spooled(&lab, SITE);
                Ok(has_enough(&reports, &truths).then_some(reports))
            },
        )
        .await
        .unwrap_or_else(|error| panic!("{error:#}: {}", counted(&spooled(&lab, SITE), &truths)));
        println!("{}", counted(&reports, &truths));
        let site = SITE.to_owned();
        let crossings: Vec<Crossing> = lab.ask(Request::Crossings { site }).await.unwrap();
        for truth in &truths {
            times_are_true(&samples(&reports), truth, &crossings);
            certificates_are_those_of_the_lab(&lab, &reports, truth.destination);
        }
        names_are_true(&reports, truths[0].rtt_us.unwrap());
        paths_are_true(&lab, &reports, &truths).await;
        lab.stop().await;
    });
}

fn of(
    all: &[Sample],
    to: IpAddr,
    protocol: Protocol,
    phase: Phase,
) -> impl Iterator<Item = &Sample> {
    all.iter().filter(move |sample| {
        sample.destination == Some(to) && sample.protocol == protocol && sample.phase == phase
    })
}

fn has_enough(reports: &[Report], truths: &[Truth]) -> bool {
    let all = samples(reports);
    let enough = |truth: &Truth| {
        let samples = MEASURES.iter().all(|(protocol, phase, _)| {
            let counting = of(&all, truth.destination, *protocol, *phase);
            counting.filter(|sample| sample.counts()).count() >= ENOUGH
        });
        let rounds = reports.iter().flat_map(|report| &report.traces);
        let rounds = rounds.filter(|round| address(&round.destination) == Some(truth.destination));
        samples && rounds.count() >= 2
    };
    truths.iter().all(enough)
}

/// How many samples there are of each kind, for people.
fn counted(reports: &[Report], truths: &[Truth]) -> String {
    let all = samples(reports);
    let mut text = format!("{} reports\n", reports.len());
    for truth in truths {
        for (protocol, phase, _) in MEASURES {
            let mine: Vec<_> = of(&all, truth.destination, protocol, phase).collect();
            let median = median_us(mine.iter().copied());
            writeln!(
                text,
                "{} {protocol:?} {phase:?}: {} samples, {} count, {} untrusted, {} idle, median {median:?} us, truth {:?}",
                truth.family(),
                mine.len(),
                mine.iter().filter(|sample| sample.counts()).count(),
                mine.iter().filter(|sample| sample.marks & UNTRUSTED != 0).count(),
                mine.iter().filter(|sample| sample.marks & 32 != 0).count(),
                truth.rtt_us
            )
            .unwrap();
        }
    }
    text
}

fn median_us<'a>(samples: impl Iterator<Item = &'a Sample>) -> Option<u32> {
    let counting = samples.filter(|sample| sample.counts());
    let mut all: Vec<u32> = counting.map(|sample| sample.rtt_us).collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

/// What the kernel stamped is compared with its own packet on the wire, so that a lab that runs late on a busy machine is no
/// error of the agent. The least of each kind shows how many round trips it is of: no packet is faster than the links.
fn times_are_true(all: &[Sample], truth: &Truth, crossings: &[Crossing]) {
    let family = truth.family();
    let truth_us = u32::try_from(truth.rtt_us.unwrap()).unwrap();
    for (protocol, phase, clock) in MEASURES {
        let mine = || of(all, truth.destination, protocol, phase);
        let what = format!("{family} {protocol:?} {phase:?}");
        let times = mine().filter(|sample| sample.counts());
        let least_us = times.map(|sample| sample.rtt_us).min();
        let least_us = least_us.expect("there is enough of everything");
        let range = truth_us - BELOW_US..=truth_us + EXCESS_US;
        assert!(
            range.contains(&least_us),
            "{what}: at least {least_us} us, true {truth_us} us"
        );
        let trusted = || mine().filter(|sample| sample.marks & UNTRUSTED == 0);
        if clock == Clock::User && trusted().count() >= ENOUGH {
            let median_us = median_us(trusted()).expect("there is enough of them");
            assert!(range.contains(&median_us), "{what}: median {median_us} us");
        }
        if clock == Clock::Kernel {
            assert!(mine().all(|sample| sample.clock == clock), "{what}");
            stamps_are_true(&what, mine(), crossings);
        }
    }
}

fn stamps_are_true<'a>(
    what: &str,
    samples: impl Iterator<Item = &'a Sample>,
    crossings: &[Crossing],
) {
    let counting = samples.filter(|sample| sample.counts());
    let errors = counting.filter_map(|sample| error_us(sample, crossings));
    let mut errors: Vec<u64> = errors.collect();
    errors.sort_unstable();
    println!("{what}: off by {errors:?} us");
    assert!(errors.len() >= ENOUGH, "{what}: {} met", errors.len());
    let median_us = errors[errors.len() / 2];
    assert!(median_us <= BY_KERNEL_US, "{what}: off by {errors:?} us");
}

/// How far a sample is from what its own packet met: that of its kind nearest in time.
fn error_us(sample: &Sample, crossings: &[Crossing]) -> Option<u64> {
    let exchange = if sample.protocol == Protocol::Icmp {
        Exchange::Echo
    } else {
        Exchange::Handshake
    };
    let apart_ms = |one: &&Crossing| one.left_unix_ms.abs_diff(sample.at_unix_ms);
    let alike = crossings
        .iter()
        .filter(|one| one.exchange == exchange && Some(one.destination) == sample.destination);
    let nearest = alike.min_by_key(apart_ms);
    let nearest = nearest.filter(|one| apart_ms(one) <= APART_MS)?;
    Some(nearest.rtt_us.abs_diff(sample.rtt_us.into()))
}

fn certificates_are_those_of_the_lab(lab: &Lab, reports: &[Report], to: IpAddr) {
    let chain = std::fs::read(lab.state().join("front-door-chain.pem")).unwrap();
    let chain: Vec<_> = Pem::iter_from_buffer(&chain).map(Result::unwrap).collect();
    assert_eq!(chain.len(), 2, "the front door's own and its issuer's");
    let digest = |bytes: &[u8]| Sha256::digest(bytes).to_vec();
    let certificates: Vec<_> = chain.iter().map(|pem| digest(&pem.contents)).collect();
    let keys: Vec<_> = (chain.iter())
        .map(|pem| digest(pem.parse_x509().unwrap().public_key().raw))
        .collect();
    let sightings = reports.iter().flat_map(|report| &report.tls_sightings);
    let mine: Vec<_> = sightings
        .filter(|sighting| address(&sighting.destination) == Some(to))
        .collect();
    for (protocol, alpn) in [
        (Protocol::Tls, "http/1.1"),
        (Protocol::Https, "http/1.1"),
        (Protocol::Quic, "h3"),
    ] {
        let sighting = mine.iter().find(|sighting| sighting.protocol() == protocol);
        let sighting = sighting.unwrap_or_else(|| panic!("no sighting by {protocol:?} at {to}"));
        assert_eq!(sighting.version, 0x0304, "{protocol:?}: TLS 1.3");
        assert_eq!(sighting.certificate_sha256, certificates, "{protocol:?}");
        assert_eq!(sighting.key_sha256, keys, "{protocol:?}");
        assert_eq!(
            sighting.problem, "",
            "{protocol:?}: the lab's CA is trusted"
        );
        assert_eq!(sighting.alpn, alpn, "{protocol:?}");
        assert_eq!(
            sighting.cipher_suite == 0,
            protocol == Protocol::Quic,
            "{protocol:?}: QUIC does not tell"
        );
    }
}

/// The near resolver answers at once, the far ones from as far as the front doors are.
fn names_are_true(reports: &[Report], truth_us: u64) {
    let truth_us = u32::try_from(truth_us).unwrap();
    let resolutions: Vec<_> = reports
        .iter()
        .flat_map(|report| &report.resolutions)
        .collect();
    let from = |resolver: &str| -> Vec<u32> {
        let mine = resolutions
            .iter()
            .filter(|one| one.resolver.contains(resolver));
        let mut all: Vec<u32> = mine.map(|one| one.rtt_us).filter(|rtt| *rtt > 0).collect();
        all.sort_unstable();
        all
    };
    let near = from("192.0.2.1");
    assert!(near.len() >= ENOUGH, "{near:?}");
    assert!(near[0] < EXCESS_US, "{near:?}");
    for far in RESOLVER {
        let all = from(far);
        assert!(all.len() >= ENOUGH, "{far}: {all:?}");
        let range = truth_us - BELOW_US..=truth_us + EXCESS_US;
        assert!(range.contains(&all[0]), "{far}: {all:?}");
    }
    for one in &resolutions {
        assert_eq!(
            one.cname_chain,
            [
                "exchange.afd.frontdoor.example",
                "exchange.edge.frontdoor.example"
            ],
            "{}",
            one.resolver
        );
        assert_eq!(one.rcode_plus_1, 1, "NOERROR");
    }
}

/// Each flow of each round of TCP packets went where the routers send that flow.
async fn paths_are_true(lab: &Lab, reports: &[Report], truths: &[Truth]) {
    let mut compared = 0;
    for round in reports.iter().flat_map(|report| &report.traces) {
        assert_eq!(
            round.kind(),
            TraceKind::Tcp,
            "what counts is what users take"
        );
        let destination = address(&round.destination).unwrap();
        assert!(truths.iter().any(|truth| truth.destination == destination));
        for flow in &round.flows {
            let hops = way(lab, destination, "tcp", flow.flow_id, 443).await;
            for hop in &flow.hops {
                let Some(seen) = address(&hop.address) else {
                    continue;
                };
                let ttl = usize::try_from(hop.ttl).unwrap();
                let Some(truth) = hops.get(ttl - 1) else {
                    assert_eq!(seen, destination, "TTL {ttl} of flow {}", flow.flow_id);
                    continue;
                };
                assert!(
                    truth.addresses.contains(&seen) && truth.answers != Answers::Never,
                    "flow {} met {seen} at TTL {ttl}, which is {truth:?}",
                    flow.flow_id
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 20, "only {compared} hops compared");
}
