//! Latency over time.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use firstmile_wire::ids::OrganisationId;

use super::ApiState;
use super::failure::Failure;
use super::geographies::name_of_key;
use super::principal::Access;
use super::query::{self, Asked, LatencyQuery, Measure};
use super::types::{ApiError, GeographyLevel, LatencyPoint, LatencyReport, ProtocolState, Window};
use super::view::PROTOCOLS;
use crate::registry::{Site, SiteId};
use crate::rollup::{MINUTE_MS, figures};
use crate::store::{CellQuery, CellRow, Group, Scope};

/// Figures of a scope: of the whole window, and one point a step.
#[utoipa::path(get, path = "/api/v1/latency", tag = "latency", operation_id = "latency", params(LatencyQuery),
    responses((status = 200, body = LatencyReport), (status = 400, body = ApiError), (status = 401, body = ApiError),
        (status = 404, body = ApiError)))]
pub(super) async fn latency(
    State(state): State<ApiState>,
    access: Access,
    Asked(asked): Asked<LatencyQuery>,
) -> Result<Json<LatencyReport>, Failure> {
    let now = (state.now_unix_ms)();
    let scope = query::scope(asked.scope.as_deref())?;
    let measure = query::measure(asked.protocol.as_deref(), asked.phase.as_deref())?;
    let (weighting, weighting_word) = query::weighting(asked.weighting.as_deref())?;
    let window = query::window(
        asked.window.as_deref(),
        asked.from.as_deref(),
        asked.to.as_deref(),
        "1h",
        now,
    )?;
    let step_ms = query::step(asked.step.as_deref(), window)?;
    let window = query::aligned(window, MINUTE_MS);
    let scoped = Scoped::find(&state, &access.organisation, scope).await?;
    let series = Series {
        state: &state,
        organisation: &access.organisation,
        scope: &scoped.scope,
        window,
        target: asked.target.as_deref(),
    };
    let total = series.cells(measure, None).await?;
    let points = series.cells(measure, Some(step_ms)).await?;
    let point = |row: CellRow| LatencyPoint {
        at_unix_ms: row.at_unix_ms,
        figures: figures(&row.cell, row.agents, weighting),
    };
    Ok(Json(LatencyReport {
        window,
        step_s: u32::try_from(step_ms / 1000).unwrap_or(u32::MAX),
        scope: asked.scope.clone().unwrap_or_else(|| "world".to_owned()),
        name: scoped.name.clone(),
        target: asked.target.clone(),
        protocol: measure.protocol_word.to_owned(),
        phase: measure.phase_word.to_owned(),
        weighting: weighting_word.to_owned(),
        total: total
            .first()
            .map(|row| figures(&row.cell, row.agents, weighting))
            .unwrap_or_default(),
        points: points.into_iter().map(point).collect(),
        protocols: series.protocols().await?,
    }))
}

/// A scope that exists.
struct Scoped {
    scope: Scope,
    name: String,
}

impl Scoped {
    /// An agent or site has to be known; a geography without agents is merely empty.
    async fn find(
        state: &ApiState,
        organisation: &OrganisationId,
        scope: Scope,
    ) -> Result<Self, Failure> {
        let sites = state.store.sites(organisation).await?;
        let sites: BTreeMap<SiteId, Site> = sites.into_iter().map(|site| (site.id, site)).collect();
        if let Scope::Agent(id) = scope {
            let agent = state.store.agent(organisation, id).await?;
            let site = sites
                .get(&agent.site)
                .map_or("no site", |site| site.name.as_str());
            return Ok(Self {
                scope,
                name: format!("{} ({site})", agent.hostname),
            });
        }
        let name = match &scope {
            Scope::World | Scope::Agent(_) => "World".to_owned(),
            Scope::Geography(GeographyLevel::Site, key) => {
                let site = sites.values().find(|site| site.id.to_string() == *key);
                let missing = || {
                    Failure::not_found(
                        "not_found",
                        format!("there is no site {key}, see /api/v1/sites"),
                    )
                };
                site.ok_or_else(missing)?.name.clone()
            }
            Scope::Geography(level, key) => name_of_key(*level, key),
        };
        Ok(Self { scope, name })
    }
}

/// What the cells are of.
struct Series<'a> {
    state: &'a ApiState,
    organisation: &'a OrganisationId,
    scope: &'a Scope,
    window: Window,
    target: Option<&'a str>,
}

impl Series<'_> {
    async fn cells(&self, measure: Measure, step_ms: Option<i64>) -> Result<Vec<CellRow>, Failure> {
        let query = CellQuery {
            from_unix_ms: self.window.from_unix_ms,
            to_unix_ms: self.window.to_unix_ms,
            step_ms,
            protocol: measure.protocol,
            phase: measure.phase,
            target: self.target.map(str::to_owned),
            scope: self.scope.clone(),
            group: Group::All,
        };
        Ok(self.state.store.cells(self.organisation, &query).await?)
    }

    /// The protocols that were ever tried by these agents.
    async fn protocols(&self) -> Result<Vec<ProtocolState>, Failure> {
        let (mut tried, mut answered) = (BTreeSet::new(), BTreeSet::new());
        let store = &self.state.store;
        let histories = store
            .protocol_histories(self.organisation, self.scope)
            .await?;
        for (target, history) in histories.values().flatten() {
            if self.target.is_none_or(|wanted| wanted == target) {
                tried.insert(history.protocol as i32);
                if history.answered {
                    answered.insert(history.protocol as i32);
                }
            }
        }
        let mut states = Vec::new();
        for (protocol, phase, word) in PROTOCOLS {
            if tried.contains(&(protocol as i32)) {
                let measure = Measure {
                    protocol,
                    phase,
                    protocol_word: word,
                    phase_word: "",
                };
                let n = self
                    .cells(measure, None)
                    .await?
                    .first()
                    .map_or(0, |row| row.cell.probes());
                let answered_here = answered.contains(&(protocol as i32));
                states.push(ProtocolState {
                    protocol: word.to_owned(),
                    answered_here,
                    n,
                });
            }
        }
        Ok(states)
    }
}
