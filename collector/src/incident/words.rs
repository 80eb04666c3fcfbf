//! Incidents in words.

use crate::api::types::{Event, EventClass, Incident, RoutingVerdict, TimelineEntry};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Verdicts whose reasons are listed.
const REASONS_MAX: usize = 10;
/// Sites that a sentence names; more are counted.
const NAMED_SITES: usize = 3;

/// `AS64500: ingress moved from … to …, 14 agents at 12 sites, between 10:02:11 and 10:02:53 UTC, +7.1 ms (95 % CI 6.4 to 7.9)`.
pub(super) fn sentence(incident: &Incident, moved: &str) -> String {
    let who = incident
        .provider_asn
        .map(|asn| format!("AS{asn}: "))
        .unwrap_or_default();
    let moved = if moved.is_empty() {
        "path moved"
    } else {
        moved
    };
    let cost = incident.rtt_cost.map(|cost| {
        format!(
            ", {:+.1} ms (95 % CI {:+.1} to {:+.1})",
            ms(cost.change_us),
            ms(cost.change_low_us),
            ms(cost.change_high_us)
        )
    });
    format!(
        "{who}{moved}, {} at {}, between {} and {} UTC{}",
        counted(incident.agents_total, "agent"),
        places(&incident.sites),
        clock(incident.onset_from_unix_ms, incident.onset_to_unix_ms),
        clock(incident.onset_to_unix_ms, incident.onset_to_unix_ms),
        cost.unwrap_or_default(),
    )
}

/// What happened of one event, and when.
pub(super) fn moments(event: &Event) -> Vec<TimelineEntry> {
    let whose = if event.target.is_empty() {
        event.site_name.clone()
    } else {
        format!("{} to {}", event.site_name, event.target)
    };
    let first = match () {
        () if event.class == EventClass::SiteSilent => "the first report that did not come",
        () if event.class.is_beside_path() => "the first samples off the level",
        () => "the first round that differs",
    };
    let sure = event
        .confidence
        .map(|confidence| format!(", confidence {confidence:.2}"))
        .unwrap_or_default();
    let mut moments = vec![
        entry(
            event.first_novel_unix_ms,
            "onset",
            format!("{whose}: {first}"),
        ),
        entry(
            event.detected_unix_ms,
            "decided",
            format!("{whose}: {}{sure}", moved(event)),
        ),
    ];
    if let Some(at) = event.notified_unix_ms {
        moments.push(entry(
            at,
            "notified",
            format!("{whose}: it lasts, or another agent agrees"),
        ));
    }
    if let Some(at) = event.ended_unix_ms {
        moments.push(entry(at, "ended", format!("{whose}: {}", ended(event))));
    }
    moments
}

/// `AS64511 announces 198.51.100.0/25 …, seen by 3 of 4 peers, and 1 more verdict`.
pub(super) fn of_routing(verdicts: &[RoutingVerdict], total: u32) -> String {
    let Some(first) = verdicts.first() else {
        return String::new();
    };
    let all = first.peers.saturating_add(first.others);
    let seen = match first.peers {
        0 => String::new(),
        peers => format!(", seen by {peers} of {}", counted(all, "peer")),
    };
    let more = match total.saturating_sub(1) {
        0 => String::new(),
        1 => ", and 1 more verdict".to_owned(),
        more => format!(", and {more} more verdicts"),
    };
    format!("{}{seen}{more}", first.reason)
}

/// What routing says and what speaks against it, a line each.
pub(super) fn reasons_of_routing(verdicts: &[RoutingVerdict]) -> Vec<String> {
    let mut reasons = Vec::new();
    for verdict in verdicts.iter().take(REASONS_MAX) {
        reasons.push(format!("{}: {}", verdict.class, verdict.reason));
        let paths = verdict.evidence.iter();
        reasons.extend(
            paths.map(|one| format!("{} by path {}", counted(one.peers, "peer"), one.as_path)),
        );
        let against = verdict.counter_evidence.iter();
        reasons.extend(against.map(|one| format!("against it: {one}")));
        let words = verdict.remedy.iter().flat_map(|remedy| &remedy.words);
        reasons.extend(words.map(|one| format!("to do: {one}")));
    }
    reasons
}

/// The start and the end of a verdict.
pub(super) fn moments_of_routing(verdict: &RoutingVerdict) -> Vec<TimelineEntry> {
    let mut moments = vec![entry(
        verdict.started_unix_ms,
        "route",
        format!("{}: {}", verdict.class, verdict.reason),
    )];
    if let Some(at) = verdict.ended_unix_ms {
        let how = match verdict.ending.as_deref() {
            Some("not_observed") => "the feed that showed it is gone",
            Some("restart") => "not seen again since the collector was started",
            Some(_) | None => "over",
        };
        moments.push(entry(
            at,
            "route_ended",
            format!("{}: {how}", verdict.class),
        ));
    }
    moments
}

fn moved(event: &Event) -> &str {
    if event.moved.is_empty() {
        "the path moved"
    } else {
        &event.moved
    }
}

fn ended(event: &Event) -> &'static str {
    match event.ending.as_deref() {
        Some("recovery") if event.class == EventClass::SiteSilent => "heard again",
        Some("recovery") if event.class.is_beside_path() => "back on the old level",
        Some("new_normal") if event.class.is_beside_path() => {
            "the new level has become the usual one"
        }
        Some("path_moved") => "the path moved, and levels are learned anew",
        Some("noted") => "noted, nothing goes on",
        Some("recovery" | "recovered") => "back on the old path",
        Some("new_normal" | "adopted") => "the new path has become the usual one",
        Some("unconfirmed") => "it did not become sure",
        Some("not_observed") => "nobody looked for a day",
        Some("agent_revoked") => "the agent was revoked",
        Some(_) | None => "over",
    }
}

fn entry(at_unix_ms: i64, kind: &str, text: String) -> TimelineEntry {
    TimelineEntry {
        at_unix_ms,
        kind: kind.to_owned(),
        text,
    }
}

fn places(sites: &[String]) -> String {
    match sites {
        [] => "an unknown site".to_owned(),
        [one] => one.clone(),
        [rest @ .., last] if sites.len() <= NAMED_SITES => {
            format!("{} and {last}", rest.join(", "))
        }
        many => format!("{} sites", many.len()),
    }
}

fn counted(count: u32, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

/// Time of day; with the day where `reference` is on another one.
fn clock(unix_ms: i64, reference_unix_ms: i64) -> String {
    let same_day = unix_ms.div_euclid(DAY_MS) == reference_unix_ms.div_euclid(DAY_MS);
    let format = if same_day {
        "%H:%M:%S"
    } else {
        "%Y-%m-%d %H:%M:%S"
    };
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(
        |_| "an impossible time".to_owned(),
        |moment| moment.strftime(format).to_string(),
    )
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of an RTT are far below 2^52"
)]
fn ms(us: i64) -> f64 {
    us as f64 / 1_000.0
}
