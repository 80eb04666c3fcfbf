//! Where paths went.

use async_trait::async_trait;
use firstmile_wire::ids::{AgentId, OrganisationId};
use rusqlite::{Row, Transaction, params};

use super::registry::{agent_no, all};
use super::{Embedded, engine, events, forms};
use crate::store::past::{Past, PastPaths, PastQuery};
use crate::store::{Span, StoreResult};

#[async_trait]
impl PastPaths for Embedded {
    async fn spans(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
        target: &str,
        limit: u32,
    ) -> StoreResult<Vec<Span>> {
        let (organisation, target) = (organisation.clone(), target.to_owned());
        self.readers
            .run("read past paths", move |tx| {
                spans(tx, &organisation, agent, &target, limit)
            })
            .await
    }

    async fn past(&self, organisation: &OrganisationId, query: PastQuery) -> StoreResult<Past> {
        let organisation = organisation.clone();
        self.readers
            .run("read past paths", move |tx| past(tx, &organisation, &query))
            .await
    }
}

fn spans(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    agent: AgentId,
    target: &str,
    limit: u32,
) -> StoreResult<Vec<Span>> {
    let Some(agent_no) = agent_no(tx, organisation, agent)? else {
        return Ok(Vec::new());
    };
    let sql = "SELECT target, from_unix_ms, to_unix_ms, rounds, identity FROM path_span
        WHERE organisation = ?1 AND agent_no = ?2 AND target = ?3 ORDER BY from_unix_ms DESC LIMIT ?4";
    let key = params![organisation.as_str(), agent_no, target, limit];
    let found = all(tx, sql, key, span)?;
    Ok(found.into_iter().map(|(_, span)| span).collect())
}

fn past(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    query: &PastQuery,
) -> StoreResult<Past> {
    let sql = "SELECT target, from_unix_ms, to_unix_ms, rounds, identity FROM
        (SELECT *, ROW_NUMBER() OVER (PARTITION BY target ORDER BY from_unix_ms DESC) AS newest FROM path_span
         WHERE organisation = ?1 AND agent_no = ?2 AND to_unix_ms >= ?3 AND from_unix_ms < ?4)
        WHERE newest <= ?5 ORDER BY target, from_unix_ms DESC";
    let mut past = Past::default();
    for agent in &query.agents {
        let Some(agent_no) = agent_no(tx, organisation, *agent)? else {
            continue;
        };
        let (from, to) = (query.from_unix_ms, query.to_unix_ms);
        let key = params![organisation.as_str(), agent_no, from, to, query.spans_each];
        for (target, span) in all(tx, sql, key, span)? {
            let of_path = past.spans.entry((*agent, target)).or_default();
            of_path.push(span);
        }
    }
    past.failures = events::failures(tx, organisation, query)?;
    Ok(past)
}

fn span(row: &Row<'_>) -> StoreResult<(String, Span)> {
    let read = || -> rusqlite::Result<(String, i64, i64, u32, String)> {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
        ))
    };
    let (target, from_unix_ms, to_unix_ms, rounds, form) =
        read().map_err(engine("read a past path"))?;
    let span = Span {
        from_unix_ms,
        to_unix_ms,
        rounds,
        identity: forms::read("a path identity", &form)?,
    };
    Ok((target, span))
}
