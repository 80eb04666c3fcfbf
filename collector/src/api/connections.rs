//! Connections with their compliance: what was promised, and where traffic went.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Query, State};
use firstmile_peering::compliance::{self, Compliance, Place, Promise, Redundancy, Seen, Stretch};
use firstmile_peering::connection::{prefixes_of, promise_of, sites_of};
use firstmile_peering::desk::{World, verdict_of};
use firstmile_peering::model::{Resource, Service};
use firstmile_wire::ids::OrganisationId;
use serde::Deserialize;

use super::ApiState;
use super::failure::Failure;
use super::principal::Access;
use super::query;
use super::types::{
    ApiError, Connection, ConnectionPrefix, ConnectionSite, EventClass, PathCompliance,
    PathIdentity, Window,
};
use crate::registry::{Agent, Site};
use crate::store::{EventQuery, Scope};

/// Spans of one path that are looked at, newest first: a path that moves more often says nothing by its shares.
const SPANS_MAX: u32 = 2_000;
/// Events of one agent that are looked at.
const EVENTS_MAX: u32 = 1_000;

/// What can be asked.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    window: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// All connections with their prefixes, and how their sites' paths kept the promise.
#[utoipa::path(get, path = "/api/v1/connections", tag = "connections", operation_id = "connections",
    params(
        ("window" = Option<String>, Query, description = "`15m`, `1h`, `6h`, `12h`, `1d`, `7d`, `30d`; default `7d`"),
        ("from" = Option<i64>, Query, description = "Start, milliseconds since 1970; instead of `window`"),
        ("to" = Option<i64>, Query, description = "End; default now")),
    responses((status = 200, body = [Connection]), (status = 400, body = ApiError), (status = 401, body = ApiError)))]
pub(super) async fn connections(
    State(state): State<ApiState>,
    access: Access,
    Query(asked): Query<Asked>,
) -> Result<Json<Vec<Connection>>, Failure> {
    let now = (state.now_unix_ms)();
    let (name, from, to) = (&asked.window, &asked.from, &asked.to);
    let window = query::window(name.as_deref(), from.as_deref(), to.as_deref(), "7d", now)?;
    let organisation = &access.organisation;
    let resources = state.store.resources(organisation).await?;
    let (events, tests) = (BTreeMap::new(), BTreeMap::new());
    let sessions = state.registry.sessions(&resources, (state.now_unix_ms)());
    let world = World {
        resources: &resources,
        directory: &state.registry.directory,
        sessions: &sessions,
        events: &events,
        tests: &tests,
    };
    let sites = state.store.sites(organisation).await?;
    let agents = state.store.agents(organisation).await?;
    let desk = Desk {
        state: &state,
        organisation,
        window,
        agents: &agents,
    };
    let mut all = Vec::new();
    for resource in resources.all() {
        if let Some(service) = resource.properties.service() {
            all.push(desk.connection(&world, resource, service, &sites).await?);
        }
    }
    Ok(Json(all))
}

struct Desk<'a> {
    state: &'a ApiState,
    organisation: &'a OrganisationId,
    window: Window,
    agents: &'a [Agent],
}

