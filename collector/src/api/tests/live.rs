//! Live messages.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::ConnectInfo;
use axum::http::{StatusCode, header};
use firstmile_wire::ids::OrganisationId;
use futures::StreamExt;
use tower::ServiceExt;

use super::desk::{Desk, NOW, PASSWORD, desk, other_organisation, public_desk, request};
use crate::api::LiveMessage;
use crate::api::types::Live;

async fn listen(desk: &Desk) -> BodyDataStream {
    listen_with(desk, "").await
}

async fn listen_with(desk: &Desk, cookie: &str) -> BodyDataStream {
    let mut request = request("GET", "/api/v1/live")
        .header(header::COOKIE, cookie)
        .body(Body::empty())
        .expect("a request");
    request
        .extensions_mut()
        .insert(ConnectInfo(SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000))));
    let response = desk
        .router
        .clone()
        .oneshot(request)
        .await
        .expect("it always answers");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    response.into_body().into_data_stream()
}

async fn hear(stream: &mut BodyDataStream) -> String {
    let chunk = tokio::time::timeout(Duration::from_secs(5), stream.next())
        .await
        .expect("in time");
    String::from_utf8_lossy(&chunk.expect("goes on").expect("whole")).into_owned()
}

fn message(organisation: OrganisationId, to_unix_ms: i64) -> LiveMessage {
    LiveMessage {
        organisation,
        live: Live::Reports { to_unix_ms },
    }
}

#[tokio::test]
async fn a_page_hears_its_own_organisation_only() {
    let desk = desk().await;
    let mut stream = listen(&desk).await;
    desk.live
        .send(message(other_organisation(), 1))
        .expect("somebody listens");
    desk.live
        .send(message(OrganisationId::default_organisation(), 2))
        .expect("somebody listens");
    assert_eq!(
        hear(&mut stream).await,
        "event: reports\ndata: {\"kind\":\"reports\",\"to_unix_ms\":2}\n\n"
    );
}

#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let desk = public_desk().await;
    let body = format!(r#"{{"user":"admin","password":"{PASSWORD}"}}"#);
    let answer = desk.change("POST", "/api/v1/login", &body).await;
    let cookie = answer.headers[header::SET_COOKIE].to_str().expect("text");
    let cookie = cookie.split(';').next().expect("name and token");
    let mut stream = listen_with(&desk, cookie).await;
    desk.live
        .send(message(OrganisationId::default_organisation(), 1))
        .expect("somebody listens");
    assert!(hear(&mut stream).await.contains("\"to_unix_ms\":1"));
    let logout = request("POST", "/api/v1/logout").header(header::COOKIE, cookie);
    let answer = desk
        .send(logout.body(Body::empty()).expect("a request"))
        .await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.next()).await;
    assert!(ended.expect("ends in time").is_none());
}

#[tokio::test]
async fn a_page_that_was_too_slow_is_told_to_ask_again() {
    let desk = desk().await;
    let mut stream = listen(&desk).await;
    for n in 0..20 {
        desk.live
            .send(message(OrganisationId::default_organisation(), n))
            .expect("somebody listens");
    }
    assert!(
        hear(&mut stream)
            .await
            .contains(&format!("\"to_unix_ms\":{NOW}"))
    );
    assert!(
        hear(&mut stream).await.contains("\"to_unix_ms\":12"),
        "then what is still there"
    );
}
