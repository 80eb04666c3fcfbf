//! Promises about things: sites, agents, join strings, events. And that organisations never meet.

use super::paths::{identity, resolution, round, sighting, target};
use super::*;
use crate::api::types::{Event, EventClass, GeographyLevel};
use crate::detect::PathMemory;
use crate::store::{ByAgent, EventQuery, StoreError};

pub(crate) async fn sites_have_one_name_each(store: &impl Store) {
    let first = site(1, Some("NL"), Some("Amsterdam"));
    store.put_site(&first).await.unwrap();
    let thief = Site {
        name: first.name.clone(),
        ..site(2, None, None)
    };
    let error = store.put_site(&thief).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    let renamed = Site {
        name: "head office".to_owned(),
        ..first.clone()
    };
    store.put_site(&renamed).await.unwrap();
    store.put_site(&thief).await.unwrap();
    let organisation = default_organisation();
    assert_eq!(
        store.sites(&organisation).await.unwrap(),
        [renamed.clone(), thief]
    );
    assert_eq!(store.site(&organisation, first.id).await.unwrap(), renamed);
    assert_eq!(
        store
            .site_by_name(&organisation, "head office")
            .await
            .unwrap(),
        Some(renamed)
    );
    assert_eq!(
        store
            .site_by_name(&organisation, "no such office")
            .await
            .unwrap(),
        None
    );
    let error = store
        .site(&organisation, SiteId(Uuid::from_u128(9)))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
}

pub(crate) async fn a_country_is_noted_unless_somebody_declared_one(store: &impl Store) {
    let organisation = default_organisation();
    let noted = async |id, country: &str| {
        let noted = store.note_country(&organisation, id, country).await;
        (
            noted.unwrap(),
            store.site(&organisation, id).await.unwrap().geography,
        )
    };
    let table = |country: &str| Geography {
        country: Some(country.to_owned()),
        source: GeographySource::CountryTable,
        ..Geography::default()
    };
    let declared = site(1, None, Some("Utrecht"));
    let unknown = Site {
        geography: Geography::default(),
        ..site(2, None, None)
    };
    for site in [&declared, &unknown] {
        store.put_site(site).await.unwrap();
    }
    assert_eq!(noted(declared.id, "NL").await, (false, declared.geography));
    assert_eq!(noted(unknown.id, "NL").await, (true, table("NL")));
    assert_eq!(
        noted(unknown.id, "NL").await,
        (false, table("NL")),
        "no news"
    );
    assert_eq!(
        noted(unknown.id, "DE").await,
        (true, table("DE")),
        "it moved"
    );
    let nowhere = SiteId(Uuid::from_u128(9));
    let error = store.note_country(&organisation, nowhere, "NL").await;
    assert!(matches!(error, Err(StoreError::NotFound { .. })));
}

pub(crate) async fn a_join_string_is_spent_once(store: &impl Store) {
    let home = site(1, None, None);
    store.put_site(&home).await.unwrap();
    store.put_join_grant(&grant(1, home.id)).await.unwrap();
    assert_eq!(
        store.join_grant(&[1; 32]).await.unwrap(),
        Some(grant(1, home.id))
    );
    assert_eq!(store.join_grant(&[2; 32]).await.unwrap(), None);
    let (mine, second) = (agent(1, home.id), agent(2, home.id));
    assert!(store.enroll(&[1; 32], T0 + 5, &mine).await.unwrap());
    assert!(!store.enroll(&[1; 32], T0 + 6, &second).await.unwrap());
    let spent = store.join_grant(&[1; 32]).await.unwrap().unwrap();
    assert_eq!(spent.spent, Some((T0 + 5, mine.id)));
    assert_eq!(store.agents(&default_organisation()).await.unwrap(), [mine]);
}

pub(crate) async fn an_expired_or_revoked_join_string_is_no_use(store: &impl Store) {
    let home = site(1, None, None);
    store.put_site(&home).await.unwrap();
    store.put_join_grant(&grant(1, home.id)).await.unwrap();
    store
        .put_join_grant(&JoinGrant {
            revoked: true,
            ..grant(2, home.id)
        })
        .await
        .unwrap();
    assert!(
        !store
            .enroll(&[1; 32], T0 + DAY, &agent(1, home.id))
            .await
            .unwrap()
    );
    assert!(
        !store
            .enroll(&[2; 32], T0, &agent(1, home.id))
            .await
            .unwrap()
    );
    assert!(
        !store
            .enroll(&[3; 32], T0, &agent(1, home.id))
            .await
            .unwrap()
    );
    let foreign = Agent {
        organisation: other_organisation(),
        ..agent(1, home.id)
    };
    assert!(!store.enroll(&[1; 32], T0, &foreign).await.unwrap());
    assert_eq!(store.agents(&default_organisation()).await.unwrap(), []);
}

