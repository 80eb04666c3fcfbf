//! Windows of samples merged into mergeable summaries: per agent, then per geography.
//!
//! Pure: no socket, clock or file. A quantile is never averaged: histograms are added, then asked. What is lost is counted
//! beside the histogram and shown beside every quantile. The story and the figures: `docs/design/rollup.md`.

mod agents;
mod cell;
mod counting;
mod figures;
mod merge;

pub use agents::AgentSet;
pub use cell::{Cell, cells_of, phases_counted};
pub use counting::Counting;
pub use figures::{Weighting, figures};
pub use firstmile_columns::{AGENT_WEIGHT, DecodeError, Histogram, Tally};
pub use merge::{AgentMerge, Merged};

/// Width of an agent's own windows.
pub const MINUTE_MS: i64 = 60_000;

/// Width of the windows in which every agent has the same weight, and of the finest geography rollup.
pub const FIVE_MINUTES_MS: i64 = 5 * MINUTE_MS;

/// Width of the coarse geography rollup.
pub const HOUR_MS: i64 = 60 * MINUTE_MS;

/// Start of the window of width `step_ms` that `at_unix_ms` lies in; times before 1970 work too.
pub fn window_start(at_unix_ms: i64, step_ms: i64) -> i64 {
    at_unix_ms.div_euclid(step_ms).saturating_mul(step_ms)
}
