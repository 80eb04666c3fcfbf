//! A router that carried a share of the flows carries none: is it gone, or did the hash merely change?
//!
//! Pinned flows are not drawn anew each round, so rounds prove nothing; flows do, once each time they may have been
//! drawn anew (ADR 0003). If the router were alive and the flows were spread afresh, all of them would miss it with the
//! probability (1-p)^n. That is the look's p-value; the j-th look within a day is allowed α/(j(j+1)).

use crate::book::Role;
use crate::confidence::{self, Kind};
use crate::hop::Meaning;
use crate::level::Class;
use crate::memory::{FlowMemory, PathMemory};
use crate::message::Plan;
use crate::number::real;
use crate::track::{Change, Ending, Open, Phase, Status, Suspicion, Value};

/// A flow is pinned to a router if it is seen there so steadily.
const PINNED: f32 = 0.8;
/// False alarms in a day that are allowed, all looks together.
const ALPHA: f64 = 0.01;
/// What it adds that flows stayed where they were on other layers, in nats: a factor of two.
const STAYED: f64 = 0.7;
/// What each flow that left adds against their having left one by one, in nats.
const ALONE: f64 = 2.7;
/// The same where no other layer shows that flows stayed.
const ALONE_UNSEEN: f64 = 2.4;
/// The same where several left between two rounds, while all other flows stayed on every layer.
const ALONE_AT_ONCE: f64 = 3.6;
/// Flows that left within this time left at once, seconds: a round may lose an answer.
const AT_ONCE_S: f64 = 45.0;
/// What each flow takes away that changed places elsewhere: that is what a fresh hash does.
const SHUFFLED: f64 = 1.5;
/// Looks are forgotten after a day, seconds.
const LOOK_LIFE_S: f64 = 86_400.0;
/// Looks kept.
const LOOKS_MAX: usize = 8;
/// Rounds that have to agree.
const AGREEING: u8 = 3;
/// A suspicion that found no more flows by then is a remap, seconds.
const PATIENCE_S: f64 = 1_800.0;
/// And by so many tail rounds of a thin plan.
const PATIENCE_ROUNDS: f64 = 12.0;
/// Layers of [`FlowMemory::usual`] that are watched: ingress, handoff.
const LAYERS: [(usize, Role); 2] = [(0, Role::Ingress), (1, Role::Handoff)];

/// What the flows say of one router.
struct Look {
    key: u32,
    layer: usize,
    last_good: f64,
    first_novel: f64,
    evidence: f64,
    share: f64,
    gone: usize,
}

/// Takes a usual round in.
pub(crate) fn on_round(
    memory: &mut PathMemory,
    at: f64,
    extra: &[(u32, u32)],
    plan: &Plan,
    meaning: &impl Meaning,
) -> Vec<Change> {
    memory.looks.retain(|look| at - look <= LOOK_LIFE_S);
    if memory.spare.open.is_some() {
        return follow(memory, at, extra).into_iter().collect();
    }
    let look = if memory.spare.suspicion.is_some() {
        let (key, layer) = (memory.spare_key, usize::from(memory.spare_layer));
        look_at(memory, key, layer, extra)
    } else {
        first_look(memory, extra)
    };
    match look {
        None => memory.spare.drop_suspicion(at).into_iter().collect(),
        Some(look) => weigh(memory, &look, at, plan, meaning),
    }
}

fn first_look(memory: &mut PathMemory, extra: &[(u32, u32)]) -> Option<Look> {
    let candidates: Vec<(u32, usize)> = LAYERS
        .iter()
        .flat_map(|(layer, _)| memory.flows.iter().map(move |flow| (flow, *layer)))
        .filter(|(flow, layer)| is_pinned(flow, *layer) && moved(flow, *layer))
        .filter_map(|(flow, layer)| Some((*flow.usual.get(layer)?, layer)))
        .collect();
    candidates
        .into_iter()
        .find_map(|(key, layer)| look_at(memory, key, layer, extra))
}

fn is_pinned(flow: &FlowMemory, layer: usize) -> bool {
    let steady = flow.hold.get(layer).is_some_and(|hold| *hold >= PINNED);
    steady && flow.usual.get(layer).is_some_and(|key| *key != 0)
}

