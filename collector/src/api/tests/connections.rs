//! Connections with their prefixes and sites.

use axum::http::StatusCode;
use firstmile_wire::ids::OrganisationId;

use super::desk::desk;

const BASE: &str =
    "/subscriptions/s1/resourceGroups/net/providers/Microsoft.Peering/peeringServices";
const VERSION: &str = "api-version=2025-05-01";

#[tokio::test]
async fn a_connection_comes_with_its_prefixes_and_the_paths_of_its_sites() {
    let desk = desk().await;
    let seeded = desk
        .fill(&OrganisationId::default_organisation(), "Haarlem", 1)
        .await;
    let body = r#"{"tags":{"sites":"Haarlem, Nowhere"},"properties":{"peeringServiceProvider":"Colt",
        "providerPrimaryPeeringLocation":"Amsterdam","providerBackupPeeringLocation":"Frankfurt"}}"#;
    let made = desk
        .change("PUT", &format!("{BASE}/nl?{VERSION}"), body)
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let body = r#"{"properties":{"prefix":"198.51.100.0/24"}}"#;
    desk.change("PUT", &format!("{BASE}/nl/prefixes/lan?{VERSION}"), body)
        .await;
    let answer = desk.get("/api/v1/connections?window=15m").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let connection = &answer.json()[0];
    assert_eq!(
        (connection["name"].as_str(), connection["primary"].as_str()),
        (Some("nl"), Some("Amsterdam"))
    );
    assert_eq!(connection["prefixes"][0]["state"], "Failed", "{connection}");
    assert_eq!(connection["unknown_sites"][0], "Nowhere");
    let site = &connection["sites"][0];
    assert_eq!(site["site_name"], "Haarlem");
    let paths = site["paths"].as_array().expect("a list");
    assert!(
        paths
            .iter()
            .all(|path| path["agent_id"] == seeded.agent.to_string())
    );
    for path in paths {
        let times = path["time_ms"].as_object().expect("times");
        let total: i64 = times.values().filter_map(serde_json::Value::as_i64).sum();
        assert_eq!(total, 15 * 60_000, "{path}");
    }
    let other = desk.get("/api/v1/connections?window=soon").await;
    assert_eq!(
        (other.status, other.code().as_str()),
        (StatusCode::BAD_REQUEST, "bad_parameter")
    );
}
