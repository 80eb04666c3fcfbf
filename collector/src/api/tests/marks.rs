//! What people do with incidents, over a real store.

use axum::body::Body;
use axum::http::{StatusCode, header};
use firstmile_wire::ids::{Epoch, OrganisationId, ReportKey};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use uuid::Uuid;

use super::desk::{Desk, NOW, Seeded, desk, public_desk, request};
use crate::api::types::Event;
use crate::auth::token::{Role, Token};
use crate::store::{Applied, InboxReport};

const INCIDENT: &str = "7f0c";

/// Makes the event of a filled organisation the only one of an incident.
async fn incident(desk: &Desk, organisation: &OrganisationId, seeded: &Seeded) {
    let event = desk
        .store
        .event(organisation, &seeded.event_id)
        .await
        .expect("an event");
    let key = ReportKey {
        organisation: organisation.clone(),
        agent: seeded.agent,
        epoch: Epoch(Uuid::from_u128(99)),
        sequence: 1,
    };
    let report = InboxReport {
        key: key.clone(),
        received_unix_ms: NOW,
        frame: vec![0],
    };
    desk.store.append(vec![report]).await.expect("appends");
    let applied = Applied {
        events: vec![Event {
            incident_id: Some(INCIDENT.to_owned()),
            ..event
        }],
        ..Applied::default()
    };
    desk.store.apply(&key, applied).await.expect("applies");
}

async fn with_incident() -> Desk {
    let desk = desk().await;
    let organisation = OrganisationId::default_organisation();
    let seeded = desk.fill(&organisation, "Amsterdam", 0x100).await;
    incident(&desk, &organisation, &seeded).await;
    desk
}

#[tokio::test]
async fn somebody_looks_after_an_incident_and_writes_what_they_found() {
    let desk = with_incident().await;
    let path = format!("/api/v1/incidents/{INCIDENT}");
    let marks = desk.get(&format!("{path}/marks")).await.json();
    assert_eq!(
        marks,
        json!({ "acknowledged": null, "notes": [], "mutes": [], "messages": [] })
    );
    let acknowledged = desk
        .change("PUT", &format!("{path}/acknowledgement"), "")
        .await
        .json();
    assert_eq!(
        acknowledged["acknowledged"],
        json!({ "at_unix_ms": NOW, "who": "loopback" })
    );
    let to = format!("{path}/notes");
    let noted = desk.change("POST", &to, r#"{"text":" a fibre cut \n"}"#);
    assert_eq!(noted.await.json()["notes"][0]["text"], "a fibre cut");
    let back = desk
        .change("DELETE", &format!("{path}/acknowledgement"), "")
        .await
        .json();
    assert_eq!(
        (
            &back["acknowledged"],
            back["notes"].as_array().unwrap().len()
        ),
        (&Value::Null, 1)
    );
    for body in [r#"{"text":"  "}"#, r#"{"text":"a\u0007"}"#, "{}"] {
        let refused = desk.change("POST", &format!("{path}/notes"), body).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (StatusCode::BAD_REQUEST, "bad_body")
        );
    }
    for (method, path) in [
        ("PUT", "/api/v1/incidents/none/acknowledgement"),
        ("GET", "/api/v1/incidents/none/marks"),
        ("GET", "/api/v1/incidents/none/evidence"),
    ] {
        let missing = desk.change(method, path, "").await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND, "{method} {path}");
    }
}

#[tokio::test]
async fn a_change_window_is_made_seen_and_taken_away() {
    let desk = with_incident().await;
    let path = "/api/v1/change-windows";
    let wish = json!({ "reason": "known", "covers": { "incident_id": INCIDENT },
        "from_unix_ms": NOW - 1, "to_unix_ms": NOW + 3_600_000 });
    let made = desk.change("POST", path, &wish.to_string()).await.json();
    assert_eq!(
        (&made["holds"], &made["who"]),
        (&json!(true), &json!("loopback"))
    );
    assert_eq!(desk.get(path).await.json(), json!([made]));
    let marks = format!("/api/v1/incidents/{INCIDENT}/marks");
    assert_eq!(desk.get(&marks).await.json()["mutes"], json!([made]));
    let one = format!("{path}/{}", made["window_id"].as_str().unwrap());
    assert_eq!(
        desk.change("DELETE", &one, "").await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        desk.change("DELETE", &one, "").await.status,
        StatusCode::NOT_FOUND
    );
    let nonsense = json!({ "reason": "x", "weekly": { "days": ["mon"], "start": "26:00", "minutes": 9, "time_zone": null } });
    let refused = desk.change("POST", path, &nonsense.to_string()).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::BAD_REQUEST, "bad_body")
    );
    assert!(refused.text.contains("26:00"), "{refused:?}");
}