impl Desk<'_> {
    async fn connection(
        &self,
        world: &World<'_>,
        resource: &Resource,
        service: &Service,
        sites: &[Site],
    ) -> Result<Connection, Failure> {
        let promise = promise_of(world.resources, world.directory, service);
        let wanted = sites_of(resource);
        let mut served = Vec::new();
        for site in sites.iter().filter(|site| wanted.contains(&site.name)) {
            served.push(ConnectionSite {
                site_id: site.id.to_string(),
                site_name: site.name.clone(),
                paths: self.paths(site, &promise).await?,
            });
        }
        let unknown = wanted
            .iter()
            .filter(|name| !sites.iter().any(|site| site.name == **name));
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Ok(Connection {
            id: resource.id.to_string(),
            name: resource.id.name().to_owned(),
            provider: text(&service.peering_service_provider),
            primary: text(&service.provider_primary_peering_location),
            backup: service.backup().map(str::to_owned),
            provider_asns: promise.provider_asns.iter().copied().collect(),
            prefixes: prefixes_of(world.resources, &resource.id)
                .filter_map(|one| prefix(world, one))
                .collect(),
            unknown_sites: unknown.cloned().collect(),
            sites: served,
        })
    }

    async fn paths(&self, site: &Site, promise: &Promise) -> Result<Vec<PathCompliance>, Failure> {
        let mut paths = Vec::new();
        for agent in self.agents.iter().filter(|agent| agent.site == site.id) {
            let store = &self.state.store;
            let targets = store
                .targets(self.organisation, &Scope::Agent(agent.id))
                .await?;
            let unreachable = self.unreachable(agent).await?;
            for target in targets.into_values().flatten() {
                let spans = store
                    .spans(self.organisation, agent.id, &target.name, SPANS_MAX)
                    .await?;
                let seen = spans.into_iter().map(|span| Stretch {
                    from_unix_ms: span.from_unix_ms,
                    to_unix_ms: span.to_unix_ms,
                    rounds: span.rounds,
                    seen: self.seen(span.identity),
                });
                let dead = unreachable.iter().filter(|(name, _)| *name == target.name);
                let stretches: Vec<Stretch> = seen
                    .chain(dead.map(|(_, stretch)| stretch.clone()))
                    .collect();
                let Window {
                    from_unix_ms,
                    to_unix_ms,
                } = self.window;
                let judged = compliance::judge(promise, &stretches, from_unix_ms, to_unix_ms);
                paths.push(shown(agent, target.name, &judged));
            }
        }
        Ok(paths)
    }

    /// When targets could not be reached, by the events that say so.
    async fn unreachable(&self, agent: &Agent) -> Result<Vec<(String, Stretch)>, Failure> {
        let Window {
            from_unix_ms,
            to_unix_ms,
        } = self.window;
        let query = EventQuery {
            from_unix_ms,
            to_unix_ms,
            open: None,
            agent: Some(agent.id),
            limit: EVENTS_MAX,
        };
        let events = self.state.store.events(self.organisation, &query).await?;
        let dead = events
            .into_iter()
            .filter(|event| event.class == EventClass::Unreachable);
        let stretch = dead.map(|event| {
            let stretch = Stretch {
                from_unix_ms: event.first_novel_unix_ms,
                to_unix_ms: event.ended_unix_ms.unwrap_or(to_unix_ms),
                rounds: 0,
                seen: Seen::Unreachable,
            };
            (event.target, stretch)
        });
        Ok(stretch.collect())
    }

    fn seen(&self, identity: PathIdentity) -> Seen {
        let is_foreign = |asn: &u32| !self.state.meaning.now().is_microsoft(*asn);
        Seen::Path {
            as_path: identity.as_path.into_iter().filter(is_foreign).collect(),
            metros: identity.ingress_metros.into_iter().collect(),
            routers: identity.ingress_routers.into_iter().collect(),
        }
    }
}

fn prefix(world: &World<'_>, resource: &Resource) -> Option<ConnectionPrefix> {
    let prefix = resource.properties.prefix()?;
    let verdict = verdict_of(world, &resource.id, prefix)?;
    Some(ConnectionPrefix {
        name: resource.id.name().to_owned(),
        prefix: prefix.prefix.to_string(),
        state: verdict.state.as_str().to_owned(),
        findings: verdict
            .findings
            .iter()
            .map(firstmile_peering::verdict::Finding::message)
            .collect(),
    })
}

fn shown(agent: &Agent, target: String, judged: &Compliance) -> PathCompliance {
    let known_ms = judged.one_hop_ms + judged.more_hops_ms;
    let (redundancy, routers, hidden) = match &judged.redundancy {
        Redundancy::Proven { routers } => ("proven", routers.to_vec(), None),
        Redundancy::OneSeen {
            router,
            hidden_share_below,
            ..
        } => ("one_seen", vec![router.clone()], Some(*hidden_share_below)),
        Redundancy::Replaced { routers } => ("replaced", routers.iter().cloned().collect(), None),
        Redundancy::NotObservable => ("not_observable", Vec::new(), None),
    };
    let of_place = |(place, time_ms): (&Place, &i64)| (place.as_str().to_owned(), *time_ms);
    PathCompliance {
        agent_id: agent.id.to_string(),
        hostname: agent.hostname.clone(),
        target,
        time_ms: judged.time_ms.iter().map(of_place).collect(),
        preferred_ratio: judged.preferred_ratio(),
        one_hop_ratio: (known_ms > 0).then(|| compliance::ratio(judged.one_hop_ms, known_ms)),
        redundancy: redundancy.to_owned(),
        routers,
        hidden_share_below_ratio: hidden,
        last_backup_from_unix_ms: judged.last_backup.map(|(from, _)| from),
        last_backup_to_unix_ms: judged.last_backup.map(|(_, to)| to),
    }
}
