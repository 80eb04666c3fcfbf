//! Events, kept as they were last told.

use firstmile_wire::ids::{AgentId, OrganisationId};
use rusqlite::{OptionalExtension, ToSql, Transaction, params};

use super::paths::{self, Subject};
use super::registry::agent_no;
use super::{engine, forms, incidents, joined};
use crate::api::types::{Event, EventClass};
use crate::detect::tell;
use crate::store::past::PastQuery;
use crate::store::{EventQuery, StoreError, StoreResult};

/// Writes an event over an earlier state of itself; its incident changes with it.
pub(super) fn put(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    event: &Event,
    now_unix_ms: i64,
) -> StoreResult<()> {
    let form = forms::write("an event", event)?;
    let incident_id = joined::incident_of(tx, organisation, event)?;
    tx.prepare_cached(
        "INSERT INTO event (organisation, event_id, agent, begun_unix_ms, ended_unix_ms, form, incident_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT DO UPDATE SET agent = excluded.agent, begun_unix_ms = excluded.begun_unix_ms,
             ended_unix_ms = excluded.ended_unix_ms, form = excluded.form, incident_id = excluded.incident_id",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            organisation.as_str(),
            event.event_id,
            event.agent_id,
            event.first_novel_unix_ms,
            event.ended_unix_ms,
            form,
            incident_id
        ])
    })
    .map_err(engine("write an event"))?;
    match &incident_id {
        Some(incident_id) => incidents::touch(tx, organisation, incident_id, now_unix_ms),
        None => Ok(()),
    }
}

/// Events of an incident, by onset, oldest first.
pub(super) fn of_incident(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    incident_id: &str,
    limit: u32,
) -> StoreResult<Vec<Event>> {
    let sql = "SELECT form FROM event WHERE organisation = ?1 AND incident_id = ?2
        ORDER BY begun_unix_ms, event_id LIMIT ?3";
    read(tx, sql, params![organisation.as_str(), incident_id, limit])
}

/// Claimed events that began in a span, with their incidents, oldest first.
pub(super) fn begun_between(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    (from_unix_ms, to_unix_ms): (i64, i64),
    limit: u32,
) -> StoreResult<Vec<(Event, String)>> {
    let sql = "SELECT form, incident_id FROM event WHERE organisation = ?1 AND begun_unix_ms BETWEEN ?2 AND ?3
        AND incident_id IS NOT NULL ORDER BY begun_unix_ms, event_id LIMIT ?4";
    let key = params![organisation.as_str(), from_unix_ms, to_unix_ms, limit];
    joined::with_incident(tx, sql, key)
}

fn read(tx: &Transaction<'_>, sql: &str, key: &[&dyn ToSql]) -> StoreResult<Vec<Event>> {
    let mut statement = tx.prepare_cached(sql).map_err(engine("read events"))?;
    let forms = statement
        .query_map(key, |row| row.get::<_, String>(0))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .map_err(engine("read events"))?;
    forms
        .iter()
        .map(|form| forms::read("an event", form))
        .collect()
}

/// Events that were open at some time of the query, newest first.
pub(super) fn events(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    query: &EventQuery,
) -> StoreResult<Vec<Event>> {
    let sql = "SELECT form FROM event
        WHERE organisation = ?1 AND begun_unix_ms < ?3 AND (ended_unix_ms IS NULL OR ended_unix_ms >= ?2)
            AND (?4 IS NULL OR ?4 = (ended_unix_ms IS NULL)) AND (?5 IS NULL OR agent = ?5)
        ORDER BY begun_unix_ms DESC, event_id LIMIT ?6";
    let agent = query.agent.map(|agent| agent.to_string());
    let key = params![
        organisation.as_str(),
        query.from_unix_ms,
        query.to_unix_ms,
        query.open,
        agent,
        query.limit
    ];
    read(tx, sql, key)
}