pub(crate) async fn a_report_updates_its_agent_but_not_its_rights(store: &impl Store) {
    let id = settle(store, &site(1, None, None), 1).await;
    let organisation = default_organisation();
    let enrolled = store.agent(&organisation, id).await.unwrap();
    let mut sender = Sender::default();
    let told = Agent {
        hostname: "renamed".to_owned(),
        os: Some("Debian".to_owned()),
        last_seen_unix_ms: Some(T0 + 9),
        spool_dropped_reports: 3,
        site: SiteId(Uuid::from_u128(99)),
        revoked: true,
        ..enrolled.clone()
    };
    sender
        .apply(
            store,
            id,
            Applied {
                agent: Some(told.clone()),
                ..Applied::default()
            },
        )
        .await;
    let earlier = Agent {
        last_seen_unix_ms: Some(T0 + 1),
        os: None,
        ..told.clone()
    };
    sender
        .apply(
            store,
            id,
            Applied {
                agent: Some(earlier),
                ..Applied::default()
            },
        )
        .await;
    let want = Agent {
        site: enrolled.site,
        revoked: false,
        ..told
    };
    assert_eq!(store.agent(&organisation, id).await.unwrap(), want);
    let error = store.agent(&organisation, agent_id(99)).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
}

pub(crate) async fn a_revoked_agent_stays_revoked(store: &impl Store) {
    let organisation = default_organisation();
    let [closed, open, theirs] = three_events(store).await;
    let mine = agent_id(1);
    for (name, want) in [("first", true), ("again", false)] {
        let revoked = store.revoke_agent(&organisation, mine, T0 + DAY, "admin");
        assert_eq!(revoked.await.unwrap(), want, "{name}");
    }
    for (name, organisation, agent) in [
        ("unknown", organisation.clone(), agent_id(99)),
        ("of another organisation", other_organisation(), agent_id(2)),
    ] {
        let error = store
            .revoke_agent(&organisation, agent, T0 + DAY, "admin")
            .await
            .unwrap_err();
        assert!(
            matches!(error, StoreError::NotFound { .. }),
            "{name}: {error}"
        );
    }
    let revoked = store.agent(&organisation, mine).await.unwrap();
    let other = store.agent(&organisation, agent_id(2)).await.unwrap();
    assert_eq!((revoked.revoked, other.revoked), (true, false));
    let ended = Event {
        state: "closed".to_owned(),
        ended_unix_ms: Some(T0 + DAY),
        ending: Some("agent_revoked".to_owned()),
        ..open
    };
    let events = store.events(&organisation, &all_events()).await.unwrap();
    assert_eq!(events, [theirs, ended, closed]);
    // A report that was stored before is still applied: it does not let the agent in again.
    let applied = Applied {
        agent: Some(Agent {
            revoked: false,
            ..revoked
        }),
        ..Applied::default()
    };
    let key = key(mine, 99);
    store.append(vec![report(key.clone())]).await.unwrap();
    store.apply(&key, applied).await.unwrap();
    assert!(store.agent(&organisation, mine).await.unwrap().revoked);
}

fn event(id: &str, agent: AgentId, begun: i64, ended: Option<i64>) -> Event {
    Event {
        event_id: id.to_owned(),
        class: EventClass::GeoFailover,
        state: if ended.is_some() { "closed" } else { "open" }.to_owned(),
        agent_id: agent.to_string(),
        site_name: "site 1".to_owned(),
        country: Some("NL".to_owned()),
        target: "a".to_owned(),
        last_good_unix_ms: begun - 1,
        first_novel_unix_ms: begun,
        detected_unix_ms: begun + 1,
        reopened_unix_ms: None,
        reopenings: 0,
        ended_unix_ms: ended,
        ending: ended.map(|_| "recovered".to_owned()),
        before: identity("r1"),
        after: identity("r2"),
        before_rtt_us: Some(10_000),
        after_rtt_us: None,
        text: "the ingress moved".to_owned(),
        evidence: vec!["3 rounds agree".to_owned()],
    }
}

