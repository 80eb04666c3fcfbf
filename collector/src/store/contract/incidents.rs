//! Promises about incidents: made by their events, open while one is, found by what changed.

use super::events::event;
use super::*;
use crate::api::types::{Event, Incident};
use crate::store::StoreError;
use crate::store::incidents::IncidentQuery;

fn of(incident: &str, event: Event) -> Event {
    Event {
        incident_id: Some(incident.to_owned()),
        provider_asn: Some(64_500),
        ..event
    }
}

fn told(events: &[Event]) -> Applied {
    Applied {
        events: events.to_vec(),
        ..Applied::default()
    }
}

fn all() -> IncidentQuery {
    IncidentQuery {
        from_unix_ms: T0,
        to_unix_ms: T0 + DAY,
        limit: 9,
        ..IncidentQuery::default()
    }
}

async fn two_agents(store: &impl Store) -> (AgentId, AgentId) {
    (
        settle(store, &site(1, None, None), 1).await,
        settle(store, &site(2, None, None), 2).await,
    )
}

async fn incident(store: &impl Store, id: &str) -> Incident {
    store.incident(&default_organisation(), id).await.unwrap()
}

pub(crate) async fn an_incident_is_open_while_one_of_its_events_is(store: &impl Store) {
    let (one, other) = two_agents(store).await;
    let mut sender = Sender::default();
    let mut tell = async |agent, event: Event| sender.apply(store, agent, told(&[event])).await;
    tell(one, of("i", event("first", one, T0, None))).await;
    let alone = incident(store, "i").await;
    assert_eq!((alone.state.as_str(), alone.agents_total), ("open", 1));
    tell(other, of("i", event("second", other, T0 + 9, None))).await;
    tell(one, of("i", event("first", one, T0, Some(T0 + HOUR)))).await;
    let both = incident(store, "i").await;
    assert_eq!(
        (both.state.as_str(), both.agents_total, both.agents_open),
        ("open", 2, 1)
    );
    let events: Vec<_> = both
        .events
        .iter()
        .map(|one| one.event_id.as_str())
        .collect();
    assert_eq!(events, ["first", "second"], "by onset");
    tell(
        other,
        of("i", event("second", other, T0 + 9, Some(T0 + 2 * HOUR))),
    )
    .await;
    let over = incident(store, "i").await;
    assert_eq!(
        (over.state.as_str(), over.ended_unix_ms, over.agents_open),
        ("closed", Some(T0 + 2 * HOUR), 0)
    );
    tell(one, of("i", event("third", one, T0 + 20, None))).await;
    assert_eq!(incident(store, "i").await.state, "open", "one more joined");
}

pub(crate) async fn incidents_are_found_by_time_state_and_agent(store: &impl Store) {
    let (one, other) = two_agents(store).await;
    let mut sender = Sender::default();
    let early = of("early", event("first", one, T0, Some(T0 + HOUR)));
    let late = of("late", event("second", other, T0 + 2 * HOUR, None));
    let possible = event("alone", one, T0 + 3 * HOUR, None);
    sender.apply(store, one, told(&[early, possible])).await;
    sender.apply(store, other, told(&[late])).await;
    let asked = |change: fn(&mut IncidentQuery)| {
        let mut query = all();
        change(&mut query);
        query
    };
    for (name, query, want) in [
        ("all, newest first", asked(|_| {}), "late early"),
        ("one", asked(|query| query.limit = 1), "late"),
        ("open", asked(|query| query.open = Some(true)), "late"),
        ("closed", asked(|query| query.open = Some(false)), "early"),
        (
            "of an agent",
            asked(|query| query.agent = Some(agent_id(1))),
            "early",
        ),
        (
            "later",
            asked(|query| query.from_unix_ms = T0 + HOUR + 1),
            "late",
        ),
        (
            "before",
            asked(|query| query.to_unix_ms = T0 + HOUR),
            "early",
        ),
    ] {
        let found = store
            .incidents(&default_organisation(), &query)
            .await
            .unwrap();
        let ids: Vec<_> = found.iter().map(|one| one.incident_id.as_str()).collect();
        assert_eq!(ids.join(" "), want, "{name}");
    }
    let theirs = store
        .incidents(&other_organisation(), &all())
        .await
        .unwrap();
    assert_eq!(theirs, []);
    let error = store
        .incident(&other_organisation(), "late")
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    let events = store
        .incident_events(&default_organisation(), "late", 9)
        .await
        .unwrap();
    assert_eq!(events.len(), 1);
}

pub(crate) async fn changes_of_incidents_come_once_each_in_order(store: &impl Store) {
    let (one, other) = two_agents(store).await;
    let organisation = default_organisation();
    let mut sender = Sender::default();
    assert_eq!(store.last_incident_change(&organisation).await.unwrap(), 0);
    let opened = [
        of("a", event("first", one, T0, None)),
        of("b", event("second", one, T0 + 1, None)),
    ];
    sender.apply(store, one, told(&opened)).await;
    let changes = async |after, limit| {
        let found = store
            .incident_changes(&organisation, after, limit)
            .await
            .unwrap();
        let ids: Vec<String> = found
            .iter()
            .map(|(_, one)| one.incident_id.clone())
            .collect();
        (ids.join(" "), found.last().map_or(after, |(no, _)| *no))
    };
    let (ids, cursor) = changes(0, 9).await;
    assert_eq!(ids, "a b");
    assert_eq!(changes(cursor, 9).await.0, "", "nothing since");
    assert_eq!(changes(0, 1).await.0, "a", "a part at a time");
    let third = of("a", event("third", other, T0 + 2, None));
    sender.apply(store, other, told(&[third])).await;
    let (ids, newer) = changes(cursor, 9).await;
    assert_eq!((ids.as_str(), newer > cursor), ("a", true));
    assert_eq!(changes(0, 9).await.0, "b a", "once each, as it is now");
    store
        .revoke_agent(&organisation, one, T0 + HOUR, "admin")
        .await
        .unwrap();
    assert_eq!(
        changes(newer, 9).await.0,
        "b a",
        "an agent that is revoked ends its events"
    );
    assert_eq!(
        incident(store, "b").await.ending.as_deref(),
        Some("agent_revoked")
    );
    store.maintain(T0 + 500 * DAY).await.unwrap();
    let error = store.incident(&organisation, "b").await.unwrap_err();
    assert!(
        matches!(error, StoreError::NotFound { .. }),
        "past retention: {error}"
    );
    let last = store.last_incident_change(&organisation).await.unwrap();
    assert!(last > newer, "a number is never given twice");
}
