//! Questions about samples, whatever they are grouped by: one form for the page's interface, the command and exports.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use firstmile_wire::ids::OrganisationId;
use firstmile_wire::v1::{Phase, Protocol};
use ipnet::IpNet;

use super::{Scope, StoreResult};
use crate::api::types::GeographyLevel;
use crate::rollup::{Cell, Merged, Weighting};

/// Rows that one answer may have, unless its question says otherwise.
pub const ROWS_MAX: usize = 250_000;

/// What the rows of an answer are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Geography of the agent's site, as it is now.
    Geography(GeographyLevel),
    /// Identity of the agent.
    Agent,
    /// Name of the target.
    Target,
    /// How taken.
    Protocol,
    /// What timed.
    Phase,
    /// Address that was measured.
    Destination,
    /// The longest known prefix of that address; where none is known /24 or /48.
    Prefix,
    /// The AS that usually hands over to Microsoft on the way from the agent to the target.
    Provider,
    /// Metros of the edge that the target's headers name, by the agent's newest path.
    Edge,
    /// Metros where the agent's newest path to the target enters Microsoft's network.
    Ingress,
}

/// Every dimension with its word.
pub const DIMENSIONS: [(&str, Dimension); 13] = [
    ("country", Dimension::Geography(GeographyLevel::Country)),
    (
        "subdivision",
        Dimension::Geography(GeographyLevel::Subdivision),
    ),
    ("metro", Dimension::Geography(GeographyLevel::Metro)),
    ("site", Dimension::Geography(GeographyLevel::Site)),
    ("agent", Dimension::Agent),
    ("target", Dimension::Target),
    ("protocol", Dimension::Protocol),
    ("phase", Dimension::Phase),
    ("destination", Dimension::Destination),
    ("prefix", Dimension::Prefix),
    ("provider", Dimension::Provider),
    ("edge", Dimension::Edge),
    ("ingress", Dimension::Ingress),
];

impl Dimension {
    /// The one with a word.
    pub fn of_word(word: &str) -> Option<Self> {
        let found = DIMENSIONS.iter().find(|(known, _)| *known == word);
        found.map(|(_, dimension)| *dimension)
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        let found = DIMENSIONS.iter().find(|(_, known)| *known == self);
        found.map_or("", |(word, _)| word)
    }
}

/// Finds prefixes of addresses.
pub trait Prefixes: Send + Sync {
    /// The longest known prefix that holds an address.
    fn prefix(&self, address: IpAddr) -> Option<IpNet>;
}

/// How losses stand in quantiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Losses {
    /// Quantiles are of answered probes; losses are counted beside.
    #[default]
    Apart,
    /// A lost probe counts as one that took longer than all others. Only with [`Weighting::Sample`]: what an agent lost is not in
    /// its weights.
    Infinite,
}

/// What the groups of an answer are ranked by, largest first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rank {
    /// A quantile.
    Quantile(f64),
    /// The mean.
    Mean,
    /// The share that was lost.
    Loss,
    /// How many probes count.
    Count,
}

/// Which figures are asked for.
#[derive(Clone)]
pub struct Question {
    /// Start, inclusive.
    pub from_unix_ms: i64,
    /// End, exclusive.
    pub to_unix_ms: i64,
    /// Width of the answer's windows; a multiple of a minute. `None`: one window for all of it.
    pub step_ms: Option<i64>,
    /// What was measured: protocols with their phases.
    pub measures: Vec<(Protocol, Phase)>,
    /// One target, or all.
    pub target: Option<String>,
    /// Whose samples.
    pub scope: Scope,
    /// What rows are told apart by, beside their window.
    pub by: Vec<Dimension>,
    /// How quantiles and means of several agents are taken.
    pub weighting: Weighting,
    /// How losses stand in quantiles.
    pub losses: Losses,
    /// Shares of which the quantile is wanted, each above 0 and at most 1.
    pub quantiles: Vec<f64>,
    /// Only so many groups, the first by rank over all of the time.
    pub top: Option<(usize, Rank)>,
    /// Rows that the answer may have.
    pub rows_max: usize,
    /// Reads nothing from rollups though they would do.
    pub raw: bool,
    /// Where prefixes are looked up.
    pub prefixes: Option<Arc<dyn Prefixes>>,
    /// Once set, the store stops to read and fails with [`super::StoreError::Stopped`].
    pub stop: Arc<AtomicBool>,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("from_unix_ms", &self.from_unix_ms)
            .field("to_unix_ms", &self.to_unix_ms)
            .field("by", &self.by)
            .finish_non_exhaustive()
    }
}

impl Default for Question {
    fn default() -> Self {
        Self {
            from_unix_ms: 0,
            to_unix_ms: 0,
            step_ms: None,
            measures: vec![(Protocol::Tcp, Phase::Rtt)],
            target: None,
            scope: Scope::World,
            by: Vec::new(),
            weighting: Weighting::Agent,
            losses: Losses::Apart,
            quantiles: vec![0.5, 0.95, 0.99],
            top: None,
            rows_max: ROWS_MAX,
            raw: false,
            prefixes: None,
            stop: Arc::default(),
        }
    }
}

/// The values of a group, in the order of [`Question::by`].
pub type Key = Arc<[Arc<str>]>;

/// A quantile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantile {
    /// There is nothing to take it of.
    Unknown,
    /// In microseconds, within 0.8 %.
    Us(u32),
    /// It is one of those that were lost.
    Lost,
}

