//! What is told beside moves of the path: a level of RTT, loss or delay variation that rose while the path stayed, and replies that
//! come by another way.
//!
//! Pulses are looked at only while the classifier knows the path and suspects nothing: what rises because the path moved is no
//! latency event. A claimed move ends what is open, and levels are learned anew.

use std::net::IpAddr;

use firstmile_shift::latency::{Latency, LatencyChange, Metric, ReturnPath};
use firstmile_shift::level::Class;
use firstmile_shift::track::{Change, Phase, Status};
use serde::{Deserialize, Serialize};

use super::desk::{Desk, seconds, unix_ms};
use super::watch::Context;
use super::{PathMemory, PathState, tell, words};
use crate::api::types::{Event, EventClass};
use crate::ingest::batch::Sample;

/// An onset told as a longer interval is the whole time of an event that became the level.
const ONSET_AT_MOST_S: f64 = 90.0;

/// What is remembered of it; at most three events are open.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Beside {
    latency: Latency,
    return_path: ReturnPath,
    /// Who answers: another server may count from another TTL.
    destination: Option<IpAddr>,
    open: Vec<Event>,
}

impl Beside {
    /// Ends all that is open.
    pub(super) fn end_all(&mut self, at_unix_ms: i64, ending: &str) -> Vec<Event> {
        let open = std::mem::take(&mut self.open);
        open.into_iter()
            .map(|event| ended(event, at_unix_ms, ending))
            .collect()
    }

    /// Forgets an event that was ended from outside; false: it is none of these.
    pub(super) fn forget(&mut self, event_id: &str) -> bool {
        let before = self.open.len();
        self.open.retain(|event| event.event_id != event_id);
        self.open.len() < before
    }

    /// What the levels were is no measure of another path.
    fn restart(&mut self, at: f64) -> Vec<Event> {
        self.latency.restart(at);
        self.return_path = ReturnPath::default();
        self.end_all(unix_ms(at), "path_moved")
    }
}

/// Ends what a claimed move, or its end, makes meaningless. Lost redundancy moves nothing that is measured here.
pub(super) fn on_changes(memory: &mut PathMemory, changes: &[Change]) -> Vec<Event> {
    let moved = |change: &&Change| {
        change.status == Status::Event
            && change.phase != Phase::Notify
            && change.class != Class::RedundancyLost
    };
    let newest = changes.iter().filter(moved).map(|change| change.at);
    newest
        .reduce(f64::max)
        .map(|at| memory.beside.restart(at))
        .unwrap_or_default()
}

/// Takes a pulse in, after the classifier did.
pub(super) fn on_pulse(
    memory: &mut PathMemory,
    sample: &Sample,
    rtt_us: Option<u32>,
    context: &Context,
    desk: &mut Desk,
) -> Vec<Event> {
    let unreachable = |event: &Event| event.class == EventClass::Unreachable;
    match memory.state() {
        PathState::Stable | PathState::Shifted if !memory.open.iter().any(unreachable) => {}
        PathState::Suspect | PathState::Flapping => {
            memory.beside.return_path = ReturnPath::default();
            return Vec::new();
        }
        PathState::Learning | PathState::Blind | PathState::Stable | PathState::Shifted => {
            return Vec::new();
        }
    }
    let at = seconds(sample.at_unix_ms);
    let changes = memory.beside.latency.on_pulse(at, rtt_us);
    let mut events: Vec<Event> = changes
        .iter()
        .filter_map(|change| latency(memory, change, context, desk))
        .collect();
    if rtt_us.is_some() && sample.reply_ttl > 0 {
        events.extend(reply(memory, sample, context, desk));
    }
    events
}