#[tokio::test]
async fn the_evidence_is_one_file_that_holds_the_incident() {
    let desk = with_incident().await;
    let answer = desk
        .get(&format!("/api/v1/incidents/{INCIDENT}/evidence"))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    let disposition = answer.headers["content-disposition"].to_str().unwrap();
    assert_eq!(
        disposition,
        "attachment; filename=\"firstmile-incident-7f0c.html\""
    );
    let (_, rest) = answer.text.split_once("id=\"evidence\">").unwrap();
    let (json, _) = rest.split_once("</script>").unwrap();
    let evidence: Value = serde_json::from_str(json).unwrap();
    assert_eq!(evidence["incident"]["incident_id"], INCIDENT);
    assert_eq!(evidence["affected"][0]["site_name"], "Amsterdam");
    assert!(!evidence["not_seen"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn the_event_model_is_published() {
    let desk = desk().await;
    let types = desk.get("/api/v1/event-types").await.json();
    let find = |name: &str| {
        let all = types.as_array().unwrap();
        all.iter()
            .find(|one| one["event_type"] == name)
            .unwrap()
            .clone()
    };
    let published = find("PrefixOriginAsChangeEvent");
    assert_eq!(
        (&published["level"], &published["origin"]),
        (&json!("Critical"), &json!("microsoft"))
    );
    assert_eq!(find("PathGeoFailoverEvent")["class"], "geo");
    assert_eq!(
        desk.get("/api/v1/notifications").await.json(),
        json!({ "channels": [], "messages": [] })
    );
}

#[tokio::test]
async fn a_viewer_looks_and_cannot_touch_and_organisations_never_meet() {
    let desk = public_desk().await;
    let organisation = OrganisationId::default_organisation();
    let seeded = desk.fill(&organisation, "Amsterdam", 0x100).await;
    incident(&desk, &organisation, &seeded).await;
    let other = OrganisationId::try_from("other".to_owned()).expect("a name");
    let path = format!("/api/v1/incidents/{INCIDENT}");
    let zone = format!("/api/v1/sites/{}/time-zone", seeded.site.id);
    let all = [
        ("GET", format!("{path}/marks")),
        ("GET", format!("{path}/evidence")),
        ("PUT", format!("{path}/acknowledgement")),
        ("POST", format!("{path}/notes")),
        ("POST", "/api/v1/change-windows".to_owned()),
        ("PUT", zone),
    ];
    for (organisation, role, looks, touches) in [
        (
            &organisation,
            Role::Viewer,
            StatusCode::OK,
            StatusCode::FORBIDDEN,
        ),
        (
            &other,
            Role::Viewer,
            StatusCode::NOT_FOUND,
            StatusCode::FORBIDDEN,
        ),
    ] {
        let hour = Duration::from_hours(1);
        let (token, secret) =
            Token::make(organisation.clone(), "t", role, hour, NOW).expect("makes");
        desk.store
            .put_token(&token, "somebody")
            .await
            .expect("puts");
        for (method, path) in &all {
            let request = request(method, path)
                .header(header::AUTHORIZATION, format!("Bearer {secret}"))
                .body(Body::from(r#"{"text":"x"}"#));
            let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77));
            let answer = desk.send_from(elsewhere, request.expect("a request")).await;
            let want = if *method == "GET" { looks } else { touches };
            assert_eq!(answer.status, want, "{organisation} {method} {path}");
        }
    }
}
