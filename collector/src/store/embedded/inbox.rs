//! Reports as received: durable before they are acknowledged, each once, pending until applied.

use firstmile_wire::ids::{AgentId, Epoch, OrganisationId, ReportKey};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::engine;
use crate::store::{Appended, InboxReport, StoreError, StoreResult};

/// What becomes of a report; the number is what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Pending = 0,
    Applied = 1,
    SetAside = 2,
}

/// Stores those of `reports` that are new.
pub(super) fn append(tx: &Transaction<'_>, reports: &[InboxReport]) -> StoreResult<Vec<Appended>> {
    reports
        .iter()
        .map(|report| append_one(tx, report).map_err(engine("store a report")))
        .collect()
}

fn append_one(tx: &Transaction<'_>, report: &InboxReport) -> rusqlite::Result<Appended> {
    let (organisation, agent, epoch, sequence) = columns(&report.key);
    let forgotten: Option<i64> = tx
        .prepare_cached(
            "SELECT forgotten FROM epoch WHERE organisation = ?1 AND agent = ?2 AND epoch = ?3",
        )?
        .query_row(params![organisation, agent, epoch], |row| row.get(0))
        .optional()?;
    if forgotten.is_some_and(|forgotten| sequence <= forgotten) {
        return Ok(Appended::Duplicate);
    }
    let stored = tx
        .prepare_cached(
            "INSERT INTO inbox (organisation, agent, epoch, sequence, received_unix_ms, state, frame)
             VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6) ON CONFLICT (organisation, agent, epoch, sequence) DO NOTHING",
        )?
        .execute(params![organisation, agent, epoch, sequence, report.received_unix_ms, report.frame])?;
    if stored == 0 {
        let is_same: bool = tx
            .prepare_cached(
                "SELECT frame = ?5 FROM inbox
                 WHERE organisation = ?1 AND agent = ?2 AND epoch = ?3 AND sequence = ?4",
            )?
            .query_row(
                params![organisation, agent, epoch, sequence, report.frame],
                |row| row.get(0),
            )?;
        return Ok(if is_same {
            Appended::Duplicate
        } else {
            Appended::Conflict
        });
    }
    tx.prepare_cached(
        "INSERT INTO epoch (organisation, agent, epoch, stored, forgotten) VALUES (?1, ?2, ?3, ?4, 0)
         ON CONFLICT DO UPDATE SET stored = max(stored, excluded.stored)",
    )?
    .execute(params![organisation, agent, epoch, sequence])?;
    Ok(Appended::Stored)
}

/// Highest sequence stored of an epoch, 0 when none.
pub(super) fn watermark(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    agent: AgentId,
    epoch: Epoch,
) -> StoreResult<u64> {
    tx.prepare_cached(
        "SELECT stored FROM epoch WHERE organisation = ?1 AND agent = ?2 AND epoch = ?3",
    )
    .and_then(|mut statement| {
        let key = params![
            organisation.as_str(),
            agent.0.as_bytes(),
            epoch.0.as_bytes()
        ];
        statement
            .query_row(key, |row| row.get::<_, i64>(0))
            .optional()
    })
    .map(|stored| stored.unwrap_or(0).cast_unsigned())
    .map_err(engine("read a watermark"))
}

/// Reports that wait to be applied, oldest first.
pub(super) fn pending(tx: &Transaction<'_>, limit: u32) -> StoreResult<Vec<InboxReport>> {
    let mut statement = tx
        .prepare_cached(
            "SELECT organisation, agent, epoch, sequence, received_unix_ms, frame FROM inbox
             WHERE state = 0 ORDER BY inbox_no LIMIT ?1",
        )
        .map_err(engine("read its inbox"))?;
    let mut rows = statement.query([limit]).map_err(engine("read its inbox"))?;
    let mut reports = Vec::new();
    while let Some(row) = rows.next().map_err(engine("read its inbox"))? {
        reports.push(report_of(row)?);
    }
    Ok(reports)
}

/// Reports of an agent as they were received in a span, oldest first.
pub(super) fn of_agent(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    agent: AgentId,
    (from_unix_ms, to_unix_ms): (i64, i64),
    limit: u32,
) -> StoreResult<Vec<InboxReport>> {
    let sql = "SELECT organisation, agent, epoch, sequence, received_unix_ms, frame FROM inbox
        WHERE organisation = ?1 AND agent = ?2 AND received_unix_ms >= ?3 AND received_unix_ms < ?4
        ORDER BY received_unix_ms, sequence LIMIT ?5";
    let key = params![
        organisation.as_str(),
        agent.0.as_bytes(),
        from_unix_ms,
        to_unix_ms,
        limit
    ];
    super::registry::all(tx, sql, key, report_of)
}

