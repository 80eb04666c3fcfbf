//! A collector's desk: a store with two organisations, and requests to its router.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::request::Builder;
use axum::http::{HeaderMap, Request, StatusCode, header};
use firstmile_wire::ids::{AgentId, Epoch, OrganisationId, ReportKey};
use firstmile_wire::join::CaHash;
use firstmile_wire::v1::{Outcome, Phase, Protocol, TraceKind, TraceStream};
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use uuid::Uuid;

use crate::api::types::{Event, EventClass, Handshake, HostState, PathIdentity};
use crate::api::{ApiState, LiveMessage, router};
use crate::auth::login::{Logins, set_login};
use crate::clock;
use crate::detect::PathMemory;
use crate::detect::tests::Story;
use crate::geo::{Declared, Meaning};
use crate::ingest::Counters;
use crate::ingest::batch::{Flow, Hop, Resolution, Round, Sample, Sighting};
use crate::ingest::facts::{Fact, FactKind};
use crate::registry::invite::Inviter;
use crate::registry::rollout::{Rollout, Stage};
use crate::registry::{Agent, Site, SiteId, Target};
use crate::store::{Applied, InboxReport, Store, embedded};

/// The collector's clock in these tests: 2026-01-01T00:30:30Z.
pub(super) const NOW: i64 = 1_767_227_430_000;
pub(super) const PASSWORD: &str = "correct horse";
const NETWORKS: &str =
    "192.0.2.0/24,64500,Access\n198.51.100.0/24,8075,Microsoft\n203.0.113.0/24,8075,Microsoft\n";

pub(super) struct Desk {
    pub(super) store: Arc<dyn Store>,
    pub(super) live: broadcast::Sender<LiveMessage>,
    pub(super) router: Router,
    pub(super) folder: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(super) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A page of the default organisation for its own machine.
pub(super) async fn desk() -> Desk {
    open(false).await
}

/// A page that listens beyond loopback.
pub(super) async fn public_desk() -> Desk {
    open(true).await
}

async fn open(login_required: bool) -> Desk {
    let folder = tempfile::tempdir().expect("a folder");
    let store: Arc<dyn Store> = Arc::new(embedded::open(folder.path()).await.expect("opens"));
    set_login(folder.path(), "admin", PASSWORD).expect("sets");
    let url = "https://collector.example:8443".parse().expect("a URL");
    let meaning = Meaning::builtin()
        .with_ip_to_as_csv(NETWORKS)
        .expect("a table");
    let live = broadcast::channel(8).0;
    let state = ApiState {
        store: Arc::clone(&store),
        meaning: Arc::new(crate::geo::Tables::new(meaning)),
        live: live.clone(),
        counters: Arc::new(Counters::default()),
        logins: Arc::new(Logins::open(folder.path()).expect("opens")),
        registry: Arc::default(),
        feeds: Arc::default(),
        inviter: Arc::new(Inviter::new(Arc::clone(&store), url, CaHash([7; 32]))),
        login_required,
        tls: login_required,
        hint_lab: false,
        rollout: watch::channel(Rollout::new(vec![Stage {
            version: "0.2.0".parse().expect("a version"),
            share: 100,
            sites: vec!["Amsterdam".to_owned()],
        }]))
        .1,
        now_unix_ms: || NOW,
        now: clock::now as fn() -> Instant,
        stop: CancellationToken::new(),
    };
    Desk {
        store,
        live,
        router: router(state),
        folder,
    }
}

/// A request from the collector's own machine; headers may be added.
pub(super) fn request(method: &str, path: &str) -> Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost:8080")
}

