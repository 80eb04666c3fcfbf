//! Events of registered prefixes, by their published names, from what routing says of them.

use std::collections::BTreeMap;

use firstmile_peering::desk::PrefixEvent;
use ipnet::IpNet;

use super::types::RoutingVerdict;
use crate::notify::core::model::by_name;

/// Verdicts as events of the registered prefix that each concerns, in the order given. A route that is back is an event of its own.
pub(super) fn events_of(verdicts: &[RoutingVerdict]) -> BTreeMap<IpNet, Vec<PrefixEvent>> {
    let mut events: BTreeMap<IpNet, Vec<PrefixEvent>> = BTreeMap::new();
    for verdict in verdicts {
        let concerned = verdict.matched.as_ref().unwrap_or(&verdict.prefix);
        let Ok(prefix) = concerned.parse::<IpNet>() else {
            continue;
        };
        let of_prefix = events.entry(prefix).or_default();
        if let (Some(at), "visibility.lost") = (verdict.ended_unix_ms, verdict.class.as_str()) {
            let summary = format!("{} is announced again", verdict.prefix);
            of_prefix.push(event("PrefixAnnouncementEvent", at, summary, String::new()));
        }
        of_prefix.push(event(
            type_of(&verdict.class),
            verdict.started_unix_ms,
            verdict.reason.clone(),
            description(verdict),
        ));
    }
    events
}

/// The published type where there is one, ours where there is none.
fn type_of(class: &str) -> &'static str {
    match class {
        "hijack.exact.origin" | "hijack.squat" => "PrefixOriginAsChangeEvent",
        "visibility.lost" => "PrefixWithdrawalEvent",
        "backup.lost" => "PrefixBackupRouteWithdrawalEvent",
        "hijack.exact.neighbor" | "hijack.exact.path" => "PrefixForgedPathEvent",
        class if class.starts_with("hijack.sub") => "PrefixSubprefixHijackEvent",
        class if class.starts_with("leak.") => "PrefixRouteLeakEvent",
        class if class.starts_with("rpki.") || class.starts_with("roa.") => "PrefixRpkiEvent",
        _ => "PrefixPathPolicyEvent",
    }
}

fn event(event_type: &str, at_unix_ms: i64, summary: String, description: String) -> PrefixEvent {
    let level = by_name(event_type).map_or("Warning", |known| known.level.as_str());
    PrefixEvent {
        event_timestamp: jiff::Timestamp::from_millisecond(at_unix_ms)
            .map_or_else(|_| String::new(), |at| at.to_string()),
        event_type: event_type.to_owned(),
        event_summary: summary,
        event_level: level.to_owned(),
        event_description: description,
    }
}

/// Class, how many peers see it, by which paths, and its end.
fn description(verdict: &RoutingVerdict) -> String {
    let paths = verdict
        .evidence
        .iter()
        .map(|one| format!("{} ({} peers)", one.as_path, one.peers));
    let paths: Vec<String> = paths.collect();
    let ended = verdict
        .ended_unix_ms
        .and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    let ended = ended.map_or_else(String::new, |at| format!("; ended {at}"));
    format!(
        "{}; seen by {} peers; paths: {}{ended}",
        verdict.class,
        verdict.peers,
        paths.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(class: &str, ended_unix_ms: Option<i64>) -> RoutingVerdict {
        RoutingVerdict {
            class: class.to_owned(),
            prefix: "198.51.100.0/25".to_owned(),
            matched: Some("198.51.100.0/24".to_owned()),
            reason: "AS64511 announces it".to_owned(),
            peers: 3,
            started_unix_ms: 1_767_225_600_000,
            ended_unix_ms,
            ..RoutingVerdict::default()
        }
    }

    #[test]
    fn each_class_has_a_type_with_its_published_level() {
        for (class, event_type, level) in [
            (
                "hijack.exact.origin",
                "PrefixOriginAsChangeEvent",
                "Critical",
            ),
            (
                "hijack.sub.origin",
                "PrefixSubprefixHijackEvent",
                "Critical",
            ),
            ("visibility.lost", "PrefixWithdrawalEvent", "Warning"),
            ("backup.lost", "PrefixBackupRouteWithdrawalEvent", "Warning"),
            ("leak.otc", "PrefixRouteLeakEvent", "Error"),
            ("rpki.invalid_asn", "PrefixRpkiEvent", "Warning"),
            ("path.neighbor", "PrefixPathPolicyEvent", "Warning"),
        ] {
            let events = events_of(&[verdict(class, None)]);
            let of_prefix = events.get(&"198.51.100.0/24".parse().expect("a prefix"));
            let [only] = of_prefix.expect("an event").as_slice() else {
                panic!("{class}: {events:?}");
            };
            assert_eq!(
                (only.event_type.as_str(), only.event_level.as_str()),
                (event_type, level),
                "{class}"
            );
            assert_eq!(only.event_timestamp, "2026-01-01T00:00:00Z", "{class}");
        }
    }

    #[test]
    fn a_route_that_is_back_is_announced() {
        let events = events_of(&[verdict("visibility.lost", Some(1_767_225_660_000))]);
        let types: Vec<&str> = events
            .values()
            .flatten()
            .map(|event| event.event_type.as_str())
            .collect();
        assert_eq!(types, ["PrefixAnnouncementEvent", "PrefixWithdrawalEvent"]);
    }
}
