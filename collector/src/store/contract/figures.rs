//! Promises about figures: exact sums, whichever way they are read, each agent weighted the same.

use super::*;
use crate::api::types::GeographyLevel;
use crate::rollup::{AGENT_WEIGHT, Weighting, figures};

pub(crate) async fn cells_add_up_over_reports(store: &impl Store) {
    let agent = settle(store, &site(1, Some("NL"), None), 1).await;
    let mut sender = Sender::default();
    sender
        .send(
            store,
            agent,
            &[sample(T0, "a", Some(10_000)), sample(T0 + 5_000, "a", None)],
        )
        .await;
    sender
        .send(
            store,
            agent,
            &[
                sample(T0 + 10_000, "a", Some(20_000)),
                sample(T0 + MINUTE, "b", Some(30_000)),
            ],
        )
        .await;

    let rows = cells(
        store,
        &CellQuery {
            step_ms: Some(MINUTE),
            ..hour()
        },
    )
    .await;
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.at_unix_ms, row.cell.n(), row.cell.lost, row.agents))
        .collect();
    assert_eq!(told, [(T0, 3, 1, 1), (T0 + MINUTE, 1, 0, 1)]);
    let only_b = cells(
        store,
        &CellQuery {
            target: Some("b".to_owned()),
            ..hour()
        },
    )
    .await;
    assert_eq!(
        (only_b.len(), only_b[0].cell.n(), only_b[0].cell.min_us),
        (1, 1, Some(30_000))
    );
    let nothing = CellQuery {
        to_unix_ms: T0,
        ..hour()
    };
    assert_eq!(cells(store, &nothing).await, []);
    let elsewhere = CellQuery {
        phase: Phase::Ttfb,
        ..hour()
    };
    assert_eq!(cells(store, &elsewhere).await, []);
}

/// Three sites in two countries, one of them unknown, with two targets.
async fn three_sites(store: &impl Store) -> [AgentId; 3] {
    let agents = [
        settle(store, &site(1, Some("NL"), Some("Amsterdam")), 1).await,
        settle(store, &site(2, Some("NL"), Some("Rotterdam")), 2).await,
        settle(store, &site(3, None, None), 3).await,
    ];
    let mut sender = Sender::default();
    for (agent, rtt) in agents.iter().zip([10_000, 20_000, 30_000]) {
        sender
            .send(
                store,
                *agent,
                &[sample(T0, "a", Some(rtt)), sample(T0, "b", Some(rtt))],
            )
            .await;
    }
    agents
}

/// Each case: scope, group, and the groups of the answer as `key=n`.
fn scopes_and_groups(
    [amsterdam, rotterdam, nowhere]: [AgentId; 3],
) -> Vec<(Scope, Group, Vec<String>)> {
    use GeographyLevel::{Country, Metro, Site, Subdivision};
    let site_key = |number: u128| site(number, None, None).id.to_string();
    let within = |level, key: &str| Scope::Geography(level, key.to_owned());
    let by = Group::Geography;
    let want = |rows: &[&str]| rows.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>();
    let [first, second, third] = [1, 2, 3].map(site_key);
    let metros = ["NL/Amsterdam=2", "NL/Rotterdam=2", "unknown=2"];
    let dutch_sites = vec![format!("{first}=2"), format!("{second}=2")];
    let targets = vec![format!("{rotterdam}\ta=1"), format!("{rotterdam}\tb=1")];
    vec![
        (Scope::World, Group::All, want(&["=6"])),
        (Scope::World, by(Country), want(&["NL=4", "unknown=2"])),
        (Scope::World, by(Subdivision), want(&["unknown=6"])),
        (Scope::World, by(Metro), want(&metros)),
        (within(Country, "NL"), Group::All, want(&["=4"])),
        (within(Country, "NL"), by(Country), want(&["NL=4"])),
        (within(Country, "NL"), by(Site), dutch_sites),
        (within(Country, "BE"), by(Site), vec![]),
        (within(Site, &third), by(Country), want(&["unknown=2"])),
        (
            within(Country, "unknown"),
            Group::Agent,
            vec![format!("{nowhere}=2")],
        ),
        (Scope::Agent(amsterdam), Group::All, want(&["=2"])),
        (Scope::Agent(rotterdam), Group::AgentTarget, targets),
        (Scope::Agent(agent_id(99)), Group::All, vec![]),
    ]
}

