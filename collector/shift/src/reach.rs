//! Whether Microsoft's network is reached at all: lost pulses and rounds that stop short, together.

use crate::level::Class;
use crate::memory::PathMemory;
use crate::message::{Plan, Pulse};
use crate::track::{Change, Ending, Open, Phase, Suspicion};

/// Lost pulses in a row that raise a suspicion.
const SUSPECT_LOST: u16 = 2;
/// Lost pulses in a row that claim it together with a round that stops short: nine tenths over three pulses.
const CLAIM_LOST: u16 = 3;
/// Lost pulses in a row that claim it where no round comes to say more.
const ALONE_LOST: u16 = 6;
/// Answered pulses in a row that end it.
const BACK_PULSES: u8 = 6;
/// Rounds that end it.
const BACK_ROUNDS: u8 = 2;
/// Rounds that stop short, where there are no pulses.
const SHORT_ROUNDS: u8 = 3;
/// A path whose rounds reach Microsoft's network less often says nothing by stopping short.
const USUALLY_ARRIVES: f32 = 0.8;

/// Takes a pulse in.
pub(crate) fn on_pulse(
    memory: &mut PathMemory,
    at: f64,
    pulse: &Pulse,
    plan: &Plan,
) -> Option<Change> {
    let pulses = &mut memory.pulses;
    if at <= pulses.last || !at.is_finite() {
        return None;
    }
    pulses.last = at;
    let Some(rtt_us) = pulse.rtt_us else {
        pulses.lost = pulses.lost.saturating_add(1);
        pulses.answered = 0;
        match pulses.lost {
            1 => (pulses.first_lost, pulses.second_lost) = (at, at),
            2 => pulses.second_lost = at,
            _ => {}
        }
        if let Some(open) = &mut memory.reach.open {
            open.away(at);
        }
        return judge(memory, at, plan);
    };
    pulses.lost = 0;
    pulses.short = 0;
    if pulses.answered == 0 {
        pulses.first_answered = at;
    }
    pulses.answered = pulses.answered.saturating_add(1);
    note_rtt(memory, rtt_us);
    memory.good.reach = at;
    memory.reach.suspicion = None;
    back(memory, at, BACK_PULSES)
}

fn note_rtt(memory: &mut PathMemory, rtt_us: u32) {
    let quiet = memory.path.is_quiet() && memory.edge.is_quiet();
    let pulses = &mut memory.pulses;
    if quiet {
        pulses.floor_us = lowered(pulses.floor_us, rtt_us);
        pulses.lowest_us = 0;
    } else if pulses.lowest_us == 0 || rtt_us < pulses.lowest_us {
        pulses.lowest_us = rtt_us;
    }
}

/// A floor that follows falls at once and rises slowly: about the twentieth part of RTTs lie below it.
pub(crate) fn lowered(floor_us: f32, rtt_us: u32) -> f32 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "an RTT of microseconds in 24 bits is good to 1 µs up to 16 s"
    )]
    let rtt_us = rtt_us as f32;
    if floor_us <= 0.0 || rtt_us < floor_us {
        rtt_us
    } else {
        floor_us + (rtt_us - floor_us) * 0.002
    }
}

/// Takes in whether a round reached Microsoft's network; `shown`: how many flows were asked.
pub(crate) fn on_round(
    memory: &mut PathMemory,
    at: f64,
    arrived: bool,
    plan: &Plan,
) -> Option<Change> {
    let pulses = &mut memory.pulses;
    if memory.reach.is_quiet() {
        let step = if arrived { 1.0 } else { 0.0 };
        let weight = if pulses.arriving == 0.0 { 1.0 } else { 0.02 };
        pulses.arriving += (step - pulses.arriving) * weight;
    }
    if arrived {
        pulses.short = 0;
        memory.good.reach = at;
        if memory.pulses.lost < SUSPECT_LOST {
            memory.reach.suspicion = None;
        }
        return back(memory, at, BACK_ROUNDS);
    }
    if pulses.short == 0 {
        pulses.first_short = at;
    }
    pulses.short = pulses.short.saturating_add(1);
    if let Some(open) = &mut memory.reach.open {
        open.away(at);
    }
    judge(memory, at, plan)
}

fn judge(memory: &mut PathMemory, at: f64, plan: &Plan) -> Option<Change> {
    if memory.reach.open.is_some() || !memory.learned {
        return None;
    }
    let pulses = memory.pulses;
    let has_pulses = pulses.last > 0.0 && at - pulses.last <= plan.pulse_s * 5.0;
    let telling = pulses.arriving >= USUALLY_ARRIVES && pulses.short > 0;
    let suspected = pulses.lost >= SUSPECT_LOST || (telling && !has_pulses);
    if !suspected {
        return None;
    }
    let lost_long = pulses.lost >= CLAIM_LOST
        || (pulses.lost >= SUSPECT_LOST && at - pulses.first_lost >= plan.burst_s * 1.7);
    let by_pulses = lost_long && telling && pulses.first_short >= pulses.first_lost - plan.tail_s;
    // Rounds that never show Microsoft's network say nothing either way.
    let dumb = memory.newest < pulses.first_lost || pulses.arriving < USUALLY_ARRIVES;
    let lone = pulses.lost >= ALONE_LOST && dumb;
    let by_rounds = !has_pulses
        && telling
        && pulses.short >= SHORT_ROUNDS
        && at - pulses.first_short >= 1.7 * plan.burst_s;
    let first_novel = if has_pulses {
        pulses.second_lost
    } else {
        pulses.first_short
    };
    let suspicion = memory.reach.suspicion.get_or_insert(Box::new(Suspicion {
        last_good: memory.good.reach,
        first_novel,
        ..Suspicion::default()
    }));
    suspicion.agreeing = suspicion.agreeing.saturating_add(1);
    if !(by_pulses || lone || by_rounds) {
        return None;
    }
    let onset = suspicion.onset();
    let open = Open {
        class: Class::Unreachable,
        from: None,
        to: None,
        onset,
        flows: u32::MAX,
        started: at,
        confidence: if by_pulses { 0.98 } else { 0.95 },
        upstream: false,
        back: 0,
        first_back: at,
        last_away: at,
        notified: false,
        muted: false,
    };
    let mut change = open.change(Phase::Start, at);
    change.reasons = vec![
        format!("{} pulses lost in a row", pulses.lost),
        format!(
            "{} rounds in a row stopped short of Microsoft's network",
            pulses.short
        ),
    ];
    memory.reach.suspicion = None;
    memory.reach.open = Some(Box::new(open));
    Some(change)
}

fn back(memory: &mut PathMemory, at: f64, enough: u8) -> Option<Change> {
    let open = memory.reach.open.as_mut()?;
    if !open.returned(at, enough) {
        return None;
    }
    let open = memory.reach.open.take()?;
    Some(open.over(at, Ending::Recovery))
}
