//! Incidents: what finds them; what they say is told from their events.

use async_trait::async_trait;
use firstmile_wire::ids::OrganisationId;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::forms::RoundForm;
use super::paths::Subject;
use super::writer::Durability;
use super::{Embedded, engine, events, forms, joined, routing};
use crate::api::types::{Event, Incident};
use crate::incident::route::assemble_with;
use crate::incident::{EVENTS_MAX, Head};
use crate::ingest::batch::Round;
use crate::store::incidents::{EventRounds, IncidentQuery, Incidents};
use crate::store::{Applied, StoreError, StoreResult};

#[async_trait]
impl Incidents for Embedded {
    async fn put_events(
        &self,
        organisation: &OrganisationId,
        told: Vec<Event>,
        now_unix_ms: i64,
    ) -> StoreResult<()> {
        let organisation = organisation.clone();
        self.writer
            .run(Durability::Full, "write events", move |tx| {
                told.iter()
                    .try_for_each(|event| events::put(tx, &organisation, event, now_unix_ms))
            })
            .await
    }

    async fn incidents(
        &self,
        organisation: &OrganisationId,
        query: &IncidentQuery,
    ) -> StoreResult<Vec<Incident>> {
        let (organisation, query) = (organisation.clone(), query.clone());
        self.readers
            .run("read incidents", move |tx| {
                incidents(tx, &organisation, &query)
            })
            .await
    }

    async fn incident(
        &self,
        organisation: &OrganisationId,
        incident_id: &str,
    ) -> StoreResult<Incident> {
        let (organisation, incident_id) = (organisation.clone(), incident_id.to_owned());
        self.readers
            .run("read an incident", move |tx| {
                incident(tx, &organisation, &incident_id)
            })
            .await
    }

    async fn incident_events(
        &self,
        organisation: &OrganisationId,
        incident_id: &str,
        limit: u32,
    ) -> StoreResult<Vec<Event>> {
        let (organisation, incident_id) = (organisation.clone(), incident_id.to_owned());
        self.readers
            .run("read events of an incident", move |tx| {
                let whole_id = joined::whole_of(tx, &organisation, &incident_id)?;
                let asked = whole_id.as_deref().unwrap_or(&incident_id);
                events::of_incident(tx, &organisation, asked, limit)
            })
            .await
    }

    async fn incident_changes(
        &self,
        organisation: &OrganisationId,
        after: u64,
        limit: u32,
    ) -> StoreResult<Vec<(u64, Incident)>> {
        let organisation = organisation.clone();
        self.readers
            .run("read changes of incidents", move |tx| {
                changes(tx, &organisation, after, limit)
            })
            .await
    }

    async fn event_rounds(
        &self,
        organisation: &OrganisationId,
        event_id: &str,
    ) -> StoreResult<EventRounds> {
        let (organisation, event_id) = (organisation.clone(), event_id.to_owned());
        self.readers
            .run("read the rounds of an event", move |tx| {
                rounds_of(tx, &organisation, &event_id)
            })
            .await
    }

    async fn last_incident_change(&self, organisation: &OrganisationId) -> StoreResult<u64> {
        let organisation = organisation.clone();
        self.readers
            .run("read the last change", move |tx| {
                last_change(tx, &organisation)
            })
            .await
    }
}

/// Keeps the rounds that show events: the one before is the newest usual one at the time, and both are kept once.
pub(super) fn put_rounds(
    tx: &Transaction<'_>,
    subject: Subject<'_>,
    applied: &Applied,
) -> StoreResult<()> {
    let organisation = subject.organisation.as_str();
    for event in &applied.events {
        tx.prepare_cached(
            "INSERT OR IGNORE INTO event_round (organisation, event_id, side, at_unix_ms, form)
             SELECT organisation, ?2, 'before', at_unix_ms, form FROM usual_round
             WHERE organisation = ?1 AND agent_no = ?3 AND target = ?4",
        )
        .and_then(|mut put| {
            put.execute(params![
                organisation,
                event.event_id,
                subject.agent_no,
                event.target
            ])
        })
        .map_err(engine("keep the round before an event"))?;
    }
    for (event_id, round) in &applied.event_rounds {
        let form = forms::write("a path round", &RoundForm::from(round))?;
        tx.prepare_cached(
            "INSERT OR IGNORE INTO event_round (organisation, event_id, side, at_unix_ms, form)
             VALUES (?1, ?2, 'after', ?3, ?4)",
        )
        .and_then(|mut put| put.execute(params![organisation, event_id, round.at_unix_ms, form]))
        .map_err(engine("keep the round after an event"))?;
    }
    Ok(())
}

