//! Tables and properties of decoding: what adds up comes through whole, what does not is refused whole.

use firstmile_wire::ids::OrganisationId;
use firstmile_wire::v1::{EdgeSighting, Header, HopName, Series, TraceFlow, TraceHop, TraceRound};
use proptest::prelude::*;

use super::*;

const NOW_MS: i64 = 1_750_000_000_000;

fn sender() -> Identity {
    Identity {
        organisation: OrganisationId::default_organisation(),
        agent: AgentId(uuid::Uuid::from_u128(7)),
    }
}

fn sample_report() -> Report {
    Report {
        version: firstmile_wire::VERSION,
        agent_id: sender().agent.to_bytes(),
        epoch: Epoch(uuid::Uuid::from_u128(9)).to_bytes(),
        sequence: 3,
        wall_anchor_unix_ms: NOW_MS - 30_000,
        agent_version: "0.1.0".to_owned(),
        targets: vec![v1::Target {
            name: "exchange".to_owned(),
            host: "outlook.example".to_owned(),
            port: 443,
            service: "m365".to_owned(),
        }],
        series: vec![Series {
            target: 0,
            destination: vec![192, 0, 2, 1],
            protocol: Protocol::Tcp as i32,
            phase: Phase::Rtt as i32,
            clock: 0,
            at_delta_ms: vec![-50, 5_000, 5_000],
            rtt_us: vec![10_000, 0, 11_000],
            outcome: vec![
                Outcome::Answered as i32,
                Outcome::Timeout as i32,
                Outcome::Answered as i32,
            ],
            ..Series::default()
        }],
        traces: vec![TraceRound {
            target: 0,
            destination: vec![192, 0, 2, 1],
            kind: TraceKind::Tcp as i32,
            at_offset_ms: 1_000,
            flows: vec![TraceFlow {
                flow_id: 33_434,
                hops: vec![hop(2, &[]), hop(1, &[198, 51, 100, 1])],
                destination_ttl: 3,
                ..TraceFlow::default()
            }],
            burst: false,
            destination_port: 443,
            ..TraceRound::default()
        }],
        hop_names: vec![HopName {
            address: vec![198, 51, 100, 1],
            name: "GW.example.".to_owned(),
        }],
        edge_sightings: vec![EdgeSighting {
            target: 0,
            destination: vec![192, 0, 2, 1],
            at_offset_ms: 2_000,
            http_status: 200,
            headers: vec![Header {
                name: "X-Edge".to_owned(),
                value: "AMS".to_owned(),
            }],
        }],
        resolutions: vec![v1::Resolution {
            target: 0,
            at_offset_ms: 0,
            resolver: "system".to_owned(),
            ipv6: false,
            outcome: Outcome::Answered as i32,
            addresses: vec![vec![192, 0, 2, 1]],
            cname_chain: vec!["edge.example".to_owned()],
            ttl_s: 60,
            ..v1::Resolution::default()
        }],
        ..Report::default()
    }
}

fn hop(ttl: u32, address: &[u8]) -> TraceHop {
    TraceHop {
        ttl,
        address: address.to_vec(),
        rtt_us: 900,
        reply_ttl: 64,
        icmp: 11 << 8,
        ..TraceHop::default()
    }
}

fn encoded(report: &Report) -> Vec<u8> {
    frame::encode(report).expect("encodes")
}

fn decode_report(report: &Report) -> Result<Batch, DecodeError> {
    decode(&encoded(report), &sender(), NOW_MS)
}

#[test]
fn a_whole_report_becomes_samples_rounds_and_facts() {
    let batch = decode_report(&sample_report()).expect("decodes");
    assert_eq!(batch.key.sequence, 3);
    let times: Vec<i64> = batch
        .samples
        .iter()
        .map(|sample| sample.at_unix_ms - (NOW_MS - 30_000))
        .collect();
    assert_eq!(times, [-50, 4_950, 9_950]);
    assert_eq!(&*batch.samples[0].target, "exchange");
    let ttls: Vec<u32> = batch.rounds[0].flows[0]
        .hops
        .iter()
        .map(|hop| hop.ttl)
        .collect();
    assert_eq!(ttls, [1, 2], "hops are in order");
    assert_eq!(
        batch.rounds[0].flows[0].hops[1].address, None,
        "a silent hop has no address"
    );
    assert_eq!(
        batch.hop_names[0].1.as_deref(),
        Some("gw.example"),
        "names are folded"
    );
    assert_eq!(batch.sightings[0].headers[0].0, "x-edge");
    assert_eq!(batch.resolutions[0].addresses.len(), 1);
}

