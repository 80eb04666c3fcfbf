//! From the classifier's changes to events: each has one identity from its first moment to its last.

use firstmile_shift::level::Class;
use firstmile_shift::track::{Change, Ending, Phase, Status};
use uuid::Uuid;

use super::desk::{Desk, unix_ms};
use super::watch::Context;
use super::{PathMemory, cost, words};
use crate::api::types::{Event, EventClass, EventStatus, PathIdentity};
use crate::geo::Meaning;

/// Decided from rounds older than this, an event is recorded and never told as new.
pub(super) const LATE_MS: i64 = 10 * 60_000;
/// A path without a round for so long is given up: it may be back, or moved on, and nobody will tell.
const GIVEN_UP_AFTER_MS: i64 = 24 * 3_600_000;
/// RTTs after the move at which its cost is told anew.
const TOLD_AT: [usize; 3] = [8, 20, cost::KEPT];

/// Tells a change; `None`: there is nothing to tell of it.
pub(super) fn tell(
    memory: &mut PathMemory,
    change: &Change,
    seen: Option<&PathIdentity>,
    context: &Context,
    meaning: &Meaning,
    desk: &mut Desk,
) -> Option<Event> {
    match change.phase {
        Phase::Start => Some(start(memory, change, seen, context, meaning, desk)),
        Phase::Notify => {
            let event = open_of(memory, change)?;
            event.notified_unix_ms = Some(unix_ms(change.at));
            Some(event.clone())
        }
        Phase::End => {
            let mut event = open_of(memory, change)?.clone();
            memory.open.retain(|open| open.event_id != event.event_id);
            if event.incident_id.is_some() {
                desk.incident(memory.provider_asn, context.agent, &context.target, change);
            }
            event.brief = change.brief;
            let at = unix_ms(change.onset[1].min(change.at));
            close(memory, &mut event, at, ending(change.ending));
            event.reasons.extend(change.reasons.iter().cloned());
            Some(event)
        }
    }
}

fn open_of<'a>(memory: &'a mut PathMemory, change: &Change) -> Option<&'a mut Event> {
    let class = EventClass::from(change.class);
    let started = unix_ms(change.started);
    memory.open.iter_mut().find(|event| match change.status {
        Status::Event => event.class == class && event.detected_unix_ms == started,
        Status::Possible => event.class == class && event.status == EventStatus::Possible,
    })
}

fn start(
    memory: &mut PathMemory,
    change: &Change,
    seen: Option<&PathIdentity>,
    context: &Context,
    meaning: &Meaning,
    desk: &mut Desk,
) -> Event {
    let class = EventClass::from(change.class);
    let claimed = change.status == Status::Event;
    let before = memory.usual.identity();
    let (from, to) = (
        change.from.as_ref().map(ToString::to_string),
        change.to.as_ref().map(ToString::to_string),
    );
    // What was only possible becomes sure: the same event, by whatever class it is known now.
    let grown = memory.open.iter().position(|open| {
        claimed && open.status == EventStatus::Possible && is_same_track(open.class, class)
    });
    let event_id = match grown.map(|index| memory.open.remove(index)) {
        Some(possible) => possible.event_id,
        None => identity(context, class, unix_ms(change.started)),
    };
    let detected_unix_ms = unix_ms(change.at);
    let mut event = Event {
        event_id,
        class,
        status: if claimed {
            EventStatus::Event
        } else {
            EventStatus::Possible
        },
        state: "open".to_owned(),
        agent_id: context.agent.to_string(),
        site_id: Some(context.site_id.clone()),
        site_name: context.site_name.clone(),
        country: context.country.clone(),
        provider_asn: memory.provider_asn,
        target: context.target.clone(),
        moved: words::moved(
            change.class,
            from.as_deref(),
            to.as_deref(),
            &before,
            meaning,
        ),
        from,
        to,
        last_good_unix_ms: unix_ms(change.onset[0]),
        first_novel_unix_ms: unix_ms(change.onset[1]),
        detected_unix_ms,
        confidence: Some((change.confidence * 1_000.0).round() / 1_000.0),
        observability: Some(memory.observability()),
        late: context.received_unix_ms - detected_unix_ms > LATE_MS,
        incident_id: claimed
            .then(|| desk.incident(memory.provider_asn, context.agent, &context.target, change)),
        before,
        after: seen.cloned().unwrap_or_default(),
        before_rtt_us: cost::median(&memory.usual_us),
        reasons: change.reasons.clone(),
        ..Event::default()
    };
    price(memory, &mut event);
    event.text = words::sentence(&event);
    memory.open.push(event.clone());
    event
}

/// Lost redundancy has a track of its own, as have reachability and the edge; they are never told as possible, or as themselves.
fn is_same_track(possible: EventClass, now: EventClass) -> bool {
    (possible == EventClass::RedundancyLost) == (now == EventClass::RedundancyLost)
        && !matches!(
            now,
            EventClass::Unreachable | EventClass::FrontDoorMoved | EventClass::Flapping
        )
}