pub(crate) async fn groups_and_scopes_agree(store: &impl Store) {
    let cases = scopes_and_groups(three_sites(store).await);
    for maintained in [false, true] {
        if maintained {
            store.maintain(T0 + 3 * HOUR).await.unwrap();
        }
        for (scope, group, want) in &cases {
            let rows = cells(
                store,
                &CellQuery {
                    scope: scope.clone(),
                    group: *group,
                    ..hour()
                },
            )
            .await;
            let told: Vec<_> = rows
                .iter()
                .map(|row| format!("{}={}", row.group, row.cell.n()))
                .collect();
            assert_eq!(&told, want, "{scope:?} {group:?} maintained: {maintained}");
        }
    }
}

pub(crate) async fn a_busy_agent_weighs_as_much_as_a_quiet_one(store: &impl Store) {
    let home = site(1, Some("NL"), None);
    let busy = settle(store, &home, 1).await;
    let mut sender = Sender::default();
    let burst: Vec<_> = (0..3_000)
        .map(|n| sample(T0 + n * 90, "a", Some(100_000)))
        .collect();
    sender.send(store, busy, &burst).await;
    for number in 2..=4 {
        let quiet = settle(store, &home, number).await;
        // One target more does not make an agent heavier.
        sender
            .send(
                store,
                quiet,
                &[sample(T0, "a", Some(10_000)), sample(T0, "b", Some(10_000))],
            )
            .await;
    }
    for maintained in [false, true] {
        if maintained {
            store.maintain(T0 + 3 * HOUR).await.unwrap();
        }
        let row = &cells(store, &hour()).await[0];
        assert_eq!(row.agents, 4);
        assert_eq!(row.cell.weights.count(), 4 * AGENT_WEIGHT);
        let median = |weighting| figures(&row.cell, row.agents, weighting).p50_us.unwrap();
        assert!(median(Weighting::Agent).abs_diff(10_000) <= 80);
        assert!(median(Weighting::Sample).abs_diff(100_000) <= 800);
    }
}

pub(crate) async fn what_was_never_answered_here_is_no_loss(store: &impl Store) {
    let (home, away) = (site(1, Some("NL"), None), site(2, Some("NL"), None));
    let silent = settle(store, &home, 1).await;
    let neighbour = settle(store, &home, 2).await;
    let elsewhere = settle(store, &away, 3).await;
    let mut sender = Sender::default();
    let lost = [sample(T0, "a", None), sample(T0, "b", None)];
    sender.send(store, silent, &lost).await;
    sender
        .send(store, elsewhere, &[sample(T0, "a", Some(10_000))])
        .await;
    store.maintain(T0 + 3 * HOUR).await.unwrap();
    let row = &cells(store, &hour()).await[0];
    assert_eq!(
        (row.cell.n(), row.cell.lost, row.agents),
        (1, 0, 1),
        "another site's answer says nothing of this one"
    );
    let histories = store
        .protocol_histories(&default_organisation(), &Scope::Agent(silent))
        .await
        .unwrap()
        .remove(&silent)
        .unwrap_or_default();
    let told: Vec<_> = histories
        .iter()
        .map(|(target, it)| (target.as_str(), it.answered, it.n))
        .collect();
    assert_eq!(told, [("a", false, 1), ("b", false, 1)]);

    // An agent of the same site is answered: what the first one lost was loss after all. For target `b` nothing changes.
    sender
        .send(store, neighbour, &[sample(T0 + HOUR, "a", Some(10_000))])
        .await;
    for maintained in [false, true] {
        if maintained {
            store.maintain(T0 + 3 * HOUR).await.unwrap();
        }
        let row = &cells(store, &hour()).await[0];
        assert_eq!(
            (row.cell.n(), row.cell.lost),
            (2, 1),
            "maintained: {maintained}"
        );
    }
    let histories = store
        .protocol_histories(&default_organisation(), &Scope::Agent(silent))
        .await
        .unwrap()
        .remove(&silent)
        .unwrap_or_default();
    assert_eq!(
        histories
            .iter()
            .map(|(_, it)| it.answered)
            .collect::<Vec<_>>(),
        [true, false]
    );
}

