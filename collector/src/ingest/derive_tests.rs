//! What one report changes, given what is known.

use firstmile_wire::ids::{AgentId, Epoch, OrganisationId, ReportKey};
use firstmile_wire::v1::{AgentCounters, HostFacts, TraceKind, TraceStream};
use proptest::prelude::*;

use super::*;
use crate::geo::Geography;
use crate::ingest::batch::{Flow, Hop};
use crate::registry::{SiteId, Target};

const NOW_MS: i64 = 1_750_000_000_000;
const FRONT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
const ROUTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));
const AMSTERDAM: &str =
    "Ref A: 0123456789ABCDEF0123456789ABCDEF Ref B: AMS04EDGE0712 Ref C: 2026-01-01T00:00:00Z";

fn id() -> AgentId {
    AgentId(uuid::Uuid::from_u128(7))
}

fn organisation() -> OrganisationId {
    OrganisationId::default_organisation()
}

fn known() -> Known {
    let site = SiteId(uuid::Uuid::from_u128(8));
    Known {
        agent: Agent {
            id: id(),
            organisation: organisation(),
            site,
            hostname: "old.example".to_owned(),
            version: "0.0.9".to_owned(),
            os: Some("Debian".to_owned()),
            icmp_capability: None,
            enrolled_unix_ms: 0,
            last_seen_unix_ms: Some(NOW_MS + 5),
            spool_dropped_reports: 0,
            revoked: false,
            usual_gap_ms: 0,
        },
        site: Site {
            id: site,
            organisation: organisation(),
            name: "Utrecht".to_owned(),
            geography: Geography::default(),
        },
        memories: BTreeMap::new(),
        names: BTreeMap::new(),
        shown: Vec::new(),
        sightings: Vec::new(),
        handshakes: BTreeMap::new(),
        nat64: None,
    }
}

fn batch() -> Batch {
    Batch {
        key: ReportKey {
            organisation: organisation(),
            agent: id(),
            epoch: Epoch(uuid::Uuid::from_u128(9)),
            sequence: 1,
        },
        received_unix_ms: NOW_MS,
        agent_version: "0.1.0".to_owned(),
        host: None,
        counters: AgentCounters {
            spool_dropped_reports: 3,
            ..AgentCounters::default()
        },
        targets: vec![Target {
            name: "exchange".to_owned(),
            host: "outlook.example".to_owned(),
            port: 443,
            service: "m365".to_owned(),
        }],
        samples: Vec::new(),
        rounds: Vec::new(),
        hop_names: Vec::new(),
        sightings: Vec::new(),
        resolutions: Vec::new(),
        facts: crate::ingest::facts::Facts::default(),
    }
}

fn round(at_unix_ms: i64) -> Round {
    let hop = Hop {
        ttl: 1,
        address: Some(ROUTER),
        rtt_us: 500,
        reply_ttl: 64,
        icmp: 11 << 8,
        seen_unix_ms: None,
    };
    let flows = (0..8).map(|flow_id| Flow {
        flow_id,
        hops: vec![hop.clone()],
        destination_ttl: Some(2),
    });
    Round {
        at_unix_ms,
        target: "exchange".into(),
        destination: FRONT,
        kind: TraceKind::Tcp,
        burst: false,
        flows: flows.collect(),
        stream: TraceStream::Full,
        nat64: None,
    }
}

fn sighting(at_unix_ms: i64, destination: IpAddr, value: &str) -> Sighting {
    Sighting {
        at_unix_ms,
        target: "exchange".into(),
        destination: Some(destination),
        http_status: 200,
        headers: vec![("x-msedge-ref".to_owned(), value.to_owned())],
    }
}

