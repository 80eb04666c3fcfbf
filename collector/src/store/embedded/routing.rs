//! Verdicts of routing.

use std::collections::BTreeSet;

use async_trait::async_trait;
use firstmile_routing::class::{Class, Severity};
use firstmile_routing::remedy::Router;
use firstmile_routing::verdict::{Ending, Phase, Verdict};
use firstmile_wire::ids::OrganisationId;
use rusqlite::{Row, Transaction, params};
use uuid::Uuid;

use super::registry::all;
use super::writer::Durability;
use super::{Embedded, engine, forms, incidents, joined};
use crate::api::types::{RoutingEvidence, RoutingRemedy, RoutingVerdict};
use crate::incident::route::{self, VERDICTS_MAX};
use crate::store::StoreResult;
use crate::store::routing::{RoutingVerdicts, VerdictQuery};

const COLUMNS: &str = "verdict_no, class, prefix, matched, offender, severity, peers, others, reason, evidence, started_unix_ms, \
    stored_unix_ms, ended_unix_ms, ending, incident_id, counter, remedy";

#[async_trait]
impl RoutingVerdicts for Embedded {
    async fn put_verdicts(
        &self,
        organisation: &OrganisationId,
        verdicts: Vec<Verdict>,
        now_unix_ms: i64,
    ) -> StoreResult<BTreeSet<String>> {
        let organisation = organisation.clone();
        let write = move |tx: &Transaction<'_>| {
            let mut touched = BTreeSet::new();
            for verdict in &verdicts {
                touched.extend(match verdict.phase {
                    Phase::Start => start(tx, &organisation, verdict, now_unix_ms)?,
                    Phase::End => end(tx, &organisation, verdict)?,
                });
            }
            for incident_id in &touched {
                incidents::touch(tx, &organisation, incident_id, now_unix_ms)?;
            }
            Ok(touched)
        };
        self.writer
            .run(Durability::Full, "write verdicts of routing", write)
            .await
    }

    async fn end_unconfirmed_verdicts(
        &self,
        organisation: &OrganisationId,
        since_unix_ms: i64,
        now_unix_ms: i64,
    ) -> StoreResult<()> {
        let organisation = organisation.clone();
        let sql = "UPDATE routing_verdict SET ended_unix_ms = max(?3, started_unix_ms), ending = 'restart'
            WHERE organisation = ?1 AND ended_unix_ms IS NULL AND confirmed_unix_ms < ?2 RETURNING incident_id";
        self.writer
            .run(Durability::Full, "end verdicts of routing", move |tx| {
                let key = params![organisation.as_str(), since_unix_ms, now_unix_ms];
                let touched: BTreeSet<String> = ids(tx, sql, key)?.into_iter().flatten().collect();
                let mut touched = touched.iter();
                touched.try_for_each(|id| incidents::touch(tx, &organisation, id, now_unix_ms))
            })
            .await
    }

    async fn verdicts(
        &self,
        organisation: &OrganisationId,
        query: VerdictQuery,
    ) -> StoreResult<Vec<RoutingVerdict>> {
        let organisation = organisation.clone();
        self.readers
            .run("read verdicts of routing", move |tx| {
                let sql = format!(
                    "SELECT {COLUMNS} FROM routing_verdict WHERE organisation = ?1
                     AND (?2 IS NULL OR (ended_unix_ms IS NULL) = ?2) AND (ended_unix_ms IS NULL OR ended_unix_ms >= ?3)
                     ORDER BY verdict_no DESC LIMIT ?4"
                );
                let asked = params![
                    organisation.as_str(),
                    query.open,
                    query.from_unix_ms,
                    query.limit
                ];
                all(tx, &sql, asked, verdict_of)
            })
            .await
    }
}

fn unix_ms(at: f64) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast from f64 saturates, and milliseconds are exact below 2^53"
    )]
    let ms = (at * 1000.0).round() as i64;
    ms
}

/// Writes a start, and says in which incident. One that is open already goes on: a collector that was started anew sees it again.
fn start(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    verdict: &Verdict,
    now_unix_ms: i64,
) -> StoreResult<Option<String>> {
    let goes_on = "UPDATE routing_verdict SET confirmed_unix_ms = ?5, peers = max(peers, ?6)
        WHERE organisation = ?1 AND class = ?2 AND prefix = ?3 AND offender IS ?4 AND ended_unix_ms IS NULL RETURNING incident_id";
    let mut told = told(verdict, now_unix_ms);
    let key = params![
        organisation.as_str(),
        told.class,
        told.prefix,
        told.offender,
        now_unix_ms,
        told.peers
    ];
    let known = ids(tx, goes_on, key)?.pop();
    if let Some(Some(incident_id)) = known {
        return Ok(Some(incident_id));
    }
    if verdict.severity > Severity::Information {
        told.incident_id = Some(incident_of(tx, organisation, &told)?);
    }
    if known.is_some() {
        // Open since before verdicts had incidents: nobody was told of it.
        give_incident(tx, organisation, &told)?;
    } else {
        insert(tx, organisation, &told)?;
    }
    Ok(told.incident_id)
}