/// Three events: one closed after an hour, one open, one open of another agent.
async fn three_events(store: &impl Store) -> [Event; 3] {
    let mine = settle(store, &site(1, None, None), 1).await;
    let other = settle(store, &site(2, None, None), 2).await;
    let mut sender = Sender::default();
    let told = |events: &[Event]| Applied {
        events: events.to_vec(),
        ..Applied::default()
    };
    sender
        .apply(store, mine, told(&[event("first", mine, T0, None)]))
        .await;
    let closed = event("first", mine, T0, Some(T0 + HOUR));
    let open = event("second", mine, T0 + 2 * HOUR, None);
    sender
        .apply(store, mine, told(&[closed.clone(), open.clone()]))
        .await;
    let theirs = event("third", other, T0 + 3 * HOUR, None);
    sender
        .apply(store, other, told(std::slice::from_ref(&theirs)))
        .await;
    [closed, open, theirs]
}

pub(crate) async fn an_event_that_nobody_observes_ends(store: &impl Store) {
    let organisation = default_organisation();
    let gone = settle(store, &site(1, None, None), 1).await;
    let seen = settle(store, &site(2, None, None), 2).await;
    let mut sender = Sender::default();
    for (id, agent, newest_unix_ms) in [("gone", gone, T0 + HOUR), ("seen", seen, T0 + DAY)] {
        let open = event(id, agent, T0, None);
        let memory = PathMemory {
            open: Some(open.clone()),
            newest_unix_ms: Some(newest_unix_ms),
            ..PathMemory::default()
        };
        let applied = Applied {
            events: vec![open],
            path_memories: vec![("a".to_owned(), memory)],
            ..Applied::default()
        };
        sender.apply(store, agent, applied).await;
    }
    let is_open = async |id| {
        let event = store.event(&organisation, id).await.unwrap();
        event.state == "open"
    };
    store.maintain(T0 + DAY + HOUR - 1).await.unwrap();
    assert!(is_open("gone").await && is_open("seen").await, "not yet");
    let now_unix_ms = T0 + DAY + HOUR;
    store.maintain(now_unix_ms).await.unwrap();
    assert!(is_open("seen").await);
    let ended = store.event(&organisation, "gone").await.unwrap();
    assert_eq!(
        (
            ended.state.as_str(),
            ended.ended_unix_ms,
            ended.ending.as_deref()
        ),
        ("closed", Some(now_unix_ms), Some("not_observed"))
    );
    let line = ended.evidence.last().unwrap();
    assert!(line.starts_with("no path round since"), "{line}");
    for (agent, remembers) in [(gone, false), (seen, true)] {
        let memories = memories_of(store, agent).await;
        assert_eq!(memories["a"].open.is_some(), remembers);
    }
}

async fn memories_of(store: &impl Store, agent: AgentId) -> BTreeMap<String, PathMemory> {
    store
        .path_memories(&default_organisation(), agent)
        .await
        .unwrap()
}

fn all_events() -> EventQuery {
    EventQuery {
        from_unix_ms: T0,
        to_unix_ms: T0 + DAY,
        limit: 9,
        ..EventQuery::default()
    }
}

pub(crate) async fn events_are_found_by_time_state_and_agent(store: &impl Store) {
    three_events(store).await;
    let asked = |change: fn(&mut EventQuery)| {
        let mut query = all_events();
        change(&mut query);
        query
    };
    for (name, query, want) in [
        ("all, newest first", asked(|_| {}), "third second first"),
        ("two", asked(|query| query.limit = 2), "third second"),
        (
            "open",
            asked(|query| query.open = Some(true)),
            "third second",
        ),
        ("closed", asked(|query| query.open = Some(false)), "first"),
        (
            "of one agent",
            asked(|query| query.agent = Some(agent_id(1))),
            "second first",
        ),
        (
            "after the first ended",
            asked(|query| query.from_unix_ms = T0 + HOUR + 1),
            "third second",
        ),
        (
            "before the second",
            asked(|query| query.to_unix_ms = T0 + 2 * HOUR),
            "first",
        ),
    ] {
        let found = store.events(&default_organisation(), &query).await.unwrap();
        let told: Vec<_> = found.iter().map(|event| event.event_id.as_str()).collect();
        assert_eq!(told.join(" "), want, "{name}");
    }
}

