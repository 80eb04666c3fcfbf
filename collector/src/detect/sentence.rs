//! Events in words: one sentence with names and numbers, and the reasons, one a line.

use std::collections::{BTreeMap, BTreeSet};

use super::baseline::{Judgement, Layer, as_path_text};
use super::{Observation, PathMemory};
use crate::api::types::{Event, PathIdentity};
use crate::geo::Meaning;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// `Amsterdam → exchange: ingress moved from Amsterdam (AMS) to Frankfurt (FRA), +7.1 ms, between 10:02:11 and 10:02:14 UTC`.
pub(super) fn text(event: &Event, confirmed: &BTreeSet<Layer>, meaning: &Meaning) -> String {
    let moved = moves(event, confirmed, meaning).join(", ");
    let rtt = event.before_rtt_us.zip(event.after_rtt_us);
    let rtt = rtt
        .map(|(before, after)| format!(", {:+.1} ms", ms(after) - ms(before)))
        .unwrap_or_default();
    format!(
        "{} → {}: {moved}{rtt}, {}",
        event.site_name,
        event.target,
        interval(event)
    )
}

/// What moved, the layer that names the event first.
fn moves(event: &Event, confirmed: &BTreeSet<Layer>, meaning: &Meaning) -> Vec<String> {
    let Event { before, after, .. } = event;
    let mut moves = Vec::new();
    if confirmed.contains(&Layer::AsPath) && before.as_path != after.as_path {
        moves.push(format!(
            "AS path moved from {} to {}",
            as_text(&before.as_path),
            as_text(&after.as_path)
        ));
    }
    if confirmed.contains(&Layer::Metro) && before.ingress_metros != after.ingress_metros {
        let (from, to) = (
            metros(&before.ingress_metros, meaning),
            metros(&after.ingress_metros, meaning),
        );
        moves.push(format!("ingress moved from {from} to {to}"));
    } else if confirmed.contains(&Layer::Router) && before.ingress_routers != after.ingress_routers
    {
        let (from, to) = (
            routers(&before.ingress_routers),
            routers(&after.ingress_routers),
        );
        let place =
            same_metro(before, after).map(|metro| format!(" in {}", meaning.metro_name(metro)));
        moves.push(format!(
            "ingress router{} moved from {from} to {to}",
            place.unwrap_or_default()
        ));
    }
    if confirmed.contains(&Layer::Edge) && before.edge_metros != after.edge_metros {
        let (from, to) = (
            metros(&before.edge_metros, meaning),
            metros(&after.edge_metros, meaning),
        );
        moves.push(format!("serving POP moved from {from} to {to}"));
    }
    if moves.is_empty() {
        moves.push("path moved".to_owned()); // a part of a balanced set: the evidence names its flows
    }
    moves
}

/// The reasons for a fresh event.
pub(super) fn evidence(
    event: &Event,
    judged: &BTreeMap<Layer, Judgement>,
    memory: &PathMemory,
    observation: &Observation,
    meaning: &Meaning,
) -> Vec<String> {
    let mut lines = vec![format!(
        "{} rounds in a row agree, the first at {}, the last at {} UTC; the usual path rests on {} rounds",
        super::failover::SHIFT_ROUNDS,
        clock(event.first_novel_unix_ms, event.detected_unix_ms),
        clock(event.detected_unix_ms, event.detected_unix_ms),
        memory.baseline.rounds,
    )];
    let old_edge = observation
        .edge_seen_unix_ms
        .is_some_and(|seen| seen < event.first_novel_unix_ms);
    lines.extend(judged.iter().map(|(layer, judgement)| {
        if *layer == Layer::Edge && old_edge {
            "POP named by headers: cannot tell, last seen before the move".to_owned()
        } else {
            layer_line(*layer, judgement, event, meaning)
        }
    }));
    if let Some((before, after)) = event.before_rtt_us.zip(event.after_rtt_us) {
        lines.push(format!(
            "median TCP RTT {:.1} ms before, {:.1} ms after",
            ms(before),
            ms(after)
        ));
    }
    if !memory.baseline.knows_destination(observation.destination) {
        lines.push(format!(
            "the target's name now resolves to {}, an address not seen before",
            observation.destination
        ));
    }
    if nameless(observation) {
        lines.push("the new ingress router has no name: another address of a known router cannot be ruled out".to_owned());
    }
    lines
}