fn give_incident(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    told: &RoutingVerdict,
) -> StoreResult<()> {
    let sql = "UPDATE routing_verdict SET incident_id = ?5
        WHERE organisation = ?1 AND class = ?2 AND prefix = ?3 AND offender IS ?4 AND ended_unix_ms IS NULL";
    let key = params![
        organisation.as_str(),
        told.class,
        told.prefix,
        told.offender,
        told.incident_id
    ];
    tx.prepare_cached(sql)
        .and_then(|mut put| put.execute(key))
        .map(drop)
        .map_err(engine("write verdicts of routing"))
}

/// A verdict as it is kept.
fn told(verdict: &Verdict, now_unix_ms: i64) -> RoutingVerdict {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let started = unix_ms(verdict.at);
    // A change of RPKI is a moment, not a state.
    let ended = (verdict.class == Class::RoaChanged).then_some(started);
    RoutingVerdict {
        class: verdict.class.name().to_owned(),
        prefix: verdict.prefix.to_string(),
        matched: verdict.matched.map(|prefix| prefix.to_string()),
        offender: verdict.offender.map(|asn| asn.0),
        severity: verdict.severity.name().to_owned(),
        peers: count(verdict.peers),
        others: count(verdict.others),
        reason: verdict.reason.clone(),
        evidence: verdict
            .evidence
            .iter()
            .map(|(as_path, peers)| RoutingEvidence {
                as_path: as_path.clone(),
                peers: count(*peers),
            })
            .collect(),
        counter_evidence: verdict.counter.clone(),
        remedy: verdict.remedy.as_ref().map(|remedy| RoutingRemedy {
            words: remedy.words.clone(),
            bird: remedy.render(Router::Bird),
            frr: remedy.render(Router::Frr),
        }),
        started_unix_ms: started,
        stored_unix_ms: now_unix_ms,
        ended_unix_ms: ended,
        ending: ended.map(|_| "over".to_owned()),
        ..RoutingVerdict::default()
    }
}

fn insert(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    told: &RoutingVerdict,
) -> StoreResult<()> {
    let evidence = forms::write("the evidence of a verdict", &told.evidence)?;
    let counter = forms::write("the evidence of a verdict", &told.counter_evidence)?;
    let remedy = told.remedy.as_ref();
    let remedy = remedy.map(|one| forms::write("the remedy of a verdict", one));
    let remedy = remedy.transpose()?;
    let sql = "INSERT INTO routing_verdict (organisation, class, prefix, matched, offender, severity, peers, others, reason, evidence,
        started_unix_ms, stored_unix_ms, ended_unix_ms, ending, incident_id, counter, confirmed_unix_ms, remedy)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?12, ?17)";
    let row = params![
        organisation.as_str(),
        told.class,
        told.prefix,
        told.matched,
        told.offender,
        told.severity,
        told.peers,
        told.others,
        told.reason,
        evidence,
        told.started_unix_ms,
        told.stored_unix_ms,
        told.ended_unix_ms,
        told.ending,
        told.incident_id,
        counter,
        remedy
    ];
    tx.prepare_cached(sql)
        .and_then(|mut put| put.execute(row))
        .map(drop)
        .map_err(engine("write verdicts of routing"))
}

/// The incident of a verdict that starts: that of another verdict with the same cause, or of paths that moved at the time, or its own.
fn incident_of(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    told: &RoutingVerdict,
) -> StoreResult<String> {
    /// Verdicts that are compared: the newest.
    const NEWEST: u32 = 20;
    let by = |field: &str| {
        format!(
            "SELECT {COLUMNS} FROM routing_verdict WHERE organisation = ?1 AND {field} AND incident_id IS NOT NULL
             ORDER BY verdict_no DESC LIMIT {NEWEST}"
        )
    };
    let organisation_key = organisation.as_str();
    let mut near = all(
        tx,
        &by("matched IS ?2"),
        params![organisation_key, told.matched],
        verdict_of,
    )?;
    near.extend(match told.offender {
        Some(asn) => all(
            tx,
            &by("offender = ?2"),
            params![organisation_key, asn],
            verdict_of,
        )?,
        None => all(
            tx,
            &by("offender IS NULL AND class = ?2"),
            params![organisation_key, told.class],
            verdict_of,
        )?,
    });
    let known = near.into_iter().find(|known| route::is_one(told, known));
    if let Some(incident_id) = known.and_then(|known| known.incident_id) {
        return Ok(incident_id);
    }
    if let Some(incident_id) = joined::moved_with(tx, organisation, told)? {
        return Ok(incident_id);
    }
    let name = format!(
        "firstmile:route|{}|{}|{:?}|{}",
        told.class, told.prefix, told.offender, told.started_unix_ms
    );
    Ok(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string())
}

