//! The path's own track: from a novel value to an event and back, against a baseline that stands still meanwhile.

use crate::book::Role;
use crate::confidence::{self, EVENT, Evidence, Kind, POSSIBLE};
use crate::edge;
use crate::fleet::{Claim, Peers};
use crate::hop::{Meaning, place_key};
use crate::level::{self, Class, Finding};
use crate::memory::PathMemory;
use crate::message::{Plan, is_steady};
use crate::observer::Sight;
use crate::redundancy;
use crate::track::{Change, Ending, NEW_NORMAL_S, Open, Phase, Status, Suspicion, Value};
use crate::verdict::{Mark, Verdict};
use crate::window::{contradicts, first_said, is_shuffled, merge, others_stay};

/// Rounds that have to agree.
const AGREEING: u8 = 3;
/// Rounds that have to agree where a peer does too.
const AGREEING_WITH_PEER: u8 = 2;
/// Rounds on the old path that end an event.
const BACK_ROUNDS: u8 = 6;
/// Or three that span so many seconds.
const BACK_S: f64 = 50.0;
/// Rounds that show the old path and take a suspicion back.
const FAILING: u8 = 2;
/// A suspicion that is not sure by then, or by six tail rounds of a thin plan, becomes part of the baseline, seconds.
const PATIENCE_S: f64 = 900.0;
const PATIENCE_ROUNDS: f64 = 6.0;
/// What is over by then is a blink, of which no one is told: among thousands of agents others blink at the same time, seconds.
const BLINK_S: f64 = 8.0;
/// Rounds of one burst are this part of its spacing apart at least, by jitter.
const SPACING: f64 = 0.9;

/// How far the RTT to the ingress moved on the flows of the round and the window, or that of pulses.
pub(crate) fn rtt_moved(memory: &PathMemory, verdicts: &[Verdict], least: usize) -> Option<f64> {
    let floor = |flow: u16| {
        let known = memory.flows.iter().find(|known| known.flow == flow)?;
        (known.floor_us > 0.0).then(|| f64::from(known.floor_us))
    };
    let lowest = |verdict: &Verdict| {
        let earlier = memory
            .window
            .iter()
            .find(|known| known.flow == verdict.flow && known.ingress_us > 0);
        earlier.map_or(verdict.ingress_us, |known| {
            known.ingress_us.min(verdict.ingress_us)
        })
    };
    let moved: Vec<f64> = verdicts
        .iter()
        .filter(|verdict| verdict.router == Mark::Novel && verdict.ingress_us > 0)
        .filter_map(|verdict| Some((f64::from(lowest(verdict)) - floor(verdict.flow)?) / 1_000.0))
        .collect();
    level::rtt_moved(moved, least).or_else(|| memory.pulses.moved_ms())
}

/// Takes a round in.
pub(crate) fn on_round(
    memory: &mut PathMemory,
    sight: &Sight<'_, impl Meaning>,
    peers: &impl Peers,
) -> Vec<Change> {
    if memory.path.open.is_some() {
        return follow(memory, sight).into_iter().collect();
    }
    let now = level::evaluate(sight.verdicts, &sight.aside);
    if memory.path.suspicion.is_none() {
        let Some(finding) = now else {
            return Vec::new();
        };
        suspect(memory, sight, &finding);
        return agree(memory, sight, &finding, finding.novel, peers);
    }
    if let Some(finding) = now.filter(|_| contradicts(&memory.window, sight.verdicts)) {
        // What was suspected was something else: this began now.
        let mut changes: Vec<Change> = memory.path.drop_suspicion(sight.at).into_iter().collect();
        let newest = memory.window.iter().map(|verdict| verdict.at);
        let before = newest.fold(0.0, f64::max);
        suspect(memory, sight, &finding);
        if let Some(suspicion) = &mut memory.path.suspicion {
            suspicion.not_before = before;
        }
        changes.extend(agree(memory, sight, &finding, finding.novel, peers));
        return changes;
    }
    merge(&mut memory.window, sight.verdicts, sight.plan.flows);
    let Some(finding) = level::evaluate(&memory.window, &sight.aside) else {
        return fail(memory, sight, false);
    };
    let novel = sight
        .verdicts
        .iter()
        .filter(|verdict| mark_of(verdict, &finding) == Mark::Novel)
        .count();
    if now.is_none() && novel == 0 {
        return fail(memory, sight, true);
    }
    agree(memory, sight, &finding, novel, peers)
}

