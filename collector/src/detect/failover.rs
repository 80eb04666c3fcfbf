//! Whether a path moved: learning, suspicion, three agreeing rounds, one event with an end.
//!
//! Invariants: at most one event of an (agent, target) is open; what is silent or unknown moves nothing; while a shift is
//! suspected or open the baseline does not learn. `docs/design/path-comparison.md` says why each number is what it is.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::PathMemory;
use super::baseline::{Baseline, Judgement, LAYERS, Layer};
use super::sentence::{self, Onset};
pub use super::{Context, Observation};
use crate::api::types::{Event, EventClass};
use crate::geo::Meaning;

/// Agreeing rounds in a row from which the baseline is learned.
pub const LEARNING_ROUNDS: u32 = 5;
/// Rounds after which the baseline is what was seen, agreeing or not: some paths never agree.
const LEARNING_ROUNDS_MAX: u32 = 20;
/// Agreeing rounds in a row that open an event.
pub const SHIFT_ROUNDS: u32 = 3;
/// Distinct sightings of response headers that a change seen only in headers needs: one answer is one answer.
const EDGE_SIGHTINGS: u32 = 2;
/// Rounds in a row on the old path that close an event: twice those that open one, or one move makes two events.
pub const BACK_ROUNDS: u32 = 2 * SHIFT_ROUNDS;
/// A new path that lasts so long is the usual one.
pub const ADOPTED_AFTER_MS: i64 = 24 * 60 * 60 * 1000;
/// Rounds that show too little for so long: nothing can be claimed.
pub const BLIND_AFTER_MS: i64 = 5 * 60 * 1000;
/// A path that moves again so soon after it was back is flapping: the same event goes on.
pub const FLAP_WINDOW_MS: i64 = 15 * 60 * 1000;
/// RTTs kept for "before" and "after".
const RTTS_KEPT: usize = 12;
/// Lines of evidence kept: the first ones tell of the move, the last ones of what came after.
const EVIDENCE_MAX: usize = 40;
/// A novel router in an unknown metro is another metro if the RTT moved at least so far, else the same one.
const OTHER_METRO_US: u32 = 2_000;

/// Rounds in a row that differ from the baseline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Suspicion {
    /// First of them.
    pub first_novel_unix_ms: i64,
    /// Newest round before them that did not differ.
    pub last_good_unix_ms: Option<i64>,
    /// The layers that differ.
    pub layers: BTreeMap<Layer, Agreement>,
    /// The values outside of the baseline.
    pub after: Baseline,
    /// RTTs of these rounds.
    pub rtts_us: Vec<u32>,
}

/// How many rounds in a row agree on one layer's new values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Agreement {
    /// Rounds.
    pub rounds: u32,
    /// Values seen in all or some of them.
    pub values: BTreeSet<String>,
    /// Distinct sightings of response headers.
    pub sightings: u32,
    /// Newest sighting of response headers.
    pub newest_sighting_unix_ms: Option<i64>,
}

/// Judgements of one round, by layer.
type Judgements = BTreeMap<Layer, Judgement>;

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

fn judge_all(baseline: &Baseline, observation: &Observation) -> Judgements {
    LAYERS
        .into_iter()
        .map(|layer| (layer, baseline.judge(layer, observation)))
        .collect()
}

fn learn(memory: &mut PathMemory, observation: &Observation) {
    memory.rounds_learning = memory.rounds_learning.saturating_add(1);
    let moved = judge_all(&memory.baseline, observation)
        .values()
        .any(|judged| matches!(judged, Judgement::Novel { .. }));
    let last_try = memory.rounds_learning >= LEARNING_ROUNDS_MAX;
    if moved && !last_try {
        memory.baseline = Baseline::default();
        memory.usual_rtts_us.clear();
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
        memory.last_good_unix_ms = Some(observation.at_unix_ms);
        memory.baseline.admit(observation);
        keep_rtt(&mut memory.usual_rtts_us, observation);
        return None;
    }
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

/// What an event's text needs beside the path.
struct Onlookers<'a> {
    context: &'a Context,
    meaning: &'a Meaning,
}

impl Suspicion {
    /// Novel layers count up, those that are back on the baseline drop out, silent ones stay as they are.
    fn take_in(&mut self, judged: &Judgements, observation: &Observation, usual: &Baseline) {
        let mut restart = false;
        for (layer, judgement) in judged {
            match judgement {
                Judgement::Unknown => {}
                Judgement::Same => {
                    self.layers.remove(layer);
                }
                Judgement::Novel { values, .. } => {
                    restart |= self
                        .layers
                        .entry(*layer)
                        .or_default()
                        .take_in(values, observation.edge_seen_unix_ms);
                }
            }
        }
        if restart {
            self.after = Baseline::default();
            self.rtts_us.clear();
        }
        self.after.admit_outside(observation, usual);
        keep_rtt(&mut self.rtts_us, observation);
    }

