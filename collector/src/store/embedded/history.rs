//! An agent's figures beyond its one-minute cells: one row an hour.
//!
//! Cells are folded into history in the transaction that deletes them, so a sample is in one of the two, never in none or both;
//! a question about an agent adds what it finds in each.

use std::collections::BTreeSet;
use std::ops::Range;

use firstmile_wire::ids::OrganisationId;
use rusqlite::{OptionalExtension, Transaction, params};

use super::samples::Samples;
use super::vantage::{Answered, Vantage, cell_of, json_of};
use super::{engine, sampled};
use crate::rollup::{AgentMerge, Cell, HOUR_MS, window_start};
use crate::store::StoreResult;

/// A row within one hour: agent, protocol, phase, target ('' for all).
type RowKey = (u32, i32, i32, String);

/// Adds what is in a five-minute window to the hours of its agents. The caller deletes the cells and moves the horizon.
pub(super) fn fold(
    tx: &Transaction<'_>,
    samples: &Samples,
    organisation: &OrganisationId,
    at_unix_ms: i64,
) -> StoreResult<()> {
    let vantage = Vantage::load(tx, organisation)?;
    let answered = Answered::load(tx, organisation, None, None)?;
    let mut merge = AgentMerge::<RowKey>::new();
    let cells = sampled::of_window(tx, samples, organisation, &vantage, at_unix_ms)?;
    for (((), protocol, phase, number, target), cell) in cells {
        // Whether a target is answered may change later, so its own row is judged when asked for.
        merge.add((number, protocol, phase, target.to_string()), number, &cell);
        if let Some(place) = vantage.places.get(&number) {
            let cell = answered.judge(place.site, &target, protocol, cell);
            merge.add((number, protocol, phase, String::new()), number, &cell);
        }
    }
    let hour = window_start(at_unix_ms, HOUR_MS);
    for (key, merged) in merge.finish() {
        add(tx, organisation, &key, hour, merged.cell)?;
    }
    Ok(())
}

fn add(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    (number, protocol, phase, target): &RowKey,
    hour: i64,
    mut cell: Cell,
) -> StoreResult<()> {
    let organisation = organisation.as_str();
    let there: Option<Vec<u8>> = tx
        .prepare_cached(
            "SELECT cell FROM agent_history WHERE organisation = ?1 AND agent_no = ?2 AND protocol = ?3
                 AND phase = ?4 AND target = ?5 AND at_unix_ms = ?6",
        )
        .and_then(|mut find| {
            let key = params![organisation, number, protocol, phase, target, hour];
            find.query_row(key, |row| row.get(0)).optional()
        })
        .map_err(engine("read an agent's history"))?;
    if let Some(there) = there {
        cell.merge(&cell_of(&there)?);
    }
    tx.prepare_cached(
        "INSERT INTO agent_history (organisation, agent_no, protocol, phase, target, at_unix_ms, cell)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET cell = excluded.cell",
    )
    .and_then(|mut put| {
        put.execute(params![organisation, number, protocol, phase, target, hour, cell.to_bytes()])
    })
    .map(drop)
    .map_err(engine("write an agent's history"))
}

/// What is asked of history.
pub(super) struct Wanted<'a> {
    pub(super) agents: &'a BTreeSet<u32>,
    pub(super) protocol: i32,
    pub(super) phase: i32,
    /// One target, or `None` for each of them.
    pub(super) target: Option<&'a str>,
    pub(super) span: &'a Range<i64>,
}

/// Calls `each` with agent, target, hour and cell of every row that is wanted.
pub(super) fn for_each(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    wanted: &Wanted<'_>,
    mut each: impl FnMut(u32, &str, i64, Cell),
) -> StoreResult<()> {
    let sql = "SELECT agent_no, target, at_unix_ms, cell FROM agent_history
        WHERE organisation = ?1 AND agent_no IN (SELECT value FROM json_each(?2)) AND protocol = ?3 AND phase = ?4
            AND (?5 IS NULL AND target <> '' OR target = ?5) AND at_unix_ms >= ?6 AND at_unix_ms < ?7";
    let mut statement = tx.prepare_cached(sql).map_err(engine("read history"))?;
    let agents = json_of(wanted.agents)?;
    let (from, to) = (wanted.span.start, wanted.span.end);
    let key = params![
        organisation.as_str(),
        agents,
        wanted.protocol,
        wanted.phase,
        wanted.target,
        from,
        to
    ];
    let mut rows = statement.query(key).map_err(engine("read history"))?;
    while let Some(row) = rows.next().map_err(engine("read history"))? {
        let read = || -> rusqlite::Result<(u32, &str, i64, &[u8])> {
            Ok((
                row.get(0)?,
                row.get_ref(1)?.as_str()?,
                row.get(2)?,
                row.get_ref(3)?.as_blob()?,
            ))
        };
        let (number, target, at, bytes) = read().map_err(engine("read history"))?;
        each(number, target, at, cell_of(bytes)?);
    }
    Ok(())
}

/// Deletes some rows before a time; says how many.
pub(super) fn forget(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    before_unix_ms: i64,
    limit: u32,
) -> StoreResult<usize> {
    tx.prepare_cached(
        "DELETE FROM agent_history WHERE (organisation, agent_no, protocol, phase, target, at_unix_ms) IN (
             SELECT organisation, agent_no, protocol, phase, target, at_unix_ms
             FROM agent_history INDEXED BY agent_history_by_time
             WHERE organisation = ?1 AND at_unix_ms < ?2 LIMIT ?3)",
    )
    .and_then(|mut delete| delete.execute(params![organisation.as_str(), before_unix_ms, limit]))
    .map_err(engine("delete old history"))
}
