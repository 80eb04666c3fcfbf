//! Verdicts of routing in an incident: alone they are the incident, beside moved paths they are its cause.

use std::cmp::Reverse;

use super::{Head, TIMELINE_MAX, assemble, words};
use crate::api::types::{Event, EventClass, Incident, RoutingVerdict};

/// Verdicts of an incident that are read to tell of it.
pub const VERDICTS_MAX: u32 = 100;
/// Verdicts that start within this time of each other may have one cause.
pub const TOGETHER_MS: i64 = 120_000;

/// Tells an incident from its events and its verdicts, which come by start, oldest first, at most [`VERDICTS_MAX`] of `total`.
pub fn assemble_with(
    head: &Head,
    events: &[Event],
    verdicts: Vec<RoutingVerdict>,
    total: u32,
) -> Incident {
    let mut incident = assemble(head, events);
    let Some(first) = verdicts.first() else {
        return incident;
    };
    let prefix = first.matched.as_ref().unwrap_or(&first.prefix).clone();
    let gravest = verdicts
        .iter()
        .max_by_key(|verdict| rank(&verdict.severity));
    incident.severity = gravest.map(|verdict| verdict.severity.clone());
    incident.verdicts_total = total;
    let told = words::of_routing(&verdicts, total);
    let decided = decided_unix_ms(&verdicts);
    if events.is_empty() {
        alone(&mut incident, &verdicts, told);
    } else {
        incident.onset_from_unix_ms = incident.onset_from_unix_ms.min(first.started_unix_ms);
        if decided < incident.decided_unix_ms {
            incident.class = EventClass::of_verdict(&first.class);
            incident.decided_unix_ms = decided;
        }
        incident.late = false;
        incident.text = format!("{}; because {told}", incident.text);
        incident.cause = Some(told);
    }
    incident.prefix = Some(prefix);
    incident
        .timeline
        .extend(verdicts.iter().flat_map(words::moments_of_routing));
    incident.timeline.sort_by_key(|entry| entry.at_unix_ms);
    incident.timeline.truncate(TIMELINE_MAX);
    incident.verdicts = verdicts;
    incident
}

/// No path moved, or nobody looks from there.
fn alone(incident: &mut Incident, verdicts: &[RoutingVerdict], told: String) {
    let gravest = verdicts
        .iter()
        .min_by_key(|verdict| (Reverse(rank(&verdict.severity)), verdict.verdict_no));
    let started = verdicts.iter().map(|verdict| verdict.started_unix_ms);
    let decided = decided_unix_ms(verdicts);
    // The class that it was told with first stays: what joins later is its company.
    let first = verdicts.iter().min_by_key(|verdict| verdict.verdict_no);
    incident.class = first.map_or(incident.class, |verdict| {
        EventClass::of_verdict(&verdict.class)
    });
    incident.onset_from_unix_ms = started.clone().min().unwrap_or_default();
    incident.onset_to_unix_ms = incident.onset_from_unix_ms;
    incident.decided_unix_ms = decided;
    incident.notified_unix_ms = Some(decided);
    incident.to = gravest
        .and_then(|verdict| verdict.offender)
        .map(|asn| format!("AS{asn}"));
    incident.late = false;
    incident.ending = verdicts
        .iter()
        .max_by_key(|verdict| verdict.ended_unix_ms)
        .and_then(|verdict| verdict.ending.clone())
        .filter(|_| incident.ended_unix_ms.is_some());
    incident.reasons = words::reasons_of_routing(verdicts);
    incident.text = told;
}

fn decided_unix_ms(verdicts: &[RoutingVerdict]) -> i64 {
    let decided = verdicts.iter().map(|verdict| verdict.stored_unix_ms);
    decided.min().unwrap_or_default()
}

/// How grave a severity is, by its word.
pub fn rank(severity: &str) -> u8 {
    match severity {
        "critical" => 3,
        "error" => 2,
        "warning" => 1,
        _ => 0,
    }
}

