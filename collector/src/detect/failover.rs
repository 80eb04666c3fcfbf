//! Whether a path moved: learning, suspicion, three agreeing rounds, one event with an end.
//!
//! Invariants: at most one event of an (agent, target) is open; what is silent or unknown moves nothing; while a shift is
//! suspected or open the baseline does not learn. `docs/design/path-comparison.md` says why each number is what it is.

use std::collections::BTreeSet;

use super::baseline::{Baseline, Judgement, LAYERS, Layer};
use super::event::{
    Onlookers, add_evidence, class_of, fresh_event, higher, is_same_move, reopened,
};
use super::suspicion::{Judgements, Suspicion, judge_all, keep_rtt, median};
use super::{Context, Observation, PathMemory, sentence};
use crate::api::types::Event;
use crate::geo::Meaning;

/// Agreeing rounds in a row from which the baseline is learned.
pub const LEARNING_ROUNDS: u32 = 5;
/// Rounds after which the baseline is what was seen, agreeing or not: some paths never agree.
const LEARNING_ROUNDS_MAX: u32 = 20;
/// Agreeing rounds in a row that open an event.
pub const SHIFT_ROUNDS: u32 = 3;
/// Rounds in a row on the old path that close an event: twice those that open one, or one move makes two events.
pub const BACK_ROUNDS: u32 = 2 * SHIFT_ROUNDS;
/// A new path that lasts so long is the usual one.
pub const ADOPTED_AFTER_MS: i64 = 24 * 60 * 60 * 1000;
/// A path without a round for so long is given up: it may be back, or moved on, and nobody will tell.
const GIVEN_UP_AFTER_MS: i64 = 24 * 3_600_000;
/// Rounds that show too little for so long: nothing can be claimed.
pub const BLIND_AFTER_MS: i64 = 5 * 60 * 1000;
/// A path that moves again so soon after it was back is flapping: the same event goes on.
pub const FLAP_WINDOW_MS: i64 = 15 * 60 * 1000;

/// Takes in one round and returns the events that it opened, changed or closed.
///
/// Rounds have to come in order; one that is not newer than the newest seen is ignored, so taking a round in twice is harmless.
pub fn observe(
    memory: &mut PathMemory,
    observation: &Observation,
    context: &Context,
    meaning: &Meaning,
) -> Vec<Event> {
    if memory
        .newest_unix_ms
        .is_some_and(|newest| observation.at_unix_ms <= newest)
    {
        return Vec::new();
    }
    memory.newest_unix_ms = Some(observation.at_unix_ms);
    if !says_enough(observation) {
        memory
            .blind_since_unix_ms
            .get_or_insert(observation.at_unix_ms);
        return adopt(memory, observation).into_iter().collect();
    }
    memory.blind_since_unix_ms = None;
    memory.latest = Some(observation.projection.identity.clone());
    let observation = &without_stale_edge(observation, memory.edge_floor_unix_ms);
    if !memory.learned {
        learn(memory, observation);
        return Vec::new();
    }
    let event = if memory.open.is_some() {
        follow(memory, observation, meaning).or_else(|| adopt(memory, observation))
    } else {
        watch(memory, observation, context, meaning)
    };
    event.into_iter().collect()
}

/// Two flows have to say something, or the only one there is.
fn says_enough(observation: &Observation) -> bool {
    let flows = &observation.projection.flows;
    let speaking = flows
        .iter()
        .filter(|flow| flow.ingress.is_some() || !flow.as_path.is_empty())
        .count();
    speaking > 0 && speaking >= flows.len().min(2)
}

/// Headers that were seen while the path was away say nothing of a round after it came back.
fn without_stale_edge(observation: &Observation, floor_unix_ms: Option<i64>) -> Observation {
    let mut observation = observation.clone();
    let stale = observation
        .edge_seen_unix_ms
        .zip(floor_unix_ms)
        .is_some_and(|(seen, floor)| seen <= floor);
    if stale {
        observation.projection.identity.edge_metros.clear();
        observation.edge_seen_unix_ms = None;
    }
    observation
}

fn learn(memory: &mut PathMemory, observation: &Observation) {
    memory.rounds_learning = memory.rounds_learning.saturating_add(1);
    let last_try = memory.rounds_learning >= LEARNING_ROUNDS_MAX;
    let edge = memory.baseline.judge(Layer::Edge, observation);
    let another_edge = matches!(edge, Judgement::Novel { .. });
    if (memory.baseline.has_outside(observation) || another_edge) && !last_try {
        // The path may have moved while this round ran: it belongs to neither side.
        memory.baseline = Baseline::default();
        memory.usual_rtts_us.clear();
        return;
    }
    memory.baseline.admit(observation);
    keep_rtt(&mut memory.usual_rtts_us, observation);
    memory.last_good_unix_ms = Some(observation.at_unix_ms);
    memory.learned = memory.baseline.rounds >= LEARNING_ROUNDS || last_try;
}

