//! Promises about paths, edges, names and targets.

use std::net::{IpAddr, Ipv4Addr};

use firstmile_wire::v1::TraceKind;

use super::*;
use crate::api::types::{Event, EventClass, GeographyLevel, PathIdentity};
use crate::detect::{PathBrief, PathMemory, PathState};
use crate::ingest::batch::{Flow, Hop, Resolution, Round, Sighting};
use crate::registry::Target;
use crate::store::ByAgent;
use crate::store::past::PastQuery;

const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

pub(super) fn round(at_unix_ms: i64, target: &str) -> Round {
    let hop = Hop {
        ttl: 1,
        address: Some(ROUTER),
        rtt_us: 700,
        reply_ttl: 64,
        icmp: 11 * 256,
        seen_unix_ms: Some(at_unix_ms - 1),
    };
    let silent = Hop {
        ttl: 2,
        address: None,
        rtt_us: 0,
        reply_ttl: 0,
        icmp: 0,
        seen_unix_ms: None,
    };
    Round {
        at_unix_ms,
        target: Arc::from(target),
        destination: ROUTER,
        kind: TraceKind::Tcp,
        burst: true,
        flows: vec![Flow {
            flow_id: 33_434,
            hops: vec![hop, silent],
            destination_ttl: Some(3),
        }],
        stream: firstmile_wire::v1::TraceStream::Full,
        nat64: None,
    }
}

pub(super) fn sighting(at_unix_ms: i64) -> Sighting {
    Sighting {
        at_unix_ms,
        target: Arc::from("a"),
        destination: Some(ROUTER),
        http_status: 200,
        headers: vec![("x-feserver".to_owned(), "AM0PR01CA0001".to_owned())],
    }
}

pub(super) fn resolution(at_unix_ms: i64, ipv6: bool) -> Resolution {
    Resolution {
        at_unix_ms,
        target: Arc::from("a"),
        resolver: "192.0.2.53:53".to_owned(),
        ipv6,
        outcome: Outcome::Answered,
        addresses: vec![ROUTER],
        cname_chain: vec!["edge.example.net".to_owned()],
        ttl_s: 60,
    }
}

pub(super) fn identity(router: &str) -> PathIdentity {
    PathIdentity {
        ingress_routers: vec![router.to_owned()],
        as_path: vec![64_496, 64_497],
        ..PathIdentity::default()
    }
}

pub(crate) async fn the_newest_of_its_kind_is_kept(store: &impl Store) {
    let agent = settle(store, &site(1, None, None), 1).await;
    let mut sender = Sender::default();
    for at in [T0, T0 + 2, T0 + 1] {
        let memory = PathMemory::default();
        let applied = Applied {
            latest_rounds: vec![round(at, "a"), round(T0, "b")],
            sightings: vec![sighting(at)],
            resolutions: vec![resolution(at, false), resolution(T0, true)],
            path_memories: vec![("a".to_owned(), memory)],
            ..Applied::default()
        };
        sender.apply(store, agent, applied).await;
    }
    let organisation = default_organisation();
    assert_eq!(
        store.latest_rounds(&organisation, agent).await.unwrap(),
        [round(T0 + 2, "a"), round(T0, "b")]
    );
    assert_eq!(
        store
            .sightings(&organisation, &Scope::Agent(agent))
            .await
            .unwrap(),
        ByAgent::from([(agent, vec![sighting(T0 + 2)])])
    );
    assert_eq!(
        store
            .resolutions(&organisation, &Scope::Agent(agent))
            .await
            .unwrap(),
        ByAgent::from([(agent, vec![resolution(T0 + 2, false), resolution(T0, true)])])
    );
    let memories = store.path_memories(&organisation, agent).await.unwrap();
    let kept = |memory: &PathMemory| memory.to_bytes().unwrap();
    assert_eq!(memories.len(), 1);
    assert_eq!(kept(&memories["a"]), kept(&PathMemory::default()));
}

