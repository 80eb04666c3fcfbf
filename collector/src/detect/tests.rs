//! Properties of the path comparison, its table of edges, and a quiet month.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use firstmile_wire::ids::{AgentId, OrganisationId};
use firstmile_wire::v1::TraceKind;
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use super::failover::{
    ADOPTED_AFTER_MS, BACK_ROUNDS, BLIND_AFTER_MS, FLAP_WINDOW_MS, LEARNING_ROUNDS, SHIFT_ROUNDS,
    observe,
};
use super::identity::identity_of;
use super::{Context, Observation, PathMemory, PathState};
use crate::api::types::{Event, EventClass, Pop};
use crate::geo::Meaning;
use crate::ingest::batch::{Flow, Hop, Round};

/// Documentation space and AS numbers (RFC 5737, RFC 5398), with Microsoft's AS as the lab has it.
const NETWORKS: &str = "192.0.2.0/26,64500,Access\n192.0.2.64/26,64501,Provider\n192.0.2.128/26,64502,Transit\n\
                        198.51.100.0/24,8075,Microsoft\n203.0.113.0/24,8075,Microsoft\n";
const STEP_MS: i64 = 60_000;
const START_MS: i64 = 1_767_225_600_000;

static MEANING: LazyLock<Meaning> = LazyLock::new(|| {
    Meaning::builtin()
        .with_ip_to_as_csv(NETWORKS)
        .expect("the test's table is well-formed")
});

static NAMES: LazyLock<BTreeMap<IpAddr, String>> = LazyLock::new(|| {
    [
        (1, "ae1-0.ier01.ams30"),
        (2, "ae1-0.ier02.ams30"),
        (3, "ae1-0.ier03.ams30"),
        (11, "ae1-0.ier01.fra30"),
        (12, "ae1-0.ier02.fra30"),
        (21, "ae1-0.ier01.lon24"),
        (101, "be-1-0.ibr01.ams30"),
        (111, "be-1-0.ibr01.fra30"),
    ]
    .map(|(host, name)| (microsoft(host), format!("{name}.ntwk.msn.net")))
    .into()
});

fn access(host: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, host).into()
}

fn microsoft(host: u8) -> IpAddr {
    Ipv4Addr::new(198, 51, 100, host).into()
}

fn destination() -> IpAddr {
    Ipv4Addr::new(203, 0, 113, 10).into()
}

fn context() -> Context {
    Context {
        organisation: OrganisationId::default_organisation(),
        agent: AgentId(Uuid::from_u128(7)),
        site_name: "Amsterdam".to_owned(),
        country: Some("NL".to_owned()),
        target: "exchange".to_owned(),
    }
}

/// One flow: gateway, access, provider, ingress, core, destination. 0 is silence.
fn flow(flow_id: u32, provider: u8, ingress: u8) -> Flow {
    let core = if ingress == 0 || (10..20).contains(&ingress) {
        111
    } else {
        101
    };
    let private: IpAddr = Ipv4Addr::new(10, 0, 0, 1).into();
    let heard = |host: u8, address: fn(u8) -> IpAddr| (host != 0).then(|| address(host));
    let addresses = [
        Some(private),
        Some(access(1)),
        heard(provider, access),
        heard(ingress, microsoft),
        Some(microsoft(core)),
        Some(destination()),
    ];
    let hops = (1..)
        .zip(addresses)
        .map(|(ttl, address)| hop(ttl, address))
        .collect();
    Flow {
        flow_id,
        hops,
        destination_ttl: Some(6),
    }
}

fn hop(ttl: u32, address: Option<IpAddr>) -> Hop {
    Hop {
        ttl,
        address,
        rtt_us: ttl * 1000,
        reply_ttl: 0,
        icmp: 0,
        seen_unix_ms: None,
    }
}

const PROVIDER: u8 = 65;
const TRANSIT: u8 = 129;

/// Eight flows over these ingress routers in turn.
fn flows(provider: u8, ingresses: &[u8]) -> Vec<Flow> {
    (0..8)
        .zip(ingresses.iter().cycle())
        .map(|(id, ingress)| flow(id, provider, *ingress))
        .collect()
}