/// A round while no event is open.
fn watch(
    memory: &mut PathMemory,
    observation: &Observation,
    context: &Context,
    meaning: &Meaning,
) -> Option<Event> {
    let judged = judge_all(&memory.baseline, observation);
    let last_good_unix_ms = memory.last_good_unix_ms;
    let suspicion = memory.suspicion.get_or_insert_with(|| Suspicion {
        first_novel_unix_ms: observation.at_unix_ms,
        last_good_unix_ms,
        ..Suspicion::default()
    });
    suspicion.take_in(&judged, observation, &memory.baseline);
    if suspicion.layers.is_empty() {
        memory.suspicion = None;
        if is_usual(&judged, &memory.baseline, observation) {
            memory.last_good_unix_ms = Some(observation.at_unix_ms);
            grow(memory, observation);
            keep_rtt(&mut memory.usual_rtts_us, observation);
        }
        return None;
    }
    memory.newcomer_rounds = 0;
    let confirmed = suspicion.confirmed();
    if confirmed.is_empty() {
        return None;
    }
    let suspicion = memory.suspicion.take()?;
    Some(open(
        memory,
        &suspicion,
        &confirmed,
        &judged,
        observation,
        &Onlookers { context, meaning },
    ))
}

/// Takes in a round on the usual path.
///
/// A few flows with other values may be new members of a balanced set, or the first flows of a path that moves while the
/// round runs: they join the baseline only if they keep coming beside the usual ones.
fn grow(memory: &mut PathMemory, observation: &Observation) {
    if !memory.baseline.knows_destination(observation.destination) {
        if !memory.baseline.has_far_outside(observation) {
            memory.baseline.admit(observation);
        }
        return;
    }
    memory.newcomer_rounds = if memory.baseline.has_outside(observation) {
        memory.newcomer_rounds.saturating_add(1)
    } else {
        0
    };
    if memory.newcomer_rounds >= LEARNING_ROUNDS {
        memory.baseline.admit(observation);
    } else {
        memory.baseline.admit_known(observation);
    }
}

/// Whether a round shows the usual path, rather than nothing that contradicts it: a black hole is no sign of the old path.
fn is_usual(judged: &Judgements, usual: &Baseline, observation: &Observation) -> bool {
    let same = |layer| judged.get(&layer) == Some(&Judgement::Same);
    let elsewhere = !usual.knows_destination(observation.destination) && !usual.holds(Layer::Metro);
    let ingress_says_nothing = !usual.holds(Layer::Router) || elsewhere;
    same(Layer::Router) || same(Layer::Metro) || (ingress_says_nothing && same(Layer::AsPath))
}

/// Opens an event, or the last one again if it closed a moment ago.
fn open(
    memory: &mut PathMemory,
    suspicion: &Suspicion,
    confirmed: &BTreeSet<Layer>,
    judged: &Judgements,
    observation: &Observation,
    onlookers: &Onlookers<'_>,
) -> Event {
    let fresh = fresh_event(memory, suspicion, confirmed, judged, observation, onlookers);
    let soon = |event: &Event| {
        event
            .ended_unix_ms
            .is_some_and(|ended| suspicion.first_novel_unix_ms - ended <= FLAP_WINDOW_MS)
            && is_same_move(event, &fresh)
    };
    let event = if let Some(last) = memory.recovered.take().filter(soon) {
        memory.openings = memory.openings.saturating_add(1);
        reopened(last, &fresh, memory.openings, observation)
    } else {
        memory.openings = 1;
        fresh
    };
    memory.after = suspicion.after.clone();
    memory.moved.clone_from(confirmed);
    if confirmed.iter().any(|layer| *layer != Layer::Edge) {
        memory.edge_floor_unix_ms = Some(observation.at_unix_ms);
    }
    memory.rounds_back = 0;
    memory.shifted_rtts_us.clone_from(&suspicion.rtts_us);
    memory.open = Some(event.clone());
    event
}

/// A round while an event is open.
fn follow(memory: &mut PathMemory, observation: &Observation, meaning: &Meaning) -> Option<Event> {
    let against_usual = judge_all(&memory.baseline, observation);
    let against_after = judge_all(&memory.after, observation);
    if is_back(&memory.moved, &against_usual, &against_after) {
        memory.suspicion = None;
        return back(memory, observation);
    }
    let novel = |layer: Layer| matches!(against_usual.get(&layer), Some(Judgement::Novel { .. }));
    let away = LAYERS.into_iter().any(novel);
    if LAYERS
        .into_iter()
        .any(|layer| layer != Layer::Edge && novel(layer))
    {
        memory.edge_floor_unix_ms = Some(observation.at_unix_ms);
    }
    let moved_on: Judgements = against_usual
        .into_iter()
        .filter(|(layer, usual)| is_further(*layer, usual, &against_after, memory))
        .collect();
    if away {
        memory.rounds_back = 0;
        memory.back_since_unix_ms = None;
        keep_rtt(&mut memory.shifted_rtts_us, observation);
    }
    chain(memory, &moved_on, &against_after, observation, meaning)
}