pub(crate) async fn rollups_give_the_same_answers_as_cells(store: &impl Store) {
    let agents = three_sites(store).await;
    let mut sender = Sender {
        sequences: agents.iter().map(|agent| (*agent, 1)).collect(),
    };
    for (agent, rtt) in agents.iter().zip([11_000u32, 23_000, 31_000]) {
        let samples: Vec<_> = (0..150)
            .map(|n| {
                sample(
                    T0 + i64::from(n) * 47_000,
                    "a",
                    (n % 7 != 0).then_some(rtt + n * 13),
                )
            })
            .collect();
        sender.send(store, *agent, &samples).await;
    }
    let steps = [
        None,
        Some(MINUTE),
        Some(5 * MINUTE),
        Some(7 * MINUTE),
        Some(HOUR),
    ];
    let queries: Vec<_> = [
        (T0, T0 + 2 * HOUR),
        (T0 - HOUR, T0 + HOUR + 17 * MINUTE),
        (T0 + 3 * MINUTE, T0 + DAY),
    ]
    .into_iter()
    .flat_map(|(from_unix_ms, to_unix_ms)| {
        steps.map(|step_ms| CellQuery {
            from_unix_ms,
            to_unix_ms,
            step_ms,
            ..hour()
        })
    })
    .flat_map(|query| {
        [
            Group::All,
            Group::Geography(GeographyLevel::Country),
            Group::Geography(GeographyLevel::Site),
        ]
        .map(|group| CellQuery {
            group,
            ..query.clone()
        })
    })
    .flat_map(|query| {
        [None, Some("a".to_owned())].map(|target| CellQuery {
            target,
            ..query.clone()
        })
    })
    .collect();
    let mut before = Vec::new();
    for query in &queries {
        before.push(cells(store, query).await);
    }
    // Half of it is rolled up, then all, then hours too.
    for now in [T0 + 52 * MINUTE, T0 + 2 * HOUR, T0 + 5 * HOUR] {
        store.maintain(now).await.unwrap();
        for (query, before) in queries.iter().zip(&before) {
            assert_eq!(&cells(store, query).await, before, "{query:?} at {now}");
        }
    }
}

pub(crate) async fn late_samples_are_counted_once_even_when_cells_are_gone(store: &impl Store) {
    let [agent, other, _] = three_sites(store).await;
    let mut sender = Sender {
        sequences: [(agent, 1), (other, 1)].into(),
    };
    let now = T0 + 10 * DAY;
    store.maintain(now).await.unwrap();
    assert_eq!(cells(store, &hour()).await[0].cell.n(), 6);

    let late = [
        sample(T0 + 1_000, "a", Some(12_000)),
        sample(T0 + 30 * MINUTE, "a", None),
    ];
    sender.send(store, agent, &late).await;
    sender.send(store, other, &late[..1]).await;
    for round in 0..3 {
        for group in [Group::All, Group::Agent, Group::AgentTarget] {
            let rows = cells(store, &CellQuery { group, ..hour() }).await;
            let n: u64 = rows.iter().map(|row| row.cell.n()).sum();
            let lost: u64 = rows.iter().map(|row| row.cell.lost).sum();
            assert_eq!((n, lost), (9, 1), "{group:?} in round {round}");
        }
        assert_eq!(cells(store, &hour()).await[0].agents, 3);
        store.maintain(now).await.unwrap();
    }
}

