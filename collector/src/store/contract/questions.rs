//! Promises about questions: any grouping, the same figures from samples and from rollups, a bound that is told.

use super::*;
use crate::api::types::GeographyLevel;
use crate::rollup::Weighting;
use crate::store::StoreError;
use crate::store::questions::{Answer, Dimension, Losses, Quantile, Question, Rank};

fn question() -> Question {
    Question {
        from_unix_ms: T0,
        to_unix_ms: T0 + HOUR,
        quantiles: vec![0.5],
        ..Question::default()
    }
}

async fn ask(store: &impl Store, question: &Question) -> Answer {
    store.ask(&default_organisation(), question).await.unwrap()
}

/// Each row as `group=n:median`.
fn told(answer: &Answer) -> Vec<String> {
    let median = |quantile: &Quantile| match quantile {
        Quantile::Unknown => "none".to_owned(),
        Quantile::Us(us) => (us / 1_000).to_string(),
        Quantile::Lost => "lost".to_owned(),
    };
    let row = |row: &crate::store::questions::AnswerRow| {
        format!(
            "{}={}:{}",
            row.key.join("/"),
            row.n,
            median(&row.quantiles[0])
        )
    };
    answer.rows.iter().map(row).collect()
}

/// Two agents in two countries; the second is slower, loses one of two of `b`, and measures over HTTPS too.
async fn two_agents(store: &impl Store) -> [AgentId; 2] {
    let agents = [
        settle(store, &site(1, Some("NL"), Some("Amsterdam")), 1).await,
        settle(store, &site(2, Some("DE"), None), 2).await,
    ];
    let address = Some(std::net::Ipv4Addr::new(192, 0, 2, 1).into());
    let at = |place: i64, target: &str, rtt| Sample {
        destination: address,
        ..sample(T0 + place * 20_000, target, rtt)
    };
    let mut sender = Sender::default();
    let fast = [
        at(0, "a", Some(10_400)),
        at(1, "a", Some(10_400)),
        at(2, "b", Some(20_400)),
    ];
    sender.send(store, agents[0], &fast).await;
    let https = Sample {
        protocol: Protocol::Https,
        phase: Phase::Connect,
        outcome: Outcome::Timeout,
        rtt_us: 0,
        ..at(5, "a", Some(1))
    };
    let slow = [
        at(0, "a", Some(30_400)),
        at(1, "b", Some(40_400)),
        at(2, "b", None),
        https,
    ];
    sender.send(store, agents[1], &slow).await;
    agents
}

pub(crate) async fn questions_are_answered_by_any_grouping(store: &impl Store) {
    let [first, second] = two_agents(store).await;
    let country = Dimension::Geography(GeographyLevel::Country);
    for (by, want) in [
        (vec![], vec!["=6:20".to_owned()]),
        (
            vec![country],
            vec!["DE=3:30".to_owned(), "NL=3:10".to_owned()],
        ),
        (
            vec![Dimension::Target],
            vec!["a=3:10".to_owned(), "b=3:20".to_owned()],
        ),
        (
            vec![Dimension::Target, country],
            ["a/DE=1:30", "a/NL=2:10", "b/DE=2:40", "b/NL=1:20"]
                .map(str::to_owned)
                .to_vec(),
        ),
        (
            vec![Dimension::Agent],
            vec![format!("{first}=3:10"), format!("{second}=3:30")],
        ),
        (
            vec![Dimension::Destination],
            vec!["192.0.2.1=6:20".to_owned()],
        ),
        (
            vec![Dimension::Prefix],
            vec!["192.0.2.0/24=6:20".to_owned()],
        ),
        (vec![Dimension::Provider], vec!["unknown=6:20".to_owned()]),
        (
            vec![Dimension::Edge, Dimension::Ingress],
            vec!["unknown/unknown=6:20".to_owned()],
        ),
        (
            vec![Dimension::Protocol, Dimension::Phase],
            vec!["tcp/rtt=6:20".to_owned()],
        ),
    ] {
        let asked = Question {
            by: by.clone(),
            weighting: Weighting::Sample,
            ..question()
        };
        let answer = ask(store, &asked).await;
        assert_eq!(told(&answer), want, "{by:?}");
        assert_eq!(
            (answer.rests_on.samples, answer.gaps.len()),
            (6, 0),
            "{by:?}"
        );
    }
    // What is not connected to has no first byte either.
    let https = Question {
        by: vec![Dimension::Phase, Dimension::Agent],
        measures: vec![
            (Protocol::Https, Phase::Connect),
            (Protocol::Https, Phase::Ttfb),
        ],
        ..question()
    };
    let rows = ask(store, &https).await.rows;
    let probes: Vec<u64> = rows.iter().map(|row| row.probes).collect();
    assert_eq!(probes, [1, 1]);
}

