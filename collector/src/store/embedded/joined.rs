//! Routing and paths together: which events of agents a verdict on a prefix concerns, and what those agents say to it.
//!
//! An agent is concerned by a prefix if a registered connection of its site has it, or if what it measures lies in it. Both are put into one
//! incident in the transaction that writes the later of the two, so nobody is told twice of one thing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use firstmile_peering::Resources;
use firstmile_peering::connection::sites_of;
use firstmile_routing::cross_check::{self, Elsewhere, Testimony};
use firstmile_wire::ids::{AgentId, OrganisationId};
use ipnet::IpNet;
use rusqlite::{OptionalExtension, Transaction, params};

use super::forms::DestinationForm;
use super::registry::{agent_no, all};
use super::{engine, events, facts, forms, incidents, registered, registry, routing};
use crate::api::types::{
    CrossCheck, Event, EventClass, Handshake, Incident, MachineChange, RoutingVerdict,
};
use crate::incident::route::TOGETHER_MS;
use crate::ingest::facts::FactKind;
use crate::registry::Agent;
use crate::store::StoreResult;
use crate::store::incidents::EventRounds;

/// Agents of a prefix that are asked.
const ASKED_MAX: usize = 50;
/// Prefixes that are looked at for one event.
const PREFIXES_MAX: usize = 8;
/// Events that are looked at for one verdict.
const EVENTS_MAX: u32 = 200;
/// After a verdict starts, what agents see so much later is still of it.
const AFTER_MS: i64 = 10 * 60_000;

/// The incident that an event goes into: that of a verdict which concerns it, if the event's own is new; else its own.
pub(super) fn incident_of(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    event: &Event,
) -> StoreResult<Option<String>> {
    let Some(own) = &event.incident_id else {
        return Ok(None);
    };
    if let Some(whole) = whole_of(tx, organisation, own)? {
        return Ok(Some(whole));
    }
    // One that people may know already is not taken from under them.
    if event.late || exists(tx, organisation, own)? {
        return Ok(Some(own.clone()));
    }
    let around = event.first_novel_unix_ms;
    let verdicts = routing::started_around(tx, organisation, around, TOGETHER_MS)?;
    // In a storm one look is enough for each prefix and incident, and one at what is registered for all of them.
    let mut asked = BTreeSet::new();
    let mut resources = None;
    for verdict in verdicts {
        let (Some(whole), Some(prefix)) = (&verdict.incident_id, prefix_of(&verdict)) else {
            continue;
        };
        if asked.len() >= PREFIXES_MAX || !asked.insert((whole.clone(), prefix)) {
            continue;
        }
        let registered = match resources.take() {
            Some(known) => known,
            None => registered::resources(tx, organisation)?,
        };
        let sites = sites_with(&registered, prefix);
        resources = Some(registered);
        if concerns(tx, organisation, event, prefix, &sites)? {
            tx.execute(
                "INSERT OR IGNORE INTO incident_part (organisation, incident_id, whole_id) VALUES (?1, ?2, ?3)",
                params![organisation.as_str(), own, whole],
            )
            .map_err(engine("join incidents"))?;
            return Ok(Some(whole.clone()));
        }
    }
    Ok(Some(own.clone()))
}

/// The incident that another one turned out to be a part of.
pub(super) fn whole_of(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    incident_id: &str,
) -> StoreResult<Option<String>> {
    tx.prepare_cached(
        "SELECT whole_id FROM incident_part WHERE organisation = ?1 AND incident_id = ?2",
    )
    .and_then(|mut find| {
        find.query_row(params![organisation.as_str(), incident_id], |row| {
            row.get(0)
        })
        .optional()
    })
    .map_err(engine("read joined incidents"))
}

fn exists(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    incident_id: &str,
) -> StoreResult<bool> {
    tx.prepare_cached("SELECT 1 FROM incident WHERE organisation = ?1 AND incident_id = ?2")
        .and_then(|mut find| find.exists(params![organisation.as_str(), incident_id]))
        .map_err(engine("read an incident"))
}

/// The incident of paths that moved when a verdict started, at agents that it concerns.
pub(super) fn moved_with(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    verdict: &RoutingVerdict,
) -> StoreResult<Option<String>> {
    let at = verdict.started_unix_ms;
    let moved = events::begun_between(
        tx,
        organisation,
        (at - TOGETHER_MS, at + TOGETHER_MS),
        EVENTS_MAX,
    )?;
    let (false, Some(prefix)) = (moved.is_empty(), prefix_of(verdict)) else {
        return Ok(None);
    };
    let sites = sites_with(&registered::resources(tx, organisation)?, prefix);
    for (event, incident_id) in moved {
        if !event.late && concerns(tx, organisation, &event, prefix, &sites)? {
            return Ok(Some(incident_id));
        }
    }
    Ok(None)
}