/// Marks a report as one that cannot be applied.
pub(super) fn set_aside(tx: &Transaction<'_>, key: &ReportKey, reason: &str) -> StoreResult<()> {
    let (organisation, agent, epoch, sequence) = columns(key);
    let changed = tx
        .prepare_cached(
            "UPDATE inbox SET state = ?5, reason = ?6
             WHERE organisation = ?1 AND agent = ?2 AND epoch = ?3 AND sequence = ?4 AND state = 0",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                organisation,
                agent,
                epoch,
                sequence,
                State::SetAside as i64,
                reason
            ])
        })
        .map_err(engine("set a report aside"))?;
    // Applied or set aside before: it stays as it is.
    if changed == 0 {
        find(tx, key).map(drop)
    } else {
        Ok(())
    }
}

/// A report's row: its number, when it came, whether it is pending.
pub(super) struct Found {
    pub(super) inbox_no: i64,
    pub(super) received_unix_ms: i64,
    pub(super) pending: bool,
}

/// Finds a report by its key.
pub(super) fn find(tx: &Transaction<'_>, key: &ReportKey) -> StoreResult<Found> {
    let (organisation, agent, epoch, sequence) = columns(key);
    tx.prepare_cached(
        "SELECT inbox_no, received_unix_ms, state FROM inbox
         WHERE organisation = ?1 AND agent = ?2 AND epoch = ?3 AND sequence = ?4",
    )
    .and_then(|mut statement| {
        statement
            .query_row(params![organisation, agent, epoch, sequence], |row| {
                let pending = row.get::<_, i64>(2)? == State::Pending as i64;
                Ok(Found {
                    inbox_no: row.get(0)?,
                    received_unix_ms: row.get(1)?,
                    pending,
                })
            })
            .optional()
    })
    .map_err(engine("find a report"))?
    .ok_or_else(|| StoreError::NotFound {
        what: "report",
        key: format!(
            "{}/{}/{}/{}",
            key.organisation, key.agent, key.epoch, key.sequence
        ),
    })
}

/// Marks a report as applied.
pub(super) fn mark_applied(tx: &Transaction<'_>, inbox_no: i64) -> StoreResult<()> {
    tx.prepare_cached("UPDATE inbox SET state = ?2 WHERE inbox_no = ?1")
        .and_then(|mut statement| statement.execute(params![inbox_no, State::Applied as i64]))
        .map(drop)
        .map_err(engine("mark a report as applied"))
}

/// Deletes at most `limit` reports that are done with and were received before `before_unix_ms`; says how many.
///
/// What is deleted is still known as stored: an agent that sends it once more is told so.
pub(super) fn forget(tx: &Transaction<'_>, before_unix_ms: i64, limit: u32) -> StoreResult<usize> {
    let forget = || -> rusqlite::Result<usize> {
        let mut doomed = tx.prepare_cached(
            "SELECT inbox_no, organisation, agent, epoch, sequence FROM inbox
             WHERE received_unix_ms < ?1 AND state <> 0 ORDER BY received_unix_ms LIMIT ?2",
        )?;
        let mut remember = tx.prepare_cached(
            "UPDATE epoch SET forgotten = max(forgotten, ?4) WHERE organisation = ?1 AND agent = ?2 AND epoch = ?3",
        )?;
        let mut delete = tx.prepare_cached("DELETE FROM inbox WHERE inbox_no = ?1")?;
        let mut rows = doomed.query(params![before_unix_ms, limit])?;
        let mut deleted = Vec::new();
        while let Some(row) = rows.next()? {
            remember.execute(params![
                row.get::<_, String>(1)?,
                row.get::<_, [u8; 16]>(2)?,
                row.get::<_, [u8; 16]>(3)?,
                row.get::<_, i64>(4)?
            ])?;
            deleted.push(row.get::<_, i64>(0)?);
        }
        for inbox_no in &deleted {
            delete.execute([inbox_no])?;
        }
        Ok(deleted.len())
    };
    forget().map_err(engine("delete old reports"))
}

/// The key as it is stored. Sequences are from 1 to 2^63 - 1: others are refused before they get here.
fn columns(key: &ReportKey) -> (&str, &[u8; 16], &[u8; 16], i64) {
    (
        key.organisation.as_str(),
        key.agent.0.as_bytes(),
        key.epoch.0.as_bytes(),
        key.sequence.cast_signed(),
    )
}

fn report_of(row: &Row<'_>) -> StoreResult<InboxReport> {
    let read = || -> rusqlite::Result<_> {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get::<_, i64>(3)?,
            row.get(4)?,
            row.get(5)?,
        ))
    };
    let (organisation, agent, epoch, sequence, received_unix_ms, frame): (String, _, _, _, _, _) =
        read().map_err(engine("read its inbox"))?;
    Ok(InboxReport {
        key: ReportKey {
            organisation: super::registry::organisation_of(organisation)?,
            agent: AgentId(uuid::Uuid::from_bytes(agent)),
            epoch: Epoch(uuid::Uuid::from_bytes(epoch)),
            sequence: sequence.cast_unsigned(),
        },
        received_unix_ms,
        frame,
    })
}