fn suspect(memory: &mut PathMemory, sight: &Sight<'_, impl Meaning>, finding: &Finding) {
    memory.pulses.lowest_us = 0;
    memory.window = sight
        .verdicts
        .iter()
        .filter(|verdict| is_steady(verdict.flow, sight.plan.flows))
        .copied()
        .collect();
    let mixed = finding.novel < finding.responding;
    memory.path.suspicion = Some(Box::new(Suspicion {
        last_good: last_good(memory, finding),
        first_novel: sight.at,
        mixed,
        ..Suspicion::default()
    }));
}

fn patience(plan: &Plan) -> f64 {
    (plan.tail_s * PATIENCE_ROUNDS).max(PATIENCE_S)
}

/// The layer of a verdict that a finding is about.
fn mark_of(verdict: &Verdict, finding: &Finding) -> Mark {
    match finding.class {
        Class::Uplink if verdict.uplink == Mark::Novel => Mark::Novel,
        Class::Uplink | Class::Provider => verdict.provider,
        Class::Geo if finding.by_rtt => verdict.router,
        Class::Geo | Class::PartialGeo => verdict.metro,
        Class::Local
        | Class::Unreachable
        | Class::RedundancyLost
        | Class::Flapping
        | Class::FrontDoorMoved => verdict.router,
    }
}

fn last_good(memory: &PathMemory, finding: &Finding) -> f64 {
    let good = &memory.good;
    match finding.class {
        Class::Uplink | Class::Provider if finding.upstream || finding.class == Class::Uplink => {
            good.full
        }
        Class::Provider => good.handoff,
        Class::Uplink
        | Class::Geo
        | Class::PartialGeo
        | Class::Local
        | Class::Unreachable
        | Class::RedundancyLost
        | Class::Flapping
        | Class::FrontDoorMoved => good.ingress,
    }
}

/// A round that shows the old path, or nothing, while something is suspected.
fn fail(
    memory: &mut PathMemory,
    sight: &Sight<'_, impl Meaning>,
    window_holds: bool,
) -> Vec<Change> {
    let usual = |verdict: &&Verdict| {
        let marks = [verdict.provider, verdict.metro, verdict.router];
        marks.contains(&Mark::Usual) && !marks.contains(&Mark::Novel)
    };
    let shown = sight.verdicts.iter().filter(usual).count() >= sight.aside.least;
    let Some(suspicion) = &mut memory.path.suspicion else {
        return Vec::new();
    };
    let hidden = window_holds
        && !sight.whole
        && memory
            .window
            .iter()
            .any(|verdict| verdict.provider == Mark::Novel && !verdict.at_handoff);
    if shown && !hidden {
        suspicion.failing += 1;
    }
    let late = sight.at - suspicion.first_novel > patience(sight.plan);
    if suspicion.failing < FAILING && !late {
        return Vec::new();
    }
    memory.tally.transients += 1;
    memory.window = Vec::new();
    memory.path.drop_suspicion(sight.at).into_iter().collect()
}

fn agree(
    memory: &mut PathMemory,
    sight: &Sight<'_, impl Meaning>,
    finding: &Finding,
    novel: usize,
    peers: &impl Peers,
) -> Vec<Change> {
    let claim = claim_of(memory, finding, sight.meaning);
    let agreeing_peers = peers.agreeing(&claim, sight.at);
    let edge_agrees = edge_agrees(memory, sight, &claim);
    let stay = others_stay(memory, sight.verdicts, sight.plan.flows);
    let shuffled = finding.novel < finding.responding && is_shuffled(memory);
    let Some(suspicion) = &mut memory.path.suspicion else {
        return Vec::new();
    };
    suspicion.others_stay |= stay;
    let remapped = shuffled || suspicion.others_stay;
    suspicion.failing = 0;
    if novel > 0 {
        suspicion.agreeing = suspicion.agreeing.saturating_add(1);
        if suspicion.agreeing == 2 {
            suspicion.settled = sight.at;
        }
        // One flow says little in a round, so more rounds of it count.
        let counting = if sight.plan.flows > 1 {
            AGREEING
        } else {
            2 * AGREEING
        };
        if suspicion.agreeing <= counting {
            suspicion.score += score(confidence::of_round(novel));
        }
    }
    suspicion.claim = Some(claim.clone());
    let suspicion = suspicion.clone();
    let evidence = Evidence {
        rounds: f64::from(suspicion.score),
        agreeing: suspicion.agreeing,
        flows: (finding.novel, finding.responding),
        rtt_ms: sight.aside.rtt_ms,
        rtt_fits: rtt_fits(finding, sight.aside.rtt_ms),
        peers: agreeing_peers,
        edge_agrees,
        weak: finding.weak,
        unresolved: finding.class == Class::Local
            && (!finding.resolved || remapped)
            && !edge_agrees,
    };
    let (sum, reasons) = confidence::weigh(&evidence);
    let kind = Kind::of(finding.class, &evidence);
    let sure = confidence::calibrated(kind, sum);
    let needed = if agreeing_peers > 0 {
        AGREEING_WITH_PEER
    } else {
        AGREEING
    };
    let lasted = sight.at - suspicion.first_novel;
    let spacing = f64::from(needed - 1) * sight.plan.burst_s * SPACING;
    let mature = suspicion.agreeing >= needed && lasted >= spacing.max(BLINK_S);
    if mature && sure >= EVENT && kind != Kind::Alias {
        return vec![open(memory, sight, finding, claim, (sure, reasons))];
    }
    if lasted > patience(sight.plan) {
        return adopt(memory, sight.at);
    }
    let worth_telling = suspicion.agreeing >= AGREEING_WITH_PEER && lasted >= BLINK_S;
    if worth_telling && sure >= POSSIBLE && suspicion.told.is_none() {
        return vec![possible(
            memory,
            sight.at,
            claim,
            sure.min(EVENT - 0.01),
            reasons,
        )];
    }
    Vec::new()
}