/// The registered prefix of a verdict.
fn prefix_of(verdict: &RoutingVerdict) -> Option<IpNet> {
    let text = verdict.matched.as_ref().unwrap_or(&verdict.prefix);
    text.parse().ok()
}

/// Names of the sites whose connections have a prefix that overlaps this one.
fn sites_with(resources: &Resources, prefix: IpNet) -> BTreeSet<String> {
    let mut sites = BTreeSet::new();
    for resource in resources.all() {
        let Some(one) = resource.properties.prefix() else {
            continue;
        };
        if (one.prefix.contains(&prefix) || prefix.contains(&one.prefix))
            && let Some(connection) = resources.one(&resource.id.outer())
        {
            sites.extend(sites_of(connection));
        }
    }
    sites
}

fn concerns(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    event: &Event,
    prefix: IpNet,
    sites: &BTreeSet<String>,
) -> StoreResult<bool> {
    if sites.contains(&event.site_name) {
        return Ok(true);
    }
    let Some(agent) = agent_of(event) else {
        return Ok(false);
    };
    let to = destination(tx, organisation, agent, &event.target)?;
    Ok(to.is_some_and(|to| prefix.contains(&to)))
}

/// Where the flows of the newest round went.
fn destination(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    agent: AgentId,
    target: &str,
) -> StoreResult<Option<IpAddr>> {
    let Some(number) = agent_no(tx, organisation, agent)? else {
        return Ok(None);
    };
    let form: Option<String> = tx
        .prepare_cached(
            "SELECT form FROM latest_round WHERE organisation = ?1 AND agent_no = ?2 AND target = ?3",
        )
        .and_then(|mut find| {
            find.query_row(params![organisation.as_str(), number, target], |row| row.get(0))
                .optional()
        })
        .map_err(engine("read the newest round"))?;
    let read = |form: String| forms::read::<DestinationForm>("a path round", &form);
    Ok(form.map(read).transpose()?.map(|form| form.destination))
}

fn agent_of(event: &Event) -> Option<AgentId> {
    event.agent_id.parse().map(AgentId).ok()
}

/// What agents of the prefix say to the verdicts of an incident; `None` if it has none.
pub(super) fn cross_check(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    incident: &Incident,
    of_incident: &[Event],
) -> StoreResult<Option<CrossCheck>> {
    let Some(verdict) = incident.verdicts.first() else {
        return Ok(None);
    };
    let Some(prefix) = prefix_of(verdict) else {
        return Ok(None);
    };
    let sites = sites_with(&registered::resources(tx, organisation)?, prefix);
    let from = incident.onset_from_unix_ms - TOGETHER_MS;
    let until = incident.onset_from_unix_ms + AFTER_MS;
    let moved = events::begun_between(tx, organisation, (from, until), EVENTS_MAX)?;
    let moved: Vec<Event> = moved.into_iter().map(|(event, _)| event).collect();
    let hit: BTreeSet<&str> = of_incident
        .iter()
        .map(|event| event.agent_id.as_str())
        .collect();
    let known = registry::sites(tx, organisation)?;
    let is_inside = |agent: &Agent| {
        let site = known.iter().find(|site| site.id == agent.site);
        site.is_some_and(|site| sites.contains(&site.name))
            || hit.contains(agent.id.to_string().as_str())
    };
    let agents = registry::agents(tx, organisation)?;
    let is_asked = |agent: &&Agent| {
        let was_heard = agent.last_seen_unix_ms.is_some_and(|seen| seen >= from);
        !agent.revoked && (was_heard || hit.contains(agent.id.to_string().as_str()))
    };
    let (inside, outside): (Vec<&Agent>, Vec<&Agent>) = agents
        .iter()
        .filter(is_asked)
        .partition(|agent| is_inside(agent));
    let witness = Witness {
        tx,
        organisation,
        moved: &moved,
        since_unix_ms: from,
        offender: incident
            .verdicts
            .iter()
            .find_map(|verdict| verdict.offender),
    };
    let said: Vec<Testimony> = inside
        .iter()
        .take(ASKED_MAX)
        .map(|agent| witness.testimony(agent.id))
        .collect::<StoreResult<_>>()?;
    let elsewhere = Elsewhere {
        agents: count(outside.len()),
        cut_off: count(
            outside
                .iter()
                .filter(|agent| witness.is_cut_off(agent.id))
                .count(),
        ),
    };
    let allowed = |line: &String| line.starts_with("RPKI allows");
    let is_valid = verdict.counter_evidence.iter().any(allowed);
    let told = cross_check::grade(&said, elsewhere, is_valid);
    Ok(Some(CrossCheck {
        grade: told.grade.as_str().to_owned(),
        score: (told.score * 10.0).round() / 10.0,
        signs: told.signs,
        agents: count(inside.len()),
        agents_hit: count(said.iter().filter(|one| one.is_hit).count()),
    }))
}

