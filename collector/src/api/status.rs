//! The state of the collector.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;

use super::failure::Failure;
use super::principal::Access;
use super::types::{ApiError, RefusedCount, Status};
use super::view::Depth;
use super::{ApiState, agents, notices};

/// The frame of the dashboard, and whatever somebody should know.
#[utoipa::path(get, path = "/api/v1/status", tag = "status", operation_id = "status",
    responses((status = 200, body = Status), (status = 401, body = ApiError), (status = 403, body = ApiError)))]
pub(super) async fn status(
    State(state): State<ApiState>,
    access: Access,
) -> Result<Json<Status>, Failure> {
    let mut agents = agents::all(&state, &access, Depth::States).await?;
    agents.retain(|agent| agent.state != "revoked");
    let reporting = agents
        .iter()
        .filter(|agent| agent.state == "reporting")
        .count();
    let sites: BTreeSet<&str> = agents
        .iter()
        .map(|agent| agent.site.site_id.as_str())
        .collect();
    let refused = state
        .counters
        .refused()
        .into_iter()
        .map(|(code, count)| RefusedCount {
            code: code.to_owned(),
            count,
        });
    let damaged = state.store.holdings().await?.damaged_days;
    let mut told = notices::of(&agents, state.counters.set_aside(), state.hint_lab);
    told.extend(notices::of_days(&damaged));
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        principal: access.principal(),
        now_unix_ms: (state.now_unix_ms)(),
        agents_total: count(agents.len()),
        agents_reporting: count(reporting),
        sites_total: count(sites.len()),
        reports_accepted: state.counters.accepted(),
        reports_refused: refused.collect(),
        notices: told,
    }))
}

/// A number of things that fit in memory.
pub(super) fn count(things: usize) -> u32 {
    u32::try_from(things).unwrap_or(u32::MAX)
}
