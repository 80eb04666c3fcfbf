//! Events in words: what moved from where to where, and one sentence with names and numbers.

use firstmile_shift::level::Class;

use crate::api::types::{Event, EventClass, EventStatus, PathIdentity};
use crate::geo::Meaning;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// `ingress moved from Amsterdam (AMS) to Frankfurt (FRA)`.
pub(super) fn moved(
    class: Class,
    from: Option<&str>,
    to: Option<&str>,
    before: &PathIdentity,
    meaning: &Meaning,
) -> String {
    let metro = |metro: Option<&str>| match metro {
        Some(metro) => meaning.metro_name(metro),
        None => "an unknown metro".to_owned(),
    };
    let other = |value: Option<&str>, unknown: &str| value.unwrap_or(unknown).to_owned();
    let asn = |value| other(value, "an unknown network");
    let router = |value| other(value, "an unknown router");
    match class {
        Class::Uplink => format!("uplink moved from {} to {}", asn(from), asn(to)),
        Class::Provider => format!("provider moved from {} to {}", asn(from), asn(to)),
        Class::Geo => format!("ingress moved from {} to {}", metro(from), metro(to)),
        Class::PartialGeo => format!(
            "ingress of a part of the flows moved from {} to {}",
            metro(from),
            metro(to)
        ),
        Class::Local => {
            let place = match before.ingress_metros.as_slice() {
                [one] => format!(" in {}", meaning.metro_name(one)),
                _ => String::new(),
            };
            format!(
                "ingress router{place} moved from {} to {}",
                router(from),
                router(to)
            )
        }
        Class::RedundancyLost => format!("router {} carries no flow any more", router(from)),
        Class::FrontDoorMoved => format!(
            "front door moved from {} to {} over the same ingress",
            metro(from),
            metro(to)
        ),
        Class::Unreachable => "Microsoft's network is not reached".to_owned(),
        Class::Flapping => "path moves again and again".to_owned(),
    }
}

/// `Amsterdam → exchange: ingress moved from Amsterdam (AMS) to Frankfurt (FRA), +7.1 ms, between 10:02:11 and 10:02:14 UTC`.
pub(super) fn sentence(event: &Event) -> String {
    let perhaps = match event.status {
        EventStatus::Possible => "perhaps ",
        EventStatus::Event => "",
    };
    let cost = event
        .rtt_cost
        .filter(|_| event.class != EventClass::Unreachable);
    let cost = cost
        .map(|cost| format!(", {:+.1} ms", ms(cost.change_us)))
        .unwrap_or_default();
    format!(
        "{} → {}: {perhaps}{}{cost}, {}",
        event.site_name,
        event.target,
        event.moved,
        interval(event)
    )
}

fn interval(event: &Event) -> String {
    let (after, before) = (event.last_good_unix_ms, event.first_novel_unix_ms);
    let to = clock(before, before);
    if after < before {
        format!("between {} and {to} UTC", clock(after, before))
    } else {
        format!("at {to} UTC")
    }
}

/// `RTT rose from 10.0 ms to 20.0 ms on the same path`.
pub(super) fn rose(class: EventClass, from: &str, to: &str) -> String {
    let what = match () {
        () if class == EventClass::Loss => "loss",
        () if class == EventClass::Ipdv => "delay variation",
        () => "RTT",
    };
    let again = if class == EventClass::Congestion {
        ", as on other days at this hour"
    } else {
        ""
    };
    format!("{what} rose from {from} to {to} on the same path{again}")
}

/// `Utrecht: no agent is heard since 2026-01-05 10:02:11 UTC`.
pub(super) fn silent(event: &Event) -> String {
    format!(
        "{}: no agent is heard since {} UTC",
        event.site_name,
        time(event.last_good_unix_ms)
    )
}

/// A moment, with its day.
pub(super) fn time(unix_ms: i64) -> String {
    moment(unix_ms, "%Y-%m-%d %H:%M:%S")
}

/// No path round came for a day: nobody tells any more how it went on.
pub(super) fn not_observed(newest_unix_ms: i64) -> String {
    format!(
        "no path round since {} UTC: given up after 24 hours, how it went on is not known",
        time(newest_unix_ms)
    )
}

/// Time of day; with the day where `reference` is on another one.
fn clock(unix_ms: i64, reference_unix_ms: i64) -> String {
    let same_day = unix_ms.div_euclid(DAY_MS) == reference_unix_ms.div_euclid(DAY_MS);
    moment(
        unix_ms,
        if same_day {
            "%H:%M:%S"
        } else {
            "%Y-%m-%d %H:%M:%S"
        },
    )
}

fn moment(unix_ms: i64, format: &str) -> String {
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
