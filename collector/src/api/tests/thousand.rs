//! How long the lists take with a thousand agents: a measurement, not a test of the machine that happens to run it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use firstmile_wire::ids::{AgentId, Epoch, OrganisationId, ReportKey};
use firstmile_wire::v1::{Outcome, Phase, Protocol, TraceKind};
use tracing::info;
use uuid::Uuid;

use super::desk::{Desk, NOW, desk};
use crate::clock;
use crate::detect::PathMemory;
use crate::detect::tests::Story;
use crate::geo::Geography;
use crate::ingest::batch::{Flow, Hop, Resolution, Round, Sample, Sighting};
use crate::registry::{Agent, Site, SiteId, Target};
use crate::store::{Applied, InboxReport};

const AGENTS: u128 = 1_000;
const TARGETS: [&str; 5] = ["exchange", "sharepoint", "teams", "login", "graph"];
const MINUTES: i64 = 15;

/// Run it with `cargo test -p firstmile-collector thousand -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement of a minute"]
async fn the_lists_of_a_thousand_agents() {
    let desk = desk().await;
    let organisation = OrganisationId::default_organisation();
    let memory = remembered();
    for number in 1..=AGENTS {
        settle(&desk, &organisation, number, &memory).await;
    }
    desk.store.maintain(NOW).await.expect("maintains");
    tracing_subscriber::fmt().with_test_writer().init();
    for path in ["agents", "status", "geographies", "latency?scope=world"] {
        for run in ["first", "second", "third"] {
            let start = clock::now();
            let answer = desk.get(&format!("/api/v1/{path}")).await;
            let took = clock::now() - start;
            assert_eq!(answer.status, 200, "{path}");
            info!(path, run, ?took, bytes = answer.text.len(), "answered");
        }
    }
}

async fn settle(desk: &Desk, organisation: &OrganisationId, number: u128, memory: &PathMemory) {
    let site = Site {
        id: SiteId(Uuid::from_u128(number.div_ceil(4) << 64)),
        organisation: organisation.clone(),
        name: format!("site {}", number.div_ceil(4)),
        geography: Geography {
            country: Some(["NL", "DE", "FR", "JP"][(number % 4) as usize].to_owned()),
            ..Geography::default()
        },
    };
    desk.store.put_site(&site).await.expect("puts");
    let agent = Agent {
        id: AgentId(Uuid::from_u128(number)),
        organisation: organisation.clone(),
        site: site.id,
        hostname: format!("host-{number}"),
        version: "0.1.0".to_owned(),
        os: Some("Debian".to_owned()),
        icmp_capability: Some("raw".to_owned()),
        enrolled_unix_ms: NOW,
        last_seen_unix_ms: Some(NOW),
        spool_dropped_reports: 0,
        revoked: false,
        usual_gap_ms: 0,
    };
    let key = ReportKey {
        organisation: organisation.clone(),
        agent: agent.id,
        epoch: Epoch(Uuid::from_u128(1)),
        sequence: 1,
    };
    let report = InboxReport {
        key: key.clone(),
        received_unix_ms: NOW,
        frame: vec![0],
    };
    desk.store.append(vec![report]).await.expect("appends");
    let applied = applied(agent, memory);
    desk.store.apply(&key, applied).await.expect("applies");
}

fn applied(agent: Agent, memory: &PathMemory) -> Applied {
    let address = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
    let resolution = |target: &&str, ipv6| Resolution {
        at_unix_ms: NOW,
        target: Arc::from(*target),
        resolver: "192.0.2.53".to_owned(),
        ipv6,
        outcome: Outcome::Answered,
        addresses: vec![address],
        cname_chain: vec!["edge.example.net".to_owned()],
        ttl_s: 60,
    };
    let sighting = |target: &&str| Sighting {
        at_unix_ms: NOW,
        target: Arc::from(*target),
        destination: Some(address),
        http_status: 401,
        headers: vec![("x-feefzinfo".to_owned(), "FRA".to_owned())],
    };
    let target = |target: &&str| Target {
        name: (*target).to_owned(),
        host: format!("{target}.example"),
        port: 443,
        service: "m365".to_owned(),
    };
    Applied {
        samples: samples(address),
        latest_rounds: TARGETS.iter().map(|target| round(target, NOW)).collect(),
        path_memories: TARGETS
            .iter()
            .map(|target| ((*target).to_owned(), memory.clone()))
            .collect(),
        sightings: TARGETS.iter().map(sighting).collect(),
        resolutions: TARGETS
            .iter()
            .flat_map(|target| [resolution(target, false), resolution(target, true)])
            .collect(),
        targets: TARGETS.iter().map(target).collect(),
        agent: Some(agent),
        ..Applied::default()
    }
}

/// One of each kind a minute: as many cells as the default plan makes.
fn samples(address: IpAddr) -> Vec<Sample> {
    let kinds = [
        (Protocol::Tcp, Phase::Rtt),
        (Protocol::Icmp, Phase::Rtt),
        (Protocol::Https, Phase::Connect),
        (Protocol::Dns, Phase::Dns),
    ];
    let minutes = 0..MINUTES;
    let all = minutes.flat_map(|minute| TARGETS.iter().map(move |target| (minute, target)));
    all.flat_map(|(minute, target)| {
        kinds.map(|(protocol, phase)| Sample {
            at_unix_ms: NOW - minute * 60_000,
            target: Arc::from(*target),
            destination: Some(address),
            protocol,
            phase,
            outcome: Outcome::Answered,
            rtt_us: 10_000,
            reply_ttl: 0,
            marks: crate::ingest::batch::Marks::default(),
            scheduling_delay_us: 0,
        })
    })
    .collect()
}

/// Eight flows of twelve hops.
fn round(target: &str, at_unix_ms: i64) -> Round {
    let destination = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
    let hop = |ttl: u8| Hop {
        ttl: u32::from(ttl),
        address: Some(match ttl {
            12 => destination,
            6.. => Ipv4Addr::new(198, 51, 100, ttl).into(),
            _ => Ipv4Addr::new(192, 0, 2, ttl).into(),
        }),
        rtt_us: 1_000 * u32::from(ttl),
        reply_ttl: 60,
        icmp: 11 * 256,
        seen_unix_ms: None,
    };
    let flow = |flow_id| Flow {
        flow_id,
        hops: (1..=12).map(hop).collect(),
        destination_ttl: Some(12),
    };
    Round {
        at_unix_ms,
        target: Arc::from(target),
        destination,
        kind: TraceKind::Tcp,
        burst: false,
        stream: firstmile_wire::v1::TraceStream::Full,
        nat64: None,
        flows: (0..8).map(flow).collect(),
    }
}

/// What the path comparison remembers of a path that is learned.
fn remembered() -> PathMemory {
    let memory = Story::learned(1, "site").memory;
    PathMemory {
        newest_unix_ms: Some(NOW),
        ..memory
    }
}