fn moved(flow: &FlowMemory, layer: usize) -> bool {
    flow.moved_at.get(layer).is_some_and(|at| *at > 0.0)
}

/// Looks at one router: `None` unless every flow that was pinned to it was seen elsewhere, and nobody sees it.
fn look_at(memory: &PathMemory, key: u32, layer: usize, extra: &[(u32, u32)]) -> Option<Look> {
    let of = |flow: &FlowMemory| flow.usual.get(layer) == Some(&key);
    let known: Vec<&FlowMemory> = memory
        .flows
        .iter()
        .filter(|flow| is_pinned(flow, layer))
        .collect();
    let gone: Vec<&&FlowMemory> = known.iter().filter(|flow| of(flow)).collect();
    let there = |flow: &FlowMemory| flow.now.get(layer) == Some(&key);
    let extra_there = extra
        .iter()
        .any(|seen| key == if layer == 0 { seen.0 } else { seen.1 });
    if gone.is_empty() || extra_there || known.len() < 2 || gone.len() == known.len() {
        return None;
    }
    if memory.flows.iter().any(there) || !gone.iter().all(|flow| moved(flow, layer)) {
        return None;
    }
    if gone
        .iter()
        .any(|flow| changed_sides(memory, flow, key, layer))
    {
        return None;
    }
    // What moved before the router did is the reason: a provider's own balancing in front of it.
    let cause = gone
        .iter()
        .filter(|flow| upstream_moved(flow, layer))
        .count();
    let alias_possible = layer > 0 && !memory.book.is_resolved(key);
    if cause * 2 > gone.len() || (alias_possible && cause > 0) {
        return None; // a router answers from the interface that its neighbour reaches it by
    }
    let role = LAYERS.iter().find(|(index, _)| *index == layer)?.1;
    let members = memory.book.members(role).max(2);
    let share = 1.0 / real(members);
    let of_layer = |seen: &&(u32, u32)| 0 != if layer == 0 { seen.0 } else { seen.1 };
    let fresh = extra.iter().filter(of_layer).count();
    let draw = -(1.0 - share).ln();
    let beside = elsewhere(memory, layer);
    let respread =
        draw * real(known.len() + fresh) + of_the_others(&known, key, layer, members) + beside;
    // Or each of them moved for a reason of its own, and the router is well.
    let alone = match beside > 0.0 {
        true if at_once(&gone, layer) => ALONE_AT_ONCE,
        true => ALONE,
        false => ALONE_UNSEEN,
    };
    let by_themselves = alone * real(gone.len()) + draw * real(fresh);
    let mut evidence = respread.min(by_themselves);
    let at = |pick: fn(&FlowMemory) -> &[f64; 2]| {
        let values = gone
            .iter()
            .filter_map(move |flow| pick(flow).get(layer).copied());
        values.collect::<Vec<f64>>()
    };
    let last_good = at(|flow| &flow.usual_at).into_iter().fold(0.0, f64::max);
    let first_novel = at(|flow| &flow.moved_at)
        .into_iter()
        .fold(f64::MAX, f64::min);
    if memory.public_moved_at >= last_good.min(first_novel) {
        evidence = draw * real(fresh); // the NAT spread all flows afresh: only flows drawn since then prove anything
    }
    Some(Look {
        key,
        layer,
        last_good: last_good.min(first_novel),
        first_novel: first_novel.max(last_good),
        evidence,
        share,
        gone: gone.len(),
    })
}

fn at_once(gone: &[&&FlowMemory], layer: usize) -> bool {
    let moved = gone
        .iter()
        .filter_map(|flow| flow.moved_at.get(layer).copied());
    let (first, last) = moved.fold((f64::MAX, 0.0_f64), |(first, last), at| {
        (first.min(at), last.max(at))
    });
    gone.len() > 1 && last - first <= AT_ONCE_S
}