fn latency(
    memory: &mut PathMemory,
    change: &LatencyChange,
    context: &Context,
    desk: &mut Desk,
) -> Option<Event> {
    let is_of_metric = |event: &Event| match change.metric {
        Metric::Rtt => matches!(event.class, EventClass::Latency | EventClass::Congestion),
        Metric::Ipdv => event.class == EventClass::Ipdv,
        Metric::Loss => event.class == EventClass::Loss,
    };
    let known = memory.beside.open.iter().position(is_of_metric);
    match (change.phase, known) {
        (Phase::Start, None) if change.to > change.from => {}
        (Phase::End, Some(index)) => {
            let event = memory.beside.open.remove(index);
            let lasting = change.onset[1] - change.onset[0] > ONSET_AT_MOST_S;
            let ending = if lasting { "new_normal" } else { "recovery" };
            return Some(ended(
                event,
                unix_ms(change.onset[1].min(change.at)),
                ending,
            ));
        }
        // A level that fell is good news and no event.
        (Phase::Start | Phase::Notify | Phase::End, _) => return None,
    }
    let class = match change.metric {
        Metric::Rtt if change.recurs => EventClass::Congestion,
        Metric::Rtt => EventClass::Latency,
        Metric::Ipdv => EventClass::Ipdv,
        Metric::Loss => EventClass::Loss,
    };
    let level = |value: f64| match change.metric {
        Metric::Rtt | Metric::Ipdv => format!("{value:.1} ms"),
        Metric::Loss => format!("{:.1} %", value * 100.0),
    };
    let (from, to) = (level(change.from), level(change.to));
    let mut reasons = vec![
        match change.metric {
            Metric::Rtt => "median RTT of 30 s above its level four times in a row",
            Metric::Ipdv => "median delay variation of 30 s above its level four times in a row",
            Metric::Loss => "loss of five minutes above its level four times in a row",
        }
        .to_owned(),
        "no move of the path was suspected or claimed meanwhile".to_owned(),
    ];
    if change.recurs {
        reasons.push("it came at this hour of the day on two of the six days before".to_owned());
    }
    let mut event = found(memory, class, change.onset, change.at, context);
    if change.metric == Metric::Rtt {
        event.before_rtt_us = micros(change.from);
        event.after_rtt_us = micros(change.to);
    }
    event.moved = words::rose(class, &from, &to);
    (event.from, event.to, event.reasons) = (Some(from), Some(to), reasons);
    event.text = words::sentence(&event);
    event.incident_id = Some(desk.incident_beside(&event));
    memory.beside.open.push(event.clone());
    Some(event)
}

fn reply(
    memory: &mut PathMemory,
    sample: &Sample,
    context: &Context,
    desk: &mut Desk,
) -> Option<Event> {
    let beside = &mut memory.beside;
    if beside.destination != sample.destination {
        beside.destination = sample.destination;
        beside.return_path = ReturnPath::default();
    }
    let at = seconds(sample.at_unix_ms);
    let (before, now, onset) = beside
        .return_path
        .on_reply(at, hops_of(sample.reply_ttl), false)?;
    let mut event = found(memory, EventClass::ReturnPathSuspected, onset, at, context);
    event.from = Some(format!("{before} hops"));
    event.to = Some(format!("{now} hops"));
    event.moved = format!("replies come over {now} hops, they came over {before}");
    event.reasons = vec![
        format!("two minutes of replies whose TTL tells of {now} hops"),
        "no move of the way there was suspected or claimed meanwhile".to_owned(),
        "the way back itself is not measured".to_owned(),
    ];
    event.text = words::sentence(&event);
    let mut event = ended(event, unix_ms(at), "noted");
    event.incident_id = Some(desk.incident_beside(&event));
    Some(event)
}

/// Hops that a reply came over, by its TTL: senders start at 64, 128 or 255.
const fn hops_of(ttl: u8) -> u8 {
    let start = match ttl {
        0..=64 => 64,
        65..=128 => 128,
        129..=255 => 255,
    };
    start - ttl
}

fn found(
    memory: &PathMemory,
    class: EventClass,
    onset: [f64; 2],
    at: f64,
    context: &Context,
) -> Event {
    let detected_unix_ms = unix_ms(at);
    let path = memory.latest.clone().unwrap_or_default();
    Event {
        event_id: tell::identity(context, class, detected_unix_ms),
        class,
        state: "open".to_owned(),
        agent_id: context.agent.to_string(),
        site_id: Some(context.site_id.clone()),
        site_name: context.site_name.clone(),
        country: context.country.clone(),
        provider_asn: memory.provider_asn,
        target: context.target.clone(),
        last_good_unix_ms: unix_ms(onset[0]),
        first_novel_unix_ms: unix_ms(onset[1]),
        detected_unix_ms,
        late: context.received_unix_ms - detected_unix_ms > tell::LATE_MS,
        before: path.clone(),
        after: path,
        ..Event::default()
    }
}

fn ended(mut event: Event, at_unix_ms: i64, ending: &str) -> Event {
    "closed".clone_into(&mut event.state);
    event.ended_unix_ms = Some(at_unix_ms.max(event.first_novel_unix_ms));
    event.ending = Some(ending.to_owned());
    event
}

fn micros(ms: f64) -> Option<u32> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what an RTT can be"
    )]
    let us = (ms * 1_000.0).round().clamp(0.0, f64::from(u32::MAX)) as u32;
    (us > 0).then_some(us)
}