/// The figures of one group in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerRow {
    /// Start of the window.
    pub at_unix_ms: i64,
    /// The group.
    pub key: Key,
    /// Probes that count for loss.
    pub n: u64,
    /// Distinct agents behind them.
    pub agents: u32,
    /// Of `n` those that were lost.
    pub lost: u64,
    /// Probes of any outcome, also those that say nothing of the network.
    pub probes: u64,
    /// Smallest RTT, exact.
    pub min_us: Option<u32>,
    /// Mean RTT of those that were answered, within 0.8 %.
    pub mean_us: Option<f64>,
    /// As asked for, in that order.
    pub quantiles: Vec<Quantile>,
}

/// What an answer rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestsOn {
    /// Single samples that were read.
    pub samples: u64,
    /// Windows of rollups that were read.
    pub rollups: u64,
    /// Hours of agents' histories that were read.
    pub histories: u64,
    /// Cells of an earlier program, or of samples that came late.
    pub cells: u64,
    /// Chunks of samples and files of days that cannot be read: theirs are missing.
    pub damaged: u64,
}

/// The answer to a question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// By window, then group.
    pub rows: Vec<AnswerRow>,
    /// What it rests on.
    pub rests_on: RestsOn,
    /// Spans of whole windows for which no group has anything, in order: begin and end. At most [`GAPS_MAX`].
    pub gaps: Vec<(i64, i64)>,
}

/// Gaps that are told of.
pub const GAPS_MAX: usize = 100;

/// What a store holds, for whoever looks after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Reports on disk that are not in the figures yet.
    pub pending_reports: u64,
    /// Rows of samples that are in no file of a day yet.
    pub waiting_rows: u64,
    /// Bytes of the store's own file with its log.
    pub store_bytes: u64,
    /// Files of days.
    pub days: u64,
    /// Their bytes.
    pub days_bytes: u64,
    /// Days of which something cannot be read, such as `2026-11-23`, in order.
    pub damaged_days: Vec<String>,
}

/// The part of a store that answers questions.
#[async_trait]
pub trait Questions: Send + Sync + 'static {
    /// Answers. [`super::StoreError::TooMuch`] beyond [`ROWS_MAX`], [`super::StoreError::Stopped`] if told to stop.
    async fn ask(&self, organisation: &OrganisationId, question: &Question) -> StoreResult<Answer>;
    /// What it holds.
    async fn holdings(&self) -> StoreResult<Holdings>;
}

impl Question {
    /// What merged samples come to.
    pub fn row(&self, at_unix_ms: i64, key: Key, merged: &Merged) -> AnswerRow {
        let cell = &merged.cell;
        let histogram = match self.weighting {
            Weighting::Agent if !cell.weights.is_empty() => &cell.weights,
            Weighting::Agent | Weighting::Sample => &cell.answered,
        };
        let beyond = match self.losses {
            Losses::Apart => 0,
            Losses::Infinite => cell.lost,
        };
        let (least, nothing) = (cell.min_us.unwrap_or(0), histogram.is_empty());
        let mut quantiles = vec![Quantile::Unknown; self.quantiles.len()];
        histogram.each_quantile(&self.quantiles, beyond, |place, us| {
            if let Some(quantile) = quantiles.get_mut(place) {
                *quantile = match us {
                    // The middle of the lowest bucket may lie below the smallest RTT, which is known exactly.
                    Some(us) => Quantile::Us(us.max(least)),
                    None if beyond == 0 || nothing && cell.lost == 0 => Quantile::Unknown,
                    None => Quantile::Lost,
                };
            }
        });
        AnswerRow {
            at_unix_ms,
            key,
            n: cell.n(),
            agents: merged.agents.len(),
            lost: cell.lost,
            probes: cell.probes(),
            min_us: cell.min_us,
            mean_us: histogram.mean(),
            quantiles,
        }
    }

    /// The same over all of its time, with what groups are ranked by first among its quantiles.
    #[must_use]
    pub fn ranking(&self, rank: Rank) -> Self {
        let mut quantiles = match rank {
            Rank::Quantile(q) => vec![q],
            Rank::Mean | Rank::Loss | Rank::Count => Vec::new(),
        };
        quantiles.extend(&self.quantiles);
        Self {
            step_ms: None,
            quantiles,
            top: None,
            ..self.clone()
        }
    }
}

/// The first rows by rank, largest first.
pub fn first_rows(mut rows: Vec<AnswerRow>, n: usize, rank: Rank) -> Vec<AnswerRow> {
    let mean = |row: &AnswerRow| row.mean_us.unwrap_or(-1.0);
    // Equal when the groups' figures are: then the order of keys decides.
    rows.sort_by(|left, right| {
        let by_rank = match rank {
            Rank::Quantile(_) => right.quantiles.first().cmp(&left.quantiles.first()),
            Rank::Mean => mean(right).total_cmp(&mean(left)),
            Rank::Loss => loss(right).total_cmp(&loss(left)),
            Rank::Count => right.n.cmp(&left.n),
        };
        by_rank.then_with(|| left.key.cmp(&right.key))
    });
    rows.truncate(n);
    rows
}

/// The share that was lost; below all others if nothing is known.
fn loss(row: &AnswerRow) -> f64 {
    row.loss_ratio().unwrap_or(-1.0)
}

impl AnswerRow {
    /// Lost over [`AnswerRow::n`].
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of counts beyond 2^53 is still right to 15 digits"
    )]
    pub fn loss_ratio(&self) -> Option<f64> {
        (self.n > 0).then(|| self.lost as f64 / self.n as f64)
    }
}

/// A merged cell with nothing in it stands for no row.
pub fn is_nothing(cell: &Cell) -> bool {
    cell.probes() == 0
}
