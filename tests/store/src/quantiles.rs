//! How far quantiles of merged sketches are off, against all values sorted.

use firstmile_columns::Histogram;

use crate::reference::{self, Agent};
use firstmile_figures::Figures;

/// Sketches that are merged, of as many samples each as five minutes of a series have.
const MERGES: usize = 10_000;
const ROUNDS: usize = 10;
/// Looked at: p1 to p99.9.
const QUANTILES: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999];

/// Notes the largest error, of all quantiles, as a ratio.
pub(crate) fn measure(seed: u64, figures: &mut Figures) {
    let (mut merged, mut values) = (Histogram::default(), Vec::new());
    let (mut sketches, mut number) = (0, 0);
    while sketches < MERGES {
        for block in reference::blocks(&mut Agent::new(seed, number), ROUNDS) {
            let mut one = Histogram::default();
            for rtt in block.rtts_us().iter().filter(|rtt| **rtt > 0) {
                one.record(*rtt);
                values.push(*rtt);
            }
            // As a store merges them: out of their bytes.
            let read = Histogram::from_bytes(&one.to_bytes()).unwrap_or_default();
            merged.merge(&read);
            sketches += 1;
        }
        number += 1;
    }
    values.sort_unstable();
    let errors = QUANTILES.iter().map(|q| error_of(&merged, &values, *q));
    figures.note("quantile_merges", sketches);
    figures.at_most("quantile_err_max", errors.fold(0.0, f64::max), 0.01);
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank among some ten thousand values"
)]
fn error_of(merged: &Histogram, sorted: &[u32], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    let exact = sorted
        .get(rank.saturating_sub(1))
        .copied()
        .map_or(f64::NAN, f64::from);
    let told = merged.quantile(q).map_or(f64::NAN, f64::from);
    let error = (told - exact).abs() / exact;
    if error.is_nan() { 1.0 } else { error }
}
