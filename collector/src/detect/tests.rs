//! Paths in stories: what is learned, what is told, and when.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use firstmile_wire::ids::{AgentId, OrganisationId};
use firstmile_wire::v1::{Outcome, Phase, Protocol, TraceKind, TraceStream};
use uuid::Uuid;

use super::watch::{Context, Observation, Watch};
use super::{Desk, PathBrief, PathMemory, PathState};
use crate::api::types::{Event, EventClass, EventStatus, Pop};
use crate::geo::Meaning;
use crate::ingest::batch::{Flow, Hop, Marks, Round, Sample};

/// Some Monday at noon.
pub(crate) const T0: i64 = 1_767_614_400_000;
const FLOWS: u32 = 8;
const FIRST_PORT: u32 = 24_100;
const DOOR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 10));
const ACCESS: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

/// One site's path, round after round.
pub(crate) struct Story {
    pub(crate) memory: PathMemory,
    pub(crate) desk: Desk,
    pub(crate) context: Context,
    /// Every event as it was told, in order.
    pub(crate) told: Vec<Event>,
    meaning: Meaning,
    names: BTreeMap<IpAddr, String>,
    now: i64,
    /// Last number of the ingress router's address, and its RTT.
    ingress: (u8, u32),
    provider: &'static str,
    reply_ttl: u8,
}

pub(crate) fn meaning() -> Meaning {
    Meaning::builtin()
        .with_ip_to_as_csv(
            "192.0.2.0/25,64500,Access\n192.0.2.128/25,64501,Other\n198.51.100.0/24,8075,Microsoft\n203.0.113.0/24,8075,Microsoft\n",
        )
        .expect("a table")
}

pub(crate) fn context(agent: u128, site: &str) -> Context {
    Context {
        organisation: OrganisationId::default_organisation(),
        agent: AgentId(Uuid::from_u128(agent)),
        site_id: site.to_lowercase(),
        site_name: site.to_owned(),
        country: Some("NL".to_owned()),
        target: "exchange".to_owned(),
        received_unix_ms: T0,
    }
}

impl Story {
    pub(crate) fn new(agent: u128, site: &str) -> Self {
        let name = |(number, name): (u8, &str)| {
            (
                IpAddr::from([198, 51, 100, number]),
                format!("{name}.ntwk.msn.net"),
            )
        };
        let names = [
            (1, "ae1-0.icr01.ams21"),
            (2, "ae1-0.icr02.ams21"),
            (3, "ae1-0.icr01.fra21"),
        ];
        Self {
            memory: PathMemory::default(),
            desk: Desk::default(),
            context: context(agent, site),
            told: Vec::new(),
            meaning: meaning(),
            names: names.into_iter().map(name).collect(),
            now: T0,
            ingress: (1, 4_000),
            provider: ACCESS[1],
            reply_ttl: 0,
        }
    }

    /// A path that is learned, with half an hour of usual pulses.
    pub(crate) fn learned(agent: u128, site: &str) -> Self {
        let mut story = Self::new(agent, site);
        for _ in 0..20 {
            story.round(TraceStream::Full);
            story.pulses(8);
        }
        story.round(TraceStream::Refresh);
        story.rounds(TraceStream::Tail, 4);
        assert_eq!(story.memory.state(), PathState::Stable);
        story
    }

    /// The ingress is another router from now on.
    pub(crate) fn enters_at(&mut self, number: u8, rtt_us: u32) {
        self.ingress = (number, rtt_us);
    }

    fn take_in(&mut self, observation: &Observation<'_>) {
        self.context.received_unix_ms = self.context.received_unix_ms.max(self.now);
        let mut watch = Watch {
            context: &self.context,
            meaning: &self.meaning,
            names: &self.names,
            desk: &mut self.desk,
        };
        let (events, _) = watch.take_in(&mut self.memory, observation);
        self.told.extend(events);
    }

