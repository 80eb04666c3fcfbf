//! A router that carried a share of the flows carries none: is it gone, or did the hash merely change?
//!
//! Pinned flows are not drawn anew each round, so rounds prove nothing; flows do, once each time they may have been
//! drawn anew (ADR 0003). If the router were alive and the flows were spread afresh, all of them would miss it with the
//! probability (1-p)^n. That is the look's p-value; the j-th look within a day is allowed α/(j(j+1)). The refresh that
//! follows an event draws more flows: while it may still come, α is a tenth.

use crate::book::Role;
use crate::confidence::{self, Kind};
use crate::flows::Extra;
use crate::hop::Meaning;
use crate::level::Class;
use crate::memory::{Drawn, FlowMemory, PathMemory};
use crate::message::Plan;
use crate::number::real;
use crate::track::{Change, Ending, Open, Phase, Status, Suspicion, Value};

/// A flow is pinned to a router if it is seen there so steadily.
const PINNED: f32 = 0.8;
/// False alarms in a day that are allowed, all looks together, of an agent that does not refresh after an event.
const ALPHA: f64 = 0.01;
/// Of one that does, or still may: fresh hashes alone are to cause less than one false alarm in a thousand days.
const ALPHA_REFRESHED: f64 = 0.001;
/// A refresh that follows an event has come by then, seconds after its onset.
const REFRESH_WAIT_S: f64 = 150.0;
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
    /// Against flows that were all spread afresh, in nats.
    respread: f64,
    /// Against flows that left one by one, in nats.
    by_themselves: f64,
    drawn: Drawn,
    share: f64,
    gone: usize,
}

/// Takes a usual round in.
pub(crate) fn on_round(
    memory: &mut PathMemory,
    at: f64,
    extra: &[Extra],
    plan: &Plan,
    meaning: &impl Meaning,
) -> Vec<Change> {
    memory.looks.retain(|look| at - look <= LOOK_LIFE_S);
    if memory.spare.open.is_some() {
        return follow(memory, at, extra).into_iter().collect();
    }
    let changes = look_on(memory, at, extra, plan, meaning);
    if memory.spare.is_quiet() {
        memory.drawn = Drawn::default();
        memory.note_extras(extra, at);
    }
    changes
}