type Damage = fn(&mut Report);

/// What is damaged, how, and what the refusal says.
const DAMAGES: &[(&str, Damage, &str)] = &[
    (
        "short rtt column",
        |r| {
            r.series[0].rtt_us.pop();
        },
        "differ in length",
    ),
    (
        "long outcome column",
        |r| r.series[0].outcome.push(1),
        "differ in length",
    ),
    (
        "no rtt column",
        |r| r.series[0].rtt_us.clear(),
        "differ in length",
    ),
    (
        "target of a series",
        |r| r.series[0].target = 1,
        "out of bounds",
    ),
    (
        "target of a round",
        |r| r.traces[0].target = u32::MAX,
        "out of bounds",
    ),
    (
        "target of a sighting",
        |r| r.edge_sightings[0].target = 9,
        "out of bounds",
    ),
    (
        "target of a resolution",
        |r| r.resolutions[0].target = 9,
        "out of bounds",
    ),
    ("no targets", |r| r.targets.clear(), "out of bounds"),
    (
        "address of 5 bytes",
        |r| r.series[0].destination.push(1),
        "neither 4 nor 16",
    ),
    (
        "round to nowhere",
        |r| r.traces[0].destination.clear(),
        "neither 4 nor 16",
    ),
    (
        "name of nothing",
        |r| r.hop_names[0].address.clear(),
        "neither 4 nor 16",
    ),
    (
        "two hops of a TTL",
        |r| r.traces[0].flows[0].hops[0].ttl = 1,
        "two hops",
    ),
    (
        "TTL 0",
        |r| r.traces[0].flows[0].hops[0].ttl = 0,
        "1 to 255",
    ),
    (
        "TTL 256",
        |r| r.traces[0].flows[0].destination_ttl = 256,
        "1 to 255",
    ),
    (
        "RTT of an hour",
        |r| r.series[0].rtt_us[0] = 3_600_000_000,
        "beyond a minute",
    ),
    (
        "target without a name",
        |r| r.targets[0].name.clear(),
        "empty",
    ),
    ("port", |r| r.targets[0].port = 65_536, "65535"),
    ("sequence 0", |r| r.sequence = 0, "from 1"),
    ("sequence beyond", |r| r.sequence = u64::MAX, "from 1"),
    ("epoch", |r| r.epoch.truncate(3), "the epoch"),
    (
        "last century",
        |r| r.wall_anchor_unix_ms = 0,
        "over 30 days later",
    ),
    (
        "next century",
        |r| r.wall_anchor_unix_ms = i64::MAX,
        "set the agent's clock",
    ),
    (
        "far offset",
        |r| r.series[0].at_delta_ms[1] = i64::MAX,
        "set the agent's clock",
    ),
    (
        "long text",
        |r| r.edge_sightings[0].headers[0].value = "x".repeat(1025),
        "longer than 1024",
    ),
];

#[test]
fn what_does_not_add_up_is_refused() {
    for (name, damage, want) in DAMAGES {
        let mut report = sample_report();
        damage(&mut report);
        let error = decode_report(&report).expect_err(name).to_string();
        assert!(error.contains(want), "{name}: {error}");
    }
}

#[test]
fn more_than_any_plan_makes_is_refused() {
    let mut report = sample_report();
    report.series[0].at_delta_ms = vec![0; MAX_SAMPLES + 1];
    report.series[0].rtt_us = vec![0; MAX_SAMPLES + 1];
    report.series[0].outcome = vec![2; MAX_SAMPLES + 1];
    assert!(matches!(
        decode_report(&report),
        Err(DecodeError::TooMany {
            what: "samples",
            ..
        })
    ));
    let mut report = sample_report();
    report.targets = vec![report.targets[0].clone(); MAX_TARGETS + 1];
    assert!(matches!(
        decode_report(&report),
        Err(DecodeError::TooMany {
            what: "targets",
            ..
        })
    ));
    let mut report = sample_report();
    report.traces[0].flows = vec![TraceFlow::default(); MAX_FLOWS + 1];
    assert!(matches!(
        decode_report(&report),
        Err(DecodeError::TooMany {
            what: "flows of a round",
            ..
        })
    ));
}

