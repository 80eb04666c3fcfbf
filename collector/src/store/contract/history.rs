//! The property under all promises about figures: whatever came in whatever order, the figures are those of all samples.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;
use crate::rollup::{Cell, Histogram};

/// One sample: when after [`T0`], of target `a` rather than `b`, its RTT or a loss.
type Told = (i64, bool, Option<u32>);

/// What happens in a history: an agent's report, or maintenance some hours after [`T0`].
#[derive(Clone, Debug)]
enum Step {
    Report { agent: usize, samples: Vec<Told> },
    Maintain { hours: i64 },
}

fn steps(maintain_until_hours: i64) -> impl Strategy<Value = Vec<Step>> {
    let told = (
        0..4 * HOUR,
        any::<bool>(),
        proptest::option::weighted(0.8, 1_000u32..400_000),
    );
    let report = (0..3usize, proptest::collection::vec(told, 1..12))
        .prop_map(|(agent, samples)| Step::Report { agent, samples });
    let maintain = (0..maintain_until_hours).prop_map(|hours| Step::Maintain { hours });
    proptest::collection::vec(prop_oneof![3 => report, 1 => maintain], 1..24)
}

/// Histories follow each other in one store: each begins where the last one left it.
struct Histories {
    runner: TestRunner,
    /// Told when a promise is broken.
    seed: [u8; 32],
    agents: [AgentId; 3],
    sender: Sender,
    sent: Vec<(usize, Told)>,
}

impl Histories {
    async fn begin(store: &impl Store) -> Self {
        let seed: [u8; 32] = rand::random();
        Self {
            runner: TestRunner::new_with_rng(
                Config::default(),
                TestRng::from_seed(RngAlgorithm::ChaCha, &seed),
            ),
            seed,
            agents: [
                settle(store, &site(1, Some("NL"), None), 1).await,
                settle(store, &site(2, Some("NL"), None), 2).await,
                settle(store, &site(3, Some("BE"), None), 3).await,
            ],
            sender: Sender::default(),
            sent: Vec::new(),
        }
    }

    fn draw(&mut self, maintain_until_hours: i64) -> Vec<Step> {
        steps(maintain_until_hours)
            .new_tree(&mut self.runner)
            .unwrap()
            .current()
    }

    async fn take(&mut self, store: &impl Store, step: Step) {
        match step {
            Step::Report { agent, samples } => {
                let name = |is_a: bool| if is_a { "a" } else { "b" };
                let report: Vec<_> = samples
                    .iter()
                    .map(|(at, is_a, rtt)| sample(T0 + at, name(*is_a), *rtt))
                    .collect();
                self.sender.send(store, self.agents[agent], &report).await;
                self.sent
                    .extend(samples.into_iter().map(|told| (agent, told)));
            }
            Step::Maintain { hours } => store.maintain(T0 + hours * HOUR).await.unwrap(),
        }
    }

    /// All samples in one place, merged by nothing but addition. Per target, loss counts where ever answered.
    fn truth(&self) -> Cell {
        let answered = |agent: usize, is_a: bool| {
            self.sent.iter().any(|(other, (_, target, rtt))| {
                (*other, *target) == (agent, is_a) && rtt.is_some()
            })
        };
        let mut cell = Cell::default();
        for (agent, (_, is_a, rtt)) in &self.sent {
            match rtt {
                Some(rtt_us) => cell.record(Outcome::Answered, *rtt_us),
                None if answered(*agent, *is_a) => cell.record(Outcome::Timeout, 0),
                None => cell.unanswered += 1,
            }
        }
        cell
    }

    /// What the store tells, merged over its groups; weights are another promise.
    async fn check(&self, store: &impl Store, group: Group) {
        let query = CellQuery {
            to_unix_ms: T0 + 4 * HOUR,
            group,
            ..hour()
        };
        let mut told = Cell::default();
        for row in cells(store, &query).await {
            told.merge(&row.cell);
        }
        told.weights = Histogram::default();
        assert_eq!(told, self.truth(), "{group:?}, seed {:?}", self.seed);
    }
}

pub(crate) async fn any_history_gives_the_same_answers_after_maintenance(store: &impl Store) {
    let mut histories = Histories::begin(store).await;
    for _ in 0..8 {
        for step in histories.draw(6) {
            histories.take(store, step).await;
            histories.check(store, Group::All).await;
        }
    }
}

pub(crate) async fn any_history_outlives_its_cells(store: &impl Store) {
    let mut histories = Histories::begin(store).await;
    // Everything is answered from the start: what is not answered when its cells go is never counted later.
    for agent in 0..3 {
        let samples = vec![(0, true, Some(9_000)), (0, false, Some(9_000))];
        histories.take(store, Step::Report { agent, samples }).await;
    }
    for _ in 0..8 {
        for step in histories.draw(60) {
            histories.take(store, step).await;
            for group in [Group::All, Group::Agent, Group::AgentTarget] {
                histories.check(store, group).await;
            }
        }
    }
}
