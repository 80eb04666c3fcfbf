//! The REST interface of `Microsoft.Peering` over a real store, and tokens.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use firstmile_wire::ids::OrganisationId;
use serde_json::Value;

use super::desk::{Answer, Desk, NOW, desk, public_desk, request};
use crate::auth::token::{Role, Token};

const SERVICE: &str =
    "/subscriptions/s1/resourceGroups/net/providers/Microsoft.Peering/peeringServices/bern";
const VERSION: &str = "api-version=2025-05-01";
const BODY: &str = r#"{"location":"westeurope","properties":{"peeringServiceLocation":"Switzerland",
    "peeringServiceProvider":"Swisscom","providerPrimaryPeeringLocation":"Zurich"}}"#;

/// A token of an organisation, known to the collector.
async fn token(desk: &Desk, organisation: &OrganisationId, role: Role, made: i64) -> String {
    let name = format!("{role}-{made}");
    let hour = Duration::from_hours(1);
    let (token, secret) =
        Token::make(organisation.clone(), &name, role, hour, made).expect("makes");
    desk.store
        .put_token(&token, "somebody")
        .await
        .expect("puts");
    secret
}

/// A request from another machine with a token.
async fn ask(desk: &Desk, secret: &str, method: &str, target: &str, body: &str) -> Answer {
    let request = request(method, target)
        .header(header::AUTHORIZATION, format!("Bearer {secret}"))
        .body(Body::from(body.to_owned()));
    let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77));
    desk.send_from(elsewhere, request.expect("a request")).await
}