fn round(at: usize, flows: Vec<Flow>) -> Round {
    Round {
        at_unix_ms: START_MS + i64::try_from(at).expect("few rounds") * STEP_MS,
        target: "exchange".into(),
        destination: destination(),
        kind: TraceKind::Tcp,
        burst: false,
        flows,
        stream: firstmile_wire::v1::TraceStream::Full,
        nat64: None,
    }
}

/// Feeds rounds to a memory, as the worker does.
#[derive(Default)]
struct Site {
    memory: PathMemory,
    rounds: usize,
    opened: Vec<Event>,
    events: Vec<Event>,
    rtt_us: Option<u32>,
    edge: Option<Pop>,
    stale_edge_unix_ms: Option<i64>,
}

impl Site {
    fn learned(ingresses: &[u8]) -> Self {
        let mut site = Self {
            rtt_us: Some(4_200),
            ..Self::default()
        };
        site.see(LEARNING_ROUNDS, &flows(PROVIDER, ingresses));
        assert_eq!(site.memory.state(), PathState::Stable);
        site
    }

    fn see(&mut self, times: u32, flows: &[Flow]) {
        for _ in 0..times {
            self.see_round(&round(self.rounds, flows.to_vec()));
        }
    }

    fn see_round(&mut self, round: &Round) {
        self.see_named(round, &NAMES);
    }

    fn see_named(&mut self, round: &Round, names: &BTreeMap<IpAddr, String>) {
        self.rounds += 1;
        let observation = Observation {
            at_unix_ms: round.at_unix_ms,
            destination: round.destination,
            projection: identity_of(round, names, self.edge.as_ref(), &MEANING),
            edge_seen_unix_ms: self
                .edge
                .as_ref()
                .map(|_| self.stale_edge_unix_ms.unwrap_or(round.at_unix_ms)),
            rtt_us: self.rtt_us,
        };
        let was_open = self.memory.open.is_some();
        let events = observe(&mut self.memory, &observation, &context(), &MEANING);
        if !was_open {
            self.opened
                .extend(events.iter().filter(|event| event.state == "open").cloned());
        }
        self.events.extend(events);
    }

    fn ending(&self) -> Option<&str> {
        self.events.last().and_then(|event| event.ending.as_deref())
    }
}

#[test]
fn each_kind_of_move_is_one_event_of_its_class() {
    for (name, after, class, text) in [
        (
            "another metro",
            flows(PROVIDER, &[11]),
            EventClass::Geo,
            "Amsterdam → exchange: ingress moved from Amsterdam (AMS) to Frankfurt (FRA), +7.1 ms, between 00:04:00 and 00:05:00 UTC",
        ),
        (
            "another router of the metro",
            flows(PROVIDER, &[2]),
            EventClass::Local,
            "Amsterdam → exchange: ingress router in Amsterdam (AMS) moved from ier01.ams30 to ier02.ams30, +7.1 ms, between 00:04:00 and 00:05:00 UTC",
        ),
        (
            "another provider",
            flows(TRANSIT, &[1]),
            EventClass::Provider,
            "Amsterdam → exchange: AS path moved from AS64500 AS64501 AS8075 to AS64500 AS64502 AS8075, +7.1 ms, between 00:04:00 and 00:05:00 UTC",
        ),
        (
            "another provider and metro",
            flows(TRANSIT, &[11]),
            EventClass::Provider,
            "Amsterdam → exchange: AS path moved from AS64500 AS64501 AS8075 to AS64500 AS64502 AS8075, ingress moved from Amsterdam (AMS) to Frankfurt (FRA), +7.1 ms, between 00:04:00 and 00:05:00 UTC",
        ),
    ] {
        let mut site = Site::learned(&[1]);
        site.rtt_us = Some(11_300);
        site.see(SHIFT_ROUNDS - 1, &after);
        assert_eq!(
            (site.memory.state(), site.events.len()),
            (PathState::Suspect, 0),
            "{name}"
        );
        site.see(1, &after);
        assert_eq!(
            (site.memory.state(), site.events.len()),
            (PathState::Shifted, 1),
            "{name}"
        );
        let event = &site.events[0];
        assert_eq!((event.class, event.text.as_str()), (class, text), "{name}");
        assert_eq!(
            event.first_novel_unix_ms - event.last_good_unix_ms,
            STEP_MS,
            "{name}"
        );
        site.see(50, &after);
        assert_eq!(
            site.events.len(),
            1,
            "{name}: staying away says nothing new"
        );
        site.see(BACK_ROUNDS, &flows(PROVIDER, &[1]));
        assert_eq!(
            (site.ending(), site.memory.state()),
            (Some("recovered"), PathState::Stable),
            "{name}"
        );
        assert_eq!(
            site.events.last().map(|event| &event.event_id),
            Some(&site.events[0].event_id),
            "{name}"
        );
    }
}