pub(crate) async fn what_is_known_comes_by_scope(store: &impl Store) {
    let here = settle(store, &site(1, Some("NL"), None), 1).await;
    let there = settle(store, &site(2, Some("DE"), None), 2).await;
    settle(store, &site(3, Some("FR"), None), 3).await; // has told nothing
    let mut sender = Sender::default();
    let memory = PathMemory {
        latest: Some(identity("r1")),
        newest_unix_ms: Some(T0),
        ..PathMemory::default()
    };
    for (agent, name) in [(here, "a"), (there, "b")] {
        let applied = Applied {
            latest_rounds: vec![round(T0, name), round(T0, "untold")],
            path_memories: vec![(name.to_owned(), memory.clone())],
            targets: vec![target(name)],
            ..Applied::default()
        };
        sender.apply(store, agent, applied).await;
    }
    let netherlands = Scope::Geography(GeographyLevel::Country, "NL".to_owned());
    for (scope, want) in [
        (Scope::World, vec![(here, "a"), (there, "b")]),
        (netherlands, vec![(here, "a")]),
        (Scope::Agent(there), vec![(there, "b")]),
        (Scope::Agent(agent_id(9)), vec![]),
    ] {
        let organisation = default_organisation();
        let targets = want
            .iter()
            .map(|(agent, name)| (*agent, vec![target(name)]));
        let found = store.targets(&organisation, &scope).await.unwrap();
        assert_eq!(found, targets.collect(), "{scope:?}");
        let brief = || PathBrief::from(&memory);
        let briefs = want
            .iter()
            .map(|(agent, name)| (*agent, vec![((*name).to_owned(), brief())]));
        let found = store.path_briefs(&organisation, &scope).await.unwrap();
        assert_eq!(found, briefs.collect(), "{scope:?}");
        let to = |target: &str| (target.to_owned(), round(T0, target).destination);
        let destinations = want
            .iter()
            .map(|(agent, name)| (*agent, vec![to(name), to("untold")]));
        let found = store.destinations(&organisation, &scope).await.unwrap();
        assert_eq!(found, destinations.collect(), "{scope:?}");
    }
    assert_eq!(PathBrief::from(&memory).state(), PathState::Learning);
}

pub(crate) async fn spans_follow_the_path(store: &impl Store) {
    let agent = settle(store, &site(1, None, None), 1).await;
    let mut sender = Sender::default();
    // The last one comes after a silence: what was before is not known to have stayed.
    let rounds = [
        (0, "r1"),
        (1, "r1"),
        (2, "r2"),
        (3, "r1"),
        (4, "r1"),
        (10, "r1"),
    ];
    let told =
        |(at, router): &(i64, &str)| ("a".to_owned(), T0 + at * MINUTE, identity(router).into());
    for part in rounds.chunks(2) {
        let applied = Applied {
            identities: part.iter().map(told).collect(),
            ..Applied::default()
        };
        sender.apply(store, agent, applied).await;
    }
    let spans = store
        .spans(&default_organisation(), agent, "a", 9)
        .await
        .unwrap();
    let told: Vec<_> = spans
        .iter()
        .map(|span| {
            (
                (span.from_unix_ms - T0) / MINUTE,
                (span.to_unix_ms - T0) / MINUTE,
                span.rounds,
            )
        })
        .collect();
    assert_eq!(told, [(10, 10, 1), (3, 4, 2), (2, 2, 1), (0, 1, 2)]);
    assert_eq!(spans[2].identity, identity("r2"));
    assert_eq!(
        store
            .spans(&default_organisation(), agent, "a", 1)
            .await
            .unwrap(),
        spans[..1]
    );
    assert_eq!(
        store
            .spans(&default_organisation(), agent, "b", 9)
            .await
            .unwrap(),
        []
    );
}

