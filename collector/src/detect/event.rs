//! Events as they are opened, opened again, and told.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::baseline::Layer;
use super::sentence;
use super::suspicion::{Judgements, Suspicion, median};
use super::{Context, Observation, PathMemory};
use crate::api::types::{Event, EventClass};
use crate::geo::Meaning;

/// Lines of evidence kept: the first ones tell of the move, the last ones of what came after.
const EVIDENCE_MAX: usize = 40;
/// A novel router in an unknown metro is another metro if the RTT moved at least so far, else the same one.
const OTHER_METRO_US: u32 = 2_000;

/// What an event's text needs beside the path.
pub(super) struct Onlookers<'a> {
    pub(super) context: &'a Context,
    pub(super) meaning: &'a Meaning,
}

pub(super) fn fresh_event(
    memory: &PathMemory,
    suspicion: &Suspicion,
    confirmed: &BTreeSet<Layer>,
    judged: &Judgements,
    observation: &Observation,
    onlookers: &Onlookers<'_>,
) -> Event {
    let Onlookers { context, meaning } = onlookers;
    let before = memory.baseline.identity();
    let after = observation.projection.identity.clone();
    let (before_rtt_us, after_rtt_us) = (median(&memory.usual_rtts_us), median(&suspicion.rtts_us));
    let class = class_of(
        confirmed,
        &before.ingress_metros,
        &after.ingress_metros,
        before_rtt_us,
        after_rtt_us,
    );
    let first_novel_unix_ms = suspicion.first_novel_unix_ms;
    let last_good_unix_ms = suspicion.last_good_unix_ms.unwrap_or(first_novel_unix_ms);
    let mut event = Event {
        event_id: event_id(context, first_novel_unix_ms),
        class,
        state: "open".to_owned(),
        agent_id: context.agent.to_string(),
        site_name: context.site_name.clone(),
        country: context.country.clone(),
        target: context.target.clone(),
        last_good_unix_ms,
        first_novel_unix_ms,
        detected_unix_ms: observation.at_unix_ms,
        reopened_unix_ms: None,
        reopenings: 0,
        ended_unix_ms: None,
        ending: None,
        before,
        after,
        before_rtt_us,
        after_rtt_us,
        text: String::new(),
        reasons: Vec::new(),
        ..Event::default()
    };
    event.text = sentence::text(&event, confirmed, meaning);
    event.reasons = sentence::evidence(&event, judged, memory, observation, meaning);
    event
}

/// Whether two moves went to the same place; another one is an event of its own, however soon it follows.
pub(super) fn is_same_move(last: &Event, fresh: &Event) -> bool {
    let (left, right) = (&last.after, &fresh.after);
    let overlap =
        |left: &[String], right: &[String]| left.iter().any(|value| right.contains(value));
    let same_ingress = overlap(&left.ingress_routers, &right.ingress_routers)
        || (left.ingress_routers.is_empty() && right.ingress_routers.is_empty());
    last.class == fresh.class && left.as_path == right.as_path && same_ingress
}

/// A flapping path is one event that counts its moves.
pub(super) fn reopened(
    last: Event,
    fresh: &Event,
    openings: u32,
    observation: &Observation,
) -> Event {
    let mut event = Event {
        state: "open".to_owned(),
        reopened_unix_ms: Some(fresh.first_novel_unix_ms),
        reopenings: openings.saturating_sub(1),
        ended_unix_ms: None,
        ending: None,
        ..last
    };
    event.class = higher(event.class, fresh.class);
    event.after.clone_from(&fresh.after);
    event.after_rtt_us = fresh.after_rtt_us;
    event.text = format!("{}; flapping, {openings} times so far", fresh.text);
    add_evidence(
        &mut event,
        sentence::flapping(openings, fresh.first_novel_unix_ms, observation.at_unix_ms),
    );
    event
}

/// AS path first, then metro, then router. A router in an unknown metro is told by how far the RTT moved.
pub(super) fn class_of(
    confirmed: &BTreeSet<Layer>,
    before_metros: &[String],
    after_metros: &[String],
    before_rtt_us: Option<u32>,
    after_rtt_us: Option<u32>,
) -> EventClass {
    let metro_unknown = before_metros.is_empty() || after_metros.is_empty();
    let rtt_moved = before_rtt_us
        .zip(after_rtt_us)
        .is_some_and(|(before, after)| before.abs_diff(after) >= OTHER_METRO_US);
    if confirmed.contains(&Layer::AsPath) {
        EventClass::Provider
    } else if confirmed.contains(&Layer::Metro)
        || confirmed.contains(&Layer::Edge)
        || (metro_unknown && rtt_moved)
    {
        EventClass::Geo
    } else {
        EventClass::Local
    }
}

pub(super) fn higher(left: EventClass, right: EventClass) -> EventClass {
    let rank = |class| match class {
        EventClass::Uplink
        | EventClass::Unreachable
        | EventClass::Provider
        | EventClass::Flapping
        | EventClass::SiteSilent => 2,
        EventClass::Geo | EventClass::PartialGeo | EventClass::FrontDoorMoved => 1,
        EventClass::Local | EventClass::RedundancyLost => 0,
    };
    if rank(right) > rank(left) {
        right
    } else {
        left
    }
}

/// The same event has the same identity whichever collector finds it (RFC 9562 §5.5).
fn event_id(context: &Context, first_novel_unix_ms: i64) -> String {
    let Context {
        organisation,
        agent,
        target,
        ..
    } = context;
    let name = format!("firstmile/path/{organisation}/{agent}/{target}/{first_novel_unix_ms}");
    Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string()
}

pub(super) fn add_evidence(event: &mut Event, line: String) {
    if event.reasons.len() >= EVIDENCE_MAX {
        event.reasons.remove(EVIDENCE_MAX / 2);
    }
    event.reasons.push(line);
}