#[test]
fn packets_of_another_kind_and_parts_of_a_path_are_not_pooled_with_it() {
    let meaning = Meaning::builtin();
    let told = |rounds: Vec<Round>| {
        let batch = Batch { rounds, ..batch() };
        derive(&batch, known(), &meaning, &mut Desk::default()).applied
    };
    let icmp = |at| Round {
        kind: TraceKind::Icmp,
        ..round(at)
    };
    let tail = |at| {
        let mut tail = round(at);
        tail.stream = TraceStream::Tail;
        for flow in &mut tail.flows {
            flow.hops.iter_mut().for_each(|hop| hop.ttl = 5);
            flow.destination_ttl = Some(6);
        }
        tail
    };
    let applied = told(vec![round(NOW_MS), icmp(NOW_MS + 1), tail(NOW_MS + 2)]);
    let compared: Vec<i64> = applied.identities.iter().map(|(_, at, _)| *at).collect();
    assert_eq!(
        compared,
        [NOW_MS, NOW_MS + 2],
        "ICMP is evidence beside TCP"
    );
    let shown: Vec<i64> = applied
        .latest_rounds
        .iter()
        .map(|one| one.at_unix_ms)
        .collect();
    assert_eq!(shown, [NOW_MS], "the whole path is shown, not its end");
    let kept = told(vec![icmp(NOW_MS), round(NOW_MS + 1)]);
    let from_tcp_alone = told(vec![round(NOW_MS + 1)]);
    let form = |applied: &Applied| serde_json::to_value(&applied.path_memories[0].1).expect("JSON");
    assert_eq!(form(&kept), form(&from_tcp_alone), "learnt anew");
}

#[test]
fn what_lies_behind_a_nat64_has_the_as_of_the_address_inside() {
    let meaning = Meaning::builtin()
        .with_ip_to_as_csv("198.51.100.0/24,64500,Access\n192.0.2.0/24,64501,Front\n")
        .expect("a table");
    let path = |prefix: Option<&str>, hop: &str| {
        let mut one = round(NOW_MS);
        for flow in &mut one.flows {
            flow.hops
                .iter_mut()
                .for_each(|met| met.address = hop.parse().ok());
        }
        let told = Known {
            nat64: prefix.and_then(|text| text.parse().ok()),
            ..known()
        };
        let batch = Batch {
            rounds: vec![one],
            ..batch()
        };
        derive(&batch, told, &meaning, &mut Desk::default())
            .applied
            .identities[0]
            .2
            .identity
            .as_path
            .clone()
    };
    for (name, prefix, hop, want) in [
        ("well known", None, "64:ff9b::198.51.100.1", true),
        (
            "of the site",
            Some("2001:db8:64::/96"),
            "2001:db8:64::198.51.100.1",
            true,
        ),
        ("of no site", None, "2001:db8:64::198.51.100.1", false),
        (
            "of another site",
            Some("2001:db8:65::/96"),
            "2001:db8:64::198.51.100.1",
            false,
        ),
    ] {
        let is_mapped = path(prefix, hop).contains(&64_500);
        assert_eq!(is_mapped, want, "{name}");
    }
}

#[test]
fn an_edge_counts_for_a_round_if_it_answered_there_and_lately() {
    let meaning = Meaning::builtin();
    let at = |sightings: &[Sighting]| {
        edge_before(&round(NOW_MS), sightings.iter(), &meaning).map(|(at, _)| at - NOW_MS)
    };
    for (name, sightings, want) in [
        ("none", vec![], None),
        (
            "lately",
            vec![sighting(NOW_MS - 1_000, FRONT, AMSTERDAM)],
            Some(-1_000),
        ),
        (
            "newest",
            vec![
                sighting(NOW_MS - 9, FRONT, AMSTERDAM),
                sighting(NOW_MS - 99, FRONT, AMSTERDAM),
            ],
            Some(-9),
        ),
        (
            "at the bound",
            vec![sighting(NOW_MS - EDGE_FRESH_MS, FRONT, AMSTERDAM)],
            Some(-EDGE_FRESH_MS),
        ),
        (
            "too old",
            vec![sighting(NOW_MS - EDGE_FRESH_MS - 1, FRONT, AMSTERDAM)],
            None,
        ),
        (
            "after it",
            vec![sighting(NOW_MS + 1, FRONT, AMSTERDAM)],
            None,
        ),
        (
            "elsewhere",
            vec![sighting(NOW_MS - 1, OTHER, AMSTERDAM)],
            None,
        ),
        ("says nothing", vec![sighting(NOW_MS - 1, FRONT, "?")], None),
        (
            "the newest says nothing",
            vec![
                sighting(NOW_MS - 1, FRONT, "?"),
                sighting(NOW_MS - 2, FRONT, AMSTERDAM),
            ],
            Some(-2),
        ),
    ] {
        assert_eq!(at(&sightings), want, "{name}");
    }
}