    fn as_round(&self, stream: TraceStream) -> Round {
        let (number, rtt_us) = self.ingress;
        let ingress = IpAddr::from([198, 51, 100, number]);
        let inside = IpAddr::from([198, 51, 100, 100 + number]);
        let first: IpAddr = ACCESS[0].parse().expect("an address");
        let handoff: IpAddr = self.provider.parse().expect("an address");
        let hops = [first, handoff, ingress, inside, DOOR];
        let tail = matches!(stream, TraceStream::Tail | TraceStream::Burst);
        let hop = |(ttl, address): (u32, IpAddr)| Hop {
            ttl,
            address: Some(address),
            rtt_us: if ttl < 3 { 900 } else { rtt_us },
            reply_ttl: 60,
            icmp: 11 * 256,
            seen_unix_ms: None,
        };
        let flow = |flow| Flow {
            flow_id: FIRST_PORT + flow,
            hops: (1..).zip(hops).map(hop).skip(usize::from(tail)).collect(),
            destination_ttl: Some(5),
        };
        let flows = match stream {
            TraceStream::Burst => 5,
            TraceStream::Refresh => 12,
            TraceStream::Full | TraceStream::Tail | TraceStream::Unspecified => FLOWS,
        };
        Round {
            at_unix_ms: self.now,
            target: Arc::from("exchange"),
            destination: DOOR,
            kind: TraceKind::Tcp,
            burst: stream == TraceStream::Burst,
            stream,
            nat64: None,
            flows: (0..flows).map(flow).collect(),
        }
    }

    pub(crate) fn round(&mut self, stream: TraceStream) {
        self.round_with(stream, None);
    }

    /// A round, with the edge that headers named before it.
    fn round_with(&mut self, stream: TraceStream, edge: Option<&(i64, Pop)>) {
        let round = self.as_round(stream);
        self.take_in(&Observation::Round(&round, edge));
        self.now += match stream {
            TraceStream::Tail => 30_000,
            TraceStream::Burst => 5_000,
            TraceStream::Full | TraceStream::Refresh | TraceStream::Unspecified => 8_000,
        };
    }

    pub(crate) fn rounds(&mut self, stream: TraceStream, count: usize) {
        for _ in 0..count {
            self.round(stream);
        }
    }

    /// Pulses at once a second, within the rounds' time.
    pub(crate) fn pulses(&mut self, count: i64) {
        for index in 0..count {
            self.pulse(self.now - 500 + index * 10, Some(self.ingress.1 + 1_000));
        }
    }

    pub(crate) fn pulse(&mut self, at_unix_ms: i64, rtt_us: Option<u32>) {
        let sample = Sample {
            at_unix_ms,
            target: Arc::from("exchange"),
            destination: Some(DOOR),
            protocol: Protocol::Tcp,
            phase: Phase::Rtt,
            outcome: if rtt_us.is_some() {
                Outcome::Answered
            } else {
                Outcome::Timeout
            },
            rtt_us: rtt_us.unwrap_or(0),
            reply_ttl: self.reply_ttl,
            marks: Marks::default(),
            scheduling_delay_us: 0,
        };
        self.take_in(&Observation::Sample(&sample));
    }

    /// Tail rounds and a pulse each 5 s, for so many minutes.
    fn minutes(&mut self, count: usize, rtt_us: u32) {
        for _ in 0..count * 2 {
            self.round(TraceStream::Tail);
            for index in 0..6 {
                self.pulse(self.now - 30_000 + index * 5_000, Some(rtt_us));
            }
        }
    }

    fn restart(&mut self) {
        let bytes = self.memory.to_bytes().expect("packs");
        self.memory = PathMemory::from_bytes(&bytes).expect("unpacks");
    }

    fn last(&self) -> &Event {
        self.told.last().expect("something was told")
    }
}

