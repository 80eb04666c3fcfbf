//! The built dashboard: every path that is no API belongs to the page's own router.

use std::borrow::Cow;
use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
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
/// What the build adds to the name of a file that it compressed with Brotli.
const COMPRESSED: &str = ".br";

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
    let asked = Asked {
        known: header_text(&request, header::IF_NONE_MATCH),
        brotli: accepts_brotli(&request),
    };
    if let Some(response) = file(name, asked, dashboard_file) {
        return response;
    }
    if name.starts_with(HASHED) {
        return Failure::not_found(
            "no_such_file",
            format!("there is no {path}; reload the page"),
        )
        .into_response();
    }
    file("index.html", asked, dashboard_file)
        .unwrap_or_else(|| (StatusCode::SERVICE_UNAVAILABLE, Html(NOT_BUILT)).into_response())
}

fn header_text(request: &Request, name: header::HeaderName) -> Option<&str> {
    request
        .headers()
        .get(name)
        .and_then(|value| value.to_str().ok())
}

/// What the client has and can read.
#[derive(Clone, Copy)]
struct Asked<'a> {
    /// Entity tags that it holds.
    known: Option<&'a str>,
    brotli: bool,
}

/// Whether a client takes Brotli (RFC 9110 §12.5.3): by its name, else by `*`; a weight of 0 says no.
fn accepts_brotli(request: &Request) -> bool {
    let lines = request.headers().get_all(header::ACCEPT_ENCODING);
    let lines = lines.iter().filter_map(|line| line.to_str().ok());
    let mut by_star = false;
    for coding in lines.flat_map(|line| line.split(',')) {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameters.trim().strip_prefix("q=").map(str::parse::<f32>);
        let wanted = weight.is_none_or(|weight| weight.is_ok_and(|weight| weight > 0.0));
        match name.trim() {
            name if name.eq_ignore_ascii_case("br") => return wanted,
            "*" => by_star = wanted,
            _ => {}
        }
    }
    by_star
}

/// A file as it is served: its variant that the build compressed, where there is one and the client takes it. Each of the two has
/// an entity tag of its own (RFC 9110 §8.8.3.3).
fn file(
    name: &str,
    asked: Asked<'_>,
    read: impl Fn(&str) -> Option<(Cow<'static, [u8]>, [u8; 32])>,
) -> Option<Response> {
    let whole = read(name).filter(|_| !name.is_empty() && !name.ends_with(COMPRESSED))?;
    let variant = read(&format!("{name}{COMPRESSED}"));
    let varies = variant.is_some();
    let (compressed, (bytes, digest)) = match variant.filter(|_| asked.brotli) {
        Some(variant) => (true, variant),
        None => (false, whole),
    };
    let tag = entity_tag(&digest);
    let cache = if name.starts_with(HASHED) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let has = |known: &str| known.split(',').any(|known| known.trim() == tag);
    let unchanged = asked.known.is_some_and(has);
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(content_type(name)),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.extend(
        HeaderValue::from_str(&tag)
            .ok()
            .map(|tag| (header::ETAG, tag)),
    );
    if varies {
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    if unchanged {
        return Some((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    if compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A page with a variant, and one without.
    fn built(name: &str) -> Option<(Cow<'static, [u8]>, [u8; 32])> {
        let (bytes, digest): (&'static [u8], u8) = match name {
            "assets/app.js" => (b"a long script", 1),
            "assets/app.js.br" => (b"short", 2),
            "index.html" => (b"<html>", 3),
            _ => return None,
        };
        Some((Cow::Borrowed(bytes), [digest; 32]))
    }

    async fn served(name: &str, known: Option<&str>, brotli: bool) -> (StatusCode, String, String) {
        let Some(response) = file(name, Asked { known, brotli }, built) else {
            return (StatusCode::NOT_FOUND, String::new(), String::new());
        };
        let text = |name| {
            let value = response.headers().get(name);
            value.map_or("-", |value: &HeaderValue| value.to_str().expect("text"))
        };
        let headers = format!("{} {}", text(header::CONTENT_ENCODING), text(header::VARY));
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 99)
            .await
            .expect("a body");
        (status, headers, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn a_compressed_variant_goes_to_who_takes_it() {
        let (long, short) = (entity_tag(&[1; 32]), entity_tag(&[2; 32]));
        let (js, html) = ("assets/app.js", "index.html");
        for (name, known, brotli, status, headers, body) in [
            (js, None, true, 200, "br accept-encoding", "short"),
            (js, None, false, 200, "- accept-encoding", "a long script"),
            (js, Some(&short), true, 304, "- accept-encoding", ""),
            (js, Some(&long), true, 200, "br accept-encoding", "short"),
            (js, Some(&long), false, 304, "- accept-encoding", ""),
            (html, None, true, 200, "- -", "<html>"),
            ("assets/app.js.br", None, true, 404, "", ""),
            ("", None, true, 404, "", ""),
        ] {
            let got = served(name, known.map(String::as_str), brotli).await;
            let want = (status, headers, body);
            assert_eq!(
                (got.0.as_u16(), &*got.1, &*got.2),
                want,
                "{name} {known:?} {brotli}"
            );
        }
    }

    #[test]
    fn brotli_is_accepted_by_name_or_by_star() {
        for (lines, want) in [
            (&[][..], false),
            (&["gzip, deflate, br, zstd"], true),
            (&["gzip, BR;q=0.5"], true),
            (&["gzip", "br"], true),
            (&["gzip, deflate"], false),
            (&["br;q=0, *"], false),
            (&["*, br; q=0.000"], false),
            (&["*"], true),
            (&["*;q=0"], false),
            (&["br;q=x"], false),
            (&["identity"], false),
        ] {
            let mut request = Request::builder();
            for line in lines {
                request = request.header(header::ACCEPT_ENCODING, *line);
            }
            let request = request.body(Body::empty()).expect("a request");
            assert_eq!(accepts_brotli(&request), want, "{lines:?}");
        }
    }
}