fn error_of(answer: &Answer) -> String {
    let code = answer.json()["error"]["code"].clone();
    code.as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_connection_is_made_listed_and_deleted_by_a_script_with_a_token() {
    let desk = public_desk().await;
    let organisation = OrganisationId::default_organisation();
    let secret = token(&desk, &organisation, Role::Admin, NOW).await;
    let target = format!("{SERVICE}?{VERSION}");
    let made = ask(&desk, &secret, "PUT", &target, BODY).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    assert_eq!(made.json()["properties"]["provisioningState"], "Succeeded");
    let prefix = format!("{SERVICE}/prefixes/lan?{VERSION}");
    let body = r#"{"properties":{"prefix":"198.51.100.0/24","peeringServicePrefixKey":"00000000-0000-0000-0000-000000000001"}}"#;
    let made = ask(&desk, &secret, "PUT", &prefix, body).await;
    assert_eq!(
        made.json()["properties"]["prefixValidationState"],
        "Unknown",
        "{made:?}"
    );
    let found = ask(
        &desk,
        &secret,
        "GET",
        &format!("{prefix}&$expand=events"),
        "",
    )
    .await;
    assert_eq!(found.json()["properties"]["events"], Value::Array(vec![]));
    let list = format!("/subscriptions/S1/providers/microsoft.peering/peeringServices?{VERSION}");
    let list = ask(&desk, &secret, "GET", &list, "").await;
    assert_eq!(list.json()["value"][0]["name"], "bern");
    let gone = ask(&desk, &secret, "DELETE", &target, "").await;
    assert_eq!((gone.status, gone.text.as_str()), (StatusCode::OK, ""));
    let gone = ask(&desk, &secret, "GET", &prefix, "").await;
    assert_eq!(
        (gone.status, error_of(&gone).as_str()),
        (StatusCode::NOT_FOUND, "ResourceNotFound")
    );
}

#[tokio::test]
async fn what_one_organisation_registers_no_other_sees() {
    let desk = public_desk().await;
    let organisation = OrganisationId::default_organisation();
    let other = OrganisationId::try_from("other".to_owned()).expect("a name");
    let target = format!("{SERVICE}?{VERSION}");
    let secret = token(&desk, &organisation, Role::Admin, NOW).await;
    ask(&desk, &secret, "PUT", &target, BODY).await;
    let foreign = token(&desk, &other, Role::Admin, NOW).await;
    let found = ask(&desk, &foreign, "GET", &target, "").await;
    assert_eq!(found.status, StatusCode::NOT_FOUND, "{found:?}");
}

#[tokio::test]
async fn only_a_live_token_comes_in_and_a_viewer_only_looks() {
    let desk = public_desk().await;
    let organisation = OrganisationId::default_organisation();
    let target = format!("{SERVICE}?{VERSION}");
    let viewer = token(&desk, &organisation, Role::Viewer, NOW).await;
    let ended = token(&desk, &organisation, Role::Admin, NOW - 3_600_000).await;
    for (name, secret, method, status, code) in [
        (
            "a guess",
            "fmt_guess",
            "GET",
            StatusCode::UNAUTHORIZED,
            "AuthenticationFailed",
        ),
        (
            "one that ended",
            &ended,
            "GET",
            StatusCode::UNAUTHORIZED,
            "AuthenticationFailed",
        ),
        (
            "a viewer who looks",
            &viewer,
            "GET",
            StatusCode::NOT_FOUND,
            "ResourceNotFound",
        ),
        (
            "a viewer who changes",
            &viewer,
            "PUT",
            StatusCode::FORBIDDEN,
            "AuthorizationFailed",
        ),
    ] {
        let answer = ask(&desk, secret, method, &target, BODY).await;
        assert_eq!(
            (answer.status, error_of(&answer).as_str()),
            (status, code),
            "{name}: {answer:?}"
        );
        assert!(
            !answer.text.contains("fmt_"),
            "{name}: no secret comes back"
        );
    }
    // The plain API takes tokens too, and holds viewers to looking.
    let sites = ask(&desk, &viewer, "GET", "/api/v1/sites", "").await;
    assert_eq!(sites.status, StatusCode::OK, "{sites:?}");
    let invited = ask(
        &desk,
        &viewer,
        "POST",
        "/api/v1/join-strings",
        r#"{"site":"x"}"#,
    )
    .await;
    assert_eq!(
        (invited.status, invited.code().as_str()),
        (StatusCode::FORBIDDEN, "viewer")
    );
}

#[tokio::test]
async fn errors_are_in_the_envelope_that_scripts_read() {
    let desk = desk().await;
    for (name, method, target, body, code) in [
        (
            "no version",
            "GET",
            SERVICE.to_owned(),
            "",
            "MissingApiVersionParameter",
        ),
        (
            "another provider",
            "GET",
            format!("/subscriptions/s1/providers/Microsoft.Network/x?{VERSION}"),
            "",
            "InvalidResourceType",
        ),
        (
            "no JSON",
            "PUT",
            format!("{SERVICE}?{VERSION}"),
            "{",
            "InvalidRequestContent",
        ),
        (
            "a method of another kind",
            "OPTIONS",
            format!("{SERVICE}?{VERSION}"),
            "",
            "MethodNotAllowed",
        ),
    ] {
        let answer = desk.change(method, &target, body).await;
        assert_eq!(error_of(&answer), code, "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn two_scripts_that_register_the_same_prefix_at_once_get_one_key() {
    let desk = desk().await;
    let base = "/subscriptions/s1/resourceGroups/net/providers/Microsoft.Peering/peerings";
    for name in ["a", "b"] {
        let body = r#"{"properties":{"peeringLocation":"Zurich"}}"#;
        desk.change("PUT", &format!("{base}/{name}?{VERSION}"), body)
            .await;
    }
    let body = r#"{"properties":{"prefix":"198.51.100.0/24"}}"#;
    let (one, other) = (
        format!("{base}/a/registeredPrefixes/lan?{VERSION}"),
        format!("{base}/b/registeredPrefixes/lan?{VERSION}"),
    );
    let (one, other) = tokio::join!(
        desk.change("PUT", &one, body),
        desk.change("PUT", &other, body)
    );
    let mut statuses = [one.status, other.status];
    statuses.sort();
    assert_eq!(
        statuses,
        [StatusCode::CREATED, StatusCode::CONFLICT],
        "{one:?} {other:?}"
    );
}
