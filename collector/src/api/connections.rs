//! Connections with their compliance: what was promised, and where traffic went.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Query, State};
use firstmile_peering::compliance::{self, Compliance, Place, Promise, Redundancy, Seen, Stretch};
use firstmile_peering::connection::{prefixes_of, promise_of, sites_of};
use firstmile_peering::desk::{World, verdict_of};
use firstmile_peering::model::{Resource, Service};
use firstmile_wire::ids::OrganisationId;
use firstmile_wire::v1::{Phase, Protocol};
use serde::Deserialize;

use super::ApiState;
use super::failure::Failure;
use super::principal::Access;
use super::query;
use super::types::{
    ApiError, Connection, ConnectionPrefix, ConnectionSite, PathCompliance, PathIdentity, Window,
};
use crate::registry::{Agent, Site, SiteId, Target};
use crate::rollup::{MINUTE_MS, window_start};
use crate::store::past::{Past, PastQuery};
use crate::store::{ByAgent, CellQuery, Group, Scope};

/// Spans of one path that are looked at, newest first: a path that moves more often says nothing by its shares.
const SPANS_MAX: u32 = 2_000;
/// Times at a backup location whose round-trip times are read, in one answer.
const COSTS_MAX: usize = 200;
/// Of a time at a location so much, its end, is read.
const COMPARED_MS: i64 = 3_600_000;
/// Failures of all agents that are looked at, newest first.
const FAILURES_MAX: u32 = 20_000;

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
    let served: BTreeSet<String> = resources.all().flat_map(sites_of).collect();
    let served: BTreeSet<SiteId> = sites
        .iter()
        .filter(|site| served.contains(&site.name))
        .map(|site| site.id)
        .collect();
    let asked = agents.iter().filter(|agent| served.contains(&agent.site));
    let past = PastQuery {
        agents: asked.map(|agent| agent.id).collect(),
        from_unix_ms: window.from_unix_ms,
        to_unix_ms: window.to_unix_ms,
        spans_each: SPANS_MAX,
        failures: FAILURES_MAX,
    };
    let past = state.store.past(organisation, past).await?;
    let targets = state.store.targets(organisation, &Scope::World).await?;
    let mut desk = Desk {
        state: &state,
        organisation,
        window,
        agents: &agents,
        targets,
        past,
        costs: COSTS_MAX,
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
    targets: ByAgent<Target>,
    past: Past,
    /// Costs that may still be read.
    costs: usize,
}

impl Desk<'_> {
    async fn connection(
        &mut self,
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

    async fn paths(
        &mut self,
        site: &Site,
        promise: &Promise,
    ) -> Result<Vec<PathCompliance>, Failure> {
        let mut paths = Vec::new();
        for agent in self.agents.iter().filter(|agent| agent.site == site.id) {
            let dead = self.unreachable(agent);
            for target in self.targets.get(&agent.id).into_iter().flatten() {
                let spans = self.past.spans.get(&(agent.id, target.name.clone()));
                let seen = spans.into_iter().flatten().map(|span| Stretch {
                    from_unix_ms: span.from_unix_ms,
                    to_unix_ms: span.to_unix_ms,
                    rounds: span.rounds,
                    seen: self.seen(span.identity.clone()),
                });
                let dead = dead.iter().filter(|(name, _)| *name == target.name);
                let stretches: Vec<Stretch> = seen
                    .chain(dead.map(|(_, stretch)| stretch.clone()))
                    .collect();
                let Window {
                    from_unix_ms,
                    to_unix_ms,
                } = self.window;
                let judged = compliance::judge(promise, &stretches, from_unix_ms, to_unix_ms);
                let mut path = shown(agent, target.name.clone(), &judged);
                if judged.last_backup.is_some() && self.costs > 0 {
                    self.costs -= 1;
                    self.add_cost(agent, &judged, &mut path).await?;
                }
                paths.push(path);
            }
        }
        Ok(paths)
    }

    /// What the last time at the backup location cost in round-trip time.
    async fn add_cost(
        &self,
        agent: &Agent,
        judged: &Compliance,
        path: &mut PathCompliance,
    ) -> Result<(), Failure> {
        let backup = self.median(agent, &path.target, judged.last_backup).await?;
        let primary = self
            .median(agent, &path.target, judged.before_backup)
            .await?;
        path.last_backup_rtt_us = backup;
        path.last_backup_cost_us = backup
            .zip(primary)
            .map(|(backup, primary)| i64::from(backup) - i64::from(primary));
        Ok(())
    }

    /// Median TCP round-trip time of the last hour of a time, in whole minutes, microseconds.
    async fn median(
        &self,
        agent: &Agent,
        target: &str,
        time: Option<(i64, i64)>,
    ) -> Result<Option<u32>, Failure> {
        let Some((from, to)) = time else {
            return Ok(None);
        };
        let to_unix_ms = window_start(to, MINUTE_MS);
        let from_unix_ms = window_start(from.max(to - COMPARED_MS) + MINUTE_MS - 1, MINUTE_MS);
        if from_unix_ms >= to_unix_ms {
            return Ok(None);
        }
        let query = CellQuery {
            from_unix_ms,
            to_unix_ms,
            step_ms: None,
            protocol: Protocol::Tcp,
            phase: Phase::Rtt,
            target: Some(target.to_owned()),
            scope: Scope::Agent(agent.id),
            group: Group::All,
        };
        let cells = self.state.store.cells(self.organisation, &query).await?;
        let [p50_us] = cells
            .first()
            .map_or([None], |row| row.cell.answered.quantiles([0.5]));
        Ok(p50_us)
    }

    /// When targets could not be reached, by the events that say so.
    fn unreachable(&self, agent: &Agent) -> Vec<(String, Stretch)> {
        let id = agent.id.to_string();
        let dead = self.past.failures.iter();
        let dead = dead.filter(|event| event.agent_id == id);
        let stretch = dead.map(|event| {
            let stretch = Stretch {
                from_unix_ms: event.first_novel_unix_ms,
                to_unix_ms: event.ended_unix_ms.unwrap_or(self.window.to_unix_ms),
                rounds: 0,
                seen: Seen::Unreachable,
            };
            (event.target.clone(), stretch)
        });
        stretch.collect()
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
        last_backup_rtt_us: None,
        last_backup_cost_us: None,
    }
}