#[test]
fn what_is_no_move_makes_no_event() {
    let mut no_names = Site::learned(&[1]);
    let nameless = BTreeMap::new();
    for at in 0..6 {
        no_names.see_named(&round(5 + at, flows(PROVIDER, &[1])), &nameless);
    }
    assert!(no_names.events.is_empty(), "names that are gone");

    for (name, usual, after, rounds) in [
        ("the same", vec![1], flows(PROVIDER, &[1]), 100),
        (
            "balanced flows permuted",
            vec![1, 2],
            flows(PROVIDER, &[2, 1]),
            100,
        ),
        (
            "one member of a balanced set alone",
            vec![1, 2],
            flows(PROVIDER, &[2]),
            100,
        ),
        (
            "a new member below half",
            vec![1, 2],
            flows(PROVIDER, &[1, 2, 3]),
            100,
        ),
        (
            "the ingress falls silent",
            vec![1],
            flows(PROVIDER, &[0]),
            100,
        ),
        ("the provider falls silent", vec![1], flows(0, &[1]), 100),
        (
            "provider and ingress fall silent",
            vec![1],
            flows(0, &[0]),
            100,
        ),
        (
            "two rounds only",
            vec![1],
            flows(TRANSIT, &[11]),
            SHIFT_ROUNDS - 1,
        ),
    ] {
        let mut site = Site::learned(&usual);
        site.see(rounds, &after);
        site.see(rounds, &flows(PROVIDER, &usual));
        assert_eq!(site.events, [], "{name}");
        assert_eq!(site.memory.state(), PathState::Stable, "{name}");
    }
}

#[test]
fn a_split_over_two_metros_is_the_usual_path() {
    let mut site = Site::learned(&[1, 11]);
    site.see(20, &flows(PROVIDER, &[11]));
    site.see(20, &flows(PROVIDER, &[1]));
    assert_eq!(site.events, []);
    site.see(SHIFT_ROUNDS, &flows(PROVIDER, &[21]));
    assert_eq!(site.events[0].class, EventClass::Geo);
}

#[test]
fn three_rounds_have_to_follow_each_other_and_agree() {
    let mut site = Site::learned(&[1]);
    for _ in 0..20 {
        site.see(2, &flows(PROVIDER, &[11]));
        site.see(1, &flows(PROVIDER, &[1]));
    }
    for _ in 0..20 {
        site.see(1, &flows(PROVIDER, &[11]));
        site.see(1, &flows(PROVIDER, &[21]));
    }
    assert_eq!(site.events, [], "rounds that disagree are no move yet");
    site.see(2, &flows(PROVIDER, &[21]));
    assert_eq!(site.events.len(), 1);
    let onset = START_MS + 65 * STEP_MS;
    assert_eq!(
        site.events[0].first_novel_unix_ms, onset,
        "the onset is the first round that left the old path"
    );
}

#[test]
fn names_that_come_late_are_no_move() {
    let mut site = Site::default();
    let nameless = BTreeMap::new();
    for at in 0..6 {
        site.see_named(&round(at, flows(PROVIDER, &[1])), &nameless);
    }
    site.see(20, &flows(PROVIDER, &[1]));
    assert_eq!(site.events, []);
    site.see(SHIFT_ROUNDS, &flows(PROVIDER, &[11]));
    assert_eq!(
        site.events[0].class,
        EventClass::Geo,
        "the metro was learned with the name"
    );
}

#[test]
fn a_new_router_whose_name_comes_late_is_one_move_to_its_metro() {
    let mut site = Site::learned(&[1]);
    let nameless = BTreeMap::new();
    site.see_named(&round(site.rounds, flows(PROVIDER, &[11])), &nameless);
    site.see(SHIFT_ROUNDS - 1, &flows(PROVIDER, &[11]));
    assert_eq!(site.events.len(), 1);
    assert_eq!(site.events[0].class, EventClass::Geo);
}