/// Whether a verdict that starts now belongs with one that started or ended at `last_unix_ms`: the same registered prefix, the same AS
/// that does it, or, where nobody is named, the same thing.
pub fn is_one(new: &RoutingVerdict, known: &RoutingVerdict) -> bool {
    let last = known.ended_unix_ms.unwrap_or(known.started_unix_ms);
    let near = new.started_unix_ms >= known.started_unix_ms - TOGETHER_MS
        && (known.ended_unix_ms.is_none() || new.started_unix_ms <= last + TOGETHER_MS);
    let together = (new.started_unix_ms - last).abs() <= TOGETHER_MS;
    let concerned = |verdict: &RoutingVerdict| {
        let prefix = verdict.matched.as_ref().unwrap_or(&verdict.prefix);
        prefix.clone()
    };
    let same_prefix = concerned(new) == concerned(known);
    let same_offender = new.offender.is_some() && new.offender == known.offender;
    let nameless = new.offender.is_none() && known.offender.is_none() && new.class == known.class;
    (near && same_prefix && same_offender && rank(&new.severity) <= rank(&known.severity))
        || (together && same_prefix)
        || (together && (same_offender || nameless))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(no: i64, class: &str, offender: Option<u32>, started: i64) -> RoutingVerdict {
        RoutingVerdict {
            verdict_no: no,
            class: class.to_owned(),
            prefix: "198.51.100.0/25".to_owned(),
            matched: Some("198.51.100.0/24".to_owned()),
            offender,
            severity: "error".to_owned(),
            peers: 3,
            others: 1,
            reason: "AS64511 announces 198.51.100.0/25".to_owned(),
            started_unix_ms: started,
            stored_unix_ms: started + 5,
            ..RoutingVerdict::default()
        }
    }

    #[test]
    fn verdicts_of_one_cause_are_one_incident() {
        let known = verdict(1, "hijack.sub.origin", Some(64_511), 1_000_000);
        let elsewhere = |verdict: RoutingVerdict| RoutingVerdict {
            matched: Some("203.0.113.0/24".to_owned()),
            ..verdict
        };
        let rpki = "rpki.invalid_asn";
        for (name, new, want) in [
            (
                "the same AS, RPKI too",
                verdict(2, rpki, Some(64_511), 1_000_010),
                true,
            ),
            (
                "much later, still open",
                verdict(2, rpki, Some(64_511), 9_000_000),
                true,
            ),
            (
                "another AS at once",
                verdict(2, rpki, Some(64_512), 1_060_000),
                true,
            ),
            (
                "another AS later",
                verdict(2, rpki, Some(64_512), 1_180_000),
                false,
            ),
            (
                "the same AS elsewhere",
                elsewhere(verdict(2, rpki, Some(64_511), 1_060_000)),
                true,
            ),
            (
                "elsewhere, later",
                elsewhere(verdict(2, rpki, Some(64_511), 1_180_000)),
                false,
            ),
            (
                "another AS elsewhere",
                elsewhere(verdict(2, rpki, Some(64_512), 1_000_000)),
                false,
            ),
        ] {
            assert_eq!(is_one(&new, &known), want, "{name}");
        }
        let gone = verdict(1, "visibility.lost", None, 1_000_000);
        let other = elsewhere(verdict(2, "visibility.lost", None, 1_010_000));
        assert!(
            is_one(&other, &gone),
            "a session that ends takes many prefixes along"
        );
        assert!(!is_one(
            &elsewhere(verdict(2, "path.policy", None, 1_010_000)),
            &gone
        ));
    }

    #[test]
    fn an_incident_of_routing_alone_says_what_it_is() {
        let head = Head {
            incident_id: "one".to_owned(),
            ..Head::default()
        };
        let verdicts = vec![
            verdict(1, "hijack.sub.origin", Some(64_511), 1_000_000),
            RoutingVerdict {
                severity: "critical".to_owned(),
                ..verdict(2, "rpki.invalid_asn", Some(64_511), 1_000_500)
            },
        ];
        let told = assemble_with(&head, &[], verdicts, 2);
        assert_eq!(told.class, EventClass::PrefixHijack);
        assert_eq!(told.severity.as_deref(), Some("critical"));
        assert_eq!(told.prefix.as_deref(), Some("198.51.100.0/24"));
        assert_eq!(told.to.as_deref(), Some("AS64511"));
        assert_eq!((told.state.as_str(), told.agents_total), ("open", 0));
        assert_eq!(told.decided_unix_ms, 1_000_005);
        assert_eq!(
            told.text,
            "AS64511 announces 198.51.100.0/25, seen by 3 of 4 peers, and 1 more verdict"
        );
        assert_eq!(told.timeline.len(), 2);
    }

    #[test]
    fn routing_beside_a_moved_path_is_its_cause() {
        let event = Event {
            class: EventClass::Unreachable,
            site_name: "Utrecht".to_owned(),
            moved: "Microsoft's network is not reached".to_owned(),
            last_good_unix_ms: 1_010_000,
            first_novel_unix_ms: 1_015_000,
            detected_unix_ms: 1_025_000,
            ..Event::default()
        };
        let head = Head {
            agents_total: 1,
            agents_open: 1,
            ..Head::default()
        };
        let hijack = verdict(1, "hijack.sub.origin", Some(64_511), 1_000_000);
        let told = assemble_with(&head, std::slice::from_ref(&event), vec![hijack], 1);
        assert_eq!(told.class, EventClass::PrefixHijack, "it was decided first");
        assert_eq!(told.agents_total, 1);
        assert!(
            told.cause
                .as_deref()
                .is_some_and(|cause| cause.starts_with("AS64511 announces"))
        );
        assert!(told.text.contains("is not reached") && told.text.contains("because AS64511"));
        let late = verdict(1, "hijack.sub.origin", Some(64_511), 1_030_000);
        let told = assemble_with(&head, &[event], vec![late], 1);
        assert_eq!(
            told.class,
            EventClass::Unreachable,
            "people know it by that name"
        );
    }
}
