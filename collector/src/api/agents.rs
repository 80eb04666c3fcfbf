//! Agents.

use axum::Json;
use axum::extract::{Path, State};

use super::ApiState;
use super::failure::Failure;
use super::principal::Access;
use super::query;
use super::types::{Agent, ApiError};
use super::view::{Depth, View};
use crate::store::Scope;

/// All agents with their targets, by site and host name.
#[utoipa::path(get, path = "/api/v1/agents", tag = "agents", operation_id = "agents",
    responses((status = 200, body = [Agent]), (status = 401, body = ApiError)))]
pub(super) async fn agents(
    State(state): State<ApiState>,
    access: Access,
) -> Result<Json<Vec<Agent>>, Failure> {
    Ok(Json(all(&state, &access, Depth::Whole).await?))
}

/// All agents, as several answers need them.
pub(super) async fn all(
    state: &ApiState,
    access: &Access,
    depth: Depth,
) -> Result<Vec<Agent>, Failure> {
    let view = View::load(state, &access.organisation, &Scope::World, depth).await?;
    let agents = state.store.agents(&access.organisation).await?;
    let mut agents: Vec<Agent> = agents.iter().map(|agent| view.agent(agent)).collect();
    agents.sort_by(|left, right| {
        (&left.site.name, &left.hostname).cmp(&(&right.site.name, &right.hostname))
    });
    Ok(agents)
}

/// One agent.
#[utoipa::path(get, path = "/api/v1/agents/{id}", tag = "agents", operation_id = "agent",
    params(("id" = String, Path, description = "Identity of the agent")),
    responses((status = 200, body = Agent), (status = 400, body = ApiError), (status = 401, body = ApiError),
        (status = 404, body = ApiError)))]
pub(super) async fn agent(
    State(state): State<ApiState>,
    access: Access,
    Path(id): Path<String>,
) -> Result<Json<Agent>, Failure> {
    let id = query::agent_id("id", &id)?;
    let agent = state.store.agent(&access.organisation, id).await?;
    let view = View::load(
        &state,
        &access.organisation,
        &Scope::Agent(id),
        Depth::Whole,
    )
    .await?;
    Ok(Json(view.agent(&agent)))
}