/// A geo move leads to expect another RTT, a local one the same; a provider's may be either.
fn rtt_fits(finding: &Finding, moved_ms: Option<f64>) -> Option<bool> {
    let far = moved_ms?.abs() >= 2.0;
    match finding.class {
        Class::Geo | Class::PartialGeo => Some(far),
        Class::Local => Some(!far),
        Class::Uplink
        | Class::Provider
        | Class::Unreachable
        | Class::RedundancyLost
        | Class::Flapping
        | Class::FrontDoorMoved => None,
    }
}

fn edge_agrees(memory: &PathMemory, sight: &Sight<'_, impl Meaning>, claim: &Claim) -> bool {
    let novel = sight
        .edge_metro
        .filter(|metro| edge::is_novel(memory, metro));
    novel.is_some_and(|metro| match claim.0 {
        Class::Geo | Class::PartialGeo => claim.2 == Some(Value::Name(metro.to_owned())),
        Class::Uplink
        | Class::Provider
        | Class::Local
        | Class::Unreachable
        | Class::RedundancyLost
        | Class::Flapping
        | Class::FrontDoorMoved => false,
    })
}

/// What moved, in the words of its level.
fn claim_of(memory: &PathMemory, finding: &Finding, meaning: &impl Meaning) -> Claim {
    let book = &memory.book;
    let still = |pick: fn(&Verdict) -> u32, key: u32| {
        memory.window.iter().any(|verdict| pick(verdict) == key)
    };
    let metro = |address| meaning.metro_name(address).map(Value::Name);
    let router = |address| Some(Value::Name(meaning.router_name(address)));
    let (from, to) = match finding.class {
        Class::Uplink => (
            book.usual_asn(Role::First, |_| true).map(Value::Asn),
            finding.asn.map(Value::Asn),
        ),
        Class::Provider => (
            book.usual_asn(Role::Handoff, |asn| Some(asn) != finding.asn)
                .map(Value::Asn),
            finding.asn.map(Value::Asn),
        ),
        Class::Geo | Class::PartialGeo => {
            let gone = |_, place: Option<std::num::NonZeroU32>| {
                place.is_some_and(|key| !still(|verdict| verdict.metro_key, key.get()))
            };
            let usual = book
                .usual(Role::Ingress, gone)
                .or_else(|| book.usual(Role::Inside, gone))
                .or_else(|| book.usual(Role::Ingress, |_, place| place.is_some()));
            let to = finding
                .address
                .and_then(|address| metro(address).or_else(|| router(address)));
            (usual.and_then(metro), to)
        }
        Class::Local
        | Class::Unreachable
        | Class::RedundancyLost
        | Class::Flapping
        | Class::FrontDoorMoved => {
            let gone = |key, _| !still(|verdict| verdict.router_key, key);
            let usual = book
                .usual(Role::Ingress, gone)
                .or_else(|| book.usual(Role::Ingress, |_, _| true));
            (usual.and_then(router), finding.address.and_then(router))
        }
    };
    (finding.class, from, to)
}

fn open(
    memory: &mut PathMemory,
    sight: &Sight<'_, impl Meaning>,
    finding: &Finding,
    (class, from, to): Claim,
    (sure, reasons): (f64, Vec<String>),
) -> Change {
    let suspicion = memory.path.suspicion.take().unwrap_or_default();
    let good = last_good(memory, finding)
        .max(suspicion.not_before)
        .min(suspicion.first_novel);
    let novel = |verdict: &&Verdict| mark_of(verdict, finding) == Mark::Novel;
    let moved = memory.window.iter().filter(novel);
    let flows = moved.fold(0, |flows, verdict| flows | flow_bit(verdict.flow));
    let flows = if flows == 0 { u32::MAX } else { flows };
    let open = Open {
        class,
        from,
        to,
        onset: suspicion.onset_after(good, f64::from(sight.plan.flows)),
        flows,
        started: sight.at,
        confidence: score(sure),
        upstream: finding.upstream,
        back: 0,
        first_back: sight.at,
        last_away: sight.at,
        notified: false,
        muted: false,
    };
    let mut change = open.change(Phase::Start, sight.at);
    change.reasons = reasons;
    memory.path.open = Some(Box::new(open));
    change
}