/// A flow that ends in a black hole behind the access network.
fn black_hole(flow_id: u32) -> Flow {
    let mut flow = flow(flow_id, 0, 0);
    flow.hops.truncate(2);
    Flow {
        destination_ttl: None,
        ..flow
    }
}

#[test]
fn a_black_hole_is_no_sign_of_the_old_path() {
    let mut site = Site::learned(&[1]);
    let last_good = START_MS + 4 * STEP_MS;
    let hole: Vec<Flow> = (0..8).map(black_hole).collect();
    site.see(3, &hole);
    assert_eq!(
        (site.memory.state(), site.events.len()),
        (PathState::Stable, 0)
    );
    site.see(1, &flows(TRANSIT, &[11]));
    site.see(1, &hole);
    site.see(SHIFT_ROUNDS - 1, &flows(TRANSIT, &[11]));
    assert_eq!(
        site.events.len(),
        1,
        "a round that says nothing does not reset"
    );
    let event = &site.events[0];
    assert_eq!(
        (event.class, event.last_good_unix_ms),
        (EventClass::Provider, last_good)
    );
    site.see(20, &hole);
    assert_eq!(
        site.memory.state(),
        PathState::Shifted,
        "nor is it a recovery"
    );
}

#[test]
fn an_as_path_that_moves_later_raises_the_class_of_the_same_event() {
    let mut site = Site::learned(&[1]);
    site.see(SHIFT_ROUNDS, &flows(PROVIDER, &[2]));
    site.see(SHIFT_ROUNDS, &flows(TRANSIT, &[2]));
    assert_eq!((site.opened.len(), site.events.len()), (1, 2));
    assert_eq!(site.events[1].class, EventClass::Provider);
    assert!(
        site.events[1].text.contains("AS path moved from"),
        "{}",
        site.events[1].text
    );
}

#[test]
fn headers_seen_while_away_do_not_hold_up_the_recovery() {
    let mut site = Site {
        edge: MEANING.pop("AMS"),
        ..Site::default()
    };
    site.see(LEARNING_ROUNDS, &flows(PROVIDER, &[1]));
    site.edge = MEANING.pop("FRA");
    site.see(SHIFT_ROUNDS, &flows(PROVIDER, &[11]));
    site.stale_edge_unix_ms = Some(START_MS + 6 * STEP_MS);
    site.see(BACK_ROUNDS, &flows(PROVIDER, &[1]));
    assert_eq!(site.ending(), Some("recovered"));
    site.see(20, &flows(PROVIDER, &[1]));
    assert_eq!(
        (site.memory.state(), site.opened.len()),
        (PathState::Stable, 1)
    );
}

#[test]
fn a_path_that_moves_while_a_round_runs_is_still_seen() {
    let mixed: Vec<Flow> = (0..8)
        .map(|id| flow(id, PROVIDER, if id < 5 { 1 } else { 11 }))
        .collect();
    let mut site = Site::learned(&[1]);
    site.see(20, &flows(PROVIDER, &[1]));
    site.see(1, &mixed);
    site.see(SHIFT_ROUNDS, &flows(PROVIDER, &[11]));
    assert_eq!(site.opened.len(), 1);
    assert_eq!(site.events[0].class, EventClass::Geo);
    site.see(1, &mixed);
    site.see(BACK_ROUNDS, &flows(PROVIDER, &[1]));
    assert_eq!(site.ending(), Some("recovered"));

    let mut learning = Site::default();
    learning.see(3, &flows(PROVIDER, &[1]));
    learning.see(1, &mixed);
    learning.see(LEARNING_ROUNDS, &flows(PROVIDER, &[11]));
    assert_eq!(learning.memory.baseline.identity().ingress_metros, ["FRA"]);
}

#[test]
fn a_new_member_of_a_balanced_set_joins_after_a_while() {
    let mut site = Site::learned(&[1]);
    let widened = flows(PROVIDER, &[1, 1, 2]);
    site.see(20, &widened);
    assert_eq!(
        site.memory.baseline.identity().ingress_routers,
        ["ier01.ams30", "ier02.ams30"]
    );
    site.see(20, &flows(PROVIDER, &[2]));
    assert_eq!(site.events, []);
}