impl Desk {
    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        self.send_from(IpAddr::V4(Ipv4Addr::LOCALHOST), request)
            .await
    }

    pub(super) async fn send_from(&self, peer: IpAddr, mut request: Request<Body>) -> Answer {
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::new(peer, 40_000)));
        let response = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("it always answers");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text,
        }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path).body(Body::empty()).expect("a request"))
            .await
    }

    pub(super) async fn change(&self, method: &str, path: &str, body: &str) -> Answer {
        let body = Body::from(body.to_owned());
        self.send(request(method, path).body(body).expect("a request"))
            .await
    }

    /// Fills an organisation with a site, an agent, and a report on three targets.
    pub(super) async fn fill(
        &self,
        organisation: &OrganisationId,
        name: &str,
        seed: u128,
    ) -> Seeded {
        let site = site(organisation, name, seed);
        self.store.put_site(&site).await.expect("puts");
        let agent = agent(organisation, site.id, name, seed);
        let key = ReportKey {
            organisation: organisation.clone(),
            agent: agent.id,
            epoch: Epoch(Uuid::from_u128(seed)),
            sequence: 1,
        };
        let report = InboxReport {
            key: key.clone(),
            received_unix_ms: NOW,
            frame: vec![0],
        };
        self.store.append(vec![report]).await.expect("appends");
        let event = event(&agent, &site);
        self.store
            .apply(&key, applied(&agent, &event))
            .await
            .expect("applies");
        Seeded {
            site,
            agent: agent.id,
            event_id: event.event_id,
        }
    }

    /// The agent's path to `sharepoint` was in Amsterdam for five minutes, at 10 ms, then in Frankfurt for nearly ten, at 25 ms.
    pub(super) async fn fails_over(&self, seeded: &Seeded) {
        let organisation = &seeded.site.organisation;
        let key = ReportKey {
            organisation: organisation.clone(),
            agent: seeded.agent,
            epoch: Epoch(Uuid::from_u128(7)),
            sequence: 1,
        };
        let report = InboxReport {
            key: key.clone(),
            received_unix_ms: NOW,
            frame: vec![0],
        };
        self.store.append(vec![report]).await.expect("appends");
        let somebody = agent(organisation, seeded.site.id, "somebody", 7);
        let event = event(&somebody, &seeded.site);
        let (mut identities, mut timed) = (Vec::new(), Vec::new());
        for ago_s in (10..900).rev().step_by(30) {
            let at = NOW - ago_s * 1_000;
            let (identity, rtt_us) = if ago_s > 600 {
                (&event.before, 10_000)
            } else {
                (&event.after, 25_000)
            };
            identities.push(("sharepoint".to_owned(), at, identity.clone().into()));
            timed.push(Sample {
                at_unix_ms: at,
                target: "sharepoint".into(),
                rtt_us,
                ..samples(Ipv4Addr::new(203, 0, 113, 11).into()).swap_remove(0)
            });
        }
        let applied = Applied {
            samples: timed,
            identities,
            ..Applied::default()
        };
        self.store.apply(&key, applied).await.expect("applies");
    }
}

/// What an organisation was filled with.
pub(super) struct Seeded {
    pub(super) site: Site,
    pub(super) agent: AgentId,
    pub(super) event_id: String,
}

fn site(organisation: &OrganisationId, name: &str, seed: u128) -> Site {
    let declared = Declared {
        country: Some("NL".to_owned()),
        subdivision: Some("NL-NH".to_owned()),
        metro: Some("Amsterdam".to_owned()),
        latitude: Some(52.37),
        longitude: Some(4.9),
    };
    Site {
        id: SiteId(Uuid::from_u128(seed)),
        organisation: organisation.clone(),
        name: name.to_owned(),
        geography: declared.parse().expect("a place"),
    }
}

fn agent(organisation: &OrganisationId, site: SiteId, name: &str, seed: u128) -> Agent {
    Agent {
        id: AgentId(Uuid::from_u128(seed + 1)),
        organisation: organisation.clone(),
        site,
        hostname: format!("host-{name}"),
        version: "0.1.0".to_owned(),
        os: Some("Debian".to_owned()),
        icmp_capability: Some("raw".to_owned()),
        enrolled_unix_ms: NOW - 3_600_000,
        last_seen_unix_ms: Some(NOW - 5_000),
        spool_dropped_reports: 0,
        revoked: false,
        usual_gap_ms: 0,
    }
}

fn facts() -> Vec<Fact> {
    let host = HostState {
        at_unix_ms: NOW,
        gateway: Some("192.0.2.254".to_owned()),
        ..HostState::default()
    };
    let handshake = Handshake {
        at_unix_ms: NOW,
        target: "exchange".to_owned(),
        issuer: "CN=Public CA".to_owned(),
        ..Handshake::default()
    };
    let host = Fact::new(FactKind::Host, String::new(), NOW, &host);
    let handshake = Fact::new(FactKind::Handshake, "exchange".to_owned(), NOW, &handshake);
    host.into_iter().chain(handshake).collect()
}

/// A path that is shifted.
fn shifted() -> PathMemory {
    let mut story = Story::learned(1, "Utrecht");
    story.enters_at(3, 11_000);
    story.rounds(TraceStream::Burst, 3);
    story.memory
}

fn applied(agent: &Agent, event: &Event) -> Applied {
    let identity = event.after.clone();
    let memory = PathMemory {
        latest: Some(identity.clone()),
        open: vec![event.clone()],
        newest_unix_ms: Some(NOW - 10_000),
        ..shifted()
    };
    let address: IpAddr = Ipv4Addr::new(203, 0, 113, 10).into();
    let resolution = |target: &str, outcome, addresses: Vec<IpAddr>| Resolution {
        at_unix_ms: NOW - 60_000,
        target: target.into(),
        resolver: "192.0.2.53".to_owned(),
        ipv6: false,
        outcome,
        addresses,
        cname_chain: Vec::new(),
        ttl_s: 60,
    };
    Applied {
        samples: samples(address),
        latest_rounds: vec![round(address)],
        usual_rounds: vec![round(address)],
        event_rounds: vec![(event.event_id.clone(), round(address))],
        identities: vec![
            (
                "exchange".to_owned(),
                NOW - 600_000,
                event.before.clone().into(),
            ),
            ("exchange".to_owned(), NOW - 10_000, identity.into()),
        ],
        path_memories: vec![("exchange".to_owned(), memory)],
        facts: facts(),
        events: vec![event.clone()],
        hop_names: vec![(
            "198.51.100.11".to_owned(),
            Some("ae1-0.ier01.fra30.ntwk.msn.net".to_owned()),
        )],
        sightings: vec![Sighting {
            at_unix_ms: NOW - 60_000,
            target: "exchange".into(),
            destination: Some(address),
            http_status: 401,
            headers: vec![("x-feefzinfo".to_owned(), "FRA".to_owned())],
        }],
        resolutions: vec![
            resolution("exchange", Outcome::Answered, vec![address]),
            resolution("sharepoint", Outcome::DnsFailed, Vec::new()),
        ],
        targets: ["exchange", "sharepoint", "teams"].map(target).to_vec(),
        agent: Some(agent.clone()),
    }
}

