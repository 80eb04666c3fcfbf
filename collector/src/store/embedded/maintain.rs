//! Rollups of closed windows, and the end of what is past retention: one short transaction at a time.
//!
//! A window is *dirty* from the moment a sample of it is written until its rollup is built from all its samples and cells. Building deletes
//! the old rollup and writes the new one in the transaction that takes the mark away, so doing it twice changes nothing. Once
//! cells are deleted ([`horizon`]) a window cannot be rebuilt: what comes late is then added to its rollup and deleted at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firstmile_wire::ids::OrganisationId;
use rusqlite::{Transaction, params};
use tracing::warn;

use super::dirty::{clean, horizon, mark_dirty, oldest_dirty, set_horizon};
use super::samples::{Samples, first_day};
use super::vantage::{Answered, LEVELS, Vantage, level_number, merged_of};
use super::writer::Durability;
use super::{
    Embedded, Retention, cell_table, desk, engine, events, history, inbox, incidents, joined,
    millis, notifying, paths, registry, route_counts, routing, sampled,
};
use crate::registry::SiteId;
use crate::rollup::{AgentMerge, FIVE_MINUTES_MS, HOUR_MS, MINUTE_MS, Merged, window_start};
use crate::store::StoreResult;

/// A window is rolled up this long after its end, so that reports on their usual way are in. Later ones make it dirty again.
const SETTLE_MS: i64 = 60_000;

/// Rows that one transaction deletes, so that it stays short.
const CHUNK: u32 = 2_000;

/// A rollup row within one window: level, geography, protocol, phase, target ('' for all).
type RowKey = (u8, Arc<str>, i32, i32, String);

/// Does all that is due, one short transaction at a time, so that reports are stored in between.
pub(super) async fn run(store: &Embedded, now_unix_ms: i64) -> StoreResult<()> {
    let retention = store.retention;
    loop {
        let samples = Arc::clone(&store.samples);
        let step = move |tx: &Transaction<'_>| step(tx, &samples, &retention, now_unix_ms);
        let action = "maintain its rollups";
        let stepped = store.writer.run(Durability::Replayable, action, step);
        if !stepped.await? {
            return seal(store, now_unix_ms).await;
        }
    }
}

/// Writes samples that waited long enough into the files of days, and deletes the days that are past retention. A day is kept
/// for one more: who reads it now may have begun before.
async fn seal(store: &Embedded, now_unix_ms: i64) -> StoreResult<()> {
    let (samples, then) = (Arc::clone(&store.samples), Arc::clone(&store.samples));
    let kept = store.retention.raw.max(store.retention.rollup_1m);
    let latest = now_unix_ms.saturating_sub(millis(kept.saturating_add(Duration::from_hours(24))));
    let prepare = move |tx: &Transaction<'_>| {
        samples.prepare(tx, now_unix_ms)?;
        first_day(tx, latest)
    };
    let seal = move |first| then.seal(now_unix_ms, first);
    let action = "write samples of days";
    let run = store
        .writer
        .run_then(Durability::Full, action, prepare, seal);
    run.await
}

/// Does one piece of work that is due. False: there is none.
fn step(
    tx: &Transaction<'_>,
    samples: &Samples,
    retention: &Retention,
    now_unix_ms: i64,
) -> StoreResult<bool> {
    for organisation in registry::organisations(tx)? {
        if build_due_window(tx, samples, &organisation, now_unix_ms)?
            || build_due_hour(tx, &organisation, now_unix_ms)?
            || delete_old_cells(
                tx,
                samples,
                &organisation,
                now_unix_ms.saturating_sub(millis(retention.rollup_1m)),
            )?
            || delete_old_history(
                tx,
                &organisation,
                now_unix_ms.saturating_sub(millis(retention.rollup_5m)),
            )?
            || delete_old_rollups(
                tx,
                &organisation,
                FIVE_MINUTES_MS,
                now_unix_ms.saturating_sub(millis(retention.rollup_5m)),
            )?
            || delete_old_rollups(
                tx,
                &organisation,
                HOUR_MS,
                now_unix_ms.saturating_sub(millis(retention.rollup_1h)),
            )?
            || events::give_up(tx, &organisation, now_unix_ms)? > 0
        {
            return Ok(true);
        }
    }
    if inbox::forget(tx, now_unix_ms.saturating_sub(millis(retention.raw)), CHUNK)? > 0 {
        return Ok(true);
    }
    let past = now_unix_ms.saturating_sub(millis(retention.events));
    let incidents = incidents::forget(tx, past)?;
    Ok(incidents
        + events::forget(tx, past)?
        + paths::forget(tx, past)?
        + registry::forget(tx, past)?
        + notifying::forget(tx, past)?
        + desk::forget(tx, past)?
        + route_counts::forget(tx, past)?
        + routing::forget(tx, past)?
        + joined::forget(tx)?
        > 0)
}

