//! Sites, agents, join strings, the audit log.

use firstmile_wire::ids::{AgentId, OrganisationId};
use rusqlite::{OptionalExtension, Params, Row, Transaction, params};
use uuid::Uuid;

use super::{dirty, engine, events, forms};
use crate::geo::{Geography, GeographySource};
use crate::registry::placing::UNASSIGNED;
use crate::registry::{Agent, JoinGrant, Site, SiteId};
use crate::store::{StoreError, StoreResult};

/// Reads an organisation's word as stored.
pub(super) fn organisation_of(text: String) -> StoreResult<OrganisationId> {
    OrganisationId::try_from(text).map_err(|error| StoreError::Damaged {
        what: "an organisation",
        detail: error.to_string(),
    })
}

/// All organisations.
pub(super) fn organisations(tx: &Transaction<'_>) -> StoreResult<Vec<OrganisationId>> {
    all(
        tx,
        "SELECT organisation FROM organisation ORDER BY organisation",
        [],
        |row| organisation_of(row.get(0).map_err(engine("read organisations"))?),
    )
}

const SITE: &str = "SELECT organisation, site, name, geography FROM site";

/// All sites, by name.
pub(super) fn sites(tx: &Transaction<'_>, organisation: &OrganisationId) -> StoreResult<Vec<Site>> {
    all(
        tx,
        &format!("{SITE} WHERE organisation = ?1 ORDER BY name"),
        [organisation.as_str()],
        site_of,
    )
}

/// One site.
pub(super) fn site(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    site: SiteId,
) -> StoreResult<Site> {
    let sql = format!("{SITE} WHERE organisation = ?1 AND site = ?2");
    let found = all(
        tx,
        &sql,
        params![organisation.as_str(), site.0.as_bytes()],
        site_of,
    )?;
    found
        .into_iter()
        .next()
        .ok_or_else(|| StoreError::NotFound {
            what: "site",
            key: site.to_string(),
        })
}

/// A site by its name.
pub(super) fn site_by_name(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    name: &str,
) -> StoreResult<Option<Site>> {
    let sql = format!("{SITE} WHERE organisation = ?1 AND name = ?2");
    all(tx, &sql, params![organisation.as_str(), name], site_of)
        .map(|found| found.into_iter().next())
}

/// Makes or replaces a site. Where its geography changes, recent windows are rolled up anew under the new one.
pub(super) fn put_site(tx: &Transaction<'_>, new: &Site) -> StoreResult<()> {
    let before = match site(tx, &new.organisation, new.id) {
        Ok(before) => Some(before),
        Err(StoreError::NotFound { .. }) => None,
        Err(error) => return Err(error),
    };
    if site_by_name(tx, &new.organisation, &new.name)?.is_some_and(|other| other.id != new.id) {
        return Err(StoreError::Conflict {
            what: "site",
            key: new.name.clone(),
        });
    }
    let geography = forms::write("a geography", &new.geography)?;
    let write = || -> rusqlite::Result<()> {
        tx.execute(
            "INSERT OR IGNORE INTO organisation (organisation) VALUES (?1)",
            [new.organisation.as_str()],
        )?;
        tx.execute(
            "INSERT INTO site (organisation, site, name, geography) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (organisation, site) DO UPDATE SET name = excluded.name, geography = excluded.geography",
            params![new.organisation.as_str(), new.id.0.as_bytes(), new.name, geography],
        )?;
        Ok(())
    };
    write().map_err(engine("write a site"))?;
    match before {
        Some(before) if before.geography != new.geography => {
            dirty::mark_site_dirty(tx, &new.organisation, new.id)
        }
        Some(_) | None => Ok(()),
    }
}

/// Notes the country that a site's address is in, unless somebody declared where it is. False: it stays as it was.
pub(super) fn note_country(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    id: SiteId,
    country: &str,
) -> StoreResult<bool> {
    let before = site(tx, organisation, id)?;
    let known = before.geography.country.as_deref() == Some(country);
    // Agents that no rule places may be anywhere.
    let anywhere = before.name == UNASSIGNED;
    if before.geography.source == GeographySource::Declared || known || anywhere {
        return Ok(false);
    }
    let geography = Geography {
        country: Some(country.to_owned()),
        source: GeographySource::CountryTable,
        ..Geography::default()
    };
    put_site(
        tx,
        &Site {
            geography,
            ..before
        },
    )?;
    Ok(true)
}

const AGENT: &str =
    "SELECT organisation, agent, site, hostname, version, os, icmp_capability, enrolled_unix_ms,
    last_seen_unix_ms, spool_dropped_reports, revoked, usual_gap_ms FROM agent";

/// All agents, in the order of their enrolment.
pub(super) fn agents(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
) -> StoreResult<Vec<Agent>> {
    let sql = format!("{AGENT} WHERE organisation = ?1 ORDER BY agent_no");
    all(tx, &sql, [organisation.as_str()], agent_of)
}