pub(crate) async fn an_event_is_its_last_state_and_stays_while_open(store: &impl Store) {
    let [closed, open, theirs] = three_events(store).await;
    assert_eq!(
        store.event(&default_organisation(), "first").await.unwrap(),
        closed
    );
    let error = store
        .event(&default_organisation(), "fourth")
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    for agent in [agent_id(1), agent_id(2)] {
        let memory = PathMemory {
            newest_unix_ms: Some(T0 + 500 * DAY),
            ..PathMemory::default()
        };
        let observed = Applied {
            path_memories: vec![("a".to_owned(), memory)],
            ..Applied::default()
        };
        let key = key(agent, 99);
        store.append(vec![report(key.clone())]).await.unwrap();
        store.apply(&key, observed).await.unwrap();
    }
    store.maintain(T0 + 500 * DAY).await.unwrap();
    let kept = store
        .events(&default_organisation(), &all_events())
        .await
        .unwrap();
    assert_eq!(
        kept,
        [theirs, open],
        "an open event is never past retention"
    );
}

pub(crate) async fn nothing_crosses_organisations(store: &impl Store) {
    let agent = settle(store, &site(1, Some("NL"), None), 1).await;
    let mut sender = Sender::default();
    let applied = Applied {
        cells: cells_of(agent, &[sample(T0, "a", Some(10_000))]),
        latest_rounds: vec![round(T0, "a")],
        identities: vec![("a".to_owned(), T0, identity("r1"))],
        path_memories: vec![("a".to_owned(), PathMemory::default())],
        events: vec![event("first", agent, T0, None)],
        hop_names: vec![("192.0.2.1".to_owned(), Some("r1.example.net".to_owned()))],
        sightings: vec![sighting(T0)],
        resolutions: vec![resolution(T0, false)],
        targets: vec![target("a")],
        agent: None,
    };
    sender.apply(store, agent, applied).await;
    store.maintain(T0 + 3 * HOUR).await.unwrap();

    let other = other_organisation();
    // The same names and ids may exist there too.
    store
        .put_site(&Site {
            organisation: other.clone(),
            ..site(1, Some("NL"), None)
        })
        .await
        .unwrap();
    assert_eq!(
        store.organisations().await.unwrap(),
        [default_organisation(), other.clone()]
    );
    assert_eq!(store.cells(&other, &hour()).await.unwrap(), []);
    let by_agent = CellQuery {
        scope: Scope::Agent(agent),
        ..hour()
    };
    assert_eq!(store.cells(&other, &by_agent).await.unwrap(), []);
    assert!(store.path_memories(&other, agent).await.unwrap().is_empty());
    assert_eq!(store.latest_rounds(&other, agent).await.unwrap(), []);
    assert_eq!(store.spans(&other, agent, "a", 9).await.unwrap(), []);
    assert!(
        store
            .hop_names(&other, &["192.0.2.1".to_owned()])
            .await
            .unwrap()
            .is_empty()
    );
    nothing_is_known_in(store, &other, agent).await;
    let events = EventQuery {
        to_unix_ms: i64::MAX,
        limit: 9,
        ..EventQuery::default()
    };
    assert_eq!(store.events(&other, &events).await.unwrap(), []);
    store.event(&other, "first").await.unwrap_err();
    store.agent(&other, agent).await.unwrap_err();
    assert_eq!(store.agents(&other).await.unwrap(), []);
    assert_eq!(
        store
            .watermark(&other, agent, Epoch(Uuid::from_u128(7)))
            .await
            .unwrap(),
        0
    );
    store
        .audit(&other, T0, "loopback", "changed a site")
        .await
        .unwrap();
}

async fn nothing_is_known_in(store: &impl Store, other: &OrganisationId, agent: AgentId) {
    let geography = Scope::Geography(GeographyLevel::Country, "NL".to_owned());
    for scope in [Scope::World, geography, Scope::Agent(agent)] {
        let found = (
            store.protocol_histories(other, &scope).await.unwrap(),
            store.path_briefs(other, &scope).await.unwrap(),
            store.destinations(other, &scope).await.unwrap(),
            store.sightings(other, &scope).await.unwrap(),
            store.resolutions(other, &scope).await.unwrap(),
            store.targets(other, &scope).await.unwrap(),
        );
        let nothing = <(
            ByAgent<_>,
            ByAgent<_>,
            ByAgent<_>,
            ByAgent<_>,
            ByAgent<_>,
            ByAgent<_>,
        )>::default();
        assert_eq!(found, nothing, "{scope:?}");
    }
}
