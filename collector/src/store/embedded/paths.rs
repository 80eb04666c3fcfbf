//! What is known of paths, edges and names: mostly the newest of its kind for each (agent, target).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use firstmile_wire::ids::{AgentId, OrganisationId};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::de::DeserializeOwned;

use super::forms::{self, DestinationForm, ResolutionForm, RoundForm, SightingForm};
use super::registry::{agent_no, all};
use super::vantage::of_each;
use super::{engine, millis};
use crate::detect::span::Sight;
use crate::detect::{PathBrief, PathMemory};
use crate::ingest::batch::{Resolution, Round, Sighting};
use crate::registry::Target;
use crate::store::{Applied, ByAgent, Scope, StoreError, StoreResult};

/// After a silence longer than this nobody knows where the path was meanwhile: a span of its own begins.
const UNSEEN_MS: i64 = 5 * 60_000;
/// A target that this long was in no report, while the agent sent others, is no longer measured.
const TARGET_GONE_AFTER: Duration = Duration::from_mins(15);

/// Which agent of which organisation is written to.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) organisation: &'a OrganisationId,
    pub(super) agent_no: u32,
}

/// Writes what a report says of paths, edges and names.
pub(super) fn put(
    tx: &Transaction<'_>,
    subject: Subject<'_>,
    received_unix_ms: i64,
    applied: &Applied,
) -> StoreResult<()> {
    put_newest(tx, subject, applied)?;
    for (target, memory) in &applied.path_memories {
        put_memory(tx, subject, target, memory)?;
    }
    for (target, at_unix_ms, sight) in &applied.identities {
        put_identity(tx, subject, target, *at_unix_ms, sight)?;
    }
    for (address, name) in &applied.hop_names {
        tx.prepare_cached(
            "INSERT INTO hop_name (organisation, address, name) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET name = excluded.name",
        )
        .and_then(|mut put| put.execute(params![subject.organisation.as_str(), address, name]))
        .map_err(engine("write the name of a hop"))?;
    }
    for target in &applied.targets {
        put_target(tx, subject, received_unix_ms, target)?;
    }
    Ok(())
}

/// Writes the memory of the path comparison of one target.
pub(super) fn put_memory(
    tx: &Transaction<'_>,
    subject: Subject<'_>,
    target: &str,
    memory: &PathMemory,
) -> StoreResult<()> {
    let brief = forms::write("a path in brief", &PathBrief::from(memory))?;
    let form = memory.to_bytes().map_err(engine("pack a path memory"))?;
    tx.prepare_cached(
        "INSERT INTO path_memory (organisation, agent_no, target, brief, form) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET brief = excluded.brief, form = excluded.form",
    )
    .and_then(|mut put| {
        put.execute(params![
            subject.organisation.as_str(),
            subject.agent_no,
            target,
            brief,
            form
        ])
    })
    .map(drop)
    .map_err(engine("write a path memory"))
}

/// The memory of the path comparison of one target.
pub(super) fn memory(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    agent_no: u32,
    target: &str,
) -> StoreResult<Option<PathMemory>> {
    let form: Option<Vec<u8>> = tx
        .prepare_cached(
            "SELECT form FROM path_memory WHERE organisation = ?1 AND agent_no = ?2 AND target = ?3",
        )
        .and_then(|mut statement| {
            statement
                .query_row(params![organisation.as_str(), agent_no, target], |row| row.get(0))
                .optional()
        })
        .map_err(engine("read a path memory"))?;
    form.map(|form| memory_of(&form)).transpose()
}

fn memory_of(form: &[u8]) -> StoreResult<PathMemory> {
    PathMemory::from_bytes(form).map_err(|error| StoreError::Damaged {
        what: "a path memory",
        detail: error.to_string(),
    })
}

