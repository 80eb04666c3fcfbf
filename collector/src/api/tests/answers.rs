//! What the routes answer.

use axum::http::{StatusCode, header};
use firstmile_wire::ids::OrganisationId;
use serde_json::{Value, json};

use super::desk::{Desk, NOW, Seeded, desk, other_organisation};

async fn filled() -> (Desk, Seeded) {
    let desk = desk().await;
    let seeded = desk
        .fill(&OrganisationId::default_organisation(), "Amsterdam", 0x100)
        .await;
    (desk, seeded)
}

async fn good(desk: &Desk, path: &str) -> Value {
    let answer = desk.get(path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    answer.json()
}

#[tokio::test]
async fn an_empty_collector_says_what_to_do() {
    let desk = desk().await;
    let status = good(&desk, "/api/v1/status").await;
    assert_eq!(status["agents_total"], 0);
    assert_eq!(status["notices"][0]["code"], "no_agents");
    assert_eq!(
        status["principal"],
        json!({"organisation": "default", "name": "loopback", "role": "admin"})
    );
    assert_eq!(good(&desk, "/api/v1/geographies").await["rows"], json!([]));
    assert_eq!(good(&desk, "/api/v1/latency").await["points"], json!([]));
    for path in [
        "/api/v1/sites",
        "/api/v1/agents",
        "/api/v1/events",
        "/api/v1/routing/statistics",
    ] {
        assert_eq!(good(&desk, path).await, json!([]), "{path}");
    }
}

#[tokio::test]
async fn an_agent_says_which_version_the_plan_expects_of_it() {
    let (desk, _) = filled().await;
    let organisation = OrganisationId::default_organisation();
    desk.fill(&organisation, "Brussels", 0x200).await;
    let agents = good(&desk, "/api/v1/agents").await;
    let version = |index: usize| {
        let agent = &agents[index];
        ["version", "expected_version", "version_state"].map(|key| agent[key].clone())
    };
    assert_eq!(
        version(0),
        [json!("0.1.0"), json!("0.2.0"), json!("behind")]
    );
    assert_eq!(version(1), [json!("0.1.0"), Value::Null, Value::Null]);
}

#[tokio::test]
async fn the_status_counts_and_warns() {
    let (desk, _) = filled().await;
    let status = good(&desk, "/api/v1/status").await;
    assert_eq!(
        (&status["agents_reporting"], &status["sites_total"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(status["now_unix_ms"], NOW);
    assert_eq!(status["notices"][0]["code"], "dns_failed");
    assert_eq!(
        status["notices"][0]["text"],
        "Amsterdam: 1 target with a name that does not resolve."
    );
}

#[tokio::test]
async fn a_revoked_agent_is_listed_and_does_not_count() {
    let (desk, seeded) = filled().await;
    let organisation = OrganisationId::default_organisation();
    desk.store
        .revoke_agent(&organisation, seeded.agent, NOW, "test")
        .await
        .expect("revokes");
    let agents = good(&desk, "/api/v1/agents").await;
    assert_eq!(agents[0]["state"], "revoked");
    assert_eq!(agents[0]["targets"][0]["state"], "revoked");
    assert_eq!(agents[0]["targets"][0]["path_state"], "blind");
    let status = good(&desk, "/api/v1/status").await;
    for count in ["agents_total", "agents_reporting", "sites_total"] {
        assert_eq!(status[count], 0, "{count}");
    }
    assert_eq!(status["notices"][0]["code"], "no_agents");
    assert_eq!(good(&desk, "/api/v1/geographies").await["rows"], json!([]));
    assert_eq!(good(&desk, "/api/v1/events?state=open").await, json!([]));
    let event = good(&desk, &format!("/api/v1/events/{}", seeded.event_id)).await;
    assert_eq!(event["ending"], "agent_revoked");
}

#[tokio::test]
async fn geographies_carry_figures_places_and_ingresses() {
    let (desk, seeded) = filled().await;
    for (level, key, name) in [
        ("country", "NL".to_owned(), "Netherlands"),
        ("subdivision", "NL-NH".to_owned(), "NL-NH"),
        ("metro", "NL/Amsterdam".to_owned(), "Amsterdam"),
        ("site", seeded.site.id.to_string(), "Amsterdam"),
    ] {
        let report = good(
            &desk,
            &format!("/api/v1/geographies?level={level}&window=15m"),
        )
        .await;
        let row = &report["rows"][0];
        assert_eq!(
            (&row["key"], &row["name"]),
            (&json!(key), &json!(name)),
            "{level}"
        );
        assert_eq!(
            (&row["figures"]["n"], &row["before"]["n"]),
            (&json!(10), &json!(0)),
            "{level}"
        );
        assert_eq!(row["figures"]["loss_ratio"], 0.1, "{level}");
        assert_eq!(
            (&row["agents"], &row["agents_silent"], &row["open_events"]),
            (&json!(1), &json!(0), &json!(1))
        );
        assert_eq!(
            (&row["ingress_metros"], &row["latitude"]),
            (&json!(["FRA"]), &json!(52.37)),
            "{level}"
        );
    }
    assert_eq!(
        good(&desk, "/api/v1/geographies?country=DE").await["rows"],
        json!([])
    );
    assert_eq!(
        good(&desk, "/api/v1/geographies?country=nl&target=teams").await["rows"][0]["figures"]["n"],
        0
    );
}

#[tokio::test]
async fn latency_has_a_total_points_and_protocols() {
    let (desk, seeded) = filled().await;
    let scopes = [
        ("world".to_owned(), "World"),
        ("country:NL".to_owned(), "Netherlands"),
        ("subdivision:NL-NH".to_owned(), "NL-NH"),
        ("metro:NL/Amsterdam".to_owned(), "Amsterdam"),
        (format!("site:{}", seeded.site.id), "Amsterdam"),
        (
            format!("agent:{}", seeded.agent),
            "host-Amsterdam (Amsterdam)",
        ),
    ];
    for (scope, name) in scopes {
        let report = good(&desk, &format!("/api/v1/latency?scope={scope}&step=60s")).await;
        assert_eq!(
            (&report["name"], &report["step_s"]),
            (&json!(name), &json!(60)),
            "{scope}"
        );
        assert_eq!(report["total"]["n"], 10, "{scope}");
        let points = report["points"].as_array().expect("a list");
        let n: u64 = points
            .iter()
            .filter_map(|point| point["figures"]["n"].as_u64())
            .sum();
        assert_eq!(n, 10, "{scope}");
        let protocols = report["protocols"].as_array().expect("a list");
        assert_eq!(protocols[0]["answered_here"], true, "{scope}");
        assert_eq!(
            protocols[1],
            json!({"protocol": "icmp", "answered_here": false, "n": protocols[1]["n"]}),
            "{scope}"
        );
    }
    let nowhere = good(&desk, "/api/v1/latency?scope=country:DE").await;
    assert_eq!(
        (&nowhere["name"], &nowhere["total"]["n"]),
        (&json!("Germany"), &json!(0))
    );
}

#[tokio::test]
async fn agents_show_their_targets() {
    let (desk, seeded) = filled().await;
    let agents = good(&desk, "/api/v1/agents").await;
    let one = good(&desk, &format!("/api/v1/agents/{}", seeded.agent)).await;
    assert_eq!(agents, json!([one]));
    assert_eq!(
        (&one["state"], &one["site"]["name"]),
        (&json!("reporting"), &json!("Amsterdam"))
    );
    let [exchange, sharepoint, teams] = [0, 1, 2].map(|index| &one["targets"][index]);
    assert_eq!(
        (&exchange["state"], &exchange["path_state"]),
        (&json!("ok"), &json!("shifted"))
    );
    assert_eq!(exchange["address"], "203.0.113.10");
    assert_eq!(
        (
            &exchange["edge_pop"]["metro"],
            &exchange["ingress_pop"]["name"]
        ),
        (&json!("FRA"), &json!("Frankfurt"))
    );
    assert_eq!(exchange["figures"]["n"], 10);
    let icmp = exchange["protocols"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|state| state["protocol"] == "icmp");
    assert_eq!(icmp.expect("icmp was tried")["answered_here"], false);
    assert_eq!(
        (&sharepoint["state"], &sharepoint["path_state"]),
        (&json!("dns_failed"), &json!("learning"))
    );
    assert_eq!(
        (&teams["state"], &teams["address"]),
        (&json!("waiting"), &Value::Null)
    );
}

#[tokio::test]
async fn a_path_is_told_hop_by_hop() {
    let (desk, seeded) = filled().await;
    let path = good(
        &desk,
        &format!("/api/v1/agents/{}/path?target=exchange", seeded.agent),
    )
    .await;
    assert_eq!(
        (&path["flows"], &path["flows_reached"], &path["kind"]),
        (&json!(4), &json!(4), &json!("tcp"))
    );
    assert_eq!(path["identity"]["as_path"], json!([64500, 8075]));
    assert_eq!(
        (&path["identity"]["ingress_routers"], &path["state"]),
        (&json!(["ier01.fra30"]), &json!("shifted"))
    );
    let hops = path["hops"].as_array().expect("a list");
    assert_eq!(hops.len(), 5);
    let third = hops[2]["nodes"].as_array().expect("a list");
    assert_eq!(
        (third.len(), &third[0]["asn"], &third[1]["address"]),
        (2, &json!(64500), &Value::Null)
    );
    let ingress = &hops[3]["nodes"][0];
    assert_eq!(
        (
            &ingress["ingress"],
            &ingress["role"],
            &ingress["pop"]["metro"]
        ),
        (&json!(true), &json!("ier"), &json!("FRA"))
    );
    assert_eq!(
        (&ingress["min_rtt_us"], &ingress["median_rtt_us"]),
        (&json!(4000), &json!(4001))
    );
    assert_eq!(
        (
            &hops[4]["nodes"][0]["role"],
            &hops[4]["nodes"][0]["ingress"]
        ),
        (&json!("destination"), &json!(false))
    );
    assert_eq!(path["history"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        path["history"][0]["identity"]["ingress_metros"],
        json!(["AMS"])
    );
}

#[tokio::test]
async fn events_are_found_by_window_state_agent_and_id() {
    let (desk, seeded) = filled().await;
    for (query, n) in [
        ("", 1),
        ("?state=open", 1),
        ("?state=closed", 0),
        ("?window=15m", 1),
        (&format!("?agent={}", seeded.agent), 1),
        ("?agent=00000000-0000-0000-0000-0000000000ff", 0),
        ("?from=0&to=5", 0),
    ] {
        let events = good(&desk, &format!("/api/v1/events{query}")).await;
        assert_eq!(events.as_array().map(Vec::len), Some(n), "{query}");
    }
    let event = good(&desk, &format!("/api/v1/events/{}", seeded.event_id)).await;
    assert_eq!(event["class"], "geo");
}

#[tokio::test]
async fn the_catalogue_and_the_document_are_served() {
    let desk = desk().await;
    let pops = good(&desk, "/api/v1/pops").await;
    assert!(
        pops.as_array()
            .expect("a list")
            .iter()
            .any(|pop| pop["code"] == "AMS")
    );
    let document = good(&desk, "/api/openapi.json").await;
    assert!(document["paths"]["/api/v1/agents/{id}/path"].is_object());
}

/// Path below `/api/v1`, status, code, and a word of the message. AGENT is the agent that exists, NOBODY is nobody.
const REFUSED: &str = "
    /geographies?level=town | 400 | bad_parameter | country, subdivision, metro or site
    /geographies?window=2h | 400 | bad_parameter | 15m, 1h, 6h, 12h, 1d, 7d or 30d
    /geographies?lvl=site | 400 | bad_parameter | lvl
    /latency?protocol=udp | 400 | bad_parameter | tcp, icmp, https, tls, quic or dns
    /latency?protocol=https&phase=rtt | 400 | bad_parameter | ttfb, connect, tls or ttfb_warm
    /latency?scope=planet:X | 400 | bad_parameter | country:NL
    /latency?step=90s | 400 | bad_parameter | multiple of a minute
    /latency?weighting=none | 400 | bad_parameter | agent or sample
    /latency?window=1h&from=5 | 400 | bad_parameter | not both
    /latency?from=0&to=1767227430000&step=60s | 400 | bad_parameter | 400 days
    /latency?scope=site:NOBODY | 404 | not_found | no site
    /latency?scope=agent:NOBODY | 404 | not_found | agent
    /routing/statistics?month=11 | 400 | bad_parameter | 2026-11
    /routing/statistics?format=xml | 400 | bad_parameter | json or csv
    /events?state=ajar | 400 | bad_parameter | open or closed
    /events/none | 404 | not_found | none
    /agents/7 | 400 | bad_parameter | UUID
    /agents/NOBODY | 404 | not_found | agent
    /agents/AGENT/path | 400 | bad_parameter | exchange, sharepoint, teams
    /agents/AGENT/path?target=teams | 404 | no_path_yet | no round
    /agents/AGENT/path?target=x | 404 | no_path_yet | exchange, sharepoint, teams
    /nothing | 404 | no_such_path | /api/openapi.json
    /join-strings | 405 | method_not_allowed | GET";

#[tokio::test]
async fn what_cannot_be_asked_is_refused_by_name() {
    let (desk, seeded) = filled().await;
    let nobody = "00000000-0000-0000-0000-0000000000ff";
    for line in REFUSED.lines().skip(1) {
        let columns: Vec<&str> = line.trim().split(" | ").collect();
        let &[path, status, code, says] = columns.as_slice() else {
            panic!("{line}")
        };
        let path = path
            .replace("NOBODY", nobody)
            .replace("AGENT", &seeded.agent.to_string());
        let answer = desk.get(&format!("/api/v1{path}")).await;
        let got = (answer.status.as_str().to_owned(), answer.code());
        assert_eq!(
            got,
            (status.to_owned(), code.to_owned()),
            "{path}: {}",
            answer.text
        );
        assert!(answer.text.contains(says), "{path}: {}", answer.text);
    }
    assert_eq!(desk.get("/api/v2").await.code(), "no_such_path");
}

#[tokio::test]
async fn pages_are_the_dashboards_and_every_answer_is_armoured() {
    let desk = desk().await;
    for path in ["/", "/agents/7", "/api/v1/status", "/assets/none.js"] {
        let answer = desk.get(path).await;
        let header = |name: &str| {
            answer
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        assert!(
            header("content-security-policy").contains("frame-ancestors 'none'"),
            "{path}"
        );
        assert!(
            !header("content-security-policy").contains("script-src 'self' 'unsafe-inline'"),
            "{path}"
        );
        assert_eq!(
            (header("x-content-type-options"), header("referrer-policy")),
            ("nosniff", "no-referrer"),
            "{path}"
        );
    }
    let api = desk.get("/api/v1/status").await;
    assert_eq!(
        api.headers
            .get(header::CACHE_CONTROL)
            .and_then(|value| value.to_str().ok()),
        Some("no-store")
    );
    assert_eq!(
        desk.get("/assets/none.js").await.status,
        StatusCode::NOT_FOUND
    );
    let page = desk.get("/events").await;
    assert!(
        page.text
            .to_ascii_lowercase()
            .starts_with("<!doctype html>"),
        "{}",
        page.text
    );
    assert_eq!(
        desk.change("POST", "/events", "").await.code(),
        "method_not_allowed"
    );
}

#[tokio::test]
async fn organisations_never_meet() {
    let (desk, _) = filled().await;
    let before = answers_of_default(&desk).await;
    let other = desk.fill(&other_organisation(), "Secret", 0x900).await;
    assert_eq!(
        answers_of_default(&desk).await,
        before,
        "another organisation changes nothing here"
    );
    for path in [
        format!("/api/v1/agents/{}", other.agent),
        format!("/api/v1/agents/{}/path?target=exchange", other.agent),
        format!("/api/v1/events/{}", other.event_id),
        format!("/api/v1/latency?scope=agent:{}", other.agent),
        format!("/api/v1/latency?scope=site:{}", other.site.id),
    ] {
        assert_eq!(
            desk.get(&path).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    let patch = desk
        .change(
            "PATCH",
            &format!("/api/v1/sites/{}", other.site.id),
            r#"{"name":"Mine"}"#,
        )
        .await;
    assert_eq!(patch.status, StatusCode::NOT_FOUND);
}

async fn answers_of_default(desk: &Desk) -> Vec<String> {
    let mut answers = Vec::new();
    for path in [
        "status",
        "geographies",
        "geographies?level=site",
        "latency",
        "sites",
        "agents",
        "events",
    ] {
        answers.push(desk.get(&format!("/api/v1/{path}")).await.text);
    }
    answers
}

#[tokio::test]
async fn a_machine_is_told_as_its_agent_last_said() {
    let (desk, seeded) = filled().await;
    let path = format!("/api/v1/agents/{}/machine", seeded.agent);
    let machine = good(&desk, &path).await;
    assert_eq!(machine["host"]["gateway"], "192.0.2.254");
    assert_eq!(machine["handshakes"][0]["issuer"], "CN=Public CA");
    assert_eq!(machine["changes"], json!([]));
    assert_eq!(machine["counters"], Value::Null);
    let nobody = format!("/api/v1/agents/{}/machine", uuid::Uuid::nil());
    assert_eq!(desk.get(&nobody).await.status, StatusCode::NOT_FOUND);
}