pub(crate) async fn losses_can_count_as_longer_than_all_answers(store: &impl Store) {
    two_agents(store).await;
    let asked = Question {
        by: vec![Dimension::Target],
        weighting: Weighting::Sample,
        losses: Losses::Infinite,
        quantiles: vec![0.5, 1.0],
        ..question()
    };
    let rows = ask(store, &asked).await.rows;
    let lost: Vec<(u64, bool)> = rows
        .iter()
        .map(|row| (row.lost, row.quantiles[1] == Quantile::Lost))
        .collect();
    assert_eq!(lost, [(0, false), (1, true)]);
}

pub(crate) async fn the_first_groups_are_those_of_all_the_time(store: &impl Store) {
    two_agents(store).await;
    let by = vec![Dimension::Geography(GeographyLevel::Country)];
    let asked = Question {
        by,
        step_ms: Some(MINUTE),
        top: Some((1, Rank::Quantile(0.95))),
        ..question()
    };
    let answer = ask(store, &asked).await;
    assert_eq!(told(&answer), ["DE=3:30"]);
    assert_eq!(answer.gaps, [(T0 + MINUTE, T0 + HOUR)]);
    let by_loss = Question {
        top: Some((2, Rank::Loss)),
        step_ms: None,
        ..asked
    };
    assert_eq!(told(&ask(store, &by_loss).await), ["DE=3:30", "NL=3:10"]);
}

pub(crate) async fn rollups_and_samples_give_the_same_figures(store: &impl Store) {
    two_agents(store).await;
    store.maintain(T0 + 3 * HOUR).await.unwrap();
    let level = GeographyLevel::Country;
    let rolled = Question {
        by: vec![Dimension::Geography(level), Dimension::Protocol],
        step_ms: Some(5 * MINUTE),
        quantiles: vec![0.05, 0.5, 0.95, 1.0],
        measures: vec![
            (Protocol::Tcp, Phase::Rtt),
            (Protocol::Https, Phase::Connect),
        ],
        ..question()
    };
    let from_rollups = ask(store, &rolled).await;
    let raw = Question {
        raw: true,
        ..rolled
    };
    let from_samples = ask(store, &raw).await;
    assert_eq!(from_rollups.rows, from_samples.rows);
    assert_eq!(from_rollups.rows.len(), 3);
    assert_eq!(
        (from_rollups.rests_on.samples, from_samples.rests_on.rollups),
        (0, 0)
    );
    assert!(from_rollups.rests_on.rollups > 0 && from_samples.rests_on.samples > 0);
}

pub(crate) async fn an_answer_that_would_be_too_long_is_refused_with_what_is_not(
    store: &impl Store,
) {
    two_agents(store).await;
    let asked = Question {
        from_unix_ms: T0 - 9 * 365 * DAY,
        step_ms: Some(MINUTE),
        by: vec![Dimension::Target],
        ..question()
    };
    let refused = store
        .ask(&default_organisation(), &asked)
        .await
        .unwrap_err();
    let StoreError::TooMuch { nearest, .. } = refused else {
        panic!("{refused}");
    };
    assert!(nearest.contains("3600 s"), "{nearest}");
    let given_up = question();
    given_up
        .stop
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let stopped = store.ask(&default_organisation(), &given_up).await;
    assert!(matches!(stopped, Err(StoreError::Stopped)), "{stopped:?}");
}