pub(crate) async fn an_agent_has_a_history_beyond_its_cells(store: &impl Store) {
    let [agent, ..] = three_sites(store).await;
    let mut sender = Sender {
        sequences: [(agent, 1)].into(),
    };
    let samples: Vec<_> = (0..200)
        .map(|n| {
            sample(
                T0 + n * 50_000,
                if n % 2 == 0 { "a" } else { "b" },
                (n % 5 != 0).then_some(9_000),
            )
        })
        .collect();
    sender.send(store, agent, &samples).await;
    // Never answered, so never a loss.
    sender.send(store, agent, &[sample(T0, "c", None)]).await;
    let scopes = [
        Scope::Agent(agent),
        Scope::World,
        Scope::Geography(GeographyLevel::Country, "NL".to_owned()),
    ];
    let mut queries = Vec::new();
    for scope in scopes {
        for group in [Group::Agent, Group::AgentTarget] {
            for (step_ms, target) in [
                (None, None),
                (Some(HOUR), None),
                (None, Some("b".to_owned())),
            ] {
                let scope = scope.clone();
                queries.push(CellQuery {
                    to_unix_ms: T0 + 3 * HOUR,
                    scope,
                    group,
                    step_ms,
                    target,
                    ..hour()
                });
            }
        }
    }
    queries.push(CellQuery {
        scope: Scope::Agent(agent),
        ..hour()
    });
    let mut before = Vec::new();
    for query in &queries {
        before.push(cells(store, query).await);
    }
    // Within an hour of which a part is folded, then with all of it folded.
    for now in [T0 + 2 * DAY + 90 * MINUTE, T0 + 10 * DAY] {
        store.maintain(now).await.unwrap();
        for (query, before) in queries.iter().zip(&before) {
            assert_eq!(&cells(store, query).await, before, "{query:?} at {now}");
        }
    }
    store.maintain(T0 + 100 * DAY).await.unwrap();
    assert_eq!(cells(store, &queries[0]).await, [], "past its retention");
}

pub(crate) async fn a_question_without_end_is_answered(store: &impl Store) {
    let endless = |group| CellQuery {
        from_unix_ms: i64::MIN,
        to_unix_ms: i64::MAX,
        group,
        ..hour()
    };
    assert_eq!(cells(store, &endless(Group::All)).await, []);
    three_sites(store).await;
    for now in [T0, T0 + 3 * HOUR, T0 + 10 * DAY, T0 + 100 * DAY] {
        store.maintain(now).await.unwrap();
        let rows = cells(store, &endless(Group::All)).await;
        assert_eq!(
            (rows.len(), rows[0].at_unix_ms, rows[0].cell.n()),
            (1, i64::MIN, 6),
            "at {now}"
        );
        let by_hour = CellQuery {
            step_ms: Some(HOUR),
            ..endless(Group::Geography(GeographyLevel::Country))
        };
        assert_eq!(cells(store, &by_hour).await.len(), 2, "at {now}");
    }
}

pub(crate) async fn maintaining_twice_changes_nothing(store: &impl Store) {
    three_sites(store).await;
    store.maintain(T0 + 3 * HOUR).await.unwrap();
    let before = cells(store, &hour()).await;
    store.maintain(T0 + 3 * HOUR).await.unwrap();
    assert_eq!(cells(store, &hour()).await, before);
}

pub(crate) async fn a_site_that_moves_takes_its_recent_figures_along(store: &impl Store) {
    three_sites(store).await;
    store.maintain(T0 + 3 * HOUR).await.unwrap();
    store.put_site(&site(3, Some("BE"), None)).await.unwrap();
    let query = CellQuery {
        group: Group::Geography(GeographyLevel::Country),
        ..hour()
    };
    for maintained in [false, true] {
        if maintained {
            store.maintain(T0 + 3 * HOUR).await.unwrap();
        }
        let told: Vec<_> = cells(store, &query)
            .await
            .into_iter()
            .map(|row| (row.group, row.cell.n()))
            .collect();
        assert_eq!(
            told,
            [("BE".to_owned(), 2), ("NL".to_owned(), 4)],
            "maintained: {maintained}"
        );
    }
    // Once cells are gone a move rewrites no history.
    store.maintain(T0 + 10 * DAY).await.unwrap();
    store.put_site(&site(3, Some("LU"), None)).await.unwrap();
    store.maintain(T0 + 10 * DAY).await.unwrap();
    let told: Vec<_> = cells(store, &query)
        .await
        .into_iter()
        .map(|row| row.group)
        .collect();
    assert_eq!(told, ["BE", "NL"]);
}

pub(crate) async fn retention_keeps_what_it_should(store: &impl Store) {
    three_sites(store).await;
    let by_minute = CellQuery {
        step_ms: Some(MINUTE),
        ..hour()
    };
    let total = |rows: Vec<CellRow>| rows.iter().map(|row| row.cell.n()).sum::<u64>();
    for (days, want) in [(1, 6), (10, 6), (100, 6), (399, 6), (402, 0)] {
        store.maintain(T0 + days * DAY).await.unwrap();
        assert_eq!(
            total(cells(store, &by_minute).await),
            want,
            "after {days} days"
        );
    }
}