/// An older one than what is there changes nothing: reports may be applied late.
fn put_newest(tx: &Transaction<'_>, subject: Subject<'_>, applied: &Applied) -> StoreResult<()> {
    let organisation = subject.organisation.as_str();
    put_rounds(tx, subject, LATEST, &applied.latest_rounds)?;
    put_rounds(tx, subject, USUAL, &applied.usual_rounds)?;
    for sighting in &applied.sightings {
        let form = forms::write("an edge sighting", &SightingForm::from(sighting))?;
        tx.prepare_cached(
            "INSERT INTO sighting (organisation, agent_no, target, at_unix_ms, form) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET at_unix_ms = excluded.at_unix_ms, form = excluded.form
             WHERE excluded.at_unix_ms >= at_unix_ms",
        )
        .and_then(|mut put| {
            put.execute(params![organisation, subject.agent_no, &*sighting.target, sighting.at_unix_ms, form])
        })
        .map_err(engine("write an edge sighting"))?;
    }
    for resolution in &applied.resolutions {
        let form = forms::write("a resolution", &ResolutionForm::from(resolution))?;
        tx.prepare_cached(
            "INSERT INTO resolution (organisation, agent_no, target, ipv6, at_unix_ms, form)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET at_unix_ms = excluded.at_unix_ms, form = excluded.form
             WHERE excluded.at_unix_ms >= at_unix_ms",
        )
        .and_then(|mut put| {
            let (target, at) = (&*resolution.target, resolution.at_unix_ms);
            put.execute(params![
                organisation,
                subject.agent_no,
                target,
                resolution.ipv6,
                at,
                form
            ])
        })
        .map_err(engine("write a resolution"))?;
    }
    Ok(())
}

const LATEST: &str = "INSERT INTO latest_round (organisation, agent_no, target, at_unix_ms, form) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT DO UPDATE SET at_unix_ms = excluded.at_unix_ms, form = excluded.form
    WHERE excluded.at_unix_ms >= at_unix_ms";
const USUAL: &str = "INSERT INTO usual_round (organisation, agent_no, target, at_unix_ms, form) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT DO UPDATE SET at_unix_ms = excluded.at_unix_ms, form = excluded.form
    WHERE excluded.at_unix_ms >= at_unix_ms";

fn put_rounds(
    tx: &Transaction<'_>,
    subject: Subject<'_>,
    sql: &str,
    rounds: &[Round],
) -> StoreResult<()> {
    for round in rounds {
        let form = forms::write("a path round", &RoundForm::from(round))?;
        tx.prepare_cached(sql)
            .and_then(|mut put| {
                put.execute(params![
                    subject.organisation.as_str(),
                    subject.agent_no,
                    &*round.target,
                    round.at_unix_ms,
                    form
                ])
            })
            .map_err(engine("write a path round"))?;
    }
    Ok(())
}

