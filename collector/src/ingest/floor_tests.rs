//! What light cannot do is held to be somebody nearer, and nothing else is.

use std::net::Ipv4Addr;

use firstmile_wire::ids::{AgentId, Epoch, OrganisationId, ReportKey};
use firstmile_wire::v1::AgentCounters;
use proptest::prelude::*;

use super::*;
use crate::ingest::batch::Marks;
use crate::ingest::facts::Facts;

const AT_MS: i64 = 1_750_000_000_000;
const FRONT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
/// In Utrecht, 35 km from Amsterdam and 10,500 from Singapore.
const UTRECHT: (f64, f64) = (52.09, 5.12);

fn site(place: Option<(f64, f64)>) -> Geography {
    let (latitude, longitude) = place.unzip();
    Geography {
        latitude,
        longitude,
        ..Geography::default()
    }
}

fn sample(protocol: Protocol, phase: Phase, at_unix_ms: i64, rtt_us: u32) -> Sample {
    Sample {
        at_unix_ms,
        target: "exchange".into(),
        destination: Some(FRONT),
        protocol,
        phase,
        outcome: Outcome::Answered,
        rtt_us,
        reply_ttl: 0,
        marks: Marks::default(),
        scheduling_delay_us: 0,
    }
}

fn connect(rtt_us: u32) -> Sample {
    sample(Protocol::Https, Phase::Connect, AT_MS, rtt_us)
}

fn sighting(edge: &str) -> Sighting {
    let value = format!("Ref A: 0 Ref B: {edge}04EDGE0712 Ref C: 2026-01-01T00:00:00Z");
    Sighting {
        at_unix_ms: AT_MS,
        target: "exchange".into(),
        destination: Some(FRONT),
        http_status: 200,
        headers: vec![("x-msedge-ref".to_owned(), value)],
    }
}

fn batch(samples: Vec<Sample>, sightings: Vec<Sighting>) -> Batch {
    Batch {
        key: ReportKey {
            organisation: OrganisationId::default_organisation(),
            agent: AgentId(uuid::Uuid::from_u128(7)),
            epoch: Epoch(uuid::Uuid::from_u128(9)),
            sequence: 1,
        },
        received_unix_ms: AT_MS,
        agent_version: "0.1.0".to_owned(),
        host: None,
        counters: AgentCounters::default(),
        targets: Vec::new(),
        samples,
        rounds: Vec::new(),
        hop_names: Vec::new(),
        sightings,
        resolutions: Vec::new(),
        facts: Facts::default(),
    }
}

fn is_marked(sample: &Sample) -> bool {
    sample.marks.0 & Mark::TerminatedLocally as u32 != 0
}

/// Whether the first sample is held to be answered on the way.
fn verdict(place: Option<(f64, f64)>, samples: Vec<Sample>, sightings: Vec<Sighting>) -> bool {
    let batch = batch(samples, sightings);
    is_marked(&judge(&batch, &site(place), &Meaning::builtin()).samples[0])
}

#[test]
fn a_connection_that_outran_light_was_answered_on_the_way() {
    for (name, rtt_us, edge, want) in [
        ("a millisecond to Singapore", 900, "SIN", true),
        ("as long as it takes", 160_000, "SIN", false),
        ("at the speed of light", 71_000, "SIN", false),
        ("in the same metro", 400, "AMS", false),
        ("an unknown edge", 900, "ZZZ", false),
    ] {
        let found = verdict(Some(UTRECHT), vec![connect(rtt_us)], vec![sighting(edge)]);
        assert_eq!(found, want, "{name}");
    }
    let nowhere = verdict(None, vec![connect(900)], vec![sighting("SIN")]);
    assert!(!nowhere, "the site has no place");
}

#[test]
fn what_another_connection_says_is_no_evidence() {
    let later = Sighting {
        at_unix_ms: AT_MS + 1,
        ..sighting("SIN")
    };
    let elsewhere = Sighting {
        destination: Some(OTHER),
        ..sighting("SIN")
    };
    let nameless = Sighting {
        headers: Vec::new(),
        ..sighting("SIN")
    };
    for (name, sightings) in [
        ("the next connection", vec![later]),
        ("another address", vec![elsewhere]),
        ("no edge is named", vec![nameless]),
        ("two of one moment", vec![sighting("SIN"), sighting("AMS")]),
    ] {
        let found = verdict(Some(UTRECHT), vec![connect(900)], sightings);
        assert!(!found, "{name}");
    }
}

#[test]
fn only_a_connection_that_came_about_has_a_time() {
    let ended = |outcome| Sample {
        outcome,
        ..connect(0)
    };
    for (name, first) in [
        ("lost", ended(Outcome::Timeout)),
        ("refused", ended(Outcome::Refused)),
        ("no HTTP", sample(Protocol::Tcp, Phase::Rtt, AT_MS, 900)),
    ] {
        let found = verdict(Some(UTRECHT), vec![first], vec![sighting("SIN")]);
        assert!(!found, "{name}");
    }
}

#[test]
fn all_phases_of_the_connection_leave_the_figures_and_nothing_else_does() {
    let other_connection = Sample {
        at_unix_ms: AT_MS + 5,
        ..connect(900)
    };
    let samples = vec![
        connect(900),
        sample(Protocol::Https, Phase::Tls, AT_MS, 2_000),
        sample(Protocol::Https, Phase::Ttfb, AT_MS, 170_000),
        sample(Protocol::Icmp, Phase::Rtt, AT_MS, 165_000),
        sample(Protocol::Tcp, Phase::Rtt, AT_MS, 900),
        other_connection,
    ];
    let batch = batch(samples, vec![sighting("SIN")]);
    let judged = judge(&batch, &site(Some(UTRECHT)), &Meaning::builtin());
    let marked: Vec<bool> = judged.samples.iter().map(is_marked).collect();
    assert_eq!(marked, [true, true, true, false, false, false]);
    let leaves = judged.samples.iter().map(|one| one.marks.leaves_figures());
    assert_eq!(leaves.collect::<Vec<_>>(), marked);
}

proptest! {
    /// Whatever a place is off by within the slack, and whatever way the signal took: nothing true is thrown away.
    #[test]
    fn no_connection_that_reached_its_edge_is_ever_marked(
        latitude in -80.0f64..80.0, longitude in -180.0f64..180.0,
        off in -0.8f64..0.8, detour in 1.0f64..4.0, at_edge_us in 0u32..50_000,
        code in prop::sample::select(vec!["AMS", "SIN", "SYD", "LON", "GRU", "JNB"]),
    ) {
        let edge = Meaning::builtin().pop(code).expect("in the catalogue");
        // Up to 0.8 degrees off, 89 km: half of what is allowed for.
        let there = (latitude + off, longitude);
        let away_km = distance_km(there, (edge.latitude, edge.longitude));
        let took_us = 2.0 * away_km * detour / KM_PER_MS * 1_000.0 + f64::from(at_edge_us);
        let took_us = format!("{took_us:.0}").parse::<u32>().expect("below an hour");
        let place = Some((latitude, longitude));
        prop_assert!(!verdict(place, vec![connect(took_us)], vec![sighting(code)]));
    }
}
