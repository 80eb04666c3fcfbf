//! Who is asking: a session, HTTP Basic, or somebody at the collector's own machine.
//!
//! The loopback admin needs all of: a peer on loopback, a page that listens on loopback only, no sign of a proxy (anybody may
//! stand behind one), and a loopback host name (a name that an attacker's DNS points here is none). Changes also need an
//! `Origin` of the same host, whoever asks.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use firstmile_wire::ids::OrganisationId;

use super::ApiState;
use super::failure::Failure;
use super::types::Principal;
use crate::auth::login::Login;
use crate::auth::token::{Role, digest_of};

/// Name of the session's cookie.
pub(super) const COOKIE: &str = "firstmile_session";

/// Headers that proxies and content networks add. One of them is enough: the peer's address is then the proxy's.
const FORWARDING: [&str; 9] = [
    "cdn-loop",
    "fastly-client-ip",
    "forwarded",
    "true-client-ip",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-proxyuser-ip",
    "x-real-ip",
];

/// And families of them: `X-Forwarded-For`, `X-Original-Host`, `CF-Connecting-IP`, `X-Envoy-External-Address`, ...
const FORWARDING_FAMILIES: [&str; 5] =
    ["cf-", "x-azure-", "x-envoy-", "x-forwarded", "x-original-"];

/// Somebody who may see an organisation's data, and change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Access {
    /// Whose data.
    pub(super) organisation: OrganisationId,
    /// Name for people and for the audit log.
    pub(super) name: String,
    /// What they may do.
    pub(super) role: Role,
}

impl Access {
    fn loopback() -> Self {
        Self {
            organisation: OrganisationId::default_organisation(),
            name: "loopback".to_owned(),
            role: Role::Admin,
        }
    }

    /// Whether a request may be made: viewers look and do not touch.
    pub(super) fn may(&self, method: &Method) -> Result<(), Failure> {
        let looks = matches!(*method, Method::GET | Method::HEAD);
        if looks || self.role == Role::Admin {
            Ok(())
        } else {
            Err(Failure::viewer(&self.name))
        }
    }

    /// As the API shows it. People are admins; a token is what it was made for.
    pub(super) fn principal(&self) -> Principal {
        Principal {
            organisation: self.organisation.to_string(),
            name: self.name.clone(),
            role: self.role.as_str().to_owned(),
        }
    }
}

impl From<Login> for Access {
    fn from(login: Login) -> Self {
        Self {
            organisation: login.organisation,
            name: login.user,
            role: Role::Admin,
        }
    }
}

impl FromRequestParts<ApiState> for Access {
    type Rejection = Failure;

    /// [`authenticate`] put it there; without it there is no way in.
    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Failure> {
        let access = parts.extensions.get::<Self>().cloned();
        access.ok_or_else(|| {
            Failure::login_required("nobody is logged in", challenge(&parts.headers))
        })
    }
}

/// Lets in who may, and says who it is.
pub(super) async fn authenticate(
    State(state): State<ApiState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    same_origin(&request)?;
    let access = access(&state, peer.ip(), request.headers(), request.uri()).await?;
    access.may(request.method())?;
    request.extensions_mut().insert(access);
    Ok(next.run(request).await)
}

