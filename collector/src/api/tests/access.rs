//! Who is let in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::desk::{Answer, Desk, PASSWORD, desk, public_desk, request};

const STATUS: &str = "/api/v1/status";

fn with(name: &str, value: &str) -> Request<Body> {
    request("GET", STATUS)
        .header(name, value)
        .body(Body::empty())
        .expect("a request")
}

fn basic(password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("admin:{password}")))
}

async fn login(desk: &Desk, password: &str) -> Answer {
    let body = format!(r#"{{"user":"admin","password":"{password}"}}"#);
    desk.change("POST", "/api/v1/login", &body).await
}

#[tokio::test]
async fn loopback_is_the_admin_of_its_own_page() {
    let desk = desk().await;
    for peer in [
        Ipv4Addr::LOCALHOST.into(),
        Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
    ] {
        for host in [
            "localhost",
            "localhost:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "LOCALHOST",
            "127.0.0.2",
        ] {
            let request = Request::get(STATUS)
                .header(header::HOST, host)
                .body(Body::empty())
                .expect("a request");
            let answer = desk.send_from(peer, request).await;
            assert_eq!(
                answer.status,
                StatusCode::OK,
                "{peer} {host}: {}",
                answer.text
            );
        }
    }
}

#[tokio::test]
async fn a_sign_of_a_proxy_is_never_the_loopback_admin() {
    let desk = desk().await;
    for name in [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-anything",
        "x-forwarded",
        "x-real-ip",
        "via",
        "cdn-loop",
        "cf-connecting-ip",
        "cf-ray",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "fastly-client-ip",
        "x-proxyuser-ip",
        "x-original-forwarded-for",
        "x-original-host",
        "x-envoy-external-address",
        "x-azure-clientip",
    ] {
        let answer = desk.send(with(name, "192.0.2.1")).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::UNAUTHORIZED, "login_required".to_owned()),
            "{name}"
        );
        assert!(
            answer.headers.contains_key(header::WWW_AUTHENTICATE),
            "{name}"
        );
    }
}

#[tokio::test]
async fn another_machine_is_not_the_loopback_admin() {
    let answer = desk()
        .await
        .send_from(Ipv4Addr::new(192, 0, 2, 1).into(), with("accept", "*/*"))
        .await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::UNAUTHORIZED, "login_required".to_owned())
    );
}

#[tokio::test]
async fn a_foreign_host_name_is_refused() {
    let desk = desk().await;
    for host in [
        "rebound.example",
        "rebound.example:8080",
        "localhost.example",
        "192.0.2.1",
        "[2001:db8::1]:8080",
        "",
    ] {
        for path in [STATUS, "/", "/api/openapi.json"] {
            let request = Request::get(path)
                .header(header::HOST, host)
                .body(Body::empty())
                .expect("a request");
            let answer = desk.send(request).await;
            assert_eq!(
                (answer.status, answer.code()),
                (StatusCode::FORBIDDEN, "wrong_host".to_owned()),
                "{host} {path}"
            );
        }
    }
}

#[tokio::test]
async fn changes_for_other_pages_are_refused() {
    let desk = desk().await;
    let body = || Body::from(r#"{"site":"Amsterdam"}"#);
    let post = || request("POST", "/api/v1/join-strings");
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "http://localhost:9090"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let answer = desk
            .send(post().header(name, value).body(body()).expect("a request"))
            .await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::FORBIDDEN, "cross_origin".to_owned()),
            "{name} {value}"
        );
    }
    let own = post()
        .header("origin", "http://localhost:8080")
        .header("sec-fetch-site", "same-origin");
    assert_eq!(
        desk.send(own.body(body()).expect("a request")).await.status,
        StatusCode::OK
    );
    let login = request("POST", "/api/v1/login").header("origin", "https://evil.example");
    let login = login
        .body(Body::from(r#"{"user":"admin","password":"x"}"#))
        .expect("a request");
    assert_eq!(desk.send(login).await.code(), "cross_origin");
}

#[tokio::test]
async fn beyond_loopback_everybody_logs_in() {
    let desk = public_desk().await;
    assert_eq!(desk.get(STATUS).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        desk.get("/api/v1/live").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(login(&desk, "wrong password").await.code(), "wrong_login");
    let answer = login(&desk, PASSWORD).await;
    assert_eq!(
        (answer.status, &answer.json()["name"]),
        (StatusCode::OK, &"admin".into())
    );
    let cookie = answer.headers[header::SET_COOKIE]
        .to_str()
        .expect("text")
        .to_owned();
    for word in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    assert_eq!(
        desk.send(with("cookie", &format!("a=b; {cookie}")))
            .await
            .status,
        StatusCode::OK
    );
    let out = request("POST", "/api/v1/logout")
        .header("cookie", &cookie)
        .body(Body::empty())
        .expect("a request");
    let out = desk.send(out).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert!(
        out.headers[header::SET_COOKIE]
            .to_str()
            .expect("text")
            .contains("Max-Age=0")
    );
    assert_eq!(
        desk.send(with("cookie", &cookie)).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn programs_may_use_basic() {
    let desk = public_desk().await;
    assert_eq!(
        desk.send(with("authorization", &basic(PASSWORD)))
            .await
            .status,
        StatusCode::OK
    );
    let wrong = desk
        .send(with("authorization", &basic("wrong password")))
        .await;
    assert_eq!(
        (wrong.status, wrong.code()),
        (StatusCode::UNAUTHORIZED, "wrong_login".to_owned())
    );
    assert!(
        wrong.headers[header::WWW_AUTHENTICATE]
            .to_str()
            .expect("text")
            .starts_with("Basic")
    );
    let page = desk.send(with("sec-fetch-mode", "cors")).await;
    assert!(
        page.headers[header::WWW_AUTHENTICATE]
            .to_str()
            .expect("text")
            .starts_with("Form"),
        "no window of the browser"
    );
    for bad in [
        "Basic !",
        "Bearer x",
        "Basic",
        &format!("Basic {}", STANDARD.encode("nocolon")),
    ] {
        assert_eq!(
            desk.send(with("authorization", bad)).await.code(),
            "login_required",
            "{bad}"
        );
    }
}

#[tokio::test]
async fn guessing_is_slowed() {
    let desk = public_desk().await;
    for _ in 0..5 {
        assert_eq!(
            login(&desk, "wrong password").await.status,
            StatusCode::UNAUTHORIZED
        );
    }
    let answer = login(&desk, PASSWORD).await;
    assert_eq!(
        (answer.status, answer.code()),
        (
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_attempts".to_owned()
        )
    );
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
}
