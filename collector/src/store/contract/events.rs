//! Promises about events: found, kept, and ended when nobody tells how they go on.

use super::paths::identity;
use super::*;
use crate::api::types::{Event, EventClass};
use crate::detect::PathMemory;
use crate::store::{EventQuery, StoreError};

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

pub(super) fn event(id: &str, agent: AgentId, begun: i64, ended: Option<i64>) -> Event {
    Event {
        event_id: id.to_owned(),
        class: EventClass::Geo,
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
        reasons: vec!["3 rounds agree".to_owned()],
        ..Event::default()
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
            open: vec![open.clone()],
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
    let line = ended.reasons.last().unwrap();
    assert!(line.starts_with("no path round since"), "{line}");
    for (agent, remembers) in [(gone, false), (seen, true)] {
        let memories = memories_of(store, agent).await;
        assert_eq!(!memories["a"].open.is_empty(), remembers);
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
