//! Cells out of samples, beside those of the table: what came later than samples are kept, and what an earlier program wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use firstmile_columns::{Block, Row};
use firstmile_days::Asked;
use firstmile_wire::ids::OrganisationId;
use firstmile_wire::v1::{Outcome, Phase, Protocol};
use rusqlite::Transaction;
use tracing::error;

use super::dictionary::Series;
use super::samples::Samples;
use super::vantage::{Vantage, cell_or_skip};
use super::{cell_table, dirty, engine, registry};
use crate::ingest::batch::{Marks, Sample};
use crate::rollup::{Cell, FIVE_MINUTES_MS, MINUTE_MS, phases_counted, window_start};
use crate::store::{SampleQuery, StoreResult};

/// Which samples are wanted.
pub(super) struct Wanted<'a> {
    pub(super) organisation: &'a OrganisationId,
    pub(super) agents: &'a BTreeSet<u32>,
    /// Protocol and phase, or all.
    pub(super) kind: Option<(i32, i32)>,
    /// One target, or all.
    pub(super) target: Option<&'a str>,
    /// The minutes that begin within it.
    pub(super) span: &'a Range<i64>,
}

/// A cell: in which bucket of time, protocol, phase, whose, of which target.
pub(super) type Key<B> = (B, i32, i32, u32, Arc<str>);

/// What the samples come to, in buckets of time. What is before the horizon is in rollups and histories already.
pub(super) fn gather<B: Ord + Copy>(
    tx: &Transaction<'_>,
    samples: &Samples,
    wanted: &Wanted<'_>,
    bucket: impl Fn(i64) -> B,
) -> StoreResult<BTreeMap<Key<B>, Cell>> {
    let mut cells = BTreeMap::new();
    let horizon = dirty::horizon(tx, wanted.organisation, MINUTE_MS)?;
    let asked = Asked {
        agents: Some(wanted.agents),
        from_unix_ms: next_minute(wanted.span.start).max(horizon),
        to_unix_ms: next_minute(wanted.span.end),
        stop: None,
    };
    if wanted.agents.is_empty() || asked.from_unix_ms >= asked.to_unix_ms {
        return Ok(cells);
    }
    let Some(shown) = samples.shown(tx)? else {
        return Ok(cells);
    };
    let is_wanted = |agent: u32, number: u32| {
        let series = shown.dictionary.series(agent, number);
        series.is_some_and(|series| wanted.may_count(series))
    };
    let read = shown.view.read(&asked, is_wanted, |agent, block| {
        if let Some(series) = shown.dictionary.series(agent, block.series) {
            count(block, agent, series, wanted, &bucket, &mut cells);
        }
    });
    let read = read.map_err(engine("read samples"))?;
    if read.damaged > 0 {
        error!(
            damaged = read.damaged,
            "chunks of samples cannot be read and are missing in figures"
        );
    }
    Ok(cells)
}

/// Which blocks are wanted.
pub(super) struct Blocks<'a> {
    pub(super) organisation: &'a OrganisationId,
    pub(super) agents: &'a BTreeSet<u32>,
    /// The minutes that begin within it.
    pub(super) span: &'a Range<i64>,
    pub(super) stop: &'a AtomicBool,
}

/// Shows the samples of a span as they lie together: agent, block. What is before the horizon is in rollups and histories already. Says how many chunks
/// and files cannot be read.
pub(super) fn each_block(
    tx: &Transaction<'_>,
    samples: &Samples,
    blocks: &Blocks<'_>,
    is_wanted: impl Fn(u32, u32) -> bool,
    show: impl FnMut(u32, &Block),
) -> StoreResult<u64> {
    let horizon = dirty::horizon(tx, blocks.organisation, MINUTE_MS)?;
    let asked = Asked {
        agents: Some(blocks.agents),
        from_unix_ms: next_minute(blocks.span.start).max(horizon),
        to_unix_ms: next_minute(blocks.span.end),
        stop: Some(blocks.stop),
    };
    if blocks.agents.is_empty() || asked.from_unix_ms >= asked.to_unix_ms {
        return Ok(0);
    }
    let Some(shown) = samples.shown(tx)? else {
        return Ok(0);
    };
    let read = shown.view.read(&asked, is_wanted, show);
    let read = read.map_err(engine("read samples"))?;
    if read.damaged > 0 {
        error!(
            damaged = read.damaged,
            "chunks of samples cannot be read and are missing in figures"
        );
    }
    Ok(read.damaged as u64)
}

/// Single samples of an agent, by time.
pub(super) fn of_agent(
    tx: &Transaction<'_>,
    samples: &Samples,
    organisation: &OrganisationId,
    query: &SampleQuery,
) -> StoreResult<Vec<Sample>> {
    let Some(agent) = registry::agent_no(tx, organisation, query.agent)? else {
        return Ok(Vec::new());
    };
    let Some(shown) = samples.shown(tx)? else {
        return Ok(Vec::new());
    };
    let agents = BTreeSet::from([agent]);
    let asked = Asked {
        agents: Some(&agents),
        from_unix_ms: query.from_unix_ms,
        to_unix_ms: query.to_unix_ms,
        stop: None,
    };
    let of_target = |series: &Series| {
        let target = query.target.as_deref();
        target.is_none_or(|target| *series.target == *target)
    };
    let is_wanted = |agent: u32, number: u32| {
        let series = shown.dictionary.series(agent, number);
        series.is_some_and(of_target)
    };
    let mut found = Vec::new();
    let read = shown.view.read(&asked, is_wanted, |agent, block| {
        if let Some(series) = shown.dictionary.series(agent, block.series) {
            found.extend(block.rows().map(|row| sample_of(series, block, row)));
        }
    });
    let read = read.map_err(engine("read samples"))?;
    if read.damaged > 0 {
        error!(
            damaged = read.damaged,
            "chunks of samples cannot be read and are missing in a list"
        );
    }
    found.sort_by_key(|sample| sample.at_unix_ms);
    Ok(found)
}

