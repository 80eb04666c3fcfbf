//! An alert for Alertmanager (`POST /api/v2/alerts`).
//!
//! Alertmanager tells alerts apart by their labels, so those never change while an incident lives; what changes is an annotation. It
//! takes an alert for over when `endsAt` has passed: an open one is sent again before that, and an end is an `endsAt` of its own.

use serde_json::{Map, Value, json};

use crate::notify::core::notice::{Notice, Phase, rfc3339};

/// How long an open alert stands without word of it: longer than a restart or an update of the collector takes.
const STANDS_MS: i64 = 60 * 60_000;

/// The body of the request.
pub fn body(notice: &Notice, now_unix_ms: i64) -> Value {
    let mut labels = Map::new();
    let mut label = |name: &str, value: String| {
        if !value.is_empty() {
            labels.insert(name.to_owned(), Value::String(value));
        }
    };
    label("alertname", notice.event_type.clone());
    label("incident", notice.incident_id.clone());
    label("class", notice.class.clone());
    label("severity", notice.event_level.as_str().to_ascii_lowercase());
    label(
        "provider_asn",
        notice
            .provider_asn
            .map(|asn| asn.to_string())
            .unwrap_or_default(),
    );
    label("source", "firstmile".to_owned());

    let mut annotations = Map::new();
    annotations.insert("summary".to_owned(), Value::String(notice.summary.clone()));
    for (name, value) in notice.facts() {
        let name = name.to_ascii_lowercase().replace(' ', "_");
        annotations.insert(name, Value::String(value));
    }
    let starts_at = notice.onset_to_unix_ms.min(now_unix_ms);
    let ends_at = match notice.phase {
        // Not before its start, and not in the future: then it would go on.
        Phase::End => notice
            .ended_unix_ms
            .unwrap_or(now_unix_ms)
            .clamp(starts_at, now_unix_ms),
        Phase::Test => now_unix_ms.saturating_add(60_000),
        Phase::Start | Phase::Update | Phase::Digest => now_unix_ms.saturating_add(STANDS_MS),
    };
    let mut alert = json!({
        "labels": labels,
        "annotations": annotations,
        "startsAt": rfc3339(starts_at),
        "endsAt": rfc3339(ends_at),
    });
    if let (Some(link), Some(alert)) = (&notice.link, alert.as_object_mut()) {
        alert.insert("generatorURL".to_owned(), Value::String(link.clone()));
    }
    json!([alert])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::core::notice::tests::example;

    const NOW: i64 = 1_767_230_000_000;

    #[test]
    fn labels_are_the_same_from_start_to_end() {
        let alert = |phase| body(&example(phase), NOW)[0].clone();
        let mut grown = example(Phase::Update);
        grown.sites.push("Nice".to_owned());
        grown.agents_affected = 99;
        grown.confidence_ratio = Some(0.5);
        let start = alert(Phase::Start);
        for other in [
            alert(Phase::End),
            alert(Phase::Digest),
            body(&grown, NOW)[0].clone(),
        ] {
            assert_eq!(start["labels"], other["labels"]);
            assert_eq!(start["startsAt"], other["startsAt"]);
        }
    }

    #[test]
    fn an_open_one_ends_in_the_future_and_one_that_is_over_in_the_past() {
        let ends = |phase| {
            body(&example(phase), NOW)[0]["endsAt"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(ends(Phase::End), "2026-01-01T00:10:00.000Z");
        assert!(ends(Phase::Start) > rfc3339(NOW));
        assert!(ends(Phase::Digest) > rfc3339(NOW));
    }
}