struct Witness<'a> {
    tx: &'a Transaction<'a>,
    organisation: &'a OrganisationId,
    moved: &'a [Event],
    since_unix_ms: i64,
    offender: Option<u32>,
}

impl Witness<'_> {
    fn of(&self, agent: AgentId) -> impl Iterator<Item = &Event> {
        let id = agent.to_string();
        self.moved.iter().filter(move |event| event.agent_id == id)
    }

    fn is_cut_off(&self, agent: AgentId) -> bool {
        self.of(agent)
            .any(|event| event.class == EventClass::Unreachable)
    }

    fn testimony(&self, agent: AgentId) -> StoreResult<Testimony> {
        let passes = |event: &Event, asn: u32| {
            event.after.as_path.contains(&asn) && !event.before.as_path.contains(&asn)
        };
        let mut hops_change = None;
        for event in self.of(agent) {
            let rounds = incidents::rounds_of(self.tx, self.organisation, &event.event_id)?;
            hops_change = hops_change.max(change_of_length(&rounds));
        }
        Ok(Testimony {
            is_hit: self.of(agent).next().is_some(),
            is_cut_off: self.is_cut_off(agent),
            other_keys: self.other_keys(agent)?,
            passes_offender: self
                .offender
                .is_some_and(|asn| self.of(agent).any(|event| passes(event, asn))),
            rtt_change_us: self
                .of(agent)
                .filter_map(|event| event.rtt_cost.map(|cost| cost.change_low_us))
                .max(),
            hops_change,
        })
    }

    /// Whether a server showed another issuer since, or a chain that does not verify.
    fn other_keys(&self, agent: AgentId) -> StoreResult<Option<bool>> {
        let changes = facts::of_agent(self.tx, self.organisation, agent, FactKind::Change)?;
        for fact in changes
            .iter()
            .filter(|fact| fact.at_unix_ms >= self.since_unix_ms)
        {
            let change: MachineChange = forms::read("a change of an agent", &fact.form)?;
            if change.kind == "issuer" {
                return Ok(Some(true));
            }
        }
        let handshakes = facts::of_agent(self.tx, self.organisation, agent, FactKind::Handshake)?;
        let mut since = None;
        for fact in handshakes
            .iter()
            .filter(|fact| fact.at_unix_ms >= self.since_unix_ms)
        {
            let handshake: Handshake = forms::read("a handshake of an agent", &fact.form)?;
            since = Some(since.unwrap_or(false) || handshake.problem.is_some());
        }
        Ok(since)
    }
}

/// By how many hops the path to the destination became longer or shorter.
fn change_of_length(rounds: &EventRounds) -> Option<u32> {
    let length = |round: &Option<crate::ingest::batch::Round>| {
        let flows = round.iter().flat_map(|round| &round.flows);
        flows.filter_map(|flow| flow.destination_ttl).min()
    };
    Some(length(&rounds.before)?.abs_diff(length(&rounds.after)?))
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

/// Deletes what joined incidents that are gone.
pub(super) fn forget(tx: &Transaction<'_>) -> StoreResult<usize> {
    tx.execute(
        "DELETE FROM incident_part WHERE NOT EXISTS (SELECT 1 FROM incident WHERE incident.organisation = incident_part.organisation
             AND incident.incident_id = incident_part.whole_id)",
        [],
    )
    .map_err(engine("forget joined incidents"))
}

/// Events in the order of a query.
pub(super) fn with_incident(
    tx: &Transaction<'_>,
    sql: &str,
    key: &[&dyn rusqlite::ToSql],
) -> StoreResult<Vec<(Event, String)>> {
    all(tx, sql, key, |row| {
        let read = || -> rusqlite::Result<(String, String)> { Ok((row.get(0)?, row.get(1)?)) };
        let (form, incident_id) = read().map_err(engine("read events"))?;
        Ok((forms::read("an event", &form)?, incident_id))
    })
}
