//! Promises about verdicts of routing.

use firstmile_peering::answer::Change;
use firstmile_peering::id::{Kind, ResourceId};
use firstmile_peering::model::{Envelope, Properties, Resource, Service, ServicePrefix};
use firstmile_routing::asn::Asn;
use firstmile_routing::class::{Class, Severity};
use firstmile_routing::counts::RouteCounts;
use firstmile_routing::remedy::Remedy;
use firstmile_routing::verdict::{Ending, Phase, Verdict};

use super::events::event;
use super::*;
use crate::api::types::{Event, EventClass, Incident};
use crate::store::routing::VerdictQuery;

fn verdict(phase: Phase, class: Class, offender: Option<u32>, at: f64) -> Verdict {
    Verdict {
        at,
        phase,
        class,
        prefix: "198.51.100.0/24".parse().unwrap(),
        matched: Some("198.51.100.0/24".parse().unwrap()),
        offender: offender.map(Asn),
        severity: Severity::Critical,
        peers: 2,
        others: 5,
        reason: "somebody else announces it".to_owned(),
        evidence: vec![("64510 64497".to_owned(), 2)],
        counter: vec!["5 peers have another route to 198.51.100.0/24".to_owned()],
        remedy: Some(Remedy {
            announce: vec!["198.51.100.0/25".parse().unwrap()],
            origin: Some(Asn(64_496)),
            communities: Vec::new(),
            words: vec!["announce 198.51.100.0/25".to_owned()],
        }),
        ending: Ending::Over,
    }
}

pub(crate) async fn a_verdict_is_open_until_its_end_or_a_restart(store: &impl Store) {
    let organisation = default_organisation();
    let hijack = Class::HijackExactOrigin;
    let put = |verdicts| store.put_verdicts(&organisation, verdicts, T0);
    put(vec![
        verdict(Phase::Start, hijack, Some(64_497), 100.5),
        verdict(Phase::Start, hijack, Some(64_498), 101.0),
        verdict(Phase::Start, Class::VisibilityLost, None, 102.0),
        verdict(Phase::Start, Class::RoaChanged, None, 103.0),
    ])
    .await
    .unwrap();
    put(vec![
        verdict(Phase::End, hijack, Some(64_497), 110.0),
        verdict(Phase::End, Class::VisibilityLost, None, 111.0),
        verdict(Phase::Start, hijack, Some(64_497), 112.0),
    ])
    .await
    .unwrap();
    let read = |open| {
        let query = VerdictQuery {
            open,
            from_unix_ms: 0,
            limit: 10,
        };
        store.verdicts(&organisation, query)
    };
    let open = read(Some(true)).await.unwrap();
    let offenders: Vec<_> = open.iter().map(|verdict| verdict.offender).collect();
    assert_eq!(offenders, [Some(64_497), Some(64_498)], "newest first");
    assert_eq!(open[0].evidence[0].as_path, "64510 64497");
    let closed = read(Some(false)).await.unwrap();
    assert_eq!(closed.len(), 3, "a change of RPKI is a moment");
    let first = closed
        .iter()
        .find(|verdict| verdict.offender == Some(64_497))
        .unwrap();
    assert_eq!(
        (first.started_unix_ms, first.ended_unix_ms),
        (100_500, Some(110_000))
    );
    // A collector that starts anew sees one of the two again, and it goes on; the other one is no longer so.
    let (again, later) = (T0 + MINUTE, T0 + HOUR);
    let seen = vec![verdict(Phase::Start, hijack, Some(64_498), 150.0)];
    store
        .put_verdicts(&organisation, seen, again)
        .await
        .unwrap();
    store
        .end_unconfirmed_verdicts(&organisation, again, later)
        .await
        .unwrap();
    let open = read(Some(true)).await.unwrap();
    let [open] = open.as_slice() else {
        panic!("{open:?}");
    };
    assert_eq!(
        (open.offender, open.started_unix_ms),
        (Some(64_498), 101_000)
    );
    let all = read(None).await.unwrap();
    assert_eq!(all.len(), 5);
    let restarted = all
        .iter()
        .filter(|verdict| verdict.ending.as_deref() == Some("restart"));
    assert_eq!(restarted.count(), 1);
}

fn seconds(unix_ms: i64) -> f64 {
    f64::from(i32::try_from(unix_ms / 1_000).unwrap())
}

async fn incident(store: &impl Store, id: &str) -> Incident {
    store.incident(&default_organisation(), id).await.unwrap()
}