#[test]
fn a_geo_failover_is_told_from_three_rounds_and_ends_when_the_old_path_is_back() {
    let mut story = Story::learned(1, "Utrecht");
    assert_eq!(story.told, [], "learning tells nothing");
    story.enters_at(3, 11_000);
    let moved_at = story.now;
    story.rounds(TraceStream::Burst, 2);
    assert_eq!(story.memory.state(), PathState::Suspect);
    story.round(TraceStream::Burst);
    let event = story.last().clone();
    assert_eq!(
        (event.class, event.status),
        (EventClass::Geo, EventStatus::Event)
    );
    assert_eq!(
        (event.from.as_deref(), event.to.as_deref()),
        (Some("AMS"), Some("FRA"))
    );
    assert_eq!(
        event.moved,
        "ingress moved from Amsterdam (AMS) to Frankfurt (FRA)"
    );
    assert!(event.last_good_unix_ms < moved_at && event.first_novel_unix_ms >= moved_at);
    assert_eq!(
        event.before.ingress_metros,
        ["AMS"],
        "the usual path, frozen"
    );
    assert_eq!(event.before.as_path, [64_500, 8_075]);
    assert_eq!(event.after.ingress_metros, ["FRA"]);
    assert_eq!(event.provider_asn, Some(64_500));
    assert!(event.incident_id.is_some() && !event.late && event.notified_unix_ms.is_none());
    assert!(event.confidence.is_some_and(|confidence| confidence >= 0.9));
    story.pulses(20);
    let cost = story.last().rtt_cost.expect("enough pulses on both sides");
    assert_eq!(cost.change_us, 7_000);
    story.rounds(TraceStream::Tail, 4);
    assert!(
        story.last().notified_unix_ms.is_some(),
        "it lasted longer than the hold-down"
    );
    story.enters_at(1, 4_000);
    story.rounds(TraceStream::Tail, 6);
    let over = story.last();
    assert_eq!(
        (over.state.as_str(), over.ending.as_deref()),
        ("closed", Some("recovery"))
    );
    assert_eq!((&over.event_id, over.brief), (&event.event_id, false));
    assert!(over.text.contains("+7.0 ms"), "{}", over.text);
    assert_eq!(story.memory.state(), PathState::Stable);
    assert_eq!(story.memory.open, []);
}

#[test]
fn another_router_of_the_metro_is_local_and_a_short_move_is_brief() {
    let mut story = Story::learned(1, "Utrecht");
    story.enters_at(2, 4_000);
    story.rounds(TraceStream::Burst, 4);
    assert_eq!(story.last().class, EventClass::Local);
    assert_eq!(
        story.last().moved,
        "ingress router in Amsterdam (AMS) moved from icr01.ams21 to icr02.ams21"
    );
    story.enters_at(1, 4_000);
    story.rounds(TraceStream::Burst, 6);
    assert!(story.last().brief && story.last().ended_unix_ms.is_some());
}

#[test]
fn another_network_that_hands_over_is_a_provider_shift() {
    let mut story = Story::learned(1, "Utrecht");
    story.provider = "192.0.2.130";
    story.enters_at(2, 4_000);
    story.rounds(TraceStream::Burst, 4);
    assert_eq!(story.last().class, EventClass::Provider);
    assert_eq!(story.last().moved, "provider moved from AS64500 to AS64501");
}

#[test]
fn what_a_restart_finds_in_the_store_goes_on_as_if_nothing_had_been() {
    let tell = |restarts: bool| {
        let mut story = Story::learned(1, "Utrecht");
        story.enters_at(3, 11_000);
        for _ in 0..8 {
            story.round(TraceStream::Burst);
            if restarts {
                story.restart();
            }
        }
        story.enters_at(1, 4_000);
        for _ in 0..8 {
            story.round(TraceStream::Tail);
            if restarts {
                story.restart();
            }
        }
        story.told
    };
    let told = tell(true);
    assert_eq!(
        told.last().map(|event| event.state.as_str()),
        Some("closed")
    );
    assert_eq!(told, tell(false));
}

#[test]
fn events_of_two_agents_are_one_incident_also_over_a_restart() {
    let mut one = Story::learned(1, "Utrecht");
    let mut other = Story::learned(2, "Lisbon");
    one.enters_at(3, 11_000);
    other.enters_at(3, 11_000);
    one.rounds(TraceStream::Burst, 3);
    let first = one.last().clone();
    let head = crate::incident::Head {
        incident_id: first.incident_id.clone().expect("claimed"),
        ..crate::incident::Head::default()
    };
    other.desk = Desk::restored(&[crate::incident::assemble(
        &head,
        std::slice::from_ref(&first),
    )]);
    other.rounds(TraceStream::Burst, 3);
    assert_eq!(other.last().incident_id, first.incident_id);
    let mut alone = Story::learned(3, "Porto");
    alone.now += 3_600_000;
    alone.enters_at(3, 11_000);
    alone.rounds(TraceStream::Tail, 3);
    assert_ne!(alone.last().incident_id, first.incident_id, "an hour later");
}