#[test]
fn a_router_without_a_name_is_told_by_its_address_and_by_rtt() {
    for (rtt_us, class) in [(4_300, EventClass::Local), (12_000, EventClass::Geo)] {
        let mut site = Site::learned(&[1]);
        site.rtt_us = Some(rtt_us);
        site.see(SHIFT_ROUNDS, &flows(PROVIDER, &[77]));
        let event = &site.events[0];
        assert_eq!(
            (event.class, event.after.ingress_routers.as_slice()),
            (class, ["198.51.100.77".to_owned()].as_slice())
        );
        assert!(
            event
                .reasons
                .iter()
                .any(|line| line.contains("has no name")),
            "{:?}",
            event.reasons
        );
    }
}

#[test]
fn a_further_move_is_chained_into_the_same_event() {
    let mut site = Site::learned(&[1]);
    site.see(SHIFT_ROUNDS, &flows(PROVIDER, &[2]));
    site.see(SHIFT_ROUNDS, &flows(PROVIDER, &[11]));
    assert_eq!(site.events.len(), 2);
    let (first, second) = (&site.events[0], &site.events[1]);
    assert_eq!(first.event_id, second.event_id);
    assert_eq!(
        (first.class, second.class),
        (EventClass::Local, EventClass::Geo)
    );
    assert!(
        second
            .reasons
            .last()
            .is_some_and(|line| line.starts_with("moved on at")),
        "{:?}",
        second.reasons
    );
    site.see(BACK_ROUNDS, &flows(PROVIDER, &[1]));
    assert_eq!((site.opened.len(), site.ending()), (1, Some("recovered")));
}

#[test]
fn a_flapping_path_is_one_event_with_a_counter() {
    let mut site = Site::learned(&[1]);
    for _ in 0..5 {
        site.see(SHIFT_ROUNDS, &flows(PROVIDER, &[11]));
        site.see(BACK_ROUNDS, &flows(PROVIDER, &[1]));
    }
    let ids: std::collections::BTreeSet<_> =
        site.events.iter().map(|event| &event.event_id).collect();
    assert_eq!(ids.len(), 1);
    let opened: Vec<_> = site.opened.iter().map(|event| event.reopenings).collect();
    assert_eq!(opened, [0, 1, 2, 3, 4]);
    let step = STEP_MS * i64::from(SHIFT_ROUNDS + BACK_ROUNDS);
    let first = site.opened[0].first_novel_unix_ms;
    assert_eq!(site.opened[0].reopened_unix_ms, None);
    let last = site.events.last().expect("there are events");
    assert_eq!(
        (last.first_novel_unix_ms, last.reopened_unix_ms),
        (first, Some(first + 4 * step))
    );
    assert!(
        last.reasons
            .iter()
            .any(|line| line.contains("5 times so far")),
        "{:?}",
        last.reasons
    );
    site.see(
        u32::try_from(FLAP_WINDOW_MS / STEP_MS).expect("small") + 1,
        &flows(PROVIDER, &[1]),
    );
    site.see(SHIFT_ROUNDS, &flows(PROVIDER, &[11]));
    assert_ne!(
        site.events.last().map(|event| &event.event_id),
        Some(&site.events[0].event_id),
        "after a quiet time it is another"
    );
}

#[test]
fn another_move_soon_after_is_another_event() {
    let mut site = Site::learned(&[1]);
    site.see(SHIFT_ROUNDS, &flows(PROVIDER, &[11]));
    site.see(BACK_ROUNDS, &flows(PROVIDER, &[1]));
    site.see(SHIFT_ROUNDS, &flows(PROVIDER, &[2]));
    let classes: Vec<EventClass> = site.opened.iter().map(|event| event.class).collect();
    assert_eq!(classes, [EventClass::Geo, EventClass::Local]);
    assert_ne!(site.opened[0].event_id, site.opened[1].event_id);
    assert!(
        !site.opened[1].text.contains("flapping"),
        "{}",
        site.opened[1].text
    );
}