/// The rounds that show an event.
pub(super) fn rounds_of(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    event_id: &str,
) -> StoreResult<EventRounds> {
    let side = |side: &str| -> StoreResult<Option<Round>> {
        let form: Option<String> = tx
            .prepare_cached(
                "SELECT form FROM event_round WHERE organisation = ?1 AND event_id = ?2 AND side = ?3",
            )
            .and_then(|mut find| {
                find.query_row(params![organisation.as_str(), event_id, side], |row| row.get(0))
                    .optional()
            })
            .map_err(engine("read the rounds of an event"))?;
        let read = |form: String| forms::read::<RoundForm>("a path round", &form).map(Round::from);
        form.map(read).transpose()
    };
    Ok(EventRounds {
        before: side("before")?,
        after: side("after")?,
    })
}

/// Notes that an event of an incident changed: it begins with the first of them, is open while one is, and gets the next number.
pub(super) fn touch(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    incident_id: &str,
    now_unix_ms: i64,
) -> StoreResult<()> {
    let change_no: i64 = tx
        .prepare_cached(
            "INSERT INTO incident_change (organisation, last_no) VALUES (?1, 1)
             ON CONFLICT DO UPDATE SET last_no = last_no + 1 RETURNING last_no",
        )
        .and_then(|mut next| next.query_row([organisation.as_str()], |row| row.get(0)))
        .map_err(engine("number a change"))?;
    tx.prepare_cached(
        "INSERT INTO incident (organisation, incident_id, begun_unix_ms, ended_unix_ms, changed_unix_ms, change_no)
         SELECT ?1, ?2, min(begun_unix_ms), iif(count(*) = count(ended_unix_ms), max(ended_unix_ms), NULL), ?3, ?4 FROM (
             SELECT begun_unix_ms, ended_unix_ms FROM event WHERE organisation = ?1 AND incident_id = ?2
             UNION ALL SELECT started_unix_ms, ended_unix_ms FROM routing_verdict WHERE organisation = ?1 AND incident_id = ?2) WHERE true
         ON CONFLICT DO UPDATE SET begun_unix_ms = excluded.begun_unix_ms, ended_unix_ms = excluded.ended_unix_ms,
             changed_unix_ms = excluded.changed_unix_ms, change_no = excluded.change_no",
    )
    .and_then(|mut put| {
        put.execute(params![organisation.as_str(), incident_id, now_unix_ms, change_no])
    })
    .map(drop)
    .map_err(engine("write an incident"))
}

/// Incidents that were open at some time of the query, newest first.
pub(super) fn incidents(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    query: &IncidentQuery,
) -> StoreResult<Vec<Incident>> {
    let agent = query.agent.map(|agent| agent.to_string());
    let sql = "SELECT incident_id, changed_unix_ms, ended_unix_ms FROM incident
        WHERE organisation = ?1 AND begun_unix_ms < ?3 AND (ended_unix_ms IS NULL OR ended_unix_ms >= ?2)
            AND (?4 IS NULL OR ?4 = (ended_unix_ms IS NULL))
            AND (?5 IS NULL OR EXISTS (SELECT 1 FROM event WHERE event.organisation = ?1
                AND event.incident_id = incident.incident_id AND event.agent = ?5))
        ORDER BY begun_unix_ms DESC, incident_id LIMIT ?6";
    let key = params![
        organisation.as_str(),
        query.from_unix_ms,
        query.to_unix_ms,
        query.open,
        agent,
        query.limit
    ];
    let heads = read(tx, sql, key)?;
    heads
        .into_iter()
        .map(|head| Ok(whole(tx, organisation, head)?.0))
        .collect()
}

