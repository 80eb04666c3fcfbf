//! What routing says, and how its feeds are.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::ApiState;
use super::failure::Failure;
use super::principal::Access;
use super::query::{self, Asked, StatisticsQuery, VerdictsQuery};
use super::types::{ApiError, RouteStatistics, RoutingFeed, RoutingVerdict};
use crate::route_statistics::{csv_of, statistics_of};
use crate::store::route_counts::Month;
use crate::store::routing::VerdictQuery;

/// Most verdicts in one answer: the newest.
const VERDICTS_MAX: u32 = 1_000;

/// Verdicts on routes that were open in a window, newest first, at most 1000.
#[utoipa::path(get, path = "/api/v1/routing/verdicts", tag = "routing", operation_id = "routing_verdicts", params(VerdictsQuery),
    responses((status = 200, body = [RoutingVerdict]), (status = 400, body = ApiError), (status = 401, body = ApiError)))]
pub(super) async fn verdicts(
    State(state): State<ApiState>,
    access: Access,
    Asked(asked): Asked<VerdictsQuery>,
) -> Result<Json<Vec<RoutingVerdict>>, Failure> {
    let now = (state.now_unix_ms)();
    let window = query::window(asked.window.as_deref(), None, None, "1d", now)?;
    let open = match asked.state.as_deref() {
        None => None,
        Some("open") => Some(true),
        Some("closed") => Some(false),
        Some(other) => return Err(Failure::bad_parameter("state", other, "open or closed")),
    };
    let query = VerdictQuery {
        open,
        from_unix_ms: window.from_unix_ms,
        limit: VERDICTS_MAX,
    };
    Ok(Json(
        state.store.verdicts(&access.organisation, query).await?,
    ))
}

/// The feeds of routes and of RPKI, and what is wrong with them.
#[utoipa::path(get, path = "/api/v1/routing/feeds", tag = "routing", operation_id = "routing_feeds",
    responses((status = 200, body = [RoutingFeed]), (status = 401, body = ApiError)))]
pub(super) async fn feeds(
    State(state): State<ApiState>,
    _access: Access,
) -> Json<Vec<RoutingFeed>> {
    Json(state.feeds.told((state.now_unix_ms)()))
}

/// How routes to registered prefixes fared in a month: updates, withdrawals, lengths of paths, visibility.
#[utoipa::path(get, path = "/api/v1/routing/statistics", tag = "routing", operation_id = "routing_statistics", params(StatisticsQuery),
    responses((status = 200, body = [RouteStatistics], description = "With `format=csv` a table instead"),
        (status = 400, body = ApiError), (status = 401, body = ApiError)))]
pub(super) async fn statistics(
    State(state): State<ApiState>,
    access: Access,
    Asked(asked): Asked<StatisticsQuery>,
) -> Result<Response, Failure> {
    let month = match asked.month.as_deref() {
        None => Month::of((state.now_unix_ms)()),
        Some(text) => text
            .parse()
            .map_err(|_| Failure::bad_parameter("month", text, "a month such as 2026-11"))?,
    };
    let is_csv = match asked.format.as_deref() {
        None | Some("json") => false,
        Some("csv") => true,
        Some(other) => return Err(Failure::bad_parameter("format", other, "json or csv")),
    };
    let counts = state
        .store
        .route_counts(&access.organisation, month)
        .await?;
    let statistics = statistics_of(&counts);
    if !is_csv {
        return Ok(Json(statistics).into_response());
    }
    let file = format!("attachment; filename=\"routes-{month}.csv\"");
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, file),
    ];
    Ok((headers, csv_of(month, &statistics)).into_response())
}