#[test]
fn a_new_path_that_lasts_a_day_is_adopted() {
    let mut site = Site::learned(&[1]);
    let rounds = u32::try_from(ADOPTED_AFTER_MS / STEP_MS).expect("small") + SHIFT_ROUNDS;
    site.see(rounds, &flows(PROVIDER, &[11]));
    assert_eq!(
        (site.ending(), site.memory.state()),
        (Some("adopted"), PathState::Learning)
    );
    site.see(LEARNING_ROUNDS, &flows(PROVIDER, &[11]));
    assert_eq!(
        (site.memory.state(), site.events.len()),
        (PathState::Stable, 2)
    );
}

#[test]
fn silence_makes_blind_and_claims_nothing() {
    let mut site = Site::learned(&[1]);
    let silent: Vec<Flow> = (0..8)
        .map(|id| Flow {
            flow_id: id,
            hops: vec![hop(1, None)],
            destination_ttl: None,
        })
        .collect();
    site.see(
        u32::try_from(BLIND_AFTER_MS / STEP_MS).expect("small"),
        &silent,
    );
    assert_eq!(site.memory.state(), PathState::Stable);
    site.see(1, &silent);
    assert_eq!(site.memory.state(), PathState::Blind);
    site.see(1, &flows(PROVIDER, &[1]));
    assert_eq!(
        (site.memory.state(), site.events.len()),
        (PathState::Stable, 0)
    );
}

#[test]
fn another_pop_in_headers_needs_two_sightings() {
    let mut site = Site {
        edge: MEANING.pop("AMS"),
        ..Site::default()
    };
    site.see(LEARNING_ROUNDS, &flows(PROVIDER, &[1]));
    site.edge = MEANING.pop("FRA");
    site.see(SHIFT_ROUNDS, &flows(PROVIDER, &[1]));
    let event = &site.events[0];
    assert_eq!(event.class, EventClass::Geo);
    assert!(
        event
            .text
            .contains("serving POP moved from Amsterdam (AMS) to Frankfurt (FRA)"),
        "{}",
        event.text
    );

    let mut once = Site::learned(&[1]);
    once.memory.baseline = site.memory.baseline.clone();
    let pop = MEANING.pop("FRA");
    for _ in 0..20 {
        let round = round(once.rounds, flows(PROVIDER, &[1]));
        once.rounds += 1;
        let observation = Observation {
            at_unix_ms: round.at_unix_ms,
            destination: round.destination,
            projection: identity_of(&round, &NAMES, pop.as_ref(), &MEANING),
            edge_seen_unix_ms: Some(START_MS),
            rtt_us: None,
        };
        assert_eq!(
            observe(&mut once.memory, &observation, &context(), &MEANING),
            [],
            "one answer is one answer"
        );
    }
}

#[test]
fn another_address_of_the_target_is_no_local_failover() {
    let mut site = Site::learned(&[1]);
    for _ in 0..20 {
        let other = Round {
            destination: Ipv4Addr::new(203, 0, 113, 20).into(),
            ..round(site.rounds, flows(PROVIDER, &[2]))
        };
        site.see_round(&other);
    }
    assert_eq!(site.events, []);
    for _ in 0..SHIFT_ROUNDS {
        let third = Round {
            destination: Ipv4Addr::new(203, 0, 113, 30).into(),
            ..round(site.rounds, flows(PROVIDER, &[11]))
        };
        site.see_round(&third);
    }
    assert_eq!(site.events[0].class, EventClass::Geo);
    assert!(
        site.events[0]
            .reasons
            .iter()
            .any(|line| line.contains("203.0.113.30")),
        "{:?}",
        site.events[0].reasons
    );
}

#[test]
fn a_round_taken_in_twice_changes_nothing() {
    let mut site = Site::learned(&[1]);
    let novel = round(site.rounds, flows(PROVIDER, &[11]));
    site.see_round(&novel);
    let once = site.memory.clone();
    site.see_round(&novel);
    site.see_round(&round(0, flows(TRANSIT, &[21])));
    assert_eq!(site.memory, once);
}