pub(super) async fn access(
    state: &ApiState,
    peer: IpAddr,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Access, Failure> {
    let session = session_token(headers)
        .and_then(|token| state.logins.login_of_session(token, (state.now)()));
    if let Some(login) = session {
        return Ok(login.into());
    }
    if let Some((user, password)) = basic(headers) {
        let login = state
            .logins
            .verify_basic(peer, &user, &password, (state.now)())
            .await;
        return login
            .map(Access::from)
            .map_err(|denied| Failure::denied(&denied, challenge(headers)));
    }
    if let Some(secret) = bearer(headers) {
        return of_token(state, secret, headers).await;
    }
    match why_not_loopback(state, peer, headers, uri) {
        None => Ok(Access::loopback()),
        Some(why) => Err(Failure::login_required(why, challenge(headers))),
    }
}

/// Whose token it is. Guessing is hopeless (256 random bits), so failures are not counted.
async fn of_token(state: &ApiState, secret: &str, headers: &HeaderMap) -> Result<Access, Failure> {
    let token = state.store.token(&digest_of(secret)).await?;
    let live = token.filter(|token| token.is_live((state.now_unix_ms)()));
    let token = live.ok_or_else(|| {
        let why = "this token is not known here, or it has ended; make one with `firstmile-collector token make`";
        Failure::login_required(why, challenge(headers))
    })?;
    Ok(Access {
        organisation: token.organisation,
        name: format!("token {}", token.name),
        role: token.role,
    })
}

/// `None`: it is the loopback admin.
fn why_not_loopback(
    state: &ApiState,
    peer: IpAddr,
    headers: &HeaderMap,
    uri: &Uri,
) -> Option<String> {
    if state.login_required {
        return Some("log in first: this page listens beyond its own machine".to_owned());
    }
    if !peer.to_canonical().is_loopback() {
        return Some(format!(
            "log in first: {peer} is not the collector's own machine"
        ));
    }
    if let Some(name) = forwarding(headers) {
        return Some(format!(
            "log in first: the request came through a proxy (header {name})"
        ));
    }
    (!is_loopback_host(&host(headers, uri)))
        .then(|| "log in first: the host is not this machine's own name".to_owned())
}

fn forwarding(headers: &HeaderMap) -> Option<&str> {
    let known = |name: &&str| {
        let of_family = FORWARDING_FAMILIES
            .iter()
            .any(|family| name.starts_with(family));
        of_family || FORWARDING.contains(name)
    };
    headers.keys().map(HeaderName::as_str).find(known)
}

/// Refuses requests under a foreign name while the page is for its own machine only (DNS rebinding). A page that listens
/// beyond loopback knows people by their login, whatever name they use for it.
pub(super) async fn only_known_hosts(
    State(state): State<ApiState>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let host = host(request.headers(), request.uri());
    // Behind a proxy another name is to be expected; then nobody is the loopback admin.
    if state.login_required || is_loopback_host(&host) || forwarding(request.headers()).is_some() {
        return Ok(next.run(request).await);
    }
    Err(Failure::wrong_host(&host))
}

/// A change that a browser sends for another site is refused; programs send neither header.
pub(super) fn same_origin(request: &Request) -> Result<(), Failure> {
    same_origin_of(request.method(), request.headers(), request.uri())
}

/// [`same_origin`], of a request taken apart.
pub(super) fn same_origin_of(
    method: &Method,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<(), Failure> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let fetch_site = headers
        .get("sec-fetch-site")
        .and_then(|value| value.to_str().ok());
    if let Some(site) = fetch_site.filter(|site| !matches!(*site, "same-origin" | "none")) {
        return Err(Failure::cross_origin(site));
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or("?");
    let authority = origin
        .split_once("://")
        .map_or("", |(_, authority)| authority);
    let host = host(headers, uri);
    if authority.eq_ignore_ascii_case(&host) && !host.is_empty() {
        Ok(())
    } else {
        Err(Failure::cross_origin(origin))
    }
}

/// Host and port that the client asked for: `Host`, or `:authority` of HTTP/2 (RFC 9113 §8.3.1).
fn host(headers: &HeaderMap, uri: &Uri) -> String {
    let authority = uri.authority().map(ToString::to_string);
    let header = || {
        headers
            .get(header::HOST)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    authority.or_else(header).unwrap_or_default()
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let address = name
        .parse::<IpAddr>()
        .is_ok_and(|address| address.to_canonical().is_loopback());
    address || name.eq_ignore_ascii_case("localhost") || name.eq_ignore_ascii_case("localhost.")
}

/// The session's token, if the cookie is there.
pub(super) fn session_token(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut pairs = cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, token)| token)
}

/// User and password of HTTP Basic (RFC 7617 §2).
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = pair
        .split_once(':')
        .filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    Some((user.to_owned(), password.to_owned()))
}

/// A bearer token (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// RFC 9110 §15.5.2 asks for a challenge. A browser answers `Basic` with a window of its own, so pages, which bring their own
/// form, get a scheme that no browser knows.
pub(super) fn challenge(headers: &HeaderMap) -> HeaderValue {
    let page =
        headers.contains_key("sec-fetch-mode") && !headers.contains_key(header::AUTHORIZATION);
    HeaderValue::from_static(if page {
        "Form realm=\"firstmile\""
    } else {
        "Basic realm=\"firstmile\", charset=\"UTF-8\""
    })
}