/// Whether a flow went to another metro: flows of an anycast split change sides.
fn changed_sides(memory: &PathMemory, flow: &FlowMemory, key: u32, layer: usize) -> bool {
    let place = |key: u32| memory.book.metro_of(key);
    let now = flow.now.get(layer).and_then(|key| place(*key));
    place(key).zip(now).is_some_and(|(old, new)| old != new)
}

/// Flows of the other routers: drawn afresh they would have changed places among those, unless there is only one.
fn of_the_others(known: &[&FlowMemory], key: u32, layer: usize, members: usize) -> f64 {
    let others = known
        .iter()
        .filter(|flow| flow.usual.get(layer) != Some(&key));
    let (mut stayed, mut shuffled) = (0, 0);
    for flow in others {
        if moved(flow, layer) {
            shuffled += 1;
        } else {
            stayed += 1;
        }
    }
    real(stayed) * (real(members) - 1.0).max(1.0).ln() - SHUFFLED * real(shuffled)
}

/// The layers before this one: a NAT that spreads flows afresh moves them there too. That they stayed says little: the hash
/// of one router alone may have changed.
fn elsewhere(memory: &PathMemory, layer: usize) -> f64 {
    let (mut diverse, mut shuffled) = (false, 0);
    for other in [1, 2].into_iter().filter(|other| *other > layer) {
        let usual = |flow: &FlowMemory| flow.usual.get(other).copied().unwrap_or_default();
        let first = memory.flows.first().map(usual).unwrap_or_default();
        let differs = |flow: &FlowMemory| usual(flow) != first && usual(flow) != 0;
        diverse |= memory.flows.iter().any(differs);
        let now = |flow: &FlowMemory| flow.now.get(other).copied().unwrap_or_default();
        let moved =
            |flow: &&FlowMemory| usual(flow) != 0 && now(flow) != 0 && now(flow) != usual(flow);
        shuffled += memory.flows.iter().filter(moved).count();
    }
    match shuffled {
        0 if diverse => STAYED,
        0 => 0.0,
        some => -SHUFFLED * real(some),
    }
}

/// Whether the hop before this layer's moved at the same time, or could have: a router's other interface answers for
/// another hop before it.
fn upstream_moved(flow: &FlowMemory, layer: usize) -> bool {
    if layer == 0 {
        return false; // the handoff is judged on its own; one that moved too does not clear the ingress
    }
    !is_pinned(flow, 2) || flow.usual.get(2) != flow.now.get(2)
}

fn weigh(
    memory: &mut PathMemory,
    look: &Look,
    at: f64,
    plan: &Plan,
    meaning: &impl Meaning,
) -> Vec<Change> {
    let fresh = memory.spare.suspicion.is_none();
    let looks = real(memory.looks.len() + usize::from(fresh)).max(1.0);
    let needed = (looks * (looks + 1.0) / ALPHA).ln();
    let sum = look.evidence - needed + 2.5;
    let confidence = confidence::calibrated(Kind::Lost, sum);
    memory.spare_key = look.key;
    memory.spare_layer = u8::try_from(look.layer).unwrap_or_default();
    let from = name_of(memory, look, meaning).map(Value::Name);
    let suspicion = memory.spare.suspicion.get_or_insert_with(|| {
        Box::new(Suspicion {
            last_good: look.last_good,
            first_novel: look.first_novel,
            ..Suspicion::default()
        })
    });
    suspicion.agreeing = suspicion.agreeing.saturating_add(1);
    suspicion.claim = Some((Class::RedundancyLost, from.clone(), None));
    let (agreeing, first, told) = (suspicion.agreeing, suspicion.first_novel, suspicion.told);
    let onset = suspicion.onset();
    if fresh {
        memory.looks.push(at);
        if memory.looks.len() > LOOKS_MAX {
            memory.looks.remove(0);
        }
    }
    let mature = agreeing >= AGREEING && at - first >= 1.7 * plan.burst_s;
    let open = opened(from, onset, at, confidence);
    let mut change = open.change(Phase::Start, at);
    change.reasons = vec![
        format!(
            "{} flows were pinned to it and all of them are elsewhere",
            look.gone
        ),
        format!(
            "evidence {:.1} nats at a share of {:.2}, needed {needed:.1} at look {looks:.0} of the day",
            look.evidence, look.share
        ),
    ];
    // An ingress known by an address alone may answer from another one now.
    let nameless = look.layer == 0 && !is_surely_another(memory, look);
    if mature && confidence >= confidence::EVENT && !nameless {
        memory.spare.suspicion = None;
        memory.spare.open = Some(Box::new(open));
        return vec![change];
    }
    if at - first > PATIENCE_S.max(plan.tail_s * PATIENCE_ROUNDS) {
        memory.tally.remaps += 1;
        accept(memory, look.layer);
        return memory.spare.drop_suspicion(at).into_iter().collect();
    }
    if mature && confidence >= confidence::POSSIBLE && told.is_none() {
        if let Some(suspicion) = &mut memory.spare.suspicion {
            suspicion.told = Some((Class::RedundancyLost, number(confidence)));
        }
        change.status = Status::Possible;
        change.started = first;
        return vec![change];
    }
    Vec::new()
}

