//! The table of one-minute cells, by kind and time.

use firstmile_wire::ids::OrganisationId;
use rusqlite::{OptionalExtension, Transaction, params};

use super::engine;
use crate::rollup::FIVE_MINUTES_MS;
use crate::store::StoreResult;

/// Which (protocol, phase) there are cells of: one seek in the primary key for each.
pub(super) fn kinds(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
) -> StoreResult<Vec<(i32, i32)>> {
    let mut find = tx
        .prepare_cached(
            "SELECT protocol, phase FROM agent_cell WHERE organisation = ?1 AND (protocol, phase) > (?2, ?3)
             ORDER BY protocol, phase LIMIT 1",
        )
        .map_err(engine("read cells"))?;
    let mut kinds = Vec::new();
    let mut last = (i32::MIN, i32::MIN);
    loop {
        let next = find
            .query_row(params![organisation.as_str(), last.0, last.1], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()
            .map_err(engine("read cells"))?;
        let Some(kind) = next else {
            return Ok(kinds);
        };
        kinds.push(kind);
        last = kind;
    }
}

/// Calls `each` with agent, target and bytes of every cell of a kind in a five-minute window.
pub(super) fn for_each_of_window(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    (protocol, phase): (i32, i32),
    at_unix_ms: i64,
    mut each: impl FnMut(u32, &str, &[u8]) -> StoreResult<()>,
) -> StoreResult<()> {
    let mut statement = tx
        .prepare_cached(
            "SELECT agent_no, target, cell FROM agent_cell WHERE organisation = ?1 AND protocol = ?2 AND phase = ?3
                 AND at_unix_ms >= ?4 AND at_unix_ms < ?5",
        )
        .map_err(engine("read cells"))?;
    let end = at_unix_ms.saturating_add(FIVE_MINUTES_MS);
    let mut rows = statement
        .query(params![
            organisation.as_str(),
            protocol,
            phase,
            at_unix_ms,
            end
        ])
        .map_err(engine("read cells"))?;
    while let Some(row) = rows.next().map_err(engine("read cells"))? {
        let read = || -> rusqlite::Result<_> {
            Ok((
                row.get(0)?,
                row.get_ref(1)?.as_str()?,
                row.get_ref(2)?.as_blob()?,
            ))
        };
        let (number, target, bytes) = read().map_err(engine("read cells"))?;
        each(number, target, bytes)?;
    }
    Ok(())
}

/// When the oldest cell begins, and when the newest does.
pub(super) fn extent(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
) -> StoreResult<Option<(i64, i64)>> {
    // One aggregate a statement: only then is it one seek in the primary key.
    let end_of = |sql: &str, (protocol, phase): (i32, i32)| -> rusqlite::Result<Option<i64>> {
        tx.prepare_cached(sql)?
            .query_row(params![organisation.as_str(), protocol, phase], |row| {
                row.get(0)
            })
    };
    let mut extent: Option<(i64, i64)> = None;
    for kind in kinds(tx, organisation)? {
        let first = end_of(
            "SELECT min(at_unix_ms) FROM agent_cell WHERE organisation = ?1 AND protocol = ?2 AND phase = ?3",
            kind,
        );
        let last = end_of(
            "SELECT max(at_unix_ms) FROM agent_cell WHERE organisation = ?1 AND protocol = ?2 AND phase = ?3",
            kind,
        );
        let found = first
            .map_err(engine("read cells"))?
            .zip(last.map_err(engine("read cells"))?);
        extent = wider(extent, found);
    }
    Ok(extent)
}

/// The span of both.
pub(super) fn wider(one: Option<(i64, i64)>, other: Option<(i64, i64)>) -> Option<(i64, i64)> {
    one.into_iter()
        .chain(other)
        .reduce(|(from, to), (other_from, other_to)| (from.min(other_from), to.max(other_to)))
}

/// Deletes the cells that begin within a span.
pub(super) fn delete(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    from_unix_ms: i64,
    to_unix_ms: i64,
) -> StoreResult<()> {
    for (protocol, phase) in kinds(tx, organisation)? {
        tx.prepare_cached(
            "DELETE FROM agent_cell WHERE organisation = ?1 AND protocol = ?2 AND phase = ?3
                 AND at_unix_ms >= ?4 AND at_unix_ms < ?5",
        )
        .and_then(|mut delete| {
            delete.execute(params![
                organisation.as_str(),
                protocol,
                phase,
                from_unix_ms,
                to_unix_ms
            ])
        })
        .map_err(engine("delete old cells"))?;
    }
    Ok(())
}