fn target(name: &str) -> Target {
    Target {
        name: name.to_owned(),
        host: format!("{name}.example"),
        port: 443,
        service: "m365".to_owned(),
    }
}

/// A minute of TCP at 10 ms with one loss in ten, ICMP that nobody answers, and names that do not resolve.
fn samples(address: IpAddr) -> Vec<Sample> {
    let sample = |n: i64, target: &str, destination, protocol, outcome, rtt_us| Sample {
        at_unix_ms: NOW - 90_000 + n * 5_000,
        target: target.into(),
        destination,
        protocol,
        phase: if protocol == Protocol::Dns {
            Phase::Dns
        } else {
            Phase::Rtt
        },
        outcome,
        rtt_us,
        reply_ttl: 0,
        marks: crate::ingest::batch::Marks::default(),
        scheduling_delay_us: 0,
    };
    let exchange = (0..10).flat_map(|n| {
        let (outcome, rtt_us) = if n == 3 {
            (Outcome::Timeout, 0)
        } else {
            (Outcome::Answered, 10_000)
        };
        let to = Some(address);
        [
            sample(n, "exchange", to, Protocol::Tcp, outcome, rtt_us),
            sample(n, "exchange", to, Protocol::Icmp, Outcome::Timeout, 0),
            sample(n, "sharepoint", None, Protocol::Tcp, Outcome::DnsFailed, 0),
        ]
    });
    exchange.collect()
}

/// Gateway, access network, silence for half of the flows, Frankfurt, destination.
fn round(destination: IpAddr) -> Round {
    let address = |a, b, c, d| Some(IpAddr::from([a, b, c, d]));
    let flow = |flow_id: u32| {
        let third = if flow_id.is_multiple_of(2) {
            address(192, 0, 2, 9)
        } else {
            None
        };
        let hops = [
            address(10, 0, 0, 1),
            address(192, 0, 2, 1),
            third,
            address(198, 51, 100, 11),
            Some(destination),
        ];
        let hop = |(ttl, address): (u32, Option<IpAddr>)| Hop {
            ttl,
            address,
            rtt_us: if address.is_some() {
                ttl * 1_000 + flow_id
            } else {
                0
            },
            reply_ttl: 60,
            icmp: 11 * 256,
            seen_unix_ms: None,
        };
        Flow {
            flow_id,
            hops: (1..).zip(hops).map(hop).collect(),
            destination_ttl: Some(5),
        }
    };
    Round {
        at_unix_ms: NOW - 10_000,
        target: "exchange".into(),
        destination,
        kind: TraceKind::Tcp,
        burst: false,
        stream: TraceStream::Full,
        nat64: None,
        flows: (0..4).map(flow).collect(),
    }
}

fn event(agent: &Agent, site: &Site) -> Event {
    let identity = |metro: &str, router: &str| PathIdentity {
        as_path: vec![64500, 8075],
        ingress_metros: vec![metro.to_owned()],
        ingress_routers: vec![router.to_owned()],
        edge_metros: Vec::new(),
    };
    Event {
        event_id: Uuid::from_u128(agent.id.0.as_u128() + 1).to_string(),
        class: EventClass::Geo,
        state: "open".to_owned(),
        agent_id: agent.id.to_string(),
        site_name: site.name.clone(),
        country: Some("NL".to_owned()),
        target: "exchange".to_owned(),
        last_good_unix_ms: NOW - 120_000,
        first_novel_unix_ms: NOW - 110_000,
        detected_unix_ms: NOW - 100_000,
        reopened_unix_ms: None,
        reopenings: 0,
        ended_unix_ms: None,
        ending: None,
        before: identity("AMS", "ier01.ams30"),
        after: identity("FRA", "ier01.fra30"),
        before_rtt_us: Some(4_000),
        after_rtt_us: Some(10_000),
        text: format!("{} → exchange: moved", site.name),
        reasons: vec!["3 rounds".to_owned()],
        ..Event::default()
    }
}

/// An organisation that is not the one that loopback sees.
pub(super) fn other_organisation() -> OrganisationId {
    OrganisationId::try_from("other".to_owned()).expect("a good word")
}
