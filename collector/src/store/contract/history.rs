//! The property under all promises about figures: whatever came in whatever order, the figures are those of all samples.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::rollup::{Cell, Histogram};

/// What happens in a history: an agent's report, or maintenance at an hour.
#[derive(Clone, Debug)]
enum Step {
    Report {
        agent: usize,
        samples: Vec<(i64, bool, Option<u32>)>,
    },
    Maintain {
        hours: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let told = (
        0..4 * HOUR,
        any::<bool>(),
        proptest::option::weighted(0.8, 1_000u32..400_000),
    );
    let report = (0..3usize, proptest::collection::vec(told, 1..12))
        .prop_map(|(agent, samples)| Step::Report { agent, samples });
    let maintain = (0..6i64).prop_map(|hours| Step::Maintain { hours });
    proptest::collection::vec(prop_oneof![3 => report, 1 => maintain], 1..24)
}

/// The truth: all samples in one place, merged by nothing but addition. Per target, loss counts where ever answered.
fn truth(samples: &[(usize, i64, bool, Option<u32>)]) -> Cell {
    let mut cell = Cell::default();
    for (agent, _, target, rtt) in samples {
        let answered = samples
            .iter()
            .any(|(a, _, t, rtt)| (a, t) == (agent, target) && rtt.is_some());
        if answered {
            cell.record(
                if rtt.is_some() {
                    Outcome::Answered
                } else {
                    Outcome::Timeout
                },
                rtt.unwrap_or(0),
            );
        }
    }
    cell
}

pub(crate) async fn any_history_gives_the_same_answers_after_maintenance(store: &impl Store) {
    let agents = [
        settle(store, &site(1, Some("NL"), None), 1).await,
        settle(store, &site(2, Some("NL"), None), 2).await,
        settle(store, &site(3, Some("BE"), None), 3).await,
    ];
    let mut sender = Sender::default();
    let mut runner = TestRunner::new(Config::default());
    let mut sent = Vec::new();
    // Histories follow each other in one store, so each begins where the last one left it.
    for _ in 0..8 {
        for step in steps().new_tree(&mut runner).unwrap().current() {
            match step {
                Step::Report { agent, samples } => {
                    let name = |target: bool| if target { "a" } else { "b" };
                    let report: Vec<_> = samples
                        .iter()
                        .map(|(at, target, rtt)| sample(T0 + at, name(*target), *rtt))
                        .collect();
                    sender.send(store, agents[agent], &report).await;
                    sent.extend(
                        samples
                            .into_iter()
                            .map(|(at, target, rtt)| (agent, at, target, rtt)),
                    );
                }
                Step::Maintain { hours } => store.maintain(T0 + hours * HOUR).await.unwrap(),
            }
            let query = CellQuery {
                to_unix_ms: T0 + 4 * HOUR,
                ..hour()
            };
            let rows = cells(store, &query).await;
            let mut told = rows
                .into_iter()
                .next()
                .map(|row| row.cell)
                .unwrap_or_default();
            told.weights = Histogram::default();
            assert_eq!(told, truth(&sent));
        }
    }
}