/// Whether the router, or each one that its flows are on now, is known by name or alias set: a name covers a router's addresses.
fn is_surely_another(memory: &PathMemory, look: &Look) -> bool {
    let book = &memory.book;
    let left = |flow: &&FlowMemory| flow.usual.first() == Some(&look.key);
    let named = |flow: &FlowMemory| flow.now.first().is_some_and(|key| book.is_resolved(*key));
    book.is_resolved(look.key) || memory.flows.iter().filter(left).all(named)
}

fn opened(from: Option<Value>, onset: [f64; 2], at: f64, confidence: f64) -> Open {
    Open {
        class: Class::RedundancyLost,
        from,
        to: None,
        onset,
        flows: u32::MAX,
        started: at,
        confidence: number(confidence),
        upstream: false,
        back: 0,
        first_back: at,
        last_away: at,
        notified: false,
        muted: false,
    }
}

/// The path was adopted as it is: no flow left a router for a reason that is still to be found.
pub(crate) fn accept_all(memory: &mut PathMemory) {
    for verdict in &memory.window {
        if let Some(flow) = memory
            .flows
            .iter_mut()
            .find(|flow| flow.flow == verdict.flow)
        {
            for (now, key) in flow
                .now
                .iter_mut()
                .zip([verdict.router_key, verdict.handoff_key])
            {
                if key != 0 {
                    *now = key;
                }
            }
        }
    }
    for (layer, _) in LAYERS {
        accept(memory, layer);
    }
}

/// The flows are where they are now: that is usual.
fn accept(memory: &mut PathMemory, layer: usize) {
    for flow in &mut memory.flows {
        let now = flow.now.get(layer).copied().unwrap_or_default();
        if let (Some(usual), Some(moved_at)) =
            (flow.usual.get_mut(layer), flow.moved_at.get_mut(layer))
        {
            if now != 0 {
                *usual = now;
            }
            *moved_at = 0.0;
        }
    }
}

fn name_of(memory: &PathMemory, look: &Look, meaning: &impl Meaning) -> Option<String> {
    let role = LAYERS.iter().find(|(layer, _)| *layer == look.layer)?.1;
    let address = memory.book.usual(role, |router, _| router == look.key)?;
    Some(meaning.router_name(address))
}

/// The router comes back with the first flow that meets it; a few rounds of it end the event.
fn follow(memory: &mut PathMemory, at: f64, extra: &[(u32, u32)]) -> Option<Change> {
    let (key, layer) = (memory.spare_key, usize::from(memory.spare_layer));
    let there = memory
        .flows
        .iter()
        .any(|flow| flow.now.get(layer) == Some(&key))
        || extra
            .iter()
            .any(|seen| key == if layer == 0 { seen.0 } else { seen.1 });
    let open = memory.spare.open.as_mut()?;
    if !there {
        open.away(at);
        return None;
    }
    if !open.returned(at, AGREEING * 2) {
        return None;
    }
    let open = memory.spare.open.take()?;
    Some(open.over(at, Ending::Recovery))
}

fn number(confidence: f64) -> f32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a share between 0 and 1 loses only digits"
    )]
    let confidence = confidence as f32;
    confidence
}
