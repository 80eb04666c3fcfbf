//! The evidence of an incident as a file.

use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use serde::Deserialize;

use super::ApiState;
use super::failure::Failure;
use super::principal::Access;
use super::types::ApiError;
use crate::evidence::{gather, page};

/// How much of the evidence is wanted.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wish {
    /// With addresses inside the sites, and with agents of other providers in the same country.
    #[serde(default)]
    full: bool,
}

/// The evidence of an incident as one HTML file that opens without an account or a network: paths before and after, affected agents,
/// unaffected ones for comparison, what was not seen, and the rounds as JSON inside it. It is made for somebody outside: without
/// `full=true` it names no address inside a site, and no agent of another provider.
#[utoipa::path(get, path = "/api/v1/incidents/{id}/evidence", tag = "incidents", operation_id = "incidentEvidence",
    params(("id" = String, Path, description = "Identity of the incident"), Wish),
    responses((status = 200, body = String, content_type = "text/html"), (status = 401, body = ApiError), (status = 404, body = ApiError)))]
pub(super) async fn evidence(
    State(state): State<ApiState>,
    access: Access,
    Path(id): Path<String>,
    Query(wish): Query<Wish>,
) -> Result<Response, Failure> {
    let now_unix_ms = (state.now_unix_ms)();
    let evidence = gather::gather(
        &*state.store,
        &access.organisation,
        &id,
        wish.full,
        now_unix_ms,
    )
    .await?;
    // What comes from the path goes into a header only as far as it is an identity.
    let name: String = id
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-')
        .take(64)
        .collect();
    let disposition = format!("attachment; filename=\"firstmile-incident-{name}.html\"");
    let mut response = (
        [(header::CONTENT_TYPE, "text/html; charset=utf-8")],
        page::page(&evidence),
    )
        .into_response();
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        response
            .headers_mut()
            .insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}
