//! The POP catalogue.

use axum::Json;
use axum::extract::State;

use super::ApiState;
use super::principal::Access;
use super::types::{ApiError, Pop};

/// Every POP code with a place, by code.
#[utoipa::path(get, path = "/api/v1/pops", tag = "pops", operation_id = "pops",
    responses((status = 200, body = [Pop]), (status = 401, body = ApiError)))]
pub(super) async fn pops(State(state): State<ApiState>, _: Access) -> Json<Vec<Pop>> {
    Json(state.meaning.now().pops())
}