#[test]
fn learning_starts_again_when_the_path_moves_and_ends_all_the_same() {
    let mut site = Site::default();
    site.see(LEARNING_ROUNDS - 1, &flows(PROVIDER, &[1]));
    site.see(LEARNING_ROUNDS - 1, &flows(PROVIDER, &[11]));
    assert_eq!(site.memory.state(), PathState::Learning);
    for _ in 0..10 {
        site.see(1, &flows(PROVIDER, &[1]));
        site.see(1, &flows(PROVIDER, &[11]));
    }
    assert_eq!(
        (site.memory.state(), site.events.len()),
        (PathState::Stable, 0)
    );
}

/// Thirty days of one full round in two minutes over two balanced routers; every answer is missing now and then, flows are shuffled, a
/// reply is lost for whole rounds, and names come and go.
#[test]
fn a_quiet_month_has_no_event() {
    let mut site = Site::default();
    let mut dice: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut roll = |sides: u64| {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    let nameless = BTreeMap::new();
    for at in (0..30 * 24 * 60).step_by(2) {
        let storm = roll(50) == 0;
        let flows = (0..8).map(|id| {
            let ingress = if storm || roll(10) == 0 {
                0
            } else {
                1 + u8::try_from(roll(2)).expect("small")
            };
            let provider = if roll(10) == 0 { 0 } else { PROVIDER };
            flow(id, provider, ingress)
        });
        let round = round(at, flows.collect());
        let names = if roll(30) == 0 { &nameless } else { &*NAMES };
        site.see_named(&round, names);
    }
    assert_eq!(site.events, []);
    assert_eq!(site.memory.state(), PathState::Stable);
}

fn any_flow() -> impl Strategy<Value = Flow> {
    let provider = prop_oneof![Just(PROVIDER), Just(TRANSIT), Just(0)];
    let ingress = prop_oneof![
        Just(0u8),
        Just(1),
        Just(2),
        Just(11),
        Just(12),
        Just(21),
        Just(77)
    ];
    (any::<u32>(), provider, ingress)
        .prop_map(|(id, provider, ingress)| flow(id, provider, ingress))
}

proptest! {
    #[test]
    fn balanced_permuted_and_silent_flows_are_never_an_event(
        rounds in vec(vec((1u8..=2, any::<bool>(), any::<bool>()), 8), 1..60),
    ) {
        let mut site = Site::learned(&[1, 2]);
        for flows in rounds {
            let flows = (0..).zip(flows).map(|(id, (ingress, silent_ingress, silent_provider))| {
                flow(id, if silent_provider { 0 } else { PROVIDER }, if silent_ingress { 0 } else { ingress })
            });
            site.see_round(&round(site.rounds, flows.collect()));
        }
        prop_assert_eq!(site.events, []);
    }

    #[test]
    fn any_sequence_has_at_most_one_open_event_and_ends_each_once(rounds in vec(vec(any_flow(), 0..4), 0..120)) {
        let mut site = Site::default();
        let mut open: Option<String> = None;
        for flows in rounds {
            let seen = site.events.len();
            site.see_round(&round(site.rounds, flows));
            for event in &site.events[seen..] {
                prop_assert!(open.is_none() || open.as_ref() == Some(&event.event_id));
                prop_assert_eq!(event.state == "open", event.ended_unix_ms.is_none() && event.ending.is_none());
                prop_assert!(event.last_good_unix_ms <= event.first_novel_unix_ms);
                prop_assert!(event.first_novel_unix_ms <= event.detected_unix_ms);
                open = (event.state == "open").then(|| event.event_id.clone());
            }
            prop_assert_eq!(site.memory.open.as_ref().map(|event| &event.event_id), open.as_ref());
        }
    }

    #[test]
    fn memory_survives_the_store_at_any_time(rounds in vec(vec(any_flow(), 1..4), 1..60), restart in vec(any::<bool>(), 60)) {
        let (mut straight, mut restarted) = (Site::default(), Site::default());
        for (flows, restart) in rounds.into_iter().zip(restart) {
            let round = round(straight.rounds, flows);
            straight.see_round(&round);
            if restart {
                let stored = serde_json::to_vec(&restarted.memory).expect("it is plain data");
                restarted.memory = serde_json::from_slice(&stored).expect("it reads what it wrote");
            }
            restarted.see_round(&round);
        }
        prop_assert_eq!(&straight.memory, &restarted.memory);
        prop_assert_eq!(straight.events, restarted.events);
    }
}
