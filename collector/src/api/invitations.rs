//! Join strings for new agents.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use tracing::info;

use super::ApiState;
use super::body::Body;
use super::failure::Failure;
use super::principal::Access;
use super::sites::site_of;
use super::types::{ApiError, JoinStringRequest, JoinStringResponse};
use crate::geo::Declared;
use crate::registry::invite::{DEFAULT_LIFE, Invitation};

/// Makes a join string; its site is made if it does not exist. The string is shown once and kept nowhere.
#[utoipa::path(post, path = "/api/v1/join-strings", tag = "agents", operation_id = "makeJoinString",
    request_body = JoinStringRequest,
    responses((status = 200, body = JoinStringResponse), (status = 400, body = ApiError), (status = 401, body = ApiError),
        (status = 403, body = ApiError)))]
pub(super) async fn invite(
    State(state): State<ApiState>,
    access: Access,
    Body(asked): Body<JoinStringRequest>,
) -> Result<Json<JoinStringResponse>, Failure> {
    let JoinStringRequest {
        site,
        by_rules,
        uses,
        country,
        subdivision,
        metro,
        latitude,
        longitude,
        expires_s,
    } = asked;
    if site.is_some() == by_rules {
        return Err(Failure::bad_body(
            "name a site, or set by_rules to true: one of the two",
        ));
    }
    let geography = Declared {
        country,
        subdivision,
        metro,
        latitude,
        longitude,
    }
    .parse()?;
    let life = expires_s.map_or(DEFAULT_LIFE, Duration::from_secs);
    let now = (state.now_unix_ms)();
    let invited = state
        .inviter
        .invite(
            &access.organisation,
            Invitation {
                site,
                geography,
                life,
                uses: uses.unwrap_or(1),
            },
            now,
        )
        .await?;
    let of = invited.site.as_ref().map_or_else(
        || "agents placed by rules".to_owned(),
        |site| format!("site {} ({:?})", site.id, site.name),
    );
    let what = format!("join string for {of}");
    state
        .store
        .audit(&access.organisation, now, &access.name, &what)
        .await?;
    info!(of, who = access.name, "join string made");
    Ok(Json(JoinStringResponse {
        join_string: invited.join.to_string(),
        site: invited.site.as_ref().map(site_of),
        expires_unix_ms: invited.expires_unix_ms,
    }))
}