/// One agent.
pub(super) fn agent(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    agent: AgentId,
) -> StoreResult<Agent> {
    let sql = format!("{AGENT} WHERE organisation = ?1 AND agent = ?2");
    let found = all(
        tx,
        &sql,
        params![organisation.as_str(), agent.0.as_bytes()],
        agent_of,
    )?;
    found.into_iter().next().ok_or_else(|| no_agent(agent))
}

/// The number that cells and rollups know an agent by; `None` for one that never enrolled here.
pub(super) fn agent_no(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    agent: AgentId,
) -> StoreResult<Option<u32>> {
    tx.prepare_cached("SELECT agent_no FROM agent WHERE organisation = ?1 AND agent = ?2")
        .and_then(|mut statement| {
            statement
                .query_row(params![organisation.as_str(), agent.0.as_bytes()], |row| {
                    row.get(0)
                })
                .optional()
        })
        .map_err(engine("find an agent"))
}

/// The error of an agent that never enrolled here.
pub(super) fn no_agent(agent: AgentId) -> StoreError {
    StoreError::NotFound {
        what: "agent",
        key: agent.to_string(),
    }
}

/// Makes an agent, or notes what a report says of one: never its site, its enrolment or whether it is revoked.
pub(super) fn put_agent(tx: &Transaction<'_>, agent: &Agent) -> StoreResult<()> {
    tx.prepare_cached(
        "INSERT INTO agent (organisation, agent, site, hostname, version, os, icmp_capability, enrolled_unix_ms,
             last_seen_unix_ms, spool_dropped_reports, revoked, usual_gap_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT (organisation, agent) DO UPDATE SET hostname = excluded.hostname, version = excluded.version,
             os = coalesce(excluded.os, os), icmp_capability = coalesce(excluded.icmp_capability, icmp_capability),
             last_seen_unix_ms = coalesce(max(last_seen_unix_ms, excluded.last_seen_unix_ms),
                 excluded.last_seen_unix_ms, last_seen_unix_ms),
             spool_dropped_reports = excluded.spool_dropped_reports, usual_gap_ms = excluded.usual_gap_ms",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            agent.organisation.as_str(),
            agent.id.0.as_bytes(),
            agent.site.0.as_bytes(),
            agent.hostname,
            agent.version,
            agent.os,
            agent.icmp_capability,
            agent.enrolled_unix_ms,
            agent.last_seen_unix_ms,
            agent.spool_dropped_reports.cast_signed(),
            agent.revoked,
            agent.usual_gap_ms
        ])
    })
    .map(drop)
    .map_err(engine("write an agent"))
}

/// Marks an agent as refused, ends its open events, and notes who did it. False: it was marked before.
pub(super) fn revoke_agent(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    id: AgentId,
    now_unix_ms: i64,
    who: &str,
) -> StoreResult<bool> {
    let before = agent(tx, organisation, id)?;
    if before.revoked {
        return Ok(false);
    }
    tx.execute(
        "UPDATE agent SET revoked = 1 WHERE organisation = ?1 AND agent = ?2",
        params![organisation.as_str(), id.0.as_bytes()],
    )
    .map_err(engine("revoke an agent"))?;
    events::end_all_of(tx, organisation, id, now_unix_ms)?;
    let line = format!("revoked agent {id} ({})", before.hostname);
    audit(tx, organisation, now_unix_ms, who, &line)?;
    Ok(true)
}

/// Makes a join string known.
pub(super) fn put_join_grant(tx: &Transaction<'_>, grant: &JoinGrant) -> StoreResult<()> {
    tx.execute(
        "INSERT INTO join_grant (secret_digest, organisation, site, created_unix_ms, expires_unix_ms, spent_unix_ms,
             spent_agent, revoked, uses_max, uses) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (secret_digest) DO UPDATE SET expires_unix_ms = excluded.expires_unix_ms,
             revoked = excluded.revoked",
        params![
            grant.secret_digest,
            grant.organisation.as_str(),
            grant.site.map(|site| *site.0.as_bytes()),
            grant.created_unix_ms,
            grant.expires_unix_ms,
            grant.spent.map(|(at, _)| at),
            grant.spent.map(|(_, agent)| *agent.0.as_bytes()),
            grant.revoked,
            grant.uses_max,
            grant.uses
        ],
    )
    .map(drop)
    .map_err(engine("write a join string"))
}

/// The join string with this digest.
pub(super) fn join_grant(
    tx: &Transaction<'_>,
    secret_digest: &[u8; 32],
) -> StoreResult<Option<JoinGrant>> {
    let sql = "SELECT secret_digest, organisation, site, created_unix_ms, expires_unix_ms, spent_unix_ms, spent_agent,
        revoked, uses_max, uses FROM join_grant WHERE secret_digest = ?1";
    all(tx, sql, [secret_digest], grant_of).map(|found| found.into_iter().next())
}