#[test]
fn a_table_that_is_replaced_is_no_event() {
    let mut story = Story::learned(1, "Utrecht");
    for csv in [
        "192.0.2.0/24,64509,Renamed\n",
        "198.51.100.0/24,64510,Nobody\n203.0.113.0/24,8075,M\n",
    ] {
        story.meaning = Meaning::builtin().with_ip_to_as_csv(csv).expect("a table");
        story.restart();
        story.rounds(TraceStream::Tail, 6);
        story.rounds(TraceStream::Full, 6);
    }
    story.names.clear();
    story.restart();
    story.rounds(TraceStream::Tail, 10);
    assert_eq!(story.told, []);
}

#[test]
fn the_edge_after_a_move_is_one_that_was_seen_after_it() {
    let mut story = Story::learned(1, "Utrecht");
    let pop = |story: &Story, code: &str| story.meaning.pop(code).expect("a code");
    let (old, new) = (pop(&story, "AMS"), pop(&story, "FRA"));
    let sighted = (story.now - 5_000, old.clone());
    for _ in 0..12 {
        story.round_with(TraceStream::Tail, Some(&sighted));
    }
    story.enters_at(3, 11_000);
    for _ in 0..4 {
        story.round_with(TraceStream::Burst, Some(&sighted));
    }
    assert_eq!(
        story.last().after.edge_metros,
        vec![old.metro.clone()],
        "what was known then"
    );
    let told = story.told.len();
    story.round_with(TraceStream::Tail, Some(&(story.now - 1_000, new.clone())));
    assert!(story.told.len() > told, "the event is told again");
    let event = story.last();
    assert_eq!(event.before.edge_metros, [old.metro]);
    assert_eq!(event.after.edge_metros, [new.metro]);
}

#[test]
fn what_is_decided_late_says_so() {
    let mut story = Story::learned(1, "Utrecht");
    story.context.received_unix_ms = story.now + 20 * 60_000;
    story.enters_at(3, 11_000);
    story.rounds(TraceStream::Burst, 3);
    assert!(story.last().late, "its rounds are older than ten minutes");
}

#[test]
fn a_site_that_loses_every_packet_is_unreachable() {
    let mut story = Story::learned(1, "Utrecht");
    let mut short = story.as_round(TraceStream::Tail);
    for second in 0..4 {
        story.pulse(story.now + second * 5_000, None);
    }
    short.at_unix_ms = story.now + 12_000;
    for flow in &mut short.flows {
        flow.destination_ttl = None;
        flow.hops
            .iter_mut()
            .filter(|hop| hop.ttl > 2)
            .for_each(|hop| hop.address = None);
    }
    story.take_in(&Observation::Round(&short, None));
    story.pulse(story.now + 20_000, None);
    assert_eq!(story.last().class, EventClass::Unreachable);
    assert_eq!(story.last().rtt_cost, None);
}

#[test]
fn a_refresh_that_took_minutes_still_ends_learning() {
    let mut story = Story::new(1, "Utrecht");
    story.rounds(TraceStream::Full, 2);
    let refresh = story.as_round(TraceStream::Refresh);
    story.rounds(TraceStream::Full, 18);
    assert_eq!(story.memory.state(), PathState::Learning);
    story.take_in(&Observation::Round(&refresh, None));
    story.round(TraceStream::Tail);
    assert_eq!(story.memory.state(), PathState::Stable);
}

#[test]
fn a_memory_is_small_and_its_brief_says_what_it_does() {
    let mut story = Story::learned(1, "Utrecht");
    story.pulses(200);
    story.enters_at(3, 11_000);
    story.rounds(TraceStream::Burst, 5);
    story.pulses(200);
    let bytes = story.memory.to_bytes().expect("packs").len();
    assert!(bytes <= 4_096, "{bytes} bytes");
    let brief = PathBrief::from(&story.memory);
    assert_eq!(
        (brief.state(), brief.provider_asn),
        (PathState::Shifted, Some(64_500))
    );
    assert_eq!(brief.observability.expect("grades").geo, "A");
    assert!(
        PathMemory::from_bytes(&bytes.to_be_bytes()).is_err(),
        "damage is told"
    );
}

