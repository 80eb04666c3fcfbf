//! What may be changed: sites and join strings.

use axum::http::StatusCode;
use firstmile_wire::ids::OrganisationId;
use firstmile_wire::join::JoinString;
use serde_json::{Value, json};

use super::desk::{NOW, desk};

fn default_organisation() -> OrganisationId {
    OrganisationId::default_organisation()
}

#[tokio::test]
async fn a_site_is_changed_field_by_field() {
    let desk = desk().await;
    let seeded = desk.fill(&default_organisation(), "Amsterdam", 0x100).await;
    let path = format!("/api/v1/sites/{}", seeded.site.id);
    let renamed = desk.change("PATCH", &path, r#"{"name":" Utrecht "}"#).await;
    assert_eq!(
        (renamed.status, &renamed.json()["name"]),
        (StatusCode::OK, &json!("Utrecht"))
    );
    let moved = desk.change(
        "PATCH",
        &path,
        r#"{"country":"de","subdivision":null,"metro":null,"latitude":50.1,"longitude":8.7}"#,
    );
    let moved = moved.await.json();
    assert_eq!(
        (&moved["country"], &moved["subdivision"], &moved["latitude"]),
        (&json!("DE"), &Value::Null, &json!(50.1))
    );
    assert_eq!(moved["geography_source"], "declared");
    let cleared = r#"{"country":null,"latitude":null,"longitude":null}"#;
    let cleared = desk.change("PATCH", &path, cleared).await.json();
    assert_eq!(
        (&cleared["country"], &cleared["geography_source"]),
        (&Value::Null, &json!("unknown"))
    );
    let same = desk.change("PATCH", &path, "{}").await.json();
    assert_eq!(same, cleared);
    assert_eq!(desk.get("/api/v1/sites").await.json(), json!([cleared]));
}

#[tokio::test]
async fn a_site_cannot_be_changed_to_nonsense() {
    let desk = desk().await;
    let seeded = desk.fill(&default_organisation(), "Amsterdam", 0x100).await;
    desk.fill(&default_organisation(), "Berlin", 0x200).await;
    let path = format!("/api/v1/sites/{}", seeded.site.id);
    for (body, status, code, says) in [
        (r#"{"country":"Holland"}"#, 400, "bad_body", "ISO 3166-1"),
        (
            r#"{"country":"DE"}"#,
            400,
            "bad_body",
            "NL-NH is not in country DE",
        ),
        (r#"{"latitude":null}"#, 400, "bad_body", "go together"),
        (r#"{"latitude":99}"#, 400, "bad_body", "between -90 and 90"),
        (r#"{"name":""}"#, 400, "bad_body", "name"),
        (r#"{"name":"Berlin"}"#, 409, "conflict", "Berlin"),
        (r#"{"colour":"red"}"#, 400, "bad_body", "colour"),
        ("{", 400, "bad_body", "JSON"),
        ("", 400, "bad_body", "JSON"),
        (
            &format!(r#"{{"name":"{}"}}"#, "x".repeat(70_000)),
            413,
            "body_too_large",
            "65536",
        ),
    ] {
        let answer = desk.change("PATCH", &path, body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (status, code),
            "{}",
            answer.text
        );
        assert!(answer.text.contains(says), "{}", answer.text);
    }
    for path in [
        "/api/v1/sites/7",
        "/api/v1/sites/00000000-0000-0000-0000-0000000000ff",
    ] {
        assert_eq!(
            desk.change("PATCH", path, r#"{"name":"x"}"#).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_join_string_invites_to_a_site() {
    let desk = desk().await;
    let asked = r#"{"site":"Pune","country":"in","metro":"Pune","latitude":18.52,"longitude":73.86,"expires_s":3600}"#;
    let answer = desk.change("POST", "/api/v1/join-strings", asked).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let made = answer.json();
    let join: JoinString = made["join_string"]
        .as_str()
        .expect("text")
        .parse()
        .expect("a join string");
    assert_eq!(join.collector.as_str(), "https://collector.example:8443/");
    assert_eq!(
        (&made["site"]["country"], &made["expires_unix_ms"]),
        (&json!("IN"), &json!(NOW + 3_600_000))
    );
    let grant = desk
        .store
        .join_grant(&join.secret.digest())
        .await
        .expect("reads")
        .expect("is known");
    assert_eq!(grant.organisation, default_organisation());
    assert_eq!(
        desk.get("/api/v1/sites").await.json(),
        json!([made["site"]])
    );
}

#[tokio::test]
async fn a_join_string_cannot_be_made_of_nonsense() {
    let desk = desk().await;
    for (body, says) in [
        (r"{}", "site"),
        (r#"{"site":""}"#, "name"),
        (r#"{"site":"Pune","country":"XX"}"#, "ISO 3166-1"),
        (r#"{"site":"Pune","expires_s":1}"#, "one minute"),
        (r#"{"site":"Pune","expires_s":-1}"#, "-1"),
        (r#"{"site":"Pune","secret":"mine"}"#, "secret"),
    ] {
        let answer = desk.change("POST", "/api/v1/join-strings", body).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_REQUEST, "bad_body"),
            "{body}"
        );
        assert!(answer.text.contains(says), "{body}: {}", answer.text);
    }
    assert_eq!(desk.get("/api/v1/sites").await.json(), json!([]));
}
