//! The front door moved: headers name an edge in another metro while the ingress stays.

use crate::hop::Meaning;
use crate::level::{Class, OTHER_METRO_MS};
use crate::memory::PathMemory;
use crate::observer::Sight;
use crate::track::{Change, Ending, Open, Phase, Suspicion, Value};
use crate::verdict::{Mark, Verdict};

/// Rounds that have to agree, and twice as many to end it.
const AGREEING: u8 = 3;
/// Headers lag behind the path: for this long after an event on the path they may still tell of it, seconds.
const LAG_S: f64 = 900.0;

/// What another edge means: the front door moved if the ingress stays; if no hop near the ingress ever answers, the edge is
/// all that tells of the ingress metro.
fn class_of(memory: &PathMemory, verdicts: &[Verdict]) -> Option<Class> {
    let any = |wanted: fn(&Verdict) -> bool| verdicts.iter().any(wanted);
    if any(|verdict| verdict.metro == Mark::Novel) {
        return None;
    }
    if any(|verdict| verdict.router == Mark::Usual) {
        return Some(Class::FrontDoorMoved);
    }
    let [_, geo, local] = memory.grades();
    let says = any(|verdict| verdict.router != Mark::Silent || verdict.metro != Mark::Silent);
    (geo == 'D' && local == 'D' && !says).then_some(Class::Geo)
}

/// Whether the baseline has an edge in this metro.
pub(crate) fn is_novel(memory: &PathMemory, metro: &str) -> bool {
    let total: f32 = memory.edges.iter().map(|edge| edge.count).sum();
    // Flows of a split that were seen to enter there are answered there.
    let enters_there = memory.book.knows_metro(crate::hop::place_key(metro));
    total >= 3.0
        && !enters_there
        && !memory
            .edges
            .iter()
            .any(|edge| edge.value == metro && edge.count >= (total * 0.01).max(2.0))
}

/// The metro that most headers named.
pub(crate) fn usual(memory: &PathMemory) -> Option<String> {
    let most = memory
        .edges
        .iter()
        .max_by(|one, other| one.count.total_cmp(&other.count));
    most.map(|edge| edge.value.clone())
}

/// Takes the edge of a round in.
pub(crate) fn on_round(memory: &mut PathMemory, sight: &Sight<'_, impl Meaning>) -> Option<Change> {
    let metro = sight.edge_metro?;
    let novel = is_novel(memory, metro);
    if memory.path.open.is_some() {
        memory.edge_floor = sight.at;
    }
    if let Some(open) = &mut memory.edge.open {
        if novel {
            open.away(sight.at);
            return None;
        }
        if !open.returned(sight.at, AGREEING * 2) {
            return None;
        }
        let open = memory.edge.open.take()?;
        return Some(open.over(sight.at, Ending::Recovery));
    }
    if !novel {
        memory.edge.suspicion = None;
        memory.good.edge = sight.at;
        return None;
    }
    let quiet = memory.path.is_quiet() && memory.reach.is_quiet();
    let class =
        class_of(memory, sight.verdicts).filter(|_| quiet && sight.at - memory.edge_floor >= LAG_S);
    let Some(class) = class else {
        memory.edge.suspicion = None;
        return None;
    };
    let from = usual(memory).map(Value::Name);
    let last_good = memory.good.edge;
    let suspicion = memory.edge.suspicion.get_or_insert(Box::new(Suspicion {
        last_good,
        first_novel: sight.at,
        ..Suspicion::default()
    }));
    suspicion.agreeing += 1;
    let early = suspicion.agreeing < AGREEING
        || sight.at - suspicion.first_novel < 1.7 * sight.plan.burst_s;
    let moved_ms = memory.pulses.moved_ms();
    let nearby = moved_ms.is_none_or(|moved| moved.abs() < OTHER_METRO_MS);
    if early || (class == Class::Geo && nearby) {
        return None;
    }
    let open = Open {
        class,
        from,
        to: Some(Value::Name(metro.to_owned())),
        onset: suspicion.onset(),
        flows: u32::MAX,
        started: sight.at,
        confidence: if class == Class::Geo { 0.92 } else { 0.97 },
        upstream: false,
        back: 0,
        first_back: sight.at,
        last_away: sight.at,
        notified: false,
        muted: false,
    };
    let mut change = open.change(Phase::Start, sight.at);
    change.reasons = vec![
        format!("headers of {AGREEING} rounds name an edge in {metro}"),
        match moved_ms.filter(|_| class == Class::Geo) {
            Some(moved) => format!("no hop near the ingress answers; RTT moved {moved:+.1} ms"),
            None => "the ingress is the usual one".to_owned(),
        },
    ];
    memory.edge.suspicion = None;
    memory.edge.open = Some(Box::new(open));
    Some(change)
}
