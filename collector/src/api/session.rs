//! Login and logout of people.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::FromRequest;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::IntoResponse;

use super::ApiState;
use super::body::Body;
use super::failure::Failure;
use super::principal::{Access, COOKIE, challenge, same_origin, session_token};
use super::types::{ApiError, LoginRequest, Principal};
use crate::auth::login::SESSION_LIFE;

/// Opens a session: the answer sets its cookie.
#[utoipa::path(post, path = "/api/v1/login", tag = "session", operation_id = "login", request_body = LoginRequest,
    responses((status = 200, body = Principal), (status = 400, body = ApiError), (status = 401, body = ApiError),
        (status = 403, body = ApiError), (status = 429, body = ApiError)))]
pub(super) async fn login(
    State(state): State<ApiState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<impl IntoResponse, Failure> {
    same_origin(&request)?;
    let challenge = challenge(request.headers());
    let Body(LoginRequest { user, password }) = Body::from_request(request, &state).await?;
    let now = (state.now)();
    let login = state.logins.verify(peer.ip(), &user, &password, now).await;
    let login = login.map_err(|denied| Failure::denied(&denied, challenge))?;
    let token = state.logins.open_session(&login, now);
    let cookie = set_cookie(&state, token.as_str(), SESSION_LIFE.as_secs());
    Ok((cookie, Json(Access::from(login).principal())))
}

/// Ends the session of the cookie, if there is one.
#[utoipa::path(post, path = "/api/v1/logout", tag = "session", operation_id = "logout",
    responses((status = 204), (status = 401, body = ApiError), (status = 403, body = ApiError)))]
pub(super) async fn logout(
    State(state): State<ApiState>,
    _: Access,
    headers: HeaderMap,
) -> impl IntoResponse {
    if let Some(token) = session_token(&headers) {
        state.logins.close_session(token);
    }
    (StatusCode::NO_CONTENT, set_cookie(&state, "", 0))
}

fn set_cookie(state: &ApiState, token: &str, seconds: u64) -> [(HeaderName, String); 1] {
    let secure = if state.tls { "; Secure" } else { "" };
    let cookie =
        format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    [(header::SET_COOKIE, cookie)]
}