/// Verdicts in, the incidents that changed out.
async fn put(store: &impl Store, verdicts: Vec<Verdict>, now: i64) -> Vec<String> {
    let organisation = default_organisation();
    let put = store.put_verdicts(&organisation, verdicts, now);
    put.await.unwrap().into_iter().collect()
}

pub(crate) async fn an_open_verdict_without_an_incident_gets_one_when_it_is_told_gravely(
    store: &impl Store,
) {
    let class = Class::HijackExactOrigin;
    let quiet = Verdict {
        severity: Severity::Information,
        ..verdict(Phase::Start, class, Some(64_497), seconds(T0))
    };
    assert_eq!(put(store, vec![quiet], T0).await, [""; 0]);
    let grave = verdict(Phase::Start, class, Some(64_497), seconds(T0) + 60.0);
    let begun = put(store, vec![grave.clone()], T0 + MINUTE).await;
    assert_eq!(begun.len(), 1);
    assert_eq!(put(store, vec![grave], T0 + MINUTE).await, begun);
    let found = incident(store, &begun[0]).await;
    assert_eq!(found.verdicts.len(), 1, "it is the same verdict");
    assert_eq!(found.verdicts[0].started_unix_ms, T0);
}

pub(crate) async fn verdicts_of_one_cause_are_one_incident(store: &impl Store) {
    let at = seconds(T0);
    let of = |phase, class, offender, after| verdict(phase, class, offender, at + after);
    let (hijack, rpki) = (Class::HijackExactOrigin, Class::RpkiInvalidAsn);
    let quiet = Verdict {
        severity: Severity::Information,
        ..of(Phase::Start, Class::RpkiNotFound, Some(64_499), 0.0)
    };
    assert_eq!(
        put(store, vec![quiet], T0).await,
        [""; 0],
        "it is only to know"
    );
    let both = vec![
        of(Phase::Start, hijack, Some(64_497), 0.0),
        of(Phase::Start, rpki, Some(64_497), 0.0),
    ];
    let begun = put(store, both, T0).await;
    let [id] = begun.as_slice() else {
        panic!("{begun:?}");
    };
    let told = incident(store, id).await;
    assert_eq!((told.state.as_str(), told.verdicts_total), ("open", 2));
    assert_eq!(told.class, EventClass::PrefixOriginChange);
    assert_eq!(told.prefix.as_deref(), Some("198.51.100.0/24"));
    assert_eq!(told.verdicts[0].counter_evidence.len(), 1);
    let remedy = told.verdicts[0].remedy.as_ref().expect("it is kept");
    assert_eq!(remedy.words.len(), 1);
    assert!(remedy.bird.contains("198.51.100.0/25") && remedy.frr.contains("router bgp 64496"));
    let check = told.cross_check.expect("it can be asked for");
    assert_eq!(check.grade, "not_testable");
    put(
        store,
        vec![of(Phase::End, hijack, Some(64_497), 60.0)],
        T0 + MINUTE,
    )
    .await;
    assert_eq!(
        incident(store, id).await.state,
        "open",
        "RPKI still says so"
    );
    put(
        store,
        vec![of(Phase::End, rpki, Some(64_497), 70.0)],
        T0 + MINUTE,
    )
    .await;
    let over = incident(store, id).await;
    assert_eq!(
        (
            over.state.as_str(),
            over.ended_unix_ms,
            over.ending.as_deref()
        ),
        ("closed", Some(T0 + 70_000), Some("over"))
    );
    let later = vec![of(Phase::Start, hijack, Some(64_497), 3_600.0)];
    let another_time = put(store, later, T0 + HOUR).await;
    assert!(!another_time.is_empty() && !another_time.contains(id));
    let changes = store.incident_changes(&default_organisation(), 0, 10).await;
    assert_eq!(changes.unwrap().len(), 2);
}

/// A connection of site 1 with the prefix of the verdicts.
async fn register(store: &impl Store) {
    let resource = |kind, names: &[&str], properties| Resource {
        id: ResourceId {
            subscription: "s1".to_owned(),
            group: "net".to_owned(),
            kind,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        },
        envelope: Envelope {
            tags: serde_json::json!({ "sites": "site 1" })
                .as_object()
                .cloned(),
            ..Envelope::default()
        },
        properties,
    };
    let service = Properties::Service(Service::default());
    let prefix = Properties::Prefix(ServicePrefix {
        prefix: "198.51.100.0/24".parse().unwrap(),
        peering_service_prefix_key: None,
    });
    let changes = [
        resource(Kind::PeeringService, &["one"], service),
        resource(Kind::Prefix, &["one", "first"], prefix),
    ];
    let changes = changes.map(|one| Change::Put(Box::new(one))).to_vec();
    let organisation = default_organisation();
    let put = store.change_resources(&organisation, changes, T0, "somebody", "made");
    put.await.unwrap();
}