#[test]
fn another_agents_report_is_refused() {
    let mut report = sample_report();
    report.agent_id = AgentId::random().to_bytes();
    assert!(matches!(
        decode_report(&report),
        Err(DecodeError::WrongAgent { .. })
    ));
    report.agent_id = vec![1, 2];
    assert!(matches!(
        decode_report(&report),
        Err(DecodeError::Inconsistent { .. })
    ));
}

#[test]
fn no_text_carries_control_characters() {
    let mut report = sample_report();
    report.agent_version = "0.1\u{1b}[2J".to_owned();
    report.host = Some(v1::HostFacts {
        hostname: "a\nb".to_owned(),
        ..v1::HostFacts::default()
    });
    let batch = decode_report(&report).expect("decodes");
    assert_eq!(batch.agent_version, "0.1[2J");
    assert_eq!(batch.host.expect("a host").hostname, "ab");
}

#[test]
fn enum_values_of_a_later_version_read_as_unspecified() {
    let mut report = sample_report();
    report.series[0].outcome[0] = 99;
    report.series[0].protocol = 99;
    let batch = decode_report(&report).expect("decodes");
    assert_eq!(batch.samples[0].outcome, Outcome::Unspecified);
    assert_eq!(batch.samples[0].protocol, Protocol::Unspecified);
}

prop_compose! {
    fn any_series()(
        target in 0u32..3,
        destination in prop::collection::vec(any::<u8>(), 0..18),
        lengths in (0usize..6, 0usize..6, 0usize..6),
        delta in any::<i64>(),
        rtt in any::<u32>(),
        outcome in any::<i32>(),
    ) -> Series {
        Series {
            target,
            destination,
            at_delta_ms: vec![delta; lengths.0],
            rtt_us: vec![rtt; lengths.1],
            outcome: vec![outcome; lengths.2],
            ..Series::default()
        }
    }
}

prop_compose! {
    fn any_round()(
        target in 0u32..3,
        destination in prop::collection::vec(any::<u8>(), 0..18),
        at_offset_ms in any::<i64>(),
        ttls in prop::collection::vec(0u32..300, 0..6),
    ) -> TraceRound {
        let hops = ttls.into_iter().map(|ttl| hop(ttl, &[192, 0, 2, 1])).collect();
        let flows = vec![TraceFlow { flow_id: 1, hops, ..TraceFlow::default() }];
        TraceRound { target, destination, at_offset_ms, flows, ..TraceRound::default() }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(decode(&bytes, &sender(), NOW_MS).is_err());
    }

    #[test]
    fn what_is_accepted_keeps_every_promise(
        series in prop::collection::vec(any_series(), 0..4),
        traces in prop::collection::vec(any_round(), 0..4),
    ) {
        let columns: usize = series.iter().map(|one| one.rtt_us.len()).sum();
        let report = Report { series, traces, ..sample_report() };
        if let Ok(batch) = decode_report(&report) {
            prop_assert_eq!(batch.samples.len(), columns);
            for sample in &batch.samples {
                prop_assert!(sample.rtt_us <= MAX_RTT_US);
                prop_assert!((NOW_MS - MAX_AGE_MS..=NOW_MS + MAX_AHEAD_MS).contains(&sample.at_unix_ms));
                prop_assert_eq!(&*sample.target, "exchange");
            }
            prop_assert!(batch.rounds.is_sorted_by_key(|round| round.at_unix_ms));
            for flow in batch.rounds.iter().flat_map(|round| &round.flows) {
                prop_assert!(flow.hops.is_sorted_by(|one, two| one.ttl < two.ttl));
            }
        }
    }

    #[test]
    fn a_cut_report_is_refused(keep in 0usize..400) {
        let whole = encoded(&sample_report());
        let cut = &whole[..keep.min(whole.len() - 1)];
        prop_assert!(decode(cut, &sender(), NOW_MS).is_err());
    }
}