fn sample_of(series: &Series, block: &Block, row: Row) -> Sample {
    Sample {
        at_unix_ms: row.at_unix_ms,
        target: Arc::clone(&series.target),
        destination: series.destination,
        protocol: Protocol::try_from(series.protocol).unwrap_or_default(),
        phase: Phase::try_from(series.phase).unwrap_or_default(),
        outcome: Outcome::try_from(i32::from(row.outcome)).unwrap_or_default(),
        rtt_us: row.rtt_us,
        reply_ttl: row.reply_ttl,
        marks: Marks(row.marks),
        scheduling_delay_us: block.scheduling_delay_max_us,
    }
}

/// All cells of a five-minute window of an organisation: of the table and of samples. One that is damaged is told and left out.
pub(super) fn of_window(
    tx: &Transaction<'_>,
    samples: &Samples,
    organisation: &OrganisationId,
    vantage: &Vantage,
    at_unix_ms: i64,
) -> StoreResult<BTreeMap<Key<()>, Cell>> {
    let agents = vantage.places.keys().copied().collect();
    let wanted = Wanted {
        organisation,
        agents: &agents,
        kind: None,
        target: None,
        span: &(at_unix_ms..at_unix_ms.saturating_add(FIVE_MINUTES_MS)),
    };
    let mut cells = gather(tx, samples, &wanted, |_| ())?;
    for (protocol, phase) in cell_table::kinds(tx, organisation)? {
        cell_table::for_each_of_window(
            tx,
            organisation,
            (protocol, phase),
            at_unix_ms,
            |number, target, bytes| {
                if let Some(cell) = cell_or_skip(bytes, number, at_unix_ms) {
                    let key = ((), protocol, phase, number, Arc::from(target));
                    cells.entry(key).or_default().merge(&cell);
                }
                Ok(())
            },
        )?;
    }
    Ok(cells)
}

/// When the first sample from the horizon on was taken, and the last one there is.
pub(super) fn extent(
    tx: &Transaction<'_>,
    samples: &Samples,
    organisation: &OrganisationId,
) -> StoreResult<Option<(i64, i64)>> {
    let Some(shown) = samples.shown(tx)? else {
        return Ok(None);
    };
    let horizon = dirty::horizon(tx, organisation, MINUTE_MS)?;
    let first = shown
        .view
        .first_from(horizon)
        .map_err(engine("read samples"))?;
    let last = shown.view.last().map_err(engine("read samples"))?;
    Ok(first.zip(last))
}

impl Wanted<'_> {
    /// Whether a sample of a series may count for what is wanted: its own phase, or a later one that it did not come to.
    fn may_count(&self, series: &Series) -> bool {
        let of_kind = self.kind.is_none_or(|(protocol, phase)| {
            series.protocol == protocol
                && (series.phase == phase
                    || Protocol::try_from(protocol)
                        .is_ok_and(|p| p == Protocol::Https || p == Protocol::Tls))
        });
        of_kind && self.target.is_none_or(|target| *series.target == *target)
    }
}

/// Counts the samples of a block. They come in order of time, so those of one bucket mostly follow each other.
fn count<B: Ord + Copy>(
    block: &Block,
    agent: u32,
    series: &Series,
    wanted: &Wanted<'_>,
    bucket: &impl Fn(i64) -> B,
    cells: &mut BTreeMap<Key<B>, Cell>,
) {
    let protocol = Protocol::try_from(series.protocol).unwrap_or_default();
    let phase = Phase::try_from(series.phase).unwrap_or_default();
    let mut open: Option<(B, i32, Cell)> = None;
    let mut close = |open: Option<(B, i32, Cell)>| {
        if let Some((at, phase, cell)) = open {
            let key = (
                at,
                series.protocol,
                phase,
                agent,
                Arc::clone(&series.target),
            );
            cells.entry(key).or_default().merge(&cell);
        }
    };
    for row in block.rows() {
        let outcome = Outcome::try_from(i32::from(row.outcome)).unwrap_or_default();
        let at = bucket(row.at_unix_ms);
        for phase in phases_counted(protocol, phase, outcome).map(i32::from) {
            if wanted.kind.is_some_and(|(_, only)| only != phase) {
                continue;
            }
            let same = open
                .as_ref()
                .is_some_and(|(known, of, _)| *known == at && *of == phase);
            if !same {
                close(open.replace((at, phase, Cell::default())));
            }
            if let Some((_, _, cell)) = open.as_mut() {
                cell.count(outcome, row.rtt_us, Marks(row.marks));
            }
        }
    }
    close(open);
}

/// The first minute that begins at a time or after it.
fn next_minute(at_unix_ms: i64) -> i64 {
    let minute = window_start(at_unix_ms, MINUTE_MS);
    if minute < at_unix_ms {
        minute.saturating_add(MINUTE_MS)
    } else {
        at_unix_ms
    }
}