fn layer_line(layer: Layer, judgement: &Judgement, event: &Event, meaning: &Meaning) -> String {
    let Event { before, after, .. } = event;
    let (what, from, to) = match layer {
        Layer::AsPath => ("AS path", as_text(&before.as_path), as_text(&after.as_path)),
        Layer::Metro => (
            "ingress metro",
            metros(&before.ingress_metros, meaning),
            metros(&after.ingress_metros, meaning),
        ),
        Layer::Edge => (
            "POP named by headers",
            metros(&before.edge_metros, meaning),
            metros(&after.edge_metros, meaning),
        ),
        Layer::Router => (
            "ingress router",
            routers(&before.ingress_routers),
            routers(&after.ingress_routers),
        ),
    };
    match judgement {
        Judgement::Unknown => format!("{what}: cannot tell"),
        Judgement::Same => format!("{what}: unchanged, {from}"),
        Judgement::Novel { .. } if layer == Layer::Edge => {
            format!("{what}: {from} before, {to} after")
        }
        Judgement::Novel {
            flows, responding, ..
        } => {
            format!(
                "{what}: {from} before, {to} after ({flows} of {responding} flows that show it)"
            )
        }
    }
}

/// A further move while the event is open.
pub(super) fn moved_on(
    from: &PathIdentity,
    to: &PathIdentity,
    at_unix_ms: i64,
    meaning: &Meaning,
) -> String {
    format!(
        "moved on at {} UTC: {} → {}",
        clock_with_day(at_unix_ms),
        path(from, meaning),
        path(to, meaning)
    )
}

/// The path moved again soon after it was back.
pub(super) fn flapping(openings: u32, first_novel_unix_ms: i64, at_unix_ms: i64) -> String {
    format!(
        "flapping: moved away again at {} UTC, {openings} times so far",
        clock(first_novel_unix_ms, at_unix_ms)
    )
}

/// The old path is back.
pub(super) fn recovered(rounds: u32, since_unix_ms: i64) -> String {
    format!(
        "the old path is back since {} UTC, {rounds} rounds in a row",
        clock_with_day(since_unix_ms)
    )
}

/// The new path stays.
pub(super) fn adopted() -> String {
    "the new path lasted 24 hours: it is taken as the usual one from now on".to_owned()
}

/// Nobody looks any more.
pub(super) fn not_observed(newest_unix_ms: i64) -> String {
    format!(
        "no path round since {} UTC: given up after 24 hours, how it went on is not known",
        clock_with_day(newest_unix_ms)
    )
}

fn path(identity: &PathIdentity, meaning: &Meaning) -> String {
    let place = metros(&identity.ingress_metros, meaning);
    format!(
        "{} by {} in {place}",
        as_text(&identity.as_path),
        routers(&identity.ingress_routers)
    )
}

fn same_metro<'a>(before: &'a PathIdentity, after: &PathIdentity) -> Option<&'a str> {
    let same = before.ingress_metros == after.ingress_metros;
    before
        .ingress_metros
        .first()
        .filter(|_| same && before.ingress_metros.len() == 1)
        .map(String::as_str)
}

fn nameless(observation: &Observation) -> bool {
    let mut ingresses = observation
        .projection
        .flows
        .iter()
        .filter_map(|flow| flow.ingress.as_ref())
        .peekable();
    ingresses.peek().is_some() && ingresses.all(|ingress| ingress.router.is_none())
}

fn metros(metros: &[String], meaning: &Meaning) -> String {
    joined(
        metros.iter().map(|metro| meaning.metro_name(metro)),
        "an unknown metro",
    )
}

fn routers(routers: &[String]) -> String {
    joined(routers.iter().cloned(), "an unknown router")
}

fn as_text(as_path: &[u32]) -> String {
    if as_path.is_empty() {
        "an unknown AS path".to_owned()
    } else {
        as_path_text(as_path)
    }
}

fn joined(values: impl Iterator<Item = String>, none: &str) -> String {
    let values: Vec<String> = values.collect();
    if values.is_empty() {
        none.to_owned()
    } else {
        values.join(" and ")
    }
}

fn interval(event: &Event) -> String {
    let (last_good_unix_ms, first_novel_unix_ms) =
        (event.last_good_unix_ms, event.first_novel_unix_ms);
    let to = clock(first_novel_unix_ms, first_novel_unix_ms);
    if last_good_unix_ms < first_novel_unix_ms {
        format!(
            "between {} and {to} UTC",
            clock(last_good_unix_ms, first_novel_unix_ms)
        )
    } else {
        format!("at {to} UTC")
    }
}

/// Time of day; with the day where `reference` is on another one.
fn clock(unix_ms: i64, reference_unix_ms: i64) -> String {
    if unix_ms.div_euclid(DAY_MS) == reference_unix_ms.div_euclid(DAY_MS) {
        moment(unix_ms, "%H:%M:%S")
    } else {
        clock_with_day(unix_ms)
    }
}

fn clock_with_day(unix_ms: i64) -> String {
    moment(unix_ms, "%Y-%m-%d %H:%M:%S")
}

fn moment(unix_ms: i64, format: &str) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(
        |_| "an impossible time".to_owned(),
        |moment| moment.strftime(format).to_string(),
    )
}

fn ms(rtt_us: u32) -> f64 {
    f64::from(rtt_us) / 1000.0
}