/// The old path is back if a layer that moved shows the old values and not the new ones, and none shows anything else.
fn is_back(
    moved: &BTreeSet<Layer>,
    against_usual: &Judgements,
    against_after: &Judgements,
) -> bool {
    let novel = against_usual
        .values()
        .any(|judged| matches!(judged, Judgement::Novel { .. }));
    let returned = moved.iter().any(|layer| {
        let usual = against_usual.get(layer) == Some(&Judgement::Same);
        usual && against_after.get(layer) != Some(&Judgement::Same)
    });
    returned && !novel
}

/// Whether a layer shows what neither the old nor the new path has, or moved later than the others.
fn is_further(
    layer: Layer,
    usual: &Judgement,
    against_after: &Judgements,
    memory: &PathMemory,
) -> bool {
    let outside_after = !memory.after.holds(layer)
        || matches!(against_after.get(&layer), Some(Judgement::Novel { .. }));
    matches!(usual, Judgement::Novel { .. }) && (outside_after || !memory.moved.contains(&layer))
}

fn back(memory: &mut PathMemory, observation: &Observation) -> Option<Event> {
    memory.rounds_back += 1;
    let since = *memory
        .back_since_unix_ms
        .get_or_insert(observation.at_unix_ms);
    memory.last_good_unix_ms = Some(observation.at_unix_ms);
    if memory.rounds_back < BACK_ROUNDS {
        return None;
    }
    let mut event = close(memory, observation.at_unix_ms, "recovered")?;
    add_evidence(&mut event, sentence::recovered(BACK_ROUNDS, since));
    memory.recovered = Some(event.clone());
    Some(event)
}

/// A further move while shifted belongs to the same event.
fn chain(
    memory: &mut PathMemory,
    moved_on: &Judgements,
    against_after: &Judgements,
    observation: &Observation,
    meaning: &Meaning,
) -> Option<Event> {
    if moved_on.is_empty() {
        let on_new_path = against_after
            .values()
            .any(|judged| *judged == Judgement::Same);
        memory.suspicion = memory.suspicion.take().filter(|_| !on_new_path);
        return None;
    }
    let first_novel_unix_ms = observation.at_unix_ms;
    let fresh = || Suspicion {
        first_novel_unix_ms,
        ..Suspicion::default()
    };
    let suspicion = memory.suspicion.get_or_insert_with(fresh);
    suspicion.take_in(moved_on, observation, &memory.baseline);
    let confirmed = suspicion.confirmed();
    if confirmed.is_empty() {
        return None;
    }
    let suspicion = memory.suspicion.take()?;
    let event = memory.open.as_mut()?;
    let after = observation.projection.identity.clone();
    let rtt_us = median(&suspicion.rtts_us);
    let class = class_of(
        &confirmed,
        &event.before.ingress_metros,
        &after.ingress_metros,
        event.before_rtt_us,
        rtt_us,
    );
    add_evidence(
        event,
        sentence::moved_on(&event.after, &after, suspicion.first_novel_unix_ms, meaning),
    );
    event.class = higher(event.class, class);
    event.after = after;
    event.after_rtt_us = rtt_us.or(event.after_rtt_us);
    memory.moved.extend(confirmed);
    memory.after = suspicion.after;
    event.text = sentence::text(event, &memory.moved, meaning);
    Some(event.clone())
}

/// After a day the new path is the usual one: it is learned afresh.
fn adopt(memory: &mut PathMemory, observation: &Observation) -> Option<Event> {
    let open = memory.open.as_ref()?;
    let since = open.reopened_unix_ms.unwrap_or(open.detected_unix_ms);
    if observation.at_unix_ms - since < ADOPTED_AFTER_MS {
        return None;
    }
    let mut event = close(memory, observation.at_unix_ms, "adopted")?;
    add_evidence(&mut event, sentence::adopted());
    *memory = PathMemory {
        latest: memory.latest.take(),
        newest_unix_ms: memory.newest_unix_ms,
        blind_since_unix_ms: memory.blind_since_unix_ms,
        ..PathMemory::default()
    };
    Some(event)
}

/// Ends an open event whose path nobody looked at for a day: the agent or the target went away. `None`: not yet.
pub fn give_up(memory: &mut PathMemory, event: Event, now_unix_ms: i64) -> Option<Event> {
    let newest_unix_ms = memory.newest_unix_ms.unwrap_or(event.detected_unix_ms);
    if now_unix_ms.saturating_sub(newest_unix_ms) < GIVEN_UP_AFTER_MS {
        return None;
    }
    memory.open = Some(event);
    let mut event = close(memory, now_unix_ms, "not_observed")?;
    add_evidence(&mut event, sentence::not_observed(newest_unix_ms));
    Some(event)
}

fn close(memory: &mut PathMemory, at_unix_ms: i64, ending: &str) -> Option<Event> {
    let open = memory.open.take()?;
    let ending = Some(ending.to_owned());
    let mut event = Event {
        state: "closed".to_owned(),
        ended_unix_ms: Some(at_unix_ms),
        ending,
        ..open
    };
    event.after_rtt_us = median(&memory.shifted_rtts_us).or(event.after_rtt_us);
    memory.suspicion = None;
    memory.after = Baseline::default();
    memory.moved = BTreeSet::new();
    memory.rounds_back = 0;
    memory.back_since_unix_ms = None;
    memory.shifted_rtts_us.clear();
    Some(event)
}