/// One incident.
pub(super) fn incident(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    incident_id: &str,
) -> StoreResult<Incident> {
    let sql = "SELECT incident_id, changed_unix_ms, ended_unix_ms FROM incident
        WHERE organisation = ?1 AND incident_id = ?2";
    let whole_id = joined::whole_of(tx, organisation, incident_id)?;
    let asked = whole_id.as_deref().unwrap_or(incident_id);
    let head = read(tx, sql, params![organisation.as_str(), asked])?.pop();
    let head = head.ok_or_else(|| StoreError::NotFound {
        what: "incident",
        key: incident_id.to_owned(),
    })?;
    let (mut incident, events) = whole(tx, organisation, head)?;
    incident.cross_check = joined::cross_check(tx, organisation, &incident, &events)?;
    Ok(incident)
}

/// Incidents that changed after the change of this number, in the order of their last changes, each with the number of its last.
pub(super) fn changes(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    after: u64,
    limit: u32,
) -> StoreResult<Vec<(u64, Incident)>> {
    let sql = "SELECT incident_id, change_no FROM incident
        WHERE organisation = ?1 AND change_no > ?2 ORDER BY change_no LIMIT ?3";
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut statement = tx
        .prepare_cached(sql)
        .map_err(engine("read changes of incidents"))?;
    let found = statement
        .query_map(params![organisation.as_str(), after, limit], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
        })
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .map_err(engine("read changes of incidents"))?;
    found
        .into_iter()
        .map(|(id, no)| Ok((no.unsigned_abs(), incident(tx, organisation, &id)?)))
        .collect()
}

/// The number of the last change, 0 before the first.
pub(super) fn last_change(tx: &Transaction<'_>, organisation: &OrganisationId) -> StoreResult<u64> {
    let last: Option<i64> = tx
        .prepare_cached("SELECT last_no FROM incident_change WHERE organisation = ?1")
        .and_then(|mut find| {
            find.query_row([organisation.as_str()], |row| row.get(0))
                .optional()
        })
        .map_err(engine("read the last change"))?;
    Ok(last.map_or(0, i64::unsigned_abs))
}

/// Deletes incidents that ended before a time.
pub(super) fn forget(tx: &Transaction<'_>, before_unix_ms: i64) -> StoreResult<usize> {
    tx.execute(
        "DELETE FROM event_round WHERE at_unix_ms < ?1 AND NOT EXISTS (SELECT 1 FROM event
             WHERE event.organisation = event_round.organisation AND event.event_id = event_round.event_id)",
        [before_unix_ms],
    )
    .map_err(engine("delete rounds of old events"))?;
    tx.execute(
        "DELETE FROM incident WHERE ended_unix_ms < ?1",
        [before_unix_ms],
    )
    .map_err(engine("delete old incidents"))
}

fn read(tx: &Transaction<'_>, sql: &str, key: &[&dyn rusqlite::ToSql]) -> StoreResult<Vec<Head>> {
    let head = |row: &Row<'_>| {
        Ok(Head {
            incident_id: row.get(0)?,
            changed_unix_ms: row.get(1)?,
            ended_unix_ms: row.get(2)?,
            ..Head::default()
        })
    };
    let mut statement = tx.prepare_cached(sql).map_err(engine("read incidents"))?;
    statement
        .query_map(key, head)
        .and_then(Iterator::collect)
        .map_err(engine("read incidents"))
}

/// An incident without what agents say to it, and its events.
fn whole(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    head: Head,
) -> StoreResult<(Incident, Vec<Event>)> {
    let counts = "SELECT count(*), count(DISTINCT agent), count(DISTINCT iif(ended_unix_ms IS NULL, agent, NULL))
        FROM event WHERE organisation = ?1 AND incident_id = ?2";
    let (events_total, agents_total, agents_open) = tx
        .prepare_cached(counts)
        .and_then(|mut count| {
            count.query_row(params![organisation.as_str(), head.incident_id], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
        })
        .map_err(engine("count the events of an incident"))?;
    let head = Head {
        events_total,
        agents_total,
        agents_open,
        ..head
    };
    let events = events::of_incident(tx, organisation, &head.incident_id, EVENTS_MAX)?;
    let (verdicts, total) = routing::of_incident(tx, organisation, &head.incident_id)?;
    Ok((assemble_with(&head, &events, verdicts, total), events))
}
