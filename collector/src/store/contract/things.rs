//! Promises about things: sites, agents, join strings. And that organisations never meet.

use super::events::event;
use super::paths::{identity, resolution, round, sighting, target};
use super::*;
use crate::api::types::GeographyLevel;
use crate::detect::PathMemory;
use crate::ingest::facts::FactKind;
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

pub(crate) async fn a_join_string_for_many_lets_in_as_many(store: &impl Store) {
    let home = site(1, None, None);
    store.put_site(&home).await.unwrap();
    let of_many = JoinGrant {
        uses_max: 3,
        site: None,
        ..grant(1, home.id)
    };
    store.put_join_grant(&of_many).await.unwrap();
    for (number, is_let_in) in [(1, true), (2, true), (3, true), (4, false)] {
        let newcomer = agent(number, home.id);
        let let_in = store.enroll(&[1; 32], T0 + 5, &newcomer).await.unwrap();
        assert_eq!(let_in, is_let_in, "agent {number}");
    }
    let used = store.join_grant(&[1; 32]).await.unwrap().unwrap();
    assert_eq!((used.uses, used.site), (3, None));
    // Taking it back or prolonging it does not give uses back.
    store.put_join_grant(&of_many).await.unwrap();
    let used = store.join_grant(&[1; 32]).await.unwrap().unwrap();
    assert_eq!(used.uses, 3);
}

pub(crate) async fn rules_lead_to_one_site_each(store: &impl Store) {
    let (first, second) = (site(1, None, None), site(2, None, None));
    let organisation = default_organisation();
    for site in [&first, &second] {
        store.put_site(site).await.unwrap();
    }
    let rules = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let told = async || {
        let rules = store.site_rules(&organisation).await.unwrap();
        let told = rules.iter().map(|one| (one.rule.to_string(), one.site));
        told.collect::<Vec<_>>()
    };
    let of_first = rules(&["hostname:ams-*", "subnet:10.20.0.0/16"]);
    store
        .put_site_rules(&organisation, first.id, of_first)
        .await
        .unwrap();
    let of_second = rules(&["hostname:ams-*", "tag:kiosk"]);
    store
        .put_site_rules(&organisation, second.id, of_second)
        .await
        .unwrap();
    let want = [
        ("hostname:ams-*".to_owned(), second.id),
        ("subnet:10.20.0.0/16".to_owned(), first.id),
        ("tag:kiosk".to_owned(), second.id),
    ];
    assert_eq!(told().await, want);
    store
        .put_site_rules(&organisation, second.id, Vec::new())
        .await
        .unwrap();
    assert_eq!(told().await.len(), 1);
    let other = store.site_rules(&other_organisation()).await.unwrap();
    assert_eq!(other, []);
    let nowhere = SiteId(Uuid::from_u128(9));
    let refused = store
        .put_site_rules(&organisation, nowhere, Vec::new())
        .await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
}

pub(crate) async fn clones_of_clones_are_clones_of_the_first(store: &impl Store) {
    let home = site(1, None, None);
    let ids = [1, 2, 3, 4].map(async |number| settle(store, &home, number).await);
    let [first, second, third, alone] = futures::future::join_all(ids).await.try_into().unwrap();
    let organisation = default_organisation();
    for (clone, original) in [(second, first), (third, second)] {
        let noted = store.note_clone(&organisation, clone, original).await;
        noted.unwrap();
    }
    for (original, want) in [
        (first, vec![second, third]),
        (second, vec![third]),
        (third, Vec::new()),
        (alone, Vec::new()),
    ] {
        let found = store.clones_of(&organisation, original).await.unwrap();
        assert_eq!(found, want);
    }
    let other = store.clones_of(&other_organisation(), first).await;
    assert_eq!(other.unwrap(), []);
}

pub(crate) async fn an_agent_moves_with_its_figures(store: &impl Store) {
    let (here, there) = (site(1, Some("NL"), None), site(2, Some("BE"), None));
    store.put_site(&there).await.unwrap();
    let agent = settle(store, &here, 1).await;
    let mut sender = Sender::default();
    sender
        .send(store, agent, &[sample(T0, "a", Some(10_000))])
        .await;
    store.maintain(T0 + HOUR).await.unwrap();
    let organisation = default_organisation();
    let moved = async || {
        store
            .move_agent(&organisation, agent, there.id, T0 + HOUR, "somebody")
            .await
            .unwrap()
    };
    assert!(moved().await);
    assert!(!moved().await, "it is there");
    store.maintain(T0 + 2 * HOUR).await.unwrap();
    let by_country = CellQuery {
        group: Group::Geography(GeographyLevel::Country),
        step_ms: Some(5 * MINUTE),
        ..hour()
    };
    let rows = cells(store, &by_country).await;
    let told: Vec<_> = rows.iter().map(|row| row.group.as_str()).collect();
    assert_eq!(told, ["BE"]);
    let told = store.agent(&organisation, agent).await.unwrap();
    assert_eq!(told.site, there.id);
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

pub(crate) async fn nothing_crosses_organisations(store: &impl Store) {
    let agent = settle(store, &site(1, Some("NL"), None), 1).await;
    let mut sender = Sender::default();
    let applied = Applied {
        samples: vec![sample(T0, "a", Some(10_000))],
        latest_rounds: vec![round(T0, "a")],
        identities: vec![("a".to_owned(), T0, identity("r1").into())],
        path_memories: vec![("a".to_owned(), PathMemory::default())],
        events: vec![event("first", agent, T0, None)],
        hop_names: vec![("192.0.2.1".to_owned(), Some("r1.example.net".to_owned()))],
        sightings: vec![sighting(T0)],
        resolutions: vec![resolution(T0, false)],
        targets: vec![target("a")],
        facts: vec![facts::fact(FactKind::Host, "", T0)],
        ..Applied::default()
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
    let facts = store.facts(&other, agent, FactKind::Host).await.unwrap();
    assert_eq!(facts, []);
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
