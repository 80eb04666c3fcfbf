//! Verdicts of routing.

use async_trait::async_trait;
use firstmile_routing::class::Class;
use firstmile_routing::verdict::{Phase, Verdict};
use firstmile_wire::ids::OrganisationId;
use rusqlite::{Row, Transaction, params};

use super::registry::all;
use super::writer::Durability;
use super::{Embedded, engine};
use crate::api::types::{RoutingEvidence, RoutingVerdict};
use crate::store::routing::{RoutingVerdicts, VerdictQuery};
use crate::store::{StoreError, StoreResult};

const COLUMNS: &str = "verdict_no, class, prefix, matched, offender, severity, peers, others, reason, evidence, started_unix_ms, \
    stored_unix_ms, ended_unix_ms, ending";

#[async_trait]
impl RoutingVerdicts for Embedded {
    async fn put_verdicts(
        &self,
        organisation: &OrganisationId,
        verdicts: Vec<Verdict>,
        now_unix_ms: i64,
    ) -> StoreResult<()> {
        let organisation = organisation.clone();
        let write = move |tx: &Transaction<'_>| {
            verdicts.iter().try_for_each(|verdict| match verdict.phase {
                Phase::Start => start(tx, &organisation, verdict, now_unix_ms),
                Phase::End => end(tx, &organisation, verdict),
            })
        };
        self.writer
            .run(Durability::Full, "write verdicts of routing", write)
            .await
    }

    async fn end_open_verdicts(
        &self,
        organisation: &OrganisationId,
        now_unix_ms: i64,
    ) -> StoreResult<()> {
        let organisation = organisation.clone();
        let sql = "UPDATE routing_verdict SET ended_unix_ms = ?2, ending = 'restart' WHERE organisation = ?1 AND ended_unix_ms IS NULL";
        self.writer
            .run(Durability::Full, "end verdicts of routing", move |tx| {
                tx.execute(sql, params![organisation.as_str(), now_unix_ms])
                    .map(drop)
                    .map_err(engine("end verdicts of routing"))
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

fn start(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    verdict: &Verdict,
    now_unix_ms: i64,
) -> StoreResult<()> {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let evidence: Vec<RoutingEvidence> = verdict
        .evidence
        .iter()
        .map(|(as_path, peers)| RoutingEvidence {
            as_path: as_path.clone(),
            peers: count(*peers),
        })
        .collect();
    let evidence = serde_json::to_string(&evidence).map_err(engine("write verdicts of routing"))?;
    let started = unix_ms(verdict.at);
    // A change of RPKI is a moment, not a state.
    let ended = (verdict.class == Class::RoaChanged).then_some(started);
    let sql = "INSERT INTO routing_verdict (organisation, class, prefix, matched, offender, severity, peers, others, reason, evidence,
        started_unix_ms, stored_unix_ms, ended_unix_ms, ending) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
    let row = params![
        organisation.as_str(),
        verdict.class.name(),
        verdict.prefix.to_string(),
        verdict.matched.map(|prefix| prefix.to_string()),
        verdict.offender.map(|asn| asn.0),
        verdict.severity.name(),
        count(verdict.peers),
        count(verdict.others),
        verdict.reason,
        evidence,
        started,
        now_unix_ms,
        ended,
        ended.map(|_| "over")
    ];
    tx.execute(sql, row)
        .map(drop)
        .map_err(engine("write verdicts of routing"))
}

fn end(tx: &Transaction<'_>, organisation: &OrganisationId, verdict: &Verdict) -> StoreResult<()> {
    let sql = "UPDATE routing_verdict SET ended_unix_ms = max(?5, started_unix_ms), ending = 'over', peers = max(peers, ?6)
        WHERE organisation = ?1 AND class = ?2 AND prefix = ?3 AND offender IS ?4 AND ended_unix_ms IS NULL";
    let row = params![
        organisation.as_str(),
        verdict.class.name(),
        verdict.prefix.to_string(),
        verdict.offender.map(|asn| asn.0),
        unix_ms(verdict.at),
        u32::try_from(verdict.peers).unwrap_or(u32::MAX)
    ];
    tx.execute(sql, row)
        .map(drop)
        .map_err(engine("write verdicts of routing"))
}

fn verdict_of(row: &Row<'_>) -> StoreResult<RoutingVerdict> {
    let read = || -> rusqlite::Result<(RoutingVerdict, String)> {
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
        };
        Ok((verdict, row.get(9)?))
    };
    let (mut verdict, evidence) = read().map_err(engine("read verdicts of routing"))?;
    verdict.evidence = serde_json::from_str(&evidence).map_err(|error| StoreError::Damaged {
        what: "the evidence of a verdict",
        detail: error.to_string(),
    })?;
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