fn cut_off(id: &str, agent: AgentId, site_name: &str, at: i64) -> Event {
    Event {
        class: EventClass::Unreachable,
        incident_id: Some(format!("path of {id}")),
        site_name: site_name.to_owned(),
        ..event(id, agent, at, None)
    }
}

pub(crate) async fn a_path_that_moves_with_its_prefix_is_one_incident_with_it(store: &impl Store) {
    register(store).await;
    let inside = settle(store, &site(1, None, None), 1).await;
    let outside = settle(store, &site(2, None, None), 2).await;
    let mut sender = Sender::default();
    let mut tell = async |agent, event| {
        let events = vec![event];
        let applied = Applied {
            events,
            ..Applied::default()
        };
        sender.apply(store, agent, applied).await;
    };
    let hijack = |phase, after| {
        let at = seconds(T0) + after;
        vec![verdict(phase, Class::HijackExactOrigin, Some(64_497), at)]
    };
    // Routing first: the path's own incident is a part of it, whichever id is asked for.
    let begun = put(store, hijack(Phase::Start, 0.0), T0).await;
    tell(outside, cut_off("elsewhere", outside, "site 2", T0 + 3_000)).await;
    tell(inside, cut_off("first", inside, "site 1", T0 + 5_000)).await;
    let whole = incident(store, &begun[0]).await;
    assert_eq!((whole.agents_total, whole.verdicts_total), (1, 1));
    assert!(
        whole
            .cause
            .is_some_and(|cause| cause.contains("announces it"))
    );
    let check = whole.cross_check.expect("agents are in the prefix");
    assert_eq!((check.agents, check.agents_hit), (1, 1));
    assert_eq!(incident(store, "path of first").await.incident_id, begun[0]);
    assert_eq!(incident(store, "path of elsewhere").await.verdicts_total, 0);
    put(store, hijack(Phase::End, 30.0), T0 + MINUTE).await;
    assert_eq!(
        incident(store, &begun[0]).await.state,
        "open",
        "nothing is reached yet"
    );
    // The path first: the verdict joins it.
    let later = T0 + HOUR;
    tell(inside, cut_off("second", inside, "site 1", later)).await;
    let joined = put(store, hijack(Phase::Start, 3_660.0), later + MINUTE).await;
    assert_eq!(joined, ["path of second"]);
    // Long after, it is another thing.
    let much_later = hijack(Phase::Start, 20_000.0);
    put(store, hijack(Phase::End, 3_700.0), later + MINUTE).await;
    assert_ne!(
        put(store, much_later, later + DAY).await,
        ["path of second"]
    );
}

pub(crate) async fn counts_of_routes_add_up_month_by_month(store: &impl Store) {
    let organisation = default_organisation();
    let (october, november) = ("2026-10".parse().unwrap(), "2026-11".parse().unwrap());
    let (v4, v6): (ipnet::IpNet, ipnet::IpNet) = (
        "198.51.100.0/24".parse().unwrap(),
        "2001:db8::/32".parse().unwrap(),
    );
    let counts = |withdrawn| RouteCounts {
        withdrawn,
        announced_by_hops: [(2, withdrawn), (3, 1)].into(),
        ..RouteCounts::default()
    };
    for (month, all) in [
        (october, vec![(v4, counts(1))]),
        (november, vec![(v6, counts(2)), (v4, counts(3))]),
        (november, vec![(v4, counts(4))]),
        (november, Vec::new()),
    ] {
        store
            .add_route_counts(&organisation, month, all)
            .await
            .unwrap();
    }
    let read = async |organisation, month| store.route_counts(organisation, month).await.unwrap();
    assert_eq!(read(&organisation, october).await, [(v4, counts(1))]);
    let mut sum = counts(3);
    sum.add(&counts(4));
    assert_eq!(
        read(&organisation, november).await,
        [(v4, sum), (v6, counts(2))]
    );
    assert_eq!(read(&organisation, "2026-12".parse().unwrap()).await, []);
    let other = other_organisation();
    assert_eq!(read(&other, november).await, []);
}
