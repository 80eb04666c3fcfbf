//! Which rollups are missing or out of date, and how far back the finer form goes.

use firstmile_wire::ids::OrganisationId;
use rusqlite::{OptionalExtension, Transaction, params};

use uuid::Uuid;

use super::engine;
use super::vantage::level_number;
use crate::api::types::GeographyLevel;
use crate::registry::SiteId;
use crate::rollup::{FIVE_MINUTES_MS, MINUTE_MS};
use crate::store::StoreResult;

/// Wire numbers of protocols and of phases: there are fewer of each.
const KINDS: std::ops::Range<i32> = 0..16;

/// Notes that a rollup is missing or out of date.
pub(super) fn mark_dirty(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    step_ms: i64,
    at_unix_ms: i64,
) -> StoreResult<()> {
    tx.prepare_cached("INSERT OR IGNORE INTO rollup_dirty (organisation, step_ms, at_unix_ms) VALUES (?1, ?2, ?3)")
        .and_then(|mut put| put.execute(params![organisation.as_str(), step_ms, at_unix_ms]))
        .map(drop)
        .map_err(engine("note that a rollup is due"))
}

/// Notes that the rollups of a site are out of date, as far back as they can be rebuilt.
pub(super) fn mark_site_dirty(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    site: SiteId,
) -> StoreResult<()> {
    tx.execute(
        "INSERT OR IGNORE INTO rollup_dirty (organisation, step_ms, at_unix_ms)
         SELECT DISTINCT ?1, ?3, cell.at_unix_ms - cell.at_unix_ms % ?3
         FROM agent CROSS JOIN agent_cell AS cell INDEXED BY agent_cell_by_agent
             ON cell.organisation = ?1 AND cell.agent_no = agent.agent_no
         WHERE agent.organisation = ?1 AND agent.site = ?2 AND cell.at_unix_ms >= ?4",
        params![
            organisation.as_str(),
            site.0.as_bytes(),
            FIVE_MINUTES_MS,
            horizon(tx, organisation, MINUTE_MS)?.max(0)
        ],
    )
    .map_err(engine("note that rollups are due"))?;
    mark_built(tx, organisation, site, "", None)
}

/// Notes that those of a site's rollups are out of date that are built, for one target ('' for all) and protocol, or all.
fn mark_built(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    site: SiteId,
    target: &str,
    protocol: Option<i32>,
) -> StoreResult<()> {
    let from = horizon(tx, organisation, MINUTE_MS)?.max(0);
    // One seek in the primary key for each kind that there may be.
    let mut mark = tx
        .prepare_cached(
            "INSERT OR IGNORE INTO rollup_dirty (organisation, step_ms, at_unix_ms)
             SELECT ?1, ?2, at_unix_ms FROM geography_rollup
             WHERE organisation = ?1 AND step_ms = ?2 AND level = ?3 AND protocol = ?4 AND phase = ?5 AND target = ?6
                 AND geography = ?7 AND at_unix_ms >= ?8",
        )
        .map_err(engine("note that rollups are due"))?;
    let site = site.to_string();
    let level = level_number(Some(GeographyLevel::Site));
    for kind in protocol.map_or(KINDS, |only| only..only + 1) {
        for phase in KINDS {
            let key = params![
                organisation.as_str(),
                FIVE_MINUTES_MS,
                level,
                kind,
                phase,
                target,
                site,
                from
            ];
            mark.execute(key)
                .map_err(engine("note that rollups are due"))?;
        }
    }
    Ok(())
}

/// Notes that the rollups of one target and protocol are out of date, for all agents of the site of `agent_no`.
pub(super) fn mark_target_dirty(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    agent_no: u32,
    target: &str,
    protocol: i32,
) -> StoreResult<()> {
    tx.execute(
        "INSERT OR IGNORE INTO rollup_dirty (organisation, step_ms, at_unix_ms)
         SELECT DISTINCT ?1, ?5, cell.at_unix_ms - cell.at_unix_ms % ?5
         FROM agent AS me CROSS JOIN agent AS other ON other.organisation = ?1 AND other.site = me.site
             CROSS JOIN agent_cell AS cell INDEXED BY agent_cell_by_agent
             ON cell.organisation = ?1 AND cell.agent_no = other.agent_no AND cell.protocol = ?4
         WHERE me.agent_no = ?2 AND cell.target = ?3 AND cell.at_unix_ms >= ?6",
        params![
            organisation.as_str(),
            agent_no,
            target,
            protocol,
            FIVE_MINUTES_MS,
            horizon(tx, organisation, MINUTE_MS)?.max(0)
        ],
    )
    .map_err(engine("note that rollups are due"))?;
    let site: Option<[u8; 16]> = tx
        .query_row(
            "SELECT site FROM agent WHERE agent_no = ?1",
            [agent_no],
            |row| row.get(0),
        )
        .optional()
        .map_err(engine("read an agent's site"))?;
    site.map_or(Ok(()), |site| {
        let site = SiteId(Uuid::from_bytes(site));
        mark_built(tx, organisation, site, target, Some(protocol))
    })
}

/// Before this time what has this step is deleted; `i64::MIN` while nothing ever was.
pub(super) fn horizon(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    step_ms: i64,
) -> StoreResult<i64> {
    tx.prepare_cached(
        "SELECT from_unix_ms FROM rollup_horizon WHERE organisation = ?1 AND step_ms = ?2",
    )
    .and_then(|mut find| {
        find.query_row(params![organisation.as_str(), step_ms], |row| row.get(0))
            .optional()
    })
    .map(|found| found.unwrap_or(i64::MIN))
    .map_err(engine("read how far back it goes"))
}

/// Notes that what has this step is deleted before a time.
pub(super) fn set_horizon(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    step_ms: i64,
    from_unix_ms: i64,
) -> StoreResult<()> {
    tx.prepare_cached(
        "INSERT INTO rollup_horizon (organisation, step_ms, from_unix_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET from_unix_ms = max(from_unix_ms, excluded.from_unix_ms)",
    )
    .and_then(|mut put| put.execute(params![organisation.as_str(), step_ms, from_unix_ms]))
    .map(drop)
    .map_err(engine("note how far back it goes"))
}

/// The oldest dirty window of a step that ended before `before_unix_ms`.
pub(super) fn oldest_dirty(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    step_ms: i64,
    before_unix_ms: i64,
) -> StoreResult<Option<i64>> {
    tx.prepare_cached(
        "SELECT at_unix_ms FROM rollup_dirty WHERE organisation = ?1 AND step_ms = ?2 AND at_unix_ms <= ?3
         ORDER BY at_unix_ms LIMIT 1",
    )
    .and_then(|mut find| {
        let latest = before_unix_ms.saturating_sub(step_ms);
        find.query_row(params![organisation.as_str(), step_ms, latest], |row| row.get(0)).optional()
    })
    .map_err(engine("find rollups that are due"))
}

/// Takes the mark of a window away.
pub(super) fn clean(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    step_ms: i64,
    at_unix_ms: i64,
) -> StoreResult<()> {
    tx.prepare_cached(
        "DELETE FROM rollup_dirty WHERE organisation = ?1 AND step_ms = ?2 AND at_unix_ms = ?3",
    )
    .and_then(|mut delete| delete.execute(params![organisation.as_str(), step_ms, at_unix_ms]))
    .map(drop)
    .map_err(engine("note that a rollup is built"))
}