/// Verdicts with an incident that started at most `within_ms` from a time, oldest first.
pub(super) fn started_around(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    at_unix_ms: i64,
    within_ms: i64,
) -> StoreResult<Vec<RoutingVerdict>> {
    /// A storm has one cause, and the first verdicts show it.
    const LOOKED_AT: u32 = 100;
    let sql = format!(
        "SELECT {COLUMNS} FROM routing_verdict WHERE organisation = ?1 AND started_unix_ms BETWEEN ?2 AND ?3
         AND incident_id IS NOT NULL ORDER BY started_unix_ms, verdict_no LIMIT {LOOKED_AT}"
    );
    let key = params![
        organisation.as_str(),
        at_unix_ms - within_ms,
        at_unix_ms + within_ms
    ];
    all(tx, &sql, key, verdict_of)
}

/// The first verdicts of an incident, and how many it has.
pub(super) fn of_incident(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    incident_id: &str,
) -> StoreResult<(Vec<RoutingVerdict>, u32)> {
    let sql = format!(
        "SELECT {COLUMNS} FROM routing_verdict WHERE organisation = ?1 AND incident_id = ?2
         ORDER BY started_unix_ms, verdict_no LIMIT {VERDICTS_MAX}"
    );
    let key = params![organisation.as_str(), incident_id];
    let first = all(tx, &sql, key, verdict_of)?;
    let mut total = u32::try_from(first.len()).unwrap_or(u32::MAX);
    if total >= VERDICTS_MAX {
        total = tx
            .prepare_cached(
                "SELECT count(*) FROM routing_verdict WHERE organisation = ?1 AND incident_id = ?2",
            )
            .and_then(|mut count| count.query_row(key, |row| row.get(0)))
            .map_err(engine("count verdicts of routing"))?;
    }
    Ok((first, total))
}

/// Writes an end, and says of which incident.
fn end(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    verdict: &Verdict,
) -> StoreResult<Option<String>> {
    let sql = "UPDATE routing_verdict SET ended_unix_ms = max(?5, started_unix_ms), ending = ?7, peers = max(peers, ?6)
        WHERE organisation = ?1 AND class = ?2 AND prefix = ?3 AND offender IS ?4 AND ended_unix_ms IS NULL RETURNING incident_id";
    let ending = match verdict.ending {
        Ending::Over => "over",
        Ending::OutOfSight => "not_observed",
    };
    let row = params![
        organisation.as_str(),
        verdict.class.name(),
        verdict.prefix.to_string(),
        verdict.offender.map(|asn| asn.0),
        unix_ms(verdict.at),
        u32::try_from(verdict.peers).unwrap_or(u32::MAX),
        ending
    ];
    Ok(ids(tx, sql, row)?.pop().flatten())
}

/// The incidents of the rows that a statement changed.
fn ids(
    tx: &Transaction<'_>,
    sql: &str,
    key: &[&dyn rusqlite::ToSql],
) -> StoreResult<Vec<Option<String>>> {
    tx.prepare_cached(sql)
        .and_then(|mut change| {
            change
                .query_map(key, |row| row.get(0))
                .and_then(Iterator::collect)
        })
        .map_err(engine("write verdicts of routing"))
}

fn verdict_of(row: &Row<'_>) -> StoreResult<RoutingVerdict> {
    let read = || -> rusqlite::Result<(RoutingVerdict, String, String, Option<String>)> {
        let verdict = RoutingVerdict {
            verdict_no: row.get(0)?,
            class: row.get(1)?,
            prefix: row.get(2)?,
            matched: row.get(3)?,
            offender: row.get(4)?,
            severity: row.get(5)?,
            peers: row.get(6)?,
            others: row.get(7)?,
            reason: row.get(8)?,
            evidence: Vec::new(),
            started_unix_ms: row.get(10)?,
            stored_unix_ms: row.get(11)?,
            ended_unix_ms: row.get(12)?,
            ending: row.get(13)?,
            incident_id: row.get(14)?,
            counter_evidence: Vec::new(),
            remedy: None,
        };
        Ok((verdict, row.get(9)?, row.get(15)?, row.get(16)?))
    };
    let (mut verdict, evidence, counter, remedy) =
        read().map_err(engine("read verdicts of routing"))?;
    verdict.evidence = forms::read("the evidence of a verdict", &evidence)?;
    verdict.counter_evidence = forms::read("the evidence of a verdict", &counter)?;
    let remedy = remedy.map(|text| forms::read("the remedy of a verdict", &text));
    verdict.remedy = remedy.transpose()?;
    Ok(verdict)
}

/// Deletes what ended before a time.
pub(super) fn forget(tx: &Transaction<'_>, before_unix_ms: i64) -> StoreResult<usize> {
    /// Rows that one transaction deletes, so that it stays short.
    const CHUNK: u32 = 2_000;
    let sql = "DELETE FROM routing_verdict WHERE verdict_no IN
        (SELECT verdict_no FROM routing_verdict WHERE ended_unix_ms IS NOT NULL AND ended_unix_ms < ?1 LIMIT ?2)";
    tx.execute(sql, params![before_unix_ms, CHUNK])
        .map_err(engine("forget verdicts of routing"))
}
