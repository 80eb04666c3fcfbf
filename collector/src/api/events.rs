//! Path shifts, newest first.

use axum::Json;
use axum::extract::{Path, State};

use super::ApiState;
use super::failure::Failure;
use super::principal::Access;
use super::query::{self, Asked, EventsQuery};
use super::types::{ApiError, Event};
use crate::store::EventQuery;

/// Most events in one answer: the newest; ask for an earlier window to see more.
pub(super) const EVENTS_MAX: u32 = 1_000;

/// Events that were open in a window, newest first, at most 1000.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", operation_id = "events", params(EventsQuery),
    responses((status = 200, body = [Event]), (status = 400, body = ApiError), (status = 401, body = ApiError)))]
pub(super) async fn events(
    State(state): State<ApiState>,
    access: Access,
    Asked(asked): Asked<EventsQuery>,
) -> Result<Json<Vec<Event>>, Failure> {
    let (window, open, agent) = query::of_events(asked, (state.now_unix_ms)())?;
    let (from_unix_ms, to_unix_ms) = (window.from_unix_ms, window.to_unix_ms);
    let query = EventQuery {
        from_unix_ms,
        to_unix_ms,
        open,
        agent,
        limit: EVENTS_MAX,
    };
    Ok(Json(
        state.store.events(&access.organisation, &query).await?,
    ))
}

/// One event.
#[utoipa::path(get, path = "/api/v1/events/{id}", tag = "events", operation_id = "event",
    params(("id" = String, Path, description = "Identity of the event")),
    responses((status = 200, body = Event), (status = 401, body = ApiError), (status = 404, body = ApiError)))]
pub(super) async fn event(
    State(state): State<ApiState>,
    access: Access,
    Path(id): Path<String>,
) -> Result<Json<Event>, Failure> {
    Ok(Json(state.store.event(&access.organisation, &id).await?))
}