/// Builds the oldest five-minute window that is due.
fn build_due_window(
    tx: &Transaction<'_>,
    samples: &Samples,
    organisation: &OrganisationId,
    now_unix_ms: i64,
) -> StoreResult<bool> {
    let settled = now_unix_ms.saturating_sub(SETTLE_MS);
    let Some(at) = oldest_dirty(tx, organisation, FIVE_MINUTES_MS, settled)? else {
        return Ok(false);
    };
    let end = at.saturating_add(FIVE_MINUTES_MS);
    clean(tx, organisation, FIVE_MINUTES_MS, at)?;
    if at < horizon(tx, organisation, FIVE_MINUTES_MS)? {
        cell_table::delete(tx, organisation, at, end)?;
        warn!(%organisation, at_unix_ms = at, "samples came later than rollups are kept and were dropped");
        return Ok(true);
    }
    let mut rows = geography_rows(tx, samples, organisation, at)?;
    if at < horizon(tx, organisation, MINUTE_MS)? {
        for (key, merged) in rows_of(tx, organisation, at, FIVE_MINUTES_MS)? {
            rows.entry(key).or_default().merge(&merged);
        }
        history::fold(tx, samples, organisation, at)?;
        cell_table::delete(tx, organisation, at, end)?;
    }
    write_rows(tx, organisation, FIVE_MINUTES_MS, at, &rows)?;
    mark_dirty(tx, organisation, HOUR_MS, window_start(at, HOUR_MS))?;
    Ok(true)
}

/// Builds the oldest hour that is due, unless a five-minute window of it is (that one comes first).
fn build_due_hour(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    now_unix_ms: i64,
) -> StoreResult<bool> {
    let settled = now_unix_ms.saturating_sub(SETTLE_MS);
    let Some(at) = oldest_dirty(tx, organisation, HOUR_MS, settled)? else {
        return Ok(false);
    };
    clean(tx, organisation, HOUR_MS, at)?;
    if at >= horizon(tx, organisation, FIVE_MINUTES_MS)? {
        let rows = rows_of(tx, organisation, at, HOUR_MS)?;
        write_rows(tx, organisation, HOUR_MS, at, &rows)?;
    }
    Ok(true)
}

/// What is in one five-minute window, merged per geography: each level, each target and all targets together.
fn geography_rows(
    tx: &Transaction<'_>,
    samples: &Samples,
    organisation: &OrganisationId,
    at_unix_ms: i64,
) -> StoreResult<BTreeMap<RowKey, Merged>> {
    let vantage = Vantage::load(tx, organisation)?;
    let answered = Answered::load(tx, organisation, None, None)?;
    let mut rows = BTreeMap::<RowKey, Merged>::new();
    // Agents of a site share all their geographies, so they are weighted and merged once and then handed to each level.
    let mut merge = AgentMerge::<(SiteId, i32, i32, String)>::new();
    let mut places = BTreeMap::new();
    let cells = sampled::of_window(tx, samples, organisation, &vantage, at_unix_ms)?;
    for (((), protocol, phase, number, target), cell) in cells {
        if let Some(place) = vantage.places.get(&number) {
            let cell = answered.judge(place.site, &target, protocol, cell);
            merge.add(
                (place.site, protocol, phase, target.to_string()),
                number,
                &cell,
            );
            merge.add((place.site, protocol, phase, String::new()), number, &cell);
            places.insert(place.site, place);
        }
    }
    for ((site, protocol, phase, target), merged) in merge.finish() {
        let Some(place) = places.get(&site) else {
            continue;
        };
        for level in LEVELS {
            let geography = Arc::clone(place.keys.at(level));
            let key = (
                level_number(level),
                geography,
                protocol,
                phase,
                target.clone(),
            );
            rows.entry(key).or_default().merge(&merged);
        }
    }
    Ok(rows)
}