/// Events of targets that these agents could not reach, the newest first.
pub(super) fn failures(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    query: &PastQuery,
) -> StoreResult<Vec<Event>> {
    let sql = "SELECT form FROM event
        WHERE organisation = ?1 AND begun_unix_ms < ?3 AND (ended_unix_ms IS NULL OR ended_unix_ms >= ?2)
            AND agent IN (SELECT value FROM json_each(?4)) AND json_extract(form, '$.class') = 'unreachable'
        ORDER BY begun_unix_ms DESC, event_id LIMIT ?5";
    let agents: Vec<String> = query.agents.iter().map(ToString::to_string).collect();
    let key = params![
        organisation.as_str(),
        query.from_unix_ms,
        query.to_unix_ms,
        forms::write("agents", &agents)?,
        query.failures
    ];
    read(tx, sql, key)
}

/// Ends the open events of an agent that is revoked: nothing will tell any more how they went on.
pub(super) fn end_all_of(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    agent: AgentId,
    now_unix_ms: i64,
) -> StoreResult<()> {
    let open = EventQuery {
        from_unix_ms: 0,
        to_unix_ms: i64::MAX,
        open: Some(true),
        agent: Some(agent),
        limit: u32::MAX,
    };
    for event in events(tx, organisation, &open)? {
        let ended = Event {
            state: "closed".to_owned(),
            ended_unix_ms: Some(now_unix_ms),
            ending: Some("agent_revoked".to_owned()),
            ..event
        };
        put(tx, organisation, &ended, now_unix_ms)?;
    }
    Ok(())
}

/// Ends open events whose path had no round for a day, in the memory of the path comparison too; says how many.
pub(super) fn give_up(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    now_unix_ms: i64,
) -> StoreResult<usize> {
    let open = EventQuery {
        from_unix_ms: 0,
        to_unix_ms: i64::MAX,
        open: Some(true),
        agent: None,
        limit: u32::MAX,
    };
    let mut given_up = 0;
    for event in events(tx, organisation, &open)? {
        if event.class == EventClass::SiteSilent {
            continue; // whoever found it says when it is over
        }
        let agent = event.agent_id.parse().map(AgentId).ok();
        let agent_no = match agent {
            Some(agent) => agent_no(tx, organisation, agent)?,
            None => None,
        };
        let target = event.target.clone();
        let mut memory = match agent_no {
            Some(agent_no) => paths::memory(tx, organisation, agent_no, &target)?,
            None => None,
        };
        let newest_unix_ms = memory.as_ref().and_then(|memory| memory.newest_unix_ms);
        let Some(ended) = tell::give_up(newest_unix_ms, &event, now_unix_ms) else {
            continue;
        };
        put(tx, organisation, &ended, now_unix_ms)?;
        if let (Some(agent_no), Some(memory)) = (agent_no, &mut memory) {
            memory.give_up(&ended.event_id);
            let subject = Subject {
                organisation,
                agent_no,
            };
            paths::put_memory(tx, subject, &target, memory)?;
        }
        given_up += 1;
    }
    Ok(given_up)
}

/// One event.
pub(super) fn event(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    event_id: &str,
) -> StoreResult<Event> {
    let form: Option<String> = tx
        .prepare_cached("SELECT form FROM event WHERE organisation = ?1 AND event_id = ?2")
        .and_then(|mut statement| {
            statement
                .query_row(params![organisation.as_str(), event_id], |row| row.get(0))
                .optional()
        })
        .map_err(engine("read an event"))?;
    let form = form.ok_or_else(|| StoreError::NotFound {
        what: "event",
        key: event_id.to_owned(),
    })?;
    forms::read("an event", &form)
}

/// Deletes events that ended before a time.
pub(super) fn forget(tx: &Transaction<'_>, before_unix_ms: i64) -> StoreResult<usize> {
    tx.execute(
        "DELETE FROM event WHERE ended_unix_ms < ?1",
        [before_unix_ms],
    )
    .map_err(engine("delete old events"))
}