fn possible(
    memory: &mut PathMemory,
    at: f64,
    (class, from, to): Claim,
    sure: f64,
    reasons: Vec<String>,
) -> Change {
    let mut change = Change {
        phase: Phase::Start,
        status: Status::Possible,
        class,
        at,
        onset: [at, at],
        from,
        to,
        confidence: sure,
        reasons,
        ending: None,
        brief: false,
        started: at,
    };
    if let Some(suspicion) = &mut memory.path.suspicion {
        suspicion.told = Some((class, score(sure)));
        change.onset = suspicion.onset();
        change.started = suspicion.first_novel;
    }
    change
}

/// Nothing came of it and it stayed: it is part of the path.
fn adopt(memory: &mut PathMemory, at: f64) -> Vec<Change> {
    memory.admit_now = true;
    redundancy::accept_all(memory);
    memory.window = Vec::new();
    memory.path.drop_suspicion(at).into_iter().collect()
}

/// A round while an event is open.
fn follow(memory: &mut PathMemory, sight: &Sight<'_, impl Meaning>) -> Option<Change> {
    let open = memory.path.open.as_mut()?;
    let shows = |verdict: &&Verdict| match open.class {
        Class::Uplink | Class::Provider if open.upstream && !sight.whole => Mark::Silent,
        // A known AS at an unknown address may be a wrong table's.
        Class::Uplink | Class::Provider if verdict.provider == Mark::Usual && !verdict.familiar => {
            Mark::Silent
        }
        Class::Uplink => first_said(verdict.uplink, verdict.provider),
        Class::Provider => verdict.provider,
        Class::Geo | Class::PartialGeo => first_said(verdict.metro, verdict.router),
        Class::Local
        | Class::Unreachable
        | Class::RedundancyLost
        | Class::Flapping
        | Class::FrontDoorMoved => verdict.router,
    };
    // Flows of a split may change sides meanwhile: while any enters in the new metro, the event goes on, on that flow too.
    let place = match (&open.to, open.class) {
        (Some(Value::Name(metro)), Class::Geo | Class::PartialGeo) => place_key(metro).get(),
        _ => 0,
    };
    for verdict in sight.verdicts {
        if place != 0 && verdict.metro == Mark::Novel && verdict.metro_key == place {
            open.flows |= flow_bit(verdict.flow);
        }
    }
    let moved = |verdict: &&Verdict| open.flows & flow_bit(verdict.flow) != 0;
    let count = |wanted: Mark| {
        let of_moved = sight.verdicts.iter().filter(moved);
        of_moved.filter(|verdict| shows(verdict) == wanted).count()
    };
    let (novel, usual) = (count(Mark::Novel), count(Mark::Usual));
    if novel > 0 {
        open.away(sight.at);
    } else if usual >= sight.aside.least {
        let enough = BACK_ROUNDS
            .min(sight.plan.burst_rounds.saturating_add(1))
            .max(AGREEING);
        let back = open.returned(sight.at, enough);
        // Rounds of the tail are far apart: three of them last longer than six of a burst.
        let long = open.back >= AGREEING && sight.at - open.first_back >= BACK_S;
        if back || long {
            return close(memory, sight.at, Ending::Recovery);
        }
    }
    if sight.at - open.onset[1] >= NEW_NORMAL_S && open.back == 0 {
        let change = close(memory, sight.at, Ending::NewNormal);
        relearn(memory);
        return change;
    }
    None
}

const fn flow_bit(flow: u16) -> u32 {
    1_u32.wrapping_shl(flow as u32)
}

fn close(memory: &mut PathMemory, at: f64, ending: Ending) -> Option<Change> {
    memory.window = Vec::new();
    let open = memory.path.open.take()?;
    Some(open.over(at, ending))
}

fn relearn(memory: &mut PathMemory) {
    memory.book.clear();
    memory.flows.clear();
    memory.extras.clear();
    memory.uplinks.clear();
    memory.edges.clear();
    memory.learned = false;
    memory.relearning = true;
    memory.rounds = 0;
    memory.first_ttl = 0;
}

fn score(value: f64) -> f32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a sum of a few log-odds loses only digits"
    )]
    let value = value as f32;
    value
}