#[test]
fn better_packets_end_what_was_claimed_by_worse_ones() {
    let mut story = Story::learned(1, "Utrecht");
    let udp = story.as_round(TraceStream::Full);
    story.memory.kind = i32::from(TraceKind::Icmp);
    story.enters_at(3, 11_000);
    story.memory.kind = i32::from(TraceKind::Tcp);
    story.rounds(TraceStream::Burst, 3);
    story.memory.kind = i32::from(TraceKind::Icmp);
    story.take_in(&Observation::Round(&udp, None));
    assert_eq!(story.last().ending.as_deref(), Some("not_observed"));
    assert_eq!(story.memory.state(), PathState::Learning);
}

#[test]
fn a_latency_that_rose_on_the_same_path_is_told_through_a_restart_and_is_no_failover() {
    let mut story = Story::learned(1, "Utrecht");
    story.minutes(30, 5_000);
    assert_eq!(story.told, []);
    let rose_at = story.now;
    story.minutes(1, 25_000);
    story.restart();
    story.minutes(9, 25_000);
    assert_eq!(story.told.len(), 1, "{:?}", story.told);
    let event = story.last().clone();
    assert_eq!(event.class, EventClass::Latency);
    assert_eq!(
        event.moved,
        "RTT rose from 5.0 ms to 25.0 ms on the same path"
    );
    assert!((event.last_good_unix_ms..=event.first_novel_unix_ms).contains(&rose_at));
    assert_eq!(event.before, event.after);
    assert!(event.incident_id.is_some());
    assert_eq!(story.memory.state(), PathState::Stable);
    assert_eq!(story.memory.open, [], "no move is claimed");
    story.minutes(10, 5_000);
    let over = story.last();
    assert_eq!(
        (&over.event_id, over.ending.as_deref()),
        (&event.event_id, Some("recovery"))
    );
    story.minutes(10, 1_000);
    assert_eq!(story.told.len(), 2, "a level that fell is no event");
}

#[test]
fn what_rises_because_the_path_moved_is_no_latency_event() {
    let mut story = Story::learned(1, "Utrecht");
    story.minutes(30, 5_000);
    story.enters_at(3, 24_000);
    story.minutes(20, 25_000);
    story.enters_at(1, 4_000);
    story.minutes(20, 5_000);
    let classes: Vec<EventClass> = story.told.iter().map(|event| event.class).collect();
    assert!(!classes.is_empty() && classes.iter().all(|class| *class == EventClass::Geo));
}

#[test]
fn a_failover_ends_a_latency_event_that_was_open() {
    let mut story = Story::learned(1, "Utrecht");
    story.minutes(30, 5_000);
    story.minutes(5, 25_000);
    assert_eq!(story.last().class, EventClass::Latency);
    story.enters_at(3, 24_000);
    story.minutes(3, 25_000);
    let of_latency = |event: &&Event| event.class == EventClass::Latency;
    let latency = story.told.iter().rfind(of_latency).unwrap();
    assert_eq!(latency.ending.as_deref(), Some("path_moved"));
}

#[test]
fn replies_over_another_number_of_hops_are_noted_once_and_a_new_server_is_none() {
    let mut story = Story::learned(1, "Utrecht");
    story.reply_ttl = 57;
    story.minutes(10, 5_000);
    story.reply_ttl = 121; // as many hops, from 128
    story.minutes(10, 5_000);
    assert_eq!(story.told, []);
    story.reply_ttl = 55;
    story.minutes(10, 5_000);
    assert_eq!(story.told.len(), 1, "{:?}", story.told);
    let event = story.last();
    assert_eq!(event.class, EventClass::ReturnPathSuspected);
    assert_eq!(event.moved, "replies come over 9 hops, they came over 7");
    assert_eq!(
        (event.state.as_str(), event.ending.as_deref()),
        ("closed", Some("noted"))
    );
}

#[test]
fn sites_whose_latency_rises_together_are_one_incident() {
    let mut first = Story::learned(1, "Utrecht");
    first.minutes(30, 5_000);
    first.minutes(5, 25_000);
    let incidents = |story: &Story| story.last().incident_id.clone();
    let mut second = Story::learned(2, "Lisbon");
    second.desk = first.desk.clone();
    second.minutes(30, 5_000);
    second.minutes(5, 25_000);
    assert_eq!(incidents(&second), incidents(&first));
    let mut later = Story::learned(3, "Porto");
    later.desk = first.desk.clone();
    later.minutes(40, 5_000);
    later.minutes(5, 25_000);
    assert_ne!(incidents(&later), incidents(&first));
}
