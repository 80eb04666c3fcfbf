//! Questions about samples, metrics, and days that cannot be read.

use axum::http::StatusCode;
use firstmile_wire::ids::OrganisationId;
use serde_json::{Value, json};

use super::desk::{Desk, desk, public_desk};
use crate::store::Scope;

async fn filled() -> Desk {
    let desk = desk().await;
    let organisation = OrganisationId::default_organisation();
    desk.fill(&organisation, "Amsterdam", 0x100).await;
    desk
}

async fn good(desk: &Desk, path: &str) -> Value {
    let answer = desk.get(path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    answer.json()
}

#[tokio::test]
async fn a_question_is_answered_as_json_and_as_a_table() {
    let desk = filled().await;
    let page = good(&desk, "/api/v1/latency?window=15m").await;
    let path = "/api/v1/query?by=metro,protocol&protocol=tcp&window=15m&quantiles=0.5";
    let report = good(&desk, path).await;
    let row = &report["rows"][0];
    assert_eq!(row["group"], json!(["NL/Amsterdam", "tcp"]));
    assert_eq!(row["n"], page["total"]["n"]);
    assert_eq!(row["quantiles_us"], json!([page["total"]["p50_us"]]));
    let rests_on = &report["rests_on"];
    let read = ["samples", "rollups", "cells"].map(|kind| rests_on[kind].as_u64().unwrap());
    assert!(read.iter().sum::<u64>() > 0, "{rests_on}");
    let table = desk.get(&format!("{path}&format=csv")).await;
    assert_eq!(table.headers["content-type"], "text/csv; charset=utf-8");
    let lines: Vec<&str> = table.text.lines().collect();
    assert_eq!(
        lines[0],
        "at,metro,protocol,n,agents,lost,loss_ratio,min_us,mean_us,p50_us"
    );
    assert!(lines[1].contains(",NL/Amsterdam,tcp,"), "{}", lines[1]);
    let refused = desk.get("/api/v1/query?by=planet").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn metrics_tell_of_the_collector_and_of_geographies() {
    let desk = filled().await;
    let answer = desk.get("/metrics").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    for want in [
        "firstmile_reports_accepted_total ",
        "firstmile_store_damaged_days 0",
        "firstmile_agents{state=\"reporting\"} 1",
        "firstmile_country_rtt_seconds{country=\"NL\",protocol=\"tcp\",quantile=\"0.5\"} 0.",
        "firstmile_metro_loss_ratio{metro=\"NL/Amsterdam\",protocol=\"tcp\"} ",
    ] {
        assert!(answer.text.contains(want), "{want} in {}", answer.text);
    }
    for line in answer.text.lines() {
        assert!(
            line.starts_with("# ") || line.starts_with("firstmile_"),
            "{line}"
        );
    }
    let public = public_desk().await;
    let refused = public.get("/metrics").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}

/// The value of the line that begins so.
fn value_of(metrics: &str, line: &str) -> Option<f64> {
    let mut lines = metrics.lines();
    let rest = lines.find_map(|one| one.strip_prefix(line))?;
    rest.trim().parse().ok()
}

#[tokio::test]
async fn metrics_of_what_is_registered_have_their_published_names() {
    let desk = filled().await;
    let organisation = OrganisationId::default_organisation();
    let targets = desk.store.targets(&organisation, &Scope::World).await;
    let target = targets.unwrap().into_values().flatten().next().unwrap();
    let base = "/subscriptions/s1/resourceGroups/net/providers/Microsoft.Peering";
    let put = async |name: &str, body: Value| {
        let target = format!("{base}/{name}?api-version=2025-05-01");
        let made = desk.change("PUT", &target, &body.to_string()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{name}: {made:?}");
        made.json()
    };
    put(
        "peerings/ams",
        json!({ "properties": { "peeringLocation": "Amsterdam" } }),
    )
    .await;
    let lan = json!({ "properties": { "prefix": "198.51.100.0/24" } });
    put("peerings/ams/registeredPrefixes/lan", lan).await;
    let asn = json!({ "properties": { "asn": 64500 } });
    let asn = put("peerings/ams/registeredAsns/customer", asn).await;
    let service = json!({ "tags": { "sites": "Amsterdam" }, "properties": { "peeringServiceProvider": "Colt",
        "providerPrimaryPeeringLocation": "Amsterdam" } });
    put("peeringServices/nl", service).await;
    let prefix = json!({ "properties": { "prefix": "198.51.100.0/24",
        "peeringServicePrefixKey": asn["properties"]["peeringServicePrefixKey"] } });
    put("peeringServices/nl/prefixes/lan", prefix).await;
    let test = json!({ "properties": { "sourceAgent": "host-Amsterdam", "destination": target.host,
        "destinationPort": target.port } });
    put("peeringServices/nl/connectionMonitorTests/mail", test).await;
    let metrics = desk.get("/metrics").await.text;
    let value =
        |line: &str| value_of(&metrics, line).unwrap_or_else(|| panic!("{line} in {metrics}"));
    let median = value("RegisteredPrefixLatency{Peering=\"ams\",RegisteredPrefixName=\"lan\"}");
    let page = good(&desk, "/api/v1/latency?window=1h&protocol=tcp").await;
    let p50_us = page["total"]["p50_us"].as_f64().unwrap();
    assert!(
        (median * 1e3 - p50_us).abs() < 1.0,
        "{median} ms, {p50_us} us"
    );
    let mean =
        value("AverageCustomerPrefixLatency{Peering=\"ams\",RegisteredAsnName=\"customer\"}");
    assert!((mean - median).abs() < 1e-9, "of one prefix: {mean}");
    let tested = value("RoundTripTime{PeeringService=\"nl\",ConnectionMonitorTestName=\"mail\"}");
    assert!(tested > 0.0);
    let answered = value("ConnectivityProbeAvailability{PeeringService=\"nl\",Protocol=\"TCP\"}");
    assert!((0.0..=100.0).contains(&answered), "{answered}");
    assert!(value("ConnectivityProbeLatency{PeeringService=\"nl\",Protocol=\"TCP\"}") > 0.0);
    assert!(value("ConnectivityProbeJitter{PeeringService=\"nl\",Protocol=\"TCP\"}") >= 0.0);
    // No feed shows the session, so nobody says whether it is up.
    assert!(!metrics.contains("SessionAvailability{"), "{metrics}");
}

#[tokio::test]
async fn a_day_that_cannot_be_read_is_told_on_the_page() {
    let desk = filled().await;
    let told = |status: &Value| -> Vec<String> {
        let notices = status["notices"].as_array().unwrap();
        let damaged = notices
            .iter()
            .filter(|one| one["code"] == "samples_damaged");
        damaged.map(|one| one["text"].to_string()).collect()
    };
    assert_eq!(told(&good(&desk, "/api/v1/status").await), [""; 0]);
    let days = desk.folder.path().join("samples");
    std::fs::write(days.join("samples-2025-12-30.db"), "no database").unwrap();
    good(&desk, "/api/v1/query?window=7d&source=raw").await;
    let first = told(&good(&desk, "/api/v1/status").await);
    assert!(first[0].contains("2025-12-30"), "{first:?}");
    std::fs::write(days.join("samples-2025-12-29.db.damaged"), "").unwrap();
    let both = told(&good(&desk, "/api/v1/status").await);
    assert!(both[0].contains("2 days from 2025-12-29"), "{both:?}");
    let metrics = desk.get("/metrics").await.text;
    assert!(
        metrics.contains("firstmile_store_damaged_days 2"),
        "{metrics}"
    );
}
