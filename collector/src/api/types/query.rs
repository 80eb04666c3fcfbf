//! Answers to questions about samples.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Window;

/// Which figures.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct QuestionQuery {
    /// What rows are told apart by, with commas: `country`, `subdivision`, `metro`, `site`, `agent`, `target`, `protocol`, `phase`,
    /// `destination`, `prefix`, `provider`, `edge`, `ingress`. One row for all when absent.
    pub by: Option<String>,
    /// `world` (when absent), `country:NL`, `subdivision:NL-NH`, `metro:NL/Amsterdam`, `site:ID` or `agent:ID`.
    pub scope: Option<String>,
    /// `15m`, `1h`, `6h`, `12h`, `1d`, `7d`, `30d`, up to now; `1h` when absent.
    pub window: Option<String>,
    /// Start in unix ms, instead of `window`.
    pub from: Option<String>,
    /// End in unix ms, instead of `window`.
    pub to: Option<String>,
    /// `none` (when absent): one row for all of the time; `auto`; or a multiple of a minute, such as `60s`, `5m`, `1h`.
    pub step: Option<String>,
    /// One or several of `tcp`, `icmp`, `https`, `tls`, `quic` and `dns`, with commas. `tcp` when absent; all of them when rows are told
    /// apart by protocol.
    pub protocol: Option<String>,
    /// `rtt`, `dns`, `connect`, `tls` or `ttfb`; each protocol's own when absent; all of them when rows are told apart by phase.
    pub phase: Option<String>,
    /// Only this target.
    pub target: Option<String>,
    /// Shares from above 0 to 1, with commas; `0.5,0.95,0.99` when absent.
    pub quantiles: Option<String>,
    /// How quantiles and means are weighted: `agent` (when absent) or `sample`.
    pub weighting: Option<String>,
    /// `apart` (when absent): quantiles are of answered probes; `infinite`: a lost one counts as longer than all others (only with
    /// `weighting=sample`).
    pub losses: Option<String>,
    /// Only so many groups, the first by `rank` over all of the time.
    pub top: Option<String>,
    /// What they are ranked by, largest first: `p95` (when absent; any `pNN`), `mean`, `loss` or `n`.
    pub rank: Option<String>,
    /// `auto` (when absent) or `raw`: from single samples though rollups would do.
    pub source: Option<String>,
    /// `json` (when absent) or `csv`.
    pub format: Option<String>,
}

/// Figures by window and group.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct QueryReport {
    /// What the figures cover.
    pub window: Window,
    /// Width of a row's window; absent when there is one for all of the time.
    pub step_s: Option<i64>,
    /// What rows are told apart by; a row's `group` has the values in this order.
    pub by: Vec<String>,
    /// `agent` or `sample`.
    pub weighting: String,
    /// The shares of `quantiles_us`, in this order.
    pub quantiles: Vec<f64>,
    /// By window, then group; by rank where there is one window and the first groups were asked for.
    pub rows: Vec<QueryRow>,
    /// What the figures rest on.
    pub rests_on: QueryRestsOn,
    /// Spans without any sample, at most 100.
    pub gaps: Vec<Window>,
}

/// One group in one window.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct QueryRow {
    /// Start of the window.
    pub at_unix_ms: i64,
    /// The group.
    pub group: Vec<String>,
    /// Probes that count: answered plus lost.
    pub n: u64,
    /// Agents behind them.
    pub agents: u32,
    /// Lost probes.
    pub lost: u64,
    /// Lost probes over `n`; absent when `n` is 0.
    pub loss_ratio: Option<f64>,
    /// Smallest RTT.
    pub min_us: Option<u32>,
    /// Mean RTT of answered probes.
    pub mean_us: Option<f64>,
    /// Quantiles, `null` without an answered probe, `lost` where losses count as infinite and it is one of them.
    pub quantiles_us: Vec<Option<QueryFigure>>,
}

/// A quantile.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum QueryFigure {
    /// Microseconds.
    Us(u32),
    /// The word `lost`.
    Lost(String),
}

/// What figures rest on.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct QueryRestsOn {
    /// Single samples that were read.
    pub samples: u64,
    /// Windows of rollups that were read.
    pub rollups: u64,
    /// Hours of agents' histories that were read.
    pub histories: u64,
    /// One-minute cells that were read: of samples that came late.
    pub cells: u64,
    /// Chunks of samples and files of days that cannot be read, so that theirs are missing.
    pub damaged: u64,
}
