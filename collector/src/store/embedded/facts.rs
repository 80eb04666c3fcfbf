//! What agents say of their machines and of handshakes.

use firstmile_wire::ids::{AgentId, OrganisationId};
use rusqlite::{Transaction, params};

use super::engine;
use super::paths::Subject;
use super::registry::{agent_no, all};
use crate::ingest::facts::{Fact, FactKind};
use crate::store::StoreResult;

/// Changes that are kept of one agent: a week of one that roams between two networks twice a day, or the last minutes of
/// one whose link flaps.
const CHANGES_KEPT: u32 = 50;

/// Handshakes that are kept of one agent: twenty targets, three protocols, two families, and those of targets that were renamed.
const HANDSHAKES_KEPT: u32 = 200;

/// Writes facts; an older one than what is there changes nothing.
pub(super) fn put(tx: &Transaction<'_>, subject: Subject<'_>, facts: &[Fact]) -> StoreResult<()> {
    for fact in facts {
        tx.prepare_cached(
            "INSERT INTO agent_fact (organisation, agent_no, kind, key, at_unix_ms, form) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET at_unix_ms = excluded.at_unix_ms, form = excluded.form
             WHERE excluded.at_unix_ms >= at_unix_ms",
        )
        .and_then(|mut put| {
            let kind = fact.kind.as_str();
            put.execute(params![
                subject.organisation.as_str(),
                subject.agent_no,
                kind,
                fact.key,
                fact.at_unix_ms,
                fact.form
            ])
        })
        .map_err(engine("write a fact of an agent"))?;
    }
    for (kind, most) in [
        (FactKind::Change, CHANGES_KEPT),
        (FactKind::Handshake, HANDSHAKES_KEPT),
    ] {
        if facts.iter().any(|fact| fact.kind == kind) {
            forget(tx, subject, kind, most)?;
        }
    }
    Ok(())
}

/// Keeps the newest of a kind.
fn forget(
    tx: &Transaction<'_>,
    subject: Subject<'_>,
    kind: FactKind,
    most: u32,
) -> StoreResult<()> {
    tx.prepare_cached(
        "DELETE FROM agent_fact WHERE organisation = ?1 AND agent_no = ?2 AND kind = ?3 AND key NOT IN (
             SELECT key FROM agent_fact WHERE organisation = ?1 AND agent_no = ?2 AND kind = ?3
             ORDER BY at_unix_ms DESC, key DESC LIMIT ?4)",
    )
    .and_then(|mut forget| {
        forget.execute(params![
            subject.organisation.as_str(),
            subject.agent_no,
            kind.as_str(),
            most
        ])
    })
    .map(drop)
    .map_err(engine("forget old facts of an agent"))
}

/// Facts of one kind, newest first.
pub(super) fn of_agent(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    agent: AgentId,
    kind: FactKind,
) -> StoreResult<Vec<Fact>> {
    let Some(number) = agent_no(tx, organisation, agent)? else {
        return Ok(Vec::new());
    };
    let sql = "SELECT key, at_unix_ms, form FROM agent_fact WHERE organisation = ?1 AND agent_no = ?2 AND kind = ?3
        ORDER BY at_unix_ms DESC, key DESC";
    let key = params![organisation.as_str(), number, kind.as_str()];
    all(tx, sql, key, |row| {
        let read = || -> rusqlite::Result<Fact> {
            Ok(Fact {
                kind,
                key: row.get(0)?,
                at_unix_ms: row.get(1)?,
                form: row.get(2)?,
            })
        };
        read().map_err(engine("read facts of an agent"))
    })
}