fn price(memory: &PathMemory, event: &mut Event) {
    event.after_rtt_us = cost::median(&memory.away_us);
    event.rtt_cost = match event.class.of_path() {
        // Nothing answers.
        None | Some(Class::Unreachable | Class::Flapping) => None,
        Some(
            Class::Uplink
            | Class::Provider
            | Class::Geo
            | Class::PartialGeo
            | Class::Local
            | Class::RedundancyLost
            | Class::FrontDoorMoved,
        ) => cost::cost(&memory.usual_us, &memory.away_us),
    };
}

/// What an RTT after the move changes of the open events: their cost, now and then.
pub(super) fn reprice(memory: &mut PathMemory) -> Vec<Event> {
    if !TOLD_AT.contains(&memory.away_us.len()) || memory.away_us.len() == memory.priced_at {
        return Vec::new();
    }
    memory.priced_at = memory.away_us.len();
    let mut open = std::mem::take(&mut memory.open);
    for event in &mut open {
        price(memory, event);
        event.text = words::sentence(event);
    }
    memory.open.clone_from(&open);
    open
}

/// What a round after the move adds to the open events: the whole path as it is now, and how often it moved.
pub(super) fn follow(memory: &mut PathMemory, seen: &PathIdentity) -> Vec<Event> {
    let flanks = memory.shift.flanks().map_or(0, u32::from);
    let edge_unix_ms = memory.edge_unix_ms;
    let mut changed = Vec::new();
    for event in &mut memory.open {
        let before = event.clone();
        if event.class == EventClass::Flapping {
            event.reopenings = flanks.max(event.reopenings);
        }
        if event.after.as_path.is_empty() {
            event.after.as_path.clone_from(&seen.as_path);
        }
        // Headers are looked at each few minutes: what the first round had may have been seen before the move.
        let as_before = event.after.edge_metros.is_empty()
            || event.after.edge_metros == event.before.edge_metros;
        let seen_since = edge_unix_ms >= event.first_novel_unix_ms && !seen.edge_metros.is_empty();
        if as_before && seen_since {
            event.after.edge_metros.clone_from(&seen.edge_metros);
        }
        if *event != before {
            changed.push(event.clone());
        }
    }
    changed
}

/// Ends what the classifier knows nothing of any more: it was swallowed while the path flapped.
pub(super) fn settle(memory: &mut PathMemory, at_unix_ms: i64) -> Vec<Event> {
    if memory.open.is_empty() || !memory.shift.is_quiet() || memory.shift.flanks().is_some() {
        return Vec::new();
    }
    let open = std::mem::take(&mut memory.open);
    let end = |mut event: Event| {
        let ending = match event.status {
            EventStatus::Event => Ending::Recovery,
            EventStatus::Possible => Ending::Unconfirmed,
        };
        close(memory, &mut event, at_unix_ms, self::ending(Some(ending)));
        event
    };
    open.into_iter().map(end).collect()
}

/// Better packets can be had: what was learnt of the others, and claimed by them, is of no use any more.
pub(super) fn abandon(memory: &mut PathMemory, at_unix_ms: i64) -> Vec<Event> {
    let open = std::mem::take(&mut memory.open);
    let end = |mut event: Event| {
        close(memory, &mut event, at_unix_ms, "not_observed");
        event
    };
    let mut ended: Vec<Event> = open.into_iter().map(end).collect();
    ended.extend(memory.beside.end_all(at_unix_ms, "not_observed"));
    *memory = PathMemory::default();
    ended
}

fn close(memory: &PathMemory, event: &mut Event, at_unix_ms: i64, ending: &str) {
    price(memory, event);
    "closed".clone_into(&mut event.state);
    event.ended_unix_ms = Some(at_unix_ms.max(event.first_novel_unix_ms));
    event.ending = Some(ending.to_owned());
    event.text = words::sentence(event);
}

const fn ending(ending: Option<Ending>) -> &'static str {
    match ending {
        Some(Ending::NewNormal) => "new_normal",
        Some(Ending::Unconfirmed) => "unconfirmed",
        Some(Ending::Recovery) | None => "recovery",
    }
}

/// Ends an open event whose path nobody looked at for a day: the agent or the target went away. `None`: not yet.
pub fn give_up(newest_unix_ms: Option<i64>, event: &Event, now_unix_ms: i64) -> Option<Event> {
    let newest_unix_ms = newest_unix_ms.unwrap_or(event.detected_unix_ms);
    if now_unix_ms.saturating_sub(newest_unix_ms) < GIVEN_UP_AFTER_MS {
        return None;
    }
    let mut event = event.clone();
    "closed".clone_into(&mut event.state);
    event.ended_unix_ms = Some(now_unix_ms);
    event.ending = Some("not_observed".to_owned());
    event.reasons.push(words::not_observed(newest_unix_ms));
    Some(event)
}

/// The same event has the same identity whichever collector finds it (RFC 9562 §5.5).
pub(super) fn identity(context: &Context, class: EventClass, at_unix_ms: i64) -> String {
    let Context {
        organisation,
        agent,
        target,
        ..
    } = context;
    let name = format!(
        "firstmile/event/{organisation}/{agent}/{target}/{}/{at_unix_ms}",
        class.as_str(),
    );
    Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string()
}