    fn confirmed(&self) -> BTreeSet<Layer> {
        let agreed = |(layer, agreement): &(&Layer, &Agreement)| {
            let seen = **layer != Layer::Edge || agreement.sightings >= EDGE_SIGHTINGS;
            agreement.rounds >= SHIFT_ROUNDS && seen
        };
        self.layers
            .iter()
            .filter(agreed)
            .map(|(layer, _)| *layer)
            .collect()
    }
}

impl Agreement {
    /// Counts a round; true if it disagrees with those before, so that counting starts again.
    fn take_in(&mut self, values: &BTreeSet<String>, sighting_unix_ms: Option<i64>) -> bool {
        let restart = self.rounds > 0 && self.values.is_disjoint(values);
        if restart {
            *self = Self::default();
        }
        self.rounds += 1;
        self.values.extend(values.iter().cloned());
        if sighting_unix_ms.is_some() && sighting_unix_ms != self.newest_sighting_unix_ms {
            self.sightings += 1;
            self.newest_sighting_unix_ms = sighting_unix_ms;
        }
        restart
    }
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
    memory.rounds_back = 0;
    memory.shifted_rtts_us.clone_from(&suspicion.rtts_us);
    memory.open = Some(event.clone());
    event
}

fn fresh_event(
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
    let onset = Onset {
        last_good_unix_ms,
        first_novel_unix_ms,
    };
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
        ended_unix_ms: None,
        ending: None,
        before,
        after,
        before_rtt_us,
        after_rtt_us,
        text: String::new(),
        evidence: Vec::new(),
    };
    event.text = sentence::text(&event, confirmed, onset, meaning);
    event.evidence = sentence::evidence(&event, judged, memory, observation, meaning);
    event
}

/// A flapping path is one event that counts its moves.
fn reopened(last: Event, fresh: &Event, openings: u32, observation: &Observation) -> Event {
    let mut event = Event {
        state: "open".to_owned(),
        ended_unix_ms: None,
        ending: None,
        ..last
    };
    event.class = higher(event.class, fresh.class);
    event.after.clone_from(&fresh.after);
    event.after_rtt_us = fresh.after_rtt_us;
    add_evidence(
        &mut event,
        sentence::flapping(openings, fresh.first_novel_unix_ms, observation.at_unix_ms),
    );
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
    let moved_on: Judgements = against_usual
        .into_iter()
        .filter(|(layer, usual)| is_further(*layer, usual, &against_after, &memory.after))
        .collect();
    let differs = memory.moved.iter().any(|layer| {
        matches!(
            memory.baseline.judge(*layer, observation),
            Judgement::Novel { .. }
        )
    });
    if differs || !moved_on.is_empty() {
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

/// Whether a layer shows what neither the old nor the new path has.
fn is_further(
    layer: Layer,
    usual: &Judgement,
    against_after: &Judgements,
    after: &Baseline,
) -> bool {
    let outside_after =
        !after.holds(layer) || matches!(against_after.get(&layer), Some(Judgement::Novel { .. }));
    matches!(usual, Judgement::Novel { .. }) && outside_after
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
    Some(event.clone())
}

/// After a day the new path is the usual one: it is learned afresh.
fn adopt(memory: &mut PathMemory, observation: &Observation) -> Option<Event> {
    let since = memory.open.as_ref()?.detected_unix_ms;
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

/// AS path first, then metro, then router. A router in an unknown metro is told by how far the RTT moved.
fn class_of(
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
        EventClass::AsPathShift
    } else if confirmed.contains(&Layer::Metro)
        || confirmed.contains(&Layer::Edge)
        || (metro_unknown && rtt_moved)
    {
        EventClass::GeoFailover
    } else {
        EventClass::LocalFailover
    }
}

fn higher(left: EventClass, right: EventClass) -> EventClass {
    let rank = |class| match class {
        EventClass::AsPathShift => 2,
        EventClass::GeoFailover => 1,
        EventClass::LocalFailover => 0,
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

fn add_evidence(event: &mut Event, line: String) {
    if event.evidence.len() >= EVIDENCE_MAX {
        event.evidence.remove(EVIDENCE_MAX / 2);
    }
    event.evidence.push(line);
}

fn keep_rtt(rtts_us: &mut Vec<u32>, observation: &Observation) {
    if let Some(rtt_us) = observation.rtt_us {
        if rtts_us.len() >= RTTS_KEPT {
            rtts_us.remove(0);
        }
        rtts_us.push(rtt_us);
    }
}

/// The lower median, `None` of nothing.
fn median(rtts_us: &[u32]) -> Option<u32> {
    let mut sorted = rtts_us.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}