/// Five-minute rollups that begin within a span, merged over time.
fn rows_of(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    at_unix_ms: i64,
    width_ms: i64,
) -> StoreResult<BTreeMap<RowKey, Merged>> {
    let sql = "SELECT level, geography, protocol, phase, target, agents, cell FROM geography_rollup
        INDEXED BY geography_rollup_by_time
        WHERE organisation = ?1 AND step_ms = ?2 AND at_unix_ms >= ?3 AND at_unix_ms < ?4";
    let span = params![
        organisation.as_str(),
        FIVE_MINUTES_MS,
        at_unix_ms,
        at_unix_ms.saturating_add(width_ms)
    ];
    let mut rows = BTreeMap::<RowKey, Merged>::new();
    let found = registry::all(tx, sql, span, |row| {
        let read = || -> rusqlite::Result<(RowKey, Vec<u8>, Vec<u8>)> {
            let key = (
                row.get(0)?,
                row.get::<_, Arc<str>>(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
            );
            Ok((key, row.get(5)?, row.get(6)?))
        };
        let (key, agents, cell) = read().map_err(engine("read rollups"))?;
        Ok((key, merged_of(&agents, &cell)?))
    })?;
    for (key, merged) in found {
        rows.entry(key).or_default().merge(&merged);
    }
    Ok(rows)
}

/// Replaces the rollup of a window.
fn write_rows(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    step_ms: i64,
    at_unix_ms: i64,
    rows: &BTreeMap<RowKey, Merged>,
) -> StoreResult<()> {
    let organisation = organisation.as_str();
    let write = || -> rusqlite::Result<()> {
        tx.prepare_cached(
            "DELETE FROM geography_rollup WHERE organisation = ?1 AND step_ms = ?2 AND at_unix_ms = ?3",
        )?
        .execute(params![organisation, step_ms, at_unix_ms])?;
        let mut name = tx.prepare_cached(
            "INSERT OR IGNORE INTO geography (organisation, level, geography) VALUES (?1, ?2, ?3)",
        )?;
        let mut put = tx.prepare_cached(
            "INSERT INTO geography_rollup (organisation, step_ms, level, protocol, phase, target, geography,
                 at_unix_ms, agents, cell) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        for ((level, geography, protocol, phase, target), merged) in rows {
            name.execute(params![organisation, level, geography])?;
            put.execute(params![
                organisation,
                step_ms,
                level,
                protocol,
                phase,
                target,
                geography,
                at_unix_ms,
                merged.agents.to_bytes(),
                merged.cell.to_bytes()
            ])?;
        }
        Ok(())
    };
    write().map_err(engine("write rollups"))
}

/// Deletes the oldest cells before a time, one five-minute window at a time: those of a window go together with the step of the
/// horizon, so a rollup is never rebuilt from a part of its cells.
fn delete_old_cells(
    tx: &Transaction<'_>,
    samples: &Samples,
    organisation: &OrganisationId,
    before_unix_ms: i64,
) -> StoreResult<bool> {
    let goal = window_start(before_unix_ms, FIVE_MINUTES_MS);
    let from = horizon(tx, organisation, MINUTE_MS)?;
    let due = oldest_dirty(tx, organisation, FIVE_MINUTES_MS, goal)?;
    let in_table = cell_table::extent(tx, organisation)?;
    let Some(oldest) = cell_table::wider(in_table, sampled::extent(tx, samples, organisation)?)
        .map(|(oldest, _)| oldest)
        .filter(|at| *at < goal)
    else {
        if from < goal && due.is_none() {
            set_horizon(tx, organisation, MINUTE_MS, goal)?;
        }
        return Ok(false);
    };
    let window = window_start(oldest, FIVE_MINUTES_MS);
    if due.is_some_and(|due| due <= window) {
        // Its rollup comes first; unless it is in the future, the next step builds it.
        return Ok(false);
    }
    let end = window.saturating_add(FIVE_MINUTES_MS);
    history::fold(tx, samples, organisation, window)?;
    cell_table::delete(tx, organisation, window, end)?;
    set_horizon(tx, organisation, MINUTE_MS, end)?;
    Ok(true)
}

fn delete_old_history(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    before_unix_ms: i64,
) -> StoreResult<bool> {
    Ok(history::forget(
        tx,
        organisation,
        window_start(before_unix_ms, HOUR_MS),
        CHUNK,
    )? > 0)
}

/// Deletes some rollups before a time. The horizon is set first: from then on nobody reads or rebuilds them.
fn delete_old_rollups(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    step_ms: i64,
    before_unix_ms: i64,
) -> StoreResult<bool> {
    let goal = window_start(before_unix_ms, HOUR_MS);
    set_horizon(tx, organisation, step_ms, goal)?;
    let deleted = tx
        .prepare_cached(
            "DELETE FROM geography_rollup WHERE (organisation, step_ms, level, protocol, phase, target, geography,
                 at_unix_ms) IN (SELECT organisation, step_ms, level, protocol, phase, target, geography, at_unix_ms
                 FROM geography_rollup INDEXED BY geography_rollup_by_time
                 WHERE organisation = ?1 AND step_ms = ?2 AND at_unix_ms < ?3 LIMIT ?4)",
        )
        .and_then(|mut delete| delete.execute(params![organisation.as_str(), step_ms, goal, CHUNK]))
        .map_err(engine("delete old rollups"))?;
    Ok(deleted > 0)
}