fn look_on(
    memory: &mut PathMemory,
    at: f64,
    extra: &[Extra],
    plan: &Plan,
    meaning: &impl Meaning,
) -> Vec<Change> {
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

fn first_look(memory: &PathMemory, extra: &[Extra]) -> Option<Look> {
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
fn look_at(memory: &PathMemory, key: u32, layer: usize, extra: &[Extra]) -> Option<Look> {
    let of = |flow: &FlowMemory| flow.usual.get(layer) == Some(&key);
    let known: Vec<&FlowMemory> = memory
        .flows
        .iter()
        .filter(|flow| is_pinned(flow, layer))
        .collect();
    let gone: Vec<&&FlowMemory> = known.iter().filter(|flow| of(flow)).collect();
    let there = |flow: &FlowMemory| flow.now.get(layer) == Some(&key);
    let extra_there = extra.iter().any(|seen| seen.at(layer) == key);
    if gone.is_empty() || extra_there || known.len() < 2 || gone.len() == known.len() {
        return None;
    }
    if memory.flows.iter().any(there) || !gone.iter().all(|flow| moved(flow, layer)) {
        return None;
    }
    // Where no sibling carries on the path is another one, or all flows were spread afresh.
    let all_left = known.len() > 2 && known.iter().all(|flow| moved(flow, layer));
    if all_left || gone.iter().any(|flow| changed_sides(memory, flow)) {
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
    let drawn = drawn(memory, key, layer, extra);
    let draw = -(1.0 - share).ln();
    let beside = elsewhere(memory, layer);
    let mut respread = draw * real(known.len() + drawn.all())
        + of_the_others(&known, key, layer, members, drawn)
        + beside;
    // Or each of them moved for a reason of its own, and the router is well.
    let lone = if beside > 0.0 { ALONE } else { ALONE_UNSEEN };
    let together = beside > 0.0 && at_once(&gone, layer);
    let each = if together { ALONE_AT_ONCE } else { lone };
    let by_themselves = each * real(gone.len())
        + lone * real(usize::from(drawn.gone))
        + draw * real(usize::from(drawn.fresh));
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
        respread = draw * real(drawn.all()); // the NAT spread all flows afresh: only flows drawn since then prove anything
    }
    Some(Look {
        key,
        layer,
        last_good: last_good.min(first_novel),
        first_novel: first_novel.max(last_good),
        respread,
        by_themselves,
        drawn,
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

/// What flows beyond the pinned ones say, those of this round or else of the last refresh since the suspicion began.
fn drawn(memory: &PathMemory, key: u32, layer: usize, extra: &[Extra]) -> Drawn {
    let of_layer = extra.iter().filter(|seen| seen.at(layer) != 0);
    let mut drawn = Drawn::default();
    for seen in of_layer {
        let before = memory.extras.iter().find(|known| known.flow == seen.flow);
        match before.map_or(0, |known| known.at(layer)) {
            0 => drawn.fresh += 1,
            before if before == key => drawn.gone += 1,
            before if before == seen.at(layer) => drawn.stayed += 1,
            _ => drawn.shuffled += 1,
        }
    }
    if drawn.all() == 0 && memory.spare.suspicion.is_some() {
        memory.drawn
    } else {
        drawn
    }
}

/// Whether a flow enters in another metro: flows of an anycast split change sides, and other borders lead there.
fn changed_sides(memory: &PathMemory, flow: &FlowMemory) -> bool {
    let place = |key: u32| memory.book.metro_of(key);
    let [usual, now] = [flow.usual, flow.now].map(|keys| keys.first().and_then(|key| place(*key)));
    usual.zip(now).is_some_and(|(old, new)| old != new)
}

/// Flows of the other routers: drawn afresh they would have changed places among those, unless there is only one.
fn of_the_others(
    known: &[&FlowMemory],
    key: u32,
    layer: usize,
    members: usize,
    drawn: Drawn,
) -> f64 {
    let others = known
        .iter()
        .filter(|flow| flow.usual.get(layer) != Some(&key));
    let (mut stayed, mut shuffled) = (drawn.stayed, drawn.shuffled);
    for flow in others {
        if moved(flow, layer) {
            shuffled += 1;
        } else {
            stayed += 1;
        }
    }
    f64::from(stayed) * (real(members) - 1.0).max(1.0).ln() - SHUFFLED * f64::from(shuffled)
}

/// The layers before this one: a NAT that spreads flows afresh moves them there too. That they stayed says little: the hash
/// of one router alone may have changed.
fn elsewhere(memory: &PathMemory, layer: usize) -> f64 {
    let (mut diverse, mut shuffled) = (false, 0);
    for other in [1, 2].into_iter().filter(|other| *other > layer) {
        let usual = |flow: &FlowMemory| flow.usual.get(other).copied().unwrap_or_default();
        let now = |flow: &FlowMemory| flow.now.get(other).copied().unwrap_or_default();
        // Where packets are balanced one by one, or a router is silent now and then, a flow says nothing.
        let pinned = || memory.flows.iter().filter(|flow| is_pinned(flow, other));
        let first = pinned().next().map(usual).unwrap_or_default();
        diverse |= pinned().any(|flow| usual(flow) != first);
        shuffled += pinned()
            .filter(|flow| now(flow) != 0 && now(flow) != usual(flow))
            .count();
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

/// What the test says of a look.
struct Proof {
    proven: bool,
    confidence: f64,
    reasons: Vec<String>,
}

/// Holds a look against what the j-th look of the day needs, by either doubt.
fn prove(look: &Look, looks: f64, at: f64) -> Proof {
    let needed = |alpha: f64| (looks * (looks + 1.0) / alpha).ln();
    // Later than that no refresh comes: what there is has to do.
    let alone = look.drawn.all() == 0 && at - look.first_novel > REFRESH_WAIT_S;
    let allowed = if alone { ALPHA } else { ALPHA_REFRESHED };
    let over = look.respread - needed(allowed);
    let margin = over.min(look.by_themselves - needed(ALPHA));
    let sum = margin + 2.5;
    // The test decides; how often such claims came true is said beside it.
    let proven = margin >= 0.0;
    let told = confidence::calibrated(Kind::Lost, sum);
    let reasons = vec![
        format!(
            "{} flows were pinned to it and all of them are elsewhere",
            look.gone
        ),
        format!(
            "{} flows of a refresh are not there either, {} of them were",
            look.drawn.all(),
            look.drawn.gone
        ),
        format!(
            "against a fresh hash {:.1} nats at a share of {:.2}, needed {:.1} at look {looks:.0} of the day; against flows that left one by one {:.1}, needed {:.1}",
            look.respread,
            look.share,
            needed(allowed),
            look.by_themselves,
            needed(ALPHA)
        ),
        format!("log-odds {sum:+.1}"),
    ];
    Proof {
        proven,
        confidence: if proven {
            told.max(confidence::EVENT)
        } else {
            told.min(confidence::EVENT - 0.01)
        },
        reasons,
    }
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
    let Proof {
        proven,
        confidence,
        reasons,
    } = prove(look, looks, at);
    memory.spare_key = look.key;
    memory.spare_layer = u8::try_from(look.layer).unwrap_or_default();
    memory.drawn = look.drawn;
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
    change.reasons = reasons;
    // An ingress known by an address alone may answer from another one now.
    let nameless = look.layer == 0 && !is_surely_another(memory, look);
    if mature && proven && !nameless {
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
    memory.extras.clear();
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
fn follow(memory: &mut PathMemory, at: f64, extra: &[Extra]) -> Option<Change> {
    let (key, layer) = (memory.spare_key, usize::from(memory.spare_layer));
    let there = memory
        .flows
        .iter()
        .any(|flow| flow.now.get(layer) == Some(&key))
        || extra.iter().any(|seen| seen.at(layer) == key);
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
