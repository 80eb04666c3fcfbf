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

#[tokio::test]
async fn a_time_at_the_backup_location_says_what_it_cost() {
    let desk = desk().await;
    let organisation = OrganisationId::default_organisation();
    let seeded = desk.fill(&organisation, "Haarlem", 1).await;
    desk.fails_over(&seeded).await;
    let path_of = async |primary: &str, backup: &str| {
        let body = format!(
            r#"{{"tags":{{"sites":"Haarlem"}},"properties":{{"peeringServiceProvider":"Colt",
            "providerPrimaryPeeringLocation":"{primary}","providerBackupPeeringLocation":"{backup}"}}}}"#
        );
        let made = desk
            .change("PUT", &format!("{BASE}/{primary}?{VERSION}"), &body)
            .await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        let answer = desk.get("/api/v1/connections?window=1h").await.json();
        let mut all = answer.as_array().expect("a list").iter();
        let connection = all.find(|one| one["name"] == primary).expect("it is there");
        let paths = connection["sites"][0]["paths"].as_array().expect("a list");
        let mut paths = paths.iter();
        let path = paths.find(|path| path["target"] == "sharepoint");
        path.expect("it is a target").clone()
    };
    let path = path_of("Amsterdam", "Frankfurt").await;
    // Buckets are 0.8 % wide.
    let near = |value: &serde_json::Value, want: f64| {
        (value.as_f64().expect("a number") - want).abs() < 0.02 * want
    };
    assert!(near(&path["last_backup_rtt_us"], 25_000.0), "{path}");
    assert!(near(&path["last_backup_cost_us"], 15_000.0), "{path}");
    let turned = path_of("Frankfurt", "Amsterdam").await;
    assert!(near(&turned["last_backup_rtt_us"], 10_000.0), "{turned}");
    let cost = &turned["last_backup_cost_us"];
    assert!(
        cost.is_null(),
        "nothing was seen at the primary before: {turned}"
    );
}
