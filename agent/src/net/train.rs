//! Runs a train: each probe is a future of its own, so that a slow reply delays no later probe.

use std::future::Future;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::clock;
use crate::probe::Outcome;
use crate::probe::train::{Step, Train, TrainPlan};

/// Sends a train with `probe` and returns the outcomes in the order of sending.
pub(crate) async fn run<F>(plan: TrainPlan, probe: impl Fn() -> F) -> Vec<Outcome>
where
    F: Future<Output = Outcome>,
{
    let mut train = Train::new(plan, clock::now());
    let mut under_way = FuturesUnordered::new();
    loop {
        match train.poll(clock::now()) {
            Step::Finished => return train.into_outcomes(),
            Step::Transmit(seq) => {
                let sending = probe();
                under_way.push(async move { (seq, sending.await) });
            }
            Step::WaitUntil(deadline) => tokio::select! {
                () = tokio::time::sleep_until(deadline.into()) => {}
                Some((seq, outcome)) = under_way.next() => train.on_outcome(seq, outcome, clock::now()),
            },
        }
    }
}
