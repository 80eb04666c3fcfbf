//! The built dashboard: every path that is no API belongs to the page's own router.

use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};

use super::embedded::dashboard_file;
use super::failure::Failure;

/// The page runs only what came with it. Styles may be inline: components set them while they run.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

/// Files below it carry a hash of their content in their name.
const HASHED: &str = "assets/";

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>firstmile</title>\
    <h1>The dashboard is not built</h1><p>Run <code>cargo xtask run</code>, or <code>npm ci &amp;&amp; npm run build</code> in \
    <code>collector/dashboard</code>, and build the collector again.</p><p>The same data is at \
    <a href=\"/api/v1/status\">/api/v1</a> as JSON; <a href=\"/api/openapi.json\">/api/openapi.json</a> describes it.</p></html>";

/// A file of the dashboard, or the page itself; paths of the API that do not exist are said to.
pub(super) async fn page(request: Request) -> Response {
    let path = request.uri().path();
    if path == "/api" || path.starts_with("/api/") {
        let message = format!("there is no {path}; /api/openapi.json says what there is");
        return Failure::not_found("no_such_path", message).into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Failure::method_not_allowed(request.method(), path).into_response();
    }
    let name = path.trim_start_matches('/');
    let known = header_text(&request, header::IF_NONE_MATCH);
    if let Some(response) = file(name, known) {
        return response;
    }
    if name.starts_with(HASHED) {
        return Failure::not_found(
            "no_such_file",
            format!("there is no {path}; reload the page"),
        )
        .into_response();
    }
    file("index.html", known)
        .unwrap_or_else(|| (StatusCode::SERVICE_UNAVAILABLE, Html(NOT_BUILT)).into_response())
}

fn header_text(request: &Request, name: header::HeaderName) -> Option<&str> {
    request
        .headers()
        .get(name)
        .and_then(|value| value.to_str().ok())
}

fn file(name: &str, known: Option<&str>) -> Option<Response> {
    let (bytes, digest) = dashboard_file(name).filter(|_| !name.is_empty())?;
    let tag = entity_tag(&digest);
    let cache = if name.starts_with(HASHED) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let unchanged = known.is_some_and(|known| known.split(',').any(|known| known.trim() == tag));
    let headers = [
        (header::CONTENT_TYPE, content_type(name).to_owned()),
        (header::CACHE_CONTROL, cache.to_owned()),
        (header::ETAG, tag),
    ];
    if unchanged {
        return Some((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    Some((headers, Body::from(bytes.into_owned())).into_response())
}

fn entity_tag(digest: &[u8; 32]) -> String {
    let mut tag = String::from("\"");
    for byte in digest.iter().take(16) {
        write!(tag, "{byte:02x}").expect("writing into a string cannot fail");
    }
    tag + "\""
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

/// Headers of every response; what the API says is never kept by a cache.
pub(super) async fn with_security_headers(request: Request, next: Next) -> Response {
    let of_api = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CONTENT_SECURITY_POLICY),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(
        "cross-origin-opener-policy",
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("same-origin"),
    );
    if of_api {
        headers
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
    }
    response
}
