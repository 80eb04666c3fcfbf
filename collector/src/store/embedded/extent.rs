//! What the store has of a span, and of all time.

use std::collections::BTreeSet;
use std::ops::Range;

use firstmile_wire::ids::OrganisationId;
use rusqlite::{Transaction, params};

use super::plan::Holdings;
use super::samples::Samples;
use super::{cell_table, engine, registry, sampled};
use crate::rollup::{FIVE_MINUTES_MS, HOUR_MS, MINUTE_MS, window_start};
use crate::store::StoreResult;

/// When the oldest sample, cell or rollup begins, and when the newest does.
pub(super) fn extent(
    tx: &Transaction<'_>,
    samples: &Samples,
    organisation: &OrganisationId,
) -> StoreResult<Option<(i64, i64)>> {
    let end_of = |sql: &str, step_ms: i64| -> StoreResult<Option<i64>> {
        tx.prepare_cached(sql)
            .and_then(|mut find| {
                find.query_row(params![organisation.as_str(), step_ms], |row| row.get(0))
            })
            .map_err(engine("read rollups"))
    };
    let mut extent = cell_table::wider(
        cell_table::extent(tx, organisation)?,
        sampled::extent(tx, samples, organisation)?,
    );
    for step_ms in [FIVE_MINUTES_MS, HOUR_MS] {
        let first = end_of(
            "SELECT min(at_unix_ms) FROM geography_rollup WHERE organisation = ?1 AND step_ms = ?2",
            step_ms,
        )?;
        let last = end_of(
            "SELECT max(at_unix_ms) FROM geography_rollup WHERE organisation = ?1 AND step_ms = ?2",
            step_ms,
        )?;
        extent = cell_table::wider(extent, first.zip(last));
    }
    Ok(extent)
}

/// What the store has in a span.
pub(super) fn holdings(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    span: &Range<i64>,
) -> StoreResult<Holdings> {
    let dirty = |step: i64| -> StoreResult<BTreeSet<i64>> {
        let sql = "SELECT at_unix_ms FROM rollup_dirty
            WHERE organisation = ?1 AND step_ms = ?2 AND at_unix_ms >= ?3 AND at_unix_ms < ?4";
        let from = window_start(span.start, step);
        let found = registry::all(
            tx,
            sql,
            params![organisation.as_str(), step, from, span.end],
            |row| row.get(0).map_err(engine("read which rollups are due")),
        )?;
        Ok(found.into_iter().collect())
    };
    Ok(Holdings {
        cells_from: super::dirty::horizon(tx, organisation, MINUTE_MS)?,
        five_minutes_from: super::dirty::horizon(tx, organisation, FIVE_MINUTES_MS)?,
        dirty_five_minutes: dirty(FIVE_MINUTES_MS)?,
        dirty_hours: dirty(HOUR_MS)?,
    })
}