#[test]
fn an_agent_is_as_its_newest_report_says() {
    let mut batch = batch();
    let agent = agent_after(&known().agent, &batch);
    assert_eq!(
        (
            agent.version.as_str(),
            agent.os.as_deref(),
            agent.spool_dropped_reports
        ),
        ("0.1.0", Some("Debian"), 3)
    );
    assert_eq!(
        agent.last_seen_unix_ms,
        Some(NOW_MS + 5),
        "an older report does not set it back"
    );
    batch.host = Some(HostFacts {
        hostname: "new.example".to_owned(),
        os: "Windows".to_owned(),
        ..HostFacts::default()
    });
    let agent = agent_after(&known().agent, &batch);
    assert_eq!(
        (agent.hostname.as_str(), agent.os.as_deref()),
        ("new.example", Some("Windows"))
    );
}

#[test]
fn a_round_that_was_silent_on_the_way_is_shown_with_who_stood_there_and_compared_as_it_came() {
    let mut silent = round(NOW_MS);
    for flow in &mut silent.flows {
        let end = Hop {
            ttl: 2,
            address: Some(FRONT),
            ..flow.hops[0].clone()
        };
        flow.hops = vec![end];
    }
    let mut whole = silent.clone();
    for flow in &mut whole.flows {
        flow.hops.insert(0, round(NOW_MS).flows[0].hops[0].clone());
    }
    whole.at_unix_ms = NOW_MS - 60_000;
    for (name, before, earlier) in [
        ("of an earlier report", vec![whole.clone()], vec![]),
        ("of the same report", vec![], vec![whole]),
    ] {
        let mut batch = batch();
        batch.rounds = earlier;
        // The head of one flow was asked, and answered nothing.
        let mut newest = silent.clone();
        newest.flows[0].hops.insert(
            0,
            Hop {
                ttl: 1,
                address: None,
                ..round(NOW_MS).flows[0].hops[0].clone()
            },
        );
        batch.rounds.push(newest);
        let shown = Known {
            shown: before,
            ..known()
        };
        let applied = derive(&batch, shown, &Meaning::builtin(), &mut Desk::default()).applied;
        let hops = &applied.latest_rounds[0].flows[0].hops;
        assert_eq!(hops[0].address, Some(ROUTER), "{name}");
        assert_eq!(hops[0].seen_unix_ms, Some(NOW_MS - 60_000), "{name}");
        assert_eq!(hops[1].seen_unix_ms, None, "{name}");
    }
}

#[test]
fn rounds_become_identities_in_order_and_one_memory_each_target() {
    let mut batch = batch();
    batch.rounds = vec![
        round(NOW_MS - 60_000),
        round(NOW_MS - 30_000),
        round(NOW_MS),
    ];
    batch.sightings = vec![
        sighting(NOW_MS - 20_000, FRONT, AMSTERDAM),
        sighting(NOW_MS, FRONT, "?"),
    ];
    batch.hop_names = vec![(ROUTER, Some("gw.example".to_owned())), (OTHER, None)];
    let derived = derive(&batch, known(), &Meaning::builtin(), &mut Desk::default());
    let applied = derived.applied;
    let times: Vec<i64> = applied
        .identities
        .iter()
        .map(|(_, at, _)| *at - NOW_MS)
        .collect();
    assert_eq!(times, [-60_000, -30_000, 0]);
    let edges: Vec<usize> = applied
        .identities
        .iter()
        .map(|(_, _, sight)| sight.identity.edge_metros.len())
        .collect();
    assert_eq!(edges, [0, 0, 1], "the edge was seen before the last round");
    assert_eq!(applied.path_memories.len(), 1);
    assert_eq!(applied.latest_rounds, [round(NOW_MS)]);
    assert_eq!(
        applied.sightings.len(),
        1,
        "only headers that name an edge are kept"
    );
    assert_eq!(applied.hop_names.len(), 2);
    assert!(matches!(
        derived.live.as_slice(),
        [Live::Reports { to_unix_ms: NOW_MS }]
    ));
}

proptest! {
    #[test]
    fn newest_keeps_one_of_each_key_and_none_older(all in prop::collection::vec((0u8..4, any::<i64>()), 0..40)) {
        let kept = newest(&all, |one| one.0, |one| one.1);
        for one in &all {
            prop_assert!(kept.iter().any(|other| other.0 == one.0 && other.1 >= one.1));
        }
        let keys: BTreeSet<u8> = all.iter().map(|one| one.0).collect();
        prop_assert_eq!(kept.len(), keys.len());
    }
}
