//! How routes to registered prefixes fared, month by month.

use std::collections::BTreeMap;

use async_trait::async_trait;
use firstmile_routing::counts::RouteCounts;
use firstmile_wire::ids::OrganisationId;
use ipnet::IpNet;
use rusqlite::{OptionalExtension, Transaction, params};
use tracing::warn;

use super::registry::all;
use super::writer::Durability;
use super::{Embedded, StoreError, StoreResult, engine, forms};
use crate::ingest::refusal::with_sources;
use crate::store::route_counts::{Month, RouteMonths};

#[async_trait]
impl RouteMonths for Embedded {
    async fn add_route_counts(
        &self,
        organisation: &OrganisationId,
        month: Month,
        counts: Vec<(IpNet, RouteCounts)>,
    ) -> StoreResult<()> {
        let organisation = organisation.clone();
        let month = month.to_string();
        // A power cut may cost the last minutes of it.
        self.writer
            .run(Durability::Replayable, "count routes", move |tx| {
                counts
                    .iter()
                    .try_for_each(|(prefix, counts)| add(tx, &organisation, &month, prefix, counts))
            })
            .await
    }

    async fn route_counts(
        &self,
        organisation: &OrganisationId,
        month: Month,
    ) -> StoreResult<Vec<(IpNet, RouteCounts)>> {
        let organisation = organisation.clone();
        let found = self
            .readers
            .run("read counts of routes", move |tx| {
                all(
                    tx,
                    "SELECT prefix, counts FROM route_month WHERE organisation = ?1 AND month = ?2",
                    params![organisation.as_str(), month.to_string()],
                    |row| {
                        let prefix: String = row.get(0).map_err(engine("read counts of routes"))?;
                        let text: String = row.get(1).map_err(engine("read counts of routes"))?;
                        let prefix: IpNet = prefix.parse().map_err(|_| StoreError::Damaged {
                            what: "counts of routes",
                            detail: prefix,
                        })?;
                        Ok((prefix, counts_of(&text)?))
                    },
                )
            })
            .await?;
        // By number, not by letter.
        Ok(found
            .into_iter()
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect())
    }
}

fn add(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    month: &str,
    prefix: &IpNet,
    counts: &RouteCounts,
) -> StoreResult<()> {
    let prefix = prefix.to_string();
    let before = tx
        .prepare_cached(
            "SELECT counts FROM route_month WHERE organisation = ?1 AND month = ?2 AND prefix = ?3",
        )
        .and_then(|mut select| {
            let key = params![organisation.as_str(), month, prefix];
            select
                .query_row(key, |row| row.get::<_, String>(0))
                .optional()
        })
        .map_err(engine("read counts of routes"))?;
    // One that is damaged must not keep the others from being counted.
    let before = before.and_then(|text| {
        counts_of(&text)
            .inspect_err(|failure| warn!(error = with_sources(failure), prefix, "counted anew"))
            .ok()
    });
    let mut sum = before.unwrap_or_default();
    sum.add(counts);
    let sum = serde_json::to_string(&sum).map_err(engine("write counts of routes"))?;
    tx.prepare_cached(
        "INSERT INTO route_month (organisation, month, prefix, counts) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET counts = excluded.counts",
    )
    .and_then(|mut put| put.execute(params![organisation.as_str(), month, prefix, sum]))
    .map(drop)
    .map_err(engine("write counts of routes"))
}

fn counts_of(text: &str) -> StoreResult<RouteCounts> {
    forms::read("counts of routes", text)
}

/// Deletes months that ended before a time; says how many rows.
pub(super) fn forget(tx: &Transaction<'_>, before_unix_ms: i64) -> StoreResult<usize> {
    let month = Month::of(before_unix_ms).to_string();
    tx.execute("DELETE FROM route_month WHERE month < ?1", [month])
        .map_err(engine("delete old counts of routes"))
}