/// Spends a join string and makes its agent. False: it is spent, taken back or expired by now.
pub(super) fn enroll(
    tx: &Transaction<'_>,
    secret_digest: &[u8; 32],
    now_unix_ms: i64,
    agent: &Agent,
) -> StoreResult<bool> {
    let spent = tx
        .execute(
            "UPDATE join_grant SET uses = uses + 1, spent_unix_ms = ?2, spent_agent = ?3
             WHERE secret_digest = ?1 AND organisation = ?4 AND uses < uses_max AND NOT revoked
                 AND expires_unix_ms > ?2",
            params![
                secret_digest,
                now_unix_ms,
                agent.id.0.as_bytes(),
                agent.organisation.as_str()
            ],
        )
        .map_err(engine("spend a join string"))?;
    if spent == 1 {
        put_agent(tx, agent)?;
        let who = format!("agent:{}", agent.id);
        let line = format!(
            "enrolled {} ({}) at site {}",
            agent.id, agent.hostname, agent.site
        );
        audit(tx, &agent.organisation, now_unix_ms, &who, &line)?;
    }
    Ok(spent == 1)
}

/// Writes one line of the audit log.
pub(super) fn audit(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    at_unix_ms: i64,
    who: &str,
    what: &str,
) -> StoreResult<()> {
    tx.execute(
        "INSERT INTO audit (organisation, at_unix_ms, who, what) VALUES (?1, ?2, ?3, ?4)",
        params![organisation.as_str(), at_unix_ms, who, what],
    )
    .map(drop)
    .map_err(engine("write its audit log"))
}

/// Deletes audit lines, and join strings that ended, before a time; says how many.
pub(super) fn forget(tx: &Transaction<'_>, before_unix_ms: i64) -> StoreResult<usize> {
    let delete = |sql: &str| {
        tx.execute(sql, [before_unix_ms])
            .map_err(engine("delete old audit lines"))
    };
    Ok(delete("DELETE FROM audit WHERE at_unix_ms < ?1")?
        + delete("DELETE FROM join_grant WHERE expires_unix_ms < ?1")?)
}

/// All rows of a query.
pub(super) fn all<T>(
    tx: &Transaction<'_>,
    sql: &str,
    key: impl Params,
    read: impl Fn(&Row<'_>) -> StoreResult<T>,
) -> StoreResult<Vec<T>> {
    let mut statement = tx.prepare_cached(sql).map_err(engine("read"))?;
    let mut rows = statement.query(key).map_err(engine("read"))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(engine("read"))? {
        found.push(read(row)?);
    }
    Ok(found)
}

fn site_of(row: &Row<'_>) -> StoreResult<Site> {
    let read = || -> rusqlite::Result<(String, [u8; 16], String, String)> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    };
    let (organisation, id, name, geography) = read().map_err(engine("read a site"))?;
    Ok(Site {
        id: SiteId(Uuid::from_bytes(id)),
        organisation: organisation_of(organisation)?,
        name,
        geography: forms::read("a geography", &geography)?,
    })
}

fn agent_of(row: &Row<'_>) -> StoreResult<Agent> {
    let organisation = organisation_of(row.get(0).map_err(engine("read an agent"))?)?;
    let read = || -> rusqlite::Result<Agent> {
        Ok(Agent {
            organisation,
            id: AgentId(Uuid::from_bytes(row.get(1)?)),
            site: SiteId(Uuid::from_bytes(row.get(2)?)),
            hostname: row.get(3)?,
            version: row.get(4)?,
            os: row.get(5)?,
            icmp_capability: row.get(6)?,
            enrolled_unix_ms: row.get(7)?,
            last_seen_unix_ms: row.get(8)?,
            spool_dropped_reports: row.get::<_, i64>(9)?.cast_unsigned(),
            revoked: row.get(10)?,
            usual_gap_ms: row.get(11)?,
        })
    };
    read().map_err(engine("read an agent"))
}

fn grant_of(row: &Row<'_>) -> StoreResult<JoinGrant> {
    let organisation = organisation_of(row.get(1).map_err(engine("read a join string"))?)?;
    let read = || -> rusqlite::Result<JoinGrant> {
        let spent_at: Option<i64> = row.get(5)?;
        let spent_by: Option<[u8; 16]> = row.get(6)?;
        let site: Option<[u8; 16]> = row.get(2)?;
        Ok(JoinGrant {
            secret_digest: row.get(0)?,
            organisation,
            site: site.map(|site| SiteId(Uuid::from_bytes(site))),
            created_unix_ms: row.get(3)?,
            expires_unix_ms: row.get(4)?,
            spent: spent_at.zip(spent_by.map(|agent| AgentId(Uuid::from_bytes(agent)))),
            revoked: row.get(7)?,
            uses_max: row.get(8)?,
            uses: row.get(9)?,
        })
    };
    read().map_err(engine("read a join string"))
}
