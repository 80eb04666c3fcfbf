//! Incidents: events that are one, with what there is to see of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use axum::Json;
use axum::extract::{Path, State};
use firstmile_wire::ids::{AgentId, OrganisationId};

use super::ApiState;
use super::failure::Failure;
use super::path::{addresses, hops};
use super::principal::Access;
use super::query::{self, Asked, EventsQuery};
use super::types::{ApiError, EventClass, EventPath, EventPaths, Incident, IncidentReport, Peer};
use crate::detect::identity::identity_of;
use crate::detect::{PathBrief, PathState};
use crate::incident::unseen;
use crate::ingest::batch::Round;
use crate::registry::Agent;
use crate::store::Scope;
use crate::store::incidents::IncidentQuery;

/// Most incidents in one answer: the newest; ask for an earlier window to see more.
const INCIDENTS_MAX: u32 = 200;
/// Events of an incident in its report.
const EVENTS_MAX: u32 = 100;
/// Unaffected agents named.
const PEERS_MAX: usize = 50;

/// Incidents that were open in a window, newest first, at most 200.
#[utoipa::path(get, path = "/api/v1/incidents", tag = "incidents", operation_id = "incidents", params(EventsQuery),
    responses((status = 200, body = [Incident]), (status = 400, body = ApiError), (status = 401, body = ApiError)))]
pub(super) async fn incidents(
    State(state): State<ApiState>,
    access: Access,
    Asked(asked): Asked<EventsQuery>,
) -> Result<Json<Vec<Incident>>, Failure> {
    let (window, open, agent) = query::of_events(asked, (state.now_unix_ms)())?;
    let query = IncidentQuery {
        from_unix_ms: window.from_unix_ms,
        to_unix_ms: window.to_unix_ms,
        open,
        agent,
        limit: INCIDENTS_MAX,
    };
    let found = state.store.incidents(&access.organisation, &query).await?;
    Ok(Json(found))
}

/// One incident: its events with their reasons, who was not affected, and what could not be seen.
#[utoipa::path(get, path = "/api/v1/incidents/{id}", tag = "incidents", operation_id = "incident",
    params(("id" = String, Path, description = "Identity of the incident")),
    responses((status = 200, body = IncidentReport), (status = 401, body = ApiError), (status = 404, body = ApiError)))]
pub(super) async fn incident(
    State(state): State<ApiState>,
    access: Access,
    Path(id): Path<String>,
) -> Result<Json<IncidentReport>, Failure> {
    let (store, organisation) = (&state.store, &access.organisation);
    let incident = store.incident(organisation, &id).await?;
    let events = store.incident_events(organisation, &id, EVENTS_MAX).await?;
    let (unaffected, unaffected_total) = peers(&state, organisation, &incident).await?;
    Ok(Json(IncidentReport {
        unseen: unseen(&events),
        incident,
        events,
        unaffected,
        unaffected_total,
    }))
}

/// The paths before and after an event, hop by hop: the last whole round on the usual path, and the first after the move.
#[utoipa::path(get, path = "/api/v1/events/{id}/paths", tag = "events", operation_id = "eventPaths",
    params(("id" = String, Path, description = "Identity of the event")),
    responses((status = 200, body = EventPaths), (status = 401, body = ApiError), (status = 404, body = ApiError)))]
pub(super) async fn event_paths(
    State(state): State<ApiState>,
    access: Access,
    Path(id): Path<String>,
) -> Result<Json<EventPaths>, Failure> {
    let organisation = &access.organisation;
    state.store.event(organisation, &id).await?;
    let rounds = state.store.event_rounds(organisation, &id).await?;
    Ok(Json(EventPaths {
        before: path_of(&state, organisation, rounds.before.as_ref()).await?,
        after: path_of(&state, organisation, rounds.after.as_ref()).await?,
    }))
}

async fn path_of(
    state: &ApiState,
    organisation: &OrganisationId,
    round: Option<&Round>,
) -> Result<Option<EventPath>, Failure> {
    let Some(round) = round else { return Ok(None) };
    let names = state
        .store
        .hop_names(organisation, &addresses(round))
        .await?;
    let names: BTreeMap<IpAddr, String> = names
        .into_iter()
        .filter_map(|(address, name)| Some((address.parse().ok()?, name)))
        .collect();
    let projection = identity_of(round, &names, None, &state.meaning.now());
    Ok(Some(EventPath {
        at_unix_ms: round.at_unix_ms,
        destination: round.destination.to_string(),
        hops: hops(round, &names, &projection, &state.meaning.now()),
        identity: projection.identity,
    }))
}

/// Agents that measure a target of the incident and have no event in it, while their path to it is the usual one.
async fn peers(
    state: &ApiState,
    organisation: &OrganisationId,
    incident: &Incident,
) -> Result<(Vec<Peer>, u32), Failure> {
    if incident.class == EventClass::Flapping {
        return Ok((Vec::new(), 0)); // each path flaps for itself
    }
    let affected: BTreeSet<&str> = incident
        .events
        .iter()
        .map(|event| event.agent_id.as_str())
        .collect();
    let briefs = state.store.path_briefs(organisation, &Scope::World).await?;
    let agents = state.store.agents(organisation).await?;
    let sites = state.store.sites(organisation).await?;
    let known: BTreeMap<AgentId, &Agent> = agents.iter().map(|agent| (agent.id, agent)).collect();
    let now_unix_ms = (state.now_unix_ms)();
    let mut peers = Vec::new();
    for (agent, paths) in &briefs {
        let id = agent.to_string();
        let Some(known) = known
            .get(agent)
            .filter(|known| known.state(now_unix_ms) == "reporting")
        else {
            continue;
        };
        if affected.contains(id.as_str()) {
            continue;
        }
        let usual = |brief: &PathBrief| brief.state() == PathState::Stable;
        let Some((target, brief)) = paths
            .iter()
            .find(|(target, brief)| incident.targets.contains(target) && usual(brief))
        else {
            continue;
        };
        let site = sites.iter().find(|site| site.id == known.site);
        peers.push(Peer {
            agent_id: id,
            site_name: site.map(|site| site.name.clone()).unwrap_or_default(),
            target: target.clone(),
            provider_asn: brief.provider_asn,
            ingress_metros: brief
                .latest
                .as_ref()
                .map(|one| one.ingress_metros.clone())
                .unwrap_or_default(),
        });
    }
    let total = u32::try_from(peers.len()).unwrap_or(u32::MAX);
    // Those of the same provider first: they say most.
    peers.sort_by_key(|peer| {
        (
            peer.provider_asn != incident.provider_asn,
            peer.site_name.clone(),
        )
    });
    peers.truncate(PEERS_MAX);
    Ok((peers, total))
}