#[test]
fn columns_that_no_sample_needs_may_be_absent_but_not_short() {
    let mut marked = sample_report();
    marked.series[0].marks = vec![1, 0, 8];
    marked.series[0].reply_ttl = vec![57, 0, 300];
    let batch = decode_report(&marked).expect("adds up");
    let told: Vec<_> = batch
        .samples
        .iter()
        .map(|sample| (sample.marks.0, sample.reply_ttl))
        .collect();
    assert_eq!(told, [(1, 57), (0, 0), (8, 255)]);
    for shorten in [
        |series: &mut Series| series.marks = vec![1],
        |series: &mut Series| series.reply_ttl = vec![1; 4],
        |series: &mut Series| series.scheduling_delay_us = vec![1; 2],
    ] {
        let mut short = sample_report();
        shorten(&mut short.series[0]);
        assert!(matches!(
            decode_report(&short),
            Err(DecodeError::Inconsistent { .. })
        ));
    }
}

#[test]
fn each_vantage_point_is_a_target_of_its_own() {
    let mut report = sample_report();
    report.vantages = ["", "uplink-b"]
        .map(|name| v1::Vantage {
            name: name.to_owned(),
            ..v1::Vantage::default()
        })
        .to_vec();
    let mut second = report.series[0].clone();
    second.vantage = 1;
    report.series.push(second);
    let batch = decode_report(&report).expect("adds up");
    let names: Vec<_> = batch
        .targets
        .iter()
        .map(|target| target.name.clone())
        .collect();
    assert_eq!(names, ["exchange", "exchange via uplink-b"]);
    assert_eq!(batch.sightings.len(), 2, "an edge is that of both");
    report.series[0].vantage = 2;
    assert!(decode_report(&report).is_err());
}

/// Reports as the agent of commit e7030b3 sent them, which knew the first form of the wire and none of its later fields: taken
/// from the inbox of a collector. Each with when it was received.
const OF_THE_FIRST_FORM: [(&[u8], i64); 2] = [
    (
        include_bytes!("recorded/agent-of-first-form-1.bin"),
        1_795_459_558_465,
    ),
    (
        include_bytes!("recorded/agent-of-first-form-2.bin"),
        1_795_459_563_484,
    ),
];

#[test]
fn what_an_agent_of_the_first_form_sent_is_read_whole() {
    let sender = Identity {
        organisation: OrganisationId::default_organisation(),
        agent: AgentId(uuid::Uuid::from_u128(
            0x3D84_1B96_A86B_4684_ABE3_FED5_8E3F_CB46,
        )),
    };
    for ((frame, received_unix_ms), sequence) in OF_THE_FIRST_FORM.into_iter().zip(1..) {
        let batch = decode(frame, &sender, received_unix_ms).expect("a report");
        assert_eq!(
            (batch.key.agent, batch.key.sequence),
            (sender.agent, sequence)
        );
        assert_eq!(batch.agent_version, "0.1.0");
        assert_eq!(&*batch.targets[0].name, "exchange");
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let samples: Vec<_> = (batch.samples.iter())
            .map(|sample| (sample.protocol, sample.outcome, sample.destination))
            .collect();
        let answered = |protocol| (protocol, Outcome::Answered, Some(loopback));
        assert_eq!(samples, [answered(Protocol::Icmp), answered(Protocol::Tcp)]);
        let late = |sample: &Sample| !(0..60_000).contains(&(received_unix_ms - sample.at_unix_ms));
        assert!(!batch.samples.iter().any(late));
        let round = batch.rounds.first().expect("a path round");
        assert_eq!((round.destination, round.kind), (loopback, TraceKind::Tcp));
        assert!(round.flows.len() >= 5, "{round:?}");
        // The facts of the machine come once, with the names of hops.
        assert_eq!(batch.host.is_some(), sequence == 1);
        assert_eq!(batch.hop_names.len(), usize::from(sequence == 1));
    }
}