pub(crate) async fn the_past_of_several_agents_is_told_at_once(store: &impl Store) {
    let agent = settle(store, &site(1, None, None), 1).await;
    let mut sender = Sender::default();
    for (at, router) in [(0, "r1"), (1, "r1"), (2, "r2"), (3, "r1"), (10, "r1")] {
        let applied = Applied {
            identities: vec![("a".to_owned(), T0 + at * MINUTE, identity(router).into())],
            ..Applied::default()
        };
        sender.apply(store, agent, applied).await;
    }
    let spans = store.spans(&default_organisation(), agent, "a", 9).await;
    let spans = spans.unwrap();
    let since = |minutes: i64, spans_each| PastQuery {
        agents: vec![agent],
        from_unix_ms: T0 + minutes * MINUTE,
        to_unix_ms: T0 + 10 * MINUTE,
        spans_each,
        failures: 9,
    };
    let path = (agent, "a".to_owned());
    for (query, want) in [
        (since(0, 9), &spans[1..]),
        (since(0, 1), &spans[1..2]),
        (since(3, 9), &spans[1..2]),
    ] {
        let past = store.past(&default_organisation(), query).await.unwrap();
        assert_eq!(past.spans.get(&path).map(Vec::as_slice), Some(want));
        assert!(past.spans.len() == 1 && past.failures.is_empty());
    }
    let moved = events::event("moved", agent, T0 + MINUTE, None);
    let failed = Event {
        event_id: "failed".to_owned(),
        class: EventClass::Unreachable,
        ..moved.clone()
    };
    let applied = Applied {
        events: vec![moved, failed],
        ..Applied::default()
    };
    sender.apply(store, agent, applied).await;
    let past = store.past(&default_organisation(), since(0, 9)).await;
    let failures = past.unwrap().failures;
    let failures: Vec<&str> = failures.iter().map(|one| one.event_id.as_str()).collect();
    assert_eq!(failures, ["failed"], "a path that moves is none");
}

pub(crate) async fn names_of_hops_are_kept(store: &impl Store) {
    let agent = settle(store, &site(1, None, None), 1).await;
    let mut sender = Sender::default();
    let names = |names: &[(&str, Option<&str>)]| Applied {
        hop_names: names
            .iter()
            .map(|(address, name)| ((*address).to_owned(), name.map(str::to_owned)))
            .collect(),
        ..Applied::default()
    };
    sender
        .apply(
            store,
            agent,
            names(&[
                ("192.0.2.1", Some("r1.example.net")),
                ("192.0.2.2", None),
                ("192.0.2.3", Some("r3.example.net")),
            ]),
        )
        .await;
    sender
        .apply(
            store,
            agent,
            names(&[("192.0.2.1", Some("r1b.example.net")), ("192.0.2.3", None)]),
        )
        .await;
    let asked = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"].map(str::to_owned);
    let found = store
        .hop_names(&default_organisation(), &asked)
        .await
        .unwrap();
    assert_eq!(
        found,
        BTreeMap::from([("192.0.2.1".to_owned(), "r1b.example.net".to_owned())])
    );
    assert_eq!(
        store.hop_names(&default_organisation(), &[]).await.unwrap(),
        BTreeMap::new()
    );
}

pub(super) fn target(name: &str) -> Target {
    Target {
        name: name.to_owned(),
        host: format!("{name}.example.com"),
        port: 443,
        service: "custom".to_owned(),
    }
}

pub(crate) async fn targets_no_longer_measured_go(store: &impl Store) {
    let agent = settle(store, &site(1, None, None), 1).await;
    for (sequence, minutes, names) in [
        (1u64, 0, vec!["a", "b"]),
        (2, 1, vec!["b"]),
        (3, 20, vec!["b", "c"]),
    ] {
        let key = key(agent, sequence);
        let received = InboxReport {
            received_unix_ms: T0 + minutes * MINUTE,
            ..report(key.clone())
        };
        store.append(vec![received]).await.unwrap();
        let targets = names.into_iter().map(target).collect();
        store
            .apply(
                &key,
                Applied {
                    targets,
                    ..Applied::default()
                },
            )
            .await
            .unwrap();
        if sequence == 2 {
            assert_eq!(
                measured(store, agent).await,
                [target("a"), target("b")],
                "one report may speak of a part"
            );
        }
    }
    assert_eq!(measured(store, agent).await, [target("b"), target("c")]);
}

async fn measured(store: &impl Store, agent: AgentId) -> Vec<Target> {
    let scope = Scope::Agent(agent);
    let targets = store.targets(&default_organisation(), &scope).await;
    targets.unwrap().remove(&agent).unwrap_or_default()
}
