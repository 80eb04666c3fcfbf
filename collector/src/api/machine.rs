//! What an agent says of its machine, and of handshakes.

use axum::Json;
use axum::extract::{Path, State};
use firstmile_wire::ids::AgentId;
use serde::de::DeserializeOwned;

use super::ApiState;
use super::failure::Failure;
use super::principal::Access;
use super::query;
use super::types::{ApiError, Machine};
use crate::ingest::facts::FactKind;

/// The machine of one agent: its state, its network, what its probes met in handshakes.
#[utoipa::path(get, path = "/api/v1/agents/{id}/machine", tag = "agents", operation_id = "machine",
    params(("id" = String, Path, description = "Identity of the agent")),
    responses((status = 200, body = Machine), (status = 400, body = ApiError), (status = 401, body = ApiError),
        (status = 404, body = ApiError)))]
pub(super) async fn machine(
    State(state): State<ApiState>,
    access: Access,
    Path(id): Path<String>,
) -> Result<Json<Machine>, Failure> {
    let agent = state
        .store
        .agent(&access.organisation, query::agent_id("id", &id)?)
        .await?
        .id;
    let mut handshakes = facts(&state, &access, agent, FactKind::Handshake).await?;
    handshakes.sort_by(|left: &super::types::Handshake, right| {
        (&left.target, &left.protocol).cmp(&(&right.target, &right.protocol))
    });
    Ok(Json(Machine {
        host: facts(&state, &access, agent, FactKind::Host).await?.pop(),
        counters: facts(&state, &access, agent, FactKind::Counters)
            .await?
            .pop(),
        handshakes,
        changes: facts(&state, &access, agent, FactKind::Change).await?,
    }))
}

/// Facts of one kind, newest first. One that cannot be read is of a later program: it is left out.
async fn facts<T: DeserializeOwned>(
    state: &ApiState,
    access: &Access,
    agent: AgentId,
    kind: FactKind,
) -> Result<Vec<T>, Failure> {
    let facts = state.store.facts(&access.organisation, agent, kind).await?;
    let read = facts
        .iter()
        .filter_map(|fact| serde_json::from_str(&fact.form).ok());
    Ok(read.collect())
}
