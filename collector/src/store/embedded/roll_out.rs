//! Rules that place agents, moving one by hand, who is a clone of whom.

use async_trait::async_trait;
use firstmile_wire::ids::{AgentId, OrganisationId};
use rusqlite::{Row, Transaction, params};
use uuid::Uuid;

use super::registry::{self, all};
use super::writer::Durability;
use super::{Embedded, dirty, engine};
use crate::registry::SiteId;
use crate::registry::placing::{Rule, SiteRule};
use crate::store::roll_out::RollOut;
use crate::store::{StoreError, StoreResult};

#[async_trait]
impl RollOut for Embedded {
    async fn site_rules(&self, organisation: &OrganisationId) -> StoreResult<Vec<SiteRule>> {
        let organisation = organisation.clone();
        self.readers
            .run("read the rules of sites", move |tx| {
                site_rules(tx, &organisation)
            })
            .await
    }

    async fn put_site_rules(
        &self,
        organisation: &OrganisationId,
        site: SiteId,
        rules: Vec<Rule>,
    ) -> StoreResult<()> {
        let organisation = organisation.clone();
        self.writer
            .run(Durability::Full, "write the rules of a site", move |tx| {
                put_site_rules(tx, &organisation, site, &rules)
            })
            .await
    }

    async fn move_agent(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
        site: SiteId,
        now_unix_ms: i64,
        who: &str,
    ) -> StoreResult<bool> {
        let (organisation, who) = (organisation.clone(), who.to_owned());
        self.writer
            .run(Durability::Full, "move an agent", move |tx| {
                move_agent(tx, &organisation, (agent, site), now_unix_ms, &who)
            })
            .await
    }

    async fn note_clone(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
        original: AgentId,
    ) -> StoreResult<()> {
        let organisation = organisation.clone();
        self.writer
            .run(Durability::Full, "note a clone", move |tx| {
                note_clone(tx, &organisation, agent, original)
            })
            .await
    }

    async fn clones_of(
        &self,
        organisation: &OrganisationId,
        original: AgentId,
    ) -> StoreResult<Vec<AgentId>> {
        let organisation = organisation.clone();
        self.readers
            .run("read the clones of an agent", move |tx| {
                clones_of(tx, &organisation, original)
            })
            .await
    }
}

fn site_rules(tx: &Transaction<'_>, organisation: &OrganisationId) -> StoreResult<Vec<SiteRule>> {
    let sql = "SELECT rule, site FROM site_rule WHERE organisation = ?1 ORDER BY rule";
    all(tx, sql, [organisation.as_str()], rule_of)
}

fn rule_of(row: &Row<'_>) -> StoreResult<SiteRule> {
    let read = || -> rusqlite::Result<(String, [u8; 16])> { Ok((row.get(0)?, row.get(1)?)) };
    let (rule, site) = read().map_err(engine("read the rules of sites"))?;
    let rule = rule.parse().map_err(|error| StoreError::Damaged {
        what: "a rule of a site",
        detail: format!("{error}"),
    })?;
    Ok(SiteRule {
        rule,
        site: SiteId(Uuid::from_bytes(site)),
    })
}

fn put_site_rules(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    site: SiteId,
    rules: &[Rule],
) -> StoreResult<()> {
    registry::site(tx, organisation, site)?;
    let write = || -> rusqlite::Result<()> {
        tx.execute(
            "DELETE FROM site_rule WHERE organisation = ?1 AND site = ?2",
            params![organisation.as_str(), site.0.as_bytes()],
        )?;
        for rule in rules {
            tx.execute(
                "INSERT INTO site_rule (organisation, rule, site) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET site = excluded.site",
                params![organisation.as_str(), rule.to_string(), site.0.as_bytes()],
            )?;
        }
        Ok(())
    };
    write().map_err(engine("write the rules of a site"))
}

fn move_agent(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    (agent, site): (AgentId, SiteId),
    now_unix_ms: i64,
    who: &str,
) -> StoreResult<bool> {
    let before = registry::agent(tx, organisation, agent)?;
    let to = registry::site(tx, organisation, site)?;
    if before.site == site {
        return Ok(false);
    }
    // Windows of the old site are out of date by what leaves, those of the new one by what comes: the same windows.
    dirty::mark_site_dirty(tx, organisation, before.site)?;
    tx.execute(
        "UPDATE agent SET site = ?3 WHERE organisation = ?1 AND agent = ?2",
        params![organisation.as_str(), agent.0.as_bytes(), site.0.as_bytes()],
    )
    .map_err(engine("move an agent"))?;
    let line = format!("moved {agent} ({}) to site {}", before.hostname, to.name);
    registry::audit(tx, organisation, now_unix_ms, who, &line)?;
    Ok(true)
}

fn note_clone(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    agent: AgentId,
    original: AgentId,
) -> StoreResult<()> {
    tx.execute(
        "INSERT INTO agent_clone (organisation, agent, original) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET original = excluded.original",
        params![
            organisation.as_str(),
            agent.0.as_bytes(),
            original.0.as_bytes()
        ],
    )
    .map(drop)
    .map_err(engine("note a clone"))
}

/// `UNION` ends where an identity comes again.
fn clones_of(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    original: AgentId,
) -> StoreResult<Vec<AgentId>> {
    let sql = "WITH RECURSIVE clone (agent) AS (
            SELECT agent FROM agent_clone WHERE organisation = ?1 AND original = ?2
            UNION SELECT one.agent FROM agent_clone AS one JOIN clone ON one.original = clone.agent WHERE one.organisation = ?1)
        SELECT agent FROM clone ORDER BY agent";
    all(
        tx,
        sql,
        params![organisation.as_str(), original.0.as_bytes()],
        |row| {
            let id: [u8; 16] = row.get(0).map_err(engine("read the clones of an agent"))?;
            Ok(AgentId(Uuid::from_bytes(id)))
        },
    )
}
