//! A cell as the figures that people read.

use serde::{Deserialize, Serialize};

use super::cell::Cell;
use crate::api::types::Figures;

/// How the quantiles of several agents are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// Each agent counts the same: one busy site does not hide the rest.
    #[default]
    Agent,
    /// Each probe counts the same.
    Sample,
}

/// The figures of a cell that `agents` agents stand behind.
///
/// Quantiles are of **answered** probes, in microseconds; lost ones do not enter, so every figure carries `n` and the loss.
/// Loss is per probe under either weighting: it is a count over a count.
pub fn figures(cell: &Cell, agents: u32, weighting: Weighting) -> Figures {
    let histogram = match weighting {
        Weighting::Agent if !cell.weights.is_empty() => &cell.weights,
        Weighting::Agent | Weighting::Sample => &cell.answered,
    };
    // The middle of the lowest bucket may lie below the smallest RTT, which is known exactly.
    let shares = [0.05, 0.25, 0.5, 0.75, 0.95, 0.99];
    let quantiles = histogram
        .quantiles(shares)
        .map(|us| us.map(|us| us.max(cell.min_us.unwrap_or(0))));
    let n = cell.n();
    Figures {
        n,
        agents,
        left_out: cell.left_out,
        mistimed: cell.mistimed,
        loss_ratio: ratio(cell.lost, n),
        min_us: cell.min_us,
        p5_us: quantiles[0],
        p25_us: quantiles[1],
        p50_us: quantiles[2],
        p75_us: quantiles[3],
        p95_us: quantiles[4],
        p99_us: quantiles[5],
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share of counts beyond 2^53 is still right to 15 digits"
)]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