/// Extends the span that the round follows if it may have taken the same path, else begins another.
fn put_identity(
    tx: &Transaction<'_>,
    subject: Subject<'_>,
    target: &str,
    at_unix_ms: i64,
    sight: &Sight,
) -> StoreResult<()> {
    let organisation = subject.organisation.as_str();
    let newest = newest_span(tx, subject, target, at_unix_ms)?;
    let mut first = sight.clone();
    let mut span = None;
    if let Some((from, to, before)) = newest.filter(|(_, to, _)| at_unix_ms - to <= UNSEEN_MS) {
        let again = from == at_unix_ms;
        let whole = before.joined(sight).or(again.then_some(before));
        span = whole.map(|whole| (from, whole));
        first = first.after(to);
    }
    let (from, form, sql) = match &span {
        Some((from, whole)) => (*from, whole, "UPDATE path_span SET to_unix_ms = max(to_unix_ms, ?5), rounds = rounds + 1, identity = ?6
             WHERE organisation = ?1 AND agent_no = ?2 AND target = ?3 AND from_unix_ms = ?4"),
        None => (at_unix_ms, &first, "INSERT INTO path_span (organisation, agent_no, target, from_unix_ms, to_unix_ms, rounds, identity)
             VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6)"),
    };
    let form = forms::write("a path identity", form)?;
    tx.prepare_cached(sql)
        .and_then(|mut put| {
            put.execute(params![
                organisation,
                subject.agent_no,
                target,
                from,
                at_unix_ms,
                form
            ])
        })
        .map(drop)
        .map_err(engine("write a path identity"))
}

/// The span that began last, at or before a time: from, to, and its path.
fn newest_span(
    tx: &Transaction<'_>,
    subject: Subject<'_>,
    target: &str,
    at_unix_ms: i64,
) -> StoreResult<Option<(i64, i64, Sight)>> {
    let row: Option<(i64, i64, String)> = tx
        .prepare_cached(
            "SELECT from_unix_ms, to_unix_ms, identity FROM path_span
             WHERE organisation = ?1 AND agent_no = ?2 AND target = ?3 AND from_unix_ms <= ?4
             ORDER BY from_unix_ms DESC LIMIT 1",
        )
        .and_then(|mut find| {
            find.query_row(
                params![
                    subject.organisation.as_str(),
                    subject.agent_no,
                    target,
                    at_unix_ms
                ],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()
        })
        .map_err(engine("read a path identity"))?;
    row.map(|(from, to, form)| Ok((from, to, forms::read("a path identity", &form)?)))
        .transpose()
}

fn put_target(
    tx: &Transaction<'_>,
    subject: Subject<'_>,
    received_unix_ms: i64,
    target: &Target,
) -> StoreResult<()> {
    tx.prepare_cached(
        "INSERT INTO target (organisation, agent_no, target, host, port, service, seen_unix_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT DO UPDATE SET host = excluded.host, port = excluded.port, service = excluded.service,
             seen_unix_ms = excluded.seen_unix_ms WHERE excluded.seen_unix_ms >= seen_unix_ms",
    )
    .and_then(|mut put| {
        put.execute(params![
            subject.organisation.as_str(),
            subject.agent_no,
            target.name,
            target.host,
            target.port,
            target.service,
            received_unix_ms
        ])
    })
    .map(drop)
    .map_err(engine("write a target"))
}

/// The forms of one table of an agent, by target.
fn forms_of<F: DeserializeOwned>(
    tx: &Transaction<'_>,
    subject: Subject<'_>,
    what: &'static str,
    sql: &str,
) -> StoreResult<Vec<(String, F)>> {
    let key = params![subject.organisation.as_str(), subject.agent_no];
    all(tx, sql, key, |row| {
        let read =
            || -> rusqlite::Result<(String, &str)> { Ok((row.get(0)?, row.get_ref(1)?.as_str()?)) };
        let (target, form) = read().map_err(engine("read"))?;
        Ok((target, forms::read(what, form)?))
    })
}

const MEMORIES: &str =
    "SELECT target, form FROM path_memory WHERE organisation = ?1 AND agent_no = ?2";
const BRIEFS: &str =
    "SELECT target, brief FROM path_memory WHERE organisation = ?1 AND agent_no = ?2";
const ROUNDS: &str = "SELECT target, form FROM latest_round WHERE organisation = ?1 AND agent_no = ?2 ORDER BY target";

/// Memory of the path comparison, by target.
pub(super) fn memories(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    agent: AgentId,
) -> StoreResult<BTreeMap<String, PathMemory>> {
    let Some(agent_no) = agent_no(tx, organisation, agent)? else {
        return Ok(BTreeMap::new());
    };
    let key = params![organisation.as_str(), agent_no];
    let found: Vec<(String, PathMemory)> = all(tx, MEMORIES, key, |row| {
        let read = || -> rusqlite::Result<(String, &[u8])> {
            Ok((row.get(0)?, row.get_ref(1)?.as_blob()?))
        };
        let (target, form) = read().map_err(engine("read"))?;
        Ok((target, memory_of(form)?))
    })?;
    Ok(found.into_iter().collect())
}

/// Newest round of each target.
pub(super) fn latest_rounds(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    agent: AgentId,
) -> StoreResult<Vec<Round>> {
    let Some(agent_no) = agent_no(tx, organisation, agent)? else {
        return Ok(Vec::new());
    };
    let subject = Subject {
        organisation,
        agent_no,
    };
    forms_of::<RoundForm>(tx, subject, "a path round", ROUNDS)
        .map(|found| found.into_iter().map(|(_, form)| form.into()).collect())
}

/// Memories in brief, by target.
pub(super) fn briefs(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    scope: &Scope,
) -> StoreResult<ByAgent<(String, PathBrief)>> {
    of_each(tx, organisation, scope, |agent_no| {
        let subject = Subject {
            organisation,
            agent_no,
        };
        forms_of(tx, subject, "a path in brief", BRIEFS)
    })
}

/// Where the newest rounds went, by target.
pub(super) fn destinations(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    scope: &Scope,
) -> StoreResult<ByAgent<(String, IpAddr)>> {
    of_each(tx, organisation, scope, |agent_no| {
        let subject = Subject {
            organisation,
            agent_no,
        };
        let found = forms_of::<DestinationForm>(tx, subject, "a path round", ROUNDS)?;
        let found = found.into_iter();
        Ok(found
            .map(|(target, round)| (target, round.destination))
            .collect())
    })
}

/// The newest of its kind for each target, of each agent in a scope.
fn newest_of_each<F: DeserializeOwned, T: From<F>>(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    scope: &Scope,
    what: &'static str,
    sql: &str,
) -> StoreResult<ByAgent<T>> {
    of_each(tx, organisation, scope, |agent_no| {
        let subject = Subject {
            organisation,
            agent_no,
        };
        forms_of::<F>(tx, subject, what, sql)
            .map(|found| found.into_iter().map(|(_, form)| form.into()).collect())
    })
}

/// Newest sighting of each target.
pub(super) fn sightings(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    scope: &Scope,
) -> StoreResult<ByAgent<Sighting>> {
    let sql = "SELECT target, form FROM sighting WHERE organisation = ?1 AND agent_no = ?2 ORDER BY target";
    newest_of_each::<SightingForm, _>(tx, organisation, scope, "an edge sighting", sql)
}

/// Newest resolution of each target and family.
pub(super) fn resolutions(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    scope: &Scope,
) -> StoreResult<ByAgent<Resolution>> {
    let sql = "SELECT target, form FROM resolution WHERE organisation = ?1 AND agent_no = ?2 ORDER BY target, ipv6";
    newest_of_each::<ResolutionForm, _>(tx, organisation, scope, "a resolution", sql)
}

/// Known names of hops.
pub(super) fn hop_names(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    addresses: &[String],
) -> StoreResult<BTreeMap<String, String>> {
    let addresses = forms::write("addresses", &addresses)?;
    let sql = "SELECT address, name FROM hop_name
        WHERE organisation = ?1 AND address IN (SELECT value FROM json_each(?2)) AND name IS NOT NULL";
    all(tx, sql, params![organisation.as_str(), addresses], |row| {
        let read = || -> rusqlite::Result<(String, String)> { Ok((row.get(0)?, row.get(1)?)) };
        read().map_err(engine("read the name of a hop"))
    })
    .map(|found| found.into_iter().collect())
}

/// Targets that agents measure now.
pub(super) fn targets(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    scope: &Scope,
) -> StoreResult<ByAgent<Target>> {
    let sql = "SELECT target, host, port, service FROM target WHERE organisation = ?1 AND agent_no = ?2
        AND seen_unix_ms + ?3 >= (SELECT max(seen_unix_ms) FROM target WHERE organisation = ?1 AND agent_no = ?2)
        ORDER BY target";
    let target_of = |row: &Row<'_>| {
        let read = || -> rusqlite::Result<Target> {
            Ok(Target {
                name: row.get(0)?,
                host: row.get(1)?,
                port: row.get(2)?,
                service: row.get(3)?,
            })
        };
        read().map_err(engine("read a target"))
    };
    of_each(tx, organisation, scope, |agent_no| {
        let key = params![organisation.as_str(), agent_no, millis(TARGET_GONE_AFTER)];
        all(tx, sql, key, target_of)
    })
}

/// Deletes spans that ended before a time, but never the newest of a target.
pub(super) fn forget(tx: &Transaction<'_>, before_unix_ms: i64) -> StoreResult<usize> {
    tx.execute(
        "DELETE FROM path_span WHERE to_unix_ms < ?1 AND EXISTS (
             SELECT 1 FROM path_span AS later WHERE later.organisation = path_span.organisation
             AND later.agent_no = path_span.agent_no AND later.target = path_span.target
             AND later.from_unix_ms > path_span.from_unix_ms)",
        [before_unix_ms],
    )
    .map_err(engine("delete past paths"))
}
